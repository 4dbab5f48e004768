//! What is open (design.md section 4), recomputed from the whole history at every question.

use super::facts::{Allocation, EhrPayment, World};
use std::collections::BTreeSet;

/// An allocation on the invoice in question, with the id of its payment.
struct Ours<'a> {
    payment: usize,
    allocation: &'a Allocation,
    /// What the EHR took back of the EHR payments that show it, their part beyond the allocation first.
    reversed: i64,
    /// What was posted with the EHR payments that show it.
    posted: i64,
    /// What stands of the EHR payments that show it.
    standing: i64,
    shown_by_record: bool,
}

impl World {
    /// The client open of an invoice as Vesper sees it, never below 0; 0 for an unknown one.
    pub fn open(&self, invoice: &str) -> i64 {
        self.raw_open(invoice).max(0)
    }

    /// As [`World::open`], but below 0 by what our allocations exceed it.
    pub fn raw_open(&self, id: &str) -> i64 {
        let Some(invoice) = self.invoices.get(id) else { return 0 };
        let (ours, other) = self.shown(id);
        let standing: i64 = ours.iter().map(|o| o.standing).sum();
        // The EHR's `paid` that may be ours: less all other payments that it knows.
        let cover = (invoice.paid - other).max(0);
        let visible = |o: &Ours| (o.allocation.amount - o.reversed).max(o.allocation.net());
        let by_record: i64 = ours.iter().filter(|o| o.shown_by_record).map(visible).sum();
        let without: i64 = ours.iter().filter(|o| !o.shown_by_record).map(visible).sum();
        let unexplained = (cover - standing.max(by_record)).max(0);
        let shown = by_record.min(cover) + without.min(unexplained);
        let net: i64 = ours.iter().map(|o| o.allocation.net()).sum();
        invoice.open - net + shown
    }

    /// Our allocations on an invoice, each with what shows it, and the sum of the EHR's other posted client payments.
    fn shown(&self, invoice: &str) -> (Vec<Ours<'_>>, i64) {
        let mut ours: Vec<Ours> = Vec::new();
        for (payment, p) in self.payments.iter().enumerate() {
            for allocation in p.allocations.iter().filter(|a| a.invoice == invoice) {
                ours.push(Ours { payment, allocation, reversed: 0, posted: 0, standing: 0, shown_by_record: false });
            }
        }
        ours.sort_by_key(|o| o.allocation.seq);
        let mut records: Vec<&EhrPayment> = self.ehr_payments.values().filter(|r| r.invoice == invoice && r.of_client).collect();
        records.sort_by_key(|r| r.first);
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for record in &records {
            let called = |o: &&mut Ours| self.payments[o.payment].is_called(&record.reference);
            if let Some(o) = ours.iter_mut().find(called) {
                o.show(record);
                used.insert(&record.id);
            }
        }
        for record in records.iter().filter(|r| r.by_card && !stripe_id(&r.reference)) {
            let first = record.first.0.as_second();
            let fits = |o: &&mut Ours| {
                let a = o.allocation;
                !o.shown_by_record
                    && record.amount == a.amount
                    && record.currency == self.payments[o.payment].currency
                    && first > a.at
            };
            if let Some(o) = ours.iter_mut().find(fits) {
                o.show(record);
                used.insert(&record.id);
            }
        }
        for o in &mut ours {
            let beyond = (o.posted - o.allocation.amount).max(0);
            o.reversed = (o.reversed - beyond).max(0);
        }
        let other = records.iter().filter(|r| !used.contains(r.id.as_str())).map(|r| r.net()).sum();
        (ours, other)
    }

    /// After a version with a lower charge, or one that voids it: what our allocations exceed the invoice by becomes credit.
    pub fn take_excess(&mut self, id: &str, before: Option<(i64, bool)>) {
        let (Some(invoice), Some((charge, was_void))) = (self.invoices.get(id), before) else { return };
        let (void, lowered) = (invoice.void && !was_void, invoice.charge < charge);
        if !void && !lowered {
            return;
        }
        let mut excess = if void { i64::MAX } else { (-self.raw_open(id)).max(0) };
        let mut places: Vec<(usize, usize, usize)> = Vec::new();
        for (i, p) in self.payments.iter().enumerate() {
            for (k, a) in p.allocations.iter().enumerate().filter(|(_, a)| a.invoice == id) {
                places.push((a.seq, i, k));
            }
        }
        places.sort_unstable();
        for (_, i, k) in places.into_iter().rev() {
            let taken = self.payments[i].allocations[k].net().min(excess);
            excess -= taken;
            self.take_back(i, k, taken);
            self.payments[i].unapplied += taken;
        }
    }

    /// Takes an amount back of one allocation of one payment.
    pub fn take_back(&mut self, payment: usize, allocation: usize, amount: i64) {
        self.payments[payment].allocations[allocation].taken_back += amount.max(0);
    }
}

impl Ours<'_> {
    fn show(&mut self, record: &EhrPayment) {
        self.shown_by_record = true;
        self.reversed += record.reversed;
        self.posted += record.amount;
        self.standing += record.net();
    }
}

fn stripe_id(reference: &str) -> bool {
    ["pi_", "ch_", "py_"].iter().any(|prefix| reference.starts_with(prefix))
}
