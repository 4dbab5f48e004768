//! One test binary: scenarios, properties, contracts, end to end.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail where it stands")]

mod backtest_vs_oracle;
mod canary;
mod contract;
mod crash;
mod family;
mod recovery;
mod restart;
mod scenarios;
