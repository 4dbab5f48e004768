//! Vesper of the model: the use cases of `functions/src/recovery` in their order, on a table in memory. Every decision is the
//! core's; what stands here is what is read, stored and called, and where a crash or somebody else may come in between.

use super::judge::Evidence;
use super::outside::{Answer, Call, Ehr, HARD, Record, Stripe, Webhook};
use crate::money_properties::DATES;
use crate::random::Random;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use vesper_core::event::{Failure, Success};
use vesper_core::ids::{CustomerId, EventId, InvoiceId, PaymentId};
use vesper_core::matching::{Case, Decision, Look, Stands, decide};
use vesper_core::money::{Currency, Minor};
use vesper_core::payment::{Payment, PaymentState, Step};
use vesper_core::policy::Policy;
use vesper_core::recovery::guard::{IntentNow, facts, forbids_at_first, has_money_left, is_other_money, others_since, would_pay};
use vesper_core::recovery::ladder::{local_date, next_day};
use vesper_core::recovery::steps::{self, Around, Due, Repeat, Try, asks_who_owns_it, claims_stay, due, try_rung};
use vesper_core::recovery::{
    Decline, GuardVerdict, NewCard, OtherMoney, Rearmed, Recovery, RecoveryState, Shown, StopReason, Tell, classify, guard,
};
use vesper_core::world::{Allocation, World};

/// Why a use case did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The process died: what was stored is stored.
    Crash,
    /// Somebody else has changed what it was read from.
    Conflict,
}

/// A write-back that is not done yet.
#[derive(Clone, Debug)]
pub struct Write {
    pub payment: PaymentId,
    pub invoice: InvoiceId,
    pub amount: Minor,
    pub reference: String,
}

/// A row as it was read.
#[derive(Clone, Debug)]
pub struct Read {
    pub recovery: Recovery,
    pub rev: u64,
}

/// What one transaction does to the claims.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Claims {
    Stay,
    Take,
    Go,
}

/// What happened, so that the test can see that it looked at anything.
pub type Tally = BTreeMap<&'static str, u32>;

pub struct Vesper<'t> {
    pub now: Timestamp,
    pub policy: Policy,
    pub stripe: Stripe,
    pub ehr: Ehr,
    pub random: Random,
    pub tally: &'t mut Tally,
    /// Port calls until the process dies.
    pub fuel: Option<u32>,
    pub depth: u32,
    // The table.
    pub world: World,
    pub imported: usize,
    pub payments: BTreeMap<PaymentId, Payment>,
    pub recoveries: BTreeMap<PaymentId, Read>,
    pub claims: BTreeMap<InvoiceId, PaymentId>,
    pub writes: Vec<Write>,
    /// Payments with an open question.
    pub asked: BTreeSet<PaymentId>,
    /// Payments about which a person has answered.
    pub answered: BTreeSet<PaymentId>,
    /// Failed PaymentIntents with an open question.
    pub failed_cards: BTreeSet<PaymentId>,
    pub disputed: BTreeSet<PaymentId>,
    pub is_paused: bool,
    /// Counts every change of what anybody owes or has paid.
    pub version: u64,
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap()
}

enum Verdict {
    Go(Box<Evidence>, Option<String>),
    Stop(StopReason),
    NotNow,
    CannotRead,
}

impl Vesper<'_> {
    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Between any two things that the process does: it may die here, and others may do something.
    fn port(&mut self) -> Result<(), Halt> {
        if let Some(fuel) = &mut self.fuel {
            if *fuel == 0 {
                self.count("crash");
                return Err(Halt::Crash);
            }
            *fuel -= 1;
        }
        if self.depth == 0 && self.random.one_in(14) {
            self.depth += 1;
            let fuel = self.fuel.take();
            self.meanwhile();
            self.fuel = fuel;
            self.depth -= 1;
        }
        Ok(())
    }

    /// A use case until it ends, as often as it meets a conflict, up to eight times.
    pub fn run(&mut self, mut case: impl FnMut(&mut Self) -> Result<(), Halt>) {
        for _ in 0..8 {
            match case(self) {
                Err(Halt::Conflict) => self.count("conflict"),
                Ok(()) | Err(Halt::Crash) => return,
            }
        }
    }

    fn read(&mut self, payment: &PaymentId) -> Result<Option<Read>, Halt> {
        self.port()?;
        Ok(self.recoveries.get(payment).cloned())
    }

    /// One transaction. `version`: what was looked at must not have changed.
    fn commit(&mut self, mut read: Read, claims: Claims, version: Option<u64>) -> Result<Read, Halt> {
        self.port()?;
        let id = read.recovery.payment().clone();
        let stored = self.recoveries.get(&id).map_or(0, |r| r.rev);
        if stored != read.rev || version.is_some_and(|v| v != self.version) {
            return Err(Halt::Conflict);
        }
        let invoices: Vec<InvoiceId> = read.recovery.invoices.iter().map(|(id, _)| id.clone()).collect();
        match claims {
            Claims::Take if invoices.iter().any(|i| self.claims.contains_key(i)) => return Err(Halt::Conflict),
            Claims::Take => {
                self.claims.extend(invoices.into_iter().map(|i| (i, id.clone())));
                read.recovery.claims = true;
            }
            Claims::Go if read.recovery.claims => {
                self.claims.retain(|_, holder| *holder != id);
                read.recovery.claims = false;
            }
            Claims::Go | Claims::Stay => {}
        }
        read.rev += 1;
        self.version += u64::from(version.is_some());
        self.recoveries.insert(id, read.clone());
        Ok(read)
    }

    /// Stores what a step came to, and asks a person when it is to be told.
    fn turned(&mut self, read: Read, tell: Tell, claims: Claims, version: Option<u64>) -> Result<(), Halt> {
        self.turned_and(false, read, tell, claims, version)
    }

    /// The same; `resolves`: in this transaction the open question about the card is closed.
    fn turned_and(&mut self, resolves: bool, read: Read, tell: Tell, claims: Claims, version: Option<u64>) -> Result<(), Halt> {
        let read = self.commit(read, claims, version)?;
        if resolves {
            self.failed_cards.remove(read.recovery.payment());
        }
        if tell != Tell::Nothing {
            self.failed_cards.insert(read.recovery.payment().clone());
        }
        if read.recovery.state != RecoveryState::Waiting {
            self.count(read.recovery.stop_reason.map_or(read.recovery.state.as_str(), StopReason::as_str));
        }
        self.port()
    }

    // -------------------------------------------------------------------- failures and cards

    pub fn failed(&mut self, failure: &Failure, created: Timestamp) -> Result<(), Halt> {
        self.port()?;
        if !self.payments.contains_key(&failure.payment) {
            self.failed_once(failure, created)?;
        }
        // The success came meanwhile, and saw nothing of this yet.
        if self.payments.contains_key(&failure.payment) { self.paid(&failure.payment) } else { Ok(()) }
    }

    fn failed_once(&mut self, failure: &Failure, created: Timestamp) -> Result<(), Halt> {
        match self.read(&failure.payment)? {
            Some(mut read) => {
                if read.recovery.is_news(failure, created) {
                    let tell = read.recovery.failed_again(failure, false, created, &self.policy, self.now);
                    self.turned(read, tell, Claims::Go, None)?;
                }
            }
            None if self.failed_cards.contains(&failure.payment) => {}
            None => self.open(failure, created)?,
        }
        Ok(())
    }

    fn open(&mut self, failure: &Failure, created: Timestamp) -> Result<(), Halt> {
        if classify(failure, false) == Decline::Unknown {
            self.failed_cards.insert(failure.payment.clone());
            return self.port();
        }
        let mut recovery = Recovery::new(failure.clone(), created, false, Vec::new(), false);
        let version = self.version;
        let decision = would_pay(&self.world, &recovery, &self.policy);
        let forbidden = forbids_at_first(&self.world, &decision, &self.policy.retry);
        let barred = if asks_who_owns_it(&recovery, forbidden) {
            self.port()?;
            recovery.owned = self.random.one_in(40);
            recovery.owned.then_some("Checkout owns it")
        } else {
            None
        };
        match recovery.open(&decision, forbidden, barred, &self.policy, self.now) {
            None => {
                self.failed_cards.insert(failure.payment.clone());
                self.port()
            }
            Some(tell) => self.turned(Read { recovery, rev: 0 }, tell, Claims::Stay, Some(version)),
        }
    }

    pub fn card_renewed(&mut self, customer: &CustomerId, card: &NewCard) {
        let of_customer = |r: &&Read| r.recovery.customer() == Some(customer) && r.recovery.is_rearmed_by_a_card();
        let waiting: Vec<PaymentId> =
            self.recoveries.values().filter(of_customer).map(|r| r.recovery.payment().clone()).collect();
        for payment in waiting {
            self.run(|v| v.rearm(&payment, card));
        }
    }

    fn rearm(&mut self, payment: &PaymentId, card: &NewCard) -> Result<(), Halt> {
        let Some(mut read) = self.read(payment)? else { return Ok(()) };
        match read.recovery.rearm(card, &self.policy, self.now) {
            Rearmed::Ignored => Ok(()),
            Rearmed::Kept => self.commit(read, Claims::Stay, None).map(|_| ()),
            Rearmed::Taken(tell) => {
                self.count("re-armed");
                self.turned_and(true, read, tell, Claims::Go, None)
            }
        }
    }

    // -------------------------------------------------------------------- an attempt

    pub fn attempt(&mut self, payment: &PaymentId) {
        self.run(|v| v.attempt_once(payment));
    }

    fn attempt_once(&mut self, payment: &PaymentId) -> Result<(), Halt> {
        let Some(mut read) = self.read(payment)? else { return Ok(()) };
        match due(&read.recovery, self.now) {
            Due::NotYet => return Ok(()),
            Due::Settle => return self.settle(read),
            Due::Ask => return self.ask(read),
            Due::Try => {}
        }
        let around = self.around(Some(&read.recovery))?;
        match try_rung(&read.recovery, &around, &self.policy, self.now) {
            Try::Stop(reason, why) => return self.stop(read, reason, why),
            Try::Turn(next) => {
                let tell = read.recovery.turn(next, self.now);
                return self.turned(read, tell, Claims::Go, None);
            }
            Try::Wait(_) => return self.wait(read, 15 * 60, Claims::Stay),
            Try::NotToday(why) => {
                read.recovery.hold(next_day(self.now, &self.policy.time_zone), why, self.now);
                return self.commit(read, Claims::Stay, None).map(|_| ());
            }
            Try::Claim => {}
        }
        let is_paused = around.is_held;
        let read = if read.recovery.claims { read } else { self.commit(read, Claims::Take, None)? };
        match self.look(&read.recovery)? {
            Verdict::Go(evidence, before) => self.charge(read, Evidence { is_paused, ..*evidence }, before),
            Verdict::Stop(reason) => self.stop(read, reason, "the guard"),
            Verdict::NotNow => self.wait(read, 3600, Claims::Go),
            Verdict::CannotRead => self.wait(read, 15 * 60, Claims::Go),
        }
    }

    fn around(&mut self, recovery: Option<&Recovery>) -> Result<Around, Halt> {
        self.port()?;
        let mut claimed_by = Vec::new();
        for (invoice, _) in recovery.iter().filter(|r| !r.claims).flat_map(|r| &r.invoices) {
            let other = self.claims.get(invoice).filter(|holder| recovery.is_none_or(|r| *holder != r.payment()));
            claimed_by.extend(other.map(|o| self.recoveries[o].recovery.state));
        }
        if !claimed_by.is_empty() {
            self.count("claimed by another");
        }
        Ok(Around { claimed_by, is_shadow: false, is_held: self.is_paused })
    }

    fn stop(&mut self, mut read: Read, reason: StopReason, why: &str) -> Result<(), Halt> {
        let tell = read.recovery.stop(reason, why, self.now);
        self.turned(read, tell, Claims::Go, None)
    }

    fn wait(&mut self, mut read: Read, seconds: i64, claims: Claims) -> Result<(), Halt> {
        read.recovery.hold(after(self.now, seconds), "waits", self.now);
        self.commit(read, claims, None).map(|_| ())
    }

    /// The guard's reads, each with what was true outside at that moment.
    fn look(&mut self, recovery: &Recovery) -> Result<Verdict, Halt> {
        let mut evidence = Evidence::default();
        self.port()?;
        if self.stripe.is_down {
            return Ok(Verdict::CannotRead);
        }
        let intent = self.stripe.intents[recovery.payment()].clone();
        evidence.intent = Some(intent.clone());
        let (version, mut world) = (self.version, self.world.clone());
        evidence.version = version;
        let mut voids = Vec::new();
        for (id, _) in &recovery.invoices {
            self.port()?;
            if self.ehr.is_down {
                return Ok(Verdict::CannotRead);
            }
            let mut invoice = self.ehr.invoices[id].clone();
            evidence.invoices.insert(id.clone(), (invoice.clone(), self.not_in_the_ehr(id)));
            voids.push(invoice.void);
            invoice.seen.seq = u64::MAX;
            world.apply_invoice(invoice);
        }
        let on = |id: &InvoiceId| world.invoice(id).into_iter().flat_map(|f| &f.allocations).map(|a| &a.payment);
        let disputed = recovery.invoices.iter().flat_map(|(id, _)| on(id)).any(|p| self.disputed.contains(p));
        let now = IntentNow { status: intent.status, amount: intent.amount, currency: Currency::USD };
        let mut facts = facts(recovery, &now, &world, &voids, disputed, &self.policy);
        let mut verdict = guard(recovery, &facts);
        if verdict == GuardVerdict::ReadOtherMoney {
            facts.other_money = match self.other_money(recovery, &mut evidence)? {
                Some(found) => found,
                None => return Ok(Verdict::CannotRead),
            };
            verdict = guard(recovery, &facts);
        }
        Ok(match verdict {
            GuardVerdict::Go => Verdict::Go(Box::new(evidence), intent.latest_charge.map(|c| c.to_string())),
            GuardVerdict::Stop { reason, .. } => Verdict::Stop(reason),
            GuardVerdict::NotNow(_) => Verdict::NotNow,
            GuardVerdict::ReadOtherMoney => Verdict::CannotRead,
        })
    }

    /// What of our allocations on an invoice the EHR does not hold yet.
    fn not_in_the_ehr(&self, invoice: &InvoiceId) -> Minor {
        let held = |a: &&Allocation| self.ehr.payments.values().any(|p| p.reference == a.reference);
        let ours = self.world.invoice(invoice).into_iter().flat_map(|f| &f.allocations).filter(|a| !held(a));
        Minor::sum(ours.map(Allocation::net))
    }

    fn other_money(&mut self, recovery: &Recovery, evidence: &mut Evidence) -> Result<Option<OtherMoney>, Halt> {
        self.port()?;
        for (id, payment) in self.payments.iter().filter(|(id, _)| *id != recovery.payment()) {
            let same_house = self.household(payment.success.customer.as_ref()) == self.household(recovery.customer());
            if same_house && has_money_left(payment, self.asked.contains(id)) {
                return Ok(Some(OtherMoney::OnItsWay(id.to_string())));
            }
        }
        self.port()?;
        if self.stripe.is_down {
            return Ok(None);
        }
        let since = others_since(recovery, Timestamp::UNIX_EPOCH);
        let of_customer = self.stripe.intents.iter().filter(|(_, i)| Some(&i.customer) == recovery.customer());
        let others: Vec<_> = of_customer.filter(|(id, i)| *id != recovery.payment() && i.created >= since).collect();
        for (id, other) in others {
            let known = self.payments.get(id).map(|p| p.success.object_created);
            evidence.others.insert(id.clone(), (other.clone(), known.is_some()));
            if is_other_money(recovery, other.status, known) {
                return Ok(Some(OtherMoney::OnItsWay(id.to_string())));
            }
        }
        evidence.others_read = true;
        Ok(Some(OtherMoney::Nothing))
    }

    /// The guarantor's family is one.
    pub fn household(&self, customer: Option<&CustomerId>) -> &'static str {
        if customer.is_some_and(|c| c.as_str() == "cus_3") { "c3" } else { "c1" }
    }

    fn charge(&mut self, mut read: Read, evidence: Evidence, before: Option<String>) -> Result<(), Halt> {
        let (now, today) = (self.now, local_date(self.now, &self.policy.time_zone));
        let Some(_) = read.recovery.begin(now, today, before, after(now, 120)) else {
            return self.stop(read, StopReason::NeedsClient, "there is no card to charge");
        };
        let read = self.commit(read, Claims::Stay, Some(evidence.version))?;
        self.judge(&read.recovery, &evidence);
        self.call(read)
    }

    /// Confirms under the recorded key.
    fn call(&mut self, mut read: Read) -> Result<(), Halt> {
        let attempt = read.recovery.open_attempt().unwrap().clone();
        let id = read.recovery.payment().clone();
        self.port()?;
        let (at, now) = (attempt.at, self.now);
        let said = self.stripe.confirm(&id, &attempt.payment_method, &attempt.key, at, now, &mut self.random);
        self.count("confirm");
        self.port()?;
        match said {
            Call::Answered(Answer::Succeeded) => self.succeeded(read),
            Call::Answered(Answer::Declined(failure)) => self.declined(read, &failure),
            Call::Answered(Answer::Processing | Answer::Other("processing")) => {
                read.recovery.process(now, after(now, 3600));
                self.commit(read, Claims::Stay, None).map(|_| ())
            }
            Call::Answered(Answer::RequiresAction) => self.end(read, "requires_action", StopReason::NeedsClient),
            Call::Answered(Answer::Other("succeeded")) => self.end(read, "succeeded", StopReason::Paid),
            Call::Answered(Answer::Other("canceled")) => self.end(read, "canceled", StopReason::Canceled),
            Call::Answered(Answer::Other(status)) => self.end(read, status, StopReason::NeedsClient),
            Call::Unknown => self.wait(read, 1, Claims::Stay),
            Call::Refused => self.wait(read, 60, Claims::Stay),
        }
    }

    fn ask(&mut self, mut read: Read) -> Result<(), Halt> {
        let attempt = read.recovery.open_attempt().unwrap().clone();
        self.port()?;
        if self.stripe.is_down {
            return self.wait(read, 15 * 60, Claims::Stay);
        }
        let intent = self.stripe.intents[read.recovery.payment()].clone();
        self.count("asked for an outcome");
        match attempt.shown(intent.status, intent.latest_charge.as_ref().map(|c| c.as_str())) {
            Shown::Succeeded => self.succeeded(read),
            Shown::Processing => {
                read.recovery.process(self.now, after(self.now, 3600));
                self.commit(read, Claims::Stay, None).map(|_| ())
            }
            Shown::Declined => self.declined(read, &intent.failure.unwrap()),
            Shown::NeverMade => self.repeat(read),
            Shown::Ended(reason) => self.end(read, intent.status, reason),
        }
    }

    fn repeat(&mut self, mut read: Read) -> Result<(), Halt> {
        let attempt = read.recovery.open_attempt().unwrap().clone();
        let around = self.around(None)?;
        match steps::repeat(&attempt, &around, &self.policy, self.now) {
            Repeat::Over => {
                let tell = read.recovery.never_made(&self.policy, self.now);
                return self.turned(read, tell, Claims::Go, None);
            }
            Repeat::Wait => return self.wait(read, 15 * 60, Claims::Stay),
            Repeat::Guard => {}
        }
        match self.look(&read.recovery)? {
            Verdict::Go(evidence, _) => {
                self.count("repeated");
                read.recovery.hold(after(self.now, 120), "the attempt is made again", self.now);
                let read = self.commit(read, Claims::Stay, Some(evidence.version))?;
                self.judge(&read.recovery, &Evidence { is_paused: around.is_held, ..*evidence });
                self.call(read)
            }
            Verdict::Stop(reason) => self.end(read, "never made", reason),
            Verdict::NotNow => self.wait(read, 3600, Claims::Stay),
            Verdict::CannotRead => self.wait(read, 15 * 60, Claims::Stay),
        }
    }

    fn succeeded(&mut self, mut read: Read) -> Result<(), Halt> {
        read.recovery.succeed(self.now, after(self.now, 60));
        self.turned_and(true, read, Tell::Nothing, Claims::Stay, None)
    }

    fn declined(&mut self, mut read: Read, failure: &Failure) -> Result<(), Halt> {
        self.count(if failure.decline_code.as_deref() == Some(HARD) { "hard decline" } else { "decline" });
        let tell = read.recovery.decline(failure, false, &self.policy, self.now);
        self.turned(read, tell, Claims::Go, None)
    }

    fn end(&mut self, mut read: Read, status: &str, reason: StopReason) -> Result<(), Halt> {
        let tell = read.recovery.end(status, reason, status, &self.policy, self.now);
        self.turned(read, tell, Claims::Go, None)
    }

    // -------------------------------------------------------------------- the payment arrives

    pub fn deliver(&mut self, webhook: &Webhook) {
        match webhook {
            Webhook::Succeeded(success, at) => self.run(|v| v.succeeded_payment(success, *at)),
            Webhook::Failed(failure, at) => self.run(|v| v.failed(failure, *at)),
            Webhook::Card(customer, card) => self.card_renewed(customer, card),
        }
    }

    fn succeeded_payment(&mut self, success: &Success, at: Timestamp) -> Result<(), Halt> {
        self.port()?;
        if !self.payments.contains_key(&success.payment) {
            let (version, decision) = (self.version, self.decided(success, success.amount, at, Look::First));
            self.port()?;
            if version != self.version || self.payments.contains_key(&success.payment) {
                return Err(Halt::Conflict);
            }
            let mut payment = Payment {
                deadline: after(self.now, 48 * 3600),
                unapplied: success.amount,
                charged_at: at,
                first_delivered_at: self.now,
                event: EventId::parse("evt_1").unwrap(),
                success: success.clone(),
                ..crate::money_properties::payment(success.amount.get())
            };
            let step = payment.decide_first(decision, DATES);
            self.store_decided(payment, &step);
        }
        self.port()?;
        self.paid(&success.payment)
    }

    fn decided(&self, success: &Success, amount: Minor, at: Timestamp, look: Look) -> Decision {
        let case = Case { success, amount, local_date: local_date(at, &self.policy.time_zone), look };
        decide(&self.world, &case, &self.policy.matching)
    }

    fn store_decided(&mut self, payment: Payment, step: &Step) {
        payment.check().unwrap();
        let (id, now) = (payment.id().clone(), self.now);
        if payment.decision.question.is_some() {
            self.asked.insert(id.clone());
        }
        for (n, allocate) in &step.allocated {
            let reference = format!("vesper_{id}_{n}");
            let (invoice, amount) = (allocate.invoice.clone(), allocate.amount);
            if !allocate.in_ehr {
                self.writes.push(Write { payment: id.clone(), invoice: invoice.clone(), amount, reference: reference.clone() });
            }
            self.world.apply_allocation(Allocation {
                payment: id.clone(),
                charge: payment.success.charge.clone(),
                invoice,
                client: allocate.client.clone(),
                amount,
                reversed: Minor::ZERO,
                rule: payment.decision.rule,
                category: allocate.category,
                decided_at: now,
                reference,
                typed_in: false,
                shown: false,
                reopened: false,
                closed: false,
            });
        }
        self.version += 1;
        self.payments.insert(id, payment);
    }

    /// Looks at every parked payment again.
    pub fn look_at_parked(&mut self) {
        let parked: Vec<PaymentId> =
            self.payments.values().filter(|p| p.state == PaymentState::Parked).map(|p| p.id().clone()).collect();
        for id in parked {
            let mut payment = self.payments[&id].clone();
            let look = if self.now >= payment.deadline { Look::Deadline } else { Look::Again };
            let decision = self.decided(&payment.success.clone(), payment.to_decide(), payment.charged_at, look);
            if decision.stands != Stands::Parked {
                let step = payment.decide_later(decision, DATES);
                self.store_decided(payment, &step);
            }
        }
    }

    fn paid(&mut self, payment: &PaymentId) -> Result<(), Halt> {
        let read = self.read(payment)?;
        let Some(mut read) = read else {
            self.failed_cards.remove(payment);
            return Ok(());
        };
        let tried = read.recovery.open_attempt().is_some();
        if !read.recovery.paid(self.now, self.now) {
            self.failed_cards.remove(payment);
            return Ok(());
        }
        self.turned_and(true, read, Tell::Nothing, if tried { Claims::Stay } else { Claims::Go }, None)
    }

    fn settle(&mut self, mut read: Read) -> Result<(), Halt> {
        let id = read.recovery.payment().clone();
        let Some(payment) = self.payments.get(&id) else {
            let made_at = read.recovery.attempts.last().map_or(Timestamp::MIN, |a| a.at);
            if self.now.duration_since(made_at) >= SignedDuration::from_secs(3600)
                && !self.stripe.is_down
                && let Some(success) = self.stripe.success(&id)
            {
                self.succeeded_payment(&success, made_at)?;
            }
            read.recovery.next_at = Some(after(self.now, 300));
            return self.commit(read, Claims::Stay, None).map(|_| ());
        };
        if claims_stay(payment, self.writes.iter().any(|w| w.payment == id)) {
            read.recovery.next_at = Some(after(self.now, 3600));
            return self.commit(read, Claims::Stay, None).map(|_| ());
        }
        read.recovery.next_at = None;
        self.commit(read, Claims::Go, None).map(|_| ())
    }

    // -------------------------------------------------------------------- the EHR

    /// Takes in the next records of the feed.
    pub fn import(&mut self, records: usize) {
        if self.ehr.is_down {
            return;
        }
        for record in self.ehr.feed.iter().skip(self.imported).take(records) {
            match record.clone() {
                Record::Client(client) => self.world.apply_client(client),
                Record::Invoice(invoice) => self.world.apply_invoice(invoice),
                Record::Payment(payment) => self.world.apply_ehr_payment(payment),
            };
            self.version += 1;
        }
        self.imported = self.ehr.feed.len().min(self.imported + records);
        self.look_at_parked();
    }

    /// Writes one allocation back; what the EHR refuses is dead, and asked about.
    pub fn write_back(&mut self) {
        if self.ehr.is_down || self.writes.is_empty() {
            return;
        }
        let write = self.writes.remove(0);
        if !self.ehr.pay(&write.invoice, write.amount, vesper_core::records::Method::Card, &write.reference, self.now) {
            self.asked.insert(write.payment);
        }
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.recoveries.values().filter_map(|r| r.recovery.next_at).min()
    }

    /// What the heartbeat does: everything that is due.
    pub fn beat(&mut self) {
        let mut all: Vec<(Timestamp, PaymentId)> =
            self.recoveries.values().filter_map(|r| Some((r.recovery.next_at?, r.recovery.payment().clone()))).collect();
        all.retain(|(at, _)| *at <= self.now);
        all.sort();
        for (_, payment) in all {
            self.attempt(&payment);
        }
        self.look_at_parked();
    }
}
