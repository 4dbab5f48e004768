//! A Lambda Runtime API for one process of one function, as the service has it
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>): the process asks for the next event, and posts its answer.

use crate::measure::{Usage, usage_at_rest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{self, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

/// How long an answer may take beyond the function's time, on a machine under load, in milliseconds.
const GRACE_MS: u64 = 20_000;

/// What became of an invocation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The function answered.
    Answered(Value),
    /// The function reported an error.
    Failed(Value),
    /// No answer came in its time, or the process ended; the process is killed, as Lambda does.
    Died,
}

impl Outcome {
    /// The answer.
    #[must_use]
    pub fn answer(self) -> Value {
        match self {
            Outcome::Answered(value) => value,
            other => panic!("no answer: {other:?}"),
        }
    }
}

struct Invocation {
    id: u64,
    payload: String,
    deadline_ms: u64,
}

#[derive(Default)]
struct Waiting(Mutex<BTreeMap<u64, oneshot::Sender<Outcome>>>);

#[derive(Clone)]
struct Host {
    next: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>>,
    waiting: Arc<Waiting>,
    /// How often the process asked for the next event.
    asked: Arc<watch::Sender<u64>>,
}

impl Host {
    fn tell(&self, id: u64, outcome: Outcome) {
        if let Some(who) = self.waiting.0.lock().unwrap().remove(&id) {
            let _ = who.send(outcome);
        }
    }
}

async fn next(State(host): State<Host>) -> Response<axum::body::Body> {
    host.asked.send_modify(|n| *n += 1);
    let Some(invocation) = host.next.lock().await.recv().await else {
        return Response::builder().status(StatusCode::GONE).body(axum::body::Body::empty()).unwrap();
    };
    Response::builder()
        .header("lambda-runtime-aws-request-id", invocation.id.to_string())
        .header("lambda-runtime-deadline-ms", invocation.deadline_ms.to_string())
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:standin")
        .header("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000")
        .body(axum::body::Body::from(invocation.payload))
        .unwrap()
}

async fn response(State(host): State<Host>, extract::Path(id): extract::Path<u64>, body: Bytes) -> StatusCode {
    host.tell(id, Outcome::Answered(serde_json::from_slice(&body).unwrap_or(Value::Null)));
    StatusCode::ACCEPTED
}

async fn error(State(host): State<Host>, extract::Path(id): extract::Path<u64>, body: Bytes) -> StatusCode {
    host.tell(id, Outcome::Failed(serde_json::from_slice(&body).unwrap_or(Value::Null)));
    StatusCode::ACCEPTED
}

/// The binary of a function of this build. A test that needs it fails where it was not built before.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let mut path = crate::harness::process::binary();
    path.set_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is not there: run `cargo build --workspace --all-features --bins`", path.display());
    path
}

/// A running process of a function, and the Runtime API that it talks to. Dropping it kills the process.
pub struct Process {
    child: Child,
    send: mpsc::UnboundedSender<Invocation>,
    waiting: Arc<Waiting>,
    count: u64,
    asked: watch::Receiver<u64>,
    _stop: oneshot::Sender<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a cold process with this environment and no other; its log lines go to `log`.
    pub async fn start(function: &str, environment: &BTreeMap<String, String>, log: std::fs::File) -> Process {
        Process::start_at(&binary(function), function, environment, log).await
    }

    /// The same, of a binary that was built otherwise.
    pub async fn start_at(binary: &Path, function: &str, environment: &BTreeMap<String, String>, log: std::fs::File) -> Process {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (send, receive) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let (tell_asked, asked) = watch::channel(0);
        let next_one = Arc::new(tokio::sync::Mutex::new(receive));
        let host = Host { next: next_one, waiting: Arc::clone(&waiting), asked: Arc::new(tell_asked) };
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(host);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = axum::serve(listener, app);
        tokio::spawn(async move {
            tokio::select! { _ = stopped => {}, _ = server.into_future() => {} }
        });
        let mut command = Command::new(binary);
        command.env_clear().envs(environment).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.env("AWS_LAMBDA_RUNTIME_API", address.to_string()).env("AWS_LAMBDA_FUNCTION_NAME", function);
        command.env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST").env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
        command.env("AWS_LAMBDA_LOG_GROUP_NAME", "g").env("AWS_LAMBDA_LOG_STREAM_NAME", "s");
        let child = command.spawn().unwrap();
        Process { child, send, waiting, count: 0, asked, _stop: stop }
    }

    /// One event, which the function may work on for so long.
    pub async fn invoke(&mut self, payload: &Value, within_ms: u64) -> Outcome {
        self.count += 1;
        let (tell, told) = oneshot::channel();
        self.waiting.0.lock().unwrap().insert(self.count, tell);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let deadline_ms = u64::try_from(now_ms).unwrap() + within_ms;
        let invocation = Invocation { id: self.count, payload: payload.to_string(), deadline_ms };
        self.send.send(invocation).unwrap();
        match tokio::time::timeout(Duration::from_millis(within_ms + GRACE_MS), told).await {
            Ok(Ok(outcome)) => outcome,
            _ => {
                let _ = self.child.kill();
                Outcome::Died
            }
        }
    }

    /// How many events it was sent.
    #[must_use]
    pub fn invocations(&self) -> u64 {
        self.count
    }

    /// Waits until the process has nothing to do: started, or done with what it was sent. What it used until then.
    pub async fn at_rest(&mut self) -> Usage {
        let asked = self.count + 1;
        let waiting = self.asked.wait_for(|n| *n >= asked);
        let _ = tokio::time::timeout(Duration::from_millis(GRACE_MS), waiting).await.expect("the process asks for work").unwrap();
        usage_at_rest(self.child.id())
    }
}
