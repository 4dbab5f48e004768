//! The functions behind a work queue: reconcile, write-back, push-books, payouts. Each carries only its own use case.

use super::messages::{Batch, BatchAnswer, work_off};
use super::ready::Apps;
use super::run::run;
use crate::app::App;
use crate::bus::DomainEvent;
use crate::failure::Unfinished;
use crate::task::{Queue, Task};
use crate::{chores, credit, payouts, push_books, reconcile, recovery, work, write_back};
use lambda_runtime::{Error, LambdaEvent};
use std::process::ExitCode;
use std::sync::Arc;

/// The name under which the bus asks import to read the EHR's feed.
pub const IMPORT_WANTED: &str = "import_wanted";

/// The event that makes import read the EHR's feed.
#[must_use]
pub fn import_wanted() -> DomainEvent {
    DomainEvent { name: IMPORT_WANTED.to_owned(), subject: "ehr".to_owned(), amount_minor: None, reason: None }
}

/// The function reconcile.
#[must_use]
pub fn reconcile() -> ExitCode {
    async fn handle(apps: Arc<Apps>, event: LambdaEvent<Batch>) -> Result<BatchAnswer, Error> {
        work_off(&apps, event, Queue::Events, |app, task| async move { of_events(&app, task).await }).await
    }
    run(Apps::new, handle)
}

async fn of_events(app: &App, task: Task) -> Result<(), Unfinished> {
    match task {
        Task::EventV1 { event } => reconcile::event(app, &event).await,
        Task::LookV1 { payment } => reconcile::payments::look(app, &payment).await,
        Task::RetryV1 { payment } => recovery::attempt(app, &payment).await,
        Task::CreditV1 { client } => credit::look(app, &client).await,
        Task::ListCustomersV1 => work::list_customers(app).await,
        Task::ImportV1 => {
            // The feed may be long: import reads it in a function of its own. A lost request is made up for by the next poll.
            app.bus.tell(import_wanted());
            Ok(())
        }
        Task::WriteBackV1 { .. } | Task::BooksV1 { .. } | Task::PayoutV1 { .. } | Task::ChoreV1 { .. } => {
            Ok(app.queues.send(task, 0).await?)
        }
    }
}

/// The function write-back.
#[must_use]
pub fn write_back() -> ExitCode {
    async fn handle(apps: Arc<Apps>, event: LambdaEvent<Batch>) -> Result<BatchAnswer, Error> {
        work_off(&apps, event, Queue::WriteBack, |app, task| async move {
            match task {
                Task::WriteBackV1 { row } => write_back::write(&app, &row).await,
                other => Ok(app.queues.send(other, 0).await?),
            }
        })
        .await
    }
    run(Apps::new, handle)
}

/// The function push-books.
#[must_use]
pub fn push_books() -> ExitCode {
    async fn handle(apps: Arc<Apps>, event: LambdaEvent<Batch>) -> Result<BatchAnswer, Error> {
        work_off(&apps, event, Queue::Books, |app, task| async move {
            match task {
                Task::BooksV1 { row } => push_books::push(&app, &row).await,
                other => Ok(app.queues.send(other, 0).await?),
            }
        })
        .await
    }
    run(Apps::new, handle)
}

/// The function payouts.
#[must_use]
pub fn payouts() -> ExitCode {
    async fn handle(apps: Arc<Apps>, event: LambdaEvent<Batch>) -> Result<BatchAnswer, Error> {
        work_off(&apps, event, Queue::Payouts, |app, task| async move {
            match task {
                Task::PayoutV1 { payout } => payouts::look(&app, &payout).await,
                Task::ChoreV1 { chore } => chores::work(&app, &chore).await,
                other => Ok(app.queues.send(other, 0).await?),
            }
        })
        .await
    }
    run(Apps::new, handle)
}
