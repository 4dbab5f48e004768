//! Refunds and disputes that wait for a person's word from where they are taken (`refund_split`), while the payment's other money
//! moves: what becomes free goes to them first, and the question offers what can still be said.
//!
//! Must not: store anything by itself, or ask anew.

use crate::changes::Changes;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{StoredMovement, StoredReview};
use vesper_adapters::dynamo::store::RowRef;
use vesper_core::ids::InvoiceId;
use vesper_core::money::Minor;
use vesper_core::movement::Taken;
use vesper_core::payment::{Dates, PaidShare, Payment};
use vesper_core::review::{Answer, Reason, Status};

/// The ways to take an amount from one allocation, or from one after the other, oldest first, and at last from what is unapplied.
pub(crate) fn ways(payment: &Payment, amount: Minor) -> Vec<Answer> {
    let nets: Vec<&PaidShare> = payment.shares.iter().filter(|s| s.net().is_positive()).collect();
    let one = nets.iter().filter(|s| s.net() >= amount).map(|s| vec![(s.invoice.clone(), amount)]);
    let mut left = amount;
    let mut in_order: Vec<(InvoiceId, Minor)> = Vec::new();
    for share in &nets {
        let part = share.net().min(left);
        left = left.minus(part);
        if part.is_positive() {
            in_order.push((share.invoice.clone(), part));
        }
    }
    let mut all: Vec<Answer> = one.map(|allocations| Answer::TakeBack { allocations, unapplied: Minor::ZERO }).collect();
    if (in_order.len() > 1 || left.is_positive()) && left <= payment.unapplied {
        all.push(Answer::TakeBack { allocations: in_order, unapplied: left });
    }
    all
}

/// What has just become free of a payment goes first to the refunds and disputes that wait: they take the unapplied part when they
/// are not more than that (design.md section 4), so that nobody allocates money again that has left. `reviews` is all that was
/// ever asked about the payment.
pub(crate) fn take_what_waits(
    changes: &mut Changes<'_>,
    payment: &mut Payment,
    movements: &mut [Read<StoredMovement>],
    reviews: &[Read<StoredReview>],
    dates: Dates,
) {
    for row in movements {
        let waiting = row.item.movement.waiting();
        if !waiting.is_positive() || waiting > payment.unapplied {
            continue;
        }
        let taken = Taken { allocations: Vec::new(), unapplied: waiting };
        let step = payment.split(&mut row.item.movement, &taken, dates);
        changes.allocate(payment, &step);
        changes.unit.update(row);
        for review in reviews.iter().filter(|r| asks_from_where(r, &row.item)) {
            changes.close_review(review, "it was taken from what became free of the payment");
        }
    }
}

/// What still waits for that word can be taken from somewhere else now.
pub(crate) fn offer_splits(
    changes: &mut Changes<'_>,
    payment: &Payment,
    movements: &[Read<StoredMovement>],
    reviews: &[Read<StoredReview>],
) {
    for row in movements.iter().filter(|m| m.item.movement.waiting().is_positive()) {
        for review in reviews.iter().filter(|r| asks_from_where(r, &row.item)) {
            let mut review = review.clone();
            review.item.review.question.answers = ways(payment, row.item.movement.waiting());
            changes.unit.update(&review);
        }
    }
}

/// The open question from where this refund or dispute is taken.
fn asks_from_where(read: &Read<StoredReview>, movement: &StoredMovement) -> bool {
    let review = &read.item.review;
    let open = review.status == Status::Open && review.question.reason == Reason::RefundSplit;
    open && is_about(review.about.as_deref(), movement)
}

/// Whether `about` names this refund or dispute: by its id, or by its row.
pub(crate) fn is_about(about: Option<&str>, movement: &StoredMovement) -> bool {
    let Some(about) = about else { return false };
    let place = || serde_json::from_str::<RowRef>(about).ok();
    movement.movement.id.as_str() == about || place().is_some_and(|place| place == RowRef::of(movement))
}
