//! What is older than the 30 days for which Stripe keeps events: charges, refunds, disputes and payouts, listed by `created`.
//!
//! Cards that failed so long ago, and old customers, are left alone: no rung of theirs is left.
//! Must not: decide by itself.

use super::Walk;
use crate::app::App;
use crate::failure::Unfinished;
use crate::payouts;
use crate::reconcile::{movements, payments};
use serde::{Deserialize, Serialize};
use vesper_adapters::stripe::client::{ChargeNow, Place};
use vesper_core::ids::PaymentId;
use vesper_core::movement::Movement;
use vesper_core::payout::PayoutState;

/// What a backfill is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    Charges,
    Refunds,
    Disputes,
    Payouts,
    Events,
}

impl Stage {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Stage::Charges => "charges",
            Stage::Refunds => "refunds",
            Stage::Disputes => "disputes",
            Stage::Payouts => "payouts",
            Stage::Events => "events",
        }
    }

    pub(super) const fn next(self) -> Option<Stage> {
        match self {
            Stage::Charges => Some(Stage::Refunds),
            Stage::Refunds => Some(Stage::Disputes),
            Stage::Disputes => Some(Stage::Payouts),
            Stage::Payouts => Some(Stage::Events),
            Stage::Events => None,
        }
    }
}

/// Works off one page of a list. True when it was the last.
///
/// # Errors
/// When Stripe or the store does not answer.
pub(super) async fn page(app: &App, stage: &Stage, walk: &mut Walk) -> Result<bool, Unfinished> {
    let after = walk.after.clone();
    let place = Place { since: walk.since, after: after.as_deref() };
    let (last, has_more) = match stage {
        Stage::Charges => {
            let page = app.stripe.charges_page(place).await?;
            for charge in &page.items {
                count(walk, take_charge(app, charge).await?);
            }
            (page.last, page.has_more)
        }
        Stage::Refunds => {
            let page = app.stripe.refunds_page(place).await?;
            for refund in &page.items {
                count(walk, take_movement(app, Movement::of_refund(refund)).await?);
            }
            (page.last, page.has_more)
        }
        Stage::Disputes => {
            let page = app.stripe.disputes_page(place).await?;
            for dispute in &page.items {
                count(walk, take_movement(app, Movement::of_dispute(dispute)).await?);
            }
            (page.last, page.has_more)
        }
        Stage::Payouts | Stage::Events => {
            let page = app.stripe.payouts_page(place).await?;
            for payout in &page.items {
                count(walk, take_payout(app, payout).await?);
            }
            (page.last, page.has_more)
        }
    };
    walk.after = last.or(after);
    Ok(!has_more)
}

fn count(walk: &mut Walk, was_missed: bool) {
    walk.looked = walk.looked.saturating_add(1);
    walk.missed = walk.missed.saturating_add(u64::from(was_missed));
}

async fn take_charge(app: &App, charge: &ChargeNow) -> Result<bool, Unfinished> {
    let Some(success) = &charge.success else { return Ok(false) };
    let known = app.store.payment(&success.payment).await?.map(|r| r.item.payment);
    if known.is_some_and(|k| !payments::is_wanted_now(app, &k)) {
        return Ok(false);
    }
    Box::pin(payouts::fetch_charge(app, success)).await?;
    Ok(true)
}

async fn take_movement(app: &App, movement: Movement) -> Result<bool, Unfinished> {
    if super::known::has_movement(app, &movement).await? {
        return Ok(false);
    }
    fetch_payment(app, &movement.payment).await?;
    Box::pin(movements::heard(app, movement)).await?;
    Ok(true)
}

/// The payment of a refund or dispute may be older than the list of charges.
async fn fetch_payment(app: &App, payment: &PaymentId) -> Result<(), Unfinished> {
    if app.store.payment(payment).await?.is_none() {
        Box::pin(payouts::fetch_payment(app, payment)).await?;
    }
    Ok(())
}

async fn take_payout(app: &App, payout: &str) -> Result<bool, Unfinished> {
    let state = app.store.payout(payout).await?.map(|p| p.item.state);
    if matches!(state, Some(PayoutState::TiedOut | PayoutState::Failed)) {
        return Ok(false);
    }
    payouts::heard(app, payout).await?;
    Ok(state.is_none())
}
