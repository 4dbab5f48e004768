//! The whole demo, small, and the proof that its checks can fail.

use super::invariants::{Check, Evidence, check};
use super::*;
use serde_json::{Value, json};

async fn month(seed: u64, sessions: usize) -> (Plan, Played) {
    let plan = Plan::of(seed, sessions);
    let played = play::play(&plan, seed, &Progress::Silent).await.unwrap();
    (plan, played)
}

fn broken(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|c| !c.broken.is_empty()).collect()
}

/// One small month with everything that is checked about it.
async fn holds(seed: u64) {
    let (plan, played) = month(seed, 60).await;
    let evidence = evidence::gather(&plan, &played).await.unwrap();
    assert_eq!(broken(&check(&evidence)), Vec::<&Check>::new(), "seed {seed}");
    let tally = tally::tally(&played).await.unwrap();
    assert_eq!(usize::try_from(tally.received.count), Ok(played.world.paid().len()), "seed {seed}");
    let groups = tally.silent.values().map(|s| s.count).sum::<u64>() + tally.parked.count;
    let asked = tally.asked.values().map(|a| a.all.count).sum::<u64>();
    assert_eq!(groups + asked, tally.received.count, "seed {seed}: every payment stands in one group");
    assert!(
        tally.received.count > 30 && tally.disputes.count == 1 && tally.refunds.count > 0 && tally.posted.count > 0,
        "seed {seed}"
    );
    assert!(tally.payouts.count > 10 && tally.came_back.count == 1, "seed {seed}: {tally:?}");
    assert_eq!(tally.payouts_open.count, 0, "seed {seed}");
    assert!(evidence.outside.answers_lost > 0, "seed {seed}: the lost answers are really lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_invariant_holds_in_small_months_of_five_seeds() {
    let months: Vec<_> = (1..=5).map(|seed| tokio::spawn(holds(seed))).collect();
    for month in months {
        month.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_gives_the_same_summary() {
    let mut texts = Vec::new();
    for seed in [11, 11] {
        let (plan, played) = month(seed, 16).await;
        texts.push(judge(&plan, seed, &played, None).await.unwrap().0);
    }
    assert_eq!(texts[0], texts[1]);
    assert!(!texts[0].contains(plan::MAIL_DOMAIN), "no address in the summary");
}

/// Changes one thing in good evidence; the check of that number must see it.
fn spoil(good: &Evidence, number: u8, what: &str, change: impl FnOnce(&mut Evidence)) {
    let mut bad = good.clone();
    change(&mut bad);
    let found: Vec<u8> = broken(&check(&bad)).iter().map(|c| c.number).collect();
    assert!(found.contains(&number), "{what}: only {found:?}");
}

fn set(export: &mut Value, list: &str, pick: impl Fn(&Value) -> bool, field: &str, to: Value) {
    let all = export[list].as_array_mut().unwrap();
    *all.iter_mut().find(|v| pick(v)).unwrap().pointer_mut(field).unwrap() = to;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_can_fail() {
    let (plan, played) = month(3, 40).await;
    let good = evidence::gather(&plan, &played).await.unwrap();
    assert_eq!(broken(&check(&good)), Vec::<&Check>::new());
    let any = |_: &Value| true;
    let paid = |v: &Value| v["allocations"].as_array().is_some_and(|a| !a.is_empty());
    let family = |e: &Evidence, v: &Value| e.truth.families[v["id"].as_str().unwrap()];
    spoil(&good, 1, "a payment that does not add up", |e| set(&mut e.export, "payments", any, "/unapplied", json!(7)));
    spoil(&good, 2, "a share that does not add up", |e| set(&mut e.export, "invoices", any, "/client_share/open", json!(1)));
    spoil(&good, 2, "a card on the payer share", |e| e.outside.on_payer_share.push("pay_1".to_owned()));
    spoil(&good, 3, "a payment twice", |e| {
        let twice = e.export["payments"][0].clone();
        e.export["payments"].as_array_mut().unwrap().push(twice);
    });
    spoil(&good, 3, "a replay that changes something", |e| set(&mut e.replayed, "payments", any, "/unapplied", json!(7)));
    spoil(&good, 3, "a lost payment", |e| {
        e.export["payments"].as_array_mut().unwrap().pop();
    });
    spoil(&good, 4, "the EHR has less", |e| {
        e.outside.ehr_net.pop_first();
    });
    spoil(&good, 4, "a dead effect that nobody is asked about", |e| set(&mut e.export, "effects", any, "/state", json!("dead")));
    spoil(&good, 4, "an entry booked twice", |e| {
        let doc = e.outside.doc_numbers[0].clone();
        e.outside.doc_numbers.push(doc);
    });
    spoil(&good, 4, "another balance", |e| *e.outside.balances.get_mut("91").unwrap() += 1);
    spoil(&good, 5, "a stranger's invoice", |e| {
        let first = e.export["invoices"].as_array().unwrap().iter().find(|v| paid(v)).unwrap().clone();
        let id = first["id"].as_str().unwrap().to_owned();
        let other = family(e, &first) + 1_000_000;
        e.truth.families.insert(id, other);
    });
    spoil(&good, 6, "a charge", |e| e.outside.wrong_charges.push("pi_1 was charged twice".to_owned()));
    spoil(&good, 7, "an entry that does not balance", |e| set(&mut e.export, "postings", any, "/lines/0/amount", json!(1)));
    spoil(&good, 7, "another balance at Stripe", |e| e.outside.stripe.balance += 1);
    spoil(&good, 7, "a payout that nobody knows", |e| e.outside.stripe.under_way += 1);
    spoil(&good, 7, "a payout that took more", |e| e.outside.stripe.paid_out += 1);
    spoil(&good, 7, "another balance in QuickBooks", |e| *e.outside.balances.get_mut("91").unwrap() += 1);
    spoil(&good, 4, "a Transfer that is gone", |e| {
        e.outside.transfers.pop().unwrap();
    });
    spoil(&good, 4, "a Transfer too many", |e| {
        let again = e.outside.transfers[0].clone();
        e.outside.transfers.push(again);
    });
    spoil(&good, 8, "a name in a request", |e| e.outside.leaks.push("a GET to Stripe".to_owned()));
    spoil(&good, 10, "a broken chain", |e| e.export["audit"]["verified"] = json!(false));
}
