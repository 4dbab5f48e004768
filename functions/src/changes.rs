//! Turns a step of the core into rows: allocations with their write-back, reversals, postings, reviews, audit records. All of
//! it is committed in one transaction; what must be woken afterwards is collected on the way.
//!
//! Must not: decide, or call an outside system.

use crate::app::App;
use crate::bus::DomainEvent;
use crate::failure::Unfinished;
use crate::task::Task;
use crate::worklist;
use jiff::{Timestamp, civil::Date};
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::dynamo::item::{Read, Stored as _, Unit};
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{
    BackReason, CreditLook, MoneyLeft, MoneyOf, ReviewOf, StoredAllocation, StoredAudit, StoredPosting, StoredReversal,
    StoredReview,
};
use vesper_adapters::dynamo::store::{RowRef, Store};
use vesper_adapters::dynamo::table::StoreError;
use vesper_adapters::quickbooks::doc_number;
use vesper_adapters::settings::Accounts;
use vesper_core::audit::AuditRecord;
use vesper_core::credit;
use vesper_core::effect::{Effect, EffectKind};
use vesper_core::ids::{ClientId, EffectId, InvoiceId, PaymentId, ReviewId};
use vesper_core::money::Minor;
use vesper_core::payment::{PaidShare, Payment, PaymentState, Step, TakenBack, derived_id};
use vesper_core::policy::ApplyCredit;
use vesper_core::posting::{Account, Form, Posting};
use vesper_core::review::{Question, Reason, Review, Status};
use vesper_core::world::Allocation;

/// The EHR reference of an allocation: Vesper's idempotency key, 56 characters at most.
#[must_use]
pub fn ehr_reference(payment: &PaymentId, n: u32, invoice: &InvoiceId) -> String {
    derived_id("vesper", &[payment.as_str(), &n.to_string(), invoice.as_str()])
}

fn effect_id(parts: &[&str]) -> EffectId {
    EffectId::parse(&derived_id("eff", parts)).unwrap_or_else(|_| unreachable!("a derived id is an id"))
}

/// The id of the review about this subject for this reason; `salt` tells several of them apart.
#[must_use]
pub fn review_id(reason: Reason, subject: &str, salt: &str) -> ReviewId {
    let id = derived_id("rev", &[reason.as_str(), subject, salt]);
    ReviewId::parse(&id).unwrap_or_else(|_| unreachable!("a derived id is an id"))
}

/// What is to be done once a step is stored: wake-ups and domain events.
#[derive(Default)]
pub struct After {
    woken: Vec<Task>,
    told: Vec<DomainEvent>,
}

impl After {
    /// What is to be done after another step of the same transaction, too.
    pub fn and(&mut self, other: After) {
        self.woken.extend(other.woken);
        self.told.extend(other.told);
    }

    /// Does it. A wake-up that is lost is found by `due`.
    ///
    /// # Errors
    /// When a queue does not answer.
    pub async fn act(self, app: &App) -> Result<(), Unfinished> {
        for event in self.told {
            app.bus.tell(event);
        }
        Ok(app.queues.send_all(self.woken.into_iter().map(|task| (task, 0)).collect()).await?)
    }
}

/// One step on its way into the store.
pub struct Changes<'a> {
    app: &'a App,
    store: &'a Store,
    now: Timestamp,
    /// What will be committed; callers add their own rows.
    pub unit: Unit,
    after: After,
    /// An allocation that is taken back was not among what was loaded: its invoice changed hands meanwhile.
    misses_a_row: bool,
}

impl<'a> Changes<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(app: &'a App, now: Timestamp) -> Changes<'a> {
        Changes::on(app, &app.store, now)
    }

    /// The same on a store that may be gathering.
    #[must_use]
    pub fn on(app: &'a App, store: &'a Store, now: Timestamp) -> Changes<'a> {
        Changes { app, store, now, unit: Unit::new(), after: After::default(), misses_a_row: false }
    }

    /// The store that this step is committed to.
    #[must_use]
    pub const fn store(&self) -> &'a Store {
        self.store
    }

    /// When this step happens.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// New allocations with their write-backs, and the postings of a step.
    pub fn allocate(&mut self, payment: &Payment, step: &Step) {
        for (n, allocate) in &step.allocated {
            let reference = ehr_reference(payment.id(), *n, &allocate.invoice);
            let worklist = self.app.ehr.bridge.is_none();
            let effect = (!allocate.in_ehr).then(|| {
                let id = effect_id(&["write_back", &reference]);
                Effect::new(id, EffectKind::WriteBack, payment.id().as_str(), payment.shadow, self.now)
            });
            let rule = payment.shares.iter().find(|s| s.n == *n).map_or(0, |s| s.rule);
            // Client credit is applied today; any other money came with the card.
            let posted_at = if rule == credit::RULE { self.now } else { payment.charged_at };
            let row = StoredAllocation {
                allocation: Allocation {
                    payment: payment.id().clone(),
                    charge: payment.success.charge.clone(),
                    invoice: allocate.invoice.clone(),
                    client: allocate.client.clone(),
                    amount: allocate.amount,
                    reversed: Minor::ZERO,
                    rule,
                    category: allocate.category,
                    decided_at: self.now,
                    reference,
                    typed_in: payment.shadow,
                    shown: allocate.in_ehr,
                    reopened: false,
                    closed: false,
                },
                n: *n,
                currency: payment.success.currency,
                posted_on: self.app.local_date(posted_at),
                effect,
                ehr_payment: None,
                worklist,
            };
            if row.effect.as_ref().is_some_and(Effect::is_waiting) && !worklist {
                self.after.woken.push(Task::WriteBackV1 { row: RowRef::of(&row) });
            }
            self.unit.insert(&row);
        }
        // What leaves of money that was closed at the switch to live leaves Stripe's balance, and so the books.
        let closed = payment.state == PaymentState::BeforeGoLive && !self.app.is_shadow();
        // The books are in the practice's currency: what Stripe made of other money its payout tells, and a person books it.
        if payment.success.currency != self.app.settings.practice.currency {
            return;
        }
        for posting in &step.postings {
            self.post(posting.clone(), payment.shadow && !closed);
        }
    }

    /// Parts of allocations that are taken back. `loaded` holds the clients concerned; where a row is not among them, it moved
    /// meanwhile, and the step is not committed: it is a conflict like any other.
    pub fn take_back(&mut self, payment: &Payment, taken: &[TakenBack], reason: BackReason, on: Date, loaded: &Loaded) {
        let mut rows: BTreeMap<u32, Read<StoredAllocation>> = BTreeMap::new();
        for back in taken {
            let found = loaded.allocations.iter().find(|r| r.item.n == back.n && r.item.allocation.payment == *payment.id());
            let Some(row) = rows.get(&back.n).or(found).cloned() else {
                self.misses_a_row = true;
                continue;
            };
            rows.insert(back.n, self.take_back_one(payment, row, back, reason, on));
        }
        for row in rows.values() {
            self.unit.update(row);
        }
    }

    fn take_back_one(
        &mut self,
        payment: &Payment,
        mut row: Read<StoredAllocation>,
        back: &TakenBack,
        reason: BackReason,
        on: Date,
    ) -> Read<StoredAllocation> {
        let allocation = &mut row.item.allocation;
        allocation.reversed = allocation.reversed.plus(back.amount);
        allocation.reopened |= reason != BackReason::Correction;
        if row.item.effect.is_none() || allocation.closed {
            return row;
        }
        let reference = format!("{}-r{}", allocation.reference, back.reversal);
        let id = effect_id(&["write_back", &reference]);
        let shadow = payment.shadow;
        let mut reversal = StoredReversal {
            payment: payment.id().clone(),
            n: back.n,
            reversal: back.reversal,
            invoice: allocation.invoice.clone(),
            client: allocation.client.clone(),
            amount: back.amount,
            currency: payment.success.currency,
            reason,
            posted_on: on,
            reference,
            effect: Effect::new(id, EffectKind::WriteBack, payment.id().as_str(), shadow, self.now),
            worklist: row.item.worklist,
        };
        if row.item.is_worklist_item() {
            worklist::cancel_both(&mut row.item, &mut reversal);
        }
        if !shadow && !reversal.worklist {
            self.after.woken.push(Task::WriteBackV1 { row: RowRef::of(&reversal) });
        }
        self.unit.insert(&reversal);
        row
    }

    /// A write-back that is to be done once this is stored.
    pub fn wake(&mut self, task: Task) {
        self.after.woken.push(task);
    }

    /// A domain event that is to be told once this is stored.
    pub fn tell(&mut self, event: DomainEvent) {
        self.after.told.push(event);
    }

    /// A posting with its effect.
    pub fn post(&mut self, posting: Posting, shadow: bool) {
        debug_assert!(posting.check().is_ok(), "every posting balances");
        let accounts = self.app.accounts();
        let shadow = shadow || accounts.is_none();
        let effect =
            Effect::new(effect_id(&["books", posting.id.as_str()]), EffectKind::Books, &posting.subject, shadow, self.now);
        let mut by_account: BTreeMap<String, Minor> = BTreeMap::new();
        for line in &posting.lines {
            let sum = by_account.entry(account_id(line.account, accounts)).or_default();
            *sum = sum.plus(line.amount);
        }
        by_account.retain(|_, amount| !amount.is_zero());
        if by_account.is_empty() {
            return; // It moves between two roles that are one account: nothing to book.
        }
        let lines = by_account.into_iter().collect();
        let doc_number = (posting.form == Form::Entry).then(|| doc_number(posting.date, posting.id.as_str()));
        let row = StoredPosting { posting, meant_for: None, lines, doc_number, effect, booked_id: None };
        if row.effect.is_waiting() {
            self.after.woken.push(Task::BooksV1 { row: RowRef::of(&row) });
        }
        self.unit.insert(&row);
    }

    /// Asks a person, unless the same was asked before.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn ask(&mut self, review: Ask<'_>) -> Result<ReviewId, Unfinished> {
        let id = review_id(review.question.reason, review.subject, review.salt);
        let row = StoredReview {
            review: Review {
                id: id.clone(),
                subject: review.subject.to_owned(),
                payment: review.payment.cloned(),
                question: review.question,
                status: Status::Open,
                opened_at: self.now,
                closed_at: None,
                resolution: None,
                about: review.about,
            },
        };
        if !self.unit.holds(&row.key()) && self.store.review(&id).await?.is_none() {
            self.audit("asked", review.subject, &format!("{} {id}", row.review.question.reason));
            self.tell(DomainEvent::review_opened(review.subject, row.review.question.reason.as_str()));
            self.unit.insert(&row);
            self.unit.put(&ReviewOf { subject: review.subject.to_owned(), review: id.clone() });
        }
        Ok(id)
    }

    /// Notes with the clients it pays or has paid for and the customer that this payment has money left: the guard of a card looks there.
    pub fn note_money_left(&mut self, payment: &Payment) {
        if !payment.unapplied.is_positive() {
            return;
        }
        let owner = credit::owner(payment);
        let clients: BTreeSet<&ClientId> =
            payment.decision.payer.iter().chain(payment.shares.iter().map(|s| &s.client)).chain(&owner).collect();
        let clients = clients.into_iter().cloned().map(MoneyOf::Client);
        for of in clients.chain(payment.success.customer.clone().map(MoneyOf::Customer)) {
            self.unit.put(&MoneyLeft { of, payment: payment.id().clone() });
        }
        if let Some(owner) = owner.filter(|_| credit::may_flow(payment)) {
            self.look_at_credit(&owner);
        }
    }

    /// A client's credit is to be looked at once this is stored: some of it may pay an invoice now.
    pub fn look_at_credit(&mut self, client: &ClientId) {
        let look = CreditLook { client: client.clone(), at: self.now };
        if self.app.policy.apply_credit == ApplyCredit::ByHand || self.unit.holds(&look.key()) {
            return;
        }
        let [a, b, c, d, e, f, g, h, ..] = self.app.host.random();
        self.unit.put_anew(&look, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        self.after.woken.push(Task::CreditV1 { client: client.clone() });
    }

    /// A review that was answered, or is no question any more.
    pub fn close_review(&mut self, read: &Read<StoredReview>, resolution: &str) {
        let mut read = read.clone();
        read.item.review.status = Status::Resolved;
        read.item.review.closed_at = Some(self.now);
        read.item.review.resolution = Some(resolution.to_owned());
        self.unit.update(&read);
    }

    /// An audit record of what this step does.
    pub fn audit(&mut self, action: &str, subject: &str, detail: &str) {
        self.audit_by("vesper", action, subject, detail);
    }

    /// An audit record of what a person does.
    pub fn audit_by(&mut self, who: &str, action: &str, subject: &str, detail: &str) {
        let text = |s: &str| s.to_owned();
        let at = vesper_adapters::dynamo::item::stamp(self.now);
        let record = AuditRecord { at, who: text(who), action: text(action), subject: text(subject), detail: text(detail) };
        self.unit.insert(&StoredAudit { record, id: self.app.random_hex(), seal: None });
    }

    /// Commits the step, then wakes its effects. A wake-up that is lost is found by `due`.
    ///
    /// # Errors
    /// `Conflict` when something it depends on changed; then nothing was stored.
    pub async fn commit(self) -> Result<(), Unfinished> {
        let app = self.app;
        self.gather().await?.act(app).await
    }

    /// Adds the step to what a gathering store gathers; what is to be done once that is committed.
    ///
    /// # Errors
    /// `Conflict` when it does not follow from the steps before it.
    pub async fn gather(self) -> Result<After, Unfinished> {
        if self.misses_a_row {
            return Err(StoreError::Conflict { attempted: "take back an allocation".to_owned() }.into());
        }
        self.store.commit(self.unit).await?;
        Ok(self.after)
    }
}

/// The salt that tells the next question apart from earlier ones of the same subject and reason: how many there were. One that is
/// still open is found again under its own number.
pub(crate) async fn next_salt(app: &App, subject: &str, reason: Reason) -> Result<String, Unfinished> {
    let all = app.store.reviews_about(subject).await?;
    let mut same = all.iter().map(|r| &r.item.review).filter(|r| r.question.reason == reason);
    let count = same.clone().count();
    let open = same.any(|r| r.status == Status::Open);
    Ok(if open { count.saturating_sub(1) } else { count }.to_string())
}

/// A question to be stored.
pub struct Ask<'q> {
    /// What it is about.
    pub subject: &'q str,
    /// The payment it is about, if it is about one.
    pub payment: Option<&'q PaymentId>,
    /// The question.
    pub question: Question,
    /// Tells several of one reason and subject apart.
    pub salt: &'q str,
    /// What the answer acts on besides the payment.
    pub about: Option<String>,
}

impl<'q> Ask<'q> {
    /// A question about a payment.
    #[must_use]
    pub fn about_payment(payment: &'q PaymentId, question: Question, salt: &'q str) -> Ask<'q> {
        Ask { subject: payment.as_str(), payment: Some(payment), question, salt, about: None }
    }
}

/// The id of an account in QuickBooks; without books its role.
fn account_id(account: Account, accounts: Option<&Accounts>) -> String {
    let Some(accounts) = accounts else {
        return match account {
            Account::StripeClearing => "stripe_clearing".to_owned(),
            Account::Checking => "checking".to_owned(),
            Account::StripeFees => "stripe_fees".to_owned(),
            Account::Refunds => "refunds".to_owned(),
            Account::Disputes => "disputes".to_owned(),
            Account::Unidentified => "unidentified".to_owned(),
            Account::ClientCredits => "client_credits".to_owned(),
            Account::Income(category) => format!("income.{}", category.as_str()),
        };
    };
    match account {
        Account::StripeClearing => &accounts.stripe_clearing,
        Account::Checking => &accounts.checking,
        Account::StripeFees => &accounts.stripe_fees,
        Account::Refunds => &accounts.refunds,
        Account::Disputes => &accounts.disputes,
        Account::Unidentified => &accounts.unidentified,
        Account::ClientCredits => &accounts.client_credits,
        Account::Income(category) => accounts.income.of(category),
    }
    .to_owned()
}

/// The row of one of a payment's allocations, wherever its invoice is now: it may have changed hands, or arrived late.
///
/// # Errors
/// When the store does not answer.
pub async fn allocation_row(
    app: &App,
    payment: &PaymentId,
    share: &PaidShare,
) -> Result<Option<Read<StoredAllocation>>, Unfinished> {
    if let Some(home) = app.store.invoice_home(&share.invoice).await?
        && let Some(row) = app.store.allocation(&home.item.client, payment, share.n).await?
    {
        return Ok(Some(row));
    }
    Ok(app.store.allocation(&share.client, payment, share.n).await?)
}

/// The clients whose invoices a payment's allocations stand on now: an invoice may have changed hands.
///
/// # Errors
/// When the store does not answer.
pub async fn owners(app: &App, payment: &Payment) -> Result<Vec<ClientId>, Unfinished> {
    let mut owners = Vec::new();
    for share in &payment.shares {
        let home = app.store.invoice_home(&share.invoice).await?;
        owners.push(home.map_or_else(|| share.client.clone(), |h| h.item.client));
    }
    Ok(owners)
}
