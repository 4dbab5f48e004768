//! Parked payments: what decides them while they wait, what waits for the deadline, and what wakes them.

use crate::practice::{EUR, Practice, guest, minor, pay, practice, watched};
use vesper_core::matching::{Look, Stands};

fn one() -> Practice {
    practice().linked("c1", "cus_1")
}

#[test]
fn parked_16_3_and_4_to_8_decide_as_soon_as_they_move_money() {
    let p = one().invoice("i1", "c1", 4200);
    assert_eq!(p.again(&pay("cus_1", 4200)), "5: i1=4200");
    assert_eq!(p.again(&pay("cus_1", 4200).for_invoice("i1")), "3: i1=4200");
    assert_eq!(p.again(&pay("cus_1", 1000).for_invoice("i1")), "3: i1<1000");
    assert_eq!(p.again(&pay("cus_1", 1000).kind("prepayment")), "4: credit 1000");
    let two = p.clone().invoice("i2", "c1", 4200).invoice("i3", "c1", 700);
    assert_eq!(two.again(&pay("cus_1", 4200)), "6: i1=4200");
    assert_eq!(two.again(&pay("cus_1", 9100)), "7: i1=4200 i2=4200 i3=700");
    assert_eq!(two.again(&pay("cus_1", 4900)), "8: i1=4200 i3=700");
    let held = p.ehr_payment("e1", "i1", 4200, "ch_1");
    assert_eq!(held.again(&pay("cus_1", 4200)), "16: i1*4200");
}

#[test]
fn parked_rule_10_waits_for_the_deadline() {
    let p = one().invoice("i1", "c1", 4200);
    assert_eq!(p.again(&pay("cus_1", 1000)), "10: parked");
    let parked = p.decide(&pay("cus_1", 1000), Look::Again);
    assert_eq!((parked.allocations.len(), parked.unapplied, parked.credit), (0, minor(1000), false), "nothing moves yet");
    assert_eq!(p.deadline(&pay("cus_1", 1000)), "10: i1<1000");
}

#[test]
fn parked_questions_of_3_and_16_come_at_once() {
    let p = one().client("c2", |c| c).invoice("i2", "c2", 4200).invoice_with("i1", "c1", 4200, |i| i.void());
    assert_eq!(p.again(&pay("cus_1", 4200).for_invoice("i2")), "3: asks reference_conflict");
    assert_eq!(p.again(&pay("cus_1", 4200).for_invoice("i1")), "3: asks void_invoice [credit]");
    let held = one().invoice_with("i1", "c1", 4200, |i| i.paid(1000)).ehr_payment("e1", "i1", 1000, "pi_1");
    assert_eq!(held.again(&pay("cus_1", 4200)), "16: i1*1000 rest 3200 asks overpaid [credit]");
}

#[test]
fn parked_all_other_questions_wait_for_the_deadline() {
    let third = practice().client("c1", |c| c.customer("cus_1").billed_by_others()).invoice("i1", "c1", 4200);
    let two = one().invoice("i1", "c1", 4200).invoice("i2", "c1", 4200).same_amount_is_asked();
    let euros = one().invoice_with("i1", "c1", 4200, |i| i.currency(EUR));
    let strangers = one().linked("c2", "cus_1");
    for (p, payment, at_last) in [
        (&euros, pay("cus_1", 4200), "2: asks currency"),
        (&euros, pay("cus_1", 4200).for_invoice("i1"), "2: asks currency"),
        (&two, pay("cus_1", 4200), "6: asks ambiguous [apply:i1=4200|apply:i2=4200]"),
        (&two, pay("cus_1", 100), "11: asks partial_unreferenced [apply:i1=100]"),
        (&two, pay("cus_1", 9000), "12: asks overpaid [apply:i1=4200,i2=4200|credit]"),
        (&third, pay("cus_1", 4200), "13: asks no_invoice [credit]"),
        (&two, pay("cus_1", 4200).for_client("c9"), "15: asks client_conflict"),
        (&strangers, pay("cus_1", 4200), "15: asks ambiguous"),
        (&two, pay("cus_9", 100), "15: asks unknown_client"),
        (&two, guest(100), "15: asks unknown_client"),
    ] {
        let while_parked = p.decide(&payment, Look::Again);
        assert_eq!((while_parked.stands, while_parked.unapplied), (Stands::Parked, payment.success.amount), "{at_last}");
        assert!(while_parked.allocations.is_empty() && while_parked.question.is_none() && !while_parked.credit);
        assert_eq!(p.deadline(&payment), at_last);
    }
}

#[test]
fn parked_the_deadline_carries_the_reason_of_the_last_look() {
    let payment = pay("cus_1", 4200);
    assert_eq!(one().first(&payment), "13: parked");
    assert_eq!(one().invoice("i1", "c1", 4000).deadline(&payment), "12: asks overpaid [apply:i1=4000|credit]");
}

#[test]
fn parked_14_links_while_its_question_waits() {
    let p = practice().client("c1", |c| c.email("a")).invoice("i1", "c1", 4200).stripe_email("cus_9", "a");
    assert_eq!(p.again(&pay("cus_9", 4200)), "5: i1=4200 links c1");
    assert_eq!(p.again(&pay("cus_9", 5000)), "12: parked links c1");
}

#[test]
fn parked_a_named_record_is_decided_only_by_its_own_arrival() {
    let p = one().invoice("i2", "c1", 4200);
    let payment = pay("cus_1", 4200).for_invoice("i1");
    assert_eq!(p.again(&payment), "3: parked", "i2 would fit");
    assert_eq!(p.invoice("i1", "c1", 4200).again(&payment), "3: i1=4200");
}

#[test]
fn parked_what_a_refund_left_is_decided() {
    let p = one().invoice("i1", "c1", 4200);
    assert_eq!(p.again(&pay("cus_1", 5000).left(4200)), "5: i1=4200");
}

#[test]
fn parked_money_waits_for_its_client_customer_and_ehr_reference() {
    let d = one().client("c2", |c| c.guarantor("c1")).decide(&pay("cus_1", 4200), Look::First);
    assert_eq!(watched(&d), ["client c1", "client c2", "customer cus_1", "ehr reference ch_1", "ehr reference pi_1"]);
}

#[test]
fn parked_money_of_nobody_waits_for_a_link_an_email_and_the_named_client() {
    let d = practice().stripe_email("cus_9", "a").decide(&pay("cus_9", 4200).for_client("c9").receipt("b"), Look::First);
    assert_eq!(watched(&d), ["client c9", "customer cus_9", "email a", "ehr reference ch_1", "ehr reference pi_1"]);
}

#[test]
fn parked_money_with_a_reference_waits_for_the_named_record() {
    let d = one().decide(&pay("cus_1", 4200).for_invoice("i1").for_session("s1"), Look::First);
    assert_eq!(watched(&d), ["invoice i1", "session s1", "customer cus_1", "ehr reference ch_1", "ehr reference pi_1"]);
}

#[test]
fn parked_money_goes_on_waiting_for_the_named_record_after_a_look() {
    let euros = practice().client("c1", |c| c).invoice_with("i1", "c1", 4200, |i| i.currency(EUR));
    let d = euros.decide(&pay("cus_9", 4200).for_invoice("i1"), Look::Again);
    assert_eq!(d.stands, Stands::Parked, "the question of rule 2 waits");
    assert!(watched(&d).contains(&"invoice i1".to_owned()), "a corrected version of it may come: {:?}", watched(&d));
    assert_eq!(d.unapplied, minor(4200));
}

#[test]
fn parked_money_for_a_session_of_which_no_invoice_may_be_paid_now_waits_for_it() {
    let p = practice()
        .linked("c1", "cus_1")
        .invoice_with("i1", "c1", 4200, |i| i.session("s1"))
        .invoice_with("i2", "c1", 1000, |i| i.session("s1").paid(1000))
        .allocated_with("pi_0", "i1", 4200, |a| (a.reversed, a.reopened) = (minor(4200), true));
    let pay = pay("cus_1", 4200).for_session("s1");
    assert_eq!(p.first(&pay), "13: parked", "a refund re-opened i1, and nobody has answered yet");
    let watched = watched(&p.decide(&pay, Look::First));
    assert!(watched.contains(&"session s1".to_owned()) && watched.contains(&"client c1".to_owned()), "{watched:?}");
    assert_eq!(p.deadline(&pay), "13: asks no_invoice [credit]");
}
