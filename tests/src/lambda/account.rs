//! Calls of AWS that the bundle test makes itself, as the owner of the account: signed, and answered by ministack.
//!
//! Must not: be used by what is tested.

use aws_sdk_dynamodb::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::SystemTime;
use vesper_adapters::http::{HttpRequest, HttpResponse, Transport as _};
use vesper_adapters::reqwest_transport::ReqwestTransport;

/// The region of everything.
pub const REGION: &str = "us-east-1";
/// ministack takes this pair for the owner of the account.
pub const KEY: &str = "test";

/// See the module.
pub struct Account {
    /// Where ministack is.
    pub endpoint: String,
    transport: ReqwestTransport,
}

impl Account {
    /// The account of the ministack at this address.
    #[must_use]
    pub fn new(endpoint: String) -> Account {
        Account { endpoint, transport: ReqwestTransport::new() }
    }

    /// A request as it is, without a signature; None when nobody answers.
    pub async fn send(&self, method: &str, path: &str, headers: Vec<(String, String)>, body: &[u8]) -> Option<HttpResponse> {
        let (method, url) = (method.parse().unwrap(), format!("{}{path}", self.endpoint));
        self.transport.send(HttpRequest { method, url, headers, body: Bytes::copy_from_slice(body) }).await.ok()
    }

    /// A signed request.
    async fn signed(&self, service: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> HttpResponse {
        let identity: Identity = Credentials::new(KEY, KEY, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let url = format!("{}{path}", self.endpoint);
        let whole = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new(method, url.as_str(), headers.iter().copied(), whole).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let all = instructions.headers().chain(headers.iter().copied());
        let all = all.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let answer = self.send(method, path, all, body.as_bytes()).await;
        answer.unwrap_or_else(|| panic!("{service} {path}: ministack does not answer"))
    }

    /// A call that has to succeed, in JSON: of an operation (`target`), or of a path.
    pub async fn call(&self, service: &str, method: &str, path: &str, target: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut headers = vec![("content-type", "application/x-amz-json-1.0")];
        if !target.is_empty() {
            headers.push(("x-amz-target", target));
        }
        let answer = self.signed(service, method, path, &headers, &body).await;
        let said = || String::from_utf8_lossy(&answer.body).into_owned();
        assert!((200..300).contains(&answer.status), "{service} {method} {path} {target}: {} {}", answer.status, said());
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    /// A role may do this besides, on everything.
    pub async fn allow(&self, role: &str, action: &str) {
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]});
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", "PutRolePolicy"), ("Version", "2010-05-08"), ("RoleName", role), ("PolicyName", "more")])
            .append_pair("PolicyDocument", &policy.to_string())
            .finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.signed("iam", "POST", "/", &headers, &form).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// A call of SQS on the queue of this name.
    pub async fn sqs(&self, operation: &str, queue: &str, mut more: Value) -> Value {
        more["QueueUrl"] = json!(format!("{}/000000000000/{queue}", self.endpoint));
        self.call("sqs", "POST", "/", &format!("AmazonSQS.{operation}"), &more).await
    }

    /// How many messages a queue has, those at work included.
    pub async fn messages(&self, queue: &str) -> u64 {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let answer = self.sqs("GetQueueAttributes", queue, json!({"AttributeNames": names})).await;
        let count = |name: &str| answer["Attributes"][name].as_str().unwrap().parse::<u64>().unwrap();
        names.iter().map(|n| count(n)).sum()
    }

    /// Changes variables of a function. Its processes end, as on AWS: the next invocation is cold.
    pub async fn set_variables(&self, function: &str, changes: Value) {
        let path = format!("/2015-03-31/functions/{function}/configuration");
        let mut variables = self.call("lambda", "GET", &path, "", &Value::Null).await["Environment"].clone();
        for (name, value) in changes.as_object().unwrap() {
            variables["Variables"][name] = value.clone();
        }
        self.call("lambda", "PUT", &path, "", &json!({"Environment": variables})).await;
    }

    /// Invokes a function and waits for its answer.
    pub async fn invoke(&self, function: &str, event: &Value) -> Value {
        self.call("lambda", "POST", &format!("/2015-03-31/functions/{function}/invocations"), "", event).await
    }
}
