//! Worklist items (design.md section 1): write-backs that a person types into the EHR, because Vesper cannot write there. With
//! `ehr.kind = "files"` every write-back is one from the start; at a bridge whose capabilities say so it becomes one when it would
//! be written. It stays `pending`, is never due and never tried, until a person marks it done on its payment's page
//! (`review::answers::mark_done`).
//!
//! An item stays an item when the bridge can write later: a person may have typed it in already, and only he knows.
//! What is taken back before it was marked done is not typed in at all: payment and reversal cancel each other, and what is left of
//! the payment is what the item asks for. What is taken back afterwards is an item of its own.
//!
//! Must not: call the EHR.

use crate::app::App;
use crate::changes::Changes;
use crate::failure::Unfinished;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{StoredAllocation, StoredReversal};

/// Why a reversal needs nothing any more.
const NEVER_TYPED: &str = "taken back before it was typed in";
/// Why an item needs nothing any more.
const NOTHING_LEFT: &str = "nothing is left of it to type in";
/// What a person must know of a reversal whose outcome nobody can ask for any more.
const IN_DOUBT: &str = "an earlier try may have arrived: look in the EHR first whether it is taken back already";

/// A part of an open item is taken back: nothing of that part is ever typed in.
pub(crate) fn cancel_both(item: &mut StoredAllocation, reversal: &mut StoredReversal) {
    reversal.worklist = true;
    reversal.effect.cancel(NEVER_TYPED);
    nothing_left(item);
}

/// An open item of which nothing is left is closed.
pub(crate) fn nothing_left(item: &mut StoredAllocation) {
    if item.is_worklist_item()
        && !item.allocation.net().is_positive()
        && let Some(effect) = item.effect.as_mut()
    {
        effect.cancel(NOTHING_LEFT);
    }
}

/// A payment becomes an item. What was taken back of it meanwhile cancels itself, in the same transaction: a person who types in
/// what the page says types in what is left. `in_doubt`: an earlier write may have arrived, and the EHR cannot be asked.
pub(crate) async fn hand_over_payment(app: &App, mut read: Read<StoredAllocation>, in_doubt: bool) -> Result<(), Unfinished> {
    let row = &mut read.item;
    let Some(effect) = row.effect.as_mut() else { return Ok(()) };
    row.worklist = true;
    let earlier = format!(
        "an earlier write of {} may have arrived: look in the EHR for the reference first, and if it is there make the amount right",
        row.allocation.amount
    );
    effect.hand_over(in_doubt.then_some(earlier.as_str()));
    let mut changes = Changes::new(app, app.now());
    let reversals = app.store.reversals(&row.allocation.client, &row.allocation.payment).await?;
    let n = row.n;
    for mut reversal in reversals.into_iter().filter(|r| r.item.n == n && r.item.effect.is_waiting()) {
        cancel_both(row, &mut reversal.item);
        changes.unit.update(&reversal);
    }
    nothing_left(row);
    let allocation = &read.item.allocation;
    changes.audit("worklist", allocation.payment.as_str(), &format!("{} on {}", allocation.net(), allocation.invoice));
    tracing::info!(payment.id = %allocation.payment, "a payment is to be typed into the EHR by a person");
    changes.unit.update(&read);
    changes.commit().await
}

/// A reversal becomes an item.
pub(crate) async fn hand_over_reversal(app: &App, mut read: Read<StoredReversal>, in_doubt: bool) -> Result<(), Unfinished> {
    let row = &mut read.item;
    row.worklist = true;
    row.effect.hand_over(in_doubt.then_some(IN_DOUBT));
    let mut changes = Changes::new(app, app.now());
    changes.audit("worklist", row.payment.as_str(), &format!("take back {} on {}", row.amount, row.invoice));
    tracing::info!(payment.id = %row.payment, "a reversal is to be typed into the EHR by a person");
    changes.unit.update(&read);
    changes.commit().await
}

/// A reversal whose payment is an open item: neither is typed in as far as they cancel each other.
pub(crate) async fn cancel(
    app: &App,
    mut item: Read<StoredAllocation>,
    mut reversal: Read<StoredReversal>,
) -> Result<(), Unfinished> {
    cancel_both(&mut item.item, &mut reversal.item);
    let mut changes = Changes::new(app, app.now());
    let row = &reversal.item;
    changes.audit("took_back", row.payment.as_str(), &format!("{} on {}: {NEVER_TYPED}", row.amount, row.invoice));
    changes.unit.update(&item);
    changes.unit.update(&reversal);
    changes.commit().await
}
