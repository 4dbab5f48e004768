//! One task, whoever brings it: the queue of `vesper serve`, or an SQS event source.

use crate::app::App;
use crate::failure::Unfinished;
use crate::task::Task;
use crate::{chores, credit, import, payouts, push_books, reconcile, recovery, write_back};

/// Works off one task.
///
/// # Errors
/// The message is to come again; after five times it is a dead letter.
pub async fn work(app: &App, task: &Task) -> Result<(), Unfinished> {
    match task {
        Task::EventV1 { event } => reconcile::event(app, event).await,
        Task::LookV1 { payment } => reconcile::payments::look(app, payment).await,
        Task::RetryV1 { payment } => recovery::attempt(app, payment).await,
        Task::CreditV1 { client } => credit::look(app, client).await,
        Task::ImportV1 => import_now(app).await,
        Task::ListCustomersV1 => list_customers(app).await,
        Task::WriteBackV1 { row } => write_back::write(app, row).await,
        Task::BooksV1 { row } => push_books::push(app, row).await,
        Task::PayoutV1 { payout } => payouts::look(app, payout).await,
        Task::ChoreV1 { chore } => chores::work(app, chore).await,
    }
}

/// When the bridge or Stripe does not answer, the same is tried again after so long, in seconds; the poll comes besides.
const AGAIN_S: u32 = 60;
/// Somebody else is reading the feed: what this notice is about may come after the page he reads. In seconds.
const READ_AGAIN_S: u32 = 5;

/// Reads the EHR's feed; one reading at a time.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn import_now(app: &App) -> Result<(), Unfinished> {
    let _one_at_a_time = app.ehr.importing.lock().await;
    match import::import(app).await {
        Ok(true) => Ok(()),
        Ok(false) => Ok(app.queues.send(Task::ImportV1, READ_AGAIN_S).await?),
        Err(Unfinished::Call(e)) => {
            tracing::warn!(problem = %e, "the EHR's changes could not be read; the next poll goes on from here");
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// Lists Stripe's customers, once.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn list_customers(app: &App) -> Result<(), Unfinished> {
    match reconcile::customers::list_all(app).await {
        Err(Unfinished::Call(e)) => {
            tracing::warn!(problem = %e, "Stripe's customers could not be listed to the end; tried again in a minute");
            Ok(app.queues.send(Task::ListCustomersV1, AGAIN_S).await?)
        }
        other => other,
    }
}
