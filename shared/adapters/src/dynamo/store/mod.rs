//! The store as the use cases see it: typed items, units of work, lists, small facts. No key names leave this folder.

mod facts;
mod items;
mod lists;
mod parked;

pub use parked::park;

use crate::dynamo::gather::Gather;
use crate::dynamo::item::{BadItem, Key, Read, Stored, Unit, item_of, row_of};
use crate::dynamo::keys;
use crate::dynamo::model::{
    CreditLook, StoredAllocation, StoredChore, StoredEvent, StoredMovement, StoredPayment, StoredPayout, StoredPosting,
    StoredRecovery, StoredReversal,
};
use crate::dynamo::row::{Cond, Op, Row};
use crate::dynamo::table::{StoreError, Table};
use crate::personal::DataKey;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use vesper_core::ids::{ClientId, PaymentId};

/// The small fact that says that all of Stripe's customers were listed once.
pub const CUSTOMERS_LISTED: &str = "customers_listed";

/// Why the store could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failed {
    /// The table's own failure.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored item that this release cannot read.
    #[error(transparent)]
    Item(#[from] BadItem),
}

impl Failed {
    /// Somebody else changed what this step depends on: read again, decide again.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Failed::Store(StoreError::Conflict { .. }))
    }
}

/// Names the row of an effect in a queue message. Opaque outside this folder; holds ids only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowRef {
    pk: String,
    sk: String,
}

impl std::fmt::Display for RowRef {
    /// Kinds and ids: for a log or a question about the row itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.pk, self.sk)
    }
}

impl RowRef {
    /// The place of an item.
    pub fn of<T: Stored>(item: &T) -> RowRef {
        let (pk, sk) = item.key();
        RowRef { pk, sk }
    }
}

/// What a due row is.
#[derive(Debug)]
pub enum Due {
    /// A parked payment whose look is due.
    Payment(PaymentId),
    /// A write-back that waits.
    WriteBack(RowRef),
    /// A posting that waits.
    Books(RowRef),
    /// An event whose work could not be finished.
    Event(Box<StoredEvent>),
    /// A recovery whose next look is due.
    Recovery(PaymentId),
    /// A payout that is to be looked at.
    Payout(String),
    /// A client's credit that is to be looked at.
    Credit(ClientId),
    /// A piece of work that the clock drives.
    Chore(String),
    /// A row that this release cannot read: it stays as it is, and a person is told.
    Unreadable {
        /// Where it stands.
        row: RowRef,
        /// What is wrong with it; no value from it.
        problem: String,
    },
}

/// What a due row is; None when it is of no kind that is ever due. Each is read here, so that whoever is woken can read it.
fn due_of(row: &Row) -> Result<Option<Due>, BadItem> {
    let place = RowRef { pk: row.pk.clone(), sk: row.sk.clone() };
    Ok(Some(match row.kind.as_str() {
        StoredPayment::KIND => Due::Payment(item_of::<StoredPayment>(row)?.item.payment.id().clone()),
        StoredAllocation::KIND => item_of::<StoredAllocation>(row).map(|_| Due::WriteBack(place))?,
        StoredReversal::KIND => item_of::<StoredReversal>(row).map(|_| Due::WriteBack(place))?,
        StoredPosting::KIND => item_of::<StoredPosting>(row).map(|_| Due::Books(place))?,
        StoredRecovery::KIND => Due::Recovery(item_of::<StoredRecovery>(row)?.item.recovery.payment().clone()),
        StoredPayout::KIND => Due::Payout(item_of::<StoredPayout>(row)?.item.id),
        CreditLook::KIND => Due::Credit(item_of::<CreditLook>(row)?.item.client),
        StoredChore::KIND => Due::Chore(item_of::<StoredChore>(row)?.item.name),
        StoredEvent::KIND => Due::Event(Box::new(item_of::<StoredEvent>(row)?.item)),
        _ => return Ok(None),
    }))
}

/// The effect of a write-back row.
#[derive(Clone, Debug)]
pub enum WriteBack {
    /// A payment to be recorded.
    Allocation(Read<StoredAllocation>),
    /// A part to be taken back.
    Reversal(Read<StoredReversal>),
}

impl WriteBack {
    /// It is for a person to type in, and nobody has said yet that it is done.
    #[must_use]
    pub fn is_worklist_item(&self) -> bool {
        match self {
            WriteBack::Allocation(read) => read.item.is_worklist_item(),
            WriteBack::Reversal(read) => read.item.is_worklist_item(),
        }
    }

    /// Its place in the worklist; None when it does not stand there.
    #[must_use]
    pub fn worklist_place(&self) -> Option<String> {
        let listed = match self {
            WriteBack::Allocation(read) => read.item.list(),
            WriteBack::Reversal(read) => read.item.list(),
        };
        listed.map(|(_, place)| place)
    }
}

fn write_back_of(row: &Row) -> Result<Option<WriteBack>, BadItem> {
    Ok(match row.kind.as_str() {
        StoredAllocation::KIND => Some(WriteBack::Allocation(item_of(row)?)),
        StoredReversal::KIND => Some(WriteBack::Reversal(item_of(row)?)),
        _ => None,
    })
}

/// A payment with what stands beside it.
#[derive(Clone, Debug, Default)]
pub struct PaymentFile {
    /// The payment; None when only a refund of it is known.
    pub payment: Option<Read<StoredPayment>>,
    /// Its refunds and disputes.
    pub movements: Vec<Read<StoredMovement>>,
    /// Its postings.
    pub postings: Vec<Read<StoredPosting>>,
    /// Its card has failed before: there may be a recovery of it, or a question about its card.
    pub has_failed: bool,
}

/// A payment, and the row of an event about it, as far as there are any.
pub type PaymentAndEvent = (Option<Box<Read<StoredPayment>>>, Option<Box<Read<StoredEvent>>>);

/// See the module.
#[derive(Clone)]
pub struct Store {
    pub(super) table: Gather,
    key: DataKey,
    /// The listing of Stripe's customers was found complete: it never becomes incomplete again.
    customers_listed: Arc<AtomicBool>,
}

fn typed<T: Stored>(row: Option<Row>) -> Result<Option<Read<T>>, Failed> {
    row.map(|r| item_of(&r)).transpose().map_err(Failed::from)
}

impl Store {
    /// The store on a table, with the practice's data key.
    #[must_use]
    pub fn new(table: Table, key: DataKey) -> Store {
        Store { table: Gather::direct(table), key, customers_listed: Arc::default() }
    }

    /// The table itself, for the local bundle's set-up.
    #[must_use]
    pub const fn table(&self) -> &Table {
        self.table.table()
    }

    /// The same store, but what is committed to it is gathered until [`Store::flush`]: what several steps change becomes one
    /// transaction. The steps see each other's rows, indexes and lists apart; each row is read once.
    #[must_use]
    pub fn gathering(&self) -> Store {
        Store { table: self.table.gathering(), ..self.clone() }
    }

    /// The same store, but a transaction happens only while this small fact has this revision (0: there is none).
    #[must_use]
    pub fn only_while(&self, name: &str, rev: u64) -> Store {
        let (pk, sk) = keys::meta(name);
        let table = self.table().clone().guarded(Op::Check { pk, sk, cond: Cond::Rev(rev) });
        Store { table: Gather::direct(table), ..self.clone() }
    }

    /// How many items are gathered.
    #[must_use]
    pub fn gathered(&self) -> usize {
        self.table.len()
    }

    /// Commits what was gathered, or nothing of it.
    ///
    /// # Errors
    /// `Conflict` when something that any of the steps depends on changed.
    pub async fn flush(&self) -> Result<(), Failed> {
        Ok(self.table.flush().await?)
    }

    /// The practice's data key.
    #[must_use]
    pub const fn data_key(&self) -> &DataKey {
        &self.key
    }

    pub(super) async fn get<T: Stored>(&self, key: Key) -> Result<Option<Read<T>>, Failed> {
        typed(self.table.get(&key.0, &key.1).await?)
    }

    async fn query<T: Stored>(&self, pk: &str, prefix: &str) -> Result<Vec<Read<T>>, Failed> {
        let rows = self.table.query(pk, prefix).await?;
        rows.iter().map(|r| item_of(r).map_err(Failed::from)).collect()
    }

    /// Commits everything a step changes, or nothing.
    ///
    /// # Errors
    /// `Conflict` when something it depends on changed.
    pub async fn commit(&self, unit: Unit) -> Result<(), Failed> {
        if unit.is_empty() {
            return Ok(());
        }
        Ok(self.table.transact(unit.into_ops()).await?)
    }

    /// Stores one item that was read, on the condition that nobody changed it since. Its new revision is in `read`.
    ///
    /// # Errors
    /// `Conflict` when it changed.
    pub async fn save<T: Stored>(&self, read: &mut Read<T>) -> Result<(), Failed> {
        let row = row_of(&read.item, read.rev, read.sealed.clone());
        read.rev = self.table.put(row, Cond::Rev(read.rev)).await?;
        Ok(())
    }
}
