//! `vesper backtest` against the independent evaluator of the decision table, on hostile made-up practices.

use serde_json::Value;
use std::collections::BTreeMap;
use vesper_local::backtest::run_texts;
use vesper_tests::generator::{Practice, adversarial, realistic};
use vesper_tests::oracle::{LinkByEmail, OracleConfig, SameAmount, canonical, decide_all};

const PRACTICE: &str = "[practice]\nid = \"t\"\ntime_zone = \"America/Chicago\"\n";

/// What differs, in the words of both.
fn differences(toml: &str, config: &OracleConfig, practice: &Practice) -> Vec<String> {
    let (ehr, events) = (&practice.ehr_jsonl, &practice.events_jsonl);
    let (ours, summary) = run_texts(toml, ehr, events).unwrap();
    assert_eq!(summary.broken, 0, "{:?}", summary.broken_told);
    let theirs = decide_all(config, ehr, events);
    let by_payment = |lines: &[Value]| -> BTreeMap<String, Value> {
        lines.iter().map(|l| (l["payment"].as_str().unwrap_or("?").to_owned(), canonical(l))).collect()
    };
    let order = |lines: &[Value]| -> Vec<Value> { lines.iter().map(|l| l["payment"].clone()).collect() };
    let mut told = Vec::new();
    if order(&ours) != order(&theirs) {
        told.push("the order of the lines differs".to_owned());
    }
    let (a, b) = (by_payment(&ours), by_payment(&theirs));
    for payment in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
        let (a, b) = (a.get(payment), b.get(payment));
        if a != b {
            let why = ours.iter().find(|l| l["payment"] == payment.as_str()).map(|l| l["why"].to_string());
            let text = |v: Option<&Value>| v.map_or_else(|| "no line".to_owned(), Value::to_string);
            told.push(format!("{payment}\n  ours   {}\n  oracle {}\n  why    {}", text(a), text(b), why.unwrap_or_default()));
        }
    }
    told
}

/// The settings that both sides are run with.
fn variants() -> [(&'static str, OracleConfig); 2] {
    [
        ("", OracleConfig::default()),
        (
            "[matching]\nlink_by_email = \"never\"\nsame_amount = \"review\"\nwait_for_invoice_h = 6\n",
            OracleConfig {
                link_by_email: LinkByEmail::Never,
                same_amount: SameAmount::Review,
                wait_for_invoice_h: 6,
                ..OracleConfig::default()
            },
        ),
    ]
}

/// Which seeds, and how many payments each: few for every run; with VESPER_SOAK_SEEDS=N seeds 1 to N of different sizes.
fn seeds() -> Vec<(u64, usize)> {
    let soak: Option<u64> = std::env::var("VESPER_SOAK_SEEDS").ok().map(|n| n.parse().expect("VESPER_SOAK_SEEDS is a number"));
    let sizes = [40, 120, 200, 320];
    match soak {
        Some(last) => (1..=last).zip(sizes.into_iter().cycle()).collect(),
        None => (1..=20).map(|seed| (seed, 120)).collect(),
    }
}

#[test]
fn backtest_decides_like_the_independent_evaluator() {
    let mut told = Vec::new();
    for (seed, payments) in seeds() {
        let practice = adversarial(seed, payments);
        for (more, config) in &variants() {
            let found = differences(&format!("{PRACTICE}{more}"), config, &practice);
            told.extend(found.into_iter().map(|d| format!("seed {seed} of {payments} {more:?}: {d}")));
        }
    }
    let first: Vec<String> = told.iter().take(50).cloned().collect();
    assert!(told.is_empty(), "{} differences\n{}", told.len(), first.join("\n"));
}

#[test]
fn backtest_decides_a_realistic_practice_like_the_independent_evaluator() {
    let found = differences(PRACTICE, &OracleConfig::default(), &realistic(7, 300, 4));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
