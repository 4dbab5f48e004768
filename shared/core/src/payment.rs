//! A payment through its life: decided once, corrected by people, reduced by refunds and disputes. Each step says what it
//! does to the allocations and to the books; the store commits all of it at once.
//!
//! Must not: decide (that is `matching`), or touch the payer share.

use crate::event::Success;
use crate::ids::{ClientId, EventId, InvoiceId, PaymentId, PostingId};
use crate::matching::{Allocate, Decision, Stands};
use crate::money::Minor;
use crate::movement::{Movement, MovementKind, Taken, take_off};
use crate::posting::{Account, Broken, Lines, Posting};
use crate::records::Category;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where a payment stands (contracts/export.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Something is allocated or credited.
    Decided,
    /// It waits for an invoice.
    Parked,
    /// A person must decide all of it.
    Review,
    /// Older than go_live: explains payouts, nothing else.
    BeforeGoLive,
}

impl PaymentState {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PaymentState::Decided => "decided",
            PaymentState::Parked => "parked",
            PaymentState::Review => "review",
            PaymentState::BeforeGoLive => "before_go_live",
        }
    }
}

/// The payment's own note of one of its allocations. The invoice's side is [`crate::world::Allocation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidShare {
    /// Counts this payment's allocations from 1; part of every id that is made of it.
    pub n: u32,
    /// The invoice.
    pub invoice: InvoiceId,
    /// Whose it is.
    pub client: ClientId,
    /// What was allocated.
    pub amount: Minor,
    /// What of it was taken back.
    pub reversed: Minor,
    /// The income it was posted to.
    pub category: Category,
    /// The rule that allocated it; 0 = a person.
    pub rule: u8,
    /// How often a part of it was taken back: numbers the reversals in the EHR.
    pub reversals: u32,
}

impl PaidShare {
    /// What still stands.
    #[must_use]
    pub fn net(&self) -> Minor {
        self.amount.minus(self.reversed).or_zero()
    }
}

/// A payment as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The money.
    pub success: Success,
    /// The event that decided, or first told of it.
    pub event: EventId,
    /// All events that told of it, the first twenty.
    pub events: Vec<EventId>,
    /// When the charge succeeded: the event's `created`. Its practice-local day is the payment's local date.
    pub charged_at: Timestamp,
    /// When the first success event arrived; the wait for an invoice counts from here.
    pub first_delivered_at: Timestamp,
    /// When a parked payment is asked about at the latest.
    pub deadline: Timestamp,
    /// Where it stands.
    pub state: PaymentState,
    /// What Vesper concluded last.
    pub decision: Decision,
    /// Every allocation it ever had.
    pub shares: Vec<PaidShare>,
    /// What is left of it.
    pub unapplied: Minor,
    /// What of the unapplied is client credit; the rest stands on unidentified.
    pub credit: Minor,
    /// Refunds that left.
    pub refunded: Minor,
    /// Disputed money that left.
    pub disputed: Minor,
    /// Refunds and disputes already taken off.
    pub taken_off: Minor,
    /// Decided in shadow mode.
    pub shadow: bool,
    /// Counts its postings; part of their ids.
    pub postings: u32,
    /// A person took back what its client credit had paid: no rule applies it again.
    #[serde(default)]
    pub credit_by_hand: bool,
}

/// An allocation to be taken back in part, for the EHR and the invoice's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenBack {
    /// Which of the payment's allocations.
    pub n: u32,
    /// How much.
    pub amount: Minor,
    /// The how-many-eth reversal of that allocation.
    pub reversal: u32,
}

/// What a step does besides changing the payment.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// New allocations, by their `n`.
    pub allocated: Vec<(u32, Allocate)>,
    /// Parts of allocations taken back.
    pub taken_back: Vec<TakenBack>,
    /// Entries for the books.
    pub postings: Vec<Posting>,
}

/// The date of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    /// Practice-local day of the charge, refund or dispute.
    pub money: Date,
    /// Practice-local day of the decision.
    pub decision: Date,
}

/// A short id made of texts: the first 20 hex digits of their SHA-256.
#[must_use]
pub fn derived_id(prefix: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let hex: String = digest.iter().take(10).map(|b| format!("{b:02x}")).collect();
    format!("{prefix}_{hex}")
}

impl Payment {
    /// The payment's id.
    #[must_use]
    pub fn id(&self) -> &PaymentId {
        &self.success.payment
    }

    /// What was received.
    #[must_use]
    pub fn received(&self) -> Minor {
        self.success.amount
    }

    /// What is allocated, net of what was taken back.
    #[must_use]
    pub fn allocated(&self) -> Minor {
        Minor::sum(self.shares.iter().map(PaidShare::net))
    }

    /// Invariant 1: allocated + unapplied + what was taken off = received, no part negative.
    ///
    /// # Errors
    /// [`Broken`] when it does not hold.
    pub fn check(&self) -> Result<(), Broken> {
        let parts = [self.allocated(), self.unapplied, self.taken_off];
        let negative = parts.iter().chain([&self.credit, &self.refunded, &self.disputed]).any(|p| p.get() < 0);
        let adds_up = Minor::sum(parts) == self.received() || self.state == PaymentState::BeforeGoLive;
        if adds_up && !negative && self.credit <= self.unapplied {
            return Ok(());
        }
        let [allocated, unapplied, off] = parts;
        let what = format!("{allocated} allocated + {unapplied} unapplied + {off} taken off, received {}", self.received());
        Err(Broken { number: 1, subject: self.id().to_string(), what })
    }

    /// What is still to be decided while it is parked or asked about.
    #[must_use]
    pub fn to_decide(&self) -> Minor {
        self.unapplied
    }

    fn posting_id(&mut self) -> PostingId {
        self.postings = self.postings.saturating_add(1);
        let n = self.postings.to_string();
        let id = derived_id("pst", &[self.id().as_str(), &n]);
        PostingId::parse(&id).unwrap_or_else(|_| unreachable!("a derived id is an id"))
    }

    fn post(&mut self, step: &mut Step, lines: Lines, date: Date) {
        // The number is taken only when something is posted, so that ids do not depend on empty steps.
        let before = self.postings;
        let id = self.posting_id();
        match lines.entry(id, &self.success.payment.clone(), date) {
            Some(posting) => step.postings.push(posting),
            None => self.postings = before,
        }
    }

    /// The money arrived: all of it on unidentified, until something is decided.
    #[must_use]
    pub fn arrive(&mut self, dates: Dates) -> Step {
        let mut step = Step::default();
        let amount = self.received();
        self.post(
            &mut step,
            Lines::new().debit(Account::StripeClearing, amount).credit(Account::Unidentified, amount),
            dates.money,
        );
        step
    }

    /// Stores a decision made at the first look: one entry, dated the day of the charge.
    #[must_use]
    pub fn decide_first(&mut self, decision: Decision, dates: Dates) -> Step {
        let mut step = Step::default();
        let lines = Lines::new().debit(Account::StripeClearing, self.received());
        let lines = self.take_decision(decision, lines, &mut step);
        let unidentified = self.unapplied.minus(self.credit);
        let lines = lines.credit(Account::Unidentified, unidentified).credit(Account::ClientCredits, self.credit);
        self.post(&mut step, lines, dates.money);
        step
    }

    /// Stores a decision about a payment that stood on unidentified: an entry of the day of the decision.
    #[must_use]
    pub fn decide_later(&mut self, decision: Decision, dates: Dates) -> Step {
        let mut step = Step::default();
        let lines = self.take_decision(decision, Lines::new(), &mut step);
        let moved = Minor::sum(step.allocated.iter().map(|(_, a)| a.amount)).plus(self.credit);
        let lines = lines.credit(Account::ClientCredits, self.credit).debit(Account::Unidentified, moved);
        self.post(&mut step, lines, dates.decision);
        step
    }

    fn take_decision(&mut self, decision: Decision, lines: Lines, step: &mut Step) -> Lines {
        self.state = match decision.stands {
            Stands::Decided => PaymentState::Decided,
            Stands::Parked => PaymentState::Parked,
            Stands::Asked => PaymentState::Review,
        };
        self.unapplied = decision.unapplied;
        self.credit = if decision.credit { decision.unapplied } else { Minor::ZERO };
        for allocate in &decision.allocations {
            self.add_share(allocate, decision.rule, step);
        }
        let lines = lines.income(decision.allocations.iter().map(|a| (a.category, a.amount)));
        self.decision = decision;
        lines
    }

    fn add_share(&mut self, allocate: &Allocate, rule: u8, step: &mut Step) {
        let n = self.shares.iter().map(|s| s.n).max().unwrap_or(0).saturating_add(1);
        self.shares.push(PaidShare {
            n,
            invoice: allocate.invoice.clone(),
            client: allocate.client.clone(),
            amount: allocate.amount,
            reversed: Minor::ZERO,
            category: allocate.category,
            rule,
            reversals: 0,
        });
        step.allocated.push((n, allocate.clone()));
    }

    /// A person's answer: allocates a part of what is unapplied; `rest_to_credit` makes the rest client credit.
    #[must_use]
    pub fn answer(&mut self, allocations: &[Allocate], rest_to_credit: bool, dates: Dates) -> Step {
        let mut step = Step::default();
        let allocated = Minor::sum(allocations.iter().map(|a| a.amount));
        let from_credit = self.credit.min(allocated.minus(self.unapplied.minus(self.credit)).or_zero());
        for allocate in allocations {
            self.add_share(allocate, 0, &mut step);
        }
        self.unapplied = self.unapplied.minus(allocated);
        self.credit = self.credit.minus(from_credit);
        let to_credit = if rest_to_credit { self.unapplied.minus(self.credit) } else { Minor::ZERO };
        self.credit = self.credit.plus(to_credit);
        self.state = PaymentState::Decided;
        let lines = Lines::new()
            .income(allocations.iter().map(|a| (a.category, a.amount)))
            .debit(Account::ClientCredits, from_credit)
            .credit(Account::ClientCredits, to_credit)
            .debit(Account::Unidentified, allocated.minus(from_credit).plus(to_credit));
        self.post(&mut step, lines, dates.decision);
        step
    }

    /// A person takes back what is left of these allocations: the money is unidentified again.
    #[must_use]
    pub fn take_back(&mut self, ns: &[u32], dates: Dates) -> Step {
        let mut step = Step::default();
        let mut lines = Lines::new();
        for share in self.shares.iter_mut().filter(|s| ns.contains(&s.n) && s.net().is_positive()) {
            let amount = share.net();
            lines = lines.debit(Account::Income(share.category), amount).credit(Account::Unidentified, amount);
            step.taken_back.push(reverse(share, amount));
        }
        let back = Minor::sum(step.taken_back.iter().map(|t| t.amount));
        self.unapplied = self.unapplied.plus(back);
        self.post(&mut step, lines, dates.decision);
        step
    }

    /// An adjudication or a void left less to pay: the excess becomes client credit. The EHR took it off by itself.
    #[must_use]
    pub fn excess_to_credit(&mut self, n: u32, amount: Minor, dates: Dates) -> Step {
        let mut step = Step::default();
        let mut lines = Lines::new();
        if let Some(share) = self.shares.iter_mut().find(|s| s.n == n && s.net() >= amount) {
            share.reversed = share.reversed.plus(amount);
            lines = lines.debit(Account::Income(share.category), amount).credit(Account::ClientCredits, amount);
            self.unapplied = self.unapplied.plus(amount);
            self.credit = self.credit.plus(amount);
        }
        self.post(&mut step, lines, dates.decision);
        step
    }

    /// Pays invoices from the client credit: entries of their own, of the day of the decision (design.md section 6). The amounts
    /// are no more than the credit.
    #[must_use]
    pub fn apply_credit(&mut self, allocations: &[Allocate], dates: Dates) -> Step {
        let mut step = Step::default();
        let paid = Minor::sum(allocations.iter().map(|a| a.amount));
        for allocate in allocations {
            self.add_share(allocate, crate::credit::RULE, &mut step);
        }
        self.unapplied = self.unapplied.minus(paid);
        self.credit = self.credit.minus(paid);
        let lines = Lines::new().income(allocations.iter().map(|a| (a.category, a.amount)));
        self.post(&mut step, lines.debit(Account::ClientCredits, paid), dates.decision);
        step
    }

    /// A person takes back what client credit paid: it is client credit again, and no rule applies it any more.
    #[must_use]
    pub fn back_to_credit(&mut self, ns: &[u32], dates: Dates) -> Step {
        let mut step = Step::default();
        let mut lines = Lines::new();
        for share in self.shares.iter_mut().filter(|s| ns.contains(&s.n) && s.net().is_positive()) {
            let amount = share.net();
            lines = lines.debit(Account::Income(share.category), amount).credit(Account::ClientCredits, amount);
            step.taken_back.push(reverse(share, amount));
        }
        let back = Minor::sum(step.taken_back.iter().map(|t| t.amount));
        self.unapplied = self.unapplied.plus(back);
        self.credit = self.credit.plus(back);
        self.credit_by_hand |= back.is_positive();
        self.post(&mut step, lines, dates.decision);
        step
    }

    /// A person takes the client credit back: the money is unidentified again.
    #[must_use]
    pub fn uncredit(&mut self, dates: Dates) -> Step {
        let mut step = Step::default();
        let lines = Lines::new().debit(Account::ClientCredits, self.credit).credit(Account::Unidentified, self.credit);
        self.credit = Minor::ZERO;
        self.post(&mut step, lines, dates.decision);
        step
    }

    /// Records what a refund or dispute has moved since it was last recorded. False in the second place: a person must say
    /// from where it is taken (`refund_split`); the money itself is recorded and posted all the same.
    #[must_use]
    pub fn record(&mut self, movement: &mut Movement, dates: Dates) -> (Step, bool) {
        let mut step = Step::default();
        let change = movement.out.minus(movement.recorded);
        if change.is_zero() {
            return (step, true);
        }
        movement.revision = movement.revision.saturating_add(1);
        self.count(movement.kind, change);
        movement.recorded = movement.out;
        if change.is_positive() {
            let known = self.take(movement, change, dates, &mut step);
            return (step, known);
        }
        self.give_back(movement, change.negated(), dates, &mut step);
        (step, true)
    }

    /// Notes what of a refund or dispute had left before the books were opened: the opening balance is without it, so it is counted
    /// and never posted.
    pub fn record_before(&mut self, movement: &mut Movement, out: Minor) {
        movement.recorded = movement.recorded.plus(out);
        self.count(movement.kind, out);
    }

    fn count(&mut self, kind: MovementKind, change: Minor) {
        let total = match kind {
            MovementKind::Refund => &mut self.refunded,
            MovementKind::Dispute => &mut self.disputed,
        };
        *total = total.plus(change);
    }

    fn contra(kind: MovementKind) -> Account {
        match kind {
            MovementKind::Refund => Account::Refunds,
            MovementKind::Dispute => Account::Disputes,
        }
    }

    /// Money leaves. What it takes from allocations goes to the contra account, what it takes from unapplied to where that stands.
    fn take(&mut self, movement: &mut Movement, amount: Minor, dates: Dates, step: &mut Step) -> bool {
        let lines = Lines::new().credit(Account::StripeClearing, amount);
        let nets = self.nets();
        let before_go_live = self.state == PaymentState::BeforeGoLive;
        let taken = if before_go_live { None } else { take_off(amount, movement.names_invoice.as_ref(), &nets, self.unapplied) };
        let Some(taken) = taken else {
            self.post(step, lines.debit(Self::contra(movement.kind), amount), dates.money);
            return before_go_live;
        };
        let lines = self.apply_taken(&taken, movement.kind, lines, step);
        self.post(step, lines, dates.money);
        movement.taken = Some(merge(movement.taken.take(), taken));
        true
    }

    /// A person says from where a refund is taken that was recorded before (`refund_split`).
    #[must_use]
    pub fn split(&mut self, movement: &mut Movement, taken: &Taken, dates: Dates) -> Step {
        let mut step = Step::default();
        let lines = Lines::new().credit(Self::contra(movement.kind), taken.total());
        let lines = self.apply_taken(taken, movement.kind, lines, &mut step);
        self.post(&mut step, lines, dates.decision);
        movement.taken = Some(merge(movement.taken.take(), taken.clone()));
        step
    }

    /// What is left on each invoice: a person may have allocated a second part to the same one.
    fn nets(&self) -> Vec<(InvoiceId, Minor)> {
        let mut nets: Vec<(InvoiceId, Minor)> = Vec::new();
        for share in &self.shares {
            match nets.iter_mut().find(|(invoice, _)| *invoice == share.invoice) {
                Some((_, net)) => *net = net.plus(share.net()),
                None => nets.push((share.invoice.clone(), share.net())),
            }
        }
        nets
    }

    fn apply_taken(&mut self, taken: &Taken, kind: MovementKind, mut lines: Lines, step: &mut Step) -> Lines {
        for (invoice, amount) in &taken.allocations {
            let mut left = *amount;
            for share in self.shares.iter_mut().filter(|s| s.invoice == *invoice) {
                let part = share.net().min(left);
                if part.is_positive() {
                    left = left.minus(part);
                    step.taken_back.push(reverse(share, part));
                }
            }
            lines = lines.debit(Self::contra(kind), *amount);
        }
        let from_unidentified = taken.unapplied.min(self.unapplied.minus(self.credit));
        let from_credit = taken.unapplied.minus(from_unidentified);
        self.unapplied = self.unapplied.minus(taken.unapplied);
        self.credit = self.credit.minus(from_credit);
        self.taken_off = self.taken_off.plus(taken.total());
        lines.debit(Account::Unidentified, from_unidentified).debit(Account::ClientCredits, from_credit)
    }

    /// Money came back (failed refund, reinstated dispute): the posting is reversed, and the money is unapplied.
    /// What waits for a person's word (`refund_split`) was taken from nowhere yet: it goes back first.
    fn give_back(&mut self, movement: &mut Movement, amount: Minor, dates: Dates, step: &mut Step) {
        let contra = Self::contra(movement.kind);
        let taken = movement.taken.take().unwrap_or_default();
        if self.state == PaymentState::BeforeGoLive {
            // What was allocated of it when shadow mode ended is in no book, and belongs to nobody any more: only the money counts.
            self.taken_off = self.taken_off.minus(taken.total());
            self.post(step, Lines::new().debit(Account::StripeClearing, amount).credit(contra, amount), dates.decision);
            return;
        }
        let waiting = movement.recorded.plus(amount).minus(taken.total()).or_zero();
        let from_waiting = amount.min(waiting);
        let unapplied = amount.minus(from_waiting);
        let mut left = unapplied;
        let mut kept = Taken::default();
        let mut reversal = Lines::new().debit(Account::StripeClearing, amount).credit(contra, from_waiting);
        let mut reclass = Lines::new();
        for (invoice, part) in taken.allocations {
            let back = part.min(left);
            left = left.minus(back);
            let category = self.shares.iter().find(|s| s.invoice == invoice).map_or(Category::Other, |s| s.category);
            reversal = reversal.credit(contra, back);
            reclass = reclass.debit(Account::Income(category), back).credit(Account::Unidentified, back);
            if part > back {
                kept.allocations.push((invoice, part.minus(back)));
            }
        }
        kept.unapplied = taken.unapplied.minus(left);
        reversal = reversal.credit(Account::Unidentified, left);
        self.unapplied = self.unapplied.plus(unapplied);
        self.taken_off = self.taken_off.minus(unapplied);
        self.post(step, reversal, dates.decision);
        self.post(step, reclass, dates.decision);
        if kept.total().is_positive() {
            movement.taken = Some(kept);
        }
    }
}

fn reverse(share: &mut PaidShare, amount: Minor) -> TakenBack {
    share.reversed = share.reversed.plus(amount);
    share.reversals = share.reversals.saturating_add(1);
    TakenBack { n: share.n, amount, reversal: share.reversals }
}

fn merge(earlier: Option<Taken>, more: Taken) -> Taken {
    let mut all = earlier.unwrap_or_default();
    all.allocations.extend(more.allocations);
    all.unapplied = all.unapplied.plus(more.unapplied);
    all
}
