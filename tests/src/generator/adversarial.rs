//! Practices in which everything that can go wrong does, on few people and few price points.

use super::timeline::{Act, BASE, DAY, HOUR, Timeline, date};
use super::{Practice, Rng};
use serde_json::{Value, json};

/// Few price points, and some that sum to others.
const FEES: [i64; 9] = [1000, 2000, 2500, 3000, 4200, 4200, 4200, 6200, 8400];
/// The shapes of families ([`Maker::family`]) as often as they come up.
const SHAPES: [usize; 21] = [0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10, 11, 12, 13];
/// No family has more invoices, so that all subsets can be tried.
const INVOICES_MAX: usize = 12;

#[derive(Clone)]
struct Bill {
    id: String,
    client: String,
    session: String,
    charge: i64,
    currency: &'static str,
    at: i64,
    /// Issued and of service at these moments.
    issued: i64,
    service: i64,
}

/// Who may stand on a payment.
#[derive(Clone, Default)]
struct Payer {
    customer: Option<String>,
    receipt_email: Option<String>,
}

#[derive(Default)]
struct Family {
    clients: Vec<Value>,
    payers: Vec<Payer>,
    bills: Vec<Bill>,
}

struct Maker {
    rng: Rng,
    time: Timeline,
    families: Vec<Family>,
    count: usize,
}

/// A practice of about 60 days with this many payments, most of them awkward. The same seed gives the same practice.
#[must_use]
pub fn adversarial(seed: u64, payments: usize) -> Practice {
    let mut m = Maker { rng: Rng(seed), time: Timeline::default(), families: Vec::new(), count: 0 };
    for _ in 0..payments.div_ceil(4).max(2) {
        m.family();
    }
    for _ in 0..payments {
        m.payment();
    }
    if m.rng.percent(30) { m.time.finish_with_stale_lines(11) } else { m.time.finish() }
}

impl Maker {
    fn id(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{:04}", self.count)
    }

    /// A moment within the 60 days; many fall on the same seconds.
    fn moment(&mut self) -> i64 {
        let grid = *self.rng.pick(&[1, HOUR, 6 * HOUR, 6 * HOUR, DAY]).unwrap_or(&1);
        BASE + self.rng.between(0, 60 * DAY / grid) * grid
    }

    fn client(&mut self, emails: &[&str], customers: &[&str], guarantor: Option<&str>) -> Value {
        let id = self.id("c_");
        let coverage = *self.rng.pick(&["self_pay", "commercial", "unknown"]).unwrap_or(&"unknown");
        json!({"kind": "client", "id": id, "emails": emails, "stripe_customer_ids": customers, "guarantor_id": guarantor,
            "status": "active", "coverage": coverage, "autopay": "off", "card_consent": "given"})
    }

    fn family(&mut self) {
        let shape = *self.rng.pick(&SHAPES).unwrap_or(&0);
        let (email, other) = (format!("f{}@example.test", self.count), format!("o{}@example.test", self.count));
        let (cus, cus2) = (self.id("cus_"), self.id("cus_"));
        let mut family = Family::default();
        match shape {
            // One client: linked, with two customers, by e-mail only, unknown to the customer.
            0 | 1 => family.clients.push(self.client(&[&email], &[&cus], None)),
            2 => family.clients.push(self.client(&[&email], &[&cus, &cus2], None)),
            3 => family.clients.push(self.client(&[&email.to_uppercase(), &other], &[], None)),
            4 => family.clients.push(self.client(&[], &[], None)),
            // Guarantors: with the customer, by a shared e-mail, sharing one customer, a dependent with his own customer.
            5..=8 => self.guarantor_family(shape, &mut family, [&email, &other], [&cus, &cus2]),
            // Siblings without the guarantor's chart; strangers on one customer; strangers with one e-mail.
            9 => {
                let absent = self.id("c_");
                family.clients.push(self.client(&[&email], &[], Some(&absent)));
                family.clients.push(self.client(&[&email], &[], Some(&absent)));
            }
            10 => {
                family.clients.push(self.client(&[&email], &[&cus], None));
                family.clients.push(self.client(&[&other], &[&cus], None));
            }
            11 => {
                family.clients.push(self.client(&[&email], &[], None));
                family.clients.push(self.client(&[&email], &[&cus2], None));
            }
            12 => {
                let mut biller = self.client(&[&email], &[&cus], None);
                biller["coverage"] = json!("third_party_biller");
                family.clients.push(biller);
            }
            _ => {
                let mut gone = self.client(&[&email], &[&cus], None);
                gone["status"] = json!(if self.rng.percent(60) { "deleted" } else { "inactive" });
                family.clients.push(gone);
                family.clients.push(self.client(&[&email], &[&cus2], None));
            }
        }
        for customer in [Some(cus.clone()), Some(cus2), None] {
            let receipt_email = match self.rng.below(4) {
                0 => Some(format!(" {email}")),
                1 => Some(other.clone()),
                _ => None,
            };
            family.payers.push(Payer { customer, receipt_email });
        }
        family.payers.push(Payer { customer: Some(cus), receipt_email: None });
        self.customer_events(&family.payers.clone(), [&email, &other]);
        self.client_records(&family);
        for _ in 0..self.rng.between(1, 8) {
            let at = self.moment();
            self.bill(&mut family, at);
        }
        self.families.push(family);
    }

    fn guarantor_family(&mut self, shape: usize, family: &mut Family, emails: [&str; 2], customers: [&str; 2]) {
        let [email, other] = emails;
        let [cus, cus2] = customers;
        let on_guarantor: &[&str] = if shape == 6 { &[] } else { &[cus] };
        let guarantor = self.client(&[email], on_guarantor, None);
        let g = guarantor["id"].as_str().unwrap_or("").to_owned();
        family.clients.push(guarantor);
        for k in 0..self.rng.between(1, 3) {
            let on_dependent: &[&str] = match (shape, k) {
                (7, _) => &[cus],
                (8, 0) => &[cus2],
                _ => &[],
            };
            let address = if shape == 6 || self.rng.percent(30) { email } else { other };
            family.clients.push(self.client(&[address], on_dependent, Some(&g)));
        }
    }

    /// The records of the family: most at the start, some late, some changed on the way.
    fn client_records(&mut self, family: &Family) {
        for client in &family.clients {
            let at = if self.rng.percent(85) { BASE - DAY } else { self.moment() };
            let mut before = client.clone();
            if self.rng.percent(15) {
                // The link, the e-mail or the guarantor comes later.
                let field = *self.rng.pick(&["stripe_customer_ids", "emails", "guarantor_id"]).unwrap_or(&"emails");
                before[field] = if field == "guarantor_id" { Value::Null } else { json!([]) };
                let change = at + self.rng.between(0, 240) * 6 * HOUR;
                self.time.act(change, Act::Client(client.clone()));
            }
            self.time.act(at, Act::Client(before));
            if self.rng.percent(4) {
                let mut gone = client.clone();
                gone["status"] = json!("deleted");
                let when = self.moment().max(at);
                self.time.act(when, Act::Client(gone));
            }
        }
    }

    fn customer_events(&mut self, payers: &[Payer], emails: [&str; 2]) {
        for (k, customer) in payers.iter().take(2).filter_map(|p| p.customer.clone()).enumerate() {
            if self.rng.percent(if k == 0 { 15 } else { 60 }) {
                continue;
            }
            let email = *self.rng.pick(&[emails[0], emails[0], emails[0], emails[1]]).unwrap_or(&"");
            let created = if self.rng.percent(60) { BASE - HOUR } else { self.moment() };
            let shouted = if self.rng.percent(20) { email.to_uppercase() } else { email.to_owned() };
            self.customer_event(created, "customer.created", &customer, Some(&shouted));
            if self.rng.percent(20) {
                let later = self.moment().max(created);
                let email = *self.rng.pick(&[Some(emails[0]), Some(emails[1]), None]).unwrap_or(&None);
                self.customer_event(later, "customer.updated", &customer, email);
            }
            if self.rng.percent(8) {
                let later = self.moment().max(created);
                self.customer_event(later, "customer.deleted", &customer, Some(emails[0]));
            }
        }
    }

    fn customer_event(&mut self, created: i64, kind: &str, customer: &str, email: Option<&str>) {
        let delivered = created + self.delay();
        let id = self.id("evt_");
        let object = json!({"id": customer, "object": "customer", "email": email, "metadata": {}, "created": created});
        self.time.event(created, delivered, &id, kind, true, object);
    }

    fn delay(&mut self) -> i64 {
        if self.rng.percent(80) { 0 } else { *self.rng.pick(&[1, 5, 600, 3 * HOUR, 2 * DAY]).unwrap_or(&0) }
    }

    /// One more invoice of the family, or the last one again when it has enough.
    fn bill(&mut self, family: &mut Family, at: i64) -> Option<Bill> {
        if family.bills.len() >= INVOICES_MAX {
            return family.bills.last().cloned();
        }
        let client = self.rng.pick(&family.clients)?["id"].as_str()?.to_owned();
        let (id, mut session) = (self.id("inv_"), self.id("s_"));
        if let Some(twin) = family.bills.last().filter(|_| self.rng.percent(12)) {
            session = twin.session.clone();
        }
        let currency = if self.rng.percent(4) { "eur" } else { "usd" };
        let charge = self.rng.pick_amount(&FEES);
        let charge = if self.rng.percent(2) { 0 } else { charge };
        // Few dates, so that many invoices are equally old.
        let issued = if self.rng.percent(50) { at - at.rem_euclid(7 * DAY) } else { at };
        let service = issued - self.rng.between(0, 2) * DAY;
        // Siblings seen on one day for one fee.
        let twin = family.bills.last().filter(|_| self.rng.percent(30));
        let (issued, service, charge) = twin.map_or((issued, service, charge), |t| (t.issued, t.service, t.charge));
        let mut sessions = vec![json!({"id": session, "service_date": date(service)})];
        if self.rng.percent(10) {
            sessions.push(json!({"id": self.id("s_"), "service_date": date(service - DAY)}));
        }
        let record = json!({"kind": "invoice", "id": id, "number": null, "client_id": client, "currency": currency,
            "issued_on": date(issued), "status": "open", "category": "copay", "sessions": sessions});
        self.time.act(at, Act::Invoice(record, charge));
        if self.rng.percent(10) {
            let again = at + self.rng.between(0, 100) * HOUR;
            self.time.act(again, Act::InvoiceAgain(id.clone()));
        }
        let bill = Bill { id, client, session, charge, currency, at, issued, service };
        family.bills.push(bill.clone());
        Some(bill)
    }
}

/// A payment while it is made up.
struct Draft {
    id: String,
    charge: String,
    /// Without a PaymentIntent, `id` is the charge's.
    has_intent: bool,
    at: i64,
    amount: i64,
    currency: &'static str,
    payer: Payer,
    metadata: Value,
    targets: Vec<Bill>,
}

impl Maker {
    fn payment(&mut self) {
        let k = self.rng.below(self.families.len());
        let mut family = std::mem::take(&mut self.families[k]);
        let before = self.rng.percent(15);
        let mut target = if before || family.bills.is_empty() { None } else { self.rng.pick(&family.bills).cloned() };
        if target.is_none() {
            let at = self.moment();
            target = self.bill(&mut family, at);
        }
        if let Some(target) = target {
            let draft = self.draft(&family, target, before);
            self.stripe_events(&draft);
            self.refunds(&draft);
            self.dispute(&draft);
            self.typed_in(&draft);
            self.trouble(&draft);
        }
        self.families[k] = family;
    }

    fn draft(&mut self, family: &Family, target: Bill, before: bool) -> Draft {
        let mut targets = vec![target.clone()];
        let amount = match self.rng.below(20) {
            0..=8 => target.charge,
            9..=11 => {
                let extra = self.rng.between(1, 2);
                for _ in 0..extra {
                    targets.extend(self.rng.pick(&family.bills).filter(|b| targets.iter().all(|t| t.id != b.id)).cloned());
                }
                targets.iter().map(|t| t.charge).sum()
            }
            12 => family.bills.iter().map(|b| b.charge).sum(),
            13 | 14 => target.charge / 2,
            15 => (target.charge - 500).max(1),
            16 => target.charge + 300,
            17 => target.charge * 4 + 7,
            18 => self.rng.pick_amount(&FEES) + self.rng.pick_amount(&FEES),
            _ => self.rng.pick_amount(&[0, 1, 4200, 8400]),
        };
        let last = targets.iter().map(|t| t.at).max().unwrap_or(target.at);
        let early = [0, 1, HOUR, 6 * HOUR, 47 * HOUR, 48 * HOUR, 48 * HOUR + 1, 72 * HOUR];
        let late = [0, 0, 1, HOUR, 6 * HOUR, DAY, 2 * DAY, 5 * DAY];
        let at = if before { target.at - self.rng.pick_amount(&early) } else { last + self.rng.pick_amount(&late) };
        let payer = self.payer(family);
        let metadata = self.metadata(family, &target);
        let currency = if self.rng.percent(2) { "eur" } else { target.currency };
        let number = self.id("");
        let (charge, has_intent) = (format!("ch_{number}"), !self.rng.percent(5));
        let id = if has_intent { format!("pi_{number}") } else { charge.clone() };
        Draft { id, charge, has_intent, at, amount, currency, payer, metadata, targets }
    }

    fn payer(&mut self, family: &Family) -> Payer {
        if self.rng.percent(4) {
            return Payer { customer: Some(self.id("cus_")), receipt_email: None };
        }
        // The first customer is the one that the EHR mostly knows.
        let k = if self.rng.percent(80) { 0 } else { self.rng.below(family.payers.len()) };
        family.payers.get(k).cloned().unwrap_or_default()
    }

    fn metadata(&mut self, family: &Family, target: &Bill) -> Value {
        let invoice = *self.rng.pick(&["vesper_invoice", "ehr_invoice_id", "invoice_id"]).unwrap_or(&"invoice_id");
        let kin = self.rng.pick(&family.bills).cloned().unwrap_or_else(|| target.clone());
        let foreign = self.families.iter().flat_map(|f| &f.bills).nth(self.rng.below(9)).map(|b| b.id.clone());
        let relative = self.rng.pick(&family.clients).map(|c| c["id"].clone()).unwrap_or_default();
        match self.rng.below(54) {
            0..=6 => json!({invoice: target.id}),
            7..=9 => json!({"session_id": target.session}),
            10 => json!({invoice: format!(" {} ", target.id), "session_id": ""}),
            11 | 12 => json!({invoice: target.id, "session_id": target.session}),
            13 => json!({invoice: target.id, "session_id": kin.session}),
            14 => json!({invoice: "inv_never"}),
            15 => json!({"session_id": "s_never", invoice: target.id}),
            16 => json!({invoice: foreign}),
            17 => json!({invoice: kin.id, "client_id": relative}),
            18 | 19 => json!({"ehr_client_id": target.client}),
            20 => json!({"client_id": relative}),
            21 => json!({"client_id": "c_never"}),
            22 => json!({"client_id": "c_never", invoice: target.id}),
            23 => json!({"kind": "prepayment"}),
            24 => json!({"kind": " prepayment ", "session_id": target.session}),
            25 => json!({"kind": "copay", "vesper_invoice": "  "}),
            26 => json!({invoice: target.id, "client_id": target.client}),
            _ => json!({}),
        }
    }

    fn intent_object(d: &Draft) -> Value {
        json!({"id": d.id, "object": "payment_intent", "amount": d.amount, "amount_received": d.amount, "status": "succeeded",
            "currency": d.currency, "customer": d.payer.customer, "receipt_email": d.payer.receipt_email,
            "latest_charge": d.charge, "metadata": d.metadata, "created": d.at})
    }

    fn charge_object(d: &Draft) -> Value {
        let intent = d.has_intent.then_some(&d.id);
        json!({"id": d.charge, "object": "charge", "amount": d.amount, "amount_captured": d.amount, "amount_refunded": 0,
            "status": "succeeded", "paid": true, "captured": true, "currency": d.currency, "customer": d.payer.customer,
            "receipt_email": d.payer.receipt_email, "payment_intent": intent, "metadata": d.metadata, "created": d.at})
    }

    fn stripe_events(&mut self, d: &Draft) {
        let mode = !self.rng.percent(2);
        let (id, other) = (self.id("evt_"), self.id("evt_"));
        let delivered = d.at + self.delay();
        match self.rng.below(40) {
            // Money without a PaymentIntent, or whose PaymentIntent never comes.
            way if !d.has_intent || way < 2 => {
                self.time.event(d.at, delivered, &id, "charge.succeeded", mode, Self::charge_object(d));
                return;
            }
            4..=10 => {
                let ahead = self.rng.pick_amount(&[0, 1, 1800, 3599, 3600, 3601, 5 * HOUR]);
                self.time.event(d.at, delivered - ahead, &other, "charge.succeeded", mode, Self::charge_object(d));
            }
            11..=25 => {
                let after = delivered + self.rng.pick_amount(&[0, 1, 2, 60]);
                self.time.event(d.at, after, &other, "charge.succeeded", mode, Self::charge_object(d));
            }
            _ => {}
        }
        let intent = Self::intent_object(d);
        self.time.event(d.at, delivered, &id, "payment_intent.succeeded", mode, intent.clone());
        if self.rng.percent(10) {
            let again = delivered + self.rng.pick_amount(&[0, 1, HOUR, 3 * DAY]);
            self.time.event(d.at, again, &id, "payment_intent.succeeded", mode, intent.clone());
        }
        if self.rng.percent(8) {
            let again = delivered + self.rng.pick_amount(&[0, 1, HOUR, 3 * DAY]);
            let second = self.id("evt_");
            let mut changed = intent;
            match self.rng.below(4) {
                0 => changed["amount_received"] = json!(d.amount + 100),
                1 => changed["currency"] = json!("eur"),
                _ => {}
            }
            self.time.event(d.at, again, &second, "payment_intent.succeeded", mode, changed);
        }
    }

    fn refunds(&mut self, d: &Draft) {
        if !self.rng.percent(18) || d.amount == 0 {
            return;
        }
        let times = if self.rng.percent(25) { 2 } else { 1 };
        let amounts = [d.amount, d.amount, d.amount / 2, 500, d.targets[0].charge];
        let mut left = d.amount;
        for _ in 0..times {
            let amount = self.rng.pick_amount(&amounts).clamp(1, left.max(1));
            left -= amount;
            if left < 0 {
                return;
            }
            let at = d.at + self.rng.pick_amount(&[-HOUR, 0, 1, HOUR, 7 * HOUR, 30 * HOUR, 3 * DAY, 10 * DAY]);
            let metadata = match self.rng.below(5) {
                0 => json!({"invoice_id": d.targets[0].id}),
                1 => json!({"invoice_id": "inv_never"}),
                _ => json!({}),
            };
            let id = self.id("re_");
            let refund = |status: &str| {
                json!({"id": id, "object": "refund", "amount": amount, "currency": d.currency, "status": status,
                    "payment_intent": d.has_intent.then_some(&d.id), "charge": d.charge, "metadata": metadata, "created": at})
            };
            let path: &[&str] = match self.rng.below(6) {
                0 => &["pending", "succeeded"],
                1 => &["pending", "failed"],
                2 => &["succeeded", "failed"],
                _ => &["succeeded"],
            };
            let step = self.rng.pick_amount(&[1, 6 * HOUR, 2 * DAY]);
            for (status, when) in path.iter().zip([at, at + step]) {
                let kind = if when == at {
                    "refund.created"
                } else if *status == "failed" {
                    "refund.failed"
                } else {
                    "refund.updated"
                };
                let event = self.id("evt_");
                self.time.event(when, when, &event, kind, true, refund(status));
            }
        }
    }

    fn dispute(&mut self, d: &Draft) {
        if !self.rng.percent(7) || d.amount == 0 {
            return;
        }
        let at = d.at + self.rng.pick_amount(&[0, 1, HOUR, 5 * DAY, 12 * DAY]);
        let id = self.id("du_");
        let amount = if self.rng.percent(80) { d.amount } else { d.amount.div_euclid(2).max(1) };
        let object = |rows: &[i64]| {
            let rows: Vec<Value> =
                rows.iter().map(|a| json!({"object": "balance_transaction", "amount": a, "fee": 1500})).collect();
            json!({"id": id, "object": "dispute", "amount": amount, "currency": d.currency, "charge": d.charge,
                "payment_intent": d.has_intent.then_some(&d.id), "balance_transactions": rows, "status": "needs_response",
                "created": at})
        };
        let event = [self.id("evt_"), self.id("evt_"), self.id("evt_")];
        self.time.event(at, at, &event[0], "charge.dispute.created", true, object(&[]));
        if self.rng.percent(85) {
            self.time.event(at, at + 1, &event[1], "charge.dispute.funds_withdrawn", true, object(&[-amount]));
            if self.rng.percent(50) {
                let won = at + self.rng.pick_amount(&[HOUR, 4 * DAY]);
                self.time.event(won, won, &event[2], "charge.dispute.funds_reinstated", true, object(&[-amount, amount]));
            }
        }
    }

    /// A person books the payment in the EHR by hand: before, at or after the event, here or elsewhere.
    fn typed_in(&mut self, d: &Draft) {
        if !self.rng.percent(40) {
            return;
        }
        let at = d.at + self.rng.pick_amount(&[-HOUR, 0, 0, 1, HOUR, DAY, 3 * DAY]);
        let lag_s = if self.rng.percent(80) { 0 } else { self.rng.pick_amount(&[1, HOUR, DAY]) };
        let reference = match self.rng.below(8) {
            0 | 1 => d.id.clone(),
            2 => d.charge.clone(),
            3 => format!("pi_{}", self.rng.below(self.count)),
            4 => "front desk".to_owned(),
            _ => String::new(),
        };
        let method = if self.rng.percent(85) { "card" } else { "cash" };
        let mut left = d.amount;
        for bill in &d.targets {
            let amount = left.min(bill.charge);
            left -= amount;
            let invoice = bill.id.clone();
            if self.rng.percent(5) {
                self.time.act(at, Act::PaidUnseen(invoice, amount));
                continue;
            }
            let id = self.id("ep_");
            let pay = Act::Pay { id: id.clone(), invoice, amount, method, reference: reference.clone(), lag_s };
            self.time.act(at, pay);
            if self.rng.percent(15) {
                let back = at + self.rng.pick_amount(&[HOUR, DAY, 4 * DAY]);
                let part = self.rng.percent(40);
                self.time.act(back, if part { Act::ReversePart(id, 500) } else { Act::Reverse(id) });
            }
        }
    }

    /// What happens to an invoice after it was paid.
    fn trouble(&mut self, d: &Draft) {
        let bill = d.targets[0].clone();
        let at = d.at + self.rng.pick_amount(&[-HOUR, 0, 1, HOUR, DAY, 6 * DAY]);
        match self.rng.below(20) {
            0 => self.time.act(at, Act::Void(bill.id)),
            1 => {
                let lowered = bill.charge - self.rng.pick_amount(&[500, 1200, 2000]);
                self.time.act(at, Act::Charge(bill.id.clone(), lowered.max(0)));
                if self.rng.percent(30) {
                    self.time.act(at + DAY, Act::Charge(bill.id, bill.charge));
                }
            }
            2 => self.time.act(at, Act::Charge(bill.id, bill.charge + 800)),
            3 => self.time.act(at, Act::InvoiceAgain(bill.id)),
            _ => {}
        }
    }
}
