//! The consent of the owner: the page, which answers at once what the test has decided, and the code that it gives
//! (facts/quickbooks.md A1).
//!
//! Must not: give a code for a request that lacks anything Intuit asks for, or take one twice.

use super::{QuickBooks, QuickBooksStandin};
use crate::{Call, Desk, json as answer};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vesper_adapters::http::HttpResponse;

/// The page.
pub(super) const CONSENT_PATH: &str = "/connect/oauth2";
/// Life of a code, in seconds. Intuit does not publish it; others give ten minutes at most (RFC 6749).
const CODE_LIFE_S: i64 = 600;
/// What the page has to be asked with.
const NEEDED: [&str; 5] = ["client_id", "response_type", "scope", "redirect_uri", "state"];

/// What the owner does on the page, and the codes that it gave.
#[derive(Default)]
pub(super) struct Consent {
    denied: bool,
    /// The company that he chooses; None: the one of this stand-in.
    realm: Option<String>,
    /// Code, redirect, end of life.
    codes: Vec<(String, String, Timestamp)>,
}

impl QuickBooks {
    pub(super) fn consent_page(&mut self, desk: &mut Desk, call: &Call) -> HttpResponse {
        let given = |name: &str| call.param(name).unwrap_or_default().to_owned();
        let known = given("client_id") == self.client_id
            && given("response_type") == "code"
            && given("scope") == "com.intuit.quickbooks.accounting"
            && NEEDED.iter().all(|name| !given(name).is_empty())
            && call.query.iter().all(|(name, _)| NEEDED.contains(&name.as_str()));
        let redirect = given("redirect_uri");
        // IP addresses are not allowed, plain http on localhost only.
        if !known || !(redirect.starts_with("https://") || redirect.starts_with("http://localhost")) {
            desk.refuse(call, "a consent page with wrong parameters");
            return answer(400, &json!({"error": "invalid_request"}));
        }
        let answers = if self.consent.denied {
            vec![("error", "access_denied".to_owned()), ("state", given("state"))]
        } else {
            let code = format!("CODE-standin-{}", self.next());
            let until = desk.now().saturating_add(SignedDuration::from_secs(CODE_LIFE_S)).unwrap_or(Timestamp::MAX);
            self.consent.codes.push((code.clone(), redirect.clone(), until));
            let realm = self.consent.realm.clone().unwrap_or_else(|| self.realm.clone());
            vec![("code", code), ("state", given("state")), ("realmId", realm)]
        };
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(answers).finish();
        let headers = vec![("location".to_owned(), format!("{redirect}?{query}"))];
        HttpResponse { status: 302, headers, body: bytes::Bytes::new() }
    }

    /// The first pair of tokens of a consent: the answer's status and body.
    pub(super) fn exchange(&mut self, desk: &Desk, code: &str, redirect: &str) -> (u16, Value) {
        let now = desk.now();
        let good = self.consent.codes.iter().position(|(c, r, until)| c == code && r == redirect && *until >= now);
        let Some(at) = good else {
            return (400, json!({"error": "invalid_grant", "error_description": "Invalid authorization code"}));
        };
        self.consent.codes.remove(at);
        let n = self.next();
        if let Some(dead) = self.refresh_token.replace(format!("RT1-standin-{n}-consented")) {
            self.dead_refresh.insert(dead);
        }
        (200, self.pair(now, n))
    }
}

impl QuickBooksStandin {
    /// The owner presses Cancel from now on, or does not.
    pub fn deny_consent(&self, denied: bool) {
        self.with(|q, _| q.consent.denied = denied);
    }

    /// The owner chooses this company on the page.
    pub fn choose_company(&self, realm: &str) {
        self.with(|q, _| q.consent.realm = Some(realm.to_owned()));
    }
}
