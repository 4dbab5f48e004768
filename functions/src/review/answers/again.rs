//! Answers that send something back to work: a write-back, a posting, an event, a message, a payout.
//!
//! Must not: do the work itself; it wakes whoever does.

use super::doing::Doing;
use super::{Tried, refuse};
use crate::failure::Unfinished;
use crate::payouts;
use crate::task::Task;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{StoredEvent, StoredReview};
use vesper_adapters::dynamo::store::{RowRef, WriteBack};
use vesper_core::effect::{Effect, EffectState};
use vesper_core::ids::EventId;
use vesper_core::review::Reason;

pub(super) fn row_named(about: Option<&str>) -> Option<RowRef> {
    serde_json::from_str(about?).ok()
}

/// `opening_posted`: the clearing account was opened with Stripe's balance; payouts with older money may be posted now.
pub(super) async fn opening_posted(doing: &mut Doing<'_>, account: &str) -> Tried {
    doing.changes.unit.put(&payouts::opening_fact(account));
    doing.tasks.extend(payouts::waiting_for_opening(doing.app).await?);
    Ok(Ok(()))
}

/// `retry`: a write-back, a posting, an event, a message or a payout goes back to work.
pub(super) async fn retry(doing: &mut Doing<'_>, read: &Read<StoredReview>) -> Tried {
    let review = &read.item.review;
    if review.question.reason == Reason::PayoutDrift {
        doing.tasks.push(Task::PayoutV1 { payout: review.subject.clone() });
        doing.stays_open = true; // It closes when the payout ties out.
        return Ok(Ok(()));
    }
    let place = row_named(review.about.as_deref());
    if let Some(place) = &place {
        match doing.app.store.write_back(place).await? {
            Some(WriteBack::Allocation(mut row)) => {
                if row.item.effect.as_mut().is_some_and(|e| redrive(doing, e)) {
                    doing.changes.unit.update(&row);
                    doing.tasks.push(Task::WriteBackV1 { row: place.clone() });
                }
                return Ok(Ok(()));
            }
            Some(WriteBack::Reversal(mut row)) => {
                if redrive(doing, &mut row.item.effect) {
                    doing.changes.unit.update(&row);
                    doing.tasks.push(Task::WriteBackV1 { row: place.clone() });
                }
                return Ok(Ok(()));
            }
            None => {}
        }
    }
    if review.question.reason == Reason::DeadLetter && retry_message(doing, &review.subject).await? {
        return Ok(Ok(()));
    }
    let posting = match &place {
        Some(place) => doing.app.store.books(place).await?,
        None => None,
    };
    let (Some(mut row), Some(place)) = (posting, place) else {
        return Ok(refuse("what was to be done again is not known any more"));
    };
    if redrive(doing, &mut row.item.effect) {
        doing.changes.unit.update(&row);
        doing.tasks.push(Task::BooksV1 { row: place });
    }
    Ok(Ok(()))
}

/// An effect that was given up goes back to work; one that is at work, or done after all, is left alone.
fn redrive(doing: &Doing<'_>, effect: &mut Effect) -> bool {
    let given_up = matches!(effect.state, EffectState::Dead | EffectState::Failed);
    if given_up {
        effect.redrive(doing.changes.now());
    }
    given_up
}

/// An event or a message that gave up is sent again. Its row goes only when it is sent: twice is harmless, never is not. The
/// question about an event closes when it succeeds (contracts/export.md), that about a message at once: nobody knows it then.
async fn retry_message(doing: &mut Doing<'_>, subject: &str) -> Result<bool, Unfinished> {
    let letters = doing.app.store.dead_letters().await?;
    doing.letters.extend(letters.into_iter().filter(|l| l.id == subject));
    let event = match EventId::parse(subject) {
        Ok(id) => doing.app.store.event(&id).await?,
        Err(_) => None,
    };
    doing.stays_open = event.is_some();
    if let (Some(mut row), true) = (event, doing.letters.is_empty()) {
        let now = doing.changes.now();
        row.item = StoredEvent { since: now, tries: 0, next_at: Some(now), ..row.item };
        doing.changes.unit.update(&row);
        return Ok(true); // `due` finds it.
    }
    Ok(!doing.letters.is_empty())
}
