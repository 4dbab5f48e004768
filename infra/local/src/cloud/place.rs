//! SSM as the place of a stack's secrets: SecureStrings below the path that its functions read, wrapped by the practice's own key
//! where the stack has one.
//!
//! Must not: show a value.

use super::{Deployment, refused};
use crate::Failure;
use crate::setup::Place;
use std::collections::BTreeMap;
use vesper_adapters::aws::parameters::{CONFIG, Parameters, Put, Ssm, parted};
use vesper_adapters::http::BoxFuture;
use vesper_adapters::personal::Secret;

/// See the module.
pub struct ParameterPlace {
    ssm: Ssm,
    path: String,
    key_arn: Option<String>,
    known: BTreeMap<String, Secret>,
}

impl ParameterPlace {
    /// The place of a stack whose parameters were read.
    #[must_use]
    pub fn of(deployment: &Deployment, parameters: &Parameters) -> ParameterPlace {
        let of = |name: &str| Some((name.to_owned(), Secret::new(parameters.get(name)?)));
        ParameterPlace {
            ssm: Ssm::new(&deployment.aws),
            path: deployment.path.clone(),
            key_arn: deployment.key_arn.clone(),
            known: parameters.names().filter_map(of).collect(),
        }
    }

    /// Stores what is not there yet; false when something is.
    ///
    /// # Errors
    /// When SSM does not answer, or does not allow it.
    pub async fn put_new(&mut self, name: &str, value: &Secret) -> Result<bool, Failure> {
        let stored = self.ssm.put(&format!("{}/{name}", self.path), value, self.key_arn.as_deref(), false).await;
        let stored = stored.map_err(|e| refused(&e))? == Put::Stored;
        if stored {
            self.known.insert(name.to_owned(), value.clone());
        }
        Ok(stored)
    }

    /// The names of the parameters that another key than the stack's own wraps: they were stored before it had one.
    ///
    /// # Errors
    /// When SSM does not answer, or does not allow it.
    pub async fn wrapped_otherwise(&self) -> Result<Vec<String>, Failure> {
        let Some(own) = &self.key_arn else { return Ok(Vec::new()) };
        let keys = self.ssm.keys_below(&self.path).await.map_err(|e| refused(&e))?;
        Ok(keys.into_iter().filter(|(name, key)| key != own && self.known.contains_key(name)).map(|(name, _)| name).collect())
    }

    /// Stores practice.toml in the place of what is there, so that a reader finds the old text or the new one: of several parts
    /// those that are left over go last.
    ///
    /// # Errors
    /// When SSM does not answer, or does not allow it.
    pub async fn put_config(&mut self, text: &str) -> Result<(), Failure> {
        let parts = parted(text);
        for (name, part) in &parts {
            self.put(name, &Secret::new(part.as_str())).await?;
        }
        let is_config = |name: &&String| *name == CONFIG || name.strip_prefix(CONFIG).is_some_and(|rest| rest.starts_with('/'));
        let old: Vec<String> = self.known.keys().filter(is_config).filter(|name| !parts.contains_key(*name)).cloned().collect();
        for name in old {
            self.ssm.remove(&format!("{}/{name}", self.path)).await.map_err(|e| refused(&e))?;
            self.known.remove(&name);
        }
        Ok(())
    }
}

impl Place for ParameterPlace {
    fn get(&self, name: &str) -> Option<Secret> {
        self.known.get(name).cloned()
    }

    fn put<'a>(&'a mut self, name: &'a str, value: &'a Secret) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let full = format!("{}/{name}", self.path);
            self.ssm.put(&full, value, self.key_arn.as_deref(), true).await.map_err(|e| refused(&e))?;
            self.known.insert(name.to_owned(), value.clone());
            Ok(())
        })
    }

    fn called(&self) -> String {
        format!("{} in SSM", self.path)
    }
}
