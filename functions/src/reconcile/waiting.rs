//! Events whose work cannot be finished now: a row that is tried again like an effect, and a dead letter after 24 hours.

use crate::app::App;
use crate::changes::{Ask, Changes};
use crate::dead_letters;
use crate::failure::Unfinished;
use jiff::{SignedDuration, Timestamp};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{DeadLetter, StoredEvent};
use vesper_core::effect::BACKOFF_MAX_S;
use vesper_core::event::Event;
use vesper_core::review::{Answer, Question, Reason};

/// How long a charge waits for its PaymentIntent, in seconds.
const CHARGE_ALONE_S: i64 = 3600;
/// After so long an event gives up, in seconds.
const GIVE_UP_S: i64 = 24 * 3600;

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn fresh(event: &Event, now: Timestamp) -> Read<StoredEvent> {
    let item = StoredEvent { event: event.clone(), since: now, tries: 0, next_at: None, problem: String::new() };
    Read { item, rev: 0, sealed: None }
}

/// Whether an event has a row, because it has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasRow {
    /// Nobody has looked.
    Unknown,
    /// It had none when its work began. One that another delivery stores meanwhile is due later, and finds the work done.
    No,
    /// It has one.
    Yes,
}

impl HasRow {
    /// By what was read when its work began.
    pub(super) const fn of(row: Option<&Read<StoredEvent>>) -> HasRow {
        if row.is_some() { HasRow::Yes } else { HasRow::No }
    }
}

/// The event's work is done: its row goes, if it has one.
pub(super) async fn finished(app: &App, event: &Event, has_row: HasRow) -> Result<(), Unfinished> {
    let has_row = match has_row {
        HasRow::Unknown => app.store.event(&event.id).await?.is_some(),
        known => known == HasRow::Yes,
    };
    if has_row {
        dead_letters::resolved(app, event.id.as_str()).await?;
        app.store.forget_event(&event.id).await?;
    }
    Ok(())
}

/// Whether this charge has waited for its PaymentIntent long enough.
pub(super) fn waited(app: &App, row: Option<&Read<StoredEvent>>) -> bool {
    row.is_some_and(|r| after(r.item.since, CHARGE_ALONE_S) <= app.now())
}

/// Waits an hour for the PaymentIntent of a charge.
pub(super) async fn for_an_hour(app: &App, event: &Event, row: Option<Box<Read<StoredEvent>>>) -> Result<(), Unfinished> {
    let mut row = row.map_or_else(|| fresh(event, app.now()), |row| *row);
    row.item.next_at = Some(after(row.item.since, CHARGE_ALONE_S));
    "its PaymentIntent has not been heard of".clone_into(&mut row.item.problem);
    save(app, row).await
}

/// Tries again later, and gives up after 24 hours: then it is a dead letter and a review, until somebody redrives it.
pub(super) async fn later(app: &App, event: &Event, problem: &str) -> Result<(), Unfinished> {
    let now = app.now();
    let mut row = app.store.event(&event.id).await?.unwrap_or_else(|| fresh(event, now));
    tracing::warn!(event.id = %event.id, tries = row.item.tries, problem, "the event waits for an outside answer");
    row.item.tries = row.item.tries.saturating_add(1);
    problem.clone_into(&mut row.item.problem);
    if after(row.item.since, GIVE_UP_S) > now {
        let wait_s = 5_i64.saturating_mul(1 << row.item.tries.saturating_sub(1).min(10)).min(BACKOFF_MAX_S);
        row.item.next_at = Some(after(now, wait_s));
        return save(app, row).await;
    }
    row.item.next_at = None;
    let mut changes = Changes::new(app, now);
    changes.unit.update(&row);
    let body = serde_json::to_string(event).unwrap_or_default();
    let letter = DeadLetter { queue: "events".to_owned(), id: event.id.to_string(), body, at: now, problem: problem.to_owned() };
    changes.unit.put(&letter);
    let question =
        Question::new(Reason::DeadLetter, vec![Answer::Retry], "an event gave up after 24 hours without an outside answer");
    // Since when it waited tells this death from an earlier one.
    let salt = row.item.since.to_string();
    changes.ask(Ask { subject: event.id.as_str(), payment: None, question, salt: &salt, about: None }).await?;
    let outcome = changes.commit().await;
    if outcome.is_ok() {
        dead_letters::tell_stuck(event.id.as_str(), problem);
    }
    ok_if_it_waits(app, event, outcome).await
}

async fn save(app: &App, mut row: Read<StoredEvent>) -> Result<(), Unfinished> {
    let outcome = app.store.save(&mut row).await.map_err(Unfinished::from);
    ok_if_it_waits(app, &row.item.event, outcome).await
}

/// The same event is being worked on twice: the other one's row is as good. Where there is none, the conflict was with a write
/// that came to nothing, and the message must come again: nobody else would remember the event.
async fn ok_if_it_waits(app: &App, event: &Event, outcome: Result<(), Unfinished>) -> Result<(), Unfinished> {
    match outcome {
        Err(e) if e.is_conflict() => app.store.event(&event.id).await?.map(|_| ()).ok_or(e),
        other => other,
    }
}
