//! Client credit through the whole bundle: applied to later invoices by rule or by a person, by entries of its own, and taken back
//! to credit again.

use crate::scenarios::{asked, balance, paid, settled, stories};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vesper_core::ids::PaymentId;
use vesper_functions::intake;
use vesper_functions::review::answers::{Answered, Chosen, apply_credit, credit_back};
use vesper_standins::stripe::{Decline, NewPayment, Outcome};
use vesper_tests::harness::{Bundle, Ground, Options, Told};

use crate::scenarios::tell;

stories!(
    a_prepayment_pays_later_invoices_oldest_first,
    by_hand_is_the_default_and_nothing_is_applied_by_itself,
    a_person_applies_credit_and_takes_it_back,
    what_a_person_took_back_is_left_alone_by_the_rule,
    credit_of_an_open_review_waits_for_its_answer,
    a_guarantors_rest_stays_with_the_client_it_was_paid_for,
    a_refund_of_applied_credit_reopens_what_it_paid,
    a_voided_invoice_that_credit_paid_gives_it_back,
    credit_leaves_a_charge_under_way_alone,
    credit_in_time_spares_the_card,
    an_ehr_that_refuses_credit_gets_it_back_as_credit,
);

const DAY_S: i64 = 24 * 3600;

fn by_rule(o: Options) -> Options {
    Options { credit_by_rule: true, ..o }
}

fn prepaid(b: &Bundle, customer: &str, amount_minor: i64) -> String {
    b.pay(&NewPayment::of(customer, amount_minor).metadata("kind", "prepayment"))
}

fn methods(b: &Bundle) -> Vec<String> {
    b.standins.ehr.written().iter().map(|p| p["method"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn revision(b: &Bundle, payment: &PaymentId) -> u64 {
    b.app().store.payment(payment).await.unwrap().unwrap().rev
}

/// A person presses "apply credit"; a table that fails is a reason to press again.
async fn applies(b: &Bundle, payment: &str, invoice: &str) -> Answered {
    let id = PaymentId::parse(payment).unwrap();
    for _ in 0..20 {
        let version = revision(b, &id).await;
        if let Ok(answered) = apply_credit(b.app(), "tester", &id, version, invoice).await {
            b.drain().await;
            return answered;
        }
    }
    panic!("the credit of {payment} cannot be applied")
}

async fn takes_back(b: &Bundle, payment: &str) -> Answered {
    let id = PaymentId::parse(payment).unwrap();
    for _ in 0..20 {
        let version = revision(b, &id).await;
        if let Ok(answered) = credit_back(b.app(), "tester", &id, version).await {
            b.drain().await;
            return answered;
        }
    }
    panic!("the credit of {payment} cannot be taken back")
}

fn links(all: &[(&str, i64)]) -> BTreeMap<String, (i64, i64)> {
    all.iter().map(|(i, n)| ((*i).to_owned(), (*n, 4))).collect()
}

/// The postings of a payment, one text each: date of the DocNumber and the lines, oldest first.
fn entries(b: &Bundle) -> Vec<String> {
    let lines = |e: &vesper_standins::quickbooks::JournalEntry| {
        let each: Vec<String> = e.lines.iter().map(|l| format!("{} {}", l.account, l.amount_minor)).collect();
        format!("{}: {}", e.txn_date, each.join(", "))
    };
    b.standins.quickbooks.entries().iter().map(lines).collect()
}

async fn a_prepayment_pays_later_invoices_oldest_first(o: Options) {
    let mut b = Bundle::new(by_rule(o)).await;
    let (client, customer) = b.client();
    b.sync().await;
    let payment = prepaid(&b, &customer, 10_000);
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 10_000));
    balance(&b, &[("91", 10_000), ("93", -10_000)]);
    b.advance(DAY_S).await;
    let newer = b.bill_with(&client, 4200, 0, json!({"issued_on": "2026-11-24"}));
    let older = b.bill_with(&client, 3000, 9000, json!({"issued_on": "2026-11-20"}));
    b.sync().await;
    let told = settled(&b).await;
    assert_eq!(told.links(&payment), links(&[(&newer, 4200), (&older, 3000)]));
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 7200, 2800));
    assert_eq!(told.invoice(&older)["payer_share"]["open"], 9000, "no credit pays an insurance's part");
    assert_eq!(methods(&b), ["credit", "credit"]);
    assert!(b.standins.ehr.written().iter().all(|p| p["posted_on"] == "2026-11-24"), "of the day it is applied");
    assert_eq!(entries(&b), ["2026-11-23: 91 10000, 93 -10000", "2026-11-24: 80 -7200, 93 7200"], "an entry of its own");
    let third = b.bill(&client, 5000);
    b.sync().await;
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).2, told.open(&third)), (0, 2200), "the last in part");
    balance(&b, &[("80", -10_000), ("91", 10_000)]);
    let rest = b.pay(&NewPayment::of(&customer, 2200));
    let told = settled(&b).await;
    paid(&b, &told, &rest, 5, &[(&third, 2200)]);
    let before = told.outcome();
    b.advance(DAY_S).await;
    assert_eq!(settled(&b).await.outcome(), before, "nothing is applied twice");
}

async fn by_hand_is_the_default_and_nothing_is_applied_by_itself(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    b.sync().await;
    let payment = prepaid(&b, &customer, 10_000);
    settled(&b).await;
    b.bill(&client, 4200);
    b.sync().await;
    b.advance(DAY_S).await;
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 10_000));
    assert!(b.standins.ehr.written().is_empty());
}

async fn a_person_applies_credit_and_takes_it_back(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    let (_, other_customer) = b.client();
    b.sync().await;
    let payment = prepaid(&b, &customer, 5000);
    settled(&b).await;
    let (first, second) = (b.bill(&client, 3000), b.bill(&client, 4000));
    b.sync().await;
    assert_eq!(applies(&b, &payment, "no-such").await, Answered::UnknownInvoice);
    assert_eq!(applies(&b, &payment, &first).await, Answered::Done);
    assert_eq!(applies(&b, &payment, &second).await, Answered::Done);
    let told = settled(&b).await;
    assert_eq!(told.links(&payment), links(&[(&first, 3000), (&second, 2000)]));
    assert_eq!((told.stands(&payment).2, told.open(&second)), (0, 2000));
    assert!(matches!(applies(&b, &payment, &second).await, Answered::Refused(_)), "nothing is left");
    balance(&b, &[("80", -5000), ("91", 5000)]);
    assert_eq!(takes_back(&b, &payment).await, Answered::Done);
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 5000), "it is client credit again");
    assert_eq!((told.open(&first), told.open(&second)), (3000, 4000));
    balance(&b, &[("91", 5000), ("93", -5000)]);
    assert_eq!(b.standins.ehr.net_by_invoice().values().sum::<i64>(), 0, "reversed in the EHR");
    assert!(told.all_asked().is_empty(), "nobody is asked: {:?}", told.all_asked());
    assert!(matches!(takes_back(&b, &payment).await, Answered::Refused(_)));
    // Money that is no credit is not touched by these buttons.
    let parked = b.pay(&NewPayment::of(&other_customer, 700));
    settled(&b).await;
    assert!(matches!(applies(&b, &parked, &first).await, Answered::Refused(_)));
}

async fn what_a_person_took_back_is_left_alone_by_the_rule(o: Options) {
    let mut b = Bundle::new(by_rule(o)).await;
    let (client, customer) = b.client();
    b.sync().await;
    let payment = prepaid(&b, &customer, 3000);
    settled(&b).await;
    let invoice = b.bill(&client, 3000);
    b.sync().await;
    assert_eq!(settled(&b).await.links(&payment), links(&[(&invoice, 3000)]));
    assert_eq!(takes_back(&b, &payment).await, Answered::Done);
    b.bill(&client, 1000);
    b.sync().await;
    b.advance(DAY_S).await;
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.open(&invoice)), (("decided".to_owned(), 0, 3000), 3000));
    // Another payment's credit flows as before.
    let other = prepaid(&b, &customer, 3500);
    let told = settled(&b).await;
    assert_eq!((told.stands(&other).2, told.open(&invoice)), (0, 0));
}

async fn credit_of_an_open_review_waits_for_its_answer(o: Options) {
    let mut b = Bundle::new(by_rule(o)).await;
    let (client, customer) = b.client();
    let wrong = b.bill(&client, 4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&wrong, 4200)]);
    b.standins.ehr.change("invoice", &wrong, json!({"status": "void"}));
    b.sync().await;
    let right = b.bill(&client, 4000);
    b.sync().await;
    b.advance(DAY_S).await;
    let told = settled(&b).await;
    assert_eq!(told.asked(&payment), ["void_invoice"]);
    assert_eq!((told.stands(&payment).2, told.open(&right)), (4200, 4000), "a person is asked about this money");
    let review = told.reviews(&payment)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(b.answer(&review, Chosen::ResolvedElsewhere).await, Answered::Done);
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).2, told.open(&right)), (200, 0), "answered: it pays the next invoice");
}

async fn a_guarantors_rest_stays_with_the_client_it_was_paid_for(o: Options) {
    let mut b = Bundle::new(by_rule(o)).await;
    let (parent, customer) = b.client();
    let child = b.client_of(json!({"guarantor_id": parent}));
    let invoice = b.bill(&child, 3000);
    b.sync().await;
    let payment = b.pay_for(&customer, 5000, &invoice);
    let told = settled(&b).await;
    assert_eq!(told.asked(&payment), ["overpaid"]);
    let (of_parent, of_child) = (b.bill(&parent, 2500), b.bill(&child, 1200));
    b.sync().await;
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment).2, 2000, "it is asked about");
    let review = told.reviews(&payment)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(b.answer(&review, Chosen::Offered(vesper_core::review::Answer::Credit)).await, Answered::Done);
    let told = settled(&b).await;
    assert_eq!((told.open(&of_parent), told.open(&of_child), told.stands(&payment).2), (2500, 0, 800));
    assert_eq!(applies(&b, &payment, &of_parent).await, Answered::Done, "a person may");
    let told = settled(&b).await;
    assert_eq!((told.open(&of_parent), told.stands(&payment).2), (1700, 0));
}

async fn a_refund_of_applied_credit_reopens_what_it_paid(o: Options) {
    let mut b = Bundle::new(by_rule(o)).await;
    let (client, customer) = b.client();
    b.sync().await;
    let payment = prepaid(&b, &customer, 5000);
    settled(&b).await;
    let invoice = b.bill(&client, 3000);
    b.sync().await;
    settled(&b).await;
    b.standins.stripe.refund(&payment, Some(1500), Value::Null, "succeeded");
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.open(&invoice)), (("decided".to_owned(), 3000, 500), 0), "from what is unapplied");
    assert!(told.asked(&payment).is_empty());
    b.standins.stripe.refund(&payment, None, Value::Null, "succeeded");
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.open(&invoice)), (("decided".to_owned(), 0, 0), 3000));
    assert_eq!(told.asked(&payment), ["refunded"]);
    balance(&b, &[("67", 3000), ("80", -3000)]);
}

async fn a_voided_invoice_that_credit_paid_gives_it_back(o: Options) {
    let mut b = Bundle::new(by_rule(o)).await;
    let (client, customer) = b.client();
    b.sync().await;
    let payment = prepaid(&b, &customer, 3000);
    settled(&b).await;
    let invoice = b.bill(&client, 3000);
    b.sync().await;
    settled(&b).await;
    b.standins.ehr.change("invoice", &invoice, json!({"status": "void"}));
    b.sync().await;
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.asked(&payment)), (("decided".to_owned(), 0, 3000), vec!["void_invoice".to_owned()]));
    balance(&b, &[("91", 3000), ("93", -3000)]);
}

async fn credit_leaves_a_charge_under_way_alone(o: Options) {
    let mut b = Bundle::new(by_rule(o)).await;
    let (client, customer) = b.client();
    let invoice = b.bill(&client, 4200);
    b.sync().await;
    let failed = b
        .standins
        .stripe
        .fail(&NewPayment::of(&customer, 4200).metadata("vesper_invoice", &invoice), &Decline::of("generic_decline"));
    settled(&b).await;
    b.standins.stripe.script(&failed, [Outcome::Processing]);
    b.advance(DAY_S + 3 * 3600).await;
    assert_eq!(b.standins.stripe.confirms().len(), 1, "the card is being charged");
    let payment = prepaid(&b, &customer, 4200);
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).2, told.open(&invoice)), (4200, 4200), "the credit waits for the card's outcome");
    b.standins.stripe.complete(&failed);
    let told = settled(&b).await;
    assert_eq!(told.links(&failed).get(&invoice), Some(&(4200, 3)));
    b.advance(2 * DAY_S).await;
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).2, told.open(&invoice)), (4200, 0));
    let next = b.bill(&client, 1000);
    b.sync().await;
    assert_eq!(settled(&b).await.open(&next), 0, "and pays what comes after it");
}

async fn credit_in_time_spares_the_card(o: Options) {
    let mut b = Bundle::new(by_rule(o)).await;
    let (client, customer) = b.client();
    let invoice = b.bill(&client, 4200);
    b.sync().await;
    let failed = b
        .standins
        .stripe
        .fail(&NewPayment::of(&customer, 4200).metadata("vesper_invoice", &invoice), &Decline::of("generic_decline"));
    settled(&b).await;
    let payment = prepaid(&b, &customer, 4200);
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).2, told.open(&invoice)), (0, 0));
    b.advance(8 * DAY_S).await;
    let told = settled(&b).await;
    assert!(b.standins.stripe.confirms().is_empty(), "no card was charged");
    let recovery = told.list("recoveries").iter().find(|r| r["payment"] == failed).unwrap();
    assert_eq!((&recovery["state"], &recovery["stop_reason"]), (&json!("stopped"), &json!("paid")));
}

async fn an_ehr_that_refuses_credit_gets_it_back_as_credit(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    b.sync().await;
    let payment = prepaid(&b, &customer, 3000);
    settled(&b).await;
    let invoice = b.bill(&client, 3000);
    b.sync().await;
    // The client pays at the desk, and the EHR has not told yet.
    b.standins.ehr.paid_in_ehr(&vesper_standins::ehr::DeskPayment::check(&invoice, 2500));
    assert_eq!(applies(&b, &payment, &invoice).await, Answered::Done);
    let told = b.settle().await;
    assert_eq!(told.all_asked(), ["write_back_refused"]);
    let review = told.list("reviews").iter().find(|r| r["status"] == "open").unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(b.answer(&review, Chosen::Offered(vesper_core::review::Answer::Undo)).await, Answered::Done);
    let told = b.settle().await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 3000), "it is client credit again");
    assert!(told.all_asked().is_empty(), "{:?}", told.all_asked());
    balance(&b, &[("91", 3000), ("93", -3000)]);
}

/// An invoice and a card payment for it arrive at the same moment, while there is credit for it: whoever commits first, it is paid
/// once, and the other money is still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credit_and_a_card_payment_for_one_invoice_pay_it_once() {
    for turn in 0..12 {
        let mut b = Bundle::new(by_rule(Options::default())).await;
        let (client, customer) = b.client();
        b.sync().await;
        let credit = prepaid(&b, &customer, 4200);
        settled(&b).await;
        let invoice = b.bill(&client, 4200);
        let card = b.pay(&NewPayment::of(&customer, 4200));
        let (notice, event) = (b.notice(), b.standins.stripe.undelivered());
        let delivered = async {
            for _ in 0..turn {
                tokio::task::yield_now().await;
            }
            for one in &event {
                let (body, header) = vesper_standins::stripe::signed(
                    one,
                    vesper_tests::harness::WEBHOOK_SECRET,
                    jiff::Timestamp::now().as_second(),
                );
                assert_eq!(intake::stripe(b.app().door(), Some(&header), &body).await.status, 200);
            }
        };
        tokio::join!(notice, delivered);
        b.drain().await;
        let told: Told = settled(&b).await;
        let by_credit = told.stands(&credit).1;
        let by_card = told.stands(&card).1;
        assert_eq!((by_credit + by_card, told.open(&invoice)), (4200, 0), "turn {turn}");
        assert_eq!(b.standins.ehr.net_by_invoice()[&invoice], 4200);
        if by_credit == 4200 {
            b.advance(3 * DAY_S).await;
            asked(&settled(&b).await, &card, "no_invoice");
        }
    }
}
