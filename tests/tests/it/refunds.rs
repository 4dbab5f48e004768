//! Refunds and disputes through the whole bundle, clause by clause of design.md section 4: ledger, invoice, EHR, postings, questions
//! and every answer to them.

use crate::scenarios::{asked, balance, settled, stories, tell};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vesper_core::ids::InvoiceId;
use vesper_core::money::Minor;
use vesper_core::review::Answer;
use vesper_functions::review::answers::{Answered, Chosen};
use vesper_standins::stripe::{NewPayment, NewPayout};
use vesper_tests::harness::{Bundle, Ground, Options, Told, unaccounted};

stories!(
    a_refund_of_the_unapplied_rest_answers_its_question,
    a_refund_of_several_allocations_whole_needs_nobody,
    a_refund_of_more_than_the_allocations_takes_the_rest_from_what_is_unapplied,
    a_refund_that_fails_asks_in_its_own_question_and_leaves_the_others,
    a_split_that_waits_falls_away_when_its_refund_fails,
    a_refund_of_a_part_of_what_is_asked_about_changes_the_answers,
    charge_refunded_is_a_nudge_to_list_the_refunds,
    the_answers_to_a_refund,
    a_dispute_of_a_part_that_is_lost,
    a_dispute_that_is_won_is_reversed_and_re_opens_nothing,
    a_dispute_of_a_part_of_two_invoices_is_split_and_partly_reinstated,
);

fn money(minor: i64) -> Minor {
    Minor::new(minor).unwrap()
}

fn apply(parts: &[(&str, i64)]) -> Answer {
    Answer::Apply(parts.iter().map(|(i, n)| (InvoiceId::parse(i).unwrap(), money(*n))).collect())
}

/// The open questions about a payment for this reason: their ids and answers, oldest first.
fn open(told: &Told, payment: &str, reason: &str) -> Vec<(String, Vec<Answer>)> {
    let of_it = told.reviews(payment).into_iter().filter(|r| r["reason"] == reason);
    let answers = |r: &Value| serde_json::from_value(r["answers"].clone()).unwrap();
    of_it.map(|r| (r["id"].as_str().unwrap().to_owned(), answers(r))).collect()
}

async fn answered(b: &Bundle, review: &str, answer: Answer) -> Told {
    assert_eq!(b.answer(review, Chosen::Offered(answer)).await, Answered::Done);
    settled(b).await
}

fn reversals(b: &Bundle) -> Vec<(String, i64)> {
    let of = |r: vesper_standins::Seen| (r.json()["reason"].as_str().unwrap().to_owned(), r.json()["amount"].as_i64().unwrap());
    b.standins.ehr.seen("POST /v1/payments/*/reversals").into_iter().filter(|r| r.applied).map(of).collect()
}

fn refund(b: &Bundle, payment: &str, amount_minor: Option<i64>) -> String {
    b.standins.stripe.refund(payment, amount_minor, Value::Null, "succeeded")
}

/// A client with two invoices, both paid by one payment by rule 7: (customer, first, second, payment).
async fn two_paid(b: &mut Bundle, first: i64, second: i64) -> (String, String, String, String) {
    let (client, customer) = b.client();
    let (first, second) = (b.bill_with(&client, first, 0, json!({"issued_on": "2026-11-20"})), b.bill(&client, second));
    b.sync().await;
    let whole = b.export().await;
    let payment = b.pay(&NewPayment::of(&customer, whole.open(&first) + whole.open(&second)));
    settled(b).await;
    (customer, first, second, payment)
}

async fn a_refund_of_the_unapplied_rest_answers_its_question(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay_for(&customer, 5000, &invoice);
    let told = settled(&b).await;
    assert_eq!((told.asked(&payment), told.stands(&payment).2), (vec!["overpaid".to_owned()], 800));
    refund(&b, &payment, Some(500));
    let told = settled(&b).await;
    assert_eq!((told.asked(&payment), told.stands(&payment)), (vec!["overpaid".to_owned()], ("decided".to_owned(), 4200, 300)));
    refund(&b, &payment, Some(300));
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 4200, 0));
    assert!(told.asked(&payment).is_empty(), "nothing is left to ask: {:?}", told.asked(&payment));
    assert!(reversals(&b).is_empty(), "no invoice is touched");
    balance(&b, &[("80", -4200), ("91", 4200)]);
}

async fn a_refund_of_several_allocations_whole_needs_nobody(o: Options) {
    let mut b = Bundle::new(o).await;
    let (_, first, second, payment) = two_paid(&mut b, 3000, 5000).await;
    refund(&b, &payment, None);
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.open(&first), told.open(&second)), (("decided".to_owned(), 0, 0), 3000, 5000));
    assert_eq!(told.asked(&payment), ["refunded"], "one question for both");
    let mut back = reversals(&b);
    back.sort();
    assert_eq!(back, [("refund".to_owned(), 3000), ("refund".to_owned(), 5000)]);
    balance(&b, &[("67", 8000), ("80", -8000)]);
}

async fn a_refund_of_more_than_the_allocations_takes_the_rest_from_what_is_unapplied(o: Options) {
    let mut b = Bundle::new(o).await;
    let (_, first, second, payment) = two_paid(&mut b, 3000, 2000).await;
    // What a void gives back is unapplied.
    b.standins.ehr.change("invoice", &second, json!({"status": "void"}));
    b.sync().await;
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 3000, 2000));
    refund(&b, &payment, Some(4000));
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.open(&first)), (("decided".to_owned(), 0, 1000), 3000));
    let mut questions = told.asked(&payment);
    questions.sort();
    assert_eq!(questions, ["refunded", "void_invoice"]);
    refund(&b, &payment, None);
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.asked(&payment)), (("decided".to_owned(), 0, 0), vec!["refunded".to_owned()]));
}

async fn a_refund_that_fails_asks_in_its_own_question_and_leaves_the_others(o: Options) {
    let mut b = Bundle::new(o).await;
    let (_, first, second, payment) = two_paid(&mut b, 3000, 5000).await;
    b.standins.stripe.refund(&payment, Some(1000), json!({"vesper_invoice": first}), "succeeded");
    settled(&b).await;
    let fails = b.standins.stripe.refund(&payment, Some(2000), json!({"vesper_invoice": second}), "succeeded");
    settled(&b).await;
    b.standins.stripe.refund_becomes(&fails, "failed");
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.open(&second)), (("decided".to_owned(), 5000, 2000), 2000));
    balance(&b, &[("67", 1000), ("80", -6000), ("91", 7000), ("92", -2000)]);
    let questions = open(&told, &payment, "refunded");
    let mut answers: Vec<&[Answer]> = questions.iter().map(|(_, a)| a.as_slice()).collect();
    answers.sort_by_key(|a| a.contains(&Answer::Credit));
    let back = [apply(&[(&second, 2000)]), Answer::Credit];
    assert_eq!(answers, [&[Answer::ReBill, Answer::WriteOff][..], &back[..]]);
    let (id, _) = questions.iter().find(|(_, a)| a.contains(&Answer::Credit)).unwrap();
    let told = answered(&b, id, back[0].clone()).await;
    assert_eq!((told.stands(&payment), told.open(&second)), (("decided".to_owned(), 7000, 0), 0), "as it was");
    assert_eq!(told.asked(&payment), ["refunded"], "the other refund's question is still there");
    balance(&b, &[("67", 1000), ("80", -8000), ("91", 7000)]);
    let (rest, _) = open(&told, &payment, "refunded").remove(0);
    let told = answered(&b, &rest, Answer::ReBill).await;
    assert_eq!((told.open(&first), told.all_asked()), (1000, vec![]));
}

async fn a_split_that_waits_falls_away_when_its_refund_fails(o: Options) {
    let mut b = Bundle::new(o).await;
    let (_, _, _, payment) = two_paid(&mut b, 3000, 5000).await;
    let fails = refund(&b, &payment, Some(1000));
    let told = settled(&b).await;
    assert_eq!(
        (told.asked(&payment), told.payment(&payment)["refunded"].as_i64()),
        (vec!["refund_split".to_owned()], Some(1000))
    );
    assert_eq!(told.payment(&payment)["refunded_unapplied"], 0, "it is taken from nowhere yet");
    b.standins.stripe.refund_becomes(&fails, "failed");
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 8000, 0));
    assert!(told.asked(&payment).is_empty(), "{:?}", told.asked(&payment));
    balance(&b, &[("80", -8000), ("91", 8000)]);
}

async fn a_refund_of_a_part_of_what_is_asked_about_changes_the_answers(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    let bills: Vec<String> = (1..=4).map(|n| b.bill(&client, 1000 * n)).collect();
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 5000));
    let told = settled(&b).await;
    asked(&told, &payment, "ambiguous");
    assert_eq!(open(&told, &payment, "ambiguous")[0].1.len(), 2, "1000 + 4000 and 2000 + 3000");
    refund(&b, &payment, Some(3000));
    let told = settled(&b).await;
    asked(&told, &payment, "ambiguous");
    let (id, answers) = open(&told, &payment, "ambiguous").remove(0);
    assert_eq!(answers, [apply(&[(&bills[1], 2000)])], "what 2000 would pay now");
    let told = answered(&b, &id, answers[0].clone()).await;
    assert_eq!((told.stands(&payment), told.open(&bills[1])), (("decided".to_owned(), 2000, 0), 0));
    balance(&b, &[("80", -2000), ("91", 2000)]);
}

async fn charge_refunded_is_a_nudge_to_list_the_refunds(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(9000);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 9000));
    settled(&b).await;
    for n in 1..=3 {
        refund(&b, &payment, Some(1000 * n));
    }
    let events = b.standins.stripe.undelivered();
    let (nudges, rest): (Vec<Value>, Vec<Value>) = events.into_iter().partition(|e| e["type"] == "charge.refunded");
    for event in &rest {
        b.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
    }
    // Cumulative and without ids: one of them is enough, whichever.
    b.deliver_these(&nudges[..1]).await;
    let told = settled(&b).await;
    assert_eq!((told.payment(&payment)["refunded"].as_i64(), told.open(&invoice)), (Some(6000), 6000));
    b.deliver_these(&nudges).await;
    b.deliver_these(&rest).await;
    assert_eq!(settled(&b).await.outcome(), told.outcome(), "the refunds themselves say nothing new");
}

async fn the_answers_to_a_refund(o: Options) {
    let mut b = Bundle::new(o).await;
    for answer in ["write_off", "re_bill", "resolved_elsewhere"] {
        let (customer, invoice) = b.patient(4200);
        b.sync().await;
        let payment = b.pay(&NewPayment::of(&customer, 4200));
        settled(&b).await;
        refund(&b, &payment, None);
        let told = settled(&b).await;
        let (id, answers) = open(&told, &payment, "refunded").remove(0);
        assert_eq!(answers, [Answer::ReBill, Answer::WriteOff]);
        // Until it is answered the invoice is a candidate for its own reference only.
        let waits = b.pay(&NewPayment::of(&customer, 4200));
        let told = settled(&b).await;
        assert!(told.links(&waits).is_empty(), "{answer}: re-opened is no candidate");
        match answer {
            "write_off" => {
                answered(&b, &id, Answer::WriteOff).await;
                let written_off = json!({"charge": 4200, "paid": 0, "written_off": 4200, "open": 0});
                b.standins.ehr.change("invoice", &invoice, json!({"client_share": written_off}));
                b.sync().await;
                let told = settled(&b).await;
                assert_eq!(told.open(&invoice), 0, "recognised when it comes back");
                assert!(told.links(&waits).is_empty());
            }
            "re_bill" => {
                let told = answered(&b, &id, Answer::ReBill).await;
                assert_eq!(told.links(&waits), BTreeMap::from([(invoice, (4200, 5))]), "{answer}");
            }
            _ => {
                assert_eq!(b.answer(&id, Chosen::ResolvedElsewhere).await, Answered::Done);
                b.advance(2 * 3600).await;
                let told = settled(&b).await;
                assert_eq!(told.links(&waits), BTreeMap::from([(invoice, (4200, 5))]), "{answer}");
            }
        }
        assert!(b.export().await.asked(&payment).is_empty(), "{answer}");
    }
}

async fn a_dispute_of_a_part_that_is_lost(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(9000);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 9000));
    settled(&b).await;
    let dispute = b.standins.stripe.dispute_part(&payment, 2500);
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment), told.open(&invoice)), (("decided".to_owned(), 6500, 0), 2500));
    assert_eq!((told.asked(&payment), reversals(&b)), (vec!["disputed".to_owned()], vec![("dispute".to_owned(), 2500)]));
    balance(&b, &[("68", 2500), ("80", -9000), ("91", 6500)]);
    let before = told.outcome();
    b.standins.stripe.close_dispute(&dispute, false);
    let told = settled(&b).await;
    assert_eq!(told.outcome(), before, "the money went when it was withdrawn");
    // Its fee of 15.00 stands in the row, and is posted with the payout's fees.
    b.standins.stripe.payout(&NewPayout::default());
    let told = settled(&b).await;
    assert_eq!(told.list("payouts")[0]["state"], "tied_out");
    assert_eq!(unaccounted(&b.standins, &told), Vec::<String>::new());
    assert_eq!(b.standins.quickbooks.balances().get("91"), None, "the clearing account is empty");
    let fees = vesper_standins::stripe::fee_of(9000) + 1500;
    assert_eq!(b.standins.quickbooks.balances()["66"], fees);
    let (id, _) = open(&told, &payment, "disputed").remove(0);
    let told = answered(&b, &id, Answer::WriteOff).await;
    assert!(told.all_asked().is_empty());
}

async fn a_dispute_that_is_won_is_reversed_and_re_opens_nothing(o: Options) {
    let mut b = Bundle::new(o).await;
    for keep in [false, true] {
        let (customer, invoice) = b.patient(4200);
        b.sync().await;
        let payment = b.pay(&NewPayment::of(&customer, 4200));
        settled(&b).await;
        let dispute = b.standins.stripe.dispute(&payment);
        settled(&b).await;
        b.standins.stripe.close_dispute(&dispute, true);
        let told = settled(&b).await;
        assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 4200), "it is unapplied");
        let (id, answers) = open(&told, &payment, "disputed").remove(0);
        assert_eq!(answers, [apply(&[(&invoice, 4200)]), Answer::Credit]);
        if keep {
            // Reinstated: the invoice is a candidate again, answer or not.
            let again = b.pay(&NewPayment::of(&customer, 4200));
            let told = settled(&b).await;
            assert_eq!(told.links(&again), BTreeMap::from([(invoice, (4200, 5))]));
            let told = answered(&b, &id, Answer::Credit).await;
            assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 4200));
            balance(&b, &[("80", -8400), ("91", 12_600), ("93", -4200)]);
        } else {
            let told = answered(&b, &id, answers[0].clone()).await;
            assert_eq!((told.stands(&payment), told.open(&invoice)), (("decided".to_owned(), 4200, 0), 0));
            assert_eq!(b.standins.ehr.net_by_invoice()[&invoice], 4200);
            balance(&b, &[("80", -4200), ("91", 4200)]);
        }
    }
}

async fn a_dispute_of_a_part_of_two_invoices_is_split_and_partly_reinstated(o: Options) {
    let mut b = Bundle::new(o).await;
    let (_, first, second, payment) = two_paid(&mut b, 3000, 5000).await;
    let dispute = b.standins.stripe.dispute_part(&payment, 4000);
    let told = settled(&b).await;
    let (_, answers) = open(&told, &payment, "refund_split").remove(0);
    assert_eq!(answers.len(), 2, "from the second, or from one after the other: {answers:?}");
    balance(&b, &[("68", 4000), ("80", -8000), ("91", 4000)]);
    b.standins.stripe.reinstate_part(&dispute, 1500);
    let told = settled(&b).await;
    let (id, answers) = open(&told, &payment, "refund_split").remove(0);
    assert_eq!(told.asked(&payment), ["refund_split"], "one question, about what is left of it");
    let from_first = answers.iter().find(|a| a.to_string() == format!("take_back:{first}=2500")).unwrap();
    let told = answered(&b, &id, from_first.clone()).await;
    let want = BTreeMap::from([(first.clone(), (500, 7)), (second, (5000, 7))]);
    assert_eq!((told.links(&payment), told.open(&first)), (want, 2500));
    assert_eq!(told.asked(&payment), ["disputed"]);
    balance(&b, &[("68", 2500), ("80", -8000), ("91", 5500)]);
}
