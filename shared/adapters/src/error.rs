//! What went wrong with a call to an outside system, and of what class it is. The class decides retry, review or dead letter.
//!
//! Must not: hold any text of a request or an answer that could be personal data. Codes, statuses and ids only.

use std::fmt;

/// The outside systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Stripe.
    Stripe,
    /// The EHR bridge.
    Ehr,
    /// QuickBooks Online.
    QuickBooks,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            System::Stripe => "Stripe",
            System::Ehr => "the EHR bridge",
            System::QuickBooks => "QuickBooks",
        })
    }
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing was done; later it may work (no connection, 5xx or 408 on a read).
    Transient,
    /// Nothing was done; the other side asked for a pause (429), in seconds where it says so.
    Throttled {
        /// `Retry-After`, in seconds.
        retry_after_s: Option<u32>,
    },
    /// A write whose outcome is unknown (no answer, or a 5xx): ask before doing it again.
    OutcomeUnknown,
    /// Nothing was done; somebody else is changing the same thing (409, 412).
    Conflict,
    /// It does not exist (404).
    NotFound,
    /// The other side does not accept our credentials (401, 403).
    Unauthorized,
    /// It will never be accepted like this (other 4xx).
    Rejected,
    /// The answer is not what the contract says.
    Bug,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attempted} at {system}: {detail}")]
pub struct CallError {
    /// Which system.
    pub system: System,
    /// What was attempted on which id: `read payment intent pi_1`.
    pub attempted: String,
    /// What kind of failure.
    pub class: Class,
    /// Status, error code and request id; never a body.
    pub detail: String,
    /// The vendor's own error code, such as a QuickBooks Fault code or Stripe's `code`.
    pub code: Option<String>,
}
