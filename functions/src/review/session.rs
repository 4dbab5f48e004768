//! Who may see the review page: locally the printed token opens a session, on AWS the sign-in of Cognito does. Each form carries
//! a token bound to the session.
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

/// How the audit trail calls the person with the printed token.
const LOCAL: &str = "local";

/// See the module.
pub struct Sessions {
    /// None: sessions begin elsewhere.
    token: Option<Secret>,
    key: [u8; 32],
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(***)")
    }
}

/// A person who may see the pages. `'c`: of his cookie.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Session<'c> {
    /// The hidden field of every form.
    pub csrf: String,
    /// How the audit trail calls him: the local page knows one person, who has the token; on AWS it is the made-up id that
    /// Cognito gives to each.
    pub who: &'c str,
}

impl Sessions {
    /// `token` is the one that is printed; `key` is random and secret: who changes it ends every session.
    #[must_use]
    pub fn new(token: Secret, key: [u8; 32]) -> Sessions {
        Sessions { token: Some(token), key }
    }

    /// Sessions that begin with [`Sessions::begin`] alone.
    #[must_use]
    pub fn signed_in_elsewhere(key: [u8; 32]) -> Sessions {
        Sessions { token: None, key }
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
        if !self.is_signed("token", self.token.as_ref()?.expose(), &self.sign("token", token)) {
            return None;
        }
        Some(self.begin(LOCAL, now_unix_s))
    }

    /// The value of a new session's cookie, for who has signed in; `who` has no dot.
    #[must_use]
    pub fn begin(&self, who: &str, now_unix_s: i64) -> String {
        let text = format!("{now_unix_s}.{who}");
        format!("{text}.{}", self.sign("session", &text))
    }

    /// Whether the cookie's value is that of a session.
    #[must_use]
    pub fn knows(&self, cookie: Option<&str>, now_unix_s: i64) -> bool {
        cookie.is_some_and(|c| self.find(c, now_unix_s).is_some())
    }

    /// The session of a cookie's value.
    pub(super) fn find<'c>(&self, cookie: &'c str, now_unix_s: i64) -> Option<Session<'c>> {
        let (text, signature) = cookie.rsplit_once('.')?;
        let (since, who) = text.split_once('.')?;
        let age_s = now_unix_s.checked_sub(since.parse().ok()?)?;
        // A clock that was set back by a little ends no session.
        if !(-300..SESSION_S).contains(&age_s) || !self.is_signed("session", text, signature) {
            return None;
        }
        Some(Session { csrf: self.sign("csrf", cookie), who })
    }
}

impl Session<'_> {
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
        for bad in [
            "",
            ".",
            "x.y",
            "1000.",
            "1000",
            "1000.local",
            "1000.local.",
            "9223372036854775807.x.00",
            "-9223372036854775808.x.00",
        ] {
            assert!(sessions.find(bad, 1000).is_none(), "{bad}");
        }
    }

    #[test]
    fn who_signed_in_elsewhere_has_a_session_of_his_own_and_no_token_opens_one() {
        let sessions = Sessions::signed_in_elsewhere([3; 32]);
        let cookie = sessions.begin("4b1e-sub", 1000);
        assert_eq!(sessions.find(&cookie, 1001).unwrap().who, "4b1e-sub");
        assert!(sessions.knows(Some(&cookie), 1001) && !sessions.knows(None, 1001) && !sessions.knows(Some("x"), 1001));
        assert!(!sessions.knows(Some(&cookie.replace("4b1e", "4b1f")), 1001), "another person");
        assert_eq!((sessions.open("", 1000), sessions.open("printed", 1000)), (None, None));
    }

    #[test]
    fn the_token_of_a_form_is_bound_to_its_session() {
        let sessions = Sessions::new(Secret::new("printed"), [3; 32]);
        let cookies = [1000, 1001].map(|at| sessions.open("printed", at).unwrap());
        let [one, other] = [&cookies[0], &cookies[1]].map(|c| sessions.find(c, 1001).unwrap());
        assert_eq!(one.who, "local");
        assert!(one.csrf.len() >= 32);
        assert!(one.is_own(&one.csrf) && !one.is_own(&other.csrf) && !one.is_own("") && !one.is_own(&"0".repeat(64)));
        assert!(!format!("{sessions:?}").contains("printed"));
    }
}
