//! Recovery of failed cards: opened at the first failure, attempted on its rungs, stopped for one of the reasons of design.md
//! section 5. Every stop that is no success is a question with the whole history.
//!
//! Must not: charge a card in any other way than `attempt`, or any other card than the stored one.

mod attempt;
mod close;
mod guard;
mod rearm;

pub use attempt::attempt;
pub use close::paid;
pub use rearm::{card_renewed, default_card_changed};

use crate::app::App;
use crate::changes::{Ask, Changes};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{RecoveryOf, StoredRecovery};
use vesper_adapters::error::Class;
use vesper_core::event::{Event, Failure, Success};
use vesper_core::ids::{ClientId, InvoiceId};
use vesper_core::matching::{Case, Decision, Look, Stands, decide};
use vesper_core::money::Minor;
use vesper_core::policy::WhenUnknown;
use vesper_core::records::{Autopay, CardConsent, Coverage};
use vesper_core::recovery::{Decline, Outcome, Recovery, RecoveryState, StopReason, classify};
use vesper_core::review::{Answer, Question, Reason};
use vesper_core::world::World;

/// A card payment failed.
///
/// # Errors
/// When the store, a queue or (for what is asked at the first failure) Stripe does not answer.
pub async fn failed(app: &App, event: &Event, failure: &Failure) -> Result<(), Unfinished> {
    if failure.object_created < app.go_live || app.store.payment(&failure.payment).await?.is_some() {
        return Ok(()); // Older than go_live, or it has succeeded meanwhile: events come in any order.
    }
    let blocked = is_blocked(app, failure).await?;
    for attempt in 0..TRIES_ON_CONFLICT {
        let outcome = match app.store.recovery(&failure.payment).await? {
            Some(read) => again(app, event, failure, blocked, read).await,
            None => open(app, event, failure, blocked).await,
        };
        match outcome {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: failure.payment.to_string() })
}

/// Radar's outcome stands on the charge only. A charge that cannot be read is no charge that was blocked.
async fn is_blocked(app: &App, failure: &Failure) -> Result<bool, Unfinished> {
    let code = failure.decline_code.as_deref().or(failure.code.as_deref());
    let (Some(charge), true) = (&failure.charge, matches!(code, Some("generic_decline" | "card_declined" | "fraudulent"))) else {
        return Ok(false);
    };
    match app.stripe.charge(charge).await {
        Ok(now) => Ok(now.blocked),
        Err(e) if e.class == Class::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The payment as it would be if it succeeded: what `decide` is asked about.
pub(super) fn as_success(failure: &Failure) -> Success {
    Success {
        payment: failure.payment.clone(),
        charge: None,
        customer: failure.customer.clone(),
        amount: failure.amount,
        currency: failure.currency,
        reference: failure.reference.clone(),
        receipt_email: failure.receipt_email.clone(),
        balance_transaction: None,
        object_created: failure.object_created,
    }
}

/// What `decide` would give this PaymentIntent now.
pub(super) fn would_pay(app: &App, world: &World, success: &Success, event_at: jiff::Timestamp) -> Decision {
    let case = Case { success, amount: success.amount, local_date: app.local_date(event_at), look: Look::First };
    decide(world, &case, &app.policy.matching)
}

/// The invoices of a decision by rule 3, 5, 7 or 8 that uses the whole amount; None for anything else.
pub(super) fn invoices_of(decision: &Decision) -> Option<Vec<(InvoiceId, Minor)>> {
    let whole = decision.stands == Stands::Decided && decision.unapplied.is_zero() && decision.question.is_none();
    if !whole || !matches!(decision.rule, 3 | 5 | 7 | 8) {
        return None;
    }
    let mut invoices: Vec<_> = decision.allocations.iter().map(|a| (a.invoice.clone(), a.amount)).collect();
    invoices.sort();
    Some(invoices)
}

async fn open(app: &App, event: &Event, failure: &Failure, blocked: bool) -> Result<(), Unfinished> {
    let decline = classify(failure, blocked);
    if decline == Decline::Unknown {
        return unknown_decline(app, failure).await;
    }
    let success = as_success(failure);
    let loaded = app.store.load_for(&success).await?;
    let decision = would_pay(app, &loaded.world, &success, event.created);
    let verdict = match forbidden(app, &loaded.world, &decision, failure).await? {
        Some(reason) => Some(reason),
        None if decline == Decline::Hard => Some(StopReason::HardDecline),
        None if decline == Decline::NeedsClient => Some(StopReason::NeedsClient),
        None => None,
    };
    let invoices = invoices_of(&decision);
    if invoices.is_none() && verdict.is_none() {
        return only_a_review(app, failure, &decision).await;
    }
    let mut recovery = Recovery {
        failure: failure.clone(),
        first_failed_at: event.created,
        last_failed_at: event.created,
        blocked,
        invoices: invoices.unwrap_or_default(),
        payment_method: failure.payment_method.clone(),
        attempts: Vec::new(),
        state: RecoveryState::Waiting,
        stop_reason: None,
        next_at: None,
        why: String::new(),
        claims: false,
        shadow: app.is_shadow(),
        turns: 0,
    };
    let tell = match verdict {
        Some(reason) => recovery.stop(reason),
        None => recovery.turn(recovery.next(&app.policy, app.now())),
    };
    let mut changes = Changes::new(app, app.now());
    if let Some(customer) = recovery.customer().cloned() {
        changes.unit.put(&RecoveryOf { customer, payment: failure.payment.clone() });
    }
    crate::domain_event("payment_failed", failure.payment.as_str(), failure.amount);
    let read = Read { item: StoredRecovery { recovery }, rev: 0, sealed: None };
    store_turn(app, changes, read, tell, Some(&loaded)).await
}

/// The guard's verdicts that are known from the start.
async fn forbidden(app: &App, world: &World, decision: &Decision, failure: &Failure) -> Result<Option<StopReason>, Unfinished> {
    let owners = decision.allocations.iter().map(|a| a.client.clone());
    let concerned: Vec<ClientId> = decision.payer.iter().cloned().chain(owners).collect();
    if let Some(reason) = client_forbids(app, world, decision.payer.as_ref(), &concerned) {
        return Ok(Some(reason));
    }
    if !matches!(classify(failure, false), Decline::Retry { .. }) {
        return Ok(None); // It stops anyway: nothing more is asked.
    }
    let of_card = failure.payment_method_type.as_deref() == Some("card");
    let (Some(customer), Some(card), true) = (&failure.customer, &failure.payment_method, of_card) else {
        return Ok(Some(StopReason::NeedsClient));
    };
    // A hit or no answer forbids the retry: these are asked once, at the first failure.
    let owned = match app.stripe.checkout_owns(&failure.payment).await {
        Ok(false) => app.stripe.stripe_invoice_owns(&failure.payment).await.unwrap_or(true),
        Ok(true) | Err(_) => true,
    };
    if owned {
        return Ok(Some(StopReason::NeedsClient));
    }
    let attached = match app.stripe.payment_method(card).await {
        Ok(now) => now.customer.as_ref() == Some(customer),
        Err(e) if e.class == Class::NotFound => false,
        Err(e) => return Err(e.into()),
    };
    Ok((!attached).then_some(StopReason::NeedsClient))
}

/// Consent and autopay of the paying client, coverage of everybody concerned, and any autopay that is on.
pub(super) fn client_forbids(app: &App, world: &World, payer: Option<&ClientId>, concerned: &[ClientId]) -> Option<StopReason> {
    let retry = &app.policy.retry;
    let clients = || concerned.iter().filter_map(|c| world.client(c));
    let payer = payer.and_then(|p| world.client(p));
    let consent = payer.map(|p| p.card_consent);
    let revoked = clients().any(|c| c.card_consent == CardConsent::Revoked);
    let not_given = consent == Some(CardConsent::Unknown) && retry.when_consent_unknown == WhenUnknown::Ask;
    if revoked || not_given {
        return Some(StopReason::Consent);
    }
    let charges = clients().any(|c| c.autopay == Autopay::On);
    let not_known = payer.is_some_and(|p| p.autopay == Autopay::Unknown) && retry.when_autopay_unknown == WhenUnknown::Ask;
    if charges || not_known {
        return Some(StopReason::Autopay);
    }
    let barred = |c: &Coverage| matches!(c, Coverage::ThirdPartyBiller | Coverage::Medicaid | Coverage::Qmb);
    clients().any(|c| barred(&c.coverage)).then_some(StopReason::Coverage)
}

/// An unknown decline code: no recovery, a person is asked.
async fn unknown_decline(app: &App, failure: &Failure) -> Result<(), Unfinished> {
    let mut changes = Changes::new(app, app.now());
    let evidence = format!("the card was declined with a code that is not known: {}", code_of(failure));
    let question = Question::new(Reason::UnknownDecline, steps(), evidence);
    changes.ask(Ask::about_payment(&failure.payment, question, "")).await?;
    changes.commit().await
}

/// Nothing says which invoices it would pay: no recovery, only the question.
async fn only_a_review(app: &App, failure: &Failure, decision: &Decision) -> Result<(), Unfinished> {
    let mut changes = Changes::new(app, app.now());
    let evidence = format!("the card failed ({}) and is not tried again: {}", code_of(failure), decision.why);
    let question = Question::new(Reason::CardFailed, steps(), evidence);
    changes.ask(Ask::about_payment(&failure.payment, question, "no invoices")).await?;
    changes.commit().await
}

fn code_of(failure: &Failure) -> &str {
    failure.decline_code.as_deref().or(failure.code.as_deref()).unwrap_or("no code")
}

/// The next sensible steps: the client is asked for another card first.
fn steps() -> Vec<Answer> {
    vec![Answer::AskForCard, Answer::CallClient, Answer::ReBill, Answer::WriteOff]
}

/// Another failure of a PaymentIntent whose recovery stands: the client tried himself, or it is the webhook of our own attempt.
async fn again(
    app: &App,
    event: &Event,
    failure: &Failure,
    blocked: bool,
    mut read: Read<StoredRecovery>,
) -> Result<(), Unfinished> {
    let recovery = &mut read.item.recovery;
    let known = recovery.failure.charge == failure.charge || event.created < recovery.last_failed_at;
    if known || recovery.state != RecoveryState::Waiting || recovery.open_attempt().is_some() {
        return Ok(());
    }
    recovery.failure = Failure { payment_method: recovery.payment_method.clone(), ..failure.clone() };
    recovery.last_failed_at = event.created;
    recovery.blocked = blocked;
    let tell = recovery.turn(recovery.next(&app.policy, app.now()));
    store_turn(app, Changes::new(app, app.now()), read, tell, None).await
}

/// Stores what a recovery came to; `tell`: a person is asked, with the whole history. The clients' versions are bumped when
/// they were looked at.
pub(super) async fn store_turn(
    app: &App,
    mut changes: Changes<'_>,
    read: Read<StoredRecovery>,
    tell: bool,
    loaded: Option<&Loaded>,
) -> Result<(), Unfinished> {
    let recovery = &read.item.recovery;
    if tell {
        let mut question = Question::new(Reason::CardFailed, steps(), recovery.why.clone());
        question.evidence.extend(history(recovery));
        let salt = format!("turn {}", recovery.turns);
        changes.ask(Ask::about_payment(recovery.payment(), question, &salt)).await?;
        crate::domain_event("recovery_stopped", recovery.payment().as_str(), recovery.failure.amount);
    }
    if let Some(loaded) = loaded {
        loaded.bump_all(&mut changes.unit);
    }
    let detail = format!("{} {}", recovery.state.as_str(), recovery.why);
    changes.audit("recovery", recovery.payment().as_str(), &detail);
    tracing::info!(payment.id = %recovery.payment(), state = recovery.state.as_str(), why = recovery.why, "recovery");
    let _ = app;
    changes.unit.update(&read);
    changes.commit().await
}

/// Everything that happened, one sentence each.
pub(crate) fn history(recovery: &Recovery) -> Vec<String> {
    let first = format!("first failed at {}", recovery.first_failed_at);
    let each = recovery.attempts.iter().map(|a| {
        let how = match &a.outcome {
            Outcome::Unknown => "its outcome is not known yet".to_owned(),
            Outcome::Processing => "Stripe is still processing it".to_owned(),
            Outcome::Succeeded => "it succeeded".to_owned(),
            Outcome::Declined { code } => format!("declined: {code}"),
            Outcome::Ended { status } => format!("ended: {status}"),
        };
        format!("attempt {} on {}: {how}", a.n, a.date)
    });
    let newest = format!("newest decline: {}", code_of(&recovery.failure));
    [first].into_iter().chain(each).chain([newest]).collect()
}
