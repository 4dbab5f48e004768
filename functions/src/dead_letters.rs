//! Dead letters: messages and effects that nobody could work off. Each is a row and a question, until somebody redrives it.

use crate::app::App;
use crate::changes::{Ask, Changes, next_salt, review_id};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::task::Task;
use crate::{chores, push_books, write_back};
use vesper_adapters::dynamo::item::{Stored, item_of};
use vesper_adapters::dynamo::model::{DeadLetter, StoredAllocation, StoredPosting, StoredReversal};
use vesper_adapters::dynamo::row::Row;
use vesper_adapters::dynamo::store::RowRef;
use vesper_core::effect::{Effect, EffectState};
use vesper_core::event::Event;
use vesper_core::review::{Answer, Question, Reason, Status};

/// A message came five times and nobody could work it off: it becomes a row with its review.
///
/// # Errors
/// When the store does not answer; then the message stays where it is.
pub async fn bury(app: &App, id: &str, task: &Task, problem: &str) -> Result<(), Unfinished> {
    bury_as(app, task.queue().as_str(), id, &serde_json::to_string(task).unwrap_or_default(), problem).await
}

/// The same of a message as it stood on its queue, which this release may not be able to read: a later one may.
///
/// # Errors
/// When the store does not answer; then the message stays where it is.
pub async fn bury_as(app: &App, queue: &str, id: &str, body: &str, problem: &str) -> Result<(), Unfinished> {
    let asked = app.store.review(&review_id(Reason::DeadLetter, id, "")).await?;
    if asked.is_some_and(|r| r.item.review.status == Status::Resolved) {
        // It was stored, only its removal from the queue came to nothing; meanwhile somebody has answered.
        tracing::warn!(queue, message.id = id, "a dead letter comes once more, and is answered already");
        return Ok(());
    }
    tracing::error!(queue, message.id = id, problem, "a message is a dead letter");
    let evidence = format!("a message on {queue} could not be worked off");
    let (queue, body, problem) = (queue.to_owned(), body.to_owned(), problem.to_owned());
    let letter = DeadLetter { queue, id: id.to_owned(), body, at: app.now(), problem };
    store_letter(app, letter, evidence, "").await
}

/// A piece of work that goes on by itself has not got on for a day: a person is told, and told again each time that it is so for
/// another day after he has answered.
///
/// # Errors
/// When the store does not answer.
pub async fn not_getting_on(app: &App, name: &str, task: &Task, problem: &str) -> Result<(), Unfinished> {
    let salt = next_salt(app, name, Reason::DeadLetter).await?;
    let (queue, body) = (task.queue().as_str().to_owned(), serde_json::to_string(task).unwrap_or_default());
    let letter = DeadLetter { queue, id: name.to_owned(), body, at: app.now(), problem: problem.to_owned() };
    store_letter(app, letter, format!("{name} does not get on. The last problem: {problem}"), &salt).await?;
    tell_stuck(name, problem);
    Ok(())
}

async fn store_letter(app: &App, letter: DeadLetter, evidence: String, salt: &str) -> Result<(), Unfinished> {
    let mut changes = Changes::new(app, letter.at);
    changes.unit.put(&letter);
    let question = Question::new(Reason::DeadLetter, vec![Answer::Retry], evidence);
    changes.ask(Ask { subject: &letter.id, payment: None, question, salt, about: None }).await?;
    changes.commit().await
}

/// An effect was given up. An alarm counts these words, so every way of giving up says them.
pub(crate) fn tell_dead(effect: &Effect) {
    let problem = effect.problem.as_deref().unwrap_or_default();
    tracing::error!(effect.id = %effect.id, kind = effect.kind.as_str(), problem, "an effect is dead");
}

/// A piece of work has had no outside answer for a day, and a person is asked. An alarm counts these words, too. `work` is its
/// name or its id.
pub(crate) fn tell_stuck(work: &str, problem: &str) {
    tracing::error!(work, problem, "a piece of work does not get on");
}

/// A row is due that this release cannot read: it stays as it is, and a person is told once. A later release may read it.
///
/// # Errors
/// When the store does not answer.
pub async fn unreadable(app: &App, row: &RowRef, problem: &str) -> Result<(), Unfinished> {
    let subject = row.to_string();
    tracing::error!(row = subject, problem, "a stored row that is due cannot be read");
    for attempt in 0..TRIES_ON_CONFLICT {
        let mut changes = Changes::new(app, app.now());
        let evidence = format!("what is stored there is due and cannot be read by this release: {problem}");
        let question = Question::new(Reason::DeadLetter, vec![], evidence);
        changes.ask(Ask { subject: &subject, payment: None, question, salt: problem, about: None }).await?;
        match changes.commit().await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject })
}

/// The dead letter is worked off after all: its question is answered.
///
/// # Errors
/// When the store does not answer.
pub async fn resolved(app: &App, subject: &str) -> Result<(), Unfinished> {
    let mut changes = Changes::new(app, app.now());
    for review in app.store.reviews_about(subject).await? {
        let reason = review.item.review.question.reason;
        let about_failure = matches!(reason, Reason::DeadLetter | Reason::WriteBackRefused | Reason::BooksRefused);
        if review.item.review.status == Status::Open && about_failure {
            changes.close_review(&review, "it succeeded");
        }
    }
    changes.commit().await
}

/// Every dead letter and dead effect goes back to work. Returns how many.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn redrive_all(app: &App) -> Result<usize, Unfinished> {
    let mut moved = 0_usize;
    for letter in app.store.dead_letters().await? {
        redrive_letter(app, &letter).await?;
        moved = moved.saturating_add(1);
    }
    let mut dead: Vec<(bool, RowRef)> = Vec::new();
    let kinds = [StoredPosting::KIND, StoredAllocation::KIND, StoredReversal::KIND];
    app.store.scan_of(&kinds, &mut |row| dead.extend(dead_effect(&row))).await?;
    moved = moved.saturating_add(dead.len());
    for (is_posting, place) in dead {
        if is_posting {
            push_books::redrive(app, &place).await?;
        } else {
            write_back::redrive(app, &place).await?;
        }
    }
    Ok(moved)
}

/// One dead letter goes back to work.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn redrive_letter(app: &App, letter: &DeadLetter) -> Result<(), Unfinished> {
    let task = serde_json::from_str::<Task>(&letter.body).ok();
    let event = serde_json::from_str::<Event>(&letter.body).ok();
    let of_event = matches!(&task, Some(Task::EventV1 { event }) if event.id.as_str() == letter.id);
    let is_message = task.is_some() && !of_event;
    if let Some(event) = &event
        && let Some(mut row) = app.store.event(&event.id).await?
    {
        row.item.since = app.now();
        row.item.tries = 0;
        row.item.next_at = Some(app.now());
        app.store.save(&mut row).await?;
    }
    if let Some(task) = task.or_else(|| event.map(|event| Task::EventV1 { event })) {
        match task {
            // It would wait for its next try, up to an hour. One that came to its end meanwhile is not begun again.
            Task::ChoreV1 { chore } if app.store.chore(&chore).await?.is_some_and(|c| c.item.tries > 0) => {
                chores::wanted(app, &chore).await?;
            }
            task => app.queues.send(task, 0).await?,
        }
        if is_message {
            // It comes as a new message: if that dies, too, it is asked about anew.
            resolved(app, &letter.id).await?;
        }
        app.store.forget_dead_letter(&letter.queue, &letter.id).await?;
    }
    Ok(())
}

/// Whether the row is a dead effect, and whether that is a posting.
fn dead_effect(row: &Row) -> Option<(bool, RowRef)> {
    let is_dead = |e: &Effect| e.state == EffectState::Dead;
    match row.kind.as_str() {
        StoredPosting::KIND => {
            let item = item_of::<StoredPosting>(row).ok()?.item;
            is_dead(&item.effect).then(|| (true, RowRef::of(&item)))
        }
        StoredAllocation::KIND => {
            let item = item_of::<StoredAllocation>(row).ok()?.item;
            item.effect.as_ref().is_some_and(is_dead).then(|| (false, RowRef::of(&item)))
        }
        StoredReversal::KIND => {
            let item = item_of::<StoredReversal>(row).ok()?.item;
            is_dead(&item.effect).then(|| (false, RowRef::of(&item)))
        }
        _ => None,
    }
}
