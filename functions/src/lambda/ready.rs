//! Settings and secrets of a function, and what is built of them: read with one call at the first invocation, kept for fifteen
//! minutes, and read again at once (at most once a minute) when somebody does not accept a secret (contracts/settings.md).
//!
//! Must not: log a value, or stop working because SSM does not answer while it still has what it read before.

use super::environment::{Environment, NotReady};
use super::host::LambdaHost;
use super::senders::{Collected, SqsQueues};
use crate::app::App;
use crate::assemble::{AppParts, assemble};
use crate::switch::{self, Standing};
use jiff::{SignedDuration, Timestamp};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vesper_adapters::aws::parameters::{Parameters, Ssm};
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::dynamo::table::Table;
use vesper_adapters::http::{BoxFuture, HttpRequest, HttpResponse, SharedTransport, Transport, TransportError};
use vesper_adapters::personal::DataKey;
use vesper_adapters::reqwest_transport::ReqwestTransport;
use vesper_adapters::settings::{Mode, Need, Secrets, Settings};

/// So many processes may call QuickBooks at the same time: those of push-books (MaximumConcurrency of infra/template.yaml), and the
/// nightly proof, which holds a lease.
const QUICKBOOKS_CALLERS: u32 = 3;
/// How long settings and secrets are kept, in seconds.
const KEPT_S: i64 = 15 * 60;
/// They are read again at most so often, in seconds.
const AGAIN_S: i64 = 60;

/// Settings and secrets, read and understood.
pub struct Practice {
    /// practice.toml.
    pub settings: Settings,
    /// The secrets.
    pub secrets: Secrets,
    /// The practice's data key.
    pub key: DataKey,
}

fn practice(path: &str, parameters: &Parameters) -> Result<Practice, NotReady> {
    let wrong = |problem: String| NotReady::Settings { path: path.to_owned(), problem };
    let text = parameters.config().ok_or_else(|| wrong("there is no parameter `config`".to_owned()))?;
    let settings = Settings::parse(&text, &format!("{path}/config"), Need::Serve).map_err(|e| wrong(e.to_string()))?;
    let value = |name: &str| parameters.get(name).map(str::to_owned);
    let secrets = Secrets::from_lookup(value, &settings).map_err(|e| wrong(e.to_string()))?;
    let key = value("DATA_KEY").as_deref().and_then(DataKey::parse);
    let key = key.ok_or_else(|| wrong("DATA_KEY is missing or not 32 bytes in hex or base64".to_owned()))?;
    Ok(Practice { settings, secrets, key })
}

struct Kept<T> {
    built: Arc<T>,
    read_at: Timestamp,
}

struct State<T> {
    kept: Option<Kept<T>>,
    asked_at: Option<Timestamp>,
}

/// See the module. `T` is what this function builds of them.
pub struct Ready<T> {
    ssm: Ssm,
    /// Names of the stack's own things.
    pub environment: Environment,
    state: tokio::sync::Mutex<State<T>>,
    /// What was read is no longer right.
    refused: Arc<AtomicBool>,
}

fn passed(since: Timestamp, seconds: i64) -> bool {
    since.saturating_add(SignedDuration::from_secs(seconds)).is_ok_and(|at| at <= Timestamp::now())
}

impl<T> Ready<T> {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(environment: Environment) -> Ready<T> {
        let state = tokio::sync::Mutex::new(State { kept: None, asked_at: None });
        Ready { ssm: Ssm::new(&environment.aws), environment, state, refused: Arc::default() }
    }

    /// What was read is no longer right (somebody did not accept a secret): the next call of [`Ready::get`] reads again, unless that
    /// was a moment ago.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::SeqCst);
    }

    /// What was built, from what was read when it was time.
    ///
    /// # Errors
    /// When nothing was ever read and SSM does not answer, or what stands there cannot be used.
    pub async fn get<F, O>(&self, build: F) -> Result<Arc<T>, NotReady>
    where
        F: FnOnce(Practice) -> O,
        O: Future<Output = Result<T, NotReady>>,
    {
        let mut state = self.state.lock().await;
        let asked_lately = state.asked_at.is_some_and(|at| !passed(at, AGAIN_S));
        if let Some(kept) = &state.kept {
            let fresh = !passed(kept.read_at, KEPT_S) && !self.refused.load(Ordering::SeqCst);
            if fresh || asked_lately {
                return Ok(Arc::clone(&kept.built));
            }
        }
        state.asked_at = Some(Timestamp::now());
        // Before it is read: who builds may ask for an early look himself.
        let was_refused = self.refused.swap(false, Ordering::SeqCst);
        match self.read(build).await {
            Ok(built) => {
                let built = Arc::new(built);
                state.kept = Some(Kept { built: Arc::clone(&built), read_at: Timestamp::now() });
                Ok(built)
            }
            Err(e) => {
                if was_refused {
                    self.refuse();
                }
                let kept = state.kept.as_ref().map(|k| Arc::clone(&k.built));
                tracing::error!(problem = %e, still_working = kept.is_some(), "settings and secrets could not be read");
                kept.ok_or(e)
            }
        }
    }

    async fn read<F, O>(&self, build: F) -> Result<T, NotReady>
    where
        F: FnOnce(Practice) -> O,
        O: Future<Output = Result<T, NotReady>>,
    {
        let path = &self.environment.parameter_path;
        let parameters = self.ssm.below(path).await?;
        if parameters.is_empty() {
            return Err(NotReady::Settings { path: path.clone(), problem: "nothing stands there".to_owned() });
        }
        build(practice(path, &parameters)?).await
    }

    /// A transport that notes when a vendor does not accept our credentials.
    fn transport(&self, inner: &Arc<ReqwestTransport>) -> SharedTransport {
        Arc::new(Watched { inner: Arc::clone(inner), refused: Arc::clone(&self.refused) })
    }
}

struct Watched {
    inner: Arc<ReqwestTransport>,
    refused: Arc<AtomicBool>,
}

impl Transport for Watched {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            let answer = self.inner.send(request).await;
            if answer.as_ref().is_ok_and(|a| a.status == 401) {
                self.refused.store(true, Ordering::SeqCst);
            }
            answer
        })
    }
}

/// What the functions with a store stand on.
pub struct Apps {
    ready: Ready<App>,
    /// Time, and the end of the invocation.
    pub host: Arc<LambdaHost>,
    /// The bus, which is flushed at the end of each message.
    pub bus: Arc<Collected>,
    table: Table,
    transport: Arc<ReqwestTransport>,
    /// This is the heartbeat, which makes the switch between shadow and live; every other function waits for it.
    makes_switch: bool,
}

impl Apps {
    /// Nothing is called yet.
    ///
    /// # Errors
    /// The name of the variable that is missing.
    pub fn new(environment: Environment) -> Result<Apps, NotReady> {
        Apps::made(environment, false)
    }

    /// The same for the heartbeat.
    ///
    /// # Errors
    /// The name of the variable that is missing.
    pub fn of_heartbeat(environment: Environment) -> Result<Apps, NotReady> {
        Apps::made(environment, true)
    }

    fn made(environment: Environment, makes_switch: bool) -> Result<Apps, NotReady> {
        let table = Table::new(environment.aws.dynamodb(), environment.needed("TABLE_NAME")?.to_owned());
        let bus = Arc::new(Collected::new(&environment)?);
        let (host, transport) = (Arc::new(LambdaHost::new()), Arc::new(ReqwestTransport::new()));
        Ok(Apps { ready: Ready::new(environment), host, bus, table, transport, makes_switch })
    }

    /// Names of the stack's own things.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.ready.environment
    }

    /// The app, of settings and secrets that are at most fifteen minutes old.
    ///
    /// # Errors
    /// When they were never read, or the store does not answer.
    pub async fn get(&self) -> Result<Arc<App>, NotReady> {
        self.ready.get(|practice| self.build(practice)).await
    }

    /// Something could not be worked off. In shadow that may be because the switch to live was made: settings are read again.
    pub fn failed(&self, app: &App) {
        if app.is_shadow() {
            self.ready.refuse();
        }
    }

    /// The store as this function may use it; the mode of the settings becomes that of the table.
    async fn store(&self, settings: &mut Settings, key: &DataKey) -> Result<Store, NotReady> {
        let store = Store::new(self.table.clone(), key.clone());
        if self.makes_switch {
            return Ok(store);
        }
        let standing = switch::standing(&store, settings.practice.mode).await;
        match standing.map_err(|e| NotReady::Store(e.to_string()))? {
            Standing::Live => Ok(store),
            Standing::Wait => Err(NotReady::Store("a switch between shadow and live is being made".to_owned())),
            Standing::Shadow { store, waits } => {
                settings.practice.mode = Mode::Shadow;
                if waits {
                    self.ready.refuse();
                }
                Ok(store)
            }
        }
    }

    async fn build(&self, practice: Practice) -> Result<App, NotReady> {
        let Practice { mut settings, secrets, key } = practice;
        let parts = AppParts {
            store: self.store(&mut settings, &key).await?,
            key,
            settings,
            secrets,
            transport: self.ready.transport(&self.transport),
            queues: Arc::new(SqsQueues::new(&self.ready.environment)),
            bus: Arc::clone(&self.bus) as Arc<dyn crate::bus::Bus>,
            host: Arc::clone(&self.host) as Arc<dyn crate::app::Host>,
            quickbooks_callers: QUICKBOOKS_CALLERS,
        };
        assemble(parts).await.map_err(|e| NotReady::Store(e.to_string()))
    }
}
