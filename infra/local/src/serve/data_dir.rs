//! DIR: the file of everything, the data key, and the lock that lets only one serve run on it.

use crate::Failure;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::personal::DataKey;

/// See the module.
pub struct DataDir {
    path: PathBuf,
    _lock: Option<File>,
}

impl DataDir {
    /// Opens DIR for a serve, and makes it at the first start.
    ///
    /// # Errors
    /// When another serve runs on it, or it cannot be written.
    pub fn open(path: &Path) -> Result<DataDir, Failure> {
        let message = || format!("another vesper serve runs on {}: stop it, or use another --data", path.display());
        Self::open_if_free(path)?.ok_or_else(|| Failure::usage(message()))
    }

    /// The same; None when another serve runs on it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open_if_free(path: &Path) -> Result<Option<DataDir>, Failure> {
        let cannot = |e: std::io::Error| Failure::usage(format!("use the data directory {}: {e}", path.display()));
        // Sealed or not, it is nobody else's business.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(cannot)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
        }
        Ok(Some(DataDir { path: path.to_owned(), _lock: Some(lock) }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens DIR for setup, also beside a running serve, and makes it where it is missing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn at(path: &Path) -> Result<DataDir, Failure> {
        let cannot = |e: std::io::Error| Failure::usage(format!("use the data directory {}: {e}", path.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(cannot)?;
        Ok(DataDir { path: path.to_owned(), _lock: None })
    }

    /// Whether there is a table.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.path.join("vesper.db").is_file()
    }

    /// The data key as it is kept, to be copied.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn key_text(&self) -> Result<String, Failure> {
        fs::read_to_string(self.path.join("key")).map_err(|e| self.problem("read the data key of", &e))
    }

    /// Looks into DIR beside a running serve.
    ///
    /// # Errors
    /// When there is none.
    pub fn beside(path: &Path) -> Result<DataDir, Failure> {
        if !path.join("vesper.db").is_file() {
            return Err(Failure::usage(format!("{} is no data directory of vesper serve: --data names one", path.display())));
        }
        Ok(DataDir { path: path.to_owned(), _lock: None })
    }

    /// The engine on its file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn engine(&self) -> Result<Engine, Failure> {
        Engine::open(&self.path.join("vesper.db")).map_err(|e| self.problem("open", &e))
    }

    /// The engine on its file, refusing every write.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn engine_read_only(&self) -> Result<Engine, Failure> {
        Engine::open_read_only(&self.path.join("vesper.db")).map_err(|e| self.problem("open", &e))
    }

    fn problem(&self, what: &str, e: &dyn std::fmt::Display) -> Failure {
        Failure::problem(format!("{what} {}: {e}", self.path.display()))
    }

    /// The data key, made at the first start, readable by its owner only.
    ///
    /// # Errors
    /// When it cannot be read, or others may read it.
    pub fn key(&self) -> Result<DataKey, Failure> {
        let file = self.path.join("key");
        if !file.exists() {
            self.make_key(&file).map_err(|e| self.problem("make the data key in", &e))?;
        }
        self.existing_key()
    }

    /// The same, and none is made.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or others may read it.
    pub fn existing_key(&self) -> Result<DataKey, Failure> {
        let file = self.path.join("key");
        let mut text = String::new();
        let mut opened = File::open(&file).map_err(|e| self.problem("read the data key of", &e))?;
        opened.read_to_string(&mut text).map_err(|e| self.problem("read the data key of", &e))?;
        let mode = opened.metadata().map_err(|e| self.problem("read the data key of", &e))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Failure::usage(format!("others may read {}: chmod 600 {}", file.display(), file.display())));
        }
        let bad = || Failure::usage(format!("{} is no data key (64 hex digits): restore it from your safe copy", file.display()));
        DataKey::parse(&text).ok_or_else(bad)
    }

    /// Written beside its name and renamed, so that a crash leaves no half key.
    fn make_key(&self, file: &Path) -> std::io::Result<()> {
        let beside = self.path.join("key.new");
        let mut out = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        writeln!(out, "{}", hex::encode(super::random_32()))?;
        out.sync_all()?;
        fs::rename(&beside, file)?;
        File::open(&self.path)?.sync_all()
    }
}
