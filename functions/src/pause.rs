//! Pauses: a person holds the cards, the books, or all writing, at any time (design.md section 3, go_live). Deciding goes on.

use crate::app::App;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vesper_adapters::dynamo::item::{Read, Unit, stamp};
use vesper_adapters::dynamo::model::{Meta, StoredAudit, StoredPosting};
use vesper_adapters::dynamo::store::{Due, Failed, RowRef, Store, WriteBack};
use vesper_core::audit::AuditRecord;
use vesper_core::effect::Effect;

/// The small fact that holds the pause.
const NAME: &str = "pause";

/// How long an effect that a pause holds waits before it is looked at again, in seconds. The end of the pause wakes it.
pub(crate) const HELD_S: i64 = 15 * 60;
/// What a posting says that a pause holds.
pub(crate) const POSTINGS_HELD: &str = "postings are paused";
/// What a write-back says that a pause holds.
pub(crate) const WRITE_BACKS_HELD: &str = "paused by a person";
/// How many effects the end of a pause wakes at once; the others are due within fifteen minutes anyway.
const WOKEN_MAX: u32 = 5_000;

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

/// The row of a write-back, and what is held now: read in one call.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn with_write_back(app: &App, place: &RowRef) -> Result<(Option<WriteBack>, Pause), Unfinished> {
    let (row, pause) = app.store.write_back_and(place, NAME).await?;
    Ok((row, pause.unwrap_or_default()))
}

/// The row of a posting, what is held now, and this sealed fact: read in one call.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn with_posting<S: DeserializeOwned>(
    app: &App,
    place: &RowRef,
    secret: &str,
) -> Result<(Option<Read<StoredPosting>>, Pause, Option<S>), Unfinished> {
    let (row, pause, secret) = app.store.books_and(place, NAME, secret).await?;
    Ok((row, pause.unwrap_or_default(), secret))
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
    let mut outcome = store_once(store, pause, who, at, random_id.clone()).await;
    for _ in 1..TRIES_ON_CONFLICT {
        if outcome.as_ref().is_err_and(Failed::is_conflict) {
            outcome = store_once(store, pause, who, at, random_id.clone()).await;
        }
    }
    outcome?;
    if pause.holds_write_backs() { Ok(()) } else { wake(store, pause, at).await }
}

/// What the pause held and `pause` does not is due now: the next heartbeat finds it. Whoever is at work on a row meanwhile, or
/// is missed here, looks at it again by himself.
async fn wake(store: &Store, pause: Pause, at: Timestamp) -> Result<(), Failed> {
    for due in store.due(Timestamp::MAX, WOKEN_MAX).await? {
        let outcome = match due {
            Due::Books(row) if !pause.holds_postings() => wake_posting(store, &row, at).await,
            Due::WriteBack(row) => wake_write_back(store, &row, at).await,
            _ => Ok(()),
        };
        match outcome {
            Err(e) if !e.is_conflict() => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

async fn wake_posting(store: &Store, row: &RowRef, at: Timestamp) -> Result<(), Failed> {
    let Some(mut read) = store.books(row).await? else { return Ok(()) };
    if due_at(Some(&mut read.item.effect), POSTINGS_HELD, at) { store.save(&mut read).await } else { Ok(()) }
}

async fn wake_write_back(store: &Store, row: &RowRef, at: Timestamp) -> Result<(), Failed> {
    match store.write_back(row).await? {
        Some(WriteBack::Allocation(mut read)) => {
            if due_at(read.item.effect.as_mut(), WRITE_BACKS_HELD, at) {
                store.save(&mut read).await
            } else {
                Ok(())
            }
        }
        Some(WriteBack::Reversal(mut read)) => {
            if due_at(Some(&mut read.item.effect), WRITE_BACKS_HELD, at) {
                store.save(&mut read).await
            } else {
                Ok(())
            }
        }
        None => Ok(()),
    }
}

/// False when no pause holds it, or when it is due by then anyway.
fn due_at(effect: Option<&mut Effect>, held: &str, at: Timestamp) -> bool {
    let Some(effect) = effect.filter(|e| e.is_waiting() && e.problem.as_deref() == Some(held)) else { return false };
    let is_later = effect.next_at.is_some_and(|next| next > at);
    if is_later {
        effect.next_at = Some(at);
    }
    is_later
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
