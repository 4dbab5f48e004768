//! The connection to QuickBooks as setup and doctor meet it: what is stored, and a new consent of the owner.
//!
//! Must not: show a token, or refresh one outside the lease of `access`.

use super::access::{NoToken, TOKEN, token};
use crate::app::{App, Held};
use crate::failure::TRIES_ON_CONFLICT;
use jiff::Timestamp;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::oauth::{TokenPair, TokenState};

/// The stored connection; None before the first one.
///
/// # Errors
/// When the store does not answer, or holds what this data key does not open.
pub async fn stored(store: &Store) -> Result<Option<TokenState>, Failed> {
    Ok(store.secret_meta::<TokenState>(TOKEN).await?.map(|read| read.item))
}

/// Stores the pair of a new consent in the place of whatever is there: also of a refresh that is on its way, whose outcome
/// is then forgotten. `nonce` gives twelve random bytes, others at each call.
///
/// # Errors
/// When the store does not answer: then the owner has to consent again.
pub async fn consented(store: &Store, pair: &TokenPair, now: Timestamp, nonce: impl Fn() -> [u8; 12]) -> Result<(), Failed> {
    for _ in 1..TRIES_ON_CONFLICT {
        match consented_once(store, pair, now, nonce()).await {
            Err(e) if e.is_conflict() => {}
            other => return other,
        }
    }
    consented_once(store, pair, now, nonce()).await
}

async fn consented_once(store: &Store, pair: &TokenPair, now: Timestamp, nonce: [u8; 12]) -> Result<(), Failed> {
    let read = store.secret_meta::<TokenState>(TOKEN).await?;
    let next = TokenState::consented(read.as_ref().map(|r| &r.item), pair, now);
    store.set_secret_meta(TOKEN, &next, read.map_or(0, |r| r.rev), nonce).await?;
    Ok(())
}

/// Why there is no access token.
#[derive(Debug, thiserror::Error)]
pub enum NoAccess {
    /// The owner has to consent again.
    #[error("QuickBooks no longer accepts the connection")]
    Disconnected,
    /// Later it may work.
    #[error("no access to QuickBooks for now: {0}")]
    Later(String),
    /// There are no books in the settings.
    #[error("there are no books in the settings")]
    NoBooks,
}

/// An access token that is good now; it is refreshed under the lease where that is needed.
///
/// # Errors
/// [`NoAccess`].
pub async fn access(app: &App) -> Result<Secret, NoAccess> {
    let books = app.quickbooks.as_ref().ok_or(NoAccess::NoBooks)?;
    let held = Held::new(app);
    token(app, books, &held.owner, None).await.map_err(|e| match e {
        NoToken::Disconnected => NoAccess::Disconnected,
        NoToken::Wait { problem, .. } => NoAccess::Later(problem),
        NoToken::Store(e) => NoAccess::Later(e.to_string()),
    })
}
