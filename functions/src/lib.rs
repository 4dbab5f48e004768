//! Vesper's functions: one use case a file, and what they share.
//!
//! Arrows: core <- adapters <- functions <- {infra/local, tests}. A use case reads, calls the pure core, commits once, then acts.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod changes;
pub mod dead_letters;
pub mod export;
pub mod failure;
pub mod import;
pub mod intake;
pub mod pause;
pub mod push_books;
pub mod reconcile;
pub mod review;
pub mod seal;
pub mod task;
#[cfg(test)]
pub mod testing;
pub mod work;
pub mod write_back;
