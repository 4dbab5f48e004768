//! Reads Stripe's balance transactions, each once: from the newest back to the newest of the last reading, page by page, with a
//! cursor from which a restart goes on. What the ledger does not know of is decided on the way.
//!
//! Must not: hold more than one page, and a few rows that nothing explains.

use super::Night;
use crate::app::App;
use crate::chores::Chore;
use crate::failure::Unfinished;
use crate::payouts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vesper_adapters::stripe::client::Place;
use vesper_core::payout::{Matched, RowKind};
use vesper_core::proof::{BalanceRow, BalanceTotals};

/// Pages of one message: a function's time is limited.
const PAGES_MAX: u32 = 5;
/// At most so many rows that nothing explains are looked at again each night.
const UNKNOWN_MAX: usize = 100;

/// A transaction by its id, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    id: String,
    created: Timestamp,
}

/// A reading on its way: newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Pass {
    /// The first row that it read.
    newest: Option<Mark>,
    /// The last one.
    after: Option<String>,
}

/// What was read of Stripe's balance transactions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rows {
    /// go_live, and since when the books are Vesper's: with others everything is read anew.
    pub since: Option<(Timestamp, Timestamp)>,
    /// The sums.
    pub totals: BalanceTotals,
    /// The newest row of the readings that are through.
    done: Option<Mark>,
    /// The reading on its way.
    pass: Option<Pass>,
    /// Rows that nothing in the ledger explained.
    unknown: Vec<BalanceRow>,
}

impl Rows {
    pub(super) fn from(go_live: Timestamp, opened_at: Timestamp) -> Rows {
        Rows { since: Some((go_live, opened_at)), ..Rows::default() }
    }

    /// Nothing was read.
    pub(super) fn anew(&self) -> Rows {
        Rows { since: self.since, ..Rows::default() }
    }

    /// Whether the newest row at Stripe is the newest one that was read.
    pub(super) fn reach(&self, newest: Option<&BalanceRow>) -> bool {
        let go_live = self.since.map_or(Timestamp::MIN, |(go_live, _)| go_live);
        match (&self.done, newest) {
            (Some(mark), Some(newest)) => mark.id == newest.row.id,
            (None, newest) => newest.is_none_or(|r| r.row.created < go_live),
            (Some(_), None) => false,
        }
    }

    /// Whether a row was read that is newer than any that Stripe has: it has gone.
    pub(super) fn is_newer_than(&self, newest: Option<&BalanceRow>) -> bool {
        self.done.as_ref().is_some_and(|mark| newest.is_none_or(|r| r.row.created < mark.created))
    }
}

/// How far a turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// To the newest row.
    Through,
    /// The next message goes on.
    NotThrough,
}

/// Reads on, and stores how far it came after each page.
///
/// # Errors
/// When Stripe or the store does not answer.
pub(super) async fn read_on(app: &App, chore: &mut Chore<'_>, night: &mut Night) -> Result<Reading, Unfinished> {
    for _ in 0..PAGES_MAX {
        let through = page(app, &mut night.rows).await?;
        chore.save(night).await?;
        if through {
            again(app, &mut night.rows).await?;
            chore.save(night).await?;
            return Ok(Reading::Through);
        }
    }
    Ok(Reading::NotThrough)
}

/// Reads one page. True when it reached the rows of the last reading.
async fn page(app: &App, rows: &mut Rows) -> Result<bool, Unfinished> {
    let mut pass = rows.pass.take().unwrap_or_default();
    let since = rows.done.as_ref().map_or(app.go_live, |mark| mark.created);
    let place = Place { since, after: pass.after.as_deref() };
    let page = app.stripe.balance_page(app.settings.practice.currency, place).await?;
    let has_more = page.has_more;
    let known = rows.done.as_ref().map(|mark| mark.id.as_str());
    let fresh: Vec<BalanceRow> = page.items.into_iter().take_while(|r| Some(r.row.id.as_str()) != known).collect();
    let reached = page.last.as_deref() != fresh.last().map(|r| r.row.id.as_str());
    if pass.newest.is_none() {
        pass.newest = fresh.first().map(|r| Mark { id: r.row.id.clone(), created: r.row.created });
    }
    pass.after = page.last;
    take(app, rows, fresh).await?;
    if has_more && !reached {
        rows.pass = Some(pass);
        return Ok(false);
    }
    rows.done = pass.newest.or(rows.done.take());
    Ok(true)
}

async fn take(app: &App, rows: &mut Rows, fresh: Vec<BalanceRow>) -> Result<(), Unfinished> {
    let classified = Box::pin(payouts::classify(app, fresh.iter().map(|r| r.row.clone()).collect())).await?;
    let opened_at = rows.since.map_or(Timestamp::MIN, |(_, opened_at)| opened_at);
    for (mut of, (row, mut matched)) in fresh.into_iter().zip(classified) {
        if let RowKind::PayoutBack { payout } = &row.kind {
            // Its payout.failed may have been missed; the ledger reverses before it is summed.
            Box::pin(payouts::look(app, payout)).await?;
        }
        if of.payout.is_some() && row.created < opened_at {
            // It left in shadow mode: the opening balance is without it.
            (of.payout, matched) = (None, Matched::BeforeGoLive);
        }
        of.row = row;
        rows.totals.add(&of, matched);
        if matched == Matched::Unmatched && rows.unknown.len() < UNKNOWN_MAX {
            rows.unknown.push(of);
        }
    }
    Ok(())
}

/// Looks again at the rows that nothing explained.
async fn again(app: &App, rows: &mut Rows) -> Result<(), Unfinished> {
    let unknown = std::mem::take(&mut rows.unknown);
    let classified = Box::pin(payouts::classify(app, unknown.iter().map(|r| r.row.clone()).collect())).await?;
    for (of, (_, matched)) in unknown.into_iter().zip(classified) {
        match matched {
            Matched::Known => {}
            Matched::BeforeGoLive => rows.totals.found_before(&of),
            Matched::Unmatched => rows.unknown.push(of),
        }
    }
    Ok(())
}
