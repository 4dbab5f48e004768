//! The queues and what stands in them: ids and projected events, never personal data. A message is only a wake-up; the
//! truth is in the table.

use serde::{Deserialize, Serialize};
use vesper_adapters::dynamo::store::RowRef;
use vesper_adapters::http::BoxFuture;
use vesper_core::event::Event;
use vesper_core::ids::{ClientId, PaymentId};

/// The work queues (design.md section 3: at most four).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// Events and parked payments, for reconcile.
    Events,
    /// Write-backs to the EHR.
    WriteBack,
    /// Postings to QuickBooks.
    Books,
    /// Payouts.
    Payouts,
}

impl Queue {
    /// Every queue.
    pub const ALL: [Queue; 4] = [Queue::Events, Queue::WriteBack, Queue::Books, Queue::Payouts];

    /// Its name, in the export and in the template.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Queue::Events => "events",
            Queue::WriteBack => "write-back",
            Queue::Books => "books",
            Queue::Payouts => "payouts",
        }
    }
}

/// A message. The version stands in the name, so that messages in flight outlive a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task")]
#[expect(clippy::large_enum_variant, reason = "a few are alive at a time, and most are events")]
pub enum Task {
    /// A Stripe event.
    EventV1 {
        /// The event, projected.
        event: Event,
    },
    /// A parked payment is to be looked at again.
    LookV1 {
        /// The payment.
        payment: PaymentId,
    },
    /// A failed card's next look is due.
    RetryV1 {
        /// The failed PaymentIntent.
        payment: PaymentId,
    },
    /// The EHR's change feed is to be read.
    ImportV1,
    /// Stripe's customers are to be listed.
    ListCustomersV1,
    /// A write-back is to be done.
    WriteBackV1 {
        /// Its row.
        row: RowRef,
    },
    /// A payout is to be looked at.
    PayoutV1 {
        /// The payout, `po_...`.
        payout: String,
    },
    /// A client's credit is to be looked at.
    CreditV1 {
        /// The client.
        client: ClientId,
    },
    /// A piece of work that the clock drives is to begin or to go on.
    ChoreV1 {
        /// Which.
        chore: String,
    },
    /// A posting is to be sent.
    BooksV1 {
        /// Its row.
        row: RowRef,
    },
}

impl Task {
    /// The queue it goes to.
    #[must_use]
    pub const fn queue(&self) -> Queue {
        match self {
            Task::EventV1 { .. }
            | Task::LookV1 { .. }
            | Task::RetryV1 { .. }
            | Task::CreditV1 { .. }
            | Task::ImportV1
            | Task::ListCustomersV1 => Queue::Events,
            Task::WriteBackV1 { .. } => Queue::WriteBack,
            Task::BooksV1 { .. } => Queue::Books,
            Task::PayoutV1 { .. } | Task::ChoreV1 { .. } => Queue::Payouts,
        }
    }
}

/// A message could not be made durable. The sender must not acknowledge.
#[derive(Debug, Clone, thiserror::Error)]
#[error("enqueue on {queue}: {problem}")]
pub struct NotQueued {
    /// The queue's name.
    pub queue: &'static str,
    /// Class and code.
    pub problem: String,
}

/// Where messages go. An accepted message is durable.
pub trait Queues: Send + Sync {
    /// Sends a message, visible after `delay_s` seconds.
    fn send(&self, task: Task, delay_s: u32) -> BoxFuture<'_, Result<(), NotQueued>>;

    /// Sends several, each with its delay in seconds. Some may have been taken when this fails.
    fn send_all(&self, tasks: Vec<(Task, u32)>) -> BoxFuture<'_, Result<(), NotQueued>> {
        Box::pin(async move {
            for (task, delay_s) in tasks {
                self.send(task, delay_s).await?;
            }
            Ok(())
        })
    }
}
