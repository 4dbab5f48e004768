//! The outside systems of Vesper, one module each. Only these know keys, paths and wire formats.
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "aws")]
pub mod aws;
pub mod dynamo;
pub mod ehr;
pub mod error;
pub mod http;
pub mod personal;
pub mod quickbooks;
pub mod reqwest_transport;
pub mod settings;
pub mod stripe;
