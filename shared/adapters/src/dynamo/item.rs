//! Typed items on top of rows, and the unit of work: everything that one decision changes, committed at once.
//!
//! Must not: decide what is stored; it only carries it.

use super::keys;
use super::row::{Cond, Op, Row};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;
use vesper_core::ids::InvoiceId;

/// Partition and sort key.
pub type Key = (String, String);

/// A kind of item. Its body is its JSON; its kind carries a version, so that a later release reads today's rows.
pub trait Stored: Serialize + DeserializeOwned {
    /// Kind and version, such as `PaymentV1`.
    const KIND: &'static str;
    /// Where it stands.
    fn key(&self) -> Key;
    /// When `due` is to look at it.
    fn due(&self) -> Option<Timestamp> {
        None
    }
    /// In which list it stands, and under which sort key.
    fn list(&self) -> Option<(String, String)> {
        None
    }
}

/// An item as it was read: with the revision that a later write is conditioned on.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// The item.
    pub item: T,
    /// Its revision.
    pub rev: u64,
    /// Its sealed personal data.
    pub sealed: Option<Vec<u8>>,
}

/// A stored body that this release cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a stored {kind}: {problem}")]
pub struct BadItem {
    /// The row's kind.
    pub kind: String,
    /// Where the JSON does not fit; no value from it.
    pub problem: String,
}

/// A moment as a sort key: whole seconds, so that texts sort like times.
#[must_use]
pub fn stamp(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The row of an item.
#[must_use]
pub fn row_of<T: Stored>(item: &T, rev: u64, sealed: Option<Vec<u8>>) -> Row {
    let (pk, sk) = item.key();
    let due = item.due().map(|at| format!("{}#{pk}#{sk}", stamp(at)));
    // A struct of strings, numbers and enums always serialises; an empty body would be refused when it is read.
    let body = serde_json::to_string(item).unwrap_or_default();
    Row { pk, sk, kind: T::KIND.to_owned(), body, rev, sealed, due, list: item.list(), expires_at_s: None }
}

/// The item of a row.
///
/// # Errors
/// [`BadItem`] when the row is of another kind or its body does not fit.
pub fn item_of<T: Stored>(row: &Row) -> Result<Read<T>, BadItem> {
    let bad = |problem: String| BadItem { kind: row.kind.clone(), problem };
    if row.kind != T::KIND {
        return Err(bad(format!("expected {}", T::KIND)));
    }
    let item = serde_json::from_str(&row.body).map_err(|e| bad(format!("line {} column {}", e.line(), e.column())))?;
    Ok(Read { item, rev: row.rev, sealed: row.sealed.clone() })
}

/// Everything that one step changes.
#[derive(Debug, Default)]
pub struct Unit {
    ops: Vec<Op>,
    keys: BTreeSet<Key>,
}

impl Unit {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Unit {
        Unit::default()
    }

    fn add(&mut self, op: Op) {
        self.keys.insert((op.pk().to_owned(), op.sk().to_owned()));
        self.ops.push(op);
    }

    /// Whether this key already stands in it.
    #[must_use]
    pub fn holds(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    /// A new item; the unit fails when one is there.
    pub fn insert<T: Stored>(&mut self, item: &T) {
        self.add(Op::Put { row: row_of(item, 0, None), cond: Cond::Absent });
    }

    /// A new item with sealed personal data, or a newer version of one that was read with this revision (0: there was none).
    pub fn put_sealed<T: Stored>(&mut self, item: &T, rev: u64, sealed: Option<Vec<u8>>) {
        self.add(Op::Put { row: row_of(item, rev, sealed), cond: Cond::Rev(rev) });
    }

    /// A newer version of an item that was read; the unit fails when it changed since.
    pub fn update<T: Stored>(&mut self, read: &Read<T>) {
        self.add(Op::Put { row: row_of(&read.item, read.rev, read.sealed.clone()), cond: Cond::Rev(read.rev) });
    }

    /// An item that says the same whoever writes it.
    pub fn put<T: Stored>(&mut self, item: &T) {
        self.add(Op::Put { row: row_of(item, 0, None), cond: Cond::None });
    }

    /// The same with a revision that nobody has seen, made of `nonce`: who read the item before cannot change or remove it now.
    pub fn put_anew<T: Stored>(&mut self, item: &T, nonce: u64) {
        self.add(Op::Put { row: row_of(item, nonce >> 1, None), cond: Cond::None });
    }

    /// The item of this key goes, if it is there.
    pub fn remove(&mut self, key: Key) {
        self.add(Op::Delete { pk: key.0, sk: key.1, cond: Cond::None });
    }

    /// The item that was read goes; the unit fails when it changed since.
    pub fn remove_read<T: Stored>(&mut self, read: &Read<T>) {
        let (pk, sk) = read.item.key();
        self.add(Op::Delete { pk, sk, cond: Cond::Rev(read.rev) });
    }

    /// Nothing; the unit fails when this invoice is known to be somebody's.
    pub fn expect_no_home(&mut self, invoice: &InvoiceId) {
        let (pk, sk) = keys::invoice_home(invoice);
        self.add(Op::Check { pk, sk, cond: Cond::Absent });
    }

    /// How many items it touches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn into_ops(self) -> Vec<Op> {
        self.ops
    }
}
