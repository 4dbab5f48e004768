//! What a person's answers do: each is one transaction that moves the money, closes the question and says who it was.
//!
//! Must not: decide (a person did), know HTML, or answer a question that changed since it was shown.

mod again;
mod by_hand;
mod corrections;
mod credit;
mod doing;
mod money;
mod place;
mod propose;
mod reopened;

pub use by_hand::mark_done;
pub use corrections::{move_allocations, take_back};
pub(in crate::review) use credit::from_credit;
pub use credit::{apply_credit, credit_back};

use crate::app::App;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use doing::Doing;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredReview;
use vesper_core::credit::{may_flow, owner};
use vesper_core::ids::{PaymentId, ReviewId};
use vesper_core::movement::Taken;
use vesper_core::review::{Answer, Status};

/// What a person chose on the page of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// One of the answers that were offered.
    Offered(Answer),
    /// An invoice that was typed in, by its id or printed number.
    OtherInvoice(String),
    /// It was settled outside Vesper.
    ResolvedElsewhere,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is stored; what it causes is on its way.
    Done,
    /// The question, or the payment, is not what was shown any more. Nothing was changed.
    Stale,
    /// No invoice has the id or number that was typed. Nothing was changed.
    UnknownInvoice,
    /// It cannot be done, and why, for the person who asked: ids and amounts only. Nothing was changed.
    Refused(String),
    /// What was proposed does not fit any more, and why. No money was moved; this review has what fits now.
    Proposed(ReviewId, String),
}

/// What one try came to: done, or what the person is told instead.
type Tried = Result<Result<(), Answered>, Unfinished>;

/// Stands in a function that returns [`Tried`]: the value, or an early end with what the person is told.
macro_rules! or_tell {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(told) => return Ok(Err(told)),
        }
    };
}

use or_tell;

fn refuse<T>(why: impl Into<String>) -> Result<T, Answered> {
    Err(Answered::Refused(why.into()))
}

/// Answers a review that was shown in revision `version`. Of several answers to one revision exactly one is done.
///
/// # Errors
/// When the store or a queue does not answer, or others kept changing the same clients.
pub async fn answer(app: &App, who: &str, review: &ReviewId, version: u64, answer: Chosen) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_answer(app, who, review, version, &answer).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => {
                // What does not fit may be what another answer did meanwhile.
                let now = app.store.review(review).await?.filter(|r| r.rev == version);
                let Some(read) = now else { return Ok(Answered::Stale) };
                match not_any_more(app, who, &read, &answer, told).await {
                    Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
                    other => return other,
                }
            }
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: review.to_string() })
}

/// What a person is told of an answer that does not fit: of a proposal, what fits now.
async fn not_any_more(
    app: &App,
    who: &str,
    read: &Read<StoredReview>,
    chosen: &Chosen,
    told: Answered,
) -> Result<Answered, Unfinished> {
    let (Chosen::Offered(Answer::Apply(shares)), Answered::Refused(why)) = (chosen, &told) else { return Ok(told) };
    if !read.item.review.question.answers.contains(&Answer::Apply(shares.clone())) {
        return Ok(told);
    }
    let proposed = propose::again(app, who, read, why).await?;
    Ok(proposed.map_or(told.clone(), |id| Answered::Proposed(id, why.clone())))
}

async fn try_answer(app: &App, who: &str, id: &ReviewId, version: u64, chosen: &Chosen) -> Tried {
    let Some(read) = app.store.review(id).await? else { return Ok(Err(Answered::Stale)) };
    let review = &read.item.review;
    if read.rev != version || review.status != Status::Open {
        return Ok(Err(Answered::Stale));
    }
    let mut doing = Doing::new(app);
    let said = match chosen {
        Chosen::Offered(answer) if !review.question.answers.contains(answer) => {
            return Ok(refuse("that is not one of the answers to this question"));
        }
        Chosen::Offered(answer) => {
            or_tell!(offered(&mut doing, &read, answer).await?);
            answer.to_string()
        }
        Chosen::OtherInvoice(typed) => {
            let Some(invoice) = app.store.invoice_typed(typed).await? else { return Ok(Err(Answered::UnknownInvoice)) };
            or_tell!(place::other_invoice(&mut doing, &read, &invoice).await?);
            format!("other_invoice:{}", invoice.id)
        }
        Chosen::ResolvedElsewhere => {
            or_tell!(place::resolved_elsewhere(&mut doing, &read).await?);
            "resolved_elsewhere".to_owned()
        }
    };
    if doing.stays_open {
        let mut read = read.clone();
        read.item.review.question.evidence.push(format!("a person sent it again on {}", app.local_date(doing.changes.now())));
        doing.changes.unit.update(&read);
    } else {
        doing.changes.close_review(&read, &said);
    }
    free_credit(&mut doing, review.payment.as_ref()).await?;
    doing.changes.audit_by(who, "answered", &review.subject, &format!("{} {id}: {said}", review.question.reason));
    doing.finish().await?;
    Ok(Ok(()))
}

/// Client credit was held by the question: now it may pay an invoice.
async fn free_credit(doing: &mut Doing<'_>, payment: Option<&PaymentId>) -> Result<(), Unfinished> {
    let Some(read) = (match payment {
        Some(payment) => doing.app.store.payment(payment).await?,
        None => None,
    }) else {
        return Ok(());
    };
    if let Some(owner) = owner(&read.item.payment).filter(|_| may_flow(&read.item.payment)) {
        doing.changes.look_at_credit(&owner);
    }
    Ok(())
}

async fn offered(doing: &mut Doing<'_>, read: &Read<StoredReview>, answer: &Answer) -> Tried {
    match answer {
        Answer::Apply(shares) => place::apply(doing, read, shares).await,
        Answer::Credit => place::apply(doing, read, &[]).await,
        Answer::ReBill => reopened::let_go(doing, read, true).await,
        Answer::WriteOff => reopened::let_go(doing, read, false).await,
        Answer::TakeBack { allocations, unapplied } => {
            let taken = Taken { allocations: allocations.clone(), unapplied: *unapplied };
            reopened::split(doing, read, taken).await
        }
        Answer::Retry => again::retry(doing, read).await,
        Answer::Undo => corrections::undo(doing, read).await,
        // What a person does about it himself: the question is answered by it.
        Answer::Keep | Answer::AskForCard | Answer::CallClient => Ok(Ok(())),
        Answer::OpeningPosted(account) => again::opening_posted(doing, account).await,
    }
}
