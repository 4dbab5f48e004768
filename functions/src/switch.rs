//! The switch from shadow to live: all shadow allocations and recoveries are closed (design.md section 3, go_live). They no longer
//! reduce what is open, and are never written, reversed, matched or retried; a later refund of one is a review.

use crate::app::App;
use crate::changes::{Changes, allocation_row};
use crate::failure::Unfinished;
use crate::recovery;
use jiff::Timestamp;
use vesper_adapters::dynamo::item::{Read, Stored, item_of};
use vesper_adapters::dynamo::model::{StoredPayment, StoredRecovery};
use vesper_adapters::dynamo::row::Row;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_core::payment::PaymentState;
use vesper_core::review::Status;

/// The small fact that holds the mode of the last start.
const MODE: &str = "mode";
/// The small fact that holds when the last switch from shadow to live was.
const SWITCHED: &str = "switched_to_live";

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
        let rev = app.store.meta::<Timestamp>(SWITCHED).await?.map_or(0, |r| r.rev);
        app.store.set_meta(SWITCHED, &app.now(), rev).await?;
    }
    app.store.set_meta(MODE, &mode, last.map_or(0, |m| m.rev)).await?;
    Ok(())
}

/// When the last switch from shadow to live was; None when there was none.
///
/// # Errors
/// When the store does not answer.
pub async fn switched_at(app: &App) -> Result<Option<Timestamp>, Unfinished> {
    Ok(app.store.meta::<Timestamp>(SWITCHED).await?.map(|r| r.item))
}

/// Since when the books are Vesper's: go_live, or the last switch from shadow to live, whichever is later. The opening entry stands
/// for what Stripe's balance held then. Whole seconds, as Stripe's own times.
///
/// # Errors
/// When the store does not answer.
pub async fn opened_at(app: &App) -> Result<Timestamp, Unfinished> {
    let switched = switched_at(app).await?.and_then(|at| Timestamp::from_second(at.as_second()).ok());
    Ok(switched.map_or(app.go_live, |at| at.max(app.go_live)))
}

async fn close_all(app: &App) -> Result<(), Unfinished> {
    let mut shadow: Vec<Read<StoredPayment>> = Vec::new();
    let mut recoveries: Vec<Read<StoredRecovery>> = Vec::new();
    let mut each = |row: Row| {
        if row.kind == StoredRecovery::KIND
            && let Ok(read) = item_of::<StoredRecovery>(&row)
            && read.item.recovery.shadow
            && !read.item.recovery.closed
        {
            recoveries.push(read);
        }
        if row.kind == StoredPayment::KIND
            && let Ok(read) = item_of::<StoredPayment>(&row)
            && read.item.payment.shadow
            && read.item.payment.state != PaymentState::BeforeGoLive
        {
            shadow.push(read);
        }
    };
    app.store.scan(&mut each).await?;
    tracing::info!(payments = shadow.len(), recoveries = recoveries.len(), "closing what shadow mode decided");
    for read in recoveries {
        recovery::close_shadow(app, read).await?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SETTINGS, Script, app};
    use vesper_adapters::dynamo::embedded::Engine;
    use vesper_core::event::{Event, Failure, Reference, What};
    use vesper_core::ids::{CustomerId, EventId, PaymentId};
    use vesper_core::money::{Currency, Minor};
    use vesper_core::recovery::{NewCard, Rearmed, Recovery, RecoveryState, StopReason};
    use vesper_core::review::Reason;

    fn failure(id: &str) -> Failure {
        Failure {
            payment: PaymentId::parse(id).unwrap(),
            charge: None,
            customer: CustomerId::parse("cus_1").ok(),
            amount: Minor::new(4200).unwrap(),
            currency: Currency::USD,
            reference: Reference::default(),
            receipt_email: None,
            payment_method: Some("pm_1".to_owned()),
            payment_method_type: Some("card".to_owned()),
            code: Some("card_declined".to_owned()),
            decline_code: Some("generic_decline".to_owned()),
            advice_code: None,
            network_advice_code: None,
            object_created: "2026-11-20T09:00:00Z".parse().unwrap(),
        }
    }

    /// A recovery of one invoice, opened in shadow mode or live.
    async fn opened(app: &App, id: &str, shadow: bool, bend: impl FnOnce(&mut Recovery)) {
        let invoices = vec![(vesper_core::ids::InvoiceId::parse("inv_1").unwrap(), Minor::new(4200).unwrap())];
        let mut recovery = Recovery::new(failure(id), app.now(), false, invoices, shadow);
        let _ = recovery.turn(recovery.next(&app.policy, app.now()), app.now());
        bend(&mut recovery);
        let mut read = Read { item: StoredRecovery { recovery }, rev: 0, sealed: None };
        app.store.save(&mut read).await.unwrap();
    }

    async fn stands(app: &App, id: &str) -> Recovery {
        app.store.recovery(&PaymentId::parse(id).unwrap()).await.unwrap().unwrap().item.recovery
    }

    async fn asked(app: &App, id: &str) -> Vec<Reason> {
        let reviews = app.store.reviews_about(id).await.unwrap();
        reviews.iter().filter(|r| r.item.review.status == Status::Open).map(|r| r.item.review.question.reason).collect()
    }

    #[tokio::test]
    async fn what_shadow_mode_was_to_recover_is_closed_once_and_told() {
        let engine = Engine::memory().unwrap();
        let nobody = Script::new(|r| panic!("{} was called", r.url));
        let settings = SETTINGS.replace("[ehr]", "mode = \"shadow\"\n[ehr]");
        let shadow = app(&engine, nobody.clone(), &settings).await;
        at_start(&shadow.app).await.unwrap();
        let now = shadow.app.now();
        opened(&shadow.app, "pi_waits", true, |_| {}).await;
        opened(&shadow.app, "pi_live", false, |_| {}).await;
        opened(&shadow.app, "pi_card", true, |r| _ = r.stop(StopReason::NeedsClient, "expired", now)).await;
        let live = app(&engine, nobody, SETTINGS).await;
        for _ in 0..2 {
            at_start(&live.app).await.unwrap();
            let closed = stands(&live.app, "pi_waits").await;
            assert_eq!((closed.state, closed.next_at, closed.closed), (RecoveryState::Exhausted, None, true));
            assert!(closed.why.contains("switch from shadow"), "{}", closed.why);
            assert_eq!(asked(&live.app, "pi_waits").await, [Reason::CardFailed]);
        }
        assert_eq!(stands(&live.app, "pi_live").await.state, RecoveryState::Waiting, "it was opened before shadow mode");
        let mut card = stands(&live.app, "pi_card").await;
        assert_eq!((card.state, asked(&live.app, "pi_card").await), (RecoveryState::Stopped, vec![]), "nobody is asked twice");
        let new = NewCard { payment_method: "pm_2".to_owned(), at: now };
        assert_eq!(card.rearm(&new, &live.app.policy, now), Rearmed::Ignored, "a new card charges nothing of shadow time");
        let failed = failure("pi_waits");
        let event = Event { id: EventId::parse("evt_1").unwrap(), created: now, what: What::PaymentFailed(failed.clone()) };
        recovery::failed(&live.app, &event, &failed).await.unwrap();
        assert_eq!(stands(&live.app, "pi_waits").await.state, RecoveryState::Exhausted, "nor does a late webhook open it again");
    }
}
