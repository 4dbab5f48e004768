//! Tells on a terminal what a command is at; nothing elsewhere.
//!
//! Must not: write to standard output.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::Duration;

/// See the module.
pub struct Steps(Option<ProgressBar>);

impl Steps {
    /// On standard error, where that is a terminal.
    #[must_use]
    pub fn on_stderr() -> Steps {
        if !std::io::stderr().is_terminal() {
            return Steps(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Steps(Some(bar))
    }

    /// What comes next.
    pub fn tell(&self, what: &'static str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what);
        }
    }

    /// Writes something else meanwhile.
    pub fn around(&self, write: impl FnOnce()) {
        match &self.0 {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// It is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
