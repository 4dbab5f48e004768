//! Whether Vesper's own address answers as Vesper does: from the outside, as Stripe and the bridge reach it.
//!
//! Must not: send anything that would be accepted.

use super::Subject;
use super::finding::{Area, Finding};
use bytes::Bytes;
use http::Method;
use vesper_adapters::http::HttpRequest;

/// A proxy in between, in plain words.
const PROXY: &str = "the proxy in front of Vesper has to pass /webhooks/ on, with the body unchanged";

/// The same of a stack.
const STACK: &str = "the log of the function intake says why; a proxy of yours in between has to pass the body on unchanged";

/// Asks the address for its health, and both doors to refuse what nobody signed.
pub(super) async fn check(s: &Subject, url: Option<&str>, out: &mut Vec<Finding>) {
    let proxy = s.runner.or(PROXY, STACK);
    let mut area = Area::new("address", out);
    let Some(url) = url else {
        return area.skipped("the public address is not known: give it with --url, or run vesper setup");
    };
    match status(s, Method::GET, &format!("{url}/healthz")).await {
        Some(200) => area.ok(format!("{url} answers")),
        Some(404) => area.ok(format!("{url} answers, and keeps /healthz to itself")),
        Some(status) => area.warning(format!("{url}/healthz answers {status}, expected 200"), proxy),
        None => {
            let remedy = s.runner.or(
                "is vesper serve running, and the proxy in front of it? Is this its address?",
                "is this the stack's address (its output WebhookUrl), or a domain of yours that points there?",
            );
            return area.problem(format!("{url} does not answer: no webhook arrives"), remedy);
        }
    }
    for (path, refused) in [("/webhooks/stripe", 400), ("/webhooks/ehr", 401)] {
        match status(s, Method::POST, &format!("{url}{path}")).await {
            Some(status) if status == refused => area.ok(format!("{path} refuses what nobody signed")),
            Some(status @ 200..=299) => area.problem(
                format!("{url}{path} answers {status} to what nobody signed: this is not Vesper, and events are lost there"),
                proxy,
            ),
            Some(503) => area.problem(format!("{url}{path} answers 503: it has no settings or secrets"), "run vesper setup"),
            Some(status) => area.problem(format!("{url}{path} answers {status}, expected {refused}"), proxy),
            None => area.problem(format!("{url}{path} does not answer"), proxy),
        }
    }
}

/// The status of an answer to an unsigned request; None without an answer.
async fn status(s: &Subject, method: Method, url: &str) -> Option<u16> {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let body = if method == Method::POST { Bytes::from_static(b"{}") } else { Bytes::new() };
    let request = HttpRequest { method, url: url.to_owned(), headers, body };
    s.transport.send(request).await.ok().map(|answer| answer.status)
}
