//! `vesper backfill`: finds what the webhooks missed, on demand. Beside a running serve, and on a table of AWS, it only asks: the
//! serve or the stack does the work. Alone it holds DIR/lock like a serve, decides and stores, and leaves all writing to the next
//! serve.
//!
//! Must not: write to an outside system, or run beside a serve on the same rows.

use crate::secrets::SecretsFile;
use crate::serve::data_dir::DataDir;
use crate::serve::{read_settings, runtime};
use crate::stack::build::{Parts, build, go_live_moves, remembered_clock, store_on};
use crate::stack::host::LocalHost;
use crate::{Failure, cli, cloud};
use jiff::{SignedDuration, Timestamp};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vesper_adapters::dynamo::model::StoredChore;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::reqwest_transport::ReqwestTransport;
use vesper_adapters::settings::{Need, Secrets};
use vesper_functions::{chores, due, heal, switch};

/// How often the row of a serve's backfill is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often that of a stack is.
const LOOK_AT_TABLE_EVERY: Duration = Duration::from_secs(5);
/// A stack whose heartbeat came through last longer ago than this does not work, in minutes. It tells so every five.
const BEAT_LOST_MIN: i64 = 15;
/// So long after the beginning of the books was moved no function holds the old one any more, in minutes: settings are kept for
/// fifteen.
const ALL_KNOW_MIN: i64 = 17;

/// Runs the command.
///
/// # Errors
/// A [`Failure`] that says what is wrong and what to do.
pub fn run(args: &cli::Backfill) -> Result<(), Failure> {
    let path = match (&args.store.data, &args.store.table) {
        (Some(path), _) => path.as_path(),
        (None, Some(table)) => return runtime()?.block_on(by_a_stack(args, table)),
        (None, None) => return Err(Failure::usage("say which store: --data DIR or --table NAME")),
    };
    let beside = DataDir::beside(path)?;
    match (DataDir::open_if_free(path)?, &args.config) {
        (Some(data), Some(config)) => runtime()?.block_on(alone(args, data, config)),
        (Some(_), None) => Err(Failure::usage(format!(
            "no vesper serve runs on {}: start one, or give --config practice.toml (and the secrets in the environment), \
             and the backfill runs by itself",
            path.display()
        ))),
        (None, _) if args.decide_old => Err(Failure::usage(format!(
            "--decide-old moves the beginning of the books: stop the vesper serve on {} first",
            path.display()
        ))),
        (None, _) => {
            let store = store_on(&beside.engine()?, beside.key()?);
            runtime()?.block_on(beside_a_serve(args, path, &store))
        }
    }
}

fn failed(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> Failure + '_ {
    move |e| Failure::problem(format!("backfill {}: {e}", path.display()))
}

async fn alone(args: &cli::Backfill, data: DataDir, config: &Path) -> Result<(), Failure> {
    let path = data.path().to_owned();
    let failed = failed(&path);
    let settings = read_settings(config, Need::Serve)?;
    let file = SecretsFile::of(&path)?;
    let secrets = Secrets::from_lookup(|name| file.lookup(name), &settings).map_err(|e| Failure::usage(e.to_string()))?;
    let (engine, key) = (data.engine()?, data.key()?);
    let store = store_on(&engine, key.clone());
    let stood = remembered_clock(&store).await.map_err(|e| failed(&e))?;
    let host = Arc::new(stood.map_or_else(LocalHost::real, LocalHost::standing));
    if args.decide_old {
        go_live_moves(&store, args.since, Timestamp::now(), crate::serve::random_hex()).await.map_err(|e| failed(&e))?;
    }
    let transport = Arc::new(ReqwestTransport::new());
    let stack = build(Parts { engine, key, settings, secrets, transport, host }).await.map_err(|e| failed(&e))?;
    switch::at_start(&stack.app).await.map_err(|e| failed(&e))?;
    heal::ask(&store, args.since, args.decide_old).await.map_err(|e| failed(&e))?;
    loop {
        chores::work(&stack.app, chores::BACKFILL).await.map_err(|e| failed(&e))?;
        let Some(chore) = row(&store).await.map_err(|e| failed(&e))? else { return Ok(()) };
        show(&chore);
        if chore.next_at.is_none() {
            return done(&chore);
        }
        if chore.tries > 0 {
            let note = chore.note.unwrap_or_default();
            return Err(failed(&format!("{note}; the same command goes on from where it is")));
        }
    }
}

async fn beside_a_serve(args: &cli::Backfill, path: &Path, store: &Store) -> Result<(), Failure> {
    let failed = failed(path);
    heal::ask(store, args.since, false).await.map_err(|e| failed(&e))?;
    loop {
        let Some(chore) = row(store).await.map_err(|e| failed(&e))? else { return Ok(()) };
        show(&chore);
        if chore.next_at.is_none() {
            return done(&chore);
        }
        if DataDir::open_if_free(path)?.is_some() {
            return Err(failed(&"the vesper serve ended; it goes on with the backfill when it is started again"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The heartbeat of the stack takes it within a minute, and its functions do the work.
async fn by_a_stack(args: &cli::Backfill, table: &str) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::problem(format!("backfill {table}: {e}"));
    let store = cloud::Named::of(cloud::account()?, table).await?.store();
    let now = Timestamp::now();
    let later = |minutes: i64| now.saturating_add(SignedDuration::from_mins(minutes)).unwrap_or(Timestamp::MAX);
    let beat = due::last_beat(&store).await.map_err(|e| failed(&e))?;
    if beat.is_none_or(|at| now.duration_since(at).as_mins() > BEAT_LOST_MIN) {
        return Err(failed(&"the heartbeat of its stack does not beat: vesper doctor --stack NAME says why"));
    }
    let mut begins = Timestamp::UNIX_EPOCH;
    if args.decide_old {
        go_live_moves(&store, args.since, now, crate::serve::random_hex()).await.map_err(|e| failed(&e))?;
        begins = later(ALL_KNOW_MIN);
        let text = format!(
            "vesper backfill: the books begin at {}; the backfill begins at {begins}, when every function knows",
            args.since
        );
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    heal::ask_from(&store, args.since, args.decide_old, begins).await.map_err(|e| failed(&e))?;
    loop {
        let Some(chore) = row(&store).await.map_err(|e| failed(&e))? else { return Ok(()) };
        show(&chore);
        if chore.next_at.is_none() {
            return done(&chore);
        }
        tokio::time::sleep(LOOK_AT_TABLE_EVERY).await;
    }
}

async fn row(store: &Store) -> Result<Option<StoredChore>, vesper_adapters::dynamo::store::Failed> {
    Ok(store.chore(chores::BACKFILL).await?.map(|r| r.item))
}

/// Progress, for whoever looks at it.
fn show(chore: &StoredChore) {
    let mut err = std::io::stderr();
    if let (true, Some((stage, looked, missed))) = (err.is_terminal(), heal::progress(chore)) {
        let waits = if chore.tries > 0 { ", waiting for Stripe" } else { "" };
        let _ = write!(err, "\r{stage}: {looked} looked at, {missed} missed{waits}    ");
    }
}

fn done(chore: &StoredChore) -> Result<(), Failure> {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = writeln!(err);
    }
    let note = chore.note.clone().unwrap_or_default();
    writeln!(std::io::stdout(), "{note}").map_err(|e| Failure::problem(format!("write the result: {e}")))
}
