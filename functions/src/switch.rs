//! The switch from shadow to live: all shadow allocations are closed (design.md section 3, go_live). They no longer reduce what
//! is open, and are never written, reversed, matched or retried; a later refund of one is a review.

use crate::app::App;
use crate::changes::{Changes, allocation_row};
use crate::failure::Unfinished;
use vesper_adapters::dynamo::item::{Read, Stored, item_of};
use vesper_adapters::dynamo::model::StoredPayment;
use vesper_adapters::dynamo::row::Row;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_core::payment::PaymentState;
use vesper_core::review::Status;

/// The small fact that holds the mode of the last start.
const MODE: &str = "mode";

/// The mode of the last start: `live` or `shadow`; None before the first.
///
/// # Errors
/// When the store does not answer.
pub async fn last_mode(store: &Store) -> Result<Option<String>, Failed> {
    Ok(store.meta::<String>(MODE).await?.map(|mode| mode.item))
}

/// Called at every start, before any work: closes what shadow mode left when this start is live.
///
/// # Errors
/// When the store does not answer; then nothing may run.
pub async fn at_start(app: &App) -> Result<(), Unfinished> {
    let mode = if app.is_shadow() { "shadow" } else { "live" };
    let last = app.store.meta::<String>(MODE).await?;
    if last.as_ref().is_some_and(|m| m.item == mode) {
        return Ok(());
    }
    if !app.is_shadow() && last.as_ref().is_some_and(|m| m.item == "shadow") {
        close_all(app).await?;
    }
    app.store.set_meta(MODE, &mode, last.map_or(0, |m| m.rev)).await?;
    Ok(())
}

async fn close_all(app: &App) -> Result<(), Unfinished> {
    let mut shadow: Vec<Read<StoredPayment>> = Vec::new();
    let mut each = |row: Row| {
        if row.kind == StoredPayment::KIND
            && let Ok(read) = item_of::<StoredPayment>(&row)
            && read.item.payment.shadow
            && read.item.payment.state != PaymentState::BeforeGoLive
        {
            shadow.push(read);
        }
    };
    app.store.scan(&mut each).await?;
    tracing::info!(payments = shadow.len(), "closing what shadow mode decided");
    for read in shadow {
        close(app, read).await?;
    }
    Ok(())
}

async fn close(app: &App, mut read: Read<StoredPayment>) -> Result<(), Unfinished> {
    let payment = read.item.payment.clone();
    let mut changes = Changes::new(app, app.now());
    for share in &payment.shares {
        if let Some(mut row) = allocation_row(app, payment.id(), share).await? {
            row.item.allocation.closed = true;
            row.item.allocation.reopened = false;
            changes.unit.update(&row);
        }
    }
    for review in app.store.reviews_about(payment.id().as_str()).await? {
        if review.item.review.status == Status::Open {
            changes.close_review(&review, "closed at the switch from shadow to live");
        }
    }
    read.item.payment.state = PaymentState::BeforeGoLive;
    read.item.look_at = None;
    changes.unit.update(&read);
    changes.audit("closed", payment.id().as_str(), "at the switch from shadow to live");
    changes.commit().await?;
    Ok(app.store.stop_waiting(payment.id(), &payment.decision.watch).await?)
}
