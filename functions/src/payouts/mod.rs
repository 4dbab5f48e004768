//! payouts: ties each payout of Stripe to its transactions, and posts its fees and its Transfer (design.md section 7).
//!
//! The row of a payout is due from the moment an event names it, so a lost message loses nothing. Its transactions are stored
//! in batches with a cursor: a restart goes on from there. Events may come twice and in any order, because Stripe is asked
//! how the payout is now. Must not: judge (the core does), or post for a payout whose transactions do not add up.

mod known;
mod outcome;
mod rows;
#[cfg(test)]
mod tests;

pub use known::{fetch_charge, fetch_payment, if_any, page as classify};
pub use outcome::{opening_account, opening_confirmed, opening_fact, waiting_for_opening};

use crate::app::App;
use crate::changes::{Ask, Changes};
use crate::dead_letters;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::switch;
use crate::task::{Queue, Task};
use jiff::{SignedDuration, Timestamp};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{DeadLetter, StoredPayout};
use vesper_core::effect::BACKOFF_MAX_S;
use vesper_core::payout::{Payout, PayoutState, Tally};
use vesper_core::review::{Answer, Question, Reason};

/// A payout that waits is looked at again after so long, in seconds; an event brings it forward.
const LOOK_AGAIN_S: i64 = 24 * 3600;
/// After so long without an answer of Stripe's it is a dead letter, in seconds.
const GIVE_UP_S: i64 = 24 * 3600;
/// The first wait after an answer that did not come, in seconds; doubled each time.
const BACKOFF_FIRST_S: i64 = 5;

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn fresh(id: &str) -> Read<StoredPayout> {
    let item = StoredPayout {
        id: id.to_owned(),
        payout: None,
        state: PayoutState::Waiting,
        look: 1,
        cursor: None,
        listed: false,
        tally: Tally::default(),
        transferred: false,
        shadow: false,
        next_at: None,
        failing_since: None,
        tries: 0,
        problem: None,
    };
    Read { item, rev: 0, sealed: None }
}

/// An event, or a row of another payout, named this payout: it is looked at now.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn heard(app: &App, id: &str) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        let mut read = app.store.payout(id).await?.unwrap_or_else(|| fresh(id));
        read.item.next_at = Some(app.now());
        match app.store.save(&mut read).await.map_err(Unfinished::from) {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
            Ok(()) => return Ok(app.queues.send(Task::PayoutV1 { payout: id.to_owned() }, 0).await?),
        }
    }
    Err(Unfinished::Contended { subject: id.to_owned() })
}

/// Looks at a payout. What Stripe does not answer is tried again later, and is no error of the message.
///
/// # Errors
/// When the store or a queue does not answer: the message comes again.
pub async fn look(app: &App, id: &str) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match look_once(app, id).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(Unfinished::Call(e)) => return later(app, id, &e.to_string()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: id.to_owned() })
}

async fn look_once(app: &App, id: &str) -> Result<(), Unfinished> {
    let Some(mut read) = app.store.payout(id).await? else { return Ok(()) };
    let mut now = app.stripe.payout(id).await?;
    // The bank's reference comes late, and is kept once it is known.
    now.trace_id = now.trace_id.or_else(|| read.item.payout.as_ref().and_then(|p| p.trace_id.clone()));
    read.item.payout = Some(now.clone());
    let is_judged = matches!(read.item.state, PayoutState::TiedOut | PayoutState::Failed);
    if now.created < app.go_live || (!is_judged && now.created < switch::opened_at(app).await?) {
        return outcome::before_go_live(app, read, &now).await;
    }
    match read.item.state {
        PayoutState::TiedOut if now.status.came_back() => outcome::came_back(app, read, &now).await,
        PayoutState::TiedOut | PayoutState::Failed => outcome::keep(app, read).await,
        PayoutState::Waiting | PayoutState::Drift | PayoutState::Manual => judge(app, read, &now).await,
    }
}

async fn judge(app: &App, mut read: Read<StoredPayout>, now: &Payout) -> Result<(), Unfinished> {
    if now.automatic && now.reconciled {
        if read.item.state == PayoutState::Drift && read.item.listed {
            // What did not add up is read anew from the beginning.
            let item = &mut read.item;
            item.look = item.look.saturating_add(1);
            (item.cursor, item.listed, item.tally) = (None, false, Tally::default());
        }
        if !rows::read_on(app, &mut read).await? {
            // One message has read enough: the next one goes on from the cursor.
            return Ok(app.queues.send(Task::PayoutV1 { payout: now.id.clone() }, 0).await?);
        }
    }
    outcome::judged(app, read, now).await
}

/// Stripe did not answer: tried again later, and after 24 hours a dead letter and a review, until somebody redrives it.
async fn later(app: &App, id: &str, problem: &str) -> Result<(), Unfinished> {
    let now = app.now();
    let Some(mut read) = app.store.payout(id).await? else { return Ok(()) };
    let item = &mut read.item;
    tracing::warn!(payout.id = id, tries = item.tries, problem, "the payout waits for an answer of Stripe's");
    let since = *item.failing_since.get_or_insert(now);
    item.tries = item.tries.saturating_add(1);
    item.problem = Some(problem.to_owned());
    let mut changes = Changes::new(app, now);
    let gives_up = after(since, GIVE_UP_S) <= now;
    if !gives_up {
        let doubled_s = BACKOFF_FIRST_S.saturating_mul(1_i64 << item.tries.saturating_sub(1).min(10));
        item.next_at = Some(after(now, doubled_s.min(BACKOFF_MAX_S)));
    } else {
        (item.next_at, item.failing_since, item.tries) = (None, None, 0);
        let queue = Queue::Payouts.as_str().to_owned();
        let body = serde_json::to_string(&Task::PayoutV1 { payout: id.to_owned() }).unwrap_or_default();
        changes.unit.put(&DeadLetter { queue, id: id.to_owned(), body, at: now, problem: problem.to_owned() });
        let evidence = "a payout gave up after 24 hours without an answer of Stripe's";
        let question = Question::new(Reason::DeadLetter, vec![Answer::Retry], evidence);
        // Since when it waited tells this death from an earlier one.
        let salt = since.to_string();
        changes.ask(Ask { subject: id, payment: None, question, salt: &salt, about: None }).await?;
    }
    changes.unit.update(&read);
    match changes.commit().await {
        // Somebody else is at work on it.
        Err(e) if e.is_conflict() => Ok(()),
        Ok(()) if gives_up => {
            dead_letters::tell_stuck(id, problem);
            Ok(())
        }
        other => other,
    }
}
