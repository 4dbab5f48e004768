//! Vesper's functions: one use case a file, and what they share.
//!
//! Arrows: core <- adapters <- functions <- {infra/local, tests}. A use case reads, calls the pure core, commits once, then acts.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod assemble;
pub mod bus;
pub mod changes;
pub mod chores;
pub mod credit;
pub mod dead_letters;
pub mod due;
pub mod export;
pub mod failure;
pub mod heal;
pub mod health;
pub mod import;
pub mod intake;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod pause;
pub mod payouts;
pub mod proof;
pub mod push_books;
pub mod reconcile;
pub mod recovery;
pub mod review;
pub mod seal;
pub mod start;
pub mod switch;
pub mod task;
#[cfg(test)]
pub mod testing;
pub mod work;
mod worklist;
pub mod write_back;
