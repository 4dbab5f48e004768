//! Refunds and disputes: recorded and posted at once; a person is asked what becomes of a re-opened balance.

use super::payments;
use crate::app::App;
use crate::changes::{Ask, Changes, owners};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{BackReason, StoredMovement, StoredPayment, StoredReview};
use vesper_core::ids::{InvoiceId, PaymentId};
use vesper_core::money::Minor;
use vesper_core::movement::{Movement, MovementKind};
use vesper_core::payment::{Dates, PaidShare, Payment, PaymentState, Step};
use vesper_core::review::{Answer, Question, Reason, Status};

/// Stripe told of a refund or dispute: its newest word is kept, and acted on once its payment is decided.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn heard(app: &App, movement: Movement) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        let file = app.store.payment_file(&movement.payment).await?;
        let known = file.movements.into_iter().find(|m| m.item.movement.id == movement.id);
        let fresh = || Read { item: StoredMovement { movement: movement.clone() }, rev: 0, sealed: None };
        let mut row = known.unwrap_or_else(fresh);
        let before = row.item.movement.clone();
        row.item.movement.hear(&movement);
        if row.rev > 0 && row.item.movement == before {
            return settle(app, &movement.payment).await;
        }
        match app.store.save(&mut row).await.map_err(Unfinished::from) {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
            Ok(()) => return settle(app, &movement.payment).await,
        }
    }
    Err(Unfinished::Contended { subject: movement.id.to_string() })
}

/// Records every refund and dispute of a payment that is not recorded yet. Called after each change of either: whoever comes
/// second sees what the other stored.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn settle(app: &App, payment: &PaymentId) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match settle_one(app, payment).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
        }
    }
    // More refunds than tries, or others kept changing the payment: the message comes again.
    Err(Unfinished::Contended { subject: payment.to_string() })
}

/// Records the oldest that waits; false when none does.
async fn settle_one(app: &App, id: &PaymentId) -> Result<bool, Unfinished> {
    let mut file = app.store.payment_file(id).await?;
    file.movements
        .sort_by(|a, b| (a.item.movement.created, &a.item.movement.id).cmp(&(b.item.movement.created, &b.item.movement.id)));
    let Some(mut read) = file.payment else { return Ok(false) };
    let Some(mut row) = file.movements.into_iter().find(|m| m.item.movement.out != m.item.movement.recorded) else {
        return Ok(false);
    };
    let loaded = app.store.load_clients(owners(app, &read.item.payment).await?).await?;
    let now = app.now();
    let dates = Dates { money: app.local_date(row.item.movement.created), decision: app.local_date(now) };
    let came_back = row.item.movement.out < row.item.movement.recorded;
    let was_parked = read.item.payment.state == PaymentState::Parked;
    let (step, known) = read.item.payment.record(&mut row.item.movement, dates);
    let mut changes = Changes::new(app, now);
    record(app, &mut changes, &read, &row, &step, &loaded).await?;
    if came_back {
        give_back(app, &mut changes, &read.item.payment, &row.item.movement, &loaded).await?;
    } else {
        ask(&mut changes, &read.item.payment, &row.item.movement, &step, known).await?;
    }
    nothing_left(app, &mut changes, &mut read).await?;
    debug_assert!(read.item.payment.check().is_ok(), "invariant 1 before the write");
    changes.note_money_left(&read.item.payment);
    changes.unit.update(&read);
    changes.unit.update(&row);
    changes.commit().await?;
    if was_parked {
        payments::look(app, id).await?;
    }
    Ok(true)
}

fn reason_of(kind: MovementKind) -> BackReason {
    match kind {
        MovementKind::Refund => BackReason::Refund,
        MovementKind::Dispute => BackReason::Dispute,
    }
}

async fn record(
    app: &App,
    changes: &mut Changes<'_>,
    read: &Read<StoredPayment>,
    row: &Read<StoredMovement>,
    step: &Step,
    loaded: &Loaded,
) -> Result<(), Unfinished> {
    let (payment, movement) = (&read.item.payment, &row.item.movement);
    changes.allocate(payment, step);
    changes.take_back(payment, &step.taken_back, reason_of(movement.kind), app.local_date(movement.created), loaded);
    loaded.bump_all(&mut changes.unit);
    let detail = format!("{} {} {}", movement.id, movement.status, movement.recorded);
    changes.audit("money_moved", payment.id().as_str(), &detail);
    tracing::info!(payment.id = %payment.id(), movement.id = %movement.id, "recorded a refund or dispute");
    Ok(())
}

/// Money left: a person is asked what becomes of a re-opened balance, or from where it is taken.
async fn ask(
    changes: &mut Changes<'_>,
    payment: &Payment,
    movement: &Movement,
    step: &Step,
    known: bool,
) -> Result<(), Unfinished> {
    let about = movement.id.to_string();
    let reopened = !step.taken_back.is_empty() || payment.state == PaymentState::BeforeGoLive;
    let question = match (movement.kind, known) {
        (_, false) => {
            let answers = splits(payment, movement.recorded);
            Some(Question::new(Reason::RefundSplit, answers, "it could be taken from several allocations"))
        }
        (MovementKind::Dispute, true) => {
            let answers = vec![Answer::ReBill, Answer::WriteOff];
            Some(Question::new(Reason::Disputed, answers, "the card's bank took the money back"))
        }
        (MovementKind::Refund, true) if reopened => {
            let answers = vec![Answer::ReBill, Answer::WriteOff];
            Some(Question::new(Reason::Refunded, answers, "a refund re-opened the client share of an invoice"))
        }
        (MovementKind::Refund, true) => None,
    };
    if let Some(question) = question {
        let salt = format!("{} {}", movement.id, movement.revision);
        let (subject, payment) = (payment.id().as_str(), Some(payment.id()));
        changes.ask(Ask { subject, payment, question, salt: &salt, about: Some(about) }).await?;
    }
    Ok(())
}

/// The ways to take an amount from one allocation, or from one after the other, oldest first.
fn splits(payment: &Payment, amount: Minor) -> Vec<Answer> {
    let nets: Vec<&PaidShare> = payment.shares.iter().filter(|s| s.net().is_positive()).collect();
    let one = nets.iter().filter(|s| s.net() >= amount).map(|s| vec![(s.invoice.clone(), amount)]);
    let mut left = amount;
    let mut in_order: Vec<(InvoiceId, Minor)> = Vec::new();
    for share in &nets {
        let part = share.net().min(left);
        left = left.minus(part);
        if part.is_positive() {
            in_order.push((share.invoice.clone(), part));
        }
    }
    let mut all: Vec<Answer> = one.map(|allocations| Answer::TakeBack { allocations, unapplied: Minor::ZERO }).collect();
    if in_order.len() > 1 && left.is_zero() {
        all.push(Answer::TakeBack { allocations: in_order, unapplied: Minor::ZERO });
    }
    all
}

/// Money came back: it is unapplied, and the open review asks. A reinstated dispute re-opens nothing any more.
async fn give_back(
    app: &App,
    changes: &mut Changes<'_>,
    payment: &Payment,
    movement: &Movement,
    loaded: &Loaded,
) -> Result<(), Unfinished> {
    let reason = match movement.kind {
        MovementKind::Refund => Reason::Refunded,
        MovementKind::Dispute => Reason::Disputed,
    };
    if movement.kind == MovementKind::Dispute {
        let of_payment = |a: &&Read<_>| -> bool {
            let a: &Read<vesper_adapters::dynamo::model::StoredAllocation> = a;
            a.item.allocation.payment == *payment.id() && a.item.allocation.reopened
        };
        for row in loaded.allocations.iter().filter(of_payment) {
            let mut row = row.clone();
            row.item.allocation.reopened = false;
            changes.unit.update(&row);
        }
    }
    let about: Vec<Read<StoredReview>> = app.store.reviews_about(payment.id().as_str()).await?;
    let open = about.into_iter().find(|r| r.item.review.status == Status::Open && r.item.review.question.reason == reason);
    let reapply: Vec<(InvoiceId, Minor)> = payment
        .shares
        .iter()
        .filter(|s| s.reversed.is_positive())
        .map(|s| (s.invoice.clone(), s.reversed.min(payment.unapplied)))
        .collect();
    let mut answers = if reapply.len() == 1 { vec![Answer::Apply(reapply)] } else { vec![] };
    answers.push(Answer::Credit);
    let evidence = "the money came back and is unapplied";
    match open {
        Some(mut review) => {
            review.item.review.question.answers = answers;
            review.item.review.question.evidence.push(evidence.to_owned());
            changes.unit.update(&review);
        }
        None => {
            let salt = format!("{} back {}", movement.id, movement.revision);
            changes.ask(Ask::about_payment(payment.id(), Question::new(reason, answers, evidence), &salt)).await?;
        }
    }
    Ok(())
}

/// A payment that was asked about and is refunded whole leaves nothing to decide.
async fn nothing_left(app: &App, changes: &mut Changes<'_>, read: &mut Read<StoredPayment>) -> Result<(), Unfinished> {
    let payment = &mut read.item.payment;
    if payment.state != PaymentState::Review || payment.unapplied.is_positive() {
        return Ok(());
    }
    payment.state = PaymentState::Decided;
    let asked = payment.decision.question.as_ref().map(|q| q.reason);
    for review in app.store.reviews_about(payment.id().as_str()).await? {
        if review.item.review.status == Status::Open && Some(review.item.review.question.reason) == asked {
            changes.close_review(&review, "refunded");
        }
    }
    Ok(())
}
