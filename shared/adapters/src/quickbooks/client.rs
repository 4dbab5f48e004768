//! The calls to the accounting interface of QuickBooks Online.
//!
//! Must not: take HTTP 200 for success, send a draft that does not balance, or put anything personal into a URL.

mod company;

pub use company::{AccountListed, Company};

use super::{
    DOC_NUMBER_MAX, EntryDraft, TransferDraft,
    faults::{self, Call},
    flaw_of_entry, flaw_of_transfer, is_plain, wire,
};
use crate::{
    error::{CallError, Class},
    http::{HttpRequest, HttpResponse, SharedTransport},
    personal::Secret,
};
use bytes::Bytes;
use http::Method;
use jiff::{Timestamp, civil::Date};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use vesper_core::money::Minor;

/// The version that every call asks for: 1 to 74 are ignored since 2025-08-01 (facts/quickbooks.md A2).
const MINOR_VERSION: &str = "minorversion=75";
/// The most rows of one query (facts/quickbooks.md A2).
const ROWS_MAX: usize = 1_000;
/// Account types of the profit and loss statement: QuickBooks keeps no current balance for them.
const PROFIT_AND_LOSS: [&str; 5] = ["Income", "Other Income", "Expense", "Other Expense", "Cost of Goods Sold"];

/// What QuickBooks has booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// Its `Id` there.
    pub id: String,
}

/// A JournalEntry that stands in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEntry {
    /// Its `Id`.
    pub id: String,
    /// Its `TxnDate`.
    pub date: Date,
    /// Account id and amount, debit positive.
    pub lines: Vec<(String, Minor)>,
    /// The `Id`s of later entries with the same DocNumber, in order: duplicates, to be reversed and shown.
    pub duplicates: Vec<String>,
}

/// A Transfer that stands in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTransfer {
    /// Its `Id`.
    pub id: String,
    /// Its `PrivateNote`, empty if it has none.
    pub note: String,
}

/// A JournalEntry or Transfer that somebody made, edited or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedEntry {
    /// Its `Id`; entries and transfers share one count.
    pub id: String,
    /// When it changed last, if QuickBooks says so.
    pub updated: Option<Timestamp>,
    /// How it is now; None once it is deleted.
    pub now: Option<EntryNow>,
}

/// An entry as it stands in the books.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryNow {
    /// `DocNumber`; a Transfer has none.
    pub doc_number: Option<String>,
    /// `TxnDate`; None when it cannot be read.
    pub date: Option<Date>,
    /// Account id and amount, debit positive; empty when they cannot be read as the lines of a posting.
    pub lines: Vec<(String, Minor)>,
    /// The posting that its note names (`vesper pst_...`), if it does.
    pub posting: Option<String>,
}

/// An account as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountNow {
    /// Its `Id`.
    pub id: String,
    /// Its name in the practice's books.
    pub name: String,
    /// False once somebody deleted it: QuickBooks only deactivates.
    pub active: bool,
    /// `AccountType`, such as `Bank` or `Income`.
    pub account_type: String,
    /// `CurrentBalance`, as QuickBooks signs it; zero for an income or expense account without one.
    pub balance: Minor,
}

/// The accounting interface of one company. Holds no token: each call is given one.
#[derive(Clone)]
pub struct QuickBooksClient {
    transport: SharedTransport,
    company_url: String,
}

impl QuickBooksClient {
    /// A client of the company `realm_id` at `api_base` (`books.api_base`, `books.realm_id` of contracts/settings.md).
    #[must_use]
    pub fn new(transport: SharedTransport, api_base: &str, realm_id: &str) -> Self {
        let company_url = format!("{}/v3/company/{}", api_base.trim_end_matches('/'), encoded(realm_id));
        Self { transport, company_url }
    }

    /// Creates a JournalEntry, and checks that the one in the answer is the one sent.
    ///
    /// # Errors
    /// `OutcomeUnknown` unless the answer says for certain what happened: look for it with [`Self::find_entry`] before
    /// another try. `Rejected` carries the Fault code: 6210 is a closed period, 6140 a DocNumber that exists already.
    /// `Bug` when the draft may not be sent.
    pub async fn create_entry(&self, token: &Secret, draft: &EntryDraft) -> Result<Booked, CallError> {
        let attempted = format!("create journal entry {}", draft.doc_number);
        let body = sendable(&attempted, flaw_of_entry(draft), || wire::entry_body(draft))?;
        let answer = self.create(token, "journalentry", &draft.request_id, body, &attempted).await?;
        let unlike = |what: &str| Call::Create.unreadable(&attempted, &answer, what);
        let entry = wire::entry(&answer.body).ok_or_else(|| unlike("no journal entry"))?;
        let lines = entry.lines().ok_or_else(|| unlike("lines without accounts"))?;
        if entry.id.is_empty() || entry.doc_number.as_deref() != Some(draft.doc_number.as_str()) {
            return Err(unlike("another DocNumber or no Id"));
        }
        if wire::sums_by_account(&lines) != wire::sums_by_account(&draft.lines) {
            return Err(unlike("other line sums"));
        }
        Ok(Booked { id: entry.id })
    }

    /// Creates a Transfer, and checks that the one in the answer is the one sent.
    ///
    /// # Errors
    /// As [`Self::create_entry`]; an unknown outcome is looked for with [`Self::find_transfers`].
    pub async fn create_transfer(&self, token: &Secret, draft: &TransferDraft) -> Result<Booked, CallError> {
        let attempted = format!("create transfer {}", draft.request_id);
        let body = sendable(&attempted, flaw_of_transfer(draft), || wire::transfer_body(draft))?;
        let answer = self.create(token, "transfer", &draft.request_id, body, &attempted).await?;
        let unlike = |what: &str| Call::Create.unreadable(&attempted, &answer, what);
        let transfer = wire::transfer(&answer.body).ok_or_else(|| unlike("no transfer"))?;
        if transfer.id.is_empty() || !transfer.moves(draft.amount, &draft.from, &draft.to) {
            return Err(unlike("another amount, other accounts or no Id"));
        }
        Ok(Booked { id: transfer.id })
    }

    /// The JournalEntry with this DocNumber: the oldest, if there are several.
    ///
    /// # Errors
    /// As every read: `Transient`, `Throttled`, `Unauthorized`, `Rejected`, or `Bug` for an answer that cannot be read.
    pub async fn find_entry(&self, token: &Secret, doc_number: &str) -> Result<Option<FoundEntry>, CallError> {
        let attempted = format!("find journal entry {doc_number}");
        if !is_plain(doc_number, DOC_NUMBER_MAX) {
            return Err(faults::failed("find journal entry", Class::Bug, "not a DocNumber of ours".to_owned(), None));
        }
        let (answer, rows) =
            self.query(token, &format!("select * from JournalEntry where DocNumber = '{doc_number}'"), &attempted).await?;
        let mut entries = rows.journal_entry;
        entries.retain(|e| e.doc_number.as_deref() == Some(doc_number));
        entries.sort_by(|a, b| (a.id.len(), &a.id).cmp(&(b.id.len(), &b.id)));
        let mut entries = entries.into_iter();
        let Some(first) = entries.next() else { return Ok(None) };
        let lines = first.lines().ok_or_else(|| Call::Read.unreadable(&attempted, &answer, "lines without accounts"))?;
        Ok(Some(FoundEntry { id: first.id, date: first.txn_date, lines, duplicates: entries.map(|e| e.id).collect() }))
    }

    /// The Transfers of this day, amount and direction. A Transfer has no DocNumber and its note cannot be queried
    /// (facts/quickbooks.md A5), so the day is asked for and the rest compared here.
    ///
    /// # Errors
    /// As [`Self::find_entry`]; `Bug` too if the day has more Transfers than one answer holds.
    pub async fn find_transfers(
        &self,
        token: &Secret,
        date: Date,
        amount: Minor,
        from: &str,
        to: &str,
    ) -> Result<Vec<FoundTransfer>, CallError> {
        let attempted = format!("find transfers of {date}");
        let text = format!("select * from Transfer where TxnDate = '{date}' maxresults {ROWS_MAX}");
        let (answer, rows) = self.query(token, &text, &attempted).await?;
        if rows.transfer.len() >= ROWS_MAX {
            return Err(Call::Read.unreadable(&attempted, &answer, "more transfers than one answer holds"));
        }
        let alike = rows.transfer.into_iter().filter(|t| t.txn_date == date && t.moves(amount, from, to));
        Ok(alike.map(|t| FoundTransfer { id: t.id, note: t.private_note.unwrap_or_default() }).collect())
    }

    /// The last day of the closed period, if the practice has closed its books.
    ///
    /// # Errors
    /// As [`Self::find_entry`].
    pub async fn book_close_date(&self, token: &Secret) -> Result<Option<Date>, CallError> {
        let attempted = "read preferences";
        let answer = self.read(token, "preferences", "", attempted).await?;
        wire::book_close_date(&answer.body).ok_or_else(|| Call::Read.unreadable(attempted, &answer, "no preferences"))
    }

    /// An account as it is now.
    ///
    /// # Errors
    /// As [`Self::find_entry`]; `Rejected` with code 610 if there is none of this id.
    pub async fn account(&self, token: &Secret, id: &str) -> Result<AccountNow, CallError> {
        let attempted = format!("read account {id}");
        let answer = self.read(token, &format!("account/{}", encoded(id)), "", &attempted).await?;
        let unlike = |what: &str| Call::Read.unreadable(&attempted, &answer, what);
        let account = wire::account(&answer.body).filter(|a| a.id == id).ok_or_else(|| unlike("not that account"))?;
        let balance = match account.current_balance {
            Some(amount) => amount.0,
            None if PROFIT_AND_LOSS.contains(&account.account_type.as_str()) => Minor::ZERO,
            None => return Err(unlike("no balance")),
        };
        let (id, name, active, account_type) = (account.id, account.name, account.active, account.account_type);
        Ok(AccountNow { id, name, active, account_type, balance })
    }

    /// The JournalEntries and Transfers that changed since, deleted ones too, at most a thousand of each; at most 30 days back
    /// (facts/quickbooks.md A2).
    ///
    /// # Errors
    /// As [`Self::find_entry`].
    pub async fn changes(&self, token: &Secret, since: Timestamp) -> Result<Vec<ChangedEntry>, CallError> {
        let attempted = "read changes";
        let query = format!("entities=JournalEntry,Transfer&changedSince={}&", encoded(&whole_seconds(since)));
        let answer = self.read(token, "cdc", &query, attempted).await?;
        let changed = wire::changes(&answer.body).ok_or_else(|| Call::Read.unreadable(attempted, &answer, "no changes"))?;
        Ok(changed.into_iter().map(changed_entry).collect())
    }

    async fn create(
        &self,
        token: &Secret,
        entity: &str,
        request_id: &str,
        body: Bytes,
        attempted: &str,
    ) -> Result<HttpResponse, CallError> {
        let url = format!("{}/{entity}?{MINOR_VERSION}&requestid={request_id}", self.company_url);
        let mut headers = headers(token);
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        self.call(Call::Create, HttpRequest { method: Method::POST, url, headers, body }, attempted).await
    }

    async fn query(&self, token: &Secret, text: &str, attempted: &str) -> Result<(HttpResponse, wire::Rows), CallError> {
        let answer = self.read(token, "query", &format!("query={}&", encoded(text)), attempted).await?;
        let rows = wire::rows(&answer.body).ok_or_else(|| Call::Read.unreadable(attempted, &answer, "no query answer"))?;
        Ok((answer, rows))
    }

    async fn read(&self, token: &Secret, path: &str, query: &str, attempted: &str) -> Result<HttpResponse, CallError> {
        let url = format!("{}/{path}?{query}{MINOR_VERSION}", self.company_url);
        let request = HttpRequest { method: Method::GET, url, headers: headers(token), body: Bytes::new() };
        self.call(Call::Read, request, attempted).await
    }

    async fn call(&self, call: Call, request: HttpRequest, attempted: &str) -> Result<HttpResponse, CallError> {
        let answer = self.transport.send(request).await.map_err(|e| call.no_answer(attempted, e))?;
        call.check(attempted, &answer)?;
        Ok(answer)
    }
}

/// A moment as CDC takes it.
fn whole_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn changed_entry(changed: wire::Changed) -> ChangedEntry {
    let named = |note: Option<&str>| note.and_then(|n| n.strip_prefix("vesper ")).map(|id| id.trim().to_owned());
    let now = match changed.now {
        wire::ChangedNow::Deleted => None,
        wire::ChangedNow::Unlike => Some(EntryNow::default()),
        wire::ChangedNow::Entry(e) => Some(EntryNow {
            lines: e.lines().unwrap_or_default(),
            posting: named(e.private_note.as_deref()),
            date: Some(e.txn_date),
            doc_number: e.doc_number,
        }),
        wire::ChangedNow::Transfer(t) => Some(EntryNow {
            lines: t.lines(),
            posting: named(t.private_note.as_deref()),
            date: Some(t.txn_date),
            doc_number: None,
        }),
    };
    ChangedEntry { id: changed.id, updated: changed.updated, now }
}

fn headers(token: &Secret) -> Vec<(String, String)> {
    vec![("accept".to_owned(), "application/json".to_owned()), ("authorization".to_owned(), format!("Bearer {}", token.expose()))]
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The body of a draft without flaw; nothing is sent for another.
fn sendable(attempted: &str, flaw: Option<&str>, body: impl FnOnce() -> Option<Bytes>) -> Result<Bytes, CallError> {
    let bug = |what: &str| faults::failed(attempted, Class::Bug, format!("not sent: {what}"), None);
    match flaw {
        Some(flaw) => Err(bug(flaw)),
        None => body().ok_or_else(|| bug("no JSON")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{BoxFuture, Transport, TransportError};
    use crate::quickbooks::request_id;
    use jiff::civil::date;
    use std::sync::{Arc, Mutex};

    /// Answers every call the same and keeps what was sent.
    struct Script {
        answer: Result<(u16, String), TransportError>,
        sent: Mutex<Vec<HttpRequest>>,
    }

    impl Transport for Script {
        fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
            self.sent.lock().unwrap().push(request);
            let response = |(status, body): (u16, String)| HttpResponse { status, headers: vec![], body: body.into() };
            let answer = self.answer.clone().map(response);
            Box::pin(async move { answer })
        }
    }

    fn client(answer: Result<(u16, String), TransportError>) -> (QuickBooksClient, Arc<Script>) {
        let script = Arc::new(Script { answer, sent: Mutex::default() });
        (QuickBooksClient::new(script.clone(), "https://books.example/", "1234567890"), script)
    }

    fn now<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn fixture(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/quickbooks");
        std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap()
    }

    fn minor(amount: i64) -> Minor {
        Minor::new(amount).unwrap()
    }

    fn token() -> Secret {
        Secret::new("AT-1")
    }

    /// What examples/journalentry.daily answers to.
    fn daily() -> EntryDraft {
        let lines = [("91", 23361), ("66", 839), ("79", -4200), ("80", -15000), ("95", -5000)];
        EntryDraft {
            date: date(2026, 11, 20),
            doc_number: "RX-261120-K7Q2M9D4TA".into(),
            lines: lines.iter().map(|(account, amount)| ((*account).to_owned(), minor(*amount))).collect(),
            note: "pst_1".into(),
            request_id: request_id("pst_1"),
        }
    }

    /// What examples/transfer.payout_negative answers to.
    fn negative_payout() -> TransferDraft {
        TransferDraft {
            date: date(2026, 11, 22),
            from: "35".into(),
            to: "91".into(),
            amount: minor(19161),
            note: "pst_2".into(),
            request_id: request_id("pst_2"),
        }
    }

    fn headers_of(request: &HttpRequest) -> Vec<(&str, &str)> {
        request.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()
    }

    #[test]
    fn an_entry_is_sent_as_the_interface_wants_it_and_its_id_comes_back() {
        let (client, script) = client(Ok((200, fixture("examples/journalentry.daily.response"))));
        assert_eq!(now(client.create_entry(&token(), &daily())), Ok(Booked { id: "1201".into() }));
        let sent = script.sent.lock().unwrap();
        let url =
            format!("https://books.example/v3/company/1234567890/journalentry?minorversion=75&requestid={}", daily().request_id);
        assert_eq!((sent.len(), sent[0].method.as_str(), sent[0].url.as_str()), (1, "POST", url.as_str()));
        let headers = [("accept", "application/json"), ("authorization", "Bearer AT-1"), ("content-type", "application/json")];
        assert_eq!(headers_of(&sent[0]), headers);
        let line = |amount: &str, side: &str, account: &str| {
            format!(
                r#"{{"Amount":{amount},"DetailType":"JournalEntryLineDetail","JournalEntryLineDetail":{{"PostingType":"{side}","AccountRef":{{"value":"{account}"}}}}}}"#
            )
        };
        let lines = [
            line("233.61", "Debit", "91"),
            line("8.39", "Debit", "66"),
            line("42.00", "Credit", "79"),
            line("150.00", "Credit", "80"),
            line("50.00", "Credit", "95"),
        ];
        let body = format!(
            r#"{{"TxnDate":"2026-11-20","DocNumber":"RX-261120-K7Q2M9D4TA","PrivateNote":"pst_1","Line":[{}]}}"#,
            lines.join(",")
        );
        assert_eq!(String::from_utf8_lossy(&sent[0].body), body);
    }

    #[test]
    fn a_transfer_is_sent_as_the_interface_wants_it_and_its_id_comes_back() {
        let (client, script) = client(Ok((200, fixture("examples/transfer.payout_negative.response"))));
        assert_eq!(now(client.create_transfer(&token(), &negative_payout())), Ok(Booked { id: "1301".into() }));
        let sent = script.sent.lock().unwrap();
        let url =
            format!("https://books.example/v3/company/1234567890/transfer?minorversion=75&requestid={}", request_id("pst_2"));
        assert_eq!((sent[0].method.as_str(), sent[0].url.as_str()), ("POST", url.as_str()));
        let body = r#"{"TxnDate":"2026-11-22","Amount":191.61,"FromAccountRef":{"value":"35"},"ToAccountRef":{"value":"91"},"PrivateNote":"pst_2"}"#;
        assert_eq!(String::from_utf8_lossy(&sent[0].body), body);
    }

    #[test]
    fn the_bodies_say_the_same_as_the_examples() {
        let money = |v: &serde_json::Value| v.to_string().trim_end_matches('0').trim_end_matches('.').to_owned();
        let example: serde_json::Value = serde_json::from_str(&fixture("examples/journalentry.daily.request")).unwrap();
        let ours: serde_json::Value = serde_json::from_slice(&wire::entry_body(&daily()).unwrap()).unwrap();
        for (a, b) in example["Line"].as_array().unwrap().iter().zip(ours["Line"].as_array().unwrap()) {
            assert_eq!(a["JournalEntryLineDetail"], b["JournalEntryLineDetail"]);
            assert_eq!((money(&a["Amount"]), &a["DetailType"]), (money(&b["Amount"]), &b["DetailType"]));
        }
        let example: serde_json::Value = serde_json::from_str(&fixture("examples/transfer.payout_negative.request")).unwrap();
        let ours: serde_json::Value = serde_json::from_slice(&wire::transfer_body(&negative_payout()).unwrap()).unwrap();
        for key in ["FromAccountRef", "ToAccountRef", "TxnDate", "Amount"] {
            assert_eq!(example[key], ours[key], "{key}");
        }
    }

    #[test]
    fn a_200_that_is_not_what_was_sent_leaves_the_outcome_unknown() {
        let good = fixture("examples/journalentry.daily.response");
        let bent = [
            good.replace("K7Q2M9D4TA", "K7Q2M9D4TB"),
            good.replace("\"DocNumber\"", "\"Doc\""),
            good.replace("233.61", "233.62"),
            good.replace("233.61", "233.611"),
            good.replace("\"value\": \"66\"", "\"value\": \"67\""),
            good.replace("\"Id\": \"1201\"", "\"Id\": \"\""),
            good.replace("\"Id\": \"1201\"", "\"No\": \"1201\""),
            good.replace("\"JournalEntry\"", "\"Bill\""),
            fixture("examples/void.journalentry.silent_noop_200"),
            "<html>maintenance</html>".to_owned(),
            String::new(),
        ];
        for body in bent {
            let (client, _) = client(Ok((200, body.clone())));
            let error = now(client.create_entry(&token(), &daily())).unwrap_err();
            assert_eq!(error.class, Class::OutcomeUnknown, "{body}");
        }
        let good = fixture("examples/transfer.payout_negative.response");
        for body in [good.replace("191.61", "191.60"), good.replace("\"91\"", "\"92\""), good.replace("\"Transfer\"", "\"Bill\"")]
        {
            let (client, _) = client(Ok((200, body)));
            assert_eq!(now(client.create_transfer(&token(), &negative_payout())).unwrap_err().class, Class::OutcomeUnknown);
        }
    }

    #[test]
    fn no_answer_to_a_create_is_unknown_unless_it_was_never_sent() {
        let cases = [
            (TransportError::NotSent, Class::Transient, Class::Transient),
            (TransportError::OutcomeUnknown, Class::OutcomeUnknown, Class::Transient),
        ];
        for (error, on_create, on_read) in cases {
            let (client, _) = client(Err(error));
            assert_eq!(now(client.create_entry(&token(), &daily())).unwrap_err().class, on_create);
            assert_eq!(now(client.create_transfer(&token(), &negative_payout())).unwrap_err().class, on_create);
            assert_eq!(now(client.find_entry(&token(), "VS-1")).unwrap_err().class, on_read);
            assert_eq!(now(client.book_close_date(&token())).unwrap_err().class, on_read);
        }
    }

    #[test]
    fn a_draft_with_a_flaw_is_never_sent() {
        let entry = |change: fn(&mut EntryDraft)| {
            let mut draft = daily();
            change(&mut draft);
            draft
        };
        let entries = [
            entry(|d| d.lines[0].1 = Minor::ZERO),
            entry(|d| d.lines[0].1 = Minor::new(1).unwrap()),
            entry(|d| d.lines[0].0.clear()),
            entry(|d| d.lines.clear()),
            entry(|d| d.doc_number = "VS-261121-AAAAAAAAAAAA".into()),
            entry(|d| d.doc_number = "O'Hara".into()),
            entry(|d| d.request_id.clear()),
            entry(|d| d.note = "x".repeat(1_001)),
        ];
        let (client, script) = client(Ok((200, String::new())));
        for draft in entries {
            assert_eq!(now(client.create_entry(&token(), &draft)).unwrap_err().class, Class::Bug, "{draft:?}");
        }
        for (to, amount) in [("35", 1), ("91", 0), ("91", -1), ("", 1)] {
            let draft = TransferDraft { to: to.into(), amount: minor(amount), ..negative_payout() };
            assert_eq!(now(client.create_transfer(&token(), &draft)).unwrap_err().class, Class::Bug, "{draft:?}");
        }
        assert_eq!(now(client.find_entry(&token(), "x' or '")).unwrap_err().class, Class::Bug);
        assert!(script.sent.lock().unwrap().is_empty());
    }

    #[test]
    fn a_refused_entry_carries_the_fault_code() {
        for code in ["6210", "6140"] {
            let file: serde_json::Value = serde_json::from_str(&fixture(&format!("faults/{code}"))).unwrap();
            let (client, _) = client(Ok((400, file["body"].to_string())));
            let error = now(client.create_entry(&token(), &daily())).unwrap_err();
            assert_eq!((error.class, error.code.as_deref()), (Class::Rejected, Some(code)));
        }
    }

    #[test]
    fn an_entry_is_found_by_its_doc_number() {
        let (client, script) = client(Ok((200, fixture("examples/query.journalentry_by_docnumber.hit"))));
        let found = now(client.find_entry(&token(), "RX-261120-K7Q2M9D4TA")).unwrap().unwrap();
        assert_eq!((found.id.as_str(), found.date, &found.lines), ("1201", date(2026, 11, 20), &daily().lines));
        assert!(found.duplicates.is_empty());
        let sent = script.sent.lock().unwrap();
        let url = "https://books.example/v3/company/1234567890/query?query=select%20%2A%20from%20JournalEntry%20where%20DocNumber%20%3D%20%27RX%2D261120%2DK7Q2M9D4TA%27&minorversion=75";
        assert_eq!((sent[0].method.as_str(), sent[0].url.as_str(), sent[0].body.len()), ("GET", url, 0));
        assert_eq!(headers_of(&sent[0]), [("accept", "application/json"), ("authorization", "Bearer AT-1")]);
    }

    #[test]
    fn nothing_found_is_none_but_an_answer_without_a_query_response_is_not() {
        let find = |body: &str| {
            let (client, _) = client(Ok((200, body.to_owned())));
            now(client.find_entry(&token(), "VS-1"))
        };
        assert_eq!(find(&fixture("examples/query.empty")), Ok(None));
        for body in ["{}", "", "[]", r#"{"QueryResponse":{"JournalEntry":[{"Id":"1"}]}}"#] {
            assert_eq!(find(body).unwrap_err().class, Class::Bug, "{body}");
        }
    }

    #[test]
    fn of_several_entries_the_oldest_is_found_and_the_others_are_named() {
        let row = |id: &str| format!(r#"{{"Id":"{id}","DocNumber":"VS-1","TxnDate":"2026-11-20","Line":[]}}"#);
        let body = format!(r#"{{"QueryResponse":{{"JournalEntry":[{},{},{}]}}}}"#, row("1000"), row("999"), row("1001"));
        let (client, _) = client(Ok((200, body)));
        let found = now(client.find_entry(&token(), "VS-1")).unwrap().unwrap();
        assert_eq!((found.id.as_str(), found.duplicates), ("999", vec!["1000".to_owned(), "1001".to_owned()]));
    }

    #[test]
    fn transfers_are_found_by_day_amount_and_direction() {
        let row = |id: &str, day: &str, amount: &str, from: &str, to: &str| {
            format!(
                r#"{{"Id":"{id}","TxnDate":"{day}","Amount":{amount},"FromAccountRef":{{"value":"{from}"}},"ToAccountRef":{{"value":"{to}"}}}}"#
            )
        };
        let rows = [
            row("5", "2026-11-22", "191.6", "91", "35"),
            row("4", "2026-11-22", "191.60", "35", "91"),
            row("3", "2026-11-22", "191.61", "91", "35"),
            row("2", "2026-11-23", "191.60", "91", "35"),
            row("1", "2026-11-22", "191.60", "91", "35").replace("\"Id\"", "\"PrivateNote\":\"pst_2\",\"Id\""),
        ];
        let (client, script) = client(Ok((200, format!(r#"{{"QueryResponse":{{"Transfer":[{}]}}}}"#, rows.join(",")))));
        let found = now(client.find_transfers(&token(), date(2026, 11, 22), minor(19160), "91", "35")).unwrap();
        let found: Vec<_> = found.iter().map(|t| (t.id.as_str(), t.note.as_str())).collect();
        assert_eq!(found, [("5", ""), ("1", "pst_2")]);
        let url = "https://books.example/v3/company/1234567890/query?query=select%20%2A%20from%20Transfer%20where%20TxnDate%20%3D%20%272026%2D11%2D22%27%20maxresults%201000&minorversion=75";
        assert_eq!(script.sent.lock().unwrap()[0].url, url);
    }

    #[test]
    fn the_close_date_is_read_and_absent_if_the_books_are_open() {
        let (with, script) = client(Ok((200, fixture("examples/preferences.closedate"))));
        assert_eq!(now(with.book_close_date(&token())), Ok(Some(date(2026, 10, 31))));
        let url = "https://books.example/v3/company/1234567890/preferences?minorversion=75";
        assert_eq!(script.sent.lock().unwrap()[0].url, url);
        let (without, _) = client(Ok((200, r#"{"Preferences":{"AccountingInfoPrefs":{}}}"#.into())));
        assert_eq!(now(without.book_close_date(&token())), Ok(None));
        let (broken, _) = client(Ok((200, r#"{"Preferences":{}}"#.into())));
        assert_eq!(now(broken.book_close_date(&token())).unwrap_err().class, Class::Bug);
    }

    #[test]
    fn changes_tell_what_is_edited_and_what_is_gone() {
        let entry = |id: &str, note: &str, amount: &str| {
            let line = |side: &str, account: &str| {
                format!(
                    r#"{{"Amount":{amount},"JournalEntryLineDetail":{{"PostingType":"{side}","AccountRef":{{"value":"{account}"}}}}}}"#
                )
            };
            let lines = [line("Debit", "91"), line("Credit", "80")].join(",");
            format!(
                r#"{{"Id":"{id}","DocNumber":"VS-1","TxnDate":"2026-11-20","PrivateNote":"{note}","Line":[{lines}],"MetaData":{{"LastUpdatedTime":"2026-11-20T19:00:00-08:00"}}}}"#
            )
        };
        let transfer =
            r#"{"Id":"3","TxnDate":"2026-11-22","Amount":5.00,"FromAccountRef":{"value":"91"},"ToAccountRef":{"value":"35"}}"#;
        let deleted = r#"{"Id":"2","domain":"QBO","status":"Deleted"}"#;
        let body = format!(
            r#"{{"CDCResponse":[{{"QueryResponse":[{{"JournalEntry":[{},{deleted},{}],"startPosition":1}},{{}},{{"Transfer":[{transfer}]}}]}}]}}"#,
            entry("1", "vesper pst_1", "42.00"),
            entry("4", "mine", "0.001"),
        );
        let (client, script) = client(Ok((200, body)));
        let since = "2026-11-19T10:00:00.5Z".parse().unwrap();
        let changes = now(client.changes(&token(), since)).unwrap();
        let told: Vec<_> = changes.iter().map(|c| (c.id.as_str(), c.now.as_ref().map(|n| n.lines.len()))).collect();
        assert_eq!(told, [("1", Some(2)), ("2", None), ("4", Some(0)), ("3", Some(2))]);
        let first = changes[0].now.as_ref().unwrap();
        assert_eq!((first.posting.as_deref(), first.doc_number.as_deref()), (Some("pst_1"), Some("VS-1")));
        assert_eq!(changes[0].updated, Some("2026-11-21T03:00:00Z".parse().unwrap()));
        assert_eq!(changes[3].now.as_ref().unwrap().lines, [("35".to_owned(), minor(500)), ("91".to_owned(), minor(-500))]);
        let url = "https://books.example/v3/company/1234567890/cdc?entities=JournalEntry,Transfer&changedSince=2026%2D11%2D19T10%3A00%3A00Z&minorversion=75";
        assert_eq!(script.sent.lock().unwrap()[0].url, url);
        let (empty, _) = self::client(Ok((200, r#"{"CDCResponse":[{"QueryResponse":[{},{}]}]}"#.into())));
        assert_eq!(now(empty.changes(&token(), since)), Ok(vec![]));
        let (other, _) = self::client(Ok((200, "{}".into())));
        assert_eq!(now(other.changes(&token(), since)).unwrap_err().class, Class::Bug);
    }

    #[test]
    fn an_account_is_read_with_its_balance() {
        let (with, script) = client(Ok((200, fixture("examples/account.clearing.response"))));
        let account = now(with.account(&token(), "91")).unwrap();
        assert_eq!((account.name.as_str(), account.active, account.account_type.as_str()), ("Stripe Clearing", true, "Bank"));
        assert_eq!(account.balance, minor(23361));
        let url = "https://books.example/v3/company/1234567890/account/91?minorversion=75";
        assert_eq!(script.sent.lock().unwrap()[0].url, url);
        assert_eq!(now(with.account(&token(), "92")).unwrap_err().class, Class::Bug);
        let bare = |kind: &str| {
            let body = format!(r#"{{"Account":{{"Id":"79","Name":"n","Active":true,"AccountType":"{kind}"}}}}"#);
            let (client, _) = client(Ok((200, body)));
            now(client.account(&token(), "79"))
        };
        assert_eq!(bare("Income").unwrap().balance, Minor::ZERO);
        assert_eq!(bare("Bank").unwrap_err().class, Class::Bug);
    }
}
