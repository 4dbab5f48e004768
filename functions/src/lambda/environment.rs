//! What a function finds in its environment: the names of the stack's own things. The template sets them.
//!
//! Must not: hold a secret (those stand in SSM), or read anything but the environment.

use crate::task::Queue;
use std::collections::BTreeMap;
use vesper_adapters::aws::{Aws, AwsError};

/// Something the function needs is not there; a person must look at the stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// A variable of the environment.
    #[error("{0} is not set or not readable: deploy the template of this release")]
    Environment(&'static str),
    /// What Lambda itself sets.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Settings or secrets.
    #[error("the settings below {path} cannot be used: {problem}; run `vesper setup`")]
    Settings {
        /// The path of the parameters.
        path: String,
        /// What is missing or wrong, without a value.
        problem: String,
    },
    /// The store.
    #[error("start: {0}")]
    Store(String),
}

/// See the module.
#[derive(Clone)]
pub struct Environment {
    /// Account, region and endpoints.
    pub aws: Aws,
    /// Below it stand settings and secrets, without a slash at its end.
    pub parameter_path: String,
    variables: BTreeMap<&'static str, String>,
}

/// Every variable that a function may look at.
const VARIABLES: [&str; 11] = [
    "TABLE_NAME",
    "EVENTS_QUEUE_URL",
    "WRITE_BACK_QUEUE_URL",
    "BOOKS_QUEUE_URL",
    "PAYOUTS_QUEUE_URL",
    "DEAD_LETTER_QUEUE_URLS",
    "EVENT_BUS_NAME",
    "COGNITO_DOMAIN",
    "COGNITO_CLIENT_ID",
    "COGNITO_ISSUER",
    "REVIEW_BASE_URL",
];

impl Environment {
    /// Reads it. `lookup` is the environment of the process, or a test's.
    ///
    /// # Errors
    /// The name of what is missing.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Environment, NotReady> {
        let aws = Aws::from_lookup(&lookup)?;
        let filled = |name: &str| lookup(name).filter(|v| !v.trim().is_empty());
        let path = filled("VESPER_PARAMETER_PATH").ok_or(NotReady::Environment("VESPER_PARAMETER_PATH"))?;
        let variables = VARIABLES.into_iter().filter_map(|name| Some((name, filled(name)?))).collect();
        Ok(Environment { aws, parameter_path: path.trim_end_matches('/').to_owned(), variables })
    }

    /// A variable that this function needs.
    ///
    /// # Errors
    /// When the template did not set it.
    pub fn needed(&self, name: &'static str) -> Result<&str, NotReady> {
        self.variables.get(name).map(String::as_str).ok_or(NotReady::Environment(name))
    }

    /// The address of a work queue, where this function has it.
    #[must_use]
    pub fn queue_url(&self, queue: Queue) -> Option<&str> {
        let name = match queue {
            Queue::Events => "EVENTS_QUEUE_URL",
            Queue::WriteBack => "WRITE_BACK_QUEUE_URL",
            Queue::Books => "BOOKS_QUEUE_URL",
            Queue::Payouts => "PAYOUTS_QUEUE_URL",
        };
        self.variables.get(name).map(String::as_str)
    }

    /// The addresses of the dead-letter queues, by the name of the work queue.
    ///
    /// # Errors
    /// When the variable is missing or no JSON object of texts.
    pub fn dead_letter_urls(&self) -> Result<BTreeMap<String, String>, NotReady> {
        const NAME: &str = "DEAD_LETTER_QUEUE_URLS";
        serde_json::from_str(self.needed(NAME)?).map_err(|_| NotReady::Environment(NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(extra: &[(&str, &str)]) -> Result<Environment, NotReady> {
        let base = [("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")];
        let all: BTreeMap<String, String> = base.iter().chain(extra).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Environment::read(|name| all.get(name).cloned())
    }

    #[test]
    fn what_is_missing_is_named() {
        let read = of(&[("VESPER_PARAMETER_PATH", "/vesper/p/"), ("TABLE_NAME", "t"), ("EVENTS_QUEUE_URL", " ")]).unwrap();
        assert_eq!((read.parameter_path.as_str(), read.needed("TABLE_NAME")), ("/vesper/p", Ok("t")));
        assert_eq!(read.queue_url(Queue::Events), None, "blank is missing");
        assert_eq!(read.needed("EVENT_BUS_NAME"), Err(NotReady::Environment("EVENT_BUS_NAME")));
        assert_eq!(of(&[]).err(), Some(NotReady::Environment("VESPER_PARAMETER_PATH")));
        let nowhere = Environment::read(|_| None).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(nowhere.contains("AWS_REGION"), "{nowhere}");
        let dead = r#"{"events":"https://sqs/e"}"#;
        let read = of(&[("VESPER_PARAMETER_PATH", "/vesper/p"), ("DEAD_LETTER_QUEUE_URLS", dead)]).unwrap();
        assert_eq!(read.dead_letter_urls().unwrap()["events"], "https://sqs/e");
        let read = of(&[("VESPER_PARAMETER_PATH", "/vesper/p"), ("DEAD_LETTER_QUEUE_URLS", "[]")]).unwrap();
        assert!(read.dead_letter_urls().is_err());
    }
}
