//! Refunds and disputes: they reduce what is to be decided, or take allocations back (design.md section 4).

use super::facts::{Payment, Stage, World, some_text, text};
use serde_json::Value;

/// A refund or dispute and what it has done.
pub(super) struct Movement {
    id: String,
    intent: Option<String>,
    charge: Option<String>,
    amount: i64,
    invoice: Option<String>,
    is_dispute: bool,
    /// 0 nothing moved yet, 1 the money has left, 2 it came back (or never left for good).
    rank: u8,
    /// What it took of its payment; None before it was applied.
    taken: Option<i64>,
}

impl Movement {
    fn is_of(&self, p: &Payment) -> bool {
        [&self.intent, &self.charge].into_iter().flatten().any(|id| p.is_called(id))
    }
}

impl World {
    pub fn refund(&mut self, object: &Value) {
        let rank = match object["status"].as_str() {
            Some("succeeded") => 1,
            Some("failed" | "canceled") => 2,
            _ => 0,
        };
        let amount = object["amount"].as_i64().unwrap_or(0);
        let invoice = self.meta(&object["metadata"]).invoice;
        self.movement(object, rank, amount, invoice, false);
    }

    pub fn dispute(&mut self, kind: &str, object: &Value) {
        let rows = object["balance_transactions"].as_array().cloned().unwrap_or_default();
        let amounts: Vec<i64> = rows.iter().filter_map(|row| row["amount"].as_i64()).collect();
        let out: i64 = amounts.iter().filter(|a| **a < 0).map(|a| -a).sum();
        let rank = if kind == "charge.dispute.funds_reinstated" || amounts.iter().any(|a| *a > 0) {
            2
        } else {
            u8::from(kind == "charge.dispute.funds_withdrawn" || out > 0)
        };
        let amount = if out > 0 { out } else { object["amount"].as_i64().unwrap_or(0) };
        self.movement(object, rank, amount, None, true);
    }

    fn movement(&mut self, object: &Value, rank: u8, amount: i64, invoice: Option<String>, is_dispute: bool) {
        let id = text(&object["id"]);
        let m = if let Some(m) = self.movements.iter().position(|m| m.id == id) {
            m
        } else {
            let (intent, charge) = (some_text(&object["payment_intent"]), some_text(&object["charge"]));
            self.movements.push(Movement { id, intent, charge, amount, invoice, is_dispute, rank: 0, taken: None });
            self.movements.len() - 1
        };
        if rank <= self.movements[m].rank {
            return;
        }
        self.movements[m].rank = rank;
        self.movements[m].amount = amount;
        let Some(p) = self.payments.iter().position(|p| self.movements[m].is_of(p)) else { return };
        if rank == 1 {
            self.apply_waiting_movements(p);
        } else {
            self.give_back(m, p);
        }
    }

    /// Applies what arrived of this payment and waits, in order of arrival.
    pub fn apply_waiting_movements(&mut self, p: usize) {
        if !matches!(self.payments[p].stage, Stage::Parked | Stage::Decided) {
            return;
        }
        for m in 0..self.movements.len() {
            let movement = &self.movements[m];
            if movement.rank != 1 || movement.taken.is_some() || !movement.is_of(&self.payments[p]) {
                continue;
            }
            let amount = movement.amount;
            let taken = if self.payments[p].stage == Stage::Parked {
                let payment = &mut self.payments[p];
                let taken = amount.min(payment.amount - payment.reduced);
                payment.reduced += taken;
                payment.look = true;
                taken
            } else {
                self.take(m, p)
            };
            self.movements[m].taken = Some(taken);
        }
    }

    fn give_back(&mut self, m: usize, p: usize) {
        let taken = self.movements[m].taken.take().unwrap_or(0);
        let payment = &mut self.payments[p];
        if payment.stage == Stage::Parked {
            payment.reduced -= taken;
            payment.look = true;
        } else if payment.stage == Stage::Decided {
            payment.unapplied += taken;
        }
        if self.movements[m].is_dispute {
            let id = self.movements[m].id.clone();
            self.reopened.retain(|(_, by)| *by != id);
        }
    }

    /// A refund or dispute of a decided payment: what it takes of which allocation. Returns what it took in all,
    /// 0 where a person is asked to split it.
    fn take(&mut self, m: usize, p: usize) -> i64 {
        let (amount, payment) = (self.movements[m].amount, &self.payments[p]);
        let (unapplied, nets): (i64, Vec<(usize, i64)>) = (
            payment.unapplied,
            payment.allocations.iter().map(super::facts::Allocation::net).enumerate().filter(|(_, net)| *net > 0).collect(),
        );
        let left = unapplied + nets.iter().map(|(_, net)| net).sum::<i64>();
        let named = nets
            .iter()
            .find(|(k, net)| {
                self.movements[m].invoice.as_ref() == Some(&payment.allocations[*k].invoice) && amount <= net + unapplied
            })
            .copied();
        let equal: Vec<(usize, i64)> = nets.iter().filter(|(_, net)| *net == amount).copied().collect();
        let plan: Vec<(usize, i64)> = if let Some((k, net)) = named {
            vec![(k, net.min(amount))]
        } else if amount <= unapplied {
            Vec::new()
        } else if amount == left {
            nets
        } else {
            match (nets.as_slice(), equal.as_slice()) {
                ([(k, net)], _) if amount <= net + unapplied => vec![(*k, (*net).min(amount))],
                (_, [(k, net)]) => vec![(*k, *net)],
                _ => return 0,
            }
        };
        let mut rest = amount;
        for (k, taken) in plan {
            self.take_back(p, k, taken);
            rest -= taken;
            let invoice = self.payments[p].allocations[k].invoice.clone();
            self.reopened.insert((invoice, self.movements[m].id.clone()));
        }
        self.payments[p].unapplied -= rest;
        amount
    }
}
