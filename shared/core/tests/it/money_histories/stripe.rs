//! Stripe of the model: payments, refunds, disputes and payouts as they are, and every row of its balance.

use crate::practice::minor;
use crate::random::Random;
use jiff::Timestamp;
use std::collections::BTreeMap;
use vesper_core::event::{Dispute, Reference, Refund, RefundStatus, Success};
use vesper_core::ids::{ChargeId, CustomerId, MovementId, PaymentId};
use vesper_core::money::{Currency, Minor};
use vesper_core::payout::{Payout, PayoutRow, PayoutStatus, RowKind};

/// What Stripe may tell of: its object as it is at that moment.
#[derive(Clone, Debug)]
pub enum Told {
    Succeeded(Success),
    Refund(Refund),
    Dispute(Dispute),
    Payout(String),
}

#[derive(Debug)]
pub struct Stripe {
    pub go_live: Timestamp,
    pub payments: BTreeMap<PaymentId, Success>,
    pub refunds: BTreeMap<MovementId, Refund>,
    pub disputes: BTreeMap<MovementId, Dispute>,
    pub payouts: BTreeMap<String, Payout>,
    /// The balance, row by row, and the payout that took each.
    pub rows: Vec<(PayoutRow, Option<String>)>,
    /// Webhooks on their way.
    pub webhooks: Vec<Told>,
    /// What the balance was at go_live.
    pub opening: Minor,
}

impl Stripe {
    pub fn new(go_live: Timestamp) -> Stripe {
        Stripe {
            go_live,
            payments: BTreeMap::new(),
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
            payouts: BTreeMap::new(),
            rows: Vec::new(),
            webhooks: Vec::new(),
            opening: Minor::ZERO,
        }
    }

    pub fn balance(&self) -> Minor {
        Minor::sum(self.rows.iter().map(|(row, _)| row.net))
    }

    fn row(&mut self, kind: RowKind, amount: Minor, fee: i64, now: Timestamp) {
        let id = format!("txn_{}", self.rows.len());
        let fee = minor(fee);
        let row = PayoutRow { id, kind, amount, fee, net: amount.minus(fee), currency: Currency::USD, created: now };
        self.rows.push((row, None));
    }

    pub fn pay(&mut self, customer: &str, amount: i64, now: Timestamp) -> PaymentId {
        let n = self.payments.len();
        let id = PaymentId::parse(&format!("pi_{n}")).unwrap();
        let charge = ChargeId::parse(&format!("ch_{n}")).unwrap();
        let success = Success {
            payment: id.clone(),
            charge: Some(charge.clone()),
            customer: CustomerId::parse(customer).ok(),
            amount: minor(amount),
            currency: Currency::USD,
            reference: Reference::default(),
            receipt_email: None,
            balance_transaction: Some(format!("txn_{}", self.rows.len())),
            object_created: now,
        };
        self.row(RowKind::Charge { charge, payment: Some(id.clone()) }, minor(amount), amount * 29 / 1000 + 30, now);
        self.webhooks.push(Told::Succeeded(success.clone()));
        self.payments.insert(id.clone(), success);
        id
    }

    /// What of a payment is still with the practice.
    pub fn kept(&self, payment: &PaymentId) -> Minor {
        self.payments[payment].amount.minus(self.refunded(payment)).minus(self.disputed(payment))
    }

    pub fn refunded(&self, payment: &PaymentId) -> Minor {
        let out = |r: &&Refund| r.payment == *payment && r.status == RefundStatus::Succeeded;
        Minor::sum(self.refunds.values().filter(out).map(|r| r.amount))
    }

    pub fn disputed(&self, payment: &PaymentId) -> Minor {
        Minor::sum(self.disputes.values().filter(|d| d.payment == *payment).map(|d| d.withdrawn.minus(d.reinstated)))
    }

    pub fn refund(&mut self, payment: &PaymentId, amount: Minor, names: Option<&str>, now: Timestamp) {
        let id = MovementId::parse(&format!("re_{}", self.refunds.len())).unwrap();
        let refund = Refund {
            id: id.clone(),
            payment: payment.clone(),
            charge: None,
            amount,
            currency: Currency::USD,
            status: RefundStatus::Pending,
            names_invoice: names.map(crate::practice::invoice_id),
            created: now,
        };
        self.refunds.insert(id, refund);
    }

    /// A pending refund succeeds; one that succeeded fails.
    pub fn refund_goes_on(&mut self, id: &MovementId, now: Timestamp) {
        let refund = self.refunds[id].clone();
        let kind = |back| RowKind::Refund { refund: id.clone(), payment: Some(refund.payment.clone()), back };
        let status = match refund.status {
            RefundStatus::Pending if refund.amount <= self.kept(&refund.payment) => {
                self.row(kind(false), refund.amount.negated(), 0, now);
                RefundStatus::Succeeded
            }
            RefundStatus::Succeeded => {
                self.row(kind(true), refund.amount, 0, now);
                RefundStatus::Failed
            }
            RefundStatus::Pending | RefundStatus::Failed => RefundStatus::Failed,
        };
        let refund = Refund { status, ..refund };
        self.refunds.insert(id.clone(), refund.clone());
        self.webhooks.push(Told::Refund(refund));
    }

    /// A dispute takes a part, with a fee; or one that stands gives a part back, without it.
    pub fn dispute(&mut self, payment: &PaymentId, amount: Minor, gives_back: bool, now: Timestamp) {
        let id = MovementId::parse(&format!("du_{payment}")).unwrap();
        let fresh = || Dispute {
            id: id.clone(),
            payment: payment.clone(),
            charge: None,
            withdrawn: Minor::ZERO,
            reinstated: Minor::ZERO,
            currency: Currency::USD,
            status: "needs_response".to_owned(),
            created: now,
            moved: Vec::new(),
        };
        let mut dispute = self.disputes.get(&id).cloned().unwrap_or_else(fresh);
        let out = dispute.withdrawn.minus(dispute.reinstated);
        let amount = amount.min(if gives_back { out } else { self.kept(payment) });
        if !amount.is_positive() {
            return;
        }
        let kind = RowKind::Dispute { dispute: id.clone(), payment: Some(payment.clone()), back: gives_back };
        if gives_back {
            dispute.reinstated = dispute.reinstated.plus(amount);
            self.row(kind, amount, 0, now);
        } else {
            dispute.withdrawn = dispute.withdrawn.plus(amount);
            self.row(kind, amount.negated(), 1500, now);
        }
        self.disputes.insert(id, dispute.clone());
        self.webhooks.push(Told::Dispute(dispute));
    }

    pub fn fee(&mut self, amount: i64, now: Timestamp) {
        self.row(RowKind::Fee, minor(-amount), 0, now);
    }

    /// Everything in the balance goes to the bank; now and then a part of it, by hand.
    pub fn payout(&mut self, by_hand: bool, now: Timestamp) {
        let id = format!("po_{}", self.payouts.len());
        let free = self.rows.iter().filter(|(_, payout)| payout.is_none()).count();
        let amount = if by_hand {
            minor(self.balance().get() / 3)
        } else {
            Minor::sum(self.rows.iter().filter(|(_, payout)| payout.is_none()).map(|(row, _)| row.net))
        };
        if free == 0 || (by_hand && !amount.is_positive()) {
            return;
        }
        if !by_hand {
            self.rows.iter_mut().filter(|(_, payout)| payout.is_none()).for_each(|(_, payout)| *payout = Some(id.clone()));
        }
        self.row(RowKind::PayoutItself, amount.negated(), 0, now);
        let (own, _) = self.rows.last().unwrap();
        let own = own.id.clone();
        // The payout's own row is in its own list; one made by hand is in none.
        self.rows.last_mut().unwrap().1 = Some(id.clone());
        let payout = Payout {
            id: id.clone(),
            amount,
            currency: Currency::USD,
            automatic: !by_hand,
            status: PayoutStatus::OnItsWay,
            reconciled: false,
            arrival: now,
            created: now,
            trace_id: None,
            balance_transaction: Some(own),
            failure_balance_transaction: None,
        };
        self.payouts.insert(id.clone(), payout);
        self.webhooks.push(Told::Payout(id));
    }

    /// Stripe finishes the list, the bank has it, or sends it back.
    pub fn payout_goes_on(&mut self, id: &str, random: &mut Random, now: Timestamp) {
        let mut payout = self.payouts[id].clone();
        match random.below(4) {
            0 if !payout.status.came_back() => {
                payout.status = PayoutStatus::Failed;
                self.row(RowKind::PayoutBack { payout: id.to_owned() }, payout.amount, 0, now);
            }
            1 if payout.status == PayoutStatus::OnItsWay => payout.status = PayoutStatus::Paid,
            _ => payout.reconciled = payout.automatic,
        }
        self.payouts.insert(id.to_owned(), payout);
        self.webhooks.push(Told::Payout(id.to_owned()));
    }
}
