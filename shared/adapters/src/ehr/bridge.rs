//! The client of the EHR bridge: builds signed requests, classifies what comes back (contracts/ehr-bridge.openapi.yaml).
//!
//! Must not: keep any text of a problem+json answer (it may hold personal data), put personal data into a URL, or try again by itself.

use super::signature;
use super::wire::{Capabilities, Change, NewPayment, NewReversal, RawPage, change_from_json};
use crate::error::{CallError, Class, System};
use crate::http::{HttpRequest, HttpResponse, SharedTransport, TransportError};
use crate::personal::{EmailHasher, Secret};
use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::sync::{Arc, Mutex, PoisonError};
use vesper_core::ids::{EhrPaymentId, InvoiceId};
use vesper_core::records::{EhrPayment, Invoice, Portion};

/// All but the unreserved characters of RFC 3986: what no URL library on the way changes again.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest Idempotency-Key and EHR reference of the contract, in characters.
const KEY_CHARS_MAX: usize = 64;

/// The most records that a page may be asked for.
const LIMIT_MAX: u16 = 500;

/// A record that was read alone, not from the feed: between equal `observed_at` the feed's version is the newer one.
const SEQ_OUTSIDE_THE_FEED: u64 = 0;

/// A page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub records: Vec<Change>,
    /// Where the next page starts: opaque.
    pub next_cursor: String,
    /// Whether there is a next page now.
    pub has_more: bool,
}

/// A client of one bridge. All times it takes (`now_unix_s`) are the real clock's, in unix seconds: they sign the request.
#[derive(Clone)]
pub struct BridgeClient {
    transport: SharedTransport,
    /// Scheme and authority: `https://ehr.example`.
    origin: String,
    /// The path prefix of the base URL: empty, or `/` and more, without a slash at its end.
    prefix: String,
    secrets: Vec<Secret>,
    hasher: EmailHasher,
    /// What it could do when it was asked last, and when that was, in unix seconds of the caller's clock.
    could: Arc<Mutex<Option<(Capabilities, i64)>>>,
}

/// So long the capabilities are taken to be what they were, in seconds. They change when somebody changes the bridge.
const CAPABILITIES_KEPT_S: i64 = 300;

/// What is being attempted, for errors: ids only.
type Attempted<'a> = &'a str;

impl BridgeClient {
    /// A client for the bridge at `base_url` (checked by the settings; may carry a path prefix). The first secret signs.
    #[must_use]
    pub fn new(transport: SharedTransport, base_url: &str, secrets: Vec<Secret>, hasher: EmailHasher) -> Self {
        let base = base_url.trim_end_matches('/');
        let after_scheme = base.find("://").map_or(0, |at| at.saturating_add(3));
        let path_at =
            base.get(after_scheme..).and_then(|rest| rest.find('/')).map_or(base.len(), |at| at.saturating_add(after_scheme));
        let (origin, prefix) = base.split_at_checked(path_at).unwrap_or((base, ""));
        Self { transport, origin: origin.to_owned(), prefix: prefix.to_owned(), secrets, hasher, could: Arc::default() }
    }

    /// What the bridge can do.
    ///
    /// # Errors
    /// [`CallError`], never with the class `OutcomeUnknown`.
    pub async fn capabilities(&self, now_unix_s: i64) -> Result<Capabilities, CallError> {
        let attempted = "read the capabilities";
        let answer = self.get("/v1/capabilities", attempted, now_unix_s).await?;
        serde_json::from_slice(&answer.body).map_err(|_| unreadable(attempted, "no capabilities as in the contract"))
    }

    /// What the bridge can do, asked at most every five minutes of the caller's clock (`now_s`, unix seconds). All clones share what
    /// was heard; no lock is held over the call.
    ///
    /// # Errors
    /// [`CallError`] when it must be asked and does not answer: what it could do earlier is no permission.
    pub async fn capabilities_lately(&self, now_s: i64, now_unix_s: i64) -> Result<Capabilities, CallError> {
        match self.capabilities_known(now_s) {
            Some(could) => Ok(could),
            None => self.capabilities_now(now_s, now_unix_s).await,
        }
    }

    /// What was heard of it in the last five minutes of the caller's clock (`now_s`, unix seconds); asks nobody.
    #[must_use]
    pub fn capabilities_known(&self, now_s: i64) -> Option<Capabilities> {
        let known = self.could.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.filter(|(_, at_s)| (0..CAPABILITIES_KEPT_S).contains(&now_s.saturating_sub(*at_s))).map(|(could, _)| could)
    }

    /// The same, asked at once, whatever was heard before.
    ///
    /// # Errors
    /// [`CallError`], never with the class `OutcomeUnknown`.
    pub async fn capabilities_now(&self, now_s: i64, now_unix_s: i64) -> Result<Capabilities, CallError> {
        let can = self.capabilities(now_unix_s).await?;
        *self.could.lock().unwrap_or_else(PoisonError::into_inner) = Some((can.clone(), now_s));
        Ok(can)
    }

    /// The page of the feed after `cursor` (None = from the beginning). Its records count from `first_seq` on. `limit` is kept within 1 to 500.
    ///
    /// # Errors
    /// [`CallError`], never with the class `OutcomeUnknown`; `Bug` also when the feed says that there is more but does not move on.
    pub async fn changes(&self, cursor: Option<&str>, limit: u16, first_seq: u64, now_unix_s: i64) -> Result<Page, CallError> {
        let attempted = "read changes";
        let mut path = format!("/v1/changes?limit={}", limit.clamp(1, LIMIT_MAX));
        if let Some(cursor) = cursor {
            path.push_str(&format!("&cursor={}", escaped(cursor)));
        }
        let answer = self.get(&path, attempted, now_unix_s).await?;
        let page: RawPage<'_> =
            serde_json::from_slice(&answer.body).map_err(|_| unreadable(attempted, "no page as in the contract"))?;
        if page.has_more && cursor.unwrap_or_default() == page.next_cursor {
            return Err(unreadable(attempted, "next_cursor is the cursor that was asked for, though has_more is true"));
        }
        let of = |(raw, seq): (&&serde_json::value::RawValue, u64)| change_from_json(raw.get().as_bytes(), seq, &self.hasher);
        let records = page.records.iter().zip(first_seq..).map(of).collect();
        Ok(Page { records, next_cursor: page.next_cursor, has_more: page.has_more })
    }

    /// An invoice as it is now; None when the bridge knows none. Its `seen.seq` is 0.
    ///
    /// # Errors
    /// [`CallError`], never with the class `OutcomeUnknown`.
    pub async fn invoice(&self, id: &InvoiceId, now_unix_s: i64) -> Result<Option<Invoice>, CallError> {
        let attempted = format!("read invoice {id}");
        let path = format!("/v1/invoices/{}", segment(id.as_str(), &attempted)?);
        let Some(answer) = none_if_not_found(self.get(&path, &attempted, now_unix_s).await)? else { return Ok(None) };
        match self.record(&answer) {
            Ok(Change::Invoice(invoice)) if invoice.id == *id => Ok(Some(invoice)),
            Ok(_) => Err(unreadable(&attempted, "not the invoice that was asked for")),
            Err(problem) => Err(unreadable(&attempted, &problem)),
        }
    }

    /// The payment that carries this EHR reference; None when there is none. This is how an unknown outcome is cleared up.
    ///
    /// # Errors
    /// [`CallError`], never with the class `OutcomeUnknown`.
    pub async fn payment_by_reference(&self, reference: &str, now_unix_s: i64) -> Result<Option<EhrPayment>, CallError> {
        let attempted = format!("read the payment with reference {reference}");
        let path = format!("/v1/payments/by-reference/{}", segment(reference, &attempted)?);
        let Some(answer) = none_if_not_found(self.get(&path, &attempted, now_unix_s).await)? else { return Ok(None) };
        match self.record(&answer) {
            Ok(Change::Payment(payment)) if payment.reference == reference => Ok(Some(payment)),
            Ok(_) => Err(unreadable(&attempted, "not the payment that was asked for")),
            Err(problem) => Err(unreadable(&attempted, &problem)),
        }
    }

    /// Records a payment of the client share. Its reference is also the Idempotency-Key.
    ///
    /// # Errors
    /// [`CallError`]. `OutcomeUnknown`: ask [`BridgeClient::payment_by_reference`] before doing anything again.
    pub async fn post_payment(&self, new: &NewPayment, now_unix_s: i64) -> Result<EhrPayment, CallError> {
        let attempted = format!("post payment {} to invoice {}", new.reference, new.invoice);
        let body = new.to_json().ok_or_else(|| refused(&attempted, "the request cannot be written as JSON"))?;
        let answer = self.post("/v1/payments", &new.reference, body, &attempted, now_unix_s).await?;
        let payment = self.written(&answer, &attempted)?;
        let as_sent = [
            ("reference", payment.reference == new.reference),
            ("invoice_id", payment.invoice == new.invoice),
            ("amount", payment.amount == new.amount),
            ("currency", payment.currency == new.currency),
            ("portion", payment.portion == Portion::Client),
        ];
        check_as_sent(&as_sent, &attempted)?;
        Ok(payment)
    }

    /// Takes back all or part of a payment. The answer is the payment as it is then.
    ///
    /// # Errors
    /// [`CallError`]. `OutcomeUnknown`: read the payment by its reference before doing anything again.
    pub async fn reverse(
        &self,
        id: &EhrPaymentId,
        new: &NewReversal,
        idempotency_key: &str,
        now_unix_s: i64,
    ) -> Result<EhrPayment, CallError> {
        let attempted = format!("reverse payment {id} as {idempotency_key}");
        let path = format!("/v1/payments/{}/reversals", segment(id.as_str(), &attempted)?);
        let body = new.to_json().ok_or_else(|| refused(&attempted, "the request cannot be written as JSON"))?;
        let answer = self.post(&path, idempotency_key, body, &attempted, now_unix_s).await?;
        let payment = self.written(&answer, &attempted)?;
        let as_sent = [
            ("id", payment.id == *id),
            ("currency", payment.currency == new.currency),
            ("reversed", payment.reversed >= new.amount),
        ];
        check_as_sent(&as_sent, &attempted)?;
        Ok(payment)
    }

    /// The one record that an answer holds; else what is wrong with it, without a value.
    fn record(&self, answer: &HttpResponse) -> Result<Change, String> {
        match change_from_json(&answer.body, SEQ_OUTSIDE_THE_FEED, &self.hasher) {
            Change::Unreadable { problem, .. } => Err(problem),
            change => Ok(change),
        }
    }

    /// The payment in the answer to a write. The write was accepted: what cannot be read is an unknown outcome, no bug to give up on.
    fn written(&self, answer: &HttpResponse, attempted: Attempted<'_>) -> Result<EhrPayment, CallError> {
        match self.record(answer) {
            Ok(Change::Payment(payment)) => Ok(payment),
            Ok(_) => Err(error(attempted, Class::OutcomeUnknown, "the answer is no payment".to_owned())),
            Err(problem) => Err(error(attempted, Class::OutcomeUnknown, format!("the answer is unreadable: {problem}"))),
        }
    }

    async fn get(&self, path: &str, attempted: Attempted<'_>, now_unix_s: i64) -> Result<HttpResponse, CallError> {
        let request = self.request(Method::GET, path, Vec::new(), Vec::new(), now_unix_s);
        accepted(self.transport.send(request).await, &Method::GET, attempted)
    }

    async fn post(
        &self,
        path: &str,
        idempotency_key: &str,
        body: Vec<u8>,
        attempted: Attempted<'_>,
        now_unix_s: i64,
    ) -> Result<HttpResponse, CallError> {
        let visible = idempotency_key.bytes().all(|b| b.is_ascii_graphic());
        if !visible || !(1..=KEY_CHARS_MAX).contains(&idempotency_key.len()) {
            return Err(refused(attempted, "an idempotency key is 1 to 64 visible ASCII characters"));
        }
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("idempotency-key".to_owned(), idempotency_key.to_owned()),
        ];
        let request = self.request(Method::POST, path, headers, body, now_unix_s);
        accepted(self.transport.send(request).await, &Method::POST, attempted)
    }

    /// Signs and sends the very same path and query, the prefix of the base URL included.
    fn request(
        &self,
        method: Method,
        path: &str,
        mut headers: Vec<(String, String)>,
        body: Vec<u8>,
        now_unix_s: i64,
    ) -> HttpRequest {
        let path_and_query = format!("{}{path}", self.prefix);
        let signature = signature::sign(&self.secrets, method.as_str(), &path_and_query, &body, now_unix_s);
        headers.push(("accept".to_owned(), "application/json".to_owned()));
        headers.push((signature::HEADER.to_owned(), signature));
        HttpRequest { method, url: format!("{}{path_and_query}", self.origin), headers, body: Bytes::from(body) }
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A path segment. `.` and `..` cannot be one: URL libraries fold them away even when they are escaped.
fn segment(text: &str, attempted: Attempted<'_>) -> Result<String, CallError> {
    if matches!(text, "" | "." | "..") {
        return Err(refused(attempted, "this id cannot stand in a URL"));
    }
    Ok(escaped(text))
}

fn none_if_not_found(answer: Result<HttpResponse, CallError>) -> Result<Option<HttpResponse>, CallError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(e) if e.class == Class::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn check_as_sent(fields: &[(&str, bool)], attempted: Attempted<'_>) -> Result<(), CallError> {
    match fields.iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((field, _)) => {
            Err(error(attempted, Class::OutcomeUnknown, format!("the answer has another `{field}` than was sent")))
        }
    }
}

/// A 2xx answer; everything else by its class. Only the status is kept: the text of a problem may hold personal data.
fn accepted(
    answer: Result<HttpResponse, TransportError>,
    method: &Method,
    attempted: Attempted<'_>,
) -> Result<HttpResponse, CallError> {
    let writes = method != Method::GET;
    let perhaps_done = if writes { Class::OutcomeUnknown } else { Class::Transient };
    let answer = match answer {
        Ok(answer) => answer,
        Err(e @ TransportError::NotSent) => return Err(error(attempted, Class::Transient, e.to_string())),
        Err(e @ TransportError::OutcomeUnknown) => return Err(error(attempted, perhaps_done, e.to_string())),
    };
    let class = match answer.status {
        200..=299 => return Ok(answer),
        401 | 403 => Class::Unauthorized,
        404 => Class::NotFound,
        408 => perhaps_done,
        409 | 412 => Class::Conflict,
        429 => Class::Throttled { retry_after_s: answer.header("retry-after").and_then(|v| v.trim().parse().ok()) },
        // A redirect is not followed: the signature is for this path.
        300..=499 => Class::Rejected,
        500..=599 => perhaps_done,
        _ if writes => Class::OutcomeUnknown,
        _ => Class::Bug,
    };
    Err(error(attempted, class, format!("status {}", answer.status)))
}

/// A read whose 2xx answer is not what the contract says.
fn unreadable(attempted: Attempted<'_>, problem: &str) -> CallError {
    error(attempted, Class::Bug, format!("the answer is unreadable: {problem}"))
}

/// A request that is not even sent.
fn refused(attempted: Attempted<'_>, why: &str) -> CallError {
    error(attempted, Class::Rejected, why.to_owned())
}

fn error(attempted: Attempted<'_>, class: Class, detail: String) -> CallError {
    CallError { system: System::Ehr, attempted: attempted.to_owned(), class, detail, code: None }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{ReversalReason, WriteMethod};
    use super::*;
    use crate::http::{BoxFuture, Transport};
    use crate::personal::DataKey;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use vesper_core::money::{Currency, Minor};

    const NOW: i64 = 1_763_737_200;
    const CANARY: &str = "Persephone Canary <persephone@example.org>";

    /// Gives the same answer to every request and keeps the requests.
    struct Scripted {
        answer: Result<HttpResponse, TransportError>,
        seen: Mutex<Vec<HttpRequest>>,
    }

    impl Transport for Scripted {
        fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
            self.seen.lock().unwrap().push(request);
            let answer = self.answer.clone();
            Box::pin(async move { answer })
        }
    }

    fn bridge(base_url: &str, answer: Result<HttpResponse, TransportError>) -> (BridgeClient, Arc<Scripted>) {
        let transport = Arc::new(Scripted { answer, seen: Mutex::default() });
        let secrets = vec![Secret::new("new"), Secret::new("old")];
        (BridgeClient::new(transport.clone(), base_url, secrets, DataKey::new([1; 32]).email_hasher()), transport)
    }

    fn answer(status: u16, body: &str) -> Result<HttpResponse, TransportError> {
        let headers = vec![("retry-after".to_owned(), "7".to_owned())];
        Ok(HttpResponse { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    fn payment() -> Value {
        json!({"kind": "payment", "id": "pay/1", "invoice_id": "inv 1", "portion": "client", "amount": 4200, "currency": "usd",
            "method": "card", "online": false, "posted_on": "2026-11-21", "reference": "ref-1", "reversed": 200, "state": "posted",
            "version": "v1", "observed_at": "2026-11-21T15:00:00Z"})
    }

    fn invoice() -> Value {
        let share = json!({"charge": 100, "paid": 0, "written_off": 0, "open": 100});
        json!({"kind": "invoice", "id": "inv 1", "client_id": "c", "currency": "usd", "issued_on": "2026-11-20", "status": "open",
            "client_share": share, "payer_share": share, "version": "v1", "observed_at": "2026-11-21T15:00:00Z"})
    }

    fn invoice_id() -> InvoiceId {
        InvoiceId::parse("inv 1").unwrap()
    }

    fn payment_id() -> EhrPaymentId {
        EhrPaymentId::parse("pay/1").unwrap()
    }

    fn new_payment() -> NewPayment {
        NewPayment {
            invoice: invoice_id(),
            amount: Minor::new(4200).unwrap(),
            currency: Currency::USD,
            method: WriteMethod::Card,
            posted_on: "2026-11-21".parse().unwrap(),
            reference: "ref-1".to_owned(),
        }
    }

    fn new_reversal() -> NewReversal {
        NewReversal {
            amount: Minor::new(200).unwrap(),
            currency: Currency::USD,
            reason: ReversalReason::Refund,
            posted_on: "2026-11-21".parse().unwrap(),
        }
    }

    /// Every call in turn; what the one at `n` answered, without the value.
    async fn call(client: &BridgeClient, n: usize) -> Result<(), CallError> {
        match n {
            0 => client.capabilities(NOW).await.map(drop),
            1 => client.changes(Some("c/12="), 500, 1, NOW).await.map(drop),
            2 => client.invoice(&invoice_id(), NOW).await.map(drop),
            3 => client.payment_by_reference("ref-1", NOW).await.map(drop),
            4 => client.post_payment(&new_payment(), NOW).await.map(drop),
            _ => client.reverse(&payment_id(), &new_reversal(), "ref-1-r1", NOW).await.map(drop),
        }
    }

    const CALLS: std::ops::Range<usize> = 0..6;
    const READS: usize = 4;

    #[tokio::test]
    async fn what_is_signed_is_byte_for_byte_what_is_sent_also_behind_a_path_prefix() {
        let targets = [
            "/v1/capabilities",
            "/v1/changes?limit=500&cursor=c%2F12%3D",
            "/v1/invoices/inv%201",
            "/v1/payments/by-reference/ref-1",
            "/v1/payments",
            "/v1/payments/pay%2F1/reversals",
        ];
        for (base, origin, prefix) in [
            ("https://ehr.example", "https://ehr.example", ""),
            ("https://ehr.example/", "https://ehr.example", ""),
            ("http://127.0.0.1:9/shim/ehr/", "http://127.0.0.1:9", "/shim/ehr"),
        ] {
            for (n, target) in targets.iter().enumerate() {
                let (client, transport) = bridge(base, answer(500, ""));
                call(&client, n).await.unwrap_err();
                let seen = transport.seen.lock().unwrap();
                let [request] = seen.as_slice() else { panic!("{} requests", seen.len()) };
                let target = format!("{prefix}{target}");
                assert_eq!(request.url, format!("{origin}{target}"));
                let header = |name: &str| request.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
                let secrets = [Secret::new("new")];
                let signed =
                    signature::verify(&secrets, header("vesper-signature"), request.method.as_str(), &target, &request.body, NOW);
                assert_eq!(signed, Ok(()), "{target}");
                let key = [None, None, None, None, Some("ref-1"), Some("ref-1-r1")][n];
                assert_eq!((header("idempotency-key"), request.body.is_empty()), (key, key.is_none()));
                assert_eq!(header("content-type"), key.map(|_| "application/json"));
            }
        }
    }

    #[tokio::test]
    async fn each_status_has_its_class_and_no_text_of_a_problem_is_kept() {
        use Class::{Bug, Conflict, NotFound, OutcomeUnknown, Rejected, Throttled, Transient, Unauthorized};
        let problem = json!({"title": CANARY, "detail": CANARY, "status": 422}).to_string();
        let cases = [
            (answer(400, &problem), Rejected, Rejected),
            (answer(401, &problem), Unauthorized, Unauthorized),
            (answer(403, &problem), Unauthorized, Unauthorized),
            (answer(404, &problem), NotFound, NotFound),
            (answer(408, &problem), Transient, OutcomeUnknown),
            (answer(409, &problem), Conflict, Conflict),
            (answer(412, &problem), Conflict, Conflict),
            (answer(422, &problem), Rejected, Rejected),
            (answer(301, &problem), Rejected, Rejected),
            (answer(429, &problem), Throttled { retry_after_s: Some(7) }, Throttled { retry_after_s: Some(7) }),
            (answer(500, &problem), Transient, OutcomeUnknown),
            (answer(503, &problem), Transient, OutcomeUnknown),
            (answer(200, &problem), Bug, OutcomeUnknown),
            (answer(200, CANARY), Bug, OutcomeUnknown),
            (answer(204, ""), Bug, OutcomeUnknown),
            (Err(TransportError::NotSent), Transient, Transient),
            (Err(TransportError::OutcomeUnknown), Transient, OutcomeUnknown),
        ];
        for (answer, of_a_read, of_a_write) in cases {
            let status = answer.as_ref().map(|a| a.status).ok();
            let (client, _) = bridge("https://ehr.example", answer);
            for n in CALLS {
                let result = call(&client, n).await;
                if of_a_read == NotFound && (n == 2 || n == 3) {
                    assert_eq!(result, Ok(()), "404 is None");
                    continue;
                }
                let e = result.unwrap_err();
                assert_eq!(e.class, if n < READS { of_a_read } else { of_a_write }, "call {n}, {status:?}");
                let shown = format!("{e} {e:?}").to_lowercase();
                assert!(!shown.contains("canary") && !shown.contains("example.org"), "{shown}");
            }
        }
    }

    #[tokio::test]
    async fn a_page_is_read_with_its_records_counted_on() {
        let client_record = json!({"kind": "client", "id": "c", "display_name": CANARY, "emails": [CANARY], "status": "active",
            "version": "1", "observed_at": "2026-11-21T15:00:00Z"});
        let broken = json!({"kind": "payment", "id": "p", "amount": 1.5, "reference": CANARY});
        let records = json!([client_record, {"kind": "session", "weight": 1}, invoice(), broken]);
        let body = json!({"records": records, "next_cursor": "c/4=", "has_more": true, "more": 1}).to_string();
        let (client, _) = bridge("https://ehr.example", answer(200, &body));
        let page = client.changes(None, 200, 100, NOW).await.unwrap();
        assert_eq!((page.next_cursor.as_str(), page.has_more, page.records.len()), ("c/4=", true, 4));
        assert!(matches!(&page.records[0], Change::Client { client, .. } if client.seen.seq == 100));
        assert!(matches!(&page.records[1], Change::UnknownKind { kind } if kind == "session"));
        assert!(matches!(&page.records[2], Change::Invoice(i) if i.seen.seq == 102));
        assert!(matches!(&page.records[3], Change::Unreadable { id: Some(id), .. } if id == "p"));
        let shown = format!("{page:?}").to_lowercase();
        assert!(!shown.contains("canary") && !shown.contains("example.org"), "{shown}");
        // The same cursor again, though there is more: it would be read for ever.
        assert_eq!(client.changes(Some("c/4="), 200, 1, NOW).await.unwrap_err().class, Class::Bug);
    }

    #[tokio::test]
    async fn capabilities_an_invoice_and_a_payment_are_read() {
        let body =
            json!({"system": "e2e", "writes_payments": true, "reverses_payments": false, "idempotent_writes": true}).to_string();
        let capabilities = bridge("https://ehr.example", answer(200, &body)).0.capabilities(NOW).await.unwrap();
        let want = Capabilities {
            system: "e2e".to_owned(),
            writes_payments: true,
            reverses_payments: false,
            idempotent_writes: true,
            write_offs: false,
        };
        assert_eq!(capabilities, want);
        let (client, _) = bridge("https://ehr.example", answer(200, &invoice().to_string()));
        assert_eq!(client.invoice(&invoice_id(), NOW).await.unwrap().unwrap().id, invoice_id());
        assert_eq!(client.invoice(&InvoiceId::parse("other").unwrap(), NOW).await.unwrap_err().class, Class::Bug);
        let (client, _) = bridge("https://ehr.example", answer(200, &payment().to_string()));
        assert_eq!(client.payment_by_reference("ref-1", NOW).await.unwrap().unwrap().id, payment_id());
        assert_eq!(client.payment_by_reference("ref-2", NOW).await.unwrap_err().class, Class::Bug);
    }

    #[tokio::test]
    async fn a_write_is_done_only_when_the_answer_is_what_was_sent() {
        let cases = [
            (json!({}), None, None),
            (json!({"amount": 4100}), Some("amount"), None),
            (json!({"invoice_id": "inv 2"}), Some("invoice_id"), None),
            (json!({"reference": "ref-2"}), Some("reference"), None),
            (json!({"portion": "payer"}), Some("portion"), None),
            (json!({"currency": "cad"}), Some("currency"), Some("currency")),
            (json!({"id": "pay/2"}), None, Some("id")),
            (json!({"reversed": 199}), None, Some("reversed")),
        ];
        for (changes, of_posting, of_reversing) in cases {
            let mut body = payment();
            for (field, value) in changes.as_object().unwrap() {
                body[field] = value.clone();
            }
            let (client, _) = bridge("https://ehr.example", answer(201, &body.to_string()));
            for (result, want) in [
                (client.post_payment(&new_payment(), NOW).await, of_posting),
                (client.reverse(&payment_id(), &new_reversal(), "ref-1-r1", NOW).await, of_reversing),
            ] {
                let got = result.map(|p| p.amount.get()).map_err(|e| (e.class, e.detail));
                match want {
                    None => assert!(got.is_ok(), "{changes}: {got:?}"),
                    Some(field) => {
                        let detail = format!("the answer has another `{field}` than was sent");
                        assert_eq!(got, Err((Class::OutcomeUnknown, detail)), "{changes}");
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_stand_in_a_url_or_a_header_is_refused_before_it_is_sent() {
        let (client, transport) = bridge("https://ehr.example", answer(200, "{}"));
        for id in [".", ".."] {
            assert_eq!(client.invoice(&InvoiceId::parse(id).unwrap(), NOW).await.unwrap_err().class, Class::Rejected);
        }
        for key in ["", "a b", "a\r\nx: y", "é", &"k".repeat(65)] {
            let new = NewPayment { reference: key.to_owned(), ..new_payment() };
            assert_eq!(client.post_payment(&new, NOW).await.unwrap_err().class, Class::Rejected);
            assert_eq!(client.reverse(&payment_id(), &new_reversal(), key, NOW).await.unwrap_err().class, Class::Rejected);
        }
        assert!(transport.seen.lock().unwrap().is_empty());
    }
}
