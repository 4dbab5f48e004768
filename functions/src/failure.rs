//! What a use case may fail with, and what becomes of its message.

use crate::task::NotQueued;
use vesper_adapters::dynamo::item::BadItem;
use vesper_adapters::dynamo::store::Failed;
use vesper_adapters::dynamo::table::StoreError;
use vesper_adapters::error::{CallError, Class};

/// A use case that could not finish.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The store.
    #[error(transparent)]
    Store(#[from] Failed),
    /// An outside system.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A queue.
    #[error(transparent)]
    Queue(#[from] NotQueued),
    /// Others changed the same clients eight times in a row: later.
    #[error("decide {subject}: others kept changing the same clients")]
    Contended {
        /// The payment or record.
        subject: String,
    },
}

impl From<StoreError> for Unfinished {
    fn from(e: StoreError) -> Self {
        Unfinished::Store(Failed::Store(e))
    }
}

impl From<BadItem> for Unfinished {
    fn from(e: BadItem) -> Self {
        Unfinished::Store(Failed::Item(e))
    }
}

impl Unfinished {
    /// Somebody else was faster: read and decide again.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Unfinished::Store(f) if f.is_conflict())
    }

    /// It may work later without anybody's help.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Unfinished::Store(Failed::Store(e)) => !matches!(e, StoreError::Bug { .. }),
            Unfinished::Store(Failed::Item(_)) => false,
            Unfinished::Call(e) => !matches!(e.class, Class::Rejected | Class::Bug | Class::NotFound),
            Unfinished::Queue(_) | Unfinished::Contended { .. } => true,
        }
    }
}

/// How often a step is decided again when others change the same clients.
pub const TRIES_ON_CONFLICT: u32 = 8;

/// Waits a little before deciding again, longer each time, so that those who collide do not collide again.
pub async fn after_conflict(attempt: u32, random: [u8; 16]) {
    let most_ms = 4_u64 << attempt.min(6);
    let jitter = u64::from(u16::from_le_bytes([random[0], random[1]])) % most_ms;
    tokio::time::sleep(std::time::Duration::from_millis(jitter + 1)).await;
}
