//! The simulation: one world, one clock, every payment decided as it would have been.
//!
//! Who drives it moves the clock to the next second in which something happens, hands in the records of that second, then calls
//! [`Engine::after_records`], then hands in its events. What follows a decision is in `records` and `moves`.
//! Must not: decide anything itself (that is `vesper_core::matching`), or write anywhere.

use super::kept::{Kept, Known, Settled};
use super::output::{InOrder, Line, LineShare, Outcome};
use super::summary::{Followed, Summary};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use vesper_adapters::settings::Settings;
use vesper_adapters::stripe::wire::Incoming;
use vesper_core::event::{Event, Success, What};
use vesper_core::ids::{ChargeId, CustomerId, EmailHash, EventId, InvoiceId, MovementId, PaymentId};
use vesper_core::matching::{Case, Decision, Look, Stands, Watch, decide, open::standing};
use vesper_core::money::Minor;
use vesper_core::movement::Movement;
use vesper_core::policy::MatchingPolicy;
use vesper_core::review::Reason;
use vesper_core::world::{Allocation, World};

/// How long only a charge is known before the payment is decided from it (design.md section 4), in seconds.
const CHARGE_WAIT_S: i64 = 3600;

/// How many invoices that were touched last stay whole though they owe nothing: what comes to one often comes at once.
const WHOLE_INVOICES: usize = 16;

/// The EHR reference of allocations in a backtest: a text that no EHR payment has, as nothing is written back.
const NO_REFERENCE: &str = "\u{0}";

/// A payment without a decision: only its charge is known, or it is parked.
#[derive(Debug)]
pub(super) struct Waiting {
    success: Success,
    event: EventId,
    created: Timestamp,
    first_delivery: i64,
    /// What is to be decided: the amount less what was refunded meanwhile.
    pub(super) left: Minor,
    /// Its PaymentIntent has not been seen.
    pub(super) only_charge: bool,
    watch: BTreeSet<Watch>,
    due: i64,
}

/// See the module.
pub struct Engine {
    zone: TimeZone,
    policy: MatchingPolicy,
    livemode: bool,
    pub(super) world: World,
    clock: i64,
    pub(super) known: Kept,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    watchers: BTreeMap<Watch, BTreeSet<u64>>,
    timers: BTreeSet<(i64, u64)>,
    pub(super) woken: BTreeSet<u64>,
    pub(super) movements: HashMap<MovementId, Movement>,
    pub(super) movements_of: HashMap<PaymentId, Vec<MovementId>>,
    customers_told: HashMap<CustomerId, i64>,
    /// The invoices that were touched last.
    touched: VecDeque<InvoiceId>,
    lines: InOrder,
    /// What the run tells at its end.
    pub summary: Summary,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Engine {
        let policy = settings.policy();
        let mut world = World::default();
        // The listing of Stripe's customers counts as complete: the events are all there is.
        world.customers_listed = true;
        Engine {
            zone: policy.time_zone,
            policy: policy.matching,
            livemode: settings.stripe.livemode,
            world,
            clock: i64::MIN,
            known: Kept::default(),
            waiting: BTreeMap::new(),
            watchers: BTreeMap::new(),
            timers: BTreeSet::new(),
            woken: BTreeSet::new(),
            movements: HashMap::new(),
            movements_of: HashMap::new(),
            customers_told: HashMap::new(),
            touched: VecDeque::new(),
            lines: InOrder::default(),
            summary: Summary::default(),
        }
    }

    /// The clock, in unix seconds.
    #[must_use]
    pub const fn clock(&self) -> i64 {
        self.clock
    }

    /// Moves the clock forward; it never goes back.
    pub fn advance(&mut self, to: i64) {
        self.clock = self.clock.max(to);
    }

    /// When time alone makes something happen next.
    #[must_use]
    pub fn next_due(&self) -> Option<i64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next line that nothing before it holds up.
    pub fn next_line(&mut self) -> Option<Line> {
        self.lines.next_ready()
    }

    /// After all records of a second: what they wake, then what is due.
    pub fn after_records(&mut self) {
        self.look_again();
        self.look_at_due();
    }

    /// Takes an event.
    pub fn event(&mut self, incoming: Incoming) {
        self.summary.events += 1;
        let Event { id, created, what } = incoming.event;
        if incoming.livemode != self.livemode {
            self.of_other_mode(id, what);
            return;
        }
        match what {
            What::PaymentSucceeded(success) => self.succeeded(id, created, success),
            What::ChargeOfPayment(success) => self.charged(id, created, success),
            What::Refund(refund) => self.movement(Movement::of_refund(&refund)),
            What::Dispute(dispute) => self.movement(Movement::of_dispute(&dispute)),
            What::Customer { customer, email, .. } => self.customer(&customer, email, created),
            What::CustomerDeleted { customer } => self.customer(&customer, None, created),
            What::PaymentFailed(failure) => self.summary.follow(Followed::CardFailed, failure.amount),
            What::Unreadable { .. } => self.summary.review(Reason::UnreadableEvent),
            // charge.refunded only says that refunds are to be listed; here they come as events of their own.
            What::ChargeRefunded { .. } | What::CardRenewed { .. } | What::Payout { .. } | What::Other { .. } => {
                self.summary.passed_events += 1;
            }
        }
        self.after_records();
    }

    // ---------------------------------------------------------------- payments

    fn of_other_mode(&mut self, event: EventId, what: What) {
        self.summary.passed_events += 1;
        let (What::PaymentSucceeded(success) | What::ChargeOfPayment(success)) = what else { return };
        if self.known.contains(&success.payment) {
            return;
        }
        self.known.put(&success.payment, &Known::Ignored);
        let place = self.lines.place();
        let line = Line {
            payment: success.payment,
            event,
            customer: success.customer,
            amount: success.amount,
            currency: success.currency,
            outcome: Outcome::Ignored,
            rule: None,
            allocations: Vec::new(),
            unapplied: Minor::ZERO,
            review: None,
            why: "the event is of the other livemode".to_owned(),
        };
        self.write(place, line);
    }

    fn succeeded(&mut self, event: EventId, created: Timestamp, mut success: Success) {
        match self.known.get(&success.payment) {
            None => {
                let place = self.arrive(event, created, success, false);
                self.first_look(place);
            }
            Some(Known::Waiting(place)) if self.waiting.get(&place).is_some_and(|w| w.only_charge) => {
                if let Some(waiting) = self.waiting.get_mut(&place) {
                    success.charge = success.charge.take().or_else(|| waiting.success.charge.take());
                    waiting.left = success.amount;
                    waiting.only_charge = false;
                    (waiting.success, waiting.event, waiting.created) = (success, event, created);
                }
                self.first_look(place);
            }
            Some(_) => self.rule_1(&success),
        }
    }

    /// A charge.* event of a payment: completes it, or tells of it first.
    fn charged(&mut self, event: EventId, created: Timestamp, success: Success) {
        if self.known.contains(&success.payment) {
            self.complete(&success);
        } else {
            self.arrive(event, created, success, true);
        }
    }

    fn arrive(&mut self, event: EventId, created: Timestamp, success: Success, only_charge: bool) -> u64 {
        let place = self.lines.place();
        self.known.put(&success.payment, &Known::Waiting(place));
        let due = self.clock.saturating_add(if only_charge { CHARGE_WAIT_S } else { self.wait_s() });
        let left = success.amount;
        let (first_delivery, watch) = (self.clock, BTreeSet::new());
        self.waiting.insert(place, Waiting { success, event, created, first_delivery, left, only_charge, watch, due });
        self.timers.insert((due, place));
        place
    }

    fn wait_s(&self) -> i64 {
        i64::from(self.policy.wait_for_invoice_h) * 3600
    }

    /// Rule 1: the payment is known. Another amount or currency is a question; the first stands.
    fn rule_1(&mut self, success: &Success) {
        self.summary.repeated += 1;
        let first = match self.known.get(&success.payment) {
            Some(Known::Waiting(place)) => self.waiting.get(&place).map(|w| (w.success.amount, w.success.currency)),
            Some(Known::Settled(settled)) => Some((settled.amount, settled.currency)),
            _ => None,
        };
        if first.is_some_and(|first| first != (success.amount, success.currency)) {
            self.summary.review(Reason::ChangedPayment);
        }
        self.complete(success);
    }

    /// Learns the charge of a payment that came without it.
    fn complete(&mut self, success: &Success) {
        let Some(charge) = success.charge.clone() else { return };
        let place = match self.known.get(&success.payment) {
            Some(Known::Waiting(place)) => place,
            Some(Known::Settled(mut settled)) if !settled.charge_known => {
                settled.charge_known = true;
                self.charge_of_allocations(&success.payment, &charge, &settled);
                self.known.put(&success.payment, &Known::Settled(settled));
                return;
            }
            _ => return,
        };
        let Some(waiting) = self.waiting.get_mut(&place).filter(|w| w.success.charge.is_none()) else { return };
        let watch = Watch::EhrReference(charge.as_str().to_owned());
        waiting.success.charge = Some(charge);
        if !waiting.only_charge {
            waiting.watch.insert(watch.clone());
            self.watchers.entry(watch).or_default().insert(place);
        }
    }

    fn charge_of_allocations(&mut self, payment: &PaymentId, charge: &ChargeId, settled: &Settled) {
        for (invoice, _) in &settled.shares {
            let ours = self.world.allocations_mut(invoice).into_iter().flatten().filter(|a| a.payment == *payment);
            ours.for_each(|a| a.charge = Some(charge.clone()));
            self.check_invoice(invoice);
        }
    }

    fn first_look(&mut self, place: u64) {
        let Some(waiting) = self.waiting.get_mut(&place) else { return };
        let payment = waiting.success.payment.clone();
        self.look(place, Look::First);
        self.early_movements(&payment);
    }

    // ---------------------------------------------------------------- looks

    /// Looks at a payment and does what is concluded.
    fn look(&mut self, place: u64, look: Look) {
        let Some(waiting) = self.waiting.get(&place) else { return };
        let opened = self.world.unpack_for(&waiting.success);
        let case = Case {
            success: &waiting.success,
            amount: waiting.left,
            local_date: waiting.created.to_zoned(self.zone.clone()).date(),
            look,
        };
        let decision = decide(&self.world, &case, &self.policy);
        if let (Some(client), Some(customer)) = (decision.link.clone(), waiting.success.customer.clone())
            && self.world.own_link(&customer) != Some(&client)
        {
            self.summary.follow(Followed::Link, Minor::ZERO);
            self.world.apply_link(customer.clone(), client);
            self.wake(&Watch::Customer(customer));
            self.woken.remove(&place);
        }
        match decision.stands {
            Stands::Parked => self.park(place, decision.watch),
            Stands::Decided | Stands::Asked => self.settle(place, decision),
        }
        for invoice in opened {
            self.put_away_later(&invoice);
        }
    }

    /// Wakes who waits for this.
    pub(super) fn wake(&mut self, watch: &Watch) {
        if let Some(places) = self.watchers.get(watch) {
            self.woken.extend(places);
        }
    }

    /// Whether any payment waits for a record of a client: `Watch::Client` is the first of its kind in order.
    pub(super) fn clients_are_watched(&self) -> bool {
        matches!(self.watchers.first_key_value(), Some((Watch::Client(_), _)))
    }

    /// Looks again at what was woken, in order of first delivery.
    fn look_again(&mut self) {
        while let Some(place) = self.woken.pop_first() {
            if self.waiting.get(&place).is_some_and(|w| !w.only_charge) {
                self.look(place, Look::Again);
            }
        }
    }

    /// Looks at what is due, in order of first delivery, and at what that wakes.
    fn look_at_due(&mut self) {
        while self.timers.first().is_some_and(|(at, _)| *at <= self.clock) {
            let later = self.timers.split_off(&(self.clock.saturating_add(1), 0));
            let due = std::mem::replace(&mut self.timers, later);
            let places: BTreeSet<u64> = due.into_iter().map(|(_, place)| place).collect();
            for place in places {
                self.time_is_up(place);
            }
            self.look_again();
        }
    }

    fn time_is_up(&mut self, place: u64) {
        let deadline = self.wait_s();
        let Some(waiting) = self.waiting.get_mut(&place) else { return };
        if !waiting.only_charge {
            self.look(place, Look::Deadline);
            return;
        }
        // The PaymentIntent did not come: the charge decides. The wait for an invoice began with it.
        waiting.only_charge = false;
        waiting.due = waiting.first_delivery.saturating_add(deadline);
        self.timers.insert((waiting.due, place));
        self.first_look(place);
    }

    fn park(&mut self, place: u64, watch: BTreeSet<Watch>) {
        self.unwatch(place);
        for one in &watch {
            self.watchers.entry(one.clone()).or_default().insert(place);
        }
        let Some(waiting) = self.waiting.get_mut(&place) else { return };
        waiting.watch = watch;
        // The charge may have waited as long as a payment may.
        let due = waiting.first_delivery.saturating_add(i64::from(self.policy.wait_for_invoice_h) * 3600);
        self.timers.remove(&(waiting.due, place));
        waiting.due = due;
        self.timers.insert((due, place));
    }

    fn unwatch(&mut self, place: u64) {
        let Some(waiting) = self.waiting.get_mut(&place) else { return };
        for watch in std::mem::take(&mut waiting.watch) {
            if let Some(places) = self.watchers.get_mut(&watch) {
                places.remove(&place);
                if places.is_empty() {
                    self.watchers.remove(&watch);
                }
            }
        }
    }

    // ---------------------------------------------------------------- decisions

    fn settle(&mut self, place: u64, decision: Decision) {
        self.unwatch(place);
        self.woken.remove(&place);
        let Some(waiting) = self.waiting.remove(&place) else { return };
        self.timers.remove(&(waiting.due, place));
        let payment = waiting.success.payment.clone();
        let settled = Settled {
            amount: waiting.success.amount,
            currency: waiting.success.currency,
            shares: decision.allocations.iter().map(|a| (a.invoice.clone(), a.amount)).collect(),
            unapplied: decision.unapplied,
            taken_off: waiting.success.amount.minus(waiting.left),
            charge_known: waiting.success.charge.is_some(),
        };
        self.check_sums(&payment, &settled);
        self.known.put(&payment, &Known::Settled(settled));
        self.allocate(&waiting, &decision);
        let line = line_of(waiting, decision);
        self.write(place, line);
    }

    fn allocate(&mut self, waiting: &Waiting, decision: &Decision) {
        // The end of the second: the records of the same second came first, and show nothing that was decided in it.
        let decided_at = Timestamp::new(self.clock, 999_999_999).unwrap_or(waiting.created);
        for made in &decision.allocations {
            self.world.apply_allocation(Allocation {
                payment: waiting.success.payment.clone(),
                charge: waiting.success.charge.clone(),
                invoice: made.invoice.clone(),
                client: made.client.clone(),
                amount: made.amount,
                reversed: Minor::ZERO,
                rule: decision.rule,
                category: made.category,
                decided_at,
                reference: NO_REFERENCE.to_owned(),
                typed_in: true,
                shown: false,
                reopened: false,
                closed: false,
            });
            self.check_invoice(&made.invoice);
        }
    }

    fn write(&mut self, place: u64, line: Line) {
        self.summary.line(&line);
        let payment = line.payment.clone();
        if !self.lines.fill(place, line) {
            self.summary.broke(3, payment.as_str(), "decided twice");
        }
    }

    /// Invariant 1.
    pub(super) fn check_sums(&mut self, payment: &PaymentId, settled: &Settled) {
        self.summary.sums_checked += 1;
        let allocated = Minor::sum(settled.shares.iter().map(|(_, net)| *net));
        let parts = [allocated, settled.unapplied, settled.taken_off];
        if Minor::sum(parts) != settled.amount || parts.iter().any(|p| *p < Minor::ZERO) {
            let [allocated, unapplied, off] = parts;
            let what = format!("{allocated} allocated + {unapplied} unapplied + {off} taken off, received {}", settled.amount);
            self.summary.broke(1, payment.as_str(), &what);
        }
    }

    /// Invariant 2, and puts invoices away that owe nothing and were not touched for a while.
    pub(super) fn check_invoice(&mut self, id: &InvoiceId) {
        let Some(standing) = self.world.invoice(id).and_then(standing) else { return };
        self.summary.shares_checked += 1;
        if !standing.share.adds_up() {
            self.summary.broke(2, id.as_str(), "the client share does not add up");
        }
        self.put_away_later(id);
    }

    /// Puts an invoice away once as many others were touched after it, if it owes nothing then.
    pub(super) fn put_away_later(&mut self, id: &InvoiceId) {
        if self.touched.back() == Some(id) {
            return;
        }
        self.touched.push_back(id.clone());
        if self.touched.len() > WHOLE_INVOICES
            && let Some(first) = self.touched.pop_front()
            && !self.touched.contains(&first)
        {
            self.world.pack(&first);
        }
    }

    // ---------------------------------------------------------------- customers

    /// Learns a customer's e-mail; an older word than the known one is passed over, as events come in any order.
    fn customer(&mut self, customer: &CustomerId, email: Option<EmailHash>, created: Timestamp) {
        let created = created.as_second();
        match self.customers_told.get_mut(customer) {
            Some(told) if *told > created => return,
            Some(told) => *told = created,
            None => {
                self.customers_told.insert(customer.clone(), created);
            }
        }
        let brings = email.is_some();
        self.world.apply_customer(customer, email);
        if brings {
            self.wake(&Watch::Customer(customer.clone()));
        }
    }

    /// What is told at the end.
    #[must_use]
    pub fn finish(mut self) -> Summary {
        if self.lines.held() > 0 {
            self.summary.broke(3, "the run", "a payment was left without a decision");
        }
        self.summary
    }
}

fn line_of(waiting: Waiting, decision: Decision) -> Line {
    let outcome = match (&decision.question, decision.allocations.as_slice()) {
        (Some(_), _) => Outcome::Review,
        (None, _) if decision.credit => Outcome::Credit,
        (None, [one]) => {
            if one.closes {
                Outcome::Matched
            } else {
                Outcome::Partial
            }
        }
        (None, _) => Outcome::Split,
    };
    Line {
        payment: waiting.success.payment,
        event: waiting.event,
        customer: waiting.success.customer,
        amount: waiting.success.amount,
        currency: waiting.success.currency,
        outcome,
        rule: Some(decision.rule),
        allocations: decision.allocations.into_iter().map(|a| LineShare { invoice: a.invoice, amount: a.amount }).collect(),
        unapplied: decision.unapplied,
        review: decision.question.map(|q| q.reason),
        why: decision.why,
    }
}
