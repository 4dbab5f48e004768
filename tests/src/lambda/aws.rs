//! AWS in this process, over real HTTP: DynamoDB (the embedded engine), SQS, EventBridge and SSM, as far as the functions use
//! them. Every call is recorded under the function that made it (its access key), and any call can be struck by a fault.
//!
//! Must not: answer what AWS would refuse, or accept an operation that the functions do not need.

use super::calls::{self, Call, operation};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::http::{HttpRequest, HttpResponse, TransportError};
use vesper_standins::Handle;

/// The address of a queue begins with this.
pub const QUEUE_ORIGIN: &str = "http://sqs.standin.invalid/1/";

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not applied: throttled, in the words of the service.
    Throttled,
    /// Not applied: somebody else is in a transaction with the same rows. On calls other than writes of the table: throttled.
    Conflict,
    /// Not applied: 500.
    ServerError,
    /// Applied; 500 instead of the answer.
    ServerErrorAfter,
    /// Not applied; the connection breaks.
    LostBefore,
    /// Applied; the connection breaks before the answer.
    LostAfter,
    /// Of a batch, half is not taken; everything else is applied.
    HalfBatch,
}

/// A message on a queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The text.
    pub body: String,
    /// Visible after so many seconds.
    pub delay_s: u64,
    /// How often it was received.
    pub receives: u32,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<String, VecDeque<Message>>,
    bus: Vec<(String, Value)>,
    parameters: BTreeMap<String, String>,
    calls: Vec<Call>,
    count: u64,
    fault: Option<(u64, Fault)>,
    struck: bool,
    /// Every text that ever stood on a queue or the bus.
    seen: Vec<String>,
}

/// See the module.
#[derive(Clone)]
pub struct AwsStandin {
    engine: Engine,
    state: Arc<Mutex<State>>,
}

type Answer = (u16, String);

fn refused(code: &str) -> Answer {
    (400, json!({ "__type": code, "message": "the stand-in says so" }).to_string())
}

/// The queue of the request's address, which is one of this account.
fn queue_of(body: &Value) -> String {
    calls::queue_of(body).to_owned()
}

impl AwsStandin {
    /// An empty account with these parameters.
    #[must_use]
    pub fn new(parameters: BTreeMap<String, String>) -> AwsStandin {
        let state = State { parameters, ..State::default() };
        AwsStandin { engine: Engine::memory().unwrap(), state: Arc::new(Mutex::new(state)) }
    }

    /// The engine behind DynamoDB.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on the `n`th call (from 1) is struck, once.
    pub fn strike(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.count + n, fault));
        state.struck = false;
    }

    /// Whether the fault has struck.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.state().struck
    }

    /// The calls since the last look.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// Takes up to `most` visible messages of a queue; each counts as received.
    #[must_use]
    pub fn receive(&self, queue: &str, most: usize) -> Vec<Message> {
        let mut state = self.state();
        let Some(messages) = state.queues.get_mut(queue) else { return Vec::new() };
        let (visible, later): (Vec<_>, Vec<_>) = std::mem::take(messages).into_iter().partition(|m| m.delay_s == 0);
        let mut visible = VecDeque::from(visible);
        let mut taken: Vec<Message> = (0..most).filter_map(|_| visible.pop_front()).collect();
        messages.extend(visible.into_iter().chain(later));
        taken.iter_mut().for_each(|m| m.receives += 1);
        taken
    }

    /// A message goes (back) onto a queue.
    pub fn put(&self, queue: &str, message: Message) {
        self.state().queues.entry(queue.to_owned()).or_default().push_back(message);
    }

    /// Time passes: what was sent with a delay is visible.
    pub fn release_delayed(&self) {
        self.state().queues.values_mut().flatten().for_each(|m| m.delay_s = 0);
    }

    /// What stands on a queue.
    #[must_use]
    pub fn queued(&self, queue: &str) -> Vec<Message> {
        self.state().queues.get(queue).map(|q| q.iter().cloned().collect()).unwrap_or_default()
    }

    /// The events on the bus since the last look: name and detail.
    #[must_use]
    pub fn take_events(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.state().bus)
    }

    /// Every text that ever stood on a queue or the bus.
    #[must_use]
    pub fn seen(&self) -> String {
        self.state().seen.join("\n")
    }

    /// A parameter is replaced.
    pub fn set_parameter(&self, name: &str, value: &str) {
        self.state().parameters.insert(name.to_owned(), value.to_owned());
    }

    /// A parameter as it stands.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.state().parameters.get(name).cloned()
    }

    /// A parameter goes; whether it was there.
    pub fn remove_parameter(&self, name: &str) -> bool {
        self.state().parameters.remove(name).is_some()
    }

    /// The names of all parameters.
    #[must_use]
    pub fn parameter_names(&self) -> Vec<String> {
        self.state().parameters.keys().cloned().collect()
    }

    fn apply(&self, operation: &str, body: &Value, raw: &[u8], half: bool) -> Answer {
        match operation.split_once(':').unwrap_or_default() {
            ("dynamodb", name) => self.engine.answer(name, raw),
            ("sqs", "SendMessage") => self.send(&queue_of(body), body),
            ("sqs", "SendMessageBatch") => self.send_batch(body, half),
            ("sqs", "ReceiveMessage") => self.receive_over_wire(body),
            ("sqs", "DeleteMessage") => (200, "{}".to_owned()), // A receipt deletes what was taken; see `receive_over_wire`.
            ("events", "PutEvents") => self.put_events(body, half),
            ("ssm", "GetParametersByPath") => self.parameters(body),
            _ => refused("UnknownOperationException"),
        }
    }

    fn send(&self, queue: &str, entry: &Value) -> Answer {
        let mut state = self.state();
        let id = format!("m-{}", state.count);
        let text = entry["MessageBody"].as_str().unwrap_or_default().to_owned();
        let delay_s = entry["DelaySeconds"].as_u64().unwrap_or(0);
        if delay_s > 900 || text.is_empty() {
            return refused("InvalidParameterValue");
        }
        state.seen.push(text.clone());
        let message = Message { id: id.clone(), body: text, delay_s, receives: 0 };
        state.queues.entry(queue.to_owned()).or_default().push_back(message);
        (200, json!({ "MessageId": id, "MD5OfMessageBody": "" }).to_string())
    }

    fn send_batch(&self, body: &Value, half: bool) -> Answer {
        let entries = body["Entries"].as_array().cloned().unwrap_or_default();
        if entries.is_empty() || entries.len() > 10 {
            return refused("TooManyEntriesInBatchRequest");
        }
        let (mut taken, mut failed) = (Vec::new(), Vec::new());
        for (n, entry) in entries.iter().enumerate() {
            if half && n % 2 == 0 {
                failed.push(json!({ "Id": entry["Id"], "SenderFault": false, "Code": "InternalError" }));
            } else {
                let _ = self.send(&queue_of(body), entry);
                taken.push(json!({ "Id": entry["Id"], "MessageId": format!("b-{n}"), "MD5OfMessageBody": "" }));
            }
        }
        (200, json!({ "Successful": taken, "Failed": failed }).to_string())
    }

    /// Dead-letter queues only: what is received is gone, as after a delete that always comes.
    fn receive_over_wire(&self, body: &Value) -> Answer {
        let taken = self.receive(&queue_of(body), 10);
        let message = |m: &Message| json!({ "MessageId": m.id, "ReceiptHandle": m.id, "Body": m.body });
        (200, json!({ "Messages": taken.iter().map(message).collect::<Vec<_>>() }).to_string())
    }

    fn put_events(&self, body: &Value, half: bool) -> Answer {
        let entries = body["Entries"].as_array().cloned().unwrap_or_default();
        let mut answers = Vec::new();
        for (n, entry) in entries.iter().enumerate() {
            if half && n % 2 == 0 {
                answers.push(json!({ "ErrorCode": "ThrottlingException", "ErrorMessage": "later" }));
                continue;
            }
            let detail = entry["Detail"].as_str().unwrap_or_default();
            let mut state = self.state();
            state.seen.push(detail.to_owned());
            let name = entry["DetailType"].as_str().unwrap_or_default().to_owned();
            state.bus.push((name, serde_json::from_str(detail).unwrap()));
            answers.push(json!({ "EventId": format!("e-{n}") }));
        }
        let failed = answers.iter().filter(|a| a["ErrorCode"].is_string()).count();
        (200, json!({ "FailedEntryCount": failed, "Entries": answers }).to_string())
    }

    /// Three at a time, so that the pages are followed.
    fn parameters(&self, body: &Value) -> Answer {
        let path = format!("{}/", body["Path"].as_str().unwrap_or_default());
        let from: usize = body["NextToken"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
        let state = self.state();
        let below: Vec<_> = state.parameters.iter().filter(|(name, _)| name.starts_with(&path)).collect();
        let page = below.iter().skip(from).take(3);
        let page: Vec<Value> =
            page.map(|(n, v)| json!({ "Name": n, "Type": "SecureString", "Value": v, "Version": 1 })).collect();
        let next = (from + 3 < below.len()).then(|| (from + 3).to_string());
        (200, json!({ "Parameters": page, "NextToken": next }).to_string())
    }

    /// Counts and records the call; the fault that strikes it, if one does.
    fn record(&self, request: &HttpRequest, body: &Value) -> Option<Fault> {
        let mut state = self.state();
        state.calls.push(Call::of(calls::access_key(request), request, body));
        state.count += 1;
        let (at, fault) = state.fault?;
        let strikes = state.count == at;
        state.struck |= strikes;
        strikes.then_some(fault)
    }
}

fn throttled(operation: &str) -> Answer {
    refused(match operation.split(':').next() {
        Some("dynamodb") => "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        Some("sqs") => "com.amazonaws.sqs#RequestThrottled",
        _ => "ThrottlingException",
    })
}

fn conflict(operation: &str, body: &Value) -> Answer {
    match operation {
        "dynamodb:TransactWriteItems" => {
            let parts = body["TransactItems"].as_array().map_or(0, Vec::len);
            let reason = json!({ "Code": "TransactionConflict", "Message": "Transaction is ongoing for the item" });
            let body = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons [TransactionConflict]",
                "CancellationReasons": vec![reason; parts],
            });
            (400, body.to_string())
        }
        "dynamodb:PutItem" | "dynamodb:DeleteItem" => refused("com.amazonaws.dynamodb.v20120810#TransactionConflictException"),
        other => throttled(other),
    }
}

impl Handle for AwsStandin {
    fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let operation = operation(request);
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let broken = || (500, json!({ "__type": "InternalServerError" }).to_string());
        let done = |half| self.apply(&operation, &body, &request.body, half);
        let (status, text) = match self.record(request, &body) {
            None => done(false),
            Some(Fault::Throttled) => throttled(&operation),
            Some(Fault::Conflict) => conflict(&operation, &body),
            Some(Fault::ServerError) => broken(),
            Some(Fault::ServerErrorAfter) => {
                let _ = done(false);
                broken()
            }
            Some(Fault::LostBefore) => return Err(TransportError::NotSent),
            Some(Fault::LostAfter) => {
                let _ = done(false);
                return Err(TransportError::OutcomeUnknown);
            }
            Some(Fault::HalfBatch) => done(true),
        };
        let headers = vec![("content-type".to_owned(), "application/x-amz-json-1.0".to_owned())];
        Ok(HttpResponse { status, headers, body: Bytes::from(text) })
    }
}
