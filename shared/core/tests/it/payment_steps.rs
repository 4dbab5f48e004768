//! What people and adjudications do to a decided payment, step by step: shares, money that is left, and the lines of each entry.

use crate::money_properties::{DATES, Life, allocate, refund};
use crate::practice::minor;
use vesper_core::event::RefundStatus::Succeeded;
use vesper_core::payment::{Payment, Step};
use vesper_core::posting::Account::{self, ClientCredits, Income, Unidentified};
use vesper_core::records::Category::{Copay, SelfPay};

/// The lines of the only entry, by account.
fn lines(step: &Step) -> Vec<(Account, i64)> {
    assert!(step.postings.len() <= 1, "{:?}", step.postings);
    step.postings.iter().flat_map(|p| &p.lines).map(|l| (l.account, l.amount.get())).collect()
}

/// 42.00 on i1 (copay), 15.00 on i2 (self pay), 3.00 left.
fn two() -> Payment {
    Life::decided(6000, &[("i1", 4200), ("i2", 1500)]).payment
}

fn money(p: &Payment) -> (Vec<i64>, i64, i64) {
    p.check().unwrap();
    (p.shares.iter().map(|s| s.net().get()).collect(), p.unapplied.get(), p.credit.get())
}

#[test]
fn what_an_adjudication_leaves_over_becomes_client_credit_of_that_share_alone() {
    for (n, amount, want, booked) in [
        (2, 1000, (vec![4200, 500], 1300, 1000), vec![(ClientCredits, -1000), (Income(SelfPay), 1000)]),
        (2, 1500, (vec![4200, 0], 1800, 1500), vec![(ClientCredits, -1500), (Income(SelfPay), 1500)]),
        (1, 4200, (vec![0, 1500], 4500, 4200), vec![(ClientCredits, -4200), (Income(Copay), 4200)]),
        (2, 1501, (vec![4200, 1500], 300, 0), vec![]), // More than stands there.
        (3, 100, (vec![4200, 1500], 300, 0), vec![]),  // There is no such share.
    ] {
        let mut p = two();
        let step = p.excess_to_credit(n, minor(amount), DATES);
        assert_eq!((money(&p), lines(&step)), (want, booked), "{amount} of share {n}");
        assert!(step.allocated.is_empty() && step.taken_back.is_empty(), "the EHR took it off by itself");
    }
    let mut p = two();
    let _ = p.excess_to_credit(2, minor(1000), DATES);
    let _ = p.excess_to_credit(2, minor(400), DATES);
    assert_eq!(money(&p), (vec![4200, 100], 1700, 1400), "a second time");
}

#[test]
fn client_credit_that_is_taken_back_is_unidentified_again() {
    let mut p = two();
    let _ = p.excess_to_credit(2, minor(1000), DATES);
    let step = p.uncredit(DATES);
    assert_eq!((money(&p), lines(&step)), ((vec![4200, 500], 1300, 0), vec![(Unidentified, -1000), (ClientCredits, 1000)]));
    assert!(p.uncredit(DATES).postings.is_empty(), "there is none any more");
}

#[test]
fn an_answer_uses_unidentified_money_first_and_then_credit() {
    let with_credit = || {
        let mut p = two();
        let _ = p.excess_to_credit(2, minor(1000), DATES);
        p // 13.00 is left, 10.00 of it credit.
    };
    for (amount, rest_to_credit, want, booked) in [
        (200, false, (vec![4200, 500, 200], 1100, 1000), vec![(Unidentified, 200), (Income(Copay), -200)]),
        (300, false, (vec![4200, 500, 300], 1000, 1000), vec![(Unidentified, 300), (Income(Copay), -300)]),
        (800, false, (vec![4200, 500, 800], 500, 500), vec![(Unidentified, 300), (ClientCredits, 500), (Income(Copay), -800)]),
        (100, true, (vec![4200, 500, 100], 1200, 1200), vec![(Unidentified, 300), (ClientCredits, -200), (Income(Copay), -100)]),
        (1300, true, (vec![4200, 500, 1300], 0, 0), vec![(Unidentified, 300), (ClientCredits, 1000), (Income(Copay), -1300)]),
    ] {
        let mut p = with_credit();
        let step = p.answer(&[allocate("i1", amount)], rest_to_credit, DATES);
        assert_eq!((money(&p), lines(&step)), (want, booked), "{amount}, the rest to credit: {rest_to_credit}");
        assert_eq!(step.allocated.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [3], "numbers are never used again");
        assert_eq!(p.shares[2].rule, 0, "a person");
    }
}

#[test]
fn what_is_taken_back_names_its_share_its_amount_and_how_often() {
    let mut life = Life::decided(6000, &[("i1", 4200), ("i2", 1500)]);
    life.hear(refund("re_1", 200, Succeeded, Some("i1")));
    let step = life.payment.take_back(&[1, 3], DATES);
    assert_eq!(step.taken_back.iter().map(|t| (t.n, t.amount.get(), t.reversal)).collect::<Vec<_>>(), [(1, 4000, 2)]);
    assert_eq!(lines(&step), [(Unidentified, -4000), (Income(Copay), 4000)]);
    assert!(life.payment.take_back(&[1], DATES).taken_back.is_empty(), "nothing of it stands any more");
    assert_eq!(money(&life.payment), (vec![0, 1500], 4300, 0));
}
