//! Healing: what the webhooks missed is found in Stripe's event list and decided as if it had come, once (design.md section 7).
//!
//! Events are listed page by page, projected like those that come by webhook, and handed to `reconcile` unless the store shows that
//! their work is done. Must not: decide by itself, keep an event, or hold more than one page.

mod known;
mod old;
#[cfg(test)]
mod tests;

use crate::app::App;
use crate::chores::{self, Chore, Turn};
use crate::failure::Unfinished;
use crate::reconcile;
use jiff::{SignedDuration, Timestamp};
use old::Stage;
use serde::{Deserialize, Serialize};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredChore;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::error::CallError;
use vesper_adapters::stripe::client::Place;
use vesper_adapters::stripe::wire::Incoming;

/// Stripe keeps events so long, in hours (facts/stripe.md section 1).
const KEPT_H: i64 = 30 * 24;
/// A sweep begins so long before the end of the last one, in hours: clocks differ.
const OVERLAP_H: i64 = 1;
/// Stripe's code for an object that it does not have, or not any more.
const GONE: &str = "resource_missing";
/// Pages of one message: a function's time is limited.
const PAGES_MAX: u32 = 5;

fn before(at: Timestamp, hours: i64) -> Timestamp {
    at.saturating_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN)
}

/// Since when Stripe has events.
fn oldest_kept(now: Timestamp) -> Timestamp {
    before(now, KEPT_H)
}

/// A walk through the event list, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Walk {
    /// From when on.
    since: Timestamp,
    /// The last event of the last page that is done with.
    after: Option<String>,
    /// When that event was made.
    #[serde(default)]
    after_at: Option<Timestamp>,
    /// How many events were looked at.
    looked: u64,
    /// How many of them nobody had worked off.
    missed: u64,
}

impl Walk {
    const fn from(since: Timestamp) -> Walk {
        Walk { since, after: None, after_at: None, looked: 0, missed: 0 }
    }

    fn text(&self) -> String {
        format!("{} events since {}, {} of them were missed", self.looked, self.since, self.missed)
    }
}

/// How far the daily sweep is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sweep {
    /// Everything until then was swept; None before the first one.
    until: Option<Timestamp>,
    /// The walk that is on its way.
    walk: Option<Walk>,
}

/// One turn at the daily sweep: from the end of the last one; the first goes back to go_live, at most 30 days.
pub(crate) async fn sweep(app: &App, chore: &mut Chore<'_>) -> Result<Turn, Unfinished> {
    let mut sweep: Sweep = chore.state().unwrap_or_default();
    let mut walk = match sweep.walk.take() {
        Some(walk) => walk,
        None => Walk::from(since(app, sweep.until, chore.began())),
    };
    for _ in 0..PAGES_MAX {
        let through = page(app, &mut walk).await?;
        if through {
            let note = walk.text();
            chore.put(&Sweep { until: Some(chore.began()), walk: None });
            return Ok(Turn::Done(note));
        }
        chore.save(&Sweep { until: sweep.until, walk: Some(walk.clone()) }).await?;
    }
    Ok(Turn::GoOn)
}

/// From when on a sweep looks. In shadow mode without a go_live the practice has no past here: what is older than the first sweep's
/// day is not asked about.
fn since(app: &App, until: Option<Timestamp>, began: Timestamp) -> Timestamp {
    let floor = if app.go_live == Timestamp::MIN { before(began, 24) } else { app.go_live };
    let wanted = until.map_or(floor, |until| before(until, OVERLAP_H));
    wanted.max(floor).max(oldest_kept(app.now()))
}

/// Works off one page. True when it was the last.
async fn page(app: &App, walk: &mut Walk) -> Result<bool, Unfinished> {
    let place = Place { since: walk.since.max(oldest_kept(app.now())), after: walk.after.as_deref() };
    let page = match app.stripe.events_page(place).await {
        Err(e) if is_gone(app, walk, &e) => return Ok(true),
        other => other?,
    };
    let mut payments = known::payments_of(app, page.items.iter().map(|incoming| &incoming.event)).await?;
    for incoming in &page.items {
        walk.looked = walk.looked.saturating_add(1);
        if is_ours(app, incoming) && !known::is_known(app, &incoming.event, &payments).await? {
            tracing::info!(event.id = %incoming.event.id, "an event that nobody had worked off");
            Box::pin(reconcile::event(app, &incoming.event)).await?;
            // A later event about the same payment finds what this one did.
            payments.extend(known::payments_of(app, [&incoming.event].into_iter()).await?);
            walk.missed = walk.missed.saturating_add(1);
        }
    }
    walk.after_at = page.items.last().map(|incoming| incoming.event.created).or(walk.after_at);
    walk.after = page.last.or(walk.after.take());
    Ok(!page.has_more)
}

/// Whether the event that the page was to start after is older than 30 days by now: so is all that follows it. Any other refusal
/// says nothing of what follows.
fn is_gone(app: &App, walk: &Walk, e: &CallError) -> bool {
    let is_old = walk.after_at.is_none_or(|at| at < oldest_kept(app.now()));
    walk.after.is_some() && is_old && e.code.as_deref() == Some(GONE)
}

fn is_ours(app: &App, incoming: &Incoming) -> bool {
    incoming.livemode == app.settings.stripe.livemode
}

/// A backfill that a person asked for, as its row holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Backfill {
    since: Timestamp,
    /// Also what is younger than 30 days is listed object by object.
    from_lists: bool,
    stage: Stage,
    walk: Walk,
}

/// What a backfill is at, how much it has looked at, and how much of that was missed.
#[must_use]
pub fn progress(chore: &StoredChore) -> Option<(&'static str, u64, u64)> {
    let state: Backfill = serde_json::from_value(chore.state.clone()).ok()?;
    Some((state.stage.as_str(), state.walk.looked, state.walk.missed))
}

/// Asks for a backfill. One of the same moment that was cut short goes on; any other begins anew. With `from_lists` also what is
/// younger than 30 days is listed object by object. A serve that runs beside takes it with its next heartbeat.
///
/// # Errors
/// When the store does not answer; `Conflict` when it is at work at this moment: ask again.
pub async fn ask(store: &Store, since: Timestamp, from_lists: bool) -> Result<(), Unfinished> {
    // Due by whatever clock the serve has.
    ask_from(store, since, from_lists, Timestamp::UNIX_EPOCH).await
}

/// The same, to begin no sooner than `begins`.
///
/// # Errors
/// When the store does not answer; `Conflict` when it is at work at this moment: ask again.
pub async fn ask_from(store: &Store, since: Timestamp, from_lists: bool, begins: Timestamp) -> Result<(), Unfinished> {
    let known = store.chore(chores::BACKFILL).await?;
    let (rev, unfinished) = known.map_or((0, None), |r| (r.rev, r.item.next_at.map(|_| r.item.state)));
    let goes_on = unfinished.and_then(|s| serde_json::from_value::<Backfill>(s).ok()).filter(|b| b.since == since);
    let state = goes_on.unwrap_or(Backfill { since, from_lists, stage: Stage::Charges, walk: Walk::from(since) });
    let item = StoredChore {
        name: chores::BACKFILL.to_owned(),
        next_at: Some(begins),
        lease: None,
        started_at: None,
        done_at: None,
        tries: 0,
        note: None,
        state: serde_json::to_value(state).unwrap_or_default(),
    };
    Ok(store.save(&mut Read { item, rev, sealed: None }).await?)
}

/// One turn at a backfill: what is older than Stripe's event list object by object, the rest event by event.
pub(crate) async fn backfill(app: &App, chore: &mut Chore<'_>) -> Result<Turn, Unfinished> {
    let Some(mut state) = chore.state::<Backfill>() else { return Ok(Turn::Done("nobody asked for it".to_owned())) };
    if !state.from_lists && state.since >= oldest_kept(app.now()) {
        state.stage = Stage::Events;
    }
    for _ in 0..PAGES_MAX {
        let through = match state.stage {
            Stage::Events => page(app, &mut state.walk).await?,
            _ => old::page(app, &state.stage, &mut state.walk).await?,
        };
        if through {
            state.walk.after = None;
            match state.stage.next() {
                Some(next) => state.stage = next,
                None => {
                    let note = state.walk.text();
                    chore.put(&state);
                    return Ok(Turn::Done(note));
                }
            }
        }
        chore.save(&state).await?;
    }
    Ok(Turn::GoOn)
}
