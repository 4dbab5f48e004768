//! Names what explains a difference between Stripe and the ledger: the movements of both since the last night that agreed, one by
//! one. Read only when there is a difference.
//!
//! Must not: decide or change anything.

use super::ledger::Scan;
use crate::app::App;
use crate::failure::Unfinished;
use crate::payouts;
use jiff::Timestamp;
use std::collections::BTreeMap;
use vesper_adapters::dynamo::item::{BadItem, Stored as _, item_of};
use vesper_adapters::dynamo::model::{StoredMovement, StoredPayment};
use vesper_adapters::dynamo::row::Row;
use vesper_adapters::stripe::client::Place;
use vesper_core::ids::PaymentId;
use vesper_core::money::Minor;
use vesper_core::payment::PaymentState;
use vesper_core::payout::Matched;
use vesper_core::proof::{Cause, compare, subject_of};

/// Pages of balance transactions that are looked through.
const PAGES_MAX: u32 = 50;

/// What differs since `window`, at most what is worth naming.
///
/// # Errors
/// When Stripe or the store does not answer.
pub(super) async fn differences(app: &App, window: Timestamp, scan: &Scan) -> Result<Vec<Cause>, Unfinished> {
    let stripe = at_stripe(app, window).await?;
    let mut ledger = in_ledger(app, window).await?;
    // What is on its way is in neither.
    for payment in scan.unsettled.iter().filter(|p| !stripe.contains_key(p.payment.as_str())) {
        if is_on_its_way(app, &payment.payment).await? {
            ledger.remove(payment.payment.as_str());
        }
    }
    let mut causes = Vec::new();
    for cause in compare(&stripe, &ledger) {
        if !is_older(app, &cause, window).await? {
            causes.push(cause);
        }
    }
    Ok(causes)
}

async fn is_on_its_way(app: &App, payment: &PaymentId) -> Result<bool, Unfinished> {
    let known = app.store.payment(payment).await?.and_then(|p| p.item.payment.success.charge);
    let Some(charge) = known else { return Ok(false) };
    let now = payouts::if_any(app.stripe.charge(&charge).await)?.and_then(|c| c.success);
    Ok(now.is_some_and(|s| s.balance_transaction.is_none()))
}

/// A payment that the ledger took shortly before the window, and Stripe's balance within it, is no difference.
async fn is_older(app: &App, cause: &Cause, window: Timestamp) -> Result<bool, Unfinished> {
    let Cause::OnlyAtStripe { subject, amount } = cause else { return Ok(false) };
    let Ok(id) = PaymentId::parse(subject) else { return Ok(false) };
    let known = app.store.payment(&id).await?.map(|p| p.item.payment);
    Ok(known.is_some_and(|p| p.charged_at < window && p.received() == *amount && p.state != PaymentState::BeforeGoLive))
}

async fn at_stripe(app: &App, window: Timestamp) -> Result<BTreeMap<String, Minor>, Unfinished> {
    let mut sums: BTreeMap<String, Minor> = BTreeMap::new();
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let place = Place { since: window, after: after.as_deref() };
        let page = app.stripe.balance_page(app.settings.practice.currency, place).await?;
        let rows = page.items.into_iter().map(|r| r.row).collect();
        for (row, matched) in Box::pin(payouts::classify(app, rows)).await? {
            if let Some(subject) = subject_of(&row).filter(|_| matched != Matched::BeforeGoLive) {
                let sum = sums.entry(subject).or_default();
                *sum = sum.plus(row.amount);
            }
        }
        if !page.has_more {
            break;
        }
        after = page.last;
    }
    Ok(sums)
}

async fn in_ledger(app: &App, window: Timestamp) -> Result<BTreeMap<String, Minor>, Unfinished> {
    let mut sums: BTreeMap<String, Minor> = BTreeMap::new();
    let mut bad: Option<BadItem> = None;
    let currency = app.settings.practice.currency; // What is in another one is posted nowhere.
    let mut take = |row: &Row| -> Result<(), BadItem> {
        match row.kind.as_str() {
            StoredPayment::KIND => {
                let payment = item_of::<StoredPayment>(row)?.item.payment;
                let posted = payment.state != PaymentState::BeforeGoLive && payment.success.currency == currency;
                if posted && payment.charged_at >= window {
                    sums.insert(payment.id().to_string(), payment.received());
                }
            }
            StoredMovement::KIND => {
                let movement = item_of::<StoredMovement>(row)?.item.movement;
                let out = movement.recorded.minus(movement.out_before(window));
                let moved = movement.created >= window || movement.moved.iter().any(|(at, _)| *at >= window);
                if moved && movement.currency == currency {
                    sums.insert(movement.id.to_string(), out.negated());
                }
            }
            _ => {}
        }
        Ok(())
    };
    let mut each = |row: Row| {
        if let Err(e) = take(&row) {
            bad.get_or_insert(e);
        }
    };
    app.store.scan_of(&[StoredPayment::KIND, StoredMovement::KIND], &mut each).await?;
    match bad {
        Some(bad) => Err(bad.into()),
        None => Ok(sums),
    }
}
