//! A local data directory that is set up: its key, its tables, and the file of its secrets.
//!
//! Must not: make a key over another one.

use super::report::Report;
use super::{Opened, copy_key};
use crate::Failure;
use crate::secrets::SecretsFile;
use crate::serve::data_dir::DataDir;
use crate::stack::build::{queue_table_on, store_on};
use crate::stack::host::LocalHost;
use std::path::Path;
use std::sync::Arc;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::personal::DataKey;

const AREA: &str = "data key";

/// Makes directory, key and tables where they are missing.
///
/// # Errors
/// When something cannot be written, or there are data and no key.
pub(super) async fn open(
    path: &Path,
    key_copy: Option<&Path>,
    dry_run: bool,
    report: &mut Report<'_>,
) -> Result<Opened, Failure> {
    let (dir, key) = directory(path, key_copy, report)?;
    let store = match &dir {
        Some(dir) => store(dir, &key, dry_run).await?,
        None => None,
    };
    let place = Box::new(SecretsFile::of(path)?);
    Ok(Opened { place, store, key, url: None, host: Arc::new(LocalHost::real()) })
}

/// The directory and its key; in a dry run that would make it, none.
fn directory(path: &Path, key_copy: Option<&Path>, report: &mut Report<'_>) -> Result<(Option<DataDir>, DataKey), Failure> {
    let made = !path.join("key").exists();
    if made && path.join("vesper.db").is_file() {
        let text = format!("{0} has data and no key: restore {0}/key from your safe copy", path.display());
        return Err(Failure::usage(text));
    }
    let text = format!("make {}/key, 32 random bytes", path.display());
    if made && !report.may(AREA, &text) {
        return Ok((None, DataKey::new([0; 32])));
    }
    let dir = DataDir::at(path)?;
    let key = dir.key()?;
    if made {
        report.changed(
            AREA,
            format!("{text}: keep a copy in another place (--key-copy FILE); without it nothing personal can be read again"),
        );
    } else {
        report.unchanged(AREA, format!("{}/key is there", path.display()));
    }
    if let Some(copy) = key_copy
        && report.may(AREA, &format!("copy the key to {}", copy.display()))
    {
        copy_key(&dir.key_text()?, copy)?;
        report.changed(AREA, format!("a copy of the key is in {}", copy.display()));
    }
    Ok((Some(dir), key))
}

/// The table; a dry run makes none, and opens what there is without the right to write.
async fn store(dir: &DataDir, key: &DataKey, dry_run: bool) -> Result<Option<Store>, Failure> {
    if dry_run {
        return Ok(if dir.has_data() { Some(store_on(&dir.engine_read_only()?, key.clone())) } else { None });
    }
    let engine = dir.engine()?;
    let store = store_on(&engine, key.clone());
    let failed = |e: &dyn std::fmt::Display| Failure::problem(format!("make the tables: {e}"));
    store.table().create_if_absent().await.map_err(|e| failed(&e))?;
    queue_table_on(&engine).create_if_absent().await.map_err(|e| failed(&e))?;
    Ok(Some(store))
}
