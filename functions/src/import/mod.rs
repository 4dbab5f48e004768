//! import: reads the EHR's change feed. Older never overwrites newer; after each page the parked payments that a record of it
//! concerns are looked at again, in the order of first delivery; then the cursor moves.
//!
//! Must not: be run twice at the same time (a lease keeps the second out), or decide anything itself.

mod adjudicated;
mod records;
#[cfg(test)]
mod tests;

use crate::app::{App, Held};
use crate::credit;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::reconcile::payments::look_at_all;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_adapters::ehr::{BridgeClient, Change, Page};
use vesper_core::effect::Lease;
use vesper_core::matching::Watch;

/// The small fact that holds the feed's cursor.
const FEED: &str = "ehr_feed";
/// The small fact that holds the lease.
const LEASE: &str = "import_lease";
/// How long the lease lasts, in seconds; renewed per page (design.md, Store).
const LEASE_S: i64 = 120;
/// Records asked for per page.
const PAGE: u16 = 500;

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
    let held = Held::new(app);
    let Some(mut lease) = take_lease(app, &held).await? else { return Ok(false) };
    let outcome = read_all(app, bridge, &held, &mut lease).await;
    lease.item = None;
    let rev = lease.rev;
    let freed = app.store.set_meta(LEASE, &lease.item, rev).await;
    outcome?;
    freed?;
    Ok(true)
}

async fn read_all(app: &App, bridge: &BridgeClient, held: &Held<'_>, lease: &mut Read<Option<Lease>>) -> Result<(), Unfinished> {
    loop {
        let feed = app.store.meta::<Feed>(FEED).await?.unwrap_or(Read { item: Feed::default(), rev: 0, sealed: None });
        let first_seq = feed.item.seq.saturating_add(1);
        let page = bridge.changes(feed.item.cursor.as_deref(), PAGE, first_seq, app.host.real_unix_s()).await?;
        take_page(app, &page).await?;
        let read = u64::try_from(page.records.len()).unwrap_or(u64::MAX);
        let next = Feed { cursor: Some(page.next_cursor.clone()), seq: feed.item.seq.saturating_add(read) };
        app.store.set_meta(FEED, &next, feed.rev).await?;
        if !page.has_more {
            return Ok(());
        }
        renew(app, held, lease).await?;
    }
}

/// Stores a page's records, then looks at the payments that waited for any of them.
async fn take_page(app: &App, page: &Page) -> Result<(), Unfinished> {
    let mut arrived: BTreeSet<Watch> = BTreeSet::new();
    let (mut skipped, mut unreadable) = (0_u32, 0_u32);
    for change in &page.records {
        match change {
            Change::UnknownKind { .. } => skipped = skipped.saturating_add(1),
            Change::Unreadable { kind, id, problem } => {
                unreadable = unreadable.saturating_add(1);
                tracing::warn!(
                    record.kind = kind,
                    record.id = id.as_deref().unwrap_or("?"),
                    problem,
                    "an EHR record cannot be read"
                );
            }
            known => arrived.extend(take_record(app, known).await?),
        }
    }
    if !page.records.is_empty() {
        tracing::info!(records = page.records.len(), skipped, unreadable, "read a page of the EHR's changes");
    }
    look_at_all(app, &arrived).await?;
    credit::arrived(app, &arrived).await
}

/// Stores one record; what waited for it is returned, also when the record was known: a crash may have come in between.
async fn take_record(app: &App, change: &Change) -> Result<BTreeSet<Watch>, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        let outcome = match change {
            Change::Client { client, personal } => records::client(app, client, personal).await,
            Change::Invoice(invoice) => records::invoice(app, invoice).await,
            Change::Payment(payment) => records::payment(app, payment).await,
            Change::UnknownKind { .. } | Change::Unreadable { .. } => Ok(BTreeSet::new()),
        };
        match outcome {
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
