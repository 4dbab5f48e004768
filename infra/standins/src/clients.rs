//! The project's own clients against the stand-ins: what they send is nowhere refused, and what they are told they can read.

use crate::stripe::{DEFAULT_KEY, Decline, NewPayment, NewPayout, Outcome, signed};
use crate::{Standins, ehr, quickbooks, tests::clock_at};
use serde_json::{Value, json};
use std::sync::Arc;
use vesper_adapters::ehr::{BridgeClient, Change, NewPayment as NewEhrPayment, NewReversal, ReversalReason, WriteMethod};
use vesper_adapters::http::SharedTransport;
use vesper_adapters::personal::{DataKey, Secret};
use vesper_adapters::quickbooks::{EntryDraft, QuickBooksClient, TransferDraft, oauth, request_id};
use vesper_adapters::stripe::client::{ConfirmOutcome, StripeClient};
use vesper_adapters::stripe::signature;
use vesper_adapters::stripe::wire::{MetadataKeys, Projection, project};
use vesper_core::event::What;
use vesper_core::ids::{CustomerId, InvoiceId, PaymentId};
use vesper_core::money::{Currency, Minor};

const NOON: i64 = 1_795_190_400;

fn projection() -> Projection {
    Projection { keys: MetadataKeys::default(), hasher: DataKey::new([1; 32]).email_hasher() }
}

fn all() -> (Standins, SharedTransport) {
    let (clock, _) = clock_at(NOON);
    let all = Standins::new(&clock);
    all.ehr.set_signature_clock(clock);
    (all.clone(), Arc::new(all))
}

#[tokio::test]
async fn the_stripe_client_reads_and_confirms() {
    let (all, transport) = all();
    let stripe = StripeClient::new(transport, &all.stripe.origin(), "2026-10-28.endive", Secret::new(DEFAULT_KEY), projection());
    let cus = all.stripe.customer(Some("a@phi.example"), Some("A"));
    let pi = all.stripe.fail(&NewPayment::of(&cus, 4200), &Decline::of("insufficient_funds"));
    all.stripe.script(&pi, [Outcome::decline("generic_decline"), Outcome::Processing]);
    let (payment, customer) = (PaymentId::parse(&pi).unwrap(), CustomerId::parse(&cus).unwrap());
    let card = all.stripe.card_of(&cus).unwrap();
    assert!(!stripe.checkout_owns(&payment).await.unwrap() && !stripe.stripe_invoice_owns(&payment).await.unwrap());
    stripe.payment_method(&card).await.unwrap();
    assert!(matches!(stripe.confirm(&payment, &card, "k1").await.unwrap(), ConfirmOutcome::Declined(f) if f.code.is_some()));
    assert!(matches!(stripe.confirm(&payment, &card, "k1").await.unwrap(), ConfirmOutcome::Declined(_)));
    assert!(matches!(stripe.confirm(&payment, &card, "k2").await.unwrap(), ConfirmOutcome::Processing));
    all.stripe.complete(&pi);
    stripe.payment_intent(&payment).await.unwrap();
    assert!(matches!(
        stripe.confirm(&payment, &card, "k3").await.unwrap(),
        ConfirmOutcome::OtherState { .. } | ConfirmOutcome::Succeeded
    ));
    for _ in 0..120 {
        all.stripe.customer(None, None);
    }
    let page = stripe.customers_page(None).await.unwrap();
    assert_eq!((page.customers.len(), page.has_more), (100, true));
    stripe.customer(&customer).await.unwrap();
    let since = jiff::Timestamp::from_second(NOON).unwrap();
    assert_eq!(stripe.other_payments(&customer, since).await.unwrap().len(), 1);
    assert_eq!((all.stripe.charged(&pi), all.refused()), (1, Vec::<String>::new()));
}

#[test]
fn every_event_of_the_stand_in_can_be_projected() {
    let (all, _) = all();
    let s = &all.stripe;
    let cus = s.customer(Some("a@phi.example"), Some("A"));
    s.announce(&cus);
    s.update_customer(&cus, &json!({"name": "B"}));
    let card = s.card(&cus);
    s.renew(&card);
    let pi = s.pay(&NewPayment::of(&cus, 4200).metadata("vesper_invoice", "inv_1").receipt_email("a@phi.example"));
    s.pay(&NewPayment::guest(4300).late_balance_transaction());
    s.pay_by_charge(&NewPayment::of(&cus, 4400));
    s.fail(&NewPayment::of(&cus, 4500), &Decline::of("lost_card"));
    let re = s.refund(&pi, Some(100), Value::Null, "succeeded");
    s.refund_becomes(&re, "failed");
    let du = s.dispute(&pi);
    s.close_dispute(&du, true);
    let po = s.payout(&NewPayout::default());
    s.fail_payout(&po);
    s.delete_customer(&cus);
    let events = s.undelivered();
    assert!(events.len() > 20);
    for event in events {
        let (body, header) = signed(&event, "whsec_x", NOON);
        signature::verify(Some(&header), &body, &[Secret::new("whsec_x")], NOON).unwrap();
        let incoming = project(&body, &projection()).unwrap();
        assert!(!matches!(incoming.event.what, What::Unreadable { .. }), "{:?}", incoming.event.what);
        assert!(!incoming.livemode);
    }
}

#[tokio::test]
async fn the_bridge_client_reads_writes_and_reverses() {
    let (all, transport) = all();
    let secrets = vec![Secret::new(ehr::DEFAULT_SECRET)];
    let bridge = BridgeClient::new(transport, &all.ehr.origin(), secrets, projection().hasher);
    all.ehr.client("c/1", json!({"emails": ["a@phi.example"], "stripe_customer_ids": ["cus_1"]}));
    all.ehr.invoice("inv 1/ä", "c/1", 10_000, 0, Value::Null);
    all.ehr.unknown_kind("session");
    assert!(bridge.capabilities(NOON).await.unwrap().idempotent_writes);
    let first = bridge.changes(None, 2, 0, NOON).await.unwrap();
    let rest = bridge.changes(Some(&first.next_cursor), 500, 2, NOON).await.unwrap();
    assert_eq!((first.records.len(), first.has_more, rest.has_more), (2, true, false));
    assert!(matches!(&first.records[..], [Change::Client { .. }, Change::Invoice(_)]));
    let invoice = InvoiceId::parse("inv 1/ä").unwrap();
    let new = NewEhrPayment {
        invoice: invoice.clone(),
        amount: Minor::new(4200).unwrap(),
        currency: Currency::USD,
        method: WriteMethod::Card,
        posted_on: jiff::civil::date(2026, 11, 20),
        reference: "vs-1".to_owned(),
    };
    let payment = bridge.post_payment(&new, NOON).await.unwrap();
    assert_eq!(bridge.post_payment(&new, NOON).await.unwrap(), payment);
    assert_eq!(bridge.payment_by_reference("vs-1", NOON).await.unwrap(), Some(payment.clone()));
    let reversal = NewReversal {
        amount: Minor::new(200).unwrap(),
        currency: Currency::USD,
        reason: ReversalReason::Refund,
        posted_on: jiff::civil::date(2026, 11, 21),
    };
    assert_eq!(bridge.reverse(&payment.id, &reversal, "vs-1-r1", NOON).await.unwrap().reversed.get(), 200);
    let now = bridge.invoice(&invoice, NOON).await.unwrap().unwrap();
    assert_eq!((now.client_share.open.get(), all.refused()), (6000, Vec::<String>::new()));
}

#[tokio::test]
async fn the_quickbooks_client_books_and_finds() {
    let (all, transport) = all();
    let books = &all.quickbooks;
    let (id, secret) = (Secret::new(quickbooks::DEFAULT_CLIENT_ID), Secret::new(quickbooks::DEFAULT_CLIENT_SECRET));
    let token = Secret::new(quickbooks::FIRST_REFRESH_TOKEN);
    oauth::refresh(&*transport, &books.token_url(), &id, &secret, &token).await.unwrap();
    let access = Secret::new(books.access_tokens().pop().unwrap());
    let client = QuickBooksClient::new(transport, &books.origin(), quickbooks::DEFAULT_REALM);
    let date = jiff::civil::date(2026, 11, 20);
    let (amount, note) = (Minor::new(4207).unwrap(), "vs1 posting=pst_1".to_owned());
    let lines = vec![("91".to_owned(), amount), ("80".to_owned(), amount.negated())];
    let doc_number = quickbooks_doc(date);
    let entry = EntryDraft { date, doc_number: doc_number.clone(), lines, note: note.clone(), request_id: request_id("pst_1") };
    let booked = client.create_entry(&access, &entry).await.unwrap();
    assert_eq!(client.create_entry(&access, &entry).await.unwrap(), booked);
    assert_eq!(client.find_entry(&access, &doc_number).await.unwrap().unwrap().id, booked.id);
    let (from, to) = ("91".to_owned(), "35".to_owned());
    let transfer = TransferDraft { date, from, to, amount, note, request_id: request_id("pst_2") };
    client.create_transfer(&access, &transfer).await.unwrap();
    assert_eq!(client.find_transfers(&access, date, amount, "91", "35").await.unwrap().len(), 1);
    books.set_close_date(Some(date));
    assert_eq!(client.book_close_date(&access).await.unwrap(), Some(date));
    client.account(&access, "91").await.unwrap();
    assert_eq!((books.balances().get("91"), books.balances().get("35"), all.refused()), (None, Some(&4207), Vec::new()));
}

fn quickbooks_doc(date: jiff::civil::Date) -> String {
    vesper_adapters::quickbooks::doc_number(date, "pst_1")
}
