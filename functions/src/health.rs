//! How the work stands, read from the table in one pass: what waits, what was given up, what is asked, what may be charged.
//! `vesper doctor` puts it into words.
//!
//! Must not: write, or hold anything personal.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::dynamo::item::{BadItem, Stored, item_of};
use vesper_adapters::dynamo::model::{
    DeadLetter, StoredAllocation, StoredClient, StoredEvent, StoredPayment, StoredPosting, StoredReversal, StoredReview,
};
use vesper_adapters::dynamo::row::Row;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_core::effect::{Effect, EffectKind, EffectState};
use vesper_core::payment::PaymentState;
use vesper_core::records::Autopay;
use vesper_core::review::Status;

/// How the effects of one kind stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Pending, sent or failed: they are tried by themselves.
    pub waiting: u64,
    /// Of those, the ones that failed at least once.
    pub failed: u64,
    /// Since when the oldest of them waits.
    pub oldest: Option<Timestamp>,
    /// What the oldest of them met last: class and code.
    pub problem: Option<String>,
    /// Given up; a person was asked.
    pub dead: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// To the EHR.
    pub write_backs: Effects,
    /// To QuickBooks.
    pub postings: Effects,
    /// Events that wait for an outside answer, and since when the oldest does.
    pub events_waiting: u64,
    /// See `events_waiting`.
    pub oldest_event: Option<Timestamp>,
    /// Dead letters by queue.
    pub dead_letters: BTreeMap<String, u64>,
    /// Open reviews by reason.
    pub reviews: BTreeMap<&'static str, u64>,
    /// Payments that are known, by their ids.
    pub payments: BTreeSet<String>,
    /// When a payment was last heard of for the first time.
    pub newest_payment: Option<Timestamp>,
    /// Parked payments.
    pub parked: u64,
    /// Clients whose cards the EHR charges by itself.
    pub autopay_on: u64,
    /// Clients of whom the EHR does not say it.
    pub autopay_unknown: u64,
    /// All clients.
    pub clients: u64,
}

/// Reads the whole table once.
///
/// # Errors
/// When the store does not answer, or holds a row that this release cannot read.
pub async fn read(store: &Store) -> Result<Health, Failed> {
    let mut health = Health::default();
    let mut bad: Option<BadItem> = None;
    let mut each = |row: Row| {
        if let Err(e) = health.take(&row) {
            bad.get_or_insert(e);
        }
    };
    store.scan(&mut each).await?;
    match bad {
        Some(bad) => Err(bad.into()),
        None => Ok(health),
    }
}

fn count(n: &mut u64) {
    *n = n.saturating_add(1);
}

fn oldest(known: &mut Option<Timestamp>, at: Timestamp) {
    *known = Some(known.map_or(at, |k| k.min(at)));
}

impl Health {
    fn take(&mut self, row: &Row) -> Result<(), BadItem> {
        match row.kind.as_str() {
            StoredAllocation::KIND => {
                let item = item_of::<StoredAllocation>(row)?.item;
                // What a person types in waits for him, and is no fault.
                self.effect(item.effect.as_ref().filter(|_| !item.worklist && !item.allocation.closed));
            }
            StoredReversal::KIND => self.effect(Some(&item_of::<StoredReversal>(row)?.item.effect)),
            StoredPosting::KIND => self.effect(Some(&item_of::<StoredPosting>(row)?.item.effect)),
            StoredEvent::KIND => {
                let item = item_of::<StoredEvent>(row)?.item;
                if item.next_at.is_some() && item.tries > 0 {
                    count(&mut self.events_waiting);
                    oldest(&mut self.oldest_event, item.since);
                }
            }
            DeadLetter::KIND => count(self.dead_letters.entry(item_of::<DeadLetter>(row)?.item.queue).or_default()),
            StoredReview::KIND => {
                let review = item_of::<StoredReview>(row)?.item.review;
                if review.status == Status::Open {
                    count(self.reviews.entry(review.question.reason.as_str()).or_default());
                }
            }
            StoredPayment::KIND => {
                let payment = item_of::<StoredPayment>(row)?.item.payment;
                let heard = payment.first_delivered_at;
                self.newest_payment = Some(self.newest_payment.map_or(heard, |n| n.max(heard)));
                if payment.state == PaymentState::Parked {
                    count(&mut self.parked);
                }
                self.payments.insert(payment.id().to_string());
            }
            StoredClient::KIND => {
                count(&mut self.clients);
                match item_of::<StoredClient>(row)?.item.client.autopay {
                    Autopay::On => count(&mut self.autopay_on),
                    Autopay::Unknown => count(&mut self.autopay_unknown),
                    Autopay::Off => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn effect(&mut self, effect: Option<&Effect>) {
        let Some(effect) = effect.filter(|e| !e.shadow) else { return };
        let of_kind = match effect.kind {
            EffectKind::WriteBack => &mut self.write_backs,
            EffectKind::Books => &mut self.postings,
        };
        match effect.state {
            EffectState::Done => {}
            EffectState::Dead => count(&mut of_kind.dead),
            EffectState::Pending | EffectState::Sent | EffectState::Failed => {
                count(&mut of_kind.waiting);
                if effect.state == EffectState::Failed {
                    count(&mut of_kind.failed);
                }
                if of_kind.oldest.is_none_or(|o| effect.since < o) {
                    of_kind.oldest = Some(effect.since);
                    of_kind.problem.clone_from(&effect.problem);
                }
            }
        }
    }
}
