use super::*;
use crate::{Fault, FaultKind, Handle, tests::clock_at};
use base64::Engine as _;
use bytes::Bytes;
use jiff::civil::date;
use std::sync::atomic::Ordering;
use vesper_adapters::http::{HttpRequest, TransportError};

const NOON: i64 = 1_795_190_400;
const JE: &str = "/v3/company/1234567890/journalentry?minorversion=75&requestid=";
const TRANSFER: &str = "/v3/company/1234567890/transfer?requestid=";

struct Client {
    books: QuickBooksStandin,
    token: String,
    refresh: String,
}

impl Client {
    fn new() -> Client {
        let (clock, _) = clock_at(NOON);
        let books = QuickBooksStandin::default();
        books.set_clock(clock);
        let mut client = Client { books, token: String::new(), refresh: FIRST_REFRESH_TOKEN.to_owned() };
        assert_eq!(client.renew(), 200);
        client
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Result<(u16, Value), TransportError> {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let url = format!("{}{target}", self.books.origin());
        let request = HttpRequest { method: method.parse().unwrap(), url, headers, body: Bytes::from(body.to_owned()) };
        let reply = self.books.exchange(&request)?;
        Ok((reply.status, serde_json::from_slice(&reply.body).unwrap_or_default()))
    }

    fn renew(&mut self) -> u16 {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{DEFAULT_CLIENT_ID}:{DEFAULT_CLIENT_SECRET}"));
        let headers =
            [("authorization", format!("Basic {pair}")), ("content-type", "application/x-www-form-urlencoded".to_owned())];
        let headers = headers.each_ref().map(|(n, v)| (*n, v.as_str()));
        let form = format!("grant_type=refresh_token&refresh_token={}", self.refresh);
        let (status, body) = self.send("POST", "/oauth2/v1/tokens/bearer", &headers, &form).unwrap();
        if status == 200 {
            self.token = body["access_token"].as_str().unwrap().to_owned();
            self.refresh = body["refresh_token"].as_str().unwrap().to_owned();
        }
        status
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Result<(u16, Value), TransportError> {
        let bearer = format!("Bearer {}", self.token);
        self.send(method, target, &[("authorization", &bearer), ("content-type", "application/json")], body)
    }

    fn query(&self, text: &str) -> (u16, Value) {
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        self.ask("GET", &format!("/v3/company/1234567890/query?query={encoded}"), "").unwrap()
    }
}

fn entry(doc: &str, amount: &str) -> String {
    let line = |side: &str, account: &str| {
        format!(
            r#"{{"Description":"d","Amount":{amount},"DetailType":"JournalEntryLineDetail","JournalEntryLineDetail":{{"PostingType":"{side}","AccountRef":{{"value":"{account}"}}}}}}"#
        )
    };
    format!(
        r#"{{"DocNumber":"{doc}","TxnDate":"2026-11-20","PrivateNote":"n","Line":[{},{}]}}"#,
        line("Debit", "91"),
        line("Credit", "80")
    )
}

fn transfer(amount: &str) -> String {
    format!(
        r#"{{"FromAccountRef":{{"value":"91"}},"ToAccountRef":{{"value":"35"}},"Amount":{amount},"TxnDate":"2026-11-22","PrivateNote":"p"}}"#
    )
}

fn code(answer: &Result<(u16, Value), TransportError>) -> String {
    let (_, body) = answer.as_ref().unwrap();
    body.pointer("/Fault/Error/0/code").and_then(Value::as_str).unwrap_or("none").to_owned()
}

#[test]
fn a_repeated_requestid_answers_with_the_first_entry() {
    let c = Client::new();
    let (status, first) = c.ask("POST", &format!("{JE}r1"), &entry("VS-1", "42.00")).unwrap();
    assert_eq!((status, &first["JournalEntry"]["DocNumber"]), (200, &json!("VS-1")));
    let again = c.ask("POST", &format!("{JE}r1"), &entry("VS-2", "1")).unwrap();
    assert_eq!((again.0, &again.1["JournalEntry"]["Id"]), (200, &first["JournalEntry"]["Id"]));
    assert_eq!(code(&c.ask("POST", &format!("{JE}r2"), &entry("VS-1", "42.00"))), "6140");
    assert_eq!(c.books.balances(), BTreeMap::from([("91".to_owned(), 4200), ("80".to_owned(), -4200)]));
    assert_eq!(c.books.entries()[0].txn_date, date(2026, 11, 20));
    c.ask("POST", &format!("{TRANSFER}r3"), &transfer("40.5")).unwrap();
    assert_eq!((c.books.balances()["91"], c.books.balances()["35"], c.books.transfers().len()), (150, 4050, 1));
    assert!(c.books.refused().is_empty(), "{:?}", c.books.refused());
}

#[test]
fn amounts_keep_their_digits_on_the_way_back() {
    let c = Client::new();
    let bearer = format!("Bearer {}", c.token);
    let headers = vec![("authorization".to_owned(), bearer), ("content-type".to_owned(), "application/json".to_owned())];
    let url = format!("{}{JE}r1", c.books.origin());
    let request = HttpRequest { method: "POST".parse().unwrap(), url, headers, body: Bytes::from(entry("VS-1", "233.60")) };
    let reply = c.books.handle(&request);
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    assert_eq!(text.matches("\"Amount\":233.60,").count(), 2, "{text}");
    let account = c.ask("GET", "/v3/company/1234567890/account/91", "").unwrap().1;
    assert_eq!(account["Account"]["CurrentBalance"].to_string(), "233.6");
}

#[test]
fn what_no_correct_client_sends_is_refused_and_noted() {
    let c = Client::new();
    let unbalanced = entry("VS-1", "1").replacen("\"Amount\":1", "\"Amount\":2", 1);
    let cases = [
        (format!("{JE}r"), entry("VS-0123456789012345678901", "1"), "2050"),
        (format!("{JE}r"), entry("VS-1", "1.234"), "2020"),
        (format!("{JE}r"), entry("VS-1", "\"1\""), "2020"),
        (format!("{JE}r"), entry("VS-1", "0"), "6000"),
        (format!("{JE}r"), entry("VS-1", "-1"), "6000"),
        (format!("{JE}r"), unbalanced, "6000"),
        (format!("{JE}r"), entry("VS-1", "1").replace("\"80\"", "\"99\""), "2500"),
        (format!("{JE}r"), entry("VS-1", "1").replace("2026-11-20", "2026-11-31"), "2020"),
        (format!("{JE}r"), entry("VS-1", "1").replace("PrivateNote", "Memo"), "2020"),
        (format!("{JE}r&operation=delete"), "{}".to_owned(), "610"),
        (format!("{TRANSFER}r"), transfer("1").replace("\"35\"", "\"91\""), "6000"),
        ("/v3/company/1/journalentry?requestid=r".to_owned(), entry("VS-1", "1"), "610"),
        ("/v3/company/1234567890/customer".to_owned(), "{}".to_owned(), "610"),
    ];
    for (n, (target, body, want)) in cases.iter().enumerate() {
        assert_eq!(code(&c.ask("POST", target, body)), *want, "{target} {body}");
        assert_eq!(c.books.refused().len(), n + 1, "{:?}", c.books.refused().last());
    }
    assert!(c.books.entries().is_empty() && c.books.transfers().is_empty());
    c.ask("POST", "/v3/company/1234567890/journalentry", &entry("VS-1", "1")).unwrap();
    assert!(c.books.refused().last().unwrap().contains("requestid missing"));
}

#[test]
fn a_closed_day_and_an_inactive_account_are_faults_without_blame() {
    let c = Client::new();
    c.books.set_close_date(Some(date(2026, 11, 20)));
    assert_eq!(code(&c.ask("POST", &format!("{JE}r1"), &entry("VS-1", "1"))), "6210");
    let (_, preferences) = c.ask("GET", "/v3/company/1234567890/preferences", "").unwrap();
    assert_eq!(preferences["Preferences"]["AccountingInfoPrefs"]["BookCloseDate"], "2026-11-20");
    c.books.set_close_date(Some(date(2026, 11, 19)));
    c.books.deactivate("80");
    assert_eq!(code(&c.ask("POST", &format!("{JE}r1"), &entry("VS-1", "1"))), "610");
    c.books.add_account("80", "Copay income", "Income");
    assert_eq!(code(&c.ask("POST", &format!("{JE}r1"), &entry("VS-1", "1"))), "none");
    assert!(c.books.refused().is_empty(), "{:?}", c.books.refused());
}

#[test]
fn queries_find_entries_by_number_and_transfers_by_date_and_amount() {
    let c = Client::new();
    for n in 1..=3 {
        c.ask("POST", &format!("{JE}e{n}"), &entry(&format!("VS-{n}"), "1")).unwrap();
        c.ask("POST", &format!("{TRANSFER}t{n}"), &transfer(&format!("{n}.10"))).unwrap();
    }
    let (_, hit) = c.query("select * from JournalEntry where DocNumber = 'VS-2'");
    assert_eq!(hit["QueryResponse"]["JournalEntry"][0]["DocNumber"], "VS-2");
    assert_eq!(c.query("select * from JournalEntry where DocNumber = 'VS-9'").1["QueryResponse"], json!({}));
    let (_, found) = c.query("select * from Transfer where TxnDate = '2026-11-22' and Amount = '2.1'");
    assert_eq!(found["QueryResponse"]["maxResults"], 1);
    let (_, page) = c.query("select * from JournalEntry startposition 2 maxresults 1");
    assert_eq!(page["QueryResponse"]["JournalEntry"][0]["DocNumber"], "VS-2", "by id, descending");
    let (_, first) = c.query("select * from JournalEntry order by Id maxresults 1");
    assert_eq!(first["QueryResponse"]["JournalEntry"][0]["DocNumber"], "VS-1");
    assert_eq!(c.query("select count(*) from Transfer").1["QueryResponse"]["totalCount"], 3);
    assert_eq!(c.query("select * from Account where Id = '91'").1["QueryResponse"]["Account"][0]["Active"], true);
    assert!(c.query("select * from Preferences").1["QueryResponse"]["Preferences"].is_array());
    assert!(c.query("select * from CompanyInfo").1["QueryResponse"]["CompanyInfo"].is_array());
    assert!(c.books.refused().is_empty(), "{:?}", c.books.refused());
    assert_eq!(c.query("select * from JournalEntry where PrivateNote = 'n'").0, 400);
    assert_eq!(c.books.refused().len(), 1);
}

#[test]
fn changes_tell_of_what_people_did() {
    let c = Client::new();
    let id = c.books.book_by_person(date(2026, 11, 1), &[("91", 500), ("93", -500)]);
    c.ask("POST", &format!("{TRANSFER}t"), &transfer("1")).unwrap();
    c.books.delete_by_person(&id);
    let cdc = |since: &str| {
        c.ask("GET", &format!("/v3/company/1234567890/cdc?entities=JournalEntry,Transfer&changedSince={since}"), "")
    };
    let (_, all) = cdc("2026-11-01").unwrap();
    let groups = &all["CDCResponse"][0]["QueryResponse"];
    assert_eq!(
        (&groups[0]["JournalEntry"][0]["status"], &groups[1]["Transfer"][0]["Amount"].to_string()),
        (&json!("Deleted"), &"1.0".to_owned())
    );
    assert_eq!(cdc("2026-11-29T00:00:00Z").unwrap().1["CDCResponse"][0]["QueryResponse"], json!([{}, {}]));
    assert_eq!(code(&cdc("2026-01-01")), "2020");
    assert_eq!(c.books.balances().get("93"), None);
}

#[test]
fn refresh_tokens_rotate_die_and_come_back() {
    let mut c = Client::new();
    assert_eq!(c.refresh, FIRST_REFRESH_TOKEN, "within a day the token stays");
    c.books.set_rotation(Rotation::Always);
    assert_eq!(c.renew(), 200);
    assert_ne!(c.refresh, FIRST_REFRESH_TOKEN);
    c.books.expire_access();
    assert_eq!(code(&c.ask("GET", "/v3/company/1234567890/preferences", "")), "3200");
    assert_eq!(c.renew(), 200);
    assert_eq!(code(&c.ask("GET", "/v3/company/1234567890/preferences", "")), "none");
    let good = std::mem::replace(&mut c.refresh, FIRST_REFRESH_TOKEN.to_owned());
    assert_eq!(c.renew(), 400, "a token used again");
    c.refresh = good;
    assert_eq!(c.renew(), 400, "kills the connection");
    c.refresh = c.books.reconnect();
    assert_eq!(c.renew(), 200);
    c.books.revoke();
    assert_eq!((c.renew(), c.books.refresh_token()), (400, None));
    assert_eq!(c.books.refreshes(), ["ok", "ok", "ok", "invalid_grant", "invalid_grant", "ok", "invalid_grant"]);
    let (status, _) = c.send("POST", "/oauth2/v1/tokens/bearer", &[], "grant_type=refresh_token").unwrap();
    assert_eq!((status, c.books.refused().len()), (401, 1));
}

#[test]
fn access_ends_after_an_hour_and_a_late_entry_is_found_later() {
    let (clock, now_s) = clock_at(NOON);
    let mut c = Client::new();
    c.books.set_clock(clock);
    c.books.fault(Fault::new("POST */journalentry", FaultKind::Late { after_s: 120 }));
    let post = |c: &Client| c.ask("POST", &format!("{JE}r1"), &entry("VS-1", "1"));
    assert_eq!(post(&c).err(), Some(TransportError::OutcomeUnknown));
    let find =
        |c: &Client| c.query("select * from JournalEntry where DocNumber = 'VS-1'").1["QueryResponse"]["maxResults"].as_u64();
    assert_eq!(find(&c), None);
    now_s.fetch_add(120, Ordering::SeqCst);
    assert_eq!(find(&c), Some(1));
    assert_eq!(post(&c).unwrap().0, 200);
    assert_eq!(c.books.entries().len(), 1);
    now_s.fetch_add(3600, Ordering::SeqCst);
    assert_eq!(code(&post(&c)), "3200");
    assert_eq!(c.renew(), 200);
    c.books.fault(Fault::new("*", FaultKind::Status(scripted_fault("10000_on_200"))));
    let (status, body) = post(&c).unwrap();
    assert_eq!((status, &body["Fault"]["Error"][0]["code"]), (200, &json!("10000")));
}

#[test]
fn every_scripted_fault_has_its_status() {
    for (code, status) in
        [("3001", 429), ("3200", 401), ("6140", 400), ("6210", 400), ("10000", 500), ("120", 401), ("4001", 400)]
    {
        assert_eq!(scripted_fault(code).status, status, "{code}");
        assert!(String::from_utf8_lossy(&scripted_fault(code).body).contains(code));
    }
}
