//! What a person is asked, what could not be worked off, and the audit trail.

use super::stored;
use crate::dynamo::item::{Key, Stored, stamp};
use crate::dynamo::keys;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vesper_core::audit::AuditRecord;
use vesper_core::review::{Review, Status};

/// The list of open reviews.
pub const REVIEWS_OPEN: &str = "REVIEWS_OPEN";

/// A review.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredReview {
    /// The review.
    pub review: Review,
}
impl Stored for StoredReview {
    const KIND: &'static str = "ReviewV1";
    fn key(&self) -> Key {
        keys::review(&self.review.id)
    }
    fn list(&self) -> Option<(String, String)> {
        (self.review.status == Status::Open)
            .then(|| (REVIEWS_OPEN.to_owned(), format!("{}#{}", stamp(self.review.opened_at), self.review.id)))
    }
}

/// Which reviews there are about a subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewOf {
    /// The subject.
    pub subject: String,
    /// The review.
    pub review: vesper_core::ids::ReviewId,
}
stored!(ReviewOf, "ReviewOfV1", |r| keys::review_of(&r.subject, &r.review));

/// A message that no consumer could work off, or an event that gave up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The queue it died in.
    pub queue: String,
    /// The message's id; for an event that gave up, the event's.
    pub id: String,
    /// The message, for a redrive. Projected events and keys: no personal data.
    pub body: String,
    /// When it died.
    pub at: Timestamp,
    /// What went wrong last.
    pub problem: String,
}
stored!(DeadLetter, "DeadLetterV1", |d| keys::dead_letter(&d.queue, &d.id));

/// The list of audit records that no seal covers yet.
pub const AUDIT_OPEN: &str = "AUDIT_OPEN";

/// An audit record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredAudit {
    /// The record.
    pub record: AuditRecord,
    /// Random, so that two records of one second stay apart.
    pub id: String,
    /// The seal that covers it.
    pub seal: Option<u64>,
}
impl Stored for StoredAudit {
    const KIND: &'static str = "AuditV1";
    fn key(&self) -> Key {
        keys::audit(self.record.at.get(..10).unwrap_or_default(), &self.record.at, &self.id)
    }
    fn list(&self) -> Option<(String, String)> {
        self.seal.is_none().then(|| (AUDIT_OPEN.to_owned(), format!("{}#{}", self.record.at, self.id)))
    }
}

/// One seal of the audit trail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredSeal {
    /// Counts from 1.
    pub n: u64,
    /// The hashes of the records it covers, hex, sorted.
    pub records: Vec<String>,
    /// H(previous seal, records), hex.
    pub hash: String,
    /// When.
    pub at: Timestamp,
}
stored!(StoredSeal, "SealV1", |s| keys::seal(s.n));
