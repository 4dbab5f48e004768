//! The HTTP client under the SDK: reqwest, which the vendors' calls use as well, so that a function carries one HTTP stack.
//!
//! It trusts the roots of Amazon Trust Services alone. They are taken out of the compiled-in Mozilla list, ready parsed: nothing
//! is read or parsed at start, where root certificates cost more than all else (facts/performance.md 2b).
//! Must not: follow a redirect, retry (the SDK does), or use a proxy of the environment.

use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Time to connect, in seconds. AWS answers from the same region.
const CONNECT_S: u64 = 2;
/// An idle connection is dropped before AWS drops it.
const IDLE_S: u64 = 15;
/// The names of the roots under which every AWS endpoint has its certificate
/// (<https://www.amazontrust.com/repository/>: Amazon Root CA 1 to 4, and Starfield's for older chains).
const ROOTS: [&[u8]; 2] = [b"Amazon Root CA ", b"Starfield Services Root Certificate Authority - G2"];

/// See the module. Built at the first call.
#[derive(Clone, Default)]
pub(super) struct AwsHttp(Arc<OnceLock<Option<reqwest::Client>>>);

impl std::fmt::Debug for AwsHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AwsHttp")
    }
}

fn holds(subject: &[u8], name: &[u8]) -> bool {
    subject.windows(name.len()).any(|part| part == name)
}

fn roots() -> rustls::RootCertStore {
    let all = webpki_roots::TLS_SERVER_ROOTS.iter();
    rustls::RootCertStore { roots: all.filter(|root| ROOTS.iter().any(|name| holds(&root.subject, name))).cloned().collect() }
}

fn build() -> Option<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(Duration::from_secs(CONNECT_S))
        .pool_idle_timeout(Duration::from_secs(IDLE_S))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .build()
        .ok()
}

impl HttpClient for AwsHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for AwsHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.clone();
        HttpConnectorFuture::new(async move { http.exchange(&request).await })
    }
}

impl AwsHttp {
    /// One request, once.
    pub(super) async fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let client = self.0.get_or_init(build).as_ref();
        send(client.ok_or_else(|| ConnectorError::other("TLS could not be set up".into(), None))?, request).await
    }
}

async fn send(client: &reqwest::Client, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let method = reqwest::Method::from_bytes(request.method().as_bytes()).map_err(|e| ConnectorError::user(e.into()))?;
    let body = request.body().bytes().ok_or_else(|| ConnectorError::user("a streamed body".into()))?.to_vec();
    let mut call = client.request(method, request.uri()).body(body);
    for (name, value) in request.headers() {
        call = call.header(name, value);
    }
    let answer = call.send().await.map_err(lost)?;
    let status = StatusCode::try_from(answer.status().as_u16()).map_err(|e| ConnectorError::user(e.into()))?;
    let headers = answer.headers().clone();
    let body = answer.bytes().await.map_err(lost)?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    for (name, value) in &headers {
        if let Ok(value) = value.to_str() {
            response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}

/// The class decides whether the SDK tries again: it does for both.
fn lost(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_of_amazon_and_no_others_are_trusted() {
        let roots = roots().roots;
        assert_eq!(roots.len(), 5, "Amazon Root CA 1 to 4, and Starfield's");
        assert!(roots.iter().all(|r| holds(&r.subject, b"Amazon") || holds(&r.subject, b"Starfield")));
    }
}
