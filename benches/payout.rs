//! How long a payout of 5,000 transactions takes to tie out against the stand-in, and how much memory it takes.
//!
//! Run: `make bench`. Every payment is told and decided before, so only the payout is measured. Asserts that it ties out, and
//! nothing about speed.

use std::time::Instant;
use vesper_core::payout::PayoutState;
use vesper_standins::stripe::{NewPayment, NewPayout};
use vesper_tests::harness::{Bundle, Options};
use vesper_tests::measure::{peak_rss_kb, report};

const TRANSACTIONS: i64 = 5_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(measure());
}

async fn measure() {
    let b = Bundle::new(Options { by_hand: true, ..Options::default() }).await;
    for n in 0..TRANSACTIONS {
        let _ = b.pay(&NewPayment::guest(1_000 + n));
        if n % 100 == 99 {
            b.deliver().await;
            b.drain().await;
        }
    }
    let payout = b.standins.stripe.payout(&NewPayout::default());
    let (before_kb, start) = (peak_rss_kb(), Instant::now());
    b.deliver().await;
    b.drain().await;
    let took = start.elapsed();
    let row = b.app().store.payout(&payout).await.expect("the store answers").expect("the payout is known");
    assert_eq!((row.item.state, i64::from(row.item.tally.transactions)), (PayoutState::TiedOut, TRANSACTIONS));
    report("payout of 5,000 transactions: time to tie out, postings sent", took.as_millis(), "ms");
    let grown_kb = peak_rss_kb().saturating_sub(before_kb);
    report("payout of 5,000 transactions: growth of the peak memory", u128::from(grown_kb), "kB");
}
