//! Records of the EHR on the embedded engine: what they do to money that was allocated before.

mod customers;
mod ehr_payments;

use super::*;
use crate::dead_letters;
use crate::reconcile::{self, movements};
use crate::testing::{Bench, SETTINGS, Script, app};
use crate::write_back;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::dynamo::faults::{Fault, Faults, Target, When};
use vesper_adapters::dynamo::item::{Read, item_of};
use vesper_adapters::dynamo::model::{StoredAllocation, StoredAudit, StoredReversal};
use vesper_adapters::dynamo::row::Row;
use vesper_adapters::dynamo::store::{RowRef, Store};
use vesper_adapters::dynamo::table::Table;
use vesper_adapters::http::TransportError;
use vesper_adapters::personal::{DataKey, Personal};
use vesper_core::effect::EffectState;
use vesper_core::event::{Event, Reference, Refund, RefundStatus, Success, What};
use vesper_core::ids::*;
use vesper_core::money::{Currency, Minor};
use vesper_core::movement::Movement;
use vesper_core::payment::PaymentState;
use vesper_core::records::*;
use vesper_core::review::{Answer, Status};

fn minor(v: i64) -> Minor {
    Minor::new(v).unwrap()
}

fn inv(id: &str) -> InvoiceId {
    InvoiceId::parse(id).unwrap()
}

fn cl(id: &str) -> ClientId {
    ClientId::parse(id).unwrap()
}

fn pi(id: &str) -> PaymentId {
    PaymentId::parse(id).unwrap()
}

/// A bridge that takes what it is sent, and knows no reference.
fn takes(request: &vesper_adapters::http::HttpRequest) -> Result<(u16, String), TransportError> {
    let url = request.url.clone();
    if url.contains("/by-reference/") {
        return Ok((404, String::new()));
    }
    if url.contains("/capabilities") {
        let can = json!({"system": "t", "writes_payments": true, "reverses_payments": true, "idempotent_writes": true});
        return Ok((200, can.to_string()));
    }
    if request.method != http::Method::POST {
        return Err(TransportError::NotSent);
    }
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    let (reversed, amount) =
        if url.contains("/reversals") { (sent["amount"].clone(), json!(4200)) } else { (json!(0), sent["amount"].clone()) };
    let state = if reversed == amount { "reversed" } else { "posted" };
    let answer = json!({"kind": "payment", "id": "epay_1", "invoice_id": sent.get("invoice_id").unwrap_or(&json!("inv_1")), "portion": "client",
        "amount": amount, "currency": "usd", "method": "card", "online": false, "posted_on": sent["posted_on"],
        "reference": sent.get("reference").unwrap_or(&json!("x")), "reversed": reversed, "state": state, "version": "1",
        "observed_at": "2026-11-21T15:00:00Z"});
    Ok((201, answer.to_string()))
}

struct Practice {
    engine: Engine,
    bench: Bench,
    bridge: Arc<Script>,
    seq: std::cell::Cell<u64>,
}

impl Practice {
    /// Clients `c_1` (customer `cus_1`) and `c_2`, nothing billed.
    async fn new() -> Practice {
        Self::with(takes).await
    }

    async fn with(
        answer: impl Fn(&vesper_adapters::http::HttpRequest) -> Result<(u16, String), TransportError> + Send + Sync + 'static,
    ) -> Practice {
        let bridge = Script::new(answer);
        let engine = Engine::memory().unwrap();
        let bench = app(&engine, bridge.clone(), SETTINGS).await;
        let p = Practice { engine, bench, bridge, seq: 1.into() };
        p.client("c_1", |c| c.customers = vec![CustomerId::parse("cus_1").unwrap()]).await;
        p.client("c_2", |_| {}).await;
        p
    }

    fn seen(&self) -> Seen {
        self.bench.host.advance_s(1);
        self.seq.set(self.seq.get() + 1);
        Seen { observed_at: self.bench.app.host.now(), seq: self.seq.get() }
    }

    async fn take(&self, change: Change) {
        take_records(&self.bench.app, &[(1, &change)]).await.unwrap();
    }

    async fn client(&self, id: &str, change: impl FnOnce(&mut Client)) {
        let client = self.person(id, change);
        self.take(client).await;
    }

    fn person(&self, id: &str, change: impl FnOnce(&mut Client)) -> Change {
        let mut client = Client {
            id: cl(id),
            customers: vec![],
            emails: vec![],
            guarantor: None,
            status: ClientStatus::Active,
            autopay: Autopay::Off,
            card_consent: CardConsent::Given,
            coverage: Coverage::SelfPay,
            version: "1".to_owned(),
            seen: self.seen(),
        };
        change(&mut client);
        Change::Client { client, personal: Personal::default() }
    }

    async fn bill(&self, client: &str, id: &str, charge: i64, paid: i64, change: impl FnOnce(&mut Invoice)) {
        let bill = self.billed(client, id, charge, paid, change);
        self.take(bill).await;
    }

    fn billed(&self, client: &str, id: &str, charge: i64, paid: i64, change: impl FnOnce(&mut Invoice)) -> Change {
        let mut invoice = Invoice {
            id: inv(id),
            number: None,
            client: cl(client),
            currency: Currency::USD,
            issued_on: "2026-11-01".parse().unwrap(),
            void: false,
            category: Category::Copay,
            sessions: vec![],
            client_share: Share { charge: minor(charge), paid: minor(paid), open: minor(charge - paid), ..Share::default() },
            payer_share: Share::default(),
            version: "1".to_owned(),
            seen: self.seen(),
        };
        change(&mut invoice);
        Change::Invoice(invoice)
    }

    fn in_ehr(&self, id: &str, invoice: &str, amount: i64, reference: &str) -> EhrPayment {
        let seen = self.seen();
        EhrPayment {
            id: EhrPaymentId::parse(id).unwrap(),
            invoice: inv(invoice),
            portion: Portion::Client,
            amount: minor(amount),
            reversed: Minor::ZERO,
            currency: Currency::USD,
            method: Method::Card,
            posted_on: "2026-11-21".parse().unwrap(),
            reference: reference.to_owned(),
            first_observed_at: seen.observed_at,
            seen,
        }
    }

    async fn told(&self, payment: &EhrPayment) {
        self.take(Change::Payment(payment.clone())).await;
    }

    fn success(&self, id: &str, amount: i64) -> Success {
        Success {
            payment: pi(id),
            charge: Some(ChargeId::parse(&format!("ch_{id}")).unwrap()),
            customer: Some(CustomerId::parse("cus_1").unwrap()),
            amount: minor(amount),
            currency: Currency::USD,
            reference: Reference::default(),
            receipt_email: None,
            balance_transaction: None,
            object_created: self.bench.app.now(),
        }
    }

    async fn pay(&self, success: Success) {
        self.bench.host.advance_s(1);
        let id = EventId::parse(&format!("evt_{}", success.payment)).unwrap();
        let event = Event { id, created: self.bench.app.now(), what: What::PaymentSucceeded(success) };
        reconcile::event(&self.bench.app, &event).await.unwrap();
    }

    async fn refund(&self, payment: &str, amount: i64) {
        let refund = Refund {
            id: MovementId::parse("re_1").unwrap(),
            payment: pi(payment),
            charge: None,
            amount: minor(amount),
            currency: Currency::USD,
            status: RefundStatus::Succeeded,
            names_invoice: None,
            created: self.bench.app.now(),
        };
        movements::heard(&self.bench.app, Movement::of_refund(&refund)).await.unwrap();
    }

    async fn row(&self, client: &str, payment: &str, n: u32) -> Option<Read<StoredAllocation>> {
        self.bench.app.store.allocation(&cl(client), &pi(payment), n).await.unwrap()
    }

    async fn reversals(&self, client: &str, payment: &str) -> Vec<Read<StoredReversal>> {
        self.bench.app.store.reversals(&cl(client), &pi(payment)).await.unwrap()
    }

    async fn write(&self, place: &RowRef) {
        write_back::write(&self.bench.app, place).await.unwrap();
    }

    /// (allocated, unapplied, credit)
    async fn stands(&self, payment: &str) -> (i64, i64, i64) {
        let read = self.bench.app.store.payment(&pi(payment)).await.unwrap().unwrap();
        let p = &read.item.payment;
        p.check().unwrap();
        (p.allocated().get(), p.unapplied.get(), p.credit.get())
    }

    /// Calls to the table go through this from here on, and none is repeated.
    fn through_faults(&mut self) -> Faults {
        let faults = Faults::over(self.engine.http_client());
        self.bench.app.store = Store::new(Table::new(faults.client(1), "vesper".to_owned()), DataKey::new([7; 32]));
        faults
    }

    /// Every row but for revisions and what is random in audit records.
    async fn rows(&self) -> BTreeSet<(String, String, String, Option<String>)> {
        let mut rows = BTreeSet::new();
        let mut each = |row: Row| {
            let key = if row.kind == "AuditV1" {
                let record = item_of::<StoredAudit>(&row).unwrap().item.record;
                (record.at, record.action, record.subject + &record.detail, None)
            } else {
                (row.pk, row.sk, row.body, row.due)
            };
            rows.insert(key);
        };
        self.bench.app.store.scan(&mut each).await.unwrap();
        rows
    }

    async fn asked(&self, subject: &str) -> Vec<Reason> {
        let all = self.bench.app.store.reviews_about(subject).await.unwrap();
        all.iter().filter(|r| r.item.review.status == Status::Open).map(|r| r.item.review.question.reason).collect()
    }

    fn posted(&self) -> Vec<Value> {
        let sent = self.bridge.take();
        let posts = sent.iter().filter(|r| r.method == http::Method::POST && r.url.contains("/v1/payments"));
        posts.map(|r| serde_json::from_slice(&r.body).unwrap()).collect()
    }
}

/// A page on which one record follows from another: versions of one invoice, a payment before its invoice, a bill that changes
/// hands, a family that comes together.
async fn entangled(p: &Practice) -> Vec<Change> {
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    p.pay(p.success("pi_1", 4200)).await;
    let reference = p.row("c_1", "pi_1", 1).await.unwrap().item.allocation.reference;
    vec![
        p.person("c_2", |c| c.guarantor = Some(cl("c_1"))),
        Change::Payment(p.in_ehr("epay_9", "inv_9", 500, "pi_9")),
        p.billed("c_2", "inv_9", 900, 500, |i| i.number = Some("N-9".into())),
        Change::Payment(p.in_ehr("epay_1", "inv_1", 4200, &reference)),
        p.billed("c_1", "inv_1", 4200, 4200, |_| {}),
        p.billed("c_1", "inv_1", 3000, 3000, |i| i.sessions = vec![]),
        p.billed("c_2", "inv_1", 3000, 3000, |_| {}),
        p.person("c_2", |c| c.emails = vec![p.bench.app.projection.hasher.hash("ada@example.org").unwrap()]),
    ]
}

#[tokio::test]
async fn records_that_are_stored_together_leave_what_they_leave_one_by_one() {
    let mut together = Practice::new().await;
    let page = entangled(&together).await;
    let faults = together.through_faults();
    let numbered: Vec<(u64, &Change)> = (1..).zip(&page).collect();
    let arrived = take_records(&together.bench.app, &numbered).await.unwrap();
    assert_eq!(faults.calls(&Target::Operation("TransactWriteItems")), 1);

    let one_by_one = Practice::new().await;
    let page = entangled(&one_by_one).await;
    let mut want = Arrived::default();
    for (seq, change) in (1..).zip(&page) {
        want.and(take_record(&one_by_one.bench.app, seq, change).await.unwrap());
    }
    assert_eq!(arrived, want);
    assert_eq!(together.rows().await, one_by_one.rows().await);
    assert_eq!(together.stands("pi_1").await, (3000, 1200, 1200));
    let woken = |p: &Practice| p.bench.queue.take().len();
    assert_eq!(woken(&together), woken(&one_by_one));
}

#[tokio::test]
async fn a_page_is_stored_one_by_one_where_others_are_in_the_way() {
    let mut p = Practice::new().await;
    let page = entangled(&p).await;
    let faults = p.through_faults();
    for call in [1, 3, 4] {
        faults.script(Target::Operation("TransactWriteItems"), When::Call(call), Fault::TransactionConflict);
    }
    let numbered: Vec<(u64, &Change)> = (1..).zip(&page).collect();
    take_records(&p.bench.app, &numbered).await.unwrap();
    assert_eq!(p.stands("pi_1").await, (3000, 1200, 1200));
    // Once more, as after a crash before the cursor moved: nothing changes.
    let before = p.rows().await;
    take_records(&p.bench.app, &numbered).await.unwrap();
    assert_eq!(p.rows().await, before);
}

#[tokio::test]
async fn a_long_page_is_several_transactions_of_bounded_size() {
    let mut p = Practice::new().await;
    let page: Vec<Change> = (0..60).map(|n| p.billed("c_1", &format!("inv_{n}"), 4200, 0, |_| {})).collect();
    let faults = p.through_faults();
    let numbered: Vec<(u64, &Change)> = (1..).zip(&page).collect();
    take_records(&p.bench.app, &numbered).await.unwrap();
    assert_eq!(faults.calls(&Target::Operation("TransactWriteItems")), 6, "ten records each");
    let reads = ["GetItem", "BatchGetItem"].map(|operation| faults.calls(&Target::Operation(operation)));
    assert_eq!(reads, [0, 12], "each begins with two reads for all of its records");
    assert_eq!(p.bench.app.store.load_clients([cl("c_1")]).await.unwrap().world.invoices().count(), 60);
}

#[tokio::test]
async fn a_record_that_cannot_be_stored_becomes_a_question_and_holds_nobody_up() {
    let p = Practice::new().await;
    let many = (0..120)
        .map(|n| Session { id: SessionId::parse(&format!("s_{n}")).unwrap(), service_date: "2026-11-01".parse().unwrap() });
    let page = [
        p.billed("c_1", "inv_1", 4200, 0, |_| {}),
        p.billed("c_1", "inv_2", 4200, 0, |i| i.sessions = many.collect()),
        p.billed("c_1", "inv_3", 4200, 0, |_| {}),
    ];
    let numbered: Vec<(u64, &Change)> = (7..).zip(&page).collect();
    for _ in 0..2 {
        take_records(&p.bench.app, &numbered).await.unwrap();
        let mut there = vec![];
        for id in ["inv_1", "inv_2", "inv_3"] {
            there.push(p.bench.app.store.invoice(&inv(id)).await.unwrap().is_some());
        }
        assert_eq!((there, p.asked("inv_2").await), (vec![true, false, true], vec![Reason::UnreadableEvent]));
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_becomes_a_question_and_holds_nobody_up() {
    let p = Practice::new().await;
    let bad = |id: Option<&str>| Change::Unreadable {
        kind: "invoice".to_owned(),
        id: id.map(str::to_owned),
        problem: "client_share.open is no integer".to_owned(),
    };
    let records = vec![bad(Some("inv_1")), bad(None), p.billed("c_1", "inv_2", 4200, 0, |_| {})];
    let page = Page { records, next_cursor: "1".to_owned(), has_more: false };
    for _ in 0..2 {
        take_page(&p.bench.app, &page, 40).await.unwrap();
        assert_eq!(p.asked("inv_1").await, [Reason::UnreadableEvent]);
        assert_eq!(p.asked("record 41 of the feed").await, [Reason::UnreadableEvent]);
        assert!(p.bench.app.store.invoice(&inv("inv_2")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn an_invoice_that_changes_hands_takes_its_allocation_and_its_reversal_along() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    p.pay(p.success("pi_1", 4200)).await;
    let row = p.row("c_1", "pi_1", 1).await.unwrap();
    p.write(&RowRef::of(&row.item)).await;
    p.refund("pi_1", 1200).await;
    p.posted();
    // The same version moves it and shows the payment.
    let ours = p.in_ehr("epay_1", "inv_1", 4200, &row.item.allocation.reference);
    p.told(&ours).await;
    p.bill("c_2", "inv_1", 4200, 4200, |_| {}).await;
    assert!(p.row("c_1", "pi_1", 1).await.is_none());
    let moved = p.row("c_2", "pi_1", 1).await.unwrap().item;
    assert!(moved.allocation.shown && moved.allocation.client == cl("c_2"));
    assert_eq!(p.reversals("c_1", "pi_1").await.len(), 0);
    let reversal = p.reversals("c_2", "pi_1").await.remove(0).item;
    p.write(&RowRef::of(&reversal)).await;
    assert_eq!(p.posted()[0]["amount"], 1200, "what was refunded is taken back in the EHR");
    assert_eq!(p.asked("inv_1").await, []);
}

#[tokio::test]
async fn what_the_ehr_had_before_its_invoice_arrived_is_found_and_refunded_on_it() {
    let p = Practice::new().await;
    p.told(&p.in_ehr("epay_9", "inv_9", 4200, "pi_1")).await;
    p.pay(p.success("pi_1", 4200)).await;
    assert_eq!(p.stands("pi_1").await, (4200, 0, 0));
    p.bill("c_1", "inv_9", 4200, 4200, |_| {}).await;
    p.refund("pi_1", 4200).await;
    let row = p.row("c_1", "pi_1", 1).await.expect("it stands with the invoice");
    assert_eq!(row.item.allocation.net(), Minor::ZERO);
    assert_eq!(p.stands("pi_1").await, (0, 0, 0));
}

#[tokio::test]
async fn an_older_version_of_an_early_payment_does_not_replace_the_newer() {
    let p = Practice::new().await;
    let old = p.in_ehr("epay_9", "inv_9", 4200, "pi_1");
    let mut new = p.in_ehr("epay_9", "inv_9", 4200, "pi_1");
    new.reversed = minor(4200);
    p.told(&new).await;
    p.told(&old).await;
    let stored = p.bench.app.store.orphan_payments(&inv("inv_9")).await.unwrap();
    assert_eq!(stored[0].payment.reversed, minor(4200));
}

#[tokio::test]
async fn a_payment_told_while_another_reader_stores_its_invoice_is_not_left_behind() {
    let p = Practice::new().await;
    let store = p.bench.app.store.gathering();
    assert!(store.invoice_home(&inv("inv_9")).await.unwrap().is_none());
    p.bill("c_1", "inv_9", 4200, 4200, |_| {}).await;
    let told = p.in_ehr("epay_9", "inv_9", 4200, "pi_1");
    super::records::payment(&p.bench.app, &store, &told).await.unwrap();
    assert!(store.flush().await.unwrap_err().is_conflict(), "it stands with nobody, and the invoice has a client");
    p.told(&told).await;
    assert_eq!(p.bench.app.store.orphan_payments(&inv("inv_9")).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_printed_number_is_that_of_the_invoice_that_has_it_now() {
    let p = Practice::new().await;
    let numbered = |number: &'static str| move |i: &mut Invoice| i.number = Some(number.to_owned());
    let typed = async |text: &str| p.bench.app.store.invoice_typed(text).await.unwrap().map(|i| i.id);
    p.bill("c_1", "inv_1", 4200, 0, numbered("100")).await;
    p.bill("c_2", "inv_2", 4200, 0, numbered("100")).await;
    assert_eq!(typed("100").await, Some(inv("inv_2")), "told by mistake");
    p.bill("c_2", "inv_2", 4200, 0, numbered("101")).await;
    assert_eq!((typed("100").await, typed(" 101 ").await), (None, Some(inv("inv_2"))));
    p.bill("c_1", "inv_1", 4200, 4200, numbered("100")).await;
    assert_eq!(typed("100").await, Some(inv("inv_1")));
}

#[tokio::test]
async fn our_payment_on_an_invoice_that_arrives_later_is_asked_about() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    p.pay(p.success("pi_1", 4200)).await;
    p.told(&p.in_ehr("epay_9", "inv_9", 4200, "pi_1")).await;
    p.bill("c_1", "inv_9", 4200, 4200, |_| {}).await;
    assert_eq!(p.asked("inv_9").await, [Reason::EhrDisagrees]);
}

#[tokio::test]
async fn a_void_of_an_invoice_with_two_allocations_of_one_payment_credits_both() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 3000, 0, |_| {}).await;
    let named = |s: Success| Success { reference: Reference { invoice: Some("inv_1".into()), ..Reference::default() }, ..s };
    p.pay(named(p.success("pi_1", 4200))).await;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    let review = p.bench.app.store.reviews_about("pi_1").await.unwrap().remove(0);
    let typed = crate::review::answers::Chosen::OtherInvoice("inv_1".into());
    let told = crate::review::answers::answer(&p.bench.app, "ada", &review.item.review.id, review.rev, typed).await.unwrap();
    assert_eq!(told, crate::review::answers::Answered::Done);
    assert_eq!(p.stands("pi_1").await, (4200, 0, 0));
    p.bill("c_1", "inv_1", 4200, 0, |i| i.void = true).await;
    assert_eq!(p.stands("pi_1").await, (0, 4200, 4200));
    assert_eq!(p.asked("pi_1").await, [Reason::VoidInvoice]);
    let loaded = p.bench.app.store.load_clients([cl("c_1")]).await.unwrap();
    assert!(loaded.money_left.contains(&pi("pi_1")), "the guard of a card must see the credit");
}

#[tokio::test]
async fn nobody_is_looked_for_where_no_money_waits() {
    let p = Practice::new().await;
    p.pay(p.success("pi_1", 4200)).await;
    assert_eq!(p.stands("pi_1").await, (0, 4200, 0), "nothing is open yet");
    let mut calls = Vec::new();
    for (client, invoice) in [("c_2", "inv_2"), ("c_2", "inv_2"), ("c_1", "inv_1")] {
        let (records, next_cursor) = (vec![p.billed(client, invoice, 4200, 0, |_| {})], "1".to_owned());
        let before = p.engine.calls();
        take_page(&p.bench.app, &Page { records, next_cursor, has_more: false }, 1).await.unwrap();
        calls.push(p.engine.calls() - before);
    }
    assert_eq!(p.stands("pi_1").await, (4200, 0, 0));
    // The pointer to the invoice, the versions, the client's rows, one transaction, who waits; of an invoice that is new also what
    // stood with it before, in two calls.
    assert_eq!(calls[..2], [7, 5], "and {} where a payment waited", calls[2]);
}

#[tokio::test]
async fn what_a_lowered_charge_frees_pays_first_the_refund_that_waited() {
    let part = |id: &str, amount| (inv(id), minor(amount));
    let back = |allocations| Answer::TakeBack { allocations, unapplied: Minor::ZERO };
    // The refund; what stands then; what is still asked.
    let rest = vec![back(vec![part("inv_2", 1500)]), back(vec![part("inv_1", 1000), part("inv_2", 500)])];
    let cases = [(500, (4000, 500, 500), vec![]), (1500, (4000, 1000, 1000), vec![(Reason::RefundSplit, rest)])];
    for (refund, stands, asked) in cases {
        let p = Practice::new().await;
        p.bill("c_1", "inv_1", 2000, 0, |_| {}).await;
        p.bill("c_1", "inv_2", 3000, 0, |_| {}).await;
        p.pay(p.success("pi_1", 5000)).await;
        p.refund("pi_1", refund).await;
        assert_eq!((p.stands("pi_1").await, p.asked("pi_1").await), ((5000, 0, 0), vec![Reason::RefundSplit]));
        p.bill("c_1", "inv_1", 1000, 0, |_| {}).await;
        assert_eq!(p.stands("pi_1").await, stands);
        let reviews = p.bench.app.store.reviews_about("pi_1").await.unwrap();
        let open = reviews.into_iter().map(|r| r.item.review).filter(|r| r.status == Status::Open);
        assert_eq!(open.map(|r| (r.question.reason, r.question.answers)).collect::<Vec<_>>(), asked, "a refund of {refund}");
    }
}

#[tokio::test]
async fn a_lowered_charge_is_no_disagreement_of_the_ehr() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    p.pay(p.success("pi_1", 4200)).await;
    let row = p.row("c_1", "pi_1", 1).await.unwrap();
    p.told(&p.in_ehr("epay_1", "inv_1", 4200, &row.item.allocation.reference)).await;
    p.bill("c_1", "inv_1", 4200, 4200, |_| {}).await;
    assert!(p.row("c_1", "pi_1", 1).await.unwrap().item.allocation.shown);
    p.bill("c_1", "inv_1", 3000, 3000, |_| {}).await;
    assert_eq!(p.stands("pi_1").await, (3000, 1200, 1200));
    assert_eq!(p.asked("inv_1").await, []);
    assert!(p.row("c_1", "pi_1", 1).await.unwrap().item.allocation.shown);
}

#[tokio::test]
async fn what_the_ehr_still_counts_of_a_reversed_payment_does_not_show_the_one_after_it() {
    use crate::review::answers::{Answered, Chosen, answer, take_back};
    let p = Practice::new().await;
    let app = &p.bench.app;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    p.pay(p.success("pi_1", 4200)).await;
    let reference = p.row("c_1", "pi_1", 1).await.unwrap().item.allocation.reference;
    let mut written = p.in_ehr("epay_1", "inv_1", 4200, &reference);
    p.told(&written).await;
    p.bill("c_1", "inv_1", 4200, 4200, |_| {}).await;
    assert!(p.row("c_1", "pi_1", 1).await.unwrap().item.allocation.shown);
    // A person takes it back and puts it there again before the EHR tells of the reversal.
    let rev = app.store.payment(&pi("pi_1")).await.unwrap().unwrap().rev;
    assert_eq!(take_back(app, "ada", &pi("pi_1"), rev).await.unwrap(), Answered::Done);
    let review = app.store.reviews_about("pi_1").await.unwrap().remove(0);
    let again = Chosen::OtherInvoice("inv_1".into());
    assert_eq!(answer(app, "ada", &review.item.review.id, review.rev, again).await.unwrap(), Answered::Done);
    (written.reversed, written.seen) = (minor(4200), p.seen());
    p.told(&written).await;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    assert!(!p.row("c_1", "pi_1", 2).await.unwrap().item.allocation.shown, "the EHR has not told of it yet");
    assert_eq!((p.stands("pi_1").await, p.asked("inv_1").await), ((4200, 0, 0), vec![]));
}

#[tokio::test]
async fn cash_that_is_told_before_the_invoice_counts_it_is_no_disagreement() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 5200, 0, |_| {}).await;
    p.pay(p.success("pi_1", 4200)).await;
    // The only invoice: a part of it.
    assert_eq!(p.stands("pi_1").await, (4200, 0, 0));
    let row = p.row("c_1", "pi_1", 1).await.unwrap();
    p.told(&p.in_ehr("epay_1", "inv_1", 4200, &row.item.allocation.reference)).await;
    p.bill("c_1", "inv_1", 5200, 4200, |_| {}).await;
    let mut cash = p.in_ehr("epay_2", "inv_1", 1000, "");
    cash.method = Method::Cash;
    p.told(&cash).await;
    p.bill("c_1", "inv_1", 5200, 5200, |_| {}).await;
    assert_eq!(p.asked("inv_1").await, []);
    // A version that shows it no more is one.
    p.bill("c_1", "inv_1", 5200, 1000, |_| {}).await;
    assert_eq!(p.asked("inv_1").await, [Reason::EhrDisagrees]);
}

#[tokio::test]
async fn what_a_person_took_back_is_not_written_by_a_redrive() {
    let p = Practice::with(|r| if r.method == http::Method::POST { Ok((422, String::new())) } else { takes(r) }).await;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    p.pay(p.success("pi_1", 4200)).await;
    let place = RowRef::of(&p.row("c_1", "pi_1", 1).await.unwrap().item);
    p.write(&place).await;
    assert_eq!(p.row("c_1", "pi_1", 1).await.unwrap().item.effect.unwrap().state, EffectState::Dead);
    let version = p.bench.app.store.payment(&pi("pi_1")).await.unwrap().unwrap().rev;
    crate::review::answers::take_back(&p.bench.app, "ada", &pi("pi_1"), version).await.unwrap();
    let reversal = p.reversals("c_1", "pi_1").await.remove(0).item;
    p.write(&RowRef::of(&reversal)).await;
    p.posted();
    dead_letters::redrive_all(&p.bench.app).await.unwrap();
    p.write(&place).await;
    assert_eq!(p.posted(), Vec::<Value>::new(), "nothing of it may reach the EHR");
}

#[tokio::test]
async fn an_email_is_judged_by_everybody_who_has_it() {
    let p = Practice::new().await;
    let app = &p.bench.app;
    let hash = app.projection.hasher.hash("ada@example.org").unwrap();
    let mail = |c: &mut Client| c.emails = vec![hash.clone()];
    p.client("c_3", mail).await;
    p.client("c_4", mail).await;
    // The customer's only client is a deleted chart in the family of one of them.
    p.client("c_5", |c| {
        c.customers = vec![CustomerId::parse("cus_5").unwrap()];
        c.guarantor = Some(cl("c_3"));
        c.status = ClientStatus::Deleted;
    })
    .await;
    app.store.set_meta("customers_listed", &true, 0).await.unwrap();
    reconcile::customers::email_is(app, &CustomerId::parse("cus_5").unwrap(), Some(hash.clone()), app.now()).await.unwrap();
    p.bill("c_3", "inv_3", 4200, 0, |_| {}).await;
    let success = Success { customer: Some(CustomerId::parse("cus_5").unwrap()), ..p.success("pi_5", 4200) };
    p.pay(success).await;
    assert_eq!(p.bench.app.store.payment(&pi("pi_5")).await.unwrap().unwrap().item.payment.state, PaymentState::Parked);
}

#[tokio::test]
async fn an_older_customer_event_does_not_bring_an_old_email_back() {
    let p = Practice::new().await;
    let app = &p.bench.app;
    let cus = CustomerId::parse("cus_7").unwrap();
    let (old, new) = (app.projection.hasher.hash("old@example.org"), app.projection.hasher.hash("new@example.org"));
    let at: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let before: jiff::Timestamp = "2026-11-21T11:00:00Z".parse().unwrap();
    reconcile::customers::email_is(app, &cus, new.clone(), at).await.unwrap();
    reconcile::customers::email_is(app, &cus, old, before).await.unwrap();
    assert_eq!(app.store.customer(&cus).await.unwrap().unwrap().item.email, new);
}

#[tokio::test]
async fn no_free_text_of_an_ehr_payment_is_stored() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    p.told(&p.in_ehr("epay_1", "inv_1", 100, "check of Persephone Quill")).await;
    let mut found = String::new();
    p.bench.app.store.scan(&mut |row| found.push_str(&row.body)).await.unwrap();
    assert!(found.contains("epay_1") && !found.contains("Persephone"));
}

#[tokio::test]
async fn a_charge_that_is_heard_of_later_shows_the_allocation_too() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 5200, 0, |_| {}).await;
    p.pay(Success { charge: None, ..p.success("pi_1", 4200) }).await;
    reconcile::payments::complete(&p.bench.app, &p.success("pi_1", 4200), None).await.unwrap();
    p.told(&p.in_ehr("epay_1", "inv_1", 4200, "ch_pi_1")).await;
    p.bill("c_1", "inv_1", 5200, 4200, |_| {}).await;
    assert!(p.row("c_1", "pi_1", 1).await.unwrap().item.allocation.shown);
    p.bill("c_1", "inv_2", 4200, 0, |_| {}).await;
    p.told(&p.in_ehr("epay_2", "inv_2", 4200, "ch_pi_1")).await;
    assert_eq!(p.asked("inv_2").await, [Reason::EhrDisagrees]);
}

#[tokio::test]
async fn a_buried_message_that_is_sent_again_is_no_question_any_more() {
    let p = Practice::new().await;
    let task = crate::task::Task::LookV1 { payment: pi("pi_1") };
    dead_letters::bury(&p.bench.app, "m_1", &task, "it panicked").await.unwrap();
    assert_eq!(p.asked("m_1").await, [Reason::DeadLetter]);
    dead_letters::redrive_all(&p.bench.app).await.unwrap();
    assert_eq!(p.asked("m_1").await, []);
    // Its removal from the queue had timed out: it comes once more, and nobody is left with a letter without a question.
    dead_letters::bury(&p.bench.app, "m_1", &task, "it panicked").await.unwrap();
    assert_eq!((p.asked("m_1").await, p.bench.app.store.dead_letters().await.unwrap().len()), (vec![], 0));
}

#[tokio::test]
async fn what_a_live_time_left_is_not_written_in_shadow_mode() {
    let mut p = Practice::new().await;
    p.bill("c_1", "inv_1", 4200, 0, |_| {}).await;
    p.pay(p.success("pi_1", 4200)).await;
    p.posted();
    p.bench.app.settings.practice.mode = vesper_adapters::settings::Mode::Shadow;
    p.write(&RowRef::of(&p.row("c_1", "pi_1", 1).await.unwrap().item)).await;
    assert_eq!(p.posted(), Vec::<Value>::new());
    assert_eq!(p.row("c_1", "pi_1", 1).await.unwrap().item.effect.unwrap().state, EffectState::Pending);
}
