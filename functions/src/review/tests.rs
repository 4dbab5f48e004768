//! The review on the embedded engine: here the answers.

mod by_hand;
mod pages;
mod refunds;

use super::answers::{Answered, Chosen, answer, apply_credit, credit_back, move_allocations, take_back};
use super::page::{PageRequest, PageResponse, handle};
use super::session::Sessions;
use crate::changes::{Ask, Changes};
use crate::pause::{self, Pause};
use crate::task::Task;
use crate::testing::{Bench, SETTINGS, Script};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::dynamo::item::{Read, Unit};
use vesper_adapters::dynamo::model::*;
use vesper_adapters::dynamo::store::{PaymentFile, RowRef, park};
use vesper_adapters::http::TransportError;
use vesper_adapters::personal::{Personal, Secret};
use vesper_core::effect::{EffectState, Failure};
use vesper_core::event::{Event, Reference, Refund, RefundStatus, Success, What};
use vesper_core::ids::*;
use vesper_core::matching::{Case, Look, Stands, Watch, decide};
use vesper_core::money::{Currency, Minor};
use vesper_core::movement::Movement;
use vesper_core::payment::{Dates, Payment, PaymentState};
use vesper_core::records::*;
use vesper_core::review::{Answer, Question, Reason, Status};

const NAME: &str = "Persephone <script>alert(1)</script> Quill";

pub(super) fn minor(v: i64) -> Minor {
    Minor::new(v).unwrap()
}

pub(super) fn pi() -> PaymentId {
    PaymentId::parse("pi_1").unwrap()
}

fn inv(id: &str) -> InvoiceId {
    InvoiceId::parse(id).unwrap()
}

fn apply(shares: &[(&str, i64)]) -> Answer {
    Answer::Apply(shares.iter().map(|(id, m)| (inv(id), minor(*m))).collect())
}

/// A practice with one client and what a test does to it.
pub(super) struct Practice {
    pub(super) bench: Bench,
}

impl Practice {
    /// A client `c_1` with these invoices open, and another client `c_2` with `other` open.
    async fn new(invoices: &[(&str, i64)]) -> Practice {
        Practice::on(SETTINGS, Script::new(|_| Err(TransportError::NotSent)), invoices).await
    }

    /// The same with these settings, between outside systems that answer like this.
    pub(super) async fn on(settings: &str, systems: Arc<Script>, invoices: &[(&str, i64)]) -> Practice {
        let engine = Engine::memory().unwrap();
        let bench = crate::testing::app(&engine, systems, settings).await;
        let practice = Practice { bench };
        practice.client("c_1", ClientStatus::Active).await;
        practice.client("c_2", ClientStatus::Active).await;
        for (id, open) in invoices {
            practice.invoice("c_1", id, *open, |_| {}).await;
        }
        practice.invoice("c_2", "other", 2500, |i| i.number = Some("N-77".to_owned())).await;
        practice
    }

    async fn client(&self, id: &str, status: ClientStatus) {
        let app = &self.bench.app;
        let client = Client {
            id: ClientId::parse(id).unwrap(),
            customers: if id == "c_1" { vec![CustomerId::parse("cus_1").unwrap()] } else { vec![] },
            emails: vec![],
            guarantor: None,
            status,
            autopay: Autopay::Off,
            card_consent: CardConsent::Given,
            coverage: Coverage::SelfPay,
            version: "1".to_owned(),
            seen: Seen { observed_at: app.now(), seq: 1 },
        };
        let personal = Personal { display_name: Some(NAME.to_owned()), emails: vec!["ada@example.org".to_owned()] };
        let sealed = app.store.seal_personal(&client.id, &personal, app.nonce());
        let mut unit = Unit::new();
        for customer in client.customers.clone() {
            let told = [client.id.clone()].into();
            unit.put(&StoredCustomer { customer, email: None, email_known: true, told_at: None, told, own: None });
        }
        unit.put_sealed(&StoredClient { client }, 0, Some(sealed));
        app.store.commit(unit).await.unwrap();
    }

    async fn invoice(&self, client: &str, id: &str, open: i64, change: impl FnOnce(&mut Invoice)) {
        let app = &self.bench.app;
        let mut invoice = Invoice {
            id: inv(id),
            number: None,
            client: ClientId::parse(client).unwrap(),
            currency: Currency::USD,
            issued_on: "2026-11-01".parse().unwrap(),
            void: false,
            category: Category::Copay,
            sessions: vec![],
            client_share: Share { charge: minor(open), open: minor(open), ..Share::default() },
            payer_share: Share::default(),
            version: "1".to_owned(),
            seen: Seen { observed_at: app.now(), seq: 1 },
        };
        change(&mut invoice);
        let mut unit = Unit::new();
        unit.put(&InvoiceHome { invoice: invoice.id.clone(), client: invoice.client.clone() });
        if let Some(number) = &invoice.number {
            unit.put(&InvoiceNumber { number: number.clone(), invoice: invoice.id.clone() });
        }
        unit.put(&StoredInvoice { invoice });
        app.store.commit(unit).await.unwrap();
    }

    /// `pi_1` over this amount arrives and is decided as the core says.
    pub(super) async fn pay(&self, amount: i64, invoice: Option<&str>) {
        let app = &self.bench.app;
        let success = Success {
            payment: pi(),
            charge: Some(ChargeId::parse("ch_1").unwrap()),
            customer: Some(CustomerId::parse("cus_1").unwrap()),
            amount: minor(amount),
            currency: Currency::USD,
            reference: Reference { invoice: invoice.map(str::to_owned), ..Reference::default() },
            receipt_email: None,
            balance_transaction: None,
            object_created: app.now(),
        };
        let loaded = app.store.load_clients([ClientId::parse("c_1").unwrap()]).await.unwrap();
        let local_date = app.local_date(app.now());
        let case = Case { success: &success, amount: success.amount, local_date, look: Look::First };
        let decision = decide(&loaded.world, &case, &app.policy.matching);
        let mut payment = Payment {
            event: EventId::parse("evt_1").unwrap(),
            events: vec![EventId::parse("evt_1").unwrap()],
            charged_at: app.now(),
            first_delivered_at: app.now(),
            deadline: app.now(),
            state: PaymentState::Review,
            decision: decision.clone(),
            shares: vec![],
            unapplied: success.amount,
            credit: Minor::ZERO,
            refunded: Minor::ZERO,
            disputed: Minor::ZERO,
            taken_off: Minor::ZERO,
            shadow: false,
            postings: 0,
            credit_by_hand: false,
            success,
        };
        let step = payment.decide_first(decision.clone(), Dates { money: local_date, decision: local_date });
        let mut changes = Changes::new(app, app.now());
        changes.allocate(&payment, &step);
        if let Some(question) = decision.question.clone() {
            changes.ask(Ask::about_payment(&pi(), question, "")).await.unwrap();
        }
        if decision.stands == Stands::Parked {
            park(&mut changes.unit, &pi(), app.now(), &BTreeSet::new(), &decision.watch);
        }
        let look_at = (decision.stands == Stands::Parked).then(|| app.now());
        changes.unit.insert(&StoredPayment { payment, look_at });
        loaded.bump_all(&mut changes.unit);
        changes.commit().await.unwrap();
        self.bench.queue.take();
    }

    async fn ask(&self, question: Question, about: Option<String>, subject: &str) -> Read<StoredReview> {
        let app = &self.bench.app;
        let mut changes = Changes::new(app, app.now());
        let payment = pi();
        let ask = Ask { subject, payment: Some(&payment), question, salt: "test", about };
        let id = changes.ask(ask).await.unwrap();
        changes.commit().await.unwrap();
        app.store.review(&id).await.unwrap().unwrap()
    }

    /// A refund that Stripe tells of, recorded as reconcile does.
    pub(super) async fn refund(&self, amount: i64) -> Read<StoredMovement> {
        let app = &self.bench.app;
        let mut movement = Movement::of_refund(&Refund {
            id: MovementId::parse("re_1").unwrap(),
            payment: pi(),
            charge: None,
            amount: minor(amount),
            currency: Currency::USD,
            status: RefundStatus::Succeeded,
            names_invoice: None,
            created: app.now(),
        });
        let mut file = self.file().await;
        let row = file.payment.as_mut().unwrap();
        let day = app.local_date(app.now());
        let (step, _) = row.item.payment.record(&mut movement, Dates { money: day, decision: day });
        let loaded = app.store.load_clients([ClientId::parse("c_1").unwrap()]).await.unwrap();
        let mut changes = Changes::new(app, app.now());
        changes.take_back(&row.item.payment, &step.taken_back, BackReason::Refund, day, &loaded);
        changes.allocate(&row.item.payment, &step);
        changes.unit.update(row);
        changes.unit.insert(&StoredMovement { movement });
        changes.commit().await.unwrap();
        self.file().await.movements.pop().unwrap()
    }

    async fn file(&self) -> PaymentFile {
        self.bench.app.store.payment_file(&pi()).await.unwrap()
    }

    pub(super) async fn rev(&self) -> u64 {
        self.file().await.payment.unwrap().rev
    }

    /// (state, allocated by invoice, unapplied, credit), after looking at the invariants.
    async fn stands(&self) -> (PaymentState, Vec<(String, i64)>, i64, i64) {
        let file = self.file().await;
        let payment = file.payment.unwrap().item.payment;
        payment.check().unwrap();
        for posting in &file.postings {
            posting.item.posting.check().unwrap();
        }
        let live = payment.shares.iter().filter(|s| s.net().is_positive());
        let shares = live.map(|s| (s.invoice.to_string(), s.net().get())).collect();
        (payment.state, shares, payment.unapplied.get(), payment.credit.get())
    }

    async fn books(&self) -> BTreeMap<String, i64> {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (account, amount) in self.file().await.postings.into_iter().flat_map(|p| p.item.lines) {
            *sums.entry(account).or_default() += amount.get();
        }
        sums.retain(|_, v| *v != 0);
        sums
    }

    async fn open_reviews(&self) -> Vec<Read<StoredReview>> {
        self.bench.app.store.open_reviews(None, 50).await.unwrap()
    }

    async fn the_review(&self) -> Read<StoredReview> {
        let mut open = self.open_reviews().await;
        assert_eq!(open.len(), 1, "one open review");
        open.remove(0)
    }

    pub(super) async fn reasons(&self) -> Vec<Reason> {
        self.open_reviews().await.iter().map(|r| r.item.review.question.reason).collect()
    }

    async fn answer(&self, review: &Read<StoredReview>, chosen: Chosen) -> Answered {
        answer(&self.bench.app, "local", &review.item.review.id, review.rev, chosen).await.unwrap()
    }

    async fn type_in(&self, invoice: &str) -> Answered {
        self.answer(&self.the_review().await, Chosen::OtherInvoice(invoice.to_owned())).await
    }

    pub(super) async fn allocations(&self) -> Vec<Read<StoredAllocation>> {
        let clients = ["c_1", "c_2"].map(|c| ClientId::parse(c).unwrap());
        self.bench.app.store.load_clients(clients).await.unwrap().allocations
    }

    async fn reversals(&self) -> Vec<(String, i64, BackReason)> {
        let mut found = Vec::new();
        for client in ["c_1", "c_2"] {
            let client = ClientId::parse(client).unwrap();
            let rows = self.bench.app.store.reversals(&client, &pi()).await.unwrap();
            found.extend(rows.into_iter().map(|r| (r.item.invoice.to_string(), r.item.amount.get(), r.item.reason)));
        }
        found
    }

    pub(super) async fn audited(&self, action: &str) -> Vec<String> {
        let records = self.bench.app.store.unsealed_and(500, &[]).await.unwrap().0;
        let records = records.into_iter().map(|r| r.item.record).filter(|r| r.action == action && r.who == "local");
        records.map(|r| format!("{} {}", r.subject, r.detail)).collect()
    }
}

fn refused(answered: &Answered) -> &str {
    match answered {
        Answered::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

fn books(all: &[(&str, i64)]) -> BTreeMap<String, i64> {
    all.iter().map(|(a, m)| ((*a).to_owned(), *m)).collect()
}

const SEVERAL: [(&str, i64); 4] = [("i1", 1000), ("i2", 2000), ("i3", 3000), ("i4", 4000)];

#[tokio::test]
async fn an_offered_answer_moves_the_money_and_closes_the_question() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(5000, None).await;
    let review = p.the_review().await;
    assert_eq!(review.item.review.question.reason, Reason::Ambiguous);
    let offered = review.item.review.question.answers[0].clone();
    assert!(refused(&p.answer(&review, Chosen::Offered(Answer::Keep)).await).contains("not one of the answers"));
    let old = answer(&p.bench.app, "local", &review.item.review.id, review.rev + 1, Chosen::Offered(offered.clone()));
    assert_eq!(old.await.unwrap(), Answered::Stale);
    p.bench.host.advance_s(24 * 3600);
    assert_eq!(p.answer(&review, Chosen::Offered(offered.clone())).await, Answered::Done);
    let (state, shares, unapplied, credit) = p.stands().await;
    assert_eq!((state, shares.iter().map(|s| s.1).sum::<i64>(), unapplied, credit), (PaymentState::Decided, 5000, 0, 0));
    assert_eq!(p.books().await, books(&[("91", 5000), ("80", -5000)]));
    assert_eq!(p.reasons().await, []);
    let sent = p.bench.queue.take();
    assert_eq!(sent.iter().filter(|(t, _)| matches!(t, Task::WriteBackV1 { .. })).count(), shares.len());
    assert_eq!(sent.iter().filter(|(t, _)| matches!(t, Task::BooksV1 { .. })).count(), 1);
    assert!(p.audited("answered").await[0].ends_with(&offered.to_string()));
    assert_eq!(p.answer(&review, Chosen::Offered(offered)).await, Answered::Stale, "the second time");
    let last = p.file().await.postings.into_iter().map(|r| r.item.posting.date.to_string()).max();
    assert_eq!(last.as_deref(), Some("2026-11-22"), "dated the day of the decision");
}

#[tokio::test]
async fn of_four_equal_answers_at_once_one_is_done_and_the_others_are_stale() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(5000, None).await;
    let review = p.the_review().await;
    let chosen = Chosen::Offered(review.item.review.question.answers[0].clone());
    let one = || p.answer(&review, chosen.clone());
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    let all = [a, b, c, d];
    assert_eq!(all.iter().filter(|a| **a == Answered::Done).count(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|a| **a == Answered::Stale).count(), 3, "{all:?}");
    assert_eq!(p.stands().await.2, 0);
}

#[tokio::test]
async fn a_proposal_that_does_not_fit_any_more_moves_nothing_and_what_fits_is_proposed() {
    type Change = fn(&mut Invoice);
    let changes: [(&str, Change); 3] = [
        ("void", |i| i.void = true),
        ("nothing is open", |i| i.client_share = Share { paid: minor(2000), open: Minor::ZERO, ..i.client_share }),
        ("only 15.00 USD", |i| i.client_share = Share { paid: minor(500), open: minor(1500), ..i.client_share }),
    ];
    for (why, change) in changes {
        let p = Practice::new(&SEVERAL).await;
        p.pay(5000, None).await;
        let review = p.the_review().await;
        let with_i2 = review.item.review.question.answers.iter().find(|a| a.to_string().contains("i2=")).unwrap().clone();
        p.invoice("c_1", "i2", 2000, change).await;
        let answered = p.answer(&review, Chosen::Offered(with_i2.clone())).await;
        assert!(matches!(&answered, Answered::Proposed(_, told) if told.contains(why)), "{why}: {answered:?}");
        assert_eq!(p.stands().await, (PaymentState::Review, vec![], 5000, 0));
        assert_eq!(p.books().await, books(&[("91", 5000), ("92", -5000)]));
        // What fits now is proposed instead, and fits.
        let fresh = p.the_review().await;
        assert!(!fresh.item.review.question.answers.contains(&with_i2), "{:?}", fresh.item.review.question);
        assert!(fresh.item.review.question.evidence.iter().any(|e| e.contains(why)), "{:?}", fresh.item.review.question);
        let first = fresh.item.review.question.answers[0].clone();
        assert_eq!(p.answer(&fresh, Chosen::Offered(first)).await, Answered::Done);
        assert_eq!(p.stands().await.0, PaymentState::Decided);
    }
}

#[tokio::test]
async fn another_invoice_is_checked_as_rule_3_does_and_takes_what_is_open_on_it() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(5000, None).await;
    p.client("c_3", ClientStatus::Deleted).await;
    p.invoice("c_1", "void", 100, |i| i.void = true).await;
    p.invoice("c_1", "euro", 100, |i| i.currency = Currency::parse("eur").unwrap()).await;
    p.invoice("c_1", "paid", 0, |_| {}).await;
    p.invoice("c_3", "gone", 100, |_| {}).await;
    assert_eq!(p.type_in("no-such-invoice").await, Answered::UnknownInvoice);
    assert_eq!(p.type_in("\u{7}").await, Answered::UnknownInvoice);
    for (id, why) in [("void", "void"), ("euro", "currency"), ("paid", "nothing is open"), ("gone", "deleted")] {
        assert!(refused(&p.type_in(id).await).contains(why), "{id}");
    }
    assert_eq!(p.stands().await, (PaymentState::Review, vec![], 5000, 0));
    assert_eq!(p.type_in(" N-77 ").await, Answered::Done, "another client's, by its number: the person decides");
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("other".to_owned(), 2500)], 2500, 2500));
    assert_eq!(p.books().await, books(&[("91", 5000), ("80", -2500), ("93", -2500)]));
    assert!(p.audited("answered").await[0].ends_with("other_invoice:other"));
}

#[tokio::test]
async fn credit_and_resolved_elsewhere_decide_without_an_invoice() {
    for (chosen, credit, account) in [(Chosen::Offered(Answer::Credit), 12_000, "93"), (Chosen::ResolvedElsewhere, 0, "92")] {
        let p = Practice::new(&SEVERAL).await;
        p.pay(12_000, None).await;
        let review = p.the_review().await;
        assert_eq!(review.item.review.question.reason, Reason::Overpaid);
        assert_eq!(p.answer(&review, chosen).await, Answered::Done);
        assert_eq!(p.stands().await, (PaymentState::Decided, vec![], 12_000, credit));
        assert_eq!(p.books().await, books(&[("91", 12_000), (account, -12_000)]));
        assert_eq!(p.reasons().await, []);
    }
}

#[tokio::test]
async fn the_rest_of_an_overpaid_invoice_becomes_credit_or_pays_another() {
    for (chosen, credit, shares) in [
        (Chosen::Offered(Answer::Credit), 500, vec![("i1", 1000)]),
        (Chosen::OtherInvoice("i3".into()), 0, vec![("i1", 1000), ("i3", 500)]),
    ] {
        let p = Practice::new(&SEVERAL).await;
        p.pay(1500, Some("i1")).await;
        assert_eq!(p.stands().await.2, 500);
        assert_eq!(p.answer(&p.the_review().await, chosen).await, Answered::Done);
        let shares: Vec<_> = shares.into_iter().map(|(i, m)| (i.to_owned(), m)).collect();
        assert_eq!(p.stands().await, (PaymentState::Decided, shares, credit, credit));
    }
}

#[tokio::test]
async fn resolved_elsewhere_on_another_question_leaves_an_undecided_payment_asked() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(5000, None).await;
    let other = p.ask(Question::new(Reason::ChangedPayment, vec![], "another amount"), None, "pi_1").await;
    assert_eq!(p.answer(&other, Chosen::ResolvedElsewhere).await, Answered::Done);
    assert_eq!((p.stands().await.0, p.reasons().await), (PaymentState::Review, vec![Reason::Ambiguous]));
}

async fn refuse_write_back(p: &Practice) -> Read<StoredReview> {
    let mut row = p.allocations().await.remove(0);
    let now = p.bench.app.now();
    let effect = row.item.effect.as_mut().unwrap();
    effect.fail(now, &Failure::Refused, "status 422");
    let subject = effect.id.to_string();
    p.bench.app.store.save(&mut row).await.unwrap();
    let about = serde_json::to_string(&RowRef::of(&row.item)).unwrap();
    p.ask(Question::new(Reason::WriteBackRefused, vec![Answer::Retry, Answer::Undo], "422"), Some(about), &subject).await
}

#[tokio::test]
async fn a_refused_write_back_is_sent_again_or_its_allocation_taken_back() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(1000, None).await;
    let review = refuse_write_back(&p).await;
    assert_eq!(p.answer(&review, Chosen::Offered(Answer::Retry)).await, Answered::Done);
    let row = p.allocations().await.remove(0);
    assert_eq!(row.item.effect.as_ref().unwrap().state, EffectState::Pending);
    assert_eq!(p.bench.queue.take(), [(Task::WriteBackV1 { row: RowRef::of(&row.item) }, 0)]);

    let p = Practice::new(&SEVERAL).await;
    p.pay(1000, None).await;
    let review = refuse_write_back(&p).await;
    assert_eq!(p.answer(&review, Chosen::Offered(Answer::Undo)).await, Answered::Done);
    assert_eq!(p.stands().await, (PaymentState::Review, vec![], 1000, 0));
    assert_eq!(p.books().await, books(&[("91", 1000), ("92", -1000)]));
    assert_eq!(p.reversals().await, [("i1".to_owned(), 1000, BackReason::Correction)]);
    assert_eq!(p.reasons().await, [Reason::NoInvoice]);
    let again = p.answer(&p.the_review().await, Chosen::Offered(Answer::Credit)).await;
    assert_eq!((again, p.stands().await.3), (Answered::Done, 1000));
}

#[tokio::test]
async fn an_allocation_that_the_ehr_does_not_show_is_kept_or_taken_back() {
    for (chosen, subject, left) in [(Answer::Keep, "i1", 1), (Answer::Undo, "i1", 0), (Answer::Undo, "other", 0)] {
        let p = Practice::new(&SEVERAL).await;
        p.pay(1000, None).await;
        let question = Question::new(Reason::EhrDisagrees, vec![Answer::Keep, Answer::Undo], "not shown");
        let review = p.ask(question, Some("pi_1".to_owned()), subject).await;
        assert_eq!(p.answer(&review, Chosen::Offered(chosen)).await, Answered::Done);
        assert_eq!(p.stands().await.1.len(), left);
    }
}

#[tokio::test]
async fn a_refused_posting_and_an_event_that_gave_up_go_back_to_work() {
    let p = Practice::new(&SEVERAL).await;
    let app = &p.bench.app;
    p.pay(1000, None).await;
    let mut posting = p.file().await.postings.remove(0);
    posting.item.effect.fail(app.now(), &Failure::Refused, "fault 6000");
    app.store.save(&mut posting).await.unwrap();
    let place = RowRef::of(&posting.item);
    let about = serde_json::to_string(&place).unwrap();
    let question = Question::new(Reason::BooksRefused, vec![Answer::Retry], "6000");
    let review = p.ask(question, Some(about), posting.item.posting.id.as_str()).await;
    assert_eq!(p.answer(&review, Chosen::Offered(Answer::Retry)).await, Answered::Done);
    assert_eq!(p.bench.queue.take(), [(Task::BooksV1 { row: place }, 0)]);

    let event =
        Event { id: EventId::parse("evt_9").unwrap(), created: app.now(), what: What::Other { event_type: "x".to_owned() } };
    let dead = StoredEvent { event: event.clone(), since: app.now(), tries: 9, next_at: None, problem: "status 500".to_owned() };
    let body = serde_json::to_string(&Task::EventV1 { event: event.clone() }).unwrap();
    let letter = DeadLetter { queue: "events".into(), id: "evt_9".into(), body, at: app.now(), problem: "status 500".into() };
    let mut unit = Unit::new();
    unit.insert(&dead);
    unit.insert(&letter);
    app.store.commit(unit).await.unwrap();
    let review = p.ask(Question::new(Reason::DeadLetter, vec![Answer::Retry], "gave up"), None, "evt_9").await;
    assert_eq!(p.answer(&review, Chosen::Offered(Answer::Retry)).await, Answered::Done);
    assert_eq!(p.bench.queue.take(), [(Task::EventV1 { event }, 0)]);
    assert!(app.store.dead_letters().await.unwrap().is_empty());
    assert_eq!(p.reasons().await, [Reason::DeadLetter], "until it succeeds");
    assert_eq!(p.answer(&review, Chosen::Offered(Answer::Retry)).await, Answered::Stale);
    let lost = p.ask(Question::new(Reason::DeadLetter, vec![Answer::Retry], "gave up"), None, "msg_1").await;
    assert!(refused(&p.answer(&lost, Chosen::Offered(Answer::Retry)).await).contains("not known"));
}

#[tokio::test]
async fn a_payment_is_moved_whole_and_its_rest_becomes_credit() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(4000, None).await;
    let app = &p.bench.app;
    let before = p.rev().await;
    let to = |version, to: &'static str| move_allocations(app, "local", &PAYMENT, version, to);
    static PAYMENT: std::sync::LazyLock<PaymentId> = std::sync::LazyLock::new(pi);
    assert_eq!(to(before, "nothing").await.unwrap(), Answered::UnknownInvoice);
    assert_eq!(to(before + 1, "i3").await.unwrap(), Answered::Stale);
    refused(&to(before, "i4").await.unwrap());
    assert_eq!(to(before, "i3").await.unwrap(), Answered::Done);
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("i3".to_owned(), 3000)], 1000, 1000));
    assert_eq!(p.books().await, books(&[("91", 4000), ("80", -3000), ("93", -1000)]));
    assert_eq!(p.reversals().await, [("i4".to_owned(), 4000, BackReason::Correction)]);
    assert_eq!(to(before, "i3").await.unwrap(), Answered::Stale, "the second time");
    assert_eq!(p.audited("moved").await, ["pi_1 to i3 30.00 USD"]);

    assert_eq!(take_back(app, "local", &PAYMENT, before).await.unwrap(), Answered::Stale);
    let now = p.rev().await;
    assert_eq!(take_back(app, "local", &PAYMENT, now).await.unwrap(), Answered::Done);
    assert_eq!(p.stands().await, (PaymentState::Review, vec![], 4000, 0));
    assert_eq!(p.books().await, books(&[("91", 4000), ("92", -4000)]));
    assert_eq!(p.reasons().await, [Reason::NoInvoice]);
    refused(&take_back(app, "local", &PAYMENT, p.rev().await).await.unwrap());
    assert_eq!(to(p.rev().await, "i4").await.unwrap(), Answered::Done, "moved out of the question");
    assert_eq!((p.stands().await.1, p.reasons().await), (vec![("i4".to_owned(), 4000)], vec![]));
    let last = p.rev().await;
    assert_eq!(take_back(app, "local", &PAYMENT, last).await.unwrap(), Answered::Done, "and once more");
    assert_eq!(p.reasons().await, [Reason::NoInvoice]);
}

#[tokio::test]
async fn a_parked_payment_that_a_person_places_waits_no_more() {
    let p = Practice::new(&[]).await;
    p.pay(2500, None).await;
    let app = &p.bench.app;
    assert_eq!(p.stands().await.0, PaymentState::Parked);
    let watch = BTreeSet::from([Watch::Client(ClientId::parse("c_1").unwrap())]);
    assert_eq!(app.store.parked_for(&watch).await.unwrap(), [pi()]);
    assert_eq!(move_allocations(app, "local", &pi(), p.rev().await, "other").await.unwrap(), Answered::Done);
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("other".to_owned(), 2500)], 0, 0));
    assert_eq!(app.store.parked_for(&watch).await.unwrap(), []);
    assert_eq!(p.file().await.payment.unwrap().item.look_at, None);
}

#[test]
fn an_answer_reads_the_same_in_the_export_and_on_its_button() {
    for answer in [apply(&[("a,b=c%", 5)]), Answer::Credit, Answer::Undo] {
        assert_eq!(Answer::parse(&answer.to_string()), Ok(answer));
    }
}
