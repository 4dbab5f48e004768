//! Least privilege: what the role of each function allows is what the function calls, in stories that lead through all of it.
//!
//! A permission that no story uses stands with its reason in infra/iam-implied.toml, or goes. The comparison itself is tested in
//! tests/src/lambda/policy.rs, and the bundle test runs the functions under these roles.

use jiff::Timestamp;
use serde_json::{Value, json};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredChore;
use vesper_functions::export::export;
use vesper_standins::stripe::{Decline, NewPayment, NewPayout};
use vesper_standins::{Fault, FaultKind, Scripted};
use vesper_tests::harness::{Options, Told};
use vesper_tests::lambda::aws::Message;
use vesper_tests::lambda::calls::{Call, needs_by_function};
use vesper_tests::lambda::cloud::Cloud;
use vesper_tests::lambda::policy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_allows_what_its_function_calls_and_nothing_else() {
    let mut calls: Vec<Call> = Vec::new();
    calls.extend(an_ordinary_day().await);
    calls.extend(what_fails_and_is_done_again().await);
    calls.extend(what_is_lost_and_found().await);
    calls.extend(from_shadow_to_live().await);
    let allowed = policy::allowed(&policy::template());
    assert_eq!(allowed.len(), 8, "the functions of the template");
    let wrong = policy::problems(&allowed, &needs_by_function(&calls), &policy::implied());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn client(cloud: &Cloud, name: &str) -> String {
    let customer = cloud.standins.stripe.customer(Some(&format!("{name}@example.org")), Some("Zzyqcanary Persephonequill"));
    cloud.standins.ehr.client(name, json!({"stripe_customer_ids": [customer]}));
    customer
}

fn pay(cloud: &Cloud, customer: &str, amount_minor: i64, invoice: &str) -> String {
    cloud.standins.stripe.pay(&NewPayment::of(customer, amount_minor).metadata("vesper_invoice", invoice))
}

async fn told(cloud: &Cloud) -> Told {
    Told(export(&cloud.store(), false).await.unwrap())
}

/// What stands outside is heard and worked off, and whatever was put off by a little.
async fn heard(cloud: &mut Cloud) {
    cloud.notice().await;
    cloud.deliver().await;
    for _ in 0..2 {
        cloud.pump().await;
        cloud.aws.release_delayed();
    }
    let _ = cloud.beat().await;
    cloud.pump().await;
}

/// A message that somebody puts on a queue.
fn put(cloud: &Cloud, queue: &str, body: &Value) {
    let id = format!("by-hand-{queue}");
    cloud.aws.put(queue, Message { id, body: body.to_string(), delay_s: 0, receives: 0 });
}

/// Messages that are lost on the way.
fn lose(cloud: &Cloud, queues: &[&str]) {
    for queue in queues {
        assert!(!cloud.aws.receive(queue, 10).is_empty(), "{queue}: nothing to lose");
    }
}

/// A page that a person looks at.
async fn page(cloud: &mut Cloud, cookie: &[String], path: &str) -> String {
    let (status, answer) = cloud.browse("GET", path, cookie, "").await;
    assert_eq!(status, 200, "{path}: {answer}\n{}", cloud.logged());
    answer["body"].as_str().unwrap().to_owned()
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split(before).nth(1)?.split(after).next()
}

/// Every open question of these reasons is answered: with its first button, else with an invoice.
async fn answer_all(cloud: &mut Cloud, cookie: &[String], reasons: &[&str]) {
    let told = told(cloud).await;
    let open = told.list("reviews").iter().filter(|r| r["status"] == "open");
    for review in open.filter(|r| reasons.contains(&r["reason"].as_str().unwrap())) {
        let answer = match review["answers"][0].as_str() {
            Some(first) => format!("answer={first}"),
            None => "answer=other_invoice&invoice=inv_1".to_owned(),
        };
        post(cloud, cookie, &format!("/review/{}", review["id"].as_str().unwrap()), &answer).await;
    }
}

/// A person presses a button of a form on this page.
async fn post(cloud: &mut Cloud, cookie: &[String], path: &str, answer: &str) {
    let shown = page(cloud, cookie, path).await;
    let hidden = |name: &str| between(&shown, &format!("name=\"{name}\" value=\""), "\"").unwrap_or_default().to_owned();
    let form = format!("{answer}&version={}&csrf={}", hidden("version"), hidden("csrf"));
    let (status, said) = cloud.browse("POST", path, cookie, &form).await;
    assert_eq!(status, 303, "{path} {answer}: {said}");
}

/// Payments of each kind, a failed card, a refund, disputes and a payout; and a person who looks at all of it and answers.
async fn an_ordinary_day() -> Vec<Call> {
    let mut cloud = Cloud::new().await;
    let customer = client(&cloud, "c_1");
    cloud.standins.ehr.invoice("inv_1", "c_1", 12_000, 0, json!({}));
    heard(&mut cloud).await;
    let paid = pay(&cloud, &customer, 3_000, "inv_1");
    let disputed = pay(&cloud, &customer, 2_000, "inv_1");
    // Parked until its invoice arrives; and two that nobody can place.
    let early = pay(&cloud, &customer, 4_000, "inv_2");
    let guest = cloud.standins.stripe.pay(&NewPayment::guest(1_234));
    let _ = cloud.standins.stripe.pay_by_charge(&NewPayment::of(&customer, 777));
    heard(&mut cloud).await;
    cloud.standins.ehr.invoice("inv_2", "c_1", 4_000, 0, json!({}));
    heard(&mut cloud).await;
    assert_eq!(told(&cloud).await.stands(&early).1, 4_000, "{}", cloud.logged());
    cloud.standins.stripe.refund(&paid, Some(1_000), Value::Null, "succeeded");
    let dispute = cloud.standins.stripe.dispute(&disputed);
    heard(&mut cloud).await;
    cloud.standins.stripe.close_dispute(&dispute, true);
    let payout = cloud.standins.stripe.payout(&NewPayout::default());
    cloud.standins.ehr.invoice("inv_3", "c_1", 5_000, 0, json!({}));
    heard(&mut cloud).await;
    let _ = cloud.standins.stripe.card(&customer);
    let why = Decline::of("insufficient_funds");
    let failed = cloud.standins.stripe.fail(&NewPayment::of(&customer, 5_000).metadata("vesper_invoice", "inv_3"), &why);
    heard(&mut cloud).await;
    put(&cloud, "events", &json!({"task": "RetryV1", "payment": failed}));
    heard(&mut cloud).await;
    let cookie = cloud.sign_in().await;
    let pages = ["/review", "/review/recoveries", "/review/month", "/payouts"].map(str::to_owned);
    let about =
        [format!("/payouts/{payout}"), format!("/payments/{paid}"), format!("/payments/{guest}"), format!("/payments/{failed}")];
    for path in pages.iter().chain(&about) {
        page(&mut cloud, &cookie, path).await;
    }
    let reasons = ["no_invoice", "unknown_client", "ambiguous", "overpaid", "refunded", "refund_split", "disputed"];
    answer_all(&mut cloud, &cookie, &reasons).await;
    post(&mut cloud, &cookie, &format!("/payments/{early}"), "answer=take_back").await;
    heard(&mut cloud).await;
    cloud.aws.take_calls()
}

/// The EHR refuses, QuickBooks is disconnected, a message dies: each is a question, and a person's answer does it again.
async fn what_fails_and_is_done_again() -> Vec<Call> {
    let mut cloud = Cloud::new().await;
    let customer = client(&cloud, "c_1");
    cloud.standins.ehr.invoice("inv_1", "c_1", 12_000, 0, json!({}));
    heard(&mut cloud).await;
    let refused = Fault::new("POST /v1/payments", FaultKind::Status(Scripted::status(422))).always();
    let refused = cloud.standins.ehr.fault(refused);
    cloud.standins.quickbooks.revoke();
    let _ = pay(&cloud, &customer, 3_000, "inv_1");
    put(&cloud, "books", &json!({"task": "ListCustomersV1"}));
    put(&cloud, "payouts", &json!({"task": "ListCustomersV1"}));
    put(&cloud, "write-back", &json!({"task": "ListCustomersV1"}));
    put(&cloud, "events", &json!({"task": "PayoutV1", "payout": "po_unknown"}));
    heard(&mut cloud).await;
    // A person is asked at the second refusal of the token.
    let _ = pay(&cloud, &customer, 1_500, "inv_1");
    cloud.all_cold();
    heard(&mut cloud).await;
    let cookie = cloud.sign_in().await;
    let asked = told(&cloud).await.all_asked();
    for reason in ["dead_letter", "write_back_refused"] {
        assert!(asked.iter().any(|r| r == reason), "{reason}: {asked:?}");
    }
    cloud.standins.ehr.clear_fault(refused);
    let token = cloud.standins.quickbooks.reconnect();
    cloud.aws.set_parameter("/vesper/harness/QUICKBOOKS_REFRESH_TOKEN", &token);
    answer_all(&mut cloud, &cookie, &["dead_letter", "write_back_refused"]).await;
    // Whoever finds the connection restored tells the postings that waited.
    cloud.all_cold();
    let _ = pay(&cloud, &customer, 2_000, "inv_1");
    cloud.deliver().await;
    cloud.pump().await;
    heard(&mut cloud).await;
    // And once more, where the heartbeat is the first to know.
    cloud.standins.quickbooks.revoke();
    cloud.standins.quickbooks.expire_access();
    let _ = pay(&cloud, &customer, 1_000, "inv_1");
    heard(&mut cloud).await;
    let token = cloud.standins.quickbooks.reconnect();
    cloud.aws.set_parameter("/vesper/harness/QUICKBOOKS_REFRESH_TOKEN", &token);
    cloud.all_cold();
    heard(&mut cloud).await;
    let closed = Fault::new("POST /v3/*", FaultKind::Status(Scripted::status(400))).always();
    let closed = cloud.standins.quickbooks.fault(closed);
    let _ = pay(&cloud, &customer, 500, "inv_1");
    heard(&mut cloud).await;
    cloud.standins.quickbooks.clear_fault(closed);
    answer_all(&mut cloud, &cookie, &["books_refused"]).await;
    heard(&mut cloud).await;
    cloud.aws.take_calls()
}

/// Wake-ups and webhooks that nobody got: the heartbeat and the night find them.
async fn what_is_lost_and_found() -> Vec<Call> {
    let mut cloud = Cloud::new().await;
    let customer = client(&cloud, "c_1");
    cloud.standins.ehr.invoice("inv_1", "c_1", 12_000, 0, json!({}));
    heard(&mut cloud).await;
    let _ = pay(&cloud, &customer, 3_000, "inv_1");
    cloud.deliver().await;
    let batch = cloud.aws.receive("events", 10);
    let record = |m: &Message| json!({ "messageId": m.id, "body": m.body });
    let event = json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() });
    let _ = cloud.invoke("reconcile", &event).await.answer();
    lose(&cloud, &["write-back", "books"]);
    assert_eq!(cloud.beat().await.answer(), Value::Null);
    // The webhooks of these are lost.
    let customer = client(&cloud, "c_2");
    cloud.standins.ehr.invoice("inv_2", "c_2", 8_000, 0, json!({}));
    cloud.notice().await;
    cloud.pump().await;
    let _ = pay(&cloud, &customer, 2_500, "inv_2");
    let _ = pay(&cloud, &customer, 2_600, "inv_of_nobody");
    let _ = cloud.standins.stripe.pay(&NewPayment::guest(1_234));
    let _ = cloud.standins.stripe.payout(&NewPayout::default());
    for event in cloud.standins.stripe.undelivered() {
        cloud.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
    }
    for chore in ["heal", "proof"] {
        let found = cloud.store().chore(chore).await.unwrap();
        let mut read = found.unwrap_or_else(|| Read { item: chore_of(chore), rev: 0, sealed: None });
        read.item.next_at = Some(Timestamp::now());
        cloud.store().save(&mut read).await.unwrap();
        heard(&mut cloud).await;
        let done = cloud.store().chore(chore).await.unwrap().unwrap().item;
        assert!(done.done_at.is_some(), "{done:?}\n{}", cloud.logged());
    }
    cloud.aws.take_calls()
}

fn chore_of(name: &str) -> StoredChore {
    let (next_at, lease, started_at, done_at, note) = (None, None, None, None, None);
    StoredChore { name: name.to_owned(), next_at, lease, started_at, done_at, tries: 0, note, state: Value::Null }
}

/// A practice that only looked on goes live; and then pays by rule from credit.
async fn from_shadow_to_live() -> Vec<Call> {
    let mut cloud = Cloud::new().await;
    cloud.configure(&Options { shadow: true, ..Options::default() });
    let customer = client(&cloud, "c_1");
    cloud.standins.ehr.invoice("inv_1", "c_1", 12_000, 0, json!({}));
    heard(&mut cloud).await;
    let _ = pay(&cloud, &customer, 3_000, "inv_1");
    heard(&mut cloud).await;
    cloud.configure(&Options { credit_by_rule: true, ..Options::default() });
    cloud.all_cold();
    heard(&mut cloud).await;
    let _ = pay(&cloud, &customer, 20_000, "inv_1");
    heard(&mut cloud).await;
    cloud.standins.ehr.invoice("inv_2", "c_1", 2_000, 0, json!({}));
    heard(&mut cloud).await;
    cloud.aws.take_calls()
}
