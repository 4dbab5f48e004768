//! The access to QuickBooks as the postings share it: one token for all, one refresh at a time, and what a lost connection
//! means for those who wait (design.md section 6; the steps are those of `quickbooks::oauth`).
//!
//! Must not: use a token pair before it is stored, or show one.

use super::HELD_S;
use super::outcome::send;
use crate::app::{App, Held, QuickBooks};
use crate::changes::{Ask, Changes, next_salt};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use jiff::{SignedDuration, Timestamp};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{Meta, StoredPosting};
use vesper_adapters::dynamo::store::{Due, Failed, RowRef};
use vesper_adapters::error::Class;
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::oauth::{self, RefreshError, TokenState, TokenStep, after_refresh, next_step};
use vesper_adapters::settings::Books;
use vesper_core::ids::ReviewId;
use vesper_core::review::{Answer, Question, Reason, Status};

/// The sealed fact that holds the tokens.
pub(super) const TOKEN: &str = "books_token";
/// The small fact that names the review about the lost connection.
const TOLD: &str = "books_reconnect_review";
/// What a posting that waits for the connection says.
pub(super) const DISCONNECTED: &str = "QuickBooks is disconnected";
/// How many waiting postings a reconnect wakes at once; the others are due within fifteen minutes anyway.
const WOKEN_MAX: u32 = 1_000;
/// How often a new token pair is written when the table does not answer: without it the connection may be lost.
const STORE_TRIES: u32 = 5;
/// After so long a person who closed the review without connecting is asked again, in seconds.
const ASK_AGAIN_S: i64 = 24 * 3600;

/// There is no access token now.
#[derive(Debug)]
pub(super) enum NoToken {
    /// Try again then, in seconds.
    Wait { after_s: u32, problem: String },
    /// A person must connect again.
    Disconnected,
    /// The store.
    Store(Unfinished),
}

impl From<Failed> for NoToken {
    fn from(e: Failed) -> Self {
        NoToken::Store(e.into())
    }
}

/// An access token to call with; another one than `refused`, which QuickBooks did not accept.
pub(super) async fn token(app: &App, books: &QuickBooks, owner: &str, refused: Option<&Secret>) -> Result<Secret, NoToken> {
    if let Some(access) = usable(app, refused).await? {
        return Ok(access);
    }
    let _one_at_a_time = books.refreshing.lock().await;
    for attempt in 0..TRIES_ON_CONFLICT {
        let (state, rev) = stored(app, refused).await?;
        match next_step(state.as_ref(), env_token(app)?, app.now(), owner) {
            TokenStep::Use(access) => return Ok(access),
            TokenStep::Disconnected => return Err(NoToken::Disconnected),
            TokenStep::WaitForOther { until } => return Err(wait_until(app, until)),
            // Nobody takes the lease who may be stopped before he has stored the new pair.
            TokenStep::TakeLeaseAndRefresh(_) if !app.has_time_for(oauth::CALL_NEEDS_S) => {
                return Err(NoToken::Wait { after_s: 1, problem: "too little of the function's time is left".to_owned() });
            }
            TokenStep::TakeLeaseAndRefresh(leased) => match app.store.set_secret_meta(TOKEN, &leased, rev, app.nonce()).await {
                Ok(rev) => return refresh(app, books, leased, rev).await,
                Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
                Err(e) => return Err(e.into()),
            },
        }
    }
    Err(NoToken::Store(Unfinished::Contended { subject: TOKEN.to_owned() }))
}

/// The access token of this stored state, where it can be used as it is.
pub(super) fn ready(app: &App, state: &TokenState) -> Option<Secret> {
    match next_step(Some(state), env_token(app).ok()?, app.now(), "") {
        TokenStep::Use(access) => Some(access),
        TokenStep::Disconnected | TokenStep::TakeLeaseAndRefresh(_) | TokenStep::WaitForOther { .. } => None,
    }
}

/// The stored token, where it can be used as it is: the ordinary case, without waiting for anybody.
async fn usable(app: &App, refused: Option<&Secret>) -> Result<Option<Secret>, NoToken> {
    let (state, _) = stored(app, refused).await?;
    match next_step(state.as_ref(), env_token(app)?, app.now(), "") {
        TokenStep::Use(access) => Ok(Some(access)),
        TokenStep::Disconnected => Err(NoToken::Disconnected),
        TokenStep::TakeLeaseAndRefresh(_) | TokenStep::WaitForOther { .. } => Ok(None),
    }
}

async fn stored(app: &App, refused: Option<&Secret>) -> Result<(Option<TokenState>, u64), NoToken> {
    let read: Option<Read<TokenState>> = app.store.secret_meta(TOKEN).await?;
    let Some(read) = read else { return Ok((None, 0)) };
    let state = match refused {
        Some(access) => read.item.without_refused(access),
        None => read.item,
    };
    Ok((Some(state), read.rev))
}

fn env_token(app: &App) -> Result<&Secret, NoToken> {
    let problem = "QuickBooks' secrets are missing".to_owned();
    app.secrets.quickbooks.as_ref().map(|q| &q.refresh_token).ok_or(NoToken::Wait { after_s: 0, problem })
}

fn wait_until(app: &App, until: Timestamp) -> NoToken {
    let left_s = until.duration_since(app.now()).as_secs().saturating_add(1);
    NoToken::Wait {
        after_s: u32::try_from(left_s).unwrap_or(1),
        problem: "somebody else is refreshing the access token".to_owned(),
    }
}

/// The lease is ours and stored: exchanges the token, and stores the outcome before it is used.
async fn refresh(app: &App, books: &QuickBooks, leased: TokenState, rev: u64) -> Result<Secret, NoToken> {
    let until = leased.lease.as_ref().map_or(app.now(), |l| l.until);
    let (Books::QuickBooks(settings), Some(secrets)) = (&app.settings.books, &app.secrets.quickbooks) else {
        return Err(NoToken::Wait { after_s: 0, problem: "there are no books in the settings".to_owned() });
    };
    if !leased.lease.as_ref().is_some_and(|l| l.leaves_time(app.now(), None)) {
        return Err(wait_until(app, until));
    }
    let current = Secret::new(leased.refresh.as_str());
    let (url, id, secret) = (&settings.token_url, &secrets.client_id, &secrets.client_secret);
    let outcome = oauth::refresh(books.transport.as_ref(), url, id, secret, &current).await;
    let next = after_refresh(leased, &outcome, app.now());
    store(app, &next, rev).await?;
    match outcome {
        Ok(pair) => {
            tracing::info!("QuickBooks: the access token was refreshed");
            if let Err(e) = restored(app).await {
                // The review stays open until the next refresh, within the hour.
                tracing::warn!(error = %e, "QuickBooks is connected, but its review could not be closed");
            }
            Ok(pair.access)
        }
        Err(RefreshError::InvalidGrant) if next.disconnected => Err(NoToken::Disconnected),
        Err(RefreshError::OutcomeUnknown(_)) => Err(wait_until(app, until)),
        Err(e @ (RefreshError::InvalidGrant | RefreshError::InvalidClient)) => {
            Err(NoToken::Wait { after_s: 0, problem: e.to_string() })
        }
        Err(RefreshError::Transient(e)) => {
            let after_s = match e.class {
                Class::Throttled { retry_after_s } => retry_after_s.unwrap_or(0),
                _ => 0,
            };
            Err(NoToken::Wait { after_s, problem: e.to_string() })
        }
    }
}

/// Stores what a refresh brought. A pair that is not stored is lost, and with it perhaps the connection: so it is tried
/// again, also when the table refused the write because another was under way. Who finds that somebody reconnected meanwhile
/// forgets the outcome.
async fn store(app: &App, next: &TokenState, rev: u64) -> Result<(), NoToken> {
    let mut last = NoToken::Store(Unfinished::Contended { subject: TOKEN.to_owned() });
    for attempt in 0..STORE_TRIES {
        match app.store.set_secret_meta(TOKEN, next, rev, app.nonce()).await {
            Ok(_) => return Ok(()),
            Err(e) if e.is_conflict() => {
                let (state, now_rev) = stored(app, None).await?;
                // Perhaps an earlier try of this very write, whose answer was lost.
                if state.as_ref() == Some(next) {
                    return Ok(());
                }
                if now_rev != rev {
                    return Err(NoToken::Wait { after_s: 0, problem: "somebody reconnected meanwhile".to_owned() });
                }
            }
            Err(e) => last = e.into(),
        }
        after_conflict(attempt.saturating_add(3), app.host.random()).await;
    }
    Err(last)
}

/// At the start of a process: when the practice connected again (another QUICKBOOKS_REFRESH_TOKEN), the postings that waited
/// for it go on at once. Calls nothing when there is nothing to repair, nor in shadow mode.
///
/// # Errors
/// When the store or a queue does not answer. A token endpoint that does not answer is no error: the postings try again.
pub async fn reconnected(app: &App) -> Result<(), Unfinished> {
    let Some(books) = app.quickbooks.as_ref().filter(|_| !app.is_shadow()) else { return Ok(()) };
    let told = told(app).await?.and_then(|r| r.item).is_some();
    let state: Option<TokenState> = app.store.secret_meta(TOKEN).await?.map(|r| r.item);
    let Some(state) = state.filter(|s| s.disconnected || told) else { return Ok(()) };
    let held = Held::new(app);
    match token(app, books, &held.owner, None).await {
        Ok(_) => restored(app).await,
        Err(NoToken::Store(e)) => Err(e),
        Err(NoToken::Wait { .. } | NoToken::Disconnected) => {
            tracing::warn!(disconnected = state.disconnected, "QuickBooks is not connected");
            Ok(())
        }
    }
}

async fn told(app: &App) -> Result<Option<Read<Option<ReviewId>>>, Unfinished> {
    Ok(app.store.meta(TOLD).await?)
}

fn told_row(review: Option<&ReviewId>) -> Meta {
    let value = review.map_or(serde_json::Value::Null, |id| id.as_str().into());
    Meta { name: TOLD.to_owned(), value }
}

/// Asks a person to connect again, once for all postings that wait.
pub(super) async fn tell(app: &App, changes: &mut Changes<'_>, row: &RowRef, posting: &StoredPosting) -> Result<(), Unfinished> {
    let told = told(app).await?;
    let (id, rev) = told.map_or((None, 0), |r| (r.item, r.rev));
    if let Some(id) = &id
        && let Some(review) = app.store.review(id).await?
    {
        let review = review.item.review;
        let age_s = review.closed_at.map(|at| changes.now().duration_since(at).as_secs());
        let answered = review.resolution.as_deref() == Some(Answer::Retry.to_string().as_str());
        if review.status == Status::Open || (!answered && age_s.is_some_and(|age| age < ASK_AGAIN_S)) {
            return Ok(());
        }
    }
    let evidence = "QuickBooks no longer accepts our refresh token: connect again and set QUICKBOOKS_REFRESH_TOKEN";
    let question = Question::new(Reason::BooksReconnect, vec![Answer::Retry], evidence);
    let subject = posting.posting.id.as_str();
    let salt = next_salt(app, subject, Reason::BooksReconnect).await?;
    let about = serde_json::to_string(row).ok();
    let id = changes.ask(Ask { subject, payment: None, question, salt: &salt, about }).await?;
    changes.unit.put_sealed(&told_row(Some(&id)), rev, None);
    Ok(())
}

/// The connection works again: its review closes, and the postings that waited are due now.
async fn restored(app: &App) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        let Some(Read { item: Some(id), rev, .. }) = told(app).await? else { return Ok(()) }; // Somebody else did it.
        let mut changes = Changes::new(app, app.now());
        if let Some(review) = app.store.review(&id).await?
            && review.item.review.status == Status::Open
        {
            changes.close_review(&review, "reconnected");
        }
        changes.audit("reconnected", "quickbooks", id.as_str());
        changes.unit.put_sealed(&told_row(None), rev, None);
        match changes.commit().await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            result => {
                result?;
                return wake(app).await;
            }
        }
    }
    Err(Unfinished::Contended { subject: TOLD.to_owned() })
}

async fn wake(app: &App) -> Result<(), Unfinished> {
    let until = app.now().saturating_add(SignedDuration::from_secs(HELD_S)).unwrap_or(Timestamp::MAX);
    for due in app.store.due(until, WOKEN_MAX).await? {
        let Due::Books(row) = due else { continue };
        let Some(mut read) = app.store.books(&row).await? else { continue };
        let effect = &mut read.item.effect;
        let held = effect.lease.as_ref().is_some_and(|l| app.host.alive(l));
        if held || !effect.is_waiting() || effect.problem.as_deref() != Some(DISCONNECTED) {
            continue;
        }
        effect.redrive(app.now());
        match app.store.save(&mut read).await {
            Err(e) if e.is_conflict() => {}
            result => {
                result?;
                send(app, &row, 0).await?;
            }
        }
    }
    Ok(())
}
