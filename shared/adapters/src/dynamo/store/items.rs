//! Single items, and the few that one step reads together.

use super::facts::fact_of;
use super::{Failed, PaymentAndEvent, PaymentFile, RowRef, Store, WriteBack, typed, write_back_of};
use crate::dynamo::item::{Key, Read, Stored, item_of};
use crate::dynamo::keys;
use crate::dynamo::model::{
    CreditLook, InvoiceClaim, InvoiceHome, InvoiceNumber, Meta, MoneyLeft, OwnLink, RecoveryOf, ReviewOf, StoredAllocation,
    StoredClient, StoredCustomer, StoredEmail, StoredEvent, StoredFailure, StoredInvoice, StoredMovement, StoredPayment,
    StoredPosting, StoredRecovery, StoredReversal, StoredReview,
};
use crate::dynamo::row::{Cond, Row};
use crate::personal::Personal;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use vesper_core::ids::{ClientId, CustomerId, EmailHash, EventId, InvoiceId, PaymentId, PostingId, ReviewId};
use vesper_core::records::Invoice;

impl Store {
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
            // One that has another number by now is not meant.
            Some(number) => {
                let found = self.invoice(&number.item.invoice).await?.map(|i| i.item.invoice);
                Ok(found.filter(|invoice| invoice.printed_number() == Some(text)))
            }
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
}
