//! The nightly three-way proof (design.md section 2, invariant 7): Stripe's balance, the ledger's clearing account and QuickBooks'
//! clearing account. A difference is a question that names what explains it; it closes itself when a later night agrees.
//!
//! Every balance transaction is read once, from a cursor, and what the ledger does not know of is decided on the way, like in a
//! payout. Balances that move while they are read are read again. Must not: sum (the core does), or change the books.

mod balance;
mod books;
mod explain;
mod ledger;
mod tell;

use crate::app::App;
use crate::chores::{self, Chore, Turn};
use crate::failure::Unfinished;
use crate::switch;
use balance::{Reading, Rows};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use vesper_core::money::Minor;
use vesper_core::proof::{Cause, Figures, LedgerSums};

/// How often one turn begins anew because the balance moved while it was read.
const LOOKS_MAX: u32 = 3;
/// A balance that keeps moving is looked at again after so long, in seconds.
const MOVING_S: i64 = 600;
/// So often a run waits for postings whose outcome is not known; an hour is more than asking for it takes.
const WAITS_MAX: u32 = 6;

/// How far the proof is, and what it came to last; stands in its chore's row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Night {
    /// Stripe's rows since go_live.
    rows: Rows,
    /// Stripe's balance at go_live; None until the rows were read once.
    opening: Option<Minor>,
    /// Of this run: the rows did not make the balance, and were read anew from the beginning.
    read_anew: Option<Timestamp>,
    /// Until when QuickBooks' changes were read.
    changes_until: Option<Timestamp>,
    /// Of this run: how often it waited for postings whose outcome nobody knew.
    waited: u32,
    /// When all three said the same last.
    agreed_at: Option<Timestamp>,
    /// The figures of the last night.
    figures: Option<Figures>,
}

/// What one night found.
#[derive(Clone, Debug)]
struct Found {
    figures: Figures,
    causes: Vec<Cause>,
    /// Postings are out whose outcome nobody knows yet: QuickBooks may have them.
    in_flight: bool,
}

/// The three figures of invariant 7 as the last proof found them; None before the first one.
///
/// # Errors
/// When the store does not answer.
pub async fn last_figures(app: &App) -> Result<Option<Figures>, Unfinished> {
    let chore = app.store.chore(chores::PROOF).await?;
    let night = chore.and_then(|c| serde_json::from_value::<Night>(c.item.state).ok());
    Ok(night.and_then(|n| n.figures))
}

/// What the opening entry of the clearing account has to be, debit positive: Stripe's balance when the books became Vesper's. None
/// until the balance's transactions were read once.
///
/// # Errors
/// When the store does not answer.
pub async fn opening(app: &App) -> Result<Option<Minor>, Unfinished> {
    let chore = app.store.chore(chores::PROOF).await?;
    let night = chore.and_then(|c| serde_json::from_value::<Night>(c.item.state).ok());
    Ok(night.and_then(|n| Some(n.opening?.plus(n.rows.totals.before))))
}

/// One turn at the proof.
pub(crate) async fn prove(app: &App, chore: &mut Chore<'_>) -> Result<Turn, Unfinished> {
    if app.go_live == Timestamp::MIN {
        return Ok(Turn::Done("shadow mode without a go_live: the ledger has no beginning to be proved from".to_owned()));
    }
    let opened_at = switch::opened_at(app).await?;
    if opened_at > app.now() {
        return Ok(Turn::Done("the books are not open yet".to_owned()));
    }
    let mut night: Night = chore.state().unwrap_or_default();
    if night.rows.since != Some((app.go_live, opened_at)) {
        night.rows = Rows::from(app.go_live, opened_at);
        night.opening = None;
    }
    for _ in 0..LOOKS_MAX {
        if balance::read_on(app, chore, &mut night).await? == Reading::NotThrough {
            return Ok(Turn::GoOn);
        }
        if let Some(found) = look(app, chore, &mut night).await? {
            if found.in_flight && !found.figures.books_difference().is_zero() && night.waited < WAITS_MAX {
                night.waited = night.waited.saturating_add(1);
                chore.put(&night);
                return Ok(Turn::Later(MOVING_S, "postings are out whose outcome is not known yet"));
            }
            night.waited = 0;
            let note = found.figures.text();
            tell::tell(app, &found).await?;
            if found.figures.agree() {
                night.agreed_at = Some(chore.began());
            }
            night.figures = Some(found.figures);
            chore.put(&night);
            return Ok(Turn::Done(note));
        }
    }
    chore.put(&night);
    Ok(Turn::Later(MOVING_S, "the balance kept moving while it was read"))
}

/// Looks at all three at one moment. None when the balance moved meanwhile, or is to be read anew.
async fn look(app: &App, chore: &Chore<'_>, night: &mut Night) -> Result<Option<Found>, Unfinished> {
    let currency = app.settings.practice.currency;
    let balance = app.stripe.balance(currency).await?;
    let balance = balance.available.plus(balance.pending);
    let newest = app.stripe.newest_balance_row(currency).await?;
    if !night.rows.reach(newest.as_ref()) {
        if night.rows.is_newer_than(newest.as_ref()) {
            read_anew(chore, night);
        }
        return Ok(None);
    }
    let opening = *night.opening.get_or_insert(balance.minus(night.rows.totals.net));
    if balance != opening.plus(night.rows.totals.net) && night.read_anew != Some(chore.began()) {
        // A row came behind one that was read already.
        read_anew(chore, night);
        return Ok(None);
    }
    let since = night.changes_until.unwrap_or(app.go_live);
    let changed = books::changes(app, since).await?;
    let mut scan = ledger::scan(app, &changed).await?;
    scan.sums.on_its_way = ledger::on_its_way(app, &scan.unsettled).await?;
    let books_now = books::clearing(app).await?;
    if !night.rows.reach(app.stripe.newest_balance_row(currency).await?.as_ref()) {
        return Ok(None);
    }
    let posted = opening_posted(app, opening.plus(night.rows.totals.before), books_now, &scan.sums).await?;
    let figures = Figures::of(balance, opening, posted, &night.rows.totals, &scan.sums, books_now);
    let mut causes = books::edited(app, &changed, &scan).await?;
    if !figures.ledger_difference().is_zero() {
        let window = night.agreed_at.unwrap_or(app.go_live).saturating_sub(SignedDuration::from_hours(48));
        let window = window.unwrap_or(app.go_live).max(app.go_live);
        causes.extend(explain::differences(app, window, &scan).await?);
    }
    if figures.books_difference().is_zero() {
        causes.retain(|c| matches!(c, Cause::OnlyAtStripe { .. } | Cause::OnlyInLedger { .. } | Cause::OtherAmount { .. }));
    } else {
        causes.extend(scan.in_flight.iter().cloned());
    }
    if changed.read {
        night.changes_until = Some(app.now());
    }
    Ok(Some(Found { figures, causes, in_flight: !scan.in_flight.is_empty() }))
}

/// Stripe's transactions do not make its balance: all of them are read anew, once a run.
fn read_anew(chore: &Chore<'_>, night: &mut Night) {
    tracing::warn!("Stripe's transactions do not make its balance; they are read anew");
    night.read_anew = Some(chore.began());
    night.rows = night.rows.anew();
}

/// What of the opening entry QuickBooks is expected to hold: all of it once a person has confirmed it. Before that it may stand
/// there already, or not yet.
async fn opening_posted(app: &App, opening: Minor, books: Option<Minor>, sums: &LedgerSums) -> Result<Minor, Unfinished> {
    let is_there = books.is_some_and(|books| books.minus(sums.confirmed) == opening);
    let expected = is_there || crate::payouts::opening_confirmed(app).await?;
    Ok(if expected { opening } else { Minor::ZERO })
}
