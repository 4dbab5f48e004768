//! Recovery of failed cards, through the whole bundle (design.md section 5): at most one charge per invoice, always, and no card is
//! charged that the guard forbids.
//!
//! Every world begins on Monday 2026-11-23 at 08:00 of the practice, where a card fails; its rungs are Tuesday, Thursday and the next
//! Monday at 10:00.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vesper_adapters::dynamo::faults::{Fault as StoreFault, Target, When};
use vesper_functions::pause::{self, Pause};
use vesper_standins::ehr::DeskPayment;
use vesper_standins::stripe::{Decline, NewPayment, Outcome};
use vesper_standins::{Fault, FaultKind, Scripted};
use vesper_tests::harness::wire::Blow;
use vesper_tests::harness::{Bundle, Ground, Options, Told};

/// A client whose card fails at once: (customer, invoice, PaymentIntent).
type Bill = (String, String, String);

fn fails(b: &mut Bundle, amount_minor: i64, why: &Decline) -> Bill {
    let (customer, invoice) = b.patient(amount_minor);
    let payment = fails_for(b, &customer, &invoice, amount_minor, why);
    (customer, invoice, payment)
}

fn fails_for(b: &Bundle, customer: &str, invoice: &str, amount_minor: i64, why: &Decline) -> String {
    b.standins.stripe.fail(&NewPayment::of(customer, amount_minor).metadata("vesper_invoice", invoice), why)
}

fn generic() -> Decline {
    Decline::of("generic_decline")
}

/// The failures are told.
async fn heard(b: &Bundle) {
    b.sync().await;
    told_of_all(b).await;
}

/// Stripe delivers until everything is acknowledged: a table that fails is a reason to deliver again.
async fn told_of_all(b: &Bundle) {
    for _ in 0..20 {
        b.deliver().await;
        b.drain().await;
        if b.standins.stripe.undelivered().is_empty() {
            return;
        }
    }
    panic!("Stripe cannot deliver");
}

/// `days` after the first Monday, at this time in Phoenix (UTC-7).
fn at(days: i64, time: &str) -> Timestamp {
    let monday: Timestamp = format!("2026-11-23T{time}:00-07:00").parse().unwrap();
    monday.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap()
}

/// Lets the clock run until then.
async fn until(b: &Bundle, days: i64, time: &str) {
    b.advance(at(days, time).duration_since(b.now()).as_secs()).await;
    b.drain().await;
}

/// The process is down until then: nobody looks at anything.
fn down_until(b: &Bundle, days: i64, time: &str) {
    b.stack.host.move_to(at(days, time));
}

fn recovery<'t>(told: &'t Told, payment: &str) -> &'t Value {
    told.list("recoveries").iter().find(|r| r["payment"] == payment).unwrap_or(&Value::Null)
}

/// State, stop reason and own attempts.
fn stands(told: &Told, payment: &str) -> (String, String, i64) {
    let r = recovery(told, payment);
    let text = |field: &str| r[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("stop_reason"), r["attempts"].as_i64().unwrap_or(-1))
}

#[track_caller]
fn stopped(b: &Bundle, told: &Told, payment: &str, reason: &str) {
    let (state, why, _) = stands(told, payment);
    assert_eq!((state.as_str(), why.as_str()), ("stopped", reason), "{payment}: {}", recovery(told, payment));
    let asked: &[&str] = if reason == "paid" { &[] } else { &["card_failed"] };
    assert_eq!(told.asked(payment), asked, "open reviews about {payment}");
    assert!(confirms(b, payment).is_empty(), "{payment} was confirmed");
}

fn confirms(b: &Bundle, payment: &str) -> Vec<String> {
    let of = b.standins.stripe.confirms().into_iter().filter(|c| c.payment_intent == payment);
    of.map(|c| c.idempotency_key.unwrap_or_default()).collect()
}

async fn settled(b: &Bundle) -> Told {
    let told = b.settle().await;
    assert_eq!(b.broken(&told), Vec::<String>::new());
    told
}

#[track_caller]
fn recovered(b: &Bundle, told: &Told, payment: &str, invoice: &str, attempts: i64) {
    assert_eq!(stands(told, payment), ("recovered".to_owned(), String::new(), attempts), "{payment}");
    assert_eq!(b.standins.stripe.charged(payment), 1, "charges of {payment}");
    assert_eq!(told.links(payment).keys().collect::<Vec<_>>(), [invoice], "what {payment} pays");
    assert!(told.asked(payment).is_empty(), "{:?}", told.asked(payment));
}

macro_rules! on_both_grounds {
    ($($name:ident),* $(,)?) => {
        mod plain {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Options::default()).await;
            })*
        }
        mod faulty {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Options { ground: super::Ground::Faulty, ..super::Options::default() }).await;
            })*
        }
    };
}

on_both_grounds!(
    two_payment_intents_of_one_invoice_charge_it_once,
    other_money_on_its_way_stops_it,
    the_client_pays_a_second_before,
    the_guard_stops_for_each_of_its_reasons,
    an_outcome_that_is_unknown_is_asked_for,
    stripe_asks_for_patience,
    what_stripe_processes_is_waited_for,
    a_new_card_goes_on_with_what_is_left,
    what_nobody_may_collect_is_left_alone,
    a_success_whose_webhook_never_comes_is_fetched,
    a_pause_loses_its_rung,
    later_declines_end_it_for_their_own_reason,
);

async fn two_payment_intents_of_one_invoice_charge_it_once(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, invoice, first) = fails(&mut b, 4200, &generic());
    let second = fails_for(&b, &customer, &invoice, 4200, &generic());
    // The EHR takes no write-back for two days: the claim stays as long.
    b.standins.ehr.fault(Fault::new("POST /v1/payments", FaultKind::Status(Scripted::status(503))).always());
    heard(&b).await;
    until(&b, 1, "10:30").await;
    told_of_all(&b).await;
    until(&b, 1, "11:30").await;
    let told = b.export().await;
    assert_eq!(b.standins.stripe.charged(&first) + b.standins.stripe.charged(&second), 1, "charges of {invoice}");
    let (won, lost) = if b.standins.stripe.charged(&first) == 1 { (first, second) } else { (second, first) };
    assert_eq!(stands(&told, &won).0, "recovered");
    stopped(&b, &told, &lost, "paid");
    b.standins.ehr.clear_faults();
    until(&b, 8, "12:00").await;
    let told = settled(&b).await;
    recovered(&b, &told, &won, &invoice, 1);
    stopped(&b, &told, &lost, "paid");
}

async fn other_money_on_its_way_stops_it(o: Options) {
    let mut b = Bundle::new(o).await;
    let mut bills: BTreeMap<&str, Bill> = BTreeMap::new();
    for (n, name) in (0..).zip(["parked", "asked", "credit", "moved back", "silent", "processing", "capture", "older and silent"])
    {
        bills.insert(name, fails(&mut b, 4200 + n, &generic()));
    }
    let customer = |name: &str| bills[name].0.clone();
    let stripe = b.standins.stripe.clone();
    // An intent made before the failure, of which nobody has told.
    let older = stripe.intent(&NewPayment::of(&customer("older and silent"), 990));
    heard(&b).await;
    b.advance(3600).await;
    // Waits for an invoice that is not known.
    let _ = b.pay_for(&customer("parked"), 990, "inv_of_the_future");
    // More than is open: a person is asked.
    let _ = b.pay(&NewPayment::of(&customer("asked"), 9900));
    let _ = b.pay(&NewPayment::of(&customer("credit"), 990).metadata("kind", "prepayment"));
    let back = b.pay_for(&customer("moved back"), 4203, &bills["moved back"].1);
    told_of_all(&b).await;
    // A person takes an allocation back: its money is nobody's yet, and the invoice is open again.
    let id = vesper_core::ids::PaymentId::parse(&back).unwrap();
    b.settle().await;
    let rev = b.app().store.payment(&id).await.unwrap().unwrap().rev;
    vesper_functions::review::answers::take_back(b.app(), "tester", &id, rev).await.unwrap();
    b.settle().await;
    // What Stripe has not told.
    let _ = stripe.pay(&NewPayment::of(&customer("silent"), 990));
    for (name, status) in [("processing", "processing"), ("capture", "requires_capture")] {
        let other = stripe.intent(&NewPayment::of(&customer(name), 990));
        stripe.change(&other, json!({"status": status}));
    }
    stripe.complete(&older);
    until(&b, 1, "10:30").await;
    let told = b.export().await;
    for (name, (_, _, payment)) in &bills {
        assert_eq!(stands(&told, payment), ("stopped".to_owned(), "other_money".to_owned(), 0), "{name}");
        assert!(confirms(&b, payment).is_empty(), "{name}");
    }
    settled(&b).await;
}

async fn the_client_pays_a_second_before(o: Options) {
    // What a faulty table puts off is waited for, at most ten seconds a time.
    let before_s = if o.ground == Ground::Plain { 1 } else { 120 };
    let mut b = Bundle::new(o).await;
    let (_, at_the_desk, first) = fails(&mut b, 4200, &generic());
    let (_, _, second) = fails(&mut b, 4300, &generic());
    heard(&b).await;
    b.advance(at(1, "10:00").duration_since(b.now()).as_secs() - before_s).await;
    b.standins.ehr.paid_in_ehr(&DeskPayment::check(&at_the_desk, 4200));
    b.standins.stripe.complete(&second);
    until(&b, 1, "10:05").await;
    let told = b.export().await;
    stopped(&b, &told, &first, "paid");
    stopped(&b, &told, &second, "paid");
    let told = settled(&b).await;
    stopped(&b, &told, &second, "paid");
}

async fn the_guard_stops_for_each_of_its_reasons(o: Options) {
    let mut b = Bundle::new(o).await;
    let mut bills: BTreeMap<&str, (String, Bill)> = BTreeMap::new();
    for (n, name) in
        (0..).zip(["paid", "canceled", "void", "consent", "autopay", "coverage", "changed", "changed amount", "disputed"])
    {
        let (client, customer) = b.client();
        let invoice = b.bill(&client, 3000 + n);
        let payment = fails_for(&b, &customer, &invoice, 3000 + n, &generic());
        bills.insert(name, (client, (customer, invoice, payment)));
    }
    let (ehr, stripe) = (b.standins.ehr.clone(), b.standins.stripe.clone());
    let (invoice, payment) = (|name: &str| bills[name].1.1.clone(), |name: &str| bills[name].1.2.clone());
    heard(&b).await;
    ehr.paid_in_ehr(&DeskPayment::check(&invoice("paid"), 3000));
    stripe.cancel(&payment("canceled"));
    ehr.change("invoice", &invoice("void"), json!({"status": "void"}));
    ehr.change("client", &bills["consent"].0, json!({"card_consent": "revoked"}));
    ehr.change("client", &bills["autopay"].0, json!({"autopay": "on"}));
    ehr.change("client", &bills["coverage"].0, json!({"coverage": "qmb"}));
    ehr.change_charge(&invoice("changed"), 1500);
    stripe.change(&payment("changed amount"), json!({"amount": 2000}));
    // Part of it was paid by a card of another customer, before the failure, and the bank took that back.
    let other = b.customer(None);
    let part = b.pay_for(&other, 8, &invoice("disputed"));
    told_of_all(&b).await;
    stripe.dispute(&part);
    told_of_all(&b).await;
    heard(&b).await;
    until(&b, 8, "12:00").await;
    let told = settled(&b).await;
    for (name, (_, (_, _, payment))) in &bills {
        stopped(&b, &told, payment, name.split(' ').next().unwrap());
    }
}

async fn an_outcome_that_is_unknown_is_asked_for(o: Options) {
    let mut b = Bundle::new(o).await;
    let kinds = [
        FaultKind::Lost,
        FaultKind::LostAfter,
        FaultKind::NotSent,
        FaultKind::Status(Scripted::status(500)),
        FaultKind::StatusAfter(Scripted::status(500)),
        FaultKind::Late { after_s: 30 },
        FaultKind::Late { after_s: 1800 },
    ];
    let mut bills = Vec::new();
    for (n, kind) in (0..).zip(kinds) {
        let (_, invoice, payment) = fails(&mut b, 4200 + n, &generic());
        b.standins.stripe.fault(Fault::new(&format!("POST /v1/payment_intents/{payment}/confirm"), kind.clone()));
        bills.push((kind, invoice, payment));
    }
    heard(&b).await;
    until(&b, 1, "12:00").await;
    let told = settled(&b).await;
    for (kind, invoice, payment) in &bills {
        assert_eq!(confirms(&b, payment), [format!("vesper-retry-{payment}-1")], "{kind:?}");
        recovered(&b, &told, payment, invoice, 1);
    }
}

async fn stripe_asks_for_patience(o: Options) {
    let mut b = Bundle::new(o).await;
    let error = |code: &str| json!({"error": {"type": "invalid_request_error", "code": code, "message": "?"}});
    let answers = [
        Scripted::json(429, &error("rate_limit")).header("stripe-rate-limited-reason", "endpoint-rate"),
        Scripted::json(429, &error("lock_timeout")),
        Scripted::json(429, &error("rate_limit")).header("retry-after", "300"),
        Scripted::json(409, &error("idempotency_key_in_use")),
        Scripted::json(400, &error("try_later")).header("stripe-should-retry", "true"),
        Scripted::json(503, &error("api_error")).header("stripe-should-retry", "true"),
    ];
    let mut bills = Vec::new();
    for (n, answer) in (0..).zip(answers) {
        let (_, invoice, payment) = fails(&mut b, 4200 + n, &generic());
        let pattern = format!("POST /v1/payment_intents/{payment}/confirm");
        b.standins.stripe.fault(Fault::new(&pattern, FaultKind::Status(answer)).times(2));
        bills.push((invoice, payment));
    }
    // One that is refused for good is not tried again.
    let (_, _, refused) = fails(&mut b, 5000, &generic());
    let pattern = format!("POST /v1/payment_intents/{refused}/confirm");
    let never = Scripted::json(409, &error("resource_gone")).header("stripe-should-retry", "false");
    b.standins.stripe.fault(Fault::new(&pattern, FaultKind::Status(never)).always());
    heard(&b).await;
    until(&b, 1, "10:02").await;
    let impatient = b.standins.stripe.seen(&format!("POST /v1/payment_intents/{}/confirm", bills[2].1));
    assert!(impatient.len() <= 1, "Retry-After is kept: {}", impatient.len());
    until(&b, 1, "12:00").await;
    let told = settled(&b).await;
    for (invoice, payment) in &bills {
        recovered(&b, &told, payment, invoice, 1);
        let keys: std::collections::BTreeSet<String> = confirms(&b, payment).into_iter().collect();
        assert_eq!(keys.len(), 1, "{keys:?}");
    }
    assert_eq!(stands(&told, &refused), ("stopped".to_owned(), "needs_client".to_owned(), 1));
}

async fn what_stripe_processes_is_waited_for(o: Options) {
    let mut b = Bundle::new(o).await;
    let (_, good_invoice, good) = fails(&mut b, 4200, &generic());
    let (_, bad_invoice, bad) = fails(&mut b, 4300, &generic());
    let (_, _, held) = fails(&mut b, 4400, &generic());
    let (_, _, acts) = fails(&mut b, 4500, &generic());
    let stripe = b.standins.stripe.clone();
    stripe.script(&good, [Outcome::Processing]);
    stripe.script(&bad, [Outcome::Processing, Outcome::Succeed]);
    heard(&b).await;
    stripe.change(&held, json!({"status": "requires_capture"}));
    stripe.change(&acts, json!({"status": "requires_action"}));
    until(&b, 1, "14:00").await;
    let told = b.export().await;
    assert_eq!((stands(&told, &good).0.as_str(), stands(&told, &bad).0.as_str()), ("waiting", "waiting"));
    stopped(&b, &told, &acts, "needs_client");
    stripe.complete(&good);
    // Nobody tells of this one; it is asked for.
    stripe.fail_again(&bad, &generic());
    for event in stripe.events_of(&bad) {
        stripe.mark_delivered(event["id"].as_str().unwrap());
    }
    until(&b, 4, "12:00").await;
    let told = settled(&b).await;
    recovered(&b, &told, &good, &good_invoice, 1);
    recovered(&b, &told, &bad, &bad_invoice, 2);
    until(&b, 9, "12:00").await;
    let told = b.export().await;
    assert_eq!(stands(&told, &held), ("exhausted".to_owned(), String::new(), 0));
    assert_eq!(told.asked(&held), ["card_failed"]);
}

async fn a_new_card_goes_on_with_what_is_left(o: Options) {
    let mut b = Bundle::new(o).await;
    let expired = Decline::of("expired_card");
    let (customer, invoice, payment) = fails(&mut b, 4200, &expired);
    let (renewed_customer, renewed_invoice, renewed) = fails(&mut b, 4300, &expired);
    let (hard_customer, _, hard) = fails(&mut b, 4400, &Decline::of("lost_card"));
    let (bank_customer, _, bank) = fails(&mut b, 4500, &expired);
    let stripe = b.standins.stripe.clone();
    heard(&b).await;
    let told = b.export().await;
    stopped(&b, &told, &payment, "needs_client");
    until(&b, 2, "09:00").await;
    let card = stripe.card(&customer);
    stripe.renew(&stripe.card_of(&renewed_customer).unwrap());
    stripe.card(&hard_customer);
    let account = stripe.card(&bank_customer);
    stripe.change(&account, json!({"type": "us_bank_account"}));
    told_of_all(&b).await;
    let told = b.export().await;
    assert_eq!((stands(&told, &payment).0.as_str(), told.asked(&payment).len()), ("waiting", 0), "{}", recovery(&told, &payment));
    until(&b, 9, "12:00").await;
    let told = settled(&b).await;
    recovered(&b, &told, &payment, &invoice, 1);
    recovered(&b, &told, &renewed, &renewed_invoice, 1);
    stopped(&b, &told, &hard, "hard_decline");
    stopped(&b, &told, &bank, "needs_client");
    let charged = stripe.confirms().into_iter().find(|c| c.payment_intent == payment).unwrap();
    assert_eq!(charged.payment_method, card);
}

async fn what_nobody_may_collect_is_left_alone(o: Options) {
    let mut b = Bundle::new(o).await;
    let stripe = b.standins.stripe.clone();
    let mut bills = Vec::new();
    for n in 0..5 {
        bills.push(fails(&mut b, 4200 + n, &if n == 0 { Decline::of("expired_card") } else { generic() }));
    }
    stripe.owned_by_checkout(&bills[0].2);
    stripe.owned_by_checkout(&bills[1].2);
    stripe.owned_by_invoice(&bills[2].2);
    stripe.detach(&stripe.card_of(&bills[3].0).unwrap());
    // No answer forbids it, too.
    stripe.fault(Fault::new("GET /v1/checkout/sessions*", FaultKind::Status(Scripted::status(500))).skip(4).times(1));
    let guest = b.standins.stripe.fail(&NewPayment::guest(4999), &generic());
    heard(&b).await;
    stripe.clear_faults();
    // A new card changes nothing about who collects it.
    for (customer, ..) in bills.iter().take(3) {
        stripe.card(customer);
    }
    told_of_all(&b).await;
    until(&b, 9, "12:00").await;
    let told = settled(&b).await;
    for (_, _, payment) in bills.iter().take(4) {
        stopped(&b, &told, payment, "needs_client");
    }
    assert!(b.standins.stripe.confirms().iter().all(|c| c.payment_intent == bills[4].2), "only the last may be charged");
    assert_eq!(told.asked(&guest), ["card_failed"]);
    // He pays it himself: nobody need ask for another card, though there was no recovery of it.
    stripe.complete(&guest);
    told_of_all(&b).await;
    let asked = settled(&b).await.asked(&guest);
    assert!(!asked.contains(&"card_failed".to_owned()), "{asked:?}");
}

async fn a_success_whose_webhook_never_comes_is_fetched(o: Options) {
    let mut b = Bundle::new(o).await;
    let (_, invoice, payment) = fails(&mut b, 4200, &generic());
    heard(&b).await;
    until(&b, 1, "10:30").await;
    for event in b.standins.stripe.undelivered() {
        b.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
    }
    until(&b, 1, "13:00").await;
    let told = settled(&b).await;
    recovered(&b, &told, &payment, &invoice, 1);
}

async fn a_pause_loses_its_rung(o: Options) {
    let mut b = Bundle::new(o).await;
    let (_, invoice, payment) = fails(&mut b, 4200, &generic());
    heard(&b).await;
    until(&b, 1, "09:00").await;
    pause::set(b.app(), Pause::Retries).await.unwrap();
    until(&b, 2, "00:30").await;
    pause::set(b.app(), Pause::None).await.unwrap();
    until(&b, 3, "09:00").await;
    assert!(confirms(&b, &payment).is_empty(), "the rung of a pause is not made up");
    until(&b, 3, "10:30").await;
    let told = settled(&b).await;
    recovered(&b, &told, &payment, &invoice, 1);
}

async fn later_declines_end_it_for_their_own_reason(o: Options) {
    let mut b = Bundle::new(o).await;
    let blocked = Decline { blocked: true, ..generic() };
    let mut bills = Vec::new();
    for (n, (why, reason, asks)) in (0..).zip([
        (Decline::of("a_code_of_the_future"), "needs_client", "unknown_decline"),
        (blocked, "hard_decline", "card_failed"),
        (Decline::of("authentication_required"), "needs_client", "card_failed"),
        (generic().advice(None).network_advice("03"), "hard_decline", "card_failed"),
    ]) {
        let (_, _, payment) = fails(&mut b, 4200 + n, &generic());
        b.standins.stripe.script(&payment, [Outcome::Decline(why)]);
        bills.push((payment, reason, asks));
    }
    // The first failure's own verdict stands, also when the client tries again.
    let (_, _, unknown) = fails(&mut b, 4300, &Decline::of("a_code_of_the_future"));
    heard(&b).await;
    b.advance(60).await;
    b.standins.stripe.fail_again(&unknown, &generic());
    told_of_all(&b).await;
    until(&b, 9, "12:00").await;
    let told = settled(&b).await;
    for (payment, reason, asks) in &bills {
        assert_eq!(stands(&told, payment), ("stopped".to_owned(), (*reason).to_owned(), 1), "{payment}");
        assert_eq!(told.asked(payment), [*asks], "{payment}");
    }
    assert_eq!((recovery(&told, &unknown), told.asked(&unknown)), (&Value::Null, vec!["unknown_decline".to_owned()]));
    // The question falls away when the client pays after all.
    b.standins.stripe.complete(&unknown);
    b.standins.stripe.complete(&bills[0].0);
    let told = settled(&b).await;
    assert!(told.asked(&unknown).is_empty() && told.asked(&bills[0].0).is_empty(), "{:?}", told.all_asked());
    assert_eq!(stands(&told, &bills[0].0).1, "paid");
}

// -------------------------------------------------------------------- outages and crashes

#[tokio::test]
async fn a_stack_that_is_down_makes_nothing_up() {
    for (back, time, confirmed, state) in
        [(8, "12:00", 0, "exhausted"), (6, "12:00", 1, "recovered"), (3, "18:00", 1, "recovered")]
    {
        let mut b = Bundle::new(Options { by_hand: true, ..Options::default() }).await;
        let (_, _, payment) = fails(&mut b, 4200, &generic());
        heard(&b).await;
        down_until(&b, back, time);
        b.kill_and_restart().await;
        for _ in 0..20 {
            b.deliver().await;
            b.drain().await;
            if !b.step().await {
                break;
            }
        }
        let told = b.export().await;
        assert_eq!((confirms(&b, &payment).len(), stands(&told, &payment).0.as_str()), (confirmed, state), "back on day {back}");
        let asked: &[&str] = if confirmed == 0 { &["card_failed"] } else { &[] };
        assert_eq!(told.asked(&payment), asked);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadow_mode_looks_once_a_day_and_charges_nothing() {
    let mut b = Bundle::new(Options { shadow: true, ..Options::default() }).await;
    let (_, _, payment) = fails(&mut b, 4200, &generic());
    heard(&b).await;
    until(&b, 1, "10:30").await;
    assert_eq!(recovery(&b.export().await, &payment)["next_at"], at(2, "00:00").to_string());
    until(&b, 9, "12:00").await;
    let told = b.export().await;
    assert_eq!((stands(&told, &payment).0.as_str(), told.asked(&payment)), ("exhausted", vec!["card_failed".to_owned()]));
    assert!(b.standins.stripe.seen("POST *").is_empty());
}

/// A card that fails, is declined on its first rung and charged on its second, by hand: every call can be counted.
async fn sweep_world() -> (Bundle, Bill) {
    let mut b = Bundle::new(Options { by_hand: true, ..Options::default() }).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = fails_for(&b, &customer, &invoice, 4200, &generic());
    b.standins.stripe.script(&payment, [Outcome::Decline(generic())]);
    (b, (customer, invoice, payment))
}

/// Lets everything happen, or as much as a dead process can.
async fn run(b: &Bundle, payment: &str, case: &str) -> Option<Told> {
    for _ in 0..80 {
        if b.wire.is_dead() {
            return None;
        }
        b.deliver().await;
        b.drain().await;
        if b.wire.is_dead() {
            return None;
        }
        let told = vesper_functions::export::export(&b.app().store, false).await.ok().map(Told);
        if let Some(told) = told {
            let over = !matches!(stands(&told, payment).0.as_str(), "waiting" | "");
            let quiet = b.standins.stripe.undelivered().is_empty() && told.waiting() == 0;
            if over && quiet && b.stack.queues.next_visible().is_none() {
                return Some(told);
            }
        }
        let next = b.app().store.next_due(b.now()).await.ok().flatten();
        // The heartbeat comes every minute, also when the last one failed before it woke what was due.
        let minute = b.now().checked_add(jiff::SignedDuration::from_secs(60)).unwrap();
        let next = [next, b.stack.queues.next_visible()].into_iter().flatten().min().unwrap_or(minute);
        b.stack.host.move_to(next);
        let _ = b.stack.beat().await;
    }
    let told = vesper_functions::export::export(&b.app().store, false).await.unwrap();
    let due = b.app().store.next_due(b.now()).await;
    panic!("{case}: {payment} does not come to an end at {}: next due {due:?}, {}", b.now(), told["recoveries"]);
}

/// After the blow the process is made again if it died; then at most one charge, and never a silent end.
async fn survives(mut b: Bundle, bill: &Bill, case: &str) {
    let (_, invoice, payment) = bill;
    let told = match run(&b, payment, case).await {
        Some(told) => told,
        None => {
            b.kill_and_restart().await;
            run(&b, payment, case).await.unwrap_or_else(|| panic!("{case}: dead twice"))
        }
    };
    assert_eq!(b.broken(&told), Vec::<String>::new(), "{case}");
    let charged = b.standins.stripe.charged(payment);
    let keys = confirms(&b, payment);
    match stands(&told, payment).0.as_str() {
        "recovered" => {
            assert_eq!((charged, b.standins.ehr.written().len()), (1, 1), "{case}");
            assert_eq!(told.links(payment).keys().collect::<Vec<_>>(), [invoice], "{case}");
            let want = [1, 2].map(|n| format!("vesper-retry-{payment}-{n}"));
            assert_eq!(keys, want, "{case}: each attempt was made once");
        }
        // Nobody could say who owns it: no answer forbids the retry.
        "stopped" => {
            assert!(case.contains("outside"), "{case}: {}", recovery(&told, payment));
            assert_eq!((charged, keys.len(), told.asked(payment)), (0, 0, vec!["card_failed".to_owned()]), "{case}");
        }
        other => panic!("{case}: {other} {}", recovery(&told, payment)),
    }
}

async fn calls_of_the_whole_flow() -> (u64, u64) {
    let (b, bill) = sweep_world().await;
    b.wire.start_counting();
    let told = run(&b, &bill.2, "undisturbed").await.unwrap();
    recovered(&b, &told, &bill.2, &bill.1, 2);
    (b.faults.calls(&Target::Any), b.wire.calls())
}

async fn sweep_table(fault: Option<StoreFault>) {
    let (calls, _) = calls_of_the_whole_flow().await;
    assert!(calls > 40, "{calls}");
    for k in 1..=calls {
        let (b, bill) = sweep_world().await;
        b.wire.start_counting();
        match fault {
            Some(fault) => b.faults.script(Target::Any, When::Call(k), fault),
            None => b.wire.die_at_store_call(k),
        }
        survives(b, &bill, &format!("{fault:?} at call {k} of {calls} to the table")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_dies_at_each_call_to_the_table() {
    sweep_table(None).await;
}

#[tokio::test]
async fn each_call_to_the_table_is_refused_once() {
    sweep_table(Some(StoreFault::ServerError)).await;
}

#[tokio::test]
async fn each_answer_of_the_table_is_lost_once() {
    sweep_table(Some(StoreFault::LostAnswer)).await;
}

#[tokio::test]
async fn each_call_to_an_outside_system_fails_or_is_the_last() {
    let (_, calls) = calls_of_the_whole_flow().await;
    assert!(calls > 10, "{calls}");
    for k in 1..=calls {
        for blow in Blow::ALL {
            let (b, bill) = sweep_world().await;
            b.wire.start_counting();
            b.wire.strike(k, blow);
            survives(b, &bill, &format!("{blow:?} at call {k} of {calls} to an outside system")).await;
        }
    }
}

// -------------------------------------------------------------------- many at once

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_due_in_the_same_minute_charge_each_invoice_once() {
    let mut b = Bundle::new(Options::default()).await;
    // Two PaymentIntents for each of five hundred invoices.
    let mut invoices = BTreeMap::new();
    for n in 0..500 {
        let (customer, invoice, first) = fails(&mut b, 2000 + n, &generic());
        let second = fails_for(&b, &customer, &invoice, 2000 + n, &generic());
        invoices.insert(invoice, [first, second]);
    }
    heard(&b).await;
    let started = std::time::Instant::now();
    until(&b, 1, "12:00").await;
    b.deliver().await;
    let told = settled(&b).await;
    let took_s = started.elapsed().as_secs();
    assert!(took_s < 300, "{took_s} s");
    for (invoice, payments) in &invoices {
        let charged: usize = payments.iter().map(|p| b.standins.stripe.charged(p)).sum();
        assert_eq!(charged, 1, "charges of {invoice}");
        let states: std::collections::BTreeSet<String> = payments.iter().map(|p| stands(&told, p).0).collect();
        assert_eq!(states, ["recovered".to_owned(), "stopped".to_owned()].into(), "{invoice}");
        assert_eq!(told.open(invoice), 0, "{invoice}");
    }
}
