//! What is wrong with the settings: file, line, key, what is expected and the remedy, one line each.
//!
//! Must not: show a secret, nor the value of a key that Vesper does not know.

use std::fmt;

/// One thing that is wrong with the settings or the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The file; None for a secret, which has none.
    pub file: Option<String>,
    /// The line in it, from 1; None when the key stands nowhere.
    pub line: Option<usize>,
    /// What is wrong, with the full key or the name of the secret, what is expected, and the remedy.
    pub problem: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: {}", self.problem),
            (Some(file), None) => write!(f, "{file}: {}", self.problem),
            (None, _) => f.write_str(&self.problem),
        }
    }
}

/// Everything that is wrong, so that one run shows all of it. Prints one per line, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsErrors(pub Vec<SettingsError>);

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsErrors {}
