//! The function review: the pages for people, behind the sign-in of Cognito. No page needs JavaScript.
//!
//! Must not: show anything to who has no session, or put a token or a code into a log or a cookie.

use super::environment::{Environment, NotReady};
use super::gateway::{HttpAnswer, HttpEvent};
use super::ready::Apps;
use super::run::run;
use super::sign_in::{Attempt, CALLBACK, Cognito, Keys, LEAVING, LEAVING_S, NotIn};
use crate::app::App;
use crate::review::page::{self, PageRequest};
use crate::review::session::{COOKIE, SESSION_S, Sessions};
use bytes::Bytes;
use lambda_runtime::{Error, LambdaEvent};
use serde::Deserialize;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use vesper_adapters::http::{HttpRequest, Transport as _};
use vesper_adapters::reqwest_transport::ReqwestTransport;

/// Where a person signs out.
const SIGN_OUT: &str = "/review/sign-out";
/// What the key of the sessions is derived for.
const KEY_OF_SESSIONS: &str = "vesper review sessions v1";

/// What this function stands on.
struct Review {
    apps: Apps,
    cognito: Cognito,
    transport: ReqwestTransport,
    /// The issuer's keys, as they were read last.
    keys: Mutex<Keys>,
}

impl Review {
    fn new(environment: Environment) -> Result<Review, NotReady> {
        let value = |name| Ok::<_, NotReady>(environment.needed(name)?.trim_end_matches('/').to_owned());
        let cognito = Cognito {
            domain: value("COGNITO_DOMAIN")?,
            client_id: value("COGNITO_CLIENT_ID")?,
            issuer: value("COGNITO_ISSUER")?,
            base_url: value("REVIEW_BASE_URL")?,
        };
        Ok(Review { apps: Apps::new(environment)?, cognito, transport: ReqwestTransport::new(), keys: Mutex::default() })
    }
}

/// The function.
#[must_use]
pub fn review() -> ExitCode {
    run(Review::new, handle)
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

async fn handle(review: Arc<Review>, event: LambdaEvent<HttpEvent>) -> Result<HttpAnswer, Error> {
    review.apps.host.begin(event.context.deadline);
    let event = event.payload;
    if event.raw_path == "/healthz" {
        return Ok(HttpAnswer::json(200, r#"{"status":"ok"}"#));
    }
    let Ok(body) = event.bytes() else { return Ok(HttpAnswer::json(400, r#"{"error":"the body cannot be read"}"#)) };
    let app = match review.apps.get().await {
        Ok(app) => app,
        Err(e) => {
            tracing::error!(problem = %e, "this function is not ready");
            return Ok(HttpAnswer::json(503, r#"{"error":"not set up: run vesper setup"}"#));
        }
    };
    let answer = review.answer(&app, &request(&event, body)).await;
    if answer.status_code >= 400 {
        review.apps.failed(&app);
    }
    review.apps.bus.flush().await;
    Ok(answer)
}

fn go_to(url: String, cookies: Vec<String>) -> HttpAnswer {
    let mut headers = vec![("location", url), ("cache-control", "no-store".to_owned())];
    headers.extend(cookies.into_iter().map(|c| ("set-cookie", c)));
    HttpAnswer::new(303, headers, String::new())
}

fn cookie(name: &str, value: &str, seconds: i64) -> String {
    format!("{name}={value}; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age={seconds}")
}

impl Review {
    async fn answer(&self, app: &App, request: &PageRequest) -> HttpAnswer {
        let key = app.store.data_key().derived(KEY_OF_SESSIONS);
        let sessions = Sessions::signed_in_elsewhere(key);
        let now_s = app.host.real_unix_s();
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", CALLBACK) => return self.come_back(&sessions, key, request, now_s).await,
            ("GET", SIGN_OUT) => return go_to(self.cognito.sign_out_url(), vec![cookie(COOKIE, "", 0)]),
            ("GET", _) if !page::is_style(request) && !sessions.knows(request.cookie(COOKIE), now_s) => {
                let attempt = Attempt::new(key, app.host.random(), now_s);
                let leaving = cookie(LEAVING, attempt.cookie(), LEAVING_S);
                return go_to(self.cognito.sign_in_url(&attempt), vec![leaving]);
            }
            _ => {}
        }
        let answer = page::handle(app, &sessions, request.clone()).await;
        HttpAnswer::new(answer.status, answer.headers, answer.body)
    }

    /// Back from the hosted pages: the code is redeemed, and a session begins.
    async fn come_back(&self, sessions: &Sessions, key: [u8; 32], request: &PageRequest, now_s: i64) -> HttpAnswer {
        match self.who(key, request, now_s).await {
            Ok(who) => {
                tracing::info!(who, "signed in");
                let session = cookie(COOKIE, &sessions.begin(&who, now_s), SESSION_S);
                go_to("/review".to_owned(), vec![session, cookie(LEAVING, "", 0)])
            }
            Err(problem) => {
                tracing::warn!(problem, "a sign-in was refused");
                let text = "The sign-in did not succeed. Please open the review page again.";
                let refused = page::refused(401, "Please sign in", text);
                HttpAnswer::new(refused.status, refused.headers, refused.body)
            }
        }
    }

    async fn who(&self, key: [u8; 32], request: &PageRequest, now_s: i64) -> Result<String, String> {
        let text = |e: NotIn| e.to_string();
        let state = request.parameter("state").unwrap_or_default();
        let attempt = Attempt::of(key, request.cookie(LEAVING).unwrap_or_default(), &state, now_s).map_err(text)?;
        let code = request.parameter("code").ok_or("Cognito did not send a code")?;
        let token = self.redeem(&attempt, &code).await?;
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.cognito.who(&token, &keys, &attempt, now_s) {
            // Not read yet, or the issuer has new ones.
            Err(NotIn::UnknownKey) => {
                let keys = self.read_keys().await?;
                *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys.clone();
                self.cognito.who(&token, &keys, &attempt, now_s).map_err(text)
            }
            other => other.map_err(text),
        }
    }

    async fn redeem(&self, attempt: &Attempt, code: &str) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }
        let headers = vec![("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
        let body = Bytes::from(self.cognito.redeem(attempt, code));
        let request = HttpRequest { method: http::Method::POST, url: self.cognito.token_url(), headers, body };
        let tokens: Tokens = self.call(request, "redeem the code").await?;
        Ok(tokens.id_token)
    }

    async fn read_keys(&self) -> Result<Keys, String> {
        let (url, body) = (self.cognito.keys_url(), Bytes::new());
        self.call(HttpRequest { method: http::Method::GET, url, headers: Vec::new(), body }, "read the issuer's keys").await
    }

    /// A call to Cognito. Of an answer that is refused nothing is told but its status.
    async fn call<T: serde::de::DeserializeOwned>(&self, request: HttpRequest, what: &str) -> Result<T, String> {
        let answer = self.transport.send(request).await.map_err(|e| format!("{what}: {e}"))?;
        if answer.status != 200 {
            return Err(format!("{what}: Cognito answered {}", answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(|_| format!("{what}: the answer cannot be read"))
    }
}
