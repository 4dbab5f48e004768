//! The heartbeat where something is wrong with the table itself.

use vesper_adapters::dynamo::row::{Cond, Row};
use vesper_core::review::Reason;
use vesper_functions::changes::Changes;
use vesper_tests::harness::{Bundle, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_row_that_cannot_be_read_becomes_one_question_and_stops_no_heartbeat() {
    let b = Bundle::new(Options::default()).await;
    let text = str::to_owned;
    let row = Row {
        pk: text("PAYMENT#pi_9"),
        sk: text("POSTING#pst_9"),
        kind: text("PostingV1"),
        body: text("{}"),
        rev: 0,
        sealed: None,
        due: Some(text("2026-01-01T00:00:00Z#x")),
        list: None,
        expires_at_s: None,
    };
    b.app().store.table().put(row, Cond::Absent).await.unwrap();
    for _ in 0..3 {
        b.stack.beat().await.unwrap();
    }
    let asked = b.app().store.reviews_about("PAYMENT#pi_9 POSTING#pst_9").await.unwrap();
    let reasons: Vec<Reason> = asked.iter().map(|r| r.item.review.question.reason).collect();
    assert_eq!(reasons, [Reason::DeadLetter]);
    assert!(b.app().store.last_seal().await.unwrap().is_some(), "the beat went on to the seals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_seals_all_there_is_however_long_the_last_one_is_ago() {
    let b = Bundle::new(Options::default()).await;
    // More than one sealing takes.
    for batch in 0..24 {
        let mut changes = Changes::new(b.app(), b.app().now());
        for n in 0..80 {
            changes.audit("decided", "pi_1", &format!("{batch} {n}"));
        }
        changes.commit().await.unwrap();
    }
    b.stack.beat().await.unwrap();
    let (open, _) = b.app().store.unsealed_and(10, &[]).await.unwrap();
    assert_eq!(open.len(), 0);
}
