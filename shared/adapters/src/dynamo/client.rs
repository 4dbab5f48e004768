//! DynamoDB clients: the one place that says how often the SDK repeats a call and how long it waits.
//!
//! Must not: know tables, keys or rows.

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Builder, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig},
};
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use std::time::Duration;

/// How often a call is tried, the first time included.
pub const ATTEMPTS: u32 = 3;
/// The longest one try may take on AWS, in milliseconds.
const ATTEMPT_TIMEOUT_MS: u64 = 3_000;
/// The longest a call may take with all its tries on AWS, in milliseconds.
const CALL_TIMEOUT_MS: u64 = 10_000;
/// The first pause between tries, in milliseconds; doubled from then on, with jitter. DynamoDB answers in
/// single-digit milliseconds, so the SDK's general default of 1 s would waste a function's time.
const FIRST_BACKOFF_MS: u64 = 25;
/// The longest pause between tries, in milliseconds.
const LONGEST_BACKOFF_MS: u64 = 1_000;

/// A client for AWS: `base` brings credentials, region and the HTTP client, this adds retries and time limits.
#[must_use]
pub fn new_client(base: Builder) -> Client {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_millis(ATTEMPT_TIMEOUT_MS))
        .operation_timeout(Duration::from_millis(CALL_TIMEOUT_MS))
        .build();
    Client::from_conf(base.behavior_version(version()).retry_config(retries(ATTEMPTS)).timeout_config(timeouts).build())
}

/// A client whose calls go to `connector` instead of a network: the embedded engine, or faults round it.
#[must_use]
pub fn client_on(connector: SharedHttpClient) -> Client {
    client_with_attempts(connector, ATTEMPTS)
}

/// [`client_on`] with a number of tries (at least 1) of its own: 1 shows every fault to the caller.
#[must_use]
pub fn client_with_attempts(connector: SharedHttpClient, attempts: u32) -> Client {
    // No time limit: nothing is far away, and a slow disk must not look like a lost answer. No signature: nobody checks it here, and
    // it is a good part of what a call costs.
    let config = Builder::new()
        .behavior_version(version())
        .retry_config(retries(attempts.max(1)))
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .allow_no_auth()
        .auth_scheme_preference([AuthSchemeId::new("noAuth")])
        .region(Region::new("us-east-1"))
        .endpoint_url("http://embedded.invalid")
        .credentials_provider(Credentials::new("embedded", "embedded", None, None, "embedded"))
        .http_client(connector)
        .build();
    Client::from_conf(config)
}

fn version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_initial_backoff(Duration::from_millis(FIRST_BACKOFF_MS))
        .with_max_backoff(Duration::from_millis(LONGEST_BACKOFF_MS))
}
