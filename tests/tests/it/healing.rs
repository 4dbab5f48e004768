//! What the webhooks missed, and the nightly proof: lost events are healed once, a kill goes on from its page, and each kind of
//! difference between Stripe, ledger and books is found, named, and closes itself.

use serde_json::{Value, json};
use vesper_functions::review::answers::{Answered, Chosen};
use vesper_functions::{chores, heal, proof};
use vesper_standins::stripe::{NewPayment, NewPayout};
use vesper_standins::{Fault, FaultKind};
use vesper_tests::harness::{Bundle, Options, Told};

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;
/// From Monday 08:00 in the practice until after its night's work.
const NIGHT_S: i64 = 20 * HOUR_S;

/// Stripe has emitted these events, and nobody ever gets them.
fn lose(b: &Bundle) {
    for event in b.standins.stripe.undelivered() {
        b.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
    }
}

/// The night's work is done, and what follows from it.
async fn night(b: &Bundle) -> Told {
    b.advance(DAY_S).await;
    b.settle().await
}

#[track_caller]
fn sound(b: &Bundle, told: &Told) {
    assert_eq!(b.broken(told), Vec::<String>::new());
}

/// The three figures agreed last night: (Stripe's, the ledger's, QuickBooks'), in minor units.
async fn figures(b: &Bundle) -> (i64, i64, Option<i64>) {
    let f = proof::last_figures(b.app()).await.unwrap().unwrap();
    (f.stripe().get(), f.ledger.get(), f.books.map(|m| m.get()))
}

/// The evidence of the open question about the proof.
async fn evidence(b: &Bundle, told: &Told) -> Vec<String> {
    let open = |r: &&Value| r["reason"] == "proof_difference" && r["status"] == "open";
    let reviews: Vec<&Value> = told.list("reviews").iter().filter(open).collect();
    assert_eq!(reviews.len(), 1, "{:?}", told.all_asked());
    let id = vesper_core::ids::ReviewId::parse(reviews[0]["id"].as_str().unwrap()).unwrap();
    b.app().store.review(&id).await.unwrap().unwrap().item.review.question.evidence
}

fn asks_about_proof(told: &Told) -> bool {
    told.all_asked().iter().any(|r| r == "proof_difference")
}

#[track_caller]
fn names(evidence: &[String], what: &str) {
    assert!(evidence.iter().any(|e| e.contains(what)), "{what} is not named: {evidence:#?}");
}

fn listed(b: &Bundle, path: &str) -> Vec<Option<String>> {
    let seen = b.standins.stripe.seen(&format!("GET {path}"));
    seen.iter().filter(|r| r.status == Some(200)).map(|r| r.param("starting_after").map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_webhooks_are_healed_once_and_the_three_figures_agree() {
    let mut b = Bundle::new(Options::default()).await;
    let (customer, invoice) = b.patient(4200);
    let (other, second) = b.patient(9000);
    b.sync().await;
    let payment = b.pay_for(&customer, 4200, &invoice);
    let disputed = b.pay_for(&other, 9000, &second);
    b.standins.stripe.refund(&payment, Some(1000), Value::Null, "succeeded");
    b.standins.stripe.dispute(&disputed);
    b.standins.stripe.payout(&NewPayout { extra_fee_minor: 100, ..NewPayout::default() });
    let (third, open) = b.patient(2500);
    b.sync().await;
    let unpaid_out = b.pay_for(&third, 2500, &open);
    lose(&b);
    b.advance(NIGHT_S).await;
    let told = b.settle().await;
    sound(&b, &told);
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 3200, 0));
    assert_eq!((told.asked(&payment), told.asked(&disputed)), (vec!["refunded".to_owned()], vec!["disputed".to_owned()]));
    assert_eq!(told.stands(&unpaid_out), ("decided".to_owned(), 2500, 0));
    assert_eq!(told.list("payouts")[0]["state"], "tied_out");
    let said = told.outcome();
    let told = night(&b).await;
    assert_eq!(told.outcome(), said, "the second night changes nothing");
    assert!(!asks_about_proof(&told), "{:?}", told.all_asked());
    assert_eq!(figures(&b).await, (2500, 2500, Some(2500)));
    assert_eq!(b.standins.stripe.balance_minor(), 2500 - 102);
    // Told late, all of it, once more.
    for id in [&payment, &disputed, &unpaid_out] {
        for event in b.standins.stripe.events_of(id) {
            b.send(&event).await;
        }
    }
    b.drain().await;
    assert_eq!(b.export().await.outcome()["postings"], said["postings"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_is_cut_short_goes_on_from_its_page() {
    let mut b = Bundle::new(Options::default()).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay_for(&customer, 4200, &invoice);
    for _ in 0..250 {
        b.standins.stripe.announce(&customer);
    }
    lose(&b);
    // The third page is asked for and no answer comes; the process dies before it is tried again.
    let fault = b.standins.stripe.fault(Fault::new("GET /v1/events*", FaultKind::Lost).skip(2));
    b.advance(NIGHT_S - HOUR_S).await;
    assert!(!b.export().await.has_payment(&payment), "its page is the last");
    b.kill_and_restart().await;
    b.standins.stripe.clear_fault(fault);
    b.advance(2 * HOUR_S).await;
    let told = b.settle().await;
    sound(&b, &told);
    assert_eq!(told.stands(&payment), ("decided".to_owned(), 4200, 0));
    let pages = listed(&b, "/v1/events");
    assert_eq!(pages.iter().filter(|after| after.is_none()).count(), 1, "the first page is read once: {pages:?}");
    let chore = b.app().store.chore(chores::HEAL).await.unwrap().unwrap().item;
    assert!(chore.done_at.is_some() && chore.note.as_deref().is_some_and(|n| n.contains("missed")), "{chore:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_at_stripe_is_named_and_closes_itself() {
    let mut b = Bundle::new(Options::default()).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let _ = b.pay_for(&customer, 4200, &invoice);
    b.settle().await;
    b.advance(NIGHT_S).await;
    assert_eq!(figures(&b).await, (4200, 4200, Some(4200)));
    // A charge that Stripe itself does not know, and a type that Vesper does not book.
    let gone = b.standins.stripe.balance_row("charge", "charge", Some("ch_3Vsgone"), 5000);
    let strange = b.standins.stripe.balance_row("contribution", "contribution", None, -50);
    let told = night(&b).await;
    let said = evidence(&b, &told).await;
    names(&said, "The ledger has -49.50 more");
    names(&said, "ch_3Vsgone: 50.00 at Stripe, unknown to the ledger");
    names(&said, &format!("{strange}: -0.50 at Stripe"));
    let told = night(&b).await;
    assert_eq!(evidence(&b, &told).await, said, "the same difference is the same question");
    b.standins.stripe.forget(&gone);
    let told = night(&b).await;
    names(&evidence(&b, &told).await, "The ledger has 0.50 more");
    b.standins.stripe.forget(&strange);
    let told = night(&b).await;
    assert!(!asks_about_proof(&told), "it closes itself: {:?}", told.all_asked());
    assert_eq!(figures(&b).await, (4200, 4200, Some(4200)));
    sound(&b, &told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_stripe_does_not_hold_is_named_and_what_a_person_accepts_is_not_asked_again() {
    let mut b = Bundle::new(Options::default()).await;
    let (customer, invoice) = b.patient(4200);
    let (other, second) = b.patient(1000);
    b.sync().await;
    let payment = b.pay_for(&customer, 4200, &invoice);
    let _ = b.pay_for(&other, 1000, &second);
    b.settle().await;
    let row = b.standins.stripe.row_of(&payment);
    b.standins.stripe.forget(&row);
    b.advance(NIGHT_S).await;
    let told = b.settle().await;
    names(&evidence(&b, &told).await, &format!("{payment}: 42.00 in the ledger, not in Stripe's balance"));
    let open =
        told.list("reviews").iter().find(|r| r["reason"] == "proof_difference").unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(b.answer(&open, Chosen::ResolvedElsewhere).await, Answered::Done);
    assert!(!asks_about_proof(&night(&b).await), "a person knows of it");
    let _ = b.standins.stripe.balance_row("contribution", "contribution", None, -50);
    assert!(asks_about_proof(&night(&b).await), "another difference is another question");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_a_person_edits_or_deletes_are_found_each_once() {
    let mut b = Bundle::new(Options::default()).await;
    let bills: Vec<_> = (0..3).map(|i| b.patient(4200 + i)).collect();
    b.sync().await;
    for (customer, invoice) in &bills {
        let owed = b.standins.ehr.get("invoice", invoice).unwrap()["client_share"]["open"].as_i64().unwrap();
        let _ = b.pay_for(customer, owed, invoice);
    }
    b.settle().await;
    b.advance(NIGHT_S).await;
    assert!(!asks_about_proof(&b.export().await));
    let entries = b.standins.quickbooks.entries();
    let amount = |n: usize| entries[n].lines.iter().find(|l| l.account == "91").unwrap().amount_minor;
    b.standins.quickbooks.edit_by_person(&entries[0].id, &[("91", 4000), ("80", -4000)]);
    b.standins.quickbooks.delete_by_person(&entries[1].id);
    // Income on another account: the clearing account does not notice.
    b.standins.quickbooks.edit_by_person(&entries[2].id, &[("91", amount(2)), ("79", -amount(2))]);
    let day = jiff::civil::date(2026, 11, 24);
    let foreign = b.standins.quickbooks.book_by_person(day, &[("91", 700), ("35", -700)]);
    let told = night(&b).await;
    let said = evidence(&b, &told).await;
    let less = amount(0) - 4000 + amount(1) - 700;
    names(&said, &format!("QuickBooks' clearing account has -{}.{:02} more", less / 100, less % 100));
    names(&said, &format!("Id {}, was edited by a person", entries[0].id));
    names(&said, &format!("Id {}, was deleted by a person", entries[1].id));
    names(&said, &format!("the Id {foreign} is not Vesper's: 7.00 on the clearing account"));
    let refused = |told: &Told| told.all_asked().iter().filter(|r| *r == "books_refused").count();
    assert_eq!(refused(&told), 3, "a question each");
    assert_eq!(refused(&night(&b).await), 3, "once");
    // Put back, one after the other.
    b.standins.quickbooks.edit_by_person(&entries[0].id, &[("91", amount(0)), ("80", -amount(0))]);
    assert_eq!(refused(&night(&b).await), 2);
    assert!(vesper_tests::harness::leaks(&b.standins).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payouts_that_wait_and_charges_that_settle_later_are_no_difference() {
    let mut b = Bundle::new(Options::default()).await;
    let (customer, invoice) = b.patient(4200);
    let (other, second) = b.patient(3000);
    b.sync().await;
    let _ = b.pay_for(&customer, 4200, &invoice);
    let waiting = b.standins.stripe.payout(&NewPayout { in_progress: true, ..NewPayout::default() });
    b.settle().await;
    // A charge without a balance transaction: the ledger has it, Stripe's balance later.
    let late = b.pay(&NewPayment::of(&other, 3000).metadata("vesper_invoice", &second).late_balance_transaction());
    b.settle().await;
    let charge = b.standins.stripe.object(&late).unwrap()["latest_charge"].as_str().unwrap().to_owned();
    let row = b.standins.stripe.row_of(&late);
    let kept = b.standins.stripe.object(&row).unwrap();
    b.advance(NIGHT_S).await;
    let told = b.settle().await;
    assert!(!asks_about_proof(&told), "{:?}", told.all_asked());
    assert_eq!((told.list("payouts")[0]["state"].as_str(), kept["source"].as_str()), (Some("waiting"), Some(charge.as_str())));
    b.standins.stripe.reconciled(&waiting);
    let manual = b.standins.stripe.payout(&NewPayout { manual: true, ..NewPayout::default() });
    let told = night(&b).await;
    assert!(!asks_about_proof(&told), "manual ones stay on their way: {:?}", told.all_asked());
    b.standins.stripe.fail_payout(&manual);
    lose(&b);
    let told = night(&b).await;
    assert!(!asks_about_proof(&told), "given back: {:?}", told.all_asked());
}

// -------------------------------------------------------------------- go-live

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_open_with_stripes_balance_and_older_money_stays_out_of_them() {
    // Tuesday 17:00 in the practice.
    let mut b = Bundle::new(Options { go_live: Some("2026-11-25T00:00:00Z"), ..Options::default() }).await;
    let (customer, invoice) = b.patient(4200);
    let (later, later_invoice) = b.patient(3100);
    b.sync().await;
    let old = b.pay(&NewPayment::of(&customer, 5000));
    let disputed = b.pay(&NewPayment::of(&customer, 800));
    let early_refund = b.standins.stripe.refund(&old, Some(700), Value::Null, "succeeded");
    let dispute = b.standins.stripe.dispute(&disputed);
    // Made before, and paid after.
    let made_before = b.standins.stripe.intent(&NewPayment::of(&later, 3100).metadata("vesper_invoice", &later_invoice));
    let opening = b.standins.stripe.balance_minor();
    lose(&b);
    b.advance(2 * DAY_S).await;
    b.standins.stripe.complete(&made_before);
    let new = b.pay_for(&customer, 4200, &invoice);
    b.standins.stripe.refund(&old, Some(300), Value::Null, "succeeded");
    b.standins.stripe.close_dispute(&dispute, true);
    b.deliver().await;
    // Told of late: what happened before go_live is noted, and nothing else.
    for id in [&old, &early_refund, &disputed] {
        for event in b.standins.stripe.events_of(id) {
            b.send(&event).await;
        }
    }
    let told = b.settle().await;
    // The dispute was opened before go_live and given back after it: nothing of it is out, and yet it is posted.
    let broken: Vec<String> = b.broken(&told).into_iter().filter(|x| !x.contains(&disputed)).collect();
    assert_eq!(broken, Vec::<String>::new());
    assert_eq!(told.stands(&made_before), ("decided".to_owned(), 3100, 0), "its money was taken after go_live");
    assert_eq!(told.stands(&new), ("decided".to_owned(), 4200, 0));
    assert_eq!(
        (told.payment(&old)["state"].as_str(), told.payment(&old)["refunded"].as_i64()),
        (Some("before_go_live"), Some(1000))
    );
    let clearing: i64 = told
        .list("postings")
        .iter()
        .flat_map(|p| p["lines"].as_array().unwrap())
        .filter(|l| l["account"] == "91")
        .map(|l| l["amount"].as_i64().unwrap())
        .sum();
    assert_eq!(clearing, 3100 + 4200 - 300 + 800, "only what moved after go_live is posted");
    let told = night(&b).await;
    assert!(!asks_about_proof(&told), "{:?}", told.all_asked());
    assert_eq!(proof::opening(b.app()).await.unwrap().map(|m| m.get()), Some(opening));
    // A payout with older money waits until the opening entry is confirmed.
    let payout = b.standins.stripe.payout(&NewPayout::default());
    let told = b.settle().await;
    assert_eq!(
        (told.list("payouts")[0]["state"].as_str(), told.asked(&payout)),
        (Some("waiting"), vec!["payout_opening".to_owned()])
    );
    let day = jiff::civil::date(2026, 11, 25);
    b.standins.quickbooks.book_by_person(day, &[("91", opening), ("35", -opening)]);
    let review = told.reviews(&payout)[0]["id"].as_str().unwrap().to_owned();
    let confirm = Chosen::Offered(vesper_core::review::Answer::OpeningPosted("91".to_owned()));
    assert_eq!(b.answer(&review, confirm).await, Answered::Done);
    let told = night(&b).await;
    assert_eq!(told.list("payouts")[0]["state"], "tied_out");
    assert!(!asks_about_proof(&told), "{:?}", told.all_asked());
    assert_eq!(figures(&b).await, (0, 0, Some(0)), "all of it went to the bank");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shadow_mode_decided_is_part_of_the_opening_balance() {
    let mut b = Bundle::new(Options { shadow: true, ..Options::default() }).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let shadow = b.pay_for(&customer, 4200, &invoice);
    b.standins.stripe.refund(&shadow, Some(200), Value::Null, "succeeded");
    b.settle().await;
    b.advance(NIGHT_S).await;
    b.settings.practice.mode = vesper_adapters::settings::Mode::Live;
    b.restart().await;
    b.advance(HOUR_S).await;
    let again = b.pay_for(&customer, 4000, &invoice);
    b.standins.stripe.refund(&shadow, Some(500), Value::Null, "succeeded");
    let told = b.settle().await;
    assert_eq!(told.asked(&shadow), ["refunded"], "a later refund of closed money is a question");
    assert_eq!(told.stands(&again).1, 4000);
    let told = night(&b).await;
    assert!(!asks_about_proof(&told), "{:?}", told.all_asked());
    // 42.00 - 1.51 fee - 2.00 stood in Stripe's balance at the switch; 40.00 came in, 5.00 left.
    let (stripe, ledger, books) = figures(&b).await;
    assert_eq!((stripe, ledger, books), (3849 + 3500, 3849 + 3500, Some(3500)));
    assert_eq!(b.standins.quickbooks.balances().get("91"), Some(&3500), "the refund is posted for real");
}

// -------------------------------------------------------------------- backfill

/// Works off a backfill to its end, as a serve does.
async fn backfill(b: &Bundle, since: &str) -> String {
    heal::ask(&b.app().store, since.parse().unwrap(), false).await.unwrap();
    for _ in 0..100 {
        chores::work(b.app(), chores::BACKFILL).await.unwrap();
        b.drain().await;
        let chore = b.app().store.chore(chores::BACKFILL).await.unwrap().unwrap().item;
        if chore.next_at.is_none() {
            return chore.note.unwrap();
        }
    }
    panic!("the backfill does not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_reaches_back_further_than_stripes_events() {
    let mut b = Bundle::new(Options { by_hand: true, ..Options::default() }).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let old = b.pay_for(&customer, 4200, &invoice);
    let alone = b.standins.stripe.pay_by_charge(&NewPayment::guest(900));
    b.standins.stripe.refund(&old, Some(200), Value::Null, "succeeded");
    let payout = b.standins.stripe.payout(&NewPayout::default());
    let (other, second) = b.patient(3000);
    lose(&b);
    let later = b.now().checked_add(jiff::SignedDuration::from_hours(40 * 24)).unwrap();
    b.stack.host.move_to(later);
    b.sync().await;
    let young = b.pay_for(&other, 3000, &second);
    lose(&b);
    let note = backfill(&b, "2026-11-01T00:00:00Z").await;
    assert!(note.contains("5 of them were missed"), "{note}");
    let told = b.export().await;
    assert_eq!(told.stands(&old), ("decided".to_owned(), 4000, 0), "its metadata is that of the PaymentIntent");
    assert_eq!((told.stands(&young).1, told.has_payment(&alone)), (3000, true));
    let of_payout = |told: &Told| told.list("payouts").iter().find(|p| p["id"] == payout.as_str()).unwrap()["state"].clone();
    assert_eq!(of_payout(&told), "tied_out");
    let note = backfill(&b, "2026-11-01T00:00:00Z").await;
    assert!(note.contains(" 0 of them were missed"), "safe to repeat: {note}");
    assert_eq!(b.export().await.outcome(), told.outcome());
    assert!(b.standins.refused().is_empty(), "{:?}", b.standins.refused());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_leaves_money_from_before_go_live_alone() {
    let mut b = Bundle::new(Options { go_live: Some("2026-11-24T00:00:00Z"), ..Options::default() }).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let old = b.pay_for(&customer, 4200, &invoice);
    lose(&b);
    b.advance(DAY_S / 2).await;
    backfill(&b, "2026-11-20T00:00:00Z").await;
    let told = b.export().await;
    assert_eq!(told.payment(&old)["state"], "before_go_live");
    assert_eq!((told.open(&invoice), b.standins.ehr.written().len()), (4200, 0));
    assert_eq!(json!(told.list("postings")), json!([]));
}
