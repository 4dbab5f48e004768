//! Recovery of failed cards: opened at the first failure, attempted on its rungs, stopped for one of the reasons of design.md
//! section 5. Every stop that is no success is a question with the whole history.
//!
//! Must not: charge a card in any other way than `attempt`, or any other card than the stored one.

mod attempt;
mod close;
mod guard;
mod rearm;

pub use attempt::attempt;
pub(crate) use close::close_shadow;
pub use close::paid;
pub use rearm::{card_renewed, default_card_changed};

use crate::app::App;
use crate::bus::DomainEvent;
use crate::changes::{Ask, Changes};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::reconcile::customers::load_with_email;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{RecoveryOf, StoredFailure, StoredRecovery};
use vesper_adapters::error::Class;
use vesper_core::event::{Event, Failure};
use vesper_core::matching::Decision;
use vesper_core::recovery::guard::{as_success, forbids_at_first, would_pay};
use vesper_core::recovery::ladder::local_date;
use vesper_core::recovery::steps::asks_who_owns_it;
use vesper_core::recovery::{Decline, Outcome, Recovery, RecoveryState, StopReason, Tell, classify, code_of};
use vesper_core::review::{Answer, Question, Reason};

/// A card payment failed.
///
/// # Errors
/// When the store, a queue or (for what is asked at the first failure) Stripe does not answer.
pub async fn failed(app: &App, event: &Event, failure: &Failure) -> Result<(), Unfinished> {
    if failure.object_created < app.go_live {
        return Ok(());
    }
    for attempt in 0..TRIES_ON_CONFLICT {
        match failed_once(app, event, failure).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
            // The success came meanwhile, and saw nothing of this yet.
            Ok(()) if app.store.payment(&failure.payment).await?.is_some() => return close::paid(app, &failure.payment).await,
            Ok(()) => return Ok(()),
        }
    }
    Err(Unfinished::Contended { subject: failure.payment.to_string() })
}

async fn failed_once(app: &App, event: &Event, failure: &Failure) -> Result<(), Unfinished> {
    if app.store.payment(&failure.payment).await?.is_some() {
        return Ok(()); // It has succeeded: events come in any order.
    }
    if let Some(read) = app.store.recovery(&failure.payment).await? {
        return again(app, event, failure, read).await;
    }
    // What the first failure came to stands: a later one opens nothing that the first one did not.
    let reviews = app.store.reviews_about(failure.payment.as_str()).await?;
    let asked = |r: &Read<vesper_adapters::dynamo::model::StoredReview>| {
        matches!(r.item.review.question.reason, Reason::CardFailed | Reason::UnknownDecline)
    };
    if reviews.iter().any(asked) { Ok(()) } else { open(app, event, failure).await }
}

/// Radar's outcome stands on the charge only; asked where the decline alone would allow another try.
async fn is_blocked(app: &App, failure: &Failure) -> Result<bool, Unfinished> {
    let (Some(charge), Decline::Retry { .. }) = (&failure.charge, classify(failure, false)) else { return Ok(false) };
    match app.stripe.charge(charge).await {
        Ok(now) => Ok(now.blocked),
        Err(e) if e.class == Class::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

async fn open(app: &App, event: &Event, failure: &Failure) -> Result<(), Unfinished> {
    let blocked = is_blocked(app, failure).await?;
    let decline = classify(failure, blocked);
    let first = StoredFailure { failure: failure.clone(), blocked, at: event.created };
    if decline == Decline::Unknown {
        return unknown_decline(app, first).await;
    }
    let mut recovery = Recovery::new(failure.clone(), event.created, blocked, Vec::new(), app.is_shadow());
    let loaded = Box::pin(load_with_email(app, &as_success(failure))).await?;
    let decision = would_pay(&loaded.world, &recovery, &app.policy);
    let forbidden = forbids_at_first(&loaded.world, &decision, &app.policy.retry);
    let asks = asks_who_owns_it(&recovery, forbidden);
    let barred = if asks { not_ours(app, failure, &mut recovery).await? } else { None };
    let now = app.now();
    let Some(tell) = recovery.open(&decision, forbidden, barred, &app.policy, now) else {
        return only_a_review(app, first, &decision).await;
    };
    let mut changes = Changes::new(app, now);
    changes.unit.put(&first);
    if let Some(customer) = recovery.customer().cloned() {
        changes.unit.put(&RecoveryOf { customer, payment: failure.payment.clone() });
    }
    changes.tell(DomainEvent::about_money("payment_failed", failure.payment.as_str(), failure.amount));
    let read = Read { item: StoredRecovery { recovery }, rev: 0, sealed: None };
    store_turn(app, changes, read, tell, Some(&loaded)).await
}

/// Why this PaymentIntent's card cannot be charged by Vesper at all, if so: no customer, no card of his, or somebody else collects
/// it. A hit or no answer forbids the retry, also with another card: it is asked once, at the first failure.
async fn not_ours(app: &App, failure: &Failure, recovery: &mut Recovery) -> Result<Option<&'static str>, Unfinished> {
    let (Some(customer), Some(card)) = (&failure.customer, &failure.payment_method) else {
        return Ok(Some("it has no customer or no payment method that could be charged"));
    };
    recovery.owned = match app.stripe.checkout_owns(&failure.payment).await {
        Ok(false) => app.stripe.stripe_invoice_owns(&failure.payment).await.unwrap_or(true),
        Ok(true) | Err(_) => true,
    };
    if recovery.owned {
        return Ok(Some("Checkout or a Stripe invoice collects it, or Stripe could not say"));
    }
    if failure.payment_method_type.as_deref().is_some_and(|kind| kind != "card") {
        return Ok(Some("its payment method is no card"));
    }
    match app.stripe.payment_method(card).await {
        Ok(now) if now.kind != "card" => Ok(Some("its payment method is no card")),
        Ok(now) if now.customer.as_ref() == Some(customer) => Ok(None),
        Ok(_) => Ok(Some(DETACHED)),
        Err(e) if e.class == Class::NotFound => Ok(Some(DETACHED)),
        Err(e) => Err(e.into()),
    }
}

const DETACHED: &str = "the card is not attached to the customer any more";

/// An unknown decline code: no recovery, a person is asked.
async fn unknown_decline(app: &App, first: StoredFailure) -> Result<(), Unfinished> {
    let failure = &first.failure;
    let mut changes = Changes::new(app, app.now());
    changes.unit.put(&first);
    let evidence = format!("the card was declined with a code that is not known: {}", code_of(failure));
    let question = Question::new(Reason::UnknownDecline, steps(None), evidence);
    changes.ask(Ask::about_payment(&failure.payment, question, "")).await?;
    changes.commit().await
}

/// Nothing says which invoices it would pay: no recovery, only the question.
async fn only_a_review(app: &App, first: StoredFailure, decision: &Decision) -> Result<(), Unfinished> {
    let failure = &first.failure;
    let mut changes = Changes::new(app, app.now());
    changes.unit.put(&first);
    let evidence = format!("the card failed ({}) and is not tried again: {}", code_of(failure), decision.why);
    let question = Question::new(Reason::CardFailed, steps(None), evidence);
    changes.ask(Ask::about_payment(&failure.payment, question, "no invoices")).await?;
    changes.commit().await
}

/// The next sensible steps, the most sensible first.
fn steps(stopped: Option<StopReason>) -> Vec<Answer> {
    let first = match stopped {
        Some(StopReason::HardDecline | StopReason::NeedsClient) | None => Answer::AskForCard,
        Some(StopReason::Autopay | StopReason::OtherMoney | StopReason::Paid | StopReason::Changed) => Answer::Keep,
        Some(StopReason::Canceled) => Answer::ReBill,
        Some(StopReason::Consent | StopReason::Coverage | StopReason::Void | StopReason::Disputed) => Answer::CallClient,
    };
    let mut steps = vec![first];
    for step in [Answer::AskForCard, Answer::CallClient, Answer::ReBill, Answer::WriteOff] {
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

/// The next sensible step in words, for whoever opens the question.
pub(crate) fn next_step(recovery: &Recovery) -> &'static str {
    match recovery.stop_reason.filter(|_| recovery.state == RecoveryState::Stopped) {
        None => "next: the card was tried as often as is sensible; ask the client for another card",
        Some(StopReason::HardDecline) => "next: ask the client for another card; this one must not be tried again",
        Some(StopReason::NeedsClient) => {
            "next: ask the client to renew the card or to confirm the payment; a new card goes on by itself"
        }
        Some(StopReason::Consent) => "next: ask the client whether cards may be charged, and note it in the EHR",
        Some(StopReason::Autopay) => "next: look whether the EHR charges the card by itself; nothing else, if it does",
        Some(StopReason::Coverage) => "next: look in the EHR who is to be billed; this client's card is not charged",
        Some(StopReason::OtherMoney) => "next: decide where the client's other payment belongs; this may be paid by it",
        Some(StopReason::Changed) => "next: look at what is open now; the failed amount does not fit it any more",
        Some(StopReason::Void) => "next: look whether another invoice replaced the void one",
        Some(StopReason::Disputed) => "next: answer the dispute first",
        Some(StopReason::Canceled) => "next: if it is still owed, bill it again in Stripe",
        Some(StopReason::Paid) => "next: nothing, it is paid",
    }
}

/// Another failure of a PaymentIntent whose recovery stands: the client tried himself, or it is the webhook of our own attempt.
async fn again(app: &App, event: &Event, failure: &Failure, mut read: Read<StoredRecovery>) -> Result<(), Unfinished> {
    if !read.item.recovery.is_news(failure, event.created) {
        return Ok(());
    }
    let blocked = is_blocked(app, failure).await?;
    let tell = read.item.recovery.failed_again(failure, blocked, event.created, &app.policy, app.now());
    let mut changes = Changes::new(app, app.now());
    attempt::release(app, &mut changes, &mut read).await?;
    store_turn(app, changes, read, tell, None).await
}

/// Stores what a recovery came to; `tell`: what a person is asked, with the whole history. The clients' versions are bumped when
/// they were looked at.
pub(super) async fn store_turn(
    app: &App,
    mut changes: Changes<'_>,
    read: Read<StoredRecovery>,
    tell: Tell,
    loaded: Option<&Loaded>,
) -> Result<(), Unfinished> {
    let recovery = &read.item.recovery;
    let reason = match tell {
        Tell::Nothing => None,
        Tell::CardFailed => Some(Reason::CardFailed),
        Tell::UnknownDecline => Some(Reason::UnknownDecline),
    };
    if let Some(reason) = reason {
        let mut question = Question::new(reason, steps(recovery.stop_reason), recovery.why.clone());
        question.evidence.push(next_step(recovery).to_owned());
        question.evidence.extend(history(app, recovery));
        let salt = format!("turn {}", recovery.turns);
        changes.ask(Ask::about_payment(recovery.payment(), question, &salt)).await?;
        changes.tell(DomainEvent::about_money("recovery_stopped", recovery.payment().as_str(), recovery.failure.amount));
    }
    if let Some(loaded) = loaded {
        loaded.bump_all(&mut changes.unit);
    }
    let detail = format!("{} {}", recovery.state.as_str(), recovery.why);
    changes.audit("recovery", recovery.payment().as_str(), &detail);
    tracing::info!(payment.id = %recovery.payment(), state = recovery.state.as_str(), why = recovery.why, "recovery");
    changes.unit.update(&read);
    changes.commit().await
}

/// Everything that happened, one sentence each, in practice time.
fn history(app: &App, recovery: &Recovery) -> Vec<String> {
    let first = format!("first failed on {}", local_date(recovery.first_failed_at, &app.policy.time_zone));
    let each = recovery.attempts.iter().map(|a| format!("attempt {} on {}: {}", a.n, a.date, outcome_words(&a.outcome)));
    let newest = format!("newest decline: {}", recovery.code());
    [first].into_iter().chain(each).chain([newest]).collect()
}

/// How an attempt ended, in words.
pub(crate) fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unknown => "its outcome is not known yet".to_owned(),
        Outcome::Processing => "Stripe is still processing it".to_owned(),
        Outcome::Succeeded => "it succeeded".to_owned(),
        Outcome::Declined { code } => format!("declined: {code}"),
        Outcome::Ended { status } => format!("ended: {status}"),
    }
}
