//! Money is conserved: random lives of a payment, with the invariants of design.md section 2 after each step.

use crate::practice::{client_id, date, invoice_id, minor, pay};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeMap;
use vesper_core::event::{Dispute, Refund, RefundStatus};
use vesper_core::ids::{EventId, InvoiceId, MovementId, PaymentId};
use vesper_core::matching::{Allocate, Decision, Stands};
use vesper_core::money::{Currency, Minor};
use vesper_core::movement::{Movement, MovementKind, Taken};
use vesper_core::payment::{Dates, Payment, PaymentState, Step};
use vesper_core::posting::Account;
use vesper_core::records::Category;

/// The same cases at every run, and nothing written to disk.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(42), ..ProptestConfig::default() }
}

pub const DATES: Dates = Dates { money: jiff::civil::date(2026, 11, 21), decision: jiff::civil::date(2026, 11, 22) };

pub fn allocate(invoice: &str, amount: i64) -> Allocate {
    let category = if invoice == "i1" { Category::Copay } else { Category::SelfPay };
    let (invoice, client) = (invoice_id(invoice), client_id("c1"));
    Allocate { invoice, client, amount: minor(amount), category, closes: true, in_ehr: false }
}

pub fn decision(stands: Stands, allocations: Vec<Allocate>, unapplied: i64, credit: bool) -> Decision {
    Decision {
        stands,
        rule: 5,
        allocations,
        unapplied: minor(unapplied),
        credit,
        question: None,
        link: None,
        payer: None,
        watch: std::collections::BTreeSet::default(),
        why: String::new(),
        rivals: Vec::new(),
    }
}

/// A payment before its first decision.
pub fn payment(amount: i64) -> Payment {
    let success = pay("cus_1", amount).success;
    let now = success.object_created;
    Payment {
        success,
        event: EventId::parse("evt_1").unwrap(),
        events: Vec::new(),
        charged_at: now,
        first_delivered_at: now,
        deadline: now,
        state: PaymentState::Parked,
        decision: decision(Stands::Parked, vec![], amount, false),
        shares: Vec::new(),
        unapplied: minor(amount),
        credit: Minor::ZERO,
        refunded: Minor::ZERO,
        disputed: Minor::ZERO,
        taken_off: Minor::ZERO,
        shadow: false,
        postings: 0,
        credit_by_hand: false,
    }
}

pub fn refund(id: &str, amount: i64, status: RefundStatus, names: Option<&str>) -> Movement {
    Movement::of_refund(&Refund {
        id: MovementId::parse(id).unwrap(),
        payment: PaymentId::parse("pi_1").unwrap(),
        charge: None,
        amount: minor(amount),
        currency: Currency::USD,
        status,
        names_invoice: names.map(invoice_id),
        created: jiff::Timestamp::UNIX_EPOCH,
    })
}

pub fn dispute(withdrawn: i64, reinstated: i64, status: &str) -> Movement {
    Movement::of_dispute(&Dispute {
        id: MovementId::parse("du_1").unwrap(),
        payment: PaymentId::parse("pi_1").unwrap(),
        charge: None,
        withdrawn: minor(withdrawn),
        reinstated: minor(reinstated),
        currency: Currency::USD,
        status: status.to_owned(),
        created: jiff::Timestamp::UNIX_EPOCH,
        moved: Vec::new(),
    })
}

/// A payment with its refunds and disputes and all that was posted of it.
pub struct Life {
    pub payment: Payment,
    pub movements: Vec<Movement>,
    pub ledger: BTreeMap<Account, i64>,
    withdrawn: i64,
    reinstated: i64,
    ids: Vec<String>,
}

impl Life {
    pub fn new(amount: i64) -> Life {
        let (movements, ledger) = (Vec::new(), BTreeMap::new());
        Life { payment: payment(amount), movements, ledger, withdrawn: 0, reinstated: 0, ids: Vec::new() }
    }

    pub fn decided(amount: i64, shares: &[(&str, i64)]) -> Life {
        let mut life = Life::new(amount);
        let rest = amount - shares.iter().map(|(_, m)| m).sum::<i64>();
        let all = shares.iter().map(|(i, m)| allocate(i, *m)).collect();
        let step = life.payment.decide_first(decision(Stands::Decided, all, rest, false), DATES);
        life.book(&step);
        life
    }

    pub fn book(&mut self, step: &Step) {
        for posting in &step.postings {
            posting.check().unwrap();
            assert!(!self.ids.contains(&posting.id.to_string()), "a posting's id was used twice");
            self.ids.push(posting.id.to_string());
            for line in &posting.lines {
                *self.ledger.entry(line.account).or_default() += line.amount.get();
            }
        }
        self.check();
    }

    pub fn on(&self, account: Account) -> i64 {
        self.ledger.get(&account).copied().unwrap_or(0)
    }

    /// What the payment says and what its postings say is the same.
    pub fn check(&self) {
        let p = &self.payment;
        p.check().unwrap();
        assert_eq!(self.on(Account::StripeClearing), p.received().minus(p.refunded).minus(p.disputed).get(), "clearing");
        assert_eq!(self.on(Account::Unidentified), p.credit.minus(p.unapplied).get(), "unidentified");
        assert_eq!(self.on(Account::ClientCredits), -p.credit.get(), "credits");
        let out = |kind| Minor::sum(self.movements.iter().filter(|m| m.kind == kind).map(|m| m.recorded));
        assert_eq!((p.refunded, p.disputed), (out(MovementKind::Refund), out(MovementKind::Dispute)));
        let taken = Minor::sum(self.movements.iter().filter_map(|m| m.taken.as_ref()).map(Taken::total));
        assert_eq!(p.taken_off, taken, "taken off");
        assert!(self.movements.iter().filter_map(|m| m.taken.as_ref()).all(|t| t.unapplied.get() >= 0), "{:?}", self.movements);
        let income: i64 = [Category::Copay, Category::SelfPay].map(|c| self.on(Account::Income(c))).iter().sum();
        let contra = self.on(Account::Refunds) + self.on(Account::Disputes);
        let waits = p.refunded.plus(p.disputed).minus(p.taken_off).get();
        assert_eq!(
            -income,
            p.allocated().get() + contra - waits,
            "income less what the contra accounts took is what is allocated"
        );
    }

    /// Money of Stripe's that is still with the practice.
    fn kept(&self) -> i64 {
        self.on(Account::StripeClearing)
    }

    pub fn record(&mut self, at: usize) -> bool {
        let mut movement = self.movements[at].clone();
        let (step, known) = self.payment.record(&mut movement, DATES);
        self.movements[at] = movement;
        self.book(&step);
        known
    }

    pub fn hear(&mut self, newer: Movement) -> bool {
        let at = match self.movements.iter().position(|m| m.id == newer.id) {
            Some(at) => {
                self.movements[at].hear(&newer);
                at
            }
            None => {
                self.movements.push(newer);
                self.movements.len() - 1
            }
        };
        self.record(at)
    }

    /// A person splits what of a movement waits, from the last allocation on, then from unapplied.
    pub fn split(&mut self, at: usize) {
        let mut movement = self.movements[at].clone();
        let known = movement.taken.as_ref().map_or(Minor::ZERO, Taken::total);
        let mut left = movement.recorded.minus(known);
        let mut nets: BTreeMap<InvoiceId, Minor> = BTreeMap::new();
        for share in &self.payment.shares {
            let net = nets.entry(share.invoice.clone()).or_default();
            *net = net.plus(share.net());
        }
        let mut taken = Taken::default();
        for (invoice, net) in nets.into_iter().rev() {
            let part = net.min(left);
            if part.is_positive() {
                left = left.minus(part);
                taken.allocations.push((invoice, part));
            }
        }
        taken.unapplied = left;
        if left > self.payment.unapplied || !taken.total().is_positive() {
            return;
        }
        let step = self.payment.split(&mut movement, &taken, DATES);
        self.movements[at] = movement;
        self.book(&step);
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Decide { a, b, credit, asked } => self.decide(a, b, credit, asked),
            Op::Answer { invoice, part, rest_to_credit } => {
                let amount = self.payment.unapplied.get() * part / 4;
                let shares = if amount > 0 { vec![allocate(INVOICES[invoice], amount)] } else { vec![] };
                let step = self.payment.answer(&shares, rest_to_credit, DATES);
                self.book(&step);
            }
            Op::Excess { n } => {
                let net = self.payment.shares.iter().find(|s| s.n == n).map_or(0, |s| s.net().get());
                let step = self.payment.excess_to_credit(n, minor(net / 2), DATES);
                self.book(&step);
            }
            Op::TakeBack { n } => {
                let step = self.payment.take_back(&[n], DATES);
                self.book(&step);
            }
            Op::Refund { amount, names } if amount <= self.kept() => {
                let id = format!("re_{}", self.movements.len());
                self.hear(refund(&id, amount, RefundStatus::Succeeded, names.map(|n| INVOICES[n])));
            }
            Op::Refund { .. } => {}
            Op::RefundFails { at } => {
                if let Some(m) = self.movements.get(at).filter(|m| m.kind == MovementKind::Refund).cloned() {
                    self.hear(refund(m.id.as_str(), m.out.get(), RefundStatus::Failed, None));
                }
            }
            Op::Withdraw { amount } if amount <= self.kept() => {
                self.withdrawn += amount;
                self.hear(dispute(self.withdrawn, self.reinstated, "needs_response"));
            }
            Op::Withdraw { .. } => {}
            Op::Reinstate { amount } => {
                self.reinstated = (self.reinstated + amount).min(self.withdrawn);
                self.hear(dispute(self.withdrawn, self.reinstated, "needs_response"));
            }
            Op::Split { at } if at < self.movements.len() => self.split(at),
            Op::Split { .. } => {}
        }
    }

    fn decide(&mut self, a: i64, b: i64, credit: bool, asked: bool) {
        let p = &self.payment;
        if p.state == PaymentState::Decided || !p.shares.is_empty() || p.credit.is_positive() {
            return;
        }
        let left = p.to_decide().get();
        let stands = if asked { Stands::Asked } else { Stands::Decided };
        let parts = if asked { [0, 0] } else { [left * a / 8, left * b / 8] };
        let all: Vec<Allocate> = INVOICES.iter().zip(parts).filter(|(_, m)| *m > 0).map(|(i, m)| allocate(i, m)).collect();
        let rest = left - parts.iter().sum::<i64>();
        let step = self.payment.decide_later(decision(stands, all, rest, credit && !asked), DATES);
        self.book(&step);
    }
}

const INVOICES: [&str; 3] = ["i1", "i2", "i3"];

#[derive(Clone, Debug)]
enum Op {
    Decide { a: i64, b: i64, credit: bool, asked: bool },
    Answer { invoice: usize, part: i64, rest_to_credit: bool },
    TakeBack { n: u32 },
    Excess { n: u32 },
    Refund { amount: i64, names: Option<usize> },
    RefundFails { at: usize },
    Withdraw { amount: i64 },
    Reinstate { amount: i64 },
    Split { at: usize },
}

fn random_op() -> impl Strategy<Value = Op> {
    let amount = || prop_oneof![Just(1250_i64), Just(2500), Just(5000), Just(10_000), 1..4000_i64];
    prop_oneof![
        2 => (0..5_i64, 0..5_i64, any::<bool>(), any::<bool>()).prop_map(|(a, b, credit, asked)| Op::Decide { a, b, credit, asked }),
        3 => (0..3_usize, 0..5_i64, any::<bool>()).prop_map(|(invoice, part, rest_to_credit)| Op::Answer { invoice, part, rest_to_credit }),
        2 => (1..6_u32).prop_map(|n| Op::TakeBack { n }),
        1 => (1..4_u32).prop_map(|n| Op::Excess { n }),
        3 => (amount(), prop::option::of(0..3_usize)).prop_map(|(amount, names)| Op::Refund { amount, names }),
        1 => (0..6_usize).prop_map(|at| Op::RefundFails { at }),
        2 => amount().prop_map(|amount| Op::Withdraw { amount }),
        2 => amount().prop_map(|amount| Op::Reinstate { amount }),
        2 => (0..6_usize).prop_map(|at| Op::Split { at }),
    ]
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn money_is_conserved_through_any_life(
        amount in prop_oneof![Just(10_000_i64), 1..20_000_i64], at_once in any::<bool>(), ops in prop::collection::vec(random_op(), 0..14),
    ) {
        let mut life = Life::new(amount);
        let step = if at_once {
            life.payment.decide_first(decision(Stands::Decided, vec![allocate("i1", amount)], 0, false), DATES)
        } else {
            life.payment.arrive(DATES)
        };
        life.book(&step);
        for op in &ops {
            life.step(op);
        }
    }
}

#[test]
fn the_first_postings_carry_the_day_of_the_money_and_later_ones_that_of_the_decision() {
    let mut p = payment(4200);
    assert_eq!(p.arrive(DATES).postings[0].date, date("2026-11-21"));
    let later = p.decide_later(decision(Stands::Decided, vec![allocate("i1", 4200)], 0, false), DATES);
    assert_eq!(later.postings[0].date, date("2026-11-22"));
    let mut out = refund("re_1", 4200, RefundStatus::Succeeded, None);
    assert_eq!(p.record(&mut out, DATES).0.postings[0].date, date("2026-11-21"));
}

#[test]
fn an_amount_of_zero_is_not_posted() {
    let step = payment(0).decide_first(decision(Stands::Decided, vec![], 0, true), DATES);
    assert!(step.postings.is_empty());
}

#[test]
fn a_posting_that_does_not_balance_or_has_an_empty_line_is_broken() {
    let mut posting = payment(4200).arrive(DATES).postings.remove(0);
    posting.check().unwrap();
    posting.lines[0].amount = minor(4201);
    assert!(posting.check().unwrap_err().to_string().starts_with("invariant 7 does not hold"));
    posting.lines.clear();
    posting.check().unwrap_err();
}

#[test]
fn a_payment_that_does_not_add_up_is_broken() {
    let broken = |change: fn(&mut Payment)| {
        let mut p = payment(4200);
        p.check().unwrap();
        change(&mut p);
        p.check().is_err()
    };
    assert!(broken(|p| p.unapplied = minor(4199)));
    assert!(broken(|p| p.credit = minor(4201)), "more credit than is unapplied");
    assert!(broken(|p| (p.unapplied, p.taken_off) = (minor(4300), minor(-100))));
    assert!(!broken(|p| (p.unapplied, p.state) = (minor(0), PaymentState::BeforeGoLive)), "those of before go_live");
}
