//! Vesper of the model: what `functions/src/reconcile` and `functions/src/payouts` read, store and send, on a table in memory. Every
//! decision, sum and entry is the core's. A crash may come between any store and the act that follows it.

use super::stripe::{Stripe, Told};
use crate::money_properties::{DATES, payment};
use crate::practice::invoice_id;
use crate::random::Random;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use vesper_core::credit;
use vesper_core::effect::{Begin, Effect, EffectKind, EffectState, Failure};
use vesper_core::event::Success;
use vesper_core::ids::{EffectId, InvoiceId, MovementId, PaymentId, PostingId};
use vesper_core::matching::{Allocate, Case, Decision, Look, Stands, decide};
use vesper_core::money::Minor;
use vesper_core::movement::{Movement, MovementKind, Taken};
use vesper_core::payment::{Payment, PaymentState, Step, TakenBack};
use vesper_core::payout::{
    Matched, Payout, PayoutRow, PayoutState, RowKind, Tally, Verdict, fees_entry, judge, transfer, transfer_back,
};
use vesper_core::policy::Policy;
use vesper_core::posting::Posting;
use vesper_core::recovery::ladder::local_date;
use vesper_core::world::{Allocation, World};

/// The process died: what was stored is stored, the message comes again.
#[derive(Debug)]
pub struct Crash;

/// What happened, so that the test can see that it looked at anything.
pub type Tallied = BTreeMap<&'static str, u32>;

pub struct Vesper<'t> {
    pub now: Timestamp,
    pub policy: Policy,
    pub random: Random,
    pub stripe: Stripe,
    pub happened: &'t mut Tallied,
    pub fuel: Option<u32>,
    // The table.
    pub world: World,
    pub payments: BTreeMap<PaymentId, Payment>,
    pub movements: BTreeMap<MovementId, Movement>,
    pub payouts: BTreeMap<String, PayoutState>,
    pub ledger: BTreeMap<PostingId, (Posting, Effect)>,
    // QuickBooks: what it has, by requestid.
    pub books: BTreeMap<PostingId, Posting>,
}

/// Nobody is asked about parked or older money.
fn has_answers(state: PaymentState) -> bool {
    matches!(state, PaymentState::Decided | PaymentState::Review)
}

impl Vesper<'_> {
    pub fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// Before and after everything that is stored or sent.
    fn port(&mut self) -> Result<(), Crash> {
        if let Some(fuel) = &mut self.fuel {
            if *fuel == 0 {
                self.count("crash");
                return Err(Crash);
            }
            *fuel -= 1;
        }
        Ok(())
    }

    // -------------------------------------------------------------------- what Stripe tells

    pub fn heard(&mut self, told: &Told) -> Result<(), Crash> {
        match told {
            Told::Succeeded(success) => self.succeeded(success),
            Told::Refund(refund) => self.moved(&Movement::of_refund(refund)),
            Told::Dispute(dispute) => self.moved(&Movement::of_dispute(dispute)),
            Told::Payout(id) => self.payout(id),
        }
    }

    fn succeeded(&mut self, success: &Success) -> Result<(), Crash> {
        self.port()?;
        if !self.payments.contains_key(&success.payment) {
            let mut new = Payment {
                success: success.clone(),
                unapplied: success.amount,
                deadline: self.now.saturating_add(SignedDuration::from_hours(48)).unwrap(),
                ..payment(success.amount.get())
            };
            let step = if success.object_created < self.stripe.go_live {
                self.count("before go_live");
                (new.state, new.unapplied) = (PaymentState::BeforeGoLive, Minor::ZERO);
                Step::default()
            } else {
                let decision = self.decided(success, success.amount, Look::First);
                new.decide_first(decision, DATES)
            };
            self.store(new, &step, vec![]);
            self.port()?;
        }
        self.settle(&success.payment)
    }

    fn decided(&self, success: &Success, amount: Minor, look: Look) -> Decision {
        let local_date = local_date(success.object_created, &self.policy.time_zone);
        decide(&self.world, &Case { success, amount, local_date, look }, &self.policy.matching)
    }

    fn moved(&mut self, newer: &Movement) -> Result<(), Crash> {
        self.port()?;
        match self.movements.get_mut(&newer.id) {
            Some(known) => known.hear(newer),
            None => _ = self.movements.insert(newer.id.clone(), newer.clone()),
        }
        self.port()?;
        self.settle(&newer.payment)
    }

    /// Records what is not recorded yet, oldest first, each in a transaction of its own.
    fn settle(&mut self, id: &PaymentId) -> Result<(), Crash> {
        loop {
            self.port()?;
            let Some(mut payment) = self.payments.get(id).cloned() else { return Ok(()) };
            let waiting = self.movements.values().filter(|m| m.payment == *id && m.out != m.recorded);
            let Some(mut movement) = waiting.min_by_key(|m| (m.created, m.id.clone())).cloned() else { return Ok(()) };
            let was_parked = payment.state == PaymentState::Parked;
            let (step, known) = payment.record(&mut movement, DATES);
            self.count(if known { "recorded" } else { "split is asked" });
            if payment.state == PaymentState::Review && !payment.unapplied.is_positive() {
                payment.state = PaymentState::Decided;
            }
            self.store(payment, &step, vec![movement]);
            self.port()?;
            if was_parked {
                self.look(id);
            }
        }
    }

    /// A parked payment is looked at again.
    pub fn look(&mut self, id: &PaymentId) {
        let mut payment = self.payments[id].clone();
        if payment.state != PaymentState::Parked {
            return;
        }
        let look = if self.now >= payment.deadline { Look::Deadline } else { Look::Again };
        let decision = self.decided(&payment.success.clone(), payment.to_decide(), look);
        if decision.stands != Stands::Parked {
            let step = payment.decide_later(decision, DATES);
            self.store(payment, &step, vec![]);
        }
    }

    /// One transaction: a payment, its movements, what is allocated and taken back, and the entries.
    pub fn store(&mut self, payment: Payment, step: &Step, movements: Vec<Movement>) {
        payment.check().unwrap();
        for (n, allocate) in &step.allocated {
            let allocation = self.allocation(&payment, *n, allocate);
            self.world.apply_allocation(allocation);
        }
        for back in &step.taken_back {
            self.taken_back(&payment, back);
        }
        // An adjudication takes off without a reversal of ours: the share says how much.
        for share in &payment.shares {
            for a in self.world.allocations_mut(&share.invoice).into_iter().flatten() {
                if a.payment == *payment.id() && a.reference == format!("key_{}", share.n) {
                    a.reversed = share.reversed;
                }
            }
        }
        self.post(&step.postings);
        self.movements.extend(movements.into_iter().map(|m| (m.id.clone(), m)));
        self.payments.insert(payment.id().clone(), payment);
    }

    fn allocation(&self, payment: &Payment, n: u32, allocate: &Allocate) -> Allocation {
        Allocation {
            payment: payment.id().clone(),
            charge: payment.success.charge.clone(),
            invoice: allocate.invoice.clone(),
            client: allocate.client.clone(),
            amount: allocate.amount,
            reversed: Minor::ZERO,
            rule: payment.decision.rule,
            category: allocate.category,
            decided_at: self.now,
            reference: format!("key_{n}"),
            typed_in: false,
            shown: false,
            reopened: false,
            closed: false,
        }
    }

    fn taken_back(&mut self, payment: &Payment, back: &TakenBack) {
        let share = payment.shares.iter().find(|s| s.n == back.n).unwrap();
        assert!(back.amount.is_positive() && back.amount <= share.amount, "{back:?}");
        for a in self.world.allocations_mut(&share.invoice).into_iter().flatten() {
            if a.payment == *payment.id() && a.reference == format!("key_{}", back.n) {
                a.reopened = true;
            }
        }
    }

    fn post(&mut self, postings: &[Posting]) {
        for posting in postings {
            posting.check().unwrap();
            let effect = EffectId::parse(&format!("eff_{}", posting.id)).unwrap();
            let effect = Effect::new(effect, EffectKind::Books, &posting.subject, false, self.now);
            let earlier = self.ledger.insert(posting.id.clone(), (posting.clone(), effect));
            assert!(earlier.is_none(), "the id of {posting:?} was used before");
        }
    }

    // -------------------------------------------------------------------- people

    pub fn a_person_acts(&mut self) {
        let all: Vec<PaymentId> = self.payments.values().filter(|p| has_answers(p.state)).map(|p| p.id().clone()).collect();
        if all.is_empty() {
            return;
        }
        let id = self.random.pick(&all);
        let mut payment = self.payments[&id].clone();
        let step = match self.random.below(9) {
            0 | 1 => self.answer(&mut payment),
            2 => {
                let n = u32::try_from(self.random.below(4)).unwrap();
                payment.take_back(&[n], DATES)
            }
            3 => payment.uncredit(DATES),
            4 => {
                let n = u32::try_from(self.random.below(3)).unwrap();
                let net = payment.shares.iter().find(|s| s.n == n).map_or(Minor::ZERO, |s| s.net());
                payment.excess_to_credit(n, crate::practice::minor(net.get() / 2), DATES)
            }
            5 | 6 => match credit::owner(&payment).filter(|_| credit::may_flow(&payment)) {
                Some(client) => {
                    self.count("credit flows");
                    let all = credit::oldest_first(&self.world, &client, &payment, &BTreeSet::new());
                    payment.apply_credit(&all, DATES)
                }
                None => return,
            },
            7 => {
                let n = u32::try_from(self.random.below(4)).unwrap();
                payment.back_to_credit(&[n], DATES)
            }
            _ => return self.split(&id),
        };
        self.count("a person acts");
        self.store(payment, &step, vec![]);
        // What was re-opened is owed again.
        for n in 0..4 {
            let invoice = invoice_id(&format!("i{n}"));
            self.world.allocations_mut(&invoice).into_iter().flatten().for_each(|a| a.reopened = false);
        }
    }

    /// What is unapplied pays what is open on an invoice, as far as it goes; the rest may become credit.
    fn answer(&mut self, payment: &mut Payment) -> Step {
        let invoice = invoice_id(&format!("i{}", self.random.below(4)));
        let file = self.world.invoice(&invoice).unwrap();
        let open = vesper_core::matching::open::standing(file).unwrap().share.open;
        let owner = file.invoice.as_ref().unwrap();
        let amount = open.min(payment.unapplied);
        let allocate = Allocate {
            invoice,
            client: owner.client.clone(),
            amount,
            category: owner.category,
            closes: amount == open,
            in_ehr: false,
        };
        let all: Vec<Allocate> = Some(allocate).into_iter().filter(|a| a.amount.is_positive()).collect();
        payment.answer(&all, self.random.one_in(2), DATES)
    }

    /// A person says from where every refund or dispute of a payment is taken that could be taken from several places.
    pub fn split(&mut self, id: &PaymentId) {
        let of_payment: Vec<MovementId> = self.movements.values().filter(|m| m.payment == *id).map(|m| m.id.clone()).collect();
        for movement in of_payment {
            let (mut payment, mut movement) = (self.payments[id].clone(), self.movements[&movement].clone());
            let taken = movement.taken.as_ref().map_or(Minor::ZERO, Taken::total);
            let mut left = movement.recorded.minus(taken);
            if !left.is_positive() || payment.state == PaymentState::BeforeGoLive {
                continue;
            }
            let mut nets: BTreeMap<InvoiceId, Minor> = BTreeMap::new();
            for share in &payment.shares {
                let net = nets.entry(share.invoice.clone()).or_default();
                *net = net.plus(share.net());
            }
            let mut from = Taken { unapplied: left.min(payment.unapplied), ..Taken::default() };
            left = left.minus(from.unapplied);
            for (invoice, net) in nets {
                let part = net.min(left);
                if part.is_positive() {
                    left = left.minus(part);
                    from.allocations.push((invoice, part));
                }
            }
            if from.total().is_positive() {
                self.count("split");
                let step = payment.split(&mut movement, &from, DATES);
                self.store(payment, &step, vec![movement]);
            }
        }
    }

    // -------------------------------------------------------------------- payouts

    fn payout(&mut self, id: &str) -> Result<(), Crash> {
        self.port()?;
        let now = self.stripe.payouts[id].clone();
        match self.payouts.get(id) {
            Some(PayoutState::TiedOut) => {
                if now.status.came_back() {
                    self.count("payout came back");
                    let back = transfer_back(&now, DATES.decision);
                    self.post_payout(id, PayoutState::Failed, back.into_iter().collect());
                }
                return self.port();
            }
            Some(PayoutState::Failed | PayoutState::Manual) => return Ok(()),
            Some(PayoutState::Waiting | PayoutState::Drift) | None => {}
        }
        let tally = if now.automatic && now.reconciled { self.tally(&now)? } else { Tally::default() };
        let (state, postings) = match judge(&now, &tally, true) {
            Verdict::TiedOut => (PayoutState::TiedOut, [fees_entry(&now, &tally), transfer(&now)]),
            Verdict::Failed => (PayoutState::Failed, [fees_entry(&now, &tally), None]),
            Verdict::Drift { difference } => panic!("the model's rows sum to the payout: {difference}"),
            Verdict::Waiting(_) => (PayoutState::Waiting, [None, None]),
            Verdict::Manual => (PayoutState::Manual, [None, None]),
        };
        self.count(state.as_str());
        self.post_payout(id, state, postings.into_iter().flatten().collect());
        self.port()
    }

    fn post_payout(&mut self, id: &str, state: PayoutState, postings: Vec<Posting>) {
        self.payouts.insert(id.to_owned(), state);
        self.post(&postings);
    }

    fn tally(&mut self, payout: &Payout) -> Result<Tally, Crash> {
        let rows: Vec<PayoutRow> =
            self.stripe.rows.iter().filter(|(_, of)| of.as_deref() == Some(&payout.id)).map(|(row, _)| row.clone()).collect();
        let mut tally = Tally::default();
        for row in rows {
            self.find(&row)?;
            let old = row.created < self.stripe.go_live;
            let matched = if old { Matched::BeforeGoLive } else { Matched::Known };
            tally.add(&row, matched);
        }
        Ok(tally)
    }

    /// What the ledger does not know of a row is heard as if its event had come.
    fn find(&mut self, row: &PayoutRow) -> Result<(), Crash> {
        match &row.kind {
            RowKind::Charge { payment: Some(payment), .. } => {
                let success = self.stripe.payments[payment].clone();
                self.succeeded(&success)
            }
            RowKind::Refund { refund, payment: Some(payment), .. } => {
                let (success, refund) = (self.stripe.payments[payment].clone(), self.stripe.refunds[refund].clone());
                self.succeeded(&success)?;
                self.moved(&Movement::of_refund(&refund))
            }
            RowKind::Dispute { dispute, payment: Some(payment), .. } => {
                let (success, dispute) = (self.stripe.payments[payment].clone(), self.stripe.disputes[dispute].clone());
                self.succeeded(&success)?;
                self.moved(&Movement::of_dispute(&dispute))
            }
            RowKind::PayoutBack { payout } => self.payout(&payout.clone()),
            _ => Ok(()),
        }
    }

    // -------------------------------------------------------------------- the books

    /// Pushes what is due. QuickBooks does it or does not, and the answer comes or does not.
    pub fn push(&mut self) -> Result<(), Crash> {
        let due = |(_, e): &&(Posting, Effect)| e.is_waiting() && e.next_at.is_some_and(|at| at <= self.now);
        let all: Vec<PostingId> = self.ledger.values().filter(due).map(|(p, _)| p.id.clone()).collect();
        for id in all {
            self.push_one(&id)?;
        }
        Ok(())
    }

    fn push_one(&mut self, id: &PostingId) -> Result<(), Crash> {
        let now = self.now;
        let (posting, mut effect) = self.ledger[id].clone();
        let begin = effect.begin(now, "me", |lease| lease.until > now);
        let Begin::Go { ask_first } = begin else { return Ok(()) };
        self.save(id, &effect)?;
        if ask_first {
            if self.books.contains_key(id) {
                self.count("adopted");
                effect.succeed();
                return self.save(id, &effect);
            }
            if !effect.not_found(now, false) {
                return self.save(id, &effect);
            }
        }
        effect.calling(now);
        self.save(id, &effect)?;
        let fate = self.random.below(5);
        if fate != 0 {
            let same = self.books.get(id).is_none_or(|p| *p == posting);
            assert!(same, "a requestid came with another entry");
            self.books.insert(id.clone(), posting);
        }
        self.port()?;
        match fate {
            0 => _ = effect.fail(now, &Failure::Later { after_s: None }, "503"),
            1 => _ = effect.fail(now, &Failure::Unknown, "no answer"),
            _ => effect.succeed(),
        }
        self.save(id, &effect)
    }

    fn save(&mut self, id: &PostingId, effect: &Effect) -> Result<(), Crash> {
        self.port()?;
        if let Some((_, stored)) = self.ledger.get_mut(id) {
            stored.clone_from(effect);
        }
        self.port()
    }

    pub fn dead(&self) -> BTreeSet<&PostingId> {
        self.ledger.iter().filter(|(_, (_, e))| e.state == EffectState::Dead).map(|(id, _)| id).collect()
    }

    pub fn out(&self, payment: &PaymentId, kind: MovementKind) -> Minor {
        Minor::sum(self.movements.values().filter(|m| m.payment == *payment && m.kind == kind).map(|m| m.recorded))
    }
}
