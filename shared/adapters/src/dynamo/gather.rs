//! The table as the store reaches it: directly, or with the writes of several steps gathered into one transaction. A gathered
//! step sees what the steps before it have changed, and each row is read once.
//!
//! Must not: weaken a condition. A row's condition is that of its first write, so a row that anybody changed since it was read
//! refuses the whole transaction.

use super::item::Key;
use super::row::{Cond, Op, Row};
use super::table::{StoreError, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::{JoinError, JoinSet};

/// So many queries ahead are under way at the same time: each is a connection, and a connection is memory.
const AHEAD_MAX: usize = 6;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    table: Table,
    gathered: Option<Arc<Mutex<Gathered>>>,
}

#[derive(Debug, Default)]
struct Gathered {
    /// Rows as they are after the gathered steps; None: there is none.
    known: BTreeMap<Key, Option<Row>>,
    /// What was queried: partition and prefix. All rows there are known.
    queried: BTreeSet<(String, String)>,
    /// At most one part per key.
    parts: BTreeMap<Key, Op>,
}

impl Gather {
    /// Nothing is gathered: each write goes to the table at once.
    pub(super) fn direct(table: Table) -> Gather {
        Gather { table, gathered: None }
    }

    /// The same table, with nothing gathered yet.
    pub(super) fn gathering(&self) -> Gather {
        Gather { table: self.table.clone(), gathered: Some(Arc::default()) }
    }

    /// The table itself.
    pub(super) const fn table(&self) -> &Table {
        &self.table
    }

    /// What `f` makes of what is gathered; None when nothing is being gathered. The lock ends with it, before any call.
    fn with<T>(&self, f: impl FnOnce(&mut Gathered) -> T) -> Option<T> {
        let gathered = self.gathered.as_ref()?;
        Some(f(&mut gathered.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// How many parts are gathered.
    pub(super) fn len(&self) -> usize {
        self.with(|g| g.parts.len()).unwrap_or(0)
    }

    /// Commits what is gathered, or nothing of it, and forgets it and all that was read.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let gathered = self.with(std::mem::take).unwrap_or_default();
        self.table.transact(gathered.parts.into_values().collect()).await
    }

    /// [`Table::get`].
    pub(super) async fn get(&self, pk: &str, sk: &str) -> Result<Option<Row>, StoreError> {
        let key = (pk.to_owned(), sk.to_owned());
        if let Some(known) = self.with(|g| g.known(&key)).flatten() {
            return Ok(known);
        }
        let row = self.table.get(pk, sk).await?;
        if self.gathered.is_none() {
            return Ok(row);
        }
        Ok(self.with(|g| g.known.entry(key).or_insert(row).clone()).flatten())
    }

    /// [`Table::get_many`].
    pub(super) async fn get_many(&self, keys: &[Key]) -> Result<Vec<Row>, StoreError> {
        let unknown = self.with(|g| keys.iter().filter(|key| g.known(key).is_none()).cloned().collect::<Vec<_>>());
        let Some(unknown) = unknown else { return self.table.get_many(keys).await };
        let read = if unknown.is_empty() { Vec::new() } else { self.table.get_many(&unknown).await? };
        let rows = self.with(|g| {
            g.learn(read);
            for key in unknown {
                g.known.entry(key).or_insert(None);
            }
            let distinct: BTreeSet<&Key> = keys.iter().collect();
            distinct.into_iter().filter_map(|key| g.known(key).flatten()).collect()
        });
        Ok(rows.unwrap_or_default())
    }

    /// [`Table::query`].
    pub(super) async fn query(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, StoreError> {
        let known = self.with(|g| g.was_queried(pk, sk_prefix).then(|| g.rows(pk, sk_prefix)));
        let Some(known) = known else { return self.table.query(pk, sk_prefix).await };
        if let Some(rows) = known {
            return Ok(rows);
        }
        let read = self.table.query(pk, sk_prefix).await?;
        let rows = self.with(|g| {
            g.learn(read);
            g.queried.insert((pk.to_owned(), sk_prefix.to_owned()));
            g.rows(pk, sk_prefix)
        });
        Ok(rows.unwrap_or_default())
    }

    /// Queries these (partition and prefix), [`AHEAD_MAX`] at the same time: gathered steps find them. Nothing is asked where
    /// nothing is gathered.
    pub(super) async fn query_ahead(&self, wanted: Vec<(String, String)>) -> Result<(), StoreError> {
        let open = self.with(|g| wanted.into_iter().filter(|(pk, prefix)| !g.was_queried(pk, prefix)).collect::<Vec<_>>());
        let mut open = open.unwrap_or_default().into_iter();
        let mut reads = JoinSet::new();
        let mut begin = |reads: &mut JoinSet<_>| {
            let Some((pk, prefix)) = open.next() else { return };
            let table = self.table.clone();
            reads.spawn(async move { table.query(&pk, &prefix).await.map(|rows| (pk, prefix, rows)) });
        };
        (0..AHEAD_MAX).for_each(|_| begin(&mut reads));
        while let Some(read) = reads.join_next().await {
            let broke = |e: JoinError| StoreError::Bug { attempted: "query ahead".to_owned(), detail: e.to_string() };
            let (pk, prefix, rows) = read.map_err(broke)??;
            self.with(|g| {
                g.learn(rows);
                g.queried.insert((pk, prefix));
            });
            begin(&mut reads);
        }
        Ok(())
    }

    /// [`Table::put`].
    pub(super) async fn put(&self, row: Row, cond: Cond) -> Result<u64, StoreError> {
        if self.gathered.is_none() {
            return self.table.put(row, cond).await;
        }
        let rev = row.rev.saturating_add(1);
        self.transact(vec![Op::Put { row, cond }]).await.map(|()| rev)
    }

    /// [`Table::delete`].
    pub(super) async fn delete(&self, pk: &str, sk: &str, cond: Cond) -> Result<(), StoreError> {
        if self.gathered.is_none() {
            return self.table.delete(pk, sk, cond).await;
        }
        self.transact(vec![Op::Delete { pk: pk.to_owned(), sk: sk.to_owned(), cond }]).await
    }

    /// [`Table::transact`].
    pub(super) async fn transact(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        if self.gathered.is_none() {
            return self.table.transact(ops).await;
        }
        self.with(|g| ops.into_iter().try_for_each(|op| g.add(op))).unwrap_or(Ok(()))
    }
}

/// Indexes and scans do not see what is gathered.
impl Gather {
    /// [`Table::query_after`].
    pub(super) async fn query_after(&self, pk: &str, after_sk: &str, limit: u32) -> Result<Vec<Row>, StoreError> {
        self.table.query_after(pk, after_sk, limit).await
    }

    /// [`Table::due`].
    pub(super) async fn due(&self, until: &str, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.table.due(until, limit).await
    }

    /// [`Table::next_due`].
    pub(super) async fn next_due(&self, after: &str) -> Result<Option<String>, StoreError> {
        self.table.next_due(after).await
    }

    /// [`Table::list`].
    pub(super) async fn list(&self, list: &str, after: Option<&str>, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.table.list(list, after, limit).await
    }

    /// [`Table::list_between`].
    pub(super) async fn list_between(&self, list: &str, first: &str, last: &str, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.table.list_between(list, first, last, limit).await
    }

    /// [`Table::scan_of`].
    pub(super) async fn scan_of(&self, kinds: &[&str], each: &mut (dyn FnMut(Row) + Send)) -> Result<(), StoreError> {
        self.table.scan_of(kinds, each).await
    }
}

impl Gathered {
    /// What was read or changed before stands: an older revision only makes the commit fail.
    fn learn(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.known.entry((row.pk.clone(), row.sk.clone())).or_insert(Some(row));
        }
    }

    /// None: it was not read yet. Some(None): there is no such row.
    fn known(&self, key: &Key) -> Option<Option<Row>> {
        self.known.get(key).cloned().or_else(|| self.was_queried(&key.0, &key.1).then_some(None))
    }

    fn was_queried(&self, pk: &str, sk: &str) -> bool {
        self.queried.iter().any(|(p, prefix)| p == pk && sk.starts_with(prefix.as_str()))
    }

    fn rows(&self, pk: &str, prefix: &str) -> Vec<Row> {
        let from = (pk.to_owned(), prefix.to_owned());
        let there = self.known.range(from..).take_while(|((p, sk), _)| p == pk && sk.starts_with(prefix));
        there.filter_map(|(_, row)| row.clone()).collect()
    }

    /// Adds a part. One on a row that has a part already is judged by the row as that part leaves it, and keeps its condition.
    fn add(&mut self, op: Op) -> Result<(), StoreError> {
        let key = (op.pk().to_owned(), op.sk().to_owned());
        let earlier = self.parts.get(&key);
        if earlier.is_some() && !self.holds(&key, op.cond()) {
            return Err(StoreError::Conflict { attempted: "gather a step".to_owned() });
        }
        let cond = earlier.map_or_else(|| op.cond(), Op::cond);
        match op {
            Op::Put { row, .. } => {
                let after = Row { rev: row.rev.saturating_add(1), ..row.clone() };
                self.known.insert(key.clone(), Some(after));
                self.parts.insert(key, Op::Put { row, cond });
            }
            Op::Delete { pk, sk, .. } => {
                self.known.insert(key.clone(), None);
                self.parts.insert(key, Op::Delete { pk, sk, cond });
            }
            check @ Op::Check { .. } => {
                self.parts.entry(key).or_insert(check);
            }
        }
        Ok(())
    }

    fn holds(&self, key: &Key, cond: Cond) -> bool {
        let rev = self.known.get(key).and_then(|row| row.as_ref().map(|r| r.rev));
        match cond {
            Cond::None => true,
            Cond::Absent | Cond::Rev(0) => rev.is_none(),
            Cond::Rev(wanted) => rev == Some(wanted),
        }
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::super::client::client_on;
    use super::super::embedded::Engine;
    use super::*;

    fn row(sk: &str, body: &str, rev: u64) -> Row {
        let (pk, kind, body) = ("A#1".to_owned(), "K".to_owned(), body.to_owned());
        Row { pk, sk: sk.to_owned(), kind, body, rev, sealed: None, due: None, list: None, expires_at_s: None }
    }

    async fn two() -> (Table, Gather) {
        let table = Table::new(client_on(Engine::memory().unwrap().http_client()), "vesper".to_owned());
        table.create_if_absent().await.unwrap();
        for sk in ["a", "b"] {
            table.put(row(sk, "old", 0), Cond::Absent).await.unwrap();
        }
        let gather = Gather::direct(table.clone()).gathering();
        (table, gather)
    }

    fn bodies(rows: &[Row]) -> Vec<(&str, &str, u64)> {
        rows.iter().map(|r| (r.sk.as_str(), r.body.as_str(), r.rev)).collect()
    }

    #[tokio::test]
    async fn gathered_steps_see_each_other_and_nobody_else_does_before_the_commit() {
        let (table, gather) = two().await;
        gather.put(row("a", "one", 1), Cond::Rev(1)).await.unwrap();
        gather.transact(vec![Op::Put { row: row("c", "new", 0), cond: Cond::Absent }]).await.unwrap();
        gather.delete("A#1", "b", Cond::None).await.unwrap();
        let want = vec![("a", "one", 2), ("c", "new", 1)];
        assert_eq!(bodies(&gather.query("A#1", "").await.unwrap()), want);
        assert_eq!(bodies(&gather.query("A#1", "c").await.unwrap()), want[1..]);
        assert_eq!(gather.get("A#1", "b").await.unwrap(), None);
        let all = ["a", "b", "c", "d"].map(|sk| ("A#1".to_owned(), sk.to_owned()));
        assert_eq!(bodies(&gather.get_many(&all).await.unwrap()), want);
        assert_eq!(bodies(&table.query("A#1", "").await.unwrap()), [("a", "old", 1), ("b", "old", 1)]);
        assert_eq!(gather.len(), 3);
        gather.flush().await.unwrap();
        assert_eq!((bodies(&table.query("A#1", "").await.unwrap()), gather.len()), (want, 0));
    }

    #[tokio::test]
    async fn several_writes_of_one_row_become_one_under_the_first_condition() {
        let (table, gather) = two().await;
        gather.put(row("a", "one", 1), Cond::Rev(1)).await.unwrap();
        gather.put(row("a", "two", 2), Cond::Rev(2)).await.unwrap();
        assert!(matches!(gather.put(row("a", "?", 1), Cond::Rev(1)).await, Err(StoreError::Conflict { .. })), "a stale one");
        gather.put(row("n", "one", 0), Cond::Absent).await.unwrap();
        assert!(matches!(gather.put(row("n", "?", 0), Cond::Absent).await, Err(StoreError::Conflict { .. })), "it is there");
        gather.delete("A#1", "n", Cond::Rev(1)).await.unwrap();
        gather.put(row("n", "again", 0), Cond::Absent).await.unwrap();
        assert_eq!(gather.len(), 2);
        gather.flush().await.unwrap();
        let read = table.query("A#1", "").await.unwrap();
        assert_eq!(bodies(&read), [("a", "two", 3), ("b", "old", 1), ("n", "again", 1)]);
    }

    #[tokio::test]
    async fn a_row_that_somebody_changed_since_it_was_read_refuses_everything() {
        let (table, gather) = two().await;
        let read = gather.get("A#1", "a").await.unwrap().unwrap();
        gather.put(Row { body: "ours".to_owned(), ..read }, Cond::Rev(1)).await.unwrap();
        gather.put(row("c", "ours", 0), Cond::Absent).await.unwrap();
        table.put(row("a", "theirs", 1), Cond::Rev(1)).await.unwrap();
        // A later read of the same partition does not take the newer row for the one that was read.
        assert_eq!(bodies(&gather.query("A#1", "a").await.unwrap()), [("a", "ours", 2)]);
        assert!(matches!(gather.flush().await, Err(StoreError::Conflict { .. })));
        assert_eq!(bodies(&table.query("A#1", "").await.unwrap()), [("a", "theirs", 2), ("b", "old", 1)]);
    }
}
