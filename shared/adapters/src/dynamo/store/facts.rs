//! Small facts: one value under a name, plain or sealed.

use super::{Failed, Store};
use crate::dynamo::item::{BadItem, Read, row_of};
use crate::dynamo::keys;
use crate::dynamo::model::Meta;
use crate::dynamo::row::Cond;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Store {
    /// A small fact.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn meta<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Read<T>>, Failed> {
        let read = self.get::<Meta>(keys::meta(name)).await?;
        Ok(read.map(|read| fact_of(read, name)).transpose()?)
    }

    /// Stores a small fact, on the condition that it has this revision (0: there is none). Returns the new revision.
    ///
    /// # Errors
    /// `Conflict` when somebody changed it.
    pub async fn set_meta<T: Serialize>(&self, name: &str, value: &T, rev: u64) -> Result<u64, Failed> {
        let value = serde_json::to_value(value).unwrap_or_default();
        let row = row_of(&Meta { name: name.to_owned(), value }, rev, None);
        Ok(self.table.put(row, Cond::Rev(rev)).await?)
    }

    /// A small fact that is sealed, because it is a secret.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn secret_meta<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Read<T>>, Failed> {
        let read = self.get::<Meta>(keys::meta(name)).await?;
        Ok(read.map(|read| self.secret_of(&read, name)).transpose()?)
    }

    pub(super) fn secret_of<T: DeserializeOwned>(&self, read: &Read<Meta>, name: &str) -> Result<Read<T>, BadItem> {
        let bad = |problem: &str| BadItem { kind: format!("MetaV1 {name}"), problem: problem.to_owned() };
        let sealed = read.sealed.as_ref().ok_or_else(|| bad("nothing sealed"))?;
        let plain = self.key.open(name, sealed).map_err(|_| bad("it does not open with this data key"))?;
        let item = serde_json::from_slice(&plain).map_err(|e| bad(&e.classify_text()))?;
        Ok(Read { item, rev: read.rev, sealed: None })
    }

    /// Stores a sealed small fact.
    ///
    /// # Errors
    /// `Conflict` when somebody changed it.
    pub async fn set_secret_meta<T: Serialize>(&self, name: &str, value: &T, rev: u64, nonce: [u8; 12]) -> Result<u64, Failed> {
        let plain = serde_json::to_vec(value).unwrap_or_default();
        let sealed = self.key.seal(name, nonce, &plain);
        let row = row_of(&Meta { name: name.to_owned(), value: serde_json::Value::Null }, rev, Some(sealed));
        Ok(self.table.put(row, Cond::Rev(rev)).await?)
    }
}

pub(super) fn fact_of<T: DeserializeOwned>(read: Read<Meta>, name: &str) -> Result<Read<T>, BadItem> {
    let bad = |e: serde_json::Error| BadItem { kind: format!("MetaV1 {name}"), problem: e.classify_text() };
    let item = serde_json::from_value(read.item.value).map_err(bad)?;
    Ok(Read { item, rev: read.rev, sealed: read.sealed })
}

trait ClassifyText {
    fn classify_text(&self) -> String;
}

impl ClassifyText for serde_json::Error {
    /// Where it does not fit; never what stands there.
    fn classify_text(&self) -> String {
        format!("line {} column {}", self.line(), self.column())
    }
}
