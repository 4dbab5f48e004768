//! The routes of the stand-in: keys, rights, idempotency, reads, and the writes that Vesper makes: the confirm, and setup's of the
//! webhook endpoint.
//!
//! Must not: answer a call that Vesper has no reason to make; such a call is refused and noted.

use super::lists::{KINDS, base, expand_paths};
use super::{Confirm, Kept, Outcome, Stripe};
use crate::{Call, Desk, System, int_of, json as answer, patch, text_of};
use jiff::SignedDuration;
use serde_json::{Value, json};
use vesper_adapters::http::HttpResponse;

/// The parameters of a confirm; `payment_method_types` left with endive (facts/stripe.md section 2).
const CONFIRM: [&str; 20] = [
    "payment_method",
    "off_session",
    "expand",
    "return_url",
    "receipt_email",
    "setup_future_usage",
    "mandate",
    "mandate_data",
    "payment_method_options",
    "payment_method_data",
    "capture_method",
    "confirmation_token",
    "error_on_requires_action",
    "shipping",
    "use_stripe_sdk",
    "radar_options",
    "allowed_payment_method_types",
    "excluded_payment_method_types",
    "amount_details",
    "payment_details",
];

/// Keys are kept for a day; later the same key is a new request (facts/stripe.md section 4).
const KEY_KEPT_H: i64 = 24;
/// The longest Idempotency-Key.
const KEY_LEN_MAX: usize = 255;

impl System for Stripe {
    const NAME: &'static str = "stripe";
    const ORIGIN: &'static str = "https://stripe.standin.invalid";

    fn hold(&mut self, call: &Call) {
        if let Some(key) = idempotency_key(call) {
            let kept = Kept { at: jiff::Timestamp::MAX, path: call.path(), form: sorted_form(call), answer: None };
            self.kept.entry(key.to_owned()).or_insert(kept);
        }
    }

    fn release(&mut self, call: &Call) {
        if let Some(key) = idempotency_key(call) {
            self.kept.retain(|k, kept| k != key || kept.answer.is_some());
        }
    }

    fn answer(&mut self, desk: &mut Desk, call: &Call) -> HttpResponse {
        let mut reply = self.checked(desk, call).unwrap_or_else(|refusal| refusal);
        if reply.header("request-id").is_none() {
            reply.headers.push(("request-id".to_owned(), format!("req_standin{:08}", desk.count())));
        }
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&desk.now());
        reply.headers.extend(date.ok().map(|date| ("date".to_owned(), date)));
        reply
    }
}

/// The Idempotency-Key of a write.
fn idempotency_key(call: &Call) -> Option<&str> {
    call.header("idempotency-key").filter(|_| call.method == "POST")
}

fn sorted_form(call: &Call) -> Vec<(String, String)> {
    let mut form = call.form();
    form.sort();
    form
}

impl Stripe {
    /// An error as Stripe writes it.
    pub(super) fn error(&self, _desk: &Desk, status: u16, message: &str, more: &Value) -> HttpResponse {
        let mut error = json!({"type": "invalid_request_error", "message": message});
        patch(&mut error, more.clone());
        answer(status, &json!({"error": error}))
    }

    /// An error for something that no correct client sends.
    pub(super) fn refusal(&self, desk: &mut Desk, call: &Call, status: u16, message: &str, param: &str) -> HttpResponse {
        desk.refuse(call, &format!("{param}: {message}"));
        self.error(desk, status, message, &json!({"param": param}))
    }

    /// Refuses parameters that the call does not know, and an e-mail in the URL.
    pub(super) fn check_params(
        &self,
        desk: &mut Desk,
        call: &Call,
        given: &[(String, String)],
        allowed: &[&str],
    ) -> Result<(), HttpResponse> {
        if percent_encoding::percent_decode_str(&call.target).decode_utf8_lossy().contains('@') {
            desk.refuse(call, "an e-mail in a URL");
        }
        match given.iter().find(|(name, _)| !allowed.contains(&base(name))) {
            None => Ok(()),
            Some((name, _)) => {
                desk.refuse(call, &format!("unknown parameter {name}"));
                let more = json!({"code": "parameter_unknown", "param": name});
                Err(self.error(desk, 400, &format!("Received unknown parameter: {name}"), &more))
            }
        }
    }

    fn checked(&mut self, desk: &mut Desk, call: &Call) -> Result<HttpResponse, HttpResponse> {
        if call.header("authorization") != Some(format!("Bearer {}", self.key).as_str()) {
            desk.refuse(call, "bad API key");
            return Err(self.error(desk, 401, "Invalid API Key provided", &Value::Null));
        }
        if call.header("stripe-version").is_none() {
            desk.refuse(call, "no Stripe-Version");
        }
        if let Some(right) = self.missing_right(call) {
            return Err(self.no_right(desk, right));
        }
        let Some(key) = idempotency_key(call) else {
            return self.route(desk, call);
        };
        if key.len() > KEY_LEN_MAX {
            return Err(self.refusal(desk, call, 400, "Idempotency keys are at most 255 characters long", "Idempotency-Key"));
        }
        let oldest = desk.now().saturating_sub(SignedDuration::from_hours(KEY_KEPT_H)).unwrap_or(jiff::Timestamp::MIN);
        self.kept.retain(|_, kept| kept.at >= oldest);
        if let Some(kept) = self.kept.get(key) {
            return Err(self.replay(desk, call, kept));
        }
        self.request_key = Some(key.to_owned());
        let reply = self.route(desk, call).unwrap_or_else(|refusal| refusal);
        self.request_key = None;
        // A decline was executed: it is kept with its body. What was refused before that is not.
        if matches!(reply.status, 200 | 402) {
            let kept = Kept { at: desk.now(), path: call.path(), form: sorted_form(call), answer: Some(reply.clone()) };
            self.kept.insert(key.to_owned(), kept);
        }
        Ok(reply)
    }

    fn replay(&self, desk: &mut Desk, call: &Call, kept: &Kept) -> HttpResponse {
        if kept.path != call.path() || kept.form != sorted_form(call) {
            desk.refuse(call, "an Idempotency-Key used again with other parameters");
            let message = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
            return self.error(desk, 400, message, &json!({"type": "idempotency_error"}));
        }
        let Some(reply) = &kept.answer else {
            let message = "There is currently another in-progress request using this Idempotent Key.";
            let more = json!({"type": "idempotency_error", "code": "idempotency_key_in_use"});
            return self.error(desk, 409, message, &more);
        };
        let mut reply = reply.clone();
        reply.headers.push(("idempotent-replayed".to_owned(), "true".to_owned()));
        reply
    }

    fn route(&mut self, desk: &mut Desk, call: &Call) -> Result<HttpResponse, HttpResponse> {
        let parts = call.parts();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["v1", "balance"]) => {
                self.check_params(desk, call, &call.query, &["expand"])?;
                self.mature(desk.now());
                Ok(answer(200, &self.balance()))
            }
            ("GET", ["v1", "account"]) => {
                self.check_params(desk, call, &call.query, &["expand"])?;
                Ok(answer(200, &json!({"id": "acct_standin", "object": "account", "livemode": self.livemode})))
            }
            ("GET", ["v1", "checkout", "sessions"]) => self.list(desk, call, "checkout/sessions", &[]),
            ("GET", ["v1", "checkout", "sessions", id]) => self.read(desk, call, "checkout/sessions", id),
            ("GET", ["v1", "customers", id, "payment_methods"]) => self.list(desk, call, "payment_methods", &[("customer", id)]),
            ("GET", ["v1", "charges", id, "refunds"]) => self.list(desk, call, "refunds", &[("charge", id)]),
            ("GET", ["v1", kind]) if KINDS.iter().any(|(k, ..)| k == kind) => {
                self.mature(desk.now());
                self.list(desk, call, kind, &[])
            }
            ("GET", ["v1", kind, id]) if KINDS.iter().any(|(k, ..)| k == kind) => self.read(desk, call, kind, id),
            ("POST", ["v1", "payment_intents", id, "confirm"]) => self.confirm(desk, call, id),
            ("POST", ["v1", "webhook_endpoints"]) => self.make_endpoint(desk, call),
            ("POST", ["v1", "webhook_endpoints", id]) => self.change_endpoint(desk, call, id),
            // Without parameters it refunds nothing: only a key's rights are asked so.
            ("POST", ["v1", "refunds"]) if call.body.is_empty() && call.query.is_empty() => {
                let message = "One of the following params should be provided for this request: payment_intent or charge.";
                Err(self.error(desk, 400, message, &Value::Null))
            }
            _ => {
                desk.refuse(call, "no such call in this stand-in (a write that Vesper has no reason to make?)");
                Err(self.error(desk, 404, &format!("Unrecognized request URL ({}: {})", call.method, call.path()), &Value::Null))
            }
        }
    }

    fn balance(&self) -> Value {
        let total = |status: &str| {
            let mut sums = std::collections::BTreeMap::from([("usd".to_owned(), 0_i64)]);
            for row in self.all("txn").map(|o| &o.json).filter(|row| text_of(row, "status") == status) {
                let sum = sums.entry(text_of(row, "currency").to_owned()).or_default();
                *sum = sum.saturating_add(int_of(row, "net"));
            }
            let one = |(currency, amount)| json!({"amount": amount, "currency": currency, "source_types": {"card": amount}});
            sums.into_iter().map(one).collect::<Vec<_>>()
        };
        json!({"object": "balance", "available": total("available"), "pending": total("pending"), "livemode": self.livemode})
    }

    pub(super) fn find(&self, desk: &Desk, kind: &str, id: &str) -> Result<&Value, HttpResponse> {
        let prefix = KINDS.iter().find(|(path, ..)| *path == kind).map(|(_, prefix, _)| *prefix).unwrap_or_default();
        let right = id.split_once('_').is_some_and(|(p, _)| {
            p == prefix || (p == "py" && matches!(kind, "charges" | "refunds")) || (p == "dp" && kind == "disputes")
        });
        self.json(id).filter(|_| right).ok_or_else(|| {
            let more = json!({"code": "resource_missing", "param": "id"});
            self.error(desk, 404, &format!("No such {}: '{id}'", kind.trim_end_matches('s')), &more)
        })
    }

    fn read(&self, desk: &mut Desk, call: &Call, kind: &str, id: &str) -> Result<HttpResponse, HttpResponse> {
        self.check_params(desk, call, &call.query, &["expand", "client_secret"])?;
        let mut object = self.find(desk, kind, id)?.clone();
        for path in expand_paths(&call.query) {
            self.expand(desk, call, &mut object, path)?;
        }
        Ok(answer(200, &object))
    }

    /// The state of a PaymentIntent does not allow this.
    fn unexpected(&self, desk: &Desk, message: &str, intent: &Value) -> HttpResponse {
        self.error(desk, 400, message, &json!({"code": "payment_intent_unexpected_state", "payment_intent": intent}))
    }

    /// Looks at everything that can be wrong with a confirm; answers the payment method that it charges.
    fn confirmable(
        &self,
        desk: &mut Desk,
        call: &Call,
        intent: &Value,
        form: &[(String, String)],
    ) -> Result<String, HttpResponse> {
        let given = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        if idempotency_key(call).is_none() {
            desk.refuse(call, "a confirm without Idempotency-Key");
        }
        if given("off_session") != Some("true") {
            desk.refuse(call, "a confirm without off_session=true");
        }
        let status = text_of(intent, "status");
        if !matches!(status, "requires_payment_method" | "requires_confirmation" | "requires_action") {
            return Err(self.unexpected(desk, &format!("This PaymentIntent's status is {status}."), intent));
        }
        let card = given("payment_method").unwrap_or_else(|| text_of(intent, "payment_method"));
        let Some(method) = self.json(card).filter(|m| text_of(m, "object") == "payment_method") else {
            let message = "You cannot confirm this PaymentIntent because it's missing a payment method.";
            return Err(self.unexpected(desk, message, intent));
        };
        if method.get("customer").is_none_or(Value::is_null) {
            let message = "The provided PaymentMethod is attached to no customer and may not be used again.";
            return Err(self.error(desk, 400, message, &json!({"param": "payment_method"})));
        }
        if method.get("customer") != intent.get("customer") {
            return Err(self.refusal(desk, call, 400, "The PaymentMethod belongs to another customer.", "payment_method"));
        }
        if let Some(owner) = self.objects.get(text_of(intent, "id")).and_then(|o| o.owner) {
            desk.refuse(call, &format!("a PaymentIntent that {owner} owns"));
            let message = format!("This PaymentIntent is managed by {owner} and cannot be confirmed directly.");
            return Err(self.unexpected(desk, &message, intent));
        }
        Ok(card.to_owned())
    }

    fn confirm(&mut self, desk: &mut Desk, call: &Call, id: &str) -> Result<HttpResponse, HttpResponse> {
        let form = call.form();
        if !call.query.is_empty() || !(call.body.is_empty() || call.says("application/x-www-form-urlencoded")) {
            desk.refuse(call, "the parameters of a POST stand in a form body");
        }
        self.check_params(desk, call, &form, &CONFIRM)?;
        let intent = self.find(desk, "payment_intents", id)?.clone();
        let card = self.confirmable(desk, call, &intent, &form)?;
        for path in expand_paths(&form) {
            self.expand(desk, call, &mut intent.clone(), path)?;
        }
        let outcome = self.script.get_mut(id).and_then(std::collections::VecDeque::pop_front).unwrap_or(Outcome::Succeed);
        let idempotency_key = idempotency_key(call).map(str::to_owned);
        let at = desk.now();
        let confirm = Confirm {
            payment_intent: id.to_owned(),
            idempotency_key,
            payment_method: card.clone(),
            outcome: outcome.clone(),
            at,
        };
        self.confirms.push(confirm);
        match outcome {
            Outcome::Succeed => self.succeed(at, id, Some(&card), false),
            Outcome::Processing => {
                self.set(id, json!({"status": "processing", "payment_method": card}));
                self.emit(at, "payment_intent.processing", id, None);
            }
            Outcome::Decline(why) => {
                let mut error = self.decline(at, id, Some(&card), &why);
                patch(&mut error, json!({"type": "card_error", "payment_intent": self.must(id)}));
                return Err(answer(402, &json!({"error": error})));
            }
        }
        let mut object = self.must(id).clone();
        for path in expand_paths(&form) {
            self.expand(desk, call, &mut object, path)?;
        }
        Ok(answer(200, &object))
    }
}
