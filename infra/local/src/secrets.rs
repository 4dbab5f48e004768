//! DIR/secrets.env: where `vesper setup` keeps the secrets of a local deployment, one `NAME=value` a line, readable by its owner
//! only. The environment wins over it (contracts/settings.md, Secrets).
//!
//! Must not: show a value.

use crate::Failure;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use vesper_adapters::personal::Secret;

/// Its name in DIR.
const NAME: &str = "secrets.env";

/// See the module.
pub struct SecretsFile {
    path: PathBuf,
    values: BTreeMap<String, Secret>,
}

impl SecretsFile {
    /// Reads the file of a data directory; one that is not there is empty.
    ///
    /// # Errors
    /// When it cannot be read, others may read it, or a line is no `NAME=value`.
    pub fn of(dir: &Path) -> Result<SecretsFile, Failure> {
        let path = dir.join(NAME);
        let shown = path.display().to_string();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(SecretsFile { path, values: BTreeMap::new() }),
            Err(e) => return Err(Failure::usage(format!("read the secrets {shown}: {e}"))),
        };
        let mode =
            fs::metadata(&path).map_err(|e| Failure::usage(format!("read the secrets {shown}: {e}")))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Failure::usage(format!("others may read {shown}: chmod 600 {shown}")));
        }
        let mut values = BTreeMap::new();
        for (n, line) in text.lines().enumerate().map(|(n, line)| (n.saturating_add(1), line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = || Failure::usage(format!("{shown}:{n}: this line is no NAME=value: correct or remove it"));
            let (name, value) = line.split_once('=').ok_or_else(bad)?;
            values.insert(name.trim().to_owned(), Secret::new(value.trim()));
        }
        Ok(SecretsFile { path, values })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A secret of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.values.get(name)
    }

    /// What the settings ask for: the environment's, else the file's.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.get(name).map(|s| s.expose().to_owned()))
    }

    /// Stores a secret; the file is whole before and after, also when the machine stops in between.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, name: &str, value: &Secret) -> Result<(), Failure> {
        self.values.insert(name.to_owned(), value.clone());
        self.write().map_err(|e| Failure::problem(format!("store {name} in {}: {e}", self.path.display())))
    }

    fn write(&self) -> std::io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut out = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        writeln!(out, "# Made by vesper setup. The environment of vesper serve wins over this file.")?;
        for (name, value) in &self.values {
            writeln!(out, "{name}={}", value.expose())?;
        }
        out.sync_all()?;
        fs::rename(&beside, &self.path)?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_back_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = SecretsFile::of(dir.path()).unwrap();
        assert!(file.get("A").is_none());
        file.put("A", &Secret::new("1=2")).unwrap();
        file.put("B", &Secret::new("b")).unwrap();
        let again = SecretsFile::of(dir.path()).unwrap();
        assert_eq!((again.get("A").unwrap().expose(), again.get("B").unwrap().expose()), ("1=2", "b"));
        assert_eq!(again.lookup("B").as_deref(), Some("b"));
        let mode = |m: u32| fs::set_permissions(again.path(), fs::Permissions::from_mode(m)).unwrap();
        assert_eq!(fs::metadata(again.path()).unwrap().permissions().mode() & 0o777, 0o600);
        mode(0o640);
        assert!(SecretsFile::of(dir.path()).err().unwrap().message.contains("chmod 600"));
    }

    #[test]
    fn a_line_that_is_no_secret_is_refused_by_its_number_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        fs::write(&path, "# c\n\nA=1\nwhsec_lost\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let message = SecretsFile::of(dir.path()).err().unwrap().message;
        assert!(message.contains("secrets.env:4") && !message.contains("whsec"), "{message}");
    }
}
