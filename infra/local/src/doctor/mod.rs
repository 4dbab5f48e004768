//! `vesper doctor`: looks at a deployment from all sides, and says in plain words what is wrong and how to mend it.
//!
//! Must not: write anywhere, or show a secret.

mod books;
mod door;
mod ehr;
mod finding;
mod stack;
mod stripe;
#[cfg(test)]
mod tests;
mod work;

pub use finding::{Finding, Level};

use crate::progress::Steps;
use crate::secrets::SecretsFile;
use crate::serve::data_dir::DataDir;
use crate::serve::{log_from, read_text, runtime};
use crate::setup::endpoint::{self, Remembered};
use crate::stack::build::{queue_table_on, store_on, stored_go_live};
use crate::stack::queues;
use crate::{Failure, cli};
use finding::Area;
use jiff::{SignedDuration, Timestamp};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::http::SharedTransport;
use vesper_adapters::personal::{DataKey, EmailHasher};
use vesper_adapters::reqwest_transport::ReqwestTransport;
use vesper_adapters::settings::{Need, Secrets, Settings};
use vesper_functions::health;

/// A clock that differs by more than this is told, in seconds.
const SKEW_TOLD_S: i64 = 30;
/// Signatures are accepted for so long, in seconds (facts/stripe.md section 1, contracts/ehr-bridge.openapi.yaml).
const SKEW_MAX_S: i64 = 300;

/// What is looked at, in this order: area, and what.
const LOOKS: [(&str, &str); 17] = [
    ("config", "practice.toml: readable, complete, no unknown key"),
    ("secrets", "each secret that the settings ask for: there, not blank, of the right mode"),
    ("data", "the data directory or the stack's parameters, and the data key"),
    ("stack", "its state, its table and backups, and whether its settings are those of practice.toml"),
    ("heartbeat", "that the stack's heartbeat beats"),
    ("clock", "this machine's clock against Stripe's"),
    ("stripe key", "its mode, the rights that Vesper needs, and that it may not refund"),
    ("stripe webhook", "the endpoint: address, event types, api_version, enabled, signing secret, doubles"),
    ("stripe events", "events that were not delivered, payments that never arrived"),
    ("double charging", "Stripe's own retries, and the EHR's AutoPay"),
    ("address", "the public address: health, and that both doors refuse what nobody signed"),
    ("ehr bridge", "capabilities, signatures of both sides, how far its feed is read"),
    ("books", "Intuit app, connection, company, currency, closed period, every account of the settings"),
    ("mode", "live or shadow, go_live, pause, opening entry, the listing of customers"),
    ("write-backs", "what waits for the EHR, and what was given up"),
    ("postings", "what waits for the books, and what was given up"),
    ("queues", "dead letters, waiting events, open reviews"),
];

/// What doctor looks at.
pub struct Subject {
    /// The settings.
    pub settings: Settings,
    /// The secrets; what is missing is blank.
    pub secrets: Secrets,
    /// The table, where a deployment was named.
    pub store: Option<Store>,
    /// Who does the work.
    pub runner: Runner,
    /// When the practice went or goes live.
    pub go_live: Option<Timestamp>,
    /// The public address without a slash at its end, where it was given.
    pub url: Option<String>,
    /// Carries the calls.
    pub transport: SharedTransport,
    /// Now, by this machine's clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Turns addresses into keyed hashes.
    pub hasher: EmailHasher,
}

/// Who does the work of a deployment: a remedy names him.
pub enum Runner {
    /// `vesper serve`, with so many events in its queue, where that is known.
    Serve(Option<usize>),
    /// The functions of the stack of this name.
    Stack(String),
}

impl Runner {
    /// This where `vesper serve` works, else that.
    const fn or<'t>(&self, serve: &'t str, stack: &'t str) -> &'t str {
        match self {
            Runner::Serve(_) => serve,
            Runner::Stack(_) => stack,
        }
    }
}

impl Subject {
    /// Of a deployment, with the clock and the outside systems of this machine.
    async fn new(
        settings: Settings,
        secrets: Secrets,
        store: Option<Store>,
        key: &DataKey,
        url: Option<String>,
        runner: Runner,
    ) -> Subject {
        let go_live = match (&store, settings.practice.go_live) {
            (_, Some(at)) => Some(at),
            (Some(store), None) => stored_go_live(store).await.ok().flatten(),
            (None, None) => None,
        };
        let (transport, clock) = (Arc::new(ReqwestTransport::new()), Arc::new(Timestamp::now));
        Subject { settings, secrets, store, runner, go_live, url, transport, clock, hasher: key.email_hasher() }
    }

    /// The public address: given, else the one that setup remembered.
    fn address(&self, remembered: Option<&Remembered>) -> Option<String> {
        let known = || remembered.and_then(|r| r.url.strip_suffix(endpoint::PATH)).map(str::to_owned);
        self.url.clone().or_else(known)
    }

    /// Where Stripe should deliver.
    fn stripe_url(&self, remembered: Option<&Remembered>) -> Option<String> {
        self.address(remembered).map(|url| format!("{url}{}", endpoint::PATH))
    }
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with status 1 when a problem was found, 2 for wrong usage.
pub fn run(args: &cli::Doctor) -> Result<(), Failure> {
    log_from(LevelFilter::ERROR);
    if args.dry_run {
        return tell(LOOKS.iter().map(|(area, what)| format!("would look at   {area:<17} {what}")));
    }
    let read = |path: &Path| read_text(path).map(|text| (text, path.display().to_string()));
    let file = args.config.as_deref().map(read).transpose()?;
    let url = args.url.as_deref().map(crate::setup::base_url).transpose()?;
    let mut findings = Vec::new();
    runtime()?.block_on(async {
        let subject = match (&args.place.stack, &file) {
            (Some(name), _) => stack::subject(name, file.as_ref(), url, &mut findings).await?,
            (None, Some((text, name))) => here(text, name, args.place.data.as_deref(), url, &mut findings).await,
            (None, None) => return Err(Failure::usage("say what to look at: --config practice.toml or --stack NAME")),
        };
        if let Some(subject) = subject {
            let steps = Steps::on_stderr();
            examine(&subject, &mut findings, &|what| steps.tell(what)).await;
            steps.finish();
        }
        Ok(())
    })?;
    report(&findings, args.json)
}

/// What can be reached from a config and a directory; None when the config cannot be used.
async fn here(text: &str, name: &str, data: Option<&Path>, url: Option<String>, out: &mut Vec<Finding>) -> Option<Subject> {
    let settings = settings(text, name, out)?;
    let file = data.map(SecretsFile::of).transpose();
    let file = file.unwrap_or_else(|e| {
        Area::new("secrets", out).problem(e.message, "correct the file");
        None
    });
    let lookup = |name: &str| match &file {
        Some(file) => file.lookup(name),
        None => std::env::var(name).ok(),
    };
    let secrets = secrets(lookup, &settings, out);
    let opened = match data {
        Some(path) => open(path, out).await,
        None => None,
    };
    let (store, queued, key) = match opened {
        Some((store, queued, key)) => (Some(store), queued, key),
        // Nothing is hashed that anybody keeps.
        None => (None, None, DataKey::new([0; 32])),
    };
    Some(Subject::new(settings, secrets, store, &key, url, Runner::Serve(queued)).await)
}

/// The settings; None when they cannot be used: then nothing else can be looked at.
fn settings(text: &str, name: &str, out: &mut Vec<Finding>) -> Option<Settings> {
    let mut area = Area::new("config", out);
    match Settings::parse(text, name, Need::Serve) {
        Ok(settings) => {
            let practice = &settings.practice;
            area.ok(format!("practice {}, {}, {}", practice.id, practice.time_zone_name, practice.currency));
            Some(settings)
        }
        Err(errors) => {
            for error in errors.0 {
                area.problem(error.to_string(), "correct this line");
            }
            None
        }
    }
}

/// The secrets as far as they are there.
fn secrets(lookup: impl Fn(&str) -> Option<String>, settings: &Settings, out: &mut Vec<Finding>) -> Secrets {
    let (found, errors) = Secrets::found(lookup, settings);
    let mut area = Area::new("secrets", out);
    if errors.0.is_empty() {
        area.ok("all that the settings ask for are there");
    }
    for error in errors.0 {
        area.problem(error.to_string(), "set it, or run vesper setup");
    }
    found
}

/// The table of a local directory, refusing every write.
async fn open(path: &Path, out: &mut Vec<Finding>) -> Option<(Store, Option<usize>, DataKey)> {
    let mut area = Area::new("data", out);
    let opened = DataDir::beside(path).and_then(|dir| {
        let key = dir.existing_key()?;
        Ok((dir.engine_read_only()?, key))
    });
    let (engine, key) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            area.problem(e.message, "run vesper setup, or name the directory of vesper serve with --data");
            return None;
        }
    };
    area.ok(format!("{} opens, and its data key is readable by its owner only", path.display()));
    let queued = queues::left(&queue_table_on(&engine)).await.ok();
    Some((store_on(&engine, key.clone()), queued, key))
}

/// Looks at everything behind the settings. `step` is told what comes next.
pub async fn examine(s: &Subject, out: &mut Vec<Finding>, step: &(dyn Fn(&'static str) + Sync)) {
    step("the table");
    let (remembered, health) = match &s.store {
        None => (None, None),
        Some(store) => (endpoint::remembered(store).await.ok().flatten(), read_health(store, out).await),
    };
    step("Stripe");
    stripe::check(s, remembered.as_ref(), health.as_ref(), out).await;
    step("the public address");
    door::check(s, s.address(remembered.as_ref()).as_deref(), out).await;
    step("the EHR bridge");
    ehr::check(s, out).await;
    step("QuickBooks");
    books::check(s, out).await;
    step("the work");
    work::check(s, health.as_ref(), out).await;
}

async fn read_health(store: &Store, out: &mut Vec<Finding>) -> Option<health::Health> {
    match health::read(store).await {
        Ok(health) => Some(health),
        Err(e) => {
            let remedy = "is another release at work on it, or is the file damaged?";
            Area::new("table", out).problem(format!("it cannot be read: {e}"), remedy);
            None
        }
    }
}

/// What a clock elsewhere says about ours.
fn clock_finding(area: &mut Area<'_>, whose: &str, now: Timestamp, theirs: Option<Timestamp>) {
    let Some(theirs) = theirs else { return area.skipped(format!("{whose} did not tell its time")) };
    let skew = now.duration_since(theirs);
    let text = format!(
        "this machine's clock is {} {} {whose}'s",
        span(skew.abs()),
        if skew.is_negative() { "behind" } else { "ahead of" }
    );
    match skew.abs().as_secs() {
        s if s >= SKEW_MAX_S => area.problem(format!("{text}: signatures are refused"), "let the system set its clock (NTP)"),
        s if s > SKEW_TOLD_S => {
            area.warning(text, "let the system set its clock (NTP); from five minutes on signatures are refused")
        }
        _ => area.ok(format!("right, by {whose}'s clock")),
    }
}

/// A span in one unit, rounded down.
fn span(span: SignedDuration) -> String {
    let s = span.as_secs().max(0);
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} days", s / 86_400),
    }
}

fn tell(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}").map_err(|e| Failure::problem(format!("write to standard output: {e}")))?;
    }
    Ok(())
}

fn report(findings: &[Finding], as_json: bool) -> Result<(), Failure> {
    let count = |level: Level| findings.iter().filter(|f| f.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    if as_json {
        let all = serde_json::json!({ "problems": problems, "warnings": warnings, "findings": findings });
        tell([format!("{all:#}")])?;
    } else {
        tell(findings.iter().map(ToString::to_string))?;
    }
    if problems > 0 {
        return Err(Failure::problem(format!("{problems} problems and {warnings} warnings were found")));
    }
    Ok(())
}
