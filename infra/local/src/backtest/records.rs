//! The EHR's records in a backtest: whom they wake, and what they say about allocations that were made before.

use super::engine::Engine;
use super::kept::Known;
use super::summary::Followed;
use std::collections::BTreeSet;
use vesper_adapters::ehr::Change;
use vesper_core::ids::{ClientId, CustomerId, InvoiceId, PaymentId};
use vesper_core::matching::{Watch, open::standing};
use vesper_core::money::Minor;
use vesper_core::records::{Client, EhrPayment, Invoice};
use vesper_core::review::Reason;
use vesper_core::world::is_stripe_reference;

impl Engine {
    /// Takes a record. What it wakes is looked at by [`Engine::after_records`].
    pub fn record_of_ehr(&mut self, change: Change) {
        self.summary.records += 1;
        let taken = match change {
            Change::Client { client, .. } => self.client(client),
            Change::Invoice(invoice) => self.invoice(invoice),
            Change::Payment(payment) => self.ehr_payment(payment),
            Change::UnknownKind { .. } | Change::Unreadable { .. } => true,
        };
        if !taken {
            self.summary.stale_records += 1;
        }
    }

    fn client(&mut self, client: Client) -> bool {
        let id = client.id.clone();
        let before: Option<Client> = self.world.client_record(&id).cloned();
        let told = |c: &CustomerId| before.as_ref().is_some_and(|old| old.status == client.status && old.customers.contains(c));
        let newly_named: Vec<CustomerId> = client.customers.iter().filter(|c| !told(c)).cloned().collect();
        let emails = client.emails.iter().chain(before.iter().flat_map(|old| &old.emails)).cloned();
        let emails: Vec<Watch> = emails.map(Watch::Email).collect();
        let mut family = self.family_that_waits(&id);
        if !self.world.apply_client(client) {
            return false;
        }
        family.extend(self.family_that_waits(&id));
        self.wake_clients(family);
        emails.iter().for_each(|watch| self.wake(watch));
        for customer in newly_named {
            let contradicted = self.world.own_link(&customer).is_some_and(|ours| *ours != id);
            if contradicted && self.world.client(&id).is_some() {
                self.summary.review(Reason::ClientConflict);
            }
            self.wake(&Watch::Customer(customer));
        }
        true
    }

    /// Whose waiting payments a record of this client concerns: the whole family's. Nobody's where nobody's wait.
    fn family_that_waits(&self, client: &ClientId) -> BTreeSet<Watch> {
        if !self.clients_are_watched() {
            return BTreeSet::new();
        }
        self.world.whole_family(client).into_iter().map(Watch::Client).collect()
    }

    fn wake_clients(&mut self, clients: BTreeSet<Watch>) {
        clients.iter().for_each(|watch| self.wake(watch));
    }

    fn invoice(&mut self, invoice: Invoice) -> bool {
        let id = invoice.id.clone();
        self.world.unpack(&id);
        let old = self.world.invoice(&id).and_then(|f| f.invoice.as_ref());
        let before = old.map(|old| (old.client.clone(), old.client_share.charge, old.void));
        let now = (invoice.client.clone(), invoice.client_share.charge, invoice.void);
        if !self.world.apply_invoice(invoice) {
            self.put_away_later(&id);
            return false;
        }
        if let Some((owner, ..)) = before.as_ref().filter(|b| b.0 != now.0) {
            let family = self.family_that_waits(owner);
            self.wake_clients(family);
        }
        self.wake_invoice(&id);
        if let Some((_, charge, void)) = before {
            self.excess_of(&id, now.2 && !void, now.1 < charge);
        }
        self.is_it_shown(&id);
        self.check_invoice(&id);
        true
    }

    fn ehr_payment(&mut self, payment: EhrPayment) -> bool {
        let (id, invoice, reference) = (payment.id.clone(), payment.invoice.clone(), payment.reference.clone());
        let before = self.world.place_of(&id);
        let moved_from = before.as_ref().filter(|place| **place != invoice);
        for place in before.iter().chain([&invoice]) {
            self.world.unpack(place);
        }
        let old = before.as_ref().and_then(|place| self.world.invoice(place)).and_then(|f| f.payments.get(&id));
        let known = moved_from.is_none() && old.is_some_and(|old| old.reference == reference);
        let counts = payment.pays_client_share();
        if !self.world.apply_ehr_payment(payment) {
            for place in before.iter().chain([&invoice]) {
                self.put_away_later(place);
            }
            return false;
        }
        for place in moved_from.into_iter().chain([&invoice]) {
            self.wake_invoice(place);
        }
        if is_stripe_reference(&reference) {
            if counts && !known {
                self.is_it_ours_elsewhere(&reference, &invoice);
            }
            self.wake(&Watch::EhrReference(reference));
        }
        for place in moved_from.into_iter().chain([&invoice]) {
            self.is_it_shown(place);
            self.check_invoice(place);
        }
        true
    }

    /// Wakes who waits for this invoice, its sessions, or any record of its family.
    fn wake_invoice(&mut self, id: &InvoiceId) {
        if self.waiting.is_empty() {
            return;
        }
        if let Some(invoice) = self.world.invoice(id).and_then(|f| f.invoice.as_ref()) {
            let sessions: Vec<Watch> = invoice.sessions.iter().map(|s| Watch::Session(s.id.clone())).collect();
            let family = self.family_that_waits(&invoice.client);
            self.wake_clients(family);
            sessions.iter().for_each(|watch| self.wake(watch));
        }
        self.wake(&Watch::Invoice(id.clone()));
    }

    /// An EHR payment with our payment's id on another invoice than ours: a person is asked, the allocation stands.
    fn is_it_ours_elsewhere(&mut self, reference: &str, invoice: &InvoiceId) {
        let Ok(payment) = PaymentId::parse(reference) else { return };
        if let Some(Known::Settled(settled)) = self.known.get(&payment)
            && !settled.shares.iter().any(|(id, _)| id == invoice)
        {
            self.summary.review(Reason::EhrDisagrees);
        }
    }

    /// A version that showed our payment and no longer does: a person is asked, the allocation stands.
    fn is_it_shown(&mut self, id: &InvoiceId) {
        let Some(file) = self.world.invoice(id).filter(|f| !f.allocations.is_empty()) else { return };
        let Some(standing) = standing(file) else { return };
        let Some(allocations) = self.world.allocations_mut(id) else { return };
        let mut no_longer = 0;
        for (allocation, shown) in allocations.iter_mut().zip(standing.shown) {
            let now = allocation.net().is_positive() && shown == allocation.net();
            no_longer += u64::from(allocation.shown && !now && allocation.net().is_positive());
            allocation.shown = now;
        }
        (0..no_longer).for_each(|_| self.summary.review(Reason::EhrDisagrees));
    }

    /// A void invoice, or a lowered client charge: what our allocations exceed it by becomes client credit, the newest first.
    fn excess_of(&mut self, id: &InvoiceId, voided: bool, lowered: bool) {
        let Some(file) = self.world.invoice(id).filter(|f| (voided || lowered) && !f.allocations.is_empty()) else { return };
        let nets: Vec<(PaymentId, Minor)> = file.allocations.iter().map(|a| (a.payment.clone(), a.net())).collect();
        let mut excess =
            if voided { Minor::sum(nets.iter().map(|(_, net)| *net)) } else { standing(file).map_or(Minor::ZERO, |s| s.excess) };
        if !excess.is_positive() {
            return;
        }
        self.summary.follow(Followed::Excess, excess);
        if voided {
            self.summary.follow(Followed::Void, Minor::ZERO);
            self.summary.review(Reason::VoidInvoice);
        }
        for (payment, net) in nets.into_iter().rev() {
            let part = net.min(excess);
            excess = excess.minus(part);
            if part.is_positive() {
                self.becomes_credit(&payment, id, part);
            }
        }
    }

    fn becomes_credit(&mut self, payment: &PaymentId, id: &InvoiceId, part: Minor) {
        if let Some(Known::Settled(mut settled)) = self.known.get(payment) {
            self.take_back(payment, &mut settled, id, part, false);
            settled.unapplied = settled.unapplied.plus(part);
            self.check_sums(payment, &settled);
            self.known.put(payment, &Known::Settled(settled));
        }
        // The caller goes on with the invoice, which stays whole as the one that was touched last.
    }
}
