//! Loads what a payment concerns: the few clients, their invoices, EHR payments and allocations, with the versions that the
//! decision is conditioned on. What the ids lead to is read in one call, then the versions, then the candidates; indexes are never
//! read here.

use super::item::{Key, Read, Stored, Unit, item_of};
use super::keys;
use super::model::{
    Dependent, EhrPaymentPlace, EhrReference, EhrReferenced, InvoiceHome, Meta, MoneyLeft, OwnLink, ParkedWith, SessionInvoice,
    StoredAllocation, StoredClient, StoredCustomer, StoredEhrPayment, StoredEmail, StoredEvent, StoredInvoice, StoredPayment,
    Version,
};
use super::row::Row;
use super::store::{CUSTOMERS_LISTED, Failed, Store};
use std::collections::{BTreeMap, BTreeSet};
use vesper_core::event::Success;
use vesper_core::ids::{ClientId, CustomerId, EhrPaymentId, EventId, InvoiceId, PaymentId, SessionId};
use vesper_core::matching::unknown_owner;
use vesper_core::matching::who_pays::{Payer, who_pays};
use vesper_core::world::World;

/// A part of the practice, as of one moment for each client.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What is known.
    pub world: World,
    /// The version of every client in it; 0 for one that has none yet.
    pub versions: BTreeMap<ClientId, u64>,
    /// The payment's customer.
    pub customer: Option<Read<StoredCustomer>>,
    /// Who has the e-mail that rule 14 looks at.
    pub email: Option<Read<StoredEmail>>,
    /// The allocation rows, for those who change them.
    pub allocations: Vec<Read<StoredAllocation>>,
    /// Payments of these clients that had money left, or wait for one of them.
    pub money_left: BTreeSet<PaymentId>,
}

/// What is read first for a payment, in one call: whether it is known, and what its ids lead to. Handed round in a box: it is large,
/// and what decides a payment is deep.
#[derive(Debug, Default)]
pub struct Beginning {
    /// The payment, when it is known.
    pub payment: Option<Read<StoredPayment>>,
    /// The row of the event that tells of it, when that has waited.
    pub event: Option<Read<StoredEvent>>,
    /// The payment's customer.
    pub customer: Option<Read<StoredCustomer>>,
    /// Whose invoice its metadata names.
    home: Option<ClientId>,
    /// Which of its ids an EHR payment carries.
    referenced: BTreeSet<String>,
    customers_listed: bool,
}

impl Beginning {
    fn take(&mut self, row: &Row) -> Result<(), Failed> {
        match row.kind.as_str() {
            StoredPayment::KIND => self.payment = Some(item_of(row)?),
            StoredEvent::KIND => self.event = Some(item_of(row)?),
            StoredCustomer::KIND => self.customer = Some(item_of(row)?),
            InvoiceHome::KIND => self.home = Some(item_of::<InvoiceHome>(row)?.item.client),
            Meta::KIND => self.customers_listed |= item_of::<Meta>(row)?.item.value == serde_json::Value::Bool(true),
            EhrReferenced::KIND => {
                self.referenced.insert(item_of::<EhrReferenced>(row)?.item.reference);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The ids under which the EHR may show a payment.
fn references_of(success: &Success) -> impl Iterator<Item = &str> {
    [Some(success.payment.as_str()), success.charge.as_ref().map(|c| c.as_str())].into_iter().flatten()
}

fn named_invoice(success: &Success) -> Option<InvoiceId> {
    success.reference.invoice.as_deref().and_then(|id| InvoiceId::parse(id).ok())
}

impl Loaded {
    /// Bumps the version of every client that was looked at: the unit fails when what any of them owes or has paid changed.
    pub fn bump_all(&self, unit: &mut Unit) {
        for (client, rev) in &self.versions {
            unit.put_sealed(&Version { client: client.clone() }, *rev, None);
        }
    }

    fn take(&mut self, row: &Row) -> Result<(), Failed> {
        match row.kind.as_str() {
            StoredClient::KIND => {
                self.world.apply_client(item_of::<StoredClient>(row)?.item.client);
            }
            StoredInvoice::KIND => {
                self.world.apply_invoice(item_of::<StoredInvoice>(row)?.item.invoice);
            }
            StoredEhrPayment::KIND => {
                self.world.apply_ehr_payment(item_of::<StoredEhrPayment>(row)?.item.payment);
            }
            StoredAllocation::KIND => self.allocations.push(item_of(row)?),
            MoneyLeft::KIND => {
                self.money_left.insert(item_of::<MoneyLeft>(row)?.item.payment);
            }
            ParkedWith::KIND => {
                self.money_left.insert(item_of::<ParkedWith>(row)?.item.payment);
            }
            OwnLink::KIND => {
                let link = item_of::<OwnLink>(row)?.item;
                self.world.apply_link(link.customer, link.client);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Puts the allocations on their invoices, oldest first.
fn place_allocations(loaded: &mut Loaded) {
    let mut allocations = std::mem::take(&mut loaded.allocations);
    allocations.sort_by(|a, b| {
        let place = |r: &Read<StoredAllocation>| (r.item.allocation.decided_at, r.item.allocation.payment.clone(), r.item.n);
        place(a).cmp(&place(b))
    });
    for read in &allocations {
        if let Some(placed) = loaded.world.allocations_mut(&read.item.allocation.invoice) {
            placed.clear();
        }
    }
    for read in &allocations {
        loaded.world.apply_allocation(read.item.allocation.clone());
    }
    loaded.allocations = allocations;
}

impl Store {
    /// Everything that the decision about this payment may look at.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn load_for(&self, success: &Success) -> Result<Loaded, Failed> {
        let beginning = self.beginning(success, None).await?;
        self.load_from(success, beginning).await
    }

    /// What is read first for a payment; `event` tells of it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn beginning(&self, success: &Success, event: Option<&EventId>) -> Result<Box<Beginning>, Failed> {
        let mut beginning = Box::new(Beginning { customers_listed: self.knows_customers_listed(), ..Beginning::default() });
        let mut wanted: Vec<Key> = vec![keys::payment(&success.payment)];
        wanted.extend(event.map(keys::event));
        wanted.extend(success.customer.as_ref().map(keys::customer));
        wanted.extend(named_invoice(success).as_ref().map(keys::invoice_home));
        wanted.extend(references_of(success).map(keys::ehr_referenced));
        wanted.extend((!beginning.customers_listed).then(|| keys::meta(CUSTOMERS_LISTED)));
        for row in &self.table.get_many(&wanted).await? {
            beginning.take(row)?;
        }
        self.note_customers_listed(beginning.customers_listed);
        Ok(beginning)
    }

    /// Everything that the decision about this payment may look at, after its beginning.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn load_from(&self, success: &Success, beginning: Box<Beginning>) -> Result<Loaded, Failed> {
        let mut loaded = Loaded::default();
        loaded.world.customers_listed = beginning.customers_listed;
        let roots = self.roots_by_ids(success, beginning, &mut loaded).await?;
        let named = success.reference.invoice.is_some() || success.reference.session.is_some();
        let may_ask_email = roots.is_empty() || !named;
        self.load_families(roots, &mut loaded).await?;
        // Whatever else the ids led to (a deleted client, an EHR payment that does not count): where they do not say who pays, the
        // e-mail is looked at, and then everybody who has it must be there.
        let payer = who_pays(&loaded.world, success.customer.as_ref(), &success.reference);
        if may_ask_email && matches!(payer, Payer::Unknown { named_unknown: false }) {
            let by_email = self.roots_by_email(success, &mut loaded).await?;
            self.load_families(by_email, &mut loaded).await?;
        }
        Ok(loaded)
    }

    /// Everything of these clients and their families.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn load_clients(&self, clients: impl IntoIterator<Item = ClientId>) -> Result<Loaded, Failed> {
        let mut loaded = Loaded::default();
        self.load_families(clients.into_iter().collect(), &mut loaded).await?;
        Ok(loaded)
    }

    /// These clients alone, without their families.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn load_partitions_of(&self, clients: BTreeSet<ClientId>) -> Result<Loaded, Failed> {
        let mut loaded = Loaded::default();
        self.load_partitions(clients, &mut loaded).await?;
        place_allocations(&mut loaded);
        Ok(loaded)
    }

    /// The versions of these clients alone.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn versions_of(&self, clients: BTreeSet<ClientId>) -> Result<Loaded, Failed> {
        let rows = self.table.get_many(&clients.iter().map(keys::version).collect::<Vec<_>>()).await?;
        let mut loaded = Loaded::default();
        loaded.versions.extend(clients.into_iter().map(|c| (c, 0)));
        for row in &rows {
            let read = item_of::<Version>(row)?;
            loaded.versions.insert(read.item.client, read.rev);
        }
        Ok(loaded)
    }

    /// EHR payments whose invoice has not arrived yet.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn orphan_payments(&self, invoice: &InvoiceId) -> Result<Vec<StoredEhrPayment>, Failed> {
        let rows = self.table.query(&keys::invoice_pk(invoice), keys::ORPHANS_SK).await?;
        rows.iter().map(|r| Ok(item_of::<StoredEhrPayment>(r)?.item)).collect()
    }

    /// Where the EHR's record of a payment stands; None while it has told of none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn ehr_payment_place(&self, id: &EhrPaymentId) -> Result<Option<Read<EhrPaymentPlace>>, Failed> {
        self.get(keys::ehr_payment_place(id)).await
    }

    /// Reads ahead what records begin with: where the invoices, EHR payments and clients named stand, in one call; the versions of all
    /// clients there, in another; then what those have whose invoices are concerned (`billed`: those that the invoices name), several
    /// at the same time. For a store that gathers: its steps find it, and a version that is old by then refuses them.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read_ahead(
        &self,
        invoices: &BTreeSet<&InvoiceId>,
        payments: &BTreeSet<&EhrPaymentId>,
        clients: BTreeSet<ClientId>,
        mut billed: BTreeSet<ClientId>,
    ) -> Result<(), Failed> {
        let homes = invoices.iter().map(keys::invoice_home);
        let places = payments.iter().map(keys::ehr_payment_place);
        let wanted: Vec<Key> = homes.chain(places).chain(clients.iter().map(keys::client)).collect();
        let mut homeless: BTreeSet<InvoiceId> = invoices.iter().map(|i| (*i).clone()).collect();
        for row in &self.table.get_many(&wanted).await? {
            match row.kind.as_str() {
                InvoiceHome::KIND => {
                    let home = item_of::<InvoiceHome>(row)?.item;
                    homeless.remove(&home.invoice);
                    billed.insert(home.client);
                }
                EhrPaymentPlace::KIND => {
                    let place = item_of::<EhrPaymentPlace>(row)?.item;
                    billed.insert(place.client.unwrap_or_else(|| unknown_owner(&place.invoice)));
                }
                _ => {}
            }
        }
        billed.extend(homeless.iter().map(unknown_owner));
        self.versions_of(clients.into_iter().chain(billed.iter().cloned()).collect()).await?;
        let partitions = billed.iter().map(|client| (keys::client_pk(client), String::new()));
        let orphans = homeless.iter().map(|invoice| (keys::invoice_pk(invoice), keys::ORPHANS_SK.to_owned()));
        Ok(self.table.query_ahead(partitions.chain(orphans).collect()).await?)
    }

    /// The clients that the customer, the metadata and the EHR's own payments lead to.
    async fn roots_by_ids(
        &self,
        success: &Success,
        beginning: Box<Beginning>,
        loaded: &mut Loaded,
    ) -> Result<BTreeSet<ClientId>, Failed> {
        let Beginning { customer: known, home, referenced, .. } = *beginning;
        let mut roots: BTreeSet<ClientId> = home.into_iter().collect();
        if let Some(customer) = &success.customer {
            loaded.customer = known;
            if let Some(read) = &loaded.customer {
                roots.extend(read.item.told.iter().cloned());
                roots.extend(read.item.own.iter().cloned());
                loaded.world.apply_customer(customer, read.item.email.clone());
            }
            if loaded.customer.as_ref().is_none_or(|read| !read.item.email_known) {
                loaded.world.apply_unheard(customer);
            }
        }
        roots.extend(success.reference.client.as_deref().and_then(|id| ClientId::parse(id).ok()));
        if let Some(id) = success.reference.session.as_deref().and_then(|id| SessionId::parse(id).ok()) {
            let rows = self.table.query(&keys::session_pk(&id), "INV#").await?;
            for row in &rows {
                roots.insert(item_of::<SessionInvoice>(row)?.item.client);
            }
        }
        for reference in &referenced {
            for row in &self.table.query(&keys::ehr_reference_pk(reference), keys::EHR_REFERENCE_SK).await? {
                roots.extend(self.follow_reference(item_of::<EhrReference>(row)?.item, loaded).await?);
            }
        }
        Ok(roots)
    }

    async fn follow_reference(&self, reference: EhrReference, loaded: &mut Loaded) -> Result<Option<ClientId>, Failed> {
        // The version before the candidates: the invoice, and what the EHR says of its payments, bump it until it has a home.
        let stranger = unknown_owner(&reference.invoice);
        let version: Option<Read<Version>> = self.get(keys::version(&stranger)).await?;
        let home: Option<Read<InvoiceHome>> = self.invoice_home(&reference.invoice).await?;
        if home.is_none() {
            for row in &self.table.query(&keys::invoice_pk(&reference.invoice), keys::ORPHANS_SK).await? {
                loaded.take(row)?;
            }
            loaded.versions.insert(stranger, version.map_or(0, |v| v.rev));
        }
        Ok(home.map(|h| h.item.client))
    }

    async fn roots_by_email(&self, success: &Success, loaded: &mut Loaded) -> Result<BTreeSet<ClientId>, Failed> {
        let email = loaded.world.email_of_payment(success.customer.as_ref(), success.receipt_email.as_ref());
        let Some(hash) = email.cloned() else { return Ok(BTreeSet::new()) };
        loaded.email = self.email(&hash).await?;
        let Some(read) = &loaded.email else { return Ok(BTreeSet::new()) };
        for customer in &read.item.customers {
            loaded.world.apply_customer(customer, Some(hash.clone()));
        }
        Ok(read.item.clients.clone())
    }

    /// Loads clients with their guarantors and all dependents of either, one step.
    async fn load_families(&self, roots: BTreeSet<ClientId>, loaded: &mut Loaded) -> Result<(), Failed> {
        let heads = self.load_partitions(roots, loaded).await?;
        let dependents = self.load_partitions(heads, loaded).await?;
        self.load_partitions(dependents, loaded).await?;
        place_allocations(loaded);
        Ok(())
    }

    /// Loads these partitions, and says which guarantors and dependents they name.
    async fn load_partitions(&self, clients: BTreeSet<ClientId>, loaded: &mut Loaded) -> Result<BTreeSet<ClientId>, Failed> {
        let new: Vec<ClientId> = clients.into_iter().filter(|c| !loaded.versions.contains_key(c)).collect();
        let version_keys: Vec<_> = new.iter().map(keys::version).collect();
        let rows = self.table.get_many(&version_keys).await?;
        let read: BTreeMap<ClientId, u64> =
            rows.iter().map(|r| item_of::<Version>(r).map(|v| (v.item.client, v.rev))).collect::<Result<_, _>>()?;
        let mut named = BTreeSet::new();
        for client in new {
            let rev = read.get(&client).copied().unwrap_or(0);
            for row in &self.table.query(&keys::client_pk(&client), "").await? {
                if row.kind == Dependent::KIND {
                    named.insert(item_of::<Dependent>(row)?.item.client);
                }
                loaded.take(row)?;
            }
            named.extend(loaded.world.client_record(&client).and_then(|c| c.guarantor.clone()));
            loaded.versions.insert(client, rev);
        }
        Ok(named)
    }

    /// The customers whose e-mail or links a family's rule 14 depends on.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn customers(&self, ids: impl IntoIterator<Item = CustomerId>) -> Result<Vec<Read<StoredCustomer>>, Failed> {
        let wanted: Vec<_> = ids.into_iter().map(|c| keys::customer(&c)).collect();
        let rows = self.table.get_many(&wanted).await?;
        rows.iter().map(|r| item_of(r).map_err(Failed::from)).collect()
    }
}
