//! A batch of SQS messages: each has its own outcome, and a panic costs one message, not the batch. What there is no time for
//! is reported as failed, so that it comes again.
//!
//! Must not: know what a task does.

use super::ready::Apps;
use crate::app::{App, Host as _};
use crate::failure::Unfinished;
use crate::task::{Queue, Task};
use lambda_runtime::LambdaEvent;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// No new message is begun with less time left, in milliseconds.
const LAST_START_MS: i64 = 2_000;
/// A message that is still at work so long before the end is given up, so that the others' outcomes are reported, in milliseconds.
const GIVE_UP_MS: i64 = 1_000;

/// What an event source sends.
#[derive(Debug, Default, Deserialize)]
pub struct Batch {
    /// The messages.
    #[serde(rename = "Records", default)]
    pub records: Vec<Record>,
}

/// A message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// SQS's id.
    #[serde(default)]
    pub message_id: String,
    /// The text.
    #[serde(default)]
    pub body: String,
}

/// What is answered: the messages that come again.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    /// Empty: all are worked off.
    pub batch_item_failures: Vec<Failure>,
}

/// A message that comes again.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// SQS's id.
    pub item_identifier: String,
}

/// How a queue's task is worked off.
pub type Work<O> = fn(Arc<App>, Task) -> O;

/// Works off a batch of the queue of this function.
///
/// # Errors
/// When nothing can be worked off at all: then every message comes again.
pub async fn work_off<O>(
    apps: &Apps,
    event: LambdaEvent<Batch>,
    queue: Queue,
    work: Work<O>,
) -> Result<BatchAnswer, lambda_runtime::Error>
where
    O: Future<Output = Result<(), Unfinished>> + Send + 'static,
{
    apps.host.begin(event.context.deadline);
    let app = apps.get().await?;
    let mut answer = BatchAnswer::default();
    for record in event.payload.records {
        let id = record.message_id.clone();
        let problem = match left_ms(apps) {
            left if left < LAST_START_MS => Err("no time was left".to_owned()),
            left => one(&app, record, queue, work, left.saturating_sub(GIVE_UP_MS)).await,
        };
        if let Err(problem) = problem {
            tracing::warn!(message.id = id, queue = queue.as_str(), problem, "a message could not be worked off");
            apps.failed(&app);
            answer.batch_item_failures.push(Failure { item_identifier: id });
        }
        apps.bus.flush().await;
    }
    Ok(answer)
}

fn left_ms(apps: &Apps) -> i64 {
    let left = apps.host.deadline().map(|at| at.duration_since(apps.host.now()).as_millis());
    left.map_or(i64::MAX, |ms| i64::try_from(ms).unwrap_or(i64::MAX))
}

async fn one<O>(app: &Arc<App>, record: Record, queue: Queue, work: Work<O>, within_ms: i64) -> Result<(), String>
where
    O: Future<Output = Result<(), Unfinished>> + Send + 'static,
{
    let task: Task = serde_json::from_str(&record.body).map_err(|_| "this release cannot read it".to_owned())?;
    if task.queue() != queue {
        return Err("it belongs on another queue".to_owned());
    }
    let mut running = tokio::spawn(work(Arc::clone(app), task));
    let within = Duration::from_millis(u64::try_from(within_ms).unwrap_or(0));
    match tokio::time::timeout(within, &mut running).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(e))) => Err(e.to_string()),
        Ok(Err(_)) => Err("it panicked".to_owned()),
        Err(_) => {
            // As if the process had died here: whoever takes it over asks first.
            running.abort();
            Err("it took longer than this function may run".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SETTINGS, Script, app};
    use vesper_adapters::dynamo::embedded::Engine;
    use vesper_core::ids::PaymentId;

    fn record(id: &str, body: String) -> Record {
        Record { message_id: id.to_owned(), body }
    }

    fn look(payment: &str) -> String {
        serde_json::to_string(&Task::LookV1 { payment: PaymentId::parse(payment).unwrap() }).unwrap()
    }

    /// What a payment's id says happens to it.
    async fn as_told(_: Arc<App>, task: Task) -> Result<(), Unfinished> {
        let Task::LookV1 { payment } = task else { return Ok(()) };
        match payment.as_str() {
            "pi_panics" => panic!("as told"),
            "pi_fails" => Err(Unfinished::Contended { subject: "as told".to_owned() }),
            "pi_hangs" => std::future::pending().await,
            _ => Ok(()),
        }
    }

    #[tokio::test]
    async fn each_message_has_its_own_outcome() {
        let bench = app(&Engine::memory().unwrap(), Script::new(|_| Ok((500, String::new()))), SETTINGS).await;
        let app = Arc::new(bench.app);
        let books = r#"{"task":"PayoutV1","payout":"po_1"}"#.to_owned();
        let cases = [
            (look("pi_works"), None),
            (look("pi_panics"), Some("it panicked")),
            (look("pi_fails"), Some("others kept changing")),
            (look("pi_hangs"), Some("longer than this function may run")),
            (books, Some("another queue")),
            ("no JSON".to_owned(), Some("cannot read it")),
            (r#"{"task":"EventV9"}"#.to_owned(), Some("cannot read it")),
            (look("pi_works"), None),
        ];
        for (body, problem) in cases {
            let outcome = one(&app, record("m", body.clone()), Queue::Events, as_told, 50).await;
            match (outcome, problem) {
                (Ok(()), None) => {}
                (Err(found), Some(part)) => assert!(found.contains(part), "{body}: {found}"),
                (outcome, _) => panic!("{body}: {outcome:?}"),
            }
        }
    }
}
