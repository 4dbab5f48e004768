//! Whether a webhook really comes from Stripe: the `Stripe-Signature` header over the raw bytes of the body.
//!
//! Must not: see a parsed or re-serialised body (the signature is over the bytes as received), use the test clock, or be asked
//! a second time for a stored request (its age would fail; facts/stripe.md section 1).

use crate::personal::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How old a signature may be, in seconds; that age itself still passes (facts/stripe.md section 1).
pub const TOLERANCE_S: i64 = 300;

/// Why a request is not believed. Holds nothing of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no `Stripe-Signature` header.
    #[error("the Stripe-Signature header is missing")]
    Missing,
    /// No single `t=` of digits, or no `v1=`.
    #[error("the Stripe-Signature header cannot be read")]
    Malformed,
    /// No `v1` fits any secret.
    #[error("no signature in the Stripe-Signature header fits a webhook secret")]
    NoMatch,
    /// It fits, but is older than [`TOLERANCE_S`].
    #[error("the Stripe-Signature header is too old")]
    TooOld,
}

/// What a header says: the time as written (it is part of what was signed) and read, and each well-formed `v1`.
struct Header<'a> {
    t: &'a str,
    t_unix_s: i64,
    v1: Vec<[u8; 32]>,
}

/// Reads `t=<digits>,v1=<hex>[,v1=<hex>]...`. Other schemes are ignored: `v0` is Stripe's fake one and must not count.
fn parse(header: &str) -> Option<Header<'_>> {
    let (mut t, mut v1) = (None, Vec::new());
    for (name, value) in header.split(',').filter_map(|part| part.split_once('=')) {
        match name {
            // Stripe's libraries disagree on which of two times counts, so two are one too many.
            "t" if t.is_some() => return None,
            "t" => t = Some(value),
            "v1" => {
                let mut mac = [0; 32];
                if hex::decode_to_slice(value, &mut mac).is_ok() {
                    v1.push(mac);
                }
            }
            _ => {}
        }
    }
    let t = t.filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    Some(Header { t, t_unix_s: t.parse().ok()?, v1 })
}

/// The MAC over `<t>.<body>`; the key is the whole text of the secret, `whsec_` included.
fn mac_of(secret: &Secret, t: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(t.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

/// Whether one `v1` of the header fits one of the secrets and is not older than [`TOLERANCE_S`] at `now_unix_s`.
///
/// `body` is the raw body, `now_unix_s` the real time in Unix seconds. A time in the future passes, as in Stripe's libraries.
/// A blank secret never fits. The comparison takes constant time.
///
/// # Errors
/// [`SignatureError`]; the request is then answered 400.
pub fn verify(header: Option<&str>, body: &[u8], secrets: &[Secret], now_unix_s: i64) -> Result<(), SignatureError> {
    let header = parse(header.ok_or(SignatureError::Missing)?).ok_or(SignatureError::Malformed)?;
    if header.v1.is_empty() {
        return Err(SignatureError::Malformed);
    }
    let fits = secrets
        .iter()
        .filter(|secret| !secret.expose().trim().is_empty())
        .filter_map(|secret| mac_of(secret, header.t, body))
        .any(|mac| header.v1.iter().any(|v1| mac.clone().verify_slice(v1).is_ok()));
    if !fits {
        return Err(SignatureError::NoMatch);
    }
    if header.t_unix_s < now_unix_s.saturating_sub(TOLERANCE_S) {
        return Err(SignatureError::TooOld);
    }
    Ok(())
}

/// The header that Stripe would send for this body at `t_unix_s`: for the demo, the stand-in and the tests.
#[must_use]
pub fn sign(body: &[u8], secret: &Secret, t_unix_s: i64) -> String {
    let t = t_unix_s.to_string();
    let v1 = mac_of(secret, &t, body).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default();
    format!("t={t},v1={v1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personal::DataKey;
    use crate::stripe::wire::{MetadataKeys, Projection, project};
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Vectors {
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        payload_base64: String,
        header: Option<String>,
        secret: String,
        now: i64,
        signature_expect: String,
        request_expect: String,
    }

    fn vectors() -> Vec<Vector> {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/stripe-signature-vectors.json");
        serde_json::from_slice::<Vectors>(&std::fs::read(file).unwrap()).unwrap().vectors
    }

    #[test]
    fn every_vector_is_accepted_or_rejected_as_it_says() {
        let projection = Projection { keys: MetadataKeys::default(), hasher: DataKey::new([1; 32]).email_hasher() };
        let mut tried = 0;
        for v in vectors() {
            let body = BASE64_STANDARD.decode(&v.payload_base64).unwrap();
            let signature = verify(v.header.as_deref(), &body, &[Secret::new(&*v.secret)], v.now).is_ok();
            let request = signature && project(&body, &projection).is_ok();
            if v.request_expect == "library-only" {
                continue;
            }
            for (what, expect, got) in [("signature", &*v.signature_expect, signature), ("request", &*v.request_expect, request)]
            {
                match expect {
                    "accept" => assert!(got, "{}: {what} is to be accepted", v.name),
                    "reject" => assert!(!got, "{}: {what} is to be rejected", v.name),
                    other => assert_eq!(other, "either", "{}", v.name),
                }
            }
            tried += 1;
        }
        assert_eq!(tried, 42);
    }

    #[test]
    fn any_of_several_secrets_fits_and_a_blank_one_never_does() {
        let (old, new, blank) = (Secret::new("whsec_old"), Secret::new("whsec_new"), Secret::new(" \t"));
        let both = [old.clone(), new.clone()];
        for secret in &both {
            assert_eq!(verify(Some(&sign(b"{}", secret, 1000)), b"{}", &both, 1000), Ok(()));
        }
        let signed_blank = sign(b"{}", &blank, 1000);
        assert_eq!(verify(Some(&signed_blank), b"{}", &[blank, old], 1000), Err(SignatureError::NoMatch));
        assert_eq!(verify(Some(&sign(b"{}", &new, 1000)), b"{}", &[], 1000), Err(SignatureError::NoMatch));
    }

    #[test]
    fn three_hundred_seconds_pass_and_one_more_does_not_and_the_future_does() {
        let secret = Secret::new("whsec_x");
        let at = |now| verify(Some(&sign(b"{}", &secret, 10_000)), b"{}", std::slice::from_ref(&secret), now);
        assert_eq!(at(10_300), Ok(()));
        assert_eq!(at(10_301), Err(SignatureError::TooOld));
        assert_eq!(at(1), Ok(()));
        assert_eq!(at(i64::MIN), Ok(()));
    }

    #[test]
    fn odd_headers_are_refused_and_none_panics() {
        let secret = Secret::new("whsec_x");
        let good = sign(b"{}", &secret, 1000);
        let v1 = good.split_once(',').unwrap().1;
        for (header, want) in [
            (None, SignatureError::Missing),
            (Some(String::new()), SignatureError::Malformed),
            (Some(format!("t=1000,t=1000,{v1}")), SignatureError::Malformed),
            (Some(format!("t=+1000,{v1}")), SignatureError::Malformed),
            (Some(format!("t=-1,{v1}")), SignatureError::Malformed),
            (Some(format!("t=99999999999999999999,{v1}")), SignatureError::Malformed),
            (Some(format!("t=01000,{v1}")), SignatureError::NoMatch),
            (Some("t=1000,v1=é".into()), SignatureError::Malformed),
            (Some("=,=,t==".into()), SignatureError::Malformed),
        ] {
            assert_eq!(verify(header.as_deref(), b"{}", std::slice::from_ref(&secret), 1000), Err(want), "{header:?}");
        }
    }
}
