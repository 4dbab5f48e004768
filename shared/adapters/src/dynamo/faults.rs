//! Faults for the tests: a connector round another that throttles, conflicts, breaks before or after the call was applied,
//! and answers index queries from a state some writes old. dynoxide does none of this by itself (facts/aws-local.md).
//!
//! Must not: be used outside tests and test tools, or invent an answer that DynamoDB does not give.

use super::{
    client::client_with_attempts,
    embedded::{Engine, EngineError, body_of, is_write, operation_of, refuse, response},
};
use aws_sdk_dynamodb::Client;
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not applied: ProvisionedThroughputExceededException.
    Throttled,
    /// Not applied: TransactionConflict. Strikes writes of items only.
    TransactionConflict,
    /// Not applied: 500.
    ServerError,
    /// Not applied: no connection.
    NoConnection,
    /// Applied; the connection breaks before the answer.
    LostAnswer,
    /// Applied; 500 instead of the answer.
    ServerErrorAfter,
    /// A BatchGetItem answers half of its keys and gives the others back as unprocessed. Strikes BatchGetItem only.
    HalfBatch,
}

/// Which calls a script counts. Each try of the SDK is a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// All.
    Any,
    /// All that write items.
    Writes,
    /// All that read.
    Reads,
    /// All of one operation, such as `PutItem`.
    Operation(&'static str),
}

impl Target {
    fn names(&self, operation: &str) -> bool {
        match self {
            Target::Any => true,
            Target::Writes => writes_items(operation),
            Target::Reads => !is_write(operation),
            Target::Operation(name) => *name == operation,
        }
    }
}

/// Which of the counted calls the fault strikes, from 1, counted from when the script was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This one.
    Call(u64),
    /// This one and all after it: a process that has died, a region that is down.
    From(u64),
    /// One in so many, chosen by partition and by the how-many-eth call on it: so the order in which tasks reach the table
    /// does not matter. A partition that was struck twice running is spared once: three tries of the SDK get through.
    OneIn {
        /// Another seed chooses others.
        seed: u64,
        /// One in so many calls.
        n: u64,
    },
}

/// The call that is to be struck or not.
struct Counted<'c> {
    /// How many calls a script has counted.
    count: u64,
    operation: &'c str,
    partition: &'c str,
    /// How many calls of this operation there were on the partition.
    on_partition: u64,
    spared: bool,
}

impl When {
    fn strikes(self, call: &Counted<'_>) -> bool {
        match self {
            When::Call(k) => call.count == k,
            When::From(k) => call.count >= k,
            When::OneIn { seed, n } => {
                let mut hasher = DefaultHasher::new();
                (seed, n, call.operation, call.partition, call.on_partition).hash(&mut hasher);
                n > 0 && !call.spared && hasher.finish().is_multiple_of(n)
            }
        }
    }
}

/// A connector round another, with scripts. Clones share them.
#[derive(Debug, Clone)]
pub struct Faults {
    inner: SharedHttpClient,
    state: Arc<Mutex<State>>,
    lag: Option<Arc<Lag>>,
}

#[derive(Debug, Default)]
struct State {
    calls: BTreeMap<String, u64>,
    scripts: Vec<Script>,
    /// By operation and partition: how many calls, and how many of the last ones were struck.
    partitions: BTreeMap<(String, String), (u64, u32)>,
    /// Tokens of transactions that were applied without an answer: their repeats succeed, and never conflict.
    applied: BTreeSet<String>,
}

#[derive(Debug)]
struct Script {
    target: Target,
    when: When,
    fault: Fault,
    count: u64,
}

/// A second database that follows the first `behind` writes later.
#[derive(Debug)]
struct Lag {
    follower: Engine,
    behind: usize,
    /// Writes not yet applied to the follower. Locked through each write, so that they are in the order of their commits.
    waiting: tokio::sync::Mutex<VecDeque<HttpRequest>>,
}

impl Faults {
    /// No faults yet.
    #[must_use]
    pub fn over(inner: SharedHttpClient) -> Self {
        Self { inner, state: Arc::default(), lag: None }
    }

    /// No faults yet, but index queries are answered from the state `behind` writes ago, stale entries and all. `inner`
    /// must be empty: the table has to be created through this connector.
    ///
    /// # Errors
    /// [`EngineError`] if there is no second database in memory.
    pub fn over_with_lag(inner: SharedHttpClient, behind: usize) -> Result<Self, EngineError> {
        let lag = Lag { follower: Engine::memory()?, behind, waiting: tokio::sync::Mutex::default() };
        Ok(Self { lag: Some(Arc::new(lag)), ..Self::over(inner) })
    }

    /// Adds a script. Every script counts every call of its target; the first that strikes decides.
    pub fn script(&self, target: Target, when: When, fault: Fault) {
        self.state().scripts.push(Script { target, when, fault, count: 0 });
    }

    /// Removes all scripts and sets the counts of calls to 0.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    /// How many calls of the target there were, struck ones included.
    #[must_use]
    pub fn calls(&self, target: &Target) -> u64 {
        self.state().calls.iter().filter(|(operation, _)| target.names(operation)).map(|(_, n)| n).sum()
    }

    /// The HTTP client that the SDK is given.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// An SDK client through this connector that tries `attempts` times: 1 for a crash sweep, where every fault must
    /// reach the caller.
    #[must_use]
    pub fn client(&self, attempts: u32) -> Client {
        client_with_attempts(self.http_client(), attempts)
    }

    /// Lets the indexes catch up with all writes so far, as real ones do within a second or so.
    ///
    /// # Errors
    /// [`ConnectorError`] of the second database.
    pub async fn catch_up(&self) -> Result<(), ConnectorError> {
        let Some(lag) = &self.lag else { return Ok(()) };
        lag.follow(&mut *lag.waiting.lock().await, 0).await
    }

    /// Counts the call and finds what strikes it.
    fn strike(&self, operation: &str, partition: &str) -> Option<Fault> {
        let mut state = self.state();
        let state = &mut *state;
        let calls = state.calls.entry(operation.to_owned()).or_default();
        *calls = calls.saturating_add(1);
        let (on_partition, in_a_row) = state.partitions.entry((operation.to_owned(), partition.to_owned())).or_default();
        *on_partition = on_partition.saturating_add(1);
        let spared = *in_a_row >= STRUCK_IN_A_ROW_MAX;
        let mut struck = None;
        for script in
            state.scripts.iter_mut().filter(|script| script.target.names(operation) && script.fault.can_strike(operation))
        {
            script.count = script.count.saturating_add(1);
            let call = Counted { count: script.count, operation, partition, on_partition: *on_partition, spared };
            if struck.is_none() && script.when.strikes(&call) {
                struck = Some(script.fault);
            }
        }
        *in_a_row = if struck.is_some() { in_a_row.saturating_add(1) } else { 0 };
        struck
    }

    async fn answer(&self, inner: &SharedHttpConnector, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let operation = operation_of(&request).to_owned();
        let partition = partition_of(body_of(&request)?);
        let token = token_of(body_of(&request)?);
        let fault = self.strike(&operation, &partition);
        if matches!(fault, Some(Fault::LostAnswer | Fault::ServerErrorAfter)) {
            self.state().applied.extend(token.clone());
        }
        let is_repeat = token.is_some_and(|token| self.state().applied.contains(&token));
        match fault {
            None => self.apply(inner, &operation, request).await,
            Some(Fault::TransactionConflict) if is_repeat => self.apply(inner, &operation, request).await,
            Some(Fault::Throttled) => {
                let (status, body) = refuse(THROTTLED, "scripted");
                response(status, body)
            }
            Some(Fault::TransactionConflict) => response(400, conflict(&operation, body_of(&request)?)),
            Some(Fault::ServerError) => response(500, server_error()),
            Some(Fault::NoConnection) => Err(ConnectorError::io("scripted: no connection".into())),
            Some(Fault::LostAnswer) => {
                self.apply(inner, &operation, request).await?;
                Err(ConnectorError::io("scripted: answer lost".into()))
            }
            Some(Fault::ServerErrorAfter) => {
                self.apply(inner, &operation, request).await?;
                response(500, server_error())
            }
            Some(Fault::HalfBatch) => half_batch(inner, request).await,
        }
    }

    /// Carries the call out, with the lag if there is one.
    async fn apply(
        &self,
        inner: &SharedHttpConnector,
        operation: &str,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let Some(lag) = &self.lag else { return inner.call(request).await };
        if operation == "Query" && names_an_index(body_of(&request)?) {
            return lag.follower.call(request).await;
        }
        if !is_write(operation) {
            return inner.call(request).await;
        }
        let mut waiting = lag.waiting.lock().await;
        let copy = request.try_clone().ok_or_else(|| ConnectorError::user("a streamed body".into()))?;
        let answer = inner.call(request).await?;
        if answer.status().is_success() {
            if writes_items(operation) {
                waiting.push_back(copy);
                lag.follow(&mut waiting, lag.behind).await?;
            } else {
                // Creating the table is nothing that lags.
                lag.follower.call(copy).await?;
            }
        }
        Ok(answer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lag {
    /// Applies waiting writes to the follower until `behind` are left. Each was applied to the first database in this
    /// order, so its conditions hold here too.
    async fn follow(&self, waiting: &mut VecDeque<HttpRequest>, behind: usize) -> Result<(), ConnectorError> {
        while waiting.len() > behind {
            let Some(write) = waiting.pop_front() else { break };
            let answer = self.follower.call(write).await?;
            if !answer.status().is_success() {
                return Err(ConnectorError::user("the lagging copy has lost its way".into()));
            }
        }
        Ok(())
    }
}

impl Fault {
    fn can_strike(self, operation: &str) -> bool {
        match self {
            Fault::TransactionConflict => writes_items(operation),
            Fault::HalfBatch => operation == "BatchGetItem",
            _ => true,
        }
    }
}

impl HttpClient for Faults {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(FaultsConnector { faults: self.clone(), inner: self.inner.http_connector(settings, components) })
    }
}

#[derive(Debug)]
struct FaultsConnector {
    faults: Faults,
    inner: SharedHttpConnector,
}

impl HttpConnector for FaultsConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (faults, inner) = (self.faults.clone(), self.inner.clone());
        HttpConnectorFuture::new(async move { faults.answer(&inner, request).await })
    }
}

/// After so many strikes running on one partition its next call is spared by [`When::OneIn`].
const STRUCK_IN_A_ROW_MAX: u32 = 2;
const THROTTLED: &str = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";

fn writes_items(operation: &str) -> bool {
    matches!(operation, "PutItem" | "DeleteItem" | "TransactWriteItems")
}

/// The partition that a call is about. Of several the greatest: keys of audit records, which are random, are small.
fn partition_of(body: &[u8]) -> String {
    fn collect(value: &Value, found: &mut String) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let text = value.get("S").and_then(Value::as_str).filter(|_| matches!(name.as_str(), "pk" | ":pk" | ":p"));
                    match text {
                        Some(text) if text > found.as_str() => text.clone_into(found),
                        Some(_) => {}
                        None => collect(value, found),
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = String::new();
    collect(&serde_json::from_slice(body).unwrap_or_default(), &mut found);
    found
}

/// What makes repeats of a transaction one: its ClientRequestToken.
fn token_of(body: &[u8]) -> Option<String> {
    let request: Value = serde_json::from_slice(body).ok()?;
    Some(request.get("ClientRequestToken")?.as_str()?.to_owned())
}

fn names_an_index(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|query| query.get("IndexName").is_some())
}

fn server_error() -> String {
    json!({ "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "scripted" }).to_string()
}

/// A transaction names the part that conflicts; a single write has an error of its own.
fn conflict(operation: &str, body: &[u8]) -> String {
    if operation != "TransactWriteItems" {
        return refuse("com.amazonaws.dynamodb.v20120810#TransactionConflictException", "scripted").1;
    }
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let parts = request.get("TransactItems").and_then(Value::as_array).map_or(1, Vec::len);
    let reason = |n| json!({ "Code": if n == 0 { "TransactionConflict" } else { "None" } });
    json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "scripted",
        "CancellationReasons": (0..parts).map(reason).collect::<Vec<_>>(),
    })
    .to_string()
}

/// Asks for the first half of the keys and gives the others back as unprocessed; of one key none is answered.
async fn half_batch(inner: &SharedHttpConnector, mut request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let wrong = || ConnectorError::user("not a batch read".into());
    let mut asked: Value = serde_json::from_slice(body_of(&request)?).map_err(|_| wrong())?;
    let mut left = asked.get("RequestItems").cloned().ok_or_else(wrong)?;
    let mut any_asked = false;
    for (table, keys) in asked.get_mut("RequestItems").and_then(Value::as_object_mut).ok_or_else(wrong)? {
        let keys = keys.get_mut("Keys").and_then(Value::as_array_mut).ok_or_else(wrong)?;
        let second_half = keys.split_off(keys.len() / 2);
        any_asked |= !keys.is_empty();
        *left.get_mut(table).and_then(|t| t.get_mut("Keys")).ok_or_else(wrong)? = Value::Array(second_half);
    }
    if !any_asked {
        return response(200, json!({ "Responses": {}, "UnprocessedKeys": left }).to_string());
    }
    *request.body_mut() = SdkBody::from(asked.to_string());
    let answer = inner.call(request).await?;
    let mut answered: Value = serde_json::from_slice(answer.body().bytes().unwrap_or_default()).map_err(|_| wrong())?;
    answered.as_object_mut().ok_or_else(wrong)?.insert("UnprocessedKeys".to_owned(), left);
    response(answer.status().as_u16(), answered.to_string())
}
