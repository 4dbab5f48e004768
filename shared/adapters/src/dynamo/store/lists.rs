//! Lists: what is due, what is open, what belongs to something. An index says where to look; the base rows say what is true.

use super::{CUSTOMERS_LISTED, Due, Failed, RowRef, Store, WriteBack, due_of, write_back_of};
use crate::dynamo::item::{BadItem, Key, Read, Stored, item_of, stamp};
use crate::dynamo::keys;
use crate::dynamo::model::{
    AUDIT_OPEN, BOOKS_OPEN, DeadLetter, FAILURES, Meta, PAYOUTS, REVIEWS_OPEN, StoredAudit, StoredChore, StoredFailure,
    StoredInvoice, StoredPayment, StoredPayout, StoredPayoutRow, StoredPosting, StoredRecovery, StoredReview, StoredSeal,
    WORKLIST, newest_first,
};
use crate::dynamo::row::{Cond, Row};
use crate::dynamo::table::StoreError;
use jiff::Timestamp;
use jiff::civil::Date;
use std::sync::atomic::Ordering;
use vesper_core::ids::PaymentId;
use vesper_core::records::Invoice;

impl Store {
    /// What is due by now, oldest first. The index says where to look; the base rows say what is true.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn due(&self, now: Timestamp, most: u32) -> Result<Vec<Due>, Failed> {
        // '~' sorts behind '#', so that a row due in this very second is found.
        let until = format!("{}~", stamp(now));
        let found = self.table.due(&until, most).await?;
        let (mut rows, mut out) = (Vec::new(), Vec::new());
        match self.table.get_many(&found).await {
            Ok(all) => rows = all,
            // One of them is no row: the others are read without it.
            Err(StoreError::Bug { .. }) => {
                for (pk, sk) in found {
                    match self.table.get(&pk, &sk).await {
                        Ok(row) => rows.extend(row),
                        Err(e @ StoreError::Bug { .. }) => {
                            out.push(Due::Unreadable { row: RowRef { pk, sk }, problem: e.to_string() });
                        }
                        Err(e) => return Err(e.into()),
                    }
                }
            }
            Err(e) => return Err(e.into()),
        }
        rows.sort_by(|a, b| a.due.cmp(&b.due));
        for row in rows.iter().filter(|r| r.due.as_deref().is_some_and(|d| d < until.as_str())) {
            let unreadable = |e: BadItem| {
                let row = RowRef { pk: row.pk.clone(), sk: row.sk.clone() };
                Some(Due::Unreadable { row, problem: e.to_string() })
            };
            out.extend(due_of(row).unwrap_or_else(unreadable));
        }
        Ok(out)
    }

    /// When the next row is due that is not due yet at `now`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Failed> {
        let next = self.table.next_due(&format!("{}~", stamp(now))).await?;
        Ok(next.and_then(|d| d.split('#').next()?.parse().ok()))
    }

    /// The open reviews, oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open_reviews(&self, after: Option<&str>, most: u32) -> Result<Vec<Read<StoredReview>>, Failed> {
        let found = self.table.list(REVIEWS_OPEN, after, most).await?;
        let rows = self.table.get_many(&found).await?;
        let mut reviews: Vec<Read<StoredReview>> = rows.iter().map(item_of).collect::<Result<_, _>>()?;
        reviews.retain(|r| r.item.review.status == vesper_core::review::Status::Open);
        reviews.sort_by(|a, b| (a.item.review.opened_at, &a.item.review.id).cmp(&(b.item.review.opened_at, &b.item.review.id)));
        Ok(reviews)
    }

    /// What a person is to type into the EHR, oldest first; `after` is the place of the last one that was seen.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn worklist(&self, after: Option<&str>, most: u32) -> Result<Vec<WriteBack>, Failed> {
        let found = self.table.list(WORKLIST, after, most).await?;
        let mut items = Vec::new();
        for row in self.table.get_many(&found).await? {
            items.extend(write_back_of(&row)?.filter(WriteBack::is_worklist_item));
        }
        items.sort_by_key(WriteBack::worklist_place);
        Ok(items)
    }

    /// A payout.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn payout(&self, id: &str) -> Result<Option<Read<StoredPayout>>, Failed> {
        self.get(keys::payout(id)).await
    }

    /// A piece of work that the clock drives.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn chore(&self, name: &str) -> Result<Option<Read<StoredChore>>, Failed> {
        self.get(keys::chore(name)).await
    }

    /// Payouts, newest first; `after` is the place of the last one that was seen, as [`Stored::list`] says it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn payouts(&self, after: Option<&str>, most: u32) -> Result<Vec<Read<StoredPayout>>, Failed> {
        let found = self.table.list(PAYOUTS, after, most).await?;
        let rows = self.table.get_many(&found).await?;
        let mut payouts: Vec<Read<StoredPayout>> = rows.iter().map(item_of).collect::<Result<_, _>>()?;
        payouts.sort_by_key(|p| p.item.list().map(|(_, place)| place));
        Ok(payouts)
    }

    /// What a list that is read newest first ([`newest_first`]) holds of the time from `from` on and before `until`, newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn listed_between<T: Stored>(
        &self,
        list: &str,
        from: Timestamp,
        until: Timestamp,
        most: u32,
    ) -> Result<Vec<Read<T>>, Failed> {
        // '~' sorts behind '#', and the list runs backwards: the second `until` is left out, the second `from` is in it.
        let (first, last) = (newest_first(until, "").replace('#', "~"), newest_first(from, "").replace('#', "~"));
        self.rows_of_list(self.table.list_between(list, &first, &last, most).await?).await
    }

    /// Failed PaymentIntents, newest first; `after` is the place of the last one that was seen, as [`Stored::list`] says it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn failures(&self, after: Option<&str>, most: u32) -> Result<Vec<Read<StoredFailure>>, Failed> {
        self.rows_of_list(self.table.list(FAILURES, after, most).await?).await
    }

    /// The postings dated from `from` on and before `until` that QuickBooks does not have yet, oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn postings_open(&self, from: Date, until: Date, most: u32) -> Result<Vec<Read<StoredPosting>>, Failed> {
        let found = self.table.list_between(BOOKS_OPEN, &from.to_string(), &until.to_string(), most).await?;
        self.rows_of_list(found).await
    }

    /// The base rows of what an index listed, in the order of the list; what left the list meanwhile is left out.
    async fn rows_of_list<T: Stored>(&self, found: Vec<Key>) -> Result<Vec<Read<T>>, Failed> {
        let rows = self.table.get_many(&found).await?;
        let mut items: Vec<Read<T>> = rows.iter().map(item_of).collect::<Result<_, _>>()?;
        items.retain(|r| r.item.list().is_some());
        items.sort_by_cached_key(|r| r.item.list().map(|(_, place)| place));
        Ok(items)
    }

    /// The first failure of a PaymentIntent.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn failure(&self, payment: &PaymentId) -> Result<Option<Read<StoredFailure>>, Failed> {
        self.get(keys::failure(payment)).await
    }

    /// The recoveries of these PaymentIntents; those that have none are left out.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn recoveries(&self, ids: impl IntoIterator<Item = PaymentId>) -> Result<Vec<Read<StoredRecovery>>, Failed> {
        let wanted: Vec<Key> = ids.into_iter().map(|id| keys::recovery(&id)).collect();
        let rows = self.table.get_many(&wanted).await?;
        rows.iter().map(|r| item_of(r).map_err(Failed::from)).collect()
    }

    /// Up to `most` transactions of one reading of a payout, from the one with this number on.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn payout_rows(&self, payout: &str, look: u32, from: u32, most: u32) -> Result<Vec<StoredPayoutRow>, Failed> {
        let before = format!("{}{:08}", keys::payout_rows(look), from.saturating_sub(1));
        let rows = self.table.query_after(&keys::payout_pk(payout), &before, most).await?;
        let items: Vec<Read<StoredPayoutRow>> = rows.iter().map(item_of).collect::<Result<_, _>>()?;
        Ok(items.into_iter().map(|r| r.item).filter(|r| r.look == look).collect())
    }

    /// These payments; unknown ones are left out.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn payments(&self, ids: impl IntoIterator<Item = PaymentId>) -> Result<Vec<Read<StoredPayment>>, Failed> {
        let wanted: Vec<Key> = ids.into_iter().map(|id| keys::payment(&id)).collect();
        let rows = self.table.get_many(&wanted).await?;
        rows.iter().map(|r| item_of(r).map_err(Failed::from)).collect()
    }

    /// The postings about a subject: a payment, or a payout.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn postings_about(&self, subject: &str) -> Result<Vec<Read<StoredPosting>>, Failed> {
        self.query(&keys::payment_pk(&subject), "POSTING#").await
    }

    /// Open invoices whose EHR balance is this amount: to be shown, never applied.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn invoices_open_at(
        &self,
        currency: vesper_core::money::Currency,
        open: vesper_core::money::Minor,
        most: u32,
    ) -> Result<Vec<Invoice>, Failed> {
        let found = self.table.list(&crate::dynamo::model::open_list(currency, open), None, most).await?;
        let rows = self.table.get_many(&found).await?;
        let items: Vec<Read<StoredInvoice>> = rows.iter().map(item_of).collect::<Result<_, _>>()?;
        let mut invoices: Vec<Invoice> = items.into_iter().map(|r| r.item.invoice).collect();
        invoices.sort_by(|a, b| (a.issued_on, &a.id).cmp(&(b.issued_on, &b.id)));
        Ok(invoices)
    }

    /// Audit records that no seal covers yet, and when there are any, these small facts as they stand in the table.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn unsealed_and(&self, most: u32, facts: &[&str]) -> Result<(Vec<Read<StoredAudit>>, Vec<Read<Meta>>), Failed> {
        let mut wanted = self.table.list(AUDIT_OPEN, None, most).await?;
        if wanted.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        wanted.extend(facts.iter().map(|name| keys::meta(name)));
        let (mut records, mut found) = (Vec::new(), Vec::new());
        for row in &self.table.get_many(&wanted).await? {
            if row.kind == Meta::KIND {
                found.push(item_of(row)?);
            } else {
                records.push(item_of::<StoredAudit>(row)?);
            }
        }
        records.retain(|r| r.item.seal.is_none());
        Ok((records, found))
    }

    /// Whether all of Stripe's customers were listed once (rule 14). Once it is true it is not read again.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn customers_listed(&self) -> Result<bool, Failed> {
        if !self.knows_customers_listed() {
            self.note_customers_listed(self.meta::<bool>(CUSTOMERS_LISTED).await?.is_some_and(|r| r.item));
        }
        Ok(self.knows_customers_listed())
    }

    pub(in crate::dynamo) fn knows_customers_listed(&self) -> bool {
        self.customers_listed.load(Ordering::SeqCst)
    }

    pub(in crate::dynamo) fn note_customers_listed(&self, listed: bool) {
        self.customers_listed.fetch_or(listed, Ordering::SeqCst);
    }

    /// A seal.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn seal(&self, n: u64) -> Result<Option<StoredSeal>, Failed> {
        Ok(self.get::<StoredSeal>(keys::seal(n)).await?.map(|r| r.item))
    }

    /// The newest seal.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn last_seal(&self) -> Result<Option<StoredSeal>, Failed> {
        let n: Option<u64> = self.meta("last_seal").await?.map(|r: Read<u64>| r.item);
        match n {
            Some(n) => self.seal(n).await,
            None => Ok(None),
        }
    }

    /// Every dead letter.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Failed> {
        let mut found = Vec::new();
        for queue in ["events", "write-back", "books", "payouts"] {
            found.extend(self.query::<DeadLetter>(&format!("DEAD#{queue}"), "").await?.into_iter().map(|r| r.item));
        }
        Ok(found)
    }

    /// A dead letter is back at work, or done with.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn forget_dead_letter(&self, queue: &str, id: &str) -> Result<(), Failed> {
        let (pk, sk) = keys::dead_letter(queue, &id);
        Ok(self.table.delete(&pk, &sk, Cond::None).await?)
    }

    /// Every row of the table, for export and healing.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn scan(&self, each: &mut (dyn FnMut(Row) + Send)) -> Result<(), Failed> {
        self.scan_of(&[], each).await
    }

    /// Every row of these kinds.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn scan_of(&self, kinds: &[&str], each: &mut (dyn FnMut(Row) + Send)) -> Result<(), Failed> {
        Ok(self.table.scan_of(kinds, each).await?)
    }
}
