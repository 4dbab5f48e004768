//! Random histories of failed cards on a practice in memory: declines, payments elsewhere, imports, clock jumps, pauses, outages,
//! crashes between any two steps, and others who act in between. Whatever happens: no invoice is paid twice by Vesper's doing, no
//! card is charged that may not be, every ladder ends, every claim goes, and nobody is left untold.

mod judge;
mod outside;
mod vesper;

use crate::money_properties::{DATES, config};
use crate::practice::minor;
use crate::random::Random;
use crate::recovery_timeline::policy;
use jiff::{SignedDuration, Timestamp};
use outside::{DECLINES, Ehr, Stripe, Webhook};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use vesper::{Tally, Vesper};
use vesper_core::event::Reference;
use vesper_core::ids::{CustomerId, InvoiceId, PaymentId};
use vesper_core::money::Minor;
use vesper_core::policy::Policy;
use vesper_core::records::{Autopay, CardConsent, Coverage, Method};
use vesper_core::recovery::{NewCard, Outcome, RecoveryState, StopReason};
use vesper_core::world::World;

/// Customer and clients: c1 pays for his dependent c2, c3 is a stranger.
const CLIENTS: [(&str, &str, Option<&str>); 3] = [("c1", "cus_1", None), ("c2", "cus_1", Some("c1")), ("c3", "cus_3", None)];
/// Beginnings just before daylight saving begins and ends, month ends, and an ordinary day.
const BEGINNINGS: [&str; 5] =
    ["2026-03-06T20:00:00Z", "2026-10-24T05:00:00Z", "2026-10-30T22:00:00Z", "2027-02-26T12:00:00Z", "2026-06-10T15:00:00Z"];
const HOUR_S: i64 = 3600;

/// Zones and ladders; a time zone is looked up once.
fn policies() -> Vec<Policy> {
    vec![
        policy("America/Chicago", &[1, 3, 7], 3),
        policy("Europe/Berlin", &[1, 3, 7], 0),
        policy("America/Los_Angeles", &[2], 2),
        policy("Pacific/Auckland", &[1, 2, 5], 5),
    ]
}

fn practice<'t>(seed: u64, policies: &[Policy], tally: &'t mut Tally) -> Vesper<'t> {
    let mut random = Random::new(seed);
    let now: Timestamp = random.pick(&BEGINNINGS).parse().unwrap();
    let policy = random.pick(policies);
    let mut ehr = Ehr::default();
    for (client, customer, guarantor) in CLIENTS {
        ehr.client(client, customer, guarantor, now);
    }
    for _ in 0..=random.below(3) {
        ehr.invoice(random.pick(&["c1", "c1", "c2", "c3"]), random.pick(&[4200, 4200, 7500, 1500]), now);
    }
    let mut world = World::default();
    world.customers_listed = true;
    let mut vesper = Vesper {
        now,
        policy,
        stripe: Stripe::default(),
        ehr,
        random,
        tally,
        fuel: None,
        depth: 0,
        world,
        imported: 0,
        payments: BTreeMap::new(),
        recoveries: BTreeMap::new(),
        claims: BTreeMap::new(),
        writes: Vec::new(),
        asked: BTreeSet::new(),
        answered: BTreeSet::new(),
        failed_cards: BTreeSet::new(),
        disputed: BTreeSet::new(),
        is_paused: false,
        version: 0,
    };
    vesper.import(usize::MAX - 1);
    vesper.a_card_fails();
    vesper
}

impl Vesper<'_> {
    /// One thing that happens, between two of Vesper's looks.
    fn step(&mut self) {
        if self.random.one_in(3) {
            self.fuel = u32::try_from(self.random.below(16)).ok();
        }
        match self.random.below(16) {
            0 => self.a_card_fails(),
            1..6 => self.time_passes(),
            6 | 7 => self.a_webhook_comes(),
            8 => {
                self.is_paused = self.random.one_in(3);
                self.stripe.is_down = self.random.one_in(5);
                self.ehr.is_down = self.random.one_in(5);
            }
            9 => self.a_person_answers(),
            _ => self.meanwhile(),
        }
        self.fuel = None;
    }

    /// What others do, at any moment.
    pub fn meanwhile(&mut self) {
        match self.random.below(14) {
            0 => self.somebody_pays_in_the_ehr(),
            1 => self.the_client_pays_anew(),
            2 => self.the_client_tries_again(),
            3 | 4 => {
                let records = usize::try_from(self.random.below(5)).unwrap();
                self.import(records);
            }
            5 => self.write_back(),
            6 => self.a_record_changes(),
            7 => self.a_card_is_new(),
            8 => self.stripe.settle(self.now, &mut self.random),
            9 | 10 => self.a_webhook_comes(),
            11 | 12 => self.another_process(),
            _ => self.a_payment_is_disputed(),
        }
    }

    /// A second process works off what is due, or what is due a little later.
    fn another_process(&mut self) {
        let all: Vec<PaymentId> = self.recoveries.keys().cloned().collect();
        if !all.is_empty() {
            let payment = self.random.pick(&all);
            self.attempt(&payment);
        }
    }

    fn open_invoices(&self) -> Vec<(InvoiceId, String, Minor)> {
        let open = self.ehr.invoices.values().filter(|i| !i.void && i.client_share.open.is_positive());
        open.map(|i| (i.id.clone(), i.client.as_str().to_owned(), i.client_share.open)).collect()
    }

    /// A PaymentIntent for one invoice, or for two of one payer.
    fn intent(&mut self) -> Option<PaymentId> {
        let open = self.open_invoices();
        if open.is_empty() {
            return None;
        }
        let (id, client, amount) = self.random.pick(&open);
        let customer = CLIENTS.iter().find(|(c, ..)| *c == client).unwrap().1;
        let mut reference = Reference::default();
        let mut amount = amount;
        match self.random.below(6) {
            0 => reference.invoice = Some(id.to_string()),
            1 => {
                let other = open.iter().find(|(other, c, _)| *other != id && (c == "c3") == (client == "c3"));
                amount = amount.plus(other.map_or(Minor::ZERO, |(.., m)| *m));
            }
            2 => amount = minor(amount.get() / 2 + 1),
            _ => {}
        }
        Some(self.stripe.intent(customer, amount, reference, self.now))
    }

    fn a_card_fails(&mut self) {
        if let Some(id) = self.intent() {
            let codes = if self.random.one_in(4) { self.random.pick(&DECLINES) } else { self.random.pick(&DECLINES[..4]) };
            self.stripe.decline(&id, codes, self.now);
            if !self.random.one_in(4) {
                self.a_webhook_comes();
            }
        }
    }

    fn a_webhook_comes(&mut self) {
        if self.stripe.webhooks.is_empty() {
            return;
        }
        let at = self.random.index(self.stripe.webhooks.len());
        // Now and then it comes twice, also at the same moment.
        let webhook = if self.random.one_in(5) { self.stripe.webhooks[at].clone() } else { self.stripe.webhooks.remove(at) };
        let had_fuel = self.fuel.is_some();
        self.deliver(&webhook);
        if had_fuel && self.fuel == Some(0) {
            self.stripe.webhooks.push(webhook); // It was not worked off to its end.
        }
    }

    fn time_passes(&mut self) {
        let due = self.next_due().filter(|_| !self.random.one_in(5));
        let jump = match self.random.below(4) {
            0 => self.random.seconds(20 * 60),
            1 => self.random.seconds(30 * HOUR_S),
            2 => self.random.seconds(5 * 24 * HOUR_S),
            _ => 0,
        };
        let to = due.map_or(self.now, |d| d.max(self.now));
        let jump = if due.is_some() { jump.min(HOUR_S * 2) } else { jump };
        self.now = to.saturating_add(SignedDuration::from_secs(jump)).unwrap();
        self.beat();
    }

    fn somebody_pays_in_the_ehr(&mut self) {
        let open = self.open_invoices();
        if !open.is_empty() {
            let (id, _, amount) = self.random.pick(&open);
            let amount = if self.random.one_in(3) { minor(amount.get() / 2) } else { amount };
            self.ehr.pay(&id, amount, Method::Cash, "", self.now);
        }
    }

    fn the_client_pays_anew(&mut self) {
        if let Some(id) = self.intent() {
            if self.random.one_in(4) {
                self.stripe.intents.get_mut(&id).unwrap().status = "processing";
            } else {
                self.stripe.succeed(&id, self.now);
            }
        }
    }

    /// He confirms the failed PaymentIntent himself, or it is canceled.
    fn the_client_tries_again(&mut self) {
        let waiting = |i: &outside::Intent| i.status == "requires_payment_method" || i.status == "requires_action";
        let failed: Vec<PaymentId> = self.stripe.intents.iter().filter(|(_, i)| waiting(i)).map(|(id, _)| id.clone()).collect();
        if failed.is_empty() {
            return;
        }
        let id = self.random.pick(&failed);
        match self.random.below(5) {
            0 => self.stripe.succeed(&id, self.now),
            1 => self.stripe.intents.get_mut(&id).unwrap().status = "canceled",
            _ => {
                let codes = self.random.pick(&DECLINES);
                self.stripe.decline(&id, codes, self.now);
            }
        }
    }

    fn a_record_changes(&mut self) {
        let (now, which) = (self.now, self.random.below(8));
        let client = self.random.pick(&["c1", "c2", "c3"]);
        let open = self.open_invoices();
        match which {
            0 => self.ehr.change_client(client, now, |c| c.card_consent = CardConsent::Revoked),
            1 => self.ehr.change_client(client, now, |c| c.autopay = Autopay::On),
            2 => self.ehr.change_client(client, now, |c| c.coverage = Coverage::Medicaid),
            3 => self.ehr.change_client(client, now, |c| c.coverage = Coverage::ThirdPartyBiller),
            4 => self.ehr.invoice(client, 4200, now),
            5 if !open.is_empty() => {
                let (id, ..) = self.random.pick(&open);
                self.ehr.change_invoice(&id, now, |i| i.void = true);
            }
            6 if !open.is_empty() => {
                let (id, _, open) = self.random.pick(&open);
                self.ehr.change_invoice(&id, now, |i| {
                    i.client_share.open = minor(open.get() / 3);
                    i.client_share.charge = i.client_share.charge.minus(open).plus(i.client_share.open);
                });
            }
            _ => {}
        }
    }

    fn a_card_is_new(&mut self) {
        let customer = self.random.pick(&["cus_1", "cus_3"]);
        let n = self.random.below(3);
        let card = NewCard { payment_method: format!("pm_new_{n}"), at: self.now };
        self.stripe.webhooks.push(Webhook::Card(CustomerId::parse(customer).unwrap(), card));
    }

    fn a_payment_is_disputed(&mut self) {
        let all: Vec<PaymentId> = self.payments.keys().cloned().collect();
        if !all.is_empty() && self.random.one_in(4) {
            let id = self.random.pick(&all);
            self.disputed.insert(id);
            self.version += 1;
        }
    }

    /// A person answers every question about a payment: what is left becomes credit, or is refunded.
    fn a_person_answers(&mut self) {
        for id in std::mem::take(&mut self.asked) {
            let mut payment = self.payments[&id].clone();
            let rest_to_credit = self.random.one_in(2);
            let step = payment.answer(&[], rest_to_credit, DATES);
            assert!(step.allocated.is_empty());
            payment.check().unwrap();
            self.payments.insert(id.clone(), payment);
            self.answered.insert(id);
            self.version += 1;
        }
    }

    /// All outages end, everything on its way arrives: then every ladder ends by its last day.
    fn everything_arrives(&mut self) {
        (self.is_paused, self.stripe.is_down, self.ehr.is_down) = (false, false, false);
        self.depth = 1; // Nobody comes in between any more.
        let began = self.now;
        for _ in 0..400 {
            self.stripe.settle(self.now, &mut self.random);
            for webhook in std::mem::take(&mut self.stripe.webhooks) {
                self.deliver(&webhook);
            }
            self.import(usize::MAX / 2);
            while !self.writes.is_empty() {
                self.write_back();
            }
            self.a_person_answers();
            self.beat();
            self.on_time(began);
            match self.next_due() {
                Some(at) => self.now = self.now.max(at),
                None if self.stripe.webhooks.is_empty() => return,
                None => {}
            }
        }
        panic!("the ladder does not end: {:?}", self.recoveries);
    }

    fn on_time(&self, began: Timestamp) {
        let retry = &self.policy.retry;
        let days = i64::from(*retry.days.last().unwrap()) + i64::from(retry.payday_shift_days) + 2;
        for r in self.recoveries.values().map(|r| &r.recovery).filter(|r| r.state == RecoveryState::Waiting) {
            let last = r.first_failed_at.max(began).saturating_add(SignedDuration::from_hours(24 * days)).unwrap();
            assert!(self.now <= last, "the ladder ends with its last day: {r:?}");
        }
    }

    fn judge_the_end(&self) {
        assert!(self.claims.is_empty(), "claims are left: {:?}", self.claims);
        let mut paid: BTreeMap<&InvoiceId, Minor> = BTreeMap::new();
        for r in self.recoveries.values().map(|r| &r.recovery) {
            let intent = &self.stripe.intents[r.payment()];
            let quiet = r.state == RecoveryState::Recovered || r.stop_reason == Some(StopReason::Paid);
            assert_eq!(self.failed_cards.contains(r.payment()), !quiet, "who is told of {r:?}");
            assert_eq!(r.state == RecoveryState::Recovered, r.attempts.iter().any(|a| a.outcome == Outcome::Succeeded));
            assert_ne!(r.state, RecoveryState::Waiting);
            assert!(r.open_attempt().is_none());
            let is_paid = intent.status == "succeeded";
            assert!(if is_paid { quiet } else { r.state != RecoveryState::Recovered }, "{r:?}");
            assert_eq!(is_paid, self.payments.contains_key(r.payment()));
            // Money of which a person has said that it is for something else pays no invoice.
            if r.state == RecoveryState::Recovered && !self.answered.contains(r.payment()) {
                for (invoice, amount) in &r.invoices {
                    let sum = paid.entry(invoice).or_default();
                    *sum = sum.plus(*amount);
                }
            }
        }
        for (id, amount) in paid {
            // Charges that were lowered later were higher when the card was charged.
            let most = Minor::sum(
                self.ehr
                    .feed
                    .iter()
                    .filter_map(|r| match r {
                        outside::Record::Invoice(i) if i.id == *id => Some(i.client_share.charge),
                        _ => None,
                    })
                    .max(),
            );
            assert!(amount <= most, "{id} of {most} was paid {amount} by Vesper's doing");
        }
        for payment in self.payments.values() {
            payment.check().unwrap();
        }
    }
}

/// Runs so many histories, and says what happened in them.
fn histories(seed: u64, cases: u32) -> Tally {
    let tally = RefCell::new(Tally::new());
    let policies = policies();
    let config = ProptestConfig { rng_seed: RngSeed::Fixed(seed), ..config(cases) };
    let done = TestRunner::new(config).run(&(any::<u64>().no_shrink(), 1..45_u32), |(seed, steps)| {
        let mut tally = tally.borrow_mut();
        let mut vesper = practice(seed, &policies, &mut tally);
        for _ in 0..steps {
            vesper.step();
        }
        vesper.everything_arrives();
        vesper.judge_the_end();
        Ok(())
    });
    done.unwrap_or_else(|e| panic!("{e}"));
    tally.into_inner()
}

/// What must have happened often enough for the test to mean anything.
fn much_happened(tally: &Tally) {
    for (what, at_least) in [("attempt", 2000), ("confirm", 2000)] {
        assert!(tally.get(what).is_some_and(|n| *n >= at_least), "{what}: {tally:?}");
    }
}

#[test]
fn no_invoice_is_paid_twice_no_forbidden_card_is_charged_and_every_ladder_ends() {
    let tally = histories(4, 5000);
    much_happened(&tally);
}

#[test]
fn the_same_for_as_many_histories_of_another_seed() {
    let tally = histories(5, 5000);
    much_happened(&tally);
}
