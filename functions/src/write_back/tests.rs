//! Write-backs over the embedded engine, against the stand-in of a bridge: calls that are lost, and effects that die.

use super::*;
use crate::review::answers::{Answered, Chosen, answer};
use crate::testing::{Bench, SETTINGS, app, counted, listen};
use serde_json::json;
use std::sync::Arc;
use vesper_adapters::dynamo::embedded::Engine;
use vesper_core::effect::EffectKind;
use vesper_core::ids::{ClientId, EffectId, InvoiceId, PaymentId};
use vesper_core::money::Currency;
use vesper_core::records::Category;
use vesper_core::review::{Review, Status};
use vesper_core::world::Allocation;
use vesper_standins::ehr::Capabilities;
use vesper_standins::{EhrStandin, Fault, FaultKind};

fn minor(v: i64) -> Minor {
    Minor::new(v).unwrap()
}

/// A practice that has allocated 100.00 of a payment to the invoice `inv_1`; its EHR is the stand-in.
struct Practice {
    bench: Bench,
    ehr: EhrStandin,
}

impl Practice {
    async fn new() -> Practice {
        let ehr = EhrStandin::new("bridge-secret");
        let settings = SETTINGS.replace("https://ehr.example", &ehr.origin());
        let bench = app(&Engine::memory().unwrap(), Arc::new(ehr.clone()), &settings).await;
        let host = Arc::clone(&bench.host);
        let clock: vesper_standins::Clock = Arc::new(move || crate::app::Host::now(&*host));
        ehr.set_clock(Arc::clone(&clock));
        ehr.set_signature_clock(clock);
        ehr.client("c_1", json!({}));
        ehr.invoice("inv_1", "c_1", 10_000, 0, json!({}));
        let practice = Practice { bench, ehr };
        practice.allocate().await;
        practice
    }

    fn effect(&self, id: &str) -> Effect {
        Effect::new(EffectId::parse(id).unwrap(), EffectKind::WriteBack, "pi_1", false, self.bench.app.now())
    }

    async fn allocate(&self) {
        let app = &self.bench.app;
        let allocation = Allocation {
            payment: PaymentId::parse("pi_1").unwrap(),
            charge: None,
            invoice: InvoiceId::parse("inv_1").unwrap(),
            client: ClientId::parse("c_1").unwrap(),
            amount: minor(10_000),
            reversed: Minor::ZERO,
            rule: 5,
            category: Category::Copay,
            decided_at: app.now(),
            reference: "ref-1".to_owned(),
            typed_in: false,
            shown: false,
            reopened: false,
            closed: false,
        };
        let item = StoredAllocation {
            allocation,
            n: 1,
            currency: Currency::USD,
            posted_on: "2026-11-21".parse().unwrap(),
            effect: Some(self.effect("eff_1")),
            ehr_payment: None,
            worklist: false,
        };
        app.store.save(&mut Read { item, rev: 0, sealed: None }).await.unwrap();
    }

    /// 100.00 were written, and a refund takes back this much: the how-many-eth reversal. Its place.
    async fn take_back(&self, reversal: u32, amount: i64) -> RowRef {
        let app = &self.bench.app;
        let item = StoredReversal {
            payment: PaymentId::parse("pi_1").unwrap(),
            n: 1,
            reversal,
            invoice: InvoiceId::parse("inv_1").unwrap(),
            client: ClientId::parse("c_1").unwrap(),
            amount: minor(amount),
            currency: Currency::USD,
            reason: BackReason::Refund,
            posted_on: "2026-11-21".parse().unwrap(),
            reference: format!("ref-1-r{reversal}"),
            effect: self.effect(&format!("eff_1_r{reversal}")),
            worklist: false,
        };
        let row = RowRef::of(&item);
        app.store.save(&mut Read { item, rev: 0, sealed: None }).await.unwrap();
        row
    }

    /// What the EHR has reversed of the payment.
    fn reversed(&self) -> i64 {
        10_000 - self.ehr.net_by_invoice()["inv_1"]
    }

    /// The place of the allocation's row.
    async fn allocated(&self) -> RowRef {
        let (client, payment) = (ClientId::parse("c_1").unwrap(), PaymentId::parse("pi_1").unwrap());
        RowRef::of(&self.bench.app.store.allocation(&client, &payment, 1).await.unwrap().unwrap().item)
    }

    async fn write(&self, row: &RowRef) {
        write(&self.bench.app, row).await.unwrap();
    }

    async fn effect_of(&self, row: &RowRef) -> Effect {
        match self.bench.app.store.write_back(row).await.unwrap().unwrap() {
            WriteBack::Allocation(read) => read.item.effect.unwrap(),
            WriteBack::Reversal(read) => read.item.effect,
        }
    }

    /// Tries again whenever it is due, until it is done or dead.
    async fn to_its_end(&self, row: &RowRef) -> EffectState {
        for _ in 0..300 {
            self.write(row).await;
            let effect = self.effect_of(row).await;
            let Some(next) = effect.next_at.filter(|_| effect.is_waiting()) else { return effect.state };
            self.bench.host.advance_s(next.duration_since(self.bench.app.now()).as_secs().max(1));
        }
        panic!("it goes on for ever");
    }

    /// The questions about an effect: their reason, whether they are open.
    async fn asked(&self, effect: &str) -> Vec<Review> {
        let reviews = self.bench.app.store.reviews_about(effect).await.unwrap();
        reviews.into_iter().map(|r| r.item.review).collect()
    }

    async fn answer_open(&self, effect: &str, chosen: Chosen) {
        let reviews = self.bench.app.store.reviews_about(effect).await.unwrap();
        let open = reviews.into_iter().find(|r| r.item.review.status == Status::Open).unwrap();
        let answered = answer(&self.bench.app, "local", &open.item.review.id, open.rev, chosen).await.unwrap();
        assert_eq!(answered, Answered::Done);
    }
}

#[tokio::test]
async fn each_death_of_a_write_back_asks_also_when_nothing_was_called_in_between() {
    let p = Practice::new().await;
    p.ehr.fault(Fault::new("*", FaultKind::NotSent).always());
    let row = p.allocated().await;
    for deaths in 1..=3 {
        assert_eq!(p.to_its_end(&row).await, EffectState::Dead);
        let asked = p.asked("eff_1").await;
        assert_eq!(asked.len(), deaths, "{asked:?}");
        assert!(asked.iter().all(|r| r.question.reason == Reason::DeadLetter));
        assert_eq!(asked.iter().filter(|r| r.status == Status::Open).count(), 1);
        p.answer_open("eff_1", Chosen::Offered(Answer::Retry)).await;
    }
    p.ehr.clear_faults();
    assert_eq!(p.to_its_end(&row).await, EffectState::Done);
    assert_eq!(p.ehr.written().len(), 1);
}

#[tokio::test]
async fn what_is_refused_again_at_once_is_asked_again() {
    let p = Practice::new().await;
    p.ehr.change("invoice", "inv_1", json!({ "status": "void" }));
    let row = p.allocated().await;
    for refusals in 1..=2 {
        assert_eq!(p.to_its_end(&row).await, EffectState::Dead);
        assert_eq!(p.asked("eff_1").await.len(), refusals);
        p.answer_open("eff_1", Chosen::Offered(Answer::Retry)).await;
    }
}

#[tokio::test]
async fn every_way_to_give_a_write_back_up_is_one_that_the_alarm_counts() {
    let heard = listen();
    for refused in [true, false] {
        let p = Practice::new().await;
        if refused {
            p.ehr.change("invoice", "inv_1", json!({ "status": "void" }));
        } else {
            p.ehr.fault(Fault::new("*", FaultKind::NotSent).always());
        }
        heard.take();
        assert_eq!(p.to_its_end(&p.allocated().await).await, EffectState::Dead);
        let (counted, said) = (counted("WriteBackLog"), heard.take());
        assert!(!counted.is_empty() && counted.is_subset(&said), "{counted:?} of {said:?}");
    }
}

fn capabilities(idempotent_writes: bool) -> Capabilities {
    Capabilities { idempotent_writes, writes_payments: true, reverses_payments: true }
}

const REVERSE: &str = "POST /v1/payments/*/reversals";

#[tokio::test]
async fn of_two_reversals_in_doubt_neither_is_taken_for_the_other() {
    for idempotent in [true, false] {
        let p = Practice::new().await;
        p.ehr.set_capabilities(capabilities(idempotent));
        assert_eq!(p.to_its_end(&p.allocated().await).await, EffectState::Done);
        let (first, second) = (p.take_back(1, 3000).await, p.take_back(2, 3000).await);
        p.ehr.fault(Fault::new(REVERSE, FaultKind::Lost));
        p.write(&first).await;
        p.ehr.fault(Fault::new(REVERSE, FaultKind::LostAfter));
        p.write(&second).await;
        assert_eq!(p.to_its_end(&first).await, EffectState::Done);
        assert_eq!(p.to_its_end(&second).await, EffectState::Done);
        assert_eq!(p.reversed(), 6000, "idempotent writes: {idempotent}");
    }
}

#[tokio::test]
async fn beside_a_dead_reversal_in_doubt_the_key_tells_and_where_none_protects_a_person_is_asked() {
    for (idempotent, end, asked) in [(true, EffectState::Done, 0), (false, EffectState::Dead, 1)] {
        let p = Practice::new().await;
        p.ehr.set_capabilities(capabilities(idempotent));
        assert_eq!(p.to_its_end(&p.allocated().await).await, EffectState::Done);
        let (first, second) = (p.take_back(1, 3000).await, p.take_back(2, 3000).await);
        let down = p.ehr.fault(Fault::new(REVERSE, FaultKind::Lost).always());
        p.write(&second).await;
        p.write(&first).await;
        p.write(&second).await;
        assert_eq!(p.effect_of(&second).await.tries, 0, "it waits for the first");
        assert_eq!(p.to_its_end(&first).await, EffectState::Dead);
        p.ehr.clear_fault(down);
        p.ehr.fault(Fault::new(REVERSE, FaultKind::LostAfter));
        p.bench.host.advance_s(BACKOFF_MAX_S);
        p.write(&second).await;
        assert_eq!(p.effect_of(&second).await.state, EffectState::Failed, "the day that it waited does not count");
        assert_eq!(p.to_its_end(&second).await, end, "idempotent writes: {idempotent}");
        assert_eq!((p.reversed(), p.asked("eff_1_r2").await.len()), (3000, asked));
    }
}

#[tokio::test]
async fn what_a_person_reversed_in_the_ehr_is_not_taken_for_a_reversal_in_doubt() {
    for (idempotent, end, reversed) in [(true, EffectState::Done, 8000), (false, EffectState::Dead, 5000)] {
        let p = Practice::new().await;
        p.ehr.set_capabilities(capabilities(idempotent));
        assert_eq!(p.to_its_end(&p.allocated().await).await, EffectState::Done);
        p.ehr.reversed_in_ehr(p.ehr.written()[0]["id"].as_str().unwrap(), 5000);
        let row = p.take_back(1, 3000).await;
        p.ehr.fault(Fault::new(REVERSE, FaultKind::Lost));
        p.write(&row).await;
        assert_eq!(p.to_its_end(&row).await, end, "idempotent writes: {idempotent}");
        assert_eq!((p.reversed(), p.asked("eff_1_r1").await.len()), (reversed, usize::from(!idempotent)));
    }
}

#[tokio::test]
async fn a_reversal_that_found_nothing_counts_for_no_other() {
    let p = Practice::new().await;
    p.ehr.set_capabilities(capabilities(false));
    let down = p.ehr.fault(Fault::new("POST /v1/payments", FaultKind::NotSent).always());
    let allocation = p.allocated().await;
    assert_eq!(p.to_its_end(&allocation).await, EffectState::Dead);
    let first = p.take_back(1, 4000).await;
    assert_eq!(p.to_its_end(&first).await, EffectState::Done);
    assert!(p.effect_of(&first).await.is_canceled(), "nothing was there to take back");
    p.ehr.clear_fault(down);
    p.answer_open("eff_1", Chosen::Offered(Answer::Retry)).await;
    assert_eq!(p.to_its_end(&allocation).await, EffectState::Done);
    let second = p.take_back(2, 3000).await;
    p.ehr.fault(Fault::new(REVERSE, FaultKind::LostAfter));
    assert_eq!(p.to_its_end(&second).await, EffectState::Done);
    assert_eq!(p.reversed(), 3000, "once");
}
