//! Webhook endpoints and the rights of the key, as setup and doctor meet them (facts/stripe.md sections 1 and 5).
//!
//! Must not: tell a signing secret but in the answer to the creation.

use super::lists::base;
use super::{Decline, Stripe, StripeStandin};
use crate::{Call, Desk, json as answer, patch, text_of};
use serde_json::{Value, json};
use vesper_adapters::http::HttpResponse;

/// The most endpoints of an account.
const ENDPOINTS_MAX: usize = 16;
/// The parameters of a creation.
const CREATE: [&str; 6] = ["url", "enabled_events", "api_version", "description", "metadata", "connect"];
/// The parameters of a change. A version is not among them.
const CHANGE: [&str; 5] = ["url", "enabled_events", "description", "metadata", "disabled"];

/// The right that a call needs, by its method and the first part of its path after `v1`.
const RIGHTS: [(&str, &str, &str); 16] = [
    ("GET", "charges", "rak_charge_read"),
    ("GET", "payment_intents", "rak_payment_intent_read"),
    ("POST", "payment_intents", "rak_payment_intent_write"),
    ("GET", "refunds", "rak_refund_read"),
    ("POST", "refunds", "rak_refund_write"),
    ("GET", "disputes", "rak_dispute_read"),
    ("GET", "customers", "rak_customer_read"),
    ("GET", "payment_methods", "rak_payment_method_read"),
    ("GET", "payouts", "rak_payout_read"),
    ("GET", "balance_transactions", "rak_balance_transaction_source_read"),
    ("GET", "balance", "rak_balance_read"),
    ("GET", "checkout", "rak_checkout_session_read"),
    ("GET", "invoice_payments", "rak_invoice_read"),
    ("GET", "events", "rak_event_read"),
    ("GET", "webhook_endpoints", "rak_webhook_read"),
    ("POST", "webhook_endpoints", "rak_webhook_write"),
];

/// The values of a list parameter.
fn listed(form: &[(String, String)], name: &str) -> Vec<Value> {
    form.iter().filter(|(n, _)| base(n) == name).map(|(_, v)| json!(v)).collect()
}

impl Stripe {
    /// The right that the key would need for this call and does not have.
    pub(super) fn missing_right(&self, call: &Call) -> Option<&'static str> {
        let kind = call.segments.get(1)?;
        let (.., right) = RIGHTS.iter().find(|(method, path, _)| *method == call.method && path == kind)?;
        self.forbidden.contains(*right).then_some(*right)
    }

    pub(super) fn no_right(&self, desk: &Desk, right: &str) -> HttpResponse {
        let message = format!(
            "The provided key does not have the required permissions for this endpoint. Having the '{right}' permission would \
             allow this request to continue."
        );
        self.error(desk, 403, &message, &Value::Null)
    }

    fn fields(&self, desk: &mut Desk, call: &Call, form: &[(String, String)]) -> Result<Value, HttpResponse> {
        let given = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let mut fields = json!({});
        if let Some(url) = given("url") {
            let fits = url.starts_with("https://") || (!self.livemode && url.starts_with("http://"));
            if !fits {
                return Err(self.refusal(desk, call, 400, "Invalid URL: must be https in live mode", "url"));
            }
            patch(&mut fields, json!({"url": url}));
        }
        let events = listed(form, "enabled_events");
        if !events.is_empty() {
            patch(&mut fields, json!({"enabled_events": events}));
        }
        if let Some(disabled) = given("disabled") {
            patch(&mut fields, json!({"status": if disabled == "true" { "disabled" } else { "enabled" }}));
        }
        let metadata =
            form.iter().filter_map(|(n, v)| Some((n.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned(), json!(v))));
        let metadata: serde_json::Map<String, Value> = metadata.collect();
        if !metadata.is_empty() {
            patch(&mut fields, json!({"metadata": metadata}));
        }
        Ok(fields)
    }

    pub(super) fn make_endpoint(&mut self, desk: &mut Desk, call: &Call) -> Result<HttpResponse, HttpResponse> {
        let form = call.form();
        self.check_params(desk, call, &form, &CREATE)?;
        for needed in ["url", "enabled_events"] {
            if !form.iter().any(|(n, _)| base(n) == needed) {
                return Err(self.refusal(desk, call, 400, &format!("Missing required param: {needed}."), needed));
            }
        }
        if self.all("we").count() >= ENDPOINTS_MAX {
            return Err(self.error(desk, 400, "You have reached the maximum of 16 test webhook endpoints.", &Value::Null));
        }
        let fields = self.fields(desk, call, &form)?;
        let given = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let template = json!({
            "object": "webhook_endpoint", "api_version": given("api_version"), "application": null,
            "description": given("description"), "metadata": {}, "status": "enabled",
        });
        let id = self.make(desk.now(), "we", &template, fields);
        let mut made = self.must(&id).clone();
        patch(&mut made, json!({"secret": secret_of(&id)}));
        Ok(answer(200, &made))
    }

    pub(super) fn change_endpoint(&mut self, desk: &mut Desk, call: &Call, id: &str) -> Result<HttpResponse, HttpResponse> {
        let form = call.form();
        self.check_params(desk, call, &form, &CHANGE)?;
        self.find(desk, "webhook_endpoints", id)?;
        let fields = self.fields(desk, call, &form)?;
        self.set(id, fields);
        Ok(answer(200, self.must(id)))
    }
}

fn secret_of(id: &str) -> String {
    format!("whsec_standin_{id}")
}

impl StripeStandin {
    /// The key has none of these rights from now on.
    pub fn forbid<'a>(&self, rights: impl IntoIterator<Item = &'a str>) {
        self.with(|s, _| s.forbidden = rights.into_iter().map(str::to_owned).collect());
    }

    /// An endpoint that somebody made by hand. Answers its id and signing secret.
    pub fn endpoint(&self, url: &str, api_version: &str, events: &[&str]) -> (String, String) {
        let fields = json!({
            "object": "webhook_endpoint", "url": url, "api_version": api_version, "enabled_events": events, "status": "enabled",
            "description": null, "metadata": {}, "application": null,
        });
        let id = self.with(|s, d| s.make(d.now(), "we", &Value::Null, fields));
        let secret = secret_of(&id);
        (id, secret)
    }

    /// The endpoints, oldest first, as Stripe shows them.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Value> {
        self.with(|s, _| s.all("we").map(|o| o.json.clone()).collect())
    }

    /// The signing secret of an endpoint.
    #[must_use]
    pub fn secret_of_endpoint(&self, id: &str) -> String {
        secret_of(id)
    }

    /// Stripe itself tries a failed card again and is refused: nobody asked for it over the API.
    pub fn tries_again_by_itself(&self, intent: &str, why: &Decline) {
        self.with(|s, d| {
            let card = s.must(intent).pointer("/last_payment_error/payment_method/id").and_then(Value::as_str).map(str::to_owned);
            s.decline(d.now(), intent, card.as_deref(), why);
            let event = s.all("evt").last().map(|o| text_of(&o.json, "id").to_owned()).unwrap_or_default();
            s.set(&event, json!({"request": {"id": null, "idempotency_key": null}}));
        });
    }
}
