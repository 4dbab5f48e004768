//! SQS: sends messages, and reads the dead-letter queues. An accepted message is durable.
//!
//! Must not: know what stands in a message.

use super::{Aws, AwsError};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

/// The most messages of one call (SQS's limit).
const BATCH_MAX: usize = 10;
/// The most bytes of one call; SQS takes more, this leaves room.
const BATCH_BYTES_MAX: usize = 200_000;
/// The longest delay, in seconds (SQS's limit).
const DELAY_MAX_S: u32 = 900;
/// How often the messages of a batch that SQS did not take are sent again.
const TRIES: u32 = 3;

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The text.
    pub body: String,
    /// Visible after so many seconds; SQS knows at most 900, and more is cut to that.
    pub delay_s: u32,
}

/// A message of a dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// SQS's id of the message.
    pub id: String,
    /// The text.
    pub body: String,
    /// With what it is deleted.
    receipt: String,
}

/// The client of all queues.
#[derive(Clone, Debug)]
pub struct Sqs(aws_sdk_sqs::Client);

fn delay(message: &Outgoing) -> i32 {
    i32::try_from(message.delay_s.min(DELAY_MAX_S)).unwrap_or(0)
}

impl Sqs {
    /// Nothing is called.
    #[must_use]
    pub fn new(aws: &Aws) -> Sqs {
        Sqs(aws.sqs())
    }

    /// Sends these to one queue, in as few calls as SQS allows. What a batch call did not take is sent again.
    ///
    /// # Errors
    /// When not all of them were taken. Some may have been: who sends them again sends those twice.
    pub async fn send(&self, queue_url: &str, messages: &[Outgoing]) -> Result<(), AwsError> {
        if let [message] = messages {
            let call = self.0.send_message().queue_url(queue_url).message_body(&message.body);
            let call = if message.delay_s == 0 { call } else { call.delay_seconds(delay(message)) };
            return call.send().await.map(|_| ()).map_err(|e| AwsError::of("send a message", &e));
        }
        let mut rest = messages;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(fitting(rest));
            self.send_batch(queue_url, batch).await?;
            rest = later;
        }
        Ok(())
    }

    async fn send_batch(&self, queue_url: &str, batch: &[Outgoing]) -> Result<(), AwsError> {
        const WHAT: &str = "send a batch of messages";
        let mut left: Vec<usize> = (0..batch.len()).collect();
        let mut code = String::new();
        for _ in 0..TRIES {
            let mut entries = Vec::with_capacity(left.len());
            for n in &left {
                let Some(message) = batch.get(*n) else { continue };
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(n.to_string())
                    .message_body(&message.body)
                    .set_delay_seconds((message.delay_s > 0).then(|| delay(message)))
                    .build();
                entries.push(entry.map_err(|_| AwsError::new(WHAT, "the request could not be built"))?);
            }
            let call = self.0.send_message_batch().queue_url(queue_url).set_entries(Some(entries));
            let answer = call.send().await.map_err(|e| AwsError::of(WHAT, &e))?;
            if answer.failed.is_empty() {
                return Ok(());
            }
            code = answer.failed.first().map(|f| f.code.clone()).unwrap_or_default();
            left = answer.failed.iter().filter_map(|f| f.id.parse().ok()).collect();
        }
        Err(AwsError::new(WHAT, format!("{} of {} were not taken: {code}", left.len(), batch.len())))
    }

    /// Up to ten messages of a dead-letter queue, invisible to others for the queue's visibility time-out. Does not wait.
    ///
    /// # Errors
    /// When SQS does not answer.
    pub async fn receive(&self, queue_url: &str) -> Result<Vec<Dead>, AwsError> {
        let call = self.0.receive_message().queue_url(queue_url).max_number_of_messages(10).wait_time_seconds(0);
        let answer = call.send().await.map_err(|e| AwsError::of("receive dead letters", &e))?;
        let dead = |m: aws_sdk_sqs::types::Message| {
            Some(Dead { id: m.message_id?, body: m.body.unwrap_or_default(), receipt: m.receipt_handle? })
        };
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(dead).collect())
    }

    /// The message is stored elsewhere.
    ///
    /// # Errors
    /// When SQS does not answer: it comes again.
    pub async fn delete(&self, queue_url: &str, dead: &Dead) -> Result<(), AwsError> {
        let call = self.0.delete_message().queue_url(queue_url).receipt_handle(&dead.receipt);
        call.send().await.map(|_| ()).map_err(|e| AwsError::of("delete a dead letter", &e))
    }
}

/// How many of these go into one call: at least one.
fn fitting(messages: &[Outgoing]) -> usize {
    let mut bytes = 0_usize;
    let fits = |m: &&Outgoing| {
        bytes = bytes.saturating_add(m.body.len());
        bytes <= BATCH_BYTES_MAX
    };
    messages.iter().take(BATCH_MAX).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(len: usize) -> Outgoing {
        Outgoing { body: "x".repeat(len), delay_s: 0 }
    }

    #[test]
    fn a_call_takes_ten_messages_and_no_more_bytes_than_it_may() {
        let many = vec![of(100); 25];
        assert_eq!(fitting(&many), 10);
        assert_eq!(fitting(&[of(150_000), of(40_000), of(40_000)]), 2);
        assert_eq!(fitting(&[of(300_000), of(1)]), 1, "one that is too large alone is SQS's to refuse");
        assert_eq!(delay(&Outgoing { body: String::new(), delay_s: 100_000 }), 900);
    }
}
