//! How a recovery ends well: the payment arrived, by our attempt or by the client's own, and its claims go once it is written.

use super::attempt::release;
use super::store_turn;
use crate::app::App;
use crate::changes::Changes;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use jiff::SignedDuration;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredRecovery;
use vesper_core::effect::Effect;
use vesper_core::event::{Event, What};
use vesper_core::ids::{EventId, PaymentId};
use vesper_core::recovery::{Outcome, RecoveryState, StopReason};
use vesper_core::review::{Reason, Status};

/// A recovered payment whose success event has not come is fetched after so long, in seconds.
const FETCH_S: i64 = 3600;
/// How often a settled write-back is looked for, in seconds.
const LOOK_S: i64 = 300;

/// The PaymentIntent succeeded: its recovery, if it has one, is over.
///
/// # Errors
/// When the store does not answer.
pub async fn paid(app: &App, payment: &PaymentId) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match paid_once(app, payment).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

async fn paid_once(app: &App, payment: &PaymentId) -> Result<(), Unfinished> {
    let Some(mut read) = app.store.recovery(payment).await? else { return Ok(()) };
    let recovery = &mut read.item.recovery;
    if matches!(recovery.state, RecoveryState::Recovered) || recovery.stop_reason == Some(StopReason::Paid) {
        return Ok(());
    }
    let mut changes = Changes::new(app, app.now());
    if recovery.open_attempt().is_some() {
        // The success is that of our own attempt whose answer was lost.
        if let Some(last) = recovery.attempts.last_mut() {
            last.outcome = Outcome::Succeeded;
        }
        recovery.state = RecoveryState::Recovered;
        recovery.stop_reason = None;
        "an attempt succeeded".clone_into(&mut recovery.why);
        recovery.next_at = Some(app.now());
        crate::domain_event("recovered", payment.as_str(), recovery.failure.amount);
    } else {
        recovery.stop(StopReason::Paid);
        release(app, &mut changes, &mut read).await?;
    }
    resolve_reviews(app, &mut changes, payment, "paid").await?;
    store_turn(app, changes, read, false, None).await
}

/// The open `card_failed` of a payment is no question any more.
pub(super) async fn resolve_reviews(app: &App, changes: &mut Changes<'_>, payment: &PaymentId, why: &str) -> Result<(), Unfinished> {
    for review in app.store.reviews_about(payment.as_str()).await? {
        let reason = review.item.review.question.reason;
        if review.item.review.status == Status::Open && matches!(reason, Reason::CardFailed | Reason::UnknownDecline) {
            changes.close_review(&review, why);
        }
    }
    Ok(())
}

/// After a success the claims stay until the payment is decided and its write-back is done or dead.
pub(super) async fn release_when_settled(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    let payment = read.item.recovery.payment().clone();
    let Some(known) = app.store.payment(&payment).await? else { return fetch(app, read).await };
    let mut waits = false;
    for share in &known.item.payment.shares {
        let row = app.store.allocation(&share.client, &payment, share.n).await?;
        waits |= row.and_then(|r| r.item.effect).as_ref().is_some_and(Effect::is_waiting);
    }
    if waits {
        read.item.recovery.next_at = Some(later(app, LOOK_S));
        return Ok(app.store.save(&mut read).await?);
    }
    let mut changes = Changes::new(app, app.now());
    release(app, &mut changes, &mut read).await?;
    read.item.recovery.next_at = None;
    changes.unit.update(&read);
    changes.commit().await
}

fn later(app: &App, seconds: i64) -> jiff::Timestamp {
    app.now().saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(jiff::Timestamp::MAX)
}

/// The success event has not come. After an hour the PaymentIntent is fetched and decided as if it had.
async fn fetch(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    let payment = read.item.recovery.payment().clone();
    let made_at = read.item.recovery.attempts.last().map_or(jiff::Timestamp::MIN, |a| a.at);
    if later(app, FETCH_S.saturating_neg()) >= made_at {
        match app.stripe.payment_intent(&payment).await {
            Ok(intent) => {
                if let (Some(success), Ok(id)) = (intent.success, EventId::parse(&format!("fetched-{payment}"))) {
                    let event = Event { id, created: made_at, what: What::PaymentSucceeded(success.clone()) };
                    crate::reconcile::payments::decide_fetched(app, &event, &success).await?;
                }
            }
            Err(e) => tracing::warn!(payment.id = %payment, problem = %e, "a recovered payment could not be fetched yet"),
        }
    }
    read.item.recovery.next_at = Some(later(app, LOOK_S));
    Ok(app.store.save(&mut read).await?)
}
