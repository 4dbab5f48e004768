//! Stateful, strict stand-ins of Stripe, an EHR bridge and QuickBooks Online, in process, for the demo and the tests.
//!
//! Each is a cheaply clonable handle with a clock of its own, a record of every request and a script of faults. They are
//! strict: what no correct client sends is refused, and said in [`Standin::refused`].
//! Must not: open a socket (but for [`serve`]), sleep, or be linked into anything that ships to AWS.

#[cfg(test)]
mod clients;
pub mod ehr;
pub mod faults;
pub mod quickbooks;
pub mod serve;
pub mod stripe;

pub use ehr::EhrStandin;
pub use faults::{Fault, FaultKind, Scripted};
pub use quickbooks::QuickBooksStandin;
pub use stripe::StripeStandin;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vesper_adapters::http::{BoxFuture, HttpRequest, HttpResponse, Transport, TransportError};

/// Tells the time. Must not call the stand-in that it is the clock of.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Answers requests, in the same process.
pub trait Handle: Clone + Send + Sync + 'static {
    /// One request, with what the script of faults makes of it.
    ///
    /// # Errors
    /// [`TransportError`] when the script says that no answer comes.
    fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError>;

    /// The same; where no answer comes, 504.
    fn handle(&self, request: &HttpRequest) -> HttpResponse {
        self.exchange(request).unwrap_or_else(|_| HttpResponse { status: 504, headers: Vec::new(), body: Bytes::new() })
    }
}

/// One outside system behind the frame that all three share. The three modules implement it; nobody else needs to.
pub trait System: Send + 'static {
    /// The word that starts each sentence of [`Standin::refused`].
    const NAME: &'static str;
    /// The made-up origin under which it is reached.
    const ORIGIN: &'static str;
    /// A request was accepted and will be applied later: from now on its idempotency key is in use.
    fn hold(&mut self, _call: &Call) {}
    /// The time of a held request has come; [`System::answer`] follows.
    fn release(&mut self, _call: &Call) {}
    /// Does what the request says and answers.
    fn answer(&mut self, desk: &mut Desk, call: &Call) -> HttpResponse;
}

/// A request, taken apart.
#[derive(Clone)]
pub struct Call {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// The parts of the path between the slashes, decoded one by one.
    pub segments: Vec<String>,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Bytes,
}

impl Call {
    fn of(request: &HttpRequest) -> Call {
        let target = target_of(&request.url);
        let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
        let decode = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8_lossy().into_owned();
        Call {
            method: request.method.to_string(),
            segments: path.trim_matches('/').split('/').map(decode).collect(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: request.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect(),
            body: request.body.clone(),
            target,
        }
    }

    /// The decoded path, with its first slash.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    /// The first header of this (lower-case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first query parameter of this name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as an HTML form.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The path's parts as texts, to be matched against.
    #[must_use]
    pub fn parts(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    fn says(&self, content_type: &str) -> bool {
        self.header("content-type").is_some_and(|v| v.starts_with(content_type))
    }
}

/// Path and query of an absolute URL.
fn target_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let target = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/");
    let target = target.split('#').next().unwrap_or("/");
    if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
}

/// One request as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `GET` or `POST`.
    pub method: String,
    /// Decoded.
    pub path: String,
    /// Decoded, in order.
    pub query: Vec<(String, String)>,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
    /// What was answered; None when no answer came.
    pub status: Option<u16>,
    /// It reached the stand-in's logic (which may have refused it). A late one: from the time that it did.
    pub applied: bool,
    /// The fault that took it.
    pub fault: Option<&'static str>,
    /// The stand-in's time.
    pub at: Timestamp,
}

impl Seen {
    /// The first header of this (lower-case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first query parameter of this name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as an HTML form.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Names a fault, to take it away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(u64);

struct LateCall {
    due: Timestamp,
    call: Call,
    seen: usize,
}

/// What the three share: clock, record, script.
pub struct Desk {
    clock: Clock,
    now: Timestamp,
    seen: Vec<Seen>,
    forgotten: usize,
    refused: Vec<String>,
    faults: Vec<(FaultId, Fault)>,
    faults_made: u64,
    late: Vec<LateCall>,
    name: &'static str,
}

impl Desk {
    /// The time of what is being done, by the stand-in's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The number of requests so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seen.len().saturating_add(self.forgotten)
    }

    /// Notes that no correct client sends this.
    pub fn refuse(&mut self, call: &Call, why: &str) {
        self.refused.push(format!("{}: {} {}: {why}", self.name, call.method, call.path()));
    }

    fn record(&mut self, call: &Call, fault: Option<&'static str>) -> usize {
        self.seen.push(Seen {
            method: call.method.clone(),
            path: call.path(),
            query: call.query.clone(),
            headers: call.headers.clone(),
            body: String::from_utf8_lossy(&call.body).into_owned(),
            status: None,
            applied: false,
            fault,
            at: self.now,
        });
        self.count().saturating_sub(1)
    }

    fn recorded(&mut self, n: usize) -> Option<&mut Seen> {
        self.seen.get_mut(n.checked_sub(self.forgotten)?)
    }
}

struct Inner<S> {
    desk: Desk,
    system: S,
}

/// A stand-in of one outside system. Clones are the same stand-in.
pub struct Standin<S>(Arc<Mutex<Inner<S>>>);

impl<S> Clone for Standin<S> {
    fn clone(&self) -> Self {
        Standin(Arc::clone(&self.0))
    }
}

impl<S: System> Standin<S> {
    /// Puts a system behind the frame; its clock is the real one until [`Standin::set_clock`].
    pub(crate) fn over(system: S) -> Standin<S> {
        let desk = Desk {
            clock: Arc::new(Timestamp::now),
            now: Timestamp::now(),
            seen: Vec::new(),
            forgotten: 0,
            refused: Vec::new(),
            faults: Vec::new(),
            faults_made: 0,
            late: Vec::new(),
            name: S::NAME,
        };
        Standin(Arc::new(Mutex::new(Inner { desk, system })))
    }

    fn locked(&self) -> MutexGuard<'_, Inner<S>> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.catch_up();
        guard
    }

    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut S, &mut Desk) -> R) -> R {
        let guard = &mut *self.locked();
        act(&mut guard.system, &mut guard.desk)
    }

    /// From now on this clock tells the time that the stand-in writes into its records.
    pub fn set_clock(&self, clock: Clock) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).desk.clock = clock;
    }

    /// The time by its clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.with(|_, desk| desk.now)
    }

    /// The made-up origin under which [`Standins`] reaches it.
    #[must_use]
    pub fn origin(&self) -> String {
        S::ORIGIN.to_owned()
    }

    /// Adds a fault to the script. Of several that match, the first added takes the request.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.with(|_, desk| {
            desk.faults_made = desk.faults_made.saturating_add(1);
            let id = FaultId(desk.faults_made);
            desk.faults.push((id, fault));
            id
        })
    }

    /// Takes one fault away.
    pub fn clear_fault(&self, id: FaultId) {
        self.with(|_, desk| desk.faults.retain(|(i, _)| *i != id));
    }

    /// Takes all faults away. What is late stays late.
    pub fn clear_faults(&self) {
        self.with(|_, desk| desk.faults.clear());
    }

    /// Every request, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.with(|_, desk| desk.seen.clone())
    }

    /// The requests whose `METHOD /path` matches; `*` stands for any text.
    #[must_use]
    pub fn seen(&self, pattern: &str) -> Vec<Seen> {
        let hit = |s: &&Seen| faults::matches(pattern, &format!("{} {}", s.method, s.path));
        self.with(|_, desk| desk.seen.iter().filter(hit).cloned().collect())
    }

    /// Drops the record of requests (not the refusals): a long demo would hold all of them.
    pub fn forget_requests(&self) {
        self.with(|_, desk| {
            desk.forgotten = desk.count();
            desk.seen.clear();
        });
    }

    /// Sentences about requests that no correct client sends, oldest first.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.with(|_, desk| desk.refused.clone())
    }
}

impl<S: System> Inner<S> {
    /// Reads the clock and applies the late requests whose time has come, each at its own time.
    fn catch_up(&mut self) {
        let now = (self.desk.clock)();
        while let Some(at) =
            self.desk.late.iter().enumerate().filter(|(_, l)| l.due <= now).min_by_key(|(_, l)| l.due).map(|(i, _)| i)
        {
            let LateCall { due, call, seen } = self.desk.late.remove(at);
            self.desk.now = due;
            self.system.release(&call);
            let _ = self.system.answer(&mut self.desk, &call);
            if let Some(seen) = self.desk.recorded(seen) {
                seen.applied = true;
            }
        }
        self.desk.now = now;
    }

    fn exchange(&mut self, call: &Call) -> Result<HttpResponse, TransportError> {
        let line = format!("{} {}", call.method, call.path());
        let fault = self.desk.faults.iter_mut().find_map(|(_, f)| f.take(&line));
        let n = self.desk.record(call, fault.as_ref().map(FaultKind::name));
        let scripted = |s: Scripted| Ok(HttpResponse { status: s.status, headers: s.headers, body: s.body });
        let (applied, answer) = match fault {
            None => (true, Ok(self.system.answer(&mut self.desk, call))),
            Some(FaultKind::Status(s)) => (false, scripted(s)),
            Some(FaultKind::Lost) => (false, Err(TransportError::OutcomeUnknown)),
            Some(FaultKind::NotSent) => (false, Err(TransportError::NotSent)),
            Some(FaultKind::StatusAfter(s)) => {
                let _ = self.system.answer(&mut self.desk, call);
                (true, scripted(s))
            }
            Some(FaultKind::LostAfter) => {
                let _ = self.system.answer(&mut self.desk, call);
                (true, Err(TransportError::OutcomeUnknown))
            }
            Some(FaultKind::Late { after_s }) => {
                self.system.hold(call);
                let due = self.desk.now.saturating_add(SignedDuration::from_secs(after_s)).unwrap_or(Timestamp::MAX);
                self.desk.late.push(LateCall { due, call: call.clone(), seen: n });
                (false, Err(TransportError::OutcomeUnknown))
            }
        };
        if let Some(seen) = self.desk.recorded(n) {
            seen.applied = applied;
            seen.status = answer.as_ref().ok().map(|a| a.status);
        }
        answer
    }
}

impl<S: System> Handle for Standin<S> {
    fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let call = Call::of(request);
        self.locked().exchange(&call)
    }
}

impl<S: System> Transport for Standin<S> {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move { self.exchange(&request) })
    }
}

/// All three, reached by origin: the [`Transport`] of the demo and the tests.
#[derive(Clone)]
pub struct Standins {
    /// api.stripe.com.
    pub stripe: StripeStandin,
    /// The EHR bridge.
    pub ehr: EhrStandin,
    /// QuickBooks Online with its token endpoint.
    pub quickbooks: QuickBooksStandin,
}

impl Standins {
    /// Three with one clock and the default credentials.
    #[must_use]
    pub fn new(clock: &Clock) -> Standins {
        let all =
            Standins { stripe: StripeStandin::default(), ehr: EhrStandin::default(), quickbooks: QuickBooksStandin::default() };
        all.set_clock(clock);
        all
    }

    /// One clock for all three.
    pub fn set_clock(&self, clock: &Clock) {
        self.stripe.set_clock(Arc::clone(clock));
        self.ehr.set_clock(Arc::clone(clock));
        self.quickbooks.set_clock(Arc::clone(clock));
    }

    /// What no correct client sends, of all three.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        [self.stripe.refused(), self.ehr.refused(), self.quickbooks.refused()].concat()
    }
}

impl Transport for Standins {
    /// An origin that is none of theirs is [`TransportError::NotSent`].
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let at =
            |origin: &str| request.url.strip_prefix(origin).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        let answer = if at(stripe::Stripe::ORIGIN) {
            self.stripe.exchange(&request)
        } else if at(ehr::Ehr::ORIGIN) {
            self.ehr.exchange(&request)
        } else if at(quickbooks::QuickBooks::ORIGIN) {
            self.quickbooks.exchange(&request)
        } else {
            Err(TransportError::NotSent)
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &Value) -> HttpResponse {
    text(status, body.to_string(), "application/json")
}

/// An answer with this text.
pub(crate) fn text(status: u16, body: String, content_type: &str) -> HttpResponse {
    HttpResponse { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body: Bytes::from(body) }
}

/// Lower-case hex of HMAC-SHA256 under the secret's text.
pub(crate) fn hmac_hex(secret: &str, message: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).map_or_else(
        |_| String::new(),
        |mut mac| {
            mac.update(message);
            hex::encode(mac.finalize().into_bytes())
        },
    )
}

/// Sets the fields of one object in another.
pub(crate) fn patch(object: &mut Value, fields: Value) {
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
}

/// The text of a field, empty when it has none.
pub(crate) fn text_of<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The integer of a field, 0 when it has none.
pub(crate) fn int_of(object: &Value, field: &str) -> i64 {
    object.get(field).and_then(Value::as_i64).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    /// A clock that a test moves.
    pub(crate) fn clock_at(start_s: i64) -> (Clock, Arc<AtomicI64>) {
        let now_s = Arc::new(AtomicI64::new(start_s));
        let read = Arc::clone(&now_s);
        (Arc::new(move || Timestamp::from_second(read.load(Ordering::SeqCst)).unwrap()), now_s)
    }

    /// A counter that every POST raises.
    struct Counter(u32);

    impl System for Counter {
        const NAME: &'static str = "counter";
        const ORIGIN: &'static str = "http://counter.standin.invalid";
        fn answer(&mut self, desk: &mut Desk, call: &Call) -> HttpResponse {
            if call.method == "POST" {
                self.0 += 1;
            }
            if call.param("bad").is_some() {
                desk.refuse(call, "bad");
            }
            json(200, &Value::from(self.0))
        }
    }

    pub(crate) fn request(method: &str, url: &str) -> HttpRequest {
        HttpRequest { method: method.parse().unwrap(), url: url.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    fn count(s: &Standin<Counter>) -> u32 {
        s.with(|c, _| c.0)
    }

    #[test]
    fn each_fault_applies_what_it_says_and_answers_what_it_says() {
        let (clock, _) = clock_at(1000);
        let cases: [(FaultKind, u32, Result<u16, TransportError>); 5] = [
            (FaultKind::Status(Scripted::status(503)), 0, Ok(503)),
            (FaultKind::StatusAfter(Scripted::status(500)), 1, Ok(500)),
            (FaultKind::Lost, 0, Err(TransportError::OutcomeUnknown)),
            (FaultKind::LostAfter, 1, Err(TransportError::OutcomeUnknown)),
            (FaultKind::NotSent, 0, Err(TransportError::NotSent)),
        ];
        for (kind, applied, want) in cases {
            let s = Standin::over(Counter(0));
            s.set_clock(clock.clone());
            s.fault(Fault::new("POST /x", kind.clone()));
            let got = s.exchange(&request("POST", "http://counter.standin.invalid/x?a=1"));
            assert_eq!((got.map(|a| a.status), count(&s)), (want, applied), "{kind:?}");
            assert_eq!(s.handle(&request("POST", "http://counter.standin.invalid/x")).status, 200);
            let seen = s.seen("POST /x");
            assert_eq!((seen[0].status, seen[0].applied, seen[0].fault), (want.ok(), applied == 1, Some(kind.name())));
            assert_eq!((seen[0].param("a"), seen[1].fault), (Some("1"), None));
        }
    }

    #[test]
    fn a_late_request_is_applied_when_its_time_has_come() {
        let (clock, now_s) = clock_at(1000);
        let s = Standin::over(Counter(0));
        s.set_clock(clock);
        s.fault(Fault::new("POST *", FaultKind::Late { after_s: 120 }));
        assert_eq!(s.handle(&request("POST", "http://c/x")).status, 504);
        now_s.store(1119, Ordering::SeqCst);
        assert_eq!((count(&s), s.requests()[0].applied), (0, false));
        now_s.store(1120, Ordering::SeqCst);
        assert_eq!((count(&s), s.requests()[0].applied, s.requests()[0].status), (1, true, None));
        assert_eq!(s.now().as_second(), 1120);
    }

    #[test]
    fn requests_are_recorded_forgotten_and_refused() {
        let s = Standin::over(Counter(0));
        s.handle(&request("GET", "http://c/a%20b/c%2Fd?bad=1&x=%26"));
        assert_eq!(s.requests()[0].path, "/a b/c/d");
        assert_eq!(s.requests()[0].param("x"), Some("&"));
        assert_eq!(s.refused(), ["counter: GET /a b/c/d: bad"]);
        s.forget_requests();
        s.fault(Fault::new("*", FaultKind::LostAfter));
        s.handle(&request("GET", "http://c"));
        assert_eq!((s.requests().len(), s.requests()[0].applied, s.requests()[0].path.as_str()), (1, true, "/"));
    }

    #[test]
    fn the_router_knows_three_origins_and_no_other() {
        let (clock, _) = clock_at(1_795_190_400);
        let all = Standins::new(&clock);
        let ask = |url: String| {
            let mut future = all.send(request("GET", &url));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match future.as_mut().poll(&mut context) {
                std::task::Poll::Ready(answer) => answer.map(|a| a.status),
                std::task::Poll::Pending => panic!("the router never waits"),
            }
        };
        for origin in [all.stripe.origin(), all.ehr.origin(), all.quickbooks.origin()] {
            assert!(ask(format!("{origin}/v1/nothing")).is_ok(), "{origin}");
            assert_eq!(ask(format!("{origin}.evil/v1/nothing")), Err(TransportError::NotSent), "{origin}");
        }
        assert_eq!(ask("https://api.stripe.com/v1/balance".to_owned()), Err(TransportError::NotSent));
        assert_eq!(all.refused().len(), 3);
    }
}
