//! Random histories of money: successes, refunds, disputes and payouts, each told late, twice, in any order or not at all, with crashes
//! between every store and the act that follows it. At the end every cent is accounted for: invariants 1, 2 and 7 of design.md
//! section 2 hold, and QuickBooks has what the ledger has, once.

mod stripe;
mod vesper;

use crate::money_properties::config;
use crate::practice::{invoice_id, minor, practice};
use crate::random::Random;
use crate::recovery_timeline::policy;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use stripe::{Stripe, Told};
use vesper::{Tallied, Vesper};
use vesper_core::effect::EffectState;
use vesper_core::ids::{MovementId, PaymentId};
use vesper_core::matching::open::standing;
use vesper_core::money::Minor;
use vesper_core::movement::{MovementKind, Taken};
use vesper_core::payment::PaymentState;
use vesper_core::payout::{Payout, PayoutState};
use vesper_core::policy::Policy;
use vesper_core::posting::{Account, Posting};
use vesper_core::records::Category;

fn begins<'t>(seed: u64, policy: &Policy, happened: &'t mut Tallied) -> Vesper<'t> {
    let go_live: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    let p = practice().linked("c1", "cus_1").linked("c2", "cus_2");
    let p = p.invoice("i0", "c1", 4200).invoice("i1", "c1", 1500).invoice("i2", "c2", 10_000).invoice("i3", "c2", 4200);
    let mut vesper = Vesper {
        now: go_live.saturating_sub(SignedDuration::from_hours(30)).unwrap(),
        policy: policy.clone(),
        random: Random::new(seed),
        stripe: Stripe::new(go_live),
        happened,
        fuel: None,
        world: p.world,
        payments: BTreeMap::new(),
        movements: BTreeMap::new(),
        payouts: BTreeMap::new(),
        ledger: BTreeMap::new(),
        books: BTreeMap::new(),
    };
    // Before go_live, with Stripe's balance of that moment the ledger opens.
    for _ in 0..vesper.random.below(3) {
        let (customer, amount) = (vesper.random.pick(&["cus_1", "cus_2"]), vesper.random.pick(&[4200, 1500]));
        vesper.stripe.pay(customer, amount, vesper.now);
    }
    vesper.stripe.webhooks.clear();
    vesper.stripe.opening = vesper.stripe.balance();
    vesper.now = go_live;
    vesper
}

impl Vesper<'_> {
    fn step(&mut self) {
        self.now = self.now.saturating_add(SignedDuration::from_secs(self.random.seconds(6 * 3600))).unwrap();
        self.fuel = self.random.one_in(3).then(|| u32::try_from(self.random.below(12)).unwrap());
        let died = match self.random.below(13) {
            0..5 => {
                self.at_stripe();
                Ok(())
            }
            5..9 => self.a_webhook_comes(),
            9 | 10 => {
                self.a_person_acts();
                Ok(())
            }
            _ => self.push(),
        };
        if died.is_err() {
            self.count("died");
        }
        self.fuel = None;
    }

    fn at_stripe(&mut self) {
        let now = self.now;
        let all: Vec<PaymentId> = self.stripe.payments.keys().cloned().collect();
        let refunds: Vec<MovementId> = self.stripe.refunds.keys().cloned().collect();
        let payouts: Vec<String> = self.stripe.payouts.keys().cloned().collect();
        match self.random.below(14) {
            3 | 4 if !all.is_empty() => {
                let id = self.random.pick(&all);
                let kept = self.stripe.kept(&id);
                let amount = self.random.pick(&[kept, minor(kept.get() / 2), minor(500), minor(1500)]).min(kept);
                let names = self.random.pick(&[None, Some("i0"), Some("i2")]);
                if amount.is_positive() {
                    self.stripe.refund(&id, amount, names, now);
                }
            }
            5 | 6 if !refunds.is_empty() => {
                let id = self.random.pick(&refunds);
                self.stripe.refund_goes_on(&id, now);
            }
            7 | 8 if !all.is_empty() => {
                let id = self.random.pick(&all);
                let amount = self.random.pick(&[minor(4200), minor(700), minor(20_000)]);
                let gives_back = self.random.one_in(2);
                self.stripe.dispute(&id, amount, gives_back, now);
            }
            9 => {
                let fee = self.random.pick(&[200, -50]);
                self.stripe.fee(fee, now);
            }
            10 | 11 => {
                let by_hand = self.random.one_in(5);
                self.stripe.payout(by_hand, now);
            }
            12 | 13 if !payouts.is_empty() => {
                let id = self.random.pick(&payouts);
                self.stripe.payout_goes_on(&id, &mut self.random, now);
            }
            _ => {
                let customer = self.random.pick(&["cus_1", "cus_2", "cus_9", ""]);
                let amount = self.random.pick(&[4200, 5700, 1500, 14_200, 3000, 20_000, 1]);
                self.stripe.pay(customer, amount, now);
            }
        }
    }

    /// One of those on their way, in any order; it may be lost, and it may come again.
    fn a_webhook_comes(&mut self) -> Result<(), vesper::Crash> {
        if self.stripe.webhooks.is_empty() {
            return Ok(());
        }
        let at = self.random.index(self.stripe.webhooks.len());
        let told = self.stripe.webhooks[at].clone();
        if self.random.one_in(8) {
            self.count("lost");
            self.stripe.webhooks.remove(at);
            return Ok(());
        }
        self.heard(&told)?;
        if self.random.one_in(4) {
            self.count("again");
        } else {
            self.stripe.webhooks.remove(at);
        }
        Ok(())
    }

    /// Everything arrives: what is on its way, what the daily sweep finds of Stripe's objects as they are, and every entry.
    fn everything_arrives(&mut self) {
        let refunds: Vec<MovementId> = self.stripe.refunds.keys().cloned().collect();
        for id in refunds {
            if self.random.one_in(2) {
                self.stripe.refund_goes_on(&id, self.now);
            }
        }
        let mut all = std::mem::take(&mut self.stripe.webhooks);
        all.extend(self.stripe.refunds.values().cloned().map(Told::Refund));
        all.extend(self.stripe.disputes.values().cloned().map(Told::Dispute));
        all.extend(self.stripe.payments.values().cloned().map(Told::Succeeded));
        while !all.is_empty() {
            let told = all.swap_remove(self.random.index(all.len()));
            self.heard(&told).unwrap();
        }
        let payouts: Vec<String> = self.stripe.payouts.keys().cloned().collect();
        for id in &payouts {
            if !self.random.one_in(4) {
                let payout = self.stripe.payouts.get_mut(id).unwrap();
                payout.reconciled = payout.automatic;
            }
        }
        for id in payouts.iter().chain(&payouts) {
            self.heard(&Told::Payout(id.clone())).unwrap();
        }
        self.now = self.now.saturating_add(SignedDuration::from_hours(72)).unwrap();
        for id in self.stripe.payments.keys().cloned().collect::<Vec<_>>() {
            self.look(&id);
            self.split(&id);
        }
        for _ in 0..60 {
            for id in self.dead().into_iter().cloned().collect::<Vec<_>>() {
                let now = self.now;
                self.ledger.get_mut(&id).unwrap().1.redrive(now);
            }
            self.push().unwrap();
            self.now = self.now.saturating_add(SignedDuration::from_secs(900)).unwrap();
        }
    }

    fn judge_the_end(&self) {
        self.judge_the_payments();
        self.judge_the_invoices();
        self.judge_the_ledger();
        self.judge_the_books();
    }

    /// Invariant 1, and what left is what Stripe says has left.
    fn judge_the_payments(&self) {
        assert_eq!(self.payments.len(), self.stripe.payments.len(), "every payment is known");
        for payment in self.payments.values() {
            payment.check().unwrap();
            let id = payment.id();
            assert_eq!(payment.refunded, self.stripe.refunded(id), "refunds of {id}");
            assert_eq!(payment.disputed, self.stripe.disputed(id), "disputes of {id}");
            let recorded = [MovementKind::Refund, MovementKind::Dispute].map(|kind| self.out(id, kind));
            assert_eq!(recorded, [payment.refunded, payment.disputed]);
            assert_ne!(payment.state, PaymentState::Parked, "the deadline has passed");
            if payment.state == PaymentState::BeforeGoLive {
                assert!(payment.shares.is_empty() && payment.unapplied.is_zero(), "older money is never matched");
            } else {
                let out = payment.refunded.plus(payment.disputed);
                assert_eq!(payment.taken_off, out, "a person has said from where everything of {id} was taken");
                assert_eq!(payment.allocated().plus(payment.unapplied), payment.received().minus(out));
            }
        }
    }

    /// Invariant 2, and what stands on an invoice is what its payments say.
    fn judge_the_invoices(&self) {
        for n in 0..4 {
            let file = self.world.invoice(&invoice_id(&format!("i{n}"))).unwrap();
            let share = standing(file).unwrap();
            assert!(share.share.adds_up() && share.excess.is_zero(), "{share:?}");
            let on = self.payments.values().flat_map(|p| &p.shares).filter(|s| s.invoice == invoice_id(&format!("i{n}")));
            assert_eq!(Minor::sum(on.map(|s| s.net())), share.share.paid);
        }
    }

    fn on(&self, account: Account) -> Minor {
        on(self.ledger.values().map(|(p, _)| p), account)
    }

    /// Invariant 7: ledger clearing = Stripe's balance + fees of rows in no tied-out payout + payouts taken but not tied out.
    fn judge_the_ledger(&self) {
        let state = |id: &Option<String>| id.as_ref().and_then(|id| self.payouts.get(id)).copied();
        let is_posted = |id: &Option<String>| matches!(state(id), Some(PayoutState::TiedOut | PayoutState::Failed));
        let untied = self.stripe.rows.iter().filter(|(row, of)| !is_posted(of) && row.created >= self.stripe.go_live);
        let fees = Minor::sum(untied.map(|(row, _)| row.fees()));
        let taken = |(id, p): &(&String, &Payout)| !p.status.came_back() && !is_posted(&Some((*id).clone()));
        let on_their_way = Minor::sum(self.stripe.payouts.iter().filter(taken).map(|(_, p)| p.amount));
        let clearing = self.stripe.opening.plus(self.on(Account::StripeClearing));
        assert_eq!(clearing, self.stripe.balance().plus(fees).plus(on_their_way), "clearing");
        let live = || self.payments.values();
        let sum = |part: fn(&vesper_core::payment::Payment) -> Minor| Minor::sum(live().map(part));
        assert_eq!(self.on(Account::Unidentified), sum(|p| p.credit.minus(p.unapplied)), "what waits for a person");
        assert_eq!(self.on(Account::ClientCredits), sum(|p| p.credit.negated()), "client credit");
        let income = Minor::sum(Category::ALL.map(|c| self.on(Account::Income(c))));
        let contra = self.on(Account::Refunds).plus(self.on(Account::Disputes));
        let old_out = Minor::sum(live().filter(|p| p.state == PaymentState::BeforeGoLive).map(|p| p.refunded.plus(p.disputed)));
        let allocated = Minor::sum(live().map(|p| p.allocated()));
        assert_eq!(income.plus(contra).minus(old_out), allocated.negated(), "income less what was taken from it");
        let taken = self.movements.values().filter_map(|m| m.taken.as_ref()).map(Taken::total);
        assert_eq!(Minor::sum(taken), sum(|p| p.taken_off));
    }

    /// QuickBooks has every entry of the ledger once, as it was prepared.
    fn judge_the_books(&self) {
        for (id, (posting, effect)) in &self.ledger {
            assert_eq!(effect.state, EffectState::Done, "{posting:?} {effect:?}");
            assert_eq!(self.books.get(id), Some(posting));
        }
        assert_eq!(self.books.len(), self.ledger.len(), "QuickBooks has an entry that the ledger does not have");
        let clearing = on(self.books.values(), Account::StripeClearing);
        assert_eq!(clearing, self.on(Account::StripeClearing));
    }
}

fn on<'p>(postings: impl Iterator<Item = &'p Posting>, account: Account) -> Minor {
    Minor::sum(postings.flat_map(|p| &p.lines).filter(|l| l.account == account).map(|l| l.amount))
}

fn histories(seed: u64, cases: u32) -> Tallied {
    let happened = RefCell::new(Tallied::new());
    let policy = policy("America/Chicago", &[1, 3, 7], 3);
    let config = ProptestConfig { rng_seed: RngSeed::Fixed(seed), ..config(cases) };
    let done = TestRunner::new(config).run(&(any::<u64>().no_shrink(), 1..45_u32), |(seed, steps)| {
        let mut happened = happened.borrow_mut();
        let mut vesper = begins(seed, &policy, &mut happened);
        for _ in 0..steps {
            vesper.step();
        }
        vesper.everything_arrives();
        vesper.judge_the_end();
        Ok(())
    });
    done.unwrap_or_else(|e| panic!("{e}"));
    happened.into_inner()
}

/// What must have happened often enough for the test to mean anything.
fn much_happened(happened: &Tallied) {
    for (what, at_least) in [
        ("recorded", 2000),
        ("tied_out", 1000),
        ("crash", 1000),
        ("adopted", 300),
        ("split", 50),
        ("credit flows", 20),
        ("payout came back", 20),
        ("manual", 200),
        ("before go_live", 1000),
    ] {
        assert!(happened.get(what).is_some_and(|n| *n >= at_least), "{what}: {happened:?}");
    }
}

#[test]
fn every_cent_is_accounted_for_whatever_came_in_whatever_order() {
    much_happened(&histories(6, 5000));
}

#[test]
fn the_same_for_as_many_histories_of_money_of_another_seed() {
    much_happened(&histories(7, 5000));
}
