//! Where a deployment keeps its secrets: a file beside its data locally, parameters on AWS.
//!
//! Must not: show a value.

use crate::Failure;
use crate::secrets::SecretsFile;
use vesper_adapters::http::BoxFuture;
use vesper_adapters::personal::Secret;

/// See the module.
pub trait Place: Send {
    /// The stored secret of this name.
    fn get(&self, name: &str) -> Option<Secret>;
    /// Stores it in the place of an older one.
    fn put<'a>(&'a mut self, name: &'a str, value: &'a Secret) -> BoxFuture<'a, Result<(), Failure>>;
    /// What the place is called, for a person.
    fn called(&self) -> String;
}

impl Place for SecretsFile {
    fn get(&self, name: &str) -> Option<Secret> {
        SecretsFile::get(self, name).cloned()
    }

    fn put<'a>(&'a mut self, name: &'a str, value: &'a Secret) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(SecretsFile::put(self, name, value)))
    }

    fn called(&self) -> String {
        self.path().display().to_string()
    }
}
