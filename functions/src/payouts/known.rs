//! Whether the ledger knows what a payout's transactions are about. What it does not know is fetched and decided like a missed
//! event (design.md section 7).
//!
//! Must not: decide, or change anything but through the same use cases as events.

use super::heard;
use crate::app::App;
use crate::failure::Unfinished;
use crate::reconcile::{movements, payments};
use crate::switch;
use jiff::Timestamp;
use std::collections::BTreeMap;
use vesper_adapters::error::{CallError, Class};
use vesper_core::event::{Event, Success, What};
use vesper_core::ids::{ChargeId, EventId, MovementId, PaymentId};
use vesper_core::money::Minor;
use vesper_core::movement::{Movement, MovementKind};
use vesper_core::payment::{Payment, PaymentState};
use vesper_core::payout::{Matched, PayoutRow, PayoutState, RowKind};

/// The answer of a read; None when Stripe does not know the object.
///
/// # Errors
/// When Stripe does not answer.
pub fn if_any<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Err(e) if e.class == Class::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// What the ledger knows of each row of a page.
///
/// # Errors
/// When Stripe or the store does not answer.
pub async fn page(app: &App, mut rows: Vec<PayoutRow>) -> Result<Vec<(PayoutRow, Matched)>, Unfinished> {
    let opened_at = switch::opened_at(app).await?;
    for row in &mut rows {
        name_payment(app, row).await?;
    }
    let read = app.store.payments(rows.iter().filter_map(payment_of).cloned()).await?;
    let known: BTreeMap<PaymentId, Payment> = read.into_iter().map(|r| (r.item.payment.id().clone(), r.item.payment)).collect();
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let matched = of_row(app, &row, &known, opened_at).await?;
        out.push((row, matched));
    }
    Ok(out)
}

/// A row that came without its source does not say whose it is.
async fn name_payment(app: &App, row: &mut PayoutRow) -> Result<(), Unfinished> {
    match &mut row.kind {
        RowKind::Charge { charge, payment: payment @ None } => {
            let now = if_any(app.stripe.charge(charge).await)?;
            *payment = now.and_then(|c| c.payment_intent.or_else(|| PaymentId::parse(c.charge.as_str()).ok()));
        }
        RowKind::Refund { refund, payment: payment @ None, .. } => {
            *payment = if_any(app.stripe.refund(refund).await)?.map(|r| r.payment);
        }
        RowKind::Dispute { dispute, payment: payment @ None, .. } => {
            *payment = if_any(app.stripe.dispute(dispute).await)?.map(|d| d.payment);
        }
        _ => {}
    }
    Ok(())
}

/// The payment whose money a row is about.
const fn payment_of(row: &PayoutRow) -> Option<&PaymentId> {
    match &row.kind {
        RowKind::Charge { payment, .. } | RowKind::Refund { payment, .. } | RowKind::Dispute { payment, .. } => payment.as_ref(),
        _ => None,
    }
}

/// `opened_at`: the opening entry holds the net of everything that is older.
async fn of_row(
    app: &App,
    row: &PayoutRow,
    known: &BTreeMap<PaymentId, Payment>,
    opened_at: Timestamp,
) -> Result<Matched, Unfinished> {
    if let RowKind::Charge { charge, payment: Some(payment) } = &row.kind {
        return of_charge(app, row, charge, payment, known.get(payment)).await;
    }
    // A payment that was told before the switch to live and decided after it is posted whole, so its refund is, too.
    let posted = payment_of(row).and_then(|id| known.get(id)).is_some_and(|p| p.state != PaymentState::BeforeGoLive);
    let old = row.created < opened_at && !posted;
    match &row.kind {
        RowKind::PayoutItself => Ok(Matched::Known),
        // Its net is part of the balance with which the books were opened.
        _ if old => Ok(Matched::BeforeGoLive),
        RowKind::Fee => Ok(Matched::Known),
        RowKind::Refund { refund, payment: Some(payment), back } => {
            of_movement(app, row, MovementKind::Refund, refund, payment, *back).await
        }
        RowKind::Dispute { dispute, payment: Some(payment), back } => {
            of_movement(app, row, MovementKind::Dispute, dispute, payment, *back).await
        }
        RowKind::PayoutBack { payout } => {
            let reversed = app.store.payout(payout).await?.is_some_and(|p| p.item.state == PayoutState::Failed);
            if !reversed {
                heard(app, payout).await?; // Its payout.failed was missed.
            }
            Ok(Matched::Known)
        }
        RowKind::Charge { .. } | RowKind::Refund { .. } | RowKind::Dispute { .. } | RowKind::Other { .. } => {
            Ok(Matched::Unmatched)
        }
    }
}

async fn of_charge(
    app: &App,
    row: &PayoutRow,
    charge: &ChargeId,
    id: &PaymentId,
    known: Option<&Payment>,
) -> Result<Matched, Unfinished> {
    let payment = match known {
        Some(payment) => Some(payment.clone()),
        None => missed(app, id, Some((charge, row))).await?,
    };
    let Some(payment) = payment else { return Ok(Matched::Unmatched) };
    if payment.state == PaymentState::BeforeGoLive {
        return Ok(Matched::BeforeGoLive);
    }
    // Money that was converted is not posted: a person books what it became.
    let same = payment.success.currency == row.currency && payment.received() == row.amount;
    Ok(if same { Matched::Known } else { Matched::Unmatched })
}

/// A payment whose success event never came: fetched, and decided as if it had. None when Stripe knows no such money.
async fn missed(app: &App, id: &PaymentId, row: Option<(&ChargeId, &PayoutRow)>) -> Result<Option<Payment>, Unfinished> {
    let alone = ChargeId::parse(id.as_str()).ok().filter(|_| !id.as_str().starts_with("pi_"));
    let success = match &alone {
        Some(charge) => if_any(app.stripe.charge(charge).await)?.and_then(|c| c.success),
        None => if_any(app.stripe.payment_intent(id).await)?.and_then(|p| p.success),
    };
    let Some(mut success) = success else { return Ok(None) };
    let taken_at = match (row, &success.charge) {
        (Some((charge, row)), _) => {
            success.charge = Some(charge.clone());
            success.balance_transaction = Some(row.id.clone());
            row.created
        }
        // The PaymentIntent may be older than the money.
        (None, Some(charge)) => {
            let charge = if_any(app.stripe.charge(charge).await)?.and_then(|c| c.success);
            charge.map_or(success.object_created, |c| c.object_created)
        }
        (None, None) => success.object_created,
    };
    decide(app, &success, taken_at).await
}

async fn decide(app: &App, success: &Success, taken_at: Timestamp) -> Result<Option<Payment>, Unfinished> {
    let id = &success.payment;
    tracing::info!(payment.id = %id, "found at Stripe: its event never came");
    payments::decide_fetched(app, &fetched(id, taken_at, success), success).await?;
    Ok(app.store.payment(id).await?.map(|r| r.item.payment))
}

/// A payment whose success event never came, by its id; nothing when Stripe knows no such money.
///
/// # Errors
/// When Stripe or the store does not answer.
pub async fn fetch_payment(app: &App, id: &PaymentId) -> Result<(), Unfinished> {
    missed(app, id, None).await.map(|_| ())
}

/// The same by its charge, which says when the money was taken. What the PaymentIntent says of itself (its metadata) wins.
///
/// # Errors
/// When Stripe or the store does not answer.
pub async fn fetch_charge(app: &App, charge: &Success) -> Result<(), Unfinished> {
    let intent = if charge.payment.as_str().starts_with("pi_") {
        if_any(app.stripe.payment_intent(&charge.payment).await)?.and_then(|p| p.success)
    } else {
        None
    };
    let mut success = intent.unwrap_or_else(|| charge.clone());
    success.charge.clone_from(&charge.charge);
    success.balance_transaction.clone_from(&charge.balance_transaction);
    decide(app, &success, charge.object_created).await.map(|_| ())
}

/// The event that should have come.
fn fetched(id: &PaymentId, created: Timestamp, success: &Success) -> Event {
    let event = EventId::parse(&format!("fetched-{id}")).or_else(|_| EventId::parse(id.as_str()));
    let event = event.unwrap_or_else(|_| unreachable!("a payment's id is an id"));
    Event { id: event, created, what: What::PaymentSucceeded(success.clone()) }
}

async fn of_movement(
    app: &App,
    row: &PayoutRow,
    kind: MovementKind,
    id: &MovementId,
    payment: &PaymentId,
    back: bool,
) -> Result<Matched, Unfinished> {
    if is_recorded(app, row, id, payment, back).await? {
        return Ok(Matched::Known);
    }
    if app.store.payment(payment).await?.is_none() {
        missed(app, payment, None).await?;
    }
    let now = match kind {
        MovementKind::Refund => if_any(app.stripe.refund(id).await)?.map(|r| Movement::of_refund(&r)),
        MovementKind::Dispute => if_any(app.stripe.dispute(id).await)?.map(|d| Movement::of_dispute(&d)),
    };
    if let Some(now) = now {
        Box::pin(movements::heard(app, now)).await?;
    }
    let recorded = is_recorded(app, row, id, payment, back).await?;
    Ok(if recorded { Matched::Known } else { Matched::Unmatched })
}

/// Whether the ledger holds what this row says: the money that left, or, once it came back, that it did. A refund that failed
/// has both rows and nothing in the ledger any more.
async fn is_recorded(app: &App, row: &PayoutRow, id: &MovementId, payment: &PaymentId, back: bool) -> Result<bool, Unfinished> {
    let file = app.store.payment_file(payment).await?;
    let movement = file.movements.iter().map(|m| &m.item.movement).find(|m| m.id == *id);
    let Some(movement) = movement.filter(|m| file.payment.is_some() && m.out == m.recorded) else { return Ok(false) };
    if movement.currency != row.currency {
        return Ok(false);
    }
    let moved = if row.amount < Minor::ZERO { row.amount.negated() } else { row.amount };
    Ok(match (movement.kind, back) {
        (MovementKind::Refund, true) => movement.status == "failed",
        (MovementKind::Refund, false) => movement.status == "failed" || movement.recorded == moved,
        (MovementKind::Dispute, true) => movement.reinstated >= moved,
        (MovementKind::Dispute, false) => movement.withdrawn >= moved,
    })
}
