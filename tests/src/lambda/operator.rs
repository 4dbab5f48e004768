//! AWS as the person who looks after a stack meets it: besides what the functions call, CloudFormation's description, parameters
//! that are stored, the table's backups and tags, and the depth of queues.
//!
//! Must not: accept an operation that no command needs.

use super::aws::{AwsStandin, QUEUE_ORIGIN};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use vesper_adapters::http::{HttpRequest, HttpResponse, TransportError};
use vesper_standins::Handle;

/// The name of the stack.
pub const STACK: &str = "vesper-test";
/// The key of the practice's own.
pub const KEY_ARN: &str = "arn:aws:kms:us-east-1:1:key/standin";

struct State {
    outputs: BTreeMap<String, String>,
    backups: &'static str,
    /// Which key wraps what was stored through here.
    keys: BTreeMap<String, String>,
    /// What was asked to be stored: name, key and whether it may replace.
    stored: Vec<(String, Option<String>, bool)>,
}

/// See the module.
#[derive(Clone)]
pub struct Operator {
    aws: AwsStandin,
    state: Arc<Mutex<State>>,
}

type Answer = (u16, String);

fn refused(code: &str) -> Answer {
    (400, json!({ "__type": code, "message": "the stand-in says so" }).to_string())
}

impl Operator {
    /// An account whose stack has these outputs besides table and queues.
    #[must_use]
    pub fn new(aws: AwsStandin, url: &str, path: &str, key: Option<&str>) -> Operator {
        let queue = |name: &str| format!("{QUEUE_ORIGIN}{name}");
        let mut outputs: BTreeMap<String, String> = [
            ("TableName", "vesper".to_owned()),
            ("ParameterPath", path.to_owned()),
            ("WebhookUrl", format!("{url}/webhooks/stripe")),
            ("EventsQueueUrl", queue("events")),
            ("WriteBackQueueUrl", queue("write-back")),
            ("BooksQueueUrl", queue("books")),
            ("PayoutsQueueUrl", queue("payouts")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        outputs.extend(key.map(|key| ("KeyArn".to_owned(), key.to_owned())));
        Operator {
            aws,
            state: Arc::new(Mutex::new(State { outputs, backups: "ENABLED", keys: BTreeMap::new(), stored: Vec::new() })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Somebody switches the table's backups off.
    pub fn switch_backups_off(&self) {
        self.state().backups = "DISABLED";
    }

    /// What was stored since the last look: name, key, and whether it might replace another.
    #[must_use]
    pub fn take_stored(&self) -> Vec<(String, Option<String>, bool)> {
        std::mem::take(&mut self.state().stored)
    }

    fn put_parameter(&self, body: &Value) -> Answer {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (name, value, replace) = (text("Name"), text("Value"), body["Overwrite"] == true);
        if text("Type") != "SecureString" || value.is_empty() || value.chars().count() > 4_096 || !name.starts_with('/') {
            return refused("ValidationException");
        }
        if self.aws.parameter(&name).is_some() && !replace {
            return refused("ParameterAlreadyExists");
        }
        let key = body["KeyId"].as_str().map(str::to_owned);
        self.state().keys.insert(name.clone(), key.clone().unwrap_or_else(|| "alias/aws/ssm".to_owned()));
        self.state().stored.push((name.clone(), key, replace));
        self.aws.set_parameter(&name, &value);
        (200, json!({ "Version": 1, "Tier": "Standard" }).to_string())
    }

    fn describe_stacks(&self, body: &[u8]) -> Answer {
        let form: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
        if form.get("Action").map(String::as_str) != Some("DescribeStacks") {
            return (400, "<ErrorResponse><Error><Code>InvalidAction</Code></Error></ErrorResponse>".to_owned());
        }
        if form.get("StackName").map(String::as_str) != Some(STACK) {
            let text = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id x does not \
                        exist</Message></Error></ErrorResponse>";
            return (400, text.to_owned());
        }
        let member = |(name, value): (&String, &String)| {
            format!("<member><OutputKey>{name}</OutputKey>\n<OutputValue>{value}</OutputValue></member>")
        };
        let outputs: String = self.state().outputs.iter().map(member).collect();
        let text = format!(
            "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><DescribeStacksResult><Stacks>\
             <member><StackName>{STACK}</StackName><StackStatus>UPDATE_COMPLETE</StackStatus><Outputs>{outputs}</Outputs></member>\
             </Stacks></DescribeStacksResult></DescribeStacksResponse>"
        );
        (200, text)
    }

    /// None: not a call of a person alone.
    fn answer(&self, target: &str, request: &HttpRequest) -> Option<Answer> {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        Some(match target {
            "" => self.describe_stacks(&request.body),
            "AmazonSSM.PutParameter" => self.put_parameter(&body),
            "AmazonSSM.DescribeParameters" => {
                let keys = self.state().keys.clone();
                let of = |name: &String| keys.get(name).map_or("alias/aws/ssm", String::as_str);
                let all = self.aws.parameter_names();
                let all: Vec<Value> = all.iter().map(|name| json!({ "Name": name, "KeyId": of(name) })).collect();
                (200, json!({ "Parameters": all }).to_string())
            }
            "AmazonSSM.DeleteParameter" => match self.aws.remove_parameter(body["Name"].as_str().unwrap_or_default()) {
                true => (200, "{}".to_owned()),
                false => refused("ParameterNotFound"),
            },
            "DynamoDB_20120810.DescribeContinuousBackups" => {
                let backups = json!({ "PointInTimeRecoveryStatus": self.state().backups });
                let description = json!({ "ContinuousBackupsStatus": "ENABLED", "PointInTimeRecoveryDescription": backups });
                (200, json!({ "ContinuousBackupsDescription": description }).to_string())
            }
            "DynamoDB_20120810.ListTagsOfResource" => {
                let tags = json!([{ "Key": "application", "Value": "vesper" }, { "Key": "aws:cloudformation:stack-name", "Value": STACK }]);
                (200, json!({ "Tags": tags }).to_string())
            }
            "AmazonSQS.GetQueueAttributes" => {
                let url = body["QueueUrl"].as_str().unwrap_or_default();
                let count = self.aws.queued(url.strip_prefix(QUEUE_ORIGIN)?).len().to_string();
                (200, json!({ "Attributes": { "ApproximateNumberOfMessages": count } }).to_string())
            }
            _ => return None,
        })
    }
}

impl Handle for Operator {
    fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let target = request.headers.iter().find(|(n, _)| n == "x-amz-target").map(|(_, v)| v.clone()).unwrap_or_default();
        match self.answer(&target, request) {
            None => self.aws.exchange(request),
            Some((status, text)) => {
                let headers = vec![("content-type".to_owned(), "application/x-amz-json-1.1".to_owned())];
                Ok(HttpResponse { status, headers, body: Bytes::from(text) })
            }
        }
    }
}

/// The public address of the stack: what answers there is right, and nothing is behind it.
#[derive(Clone)]
pub struct Doors;

impl Handle for Doors {
    fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let path =
            request.url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or(&request.url);
        let status = match path {
            "/healthz" => 200,
            "/webhooks/stripe" => 400,
            "/webhooks/ehr" => 401,
            _ => 404,
        };
        Ok(HttpResponse { status, headers: vec![], body: Bytes::new() })
    }
}
