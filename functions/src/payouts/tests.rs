//! Payouts over the embedded engine, between the stand-in of Stripe and the ledger.

use crate::export::export;
use crate::reconcile;
use crate::review::answers::{Answered, Chosen, answer};
use crate::review::page::{PageRequest, PageResponse, handle};
use crate::review::session::Sessions;
use crate::task::Task;
use crate::testing::{Bench, SETTINGS, app};
use crate::work::work;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::dynamo::model::StoredPayout;
use vesper_adapters::personal::Secret;
use vesper_adapters::stripe::wire::project;
use vesper_core::ids::{ChargeId, PaymentId};
use vesper_core::money::{Currency, Minor};
use vesper_core::payout::{Matched, PayoutRow, RowKind};
use vesper_core::review::{Answer, Status};
use vesper_standins::stripe::{NewPayment, NewPayout};
use vesper_standins::{Fault, FaultKind, StripeStandin};

/// A practice whose Stripe is the stand-in; the EHR and QuickBooks are never reached.
struct Practice {
    engine: Engine,
    bench: Bench,
    stripe: StripeStandin,
    settings: String,
}

impl Practice {
    async fn new() -> Practice {
        Practice::with("live", "2026-01-01T00:00:00Z").await
    }

    async fn with(mode: &str, go_live: &str) -> Practice {
        let stripe = StripeStandin::new("rk_live_1", false);
        let settings =
            SETTINGS.replace("go_live = \"2026-01-01T00:00:00Z\"", &format!("go_live = \"{go_live}\"\nmode = \"{mode}\""));
        let settings = format!("{settings}[stripe]\napi_base = \"{}\"\nlivemode = false\n", stripe.origin());
        let engine = Engine::memory().unwrap();
        let bench = app(&engine, Arc::new(stripe.clone()), &settings).await;
        let practice = Practice { engine, bench, stripe, settings };
        practice.tick();
        practice
    }

    /// The same practice, started live a day later.
    async fn live(self) -> Practice {
        let Practice { engine, bench: shadow, stripe, settings } = self;
        let settings = settings.replace("mode = \"shadow\"", "mode = \"live\"");
        let bench = app(&engine, Arc::new(stripe.clone()), &settings).await;
        bench.host.advance_s(crate::app::Host::now(&*shadow.host).duration_since(bench.app.now()).as_secs() + 24 * 3600);
        crate::switch::at_start(&bench.app).await.unwrap();
        let practice = Practice { engine, bench, stripe, settings };
        practice.tick();
        practice
    }

    /// The stand-in has the clock of the practice.
    fn tick(&self) {
        let host = Arc::clone(&self.bench.host);
        self.stripe.set_clock(Arc::new(move || crate::app::Host::now(&*host)));
    }

    async fn pass(&self, seconds: i64) {
        self.bench.host.advance_s(seconds);
        let now = self.bench.app.now();
        for due in self.bench.app.store.due(now, 1000).await.unwrap() {
            if let vesper_adapters::dynamo::store::Due::Payout(payout) = due {
                work(&self.bench.app, &Task::PayoutV1 { payout }).await.unwrap();
            }
        }
        self.run().await;
    }

    /// Works off what concerns payouts and payments; nothing is posted or written back.
    async fn run(&self) {
        loop {
            let tasks = self.bench.queue.take();
            let ours =
                tasks.into_iter().map(|(task, _)| task).filter(|t| matches!(t, Task::PayoutV1 { .. } | Task::LookV1 { .. }));
            let ours: Vec<Task> = ours.collect();
            if ours.is_empty() {
                return;
            }
            for task in ours {
                work(&self.bench.app, &task).await.unwrap();
            }
        }
    }

    async fn send(&self, event: &Value) {
        let incoming = project(event.to_string().as_bytes(), &self.bench.app.projection).unwrap();
        reconcile::event(&self.bench.app, &incoming.event).await.unwrap();
        self.stripe.mark_delivered(event["id"].as_str().unwrap());
    }

    async fn deliver(&self) {
        for event in self.stripe.undelivered() {
            self.send(&event).await;
        }
        self.run().await;
    }

    /// What Stripe emitted is lost.
    fn lose(&self) {
        for event in self.stripe.undelivered() {
            self.stripe.mark_delivered(event["id"].as_str().unwrap());
        }
    }

    fn pay(&self, amount: i64) -> String {
        self.stripe.pay(&NewPayment::guest(amount))
    }

    async fn told(&self) -> Value {
        export(&self.bench.app.store, false).await.unwrap()
    }

    /// A page of the review, for somebody who signed in.
    async fn page(&self, path: &str, query: &str) -> PageResponse {
        let sessions = Sessions::new(Secret::new("token"), [1; 32]);
        let get = async |path: &str, query: &str, cookie: &str| {
            let headers = vec![("host".to_owned(), "127.0.0.1".to_owned()), ("cookie".to_owned(), cookie.to_owned())];
            let (method, path, query) = ("GET".to_owned(), path.to_owned(), query.to_owned());
            handle(&self.bench.app, &sessions, PageRequest { method, path, query, headers, body: vec![] }).await
        };
        assert_eq!(get(path, query, "").await.status, 401);
        let signed_in = get("/review", "token=token", "").await;
        let cookie = signed_in.headers.iter().find(|(n, _)| *n == "set-cookie").unwrap().1.split(';').next().unwrap().to_owned();
        get(path, query, &cookie).await
    }

    async fn says(&self, payout: &str, what: &str) -> bool {
        self.page(&format!("/payouts/{payout}"), "").await.body.contains(what)
    }

    /// (state, transactions, unmatched) of a payout.
    async fn stands(&self, id: &str) -> (String, i64, i64) {
        let told = self.told().await;
        let payout = told["payouts"].as_array().unwrap().iter().find(|p| p["id"] == id).cloned().unwrap_or_default();
        let number = |f: &str| payout[f].as_i64().unwrap_or(-1);
        (payout["state"].as_str().unwrap_or("unknown").to_owned(), number("transactions"), number("unmatched"))
    }

    async fn row(&self, id: &str) -> StoredPayout {
        self.bench.app.store.payout(id).await.unwrap().unwrap().item
    }

    /// What every account holds by all postings.
    async fn books(&self) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for line in self.told().await["postings"].as_array().unwrap().iter().flat_map(|p| p["lines"].as_array().unwrap().clone())
        {
            *sums.entry(line["account"].as_str().unwrap().to_owned()).or_insert(0) += line["amount"].as_i64().unwrap();
        }
        sums.retain(|_, sum| *sum != 0);
        sums
    }

    /// (clearing, checking, fees)
    async fn money(&self) -> (i64, i64, i64) {
        let books = self.books().await;
        let of = |account: &str| books.get(account).copied().unwrap_or_default();
        (of("91"), of("35"), of("66"))
    }

    async fn open(&self, subject: &str) -> Vec<String> {
        let reviews = self.bench.app.store.reviews_about(subject).await.unwrap();
        let open = reviews.into_iter().map(|r| r.item.review).filter(|r| r.status == Status::Open);
        open.map(|r| r.question.reason.to_string()).collect()
    }

    async fn answer(&self, subject: &str, chosen: Chosen) {
        let reviews = self.bench.app.store.reviews_about(subject).await.unwrap();
        let read = reviews.into_iter().find(|r| r.item.review.status == Status::Open).unwrap();
        assert_eq!(answer(&self.bench.app, "local", &read.item.review.id, read.rev, chosen).await.unwrap(), Answered::Done);
        self.run().await;
    }

    fn amount(&self, payout: &str) -> i64 {
        self.stripe.object(payout).unwrap()["amount"].as_i64().unwrap()
    }

    fn pages(&self, payout: &str) -> Vec<Option<String>> {
        let seen = self.stripe.seen("GET /v1/balance_transactions");
        let of_it = seen.iter().filter(|r| r.param("payout") == Some(payout));
        of_it.map(|r| r.param("starting_after").map(str::to_owned)).collect()
    }
}

#[tokio::test]
async fn a_payout_over_three_pages_ties_out_once_and_finds_what_was_lost() {
    let p = Practice::new().await;
    let lost = p.pay(5000);
    p.lose();
    let pays: Vec<String> = (0..230).map(|i| p.pay(2000 + i)).collect();
    p.deliver().await;
    for pi in &pays[..4] {
        p.stripe.refund(pi, None, json!({}), "succeeded");
    }
    p.lose();
    p.stripe.dispute(&pays[5]);
    p.lose();
    p.bench.app.store.payment(&vesper_core::ids::PaymentId::parse(&lost).unwrap()).await.unwrap().ok_or(()).unwrap_err();
    let po = p.stripe.payout(&NewPayout { extra_fee_minor: 100, ..NewPayout::default() });
    let events = p.stripe.undelivered();
    for event in events.iter().chain(&events) {
        p.send(event).await;
    }
    p.run().await;
    assert_eq!(p.stands(&po).await, ("tied_out".to_owned(), 237, 0));
    let fees: i64 = p.stripe.rows_of(&po).iter().map(|r| r["fee"].as_i64().unwrap()).sum::<i64>() + 100;
    assert_eq!(p.money().await, (0, p.amount(&po), fees));
    assert_eq!(p.pages(&po).iter().collect::<BTreeSet<_>>().len(), 3);
    let before = p.told().await;
    for event in &events {
        p.send(event).await;
    }
    p.run().await;
    let after = p.told().await;
    assert_eq!((&before["postings"], &before["payouts"]), (&after["postings"], &after["payouts"]), "told again: nothing");
    assert_eq!(p.row(&po).await.next_at, None);
    let transfer = before["postings"].as_array().unwrap().iter().find(|x| x["doc_number"].is_null()).unwrap();
    assert_eq!((&transfer["subject"], transfer["lines"].as_array().unwrap().len()), (&json!(po), 2));
    assert!(p.stripe.refused().is_empty(), "{:?}", p.stripe.refused());
}

#[tokio::test]
async fn a_lost_page_is_read_again_from_the_cursor() {
    let p = Practice::new().await;
    for i in 0..249 {
        p.pay(2000 + i);
    }
    p.deliver().await;
    let po = p.stripe.payout(&NewPayout::default());
    p.stripe.fault(Fault::new("GET /v1/balance_transactions*", FaultKind::Lost).skip(1));
    p.send(&p.stripe.events_of(&po)[1]).await;
    p.run().await;
    let row = p.row(&po).await;
    // The payout's own row comes first and is none of its transactions.
    assert_eq!((row.tally.transactions, row.listed, row.tries), (99, false, 1));
    assert_eq!(p.stands(&po).await.0, "waiting");
    assert_eq!(p.money().await.1, 0);
    p.pass(5).await;
    assert_eq!(p.stands(&po).await, ("tied_out".to_owned(), 249, 0));
    assert_eq!(p.pages(&po).iter().filter(|after| after.is_none()).count(), 1, "the first page is not read again");
    assert_eq!((p.money().await.0, p.row(&po).await.failing_since), (0, None));
}

#[tokio::test]
async fn a_payout_that_fails_is_reversed_and_its_fees_stay() {
    let p = Practice::new().await;
    p.pay(4200);
    let po = p.stripe.payout(&NewPayout::default());
    p.deliver().await;
    assert_eq!(p.money().await, (0, 4049, 151));
    p.stripe.fail_payout(&po);
    p.deliver().await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.money().await), ("failed", (4049, 0, 151)));
    for event in p.stripe.events_of(&po) {
        p.send(&event).await;
    }
    p.run().await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.money().await), ("failed", (4049, 0, 151)), "told again");
    // The next payout holds the money that came back, as one row.
    let next = p.stripe.payout(&NewPayout::default());
    p.deliver().await;
    assert_eq!((p.stands(&next).await, p.money().await), (("tied_out".to_owned(), 1, 0), (0, 4049, 151)));
}

#[tokio::test]
async fn a_payout_that_failed_before_anybody_told_of_it_posts_its_fees_only() {
    let p = Practice::new().await;
    p.pay(4200);
    p.deliver().await;
    let po = p.stripe.payout(&NewPayout::default());
    p.lose();
    p.stripe.fail_payout(&po);
    // The next payout tells of it: payout.failed was lost, too.
    p.lose();
    let next = p.stripe.payout(&NewPayout::default());
    p.deliver().await;
    assert_eq!(p.stands(&po).await.0, "failed");
    assert_eq!(p.stands(&next).await, ("tied_out".to_owned(), 1, 0));
    assert_eq!(p.money().await, (0, 4049, 151));
    // Late and in the wrong order.
    for event in p.stripe.events_of(&po).iter().rev() {
        p.send(event).await;
    }
    p.run().await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.money().await), ("failed", (0, 4049, 151)));
}

#[tokio::test]
async fn drift_posts_nothing_and_is_asked_once_until_it_adds_up() {
    let p = Practice::new().await;
    p.pay(5000);
    let po = p.stripe.payout(&NewPayout { drift_minor: -7, ..NewPayout::default() });
    p.deliver().await;
    for event in p.stripe.events_of(&po) {
        p.send(&event).await;
    }
    p.run().await;
    assert_eq!((p.stands(&po).await, p.open(&po).await), (("drift".to_owned(), 1, 0), vec!["payout_drift".to_owned()]));
    assert_eq!(p.money().await, (5000, 0, 0));
    p.answer(&po, Chosen::Offered(Answer::Retry)).await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.open(&po).await.len()), ("drift", 1), "still open: nothing changed");
    p.stripe.change(&po, json!({"amount": p.amount(&po) + 7}));
    p.answer(&po, Chosen::Offered(Answer::Retry)).await;
    assert_eq!((p.stands(&po).await, p.open(&po).await), (("tied_out".to_owned(), 1, 0), vec![]));
    assert_eq!(p.money().await, (0, 4825, 175));
}

#[tokio::test]
async fn a_manual_payout_is_a_persons_also_when_it_comes_back() {
    let p = Practice::new().await;
    p.pay(5000);
    let po = p.stripe.payout(&NewPayout { manual: true, ..NewPayout::default() });
    p.deliver().await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.open(&po).await), ("manual", vec!["payout_manual".to_owned()]));
    assert!(p.says(&po, "It was made by hand: Stripe does not say what is in it.").await);
    p.answer(&po, Chosen::ResolvedElsewhere).await;
    p.stripe.fail_payout(&po);
    p.deliver().await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.open(&po).await), ("manual", vec!["payout_manual".to_owned()]));
    assert_eq!(p.money().await, (5000, 0, 0));
}

#[tokio::test]
async fn a_payout_that_is_not_reconciled_is_looked_at_each_day() {
    let p = Practice::new().await;
    p.pay(5000);
    let po = p.stripe.payout(&NewPayout { in_progress: true, ..NewPayout::default() });
    p.deliver().await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.pages(&po).len()), ("waiting", 0));
    p.stripe.reconciled(&po);
    p.lose();
    p.pass(23 * 3600).await;
    assert_eq!(p.stands(&po).await.0, "waiting");
    p.pass(3600).await;
    assert_eq!(p.stands(&po).await, ("tied_out".to_owned(), 1, 0));
}

#[tokio::test]
async fn money_from_before_go_live_waits_for_the_opening_entry() {
    let p = Practice::with("live", "2026-11-21T16:00:00Z").await;
    p.pay(5000);
    p.pay(3000);
    let early = p.stripe.payout(&NewPayout { rows: Some(vec![]), ..NewPayout::default() });
    p.lose();
    p.bench.host.advance_s(2 * 3600);
    p.pay(4200);
    p.deliver().await;
    let po = p.stripe.payout(&NewPayout::default());
    p.deliver().await;
    assert_eq!((p.stands(&po).await, p.open(&po).await), (("waiting".to_owned(), 3, 0), vec!["payout_opening".to_owned()]));
    let told = p.told().await;
    let before = told["payments"].as_array().unwrap().iter().filter(|x| x["state"] == "before_go_live").count();
    assert_eq!((before, p.money().await), (2, (4200, 0, 0)));
    p.answer(&po, Chosen::ResolvedElsewhere).await;
    p.pass(24 * 3600).await;
    assert_eq!(p.stands(&po).await.0, "waiting", "that closes only the question");
    let other = p.pay(2000);
    let second = p.stripe.payout(&NewPayout { rows: Some(vec![p.stripe.row_of(&other)]), ..NewPayout::default() });
    p.deliver().await;
    assert_eq!(p.stands(&second).await.0, "tied_out", "one without older money does not wait");
    p.pay(1000);
    p.bench.app.store.payout(&early).await.unwrap().ok_or(()).unwrap_err();
    // A second one with older money asks again, and its answer wakes both.
    let old = p.stripe.object(&p.stripe.row_of(told["payments"][0]["id"].as_str().unwrap())).unwrap();
    let third = p.stripe.payout(&NewPayout { rows: Some(vec![old["id"].as_str().unwrap().to_owned()]), ..NewPayout::default() });
    p.deliver().await;
    p.answer(&third, Chosen::Offered(Answer::OpeningPosted("91".to_owned()))).await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.stands(&third).await.0.as_str()), ("tied_out", "tied_out"));
    // Only the fee of the newer money of each is posted: the opening entry holds the net of the older.
    assert_eq!(p.money().await.2, 151 + 88);
    p.send(&p.stripe.events_of(&early)[0]).await;
    p.run().await;
    assert_eq!(p.stands(&early).await.0, "unknown", "a payout that left before go_live is no part of the books");
}

#[tokio::test]
async fn an_unknown_type_ties_out_and_is_asked_about() {
    let p = Practice::new().await;
    p.pay(5000);
    let po = p.stripe.payout(&NewPayout { extra_fee_minor: 50, silent: true, ..NewPayout::default() });
    let fee = p.stripe.rows_of(&po).into_iter().find(|r| r["type"] == "stripe_fee").unwrap();
    p.stripe.change(fee["id"].as_str().unwrap(), json!({"type": "contribution", "reporting_category": "contribution"}));
    p.stripe.emit("payout.reconciliation_completed", &po, None);
    p.deliver().await;
    assert_eq!((p.stands(&po).await, p.open(&po).await), (("tied_out".to_owned(), 2, 1), vec!["payout_drift".to_owned()]));
    assert_eq!(p.money().await.0, 50, "what a person must book");
}

#[tokio::test]
async fn in_shadow_mode_everything_is_shown_and_nothing_is_to_be_sent() {
    let p = Practice::with("shadow", "2026-01-01T00:00:00Z").await;
    p.pay(4200);
    let po = p.stripe.payout(&NewPayout::default());
    p.deliver().await;
    p.stripe.fail_payout(&po);
    p.deliver().await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.money().await), ("failed", (4049, 0, 151)));
    let told = p.told().await;
    assert!(told["effects"].as_array().unwrap().iter().all(|e| e["shadow"] == true && e["state"] == "done"));
}

#[tokio::test]
async fn a_payout_of_shadow_time_that_comes_back_after_the_switch_is_a_persons_to_book() {
    let p = Practice::with("shadow", "2026-01-01T00:00:00Z").await;
    crate::switch::at_start(&p.bench.app).await.unwrap();
    p.pay(4200);
    let po = p.stripe.payout(&NewPayout::default());
    p.deliver().await;
    assert_eq!(p.stands(&po).await.0, "tied_out");
    let posted = p.told().await["postings"].as_array().unwrap().len();
    let p = p.live().await;
    p.stripe.fail_payout(&po);
    for _ in 0..2 {
        p.deliver().await;
        assert_eq!(p.stands(&po).await.0, "manual");
        assert_eq!(p.open(&po).await, ["payout_manual", "payout_manual"], "what left, and that it came back");
        assert!(p.says(&po, "It left in shadow mode.").await);
        p.stripe.emit("payout.failed", &po, None);
    }
    assert_eq!(p.told().await["postings"].as_array().unwrap().len(), posted, "nothing is posted as if in shadow mode");
}

#[tokio::test]
async fn a_refund_from_before_the_switch_is_the_ledgers_when_its_payment_is() {
    let p = Practice::with("shadow", "2026-01-01T00:00:00Z").await;
    crate::switch::at_start(&p.bench.app).await.unwrap();
    let paid = p.pay(5000);
    p.stripe.refund(&paid, Some(1000), Value::Null, "succeeded");
    let p = p.live().await;
    // Told only now: both are decided and posted live.
    p.deliver().await;
    let po = p.stripe.payout(&NewPayout::default());
    p.deliver().await;
    assert_eq!((p.stands(&po).await, p.money().await.0), (("tied_out".to_owned(), 2, 0), 0));
}

#[tokio::test]
async fn a_payout_without_an_answer_gives_up_after_a_day_and_is_redriven() {
    let p = Practice::new().await;
    p.pay(4200);
    p.deliver().await;
    let po = p.stripe.payout(&NewPayout::default());
    let down = p.stripe.fault(Fault::new("GET /v1/payouts/*", FaultKind::NotSent).always());
    p.deliver().await;
    for _ in 0..110 {
        p.pass(15 * 60).await;
    }
    assert_eq!(p.told().await["dead_letters"], json!([{"queue": "payouts", "id": po}]));
    assert_eq!((p.open(&po).await, p.row(&po).await.next_at), (vec!["dead_letter".to_owned()], None));
    p.stripe.clear_fault(down);
    assert_eq!(crate::dead_letters::redrive_all(&p.bench.app).await.unwrap(), 1);
    p.run().await;
    assert_eq!((p.stands(&po).await, p.open(&po).await), (("tied_out".to_owned(), 1, 0), vec![]));
    assert_eq!(p.told().await["dead_letters"], json!([]));
}

#[tokio::test]
async fn the_pages_lead_from_the_payout_to_its_payments_and_say_what_is_missing() {
    let p = Practice::new().await;
    let first = p.pay(5000);
    for i in 0..120 {
        p.pay(1000 + i);
    }
    let po = p.stripe.payout(&NewPayout { drift_minor: 3, ..NewPayout::default() });
    p.deliver().await;
    let list = p.page("/payouts", "").await;
    assert_eq!(list.status, 200);
    assert!(list.body.contains(&format!("/payouts/{po}")) && list.body.contains("does not add up"), "{}", list.body);
    let page = p.page(&format!("/payouts/{po}"), "").await;
    assert!(page.body.contains("0.03 too much") || page.body.contains("-0.03 too much"), "{}", page.body);
    assert!(page.body.contains(&format!("/payouts/{po}?from=101")) && page.body.contains("Payout does not add up"));
    let rest = p.page(&format!("/payouts/{po}"), "from=101").await;
    assert!(rest.body.contains(&format!("/payments/{first}")) && rest.body.contains("unapplied 50.00 USD"), "{}", rest.body);
    assert_eq!(p.page("/payouts/po_nobody", "").await.status, 404);
    let review = p.bench.app.store.reviews_about(&po).await.unwrap().remove(0).item.review.id;
    assert!(p.page(&format!("/review/{review}"), "").await.body.contains(&format!("/payouts/{po}")));
}

#[tokio::test]
async fn money_in_another_currency_than_the_books_is_posted_nowhere_and_a_person_is_told() {
    let p = Practice::new().await;
    let id = p.stripe.pay(&NewPayment::guest(10_000).currency("eur"));
    p.deliver().await;
    assert_eq!(p.open(&id).await, ["unknown_client"], "it is a payment like any other");
    assert_eq!(p.books().await, BTreeMap::new(), "100.00 EUR are not 100.00 USD");
    let charge = p.stripe.object(&id).unwrap()["latest_charge"].as_str().unwrap().to_owned();
    let (charge, payment) = (ChargeId::parse(&charge).unwrap(), PaymentId::parse(&id).ok());
    let minor = |amount| Minor::new(amount).unwrap();
    let converted = PayoutRow {
        id: "txn_1".to_owned(),
        kind: RowKind::Charge { charge, payment },
        amount: minor(10_800),
        fee: minor(300),
        net: minor(10_500),
        currency: Currency::USD,
        created: p.bench.app.now(),
    };
    let matched = super::classify(&p.bench.app, vec![converted]).await.unwrap();
    assert_eq!(matched[0].1, Matched::Unmatched, "a person books what it became");
    let po = p.stripe.payout(&NewPayout::default());
    p.deliver().await;
    assert_eq!((p.stands(&po).await.0.as_str(), p.open(&po).await), ("manual", vec!["payout_manual".to_owned()]));
    assert!(p.says(&po, "It is in another currency than the books.").await);
    assert_eq!(p.books().await, BTreeMap::new());
}
