//! What doctor found: one line each, and how to mend it.
//!
//! Must not: hold a secret or anything personal.

use serde::Serialize;
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// It could not be looked at, and why.
    Skipped,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work, or money may go wrong.
    Problem,
}

impl Level {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Skipped => "skipped",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `config`, `stripe key`, ...
    pub area: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found, in plain words.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<17} {}", self.level.as_str(), self.area, self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n{:26} -> {remedy}", ""),
            None => Ok(()),
        }
    }
}

/// All findings of one area, as they are made.
pub(super) struct Area<'a> {
    name: &'static str,
    all: &'a mut Vec<Finding>,
}

impl<'a> Area<'a> {
    pub(super) fn new(name: &'static str, all: &'a mut Vec<Finding>) -> Self {
        Self { name, all }
    }

    fn add(&mut self, level: Level, text: String, remedy: Option<String>) {
        self.all.push(Finding { area: self.name, level, text, remedy });
    }

    pub(super) fn ok(&mut self, text: impl Into<String>) {
        self.add(Level::Ok, text.into(), None);
    }

    pub(super) fn skipped(&mut self, text: impl Into<String>) {
        self.add(Level::Skipped, text.into(), None);
    }

    pub(super) fn warning(&mut self, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, text.into(), Some(remedy.into()));
    }

    pub(super) fn problem(&mut self, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Problem, text.into(), Some(remedy.into()));
    }
}
