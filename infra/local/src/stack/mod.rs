//! The bundle in one process: the same use cases as the Lambdas, the queues, the heartbeat, and a clock that may be moved.
//!
//! Must not: decide anything, or hold a lock over an outside call.

pub mod build;
pub mod host;
pub mod queues;

use host::LocalHost;
use jiff::{SignedDuration, Timestamp};
use queues::{LocalQueues, Message, RECEIVES_MAX};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use vesper_adapters::dynamo::model::StoredEvent;
use vesper_adapters::dynamo::store::{RowRef, WriteBack};
use vesper_core::effect::{BACKOFF_MAX_S, Effect, EffectState};
use vesper_core::event::Event;
use vesper_functions::app::{App, Host as _};
use vesper_functions::failure::Unfinished;
use vesper_functions::task::{Queue, Task};
use vesper_functions::{dead_letters, due, seal, start, work};

/// The heartbeat, in seconds.
const BEAT_S: u64 = 60;
/// The clock never jumps further than this in one step, in seconds.
const STEP_MAX_S: i64 = 6 * 3600;
/// How long what is due at one moment may be worked on before the clock moves on, in seconds.
const STEP_WAIT_S: u64 = 25;
/// At most so many rows are woken by one beat.
const MOST: u32 = 5000;

/// So often a message comes again at once because others were in its way; after that something else must be wrong with it.
const CONTENDED_MAX: u32 = 200;

/// See the module.
pub struct Stack {
    /// What every use case gets.
    pub app: Arc<App>,
    /// The queues.
    pub queues: LocalQueues,
    /// Time and running work.
    pub host: Arc<LocalHost>,
    poll_s: i64,
    next_poll: Mutex<Timestamp>,
    /// While the clock is being moved: effects that failed, and when. Each is tried at most every 15 minutes of its time.
    failed: Mutex<Option<BTreeMap<RowRef, Timestamp>>>,
    moving: tokio::sync::Mutex<()>,
    /// The revision of the stored test clock, as far as known; none while nobody is to go on from where it stands.
    clock_rev: OnceLock<AtomicU64>,
    stopping: AtomicBool,
}

fn workers(queue: Queue) -> u32 {
    match queue {
        Queue::Events | Queue::WriteBack => 8,
        // QuickBooks allows ten calls at a time (facts/quickbooks.md A2).
        Queue::Books => 8,
        Queue::Payouts => 1,
    }
}

fn plus(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

impl Stack {
    /// The bundle of these parts. Nothing runs yet.
    #[must_use]
    pub fn new(app: Arc<App>, queues: LocalQueues, host: Arc<LocalHost>) -> Arc<Stack> {
        let poll_s = i64::from(app.settings.ehr.poll_s);
        let next_poll = Mutex::new(host.now());
        let (failed, moving, stopping) = (Mutex::new(None), tokio::sync::Mutex::new(()), AtomicBool::new(false));
        let clock_rev = OnceLock::new();
        Arc::new(Stack { app, queues, host, poll_s, next_poll, failed, moving, clock_rev, stopping })
    }

    /// Starts the workers and the heartbeat, and wakes what an earlier process left.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn start(self: &Arc<Self>) -> Result<(), Unfinished> {
        start::at_start(&self.app).await?;
        self.app.queues.send(Task::ListCustomersV1, 0).await?;
        self.beat().await?;
        tokio::spawn(Arc::clone(self).dispatch());
        if !self.host.stands_still() {
            tokio::spawn(Arc::clone(self).heartbeat());
        }
        Ok(())
    }

    // ---------------------------------------------------------------- workers

    async fn dispatch(self: Arc<Self>) {
        loop {
            let changed = self.queues.listen();
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            while let Some(message) = self.queues.take(workers) {
                tokio::spawn(Arc::clone(&self).work(message));
            }
            // Delayed messages become visible by time alone; with a standing clock only a move makes them so.
            let wait = self.queues.next_visible().filter(|_| !self.host.stands_still());
            let wait_ms = wait.map_or(3_600_000, |at| at.duration_since(self.host.now()).as_millis().clamp(1, 3_600_000));
            let nap = tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1)));
            tokio::select! { () = changed => {}, () = nap => {} }
        }
    }

    async fn work(self: Arc<Self>, message: Message) {
        if self.was_tried_just_now(&message.task) {
            self.finish(&message).await;
            return;
        }
        let (app, task) = (Arc::clone(&self.app), message.task.clone());
        // A panic costs one message, not the process.
        let outcome = tokio::spawn(async move { work::work(&app, &task).await }).await;
        self.note_failure(&message.task).await;
        let problem = match outcome {
            Ok(Ok(())) => return self.finish(&message).await,
            Ok(Err(Unfinished::Contended { .. })) if message.contended < CONTENDED_MAX => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                return self.queues.at_once(message);
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        tracing::warn!(message.id = message.id, receives = message.receives, problem, "a message could not be worked off");
        if message.receives < RECEIVES_MAX {
            return self.queues.again(message);
        }
        match dead_letters::bury(&self.app, &message.id, &message.task, &problem).await {
            Ok(()) => self.finish(&message).await,
            Err(_) => self.queues.again(message),
        }
    }

    async fn finish(&self, message: &Message) {
        if let Err(e) = self.queues.done(message).await {
            tracing::warn!(problem = %e, "a worked-off message could not be removed; it will find its work done");
        }
    }

    /// The state of the effect that a task is about.
    async fn effect_of(&self, task: &Task) -> Option<(RowRef, Effect)> {
        match task {
            Task::WriteBackV1 { row } => match self.app.store.write_back(row).await.ok()?? {
                WriteBack::Allocation(read) => Some((row.clone(), read.item.effect?)),
                WriteBack::Reversal(read) => Some((row.clone(), read.item.effect)),
            },
            Task::BooksV1 { row } => Some((row.clone(), self.app.store.books(row).await.ok()??.item.effect)),
            _ => None,
        }
    }

    /// The row of an event that waits for an outside answer.
    async fn waits(&self, event: &Event) -> Option<RowRef> {
        let row = self.app.store.event(&event.id).await.ok()??.item;
        (row.tries > 0 && row.next_at.is_some_and(|at| at > self.host.now())).then(|| RowRef::of(&row))
    }

    async fn note_failure(&self, task: &Task) {
        let moving = self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !moving {
            return;
        }
        let failed = match task {
            Task::EventV1 { event } => self.waits(event).await,
            other => self.effect_of(other).await.filter(|(_, e)| e.state == EffectState::Failed).map(|(row, _)| row),
        };
        if let Some(row) = failed
            && let Some(failed) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            failed.insert(row, self.host.now());
        }
    }

    fn was_tried_just_now(&self, task: &Task) -> bool {
        let row = match task {
            Task::WriteBackV1 { row } | Task::BooksV1 { row } => row.clone(),
            Task::EventV1 { event } => {
                let (since, problem) = (self.host.now(), String::new());
                RowRef::of(&StoredEvent { event: event.clone(), since, tries: 0, next_at: None, problem })
            }
            _ => return false,
        };
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().and_then(|f| f.get(&row)).is_some_and(|at| plus(*at, BACKOFF_MAX_S) > self.host.now())
    }

    // ---------------------------------------------------------------- time

    async fn heartbeat(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(BEAT_S.min(u64::try_from(self.poll_s).unwrap_or(BEAT_S))));
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            if let Err(e) = self.beat().await {
                tracing::error!(problem = %e, "the heartbeat failed; the next one comes in a minute");
            }
        }
    }

    /// One heartbeat: what is due is woken, the feed is polled when it is time, new audit records are sealed.
    ///
    /// # Errors
    /// When the store or a queue does not answer.
    pub async fn beat(&self) -> Result<(), Unfinished> {
        self.wake().await?;
        while seal::seal(&self.app).await? > 0 {}
        Ok(())
    }

    /// What a heartbeat starts.
    async fn wake(&self) -> Result<(), Unfinished> {
        let now = self.host.now();
        due::wake(&self.app, MOST, |task| self.was_tried_just_now(task)).await?;
        let poll = {
            let mut next = self.next_poll.lock().unwrap_or_else(PoisonError::into_inner);
            let due = *next <= now;
            if due {
                *next = plus(now, self.poll_s);
            }
            due
        };
        if poll {
            self.app.queues.send(Task::ImportV1, 0).await?;
        }
        Ok(())
    }

    /// Waits until nothing is being worked on. False when that takes longer than this.
    pub async fn drain(&self, seconds: u64) -> bool {
        let idle = async {
            loop {
                let changed = self.queues.listen();
                if self.queues.is_idle() {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(seconds), idle).await.is_ok()
    }

    /// Moves a test clock to `target`, stopping at every moment at which something is due and working that off.
    ///
    /// # Errors
    /// When the store or a queue does not answer.
    pub async fn move_clock(&self, target: Timestamp) -> Result<(), Unfinished> {
        let _one_at_a_time = self.moving.lock().await;
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(BTreeMap::new());
        let outcome = self.step_to(target).await;
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        outcome
    }

    /// Stores where a test clock stands, now and wherever it is moved to: a restart goes on from there.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn keep_clock(&self) -> Result<(), Unfinished> {
        build::remember_clock(&self.app, self.host.now(), self.clock_rev.get_or_init(AtomicU64::default)).await
    }

    async fn step_to(&self, target: Timestamp) -> Result<(), Unfinished> {
        self.drain(STEP_WAIT_S).await;
        loop {
            let now = self.host.now();
            let next = self.next_moment(now).await?.min(target);
            // Stored first: whatever is written at that moment, a restart does not go back behind it.
            if let Some(rev) = self.clock_rev.get() {
                build::remember_clock(&self.app, next, rev).await?;
            }
            self.host.move_to(next);
            // What has become visible is taken, also when the beat below is cut short.
            self.queues.poke();
            if next >= target {
                self.beat().await?;
                self.queues.poke();
                return Ok(());
            }
            // What is recorded on the way is sealed at its end.
            self.wake().await?;
            self.queues.poke();
            self.drain(STEP_WAIT_S).await;
        }
    }

    /// The next moment at which something is due.
    async fn next_moment(&self, now: Timestamp) -> Result<Timestamp, Unfinished> {
        let due = self.app.store.next_due(now).await?;
        let again = {
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.iter().flat_map(|f| f.values()).map(|at| plus(*at, BACKOFF_MAX_S)).filter(|at| *at > now).min()
        };
        let known = [due, self.queues.next_visible(), again];
        Ok(known.into_iter().flatten().min().unwrap_or(Timestamp::MAX).min(plus(now, STEP_MAX_S)))
    }

    /// Takes nothing new, and waits for what is running.
    pub async fn stop(&self, seconds: u64) {
        self.stopping.store(true, Ordering::SeqCst);
        self.queues.poke();
        let resting = async {
            loop {
                let changed = self.queues.listen();
                if self.queues.is_resting() {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(seconds), resting).await;
    }
}
