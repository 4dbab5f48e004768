//! What a key may do, asked without doing it: each right is tried on an object that does not exist, and Stripe answers 404 to
//! who may and 403 to who may not (facts/stripe.md section 5). And the few reads of the account that setup and doctor make.
//!
//! Must not: name an object that could exist, or send a write with parameters.

use super::{Call, PAGE_LIMIT, StripeClient};
use crate::error::CallError;
use crate::stripe::wire::endpoints;
use http::Method;
use jiff::Timestamp;
use vesper_core::ids::PaymentId;
use vesper_core::money::{Currency, Minor};

/// A right of a restricted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// As Stripe names it in errors and links, `rak_...`.
    pub slug: &'static str,
    /// As the dashboard lists it.
    pub name: &'static str,
    /// Whether Vesper needs it. One that it does not need is one that it must not have.
    pub needed: bool,
    write: bool,
    path: &'static str,
}

const fn read(slug: &'static str, name: &'static str, path: &'static str) -> Right {
    Right { slug, name, needed: true, write: false, path }
}

/// What is asked. The slugs of balance and Checkout follow the pattern of the others and are not verified.
pub const RIGHTS: [Right; 14] = [
    read("rak_charge_read", "Charges: read", "/v1/charges/ch_vesperdoctor"),
    read("rak_payment_intent_read", "PaymentIntents: read", "/v1/payment_intents/pi_vesperdoctor"),
    Right {
        slug: "rak_payment_intent_write",
        name: "PaymentIntents: write",
        needed: true,
        write: true,
        path: "/v1/payment_intents/pi_vesperdoctor/confirm",
    },
    read("rak_refund_read", "Refunds: read", "/v1/refunds/re_vesperdoctor"),
    read("rak_dispute_read", "Disputes: read", "/v1/disputes/du_vesperdoctor"),
    read("rak_customer_read", "Customers: read", "/v1/customers/cus_vesperdoctor"),
    read("rak_payment_method_read", "PaymentMethods: read", "/v1/payment_methods/pm_vesperdoctor"),
    read("rak_payout_read", "Payouts: read", "/v1/payouts/po_vesperdoctor"),
    read("rak_balance_transaction_source_read", "Balance transactions: read", "/v1/balance_transactions/txn_vesperdoctor"),
    read("rak_balance_read", "Balance: read", "/v1/balance"),
    read("rak_checkout_session_read", "Checkout Sessions: read", "/v1/checkout/sessions?limit=1"),
    read("rak_invoice_read", "Invoices: read", "/v1/invoice_payments?limit=1"),
    read("rak_event_read", "Events: read", "/v1/events/evt_vesperdoctor"),
    // Without parameters there is nothing that could be refunded: 400 to who may, 403 to who may not.
    Right { slug: "rak_refund_write", name: "Refunds: write", needed: false, write: true, path: "/v1/refunds" },
];

/// Stripe's balance in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What can be paid out.
    pub available: Minor,
    /// What is on its way.
    pub pending: Minor,
    /// The mode of the key.
    pub livemode: bool,
}

/// A failed try of a card, as Stripe's event tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedTry {
    /// The event.
    pub event: String,
    /// The PaymentIntent.
    pub payment: PaymentId,
    /// Somebody asked for it over the API. Stripe leaves the request out of what it does by itself.
    pub by_request: bool,
    /// It was a recovery of Vesper's.
    pub ours: bool,
}

impl StripeClient {
    /// Whether the key has this right. Nothing is read or done.
    ///
    /// # Errors
    /// [`CallError`]: no answer, or one that says nothing about rights; [`crate::error::Class::Unauthorized`] when the key itself is refused.
    pub async fn has_right(&self, right: &Right) -> Result<bool, CallError> {
        let attempted = format!("ask for the right {}", right.slug);
        let (method, path) = (if right.write { Method::POST } else { Method::GET }, right.path.to_owned());
        let call = Call { attempted, method, path, params: &[], idempotency_key: None };
        let answer = self.exchange(&call).await?;
        match answer.status {
            403 => Ok(false),
            200..=299 | 400 | 404 => Ok(true),
            _ => Err(call.refused(&answer, crate::stripe::wire::answers::refusal(&answer.body, &self.projection))),
        }
    }

    /// What Stripe's clock says, in its `Date` header; None when it has none. Any answer will do.
    ///
    /// # Errors
    /// [`CallError`] without an answer.
    pub async fn clock(&self) -> Result<Option<Timestamp>, CallError> {
        let call = Call::get("read the clock".to_owned(), "/v1/balance".to_owned(), &[]);
        Ok(crate::http::date_of(&self.exchange(&call).await?))
    }

    /// GET /v1/balance, the part of one currency.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn balance(&self, currency: Currency) -> Result<Balance, CallError> {
        let call = Call::get("read the balance".to_owned(), "/v1/balance".to_owned(), &[]);
        self.call(&call, |body| endpoints::balance(body, currency)).await
    }

    /// The newest hundred failed tries of the last thirty days, newest first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn failed_tries(&self) -> Result<Vec<FailedTry>, CallError> {
        let params = [("type", "payment_intent.payment_failed"), ("limit", PAGE_LIMIT)];
        let call = Call::get("list failed payments".to_owned(), "/v1/events".to_owned(), &params);
        Ok(self.call(&call, endpoints::failed_tries).await?.items)
    }

    /// The newest PaymentIntents that succeeded in this span, of whole seconds; at most a hundred, newest first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn succeeded_between(&self, from: Timestamp, to: Timestamp) -> Result<Vec<String>, CallError> {
        let (from, to) = (from.as_second().to_string(), to.as_second().to_string());
        let params = [
            ("type", "payment_intent.succeeded"),
            ("created[gte]", from.as_str()),
            ("created[lte]", to.as_str()),
            ("limit", PAGE_LIMIT),
        ];
        let call = Call::get("list succeeded payments".to_owned(), "/v1/events".to_owned(), &params);
        Ok(self.call(&call, endpoints::subjects).await?.items)
    }

    /// Whether Stripe could not deliver some event to some endpoint (`delivery_success=false`; kept 30 days).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn has_undelivered_events(&self) -> Result<bool, CallError> {
        let params = [("delivery_success", "false"), ("limit", "1")];
        let call = Call::get("list undelivered events".to_owned(), "/v1/events".to_owned(), &params);
        self.call(&call, crate::stripe::wire::answers::any).await
    }
}
