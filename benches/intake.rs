//! How much CPU intake's own code costs for one event, without the send: verify, project, serialise.
//!
//! Run: `make bench`. Prints medians; asserts nothing about speed.

use std::time::Instant;
use vesper_adapters::personal::{DataKey, Secret};
use vesper_adapters::stripe::signature;
use vesper_adapters::stripe::wire::{MetadataKeys, Projection, project};
use vesper_functions::task::Task;
use vesper_tests::measure::{median, report};

const ROUNDS: usize = 51;
const EVENTS_PER_ROUND: u32 = 500;
/// The size the goal speaks of, in bytes.
const BODY_BYTES: usize = 5_000;

fn main() {
    let body = five_kilobytes();
    let secrets = [Secret::new("whsec_benchBenchBenchBenchBenchBench")];
    let header = signature::sign(&body, &secrets[0], 1_795_190_400);
    let projection = Projection { keys: MetadataKeys::default(), hasher: DataKey::new([7; 32]).email_hasher() };
    let mut whole = Vec::new();
    let mut verify_only = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..EVENTS_PER_ROUND {
            signature::verify(Some(&header), &body, &secrets, 1_795_190_400).expect("the signature is good");
        }
        verify_only.push(start.elapsed().as_nanos() / u128::from(EVENTS_PER_ROUND));
        let start = Instant::now();
        for _ in 0..EVENTS_PER_ROUND {
            signature::verify(Some(&header), &body, &secrets, 1_795_190_400).expect("the signature is good");
            let incoming = project(&body, &projection).expect("the event is readable");
            let message = serde_json::to_string(&Task::EventV1 { event: incoming.event }).expect("a task serialises");
            std::hint::black_box(message);
        }
        whole.push(start.elapsed().as_nanos() / u128::from(EVENTS_PER_ROUND));
    }
    report("intake: verify the signature of 5 kB", median(&mut verify_only), "ns per event");
    report("intake: verify, project, serialise 5 kB (goal: at most 60,000 ns)", median(&mut whole), "ns per event");
}

/// A real event shape, padded inside a field that Vesper does not use.
fn five_kilobytes() -> Vec<u8> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/stripe-events/payment_intent.succeeded.json");
    let text = std::fs::read_to_string(file).expect("the fixture is there");
    let mut event: serde_json::Value = serde_json::from_str(&text).expect("the fixture is JSON");
    let missing = BODY_BYTES.saturating_sub(event.to_string().len());
    event["data"]["object"]["description"] = "x".repeat(missing).into();
    event.to_string().into_bytes()
}
