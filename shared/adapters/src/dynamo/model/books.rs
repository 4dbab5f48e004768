//! Postings and their way into the books.

use crate::dynamo::item::{Key, Stored};
use crate::dynamo::keys;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use vesper_core::effect::{Effect, EffectState};
use vesper_core::money::Minor;
use vesper_core::posting::Posting;

/// How far a posting got (contracts/export.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostingState {
    /// Not sent yet.
    Prepared,
    /// The call is out.
    Sent,
    /// QuickBooks has it.
    Confirmed,
    /// The outcome of the call is unknown.
    Unknown,
}

impl PostingState {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PostingState::Prepared => "prepared",
            PostingState::Sent => "sent",
            PostingState::Confirmed => "confirmed",
            PostingState::Unknown => "unknown",
        }
    }
}

/// A posting and its way into QuickBooks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPosting {
    /// What is posted; its date may have moved to the first open day.
    pub posting: Posting,
    /// The date it was meant for, when that lay in a closed period.
    pub meant_for: Option<Date>,
    /// The accounts by their ids in QuickBooks, debit positive, fixed when it was decided.
    pub lines: Vec<(String, Minor)>,
    /// `VS-yymmdd-...`; None for a transfer.
    pub doc_number: Option<String>,
    /// Its effect.
    pub effect: Effect,
    /// QuickBooks' id.
    pub booked_id: Option<String>,
}
impl StoredPosting {
    /// How far it got.
    #[must_use]
    pub fn state(&self) -> PostingState {
        match (self.effect.state, self.effect.shadow, self.effect.unknown_since) {
            (EffectState::Done, false, _) => PostingState::Confirmed,
            (EffectState::Done, true, _) => PostingState::Prepared,
            (EffectState::Sent, ..) => PostingState::Sent,
            (_, _, Some(_)) => PostingState::Unknown,
            _ => PostingState::Prepared,
        }
    }
}
impl Stored for StoredPosting {
    const KIND: &'static str = "PostingV1";
    fn key(&self) -> Key {
        keys::posting(&self.posting.subject, &self.posting.id)
    }
    fn due(&self) -> Option<Timestamp> {
        self.effect.next_at
    }
    fn list(&self) -> Option<(String, String)> {
        let is_open = self.effect.state != EffectState::Done;
        is_open.then(|| (BOOKS_OPEN.to_owned(), format!("{}#{}", self.posting.date, self.posting.id)))
    }
}

/// The list of postings that QuickBooks does not have yet, by date.
pub const BOOKS_OPEN: &str = "BOOKS_OPEN";
