//! The one door to outside systems over HTTP: a request, an answer, and what may go wrong on the way.
//!
//! Vendor clients build requests and read answers; a [`Transport`] carries them. `reqwest` carries them in
//! production, the demo and the tests hand them to a stand-in in the same process, the crash sweep loses them on purpose.
//! Must not: log a body, a header or a query.

use bytes::Bytes;
use std::{future::Future, pin::Pin, sync::Arc};

/// A request to an outside system.
#[derive(Clone)]
pub struct HttpRequest {
    /// `GET` or `POST`.
    pub method: http::Method,
    /// Absolute, with the query. Holds no personal data, ever.
    pub url: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// Empty for a GET.
    pub body: Bytes,
}

/// An answer of an outside system.
#[derive(Clone)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Bytes,
}

impl HttpResponse {
    /// The first header of this (lower-case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// The time in an answer's `Date` header (RFC 9110); None when there is none that can be read.
#[must_use]
pub fn date_of(answer: &HttpResponse) -> Option<jiff::Timestamp> {
    let date = answer.header("date")?;
    jiff::fmt::rfc2822::parse(date).ok().map(|zoned| zoned.timestamp())
}

/// No answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection was made: the other side never saw the request.
    #[error("no connection")]
    NotSent,
    /// The connection broke or the time was over: the other side may have done it.
    #[error("no answer")]
    OutcomeUnknown,
}

/// A future that a `dyn` trait can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries requests. 5 s to connect, 20 s in all (contracts/settings.md).
pub trait Transport: Send + Sync {
    /// Sends one request, once.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;
}

/// A transport that several clients share.
pub type SharedTransport = Arc<dyn Transport>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_answer_is_that_of_its_date_header() {
        let with =
            |value: &str| HttpResponse { status: 404, headers: vec![("date".to_owned(), value.to_owned())], body: Bytes::new() };
        let at = |value: &str| date_of(&with(value)).map(jiff::Timestamp::as_second);
        assert_eq!(at("Fri, 20 Nov 2026 16:00:00 GMT"), Some(1_795_190_400));
        assert_eq!(at("soon"), None);
        assert_eq!(date_of(&HttpResponse { status: 200, headers: vec![], body: Bytes::new() }), None);
    }
}
