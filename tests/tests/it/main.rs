//! One test binary: scenarios, properties, contracts, end to end.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail where it stands")]

mod backtest_vs_oracle;
mod beat;
mod bundle;
mod canary;
mod contract;
mod crash;
mod credit;
mod family;
mod functions;
mod healing;
mod iam;
mod pages;
mod payouts;
mod postings;
mod recovery;
mod refunds;
mod restart;
mod samples;
mod scenarios;
mod soak;
mod stack;
mod worklist;
