//! Who pays (design.md section 4): settled before any invoice is looked at.

use crate::practice::{Practice, guest, pay, practice};
use vesper_core::ids::InvoiceId;
use vesper_core::matching::{Look, unknown_owner};

/// A guarantor `g`, his dependents `d1` and `d2`, and a stranger `x`.
fn people() -> Practice {
    practice()
        .linked("g", "cus_g")
        .client("d1", |c| c.customer("cus_d").guarantor("g"))
        .client("d2", |c| c.guarantor("g"))
        .linked("x", "cus_x")
        .invoice("ig", "g", 1000)
        .invoice("i1", "d1", 2000)
        .invoice("i2", "d2", 3000)
        .invoice("ix", "x", 4000)
}

#[test]
fn who_pays_the_client_whose_linked_customer_this_is() {
    assert_eq!(people().first(&pay("cus_x", 4000)), "5: ix=4000");
}

#[test]
fn who_pays_the_client_the_metadata_names_and_he_is_not_linked_by_it() {
    assert_eq!(people().first(&guest(4000).for_client("x")), "5: ix=4000");
    assert_eq!(people().first(&pay("cus_9", 4000).for_client("x")), "5: ix=4000", "no `links`");
}

#[test]
fn who_pays_customer_and_named_client_agree_when_equal() {
    assert_eq!(people().first(&pay("cus_x", 4000).for_client("x")), "5: ix=4000");
}

#[test]
fn who_pays_a_guarantors_customer_for_the_named_dependent_whose_invoices_alone_are_candidates() {
    let p = people().invoice("ig2", "g", 2000);
    assert_eq!(p.first(&pay("cus_g", 2000).for_client("d1")), "5: i1=2000");
    assert_eq!(p.first(&pay("cus_g", 1000).for_client("d1")), "10: i1<1000", "his own invoice of this amount is none");
    assert_eq!(p.first(&pay("cus_g", 3000).for_client("d1").for_invoice("i2")), "3: asks reference_conflict");
}

#[test]
fn who_pays_a_named_guarantor_beside_a_dependents_invoice_agrees() {
    assert_eq!(people().first(&pay("cus_d", 2000).for_client("g").for_invoice("i1")), "3: i1=2000");
    assert_eq!(people().first(&pay("cus_9", 2000).for_client("g").for_invoice("i1")), "3: i1=2000", "linked to nobody");
    assert_eq!(people().first(&pay("cus_g", 2000).for_client("g").for_invoice("i1")), "3: i1=2000", "his own customer");
}

#[test]
fn who_pays_a_named_guarantor_beside_a_dependents_session_agrees() {
    assert_eq!(people().first(&pay("cus_d", 2000).for_client("g").for_session("s_i1")), "3: i1=2000");
    let two = people().invoice_with("i1b", "d1", 700, |i| i.session("s_i1"));
    assert_eq!(two.first(&pay("cus_d", 700).for_client("g").for_session("s_i1")), "5: i1b=700", "one of the session's");
    let both = people().invoice_with("i2b", "d2", 700, |i| i.session("s_i1"));
    assert_eq!(
        both.first(&pay("cus_d", 2000).for_client("g").for_session("s_i1")),
        "15: asks client_conflict",
        "a session of siblings"
    );
    assert_eq!(
        people().first(&pay("cus_d", 3000).for_client("g").for_session("s_i2")),
        "15: asks client_conflict",
        "a sibling's session"
    );
}

#[test]
fn who_pays_a_dependents_customer_with_the_guarantor_named_and_no_invoice_is_a_conflict() {
    assert_eq!(people().first(&pay("cus_d", 2000).for_client("g")), "15: asks client_conflict");
    assert_eq!(
        people().first(&pay("cus_d", 3000).for_client("g").for_invoice("i2")),
        "15: asks client_conflict",
        "a sibling's invoice"
    );
}

#[test]
fn who_pays_else_it_is_a_client_conflict_with_rule_15() {
    assert_eq!(people().first(&pay("cus_x", 1000).for_client("g")), "15: asks client_conflict");
    assert_eq!(people().first(&pay("cus_d", 3000).for_client("d2")), "15: asks client_conflict", "siblings");
}

#[test]
fn who_pays_a_named_client_not_known_beside_a_linked_customer_is_a_conflict() {
    assert_eq!(people().first(&pay("cus_x", 4000).for_client("c9")), "15: asks client_conflict");
    assert_eq!(people().first(&pay("cus_x", 4000).for_client("c9").for_invoice("ix")), "15: asks client_conflict");
    assert_eq!(people().first(&pay("cus_9", 4000).for_client("c9")), "15: parked", "linked to nobody: waited for");
}

#[test]
fn who_pays_a_guarantors_candidates_are_his_own_and_his_dependents_invoices() {
    assert_eq!(people().first(&pay("cus_g", 6000)), "7: i1=2000 i2=3000 ig=1000");
    assert_eq!(people().first(&pay("cus_d", 3000)), "12: asks overpaid [apply:i1=2000|credit]", "a dependent's are his own");
}

#[test]
fn who_pays_a_family_is_one_step() {
    let p = practice()
        .linked("a", "cus_a")
        .client("b", |c| c.guarantor("a"))
        .client("c", |c| c.guarantor("b"))
        .invoice("ic", "c", 4200);
    assert_eq!(p.first(&pay("cus_a", 4200)), "13: parked");
}

#[test]
fn who_pays_one_customer_of_a_guarantor_and_his_dependents_counts_as_the_guarantors() {
    let p = practice()
        .linked("g", "cus_1")
        .client("d1", |c| c.customer("cus_1").guarantor("g"))
        .client("d2", |c| c.guarantor("g"))
        .invoice("i1", "d1", 2000)
        .invoice("i2", "d2", 3000);
    assert_eq!(p.first(&pay("cus_1", 5000)), "7: i1=2000 i2=3000", "d2's invoice is of the family, too");
    assert_eq!(p.first(&pay("cus_1", 2000).for_client("d1")), "5: i1=2000");
    let d = p.decide(&pay("cus_1", 2000).for_client("d1"), Look::First);
    assert_eq!(d.payer.unwrap().as_str(), "g", "it stays the guarantor's money");
    assert_eq!(p.first(&pay("cus_1", 3000).for_client("d1")), "12: asks overpaid [apply:i1=2000|credit]");
}

#[test]
fn who_pays_one_customer_of_strangers_is_decided_by_a_reference_or_a_named_client_only() {
    let p =
        practice().linked("a", "cus_1").linked("b", "cus_1").client("c", |c| c).invoice("ia", "a", 4200).invoice("ic", "c", 700);
    assert_eq!(p.first(&pay("cus_1", 4200)), "15: asks ambiguous");
    assert_eq!(p.first(&pay("cus_1", 4200).kind("prepayment")), "15: asks ambiguous");
    assert_eq!(p.first(&pay("cus_1", 4200).for_invoice("ia")), "3: ia=4200");
    assert_eq!(p.first(&pay("cus_1", 4200).for_client("a")), "5: ia=4200");
    assert_eq!(p.first(&pay("cus_1", 700).for_invoice("ic")), "3: asks reference_conflict", "neither's");
    assert_eq!(p.first(&pay("cus_1", 700).for_client("c")), "15: asks client_conflict");
}

#[test]
fn who_pays_siblings_without_their_guarantor_are_strangers() {
    let p = practice()
        .client("d1", |c| c.customer("cus_1").guarantor("g"))
        .client("d2", |c| c.customer("cus_1").guarantor("g"))
        .invoice("i1", "d1", 2000);
    assert_eq!(p.first(&pay("cus_1", 2000)), "15: asks ambiguous");
}

#[test]
fn who_pays_deleted_clients_do_not_count_and_inactive_ones_do() {
    let with = |deleted: bool| {
        let p = practice().client("c1", |c| if deleted { c.customer("cus_1").deleted() } else { c.customer("cus_1").inactive() });
        p.invoice("i1", "c1", 4200)
    };
    assert_eq!(with(true).first(&pay("cus_1", 4200)), "15: parked");
    assert_eq!(with(true).first(&guest(4200).for_client("c1")), "15: parked");
    assert_eq!(with(false).first(&pay("cus_1", 4200)), "5: i1=4200");
    let p = practice().linked("a", "cus_1").client("b", |c| c.customer("cus_1").deleted()).invoice("ia", "a", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200)), "5: ia=4200", "a deleted stranger does not count");
    let p = practice().linked("g", "cus_1").client("d", |c| c.guarantor("g").deleted()).invoice("id", "d", 4200);
    assert_eq!(p.first(&pay("cus_1", 4200)), "13: parked", "nor a deleted dependent's invoices");
}

#[test]
fn who_pays_a_link_that_the_ehr_took_back_no_longer_counts() {
    let p = people().client("x", |c| c);
    assert_eq!(p.first(&pay("cus_x", 4000)), "15: parked");
}

#[test]
fn who_pays_an_id_that_cannot_be_one_is_not_known() {
    assert_eq!(people().first(&guest(4000).for_client("x\u{7}")), "15: parked");
}

/// The metadata names a client that the EHR has not told of, and a reference; nobody is linked.
#[test]
fn who_pays_a_client_not_known_yet_pays_only_his_own_invoice_and_his_dependents() {
    let p = practice()
        .client("x", |c| c)
        .client("d", |c| c.guarantor("c9"))
        .client("gone", |c| c.deleted())
        .invoice("ix", "x", 4000)
        .invoice("i9", "c9", 4000)
        .invoice("id", "d", 4000)
        .invoice("igone", "gone", 4000);
    for (invoice, want) in [
        ("i9", "3: i9=4000"),
        ("id", "3: id=4000"),
        ("ix", "3: asks reference_conflict"),
        ("igone", "3: asks reference_conflict"),
    ] {
        for payment in [guest(4000), pay("cus_9", 4000)] {
            assert_eq!(p.first(&payment.clone().for_client("c9").for_invoice(invoice)), want, "{invoice}");
        }
    }
    assert_eq!(p.first(&guest(4000).for_invoice("ix")), "3: ix=4000", "without a name the reference alone decides");
    assert_eq!(p.first(&guest(4000).for_invoice("igone")), "3: asks reference_conflict", "but not for a chart that is deleted");
}

#[test]
fn the_owner_of_an_invoice_that_has_not_arrived_is_named_by_it_as_far_as_ids_go() {
    let owner = |id: &str| unknown_owner(&InvoiceId::parse(id).unwrap()).to_string();
    assert_eq!(owner("inv_1"), "?inv_1");
    let longest = (1..1000).map(|n| "i".repeat(n)).take_while(|id| InvoiceId::parse(id).is_ok()).last().unwrap();
    assert_eq!(owner(&longest), format!("?{}", &longest[1..]));
}
