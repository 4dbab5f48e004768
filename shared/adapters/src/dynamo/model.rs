//! What is stored: one struct per kind of item. Kinds carry a version; a change of shape is a new kind.

use super::item::{Key, Stored, stamp};
use super::keys;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use vesper_core::audit::AuditRecord;
use vesper_core::effect::{Effect, EffectState, Lease};
use vesper_core::event::{Event, Failure};
use vesper_core::ids::{ClientId, CustomerId, EhrPaymentId, EmailHash, InvoiceId, PaymentId, SessionId};
use vesper_core::matching::Watch;
use vesper_core::money::{Currency, Minor};
use vesper_core::movement::Movement;
use vesper_core::payment::{Payment, PaymentState};
use vesper_core::payout::{Matched, Payout, PayoutRow, PayoutState, Tally};
use vesper_core::posting::Posting;
use vesper_core::records::{Client, EhrPayment, Invoice};
use vesper_core::recovery::Recovery;
use vesper_core::review::{Review, Status};
use vesper_core::world::Allocation;

macro_rules! stored {
    ($name:ident, $kind:literal, |$it:ident| $key:expr) => {
        impl Stored for $name {
            const KIND: &'static str = $kind;
            fn key(&self) -> Key {
                let $it = self;
                $key
            }
        }
    };
}

/// A client. The personal data stands sealed beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredClient {
    /// The record without personal data.
    pub client: Client,
}
stored!(StoredClient, "ClientV1", |c| keys::client(&c.client.id));

/// The version item of a client: its revision is what decisions are conditioned on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Whose.
    pub client: ClientId,
}
stored!(Version, "VersionV1", |v| keys::version(&v.client));

/// A client whose guarantor this partition's client is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dependent {
    /// The guarantor.
    pub guarantor: ClientId,
    /// The dependent.
    pub client: ClientId,
}
stored!(Dependent, "DependentV1", |d| keys::dependent(&d.guarantor, &d.client));

/// A customer that Vesper linked to a client by e-mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnLink {
    /// The client.
    pub client: ClientId,
    /// The customer.
    pub customer: CustomerId,
    /// The payment that made the link.
    pub payment: PaymentId,
    /// When.
    pub at: Timestamp,
}
stored!(OwnLink, "OwnLinkV1", |l| keys::own_link(&l.client, &l.customer));

/// An invoice as the EHR holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredInvoice {
    /// The record.
    pub invoice: Invoice,
}
impl Stored for StoredInvoice {
    const KIND: &'static str = "InvoiceV1";
    fn key(&self) -> Key {
        keys::invoice(&self.invoice.client, &self.invoice.id)
    }
    fn list(&self) -> Option<(String, String)> {
        let open = self.invoice.client_share.open;
        (!self.invoice.void && open.is_positive())
            .then(|| (open_list(self.invoice.currency, open), format!("{}#{}", self.invoice.issued_on, self.invoice.id)))
    }
}

/// The list of open invoices of one amount (shown for `unknown_client`, never applied).
#[must_use]
pub fn open_list(currency: Currency, open: Minor) -> String {
    format!("OPEN#{currency}#{}", open.get())
}

/// A payment record of the EHR; `client` None: its invoice has not arrived yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredEhrPayment {
    /// Whose invoice it pays.
    pub client: Option<ClientId>,
    /// The record.
    pub payment: EhrPayment,
}
stored!(StoredEhrPayment, "EhrPaymentV1", |p| match &p.client {
    Some(client) => keys::ehr_payment(client, &p.payment.id),
    None => keys::orphan_payment(&p.payment.invoice, &p.payment.id),
});

/// Where the EHR's record of a payment stands: one that moved to another invoice leaves none behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EhrPaymentPlace {
    /// The payment.
    pub id: EhrPaymentId,
    /// The invoice it pays.
    pub invoice: InvoiceId,
    /// In whose partition it stands; None while the invoice has not arrived.
    pub client: Option<ClientId>,
}
stored!(EhrPaymentPlace, "EhrPaymentPlaceV1", |p| keys::ehr_payment_place(&p.id));

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

/// In which client's partition an invoice stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InvoiceHome {
    /// The invoice.
    pub invoice: InvoiceId,
    /// Its client.
    pub client: ClientId,
}
stored!(InvoiceHome, "InvoiceHomeV1", |h| keys::invoice_home(&h.invoice));

/// The invoice that carries a printed number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InvoiceNumber {
    /// The number.
    pub number: String,
    /// The invoice.
    pub invoice: InvoiceId,
}
stored!(InvoiceNumber, "InvoiceNumberV1", |n| keys::invoice_number(&n.number));

/// An invoice that bills a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionInvoice {
    /// The session.
    pub session: SessionId,
    /// The invoice.
    pub invoice: InvoiceId,
    /// Its client.
    pub client: ClientId,
}
stored!(SessionInvoice, "SessionInvoiceV1", |s| keys::session_invoice(&s.session, &s.invoice));

/// What is known of a Stripe customer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredCustomer {
    /// The customer.
    pub customer: CustomerId,
    /// Its latest e-mail.
    pub email: Option<EmailHash>,
    /// Stripe was asked, or told it: `email` is what Stripe holds.
    pub email_known: bool,
    /// `created` of the newest event that told it: an older one that comes later says nothing new.
    #[serde(default)]
    pub told_at: Option<Timestamp>,
    /// The clients that the EHR links to it.
    pub told: BTreeSet<ClientId>,
    /// The client that Vesper linked it to.
    pub own: Option<ClientId>,
}
stored!(StoredCustomer, "CustomerV1", |c| keys::customer(&c.customer));

/// Who has an e-mail address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredEmail {
    /// The keyed hash.
    pub email: EmailHash,
    /// Clients with it.
    pub clients: BTreeSet<ClientId>,
    /// Customers with it.
    pub customers: BTreeSet<CustomerId>,
}
stored!(StoredEmail, "EmailV1", |e| keys::email(&e.email));

/// An EHR payment that carries a Stripe id as its EHR reference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EhrReference {
    /// The Stripe id.
    pub reference: String,
    /// The EHR payment.
    pub id: EhrPaymentId,
    /// The invoice it pays.
    pub invoice: InvoiceId,
    /// Its client; None while the invoice has not arrived.
    pub client: Option<ClientId>,
}
stored!(EhrReference, "EhrReferenceV1", |r| keys::ehr_reference(&r.reference, &r.id));

/// Stands beside every [`EhrReference`], under a key that a payment knows: most have none, and one batch says so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EhrReferenced {
    /// The Stripe id.
    pub reference: String,
}
stored!(EhrReferenced, "EhrReferencedV1", |r| keys::ehr_referenced(&r.reference));

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
/// Later than anything that is listed, in unix seconds: what is left until then sorts newest first.
const END_S: i64 = 99_999_999_999;

/// The place of something that happened at a moment, in a list that is read newest first.
#[must_use]
pub fn newest_first(at: Timestamp, id: &str) -> String {
    format!("{:011}#{id}", END_S.saturating_sub(at.as_second()))
}

/// A refund or dispute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredMovement {
    /// The movement.
    pub movement: Movement,
}
stored!(StoredMovement, "MovementV1", |m| keys::movement(&m.movement.payment, &m.movement.id));

/// How far a posting got (contracts/export.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostingState {
    /// Not sent yet.
    Prepared,
    /// The call is out.
    Sent,
    /// QuickBooks has it.
    Confirmed,
    /// The outcome of the call is unknown.
    Unknown,
}

impl PostingState {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PostingState::Prepared => "prepared",
            PostingState::Sent => "sent",
            PostingState::Confirmed => "confirmed",
            PostingState::Unknown => "unknown",
        }
    }
}

/// A posting and its way into QuickBooks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPosting {
    /// What is posted; its date may have moved to the first open day.
    pub posting: Posting,
    /// The date it was meant for, when that lay in a closed period.
    pub meant_for: Option<Date>,
    /// The accounts by their ids in QuickBooks, debit positive, fixed when it was decided.
    pub lines: Vec<(String, Minor)>,
    /// `VS-yymmdd-...`; None for a transfer.
    pub doc_number: Option<String>,
    /// Its effect.
    pub effect: Effect,
    /// QuickBooks' id.
    pub booked_id: Option<String>,
}
impl StoredPosting {
    /// How far it got.
    #[must_use]
    pub fn state(&self) -> PostingState {
        match (self.effect.state, self.effect.shadow, self.effect.unknown_since) {
            (EffectState::Done, false, _) => PostingState::Confirmed,
            (EffectState::Done, true, _) => PostingState::Prepared,
            (EffectState::Sent, ..) => PostingState::Sent,
            (_, _, Some(_)) => PostingState::Unknown,
            _ => PostingState::Prepared,
        }
    }
}
impl Stored for StoredPosting {
    const KIND: &'static str = "PostingV1";
    fn key(&self) -> Key {
        keys::posting(&self.posting.subject, &self.posting.id)
    }
    fn due(&self) -> Option<Timestamp> {
        self.effect.next_at
    }
    fn list(&self) -> Option<(String, String)> {
        let is_open = self.effect.state != EffectState::Done;
        is_open.then(|| (BOOKS_OPEN.to_owned(), format!("{}#{}", self.posting.date, self.posting.id)))
    }
}

/// The list of postings that QuickBooks does not have yet, by date.
pub const BOOKS_OPEN: &str = "BOOKS_OPEN";

/// The list of open reviews.
pub const REVIEWS_OPEN: &str = "REVIEWS_OPEN";

/// A review.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredReview {
    /// The review.
    pub review: Review,
}
impl Stored for StoredReview {
    const KIND: &'static str = "ReviewV1";
    fn key(&self) -> Key {
        keys::review(&self.review.id)
    }
    fn list(&self) -> Option<(String, String)> {
        (self.review.status == Status::Open)
            .then(|| (REVIEWS_OPEN.to_owned(), format!("{}#{}", stamp(self.review.opened_at), self.review.id)))
    }
}

/// Which reviews there are about a subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewOf {
    /// The subject.
    pub subject: String,
    /// The review.
    pub review: vesper_core::ids::ReviewId,
}
stored!(ReviewOf, "ReviewOfV1", |r| keys::review_of(&r.subject, &r.review));

/// An event whose work could not be finished: it is tried again like an effect, and after 24 h it is a dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// Since when it waits.
    pub since: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried again; None once it is a dead letter.
    pub next_at: Option<Timestamp>,
    /// What went wrong last.
    pub problem: String,
}
impl Stored for StoredEvent {
    const KIND: &'static str = "EventV1";
    fn key(&self) -> Key {
        keys::event(&self.event.id)
    }
    fn due(&self) -> Option<Timestamp> {
        self.next_at
    }
}

/// A message that no consumer could work off, or an event that gave up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The queue it died in.
    pub queue: String,
    /// The message's id; for an event that gave up, the event's.
    pub id: String,
    /// The message, for a redrive. Projected events and keys: no personal data.
    pub body: String,
    /// When it died.
    pub at: Timestamp,
    /// What went wrong last.
    pub problem: String,
}
stored!(DeadLetter, "DeadLetterV1", |d| keys::dead_letter(&d.queue, &d.id));

/// The list of audit records that no seal covers yet.
pub const AUDIT_OPEN: &str = "AUDIT_OPEN";

/// An audit record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredAudit {
    /// The record.
    pub record: AuditRecord,
    /// Random, so that two records of one second stay apart.
    pub id: String,
    /// The seal that covers it.
    pub seal: Option<u64>,
}
impl Stored for StoredAudit {
    const KIND: &'static str = "AuditV1";
    fn key(&self) -> Key {
        keys::audit(self.record.at.get(..10).unwrap_or_default(), &self.record.at, &self.id)
    }
    fn list(&self) -> Option<(String, String)> {
        self.seal.is_none().then(|| (AUDIT_OPEN.to_owned(), format!("{}#{}", self.record.at, self.id)))
    }
}

/// One seal of the audit trail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredSeal {
    /// Counts from 1.
    pub n: u64,
    /// The hashes of the records it covers, hex, sorted.
    pub records: Vec<String>,
    /// H(previous seal, records), hex.
    pub hash: String,
    /// When.
    pub at: Timestamp,
}
stored!(StoredSeal, "SealV1", |s| keys::seal(s.n));

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

/// The retry ladder of a failed PaymentIntent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredRecovery {
    /// The recovery.
    pub recovery: Recovery,
}
impl Stored for StoredRecovery {
    const KIND: &'static str = "RecoveryV1";
    fn key(&self) -> Key {
        keys::recovery(self.recovery.payment())
    }
    fn due(&self) -> Option<Timestamp> {
        self.recovery.next_at
    }
}

/// The list of failed PaymentIntents, newest first.
pub const FAILURES: &str = "FAILURES";

/// The first failure of a PaymentIntent, whether it is tried again or only asked about. It never changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredFailure {
    /// What Stripe said.
    pub failure: Failure,
    /// Radar blocked it.
    pub blocked: bool,
    /// The event's `created`.
    pub at: Timestamp,
}
impl Stored for StoredFailure {
    const KIND: &'static str = "FailureV1";
    fn key(&self) -> Key {
        keys::failure(&self.failure.payment)
    }
    fn list(&self) -> Option<(String, String)> {
        Some((FAILURES.to_owned(), newest_first(self.at, self.failure.payment.as_str())))
    }
}

/// A customer's recoveries, so that a new card finds them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecoveryOf {
    /// The customer.
    pub customer: CustomerId,
    /// The failed PaymentIntent.
    pub payment: PaymentId,
}
stored!(RecoveryOf, "RecoveryOfV1", |r| keys::recovery_of(&r.customer, &r.payment));

/// An invoice that a recovery is about to charge for: nobody else may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InvoiceClaim {
    /// The invoice.
    pub invoice: InvoiceId,
    /// The PaymentIntent whose recovery holds it.
    pub payment: PaymentId,
}
stored!(InvoiceClaim, "InvoiceClaimV1", |c| keys::claim(&c.invoice));

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

/// The list of payouts, newest first.
pub const PAYOUTS: &str = "PAYOUTS";

/// A payout, and how far the reading of its transactions has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPayout {
    /// `po_...`.
    pub id: String,
    /// What Stripe said of it last; None while only an event named it.
    pub payout: Option<Payout>,
    /// Where it stands.
    pub state: PayoutState,
    /// The how-many-eth reading of its transactions this is; a new one begins after a drift.
    pub look: u32,
    /// The last transaction that was read and stored: a restart goes on after it.
    pub cursor: Option<String>,
    /// All transactions were read.
    pub listed: bool,
    /// Their sums so far.
    pub tally: Tally,
    /// The Transfer was posted; it is reversed when the payout comes back.
    pub transferred: bool,
    /// It was tied out in shadow mode: its postings are shown and never sent.
    pub shadow: bool,
    /// When it is to be looked at again.
    pub next_at: Option<Timestamp>,
    /// Since when Stripe has not answered for it.
    pub failing_since: Option<Timestamp>,
    /// How often that was tried.
    pub tries: u32,
    /// What went wrong last, or why it waits.
    pub problem: Option<String>,
}
impl Stored for StoredPayout {
    const KIND: &'static str = "PayoutV1";
    fn key(&self) -> Key {
        keys::payout(&self.id)
    }
    fn due(&self) -> Option<Timestamp> {
        self.next_at
    }
    fn list(&self) -> Option<(String, String)> {
        Some((PAYOUTS.to_owned(), newest_first(self.payout.as_ref()?.created, &self.id)))
    }
}

/// One transaction of a payout, and what the ledger knew of it when it was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPayoutRow {
    /// The payout.
    pub payout: String,
    /// Which reading.
    pub look: u32,
    /// Its place in Stripe's list, the payout's own row not counted.
    pub n: u32,
    /// The transaction.
    pub row: PayoutRow,
    /// What the ledger knew.
    pub matched: Matched,
}
stored!(StoredPayoutRow, "PayoutRowV1", |r| keys::payout_row(&r.payout, r.look, r.n));

/// Small facts of the stack: cursor, pause, go_live, leases, tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Which fact.
    pub name: String,
    /// Its JSON.
    pub value: serde_json::Value,
}
stored!(Meta, "MetaV1", |m| keys::meta(&m.name));

/// A piece of work that the clock drives: the daily sweep, the nightly proof, a backfill. Its row is due when it is to begin, or to
/// go on; what it has done so far stands in it, so that a restart goes on from there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredChore {
    /// Which: `heal`, `proof`, `backfill`.
    pub name: String,
    /// When it is to begin or to go on; None when nobody wants it.
    pub next_at: Option<Timestamp>,
    /// Who is at work on it.
    pub lease: Option<Lease>,
    /// When this run began; None between two runs.
    pub started_at: Option<Timestamp>,
    /// When a run last came to its end.
    pub done_at: Option<Timestamp>,
    /// How often in a row it was cut short by something that did not answer.
    pub tries: u32,
    /// What went wrong last, or what the last run came to. No personal data.
    pub note: Option<String>,
    /// How far it is, in its own words.
    pub state: serde_json::Value,
}
impl Stored for StoredChore {
    const KIND: &'static str = "ChoreV1";
    fn key(&self) -> Key {
        keys::chore(&self.name)
    }
    fn due(&self) -> Option<Timestamp> {
        self.next_at
    }
}
