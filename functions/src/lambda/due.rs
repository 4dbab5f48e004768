//! The function due: once a minute it wakes what is due and seals the audit trail; every five minutes, and when it
//! starts, it turns dead letters into questions and counts the open ones.

use super::ready::Apps;
use super::run::run;
use super::workers::import_wanted;
use crate::app::App;
use crate::failure::Unfinished;
use crate::task::Task;
use crate::{dead_letters, due, reconcile, seal, start};
use lambda_runtime::{Error, LambdaEvent};
use serde::de::IgnoredAny;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use vesper_adapters::aws::AwsError;
use vesper_adapters::aws::queue::Sqs;

/// At most so many rows are woken by one beat; the next one goes on.
const MOST: u32 = 1_000;
/// So often dead letters are received, in minutes.
const EVERY_MINUTES: i64 = 5;
/// Open questions are counted up to here.
const REVIEWS_MAX: u32 = 500;
/// So often one beat asks one queue for dead letters: ten at a time.
const RECEIVES_MAX: usize = 10;

/// What this function stands on.
struct Due {
    apps: Apps,
    sqs: Sqs,
    /// The app that was started last: a new one (other settings or secrets) is started once.
    started: Mutex<Option<Arc<App>>>,
}

/// The function.
#[must_use]
pub fn due() -> ExitCode {
    let start = |environment: super::environment::Environment| {
        environment.dead_letter_urls()?;
        let sqs = Sqs::new(&environment.aws);
        Ok(Due { apps: Apps::of_heartbeat(environment)?, sqs, started: Mutex::default() })
    };
    run(start, handle)
}

async fn handle(due: Arc<Due>, event: LambdaEvent<IgnoredAny>) -> Result<(), Error> {
    due.apps.host.begin(event.context.deadline);
    let app = due.apps.get().await?;
    let outcome = due.beat(&app).await;
    due.apps.bus.flush().await;
    outcome
}

impl Due {
    async fn beat(&self, app: &Arc<App>) -> Result<(), Error> {
        let fresh = self.start(app).await?;
        let woken = due::wake(app, MOST, |_| false).await?;
        if due::poll_is_due(app).await? {
            app.bus.tell(import_wanted());
        }
        let sealed = seal::seal(app).await?;
        tracing::debug!(woken, sealed, "a beat");
        let minute = app.now().as_second().div_euclid(60);
        if fresh || minute.rem_euclid(EVERY_MINUTES) == 0 {
            self.receive_all(app).await?;
            if !reconcile::customers::all_listed(&app.store).await? {
                app.queues.send(Task::ListCustomersV1, 0).await?;
            }
            let open_reviews = app.store.open_reviews(None, REVIEWS_MAX).await?.len();
            tracing::info!(open_reviews, "questions are open");
            due::beaten(app).await?;
        }
        Ok(())
    }

    /// What `vesper serve` does at its start, whenever settings or secrets were read anew; whether that was so.
    async fn start(&self, app: &Arc<App>) -> Result<bool, Unfinished> {
        let known = self.started.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|a| Arc::ptr_eq(a, app));
        if known {
            return Ok(false);
        }
        start::at_start(app).await?;
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(app));
        Ok(true)
    }

    async fn receive_all(&self, app: &App) -> Result<(), Error> {
        for (queue, url) in self.apps.environment().dead_letter_urls()? {
            for _ in 0..RECEIVES_MAX {
                if self.receive(app, &queue, &url).await? == 0 || !app.has_time_for(10) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Stored as a row with its review first, deleted then: a crash in between finds the row, and asks nothing twice.
    async fn receive(&self, app: &App, queue: &str, url: &str) -> Result<usize, Error> {
        let dead = self.sqs.receive(url).await.map_err(|e: AwsError| Error::from(e.to_string()))?;
        for letter in &dead {
            dead_letters::bury_as(app, queue, &letter.id, &letter.body, "it failed five times").await?;
            self.sqs.delete(url, letter).await?;
        }
        Ok(dead.len())
    }
}
