//! The store as the use cases see it: typed items, units of work, lists, small facts. No key names leave this folder.

use super::gather::Gather;
use super::item::{BadItem, Key, Read, Stored, Unit, item_of, row_of, stamp};
use super::keys;
use super::model::{
    AUDIT_OPEN, BOOKS_OPEN, CreditLook, DeadLetter, FAILURES, InvoiceClaim, InvoiceHome, InvoiceNumber, Meta, MoneyLeft, OwnLink,
    PAYOUTS, REVIEWS_OPEN, RecoveryOf, ReviewOf, StoredAllocation, StoredAudit, StoredChore, StoredClient, StoredCustomer,
    StoredEmail, StoredEvent, StoredFailure, StoredInvoice, StoredMovement, StoredPayment, StoredPayout, StoredPayoutRow,
    StoredPosting, StoredRecovery, StoredReversal, StoredReview, StoredSeal, WORKLIST, Wanted, newest_first,
};
use super::row::{Cond, Op, Row};
use super::table::{StoreError, Table};
use crate::personal::{DataKey, Personal};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vesper_core::ids::{ClientId, CustomerId, EmailHash, EventId, InvoiceId, PaymentId, PostingId, ReviewId};
use vesper_core::matching::Watch;
use vesper_core::records::Invoice;

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

    // ---------------------------------------------------------------- single items

    /// A payment alone.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn payment(&self, id: &PaymentId) -> Result<Option<Read<StoredPayment>>, Failed> {
        self.get(keys::payment(id)).await
    }

    /// A payment alone, and the row of the event that tells of it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn payment_and_event(&self, id: &PaymentId, event: Option<&EventId>) -> Result<PaymentAndEvent, Failed> {
        let (mut payment, mut waits) = (None, None);
        let wanted: Vec<Key> = event.map(keys::event).into_iter().chain([keys::payment(id)]).collect();
        for row in self.table.get_many(&wanted).await? {
            match row.kind.as_str() {
                StoredPayment::KIND => payment = Some(Box::new(item_of(&row)?)),
                _ => waits = Some(Box::new(item_of(&row)?)),
            }
        }
        Ok((payment, waits))
    }

    /// A payment with its movements and postings.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn payment_file(&self, id: &PaymentId) -> Result<PaymentFile, Failed> {
        let mut file = PaymentFile::default();
        for row in self.table.query(&keys::payment_pk(id), "").await? {
            match row.kind.as_str() {
                StoredPayment::KIND => file.payment = Some(item_of(&row)?),
                StoredMovement::KIND => file.movements.push(item_of(&row)?),
                StoredPosting::KIND => file.postings.push(item_of(&row)?),
                StoredFailure::KIND | StoredRecovery::KIND => file.has_failed = true,
                _ => {}
            }
        }
        Ok(file)
    }

    /// The recovery of a failed PaymentIntent.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn recovery(&self, payment: &PaymentId) -> Result<Option<Read<StoredRecovery>>, Failed> {
        self.get(keys::recovery(payment)).await
    }

    /// The recoveries of a customer.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn recoveries_of(&self, customer: &CustomerId) -> Result<Vec<PaymentId>, Failed> {
        let rows: Vec<Read<RecoveryOf>> = self.query(&keys::customer_pk(customer), "RECOVERY#").await?;
        Ok(rows.into_iter().map(|r| r.item.payment).collect())
    }

    /// Payments of a customer that had money left.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn money_left_of(&self, customer: &CustomerId) -> Result<Vec<PaymentId>, Failed> {
        let rows: Vec<Read<MoneyLeft>> = self.query(&keys::customer_pk(customer), "MONEY#").await?;
        Ok(rows.into_iter().map(|r| r.item.payment).collect())
    }

    /// Payments that had money left for this client when they were stored.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn money_left_of_client(&self, client: &ClientId) -> Result<BTreeSet<PaymentId>, Failed> {
        let rows = self.table.query(&keys::client_pk(client), "MONEY#").await?;
        rows.iter().map(|r| Ok(item_of::<MoneyLeft>(r)?.item.payment)).collect()
    }

    /// Whether, and when, a client's credit is to be looked at.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn credit_look(&self, client: &ClientId) -> Result<Option<Read<CreditLook>>, Failed> {
        self.get(keys::credit_look(client)).await
    }

    /// Who is about to charge for an invoice.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn claim(&self, invoice: &InvoiceId) -> Result<Option<Read<InvoiceClaim>>, Failed> {
        self.get(keys::claim(invoice)).await
    }

    /// The postings about a subject.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn posting(&self, subject: &str, id: &PostingId) -> Result<Option<Read<StoredPosting>>, Failed> {
        self.get(keys::posting(&subject, id)).await
    }

    /// The allocation row `n` of a payment.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn allocation(
        &self,
        client: &ClientId,
        payment: &PaymentId,
        n: u32,
    ) -> Result<Option<Read<StoredAllocation>>, Failed> {
        self.get(keys::allocation(client, payment, n)).await
    }

    /// The reversals of an allocation.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn reversals(&self, client: &ClientId, payment: &PaymentId) -> Result<Vec<Read<StoredReversal>>, Failed> {
        self.query(&keys::client_pk(client), &format!("BACK#{payment}#")).await
    }

    /// A client with his personal data.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn client(&self, id: &ClientId) -> Result<Option<Read<StoredClient>>, Failed> {
        self.get(keys::client(id)).await
    }

    /// The personal data of a client that was read. A look at it is to be audited by the caller.
    #[must_use]
    pub fn personal(&self, client: &Read<StoredClient>) -> Personal {
        let pk = client.item.key().0;
        let plain = client.sealed.as_ref().and_then(|s| self.key.open(&pk, s).ok());
        plain.and_then(|p| serde_json::from_slice(&p).ok()).unwrap_or_default()
    }

    /// Seals personal data for a client's row.
    #[must_use]
    pub fn seal_personal(&self, client: &ClientId, personal: &Personal, nonce: [u8; 12]) -> Vec<u8> {
        let plain = serde_json::to_vec(personal).unwrap_or_default();
        self.key.seal(&keys::client_pk(client), nonce, &plain)
    }

    /// In whose partition an invoice stands.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn invoice_home(&self, id: &InvoiceId) -> Result<Option<Read<InvoiceHome>>, Failed> {
        self.get(keys::invoice_home(id)).await
    }

    /// An invoice as the EHR holds it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn invoice(&self, id: &InvoiceId) -> Result<Option<Read<StoredInvoice>>, Failed> {
        match self.invoice_home(id).await? {
            Some(home) => self.get(keys::invoice(&home.item.client, id)).await,
            None => Ok(None),
        }
    }

    /// The invoice a person means by its id or its printed number.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn invoice_typed(&self, text: &str) -> Result<Option<Invoice>, Failed> {
        let text = text.trim();
        let Ok(id) = InvoiceId::parse(text) else { return Ok(None) };
        if let Some(found) = self.invoice(&id).await? {
            return Ok(Some(found.item.invoice));
        }
        let number: Option<Read<InvoiceNumber>> = self.get(keys::invoice_number(text)).await?;
        match number {
            Some(number) => Ok(self.invoice(&number.item.invoice).await?.map(|i| i.item.invoice)),
            None => Ok(None),
        }
    }

    /// What is known of a customer.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn customer(&self, id: &CustomerId) -> Result<Option<Read<StoredCustomer>>, Failed> {
        self.get(keys::customer(id)).await
    }

    /// Who has an e-mail.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn email(&self, hash: &EmailHash) -> Result<Option<Read<StoredEmail>>, Failed> {
        self.get(keys::email(hash)).await
    }

    /// The link that Vesper made itself.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn own_link(&self, client: &ClientId, customer: &CustomerId) -> Result<Option<Read<OwnLink>>, Failed> {
        self.get(keys::own_link(client, customer)).await
    }

    /// A review.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn review(&self, id: &ReviewId) -> Result<Option<Read<StoredReview>>, Failed> {
        self.get(keys::review(id)).await
    }

    /// Every review about a subject, resolved ones too.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn reviews_about(&self, subject: &str) -> Result<Vec<Read<StoredReview>>, Failed> {
        let pointers: Vec<Read<ReviewOf>> = self.query(&keys::about_pk(&subject), "").await?;
        let wanted: Vec<Key> = pointers.iter().map(|p| keys::review(&p.item.review)).collect();
        let rows = self.table.get_many(&wanted).await?;
        let mut reviews: Vec<Read<StoredReview>> = rows.iter().map(item_of).collect::<Result<_, _>>()?;
        reviews.sort_by(|a, b| (a.item.review.opened_at, &a.item.review.id).cmp(&(b.item.review.opened_at, &b.item.review.id)));
        Ok(reviews)
    }

    /// An event that waits or could not be read.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn event(&self, id: &EventId) -> Result<Option<Read<StoredEvent>>, Failed> {
        self.get(keys::event(id)).await
    }

    /// An event's work is finished: its row goes.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn forget_event(&self, id: &EventId) -> Result<(), Failed> {
        let (pk, sk) = keys::event(id);
        Ok(self.table.delete(&pk, &sk, Cond::None).await?)
    }

    /// The row of a write-back.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn write_back(&self, place: &RowRef) -> Result<Option<WriteBack>, Failed> {
        let Some(row) = self.table.get(&place.pk, &place.sk).await? else { return Ok(None) };
        Ok(write_back_of(&row)?)
    }

    /// The row of a write-back, and this small fact, in one call.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn write_back_and<T: DeserializeOwned>(
        &self,
        place: &RowRef,
        fact: &str,
    ) -> Result<(Option<WriteBack>, Option<T>), Failed> {
        let (row, facts) = self.row_and_facts(place, &[fact]).await?;
        let told = facts.into_iter().next().map(|meta| fact_of(meta, fact)).transpose()?;
        Ok((row.map(|r| write_back_of(&r)).transpose()?.flatten(), told.map(|t: Read<T>| t.item)))
    }

    /// The row of a posting.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn books(&self, place: &RowRef) -> Result<Option<Read<StoredPosting>>, Failed> {
        typed(self.table.get(&place.pk, &place.sk).await?)
    }

    /// The row of a posting, this small fact and this sealed one, in one call.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn books_and<T: DeserializeOwned, S: DeserializeOwned>(
        &self,
        place: &RowRef,
        fact: &str,
        secret: &str,
    ) -> Result<(Option<Read<StoredPosting>>, Option<T>, Option<S>), Failed> {
        let (row, facts) = self.row_and_facts(place, &[fact, secret]).await?;
        let (mut told, mut opened) = (None, None);
        for meta in facts {
            if meta.item.name == fact {
                told = Some(fact_of::<T>(meta, fact)?.item);
            } else {
                opened = Some(self.secret_of::<S>(&meta, secret)?.item);
            }
        }
        Ok((typed(row)?, told, opened))
    }

    async fn row_and_facts(&self, place: &RowRef, facts: &[&str]) -> Result<(Option<Row>, Vec<Read<Meta>>), Failed> {
        let wanted: Vec<Key> = facts.iter().map(|name| keys::meta(name)).chain([(place.pk.clone(), place.sk.clone())]).collect();
        let (mut row, mut found) = (None, Vec::new());
        for read in self.table.get_many(&wanted).await? {
            if (&read.pk, &read.sk) == (&place.pk, &place.sk) {
                row = Some(read);
            } else {
                found.push(item_of(&read)?);
            }
        }
        Ok((row, found))
    }

    // ---------------------------------------------------------------- lists

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
        let found = self.table.list(&super::model::open_list(currency, open), None, most).await?;
        let rows = self.table.get_many(&found).await?;
        let items: Vec<Read<StoredInvoice>> = rows.iter().map(item_of).collect::<Result<_, _>>()?;
        let mut invoices: Vec<Invoice> = items.into_iter().map(|r| r.item.invoice).collect();
        invoices.sort_by(|a, b| (a.issued_on, &a.id).cmp(&(b.issued_on, &b.id)));
        Ok(invoices)
    }

    /// The parked payments that wait for any of these, in the order of first delivery.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn parked_for(&self, arrived: impl IntoIterator<Item = &Watch>) -> Result<Vec<PaymentId>, Failed> {
        let mut found: Vec<(Timestamp, PaymentId)> = Vec::new();
        for watch in arrived {
            for wanted in self.query::<Wanted>(&keys::wanted_pk(watch), keys::PARKED_SK).await? {
                found.push((wanted.item.first_delivered_at, wanted.item.payment));
            }
        }
        found.sort();
        found.dedup();
        Ok(found.into_iter().map(|(_, payment)| payment).collect())
    }

    /// The wishes of a payment that is no longer parked go.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn stop_waiting(&self, payment: &PaymentId, watched: impl IntoIterator<Item = &Watch>) -> Result<(), Failed> {
        for watch in watched {
            let (pk, sk) = keys::wanted(watch, payment);
            self.table.delete(&pk, &sk, Cond::None).await?;
        }
        Ok(())
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

    pub(super) fn knows_customers_listed(&self) -> bool {
        self.customers_listed.load(Ordering::SeqCst)
    }

    pub(super) fn note_customers_listed(&self, listed: bool) {
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
        Ok(self.table.scan(each).await?)
    }

    // ---------------------------------------------------------------- small facts

    /// A small fact.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn meta<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Read<T>>, Failed> {
        let read = self.get::<Meta>(keys::meta(name)).await?;
        Ok(read.map(|read| fact_of(read, name)).transpose()?)
    }

    /// Stores a small fact, on the condition that it has this revision (0: there is none). Returns the new revision.
    ///
    /// # Errors
    /// `Conflict` when somebody changed it.
    pub async fn set_meta<T: Serialize>(&self, name: &str, value: &T, rev: u64) -> Result<u64, Failed> {
        let value = serde_json::to_value(value).unwrap_or_default();
        let row = row_of(&Meta { name: name.to_owned(), value }, rev, None);
        Ok(self.table.put(row, Cond::Rev(rev)).await?)
    }

    /// A small fact that is sealed, because it is a secret.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn secret_meta<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Read<T>>, Failed> {
        let read = self.get::<Meta>(keys::meta(name)).await?;
        Ok(read.map(|read| self.secret_of(&read, name)).transpose()?)
    }

    fn secret_of<T: DeserializeOwned>(&self, read: &Read<Meta>, name: &str) -> Result<Read<T>, BadItem> {
        let bad = |problem: &str| BadItem { kind: format!("MetaV1 {name}"), problem: problem.to_owned() };
        let sealed = read.sealed.as_ref().ok_or_else(|| bad("nothing sealed"))?;
        let plain = self.key.open(name, sealed).map_err(|_| bad("it does not open with this data key"))?;
        let item = serde_json::from_slice(&plain).map_err(|e| bad(&e.classify_text()))?;
        Ok(Read { item, rev: read.rev, sealed: None })
    }

    /// Stores a sealed small fact.
    ///
    /// # Errors
    /// `Conflict` when somebody changed it.
    pub async fn set_secret_meta<T: Serialize>(&self, name: &str, value: &T, rev: u64, nonce: [u8; 12]) -> Result<u64, Failed> {
        let plain = serde_json::to_vec(value).unwrap_or_default();
        let sealed = self.key.seal(name, nonce, &plain);
        let row = row_of(&Meta { name: name.to_owned(), value: serde_json::Value::Null }, rev, Some(sealed));
        Ok(self.table.put(row, Cond::Rev(rev)).await?)
    }
}

fn fact_of<T: DeserializeOwned>(read: Read<Meta>, name: &str) -> Result<Read<T>, BadItem> {
    let bad = |e: serde_json::Error| BadItem { kind: format!("MetaV1 {name}"), problem: e.classify_text() };
    let item = serde_json::from_value(read.item.value).map_err(bad)?;
    Ok(Read { item, rev: read.rev, sealed: read.sealed })
}

trait ClassifyText {
    fn classify_text(&self) -> String;
}

impl ClassifyText for serde_json::Error {
    /// Where it does not fit; never what stands there.
    fn classify_text(&self) -> String {
        format!("line {} column {}", self.line(), self.column())
    }
}
