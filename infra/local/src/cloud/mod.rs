//! A deployment on AWS as the commands meet it: whose account it is, the stack with its table and parameters, and the table as a
//! store. Nothing of it is kept on this machine.
//!
//! Must not: know what a setting or a secret means.

pub mod host;
pub mod place;

use crate::Failure;
use std::path::Path;
use vesper_adapters::aws::parameters::{Parameters, Ssm};
use vesper_adapters::aws::stack::{self, Stack, TableState};
use vesper_adapters::aws::{Aws, AwsError};
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::dynamo::table::Table;
use vesper_adapters::personal::DataKey;

/// The parameter that holds the data key.
pub const DATA_KEY: &str = "DATA_KEY";
/// Where the parameters stand, for a table that belongs to no stack.
const PATH_VARIABLE: &str = "VESPER_PARAMETER_PATH";

/// The account, as the environment and the files of the `aws` command name it.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn account() -> Result<Aws, Failure> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    Aws::of_person(|name| std::env::var(name).ok(), read).map_err(|e| Failure::usage(e.to_string()))
}

/// AWS did not do it, in plain words.
#[must_use]
pub fn refused(e: &AwsError) -> Failure {
    let remedy = match e.problem.as_str() {
        p if p.starts_with("ExpiredToken") => ": the credentials have ended: sign in with the aws command again",
        p if p.starts_with("AccessDenied") || p.starts_with("NotAuthorized") => {
            ": these credentials may not: docs/setup.md says what they need"
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            ": AWS does not know these credentials: is it the right profile?"
        }
        "no answer" => ": can this machine reach AWS, and is the region right?",
        _ => "",
    };
    Failure::problem(format!("{e}{remedy}"))
}

/// A stack that is deployed.
pub struct Deployment {
    /// Whose account.
    pub aws: Aws,
    /// The name of the stack.
    pub name: String,
    /// Its table.
    pub table: String,
    /// Below it stand settings and secrets, without a slash at its end.
    pub path: String,
    /// The key of the practice's own, where one was chosen.
    pub key_arn: Option<String>,
    /// Its public address, without a slash at its end.
    pub url: String,
    /// The stack itself.
    pub stack: Stack,
}

impl Deployment {
    /// The stack of this name.
    ///
    /// # Errors
    /// When there is none, it is no stack of Vesper, or AWS does not answer.
    pub async fn of(aws: Aws, name: &str) -> Result<Deployment, Failure> {
        let region = aws.region().to_owned();
        let found = Stack::of(&aws, name).await.map_err(|e| refused(&e))?;
        let stack = found.ok_or_else(|| {
            Failure::usage(format!(
                "there is no stack {name} in {region}: --stack takes the name given at sam deploy; AWS_REGION?"
            ))
        })?;
        let output = |output: &str| {
            stack.output(output).map(str::to_owned).ok_or_else(|| {
                let status = &stack.status;
                Failure::usage(format!(
                    "stack {name} ({status}) has no output {output}: deploy infra/template.yaml to its end first"
                ))
            })
        };
        let (table, path, webhook) = (output("TableName")?, output("ParameterPath")?, output("WebhookUrl")?);
        let url = webhook.strip_suffix(crate::setup::endpoint::PATH).unwrap_or(&webhook).trim_end_matches('/').to_owned();
        let key_arn = stack.output("KeyArn").map(str::to_owned);
        Ok(Deployment { name: name.to_owned(), table, path: path.trim_end_matches('/').to_owned(), key_arn, url, aws, stack })
    }

    /// Settings and secrets.
    ///
    /// # Errors
    /// When SSM does not answer.
    pub async fn parameters(&self) -> Result<Parameters, Failure> {
        Ssm::new(&self.aws).below(&self.path).await.map_err(|e| refused(&e))
    }

    /// The practice whose parameters the functions of this stack read.
    #[must_use]
    pub fn practice(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The table as a store.
    #[must_use]
    pub fn store(&self, key: DataKey) -> Store {
        store_on(&self.aws, &self.table, key)
    }
}

fn store_on(aws: &Aws, table: &str, key: DataKey) -> Store {
    Store::new(Table::new(aws.dynamodb(), table.to_owned()), key)
}

/// A table that is named by itself.
pub struct Named {
    /// Whose account.
    pub aws: Aws,
    name: String,
    state: TableState,
}

impl Named {
    /// The table of this name.
    ///
    /// # Errors
    /// When there is none, or AWS does not answer.
    pub async fn of(aws: Aws, name: &str) -> Result<Named, Failure> {
        let state = stack::table_state(&aws, name).await.map_err(|e| refused(&e))?;
        let region = aws.region();
        let none = || {
            Failure::usage(format!("there is no table {name} in {region}: the stack's output TableName names it; AWS_REGION?"))
        };
        Ok(Named { state: state.ok_or_else(none)?, name: name.to_owned(), aws })
    }

    /// The table as a store that opens nothing personal: for whoever does not look at it.
    #[must_use]
    pub fn store(&self) -> Store {
        store_on(&self.aws, &self.name, DataKey::new([0; 32]))
    }

    /// The table as a store that does, with the data key of its stack.
    ///
    /// # Errors
    /// When the key is not found.
    pub async fn store_with_key(&self) -> Result<Store, Failure> {
        let path = match std::env::var(PATH_VARIABLE).ok().filter(|p| !p.trim().is_empty()) {
            Some(path) => path,
            None => self.path().await?,
        };
        let found = Ssm::new(&self.aws).below(&path).await.map_err(|e| refused(&e))?;
        let key = found.get(DATA_KEY).and_then(DataKey::parse);
        let none = || Failure::usage(format!("{path}/{DATA_KEY} is not there or no data key: restore it from your safe copy"));
        Ok(store_on(&self.aws, &self.name, key.ok_or_else(none)?))
    }

    /// Where the parameters of the stack stand that this table belongs to.
    async fn path(&self) -> Result<String, Failure> {
        let stack = stack::stack_of(&self.aws, &self.state).await.map_err(|e| refused(&e))?;
        let unknown = || {
            let name = &self.name;
            Failure::usage(format!(
                "the table {name} belongs to no stack: name its parameters in {PATH_VARIABLE} (/vesper/<practice>)"
            ))
        };
        Ok(Deployment::of(self.aws.clone(), &stack.ok_or_else(unknown)?).await?.path)
    }
}
