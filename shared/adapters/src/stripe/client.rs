//! The calls that Vesper makes to Stripe, and of what class each failure is.
//!
//! Must not: put an e-mail into a URL, put anything of a body into an error but codes and ids, or repeat a call by itself:
//! whoever holds the effect decides when to try again.

mod endpoints;
mod healing;
mod payouts;
mod rights;

use super::json::{Problem, word};
use super::wire::Projection;
use super::wire::answers::{self, Cursor, Page, Refusal};
use crate::error::{CallError, Class, System};
use crate::http::{HttpRequest, HttpResponse, SharedTransport, TransportError};
use crate::personal::Secret;
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Method;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use vesper_core::event::{Failure, Refund};
use vesper_core::ids::{ChargeId, CustomerId, PaymentId};

pub use endpoints::{EndpointChange, NewEndpoint, WebhookEndpoint};
pub use healing::{EVENT_TYPES, ListPage, Place};
pub use payouts::PayoutRowsPage;
pub use rights::{Balance, FailedTry, RIGHTS, Right};

pub use super::wire::answers::{ChargeNow, CustomerNow, CustomersPage, PaymentIntentNow, PaymentMethodNow};

/// Items per page: Stripe's maximum (facts/stripe.md section 5).
const PAGE_LIMIT: &str = "100";
/// More pages than this of one customer's payments or one charge's refunds is a mistake, not a practice.
const PAGES_MAX: usize = 200;
/// What may stand unescaped in a path segment: the characters of Stripe's ids.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// What became of one attempt to charge a card.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one value per charged card, matched at once")]
pub enum ConfirmOutcome {
    /// The money arrived.
    Succeeded,
    /// The card was declined (HTTP 402); Stripe stores this answer under the idempotency key (facts/stripe.md section 4).
    Declined(Failure),
    /// Stripe will tell later, by an event.
    Processing,
    /// The client has to do something; no retry of ours helps.
    RequiresAction,
    /// The PaymentIntent is in another state, or cannot be confirmed in the state that it is in; no money arrived by this attempt.
    OtherState {
        /// Stripe's `status`, such as `canceled`.
        status: String,
    },
}

/// Speaks to Stripe's API for one practice. Cloning shares the transport.
#[derive(Clone)]
pub struct StripeClient {
    transport: SharedTransport,
    api_base: String,
    api_version: String,
    key: Secret,
    projection: Projection,
}

/// One call: what it is, for the error text, and what is sent.
struct Call<'a> {
    attempted: String,
    method: Method,
    path: String,
    params: &'a [(&'a str, &'a str)],
    idempotency_key: Option<&'a str>,
}

impl<'a> Call<'a> {
    fn get(attempted: String, path: String, params: &'a [(&'a str, &'a str)]) -> Self {
        Self { attempted, method: Method::GET, path, params, idempotency_key: None }
    }

    fn error(&self, class: Class, detail: String, code: Option<String>) -> CallError {
        CallError { system: System::Stripe, attempted: self.attempted.clone(), class, detail, code }
    }

    /// No answer: nothing was done when nothing was sent, or when it was only a read.
    fn no_answer(&self, e: TransportError) -> CallError {
        let write = self.method == Method::POST;
        let class = if write && e == TransportError::OutcomeUnknown { Class::OutcomeUnknown } else { Class::Transient };
        self.error(class, e.to_string(), None)
    }

    /// A 2xx that cannot be read: after a write nobody knows what happened.
    fn unreadable(&self, answer: &HttpResponse, problem: &Problem) -> CallError {
        let class = if self.method == Method::POST { Class::OutcomeUnknown } else { Class::Bug };
        self.error(class, format!("status {}, {problem}{}", answer.status, request_id(answer)), None)
    }

    /// An answer other than 2xx.
    fn refused(&self, answer: &HttpResponse, refusal: Refusal) -> CallError {
        let class = class_of(answer, refusal.code.as_deref(), self.method == Method::POST);
        let said = [refusal.kind.as_deref(), refusal.code.as_deref()].into_iter().flatten();
        let said: String = said.map(|s| format!(", {s}")).collect();
        self.error(class, format!("status {}{said}{}", answer.status, request_id(answer)), refusal.code)
    }
}

/// `, request req_...` for an error text (facts/stripe.md section 5: log it).
fn request_id(answer: &HttpResponse) -> String {
    answer.header("request-id").map(|id| format!(", request {}", word(id))).unwrap_or_default()
}

/// The class of an answer that is no 2xx. `Stripe-Should-Retry` wins over the status where the status alone does not say what
/// to do (facts/stripe.md section 5), but a write that met a 5xx stays unknown: it may have charged a card.
fn class_of(answer: &HttpResponse, code: Option<&str>, write: bool) -> Class {
    let should_retry = answer.header("stripe-should-retry");
    if answer.status == 429 || code == Some("lock_timeout") {
        return Class::Throttled { retry_after_s: answer.header("retry-after").and_then(|v| v.trim().parse().ok()) };
    }
    match (answer.status, should_retry) {
        (401 | 403, _) => Class::Unauthorized,
        (404, _) => Class::NotFound,
        (408 | 500..=599, _) if write => Class::OutcomeUnknown,
        (409, Some("false")) | (408 | 500..=599, Some("false")) => Class::Rejected,
        (409, _) => Class::Conflict,
        (408 | 500..=599, _) | (400..=499, Some("true")) => Class::Transient,
        (400..=499, _) => Class::Rejected,
        _ if write => Class::OutcomeUnknown,
        _ => Class::Bug,
    }
}

/// One segment of a path.
fn segment(id: &str) -> String {
    utf8_percent_encode(id, SEGMENT).to_string()
}

fn form(params: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(params).finish()
}

impl StripeClient {
    /// A client for `api_base` (`https://api.stripe.com`) that pins `api_version` on each call and signs in with `key`.
    #[must_use]
    pub fn new(transport: SharedTransport, api_base: &str, api_version: &str, key: Secret, projection: Projection) -> Self {
        let (api_base, api_version) = (api_base.trim_end_matches('/').to_owned(), api_version.to_owned());
        Self { transport, api_base, api_version, key, projection }
    }

    /// Sends one call, once. Any answer is Ok.
    async fn exchange(&self, call: &Call<'_>) -> Result<HttpResponse, CallError> {
        let mut headers = vec![
            ("authorization".to_owned(), format!("Bearer {}", self.key.expose())),
            ("stripe-version".to_owned(), self.api_version.clone()),
        ];
        let (mut url, mut body) = (format!("{}{}", self.api_base, call.path), Bytes::new());
        if call.method == Method::POST {
            headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
            body = form(call.params).into();
        } else if !call.params.is_empty() {
            url = format!("{url}?{}", form(call.params));
        }
        if let Some(key) = call.idempotency_key {
            headers.push(("idempotency-key".to_owned(), key.to_owned()));
        }
        let request = HttpRequest { method: call.method.clone(), url, headers, body };
        self.transport.send(request).await.map_err(|e| call.no_answer(e))
    }

    /// One call whose 2xx answer `read` understands; anything else is an error with its class.
    async fn call<T>(&self, call: &Call<'_>, read: impl FnOnce(&[u8]) -> Result<T, Problem>) -> Result<T, CallError> {
        let answer = self.exchange(call).await?;
        if !(200..300).contains(&answer.status) {
            return Err(call.refused(&answer, answers::refusal(&answer.body, &self.projection)));
        }
        read(&answer.body).map_err(|problem| call.unreadable(&answer, &problem))
    }

    /// All pages of a list.
    async fn all<T: Cursor>(
        &self,
        attempted: &str,
        path: &str,
        filter: &[(&str, &str)],
        read: impl Fn(&[u8]) -> Result<Page<T>, Problem>,
    ) -> Result<Vec<T>, CallError> {
        let mut all: Vec<T> = Vec::new();
        for _ in 0..PAGES_MAX {
            let after = all.last().map(|item| item.id().to_owned());
            let mut params = filter.to_vec();
            params.push(("limit", PAGE_LIMIT));
            params.extend(after.as_deref().map(|id| ("starting_after", id)));
            let call = Call::get(attempted.to_owned(), path.to_owned(), &params);
            let page = self.call(&call, &read).await?;
            if page.has_more && page.items.is_empty() {
                return Err(call.error(Class::Bug, "an empty page that is not the last".to_owned(), None));
            }
            all.extend(page.items);
            if !page.has_more {
                return Ok(all);
            }
        }
        Err(Call::get(attempted.to_owned(), path.to_owned(), &[]).error(Class::Bug, "the list does not end".to_owned(), None))
    }

    /// Another object than the one asked for is no answer.
    fn same<T>(call: &Call<'_>, same: bool, answer: T) -> Result<T, CallError> {
        if same { Ok(answer) } else { Err(call.error(Class::Bug, "the answer is of another id".to_owned(), None)) }
    }

    /// GET /v1/payment_intents/{id}.
    ///
    /// # Errors
    /// [`CallError`]; [`Class::NotFound`] when Stripe does not know it.
    pub async fn payment_intent(&self, payment: &PaymentId) -> Result<PaymentIntentNow, CallError> {
        let path = format!("/v1/payment_intents/{}", segment(payment.as_str()));
        let call = Call::get(format!("read payment intent {payment}"), path, &[]);
        let now = self.call(&call, |body| answers::payment_intent(body, &self.projection)).await?;
        Self::same(&call, now.payment == *payment, now)
    }

    /// GET /v1/charges/{id}.
    ///
    /// # Errors
    /// [`CallError`]; [`Class::NotFound`] when Stripe does not know it.
    pub async fn charge(&self, charge: &ChargeId) -> Result<ChargeNow, CallError> {
        let path = format!("/v1/charges/{}", segment(charge.as_str()));
        let call = Call::get(format!("read charge {charge}"), path, &[]);
        let now = self.call(&call, |body| answers::charge(body, &self.projection)).await?;
        Self::same(&call, now.charge == *charge, now)
    }

    /// GET /v1/refunds?charge=..., all pages, newest first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn refunds_of_charge(&self, charge: &ChargeId) -> Result<Vec<Refund>, CallError> {
        let read = |body: &[u8]| answers::refunds(body, &self.projection);
        self.all(&format!("list refunds of charge {charge}"), "/v1/refunds", &[("charge", charge.as_str())], read).await
    }

    /// GET /v1/customers/{id}; a deleted customer is an answer, not an error.
    ///
    /// # Errors
    /// [`CallError`]; [`Class::NotFound`] when Stripe never knew it.
    pub async fn customer(&self, customer: &CustomerId) -> Result<CustomerNow, CallError> {
        let path = format!("/v1/customers/{}", segment(customer.as_str()));
        let call = Call::get(format!("read customer {customer}"), path, &[]);
        let (id, now) = self.call(&call, |body| answers::customer(body, &self.projection)).await?;
        Self::same(&call, id == *customer, now)
    }

    /// One page of 100 of GET /v1/customers, newest first: the first, or the one after `after`. Never asks by e-mail.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn customers_page(&self, after: Option<&CustomerId>) -> Result<CustomersPage, CallError> {
        let mut params = vec![("limit", PAGE_LIMIT)];
        params.extend(after.map(|id| ("starting_after", id.as_str())));
        let call = Call::get("list customers".to_owned(), "/v1/customers".to_owned(), &params);
        let page = self.call(&call, |body| answers::customers(body, &self.projection)).await?;
        let sound = !page.items.is_empty() || !page.has_more;
        let customers = CustomersPage { customers: page.items, has_more: page.has_more };
        if sound { Ok(customers) } else { Err(call.error(Class::Bug, "an empty page that is not the last".to_owned(), None)) }
    }

    /// GET /v1/payment_methods/{id}.
    ///
    /// # Errors
    /// [`CallError`]; [`Class::NotFound`] when Stripe does not know it.
    pub async fn payment_method(&self, payment_method: &str) -> Result<PaymentMethodNow, CallError> {
        let path = format!("/v1/payment_methods/{}", segment(payment_method));
        self.call(&Call::get(format!("read payment method {}", word(payment_method)), path, &[]), answers::payment_method).await
    }

    /// Whether a Checkout Session owns this PaymentIntent (design.md section 5).
    ///
    /// # Errors
    /// [`CallError`]; then nobody knows, and the card is not charged.
    pub async fn checkout_owns(&self, payment: &PaymentId) -> Result<bool, CallError> {
        let params = [("payment_intent", payment.as_str()), ("limit", "1")];
        let attempted = format!("list checkout sessions of {payment}");
        self.call(&Call::get(attempted, "/v1/checkout/sessions".to_owned(), &params), answers::any).await
    }

    /// Whether a Stripe invoice owns this PaymentIntent (design.md section 5).
    ///
    /// # Errors
    /// [`CallError`]; then nobody knows, and the card is not charged.
    pub async fn stripe_invoice_owns(&self, payment: &PaymentId) -> Result<bool, CallError> {
        let params = [("payment[type]", "payment_intent"), ("payment[payment_intent]", payment.as_str()), ("limit", "1")];
        let attempted = format!("list invoice payments of {payment}");
        self.call(&Call::get(attempted, "/v1/invoice_payments".to_owned(), &params), answers::any).await
    }

    /// Every PaymentIntent of this customer created at or after `since` (whole seconds) with its status, all pages, newest first;
    /// one that the caller is about to confirm is among them if it is as young.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn other_payments(&self, customer: &CustomerId, since: Timestamp) -> Result<Vec<(PaymentId, String)>, CallError> {
        let since = since.as_second().to_string();
        let filter = [("customer", customer.as_str()), ("created[gte]", &*since)];
        let attempted = format!("list payment intents of customer {customer}");
        self.all(&attempted, "/v1/payment_intents", &filter, answers::payment_intents).await
    }

    /// Charges the card: POST /v1/payment_intents/{id}/confirm, off session. The amount is the PaymentIntent's own.
    ///
    /// The same `idempotency_key` with the same arguments gets the first answer again, for at least 24 h (facts/stripe.md section 4).
    ///
    /// # Errors
    /// [`CallError`]. After [`Class::OutcomeUnknown`] the card may have been charged: read the PaymentIntent before doing anything.
    /// [`Class::Conflict`] means that the same key is being worked on at this moment.
    pub async fn confirm(
        &self,
        payment: &PaymentId,
        payment_method: &str,
        idempotency_key: &str,
    ) -> Result<ConfirmOutcome, CallError> {
        let call = Call {
            attempted: format!("confirm payment intent {payment}"),
            method: Method::POST,
            path: format!("/v1/payment_intents/{}/confirm", segment(payment.as_str())),
            // No payment_method_types: endive removed it (facts/stripe.md section 2).
            params: &[("payment_method", payment_method), ("off_session", "true")],
            idempotency_key: Some(idempotency_key),
        };
        let answer = self.exchange(&call).await?;
        if (200..300).contains(&answer.status) {
            let status = answers::confirmed(&answer.body, payment).map_err(|problem| call.unreadable(&answer, &problem))?;
            return Ok(match status.as_str() {
                "succeeded" => ConfirmOutcome::Succeeded,
                "processing" => ConfirmOutcome::Processing,
                "requires_action" => ConfirmOutcome::RequiresAction,
                _ => ConfirmOutcome::OtherState { status },
            });
        }
        let mut refusal = answers::refusal(&answer.body, &self.projection);
        if answer.status == 402 {
            return match refusal.failure.take().filter(|failure| failure.payment == *payment) {
                Some(failure) => Ok(ConfirmOutcome::Declined(failure)),
                None => self.decline_read_again(&call, &answer, payment).await,
            };
        }
        match refusal.payment_intent_status.take() {
            Some(status) if refusal.code.as_deref() == Some("payment_intent_unexpected_state") => {
                Ok(ConfirmOutcome::OtherState { status })
            }
            _ => Err(call.refused(&answer, refusal)),
        }
    }

    /// A decline whose answer does not carry the PaymentIntent: it is asked for.
    async fn decline_read_again(
        &self,
        call: &Call<'_>,
        answer: &HttpResponse,
        payment: &PaymentId,
    ) -> Result<ConfirmOutcome, CallError> {
        let failure = self.payment_intent(payment).await.ok().and_then(|now| now.failure);
        let unknown = || call.unreadable(answer, &Problem::new("error.payment_intent", "is missing"));
        failure.map(ConfirmOutcome::Declined).ok_or_else(unknown)
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{BoxFuture, Transport};
    use crate::personal::DataKey;
    use crate::stripe::wire::MetadataKeys;
    use serde_json::{Value, json};
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};
    use vesper_core::event::RefundStatus;

    type Answer = Result<HttpResponse, TransportError>;

    /// Gives the answers of a script, one per request, and keeps the requests.
    #[derive(Default)]
    struct Script {
        answers: Mutex<VecDeque<Answer>>,
        asked: Mutex<Vec<HttpRequest>>,
    }

    impl Transport for Script {
        fn send(&self, request: HttpRequest) -> BoxFuture<'_, Answer> {
            self.asked.lock().unwrap().push(request);
            let answer = self.answers.lock().unwrap().pop_front().expect("an answer for each request");
            Box::pin(async move { answer })
        }
    }

    fn projection() -> Projection {
        Projection { keys: MetadataKeys::default(), hasher: DataKey::new([1; 32]).email_hasher() }
    }

    fn client(answers: impl IntoIterator<Item = Answer>) -> (Arc<Script>, StripeClient) {
        let script = Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() });
        let key = Secret::new("sk_test_x");
        (script.clone(), StripeClient::new(script, "https://stripe.example/", "2026-10-28.endive", key, projection()))
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: Value) -> Answer {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Ok(HttpResponse { status, headers, body: serde_json::to_vec(&body).unwrap().into() })
    }

    fn ok(body: Value) -> Answer {
        answer(200, &[("request-id", "req_1")], body)
    }

    fn fixture(name: &str) -> Value {
        let file = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/stripe-events/{}.json"), name);
        serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap()["data"]["object"].clone()
    }

    fn with(mut object: Value, fields: Value) -> Value {
        for (key, value) in fields.as_object().unwrap() {
            object[key] = value.clone();
        }
        object
    }

    fn pi() -> PaymentId {
        PaymentId::parse("pi_1").unwrap()
    }

    /// `METHOD url` of each request, after its headers were checked.
    fn asked(script: &Script) -> Vec<String> {
        let asked = script.asked.lock().unwrap();
        for request in asked.iter() {
            let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            assert_eq!(header("authorization"), Some("Bearer sk_test_x"));
            assert_eq!(header("stripe-version"), Some("2026-10-28.endive"));
            assert_eq!(request.method == Method::POST, header("idempotency-key").is_some());
            assert_eq!(request.method == Method::GET, request.body.is_empty());
            assert!(!request.url.contains('@') && !request.url.contains("%40"));
        }
        asked.iter().map(|r| format!("{} {}", r.method, r.url.trim_start_matches("https://stripe.example"))).collect()
    }

    #[tokio::test]
    async fn a_payment_intent_is_read_with_its_money_or_its_failure() {
        let paid = with(fixture("payment_intent.succeeded"), json!({"id": "pi_1"}));
        let failed = with(fixture("payment_intent.payment_failed.insufficient_funds"), json!({"id": "pi_1"}));
        let asks = with(fixture("payment_intent.requires_action"), json!({"id": "pi_1"}));
        let (script, stripe) = client([ok(paid), ok(failed), ok(asks)]);
        let now = stripe.payment_intent(&pi()).await.unwrap();
        assert_eq!((&*now.status, now.amount_received.get(), now.success.unwrap().amount.get()), ("succeeded", 4200, 4200));
        assert_eq!((now.failure, now.created.as_second()), (None, 1_795_190_400));
        let now = stripe.payment_intent(&pi()).await.unwrap();
        assert_eq!((&*now.status, now.success, now.payment_method), ("requires_payment_method", None, None));
        let failure = now.failure.unwrap();
        assert_eq!(failure.decline_code.as_deref(), Some("insufficient_funds"));
        assert_eq!(failure.charge, now.latest_charge);
        let now = stripe.payment_intent(&pi()).await.unwrap();
        assert_eq!((&*now.status, now.success, now.failure), ("requires_action", None, None));
        assert_eq!(asked(&script), ["GET /v1/payment_intents/pi_1"; 3]);
    }

    #[tokio::test]
    async fn a_charge_is_read_with_its_money_once_it_arrived() {
        let id = ChargeId::parse("ch_1").unwrap();
        let paid = with(fixture("charge.succeeded"), json!({"id": "ch_1", "disputed": true}));
        let blocked = with(fixture("charge.failed.insufficient_funds"), json!({"id": "ch_1", "outcome": {"type": "blocked"}}));
        let (script, stripe) = client([ok(paid), ok(blocked)]);
        let now = stripe.charge(&id).await.unwrap();
        assert_eq!((now.disputed, now.blocked, &*now.status), (true, false, "succeeded"));
        let success = now.success.unwrap();
        assert_eq!(
            (success.balance_transaction.as_deref(), Some(success.payment)),
            (Some("txn_3oJeElgt1DnLBoCXJVFouuvrL"), now.payment_intent)
        );
        let now = stripe.charge(&id).await.unwrap();
        assert_eq!((now.success, now.blocked, &*now.status), (None, true, "failed"));
        assert_eq!(asked(&script), ["GET /v1/charges/ch_1"; 2]);
    }

    #[tokio::test]
    async fn all_pages_of_the_refunds_of_a_charge_are_read() {
        let refund = |id: &str, status: &str| with(fixture("refund.created"), json!({"id": id, "status": status}));
        let (script, stripe) = client([
            ok(json!({"has_more": true, "data": [refund("re_3", "pending"), refund("re_2", "succeeded")]})),
            ok(json!({"has_more": false, "data": [refund("re_1", "failed")]})),
        ]);
        let refunds = stripe.refunds_of_charge(&ChargeId::parse("ch_1").unwrap()).await.unwrap();
        let got: Vec<_> = refunds.iter().map(|r| (r.id.as_str(), r.status)).collect();
        assert_eq!(got, [("re_3", RefundStatus::Pending), ("re_2", RefundStatus::Succeeded), ("re_1", RefundStatus::Failed)]);
        assert_eq!(
            asked(&script),
            ["GET /v1/refunds?charge=ch_1&limit=100", "GET /v1/refunds?charge=ch_1&limit=100&starting_after=re_2"]
        );
    }

    #[tokio::test]
    async fn a_list_that_makes_no_sense_is_an_error_and_not_an_end() {
        let id = ChargeId::parse("ch_1").unwrap();
        for body in [
            json!({"has_more": true, "data": []}),
            json!({"data": []}),
            json!({"has_more": false}),
            json!({"has_more": false, "data": [{"id": "re_1"}]}),
            json!({"has_more": false, "data": ["re_1"]}),
        ] {
            let (_, stripe) = client([ok(body.clone())]);
            assert_eq!(stripe.refunds_of_charge(&id).await.unwrap_err().class, Class::Bug, "{body}");
        }
        let same = with(fixture("refund.created"), json!({}));
        let (_, stripe) = client((0..PAGES_MAX).map(|_| ok(json!({"has_more": true, "data": [same]}))));
        assert_eq!(stripe.refunds_of_charge(&id).await.unwrap_err().class, Class::Bug);
    }

    #[tokio::test]
    async fn customers_come_with_hashes_and_the_deleted_ones_with_nothing() {
        let id = CustomerId::parse("cus_1").unwrap();
        let customer = with(fixture("customer.created"), json!({"id": "cus_1"}));
        let hash = projection().hasher.hash("client-4f1d2a@example.test");
        let nameless = json!({"id": "cus_0", "email": null});
        let (script, stripe) = client([
            ok(customer.clone()),
            ok(json!({"id": "cus_1", "object": "customer", "deleted": true})),
            ok(json!({"has_more": true, "data": [customer]})),
            ok(json!({"has_more": false, "data": [nameless]})),
            ok(json!({"has_more": true, "data": []})),
        ]);
        let now = stripe.customer(&id).await.unwrap();
        let card = Some("pm_1ETLCpYZFIrbzXP6OhHDzJ8dq".to_owned());
        assert_eq!(now, CustomerNow { email: hash.clone(), deleted: false, default_payment_method: card });
        assert_eq!(stripe.customer(&id).await.unwrap(), CustomerNow { deleted: true, ..CustomerNow::default() });
        let page = stripe.customers_page(None).await.unwrap();
        assert_eq!(page, CustomersPage { customers: vec![(id.clone(), hash)], has_more: true });
        let page = stripe.customers_page(Some(&id)).await.unwrap();
        assert_eq!((page.customers[0].1.clone(), page.has_more), (None, false));
        assert_eq!(stripe.customers_page(Some(&id)).await.unwrap_err().class, Class::Bug);
        let (one, next) = ("GET /v1/customers/cus_1", "GET /v1/customers?limit=100&starting_after=cus_1");
        assert_eq!(asked(&script), [one, one, "GET /v1/customers?limit=100", next, next]);
    }

    #[tokio::test]
    async fn who_owns_a_payment_and_what_else_the_customer_pays_is_asked() {
        let some = json!({"has_more": true, "data": [{"id": "x_1"}]});
        let (script, stripe) = client([
            ok(some.clone()),
            ok(json!({"has_more": false, "data": []})),
            ok(some),
            ok(
                json!({"has_more": false, "data": [{"id": "pi_2", "status": "processing"}, {"id": "pi_1", "status": "succeeded"}]}),
            ),
            ok(json!({"id": "pm_1", "customer": null, "type": "card"})),
        ]);
        assert!(stripe.checkout_owns(&pi()).await.unwrap());
        assert!(!stripe.checkout_owns(&pi()).await.unwrap());
        assert!(stripe.stripe_invoice_owns(&pi()).await.unwrap());
        let since = "2026-11-20T16:00:00.9Z".parse().unwrap();
        let others = stripe.other_payments(&CustomerId::parse("cus_1").unwrap(), since).await.unwrap();
        assert_eq!(others, [(PaymentId::parse("pi_2").unwrap(), "processing".to_owned()), (pi(), "succeeded".to_owned())]);
        let method = stripe.payment_method("pm_1").await.unwrap();
        assert_eq!(method, PaymentMethodNow { customer: None, kind: "card".to_owned() });
        assert_eq!(
            asked(&script),
            [
                "GET /v1/checkout/sessions?payment_intent=pi_1&limit=1",
                "GET /v1/checkout/sessions?payment_intent=pi_1&limit=1",
                "GET /v1/invoice_payments?payment%5Btype%5D=payment_intent&payment%5Bpayment_intent%5D=pi_1&limit=1",
                "GET /v1/payment_intents?customer=cus_1&created%5Bgte%5D=1795190400&limit=100",
                "GET /v1/payment_methods/pm_1",
            ]
        );
    }

    #[tokio::test]
    async fn a_confirm_says_what_became_of_it() {
        let answered = |status: &str| json!({"id": "pi_1", "status": status});
        let decline = fixture("payment_intent.payment_failed.lost_card");
        let error = with(decline["last_payment_error"].clone(), json!({"payment_intent": with(decline, json!({"id": "pi_1"}))}));
        let unexpected = |status: &str| {
            let error = json!({"code": "payment_intent_unexpected_state", "payment_intent": answered(status)});
            answer(400, &[], json!({"error": error}))
        };
        let other = |status: &str| ConfirmOutcome::OtherState { status: status.to_owned() };
        for (given, want) in [
            (ok(answered("succeeded")), ConfirmOutcome::Succeeded),
            (ok(answered("processing")), ConfirmOutcome::Processing),
            (ok(answered("requires_action")), ConfirmOutcome::RequiresAction),
            (ok(answered("requires_capture")), other("requires_capture")),
            (unexpected("canceled"), other("canceled")),
            (unexpected("succeeded"), other("succeeded")),
        ] {
            let (script, stripe) = client([given]);
            assert_eq!(stripe.confirm(&pi(), "pm_1", "vesper-retry-pi_1-1").await.unwrap(), want);
            assert_eq!(asked(&script), ["POST /v1/payment_intents/pi_1/confirm"]);
            let request = script.asked.lock().unwrap().pop().unwrap();
            assert_eq!(request.body, "payment_method=pm_1&off_session=true");
            for header in [("content-type", "application/x-www-form-urlencoded"), ("idempotency-key", "vesper-retry-pi_1-1")] {
                assert!(request.headers.contains(&(header.0.to_owned(), header.1.to_owned())));
            }
        }
        let (_, stripe) = client([answer(402, &[], json!({"error": error}))]);
        let ConfirmOutcome::Declined(failure) = stripe.confirm(&pi(), "pm_1", "k").await.unwrap() else { panic!("declined") };
        assert_eq!((failure.decline_code.as_deref(), failure.amount.get()), (Some("lost_card"), 4200));
        assert_eq!(failure.payment_method.as_deref(), Some("pm_1ETLCpYZFIrbzXP6OhHDzJ8dq"));
    }

    #[tokio::test]
    async fn a_decline_without_its_payment_intent_is_read_again_and_else_unknown() {
        let bare = || answer(402, &[("request-id", "req_9")], json!({"error": {"type": "card_error", "message": "Ada's card"}}));
        let failed = with(fixture("payment_intent.payment_failed.expired_card"), json!({"id": "pi_1"}));
        let (script, stripe) = client([bare(), ok(failed)]);
        assert!(matches!(stripe.confirm(&pi(), "pm_1", "k").await.unwrap(), ConfirmOutcome::Declined(_)));
        assert_eq!(asked(&script), ["POST /v1/payment_intents/pi_1/confirm", "GET /v1/payment_intents/pi_1"]);
        let (_, stripe) = client([bare(), Err(TransportError::NotSent)]);
        let e = stripe.confirm(&pi(), "pm_1", "k").await.unwrap_err();
        assert_eq!(e.class, Class::OutcomeUnknown);
        assert_eq!(
            e.to_string(),
            "confirm payment intent pi_1 at Stripe: status 402, error.payment_intent is missing, request req_9"
        );
    }

    #[tokio::test]
    async fn each_failure_has_its_class_for_a_read_and_for_a_write() {
        use Class::{Bug, Conflict, NotFound, OutcomeUnknown, Rejected, Throttled, Transient, Unauthorized};
        let status =
            |status: u16, headers: &[(&str, &str)], code: &str| answer(status, headers, json!({"error": {"code": code}}));
        let (yes, no) = (("stripe-should-retry", "true"), ("stripe-should-retry", "false"));
        for (given, read, write) in [
            (Err(TransportError::NotSent), Transient, Transient),
            (Err(TransportError::OutcomeUnknown), Transient, OutcomeUnknown),
            (status(400, &[], "parameter_unknown"), Rejected, Rejected),
            (status(400, &[yes], ""), Transient, Transient),
            (status(401, &[], ""), Unauthorized, Unauthorized),
            (status(403, &[yes], ""), Unauthorized, Unauthorized),
            (status(404, &[], "resource_missing"), NotFound, NotFound),
            (status(408, &[], ""), Transient, OutcomeUnknown),
            (status(409, &[], "idempotency_key_in_use"), Conflict, Conflict),
            (status(409, &[no], ""), Rejected, Rejected),
            (status(409, &[], "lock_timeout"), Throttled { retry_after_s: None }, Throttled { retry_after_s: None }),
            (status(429, &[], "lock_timeout"), Throttled { retry_after_s: None }, Throttled { retry_after_s: None }),
            (
                status(429, &[("retry-after", "7")], ""),
                Throttled { retry_after_s: Some(7) },
                Throttled { retry_after_s: Some(7) },
            ),
            (status(500, &[], ""), Transient, OutcomeUnknown),
            (status(500, &[no], ""), Rejected, OutcomeUnknown),
            (status(503, &[yes], ""), Transient, OutcomeUnknown),
            (status(302, &[], ""), Bug, OutcomeUnknown),
            (ok(json!({"id": "pi_1"})), Bug, OutcomeUnknown),
            (ok(json!([])), Bug, OutcomeUnknown),
            (ok(json!({"id": "pi_2", "status": "succeeded"})), Bug, OutcomeUnknown),
        ] {
            let (_, stripe) = client([given.clone()]);
            let status = given.as_ref().map_or(0, |a| a.status);
            assert_eq!(stripe.payment_intent(&pi()).await.unwrap_err().class, read, "reading, status {status}");
            let (_, stripe) = client([given]);
            assert_eq!(stripe.confirm(&pi(), "pm_1", "k").await.unwrap_err().class, write, "writing, status {status}");
        }
    }

    #[tokio::test]
    async fn another_payment_than_the_one_asked_for_is_no_answer() {
        let (_, stripe) = client([ok(fixture("payment_intent.succeeded"))]);
        assert_eq!(stripe.payment_intent(&pi()).await.unwrap_err().class, Class::Bug);
    }

    #[tokio::test]
    async fn an_error_names_ids_and_codes_and_nothing_of_the_body() {
        let error = json!({"type": "invalid_request_error", "code": "resource_missing", "message": "No such customer: Ada ada@example.org"});
        let (_, stripe) = client([answer(404, &[("request-id", "req_7")], json!({"error": error}))]);
        let e = stripe.customer(&CustomerId::parse("cus_1").unwrap()).await.unwrap_err();
        assert_eq!(
            e.to_string(),
            "read customer cus_1 at Stripe: status 404, invalid_request_error, resource_missing, request req_7"
        );
        assert_eq!(e.code.as_deref(), Some("resource_missing"));
        let odd = json!({"error": {"type": "Ada Lovelace", "code": "ada@example.org"}});
        let (_, stripe) = client([answer(400, &[("request-id", "x y")], odd)]);
        let e = stripe.payment_method("pm_1").await.unwrap_err();
        assert_eq!(e.detail, "status 400, unrecognised, unrecognised, request unrecognised");
    }

    #[tokio::test]
    async fn an_id_cannot_leave_its_place_in_the_url() {
        let (script, stripe) = client([answer(404, &[], json!({})), answer(404, &[], json!({}))]);
        stripe.payment_intent(&PaymentId::parse("../x?y=1&z#é").unwrap()).await.unwrap_err();
        stripe.checkout_owns(&PaymentId::parse("a&limit=9").unwrap()).await.unwrap_err();
        assert_eq!(
            asked(&script),
            [
                "GET /v1/payment_intents/%2E%2E%2Fx%3Fy%3D1%26z%23%C3%A9",
                "GET /v1/checkout/sessions?payment_intent=a%26limit%3D9&limit=1"
            ]
        );
    }
}
