//! Whether the store shows that an event's work is done. Where it cannot tell, the event is worked off once more: every use case is
//! made for that.
//!
//! Must not: change anything, or ask anybody but the store.

use crate::app::App;
use crate::failure::Unfinished;
use crate::reconcile::payments;
use std::collections::BTreeMap;
use vesper_core::event::{Event, Failure, Success, What};
use vesper_core::ids::{CustomerId, EmailHash, PaymentId};
use vesper_core::movement::Movement;
use vesper_core::payment::Payment;
use vesper_core::payout::PayoutState;

/// Payments as they stood when they were read together.
pub(super) type Payments = BTreeMap<PaymentId, Payment>;

/// The payments of whose success these events tell. Where others change one after this, its event is worked off once more at worst.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn payments_of(app: &App, events: impl Iterator<Item = &Event>) -> Result<Payments, Unfinished> {
    let named = events.filter_map(|event| match &event.what {
        What::PaymentSucceeded(success) | What::ChargeOfPayment(success) => Some(success.payment.clone()),
        _ => None,
    });
    let read = app.store.payments(named).await?;
    Ok(read.into_iter().map(|r| (r.item.payment.id().clone(), r.item.payment)).collect())
}

/// See the module.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn is_known(app: &App, event: &Event, payments: &Payments) -> Result<bool, Unfinished> {
    match &event.what {
        What::PaymentSucceeded(success) => Ok(payments.get(&success.payment).is_some_and(|known| is_told(app, known, success))),
        What::ChargeOfPayment(charge) => Ok(payments.get(&charge.payment).is_some_and(|known| is_completed(known, charge))),
        What::Refund(refund) => has_movement(app, &Movement::of_refund(refund)).await,
        What::Dispute(dispute) => has_movement(app, &Movement::of_dispute(dispute)).await,
        What::PaymentFailed(failure) => failed(app, failure).await,
        What::Customer { customer, email, default_card_changed } => {
            let has_recoveries = *default_card_changed && !app.store.recoveries_of(customer).await?.is_empty();
            Ok(!has_recoveries && has_email(app, customer, email.as_ref(), event).await?)
        }
        What::CustomerDeleted { customer } => has_email(app, customer, None, event).await,
        What::CardRenewed { customer, .. } => Ok(app.store.recoveries_of(customer).await?.is_empty()),
        What::Payout { payout, change } => {
            let came_back = matches!(change.as_str(), "failed" | "canceled");
            let state = app.store.payout(payout).await?.map(|p| p.item.state);
            Ok(state == Some(PayoutState::Failed) || (state == Some(PayoutState::TiedOut) && !came_back))
        }
        What::Unreadable { .. } => Ok(!app.store.reviews_about(event.id.as_str()).await?.is_empty()),
        // A nudge; the refunds themselves are listed, too.
        What::ChargeRefunded { .. } | What::Other { .. } => Ok(true),
    }
}

fn is_told(app: &App, known: &Payment, success: &Success) -> bool {
    let told = (known.success.amount, known.success.currency);
    told == (success.amount, success.currency) && !payments::is_wanted_now(app, known)
}

fn is_completed(known: &Payment, charge: &Success) -> bool {
    let says_more = |new: bool, old: bool| new && !old;
    !says_more(charge.charge.is_some(), known.success.charge.is_some())
        && !says_more(charge.balance_transaction.is_some(), known.success.balance_transaction.is_some())
}

pub(super) async fn has_movement(app: &App, told: &Movement) -> Result<bool, Unfinished> {
    let file = app.store.payment_file(&told.payment).await?;
    let Some(row) = file.movements.into_iter().find(|m| m.item.movement.id == told.id) else { return Ok(false) };
    let mut newest = row.item.movement.clone();
    newest.hear(told);
    Ok(file.payment.is_some() && newest == row.item.movement && newest.out == newest.recorded)
}

async fn failed(app: &App, failure: &Failure) -> Result<bool, Unfinished> {
    let id = &failure.payment;
    Ok(app.store.payment(id).await?.is_some()
        || app.store.recovery(id).await?.is_some()
        || !app.store.reviews_about(id.as_str()).await?.is_empty())
}

async fn has_email(app: &App, customer: &CustomerId, email: Option<&EmailHash>, event: &Event) -> Result<bool, Unfinished> {
    let known = app.store.customer(customer).await?.map(|r| r.item);
    Ok(known.is_some_and(|k| {
        let is_newer = k.told_at.is_some_and(|told| told > event.created);
        k.email_known && (is_newer || k.email.as_ref() == email)
    }))
}
