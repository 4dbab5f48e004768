//! A proposal that does not fit any more (another payment paid the invoice, the EHR changed it): what the core would propose now takes
//! its place, and the person is told what changed.
//!
//! Must not: move money; the person chooses again.

use super::doing::Doing;
use super::money::money_of;
use crate::app::App;
use crate::changes::{Ask, Changes};
use crate::failure::Unfinished;
use crate::reconcile::payments::decided;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredReview;
use vesper_core::ids::ReviewId;
use vesper_core::matching::{Case, Decision, Look, Stands};
use vesper_core::payment::PaymentState;
use vesper_core::review::{Answer, Question};

/// Stores the fresh proposals, and answers where they stand: in this review, or in another one when the question is another one by
/// now. None: it is not about an undecided payment, or nothing can be proposed.
pub(super) async fn again(app: &App, who: &str, read: &Read<StoredReview>, why: &str) -> Result<Option<ReviewId>, Unfinished> {
    let review = &read.item.review;
    if !review.question.reason.asks_where_it_belongs() {
        return Ok(None);
    }
    let Some(money) = money_of(&Doing::new(app), read, BTreeSet::new()).await? else { return Ok(None) };
    let payment = &money.row.item.payment;
    if money.was != PaymentState::Review || !payment.unapplied.is_positive() {
        return Ok(None);
    }
    let loaded = app.store.load_for(&payment.success).await?;
    let local_date = app.local_date(payment.charged_at);
    let case = Case { success: &payment.success, amount: payment.to_decide(), local_date, look: Look::Deadline };
    let Some(question) = question_of(decided(app, &loaded, &case).await?, review.question.clone()) else { return Ok(None) };
    if question.answers == review.question.answers {
        return Ok(None); // It is something else that does not fit.
    }
    let note = format!("asked anew on {}: {why}", app.local_date(app.now()));
    let mut changes = Changes::new(app, app.now());
    changes.audit_by(who, "proposed", &review.subject, &format!("{} {}", question.reason, review.id));
    let id = if question.reason == review.question.reason {
        let mut read = read.clone();
        read.item.review.question.answers = question.answers;
        read.item.review.question.evidence.push(note);
        read.item.review.question.evidence.extend(question.evidence);
        changes.unit.update(&read);
        review.id.clone()
    } else {
        let salt = format!("anew {}", read.rev);
        let mut question = question;
        question.evidence.push(note);
        changes.close_review(read, "asked anew: what was proposed did not fit any more");
        changes.ask(Ask::about_payment(payment.id(), question, &salt)).await?
    };
    changes.commit().await?;
    Ok(Some(id))
}

/// The question that the decision asks; what a rule would decide by itself now is proposed, for a person was asked about it. None:
/// the EHR holds it already, or the decision leads nowhere.
fn question_of(decision: Decision, asked: Question) -> Option<Question> {
    if decision.allocations.iter().any(|a| a.in_ehr) || decision.stands == Stands::Parked {
        return None;
    }
    if let Some(question) = decision.question {
        return Some(question);
    }
    let shares: Vec<_> = decision.allocations.into_iter().map(|a| (a.invoice, a.amount)).collect();
    let answers = if shares.is_empty() { vec![Answer::Credit] } else { vec![Answer::Apply(shares), Answer::Credit] };
    Some(Question::new(asked.reason, answers, decision.why))
}
