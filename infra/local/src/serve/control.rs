//! /_local/...: the clock and a few levers, for tests (contracts/settings.md, Local control). Only with --test-clock.

use super::http::{Server, json, raw};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use vesper_adapters::dynamo::item::stamp;
use vesper_functions::app::Host as _;
use vesper_functions::pause::{self, Pause};
use vesper_functions::{dead_letters, export};

/// How long a drain may take, in seconds.
const DRAIN_S: u64 = 30;

/// Adds the levers.
pub(super) fn routes(router: Router<Server>) -> Router<Server> {
    router
        .route("/_local/clock", get(clock).post(move_clock))
        .route("/_local/drain", post(drain))
        .route("/_local/pause", post(hold))
        .route("/_local/redrive", post(redrive))
        .route("/_local/export", get(everything))
}

fn now_is(server: &Server) -> Response {
    json(200, format!(r#"{{"now":"{}"}}"#, stamp(server.stack.host.now())))
}

fn problem(status: u16, what: &str) -> Response {
    json(status, serde_json::json!({ "error": what }).to_string())
}

async fn clock(State(server): State<Server>) -> Response {
    now_is(&server)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    advance_s: Option<i64>,
    set: Option<Timestamp>,
}

async fn move_clock(State(server): State<Server>, request: Request) -> Response {
    let body = raw(request.into_body()).await.unwrap_or_default();
    let now = server.stack.host.now();
    let target = match serde_json::from_slice::<Move>(&body) {
        Ok(Move { advance_s: Some(s), set: None }) if s >= 0 => now.saturating_add(SignedDuration::from_secs(s)).unwrap_or(now),
        Ok(Move { advance_s: None, set: Some(at) }) if at >= now => at,
        Ok(Move { advance_s: None, set: Some(_) }) => return problem(400, "the clock moves only forward"),
        _ => return problem(400, r#"say {"advance_s": 60} or {"set": "2026-11-21T15:00:00Z"}"#),
    };
    match server.stack.move_clock(target).await {
        Ok(()) => now_is(&server),
        Err(e) => problem(500, &e.to_string()),
    }
}

async fn drain(State(server): State<Server>) -> Response {
    let idle = server.stack.drain(DRAIN_S).await;
    json(if idle { 200 } else { 503 }, format!(r#"{{"idle":{idle}}}"#))
}

#[derive(Deserialize)]
struct Hold {
    what: String,
}

async fn hold(State(server): State<Server>, request: Request) -> Response {
    let body = raw(request.into_body()).await.unwrap_or_default();
    let word = serde_json::from_slice::<Hold>(&body).ok().and_then(|h| Pause::parse(&h.what));
    let Some(what) = word else { return problem(400, r#"say {"what": "retries"}, "postings", "all" or "none""#) };
    match pause::set(&server.stack.app, what).await {
        Ok(()) => json(200, "{}"),
        Err(e) => problem(500, &e.to_string()),
    }
}

async fn redrive(State(server): State<Server>) -> Response {
    match dead_letters::redrive_all(&server.stack.app).await {
        Ok(moved) => json(200, format!(r#"{{"moved":{moved}}}"#)),
        Err(e) => problem(500, &e.to_string()),
    }
}

async fn everything(State(server): State<Server>) -> Response {
    match export::export(&server.stack.app.store, false).await {
        Ok(all) => json(200, all.to_string()),
        Err(e) => problem(500, &e.to_string()),
    }
}
