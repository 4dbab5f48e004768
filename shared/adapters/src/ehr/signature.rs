//! `Vesper-Signature`: how calls to the EHR bridge and its notices are signed (contracts/ehr-bridge.openapi.yaml, securitySchemes).
//!
//! `t=<unix seconds>,v1=<hex>` with v1 = HMAC-SHA256(secret, `<t>.<METHOD>.<path and query>.<hex sha256 of the body>`).
//! Must not: read a clock (the caller passes the real time), or compare in a time that depends on the secret.

use crate::personal::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// How far the clocks of both sides may be apart, in seconds, in either direction.
pub const TOLERANCE_S: u64 = 300;

/// The header's name, in lower case.
pub const HEADER: &str = "vesper-signature";

/// Why a signature is not accepted. Holds nothing of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is not there.
    #[error("there is no Vesper-Signature header")]
    Missing,
    /// The header is not `t=<unix seconds>,v1=<64 hex digits>`.
    #[error("the Vesper-Signature header is malformed")]
    Malformed,
    /// Signed too long ago, or too far in the future: a replay, or a wrong clock.
    #[error("the signature was made more than 300 s from now: check the clock of the bridge")]
    OutsideTolerance,
    /// No secret of ours made it: another secret, or another method, path or body.
    #[error("no secret of EHR_BRIDGE_SECRETS made this signature")]
    NoMatch,
}

/// None for an empty secret: a signature made with nothing proves nothing.
fn mac(secret: &Secret, method: &str, path_and_query: &str, body: &[u8], t_unix_s: i64) -> Option<Hmac<Sha256>> {
    if secret.expose().is_empty() {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(format!("{t_unix_s}.{method}.{path_and_query}.{}", hex::encode(Sha256::digest(body))).as_bytes());
    Some(mac)
}

/// The header value for a request, made with the first secret. Without any secret it carries no `v1` and nobody accepts it.
///
/// `path_and_query` is exactly what is sent, escapes included; `t_unix_s` is the real time, never the test clock.
#[must_use]
pub fn sign(secrets: &[Secret], method: &str, path_and_query: &str, body: &[u8], t_unix_s: i64) -> String {
    match secrets.first().and_then(|s| mac(s, method, path_and_query, body, t_unix_s)) {
        Some(mac) => format!("t={t_unix_s},v1={}", hex::encode(mac.finalize().into_bytes())),
        None => format!("t={t_unix_s}"),
    }
}

/// Checks a header value: any of its `v1` may be made with any of the secrets (a rotation has two).
///
/// # Errors
/// [`SignatureError`]: missing, malformed, further than [`TOLERANCE_S`] from `now_unix_s`, or not made with any of the secrets.
pub fn verify(
    secrets: &[Secret],
    header: Option<&str>,
    method: &str,
    path_and_query: &str,
    body: &[u8],
    now_unix_s: i64,
) -> Result<(), SignatureError> {
    let (t_unix_s, given) = parse(header.ok_or(SignatureError::Missing)?)?;
    if now_unix_s.abs_diff(t_unix_s) > TOLERANCE_S {
        return Err(SignatureError::OutsideTolerance);
    }
    let mut found = false;
    for mac in secrets.iter().filter_map(|s| mac(s, method, path_and_query, body, t_unix_s)) {
        for digest in &given {
            // verify_slice compares in constant time; no early return, so that the time does not tell which secret is in use.
            found |= mac.clone().verify_slice(digest).is_ok();
        }
    }
    if found { Ok(()) } else { Err(SignatureError::NoMatch) }
}

/// The time and every readable `v1`. Parts with other names are for later versions of the scheme and are skipped.
fn parse(header: &str) -> Result<(i64, Vec<[u8; 32]>), SignatureError> {
    let (mut t, mut given) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", v)) if t.is_none() && (1..=12).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_digit()) => {
                t = v.parse::<i64>().ok();
            }
            Some(("t", _)) => return Err(SignatureError::Malformed),
            Some(("v1", v)) => {
                let mut digest = [0; 32];
                if hex::decode_to_slice(v, &mut digest).is_ok() {
                    given.push(digest);
                }
            }
            _ => {}
        }
    }
    match t {
        Some(t) if !given.is_empty() => Ok((t, given)),
        _ => Err(SignatureError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_737_200;
    const PATH: &str = "/v1/changes?cursor=c%2F12%3D&limit=500";

    fn secrets(all: &[&str]) -> Vec<Secret> {
        all.iter().map(|s| Secret::new(*s)).collect()
    }

    #[test]
    fn the_first_secret_signs_as_an_independent_implementation_does() {
        let cases = [
            (
                &["ehr_secret_e2e"][..],
                "GET",
                PATH,
                &b""[..],
                "t=1763737200,v1=b74cc745ed1c28f502d1fb30c3b22a059349b68cc0d6b3de572c908f9ee92422",
            ),
            (
                &["new", "old"][..],
                "POST",
                "/ehr/v1/payments",
                &br#"{"amount":4200}"#[..],
                "t=1763737200,v1=0b86fe3aa623786dfb3866572551d7a05d68ffc87c913b18c9cd0ccc72a84777",
            ),
        ];
        for (with, method, path, body, want) in cases {
            assert_eq!(sign(&secrets(with), method, path, body, NOW), want);
        }
        assert_eq!(sign(&[], "GET", PATH, b"", NOW), format!("t={NOW}"));
    }

    #[test]
    fn only_what_was_signed_within_300_s_by_a_known_secret_is_accepted() {
        use SignatureError::{Malformed, Missing, NoMatch, OutsideTolerance};
        let ours = secrets(&["new", "old"]);
        let by = |secret: &str, t: i64| sign(&secrets(&[secret]), "POST", "/webhooks/ehr", b"{}", t);
        let hex_of = |secret: &str| by(secret, NOW).split_once("v1=").unwrap().1.to_owned();
        let other_body = sign(&ours, "POST", "/webhooks/ehr", b"{ }", NOW);
        let other_path = sign(&ours, "POST", "/webhooks/ehr?a=1", b"{}", NOW);
        let other_method = sign(&ours, "PUT", "/webhooks/ehr", b"{}", NOW);
        let cases: Vec<(Option<String>, Result<(), SignatureError>)> = vec![
            (Some(by("new", NOW)), Ok(())),
            (Some(by("old", NOW)), Ok(())),
            (Some(by("new", NOW - 300)), Ok(())),
            (Some(by("new", NOW + 300)), Ok(())),
            (Some(format!("t={NOW}, v1={}, v1={}, v2=x", "0".repeat(64), hex_of("old"))), Ok(())),
            (Some(format!("v1={},t={NOW}", hex_of("new"))), Ok(())),
            (Some(by("new", NOW - 301)), Err(OutsideTolerance)),
            (Some(by("new", NOW + 301)), Err(OutsideTolerance)),
            (Some(by("stranger", NOW)), Err(NoMatch)),
            (Some(other_body), Err(NoMatch)),
            (Some(other_path), Err(NoMatch)),
            (Some(other_method), Err(NoMatch)),
            (Some(by("new", NOW).replace(&NOW.to_string(), &(NOW + 1).to_string())), Err(NoMatch)),
            (Some(format!("t={NOW}")), Err(Malformed)),
            (Some(format!("t={NOW},v1={}", &hex_of("new")[..62])), Err(Malformed)),
            (Some(format!("t=-1,v1={}", hex_of("new"))), Err(Malformed)),
            (Some(format!("t={NOW},t={NOW},v1={}", hex_of("new"))), Err(Malformed)),
            (Some(format!("t=9999999999999,v1={}", hex_of("new"))), Err(Malformed)),
            (Some(format!("v1={}", hex_of("new"))), Err(Malformed)),
            (Some(String::new()), Err(Malformed)),
            (None, Err(Missing)),
        ];
        for (header, want) in cases {
            assert_eq!(verify(&ours, header.as_deref(), "POST", "/webhooks/ehr", b"{}", NOW), want, "{header:?}");
        }
    }

    #[test]
    fn an_empty_secret_signs_nothing_and_accepts_nothing() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"").unwrap();
        mac.update(format!("{NOW}.GET.{PATH}.{}", hex::encode(Sha256::digest(b""))).as_bytes());
        let forged = format!("t={NOW},v1={}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(verify(&secrets(&[""]), Some(&forged), "GET", PATH, b"", NOW), Err(SignatureError::NoMatch));
        assert_eq!(verify(&[], Some(&forged), "GET", PATH, b"", NOW), Err(SignatureError::NoMatch));
    }
}
