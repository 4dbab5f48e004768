//! Refunds and disputes on a payment: from where they take, and what a failure or reinstatement gives back.

use crate::money_properties::{DATES, Life, dispute, refund};
use crate::practice::{date, invoice_id, minor};
use vesper_core::event::RefundStatus::{Failed, Pending, Succeeded};
use vesper_core::movement::Taken;
use vesper_core::payment::PaymentState;
use vesper_core::posting::Account;
use vesper_core::records::Category;

fn nets(life: &Life) -> Vec<(String, i64)> {
    life.payment.shares.iter().map(|s| (s.invoice.to_string(), s.net().get())).collect()
}

fn of(parts: &[(&str, i64)]) -> Vec<(String, i64)> {
    parts.iter().map(|(i, m)| ((*i).to_owned(), *m)).collect()
}

#[test]
fn only_a_refund_that_succeeded_moves_money() {
    let mut life = Life::decided(4200, &[("i1", 4200)]);
    assert!(life.hear(refund("re_1", 4200, Pending, None)));
    assert_eq!(nets(&life), of(&[("i1", 4200)]));
    assert!(life.hear(refund("re_1", 4200, Succeeded, None)));
    assert_eq!((nets(&life), life.on(Account::Refunds)), (of(&[("i1", 0)]), 4200));
    assert!(life.hear(refund("re_1", 4200, Succeeded, None)), "a second time");
    assert_eq!(life.on(Account::Refunds), 4200);
}

#[test]
fn a_refund_that_fails_is_reversed_at_once_and_its_money_unapplied() {
    let mut life = Life::decided(4200, &[("i1", 4200)]);
    life.hear(refund("re_1", 1200, Succeeded, None));
    life.hear(refund("re_1", 1200, Failed, None));
    assert_eq!((life.payment.unapplied, life.on(Account::Refunds)), (minor(1200), 0));
    assert_eq!(life.on(Account::Income(Category::Copay)), -3000, "the allocation stays reversed until a person answers");
}

#[test]
fn a_refund_of_what_two_allocations_of_one_invoice_hold_takes_both() {
    let mut life = Life::decided(4200, &[("i1", 3000)]);
    let step = life.payment.answer(&[crate::money_properties::allocate("i1", 1200)], false, DATES);
    life.book(&step);
    assert!(life.hear(refund("re_1", 4000, Succeeded, Some("i1"))), "nobody need be asked");
    assert_eq!(nets(&life), of(&[("i1", 0), ("i1", 200)]));
}

#[test]
fn a_persons_split_takes_from_all_allocations_of_the_invoice() {
    let mut life = Life::decided(6000, &[("i1", 2000), ("i2", 3000)]);
    let step = life.payment.answer(&[crate::money_properties::allocate("i1", 1000)], false, DATES);
    life.book(&step);
    assert!(!life.hear(refund("re_1", 2500, Succeeded, None)), "which of two invoices");
    let mut movement = life.movements[0].clone();
    let taken = Taken { allocations: vec![(invoice_id("i1"), minor(2500))], unapplied: minor(0) };
    let step = life.payment.split(&mut movement, &taken, DATES);
    life.movements[0] = movement;
    life.book(&step);
    assert_eq!(nets(&life), of(&[("i1", 0), ("i2", 3000), ("i1", 500)]));
    assert_eq!(step.taken_back.len(), 2);
}

#[test]
fn a_refund_that_waits_for_its_split_and_fails_gives_back_only_the_money() {
    let mut life = Life::decided(5000, &[("i1", 2500), ("i2", 2500)]);
    assert!(!life.hear(refund("re_1", 2500, Succeeded, None)));
    assert!(life.hear(refund("re_1", 2500, Failed, None)));
    assert_eq!((nets(&life), life.payment.unapplied), (of(&[("i1", 2500), ("i2", 2500)]), minor(0)));
}

#[test]
fn a_dispute_that_grew_beyond_what_is_known_and_is_reinstated_adds_up() {
    let mut life = Life::decided(6000, &[("i1", 2500), ("i2", 2500)]);
    assert!(life.hear(dispute(1000, 0, "needs_response")), "from the unapplied part");
    assert!(!life.hear(dispute(2500, 0, "needs_response")), "the rest: which of two");
    assert!(life.hear(dispute(2500, 2000, "needs_response")));
    assert_eq!((life.payment.unapplied, life.payment.taken_off), (minor(500), minor(500)), "what waited goes first");
    assert!(life.hear(dispute(2500, 2500, "won")));
    assert_eq!((life.payment.unapplied, life.on(Account::Disputes)), (minor(1000), 0));
}

#[test]
fn a_split_adds_to_what_was_taken_before() {
    let mut life = Life::decided(6000, &[("i1", 2500), ("i2", 2500)]);
    life.hear(dispute(1000, 0, "needs_response"));
    life.hear(dispute(2500, 0, "needs_response"));
    life.split(0);
    assert_eq!(life.movements[0].taken.as_ref().unwrap().total(), minor(2500));
    assert!(life.hear(dispute(2500, 2500, "won")));
    assert_eq!(life.payment.unapplied, minor(2500));
}

#[test]
fn events_of_a_dispute_may_come_in_any_order() {
    let told = [
        dispute(0, 0, "needs_response"),
        dispute(4200, 0, "needs_response"),
        dispute(4200, 0, "won"),
        dispute(4200, 4200, "won"),
    ];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 3, 1], [3, 0, 1, 2], [1, 3, 0, 2]];
    for order in orders {
        let mut life = Life::decided(4200, &[("i1", 4200)]);
        for n in order {
            life.hear(told[n].clone());
        }
        let end = &life.movements[0];
        assert_eq!((end.out, end.status.as_str()), (minor(0), "won"), "{order:?}");
    }
    let mut life = Life::decided(4200, &[("i1", 4200)]);
    life.hear(told[1].clone());
    life.hear(told[0].clone());
    assert_eq!(life.payment.disputed, minor(4200), "what the first event did not know yet is not given back");
}

#[test]
fn a_refund_of_client_credit_comes_from_client_credit() {
    let mut life = Life::decided(4200, &[]);
    let step = life.payment.answer(&[], true, DATES);
    life.book(&step);
    life.hear(refund("re_1", 1200, Succeeded, None));
    assert_eq!((life.payment.credit, life.on(Account::ClientCredits)), (minor(3000), -3000));
    assert_eq!(life.on(Account::Refunds), 0, "it never was income");
}

#[test]
fn a_refund_after_go_live_of_an_earlier_payment_is_posted_and_moves_no_allocation() {
    let mut p = crate::money_properties::payment(4200);
    p.state = PaymentState::BeforeGoLive;
    p.unapplied = minor(0);
    let mut out = refund("re_1", 4200, Succeeded, None);
    let (step, known) = p.record(&mut out, DATES);
    assert!(known && step.taken_back.is_empty());
    assert_eq!(step.postings[0].date, date("2026-11-21"));
    p.check().unwrap();
    out.hear(&refund("re_1", 4200, Failed, None));
    let (step, _) = p.record(&mut out, DATES);
    step.postings[0].check().unwrap();
    p.check().unwrap();
    assert_eq!((p.refunded, p.unapplied), (minor(0), minor(0)));
}

/// Its income was booked in shadow mode only.
#[test]
fn a_refund_of_a_payment_closed_at_the_switch_that_fails_gives_back_only_the_money() {
    let mut life = Life::decided(4200, &[("i1", 3000)]);
    life.hear(refund("re_1", 4000, Succeeded, Some("i1")));
    let (mut p, mut out) = (life.payment.clone(), life.movements[0].clone());
    p.state = PaymentState::BeforeGoLive;
    let unapplied = p.unapplied;
    out.hear(&refund("re_1", 4000, Failed, None));
    let (step, _) = p.record(&mut out, DATES);
    let [posting] = step.postings.as_slice() else { panic!("{:?}", step.postings) };
    let lines: Vec<_> = posting.lines.iter().map(|l| (l.account, l.amount.get())).collect();
    assert_eq!(lines, [(Account::StripeClearing, 4000), (Account::Refunds, -4000)]);
    assert_eq!((p.unapplied, p.refunded, out.taken), (unapplied, minor(0), None));
    p.check().unwrap();
}

#[test]
fn a_dispute_given_back_in_part_leaves_the_rest_taken_from_its_allocation() {
    let mut life = Life::decided(4200, &[("i1", 4200)]);
    life.hear(dispute(4200, 0, "needs_response"));
    life.hear(dispute(4200, 1000, "needs_response"));
    let taken = Taken { allocations: vec![(invoice_id("i1"), minor(3200))], unapplied: minor(0) };
    assert_eq!(life.movements[0].taken, Some(taken));
    assert_eq!((life.on(Account::Disputes), life.on(Account::Income(Category::Copay))), (3200, -3200));
}

#[test]
fn a_refund_of_all_that_is_left_may_name_one_of_the_invoices() {
    let mut life = Life::decided(5000, &[("i1", 3000), ("i2", 2000)]);
    assert!(life.hear(refund("re_1", 5000, Succeeded, Some("i2"))));
    assert_eq!(nets(&life), of(&[("i1", 0), ("i2", 0)]));
}

#[test]
fn an_answer_takes_unidentified_money_before_client_credit() {
    let mut life = Life::decided(4200, &[("i1", 1000)]);
    let step = life.payment.answer(&[], true, DATES);
    life.book(&step);
    let step = life.payment.take_back(&[1], DATES);
    life.book(&step);
    assert_eq!((life.payment.unapplied, life.payment.credit), (minor(4200), minor(3200)));
    let step = life.payment.answer(&[crate::money_properties::allocate("i2", 1500)], false, DATES);
    life.book(&step);
    assert_eq!((life.payment.unapplied, life.payment.credit), (minor(2700), minor(2700)));
}

#[test]
fn a_step_that_posts_nothing_takes_no_number() {
    let mut life = Life::decided(4200, &[("i1", 4200)]);
    assert!(life.payment.take_back(&[7], DATES).postings.is_empty());
    assert_eq!(life.payment.postings, 1, "ids of later postings do not depend on empty steps");
}

#[test]
fn what_a_dispute_has_taken_is_known_to_the_cent_while_it_comes_back_in_parts() {
    let mut life = Life::decided(6000, &[("i1", 3000), ("i2", 2000)]);
    life.hear(dispute(6000, 0, "needs_response"));
    let taken = |life: &Life| {
        let taken = life.movements[0].taken.clone().unwrap_or_default();
        (taken.allocations.iter().map(|(i, m)| (i.to_string(), m.get())).collect::<Vec<_>>(), taken.unapplied.get())
    };
    assert_eq!(taken(&life), (of(&[("i1", 3000), ("i2", 2000)]), 1000));
    life.hear(dispute(6000, 3000, "needs_response"));
    assert_eq!(taken(&life), (of(&[("i2", 2000)]), 1000), "i1 has all of its part back");
    life.hear(dispute(6000, 3500, "needs_response"));
    assert_eq!(taken(&life), (of(&[("i2", 1500)]), 1000));
    life.hear(dispute(6000, 5400, "needs_response"));
    assert_eq!(taken(&life), (vec![], 600));
    life.hear(dispute(6000, 6000, "won"));
    assert_eq!((taken(&life), &life.movements[0].taken), ((vec![], 0), &None));
    assert_eq!(life.payment.unapplied, minor(6000));
}

#[test]
fn what_had_left_before_a_moment_is_less_what_had_come_back_by_then() {
    let at = |second| jiff::Timestamp::from_second(second).unwrap();
    let mut moved = dispute(1000, 400, "needs_response");
    moved.moved = vec![(at(100), minor(-1000)), (at(200), minor(400))];
    for (moment, out) in [(99, 0), (100, 0), (101, 1000), (200, 1000), (201, 600)] {
        assert_eq!(moved.out_before(at(moment)), minor(out), "before second {moment}");
    }
    assert_eq!(dispute(1000, 0, "needs_response").out_before(at(300)), minor(0), "nothing is known to have moved");
}

#[test]
fn what_left_before_the_books_were_opened_is_counted_and_never_posted() {
    let mut life = Life::decided(4200, &[("i1", 4200)]);
    life.hear(refund("re_1", 1200, Pending, None));
    let mut movement = life.movements[0].clone();
    life.payment.record_before(&mut movement, minor(1200));
    assert_eq!((movement.recorded, life.payment.refunded, life.on(Account::Refunds)), (minor(1200), minor(1200), 0));
}
