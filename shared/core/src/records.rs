//! What the EHR tells: clients, invoices with two shares, payments. The domain side of contracts/ehr-bridge.openapi.yaml.
//!
//! Must not: hold a name or an e-mail address. Those never enter the core.

use crate::ids::{ClientId, CustomerId, EhrPaymentId, EmailHash, InvoiceId, SessionId};
use crate::money::{Currency, Minor};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

/// Which of two versions of a record is newer: the later `observed_at`, and if equal the later in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// The record's own `observed_at`.
    pub observed_at: Timestamp,
    /// Its position in the feed, counted by Vesper.
    pub seq: u64,
}

/// Whether the client's chart is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientStatus {
    /// In treatment.
    Active,
    /// Not in treatment; still counts for matching.
    Inactive,
    /// Does not count at all.
    Deleted,
}

/// Whether the EHR charges cards by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Autopay {
    /// It does: Vesper never retries.
    On,
    /// It does not.
    Off,
    /// The EHR does not say.
    Unknown,
}

/// Whether the client agreed to card charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardConsent {
    /// Agreed.
    Given,
    /// Withdrawn: no card of this client is ever charged.
    Revoked,
    /// The EHR does not say.
    Unknown,
}

/// Who covers the client's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// The client pays all.
    SelfPay,
    /// Commercial insurance.
    Commercial,
    /// Medicare.
    Medicare,
    /// Medicaid: no card is retried.
    Medicaid,
    /// Qualified Medicare Beneficiary: no card is retried.
    Qmb,
    /// Employee assistance program.
    Eap,
    /// Somebody else bills (a platform): the invoices are no candidates for rules 5 to 12.
    ThirdPartyBiller,
    /// The EHR does not say.
    Unknown,
}

/// A client without his personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The EHR's id.
    pub id: ClientId,
    /// Stripe customers that the EHR links to this client.
    pub customers: Vec<CustomerId>,
    /// Keyed hashes of the client's e-mail addresses.
    pub emails: Vec<EmailHash>,
    /// The client who pays for this one.
    pub guarantor: Option<ClientId>,
    /// Whether the chart counts.
    pub status: ClientStatus,
    /// Whether the EHR charges by itself.
    pub autopay: Autopay,
    /// Whether cards may be charged.
    pub card_consent: CardConsent,
    /// Who covers the sessions.
    pub coverage: Coverage,
    /// The EHR's version of this record.
    pub version: String,
    /// When it was observed.
    pub seen: Seen,
}

/// One party's part of an invoice, in minor units of the invoice's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// What the party owes in all.
    pub charge: Minor,
    /// What it has paid.
    pub paid: Minor,
    /// What was forgiven.
    pub written_off: Minor,
    /// What it still owes.
    pub open: Minor,
}

impl Share {
    /// Invariant 2: `paid + open + written_off = charge`, no part negative.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let parts = [self.charge, self.paid, self.written_off, self.open];
        Minor::sum([self.paid, self.open, self.written_off]) == self.charge && parts.iter().all(|p| p.get() >= 0)
    }
}

/// What the client share is for; decides the income account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A fixed share under an insurance.
    Copay,
    /// A percentage under an insurance.
    Coinsurance,
    /// What comes before an insurance pays.
    Deductible,
    /// A session without insurance.
    SelfPay,
    /// A fee for an appointment not kept.
    NoShowFee,
    /// A thing sold.
    Product,
    /// Anything else, and what the EHR does not say.
    Other,
}

impl Category {
    /// Every category, in the order of the contract.
    pub const ALL: [Category; 7] = [
        Category::Copay,
        Category::Coinsurance,
        Category::Deductible,
        Category::SelfPay,
        Category::NoShowFee,
        Category::Product,
        Category::Other,
    ];

    /// The word of the contract, which is also the key of `books.accounts.income`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Category::Copay => "copay",
            Category::Coinsurance => "coinsurance",
            Category::Deductible => "deductible",
            Category::SelfPay => "self_pay",
            Category::NoShowFee => "no_show_fee",
            Category::Product => "product",
            Category::Other => "other",
        }
    }
}

/// One appointment on an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The EHR's id.
    pub id: SessionId,
    /// The practice's local date.
    pub service_date: Date,
}

/// One EHR bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// The EHR's id.
    pub id: InvoiceId,
    /// The number printed on it.
    pub number: Option<String>,
    /// Whose invoice it is.
    pub client: ClientId,
    /// Of all its amounts.
    pub currency: Currency,
    /// The date on it.
    pub issued_on: Date,
    /// Void: to be paid by nobody.
    pub void: bool,
    /// What the client share is.
    pub category: Category,
    /// The appointments it bills.
    pub sessions: Vec<Session>,
    /// What the client owes.
    pub client_share: Share,
    /// What the insurance owes.
    pub payer_share: Share,
    /// The EHR's version, also its ETag.
    pub version: String,
    /// When it was observed.
    pub seen: Seen,
}

impl Invoice {
    /// The number printed on it, when there is one.
    #[must_use]
    pub fn printed_number(&self) -> Option<&str> {
        self.number.as_deref().map(str::trim).filter(|n| !n.is_empty())
    }

    /// The earliest service date, when it bills an appointment at all.
    #[must_use]
    pub fn first_service_date(&self) -> Option<Date> {
        self.sessions.iter().map(|s| s.service_date).min()
    }
}

/// Whose share an EHR payment pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Portion {
    /// The client's.
    Client,
    /// The insurance's.
    Payer,
}

/// How an EHR payment was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A card.
    Card,
    /// A bank debit.
    Ach,
    /// Cash.
    Cash,
    /// A check.
    Check,
    /// An insurance's electronic transfer.
    Eft,
    /// Client credit.
    Credit,
    /// Anything else.
    Other,
}

/// A payment as the EHR holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EhrPayment {
    /// The EHR's id.
    pub id: EhrPaymentId,
    /// The invoice it pays.
    pub invoice: InvoiceId,
    /// Whose share of it.
    pub portion: Portion,
    /// What was posted; stays when it is reversed.
    pub amount: Minor,
    /// What of it was taken back.
    pub reversed: Minor,
    /// Of both.
    pub currency: Currency,
    /// How it was made.
    pub method: Method,
    /// The date in the EHR.
    pub posted_on: Date,
    /// The EHR reference: for Vesper's own payments its idempotency key.
    pub reference: String,
    /// `observed_at` of its first version that Vesper saw.
    pub first_observed_at: Timestamp,
    /// When this version was observed.
    pub seen: Seen,
}

impl EhrPayment {
    /// What still stands: amount less what was taken back.
    #[must_use]
    pub fn net(&self) -> Minor {
        self.amount.minus(self.reversed).or_zero()
    }

    /// Whether it pays the client share and still stands.
    #[must_use]
    pub fn pays_client_share(&self) -> bool {
        self.portion == Portion::Client && self.net().is_positive()
    }
}
