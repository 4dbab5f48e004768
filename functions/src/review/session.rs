//! Who may see the review page locally: the printed token opens a session, and each form carries a token bound to it.
//!
//! Must not: keep a list of sessions (a cookie proves itself), or let a secret into a log or a URL of its own.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use vesper_adapters::personal::Secret;

/// The cookie of a session.
pub const COOKIE: &str = "vesper_session";
/// How long a session lasts, in seconds: a working day.
pub const SESSION_S: i64 = 12 * 3600;

/// See the module.
pub struct Sessions {
    token: Secret,
    key: [u8; 32],
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(***)")
    }
}

/// A person who showed the token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// The hidden field of every form.
    pub csrf: String,
    /// How the audit trail calls him: the local page knows one person, who has the token.
    pub who: &'static str,
}

impl Sessions {
    /// `token` is the one that is printed; `key` is random and secret: who changes it ends every session.
    #[must_use]
    pub fn new(token: Secret, key: [u8; 32]) -> Sessions {
        Sessions { token, key }
    }

    fn mac(&self, purpose: &str, text: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        mac
    }

    fn sign(&self, purpose: &str, text: &str) -> String {
        hex::encode(self.mac(purpose, text).finalize().into_bytes())
    }

    /// Compares in constant time.
    fn is_signed(&self, purpose: &str, text: &str, signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|bytes| self.mac(purpose, text).verify_slice(&bytes).is_ok())
    }

    /// The value of a new session's cookie, for who shows the printed token.
    pub(super) fn open(&self, token: &str, now_unix_s: i64) -> Option<String> {
        // Compared by their MACs, so that the time it takes says nothing of either.
        if !self.is_signed("token", self.token.expose(), &self.sign("token", token)) {
            return None;
        }
        let since = now_unix_s.to_string();
        Some(format!("{since}.{}", self.sign("session", &since)))
    }

    /// The session of a cookie's value.
    pub(super) fn find(&self, cookie: &str, now_unix_s: i64) -> Option<Session> {
        let (since, signature) = cookie.split_once('.')?;
        let age_s = now_unix_s.checked_sub(since.parse().ok()?)?;
        // A clock that was set back by a little ends no session.
        if !(-300..SESSION_S).contains(&age_s) || !self.is_signed("session", since, signature) {
            return None;
        }
        Some(Session { csrf: self.sign("csrf", cookie), who: "local" })
    }
}

impl Session {
    /// Whether a form came from a page of this session. Constant time for texts of one length.
    pub(super) fn is_own(&self, csrf: &str) -> bool {
        let differ = self.csrf.bytes().zip(csrf.bytes()).fold(0, |d, (a, b)| d | (a ^ b));
        self.csrf.len() == csrf.len() && differ == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_printed_token_opens_a_session_and_it_ends() {
        let sessions = Sessions::new(Secret::new("printed"), [3; 32]);
        assert_eq!(sessions.open("wrong", 1000), None);
        assert_eq!(sessions.open("", 1000), None);
        let cookie = sessions.open("printed", 1000).unwrap();
        assert!(sessions.find(&cookie, 1000 + SESSION_S - 1).is_some());
        assert!(sessions.find(&cookie, 1000 + SESSION_S).is_none(), "over");
        assert!(sessions.find(&cookie, 0).is_none(), "from the future");
        assert!(sessions.find(&cookie.replacen("1000", "1001", 1), 1001).is_none(), "another time");
        assert!(Sessions::new(Secret::new("printed"), [4; 32]).find(&cookie, 1000).is_none(), "another key");
        for bad in ["", ".", "x.y", "1000.", "1000", "9223372036854775807.00", "-9223372036854775808.00"] {
            assert!(sessions.find(bad, 1000).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_token_of_a_form_is_bound_to_its_session() {
        let sessions = Sessions::new(Secret::new("printed"), [3; 32]);
        let of = |at| sessions.find(&sessions.open("printed", at).unwrap(), at).unwrap();
        let (one, other) = (of(1000), of(1001));
        assert!(one.csrf.len() >= 32);
        assert!(one.is_own(&one.csrf) && !one.is_own(&other.csrf) && !one.is_own("") && !one.is_own(&"0".repeat(64)));
        assert!(!format!("{sessions:?}").contains("printed"));
    }
}
