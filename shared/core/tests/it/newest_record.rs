//! Records come in any order: of one record only a newer word counts, and what an older one names is not taken up.

use crate::practice::{Practice, at, client_id, invoice_id, minor, practice};
use vesper_core::ids::{EhrPaymentId, SessionId};
use vesper_core::records::Seen;

/// Two clients, one invoice of 100.00 and a payment of 40.00 on it.
fn told() -> Practice {
    practice()
        .linked("c_1", "cus_1")
        .linked("c_2", "cus_2")
        .invoice("inv_1", "c_1", 10_000)
        .invoice("inv_2", "c_2", 10_000)
        .ehr_payment("p_1", "inv_1", 4_000, "check 7")
}

/// Just before and just after this.
fn around(seen: Seen) -> [Seen; 2] {
    [Seen { seq: seen.seq - 1, ..seen }, Seen { seq: seen.seq + 1, ..seen }]
}

#[test]
fn an_older_word_about_a_client_changes_nothing() {
    let mut world = told().world;
    let client = world.client(&client_id("c_1")).unwrap().clone();
    let [older, newer] = around(client.seen);
    let without = |seen| vesper_core::records::Client { customers: vec![], seen, ..client.clone() };
    assert!(!world.apply_client(without(older)));
    assert_eq!(world.client(&client_id("c_1")), Some(&client));
    assert!(world.apply_client(without(newer)));
    assert!(world.client(&client_id("c_1")).unwrap().customers.is_empty());
}

#[test]
fn an_older_word_about_an_invoice_changes_nothing_and_lists_nothing() {
    let mut world = told().world;
    let invoice = world.invoice(&invoice_id("inv_1")).unwrap().invoice.clone().unwrap();
    let [older, newer] = around(invoice.seen);
    let moved = |seen| {
        let mut moved = vesper_core::records::Invoice { client: client_id("c_2"), seen, ..invoice.clone() };
        moved.sessions[0].id = SessionId::parse("s_moved").unwrap();
        moved
    };
    let before = world.clone();
    assert!(!world.apply_invoice(moved(older)));
    assert_eq!(format!("{world:?}"), format!("{before:?}"), "as if it had not come");
    assert!(world.apply_invoice(moved(newer)));
    let now = world.invoice(&invoice_id("inv_1")).unwrap().invoice.clone().unwrap();
    assert_eq!((now.client, now.sessions[0].id.as_str()), (client_id("c_2"), "s_moved"));
}

#[test]
fn an_older_word_about_an_ehr_payment_changes_nothing() {
    let mut world = told().world;
    let id = EhrPaymentId::parse("p_1").unwrap();
    let payment = world.invoice(&invoice_id("inv_1")).unwrap().payments[&id].clone();
    let [older, newer] = around(payment.seen);
    let elsewhere =
        |seen| vesper_core::records::EhrPayment { invoice: invoice_id("inv_2"), amount: minor(100), seen, ..payment.clone() };
    assert!(!world.apply_ehr_payment(elsewhere(older)));
    assert_eq!(world.place_of(&id), Some(invoice_id("inv_1")));
    assert!(world.apply_ehr_payment(elsewhere(newer)));
    assert_eq!(world.place_of(&id), Some(invoice_id("inv_2")));
    assert!(world.invoice(&invoice_id("inv_1")).unwrap().payments.is_empty());
    assert!(payment.first_observed_at >= at("00:00"));
}

#[test]
fn the_allocations_of_an_invoice_can_be_changed_and_those_of_an_unknown_one_cannot() {
    let mut world = told().allocated("pi_1", "inv_1", 6_000).world;
    world.allocations_mut(&invoice_id("inv_1")).unwrap()[0].reversed = minor(1_000);
    assert_eq!(world.invoice(&invoice_id("inv_1")).unwrap().allocations[0].reversed, minor(1_000));
    assert!(world.allocations_mut(&invoice_id("inv_9")).is_none());
}
