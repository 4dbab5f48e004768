//! What the EHR told: invoices, its payments, and the pointers to them.

use super::stored;
use crate::dynamo::item::{Key, Stored};
use crate::dynamo::keys;
use serde::{Deserialize, Serialize};
use vesper_core::ids::{ClientId, EhrPaymentId, InvoiceId, SessionId};
use vesper_core::money::{Currency, Minor};
use vesper_core::records::{EhrPayment, Invoice};

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
