//! SSM parameters: the practice's settings and secrets, read with one call (contracts/settings.md, Secrets).
//!
//! They are SecureStrings: SSM wraps each with the account's own key or with the one of the practice, and unwraps them with that call.
//! Must not: log or keep a value, or know what it means beyond the names of the settings.

use super::call::{Ask, Service};
use super::{Aws, AwsError};
use crate::personal::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// The parameter that holds practice.toml; a longer one stands in `config/1`, `config/2`, ...
pub const CONFIG: &str = "config";
/// The characters of one parameter (SSM's limit for those that are free).
pub const VALUE_MAX: usize = 4096;
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

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
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

/// A practice.toml as parameters: `config`, or `config/1` and so on, parted where lines end.
#[must_use]
pub fn parted(text: &str) -> BTreeMap<String, String> {
    if text.len() <= VALUE_MAX {
        return BTreeMap::from([(CONFIG.to_owned(), text.to_owned())]);
    }
    let mut parts: Vec<String> = vec![String::new()];
    for piece in text.split_inclusive('\n').flat_map(pieces) {
        match parts.last_mut() {
            Some(last) if last.len().saturating_add(piece.len()) <= VALUE_MAX => last.push_str(piece),
            _ => parts.push(piece.to_owned()),
        }
    }
    parts.into_iter().zip(1_u32..).map(|(part, n)| (format!("{CONFIG}/{n}"), part)).collect()
}

/// A line in pieces that fit.
fn pieces(line: &str) -> Vec<&str> {
    let (mut rest, mut all) = (line, Vec::new());
    while rest.len() > VALUE_MAX {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(VALUE_MAX));
        all.push(piece);
        rest = later;
    }
    all.push(rest);
    all
}

/// The parameters of one account and region.
#[derive(Clone)]
pub struct Ssm(Aws);

/// What became of a parameter that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It stands there.
    Stored,
    /// Another one stands there already, and was not to be replaced.
    WasThere,
}

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
        const ATTEMPTED: &str = "read the parameters";
        let path = path.trim_end_matches('/');
        let mut values = BTreeMap::new();
        let mut next: Option<String> = None;
        loop {
            let mut ask = json!({ "Path": path, "Recursive": true, "WithDecryption": true, "MaxResults": PAGE });
            if let Some(token) = next {
                ask["NextToken"] = token.into();
            }
            let answer = self.ask(ATTEMPTED, "AmazonSSM.GetParametersByPath", &ask, false).await?;
            let page: Page =
                serde_json::from_slice(&answer).map_err(|_| AwsError::new(ATTEMPTED, "the answer could not be read"))?;
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

    /// Which key wraps each parameter below the path, as it was named when the parameter was stored: by the name that is left of it
    /// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeParameters.html>).
    ///
    /// # Errors
    /// When SSM does not answer, or does not allow it.
    pub async fn keys_below(&self, path: &str) -> Result<BTreeMap<String, String>, AwsError> {
        const ATTEMPTED: &str = "look at the parameters";
        let mut keys = BTreeMap::new();
        let mut next = Value::Null;
        loop {
            let filter = json!([{ "Key": "Path", "Option": "Recursive", "Values": [path] }]);
            let mut ask = json!({ "ParameterFilters": filter, "MaxResults": 50 });
            if next.is_string() {
                ask["NextToken"] = next;
            }
            let answer = self.ask(ATTEMPTED, "AmazonSSM.DescribeParameters", &ask, false).await?;
            let page: Value =
                serde_json::from_slice(&answer).map_err(|_| AwsError::new(ATTEMPTED, "the answer could not be read"))?;
            for one in page["Parameters"].as_array().into_iter().flatten() {
                if let (Some(name), Some(key)) = (one["Name"].as_str(), one["KeyId"].as_str()) {
                    let short = name.strip_prefix(path).unwrap_or(name).trim_start_matches('/');
                    keys.insert(short.to_owned(), key.to_owned());
                }
            }
            next = page["NextToken"].clone();
            if next.as_str().is_none_or(str::is_empty) {
                return Ok(keys);
            }
        }
    }

    /// Stores a SecureString of this full name. `key` is the KMS key that wraps it; None: the account's own for SSM. SSM unwraps it
    /// for whoever may read it and use the key
    /// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>).
    ///
    /// # Errors
    /// When SSM does not answer, or does not allow it.
    pub async fn put(&self, name: &str, value: &Secret, key: Option<&str>, replace: bool) -> Result<Put, AwsError> {
        let mut ask = json!({ "Name": name, "Value": value.expose(), "Type": "SecureString", "Overwrite": replace });
        if let Some(key) = key {
            ask["KeyId"] = key.into();
        }
        match self.ask("store a parameter", "AmazonSSM.PutParameter", &ask, true).await {
            Ok(_) => Ok(Put::Stored),
            Err(e) if e.problem == "ParameterAlreadyExists" && !replace => Ok(Put::WasThere),
            Err(e) => Err(e),
        }
    }

    /// Removes a parameter; one that is not there is no error.
    ///
    /// # Errors
    /// When SSM does not answer, or does not allow it.
    pub async fn remove(&self, name: &str) -> Result<(), AwsError> {
        match self.ask("remove a parameter", "AmazonSSM.DeleteParameter", &json!({ "Name": name }), true).await {
            Err(e) if e.problem != "ParameterNotFound" => Err(e),
            _ => Ok(()),
        }
    }

    async fn ask(&self, attempted: &'static str, target: &'static str, ask: &Value, writes: bool) -> Result<Vec<u8>, AwsError> {
        let body = ask.to_string();
        self.0.ask(Ask { attempted, service: Service::Ssm, target: Some(target), body: &body, writes }).await
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
    fn a_long_text_is_parted_where_lines_end_and_read_back_whole() {
        let line = format!("key = \"{}\"\n", "ä".repeat(50));
        for count in [1, 75, 200] {
            let text = line.repeat(count);
            let parts = parted(&text);
            assert!(parts.iter().all(|(_, part)| part.len() <= VALUE_MAX && !part.is_empty()), "{count}");
            assert_eq!((parts.len() == 1, parts.contains_key(CONFIG)), (count == 1, count == 1));
            assert_eq!(Parameters::new(parts).config(), Some(text));
        }
        assert_eq!(parted(&"ä".repeat(3000)).len(), 2, "also without lines");
    }

    #[test]
    fn no_value_shows_in_debug() {
        let text = format!("{:?}", of(&[("STRIPE_API_KEY", "rk_live_secret")]));
        assert!(text.contains("STRIPE_API_KEY") && !text.contains("secret"), "{text}");
    }
}
