//! The crash sweep: small flows in which every single call to the table and to an outside system fails once, before and after
//! it was done, or is the last one of its process. Afterwards everything is redelivered, and the end is that of the run that
//! nobody disturbed; EHR and books saw each thing once.

use serde_json::{Value, json};
use vesper_adapters::dynamo::faults::{Fault, Target, When};
use vesper_adapters::dynamo::store::WriteBack;
use vesper_functions::chores;
use vesper_functions::review::answers;
use vesper_standins::ehr::{Capabilities, DeskPayment};
use vesper_standins::stripe::{NewPayment, NewPayout};
use vesper_tests::harness::wire::Blow;
use vesper_tests::harness::{Bundle, Options};

/// What is disturbed.
#[derive(Clone, Copy, Debug)]
enum Flow {
    /// A payment is reconciled, written back and posted.
    Payment,
    /// The same at a bridge whose writes are not idempotent.
    PaymentOnce,
    /// An invoice arrives for which a payment waits; the payment is decided, written back and posted.
    Import,
    /// A check at the desk, a new version of an invoice and a new client arrive.
    ImportRecords,
    /// Part of a payment is refunded: reversed in the EHR, posted.
    Refund,
    /// A refund fails and its money comes back.
    RefundFails,
    /// A payment is disputed.
    Dispute,
    /// The dispute is won. (Told before the withdrawal, the two cancel each other: another end, so they are not swept together.)
    DisputeWon,
    /// A payout of two payments and a refund ties out: fees, Transfer. One of the payments was never told.
    Payout,
    /// A payout that was tied out comes back.
    PayoutFails,
    /// An invoice arrives for which there is client credit.
    Credit,
    /// A person marks done what he typed into an EHR that cannot be written to.
    ByHand,
    /// The webhooks of a payment, its refund and its payout were lost: the sweep finds them, the proof agrees.
    Night,
    /// The proof finds a row that nobody knows and an entry that a person edited.
    Proof,
}

/// The world before the flow, and what begins it.
async fn world(flow: Flow) -> (Bundle, Begin) {
    let options = Options { by_hand: true, credit_by_rule: matches!(flow, Flow::Credit), ..Options::default() };
    let once = Capabilities { idempotent_writes: false, writes_payments: true, reverses_payments: true };
    let mut b = Bundle::prepared(options, |s| {
        if matches!(flow, Flow::PaymentOnce) {
            s.ehr.set_capabilities(once);
        }
        if matches!(flow, Flow::ByHand) {
            s.ehr.set_capabilities(Capabilities { writes_payments: false, reverses_payments: false, ..once });
        }
    })
    .await;
    let (client, customer) = b.client();
    let begin = match flow {
        Flow::Payment | Flow::PaymentOnce => {
            b.bill(&client, 4200);
            b.sync().await;
            let _ = b.pay(&NewPayment::of(&customer, 4200));
            Begin::Deliver
        }
        Flow::Import => {
            b.sync().await;
            let _ = b.pay(&NewPayment::of(&customer, 4200));
            rest(&b).await;
            b.bill(&client, 4200);
            Begin::Notice
        }
        Flow::ImportRecords => {
            let invoice = b.bill(&client, 4200);
            b.sync().await;
            b.client_of(json!({"guarantor_id": client}));
            b.standins.ehr.paid_in_ehr(&DeskPayment::check(&invoice, 1200));
            Begin::Notice
        }
        Flow::Refund => {
            b.bill(&client, 4200);
            b.sync().await;
            let payment = b.pay(&NewPayment::of(&customer, 4200));
            rest(&b).await;
            b.standins.stripe.refund(&payment, Some(1000), Value::Null, "succeeded");
            Begin::Deliver
        }
        Flow::RefundFails | Flow::Dispute | Flow::DisputeWon | Flow::Payout | Flow::PayoutFails => {
            b.bill(&client, 4200);
            b.sync().await;
            let payment = b.pay(&NewPayment::of(&customer, 4200));
            rest(&b).await;
            if matches!(flow, Flow::RefundFails | Flow::Dispute | Flow::DisputeWon) {
                comes_back(&b, flow, &payment).await;
            } else {
                paid_out(&b, flow, &payment, &customer).await;
            }
            Begin::Deliver
        }
        Flow::Credit => {
            b.sync().await;
            let _ = b.pay(&NewPayment::of(&customer, 5000).metadata("kind", "prepayment"));
            rest(&b).await;
            b.bill(&client, 4200);
            Begin::Notice
        }
        Flow::ByHand => {
            b.bill(&client, 4200);
            b.sync().await;
            let _ = b.pay(&NewPayment::of(&customer, 4200));
            act(&b, Begin::Deliver).await;
            Begin::MarkDone
        }
        Flow::Night | Flow::Proof => at_night(&mut b, flow, &client, &customer).await,
    };
    b.wire.start_counting();
    (b, begin)
}

async fn comes_back(b: &Bundle, flow: Flow, payment: &str) {
    if matches!(flow, Flow::RefundFails) {
        let refund = b.standins.stripe.refund(payment, Some(1000), Value::Null, "succeeded");
        rest(b).await;
        b.standins.stripe.refund_becomes(&refund, "failed");
        return;
    }
    let dispute = b.standins.stripe.dispute(payment);
    if matches!(flow, Flow::DisputeWon) {
        rest(b).await;
        b.standins.stripe.close_dispute(&dispute, true);
    }
}

async fn paid_out(b: &Bundle, flow: Flow, payment: &str, customer: &str) {
    b.standins.stripe.refund(payment, Some(1000), Value::Null, "succeeded");
    rest(b).await;
    let lost = b.pay(&NewPayment::of(customer, 700).metadata("kind", "prepayment"));
    for event in b.standins.stripe.events_of(&lost).iter().chain(&b.standins.stripe.undelivered()) {
        b.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
    }
    let payout = b.standins.stripe.payout(&NewPayout::default());
    if matches!(flow, Flow::PayoutFails) {
        rest(b).await;
        b.standins.stripe.fail_payout(&payout);
    }
}

async fn at_night(b: &mut Bundle, flow: Flow, client: &str, customer: &str) -> Begin {
    b.bill(client, 4200);
    b.sync().await;
    let payment = b.pay(&NewPayment::of(customer, 4200));
    if matches!(flow, Flow::Night) {
        b.standins.stripe.refund(&payment, Some(1000), Value::Null, "succeeded");
        b.standins.stripe.payout(&NewPayout::default());
        lose(b);
        return Begin::Night;
    }
    rest(b).await;
    b.standins.stripe.balance_row("contribution", "contribution", None, -50);
    let id = b.standins.quickbooks.entries()[0].id.clone();
    b.standins.quickbooks.edit_by_person(&id, &[("91", 4000), ("80", -4000)]);
    Begin::Night
}

fn lose(b: &Bundle) {
    for event in b.standins.stripe.undelivered() {
        b.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
    }
}

#[derive(Clone, Copy)]
enum Begin {
    Deliver,
    Notice,
    MarkDone,
    Night,
}

async fn act(b: &Bundle, begin: Begin) {
    match begin {
        Begin::Deliver => b.deliver().await,
        Begin::Notice => {
            b.notice().await;
        }
        Begin::MarkDone => mark_done(b).await,
        // What cannot be stored is wanted again by whoever finds it undone.
        Begin::Night => {
            let _ = chores::wanted(b.app(), chores::HEAL).await;
        }
    }
    b.drain().await;
}

/// A person types in what stands in the worklist, unless it stands in the EHR already, and presses every button that is there.
async fn mark_done(b: &Bundle) {
    for item in b.app().store.worklist(None, 10).await.unwrap_or_default() {
        let WriteBack::Allocation(read) = item else { continue };
        let (allocation, effect) = (&read.item.allocation, read.item.effect.as_ref().unwrap().id.as_str());
        let payment = &allocation.payment;
        if !b.standins.ehr.current().iter().any(|record| record["reference"] == *allocation.reference) {
            let (invoice, amount) = (allocation.invoice.as_str(), allocation.net().get());
            b.standins.ehr.paid_in_ehr(&DeskPayment::card(invoice, amount, &allocation.reference));
        }
        if let Ok(Some(row)) = b.app().store.payment(payment).await {
            let _ = answers::mark_done(b.app(), "tester", payment, row.rev, effect, "").await;
        }
    }
}

/// Whether nothing is due but the next night.
async fn sleeps(b: &Bundle) -> bool {
    let soon = b.now().checked_add(jiff::SignedDuration::from_hours(3)).unwrap();
    b.app().store.next_due(b.now()).await.unwrap().is_none_or(|next| next > soon)
}

/// Redelivers and moves the clock from one due moment to the next until nothing is left, or only a payment that waits.
async fn rest(b: &Bundle) {
    for _ in 0..40 {
        b.deliver().await;
        b.drain().await;
        let told = b.export().await;
        let parked = told.list("payments").iter().any(|p| p["state"] == "parked");
        let done = b.standins.stripe.undelivered().is_empty() && told.waiting() == 0 && b.stack.queues.next_visible().is_none();
        if done && (parked || sleeps(b).await || !b.step().await) {
            return;
        }
        if !done {
            b.step().await;
        }
    }
    panic!("it does not come to rest: {}", b.export().await.0);
}

/// What nobody disturbed: the end, and how many calls to the table and to the outside systems there were.
async fn undisturbed(flow: Flow) -> (Value, u64, u64) {
    let (b, begin) = world(flow).await;
    act(&b, begin).await;
    let calls = (b.faults.calls(&Target::Any), b.wire.calls());
    rest(&b).await;
    (end(&b, &format!("{flow:?}: undisturbed")).await, calls.0, calls.1)
}

/// What there is at the end, here and in the outside systems; the invariants hold.
async fn end(b: &Bundle, case: &str) -> Value {
    let told = b.export().await;
    let mut broken = b.broken(&told);
    // There a person has edited the books.
    broken.retain(|x| !(case.starts_with("Proof") && x.starts_with("7: balances")));
    assert!(broken.is_empty(), "{case}: {broken:?}");
    let mut entries: Vec<String> =
        b.standins.quickbooks.entries().iter().map(|e| format!("{:?} {:?}", e.doc_number, e.lines)).collect();
    entries.extend(b.standins.quickbooks.transfers().iter().map(|t| format!("{} to {} {}", t.from, t.to, t.amount_minor)));
    entries.sort();
    let written: Vec<String> =
        b.standins.ehr.written().iter().map(|p| format!("{} {} {}", p["reference"], p["amount"], p["reversed"])).collect();
    json!({"told": told.outcome(), "entries": entries, "written": written})
}

async fn finish(mut b: Bundle, begin: Begin, case: &str, want: &Value) {
    act(&b, begin).await;
    if b.wire.is_dead() {
        b.kill_and_restart().await;
    } else {
        b.faults.clear();
    }
    // Who was told nothing tells it again.
    act(&b, begin).await;
    rest(&b).await;
    let got = end(&b, case).await;
    assert_eq!(got, *want, "{case}");
}

/// Every call to the table fails once.
async fn sweep_store(flow: Flow, fault: Fault) {
    let (want, calls, _) = undisturbed(flow).await;
    assert!(calls > 5, "{flow:?} makes {calls} calls");
    for k in 1..=calls {
        let (b, begin) = world(flow).await;
        b.faults.script(Target::Any, When::Call(k), fault);
        finish(b, begin, &format!("{flow:?}: {fault:?} at call {k} of {calls} to the table"), &want).await;
    }
}

/// The process dies at every call to the table.
async fn sweep_death(flow: Flow) {
    let (want, calls, _) = undisturbed(flow).await;
    for k in 1..=calls {
        let (b, begin) = world(flow).await;
        b.wire.die_at_store_call(k);
        finish(b, begin, &format!("{flow:?}: death at call {k} of {calls} to the table"), &want).await;
    }
}

/// Every call to an outside system fails in every way.
async fn sweep_outside(flow: Flow) {
    let (want, _, calls) = undisturbed(flow).await;
    assert!(calls > 0, "{flow:?} calls nobody");
    for k in 1..=calls {
        for blow in Blow::ALL {
            let (b, begin) = world(flow).await;
            b.wire.strike(k, blow);
            finish(b, begin, &format!("{flow:?}: {blow:?} at call {k} of {calls} to an outside system"), &want).await;
        }
    }
}

macro_rules! sweeps {
    ($($name:ident => $flow:ident),* $(,)?) => {
        $(mod $name {
            use super::{Fault, Flow, sweep_death, sweep_outside, sweep_store};

            #[tokio::test]
            async fn a_call_to_the_table_is_not_done() {
                sweep_store(Flow::$flow, Fault::ServerError).await;
            }

            #[tokio::test]
            async fn an_answer_of_the_table_is_lost() {
                sweep_store(Flow::$flow, Fault::LostAnswer).await;
            }

            #[tokio::test]
            async fn the_process_dies_at_a_call_to_the_table() {
                sweep_death(Flow::$flow).await;
            }

            #[tokio::test]
            async fn a_call_to_an_outside_system_fails_or_is_the_last() {
                sweep_outside(Flow::$flow).await;
            }
        })*
    };
}

sweeps!(
    reconcile_write_back_and_books => Payment,
    import_and_a_parked_payment => Import,
    import_of_records => ImportRecords,
    a_refund => Refund,
    a_refund_that_fails => RefundFails,
    a_dispute => Dispute,
    a_dispute_that_is_won => DisputeWon,
    a_payout => Payout,
    a_payout_that_comes_back => PayoutFails,
    client_credit => Credit,
    a_night_that_heals => Night,
    a_night_that_finds_differences => Proof,
);

mod a_person_marks_done {
    use super::{Fault, Flow, sweep_death, sweep_store};

    #[tokio::test]
    async fn a_call_to_the_table_is_not_done() {
        sweep_store(Flow::ByHand, Fault::ServerError).await;
    }

    #[tokio::test]
    async fn an_answer_of_the_table_is_lost() {
        sweep_store(Flow::ByHand, Fault::LostAnswer).await;
    }

    #[tokio::test]
    async fn the_process_dies_at_a_call_to_the_table() {
        sweep_death(Flow::ByHand).await;
    }
}

#[tokio::test]
async fn a_bridge_without_idempotent_writes_fails_or_is_the_last_that_is_called() {
    sweep_outside(Flow::PaymentOnce).await;
}
