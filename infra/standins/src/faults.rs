//! Scripted faults: what goes wrong with which request, how often.
//!
//! Must not: sleep, read a clock or know a vendor. A fault says what happens; the frame in `lib.rs` does it.

use bytes::Bytes;
use serde_json::Value;

/// An answer that stands in the script instead of the stand-in's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scripted {
    /// The HTTP status.
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// As it is sent.
    pub body: Bytes,
}

impl Scripted {
    /// A status without a body.
    #[must_use]
    pub fn status(status: u16) -> Scripted {
        Scripted { status, ..Scripted::default() }
    }

    /// A status with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Scripted {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Scripted { status, headers, body: Bytes::from(body.to_string()) }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Scripted {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is applied; this is answered.
    Status(Scripted),
    /// It is applied; this is answered instead of the true answer.
    StatusAfter(Scripted),
    /// Nothing is applied and no answer comes: `TransportError::OutcomeUnknown`.
    Lost,
    /// It is applied and no answer comes: `TransportError::OutcomeUnknown`.
    LostAfter,
    /// No connection: `TransportError::NotSent`. Over a real socket this can only be shown as a connection that is cut.
    NotSent,
    /// No answer comes, and it is applied so many seconds later by the stand-in's clock, when anything is next asked.
    /// Until then nobody finds it.
    Late {
        /// From the request to its being applied, in seconds.
        after_s: i64,
    },
}

impl FaultKind {
    /// One word for the record of requests.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            FaultKind::Status(_) => "status",
            FaultKind::StatusAfter(_) => "status_after",
            FaultKind::Lost => "lost",
            FaultKind::LostAfter => "lost_after",
            FaultKind::NotSent => "not_sent",
            FaultKind::Late { .. } => "late",
        }
    }
}

/// One rule of the script: which requests, what happens, how often. Fires once unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pattern: String,
    kind: FaultKind,
    left: Option<u32>,
    skip: u32,
}

impl Fault {
    /// Once, at the first request whose `METHOD /path` matches; `*` stands for any text, `/` too.
    #[must_use]
    pub fn new(pattern: &str, kind: FaultKind) -> Fault {
        Fault { pattern: pattern.to_owned(), kind, left: Some(1), skip: 0 }
    }

    /// This often.
    #[must_use]
    pub fn times(mut self, times: u32) -> Fault {
        self.left = Some(times);
        self
    }

    /// Until it is taken away.
    #[must_use]
    pub fn always(mut self) -> Fault {
        self.left = None;
        self
    }

    /// Lets so many matching requests pass first.
    #[must_use]
    pub fn skip(mut self, requests: u32) -> Fault {
        self.skip = requests;
        self
    }

    /// What happens to this request, when this rule takes it. Counts.
    pub(crate) fn take(&mut self, line: &str) -> Option<FaultKind> {
        if self.left == Some(0) || !matches(&self.pattern, line) {
            return None;
        }
        if self.skip > 0 {
            self.skip = self.skip.saturating_sub(1);
            return None;
        }
        self.left = self.left.map(|n| n.saturating_sub(1));
        Some(self.kind.clone())
    }
}

/// Whether the text is of this pattern, in which `*` stands for any text.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let cases = [
            ("POST /v1/payments", "POST /v1/payments", true),
            ("POST /v1/payments", "POST /v1/payments/x", false),
            ("POST *", "POST /v1/payments", true),
            ("*", "GET /", true),
            ("* /v1/*/confirm", "POST /v1/payment_intents/pi_1/confirm", true),
            ("* /v1/*/confirm", "POST /v1/payment_intents/pi_1/cancel", false),
            ("GET /a*b*c", "GET /a1b2c", true),
            ("GET /a*b*c", "GET /a1c2b", false),
            ("GET /a*a", "GET /a", false),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(matches(pattern, text), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_rule_skips_and_counts() {
        let mut fault = Fault::new("GET *", FaultKind::Lost).skip(1).times(2);
        let fired: Vec<bool> = ["GET /a", "POST /a", "GET /a", "GET /a", "GET /a"].map(|l| fault.take(l).is_some()).to_vec();
        assert_eq!(fired, [false, false, true, true, false]);
        assert!(Fault::new("*", FaultKind::NotSent).always().take("GET /a").is_some());
    }
}
