//! How a recovery ends well: the payment arrived, by our attempt or by the client's own, and its claims go once it is written.

use super::attempt::{after, release};
use super::store_turn;
use crate::app::App;
use crate::bus::DomainEvent;
use crate::changes::{Changes, allocation_row};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use jiff::SignedDuration;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{StoredPayment, StoredRecovery};
use vesper_core::effect::Effect;
use vesper_core::event::{Event, What};
use vesper_core::ids::{EventId, PaymentId};
use vesper_core::recovery::Tell;
use vesper_core::recovery::steps::claims_stay;
use vesper_core::review::{Reason, Status};

/// A recovered payment whose success event has not come is fetched after so long, in seconds.
const FETCH_S: i64 = 3600;
/// How often a settled write-back is looked for, in seconds.
const LOOK_S: i64 = 300;
/// The same once an hour has passed: a person must act, in seconds.
const LOOK_LATE_S: i64 = 3600;

/// The PaymentIntent succeeded: its recovery, if it has one, is over, and nobody need ask for another card.
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
    let mut changes = Changes::new(app, app.now());
    resolve_reviews(app, &mut changes, payment, "paid").await?;
    let Some(mut read) = app.store.recovery(payment).await? else { return changes.commit().await };
    let tried = read.item.recovery.open_attempt().is_some();
    if !read.item.recovery.paid(app.now(), app.now()) {
        return changes.commit().await;
    }
    if tried {
        changes.tell(DomainEvent::about_money("recovered", payment.as_str(), read.item.recovery.failure.amount));
    } else {
        release(app, &mut changes, &mut read).await?;
    }
    store_turn(app, changes, read, Tell::Nothing, None).await
}

/// The open `card_failed` of a payment is no question any more.
pub(super) async fn resolve_reviews(
    app: &App,
    changes: &mut Changes<'_>,
    payment: &PaymentId,
    why: &str,
) -> Result<(), Unfinished> {
    for review in app.store.reviews_about(payment.as_str()).await? {
        let reason = review.item.review.question.reason;
        if review.item.review.status == Status::Open && matches!(reason, Reason::CardFailed | Reason::UnknownDecline) {
            changes.close_review(&review, why);
        }
    }
    Ok(())
}

/// A recovery of shadow time at the switch to live: it is over, and a person is told.
pub(crate) async fn close_shadow(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    let tell = read.item.recovery.close(app.now());
    store_turn(app, Changes::new(app, app.now()), read, tell, None).await
}

/// After a success the claims stay until the payment is decided and its write-back is done or dead.
pub(super) async fn release_when_settled(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    let payment = read.item.recovery.payment().clone();
    let Some(known) = app.store.payment(&payment).await? else { return fetch(app, read).await };
    if waits(app, &known).await? {
        let since = known.item.payment.first_delivered_at;
        let every_s = if after(since, LOOK_LATE_S) > app.now() { LOOK_S } else { LOOK_LATE_S };
        read.item.recovery.next_at = Some(after(app.now(), every_s));
        return Ok(app.store.save(&mut read).await?);
    }
    let mut changes = Changes::new(app, app.now());
    release(app, &mut changes, &mut read).await?;
    read.item.recovery.next_at = None;
    changes.unit.update(&read);
    changes.commit().await
}

/// Whether a payment is undecided, or a write-back of it neither done nor dead.
async fn waits(app: &App, known: &Read<StoredPayment>) -> Result<bool, Unfinished> {
    let payment = &known.item.payment;
    let mut a_write_waits = false;
    for share in &payment.shares {
        let row = allocation_row(app, payment.id(), share).await?;
        a_write_waits |= row.and_then(|r| r.item.effect).as_ref().is_some_and(Effect::is_waiting);
    }
    Ok(claims_stay(payment, a_write_waits))
}

/// The success event has not come. After an hour the PaymentIntent is fetched and decided as if it had.
async fn fetch(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    let payment = read.item.recovery.payment().clone();
    let made_at = read.item.recovery.attempts.last().map_or(jiff::Timestamp::MIN, |a| a.at);
    let waited = app.now().duration_since(made_at) >= SignedDuration::from_secs(FETCH_S);
    if waited {
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
    read.item.recovery.next_at = Some(after(app.now(), LOOK_S));
    Ok(app.store.save(&mut read).await?)
}
