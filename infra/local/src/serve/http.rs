//! The HTTP side of `vesper serve`: thin, it hands over to the same use cases as the Lambdas.

use super::control;
use crate::stack::Stack;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{any, get, post};
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;
use vesper_functions::intake::{self, BODY_BYTES_MAX};
use vesper_functions::review::page::{self as pages, PageRequest};
use vesper_functions::review::session::Sessions;

/// What every request gets.
#[derive(Clone)]
pub struct Server {
    /// The bundle.
    pub stack: Arc<Stack>,
    /// Who may see the review page.
    pub sessions: Arc<Sessions>,
    /// Whether /_local/... is there (--test-clock).
    pub control: bool,
}

/// Serves until `until` ends; requests under way are finished.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    server: Server,
    until: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let mut router = Router::new()
        .route("/healthz", get(healthz))
        .route("/webhooks/stripe", post(stripe))
        .route("/webhooks/ehr", post(ehr))
        .route("/review", any(page))
        .route("/review/{*rest}", any(page))
        .route("/payments/{*rest}", any(page))
        .route("/payouts", any(page))
        .route("/payouts/{*rest}", any(page));
    if server.control {
        router = control::routes(router);
    }
    axum::serve(listener, router.with_state(server)).with_graceful_shutdown(until).await
}

/// A JSON answer.
pub(super) fn json(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

async fn healthz() -> Response {
    json(200, r#"{"status":"ok"}"#)
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// The raw body; None when it is larger than what is read.
pub(super) async fn raw(body: Body) -> Option<Vec<u8>> {
    to_bytes(body, BODY_BYTES_MAX).await.ok().map(|b| b.to_vec())
}

async fn stripe(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(body) = raw(body).await else { return json(413, r#"{"error":"the body is larger than 1 MiB"}"#) };
    let answer = intake::stripe(server.stack.app.door(), header(&parts.headers, "stripe-signature"), &body).await;
    json(answer.status, answer.body)
}

async fn ehr(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(body) = raw(body).await else { return json(413, r#"{"error":"the body is larger than 1 MiB"}"#) };
    let path = parts.uri.path_and_query().map_or("/webhooks/ehr", |p| p.as_str());
    let answer = intake::ehr(server.stack.app.door(), header(&parts.headers, "vesper-signature"), path, &body).await;
    json(answer.status, answer.body)
}

async fn page(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(body) = raw(body).await else { return json(413, r#"{"error":"the body is larger than 1 MiB"}"#) };
    let headers = parts.headers.iter().filter_map(|(n, v)| Some((n.as_str().to_owned(), v.to_str().ok()?.to_owned())));
    let request = PageRequest {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body,
    };
    let answer = pages::handle(&server.stack.app, &server.sessions, request).await;
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::try_from(value.as_str())) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
