//! A stand-in of a practice's EHR behind the bridge contract, strict about everything the contract forbids.
//!
//! The feed holds every version of every record in the order in which they were made; a payment stands before the
//! invoice version that contains it. World building panics on ids that do not exist and on amounts that cannot be.
//! Must not: let an open balance become negative.

mod http;

use crate::{Clock, Standin, hmac_hex, int_of, patch, text_of};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use vesper_adapters::http::HttpResponse;

/// The stand-in of the EHR bridge.
pub type EhrStandin = Standin<Ehr>;

/// The secret that the stand-in accepts unless told otherwise.
pub const DEFAULT_SECRET: &str = "ehr_standin_secret";
/// A signature is accepted for so long, either way, in seconds.
pub const TOLERANCE_S: i64 = 300;

/// `Vesper-Signature` of a request at that time: the scheme of the bridge contract, the same in both directions.
#[must_use]
pub fn sign(secret: &str, method: &str, target: &str, body: &[u8], t_s: i64) -> String {
    format!("t={t_s},v1={}", mac(secret, method, target, body, t_s))
}

fn mac(secret: &str, method: &str, target: &str, body: &[u8], t_s: i64) -> String {
    hmac_hex(secret, format!("{t_s}.{method}.{target}.{}", hex::encode(Sha256::digest(body))).as_bytes())
}

/// Whether one of the header's `v1` is of one of the secrets and not too old.
#[must_use]
pub fn verify(secrets: &[String], header: &str, method: &str, target: &str, body: &[u8], now_s: i64) -> bool {
    let mut parts = header.split(',').filter_map(|p| p.trim().split_once('='));
    let Some(t_s) = parts.clone().find(|(n, _)| *n == "t").and_then(|(_, t)| t.parse::<i64>().ok()) else {
        return false;
    };
    if now_s.saturating_sub(t_s).saturating_abs() > TOLERANCE_S {
        return false;
    }
    parts.any(|(n, v)| n == "v1" && secrets.iter().any(|s| mac(s, method, target, body, t_s) == v))
}

/// Money that reaches the EHR without Vesper: a check or the terminal at the desk, an insurance payment.
#[derive(Clone, Debug)]
pub struct DeskPayment {
    /// The invoice that it pays.
    pub invoice_id: String,
    /// In minor units.
    pub amount_minor: i64,
    /// `client` or `payer`.
    pub portion: &'static str,
    /// `check`, `cash`, `card`, `eft`, ...
    pub method: &'static str,
    /// Forgiven at the same moment, in minor units.
    pub written_off_minor: i64,
    /// The EHR reference; None: one that the EHR makes up.
    pub reference: Option<String>,
    /// The EHR took the money itself.
    pub online: bool,
}

impl DeskPayment {
    /// A check of the client's.
    #[must_use]
    pub fn check(invoice_id: &str, amount_minor: i64) -> DeskPayment {
        DeskPayment {
            invoice_id: invoice_id.to_owned(),
            amount_minor,
            portion: "client",
            method: "check",
            written_off_minor: 0,
            reference: None,
            online: false,
        }
    }

    /// A card payment of the client's that carries this EHR reference, such as a PaymentIntent's id.
    #[must_use]
    pub fn card(invoice_id: &str, amount_minor: i64, reference: &str) -> DeskPayment {
        DeskPayment { method: "card", reference: Some(reference.to_owned()), ..DeskPayment::check(invoice_id, amount_minor) }
    }

    /// An insurance's transfer, with what it makes the practice forgive.
    #[must_use]
    pub fn insurance(invoice_id: &str, amount_minor: i64, written_off_minor: i64) -> DeskPayment {
        DeskPayment { portion: "payer", method: "eft", written_off_minor, ..DeskPayment::check(invoice_id, amount_minor) }
    }
}

/// What the bridge says it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// An Idempotency-Key protects. Where it does not, only the reference tells.
    pub idempotent_writes: bool,
    /// POST /v1/payments works.
    pub writes_payments: bool,
    /// POST /v1/payments/{id}/reversals works.
    pub reverses_payments: bool,
}

struct KeptWrite {
    path: String,
    body: Value,
    answer: HttpResponse,
}

struct PaymentNew<'a> {
    portion: &'a str,
    amount: i64,
    method: &'a str,
    posted_on: &'a str,
    reference: &'a str,
    online: bool,
}

/// The state of the stand-in.
pub struct Ehr {
    secrets: Vec<String>,
    signature_clock: Clock,
    time_zone: TimeZone,
    capabilities: Capabilities,
    page_max: usize,
    leak: String,
    records: HashMap<(String, String), Value>,
    order: Vec<(String, String)>,
    feed: Vec<Value>,
    by_reference: HashMap<String, String>,
    outside: HashSet<String>,
    keys: HashMap<String, KeptWrite>,
    made: u64,
}

fn share(charge: i64) -> Value {
    json!({"charge": charge, "paid": 0, "written_off": 0, "open": charge})
}

/// Adds to what a share was paid; None when a part would be negative.
fn with_paid(share: &Value, amount: i64, written_off: i64) -> Option<Value> {
    let charge = int_of(share, "charge");
    let paid = int_of(share, "paid").checked_add(amount)?;
    let written_off = int_of(share, "written_off").checked_add(written_off)?;
    let open = charge.checked_sub(paid)?.checked_sub(written_off)?;
    let fits = [paid, written_off, open].iter().all(|part| *part >= 0);
    fits.then(|| json!({"charge": charge, "paid": paid, "written_off": written_off, "open": open}))
}

impl Ehr {
    fn new(secret: &str) -> Ehr {
        Ehr {
            secrets: vec![secret.to_owned()],
            signature_clock: Arc::new(Timestamp::now),
            time_zone: TimeZone::fixed(jiff::tz::offset(-7)),
            capabilities: Capabilities { idempotent_writes: true, writes_payments: true, reverses_payments: true },
            page_max: 500,
            leak: String::new(),
            records: HashMap::new(),
            order: Vec::new(),
            feed: Vec::new(),
            by_reference: HashMap::new(),
            outside: HashSet::new(),
            keys: HashMap::new(),
            made: 0,
        }
    }

    fn today(&self, now: Timestamp) -> String {
        now.to_zoned(self.time_zone.clone()).date().to_string()
    }

    fn record(&self, kind: &str, id: &str) -> Option<&Value> {
        self.records.get(&(kind.to_owned(), id.to_owned()))
    }

    /// For world building: an id that does not exist is a mistake of the test.
    fn must(&self, kind: &str, id: &str) -> &Value {
        match self.record(kind, id) {
            Some(record) => record,
            None => panic!("the EHR stand-in has no {kind} {id}"),
        }
    }

    /// Stores a new version of a record and tells of it in the feed. Every version has a later `observed_at`.
    fn put(&mut self, now: Timestamp, kind: &str, mut record: Value) -> Value {
        self.made = self.made.saturating_add(1);
        let micros = i64::try_from(self.made).unwrap_or(i64::MAX);
        let observed = now.saturating_add(SignedDuration::from_micros(micros)).unwrap_or(now);
        let version = format!("v{:07}", self.made);
        patch(&mut record, json!({"kind": kind, "version": version, "observed_at": format!("{observed:.6}")}));
        let key = (kind.to_owned(), text_of(&record, "id").to_owned());
        if self.records.insert(key.clone(), record.clone()).is_none() {
            self.order.push(key);
        }
        self.feed.push(record.clone());
        record
    }

    fn all(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.order.iter().filter(move |(k, _)| k == kind).filter_map(|key| self.records.get(key))
    }

    /// The payment and then the invoice that contains it; None when more would be paid than is open.
    fn post(&mut self, now: Timestamp, invoice_id: &str, new: &PaymentNew<'_>, written_off: i64) -> Option<Value> {
        let mut invoice = self.record("invoice", invoice_id)?.clone();
        let field = format!("{}_share", new.portion);
        let share = with_paid(invoice.get(&field)?, new.amount, written_off)?;
        let record = json!({
            "id": format!("pay_{}", self.made.saturating_add(1)), "invoice_id": invoice_id, "portion": new.portion, "amount": new.amount,
            "currency": invoice.get("currency"), "method": new.method, "online": new.online, "posted_on": new.posted_on,
            "reference": new.reference, "state": "posted", "reversed": 0,
        });
        let record = self.put(now, "payment", record);
        self.by_reference.entry(new.reference.to_owned()).or_insert_with(|| text_of(&record, "id").to_owned());
        patch(&mut invoice, json!({field: share}));
        self.put(now, "invoice", invoice);
        Some(record)
    }

    /// The reversed payment and then its invoice; None when more would be taken back than is left.
    fn reverse(&mut self, now: Timestamp, payment_id: &str, amount: i64) -> Option<Value> {
        let mut payment = self.record("payment", payment_id)?.clone();
        let mut invoice = self.record("invoice", text_of(&payment, "invoice_id"))?.clone();
        let field = format!("{}_share", text_of(&payment, "portion"));
        let (posted, before) = (int_of(&payment, "amount"), int_of(&payment, "reversed"));
        let reversed = before.checked_add(amount).filter(|r| *r <= posted)?;
        let share = with_paid(invoice.get(&field)?, amount.checked_neg()?, 0)?;
        patch(&mut payment, json!({"reversed": reversed, "state": if reversed == posted { "reversed" } else { "posted" }}));
        let payment = self.put(now, "payment", payment);
        patch(&mut invoice, json!({field: share}));
        self.put(now, "invoice", invoice);
        Some(payment)
    }
}

impl Default for EhrStandin {
    /// With [`DEFAULT_SECRET`] and everything the contract knows.
    fn default() -> Self {
        EhrStandin::new(DEFAULT_SECRET)
    }
}

impl EhrStandin {
    /// An empty EHR that signs and is signed to with this secret.
    #[must_use]
    pub fn new(secret: &str) -> EhrStandin {
        Standin::over(Ehr::new(secret))
    }

    /// Takes these secrets from now on; the first signs notices.
    pub fn set_secrets(&self, secrets: &[&str]) {
        self.with(|e, _| e.secrets = secrets.iter().map(|s| (*s).to_owned()).collect());
    }

    /// The clock that signatures are measured by. The real one unless set: signatures always use the real clock
    /// (contracts/settings.md, "Local control").
    pub fn set_signature_clock(&self, clock: Clock) {
        self.with(|e, _| e.signature_clock = clock);
    }

    /// The practice's time zone; UTC-7 unless set.
    pub fn set_time_zone(&self, time_zone: TimeZone) {
        self.with(|e, _| e.time_zone = time_zone);
    }

    /// What the bridge can do from now on.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.with(|e, _| e.capabilities = capabilities);
    }

    /// The bridge answers pages of at most so many records, whatever it is asked for.
    pub fn set_page_max(&self, records: usize) {
        self.with(|e, _| e.page_max = records.max(1));
    }

    /// Stands in the detail of every problem from now on: personal data that a careless client would log.
    pub fn set_leak(&self, text: &str) {
        self.with(|e, _| text.clone_into(&mut e.leak));
    }

    /// A client; `fields` over the usual ones (active, self pay, autopay off, consent given). Answers the id.
    pub fn client(&self, id: &str, fields: Value) -> String {
        self.with(|e, d| {
            let mut record = json!({
                "id": id, "emails": [], "stripe_customer_ids": [], "guarantor_id": null, "display_name": null, "status": "active",
                "autopay": "off", "card_consent": "given", "coverage": "self_pay",
            });
            patch(&mut record, fields);
            e.put(d.now(), "client", record);
            id.to_owned()
        })
    }

    /// An open invoice issued today, with one session of the same day, in minor units; `fields` over the usual ones. Answers the id.
    pub fn invoice(&self, id: &str, client_id: &str, client_charge_minor: i64, payer_charge_minor: i64, fields: Value) -> String {
        self.with(|e, d| {
            let today = e.today(d.now());
            let issued_on = fields.get("issued_on").and_then(Value::as_str).unwrap_or(&today).to_owned();
            let mut record = json!({
                "id": id, "number": null, "client_id": client_id, "currency": "usd", "issued_on": issued_on, "due_on": null, "status": "open",
                "category": "copay", "sessions": [{"id": format!("s_{id}"), "service_date": issued_on}],
                "client_share": share(client_charge_minor), "payer_share": share(payer_charge_minor),
            });
            patch(&mut record, fields);
            e.put(d.now(), "invoice", record);
            id.to_owned()
        })
    }

    /// A new version of a record with these fields changed.
    pub fn change(&self, kind: &str, id: &str, fields: Value) {
        self.with(|e, d| {
            let mut record = e.must(kind, id).clone();
            patch(&mut record, fields);
            e.put(d.now(), kind, record);
        });
    }

    /// The client charge becomes another one; what was paid stays.
    pub fn change_charge(&self, invoice_id: &str, client_charge_minor: i64) {
        self.with(|e, d| {
            let mut invoice = e.must("invoice", invoice_id).clone();
            let mut part = invoice.get("client_share").cloned().unwrap_or_default();
            patch(&mut part, json!({"charge": client_charge_minor}));
            let Some(part) = with_paid(&part, 0, 0) else {
                panic!("{invoice_id} has more paid than {client_charge_minor}");
            };
            patch(&mut invoice, json!({"client_share": part}));
            e.put(d.now(), "invoice", invoice);
        });
    }

    /// A record of a kind that the contract does not know.
    pub fn unknown_kind(&self, kind: &str) {
        self.with(|e, d| {
            let id = format!("x_{}", e.feed.len());
            e.put(d.now(), kind, json!({"id": id, "weight": 1}));
        });
    }

    /// The n-th version of a record comes once more, late.
    pub fn replay(&self, kind: &str, id: &str, version_index: usize) {
        self.with(|e, _| {
            let mut versions = e.feed.iter().filter(|r| text_of(r, "kind") == kind && text_of(r, "id") == id);
            match versions.nth(version_index).cloned() {
                Some(old) => e.feed.push(old),
                None => panic!("the EHR stand-in has no version {version_index} of {kind} {id}"),
            }
        });
    }

    /// Money that did not come through Vesper. Answers the payment's id.
    pub fn paid_in_ehr(&self, payment: &DeskPayment) -> String {
        self.with(|e, d| {
            let today = e.today(d.now());
            let reference = payment.reference.clone().unwrap_or_else(|| format!("ehr-{}", e.made));
            let new = PaymentNew {
                portion: payment.portion,
                amount: payment.amount_minor,
                method: payment.method,
                posted_on: &today,
                reference: &reference,
                online: payment.online,
            };
            let Some(record) = e.post(d.now(), &payment.invoice_id, &new, payment.written_off_minor) else {
                panic!("{} cannot be paid {} in the EHR stand-in", payment.invoice_id, payment.amount_minor);
            };
            let id = text_of(&record, "id").to_owned();
            e.outside.insert(id.clone());
            id
        })
    }

    /// A person takes back a payment in the EHR, in minor units.
    pub fn reversed_in_ehr(&self, payment_id: &str, amount_minor: i64) {
        self.with(|e, d| {
            let done = e.reverse(d.now(), payment_id, amount_minor);
            assert!(done.is_some(), "{payment_id} cannot be reversed by {amount_minor} in the EHR stand-in");
        });
    }

    /// A record as it is now.
    #[must_use]
    pub fn get(&self, kind: &str, id: &str) -> Option<Value> {
        self.with(|e, _| e.record(kind, id).cloned())
    }

    /// How many records the feed holds.
    #[must_use]
    pub fn feed_len(&self) -> usize {
        self.with(|e, _| e.feed.len())
    }

    /// Every record as it is now, in the order in which they were first seen.
    #[must_use]
    pub fn current(&self) -> Vec<Value> {
        self.with(|e, _| e.order.iter().filter_map(|key| e.records.get(key)).cloned().collect())
    }

    /// The payments that Vesper wrote, as they are now, oldest first.
    #[must_use]
    pub fn written(&self) -> Vec<Value> {
        self.with(|e, _| e.all("payment").filter(|p| !e.outside.contains(text_of(p, "id"))).cloned().collect())
    }

    /// What Vesper wrote, or a person typed in for it with its reference, less what was taken back, by invoice, in minor units.
    #[must_use]
    pub fn net_by_invoice(&self) -> BTreeMap<String, i64> {
        let mut nets = BTreeMap::new();
        let for_vesper =
            |e: &Ehr, p: &Value| !e.outside.contains(text_of(p, "id")) || text_of(p, "reference").starts_with("vesper_");
        let all: Vec<Value> = self.with(|e, _| e.all("payment").filter(|p| for_vesper(e, p)).cloned().collect());
        for payment in all {
            let net: &mut i64 = nets.entry(text_of(&payment, "invoice_id").to_owned()).or_default();
            *net = net.saturating_add(int_of(&payment, "amount")).saturating_sub(int_of(&payment, "reversed"));
        }
        nets
    }

    /// Body and `Vesper-Signature` of the notice "something changed" (POST /webhooks/ehr), signed at that time.
    #[must_use]
    pub fn notice(&self, secret: &str, now_s: i64) -> (Vec<u8>, String) {
        let body = json!({"topic": "changed", "id": format!("n{}", self.feed_len())}).to_string().into_bytes();
        let header = sign(secret, "POST", "/webhooks/ehr", &body, now_s);
        (body, header)
    }
}

#[cfg(test)]
mod tests;
