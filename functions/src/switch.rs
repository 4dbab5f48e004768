//! The switch from shadow to live: all shadow allocations and recoveries are closed (design.md section 3, go_live). They no longer
//! reduce what is open, and are never written, reversed, matched or retried; a later refund of one is a review.
//!
//! On AWS a function may still hold settings of before the switch. So the mode of the table counts, which only the heartbeat
//! changes ([`standing`]), and whatever is decided in shadow is committed on the condition that no switch was begun since.

use crate::app::App;
use crate::changes::{Changes, allocation_row};
use crate::failure::Unfinished;
use crate::recovery;
use jiff::Timestamp;
use vesper_adapters::dynamo::item::{Read, Stored, item_of};
use vesper_adapters::dynamo::model::{StoredPayment, StoredRecovery};
use vesper_adapters::dynamo::row::Row;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_adapters::settings::Mode;
use vesper_core::payment::PaymentState;
use vesper_core::review::Status;

/// The small fact that holds the mode of the last start.
const MODE: &str = "mode";
/// The small fact that holds when the last switch from shadow to live was.
const SWITCHED: &str = "switched_to_live";
/// The words of the mode: the last one stands while the switch is being made.
const LIVE: &str = "live";
const SHADOW: &str = "shadow";
const CLOSING: &str = "closing";

/// The mode of the last start: `live` or `shadow`, `closing` while the switch is being made; None before the first.
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
    let mode = if app.is_shadow() { SHADOW } else { LIVE };
    let last = app.store.meta::<String>(MODE).await?;
    if last.as_ref().is_some_and(|m| m.item == mode) {
        return Ok(());
    }
    let was_shadow = last.as_ref().is_some_and(|m| m.item == SHADOW || m.item == CLOSING);
    let mut rev = last.map_or(0, |m| m.rev);
    if !app.is_shadow() && was_shadow {
        // In this order: who reads the newer moment of the switch finds `closing` or `live` after it, and nothing that is
        // decided in shadow is stored from here on. A start that dies in between is made again by the next one.
        rev = app.store.set_meta(MODE, &CLOSING, rev).await?;
        let switched = app.store.meta::<Timestamp>(SWITCHED).await?.map_or(0, |r| r.rev);
        app.store.set_meta(SWITCHED, &app.now(), switched).await?;
        close_all(app).await?;
    }
    app.store.set_meta(MODE, &mode, rev).await?;
    Ok(())
}

/// How a process that makes no switch itself has to work, whatever its settings say.
pub enum Standing {
    /// As they say: live.
    Live,
    /// In shadow, on this store, which refuses what is decided after a switch was begun. `waits`: the settings say live, and the
    /// switch is still to be made.
    Shadow {
        /// The store.
        store: Store,
        /// See there.
        waits: bool,
    },
    /// Not at all for the moment: a switch is being made, or the one to shadow is still to be.
    Wait,
}

/// How to work with settings of this mode. In live mode one row is read.
///
/// # Errors
/// When the store does not answer.
pub async fn standing(store: &Store, wanted: Mode) -> Result<Standing, Failed> {
    if wanted == Mode::Live && last_mode(store).await?.is_none_or(|m| m == LIVE) {
        return Ok(Standing::Live);
    }
    // First the moment, then the mode: see `at_start`.
    let switched = store.meta::<Timestamp>(SWITCHED).await?.map_or(0, |r| r.rev);
    match last_mode(store).await? {
        Some(mode) if mode != SHADOW => Ok(Standing::Wait),
        _ => Ok(Standing::Shadow { store: store.only_while(SWITCHED, switched), waits: wanted == Mode::Live }),
    }
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
    app.store.scan_of(&[StoredRecovery::KIND, StoredPayment::KIND], &mut each).await?;
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
    if payment.state == PaymentState::Parked {
        app.store.stop_waiting(payment.id()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SETTINGS, Script, app};
    use vesper_adapters::dynamo::embedded::Engine;
    use vesper_adapters::dynamo::item::Unit;
    use vesper_adapters::dynamo::model::Meta;
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

    async fn stores(store: &Store) -> Result<(), Failed> {
        let mut unit = Unit::new();
        unit.put(&Meta { name: "anything".to_owned(), value: serde_json::Value::Null });
        store.commit(unit).await
    }

    #[tokio::test]
    async fn what_is_decided_in_shadow_after_a_switch_was_begun_is_not_stored() {
        let engine = Engine::memory().unwrap();
        let nobody = Script::new(|r| panic!("{} was called", r.url));
        let settings = SETTINGS.replace("[ehr]", "mode = \"shadow\"\n[ehr]");
        let (shadow, live) = (app(&engine, nobody.clone(), &settings).await, app(&engine, nobody, SETTINGS).await);
        let store = &live.app.store;
        assert!(matches!(standing(store, Mode::Live).await.unwrap(), Standing::Live), "nothing was started yet");
        at_start(&shadow.app).await.unwrap();
        let mut warm = Vec::new();
        for wanted in [Mode::Shadow, Mode::Live] {
            let Standing::Shadow { store, waits } = standing(store, wanted).await.unwrap() else { panic!("not in shadow") };
            assert_eq!(waits, wanted == Mode::Live);
            stores(&store).await.unwrap();
            warm.push(store);
        }
        // The switch dies after its first steps.
        let rev = store.meta::<String>(MODE).await.unwrap().unwrap().rev;
        store.set_meta(MODE, &CLOSING, rev).await.unwrap();
        store.set_meta(SWITCHED, &live.app.now(), 0).await.unwrap();
        for wanted in [Mode::Shadow, Mode::Live] {
            assert!(matches!(standing(store, wanted).await.unwrap(), Standing::Wait));
        }
        at_start(&live.app).await.unwrap();
        assert!(matches!(standing(store, Mode::Live).await.unwrap(), Standing::Live));
        assert!(matches!(standing(store, Mode::Shadow).await.unwrap(), Standing::Wait), "the heartbeat makes that switch, too");
        for store in warm {
            assert!(stores(&store).await.unwrap_err().is_conflict());
        }
        stores(store).await.unwrap();
        at_start(&shadow.app).await.unwrap();
        assert!(matches!(standing(store, Mode::Shadow).await.unwrap(), Standing::Shadow { waits: false, .. }));
    }
}
