//! Whose e-mail is whose, as Stripe and the EHR tell it: what rule 14 links by, and what it must not.

use super::*;
use crate::reconcile::customers;
use vesper_adapters::dynamo::store::CUSTOMERS_LISTED;
use vesper_adapters::http::HttpRequest;
use vesper_core::event::Failure;
use vesper_core::recovery::RecoveryState;

/// Stripe says this of the customer `cus_9`, and knows a card of his; the bridge takes everything.
fn says(status: u16, email: &'static str) -> impl Fn(&HttpRequest) -> Result<(u16, String), TransportError> {
    move |request| {
        let url = &request.url;
        let answer = if url.contains("/v1/customers/") {
            return Ok((status, json!({"id": "cus_9", "object": "customer", "email": email}).to_string()));
        } else if url.contains("/v1/customers") {
            json!({"object": "list", "has_more": false, "data": [{"id": "cus_9", "object": "customer", "email": email}]})
        } else if url.contains("/v1/payment_methods/") {
            json!({"id": "pm_1", "object": "payment_method", "type": "card", "customer": "cus_9"})
        } else if url.contains("/v1/checkout/sessions") || url.contains("/v1/invoice_payments") {
            json!({"object": "list", "has_more": false, "data": []})
        } else {
            return takes(request);
        };
        Ok((200, answer.to_string()))
    }
}

impl Practice {
    /// Clients `c_a` and `c_b` with an e-mail and an invoice each; Stripe's customers are listed, and `cus_9` is none of them.
    async fn of_two(answer: impl Fn(&HttpRequest) -> Result<(u16, String), TransportError> + Send + Sync + 'static) -> Practice {
        let p = Practice::with(answer).await;
        for (client, invoice, email) in [("c_a", "inv_a", "a@example.test"), ("c_b", "inv_b", "b@example.test")] {
            p.client(client, |c| c.emails = vec![p.hash(email)]).await;
            p.bill(client, invoice, 4200, 0, |_| {}).await;
        }
        p.bench.app.store.set_meta(CUSTOMERS_LISTED, &true, 0).await.unwrap();
        p
    }

    fn hash(&self, email: &str) -> EmailHash {
        self.bench.app.projection.hasher.hash(email).unwrap()
    }

    /// A payment of `cus_9` whose receipt went to this address.
    async fn pay_with_receipt(&self, email: &str) {
        let mut success = self.success("pi_1", 4200);
        (success.customer, success.receipt_email) = (Some(cus_9()), Some(self.hash(email)));
        self.pay(success).await;
    }

    /// Stripe tells of the customer `cus_9`, `ago_s` seconds late.
    async fn customer_event(&self, email: &str, ago_s: i64) {
        self.bench.host.advance_s(ago_s + 1);
        let created = self.bench.app.now() - jiff::SignedDuration::from_secs(ago_s);
        let what = What::Customer { customer: cus_9(), email: Some(self.hash(email)), default_card_changed: false };
        let id = EventId::parse(&format!("evt_cus_{}", created.as_second())).unwrap();
        reconcile::event(&self.bench.app, &Event { id, created, what }).await.unwrap();
    }

    async fn state_and_invoices(&self) -> (PaymentState, Vec<String>) {
        let read = self.bench.app.store.payment(&pi("pi_1")).await.unwrap().unwrap();
        (read.item.payment.state, read.item.payment.shares.iter().map(|s| s.invoice.to_string()).collect())
    }

    async fn linked_to(&self) -> Option<String> {
        let read = self.bench.app.store.customer(&cus_9()).await.unwrap();
        read.and_then(|r| r.item.own).map(|c| c.to_string())
    }
}

fn cus_9() -> CustomerId {
    CustomerId::parse("cus_9").unwrap()
}

#[tokio::test]
async fn a_customer_of_whom_stripe_says_nothing_is_not_linked_by_the_email_of_a_receipt() {
    let p = Practice::of_two(says(429, "")).await;
    p.pay_with_receipt("a@example.test").await;
    assert_eq!(p.state_and_invoices().await, (PaymentState::Parked, vec![]));
    assert_eq!(p.linked_to().await, None);
    p.customer_event("b@example.test", 0).await;
    assert_eq!(p.state_and_invoices().await, (PaymentState::Decided, vec!["inv_b".to_owned()]));
    assert_eq!(p.linked_to().await.as_deref(), Some("c_b"));
}

#[tokio::test]
async fn a_customer_that_only_a_deleted_client_had_is_asked_for_like_any_other() {
    let p = Practice::of_two(says(200, "b@example.test")).await;
    let gone = |c: &mut Client| (c.customers, c.status) = (vec![cus_9()], ClientStatus::Deleted);
    p.client("c_gone", gone).await;
    p.pay_with_receipt("a@example.test").await;
    assert_eq!(p.state_and_invoices().await, (PaymentState::Decided, vec!["inv_b".to_owned()]));
    assert_eq!(p.linked_to().await.as_deref(), Some("c_b"));
}

#[tokio::test]
async fn the_first_failure_of_a_new_customer_is_recovered_when_his_email_says_whose_it_is() {
    let p = Practice::of_two(says(200, "b@example.test")).await;
    p.bench.host.advance_s(1);
    let failure = Failure {
        payment: pi("pi_1"),
        charge: None,
        customer: Some(cus_9()),
        amount: minor(4200),
        currency: Currency::USD,
        reference: Reference::default(),
        receipt_email: None,
        payment_method: Some("pm_1".to_owned()),
        payment_method_type: Some("card".to_owned()),
        code: Some("card_declined".to_owned()),
        decline_code: Some("try_again_later".to_owned()),
        advice_code: None,
        network_advice_code: None,
        object_created: p.bench.app.now(),
    };
    let id = EventId::parse("evt_failed").unwrap();
    let event = Event { id, created: p.bench.app.now(), what: What::PaymentFailed(failure) };
    reconcile::event(&p.bench.app, &event).await.unwrap();
    let recovery = p.bench.app.store.recovery(&pi("pi_1")).await.unwrap().expect("it is recovered").item.recovery;
    assert_eq!((recovery.state, recovery.invoices), (RecoveryState::Waiting, vec![(inv("inv_b"), minor(4200))]));
    assert_eq!(p.asked("pi_1").await, vec![]);
}

#[tokio::test]
async fn the_listing_of_the_customers_does_not_undo_what_an_event_said() {
    let p = Practice::with(says(200, "a@example.test")).await;
    p.customer_event("b@example.test", 0).await;
    customers::list_all(&p.bench.app).await.unwrap();
    let known = p.bench.app.store.customer(&cus_9()).await.unwrap().unwrap().item;
    assert_eq!(known.email, Some(p.hash("b@example.test")));
    assert!(p.bench.app.store.email(&p.hash("a@example.test")).await.unwrap().is_none_or(|e| e.item.customers.is_empty()));
}
