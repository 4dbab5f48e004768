//! The HTTP client under the SDK: reqwest, which the vendors' calls use as well, so that a function carries one HTTP stack.
//!
//! It trusts the roots of Amazon Trust Services alone. They are taken out of the compiled-in Mozilla list, ready parsed: nothing
//! is read or parsed at start, where root certificates cost more than all else (facts/performance.md 2b).
//! A stand-in over TLS has roots of its own in a file; what is AWS's is never trusted by a file.
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
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Time to connect, in seconds. AWS answers from the same region.
const CONNECT_S: u64 = 2;
/// An idle connection is dropped before AWS drops it.
const IDLE_S: u64 = 15;
/// The names of the roots under which every AWS endpoint has its certificate
/// (<https://www.amazontrust.com/repository/>: Amazon Root CA 1 to 4, and Starfield's for older chains). A subject ends with its name.
const ROOTS: [&[u8]; 5] = [
    b"Amazon Root CA 1",
    b"Amazon Root CA 2",
    b"Amazon Root CA 3",
    b"Amazon Root CA 4",
    b"Starfield Services Root Certificate Authority - G2",
];

/// See the module.
#[derive(Clone, Default)]
pub(super) struct AwsHttp(Arc<Lazy>);

/// Built at the first call.
#[derive(Default)]
struct Lazy {
    /// The roots of a stand-in, as PEM; none: Amazon's.
    bundle: Option<PathBuf>,
    client: OnceLock<Option<reqwest::Client>>,
}

impl std::fmt::Debug for AwsHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AwsHttp")
    }
}

fn roots() -> rustls::RootCertStore {
    let all = webpki_roots::TLS_SERVER_ROOTS.iter();
    rustls::RootCertStore { roots: all.filter(|root| ROOTS.iter().any(|name| root.subject.ends_with(name))).cloned().collect() }
}

/// The roots of a stand-in. A file that is not there or has none in it trusts nobody.
fn roots_of(bundle: &Path) -> Option<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(bundle).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    roots.add_parsable_certificates(certificates);
    Some(roots)
}

fn build(bundle: Option<&Path>) -> Option<reqwest::Client> {
    let roots = bundle.map_or_else(|| Some(roots()), roots_of)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
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
    /// Trusts the roots in this file instead of Amazon's, where there is one. Nothing is read yet.
    pub(super) fn trusting(bundle: Option<PathBuf>) -> AwsHttp {
        AwsHttp(Arc::new(Lazy { bundle, client: OnceLock::new() }))
    }

    /// Whether it trusts a file instead of Amazon.
    #[cfg(test)]
    pub(super) fn has_roots_of_its_own(&self) -> bool {
        self.0.bundle.is_some()
    }

    /// One request, once.
    pub(super) async fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let client = self.0.client.get_or_init(|| build(self.0.bundle.as_deref())).as_ref();
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
        let of = |r: &rustls::pki_types::TrustAnchor<'_>, name: &[u8]| r.subject.windows(name.len()).any(|part| part == name);
        assert!(roots.iter().all(|r| of(r, b"Amazon") || of(r, b"Starfield Technologies")));
    }

    #[test]
    fn a_file_of_roots_that_cannot_be_read_trusts_nobody() {
        let dir = tempfile::tempdir().unwrap();
        assert!(build(Some(&dir.path().join("nothing.pem"))).is_none());
        let broken = dir.path().join("broken.pem");
        std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
        assert!(build(Some(&broken)).is_none());
        let other = dir.path().join("other.pem");
        std::fs::write(&other, "no certificate").unwrap();
        assert_eq!(roots_of(&other).map(|r| r.roots.len()), Some(0));
    }

    #[tokio::test]
    async fn roots_and_client_are_made_at_the_first_call() {
        let http = AwsHttp::default();
        assert!(http.0.client.get().is_none());
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri("https://127.0.0.1:1/").unwrap();
        assert!(http.exchange(&request).await.is_err(), "nobody listens there");
        assert!(http.0.client.get().is_some());
    }
}
