//! import: reads the EHR's change feed. Older never overwrites newer; after each page the parked payments that a record of it
//! concerns are looked at again, in the order of first delivery; then the cursor moves. Records are stored several to a
//! transaction; one that cannot be stored becomes a question and does not hold up the feed.
//!
//! Must not: be run twice at the same time (a lease keeps the second out), or decide anything itself.

mod adjudicated;
mod records;
#[cfg(test)]
mod tests;

use crate::app::{App, Held};
use crate::changes::{After, Ask, Changes};
use crate::credit;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::reconcile::payments::look_at_all;
use crate::task::Task;
use jiff::SignedDuration;
use records::Arrived;
use serde::{Deserialize, Serialize};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_adapters::ehr::{BridgeClient, Change, Page};
use vesper_core::effect::Lease;
use vesper_core::review::{Question, Reason};

/// The small fact that holds the feed's cursor.
const FEED: &str = "ehr_feed";
/// The small fact that holds the lease.
const LEASE: &str = "import_lease";
/// How long the lease lasts, in seconds; renewed per page (design.md, Store).
const LEASE_S: i64 = 120;
/// Records asked for per page.
const PAGE: u16 = 500;
/// A transaction takes no further record once so many items are gathered: one record rarely changes twenty, and DynamoDB's
/// limit is 100.
const ITEMS_MAX: usize = 40;
/// Nor more records than this: the longer the reading takes, the more often somebody else is in the way. So many are read ahead
/// together, and what the items leave no room for is read again.
const RECORDS_MAX: usize = 10;
/// A page is not begun with less time left, in seconds.
const PAGE_TAKES_S: i64 = 30;

/// How far the feed was read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Feed {
    /// The bridge's cursor; None before the first page.
    cursor: Option<String>,
    /// How many records were read in all: numbers them.
    seq: u64,
}

/// The bridge's cursor up to which the feed was read; None before the first page.
///
/// # Errors
/// When the store does not answer.
pub async fn cursor(store: &Store) -> Result<Option<String>, Failed> {
    Ok(store.meta::<Feed>(FEED).await?.and_then(|feed| feed.item.cursor))
}

/// Reads the feed to its end. False when somebody else is reading it.
///
/// # Errors
/// When the bridge, the store or a queue does not answer: the next reading goes on from the cursor.
pub async fn import(app: &App) -> Result<bool, Unfinished> {
    let Some(bridge) = &app.ehr.bridge else { return Ok(true) };
    let feed = stored(app).await?;
    let page = changes(app, bridge, &feed).await?;
    if page.records.is_empty() && !page.has_more && feed.item.cursor.as_ref() == Some(&page.next_cursor) {
        return Ok(true); // Most polls find nothing new: they need no lease.
    }
    let held = Held::new(app);
    let Some(mut lease) = take_lease(app, &held).await? else { return Ok(false) };
    let outcome = read_all(app, bridge, &held, &mut lease, (feed, page)).await;
    lease.item = None;
    let rev = lease.rev;
    let freed = app.store.set_meta(LEASE, &lease.item, rev).await;
    outcome?;
    freed?;
    Ok(true)
}

async fn stored(app: &App) -> Result<Read<Feed>, Unfinished> {
    Ok(app.store.meta(FEED).await?.unwrap_or(Read { item: Feed::default(), rev: 0, sealed: None }))
}

async fn changes(app: &App, bridge: &BridgeClient, feed: &Read<Feed>) -> Result<Page, Unfinished> {
    let first_seq = feed.item.seq.saturating_add(1);
    Ok(bridge.changes(feed.item.cursor.as_deref(), PAGE, first_seq, app.host.real_unix_s()).await?)
}

/// `first` is the page that was read without the lease: it counts if the cursor still stands where it stood.
async fn read_all(
    app: &App,
    bridge: &BridgeClient,
    held: &Held<'_>,
    lease: &mut Read<Option<Lease>>,
    first: (Read<Feed>, Page),
) -> Result<(), Unfinished> {
    let mut known = Some(first);
    loop {
        let feed = stored(app).await?;
        let page = match known.take().filter(|(before, _)| before.rev == feed.rev) {
            Some((_, page)) => page,
            None => changes(app, bridge, &feed).await?,
        };
        take_page(app, &page, feed.item.seq.saturating_add(1)).await?;
        let read = u64::try_from(page.records.len()).unwrap_or(u64::MAX);
        let next = Feed { cursor: Some(page.next_cursor.clone()), seq: feed.item.seq.saturating_add(read) };
        app.store.set_meta(FEED, &next, feed.rev).await?;
        if !page.has_more {
            return Ok(());
        }
        if !app.has_time_for(PAGE_TAKES_S) {
            tracing::info!("the feed is longer than this function may run; the next one goes on");
            return Ok(app.queues.send(Task::ImportV1, 0).await?);
        }
        renew(app, held, lease).await?;
    }
}

/// Stores a page's records, then looks at the payments that waited for any of them. `first_seq` numbers the first one.
async fn take_page(app: &App, page: &Page, first_seq: u64) -> Result<(), Unfinished> {
    let mut known: Vec<(u64, &Change)> = Vec::new();
    let (mut skipped, mut unreadable) = (0_u32, 0_u32);
    for (seq, change) in (first_seq..).zip(&page.records) {
        match change {
            Change::UnknownKind { .. } => skipped = skipped.saturating_add(1),
            Change::Unreadable { kind, id, problem } => {
                unreadable = unreadable.saturating_add(1);
                refused(app, kind, id.as_deref(), seq, &format!("it cannot be read: {problem}")).await?;
            }
            _ => known.push((seq, change)),
        }
    }
    let arrived = take_records(app, &known).await?;
    if !page.records.is_empty() {
        tracing::info!(records = page.records.len(), skipped, unreadable, "read a page of the EHR's changes");
    }
    look_at_all(app, &arrived.watches).await?;
    credit::look_at_all(app, &arrived.credit_of).await
}

/// Stores these records, several in one transaction. Where others are in the way, or one cannot be stored, one by one: what
/// is stored already is known then, and one that cannot be stored does not hold up the others.
async fn take_records(app: &App, records: &[(u64, &Change)]) -> Result<Arrived, Unfinished> {
    let mut arrived = Arrived::default();
    let mut rest = records;
    while !rest.is_empty() {
        match take_together(app, rest).await {
            Ok((taken, more)) => {
                arrived.and(more);
                rest = rest.get(taken..).unwrap_or_default();
            }
            Err(e) if e.is_conflict() || !e.may_pass() => {
                for (seq, change) in rest.iter().take(RECORDS_MAX) {
                    arrived.and(take_record(app, *seq, change).await?);
                }
                rest = rest.get(RECORDS_MAX..).unwrap_or_default();
            }
            Err(e) => return Err(e),
        }
    }
    Ok(arrived)
}

/// Stores as many of the first of these records as fit into one transaction: how many, and what waited for them.
async fn take_together(app: &App, records: &[(u64, &Change)]) -> Result<(usize, Arrived), Unfinished> {
    let store = app.store.gathering();
    let (mut taken, mut arrived, mut after) = (0_usize, Arrived::default(), After::default());
    let batch: Vec<&Change> = records.iter().take(RECORDS_MAX).map(|(_, change)| *change).collect();
    records::read_ahead(&store, &batch).await?;
    for change in batch {
        let record = match change {
            Change::Client { client, personal } => records::client(app, &store, client, personal).await?,
            Change::Invoice(invoice) => records::invoice(app, &store, invoice).await?,
            Change::Payment(payment) => records::payment(app, &store, payment).await?,
            Change::UnknownKind { .. } | Change::Unreadable { .. } => records::Taken::default(),
        };
        arrived.and(record.arrived);
        after.and(record.after);
        taken = taken.saturating_add(1);
        if store.gathered() >= ITEMS_MAX {
            break;
        }
    }
    store.flush().await?;
    after.act(app).await?;
    Ok((taken, arrived))
}

/// Stores one record; what waited for it is returned. One that cannot be stored, now or later, becomes a question.
async fn take_record(app: &App, seq: u64, change: &Change) -> Result<Arrived, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match take_together(app, &[(seq, change)]).await {
            Ok((_, arrived)) => return Ok(arrived),
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) if !e.may_pass() => {
                let (kind, id) = name_of(change);
                refused(app, kind, id, seq, &format!("it cannot be stored: {e}")).await?;
                return Ok(Arrived::default());
            }
            Err(e) => return Err(e),
        }
    }
    Err(Unfinished::Contended { subject: "an EHR record".to_owned() })
}

fn name_of(change: &Change) -> (&str, Option<&str>) {
    match change {
        Change::Client { client, .. } => ("client", Some(client.id.as_str())),
        Change::Invoice(invoice) => ("invoice", Some(invoice.id.as_str())),
        Change::Payment(payment) => ("payment", Some(payment.id.as_str())),
        Change::UnknownKind { kind } => (kind, None),
        Change::Unreadable { kind, id, .. } => (kind, id.as_deref()),
    }
}

/// A record that Vesper cannot take over: a person is told, once for this version of it, and the feed goes on.
async fn refused(app: &App, kind: &str, id: Option<&str>, seq: u64, problem: &str) -> Result<(), Unfinished> {
    let place = format!("record {seq} of the feed");
    let subject = id.unwrap_or(&place);
    tracing::warn!(record.kind = kind, record.id = subject, problem, "an EHR record was not taken over");
    for attempt in 0..TRIES_ON_CONFLICT {
        let mut changes = Changes::new(app, app.now());
        let evidence = format!("the EHR's {kind} record was not taken over; {problem}");
        let question = Question::new(Reason::UnreadableEvent, vec![], evidence);
        changes.ask(Ask { subject, payment: None, question, salt: &place, about: None }).await?;
        match changes.commit().await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: "an EHR record".to_owned() })
}

async fn take_lease(app: &App, held: &Held<'_>) -> Result<Option<Read<Option<Lease>>>, Unfinished> {
    let mut lease = app.store.meta::<Option<Lease>>(LEASE).await?.unwrap_or(Read { item: None, rev: 0, sealed: None });
    if lease.item.as_ref().is_some_and(|l| app.host.alive(l)) {
        return Ok(None);
    }
    match renew(app, held, &mut lease).await {
        Err(e) if e.is_conflict() => Ok(None),
        other => other.map(|()| Some(lease)),
    }
}

async fn renew(app: &App, held: &Held<'_>, lease: &mut Read<Option<Lease>>) -> Result<(), Unfinished> {
    let until = app.now().saturating_add(SignedDuration::from_secs(LEASE_S)).unwrap_or(jiff::Timestamp::MAX);
    lease.item = Some(Lease { owner: held.owner.clone(), until });
    lease.rev = app.store.set_meta(LEASE, &lease.item, lease.rev).await?;
    Ok(())
}
