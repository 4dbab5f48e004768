//! The calls around payouts: the payout, what is in it, and the objects behind a row that nobody told of.

use super::{Call, PAGE_LIMIT, StripeClient, segment};
use crate::error::{CallError, Class};
use crate::stripe::json::word;
use crate::stripe::wire::payouts;
use vesper_core::event::{Dispute, Refund};
use vesper_core::ids::MovementId;
use vesper_core::payout::{Payout, PayoutRow};

/// One page of the balance transactions of a payout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayoutRowsPage {
    /// At most 100 rows, newest first; the payout's own row is among them.
    pub rows: Vec<PayoutRow>,
    /// Whether another page follows, after the last row of this one.
    pub has_more: bool,
}

impl StripeClient {
    /// GET /v1/payouts/{id}.
    ///
    /// # Errors
    /// [`CallError`]; [`Class::NotFound`] when Stripe does not know it.
    pub async fn payout(&self, payout: &str) -> Result<Payout, CallError> {
        let path = format!("/v1/payouts/{}", segment(payout));
        let call = Call::get(format!("read payout {}", word(payout)), path, &[]);
        let now = self.call(&call, payouts::payout).await?;
        Self::same(&call, now.id == payout, now)
    }

    /// One page of GET /v1/balance_transactions?payout=..., each row with its source: the first, or the one after `after`.
    /// While the payout is not reconciled the list may be short (facts/stripe.md section 3).
    ///
    /// # Errors
    /// [`CallError`]; [`Class::Rejected`] for a manual payout: Stripe cannot say what is in it.
    pub async fn payout_rows(&self, payout: &str, after: Option<&str>) -> Result<PayoutRowsPage, CallError> {
        let mut params = vec![("payout", payout), ("limit", PAGE_LIMIT), ("expand[]", "data.source")];
        params.extend(after.map(|id| ("starting_after", id)));
        let attempted = format!("list balance transactions of payout {}", word(payout));
        let call = Call::get(attempted, "/v1/balance_transactions".to_owned(), &params);
        let page = self.call(&call, |body| payouts::rows(body, payout)).await?;
        let sound = !page.items.is_empty() || !page.has_more;
        let rows = PayoutRowsPage { rows: page.items, has_more: page.has_more };
        if sound { Ok(rows) } else { Err(call.error(Class::Bug, "an empty page that is not the last".to_owned(), None)) }
    }

    /// GET /v1/refunds/{id}.
    ///
    /// # Errors
    /// [`CallError`]; [`Class::NotFound`] when Stripe does not know it.
    pub async fn refund(&self, refund: &MovementId) -> Result<Refund, CallError> {
        let path = format!("/v1/refunds/{}", segment(refund.as_str()));
        let call = Call::get(format!("read refund {refund}"), path, &[]);
        let now = self.call(&call, |body| payouts::one_refund(body, &self.projection)).await?;
        Self::same(&call, now.id == *refund, now)
    }

    /// GET /v1/disputes/{id}.
    ///
    /// # Errors
    /// [`CallError`]; [`Class::NotFound`] when Stripe does not know it.
    pub async fn dispute(&self, dispute: &MovementId) -> Result<Dispute, CallError> {
        let path = format!("/v1/disputes/{}", segment(dispute.as_str()));
        let call = Call::get(format!("read dispute {dispute}"), path, &[]);
        let now = self.call(&call, payouts::one_dispute).await?;
        Self::same(&call, now.id == *dispute, now)
    }
}
