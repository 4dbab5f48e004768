//! The audit trail: append-only records, sealed into a chain by the heartbeat (invariant 10).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The hash before the first seal.
pub const GENESIS: [u8; 32] = [0; 32];

/// What one record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When, RFC 3339.
    pub at: String,
    /// Who: `vesper`, or the signed-in person.
    pub who: String,
    /// What was done: `decided`, `answered`, `wrote_back`, ...
    pub action: String,
    /// On what: an id.
    pub subject: String,
    /// The rest, without personal data.
    pub detail: String,
}

impl AuditRecord {
    /// The record's hash: over every field, each with its length before it.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for field in [&self.at, &self.who, &self.action, &self.subject, &self.detail] {
            hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(field.as_bytes());
        }
        hash.finalize().into()
    }
}

/// seal n = H(seal n-1, sorted record hashes).
#[must_use]
pub fn seal(previous: [u8; 32], mut records: Vec<[u8; 32]>) -> [u8; 32] {
    records.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(previous);
    for record in records {
        hash.update(record);
    }
    hash.finalize().into()
}

/// Lower-case hex of a hash.
#[must_use]
pub fn hex(hash: [u8; 32]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}
