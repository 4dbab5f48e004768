//! Counts what Vesper did with the month: every payment stands in exactly one group.
//!
//! Must not: change anything.

use super::play::Played;
use super::world::{CHECKING, CLEARING, CREDITS, FEES, INCOME, UNIDENTIFIED};
use crate::Failure;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::dynamo::item::{BadItem, Stored as _, item_of};
use vesper_adapters::dynamo::model::{StoredAudit, StoredMovement, StoredPayment, StoredReview};
use vesper_adapters::dynamo::row::Row;
use vesper_core::movement::MovementKind;
use vesper_core::payment::{Payment, PaymentState};
use vesper_core::review::{Reason, Review, Status};

/// How often, and how much, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// How often.
    pub count: u64,
    /// Minor units.
    pub minor: i64,
}

impl Sum {
    fn add(&mut self, minor: i64) {
        self.count = self.count.saturating_add(1);
        self.minor = self.minor.saturating_add(minor);
    }
}

/// A question of one kind: how many, about how much, and how many of them are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// All of them.
    pub all: Sum,
    /// Those that nobody has answered and that did not fall away.
    pub open: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Every payment.
    pub received: Sum,
    /// Matched without a question, by rule.
    pub silent: BTreeMap<u8, Sum>,
    /// Of those, the ones that waited for something first.
    pub silent_after_wait: Sum,
    /// Of those, the ones whose client was found by his e-mail.
    pub silent_by_email: Sum,
    /// Still waiting for an invoice.
    pub parked: Sum,
    /// Payments with a question, by reason.
    pub asked: BTreeMap<String, Asked>,
    /// Questions about something else, by reason.
    pub other_questions: BTreeMap<String, Asked>,
    /// All open questions.
    pub open: u64,
    /// Failed cards that Vesper follows, by where they stand.
    pub recoveries: BTreeMap<String, u64>,
    /// Refunds that left.
    pub refunds: Sum,
    /// Disputes.
    pub disputes: Sum,
    /// Payments written to the EHR, before what was taken back.
    pub written: Sum,
    /// Taken back in the EHR.
    pub taken_back: Sum,
    /// Effects that are not done: EHR, books.
    pub waiting: (u64, u64),
    /// Entries in QuickBooks, and what they debit in all.
    pub posted: Sum,
    /// Client credit that paid later invoices.
    pub credit_applied: Sum,
    /// Payouts that tied out: how many, and what they brought to the bank.
    pub payouts: Sum,
    /// Payouts that came back.
    pub came_back: Sum,
    /// Payouts that wait, or that a person is asked about.
    pub payouts_open: Sum,
    /// The transactions of all payouts.
    pub transactions: u64,
    /// Balances in QuickBooks: the bank account and Stripe's fees.
    pub checking: i64,
    /// As `checking`.
    pub fees: i64,
    /// Balances in QuickBooks: clearing, income, client credit, unidentified.
    pub clearing: i64,
    /// As `clearing`; credits positive.
    pub income: i64,
    /// As `income`.
    pub credits: i64,
    /// As `income`.
    pub unidentified: i64,
    /// Records in the audit trail.
    pub audit: u64,
}

#[derive(Default)]
struct Stored {
    payments: Vec<Payment>,
    reviews: Vec<Review>,
    /// Payments that were parked at first.
    parked_once: BTreeSet<String>,
    tally: Tally,
}

impl Stored {
    fn take(&mut self, row: &Row) -> Result<(), BadItem> {
        match row.kind.as_str() {
            StoredPayment::KIND => self.payments.push(item_of::<StoredPayment>(row)?.item.payment),
            StoredReview::KIND => self.reviews.push(item_of::<StoredReview>(row)?.item.review),
            StoredMovement::KIND => {
                let movement = item_of::<StoredMovement>(row)?.item.movement;
                let sum = match movement.kind {
                    MovementKind::Refund => &mut self.tally.refunds,
                    MovementKind::Dispute => &mut self.tally.disputes,
                };
                sum.add(movement.recorded.get());
            }
            StoredAudit::KIND => {
                let record = item_of::<StoredAudit>(row)?.item.record;
                if record.action == "decided" && record.detail.starts_with("parked") {
                    self.parked_once.insert(record.subject);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Counts.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn tally(played: &Played) -> Result<Tally, Failure> {
    let mut stored = Stored::default();
    let mut bad = None;
    let mut each = |row: Row| {
        if let Err(e) = stored.take(&row) {
            bad.get_or_insert(e);
        }
    };
    let unread = |e: &dyn std::fmt::Display| Failure::problem(format!("the demo could not read its store: {e}"));
    played.stack.app.store.scan(&mut each).await.map_err(|e| unread(&e))?;
    if let Some(e) = bad {
        return Err(unread(&e));
    }
    let Stored { payments, reviews, parked_once, mut tally } = stored;
    let by_id: BTreeMap<&str, &Payment> = payments.iter().map(|p| (p.id().as_str(), p)).collect();
    for payment in &payments {
        count_payment(&mut tally, payment, &parked_once);
    }
    for review in &reviews {
        count_review(&mut tally, review, by_id.get(review.subject.as_str()).copied(), played);
    }
    count_export(&mut tally, &played.exports.1);
    count_outside(&mut tally, played);
    Ok(tally)
}

fn count_payment(tally: &mut Tally, payment: &Payment, parked_once: &BTreeSet<String>) {
    let amount = payment.success.amount.get();
    tally.received.add(amount);
    let decision = &payment.decision;
    if let Some(question) = &decision.question {
        tally.asked.entry(question.reason.as_str().to_owned()).or_default().all.add(amount);
    } else if payment.state == PaymentState::Parked {
        tally.parked.add(amount);
    } else {
        tally.silent.entry(decision.rule).or_default().add(amount);
        if parked_once.contains(payment.id().as_str()) {
            tally.silent_after_wait.add(amount);
        }
        if decision.link.is_some() {
            tally.silent_by_email.add(amount);
        }
    }
}

fn count_review(tally: &mut Tally, review: &Review, payment: Option<&Payment>, played: &Played) {
    let reason = review.question.reason;
    let open = u64::from(review.status == Status::Open);
    tally.open = tally.open.saturating_add(open);
    let by_decision = payment.is_some_and(|p| p.decision.question.as_ref().is_some_and(|q| q.reason == reason));
    let groups = if by_decision { &mut tally.asked } else { &mut tally.other_questions };
    let asked = groups.entry(reason.as_str().to_owned()).or_default();
    asked.open = asked.open.saturating_add(open);
    if !by_decision {
        let at_stripe = || played.world.all.stripe.object(&review.subject)?.get("amount")?.as_i64();
        let minor = match (reason, payment) {
            (Reason::Refunded | Reason::RefundSplit, Some(p)) => Some(p.refunded.get()),
            (Reason::Disputed, Some(p)) => Some(p.disputed.get()),
            (_, Some(p)) => Some(p.success.amount.get()),
            // A card that failed: there is no money yet.
            (_, None) => at_stripe(),
        };
        asked.all.add(minor.unwrap_or(0));
    }
}

fn count_export(tally: &mut Tally, export: &Value) {
    let text = |v: &Value, field: &str| v.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    for effect in export.get("effects").and_then(Value::as_array).into_iter().flatten() {
        if text(effect, "state") != "done" {
            let waiting = if text(effect, "kind") == "write_back" { &mut tally.waiting.0 } else { &mut tally.waiting.1 };
            *waiting = waiting.saturating_add(1);
        }
    }
    for recovery in export.get("recoveries").and_then(Value::as_array).into_iter().flatten() {
        let so_far = tally.recoveries.entry(text(recovery, "state")).or_default();
        *so_far = so_far.saturating_add(1);
    }
    for payout in export.get("payouts").and_then(Value::as_array).into_iter().flatten() {
        let int = |field: &str| payout.get(field).and_then(Value::as_i64).unwrap_or(0);
        let sum = match text(payout, "state").as_str() {
            "tied_out" => &mut tally.payouts,
            "failed" => &mut tally.came_back,
            _ => &mut tally.payouts_open,
        };
        sum.add(int("amount"));
        tally.transactions = tally.transactions.saturating_add(u64::try_from(int("transactions")).unwrap_or(0));
    }
    for invoice in export.get("invoices").and_then(Value::as_array).into_iter().flatten() {
        let int = |a: &Value, field: &str| a.get(field).and_then(Value::as_i64).unwrap_or(0);
        let allocations = invoice.get("allocations").and_then(Value::as_array).into_iter().flatten();
        for applied in allocations.filter(|a| int(a, "rule") == 4) {
            tally.credit_applied.add(int(applied, "amount"));
        }
    }
    tally.audit = export.pointer("/audit/records").and_then(Value::as_u64).unwrap_or(0);
}

fn count_outside(tally: &mut Tally, played: &Played) {
    let all = &played.world.all;
    for payment in all.ehr.written() {
        let int = |field: &str| payment.get(field).and_then(Value::as_i64).unwrap_or(0);
        tally.written.add(int("amount"));
        if int("reversed") > 0 {
            tally.taken_back.add(int("reversed"));
        }
    }
    for entry in all.quickbooks.entries() {
        tally.posted.add(entry.lines.iter().map(|l| l.amount_minor.max(0)).sum());
    }
    let balances = all.quickbooks.balances();
    let of = |account: &str| balances.get(account).copied().unwrap_or(0);
    (tally.checking, tally.fees) = (of(CHECKING), of(FEES));
    tally.clearing = of(CLEARING);
    tally.income = INCOME.iter().map(|a| of(a)).sum::<i64>().saturating_neg();
    tally.credits = of(CREDITS).saturating_neg();
    tally.unidentified = of(UNIDENTIFIED).saturating_neg();
}
