//! What the tests of this package stand on: an app over the embedded engine, a clock that is moved by hand, queues that only
//! collect, and outside systems that answer as a closure says.
//!
//! Must not: be part of anything but tests.

use crate::app::{App, Host};
use crate::assemble::{AppParts, assemble};
use crate::bus::LogBus;
use crate::task::{NotQueued, Queues, Task};
use jiff::{SignedDuration, Timestamp};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use vesper_adapters::dynamo::client::client_on;
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::dynamo::table::Table;
use vesper_adapters::http::{BoxFuture, HttpRequest, HttpResponse, SharedTransport, Transport, TransportError};
use vesper_adapters::personal::{DataKey, Secret};
use vesper_adapters::settings::{Need, QuickBooksSecrets, Secrets, Settings};
use vesper_core::effect::Lease;

/// Settings of a practice with a bridge and QuickBooks.
pub const SETTINGS: &str = r#"
[practice]
id = "northbridge"
time_zone = "America/Chicago"
go_live = "2026-01-01T00:00:00Z"
[ehr]
base_url = "https://ehr.example"
[books]
realm_id = "1234567890"
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
"#;

/// A host whose clock stands still until it is moved; a lease is alive as long as its holder is.
pub struct ManualHost {
    now: Mutex<Timestamp>,
    count: AtomicU64,
    held: Mutex<BTreeSet<String>>,
}

impl ManualHost {
    /// Moves the clock.
    pub fn advance_s(&self, seconds: i64) {
        let mut now = self.now.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

impl Host for ManualHost {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn real_unix_s(&self) -> i64 {
        self.now().as_second()
    }

    fn random(&self) -> [u8; 16] {
        let n = self.count.fetch_add(1, Ordering::SeqCst);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        bytes
    }

    fn hold(&self) -> String {
        let owner = format!("work-{}", self.count.fetch_add(1, Ordering::SeqCst));
        self.held.lock().unwrap().insert(owner.clone());
        owner
    }

    fn release(&self, owner: &str) {
        self.held.lock().unwrap().remove(owner);
    }

    fn alive(&self, lease: &Lease) -> bool {
        self.held.lock().unwrap().contains(&lease.owner)
    }
}

/// Queues that keep what they are sent.
#[derive(Default)]
pub struct Collected(Mutex<Vec<(Task, u32)>>);

impl Collected {
    /// What was sent since the last look: the task and its delay in seconds.
    pub fn take(&self) -> Vec<(Task, u32)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Queues for Collected {
    fn send(&self, task: Task, delay_s: u32) -> BoxFuture<'_, Result<(), NotQueued>> {
        self.0.lock().unwrap().push((task, delay_s));
        Box::pin(async { Ok(()) })
    }
}

thread_local! {
    /// The messages that this thread has logged since they were taken last.
    static HEARD: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// The messages that this thread has logged since [`listen`].
pub struct Heard;

impl Heard {
    /// What was logged since the last look.
    pub fn take(&self) -> BTreeSet<String> {
        HEARD.take()
    }
}

/// Hears what every thread logs. One for the whole process: with one for each thread, a line that another test logs first is
/// taken for one that nobody wants to hear, also by those who do.
struct Ear;

impl tracing::field::Visit for Ear {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            HEARD.with_borrow_mut(|heard| heard.insert(format!("{value:?}")));
        }
    }
}

impl tracing::Subscriber for Ear {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Ear);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Listens to what this thread logs from now on.
pub fn listen() -> Heard {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Ear).unwrap();
        tracing::callsite::rebuild_interest_cache();
    });
    HEARD.take();
    Heard
}

/// The messages that the stack counts in this log group of its template: alarms stand on them.
pub fn counted(log_group: &str) -> BTreeSet<String> {
    let (mut of, mut texts) = ("", BTreeSet::new());
    for line in include_str!("../../infra/template.yaml").lines() {
        if let Some(group) = line.trim().strip_prefix("LogGroupName: !Ref ") {
            of = group;
        }
        if let Some((_, text)) = line.split_once("$.fields.message = \"").filter(|_| of == log_group) {
            texts.extend(text.split('"').next().map(str::to_owned));
        }
    }
    texts
}

/// What an outside system answers: a status and a body, or no answer.
pub type Scripted = Result<(u16, String), TransportError>;

/// Outside systems that answer as the closure says, and what they were sent.
pub struct Script {
    answer: Box<dyn Fn(&HttpRequest) -> Scripted + Send + Sync>,
    sent: Mutex<Vec<HttpRequest>>,
}

impl Script {
    /// Answers with this.
    pub fn new(answer: impl Fn(&HttpRequest) -> Scripted + Send + Sync + 'static) -> Arc<Script> {
        Arc::new(Script { answer: Box::new(answer), sent: Mutex::default() })
    }

    /// What was sent since the last look.
    pub fn take(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

impl Transport for Script {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let answer = (self.answer)(&request).map(|(status, body)| HttpResponse { status, headers: vec![], body: body.into() });
        self.sent.lock().unwrap().push(request);
        Box::pin(async move { answer })
    }
}

/// An app with what a test moves and looks at.
pub struct Bench {
    /// The app.
    pub app: App,
    /// Its host.
    pub host: Arc<ManualHost>,
    /// Its queues.
    pub queue: Arc<Collected>,
}

/// An app on this engine. `settings` is a practice.toml such as [`SETTINGS`]; QuickBooks is connected with `refresh`.
pub async fn app_with(engine: &Engine, transport: SharedTransport, settings: &str, refresh: &str) -> Bench {
    let settings = Settings::parse(settings, "practice.toml", Need::Serve).unwrap();
    let table = Table::new(client_on(engine.http_client()), "vesper".to_owned());
    table.create_if_absent().await.unwrap();
    let key = DataKey::new([7; 32]);
    let secret = Secret::new;
    let secrets = Secrets {
        stripe_api_key: secret("rk_live_1"),
        stripe_webhook_secrets: vec![secret("whsec_1")],
        ehr_bridge_secrets: vec![secret("bridge-secret")],
        quickbooks: Some(QuickBooksSecrets {
            client_id: secret("client"),
            client_secret: secret("client-secret"),
            refresh_token: secret(refresh),
        }),
    };
    let now = "2026-11-21T15:00:00Z".parse().unwrap();
    let host = Arc::new(ManualHost { now: Mutex::new(now), count: AtomicU64::new(1), held: Mutex::default() });
    let queue = Arc::new(Collected::default());
    let mut settings = settings;
    settings.practice.go_live.get_or_insert(Timestamp::UNIX_EPOCH);
    let (store, bus) = (Store::new(table, key.clone()), Arc::new(LogBus));
    let (queues, of_host) = (queue.clone(), host.clone());
    let parts = AppParts { store, key, settings, secrets, transport, queues, bus, host: of_host, quickbooks_callers: 1 };
    let app = assemble(parts).await.unwrap();
    Bench { app, host, queue }
}

/// [`app_with`], connected with the refresh token `RT-1`.
pub async fn app(engine: &Engine, transport: SharedTransport, settings: &str) -> Bench {
    app_with(engine, transport, settings, "RT-1").await
}
