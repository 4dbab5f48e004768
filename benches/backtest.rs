//! How fast a history is replayed: 50,000 sessions, on one core, and how much memory it takes.
//!
//! Run: `make bench`. Prints medians; asserts nothing about speed.

use std::time::Instant;
use vesper_local::backtest::run_texts;
use vesper_tests::generator::realistic;
use vesper_tests::measure::{median, peak_rss_kb, report};

const ROUNDS: usize = 5;
const SESSIONS: usize = 50_000;
const CONFIG: &str = "[practice]\nid = \"bench\"\ntime_zone = \"America/Chicago\"\n";

fn main() {
    let practice = realistic(1, SESSIONS, 20);
    let before_kb = peak_rss_kb();
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
    report(
        "backtest: peak memory above the input (with the output in memory)",
        u128::from(peak_rss_kb().saturating_sub(before_kb)),
        "kB",
    );
}
