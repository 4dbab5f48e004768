//! Money that arrived: decided once, parked, looked at again, asked about.

use super::waiting::HasRow;
use super::{customers, movements};
use crate::app::App;
use crate::changes::{Ask, Changes, allocation_row, owners};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::recovery;
use crate::task::Task;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::{Beginning, Loaded};
use vesper_adapters::dynamo::model::{OwnLink, StoredEvent, StoredPayment};
use vesper_adapters::dynamo::store::{RowRef, park};
use vesper_core::effect::Effect;
use vesper_core::event::{Event, Success};
use vesper_core::ids::{EventId, PaymentId};
use vesper_core::matching::{ANSWERS_MAX, Case, Decision, Look, Stands, Watch, decide};
use vesper_core::money::Minor;
use vesper_core::payment::{Dates, Payment, PaymentState};
use vesper_core::review::{Answer, Question, Reason};

/// A parked payment is looked at once so often besides its wake-ups, in seconds.
const LOOK_EVERY_S: i64 = 3600;

fn after_s(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// A payment succeeded: decided if nobody has decided it. Whether the event has a row of its own.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn succeeded(app: &App, event: &Event, success: &Success) -> Result<HasRow, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        // On the heap: a payout decides what it finds missing, and is deep itself.
        match Box::pin(first_look(app, event, success)).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
            Ok(has_row) => {
                // Whoever stores a refund or a failure of this payment looks for the payment after that, and this reads them after
                // the payment: one of the two sees the other.
                if movements::settle(app, &success.payment).await?.has_failed {
                    recovery::paid(app, &success.payment).await?;
                }
                return Ok(has_row);
            }
        }
    }
    Err(Unfinished::Contended { subject: success.payment.to_string() })
}

/// A payment whose success event never came, fetched from Stripe: decided as if it had.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn decide_fetched(app: &App, event: &Event, success: &Success) -> Result<(), Unfinished> {
    Box::pin(succeeded(app, event, success)).await.map(drop)
}

async fn first_look(app: &App, event: &Event, success: &Success) -> Result<HasRow, Unfinished> {
    let beginning = app.store.beginning(success, Some(&event.id)).await?;
    let has_row = HasRow::of(beginning.event.as_ref());
    let rev = match &beginning.payment {
        Some(read) if is_wanted_now(app, &read.item.payment) => read.rev,
        Some(_) => return heard_again(app, event, success).await.map(|()| has_row),
        None => 0,
    };
    // When the money was taken counts, not when the PaymentIntent was made: what is taken later is in no opening balance.
    if event.created < app.go_live {
        before_go_live(app, event, success).await?;
    } else {
        decide_now(app, event, success, rev, beginning).await?;
    }
    Ok(has_row)
}

/// Decides a payment that nobody has decided; `rev` is the revision of its row.
async fn decide_now(app: &App, event: &Event, success: &Success, rev: u64, beginning: Box<Beginning>) -> Result<(), Unfinished> {
    let now = app.now();
    let loaded = Box::pin(customers::load_from(app, success, beginning)).await?;
    let local_date = app.local_date(event.created);
    let case = Case { success, amount: success.amount, local_date, look: Look::First };
    let decision = decided(app, &loaded, &case).await?;
    let mut payment = blank(app, event, success, &decision);
    let watch = decision.watch.clone();
    let step = payment.decide_first(decision, Dates { money: local_date, decision: app.local_date(now) });
    let mut changes = Changes::new(app, now);
    changes.allocate(&payment, &step);
    commit_decision(changes, Read { item: stored(app, payment), rev, sealed: None }, &loaded, &BTreeSet::new()).await?;
    look_after_parking(app, &success.payment, &watch).await
}

/// Money that was left alone because it was taken before go_live, and is no longer: a person has moved go_live back. What was
/// refunded or disputed of it stays as it was recorded.
#[must_use]
pub fn is_wanted_now(app: &App, payment: &Payment) -> bool {
    let untouched = payment.refunded.is_zero() && payment.disputed.is_zero();
    payment.state == PaymentState::BeforeGoLive && !payment.shadow && payment.charged_at >= app.go_live && untouched
}

/// The core's decision; for `unknown_client` with the invoices of the same amount to show.
pub(crate) async fn decided(app: &App, loaded: &Loaded, case: &Case<'_>) -> Result<Decision, Unfinished> {
    let mut decision = decide(&loaded.world, case, &app.policy.matching);
    if let Some(question) = decision.question.as_mut().filter(|q| q.reason == Reason::UnknownClient) {
        let most = u32::try_from(ANSWERS_MAX).unwrap_or(u32::MAX);
        let same = app.store.invoices_open_at(case.success.currency, case.amount, most).await?;
        question.answers = same.into_iter().map(|i| Answer::Apply(vec![(i.id, case.amount)])).collect();
    }
    Ok(decision)
}

fn blank(app: &App, event: &Event, success: &Success, decision: &Decision) -> Payment {
    let now = app.now();
    let wait_s = i64::from(app.policy.matching.wait_for_invoice_h).saturating_mul(3600);
    Payment {
        success: success.clone(),
        event: event.id.clone(),
        events: vec![event.id.clone()],
        charged_at: event.created,
        first_delivered_at: now,
        deadline: after_s(now, wait_s),
        state: PaymentState::Parked,
        decision: decision.clone(),
        shares: Vec::new(),
        unapplied: success.amount,
        credit: Minor::ZERO,
        refunded: Minor::ZERO,
        disputed: Minor::ZERO,
        taken_off: Minor::ZERO,
        shadow: app.is_shadow(),
        postings: 0,
        credit_by_hand: false,
    }
}

fn stored(app: &App, payment: Payment) -> StoredPayment {
    let look_at = (payment.state == PaymentState::Parked).then(|| after_s(app.now(), LOOK_EVERY_S).min(payment.deadline));
    StoredPayment { payment, look_at }
}

/// Commits a decision with everything that hangs on it, conditioned on the versions that were read before the candidates.
/// `waited_for`: what it has waited for so far.
async fn commit_decision(
    mut changes: Changes<'_>,
    read: Read<StoredPayment>,
    loaded: &Loaded,
    waited_for: &BTreeSet<Watch>,
) -> Result<(), Unfinished> {
    let payment = &read.item.payment;
    debug_assert!(payment.check().is_ok(), "invariant 1 before the write");
    let decision = &payment.decision;
    if payment.state == PaymentState::Parked {
        park(&mut changes.unit, payment.id(), payment.first_delivered_at, waited_for, &decision.watch);
    }
    if let Some(question) = decision.question.clone() {
        changes.ask(Ask::about_payment(payment.id(), question, "decision")).await?;
    }
    link(&mut changes, payment, loaded);
    changes.note_money_left(payment);
    loaded.bump_all(&mut changes.unit);
    changes.audit(
        "decided",
        payment.id().as_str(),
        &format!("{} rule {}: {}", payment.state.as_str(), decision.rule, decision.why),
    );
    tracing::info!(payment.id = %payment.id(), rule = decision.rule, state = payment.state.as_str(), "decided");
    changes.unit.update(&read);
    changes.commit().await
}

/// Rule 14: claims customer and client, and touches the e-mail, so that no other link of either slips in between.
fn link(changes: &mut Changes<'_>, payment: &Payment, loaded: &Loaded) {
    let (Some(client), Some(customer)) = (&payment.decision.link, &payment.success.customer) else { return };
    let mut row = loaded.customer.clone().unwrap_or_else(|| customers::unknown(customer));
    if row.item.own.is_some() {
        return;
    }
    row.item.own = Some(client.clone());
    changes.unit.update(&row);
    if let Some(email) = &loaded.email {
        changes.unit.update(email);
    }
    let at = changes.now();
    changes.unit.insert(&OwnLink { client: client.clone(), customer: customer.clone(), payment: payment.id().clone(), at });
    changes.audit("linked", customer.as_str(), &format!("to {client} by e-mail"));
}

/// What arrived between reading and parking looked for this payment's wish before it stood there: look once more.
async fn look_after_parking(app: &App, payment: &PaymentId, watch: &BTreeSet<Watch>) -> Result<(), Unfinished> {
    if watch.is_empty() {
        return Ok(());
    }
    Box::pin(look(app, payment)).await
}

/// Rule 1: the payment is known. What of its effects still waits is woken again.
async fn heard_again(app: &App, event: &Event, success: &Success) -> Result<(), Unfinished> {
    let file = app.store.payment_file(&success.payment).await?;
    let Some(mut read) = file.payment else { return Ok(()) };
    let known = &mut read.item.payment;
    if (known.success.amount, known.success.currency) != (success.amount, success.currency) {
        let mut changes = Changes::new(app, app.now());
        let salt = format!("{} {}", success.amount.get(), success.currency);
        let question = Question::new(Reason::ChangedPayment, vec![], "the same payment was told with another amount or currency");
        changes.ask(Ask::about_payment(&success.payment, question, &salt)).await?;
        changes.commit().await?;
    } else if !known.events.contains(&event.id) && known.events.len() < 20 {
        known.events.push(event.id.clone());
        app.store.save(&mut read).await?;
    }
    for posting in file.postings.iter().filter(|p| p.item.effect.is_waiting()) {
        app.queues.send(Task::BooksV1 { row: RowRef::of(&posting.item) }, 0).await?;
    }
    for share in &read.item.payment.shares {
        let row = allocation_row(app, read.item.payment.id(), share).await?;
        let waits = |r: &&Read<_>| -> bool {
            let r: &Read<vesper_adapters::dynamo::model::StoredAllocation> = r;
            !r.item.worklist && r.item.effect.as_ref().is_some_and(Effect::is_waiting)
        };
        if let Some(row) = row.as_ref().filter(waits) {
            app.queues.send(Task::WriteBackV1 { row: RowRef::of(&row.item) }, 0).await?;
        }
    }
    Ok(())
}

/// Money older than go_live explains payouts, and nothing else.
async fn before_go_live(app: &App, event: &Event, success: &Success) -> Result<(), Unfinished> {
    let decision = Decision {
        stands: Stands::Decided,
        rule: 0,
        allocations: Vec::new(),
        unapplied: success.amount,
        credit: false,
        question: None,
        link: None,
        payer: None,
        watch: BTreeSet::new(),
        why: "it was made before go_live".to_owned(),
        rivals: Vec::new(),
    };
    let mut payment = blank(app, event, success, &decision);
    payment.state = PaymentState::BeforeGoLive;
    let mut changes = Changes::new(app, app.now());
    changes.audit("recorded", success.payment.as_str(), "before_go_live");
    changes.unit.insert(&StoredPayment { payment, look_at: None });
    changes.commit().await
}

/// What became of a charge.
pub struct Completed {
    /// Its payment is known, and has what the charge told.
    pub is_known: bool,
    /// The row of the event that told it, if it has one.
    pub row: Option<Box<Read<StoredEvent>>>,
}

/// A charge, of which `event` told, completes its payment: charge id and balance transaction.
///
/// # Errors
/// When the store does not answer.
pub async fn complete(app: &App, charge: &Success, event: Option<&EventId>) -> Result<Completed, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        let (known, row) = app.store.payment_and_event(&charge.payment, event).await?;
        let Some(mut read) = known else { return Ok(Completed { is_known: false, row }) };
        let known = &mut read.item.payment.success;
        let names_charge = known.charge.is_none() && charge.charge.is_some();
        let news = (known.charge.is_none() && charge.charge.is_some())
            || (known.balance_transaction.is_none() && charge.balance_transaction.is_some());
        if !news {
            return Ok(Completed { is_known: true, row });
        }
        known.charge = known.charge.take().or_else(|| charge.charge.clone());
        known.balance_transaction = known.balance_transaction.take().or_else(|| charge.balance_transaction.clone());
        let mut changes = Changes::new(app, app.now());
        if names_charge {
            let owners = owners(app, &read.item.payment).await?;
            let loaded = app.store.versions_of(owners.into_iter().collect()).await?;
            // The EHR may show the allocations under the charge's id.
            for share in &read.item.payment.shares {
                if let Some(mut row) = allocation_row(app, &charge.payment, share).await? {
                    row.item.allocation.charge.clone_from(&charge.charge);
                    changes.unit.update(&row);
                }
            }
            loaded.bump_all(&mut changes.unit);
        }
        changes.unit.update(&read);
        match changes.commit().await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
            Ok(()) => {
                // What is decided already is not looked at again; who parks it after this knows the charge.
                if names_charge && read.item.payment.state == PaymentState::Parked {
                    look(app, &charge.payment).await?;
                }
                return Ok(Completed { is_known: true, row });
            }
        }
    }
    Err(Unfinished::Contended { subject: charge.payment.to_string() })
}

/// Looks at a parked payment again; at its deadline it is decided or asked about.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn look(app: &App, payment: &PaymentId) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match look_once(app, payment).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

async fn look_once(app: &App, id: &PaymentId) -> Result<(), Unfinished> {
    let Some(read) = app.store.payment(id).await? else { return Ok(()) };
    if read.item.payment.state != PaymentState::Parked {
        return Ok(app.store.stop_waiting(id).await?);
    }
    let mut payment = read.item.payment.clone();
    let beginning = app.store.beginning(&payment.success, None).await?;
    let now = app.now();
    let loaded = Box::pin(customers::load_from(app, &payment.success, beginning)).await?;
    let local_date = app.local_date(payment.charged_at);
    let look = if now >= payment.deadline { Look::Deadline } else { Look::Again };
    let success = payment.success.clone();
    let case = Case { success: &success, amount: payment.to_decide(), local_date, look };
    let decision = decided(app, &loaded, &case).await?;
    if decision.stands == Stands::Parked {
        return stay_parked(app, read, decision, &loaded).await;
    }
    let step = payment.decide_later(decision, Dates { money: local_date, decision: app.local_date(now) });
    let mut changes = Changes::new(app, now);
    changes.allocate(&payment, &step);
    let item = StoredPayment { payment, look_at: None };
    commit_decision(changes, Read { item, rev: read.rev, sealed: None }, &loaded, &BTreeSet::new()).await?;
    Ok(app.store.stop_waiting(id).await?)
}

/// Still parked: what it waits for may be more by now, and rule 14 may have linked its customer.
async fn stay_parked(app: &App, mut read: Read<StoredPayment>, decision: Decision, loaded: &Loaded) -> Result<(), Unfinished> {
    let payment = &mut read.item.payment;
    let known = (&payment.decision.watch, &payment.decision.payer, payment.decision.rule);
    let news = decision.link.is_some() || known != (&decision.watch, &decision.payer, decision.rule);
    let waited_for = std::mem::replace(&mut payment.decision, decision).watch;
    let look_at = stored(app, payment.clone()).look_at;
    if !news {
        if read.item.look_at == look_at {
            return Ok(());
        }
        read.item.look_at = look_at;
        return Ok(app.store.save(&mut read).await?);
    }
    read.item.look_at = look_at;
    commit_decision(Changes::new(app, app.now()), read, loaded, &waited_for).await
}

/// Looks at these parked payments again, in their order.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn look_at_all(app: &App, arrived: &BTreeSet<Watch>) -> Result<(), Unfinished> {
    for payment in app.store.parked_for(arrived).await? {
        look(app, &payment).await?;
    }
    Ok(())
}
