//! The pure core of Vesper. No I/O, no clock, no environment, no async: everything it needs is an argument.
pub mod event;
pub mod ids;
pub mod money;
pub mod policy;
pub mod records;
