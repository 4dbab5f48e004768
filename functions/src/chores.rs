//! The work that the clock drives: the daily sweep, the nightly proof after it, and a backfill when a person wants one.
//!
//! Each is one row that is due when it is to begin or to go on. Whoever takes it holds a lease; what it has done stands in the row,
//! page by page, so that a kill costs one page. Must not: know what a chore does, or hold more than one page of anything.

use crate::app::{App, Held};
use crate::dead_letters;
use crate::failure::Unfinished;
use crate::task::{Queue, Task};
use crate::{heal, proof};
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil};
use serde::{Serialize, de::DeserializeOwned};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredChore;
use vesper_core::effect::Lease;

/// The daily sweep over Stripe's events.
pub const HEAL: &str = "heal";
/// The nightly proof; begins when the sweep is through.
pub const PROOF: &str = "proof";
/// A sweep that a person asked for.
pub const BACKFILL: &str = "backfill";

/// When the sweep begins, in the practice's time.
const AT: civil::Time = civil::time(3, 0, 0, 0);
/// How long a lease lasts, in seconds; renewed with each page.
const LEASE_S: i64 = 120;
/// A chore whose worker was killed is found by `due` after so long, in seconds.
const LOST_S: i64 = 180;
/// The first wait after something did not answer, in seconds; doubled up to an hour.
const BACKOFF_FIRST_S: i64 = 60;
/// The longest wait, in seconds.
const BACKOFF_MAX_S: i64 = 3600;
/// After so many tries in a row (about a day) a person is told, and after as many again.
const TRIES_MAX: u32 = 28;

/// What one turn at a chore came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is through; a sentence for the row.
    Done(String),
    /// This message has done enough: the next one goes on.
    GoOn,
    /// Later, in seconds: what it looks at is moving.
    Later(i64, &'static str),
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// The next time that the sweep begins, after `now`.
fn next_night(app: &App, now: Timestamp) -> Timestamp {
    let zone = app.policy.time_zone.clone();
    let today = now.to_zoned(zone.clone()).date();
    let nights = (0..=2).filter_map(|days| {
        let day = today.checked_add(days.days()).ok()?;
        Some(day.to_datetime(AT).to_zoned(zone.clone()).ok()?.timestamp())
    });
    nights.into_iter().find(|at| *at > now).unwrap_or_else(|| after(now, 24 * 3600))
}

fn fresh(name: &str) -> Read<StoredChore> {
    let item = StoredChore {
        name: name.to_owned(),
        next_at: None,
        lease: None,
        started_at: None,
        done_at: None,
        tries: 0,
        note: None,
        state: serde_json::Value::Null,
    };
    Read { item, rev: 0, sealed: None }
}

/// At the start of a process: the daily sweep has its row.
///
/// # Errors
/// When the store does not answer.
pub async fn at_start(app: &App) -> Result<(), Unfinished> {
    if app.store.chore(HEAL).await?.is_some() {
        return Ok(());
    }
    let mut chore = fresh(HEAL);
    chore.item.next_at = Some(next_night(app, app.now()));
    match app.store.save(&mut chore).await {
        Err(e) if e.is_conflict() => Ok(()), // Another process was first.
        other => Ok(other?),
    }
}

/// A chore is wanted now. One that is at work goes on as it is.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn wanted(app: &App, name: &str) -> Result<(), Unfinished> {
    let mut chore = app.store.chore(name).await?.unwrap_or_else(|| fresh(name));
    let is_at_work = chore.item.lease.as_ref().is_some_and(|l| app.host.alive(l));
    if !is_at_work {
        chore.item.next_at = Some(app.now());
        match app.store.save(&mut chore).await {
            Err(e) if e.is_conflict() => {} // Somebody has it: it is at work, or about to be.
            other => other?,
        }
    }
    Ok(app.queues.send(Task::ChoreV1 { chore: name.to_owned() }, 0).await?)
}

/// A chore that is being worked on.
pub(crate) struct Chore<'a> {
    app: &'a App,
    held: &'a Held<'a>,
    read: Read<StoredChore>,
}

impl Chore<'_> {
    /// How far it is; None before its first turn.
    pub(crate) fn state<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.read.item.state.clone()).ok()
    }

    /// When this run began.
    pub(crate) fn began(&self) -> Timestamp {
        self.read.item.started_at.unwrap_or_else(|| self.app.now())
    }

    /// Stores how far it is, and renews the lease.
    ///
    /// # Errors
    /// `Conflict` when somebody else has it by now.
    pub(crate) async fn save<T: Serialize>(&mut self, state: &T) -> Result<(), Unfinished> {
        self.put(state);
        self.renew();
        Ok(self.app.store.save(&mut self.read).await?)
    }

    /// How far it is, to be stored with the end of the turn.
    pub(crate) fn put<T: Serialize>(&mut self, state: &T) {
        self.read.item.state = serde_json::to_value(state).unwrap_or_default();
    }

    fn renew(&mut self) {
        let now = self.app.now();
        self.read.item.lease = Some(Lease { owner: self.held.owner.clone(), until: after(now, LEASE_S) });
        self.read.item.next_at = Some(after(now, LOST_S));
    }
}

/// Works on a chore that is due, unless somebody else does.
///
/// # Errors
/// When the store or a queue does not answer: the message comes again.
pub async fn work(app: &App, name: &str) -> Result<(), Unfinished> {
    let Some(read) = app.store.chore(name).await? else { return Ok(()) };
    let now = app.now();
    let is_at_work = read.item.lease.as_ref().is_some_and(|l| app.host.alive(l));
    if is_at_work || read.item.next_at.is_none_or(|at| at > now) {
        return Ok(());
    }
    let held = Held::new(app);
    let mut chore = Chore { app, held: &held, read };
    chore.read.item.started_at.get_or_insert(now);
    chore.renew();
    match app.store.save(&mut chore.read).await {
        Err(e) if e.is_conflict() => return Ok(()),
        other => other?,
    }
    // A future of its own on the heap: what a chore does is deep.
    let outcome = Box::pin(turn(app, name, &mut chore)).await;
    match finish(app, name, chore.read, outcome).await {
        // Somebody took it over meanwhile, and goes on from what is stored.
        Err(e) if e.is_conflict() => Ok(()),
        other => other,
    }
}

async fn turn(app: &App, name: &str, chore: &mut Chore<'_>) -> Result<Turn, Unfinished> {
    match name {
        HEAL => heal::sweep(app, chore).await,
        BACKFILL => heal::backfill(app, chore).await,
        PROOF => proof::prove(app, chore).await,
        _ => Ok(Turn::Done("an earlier release knew this chore".to_owned())),
    }
}

async fn finish(app: &App, name: &str, mut read: Read<StoredChore>, outcome: Result<Turn, Unfinished>) -> Result<(), Unfinished> {
    let now = app.now();
    let item = &mut read.item;
    item.lease = None;
    match outcome {
        Ok(Turn::Done(note)) => {
            tracing::info!(chore = name, note, "a chore is done");
            (item.started_at, item.done_at, item.note) = (None, Some(now), Some(note));
            item.next_at = (name == HEAL).then(|| next_night(app, now));
            let failed_before = std::mem::take(&mut item.tries) > 0;
            app.store.save(&mut read).await?;
            if failed_before {
                dead_letters::resolved(app, name).await?;
                app.store.forget_dead_letter(Queue::Payouts.as_str(), name).await?;
            }
            return if name == HEAL { wanted(app, PROOF).await } else { Ok(()) };
        }
        Ok(Turn::GoOn) => item.next_at = Some(now),
        Ok(Turn::Later(seconds, why)) => (item.next_at, item.note) = (Some(after(now, seconds)), Some(why.to_owned())),
        Err(Unfinished::Call(e)) => return put_off(app, name, read, &e.to_string()).await,
        Err(e) => return Err(e),
    }
    app.store.save(&mut read).await?;
    if read.item.next_at == Some(now) {
        app.queues.send(Task::ChoreV1 { chore: name.to_owned() }, 0).await?;
    }
    Ok(())
}

/// Something did not answer: it goes on later from where it is. After each day a person is told, and it goes on each hour.
async fn put_off(app: &App, name: &str, mut read: Read<StoredChore>, problem: &str) -> Result<(), Unfinished> {
    let now = app.now();
    let item = &mut read.item;
    item.tries = item.tries.saturating_add(1);
    tracing::warn!(chore = name, tries = item.tries, problem, "a chore waits for an outside answer");
    item.note = Some(problem.to_owned());
    let wait_s = BACKOFF_FIRST_S.saturating_mul(1_i64 << item.tries.saturating_sub(1).min(10)).min(BACKOFF_MAX_S);
    item.next_at = Some(after(now, wait_s));
    // Again after another day: somebody may have answered in between, and it has still not got on.
    let tell = item.tries.is_multiple_of(TRIES_MAX);
    app.store.save(&mut read).await?;
    if tell {
        let task = Task::ChoreV1 { chore: name.to_owned() };
        dead_letters::not_getting_on(app, name, &task, problem).await?;
    }
    Ok(())
}
