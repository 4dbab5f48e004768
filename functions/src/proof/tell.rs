//! Tells a person about a difference, once for as long as it is the same one; and takes it back when a later night agrees.
//!
//! Must not: ask about a difference again that a person has closed knowingly, as long as it does not change.

use super::Found;
use crate::app::App;
use crate::changes::{Ask, Changes};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use serde::{Deserialize, Serialize};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{Meta, StoredReview};
use vesper_core::ids::ReviewId;
use vesper_core::money::Minor;
use vesper_core::proof::Cause;
use vesper_core::review::{Question, Reason, Status};

/// The small fact that holds the difference that was told last.
const TOLD: &str = "proof_told";
/// So many causes are named.
const NAMED_MAX: usize = 20;

/// A difference that a person was told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    review: ReviewId,
    ledger: Minor,
    books: Minor,
}

/// Stores what a night found: an audit record, and the question where there is one.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn tell(app: &App, found: &Found) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match tell_once(app, found).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: "the proof".to_owned() })
}

async fn tell_once(app: &App, found: &Found) -> Result<(), Unfinished> {
    let told: Option<Read<Option<Told>>> = app.store.meta(TOLD).await?;
    let (told, rev) = told.map_or((None, 0), |r| (r.item, r.rev));
    let review = match &told {
        Some(told) => app.store.review(&told.review).await?,
        None => None,
    };
    let open = review.filter(|r| r.item.review.status == Status::Open);
    let date = app.local_date(app.now()).to_string();
    let mut changes = Changes::new(app, app.now());
    let word = if found.figures.agree() { "proved" } else { "differs" };
    changes.audit(word, &date, &found.figures.text());
    let next = if found.figures.agree() {
        agreed(&mut changes, open.as_ref(), &date);
        None
    } else {
        Some(differs(&mut changes, found, told.as_ref(), open, &date).await?)
    };
    if next != told {
        let value = serde_json::to_value(&next).unwrap_or_default();
        changes.unit.put_sealed(&Meta { name: TOLD.to_owned(), value }, rev, None);
    }
    changes.commit().await
}

fn agreed(changes: &mut Changes<'_>, open: Option<&Read<StoredReview>>, date: &str) {
    if let Some(review) = open {
        changes.close_review(review, &format!("all three agree again on {date}"));
    }
}

async fn differs(
    changes: &mut Changes<'_>,
    found: &Found,
    told: Option<&Told>,
    open: Option<Read<StoredReview>>,
    date: &str,
) -> Result<Told, Unfinished> {
    let (ledger, books) = (found.figures.ledger_difference(), found.figures.books_difference());
    let is_the_same = told.is_some_and(|t| (t.ledger, t.books) == (ledger, books));
    match (told, open) {
        // It was told, and is open or was closed knowingly.
        (Some(told), _) if is_the_same => Ok(told.clone()),
        (Some(told), Some(mut review)) => {
            review.item.review.question.evidence = evidence(found);
            changes.unit.update(&review);
            Ok(Told { review: told.review.clone(), ledger, books })
        }
        _ => {
            tracing::warn!(ledger_minor = ledger.get(), books_minor = books.get(), "the three figures differ");
            let mut question = Question::new(Reason::ProofDifference, vec![], "");
            question.evidence = evidence(found);
            let salt = format!("{} {}", ledger.get(), books.get());
            let ask = Ask { subject: date, payment: None, question, salt: &salt, about: None };
            Ok(Told { review: changes.ask(ask).await?, ledger, books })
        }
    }
}

/// The figures, the differences, and what explains them.
fn evidence(found: &Found) -> Vec<String> {
    let mut out = vec![found.figures.text()];
    let (ledger, books) = (found.figures.ledger_difference(), found.figures.books_difference());
    if !ledger.is_zero() {
        out.push(format!("The ledger has {ledger} more than Stripe's figures make."));
    }
    if !books.is_zero() {
        out.push(format!("QuickBooks' clearing account has {books} more than the confirmed postings make."));
    }
    out.extend(found.causes.iter().take(NAMED_MAX).map(Cause::text));
    let more = found.causes.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        out.push(format!("and {more} more"));
    }
    if found.causes.is_empty() {
        out.push("Nothing that changed since the last night that agreed explains it.".to_owned());
    }
    out
}
