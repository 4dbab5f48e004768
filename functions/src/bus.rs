//! Domain events: what happened, for the practice's own rules. Ids, amounts and codes only, never personal data.
//!
//! An event is told after what it tells was stored, once; who crashes in between tells nobody. So nothing in Vesper hangs on one:
//! what a person must see is a review. Must not: decide, or wait for anybody.

use serde::Serialize;
use vesper_core::money::Minor;

/// One event. The names: `payment_failed`, `recovery_attempted`, `recovered`, `recovery_stopped`, `payout_<state>`,
/// `review_opened`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainEvent {
    /// Its name, and the detail type on the bus.
    #[serde(skip)]
    pub name: String,
    /// What it is about: the id of a payment, a payout, a posting, ...
    pub subject: String,
    /// How much, in minor units of the practice's currency, where there is such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_minor: Option<i64>,
    /// Why, as a code of the export: the reason of a review.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl DomainEvent {
    /// Something happened to an amount of money.
    #[must_use]
    pub fn about_money(name: impl Into<String>, subject: impl Into<String>, amount: Minor) -> DomainEvent {
        DomainEvent { name: name.into(), subject: subject.into(), amount_minor: Some(amount.get()), reason: None }
    }

    /// A question was put to a person. Rules tell by the reason what must be known at once.
    #[must_use]
    pub fn review_opened(subject: &str, reason: &'static str) -> DomainEvent {
        DomainEvent { name: "review_opened".to_owned(), subject: subject.to_owned(), amount_minor: None, reason: Some(reason) }
    }
}

/// Where events are told. Takes them at once; on AWS they leave with the end of the message.
pub trait Bus: Send + Sync {
    /// Tells this.
    fn tell(&self, event: DomainEvent);
}

/// Locally an event is a line in the log.
pub struct LogBus;

impl Bus for LogBus {
    fn tell(&self, event: DomainEvent) {
        let DomainEvent { name, subject, amount_minor, reason } = event;
        tracing::info!(event.name = name, subject, amount_minor, reason, "domain event");
    }
}
