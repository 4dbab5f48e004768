//! Payments and what became of them: allocations, reversals, refunds and disputes, what waits, what is left.

use super::{newest_first, stored};
use crate::dynamo::item::{Key, Stored, stamp};
use crate::dynamo::keys;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use vesper_core::effect::Effect;
use vesper_core::ids::{ClientId, CustomerId, EhrPaymentId, InvoiceId, PaymentId};
use vesper_core::matching::Watch;
use vesper_core::money::{Currency, Minor};
use vesper_core::movement::Movement;
use vesper_core::payment::{Payment, PaymentState};
use vesper_core::world::Allocation;

/// An allocation: the invoice-charge link, and its write-back effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredAllocation {
    /// The allocation.
    pub allocation: Allocation,
    /// Counts the payment's allocations from 1.
    pub n: u32,
    /// Of its amount.
    pub currency: Currency,
    /// The date it is written with.
    pub posted_on: Date,
    /// Its write-back; None where the EHR had it before us (rule 16).
    pub effect: Option<Effect>,
    /// The EHR's id of the payment that was written.
    pub ehr_payment: Option<EhrPaymentId>,
    /// A person types it in; it stays pending until marked done.
    pub worklist: bool,
}
impl Stored for StoredAllocation {
    const KIND: &'static str = "AllocationV1";
    fn key(&self) -> Key {
        keys::allocation(&self.allocation.client, &self.allocation.payment, self.n)
    }
    fn due(&self) -> Option<Timestamp> {
        self.effect.as_ref().filter(|_| !self.worklist).and_then(|e| e.next_at)
    }
    fn list(&self) -> Option<(String, String)> {
        self.effect.as_ref().filter(|_| self.worklist).and_then(worklist_place)
    }
}
impl StoredAllocation {
    /// It is for a person to type in, and nobody has said yet that it is done.
    #[must_use]
    pub fn is_worklist_item(&self) -> bool {
        self.worklist && self.effect.as_ref().is_some_and(Effect::is_waiting)
    }
}

/// The list of what a person is to type into the EHR, oldest first.
pub const WORKLIST: &str = "WORKLIST";

fn worklist_place(effect: &Effect) -> Option<(String, String)> {
    effect.is_waiting().then(|| (WORKLIST.to_owned(), format!("{}#{}", stamp(effect.since), effect.id)))
}

/// A part of an allocation to be taken back in the EHR.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredReversal {
    /// Whose allocation.
    pub payment: PaymentId,
    /// Which of the payment's allocations.
    pub n: u32,
    /// The how-many-eth reversal of it.
    pub reversal: u32,
    /// The invoice.
    pub invoice: InvoiceId,
    /// Whose invoice.
    pub client: ClientId,
    /// How much.
    pub amount: Minor,
    /// Of the amount.
    pub currency: Currency,
    /// `refund`, `dispute` or `correction`.
    pub reason: BackReason,
    /// The date it is written with.
    pub posted_on: Date,
    /// `<reference>-r<n>`, the Idempotency-Key.
    pub reference: String,
    /// Its write-back.
    pub effect: Effect,
    /// A person types it in.
    pub worklist: bool,
}
impl Stored for StoredReversal {
    const KIND: &'static str = "ReversalV1";
    fn key(&self) -> Key {
        keys::reversal(&self.client, &self.payment, self.n, self.reversal)
    }
    fn due(&self) -> Option<Timestamp> {
        self.effect.next_at.filter(|_| !self.worklist)
    }
    fn list(&self) -> Option<(String, String)> {
        worklist_place(&self.effect).filter(|_| self.worklist)
    }
}
impl StoredReversal {
    /// It is for a person to type in, and nobody has said yet that it is done.
    #[must_use]
    pub fn is_worklist_item(&self) -> bool {
        self.worklist && self.effect.is_waiting()
    }
}

/// Why something is taken back (contracts/ehr-bridge.openapi.yaml).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackReason {
    /// The money was refunded.
    Refund,
    /// The money was disputed.
    Dispute,
    /// A person moved or took back the allocation.
    Correction,
}

/// A payment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPayment {
    /// The payment.
    pub payment: Payment,
    /// When it is to be looked at again, while it is parked.
    pub look_at: Option<Timestamp>,
}
impl Stored for StoredPayment {
    const KIND: &'static str = "PaymentV1";
    fn key(&self) -> Key {
        keys::payment(self.payment.id())
    }
    fn due(&self) -> Option<Timestamp> {
        self.look_at.filter(|_| self.payment.state == PaymentState::Parked)
    }
    fn list(&self) -> Option<(String, String)> {
        Some((PAYMENTS.to_owned(), newest_first(self.payment.charged_at, self.payment.id().as_str())))
    }
}

/// The list of all payments by when the charge succeeded, newest first.
pub const PAYMENTS: &str = "PAYMENTS";

/// A refund or dispute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredMovement {
    /// The movement.
    pub movement: Movement,
}
stored!(StoredMovement, "MovementV1", |m| keys::movement(&m.movement.payment, &m.movement.id));

/// A parked payment, beside all others, and what it waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parked {
    /// The payment.
    pub payment: PaymentId,
    /// Its place in the order of first delivery.
    pub first_delivered_at: Timestamp,
    /// It is looked at again when any of these arrives or changes.
    pub watch: BTreeSet<Watch>,
}
stored!(Parked, "ParkedV1", |p| keys::parked(&p.payment));

/// A parked payment that waits for any record of this client, in his partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParkedWith {
    /// The client.
    pub client: ClientId,
    /// The payment.
    pub payment: PaymentId,
}
stored!(ParkedWith, "ParkedWithV1", |p| keys::parked_with(&p.client, &p.payment));

/// Whose money may be on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoneyOf {
    /// The paying client's.
    Client(ClientId),
    /// The customer's, while nobody knows who that is.
    Customer(CustomerId),
}

/// A payment that had money left when it was stored: parked, asked about, or client credit. The payment's row says whether it still has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MoneyLeft {
    /// Whose.
    pub of: MoneyOf,
    /// The payment.
    pub payment: PaymentId,
}
stored!(MoneyLeft, "MoneyLeftV1", |m| keys::money_left(
    match &m.of {
        MoneyOf::Client(client) => keys::client_pk(client),
        MoneyOf::Customer(customer) => keys::customer_pk(customer),
    },
    &m.payment
));

/// A client's credit is to be looked at: some of it may pay an invoice. The row goes when nothing is in the way any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreditLook {
    /// Whose credit.
    pub client: ClientId,
    /// When.
    pub at: Timestamp,
}
impl Stored for CreditLook {
    const KIND: &'static str = "CreditLookV1";
    fn key(&self) -> Key {
        keys::credit_look(&self.client)
    }
    fn due(&self) -> Option<Timestamp> {
        Some(self.at)
    }
}
