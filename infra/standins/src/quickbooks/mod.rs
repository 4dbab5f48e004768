//! A stand-in of QuickBooks Online: the token endpoint, and the calls that an export of JournalEntries and Transfers needs.
//!
//! Amounts are minor units inside and digits on the wire (facts/quickbooks.md). Entries are never edited, voided or
//! deleted by a client; a person may do it ([`QuickBooksStandin::delete_by_person`]).
//! Must not: let an unbalanced entry in, or touch a float.

mod amount;
mod consent;
mod http;
mod query;
mod wire;

pub use amount::{minor_of, text_of_minor};

use crate::{Scripted, Standin};
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The stand-in of QuickBooks Online.
pub type QuickBooksStandin = Standin<QuickBooks>;

/// The company that it keeps unless told otherwise.
pub const DEFAULT_REALM: &str = "1234567890";
/// The client id that its token endpoint accepts.
pub const DEFAULT_CLIENT_ID: &str = "qbo_standin_client";
/// The client secret that its token endpoint accepts.
pub const DEFAULT_CLIENT_SECRET: &str = "qbo_standin_secret";
/// The refresh token that the owner's first consent gave.
pub const FIRST_REFRESH_TOKEN: &str = "RT1-standin-1";

/// Life of an access token, in seconds (facts/quickbooks.md A1).
const ACCESS_LIFE_S: i64 = 3600;

/// Accounts that the company has from the start: id, name, type.
const ACCOUNTS: [(&str, &str, &str); 9] = [
    ("91", "Stripe Clearing", "Bank"),
    ("35", "Checking", "Bank"),
    ("66", "Stripe fees", "Expense"),
    ("67", "Refunds", "Income"),
    ("68", "Disputed payments", "Expense"),
    ("92", "Unidentified client payments", "Other Current Liability"),
    ("93", "Client prepayments", "Other Current Liability"),
    ("79", "Therapy income", "Income"),
    ("80", "Copay income", "Income"),
];

/// How refresh tokens change (facts/quickbooks.md A1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// A refresh answers the same refresh token, as Intuit does within about a day.
    Daily,
    /// Every refresh answers a new one. The old one is invalid_grant, and using it once more kills the connection.
    Always,
}

/// One line of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The account's id.
    pub account: String,
    /// In minor units; a debit is positive.
    pub amount_minor: i64,
    /// The line's text.
    pub description: Option<String>,
}

/// A JournalEntry as the company keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// QuickBooks' id.
    pub id: String,
    /// The number that Vesper finds it by.
    pub doc_number: Option<String>,
    /// The date in the books.
    pub txn_date: Date,
    /// The memo.
    pub private_note: Option<String>,
    /// They balance.
    pub lines: Vec<Line>,
    /// When it was made, and when a person last changed it.
    pub updated: Timestamp,
    deleted: bool,
}

/// A Transfer as the company keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// QuickBooks' id.
    pub id: String,
    /// The account that the money leaves.
    pub from: String,
    /// The account that it reaches.
    pub to: String,
    /// In minor units; positive.
    pub amount_minor: i64,
    /// The date in the books.
    pub txn_date: Date,
    /// The memo.
    pub private_note: Option<String>,
    /// When it was made, and when a person last changed it.
    pub updated: Timestamp,
    deleted: bool,
}

#[derive(Clone)]
struct Account {
    id: String,
    name: String,
    account_type: String,
    active: bool,
    currency: String,
}

/// What a requestid was answered with.
#[derive(Clone)]
enum Made {
    Entry(JournalEntry),
    Transfer(Transfer),
}

/// The state of the stand-in.
pub struct QuickBooks {
    realm: String,
    client_id: String,
    client_secret: String,
    rotation: Rotation,
    made: u64,
    refresh_token: Option<String>,
    dead_refresh: HashSet<String>,
    access: HashMap<String, Timestamp>,
    refreshes: Vec<&'static str>,
    consent: consent::Consent,
    accounts: Vec<Account>,
    entries: Vec<JournalEntry>,
    transfers: Vec<Transfer>,
    by_request_id: HashMap<String, Made>,
    close_date: Option<Date>,
}

/// The Fault of this code as QuickBooks answers it, to be put into a script of faults. `10000_on_200` is the Fault that
/// comes with HTTP 200. A code that the stand-in does not have answers as 10000.
#[must_use]
pub fn scripted_fault(code: &str) -> Scripted {
    let text = match code {
        "10000_on_200" => include_str!("../../templates/quickbooks/10000.on_http_200.json"),
        "120" => include_str!("../../templates/quickbooks/120.json"),
        "2020" => include_str!("../../templates/quickbooks/2020.json"),
        "2050" => include_str!("../../templates/quickbooks/2050.json"),
        "2500" => include_str!("../../templates/quickbooks/2500.json"),
        "3001" => include_str!("../../templates/quickbooks/3001.json"),
        "3200" => include_str!("../../templates/quickbooks/3200.json"),
        "4001" => include_str!("../../templates/quickbooks/4001.json"),
        "6000" => include_str!("../../templates/quickbooks/6000.json"),
        "610" => include_str!("../../templates/quickbooks/610.json"),
        "6140" => include_str!("../../templates/quickbooks/6140.json"),
        "6210" => include_str!("../../templates/quickbooks/6210.json"),
        _ => include_str!("../../templates/quickbooks/10000.json"),
    };
    let read: Value = serde_json::from_str(text).unwrap_or_default();
    let status = read.get("http_status").and_then(Value::as_u64).and_then(|s| u16::try_from(s).ok()).unwrap_or(500);
    Scripted::json(status, read.get("body").unwrap_or(&Value::Null))
}

impl QuickBooks {
    fn new(realm: &str, client_id: &str, client_secret: &str) -> QuickBooks {
        let account = |(id, name, account_type): (&str, &str, &str)| Account {
            id: id.to_owned(),
            name: name.to_owned(),
            account_type: account_type.to_owned(),
            active: true,
            currency: "USD".to_owned(),
        };
        QuickBooks {
            realm: realm.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            rotation: Rotation::Daily,
            made: 1,
            refresh_token: Some(FIRST_REFRESH_TOKEN.to_owned()),
            dead_refresh: HashSet::new(),
            access: HashMap::new(),
            refreshes: Vec::new(),
            consent: consent::Consent::default(),
            accounts: ACCOUNTS.map(account).to_vec(),
            entries: Vec::new(),
            transfers: Vec::new(),
            by_request_id: HashMap::new(),
            close_date: None,
        }
    }

    fn next(&mut self) -> u64 {
        self.made = self.made.saturating_add(1);
        self.made
    }

    fn next_id(&mut self) -> String {
        self.next().saturating_add(1000).to_string()
    }

    fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.iter().find(|a| a.id == id)
    }

    fn live_entries(&self) -> impl Iterator<Item = &JournalEntry> {
        self.entries.iter().filter(|e| !e.deleted)
    }

    fn live_transfers(&self) -> impl Iterator<Item = &Transfer> {
        self.transfers.iter().filter(|t| !t.deleted)
    }

    /// What every account holds, in minor units; a debit is positive. Empty accounts are left out.
    fn balances(&self) -> BTreeMap<String, i64> {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        let mut add = |account: &str, amount: i64| {
            let sum = sums.entry(account.to_owned()).or_default();
            *sum = sum.saturating_add(amount);
        };
        for line in self.live_entries().flat_map(|e| &e.lines) {
            add(&line.account, line.amount_minor);
        }
        for transfer in self.live_transfers() {
            add(&transfer.to, transfer.amount_minor);
            add(&transfer.from, transfer.amount_minor.saturating_neg());
        }
        sums.retain(|_, sum| *sum != 0);
        sums
    }

    /// A refresh: the answer's status and body, and one word for the record.
    fn refresh(&mut self, now: Timestamp, given: &str) -> (u16, Value) {
        if self.refresh_token.as_deref() != Some(given) {
            if self.rotation == Rotation::Always && self.dead_refresh.contains(given) {
                // A token used again looks like a theft: the whole connection ends.
                self.access.clear();
                self.refresh_token = None;
            }
            self.refreshes.push("invalid_grant");
            return (400, json!({"error": "invalid_grant", "error_description": "Incorrect or invalid refresh token"}));
        }
        let n = self.next();
        if self.rotation == Rotation::Always {
            self.dead_refresh.insert(given.to_owned());
            self.refresh_token = Some(format!("RT1-standin-{n}"));
        }
        self.refreshes.push("ok");
        (200, self.pair(now, n))
    }

    /// A new access token beside the refresh token that is good now.
    fn pair(&mut self, now: Timestamp, n: u64) -> Value {
        let token = format!("AT-standin-{n}");
        let until = now.saturating_add(SignedDuration::from_secs(ACCESS_LIFE_S)).unwrap_or(Timestamp::MAX);
        self.access.insert(token.clone(), until);
        json!({
            "token_type": "bearer", "access_token": token, "expires_in": ACCESS_LIFE_S, "refresh_token": self.refresh_token,
            "x_refresh_token_expires_in": 8_640_000,
        })
    }
}

impl Default for QuickBooksStandin {
    /// With the default realm and credentials.
    fn default() -> Self {
        QuickBooksStandin::new(DEFAULT_REALM, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    }
}

impl QuickBooksStandin {
    /// A company without entries.
    #[must_use]
    pub fn new(realm: &str, client_id: &str, client_secret: &str) -> QuickBooksStandin {
        Standin::over(QuickBooks::new(realm, client_id, client_secret))
    }

    /// The token endpoint under the made-up origin.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}{}", self.origin(), http::TOKEN_PATH)
    }

    /// How refresh tokens change from now on.
    pub fn set_rotation(&self, rotation: Rotation) {
        self.with(|q, _| q.rotation = rotation);
    }

    /// Every access token has ended.
    pub fn expire_access(&self) {
        self.with(|q, _| q.access.clear());
    }

    /// The owner disconnected the app: access and refresh token are dead.
    pub fn revoke(&self) {
        self.with(|q, _| {
            q.access.clear();
            if let Some(dead) = q.refresh_token.take() {
                q.dead_refresh.insert(dead);
            }
        });
    }

    /// The owner consented again. Answers the new refresh token.
    pub fn reconnect(&self) -> String {
        self.with(|q, _| {
            let token = format!("RT1-standin-{}-reconnected", q.next());
            q.refresh_token = Some(token.clone());
            token
        })
    }

    /// The refresh token that is good now.
    #[must_use]
    pub fn refresh_token(&self) -> Option<String> {
        self.with(|q, _| q.refresh_token.clone())
    }

    /// The access tokens that were given out and not taken back, in no order.
    #[must_use]
    pub fn access_tokens(&self) -> Vec<String> {
        self.with(|q, _| q.access.keys().cloned().collect())
    }

    /// What every call of the token endpoint came to: `ok`, `invalid_grant`, `invalid_client`.
    #[must_use]
    pub fn refreshes(&self) -> Vec<&'static str> {
        self.with(|q, _| q.refreshes.clone())
    }

    /// The books are closed up to and with this day; None: open.
    pub fn set_close_date(&self, close_date: Option<Date>) {
        self.with(|q, _| q.close_date = close_date);
    }

    /// One more account.
    pub fn add_account(&self, id: &str, name: &str, account_type: &str) {
        self.with(|q, _| {
            q.accounts.retain(|a| a.id != id);
            let (id, name, account_type) = (id.to_owned(), name.to_owned(), account_type.to_owned());
            q.accounts.push(Account { id, name, account_type, active: true, currency: "USD".to_owned() });
        });
    }

    /// A person deactivates an account.
    pub fn deactivate(&self, account_id: &str) {
        self.with(|q, _| {
            for account in q.accounts.iter_mut().filter(|a| a.id == account_id) {
                account.active = false;
            }
        });
    }

    /// The currency of an account.
    pub fn set_account_currency(&self, account_id: &str, currency: &str) {
        self.with(|q, _| {
            for account in q.accounts.iter_mut().filter(|a| a.id == account_id) {
                account.currency = currency.to_owned();
            }
        });
    }

    /// A person makes an entry; debits positive, in minor units. Answers its id. Panics when it does not balance.
    pub fn book_by_person(&self, txn_date: Date, lines: &[(&str, i64)]) -> String {
        assert_eq!(lines.iter().map(|(_, amount)| amount).sum::<i64>(), 0, "an entry balances");
        self.with(|q, d| {
            let line = |(account, amount_minor): &(&str, i64)| Line {
                account: (*account).to_owned(),
                amount_minor: *amount_minor,
                description: None,
            };
            let id = q.next_id();
            let (lines, updated) = (lines.iter().map(line).collect(), d.now());
            let entry =
                JournalEntry { id: id.clone(), doc_number: None, txn_date, private_note: None, lines, updated, deleted: false };
            q.entries.push(entry);
            id
        })
    }

    /// A person deletes an entry or transfer. CDC tells of it.
    pub fn delete_by_person(&self, id: &str) {
        self.with(|q, d| {
            let entry = q.entries.iter_mut().find(|e| e.id == id).map(|e| (&mut e.deleted, &mut e.updated));
            let transfer = q.transfers.iter_mut().find(|t| t.id == id).map(|t| (&mut t.deleted, &mut t.updated));
            let Some((deleted, updated)) = entry.or(transfer) else {
                panic!("the QuickBooks stand-in has nothing with the id {id}");
            };
            *deleted = true;
            *updated = d.now();
        });
    }

    /// A person gives an entry other lines; debits positive, in minor units. CDC tells of it. Panics when it does not balance.
    pub fn edit_by_person(&self, id: &str, lines: &[(&str, i64)]) {
        assert_eq!(lines.iter().map(|(_, amount)| amount).sum::<i64>(), 0, "an entry balances");
        self.with(|q, d| {
            let Some(entry) = q.entries.iter_mut().find(|e| e.id == id && !e.deleted) else {
                panic!("the QuickBooks stand-in has no entry with the id {id}");
            };
            let line = |(account, amount_minor): &(&str, i64)| Line {
                account: (*account).to_owned(),
                amount_minor: *amount_minor,
                description: None,
            };
            entry.lines = lines.iter().map(line).collect();
            entry.updated = d.now();
        });
    }

    /// The journal entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<JournalEntry> {
        self.with(|q, _| q.live_entries().cloned().collect())
    }

    /// The transfers, oldest first.
    #[must_use]
    pub fn transfers(&self) -> Vec<Transfer> {
        self.with(|q, _| q.live_transfers().cloned().collect())
    }

    /// What every account holds, in minor units; a debit is positive. Empty accounts are left out.
    #[must_use]
    pub fn balances(&self) -> BTreeMap<String, i64> {
        self.with(|q, _| q.balances())
    }
}

#[cfg(test)]
mod tests;
