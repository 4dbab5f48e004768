//! `vesper setup`: brings a deployment and the outside systems into the state that the settings describe, and changes nothing that
//! is in it already. What is interrupted goes on at the next run.
//!
//! Must not: show a secret, overwrite a data key, or post anything.

pub mod accounts;
mod books;
pub mod consent;
pub mod endpoint;
mod local;
mod place;
mod report;
mod secrets;
mod stack;
#[cfg(test)]
mod tests;
mod webhook;

pub use consent::Owner;
pub use place::Place;
pub use report::{Done, Line, Report};
pub(crate) use stack::has_own_address;

use crate::progress::Steps;
use crate::serve::{log_from, read_config, runtime};
use crate::{Failure, cli};
use jiff::Timestamp;
use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::ehr::BridgeClient;
use vesper_adapters::http::{BoxFuture, SharedTransport};
use vesper_adapters::personal::{DataKey, EmailHasher, Secret};
use vesper_adapters::quickbooks::QuickBooksClient;
use vesper_adapters::quickbooks::pacing::Pacer;
use vesper_adapters::reqwest_transport::ReqwestTransport;
use vesper_adapters::settings::{Books, EhrKind, Mode, Secrets, Settings};
use vesper_adapters::stripe::client::StripeClient;
use vesper_adapters::stripe::wire::Projection;
use vesper_functions::app::{App, Ehr, QuickBooks};
use vesper_functions::bus::LogBus;
use vesper_functions::reconcile::customers;
use vesper_functions::task::{NotQueued, Queues, Task};

/// What setup works with.
pub struct Work<'w> {
    /// The settings.
    pub settings: &'w Settings,
    /// Where secrets are kept.
    pub place: Box<dyn Place + 'w>,
    /// What a person gives in the environment.
    pub given: &'w (dyn Fn(&str) -> Option<String> + Sync),
    /// The table; None in a dry run before there is one.
    pub store: Option<Store>,
    /// The public address.
    pub url: Option<String>,
    /// Ask for the owner's consent in any case.
    pub reconnect: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// The owner of the company.
    pub owner: &'w Owner<'w>,
    /// Carries the calls.
    pub transport: SharedTransport,
    /// Now.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Time, randomness and leases for the use cases.
    pub host: Arc<dyn vesper_functions::app::Host>,
    /// Turns addresses into keyed hashes.
    pub hasher: EmailHasher,
    /// When the practice goes live, where that is known; found by [`bring`].
    pub go_live: Option<Timestamp>,
}

impl Work<'_> {
    /// A secret as it will be used: stored, else given and about to be stored (a dry run).
    fn secret(&self, name: &str) -> Option<Secret> {
        let given = || (self.given)(name).filter(|text| !text.trim().is_empty()).map(Secret::new);
        self.place.get(name).or_else(given)
    }

    fn stored(&self, e: &dyn std::fmt::Display) -> Failure {
        Failure::problem(format!("the table does not answer: {e}: run vesper setup again"))
    }
}

/// What wakes somebody up is lost on purpose: it stands in the table, and the next heartbeat finds it.
struct NoQueues;

impl Queues for NoQueues {
    fn send(&self, _: Task, _: u32) -> BoxFuture<'_, Result<(), NotQueued>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What setup works on: where secrets are kept, the table, its key, and the address that it is known by.
struct Opened {
    place: Box<dyn Place>,
    store: Option<Store>,
    key: DataKey,
    url: Option<String>,
    host: Arc<dyn vesper_functions::app::Host>,
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with status 1 when something has to be mended by a person, 2 for wrong usage or settings.
pub fn run(args: &cli::Setup) -> Result<(), Failure> {
    log_from(LevelFilter::ERROR);
    let (text, settings) = read_config(&args.config)?;
    let url = args.url.as_deref().map(base_url).transpose()?;
    let steps = Steps::on_stderr();
    let tell = |line: &Line| {
        // Nobody reads standard output any more: then nobody waits for the line.
        steps.around(|| {
            let _ = writeln!(std::io::stdout(), "{line}");
        });
    };
    let mut report = Report::new(args.dry_run, &tell);
    let open = |what: &str| steps.around(|| show(what, args.no_browser));
    let owner = Owner { redirect: &args.redirect, open: &open, paste: Arc::new(read_line) };
    let given = |name: &str| std::env::var(name).ok();
    let outcome = runtime()?.block_on(async {
        let key_copy = args.key_copy.as_deref();
        let opened = match (&args.place.data, &args.place.stack) {
            (Some(data), _) => local::open(data, key_copy, args.dry_run, &mut report).await?,
            (None, Some(name)) => stack::open(name, &text, &settings, key_copy, &mut report).await?,
            (None, None) => return Err(Failure::usage("say which deployment: --data DIR or --stack NAME")),
        };
        let work = Work {
            settings: &settings,
            place: opened.place,
            given: &given,
            store: opened.store,
            url: url.or(opened.url),
            reconnect: args.reconnect,
            dry_run: args.dry_run,
            owner: &owner,
            transport: Arc::new(ReqwestTransport::new()),
            clock: Arc::new(Timestamp::now),
            host: opened.host,
            hasher: opened.key.email_hasher(),
            go_live: None,
        };
        bring(work, &mut report).await
    });
    steps.finish();
    outcome?;
    end(&report, args.dry_run)
}

/// Brings everything into the right state, in an order in which each step finds what it needs.
///
/// # Errors
/// When the table or the place of the secrets does not answer, or the owner does not consent.
pub async fn bring(mut w: Work<'_>, report: &mut Report<'_>) -> Result<(), Failure> {
    w.go_live = books::go_live(&w).await;
    let connection = books::connection(&w).await?;
    secrets::bring(&mut w, connection.as_ref(), report).await?;
    webhook::bring(&mut w, report).await?;
    list_customers(&w, report).await;
    books::bring(&mut w, connection.as_ref(), report).await
}

/// Rule 14 links nobody before all of Stripe's customers were listed; `vesper serve` does it at its start, too.
async fn list_customers(w: &Work<'_>, report: &mut Report<'_>) {
    const AREA: &str = "customers";
    let listed = match &w.store {
        Some(store) => customers::all_listed(store).await.unwrap_or(false),
        None => false,
    };
    if listed {
        return report.unchanged(AREA, "all of Stripe's customers are listed");
    }
    if w.secret("STRIPE_API_KEY").is_none()
        || !report.may(AREA, "list all of Stripe's customers, as keyed hashes of their e-mail")
    {
        return;
    }
    let Some(app) = app(w) else { return };
    match customers::list_all(&app).await {
        Ok(()) => report.changed(AREA, "all of Stripe's customers are listed, as keyed hashes of their e-mail"),
        Err(e) => report.problem(AREA, format!("the listing stopped: {e}: run vesper setup again, it goes on from there")),
    }
}

/// The use cases on this deployment, with the secrets of this moment; None in a dry run, which runs none.
fn app(w: &Work<'_>) -> Option<App> {
    let store = w.store.clone().filter(|_| !w.dry_run)?;
    let (settings, transport) = (w.settings.clone(), &w.transport);
    let (secrets, _) = Secrets::found(|name| w.secret(name).map(|s| s.expose().to_owned()), &settings);
    let stripe = &settings.stripe;
    let projection = Projection { keys: stripe.metadata.clone(), hasher: w.hasher.clone() };
    let key = secrets.stripe_api_key.clone();
    let client = StripeClient::new(transport.clone(), &stripe.api_base, &stripe.api_version, key, projection.clone());
    let bridge = match &settings.ehr.kind {
        EhrKind::Bridge { base_url } => {
            Some(BridgeClient::new(transport.clone(), base_url, secrets.ehr_bridge_secrets.clone(), w.hasher.clone()))
        }
        EhrKind::Files => None,
    };
    let quickbooks = match &settings.books {
        Books::QuickBooks(q) => Some(QuickBooks {
            client: QuickBooksClient::new(transport.clone(), &q.api_base, &q.realm_id),
            transport: transport.clone(),
            pacer: std::sync::Mutex::new(Pacer::new(q.max_per_minute)),
            refreshing: tokio::sync::Mutex::new(()),
        }),
        Books::None => None,
    };
    // Not stored here: it is the first start that counts, not the setup before it.
    let go_live = match settings.practice.mode {
        Mode::Shadow => w.go_live.unwrap_or(Timestamp::MIN),
        Mode::Live => w.go_live.unwrap_or_else(|| (w.clock)()),
    };
    Some(App {
        store,
        stripe: client,
        projection,
        ehr: Ehr { bridge, importing: tokio::sync::Mutex::new(()) },
        quickbooks,
        queues: Arc::new(NoQueues),
        bus: Arc::new(LogBus),
        host: Arc::clone(&w.host),
        policy: settings.policy(),
        settings,
        secrets,
        go_live,
    })
}

fn end(report: &Report<'_>, dry_run: bool) -> Result<(), Failure> {
    let (problems, todos) = (report.count(Done::Problem), report.count(Done::Todo));
    let did = match (dry_run, report.count(if dry_run { Done::Would } else { Done::Changed })) {
        (_, 0) => "nothing to change".to_owned(),
        (true, n) => format!("a dry run: {n} things would be changed"),
        (false, n) => format!("{n} things were changed"),
    };
    let todo = if todos > 0 { format!("; {todos} are left for you") } else { String::new() };
    let _ = writeln!(std::io::stdout(), "{did}{todo}");
    if problems > 0 {
        return Err(Failure::problem(format!("{problems} problems are told above: mend them and run vesper setup again")));
    }
    Ok(())
}

/// Tells a person to open an address, and opens it in the browser where there is one.
fn show(what: &str, no_browser: bool) {
    let is_address = what.starts_with("http://");
    let text =
        if is_address { format!("open this address as the owner of the QuickBooks company: {what}") } else { what.to_owned() };
    let _ = writeln!(std::io::stderr(), "vesper setup: {text}");
    if no_browser || !is_address || !std::io::stderr().is_terminal() {
        return;
    }
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = std::process::Stdio::null;
    // Where there is no browser, the person has the address.
    let _ = std::process::Command::new(opener).arg(what).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}

fn read_line() -> Option<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok().filter(|n| *n > 0).map(|_| line)
}

/// Copies the data key to a new file, readable by its owner only.
fn copy_key(text: &str, copy: &Path) -> Result<(), Failure> {
    let cannot = |e: std::io::Error| Failure::usage(format!("copy the data key to {}: {e}", copy.display()));
    let mut out = OpenOptions::new().create_new(true).write(true).mode(0o600).open(copy).map_err(cannot)?;
    writeln!(out, "{}", text.trim()).and_then(|()| out.sync_all()).map_err(cannot)
}

/// A public address as it is used: with its scheme, without a slash at its end.
///
/// # Errors
/// When it is none: https, or http on loopback.
pub(crate) fn base_url(text: &str) -> Result<String, Failure> {
    let url = text.trim().trim_end_matches('/');
    let url = url.strip_suffix(endpoint::PATH).unwrap_or(url);
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|p| url.starts_with(p));
    let plain = url.bytes().all(|b| b.is_ascii_graphic() && !b"@?#".contains(&b));
    if plain && (local || (url.starts_with("https://") && url.len() > 8)) {
        return Ok(url.to_owned());
    }
    Err(Failure::usage(format!("--url {text}: give Vesper's public address, such as https://vesper.example")))
}
