//! What has been read so far: the EHR's records, Stripe's payments and customers. Nothing is decided here.

use super::{OracleConfig, movements::Movement, rules::Occasion};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Client {
    pub emails: Vec<String>,
    pub customers: Vec<String>,
    pub guarantor: Option<String>,
    pub deleted: bool,
    pub third_party_biller: bool,
    observed: Timestamp,
}

pub(super) struct Invoice {
    pub id: String,
    pub client: String,
    pub currency: String,
    pub issued_on: String,
    /// (session, service date)
    pub sessions: Vec<(String, String)>,
    pub void: bool,
    pub charge: i64,
    pub paid: i64,
    pub open: i64,
    observed: Timestamp,
}

impl Invoice {
    /// Sorts the oldest first; without the id this is the age.
    pub fn age(&self) -> (String, bool, String) {
        let service = self.sessions.iter().map(|(_, date)| date.clone()).min();
        (self.issued_on.clone(), service.is_none(), service.unwrap_or_default())
    }
}

pub(super) struct EhrPayment {
    pub id: String,
    pub invoice: String,
    pub of_client: bool,
    pub amount: i64,
    pub reversed: i64,
    pub posted: bool,
    pub currency: String,
    pub by_card: bool,
    pub reference: String,
    /// When it was first seen, and as which line.
    pub first: (Timestamp, usize),
    observed: Timestamp,
}

impl EhrPayment {
    /// What of it still stands.
    pub fn net(&self) -> i64 {
        if self.posted { (self.amount - self.reversed).max(0) } else { 0 }
    }
}

/// A customer's latest e-mail and the `created` of the event that brought it.
pub(super) struct Customer {
    created: i64,
    pub email: Option<String>,
}

#[derive(Clone, Default)]
pub(super) struct Meta {
    pub invoice: Option<String>,
    pub session: Option<String>,
    pub client: Option<String>,
    pub kind: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Only charge.succeeded of a PaymentIntent was seen.
    ChargeOnly,
    Parked,
    Decided,
    Ignored,
}

pub(super) struct Allocation {
    pub invoice: String,
    /// As made.
    pub amount: i64,
    /// What was taken back of it since.
    pub taken_back: i64,
    pub at: i64,
    pub seq: usize,
}

impl Allocation {
    pub fn net(&self) -> i64 {
        self.amount - self.taken_back
    }
}

pub(super) struct Payment {
    pub id: String,
    pub event: String,
    pub created: i64,
    pub first_delivery: i64,
    pub customer: Option<String>,
    pub receipt_email: Option<String>,
    pub meta: Meta,
    pub amount: i64,
    pub currency: String,
    pub charges: BTreeSet<String>,
    pub stage: Stage,
    /// Refunded or disputed before it was decided.
    pub reduced: i64,
    pub unapplied: i64,
    pub allocations: Vec<Allocation>,
    /// Something arrived that concerns it.
    pub look: bool,
    pub line: Option<Value>,
}

impl Payment {
    /// Whether this text is the PaymentIntent or its charge.
    pub fn is_called(&self, text: &str) -> bool {
        self.id == text || self.charges.contains(text)
    }

    /// Names of the records it waits for.
    pub fn named_records(&self) -> BTreeSet<String> {
        let named = [("invoice", &self.meta.invoice), ("session", &self.meta.session), ("client", &self.meta.client)];
        let mut names: BTreeSet<String> =
            named.iter().filter_map(|(kind, id)| id.as_ref().map(|id| format!("{kind}:{id}"))).collect();
        names.extend(self.charges.iter().chain([&self.id]).map(|id| format!("reference:{id}")));
        names
    }
}

/// When time alone makes a payment be looked at.
pub(super) fn next_due(payment: &Payment, wait_h: i64) -> Option<i64> {
    match payment.stage {
        Stage::ChargeOnly => Some(payment.first_delivery + 3600),
        Stage::Parked => Some(payment.first_delivery + wait_h * 3600),
        Stage::Decided | Stage::Ignored => None,
    }
}

pub(super) struct World {
    pub config: OracleConfig,
    pub zone: TimeZone,
    pub now: i64,
    pub clients: BTreeMap<String, Client>,
    pub invoices: BTreeMap<String, Invoice>,
    pub ehr_payments: BTreeMap<String, EhrPayment>,
    pub customers: BTreeMap<String, Customer>,
    /// Made by rule 14: customer to client.
    pub links: BTreeMap<String, String>,
    /// In order of the first success event.
    pub payments: Vec<Payment>,
    pub movements: Vec<Movement>,
    /// (invoice, refund or dispute that re-opened it)
    pub reopened: BTreeSet<(String, String)>,
    pub seq: usize,
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

pub(super) fn some_text(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned)
}

pub(super) fn email(value: &Value) -> Option<String> {
    some_text(value).map(|e| e.to_lowercase())
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().map(|all| all.iter().filter_map(some_text).collect()).unwrap_or_default()
}

pub(super) fn observed(record: &Value) -> Option<Timestamp> {
    record["observed_at"].as_str()?.parse().ok()
}

impl World {
    pub fn new(config: OracleConfig) -> World {
        World {
            zone: TimeZone::get(&config.time_zone).unwrap_or(TimeZone::UTC),
            config,
            now: i64::MIN,
            clients: BTreeMap::new(),
            invoices: BTreeMap::new(),
            ehr_payments: BTreeMap::new(),
            customers: BTreeMap::new(),
            links: BTreeMap::new(),
            payments: Vec::new(),
            movements: Vec::new(),
            reopened: BTreeSet::new(),
            seq: 0,
        }
    }

    /// Reads one record, unless a newer one is known. `touched` collects the clients concerned, `named` the record's names.
    pub fn record(&mut self, r: &Value, touched: &mut BTreeSet<String>, named: &mut BTreeSet<String>) {
        let Some(at) = observed(r) else { return };
        let id = text(&r["id"]);
        self.seq += 1;
        match r["kind"].as_str().unwrap_or("") {
            "client" if self.clients.get(&id).is_none_or(|old| old.observed <= at) => {
                named.insert(format!("client:{id}"));
                touched.extend(self.clients.get(&id).and_then(|c| c.guarantor.clone()));
                let client = read_client(r, at);
                touched.extend(client.guarantor.clone());
                touched.insert(id.clone());
                self.clients.insert(id, client);
            }
            "invoice" if self.invoices.get(&id).is_none_or(|old| old.observed <= at) => {
                named.insert(format!("invoice:{id}"));
                let invoice = read_invoice(r, at);
                named.extend(invoice.sessions.iter().map(|(session, _)| format!("session:{session}")));
                touched.insert(invoice.client.clone());
                let before = self.invoices.insert(id.clone(), invoice);
                touched.extend(before.as_ref().map(|old| old.client.clone()));
                self.take_excess(&id, before.map(|old| (old.charge, old.void)));
            }
            "payment" if self.ehr_payments.get(&id).is_none_or(|old| old.observed <= at) => {
                let first = self.ehr_payments.get(&id).map_or((at, self.seq), |old| old.first);
                let payment = read_payment(r, at, first);
                named.insert(format!("reference:{}", payment.reference));
                let before = self.ehr_payments.get(&id).map(|old| old.invoice.clone());
                for invoice in before.iter().chain([&payment.invoice]) {
                    named.insert(format!("invoice:{invoice}"));
                    touched.extend(self.invoices.get(invoice).map(|i| i.client.clone()));
                }
                self.ehr_payments.insert(id, payment);
            }
            _ => {}
        }
    }

    /// One event of Stripe.
    pub fn event(&mut self, e: &Value) {
        let object = &e["data"]["object"];
        let kind = e["type"].as_str().unwrap_or("");
        let ours = e["livemode"].as_bool() == Some(self.config.livemode);
        match kind {
            "payment_intent.succeeded" => self.intent(e, ours),
            "charge.succeeded" => self.charge(e, ours),
            _ if !ours => {}
            "customer.created" | "customer.updated" | "customer.deleted" => {
                let created = e["created"].as_i64().unwrap_or(0);
                let address = if kind == "customer.deleted" { None } else { email(&object["email"]) };
                self.customer(&text(&object["id"]), created, address);
            }
            _ if object["object"] == "refund" => self.refund(object),
            _ if object["object"] == "dispute" => self.dispute(kind, object),
            _ if object["object"] == "charge" && object["paid"] == true => self.complete(object),
            _ => {}
        }
    }

    fn customer(&mut self, id: &str, created: i64, email: Option<String>) {
        if self.customers.get(id).is_some_and(|known| known.created > created) {
            return;
        }
        let brings = email.is_some();
        self.customers.insert(id.to_owned(), Customer { created, email });
        for p in &mut self.payments {
            p.look |= brings && p.customer.as_deref() == Some(id);
        }
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.payments.iter().position(|p| p.id == id)
    }

    fn intent(&mut self, e: &Value, ours: bool) {
        let object = &e["data"]["object"];
        let amount = object["amount_received"].as_i64().or(object["amount"].as_i64()).unwrap_or(0);
        let mut new = self.success(e, &text(&object["id"]), amount);
        new.charges.extend(some_text(&object["latest_charge"]));
        match self.find(&new.id) {
            Some(i) if self.payments[i].stage == Stage::ChargeOnly && ours => {
                new.first_delivery = self.payments[i].first_delivery;
                new.charges.append(&mut self.payments[i].charges);
                self.payments[i] = new;
                self.look_once(i, Occasion::First);
            }
            Some(i) => self.payments[i].charges.append(&mut new.charges),
            None if ours => {
                self.payments.push(new);
                self.look_once(self.payments.len() - 1, Occasion::First);
            }
            None => self.ignore(new),
        }
    }

    fn charge(&mut self, e: &Value, ours: bool) {
        let object = &e["data"]["object"];
        let amount = object["amount_captured"].as_i64().or(object["amount"].as_i64()).unwrap_or(0);
        let intent = some_text(&object["payment_intent"]);
        let id = intent.clone().unwrap_or_else(|| text(&object["id"]));
        if let Some(i) = self.find(&id) {
            self.payments[i].charges.insert(text(&object["id"]));
            return;
        }
        let mut new = self.success(e, &id, amount);
        new.charges.insert(text(&object["id"]));
        if !ours {
            self.ignore(new);
            return;
        }
        self.payments.push(new);
        if intent.is_none() {
            self.look_once(self.payments.len() - 1, Occasion::First);
        }
    }

    fn complete(&mut self, charge: &Value) {
        if let Some(i) = charge["payment_intent"].as_str().and_then(|id| self.find(id)) {
            self.payments[i].charges.insert(text(&charge["id"]));
        }
    }

    fn ignore(&mut self, mut payment: Payment) {
        payment.stage = Stage::Ignored;
        payment.line = Some(payment.line_of("ignored", Value::Null, &[], 0, None));
        self.payments.push(payment);
    }

    fn success(&self, e: &Value, id: &str, amount: i64) -> Payment {
        let object = &e["data"]["object"];
        Payment {
            id: id.to_owned(),
            event: text(&e["id"]),
            created: e["created"].as_i64().unwrap_or(0),
            first_delivery: self.now,
            customer: some_text(&object["customer"]),
            receipt_email: email(&object["receipt_email"]),
            meta: self.meta(&object["metadata"]),
            amount,
            currency: text(&object["currency"]).to_lowercase(),
            charges: BTreeSet::new(),
            stage: Stage::ChargeOnly,
            reduced: 0,
            unapplied: 0,
            allocations: Vec::new(),
            look: false,
            line: None,
        }
    }

    /// Metadata by the settings' keys: the first present wins, values trimmed, empty = absent.
    pub fn meta(&self, metadata: &Value) -> Meta {
        let first = |keys: &[String]| keys.iter().find_map(|key| some_text(&metadata[key]));
        Meta {
            invoice: first(&self.config.invoice_keys),
            session: first(&self.config.session_keys),
            client: first(&self.config.client_keys),
            kind: first(&self.config.kind_keys),
        }
    }
}

fn read_client(r: &Value, observed: Timestamp) -> Client {
    Client {
        emails: texts(&r["emails"]).iter().map(|e| e.to_lowercase()).collect(),
        customers: texts(&r["stripe_customer_ids"]),
        guarantor: some_text(&r["guarantor_id"]),
        deleted: r["status"] == "deleted",
        third_party_biller: r["coverage"] == "third_party_biller",
        observed,
    }
}

fn read_invoice(r: &Value, observed: Timestamp) -> Invoice {
    let share = &r["client_share"];
    let sessions = r["sessions"].as_array().cloned().unwrap_or_default();
    Invoice {
        id: text(&r["id"]),
        client: text(&r["client_id"]),
        currency: text(&r["currency"]).to_lowercase(),
        issued_on: text(&r["issued_on"]),
        sessions: sessions.iter().map(|s| (text(&s["id"]), text(&s["service_date"]))).collect(),
        void: r["status"] == "void",
        charge: share["charge"].as_i64().unwrap_or(0),
        paid: share["paid"].as_i64().unwrap_or(0),
        open: share["open"].as_i64().unwrap_or(0),
        observed,
    }
}

fn read_payment(r: &Value, observed: Timestamp, first: (Timestamp, usize)) -> EhrPayment {
    EhrPayment {
        id: text(&r["id"]),
        invoice: text(&r["invoice_id"]),
        of_client: r["portion"] == "client",
        amount: r["amount"].as_i64().unwrap_or(0),
        reversed: r["reversed"].as_i64().unwrap_or(0),
        posted: r["state"] == "posted",
        currency: text(&r["currency"]).to_lowercase(),
        by_card: r["method"] == "card",
        reference: text(&r["reference"]).trim().to_owned(),
        first,
        observed,
    }
}
