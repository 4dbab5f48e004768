//! AWS besides the table: which account and region, the HTTP client of the SDK, the queues, the bus and the parameters.
//!
//! A function finds all it needs in its environment, so the chains of `aws-config` (profiles, SSO, IMDS) stay out: they double a
//! binary (facts/performance.md 2b). Must not: know what a message or a parameter means.

pub mod bus;
mod failed;
mod http;
pub mod parameters;
pub mod queue;

pub use failed::AwsError;

use crate::dynamo::client::new_client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use std::time::Duration;

/// How often a call is tried, the first time included.
const ATTEMPTS: u32 = 3;
/// The first pause between tries, in milliseconds; doubled from then on, with jitter.
const FIRST_BACKOFF_MS: u64 = 25;
/// The longest one try may take, in milliseconds.
const ATTEMPT_TIMEOUT_MS: u64 = 3_000;
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
    events: Option<String>,
    ssm: Option<String>,
}

impl Endpoints {
    fn of(&self, own: &Option<String>) -> Option<String> {
        own.clone().or_else(|| self.any.clone())
    }
}

impl Aws {
    /// Reads what Lambda sets: AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; and AWS_ENDPOINT_URL
    /// or AWS_ENDPOINT_URL_DYNAMODB, _SQS, _EVENTBRIDGE, _SSM of the SDKs' own reference guide. Nothing is called.
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
            events: filled("AWS_ENDPOINT_URL_EVENTBRIDGE"),
            ssm: filled("AWS_ENDPOINT_URL_SSM"),
        };
        Ok(Aws {
            region: Region::new(region),
            credentials: Credentials::new(id, secret, filled("AWS_SESSION_TOKEN"), None, "environment"),
            endpoints,
            http: http::AwsHttp::default(),
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

    /// Where SSM is.
    fn ssm_url(&self) -> String {
        let own = self.endpoints.of(&self.endpoints.ssm);
        let url = own.unwrap_or_else(|| format!("https://ssm.{}.amazonaws.com", self.region.as_ref()));
        format!("{}/", url.trim_end_matches('/'))
    }
}

fn version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(Duration::from_millis(FIRST_BACKOFF_MS))
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_millis(ATTEMPT_TIMEOUT_MS))
        .operation_timeout(Duration::from_millis(CALL_TIMEOUT_MS))
        .build()
}
