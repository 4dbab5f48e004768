//! The command line (design.md section 9): a public interface, so names and meanings stay.
//!
//! Must not: do anything. clap answers wrong usage with exit status 2.

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Reconciles a therapy practice's card payments: Stripe, the EHR and QuickBooks.
#[derive(Debug, Parser)]
#[command(name = "vesper", version, about, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "EXAMPLE\n  vesper demo\n\nExit status: 0 ok, 1 found a problem, 2 wrong usage or configuration.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole bundle as one long-running process on local storage
    Serve(Serve),
    /// Show everything on a made-up practice, without any account
    Demo(Demo),
    /// Tell what Vesper would have decided, writing to no outside system
    Backtest(Backtest),
    /// Print everything that is stored as JSON
    Export(Export),
    /// Hold card retries, postings, or all writing; `none` goes on
    Pause(Pause),
    /// Bring a deployment, Stripe's webhook endpoint and QuickBooks into the state that the settings describe
    Setup(Setup),
    /// Look at a deployment and say what is wrong and how to mend it
    Doctor(Doctor),
    /// Find in Stripe what the webhooks missed, and decide it as if it had come
    Backfill(Backfill),
}

/// `vesper serve`.
#[derive(Debug, Args)]
#[command(
    long_about = "Run the whole bundle as one long-running process on local storage.\n\nPrints one JSON line when it is ready, \
    {\"listening\":...,\"review_url\":...}; logs go to standard error (RUST_LOG sets the level). Secrets come from the environment. \
    SIGTERM finishes what is being worked on and exits 0; a crash loses nothing.",
    after_help = "EXAMPLE\n  vesper serve --config practice.toml --data ./vesper-data"
)]
pub struct Serve {
    /// The practice's settings
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where everything is kept; made at the first start, one process at a time
    #[arg(long, value_name = "DIR", default_value = "vesper-data")]
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8088")]
    pub listen: SocketAddr,
    /// For tests, on loopback only: a clock that stands still until POST /_local/clock moves it.
    /// It starts at TIME (RFC 3339), without it at the real time
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    pub test_clock: Option<Option<Timestamp>>,
}

/// `vesper demo`.
#[derive(Debug, Args)]
#[command(
    long_about = "Show everything on a made-up practice, without any account.\n\nBuilds a synthetic month, runs the bundle on it with \
    stand-ins for Stripe, the EHR and QuickBooks and a fast clock, prints what was received, matched, asked, recovered, posted and \
    tied out, checks that nothing went wrong (exit status 1 if it did), and then serves the review page.",
    after_help = "EXAMPLE\n  vesper demo --seed 7 --sessions 300 --no-serve"
)]
pub struct Demo {
    /// Makes the same month again
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many therapy sessions the month has
    #[arg(long, value_name = "N", default_value_t = 1150, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sessions: u32,
    /// Print and exit, without the review page
    #[arg(long)]
    pub no_serve: bool,
    /// Where the review page is served; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8088")]
    pub listen: SocketAddr,
}

/// `vesper backtest`.
#[derive(Debug, Args)]
#[command(
    long_about = "Tell what Vesper would have decided, writing to no outside system.\n\nReads the EHR's records and Stripe's events as \
    JSON Lines, merges them by time, and writes one line per payment in order of first delivery. A summary goes to standard output. \
    Exit status 1 when an invariant broke, 2 on input that cannot be read: then nothing is written.",
    after_help = "EXAMPLE\n  vesper backtest --config practice.toml --ehr ehr.jsonl --events events.jsonl --out decisions.jsonl"
)]
pub struct Backtest {
    /// The practice's settings; the section `[practice]` is enough
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The EHR's records (client, invoice, payment), sorted by observed_at
    #[arg(long, value_name = "FILE")]
    pub ehr: PathBuf,
    /// Stripe's events in order of delivery
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// Where the decisions are written; an older file is replaced at the end, when all went well
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Leave out lines that cannot be read, instead of writing nothing
    #[arg(long)]
    pub skip_bad: bool,
}

/// Which store: a local directory or a table on AWS.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Store {
    /// The directory of a `vesper serve`
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The DynamoDB table on AWS
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
}

/// `vesper export`.
#[derive(Debug, Args)]
#[command(
    long_about = "Print everything that is stored as JSON on standard output. Reads only, also beside a running serve or stack.",
    after_help = "EXAMPLE\n  vesper export --data ./vesper-data > vesper.json\n  vesper export --table vesper-northbridge-Table-1ABC > \
    vesper.json"
)]
pub struct Export {
    /// Which store.
    #[command(flatten)]
    pub store: Store,
    /// With names and e-mail addresses; the look is recorded in the audit trail
    #[arg(long)]
    pub with_personal_data: bool,
}

/// `vesper pause`.
#[derive(Debug, Args)]
#[command(
    long_about = "Hold card retries, postings to the books, or both and the write-backs; `none` goes on. Deciding never stops. \
    Works beside a running serve or stack.",
    after_help = "EXAMPLE\n  vesper pause retries --data ./vesper-data\n  vesper pause all --table vesper-northbridge-Table-1ABC"
)]
pub struct Pause {
    /// What is held
    #[arg(value_name = "WHAT")]
    pub what: Held,
    /// Which store.
    #[command(flatten)]
    pub store: Store,
}

/// Which deployment, if one is named: a local directory or a stack on AWS.
#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
pub struct Place {
    /// The directory of a `vesper serve`
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The stack on AWS
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
}

/// The same, and one has to be named.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PlaceNeeded {
    /// The directory of a `vesper serve`; made where it is missing
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The stack on AWS
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
}

/// `vesper setup`.
#[derive(Debug, Args)]
#[command(
    long_about = "Bring a deployment, Stripe's webhook endpoint and QuickBooks into the state that the settings describe.\n\n\
    Makes the data key where there is none, stores the secrets that the environment gives, makes or mends Stripe's webhook endpoint, \
    lists Stripe's customers, asks the owner of the QuickBooks company for his consent, and checks every account of the settings. \
    What is right already stays as it is; a second run changes nothing. Secrets are given in the environment and never printed: \
    STRIPE_API_KEY, EHR_BRIDGE_SECRETS, QUICKBOOKS_CLIENT_ID, QUICKBOOKS_CLIENT_SECRET; STRIPE_SETUP_KEY is a key that may change \
    webhook endpoints, used now and not stored. With --stack settings and secrets go into SSM, where the functions of the stack read \
    them; AWS credentials come from the environment or from a profile with keys of its own (AWS_PROFILE). Exit status: 0 done, 1 a person has to mend something, 2 wrong usage.",
    after_help = "EXAMPLE\n  vesper setup --config practice.toml --data ./vesper-data --url https://vesper.example --dry-run\n  \
    vesper setup --config practice.toml --data ./vesper-data --url https://vesper.example --key-copy /media/safe/vesper.key\n  \
    vesper setup --config practice.toml --stack vesper-northbridge --key-copy /media/safe/vesper.key"
)]
pub struct Setup {
    /// The practice's settings
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Which deployment.
    #[command(flatten)]
    pub place: PlaceNeeded,
    /// Vesper's public address, where Stripe delivers; needed once. That of a stack is known, unless it has a domain of yours
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Copy the data key to this new file, for safe keeping
    #[arg(long, value_name = "FILE")]
    pub key_copy: Option<PathBuf>,
    /// Ask the owner of the QuickBooks company for a new consent
    #[arg(long)]
    pub reconnect: bool,
    /// The redirect URI that is registered with the Intuit app. With another one than localhost (production keys), paste the
    /// address on which the browser ends
    #[arg(long, value_name = "URL", default_value = "http://localhost:8765/callback")]
    pub redirect: String,
    /// Print the address of the consent, and open no browser
    #[arg(long)]
    pub no_browser: bool,
    /// Only tell what would be changed
    #[arg(long)]
    pub dry_run: bool,
}

/// `vesper doctor`.
#[derive(Debug, Args)]
#[command(
    long_about = "Look at a deployment and say what is wrong and how to mend it.\n\nLooks at the settings, the secrets, Stripe's key \
    and webhook endpoint, the EHR bridge, QuickBooks, and, with --data or --stack, at the work itself. It never writes. Without \
    --data and --stack, secrets come from the environment; those of a stack are its parameters in SSM. Exit status: 0 nothing is \
    wrong, 1 a problem was found.",
    after_help = "EXAMPLE\n  vesper doctor --config practice.toml --data ./vesper-data\n  vesper doctor --config practice.toml --json\n  \
    vesper doctor --stack vesper-northbridge"
)]
pub struct Doctor {
    /// The practice's settings; a stack has its own, which are compared with these
    #[arg(long, value_name = "FILE", required_unless_present = "stack")]
    pub config: Option<PathBuf>,
    /// Which deployment.
    #[command(flatten)]
    pub place: Place,
    /// Vesper's public address; without it the one that `vesper setup` was given
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Only tell what would be looked at
    #[arg(long)]
    pub dry_run: bool,
}

/// `vesper backfill`.
#[derive(Debug, Args)]
#[command(
    long_about = "Find in Stripe what the webhooks missed since DATE, and decide it as if it had come, once. Safe to repeat: what is \
    known is left alone, and a run that was cut short goes on from where it was. Up to 30 days back Stripe's events are read, further \
    back its charges, refunds, disputes and payouts. (A vesper serve does the same each night by itself.)\n\nBeside a running serve \
    the serve does the work, beginning within seconds, and this command shows how far it is. Where no serve runs, give --config and \
    the secrets: then it works by itself, and what is to be written to the EHR and the books waits for the next serve. With --table \
    the stack does the work.\n\nMoney \
    taken before go_live is recorded as before_go_live and otherwise left alone. With --decide-old the beginning of the books moves \
    back to DATE: money since then is matched, written and posted like any other, payouts since then are tied out, and the opening \
    entry (Stripe's balance at DATE) is asked for anew. Only where no serve runs; a stack begins after a quarter of an hour, when all \
    its functions know.",
    after_help = "EXAMPLE\n  vesper backfill --since 2026-11-01 --data ./vesper-data"
)]
pub struct Backfill {
    /// From which day on (UTC), or from which moment (RFC 3339)
    #[arg(long, value_name = "DATE", value_parser = moment)]
    pub since: Timestamp,
    /// Move the beginning of the books back to DATE, so that money from before go_live is decided, too
    #[arg(long)]
    pub decide_old: bool,
    /// The practice's settings; needed where no serve runs
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which store.
    #[command(flatten)]
    pub store: Store,
}

/// A day, as its first moment in UTC, or a moment.
fn moment(text: &str) -> Result<Timestamp, String> {
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let at = text.parse::<Timestamp>().ok().or_else(|| day().map(|z| z.timestamp()));
    at.filter(|at| at.as_second() >= 0)
        .ok_or_else(|| "say a day like 2026-11-01, or a moment like 2026-11-01T09:00:00Z".to_owned())
}

/// What a pause holds (design.md section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Held {
    /// No card is charged
    Retries,
    /// Nothing is posted to the books
    Postings,
    /// Both, and nothing is written to the EHR
    All,
    /// Everything goes on
    None,
}

impl Held {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Held::Retries => "retries",
            Held::Postings => "postings",
            Held::All => "all",
            Held::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|c| c.command)
    }

    #[test]
    fn the_command_line_is_sound_and_every_command_shows_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains(&format!("EXAMPLE\n  vesper {}", command.get_name())), "{help}");
        }
    }

    #[test]
    fn the_test_clock_has_an_optional_time() {
        let clock = |line: &str| match parse(line).unwrap() {
            Command::Serve(serve) => serve.test_clock,
            _ => panic!("not serve"),
        };
        assert_eq!(clock("vesper serve --config p.toml"), None);
        assert_eq!(clock("vesper serve --config p.toml --test-clock --data d"), Some(None));
        let at = clock("vesper serve --config p.toml --test-clock=2026-11-29T09:00:00Z");
        assert_eq!(at, Some(Some("2026-11-29T09:00:00Z".parse().unwrap())));
        assert!(parse("vesper serve --config p.toml --test-clock=noon").is_err());
    }

    #[test]
    fn wrong_usage_is_refused_with_status_2() {
        for line in [
            "vesper serve",
            "vesper export",
            "vesper export --data d --table t",
            "vesper pause --data d",
            "vesper pause everything --data d",
            "vesper backtest --config p.toml",
            "vesper demo --sessions 0",
            "vesper backfill --data d",
            "vesper backfill --since yesterday --data d",
            "vesper backfill --since 2026-11-01",
            "vesper doctor",
            "vesper doctor --stack s --data d --config p.toml",
            "vesper setup --config p.toml",
            "vesper dance",
        ] {
            assert_eq!(parse(line).err().map(|e| e.exit_code()), Some(2), "{line}");
        }
        let Command::Backfill(backfill) = parse("vesper backfill --since 2026-11-01 --data d").unwrap() else {
            panic!("not backfill")
        };
        assert_eq!((backfill.since.to_string().as_str(), backfill.decide_old), ("2026-11-01T00:00:00Z", false));
        let Command::Pause(pause) = parse("vesper pause retries --table t").unwrap() else { panic!("not pause") };
        assert_eq!((pause.what.as_str(), pause.store.table.as_deref()), ("retries", Some("t")));
    }
}
