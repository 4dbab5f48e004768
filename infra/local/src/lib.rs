//! The command `vesper`: the whole bundle in one process, and the commands beside it.
//!
//! Must not: decide anything (that is `vesper-core`), or know an outside system's wire format (`vesper-adapters`).

pub mod backfill;
pub mod backtest;
#[cfg(test)]
mod between;
pub mod cli;
pub mod cloud;
pub mod demo;
pub mod doctor;
pub mod export;
pub mod pause;
pub mod progress;
pub mod secrets;
pub mod serve;
pub mod setup;
pub mod stack;

/// What the command allocates with, for the binaries that are it: its work is JSON in small pieces, and takes a tenth less time
/// than with the system's allocator.
pub use mimalloc::MiMalloc as Allocator;
use std::fmt;

/// A command that did not do what it was asked for: what to tell, and the exit status (design.md section 9).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// Plain text for a person: file, line, key and remedy, where there are such. No personal data.
    pub message: String,
    /// 1: a problem was found; 2: wrong usage, configuration or unreadable input.
    pub code: u8,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// A problem was found: exit status 1.
    #[must_use]
    pub fn problem(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// Wrong usage, configuration or input: exit status 2.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }
}
