//! Stripe's JSON around the account itself: webhook endpoints, the balance, and who tried a failed card again.

use super::answers::{Cursor, Page, object, page};
use crate::personal::Secret;
use crate::stripe::client::{Balance, FailedTry, WebhookEndpoint};
use crate::stripe::json::{AnyId, Obj, Problem};
use vesper_core::ids::PaymentId;
use vesper_core::money::{Currency, Minor};

/// The metadata key by which setup knows an endpoint that it made.
pub(in crate::stripe) const PRACTICE: &str = "vesper_practice";

impl Cursor for WebhookEndpoint {
    fn id(&self) -> &str {
        &self.id
    }
}

fn of(item: &Obj<'_>) -> Result<WebhookEndpoint, Problem> {
    let metadata = item.object_if_any("metadata")?;
    Ok(WebhookEndpoint {
        id: item.id::<AnyId>("id")?.0,
        url: item.text("url").ok_or(Problem::new("url", "is missing"))?,
        enabled: item.word("status").as_deref() == Some("enabled"),
        api_version: item.word("api_version"),
        events: item.words("enabled_events")?,
        practice: metadata.and_then(|m| m.word(PRACTICE)),
    })
}

pub(in crate::stripe) fn endpoint(body: &[u8]) -> Result<WebhookEndpoint, Problem> {
    of(&object(body)?)
}

/// The signing secret stands only in the answer to the creation (facts/stripe.md section 1).
pub(in crate::stripe) fn made(body: &[u8]) -> Result<(WebhookEndpoint, Secret), Problem> {
    let item = object(body)?;
    let secret = item.text("secret").filter(|s| !s.trim().is_empty()).ok_or(Problem::new("secret", "is missing"))?;
    Ok((of(&item)?, Secret::new(secret)))
}

pub(in crate::stripe) fn endpoints(body: &[u8]) -> Result<Page<WebhookEndpoint>, Problem> {
    page(body, of)
}

pub(in crate::stripe) fn balance(body: &[u8], currency: Currency) -> Result<Balance, Problem> {
    let item = object(body)?;
    let sum = |field: &'static str| -> Result<Minor, Problem> {
        let parts = item.objects_if_any(field)?.ok_or(Problem::new(field, "is missing"))?;
        let mut sum = Minor::ZERO;
        for part in &parts {
            if part.currency("currency")? == currency {
                sum = sum.plus(part.signed_amount("amount")?);
            }
        }
        Ok(sum)
    };
    let livemode = item.flag("livemode").ok_or(Problem::new("livemode", "is missing"))?;
    Ok(Balance { available: sum("available")?, pending: sum("pending")?, livemode })
}

/// Failed tries out of a list of `payment_intent.payment_failed` events, newest first.
pub(in crate::stripe) fn failed_tries(body: &[u8]) -> Result<Page<FailedTry>, Problem> {
    page(body, |event| {
        let data = event.object("data").and_then(|d| d.object("object")).ok_or(Problem::new("data", "is missing"))?;
        let request = event.object("request");
        Ok(FailedTry {
            event: event.id::<AnyId>("id")?.0,
            payment: data.id::<PaymentId>("id")?,
            by_request: request.as_ref().is_some_and(|r| r.given("id")),
            ours: request.and_then(|r| r.text("idempotency_key")).is_some_and(|key| key.starts_with("vesper-retry-")),
        })
    })
}

/// The ids of the objects that a list of events is about, newest first.
pub(in crate::stripe) fn subjects(body: &[u8]) -> Result<Page<String>, Problem> {
    page(body, |event| {
        let data = event.object("data").and_then(|d| d.object("object")).ok_or(Problem::new("data", "is missing"))?;
        Ok(data.id::<AnyId>("id")?.0)
    })
}
