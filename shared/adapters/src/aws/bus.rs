//! EventBridge: puts events on the stack's own bus.
//!
//! PutEvents answers 200 although it took only some of them; the count of those it did not take is read.
//! Must not: know what an event means.

use super::{Aws, AwsError};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

/// The source of every event.
pub const SOURCE: &str = "vesper";
/// The most events of one call (EventBridge's limit).
const BATCH_MAX: usize = 10;
/// How often the events that were not taken are put again.
const TRIES: u32 = 3;

/// An event to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEvent {
    /// The detail type: the event's name.
    pub name: String,
    /// The detail, a JSON object.
    pub detail: String,
}

/// The bus.
#[derive(Clone, Debug)]
pub struct EventBridge {
    client: aws_sdk_eventbridge::Client,
    bus: String,
}

impl EventBridge {
    /// The bus of this name. Nothing is called.
    #[must_use]
    pub fn new(aws: &Aws, bus: String) -> EventBridge {
        EventBridge { client: aws.eventbridge(), bus }
    }

    /// Puts these, in as few calls as EventBridge allows. What was not taken is put again.
    ///
    /// # Errors
    /// When not all of them were taken; some may have been.
    pub async fn put(&self, events: &[BusEvent]) -> Result<(), AwsError> {
        for batch in events.chunks(BATCH_MAX) {
            self.put_batch(batch.iter().collect()).await?;
        }
        Ok(())
    }

    async fn put_batch(&self, mut left: Vec<&BusEvent>) -> Result<(), AwsError> {
        const WHAT: &str = "put events on the bus";
        let mut code = String::new();
        for _ in 0..TRIES {
            let entries = left.iter().map(|e| {
                PutEventsRequestEntry::builder()
                    .event_bus_name(&self.bus)
                    .source(SOURCE)
                    .detail_type(&e.name)
                    .detail(&e.detail)
                    .build()
            });
            let call = self.client.put_events().set_entries(Some(entries.collect()));
            let answer = call.send().await.map_err(|e| AwsError::of(WHAT, &e))?;
            if answer.failed_entry_count == 0 {
                return Ok(());
            }
            // The answers stand in the order of the events.
            let outcomes = answer.entries.unwrap_or_default();
            code = outcomes.iter().find_map(|o| o.error_code.clone()).unwrap_or_default();
            let mut taken = outcomes.iter().map(|o| o.error_code.is_none());
            left.retain(|_| !taken.next().unwrap_or(false));
        }
        Err(AwsError::new(WHAT, format!("{} were not taken: {code}", left.len())))
    }
}
