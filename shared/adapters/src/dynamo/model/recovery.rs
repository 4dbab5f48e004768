//! Failed cards and the tries to recover them.

use super::{newest_first, stored};
use crate::dynamo::item::{Key, Stored};
use crate::dynamo::keys;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vesper_core::event::Failure;
use vesper_core::ids::{CustomerId, InvoiceId, PaymentId};
use vesper_core::recovery::Recovery;

/// The retry ladder of a failed PaymentIntent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredRecovery {
    /// The recovery.
    pub recovery: Recovery,
}
impl Stored for StoredRecovery {
    const KIND: &'static str = "RecoveryV1";
    fn key(&self) -> Key {
        keys::recovery(self.recovery.payment())
    }
    fn due(&self) -> Option<Timestamp> {
        self.recovery.next_at
    }
}

/// The list of failed PaymentIntents, newest first.
pub const FAILURES: &str = "FAILURES";

/// The first failure of a PaymentIntent, whether it is tried again or only asked about. It never changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredFailure {
    /// What Stripe said.
    pub failure: Failure,
    /// Radar blocked it.
    pub blocked: bool,
    /// The event's `created`.
    pub at: Timestamp,
}
impl Stored for StoredFailure {
    const KIND: &'static str = "FailureV1";
    fn key(&self) -> Key {
        keys::failure(&self.failure.payment)
    }
    fn list(&self) -> Option<(String, String)> {
        Some((FAILURES.to_owned(), newest_first(self.at, self.failure.payment.as_str())))
    }
}

/// A customer's recoveries, so that a new card finds them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecoveryOf {
    /// The customer.
    pub customer: CustomerId,
    /// The failed PaymentIntent.
    pub payment: PaymentId,
}
stored!(RecoveryOf, "RecoveryOfV1", |r| keys::recovery_of(&r.customer, &r.payment));

/// An invoice that a recovery is about to charge for: nobody else may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InvoiceClaim {
    /// The invoice.
    pub invoice: InvoiceId,
    /// The PaymentIntent whose recovery holds it.
    pub payment: PaymentId,
}
stored!(InvoiceClaim, "InvoiceClaimV1", |c| keys::claim(&c.invoice));
