//! Reads the transactions of a payout page by page, and stores each batch with its sums and its cursor in one transaction.
//!
//! Must not: hold more than one page.

use super::known;
use crate::app::App;
use crate::failure::Unfinished;
use vesper_adapters::dynamo::item::{Read, Unit};
use vesper_adapters::dynamo::model::{StoredPayout, StoredPayoutRow};
use vesper_core::payout::{Matched, PayoutRow, RowKind};

/// Rows in one transaction.
const BATCH: usize = 25;
/// Pages that one message reads: a function's time is limited.
const PAGES_MAX: u32 = 20;

/// Reads on from the cursor. True when all transactions are read.
///
/// # Errors
/// When Stripe or the store does not answer; `Conflict` when somebody else reads the same payout.
pub(super) async fn read_on(app: &App, read: &mut Read<StoredPayout>) -> Result<bool, Unfinished> {
    for _ in 0..PAGES_MAX {
        if read.item.listed {
            return Ok(true);
        }
        let id = read.item.id.clone();
        let page = app.stripe.payout_rows(&id, read.item.cursor.as_deref()).await?;
        let rows = known::page(app, page.rows).await?;
        let mut left = rows.len();
        for batch in rows.chunks(BATCH) {
            left = left.saturating_sub(batch.len());
            store(app, read, batch, left == 0 && !page.has_more).await?;
        }
        if rows.is_empty() {
            store(app, read, &[], true).await?;
        }
    }
    Ok(read.item.listed)
}

async fn store(app: &App, read: &mut Read<StoredPayout>, batch: &[(PayoutRow, Matched)], last: bool) -> Result<(), Unfinished> {
    let mut unit = Unit::new();
    let item = &mut read.item;
    for (row, matched) in batch {
        item.tally.add(row, *matched);
        item.cursor = Some(row.id.clone());
        if row.kind != RowKind::PayoutItself {
            let (payout, look, n) = (item.id.clone(), item.look, item.tally.transactions);
            unit.put(&StoredPayoutRow { payout, look, n, row: row.clone(), matched: *matched });
        }
    }
    item.listed = last;
    unit.update(read);
    app.store.commit(unit).await?;
    // An item that was updated has the next revision.
    read.rev = read.rev.saturating_add(1);
    Ok(())
}
