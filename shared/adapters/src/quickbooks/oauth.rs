//! The access to QuickBooks: refreshing the token, and who may do it when (design.md section 6, facts/quickbooks.md A1).
//!
//! Of two refreshes with the same token Intuit may answer one with `invalid_grant` and revoke what the other got: so one
//! holder of a lease refreshes, says so before the call, and stores the new pair before it is used.
//! Must not: store anything (the caller does, with a condition on the version), read a clock, or show a token.

use super::faults::{detail, failed, throttled};
use crate::{
    error::{CallError, Class},
    http::{HttpRequest, HttpResponse, Transport, TransportError},
    personal::Secret,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// An access token with less life than this is refreshed.
const REFRESH_BELOW: SignedDuration = SignedDuration::from_secs(300);
/// How long the lease of a refresh lasts; it is never renewed.
const LEASE: SignedDuration = SignedDuration::from_secs(120);
/// With less of the lease or of the function's time left, no refresh is started, in seconds.
pub const CALL_NEEDS_S: i64 = 60;
/// How many values of QUICKBOOKS_REFRESH_TOKEN are remembered as replaced.
const EARLIER_MAX: usize = 8;
/// What errors say was attempted.
const ATTEMPTED: &str = "refresh the access token";

/// What a refresh brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// For calls.
    pub access: Secret,
    /// For the next refresh; often the same as before, since it changes about once a day.
    pub refresh: Secret,
    /// Life of the access token, in seconds.
    pub access_expires_in_s: u32,
    /// Life of the refresh token, in seconds: the rolling 100 days or the hard limit of five years, whichever ends first.
    pub refresh_expires_in_s: Option<u32>,
}

/// A refresh that brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// The refresh token is not, or no longer, valid.
    #[error("QuickBooks does not accept the refresh token")]
    InvalidGrant,
    /// QUICKBOOKS_CLIENT_ID or QUICKBOOKS_CLIENT_SECRET is wrong.
    #[error("QuickBooks does not accept the client id and secret")]
    InvalidClient,
    /// Nothing was done; the class says whether a later try can help.
    #[error(transparent)]
    Transient(CallError),
    /// The token may have been replaced by one that never arrived.
    #[error(transparent)]
    OutcomeUnknown(CallError),
}

#[derive(Deserialize)]
struct PairIn {
    access_token: String,
    refresh_token: String,
    expires_in: u32,
    x_refresh_token_expires_in: Option<u32>,
    x_refresh_token_hard_expires_in: Option<u32>,
}

#[derive(Deserialize)]
struct RefusalIn {
    error: String,
}

/// Exchanges the refresh token for a new pair, at `token_url` (`books.token_url`).
///
/// # Errors
/// See [`RefreshError`].
pub async fn refresh(
    transport: &dyn Transport,
    token_url: &str,
    client_id: &Secret,
    client_secret: &Secret,
    refresh_token: &Secret,
) -> Result<TokenPair, RefreshError> {
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
    ask(transport, ATTEMPTED, token_url, [client_id, client_secret], &form(&fields)).await
}

/// The fields as a form, whole before anything is awaited: a serializer that lives across a call would bind it to one thread.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// One call of the token endpoint with the client's id and secret.
pub(super) async fn ask(
    transport: &dyn Transport,
    attempted: &str,
    token_url: &str,
    [client_id, client_secret]: [&Secret; 2],
    form: &str,
) -> Result<TokenPair, RefreshError> {
    let basic = STANDARD.encode(format!("{}:{}", client_id.expose(), client_secret.expose()));
    let headers = [
        ("accept", "application/json".to_owned()),
        ("authorization", format!("Basic {basic}")),
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("x-include-refresh-token-hard-expires-in", "true".to_owned()),
    ];
    let request = HttpRequest {
        method: Method::POST,
        url: token_url.to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        body: form.to_owned().into(),
    };
    match transport.send(request).await {
        Ok(answer) => pair_of(attempted, &answer),
        Err(e @ TransportError::NotSent) => {
            Err(RefreshError::Transient(failed(attempted, Class::Transient, e.to_string(), None)))
        }
        Err(e @ TransportError::OutcomeUnknown) => Err(unknown(attempted, e.to_string())),
    }
}

fn unknown(attempted: &str, detail: String) -> RefreshError {
    RefreshError::OutcomeUnknown(failed(attempted, Class::OutcomeUnknown, detail, None))
}

fn pair_of(attempted: &str, answer: &HttpResponse) -> Result<TokenPair, RefreshError> {
    let said = || serde_json::from_slice(&answer.body).ok().map(|r: RefusalIn| r.error);
    let nothing_done = |class| Err(RefreshError::Transient(failed(attempted, class, detail(answer, None), None)));
    match answer.status {
        200..=299 => {
            let pair = serde_json::from_slice(&answer.body).ok().filter(|p: &PairIn| !p.access_token.is_empty());
            let pair = pair.filter(|p| !p.refresh_token.is_empty());
            let pair = pair.ok_or_else(|| unknown(attempted, format!("{}, no token pair", detail(answer, None))))?;
            let ends = [pair.x_refresh_token_expires_in, pair.x_refresh_token_hard_expires_in];
            Ok(TokenPair {
                access: Secret::new(pair.access_token),
                refresh: Secret::new(pair.refresh_token),
                access_expires_in_s: pair.expires_in,
                refresh_expires_in_s: ends.into_iter().flatten().min(),
            })
        }
        429 => nothing_done(throttled(answer)),
        400..=499 if answer.status != 408 => match said().as_deref() {
            Some("invalid_grant") => Err(RefreshError::InvalidGrant),
            Some("invalid_client") => Err(RefreshError::InvalidClient),
            _ if answer.status == 401 => Err(RefreshError::InvalidClient),
            _ => nothing_done(Class::Rejected),
        },
        _ => Err(unknown(attempted, detail(answer, None))),
    }
}

/// Who may refresh, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// One run of one process.
    pub owner: String,
    /// The end. Never moved.
    pub until: Timestamp,
}

impl Lease {
    /// Whether the call may still be started: 60 s of the lease and of the function's own time must be left.
    #[must_use]
    pub fn leaves_time(&self, now: Timestamp, function_left_s: Option<u32>) -> bool {
        let lease_left = self.until.duration_since(now).as_secs();
        lease_left >= CALL_NEEDS_S && function_left_s.is_none_or(|left| i64::from(left) >= CALL_NEEDS_S)
    }
}

/// The stored access to QuickBooks, one item of the table. The caller seals it: the tokens in it are in the clear.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenState {
    /// The access token; empty before the first refresh.
    pub access: String,
    /// When it ends.
    pub access_expires_at: Timestamp,
    /// The newest refresh token.
    pub refresh: String,
    /// SHA-256 of the QUICKBOOKS_REFRESH_TOKEN that this connection started with, in hex.
    pub started_with_sha256: String,
    /// The same of earlier connections, newest last: a process that has not seen the new secret yet must not go back.
    #[serde(default)]
    pub earlier_sha256: Vec<String>,
    /// Who is refreshing.
    pub lease: Option<Lease>,
    /// A refresh was started and its outcome is not stored.
    pub refreshing: bool,
    /// This refresh token was already tried again, after a refresh of unknown outcome or a first `invalid_grant`.
    pub retried_old: bool,
    /// The practice must connect again: review `books_reconnect`.
    pub disconnected: bool,
}

impl fmt::Debug for TokenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenState")
            .field("access_expires_at", &self.access_expires_at)
            .field("lease", &self.lease)
            .field("refreshing", &self.refreshing)
            .field("retried_old", &self.retried_old)
            .field("disconnected", &self.disconnected)
            .finish_non_exhaustive()
    }
}

impl TokenState {
    /// A connection that starts with the secret of the settings.
    #[must_use]
    pub fn started_with(env_refresh: &Secret) -> Self {
        Self {
            access: String::new(),
            access_expires_at: Timestamp::UNIX_EPOCH,
            refresh: env_refresh.expose().to_owned(),
            started_with_sha256: sha256_hex(env_refresh),
            earlier_sha256: Vec::new(),
            lease: None,
            refreshing: false,
            retried_old: false,
            disconnected: false,
        }
    }

    /// A connection that a person has just consented to: it replaces what is stored, whatever state that was in.
    #[must_use]
    pub fn consented(stored: Option<&Self>, pair: &TokenPair, now: Timestamp) -> Self {
        let mut new = Self::started_with(&pair.refresh);
        let mut earlier = stored.map(|s| s.earlier_sha256.clone()).unwrap_or_default();
        earlier.extend(stored.map(|s| s.started_with_sha256.clone()));
        earlier.retain(|sha| *sha != new.started_with_sha256);
        new.earlier_sha256 = earlier.split_off(earlier.len().saturating_sub(EARLIER_MAX));
        after_refresh(new, &Ok(pair.clone()), now)
    }

    /// The access token, while it is good for a call that starts now.
    #[must_use]
    pub fn usable(&self, now: Timestamp) -> Option<Secret> {
        let lives = !self.access.is_empty() && self.access_expires_at > now && !self.disconnected;
        lives.then(|| Secret::new(self.access.as_str()))
    }

    /// Whether this connection, or one that it replaced, started with this secret.
    #[must_use]
    pub fn knows(&self, env_refresh: &Secret) -> bool {
        let sha = sha256_hex(env_refresh);
        self.started_with_sha256 == sha || self.earlier_sha256.contains(&sha)
    }

    /// Forgets `access` because QuickBooks refused it (401), unless a newer one stands here already.
    #[must_use]
    pub fn without_refused(mut self, access: &Secret) -> Self {
        if self.access == access.expose() {
            self.access.clear();
        }
        self
    }

    /// The connection of a new secret in the settings, where there is one (contracts/settings.md, Secrets).
    fn reconnected(&self, env_refresh: &Secret) -> Option<Self> {
        if env_refresh.expose().is_empty() {
            return None; // No secret is no new secret.
        }
        let new = Self::started_with(env_refresh);
        // A replaced secret comes back only once nothing else works: else it is a process with old settings.
        let replaced = self.earlier_sha256.contains(&new.started_with_sha256) && !self.disconnected;
        if new.started_with_sha256 == self.started_with_sha256 || replaced {
            return None;
        }
        let mut earlier = self.earlier_sha256.clone();
        earlier.retain(|sha| *sha != new.started_with_sha256);
        earlier.push(self.started_with_sha256.clone());
        let too_many = earlier.len().saturating_sub(EARLIER_MAX);
        Some(Self { earlier_sha256: earlier.split_off(too_many), ..new })
    }

    fn leased(mut self, now: Timestamp, me: &str) -> Self {
        // A refresh whose outcome was never stored: this is the one more try of its token.
        self.retried_old |= self.refreshing;
        self.refreshing = true;
        self.lease = Some(Lease { owner: me.to_owned(), until: now.checked_add(LEASE).unwrap_or(Timestamp::MAX) });
        self
    }
}

/// SHA-256 of a secret, in lower-case hex.
#[must_use]
pub fn sha256_hex(secret: &Secret) -> String {
    hex::encode(Sha256::digest(secret.expose().as_bytes()))
}

/// What to do for a valid access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenStep {
    /// Call with this one.
    Use(Secret),
    /// Store this state first, on the condition that nobody changed it; then refresh with its `refresh` if its lease
    /// [leaves time](Lease::leaves_time), and store what [`after_refresh`] makes of it. If the first write loses, read again.
    TakeLeaseAndRefresh(TokenState),
    /// Somebody else is refreshing, or was and the outcome is unknown: read again then, at the latest.
    WaitForOther {
        /// The end of that lease.
        until: Timestamp,
    },
    /// No call can work: review `books_reconnect`.
    Disconnected,
}

/// What to do for a valid access token, given what is stored (None: nothing yet) and the secret in the settings.
#[must_use]
pub fn next_step(stored: Option<&TokenState>, env_refresh: &Secret, now: Timestamp, me: &str) -> TokenStep {
    let Some(state) = stored else {
        return TokenStep::TakeLeaseAndRefresh(TokenState::started_with(env_refresh).leased(now, me));
    };
    if let Some(new) = state.reconnected(env_refresh) {
        return TokenStep::TakeLeaseAndRefresh(new.leased(now, me));
    }
    if state.disconnected {
        return TokenStep::Disconnected;
    }
    if !state.access.is_empty() && state.access_expires_at.duration_since(now) >= REFRESH_BELOW {
        return TokenStep::Use(Secret::new(state.access.as_str()));
    }
    match &state.lease {
        Some(lease) if lease.until > now => TokenStep::WaitForOther { until: lease.until },
        _ => TokenStep::TakeLeaseAndRefresh(state.clone().leased(now, me)),
    }
}

/// What to store after a refresh that started from `state` (that of [`TokenStep::TakeLeaseAndRefresh`]), again on the
/// condition that nobody changed it. If that write loses, somebody reconnected meanwhile: read again and forget the outcome.
///
/// - A new pair: it is stored and the lease is free.
/// - `invalid_grant`: the first time the token is tried once more by whoever comes next, then it is disconnected.
/// - Unknown: `refreshing` stays, and the lease too, so that the one more try comes when it has run out.
/// - Nothing done: the lease is free.
#[must_use]
pub fn after_refresh(mut state: TokenState, outcome: &Result<TokenPair, RefreshError>, now: Timestamp) -> TokenState {
    match outcome {
        Ok(pair) => {
            state.access = pair.access.expose().to_owned();
            let life = SignedDuration::from_secs(i64::from(pair.access_expires_in_s));
            state.access_expires_at = now.checked_add(life).unwrap_or(Timestamp::MAX);
            state.refresh = pair.refresh.expose().to_owned();
            state.retried_old = false;
        }
        Err(RefreshError::InvalidGrant) if state.retried_old => state.disconnected = true,
        Err(RefreshError::InvalidGrant) => state.retried_old = true,
        Err(RefreshError::OutcomeUnknown(_)) => return state,
        Err(RefreshError::InvalidClient | RefreshError::Transient(_)) => {}
    }
    state.refreshing = false;
    state.lease = None;
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::BoxFuture;
    use std::sync::Mutex;

    struct Script {
        answer: Result<HttpResponse, TransportError>,
        sent: Mutex<Vec<HttpRequest>>,
    }

    impl Transport for Script {
        fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
            self.sent.lock().unwrap().push(request);
            let answer = self.answer.clone();
            Box::pin(async move { answer })
        }
    }

    fn fixture(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/quickbooks/oauth");
        std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap()
    }

    fn ask(answer: Result<(u16, &str), TransportError>) -> (Result<TokenPair, RefreshError>, HttpRequest) {
        let answer = answer.map(|(status, body)| HttpResponse { status, headers: vec![], body: body.to_owned().into() });
        let script = Script { answer, sent: Mutex::default() };
        let (id, secret, token) = (Secret::new("id"), Secret::new("s:1"), Secret::new("RT1-a+b/c"));
        let call = refresh(&script, "https://token.example/bearer", &id, &secret, &token);
        let outcome = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(call);
        (outcome, script.sent.into_inner().unwrap().remove(0))
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + s).unwrap()
    }

    fn env() -> Secret {
        Secret::new("RT1-env")
    }

    fn pair(n: u32) -> Result<TokenPair, RefreshError> {
        let (access, refresh) = (Secret::new(format!("AT-{n}")), Secret::new(format!("RT1-{n}")));
        Ok(TokenPair { access, refresh, access_expires_in_s: 3_600, refresh_expires_in_s: None })
    }

    fn no_answer() -> Result<TokenPair, RefreshError> {
        Err(unknown(ATTEMPTED, "no answer".into()))
    }

    fn taken(step: TokenStep) -> TokenState {
        match step {
            TokenStep::TakeLeaseAndRefresh(state) => state,
            other => panic!("expected a lease, got {other:?}"),
        }
    }

    fn step(state: &TokenState, s: i64) -> TokenStep {
        next_step(Some(state), &env(), at(s), "me")
    }

    /// Connected at 0 s with AT-1, which ends at 3600 s.
    fn connected() -> TokenState {
        after_refresh(taken(next_step(None, &env(), at(0), "me")), &pair(1), at(0))
    }

    #[test]
    fn a_refresh_is_a_form_with_basic_authorization() {
        let (outcome, sent) = ask(Ok((200, &fixture("refresh.ok"))));
        let pair = outcome.unwrap();
        assert_eq!((pair.access.expose(), pair.refresh.expose()), ("AT.synthetic.2", "RT1-synthetic-2"));
        assert_eq!((pair.access_expires_in_s, pair.refresh_expires_in_s), (3_600, Some(8_640_000)));
        assert_eq!((sent.method.as_str(), sent.url.as_str()), ("POST", "https://token.example/bearer"));
        let headers: Vec<_> = sent.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let expected = [
            ("accept", "application/json"),
            ("authorization", "Basic aWQ6czox"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-include-refresh-token-hard-expires-in", "true"),
        ];
        assert_eq!(headers, expected);
        assert_eq!(String::from_utf8_lossy(&sent.body), "grant_type=refresh_token&refresh_token=RT1-a%2Bb%2Fc");
    }

    #[test]
    fn the_hard_limit_counts_when_it_ends_first() {
        let body = r#"{"access_token":"a","refresh_token":"r","expires_in":3600,"x_refresh_token_expires_in":8640000,"x_refresh_token_hard_expires_in":86400}"#;
        assert_eq!(ask(Ok((200, body))).0.unwrap().refresh_expires_in_s, Some(86_400));
    }

    #[test]
    fn every_refusal_has_its_meaning() {
        let kind = |outcome: Result<TokenPair, RefreshError>| match outcome.unwrap_err() {
            RefreshError::InvalidGrant => "grant".to_owned(),
            RefreshError::InvalidClient => "client".to_owned(),
            RefreshError::Transient(e) => format!("nothing done {:?}", e.class),
            RefreshError::OutcomeUnknown(e) => format!("unknown {:?}", e.class),
        };
        let refused: serde_json::Value = serde_json::from_str(&fixture("refresh.invalid_grant")).unwrap();
        let refused = refused["body"].to_string();
        let cases = [
            (Ok((400, refused.as_str())), "grant"),
            (Ok((401, r#"{"error":"invalid_client"}"#)), "client"),
            (Ok((400, r#"{"error":"invalid_client"}"#)), "client"),
            (Ok((401, "")), "client"),
            (Ok((400, r#"{"error":"unsupported_grant_type"}"#)), "nothing done Rejected"),
            (Ok((403, "<html>")), "nothing done Rejected"),
            (Ok((429, "")), "nothing done Throttled { retry_after_s: Some(60) }"),
            (Ok((408, "")), "unknown OutcomeUnknown"),
            (Ok((500, "")), "unknown OutcomeUnknown"),
            (Ok((503, refused.as_str())), "unknown OutcomeUnknown"),
            (Ok((200, "{}")), "unknown OutcomeUnknown"),
            (Ok((200, r#"{"access_token":"a","refresh_token":"","expires_in":3600}"#)), "unknown OutcomeUnknown"),
            (Err(TransportError::NotSent), "nothing done Transient"),
            (Err(TransportError::OutcomeUnknown), "unknown OutcomeUnknown"),
        ];
        for (answer, expected) in cases {
            assert_eq!(kind(ask(answer).0), expected, "{answer:?}");
        }
    }

    #[test]
    fn the_first_start_takes_the_lease_and_stores_refreshing_before_the_call() {
        let state = taken(next_step(None, &env(), at(0), "me"));
        assert_eq!(state.lease, Some(Lease { owner: "me".into(), until: at(120) }));
        assert!(state.refreshing && !state.retried_old && !state.disconnected);
        assert_eq!((state.refresh.as_str(), state.started_with_sha256), ("RT1-env", sha256_hex(&env())));
    }

    #[test]
    fn a_token_is_used_while_it_has_five_minutes_and_refreshed_below() {
        let state = connected();
        assert_eq!(step(&state, 0), TokenStep::Use(Secret::new("AT-1")));
        assert_eq!(step(&state, 3_300), TokenStep::Use(Secret::new("AT-1")));
        let next = taken(step(&state, 3_301));
        assert_eq!((next.refresh.as_str(), next.refreshing, next.retried_old), ("RT1-1", true, false));
        let next = after_refresh(next, &pair(2), at(3_302));
        assert_eq!((step(&next, 3_302), next.lease), (TokenStep::Use(Secret::new("AT-2")), None));
    }

    #[test]
    fn a_second_holder_waits_for_the_lease_even_under_the_same_name() {
        let state = taken(step(&connected(), 3_400));
        for (s, who) in [(3_400, "other"), (3_519, "other"), (3_519, "me")] {
            assert_eq!(next_step(Some(&state), &env(), at(s), who), TokenStep::WaitForOther { until: at(3_520) }, "{s} {who}");
        }
        assert!(matches!(next_step(Some(&state), &env(), at(3_520), "other"), TokenStep::TakeLeaseAndRefresh(_)));
    }

    #[test]
    fn after_a_lost_refresh_the_old_token_is_tried_once_more_and_then_it_is_disconnected() {
        let lost = taken(step(&connected(), 3_400));
        for left in [lost.clone(), after_refresh(lost, &no_answer(), at(3_420))] {
            assert!(matches!(step(&left, 3_519), TokenStep::WaitForOther { .. }));
            let again = taken(next_step(Some(&left), &env(), at(3_520), "other"));
            assert_eq!((again.refresh.as_str(), again.refreshing, again.retried_old), ("RT1-1", true, true));
            let works = after_refresh(again.clone(), &pair(2), at(3_521));
            assert_eq!(step(&works, 3_521), TokenStep::Use(Secret::new("AT-2")));
            assert!(!works.retried_old && !works.refreshing);
            let dead = after_refresh(again, &Err(RefreshError::InvalidGrant), at(3_521));
            assert_eq!((step(&dead, 3_521), step(&dead, 900_000)), (TokenStep::Disconnected, TokenStep::Disconnected));
        }
    }

    #[test]
    fn invalid_grant_is_believed_the_second_time() {
        let first = after_refresh(taken(step(&connected(), 3_400)), &Err(RefreshError::InvalidGrant), at(3_401));
        assert!(!first.disconnected && first.lease.is_none());
        let second = after_refresh(taken(step(&first, 3_401)), &Err(RefreshError::InvalidGrant), at(3_402));
        assert_eq!(step(&second, 3_402), TokenStep::Disconnected);
    }

    #[test]
    fn a_refresh_that_did_nothing_frees_the_lease_and_changes_nothing_else() {
        let before = connected();
        let throttled = failed(ATTEMPTED, Class::Throttled { retry_after_s: Some(60) }, String::new(), None);
        for error in [RefreshError::InvalidClient, RefreshError::Transient(throttled)] {
            assert_eq!(after_refresh(taken(step(&before, 3_400)), &Err(error), at(3_401)), before);
        }
    }

    #[test]
    fn a_new_secret_reconnects_and_the_one_before_does_not_come_back() {
        let mut dead = connected();
        dead.disconnected = true;
        let new = Secret::new("RT1-consented-again");
        let state = taken(next_step(Some(&dead), &new, at(10), "me"));
        assert_eq!((state.refresh.as_str(), state.access.as_str()), ("RT1-consented-again", ""));
        assert!(!state.disconnected && !state.retried_old);
        let state = after_refresh(state, &pair(7), at(11));
        assert_eq!(next_step(Some(&state), &new, at(11), "me"), TokenStep::Use(Secret::new("AT-7")));
        // A process that still has the old settings.
        assert_eq!(next_step(Some(&state), &env(), at(11), "old"), TokenStep::Use(Secret::new("AT-7")));
        // A mistaken secret is taken back.
        let wrong = TokenState { disconnected: true, ..state };
        assert_eq!(taken(next_step(Some(&wrong), &env(), at(12), "me")).refresh, "RT1-env");
        // Any other new one replaces a connection that works.
        assert_eq!(taken(next_step(Some(&connected()), &new, at(12), "me")).refresh, "RT1-consented-again");
    }

    #[test]
    fn replaced_secrets_are_remembered_up_to_a_limit() {
        let mut state = connected();
        for i in 0..20 {
            let new = Secret::new(format!("RT1-{i}-new"));
            state = after_refresh(taken(next_step(Some(&state), &new, at(0), "me")), &pair(i), at(0));
        }
        assert_eq!(state.earlier_sha256.len(), EARLIER_MAX);
        assert_eq!(state.earlier_sha256.last(), Some(&sha256_hex(&Secret::new("RT1-18-new"))));
    }

    #[test]
    fn a_refused_access_token_is_forgotten_once() {
        let state = connected().without_refused(&Secret::new("AT-1"));
        assert!(matches!(step(&state, 1), TokenStep::TakeLeaseAndRefresh(_)));
        let refreshed = after_refresh(taken(step(&state, 1)), &pair(2), at(1));
        let late = refreshed.clone().without_refused(&Secret::new("AT-1"));
        assert_eq!(late, refreshed);
    }

    #[test]
    fn a_call_needs_a_minute_of_the_lease_and_of_the_function() {
        let lease = Lease { owner: "me".into(), until: at(120) };
        let cases =
            [(0, None, true), (60, None, true), (61, None, false), (0, Some(60), true), (0, Some(59), false), (200, None, false)];
        for (s, function_left_s, may) in cases {
            assert_eq!(lease.leaves_time(at(s), function_left_s), may, "{s} {function_left_s:?}");
        }
    }

    #[test]
    fn tokens_never_show_and_the_state_round_trips() {
        let state = taken(step(&connected(), 3_400));
        let shown = format!("{state:?}{:?}{:?}", pair(1), step(&connected(), 0));
        assert!(!shown.contains("AT-1") && !shown.contains("RT1"), "{shown}");
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<TokenState>(&text).unwrap(), state);
    }
    #[test]
    fn a_consent_replaces_whatever_is_stored_and_the_old_secret_does_not_come_back() {
        let pair = |refresh: &str| TokenPair {
            access: Secret::new("AT"),
            refresh: Secret::new(refresh),
            access_expires_in_s: 3600,
            refresh_expires_in_s: None,
        };
        let lost = TokenState { disconnected: true, ..TokenState::started_with(&env()) };
        for stored in [None, Some(&lost)] {
            let new = TokenState::consented(stored, &pair("RT-2"), at(0));
            assert_eq!((new.refresh.as_str(), new.disconnected, new.refreshing, new.lease.clone()), ("RT-2", false, false, None));
            assert_eq!(new.usable(at(3599)), Some(Secret::new("AT")));
            assert_eq!(new.usable(at(3600)), None);
            assert!(new.knows(&Secret::new("RT-2")) && new.knows(&env()) == stored.is_some());
            // The process that still has the first secret, and one that has none, use the new connection.
            for secret in [env(), Secret::new("")].into_iter().filter(|s| stored.is_some() || s.expose().is_empty()) {
                assert_eq!(next_step(Some(&new), &secret, at(0), "me"), TokenStep::Use(Secret::new("AT")));
            }
        }
    }
}
