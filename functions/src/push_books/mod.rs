//! push-books: brings one posting into QuickBooks, exactly once (design.md section 6).
//!
//! `sent` is stored before anything is called, the moment of a create before the create; both at once where the create is the first
//! call. Who finds an unknown outcome asks QuickBooks first. Must not: edit or delete anything there, or decide what is posted.

mod access;
mod books;
pub mod connect;
mod outcome;
#[cfg(test)]
mod tests;

pub use access::reconnected;

use crate::app::{App, Held};
use crate::changes::Changes;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::pause::{self, Pause};
use crate::task::Task;
use books::{Stop, Work};
use vesper_adapters::dynamo::store::RowRef;
use vesper_adapters::error::{CallError, Class, System};
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::QuickBooksClient;
use vesper_core::effect::{Begin, EffectState};

/// How long a posting waits without a connection, in shadow mode, or without books before it is looked at again, in seconds.
const HELD_S: i64 = 15 * 60;

/// Works off one posting. What QuickBooks or the network refuses is noted in the row and is no error of the message.
///
/// # Errors
/// When the store or a queue does not answer: the message comes again.
pub async fn push(app: &App, row: &RowRef) -> Result<(), Unfinished> {
    let (read, pause, token) = pause::with_posting(app, row, access::TOKEN).await?;
    let Some(mut read) = read else { return Ok(()) };
    let held = Held::new(app);
    let Begin::Go { ask_first } = read.item.effect.begin(app.now(), &held.owner, |l| app.host.alive(l)) else {
        return Ok(());
    };
    let stop = match (held_back(app, pause), &app.quickbooks) {
        (Some(stop), _) => Some(stop),
        (None, None) => Some(Stop::Held { after_s: HELD_S, why: "there are no books in the settings" }),
        // Before the row is `sent`: hundreds may wait for their turn, and each of them costs a write then, not two.
        (None, Some(quickbooks)) => books::pace(app, quickbooks).err(),
    };
    let access = token.filter(|_| !ask_first).and_then(|state| access::ready(app, &state));
    // With an access token at hand a create is the first call: that the row is ours is stored with its moment.
    if stop.is_none()
        && access.is_none()
        && let Err(e) = app.store.save(&mut read).await
    {
        // Whoever was first has it now.
        return if e.is_conflict() { Ok(()) } else { Err(e.into()) };
    }
    let mut work = Work { app, owner: held.owner.clone(), row: row.clone(), read, access, called: false };
    let outcome = match (stop, &app.quickbooks) {
        (None, Some(quickbooks)) => work.book(quickbooks, ask_first).await,
        (Some(stop), _) => Err(stop),
        (None, None) => return Ok(()),
    };
    match work.finish(outcome).await {
        // Somebody took the row over meanwhile. He asks QuickBooks first.
        Err(e) if e.is_conflict() => Ok(()),
        result => result,
    }
}

/// An access token to read QuickBooks with, another one than `refused`. None when QuickBooks is not read: there are no books, nobody
/// is connected, or it is shadow mode, which writes to no token endpoint either. The read takes its place in the pace of the calls.
///
/// # Errors
/// When the token endpoint or the store does not answer.
pub async fn reading<'a>(app: &'a App, refused: Option<&Secret>) -> Result<Option<(&'a QuickBooksClient, Secret)>, Unfinished> {
    let Some(books) = app.quickbooks.as_ref().filter(|_| !app.is_shadow()) else { return Ok(None) };
    let held = Held::new(app);
    let _ = books::pace(app, books); // One call of the night waits for nobody; the others wait the longer for it.
    match access::token(app, books, &held.owner, refused).await {
        Ok(access) => Ok(Some((&books.client, access))),
        Err(access::NoToken::Disconnected) => Ok(None),
        Err(access::NoToken::Store(e)) => Err(e),
        Err(access::NoToken::Wait { problem, .. }) => {
            let (system, attempted, class) = (System::QuickBooks, "read QuickBooks".to_owned(), Class::Transient);
            Err(CallError { system, attempted, class, detail: problem, code: None }.into())
        }
    }
}

/// Why nothing may be posted now.
fn held_back(app: &App, pause: Pause) -> Option<Stop> {
    if app.is_shadow() {
        return Some(Stop::Held { after_s: HELD_S, why: "shadow mode writes to no outside system" });
    }
    pause.holds_postings().then_some(Stop::Held { after_s: pause::HELD_S, why: pause::POSTINGS_HELD })
}

/// Brings a posting back to work by a person's hand: due now, with a new 24 hours. One that is done, or that somebody is at
/// work on, stays as it is. The reviews about its failure close when it succeeds.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn redrive(app: &App, row: &RowRef) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match redrive_once(app, row).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            result => return result,
        }
    }
    Err(Unfinished::Contended { subject: "a posting".to_owned() })
}

async fn redrive_once(app: &App, row: &RowRef) -> Result<(), Unfinished> {
    let Some(mut read) = app.store.books(row).await? else { return Ok(()) };
    let effect = &mut read.item.effect;
    if effect.state == EffectState::Done || effect.lease.as_ref().is_some_and(|l| app.host.alive(l)) {
        return Ok(());
    }
    effect.redrive(app.now());
    let mut changes = Changes::new(app, app.now());
    changes.audit("redriven", &read.item.posting.subject, read.item.posting.id.as_str());
    changes.unit.update(&read);
    changes.commit().await?;
    Ok(app.queues.send(Task::BooksV1 { row: row.clone() }, 0).await?)
}
