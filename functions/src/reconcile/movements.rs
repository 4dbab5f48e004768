//! Refunds and disputes: recorded and posted at once; a person is asked what becomes of a re-opened balance.

use super::{payments, splits};
use crate::app::App;
use crate::changes::{Ask, Changes, owners};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::switch;
use std::collections::BTreeMap;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{BackReason, StoredMovement, StoredPayment, StoredReview};
use vesper_core::ids::{InvoiceId, PaymentId};
use vesper_core::matching::{Case, Look};
use vesper_core::money::Minor;
use vesper_core::movement::{Movement, MovementKind, Taken};
use vesper_core::payment::{Dates, Payment, PaymentState, Step};
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
            return settle(app, &movement.payment).await.map(drop);
        }
        match app.store.save(&mut row).await.map_err(Unfinished::from) {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
            Ok(()) => return settle(app, &movement.payment).await.map(drop),
        }
    }
    Err(Unfinished::Contended { subject: movement.id.to_string() })
}

/// Records every refund and dispute of a payment that is not recorded yet. Called after each change of either: whoever comes
/// second sees what the other stored. What is left to know of the payment.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn settle(app: &App, payment: &PaymentId) -> Result<Settled, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match settle_one(app, payment).await {
            Ok(Some(settled)) => return Ok(settled),
            Ok(None) => {}
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
        }
    }
    // More refunds than tries, or others kept changing the payment: the message comes again.
    Err(Unfinished::Contended { subject: payment.to_string() })
}

/// Every refund and dispute of a payment is recorded.
pub struct Settled {
    /// Its card had failed before.
    pub has_failed: bool,
}

/// Records the oldest that waits; none does when this is Some.
async fn settle_one(app: &App, id: &PaymentId) -> Result<Option<Settled>, Unfinished> {
    let mut file = app.store.payment_file(id).await?;
    let settled = Settled { has_failed: file.has_failed };
    file.movements
        .sort_by(|a, b| (a.item.movement.created, &a.item.movement.id).cmp(&(b.item.movement.created, &b.item.movement.id)));
    let Some(mut read) = file.payment else { return Ok(Some(settled)) };
    if let Some(row) = left_before_the_books(app, &read, &file.movements).await? {
        note(app, read, row).await?;
        return Ok(None);
    }
    let Some(mut row) = file.movements.into_iter().find(|m| m.item.movement.out != m.item.movement.recorded) else {
        return Ok(Some(settled));
    };
    let loaded = app.store.load_clients(owners(app, &read.item.payment).await?).await?;
    let now = app.now();
    let dates = Dates { money: app.local_date(row.item.movement.created), decision: app.local_date(now) };
    let came_back = row.item.movement.out < row.item.movement.recorded;
    let was_parked = read.item.payment.state == PaymentState::Parked;
    let was_taken = row.item.movement.taken.clone().unwrap_or_default();
    let unapplied_before = read.item.payment.unapplied;
    let (step, known) = read.item.payment.record(&mut row.item.movement, dates);
    let mut changes = Changes::new(app, now);
    record(app, &mut changes, &read, &row, &step, &loaded).await?;
    if came_back {
        let came_back = CameBack { movement: &row.item.movement, was_taken, unapplied_before };
        give_back(app, &mut changes, &read.item.payment, &came_back, &loaded).await?;
    } else {
        ask(&mut changes, &read.item.payment, &row.item.movement, &step, known).await?;
    }
    less_to_decide(app, &mut changes, &read.item.payment, &row.item.movement).await?;
    nothing_left(app, &mut changes, &mut read, unapplied_before).await?;
    debug_assert!(read.item.payment.check().is_ok(), "invariant 1 before the write");
    changes.note_money_left(&read.item.payment);
    changes.unit.update(&read);
    changes.unit.update(&row);
    changes.commit().await?;
    if was_parked {
        payments::look(app, id).await?;
    }
    Ok(None)
}

/// A refund or dispute of older money that left before the books were opened, and is not noted yet: its row, and what had left.
async fn left_before_the_books(
    app: &App,
    read: &Read<StoredPayment>,
    movements: &[Read<StoredMovement>],
) -> Result<Option<(Read<StoredMovement>, Minor)>, Unfinished> {
    if read.item.payment.state != PaymentState::BeforeGoLive || movements.is_empty() {
        return Ok(None);
    }
    let opened_at = switch::opened_at(app).await?;
    let fresh = movements.iter().filter(|m| m.item.movement.revision == 0 && m.item.movement.recorded.is_zero());
    let mut left = fresh.map(|m| (m.clone(), m.item.movement.out_before(opened_at)));
    Ok(left.find(|(_, out)| out.is_positive()))
}

/// What left before the books were opened is no part of them: it is noted with its payment, and nothing else.
async fn note(app: &App, mut read: Read<StoredPayment>, (mut row, out): (Read<StoredMovement>, Minor)) -> Result<(), Unfinished> {
    read.item.payment.record_before(&mut row.item.movement, out);
    let movement = &row.item.movement;
    let mut changes = Changes::new(app, app.now());
    let detail = format!("{} {} {} before the books were opened", movement.id, movement.status, movement.recorded);
    changes.audit("recorded", read.item.payment.id().as_str(), &detail);
    changes.unit.update(&read);
    changes.unit.update(&row);
    changes.commit().await
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
            let answers = splits::ways(payment, movement.waiting());
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

/// A refund or dispute of which money came back.
struct CameBack<'m> {
    movement: &'m Movement,
    /// From where it had been taken.
    was_taken: Taken,
    unapplied_before: Minor,
}

impl CameBack<'_> {
    /// What it had taken and gave back, by invoice, in the order in which the core gives back.
    fn by_invoice(&self, payment: &Payment) -> Vec<(InvoiceId, Minor)> {
        let mut left = payment.unapplied.minus(self.unapplied_before);
        let mut all: BTreeMap<InvoiceId, Minor> = BTreeMap::new();
        for (invoice, part) in &self.was_taken.allocations {
            let back = (*part).min(left);
            left = left.minus(back);
            let sum = all.entry(invoice.clone()).or_default();
            *sum = sum.plus(back);
        }
        all.into_iter().filter(|(_, amount)| amount.is_positive()).collect()
    }
}

/// Money came back: what of it is unapplied, the review of this refund or dispute asks about. What waited for a person's split was
/// taken from nowhere: that question falls away, or asks about what is left of it. A reinstated dispute re-opens nothing any more.
async fn give_back(
    app: &App,
    changes: &mut Changes<'_>,
    payment: &Payment,
    back: &CameBack<'_>,
    loaded: &Loaded,
) -> Result<(), Unfinished> {
    let reopens_no_more = |a: &vesper_core::world::Allocation| {
        let of_it = back.was_taken.allocations.iter().any(|(invoice, _)| *invoice == a.invoice);
        back.movement.kind == MovementKind::Dispute && a.payment == *payment.id() && a.reopened && of_it
    };
    for row in loaded.allocations.iter().filter(|r| reopens_no_more(&r.item.allocation)) {
        let mut row = row.clone();
        row.item.allocation.reopened = false;
        changes.unit.update(&row);
    }
    let about: Vec<Read<StoredReview>> = app.store.reviews_about(payment.id().as_str()).await?;
    split_again(changes, payment, back.movement, &about).await?;
    if payment.unapplied > back.unapplied_before || payment.state == PaymentState::BeforeGoLive {
        ask_about_what_came_back(changes, payment, back, &about).await?;
    }
    Ok(())
}

/// The open question about this refund or dispute for one of these reasons.
fn open_about(about: &[Read<StoredReview>], movement: &Movement, reason: Reason) -> Option<Read<StoredReview>> {
    let of_it = about.iter().find(|r| {
        let review = &r.item.review;
        let same = review.about.as_deref() == Some(movement.id.as_str());
        review.status == Status::Open && review.question.reason == reason && same
    });
    of_it.cloned()
}

/// The question from where it is to be taken: it falls away when nothing of it waits any more.
async fn split_again(
    changes: &mut Changes<'_>,
    payment: &Payment,
    movement: &Movement,
    about: &[Read<StoredReview>],
) -> Result<(), Unfinished> {
    let Some(open) = open_about(about, movement, Reason::RefundSplit) else { return Ok(()) };
    changes.close_review(&open, "the money came back");
    if movement.waiting().is_positive() && payment.state != PaymentState::BeforeGoLive {
        let answers = splits::ways(payment, movement.waiting());
        let question = Question::new(Reason::RefundSplit, answers, "a part came back; the rest could be taken from several");
        let salt = format!("{} {}", movement.id, movement.revision);
        let about = Some(movement.id.to_string());
        let (subject, payment) = (payment.id().as_str(), Some(payment.id()));
        changes.ask(Ask { subject, payment, question, salt: &salt, about }).await?;
    }
    Ok(())
}

async fn ask_about_what_came_back(
    changes: &mut Changes<'_>,
    payment: &Payment,
    back: &CameBack<'_>,
    about: &[Read<StoredReview>],
) -> Result<(), Unfinished> {
    let movement = back.movement;
    let reason = match movement.kind {
        MovementKind::Refund => Reason::Refunded,
        MovementKind::Dispute => Reason::Disputed,
    };
    let reapply = back.by_invoice(payment);
    let mut answers = if reapply.is_empty() { vec![] } else { vec![Answer::Apply(reapply)] };
    answers.push(Answer::Credit);
    let mut evidence = "the money came back and is unapplied";
    if payment.state == PaymentState::BeforeGoLive {
        // It is matched to nothing: a person looks what it is in the books.
        (answers, evidence) = (vec![], "the money came back; its payment is older than the start with Vesper");
    }
    match open_about(about, movement, reason) {
        Some(mut review) => {
            review.item.review.question.answers = answers;
            review.item.review.question.evidence.push(evidence.to_owned());
            changes.unit.update(&review);
        }
        None => {
            let salt = format!("{} back {}", movement.id, movement.revision);
            let (subject, question) = (payment.id().as_str(), Question::new(reason, answers, evidence));
            let (payment, about) = (Some(payment.id()), Some(movement.id.to_string()));
            changes.ask(Ask { subject, payment, question, salt: &salt, about }).await?;
        }
    }
    Ok(())
}

/// A refund or dispute of a payment that a person is asked about changes what is to be decided: the answers that are offered are
/// those for the new amount.
async fn less_to_decide(app: &App, changes: &mut Changes<'_>, payment: &Payment, movement: &Movement) -> Result<(), Unfinished> {
    if payment.state != PaymentState::Review || !payment.unapplied.is_positive() {
        return Ok(());
    }
    let about = app.store.reviews_about(payment.id().as_str()).await?;
    let asks = |r: &&Read<StoredReview>| {
        let review = &r.item.review;
        review.status == Status::Open && review.question.reason.asks_where_it_belongs()
    };
    let Some(mut review) = about.iter().find(asks).cloned() else { return Ok(()) };
    let around = app.store.load_for(&payment.success).await?;
    let (amount, local_date) = (payment.unapplied, app.local_date(payment.charged_at));
    let case = Case { success: &payment.success, amount, local_date, look: Look::Deadline };
    let decision = payments::decided(app, &around, &case).await?;
    let parts = decision.allocations.iter().map(|a| (a.invoice.clone(), a.amount)).collect::<Vec<_>>();
    let question = &mut review.item.review.question;
    question.answers.retain(|a| !matches!(a, Answer::Apply(_)));
    let fitting = match decision.question {
        Some(asked) => asked.answers,
        None if parts.is_empty() => vec![],
        None => vec![Answer::Apply(parts)],
    };
    let fitting: Vec<Answer> = fitting.into_iter().filter(|a| !question.answers.contains(a)).collect();
    question.answers.splice(0..0, fitting);
    question.evidence.push(format!("{} {}: {amount} is to be decided now", movement.id, movement.status));
    changes.unit.update(&review);
    Ok(())
}

/// What was asked about where the money belongs is no question any more once all of it was refunded. Of a payment that is decided
/// the rest was asked about.
async fn nothing_left(
    app: &App,
    changes: &mut Changes<'_>,
    read: &mut Read<StoredPayment>,
    unapplied_before: Minor,
) -> Result<(), Unfinished> {
    let payment = &mut read.item.payment;
    let all_of_it = payment.state == PaymentState::Review;
    let the_rest = payment.state == PaymentState::Decided && unapplied_before.is_positive();
    if payment.unapplied.is_positive() || !(all_of_it || the_rest) {
        return Ok(());
    }
    payment.state = PaymentState::Decided;
    let about_the_rest = |reason| matches!(reason, Reason::Overpaid | Reason::VoidInvoice | Reason::NoInvoice);
    for review in app.store.reviews_about(payment.id().as_str()).await? {
        let reason = review.item.review.question.reason;
        let of_it = about_the_rest(reason) || all_of_it && reason.asks_where_it_belongs();
        if review.item.review.status == Status::Open && of_it {
            changes.close_review(&review, "refunded");
        }
    }
    Ok(())
}
