//! `vesper backtest` against the independent evaluator of the decision table, on hostile made-up practices.

use serde_json::Value;
use std::collections::BTreeMap;
use vesper_local::backtest::run_texts;
use vesper_tests::generator::{Practice, adversarial, realistic};
use vesper_tests::oracle::{LinkByEmail, OracleConfig, SameAmount, canonical, decide_all};

const PRACTICE: &str = "[practice]\nid = \"t\"\ntime_zone = \"America/Chicago\"\n";

/// Every object of Stripe's says when it was made.
fn with_created(events: &str) -> String {
    let mut out = String::new();
    for line in events.lines() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        let created = event["created"].clone();
        if event["data"]["object"]["created"].is_null() {
            event["data"]["object"]["created"] = created;
        }
        out.push_str(&event.to_string());
        out.push('\n');
    }
    out
}

/// What differs, in the words of both.
fn differences(toml: &str, config: &OracleConfig, practice: &Practice) -> Vec<String> {
    let (ehr, events) = (&practice.ehr_jsonl, &with_created(&practice.events_jsonl));
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

#[test]
fn backtest_decides_like_the_independent_evaluator() {
    let (seeds, payments) = (1..=20, 200);
    let variants = [
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
    ];
    let mut told = Vec::new();
    for seed in seeds {
        for (more, config) in &variants {
            let practice = adversarial(seed, payments);
            let found = differences(&format!("{PRACTICE}{more}"), config, &practice);
            told.extend(found.into_iter().map(|d| format!("seed {seed} {more:?}: {d}")));
        }
    }
    assert!(told.is_empty(), "{} differences\n{}", told.len(), told.join("\n"));
}

#[test]
fn backtest_decides_a_realistic_practice_like_the_independent_evaluator() {
    let found = differences(PRACTICE, &OracleConfig::default(), &realistic(7, 300, 4));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
