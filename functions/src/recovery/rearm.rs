//! A new card: payment_method.attached, .automatically_updated, and a customer whose default card changed re-arm what is left of
//! the ladder. It still counts from the first failure.

use super::attempt::release;
use super::close::resolve_reviews;
use super::store_turn;
use crate::app::App;
use crate::changes::Changes;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use vesper_core::event::Failure;
use vesper_core::ids::{CustomerId, PaymentId};
use vesper_core::recovery::RecoveryState;

/// A card of this customer is new, or was renewed by its network.
///
/// # Errors
/// When the store does not answer.
pub async fn card_renewed(app: &App, customer: &CustomerId, payment_method: &str) -> Result<(), Unfinished> {
    for payment in app.store.recoveries_of(customer).await? {
        rearm(app, &payment, payment_method).await?;
    }
    Ok(())
}

/// The customer's default card changed: Stripe says to which.
///
/// # Errors
/// When the store or Stripe does not answer.
pub async fn default_card_changed(app: &App, customer: &CustomerId) -> Result<(), Unfinished> {
    if app.store.recoveries_of(customer).await?.is_empty() {
        return Ok(());
    }
    match app.stripe.customer(customer).await?.default_payment_method {
        Some(card) => card_renewed(app, customer, &card).await,
        None => Ok(()),
    }
}

async fn rearm(app: &App, payment: &PaymentId, card: &str) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match rearm_once(app, payment, card).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

async fn rearm_once(app: &App, payment: &PaymentId, card: &str) -> Result<(), Unfinished> {
    let Some(mut read) = app.store.recovery(payment).await? else { return Ok(()) };
    let recovery = &mut read.item.recovery;
    // Without invoices it was never a recovery; an attempt under way keeps its card.
    if !recovery.is_rearmed_by_a_card() || recovery.invoices.is_empty() || recovery.open_attempt().is_some() {
        return Ok(());
    }
    if recovery.state == RecoveryState::Waiting && recovery.payment_method.as_deref() == Some(card) {
        return Ok(());
    }
    recovery.payment_method = Some(card.to_owned());
    // The decline was the old card's: the new one may be tried on the next rung.
    recovery.failure = Failure {
        payment_method: Some(card.to_owned()),
        code: None,
        decline_code: Some("try_again_later".to_owned()),
        advice_code: None,
        network_advice_code: None,
        ..recovery.failure.clone()
    };
    recovery.blocked = false;
    let tell = recovery.turn(recovery.next(&app.policy, app.now()));
    let mut changes = Changes::new(app, app.now());
    resolve_reviews(app, &mut changes, payment, "a new card").await?;
    release(app, &mut changes, &mut read).await?;
    store_turn(app, changes, read, tell, None).await
}
