//! The lines of `--out` (contracts/backtest.md): their form, their order, and the file that appears only when all went well.

use crate::Failure;
use serde::Serialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use vesper_core::ids::{CustomerId, EventId, InvoiceId, PaymentId};
use vesper_core::money::{Currency, Minor};
use vesper_core::review::Reason;

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// One invoice, its client share now fully paid.
    Matched,
    /// One invoice, still open.
    Partial,
    /// Two or more invoices.
    Split,
    /// All of it is client credit.
    Credit,
    /// A person is asked.
    Review,
    /// Not ours: the other livemode.
    Ignored,
}

impl Outcome {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Matched => "matched",
            Outcome::Partial => "partial",
            Outcome::Split => "split",
            Outcome::Credit => "credit",
            Outcome::Review => "review",
            Outcome::Ignored => "ignored",
        }
    }
}

/// What one invoice gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineShare {
    /// The invoice.
    pub invoice: InvoiceId,
    /// Minor units.
    pub amount: Minor,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The PaymentIntent, or the charge without one.
    pub payment: PaymentId,
    /// The event that decided.
    pub event: EventId,
    /// The customer; None for a guest.
    pub customer: Option<CustomerId>,
    /// What was received, in minor units.
    pub amount: Minor,
    /// Of the amount.
    pub currency: Currency,
    /// What became of it.
    pub outcome: Outcome,
    /// The rule of design.md section 4; None when it is not ours.
    pub rule: Option<u8>,
    /// What it pays.
    pub allocations: Vec<LineShare>,
    /// What is left.
    pub unapplied: Minor,
    /// Why a person is asked.
    pub review: Option<Reason>,
    /// One sentence without personal data.
    pub why: String,
}

/// Lines in order of first delivery: those behind a parked payment wait for it.
#[derive(Debug, Default)]
pub struct InOrder {
    first: u64,
    lines: VecDeque<Option<Line>>,
}

impl InOrder {
    /// Takes the next place.
    pub fn place(&mut self) -> u64 {
        self.lines.push_back(None);
        self.first + u64::try_from(self.lines.len()).unwrap_or_default() - 1
    }

    /// Fills a place; false when it was filled before, which would be a second decision.
    pub fn fill(&mut self, place: u64, line: Line) -> bool {
        let slot = place.checked_sub(self.first).and_then(|n| usize::try_from(n).ok()).and_then(|n| self.lines.get_mut(n));
        match slot {
            Some(slot @ None) => {
                *slot = Some(line);
                true
            }
            _ => false,
        }
    }

    /// The next line that nothing before it holds up.
    pub fn next_ready(&mut self) -> Option<Line> {
        let line = self.lines.front_mut()?.take()?;
        self.lines.pop_front();
        self.first += 1;
        Some(line)
    }

    /// How many lines are held up.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lines.len()
    }
}

/// The output file: written beside its name, renamed at the end. What is dropped before that leaves nothing.
pub struct OutFile {
    target: PathBuf,
    beside: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl OutFile {
    /// Opens the file beside the name that it will have.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(target: &Path) -> Result<OutFile, Failure> {
        let mut beside = target.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        if target.is_dir() {
            return Err(Failure::usage(format!("{}: is a directory: name a file with --out", target.display())));
        }
        let file = File::create(&beside).map_err(|e| cannot_write(&beside, &e))?;
        Ok(OutFile { target: target.to_owned(), beside, writer: Some(BufWriter::with_capacity(1 << 18, file)) })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, line: &Line) -> Result<(), Failure> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written =
            serde_json::to_writer(&mut *writer, line).map_err(std::io::Error::from).and_then(|()| writer.write_all(b"\n"));
        written.map_err(|e| cannot_write(&self.beside, &e))
    }

    /// Makes the file appear under its name.
    ///
    /// # Errors
    /// When it cannot be written to the end or renamed.
    pub fn finish(mut self) -> Result<(), Failure> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let file = writer.into_inner().map_err(|e| cannot_write(&self.beside, e.error()));
        let done = file.and_then(|f| f.sync_all().map_err(|e| cannot_write(&self.beside, &e)));
        let done = done.and_then(|()| std::fs::rename(&self.beside, &self.target).map_err(|e| cannot_write(&self.target, &e)));
        if done.is_err() {
            let _ = std::fs::remove_file(&self.beside);
        }
        done
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // Nothing more can be done about a half-written file that does not go away.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{}: cannot be written: {error}: choose another place with --out", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(payment: &str) -> Line {
        Line {
            payment: PaymentId::parse(payment).unwrap(),
            event: EventId::parse("evt_1").unwrap(),
            customer: None,
            amount: Minor::new(4200).unwrap(),
            currency: Currency::USD,
            outcome: Outcome::Matched,
            rule: Some(3),
            allocations: vec![LineShare { invoice: InvoiceId::parse("inv_1").unwrap(), amount: Minor::new(4200).unwrap() }],
            unapplied: Minor::ZERO,
            review: None,
            why: "the metadata names this invoice".to_owned(),
        }
    }

    #[test]
    fn a_line_looks_as_in_the_contract() {
        let want = r#"{"payment":"pi_1","event":"evt_1","customer":null,"amount":4200,"currency":"usd","outcome":"matched","rule":3,"allocations":[{"invoice":"inv_1","amount":4200}],"unapplied":0,"review":null,"why":"the metadata names this invoice"}"#;
        assert_eq!(serde_json::to_string(&line("pi_1")).unwrap(), want);
    }

    #[test]
    fn lines_wait_for_those_before_them_and_a_place_is_filled_once() {
        let mut lines = InOrder::default();
        let (a, b, c) = (lines.place(), lines.place(), lines.place());
        assert!(lines.fill(b, line("pi_b")));
        assert_eq!(lines.next_ready(), None);
        assert!(lines.fill(a, line("pi_a")));
        assert!(!lines.fill(a, line("pi_a")));
        assert_eq!(lines.next_ready().unwrap().payment.as_str(), "pi_a");
        assert_eq!(lines.next_ready().unwrap().payment.as_str(), "pi_b");
        assert!(!lines.fill(a, line("pi_a")), "also after it was written");
        assert_eq!((lines.next_ready(), lines.held()), (None, 1));
        assert!(lines.fill(c, line("pi_c")));
    }
}
