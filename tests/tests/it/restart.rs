//! The real binary: kill -9 in the middle of work, a second process on the same directory, SIGTERM, the commands beside it.

use serde_json::{Value, json};
use vesper_standins::stripe::NewPayment;
use vesper_tests::harness::Told;
use vesper_tests::harness::process::Process;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// So many clients with one invoice each, and a payment for each that Stripe has not told of yet.
fn bills(p: &Process, count: i64) -> Vec<(String, i64)> {
    let each = (0..count).map(|n| {
        let customer = p.standins.stripe.customer(None, None);
        let client = p.standins.ehr.client(&format!("c_{n}"), json!({"stripe_customer_ids": [customer]}));
        let invoice = p.standins.ehr.invoice(&format!("inv_{n}"), &client, 2000 + n, 0, json!({}));
        (customer, invoice, 2000 + n)
    });
    let each: Vec<_> = each.collect();
    let pay = |(customer, invoice, amount): (String, String, i64)| {
        let _ = p.standins.stripe.pay(&NewPayment::of(&customer, amount).metadata("vesper_invoice", &invoice));
        (invoice, amount)
    };
    each.into_iter().map(pay).collect()
}

#[track_caller]
fn once_each(p: &Process, told: &Told, bills: &[(String, i64)]) {
    assert_eq!(p.broken(told), Vec::<String>::new());
    for (invoice, amount) in bills {
        let allocations = told.invoice(invoice)["allocations"].as_array().unwrap();
        assert_eq!((allocations.len(), allocations[0]["amount"].as_i64()), (1, Some(*amount)), "{invoice}");
    }
    assert_eq!((p.standins.ehr.written().len(), p.standins.quickbooks.entries().len()), (bills.len(), bills.len()));
    assert!(told.all_asked().is_empty() && told.list("dead_letters").is_empty(), "{:?}", told.all_asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_any_moment_loses_nothing_and_repeats_nothing() {
    let mut p = Process::new("info").await;
    p.start().await;
    let bills = bills(&p, 20);
    p.sync().await;
    let mut rng = Rng(20_261_123);
    while !p.standins.stripe.undelivered().is_empty() {
        // The process dies after this many acknowledged deliveries, wherever the work on them then stands.
        let lives = 1 + rng.below(9);
        for event in p.standins.stripe.undelivered().iter().take(usize::try_from(lives).unwrap()) {
            assert_eq!(p.send(event).await, 200, "{}", p.logged());
            p.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
        }
        p.kill();
        p.start().await;
    }
    let told = p.settle().await;
    once_each(&p, &told, &bills);
    // What was acknowledged before is told once more, and changes nothing.
    for (n, _) in bills.iter().enumerate() {
        let events: Vec<Value> = told.list("payments")[n]["id"].as_str().map(|id| p.standins.stripe.events_of(id)).unwrap();
        for event in events {
            assert_eq!(p.send(&event).await, 200);
        }
    }
    p.drain().await;
    assert_eq!(p.export().await.outcome(), told.outcome());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_many_deliver_at_once() {
    let mut p = Process::new("info").await;
    p.start().await;
    let bills = bills(&p, 20);
    p.sync().await;
    for round in 0..2 {
        let events = p.standins.stripe.undelivered();
        let half = events.len() / 2;
        let all = std::sync::Arc::new(p);
        let mut senders = tokio::task::JoinSet::new();
        for event in events {
            let p = std::sync::Arc::clone(&all);
            senders.spawn(async move {
                if p.send(&event).await == 200 {
                    p.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
                }
            });
        }
        for _ in 0..half {
            senders.join_next().await.unwrap().unwrap();
        }
        // Half is answered; the others are under way when it dies.
        if round == 0 {
            all.kill_now();
        }
        while senders.join_next().await.is_some() {}
        p = std::sync::Arc::into_inner(all).unwrap();
        if round == 0 {
            p.kill();
            p.start().await;
        }
    }
    let told = p.settle().await;
    once_each(&p, &told, &bills);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_in_the_middle_of_work_ends_with_0_and_a_second_serve_is_refused() {
    let mut p = Process::new("info").await;
    p.start().await;
    let bills = bills(&p, 5);
    p.sync().await;
    let second = p.serve_again().await;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!((second.status.code(), said.contains("another vesper serve runs on")), (Some(2), true), "{said}");
    p.deliver().await;
    assert_eq!(p.terminate().await.code(), Some(0), "{}", p.logged());
    p.start().await;
    let told = p.settle().await;
    once_each(&p, &told, &bills);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_and_pause_work_beside_a_running_serve() {
    let mut p = Process::new("info").await;
    p.start().await;
    let bills = bills(&p, 2);
    p.sync().await;
    assert_eq!(p.beside(&["pause", "postings"]).await.status.code(), Some(0));
    p.deliver().await;
    p.drain().await;
    p.advance(3600).await;
    assert_eq!((p.standins.ehr.written().len(), p.standins.quickbooks.entries().len()), (2, 0), "postings are held");
    let output = p.beside(&["export"]).await;
    assert_eq!(output.status.code(), Some(0));
    let beside: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(beside, p.export().await.0, "what the command prints is what the process knows");
    assert_eq!(p.beside(&["pause", "none"]).await.status.code(), Some(0));
    let told = p.settle().await;
    once_each(&p, &told, &bills);
    assert_eq!(p.beside(&["pause", "everything"]).await.status.code(), Some(2));
}

/// Stripe has emitted these events, and nobody ever gets them.
fn lose(p: &Process) {
    for event in p.standins.stripe.undelivered() {
        p.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_works_beside_a_serve_and_by_itself_and_moves_go_live_when_told_to() {
    let mut p = Process::new("info").await;
    let toml = p.data().parent().unwrap().join("practice.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, text.replace("2020-01-01T00:00:00Z", "2026-11-24T00:00:00Z")).unwrap();
    let missing = p.beside(&["backfill", "--since", "2026-11-20"]).await;
    assert_eq!(missing.status.code(), Some(2), "there is no such directory yet");
    p.start().await;
    let bills = bills(&p, 3);
    p.sync().await;
    lose(&p);
    // Beside: older than go_live, and so only recorded.
    let output = p.beside(&["backfill", "--since", "2026-11-20"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        (output.status.code(), said.contains("6 of them were missed") || said.contains("3 of them")),
        (Some(0), true),
        "{said}"
    );
    let told = p.export().await;
    assert!(told.list("payments").iter().all(|x| x["state"] == "before_go_live") && told.list("payments").len() == 3);
    let refused = p.beside(&["backfill", "--since", "2026-11-20", "--decide-old"]).await;
    assert_eq!(refused.status.code(), Some(2), "only where no serve runs");
    assert_eq!(p.terminate().await.code(), Some(0));
    // By itself: it needs the settings, decides, and leaves the writing to the next serve.
    let bare = p.beside(&["backfill", "--since", "2026-11-20"]).await;
    assert_eq!((bare.status.code(), String::from_utf8_lossy(&bare.stderr).contains("--config")), (Some(2), true));
    for again in [false, true] {
        let alone = ["backfill", "--since", "2026-11-20", "--decide-old", "--config", "practice.toml"];
        let output = p.beside(&alone).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.contains(" 0 of them were missed")), (Some(0), again), "{said}{problem}");
    }
    assert_eq!(p.standins.ehr.written().len(), 0);
    p.start().await;
    let told = p.settle().await;
    once_each(&p, &told, &bills);
}
