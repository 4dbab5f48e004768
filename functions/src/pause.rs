//! Pauses: a person holds the cards, the books, or all writing, at any time (design.md section 3, go_live). Deciding goes on.

use crate::app::App;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vesper_adapters::dynamo::item::{Unit, stamp};
use vesper_adapters::dynamo::model::{Meta, StoredAudit};
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_core::audit::AuditRecord;

/// The small fact that holds the pause.
const NAME: &str = "pause";

/// What is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// Nothing.
    #[default]
    None,
    /// The cards.
    Retries,
    /// The books.
    Postings,
    /// Cards, books and write-backs.
    All,
}

impl Pause {
    /// Reads the word of the command line.
    #[must_use]
    pub fn parse(word: &str) -> Option<Pause> {
        match word {
            "none" => Some(Pause::None),
            "retries" => Some(Pause::Retries),
            "postings" => Some(Pause::Postings),
            "all" => Some(Pause::All),
            _ => None,
        }
    }

    /// The word of the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Pause::None => "none",
            Pause::Retries => "retries",
            Pause::Postings => "postings",
            Pause::All => "all",
        }
    }

    /// Whether cards are held.
    #[must_use]
    pub const fn holds_retries(self) -> bool {
        matches!(self, Pause::Retries | Pause::All)
    }

    /// Whether the books are held.
    #[must_use]
    pub const fn holds_postings(self) -> bool {
        matches!(self, Pause::Postings | Pause::All)
    }

    /// Whether write-backs are held.
    #[must_use]
    pub const fn holds_write_backs(self) -> bool {
        matches!(self, Pause::All)
    }
}

/// What is held now.
///
/// # Errors
/// When the store does not answer.
pub async fn current(app: &App) -> Result<Pause, Unfinished> {
    Ok(stored(&app.store).await?)
}

/// The same on a store alone.
///
/// # Errors
/// When the store does not answer.
pub async fn stored(store: &Store) -> Result<Pause, Failed> {
    Ok(store.meta::<Pause>(NAME).await?.map_or(Pause::None, |r| r.item))
}

/// Holds this from now on, and nothing else.
///
/// # Errors
/// When the store does not answer.
pub async fn set(app: &App, pause: Pause) -> Result<(), Unfinished> {
    Ok(store(&app.store, pause, "local", app.now(), app.random_hex()).await?)
}

/// The same on a store alone: the command line does it beside a running serve.
///
/// # Errors
/// When the store does not answer.
pub async fn store(store: &Store, pause: Pause, who: &str, at: Timestamp, random_id: String) -> Result<(), Failed> {
    // A person's word is not lost because a serve wrote at the same moment.
    for _ in 1..TRIES_ON_CONFLICT {
        match store_once(store, pause, who, at, random_id.clone()).await {
            Err(e) if e.is_conflict() => {}
            other => return other,
        }
    }
    store_once(store, pause, who, at, random_id).await
}

async fn store_once(store: &Store, pause: Pause, who: &str, at: Timestamp, random_id: String) -> Result<(), Failed> {
    let rev = store.meta::<Pause>(NAME).await?.map_or(0, |r| r.rev);
    let text = |s: &str| s.to_owned();
    let (subject, action) = (text("stack"), text("paused"));
    let record = AuditRecord { at: stamp(at), who: text(who), action, subject, detail: text(pause.as_str()) };
    let mut unit = Unit::new();
    let value = serde_json::Value::String(pause.as_str().to_owned());
    unit.put_sealed(&Meta { name: NAME.to_owned(), value }, rev, None);
    unit.insert(&StoredAudit { record, id: random_id, seal: None });
    store.commit(unit).await
}
