//! Refunds and disputes in a backtest: what they take of a payment, and what they give back. Never a payment's line.

use super::engine::Engine;
use super::kept::{Known, Settled};
use super::summary::Followed;
use vesper_core::ids::{InvoiceId, MovementId, PaymentId};
use vesper_core::money::Minor;
use vesper_core::movement::{Movement, MovementKind, Taken, take_off};
use vesper_core::review::Reason;

impl Engine {
    /// Takes Stripe's newest word of a refund or dispute.
    pub(super) fn movement(&mut self, newer: Movement) {
        let (id, payment) = (newer.id.clone(), newer.payment.clone());
        match self.movements.get_mut(&id) {
            Some(known) => known.hear(&newer),
            None => {
                self.movements_of.entry(payment.clone()).or_default().push(id.clone());
                self.movements.insert(id.clone(), newer);
            }
        }
        self.record(&id, &payment);
    }

    /// Records what arrived before its payment was looked at, in order of arrival.
    pub(super) fn early_movements(&mut self, payment: &PaymentId) {
        for id in self.movements_of.get(payment).cloned().unwrap_or_default() {
            self.record(&id, payment);
        }
    }

    /// Records what the movement has moved since it was last recorded; waits while its payment has not been looked at.
    fn record(&mut self, id: &MovementId, payment: &PaymentId) {
        let Some(mut movement) = self.movements.remove(id) else { return };
        let change = movement.out.minus(movement.recorded);
        let recorded = change.is_zero()
            || match self.known.get(payment) {
                None => false,
                Some(Known::Ignored) => true,
                Some(Known::Waiting(place)) => self.of_waiting(place, &mut movement, change),
                Some(Known::Settled(mut settled)) => {
                    self.of_settled(payment, &mut settled, &mut movement, change);
                    self.check_sums(payment, &settled);
                    self.known.put(payment, &Known::Settled(settled));
                    true
                }
            };
        if recorded {
            movement.recorded = movement.out;
        }
        let reinstated = recorded && change < Minor::ZERO && movement.kind == MovementKind::Dispute && movement.out.is_zero();
        let back_on = if reinstated { movement.taken.take() } else { None };
        self.movements.insert(id.clone(), movement);
        if let Some(taken) = back_on {
            self.no_longer_reopened(payment, &taken);
        }
    }

    /// A payment that is parked: what left reduces what is to be decided. False while only its charge is known.
    fn of_waiting(&mut self, place: u64, movement: &mut Movement, change: Minor) -> bool {
        let Some(waiting) = self.waiting.get_mut(&place).filter(|w| !w.only_charge) else { return false };
        let taken = movement.taken.get_or_insert_default();
        let moved = if change.is_positive() {
            change.min(waiting.left)
        } else {
            // What it did not take does not come back.
            change.negated().min(taken.unapplied).negated()
        };
        waiting.left = waiting.left.minus(moved);
        taken.unapplied = taken.unapplied.plus(moved);
        self.woken.insert(place);
        self.tell(movement.kind, change);
        self.ask(movement.kind, change, false);
        true
    }

    fn of_settled(&mut self, payment: &PaymentId, settled: &mut Settled, movement: &mut Movement, change: Minor) {
        self.tell(movement.kind, change);
        if !change.is_positive() {
            give_back(settled, movement, change.negated());
            return;
        }
        let same_currency = movement.currency == settled.currency;
        let named = movement.names_invoice.as_ref();
        let taken = if same_currency { take_off(change, named, &settled.shares, settled.unapplied) } else { None };
        let Some(taken) = taken else {
            self.summary.review(Reason::RefundSplit);
            self.ask(movement.kind, change, false);
            return;
        };
        for (invoice, amount) in &taken.allocations {
            self.take_back(payment, settled, invoice, *amount, true);
        }
        settled.unapplied = settled.unapplied.minus(taken.unapplied);
        settled.taken_off = settled.taken_off.plus(taken.total());
        self.ask(movement.kind, change, !taken.allocations.is_empty());
        let all = movement.taken.get_or_insert_default();
        all.allocations.extend(taken.allocations);
        all.unapplied = all.unapplied.plus(taken.unapplied);
    }

    /// Takes an amount back of one allocation, on both sides.
    pub(super) fn take_back(
        &mut self,
        payment: &PaymentId,
        settled: &mut Settled,
        invoice: &InvoiceId,
        amount: Minor,
        reopens: bool,
    ) {
        if let Some((_, net)) = settled.shares.iter_mut().find(|(id, net)| id == invoice && *net >= amount) {
            *net = net.minus(amount);
        }
        let ours = self.world.allocations_mut(invoice).into_iter().flatten();
        if let Some(allocation) = { ours }.find(|a| a.payment == *payment && a.net() >= amount) {
            allocation.reversed = allocation.reversed.plus(amount);
            allocation.reopened |= reopens;
        }
        self.check_invoice(invoice);
    }

    /// A dispute was reinstated: its invoices are candidates again, unless another refund or dispute re-opened them, too.
    fn no_longer_reopened(&mut self, payment: &PaymentId, taken: &Taken) {
        let others: Vec<InvoiceId> = self
            .movements_of
            .get(payment)
            .into_iter()
            .flatten()
            .filter_map(|id| self.movements.get(id))
            .filter_map(|m| m.taken.as_ref())
            .flat_map(|t| t.allocations.iter().map(|(invoice, _)| invoice.clone()))
            .collect();
        for (invoice, _) in taken.allocations.iter().filter(|(invoice, _)| !others.contains(invoice)) {
            let ours = self.world.allocations_mut(invoice).into_iter().flatten().filter(|a| a.payment == *payment);
            ours.for_each(|a| a.reopened = false);
            self.check_invoice(invoice);
        }
    }

    fn tell(&mut self, kind: MovementKind, change: Minor) {
        let what = match (kind, change.is_positive()) {
            (MovementKind::Refund, true) => Followed::Refund,
            (MovementKind::Refund, false) => Followed::RefundFailed,
            (MovementKind::Dispute, true) => Followed::Dispute,
            (MovementKind::Dispute, false) => Followed::DisputeReinstated,
        };
        self.summary.follow(what, if change.is_positive() { change } else { change.negated() });
    }

    fn ask(&mut self, kind: MovementKind, change: Minor, reopened: bool) {
        match kind {
            MovementKind::Dispute if change.is_positive() => self.summary.review(Reason::Disputed),
            MovementKind::Refund if reopened => self.summary.review(Reason::Refunded),
            _ => {}
        }
    }
}

/// Money came back: it is unapplied. The allocations it was taken from stay named, as they stay re-opened.
fn give_back(settled: &mut Settled, movement: &mut Movement, amount: Minor) {
    // What was never taken (`refund_split`) does not come back.
    let Some(taken) = &mut movement.taken else { return };
    let back = amount.min(taken.total());
    settled.unapplied = settled.unapplied.plus(back);
    settled.taken_off = settled.taken_off.minus(back);
    let mut left = back;
    for part in taken.allocations.iter_mut().map(|(_, part)| part).chain([&mut taken.unapplied]) {
        let off = left.min(*part);
        *part = part.minus(off);
        left = left.minus(off);
    }
}
