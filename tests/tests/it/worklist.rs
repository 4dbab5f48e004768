//! Where the EHR cannot be written to: worklist items through the whole bundle, and `ehr.kind = "files"`, where nothing may fail or be
//! lost and no card is charged.

use serde_json::Value;
use vesper_adapters::dynamo::store::WriteBack;
use vesper_adapters::settings::EhrKind;
use vesper_core::ids::PaymentId;
use vesper_functions::review::answers::{Answered, mark_done};
use vesper_standins::ehr::{Capabilities, DeskPayment};
use vesper_standins::stripe::{Decline, NewPayment};
use vesper_tests::harness::{Bundle, Options, Told};

const DAY_S: i64 = 24 * 3600;

fn cannot_write() -> Capabilities {
    Capabilities { idempotent_writes: true, writes_payments: false, reverses_payments: false }
}

fn write_backs<'t>(told: &'t Told, payment: &str) -> Vec<(&'t Value, &'t Value)> {
    let of_it = |e: &&Value| e["kind"] == "write_back" && e["subject"] == payment;
    told.list("effects").iter().filter(of_it).map(|e| (&e["state"], &e["tries"])).collect()
}

/// Whatever is delivered and due is worked off.
async fn worked_off(b: &Bundle) -> Told {
    b.deliver().await;
    b.drain().await;
    b.export().await
}

/// A person types in what stands in the worklist, and marks it done. Answers (EHR reference, amount) of the payments.
async fn typed_in(b: &Bundle) -> Vec<(String, i64)> {
    let mut typed = Vec::new();
    for item in b.app().store.worklist(None, 50).await.unwrap() {
        let (payment, effect) = match &item {
            WriteBack::Allocation(read) => {
                let allocation = &read.item.allocation;
                typed.push((allocation.reference.clone(), allocation.net().get()));
                (allocation.payment.clone(), read.item.effect.as_ref().unwrap().id.clone())
            }
            WriteBack::Reversal(read) => (read.item.payment.clone(), read.item.effect.id.clone()),
        };
        let version = b.app().store.payment(&payment).await.unwrap().unwrap().rev;
        let done = mark_done(b.app(), "tester", &payment, version, effect.as_str(), "").await.unwrap();
        assert_eq!(done, Answered::Done);
    }
    b.drain().await;
    typed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_writes_nothing_leaves_items_that_never_die() {
    let mut b = Bundle::prepared(Options::default(), |s| s.ehr.set_capabilities(cannot_write())).await;
    let (customer, invoice) = b.patient(10_000);
    b.sync().await;
    let payment = b.pay_for(&customer, 4200, &invoice);
    let told = worked_off(&b).await;
    assert_eq!(write_backs(&told, &payment), [(&Value::from("pending"), &Value::from(0))]);
    b.advance(3 * DAY_S).await;
    let told = worked_off(&b).await;
    assert_eq!(write_backs(&told, &payment), [(&Value::from("pending"), &Value::from(0))], "after three days");
    assert_eq!((told.all_asked(), told.open(&invoice)), (vec![], 5800));
    let asked = b.standins.ehr.seen("GET /v1/capabilities").len();
    assert!(asked <= 3, "a waiting item is not tried again: the bridge was asked {asked} times");

    // A person types it in, with the reference; the feed shows it, and nothing is counted twice.
    let typed = typed_in(&b).await;
    assert_eq!(typed.len(), 1);
    b.standins.ehr.paid_in_ehr(&DeskPayment::card(&invoice, 4200, &typed[0].0));
    b.sync().await;
    let told = worked_off(&b).await;
    assert_eq!(write_backs(&told, &payment)[0].0, "done");
    assert_eq!((told.open(&invoice), told.invoice(&invoice)["excess"].as_i64()), (5800, Some(0)));

    // A refund afterwards is an item of its own, also when the bridge can write again.
    b.standins.stripe.refund(&payment, Some(1000), Value::Null, "succeeded");
    let told = worked_off(&b).await;
    b.standins.ehr.set_capabilities(Capabilities { writes_payments: true, reverses_payments: true, ..cannot_write() });
    assert_eq!(write_backs(&told, &payment).iter().filter(|(state, _)| **state == "pending").count(), 1);
    b.advance(DAY_S).await;
    assert!(b.standins.ehr.seen("POST /v1/*").is_empty(), "nothing was written");
    typed_in(&b).await;
    let told = worked_off(&b).await;
    assert_eq!(told.waiting(), 0);
    assert!(b.standins.ehr.seen("POST /v1/*").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_typed_in_without_its_reference_is_known_by_its_amount_once_it_is_marked_done() {
    let mut b = Bundle::prepared(Options::default(), |s| s.ehr.set_capabilities(cannot_write())).await;
    let (customer, invoice) = b.patient(4200);
    b.sync().await;
    let payment = b.pay_for(&customer, 4200, &invoice);
    worked_off(&b).await;
    b.advance(60).await;
    b.standins.ehr.paid_in_ehr(&DeskPayment { method: "card", ..DeskPayment::check(&invoice, 4200) });
    b.sync().await;
    typed_in(&b).await;
    let told = worked_off(&b).await;
    assert_eq!((told.open(&invoice), told.invoice(&invoice)["excess"].as_i64()), (0, Some(0)));
    assert_eq!((told.stands(&payment), told.all_asked()), (("decided".to_owned(), 4200, 0), vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_files_everything_is_decided_and_nobody_is_called() {
    let mut b = Bundle::new(Options::default()).await;
    let (customer, invoice) = b.patient(4200);
    let (late, bill) = b.patient(2000);
    b.sync().await;
    // A write that waits when the practice changes over is handed over, too.
    b.standins.ehr.fault(vesper_standins::Fault::new("POST /v1/payments", vesper_standins::FaultKind::NotSent));
    let first = b.pay_for(&customer, 4200, &invoice);
    worked_off(&b).await;
    let calls = b.standins.ehr.seen("* *").len();
    b.settings.ehr.kind = EhrKind::Files;
    b.restart().await;
    let failed =
        b.standins.stripe.fail(&NewPayment::of(&late, 2000).metadata("vesper_invoice", &bill), &Decline::of("generic_decline"));
    worked_off(&b).await;
    b.advance(9 * DAY_S).await;
    let told = worked_off(&b).await;
    assert_eq!(write_backs(&told, &first)[0].0, "pending");
    assert!(told.list("dead_letters").is_empty());
    assert_eq!(told.asked(&failed), ["card_failed"], "every rung was lost");
    assert!(b.standins.stripe.confirms().is_empty(), "no card is charged for an invoice that cannot be read");
    let id = PaymentId::parse(&failed).unwrap();
    let notes = b.app().store.recovery(&id).await.unwrap().unwrap().item.recovery.notes;
    assert!(notes.iter().any(|n| n.what.contains("cannot be asked for an invoice")), "{notes:?}");
    let second = b.pay_for(&late, 2000, &bill);
    let told = worked_off(&b).await;
    assert_eq!(write_backs(&told, &second), [(&Value::from("pending"), &Value::from(0))]);
    assert_eq!(typed_in(&b).await.len(), 2);
    let told = worked_off(&b).await;
    assert_eq!((told.waiting(), b.standins.ehr.seen("* *").len()), (0, calls), "the EHR was called");
}
