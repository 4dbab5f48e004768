//! Payouts through the whole bundle: several a day, one that fails after it was paid, and a process that dies while it reads a long
//! one.

use crate::scenarios::{settled, stories, tell};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vesper_standins::stripe::{NewPayment, NewPayout};
use vesper_tests::harness::{Bundle, Ground, Options, Told, unaccounted};

stories!(
    several_payouts_a_day_each_tie_out_to_their_own_rows,
    one_that_fails_after_it_was_paid_is_paid_out_again_with_the_next,
    one_that_is_canceled_is_like_one_that_failed,
);

fn state(told: &Told, payout: &str) -> (String, i64) {
    let all = told.list("payouts");
    let p = all.iter().find(|p| p["id"] == payout).unwrap_or(&Value::Null);
    (p["state"].as_str().unwrap_or("unknown").to_owned(), p["unmatched"].as_i64().unwrap_or(-1))
}

fn good(b: &Bundle, told: &Told) {
    assert_eq!(unaccounted(&b.standins, told), Vec::<String>::new());
}

fn amount(b: &Bundle, payout: &str) -> i64 {
    b.standins.stripe.object(payout).unwrap()["amount"].as_i64().unwrap()
}

async fn several_payouts_a_day_each_tie_out_to_their_own_rows(o: Options) {
    let mut b = Bundle::new(o).await;
    let mut payouts = Vec::new();
    for n in 1..=4 {
        let (customer, _) = b.patient(1000 * n);
        b.sync().await;
        let payment = b.pay(&NewPayment::of(&customer, 1000 * n));
        if n == 2 {
            settled(&b).await;
            b.standins.stripe.refund(&payment, Some(500), Value::Null, "succeeded");
        }
        payouts.push(b.standins.stripe.payout(&NewPayout::default()));
    }
    // The last first, each told twice.
    let mut events = b.standins.stripe.undelivered();
    events.reverse();
    b.deliver_these(&events).await;
    b.deliver_these(&events).await;
    let told = settled(&b).await;
    for payout in &payouts {
        assert_eq!(state(&told, payout), ("tied_out".to_owned(), 0));
    }
    let mut transfers: Vec<i64> = b.standins.quickbooks.transfers().iter().map(|t| t.amount_minor).collect();
    let mut paid: Vec<i64> = payouts.iter().map(|p| amount(&b, p)).collect();
    transfers.sort_unstable();
    paid.sort_unstable();
    assert_eq!(transfers, paid, "one Transfer each");
    assert_eq!(b.standins.quickbooks.balances().get("91"), None, "everything is paid out");
    good(&b, &told);
}

async fn one_that_fails_after_it_was_paid_is_paid_out_again_with_the_next(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, _) = b.patient(5000);
    b.sync().await;
    let _ = b.pay(&NewPayment::of(&customer, 5000));
    let first = b.standins.stripe.payout(&NewPayout::default());
    // The bank's reference comes late.
    let told = settled(&b).await;
    assert_eq!(state(&told, &first).0, "tied_out");
    b.standins.stripe.change(&first, json!({"trace_id": {"status": "supported", "value": "021000021234567"}}));
    b.standins.stripe.emit("payout.updated", &first, None);
    settled(&b).await;
    let kept = b.app().store.payout(&first).await.unwrap().unwrap().item.payout.unwrap();
    assert_eq!(kept.trace_id.as_deref(), Some("021000021234567"));
    b.standins.stripe.change(&first, json!({"trace_id": null}));
    b.standins.stripe.fail_payout(&first);
    let told = settled(&b).await;
    assert_eq!(state(&told, &first).0, "failed");
    let kept = b.app().store.payout(&first).await.unwrap().unwrap().item.payout.unwrap();
    assert_eq!(kept.trace_id.as_deref(), Some("021000021234567"), "kept, whatever Stripe says later");
    good(&b, &told);
    assert_eq!(b.standins.quickbooks.balances()["91"], amount(&b, &first), "Stripe has it again; the fees stay");
    let second = b.standins.stripe.payout(&NewPayout::default());
    let told = settled(&b).await;
    assert_eq!(state(&told, &second), ("tied_out".to_owned(), 0), "its row is known");
    assert_eq!(b.standins.quickbooks.balances().get("91"), None);
    good(&b, &told);
}

async fn one_that_is_canceled_is_like_one_that_failed(o: Options) {
    let mut b = Bundle::new(o).await;
    let (customer, _) = b.patient(5000);
    b.sync().await;
    let _ = b.pay(&NewPayment::of(&customer, 5000));
    let payout = b.standins.stripe.payout(&NewPayout::default());
    settled(&b).await;
    b.standins.stripe.fail_payout(&payout);
    b.standins.stripe.change(&payout, json!({"status": "canceled"}));
    let told = settled(&b).await;
    assert_eq!(state(&told, &payout).0, "failed");
    good(&b, &told);
}

/// 230 transactions are three pages. Wherever the process dies, the next one goes on from the last batch that was stored.
#[tokio::test]
async fn a_process_that_dies_while_it_reads_a_payout_goes_on_from_its_cursor() {
    let mut in_the_middle = 0;
    for dies_at in (12..40).step_by(4) {
        let mut b = Bundle::new(Options { by_hand: true, ..Options::default() }).await;
        for n in 0..230 {
            let _ = b.pay(&NewPayment::guest(1000 + n));
        }
        b.deliver().await;
        b.drain().await;
        let payout = b.standins.stripe.payout(&NewPayout::default());
        let pages = |b: &Bundle| -> Vec<Option<String>> {
            let seen = b.standins.stripe.seen("GET /v1/balance_transactions");
            let of_it = seen.iter().filter(|r| r.param("payout") == Some(&payout));
            of_it.map(|r| r.param("starting_after").map(str::to_owned)).collect()
        };
        b.wire.calm();
        b.wire.die_at_store_call(dies_at);
        b.deliver().await;
        b.drain().await;
        let before = pages(&b);
        if !b.wire.is_dead() || before.is_empty() {
            continue; // It died before it read, or not at all.
        }
        in_the_middle += 1;
        b.kill_and_restart().await;
        b.deliver().await;
        b.drain().await;
        let after = pages(&b).split_off(before.len());
        let again = before.len() == 1 && after.first() == Some(&None);
        let on = after.iter().skip(usize::from(again)).all(Option::is_some);
        assert!(on, "{dies_at}: not from the beginning again: {before:?}, {after:?}");
        let rows = b.app().store.payout_rows(&payout, 1, 1, 1000).await.unwrap();
        let ids: BTreeSet<&str> = rows.iter().map(|r| r.row.id.as_str()).collect();
        assert_eq!((rows.len(), ids.len()), (230, 230), "{dies_at}: each row once");
        let told = b.export().await;
        let transactions = told.list("payouts")[0]["transactions"].as_i64();
        assert_eq!((state(&told, &payout), transactions), (("tied_out".to_owned(), 0), Some(230)), "{dies_at}");
        assert_eq!(b.broken(&told), Vec::<String>::new());
    }
    assert!(in_the_middle >= 3, "{in_the_middle} deaths while it was read");
}
