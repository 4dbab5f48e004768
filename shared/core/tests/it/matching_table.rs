//! The decision table of design.md section 4, rule by rule. How a decision reads as text stands at [`crate::practice::told`].

use crate::practice::{EUR, Practice, guest, minor, pay, practice, told, watched};
use vesper_core::matching::{Look, Stands};
use vesper_core::records::Category;

/// One client with one customer.
fn one() -> Practice {
    practice().linked("c1", "cus_1")
}

/// A guarantor `g` with two dependents.
fn family() -> Practice {
    practice().linked("g", "cus_1").client("c1", |c| c.guarantor("g")).client("c2", |c| c.guarantor("g"))
}

fn many(p: Practice, count: i64, charge: impl Fn(i64) -> i64) -> Practice {
    (0..count).fold(p, |p, n| p.invoice(&format!("i{n:02}"), "c1", charge(n)))
}

// ---------------------------------------------------------------- 1, and nothing to decide

#[test]
fn r1_the_same_look_gives_the_same_decision() {
    let p = one().invoice("i1", "c1", 4200).invoice("i2", "c1", 4200);
    assert_eq!(p.decide(&pay("cus_1", 4200), Look::First), p.decide(&pay("cus_1", 4200), Look::First));
}

#[test]
fn r4_nothing_left_to_decide_is_credit_of_nothing_without_a_question() {
    let p = one().invoice("i1", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 0)), "4: credit 0");
    assert_eq!(p.again(&pay("cus_1", 4200).left(0)), "4: credit 0", "refunded while parked");
    assert_eq!(p.first(&guest(0).for_invoice("i9")), "4: credit 0");
}

// ---------------------------------------------------------------- 16

#[test]
fn r16_a_payment_the_ehr_holds_by_payment_intent_or_charge_is_linked() {
    for reference in ["pi_1", "ch_1"] {
        let p = one().invoice_with("i1", "c1", 4200, |i| i.paid(4200)).ehr_payment("e1", "i1", 4200, reference);
        assert_eq!(p.first(&pay("cus_1", 4200)), "16: i1*4200", "{reference}");
    }
}

#[test]
fn r16_another_payments_id_or_a_free_text_is_not_ours() {
    for reference in ["pi_2", "", "typed by hand", "xpi_1"] {
        let p = one().invoice_with("i1", "c1", 8400, |i| i.paid(4200)).ehr_payment("e1", "i1", 4200, reference);
        assert_eq!(p.first(&pay("cus_1", 4200)), "5: i1=4200", "{reference}");
    }
}

#[test]
fn r16_stands_before_who_pays() {
    let p = one().client("c2", |c| c).invoice_with("i2", "c2", 4200, |i| i.paid(4200)).ehr_payment("e1", "i2", 4200, "pi_1");
    assert_eq!(p.first(&pay("cus_1", 4200).for_client("c9")), "16: i2*4200", "a client conflict");
    assert_eq!(p.first(&guest(4200)), "16: i2*4200", "nobody known");
    assert_eq!(p.first(&guest(4200).for_invoice("i9")), "16: i2*4200", "a reference not known");
}

#[test]
fn r16_makes_one_allocation_per_invoice() {
    let p = one()
        .invoice_with("i1", "c1", 5000, |i| i.paid(5000))
        .invoice_with("i2", "c1", 1000, |i| i.paid(1000))
        .ehr_payment("e1", "i1", 3000, "pi_1")
        .ehr_payment("e2", "i1", 2000, "ch_1")
        .ehr_payment("e3", "i2", 1000, "pi_1");
    assert_eq!(p.first(&pay("cus_1", 6000)), "16: i1*5000 i2*1000");
}

#[test]
fn r16_counts_net_of_reversals() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.paid(1200));
    let part = p.clone().ehr_payment_with("e1", "i1", 4200, "pi_1", |e| e.reversed(3000));
    assert_eq!(part.first(&pay("cus_1", 4200)), "16: i1*1200 rest 3000 asks overpaid [credit]");
    let none = p.ehr_payment_with("e1", "i1", 4200, "pi_1", |e| e.reversed(4200));
    assert_eq!(none.first(&pay("cus_1", 3000)), "5: i1=3000", "wholly reversed is not held");
}

#[test]
fn r16_allocates_at_most_the_amount() {
    let p = one().invoice_with("i1", "c1", 9000, |i| i.paid(9000)).ehr_payment("e1", "i1", 9000, "pi_1");
    assert_eq!(p.first(&pay("cus_1", 4200)), "16: i1*4200");
}

#[test]
fn r16_what_the_ehr_does_not_cover_stays_unapplied_and_is_asked() {
    let p = one().invoice("i0", "c1", 800).invoice_with("i1", "c1", 3400, |i| i.paid(3400)).ehr_payment("e1", "i1", 3400, "pi_1");
    assert_eq!(p.first(&pay("cus_1", 4200)), "16: i1*3400 rest 800 asks overpaid [credit]");
}

#[test]
fn r16_insurance_payments_and_those_of_other_currencies_do_not_count() {
    let p = one().invoice("i1", "c1", 4200);
    let insurance = p.clone().ehr_payment_with("e1", "i1", 4200, "pi_1", |e| e.insurance());
    assert_eq!(insurance.first(&pay("cus_1", 4200)), "5: i1=4200");
    let euros = p.ehr_payment_with("e1", "i1", 4200, "pi_1", |e| e.currency(EUR));
    assert_eq!(euros.first(&pay("cus_1", 4200)), "5: i1=4200");
}

#[test]
fn r16_links_before_the_invoice_itself_has_arrived() {
    let p = one().ehr_payment("e1", "i7", 4200, "pi_1");
    assert_eq!(p.first(&pay("cus_1", 4200)), "16: i7*4200");
    let longest = format!("{}a", "é".repeat(127));
    assert_eq!(one().ehr_payment("e1", &longest, 4200, "pi_1").first(&pay("cus_1", 4200)), format!("16: {longest}*4200"));
}

#[test]
fn r16_closes_what_is_paid_though_the_invoice_version_has_not_arrived() {
    let late = one().invoice("i1", "c1", 4200).ehr_payment("e1", "i1", 4200, "pi_1");
    let d = late.decide(&pay("cus_1", 4200), Look::First);
    assert!(d.allocations[0].closes, "record and invoice version may arrive apart");
    let open = one().invoice_with("i1", "c1", 5000, |i| i.paid(4200)).ehr_payment("e1", "i1", 4200, "pi_1");
    assert!(!open.decide(&pay("cus_1", 4200), Look::First).allocations[0].closes);
    let ours_elsewhere = open.allocated("pi_9", "i1", 800);
    assert!(ours_elsewhere.decide(&pay("cus_1", 4200), Look::First).allocations[0].closes, "another payment closed the rest");
}

#[test]
fn r16_more_than_40_invoices_are_asked() {
    let held = |count: i64| {
        (0..count).fold(one(), |p, n| {
            let id = format!("i{n:02}");
            p.invoice_with(&id, "c1", 100, |i| i.paid(100)).ehr_payment(&format!("e{n}"), &id, 100, "pi_1")
        })
    };
    assert_eq!(held(40).decide(&pay("cus_1", 4000), Look::First).allocations.len(), 40);
    assert_eq!(held(41).first(&pay("cus_1", 4100)), "16: asks ambiguous");
}

// ---------------------------------------------------------------- 2

#[test]
fn r2_a_reference_to_an_invoice_of_another_currency_is_asked() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.currency(EUR).session("s1")).invoice("i2", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i1")), "2: asks currency");
    assert_eq!(p.first(&pay("cus_1", 4200).for_session("s1")), "2: asks currency");
    assert_eq!(p.first(&pay("cus_1", 4200)), "5: i2=4200", "without a reference the euro invoice is no candidate");
}

#[test]
fn r2_stands_before_the_checks_of_rule_3() {
    let p = one().client("c2", |c| c).invoice_with("i1", "c2", 4200, |i| i.currency(EUR).void());
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i1")), "2: asks currency");
}

#[test]
fn r2_open_invoices_but_none_in_the_payments_currency_are_asked() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.currency(EUR));
    assert_eq!(p.first(&pay("cus_1", 4200)), "2: asks currency");
    assert_eq!(p.first(&pay("cus_1", 4200).kind("prepayment")), "2: asks currency", "2 stands before 4");
    assert_eq!(p.first(&pay("cus_1", 4200).currency(EUR)), "5: i1=4200");
}

#[test]
fn r2_paid_and_void_invoices_of_another_currency_are_not_open() {
    let p = one()
        .invoice_with("i1", "c1", 4200, |i| i.currency(EUR).paid(4200))
        .invoice_with("i2", "c1", 4200, |i| i.currency(EUR).void());
    assert_eq!(p.first(&pay("cus_1", 4200)), "13: parked");
}

// ---------------------------------------------------------------- 3

#[test]
fn r3_a_named_invoice_with_this_amount_open_is_paid() {
    let p = one().invoice("i1", "c1", 4200).invoice("i2", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i2")), "3: i2=4200");
}

#[test]
fn r3_less_than_open_is_a_partial_payment() {
    assert_eq!(one().invoice("i1", "c1", 4200).first(&pay("cus_1", 1000).for_invoice("i1")), "3: i1<1000");
}

#[test]
fn r3_more_than_open_pays_the_open_part_and_asks() {
    let p = one().invoice("i1", "c1", 4200).invoice("i2", "c1", 800);
    assert_eq!(p.first(&pay("cus_1", 5000).for_invoice("i1")), "3: i1=4200 rest 800 asks overpaid [credit]");
}

#[test]
fn r3_a_session_with_exactly_one_live_invoice_names_it() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.session("s1")).invoice_with("i2", "c1", 4200, |i| i.session("s1").void());
    assert_eq!(p.first(&pay("cus_1", 4200).for_session("s1")), "3: i1=4200");
}

#[test]
fn r3_invoice_and_session_must_agree() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.session("s1")).invoice_with("i2", "c1", 4200, |i| i.session("s2"));
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i1").for_session("s1")), "3: i1=4200");
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i1").for_session("s2")), "3: asks reference_conflict");
}

#[test]
fn r3_what_is_not_known_yet_is_waited_for_then_a_conflict() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.session("s1"));
    for reference in [
        pay("cus_1", 4200).for_invoice("i9"),
        pay("cus_1", 4200).for_session("s9"),
        pay("cus_1", 4200).for_invoice("i1").for_session("s9"),
        pay("cus_1", 4200).for_invoice("i9").for_session("s1"),
        pay("cus_1", 4200).for_invoice("no\nid"),
        guest(4200).for_invoice("i9"),
    ] {
        assert_eq!(p.first(&reference), "3: parked");
        assert_eq!(p.again(&reference), "3: parked");
        assert_eq!(p.deadline(&reference), "3: asks reference_conflict");
    }
}

#[test]
fn r3_a_session_whose_only_invoices_are_void_is_void_invoice() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.session("s1").void());
    assert_eq!(p.first(&pay("cus_1", 4200).for_session("s1")), "3: asks void_invoice");
}

#[test]
fn r3_the_invoice_must_belong_to_who_pays() {
    let p = one().client("c2", |c| c).invoice("i2", "c2", 4200).invoice("i1", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i2")), "3: asks reference_conflict");
    assert_eq!(family().invoice("i1", "c1", 4200).first(&pay("cus_1", 4200).for_invoice("i1")), "3: i1=4200", "a dependent's");
}

#[test]
fn r3_a_customer_linked_to_nobody_pays_by_reference_alone_and_is_not_linked() {
    let p = practice().client("c1", |c| c.email("a")).invoice("i1", "c1", 4200).stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200).for_invoice("i1")), "3: i1=4200");
    assert_eq!(p.first(&guest(4200).for_invoice("i1")), "3: i1=4200");
}

#[test]
fn r3_checks_owner_then_void_then_open() {
    let p = one()
        .client("c2", |c| c)
        .invoice_with("foreign", "c2", 4200, |i| i.void().paid(4200))
        .invoice_with("void", "c1", 4200, |i| i.void().paid(4200))
        .invoice_with("paid", "c1", 4200, |i| i.paid(4200));
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("foreign")), "3: asks reference_conflict");
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("void")), "3: asks void_invoice [credit]");
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("paid")), "3: asks already_settled [credit]");
}

#[test]
fn r3_already_settled_speaks_of_the_client_share_only() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.written_off(1200).paid(3000));
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i1")), "3: asks already_settled [credit]", "the insurance owes 90.00");
}

#[test]
fn r3_an_invoice_of_a_deleted_client_is_a_conflict() {
    let p = one().client("c2", |c| c.deleted()).invoice("i2", "c2", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i2")), "3: asks reference_conflict");
    assert_eq!(p.first(&guest(4200).for_invoice("i2")), "3: asks reference_conflict");
}

#[test]
fn r3_may_pay_a_third_party_billers_and_a_reopened_invoice() {
    let p = practice().client("c1", |c| c.customer("cus_1").billed_by_others()).invoice("i1", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i1")), "3: i1=4200");
    let p =
        one().invoice("i1", "c1", 4200).allocated_with("pi_0", "i1", 4200, |a| (a.reversed, a.reopened) = (minor(4200), true));
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("i1")), "3: i1=4200");
}

#[test]
fn r3_the_reason_says_whether_a_part_of_the_named_invoice_stays_open() {
    let p = one().invoice("i1", "c1", 4200);
    for (amount, stays_open) in [(4200, false), (5000, false), (4100, true)] {
        let why = p.decide(&pay("cus_1", amount).for_invoice("i1"), Look::First).why;
        assert_eq!(why.ends_with("a part of it stays open"), stays_open, "{amount}: {why}");
    }
}

#[test]
fn r3_a_session_with_several_live_invoices_makes_them_the_only_candidates() {
    let p = one()
        .invoice_with("i1", "c1", 3000, |i| i.session("s1"))
        .invoice_with("i2", "c1", 1200, |i| i.session("s1"))
        .invoice("i3", "c1", 4200);
    let named = |amount| pay("cus_1", amount).for_session("s1");
    assert_eq!(p.first(&named(1200)), "5: i2=1200");
    assert_eq!(p.first(&named(4200)), "7: i1=3000 i2=1200");
    assert_eq!(p.first(&named(9000)), "12: asks overpaid [apply:i1=3000,i2=1200|credit]");
    assert_eq!(p.first(&named(4200).for_invoice("i1")), "3: i1=3000 rest 1200 asks overpaid [credit]", "the invoice says which");
    assert_eq!(p.first(&named(500).kind("prepayment")), "4: credit 500");
}

#[test]
fn r3_a_session_with_several_live_invoices_is_checked_like_one() {
    let two = |p: Practice, client: &str, paid: i64| {
        p.invoice_with("i1", "c1", 3000, |i| i.session("s1").paid(3000))
            .invoice_with("i2", client, 1200, |i| i.session("s1").paid(paid))
    };
    let named = pay("cus_1", 1200).for_session("s1");
    assert_eq!(two(one().client("c2", |c| c), "c2", 0).first(&named), "3: asks reference_conflict");
    assert_eq!(two(one(), "c1", 1200).first(&named), "3: asks already_settled");
    assert_eq!(two(one(), "c1", 0).first(&named), "5: i2=1200");
    assert_eq!(two(one(), "c1", 0).first(&named.currency(EUR)), "2: asks currency");
}

// ---------------------------------------------------------------- 4

#[test]
fn r4_a_prepayment_of_a_known_client_is_credit_without_a_question() {
    let p = one().invoice("i1", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200).kind("prepayment")), "4: credit 4200");
    assert_eq!(p.first(&guest(4200).for_client("c1").kind("prepayment")), "4: credit 4200");
    assert_eq!(p.first(&pay("cus_1", 4200).kind("session fee")), "5: i1=4200", "another kind says nothing");
}

#[test]
fn r4_a_prepayment_of_an_unknown_client_is_not_credit() {
    assert_eq!(one().first(&pay("cus_9", 4200).kind("prepayment")), "15: parked");
    assert_eq!(one().first(&guest(4200).kind("prepayment")), "15: asks unknown_client");
}

#[test]
fn r4_a_reference_goes_before_a_prepayment() {
    assert_eq!(one().invoice("i1", "c1", 4200).first(&pay("cus_1", 4200).for_invoice("i1").kind("prepayment")), "3: i1=4200");
}

// ---------------------------------------------------------------- 5

#[test]
fn r5_the_one_invoice_with_this_amount_is_paid() {
    let p = one().invoice("i1", "c1", 4200).invoice("i2", "c1", 800).invoice("i3", "c1", 3400);
    let d = p.decide(&pay("cus_1", 4200), Look::First);
    assert_eq!(told(&d), "5: i1=4200", "though i2 and i3 have this sum, too");
    assert_eq!(d.rivals.len(), 2, "the evidence keeps what was not taken");
    assert_eq!((d.payer.unwrap().as_str(), d.allocations[0].category), ("c1", Category::SelfPay));
}

#[test]
fn r5_counts_what_is_open_not_what_was_charged() {
    let p = one().invoice_with("i1", "c1", 9000, |i| i.paid(4800)).invoice_with("i2", "c1", 4200, |i| i.written_off(200));
    assert_eq!(p.first(&pay("cus_1", 4200)), "5: i1=4200");
}

#[test]
fn r5_void_foreign_currency_and_third_party_invoices_are_no_candidates() {
    let p = family()
        .client("c2", |c| c.guarantor("g").billed_by_others())
        .invoice_with("void", "g", 4200, |i| i.void())
        .invoice_with("euro", "g", 4200, |i| i.currency(EUR))
        .invoice("third", "c2", 4200)
        .invoice("i1", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200)), "5: i1=4200");
}

#[test]
fn r5_a_reopened_invoice_is_no_candidate_until_answered() {
    let p = one().invoice("i1", "c1", 4200).invoice("i2", "c1", 5000);
    let reopened =
        |answered: bool| p.clone().allocated_with("pi_0", "i1", 4200, |a| (a.reversed, a.reopened) = (minor(4200), !answered));
    assert_eq!(reopened(false).first(&pay("cus_1", 4200)), "10: i2<4200");
    assert_eq!(reopened(true).first(&pay("cus_1", 4200)), "5: i1=4200");
}

#[test]
fn r5_a_reopened_invoice_counts_for_no_other_rule_either() {
    let reopened = |p: Practice| p.allocated_with("pi_0", "i1", 4200, |a| (a.reversed, a.reopened) = (minor(4200), true));
    let alone = reopened(one().invoice("i1", "c1", 4200));
    assert_eq!(alone.first(&pay("cus_1", 4200)), "13: parked", "as if nothing were open");
    let euros = reopened(one().invoice_with("i1", "c1", 4200, |i| i.currency(EUR)));
    assert_eq!(euros.first(&pay("cus_1", 4200)), "13: parked", "nor for rule 2");
    let of_session = one().invoice_with("i1", "c1", 4200, |i| i.session("s1")).invoice_with("i2", "c1", 700, |i| i.session("s1"));
    assert_eq!(reopened(of_session).first(&pay("cus_1", 4200).for_session("s1")), "12: asks overpaid [apply:i2=700|credit]");
}

// ---------------------------------------------------------------- 6

#[test]
fn r6_of_equal_amounts_the_one_of_that_day_is_paid() {
    let p = one()
        .invoice_with("i1", "c1", 4200, |i| i.issued("2026-10-01"))
        .invoice_with("i2", "c1", 4200, |i| i.served("2026-11-21").issued("2026-11-22"))
        .invoice_with("i3", "c1", 4200, |i| i.issued("2026-11-20"));
    assert_eq!(p.first(&pay("cus_1", 4200)), "6: i2=4200", "by its service date");
    assert_eq!(p.first(&pay("cus_1", 4200).on("2026-11-20")), "6: i3=4200", "by its issue date");
    assert_eq!(p.first(&pay("cus_1", 4200).on("2026-11-19")), "6: i1=4200", "none: the oldest");
    assert_eq!(p.clone().same_amount_is_asked().first(&pay("cus_1", 4200)), "6: i2=4200", "the day stands before the setting");
}

#[test]
fn r6_two_of_that_day_leave_it_to_the_oldest() {
    let p = one()
        .invoice_with("i1", "c1", 4200, |i| i.issued("2026-10-01"))
        .invoice_with("i2", "c1", 4200, |i| i.issued("2026-11-21"))
        .invoice_with("i3", "c1", 4200, |i| i.issued("2026-11-21"));
    assert_eq!(p.first(&pay("cus_1", 4200)), "6: i1=4200");
}

#[test]
fn r6_oldest_is_by_issue_then_service_then_id() {
    let of = |a: (&'static str, &'static str), b: (&'static str, &'static str)| {
        let p = one()
            .invoice_with("i2", "c1", 4200, |i| i.issued(a.0).served(a.1))
            .invoice_with("i1", "c1", 4200, |i| i.issued(b.0).served(b.1));
        p.first(&pay("cus_1", 4200))
    };
    assert_eq!(of(("2026-10-01", "2026-09-30"), ("2026-10-02", "2026-09-01")), "6: i2=4200", "issued first");
    assert_eq!(of(("2026-10-01", "2026-09-01"), ("2026-10-01", "2026-09-02")), "6: i2=4200", "then served first");
    assert_eq!(of(("2026-10-01", "2026-09-01"), ("2026-10-01", "2026-09-01")), "6: i1=4200", "then the smallest id");
}

#[test]
fn r6_an_invoice_without_a_session_is_younger_than_one_of_the_same_issue_day() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.no_session()).invoice("i2", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200)), "6: i2=4200");
}

#[test]
fn r6_equally_old_invoices_of_siblings_are_asked() {
    let p = family().invoice("i1", "c1", 4200).invoice("i2", "c2", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200)), "6: asks ambiguous [apply:i1=4200|apply:i2=4200]");
    let p = p.invoice_with("i3", "c2", 4200, |i| i.issued("2026-10-01"));
    assert_eq!(p.first(&pay("cus_1", 4200)), "6: i3=4200", "one is older than both");
}

#[test]
fn r6_with_same_amount_review_a_person_is_asked() {
    let p = one().same_amount_is_asked().invoice("i1", "c1", 4200).invoice("i2", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200)), "6: asks ambiguous [apply:i1=4200|apply:i2=4200]");
}

// ---------------------------------------------------------------- 7

#[test]
fn r7_the_whole_open_balance_pays_all_oldest_first() {
    let p = one().invoice("i1", "c1", 3000).invoice_with("i2", "c1", 2000, |i| i.issued("2026-10-01"));
    assert_eq!(p.first(&pay("cus_1", 5000)), "7: i2=2000 i1=3000");
}

#[test]
fn r7_the_whole_balance_of_a_family_is_paid() {
    let p = family().invoice("i1", "c1", 3000).invoice("i2", "c2", 2000).invoice("i3", "g", 100);
    assert_eq!(p.first(&pay("cus_1", 5100)), "7: i1=3000 i2=2000 i3=100");
}

#[test]
fn r7_more_than_40_invoices_are_asked() {
    let paid = many(one(), 40, |_| 100).decide(&pay("cus_1", 4000), Look::First);
    assert_eq!((paid.rule, paid.allocations.len()), (7, 40));
    assert_eq!(many(one(), 41, |_| 100).first(&pay("cus_1", 4100)), "7: asks ambiguous");
}

// ---------------------------------------------------------------- 8 and 9

#[test]
fn r8_the_one_subset_with_this_sum_is_paid() {
    let p = one().invoice("i1", "c1", 3000).invoice("i2", "c1", 2000).invoice("i3", "c1", 700);
    let d = p.decide(&pay("cus_1", 3700), Look::First);
    assert_eq!(told(&d), "8: i1=3000 i3=700");
    assert_eq!(d.rivals.len(), 1);
}

#[test]
fn r8_equal_amounts_of_one_client_are_one_explanation_and_the_oldest_are_taken() {
    let p = one()
        .invoice_with("i1", "c1", 2000, |i| i.issued("2026-11-03"))
        .invoice_with("i2", "c1", 2000, |i| i.issued("2026-11-01"))
        .invoice_with("i3", "c1", 2000, |i| i.issued("2026-11-02"))
        .invoice("i4", "c1", 700);
    assert_eq!(p.first(&pay("cus_1", 4700)), "8: i2=2000 i3=2000 i4=700");
}

#[test]
fn r8_with_same_amount_review_equals_are_several_explanations() {
    let p = one().same_amount_is_asked().invoice("i1", "c1", 2000).invoice("i2", "c1", 2000).invoice("i3", "c1", 700);
    assert_eq!(p.first(&pay("cus_1", 2700)), "9: asks ambiguous [apply:i2=2000,i3=700|apply:i1=2000,i3=700]");
}

#[test]
fn r9_equal_amounts_of_siblings_are_several_explanations() {
    let p = family().invoice("i1", "c1", 2000).invoice_with("i2", "c2", 2000, |i| i.issued("2026-10-01")).invoice("i3", "g", 700);
    let d = p.decide(&pay("cus_1", 2700), Look::First);
    assert_eq!((d.rule, d.stands, d.question.unwrap().answers.len()), (9, Stands::Asked, 2));
}

#[test]
fn r9_several_subsets_are_asked_each_whole() {
    let p = one().invoice("i1", "c1", 1000).invoice("i2", "c1", 2000).invoice("i3", "c1", 3000).invoice("i4", "c1", 4000);
    let d = p.decide(&pay("cus_1", 5000), Look::First);
    let mut answers: Vec<String> = d.question.unwrap().answers.iter().map(ToString::to_string).collect();
    answers.sort();
    assert_eq!((d.rule, d.unapplied), (9, minor(5000)));
    assert_eq!(answers, ["apply:i1=1000,i4=4000", "apply:i2=2000,i3=3000"]);
}

// ---------------------------------------------------------------- 10, 11, 12

#[test]
fn r10_a_part_of_the_only_candidate() {
    assert_eq!(one().invoice("i1", "c1", 4200).first(&pay("cus_1", 1000)), "10: i1<1000");
}

#[test]
fn r11_no_subset_proposes_the_oldest_first() {
    let p = one().invoice("i1", "c1", 3000).invoice_with("i2", "c1", 2000, |i| i.issued("2026-10-01"));
    assert_eq!(p.first(&pay("cus_1", 2500)), "11: asks partial_unreferenced [apply:i2=2000,i1=500]");
    assert_eq!(p.first(&pay("cus_1", 1)), "11: asks partial_unreferenced [apply:i2=1]");
}

#[test]
fn r12_more_than_is_open_applies_nothing_and_proposes_all() {
    let p = one().invoice("i1", "c1", 3000).invoice("i2", "c1", 2000);
    assert_eq!(p.first(&pay("cus_1", 6000)), "12: asks overpaid [apply:i1=3000,i2=2000|credit]");
    assert_eq!(one().invoice("i1", "c1", 3000).first(&pay("cus_1", 6000)), "12: asks overpaid [apply:i1=3000|credit]");
}

// ---------------------------------------------------------------- 13

#[test]
fn r13_a_client_with_nothing_open_is_waited_for_then_asked() {
    let p = one().invoice_with("i1", "c1", 4200, |i| i.paid(4200)).invoice_with("i2", "c1", 4200, |i| i.void());
    assert_eq!(p.first(&pay("cus_1", 4200)), "13: parked");
    assert_eq!(p.deadline(&pay("cus_1", 4200)), "13: asks no_invoice [credit]");
}

#[test]
fn r13_third_party_invoices_alone_are_asked_at_once() {
    let p = practice().client("c1", |c| c.customer("cus_1").billed_by_others()).invoice("i1", "c1", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200)), "13: asks no_invoice [credit]");
    let paid =
        practice().client("c1", |c| c.customer("cus_1").billed_by_others()).invoice_with("i1", "c1", 4200, |i| i.paid(4200));
    assert_eq!(paid.first(&pay("cus_1", 4200)), "13: parked", "nothing is open at all");
}

#[test]
fn r13_third_party_invoices_of_a_named_session_are_asked_at_once() {
    let p = practice()
        .client("c1", |c| c.customer("cus_1").billed_by_others())
        .invoice_with("i1", "c1", 3000, |i| i.session("s1"))
        .invoice_with("i2", "c1", 1200, |i| i.session("s1"));
    assert_eq!(p.first(&pay("cus_1", 4200).for_session("s1")), "13: asks no_invoice [credit]");
}

// ---------------------------------------------------------------- 14

fn by_email() -> Practice {
    practice().client("c1", |c| c.email("a")).invoice("i1", "c1", 4200)
}

#[test]
fn r14_a_unique_email_links_and_goes_on() {
    let p = by_email().stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200)), "5: i1=4200 links c1");
    assert_eq!(p.first(&pay("cus_9", 1000)), "10: i1<1000 links c1");
    assert_eq!(p.first(&pay("cus_9", 4200).kind("prepayment")), "4: credit 4200 links c1");
    assert_eq!(p.first(&pay("cus_9", 5000)), "12: links c1 asks overpaid [apply:i1=4200|credit]");
    assert_eq!(p.first(&pay("cus_9", 4200).currency(EUR)), "2: links c1 asks currency");
}

#[test]
fn r14_links_also_when_nothing_is_open() {
    let p = practice().client("c1", |c| c.email("a")).stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200)), "13: parked links c1");
}

#[test]
fn r14_the_email_is_the_customers_latest_else_the_receipts() {
    let p = by_email();
    assert_eq!(p.first(&pay("cus_9", 4200).receipt("a")), "5: i1=4200 links c1", "the customer has none");
    let other = by_email().stripe_email("cus_9", "b");
    assert_eq!(other.first(&pay("cus_9", 4200).receipt("a")), "15: parked", "the customer's own stands first");
    let changed = other.stripe_email("cus_9", "a");
    assert_eq!(changed.first(&pay("cus_9", 4200)), "5: i1=4200 links c1", "the latest counts");
}

#[test]
fn r14_the_receipts_email_says_nothing_while_nobody_said_which_one_the_customer_has() {
    let p = practice().client("c1", |c| c.email("a")).invoice("i1", "c1", 4200).unheard("cus_9");
    let payment = pay("cus_9", 4200).receipt("a");
    assert_eq!(p.first(&payment), "15: parked", "the receipt may have gone to somebody else");
    let watch = ["customer cus_9", "ehr reference ch_1", "ehr reference pi_1"];
    assert_eq!(watched(&p.decide(&payment, Look::First)), watch, "not for the e-mail of the receipt");
    assert_eq!(p.deadline(&payment), "15: asks unknown_client");
    assert_eq!(p.first(&guest(4200).receipt("a")), "5: i1=4200", "a guest has no other e-mail");
    assert_eq!(p.stripe_email("cus_9", "a").again(&payment), "5: i1=4200 links c1");
}

#[test]
fn r14_an_email_of_two_clients_or_two_customers_links_nobody() {
    let p = by_email().stripe_email("cus_9", "a");
    assert_eq!(p.clone().client("c2", |c| c.email("a")).first(&pay("cus_9", 4200)), "15: parked");
    assert_eq!(p.clone().stripe_email("cus_8", "a").first(&pay("cus_9", 4200)), "15: parked");
    assert_eq!(
        p.client("c2", |c| c.email("a").deleted()).first(&pay("cus_9", 4200)),
        "5: i1=4200 links c1",
        "deleted does not count"
    );
}

#[test]
fn r14_a_client_who_or_whose_family_has_another_customer_is_not_linked() {
    let p = practice().client("c1", |c| c.email("a").customer("cus_8")).invoice("i1", "c1", 4200).stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200)), "15: parked");
    let p = by_email().client("c2", |c| c.guarantor("c1").customer("cus_8")).stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200)), "15: parked", "a dependent has one");
    let p = by_email().linked_by_email("cus_8", "c1").stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200)), "15: parked", "one linked by e-mail");
}

#[test]
fn r14_a_dependent_whose_guarantor_has_a_customer_is_not_linked() {
    let p = by_email().linked("g", "cus_8").client("c1", |c| c.email("a").guarantor("g")).stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200)), "15: parked");
}

#[test]
fn r14_a_guarantor_and_his_dependents_with_one_email_count_as_the_guarantor() {
    let p = practice()
        .client("g", |c| c.email("a"))
        .client("c1", |c| c.email("a").guarantor("g"))
        .invoice("i1", "c1", 4200)
        .stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200)), "5: i1=4200 links g");
}

#[test]
fn r14_siblings_without_the_guarantors_chart_are_two_clients() {
    let p = practice()
        .client("c1", |c| c.email("a").guarantor("g"))
        .client("c2", |c| c.email("a").guarantor("g"))
        .invoice("i1", "c1", 4200)
        .stripe_email("cus_9", "a");
    assert_eq!(p.first(&pay("cus_9", 4200)), "15: parked");
}

#[test]
fn r14_a_guest_is_matched_even_if_that_client_has_a_customer_and_nothing_is_linked() {
    let p = by_email();
    assert_eq!(p.first(&guest(4200).receipt("a")), "5: i1=4200");
    let has_one =
        practice().client("c1", |c| c.email("a").customer("cus_1")).invoice("i1", "c1", 4200).stripe_email("cus_1", "a");
    assert_eq!(has_one.first(&guest(4200).receipt("a")), "5: i1=4200");
    assert_eq!(p.stripe_email("cus_8", "a").first(&guest(4200).receipt("a")), "15: asks unknown_client", "a stranger's, too");
}

#[test]
fn r14_links_nobody_before_the_customers_are_listed_or_when_switched_off() {
    let p = by_email().stripe_email("cus_9", "a");
    assert_eq!(p.clone().customers_not_listed().first(&pay("cus_9", 4200)), "15: parked");
    assert_eq!(p.never_by_email().first(&pay("cus_9", 4200)), "15: parked");
}

#[test]
fn r14_where_the_ehr_names_a_client_its_word_wins_over_a_link_by_email() {
    let p = by_email().linked_by_email("cus_9", "c1");
    assert_eq!(p.first(&pay("cus_9", 4200)), "5: i1=4200");
    let contradicted = p.linked("c2", "cus_9").invoice("i2", "c2", 700);
    assert_eq!(contradicted.first(&pay("cus_9", 700)), "5: i2=700");
}

// ---------------------------------------------------------------- 15

#[test]
fn r15_with_a_customer_it_is_waited_then_asked() {
    assert_eq!(practice().first(&pay("cus_9", 4200)), "15: parked");
    assert_eq!(practice().deadline(&pay("cus_9", 4200)), "15: asks unknown_client");
}

#[test]
fn r15_with_a_named_client_not_known_it_is_waited_then_asked() {
    assert_eq!(practice().first(&guest(4200).for_client("c9")), "15: parked");
    assert_eq!(practice().deadline(&guest(4200).for_client("c9")), "15: asks unknown_client");
}

#[test]
fn r15_a_guest_without_any_is_asked_at_once_and_an_invoice_of_the_same_amount_is_never_applied() {
    let d = one().invoice("i1", "c1", 4200).decide(&guest(4200), Look::First);
    assert_eq!(told(&d), "15: asks unknown_client", "who asks adds the invoices to show");
    assert_eq!(d.unapplied, minor(4200), "never applied");
}

// ---------------------------------------------------------------- bounds

/// Powers of two, so that every sum has one explanation.
fn powers(count: i64) -> Practice {
    many(one(), count, |n| 100 << n)
}

#[test]
fn bounds_up_to_24_candidates_one_explanation_is_proved() {
    let d = powers(24).decide(&pay("cus_1", 100 + 400 + (100 << 23)), Look::First);
    assert_eq!(told(&d), format!("8: i00=100 i02=400 i23={}", 100 << 23));
}

#[test]
fn bounds_above_24_candidates_a_sum_is_asked_without_answers() {
    assert_eq!(powers(25).first(&pay("cus_1", 500)), "8: asks ambiguous");
    assert_eq!(powers(25).first(&pay("cus_1", 99)), "8: asks ambiguous", "also what no set has");
}

#[test]
fn bounds_above_24_candidates_rules_5_to_7_and_12_still_decide() {
    let p = powers(25);
    assert_eq!(p.first(&pay("cus_1", 400)), "5: i02=400");
    let whole = (100 << 25) - 100;
    assert_eq!(p.decide(&pay("cus_1", whole), Look::First).rule, 7);
    assert_eq!(p.decide(&pay("cus_1", whole + 1), Look::First).rule, 12);
    assert_eq!(many(one(), 25, |_| 4200).first(&pay("cus_1", 4200)), "6: i00=4200");
}

#[test]
fn bounds_candidates_of_the_whole_family_count() {
    let p = (0..13)
        .fold(family(), |p, n| p.invoice(&format!("a{n:02}"), "c1", 100 << n).invoice(&format!("b{n:02}"), "c2", 3 + (100 << n)));
    assert_eq!(p.first(&pay("cus_1", 300)), "8: asks ambiguous");
}

#[test]
fn bounds_no_more_than_six_explanations_are_offered() {
    let p = many(one(), 24, |n| 1000 + n);
    let d = p.decide(&pay("cus_1", 12 * 1000 + 138), Look::First);
    assert_eq!((d.rule, d.question.unwrap().answers.len()), (9, 6));
}
