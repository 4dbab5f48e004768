//! The function due: once a minute it wakes what is due and seals the audit trail; every five minutes, and when it
//! starts, it turns dead letters into questions and counts the open ones.

use super::ready::Apps;
use super::run::run;
use super::workers::import_wanted;
use crate::app::App;
use crate::failure::Unfinished;
use crate::task::Task;
use crate::{dead_letters, due, reconcile, seal, start, switch};
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
    /// The app whose mode was compared with the stored one last.
    switched: Mutex<Option<Arc<App>>>,
    /// The app that was started last: a new one (other settings or secrets) is started once.
    started: Mutex<Option<Arc<App>>>,
}

fn is(noted: &Mutex<Option<Arc<App>>>, app: &Arc<App>) -> bool {
    noted.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|a| Arc::ptr_eq(a, app))
}

fn note(noted: &Mutex<Option<Arc<App>>>, app: &Arc<App>) {
    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(app));
}

/// The function.
#[must_use]
pub fn due() -> ExitCode {
    let start = |environment: super::environment::Environment| {
        environment.dead_letter_urls()?;
        let sqs = Sqs::new(&environment.aws);
        Ok(Due { apps: Apps::of_heartbeat(environment)?, sqs, switched: Mutex::default(), started: Mutex::default() })
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
        // Each part by itself: what fails holds up nothing else, and the next beat makes up for it. Only nothing may run before the
        // switch between shadow and live is made.
        let mut parts = Parts::default();
        let fresh = self.start(app, &mut parts).await?;
        let woken = parts.did("wake what is due", due::wake(app, MOST, |_| false).await);
        if parts.did("look whether the EHR is to be polled", due::poll_is_due(app).await) == Some(true) {
            app.bus.tell(import_wanted());
        }
        let sealed = parts.did("seal the audit trail", seal::seal(app).await);
        tracing::debug!(woken, sealed, "a beat");
        let minute = app.now().as_second().div_euclid(60);
        if fresh || minute.rem_euclid(EVERY_MINUTES) == 0 {
            parts.did("receive dead letters", self.receive_all(app).await);
            parts.did("have Stripe's customers listed", want_customers(app).await);
            if let Some(open) = parts.did("count the open questions", app.store.open_reviews(None, REVIEWS_MAX).await) {
                tracing::info!(open_reviews = open.len(), "questions are open");
            }
            // Only of a beat that came through all it does.
            if parts.failed.is_none() {
                parts.did("note the beat", due::beaten(app).await);
            }
        }
        parts.outcome()
    }

    /// What `vesper serve` does at its start, whenever settings or secrets were read anew; whether that was so.
    async fn start(&self, app: &Arc<App>, parts: &mut Parts) -> Result<bool, Unfinished> {
        if is(&self.started, app) {
            return Ok(false);
        }
        // Once for each reading of the settings: repeated with old ones, it could undo the switch that another process made since.
        if !is(&self.switched, app) {
            switch::at_start(app).await?;
            note(&self.switched, app);
        }
        if parts.did("start", start::after_switch(app).await).is_some() {
            note(&self.started, app);
        }
        Ok(true)
    }

    async fn receive_all(&self, app: &App) -> Result<(), Error> {
        let mut parts = Parts::default();
        for (queue, url) in self.apps.environment().dead_letter_urls()? {
            for _ in 0..RECEIVES_MAX {
                let received = self.receive(app, &queue, &url, &mut parts).await;
                if parts.did("receive from a queue", received).unwrap_or(0) == 0 || !app.has_time_for(10) {
                    break;
                }
            }
        }
        parts.outcome()
    }

    /// Stored as a row with its review first, deleted then: a crash in between finds the row, and asks nothing twice. A letter that
    /// cannot be stored comes again.
    async fn receive(&self, app: &App, queue: &str, url: &str, parts: &mut Parts) -> Result<usize, AwsError> {
        let dead = self.sqs.receive(url).await?;
        for letter in &dead {
            let buried = dead_letters::bury_as(app, queue, &letter.id, &letter.body, "it failed five times").await;
            if parts.did("store a dead letter", buried).is_some() {
                parts.did("remove a dead letter", self.sqs.delete(url, letter).await);
            }
        }
        Ok(dead.len())
    }
}

async fn want_customers(app: &App) -> Result<(), Unfinished> {
    if reconcile::customers::all_listed(&app.store).await? {
        return Ok(());
    }
    Ok(app.queues.send(Task::ListCustomersV1, 0).await?)
}

/// What a beat is made of: a part that failed is logged, and the first failure is the beat's.
#[derive(Default)]
struct Parts {
    failed: Option<Error>,
}

impl Parts {
    /// What the part came to; None when it failed.
    fn did<T>(&mut self, part: &'static str, outcome: Result<T, impl Into<Error>>) -> Option<T> {
        match outcome {
            Ok(done) => Some(done),
            Err(e) => {
                let problem: Error = e.into();
                tracing::error!(part, problem = %problem, "a part of the beat failed");
                self.failed.get_or_insert(problem);
                None
            }
        }
    }

    /// The first failure.
    fn outcome(self) -> Result<(), Error> {
        self.failed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_is_the_outcome_and_stops_no_other() {
        let mut parts = Parts::default();
        let done: [Option<u8>; 4] = [Ok(1), Err("the first"), Err("the second"), Ok(2)].map(|part| parts.did("a part", part));
        assert_eq!(done, [Some(1), None, None, Some(2)]);
        assert_eq!(parts.outcome().unwrap_err().to_string(), "the first");
        assert!(Parts::default().outcome().is_ok());
    }
}
