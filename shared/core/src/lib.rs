//! The pure core of Vesper. No I/O, no clock, no environment, no async: everything it needs is an argument.
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic, clippy::as_conversions, clippy::indexing_slicing)]
#![deny(clippy::expect_used, clippy::unwrap_used, clippy::panic)]
#![cfg_attr(
    test,
    allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod audit;
pub mod credit;
pub mod effect;
pub mod event;
pub mod ids;
pub mod matching;
pub mod money;
pub mod movement;
pub mod payment;
pub mod payout;
pub mod policy;
pub mod posting;
pub mod proof;
pub mod records;
pub mod recovery;
pub mod review;
pub mod world;
