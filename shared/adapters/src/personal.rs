//! Personal data: how it is sealed at rest, and how equality of e-mail addresses is tested without keeping them.

use base64::Engine as _;
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use vesper_core::ids::EmailHash;

/// 32 random bytes that seal personal data and key the e-mail hashes (DATA_KEY of contracts/settings.md).
#[derive(Clone)]
pub struct DataKey([u8; 32]);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(***)")
    }
}

/// A secret text that never shows in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for a header or a MAC, never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Sealed bytes that do not open: another key, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed data does not open with this data key")]
pub struct DoesNotOpen;

/// What Vesper keeps of a person, sealed in one attribute: for the review page and mails to that client only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// The name to show.
    pub display_name: Option<String>,
    /// The e-mail addresses.
    pub emails: Vec<String>,
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(***)")
    }
}

impl DataKey {
    /// Wraps 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key as it is kept: 64 hex digits, or 32 bytes in base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = hex::decode(text).ok().or_else(|| base64::engine::general_purpose::STANDARD.decode(text).ok());
        Some(Self(<[u8; 32]>::try_from(bytes?).ok()?))
    }

    /// A key for another purpose, which says nothing of this one. Each purpose has a name of its own.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Seals `plain` for the place named by `context` (its key), with a nonce never used before.
    #[must_use]
    pub fn seal(&self, context: &str, nonce: [u8; 12], plain: &[u8]) -> Vec<u8> {
        let cipher = ChaCha20Poly1305::new(&self.derived("vesper seal v1").into());
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = cipher.encrypt(&Nonce::from(nonce), payload).unwrap_or_default();
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`DataKey::seal`] sealed for the same context.
    ///
    /// # Errors
    /// [`DoesNotOpen`] for another key, another context, or damaged bytes.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        let (nonce, body) = sealed.split_at_checked(12).ok_or(DoesNotOpen)?;
        let nonce: [u8; 12] = nonce.try_into().map_err(|_| DoesNotOpen)?;
        let cipher = ChaCha20Poly1305::new(&self.derived("vesper seal v1").into());
        cipher.decrypt(&Nonce::from(nonce), Payload { msg: body, aad: context.as_bytes() }).map_err(|_| DoesNotOpen)
    }

    /// The hasher of e-mail addresses of this practice.
    #[must_use]
    pub fn email_hasher(&self) -> EmailHasher {
        EmailHasher(self.derived("vesper email v1"))
    }
}

/// Turns an e-mail address into a keyed hash.
#[derive(Clone)]
pub struct EmailHasher([u8; 32]);

impl fmt::Debug for EmailHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailHasher(***)")
    }
}

impl EmailHasher {
    /// The hash of an address, trimmed and in lower case (design.md rule 14); None for a blank one.
    #[must_use]
    pub fn hash(&self, address: &str) -> Option<EmailHash> {
        let normal = address.trim().to_lowercase();
        if normal.is_empty() {
            return None;
        }
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&self.0).ok()?;
        mac.update(normal.as_bytes());
        EmailHash::parse(&hex::encode(mac.finalize().into_bytes().get(..16)?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_in_its_place() {
        let (a, b) = (DataKey::new([1; 32]), DataKey::new([2; 32]));
        let sealed = a.seal("CLIENT#c", [7; 12], b"Persephone");
        assert_eq!(a.open("CLIENT#c", &sealed).unwrap(), b"Persephone");
        assert_eq!(a.open("CLIENT#d", &sealed), Err(DoesNotOpen));
        assert_eq!(b.open("CLIENT#c", &sealed), Err(DoesNotOpen));
        assert_eq!(a.open("CLIENT#c", &[]), Err(DoesNotOpen));
        assert!(!sealed.windows(10).any(|w| w == b"Persephone"));
    }

    #[test]
    fn a_key_is_read_as_hex_or_base64_and_nothing_else() {
        let sealed = DataKey::new([7; 32]).seal("c", [0; 12], b"x");
        let base64 = base64::engine::general_purpose::STANDARD.encode([7; 32]);
        for text in [format!(" {}\n", "07".repeat(32)), base64] {
            assert_eq!(DataKey::parse(&text).unwrap().open("c", &sealed).unwrap(), b"x");
        }
        for bad in ["", "07", "not a key", &"07".repeat(31), &"0".repeat(63)] {
            assert!(DataKey::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_address_hashes_trimmed_and_in_lower_case_and_a_blank_one_not_at_all() {
        let h = DataKey::new([1; 32]).email_hasher();
        assert_eq!(h.hash(" Ada@Example.org "), h.hash("ada@example.org"));
        assert_ne!(h.hash("ada@example.org"), h.hash("bob@example.org"));
        assert_ne!(h.hash("ada@example.org"), DataKey::new([2; 32]).email_hasher().hash("ada@example.org"));
        assert_eq!(h.hash("  "), None);
    }
}
