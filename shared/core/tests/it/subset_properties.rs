//! The subset search and the whole decision against brute force.

use crate::money_properties::config;
use crate::practice::{Pay, Practice, minor, pay, practice};
use proptest::prelude::*;
use std::collections::BTreeSet;
use vesper_core::matching::subset::{Group, explanations};
use vesper_core::matching::{Decision, Look, Stands};
use vesper_core::money::Minor;

fn brute(groups: &[Group], amount: i64) -> BTreeSet<Vec<usize>> {
    let mut all: Vec<(i64, Vec<usize>)> = vec![(0, Vec::new())];
    for group in groups {
        let with = |(sum, taken): &(i64, Vec<usize>), n: usize| {
            (sum + group.open.get() * i64::try_from(n).unwrap(), taken.iter().copied().chain([n]).collect::<Vec<usize>>())
        };
        all = all.iter().flat_map(|so_far| (0..=group.count).map(move |n| with(so_far, n))).collect();
    }
    all.into_iter().filter(|(sum, _)| *sum == amount).map(|(_, taken)| taken).collect()
}

fn random_groups() -> impl Strategy<Value = Vec<Group>> {
    prop::collection::vec((1..15_i64, 1..4_usize).prop_map(|(open, count)| Group { open: minor(open), count }), 0..6)
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn the_search_finds_every_explanation_and_each_once(groups in random_groups(), amount in 0..60_i64) {
        let expected = brute(&groups, amount);
        let found = explanations(&groups, minor(amount), 10_000);
        prop_assert_eq!(found.len(), expected.len(), "found one twice");
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn the_search_stops_when_it_has_enough(groups in random_groups(), amount in 0..60_i64, most in 1..4_usize) {
        let expected = brute(&groups, amount);
        let found = explanations(&groups, minor(amount), most);
        prop_assert_eq!(found.len(), expected.len().min(most));
        prop_assert!(found.iter().all(|e| expected.contains(e)));
    }
}

/// One open invoice of a random family: whose, how much, how old.
type Bill = (usize, i64, u8);

const FAMILY: [&str; 3] = ["g", "d1", "d2"];

fn practice_of(bills: &[Bill]) -> Practice {
    let p = practice().linked("g", "cus_1").client("d1", |c| c.guarantor("g")).client("d2", |c| c.guarantor("g"));
    bills.iter().enumerate().fold(p, |p, (n, (client, open, day))| {
        p.invoice_with(&format!("i{n}"), FAMILY[*client], *open, |i| i.issued(&format!("2026-10-{:02}", day + 1)))
    })
}

/// Every explanation of the amount by whole invoices: whose and how much, so that equals of one client are one.
fn whole_explanations(bills: &[Bill], amount: i64) -> BTreeSet<Vec<(usize, i64)>> {
    let mut found = BTreeSet::new();
    for set in 0..(1_usize << bills.len()) {
        let taken: Vec<&Bill> = bills.iter().enumerate().filter(|(n, _)| set & (1 << n) != 0).map(|(_, b)| b).collect();
        if !taken.is_empty() && taken.iter().map(|b| b.1).sum::<i64>() == amount {
            let mut kinds: Vec<(usize, i64)> = taken.iter().map(|b| (b.0, b.1)).collect();
            kinds.sort_unstable();
            found.insert(kinds);
        }
    }
    found
}

fn taken_kinds(bills: &[Bill], d: &Decision) -> Vec<(usize, i64)> {
    let bill = |id: &str| bills[id[1..].parse::<usize>().unwrap()];
    let mut kinds: Vec<(usize, i64)> = d.allocations.iter().map(|a| (bill(a.invoice.as_str()).0, a.amount.get())).collect();
    kinds.sort_unstable();
    kinds
}

fn random_bills() -> impl Strategy<Value = Vec<Bill>> {
    prop::collection::vec((0..3_usize, prop_oneof![Just(10), Just(20), Just(35), 1..60_i64], 0..3_u8), 0..8)
}

fn check_rule(bills: &[Bill], amount: i64, d: &Decision) -> Result<(), TestCaseError> {
    let all = whole_explanations(bills, amount);
    let total: i64 = bills.iter().map(|b| b.1).sum();
    let equals = bills.iter().filter(|b| b.1 == amount).count();
    let moved = d.stands == Stands::Decided;
    match d.rule {
        5 => prop_assert!(moved && equals == 1),
        6 => prop_assert!(equals > 1),
        7 => prop_assert!(moved && amount == total && d.allocations.len() == bills.len()),
        8 => prop_assert!(moved && all.len() == 1 && all.contains(&taken_kinds(bills, d)), "{:?}", all),
        9 => prop_assert!(!moved && all.len() > 1),
        10 => prop_assert!(moved && bills.len() == 1 && amount < total),
        11 => prop_assert!(!moved && all.is_empty() && amount < total),
        12 => prop_assert!(!moved && amount > total && total > 0),
        13 => prop_assert!(bills.is_empty()),
        other => prop_assert!(false, "rule {other}"),
    }
    Ok(())
}

fn payment(amount: i64, reference: Option<usize>) -> Pay {
    let payment = pay("cus_1", amount);
    match reference {
        Some(n) => payment.for_invoice(&format!("i{n}")),
        None => payment,
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn a_decision_has_one_explanation_or_asks(bills in random_bills(), amount in 1..120_i64) {
        let d = practice_of(&bills).decide(&payment(amount, None), Look::First);
        check_rule(&bills, amount, &d)?;
    }

    #[test]
    fn a_decision_never_gives_more_than_is_open_or_came_and_is_the_same_again(
        bills in random_bills(), amount in 1..120_i64, reference in prop::option::of(0..9_usize),
        look in prop_oneof![Just(Look::First), Just(Look::Again), Just(Look::Deadline)],
    ) {
        let (p, payment) = (practice_of(&bills), payment(amount, reference));
        let d = p.decide(&payment, look);
        prop_assert_eq!(&d, &p.decide(&payment, look));
        let allocated = Minor::sum(d.allocations.iter().map(|a| a.amount));
        prop_assert_eq!(allocated.plus(d.unapplied), minor(amount));
        let ids: BTreeSet<_> = d.allocations.iter().map(|a| &a.invoice).collect();
        prop_assert_eq!(ids.len(), d.allocations.len(), "an invoice is paid once");
        for a in &d.allocations {
            let open = p.open(a.invoice.as_str());
            prop_assert!(a.amount.is_positive() && a.amount.get() <= open && a.closes == (a.amount.get() == open));
        }
        prop_assert!(d.stands == Stands::Decided || d.allocations.is_empty());
        prop_assert_eq!(d.stands == Stands::Parked, !d.watch.is_empty(), "who is parked can be woken");
        prop_assert!(d.stands != Stands::Asked || d.question.is_some());
        prop_assert!(look != Look::Deadline || d.stands != Stands::Parked, "the deadline ends the wait");
    }
}
