//! `vesper export`: everything Vesper knows, as one JSON object (contracts/export.md). Sorted by id, so that two exports of
//! the same state are the same text.
//!
//! Must not: hold a name or an address unless it was asked for. A look at personal data is audited by the caller.

use crate::seal::{Trail, verify};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vesper_adapters::dynamo::item::{BadItem, Stored, item_of, stamp};
use vesper_adapters::dynamo::model::{
    DeadLetter, StoredAllocation, StoredAudit, StoredClient, StoredEhrPayment, StoredInvoice, StoredPayment, StoredPayout,
    StoredPosting, StoredRecovery, StoredReversal, StoredReview, StoredSeal,
};
use vesper_adapters::dynamo::row::Row;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_core::effect::Effect;
use vesper_core::matching::open::standing;
use vesper_core::money::Minor;
use vesper_core::payment::{Payment, PaymentState};
use vesper_core::records::{EhrPayment, Portion, Share};
use vesper_core::recovery::{Recovery, RecoveryState, StopReason};
use vesper_core::review::{Review, Status};
use vesper_core::world::{Allocation, InvoiceFile, World};

/// How often the table is read when a seal came in between: a scan is not of one moment.
const SCANS_MAX: u32 = 3;

/// The whole store as contracts/export.md says; with `with_personal_data` also the clients' names and addresses.
///
/// # Errors
/// When the store does not answer, or holds a row that this release cannot read.
pub async fn export(store: &Store, with_personal_data: bool) -> Result<Value, Failed> {
    let mut scans = 0_u32;
    loop {
        scans = scans.saturating_add(1);
        let mut gathered = Gathered::default();
        let mut bad: Option<BadItem> = None;
        let mut each = |row: Row| {
            if let Err(e) = gathered.take(store, &row, with_personal_data) {
                bad.get_or_insert(e);
            }
        };
        store.scan(&mut each).await?;
        if let Some(bad) = bad {
            return Err(bad.into());
        }
        let trail = verify(std::mem::take(&mut gathered.records), std::mem::take(&mut gathered.seals));
        if trail.verified || scans >= SCANS_MAX {
            return Ok(gathered.into_json(&trail, with_personal_data));
        }
    }
}

/// What a scan found, each part already in its final shape where it needs nothing else.
#[derive(Default)]
struct Gathered {
    world: World,
    allocations: Vec<(Allocation, u32)>,
    payments: BTreeMap<String, Value>,
    reviews: BTreeMap<String, Value>,
    effects: BTreeMap<String, Value>,
    postings: BTreeMap<String, Value>,
    recoveries: BTreeMap<String, Value>,
    payouts: BTreeMap<String, Value>,
    dead_letters: BTreeMap<(String, String), Value>,
    clients: BTreeMap<String, Value>,
    records: Vec<StoredAudit>,
    seals: Vec<StoredSeal>,
}

impl Gathered {
    fn take(&mut self, store: &Store, row: &Row, with_personal_data: bool) -> Result<(), BadItem> {
        match row.kind.as_str() {
            StoredInvoice::KIND => {
                self.world.apply_invoice(item_of::<StoredInvoice>(row)?.item.invoice);
            }
            StoredEhrPayment::KIND => {
                self.world.apply_ehr_payment(item_of::<StoredEhrPayment>(row)?.item.payment);
            }
            StoredAllocation::KIND => {
                let item = item_of::<StoredAllocation>(row)?.item;
                self.effect(item.effect.as_ref());
                self.allocations.push((item.allocation, item.n));
            }
            StoredReversal::KIND => self.effect(Some(&item_of::<StoredReversal>(row)?.item.effect)),
            StoredPosting::KIND => {
                let item = item_of::<StoredPosting>(row)?.item;
                self.effect(Some(&item.effect));
                self.postings.insert(item.posting.id.to_string(), posting(&item));
            }
            StoredPayment::KIND => {
                let item = item_of::<StoredPayment>(row)?.item;
                self.payments.insert(item.payment.id().to_string(), payment(&item.payment));
            }
            StoredReview::KIND => {
                let item = item_of::<StoredReview>(row)?.item;
                self.reviews.insert(item.review.id.to_string(), review(&item.review));
            }
            StoredRecovery::KIND => {
                let item = item_of::<StoredRecovery>(row)?.item;
                self.recoveries.insert(item.recovery.payment().to_string(), recovery(&item.recovery));
            }
            StoredPayout::KIND => {
                let item = item_of::<StoredPayout>(row)?.item;
                self.payouts.extend(payout(&item).map(|value| (item.id, value)));
            }
            DeadLetter::KIND => {
                let DeadLetter { queue, id, .. } = item_of::<DeadLetter>(row)?.item;
                let value = json!({ "queue": queue, "id": id });
                self.dead_letters.insert((queue, id), value);
            }
            StoredAudit::KIND => self.records.push(item_of::<StoredAudit>(row)?.item),
            StoredSeal::KIND => self.seals.push(item_of::<StoredSeal>(row)?.item),
            StoredClient::KIND if with_personal_data => {
                let read = item_of::<StoredClient>(row)?;
                let personal = store.personal(&read);
                let id = read.item.client.id.to_string();
                let value = json!({ "id": id, "display_name": personal.display_name, "emails": personal.emails });
                self.clients.insert(id, value);
            }
            _ => {}
        }
        Ok(())
    }

    fn effect(&mut self, effect: Option<&Effect>) {
        let Some(effect) = effect else { return };
        let value = json!({
            "id": effect.id.as_str(),
            "kind": effect.kind.as_str(),
            "shadow": effect.shadow,
            "subject": effect.subject,
            "state": effect.state.as_str(),
            "tries": effect.tries,
        });
        self.effects.insert(effect.id.to_string(), value);
    }

    fn into_json(mut self, trail: &Trail, with_personal_data: bool) -> Value {
        self.allocations.sort_by(|(a, n), (b, m)| (a.decided_at, &a.payment, n).cmp(&(b.decided_at, &b.payment, m)));
        for (allocation, _) in std::mem::take(&mut self.allocations) {
            self.world.apply_allocation(allocation);
        }
        let invoices: BTreeMap<String, Value> = self.world.invoices().filter_map(invoice).collect();
        let mut whole = json!({
            "invoices": values(invoices),
            "payments": values(self.payments),
            "reviews": values(self.reviews),
            "recoveries": values(self.recoveries),
            "payouts": values(self.payouts),
            "effects": values(self.effects),
            "postings": values(self.postings),
            "dead_letters": values(self.dead_letters),
            "audit": { "records": trail.records, "head": trail.head, "verified": trail.verified },
        });
        if with_personal_data && let Some(object) = whole.as_object_mut() {
            object.insert("clients".to_owned(), values(self.clients));
        }
        whole
    }
}

fn values<K>(map: BTreeMap<K, Value>) -> Value {
    Value::Array(map.into_values().collect())
}

fn share(share: &Share) -> Value {
    json!({
        "charge": share.charge.get(),
        "paid": share.paid.get(),
        "written_off": share.written_off.get(),
        "open": share.open.get(),
    })
}

/// An invoice with its standing; None while the EHR has only shown a payment of it.
fn invoice(file: &InvoiceFile) -> Option<(String, Value)> {
    let record = file.invoice.as_ref()?;
    let standing = standing(file)?;
    let payer = file.payments.values().filter(|p| p.portion == Portion::Payer);
    let payer: Vec<Value> = payer.map(|p: &EhrPayment| json!({ "id": p.id.as_str(), "amount": p.net().get() })).collect();
    let allocations: Vec<Value> = file.allocations.iter().filter_map(allocation).collect();
    let id = record.id.to_string();
    let value = json!({
        "id": id,
        "client": record.client.as_str(),
        "client_share": share(&standing.share),
        "payer_share": share(&record.payer_share),
        "settled": standing.share.open.is_zero() && record.payer_share.open.is_zero(),
        "excess": standing.excess.get(),
        "payer_payments": payer,
        "allocations": allocations,
    });
    Some((id, value))
}

/// An allocation, net of what was taken back; None when nothing of it stands. A closed one keeps its amount for the record.
fn allocation(a: &Allocation) -> Option<Value> {
    if a.closed {
        return Some(json!({ "payment": a.payment.as_str(), "amount": a.amount.get(), "rule": a.rule, "closed": true }));
    }
    let net = a.net();
    net.is_positive().then(|| json!({ "payment": a.payment.as_str(), "amount": net.get(), "rule": a.rule }))
}

fn payment(p: &Payment) -> Value {
    let success = &p.success;
    // The allocations of such a payment were closed at the switch to live, if it ever had any: they no longer count.
    let allocated = if p.state == PaymentState::BeforeGoLive { Minor::ZERO } else { p.allocated() };
    json!({
        "id": p.id().as_str(),
        "charge": success.charge.as_ref().map(|c| c.as_str()),
        "customer": success.customer.as_ref().map(|c| c.as_str()),
        "amount_received": success.amount.get(),
        "currency": success.currency.as_str(),
        "allocated": allocated.get(),
        "unapplied": p.unapplied.get(),
        "refunded": p.refunded.get(),
        "disputed": p.disputed.get(),
        "refunded_unapplied": p.taken_off.get(),
        "state": p.state.as_str(),
        "events": p.events.iter().map(|e| e.as_str()).collect::<Vec<_>>(),
    })
}

fn review(r: &Review) -> Value {
    let status = match r.status {
        Status::Open => "open",
        Status::Resolved => "resolved",
    };
    json!({
        "id": r.id.as_str(),
        "reason": r.question.reason.as_str(),
        "subject": r.subject,
        "status": status,
        "answers": r.question.answers.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn posting(p: &StoredPosting) -> Value {
    let lines: Vec<Value> =
        p.lines.iter().map(|(account, amount)| json!({ "account": account, "amount": amount.get() })).collect();
    json!({
        "id": p.posting.id.as_str(),
        "doc_number": p.doc_number,
        "subject": p.posting.subject,
        "state": p.state().as_str(),
        "lines": lines,
    })
}

/// None while only an event named it. The payout's own row is not counted.
fn payout(item: &StoredPayout) -> Option<Value> {
    let payout = item.payout.as_ref()?;
    Some(json!({
        "id": item.id,
        "amount": payout.amount.get(),
        "state": item.state.as_str(),
        "transactions": item.tally.transactions,
        "unmatched": item.tally.unmatched,
    }))
}

/// `next_at` only while a rung is waited for: what is looked at after a success is Vesper's own business.
fn recovery(recovery: &Recovery) -> Value {
    let next_at = recovery.next_at.filter(|_| recovery.state == RecoveryState::Waiting);
    json!({
        "payment": recovery.payment().as_str(),
        "attempts": recovery.attempts.len(),
        "next_at": next_at.map(stamp),
        "state": recovery.state.as_str(),
        "stop_reason": recovery.stop_reason.map(StopReason::as_str),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::{Ask, Changes};
    use crate::testing::{Bench, SETTINGS, Script, app};
    use jiff::Timestamp;
    use jiff::civil::date;
    use std::collections::BTreeSet;
    use vesper_adapters::dynamo::embedded::Engine;
    use vesper_adapters::personal::Personal;
    use vesper_core::event::{Reference, Success};
    use vesper_core::ids::{ChargeId, ClientId, EhrPaymentId, EventId, InvoiceId, PaymentId};
    use vesper_core::matching::{Allocate, Decision, Stands};
    use vesper_core::money::Currency;
    use vesper_core::payment::Dates;
    use vesper_core::records::{Autopay, CardConsent, Category, Client, ClientStatus, Coverage, Invoice, Method, Seen};
    use vesper_core::review::{Answer, Question, Reason};

    fn minor(v: i64) -> Minor {
        Minor::new(v).unwrap()
    }

    fn at() -> Timestamp {
        "2026-11-21T15:00:00Z".parse().unwrap()
    }

    fn seen() -> Seen {
        Seen { observed_at: at(), seq: 1 }
    }

    fn client() -> Client {
        Client {
            id: ClientId::parse("c_1").unwrap(),
            customers: vec![],
            emails: vec![],
            guarantor: None,
            status: ClientStatus::Active,
            autopay: Autopay::Off,
            card_consent: CardConsent::Given,
            coverage: Coverage::Commercial,
            version: "1".into(),
            seen: seen(),
        }
    }

    fn bill(id: &str, owed: i64) -> Invoice {
        let owes = |charge: i64| Share { charge: minor(charge), open: minor(charge), ..Share::default() };
        Invoice {
            id: InvoiceId::parse(id).unwrap(),
            number: None,
            client: client().id,
            currency: Currency::USD,
            issued_on: date(2026, 11, 20),
            void: false,
            category: Category::Copay,
            sessions: vec![],
            client_share: owes(owed),
            payer_share: Share { paid: minor(10_800), charge: minor(10_800), ..Share::default() },
            version: "1".into(),
            seen: seen(),
        }
    }

    fn insurance() -> vesper_core::records::EhrPayment {
        vesper_core::records::EhrPayment {
            id: EhrPaymentId::parse("epay_1").unwrap(),
            invoice: InvoiceId::parse("inv_1").unwrap(),
            portion: Portion::Payer,
            amount: minor(10_900),
            reversed: minor(100),
            currency: Currency::USD,
            method: Method::Eft,
            posted_on: date(2026, 11, 20),
            reference: "835-1".into(),
            first_observed_at: at(),
            seen: seen(),
        }
    }

    fn paid() -> Payment {
        let pi = PaymentId::parse("pi_1").unwrap();
        Payment {
            success: Success {
                payment: pi,
                charge: Some(ChargeId::parse("ch_1").unwrap()),
                customer: None,
                amount: minor(5000),
                currency: Currency::USD,
                reference: Reference::default(),
                receipt_email: None,
                balance_transaction: None,
                object_created: at(),
            },
            event: EventId::parse("evt_1").unwrap(),
            events: vec![EventId::parse("evt_1").unwrap()],
            charged_at: at(),
            first_delivered_at: at(),
            deadline: at(),
            state: PaymentState::Review,
            decision: decision(),
            shares: vec![],
            unapplied: minor(5000),
            credit: Minor::ZERO,
            refunded: Minor::ZERO,
            disputed: Minor::ZERO,
            taken_off: Minor::ZERO,
            shadow: false,
            postings: 0,
            credit_by_hand: false,
        }
    }

    fn decision() -> Decision {
        let allocate = Allocate {
            invoice: InvoiceId::parse("inv_1").unwrap(),
            client: client().id,
            amount: minor(4200),
            category: Category::Copay,
            in_ehr: false,
            closes: true,
        };
        Decision {
            stands: Stands::Decided,
            rule: 5,
            allocations: vec![allocate],
            unapplied: minor(800),
            credit: true,
            question: None,
            link: None,
            payer: None,
            watch: BTreeSet::new(),
            why: String::new(),
            rivals: vec![],
        }
    }

    async fn bench() -> Bench {
        app(&Engine::memory().unwrap(), Script::new(|_| Ok((500, String::new()))), SETTINGS).await
    }

    async fn fill(bench: &Bench) {
        let app = &bench.app;
        let mut changes = Changes::new(app, app.now());
        let personal = Personal { display_name: Some("Persephone Quill".into()), emails: vec!["p@example.org".into()] };
        let sealed = app.store.seal_personal(&client().id, &personal, app.nonce());
        changes.unit.put_sealed(&StoredClient { client: client() }, 0, Some(sealed));
        for (id, owed) in [("inv_1", 4200), ("inv_0", 0)] {
            changes.unit.insert(&StoredInvoice { invoice: bill(id, owed) });
        }
        changes.unit.insert(&StoredEhrPayment { client: Some(client().id), payment: insurance() });
        let mut payment = paid();
        let day = date(2026, 11, 21);
        let step = payment.decide_first(decision(), Dates { money: day, decision: day });
        changes.allocate(&payment, &step);
        changes.audit("decided", "pi_1", "rule 5");
        changes.unit.insert(&StoredPayment { payment, look_at: None });
        let question = Question::new(Reason::Ambiguous, vec![Answer::Credit, Answer::Retry], "two fit");
        changes.ask(Ask { subject: "pi_2", payment: None, question, salt: "", about: None }).await.unwrap();
        let dead = |id: &str| DeadLetter {
            queue: "events".into(),
            id: id.into(),
            body: String::new(),
            at: at(),
            problem: String::new(),
        };
        changes.unit.insert(&dead("m2"));
        changes.unit.insert(&dead("m1"));
        changes.commit().await.unwrap();
        crate::seal::seal(app).await.unwrap();
    }

    #[tokio::test]
    async fn an_empty_store_exports_every_key() {
        let bench = bench().await;
        let whole = export(&bench.app.store, false).await.unwrap();
        let lists = ["invoices", "payments", "reviews", "recoveries", "payouts", "effects", "postings", "dead_letters"];
        for key in lists {
            assert_eq!(whole[key], json!([]), "{key}");
        }
        assert_eq!(whole["audit"], json!({ "records": 0, "head": "0".repeat(64), "verified": true }));
        assert_eq!(whole.as_object().unwrap().len(), lists.len() + 1);
    }

    #[tokio::test]
    async fn a_filled_store_exports_what_the_contract_shows() {
        let bench = bench().await;
        fill(&bench).await;
        let whole = export(&bench.app.store, false).await.unwrap();
        let zero = json!({ "charge": 0, "paid": 0, "written_off": 0, "open": 0 });
        let payer = json!({ "charge": 10_800, "paid": 10_800, "written_off": 0, "open": 0 });
        assert_eq!(
            whole["invoices"],
            json!([
                { "id": "inv_0", "client": "c_1", "client_share": zero, "payer_share": payer, "settled": true, "excess": 0,
                  "payer_payments": [], "allocations": [] },
                { "id": "inv_1", "client": "c_1", "client_share": { "charge": 4200, "paid": 4200, "written_off": 0, "open": 0 },
                  "payer_share": payer, "settled": true, "excess": 0, "payer_payments": [{ "id": "epay_1", "amount": 10_800 }],
                  "allocations": [{ "payment": "pi_1", "amount": 4200, "rule": 5 }] },
            ])
        );
        assert_eq!(
            whole["payments"],
            json!([{ "id": "pi_1", "charge": "ch_1", "customer": null, "amount_received": 5000, "currency": "usd",
                     "allocated": 4200, "unapplied": 800, "refunded": 0, "disputed": 0, "refunded_unapplied": 0,
                     "state": "decided", "events": ["evt_1"] }])
        );
        let review = &whole["reviews"][0];
        assert_eq!((&review["reason"], &review["subject"]), (&json!("ambiguous"), &json!("pi_2")));
        assert_eq!((&review["status"], &review["answers"]), (&json!("open"), &json!(["credit", "retry"])));
        let mut kinds: Vec<&str> = whole["effects"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["books", "write_back"]);
        let effect = &whole["effects"][0];
        assert_eq!((&effect["shadow"], &effect["subject"]), (&json!(false), &json!("pi_1")));
        assert_eq!((&effect["state"], &effect["tries"]), (&json!("pending"), &json!(0)));
        let posting = &whole["postings"][0];
        let lines = json!([
            { "account": "80", "amount": -4200 }, { "account": "91", "amount": 5000 }, { "account": "93", "amount": -800 }
        ]);
        assert_eq!((&posting["lines"], &posting["state"]), (&lines, &json!("prepared")));
        assert!(posting["doc_number"].as_str().unwrap().starts_with("VS-261121-"));
        assert_eq!(whole["dead_letters"], json!([{ "queue": "events", "id": "m1" }, { "queue": "events", "id": "m2" }]));
        assert_eq!((&whole["audit"]["records"], &whole["audit"]["verified"]), (&json!(2), &json!(true)));
        assert_eq!(export(&bench.app.store, false).await.unwrap().to_string(), whole.to_string(), "the same text again");
    }

    #[tokio::test]
    async fn personal_data_is_there_only_when_asked_for() {
        let bench = bench().await;
        fill(&bench).await;
        let without = export(&bench.app.store, false).await.unwrap().to_string();
        assert!(!without.contains("Persephone") && !without.contains("example.org") && !without.contains("clients"));
        let with = export(&bench.app.store, true).await.unwrap();
        assert_eq!(with["clients"], json!([{ "id": "c_1", "display_name": "Persephone Quill", "emails": ["p@example.org"] }]));
    }

    #[tokio::test]
    async fn a_closed_allocation_is_shown_and_does_not_count() {
        let bench = bench().await;
        fill(&bench).await;
        let store = &bench.app.store;
        let pi = PaymentId::parse("pi_1").unwrap();
        let mut row = store.allocation(&client().id, &pi, 1).await.unwrap().unwrap();
        row.item.allocation.closed = true;
        store.save(&mut row).await.unwrap();
        let mut payment = store.payment(&pi).await.unwrap().unwrap();
        payment.item.payment.state = PaymentState::BeforeGoLive;
        store.save(&mut payment).await.unwrap();
        let whole = export(store, false).await.unwrap();
        assert_eq!(
            whole["invoices"][1]["allocations"],
            json!([{ "payment": "pi_1", "amount": 4200, "rule": 5, "closed": true }])
        );
        assert_eq!(
            (&whole["invoices"][1]["client_share"]["open"], &whole["payments"][0]["allocated"]),
            (&json!(4200), &json!(0))
        );
    }
}
