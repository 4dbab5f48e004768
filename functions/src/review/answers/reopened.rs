//! Answers about refunds and disputes: from where a refund is taken, and what becomes of what it re-opened.
//!
//! Must not: move money that did not leave; that was recorded before anybody was asked.

use super::doing::Doing;
use super::money::{Money, money_of};
use super::{Tried, refuse};
use crate::changes::Ask;
use crate::reconcile::splits;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{BackReason, StoredMovement, StoredReview};
use vesper_core::ids::InvoiceId;
use vesper_core::money::Minor;
use vesper_core::movement::{MovementKind, Taken};
use vesper_core::review::{Answer, Question, Reason, Review, Status};

/// `re_bill` and `write_off`: the re-opened invoice is one like any other again. Written off, the EHR's own entry will close it.
pub(super) async fn let_go(doing: &mut Doing<'_>, read: &Read<StoredReview>, look_again: bool) -> Tried {
    let Some(mut money) = money_of(doing, read, BTreeSet::new()).await? else { return Ok(Ok(())) };
    if release(doing, read, &mut money, look_again) { Ok(money.store(doing)) } else { Ok(Ok(())) }
}

/// The invoices that a refund or dispute re-opened are candidates again once its review is answered (design.md section 4, "What is
/// open"). True when there were any.
pub(super) fn release(doing: &mut Doing<'_>, read: &Read<StoredReview>, money: &mut Money, look_again: bool) -> bool {
    let review = &read.item.review;
    if !matches!(review.question.reason, Reason::Refunded | Reason::Disputed) {
        return false;
    }
    let taken = taken_by(review, &money.movements);
    // What another refund or dispute re-opened besides waits for the answer to its own question.
    let others = money.reviews.iter().map(|r| &r.item.review).filter(|r| r.id != review.id && r.status == Status::Open);
    let others = others.filter(|r| matches!(r.question.reason, Reason::Refunded | Reason::Disputed));
    let held: BTreeSet<InvoiceId> = others.flat_map(|r| taken_by(r, &money.movements)).collect();
    let payment = money.row.item.payment.id();
    let mut any = false;
    for row in &mut money.loaded.allocations {
        let allocation = &mut row.item.allocation;
        let of_it = (taken.is_empty() || taken.contains(&allocation.invoice)) && !held.contains(&allocation.invoice);
        if allocation.payment == *payment && allocation.reopened && of_it {
            allocation.reopened = false;
            any = true;
            if look_again {
                let invoice = money.loaded.world.invoice(&allocation.invoice).and_then(|f| f.invoice.as_ref());
                doing.freed.insert(invoice.map_or_else(|| allocation.client.clone(), |i| i.client.clone()));
            }
            doing.changes.unit.update(row);
        }
    }
    any
}

/// `refund_split`: a person says from where a refund that was recorded is taken; then what it re-opened is asked about.
pub(super) async fn split(doing: &mut Doing<'_>, read: &Read<StoredReview>, taken: Taken) -> Tried {
    let Some(mut money) = money_of(doing, read, BTreeSet::new()).await? else { return Ok(refuse("its payment is not known")) };
    let found = movement_of(read.item.review.about.as_deref(), &money.movements);
    let Some(mut movement) = found.cloned() else { return Ok(refuse("the refund is not known any more")) };
    if movement.item.movement.waiting() != taken.total() {
        return Ok(refuse("the refund is not what it was when this was asked"));
    }
    let payment = &money.row.item.payment;
    let fits =
        |(invoice, amount): &(InvoiceId, Minor)| payment.shares.iter().any(|s| s.invoice == *invoice && s.net() >= *amount);
    if !taken.allocations.iter().all(fits) || taken.unapplied > payment.unapplied {
        return Ok(refuse("less of the payment is left there than this answer takes back"));
    }
    let dates = money.dates;
    let step = money.payment().split(&mut movement.item.movement, &taken, dates);
    let (reason, back, why) = match movement.item.movement.kind {
        MovementKind::Refund => (Reason::Refunded, BackReason::Refund, "the refund re-opened what it took back"),
        MovementKind::Dispute => (Reason::Disputed, BackReason::Dispute, "the dispute re-opened what it took back"),
    };
    let on = doing.app.local_date(movement.item.movement.created);
    money.note_taken_back(doing, &step, back, on);
    // What was taken back stays no candidate until its review is answered.
    doing.freed.clear();
    doing.changes.unit.update(&movement);
    if !step.taken_back.is_empty() {
        let question = Question::new(reason, vec![Answer::ReBill, Answer::WriteOff], why);
        let payment = money.row.item.payment.id();
        let salt = movement.item.movement.id.as_str();
        let about = Some(salt.to_owned());
        doing.changes.ask(Ask { subject: payment.as_str(), payment: Some(payment), question, salt, about }).await?;
    }
    Ok(money.store(doing))
}

/// The invoices from which the refund or dispute of a review was taken.
fn taken_by(review: &Review, movements: &[Read<StoredMovement>]) -> BTreeSet<InvoiceId> {
    let movement = movement_of(review.about.as_deref(), movements);
    let taken = movement.and_then(|m| m.item.movement.taken.as_ref());
    taken.into_iter().flat_map(|t| &t.allocations).map(|(invoice, _)| invoice.clone()).collect()
}

/// The refund or dispute that `about` names, by its row or by its id.
fn movement_of<'m>(about: Option<&str>, movements: &'m [Read<StoredMovement>]) -> Option<&'m Read<StoredMovement>> {
    movements.iter().find(|m| splits::is_about(about, &m.item))
}
