//! Puts the bundle together: settings and secrets in, an [`App`] with its store, clients and queues out.

use super::Stack;
use super::host::LocalHost;
use super::queues::{LocalQueues, QueueError};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vesper_adapters::dynamo::client::client_on;
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_adapters::dynamo::table::{StoreError, Table};
use vesper_adapters::http::SharedTransport;
use vesper_adapters::personal::DataKey;
use vesper_adapters::settings::{Secrets, Settings};
use vesper_functions::app::{App, Host};
use vesper_functions::assemble::{AppParts, assemble};
pub use vesper_functions::assemble::{go_live_moves, stored_go_live};
use vesper_functions::bus::LogBus;
use vesper_functions::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};

/// The table of everything.
const TABLE: &str = "vesper";
/// The table of durable messages, in the same file.
const QUEUES: &str = "vesper-queues";

/// Why the bundle could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The file's tables.
    #[error(transparent)]
    Table(#[from] StoreError),
    /// A stored fact.
    #[error(transparent)]
    Stored(#[from] Failed),
    /// The queues.
    #[error(transparent)]
    Queues(#[from] QueueError),
}

/// What the bundle is made of.
pub struct Parts {
    /// The embedded engine.
    pub engine: Engine,
    /// The practice's data key.
    pub key: DataKey,
    /// The practice's settings.
    pub settings: Settings,
    /// The secrets.
    pub secrets: Secrets,
    /// Carries the calls to the outside systems.
    pub transport: SharedTransport,
    /// Time and randomness.
    pub host: Arc<LocalHost>,
}

/// The store on an engine.
#[must_use]
pub fn store_on(engine: &Engine, key: DataKey) -> Store {
    Store::new(Table::new(client_on(engine.http_client()), TABLE.to_owned()), key)
}

/// The table of durable messages on an engine.
#[must_use]
pub fn queue_table_on(engine: &Engine) -> Table {
    Table::new(client_on(engine.http_client()), QUEUES.to_owned())
}

/// Puts the bundle together.
///
/// # Errors
/// When the file cannot be read or written.
pub async fn build(parts: Parts) -> Result<Arc<Stack>, BuildError> {
    let engine = parts.engine.clone();
    // What is in memory nobody comes back to.
    let messages = if engine.is_in_memory() { Messages::Forgotten } else { Messages::Stored };
    build_on(&|name| Table::new(client_on(engine.http_client()), name.to_owned()), messages, parts).await
}

/// What becomes of the messages in the queues when the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// Those of events stand in a table, and the next process works them off.
    Stored,
    /// They end with it.
    Forgotten,
}

/// The same on tables that the caller reaches in his own way: a test puts a faulty connector in between.
///
/// # Errors
/// When the file cannot be read or written.
pub async fn build_on(
    table: &(dyn Fn(&str) -> Table + Sync),
    messages: Messages,
    parts: Parts,
) -> Result<Arc<Stack>, BuildError> {
    let store = Store::new(table(TABLE), parts.key.clone());
    store.table().create_if_absent().await?;
    let queue_table = (messages == Messages::Stored).then(|| table(QUEUES));
    let host: Arc<dyn Host> = Arc::clone(&parts.host) as Arc<dyn Host>;
    let queues = LocalQueues::open(queue_table, Arc::clone(&host)).await?;
    let app = assemble(AppParts {
        store,
        key: parts.key,
        settings: parts.settings,
        secrets: parts.secrets,
        transport: parts.transport,
        queues: Arc::new(queues.clone()),
        bus: Arc::new(LogBus),
        host,
        quickbooks_callers: 1,
    });
    let app = app.await?;
    Ok(Stack::new(Arc::new(app), queues, parts.host))
}

const CLOCK: &str = "test_clock";

/// Stores where a test clock stands, so that a restart goes on from it. `rev` is that of the stored fact as far as known (0:
/// not), and is brought up to date.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn remember_clock(app: &App, at: Timestamp, rev: &AtomicU64) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match app.store.set_meta(CLOCK, &at, rev.load(Ordering::SeqCst)).await {
            Err(e) if e.is_conflict() => {
                after_conflict(attempt, app.host.random()).await;
                let stored = app.store.meta::<Timestamp>(CLOCK).await?;
                rev.store(stored.map_or(0, |r| r.rev), Ordering::SeqCst);
            }
            other => {
                rev.store(other?, Ordering::SeqCst);
                return Ok(());
            }
        }
    }
    Err(Unfinished::Contended { subject: CLOCK.to_owned() })
}

/// Where the test clock of an earlier process stood.
///
/// # Errors
/// When the store does not answer.
pub async fn remembered_clock(store: &Store) -> Result<Option<Timestamp>, Failed> {
    Ok(store.meta::<Timestamp>(CLOCK).await?.map(|r| r.item))
}
