//! Vesper's functions: one use case a file, and what they share.
//!
//! Arrows: core <- adapters <- functions <- {infra/local, tests}. A use case reads, calls the pure core, commits once, then acts.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod changes;
pub mod credit;
pub mod dead_letters;
pub mod export;
pub mod failure;
pub mod health;
pub mod import;
pub mod intake;
pub mod pause;
pub mod payouts;
pub mod push_books;
pub mod reconcile;
pub mod recovery;
pub mod review;
pub mod seal;
pub mod switch;
pub mod task;
#[cfg(test)]
pub mod testing;
pub mod work;
mod worklist;
pub mod write_back;

/// A domain event, for the practice's own rules: ids and amounts only. Until the bus is there it is a line in the log.
pub(crate) fn domain_event(name: &str, subject: &str, amount: vesper_core::money::Minor) {
    tracing::info!(event.name = name, subject, amount_minor = amount.get(), "domain event");
}
