//! Stripe events as Vesper uses them: the projection that intake puts on the queue. No name, address or e-mail.

use crate::ids::{ChargeId, CustomerId, EmailHash, EventId, InvoiceId, MovementId, PaymentId};
use crate::money::{Currency, Minor};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The metadata that may name something, already picked by the keys of `stripe.metadata`, trimmed, empty = absent.
/// The texts are ids as somebody typed them: not checked, perhaps unknown to the EHR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Names an invoice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<String>,
    /// Names a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Names a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Says what the payment is, such as `prepayment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// One Stripe event, projected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// `evt_...`.
    pub id: EventId,
    /// The event's `created`.
    pub created: Timestamp,
    /// What happened.
    pub what: What,
}

/// What an event says happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// payment_intent.succeeded; or charge.succeeded of a charge without a PaymentIntent.
    PaymentSucceeded(Success),
    /// charge.succeeded or charge.updated of a charge that belongs to a PaymentIntent: completes it.
    ChargeOfPayment(Success),
    /// payment_intent.payment_failed.
    PaymentFailed(Failure),
    /// refund.created, refund.updated, refund.failed, charge.refund.updated: the refund as it is now.
    Refund(Refund),
    /// charge.refunded: the refunds of this charge are to be listed.
    ChargeRefunded {
        /// The charge.
        charge: ChargeId,
        /// Its PaymentIntent.
        payment: Option<PaymentId>,
    },
    /// charge.dispute.*: the dispute as it is now.
    Dispute(Dispute),
    /// customer.created, customer.updated.
    Customer {
        /// The customer.
        customer: CustomerId,
        /// Its latest e-mail, hashed; None when it has none.
        email: Option<EmailHash>,
        /// customer.updated changed `invoice_settings.default_payment_method` (re-arms recoveries).
        #[serde(default)]
        default_card_changed: bool,
    },
    /// customer.deleted.
    CustomerDeleted {
        /// The customer.
        customer: CustomerId,
    },
    /// payment_method.attached, payment_method.automatically_updated.
    CardRenewed {
        /// The customer whose card it is.
        customer: CustomerId,
        /// The payment method, `pm_...`.
        payment_method: String,
    },
    /// payout.*: the payout as it is now.
    Payout {
        /// `po_...`.
        payout: String,
        /// The event type's last part: `paid`, `reconciliation_completed`, `failed`, ...
        change: String,
    },
    /// Any other type, and a thin event: acknowledged and counted, nothing else.
    Other {
        /// The event's type.
        event_type: String,
    },
    /// The object cannot be read (a negative amount, an amount that is text, ...): a person is asked.
    Unreadable {
        /// The event's type.
        event_type: String,
        /// Which field, and what is wrong with it; no value from the event.
        problem: String,
    },
}

/// Money that arrived: a PaymentIntent or charge that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// The PaymentIntent, or the charge without one.
    pub payment: PaymentId,
    /// The charge, when it is known (`latest_charge`, or the charge itself).
    pub charge: Option<ChargeId>,
    /// The customer; None for a guest.
    pub customer: Option<CustomerId>,
    /// `amount_received` of a PaymentIntent, `amount_captured` of a charge.
    pub amount: Minor,
    /// Of the amount.
    pub currency: Currency,
    /// What the metadata names.
    pub reference: Reference,
    /// `receipt_email`, hashed. Not billing_details.
    pub receipt_email: Option<EmailHash>,
    /// The charge's balance transaction, when it is known.
    pub balance_transaction: Option<String>,
    /// `created` of the object (PaymentIntent or charge): decides `before_go_live`.
    pub object_created: Timestamp,
}

/// A card payment that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The PaymentIntent.
    pub payment: PaymentId,
    /// The failed charge.
    pub charge: Option<ChargeId>,
    /// Its customer.
    pub customer: Option<CustomerId>,
    /// `amount` of the PaymentIntent.
    pub amount: Minor,
    /// Of the amount.
    pub currency: Currency,
    /// What the metadata names.
    pub reference: Reference,
    /// `receipt_email`, hashed.
    pub receipt_email: Option<EmailHash>,
    /// `last_payment_error.payment_method.id`.
    pub payment_method: Option<String>,
    /// `last_payment_error.payment_method.type`, such as `card`.
    pub payment_method_type: Option<String>,
    /// `last_payment_error.code`.
    pub code: Option<String>,
    /// `last_payment_error.decline_code`.
    pub decline_code: Option<String>,
    /// `last_payment_error.advice_code`.
    pub advice_code: Option<String>,
    /// `last_payment_error.network_advice_code`.
    pub network_advice_code: Option<String>,
    /// `created` of the PaymentIntent.
    pub object_created: Timestamp,
}

/// Where a refund stands. Only `Succeeded` moves money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// pending, requires_action, and any status of the future: waits.
    Pending,
    /// The money left.
    Succeeded,
    /// failed or canceled: the money did not leave, or came back.
    Failed,
}

/// A refund object as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// `re_...`.
    pub id: MovementId,
    /// The PaymentIntent, or the charge without one.
    pub payment: PaymentId,
    /// The charge.
    pub charge: Option<ChargeId>,
    /// Positive.
    pub amount: Minor,
    /// Of the amount.
    pub currency: Currency,
    /// Where it stands.
    pub status: RefundStatus,
    /// The invoice that its metadata names, as typed.
    pub names_invoice: Option<InvoiceId>,
    /// The refund's `created`.
    pub created: Timestamp,
}

/// A dispute as it is now: what was withdrawn and what was given back, both positive, from its balance transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// `du_...` or `dp_...`.
    pub id: MovementId,
    /// The PaymentIntent, or the charge without one.
    pub payment: PaymentId,
    /// The charge.
    pub charge: Option<ChargeId>,
    /// Taken from the balance so far, without the fee.
    pub withdrawn: Minor,
    /// Given back so far, without the fee.
    pub reinstated: Minor,
    /// Of both.
    pub currency: Currency,
    /// Stripe's `status`, such as `needs_response`, `won`, `lost`.
    pub status: String,
    /// The dispute's `created`.
    pub created: Timestamp,
    /// When how much left (negative) or came back: its balance transactions.
    #[serde(default)]
    pub moved: Vec<(Timestamp, Minor)>,
}
