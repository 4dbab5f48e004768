//! The embedded engine: DynamoDB's behaviour over one SQLite file (or memory) in this process, reached by the real SDK
//! through an HTTP connector without a socket (facts/aws-local.md). For `vesper serve`, the demo and the tests.
//!
//! Durability: dynoxide opens the file in WAL mode and leaves `synchronous` at SQLite's built-in value, FULL: each commit is
//! synced before it is answered. [`Engine::open`] reads both settings from such a connection and refuses anything weaker.
//! Must not: be in a Lambda, use dynoxide's bulk loading (it lowers `synchronous`), or wait for a disk on an async thread.

use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError, storage::Storage};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the header `x-amz-target` begins with.
const TARGET_PREFIX: &str = "DynamoDB_20120810.";
/// `PRAGMA synchronous` of FULL (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
const SYNCHRONOUS_FULL: i64 = 2;

/// The engine could not be opened or swept.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The path is not UTF-8, or it would be read as an SQLite URI.
    #[error("not a usable path for the store: {}", .0.display())]
    Path(PathBuf),
    /// There is no such file, and it was to be read only.
    #[error("there is no store at {}", .0.display())]
    Missing(PathBuf),
    /// Not a database, from a newer release, locked for too long, no room.
    #[error("the store could not be opened or used: {0}")]
    Database(String),
    /// This build of SQLite would not sync each commit.
    #[error("this build's SQLite is not durable: journal_mode {journal_mode}, synchronous {synchronous}")]
    NotDurable {
        /// Must be `wal`.
        journal_mode: String,
        /// Must be at least 2 (FULL).
        synchronous: i64,
    },
}

/// The engine. Clones share one database; the file is closed with the last clone and the last client on it.
#[derive(Clone)]
pub struct Engine {
    db: Database,
    read_only: bool,
    in_memory: bool,
    calls: Arc<AtomicU64>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("read_only", &self.read_only).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens or creates the file. Blocks (up to 30 s while another process brings the file up to date).
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let text = path.to_str().filter(|text| !text.starts_with("file:") && !text.starts_with(':') && !text.is_empty());
        let text = text.ok_or_else(|| EngineError::Path(path.to_owned()))?;
        check_durability(text)?;
        Ok(Self { db: Database::new(text).map_err(database)?, read_only: false, in_memory: false, calls: Arc::default() })
    }

    /// Opens an existing file for reading, also beside a process that writes it. dynoxide cannot open a file read-only (it
    /// takes the write lock for a moment to look for migrations), so the file is opened as ever, and every call that
    /// writes is refused with `AccessDeniedException`, a [`super::failure::StoreError::Bug`].
    ///
    /// # Errors
    /// [`EngineError`], [`EngineError::Missing`] if there is no file.
    pub fn open_read_only(path: &Path) -> Result<Self, EngineError> {
        if !path.is_file() {
            return Err(EngineError::Missing(path.to_owned()));
        }
        Ok(Self { read_only: true, ..Self::open(path)? })
    }

    /// An empty database in memory.
    ///
    /// # Errors
    /// [`EngineError::Database`].
    pub fn memory() -> Result<Self, EngineError> {
        Ok(Self { db: Database::memory().map_err(database)?, read_only: false, in_memory: true, calls: Arc::default() })
    }

    /// Whether all of it ends with this process.
    #[must_use]
    pub const fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// How many calls were answered so far: what a use case costs.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The HTTP client that the SDK is given (see [`super::client::client_on`]). Calls need a tokio runtime.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Deletes the rows whose TTL is over by the system clock, and says how many. The engine never does so on its own.
    /// Blocks.
    ///
    /// # Errors
    /// [`EngineError::Database`].
    pub fn sweep_expired(&self) -> Result<usize, EngineError> {
        self.db.sweep_ttl().map_err(database)
    }

    /// One call: the status and the JSON body of the answer. Blocks.
    #[must_use]
    pub fn answer(&self, operation: &str, body: &[u8]) -> (u16, String) {
        let db = &self.db;
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.read_only && is_write(operation) {
            return refuse("com.amazonaws.dynamodb.v20120810#AccessDeniedException", "the store is open for reading only");
        }
        match operation {
            "BatchGetItem" => run(body, |q| db.batch_get_item(q)),
            "CreateTable" => run(body, |q| db.create_table(q)),
            "DeleteItem" => run(body, |q| db.delete_item(q)),
            "DescribeTable" => run(body, |q| db.describe_table(q)),
            "GetItem" => run(body, |q| db.get_item(q)),
            "PutItem" => run(body, |q| db.put_item(q)),
            "Query" => run(body, |q| db.query(q)),
            "Scan" => run(body, |q| db.scan(q)),
            "TransactWriteItems" => run(body, |q| db.transact_write_items(q)),
            "UpdateTimeToLive" => run(body, |q| db.update_time_to_live(q)),
            _ => refuse("com.amazon.coral.service#UnknownOperationException", "not served by the embedded engine"),
        }
    }
}

impl HttpClient for Engine {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Engine {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let engine = self.clone();
        HttpConnectorFuture::new(async move {
            let operation = operation_of(&request).to_owned();
            if engine.in_memory {
                // It waits for nothing, and another thread costs more than most calls do. Others come between, as on AWS.
                tokio::task::yield_now().await;
                let (status, body) = engine.answer(&operation, body_of(&request)?);
                return response(status, body);
            }
            let body = body_of(&request)?.to_vec();
            let answer = tokio::task::spawn_blocking(move || engine.answer(&operation, &body)).await;
            let (status, body) = answer.map_err(|e| ConnectorError::other(e.into(), None))?;
            response(status, body)
        })
    }
}

/// The operation that a request of the SDK names; empty if none.
pub(super) fn operation_of(request: &HttpRequest) -> &str {
    request.headers().get("x-amz-target").and_then(|target| target.strip_prefix(TARGET_PREFIX)).unwrap_or_default()
}

/// The JSON body of a request of the SDK, which is never a stream.
pub(super) fn body_of(request: &HttpRequest) -> Result<&[u8], ConnectorError> {
    request.body().bytes().ok_or_else(|| ConnectorError::user("a streamed body".into()))
}

/// An answer as the SDK expects it.
pub(super) fn response(status: u16, body: String) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(status).map_err(|e| ConnectorError::user(e.into()))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}

/// An error answer: DynamoDB's type and a text.
pub(super) fn refuse(error_type: &str, message: &str) -> (u16, String) {
    (400, serde_json::json!({ "__type": error_type, "message": message }).to_string())
}

/// Whether an operation changes the table.
pub(super) fn is_write(operation: &str) -> bool {
    !matches!(operation, "BatchGetItem" | "DescribeTable" | "GetItem" | "Query" | "Scan")
}

fn run<Q: DeserializeOwned, A: Serialize>(body: &[u8], call: impl FnOnce(Q) -> dynoxide::Result<A>) -> (u16, String) {
    let done = serde_json::from_slice(body).map_err(|e| unreadable(&e)).and_then(call);
    let written = done.and_then(|a| serde_json::to_string(&a).map_err(|e| DynoxideError::InternalServerError(e.to_string())));
    match written {
        Ok(body) => (200, body),
        Err(e) => (e.status_code(), e.to_json()),
    }
}

/// dynoxide's request types mark what DynamoDB calls a validation error by a prefix of the message (its serde_errors.rs).
fn unreadable(error: &serde_json::Error) -> DynoxideError {
    let text = error.to_string();
    for prefix in ["VALIDATION:", "VALIDATION_REQUEST:", "VALIDATION_AS_READ:"] {
        if let Some(message) = text.strip_prefix(prefix) {
            return DynoxideError::ValidationException(message.to_owned());
        }
    }
    DynoxideError::SerializationException(text)
}

/// Opens the file as dynoxide does and reads what its connection would do at a commit.
fn check_durability(path: &str) -> Result<(), EngineError> {
    let storage = Storage::new(path).map_err(database)?;
    let read = |e| database(DynoxideError::SqliteError(e));
    let journal_mode: String = storage.conn().query_row("PRAGMA journal_mode", [], |r| r.get(0)).map_err(read)?;
    let synchronous: i64 = storage.conn().query_row("PRAGMA synchronous", [], |r| r.get(0)).map_err(read)?;
    if journal_mode != "wal" || synchronous < SYNCHRONOUS_FULL {
        return Err(EngineError::NotDurable { journal_mode, synchronous });
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn database(error: DynoxideError) -> EngineError {
    EngineError::Database(error.to_string())
}
