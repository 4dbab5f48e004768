//! Refunds and disputes: money of a known payment that leaves or comes back, and what of the payment it takes.

use crate::event::{Dispute, Refund, RefundStatus};
use crate::ids::{InvoiceId, MovementId, PaymentId};
use crate::money::{Currency, Minor};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why the money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// A refund.
    Refund,
    /// A dispute.
    Dispute,
}

/// From which parts of a payment money was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// From these allocations.
    pub allocations: Vec<(InvoiceId, Minor)>,
    /// From what was unapplied.
    pub unapplied: Minor,
}

impl Taken {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Minor {
        Minor::sum(self.allocations.iter().map(|(_, m)| *m)).plus(self.unapplied)
    }
}

/// A refund or dispute, as the store keeps it beside its payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// `re_...`, `du_...`, `dp_...`.
    pub id: MovementId,
    /// Whose money it is.
    pub payment: PaymentId,
    /// Refund or dispute.
    pub kind: MovementKind,
    /// What Stripe says has left now: the refund's amount when it succeeded, a dispute's withdrawn less reinstated.
    pub out: Minor,
    /// Of a dispute: all that was ever withdrawn. Only grows, so that a late event changes nothing.
    pub withdrawn: Minor,
    /// Of a dispute: all that was ever given back. Only grows.
    pub reinstated: Minor,
    /// What of `out` has been recorded and posted.
    pub recorded: Minor,
    /// Where the recorded amount was taken from; None while a person is asked (`refund_split`).
    pub taken: Option<Taken>,
    /// The invoice its metadata names.
    pub names_invoice: Option<InvoiceId>,
    /// Of the amounts.
    pub currency: Currency,
    /// When it was made at Stripe.
    pub created: Timestamp,
    /// Stripe's newest word: it failed, was canceled, won, lost, ... For people.
    pub status: String,
    /// How often it was posted: numbers its postings and reversals.
    pub revision: u32,
    /// When how much left (negative) or came back, as far as Stripe's newest word says.
    #[serde(default)]
    pub moved: Vec<(Timestamp, Minor)>,
}

impl Movement {
    /// What had left before this moment and not come back by then.
    #[must_use]
    pub fn out_before(&self, moment: Timestamp) -> Minor {
        let earlier = self.moved.iter().filter(|(at, _)| *at < moment);
        Minor::sum(earlier.map(|(_, amount)| amount.negated())).or_zero()
    }

    /// A refund as Stripe tells it.
    #[must_use]
    pub fn of_refund(r: &Refund) -> Movement {
        let (out, status) = match r.status {
            RefundStatus::Succeeded => (r.amount, "succeeded"),
            RefundStatus::Pending => (Minor::ZERO, "pending"),
            RefundStatus::Failed => (Minor::ZERO, "failed"),
        };
        Movement {
            id: r.id.clone(),
            payment: r.payment.clone(),
            kind: MovementKind::Refund,
            out,
            withdrawn: Minor::ZERO,
            reinstated: Minor::ZERO,
            recorded: Minor::ZERO,
            taken: None,
            names_invoice: r.names_invoice.clone(),
            currency: r.currency,
            created: r.created,
            status: status.to_owned(),
            revision: 0,
            moved: if out.is_zero() { Vec::new() } else { vec![(r.created, out.negated())] },
        }
    }

    /// A dispute as Stripe tells it.
    #[must_use]
    pub fn of_dispute(d: &Dispute) -> Movement {
        Movement {
            id: d.id.clone(),
            payment: d.payment.clone(),
            kind: MovementKind::Dispute,
            out: d.withdrawn.minus(d.reinstated).or_zero(),
            withdrawn: d.withdrawn,
            reinstated: d.reinstated,
            recorded: Minor::ZERO,
            taken: None,
            names_invoice: None,
            currency: d.currency,
            created: d.created,
            status: d.status.clone(),
            revision: 0,
            moved: d.moved.clone(),
        }
    }

    /// What was recorded and taken from nowhere yet, while a person is asked (`refund_split`).
    #[must_use]
    pub fn waiting(&self) -> Minor {
        self.recorded.minus(self.taken.as_ref().map_or(Minor::ZERO, Taken::total))
    }

    /// Takes a newer word of Stripe's. A refund that failed never succeeds again, and a succeeded one is never pending
    /// again: events come in any order. Of a dispute, the higher sums are newer, and a final status stands.
    pub fn hear(&mut self, newer: &Movement) {
        let rank = |status: &str| match (self.kind, status) {
            (MovementKind::Refund, "failed") | (MovementKind::Dispute, "won" | "lost" | "prevented" | "warning_closed") => 2,
            (MovementKind::Refund, "succeeded") => 1,
            _ => 0,
        };
        let is_news = rank(&newer.status) >= rank(&self.status);
        if is_news {
            self.status.clone_from(&newer.status);
        }
        match self.kind {
            MovementKind::Refund if is_news => self.out = newer.out,
            MovementKind::Refund => {}
            MovementKind::Dispute => {
                self.withdrawn = self.withdrawn.max(newer.withdrawn);
                self.reinstated = self.reinstated.max(newer.reinstated);
                self.out = self.withdrawn.minus(self.reinstated).or_zero();
            }
        }
        if newer.moved.len() > self.moved.len() {
            self.moved.clone_from(&newer.moved);
        }
        if newer.names_invoice.is_some() {
            self.names_invoice.clone_from(&newer.names_invoice);
        }
    }
}

/// From where a refund or dispute of `amount` is taken (design.md section 4). None: a person must say (`refund_split`).
#[must_use]
pub fn take_off(amount: Minor, named: Option<&InvoiceId>, allocations: &[(InvoiceId, Minor)], unapplied: Minor) -> Option<Taken> {
    let left: Vec<&(InvoiceId, Minor)> = allocations.iter().filter(|(_, net)| net.is_positive()).collect();
    let from_one = |(invoice, net): &(InvoiceId, Minor)| {
        let part = amount.min(*net);
        let rest = amount.minus(part);
        (rest <= unapplied).then(|| Taken { allocations: vec![(invoice.clone(), part)], unapplied: rest })
    };
    if let Some(hit) = named.and_then(|named| left.iter().find(|(invoice, _)| invoice == named)) {
        return from_one(hit).or_else(|| everything(amount, &left, unapplied));
    }
    if amount <= unapplied {
        return Some(Taken { allocations: vec![], unapplied: amount });
    }
    if let Some(all) = everything(amount, &left, unapplied) {
        return Some(all);
    }
    if let [one] = left.as_slice() {
        return from_one(one);
    }
    let equal: Vec<_> = left.iter().filter(|(_, net)| *net == amount).collect();
    match equal.as_slice() {
        [one] => from_one(one),
        _ => None,
    }
}

fn everything(amount: Minor, left: &[&(InvoiceId, Minor)], unapplied: Minor) -> Option<Taken> {
    let all = Taken { allocations: left.iter().map(|p| (*p).clone()).collect(), unapplied };
    (all.total() == amount).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minor(v: i64) -> Minor {
        Minor::new(v).unwrap()
    }

    fn taken(amount: i64, named: Option<&str>, allocations: &[(&str, i64)], unapplied: i64) -> Option<(Vec<(String, i64)>, i64)> {
        let allocations: Vec<_> = allocations.iter().map(|(i, m)| (InvoiceId::parse(i).unwrap(), minor(*m))).collect();
        let named = named.map(|n| InvoiceId::parse(n).unwrap());
        take_off(minor(amount), named.as_ref(), &allocations, minor(unapplied)).map(|t| {
            assert_eq!(t.total(), minor(amount));
            (t.allocations.iter().map(|(i, m)| (i.to_string(), m.get())).collect(), t.unapplied.get())
        })
    }

    fn of(parts: &[(&str, i64)], unapplied: i64) -> Option<(Vec<(String, i64)>, i64)> {
        Some((parts.iter().map(|(i, m)| ((*i).to_owned(), *m)).collect(), unapplied))
    }

    #[test]
    fn a_refund_takes_what_section_4_says_or_asks() {
        let two = [("a", 3000), ("b", 2000)];
        assert_eq!(taken(1000, Some("b"), &two, 0), of(&[("b", 1000)], 0), "the named allocation");
        assert_eq!(taken(1000, Some("x"), &two, 1500), of(&[], 1000), "a name that hits nothing is no name; the unapplied part");
        assert_eq!(taken(5000, None, &two, 0), of(&two, 0), "all that is left");
        assert_eq!(taken(6000, None, &two, 1000), of(&two, 1000), "all that is left, with the unapplied part");
        assert_eq!(
            taken(4000, None, &[("a", 3000)], 1500),
            of(&[("a", 3000)], 1000),
            "the one allocation, its excess from unapplied"
        );
        assert_eq!(taken(2000, None, &two, 0), of(&[("b", 2000)], 0), "the one it equals");
        assert_eq!(taken(1000, None, &two, 0), None, "asked: which of two");
        assert_eq!(taken(2000, None, &[("a", 2000), ("b", 2000)], 0), None, "asked: two equal ones");
        assert_eq!(taken(2500, Some("b"), &two, 0), None, "asked: more than the named allocation");
        assert_eq!(taken(9000, None, &two, 0), None, "asked: more than there is");
    }

    #[test]
    fn events_of_a_refund_may_come_in_any_order() {
        let refund = |status| {
            Movement::of_refund(&Refund {
                id: MovementId::parse("re_1").unwrap(),
                payment: PaymentId::parse("pi_1").unwrap(),
                charge: None,
                amount: minor(500),
                currency: Currency::USD,
                status,
                names_invoice: None,
                created: Timestamp::UNIX_EPOCH,
            })
        };
        let mut m = refund(RefundStatus::Succeeded);
        m.hear(&refund(RefundStatus::Pending));
        assert_eq!(m.out, minor(500), "pending after succeeded is old news");
        m.hear(&refund(RefundStatus::Failed));
        assert_eq!(m.out, Minor::ZERO);
        m.hear(&refund(RefundStatus::Succeeded));
        assert_eq!(m.out, Minor::ZERO, "succeeded after failed is old news");
    }

    #[test]
    fn what_waits_for_a_person_is_what_was_recorded_and_taken_from_nowhere() {
        let mut m = dispute(&[(1, -500)]);
        m.recorded = minor(500);
        assert_eq!(m.waiting(), minor(500));
        m.taken = Some(Taken { allocations: vec![(InvoiceId::parse("a").unwrap(), minor(300))], unapplied: minor(50) });
        assert_eq!(m.waiting(), minor(150));
    }

    #[test]
    fn the_word_that_knows_of_more_movements_is_the_newer_one() {
        let mut m = dispute(&[(1, -500)]);
        m.hear(&dispute(&[(2, -400)]));
        assert_eq!(m.moved, dispute(&[(1, -500)]).moved, "as many: the first stands");
        m.hear(&dispute(&[]));
        assert_eq!(m.moved.len(), 1, "fewer: old news");
        m.hear(&dispute(&[(1, -500), (3, 500)]));
        assert_eq!(m.moved.len(), 2);
    }

    /// A dispute of which so much moved at such seconds.
    fn dispute(moved: &[(i64, i64)]) -> Movement {
        let at = |s| Timestamp::from_second(s).unwrap();
        Movement::of_dispute(&Dispute {
            id: MovementId::parse("du_1").unwrap(),
            payment: PaymentId::parse("pi_1").unwrap(),
            charge: None,
            withdrawn: minor(500),
            reinstated: Minor::ZERO,
            currency: Currency::USD,
            status: "needs_response".to_owned(),
            created: at(1),
            moved: moved.iter().map(|(s, m)| (at(*s), minor(*m))).collect(),
        })
    }
}
