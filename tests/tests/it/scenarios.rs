//! What a practice's day brings, in process, once on a table that answers and once on one that lags, conflicts, throttles and
//! loses answers. After each story the invariants hold.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use vesper_core::review::Answer;
use vesper_functions::dead_letters;
use vesper_functions::pause::Pause;
use vesper_functions::review::answers::{Answered, Chosen};
use vesper_standins::ehr::{Capabilities, DeskPayment};
use vesper_standins::quickbooks::{Rotation, scripted_fault};
use vesper_standins::stripe::NewPayment;
use vesper_standins::{Fault, FaultKind, Scripted};
use vesper_tests::harness::{Bundle, CANARIES, Ground, Options, Told};

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;
const JOURNAL: &str = "POST /v3/company/*/journalentry";

/// Tells a story on a ground, and looks at the invariants at its end.
pub(crate) async fn tell(ground: Ground, story: impl AsyncFnOnce(Options)) {
    story(Options { ground, ..Options::default() }).await;
}

/// Each story once on a table that answers and once on one that lags, conflicts and loses answers.
macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        mod plain {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::tell(super::Ground::Plain, super::$name).await;
            })*
        }
        mod faulty {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::tell(super::Ground::Faulty, super::$name).await;
            })*
        }
    };
}

pub(crate) use stories;

stories!(
    a_copay_is_written_once_and_posted_once,
    the_same_event_many_times_changes_nothing,
    a_part_and_then_the_rest,
    the_insurance_pays_its_own_share,
    a_refund_before_its_payment,
    a_failure_told_after_the_success,
    a_payment_waits_for_its_invoice,
    a_guarantor_pays_and_e_mails_link_only_when_unique,
    the_ehr_is_down_for_an_hour,
    a_lost_answer_of_the_ehr_is_asked_for_by_reference,
    a_bridge_without_idempotent_writes_is_looked_at_twice,
    an_ehr_that_refuses_for_good_asks_a_person,
    the_books_lose_answers_and_fault_on_200,
    a_closed_period_moves_the_entry_to_the_first_open_day,
    tokens_rotate_and_a_lost_connection_comes_back,
    a_voided_invoice_turns_into_credit,
    a_lowered_charge_turns_into_credit,
    the_ehr_had_our_payment_before_us,
    the_ehr_shows_our_payment_elsewhere,
    a_charge_alone_is_fetched_after_an_hour,
    a_charge_without_an_intent_is_a_payment,
    unreadable_events_become_questions,
    refunds_partial_several_pending_and_failed,
    a_refund_of_several_allocations_is_split_by_a_person,
    disputes_withdrawn_and_reinstated,
    a_refund_of_a_parked_payment,
    a_refund_of_a_payment_that_is_asked_about,
    money_older_than_go_live_is_left_alone,
    shadow_mode_writes_nothing_anywhere,
    pauses_hold_postings_or_everything,
    an_answer_moves_the_money,
    another_currency_and_conflicting_references_are_asked_about,
    a_changed_payment_is_asked_about,
    work_goes_on_after_a_restart,
);

// -------------------------------------------------------------------- what the stories say

/// The payment pays exactly these invoices by this rule: in the export, and in the EHR once each.
#[track_caller]
pub(crate) fn paid(b: &Bundle, told: &Told, payment: &str, rule: i64, amounts: &[(&str, i64)]) {
    let want: BTreeMap<String, (i64, i64)> = amounts.iter().map(|(i, n)| ((*i).to_owned(), (*n, rule))).collect();
    assert_eq!((told.links(payment), told.payment(payment)["state"].as_str()), (want, Some("decided")), "{payment}");
    for (invoice, amount) in amounts {
        let of = |p: &&Value| p["invoice_id"] == *invoice && p["amount"] == *amount;
        assert_eq!(b.standins.ehr.written().iter().filter(of).count(), 1, "EHR payments of {amount} on {invoice}");
    }
}

/// Nothing of the payment was applied, and a person is asked this.
#[track_caller]
pub(crate) fn asked(told: &Told, payment: &str, reason: &str) {
    assert!(told.links(payment).is_empty(), "{payment} was applied: {:?}", told.links(payment));
    assert_eq!(told.asked(payment), [reason], "open reviews about {payment}");
}

pub(crate) fn balance(b: &Bundle, want: &[(&str, i64)]) {
    let want: BTreeMap<String, i64> = want.iter().map(|(a, n)| ((*a).to_owned(), *n)).collect();
    assert_eq!(b.standins.quickbooks.balances(), want, "the books");
}

#[track_caller]
pub(crate) fn sound(b: &Bundle, told: &Told) {
    assert_eq!(b.broken(told), Vec::<String>::new());
}

pub(crate) async fn settled(b: &Bundle) -> Told {
    let told = b.settle().await;
    sound(b, &told);
    told
}

// -------------------------------------------------------------------- matching

async fn a_copay_is_written_once_and_posted_once(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    let invoice = b.bill_with(&client, 4200, 10_800, json!({}));
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    assert_eq!(told.invoice(&invoice)["settled"], false);
    let untouched = json!({"charge": 10_800, "paid": 0, "written_off": 0, "open": 10_800});
    assert_eq!(told.invoice(&invoice)["payer_share"], untouched);
    balance(&b, &[("80", -4200), ("91", 4200)]);
    assert_eq!(b.standins.quickbooks.entries()[0].txn_date.to_string(), "2026-11-23");
    let (customer, second) = b.patient(15_000);
    b.standins.ehr.change("invoice", &second, json!({"category": "self_pay"}));
    b.sync().await;
    let payment = b.pay_for(&customer, 15_000, &second);
    let told = settled(&b).await;
    paid(&b, &told, &payment, 3, &[(&second, 15_000)]);
    assert_eq!(told.invoice(&second)["settled"], true);
    balance(&b, &[("79", -15_000), ("80", -4200), ("91", 19_200)]);
}

async fn the_same_event_many_times_changes_nothing(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    b.standins.stripe.emit("payment_intent.succeeded", &payment, None);
    let events = b.standins.stripe.undelivered();
    for _ in 0..3 {
        b.deliver_these(&events).await;
    }
    let before = settled(&b).await;
    b.restart().await;
    b.deliver_these(&events).await;
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    assert_eq!((b.standins.ehr.written().len(), b.standins.quickbooks.entries().len()), (1, 1));
    assert_eq!(told.outcome(), before.outcome());
}

async fn a_part_and_then_the_rest(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(10_000);
    b.sync().await;
    let part = b.pay(&NewPayment::of(&customer, 4000).metadata("ehr_invoice_id", &invoice));
    let told = settled(&b).await;
    paid(&b, &told, &part, 3, &[(&invoice, 4000)]);
    assert_eq!(told.open(&invoice), 6000);
    let rest = b.pay(&NewPayment::of(&customer, 6000));
    let told = settled(&b).await;
    paid(&b, &told, &rest, 5, &[(&invoice, 6000)]);
    assert_eq!((told.open(&invoice), told.invoice(&invoice)["settled"].as_bool()), (0, Some(true)));
    balance(&b, &[("80", -10_000), ("91", 10_000)]);
}

async fn the_insurance_pays_its_own_share(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    let invoice = b.bill_with(&client, 4200, 10_800, json!({}));
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    settled(&b).await;
    b.standins.ehr.paid_in_ehr(&DeskPayment::insurance(&invoice, 9000, 1800));
    b.sync().await;
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    let i = told.invoice(&invoice);
    assert_eq!(i["payer_share"], json!({"charge": 10_800, "paid": 9000, "written_off": 1800, "open": 0}));
    assert_eq!((i["settled"].as_bool(), i["payer_payments"][0]["amount"].as_i64()), (Some(true), Some(9000)));
    assert_eq!((b.standins.quickbooks.entries().len(), b.standins.ehr.written().len()), (1, 1));
}

async fn a_refund_before_its_payment(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    b.standins.stripe.refund(&payment, None, Value::Null, "succeeded");
    let mut events = b.standins.stripe.undelivered();
    events.reverse();
    b.deliver_these(&events[..3]).await;
    assert!(b.export().await.links(&payment).is_empty(), "applied before the payment came");
    b.deliver_these(&events[3..]).await;
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 0));
    assert_eq!((told.payment(&payment)["refunded"].as_i64(), told.open(&invoice)), (Some(4200), 4200));
    assert_eq!(told.all_asked(), ["refunded"]);
    balance(&b, &[("67", 4200), ("80", -4200)]);
}

async fn a_failure_told_after_the_success(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(5000);
    b.sync().await;
    let new = NewPayment::of(&customer, 5000).metadata("vesper_invoice", &invoice);
    let payment = b.standins.stripe.fail(&new, &vesper_standins::stripe::Decline::of("generic_decline"));
    b.standins.stripe.complete(&payment);
    let mut events = b.standins.stripe.undelivered();
    events.reverse();
    b.deliver_these(&events).await;
    settled(&b).await;
    b.advance(10 * DAY_S).await;
    let told = settled(&b).await;
    paid(&b, &told, &payment, 3, &[(&invoice, 5000)]);
    assert_eq!(b.standins.stripe.charged(&payment), 1);
    assert!(b.standins.stripe.confirms().is_empty(), "a confirm although it had succeeded");
}

async fn a_payment_waits_for_its_invoice(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    let (_, lonely) = b.client();
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    let never = b.pay(&NewPayment::of(&lonely, 7700));
    let told = settled(&b).await;
    for waiting in [&payment, &never] {
        assert_eq!(told.payment(waiting)["state"], "parked");
        assert!(told.reviews(waiting).is_empty());
    }
    balance(&b, &[("91", 11_900), ("92", -11_900)]);
    b.advance(20 * HOUR_S).await;
    let invoice = b.bill(&client, 4200);
    b.sync().await;
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    let mut dates: Vec<String> = b.standins.quickbooks.entries().iter().map(|e| e.txn_date.to_string()).collect();
    dates.sort();
    assert_eq!(dates, ["2026-11-23", "2026-11-23", "2026-11-24"], "of the charges, and of the later decision");
    b.advance(30 * HOUR_S).await;
    let told = settled(&b).await;
    asked(&told, &never, "no_invoice");
    balance(&b, &[("80", -4200), ("91", 11_900), ("92", -7700)]);
}

async fn a_guarantor_pays_and_e_mails_link_only_when_unique(o: Options) {
    let (twice, shared, alone) =
        ("zzyq.canary.twice@phi.example", "zzyq.canary.shared@phi.example", "zzyq.canary.alone@phi.example");
    let mut b = Bundle::prepared(o, |s| {
        // On the second page of what Stripe lists.
        s.stripe.customer(Some(twice), None);
        for _ in 0..120 {
            s.stripe.customer(None, None);
        }
    })
    .await;
    let (parent, customer) = b.client();
    let child = b.client_of(json!({"guarantor_id": parent}));
    let of_child = b.bill(&child, 6000);
    for _ in 0..2 {
        let one = b.client_of(json!({"emails": [shared]}));
        b.bill(&one, 5100);
    }
    let lone = b.client_of(json!({"emails": [alone]}));
    let of_lone = b.bill(&lone, 5200);
    let double = b.client_of(json!({"emails": [twice]}));
    b.bill(&double, 5300);
    b.sync().await;
    let of_parent = b.pay(&NewPayment::of(&customer, 6000));
    let mut pay_as = |email: &str, amount: i64| {
        let customer = b.customer(Some(email));
        b.pay(&NewPayment::of(&customer, amount))
    };
    let (of_shared, of_alone, of_twice) = (pay_as(shared, 5100), pay_as(alone, 5200), pay_as(twice, 5300));
    settled(&b).await;
    b.advance(49 * HOUR_S).await;
    let told = settled(&b).await;
    paid(&b, &told, &of_parent, 5, &[(&of_child, 6000)]);
    paid(&b, &told, &of_alone, 5, &[(&of_lone, 5200)]);
    asked(&told, &of_shared, "unknown_client");
    asked(&told, &of_twice, "unknown_client");
}

async fn another_currency_and_conflicting_references_are_asked_about(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    let (_, strange) = b.patient(4300);
    let (other, void) = b.patient(4400);
    b.standins.ehr.change("invoice", &void, json!({"status": "void"}));
    b.sync().await;
    let cad = b.pay(&NewPayment::of(&customer, 4200).currency("cad"));
    let two = b.pay(
        &NewPayment::of(&customer, 4200).metadata("vesper_invoice", &invoice).metadata("vesper_session", &format!("s_{strange}")),
    );
    let not_his = b.pay_for(&customer, 4300, &strange);
    let voided = b.pay_for(&other, 4400, &void);
    let told = settled(&b).await;
    for (payment, reason) in
        [(&cad, "currency"), (&two, "reference_conflict"), (&not_his, "reference_conflict"), (&voided, "void_invoice")]
    {
        asked(&told, payment, reason);
    }
    let once = b.pay_for(&customer, 4200, &invoice);
    let told = settled(&b).await;
    paid(&b, &told, &once, 3, &[(&invoice, 4200)]);
    let again = b.pay_for(&customer, 4200, &invoice);
    let told = settled(&b).await;
    asked(&told, &again, "already_settled");
}

async fn a_changed_payment_is_asked_about(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    b.standins.stripe.change(&payment, json!({"amount": 9900, "amount_received": 9900}));
    b.standins.stripe.emit("payment_intent.succeeded", &payment, None);
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    assert_eq!(told.asked(&payment), ["changed_payment"]);
}

async fn work_goes_on_after_a_restart(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    b.standins.ehr.fault(Fault::new("POST *", FaultKind::Status(Scripted::status(503))).times(2));
    b.standins.quickbooks.fault(Fault::new(JOURNAL, FaultKind::Lost));
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    b.deliver().await;
    b.restart().await;
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    assert_eq!((b.standins.ehr.written().len(), b.standins.quickbooks.entries().len()), (1, 1));
}

// -------------------------------------------------------------------- the EHR fails

async fn the_ehr_is_down_for_an_hour(o: Options) {
    let mut b = Bundle::new(o).await;
    let bills: Vec<_> = (0..6).map(|i| b.patient(2000 + i)).collect();
    b.sync().await;
    b.standins.ehr.fault(Fault::new("*", FaultKind::Lost).times(2));
    b.standins.ehr.fault(Fault::new("*", FaultKind::Status(Scripted::status(500))).always());
    let payments: Vec<String> = bills.iter().zip(2000..).map(|((c, i), amount)| b.pay_for(c, amount, i)).collect();
    b.deliver().await;
    b.drain().await;
    b.advance(HOUR_S).await;
    let told = b.export().await;
    let waits = told.list("effects").iter().filter(|e| e["kind"] == "write_back" && e["state"] != "done").count();
    assert_eq!((b.standins.ehr.written().len(), waits), (0, 6), "(written, visible as waiting)");
    b.standins.ehr.clear_faults();
    let told = settled(&b).await;
    for ((payment, (_, invoice)), amount) in payments.iter().zip(&bills).zip(2000..) {
        paid(&b, &told, payment, 3, &[(invoice, amount)]);
    }
    assert_eq!((b.standins.ehr.written().len(), told.list("dead_letters").len()), (6, 0));
}

async fn a_lost_answer_of_the_ehr_is_asked_for_by_reference(o: Options) {
    let mut b = Bundle::new(o).await;
    for (kind, amount) in [FaultKind::LostAfter, FaultKind::StatusAfter(Scripted::status(502))].into_iter().zip(2000..) {
        let (customer, invoice) = b.patient(amount);
        b.sync().await;
        b.standins.ehr.fault(Fault::new("POST /v1/payments", kind));
        let payment = b.pay(&NewPayment::of(&customer, amount));
        let told = settled(&b).await;
        paid(&b, &told, &payment, 5, &[(&invoice, amount)]);
        let reference = b.standins.ehr.written().last().unwrap()["reference"].as_str().unwrap().to_owned();
        let posts =
            b.standins.ehr.seen("POST /v1/payments").into_iter().filter(|r| r.header("idempotency-key") == Some(&reference));
        assert_eq!(posts.count(), 1, "repeated although it had been done");
        assert!(!b.standins.ehr.seen(&format!("GET /v1/payments/by-reference/{reference}")).is_empty(), "never asked for");
    }
}

async fn a_bridge_without_idempotent_writes_is_looked_at_twice(o: Options) {
    let can = Capabilities { idempotent_writes: false, writes_payments: true, reverses_payments: true };
    let mut b = Bundle::prepared(o, |s| s.ehr.set_capabilities(can)).await;
    for (kind, amount) in [FaultKind::Late { after_s: 100 }, FaultKind::Lost].into_iter().zip(2000..) {
        let (customer, invoice) = b.patient(amount);
        b.sync().await;
        b.standins.ehr.fault(Fault::new("POST /v1/payments", kind));
        let payment = b.pay(&NewPayment::of(&customer, amount));
        let told = settled(&b).await;
        paid(&b, &told, &payment, 5, &[(&invoice, amount)]);
    }
    let posts = b.standins.ehr.seen("POST /v1/payments");
    assert_eq!(posts.len(), 3, "one was applied late, one was lost and sent again");
    assert!(posts[2].at.duration_since(posts[1].at).as_secs() >= 360, "sent again too early");
}

async fn an_ehr_that_refuses_for_good_asks_a_person(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(5000);
    b.sync().await;
    // Somebody pays at the desk, and the feed has not told yet.
    b.standins.ehr.paid_in_ehr(&DeskPayment::check(&invoice, 3000));
    let payment = b.pay(&NewPayment::of(&customer, 5000));
    let told = b.settle().await;
    assert_eq!(told.all_asked(), ["write_back_refused"]);
    assert_eq!((told.stands(&payment).1, b.standins.ehr.written().len()), (5000, 0), "the allocation stands");
    sound(&b, &told);
    let review = told.list("reviews")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(b.answer(&review, Chosen::Offered(Answer::Undo)).await, Answered::Done);
    let told = b.settle().await;
    assert_eq!(told.stands(&payment), ("review".to_owned(), 0, 5000));
    assert_eq!(told.asked(&payment), ["no_invoice"]);
    balance(&b, &[("91", 5000), ("92", -5000)]);
    assert!(told.list("effects").iter().all(|e| e["state"] != "failed"), "{}", told.0["effects"]);
}

// -------------------------------------------------------------------- the books fail

async fn the_books_lose_answers_and_fault_on_200(o: Options) {
    let mut b = Bundle::new(o).await;
    let throttled = scripted_fault("3001").header("retry-after", "1");
    let kinds = [
        FaultKind::LostAfter,
        FaultKind::Status(scripted_fault("10000_on_200")),
        FaultKind::Status(throttled),
        FaultKind::Late { after_s: 120 },
        FaultKind::Lost,
        FaultKind::NotSent,
    ];
    for (n, (kind, amount)) in kinds.into_iter().zip(2000..).enumerate() {
        let (customer, invoice) = b.patient(amount);
        b.sync().await;
        let (from, name) = (b.standins.quickbooks.seen(JOURNAL).len(), kind.name());
        b.standins.quickbooks.fault(Fault::new(JOURNAL, kind));
        let payment = b.pay(&NewPayment::of(&customer, amount));
        let told = settled(&b).await;
        paid(&b, &told, &payment, 5, &[(&invoice, amount)]);
        assert_eq!(b.standins.quickbooks.entries().len(), n + 1, "after {name}");
        let calls = b.standins.quickbooks.seen(JOURNAL).split_off(from);
        if name == "lost" {
            assert_eq!(calls.len(), 2, "lost: sent again once");
            assert!(calls[1].at.duration_since(calls[0].at).as_secs() >= 360, "sent again too early");
        } else if name == "late" || name == "lost_after" {
            assert_eq!(calls.len(), 1, "{name}: adopted");
        }
    }
    assert!(b.export().await.list("postings").iter().all(|p| p["state"] == "confirmed"));
}

async fn a_closed_period_moves_the_entry_to_the_first_open_day(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    b.standins.quickbooks.set_close_date(Some("2026-11-23".parse().unwrap()));
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    let dates: Vec<String> = b.standins.quickbooks.entries().iter().map(|e| e.txn_date.to_string()).collect();
    assert_eq!(dates, ["2026-11-24"]);
}

async fn tokens_rotate_and_a_lost_connection_comes_back(o: Options) {
    let mut b = Bundle::prepared(o, |s| s.quickbooks.set_rotation(Rotation::Always)).await;
    let bills: Vec<_> = (0..9).map(|i| b.patient(2000 + i)).collect();
    b.sync().await;
    let pay = |b: &Bundle, n: usize| b.pay_for(&bills[n].0, 2000 + i64::try_from(n).unwrap(), &bills[n].1);
    let _ = pay(&b, 0);
    settled(&b).await;
    let so_far = b.standins.quickbooks.refreshes().len();
    b.standins.quickbooks.expire_access();
    for n in 1..7 {
        let _ = pay(&b, n);
    }
    settled(&b).await;
    assert_eq!(b.standins.quickbooks.refreshes()[so_far..], ["ok"], "one refresh for all");
    assert_eq!(b.standins.quickbooks.entries().len(), 7);
    b.standins.quickbooks.revoke();
    let _ = pay(&b, 7);
    b.deliver().await;
    b.drain().await;
    b.advance(2 * HOUR_S).await;
    let told = b.export().await;
    assert_eq!(told.all_asked(), ["books_reconnect"]);
    assert_eq!((b.standins.quickbooks.entries().len(), told.waiting()), (7, 1));
    sound(&b, &told);
    let token = b.standins.quickbooks.reconnect();
    b.secrets.quickbooks.as_mut().unwrap().refresh_token = vesper_adapters::personal::Secret::new(token);
    b.restart().await;
    let _ = pay(&b, 8);
    let told = settled(&b).await;
    assert_eq!(b.standins.quickbooks.entries().len(), 9);
    assert!(told.all_asked().is_empty(), "{:?}", told.all_asked());
}

// -------------------------------------------------------------------- the EHR changes its mind

async fn a_voided_invoice_turns_into_credit(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    settled(&b).await;
    b.sync().await;
    b.standins.ehr.change("invoice", &invoice, json!({"status": "void"}));
    b.sync().await;
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 4200));
    assert_eq!(told.asked(&payment), ["void_invoice"]);
    balance(&b, &[("91", 4200), ("93", -4200)]);
}

async fn a_lowered_charge_turns_into_credit(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    settled(&b).await;
    b.sync().await;
    // The insurance allows less: the EHR keeps what fits of the payment on the invoice.
    let lowered = json!({"charge": 3000, "paid": 3000, "written_off": 0, "open": 0});
    b.standins.ehr.change("invoice", &invoice, json!({"client_share": lowered}));
    b.sync().await;
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 3000, 1200));
    assert_eq!(told.invoice(&invoice)["client_share"], lowered);
    balance(&b, &[("80", -3000), ("91", 4200), ("93", -1200)]);
    assert!(b.standins.ehr.seen("POST /v1/payments/*/reversals").is_empty(), "nothing is taken back in the EHR");
}

async fn the_ehr_had_our_payment_before_us(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    b.standins.ehr.paid_in_ehr(&DeskPayment::card(&invoice, 4200, &payment));
    b.sync().await;
    let told = settled(&b).await;
    assert_eq!(told.links(&payment), BTreeMap::from([(invoice.clone(), (4200, 16))]));
    assert_eq!((b.standins.ehr.written().len(), told.all_asked().len()), (0, 0), "nothing is written back");
    balance(&b, &[("80", -4200), ("91", 4200)]);
}

async fn the_ehr_shows_our_payment_elsewhere(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    let (invoice, other) = (b.bill(&client, 4200), b.bill(&client, 9000));
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    settled(&b).await;
    b.sync().await;
    b.standins.ehr.paid_in_ehr(&DeskPayment::card(&other, 4200, &payment));
    b.sync().await;
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    assert_eq!(told.asked(&other), ["ehr_disagrees"]);
    // A person takes our payment back in the EHR: it showed it, and no longer does.
    let ours = b.standins.ehr.written()[0]["id"].as_str().unwrap().to_owned();
    b.standins.ehr.reversed_in_ehr(&ours, 4200);
    b.sync().await;
    let told = b.settle().await;
    assert_eq!(told.asked(&invoice), ["ehr_disagrees"]);
    assert_eq!(told.links(&payment), BTreeMap::from([(invoice, (4200, 5))]), "the allocation stands");
}

// -------------------------------------------------------------------- odd events

async fn a_charge_alone_is_fetched_after_an_hour(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    let events = b.standins.stripe.undelivered();
    let (charges, intents): (Vec<Value>, Vec<Value>) = events.into_iter().partition(|e| e["type"] == "charge.succeeded");
    b.deliver_these(&charges).await;
    for event in &intents {
        // Stripe thinks that it arrived.
        b.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
    }
    b.advance(50 * 60).await;
    assert!(!b.export().await.has_payment(&payment));
    b.advance(15 * 60).await;
    let told = settled(&b).await;
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    b.deliver_these(&intents).await;
    let after = settled(&b).await;
    assert_eq!(after.outcome(), told.outcome());
}

async fn a_charge_without_an_intent_is_a_payment(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let charge = b.standins.stripe.pay_by_charge(&NewPayment::of(&customer, 4200));
    let late = b.pay(&NewPayment::guest(4300).late_balance_transaction().metadata("kind", "prepayment"));
    let told = settled(&b).await;
    paid(&b, &told, &charge, 5, &[(&invoice, 4200)]);
    asked(&told, &late, "unknown_client");
}

async fn unreadable_events_become_questions(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    let good = b.standins.stripe.events_of(&payment).pop().unwrap();
    let bad = [json!(-4200), json!("4200"), json!(42.5), Value::Null, json!(9_223_372_036_854_775_808_u64), json!([4200])];
    let mut ids = Vec::new();
    for (n, amount) in bad.into_iter().enumerate() {
        let mut event = good.clone();
        let id = format!("evt_bad{n}");
        event["id"] = json!(id);
        event["data"]["object"]["id"] = json!(format!("pi_bad{n}"));
        event["data"]["object"]["amount"] = amount.clone();
        event["data"]["object"]["amount_received"] = amount;
        b.deliver_these(&[event.clone(), event]).await;
        ids.push(id);
    }
    let told = settled(&b).await;
    for id in &ids {
        assert_eq!(told.asked(id), ["unreadable_event"], "{id}");
    }
    assert_eq!(told.list("payments").len(), 1);
    paid(&b, &told, &payment, 5, &[(&invoice, 4200)]);
    for body in [&b"hello"[..], b"", b"[]", b"{}", &b"[".repeat(100_000), &[0; 50]] {
        let header = header_of(body);
        assert_eq!(vesper_functions::intake::stripe(b.app().door(), Some(&header), body).await.status, 400);
    }
    let huge = vec![b' '; 1_200_000];
    assert_eq!(vesper_functions::intake::stripe(b.app().door(), Some(&header_of(&huge)), &huge).await.status, 413);
    assert_eq!(vesper_functions::intake::stripe(b.app().door(), None, b"{}").await.status, 400);
    let mut other_mode = good.clone();
    other_mode["livemode"] = json!(true);
    assert_eq!(b.send(&other_mode).await, 200);
    assert_eq!(settled(&b).await.outcome(), told.outcome());
}

fn header_of(body: &[u8]) -> String {
    crate::contract::header(vesper_tests::harness::WEBHOOK_SECRET, jiff::Timestamp::now().as_second(), body)
}

// -------------------------------------------------------------------- refunds and disputes

async fn refunds_partial_several_pending_and_failed(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(10_000);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 10_000));
    settled(&b).await;
    b.standins.stripe.refund(&payment, Some(1000), Value::Null, "succeeded");
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).1, told.open(&invoice)), (9000, 1000));
    let pending = b.standins.stripe.refund(&payment, Some(2000), Value::Null, "pending");
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).1, told.payment(&payment)["refunded"].as_i64()), (9000, Some(1000)), "pending waits");
    b.standins.stripe.refund_becomes(&pending, "succeeded");
    b.standins.stripe.refund(&payment, Some(3000), Value::Null, "succeeded");
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).1, told.open(&invoice)), (4000, 6000));
    assert_eq!(told.asked(&payment), ["refunded"; 3]);
    balance(&b, &[("67", 6000), ("80", -10_000), ("91", 4000)]);
    b.standins.stripe.refund_becomes(&pending, "failed");
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 4000, 2000), "the money came back and is unapplied");
    // On a faulty table one may be sent again under its key.
    let reversals = b.standins.ehr.seen("POST /v1/payments/*/reversals");
    let amounts: BTreeSet<Option<i64>> = reversals.iter().map(|r| r.json()["amount"].as_i64()).collect();
    assert_eq!(amounts, [Some(1000), Some(2000), Some(3000)].into());
    assert_eq!(b.standins.ehr.written()[0]["reversed"], 6000);
}

async fn a_refund_of_several_allocations_is_split_by_a_person(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    let (first, second) = (b.bill_with(&client, 3000, 0, json!({"issued_on": "2026-11-20"})), b.bill(&client, 5000));
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 8000));
    let told = settled(&b).await;
    paid(&b, &told, &payment, 7, &[(&first, 3000), (&second, 5000)]);
    b.standins.stripe.refund(&payment, Some(1000), Value::Null, "succeeded");
    let told = settled(&b).await;
    assert_eq!(told.asked(&payment), ["refund_split"]);
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 8000, 0), "it waits for a person");
    let review = told.reviews(&payment)[0].clone();
    let offered = review["answers"][0].as_str().unwrap();
    let answer = serde_json::from_value::<Answer>(json!(offered)).unwrap();
    assert_eq!(b.answer(review["id"].as_str().unwrap(), Chosen::Offered(answer)).await, Answered::Done);
    let told = settled(&b).await;
    assert_eq!((told.stands(&payment).1, told.open(&first) + told.open(&second)), (7000, 1000));
    assert_eq!(b.standins.ehr.seen("POST /v1/payments/*/reversals").len(), 1);
    // A refund that names its invoice needs nobody.
    b.standins.stripe.refund(&payment, Some(500), json!({"vesper_invoice": second}), "succeeded");
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment).1, 6500);
    assert!(!told.asked(&payment).contains(&"refund_split".to_owned()));
}

async fn disputes_withdrawn_and_reinstated(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    settled(&b).await;
    let dispute = b.standins.stripe.dispute(&payment);
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 0));
    assert_eq!((told.payment(&payment)["disputed"].as_i64(), told.open(&invoice)), (Some(4200), 4200));
    assert_eq!(told.asked(&payment), ["disputed"]);
    balance(&b, &[("68", 4200), ("80", -4200)]);
    // The re-opened invoice is no candidate until somebody answers.
    let again = b.pay(&NewPayment::of(&customer, 4200));
    let told = settled(&b).await;
    assert!(told.links(&again).is_empty());
    b.standins.stripe.close_dispute(&dispute, true);
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 4200));
    assert_eq!((told.payment(&payment)["disputed"].as_i64(), told.asked(&payment)), (Some(0), vec!["disputed".to_owned()]));
}

async fn a_refund_of_a_parked_payment(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    b.sync().await;
    let (whole, part) = (b.pay(&NewPayment::of(&customer, 4200)), b.pay(&NewPayment::of(&customer, 6000)));
    settled(&b).await;
    b.standins.stripe.refund(&whole, None, Value::Null, "succeeded");
    b.standins.stripe.refund(&part, Some(1000), Value::Null, "succeeded");
    let told = settled(&b).await;
    assert_eq!(told.stands(&whole), ("decided".to_owned(), 0, 0), "nothing is left to decide");
    assert_eq!(told.stands(&part), ("parked".to_owned(), 0, 5000));
    assert!(told.all_asked().is_empty(), "{:?}", told.all_asked());
    balance(&b, &[("91", 5000), ("92", -5000)]);
    let invoice = b.bill(&client, 5000);
    b.sync().await;
    let told = settled(&b).await;
    paid(&b, &told, &part, 5, &[(&invoice, 5000)]);
}

async fn a_refund_of_a_payment_that_is_asked_about(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    for n in 1..=4 {
        b.bill(&client, 1000 * n);
    }
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 5000));
    let told = settled(&b).await;
    asked(&told, &payment, "ambiguous");
    b.standins.stripe.refund(&payment, None, Value::Null, "succeeded");
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 0, 0));
    assert!(told.asked(&payment).is_empty(), "{:?}", told.asked(&payment));
}

// -------------------------------------------------------------------- people

async fn money_older_than_go_live_is_left_alone(o: Options) {
    let mut b = Bundle::new(Options { go_live: Some("2026-11-24T00:00:00Z"), ..o }).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let old = b.pay(&NewPayment::of(&customer, 4200));
    let told = settled(&b).await;
    assert_eq!(told.payment(&old)["state"], "before_go_live");
    assert_eq!((b.standins.ehr.written().len(), b.standins.quickbooks.entries().len()), (0, 0));
    b.advance(2 * DAY_S).await;
    let new = b.pay(&NewPayment::of(&customer, 4200));
    b.standins.stripe.refund(&old, None, Value::Null, "succeeded");
    let told = settled(&b).await;
    paid(&b, &told, &new, 5, &[(&invoice, 4200)]);
    assert_eq!(told.asked(&old), ["refunded"], "a refund of older money is a review");
    balance(&b, &[("67", 4200), ("80", -4200)]);
}

async fn shadow_mode_writes_nothing_anywhere(o: Options) {
    let mut b = Bundle::new(Options { shadow: true, ..o }).await;
    let (customer, invoice) = b.patient(4200);
    let (other, _) = b.patient(5000);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 4200));
    let over = b.pay(&NewPayment::of(&other, 9000));
    b.standins.stripe.refund(&payment, Some(200), Value::Null, "succeeded");
    let told = b.settle().await;
    b.advance(3 * DAY_S).await;
    assert_eq!(told.links(&payment), BTreeMap::from([(invoice, (4000, 5))]), "decided all the same");
    assert_eq!(told.asked(&over), ["overpaid"]);
    let effects = told.list("effects");
    assert!(!effects.is_empty() && effects.iter().all(|e| e["shadow"] == true && e["state"] == "done"), "{effects:?}");
    let all = [b.standins.stripe.requests(), b.standins.ehr.requests(), b.standins.quickbooks.requests()].concat();
    let writes: Vec<String> = all.iter().filter(|r| r.method != "GET").map(|r| r.path.clone()).collect();
    assert!(writes.is_empty(), "{writes:?}");
    assert!(b.standins.quickbooks.refreshes().is_empty(), "the token endpoint was called");
    assert!(b.standins.refused().is_empty());
}

async fn pauses_hold_postings_or_everything(o: Options) {
    let mut b = Bundle::new(o).await;
    let bills: Vec<_> = (0..3).map(|i| b.patient(2000 + i)).collect();
    b.sync().await;
    b.pause(Pause::Postings).await;
    let first = b.pay_for(&bills[0].0, 2000, &bills[0].1);
    b.deliver().await;
    b.drain().await;
    b.advance(HOUR_S).await;
    assert_eq!((b.standins.ehr.written().len(), b.standins.quickbooks.entries().len()), (1, 0), "postings are held");
    b.pause(Pause::All).await;
    let second = b.pay_for(&bills[1].0, 2001, &bills[1].1);
    b.deliver().await;
    b.drain().await;
    b.advance(HOUR_S).await;
    let told = b.export().await;
    assert_eq!((b.standins.ehr.written().len(), b.standins.quickbooks.entries().len()), (1, 0), "all is held");
    assert_eq!(told.stands(&second).1, 2001, "deciding goes on");
    sound(&b, &told);
    b.pause(Pause::Retries).await;
    let told = settled(&b).await;
    paid(&b, &told, &first, 3, &[(&bills[0].1, 2000)]);
    paid(&b, &told, &second, 3, &[(&bills[1].1, 2001)]);
    assert_eq!(b.standins.quickbooks.entries().len(), 2);
    b.pause(Pause::None).await;
}

async fn an_answer_moves_the_money(o: Options) {
    let mut b = Bundle::new(o).await;
    let (client, customer) = b.client();
    let bills: Vec<String> = (1..=4).map(|n| b.bill(&client, 1000 * n)).collect();
    b.sync().await;
    let payment = b.pay(&NewPayment::of(&customer, 5000));
    let told = settled(&b).await;
    asked(&told, &payment, "ambiguous");
    balance(&b, &[("91", 5000), ("92", -5000)]);
    b.advance(DAY_S).await;
    let review = told.reviews(&payment)[0].clone();
    let id = review["id"].as_str().unwrap();
    assert_eq!(review["answers"].as_array().unwrap().len(), 2, "1000 + 4000 and 2000 + 3000");
    assert_eq!(b.answer(id, Chosen::OtherInvoice("no-such".to_owned())).await, Answered::UnknownInvoice);
    let answer = serde_json::from_value::<Answer>(review["answers"][0].clone()).unwrap();
    assert_eq!(b.answer(id, Chosen::Offered(answer.clone())).await, Answered::Done);
    let told = settled(&b).await;
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 5000, 0));
    assert_eq!(b.standins.ehr.net_by_invoice().values().sum::<i64>(), 5000);
    assert!(told.asked(&payment).is_empty());
    balance(&b, &[("80", -5000), ("91", 5000)]);
    assert_eq!(b.standins.quickbooks.entries().last().unwrap().txn_date.to_string(), "2026-11-24", "of the decision");
    assert_eq!(b.answer(id, Chosen::Offered(answer)).await, Answered::Stale);
    let open: i64 = bills.iter().map(|i| told.open(i)).sum();
    assert_eq!(open, 5000);
    assert_eq!(dead_letters::redrive_all(b.app()).await.unwrap(), 0);
    assert_eq!(settled(&b).await.outcome(), told.outcome());
    assert!(!told.0.to_string().contains(CANARIES[0]));
}
