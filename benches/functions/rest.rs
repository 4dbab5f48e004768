//! The functions that a payment does not pass: a page of the feed, a payout, the review page, the heartbeat. Each once cold and once
//! warm in every round; what is added up is the CPU of all invocations that the work takes.
//!
//! Must not: assert anything about speed.

use super::micros;
use serde_json::json;
use std::collections::BTreeMap;
use vesper_standins::stripe::{NewPayment, NewPayout};
use vesper_tests::lambda::cloud::Cloud;
use vesper_tests::measure::{median, report};

/// Rounds, each cold and warm.
const ROUNDS: usize = 5;
/// The clients of a page of the feed, and the invoices of each: 500 records, the most that is asked for.
const CLIENTS: usize = 100;
const INVOICES: usize = 4;
/// Payments of a payout. Nobody is known to have made them, so each is a question on the review page as well.
const PAID_OUT: i64 = 25;

/// What was measured of a function, by name and whether it was cold.
#[derive(Default)]
struct Seen {
    cpu_us: BTreeMap<(&'static str, bool), Vec<u128>>,
    peak_kb: BTreeMap<&'static str, u64>,
}

impl Seen {
    /// What this function used since the last look.
    fn note(&mut self, cloud: &mut Cloud, name: &'static str, is_cold: bool) {
        let own: Vec<_> = cloud.take_costs().into_iter().filter(|c| c.function == name).collect();
        assert_eq!(own.iter().any(|c| c.start.is_some()), is_cold, "{name}: {own:?} {}", cloud.logged());
        self.cpu_us.entry((name, is_cold)).or_default().push(own.iter().map(|c| micros(c.cpu_ns)).sum());
        let peak = self.peak_kb.entry(name).or_default();
        *peak = own.iter().map(|c| c.peak_rss_kb).max().unwrap_or(0).max(*peak);
    }
}

/// Measures them, and prints medians.
pub async fn measure(cloud: &mut Cloud) {
    let cookie = cloud.sign_in().await;
    let mut seen = Seen::default();
    for round in 0..ROUNDS {
        for is_cold in [true, false] {
            if is_cold {
                cloud.all_cold();
            }
            one(cloud, &mut seen, &cookie, (round, is_cold)).await;
        }
    }
    let work = [
        ("import", format!("a page of {} records", CLIENTS * (1 + INVOICES))),
        ("payouts", format!("a payout of {PAID_OUT} payments")),
        ("review", "the list of questions".to_owned()),
        ("due", "a heartbeat".to_owned()),
    ];
    for (name, what) in work {
        for (is_cold, when) in [(true, "first"), (false, "warm")] {
            let cpu = seen.cpu_us.get_mut(&(name, is_cold)).map_or(0, |all| median(all));
            report(&format!("{when} over TLS: {name}, {what}"), cpu, "us CPU");
        }
        let peak = seen.peak_kb.get(name).copied().unwrap_or(0);
        report(&format!("peak memory: {name} (goal: at most 10,240)"), u128::from(peak), "kB");
    }
}

async fn one(cloud: &mut Cloud, seen: &mut Seen, cookie: &[String], (round, is_cold): (usize, bool)) {
    for n in 0..CLIENTS {
        let client = cloud.standins.ehr.client(&format!("page_{round}_{is_cold}_{n}"), json!({}));
        for i in 0..INVOICES {
            cloud.standins.ehr.invoice(&format!("bill_{round}_{is_cold}_{n}_{i}"), &client, 9_000, 0, json!({}));
        }
    }
    let _ = cloud.take_costs();
    cloud.notice().await;
    cloud.pump().await;
    seen.note(cloud, "import", is_cold);

    for n in 0..PAID_OUT {
        cloud.standins.stripe.pay(&NewPayment::guest(5_000 + n));
    }
    cloud.deliver().await;
    cloud.pump().await;
    let _ = cloud.take_costs();
    cloud.standins.stripe.payout(&NewPayout::default());
    cloud.deliver().await;
    cloud.pump().await;
    seen.note(cloud, "payouts", is_cold);

    let (status, page) = cloud.browse("GET", "/review", cookie, "").await;
    assert_eq!(status, 200, "{page} {}", cloud.logged());
    seen.note(cloud, "review", is_cold);

    let beat = cloud.beat().await;
    assert!(matches!(beat, vesper_tests::lambda::runtime::Outcome::Answered(_)), "{beat:?} {}", cloud.logged());
    seen.note(cloud, "due", is_cold);
    cloud.pump().await;
}
