//! `vesper serve`: the bundle as one long-running process on durable local storage.

mod control;
pub mod data_dir;
pub mod http;

use crate::secrets::SecretsFile;
use crate::stack::Stack;
use crate::stack::build::{Parts, build, remembered_clock, store_on};
use crate::stack::host::LocalHost;
use crate::{Failure, cli};
use data_dir::DataDir;
use http::Server;
use jiff::Timestamp;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use vesper_adapters::personal::Secret;
use vesper_adapters::reqwest_transport::ReqwestTransport;
use vesper_adapters::settings::{Need, Secrets, Settings};
use vesper_functions::app::Host as _;
use vesper_functions::chores;
use vesper_functions::review::session::Sessions;
use vesper_functions::task::Task;

/// What is running may take so long to end after SIGTERM, in seconds: more than an outbound call.
const STOP_S: u64 = 25;

/// How often a serve looks whether somebody asks for a backfill.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// Runs the command.
///
/// # Errors
/// A [`Failure`] that says what is wrong and what to do.
pub fn run(args: &cli::Serve) -> Result<(), Failure> {
    log_to_stderr();
    let settings = read_settings(&args.config, Need::Serve)?;
    let file = SecretsFile::of(&args.data)?;
    let secrets = Secrets::from_lookup(|name| file.lookup(name), &settings).map_err(|e| Failure::usage(e.to_string()))?;
    if args.test_clock.is_some() && !args.listen.ip().is_loopback() {
        return Err(Failure::usage("--test-clock works on loopback only: use --listen 127.0.0.1:PORT"));
    }
    runtime()?.block_on(serve(args, settings, secrets))
}

/// The runtime of the long-running commands.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|e| Failure::problem(format!("start the runtime: {e}")))
}

/// Logs as JSON lines on standard error; RUST_LOG sets the level. The outside libraries stay at warnings: at lower levels they
/// would log bodies.
pub fn log_to_stderr() {
    log_from(LevelFilter::INFO);
}

/// The same, from this level on where RUST_LOG says nothing.
pub(crate) fn log_from(usual: LevelFilter) {
    // An empty text would parse as ERROR; what is no level at all means the usual one.
    let wanted = std::env::var("RUST_LOG").ok().filter(|w| !w.trim().is_empty());
    let level = wanted.and_then(|w| w.trim().parse::<LevelFilter>().ok()).unwrap_or(usual);
    let ours = ["vesper_local", "vesper_functions", "vesper_adapters", "vesper_core"];
    let mut filter = EnvFilter::default().add_directive(LevelFilter::WARN.min(level).into());
    for name in ours {
        if let Ok(directive) = format!("{name}={level}").parse() {
            filter = filter.add_directive(directive);
        }
    }
    let json = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = json.try_init();
}

/// Reads practice.toml.
///
/// # Errors
/// Exit status 2, naming file, line and key.
pub fn read_settings(path: &Path, need: Need) -> Result<Settings, Failure> {
    let text = read_text(path)?;
    Settings::parse(&text, &path.display().to_string(), need).map_err(|e| Failure::usage(e.to_string()))
}

/// The same for a deployment, with its text.
///
/// # Errors
/// Exit status 2, naming file, line and key.
pub(crate) fn read_config(path: &Path) -> Result<(String, Settings), Failure> {
    Ok((read_text(path)?, read_settings(path, Need::Serve)?))
}

/// The text of practice.toml.
///
/// # Errors
/// Exit status 2, naming the file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let cannot = |e| Failure::usage(format!("read the settings {}: {e}; --config names the practice.toml", path.display()));
    std::fs::read_to_string(path).map_err(cannot)
}

async fn serve(args: &cli::Serve, settings: Settings, secrets: Secrets) -> Result<(), Failure> {
    let data = DataDir::open(&args.data)?;
    let engine = data.engine()?;
    let key = data.key()?;
    let failed = |what: &str, e: &dyn std::fmt::Display| Failure::problem(format!("{what} in {}: {e}", args.data.display()));
    let host = Arc::new(match args.test_clock {
        None => LocalHost::real(),
        Some(start) => {
            let store = store_on(&engine, key.clone());
            store.table().create_if_absent().await.map_err(|e| failed("open the store", &e))?;
            let stood = remembered_clock(&store).await.map_err(|e| failed("read the store", &e))?;
            LocalHost::standing(stood.or(start).unwrap_or_else(whole_second))
        }
    });
    let transport = Arc::new(ReqwestTransport::new());
    let stack =
        build(Parts { engine, key, settings, secrets, transport, host }).await.map_err(|e| failed("open the store", &e))?;
    if args.test_clock.is_some() {
        // It stands still from its first moment on: a restart goes on from here.
        stack.keep_clock().await.map_err(|e| failed("store the clock", &e))?;
    }
    stack.start().await.map_err(|e| failed("start", &e))?;
    let asked = tokio::spawn(take_what_is_asked(Arc::clone(&stack)));
    let outcome = run_server(args, stack).await;
    asked.abort();
    outcome
}

/// A `vesper backfill` beside this process leaves its wish in the table; whoever waits for it is not kept waiting for a heartbeat,
/// and a clock that stands still has none.
async fn take_what_is_asked(stack: Arc<Stack>) {
    let mut ticks = tokio::time::interval(ASKED_EVERY);
    loop {
        ticks.tick().await;
        let asked = stack.app.store.chore(chores::BACKFILL).await.ok().flatten();
        let is_due = asked.and_then(|c| c.item.next_at).is_some_and(|at| at <= stack.host.now());
        if is_due {
            // What is lost here is found by the next tick.
            let _ = stack.app.queues.send(Task::ChoreV1 { chore: chores::BACKFILL.to_owned() }, 0).await;
        }
    }
}

fn whole_second() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn run_server(args: &cli::Serve, stack: Arc<Stack>) -> Result<(), Failure> {
    let door = Door::open(args.listen).await?;
    let ready = serde_json::json!({ "listening": format!("http://{}", door.address), "review_url": door.review_url() });
    // Nobody reads standard output any more: then nobody waits for the line either.
    let _ = writeln!(std::io::stdout(), "{ready}").and_then(|()| std::io::stdout().flush());
    door.serve(stack, args.test_clock.is_some()).await?;
    tracing::info!("stopped; what is left goes on at the next start");
    Ok(())
}

/// The open port with its access token, before anything is served.
pub(crate) struct Door {
    listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
    token: String,
    terminate: Signal,
}

impl Door {
    /// Opens the port.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn open(listen: SocketAddr) -> Result<Door, Failure> {
        let cannot = |e: std::io::Error| Failure::usage(format!("listen on {listen}: {e}; --listen takes another address"));
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        Ok(Door { listener, address, token: random_hex(), terminate })
    }

    /// Where a person opens the review page.
    #[must_use]
    pub fn review_url(&self) -> String {
        format!("http://{}/review?token={}", self.address, self.token)
    }

    /// Serves until SIGTERM or Ctrl-C, then finishes what is being worked on. `control`: with /_local/...
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, stack: Arc<Stack>, control: bool) -> Result<(), Failure> {
        let Door { listener, token, mut terminate, .. } = self;
        let sessions = Arc::new(Sessions::new(Secret::new(token), random_32()));
        let server = Server { stack: Arc::clone(&stack), sessions, control };
        let until = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
        };
        http::serve(listener, server, until).await.map_err(|e| Failure::problem(format!("serve: {e}")))?;
        stack.stop(STOP_S).await;
        Ok(())
    }
}

/// 32 random hex digits, as the operating system gives them.
#[must_use]
pub fn random_hex() -> String {
    hex::encode(&random_32()[..16])
}

/// 32 random bytes.
#[must_use]
pub(crate) fn random_32() -> [u8; 32] {
    let mut bytes = [0; 32];
    if getrandom::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
}
