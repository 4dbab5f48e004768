//! Ids: one newtype per kind, so that a client's id never stands where an invoice's is meant.
//!
//! EHR ids are opaque and may hold any printable character; Stripe ids are letters, digits and `_`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest id that is accepted, in bytes. Stripe's limit is 255.
pub const ID_BYTES_MAX: usize = 255;

/// Text that cannot be an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 255 printable characters")]
pub struct BadId;

fn check(text: &str) -> Result<(), BadId> {
    if text.is_empty() || text.len() > ID_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(BadId);
    }
    Ok(())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Reads an id.
            ///
            /// # Errors
            /// [`BadId`] when it is empty, longer than [`ID_BYTES_MAX`] or holds a control character.
            pub fn parse(text: &str) -> Result<Self, BadId> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                check(&text)?;
                Ok(Self(text.into_boxed_str()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

ids! {
    /// A Stripe event, `evt_...`.
    EventId,
    /// A payment: the PaymentIntent (`pi_...`), or the charge (`ch_...`, `py_...`) that has none.
    PaymentId,
    /// A Stripe charge.
    ChargeId,
    /// A Stripe customer.
    CustomerId,
    /// A Stripe refund (`re_...`) or dispute (`du_...`, `dp_...`): a movement of money of a known payment.
    MovementId,
    /// An EHR client.
    ClientId,
    /// An EHR invoice.
    InvoiceId,
    /// An EHR session.
    SessionId,
    /// A payment record of the EHR.
    EhrPaymentId,
    /// A keyed hash of a normalised e-mail address. Never the address.
    EmailHash,
    /// A question for a person, `rev_...`.
    ReviewId,
    /// Something to do in another system, `eff_...`.
    EffectId,
    /// A balanced entry for the books, `pst_...`.
    PostingId,
}
