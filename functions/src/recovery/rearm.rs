//! A new card: payment_method.attached, .automatically_updated, and a customer whose default card changed re-arm what is left of
//! the ladder. It still counts from the first failure.
//!
//! Must not: take a card that is not the customer's, or anything that is no card.

use super::attempt::release;
use super::close::resolve_reviews;
use super::store_turn;
use crate::app::App;
use crate::changes::Changes;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use jiff::Timestamp;
use vesper_adapters::error::Class;
use vesper_core::ids::{CustomerId, PaymentId};
use vesper_core::recovery::{NewCard, Rearmed};

/// A card of this customer is new, or was renewed by its network; `at`: the event's `created`.
///
/// # Errors
/// When the store or Stripe does not answer.
pub async fn card_renewed(app: &App, customer: &CustomerId, payment_method: &str, at: Timestamp) -> Result<(), Unfinished> {
    let mut waiting = Vec::new();
    for payment in app.store.recoveries_of(customer).await? {
        let read = app.store.recovery(&payment).await?;
        waiting.extend(read.filter(|r| r.item.recovery.is_rearmed_by_a_card()).map(|_| payment));
    }
    if waiting.is_empty() || !is_card_of(app, customer, payment_method).await? {
        return Ok(());
    }
    let card = NewCard { payment_method: payment_method.to_owned(), at };
    for payment in waiting {
        rearm(app, &payment, &card).await?;
    }
    Ok(())
}

/// The customer's default card changed: Stripe says to which.
///
/// # Errors
/// When the store or Stripe does not answer.
pub async fn default_card_changed(app: &App, customer: &CustomerId, at: Timestamp) -> Result<(), Unfinished> {
    if app.store.recoveries_of(customer).await?.is_empty() {
        return Ok(());
    }
    match app.stripe.customer(customer).await {
        Ok(now) => match now.default_payment_method {
            Some(card) => card_renewed(app, customer, &card, at).await,
            None => Ok(()),
        },
        Err(e) if e.class == Class::NotFound => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A bank account may be attached, too, and a late event may tell of a card that is detached by now.
async fn is_card_of(app: &App, customer: &CustomerId, payment_method: &str) -> Result<bool, Unfinished> {
    match app.stripe.payment_method(payment_method).await {
        Ok(now) => Ok(now.kind == "card" && now.customer.as_ref() == Some(customer)),
        Err(e) if e.class == Class::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

async fn rearm(app: &App, payment: &PaymentId, card: &NewCard) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match rearm_once(app, payment, card).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

async fn rearm_once(app: &App, payment: &PaymentId, card: &NewCard) -> Result<(), Unfinished> {
    let Some(mut read) = app.store.recovery(payment).await? else { return Ok(()) };
    match read.item.recovery.rearm(card, &app.policy, app.now()) {
        Rearmed::Ignored => Ok(()),
        Rearmed::Kept => Ok(app.store.save(&mut read).await?),
        Rearmed::Taken(tell) => {
            let mut changes = Changes::new(app, app.now());
            resolve_reviews(app, &mut changes, payment, "a new card").await?;
            release(app, &mut changes, &mut read).await?;
            store_turn(app, changes, read, tell, None).await
        }
    }
}
