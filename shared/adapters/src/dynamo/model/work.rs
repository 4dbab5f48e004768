//! Work that waits or comes round: events, chores, small facts.

use super::stored;
use crate::dynamo::item::{Key, Stored};
use crate::dynamo::keys;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vesper_core::effect::Lease;
use vesper_core::event::Event;

/// An event whose work could not be finished: it is tried again like an effect, and after 24 h it is a dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// Since when it waits.
    pub since: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried again; None once it is a dead letter.
    pub next_at: Option<Timestamp>,
    /// What went wrong last.
    pub problem: String,
}
impl Stored for StoredEvent {
    const KIND: &'static str = "EventV1";
    fn key(&self) -> Key {
        keys::event(&self.event.id)
    }
    fn due(&self) -> Option<Timestamp> {
        self.next_at
    }
}

/// Small facts of the stack: cursor, pause, go_live, leases, tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Which fact.
    pub name: String,
    /// Its JSON.
    pub value: serde_json::Value,
}
stored!(Meta, "MetaV1", |m| keys::meta(&m.name));

/// A piece of work that the clock drives: the daily sweep, the nightly proof, a backfill. Its row is due when it is to begin, or to
/// go on; what it has done so far stands in it, so that a restart goes on from there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredChore {
    /// Which: `heal`, `proof`, `backfill`.
    pub name: String,
    /// When it is to begin or to go on; None when nobody wants it.
    pub next_at: Option<Timestamp>,
    /// Who is at work on it.
    pub lease: Option<Lease>,
    /// When this run began; None between two runs.
    pub started_at: Option<Timestamp>,
    /// When a run last came to its end.
    pub done_at: Option<Timestamp>,
    /// How often in a row it was cut short by something that did not answer.
    pub tries: u32,
    /// What went wrong last, or what the last run came to. No personal data.
    pub note: Option<String>,
    /// How far it is, in its own words.
    pub state: serde_json::Value,
}
impl Stored for StoredChore {
    const KIND: &'static str = "ChoreV1";
    fn key(&self) -> Key {
        keys::chore(&self.name)
    }
    fn due(&self) -> Option<Timestamp> {
        self.next_at
    }
}
