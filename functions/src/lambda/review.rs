//! The function review: the pages for people.

use super::gateway::{HttpAnswer, HttpEvent};
use super::ready::Apps;
use super::run::run;
use crate::app::Host as _;
use crate::review::page::{self, PageRequest};
use crate::review::session::Sessions;
use lambda_runtime::{Error, LambdaEvent};
use std::process::ExitCode;
use std::sync::Arc;
use vesper_adapters::personal::Secret;

/// The function.
#[must_use]
pub fn review() -> ExitCode {
    run(Apps::new, handle)
}

fn request(event: &HttpEvent, body: Vec<u8>) -> PageRequest {
    let mut headers: Vec<(String, String)> = event.headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
    headers.extend(event.cookies.iter().map(|c| ("cookie".to_owned(), c.clone())));
    PageRequest {
        method: event.request_context.http.method.clone(),
        path: event.raw_path.clone(),
        query: event.raw_query_string.clone(),
        headers,
        body,
    }
}

async fn handle(apps: Arc<Apps>, event: LambdaEvent<HttpEvent>) -> Result<HttpAnswer, Error> {
    apps.host.begin(event.context.deadline);
    let event = event.payload;
    if event.raw_path == "/healthz" {
        return Ok(HttpAnswer::json(200, r#"{"status":"ok"}"#));
    }
    let Ok(body) = event.bytes() else { return Ok(HttpAnswer::json(400, r#"{"error":"the body cannot be read"}"#)) };
    let app = match apps.get().await {
        Ok(app) => app,
        Err(e) => {
            tracing::error!(problem = %e, "this function is not ready");
            return Ok(HttpAnswer::json(503, r#"{"error":"not set up: run vesper setup"}"#));
        }
    };
    // Nobody knows this token: without a sign-in there is no session.
    let (a, b) = (apps.host.random(), apps.host.random());
    let mut key = [0; 32];
    key[..16].copy_from_slice(&a);
    key[16..].copy_from_slice(&b);
    let sessions = Sessions::new(Secret::new(hex::encode(key)), key);
    let answer = page::handle(&app, &sessions, request(&event, body)).await;
    apps.bus.flush().await;
    Ok(HttpAnswer::new(answer.status, answer.headers, answer.body))
}
