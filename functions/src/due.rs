//! due: what time drives. Wakes what is due; the truth is in the rows, so a wake-up twice does no harm.
//!
//! Must not: do the work itself, or forget a row.

use crate::app::App;
use crate::dead_letters;
use crate::failure::Unfinished;
use crate::task::Task;
use jiff::{SignedDuration, Timestamp};
use vesper_adapters::dynamo::item::Unit;
use vesper_adapters::dynamo::model::Meta;
use vesper_adapters::dynamo::store::{Due, Failed, Store};

/// The small fact that says when the EHR's feed is to be read next besides notices.
const NEXT_POLL: &str = "ehr_next_poll";

/// The small fact that says when the heartbeat of a stack last came through.
const BEATEN: &str = "heartbeat";

/// The heartbeat came through all it does.
///
/// # Errors
/// When the store does not answer.
pub async fn beaten(app: &App) -> Result<(), Failed> {
    let value = serde_json::to_value(app.now()).unwrap_or_default();
    let mut unit = Unit::new();
    unit.put(&Meta { name: BEATEN.to_owned(), value });
    app.store.commit(unit).await
}

/// When the heartbeat of a stack last came through; None when it never did, and of `vesper serve`, which does not tell.
///
/// # Errors
/// When the store does not answer.
pub async fn last_beat(store: &Store) -> Result<Option<Timestamp>, Failed> {
    Ok(store.meta::<Timestamp>(BEATEN).await?.map(|r| r.item))
}

/// Wakes what is due now, at most `most` rows, those that wait longest first; `skip` leaves some out. How many were woken.
///
/// # Errors
/// When the store or a queue does not answer; the next beat finds the same rows.
pub async fn wake(app: &App, most: u32, skip: impl Fn(&Task) -> bool) -> Result<usize, Unfinished> {
    let mut tasks: Vec<(Task, u32)> = Vec::new();
    for due in app.store.due(app.now(), most).await? {
        let task = match due {
            Due::Payment(payment) => Task::LookV1 { payment },
            Due::WriteBack(row) => Task::WriteBackV1 { row },
            Due::Books(row) => Task::BooksV1 { row },
            Due::Recovery(payment) => Task::RetryV1 { payment },
            Due::Credit(client) => Task::CreditV1 { client },
            Due::Payout(payout) => Task::PayoutV1 { payout },
            Due::Chore(chore) => Task::ChoreV1 { chore },
            Due::Event(stored) => Task::EventV1 { event: stored.event },
            Due::Unreadable { row, problem } => {
                dead_letters::unreadable(app, &row, &problem).await?;
                continue;
            }
        };
        if !skip(&task) {
            tasks.push((task, 0));
        }
    }
    let count = tasks.len();
    app.queues.send_all(tasks).await?;
    Ok(count)
}

/// Whether the EHR's feed is to be read now; true once per `ehr.poll_s`, whoever asks.
///
/// # Errors
/// When the store does not answer.
pub async fn poll_is_due(app: &App) -> Result<bool, Unfinished> {
    if app.ehr.bridge.is_none() {
        return Ok(false);
    }
    let now = app.now();
    let next = app.store.meta::<Timestamp>(NEXT_POLL).await?;
    if next.as_ref().is_some_and(|n| n.item > now) {
        return Ok(false);
    }
    let then = now.saturating_add(SignedDuration::from_secs(i64::from(app.settings.ehr.poll_s))).unwrap_or(Timestamp::MAX);
    match app.store.set_meta(NEXT_POLL, &then, next.map_or(0, |n| n.rev)).await {
        Ok(_) => Ok(true),
        Err(e) if e.is_conflict() => Ok(false), // Somebody else saw it first.
        Err(e) => Err(e.into()),
    }
}
