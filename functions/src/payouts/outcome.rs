//! What becomes of a payout once it is judged: its state, its postings, its reviews and its audit record, in one transaction.
//!
//! Must not: ask Stripe.

use super::{LOOK_AGAIN_S, after};
use crate::app::App;
use crate::bus::DomainEvent;
use crate::changes::{Ask, Changes};
use crate::failure::Unfinished;
use crate::task::{Queue, Task};
use vesper_adapters::dynamo::item::{Read, Stored as _};
use vesper_adapters::dynamo::model::{Meta, StoredPayout};
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_core::money::Minor;
use vesper_core::payout::{Payout, PayoutState, Tally, Verdict, Why, fees_entry, judge, transfer, transfer_back};
use vesper_core::review::{Answer, Question, Reason, Status};

/// The small fact that holds the account whose opening entry a person has confirmed.
const OPENING: &str = "opening_posted";
/// How many payouts one read of the list takes.
const PAGE: u32 = 200;

/// The fact that the opening entry of this account is posted.
#[must_use]
pub fn opening_fact(account: &str) -> Meta {
    Meta { name: OPENING.to_owned(), value: serde_json::Value::String(account.to_owned()) }
}

/// The account whose opening entry a person has confirmed.
///
/// # Errors
/// When the store does not answer.
pub async fn opening_account(store: &Store) -> Result<Option<String>, Failed> {
    Ok(store.meta::<String>(OPENING).await?.map(|account| account.item))
}

/// The payouts that wait for the opening entry, to be looked at again. One that an index does not show yet is found by `due`.
///
/// # Errors
/// When the store does not answer.
pub async fn waiting_for_opening(app: &App) -> Result<Vec<Task>, Unfinished> {
    let (mut tasks, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = app.store.payouts(after.as_deref(), PAGE).await?;
        let Some(last) = page.last().and_then(|p| p.item.list()) else { return Ok(tasks) };
        after = Some(last.1);
        let waits = page.into_iter().filter(|p| p.item.state == PayoutState::Waiting && p.item.tally.before_go_live > 0);
        tasks.extend(waits.map(|p| Task::PayoutV1 { payout: p.item.id }));
    }
}

/// Whether a person has confirmed that the clearing account was opened with Stripe's balance. Without books there is nothing to open.
///
/// # Errors
/// When the store does not answer.
pub async fn opening_confirmed(app: &App) -> Result<bool, Unfinished> {
    let Some(accounts) = app.accounts() else { return Ok(true) };
    Ok(opening_account(&app.store).await?.is_some_and(|account| account == accounts.stripe_clearing))
}

/// A payout on its way into the store.
struct Change<'a> {
    app: &'a App,
    changes: Changes<'a>,
    read: Read<StoredPayout>,
    before: PayoutState,
    /// Questions that are none any more.
    close: &'static [Reason],
}

impl<'a> Change<'a> {
    fn new(app: &'a App, mut read: Read<StoredPayout>) -> Change<'a> {
        let before = read.item.state;
        let item = &mut read.item;
        (item.next_at, item.failing_since, item.tries, item.problem) = (None, None, 0, None);
        Change { app, changes: Changes::new(app, app.now()), read, before, close: &[Reason::DeadLetter] }
    }

    fn wait(&mut self, why: &str) {
        self.read.item.state = PayoutState::Waiting;
        self.read.item.next_at = Some(after(self.changes.now(), LOOK_AGAIN_S));
        self.read.item.problem = Some(why.to_owned());
    }

    async fn ask(&mut self, reason: Reason, answers: Vec<Answer>, salt: &str, evidence: String) -> Result<(), Unfinished> {
        let question = Question::new(reason, answers, evidence);
        let subject = self.read.item.id.clone();
        self.changes.ask(Ask { subject: &subject, payment: None, question, salt, about: None }).await?;
        Ok(())
    }

    async fn store(mut self) -> Result<(), Unfinished> {
        let id = self.read.item.id.clone();
        let mut was_dead = false;
        for review in self.app.store.reviews_about(&id).await? {
            let reason = review.item.review.question.reason;
            if review.item.review.status == Status::Open && self.close.contains(&reason) {
                was_dead |= reason == Reason::DeadLetter;
                self.changes.close_review(&review, &format!("the payout is {}", self.read.item.state.as_str()));
            }
        }
        let item = &self.read.item;
        if item.state != self.before {
            let t = &item.tally;
            let detail = format!("{}: {} transactions, net {}, fees {}", item.state.as_str(), t.transactions, t.net, t.fees);
            self.changes.audit("payout", &id, &detail);
            tracing::info!(payout.id = id, state = item.state.as_str(), transactions = t.transactions, "judged a payout");
            let amount = item.payout.as_ref().map_or(Minor::ZERO, |p| p.amount);
            self.changes.tell(DomainEvent::about_money(format!("payout_{}", item.state.as_str()), &*id, amount));
        }
        self.changes.unit.update(&self.read);
        self.changes.commit().await?;
        if was_dead {
            self.app.store.forget_dead_letter(Queue::Payouts.as_str(), &id).await?;
        }
        Ok(())
    }
}

/// Judges a payout that is not tied out, and stores the verdict.
///
/// # Errors
/// When the store or a queue does not answer; `Conflict` when somebody else changed it.
pub(super) async fn judged(app: &App, read: Read<StoredPayout>, payout: &Payout) -> Result<(), Unfinished> {
    let verdict = judge(payout, &read.item.tally, opening_confirmed(app).await?);
    let mut change = Change::new(app, read);
    match verdict {
        _ if payout.currency != app.settings.practice.currency => {
            manual(&mut change, payout, "it is in another currency than the books").await?;
        }
        Verdict::Manual => manual(&mut change, payout, "it was made by hand: Stripe does not say what is in it").await?,
        Verdict::Waiting(Why::NotReconciled) => change.wait("Stripe has not listed all of its transactions yet"),
        Verdict::Waiting(Why::Opening) => opening(&mut change).await?,
        Verdict::Drift { difference } => drift(&mut change, payout, difference).await?,
        Verdict::TiedOut => post(&mut change, payout, PayoutState::TiedOut).await?,
        Verdict::Failed => post(&mut change, payout, PayoutState::Failed).await?,
    }
    change.store().await
}

async fn manual(change: &mut Change<'_>, payout: &Payout, why: &str) -> Result<(), Unfinished> {
    change.read.item.state = PayoutState::Manual;
    change.read.item.problem = Some(why.to_owned());
    change.ask(Reason::PayoutManual, vec![], "", why.to_owned()).await?;
    if payout.status.came_back() {
        let evidence = "it came back: what was posted for it by hand is to be reversed by hand".to_owned();
        change.ask(Reason::PayoutManual, vec![], "came back", evidence).await?;
    }
    Ok(())
}

async fn opening(change: &mut Change<'_>) -> Result<(), Unfinished> {
    change.wait("the opening entry is not confirmed");
    let accounts = change.app.accounts().map(|a| a.stripe_clearing.clone());
    let answers = accounts.map(Answer::OpeningPosted).into_iter().collect();
    let rows = change.read.item.tally.before_go_live;
    let mut evidence = format!("{rows} of its transactions are older than the start with Vesper.");
    if let Some(opening) = crate::proof::opening(change.app).await? {
        let (side, amount) = if opening < Minor::ZERO { ("credit", opening.negated()) } else { ("debit", opening) };
        evidence =
            format!("{evidence} The opening entry of the clearing account is a {side} of {amount}, Stripe's balance then.");
    }
    change.ask(Reason::PayoutOpening, answers, "", evidence).await
}

async fn drift(change: &mut Change<'_>, payout: &Payout, difference: Minor) -> Result<(), Unfinished> {
    change.read.item.state = PayoutState::Drift;
    let net = change.read.item.tally.net;
    let evidence = format!("its transactions sum to {net}, its amount is {}: {difference} too much", payout.amount);
    change.read.item.problem = Some(evidence.clone());
    // The same difference is the same question, however often it is looked at.
    change.ask(Reason::PayoutDrift, vec![Answer::Retry], &difference.get().to_string(), evidence).await
}

/// It adds up. One that came back keeps its fees and moves nothing: its money is in Stripe's balance again.
async fn post(change: &mut Change<'_>, payout: &Payout, state: PayoutState) -> Result<(), Unfinished> {
    let item = &mut change.read.item;
    item.state = state;
    item.shadow = change.app.is_shadow();
    let (tally, shadow): (Tally, bool) = (item.tally.clone(), item.shadow);
    if let Some(fees) = fees_entry(payout, &tally) {
        change.changes.post(fees, shadow);
    }
    if let Some(transfer) = transfer(payout).filter(|_| state == PayoutState::TiedOut) {
        change.changes.post(transfer, shadow);
        change.read.item.transferred = true;
    }
    change.close = &[Reason::DeadLetter, Reason::PayoutDrift, Reason::PayoutOpening];
    if tally.unmatched > 0 {
        // The sum is right, so the money is where the books say it went; what these rows are a person must book.
        change.close = &[Reason::DeadLetter, Reason::PayoutOpening];
        let named: Vec<String> = tally.unexplained.iter().take(20).cloned().collect();
        let evidence = format!("it adds up, but {} of its transactions are not known: {}", tally.unmatched, named.join(", "));
        change.ask(Reason::PayoutDrift, vec![], "unexplained", evidence).await?;
    }
    Ok(())
}

/// A payout that was tied out came back: the Transfer is reversed, the fees stay. One that was tied out before the switch to live
/// brings money that nobody posted, like one of before go_live.
///
/// # Errors
/// Like [`judged`].
pub(super) async fn came_back(app: &App, read: Read<StoredPayout>, payout: &Payout) -> Result<(), Unfinished> {
    let shadow = read.item.shadow;
    if shadow && !app.is_shadow() {
        // Nothing of it was posted by Vesper, so there is nothing that it could reverse.
        return nobodys(app, read, payout).await;
    }
    let mut change = Change::new(app, read);
    change.read.item.state = PayoutState::Failed;
    let back = transfer_back(payout, app.local_date(app.now()));
    if let Some(back) = back.filter(|_| change.read.item.transferred) {
        change.changes.post(back, shadow);
    }
    change.store().await
}

/// One that left before the books were Vesper's to write, and came back.
async fn nobodys(app: &App, read: Read<StoredPayout>, payout: &Payout) -> Result<(), Unfinished> {
    let why = if read.item.shadow { "it left in shadow mode" } else { "it left before the start with Vesper" };
    let mut change = Change::new(app, read);
    manual(&mut change, payout, why).await?;
    change.store().await
}

/// Nothing to do but to keep what Stripe said of it.
///
/// # Errors
/// Like [`judged`].
pub(super) async fn keep(app: &App, read: Read<StoredPayout>) -> Result<(), Unfinished> {
    Change::new(app, read).store().await
}

/// A payout that left before go_live is no part of the books: the opening balance was without it. One that came back after
/// that brings money that nobody posted.
///
/// # Errors
/// Like [`judged`].
pub(super) async fn before_go_live(app: &App, read: Read<StoredPayout>, payout: &Payout) -> Result<(), Unfinished> {
    if payout.status.came_back() {
        return nobodys(app, read, payout).await;
    }
    let mut change = Change::new(app, read);
    let key = change.read.item.key();
    change.changes.unit.remove(key);
    change.changes.commit().await
}
