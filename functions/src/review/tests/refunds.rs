//! Answers about money that went back, and refunds that wait for such an answer.

use super::*;

#[tokio::test]
async fn a_refund_is_split_as_a_person_says_and_what_it_re_opens_waits_for_its_own_answer() {
    let p = Practice::new(&[("i1", 1000), ("i2", 2000)]).await;
    p.pay(3000, None).await;
    assert_eq!(p.stands().await.1.len(), 2, "rule 7");
    let movement = p.refund(500).await;
    assert!(movement.item.movement.taken.is_none());
    let take = |id: &str| Answer::TakeBack { allocations: vec![(inv(id), minor(500))], unapplied: Minor::ZERO };
    let question = Question::new(Reason::RefundSplit, vec![take("i1"), take("i2")], "which");
    let about = serde_json::to_string(&RowRef::of(&movement.item)).unwrap();
    let review = p.ask(question, Some(about), "pi_1").await;
    assert_eq!(p.answer(&review, Chosen::Offered(take("i2"))).await, Answered::Done);
    assert_eq!(p.stands().await.1, [("i1".to_owned(), 1000), ("i2".to_owned(), 1500)]);
    assert_eq!(p.reversals().await, [("i2".to_owned(), 500, BackReason::Refund)]);
    assert_eq!(p.books().await, books(&[("91", 2500), ("80", -3000), ("67", 500)]));
    let reopened = |all: Vec<Read<StoredAllocation>>| -> Vec<bool> { all.iter().map(|r| r.item.allocation.reopened).collect() };
    assert_eq!(reopened(p.allocations().await), [false, true]);
    assert_eq!(p.bench.queue.take().iter().filter(|(t, _)| matches!(t, Task::LookV1 { .. })).count(), 0);

    let waits = PaymentId::parse("pi_2").unwrap();
    let mut unit = Unit::new();
    let watch = Watch::Client(ClientId::parse("c_1").unwrap());
    park(&mut unit, &waits, p.bench.app.now(), &BTreeSet::new(), &BTreeSet::from([watch]));
    p.bench.app.store.commit(unit).await.unwrap();
    let refunded = p.the_review().await;
    assert_eq!(refunded.item.review.question.reason, Reason::Refunded);
    assert_eq!(p.answer(&refunded, Chosen::Offered(Answer::ReBill)).await, Answered::Done);
    assert_eq!(reopened(p.allocations().await), [false, false]);
    assert!(p.bench.queue.take().contains(&(Task::LookV1 { payment: waits }, 0)), "parked payments are looked at again");
}

#[tokio::test]
async fn a_split_that_does_not_fit_any_more_is_refused() {
    let p = Practice::new(&[("i1", 1000), ("i2", 2000)]).await;
    p.pay(3000, None).await;
    p.refund(500).await;
    let too_much = Answer::TakeBack { allocations: vec![(inv("i1"), minor(400))], unapplied: Minor::ZERO };
    let nowhere = Answer::TakeBack { allocations: vec![(inv("i9"), minor(500))], unapplied: Minor::ZERO };
    let unapplied = Answer::TakeBack { allocations: vec![], unapplied: minor(500) };
    let question = Question::new(Reason::RefundSplit, vec![too_much.clone(), nowhere.clone(), unapplied.clone()], "which");
    let review = p.ask(question, Some("re_1".to_owned()), "pi_1").await;
    for answer in [too_much, nowhere, unapplied] {
        refused(&p.answer(&review, Chosen::Offered(answer)).await);
    }
    assert_eq!(p.stands().await.1.len(), 2);
}

#[tokio::test]
async fn an_allocation_whose_row_moved_meanwhile_is_not_taken_back_on_the_payment_alone() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(1000, None).await;
    let app = &p.bench.app;
    let mut row = p.file().await.payment.unwrap();
    let day = app.local_date(app.now());
    let step = row.item.payment.take_back(&[1], Dates { money: day, decision: day });
    let elsewhere = app.store.load_clients([ClientId::parse("c_2").unwrap()]).await.unwrap();
    let mut changes = Changes::new(app, app.now());
    changes.take_back(&row.item.payment, &step.taken_back, BackReason::Correction, day, &elsewhere);
    changes.allocate(&row.item.payment, &step);
    changes.unit.update(&row);
    assert!(changes.commit().await.is_err_and(|e| e.is_conflict()), "read again");
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("i1".to_owned(), 1000)], 0, 0));
}

/// Two invoices are paid, and a refund of `amount` waits for a word from which of them it is taken.
async fn refund_that_waits(amount: i64) -> Practice {
    let p = Practice::new(&[("i1", 1000), ("i2", 2000)]).await;
    p.pay(3000, None).await;
    assert!(p.refund(amount).await.item.movement.taken.is_none());
    let from_i1 = Answer::TakeBack { allocations: vec![(inv("i1"), minor(amount))], unapplied: Minor::ZERO };
    p.ask(Question::new(Reason::RefundSplit, vec![from_i1], "which"), Some("re_1".to_owned()), "pi_1").await;
    p
}

#[tokio::test]
async fn what_a_person_takes_back_pays_first_the_refund_that_waited() {
    let p = refund_that_waits(500).await;
    assert_eq!(take_back(&p.bench.app, "local", &pi(), p.rev().await).await.unwrap(), Answered::Done);
    assert_eq!(p.stands().await, (PaymentState::Review, vec![], 2500, 0));
    assert_eq!(p.books().await, books(&[("91", 2500), ("92", -2500)]));
    assert_eq!(p.reasons().await, [Reason::NoInvoice]);

    let p = refund_that_waits(500).await;
    p.invoice("c_2", "large", 9000, |_| {}).await;
    let moved = move_allocations(&p.bench.app, "local", &pi(), p.rev().await, "large").await.unwrap();
    assert_eq!((moved, p.stands().await), (Answered::Done, (PaymentState::Decided, vec![("large".to_owned(), 2500)], 0, 0)));
    assert_eq!(p.books().await, books(&[("91", 2500), ("80", -2500)]));
    assert_eq!(p.reasons().await, []);
}

#[tokio::test]
async fn what_becomes_client_credit_again_pays_first_the_refund_that_waited() {
    let p = Practice::new(&[("i1", 4000)]).await;
    p.pay(4000, None).await;
    let app = &p.bench.app;
    assert_eq!(move_allocations(app, "local", &pi(), p.rev().await, "N-77").await.unwrap(), Answered::Done);
    assert_eq!(apply_credit(app, "local", &pi(), p.rev().await, "i1").await.unwrap(), Answered::Done);
    assert!(p.refund(500).await.item.movement.taken.is_none());
    let from_i1 = Answer::TakeBack { allocations: vec![(inv("i1"), minor(500))], unapplied: Minor::ZERO };
    p.ask(Question::new(Reason::RefundSplit, vec![from_i1], "which"), Some("re_1".to_owned()), "pi_1").await;
    assert_eq!(credit_back(app, "local", &pi(), p.rev().await).await.unwrap(), Answered::Done);
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("other".to_owned(), 2500)], 1000, 1000));
    assert_eq!(p.books().await, books(&[("80", -2500), ("91", 3500), ("93", -1000)]));
    assert_eq!(p.reasons().await, []);
}

#[tokio::test]
async fn a_refund_that_waits_for_more_than_was_taken_back_asks_again_from_where() {
    let p = refund_that_waits(1500).await;
    let refused = refuse_write_back(&p).await;
    assert_eq!(p.answer(&refused, Chosen::Offered(Answer::Undo)).await, Answered::Done);
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("i2".to_owned(), 2000)], 1000, 0));
    let open = p.open_reviews().await;
    let split = open.iter().map(|r| &r.item.review.question).find(|q| q.reason == Reason::RefundSplit).unwrap();
    let from_i2 = Answer::TakeBack { allocations: vec![(inv("i2"), minor(1500))], unapplied: Minor::ZERO };
    assert_eq!(split.answers, [from_i2]);
}
