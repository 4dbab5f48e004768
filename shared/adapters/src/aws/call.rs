//! One call of AWS, signed and sent by hand: for the few services of which a call or two are needed. An SDK of each would be many
//! times as large as all of Vesper.
//!
//! Must not: know what a call means, repeat a write whose outcome is not known, or show a body.

use super::{ATTEMPT_TIMEOUT_MS, ATTEMPTS, Aws, AwsError, FIRST_BACKOFF_MS};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::{box_error::BoxError, client::orchestrator::HttpRequest};
use aws_smithy_types::body::SdkBody;
use serde::Deserialize;
use std::time::{Duration, SystemTime};

/// How often a write is sent that AWS does not take because there are too many: it takes three parameters a second.
const WRITE_ATTEMPTS: u32 = 6;
/// The first pause after such an answer, in milliseconds; doubled from then on.
const WRITE_BACKOFF_MS: u64 = 200;

/// The services that are called by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Ssm,
    CloudFormation,
    DynamoDb,
    Sqs,
}

impl Service {
    /// Its name in hosts and signatures.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Service::Ssm => "ssm",
            Service::CloudFormation => "cloudformation",
            Service::DynamoDb => "dynamodb",
            Service::Sqs => "sqs",
        }
    }

    /// How its requests are written.
    const fn content_type(self) -> &'static str {
        match self {
            Service::Ssm => "application/x-amz-json-1.1",
            Service::DynamoDb | Service::Sqs => "application/x-amz-json-1.0",
            Service::CloudFormation => "application/x-www-form-urlencoded; charset=utf-8",
        }
    }
}

/// A call.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    /// What is attempted, for an error.
    pub(super) attempted: &'static str,
    /// Whom.
    pub(super) service: Service,
    /// `X-Amz-Target`; none where the operation stands in the body.
    pub(super) target: Option<&'static str>,
    /// The body.
    pub(super) body: &'a str,
    /// It changes something: it is repeated only when it was certainly not taken.
    pub(super) writes: bool,
}

/// How an error answer in JSON is made: the code stands behind the last `#`.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    code: String,
}

/// The error code of an answer in JSON or XML.
fn code(body: &[u8]) -> String {
    let json = serde_json::from_slice::<Refusal>(body).ok().map(|r| r.code);
    let of_xml = || super::stack::texts(std::str::from_utf8(body).unwrap_or_default(), "Code").first().cloned();
    let code = json.or_else(of_xml).unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    if code.is_empty() { "refused without an error code".to_owned() } else { code.to_owned() }
}

impl Aws {
    /// The body of the answer. A read that fails is asked again.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Vec<u8>, AwsError> {
        let failed = |problem: &str| AwsError::new(ask.attempted, problem);
        let (attempts, backoff_ms) =
            if ask.writes { (WRITE_ATTEMPTS, WRITE_BACKOFF_MS) } else { (ATTEMPTS, FIRST_BACKOFF_MS << 1) };
        let mut last = failed("no answer");
        for attempt in 0..attempts {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(backoff_ms << (attempt - 1))).await;
            }
            let request = self.signed(ask).map_err(|_| failed("the request could not be signed"))?;
            let call = tokio::time::timeout(Duration::from_millis(ATTEMPT_TIMEOUT_MS), self.http.exchange(&request));
            let Ok(Ok(answer)) = call.await else {
                if ask.writes {
                    return Err(failed("no answer; it may have been done"));
                }
                continue;
            };
            let bytes = answer.body().bytes().unwrap_or_default();
            if answer.status().is_success() {
                return Ok(bytes.to_vec());
            }
            let code = code(bytes);
            last = failed(&code);
            let again = code.contains("Throttl") || (answer.status().is_server_error() && !ask.writes);
            if !again {
                break;
            }
        }
        Err(last)
    }

    fn signed(&self, ask: Ask<'_>) -> Result<HttpRequest, BoxError> {
        let url = self.url(ask.service);
        let mut headers = vec![("content-type", ask.service.content_type())];
        headers.extend(ask.target.map(|target| ("x-amz-target", target)));
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_ref())
            .name(ask.service.as_str())
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let body = SignableBody::Bytes(ask.body.as_bytes());
        let signable = SignableRequest::new("POST", url.as_str(), headers.iter().copied(), body)?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        let mut request = HttpRequest::new(SdkBody::from(ask.body));
        request.set_method("POST")?;
        request.set_uri(url.as_str())?;
        for (name, value) in instructions.headers().chain(headers) {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_code_in_json_and_in_xml() {
        assert_eq!(code(br#"{"__type":"com.amazonaws.ssm#ParameterNotFound","message":"x"}"#), "ParameterNotFound");
        assert_eq!(code(br#"{"__type":"ThrottlingException"}"#), "ThrottlingException");
        let xml = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code></Error></ErrorResponse>";
        assert_eq!(code(xml.as_bytes()), "ValidationError");
        assert_eq!(code(b"<html>"), "refused without an error code");
    }
}
