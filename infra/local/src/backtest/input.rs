//! The two input files, line by line: what a line says, when it counts, and what is wrong with it.
//!
//! Must not: keep more than one line of a file, or put a value of a line into a message (it may be a name or an address).

use crate::Failure;
use serde::Deserialize;
use std::io::{BufRead, Read};
use vesper_adapters::ehr::{Change, change_from_json};
use vesper_adapters::personal::{DataKey, EmailHasher};
use vesper_adapters::stripe::wire::{Incoming, MetadataKeys, Projection, project};

/// The longest line that is read, in bytes; Stripe's events and EHR records are a few thousand.
const LINE_BYTES_MAX: usize = 16 << 20;

/// How many bad lines are told one by one.
const BAD_LINES_TOLD: u64 = 20;

/// What one line holds.
pub enum Parsed<T> {
    /// Something that counts from this second on (unix time).
    Item(i64, T),
    /// Nothing that Vesper knows: skipped and counted.
    Unknown,
    /// It cannot be read: why.
    Bad(String),
}

/// Reads a line: its text and number.
pub trait ReadLine<T> {
    /// What the line holds.
    fn read(&self, line: &[u8], number: u64) -> Parsed<T>;
}

/// Reads EHR records.
pub struct Records {
    hasher: EmailHasher,
}

/// Reads Stripe's events.
pub struct Events {
    projection: Projection,
}

/// Both readers. Hashes of e-mail addresses never leave the process, so any key does.
#[must_use]
pub fn readers(keys: MetadataKeys) -> (Records, Events) {
    let hasher = DataKey::new([0; 32]).email_hasher();
    (Records { hasher: hasher.clone() }, Events { projection: Projection { keys, hasher } })
}

impl ReadLine<Change> for Records {
    fn read(&self, line: &[u8], number: u64) -> Parsed<Change> {
        let change = change_from_json(line, number, &self.hasher);
        let at = match &change {
            Change::Client { client, .. } => client.seen.observed_at,
            Change::Invoice(invoice) => invoice.seen.observed_at,
            Change::Payment(payment) => payment.seen.observed_at,
            Change::UnknownKind { .. } => return Parsed::Unknown,
            Change::Unreadable { problem, .. } => return Parsed::Bad(problem.clone()),
        };
        Parsed::Item(at.as_second(), change)
    }
}

#[derive(Deserialize)]
struct Delivery {
    delivered_at: Option<i64>,
}

impl ReadLine<Incoming> for Events {
    fn read(&self, line: &[u8], _number: u64) -> Parsed<Incoming> {
        let incoming = match project(line, &self.projection) {
            Ok(incoming) => incoming,
            Err(problem) => return Parsed::Bad(problem.to_string()),
        };
        let created = incoming.event.created.as_second();
        if !holds(line, b"\"delivered_at\"") {
            return Parsed::Item(created, incoming);
        }
        match serde_json::from_slice::<Delivery>(line) {
            Ok(delivery) => Parsed::Item(delivery.delivered_at.unwrap_or(created), incoming),
            Err(_) => Parsed::Bad("`delivered_at` is not a whole number of unix seconds".to_owned()),
        }
    }
}

/// Whether the bytes stand in the line: a look that is cheaper than reading the JSON once more.
fn holds(line: &[u8], what: &[u8]) -> bool {
    // From the end: who writes the field appends it, as a rule.
    let first = what.first().copied();
    line.windows(what.len()).rev().any(|w| w.first().copied() == first && w.get(1) == what.get(1) && w == what)
}

/// One input file, read to its next item.
pub struct Feed<R, L, T> {
    reader: R,
    name: String,
    parse: L,
    number: u64,
    buffer: Vec<u8>,
    head: Option<(i64, T)>,
    bytes: u64,
    /// Lines that could not be read.
    pub bad: u64,
    /// Lines of a kind that Vesper does not know.
    pub unknown: u64,
    /// The first bad lines, as they are told: file, line, what is wrong.
    pub told: Vec<String>,
}

impl<R: BufRead, T, L: ReadLine<T>> Feed<R, L, T> {
    /// A feed that stands before its first line. `name` is how messages call the file.
    pub fn new(reader: R, name: impl Into<String>, parse: L) -> Self {
        let (buffer, told) = (Vec::new(), Vec::new());
        Self { reader, name: name.into(), parse, number: 0, buffer, head: None, bytes: 0, bad: 0, unknown: 0, told }
    }

    /// When the next item counts; None at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_at(&mut self) -> Result<Option<i64>, Failure> {
        while self.head.is_none() {
            if !self.read_line()? {
                return Ok(None);
            }
            let line = self.buffer.trim_ascii();
            if line.is_empty() {
                continue;
            }
            match self.parse.read(line, self.number) {
                Parsed::Item(at, item) => self.head = Some((at, item)),
                Parsed::Unknown => self.unknown += 1,
                Parsed::Bad(problem) => self.tell(&problem),
            }
        }
        Ok(self.head.as_ref().map(|(at, _)| *at))
    }

    /// The item that [`Feed::next_at`] spoke of.
    pub fn take(&mut self) -> Option<(i64, T)> {
        self.head.take()
    }

    /// The file and the line that was read last, as messages name it.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.name, self.number)
    }

    /// How many bytes were read so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn tell(&mut self, problem: &str) {
        self.bad += 1;
        if self.bad <= BAD_LINES_TOLD {
            self.told.push(format!("{}: {problem}", self.place()));
        }
    }

    /// Reads the next line into the buffer; false at the end. An overlong line is emptied: it is told as one that is no JSON.
    fn read_line(&mut self) -> Result<bool, Failure> {
        self.buffer.clear();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let told = |e: std::io::Error, place: String| Failure::usage(format!("{place}: cannot be read: {e}"));
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut self.buffer);
        let mut read = read.map_err(|e| told(e, format!("{}:{}", self.name, self.number + 1)))?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        if read == LINE_BYTES_MAX && self.buffer.last() != Some(&b'\n') {
            read += self.skip_rest().map_err(|e| told(e, self.place()))?;
            self.buffer.clear();
            self.tell("the line is longer than 16 MiB");
        }
        self.bytes += u64::try_from(read).unwrap_or_default();
        Ok(true)
    }

    fn skip_rest(&mut self) -> std::io::Result<usize> {
        let mut skipped = 0;
        loop {
            let chunk = self.reader.fill_buf()?;
            let end = chunk.iter().position(|b| *b == b'\n');
            let length = end.map_or(chunk.len(), |at| at + 1);
            let done = end.is_some() || chunk.is_empty();
            self.reader.consume(length);
            skipped += length;
            if done {
                return Ok(skipped);
            }
        }
    }
}
