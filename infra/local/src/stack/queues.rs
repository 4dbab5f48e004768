//! The queues of one process. A Stripe event is durable before it is acknowledged: it stands in a table of the same file. Wake-ups
//! are kept in memory only: what they wake stands in the `due` index, and the first beat after a start finds it.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use vesper_adapters::dynamo::row::{Cond, Row};
use vesper_adapters::dynamo::table::{StoreError, Table};
use vesper_adapters::http::BoxFuture;
use vesper_functions::app::Host;
use vesper_functions::task::{NotQueued, Queue, Queues, Task};

/// The partition of durable messages.
const PARTITION: &str = "QUEUE";
/// The kind of their rows.
const KIND: &str = "MessageV1";
/// So often a message comes before it is a dead letter.
pub const RECEIVES_MAX: u32 = 5;
/// A message that failed comes again after so long, in seconds, times the receives.
const AGAIN_S: i64 = 2;

/// How many durable messages stand in the table. Reads only, also beside a running serve.
///
/// # Errors
/// When the file cannot be read.
pub async fn left(table: &Table) -> Result<usize, StoreError> {
    Ok(table.query(PARTITION, "").await?.len())
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// What is to be done.
    pub task: Task,
    /// How often it came.
    pub receives: u32,
    /// How often others were in its way, which does not count as a receive.
    pub contended: u32,
    /// Whether it stands in the file.
    durable: bool,
}

/// Why a message could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored message that this release cannot read.
    #[error("read the stored message {0}")]
    Unreadable(String),
}

#[derive(Default)]
struct State {
    /// By the time from which it is visible, then in order of arrival.
    waiting: BTreeMap<(Timestamp, u64), Message>,
    running: BTreeMap<Queue, u32>,
}

/// See the module.
#[derive(Clone)]
pub struct LocalQueues(Arc<Inner>);

struct Inner {
    table: Option<Table>,
    host: Arc<dyn Host>,
    state: Mutex<State>,
    count: AtomicU64,
    changed: Notify,
}

impl LocalQueues {
    /// The queues on a table, with what an earlier process left in it; without one the messages end with the process.
    ///
    /// # Errors
    /// When the file cannot be read, or a message in it.
    pub async fn open(table: Option<Table>, host: Arc<dyn Host>) -> Result<LocalQueues, QueueError> {
        let mut left = Vec::new();
        if let Some(table) = &table {
            table.create_if_absent().await?;
            left = table.query(PARTITION, "").await?;
        }
        let mut state = State::default();
        let mut highest = 0;
        for row in left {
            let bad = || QueueError::Unreadable(row.sk.clone());
            let order = row.sk.parse::<u64>().map_err(|_| bad())?;
            let task = serde_json::from_str(&row.body).map_err(|_| bad())?;
            highest = highest.max(order);
            let message = Message { id: row.sk.clone(), task, receives: 0, contended: 0, durable: true };
            state.waiting.insert((Timestamp::MIN, order), message);
        }
        // From the real time on: a message must never get the number of one that an earlier process buried.
        let micros = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        let (count, changed) = (AtomicU64::new(highest.saturating_add(1).max(micros)), Notify::new());
        Ok(LocalQueues(Arc::new(Inner { table, host, state: Mutex::new(state), count, changed })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next visible message of a queue that has a worker free.
    pub fn take(&self, workers: impl Fn(Queue) -> u32) -> Option<Message> {
        let now = self.0.host.now();
        let mut state = self.state();
        let free = |m: &Message, running: &BTreeMap<Queue, u32>| {
            let queue = m.task.queue();
            running.get(&queue).copied().unwrap_or(0) < workers(queue)
        };
        let visible = state.waiting.range(..=(now, u64::MAX));
        let key = visible.into_iter().find(|(_, m)| free(m, &state.running)).map(|(k, _)| *k)?;
        let mut message = state.waiting.remove(&key)?;
        message.receives = message.receives.saturating_add(1);
        let running = state.running.entry(message.task.queue()).or_default();
        *running = running.saturating_add(1);
        Some(message)
    }

    /// The message is worked off, or buried.
    ///
    /// # Errors
    /// When the file does not take it: the message would come again after a restart, and find its work done.
    pub async fn done(&self, message: &Message) -> Result<(), QueueError> {
        let gone = match &self.0.table {
            Some(table) if message.durable => table.delete(PARTITION, &message.id, Cond::None).await,
            _ => Ok(()),
        };
        self.stopped(message.task.queue());
        Ok(gone?)
    }

    /// The message comes again at once, and this time does not count: others kept changing what it is about.
    pub fn at_once(&self, mut message: Message) {
        message.receives = message.receives.saturating_sub(1);
        message.contended = message.contended.saturating_add(1);
        let (queue, now) = (message.task.queue(), self.0.host.now());
        let order = self.0.count.fetch_add(1, Ordering::SeqCst);
        self.state().waiting.insert((now, order), message);
        self.stopped(queue);
    }

    /// The message comes again later.
    pub fn again(&self, message: Message) {
        let wait_s = AGAIN_S.saturating_mul(i64::from(message.receives));
        let at = after(self.0.host.now(), wait_s);
        let queue = message.task.queue();
        let order = self.0.count.fetch_add(1, Ordering::SeqCst);
        self.state().waiting.insert((at, order), message);
        self.stopped(queue);
    }

    fn stopped(&self, queue: Queue) {
        if let Some(running) = self.state().running.get_mut(&queue) {
            *running = running.saturating_sub(1);
        }
        self.0.changed.notify_waiters();
    }

    /// Nothing is visible and nothing runs.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let now = self.0.host.now();
        let state = self.state();
        state.running.values().all(|n| *n == 0) && state.waiting.range(..=(now, u64::MAX)).next().is_none()
    }

    /// Nothing runs.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.state().running.values().all(|n| *n == 0)
    }

    /// When the next message that is not visible yet becomes so.
    #[must_use]
    pub fn next_visible(&self) -> Option<Timestamp> {
        let now = self.0.host.now();
        self.state().waiting.keys().map(|(at, _)| *at).find(|at| *at > now)
    }

    /// Told when something arrives or ends after this call, awaited or not.
    pub fn listen(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.changed.notified()
    }

    /// Looks at the queues again: the clock was moved.
    pub fn poke(&self) {
        self.0.changed.notify_waiters();
    }
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

impl Queues for LocalQueues {
    fn send(&self, task: Task, delay_s: u32) -> BoxFuture<'_, Result<(), NotQueued>> {
        Box::pin(async move {
            let order = self.0.count.fetch_add(1, Ordering::SeqCst);
            let id = format!("{order:020}");
            let table = self.0.table.as_ref().filter(|_| matches!(task, Task::EventV1 { .. }));
            if let Some(table) = table {
                let queue = task.queue().as_str();
                let body = serde_json::to_string(&task).map_err(|e| NotQueued { queue, problem: e.to_string() })?;
                let (pk, kind) = (PARTITION.to_owned(), KIND.to_owned());
                let row = Row { pk, sk: id.clone(), kind, body, rev: 0, sealed: None, due: None, list: None, expires_at_s: None };
                table.put(row, Cond::Absent).await.map_err(|e| NotQueued { queue, problem: e.to_string() })?;
            }
            let at = after(self.0.host.now(), i64::from(delay_s));
            self.state().waiting.insert((at, order), Message { id, task, receives: 0, contended: 0, durable: table.is_some() });
            self.0.changed.notify_waiters();
            Ok(())
        })
    }
}
