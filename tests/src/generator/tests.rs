//! The generators keep their promises, and together with the oracle reach every rule and outcome.

use super::{adversarial, realistic};
use crate::oracle::{OracleConfig, decide_all};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn the_same_seed_gives_the_same_practice() {
    assert_eq!(adversarial(7, 40), adversarial(7, 40));
    assert_ne!(adversarial(7, 40), adversarial(8, 40));
    assert_eq!(realistic(1, 100, 3), realistic(1, 100, 3));
}

#[test]
fn every_line_is_json_and_every_share_adds_up() {
    for seed in 0..20 {
        let practice = adversarial(seed, 60);
        for line in practice.ehr_jsonl.lines().chain(practice.events_jsonl.lines()) {
            let value: Value = serde_json::from_str(line).unwrap();
            let share = &value["client_share"];
            if share.is_object() {
                let part = |name: &str| share[name].as_i64().unwrap();
                assert!(part("open") >= 0 && part("paid") >= 0);
                assert_eq!(part("paid") + part("open") + part("written_off"), part("charge"));
            }
        }
    }
}

#[test]
fn no_family_has_more_invoices_than_can_be_tried() {
    for seed in 0..20 {
        let mut by_client: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in adversarial(seed, 80).ehr_jsonl.lines() {
            let r: Value = serde_json::from_str(line).unwrap();
            if r["kind"] == "invoice" {
                let ids = by_client.entry(r["client_id"].to_string()).or_default();
                ids.insert(r["id"].to_string());
            }
        }
        assert!(by_client.values().all(|ids| ids.len() <= 12));
    }
}

#[test]
fn the_adversary_reaches_every_rule_reason_and_outcome() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..150 {
        let practice = adversarial(seed, 40);
        for line in decide_all(&OracleConfig::default(), &practice.ehr_jsonl, &practice.events_jsonl) {
            for field in ["outcome", "rule", "review"] {
                *seen.entry(format!("{field} {}", line[field])).or_default() += 1;
            }
            let sum: i64 = line["allocations"].as_array().unwrap().iter().map(|a| a["amount"].as_i64().unwrap()).sum();
            let unapplied = line["unapplied"].as_i64().unwrap();
            assert!(unapplied >= 0 && sum + unapplied <= line["amount"].as_i64().unwrap(), "{line}");
        }
    }
    let rules = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16].map(|rule| format!("rule {rule}"));
    let reasons = [
        "currency",
        "reference_conflict",
        "void_invoice",
        "already_settled",
        "overpaid",
        "client_conflict",
        "ambiguous",
        "partial_unreferenced",
        "no_invoice",
        "unknown_client",
    ]
    .map(|reason| format!("review \"{reason}\""));
    let outcomes = ["matched", "partial", "split", "credit", "review", "ignored"].map(|o| format!("outcome \"{o}\""));
    for wanted in rules.iter().chain(&reasons).chain(&outcomes) {
        assert!(seen.get(wanted).is_some_and(|n| *n >= 5), "{wanted}: {seen:?}");
    }
}

#[test]
fn an_ordinary_month_is_mostly_matched() {
    let practice = realistic(3, 400, 4);
    let lines = decide_all(&OracleConfig::default(), &practice.ehr_jsonl, &practice.events_jsonl);
    let matched = lines.iter().filter(|l| l["outcome"] == "matched").count();
    assert!(lines.len() > 300 && matched * 100 > lines.len() * 80, "{matched} of {}", lines.len());
}

#[test]
fn every_line_twice_changes_nothing() {
    let twice = |text: &str| text.lines().map(|line| format!("{line}\n{line}\n")).collect::<String>();
    for seed in 0..60 {
        let p = adversarial(seed, 40);
        let once = decide_all(&OracleConfig::default(), &p.ehr_jsonl, &p.events_jsonl);
        assert_eq!(once, decide_all(&OracleConfig::default(), &twice(&p.ehr_jsonl), &twice(&p.events_jsonl)), "seed {seed}");
    }
}
