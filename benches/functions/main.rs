//! What the functions cost on AWS, next to an empty one of the same profile and next to the bare work: the CPU of a start, of the
//! first event over TLS and of a warm event, and memory. Each binary runs under a Lambda Runtime API; AWS is a stand-in behind
//! TLS, each service at an address of its own with a chain like AWS's; the outside systems are stand-ins as well.
//!
//! Run: `make bench-functions`, which builds the binaries in the profile `deployed`. The candidates take turns; prints medians, and
//! asserts nothing about speed. What is measured are other processes, so this one needs no optimised build.

mod rest;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use vesper_standins::stripe::{NewPayment, signed};
use vesper_tests::harness::WEBHOOK_SECRET;
use vesper_tests::lambda::cloud::Cloud;
use vesper_tests::lambda::runtime::{Outcome, Process};
use vesper_tests::measure::{median, report, report_ratio, usage_at_rest};

/// How often each candidate is started.
const STARTS: usize = 41;
/// Payments whose every function is cold, and whose every function is warm.
const COLD: usize = 21;
const WARM: usize = 41;
/// How many invoices a client owes.
const OWED: usize = 4;
/// Rounds of warm events of intake, and events in each.
const ROUNDS: usize = 41;
const EVENTS: u32 = 20;
/// The size the goal speaks of, in bytes.
const BODY_BYTES: usize = 5_000;
/// How long a function may work on an event here, in milliseconds.
const WITHIN_MS: u64 = 30_000;
/// The functions that a payment passes, in order.
const FLOW: [&str; 4] = ["intake", "reconcile", "write-back", "push-books"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let mut cloud = Cloud::new().await;
        cloud.binaries = Some(binaries());
        cloud.over_tls(true).await;
        starts(&cloud).await;
        payments(&mut cloud).await;
        rest::measure(&mut cloud).await;
        warm_intake(&cloud).await;
    });
}

/// Where cargo puts what it builds in the profile `deployed`.
fn binaries() -> PathBuf {
    let own = std::env::current_exe().expect("this process has a file");
    let target = own.ancestors().nth(3).expect("target/<profile>/deps/<this>");
    target.join("deployed")
}

/// From the fork to the first question for work.
async fn starts(cloud: &Cloud) {
    let names = ["empty", "intake", "reconcile", "write-back", "push-books", "import", "payouts", "review", "due"];
    let mut cpu_us: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
    for _ in 0..STARTS {
        for name in names {
            let used = cloud.start(name).await.at_rest().await;
            cpu_us.entry(name).or_default().push(micros(used.cpu_ns));
        }
    }
    let medians = names.map(|name| cpu_us.get_mut(name).map_or(0, |all| median(all)));
    for (name, cpu) in names.iter().zip(medians) {
        report(&format!("start: {name}"), cpu, "us CPU");
    }
    report_ratio("start: intake to empty (goal: at most 1.50)", medians[1], medians[0]);
    report_ratio("start: reconcile to empty (goal: at most 3.00)", medians[2], medians[0]);
}

/// Payments from the door into the EHR and the books: the first event of each process, later ones, and memory.
async fn payments(cloud: &mut Cloud) {
    // Each by a client of its own, who owes for several sessions.
    let mut invoices = Vec::new();
    for n in 0..COLD + WARM {
        let customer = cloud.standins.stripe.customer(None, Some("A client"));
        let client = cloud.standins.ehr.client(&format!("c_{n}"), json!({ "stripe_customer_ids": [customer] }));
        let bill = |i: usize| cloud.standins.ehr.invoice(&format!("inv_{n}_{i}"), &client, 12_000, 0, json!({}));
        let owed: Vec<String> = (0..OWED).map(bill).collect();
        invoices.push((customer, owed.first().cloned().expect("he owes something")));
    }
    cloud.notice().await;
    cloud.pump().await;
    cloud.measured = true;
    let (mut first, mut later, mut peak_kb) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (n, (customer, invoice)) in invoices.iter().enumerate() {
        if n < COLD {
            cloud.all_cold();
        }
        let _ = cloud.standins.stripe.pay(&NewPayment::of(customer, 12_000).metadata("vesper_invoice", invoice));
        let events = cloud.standins.stripe.undelivered();
        let succeeded = events.iter().find(|e| e["type"] == "payment_intent.succeeded").expect("the payment is told");
        assert_eq!(cloud.send(succeeded).await, 200, "{}", cloud.logged());
        cloud.standins.stripe.mark_delivered(succeeded["id"].as_str().expect("an event has an id"));
        cloud.pump().await;
        for cost in cloud.take_costs() {
            let kind: &mut BTreeMap<&str, Vec<u128>> = if cost.start.is_some() { &mut first } else { &mut later };
            kind.entry(cost.function).or_default().push(micros(cost.cpu_ns));
            let peak = peak_kb.entry(cost.function).or_insert(0);
            *peak = cost.peak_rss_kb.max(*peak);
        }
        cloud.deliver().await;
        cloud.pump().await;
        let _ = cloud.take_costs();
    }
    let paid = cloud.standins.ehr.written().len();
    assert_eq!(paid, invoices.len(), "every payment stands in the EHR: {}", cloud.logged());
    for name in FLOW {
        let of = |kind: &mut BTreeMap<&str, Vec<u128>>| kind.get_mut(name).map_or(0, |all| median(all));
        let (first, later) = (of(&mut first), of(&mut later));
        report(&format!("first event over TLS: {name} (goal: at most 4,000)"), first, "us CPU");
        report(&format!("warm event of a payment over TLS: {name}"), later, "us CPU");
        let peak = peak_kb.get(name).copied().unwrap_or(0);
        report(&format!("peak memory: {name} (goal: at most 10,240)"), u128::from(peak), "kB");
    }
}

/// Warm events of 5 kB: intake, the bare work, and an empty function.
async fn warm_intake(cloud: &Cloud) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0));
    let (body, header) = signed(&five_kilobytes(), WEBHOOK_SECRET, now_s);
    let text = String::from_utf8(body).expect("JSON is text");
    let request = gateway_request(&header, &text);
    let (mut intake, mut empty) = (cloud.start("intake").await, cloud.start("empty").await);
    let mut bare = Bare::start(cloud, &header, &text);
    let answer = intake.invoke(&request, WITHIN_MS).await.answer();
    assert_eq!(answer["statusCode"], 200, "{answer} {}", cloud.logged());
    let (mut intake_us, mut empty_us, mut bare_us) = (vec![], vec![], vec![]);
    bare.work();
    events(&mut empty, &request).await;
    for _ in 0..ROUNDS {
        intake_us.push(events(&mut intake, &request).await);
        bare_us.push(bare.work());
        empty_us.push(events(&mut empty, &request).await);
        let _ = cloud.aws.receive("events", 1_000);
    }
    let [intake_cpu, bare_cpu, empty_cpu] = [&mut intake_us, &mut bare_us, &mut empty_us].map(|all| median(all));
    report("warm event of 5 kB over TLS: intake", intake_cpu, "us CPU");
    report("the same work bare: verify, parse, one call of SQS", bare_cpu, "us CPU");
    report("warm event of 5 kB: empty", empty_cpu, "us CPU");
    report_ratio("warm event: intake to bare (goal: at most 3.00)", intake_cpu, bare_cpu);
    let peak = intake.at_rest().await.peak_rss_kb;
    report("peak memory: intake after a thousand events (goal: at most 10,240)", u128::from(peak), "kB");
}

/// Some events, one after the other: what one took, in microseconds.
async fn events(process: &mut Process, request: &Value) -> u128 {
    let before = process.at_rest().await.cpu_ns;
    for _ in 0..EVENTS {
        let outcome = process.invoke(request, WITHIN_MS).await;
        assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    }
    micros(process.at_rest().await.cpu_ns.saturating_sub(before) / u64::from(EVENTS))
}

/// The program that does what intake does and nothing else.
struct Bare {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bare {
    fn start(cloud: &Cloud, header: &str, body: &str) -> Bare {
        let mut command = Command::new(binaries().join("bare"));
        command.env_clear().envs(cloud.environment_of("bare")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("`make bench-functions` builds it");
        let (mut to, from) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        writeln!(to, "{WEBHOOK_SECRET}\n{header}\n{body}").expect("it reads");
        Bare { child, to, from: BufReader::new(from) }
    }

    /// Some events: what one took, in microseconds.
    fn work(&mut self) -> u128 {
        let before = usage_at_rest(self.child.id()).cpu_ns;
        writeln!(self.to, "{EVENTS}").expect("it reads");
        let mut done = String::new();
        self.from.read_line(&mut done).expect("it answers");
        assert_eq!(done, "done\n");
        micros(usage_at_rest(self.child.id()).cpu_ns.saturating_sub(before) / u64::from(EVENTS))
    }
}

/// What API Gateway makes of Stripe's request: JSON comes as text.
fn gateway_request(header: &str, body: &str) -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/events/intake.json");
    let text = std::fs::read_to_string(file).expect("the sample is there");
    let mut request: Value = serde_json::from_str(&text).expect("the sample is JSON");
    request["headers"]["stripe-signature"] = header.into();
    request["body"] = body.into();
    request
}

/// A real event shape, padded inside a field that Vesper does not use.
fn five_kilobytes() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/stripe-events/payment_intent.succeeded.json");
    let text = std::fs::read_to_string(file).expect("the fixture is there");
    let mut event: Value = serde_json::from_str(&text).expect("the fixture is JSON");
    let missing = BODY_BYTES.saturating_sub(event.to_string().len());
    event["data"]["object"]["description"] = "x".repeat(missing).into();
    event
}

fn micros(ns: u64) -> u128 {
    u128::from(ns / 1_000)
}
