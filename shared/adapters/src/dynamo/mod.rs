//! The store: one DynamoDB table, through the real SDK only. Locally and in tests the same SDK talks to an engine in this
//! process (`embedded`); `faults` makes that engine throttle, conflict, lag and lose answers as AWS does.
//!
//! Must not: be looked into by others: only this module knows key names, attributes and indexes.

pub mod client;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod failure;
#[cfg(feature = "embedded")]
pub mod faults;
mod gather;
pub mod item;
mod keys;
pub mod load;
pub mod model;
pub mod row;
pub mod store;
pub mod table;
#[cfg(all(test, feature = "embedded"))]
mod tests;
