//! Stripe's JSON, read into the core's words. The only place (with its part `answers`) that knows Stripe's field names.
//!
//! Tolerant: unknown fields, types and enum values never lose an event, and an object that cannot be read becomes
//! [`What::Unreadable`], which asks a person. Must not: let a name, an address, an e-mail or a free text through;
//! what is not copied here by name does not leave.

pub(super) mod answers;
pub(super) mod endpoints;
pub(super) mod healing;
pub(super) mod payouts;
mod types;

pub use types::EVENT_TYPES;

use super::json::{AnyId, Obj, Problem, word};
use crate::personal::EmailHasher;
use jiff::Timestamp;
use vesper_core::event::{Dispute, Event, Failure, Reference, Refund, RefundStatus, Success, What};
use vesper_core::ids::{ChargeId, CustomerId, EmailHash, EventId, InvoiceId, PaymentId};
use vesper_core::money::Minor;

/// `[stripe.metadata]` of contracts/settings.md: the keys that may name something; the first that is there (not blank) wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataKeys {
    /// Keys that name an invoice.
    pub invoice: Vec<String>,
    /// Keys that name a session.
    pub session: Vec<String>,
    /// Keys that name a client.
    pub client: Vec<String>,
    /// Keys that say what a payment is.
    pub kind: Vec<String>,
}

impl Default for MetadataKeys {
    /// The defaults of contracts/settings.md.
    fn default() -> Self {
        let keys = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Self {
            invoice: keys(&["vesper_invoice", "ehr_invoice_id", "invoice_id"]),
            session: keys(&["vesper_session", "ehr_session_id", "session_id"]),
            client: keys(&["vesper_client", "ehr_client_id", "client_id"]),
            kind: keys(&["kind"]),
        }
    }
}

/// What the projection of an event depends on besides the event.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Which metadata counts.
    pub keys: MetadataKeys,
    /// Turns e-mail addresses into keyed hashes.
    pub hasher: EmailHasher,
}

/// An event from the door, projected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The event, without personal data.
    pub event: Event,
    /// Whether it is of live mode; an event that does not say counts as live, so that a live practice never loses one.
    pub livemode: bool,
}

/// A body that is no event at all: answered 400 (contracts/settings.md, Intake). Holds nothing of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Not UTF-8, or no JSON object.
    #[error("the body is no JSON object")]
    NotAnObject,
    /// `id` is missing or no id.
    #[error("the event has no id")]
    NoId,
    /// `type` is missing or no text.
    #[error("the event has no type")]
    NoType,
    /// `data.object` (of a thin event: `related_object`) is missing or no object.
    #[error("the event has no object")]
    NoObject,
}

/// Reads one event body, snapshot or thin. The `detail` of an EventBridge envelope is such a body, too.
///
/// # Errors
/// [`BadBody`] when it is no event; an event whose object cannot be read is [`What::Unreadable`], not an error.
pub fn project(body: &[u8], p: &Projection) -> Result<Incoming, BadBody> {
    projected(&std::str::from_utf8(body).ok().and_then(Obj::parse).ok_or(BadBody::NotAnObject)?, p)
}

/// The same of an event that was read already: one of a list.
fn projected(top: &Obj<'_>, p: &Projection) -> Result<Incoming, BadBody> {
    let id = top.text("id").and_then(|id| EventId::try_from(id).ok()).ok_or(BadBody::NoId)?;
    let event_type = top.text("type").ok_or(BadBody::NoType)?;
    let (what, object) = if top.text("object").as_deref() == Some("v2.core.event") {
        let related = top.object("related_object").ok_or(BadBody::NoObject)?;
        (Ok(What::Other { event_type: word(&event_type) }), related)
    } else {
        let data = top.object("data").ok_or(BadBody::NoObject)?;
        // An object that does not say when it was made counts as made when its event was.
        let object = data.object("object").ok_or(BadBody::NoObject)?.with_missing("created", top);
        (what(&event_type, &object, data.object("previous_attributes").as_ref(), p), object)
    };
    let created = top.time("created");
    let unreadable = |problem: Problem| What::Unreadable { event_type: word(&event_type), problem: problem.to_string() };
    let what = match (what, &created) {
        (Ok(other @ What::Other { .. }), _) => other,
        (Ok(what), Ok(_)) => what,
        (Err(problem), _) => unreadable(problem),
        (Ok(_), Err(problem)) => unreadable(problem.clone()),
    };
    let created = created.or_else(|_| object.time("created")).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Incoming { event: Event { id, created, what }, livemode: top.flag("livemode").unwrap_or(true) })
}

/// What an event of this type says about this object.
fn what(event_type: &str, object: &Obj<'_>, previous: Option<&Obj<'_>>, p: &Projection) -> Result<What, Problem> {
    if !EVENT_TYPES.contains(&event_type) {
        return Ok(other(event_type));
    }
    Ok(match event_type {
        "payment_intent.succeeded" => What::PaymentSucceeded(success_from_payment_intent(object, p)?),
        "payment_intent.payment_failed" => {
            let error = object.object_if_any("last_payment_error")?;
            What::PaymentFailed(failure_from_payment_intent(object, error.as_ref(), p)?)
        }
        "charge.succeeded" | "charge.updated" | "charge.captured" => return what_of_charge(event_type, object, p),
        "charge.refunded" => What::ChargeRefunded { charge: object.id("id")?, payment: object.id_if_any("payment_intent")? },
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => What::Refund(refund(object, p)?),
        "customer.created" | "customer.updated" => What::Customer {
            customer: object.id("id")?,
            email: email(object, "email", p),
            default_card_changed: event_type == "customer.updated"
                && previous.and_then(|o| o.object("invoice_settings")).is_some_and(|o| o.has("default_payment_method")),
        },
        "customer.deleted" => What::CustomerDeleted { customer: object.id("id")? },
        "payment_method.attached" | "payment_method.automatically_updated" => match object.id_if_any("customer")? {
            Some(customer) => What::CardRenewed { customer, payment_method: object.id::<AnyId>("id")?.0 },
            None => other(event_type),
        },
        _ if event_type.starts_with("charge.dispute.") => What::Dispute(dispute(object)?),
        _ => match event_type.strip_prefix("payout.") {
            Some(change) => What::Payout { payout: object.id::<AnyId>("id")?.0, change: word(change) },
            None => other(event_type),
        },
    })
}

fn other(event_type: &str) -> What {
    What::Other { event_type: word(event_type) }
}

/// Whether the money of this charge arrived: a debit still pending has not, and an authorised amount that nobody captured
/// is no payment (charge.captured tells of it later).
fn charge_arrived(charge: &Obj<'_>) -> bool {
    let succeeded = match charge.word("status").as_deref() {
        Some(status) => matches!(status, "succeeded" | "paid"),
        None => charge.flag("paid").unwrap_or(true),
    };
    succeeded && charge.flag("captured").unwrap_or(true)
}

/// A charge of a PaymentIntent only completes it; one without is the payment itself (design.md section 4).
fn what_of_charge(event_type: &str, charge: &Obj<'_>, p: &Projection) -> Result<What, Problem> {
    if !charge_arrived(charge) {
        return Ok(other(event_type));
    }
    let success = success_from_charge(charge, p);
    Ok(match (charge.given("payment_intent"), event_type) {
        (true, _) => What::ChargeOfPayment(success?),
        (false, "charge.updated") => other(event_type),
        (false, _) => What::PaymentSucceeded(success?),
    })
}

/// The keyed hash of the address in `field`; None when there is none.
fn email(object: &Obj<'_>, field: &str, p: &Projection) -> Option<EmailHash> {
    object.text(field).and_then(|address| p.hasher.hash(&address))
}

/// The first of `keys` that the metadata has, trimmed; a blank value is absent. An e-mail address is no id of anything: its keyed
/// hash still names something that is not known, and may be stored.
fn named(metadata: Option<&Obj<'_>>, keys: &[String], hasher: &EmailHasher) -> Result<Option<String>, Problem> {
    let Some(metadata) = metadata else { return Ok(None) };
    for key in keys {
        let value = metadata.typed(key, "metadata")?;
        if let Some(value) = value.as_deref().map(str::trim).filter(|v| !v.is_empty()) {
            let address = value.contains('@').then(|| hasher.hash(value)).flatten();
            return Ok(Some(address.map_or_else(|| value.to_owned(), |hash| format!("hidden-{hash}"))));
        }
    }
    Ok(None)
}

fn reference(object: &Obj<'_>, p: &Projection) -> Result<Reference, Problem> {
    let metadata = object.object_if_any("metadata")?;
    let keys = &p.keys;
    let named = |keys: &[String]| named(metadata.as_ref(), keys, &p.hasher);
    Ok(Reference {
        invoice: named(&keys.invoice)?,
        session: named(&keys.session)?,
        client: named(&keys.client)?,
        kind: named(&keys.kind)?.map(|kind| word(&kind)),
    })
}

/// The payment that a charge, refund or dispute belongs to: its PaymentIntent, or the charge without one.
fn payment_of(object: &Obj<'_>, charge: Option<&ChargeId>) -> Result<PaymentId, Problem> {
    match (object.id_if_any("payment_intent")?, charge) {
        (Some(payment), _) => Ok(payment),
        (None, Some(charge)) => PaymentId::parse(charge.as_str()).map_err(|_| Problem::new("charge", "is no id")),
        (None, None) => Err(Problem::new("payment_intent", "and charge are missing")),
    }
}

/// `amount_received` is the money; `amount` is only what was asked (data/stripe-events/README.md).
fn success_from_payment_intent(pi: &Obj<'_>, p: &Projection) -> Result<Success, Problem> {
    let expanded_charge = pi.object("latest_charge");
    Ok(Success {
        payment: pi.id("id")?,
        charge: pi.id_if_any("latest_charge")?,
        customer: pi.id_if_any("customer")?,
        amount: pi.amount("amount_received")?,
        currency: pi.currency("currency")?,
        reference: reference(pi, p)?,
        receipt_email: email(pi, "receipt_email", p),
        balance_transaction: match expanded_charge {
            Some(charge) => charge.id_if_any::<AnyId>("balance_transaction")?.map(|id| id.0),
            None => None,
        },
        object_created: pi.time("created")?,
    })
}

fn success_from_charge(charge: &Obj<'_>, p: &Projection) -> Result<Success, Problem> {
    let id: ChargeId = charge.id("id")?;
    let amount = if charge.given("amount_captured") { "amount_captured" } else { "amount" };
    Ok(Success {
        payment: payment_of(charge, Some(&id))?,
        charge: Some(id),
        customer: charge.id_if_any("customer")?,
        amount: charge.amount(amount)?,
        currency: charge.currency("currency")?,
        reference: reference(charge, p)?,
        receipt_email: email(charge, "receipt_email", p),
        balance_transaction: charge.id_if_any::<AnyId>("balance_transaction")?.map(|id| id.0),
        object_created: charge.time("created")?,
    })
}

/// `error` is the PaymentIntent's `last_payment_error`, or the `error` of a 402 answer: the same fields (facts/stripe.md section 4).
fn failure_from_payment_intent(pi: &Obj<'_>, error: Option<&Obj<'_>>, p: &Projection) -> Result<Failure, Problem> {
    let method = match error {
        Some(error) => error.id_if_any::<AnyId>("payment_method")?.map(|id| id.0),
        None => None,
    };
    let charge: Option<ChargeId> = match error {
        Some(error) => error.id_if_any("charge")?,
        None => None,
    };
    let said = |field: &str| error.and_then(|e| e.word(field));
    Ok(Failure {
        payment: pi.id("id")?,
        charge: if charge.is_some() { charge } else { pi.id_if_any("latest_charge")? },
        customer: pi.id_if_any::<CustomerId>("customer")?,
        amount: pi.amount("amount")?,
        currency: pi.currency("currency")?,
        reference: reference(pi, p)?,
        receipt_email: email(pi, "receipt_email", p),
        payment_method: method,
        payment_method_type: error.and_then(|e| e.object("payment_method")).and_then(|m| m.word("type")),
        code: said("code"),
        decline_code: said("decline_code"),
        advice_code: said("advice_code"),
        network_advice_code: said("network_advice_code"),
        object_created: pi.time("created")?,
    })
}

fn refund(refund: &Obj<'_>, p: &Projection) -> Result<Refund, Problem> {
    let charge: Option<ChargeId> = refund.id_if_any("charge")?;
    let metadata = refund.object_if_any("metadata")?;
    Ok(Refund {
        id: refund.id("id")?,
        payment: payment_of(refund, charge.as_ref())?,
        charge,
        amount: refund.amount("amount")?,
        currency: refund.currency("currency")?,
        status: match refund.word("status").as_deref() {
            Some("succeeded") => RefundStatus::Succeeded,
            Some("failed" | "canceled") => RefundStatus::Failed,
            _ => RefundStatus::Pending,
        },
        // A name that can be no id hits none of the allocations, and so is no name (design.md section 4).
        names_invoice: named(metadata.as_ref(), &p.keys.invoice, &p.hasher)?.and_then(|name| InvoiceId::try_from(name).ok()),
        created: refund.time("created")?,
    })
}

/// What was taken and given back stands in the dispute's balance transactions, in their (the settlement) currency.
fn dispute(dispute: &Obj<'_>) -> Result<Dispute, Problem> {
    let charge: Option<ChargeId> = dispute.id_if_any("charge")?;
    let created = dispute.time("created")?;
    let (mut withdrawn, mut reinstated, mut settled_in) = (Minor::ZERO, Minor::ZERO, None);
    let mut moved = Vec::new();
    for row in dispute.objects_if_any("balance_transactions")?.unwrap_or_default() {
        let amount = row.signed_amount("amount")?;
        moved.push((if row.given("created") { row.time("created")? } else { created }, amount));
        if amount < Minor::ZERO {
            withdrawn = withdrawn.plus(amount.negated());
        } else {
            reinstated = reinstated.plus(amount);
        }
        if row.given("currency") {
            let currency = row.currency("currency")?;
            if settled_in.replace(currency).is_some_and(|before| before != currency) {
                return Err(Problem::new("balance_transactions", "are of several currencies"));
            }
        }
    }
    Ok(Dispute {
        id: dispute.id("id")?,
        payment: payment_of(dispute, charge.as_ref())?,
        charge,
        withdrawn,
        reinstated,
        currency: settled_in.map_or_else(|| dispute.currency("currency"), Ok)?,
        status: dispute.word("status").unwrap_or_else(|| word("")),
        created,
        moved,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personal::DataKey;
    use serde_json::{Value, json};

    const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/stripe-events");
    const PI: &str = "pi_3sKiK0sx0UxxOqBdQeBKX9oZC";
    const CHARGE: &str = "ch_36jb6bWymd0duHEQdV7dBdAgJ";
    const CUSTOMER: &str = "cus_TQa7Zk2mPq9wLx";
    const CARD: &str = "pm_1ETLCpYZFIrbzXP6OhHDzJ8dq";

    fn projection() -> Projection {
        Projection { keys: MetadataKeys::default(), hasher: DataKey::new([1; 32]).email_hasher() }
    }

    fn hash(address: &str) -> Value {
        json!(projection().hasher.hash(address).unwrap())
    }

    fn read(name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(format!("{DIR}/{name}.json")).unwrap()).unwrap()
    }

    /// All events of the folder; an EventBridge envelope gives its detail.
    fn fixtures() -> Vec<(String, Value)> {
        let names = std::fs::read_dir(DIR).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter_map(|n| n.strip_suffix(".json").map(str::to_owned)).collect();
        names.sort();
        let events = names.into_iter().filter(|n| !n.starts_with('_')).map(|n| {
            let body = read(&n);
            let body = if n.starts_with("eventbridge.") { body["detail"].clone() } else { body };
            (n, body)
        });
        events.collect()
    }

    fn projected(body: &Value) -> Incoming {
        project(&serde_json::to_vec(body).unwrap(), &projection()).unwrap()
    }

    fn what_json(body: &Value) -> Value {
        serde_json::to_value(projected(body).event.what).unwrap()
    }

    /// The event of the folder with its object changed.
    fn bent(name: &str, fields: Value) -> Value {
        let mut body = read(name);
        for (key, value) in fields.as_object().unwrap() {
            body["data"]["object"][key] = value.clone();
        }
        body
    }

    fn without(name: &str, fields: &[&str]) -> Value {
        let mut body = read(name);
        for field in fields {
            body["data"]["object"].as_object_mut().unwrap().remove(*field);
        }
        body
    }

    /// What each file of the folder is to be read as, in part.
    fn meant(name: &str) -> Value {
        let other = |event_type: &str| json!({"what": "other", "event_type": event_type});
        let dispute = |out: i64, back: i64, status: &str| {
            json!({"what": "dispute", "id": "du_16CJSSWn1sVm7kfpxvZtyKGkW", "payment": PI, "charge": CHARGE, "withdrawn": out,
                "reinstated": back, "currency": "usd", "status": status, "created": "2026-11-29T16:00:00Z"})
        };
        let named = json!({"invoice": "inv_2026_01187", "client": "c_4f1d2a", "kind": "copay"});
        let charge = |bt: Value| {
            json!({"what": "charge_of_payment", "payment": PI, "charge": CHARGE, "customer": CUSTOMER, "amount": 4200,
                "currency": "usd", "reference": named, "balance_transaction": bt})
        };
        let refund = |id: &str, amount: i64| {
            json!({"what": "refund", "id": id, "payment": PI, "charge": CHARGE, "amount": amount, "currency": "usd",
                "status": "succeeded", "names_invoice": "inv_2026_01187", "created": "2026-11-20T18:00:00Z"})
        };
        let payout = |id: &str| json!({"what": "payout", "payout": id, "change": name.strip_prefix("payout.")});
        match name {
            "payment_intent.succeeded" | "eventbridge.payment_intent.succeeded" => json!({"what": "payment_succeeded",
                "payment": PI, "charge": CHARGE, "customer": CUSTOMER, "amount": 4200, "currency": "usd", "reference": named,
                "receipt_email": null, "balance_transaction": null, "object_created": "2026-11-20T16:00:00Z"}),
            "payment_intent.succeeded.guest_no_customer" => json!({"what": "payment_succeeded", "customer": null, "amount": 4200,
                "reference": {}, "receipt_email": hash("guest@example.test")}),
            "payment_intent.succeeded.no_metadata" => {
                json!({"what": "payment_succeeded", "customer": CUSTOMER, "amount": 4200, "reference": {}})
            }
            "payment_intent.succeeded.partial_20_of_42" => {
                json!({"what": "payment_succeeded", "amount": 2000, "reference": named})
            }
            "charge.succeeded" => charge(json!("txn_3oJeElgt1DnLBoCXJVFouuvrL")),
            "charge.succeeded.async_capture_no_balance_transaction" => charge(Value::Null),
            "charge.refunded.full" | "charge.refunded.partial" => {
                json!({"what": "charge_refunded", "charge": CHARGE, "payment": PI})
            }
            "refund.created" | "refund.updated" => refund("re_3ZogG6bgqQZ112t54eO7rypXk", 4200),
            "refund.created.partial" => refund("re_3epLLGTsiByaWanYwrSC9hAqa", 1200),
            "charge.dispute.created" => dispute(0, 0, "needs_response"),
            "charge.dispute.funds_withdrawn" => dispute(4200, 0, "needs_response"),
            "charge.dispute.updated" => dispute(4200, 0, "under_review"),
            "charge.dispute.closed.won" => dispute(4200, 4200, "won"),
            "customer.created" => json!({"what": "customer", "customer": CUSTOMER, "email": hash("client-4f1d2a@example.test"),
                "default_card_changed": false}),
            "customer.updated" => json!({"what": "customer", "customer": CUSTOMER, "email": hash("new-4f1d2a@example.test"),
                "default_card_changed": false}),
            "customer.deleted" => json!({"what": "customer_deleted", "customer": CUSTOMER}),
            "payment_method.attached" | "payment_method.automatically_updated" => {
                json!({"what": "card_renewed", "customer": CUSTOMER, "payment_method": CARD})
            }
            "payout.failed" => payout("po_1veoyET0wb1eFEp2nKY6LksaQ"),
            _ if name.starts_with("payout.") => payout("po_1kOG9SMVCRqGkfITSfDX7CX6u"),
            "charge.failed.insufficient_funds" => other("charge.failed"),
            _ => match name.strip_prefix("payment_intent.payment_failed.") {
                Some(decline) => {
                    let codes = &read(name)["data"]["object"]["last_payment_error"];
                    assert!(codes["code"] == decline || codes["decline_code"] == decline, "{name}");
                    json!({"what": "payment_failed", "charge": codes["charge"], "customer": CUSTOMER, "amount": 4200,
                        "currency": "usd", "reference": named, "payment_method": CARD, "payment_method_type": "card",
                        "code": codes["code"], "decline_code": codes["decline_code"], "advice_code": codes["advice_code"],
                        "network_advice_code": codes["network_advice_code"], "object_created": "2026-11-20T16:00:00Z"})
                }
                None => other(name),
            },
        }
    }

    #[test]
    fn every_recorded_event_is_read_as_meant() {
        let fixtures = fixtures();
        assert_eq!(fixtures.len(), 46);
        for (name, body) in fixtures {
            let incoming = projected(&body);
            assert_eq!((incoming.event.id.as_str(), incoming.livemode), (body["id"].as_str().unwrap(), false), "{name}");
            assert_eq!(incoming.event.created.as_second(), body["created"].as_i64().unwrap(), "{name}");
            let (got, want) = (what_json(&body), meant(&name));
            for (field, value) in want.as_object().unwrap() {
                assert_eq!(&got[field], value, "{name}: {field} of {got}");
            }
        }
    }

    /// Every string under a key that holds personal data.
    fn personal(value: &Value, key: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(k, v)| personal(v, k, found)),
            Value::Array(items) => items.iter().for_each(|v| personal(v, key, found)),
            Value::String(text)
                if text.contains('@') || (key.contains("name") && text.len() > 4) || key == "phone" || key == "postal_code" =>
            {
                found.push(text.clone());
            }
            _ => {}
        }
    }

    #[test]
    fn an_address_typed_as_an_id_and_a_sentence_typed_as_a_kind_do_not_leave() {
        let typed =
            json!({"metadata": {"client_id": "Ada@example.org", "invoice_id": "ada@example.org", "kind": "copay of Ada Quill"}});
        let stored = what_json(&bent("payment_intent.succeeded", typed)).to_string();
        assert!(!stored.contains("example.org") && !stored.contains("Quill"), "{stored}");
        let named =
            &what_json(&bent("payment_intent.succeeded", json!({"metadata": {"client_id": "a@b.c"}})))["reference"]["client"];
        assert!(named.as_str().unwrap().starts_with("hidden-"), "it still names a client that is not known: {named}");
    }

    #[test]
    fn no_name_or_address_of_any_event_is_in_its_projection() {
        let mut canaries = Vec::new();
        for (_, body) in fixtures() {
            personal(&body, "", &mut canaries);
        }
        assert!(canaries.iter().any(|c| c == "client-4f1d2a@example.test") && canaries.iter().any(|c| c == "Client 4f1d2a"));
        for (name, body) in fixtures() {
            let stored = serde_json::to_string(&projected(&body).event).unwrap();
            for canary in &canaries {
                assert!(!stored.contains(canary.as_str()), "{name}: {canary} in {stored}");
            }
        }
    }

    #[test]
    fn a_body_that_is_no_event_is_refused() {
        let deep = "[".repeat(100_000);
        let deep_object = format!("{{\"id\":\"evt_1\",\"type\":\"x\",\"data\":{deep}");
        for (body, want) in [
            (&b""[..], BadBody::NotAnObject),
            (b"hello", BadBody::NotAnObject),
            (b"[]", BadBody::NotAnObject),
            (b"\"x\"", BadBody::NotAnObject),
            (&[0; 50], BadBody::NotAnObject),
            (b"{\"id\":\"\xff\"}", BadBody::NotAnObject),
            (b"\xef\xbb\xbf{}", BadBody::NotAnObject),
            (deep.as_bytes(), BadBody::NotAnObject),
            (deep_object.as_bytes(), BadBody::NotAnObject),
            (b"{}", BadBody::NoId),
            (br#"{"id":7,"type":"x","data":{"object":{}}}"#, BadBody::NoId),
            (br#"{"id":"","type":"x","data":{"object":{}}}"#, BadBody::NoId),
            (br#"{"id":"evt\u0000","type":"x","data":{"object":{}}}"#, BadBody::NoId),
            (br#"{"id":"evt_1","data":{"object":{}}}"#, BadBody::NoType),
            (br#"{"id":"evt_1","type":null,"data":{"object":{}}}"#, BadBody::NoType),
            (br#"{"id":"evt_1","type":"x"}"#, BadBody::NoObject),
            (br#"{"id":"evt_1","type":"x","data":{}}"#, BadBody::NoObject),
            (br#"{"id":"evt_1","type":"x","data":{"object":[]}}"#, BadBody::NoObject),
            (br#"{"id":"evt_1","type":"x","related_object":{}}"#, BadBody::NoObject),
            (br#"{"id":"evt_1","type":"x","object":"v2.core.event","data":{"object":{}}}"#, BadBody::NoObject),
        ] {
            assert_eq!(project(body, &projection()), Err(want), "{}", String::from_utf8_lossy(&body[..body.len().min(80)]));
        }
    }

    #[test]
    fn depth_where_nothing_is_read_does_no_harm() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let body = serde_json::to_string(&read("payment_intent.succeeded")).unwrap();
        let body = body.replacen('{', &format!("{{\"extra\":{deep},"), 1);
        assert!(matches!(project(body.as_bytes(), &projection()).unwrap().event.what, What::PaymentSucceeded(_)));
    }

    #[test]
    fn a_thin_event_and_an_unknown_type_are_acknowledged_and_nothing_else() {
        let thin = json!({"id": "evt_1", "object": "v2.core.event", "type": "v1.payment_intent.succeeded", "livemode": true,
            "created": "2026-11-20T16:00:02.000Z", "related_object": {"id": PI, "type": "payment_intent"}});
        let incoming = projected(&thin);
        assert_eq!(incoming.event.what, What::Other { event_type: "v1.payment_intent.succeeded".into() });
        assert_eq!((incoming.event.created.as_second(), incoming.livemode), (1_795_190_402, true));
        let unknown = json!({"id": "evt_1", "type": "totally.new", "data": {"object": {"name": "Ada"}}});
        assert_eq!(projected(&unknown).event.what, What::Other { event_type: "totally.new".into() });
        assert!(projected(&unknown).livemode, "not to be lost by a live practice");
        let odd = json!({"id": "evt_1", "type": "Ada Lovelace", "data": {"object": {}}});
        assert_eq!(projected(&odd).event.what, What::Other { event_type: "unrecognised".into() });
    }

    #[test]
    fn an_object_that_cannot_be_read_asks_a_person_and_says_which_field() {
        let big = serde_json::from_str::<Value>("1e30").unwrap();
        for (name, fields, problem) in [
            ("payment_intent.succeeded", json!({"amount_received": -4200}), "amount_received is negative"),
            ("payment_intent.succeeded", json!({"amount_received": "4200"}), "amount_received is text"),
            ("payment_intent.succeeded", json!({"amount_received": null}), "amount_received is null"),
            ("payment_intent.succeeded", json!({"amount_received": [4200]}), "amount_received is a list"),
            (
                "payment_intent.succeeded",
                json!({"amount_received": 9_223_372_036_854_775_808_u64}),
                "amount_received is out of range",
            ),
            ("payment_intent.succeeded", json!({"amount_received": big}), "amount_received is not a whole number"),
            ("payment_intent.succeeded", json!({"customer": {"id": 7}}), "customer is an object without an id"),
            ("payment_intent.succeeded", json!({"customer": 7}), "customer is a number"),
            ("payment_intent.succeeded", json!({"currency": "dollars"}), "currency is no currency code"),
            ("payment_intent.succeeded", json!({"created": "soon"}), "created is no time"),
            ("payment_intent.succeeded", json!({"metadata": ["x"]}), "metadata is a list"),
            ("payment_intent.succeeded", json!({"metadata": {"invoice_id": {"x": 1}}}), "metadata is an object"),
            ("payment_intent.payment_failed.lost_card", json!({"amount": "x"}), "amount is text"),
            ("charge.succeeded", json!({"amount_captured": -1}), "amount_captured is negative"),
            ("charge.refunded.full", json!({"id": null}), "id is null"),
            ("refund.created", json!({"amount": -1}), "amount is negative"),
            ("refund.created", json!({"charge": null, "payment_intent": null}), "payment_intent and charge are missing"),
            (
                "charge.dispute.closed.won",
                json!({"balance_transactions": ["txn_1"]}),
                "balance_transactions holds something else than objects",
            ),
            (
                "charge.dispute.closed.won",
                json!({"balance_transactions": [{"amount": -1, "currency": "usd"}, {"amount": 1, "currency": "eur"}]}),
                "balance_transactions are of several currencies",
            ),
            ("customer.created", json!({"id": 7}), "id is a number"),
            ("payout.paid", json!({"id": ""}), "id is no id"),
        ] {
            let event_type = read(name)["type"].clone();
            let want = json!({"what": "unreadable", "event_type": event_type, "problem": problem});
            assert_eq!(what_json(&bent(name, fields)), want, "{name}");
        }
        let missing = without("payment_intent.succeeded", &["amount_received"]);
        assert_eq!(what_json(&missing)["problem"], "amount_received is missing");
    }

    #[test]
    fn an_event_without_a_time_asks_unless_nothing_depends_on_it() {
        let mut body = read("payment_intent.succeeded");
        body.as_object_mut().unwrap().remove("created");
        let event = projected(&body).event;
        assert_eq!(
            event.what,
            What::Unreadable { event_type: "payment_intent.succeeded".into(), problem: "created is missing".into() }
        );
        assert_eq!(event.created.as_second(), 1_795_190_400, "the object's, for want of a better one");
        body["type"] = json!("payment_intent.created");
        assert!(matches!(projected(&body).event.what, What::Other { .. }));
    }

    #[test]
    fn an_object_that_does_not_say_when_it_was_made_was_made_when_its_event_was() {
        for created in [None, Some(Value::Null)] {
            let mut body = without("payment_intent.succeeded", &["created"]);
            if let Some(null) = created {
                body["data"]["object"]["created"] = null;
            }
            let got = what_json(&body);
            assert_eq!((&got["what"], &got["object_created"]), (&json!("payment_succeeded"), &json!("2026-11-20T16:00:01Z")));
        }
        for name in ["charge.succeeded", "refund.created", "charge.dispute.created", "payment_intent.payment_failed.lost_card"] {
            assert_ne!(what_json(&without(name, &["created"]))["what"], "unreadable", "{name}");
        }
    }

    #[test]
    fn expanded_objects_count_as_their_ids() {
        let body = bent(
            "payment_intent.succeeded",
            json!({"customer": {"id": "cus_x", "email": "ada@example.org", "name": "Ada"},
                "latest_charge": {"id": "ch_x", "balance_transaction": {"id": "txn_x"}}}),
        );
        let got = what_json(&body);
        assert_eq!((&got["customer"], &got["charge"]), (&json!("cus_x"), &json!("ch_x")));
        assert_eq!(got["balance_transaction"], "txn_x");
        assert!(!got.to_string().contains("Ada") && !got.to_string().contains("example.org"));
    }

    #[test]
    fn the_first_metadata_key_that_is_not_blank_wins_and_values_are_trimmed() {
        for (metadata, want) in [
            (json!({"vesper_invoice": " A ", "ehr_invoice_id": "B"}), json!({"invoice": "A"})),
            (json!({"vesper_invoice": " \t", "ehr_invoice_id": "B"}), json!({"invoice": "B"})),
            (
                json!({"invoice_id": "", "session_id": "S", "client_id": "C", "kind": "prepayment"}),
                json!({"session": "S", "client": "C", "kind": "prepayment"}),
            ),
            (json!({"invoice_id": 17}), json!({"invoice": "17"})),
            (json!({"INVOICE_ID": "A", "other": {"x": 1}}), json!({})),
            (Value::Null, json!({})),
        ] {
            assert_eq!(what_json(&bent("payment_intent.succeeded", json!({"metadata": metadata})))["reference"], want);
        }
    }

    #[test]
    fn a_charge_without_a_payment_intent_is_a_payment_once_its_money_arrived() {
        let alone = |name: &str, fields: Value| {
            let mut body = bent(name, json!({"payment_intent": null}));
            for (key, value) in fields.as_object().unwrap() {
                body["data"]["object"][key] = value.clone();
            }
            body
        };
        let got = what_json(&alone("charge.succeeded", json!({"amount": 5000})));
        assert_eq!((&got["what"], &got["payment"], &got["amount"]), (&json!("payment_succeeded"), &json!(CHARGE), &json!(4200)));
        assert_eq!(what_json(&alone("charge.succeeded", json!({"amount_captured": null, "amount": 5000})))["amount"], 5000);
        let authorised = alone("charge.succeeded", json!({"captured": false, "amount_captured": 0}));
        assert_eq!(what_json(&authorised)["what"], "other");
        let mut captured = alone("charge.succeeded", json!({}));
        captured["type"] = json!("charge.captured");
        assert_eq!(what_json(&captured)["what"], "payment_succeeded");
        captured["type"] = json!("charge.updated");
        assert_eq!(what_json(&captured)["what"], "other");
        for fields in [json!({"status": "pending"}), json!({"status": "failed"}), json!({"status": null, "paid": false})] {
            assert_eq!(what_json(&alone("charge.succeeded", fields.clone()))["what"], "other", "{fields}");
            let mut updated = bent("charge.succeeded", fields);
            updated["type"] = json!("charge.updated");
            assert_eq!(what_json(&updated)["what"], "other");
        }
        let mut updated = read("charge.succeeded");
        updated["type"] = json!("charge.updated");
        assert_eq!(what_json(&updated)["what"], "charge_of_payment");
    }

    #[test]
    fn a_refund_waits_in_any_status_but_the_final_ones() {
        for (status, want) in [
            (json!("succeeded"), "succeeded"),
            (json!("failed"), "failed"),
            (json!("canceled"), "failed"),
            (json!("pending"), "pending"),
            (json!("requires_action"), "pending"),
            (json!("of_the_future"), "pending"),
            (Value::Null, "pending"),
        ] {
            for event_type in ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"] {
                let mut body = bent("refund.created", json!({"status": status, "payment_intent": null}));
                body["type"] = json!(event_type);
                let got = what_json(&body);
                assert_eq!((&got["status"], &got["payment"]), (&json!(want), &json!(CHARGE)), "{event_type} {status}");
            }
        }
        let unnamed = what_json(&bent("refund.created", json!({"metadata": {"invoice_id": "x".repeat(300)}})));
        assert_eq!(unnamed["names_invoice"], Value::Null);
    }

    #[test]
    fn a_dispute_stands_in_the_currency_in_which_the_balance_moved() {
        let rows = json!([{"amount": -4300, "fee": 1500, "currency": "usd"}, {"amount": 4300, "currency": "usd"}, {"amount": -4300, "currency": "usd"}]);
        let got = what_json(&bent(
            "charge.dispute.created",
            json!({"currency": "eur", "balance_transactions": rows, "status": "prevented"}),
        ));
        assert_eq!((&got["withdrawn"], &got["reinstated"]), (&json!(8600), &json!(4300)));
        assert_eq!((&got["currency"], &got["status"]), (&json!("usd"), &json!("prevented")));
    }

    #[test]
    fn a_customer_update_says_whether_the_default_card_changed() {
        let mut body = read("customer.updated");
        body["data"]["previous_attributes"] = json!({"invoice_settings": {"default_payment_method": null}});
        assert_eq!(what_json(&body)["default_card_changed"], true);
        body["data"]["previous_attributes"] = json!({"invoice_settings": {"footer": "x"}});
        assert_eq!(what_json(&body)["default_card_changed"], false);
        body["data"]["object"]["email"] = json!("  ");
        assert_eq!(what_json(&body)["email"], Value::Null);
    }

    #[test]
    fn a_payment_method_of_nobody_renews_no_card() {
        assert_eq!(what_json(&bent("payment_method.attached", json!({"customer": null})))["what"], "other");
    }
}
