//! The sweep over the embedded engine, against the stand-in of Stripe: what ends it, and what only stops it for a while.

use super::*;
use crate::chores::HEAL;
use crate::dead_letters;
use crate::task::Task;
use crate::testing::{Bench, SETTINGS, app};
use serde_json::json;
use std::sync::Arc;
use vesper_adapters::dynamo::embedded::Engine;
use vesper_core::review::Status;
use vesper_standins::{Fault, FaultKind, Scripted, StripeStandin};

const EVENTS: usize = 250;
const DAY_S: i64 = 24 * 3600;

/// A practice whose Stripe holds 250 events of now: three pages.
async fn practice() -> (Bench, StripeStandin) {
    let stripe = StripeStandin::new("rk_live_1", false);
    let settings = format!("{SETTINGS}[stripe]\napi_base = \"{}\"\nlivemode = false\n", stripe.origin());
    let bench = app(&Engine::memory().unwrap(), Arc::new(stripe.clone()), &settings).await;
    let host = Arc::clone(&bench.host);
    stripe.set_clock(Arc::new(move || crate::app::Host::now(&*host)));
    let customer = stripe.customer(Some("ada@example.org"), None);
    for _ in 0..EVENTS {
        stripe.announce(&customer);
    }
    (bench, stripe)
}

async fn sweep_now(bench: &Bench) -> StoredChore {
    chores::wanted(&bench.app, HEAL).await.unwrap();
    chores::work(&bench.app, HEAL).await.unwrap();
    bench.app.store.chore(HEAL).await.unwrap().unwrap().item
}

#[tokio::test]
async fn a_refused_page_is_not_the_end_of_the_events() {
    let coded = json!({ "error": { "type": "invalid_request_error", "code": "resource_missing" } });
    let refusals = [
        ("a bad request", Scripted::json(400, &json!({ "error": { "type": "invalid_request_error" } }))),
        ("an error that Stripe does not want repeated", Scripted::status(500).header("Stripe-Should-Retry", "false")),
        ("a young event that it does not find", Scripted::json(400, &coded)),
    ];
    for (what, refusal) in refusals {
        let (bench, stripe) = practice().await;
        let all = stripe.undelivered().len();
        stripe.fault(Fault::new("GET /v1/events*", FaultKind::Status(refusal)).skip(1));
        let chore = sweep_now(&bench).await;
        assert_eq!((chore.done_at, chore.tries), (None, 1), "{what}: it is tried again");
        let chore = sweep_now(&bench).await;
        let note = chore.note.unwrap_or_default();
        assert!(chore.done_at.is_some() && note.starts_with(&format!("{all} events")), "{what}: {note}");
    }
}

#[tokio::test]
async fn an_event_that_stripe_no_longer_keeps_ends_the_sweep() {
    let (bench, stripe) = practice().await;
    bench.host.advance_s(29 * DAY_S);
    stripe.fault(Fault::new("GET /v1/events*", FaultKind::NotSent).skip(1));
    assert_eq!(sweep_now(&bench).await.done_at, None);
    bench.host.advance_s(2 * DAY_S);
    assert!(sweep_now(&bench).await.done_at.is_some());
    assert!(stripe.refused().is_empty(), "{:?}", stripe.refused());
}

#[tokio::test]
async fn a_sweep_that_does_not_get_on_is_told_each_time() {
    let (bench, stripe) = practice().await;
    for outage in 1..=2 {
        let down = stripe.fault(Fault::new("GET /v1/events*", FaultKind::NotSent).always());
        // A day, another one, and another one after the first question was answered.
        for (day, told) in [(1, outage * 2 - 1), (2, outage * 2 - 1), (3, outage * 2)] {
            for _ in 0..28 {
                sweep_now(&bench).await;
            }
            assert_eq!(questions(&bench).await, (told, 1), "outage {outage}, day {day}");
            if day == 2 {
                let waits = bench.app.store.chore(HEAL).await.unwrap().unwrap().item.next_at;
                assert!(waits > Some(bench.app.now()), "its next try is not due yet");
                bench.queue.take();
                assert_eq!(dead_letters::redrive_all(&bench.app).await.unwrap(), 1);
                assert_eq!(questions(&bench).await, (told, 0));
                let now = bench.app.store.chore(HEAL).await.unwrap().unwrap().item.next_at;
                assert_eq!(now, Some(bench.app.now()), "a person said now");
                assert_eq!(bench.queue.take(), [(Task::ChoreV1 { chore: HEAL.to_owned() }, 0)]);
            }
        }
        stripe.clear_fault(down);
        assert!(sweep_now(&bench).await.done_at.is_some());
        assert_eq!(questions(&bench).await, (outage * 2, 0));
    }
}

#[tokio::test]
async fn a_message_of_a_sweep_that_came_to_its_end_begins_none() {
    let (bench, _stripe) = practice().await;
    let done = sweep_now(&bench).await;
    let task = Task::ChoreV1 { chore: HEAL.to_owned() };
    dead_letters::bury(&bench.app, "message", &task, "the store did not answer").await.unwrap();
    assert_eq!(dead_letters::redrive_all(&bench.app).await.unwrap(), 1);
    assert_eq!(bench.app.store.chore(HEAL).await.unwrap().unwrap().item.next_at, done.next_at);
}

/// How many questions there are about the sweep, and how many of them are open.
async fn questions(bench: &Bench) -> (usize, usize) {
    let reviews = bench.app.store.reviews_about(HEAL).await.unwrap();
    (reviews.len(), reviews.iter().filter(|r| r.item.review.status == Status::Open).count())
}
