//! Clients and who they are to Stripe: versions, families, customers, e-mails.

use super::stored;
use crate::dynamo::item::{Key, Stored};
use crate::dynamo::keys;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use vesper_core::ids::{ClientId, CustomerId, EmailHash, PaymentId};
use vesper_core::records::Client;

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
