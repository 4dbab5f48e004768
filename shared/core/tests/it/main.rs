//! Tests of the core from outside: the decision table of design.md section 4 sentence by sentence, and properties of the money.
//!
//! Must not: touch a clock, the disk or the network. One binary, so that it is linked once.
#![expect(clippy::unwrap_used, reason = "a test that cannot build its case fails")]

mod credit;
mod effect_timeline;
mod matching_open;
mod matching_parked;
mod matching_table;
mod matching_who_pays;
mod money_histories;
mod money_properties;
mod movements;
mod newest_record;
mod payment_steps;
mod practice;
mod random;
mod recovery_attempt;
mod recovery_guard;
mod recovery_histories;
mod recovery_timeline;
mod subset_properties;
mod texts;
mod words;
