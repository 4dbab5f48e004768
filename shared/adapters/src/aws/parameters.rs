//! SSM parameters: the practice's settings and secrets, read with one call (contracts/settings.md, Secrets).
//!
//! Must not: log or keep a value, or know what it means beyond the names of the settings.

use super::{ATTEMPT_TIMEOUT_MS, ATTEMPTS, Aws, AwsError, FIRST_BACKOFF_MS};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::{box_error::BoxError, client::orchestrator::HttpRequest};
use aws_smithy_types::body::SdkBody;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// The parameter that holds practice.toml; a longer one stands in `config/1`, `config/2`, ...
const CONFIG: &str = "config";
/// Parameters per call (SSM's limit).
const PAGE: u32 = 10;

/// What stands below a path: by the name that is left of it.
#[derive(Clone, Default)]
pub struct Parameters(BTreeMap<String, String>);

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Parameters {
    /// Of names and values.
    #[must_use]
    pub fn new(values: BTreeMap<String, String>) -> Parameters {
        Parameters(values)
    }

    /// Nothing stands there: setup has not run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them, such as `STRIPE_API_KEY`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The text of practice.toml: `config`, or its parts in the order of their numbers.
    #[must_use]
    pub fn config(&self) -> Option<String> {
        if let Some(whole) = self.0.get(CONFIG) {
            return Some(whole.clone());
        }
        let number = |name: &str| name.strip_prefix(CONFIG)?.strip_prefix('/')?.parse::<u32>().ok();
        let parts: BTreeMap<u32, &String> = self.0.iter().filter_map(|(name, text)| Some((number(name)?, text))).collect();
        if parts.is_empty() {
            return None;
        }
        Some(parts.into_values().map(String::as_str).collect())
    }
}

/// One call of SSM, signed and sent by hand: its SDK is seven times as large as that of the queues, and would be built for this.
#[derive(Clone)]
pub struct Ssm(Aws);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    parameters: Vec<Parameter>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    value: String,
}

/// How an error answer is made: the code stands behind the last `#`.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    code: String,
}

impl Ssm {
    /// Nothing is called.
    #[must_use]
    pub fn new(aws: &Aws) -> Ssm {
        Ssm(aws.clone())
    }

    /// Everything below the path, decrypted
    /// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html>).
    ///
    /// # Errors
    /// When SSM does not answer, or does not allow it.
    pub async fn below(&self, path: &str) -> Result<Parameters, AwsError> {
        let path = path.trim_end_matches('/');
        let mut values = BTreeMap::new();
        let mut next: Option<String> = None;
        loop {
            let mut ask = json!({ "Path": path, "Recursive": true, "WithDecryption": true, "MaxResults": PAGE });
            if let Some(token) = next {
                ask["NextToken"] = token.into();
            }
            let page = self.page(&ask.to_string()).await?;
            for Parameter { name, value } in page.parameters {
                let short = name.strip_prefix(path).unwrap_or(&name).trim_start_matches('/');
                values.insert(short.to_owned(), value);
            }
            next = page.next_token.filter(|t| !t.is_empty());
            if next.is_none() {
                return Ok(Parameters(values));
            }
        }
    }

    /// One page. It is a read: what fails is asked again.
    async fn page(&self, body: &str) -> Result<Page, AwsError> {
        let failed = |problem: &str| AwsError::new("read the parameters", problem);
        let mut last = failed("no answer");
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(FIRST_BACKOFF_MS << attempt)).await;
            }
            let request = self.signed(body).map_err(|_| failed("the request could not be signed"))?;
            let call = tokio::time::timeout(Duration::from_millis(ATTEMPT_TIMEOUT_MS), self.0.http.exchange(&request));
            let Ok(Ok(answer)) = call.await else { continue };
            let bytes = answer.body().bytes().unwrap_or_default();
            if answer.status().is_success() {
                return serde_json::from_slice(bytes).map_err(|_| failed("the answer could not be read"));
            }
            let code = serde_json::from_slice::<Refusal>(bytes).map(|r| r.code).unwrap_or_default();
            let code = code.rsplit('#').next().unwrap_or_default();
            last = failed(if code.is_empty() { "refused without an error code" } else { code });
            if !answer.status().is_server_error() && !code.contains("Throttl") {
                break;
            }
        }
        Err(last)
    }

    fn signed(&self, body: &str) -> Result<HttpRequest, BoxError> {
        let url = self.0.ssm_url();
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "AmazonSSM.GetParametersByPath")];
        let identity = self.0.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.0.region.as_ref())
            .name("ssm")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableRequest::new("POST", url.as_str(), headers.into_iter(), SignableBody::Bytes(body.as_bytes()))?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST")?;
        request.set_uri(url.as_str())?;
        let signed = instructions.headers().chain(headers);
        for (name, value) in signed {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::new(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_settings_stand_in_one_parameter_or_in_numbered_parts() {
        assert_eq!(of(&[("config", "a"), ("STRIPE_API_KEY", "k")]).config().as_deref(), Some("a"));
        let parts = of(&[("config/10", "c"), ("config/2", "b"), ("config/1", "a"), ("configs", "x")]);
        assert_eq!(parts.config().as_deref(), Some("abc"), "by number, not by text");
        assert_eq!(of(&[("STRIPE_API_KEY", "k")]).config(), None);
    }

    #[test]
    fn no_value_shows_in_debug() {
        let text = format!("{:?}", of(&[("STRIPE_API_KEY", "rk_live_secret")]));
        assert!(text.contains("STRIPE_API_KEY") && !text.contains("secret"), "{text}");
    }
}
