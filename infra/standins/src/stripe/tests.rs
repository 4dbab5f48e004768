use super::*;
use crate::{Fault, FaultKind, Handle, Scripted, tests::clock_at};
use bytes::Bytes;
use serde_json::json;
use std::sync::atomic::Ordering;
use vesper_adapters::http::{HttpRequest, TransportError};

const NOON: i64 = 1_795_190_400;

fn ask(s: &StripeStandin, method: &str, target: &str, more: &[(&str, &str)], body: &str) -> HttpRequest {
    let mut headers = vec![
        ("authorization".to_owned(), format!("Bearer {}", s.key())),
        ("stripe-version".to_owned(), API_VERSION.to_owned()),
        ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
    ];
    headers.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    let url = format!("{}{target}", s.origin());
    HttpRequest { method: method.parse().unwrap(), url, headers, body: Bytes::from(body.to_owned()) }
}

fn get(s: &StripeStandin, target: &str) -> (u16, Value) {
    let reply = s.handle(&ask(s, "GET", target, &[], ""));
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn confirm(s: &StripeStandin, pi: &str, key: &str, form: &str) -> HttpResponse {
    s.handle(&ask(s, "POST", &format!("/v1/payment_intents/{pi}/confirm"), &[("idempotency-key", key)], form))
}

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|o| text_of(o, "id").to_owned()).collect()
}

fn types(events: &[Value]) -> Vec<String> {
    events.iter().map(|e| text_of(e, "type").to_owned()).collect()
}

#[test]
fn every_template_can_be_read() {
    let t = Templates::read();
    let all = [&t.intent, &t.charge, &t.refund, &t.payout, &t.customer, &t.payment_method, &t.dispute, &t.session];
    assert!(all.iter().all(|o| o["object"].is_string()));
    assert_eq!(t.error["type"], "card_error");
}

#[test]
fn a_payment_emits_its_charge_first_and_pays_the_fee() {
    let (clock, _) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let cus = s.customer(Some("a@phi.example"), Some("A"));
    let pi = s.pay(&NewPayment::of(&cus, 4200).metadata("vesper_invoice", "inv_1"));
    let events = s.undelivered();
    assert_eq!(types(&events), ["charge.succeeded", "payment_intent.succeeded"]);
    assert_eq!(events[1]["data"]["object"]["metadata"], json!({"vesper_invoice": "inv_1"}));
    assert_eq!(events[1]["api_version"], API_VERSION);
    let (_, row) = get(&s, &format!("/v1/balance_transactions/{}", s.row_of(&pi)));
    assert_eq!((&row["fee"], &row["net"], &row["status"]), (&json!(151), &json!(4049), &json!("pending")));
    s.mark_delivered(text_of(&events[0], "id"));
    assert_eq!(types(&s.undelivered()), ["payment_intent.succeeded"]);
    assert_eq!(types(&s.events_of(&pi)), ["payment_intent.succeeded"]);
    let late = s.pay(&NewPayment::guest(500).late_balance_transaction());
    assert_eq!(types(&s.undelivered())[1..], ["charge.succeeded", "payment_intent.succeeded", "charge.updated"]);
    assert!(s.undelivered()[1]["data"]["object"]["balance_transaction"].is_null());
    assert!(!s.row_of(&late).is_empty());
    assert!(s.refused().is_empty(), "{:?}", s.refused());
}

#[test]
fn what_no_correct_client_sends_is_refused_and_noted() {
    let (clock, _) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let cus = s.customer(None, None);
    let pi = s.pay(&NewPayment::of(&cus, 4200));
    let cases = [
        ("/v1/charges?bogus=1", 400, "unknown parameter bogus"),
        ("/v1/charges?limit=101", 400, "limit"),
        ("/v1/charges?limit=x", 400, "limit"),
        ("/v1/charges?starting_after=ch_nobody", 400, "starting_after"),
        ("/v1/charges?created[from]=1", 400, "created[from]"),
        ("/v1/charges?expand[]=customer", 400, "expand"),
        ("/v1/customers?email=a%40b.example", 200, "an e-mail in a URL"),
        ("/v1/transfers", 404, "no such call"),
    ];
    for (target, status, why) in cases {
        let before = s.refused().len();
        assert_eq!(get(&s, target).0, status, "{target}");
        assert!(s.refused()[before..].iter().any(|r| r.contains(why)), "{target}: {:?}", s.refused());
    }
    let before = s.refused().len();
    assert_eq!(get(&s, "/v1/charges/ch_nobody").0, 404);
    assert_eq!(get(&s, &format!("/v1/charges/{pi}")).0, 404);
    assert_eq!(s.refused().len(), before, "not to find something is no mistake");
    let mut wrong = ask(&s, "GET", "/v1/balance", &[], "");
    wrong.headers[0].1 = "Bearer sk_test_other".to_owned();
    assert_eq!(s.handle(&wrong).status, 401);
    assert!(s.refused().last().unwrap().contains("bad API key"));
}

#[test]
fn lists_are_newest_first_and_paged_both_ways() {
    let (clock, _) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let cus = s.customer(None, None);
    let mut made: Vec<String> = (0..25).map(|i| s.pay(&NewPayment::of(&cus, 1000 + i))).collect();
    made.reverse();
    let (_, first) = get(&s, "/v1/payment_intents");
    assert_eq!((ids(&first), first["has_more"].as_bool()), (made[..10].to_vec(), Some(true)));
    let (_, next) = get(&s, &format!("/v1/payment_intents?limit=15&starting_after={}", made[9]));
    assert_eq!((ids(&next), next["has_more"].as_bool()), (made[10..].to_vec(), Some(false)));
    let (_, back) = get(&s, &format!("/v1/payment_intents?limit=5&ending_before={}", made[10]));
    assert_eq!((ids(&back), back["has_more"].as_bool()), (made[5..10].to_vec(), Some(true)));
    let (_, none) = get(&s, "/v1/payment_intents?customer=cus_other&created[gte]=5");
    assert_eq!((ids(&none).len(), none["has_more"].as_bool()), (0, Some(false)));
    let (_, full) = get(&s, "/v1/charges?limit=1&expand[]=data.payment_intent&expand[]=data.balance_transaction");
    assert_eq!(full["data"][0]["payment_intent"]["id"], made[0].as_str());
    assert_eq!(full["data"][0]["balance_transaction"]["object"], "balance_transaction");
    assert!(s.refused().is_empty(), "{:?}", s.refused());
}

#[test]
fn events_are_kept_for_thirty_days_and_filtered_by_type() {
    let (clock, now_s) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    s.pay(&NewPayment::guest(100));
    now_s.fetch_add(31 * DAY_S, Ordering::SeqCst);
    s.pay(&NewPayment::guest(200));
    assert_eq!(ids(&get(&s, "/v1/events?limit=100").1).len(), 2);
    let (_, one) = get(&s, "/v1/events?types[]=payment_intent.succeeded&types[]=payout.paid&delivery_success=false");
    assert_eq!(ids(&one).len(), 1);
}

#[test]
fn a_confirm_follows_its_script_and_its_key_is_replayed() {
    let (clock, now_s) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let cus = s.customer(None, None);
    let card = s.card_of(&cus).unwrap();
    let pi = s.fail(&NewPayment::of(&cus, 4200), &Decline::of("generic_decline"));
    assert_eq!(s.events_of(&pi)[0]["data"]["object"]["last_payment_error"]["advice_code"], "try_again_later");
    assert!(s.object(&pi).unwrap()["payment_method"].is_null());
    s.script(&pi, [Outcome::decline("insufficient_funds"), Outcome::Processing, Outcome::Succeed]);
    let form = format!("payment_method={card}&off_session=true");

    let first = confirm(&s, &pi, "k1", &form);
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!((first.status, body["error"]["decline_code"].as_str()), (402, Some("insufficient_funds")));
    assert_eq!(body["error"]["payment_intent"]["status"], "requires_payment_method");
    let again = confirm(&s, &pi, "k1", &format!("off_session=true&payment_method={card}"));
    assert_eq!((again.status, again.header("idempotent-replayed"), &again.body), (402, Some("true"), &first.body));
    assert_eq!(s.confirms().len(), 1);
    let other = confirm(&s, &pi, "k1", &format!("{form}&receipt_email=x"));
    let body: Value = serde_json::from_slice(&other.body).unwrap();
    assert_eq!((other.status, body["error"]["type"].as_str()), (400, Some("idempotency_error")));

    assert_eq!(confirm(&s, &pi, "k2", &form).status, 200);
    assert_eq!(s.object(&pi).unwrap()["status"], "processing");
    assert_eq!(confirm(&s, &pi, "k3", &form).status, 400, "nothing can be confirmed while it is processing");
    s.fail_again(&pi, &Decline::of("generic_decline"));
    assert_eq!(confirm(&s, &pi, "k3", &form).status, 200, "a refusal is not kept under its key");
    assert_eq!((s.charged(&pi), s.object(&pi).unwrap()["status"].as_str().map(str::to_owned)), (1, Some("succeeded".to_owned())));
    assert_eq!(confirm(&s, &pi, "k4", &form).status, 400);
    let event = s.events_of(&pi).pop().unwrap();
    assert_eq!((text_of(&event, "type"), &event["request"]["idempotency_key"]), ("payment_intent.succeeded", &json!("k3")));
    now_s.fetch_add(DAY_S + 1, Ordering::SeqCst);
    assert_eq!(confirm(&s, &pi, "k3", &form).status, 400, "a key is forgotten after a day");
    assert_eq!(s.refused().len(), 1, "{:?}", s.refused());
}

#[test]
fn a_late_confirm_holds_its_key_until_it_is_applied() {
    let (clock, now_s) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let cus = s.customer(None, None);
    let form = format!("payment_method={}&off_session=true", s.card_of(&cus).unwrap());
    let pi = s.fail(&NewPayment::of(&cus, 4200), &Decline::of("generic_decline"));
    s.fault(Fault::new("POST */confirm", FaultKind::Late { after_s: 60 }));
    let call = ask(&s, "POST", &format!("/v1/payment_intents/{pi}/confirm"), &[("idempotency-key", "k")], &form);
    assert_eq!(s.exchange(&call).err(), Some(TransportError::OutcomeUnknown));
    assert_eq!((s.handle(&call).status, s.charged(&pi)), (409, 0));
    now_s.fetch_add(60, Ordering::SeqCst);
    assert_eq!(s.charged(&pi), 1);
    let reply = s.handle(&call);
    assert_eq!((reply.status, reply.header("idempotent-replayed"), s.charged(&pi)), (200, Some("true"), 1));
    s.fault(Fault::new("POST */confirm", FaultKind::Status(Scripted::status(429).header("Stripe-Should-Retry", "true"))));
    assert_eq!(s.handle(&call).header("stripe-should-retry"), Some("true"));
    assert!(s.refused().is_empty(), "{:?}", s.refused());
}

#[test]
fn confirms_that_no_correct_client_makes_are_refused() {
    let (clock, _) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let (cus, stranger) = (s.customer(None, None), s.customer(None, None));
    let fail = || s.fail(&NewPayment::of(&cus, 4200), &Decline::of("generic_decline"));
    let card = s.card_of(&cus).unwrap();
    let (pi, owned, billed) = (fail(), fail(), fail());
    s.owned_by_checkout(&owned);
    s.owned_by_invoice(&billed);
    let strange = s.card_of(&stranger).unwrap();
    let cases = [
        (&pi, format!("payment_method={strange}&off_session=true"), "another customer"),
        (&pi, format!("payment_method={card}&off_session=true&amount=1"), "unknown parameter amount"),
        (&owned, format!("payment_method={card}&off_session=true"), "checkout"),
        (&billed, format!("payment_method={card}&off_session=true"), "Stripe invoice"),
    ];
    for (n, (pi, form, why)) in cases.into_iter().enumerate() {
        assert_eq!(confirm(&s, pi, &format!("k{n}"), &form).status, 400, "{why}");
        assert!(s.refused().last().unwrap().contains(why), "{why}: {:?}", s.refused());
    }
    assert_eq!(ids(&get(&s, &format!("/v1/checkout/sessions?payment_intent={owned}")).1).len(), 1);
    let target = format!("/v1/invoice_payments?payment[type]=payment_intent&payment[payment_intent]={billed}");
    assert_eq!(ids(&get(&s, &target).1).len(), 1);
    s.detach(&card);
    let before = s.refused().len();
    assert_eq!(confirm(&s, &pi, "kd", &format!("payment_method={card}&off_session=true")).status, 400);
    assert_eq!((s.refused().len(), s.confirms().len()), (before, 0), "a card may be detached at any moment");
}

#[test]
fn refunds_and_disputes_move_the_balance() {
    let (clock, _) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let cus = s.customer(None, None);
    let pi = s.pay(&NewPayment::of(&cus, 10_000));
    let paid = s.balance_minor();
    let re = s.refund(&pi, Some(4000), Value::Null, "pending");
    assert_eq!(s.balance_minor(), paid);
    s.refund_becomes(&re, "succeeded");
    assert_eq!(s.balance_minor(), paid - 4000);
    s.refund_becomes(&re, "failed");
    assert_eq!(s.balance_minor(), paid);
    assert_eq!(
        types(&s.events_of(&re)),
        ["refund.created", "refund.updated", "refund.updated", "refund.updated", "refund.failed"]
    );
    s.refund(&pi, None, json!({"ehr_invoice_id": "i"}), "succeeded");
    let charge = s.object(&pi).unwrap()["latest_charge"].as_str().unwrap().to_owned();
    assert_eq!(ids(&get(&s, &format!("/v1/charges/{charge}/refunds")).1).len(), 2);
    assert_eq!(ids(&get(&s, &format!("/v1/refunds?payment_intent={pi}")).1).len(), 2);

    let other = s.pay(&NewPayment::of(&cus, 5000));
    let before = s.balance_minor();
    let du = s.dispute(&other);
    assert_eq!(s.balance_minor(), before - 6500);
    s.close_dispute(&du, true);
    assert_eq!(s.balance_minor(), before - 1500);
    let names = types(&s.events_of(&du));
    assert_eq!(names, ["created", "funds_withdrawn", "funds_reinstated", "closed"].map(|n| format!("charge.dispute.{n}")));
    assert_eq!(s.object(&du).unwrap()["balance_transactions"].as_array().unwrap().len(), 2);
}

#[test]
fn a_payout_equals_its_rows_once_it_is_reconciled() {
    let (clock, _) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let pis: Vec<String> = (0..4).map(|i| s.pay(&NewPayment::guest(1000 * (i + 1)))).collect();
    s.refund(&pis[3], None, Value::Null, "succeeded");
    let po = s.payout(&NewPayout { extra_fee_minor: 100, in_progress: true, ..NewPayout::default() });
    let rows = |po: &str| get(&s, &format!("/v1/balance_transactions?payout={po}&limit=100&expand[]=data.source"));
    assert_eq!(rows(&po).1["data"].as_array().unwrap().len(), 4, "half of seven, rounded up");
    s.reconciled(&po);
    let (_, page) = rows(&po);
    let sum: i64 = page["data"].as_array().unwrap().iter().map(|r| int_of(r, "net")).sum();
    assert_eq!((page["data"].as_array().unwrap().len(), sum, s.balance_minor()), (7, 0, 0));
    assert_eq!(s.rows_of(&po).len(), 6);
    assert_eq!(page["data"][1]["source"], Value::Null);
    assert_eq!(page["data"][0]["source"]["object"], "payout");
    s.fail_payout(&po);
    assert_eq!(s.balance_minor(), int_of(&s.object(&po).unwrap(), "amount"));
    let manual = s.payout(&NewPayout { manual: true, ..NewPayout::default() });
    assert_eq!(rows(&manual).0, 400);
    let wrong = s.payout(&NewPayout { rows: Some(Vec::new()), drift_minor: -7, ..NewPayout::default() });
    assert_eq!(int_of(&s.object(&wrong).unwrap(), "amount"), -7);
    let (_, balance) = get(&s, "/v1/balance");
    assert_eq!(balance["available"][0]["amount"], 7);
}

#[test]
fn customers_and_cards_change_with_their_events() {
    let (clock, _) = clock_at(NOON);
    let s = StripeStandin::default();
    s.set_clock(clock);
    let cus = s.customer_as("cus_known", Some("a@phi.example"), None);
    s.announce(&cus);
    s.update_customer(&cus, &json!({"email": "b@phi.example"}));
    let first = s.card_of(&cus).unwrap();
    let card = s.card(&cus);
    s.renew(&card);
    assert_eq!(ids(&get(&s, &format!("/v1/customers/{cus}/payment_methods?type=card")).1), [card.clone(), first]);
    assert_eq!(s.card_of(&cus), Some(card));
    s.delete_customer(&cus);
    assert_eq!(get(&s, "/v1/customers/cus_known").1["deleted"], true);
    assert_eq!(ids(&get(&s, "/v1/customers").1).len(), 0);
    let events = s.undelivered();
    let names = [
        "customer.created",
        "customer.updated",
        "payment_method.attached",
        "payment_method.automatically_updated",
        "customer.deleted",
    ];
    assert_eq!(types(&events), names);
    assert_eq!(events[1]["data"]["previous_attributes"], json!({"email": "a@phi.example"}));
}

#[test]
fn a_signed_delivery_is_hmac_over_time_and_body() {
    let event = json!({"id": "evt_1"});
    let (body, header) = signed(&event, "whsec_x", 1_795_190_400);
    let want = hmac_hex("whsec_x", &[b"1795190400.".as_slice(), &body].concat());
    assert_eq!(header, format!("t=1795190400,v1={want}"));
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), event);
}
