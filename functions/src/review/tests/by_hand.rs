//! Worklist items: handed over instead of tried, shown with what is to be typed in, marked done, cancelled by what takes them back.

use super::pages::{Browser, hidden};
use super::{Practice, minor, pi};
use crate::review::answers::{Answered, mark_done};
use crate::testing::{SETTINGS, Script};
use crate::{dead_letters, write_back};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::{StoredAllocation, StoredReversal};
use vesper_adapters::dynamo::store::{RowRef, WriteBack};
use vesper_core::effect::EffectState;
use vesper_core::ids::ClientId;

const HOUR_S: i64 = 3600;

/// The same practice with dropped files instead of a bridge.
fn files() -> String {
    SETTINGS.replace("base_url = \"https://ehr.example\"", "kind = \"files\"")
}

async fn by_files() -> Practice {
    let p = Practice::on(&files(), Script::new(|_| panic!("somebody was called")), &[("i1", 4000), ("i2", 9000)]).await;
    p.pay(4000, None).await;
    p
}

/// A bridge whose word may change: whether it writes, and whether it reverses. It refuses every write.
fn bridge(writes: &Arc<AtomicBool>) -> Arc<Script> {
    let writes = Arc::clone(writes);
    Script::new(move |request| {
        let can = writes.load(Ordering::SeqCst);
        let capabilities =
            format!(r#"{{"system":"made_up","writes_payments":{can},"reverses_payments":{can},"idempotent_writes":true}}"#);
        let status = if request.url.contains("/by-reference/") { 404 } else { 422 };
        if request.url.contains("/capabilities") { Ok((200, capabilities)) } else { Ok((status, "{}".to_owned())) }
    })
}

async fn the_row(p: &Practice) -> Read<StoredAllocation> {
    let mut rows = p.allocations().await;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

async fn reversals(p: &Practice) -> Vec<StoredReversal> {
    let client = ClientId::parse("c_1").unwrap();
    let rows = p.bench.app.store.reversals(&client, &pi()).await.unwrap();
    rows.into_iter().map(|r| r.item).collect()
}

fn state(row: &StoredAllocation) -> EffectState {
    row.effect.as_ref().unwrap().state
}

async fn open(p: &Practice) -> usize {
    p.bench.app.store.worklist(None, 10).await.unwrap().len()
}

async fn write(p: &Practice) {
    let row = the_row(p).await;
    write_back::write(&p.bench.app, &RowRef::of(&row.item)).await.unwrap();
}

/// Nothing is due, now or in three days, and nothing has been sent to a queue.
async fn left_alone(p: &Practice) {
    p.bench.host.advance_s(72 * HOUR_S);
    let due = p.bench.app.store.due(p.bench.app.now(), 50).await.unwrap();
    assert!(!due.iter().any(|d| matches!(d, vesper_adapters::dynamo::store::Due::WriteBack(_))), "{due:?}");
    assert_eq!(dead_letters::redrive_all(&p.bench.app).await.unwrap(), 0);
}

#[tokio::test]
async fn with_files_a_payment_is_an_item_until_a_person_marks_it_done_on_its_page() {
    let p = by_files().await;
    left_alone(&p).await;
    let row = the_row(&p).await;
    assert!(row.item.is_worklist_item() && !row.item.allocation.typed_in);
    let b = Browser::signed_in(&p).await;
    let list = b.get("/review").await.body;
    for wanted in ["To be typed into the EHR", "href=\"/payments/pi_1#items\"", "40.00 USD", "i1"] {
        assert!(list.contains(wanted), "{wanted}");
    }
    let page = b.get("/payments/pi_1").await.body;
    let effect = row.item.effect.as_ref().unwrap().id.to_string();
    let button = format!("mark_done:{effect}");
    for wanted in [
        "Record a payment of 40.00 USD",
        &row.item.allocation.reference,
        "2026-11-21",
        "only you know whether it stands there already",
        &format!("<button name=\"answer\" value=\"{button}\">Mark done</button>"),
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert_eq!(page.matches("<form ").count(), 1, "one form, as the contract says");
    let (version, csrf) = (hidden(&page, "version"), hidden(&page, "csrf"));
    let own = format!("ehr_payment:{effect}");
    let cases = [
        ("a name is no id", own.as_str(), "Persephone Quill", "", 422),
        ("an id for another item", "ehr_payment:eff_other", "epay_1", "", 422),
        ("an invoice is typed", own.as_str(), "", "i2", 422),
        ("done", own.as_str(), "epay-7", "", 303),
        ("the second time", own.as_str(), "epay-7", "", 409),
    ];
    for (what, name, id, invoice, status) in cases {
        let fields =
            [("version", version.as_str()), ("csrf", &csrf), (name, id), ("invoice", invoice), ("answer", button.as_str())];
        assert_eq!(b.post("/payments/pi_1", &fields, &[]).await.status, status, "{what}");
    }
    let row = the_row(&p).await;
    assert_eq!((state(&row.item), row.item.allocation.typed_in), (EffectState::Done, true));
    assert_eq!(row.item.ehr_payment.unwrap().as_str(), "epay-7");
    assert_eq!(open(&p).await, 0);
    assert_eq!(p.audited("typed_in").await, ["pi_1 40.00 USD on i1, EHR payment epay-7"]);
    let page = b.get("/payments/pi_1").await.body;
    assert!(!page.contains("To be typed into the EHR") && page.contains("done"));
    assert!(!b.get("/review").await.body.contains("To be typed into the EHR"));
    let forged = [("version", version.as_str()), ("csrf", "0"), ("answer", &button)];
    assert_eq!(b.post("/payments/pi_1", &forged, &[]).await.status, 403);
}

#[tokio::test]
async fn what_is_taken_back_before_it_was_typed_in_cancels_itself() {
    let whole = by_files().await;
    whole.refund(4000).await;
    assert_eq!((open(&whole).await, state(&the_row(&whole).await.item)), (0, EffectState::Done));
    assert_eq!(reversals(&whole).await[0].effect.state, EffectState::Done);

    let part = by_files().await;
    part.refund(1000).await;
    let b = Browser::signed_in(&part).await;
    let page = b.get("/payments/pi_1").await.body;
    assert!(page.contains("Record a payment of 30.00 USD") && page.contains("taken back before it was typed in"));
    let effect = the_row(&part).await.item.effect.unwrap().id.to_string();
    let rev = part.rev().await;
    assert_eq!(mark_done(&part.bench.app, "local", &pi(), rev, &effect, "").await.unwrap(), Answered::Done);
    let row = the_row(&part).await.item;
    assert_eq!((row.allocation.amount, row.allocation.net()), (minor(3000), minor(3000)), "what stands in the EHR");
    assert_eq!(open(&part).await, 0);
}

#[tokio::test]
async fn what_is_taken_back_after_it_was_marked_done_is_an_item_of_its_own() {
    let p = by_files().await;
    let effect = the_row(&p).await.item.effect.unwrap().id.to_string();
    let rev = p.rev().await;
    assert_eq!(mark_done(&p.bench.app, "local", &pi(), rev, &effect, "").await.unwrap(), Answered::Done);
    p.refund(1000).await;
    assert_eq!(mark_done(&p.bench.app, "local", &pi(), rev, &effect, "").await.unwrap(), Answered::Stale);
    left_alone(&p).await;
    let b = Browser::signed_in(&p).await;
    let page = b.get("/payments/pi_1").await.body;
    assert!(page.contains("Take back 10.00 USD") && page.contains("the money was refunded"));
    let back = reversals(&p).await.remove(0);
    assert!(back.is_worklist_item() && page.contains(&format!("mark_done:{}", back.effect.id)));
    let rev = p.rev().await;
    let done = mark_done(&p.bench.app, "local", &pi(), rev, back.effect.id.as_str(), "").await.unwrap();
    assert_eq!((done, open(&p).await), (Answered::Done, 0));
    assert_eq!(p.audited("typed_in").await[1], "pi_1 took back 10.00 USD on i1");
}

#[tokio::test]
async fn of_four_people_who_mark_the_same_item_one_does() {
    let p = by_files().await;
    let effect = the_row(&p).await.item.effect.unwrap().id.to_string();
    let rev = p.rev().await;
    let id = pi();
    let one = || mark_done(&p.bench.app, "local", &id, rev, &effect, "");
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    let all = [a, b, c, d].map(Result::unwrap);
    assert_eq!(all.iter().filter(|a| **a == Answered::Done).count(), 1, "{all:?}");
    assert_eq!(p.audited("typed_in").await.len(), 1);
}

#[tokio::test]
async fn a_bridge_that_does_not_write_hands_over_and_does_not_take_back_what_it_gave() {
    let writes = Arc::new(AtomicBool::new(false));
    let script = bridge(&writes);
    let p = Practice::on(SETTINGS, script.clone(), &[("i1", 4000)]).await;
    p.pay(4000, None).await;
    write(&p).await;
    let row = the_row(&p).await;
    assert!(row.item.is_worklist_item() && row.item.effect.as_ref().unwrap().tries == 0);
    assert!(script.take().iter().all(|r| r.url.contains("/capabilities")), "nothing was written");
    left_alone(&p).await;
    // It can write again: a person may have typed it in meanwhile, so it stays his.
    writes.store(true, Ordering::SeqCst);
    write(&p).await;
    left_alone(&p).await;
    assert!(script.take().is_empty() && the_row(&p).await.item.is_worklist_item());
}

#[tokio::test]
async fn a_bridge_that_stopped_writing_since_it_was_asked_is_no_refusal() {
    let writes = Arc::new(AtomicBool::new(true));
    let p = Practice::on(SETTINGS, bridge(&writes), &[("i1", 4000), ("i2", 5000)]).await;
    p.pay(4000, None).await;
    write(&p).await;
    let row = the_row(&p).await;
    assert_eq!((state(&row.item), p.reasons().await.len()), (EffectState::Dead, 1), "a refusal while it says that it writes");
    // Sent again by a person. The capabilities are known from a minute ago, and have changed since.
    write_back::redrive(&p.bench.app, &RowRef::of(&row.item)).await.unwrap();
    writes.store(false, Ordering::SeqCst);
    write(&p).await;
    assert!(the_row(&p).await.item.is_worklist_item());
    assert_eq!(p.reasons().await.len(), 1, "nothing more is asked");
}

#[tokio::test]
async fn a_reversal_waiting_for_a_payment_that_is_handed_over_goes_with_it() {
    let writes = Arc::new(AtomicBool::new(false));
    let p = Practice::on(SETTINGS, bridge(&writes), &[("i1", 4000)]).await;
    p.pay(4000, None).await;
    p.refund(1000).await;
    let back = reversals(&p).await.remove(0);
    assert!(!back.worklist && back.effect.is_waiting());
    write(&p).await;
    let items = p.bench.app.store.worklist(None, 10).await.unwrap();
    assert!(matches!(&items[..], [WriteBack::Allocation(read)] if read.item.allocation.net() == minor(3000)), "{items:?}");
    assert_eq!(reversals(&p).await[0].effect.state, EffectState::Done);
    write_back::write(&p.bench.app, &RowRef::of(&back)).await.unwrap();
    assert_eq!(open(&p).await, 1, "its late message changes nothing");
}

#[tokio::test]
async fn a_bridge_that_writes_and_does_not_reverse_hands_over_the_reversal_alone() {
    let script = Script::new(|request| {
        let capabilities =
            r#"{"system":"made_up","writes_payments":true,"reverses_payments":false,"idempotent_writes":true}"#.to_owned();
        if request.url.contains("/capabilities") { Ok((200, capabilities)) } else { Ok((404, "{}".to_owned())) }
    });
    let p = Practice::on(SETTINGS, script, &[("i1", 4000)]).await;
    p.pay(4000, None).await;
    let mut row = the_row(&p).await;
    row.item.ehr_payment = vesper_core::ids::EhrPaymentId::parse("epay_1").ok();
    row.item.effect.as_mut().unwrap().succeed();
    p.bench.app.store.save(&mut row).await.unwrap();
    p.refund(1000).await;
    let back = reversals(&p).await.remove(0);
    write_back::write(&p.bench.app, &RowRef::of(&back)).await.unwrap();
    let items = p.bench.app.store.worklist(None, 10).await.unwrap();
    assert!(matches!(&items[..], [WriteBack::Reversal(read)] if read.item.amount == minor(1000)), "{items:?}");
    left_alone(&p).await;
}
