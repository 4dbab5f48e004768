//! Random interleavings on the real store and handlers: successes, failures, refunds, disputes, payouts, answers, duplicates,
//! reorderings, lost answers and deaths of the process. At the end everything is delivered and every cent is accounted for.
//!
//! A few seeds run in `make test`; `make soak` runs many (VESPER_SOAK_SEEDS, VESPER_SOAK_FROM). A seed always tells the same story.

use jiff::SignedDuration;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::faults::{Fault, Target, When};
use vesper_core::ids::PaymentId;
use vesper_core::review::Answer;
use vesper_functions::review::answers::{self, Chosen};
use vesper_standins::ehr::DeskPayment;
use vesper_standins::stripe::{Decline, NewPayment, NewPayout, Outcome};
use vesper_tests::harness::wire::Blow;
use vesper_tests::harness::{Bundle, Options, Told, unaccounted};

/// Seeds that run where nobody asks for more.
const SEEDS: u64 = 3;
/// So many seeds bring about everything that a story may.
const MANY: u64 = 30;
/// Steps of one story.
const STEPS: u32 = 70;
const PRICES: [i64; 5] = [2000, 2500, 4200, 5000, 15_000];

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }

    fn percent(&mut self, n: u64) -> bool {
        self.next() % 100 < n
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> Option<&'t T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }
}

/// A story: the world, and what there is in it to act upon.
struct Story {
    b: Bundle,
    dice: Dice,
    /// (client, customer); the second is a dependent of the first.
    people: Vec<(String, String)>,
    invoices: Vec<String>,
    payments: Vec<String>,
    failed: Vec<String>,
    refunds: Vec<String>,
    disputes: Vec<String>,
    payouts: Vec<String>,
    /// Events that Stripe holds back: they come later, in any order.
    late: Vec<Value>,
    told: Vec<Value>,
    log: Vec<String>,
}

impl Story {
    async fn begin(seed: u64) -> Story {
        let options = Options { by_hand: true, credit_by_rule: seed.is_multiple_of(2), ..Options::default() };
        let mut b = Bundle::new(options).await;
        let (parent, customer) = b.client();
        let child = b.client_of(json!({"guarantor_id": parent}));
        let (single, other) = b.client();
        let people = vec![(parent, customer.clone()), (child, customer), (single, other)];
        let (invoices, payments, failed) = (Vec::new(), Vec::new(), Vec::new());
        let (refunds, disputes, payouts) = (Vec::new(), Vec::new(), Vec::new());
        let (late, told, log) = (Vec::new(), Vec::new(), Vec::new());
        Story { b, dice: Dice(seed), people, invoices, payments, failed, refunds, disputes, payouts, late, told, log }
    }

    /// What happened, its kind first.
    fn note(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    async fn step(&mut self) {
        match self.dice.below(100) {
            0..=14 => self.bill(),
            15..=33 => self.pay(),
            34..=37 => self.fail(),
            38..=46 => self.refund(),
            47..=50 => self.refund_changes(),
            51..=54 => self.dispute(),
            55..=58 => self.pay_out(),
            59..=61 => self.change_in_ehr(),
            62..=67 => self.answer().await,
            68..=71 => self.correct().await,
            72..=79 => self.advance().await,
            80..=88 => self.sync().await,
            _ => self.deliver_some().await,
        }
        if self.dice.percent(50) {
            self.deliver_some().await;
        }
    }

    fn bill(&mut self) {
        let (client, _) = self.dice.of(&self.people).unwrap().clone();
        let (amount, day) = (*self.dice.of(&PRICES).unwrap(), 1 + self.dice.below(22));
        let insured = if self.dice.percent(40) { 9000 } else { 0 };
        let id = self.b.bill_with(&client, amount, insured, json!({"issued_on": format!("2026-11-{day:02}")}));
        self.note(format!("bill {id} {amount}"));
        self.invoices.push(id);
    }

    fn pay(&mut self) {
        let (client, customer) = self.dice.of(&self.people).unwrap().clone();
        let price = *self.dice.of(&PRICES).unwrap();
        let amount = match self.dice.below(10) {
            0 => price / 2,
            1 => price + 700,
            2 => price + *self.dice.of(&PRICES).unwrap(),
            _ => price,
        };
        let mut new = NewPayment::of(&customer, amount);
        match self.dice.below(10) {
            0..=3 => {
                if let Some(invoice) = self.dice.of(&self.invoices) {
                    new = new.metadata("vesper_invoice", invoice);
                }
            }
            4 | 5 => new = new.metadata("kind", "prepayment").metadata("vesper_client", &client),
            6 => new = NewPayment::guest(amount),
            _ => {}
        }
        let id = self.b.pay(&new);
        self.note(format!("pay {id} {amount} {new:?}"));
        self.payments.push(id);
    }

    fn fail(&mut self) {
        if let (true, Some(id)) = (self.dice.percent(40), self.failed.pop()) {
            let status = self.b.standins.stripe.object(&id).map(|o| o["status"].clone()).unwrap_or_default();
            if status == "requires_payment_method" {
                self.note(format!("the client pays {id} himself"));
                self.b.standins.stripe.complete(&id);
                self.payments.push(id);
            }
            return;
        }
        let (_, customer) = self.dice.of(&self.people).unwrap().clone();
        let Some(invoice) = self.dice.of(&self.invoices).cloned() else { return };
        let new = NewPayment::of(&customer, *self.dice.of(&PRICES).unwrap()).metadata("vesper_invoice", &invoice);
        let id = self.b.standins.stripe.fail(&new, &Decline::of("generic_decline"));
        if self.dice.percent(50) {
            self.b.standins.stripe.script(&id, [Outcome::decline("generic_decline")]);
        }
        self.note(format!("fail {id} for {invoice}"));
        self.failed.push(id);
    }

    fn left_to_refund(&self, payment: &str) -> i64 {
        let charge = self.b.standins.stripe.object(payment).map(|p| p["latest_charge"].clone()).unwrap_or_default();
        let charge = charge.as_str().and_then(|c| self.b.standins.stripe.object(c)).unwrap_or_default();
        let disputed = charge["disputed"] == true;
        let left = charge["amount"].as_i64().unwrap_or(0) - charge["amount_refunded"].as_i64().unwrap_or(0);
        if disputed { 0 } else { left }
    }

    fn refund(&mut self) {
        let Some(payment) = self.dice.of(&self.payments).cloned() else { return };
        let left = self.left_to_refund(&payment);
        if left <= 0 {
            return;
        }
        let part = [left, left, left / 2, 500, 1000, 2000][self.dice.below(6)].clamp(1, left);
        let names = self.dice.of(&self.invoices).cloned().filter(|_| self.dice.percent(25));
        let metadata = names.map_or(Value::Null, |i| json!({"vesper_invoice": i}));
        let status = if self.dice.percent(25) { "pending" } else { "succeeded" };
        let id = self.b.standins.stripe.refund(&payment, Some(part), metadata, status);
        self.note(format!("refund {id} of {payment} {part} {status}"));
        self.refunds.push(id);
    }

    fn refund_changes(&mut self) {
        let Some(refund) = self.dice.of(&self.refunds).cloned() else { return };
        let now = self.b.standins.stripe.object(&refund).unwrap()["status"].clone();
        let to = match (now.as_str().unwrap_or_default(), self.dice.percent(60)) {
            ("pending", true) => "succeeded",
            ("pending", false) => "canceled",
            ("succeeded", _) => "failed",
            _ => return,
        };
        self.note(format!("refund becomes {to}: {refund}"));
        self.b.standins.stripe.refund_becomes(&refund, to);
    }

    fn dispute(&mut self) {
        if let (true, Some(dispute)) = (self.dice.percent(50), self.disputes.pop()) {
            let won = self.dice.percent(50);
            self.note(format!("{} {dispute}", if won { "won" } else { "lost" }));
            return self.b.standins.stripe.close_dispute(&dispute, won);
        }
        let Some(payment) = self.dice.of(&self.payments).cloned() else { return };
        let left = self.left_to_refund(&payment);
        if left <= 0 {
            return;
        }
        let part = if self.dice.percent(40) { (left / 3).max(1) } else { left };
        let id = self.b.standins.stripe.dispute_part(&payment, part);
        self.note(format!("dispute {id} of {payment} {part}"));
        self.disputes.push(id);
    }

    fn pay_out(&mut self) {
        if let (true, Some(payout)) = (self.dice.percent(30), self.payouts.pop()) {
            self.note(format!("payout fails {payout}"));
            return self.b.standins.stripe.fail_payout(&payout);
        }
        let new = NewPayout { extra_fee_minor: if self.dice.percent(30) { 100 } else { 0 }, ..NewPayout::default() };
        let id = self.b.standins.stripe.payout(&new);
        self.note(format!("payout {id}"));
        self.payouts.push(id);
    }

    fn change_in_ehr(&mut self) {
        let Some(invoice) = self.dice.of(&self.invoices).cloned() else { return };
        let now = self.b.standins.ehr.get("invoice", &invoice).unwrap();
        let open = now["client_share"]["open"].as_i64().unwrap_or(0);
        if now["status"] == "void" || open < 100 {
            return;
        }
        if self.dice.percent(50) {
            self.note(format!("check for {invoice}"));
            self.b.standins.ehr.paid_in_ehr(&DeskPayment::check(&invoice, open / 2));
        } else {
            self.note(format!("void {invoice}"));
            self.b.standins.ehr.change("invoice", &invoice, json!({"status": "void"}));
        }
    }

    /// A person answers one of the open questions with one of its buttons.
    async fn answer(&mut self) {
        let told = self.b.export().await;
        let open: Vec<&Value> = told.list("reviews").iter().filter(|r| r["status"] == "open").collect();
        let Some(review) = self.dice.of(&open) else { return };
        let id = review["id"].as_str().unwrap().to_owned();
        let answers: Vec<Answer> = serde_json::from_value(review["answers"].clone()).unwrap();
        let chosen = match self.dice.of(&answers) {
            Some(answer) if self.dice.percent(75) => Chosen::Offered(answer.clone()),
            _ if self.dice.percent(30) && !self.invoices.is_empty() => {
                Chosen::OtherInvoice(self.invoices[self.dice.below(self.invoices.len())].clone())
            }
            _ => Chosen::ResolvedElsewhere,
        };
        self.note(format!("answer {id} ({} about {}): {chosen:?}", review["reason"], review["subject"]));
        let answered = self.b.answer(&id, chosen).await;
        self.note(format!("  {answered:?}"));
    }

    /// A person corrects a payment on its own page.
    async fn correct(&mut self) {
        let Some(payment) = self.dice.of(&self.payments).cloned() else { return };
        let id = PaymentId::parse(&payment).unwrap();
        let Some(read) = self.b.app().store.payment(&id).await.unwrap() else { return };
        let to = self.dice.of(&self.invoices).cloned().unwrap_or_default();
        let app = self.b.app();
        let (what, done) = match self.dice.below(5) {
            0 => ("take back", answers::take_back(app, "tester", &id, read.rev).await),
            1 => ("move", answers::move_allocations(app, "tester", &id, read.rev, &to).await),
            2 => ("credit back", answers::credit_back(app, "tester", &id, read.rev).await),
            _ => ("apply credit", answers::apply_credit(app, "tester", &id, read.rev, &to).await),
        };
        self.note(format!("by hand {what} {payment} to {to}: {:?}", done.unwrap()));
        self.b.drain().await;
    }

    async fn advance(&mut self) {
        let hours = [1, 1, 3, 12, 30, 60][self.dice.below(6)];
        self.note(format!("{hours} h go by"));
        self.disturb();
        self.pass(hours).await;
        self.recover().await;
    }

    /// Time goes by, from one due moment to the next, as long as the process lives.
    async fn pass(&self, hours: i64) {
        let target = self.b.now().saturating_add(SignedDuration::from_hours(hours)).unwrap();
        while !self.b.wire.is_dead() {
            let due = self.b.app().store.next_due(self.b.now()).await.ok().flatten();
            let next = [due, self.b.stack.queues.next_visible()].into_iter().flatten().min().unwrap_or(target);
            self.b.stack.host.move_to(next.min(target));
            let _ = self.b.stack.beat().await;
            self.b.drain().await;
            if next >= target {
                return;
            }
        }
    }

    async fn sync(&mut self) {
        self.note("the EHR tells");
        self.disturb();
        let _ = self.b.notice().await;
        self.b.drain().await;
        self.recover().await;
    }

    /// Some of what Stripe has to tell, in any order, some of it twice, some of it once more from long ago.
    async fn deliver_some(&mut self) {
        self.late.extend(self.b.standins.stripe.undelivered());
        for event in &self.late {
            self.b.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
        }
        let n = self.dice.below(self.late.len() + 1);
        let mut now = Vec::new();
        for _ in 0..n {
            let at = self.dice.below(self.late.len());
            now.push(self.late.swap_remove(at));
        }
        if self.dice.percent(30) {
            now.extend(self.dice.of(&self.told).cloned());
        }
        let mut unheard = Vec::new();
        self.disturb();
        for event in now {
            let twice = self.dice.percent(15);
            let status = self.b.send(&event).await;
            if twice && status == 200 {
                self.note(format!("again {}", event["id"]));
                self.b.send(&event).await;
            }
            if status == 200 {
                self.told.push(event)
            } else {
                unheard.push(event)
            }
            if self.dice.percent(50) {
                self.b.drain().await;
            }
        }
        self.b.drain().await;
        self.recover().await;
        self.late.extend(unheard);
    }

    /// One of the next calls fails, or is the last of its process.
    fn disturb(&mut self) {
        let n = 1 + self.dice.next() % 40;
        self.b.wire.calm();
        match self.dice.below(12) {
            0 => self.b.wire.die_at_store_call(n),
            1 => self.b.faults.script(Target::Any, When::Call(n), Fault::ServerError),
            2 => self.b.faults.script(Target::Any, When::Call(n), Fault::LostAnswer),
            3 | 4 => {
                let blow = Blow::ALL[self.dice.below(Blow::ALL.len())];
                self.b.wire.strike(1 + n % 8, blow);
            }
            _ => return,
        }
        self.note(format!("trouble at call {n}"));
    }

    async fn recover(&mut self) {
        if self.b.wire.is_dead() {
            self.note("death of the process; another one starts");
            self.b.kill_and_restart().await;
            self.b.drain().await;
        } else {
            self.b.wire.calm();
            self.b.drain().await;
        }
    }

    /// Everything is told, and time goes by until nothing waits that time can bring.
    async fn end(&mut self) -> Result<Told, String> {
        for _ in 0..60 {
            let mut late = std::mem::take(&mut self.late);
            late.extend(self.b.standins.stripe.undelivered());
            self.b.deliver_these(&late).await;
            self.b.sync().await;
            let told = self.b.export().await;
            let payouts = told.list("payouts").iter().all(|p| p["state"] != "waiting");
            let parked = told.list("payments").iter().any(|p| p["state"] == "parked");
            let quiet = self.b.standins.stripe.undelivered().is_empty() && self.b.stack.queues.next_visible().is_none();
            if quiet && payouts && !parked && told.waiting() == 0 {
                return Ok(told);
            }
            self.pass(6).await;
        }
        Err(format!("it does not come to rest: {}", self.b.export().await.0))
    }
}

/// What a run of many seeds must have brought about: how a line of a story begins.
const KINDS: [&str; 17] = [
    "bill ",
    "pay ",
    "fail ",
    "refund ",
    "refund becomes ",
    "dispute ",
    "won ",
    "lost ",
    "payout ",
    "payout fails ",
    "check ",
    "void ",
    "answer ",
    "by hand ",
    "trouble ",
    "death ",
    "again ",
];

/// Tells the story of a seed. Its lines, and what is broken at its end.
async fn tell(seed: u64) -> (Vec<String>, Vec<String>) {
    let mut story = Story::begin(seed).await;
    story.sync().await;
    for _ in 0..STEPS {
        story.step().await;
    }
    // What is left is paid out, so that fees and balance meet in the end.
    story.pay_out();
    let broken = match story.end().await {
        Ok(told) => [story.b.broken(&told), unaccounted(&story.b.standins, &told)].concat(),
        Err(restless) => vec![restless],
    };
    (story.log, broken)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[tokio::test]
async fn every_cent_is_accounted_for_whatever_happens_in_whatever_order() {
    let (from, seeds) = (number("VESPER_SOAK_FROM", 1), number("VESPER_SOAK_SEEDS", SEEDS));
    let (mut happened, mut bad) = (BTreeSet::<&str>::new(), Vec::new());
    for seed in from..from + seeds {
        let (log, broken) = Box::pin(tell(seed)).await;
        happened.extend(KINDS.iter().filter(|kind| log.iter().any(|line| line.starts_with(**kind))));
        if !broken.is_empty() {
            bad.push(format!("seed {seed}:\n  {}\nits story:\n  {}", broken.join("\n  "), log.join("\n  ")));
        }
    }
    assert!(bad.is_empty(), "{} seeds break an invariant:\n{}", bad.len(), bad.join("\n\n"));
    let missing: Vec<&&str> = KINDS.iter().filter(|kind| !happened.contains(*kind)).collect();
    assert!(seeds < MANY || missing.is_empty(), "never happened: {missing:?}");
}
