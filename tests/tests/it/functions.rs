//! The built functions under a Lambda Runtime API: an event goes in at the door, and stands in the EHR and in the books; whatever
//! fails between them and AWS, and wherever a process ends.

use jiff::Timestamp;
use serde_json::{Value, json};
use vesper_functions::export::export;
use vesper_standins::ehr;
use vesper_standins::stripe::NewPayment;
use vesper_tests::harness::{CANARIES, Told, broken};
use vesper_tests::lambda::aws::{Fault, Message};
use vesper_tests::lambda::calls::{Call, counted};
use vesper_tests::lambda::cloud::Cloud;
use vesper_tests::lambda::measured;
use vesper_tests::lambda::runtime::Outcome;

/// A client with an invoice that the product has read, and QuickBooks connected.
async fn practice(cloud: &mut Cloud) -> (String, String) {
    let stripe = &cloud.standins.stripe;
    let customer = stripe.customer(Some("zzyq.canary@example.org"), Some("Zzyqcanary Persephonequill"));
    let fields = json!({"stripe_customer_ids": [customer]});
    let client = cloud.standins.ehr.client("c_1", fields);
    let invoice = cloud.standins.ehr.invoice("inv_1", &client, 12_000, 0, json!({}));
    cloud.notice().await;
    cloud.pump().await;
    (customer, invoice)
}

async fn told(cloud: &Cloud) -> Told {
    Told(export(&cloud.store(), false).await.unwrap())
}

/// The invoice is paid once, in the EHR and in the books, and nobody is asked anything.
async fn once(cloud: &Cloud, invoice: &str, count: usize) {
    let told = told(cloud).await;
    let (ehr, books) = (cloud.standins.ehr.written(), cloud.standins.quickbooks.entries());
    assert_eq!((ehr.len(), books.len()), (count, count), "{}\n{}", told.0["effects"], cloud.logged());
    assert_eq!(told.invoice(invoice)["allocations"].as_array().map(Vec::len), Some(count), "{}", told.0);
    assert_eq!(broken(&cloud.standins, &told), Vec::<String>::new());
    assert!(told.all_asked().is_empty(), "{:?}", told.all_asked());
}

fn pay(cloud: &Cloud, customer: &str, amount: i64, invoice: &str) {
    let _ = cloud.standins.stripe.pay(&NewPayment::of(customer, amount).metadata("vesper_invoice", invoice));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_function_talks_to_an_aws_whose_root_it_trusts_and_to_no_other() {
    for trusted in [true, false] {
        let mut cloud = Cloud::new().await;
        cloud.over_tls(trusted).await;
        let (body, header) = cloud.standins.ehr.notice(ehr::DEFAULT_SECRET, Timestamp::now().as_second());
        let headers = json!({ "vesper-signature": header });
        let (status, _) = cloud.http("intake", "POST", "/webhooks/ehr", headers, &body).await;
        let heard = cloud.aws.take_calls().len();
        // Parameters over three pages, and the message; what Amazon's roots do not vouch for is told nothing at all.
        assert_eq!((status, heard > 1), if trusted { (202, true) } else { (503, false) }, "{heard} {}", cloud.logged());
        assert_eq!(heard == 0, !trusted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_goes_from_the_door_into_the_ehr_and_the_books_in_few_calls() {
    let mut cloud = Cloud::new().await;
    let (customer, invoice) = practice(&mut cloud).await;
    pay(&cloud, &customer, 3_000, &invoice);
    cloud.deliver().await;
    cloud.pump().await;
    once(&cloud, &invoice, 1).await;
    let _ = cloud.aws.take_calls();
    // The second one finds warm functions and an access token: this is what a payment costs.
    pay(&cloud, &customer, 2_000, &invoice);
    let events = cloud.standins.stripe.undelivered();
    let accepted = events.iter().filter(|e| e["type"] == "payment_intent.succeeded");
    for event in accepted {
        assert_eq!(cloud.send(event).await, 200);
    }
    cloud.pump().await;
    once(&cloud, &invoice, 2).await;
    let payment = cloud.aws.take_calls();
    let of = |function: &str| payment.iter().filter(|c| c.function == function).count();
    assert_eq!(of("intake"), 1, "{payment:?}");
    // Besides: the charge's events, a heartbeat with a seal, and a redelivery of all of it.
    cloud.deliver().await;
    cloud.pump().await;
    assert_eq!(cloud.beat().await, Outcome::Answered(Value::Null), "{}", cloud.logged());
    cloud.pump().await;
    for event in &events {
        assert_eq!(cloud.send(event).await, 200);
    }
    cloud.pump().await;
    once(&cloud, &invoice, 2).await;
    let texts = [cloud.aws.seen(), cloud.logged()].concat();
    let leaked: Vec<_> = CANARIES.iter().filter(|c| texts.contains(**c)).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    measured::check_accepted(&counted(&payment));
}

/// How a story with one fault ended.
enum End {
    /// There are fewer calls than that: nothing was struck.
    Undisturbed,
    /// All is done, once.
    Done,
    /// An effect is `sent` and its lease of 90 s runs on the real clock of the functions: visible, and nothing is done twice.
    /// What becomes of it is swept in one process, whose clock can be moved (crash.rs).
    Leased,
}

/// One whole story, with a fault at the `n`th call.
async fn struck(n: u64, fault: Fault) -> End {
    let mut cloud = Cloud::new().await;
    cloud.always_cold = true;
    let (customer, invoice) = practice(&mut cloud).await;
    pay(&cloud, &customer, 3_000, &invoice);
    cloud.aws.strike(n, fault);
    cloud.deliver().await;
    cloud.pump().await;
    let struck = cloud.aws.has_struck();
    // What a fault put off is found by the heartbeat.
    for _ in 0..3 {
        cloud.aws.release_delayed();
        cloud.pump().await;
        let _ = cloud.beat().await;
        cloud.pump().await;
    }
    let told = told(&cloud).await;
    if struck && told.list("effects").iter().any(|e| e["state"] == "sent") {
        assert!(cloud.standins.ehr.written().len() <= 1 && cloud.standins.quickbooks.entries().len() <= 1, "{}", told.0);
        assert_eq!(broken(&cloud.standins, &told), Vec::<String>::new());
        return End::Leased;
    }
    once(&cloud, &invoice, 1).await;
    if struck { End::Done } else { End::Undisturbed }
}

/// Every call of the flow is struck once, each time by another fault, and every process is cold.
async fn sweep(faults: &[Fault], first: u64, step: usize) {
    let (mut n, mut leased) = (first, 0);
    loop {
        let fault = faults[usize::try_from(n).unwrap() % faults.len()];
        match struck(n, fault).await {
            End::Done => {}
            End::Leased => leased += 1,
            End::Undisturbed => break,
        }
        n += step as u64;
    }
    assert!(n > 20, "the flow has {n} calls");
    assert!(leased <= 4, "{leased} of {n} stories ended in a lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_a_call_is_refused() {
    sweep(&[Fault::Throttled, Fault::Conflict, Fault::ServerError, Fault::LostBefore, Fault::HalfBatch], 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_an_answer_is_lost() {
    sweep(&[Fault::LostAfter, Fault::ServerErrorAfter], 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_that_cannot_be_read_does_not_hold_up_the_others() {
    let mut cloud = Cloud::new().await;
    let (customer, invoice) = practice(&mut cloud).await;
    let poison = Message { id: "poison".to_owned(), body: "{\"task\":\"EventV9\"}".to_owned(), delay_s: 0, receives: 0 };
    pay(&cloud, &customer, 3_000, &invoice);
    cloud.aws.put("events", poison);
    cloud.deliver().await;
    cloud.pump().await;
    assert_eq!(cloud.aws.queued("events-dead-letters").len(), 1, "five times, then it is a dead letter");
    assert_eq!(cloud.standins.ehr.written().len(), 1);
    assert_eq!(cloud.beat().await, Outcome::Answered(Value::Null), "{}", cloud.logged());
    let (told, letters) = (told(&cloud).await, cloud.store().dead_letters().await.unwrap());
    assert_eq!(letters.iter().map(|l| (l.queue.as_str(), l.id.as_str())).collect::<Vec<_>>(), [("events", "poison")]);
    assert_eq!(told.all_asked(), ["dead_letter"]);
    assert!(cloud.aws.queued("events-dead-letters").is_empty());
    assert!(cloud.aws.take_events().iter().any(|(n, d)| n == "review_opened" && d["reason"] == "dead_letter"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_no_time_for_comes_again() {
    let mut cloud = Cloud::new().await;
    let (customer, invoice) = practice(&mut cloud).await;
    pay(&cloud, &customer, 3_000, &invoice);
    cloud.deliver().await;
    let batch = cloud.aws.receive("events", 10);
    let record = |m: &Message| json!({ "messageId": m.id, "body": m.body });
    let event = json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() });
    let answer = cloud.invoke_within("reconcile", &event, 1_500).await.answer();
    assert_eq!(answer["batchItemFailures"].as_array().map(Vec::len), Some(batch.len()), "{answer}");
    assert!(cloud.standins.ehr.written().is_empty());
    batch.into_iter().for_each(|m| cloud.aws.put("events", m));
    cloud.pump().await;
    once(&cloud, &invoice, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_secret_is_read_at_once_and_a_forger_costs_one_reading_a_minute() {
    let mut cloud = Cloud::new().await;
    let (customer, invoice) = practice(&mut cloud).await;
    pay(&cloud, &customer, 3_000, &invoice);
    let event = cloud.standins.stripe.undelivered().remove(0);
    cloud.aws.set_parameter("/vesper/harness/STRIPE_WEBHOOK_SECRETS", "whsec_anotherSecretAltogether");
    cloud.all_cold();
    assert_eq!(cloud.send(&event).await, 400, "signed with a secret that is gone");
    let _ = cloud.aws.take_calls();
    for _ in 0..5 {
        assert_eq!(cloud.send(&event).await, 400);
    }
    assert_eq!(cloud.aws.take_calls(), Vec::<Call>::new(), "it was asked a moment ago");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_wake_ups_are_found_by_the_heartbeat() {
    let mut cloud = Cloud::new().await;
    let (customer, invoice) = practice(&mut cloud).await;
    pay(&cloud, &customer, 3_000, &invoice);
    cloud.deliver().await;
    // reconcile alone: the wake-ups of its effects are lost.
    let batch = cloud.aws.receive("events", 10);
    let record = |m: &Message| json!({ "messageId": m.id, "body": m.body });
    let event = json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() });
    assert_eq!(cloud.invoke("reconcile", &event).await.answer()["batchItemFailures"], json!([]), "{}", cloud.logged());
    for queue in ["write-back", "books"] {
        assert!(!cloud.aws.receive(queue, 10).is_empty(), "{queue}");
    }
    cloud.pump().await;
    assert!(cloud.standins.ehr.written().is_empty());
    assert_eq!(cloud.beat().await, Outcome::Answered(Value::Null), "{}", cloud.logged());
    cloud.pump().await;
    once(&cloud, &invoice, 1).await;
}

fn cookies_of(answer: &Value) -> Vec<String> {
    let all = answer["cookies"].as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned());
    all.map(|c| c.split(';').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_sees_the_questions_and_signs_out() {
    let mut cloud = Cloud::new().await;
    let issuer = cloud.issuer.clone();
    let (status, left) = cloud.browse("GET", "/review", &[], "").await;
    assert_eq!(status, 303, "{left}");
    let leaving = cookies_of(&left);
    let url = left["headers"]["location"].as_str().unwrap();
    let back = cloud.cognito.sign_in(url, &issuer);
    // Somebody else's browser, or no cookie at all, gets nothing for the same code.
    for cookies in [vec![], vec![leaving[0].replace('a', "b").replace('1', "2")]] {
        assert_eq!(cloud.browse("GET", &back, &cookies, "").await.0, 401);
    }
    let (status, came) = cloud.browse("GET", &back, &leaving, "").await;
    assert_eq!((status, came["headers"]["location"].as_str()), (303, Some("/review")), "{}", cloud.logged());
    let set = came["cookies"][0].as_str().unwrap();
    assert!(set.contains("HttpOnly; Secure; SameSite=Lax"), "{set}");
    let session = vec![cookies_of(&came)[0].clone()];
    assert_eq!(cloud.browse("GET", &back, &leaving, "").await.0, 401, "a code is good once");
    let (status, page) = cloud.browse("GET", "/review", &session, "").await;
    assert_eq!(status, 200);
    assert!(page["body"].as_str().unwrap().contains("<html") && !page["body"].as_str().unwrap().contains("<script"));
    assert_eq!(cloud.browse("POST", "/review/rev_x", &session, "answer=resolved_elsewhere&version=1").await.0, 403, "no csrf");
    assert_eq!(cloud.browse("POST", "/review/rev_x", &[], "").await.0, 401, "no session");
    let (status, out) = cloud.browse("GET", "/review/sign-out", &session, "").await;
    assert!(status == 303 && out["headers"]["location"].as_str().unwrap().contains("/logout?client_id=client-1"), "{out}");
    assert!(out["cookies"][0].as_str().unwrap().contains("Max-Age=0"), "{out}");
    assert!(!cloud.logged().contains("zzyq.canary"), "who signs in is an id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_without_its_settings_says_that_setup_has_not_run() {
    let mut cloud = Cloud::without_parameters().await;
    let answer = cloud.http("intake", "POST", "/webhooks/stripe", json!({ "stripe-signature": "t=1,v1=00" }), b"{}").await;
    assert_eq!(answer.0, 503, "Stripe sends it again");
    assert!(answer.1["body"].as_str().unwrap().contains("run vesper setup"), "{}", answer.1);
    assert_eq!(cloud.browse("GET", "/review", &[], "").await.0, 503);
    let event = json!({ "Records": [{ "messageId": "m", "body": "{}" }] });
    assert!(matches!(cloud.invoke("reconcile", &event).await, Outcome::Failed(_)), "its messages come again");
    assert!(matches!(cloud.beat().await, Outcome::Failed(_)));
    assert!(cloud.logged().contains("run `vesper setup`"), "{}", cloud.logged());
}
