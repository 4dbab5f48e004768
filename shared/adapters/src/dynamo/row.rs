//! One stored item of the table, its conditions, and its form as DynamoDB attributes.
//!
//! Must not: know what a body means (the repositories do), or show a body or sealed bytes in `Debug` or in an error.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use std::{collections::HashMap, fmt};

/// An item as the SDK holds it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Partition key of the table.
pub(super) const PK: &str = "pk";
/// Sort key of the table.
pub(super) const SK: &str = "sk";
/// The revision, counted up by every put.
pub(super) const REV: &str = "rev";
/// Partition key of the index `due`; always [`DUE_PARTITION`].
pub(super) const DUE_PK: &str = "due_pk";
/// Sort key of the index `due`.
pub(super) const DUE: &str = "due";
/// The one partition of the index `due`.
pub(super) const DUE_PARTITION: &str = "DUE";
/// Partition key of the index `list`.
pub(super) const LIST: &str = "list";
/// Sort key of the index `list`.
pub(super) const LIST_SORT: &str = "list_sort";
/// The TTL attribute: Unix seconds.
pub(super) const TTL: &str = "ttl";
/// Random bytes of one put: by them a put whose answer was lost is recognised when the SDK repeats it.
pub(super) const WRITE_ID: &str = "w";
/// Kind and version of the body.
pub(super) const KIND: &str = "kind";
const BODY: &str = "body";
const SEALED: &str = "sealed";

/// One stored item. `body` is JSON of a versioned kind such as `PaymentV1`.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Partition key.
    pub pk: String,
    /// Sort key.
    pub sk: String,
    /// Kind and version of the body, such as `PaymentV1`, so that a later release reads today's rows.
    pub kind: String,
    /// JSON; never personal data in the clear.
    pub body: String,
    /// Revision; 0 for a row never stored. A put stores `rev + 1`.
    pub rev: u64,
    /// Encrypted personal data (a binary attribute).
    pub sealed: Option<Vec<u8>>,
    /// Sort key in the index `due`: RFC 3339 in UTC, `#`, anything. `None`: not in it.
    pub due: Option<String>,
    /// (list name, sort key) in the index `list`. `None`: not in it. Sort keys should be unique in their list.
    pub list: Option<(String, String)>,
    /// When the store may delete the row, Unix seconds. It does so late: a reader must not rely on it.
    pub expires_at_s: Option<i64>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys may end in a keyed hash or an id; body and sealed bytes are what must not be seen.
        f.debug_struct("Row")
            .field("pk", &self.pk)
            .field("sk", &self.sk)
            .field("kind", &self.kind)
            .field("rev", &self.rev)
            .field("body_bytes", &self.body.len())
            .field("sealed_bytes", &self.sealed.as_ref().map(Vec::len))
            .field("due", &self.due)
            .field("list", &self.list)
            .field("expires_at_s", &self.expires_at_s)
            .finish()
    }
}

/// What must hold of the stored row for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cond {
    /// Nothing.
    None,
    /// No row is stored under the key.
    Absent,
    /// The stored row has exactly this revision ([`Row::rev`] as read). Revision 0 is never stored: `Rev(0)` is [`Cond::Absent`].
    Rev(u64),
}

/// One part of a transaction. No two parts of one transaction may name the same key.
#[derive(Debug, Clone)]
pub enum Op {
    /// Stores the row with revision `row.rev + 1`.
    Put {
        /// What is stored.
        row: Row,
        /// On what condition.
        cond: Cond,
    },
    /// Deletes the row; a row that is not there is no error unless the condition says so.
    Delete {
        /// Partition key.
        pk: String,
        /// Sort key.
        sk: String,
        /// On what condition.
        cond: Cond,
    },
    /// Writes nothing; the transaction happens only if the condition holds. [`Cond::None`] is a programming error.
    Check {
        /// Partition key.
        pk: String,
        /// Sort key.
        sk: String,
        /// The condition.
        cond: Cond,
    },
}

impl Op {
    /// Its condition.
    #[must_use]
    pub const fn cond(&self) -> Cond {
        match self {
            Op::Put { cond, .. } | Op::Delete { cond, .. } | Op::Check { cond, .. } => *cond,
        }
    }

    /// Sort key of the part.
    #[must_use]
    pub fn sk(&self) -> &str {
        match self {
            Op::Put { row, .. } => &row.sk,
            Op::Delete { sk, .. } | Op::Check { sk, .. } => sk,
        }
    }

    /// Partition key of the part.
    #[must_use]
    pub fn pk(&self) -> &str {
        match self {
            Op::Put { row, .. } => &row.pk,
            Op::Delete { pk, .. } | Op::Check { pk, .. } => pk,
        }
    }
}

/// The two attributes of a key.
pub(super) fn key_of(pk: &str, sk: &str) -> Item {
    HashMap::from([(PK.into(), AttributeValue::S(pk.into())), (SK.into(), AttributeValue::S(sk.into()))])
}

/// The row as an item with revision `rev`.
pub(super) fn to_item(row: Row, rev: u64, write_id: &[u8]) -> Item {
    let mut item = key_of(&row.pk, &row.sk);
    item.insert(KIND.into(), AttributeValue::S(row.kind));
    item.insert(BODY.into(), AttributeValue::S(row.body));
    item.insert(REV.into(), AttributeValue::N(rev.to_string()));
    item.insert(WRITE_ID.into(), AttributeValue::B(Blob::new(write_id)));
    if let Some(sealed) = row.sealed {
        item.insert(SEALED.into(), AttributeValue::B(Blob::new(sealed)));
    }
    if let Some(due) = row.due {
        item.insert(DUE_PK.into(), AttributeValue::S(DUE_PARTITION.into()));
        item.insert(DUE.into(), AttributeValue::S(due));
    }
    if let Some((list, sort)) = row.list {
        item.insert(LIST.into(), AttributeValue::S(list));
        item.insert(LIST_SORT.into(), AttributeValue::S(sort));
    }
    if let Some(at_s) = row.expires_at_s {
        item.insert(TTL.into(), AttributeValue::N(at_s.to_string()));
    }
    item
}

/// The item as a row, or the name of the attribute that is missing or not of its type.
pub(super) fn from_item(mut item: Item) -> Result<Row, &'static str> {
    let list = match (optional_text(&mut item, LIST)?, optional_text(&mut item, LIST_SORT)?) {
        (Some(list), Some(sort)) => Some((list, sort)),
        (None, None) => None,
        _ => return Err(LIST),
    };
    Ok(Row {
        pk: text(&mut item, PK)?,
        sk: text(&mut item, SK)?,
        kind: text(&mut item, KIND)?,
        body: text(&mut item, BODY)?,
        rev: number(&mut item, REV)?.ok_or(REV)?,
        sealed: match item.remove(SEALED) {
            None => None,
            Some(AttributeValue::B(bytes)) => Some(bytes.into_inner()),
            Some(_) => return Err(SEALED),
        },
        due: optional_text(&mut item, DUE)?,
        list,
        expires_at_s: number(&mut item, TTL)?,
    })
}

/// The key of an item that an index returned.
pub(super) fn key_from(mut item: Item) -> Result<(String, String), &'static str> {
    Ok((text(&mut item, PK)?, text(&mut item, SK)?))
}

fn text(item: &mut Item, name: &'static str) -> Result<String, &'static str> {
    optional_text(item, name)?.ok_or(name)
}

fn optional_text(item: &mut Item, name: &'static str) -> Result<Option<String>, &'static str> {
    match item.remove(name) {
        None => Ok(None),
        Some(AttributeValue::S(text)) => Ok(Some(text)),
        Some(_) => Err(name),
    }
}

fn number<T: std::str::FromStr>(item: &mut Item, name: &'static str) -> Result<Option<T>, &'static str> {
    match item.remove(name) {
        None => Ok(None),
        Some(AttributeValue::N(digits)) => digits.parse().map(Some).map_err(|_| name),
        Some(_) => Err(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Row {
        Row {
            pk: "PAYMENT#pi_1".into(),
            sk: "A".into(),
            kind: "PaymentV1".into(),
            body: "{\"secret\":\"topsecret\"}".into(),
            rev: 6,
            sealed: Some(vec![0, 255, 7]),
            due: Some("2026-11-21T00:00:00Z#x".into()),
            list: Some(("reviews".into(), "2026#1".into())),
            expires_at_s: Some(1_700_000_000),
        }
    }

    #[test]
    fn a_row_survives_the_way_to_an_item_and_back_with_the_next_revision() {
        let bare = Row { sealed: None, due: None, list: None, expires_at_s: None, ..full() };
        for row in [full(), bare] {
            let back = from_item(to_item(row.clone(), 7, b"w")).unwrap();
            assert_eq!(back, Row { rev: 7, ..row });
        }
    }

    #[test]
    fn debug_shows_neither_body_nor_sealed_bytes() {
        let shown = format!("{:?}", full());
        assert!(!shown.contains("topsecret") && !shown.contains("255"), "{shown}");
        assert!(shown.contains("PaymentV1"));
    }

    #[test]
    fn a_missing_or_mistyped_attribute_is_named() {
        for name in [PK, SK, KIND, BODY, REV] {
            let mut item = to_item(full(), 1, b"w");
            item.remove(name);
            assert_eq!(from_item(item), Err(name));
        }
        for name in [PK, SK, KIND, BODY, REV, SEALED, DUE, LIST, LIST_SORT, TTL] {
            let mut item = to_item(full(), 1, b"w");
            item.insert(name.into(), AttributeValue::Bool(true));
            assert_eq!(from_item(item), Err(name));
        }
    }
}
