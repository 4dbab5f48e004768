//! Client credit: whose it is, which invoices it pays by rule, and that every step of it balances.

use crate::money_properties::{DATES, allocate, payment};
use crate::practice::{EUR, Practice, client_id, invoice_id, minor, practice};
use std::collections::BTreeSet;
use vesper_core::credit::{RULE, may_flow, oldest_first, owner};
use vesper_core::payment::{Payment, PaymentState};
use vesper_core::posting::{Account, Posting};
use vesper_core::records::Category;

/// A decided payment, all of it client credit of `payer`.
fn credit(amount: i64, payer: Option<&str>) -> Payment {
    let mut p = payment(amount);
    p.state = PaymentState::Decided;
    p.credit = p.unapplied;
    p.decision.payer = payer.map(client_id);
    p
}

fn pays(practice: &Practice, credit: &Payment, held: &[&str]) -> Vec<String> {
    let held: BTreeSet<_> = held.iter().map(|i| invoice_id(i)).collect();
    let all = oldest_first(&practice.world, &client_id("c1"), credit, &held);
    all.iter().map(|a| format!("{}{}{}", a.invoice, if a.closes { "=" } else { "<" }, a.amount.get())).collect()
}

fn sums(postings: &[Posting]) -> Vec<(Account, i64)> {
    let mut all = std::collections::BTreeMap::new();
    for line in postings.iter().flat_map(|p| &p.lines) {
        *all.entry(line.account).or_insert(0) += line.amount.get();
    }
    all.into_iter().filter(|(_, n)| *n != 0).collect()
}

#[test]
fn credit_belongs_to_the_one_client_that_everything_names() {
    let of = |change: &dyn Fn(&mut Payment)| {
        let mut p = credit(5000, Some("c1"));
        change(&mut p);
        owner(&p).map(|c| c.to_string())
    };
    let share = |p: &mut Payment, invoice: &str, client: &str| {
        let mut a = allocate(invoice, 1000);
        a.client = client_id(client);
        p.credit = p.unapplied;
        let _ = p.apply_credit(&[a], DATES);
    };
    let name = |p: &mut Payment, client: &str| p.success.reference.client = Some(client.to_owned());
    assert_eq!(of(&|_| ()).as_deref(), Some("c1"), "the paying client's");
    assert_eq!(of(&|p| p.decision.payer = None), None, "nobody knows who paid");
    assert_eq!(of(&|p| name(p, "c2")).as_deref(), Some("c2"), "a guarantor paid ahead for the client that he named");
    assert_eq!(of(&|p| share(p, "i1", "c2")).as_deref(), Some("c2"), "what is left of a payment for a dependent's invoice");
    assert_eq!(
        of(&|p| {
            share(p, "i1", "c2");
            share(p, "i2", "c3")
        }),
        None,
        "it paid two clients' invoices"
    );
    assert_eq!(
        of(&|p| {
            share(p, "i1", "c2");
            name(p, "c1")
        }),
        None,
        "what it names is another than it paid"
    );
    assert_eq!(
        of(&|p| {
            p.decision.payer = None;
            name(p, "c2")
        }),
        None,
        "a name that nobody agreed to"
    );
}

#[test]
fn credit_pays_the_oldest_invoice_of_the_same_client_first_and_the_last_in_part() {
    let p = practice().linked("c1", "cus_1").client("c2", |c| c.guarantor("c1"));
    let p = p.invoice_with("i2", "c1", 3000, |i| i.issued("2026-11-03"));
    let p = p.invoice_with("i1", "c1", 3000, |i| i.issued("2026-11-02")).invoice("other", "c2", 3000);
    assert_eq!(pays(&p, &credit(2000, Some("c1")), &[]), ["i1<2000"]);
    assert_eq!(pays(&p, &credit(4000, Some("c1")), &[]), ["i1=3000", "i2<1000"]);
    assert_eq!(pays(&p, &credit(9000, Some("c1")), &[]), ["i1=3000", "i2=3000"], "the dependent's is left alone");
    assert_eq!(pays(&p, &credit(4000, Some("c1")), &["i1"]), ["i2=3000"], "a card is being charged for i1");
    assert_eq!(pays(&p, &credit(4000, Some("c1")), &["i1", "i2"]), [""; 0]);
}

#[test]
fn credit_leaves_alone_what_no_payment_may_take() {
    let open = || practice().linked("c1", "cus_1");
    let credit = credit(9000, Some("c1"));
    let cases = [
        ("void", open().invoice_with("i1", "c1", 3000, |i| i.void())),
        ("another currency", open().invoice_with("i1", "c1", 3000, |i| i.currency(EUR))),
        ("paid", open().invoice_with("i1", "c1", 3000, |i| i.paid(3000))),
        ("paid by us", open().invoice("i1", "c1", 3000).allocated("pi_9", "i1", 3000)),
        (
            "re-opened",
            open().invoice("i1", "c1", 3000).allocated_with("pi_9", "i1", 3000, |a| {
                a.reversed = a.amount;
                a.reopened = true;
            }),
        ),
        ("billed by others", practice().client("c1", |c| c.billed_by_others()).invoice("i1", "c1", 3000)),
        ("a deleted client", practice().client("c1", |c| c.deleted()).invoice("i1", "c1", 3000)),
    ];
    for (why, practice) in cases {
        assert_eq!(pays(&practice, &credit, &[]), [""; 0], "{why}");
    }
}

#[test]
fn no_more_than_forty_invoices_are_paid_in_one_step() {
    let mut p = practice().linked("c1", "cus_1");
    for n in 0..45 {
        p = p.invoice(&format!("i{n:02}"), "c1", 100);
    }
    assert_eq!(pays(&p, &credit(9000, Some("c1")), &[]).len(), 40);
}

#[test]
fn applied_and_taken_back_it_is_credit_again_and_no_rule_touches_it() {
    let mut p = credit(5000, Some("c1"));
    assert!(may_flow(&p));
    let mut all = p.apply_credit(&[allocate("i1", 3000), allocate("i2", 500)], DATES).postings;
    p.check().unwrap();
    assert_eq!((p.allocated(), p.unapplied, p.credit), (minor(3500), minor(1500), minor(1500)));
    assert!(p.shares.iter().all(|s| s.rule == RULE));
    let income = |category, amount| (Account::Income(category), amount);
    let paid = [(Account::ClientCredits, 3500), income(Category::Copay, -3000), income(Category::SelfPay, -500)];
    assert_eq!(sums(&all), paid);
    let step = p.back_to_credit(&[1], DATES);
    assert_eq!(step.taken_back.len(), 1);
    all.extend(step.postings);
    p.check().unwrap();
    assert_eq!((p.allocated(), p.unapplied, p.credit), (minor(500), minor(4500), minor(4500)));
    assert_eq!(sums(&all), [(Account::ClientCredits, 500), income(Category::SelfPay, -500)]);
    assert!(!may_flow(&p), "a person took it back");
    assert!(p.back_to_credit(&[1], DATES).postings.is_empty(), "there is nothing left to take back");
    assert!(all.iter().all(|posting| posting.check().is_ok()));
}

#[test]
fn credit_that_waits_for_a_decision_is_not_touched() {
    for state in [PaymentState::Parked, PaymentState::Review, PaymentState::BeforeGoLive] {
        let mut p = credit(5000, Some("c1"));
        p.state = state;
        assert!(!may_flow(&p), "{state:?}");
    }
    let mut nothing = credit(5000, Some("c1"));
    nothing.credit = minor(0);
    assert!(!may_flow(&nothing), "unidentified money is no credit");
}
