//! `vesper backtest`: what Vesper would have decided, writing to no outside system (contracts/backtest.md).
//!
//! Reads both files once, as streams. Must not: touch the network, the store or a real clock.

mod engine;
mod input;
mod kept;
mod moves;
mod output;
mod records;
mod summary;

pub use engine::Engine;
pub use output::{Line, LineShare, Outcome};
pub use summary::{Followed, Summary, Tally};

use crate::{Failure, cli};
use indicatif::{ProgressBar, ProgressStyle};
use input::{Events, Feed, ReadLine, Records, readers};
use output::OutFile;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use vesper_adapters::ehr::Change;
use vesper_adapters::settings::{Need, Settings};
use vesper_adapters::stripe::wire::Incoming;

/// How many lines that are older than the clock are told one by one.
const LATE_LINES_TOLD: u64 = 20;

/// What a run tells besides its summary, for standard error.
type Notes = Vec<String>;

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with status 2 for settings or input that cannot be read, 1 when an invariant broke.
pub fn run(args: &cli::Backtest) -> Result<(), Failure> {
    let name = args.config.display().to_string();
    let text = std::fs::read_to_string(&args.config)
        .map_err(|e| Failure::usage(format!("{name}: cannot be read: {e}: name the settings with --config")))?;
    let settings = settings(&text, &name)?;
    let (records, events) = readers(settings.stripe.metadata.clone());
    let (ehr_file, ehr_bytes) = open(&args.ehr, "--ehr")?;
    let (events_file, events_bytes) = open(&args.events, "--events")?;
    let mut out = OutFile::create(&args.out)?;
    let progress = progress(ehr_bytes.saturating_add(events_bytes));
    let feeds = (
        Feed::new(ehr_file, args.ehr.display().to_string(), records),
        Feed::new(events_file, args.events.display().to_string(), events),
    );
    let ran = drive(&settings, feeds, |line| out.write(&line), |bytes| progress.set_position(bytes));
    progress.finish_and_clear();
    let (summary, notes) = ran?;
    if summary.bad_lines > 0 && !args.skip_bad {
        return Err(bad_lines(&summary, &notes));
    }
    tell(&notes);
    out.finish()?;
    write!(std::io::stdout().lock(), "{summary}")
        .map_err(|e| Failure::problem(format!("the summary cannot be written to standard output: {e}")))?;
    if summary.broken > 0 {
        let what = format!("{} broken invariants, see the summary: please report this with its input", summary.broken);
        return Err(Failure::problem(what));
    }
    Ok(())
}

/// The same on texts, for tests: the lines as JSON, and the summary. A bad line is a failure.
///
/// # Errors
/// A [`Failure`] with status 2 for settings or input that cannot be read.
pub fn run_texts(config_toml: &str, ehr: &str, events: &str) -> Result<(Vec<serde_json::Value>, Summary), Failure> {
    let settings = settings(config_toml, "practice.toml")?;
    let (read_records, read_events) = readers(settings.stripe.metadata.clone());
    let feeds = (Feed::new(ehr.as_bytes(), "ehr.jsonl", read_records), Feed::new(events.as_bytes(), "events.jsonl", read_events));
    let mut lines = Vec::new();
    let keep = |line: Line| {
        lines.push(serde_json::to_value(line).map_err(|e| Failure::problem(e.to_string()))?);
        Ok(())
    };
    let (summary, notes) = drive(&settings, feeds, keep, |_| {})?;
    if summary.bad_lines > 0 {
        return Err(bad_lines(&summary, &notes));
    }
    Ok((lines, summary))
}

fn settings(text: &str, name: &str) -> Result<Settings, Failure> {
    Settings::parse(text, name, Need::Backtest).map_err(|e| Failure::usage(e.to_string()))
}

fn open(path: &Path, option: &str) -> Result<(BufReader<File>, u64), Failure> {
    let told =
        |e: std::io::Error| Failure::usage(format!("{}: cannot be read: {e}: name the file with {option}", path.display()));
    let file = File::open(path).map_err(told)?;
    let about = file.metadata().map_err(told)?;
    if about.is_dir() {
        return Err(Failure::usage(format!("{}: is a directory: name a file with {option}", path.display())));
    }
    Ok((BufReader::with_capacity(1 << 18, file), about.len()))
}

fn progress(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}

fn tell(notes: &Notes) {
    let mut stderr = std::io::stderr().lock();
    for note in notes {
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(stderr, "vesper: {note}");
    }
}

fn bad_lines(summary: &Summary, notes: &Notes) -> Failure {
    let told = notes.join("\n");
    let count = summary.bad_lines;
    Failure::usage(format!("{told}\n{count} bad lines, nothing was written: mend them, or leave them out with --skip-bad"))
}

/// Merges both feeds by time, a second's records before its events, and lets the clock run on until nothing waits.
fn drive<A: BufRead, B: BufRead>(
    settings: &Settings,
    feeds: (Feed<A, Records, Change>, Feed<B, Events, Incoming>),
    mut write: impl FnMut(Line) -> Result<(), Failure>,
    mut progress: impl FnMut(u64),
) -> Result<(Summary, Notes), Failure> {
    let (mut records, mut events) = feeds;
    let mut engine = Engine::new(settings);
    let mut notes = Notes::new();
    let mut seconds: u64 = 0;
    while let Some(next) = [records.next_at()?, events.next_at()?, engine.next_due()].into_iter().flatten().min() {
        engine.advance(next);
        let now = engine.clock();
        while records.next_at()?.is_some_and(|at| at <= now) {
            let Some((at, change)) = records.take() else { break };
            if at < now {
                note_late(&mut engine, &records, &mut notes);
            }
            engine.record_of_ehr(change);
        }
        engine.after_records();
        while events.next_at()?.is_some_and(|at| at <= now) {
            let Some((_, incoming)) = events.take() else { break };
            engine.event(incoming);
        }
        while let Some(line) = engine.next_line() {
            write(line)?;
        }
        seconds += 1;
        if seconds.is_multiple_of(256) {
            progress(records.bytes().saturating_add(events.bytes()));
        }
    }
    let mut summary = engine.finish();
    summary.bad_lines = records.bad + events.bad;
    summary.unknown_records = records.unknown;
    notes.extend(records.told);
    notes.extend(events.told);
    Ok((summary, notes))
}

fn note_late<R: BufRead, L: ReadLine<Change>>(engine: &mut Engine, records: &Feed<R, L, Change>, notes: &mut Notes) {
    engine.summary.late_records += 1;
    if engine.summary.late_records <= LATE_LINES_TOLD {
        notes.push(format!(
            "{}: the line is older than the one before it, and is read at that one's time: sort the file by observed_at",
            records.place()
        ));
    }
}

#[cfg(test)]
mod tests;
