//! The calls of AWS that the functions make: which operation, and which permissions it needs on which thing of the template.
//!
//! Must not: know who answers; the stand-in of AWS and the recorder before ministack both use it.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::http::HttpRequest;

/// A call as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who made it, such as `intake`.
    pub function: String,
    /// Such as `dynamodb:Query`. A batch or a transaction is one call.
    pub operation: String,
    /// What its role must allow: an action and, by its name in the template, what it is done to, such as `dynamodb:Query Table`.
    pub needs: BTreeSet<String>,
}

impl Call {
    /// What this request of a function asks of AWS.
    #[must_use]
    pub fn of(function: String, request: &HttpRequest, body: &Value) -> Call {
        let operation = operation(request);
        let needs = needs(&operation, body);
        Call { function, operation, needs }
    }
}

/// The access key that a request is signed with.
#[must_use]
pub fn access_key(request: &HttpRequest) -> String {
    let after = header(request, "authorization").split("Credential=").nth(1).unwrap_or_default();
    after.split('/').next().unwrap_or_default().to_owned()
}

fn header<'r>(request: &'r HttpRequest, name: &str) -> &'r str {
    request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default()
}

/// The operation of a request: `dynamodb:GetItem`.
#[must_use]
pub fn operation(request: &HttpRequest) -> String {
    let (service, name) = header(request, "x-amz-target").split_once('.').unwrap_or_default();
    let service = match service {
        "DynamoDB_20120810" => "dynamodb",
        "AmazonSQS" => "sqs",
        "AWSEvents" => "events",
        "AmazonSSM" => "ssm",
        other => other,
    };
    format!("{service}:{name}")
}

/// The name of a queue, whatever its address is.
#[must_use]
pub fn queue_of(body: &Value) -> &str {
    body["QueueUrl"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

/// What the template calls the queue of this name: `write-back-dead-letters` is `WriteBackDeadLetters`.
fn queue_in_template(name: &str) -> String {
    let name = name.strip_prefix("vesper-").unwrap_or(name);
    let (base, kind) = match name.strip_suffix("-dead-letters") {
        Some(base) => (base, "DeadLetters"),
        None => (name, "Queue"),
    };
    let upper = |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>();
    format!("{}{kind}", base.split('-').map(upper).collect::<String>())
}

/// What a call needs. A transaction needs the actions of its parts, a query of an index those of the index, and whoever reads
/// parameters below a path both the path and what stands there (Service Authorization Reference).
fn needs(operation: &str, body: &Value) -> BTreeSet<String> {
    let one = |need: String| BTreeSet::from([need]);
    match operation.split_once(':').unwrap_or_default() {
        ("dynamodb", "TransactWriteItems") => {
            let parts = body["TransactItems"].as_array().cloned().unwrap_or_default();
            let action = |part: &Value| match part.as_object().and_then(|p| p.keys().next()).map(String::as_str) {
                Some("ConditionCheck") => "dynamodb:ConditionCheckItem Table".to_owned(),
                Some(name) => format!("dynamodb:{name}Item Table"),
                None => "?".to_owned(),
            };
            parts.iter().map(action).collect()
        }
        ("dynamodb", _) => one(match body["IndexName"].as_str() {
            Some(index) => format!("{operation} Table/index/{index}"),
            None => format!("{operation} Table"),
        }),
        // A batch has no action of its own.
        ("sqs", _) => one(format!("{} {}", operation.trim_end_matches("Batch"), queue_in_template(queue_of(body)))),
        ("events", _) => one(format!("{operation} Bus")),
        ("ssm", _) => ["", "/*"].map(|end| format!("{operation} parameter/vesper/${{Practice}}{end}")).into(),
        _ => one(format!("{operation} ?")),
    }
}

/// What each function's calls need.
#[must_use]
pub fn needs_by_function(calls: &[Call]) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in calls {
        all.entry(call.function.clone()).or_default().extend(call.needs.iter().cloned());
    }
    all
}

/// How often each function makes each call.
#[must_use]
pub fn counted(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(format!("{} {}", call.function, call.operation)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn needed(operation: &str, body: &Value) -> Vec<String> {
        needs(operation, body).into_iter().collect()
    }

    #[test]
    fn a_call_needs_what_the_service_asks_for() {
        let url = |queue: &str| json!({"QueueUrl": format!("http://localhost:1/000000000000/{queue}")});
        let parts = json!({"TransactItems": [{"Put": {}}, {"ConditionCheck": {}}, {"Delete": {}}, {"Put": {}}]});
        let all = ["dynamodb:ConditionCheckItem Table", "dynamodb:DeleteItem Table", "dynamodb:PutItem Table"];
        assert_eq!(needed("dynamodb:TransactWriteItems", &parts), all);
        assert_eq!(needed("dynamodb:Query", &json!({"IndexName": "due"})), ["dynamodb:Query Table/index/due"]);
        assert_eq!(needed("dynamodb:GetItem", &json!({})), ["dynamodb:GetItem Table"]);
        assert_eq!(needed("sqs:SendMessageBatch", &url("vesper-write-back")), ["sqs:SendMessage WriteBackQueue"]);
        assert_eq!(needed("sqs:DeleteMessage", &url("books-dead-letters")), ["sqs:DeleteMessage BooksDeadLetters"]);
        assert_eq!(needed("events:PutEvents", &json!({})), ["events:PutEvents Bus"]);
        let parameters = needed("ssm:GetParametersByPath", &json!({"Path": "/vesper/p"}));
        assert!(parameters[0].ends_with("parameter/vesper/${Practice}") && parameters[1].ends_with("${Practice}/*"));
    }
}
