//! How fast a history is replayed: 50,000 sessions, on one core; and what the command takes of memory for that, and for twice that.
//!
//! Run: `make bench`. Prints medians; asserts nothing about speed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use vesper_local::backtest::{run, run_texts};
use vesper_local::cli::Backtest;
use vesper_tests::generator::realistic;
use vesper_tests::measure::{median, peak_rss_kb, report};

#[global_allocator]
static ALLOCATOR: vesper_local::Allocator = vesper_local::Allocator;

const ROUNDS: usize = 5;
const SESSIONS: usize = 50_000;
const CONFIG: &str = "[practice]\nid = \"bench\"\ntime_zone = \"America/Chicago\"\n";
/// How this process is told to be the command, on the files of a directory.
const AS_COMMAND: &str = "as-command";
/// What it then says of itself.
const PEAK: &str = "peak memory";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == AS_COMMAND) {
        return as_command(Path::new(&arguments[at + 1]));
    }
    speed();
    let [(first, first_kb), (second, second_kb)] = [SESSIONS, 2 * SESSIONS].map(peak_of);
    report("backtest: peak memory of the command, 50,000 sessions", u128::from(first_kb), "kB");
    report("backtest: peak memory of the command, 100,000 sessions", u128::from(second_kb), "kB");
    let more = u128::from(second_kb.saturating_sub(first_kb)) * 1024;
    let payments = second.saturating_sub(first).max(1) as u128;
    report("backtest: memory for one more payment and its invoice", more / payments, "bytes");
}

/// The command in a process of its own, on files: how many payments there were, and the most memory it held.
fn peak_of(sessions: usize) -> (usize, u64) {
    let practice = realistic(1, sessions, 20);
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in [("config.toml", CONFIG), ("ehr.jsonl", &practice.ehr_jsonl), ("events.jsonl", &practice.events_jsonl)] {
        std::fs::write(dir.path().join(name), text).expect("the file can be written");
    }
    let own = std::env::current_exe().expect("this process has a file");
    let done = Command::new(own).arg(AS_COMMAND).arg(dir.path()).stderr(Stdio::inherit()).output().expect("it starts");
    assert!(done.status.success(), "the history is replayed");
    let payments = std::fs::read_to_string(out_of(dir.path())).expect("it has written them").lines().count();
    let told = String::from_utf8(done.stdout).expect("a text");
    let peak = told.lines().find_map(|line| line.strip_prefix(PEAK)?.split_whitespace().nth(1)?.parse().ok());
    (payments, peak.expect("it tells its peak"))
}

fn out_of(dir: &Path) -> PathBuf {
    dir.join("decisions.jsonl")
}

fn as_command(dir: &Path) {
    let [config, ehr, events] = ["config.toml", "ehr.jsonl", "events.jsonl"].map(|name| dir.join(name));
    run(&Backtest { config, ehr, events, out: out_of(dir), skip_bad: false }).expect("the history is readable");
    report(PEAK, u128::from(peak_rss_kb()), "kB");
}

fn speed() {
    let practice = realistic(1, SESSIONS, 20);
    let mut speed = Vec::new();
    let mut payments = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let (lines, _) = run_texts(CONFIG, &practice.ehr_jsonl, &practice.events_jsonl).expect("the history is readable");
        let elapsed_us = start.elapsed().as_micros().max(1);
        payments = lines.len();
        speed.push(lines.len() as u128 * 1_000_000 / elapsed_us);
    }
    report("backtest: payments in the history", payments as u128, "payments");
    report("backtest: speed (goal: at least 20,000)", median(&mut speed), "payments per second");
}
