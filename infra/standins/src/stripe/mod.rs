//! A stand-in of api.stripe.com: the part of it that a reconciler of card payments needs (facts/stripe.md).
//!
//! Objects and events look like the real ones (templates/), ids come from a counter, fees are 2.9 % + 30 in integers.
//! A PaymentIntent succeeds at most once; a decline empties its `payment_method`.
//! Must not: charge without a script or a call that says so, or put anything into a list that was not built by
//! [`world`] or by a request.

mod endpoints;
mod http;
mod lists;
mod outcome;
pub mod world;

pub use outcome::{Confirm, Decline, Outcome};
pub use world::{NewPayment, NewPayout};

use crate::{Standin, hmac_hex, int_of, patch, text_of};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, VecDeque};
use vesper_adapters::http::HttpResponse;

/// The stand-in of Stripe.
pub type StripeStandin = Standin<Stripe>;

/// The API version that the events are written in.
pub const API_VERSION: &str = "2026-10-28.endive";
/// The secret key that the stand-in accepts unless told otherwise.
pub const DEFAULT_KEY: &str = "sk_test_standin";

/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// What Stripe takes of a charge: 2.9 %, rounded down, and 30 minor units.
#[must_use]
pub const fn fee_of(amount_minor: i64) -> i64 {
    amount_minor.saturating_mul(29).saturating_div(1000).saturating_add(30)
}

/// A body and its `Stripe-Signature` header, as Stripe would deliver the event at that time (facts/stripe.md section 1).
#[must_use]
pub fn signed(event: &Value, secret: &str, now_s: i64) -> (Vec<u8>, String) {
    let body = event.to_string().into_bytes();
    let message = [format!("{now_s}.").as_bytes(), &body].concat();
    let header = format!("t={now_s},v1={}", hmac_hex(secret, &message));
    (body, header)
}

/// One object, with what never leaves the stand-in.
struct Object {
    json: Value,
    seq: u64,
    delivered: bool,
    payout: Option<String>,
    owner: Option<&'static str>,
    deleted: bool,
}

/// The answer under an idempotency key; None while the request is on its way.
struct Kept {
    at: Timestamp,
    path: String,
    form: Vec<(String, String)>,
    answer: Option<HttpResponse>,
}

/// One object of each kind, made up, with the shape of the real ones.
struct Templates {
    intent: Value,
    error: Value,
    charge: Value,
    refund: Value,
    payout: Value,
    customer: Value,
    payment_method: Value,
    dispute: Value,
    session: Value,
}

impl Templates {
    fn read() -> Templates {
        let object = |text: &str| {
            let event: Value = serde_json::from_str(text).unwrap_or_default();
            event.pointer("/data/object").cloned().unwrap_or_default()
        };
        let failed = object(include_str!("../../templates/payment_intent.payment_failed.generic_decline.json"));
        Templates {
            intent: object(include_str!("../../templates/payment_intent.succeeded.json")),
            error: failed.get("last_payment_error").cloned().unwrap_or_default(),
            charge: object(include_str!("../../templates/charge.succeeded.json")),
            refund: object(include_str!("../../templates/refund.created.json")),
            payout: object(include_str!("../../templates/payout.reconciliation_completed.json")),
            customer: object(include_str!("../../templates/customer.created.json")),
            payment_method: object(include_str!("../../templates/payment_method.attached.json")),
            dispute: object(include_str!("../../templates/charge.dispute.created.json")),
            session: object(include_str!("../../templates/checkout.session.completed.json")),
        }
    }
}

/// The state of the stand-in.
pub struct Stripe {
    key: String,
    /// The rights that the key does not have.
    forbidden: BTreeSet<String>,
    livemode: bool,
    objects: HashMap<String, Object>,
    by_prefix: HashMap<&'static str, Vec<String>>,
    made: u64,
    script: HashMap<String, VecDeque<Outcome>>,
    confirms: Vec<Confirm>,
    kept: HashMap<String, Kept>,
    /// The idempotency key of the request that is being applied, for the events that it makes.
    request_key: Option<String>,
    templates: Templates,
}

/// A row of the balance.
struct Row<'a> {
    kind: &'static str,
    category: &'static str,
    source: Option<&'a str>,
    amount: i64,
    fee: i64,
    currency: &'a str,
}

impl Stripe {
    fn new(key: &str, livemode: bool) -> Stripe {
        Stripe {
            key: key.to_owned(),
            forbidden: BTreeSet::new(),
            livemode,
            objects: HashMap::new(),
            by_prefix: HashMap::new(),
            made: 0,
            script: HashMap::new(),
            confirms: Vec::new(),
            kept: HashMap::new(),
            request_key: None,
            templates: Templates::read(),
        }
    }

    fn make(&mut self, now: Timestamp, prefix: &'static str, template: &Value, fields: Value) -> String {
        let id = format!("{prefix}_3Vs{:08}", self.made.saturating_add(1));
        self.make_as(now, prefix, id, template, fields)
    }

    fn make_as(&mut self, now: Timestamp, prefix: &'static str, id: String, template: &Value, fields: Value) -> String {
        self.made = self.made.saturating_add(1);
        let mut object = if template.is_object() { template.clone() } else { json!({}) };
        patch(&mut object, json!({"id": id, "created": now.as_second(), "livemode": self.livemode}));
        patch(&mut object, fields);
        let kept = Object { json: object, seq: self.made, delivered: false, payout: None, owner: None, deleted: false };
        if self.objects.insert(id.clone(), kept).is_none() {
            self.by_prefix.entry(prefix).or_default().push(id.clone());
        }
        id
    }

    fn json(&self, id: &str) -> Option<&Value> {
        self.objects.get(id).map(|o| &o.json)
    }

    /// For world building: an id that does not exist is a mistake of the test.
    fn must(&self, id: &str) -> &Value {
        match self.objects.get(id) {
            Some(object) => &object.json,
            None => panic!("the Stripe stand-in has no object {id}"),
        }
    }

    fn set(&mut self, id: &str, fields: Value) {
        match self.objects.get_mut(id) {
            Some(object) => patch(&mut object.json, fields),
            None => panic!("the Stripe stand-in has no object {id}"),
        }
    }

    /// A text field of an existing object.
    fn text(&self, id: &str, field: &str) -> String {
        text_of(self.must(id), field).to_owned()
    }

    /// All objects of a kind, in the order in which they were made.
    fn all(&self, prefix: &str) -> impl Iterator<Item = &Object> {
        self.by_prefix.get(prefix).into_iter().flatten().filter_map(|id| self.objects.get(id))
    }

    fn emit(&mut self, now: Timestamp, event_type: &str, object_id: &str, previous: Option<Value>) -> String {
        let mut data = json!({"object": self.must(object_id)});
        if let Some(previous) = previous {
            patch(&mut data, json!({"previous_attributes": previous}));
        }
        let request = json!({"id": format!("req_3Vs{:08}", self.made), "idempotency_key": self.request_key});
        let fields = json!({
            "object": "event", "api_version": API_VERSION, "data": data, "pending_webhooks": 1, "request": request, "type": event_type,
        });
        self.make(now, "evt", &Value::Null, fields)
    }

    fn row(&mut self, now: Timestamp, row: &Row<'_>) -> String {
        let detail = json!({
            "amount": row.fee, "application": null, "currency": row.currency, "description": "Stripe processing fees", "type": "stripe_fee",
        });
        let fields = json!({
            "object": "balance_transaction", "amount": row.amount, "available_on": now.as_second().saturating_add(2 * DAY_S),
            "balance_type": "payments", "currency": row.currency, "description": null, "exchange_rate": null, "fee": row.fee,
            "fee_details": if row.fee == 0 { json!([]) } else { json!([detail]) }, "net": row.amount.saturating_sub(row.fee),
            "reporting_category": row.category, "source": row.source, "status": "pending", "type": row.kind,
        });
        self.make(now, "txn", &Value::Null, fields)
    }

    /// The card that a customer pays with unless he says otherwise.
    fn default_card(&self, customer: Option<&str>) -> Option<String> {
        let card = self.json(customer?)?.pointer("/invoice_settings/default_payment_method")?.as_str()?;
        Some(card.to_owned())
    }

    fn charge(&mut self, now: Timestamp, intent: &str, card: Option<&str>, ok: bool) -> String {
        let intent = self.must(intent).clone();
        let guest = json!({"address": null, "email": intent.get("receipt_email"), "name": null, "phone": null, "tax_id": null});
        let billing = card.and_then(|c| self.json(c)).and_then(|c| c.get("billing_details")).cloned().unwrap_or(guest);
        let amount = int_of(&intent, "amount");
        let fields = json!({
            "amount": amount, "amount_captured": if ok { amount } else { 0 }, "amount_refunded": 0, "balance_transaction": null,
            "billing_details": billing, "captured": ok, "currency": intent.get("currency"), "customer": intent.get("customer"),
            "disputed": false, "metadata": intent.get("metadata"), "paid": ok, "payment_intent": intent.get("id"), "payment_method": card,
            "receipt_email": intent.get("receipt_email"), "refunded": false, "status": if ok { "succeeded" } else { "failed" },
        });
        let template = self.templates.charge.clone();
        self.make(now, "ch", &template, fields)
    }

    /// The money of a charge comes into the balance.
    fn settle_charge(&mut self, now: Timestamp, charge: &str) {
        let (amount, currency) = (int_of(self.must(charge), "amount"), self.text(charge, "currency"));
        let row =
            Row { kind: "charge", category: "charge", source: Some(charge), amount, fee: fee_of(amount), currency: &currency };
        let id = self.row(now, &row);
        self.set(charge, json!({"balance_transaction": id}));
    }

    /// The PaymentIntent succeeds: charge.succeeded, payment_intent.succeeded; with a late row, charge.updated follows.
    fn succeed(&mut self, now: Timestamp, intent: &str, card: Option<&str>, late_row: bool) {
        let amount = int_of(self.must(intent), "amount");
        let charge = self.charge(now, intent, card, true);
        if !late_row {
            self.settle_charge(now, &charge);
        }
        let fields = json!({
            "status": "succeeded", "amount_received": amount, "latest_charge": charge, "payment_method": card, "last_payment_error": null,
        });
        self.set(intent, fields);
        self.emit(now, "charge.succeeded", &charge, None);
        self.emit(now, "payment_intent.succeeded", intent, None);
        if late_row {
            self.settle_charge(now, &charge);
            self.emit(now, "charge.updated", &charge, Some(json!({"balance_transaction": null})));
        }
    }

    /// The card is refused: payment_intent.payment_failed. Answers the `last_payment_error`.
    fn decline(&mut self, now: Timestamp, intent: &str, card: Option<&str>, why: &Decline) -> Value {
        let charge = self.charge(now, intent, card, false);
        self.set(&charge, why.charge_fields());
        let card = card.and_then(|c| self.json(c)).cloned().unwrap_or_default();
        let error = why.error(&self.templates.error, &charge, card);
        let fields = json!({
            "status": "requires_payment_method", "latest_charge": charge, "payment_method": null, "last_payment_error": error,
        });
        self.set(intent, fields);
        self.emit(now, "payment_intent.payment_failed", intent, None);
        error
    }

    /// What became available by now.
    fn mature(&mut self, now: Timestamp) {
        for id in self.by_prefix.get("txn").cloned().unwrap_or_default() {
            if let Some(row) = self.objects.get_mut(&id)
                && int_of(&row.json, "available_on") <= now.as_second()
            {
                patch(&mut row.json, json!({"status": "available"}));
            }
        }
    }
}

#[cfg(test)]
mod tests;
