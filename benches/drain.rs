//! How many effects a second the bundle works off, on a file as `vesper serve` keeps it (each commit synced), against stand-ins
//! in the same process: the write-backs of accepted payments, then their postings. QuickBooks is paced by design, so the clock
//! is moved until all is posted: what is measured is the work, not the wait.
//!
//! Run: `make bench`. Prints medians; asserts nothing about speed.

use std::time::Instant;
use vesper_functions::pause::Pause;
use vesper_tests::harness::{Bundle, Options};
use vesper_tests::measure::{median, report};

#[global_allocator]
static ALLOCATOR: vesper_local::Allocator = vesper_local::Allocator;

const ROUNDS: usize = 5;
const PAYMENTS: i64 = 300;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (mut events, mut write_backs, mut postings, mut both) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let [accepted_us, written_us, posted_us] = runtime.block_on(one_round());
        let per_second = |count: i64, us: u128| u128::from(count.unsigned_abs()) * 1_000_000 / us.max(1);
        events.push(per_second(PAYMENTS, accepted_us));
        write_backs.push(per_second(PAYMENTS, written_us));
        postings.push(per_second(PAYMENTS, posted_us));
        both.push(per_second(PAYMENTS * 2, written_us + posted_us));
    }
    report("serve: events made durable and decided", median(&mut events), "events per second");
    report("serve: write-backs worked off", median(&mut write_backs), "effects per second");
    report("serve: postings worked off", median(&mut postings), "effects per second");
    report("serve: effects worked off", median(&mut both), "effects per second");
}

/// How long each step took, in microseconds: deciding, writing back, posting.
async fn one_round() -> [u128; 3] {
    let mut bundle = Bundle::new(Options { on_file: true, ..Options::default() }).await;
    let bills: Vec<(String, String)> = (0..PAYMENTS).map(|i| bundle.patient(2_000 + i)).collect();
    bundle.sync().await;
    bundle.pause(Pause::All).await;
    for ((customer, invoice), amount_minor) in bills.iter().zip(2_000..) {
        let _ = bundle.pay_for(customer, amount_minor, invoice);
    }
    let start = Instant::now();
    bundle.deliver().await;
    bundle.drain().await;
    let decided = start.elapsed().as_micros();

    let count = usize::try_from(PAYMENTS).unwrap_or(usize::MAX);
    bundle.pause(Pause::Postings).await;
    let start = Instant::now();
    bundle.stack.beat().await.expect("the table answers");
    bundle.drain().await;
    let written = start.elapsed().as_micros();
    assert_eq!(bundle.standins.ehr.written().len(), count, "everything was written back");

    bundle.pause(Pause::None).await;
    let start = Instant::now();
    while bundle.standins.quickbooks.entries().len() < count {
        bundle.advance(60).await;
    }
    [decided, written, start.elapsed().as_micros()]
}
