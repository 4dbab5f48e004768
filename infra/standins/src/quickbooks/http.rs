//! The routes of the stand-in: token endpoint, creates with `requestid`, reads, queries, changes.
//!
//! Must not: know an update, a void or a delete of an entry; Vesper has no reason to make one.

use super::consent::CONSENT_PATH;
use super::query::{Entity, Field, Query};
use super::wire::{NewEntry, NewTransfer, deleted, time};
use super::{JournalEntry, Line, Made, QuickBooks, Transfer, minor_of, query, scripted_fault};
use crate::{Call, Desk, System, json as answer, text};
use base64::Engine as _;
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde_json::{Value, json, value::RawValue};
use vesper_adapters::http::HttpResponse;

/// The token endpoint.
pub(super) const TOKEN_PATH: &str = "/oauth2/v1/tokens/bearer";
/// The longest DocNumber and requestid (facts/quickbooks.md A2, A5).
const DOC_NUMBER_MAX: usize = 21;
const REQUEST_ID_MAX: usize = 50;
/// The longest memo and line text.
const TEXT_MAX: usize = 4000;
/// CDC looks back so far, in hours.
const CDC_BACK_H: i64 = 30 * 24;

impl System for QuickBooks {
    const NAME: &'static str = "quickbooks";
    const ORIGIN: &'static str = "https://quickbooks.standin.invalid";

    fn answer(&mut self, desk: &mut Desk, call: &Call) -> HttpResponse {
        match (call.method.as_str(), call.path().as_str()) {
            ("POST", TOKEN_PATH) => return self.token(desk, call),
            ("GET", CONSENT_PATH) => return self.consent_page(desk, call),
            _ => {}
        }
        self.route(desk, call).unwrap_or_else(|fault| fault)
    }
}

/// The Fault of this code with this detail.
fn fault(desk: &Desk, code: &str, detail: &str) -> HttpResponse {
    let scripted = scripted_fault(code);
    let mut body: Value = serde_json::from_slice(&scripted.body).unwrap_or_default();
    if let Some(at) = body.pointer_mut("/Fault/Error/0/Detail") {
        *at = json!(detail);
    }
    crate::patch(&mut body, json!({"time": time(desk.now())}));
    answer(scripted.status, &body)
}

/// A Fault for something that no correct client sends.
fn refusal(desk: &mut Desk, call: &Call, code: &str, detail: &str) -> HttpResponse {
    desk.refuse(call, &format!("{code}: {detail}"));
    fault(desk, code, detail)
}

/// An entity under its name.
fn entity(desk: &Desk, name: &str, body: &str) -> HttpResponse {
    text(200, format!("{{\"{name}\":{body},\"time\":\"{}\"}}", time(desk.now())), "application/json")
}

impl QuickBooks {
    fn token(&mut self, desk: &mut Desk, call: &Call) -> HttpResponse {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.client_id, self.client_secret));
        if call.header("authorization") != Some(format!("Basic {pair}").as_str()) {
            self.refreshes.push("invalid_client");
            desk.refuse(call, "a token call without the client's Basic authorization");
            return answer(401, &json!({"error": "invalid_client"}));
        }
        let form = call.form();
        let given = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let (status, mut body) = match given("grant_type").filter(|_| call.says("application/x-www-form-urlencoded")) {
            Some("refresh_token") => self.refresh(desk.now(), given("refresh_token").unwrap_or_default()),
            Some("authorization_code") => {
                self.exchange(desk, given("code").unwrap_or_default(), given("redirect_uri").unwrap_or_default())
            }
            _ => {
                desk.refuse(call, "not a form with grant_type=refresh_token or authorization_code");
                return answer(400, &json!({"error": "unsupported_grant_type"}));
            }
        };
        if status == 200 && call.header("x-include-refresh-token-hard-expires-in") == Some("true") {
            crate::patch(&mut body, json!({"x_refresh_token_hard_expires_in": 157_680_000}));
        }
        answer(status, &body)
    }

    fn route(&mut self, desk: &mut Desk, call: &Call) -> Result<HttpResponse, HttpResponse> {
        let parts = call.parts();
        let ["v3", "company", realm, what @ ..] = parts.as_slice() else {
            return Err(refusal(desk, call, "610", "no such call"));
        };
        let token = call.header("authorization").and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
        if self.access.get(token).is_none_or(|until| *until < desk.now()) {
            return Err(fault(desk, "3200", "Token expired"));
        }
        if *realm != self.realm {
            return Err(refusal(desk, call, "610", "another realm"));
        }
        if percent_encoding::percent_decode_str(&call.target).decode_utf8_lossy().contains('@') {
            desk.refuse(call, "an e-mail in a URL");
        }
        let kind = what.first().map(|w| w.to_ascii_lowercase()).unwrap_or_default();
        match (call.method.as_str(), kind.as_str(), what.get(1..).unwrap_or_default()) {
            ("POST", "journalentry", []) => self.create(desk, call, Self::new_entry),
            ("POST", "transfer", []) => self.create(desk, call, Self::new_transfer),
            ("GET" | "POST", "query", []) => self.query(desk, call),
            ("GET", "companyinfo", [_]) => Ok(entity(desk, "CompanyInfo", &self.company_info())),
            ("GET", "preferences", []) => Ok(entity(desk, "Preferences", &self.preferences())),
            ("GET", "account", [id]) => {
                let account = self.account(id).ok_or_else(|| fault(desk, "610", "no such account"))?;
                Ok(entity(desk, "Account", &account.json(self.balances().get(*id).copied().unwrap_or(0))))
            }
            ("GET", "journalentry", [id]) => {
                let found = self.live_entries().find(|e| e.id == *id).ok_or_else(|| fault(desk, "610", "no such entry"))?;
                Ok(entity(desk, "JournalEntry", &found.json(|a| self.name_of(a))))
            }
            ("GET", "transfer", [id]) => {
                let found = self.live_transfers().find(|t| t.id == *id).ok_or_else(|| fault(desk, "610", "no such transfer"))?;
                Ok(entity(desk, "Transfer", &found.json(|a| self.name_of(a))))
            }
            ("GET", "cdc", []) => self.changes(desk, call),
            _ => Err(refusal(desk, call, "610", "a call that Vesper has no reason to make")),
        }
    }

    fn name_of(&self, account: &str) -> String {
        self.account(account).map(|a| a.name.clone()).unwrap_or_default()
    }

    fn company_info(&self) -> String {
        json!({"Id": "1", "CompanyName": "Northbridge", "Country": "US", "domain": "QBO", "sparse": false, "SyncToken": "0"})
            .to_string()
    }

    fn preferences(&self) -> String {
        let mut books = json!({"FirstMonthOfFiscalYear": "January"});
        if let Some(day) = self.close_date {
            crate::patch(&mut books, json!({"BookCloseDate": day.to_string()}));
        }
        let currency = json!({"HomeCurrency": {"value": "USD"}});
        json!({"AccountingInfoPrefs": books, "CurrencyPrefs": currency, "Id": "1", "SyncToken": "0", "domain": "QBO", "sparse": false})
            .to_string()
    }

    fn made_json(&self, desk: &Desk, made: &Made) -> HttpResponse {
        match made {
            Made::Entry(e) => entity(desk, "JournalEntry", &e.json(|a| self.name_of(a))),
            Made::Transfer(t) => entity(desk, "Transfer", &t.json(|a| self.name_of(a))),
        }
    }

    /// A create: a repeated requestid answers with the first result, whatever the body says now.
    fn create(
        &mut self,
        desk: &mut Desk,
        call: &Call,
        make: fn(&mut QuickBooks, &mut Desk, &Call, &str) -> Result<Made, HttpResponse>,
    ) -> Result<HttpResponse, HttpResponse> {
        if call.param("operation").is_some() {
            return Err(refusal(desk, call, "610", "entries are never updated, voided or deleted"));
        }
        if let Some((name, _)) = call.query.iter().find(|(n, _)| n != "requestid" && n != "minorversion") {
            desk.refuse(call, &format!("unknown parameter {name}"));
        }
        if !call.says("application/json") {
            desk.refuse(call, "a body that does not say it is application/json");
        }
        let request_id = call.param("requestid").filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_MAX);
        match request_id {
            None => desk.refuse(call, "requestid missing or longer than 50"),
            Some(id) => {
                if let Some(made) = self.by_request_id.get(id) {
                    return Ok(self.made_json(desk, made));
                }
            }
        }
        let body = std::str::from_utf8(&call.body).unwrap_or_default();
        let made = make(self, desk, call, body)?;
        match &made {
            Made::Entry(e) => self.entries.push(e.clone()),
            Made::Transfer(t) => self.transfers.push(t.clone()),
        }
        if let Some(id) = request_id {
            self.by_request_id.insert(id.to_owned(), made.clone());
        }
        Ok(self.made_json(desk, &made))
    }

    /// A date on which the books are open.
    fn open_day(&self, desk: &mut Desk, call: &Call, txn_date: Option<&str>) -> Result<Date, HttpResponse> {
        let day = txn_date.filter(|t| t.len() == 10).and_then(|t| t.parse::<Date>().ok());
        let Some(day) = day else {
            return Err(refusal(desk, call, "2020", "TxnDate is missing or no date"));
        };
        if self.close_date.is_some_and(|closed| day <= closed) {
            let detail = "The account period has closed and the account books cannot be updated";
            return Err(fault(desk, "6210", detail));
        }
        Ok(day)
    }

    fn usable_account(&self, desk: &mut Desk, call: &Call, id: &str) -> Result<String, HttpResponse> {
        match self.account(id) {
            Some(account) if account.active => Ok(account.id.clone()),
            Some(_) => Err(fault(desk, "610", "Something you're trying to use has been made inactive.")),
            None => Err(refusal(desk, call, "2500", "Invalid Reference Id: no such account")),
        }
    }

    fn positive(desk: &mut Desk, call: &Call, amount: &RawValue) -> Result<i64, HttpResponse> {
        match minor_of(amount.get()) {
            Some(minor) if minor > 0 => Ok(minor),
            Some(_) => Err(refusal(desk, call, "6000", "an amount has to be positive")),
            None => Err(refusal(desk, call, "2020", "an amount that is no number with at most two decimals")),
        }
    }

    fn check_texts<'a>(
        desk: &mut Desk,
        call: &Call,
        texts: impl IntoIterator<Item = Option<&'a String>>,
    ) -> Result<(), HttpResponse> {
        if texts.into_iter().flatten().any(|t| t.chars().count() > TEXT_MAX) {
            return Err(refusal(desk, call, "2050", "a text of more than 4000 characters"));
        }
        Ok(())
    }

    fn new_entry(&mut self, desk: &mut Desk, call: &Call, body: &str) -> Result<Made, HttpResponse> {
        let new: NewEntry<'_> = serde_json::from_str(body)
            .map_err(|e| refusal(desk, call, "2020", &format!("the JournalEntry cannot be read: {e}")))?;
        let txn_date = self.open_day(desk, call, new.txn_date.as_deref())?;
        if let Some(doc) = &new.doc_number {
            let length = doc.chars().count();
            if length > DOC_NUMBER_MAX {
                return Err(refusal(desk, call, "2050", &format!("Min:0 Max:21 supported. Supplied length:{length}")));
            }
            if self.live_entries().any(|e| e.doc_number.as_ref() == Some(doc)) {
                let detail = format!("You must specify a different number. This number has already been used. DocNumber={doc}");
                return Err(fault(desk, "6140", &detail));
            }
        }
        if new.currency_ref.as_ref().is_some_and(|c| c.value != "USD") {
            return Err(refusal(desk, call, "6000", "another currency than the company's"));
        }
        Self::check_texts(desk, call, new.line.iter().map(|l| l.description.as_ref()).chain([new.private_note.as_ref()]))?;
        if new.line.is_empty() {
            return Err(refusal(desk, call, "2020", "Required parameter Line is missing in the request"));
        }
        let mut lines = Vec::new();
        for line in new.line {
            let detail = &line.journal_entry_line_detail;
            let sign = match (line.detail_type.as_str(), detail.posting_type.as_str()) {
                ("JournalEntryLineDetail", "Debit") => 1,
                ("JournalEntryLineDetail", "Credit") => -1,
                _ => return Err(refusal(desk, call, "2020", "a line without DetailType or PostingType")),
            };
            let account = self.usable_account(desk, call, &detail.account_ref.value)?;
            let amount_minor = Self::positive(desk, call, line.amount)?.saturating_mul(sign);
            lines.push(Line { account, amount_minor, description: line.description });
        }
        let off = lines.iter().fold(0_i64, |sum, l| sum.saturating_add(l.amount_minor));
        if off != 0 {
            return Err(refusal(desk, call, "6000", &format!("debits and credits differ by {off} minor units")));
        }
        let (id, updated) = (self.next_id(), desk.now());
        let (doc_number, private_note) = (new.doc_number, new.private_note);
        Ok(Made::Entry(JournalEntry { id, doc_number, txn_date, private_note, lines, updated, deleted: false }))
    }

    fn new_transfer(&mut self, desk: &mut Desk, call: &Call, body: &str) -> Result<Made, HttpResponse> {
        let new: NewTransfer<'_> =
            serde_json::from_str(body).map_err(|e| refusal(desk, call, "2020", &format!("the Transfer cannot be read: {e}")))?;
        let txn_date = self.open_day(desk, call, new.txn_date.as_deref())?;
        if new.currency_ref.as_ref().is_some_and(|c| c.value != "USD") {
            return Err(refusal(desk, call, "6000", "another currency than the company's"));
        }
        Self::check_texts(desk, call, [new.private_note.as_ref()])?;
        let from = self.usable_account(desk, call, &new.from_account_ref.value)?;
        let to = self.usable_account(desk, call, &new.to_account_ref.value)?;
        let amount_minor = Self::positive(desk, call, new.amount)?;
        if from == to {
            return Err(refusal(desk, call, "6000", "a transfer needs two accounts"));
        }
        let (id, private_note, updated) = (self.next_id(), new.private_note, desk.now());
        Ok(Made::Transfer(Transfer { id, from, to, amount_minor, txn_date, private_note, updated, deleted: false }))
    }

    fn query(&self, desk: &mut Desk, call: &Call) -> Result<HttpResponse, HttpResponse> {
        let in_body = String::from_utf8_lossy(&call.body);
        let asked = query::read(call.param("query").unwrap_or(&in_body)).map_err(|e| refusal(desk, call, "4001", &e))?;
        let mut rows = self.rows(&asked);
        if let Some((property, descending)) = &asked.order {
            rows.sort_by_key(|(key, _)| key.field(property));
            if *descending {
                rows.reverse();
            }
        } else {
            rows.reverse();
        }
        if asked.count {
            let body = json!({"QueryResponse": {"totalCount": rows.len()}, "time": time(desk.now())});
            return Ok(answer(200, &body));
        }
        let page: Vec<&str> =
            rows.iter().skip(asked.start_position.saturating_sub(1)).take(asked.max_results).map(|(_, j)| j.as_str()).collect();
        if page.is_empty() {
            return Ok(entity(desk, "QueryResponse", "{}"));
        }
        let (name, start, count) = (asked.entity.name(), asked.start_position, page.len());
        let body = format!("{{\"{name}\":[{}],\"startPosition\":{start},\"maxResults\":{count}}}", page.join(","));
        Ok(entity(desk, "QueryResponse", &body))
    }

    /// The rows that meet the query, oldest first, each with what it is ordered by.
    fn rows(&self, asked: &Query) -> Vec<(Key, String)> {
        let name = |account: &str| self.name_of(account);
        match asked.entity {
            Entity::JournalEntry => {
                let hits = self.live_entries().filter(|e| asked.holds(|p| e.field(p)));
                hits.map(|e| (Key::of(&e.id, &e.txn_date.to_string(), e.doc_number.as_deref()), e.json(name))).collect()
            }
            Entity::Transfer => {
                let hits = self.live_transfers().filter(|t| asked.holds(|p| t.field(p)));
                hits.map(|t| (Key::of(&t.id, &t.txn_date.to_string(), None), t.json(name))).collect()
            }
            Entity::Account => {
                let balances = self.balances();
                let hits = self.accounts.iter().filter(|a| asked.holds(|p| a.field(p)));
                let json = |a: &super::Account| a.json(balances.get(&a.id).copied().unwrap_or(0));
                hits.map(|a| (Key::of(&a.id, &a.name, None), json(a))).collect()
            }
            Entity::CompanyInfo => vec![(Key::of("1", "", None), self.company_info())],
            Entity::Preferences => vec![(Key::of("1", "", None), self.preferences())],
        }
    }

    /// Change data capture: what changed since, deleted things too.
    fn changes(&self, desk: &mut Desk, call: &Call) -> Result<HttpResponse, HttpResponse> {
        let oldest = desk.now().saturating_sub(SignedDuration::from_hours(CDC_BACK_H)).unwrap_or(Timestamp::MIN);
        let since = call.param("changedSince").and_then(since_of).filter(|since| *since >= oldest);
        let Some(since) = since else {
            return Err(refusal(desk, call, "2020", "changedSince is missing, no time, or more than 30 days back"));
        };
        let name = |account: &str| self.name_of(account);
        let mut groups = Vec::new();
        for asked in call.param("entities").unwrap_or_default().split(',') {
            let (kind, rows): (&str, Vec<String>) = match Entity::of(asked.trim()) {
                Some(Entity::JournalEntry) => {
                    let new = self.entries.iter().filter(|e| e.updated >= since);
                    ("JournalEntry", new.map(|e| if e.deleted { deleted(&e.id, e.updated) } else { e.json(name) }).collect())
                }
                Some(Entity::Transfer) => {
                    let new = self.transfers.iter().filter(|t| t.updated >= since);
                    ("Transfer", new.map(|t| if t.deleted { deleted(&t.id, t.updated) } else { t.json(name) }).collect())
                }
                _ => return Err(refusal(desk, call, "2020", "entities has to name JournalEntry or Transfer")),
            };
            groups.push(match rows.len() {
                0 => "{}".to_owned(),
                n => format!("{{\"{kind}\":[{}],\"startPosition\":1,\"maxResults\":{n}}}", rows.join(",")),
            });
        }
        Ok(entity(desk, "CDCResponse", &format!("[{{\"QueryResponse\":[{}]}}]", groups.join(","))))
    }
}

/// A time with its offset, or a date.
fn since_of(text: &str) -> Option<Timestamp> {
    let date = || text.parse::<Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse::<Timestamp>().ok().or_else(|| date().map(|z| z.timestamp()))
}

/// What rows are ordered by.
struct Key {
    id: u64,
    second: String,
    doc_number: String,
}

impl Key {
    fn of(id: &str, second: &str, doc_number: Option<&str>) -> Key {
        let doc_number = doc_number.unwrap_or_default().to_owned();
        Key { id: id.parse().unwrap_or(0), second: second.to_owned(), doc_number }
    }

    fn field(&self, property: &str) -> (String, u64) {
        match property {
            "TxnDate" | "Name" => (self.second.clone(), self.id),
            "DocNumber" => (self.doc_number.clone(), self.id),
            _ => (String::new(), self.id),
        }
    }
}

impl JournalEntry {
    fn field(&self, property: &str) -> Option<Field> {
        match property {
            "Id" => Some(Field::Text(self.id.clone())),
            "DocNumber" => self.doc_number.clone().map(Field::Text),
            "TxnDate" => Some(Field::Text(self.txn_date.to_string())),
            "MetaData.CreateTime" | "MetaData.LastUpdatedTime" => Some(Field::Time(self.updated)),
            _ => None,
        }
    }
}

impl Transfer {
    fn field(&self, property: &str) -> Option<Field> {
        match property {
            "Id" => Some(Field::Text(self.id.clone())),
            "TxnDate" => Some(Field::Text(self.txn_date.to_string())),
            "Amount" => Some(Field::Minor(self.amount_minor)),
            "MetaData.CreateTime" | "MetaData.LastUpdatedTime" => Some(Field::Time(self.updated)),
            _ => None,
        }
    }
}

impl super::Account {
    fn field(&self, property: &str) -> Option<Field> {
        match property {
            "Id" => Some(Field::Text(self.id.clone())),
            "Name" => Some(Field::Text(self.name.clone())),
            "Active" => Some(Field::Text(self.active.to_string())),
            "AccountType" => Some(Field::Text(self.account_type.clone())),
            _ => None,
        }
    }
}
