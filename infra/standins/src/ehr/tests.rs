use super::*;
use crate::{Fault, FaultKind, Handle, Scripted, tests::clock_at};
use bytes::Bytes;
use vesper_adapters::http::HttpRequest;

const NOON: i64 = 1_795_190_400;

fn practice() -> EhrStandin {
    let (clock, _) = clock_at(NOON);
    let e = EhrStandin::default();
    e.set_clock(clock.clone());
    e.set_signature_clock(clock);
    e.client("c1", json!({"emails": ["a@phi.example"]}));
    e.invoice("i1", "c1", 10_000, 5_000, Value::Null);
    e
}

fn ask(e: &EhrStandin, method: &str, target: &str, more: &[(&str, &str)], body: &str) -> (u16, Value) {
    let signature = sign(DEFAULT_SECRET, method, target, body.as_bytes(), NOON);
    let mut headers =
        vec![("vesper-signature".to_owned(), signature), ("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    let url = format!("{}{target}", e.origin());
    let reply = e.handle(&HttpRequest { method: method.parse().unwrap(), url, headers, body: Bytes::from(body.to_owned()) });
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

fn payment(amount: i64, reference: &str) -> Value {
    json!({
        "invoice_id": "i1", "portion": "client", "amount": amount, "currency": "usd", "method": "card", "online": false,
        "posted_on": "2026-11-20", "reference": reference,
    })
}

fn post(e: &EhrStandin, key: &str, body: &Value) -> (u16, Value) {
    ask(e, "POST", "/v1/payments", &[("idempotency-key", key)], &body.to_string())
}

#[test]
fn a_signature_is_of_this_request_this_secret_and_this_time() {
    let secrets = ["new".to_owned(), "old".to_owned()];
    let good = sign("old", "GET", "/v1/changes?limit=1", b"", 1000);
    let cases = [
        (good.as_str(), "/v1/changes?limit=1", 1000, true),
        (good.as_str(), "/v1/changes?limit=1", 1300, true),
        (good.as_str(), "/v1/changes?limit=1", 1301, false),
        (good.as_str(), "/v1/changes?limit=1", 699, false),
        (good.as_str(), "/v1/changes?limit=2", 1000, false),
        ("", "/v1/changes?limit=1", 1000, false),
        ("t=1000", "/v1/changes?limit=1", 1000, false),
    ];
    for (header, target, now_s, want) in cases {
        assert_eq!(verify(&secrets, header, "GET", target, b"", now_s), want, "{header} {target} {now_s}");
    }
    let two = format!("{},v1={}", sign("gone", "GET", "/", b"", 5), mac("new", "GET", "/", b"", 5));
    assert!(verify(&secrets, &two, "GET", "/", b"", 5), "any v1 is enough");
    let e = practice();
    let (body, header) = e.notice(DEFAULT_SECRET, NOON);
    assert!(verify(&[DEFAULT_SECRET.to_owned()], &header, "POST", "/webhooks/ehr", &body, NOON));
    e.set_secrets(&["another"]);
    assert_eq!(ask(&e, "GET", "/v1/capabilities", &[], "").0, 401);
}

#[test]
fn the_feed_is_read_with_the_cursors_that_were_given_out() {
    let e = practice();
    e.unknown_kind("session");
    e.replay("client", "c1", 0);
    let (_, first) = ask(&e, "GET", "/v1/changes?limit=3", &[], "");
    let kinds =
        |page: &Value| page["records"].as_array().unwrap().iter().map(|r| text_of(r, "kind").to_owned()).collect::<Vec<_>>();
    assert_eq!((kinds(&first), &first["has_more"]), (["client", "invoice", "session"].map(str::to_owned).to_vec(), &json!(true)));
    let cursor: String = form_urlencoded::byte_serialize(text_of(&first, "next_cursor").as_bytes()).collect();
    let (_, rest) = ask(&e, "GET", &format!("/v1/changes?cursor={cursor}"), &[], "");
    assert_eq!((kinds(&rest), &rest["has_more"]), (vec!["client".to_owned()], &json!(false)));
    assert!(e.refused().is_empty());
    for bad in [
        "cursor=7",
        "limit=0",
        "limit=501",
        "since=1",
        "cursor=c%2F99%2B%3D",
        &format!("cursor={}", text_of(&first, "next_cursor")),
    ] {
        assert_eq!(ask(&e, "GET", &format!("/v1/changes?{bad}"), &[], "").0, 400, "{bad}");
    }
    assert_eq!(e.refused().len(), 6, "an unescaped cursor is another cursor");
    e.set_page_max(1);
    assert_eq!(kinds(&ask(&e, "GET", "/v1/changes", &[], "").1).len(), 1);
}

#[test]
fn a_payment_is_written_once_and_stands_before_its_invoice() {
    let e = practice();
    let (status, first) = post(&e, "k1", &payment(4000, "ref-1"));
    assert_eq!((status, &first["online"], &first["reversed"]), (201, &json!(false), &json!(0)));
    let (status, again) = post(&e, "k1", &payment(4000, "ref-1"));
    assert_eq!((status, &again), (200, &first));
    assert_eq!(post(&e, "k1", &payment(4001, "ref-1")).0, 422);
    assert!(e.refused()[0].contains("another body"), "{:?}", e.refused());
    assert_eq!(
        e.get("invoice", "i1").unwrap()["client_share"],
        json!({"charge": 10_000, "paid": 4000, "written_off": 0, "open": 6000})
    );
    let page = ask(&e, "GET", "/v1/changes", &[], "").1;
    let last: Vec<&str> = page["records"].as_array().unwrap().iter().rev().take(2).map(|r| text_of(r, "kind")).collect();
    assert_eq!(last, ["invoice", "payment"]);
    assert!(page["records"][2]["observed_at"].as_str().unwrap() < page["records"][3]["observed_at"].as_str().unwrap());
    assert_eq!(ask(&e, "GET", "/v1/payments/by-reference/ref-1", &[], "").1, first);
    assert_eq!(ask(&e, "GET", "/v1/payments/by-reference/ref-2", &[], "").0, 404);
    e.set_capabilities(Capabilities { idempotent_writes: false, writes_payments: true, reverses_payments: true });
    assert_eq!(post(&e, "k1", &payment(4000, "ref-1")).0, 201, "a key that does not protect");
    assert_eq!((e.written().len(), e.net_by_invoice()["i1"]), (2, 8000));
}

#[test]
fn what_can_never_be_recorded_is_422_and_a_changed_invoice_412() {
    let e = practice();
    assert_eq!(post(&e, "k1", &payment(10_001, "r")).0, 422);
    let matched = |version: &str| {
        let more = [("idempotency-key", "k2"), ("if-match", version)];
        ask(&e, "POST", "/v1/payments", &more, &payment(1, "r").to_string()).0
    };
    assert_eq!(matched("\"v0000001\""), 412);
    assert_eq!(matched("\"v0000002\""), 201);
    e.change("invoice", "i1", json!({"status": "void"}));
    assert_eq!(post(&e, "k3", &payment(1, "r3")).0, 422);
    assert!(e.refused().is_empty(), "{:?}", e.refused());
}

#[test]
fn fields_that_the_contract_does_not_have_are_refused_and_noted() {
    let e = practice();
    let with = |field: &str, value: Value| {
        let mut body = payment(100, "r");
        patch(&mut body, json!({field: value}));
        body.to_string()
    };
    let cases = [
        (with("online", json!(true)), 422),
        (with("method", json!("check")), 422),
        (with("amount", json!(0)), 422),
        (with("amount", json!("100")), 422),
        (with("posted_on", json!("2026-02-30")), 422),
        (with("reference", json!("x".repeat(65))), 422),
        (with("note", json!("x")), 422),
        (payment(100, "r").to_string().replace("100", "100.0"), 400),
        (payment(100, "r").to_string().replace("100", "1e2"), 400),
        ("[]".to_owned(), 400),
    ];
    for (n, (body, status)) in cases.iter().enumerate() {
        assert_eq!(ask(&e, "POST", "/v1/payments", &[("idempotency-key", "k")], body).0, *status, "{body}");
        assert_eq!(e.refused().len(), n + 1, "{body}");
    }
    assert_eq!(ask(&e, "POST", "/v1/payments", &[], &payment(100, "r").to_string()).0, 400);
    assert_eq!(ask(&e, "POST", "/v1/payments", &[("idempotency-key", &"k".repeat(65))], &payment(100, "r").to_string()).0, 400);
    assert_eq!(ask(&e, "DELETE", "/v1/payments/p", &[], "").0, 404);
    assert!(e.written().is_empty());
    e.set_capabilities(Capabilities { idempotent_writes: true, writes_payments: false, reverses_payments: false });
    assert_eq!(post(&e, "k", &payment(100, "r")).0, 422);
    assert!(e.refused().last().unwrap().contains("capabilities"));
}

#[test]
fn a_reversal_takes_back_no_more_than_is_left() {
    let e = practice();
    let id = text_of(&post(&e, "k1", &payment(4000, "ref-1")).1, "id").to_owned();
    let reverse = |key: &str, amount: i64| {
        let body = json!({"amount": amount, "currency": "usd", "reason": "refund", "posted_on": "2026-11-21"}).to_string();
        ask(&e, "POST", &format!("/v1/payments/{id}/reversals"), &[("idempotency-key", key)], &body)
    };
    assert_eq!(reverse("ref-1-r1", 1000).1["state"], "posted");
    assert_eq!(reverse("ref-1-r1", 1000).0, 200);
    assert_eq!(reverse("ref-1-r2", 3001).0, 422);
    assert_eq!(reverse("ref-1-r2", 3000).1["state"], "reversed");
    assert_eq!((e.net_by_invoice()["i1"], &e.get("invoice", "i1").unwrap()["client_share"]["open"]), (0, &json!(10_000)));
    assert_eq!(
        ask(
            &e,
            "POST",
            "/v1/payments/pay_0/reversals",
            &[("idempotency-key", "k9")],
            &json!({
        "amount": 1, "currency": "usd", "reason": "refund", "posted_on": "2026-11-21"})
            .to_string()
        )
        .0,
        404
    );
    assert!(e.refused().is_empty(), "{:?}", e.refused());
}

#[test]
fn money_from_elsewhere_pays_without_being_ours() {
    let e = practice();
    e.paid_in_ehr(&DeskPayment::insurance("i1", 3000, 2000));
    e.paid_in_ehr(&DeskPayment::card("i1", 2500, "pi_1"));
    let check = e.paid_in_ehr(&DeskPayment::check("i1", 500));
    e.reversed_in_ehr(&check, 500);
    e.change_charge("i1", 9000);
    let invoice = e.get("invoice", "i1").unwrap();
    assert_eq!((&invoice["payer_share"]["open"], &invoice["client_share"]["open"]), (&json!(0), &json!(6500)));
    assert_eq!((e.written().len(), e.net_by_invoice().len()), (0, 0));
    assert_eq!(ask(&e, "GET", "/v1/payments/by-reference/pi_1", &[], "").1["method"], "card");
    assert_eq!(ask(&e, "GET", "/v1/invoices/i1", &[], "").0, 200);
    assert_eq!(ask(&e, "GET", "/v1/invoices/i%2F1", &[], "").0, 404);
}

#[test]
fn faults_apply_before_or_after_and_a_problem_may_leak() {
    let e = practice();
    e.set_leak("a@phi.example");
    e.fault(Fault::new("POST /v1/payments", FaultKind::StatusAfter(Scripted::status(502))));
    e.fault(Fault::new("GET /v1/invoices/*", FaultKind::Status(Scripted::status(409))).times(1));
    assert_eq!(post(&e, "k", &payment(100, "r")).0, 502);
    assert_eq!(post(&e, "k", &payment(100, "r")).0, 200);
    assert_eq!(ask(&e, "GET", "/v1/invoices/i1", &[], "").0, 409);
    assert!(text_of(&ask(&e, "GET", "/v1/invoices/i2", &[], "").1, "detail").contains("a@phi.example"));
    assert_eq!(e.written().len(), 1);
    assert_eq!(e.seen("POST /v1/payments")[0].json()["reference"], "r");
}
