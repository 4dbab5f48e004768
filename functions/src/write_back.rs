//! write-back: records an allocation in the EHR, or takes a part of one back. Idempotent by its row; whoever takes over a call
//! whose outcome is unknown asks the EHR by reference first. What the bridge cannot write by its own word (its capabilities), and
//! everything with `ehr.kind = "files"`, is handed over to a person (`worklist`) instead of being tried.
//!
//! Must not: decide, or write anything on the payer portion.

#[cfg(test)]
mod tests;

use crate::app::{App, Held};
use crate::changes::{Ask, Changes, next_salt};
use crate::failure::Unfinished;
use crate::task::Task;
use crate::{dead_letters, pause, worklist};
use jiff::Timestamp;
use vesper_adapters::dynamo::item::{Read, Stored};
use vesper_adapters::dynamo::model::{BackReason, StoredAllocation, StoredReversal};
use vesper_adapters::dynamo::store::{RowRef, WriteBack};
use vesper_adapters::ehr::{BridgeClient, Capabilities, NewPayment, NewReversal, ReversalReason, WriteMethod};
use vesper_adapters::error::{CallError, Class};
use vesper_core::credit;
use vesper_core::effect::{BACKOFF_MAX_S, Begin, Effect, EffectState, Failure};
use vesper_core::ids::EhrPaymentId;
use vesper_core::money::Minor;
use vesper_core::records::EhrPayment;
use vesper_core::review::{Answer, Question, Reason};

/// A reversal waits at least so long for what comes before it, in seconds.
const WAIT_S: i64 = 5;
/// What a reversal says that waits for its payment.
const NOT_WRITTEN: &str = "the payment it takes back is not written yet";
/// What a reversal says that waits for an earlier one.
const NOT_FIRST: &str = "an earlier reversal of the same payment is not done yet";

/// A row that carries a write-back effect.
trait Writes: Stored {
    fn effect(&self) -> Option<&Effect>;
    fn effect_mut(&mut self) -> Option<&mut Effect>;
    fn is_worklist(&self) -> bool;
}

impl Writes for StoredAllocation {
    fn effect(&self) -> Option<&Effect> {
        self.effect.as_ref()
    }
    fn effect_mut(&mut self) -> Option<&mut Effect> {
        self.effect.as_mut()
    }
    fn is_worklist(&self) -> bool {
        self.worklist
    }
}

impl Writes for StoredReversal {
    fn effect(&self) -> Option<&Effect> {
        Some(&self.effect)
    }
    fn effect_mut(&mut self) -> Option<&mut Effect> {
        Some(&mut self.effect)
    }
    fn is_worklist(&self) -> bool {
        self.worklist
    }
}

/// Works off one write-back.
///
/// # Errors
/// When the store or a queue does not answer; the EHR's failures are written into the row.
pub async fn write(app: &App, place: &RowRef) -> Result<(), Unfinished> {
    let (row, pause) = pause::with_write_back(app, place).await?;
    // What a live time left must not be written in shadow mode either.
    let is_held = app.is_shadow() || pause.holds_write_backs();
    let outcome = match row {
        Some(WriteBack::Allocation(read)) => record(app, read, is_held).await,
        Some(WriteBack::Reversal(read)) => reverse(app, read, is_held).await,
        None => Ok(()),
    };
    match outcome {
        // Somebody else changed the row meanwhile: its own message or `due` goes on with it.
        Err(e) if e.is_conflict() => app.queues.send(Task::WriteBackV1 { row: place.clone() }, 1).await.map_err(Unfinished::from),
        other => other,
    }
}

/// Takes the row for this piece of work: None when there is nothing to do now, else whether to ask first. Who goes on stores it
/// before he calls anybody: with [`calling`], or before that, where something is to be read or asked on the way.
async fn begin<T: Writes>(app: &App, held: &Held<'_>, read: &mut Read<T>, is_held: bool) -> Result<Option<bool>, Unfinished> {
    let now = app.now();
    let worklist = read.item.is_worklist();
    let Some(effect) = read.item.effect_mut().filter(|_| !worklist) else { return Ok(None) };
    if is_held && effect.is_waiting() {
        effect.put_off(now, pause::HELD_S, pause::WRITE_BACKS_HELD);
        effect.since = now; // A pause does not count towards the 24 hours.
        app.store.save(read).await?;
        return Ok(None);
    }
    match effect.begin(now, &held.owner, |lease| app.host.alive(lease)) {
        Begin::Finished | Begin::NotNow => Ok(None),
        Begin::Go { ask_first } => Ok(Some(ask_first)),
    }
}

/// Notes that the call is made now, before it is made.
async fn calling<T: Writes>(app: &App, read: &mut Read<T>) -> Result<(), Unfinished> {
    if let Some(effect) = read.item.effect_mut() {
        effect.calling(app.now());
    }
    Ok(app.store.save(read).await?)
}

// -------------------------------------------------------------------- recording

async fn record(app: &App, mut read: Read<StoredAllocation>, is_held: bool) -> Result<(), Unfinished> {
    let held = Held::new(app);
    let Some(ask_first) = begin(app, &held, &mut read, is_held).await? else { return Ok(()) };
    let Some(bridge) = &app.ehr.bridge else { return worklist::hand_over_payment(app, read, ask_first).await };
    let known = bridge.capabilities_known(app.now().as_second());
    // With nothing to read or to ask before the write, that the row is ours is stored with the moment of the write.
    if ask_first || known.is_none() || !read.item.allocation.reversed.is_zero() {
        app.store.save(&mut read).await?;
    }
    let amount = to_write(app, &read.item).await?;
    if !amount.is_positive() {
        return recorded(app, read, None).await;
    }
    if ask_first {
        match bridge.payment_by_reference(&read.item.allocation.reference, app.host.real_unix_s()).await {
            Ok(Some(found)) => return recorded(app, read, Some(&found)).await,
            Ok(None) => {
                if !may_call_again(app, bridge, &mut read).await? {
                    return later(app, read).await;
                }
            }
            Err(e) => return could_not_ask(app, read, &e).await,
        }
    }
    let can = match known {
        Some(can) => Ok(can),
        None => bridge.capabilities_lately(app.now().as_second(), app.host.real_unix_s()).await,
    };
    match can {
        Ok(can) if can.writes_payments => {}
        Ok(_) => return worklist::hand_over_payment(app, read, false).await,
        Err(e) => return could_not_ask(app, read, &e).await,
    }
    calling(app, &mut read).await?;
    let allocation = &read.item.allocation;
    let new = NewPayment {
        invoice: allocation.invoice.clone(),
        amount,
        currency: read.item.currency,
        method: if allocation.rule == credit::RULE { WriteMethod::Credit } else { WriteMethod::Card },
        posted_on: read.item.posted_on,
        reference: allocation.reference.clone(),
    };
    match bridge.post_payment(&new, app.host.real_unix_s()).await {
        Ok(payment) => recorded(app, read, Some(&payment)).await,
        Err(e) if cannot_any_more(app, bridge, &e, |can| can.writes_payments).await => {
            worklist::hand_over_payment(app, read, false).await
        }
        Err(e) => failed(app, read, &e).await,
    }
}

/// Whether a write was refused because the bridge stopped writing since it was asked last: then that is no refusal of this one.
async fn cannot_any_more(app: &App, bridge: &BridgeClient, e: &CallError, writes: impl Fn(&Capabilities) -> bool) -> bool {
    if failure_of(e) != Failure::Refused {
        return false;
    }
    let now = bridge.capabilities_now(app.now().as_second(), app.host.real_unix_s()).await;
    now.is_ok_and(|can| !writes(&can))
}

/// What is to be written: the allocation, less what an adjudication took off before it was written. What refunds took back and is
/// still to be reversed is written and then reversed, so that the EHR tells the same story; a reversal that is done already found
/// nothing to take back, so its part is never written.
async fn to_write(app: &App, row: &StoredAllocation) -> Result<Minor, Unfinished> {
    if row.allocation.reversed.is_zero() {
        return Ok(row.allocation.amount); // Every reversal is stored with the row it takes back from: there is none.
    }
    let reversals = app.store.reversals(&row.allocation.client, &row.allocation.payment).await?;
    let to_come = reversals.iter().map(|r| &r.item).filter(|r| r.n == row.n && r.effect.state != EffectState::Done);
    let ours = Minor::sum(to_come.map(|r| r.amount));
    Ok(row.allocation.amount.minus(row.allocation.reversed.minus(ours).or_zero()))
}

async fn recorded(app: &App, mut read: Read<StoredAllocation>, payment: Option<&EhrPayment>) -> Result<(), Unfinished> {
    let subject = read.item.allocation.payment.clone();
    read.item.ehr_payment = payment.map(|p| p.id.clone()).or(read.item.ehr_payment);
    let Some(effect) = read.item.effect.as_mut() else { return Ok(()) };
    let (id, had_failed) = (effect.id.clone(), effect.problem.is_some());
    effect.succeed();
    let mut changes = Changes::new(app, app.now());
    changes.audit(
        "wrote_back",
        subject.as_str(),
        &format!("{} on {}", read.item.allocation.amount, read.item.allocation.invoice),
    );
    changes.unit.update(&read);
    tracing::info!(payment.id = %subject, "recorded in the EHR");
    changes.commit().await?;
    if had_failed { dead_letters::resolved(app, id.as_str()).await } else { Ok(()) }
}

// -------------------------------------------------------------------- taking back

async fn reverse(app: &App, mut read: Read<StoredReversal>, is_held: bool) -> Result<(), Unfinished> {
    let held = Held::new(app);
    let Some(ask_first) = begin(app, &held, &mut read, is_held).await? else { return Ok(()) };
    app.store.save(&mut read).await?;
    let row = app.store.allocation(&read.item.client, &read.item.payment, read.item.n).await?;
    let Some(allocation) = row else { return nothing_there(app, read, None, "its allocation is gone").await };
    if allocation.item.is_worklist_item() {
        return worklist::cancel(app, allocation, read).await;
    }
    let effect = allocation.item.effect.as_ref();
    if allocation.item.ehr_payment.is_none() && effect.is_some_and(Effect::is_waiting) {
        return wait(app, read, NOT_WRITTEN).await;
    }
    let Some(bridge) = &app.ehr.bridge else { return worklist::hand_over_reversal(app, read, ask_first).await };
    let others = others(app, &read.item).await?;
    if others.first {
        return wait(app, read, NOT_FIRST).await;
    }
    if matches!(read.item.effect.problem.as_deref(), Some(NOT_WRITTEN | NOT_FIRST)) {
        read.item.effect.since = app.now(); // What it waited for does not count towards its 24 hours.
    }
    let written = match written_id(app, bridge, &allocation.item).await {
        Ok(Some(id)) => id,
        Ok(None) => return nothing_there(app, read, Some(&allocation), "the payment was never written").await,
        Err(e) => return could_not_ask(app, read, &e).await,
    };
    if ask_first {
        let found = match bridge.payment_by_reference(&allocation.item.allocation.reference, app.host.real_unix_s()).await {
            Ok(found) => found.map_or(Minor::ZERO, |p| p.reversed),
            Err(e) => return could_not_ask(app, read, &e).await,
        };
        let may_call = match others.is_in(found, read.item.amount) {
            Some(true) => return reversed(app, read, "found reversed").await,
            Some(false) => may_call_again(app, bridge, &mut read).await?,
            // A sum does not tell whose reversal it holds. Where a key protects, the same call under it does.
            None if is_idempotent(app, bridge).await => true,
            None => {
                let problem = "the EHR has reversed something of this payment, and nobody can say whether that is this reversal";
                let died = read.item.effect.fail_to_ask(app.now(), None, problem);
                return after_failure(app, read, died, None).await;
            }
        };
        if !may_call {
            return later(app, read).await;
        }
    }
    match bridge.capabilities_lately(app.now().as_second(), app.host.real_unix_s()).await {
        Ok(can) if can.reverses_payments => {}
        Ok(_) => return worklist::hand_over_reversal(app, read, false).await,
        Err(e) => return could_not_ask(app, read, &e).await,
    }
    calling(app, &mut read).await?;
    let new = NewReversal {
        amount: read.item.amount,
        currency: read.item.currency,
        reason: match read.item.reason {
            BackReason::Refund => ReversalReason::Refund,
            BackReason::Dispute => ReversalReason::Dispute,
            BackReason::Correction => ReversalReason::Correction,
        },
        posted_on: read.item.posted_on,
    };
    match bridge.reverse(&written, &new, &read.item.reference, app.host.real_unix_s()).await {
        Ok(_) => reversed(app, read, "reversed").await,
        Err(e) if cannot_any_more(app, bridge, &e, |can| can.reverses_payments).await => {
            worklist::hand_over_reversal(app, read, false).await
        }
        Err(e) => failed(app, read, &e).await,
    }
}

/// What comes before it is not done: longer each time, for it may take hours.
async fn wait(app: &App, mut read: Read<StoredReversal>, why: &str) -> Result<(), Unfinished> {
    let waited_s = app.now().duration_since(read.item.effect.since).as_secs();
    read.item.effect.put_off(app.now(), waited_s.clamp(WAIT_S, BACKOFF_MAX_S), why);
    later(app, read).await
}

/// The EHR's id of what was written; of a write-back that died in doubt, by its reference.
async fn written_id(app: &App, bridge: &BridgeClient, row: &StoredAllocation) -> Result<Option<EhrPaymentId>, CallError> {
    if row.ehr_payment.is_some() {
        return Ok(row.ehr_payment.clone());
    }
    let found = bridge.payment_by_reference(&row.allocation.reference, app.host.real_unix_s()).await?;
    Ok(found.map(|p| p.id))
}

/// The other reversals of the same allocation.
struct Others {
    /// An earlier one is on its way: it comes first, or nobody could tell afterwards which of the two the EHR has.
    first: bool,
    /// What those that are done took back.
    done: Minor,
    /// What the EHR may have taken back besides: whose outcome is unknown, or what a person does.
    doubtful: Minor,
}

impl Others {
    /// Whether this amount, too, is in what the EHR has reversed; None when that cannot be told: others are in doubt, or the EHR has
    /// reversed more than we did, by somebody else's hand.
    fn is_in(&self, found: Minor, amount: Minor) -> Option<bool> {
        let least = self.done.plus(amount);
        if found < least {
            return Some(false);
        }
        (found == least.plus(self.doubtful)).then_some(true)
    }
}

async fn others(app: &App, row: &StoredReversal) -> Result<Others, Unfinished> {
    let all = app.store.reversals(&row.client, &row.payment).await?;
    let others: Vec<&StoredReversal> =
        all.iter().map(|r| &r.item).filter(|r| r.n == row.n && r.reversal != row.reversal).collect();
    let sum = |which: &dyn Fn(&StoredReversal) -> bool| Minor::sum(others.iter().filter(|r| which(r)).map(|r| r.amount));
    let is_done = |r: &StoredReversal| r.effect.state == EffectState::Done;
    Ok(Others {
        first: others.iter().any(|r| r.reversal < row.reversal && !r.worklist && r.effect.is_waiting()),
        done: sum(&|r| is_done(r) && !r.effect.is_canceled()),
        doubtful: sum(&|r| !is_done(r) && (r.worklist || r.effect.unknown_since.is_some())),
    })
}

async fn reversed(app: &App, mut read: Read<StoredReversal>, how: &str) -> Result<(), Unfinished> {
    let had_failed = read.item.effect.problem.is_some();
    read.item.effect.succeed();
    taken_back(app, read, None, how, had_failed).await
}

/// The EHR holds nothing that could be reversed: the reversal is done, and counts for no other. On the condition that its allocation
/// is what was read: somebody may send the payment again at this moment.
async fn nothing_there(
    app: &App,
    mut read: Read<StoredReversal>,
    allocation: Option<&Read<StoredAllocation>>,
    why: &str,
) -> Result<(), Unfinished> {
    let had_failed = read.item.effect.problem.is_some();
    read.item.effect.cancel(why);
    taken_back(app, read, allocation, why, had_failed).await
}

async fn taken_back(
    app: &App,
    read: Read<StoredReversal>,
    allocation: Option<&Read<StoredAllocation>>,
    how: &str,
    had_failed: bool,
) -> Result<(), Unfinished> {
    let (id, subject) = (read.item.effect.id.clone(), read.item.payment.clone());
    let mut changes = Changes::new(app, app.now());
    if let Some(allocation) = allocation {
        changes.unit.update(allocation);
    }
    changes.audit("took_back", subject.as_str(), &format!("{} on {}: {how}", read.item.amount, read.item.invoice));
    changes.unit.update(&read);
    tracing::info!(payment.id = %subject, how, "a reversal is done");
    changes.commit().await?;
    if had_failed { dead_letters::resolved(app, id.as_str()).await } else { Ok(()) }
}

// -------------------------------------------------------------------- what went wrong

/// The call was not found: with idempotent writes it is repeated at once under its key, else only after both looks.
async fn may_call_again<T: Writes>(app: &App, bridge: &BridgeClient, read: &mut Read<T>) -> Result<bool, Unfinished> {
    let idempotent = is_idempotent(app, bridge).await;
    let now = app.now();
    Ok(read.item.effect_mut().is_some_and(|effect| effect.not_found(now, idempotent)))
}

/// Whether a key protects a write that is repeated; not when the bridge cannot say so now.
async fn is_idempotent(app: &App, bridge: &BridgeClient) -> bool {
    bridge.capabilities(app.host.real_unix_s()).await.is_ok_and(|can| can.idempotent_writes)
}

/// Saves the row, and wakes it when it is due soon; what is due later is found by `due`.
async fn later<T: Writes>(app: &App, mut read: Read<T>) -> Result<(), Unfinished> {
    app.store.save(&mut read).await?;
    let next_at = read.item.effect().and_then(|e| e.next_at);
    if let Some(wait_s) = next_at.and_then(|at| soon(app.now(), at)) {
        app.queues.send(Task::WriteBackV1 { row: RowRef::of(&read.item) }, wait_s).await?;
    }
    Ok(())
}

/// Seconds until then, when that is within a delayed message's reach.
pub(crate) fn soon(now: Timestamp, at: Timestamp) -> Option<u32> {
    let wait_s = at.duration_since(now).as_secs().max(0);
    (wait_s <= BACKOFF_MAX_S).then(|| u32::try_from(wait_s).unwrap_or(0))
}

async fn could_not_ask<T: Writes>(app: &App, mut read: Read<T>, e: &CallError) -> Result<(), Unfinished> {
    let after_s = if let Class::Throttled { retry_after_s } = e.class { retry_after_s } else { None };
    let now = app.now();
    let died = read.item.effect_mut().is_some_and(|effect| effect.fail_to_ask(now, after_s, e.to_string()));
    after_failure(app, read, died, None).await
}

fn failure_of(e: &CallError) -> Failure {
    match e.class {
        Class::OutcomeUnknown => Failure::Unknown,
        Class::Throttled { retry_after_s } => Failure::Later { after_s: retry_after_s },
        Class::Transient | Class::Conflict | Class::Unauthorized => Failure::Later { after_s: None },
        Class::Rejected | Class::NotFound | Class::Bug => Failure::Refused,
    }
}

async fn failed<T: Writes>(app: &App, mut read: Read<T>, e: &CallError) -> Result<(), Unfinished> {
    let failure = failure_of(e);
    let refused = (failure == Failure::Refused).then(|| e.detail.clone());
    let now = app.now();
    let died = read.item.effect_mut().is_some_and(|effect| effect.fail(now, &failure, e.to_string()));
    tracing::warn!(problem = %e, died, "a write-back failed");
    after_failure(app, read, died, refused).await
}

async fn after_failure<T: Writes>(app: &App, read: Read<T>, died: bool, refused: Option<String>) -> Result<(), Unfinished> {
    if !died {
        return later(app, read).await;
    }
    let Some(effect) = read.item.effect() else { return Ok(()) };
    dead_letters::tell_dead(effect);
    let (reason, answers, why) = match refused {
        Some(detail) => {
            let answers = vec![Answer::Retry, Answer::Undo];
            (Reason::WriteBackRefused, answers, format!("the EHR refuses it for good: {detail}"))
        }
        None => {
            let last = effect.problem.as_deref().unwrap_or_default();
            (Reason::DeadLetter, vec![Answer::Retry], format!("it was tried for 24 hours. The last problem: {last}"))
        }
    };
    let payment = vesper_core::ids::PaymentId::parse(&effect.subject).ok();
    let subject = effect.id.to_string();
    // Not the number of calls: an effect may die again without one in between.
    let salt = next_salt(app, &subject, reason).await?;
    let about = serde_json::to_string(&RowRef::of(&read.item)).ok();
    let mut changes = Changes::new(app, app.now());
    let question = Question::new(reason, answers, why);
    changes.ask(Ask { subject: &subject, payment: payment.as_ref(), question, salt: &salt, about }).await?;
    changes.audit("gave_up", &subject, reason.as_str());
    changes.unit.update(&read);
    changes.commit().await
}

/// A dead write-back goes back to work, by a person's hand.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn redrive(app: &App, place: &RowRef) -> Result<(), Unfinished> {
    let now = app.now();
    match app.store.write_back(place).await? {
        Some(WriteBack::Allocation(mut read)) => {
            if let Some(effect) = read.item.effect.as_mut().filter(|e| e.state == EffectState::Dead) {
                effect.redrive(now);
                app.store.save(&mut read).await?;
            }
        }
        Some(WriteBack::Reversal(mut read)) => {
            if read.item.effect.state == EffectState::Dead {
                read.item.effect.redrive(now);
                app.store.save(&mut read).await?;
            }
        }
        None => return Ok(()),
    }
    Ok(app.queues.send(Task::WriteBackV1 { row: place.clone() }, 0).await?)
}
