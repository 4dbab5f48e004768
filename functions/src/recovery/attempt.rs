//! One look at a recovery whose time has come: an unknown outcome is asked for first; then claim, guard, record, charge.
//!
//! The attempt is recorded before the call, so at most one is made per rung, and a repeat carries the same key and parameters.

use super::close::{release_when_settled, resolve_reviews};
use super::guard::{Go, Verdict, look};
use super::store_turn;
use crate::app::App;
use crate::changes::Changes;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::pause;
use jiff::{SignedDuration, Timestamp};
use vesper_adapters::dynamo::item::{Read, Stored};
use vesper_adapters::dynamo::model::{InvoiceClaim, StoredRecovery};
use vesper_adapters::error::{CallError, Class};
use vesper_adapters::stripe::client::{ConfirmOutcome, PaymentIntentNow};
use vesper_core::event::Failure;
use vesper_core::ids::PaymentId;
use vesper_core::recovery::{Attempt, NextRetry, Outcome, RecoveryState, StopReason};

/// When a rung that could not be used is looked at again, in seconds.
const AGAIN_S: i64 = 15 * 60;
/// When a call whose outcome could not be asked for is asked for again, in seconds.
const ASK_AGAIN_S: i64 = 60;
/// When a payment that Stripe is processing is looked at again, in seconds.
const PROCESSING_S: i64 = 3600;

fn after(now: Timestamp, seconds: i64) -> Timestamp {
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
    if recovery.next_at.is_none_or(|at| at > app.now()) {
        return Ok(());
    }
    if recovery.state != RecoveryState::Waiting {
        return release_when_settled(app, read).await;
    }
    if recovery.open_attempt().is_some() {
        return ask_for_outcome(app, read).await;
    }
    // A rung whose day has passed meanwhile is lost; what is left of the ladder says when.
    let next = recovery.next(&app.policy, app.now());
    match next {
        NextRetry::At { time, .. } if time <= app.now() => {}
        other => return turn(app, read, other).await,
    }
    if recovery.shadow || app.is_shadow() || pause::current(app).await?.holds_retries() {
        return wait(app, read, AGAIN_S, "held: shadow mode or a pause").await;
    }
    let Some(read) = claim_all(app, read).await? else { return Ok(()) };
    match look(app, &read.item.recovery).await? {
        Verdict::Go(go) => charge(app, read, *go).await,
        Verdict::Stop(reason) => stop(app, read, reason).await,
        Verdict::NotNow(why) => release_and_wait(app, read, PROCESSING_S, why).await,
        Verdict::CannotRead(problem) => {
            tracing::warn!(payment.id = %payment, problem, "the guard could not read; nothing is charged");
            release_and_wait(app, read, AGAIN_S, "the guard could not read everything").await
        }
    }
}

/// Takes what comes next on the ladder, and tells a person when nothing does.
pub(super) async fn turn(app: &App, mut read: Read<StoredRecovery>, next: NextRetry) -> Result<(), Unfinished> {
    let tell = read.item.recovery.turn(next);
    let mut changes = Changes::new(app, app.now());
    release(app, &mut changes, &mut read).await?;
    store_turn(app, changes, read, tell, None).await
}

async fn stop(app: &App, mut read: Read<StoredRecovery>, reason: StopReason) -> Result<(), Unfinished> {
    read.item.recovery.turns = read.item.recovery.turns.saturating_add(1);
    let tell = read.item.recovery.stop(reason);
    let mut changes = Changes::new(app, app.now());
    release(app, &mut changes, &mut read).await?;
    store_turn(app, changes, read, tell, None).await
}

/// Waits without losing the rung: at the end of the practice day it is lost by itself.
async fn wait(app: &App, mut read: Read<StoredRecovery>, seconds: i64, why: &str) -> Result<(), Unfinished> {
    read.item.recovery.next_at = Some(after(app.now(), seconds));
    why.clone_into(&mut read.item.recovery.why);
    Ok(app.store.save(&mut read).await?)
}

async fn release_and_wait(app: &App, mut read: Read<StoredRecovery>, seconds: i64, why: &str) -> Result<(), Unfinished> {
    let mut changes = Changes::new(app, app.now());
    release(app, &mut changes, &mut read).await?;
    read.item.recovery.next_at = Some(after(app.now(), seconds));
    why.clone_into(&mut read.item.recovery.why);
    changes.unit.update(&read);
    changes.commit().await
}

/// Claims every invoice. None: another recovery holds one; this one waits.
async fn claim_all(app: &App, mut read: Read<StoredRecovery>) -> Result<Option<Read<StoredRecovery>>, Unfinished> {
    if read.item.recovery.claims {
        return Ok(Some(read));
    }
    let payment = read.item.recovery.payment().clone();
    let mut changes = Changes::new(app, app.now());
    for (invoice, _) in &read.item.recovery.invoices {
        match app.store.claim(invoice).await? {
            Some(held) if held.item.payment != payment => {
                wait(app, read, AGAIN_S, "another recovery is charging for the same invoice").await?;
                return Ok(None);
            }
            Some(_) => {}
            None => changes.unit.insert(&InvoiceClaim { invoice: invoice.clone(), payment: payment.clone() }),
        }
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
    let recovery = &mut read.item.recovery;
    let Some(card) = recovery.payment_method.clone() else {
        return stop(app, read, StopReason::NeedsClient).await;
    };
    let n = u32::try_from(recovery.attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
    recovery.attempts.push(Attempt {
        n,
        at: now,
        date: app.local_date(now),
        key: format!("vesper-retry-{}-{n}", recovery.payment()),
        payment_method: card,
        amount: recovery.failure.amount,
        charge_before: go.intent.latest_charge.map(|c| c.to_string()),
        outcome: Outcome::Unknown,
    });
    recovery.next_at = Some(after(now, ASK_AGAIN_S.saturating_mul(2)));
    "an attempt is being made".clone_into(&mut recovery.why);
    let payment = recovery.payment().clone();
    let mut changes = Changes::new(app, now);
    go.loaded.bump_all(&mut changes.unit);
    changes.audit("attempt", payment.as_str(), &format!("attempt {n}"));
    changes.unit.update(&read);
    changes.commit().await?;
    crate::domain_event("recovery_attempted", payment.as_str(), read.item.recovery.failure.amount);
    let Some(read) = app.store.recovery(&payment).await? else { return Ok(()) };
    call(app, read).await
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
        Class::OutcomeUnknown => wait(app, read, 1, "the outcome of an attempt is being asked for").await,
        Class::Conflict => wait(app, read, ASK_AGAIN_S, "Stripe is still at the same attempt").await,
        Class::Throttled { retry_after_s } => {
            wait(app, read, i64::from(retry_after_s.unwrap_or(0)).max(ASK_AGAIN_S), "Stripe asked for a pause").await
        }
        Class::Transient | Class::Unauthorized => wait(app, read, ASK_AGAIN_S, "Stripe could not be reached").await,
        Class::Rejected | Class::NotFound | Class::Bug => {
            let code = e.code.clone().unwrap_or_else(|| "refused".to_owned());
            ended(app, read, &code, StopReason::NeedsClient).await
        }
    }
}

/// An attempt was recorded and its outcome is not known: Stripe says what became of it.
async fn ask_for_outcome(app: &App, read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    let Some(attempt) = read.item.recovery.open_attempt().cloned() else { return Ok(()) };
    let intent = match app.stripe.payment_intent(read.item.recovery.payment()).await {
        Ok(intent) => intent,
        Err(e) => {
            tracing::warn!(payment.id = %read.item.recovery.payment(), problem = %e, "an attempt's outcome could not be asked for");
            return wait(app, read, ASK_AGAIN_S, "the outcome of an attempt is being asked for").await;
        }
    };
    match intent.status.as_str() {
        "succeeded" => succeeded(app, read).await,
        "processing" | "requires_capture" => processing(app, read).await,
        "requires_payment_method" if made_since(&attempt, &intent) => match intent.failure {
            Some(failure) => declined(app, read, failure).await,
            None => ended(app, read, "declined", StopReason::NeedsClient).await,
        },
        "requires_payment_method" | "requires_confirmation" => repeat(app, read, &attempt).await,
        other => other_state(app, read, other).await,
    }
}

/// The PaymentIntent has another charge than before the attempt: it was made.
fn made_since(attempt: &Attempt, intent: &PaymentIntentNow) -> bool {
    intent.latest_charge.as_ref().map(ToString::to_string) != attempt.charge_before
}

/// Stripe shows that the attempt was never made. On its own day it is made again, under the same key; the key protects for
/// 24 hours (facts/stripe.md section 4). Later it is over.
async fn repeat(app: &App, read: Read<StoredRecovery>, attempt: &Attempt) -> Result<(), Unfinished> {
    if attempt.date != app.local_date(app.now()) {
        let mut read = read;
        if let Some(last) = read.item.recovery.attempts.last_mut() {
            last.outcome = Outcome::Ended { status: "never made".to_owned() };
        }
        let next = read.item.recovery.next(&app.policy, app.now());
        return turn(app, read, next).await;
    }
    if pause::current(app).await?.holds_retries() {
        return wait(app, read, AGAIN_S, "held by a pause").await;
    }
    match look(app, &read.item.recovery).await? {
        Verdict::Go(_) => call(app, read).await,
        Verdict::Stop(reason) => ended(app, read, "never made", reason).await,
        Verdict::NotNow(why) => wait(app, read, PROCESSING_S, why).await,
        Verdict::CannotRead(_) => wait(app, read, AGAIN_S, "the guard could not read everything").await,
    }
}

// -------------------------------------------------------------------- outcomes

fn set_outcome(read: &mut Read<StoredRecovery>, outcome: Outcome) {
    if let Some(last) = read.item.recovery.attempts.last_mut() {
        last.outcome = outcome;
    }
}

/// The card was charged. The payment itself comes by the ordinary path; the claims stay until it is decided and written.
async fn succeeded(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    set_outcome(&mut read, Outcome::Succeeded);
    let recovery = &mut read.item.recovery;
    recovery.state = RecoveryState::Recovered;
    recovery.stop_reason = None;
    "an attempt succeeded".clone_into(&mut recovery.why);
    recovery.next_at = Some(after(app.now(), ASK_AGAIN_S));
    let mut changes = Changes::new(app, app.now());
    resolve_reviews(app, &mut changes, recovery.payment(), "recovered").await?;
    crate::domain_event("recovered", recovery.payment().as_str(), recovery.failure.amount);
    store_turn(app, changes, read, false, None).await
}

async fn declined(app: &App, mut read: Read<StoredRecovery>, failure: Failure) -> Result<(), Unfinished> {
    let code = failure.decline_code.clone().or_else(|| failure.code.clone()).unwrap_or_else(|| "no code".to_owned());
    set_outcome(&mut read, Outcome::Declined { code });
    let now = app.now();
    let recovery = &mut read.item.recovery;
    // What the PaymentIntent is for stays as it was at the first failure; only the decline is new.
    let reference = recovery.failure.reference.clone();
    recovery.failure = Failure { reference, ..failure };
    recovery.blocked = false;
    recovery.last_failed_at = now;
    let next = recovery.next(&app.policy, now);
    turn(app, read, next).await
}

async fn processing(app: &App, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    set_outcome(&mut read, Outcome::Processing);
    wait(app, read, PROCESSING_S, "Stripe is processing an attempt").await
}

async fn other_state(app: &App, read: Read<StoredRecovery>, status: &str) -> Result<(), Unfinished> {
    match status {
        "succeeded" => ended(app, read, status, StopReason::Paid).await,
        "canceled" => ended(app, read, status, StopReason::Canceled).await,
        "processing" | "requires_capture" => processing(app, read).await,
        other => ended(app, read, other, StopReason::NeedsClient).await,
    }
}

async fn ended(app: &App, mut read: Read<StoredRecovery>, status: &str, reason: StopReason) -> Result<(), Unfinished> {
    set_outcome(&mut read, Outcome::Ended { status: status.to_owned() });
    stop(app, read, reason).await
}
