//! Tells on standard error how far the month is: a bar on a terminal, a line per week elsewhere.
//!
//! Must not: write to standard output, which is the summary's.

use super::plan::TIME_ZONE;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;

/// See the module.
pub(super) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Into a file or pipe: the last day told.
    Lines(Mutex<Option<Date>>),
    /// In tests.
    #[cfg(test)]
    Silent,
}

fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::get(TIME_ZONE).unwrap_or(TimeZone::UTC)).date()
}

impl Progress {
    /// On standard error, of so many happenings.
    pub(super) fn on_stderr(total: usize) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines(Mutex::new(None));
        }
        let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
        if let Ok(style) = ProgressStyle::with_template("{msg:>12} {bar:40} {percent:>3} %") {
            bar.set_style(style);
        }
        Progress::Bar(bar)
    }

    /// So many more happenings; it is now this late in the made-up month.
    pub(super) fn advance(&self, count: u64, at: Timestamp) {
        let day = day_of(at);
        match self {
            Progress::Bar(bar) => {
                bar.set_message(day.strftime("%a %-d %b").to_string());
                bar.inc(count);
            }
            Progress::Lines(told) => {
                let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let week = |d: Date| d.iso_week_date().week();
                if told.is_none_or(|t| week(t) != week(day)) {
                    // Nobody is left to be told when standard error is closed.
                    let _ = writeln!(std::io::stderr(), "vesper demo: {}", day.strftime("week of %-d %B %Y"));
                    *told = Some(day);
                }
            }
            #[cfg(test)]
            Progress::Silent => {}
        }
    }

    /// The month is over.
    pub(super) fn finish(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
