//! The transport of production: reqwest over rustls with ring, and the Mozilla roots compiled in.
//!
//! Built at the first call, not at start: a function that calls no vendor never pays for the roots (facts/performance.md 2b).
//! Must not: follow a redirect (a signature or token would go elsewhere), or retry.

use crate::http::{BoxFuture, HttpRequest, HttpResponse, Transport, TransportError};
use std::sync::OnceLock;
use std::time::Duration;

/// Time to connect, in seconds (contracts/settings.md).
const CONNECT_S: u64 = 5;
/// Time in all, in seconds.
const TOTAL_S: u64 = 20;
/// Idle connections are dropped before the usual 60 s of load balancers (facts/stripe.md section 5).
const IDLE_S: u64 = 30;

/// See the module.
#[derive(Default)]
pub struct ReqwestTransport(OnceLock<Option<reqwest::Client>>);

impl ReqwestTransport {
    /// Builds nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&self) -> Option<&reqwest::Client> {
        self.0.get_or_init(build).as_ref()
    }
}

fn build() -> Option<reqwest::Client> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(Duration::from_secs(CONNECT_S))
        .timeout(Duration::from_secs(TOTAL_S))
        .pool_idle_timeout(Duration::from_secs(IDLE_S))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .build()
        .ok()
}

async fn send(client: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, TransportError> {
    let lost = |e: reqwest::Error| if e.is_connect() { TransportError::NotSent } else { TransportError::OutcomeUnknown };
    let mut call = client.request(request.method, &request.url).body(request.body);
    for (name, value) in &request.headers {
        call = call.header(name, value);
    }
    let answer = call.send().await.map_err(lost)?;
    let status = answer.status().as_u16();
    let text = |v: &reqwest::header::HeaderValue| v.to_str().unwrap_or_default().to_owned();
    let headers = answer.headers().iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect();
    let body = answer.bytes().await.map_err(|_| TransportError::OutcomeUnknown)?;
    Ok(HttpResponse { status, headers, body })
}

impl Transport for ReqwestTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            match self.client() {
                Some(client) => send(client, request).await,
                None => Err(TransportError::NotSent),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_roots_of_all_the_world_are_loaded_at_the_first_call_and_not_before() {
        let transport = ReqwestTransport::new();
        assert!(transport.0.get().is_none());
        let url = "https://127.0.0.1:1/".to_owned();
        let request = HttpRequest { method: http::Method::GET, url, headers: vec![], body: bytes::Bytes::new() };
        assert!(matches!(transport.send(request).await, Err(TransportError::NotSent)), "nobody listens there");
        assert!(transport.0.get().is_some());
    }
}
