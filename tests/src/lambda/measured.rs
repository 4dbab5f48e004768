//! What an accepted payment may cost, as infra/measured.json has it: the one place of that number.
//!
//! Must not: round in our favour; what costs less than the file says is written there, too.

use super::root;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn path() -> PathBuf {
    root().join("infra/measured.json")
}

fn read() -> Value {
    serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap()
}

/// The calls of AWS of one accepted payment are those of the file, no more and no fewer. UPDATE_MEASURED=1 writes them there.
///
/// # Panics
/// When they differ.
pub fn check_accepted(calls: &BTreeMap<String, usize>) {
    let counted = json!({ "calls": calls, "calls_in_all": calls.values().sum::<usize>() });
    let mut kept = read();
    if std::env::var_os("UPDATE_MEASURED").is_some() {
        kept["accepted_payment"] = counted.clone();
        std::fs::write(path(), format!("{kept:#}\n")).unwrap();
    }
    assert_eq!(
        counted, kept["accepted_payment"],
        "infra/measured.json has something else: run this test with UPDATE_MEASURED=1, then scripts/cost.py"
    );
}
