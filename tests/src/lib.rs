//! What the tests of Vesper share: an independent evaluator of the decision table and made-up practices.
//!
//! Must not: be used by the product.

pub mod generator;
pub mod harness;
pub mod lambda;
pub mod measure;
pub mod oracle;
