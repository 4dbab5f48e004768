//! Stands between the deployed functions and ministack: every call is noted under its function, and passed on as it is.
//!
//! Must not: change a call or an answer: the signature covers the call, and ministack checks it.

use super::calls::{Call, access_key};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use vesper_adapters::http::{HttpRequest, Transport as _};
use vesper_adapters::reqwest_transport::ReqwestTransport;

/// The largest call, in bytes.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// What belongs to one connection only, or is set anew.
const OF_CONNECTION: [&str; 4] = ["connection", "content-length", "transfer-encoding", "keep-alive"];

/// A call that was refused, with what was said.
pub type Refused = (Call, u16, String);

#[derive(Default)]
struct Noted {
    functions: BTreeMap<String, String>,
    calls: Vec<Call>,
    refused: Vec<Refused>,
}

/// See the module. Dropping it closes the port.
pub struct Recorder {
    /// Where the functions find AWS.
    pub origin: String,
    noted: Arc<Mutex<Noted>>,
    _stop: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Between {
    to: String,
    transport: Arc<ReqwestTransport>,
    noted: Arc<Mutex<Noted>>,
}

impl Recorder {
    /// Listens on a free port of 127.0.0.1 and passes on to this address.
    pub async fn start(to: String) -> Recorder {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let noted = Arc::new(Mutex::new(Noted::default()));
        let between = Between { to, transport: Arc::new(ReqwestTransport::new()), noted: Arc::clone(&noted) };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = axum::serve(listener, Router::new().fallback(pass).with_state(between));
        tokio::spawn(async move {
            tokio::select! { _ = stopped => {}, _ = server.into_future() => {} }
        });
        Recorder { origin, noted, _stop: stop }
    }

    /// Who signs with this access key.
    pub fn know(&self, access_key: String, function: &str) {
        self.noted.lock().unwrap().functions.insert(access_key, function.to_owned());
    }

    /// The calls so far, from the `from`th on.
    #[must_use]
    pub fn calls(&self, from: usize) -> Vec<Call> {
        self.noted.lock().unwrap().calls.iter().skip(from).cloned().collect()
    }

    /// Calls that AWS did not allow.
    #[must_use]
    pub fn denied(&self) -> Vec<Refused> {
        let said = |text: &str| text.contains("AccessDenied") || text.contains("not authorized");
        self.noted.lock().unwrap().refused.iter().filter(|(.., text)| said(text)).cloned().collect()
    }
}

async fn pass(State(between): State<Between>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_MAX).await.unwrap();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let own = |name: &str| !OF_CONNECTION.contains(&name);
    let headers = parts.headers.iter().filter(|(n, _)| own(n.as_str())).map(|(n, v)| (n.as_str().to_owned(), text(v))).collect();
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let call = HttpRequest { method: parts.method, url: format!("{}{target}", between.to), headers, body };
    let key = access_key(&call);
    let function = between.noted.lock().unwrap().functions.get(&key).cloned().unwrap_or(key);
    let noted = Call::of(function, &call, &serde_json::from_slice(&call.body).unwrap_or(Value::Null));
    between.noted.lock().unwrap().calls.push(noted.clone());
    let mut response = http::Response::builder();
    let Ok(answer) = between.transport.send(call).await else {
        return response.status(502).body(axum::body::Body::empty()).unwrap();
    };
    if answer.status >= 400 {
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        between.noted.lock().unwrap().refused.push((noted, answer.status, said));
    }
    response = response.status(answer.status);
    for (name, value) in answer.headers.iter().filter(|(n, _)| own(n.as_str())) {
        response = response.header(name, value);
    }
    response.body(axum::body::Body::from(answer.body)).unwrap()
}
