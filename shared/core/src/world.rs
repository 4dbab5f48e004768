//! What is known of the practice: everything a decision may look at, and nothing else.
//!
//! The store fills a `World` with the few clients that a payment concerns; backtest keeps the whole practice in one.
//! The records are applied the same way in both, so both decide alike.
//! Must not: decide anything.

pub mod compact;
mod few;
mod packed;

use crate::event::Success;
use crate::ids::{ChargeId, ClientId, CustomerId, EhrPaymentId, EmailHash, InvoiceId, PaymentId, SessionId};
use crate::matching::open::standing;
use crate::money::Minor;
use crate::records::{Category, Client, ClientStatus, EhrPayment, Invoice};
use few::{Lookup, Multi};
use jiff::Timestamp;
use packed::{Label, Shelf};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An amount of one payment that pays the client share of one invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The payment.
    pub payment: PaymentId,
    /// Its charge, when it is known.
    pub charge: Option<ChargeId>,
    /// The invoice.
    pub invoice: InvoiceId,
    /// Whose invoice it is.
    pub client: ClientId,
    /// What was allocated.
    pub amount: Minor,
    /// What of it was taken back by refunds, disputes and corrections.
    pub reversed: Minor,
    /// The rule that allocated it; 0 = a person.
    pub rule: u8,
    /// What the client share was when it was allocated: the income it was posted to.
    pub category: Category,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The EHR reference that Vesper's own write carries.
    pub reference: String,
    /// A person types it into the EHR (backtest, shadow, a worklist item marked done), so no reference shows it.
    pub typed_in: bool,
    /// A version of the EHR showed it.
    pub shown: bool,
    /// A refund or dispute re-opened its invoice, and nobody has answered yet.
    pub reopened: bool,
    /// Closed at the switch from shadow to live: it no longer counts.
    pub closed: bool,
}

impl Allocation {
    /// What still stands.
    #[must_use]
    pub fn net(&self) -> Minor {
        if self.closed { Minor::ZERO } else { self.amount.minus(self.reversed).or_zero() }
    }
}

/// An invoice with the EHR payments and the allocations on it.
#[derive(Clone, Debug, Default)]
pub struct InvoiceFile {
    /// The EHR's latest version; None while only a payment of it is known.
    pub invoice: Option<Invoice>,
    /// The EHR payments on it.
    pub payments: BTreeMap<EhrPaymentId, EhrPayment>,
    /// Our allocations on it, oldest first.
    pub allocations: Vec<Allocation>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct World {
    clients: Lookup<ClientId, Client>,
    dependents: Multi<ClientId, ClientId>,
    invoices: BTreeMap<InvoiceId, InvoiceFile>,
    invoices_of: Multi<ClientId, InvoiceId>,
    sessions: Multi<SessionId, InvoiceId>,
    /// On which invoice each EHR payment stands.
    places: Lookup<EhrPaymentId, InvoiceId>,
    ehr_references: Multi<String, (InvoiceId, EhrPaymentId)>,
    /// The invoices that [`World::pack`] put away. Of those, nothing stands in the four maps above.
    packed: Shelf,
    ehr_links: Multi<CustomerId, ClientId>,
    own_links: Lookup<CustomerId, ClientId>,
    own_links_of: Multi<ClientId, CustomerId>,
    email_clients: Multi<EmailHash, ClientId>,
    email_customers: Multi<EmailHash, CustomerId>,
    customer_email: Lookup<CustomerId, EmailHash>,
    /// Customers of whom nobody has said which e-mail they have, or that they have none.
    unheard: BTreeSet<CustomerId>,
    /// Stripe's customers were listed to the end: until then no e-mail is known to be unique (design.md, Store).
    pub customers_listed: bool,
}

/// Whether an EHR reference is the id of a Stripe payment.
#[must_use]
pub fn is_stripe_reference(reference: &str) -> bool {
    ["pi_", "ch_", "py_"].iter().any(|p| reference.starts_with(p))
}

impl World {
    // ---------------------------------------------------------------- records in

    /// Takes a client's record; false when a newer one is there.
    pub fn apply_client(&mut self, client: Client) -> bool {
        if self.clients.get(&client.id).is_some_and(|old| old.seen > client.seen) {
            return false;
        }
        self.forget_client(&client.id.clone());
        for customer in &client.customers {
            self.ehr_links.insert(customer.clone(), client.id.clone());
        }
        for email in &client.emails {
            self.email_clients.insert(email.clone(), client.id.clone());
        }
        if let Some(guarantor) = &client.guarantor {
            self.dependents.insert(guarantor.clone(), client.id.clone());
        }
        self.clients.insert(client.id.clone(), client);
        true
    }

    fn forget_client(&mut self, id: &ClientId) {
        let Some(old) = self.clients.remove(id) else { return };
        for customer in &old.customers {
            self.ehr_links.remove(customer, id);
        }
        for email in &old.emails {
            self.email_clients.remove(email, id);
        }
        if let Some(guarantor) = &old.guarantor {
            self.dependents.remove(guarantor, id);
        }
    }

    /// Takes an invoice's record; false when a newer one is there.
    pub fn apply_invoice(&mut self, invoice: Invoice) -> bool {
        self.unpack(&invoice.id);
        let old = self.invoices.get_mut(&invoice.id).and_then(|f| f.invoice.take());
        let keep = old.as_ref().is_some_and(|old| old.seen > invoice.seen);
        if let Some(old) = old.as_ref().filter(|_| !keep) {
            self.invoices_of.remove(&old.client, &old.id);
            for session in &old.sessions {
                self.sessions.remove(&session.id, &old.id);
            }
        }
        let now = match old {
            Some(old) if keep => old,
            _ => {
                self.list_invoice(&invoice);
                invoice
            }
        };
        let id = now.id.clone();
        self.invoices.entry(id).or_default().invoice = Some(now);
        !keep
    }

    fn list_invoice(&mut self, invoice: &Invoice) {
        self.invoices_of.insert(invoice.client.clone(), invoice.id.clone());
        for session in &invoice.sessions {
            self.sessions.insert(session.id.clone(), invoice.id.clone());
        }
    }

    /// Takes an EHR payment's record; false when a newer one is there. One that moved to another invoice leaves the old one.
    pub fn apply_ehr_payment(&mut self, mut payment: EhrPayment) -> bool {
        self.unpack(&payment.invoice);
        if let Some(place) = self.place_of(&payment.id) {
            self.unpack(&place);
            let Some(file) = self.invoices.get_mut(&place) else { return false };
            if file.payments.get(&payment.id).is_some_and(|old| old.seen > payment.seen) {
                return false;
            }
            if let Some(old) = file.payments.remove(&payment.id) {
                payment.first_observed_at = payment.first_observed_at.min(old.first_observed_at);
                if file.invoice.is_none() && file.payments.is_empty() && file.allocations.is_empty() {
                    self.invoices.remove(&place);
                }
                self.ehr_references.remove(&old.reference, &(old.invoice, old.id));
            }
        }
        self.list_payment(&payment);
        self.invoices.entry(payment.invoice.clone()).or_default().payments.insert(payment.id.clone(), payment);
        true
    }

    fn list_payment(&mut self, payment: &EhrPayment) {
        self.places.insert(payment.id.clone(), payment.invoice.clone());
        if is_stripe_reference(&payment.reference) {
            self.ehr_references.insert(payment.reference.clone(), (payment.invoice.clone(), payment.id.clone()));
        }
    }

    /// The invoice on which an EHR payment stands, packed or not.
    #[must_use]
    pub fn place_of(&self, payment: &EhrPaymentId) -> Option<InvoiceId> {
        self.places.get(payment).cloned().or_else(|| self.packed.invoice_of(payment))
    }

    /// Notes that Stripe has said nothing of this customer yet: what its e-mail is cannot be told.
    pub fn apply_unheard(&mut self, customer: &CustomerId) {
        self.unheard.insert(customer.clone());
    }

    /// Takes what Stripe says of a customer: its latest e-mail.
    pub fn apply_customer(&mut self, customer: &CustomerId, email: Option<EmailHash>) {
        self.unheard.remove(customer);
        if let Some(old) = self.customer_email.remove(customer) {
            self.email_customers.remove(&old, customer);
        }
        if let Some(email) = email {
            self.email_customers.insert(email.clone(), customer.clone());
            self.customer_email.insert(customer.clone(), email);
        }
    }

    /// Links a customer to a client by e-mail (rule 14).
    pub fn apply_link(&mut self, customer: CustomerId, client: ClientId) {
        if let Some(old) = self.own_links.insert(customer.clone(), client.clone()) {
            self.own_links_of.remove(&old, &customer);
        }
        self.own_links_of.insert(client, customer);
    }

    /// Takes a new allocation.
    pub fn apply_allocation(&mut self, allocation: Allocation) {
        self.unpack(&allocation.invoice);
        self.invoices.entry(allocation.invoice.clone()).or_default().allocations.push(allocation);
    }

    /// The allocations on an invoice, to take back a part of one.
    pub fn allocations_mut(&mut self, invoice: &InvoiceId) -> Option<&mut Vec<Allocation>> {
        self.unpack(invoice);
        self.invoices.get_mut(invoice).map(|f| &mut f.allocations)
    }

    // ---------------------------------------------------------------- long histories in little memory

    /// Puts an invoice that owes nothing away, in a few bytes; false when it may still be paid. It is no candidate then (nor was it
    /// before), [`World::invoice`] and the lists do not show it, and whatever is applied to it opens it again. Who packs calls
    /// [`World::unpack_for`] before a decision; nothing is decided otherwise then.
    pub fn pack(&mut self, id: &InvoiceId) -> bool {
        let Some(file) = self.invoices.get(id) else { return false };
        let void = file.invoice.as_ref().is_some_and(|i| i.void);
        if !void && standing(file).is_none_or(|s| !s.share.open.is_zero()) {
            return false;
        }
        if !self.packed.put(file) {
            return false;
        }
        let Some(file) = self.invoices.remove(id) else { return false };
        if let Some(invoice) = &file.invoice {
            self.invoices_of.remove(&invoice.client, id);
            for session in &invoice.sessions {
                self.sessions.remove(&session.id, id);
            }
        }
        for (payment, p) in file.payments {
            self.places.remove(&payment);
            if is_stripe_reference(&p.reference) {
                self.ehr_references.remove(&p.reference, &(p.invoice, payment));
            }
        }
        true
    }

    /// Makes a packed invoice whole again; false when it was not packed.
    pub fn unpack(&mut self, id: &InvoiceId) -> bool {
        let Some(file) = self.packed.take(id) else { return false };
        if let Some(invoice) = &file.invoice {
            self.list_invoice(invoice);
        }
        for payment in file.payments.values() {
            self.list_payment(payment);
        }
        self.invoices.insert(id.clone(), file);
        true
    }

    /// Makes whole what the decision about this payment may name: its references (rule 3) and the invoices of the EHR payments
    /// that carry its ids (rule 16). The invoices that were packed, to be packed again afterwards.
    pub fn unpack_for(&mut self, success: &Success) -> Vec<InvoiceId> {
        if self.packed.is_empty() {
            return Vec::new();
        }
        let reference = &success.reference;
        let named = reference.invoice.as_deref().and_then(|id| InvoiceId::parse(id).ok());
        let session = reference.session.as_deref().map(Label::Session);
        let ids = [Some(success.payment.as_str()), success.charge.as_ref().map(ChargeId::as_str)];
        let labels = session.into_iter().chain(ids.into_iter().flatten().map(Label::Reference));
        let labelled = labels.flat_map(|label| self.packed.labelled(label));
        let mut all: Vec<InvoiceId> = named.into_iter().chain(labelled).collect();
        all.retain(|id| self.unpack(id));
        all
    }

    // ---------------------------------------------------------------- questions

    /// A client that counts: known and not deleted.
    #[must_use]
    pub fn client(&self, id: &ClientId) -> Option<&Client> {
        self.clients.get(id).filter(|c| c.status != ClientStatus::Deleted)
    }

    /// A client's record, deleted or not.
    #[must_use]
    pub fn client_record(&self, id: &ClientId) -> Option<&Client> {
        self.clients.get(id)
    }

    /// Clients that count and whose guarantor this is.
    pub fn dependents(&self, guarantor: &ClientId) -> impl Iterator<Item = &ClientId> {
        self.dependents.get(guarantor).iter().filter(|c| self.client(c).is_some())
    }

    /// The invoices a guarantor pays: his own and those of his dependents, one step.
    #[must_use]
    pub fn family(&self, payer: &ClientId) -> BTreeSet<ClientId> {
        self.dependents(payer).cloned().chain([payer.clone()]).collect()
    }

    /// The whole family a client belongs to: with his guarantor and that one's other dependents.
    #[must_use]
    pub fn whole_family(&self, client: &ClientId) -> BTreeSet<ClientId> {
        let mut all = self.family(client);
        if let Some(guarantor) = self.client(client).and_then(|c| c.guarantor.as_ref()) {
            all.extend(self.family(guarantor));
        }
        all
    }

    /// An invoice with what is on it.
    #[must_use]
    pub fn invoice(&self, id: &InvoiceId) -> Option<&InvoiceFile> {
        self.invoices.get(id)
    }

    /// A client's invoices.
    pub fn invoices_of(&self, client: &ClientId) -> impl Iterator<Item = &InvoiceFile> {
        self.invoices_of.get(client).iter().filter_map(|id| self.invoices.get(id))
    }

    /// Every invoice, for lists.
    pub fn invoices(&self) -> impl Iterator<Item = &InvoiceFile> {
        self.invoices.values()
    }

    /// The invoices that bill a session.
    pub fn invoices_of_session(&self, session: &SessionId) -> impl Iterator<Item = &Invoice> {
        let ids = self.sessions.get(session).iter();
        ids.filter_map(|id| self.invoices.get(id)).filter_map(|f| f.invoice.as_ref())
    }

    /// The clients that count and whose customer this is. Where the EHR names any, a link of our own does not count.
    #[must_use]
    pub fn linked(&self, customer: &CustomerId) -> BTreeSet<ClientId> {
        let told: BTreeSet<ClientId> =
            self.ehr_links.get(customer).iter().filter(|c| self.client(c).is_some()).cloned().collect();
        if !told.is_empty() {
            return told;
        }
        self.own_links.get(customer).filter(|c| self.client(c).is_some()).cloned().into_iter().collect()
    }

    /// The client a customer was linked to by e-mail.
    #[must_use]
    pub fn own_link(&self, customer: &CustomerId) -> Option<&ClientId> {
        self.own_links.get(customer)
    }

    /// All Stripe customers of these clients.
    #[must_use]
    pub fn customers_of(&self, clients: &BTreeSet<ClientId>) -> BTreeSet<CustomerId> {
        let told = clients.iter().filter_map(|c| self.client(c)).flat_map(|c| c.customers.iter().cloned());
        let own = clients.iter().flat_map(|c| self.own_links_of.get(c).iter().cloned());
        told.chain(own).collect()
    }

    /// The customer's latest e-mail.
    #[must_use]
    pub fn email_of(&self, customer: &CustomerId) -> Option<&EmailHash> {
        self.customer_email.get(customer)
    }

    /// The e-mail that says whose a payment is (rule 14): its customer's latest, else the one that the receipt went to. None while
    /// Stripe has not said which e-mail the customer has: the receipt may have gone to somebody else.
    #[must_use]
    pub fn email_of_payment<'w>(
        &'w self,
        customer: Option<&CustomerId>,
        receipt_email: Option<&'w EmailHash>,
    ) -> Option<&'w EmailHash> {
        if customer.is_some_and(|c| self.unheard.contains(c)) {
            return None;
        }
        customer.and_then(|c| self.email_of(c)).or(receipt_email)
    }

    /// The clients that count and have this e-mail.
    #[must_use]
    pub fn clients_with_email(&self, email: &EmailHash) -> BTreeSet<ClientId> {
        self.email_clients.get(email).iter().filter(|c| self.client(c).is_some()).cloned().collect()
    }

    /// The customers that have this e-mail.
    pub fn customers_with_email(&self, email: &EmailHash) -> impl Iterator<Item = &CustomerId> {
        self.email_customers.get(email).iter()
    }

    /// The EHR payments whose EHR reference this is.
    pub fn ehr_payments_referring(&self, reference: &str) -> impl Iterator<Item = &EhrPayment> {
        let places = self.ehr_references.get(reference).iter();
        places.filter_map(|(invoice, id)| self.invoices.get(invoice)?.payments.get(id))
    }
}
