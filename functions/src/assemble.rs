//! Puts an [`App`] together: settings, secrets and what differs between a Lambda, `vesper serve` and a test in, an app out.
//!
//! Must not: start or wake anything.

use crate::app::{App, Ehr, Host, QuickBooks};
use crate::bus::Bus;
use crate::payouts::opening_fact;
use crate::task::Queues;
use jiff::Timestamp;
use std::sync::Arc;
use vesper_adapters::dynamo::item::{Stored as _, Unit, stamp};
use vesper_adapters::dynamo::model::{Meta, StoredAudit};
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_adapters::ehr::BridgeClient;
use vesper_adapters::http::SharedTransport;
use vesper_adapters::personal::DataKey;
use vesper_adapters::quickbooks::QuickBooksClient;
use vesper_adapters::quickbooks::pacing::Pacer;
use vesper_adapters::settings::{Books, EhrKind, Mode, Secrets, Settings};
use vesper_adapters::stripe::client::StripeClient;
use vesper_adapters::stripe::wire::Projection;
use vesper_core::audit::AuditRecord;

/// What an app is made of.
pub struct AppParts {
    /// The store.
    pub store: Store,
    /// The practice's data key.
    pub key: DataKey,
    /// The practice's settings.
    pub settings: Settings,
    /// The secrets.
    pub secrets: Secrets,
    /// Carries the calls to the outside systems.
    pub transport: SharedTransport,
    /// The queues.
    pub queues: Arc<dyn Queues>,
    /// Where domain events are told.
    pub bus: Arc<dyn Bus>,
    /// Time and randomness.
    pub host: Arc<dyn Host>,
    /// How many processes call QuickBooks at the same time, this one included: each keeps to its part of the pace.
    pub quickbooks_callers: u32,
}

/// How this practice's events are projected.
#[must_use]
pub fn projection(settings: &Settings, key: &DataKey) -> Projection {
    Projection { keys: settings.stripe.metadata.clone(), hasher: key.email_hasher() }
}

/// Puts an app together.
///
/// # Errors
/// When the store does not say when the practice went live.
pub async fn assemble(parts: AppParts) -> Result<App, Failed> {
    let AppParts { store, key, settings, secrets, transport, queues, bus, host, quickbooks_callers } = parts;
    let go_live = go_live(&store, &settings, host.now()).await?;
    let projection = projection(&settings, &key);
    let stripe = &settings.stripe;
    let api_key = secrets.stripe_api_key.clone();
    let stripe = StripeClient::new(Arc::clone(&transport), &stripe.api_base, &stripe.api_version, api_key, projection.clone());
    let bridge = match &settings.ehr.kind {
        EhrKind::Bridge { base_url } => {
            let secrets = secrets.ehr_bridge_secrets.clone();
            Some(BridgeClient::new(Arc::clone(&transport), base_url, secrets, key.email_hasher()))
        }
        EhrKind::Files => None,
    };
    let quickbooks = match &settings.books {
        Books::QuickBooks(q) => Some(QuickBooks {
            client: QuickBooksClient::new(Arc::clone(&transport), &q.api_base, &q.realm_id),
            transport,
            pacer: std::sync::Mutex::new(Pacer::shared(q.max_per_minute, quickbooks_callers)),
            refreshing: tokio::sync::Mutex::new(()),
        }),
        Books::None => None,
    };
    let ehr = Ehr { bridge, importing: tokio::sync::Mutex::new(()) };
    let policy = settings.policy();
    Ok(App { store, stripe, projection, ehr, quickbooks, queues, bus, host, policy, settings, secrets, go_live })
}

/// The small fact that holds the first start in live mode.
const GO_LIVE: &str = "go_live";

/// When the practice went live, where the settings do not say it: the first start in live mode. None before it.
///
/// # Errors
/// When the store does not answer.
pub async fn stored_go_live(store: &Store) -> Result<Option<Timestamp>, Failed> {
    Ok(store.meta::<Timestamp>(GO_LIVE).await?.map(|r| r.item))
}

/// When the practice goes live: as set; else the first start in live mode, which is stored. In shadow mode everything is decided.
/// A person may have moved it back.
async fn go_live(store: &Store, settings: &Settings, now: Timestamp) -> Result<Timestamp, Failed> {
    let moved = store.meta::<Timestamp>(MOVED).await?.map_or(Timestamp::MAX, |r| r.item);
    if let Some(set) = settings.practice.go_live {
        return Ok(set.min(moved));
    }
    if settings.practice.mode == Mode::Shadow {
        return Ok(Timestamp::MIN);
    }
    if let Some(stored) = stored_go_live(store).await? {
        return Ok(stored.min(moved));
    }
    match store.set_meta(GO_LIVE, &now, 0).await {
        Ok(_) => Ok(now.min(moved)),
        // Two functions started at the same moment: the first one's word stands.
        Err(e) if e.is_conflict() => Ok(stored_go_live(store).await?.unwrap_or(now).min(moved)),
        Err(e) => Err(e),
    }
}

/// The small fact that holds to when a person has moved the beginning of the books.
const MOVED: &str = "go_live_moved";

/// A person moves the beginning of the books back (`vesper backfill --decide-old`). What was confirmed of the old opening entry no
/// longer holds.
///
/// # Errors
/// When the store does not answer.
pub async fn go_live_moves(store: &Store, to: Timestamp, at: Timestamp, random_id: String) -> Result<(), Failed> {
    let moved = store.meta::<Timestamp>(MOVED).await?;
    if moved.as_ref().is_some_and(|m| m.item <= to) {
        return Ok(());
    }
    let text = |s: &str| s.to_owned();
    let (who, action, subject) = (text("command line"), text("moved_go_live"), text("stack"));
    let record = AuditRecord { at: stamp(at), who, action, subject, detail: to.to_string() };
    let mut unit = Unit::new();
    let value = serde_json::to_value(to).unwrap_or_default();
    unit.put_sealed(&Meta { name: MOVED.to_owned(), value }, moved.map_or(0, |m| m.rev), None);
    unit.remove(opening_fact("").key());
    unit.insert(&StoredAudit { record, id: random_id, seal: None });
    store.commit(unit).await
}
