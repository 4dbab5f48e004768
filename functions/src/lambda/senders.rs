//! The queues and the bus of a function: SQS and EventBridge behind the traits of the use cases.

use super::environment::{Environment, NotReady};
use crate::bus::{Bus, DomainEvent};
use crate::task::{NotQueued, Queue, Queues, Task};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use vesper_adapters::aws::bus::{BusEvent, EventBridge};
use vesper_adapters::aws::queue::{Outgoing, Sqs};
use vesper_adapters::http::BoxFuture;

/// The work queues that this function may send to.
pub(super) struct SqsQueues {
    sqs: Sqs,
    urls: BTreeMap<Queue, String>,
}

impl SqsQueues {
    pub(super) fn new(environment: &Environment) -> SqsQueues {
        let url = |queue: Queue| Some((queue, environment.queue_url(queue)?.to_owned()));
        SqsQueues { sqs: Sqs::new(&environment.aws), urls: Queue::ALL.into_iter().filter_map(url).collect() }
    }

    async fn send_to(&self, queue: Queue, messages: Vec<Outgoing>) -> Result<(), NotQueued> {
        let failed = |problem: String| NotQueued { queue: queue.as_str(), problem };
        let url = self.urls.get(&queue).ok_or_else(|| failed("the template gives no address of this queue".to_owned()))?;
        self.sqs.send(url, &messages).await.map_err(|e| failed(e.to_string()))
    }
}

fn outgoing(task: &Task, delay_s: u32) -> Result<Outgoing, NotQueued> {
    let body = serde_json::to_string(task);
    let body = body.map_err(|e| NotQueued { queue: task.queue().as_str(), problem: e.to_string() })?;
    Ok(Outgoing { body, delay_s })
}

impl Queues for SqsQueues {
    fn send(&self, task: Task, delay_s: u32) -> BoxFuture<'_, Result<(), NotQueued>> {
        Box::pin(async move { self.send_to(task.queue(), vec![outgoing(&task, delay_s)?]).await })
    }

    fn send_all(&self, tasks: Vec<(Task, u32)>) -> BoxFuture<'_, Result<(), NotQueued>> {
        Box::pin(async move {
            let mut by_queue: BTreeMap<Queue, Vec<Outgoing>> = BTreeMap::new();
            for (task, delay_s) in tasks {
                by_queue.entry(task.queue()).or_default().push(outgoing(&task, delay_s)?);
            }
            for (queue, messages) in by_queue {
                self.send_to(queue, messages).await?;
            }
            Ok(())
        })
    }
}

/// The bus: events are collected, and leave together at the end of a message.
pub struct Collected {
    bus: EventBridge,
    told: Mutex<Vec<DomainEvent>>,
}

impl Collected {
    pub(super) fn new(environment: &Environment) -> Result<Collected, NotReady> {
        let name = environment.needed("EVENT_BUS_NAME")?.to_owned();
        Ok(Collected { bus: EventBridge::new(&environment.aws, name), told: Mutex::default() })
    }

    /// Puts what was told on the bus. What does not get there is a line in the log: nothing in Vesper hangs on it.
    pub async fn flush(&self) {
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        if told.is_empty() {
            return;
        }
        let event = |e: &DomainEvent| Some(BusEvent { name: e.name.clone(), detail: serde_json::to_string(e).ok()? });
        let events: Vec<BusEvent> = told.iter().filter_map(event).collect();
        if let Err(e) = self.bus.put(&events).await {
            tracing::error!(problem = %e, events = events.len(), "domain events could not be told");
        }
    }
}

impl Bus for Collected {
    fn tell(&self, event: DomainEvent) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}
