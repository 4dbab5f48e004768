//! The real template, deployed with `sam deploy` to ministack: the functions as they were built, under their own roles, between the
//! stand-ins of the three outside systems. One stack, and one chapter after the other.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use vesper_core::ids::InvoiceId;
use vesper_functions::export::export;
use vesper_standins::stripe::NewPayment;
use vesper_tests::harness::{CANARIES, Told, broken};
use vesper_tests::lambda::calls::{counted, needs_by_function};
use vesper_tests::lambda::deployed::Deployed;
use vesper_tests::lambda::{measured, policy};

/// Who works on a payment; due and import run by the clock.
const ON_A_PAYMENT: [&str; 4] = ["intake", "reconcile", "write-back", "push-books"];
/// So long a message that failed is hidden, in seconds, so that five times do not take half an hour.
const HIDDEN_S: u32 = 4;

/// The client of all chapters.
struct Practice {
    stack: Deployed,
    customer: String,
    invoice: String,
    paid: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deployed_template_works_from_the_door_to_the_books() {
    let mut practice = opened().await;
    practice.a_payment_arrives_once_everywhere().await;
    practice.a_redelivery_changes_nothing().await;
    practice.a_payment_costs_what_the_cost_page_says().await;
    let reviews = practice.a_bad_message_comes_again_alone_and_becomes_a_question().await;
    practice.a_person_sends_it_back_to_work(&reviews).await;
    practice.the_schedule_finds_what_nobody_woke().await;
    let stack = &practice.stack;
    assert_eq!(stack.recorder.denied(), vec![], "a role of the template does not allow what its function does");
    let missing = policy::missing(&policy::allowed(&policy::template()), &needs_by_function(&stack.recorder.calls(0)));
    assert_eq!(missing, Vec::<String>::new());
    assert_eq!(stack.standins.refused(), Vec::<String>::new());
    let leaked: Vec<_> = CANARIES.iter().filter(|c| stack.logged().contains(**c)).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

/// A stack that has read a client with an invoice from the EHR.
async fn opened() -> Practice {
    let stack = Deployed::new().await;
    let customer = stack.standins.stripe.customer(Some("zzyq.canary@example.org"), Some("Zzyqcanary Persephonequill"));
    let client = stack.standins.ehr.client("c_1", json!({"stripe_customer_ids": [customer]}));
    let invoice = stack.standins.ehr.invoice("inv_1", &client, 50_000, 0, json!({}));
    // The beat begins the day, and asks import to read the feed, as the notice does.
    stack.beat().await;
    stack.notice().await;
    let id = InvoiceId::parse(&invoice).unwrap();
    stack.until("the invoice is read", || async { stack.store.invoice(&id).await.unwrap() }).await;
    Practice { stack, customer, invoice, paid: 0 }
}

impl Practice {
    async fn told(&self) -> Told {
        Told(export(&self.stack.store, false).await.unwrap())
    }

    /// Nothing is under way any more.
    async fn rest(&self) {
        self.stack.until("the queues come to rest", || async { self.stack.is_at_rest().await.then_some(()) }).await;
    }

    /// Somebody pays; the event of it, which nobody has delivered yet.
    fn pay(&self, amount_minor: i64) -> Value {
        let stripe = &self.stack.standins.stripe;
        let _ = stripe.pay(&NewPayment::of(&self.customer, amount_minor).metadata("vesper_invoice", &self.invoice));
        let events = stripe.undelivered();
        events.iter().for_each(|e| stripe.mark_delivered(e["id"].as_str().unwrap()));
        events.into_iter().find(|e| e["type"] == "payment_intent.succeeded").unwrap()
    }

    /// Every payment so far, this many more than before, stands once in the EHR and once in the books.
    async fn stands_once(&mut self, more: usize) -> Told {
        self.paid += more;
        let outside = &self.stack.standins;
        let counts = || (outside.ehr.written().len(), outside.quickbooks.entries().len());
        let reached = || async { (counts() >= (self.paid, self.paid)).then_some(()) };
        self.stack.until("the payment stands in the EHR and in the books", reached).await;
        self.rest().await;
        assert_eq!(counts(), (self.paid, self.paid), "{}", self.stack.logged());
        let told = self.told().await;
        assert_eq!(told.invoice(&self.invoice)["allocations"].as_array().map(Vec::len), Some(self.paid), "{}", told.0);
        // Among it: each entry is balanced, each payment of the EHR is one of ours, and nothing was recorded twice.
        assert_eq!(broken(outside, &told), Vec::<String>::new());
        told
    }

    async fn a_payment_arrives_once_everywhere(&mut self) {
        let stripe = &self.stack.standins.stripe;
        let payment = stripe.pay(&NewPayment::of(&self.customer, 3_000).metadata("vesper_invoice", &self.invoice));
        self.stack.deliver().await;
        let told = self.stands_once(1).await;
        assert_eq!(told.stands(&payment), ("decided".to_owned(), 3_000, 0));
        assert!(told.all_asked().is_empty(), "{:?}", told.all_asked());
    }

    async fn a_redelivery_changes_nothing(&mut self) {
        let before = self.told().await.outcome();
        let payment = self.told().await.list("payments")[0]["id"].as_str().unwrap().to_owned();
        for event in self.stack.standins.stripe.events_of(&payment) {
            assert_eq!(self.stack.send(&event).await, 200);
        }
        self.rest().await;
        assert_eq!(self.stands_once(0).await.outcome(), before);
    }

    /// Counted over one accepted payment on warm functions, where no heartbeat came in between.
    async fn a_payment_costs_what_the_cost_page_says(&mut self) {
        let counts = loop {
            let event = self.pay(2_000);
            let from = self.stack.recorder.calls(0).len();
            assert_eq!(self.stack.send(&event).await, 200);
            self.stands_once(1).await;
            let calls = self.stack.recorder.calls(from);
            if calls.iter().all(|c| ON_A_PAYMENT.contains(&c.function.as_str())) {
                break counted(&calls);
            }
            assert!(self.paid < 6, "something else is always at work");
        };
        assert_eq!(counts["intake sqs:SendMessage"], 1, "{counts:?}");
        measured::check_accepted(&counts);
    }

    /// On its queue a message that nobody can read, between two payments; on another queue a message that does not belong there.
    /// Their reviews, by the queue.
    async fn a_bad_message_comes_again_alone_and_becomes_a_question(&mut self) -> BTreeMap<String, String> {
        let events = [1_100, 1_200, 1_300].map(|amount| self.pay(amount));
        let stack = &self.stack;
        let source = stack.stop_source("reconcile").await;
        assert_eq!(stack.send(&events[2]).await, 200);
        let lost = stack.until("the event is on its queue", || stack.take("events")).await;
        assert_eq!(stack.send(&events[0]).await, 200);
        stack.put("events", r#"{"task":"EventV9"}"#).await;
        assert_eq!(stack.send(&events[1]).await, 200);
        for queue in ["events", "books"] {
            stack.hide(queue, HIDDEN_S).await;
        }
        stack.put("books", &lost).await;
        stack.enable(&source).await;
        let only_the_bad_one = || async {
            let written = self.stack.standins.ehr.written().len();
            (written == self.paid + 2 && self.stack.left("events").await == 1).then_some(())
        };
        stack.until("only the bad message is left", only_the_bad_one).await;
        for queue in ["events", "books"] {
            stack.hide(queue, 1).await;
        }
        for queue in ["events", "books"] {
            let gone = || async { (stack.left(queue).await == 0).then_some(()) };
            stack.until("five times, then it is a dead letter", gone).await;
        }
        for (queue, seconds) in [("events", 360), ("books", 510)] {
            stack.hide(queue, seconds).await;
        }
        stack.first_beat().await;
        assert_eq!(stack.left("events-dead-letters").await + stack.left("books-dead-letters").await, 0);
        let told = self.stands_once(2).await;
        assert_eq!(told.all_asked(), ["dead_letter", "dead_letter"]);
        let reviews = told.list("reviews").iter().filter(|r| r["reason"] == "dead_letter");
        let by_subject: BTreeMap<&str, &str> =
            reviews.map(|r| (r["subject"].as_str().unwrap(), r["id"].as_str().unwrap())).collect();
        let letters = self.stack.store.dead_letters().await.unwrap();
        letters.iter().map(|l| (l.queue.clone(), by_subject[l.id.as_str()].to_owned())).collect()
    }

    /// On the review page, after signing in.
    async fn a_person_sends_it_back_to_work(&mut self, reviews: &BTreeMap<String, String>) {
        let cookie = signed_in(&self.stack).await;
        let (status, _, page) = self.stack.browse("GET", "/review", &cookie, "").await;
        assert_eq!(status, 200);
        for (queue, answer) in [("books", "retry"), ("events", "resolved_elsewhere")] {
            let path = format!("/review/{}", reviews[queue]);
            assert!(page.contains(&path), "{page}");
            let (status, _, question) = self.stack.browse("GET", &path, &cookie, "").await;
            assert_eq!(status, 200, "{question}");
            let form = format!("answer={answer}&version={}&csrf={}", hidden(&question, "version"), hidden(&question, "csrf"));
            let (status, _, said) = self.stack.browse("POST", &path, &cookie, &form).await;
            assert_eq!(status, 303, "{said}");
        }
        // The event that nobody else knew of is worked off.
        let told = self.stands_once(1).await;
        assert!(told.all_asked().is_empty(), "{:?}", told.all_asked());
    }

    /// The wake-ups of a write-back and of a posting are lost; `rate(1 minute)` finds their rows.
    async fn the_schedule_finds_what_nobody_woke(&mut self) {
        let stack = &self.stack;
        let mut sources = Vec::new();
        for function in ["write-back", "push-books"] {
            sources.push(stack.stop_source(function).await);
        }
        let event = self.pay(2_500);
        assert_eq!(stack.send(&event).await, 200);
        for queue in ["write-back", "books"] {
            stack.until("a wake-up", || stack.take(queue)).await;
        }
        for source in &sources {
            stack.enable(source).await;
        }
        self.stands_once(1).await;
    }
}

/// The cookie of a session, after a sign-in on Cognito's pages.
async fn signed_in(stack: &Deployed) -> String {
    let header = |headers: &[(String, String)], name: &str| -> Vec<String> {
        headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone()).collect()
    };
    let cookies = |headers: &[(String, String)]| -> Vec<String> {
        header(headers, "set-cookie").iter().map(|c| c.split(';').next().unwrap().to_owned()).collect()
    };
    let (status, left, text) = stack.browse("GET", "/review", "", "").await;
    assert_eq!(status, 303, "{text}");
    let back = stack.cognito.sign_in(&header(&left, "location")[0], &stack.issuer);
    let (status, came, text) = stack.browse("GET", &back, &cookies(&left).join("; "), "").await;
    assert_eq!(status, 303, "{text}\n{}", stack.logged());
    cookies(&came).into_iter().find(|c| c.starts_with("vesper_session=")).unwrap()
}

/// The value of a hidden field.
fn hidden(page: &str, name: &str) -> String {
    let after = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("no field {name}: {page}"));
    after.split('"').next().unwrap().to_owned()
}
