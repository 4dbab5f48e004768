//! The whole bundle in process, between stand-ins of the three outside systems, on a clock that is moved by hand.
//!
//! With [`Ground::Faulty`] the table answers index queries 50 writes late, and one in a few calls conflicts, is throttled or
//! loses its answer; VESPER_FAULTS_SEED chooses which. With [`Options::by_hand`] nothing runs by itself: one message after the other, always in the same order.
//! Must not: sleep, retry what the product must retry, or be used by the product.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail where it stands")]

mod invariants;
pub mod process;
mod told;
pub mod wire;

pub use invariants::{CANARIES, broken, leaks, unaccounted};
pub use told::Told;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::dynamo::faults::{Fault as StoreFault, Faults, Target, When};
use vesper_adapters::dynamo::table::Table;
use vesper_adapters::personal::{DataKey, Secret};
use vesper_adapters::settings::{Books, EhrKind, Need, QuickBooksSecrets, Secrets, Settings};
use vesper_core::ids::ReviewId;
use vesper_core::review::Status;
use vesper_functions::app::{App, Host as _};
use vesper_functions::failure::Unfinished;
use vesper_functions::pause::{self, Pause};
use vesper_functions::review::answers::{self, Answered, Chosen};
use vesper_functions::task::Task;
use vesper_functions::{dead_letters, export, intake, push_books, work};
use vesper_local::stack::Stack;
use vesper_local::stack::build::{Messages, Parts, build_on};
use vesper_local::stack::host::LocalHost;
use vesper_local::stack::queues::RECEIVES_MAX;
use vesper_standins::stripe::{DEFAULT_KEY, NewPayment, signed};
use vesper_standins::{Clock, Standins, ehr, quickbooks};
use wire::Wire;

/// The secret that Stripe's webhooks are signed with.
pub const WEBHOOK_SECRET: &str = "whsec_harnessSecretForTheWebhooks";
/// Monday 08:00 in the practice: where every world begins.
pub const MONDAY: &str = "2026-11-23T15:00:00Z";
/// A drain that takes longer hangs, in seconds.
const DRAIN_S: u64 = 60;
/// How often whoever gets an error tries again: Stripe, a supervisor, whoever moves the clock.
const TRIES: u32 = 20;
/// A message that the table's faults put off comes again within so long, in seconds.
const PUT_OFF_S: i64 = 10;
/// How many writes late the indexes of [`Ground::Faulty`] are (design.md, Store).
const LAG_WRITES: usize = 50;

/// What the table does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ground {
    /// It answers.
    #[default]
    Plain,
    /// Its indexes lag, and calls conflict, throttle and lose their answers; the SDK repeats as in production.
    Faulty,
}

/// How a world is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the table does.
    pub ground: Ground,
    /// Nothing runs by itself, and the SDK repeats nothing: for the crash sweep.
    pub by_hand: bool,
    /// `mode = "shadow"`.
    pub shadow: bool,
    /// `practice.go_live`; None: 2020.
    pub go_live: Option<&'static str>,
    /// `matching.apply_credit = "oldest_first"`.
    pub credit_by_rule: bool,
    /// The table is kept in a file, as `vesper serve` does; else in memory.
    pub on_file: bool,
}

/// A practice, its outside systems, and the product between them.
pub struct Bundle {
    /// The product.
    pub stack: Arc<Stack>,
    /// Stripe, EHR and QuickBooks.
    pub standins: Standins,
    /// What carries the product's calls to them.
    pub wire: Arc<Wire>,
    /// What carries the product's calls to the table.
    pub faults: Faults,
    /// The settings; a restart takes them.
    pub settings: Settings,
    /// The secrets; a restart takes them.
    pub secrets: Secrets,
    options: Options,
    engine: Engine,
    /// Where the table is kept with [`Options::on_file`]; it goes with the world.
    _folder: Option<tempfile::TempDir>,
    host: Arc<Mutex<Arc<LocalHost>>>,
    made: u32,
}

/// The `practice.toml` of the harness.
#[must_use]
pub fn practice_toml(options: &Options, stripe: &str, ehr: &str, books: &str) -> String {
    let mode = if options.shadow { "shadow" } else { "live" };
    let go_live = options.go_live.unwrap_or("2020-01-01T00:00:00Z");
    let credit = if options.credit_by_rule { "oldest_first" } else { "by_hand" };
    format!(
        r#"
[practice]
id = "harness"
time_zone = "America/Phoenix"
mode = "{mode}"
go_live = "{go_live}"
[stripe]
api_base = "{stripe}"
livemode = false
[ehr]
base_url = "{ehr}"
[books]
api_base = "{books}"
token_url = "{books}/oauth2/v1/tokens/bearer"
realm_id = "{realm}"
[books.accounts]
stripe_clearing = "91"
checking = "35"
stripe_fees = "66"
refunds = "67"
disputes = "68"
unidentified = "92"
client_credits = "93"
[books.accounts.income]
default = "79"
copay = "80"
[matching]
apply_credit = "{credit}"
"#,
        realm = quickbooks::DEFAULT_REALM,
    )
}

fn settings_of(options: &Options, standins: &Standins) -> Settings {
    let loopback = "http://127.0.0.1:1";
    let text = practice_toml(options, loopback, loopback, loopback);
    let mut settings = Settings::parse(&text, "practice.toml", Need::Serve).unwrap();
    // The made-up origins of the stand-ins are no addresses that a practice may have.
    settings.stripe.api_base = standins.stripe.origin();
    settings.ehr.kind = EhrKind::Bridge { base_url: standins.ehr.origin() };
    if let Books::QuickBooks(books) = &mut settings.books {
        books.api_base = standins.quickbooks.origin();
        books.token_url = standins.quickbooks.token_url();
    }
    settings
}

fn secrets() -> Secrets {
    Secrets {
        stripe_api_key: Secret::new(DEFAULT_KEY),
        stripe_webhook_secrets: vec![Secret::new(WEBHOOK_SECRET)],
        ehr_bridge_secrets: vec![Secret::new(ehr::DEFAULT_SECRET)],
        quickbooks: Some(QuickBooksSecrets {
            client_id: Secret::new(quickbooks::DEFAULT_CLIENT_ID),
            client_secret: Secret::new(quickbooks::DEFAULT_CLIENT_SECRET),
            refresh_token: Secret::new(quickbooks::FIRST_REFRESH_TOKEN),
        }),
    }
}

/// With RUST_LOG set, a failing test shows what the product logged.
fn show_logs() {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    }
}

/// Which calls [`Ground::Faulty`] strikes: VESPER_FAULTS_SEED, else always the same.
fn faults_seed() -> u64 {
    std::env::var("VESPER_FAULTS_SEED").map_or(1, |n| n.parse().expect("VESPER_FAULTS_SEED is a number"))
}

fn now_s() -> i64 {
    Timestamp::now().as_second()
}

impl Bundle {
    /// A world of these options, started, on a Monday at 08:00.
    pub async fn new(options: Options) -> Bundle {
        Bundle::prepared(options, |_| ()).await
    }

    /// The same; `before` changes the outside systems before the product starts.
    pub async fn prepared(options: Options, before: impl FnOnce(&Standins)) -> Bundle {
        show_logs();
        let folder = options.on_file.then(|| tempfile::tempdir().unwrap());
        let engine = match &folder {
            Some(folder) => Engine::open(&folder.path().join("vesper.db")).unwrap(),
            None => Engine::memory().unwrap(),
        };
        let host = Arc::new(Mutex::new(Arc::new(LocalHost::standing(MONDAY.parse().unwrap()))));
        let told = Arc::clone(&host);
        let clock: Clock = Arc::new(move || told.lock().unwrap().now());
        let standins = Standins::new(&clock);
        // Whoever reads the feed must skip what he does not know.
        standins.ehr.unknown_kind("session");
        before(&standins);
        let faults = match options.ground {
            Ground::Plain => Faults::over(engine.http_client()),
            Ground::Faulty => Faults::over_with_lag(engine.http_client(), LAG_WRITES).unwrap(),
        };
        let settings = settings_of(&options, &standins);
        let wire = Wire::new(&standins, &faults);
        let now_host = Arc::clone(&host.lock().unwrap());
        let stack = open(&options, &engine, &faults, &wire, now_host, settings.clone(), secrets()).await;
        if options.ground == Ground::Faulty {
            let one_in = |n| When::OneIn { seed: faults_seed(), n };
            faults.script(Target::Writes, one_in(7), StoreFault::TransactionConflict);
            faults.script(Target::Writes, one_in(11), StoreFault::LostAnswer);
            faults.script(Target::Any, one_in(23), StoreFault::Throttled);
            faults.script(Target::Reads, one_in(31), StoreFault::LostAnswer);
            faults.script(Target::Operation("BatchGetItem"), one_in(3), StoreFault::HalfBatch);
        }
        let secrets = secrets();
        let bundle = Bundle { stack, standins, wire, faults, settings, secrets, options, engine, _folder: folder, host, made: 0 };
        bundle.start().await;
        bundle
    }

    async fn start(&self) {
        if !self.options.by_hand {
            // A start that fails is made again, as a supervisor does.
            let mut outcome = self.stack.start().await;
            for _ in 0..TRIES {
                if outcome.is_err() {
                    outcome = self.stack.start().await;
                }
            }
            outcome.unwrap();
            return self.drain().await;
        }
        push_books::reconnected(&self.stack.app).await.unwrap();
        self.stack.app.queues.send(Task::ListCustomersV1, 0).await.unwrap();
        self.stack.beat().await.unwrap();
        self.pump().await;
    }

    /// What every use case gets.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.stack.app
    }

    /// The time of this world.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.stack.host.now()
    }

    // ---------------------------------------------------------------- the process

    /// The process ends as after SIGTERM, and another one goes on, with the settings and secrets as they are now.
    pub async fn restart(&mut self) {
        self.stack.stop(DRAIN_S).await;
        self.wire.die();
        self.reopen(self.faults.clone()).await;
    }

    /// The process is killed: from now on nothing that it does reaches the table or an outside system. Another one goes on.
    pub async fn kill_and_restart(&mut self) {
        assert_eq!(self.options.ground, Ground::Plain, "a lagging table cannot be handed over");
        self.wire.die();
        self.faults.script(Target::Any, When::From(1), StoreFault::NoConnection);
        self.stack.stop(DRAIN_S).await;
        self.reopen(Faults::over(self.engine.http_client())).await;
    }

    async fn reopen(&mut self, faults: Faults) {
        let host = Arc::new(LocalHost::standing(self.now()));
        *self.host.lock().unwrap() = Arc::clone(&host);
        self.wire = Wire::new(&self.standins, &faults);
        let (settings, secrets) = (self.settings.clone(), self.secrets.clone());
        self.stack = open(&self.options, &self.engine, &faults, &self.wire, host, settings, secrets).await;
        self.faults = faults;
        self.start().await;
    }

    // ---------------------------------------------------------------- time

    /// Waits until nothing is being worked on.
    pub async fn drain(&self) {
        if self.options.by_hand {
            return self.pump().await;
        }
        assert!(self.stack.drain(DRAIN_S).await, "the product does not become idle");
        while self.options.ground == Ground::Faulty
            && let Some(next) = self.stack.queues.next_visible()
            && next.duration_since(self.now()).as_secs() <= PUT_OFF_S
        {
            self.move_to(next).await;
            assert!(self.stack.drain(DRAIN_S).await, "the product does not become idle");
        }
    }

    async fn move_to(&self, at: Timestamp) {
        // A second of real time is long for an index: it has caught up when the clock moves.
        self.faults.catch_up().await.unwrap();
        let mut outcome = self.stack.move_clock(at).await;
        for _ in 0..TRIES {
            if outcome.is_err() {
                // What has become visible is taken although the move was cut short.
                self.stack.queues.poke();
                outcome = self.stack.move_clock(at).await;
            }
        }
        outcome.unwrap();
    }

    /// By hand: works off what is visible, one message after the other.
    async fn pump(&self) {
        while !self.wire.is_dead()
            && let Some(message) = self.stack.queues.take(|_| 1)
        {
            // A task of its own, as in the product: it starts on an empty stack.
            let (app, task) = (Arc::clone(&self.stack.app), message.task.clone());
            let outcome = tokio::spawn(async move { work::work(&app, &task).await }).await;
            let problem = match outcome.unwrap() {
                Ok(()) => {
                    let _ = self.stack.queues.done(&message).await;
                    continue;
                }
                Err(Unfinished::Contended { .. }) => {
                    self.stack.queues.at_once(message);
                    continue;
                }
                Err(e) => e.to_string(),
            };
            if message.receives < RECEIVES_MAX {
                self.stack.queues.again(message);
            } else if dead_letters::bury(self.app(), &message.id, &message.task, &problem).await.is_ok() {
                let _ = self.stack.queues.done(&message).await;
            }
        }
    }

    /// Moves the clock by so many seconds; what becomes due on the way is worked off when it is due.
    pub async fn advance(&self, seconds: i64) {
        let target = self.now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
        while self.now() < target {
            let left_s = target.duration_since(self.now()).as_secs();
            let step_s = if left_s > 7 * 3600 { 6 * 3600 } else { 3600 };
            let step = self.now().checked_add(SignedDuration::from_secs(step_s)).unwrap();
            let next = if self.options.ground == Ground::Faulty { step.min(target) } else { target };
            self.move_to(next).await;
            self.drain().await;
        }
    }

    /// By hand: to the next moment at which anything is due, and works it off. False when nothing ever is.
    pub async fn step(&self) -> bool {
        let due = self.app().store.next_due(self.now()).await.unwrap();
        let Some(next) = [due, self.stack.queues.next_visible()].into_iter().flatten().min() else { return false };
        self.stack.host.move_to(next);
        let _ = self.stack.beat().await;
        self.pump().await;
        true
    }

    /// Delivers, and lets the clock run until no write is waiting, at most for a day. Answers what is then known.
    pub async fn settle(&self) -> Told {
        let (mut spent_s, mut step_s) = (0_i64, 60_i64);
        loop {
            self.deliver().await;
            self.drain().await;
            let told = self.export().await;
            if !self.standins.stripe.undelivered().is_empty() {
                continue;
            }
            if (told.waiting() == 0 && self.stack.queues.next_visible().is_none()) || spent_s >= 26 * 3600 {
                return told;
            }
            self.advance(step_s).await;
            spent_s += step_s;
            step_s = (step_s * 2).min(1800);
        }
    }

    // ---------------------------------------------------------------- events in

    /// One delivery of one event: the status.
    pub async fn send(&self, event: &Value) -> u16 {
        let (body, header) = signed(event, WEBHOOK_SECRET, now_s());
        intake::stripe(self.app().door(), Some(&header), &body).await.status
    }

    /// Delivers what Stripe has to deliver, in order; what a faulty table refused comes again at once, what else is not
    /// acknowledged at the next delivery.
    pub async fn deliver(&self) {
        for event in self.standins.stripe.undelivered() {
            let mut status = self.send(&event).await;
            for _ in 0..TRIES {
                if status == 503 && self.options.ground == Ground::Faulty {
                    status = self.send(&event).await;
                }
            }
            if (200..300).contains(&status) {
                self.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
            }
        }
    }

    /// Delivers these, in this order, whatever Stripe thinks.
    pub async fn deliver_these(&self, events: &[Value]) {
        for event in events {
            let mut status = self.send(event).await;
            for _ in 0..TRIES {
                // Only a table that fails is a reason to deliver again.
                if status == 503 {
                    status = self.send(event).await;
                }
            }
            assert_eq!(status, 200, "{}", event["type"]);
            self.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
        }
        self.drain().await;
    }

    /// The EHR says that something changed. The status.
    pub async fn notice(&self) -> u16 {
        let (body, header) = self.standins.ehr.notice(ehr::DEFAULT_SECRET, now_s());
        intake::ehr(self.app().door(), Some(&header), "/webhooks/ehr", &body).await.status
    }

    /// The EHR says that something changed, and it is read.
    pub async fn sync(&self) {
        assert_eq!(self.notice().await, 202, "the notice"); // A wake-up only: it stands in no table.
        self.drain().await;
    }

    // ---------------------------------------------------------------- people and bills

    /// A client and his Stripe customer, full of personal data that must not get out.
    pub fn client(&mut self) -> (String, String) {
        self.client_with(json!({}))
    }

    /// The same; `fields` over the usual ones.
    pub fn client_with(&mut self, fields: Value) -> (String, String) {
        let email = self.next_email();
        let customer = self.customer(Some(&email));
        let mut all = json!({"emails": [email], "stripe_customer_ids": [customer]});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        (self.client_of(all), customer)
    }

    /// A client whom Stripe does not know, unless `fields` say so.
    pub fn client_of(&mut self, fields: Value) -> String {
        let n = self.next();
        let mut all = json!({"display_name": format!("{} {}{n}", CANARIES[1], CANARIES[0])});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.standins.ehr.client(&format!("c_{n}"), all)
    }

    /// A customer at Stripe with a name and a phone number.
    pub fn customer(&mut self, email: Option<&str>) -> String {
        let n = self.next();
        let customer = self.standins.stripe.customer(email, Some(&format!("{} {}{n}", CANARIES[1], CANARIES[0])));
        self.standins.stripe.change(&customer, json!({"phone": format!("+1 {}", CANARIES[3])}));
        customer
    }

    /// An address that nobody else has.
    pub fn next_email(&mut self) -> String {
        format!("{}.{}@phi.example", CANARIES[2], self.next())
    }

    fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// An open invoice of today, in minor units.
    pub fn bill(&mut self, client: &str, client_charge_minor: i64) -> String {
        self.bill_with(client, client_charge_minor, 0, json!({}))
    }

    /// The same; `fields` over the usual ones.
    pub fn bill_with(&mut self, client: &str, client_charge_minor: i64, payer_charge_minor: i64, fields: Value) -> String {
        let id = format!("inv_{}", self.next());
        self.standins.ehr.invoice(&id, client, client_charge_minor, payer_charge_minor, fields)
    }

    /// A client with one invoice: (customer, invoice).
    pub fn patient(&mut self, client_charge_minor: i64) -> (String, String) {
        let (client, customer) = self.client();
        let invoice = self.bill(&client, client_charge_minor);
        (customer, invoice)
    }

    /// A card payment that succeeds; Stripe has not told of it yet.
    #[must_use]
    pub fn pay(&self, payment: &NewPayment) -> String {
        self.standins.stripe.pay(payment)
    }

    /// A card payment whose metadata names an invoice.
    #[must_use]
    pub fn pay_for(&self, customer: &str, amount_minor: i64, invoice: &str) -> String {
        self.pay(&NewPayment::of(customer, amount_minor).metadata("vesper_invoice", invoice))
    }

    // ---------------------------------------------------------------- what is known

    /// What `vesper export` prints.
    pub async fn export(&self) -> Told {
        Told(export::export(&self.app().store, false).await.unwrap())
    }

    /// What may never happen (design.md section 2), asked of the export and of the outside systems. Empty is good.
    #[must_use]
    pub fn broken(&self, told: &Told) -> Vec<String> {
        broken(&self.standins, told)
    }

    /// A person pauses something; when that fails, he does it again.
    pub async fn pause(&self, what: Pause) {
        let mut outcome = pause::set(self.app(), what).await;
        for _ in 0..TRIES {
            if outcome.is_err() {
                outcome = pause::set(self.app(), what).await;
            }
        }
        outcome.unwrap();
    }

    /// A person answers a review.
    pub async fn answer(&self, review_id: &str, chosen: Chosen) -> Answered {
        let id = ReviewId::parse(review_id).unwrap();
        let version = self.app().store.review(&id).await.unwrap().unwrap().rev;
        let mut answered = answers::answer(self.app(), "tester", &id, version, chosen.clone()).await;
        let failed = answered.is_err();
        for _ in 0..TRIES {
            if answered.is_err() {
                answered = answers::answer(self.app(), "tester", &id, version, chosen.clone()).await;
            }
        }
        self.drain().await;
        match answered.unwrap() {
            // The try that failed had stored the answer before: the person sees on the page that the question is closed.
            Answered::Stale if failed && self.is_resolved(&id).await => Answered::Done,
            answered => answered,
        }
    }

    async fn is_resolved(&self, review: &ReviewId) -> bool {
        for _ in 0..TRIES {
            if let Ok(read) = self.app().store.review(review).await {
                return read.is_some_and(|r| r.item.review.status == Status::Resolved);
            }
        }
        panic!("the table does not answer")
    }
}

async fn open(
    options: &Options,
    engine: &Engine,
    faults: &Faults,
    wire: &Arc<Wire>,
    host: Arc<LocalHost>,
    settings: Settings,
    secrets: Secrets,
) -> Arc<Stack> {
    let attempts = if options.by_hand { 1 } else { vesper_adapters::dynamo::client::ATTEMPTS };
    let table = |name: &str| Table::new(faults.client(attempts), name.to_owned());
    let (engine, key, transport) = (engine.clone(), DataKey::new([7; 32]), Arc::clone(wire) as _);
    build_on(&table, Messages::Stored, Parts { engine, key, settings, secrets, transport, host }).await.unwrap()
}
