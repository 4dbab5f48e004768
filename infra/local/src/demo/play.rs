//! Plays the month: what happened outside is told to Vesper over its two webhooks, what is due is worked off, the clock moves on.
//!
//! Events of one family come one after the other, of different families at the same moment, so that a seed always gives the
//! same month. Must not: reach past the webhooks, the queues and the clock into the use cases.

use super::plan::{GO_LIVE, Plan};
use super::progress::Progress;
use super::rng::Rng;
use super::world::{WEBHOOK_SECRET, World};
use crate::Failure;
use crate::stack::Stack;
use crate::stack::build::{Parts, build};
use crate::stack::host::LocalHost;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::personal::DataKey;
use vesper_functions::app::Host as _;
use vesper_functions::{export, intake};
use vesper_standins::{ehr, stripe};

/// What happens within so many seconds is worked off together at their end: a few times in a working day, as different families
/// then go on at the same moment.
const SLOT_S: i64 = 3 * 60 * 60;
/// What is queued may take so long, in seconds.
const DRAIN_S: u64 = 60;
/// After the month, what still waits is given so many times ten minutes.
const SETTLE_MAX: u32 = 200;
/// At most so many events are delivered once more after the month, evenly taken from all of it.
const REPLAYED_MAX: usize = 600;
/// Of a hundred events so many are delivered twice.
const REPEATED_PERCENT: usize = 5;
/// Of a hundred deliveries of several events about one thing so many come in another order than Stripe made them.
const REORDERED_PERCENT: usize = 40;

/// A month that was played.
pub(super) struct Played {
    /// The bundle, still running.
    pub stack: Arc<Stack>,
    /// Where its table is kept.
    pub engine: Engine,
    /// The outside world.
    pub world: World,
    /// How many deliveries of events were made.
    pub deliveries: u64,
    /// How many of them were repeats during the month.
    pub repeats: u64,
    /// How many events were delivered once more after the month.
    pub replayed: u64,
    /// The export before and after that.
    pub exports: (Value, Value),
    /// Deliveries that were not answered as they should.
    pub problems: Vec<String>,
}

struct Player<'p> {
    plan: &'p Plan,
    stack: Arc<Stack>,
    engine: Engine,
    world: World,
    rng: Rng,
    delivered: Vec<Value>,
    deliveries: u64,
    repeats: u64,
    problems: Vec<String>,
    told: usize,
}

fn broke(what: &str, e: &dyn std::fmt::Display) -> Failure {
    Failure::problem(format!("the demo could not {what}: {e}"))
}

/// Plays the month and the check after it.
///
/// # Errors
/// When the bundle does not come to rest: a bug, not a finding.
pub(super) async fn play(plan: &Plan, seed: u64, progress: &Progress) -> Result<Played, Failure> {
    let mut player = start(plan, seed).await?;
    let mut acts = plan.acts.iter().peekable();
    while let Some((first, _)) = acts.peek() {
        let end_s = first.as_second().div_euclid(SLOT_S).saturating_add(1).saturating_mul(SLOT_S);
        let end = Timestamp::from_second(end_s).unwrap_or(*first);
        player.move_to(end).await?;
        let mut count = 0_u64;
        while let Some((_, act)) = acts.next_if(|(at, _)| *at < end) {
            player.world.act(plan, act);
            count = count.saturating_add(1);
        }
        player.tell().await?;
        progress.advance(count, end);
    }
    player.move_to(plan.end).await?;
    player.tell().await?;
    player.settle().await?;
    progress.finish();
    player.replay().await
}

async fn start(plan: &Plan, seed: u64) -> Result<Player<'_>, Failure> {
    let begin: Timestamp = GO_LIVE.parse().map_err(|e: jiff::Error| broke("read its own date", &e))?;
    let host = Arc::new(LocalHost::standing(begin));
    let world = World::new(&host);
    let engine = Engine::memory().map_err(|e| broke("open a store in memory", &e))?;
    let settings = world.settings().map_err(|e| broke("read its own settings", &e))?;
    let transport = Arc::new(world.all.clone());
    let key = DataKey::new(crate::serve::random_32());
    let parts = Parts { engine: engine.clone(), key, settings, secrets: World::secrets(), transport, host };
    let stack = build(parts).await.map_err(|e| broke("put the bundle together", &e))?;
    stack.start().await.map_err(|e| broke("start the bundle", &e))?;
    let (delivered, problems) = (Vec::new(), Vec::new());
    let rng = Rng::new(seed ^ 0x00D3_0000);
    let mut player = Player { plan, stack, engine, world, rng, delivered, deliveries: 0, repeats: 0, problems, told: 0 };
    player.drain().await?;
    Ok(player)
}

/// What one event is about, so that events about the same money keep together.
fn subject_of(event: &Value) -> &str {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let own = text("/data/object/id").unwrap_or_default();
    if own.starts_with("pi_") { own } else { text("/data/object/payment_intent").unwrap_or(own) }
}

impl Player<'_> {
    async fn drain(&mut self) -> Result<(), Failure> {
        if self.stack.drain(DRAIN_S).await { Ok(()) } else { Err(broke("come to rest", &"work is still queued")) }
    }

    async fn move_to(&mut self, at: Timestamp) -> Result<(), Failure> {
        self.stack.move_clock(at).await.map_err(|e| broke("move its clock", &e))?;
        self.drain().await
    }

    /// Tells Vesper what happened: first that the EHR changed, then each event.
    async fn tell(&mut self) -> Result<(), Failure> {
        let feed = self.world.all.ehr.feed_len();
        if feed != self.told {
            self.told = feed;
            let (body, signature) = self.world.all.ehr.notice(ehr::DEFAULT_SECRET, self.stack.host.real_unix_s());
            let answer = intake::ehr(self.stack.app.door(), Some(&signature), "/webhooks/ehr", &body).await;
            self.expect("a notice of the EHR", answer.status, 202);
            self.drain().await?;
        }
        let mut families = self.by_family();
        while !families.is_empty() {
            for events in families.values_mut() {
                if let Some(event) = events.pop_front() {
                    self.deliver(&event).await;
                    if self.rng.percent(1) {
                        self.repeats = self.repeats.saturating_add(1);
                        self.deliver(&event).await;
                    }
                    self.delivered.push(event);
                }
            }
            families.retain(|_, events| !events.is_empty());
            self.drain().await?;
        }
        Ok(())
    }

    /// The events that wait, by whose they are, in the order in which they will be delivered.
    fn by_family(&mut self) -> BTreeMap<String, VecDeque<Value>> {
        let mut families: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for event in self.world.all.stripe.undelivered() {
            if let Some(id) = event.get("id").and_then(Value::as_str) {
                self.world.all.stripe.mark_delivered(id);
            }
            let subject = subject_of(&event);
            let planned = self.world.made.get(subject).and_then(|n| self.plan.payments.get(*n));
            let family = planned.map(|p| self.plan.family_of(p.payer));
            let key = family.map_or_else(|| subject.to_owned(), |f| format!("family {f}"));
            families.entry(key).or_default().push(event);
        }
        families.into_iter().map(|(key, events)| (key, self.scatter(events))).collect()
    }

    /// Stripe delivers in no certain order, and some events twice.
    fn scatter(&mut self, mut events: Vec<Value>) -> VecDeque<Value> {
        if events.len() > 1 && self.rng.percent(REORDERED_PERCENT) {
            self.rng.shuffle(&mut events);
        } else {
            // The PaymentIntent's event mostly comes before the charge's.
            events.sort_by_key(|e| e.get("type").and_then(Value::as_str) != Some("payment_intent.succeeded"));
        }
        let mut queue: VecDeque<Value> = VecDeque::new();
        for event in events {
            if self.rng.percent(REPEATED_PERCENT) {
                self.repeats = self.repeats.saturating_add(1);
                queue.push_back(event.clone());
            }
            queue.push_back(event);
        }
        queue
    }

    async fn deliver(&mut self, event: &Value) {
        self.deliveries = self.deliveries.saturating_add(1);
        let (body, header) = stripe::signed(event, WEBHOOK_SECRET, self.stack.host.real_unix_s());
        let answer = intake::stripe(self.stack.app.door(), Some(&header), &body).await;
        self.expect("an event of Stripe", answer.status, 200);
    }

    fn expect(&mut self, what: &str, got: u16, want: u16) {
        if got != want {
            self.problems.push(format!("{what} was answered {got}"));
        }
    }

    async fn export(&self) -> Result<Value, Failure> {
        export::export(&self.stack.app.store, false).await.map_err(|e| broke("export what is stored", &e))
    }

    /// Lets the clock go on until no effect waits, or nothing more can be expected.
    async fn settle(&mut self) -> Result<(), Failure> {
        for _ in 0..SETTLE_MAX {
            let waiting = self.stack.app.store.due(Timestamp::MAX, 500).await.map_err(|e| broke("look at what is due", &e))?;
            let parked_only = waiting.iter().all(|d| matches!(d, vesper_adapters::dynamo::store::Due::Payment(_)));
            if parked_only {
                break;
            }
            let next = self.stack.host.now().saturating_add(SignedDuration::from_mins(10)).unwrap_or(self.plan.end);
            self.move_to(next).await?;
            self.tell().await?;
        }
        // Seals what was recorded last.
        self.stack.beat().await.map_err(|e| broke("seal its records", &e))?;
        self.drain().await
    }

    /// Delivers events of the whole month once more, the last ones first. Nothing may change.
    async fn replay(mut self) -> Result<Played, Failure> {
        let before = self.export().await?;
        let each = self.delivered.len().div_ceil(REPLAYED_MAX).max(1);
        let events: Vec<Value> = std::mem::take(&mut self.delivered).into_iter().step_by(each).collect();
        let mut replayed = 0_u64;
        for chunk in events.rchunks(200) {
            for event in chunk.iter().rev() {
                self.deliver(event).await;
                replayed = replayed.saturating_add(1);
            }
            self.drain().await?;
        }
        self.stack.beat().await.map_err(|e| broke("seal its records", &e))?;
        self.drain().await?;
        let after = self.export().await?;
        let Player { stack, engine, world, deliveries, repeats, problems, .. } = self;
        Ok(Played { stack, engine, world, deliveries, repeats, replayed, exports: (before, after), problems })
    }
}
