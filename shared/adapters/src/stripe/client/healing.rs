//! The calls of healing and of the nightly proof: the event list, the balance with its transactions, and the lists that reach
//! further back than the 30 days for which Stripe keeps events.

use super::{Call, ChargeNow, PAGE_LIMIT, StripeClient};
use crate::error::{CallError, Class};
use crate::stripe::json::Problem;
use crate::stripe::wire::answers::{self, Cursor, Page};
use crate::stripe::wire::{Incoming, healing};
use jiff::Timestamp;
use vesper_core::event::{Dispute, Refund};
use vesper_core::money::Currency;
use vesper_core::proof::BalanceRow;

/// The event types that are listed: those that Vesper acts on, at most the 20 that Stripe takes. charge.refunded and the
/// dispute's other events are left out: refund.* and the dispute's money movements say the same with the ids.
pub const EVENT_TYPES: [&str; 20] = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "charge.succeeded",
    "charge.updated",
    "charge.captured",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "payment_method.attached",
    "payment_method.automatically_updated",
    "payout.paid",
    "payout.reconciliation_completed",
    "payout.failed",
    "payout.canceled",
];

/// One page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T> {
    /// At most 100.
    pub items: Vec<T>,
    /// The id of the last item: where the next page starts. None for an empty page.
    pub last: Option<String>,
    /// Whether another page follows.
    pub has_more: bool,
}

/// From when on, and after which id of the page before.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `created[gte]`, whole seconds.
    pub since: Timestamp,
    /// `starting_after`; None for the first page.
    pub after: Option<&'a str>,
}

impl StripeClient {
    async fn page<T: Cursor>(
        &self,
        (attempted, path): (&str, &str),
        more: &[(&str, &str)],
        place: Place<'_>,
        read: impl FnOnce(&[u8]) -> Result<Page<T>, Problem>,
    ) -> Result<ListPage<T>, CallError> {
        let since = place.since.as_second().max(0).to_string();
        let mut params = vec![("created[gte]", &*since), ("limit", PAGE_LIMIT)];
        params.extend(more);
        params.extend(place.after.map(|id| ("starting_after", id)));
        let call = Call::get(attempted.to_owned(), path.to_owned(), &params);
        let page = self.call(&call, read).await?;
        if page.has_more && page.items.is_empty() {
            return Err(call.error(Class::Bug, "an empty page that is not the last".to_owned(), None));
        }
        let last = page.items.last().map(|item| item.id().to_owned());
        Ok(ListPage { items: page.items, last, has_more: page.has_more })
    }

    /// One page of the events of [`EVENT_TYPES`], projected like those that come by webhook. Stripe keeps them for 30 days.
    ///
    /// # Errors
    /// [`CallError`]; with the code `resource_missing` when `after` is an event that Stripe no longer has.
    pub async fn events_page(&self, place: Place<'_>) -> Result<ListPage<Incoming>, CallError> {
        let types = EVENT_TYPES.map(|t| ("types[]", t));
        self.page(("list events", "/v1/events"), &types, place, |body| healing::events(body, &self.projection)).await
    }

    /// One page of the balance transactions of this currency, each with its source.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn balance_page(&self, currency: Currency, place: Place<'_>) -> Result<ListPage<BalanceRow>, CallError> {
        let more = [("currency", currency.as_str()), ("expand[]", "data.source")];
        self.page(("list balance transactions", "/v1/balance_transactions"), &more, place, healing::balance_rows).await
    }

    /// The newest balance transaction of this currency; None in an empty account.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn newest_balance_row(&self, currency: Currency) -> Result<Option<BalanceRow>, CallError> {
        let params = [("limit", "1"), ("currency", currency.as_str())];
        let call = Call::get("read the newest balance transaction".to_owned(), "/v1/balance_transactions".to_owned(), &params);
        let page = self.call(&call, healing::balance_rows).await?;
        Ok(page.items.into_iter().next())
    }

    /// One page of the charges.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn charges_page(&self, place: Place<'_>) -> Result<ListPage<ChargeNow>, CallError> {
        self.page(("list charges", "/v1/charges"), &[], place, |body| healing::charges(body, &self.projection)).await
    }

    /// One page of the refunds.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn refunds_page(&self, place: Place<'_>) -> Result<ListPage<Refund>, CallError> {
        self.page(("list refunds", "/v1/refunds"), &[], place, |body| answers::refunds(body, &self.projection)).await
    }

    /// One page of the disputes.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn disputes_page(&self, place: Place<'_>) -> Result<ListPage<Dispute>, CallError> {
        self.page(("list disputes", "/v1/disputes"), &[], place, healing::disputes).await
    }

    /// One page of the payouts: their ids.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn payouts_page(&self, place: Place<'_>) -> Result<ListPage<String>, CallError> {
        let page = self.page(("list payouts", "/v1/payouts"), &[], place, healing::payout_ids).await?;
        Ok(ListPage { items: page.items.into_iter().map(|p| p.0).collect(), last: page.last, has_more: page.has_more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::wire::project;
    use std::collections::BTreeSet;

    #[test]
    fn every_listed_type_is_one_that_is_acted_on_and_none_twice() {
        assert_eq!(EVENT_TYPES.iter().collect::<BTreeSet<_>>().len(), EVENT_TYPES.len());
        let projection = crate::stripe::wire::Projection {
            keys: crate::stripe::wire::MetadataKeys::default(),
            hasher: crate::personal::DataKey::new([1; 32]).email_hasher(),
        };
        for event_type in EVENT_TYPES {
            let body = serde_json::json!({"id": "evt_1", "type": event_type, "created": 1, "livemode": true,
                "data": {"object": {"id": "x_1", "object": "any", "customer": "cus_1", "payment_intent": "pi_1"}}});
            let incoming = project(body.to_string().as_bytes(), &projection).unwrap();
            assert!(!matches!(incoming.event.what, vesper_core::event::What::Other { .. }), "{event_type}");
        }
    }
}
