//! Forty payments of one family from sixteen senders at once while its invoices arrive: what one sender would have brought.

use serde_json::{Value, json};
use std::sync::Arc;
use vesper_standins::stripe::{NewPayment, signed};
use vesper_tests::harness::{Bundle, Options, Told, WEBHOOK_SECRET};

const PAYMENTS: usize = 40;
const SENDERS: usize = 16;

/// A guarantor with three dependents and forty invoices; each of another day, so that every one has its place in age.
fn family(b: &mut Bundle, amount: impl Fn(usize) -> i64) -> (String, Vec<(String, i64)>) {
    let (parent, customer) = b.client();
    let mut clients = vec![parent.clone()];
    clients.extend((0..3).map(|_| b.client_of(json!({"guarantor_id": parent}))));
    let day = |n: usize| format!("2026-{:02}-{:02}", 9 + n / 28, 1 + n % 28);
    let bills = (0..PAYMENTS).map(|n| {
        let fields = json!({"issued_on": day(n), "sessions": [{"id": format!("ses_{n}"), "service_date": day(n)}]});
        (b.bill_with(&clients[n % 4], amount(n), 0, fields), amount(n))
    });
    let bills = bills.collect();
    (customer, bills)
}

async fn at_once(b: &Arc<Bundle>, mut events: Vec<Value>) {
    // Every sender has a share of the events, each twice, and not in Stripe's order.
    events.extend(events.clone());
    let mut shares: Vec<Vec<Value>> = vec![Vec::new(); SENDERS];
    for (n, event) in events.into_iter().rev().enumerate() {
        shares[(n * 7) % SENDERS].push(event);
    }
    let mut senders: Vec<_> = Vec::new();
    for share in shares {
        let b = Arc::clone(b);
        senders.push(tokio::spawn(async move {
            for event in share {
                let (body, header) = signed(&event, WEBHOOK_SECRET, jiff::Timestamp::now().as_second());
                let answer = vesper_functions::intake::stripe(b.app().door(), Some(&header), &body).await;
                assert_eq!(answer.status, 200);
                b.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
            }
        }));
    }
    let reader = Arc::clone(b);
    senders.push(tokio::spawn(async move {
        for _ in 0..10 {
            assert_eq!(reader.notice().await, 202);
        }
    }));
    for sender in senders {
        sender.await.unwrap();
    }
}

/// By invoice: what was paid on it and by how many; and what was left of all payments.
fn result(told: &Told) -> (Vec<(String, i64, usize)>, i64) {
    let each = |i: &Value| {
        let all = i["allocations"].as_array().unwrap();
        (i["id"].as_str().unwrap().to_owned(), all.iter().map(|a| a["amount"].as_i64().unwrap()).sum(), all.len())
    };
    let left = told.list("payments").iter().map(|p| p["unapplied"].as_i64().unwrap()).sum();
    (told.list("invoices").iter().map(each).collect(), left)
}

async fn told(b: &Bundle) -> Told {
    let told = b.settle().await;
    assert_eq!(b.broken(&told), Vec::<String>::new());
    assert_eq!((told.list("dead_letters").len(), told.all_asked()), (0, Vec::<String>::new()));
    assert!(told.list("effects").iter().all(|e| e["state"] == "done"));
    assert_eq!(told.list("payments").len(), PAYMENTS);
    told
}

async fn compare(amount: fn(usize) -> i64, pay: fn(&Bundle, &str, &[(String, i64)], usize)) -> (Told, Told) {
    let mut one = Bundle::new(Options::default()).await;
    let (customer, bills) = family(&mut one, amount);
    one.sync().await;
    for n in 0..PAYMENTS {
        pay(&one, &customer, &bills, n);
        one.deliver().await;
        one.drain().await;
    }
    let alone = told(&one).await;
    let mut many = Bundle::prepared(Options::default(), |s| s.ehr.set_page_max(7)).await;
    let (customer, bills) = family(&mut many, amount);
    for n in 0..PAYMENTS {
        pay(&many, &customer, &bills, n);
    }
    let many = Arc::new(many);
    at_once(&many, many.standins.stripe.undelivered()).await;
    (alone, told(&many).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_payments_that_name_their_invoices_pay_exactly_those() {
    // Each invoice is 4000 and a little; every fourth is paid in two parts, by this payment and the next.
    let pay = |b: &Bundle, customer: &str, bills: &[(String, i64)], n: usize| {
        let (invoice, amount) = if n % 4 == 1 { &bills[n - 1] } else { &bills[n] };
        let part = match n % 4 {
            0 => 1500,
            1 => amount - 1500,
            _ => *amount,
        };
        let _ = b.pay_for(customer, part, invoice);
    };
    let (alone, at_once) = compare(|n| 4000 + i64::try_from(n).unwrap(), pay).await;
    assert_eq!(at_once.0["invoices"].as_array().map(Vec::len), Some(PAYMENTS));
    assert_eq!(result(&at_once), result(&alone));
    for payment in alone.list("payments") {
        let id = payment["id"].as_str().unwrap();
        assert_eq!(at_once.links(id), alone.links(id), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_equal_payments_without_a_reference_pay_forty_equal_invoices_once_each() {
    let pay = |b: &Bundle, customer: &str, _: &[(String, i64)], _: usize| {
        let _ = b.pay(&NewPayment::of(customer, 5000));
    };
    let (alone, at_once) = compare(|_| 5000, pay).await;
    let (each, left) = result(&alone);
    assert!(left == 0 && each.iter().all(|(_, amount, n)| (*amount, *n) == (5000, 1)), "{each:?}");
    assert_eq!(result(&at_once), (each, left));
}
