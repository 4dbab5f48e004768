//! One look at a recovery whose time has come: an unknown outcome is asked for first; then claim, guard, record, charge.
//!
//! The attempt is recorded before the call, so at most one is made per rung, and a repeat carries the same key and parameters.

use super::close::{release_when_settled, resolve_reviews};
use super::guard::{Go, Verdict, look};
use super::{is_blocked, store_turn};
use crate::app::App;
use crate::bus::DomainEvent;
use crate::changes::Changes;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::pause;
use jiff::{SignedDuration, Timestamp};
use vesper_adapters::dynamo::item::{Read, Stored};
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{InvoiceClaim, StoredRecovery};
use vesper_adapters::dynamo::store::Failed;
use vesper_adapters::error::{CallError, Class};
use vesper_adapters::stripe::client::ConfirmOutcome;
use vesper_core::event::Failure;
use vesper_core::ids::PaymentId;
use vesper_core::recovery::steps::{self, Around, Due, Repeat, Try, due, try_rung};
use vesper_core::recovery::{Attempt, NextRetry, Recovery, RecoveryState, Shown, StopReason, Tell, ladder};

/// When a rung that could not be used is looked at again, in seconds.
const AGAIN_S: i64 = 15 * 60;
/// When a call whose outcome could not be asked for is asked for again, in seconds.
const ASK_AGAIN_S: i64 = 60;
/// So long it is asked for that often, in seconds; then every [`AGAIN_S`].
const ASK_OFTEN_S: i64 = 3600;
/// An attempt that is being made is left alone for so long, in seconds (design.md section 5).
const LEASE_S: i64 = 120;
/// When a payment that Stripe is processing is looked at again, in seconds.
const PROCESSING_S: i64 = 3600;

pub(super) fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// Looks at a recovery whose time has come.
///
/// # Errors
/// When the store or a queue does not answer; Stripe's and the EHR's failures keep the rung for today.
pub async fn attempt(app: &App, payment: &PaymentId) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match once(app, payment).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

async fn once(app: &App, payment: &PaymentId) -> Result<(), Unfinished> {
    let Some(read) = app.store.recovery(payment).await? else { return Ok(()) };
    let recovery = &read.item.recovery;
    match due(recovery, app.now()) {
        Due::NotYet => return Ok(()),
        Due::Settle => return release_when_settled(app, read).await,
        Due::Ask => return ask_for_outcome(app, read).await,
        Due::Try => {}
    }
    let around = around(app, Some(recovery)).await?;
    match try_rung(recovery, &around, &app.policy, app.now()) {
        Try::Stop(reason, why) => return stop(app, read, reason, why).await,
        Try::Turn(next) => return turn(app, read, next).await,
        Try::Wait(why) => return wait(app, read, AGAIN_S, why).await,
        Try::NotToday(why) => return hold_for_today(app, read, why).await,
        Try::Claim => {}
    }
    let Some(read) = claim_all(app, read).await? else { return Ok(()) };
    match look(app, &read.item.recovery).await? {
        Verdict::Go(go) => charge(app, read, *go).await,
        Verdict::Stop(reason, why) => stop(app, read, reason, &why).await,
        Verdict::NotNow(why) => release_and_wait(app, read, PROCESSING_S, why).await,
        Verdict::CannotRead(problem) => {
            tracing::warn!(payment.id = %payment, problem, "the guard could not read; nothing is charged");
            release_and_wait(app, read, AGAIN_S, &unread(&problem)).await
        }
    }
}

/// What is noted when the guard cannot read; the problem names ids and a class only.
fn unread(problem: &str) -> String {
    format!("not charged, because not everything could be read: {problem}")
}

/// Takes what comes next on the ladder, and tells a person when nothing does.
async fn turn(app: &App, mut read: Read<StoredRecovery>, next: NextRetry) -> Result<(), Unfinished> {
    let tell = read.item.recovery.turn(next, app.now());
    end_turn(app, read, tell).await
}

async fn stop(app: &App, mut read: Read<StoredRecovery>, reason: StopReason, why: &str) -> Result<(), Unfinished> {
    let tell = read.item.recovery.stop(reason, why, app.now());
    end_turn(app, read, tell).await
}

/// Stores a step after which no attempt is under way: the claims go with it.
async fn end_turn(app: &App, mut read: Read<StoredRecovery>, tell: Tell) -> Result<(), Unfinished> {
    let mut changes = Changes::new(app, app.now());
    release(app, &mut changes, &mut read).await?;
    store_turn(app, changes, read, tell, None).await
}

/// Waits without losing the rung: at the end of the practice day it is lost by itself.
async fn wait(app: &App, mut read: Read<StoredRecovery>, seconds: i64, why: &str) -> Result<(), Unfinished> {
    read.item.recovery.hold(after(app.now(), seconds), why, app.now());
    for attempt in 1..TRIES_ON_CONFLICT {
        let outcome = app.store.save(&mut read).await;
        if !outcome.as_ref().is_err_and(Failed::is_conflict) {
            return Ok(outcome?);
        }
        // Refused although nobody changed it, because another write was under way: what Stripe asked for must not be lost.
        let stored = app.store.recovery(read.item.recovery.payment()).await?;
        if stored.is_none_or(|now| now.rev != read.rev) {
            return Ok(outcome?);
        }
        after_conflict(attempt, app.host.random()).await;
    }
    Ok(app.store.save(&mut read).await?)
}

/// This rung will not be used, whatever comes: the next look is when its day is over.
async fn hold_for_today(app: &App, mut read: Read<StoredRecovery>, why: &str) -> Result<(), Unfinished> {
    read.item.recovery.hold(ladder::next_day(app.now(), &app.policy.time_zone), why, app.now());
    Ok(app.store.save(&mut read).await?)
}

async fn release_and_wait(app: &App, mut read: Read<StoredRecovery>, seconds: i64, why: &str) -> Result<(), Unfinished> {
    let mut changes = Changes::new(app, app.now());
    release(app, &mut changes, &mut read).await?;
    read.item.recovery.hold(after(app.now(), seconds), why, app.now());
    changes.unit.update(&read);
    changes.commit().await
}

/// What stands around a recovery, of which the core says what it means: the claims of others only where they are asked for.
async fn around(app: &App, recovery: Option<&Recovery>) -> Result<Around, Unfinished> {
    let mut claimed_by = Vec::new();
    for (invoice, _) in recovery.iter().filter(|r| !r.claims).flat_map(|r| &r.invoices) {
        let held = app.store.claim(invoice).await?;
        let Some(held) = held.filter(|c| recovery.is_none_or(|r| c.item.payment != *r.payment())) else { continue };
        let holder = app.store.recovery(&held.item.payment).await?;
        claimed_by.push(holder.map_or(RecoveryState::Waiting, |h| h.item.recovery.state));
    }
    Ok(Around { claimed_by, is_shadow: app.is_shadow(), is_held: pause::current(app).await?.holds_retries() })
}

/// Claims every invoice, or fails with a conflict when somebody else was faster.
async fn claim_all(app: &App, mut read: Read<StoredRecovery>) -> Result<Option<Read<StoredRecovery>>, Unfinished> {
    if read.item.recovery.claims {
        return Ok(Some(read));
    }
    let payment = read.item.recovery.payment().clone();
    let mut changes = Changes::new(app, app.now());
    for (invoice, _) in &read.item.recovery.invoices {
        changes.unit.insert(&InvoiceClaim { invoice: invoice.clone(), payment: payment.clone() });
    }
    read.item.recovery.claims = true;
    changes.unit.update(&read);
    changes.commit().await?;
    Ok(app.store.recovery(&payment).await?)
}

/// The claims go, in the same transaction as what ends them.
pub(super) async fn release(app: &App, changes: &mut Changes<'_>, read: &mut Read<StoredRecovery>) -> Result<(), Unfinished> {
    if !read.item.recovery.claims {
        return Ok(());
    }
    let payment = read.item.recovery.payment().clone();
    for (invoice, _) in &read.item.recovery.invoices {
        if let Some(held) = app.store.claim(invoice).await?.filter(|c| c.item.payment == payment) {
            changes.unit.remove(held.item.key());
        }
    }
    read.item.recovery.claims = false;
    Ok(())
}

/// Records the attempt, then makes it.
async fn charge(app: &App, mut read: Read<StoredRecovery>, go: Go) -> Result<(), Unfinished> {
    let now = app.now();
    let before = go.intent.latest_charge.map(|c| c.to_string());
    let Some(n) = read.item.recovery.begin(now, app.local_date(now), before, after(now, LEASE_S)) else {
        return stop(app, read, StopReason::NeedsClient, "there is no card to charge").await;
    };
    let payment = read.item.recovery.payment().clone();
    let read = commit_attempt(app, read, &go.loaded, &format!("attempt {n}")).await?;
    app.bus.tell(DomainEvent::about_money("recovery_attempted", payment.as_str(), read.item.recovery.failure.amount));
    call(app, read).await
}

/// Stores that the call is about to be made, on the versions of the clients that the guard has looked at.
async fn commit_attempt(
    app: &App,
    read: Read<StoredRecovery>,
    loaded: &Loaded,
    detail: &str,
) -> Result<Read<StoredRecovery>, Unfinished> {
    let payment = read.item.recovery.payment().clone();
    let mut changes = Changes::new(app, app.now());
    loaded.bump_all(&mut changes.unit);
    changes.audit("attempt", payment.as_str(), detail);
    changes.unit.update(&read);
    changes.commit().await?;
    // Nobody deletes a recovery; were it gone, nothing may be charged for it.
    app.store.recovery(&payment).await?.ok_or(Unfinished::Contended { subject: payment.to_string() })
}

/// Confirms under the recorded key: off session, exactly the recorded card.
async fn call(app: &App, read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    let Some(attempt) = read.item.recovery.open_attempt().cloned() else { return Ok(()) };
    match app.stripe.confirm(read.item.recovery.payment(), &attempt.payment_method, &attempt.key).await {
        Ok(ConfirmOutcome::Succeeded) => succeeded(app, read).await,
        Ok(ConfirmOutcome::Declined(failure)) => declined(app, read, failure).await,
        Ok(ConfirmOutcome::Processing) => processing(app, read).await,
        Ok(ConfirmOutcome::RequiresAction) => ended(app, read, "requires_action", StopReason::NeedsClient).await,
        Ok(ConfirmOutcome::OtherState { status }) => other_state(app, read, &status).await,
        Err(e) => call_failed(app, read, &e).await,
    }
}

async fn call_failed(app: &App, read: Read<StoredRecovery>, e: &CallError) -> Result<(), Unfinished> {
    tracing::warn!(payment.id = %read.item.recovery.payment(), problem = %e, "an attempt's answer did not come");
    match e.class {
        // Asked for at once: only if Stripe shows that it was never made is it made again, under the same key.
        Class::OutcomeUnknown => wait(app, read, 1, ASKING).await,
        Class::Conflict => wait(app, read, ASK_AGAIN_S, "Stripe is still at the same attempt").await,
        Class::Throttled { retry_after_s } => {
            wait(app, read, i64::from(retry_after_s.unwrap_or(0)).max(ASK_AGAIN_S), "Stripe asked for a pause").await
        }
        Class::Transient | Class::Unauthorized => ask_again(app, read, "Stripe could not be reached").await,
        Class::Rejected | Class::NotFound | Class::Bug => {
            let code = e.code.clone().unwrap_or_else(|| "refused".to_owned());
            ended(app, read, &code, StopReason::NeedsClient).await
        }
    }
}

/// What is noted while nobody knows.
const ASKING: &str = "the outcome of an attempt is being asked for";

/// Looks again soon; an outage of days is not asked about every minute.
async fn ask_again(app: &App, read: Read<StoredRecovery>, why: &str) -> Result<(), Unfinished> {
    let made_at = read.item.recovery.open_attempt().map_or(Timestamp::MIN, |a| a.at);
    let every_s = if after(made_at, ASK_OFTEN_S) > app.now() { ASK_AGAIN_S } else { AGAIN_S };
    wait(app, read, every_s, why).await
}

/// An attempt was recorded and its outcome is not known: Stripe says what became of it.
async fn ask_for_outcome(app: &App, read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    let Some(attempt) = read.item.recovery.open_attempt().cloned() else { return Ok(()) };
    let intent = match app.stripe.payment_intent(read.item.recovery.payment()).await {
        Ok(intent) => intent,
        Err(e) => {
            tracing::warn!(payment.id = %read.item.recovery.payment(), problem = %e, "an attempt's outcome could not be asked for");
            return ask_again(app, read, ASKING).await;
        }
    };
    let latest_charge = intent.latest_charge.as_ref().map(ToString::to_string);
    match attempt.shown(&intent.status, latest_charge.as_deref()) {
        Shown::Succeeded => succeeded(app, read).await,
        Shown::Processing => processing(app, read).await,
        Shown::Declined => match intent.failure {
            Some(failure) => declined(app, read, failure).await,
            None => ended(app, read, "declined", StopReason::NeedsClient).await,
        },
        Shown::NeverMade => repeat(app, read, &attempt).await,
        Shown::Ended(reason) => ended(app, read, &intent.status, reason).await,
    }
}

/// Stripe shows that the attempt was never made. On its own day it is made again, under the same key. Later it is over.
async fn repeat(app: &App, mut read: Read<StoredRecovery>, attempt: &Attempt) -> Result<(), Unfinished> {
    let now = app.now();
    match steps::repeat(attempt, &around(app, None).await?, &app.policy, now) {
        Repeat::Over => {
            let tell = read.item.recovery.never_made(&app.policy, now);
            return end_turn(app, read, tell).await;
        }
        Repeat::Wait => return wait(app, read, AGAIN_S, "held by a pause").await,
        Repeat::Guard => {}
    }
    match look(app, &read.item.recovery).await? {
        Verdict::Go(go) => {
            read.item.recovery.hold(after(now, LEASE_S), "the attempt is made again under the same key", now);
            let read = commit_attempt(app, read, &go.loaded, &format!("attempt {} again", attempt.n)).await?;
            call(app, read).await
        }
        Verdict::Stop(reason, why) => end(app, read, "never made", reason, &why).await,
        Verdict::NotNow(why) => wait(app, read, PROCESSING_S, why).await,
        Verdict::CannotRead(problem) => wait(app, read, AGAIN_S, &unread(&problem)).await,
    }
}

// -------------------------------------------------------------------- outcomes

/// The card was charged. The payment itself comes by the ordinary path; the claims stay until it is decided and written.
async fn succeeded(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    read.item.recovery.succeed(app.now(), after(app.now(), ASK_AGAIN_S));
    let recovery = &read.item.recovery;
    let mut changes = Changes::new(app, app.now());
    resolve_reviews(app, &mut changes, recovery.payment(), "recovered").await?;
    changes.tell(DomainEvent::about_money("recovered", recovery.payment().as_str(), recovery.failure.amount));
    store_turn(app, changes, read, Tell::Nothing, None).await
}

/// Whether Radar blocked it stands on the charge; while that cannot be read, the outcome stays open and is asked for again.
async fn declined(app: &App, mut read: Read<StoredRecovery>, failure: Failure) -> Result<(), Unfinished> {
    let blocked = match is_blocked(app, &failure).await {
        Ok(blocked) => blocked,
        Err(Unfinished::Call(_)) => return ask_again(app, read, ASKING).await,
        Err(e) => return Err(e),
    };
    let tell = read.item.recovery.decline(&failure, blocked, &app.policy, app.now());
    end_turn(app, read, tell).await
}

async fn processing(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    read.item.recovery.process(app.now(), after(app.now(), PROCESSING_S));
    Ok(app.store.save(&mut read).await?)
}

/// The confirm was refused because of the state that the PaymentIntent is in.
async fn other_state(app: &App, read: Read<StoredRecovery>, status: &str) -> Result<(), Unfinished> {
    match status {
        "succeeded" => ended(app, read, status, StopReason::Paid).await,
        "canceled" => ended(app, read, status, StopReason::Canceled).await,
        "processing" | "requires_capture" => processing(app, read).await,
        other => ended(app, read, other, StopReason::NeedsClient).await,
    }
}

async fn ended(app: &App, read: Read<StoredRecovery>, status: &str, reason: StopReason) -> Result<(), Unfinished> {
    let why = format!("Stripe said: {status}");
    end(app, read, status, reason, &why).await
}

async fn end(app: &App, mut read: Read<StoredRecovery>, status: &str, reason: StopReason, why: &str) -> Result<(), Unfinished> {
    let tell = read.item.recovery.end(status, reason, why, &app.policy, app.now());
    end_turn(app, read, tell).await
}
