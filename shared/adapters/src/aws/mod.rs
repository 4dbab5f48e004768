//! AWS besides the table: which account and region, the HTTP client of the SDK, the queues, the bus, the parameters and the stack.
//!
//! A function finds all it needs in its environment, so the chains of `aws-config` (SSO, roles, IMDS) stay out: they double a
//! binary (facts/performance.md 2b). Queues and bus are SDKs of their own (feature `aws-queues`); the few calls besides are made by
//! hand (`call.rs`), so that the command line carries no SDK more than the table's.
//! Must not: know what a message or a parameter means.

#[cfg(feature = "aws-queues")]
pub mod bus;
mod call;
mod failed;
mod http;
pub mod parameters;
mod profile;
#[cfg(feature = "aws-queues")]
pub mod queue;
pub mod stack;

pub use failed::AwsError;

use crate::dynamo::client::new_client;
#[cfg(feature = "aws-queues")]
use aws_sdk_dynamodb::config::BehaviorVersion;
use aws_sdk_dynamodb::config::{Credentials, Region, SharedHttpClient};
#[cfg(feature = "aws-queues")]
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use call::Service;
#[cfg(feature = "aws-queues")]
use std::time::Duration;

/// How often a call is tried, the first time included.
const ATTEMPTS: u32 = 3;
/// The first pause between tries, in milliseconds; doubled from then on, with jitter.
const FIRST_BACKOFF_MS: u64 = 25;
/// The longest one try may take, in milliseconds.
const ATTEMPT_TIMEOUT_MS: u64 = 3_000;
#[cfg(feature = "aws-queues")]
/// The longest a call may take with all its tries, in milliseconds: intake must answer Stripe before the sender gives up.
const CALL_TIMEOUT_MS: u64 = 10_000;

/// Whose account it is, in which region, and how AWS is reached.
#[derive(Clone)]
pub struct Aws {
    region: Region,
    credentials: Credentials,
    endpoints: Endpoints,
    http: http::AwsHttp,
}

/// Where the services are, when they are not where AWS has them: stand-ins.
#[derive(Clone, Default)]
struct Endpoints {
    any: Option<String>,
    dynamodb: Option<String>,
    sqs: Option<String>,
    #[cfg(feature = "aws-queues")]
    events: Option<String>,
    ssm: Option<String>,
    cloudformation: Option<String>,
}

impl Endpoints {
    fn of(&self, own: &Option<String>) -> Option<String> {
        own.clone().or_else(|| self.any.clone())
    }

    /// Whether every service is a stand-in, and one of them is reached over TLS.
    fn are_standins_over_tls(&self) -> bool {
        let all = [
            &self.dynamodb,
            &self.sqs,
            #[cfg(feature = "aws-queues")]
            &self.events,
            &self.ssm,
            &self.cloudformation,
        ];
        let all = all.map(|own| self.of(own));
        all.iter().all(Option::is_some) && all.iter().flatten().any(|url| url.starts_with("https://"))
    }
}

impl Aws {
    /// Reads what Lambda sets: AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; and AWS_ENDPOINT_URL
    /// or AWS_ENDPOINT_URL_DYNAMODB, _SQS, _EVENTBRIDGE, _SSM, _CLOUDFORMATION of the SDKs' own reference guide. AWS_CA_BUNDLE of
    /// that guide counts only where every service is such a stand-in: its roots. Nothing is called.
    ///
    /// # Errors
    /// The name of the variable that is missing.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Aws, AwsError> {
        let filled = |name: &str| lookup(name).filter(|v| !v.trim().is_empty());
        let needed = |name: &str| filled(name).ok_or_else(|| AwsError::missing(name));
        let region = filled("AWS_REGION").or_else(|| filled("AWS_DEFAULT_REGION"));
        let region = region.ok_or_else(|| AwsError::missing("AWS_REGION"))?;
        let (id, secret) = (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
        let endpoints = Endpoints {
            any: filled("AWS_ENDPOINT_URL"),
            dynamodb: filled("AWS_ENDPOINT_URL_DYNAMODB"),
            sqs: filled("AWS_ENDPOINT_URL_SQS"),
            #[cfg(feature = "aws-queues")]
            events: filled("AWS_ENDPOINT_URL_EVENTBRIDGE"),
            ssm: filled("AWS_ENDPOINT_URL_SSM"),
            cloudformation: filled("AWS_ENDPOINT_URL_CLOUDFORMATION"),
        };
        // Who can set the endpoints has every call already: the bundle gives nobody more, and no file decides whether AWS is AWS.
        let bundle = filled("AWS_CA_BUNDLE").filter(|_| endpoints.are_standins_over_tls());
        Ok(Aws {
            region: Region::new(region),
            credentials: Credentials::new(id, secret, filled("AWS_SESSION_TOKEN"), None, "environment"),
            endpoints,
            http: http::AwsHttp::trusting(bundle.map(Into::into)),
        })
    }

    /// The client of the table.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let mut base = aws_sdk_dynamodb::config::Builder::new()
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(SharedHttpClient::new(self.http.clone()));
        base.set_endpoint_url(self.endpoints.of(&self.endpoints.dynamodb));
        new_client(base)
    }

    #[cfg(feature = "aws-queues")]
    fn sqs(&self) -> aws_sdk_sqs::Client {
        let mut base = aws_sdk_sqs::config::Builder::new()
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(SharedHttpClient::new(self.http.clone()))
            .behavior_version(version())
            .retry_config(retries())
            .timeout_config(timeouts());
        base.set_endpoint_url(self.endpoints.of(&self.endpoints.sqs));
        aws_sdk_sqs::Client::from_conf(base.build())
    }

    #[cfg(feature = "aws-queues")]
    fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        let mut base = aws_sdk_eventbridge::config::Builder::new()
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(SharedHttpClient::new(self.http.clone()))
            .behavior_version(version())
            .retry_config(retries())
            .timeout_config(timeouts());
        base.set_endpoint_url(self.endpoints.of(&self.endpoints.events));
        aws_sdk_eventbridge::Client::from_conf(base.build())
    }

    /// The region, for a person.
    #[must_use]
    pub fn region(&self) -> &str {
        self.region.as_ref()
    }

    /// Where a service is.
    fn url(&self, service: Service) -> String {
        let own = match service {
            Service::Ssm => &self.endpoints.ssm,
            Service::CloudFormation => &self.endpoints.cloudformation,
            Service::DynamoDb => &self.endpoints.dynamodb,
            Service::Sqs => &self.endpoints.sqs,
        };
        let (name, region) = (service.as_str(), self.region.as_ref());
        let end = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let url = self.endpoints.of(own).unwrap_or_else(|| format!("https://{name}.{region}.{end}"));
        format!("{}/", url.trim_end_matches('/'))
    }
}

#[cfg(feature = "aws-queues")]
fn version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

#[cfg(feature = "aws-queues")]
fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(Duration::from_millis(FIRST_BACKOFF_MS))
}

#[cfg(feature = "aws-queues")]
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_millis(ATTEMPT_TIMEOUT_MS))
        .operation_timeout(Duration::from_millis(CALL_TIMEOUT_MS))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_file_of_roots_counts_only_where_no_service_is_at_aws() {
        let cases: [(&[(&str, &str)], bool); 5] = [
            (&[], false),
            (&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], false),
            (&[("AWS_ENDPOINT_URL_SQS", "https://127.0.0.1:1")], false),
            (&[("AWS_ENDPOINT_URL", "https://127.0.0.1:1")], true),
            (&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ENDPOINT_URL_SSM", "https://127.0.0.1:2")], true),
        ];
        for (endpoints, counts) in cases {
            let base = [("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "i"), ("AWS_SECRET_ACCESS_KEY", "k")];
            let all: BTreeMap<&str, &str> = base.iter().chain(endpoints).copied().chain([("AWS_CA_BUNDLE", "x.pem")]).collect();
            let aws = Aws::from_lookup(|name| all.get(name).map(|v| (*v).to_owned())).unwrap();
            assert_eq!(aws.http.has_roots_of_its_own(), counts, "{endpoints:?}");
        }
    }
}
