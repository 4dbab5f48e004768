//! What is open (design.md section 4, "What is open"): open = the EHR's latest client open, minus our allocations that it does
//! not show, plus our reversals that it does not show yet.

use crate::practice::{Practice, at, invoice_id, minor, practice};
use proptest::prelude::*;
use vesper_core::matching::open::{Standing, standing};
use vesper_core::records::{Method, Share};

/// An invoice of 100.00 of which the EHR says that so much is paid.
fn paid(amount: i64) -> Practice {
    practice().linked("c1", "cus_1").invoice_with("i1", "c1", 10_000, |i| i.paid(amount))
}

fn stand(p: &Practice) -> Standing {
    standing(p.world.invoice(&invoice_id("i1")).unwrap()).unwrap()
}

fn shown(p: &Practice) -> Vec<i64> {
    stand(p).shown.iter().map(|m| m.get()).collect()
}

#[test]
fn open_is_the_ehrs_word_without_allocations() {
    assert_eq!(paid(0).open("i1"), 10_000);
    assert_eq!(paid(3000).open("i1"), 7000);
    let p = practice().linked("c1", "cus_1").invoice_with("i1", "c1", 10_000, |i| i.written_off(2500).paid(3000));
    assert_eq!(p.open("i1"), 4500);
}

#[test]
fn open_is_less_an_allocation_the_ehr_does_not_show() {
    let p = paid(0).allocated("pi_0", "i1", 4200);
    assert_eq!((p.open("i1"), shown(&p)), (5800, vec![0]));
}

#[test]
fn open_counts_an_allocation_shown_by_our_reference_or_either_stripe_id_once() {
    for reference in ["key_pi_0", "pi_0", "ch_0"] {
        let p = paid(4200).allocated("pi_0", "i1", 4200).ehr_payment("e1", "i1", 4200, reference);
        assert_eq!((p.open("i1"), shown(&p)), (5800, vec![4200]), "{reference}");
    }
}

#[test]
fn open_an_allocation_is_shown_only_as_far_as_paid_covers_it() {
    let p = paid(0).allocated("pi_0", "i1", 4200).ehr_payment("e1", "i1", 4200, "key_pi_0");
    assert_eq!((p.open("i1"), shown(&p)), (5800, vec![0]), "the record came before the invoice's version");
    let p = paid(4200).allocated("pi_0", "i1", 4200);
    assert_eq!((p.open("i1"), shown(&p)), (5800, vec![4200]), "the invoice's version came before the record");
    let p = paid(3000).allocated("pi_0", "i1", 4200).ehr_payment("e1", "i1", 4200, "key_pi_0");
    assert_eq!((p.open("i1"), shown(&p)), (5800, vec![3000]));
}

#[test]
fn open_another_payment_only_reduces_the_ehrs_open() {
    let p = paid(4200).allocated("pi_0", "i1", 4200).ehr_payment_with("e1", "i1", 4200, "", |e| e.method(Method::Cash));
    assert_eq!((p.open("i1"), shown(&p)), (1600, vec![0]), "cash of the same amount shows nothing");
    let p = paid(8400).allocated("pi_0", "i1", 4200).ehr_payment("e1", "i1", 4200, "key_pi_0").ehr_payment("e2", "i1", 4200, "");
    assert_eq!((p.open("i1"), shown(&p)), (1600, vec![4200]));
}

#[test]
fn open_an_insurance_payment_is_no_client_payment() {
    let p = paid(0).allocated("pi_0", "i1", 4200).ehr_payment_with("e1", "i1", 4200, "key_pi_0", |e| e.insurance());
    assert_eq!((p.open("i1"), shown(&p)), (5800, vec![0]));
}

#[test]
fn open_each_ehr_payment_shows_at_most_one_allocation() {
    let p = paid(4200)
        .allocated_with("pi_0", "i1", 4200, |a| a.typed_in = true)
        .allocated_with("pi_2", "i1", 4200, |a| a.typed_in = true)
        .ehr_payment("e1", "i1", 4200, "");
    assert_eq!((p.open("i1"), shown(&p)), (1600, vec![4200, 0]));
    assert_eq!(stand(&p).shown_by.iter().filter(|by| by.is_some()).count(), 1);
}

#[test]
fn open_several_ehr_payments_of_one_allocation_show_it_together() {
    let p = paid(5000).allocated("pi_0", "i1", 5000).ehr_payment("e1", "i1", 3000, "pi_0").ehr_payment("e2", "i1", 2000, "ch_0");
    let standing = stand(&p);
    assert_eq!((p.open("i1"), shown(&p), standing.excess), (5000, vec![5000], minor(0)), "rule 16 makes one allocation of both");
}

#[test]
fn open_a_second_payment_under_an_id_shows_no_other_allocation() {
    let p = paid(8400)
        .allocated("pi_0", "i1", 4200)
        .allocated("pi_2", "i1", 1000)
        .ehr_payment("e1", "i1", 4200, "key_pi_0")
        .ehr_payment("e2", "i1", 4200, "pi_0");
    assert_eq!((p.open("i1"), shown(&p)), (600, vec![4200, 0]), "pi_2 is not in the EHR yet");
}

#[test]
fn open_what_an_ehr_payment_has_beyond_its_allocation_shows_no_other() {
    let p = paid(5000).allocated("pi_0", "i1", 4200).allocated("pi_2", "i1", 1000).ehr_payment("e1", "i1", 5000, "key_pi_0");
    assert_eq!((p.open("i1"), shown(&p)), (4000, vec![4200, 0]), "8.00 of it are somebody else's");
    let p = paid(4600).allocated("pi_0", "i1", 4200).allocated("pi_2", "i1", 1000);
    let p = p.ehr_payment_with("e1", "i1", 5000, "key_pi_0", |e| e.reversed(400));
    assert_eq!((p.open("i1"), shown(&p)), (4400, vec![4200, 0]), "what of it stands");
}

#[test]
fn open_an_ehr_payment_that_moved_counts_where_it_stands_now() {
    let p = paid(0).invoice("i2", "c1", 10_000).allocated("pi_0", "i1", 4200).ehr_payment("e1", "i1", 4200, "pi_0");
    let moved = p.clone().ehr_payment_with("e1", "i2", 4200, "pi_0", |e| e.first_observed("13:00"));
    let there = |p: &Practice, invoice| p.world.invoice(&invoice_id(invoice)).unwrap().payments.len();
    assert_eq!((there(&p, "i1"), there(&p, "i2")), (1, 0));
    assert_eq!((there(&moved, "i1"), there(&moved, "i2")), (0, 1));
    assert_eq!(stand(&moved).shown_by, [None]);
    let payment = moved.world.invoice(&invoice_id("i2")).unwrap().payments.values().next().unwrap().clone();
    assert_eq!(payment.first_observed_at, at("12:00"), "when it was first seen anywhere");
    let refers = |p: &Practice, id| p.world.ehr_payments_referring(id).map(|e| e.invoice.to_string()).collect::<Vec<_>>();
    assert_eq!((refers(&p, "pi_0"), refers(&moved, "pi_0")), (vec!["i1".to_owned()], vec!["i2".to_owned()]));
    // An older version that arrives late does not move it back.
    let mut late = moved;
    let older = p.world.invoice(&invoice_id("i1")).unwrap().payments.values().next().unwrap().clone();
    assert!(!late.world.apply_ehr_payment(older));
    assert_eq!((there(&late, "i1"), there(&late, "i2")), (0, 1));
}

#[test]
fn open_an_invoice_of_which_only_a_moved_payment_was_known_is_forgotten() {
    let p = practice().ehr_payment("e1", "i7", 4200, "pi_1");
    assert!(p.world.invoice(&invoice_id("i7")).is_some());
    assert!(p.clone().ehr_payment("e1", "i8", 4200, "pi_1").world.invoice(&invoice_id("i7")).is_none());
    let known = p.clone().invoice("i7", "c1", 5000).ehr_payment("e1", "i8", 4200, "pi_1");
    assert!(known.world.invoice(&invoice_id("i7")).is_some(), "its record is there");
    let other = p.clone().ehr_payment("e2", "i7", 1000, "").ehr_payment("e1", "i8", 4200, "pi_1");
    assert!(other.world.invoice(&invoice_id("i7")).is_some(), "another payment stands on it");
    let ours = p.allocated("pi_0", "i7", 100).ehr_payment("e1", "i8", 4200, "pi_1");
    assert!(ours.world.invoice(&invoice_id("i7")).is_some(), "we allocated to it");
}

#[test]
fn open_a_typed_in_payment_shows_an_allocation_only_where_people_type() {
    let typed = paid(4200).allocated_with("pi_0", "i1", 4200, |a| a.typed_in = true).ehr_payment("e1", "i1", 4200, "visa 4242");
    assert_eq!((typed.open("i1"), shown(&typed)), (5800, vec![4200]));
    let written = paid(4200).allocated("pi_0", "i1", 4200).ehr_payment("e1", "i1", 4200, "visa 4242");
    assert_eq!((written.open("i1"), shown(&written)), (1600, vec![0]));
}

#[test]
fn open_a_typed_in_payment_is_later_of_the_same_amount_by_card_and_no_other_payments() {
    let with = |amount, reference: &str, first: &'static str, method| {
        let p = paid(amount).allocated_with("pi_0", "i1", 4200, |a| a.typed_in = true);
        let p = p.ehr_payment_with("e1", "i1", amount, reference, |e| e.first_observed(first).method(method));
        shown(&p)[0]
    };
    assert_eq!(with(4200, "", "12:00", Method::Card), 4200);
    assert_eq!(with(4200, "", "10:00", Method::Card), 0, "seen when it was decided");
    assert_eq!(with(4100, "", "12:00", Method::Card), 0, "another amount");
    assert_eq!(with(4200, "", "12:00", Method::Check), 0, "no card");
    for other in ["pi_5", "ch_5", "py_5"] {
        assert_eq!(with(4200, other, "12:00", Method::Card), 0, "{other}");
    }
}

#[test]
fn open_what_no_known_ehr_payment_explains_shows_the_oldest_allocation_first() {
    let p = paid(5000).allocated("pi_0", "i1", 4200).allocated("pi_2", "i1", 3000);
    assert_eq!((p.open("i1"), shown(&p)), (2800, vec![4200, 800]));
}

#[test]
fn open_an_allocation_with_its_own_payment_is_shown_before_an_older_one() {
    let p = paid(3000).allocated("pi_0", "i1", 4200).allocated("pi_2", "i1", 3000).ehr_payment("e1", "i1", 3000, "key_pi_2");
    assert_eq!((p.open("i1"), shown(&p)), (2800, vec![0, 3000]));
}

#[test]
fn open_a_payment_whose_reversal_the_ehr_does_not_show_yet_shows_no_other_allocation() {
    for reversed in [1200, 4200] {
        let p = paid(4200).allocated_with("pi_0", "i1", 4200, |a| a.reversed = minor(reversed));
        let p = p.allocated("pi_2", "i1", reversed).ehr_payment("e1", "i1", 4200, "key_pi_0");
        assert_eq!((p.open("i1"), shown(&p)), (5800, vec![4200 - reversed, 0]));
    }
}

#[test]
fn open_is_more_by_a_reversal_the_ehr_does_not_show_yet() {
    let p = paid(4200).allocated_with("pi_0", "i1", 4200, |a| a.reversed = minor(1200)).ehr_payment("e1", "i1", 4200, "key_pi_0");
    assert_eq!(p.open("i1"), 7000);
}

#[test]
fn open_a_reversal_is_shown_when_the_ehr_payment_is_reversed_or_paid_no_longer_covers_it() {
    let ours = |p: Practice| p.allocated_with("pi_0", "i1", 4200, |a| a.reversed = minor(4200));
    let both = ours(paid(0)).ehr_payment_with("e1", "i1", 4200, "key_pi_0", |e| e.reversed(4200));
    assert_eq!(both.open("i1"), 10_000);
    let record_first = ours(paid(4200)).ehr_payment_with("e1", "i1", 4200, "key_pi_0", |e| e.reversed(4200));
    assert_eq!(record_first.open("i1"), 5800, "the EHR's open is not made larger than it says");
    let version_first = ours(paid(0)).ehr_payment("e1", "i1", 4200, "key_pi_0");
    assert_eq!(version_first.open("i1"), 10_000);
}

#[test]
fn open_what_the_ehr_had_reversed_before_rule_16_linked_it_shows_no_reversal_of_ours() {
    let p = paid(1200).allocated_with("pi_0", "i1", 1200, |a| a.reversed = minor(1200));
    let before = p.clone().ehr_payment_with("e1", "i1", 4200, "pi_0", |e| e.reversed(3000));
    assert_eq!(before.open("i1"), 10_000, "our reversal of 12.00 is not in the EHR yet");
    let after = p.ehr_payment_with("e1", "i1", 4200, "pi_0", |e| e.reversed(4200));
    assert_eq!(after.open("i1"), 8800, "now it is, and the invoice's version is to follow");
}

#[test]
fn open_an_allocation_taken_back_before_the_ehr_had_it_changes_nothing() {
    assert_eq!(paid(0).allocated_with("pi_0", "i1", 4200, |a| a.reversed = minor(4200)).open("i1"), 10_000);
}

#[test]
fn open_an_allocation_the_ehr_no_longer_shows_stands() {
    let p = paid(0).allocated_with("pi_0", "i1", 4200, |a| a.shown = true);
    let p = p.ehr_payment_with("e1", "i1", 4200, "key_pi_0", |e| e.reversed(4200));
    assert_eq!((p.open("i1"), shown(&p)), (5800, vec![0]), "until a person answers");
}

#[test]
fn open_a_closed_allocation_of_shadow_mode_does_not_count() {
    let p = paid(0).allocated_with("pi_0", "i1", 4200, |a| a.closed = true);
    assert_eq!((p.open("i1"), shown(&p)), (10_000, vec![0]));
    let p = paid(4200).allocated_with("pi_0", "i1", 4200, |a| a.closed = true).ehr_payment("e1", "i1", 4200, "pi_0");
    assert_eq!(p.open("i1"), 5800);
}

#[test]
fn open_the_payment_of_a_closed_allocation_shows_no_other() {
    let p = paid(4200).allocated_with("pi_0", "i1", 4200, |a| a.closed = true).allocated("pi_2", "i1", 4200);
    let p = p.ehr_payment("e1", "i1", 4200, "pi_0");
    assert_eq!((p.open("i1"), shown(&p)), (1600, vec![0, 0]));
}

#[test]
fn open_what_exceeds_the_charge_is_the_excess() {
    let p = paid(8000).allocated("pi_0", "i1", 4200).ehr_payment("e1", "i1", 8000, "cash");
    let standing = stand(&p);
    assert_eq!((standing.share.open, standing.share.paid, standing.excess), (minor(0), minor(10_000), minor(2200)));
}

#[test]
fn open_a_share_adds_up_only_with_every_part_in_its_place() {
    let share = |charge, paid, written_off, open| {
        let [charge, paid, written_off, open] = [charge, paid, written_off, open].map(minor);
        Share { charge, paid, written_off, open }.adds_up()
    };
    assert!(share(100, 30, 20, 50) && share(0, 0, 0, 0));
    assert!(!share(100, 30, 20, 51) && !share(100, 30, 20, 49), "the sum is not the charge");
    assert!(!share(100, 130, -30, 0) && !share(100, -1, 0, 101) && !share(100, 101, 0, -1), "a part is negative");
    assert!(!share(-100, -100, 0, 0));
}

#[test]
fn open_an_invoice_not_known_has_no_standing() {
    let p = practice().ehr_payment("e1", "i7", 4200, "pi_1");
    assert_eq!(standing(p.world.invoice(&invoice_id("i7")).unwrap()), None);
}

#[test]
fn open_an_older_version_that_arrives_late_is_not_believed() {
    let newer = paid(4200);
    let stale = paid(0).world.invoice(&invoice_id("i1")).unwrap().invoice.clone().unwrap();
    let mut p = newer.clone();
    let mut older = stale;
    older.seen.seq = 0;
    assert!(!p.world.apply_invoice(older), "same moment, earlier in the feed");
    assert_eq!(p.open("i1"), 5800);
}

fn random_invoice() -> impl Strategy<Value = Practice> {
    let allocation = (1..6000_i64, 0..6000_i64, any::<bool>(), any::<bool>());
    let ehr = (0..4_usize, 1..6000_i64, 0..6000_i64, prop_oneof![Just("key_pi_"), Just("pi_"), Just("ch_"), Just("other ")]);
    let parts = (0..=10_000_i64, 0..=10_000_i64, prop::collection::vec(allocation, 0..4), prop::collection::vec(ehr, 0..5));
    parts.prop_map(|(paid, off, allocations, payments)| {
        let off = off.min(10_000 - paid);
        let p = practice().linked("c1", "cus_1").invoice_with("i1", "c1", 10_000, |i| i.written_off(off).paid(paid));
        let p = allocations.into_iter().enumerate().fold(p, |p, (n, (amount, reversed, typed, closed))| {
            p.allocated_with(&format!("pi_{n}"), "i1", amount, |a| {
                (a.reversed, a.typed_in, a.closed) = (minor(reversed.min(amount)), typed, closed && typed);
            })
        });
        payments.into_iter().enumerate().fold(p, |p, (n, (of, amount, reversed, prefix))| {
            p.ehr_payment_with(&format!("e{n}"), "i1", amount, &format!("{prefix}{of}"), |e| e.reversed(reversed.min(amount)))
        })
    })
}

proptest! {
    #![proptest_config(crate::money_properties::config(300))]

    /// Invariant 2, whatever the EHR and we say of an invoice.
    #[test]
    fn open_the_share_always_adds_up(p in random_invoice()) {
        let standing = stand(&p);
        let file = p.world.invoice(&invoice_id("i1")).unwrap();
        prop_assert!(standing.share.adds_up(), "{standing:?}");
        prop_assert_eq!(standing.share.charge, file.invoice.as_ref().unwrap().client_share.charge);
        prop_assert!(standing.excess.get() >= 0);
        for (shown, allocation) in standing.shown.iter().zip(&file.allocations) {
            prop_assert!(*shown <= allocation.net() && shown.get() >= 0);
        }
        let mut by: Vec<_> = standing.shown_by.iter().flatten().collect();
        by.sort();
        by.dedup();
        prop_assert_eq!(by.len(), standing.shown_by.iter().flatten().count(), "one payment showed two allocations");
    }
}
