//! What an answer of QuickBooks means for the caller: done, refused for good, to be tried later, or unknown.
//!
//! HTTP 200 is not success: QuickBooks puts Faults there too (facts/quickbooks.md A4, seen in the sandbox).
//! Must not: let a text of the answer into an error; a status, a code and Intuit's request id are all.

use super::wire::{self, Fault};
use crate::{
    error::{CallError, Class, System},
    http::{HttpResponse, TransportError},
};

/// Whether doing it twice would matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Create,
}

/// How long to wait after a 429 that does not say so, in seconds (facts/quickbooks.md A2).
const THROTTLE_WAIT_S: u32 = 60;

/// Codes of validation Faults that say for certain that nothing was booked (facts/quickbooks.md A4).
const NOTHING_BOOKED: [&str; 10] = ["6210", "6140", "2500", "2020", "2050", "6000", "6070", "610", "5010", "6190"];

impl Call {
    /// The class of a failure that says nothing about what was done.
    fn undecided(self) -> Class {
        match self {
            Call::Read => Class::Transient,
            Call::Create => Class::OutcomeUnknown,
        }
    }

    /// The error of a call that got no answer.
    pub(super) fn no_answer(self, attempted: &str, error: TransportError) -> CallError {
        let class = match error {
            TransportError::NotSent => Class::Transient,
            TransportError::OutcomeUnknown => self.undecided(),
        };
        failed(attempted, class, error.to_string(), None)
    }

    /// Passes an answer of status 2xx without a Fault.
    pub(super) fn check(self, attempted: &str, answer: &HttpResponse) -> Result<(), CallError> {
        let fault = wire::fault(&answer.body);
        let class = match (answer.status, &fault) {
            (200..=299, None) => return Ok(()),
            (200..=299, Some(fault)) => self.class_of_fault_on_200(fault, answer),
            (status, fault) => self.class_of_status(status, fault.as_ref(), answer),
        };
        let code = fault.and_then(|f| f.codes.into_iter().next());
        Err(failed(attempted, class, detail(answer, code.as_deref()), code))
    }

    /// The error of a 2xx answer that is not what the interface promises.
    pub(super) fn unreadable(self, attempted: &str, answer: &HttpResponse, what: &str) -> CallError {
        let class = match self {
            Call::Read => Class::Bug,
            Call::Create => Class::OutcomeUnknown,
        };
        failed(attempted, class, format!("{}, {what}", detail(answer, None)), None)
    }

    fn class_of_fault_on_200(self, fault: &Fault, answer: &HttpResponse) -> Class {
        let certain = fault.kind == "ValidationFault" && !fault.codes.is_empty();
        if certain && fault.codes.iter().all(|c| NOTHING_BOOKED.contains(&c.as_str())) {
            return Class::Rejected;
        }
        match self {
            Call::Create => Class::OutcomeUnknown,
            Call::Read if has(fault, "3001") => throttled(answer),
            Call::Read if has(fault, "3200") => Class::Unauthorized,
            Call::Read if certain => Class::Rejected,
            Call::Read => Class::Transient,
        }
    }

    fn class_of_status(self, status: u16, fault: Option<&Fault>, answer: &HttpResponse) -> Class {
        let has_code = |code: &str| fault.is_some_and(|f| has(f, code));
        let system_fault = fault.is_some_and(|f| f.kind == "SystemFault") || has_code("10000");
        match status {
            408 | 500..=599 => self.undecided(),
            429 => throttled(answer),
            400..=499 if has_code("3001") => throttled(answer),
            401 => Class::Unauthorized,
            400..=499 if has_code("3200") => Class::Unauthorized,
            400..=499 if system_fault => self.undecided(),
            403 => Class::Unauthorized,
            404 => Class::NotFound,
            409 | 412 => Class::Conflict,
            400..=499 => Class::Rejected,
            _ if self == Call::Create => Class::OutcomeUnknown,
            _ => Class::Bug,
        }
    }
}

fn has(fault: &Fault, code: &str) -> bool {
    fault.codes.iter().any(|c| c == code)
}

/// A pause as `Retry-After` says, or the one that Intuit advises. A date there is read as if it were absent.
pub(super) fn throttled(answer: &HttpResponse) -> Class {
    let seconds = answer.header("retry-after").and_then(|text| text.trim().parse().ok());
    Class::Throttled { retry_after_s: Some(seconds.unwrap_or(THROTTLE_WAIT_S)) }
}

/// Status, Fault code and Intuit's request id (`intuit_tid`).
pub(super) fn detail(answer: &HttpResponse, code: Option<&str>) -> String {
    let mut text = format!("HTTP {}", answer.status);
    if let Some(code) = code {
        text.push_str(&format!(", Fault {code}"));
    }
    let plain = |id: &&str| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if let Some(id) = answer.header("intuit_tid").filter(plain) {
        text.push_str(&format!(", intuit_tid {id}"));
    }
    text
}

/// A failed call.
pub(super) fn failed(attempted: &str, class: Class, detail: String, code: Option<String>) -> CallError {
    CallError { system: System::QuickBooks, attempted: attempted.to_owned(), class, detail, code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const PAUSE: Class = Class::Throttled { retry_after_s: Some(60) };

    fn answer(status: u16, body: &str) -> HttpResponse {
        HttpResponse { status, headers: vec![], body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn class(call: Call, answer: &HttpResponse) -> Class {
        call.check("test", answer).unwrap_err().class
    }

    #[test]
    fn every_known_fault_has_its_class_on_create_and_on_read() {
        let cases = [
            ("10000", Class::OutcomeUnknown, Class::Transient),
            ("10000.on_http_200", Class::OutcomeUnknown, Class::Transient),
            ("120", Class::Unauthorized, Class::Unauthorized),
            ("2020", Class::Rejected, Class::Rejected),
            ("2050", Class::Rejected, Class::Rejected),
            ("2500", Class::Rejected, Class::Rejected),
            ("3001", PAUSE, PAUSE),
            ("3200", Class::Unauthorized, Class::Unauthorized),
            ("4001", Class::Rejected, Class::Rejected),
            ("500", Class::Rejected, Class::Rejected),
            ("5010", Class::Rejected, Class::Rejected),
            ("6000", Class::Rejected, Class::Rejected),
            ("6070", Class::Rejected, Class::Rejected),
            ("610", Class::Rejected, Class::Rejected),
            ("6140", Class::Rejected, Class::Rejected),
            ("6190", Class::Rejected, Class::Rejected),
            ("6210", Class::Rejected, Class::Rejected),
            ("6240", Class::Rejected, Class::Rejected),
            ("6540", Class::Rejected, Class::Rejected),
        ];
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/quickbooks/faults");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), cases.len(), "a fault file has no case here");
        for (name, on_create, on_read) in cases {
            let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
            let file: serde_json::Value = serde_json::from_str(&text).unwrap();
            let answer = answer(u16::try_from(file["http_status"].as_u64().unwrap()).unwrap(), &file["body"].to_string());
            let error = Call::Create.check("create", &answer).unwrap_err();
            assert_eq!(error.class, on_create, "{name} on create");
            assert_eq!(error.code.as_deref(), Some(name.split('.').next().unwrap()), "{name}: code");
            assert_eq!(class(Call::Read, &answer), on_read, "{name} on read");
            let words = file["body"]["Fault"]["Error"][0]["Detail"].as_str().unwrap();
            assert!(!format!("{error:?}").contains(words), "{name}: the text of the answer is in the error");
        }
    }

    #[test]
    fn a_fault_on_http_200_is_a_refusal_only_where_it_is_certain() {
        let fault = |kind: &str, codes: &str| answer(200, &format!(r#"{{"Fault":{{"type":"{kind}","Error":[{codes}]}}}}"#));
        let cases = [
            ("ValidationFault", r#"{"code":"6210"}"#, Class::Rejected, Class::Rejected),
            ("ValidationFault", r#"{"code":"6210"},{"code":"9999"}"#, Class::OutcomeUnknown, Class::Rejected),
            ("ValidationFault", r#"{"code":"4001"}"#, Class::OutcomeUnknown, Class::Rejected),
            ("SystemFault", r#"{"code":"6210"}"#, Class::OutcomeUnknown, Class::Transient),
            ("ValidationFault", "", Class::OutcomeUnknown, Class::Transient),
            ("SERVICE", r#"{"code":"3001"}"#, Class::OutcomeUnknown, PAUSE),
            ("AUTHENTICATION", r#"{"code":"3200"}"#, Class::OutcomeUnknown, Class::Unauthorized),
        ];
        for (kind, codes, on_create, on_read) in cases {
            assert_eq!(class(Call::Create, &fault(kind, codes)), on_create, "{kind} {codes} on create");
            assert_eq!(class(Call::Read, &fault(kind, codes)), on_read, "{kind} {codes} on read");
        }
    }

    #[test]
    fn statuses_without_a_fault_have_their_class() {
        let cases = [
            (302, Class::OutcomeUnknown, Class::Bug),
            (400, Class::Rejected, Class::Rejected),
            (401, Class::Unauthorized, Class::Unauthorized),
            (403, Class::Unauthorized, Class::Unauthorized),
            (404, Class::NotFound, Class::NotFound),
            (408, Class::OutcomeUnknown, Class::Transient),
            (409, Class::Conflict, Class::Conflict),
            (429, PAUSE, PAUSE),
            (500, Class::OutcomeUnknown, Class::Transient),
            (502, Class::OutcomeUnknown, Class::Transient),
            (503, Class::OutcomeUnknown, Class::Transient),
            (504, Class::OutcomeUnknown, Class::Transient),
        ];
        for (status, on_create, on_read) in cases {
            assert_eq!(class(Call::Create, &answer(status, "<html>")), on_create, "{status} on create");
            assert_eq!(class(Call::Read, &answer(status, "")), on_read, "{status} on read");
        }
    }

    #[test]
    fn a_403_with_3001_and_a_429_say_how_long_to_wait() {
        let old = answer(403, r#"{"Fault":{"type":"SERVICE","Error":[{"code":"003001"}]}}"#);
        assert_eq!(class(Call::Create, &old), PAUSE);
        for (text, seconds) in [("1", 1), (" 17 ", 17), ("Sat, 21 Nov 2026 15:00:00 GMT", 60), ("-3", 60)] {
            let mut new = answer(429, "");
            new.headers.push(("retry-after".into(), text.into()));
            assert_eq!(class(Call::Create, &new), Class::Throttled { retry_after_s: Some(seconds) }, "{text}");
        }
    }

    #[test]
    fn the_detail_names_status_code_and_a_plain_request_id() {
        let mut answer = answer(400, r#"{"Fault":{"type":"ValidationFault","Error":[{"code":"6140"}]}}"#);
        answer.headers.push(("intuit_tid".into(), "1-67-ab".into()));
        let error = Call::Create.check("create journal entry VS-1", &answer).unwrap_err();
        assert_eq!(error.to_string(), "create journal entry VS-1 at QuickBooks: HTTP 400, Fault 6140, intuit_tid 1-67-ab");
        answer.headers[0].1 = "Ada <ada@example.org>".into();
        assert!(!Call::Create.check("x", &answer).unwrap_err().detail.contains("Ada"));
    }
}
