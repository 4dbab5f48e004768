//! What a person's answers do: each is one transaction that moves the money, closes the question and says who it was.
//!
//! Must not: decide (a person did), know HTML, or answer a question that changed since it was shown.

mod credit;

pub(in crate::review) use credit::from_credit;
pub use credit::{apply_credit, credit_back};

use crate::app::App;
use crate::changes::{Ask, Changes, owners};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::task::Task;
use crate::{dead_letters, payouts};
use jiff::civil::Date;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{BackReason, DeadLetter, StoredEvent, StoredMovement, StoredPayment, StoredReview};
use vesper_adapters::dynamo::store::{RowRef, WriteBack};
use vesper_core::credit::{may_flow, owner};
use vesper_core::effect::{Effect, EffectState};
use vesper_core::ids::{ClientId, EventId, InvoiceId, PaymentId, ReviewId};
use vesper_core::matching::open::standing;
use vesper_core::matching::{Allocate, Watch};
use vesper_core::money::{Currency, Minor};
use vesper_core::movement::{MovementKind, Taken};
use vesper_core::payment::{Dates, PaidShare, Payment, PaymentState, Step};
use vesper_core::records::Invoice;
use vesper_core::review::{Answer, Question, Reason, Review, Status};
use vesper_core::world::World;

/// What a person chose on the page of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// One of the answers that were offered.
    Offered(Answer),
    /// An invoice that was typed in, by its id or printed number.
    OtherInvoice(String),
    /// It was settled outside Vesper.
    ResolvedElsewhere,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is stored; what it causes is on its way.
    Done,
    /// The question, or the payment, is not what was shown any more. Nothing was changed.
    Stale,
    /// No invoice has the id or number that was typed. Nothing was changed.
    UnknownInvoice,
    /// It cannot be done, and why, for the person who asked: ids and amounts only. Nothing was changed.
    Refused(String),
}

/// What one try came to: done, or what the person is told instead.
type Tried = Result<Result<(), Answered>, Unfinished>;

/// Stands in a function that returns [`Tried`]: the value, or an early end with what the person is told.
macro_rules! or_tell {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(told) => return Ok(Err(told)),
        }
    };
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Answered> {
    Err(Answered::Refused(why.into()))
}

/// Answers a review that was shown in revision `version`. Of several answers to one revision exactly one is done.
///
/// # Errors
/// When the store or a queue does not answer, or others kept changing the same clients.
pub async fn answer(app: &App, who: &str, review: &ReviewId, version: u64, answer: Chosen) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_answer(app, who, review, version, &answer).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => {
                // What does not fit may be what another answer did meanwhile.
                let now = app.store.review(review).await?;
                return Ok(if now.is_some_and(|r| r.rev == version) { told } else { Answered::Stale });
            }
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: review.to_string() })
}

/// Moves everything that is allocated to the invoice that was typed, up to what is open on it; the rest becomes client credit.
/// What already stands on that invoice stays. `version` is the revision of the payment's row that was shown.
///
/// # Errors
/// Like [`answer`].
pub async fn move_allocations(app: &App, who: &str, payment: &PaymentId, version: u64, to: &str) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_move(app, who, payment, version, to).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => return still_shown(app, payment, version, told).await,
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

/// Takes back all that is allocated or credited: the money is unidentified again and a person is asked (`no_invoice`).
///
/// # Errors
/// Like [`answer`].
pub async fn take_back(app: &App, who: &str, payment: &PaymentId, version: u64) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_take_back(app, who, payment, version).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => return still_shown(app, payment, version, told).await,
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

/// What does not fit may be what another answer did meanwhile: then that is what the person is told.
async fn still_shown(app: &App, payment: &PaymentId, version: u64, told: Answered) -> Result<Answered, Unfinished> {
    let now = app.store.payment(payment).await?;
    Ok(if now.is_some_and(|p| p.rev == version) { told } else { Answered::Stale })
}

/// A payment with everything that an answer about it may change.
struct Money {
    row: Read<StoredPayment>,
    was: PaymentState,
    movements: Vec<Read<StoredMovement>>,
    /// All that was ever asked about it.
    reviews: Vec<Read<StoredReview>>,
    loaded: Loaded,
    dates: Dates,
}

impl Money {
    /// Loads the payment, the clients it has paid for, and `more` clients.
    async fn load(app: &App, id: &PaymentId, more: BTreeSet<ClientId>) -> Result<Option<Money>, Unfinished> {
        let file = app.store.payment_file(id).await?;
        let Some(row) = file.payment else { return Ok(None) };
        let payment = &row.item.payment;
        let mut clients = more;
        clients.extend(owners(app, payment).await?);
        clients.extend(payment.shares.iter().map(|s| s.client.clone()));
        let dates = Dates { money: app.local_date(payment.charged_at), decision: app.local_date(app.now()) };
        let was = payment.state;
        let reviews = app.store.reviews_about(id.as_str()).await?;
        let loaded = app.store.load_clients(clients).await?;
        Ok(Some(Money { was, row, movements: file.movements, reviews, loaded, dates }))
    }

    fn payment(&mut self) -> &mut Payment {
        &mut self.row.item.payment
    }

    fn undecided(&self) -> bool {
        matches!(self.was, PaymentState::Review | PaymentState::Parked)
    }

    /// Allocates to these invoices, each up to what is open on it now; what is left becomes client credit.
    fn allocate(&mut self, doing: &mut Doing<'_>, wanted: &[(InvoiceId, Minor)]) -> Result<(), Answered> {
        let payment = &self.row.item.payment;
        let sum = Minor::sum(wanted.iter().map(|(_, m)| *m));
        if sum > payment.unapplied {
            let left = amount_text(payment.unapplied, payment.success.currency);
            return refuse(format!("only {left} of the payment is left to apply"));
        }
        let mut allocates = Vec::new();
        for (id, amount) in wanted {
            let (invoice, open) = payable(&self.loaded.world, id, payment.success.currency)?;
            if *amount > open {
                return refuse(format!("only {} of invoice {id} is open now", amount_text(open, invoice.currency)));
            }
            allocates.push(Allocate {
                invoice: id.clone(),
                client: invoice.client.clone(),
                amount: *amount,
                category: invoice.category,
                closes: *amount == open,
                in_ehr: false,
            });
        }
        let dates = self.dates;
        let step = self.payment().answer(&allocates, true, dates);
        doing.changes.allocate(&self.row.item.payment, &step);
        Ok(())
    }

    /// Takes these allocations back whole: in the EHR, in the books and on the invoices.
    fn reverse(&mut self, doing: &mut Doing<'_>, ns: &[u32]) {
        let dates = self.dates;
        let step = self.payment().take_back(ns, dates);
        self.note_taken_back(doing, &step, BackReason::Correction, dates.decision);
    }

    /// `on` is the day that the EHR is told.
    fn note_taken_back(&self, doing: &mut Doing<'_>, step: &Step, reason: BackReason, on: Date) {
        let payment = &self.row.item.payment;
        doing.changes.take_back(payment, &step.taken_back, reason, on, &self.loaded);
        doing.changes.allocate(payment, step);
        doing.freed.extend(step.taken_back.iter().filter_map(|back| {
            let share = payment.shares.iter().find(|s| s.n == back.n)?;
            let invoice = self.loaded.world.invoice(&share.invoice).and_then(|f| f.invoice.as_ref());
            Some(invoice.map_or_else(|| share.client.clone(), |i| i.client.clone()))
        }));
    }

    /// The state after something was taken back: a person must decide all of it, or what is allocated still stands.
    fn stand_after_taking_back(&mut self) {
        let payment = self.payment();
        let stands = payment.allocated().is_positive() || payment.credit.is_positive();
        payment.state = if stands { PaymentState::Decided } else { PaymentState::Review };
    }

    /// Puts the payment into the transaction, with the versions of all clients that were looked at.
    fn store(mut self, doing: &mut Doing<'_>) -> Result<(), Answered> {
        if let Err(broken) = self.payment().check() {
            tracing::error!(payment.id = %self.row.item.payment.id(), "an answer was refused: {broken}");
            return refuse(broken.to_string());
        }
        if self.was == PaymentState::Parked {
            self.row.item.look_at = None;
            let payment = &self.row.item.payment;
            doing.waits_no_more = Some((payment.id().clone(), payment.decision.watch.clone()));
        }
        self.loaded.bump_all(&mut doing.changes.unit);
        doing.changes.note_money_left(&self.row.item.payment);
        doing.changes.unit.update(&self.row);
        Ok(())
    }
}

fn amount_text(amount: Minor, currency: Currency) -> String {
    format!("{amount} {}", currency.as_str().to_ascii_uppercase())
}

/// An invoice that a person may pay now, with what is open on it: the checks of rule 3 (design.md section 4) but ownership,
/// which the person decides.
fn payable<'w>(world: &'w World, id: &InvoiceId, currency: Currency) -> Result<(&'w Invoice, Minor), Answered> {
    let file = world.invoice(id);
    let Some((file, invoice)) = file.and_then(|f| f.invoice.as_ref().map(|i| (f, i))) else {
        return refuse(format!("invoice {id} is not known any more"));
    };
    if world.client_record(&invoice.client).is_some() && world.client(&invoice.client).is_none() {
        return refuse(format!("the chart that invoice {id} belongs to is deleted"));
    }
    if invoice.void {
        return refuse(format!("invoice {id} is void"));
    }
    if invoice.currency != currency {
        return refuse(format!("invoice {id} is in another currency than the payment"));
    }
    let open = standing(file).map_or(Minor::ZERO, |s| s.share.open);
    if !open.is_positive() {
        return refuse(format!("nothing is open on the client share of invoice {id}"));
    }
    Ok((invoice, open))
}

/// What one answer changes, and what is to be woken when it is stored.
struct Doing<'a> {
    app: &'a App,
    changes: Changes<'a>,
    /// Clients whose invoices came free: their parked payments are looked at again.
    freed: BTreeSet<ClientId>,
    tasks: Vec<Task>,
    letters: Vec<DeadLetter>,
    /// The question closes by itself when what was done again succeeds.
    stays_open: bool,
    waits_no_more: Option<(PaymentId, BTreeSet<Watch>)>,
}

impl<'a> Doing<'a> {
    fn new(app: &'a App) -> Doing<'a> {
        let changes = Changes::new(app, app.now());
        let (freed, tasks, letters) = (BTreeSet::new(), Vec::new(), Vec::new());
        Doing { app, changes, freed, tasks, letters, stays_open: false, waits_no_more: None }
    }

    /// Commits, then wakes what waits. Once committed it is done: a lost wake-up is found by `due`.
    async fn finish(self) -> Result<(), Unfinished> {
        let Doing { app, mut changes, freed, tasks, letters, waits_no_more, .. } = self;
        freed.iter().for_each(|client| changes.look_at_credit(client));
        match changes.commit().await {
            Err(Unfinished::Queue(e)) => tracing::warn!("an answer is stored, its wake-up is late: {e}"),
            other => other?,
        }
        for letter in letters {
            if let Err(e) = dead_letters::redrive_letter(app, &letter).await {
                tracing::warn!(message.id = letter.id, "an answer is stored, the dead letter is not sent yet: {e}");
            }
        }
        if let Err(e) = wake(app, freed, tasks, waits_no_more).await {
            tracing::warn!("an answer is stored, its wake-up is late: {e}");
        }
        Ok(())
    }

    /// Closes the other open questions about where this payment belongs.
    async fn close_others(&mut self, payment: &PaymentId, but: Option<&ReviewId>, why: &str) -> Result<(), Unfinished> {
        for read in self.app.store.reviews_about(payment.as_str()).await? {
            let review = &read.item.review;
            if review.status == Status::Open && review.question.reason.asks_where_it_belongs() && Some(&review.id) != but {
                self.changes.close_review(&read, why);
            }
        }
        Ok(())
    }
}

async fn wake(
    app: &App,
    freed: BTreeSet<ClientId>,
    tasks: Vec<Task>,
    waits_no_more: Option<(PaymentId, BTreeSet<Watch>)>,
) -> Result<(), Unfinished> {
    for task in tasks {
        app.queues.send(task, 0).await?;
    }
    if let Some((payment, watched)) = waits_no_more {
        app.store.stop_waiting(&payment, &watched).await?;
    }
    let watches: Vec<Watch> = freed.into_iter().map(Watch::Client).collect();
    for payment in app.store.parked_for(&watches).await? {
        app.queues.send(Task::LookV1 { payment }, 0).await?;
    }
    Ok(())
}

// -------------------------------------------------------------------- answers to reviews

async fn try_answer(app: &App, who: &str, id: &ReviewId, version: u64, chosen: &Chosen) -> Tried {
    let Some(read) = app.store.review(id).await? else { return Ok(Err(Answered::Stale)) };
    let review = &read.item.review;
    if read.rev != version || review.status != Status::Open {
        return Ok(Err(Answered::Stale));
    }
    let mut doing = Doing::new(app);
    let said = match chosen {
        Chosen::Offered(answer) if !review.question.answers.contains(answer) => {
            return Ok(refuse("that is not one of the answers to this question"));
        }
        Chosen::Offered(answer) => {
            or_tell!(offered(&mut doing, &read, answer).await?);
            answer.to_string()
        }
        Chosen::OtherInvoice(typed) => {
            let Some(invoice) = app.store.invoice_typed(typed).await? else { return Ok(Err(Answered::UnknownInvoice)) };
            or_tell!(other_invoice(&mut doing, &read, &invoice).await?);
            format!("other_invoice:{}", invoice.id)
        }
        Chosen::ResolvedElsewhere => {
            or_tell!(resolved_elsewhere(&mut doing, &read).await?);
            "resolved_elsewhere".to_owned()
        }
    };
    if doing.stays_open {
        let mut read = read.clone();
        read.item.review.question.evidence.push(format!("a person sent it again on {}", app.local_date(doing.changes.now())));
        doing.changes.unit.update(&read);
    } else {
        doing.changes.close_review(&read, &said);
    }
    free_credit(&mut doing, review.payment.as_ref()).await?;
    doing.changes.audit_by(who, "answered", &review.subject, &format!("{} {id}: {said}", review.question.reason));
    doing.finish().await?;
    Ok(Ok(()))
}

/// Client credit was held by the question: now it may pay an invoice.
async fn free_credit(doing: &mut Doing<'_>, payment: Option<&PaymentId>) -> Result<(), Unfinished> {
    let Some(read) = (match payment {
        Some(payment) => doing.app.store.payment(payment).await?,
        None => None,
    }) else {
        return Ok(());
    };
    if let Some(owner) = owner(&read.item.payment).filter(|_| may_flow(&read.item.payment)) {
        doing.changes.look_at_credit(&owner);
    }
    Ok(())
}

async fn offered(doing: &mut Doing<'_>, read: &Read<StoredReview>, answer: &Answer) -> Tried {
    match answer {
        Answer::Apply(shares) => apply(doing, read, shares).await,
        Answer::Credit => apply(doing, read, &[]).await,
        Answer::ReBill => let_go(doing, read, true).await,
        Answer::WriteOff => let_go(doing, read, false).await,
        Answer::TakeBack { allocations, unapplied } => {
            let taken = Taken { allocations: allocations.clone(), unapplied: *unapplied };
            split(doing, read, taken).await
        }
        Answer::Retry => retry(doing, read).await,
        Answer::Undo => undo(doing, read).await,
        // What a person does about it himself: the question is answered by it.
        Answer::Keep | Answer::AskForCard | Answer::CallClient => Ok(Ok(())),
        Answer::OpeningPosted(account) => opening_posted(doing, account).await,
    }
}

/// The payment a review is about; None when there is none, or only a failed attempt of it.
async fn money_of(doing: &Doing<'_>, read: &Read<StoredReview>, more: BTreeSet<ClientId>) -> Result<Option<Money>, Unfinished> {
    match &read.item.review.payment {
        Some(payment) => Money::load(doing.app, payment, more).await,
        None => Ok(None),
    }
}

/// Why a person cannot put this payment's money anywhere, if so.
fn may_place(money: &Money) -> Result<(), Answered> {
    if money.was == PaymentState::BeforeGoLive {
        return refuse("the payment is older than the start with Vesper; it is not matched");
    }
    Ok(())
}

/// Apply and Credit; credit is: apply to nothing, the rest becomes client credit.
async fn apply(doing: &mut Doing<'_>, read: &Read<StoredReview>, shares: &[(InvoiceId, Minor)]) -> Tried {
    let mut homes = BTreeSet::new();
    for (invoice, _) in shares {
        homes.extend(doing.app.store.invoice_home(invoice).await?.map(|h| h.item.client));
    }
    let Some(money) = money_of(doing, read, homes).await? else { return Ok(refuse("its payment is not known")) };
    place(doing, read, money, shares).await
}

async fn other_invoice(doing: &mut Doing<'_>, read: &Read<StoredReview>, invoice: &Invoice) -> Tried {
    let home = BTreeSet::from([invoice.client.clone()]);
    let Some(money) = money_of(doing, read, home).await? else {
        return Ok(refuse("there is no money of this payment to apply"));
    };
    let payment = &money.row.item.payment;
    let (_, open) = or_tell!(payable(&money.loaded.world, &invoice.id, payment.success.currency));
    let amount = payment.unapplied.min(open);
    if !amount.is_positive() {
        return Ok(refuse("nothing of the payment is unapplied; it can be moved on the payment's own page"));
    }
    place(doing, read, money, &[(invoice.id.clone(), amount)]).await
}

/// Allocates, makes the rest client credit, and closes what else was asked about an undecided payment.
async fn place(doing: &mut Doing<'_>, read: &Read<StoredReview>, mut money: Money, shares: &[(InvoiceId, Minor)]) -> Tried {
    or_tell!(may_place(&money));
    or_tell!(money.allocate(doing, shares));
    release(doing, read, &mut money, false);
    if money.undecided() {
        let payment = money.row.item.payment.id().clone();
        doing.close_others(&payment, Some(&read.item.review.id), "the payment was decided").await?;
    }
    Ok(money.store(doing))
}

async fn resolved_elsewhere(doing: &mut Doing<'_>, read: &Read<StoredReview>) -> Tried {
    let review = &read.item.review;
    let Some(mut money) = money_of(doing, read, BTreeSet::new()).await? else { return Ok(Ok(())) };
    let payment = money.row.item.payment.id().clone();
    let others = doing.app.store.reviews_about(payment.as_str()).await?;
    let asked_elsewhere = others
        .iter()
        .map(|r| &r.item.review)
        .any(|r| r.id != review.id && r.status == Status::Open && r.question.reason.asks_where_it_belongs());
    let about_the_money = review.question.reason.asks_where_it_belongs() || !asked_elsewhere;
    let decides = money.was == PaymentState::Review && about_the_money;
    let released = release(doing, read, &mut money, false);
    if decides {
        money.payment().state = PaymentState::Decided;
        doing.close_others(&payment, Some(&review.id), "the payment was resolved elsewhere").await?;
    }
    if decides || released { Ok(money.store(doing)) } else { Ok(Ok(())) }
}

/// `re_bill` and `write_off`: the re-opened invoice is one like any other again. Written off, the EHR's own entry will close it.
async fn let_go(doing: &mut Doing<'_>, read: &Read<StoredReview>, look_again: bool) -> Tried {
    let Some(mut money) = money_of(doing, read, BTreeSet::new()).await? else { return Ok(Ok(())) };
    if release(doing, read, &mut money, look_again) { Ok(money.store(doing)) } else { Ok(Ok(())) }
}

/// The invoices that a refund or dispute re-opened are candidates again once its review is answered (design.md section 4, "What is
/// open"). True when there were any.
fn release(doing: &mut Doing<'_>, read: &Read<StoredReview>, money: &mut Money, look_again: bool) -> bool {
    let review = &read.item.review;
    if !matches!(review.question.reason, Reason::Refunded | Reason::Disputed) {
        return false;
    }
    let taken = taken_by(review, &money.movements);
    // What another refund or dispute re-opened besides waits for the answer to its own question.
    let others = money.reviews.iter().map(|r| &r.item.review).filter(|r| r.id != review.id && r.status == Status::Open);
    let others = others.filter(|r| matches!(r.question.reason, Reason::Refunded | Reason::Disputed));
    let held: BTreeSet<InvoiceId> = others.flat_map(|r| taken_by(r, &money.movements)).collect();
    let payment = money.row.item.payment.id();
    let mut any = false;
    for row in &mut money.loaded.allocations {
        let allocation = &mut row.item.allocation;
        let of_it = (taken.is_empty() || taken.contains(&allocation.invoice)) && !held.contains(&allocation.invoice);
        if allocation.payment == *payment && allocation.reopened && of_it {
            allocation.reopened = false;
            any = true;
            if look_again {
                let invoice = money.loaded.world.invoice(&allocation.invoice).and_then(|f| f.invoice.as_ref());
                doing.freed.insert(invoice.map_or_else(|| allocation.client.clone(), |i| i.client.clone()));
            }
            doing.changes.unit.update(row);
        }
    }
    any
}

/// The invoices from which the refund or dispute of a review was taken.
fn taken_by(review: &Review, movements: &[Read<StoredMovement>]) -> BTreeSet<InvoiceId> {
    let movement = movement_of(review.about.as_deref(), movements);
    let taken = movement.and_then(|m| m.item.movement.taken.as_ref());
    taken.into_iter().flat_map(|t| &t.allocations).map(|(invoice, _)| invoice.clone()).collect()
}

/// The refund or dispute that `about` names, by its row or by its id.
fn movement_of<'m>(about: Option<&str>, movements: &'m [Read<StoredMovement>]) -> Option<&'m Read<StoredMovement>> {
    let about = about?;
    let place: Option<RowRef> = serde_json::from_str(about).ok();
    movements.iter().find(|m| m.item.movement.id.as_str() == about || place.as_ref() == Some(&RowRef::of(&m.item)))
}

/// `refund_split`: a person says from where a refund that was recorded is taken; then what it re-opened is asked about.
async fn split(doing: &mut Doing<'_>, read: &Read<StoredReview>, taken: Taken) -> Tried {
    let Some(mut money) = money_of(doing, read, BTreeSet::new()).await? else { return Ok(refuse("its payment is not known")) };
    let found = movement_of(read.item.review.about.as_deref(), &money.movements);
    let Some(mut movement) = found.cloned() else { return Ok(refuse("the refund is not known any more")) };
    if movement.item.movement.waiting() != taken.total() {
        return Ok(refuse("the refund is not what it was when this was asked"));
    }
    let payment = &money.row.item.payment;
    let fits =
        |(invoice, amount): &(InvoiceId, Minor)| payment.shares.iter().any(|s| s.invoice == *invoice && s.net() >= *amount);
    if !taken.allocations.iter().all(fits) || taken.unapplied > payment.unapplied {
        return Ok(refuse("less of the payment is left there than this answer takes back"));
    }
    let dates = money.dates;
    let step = money.payment().split(&mut movement.item.movement, &taken, dates);
    let (reason, back, why) = match movement.item.movement.kind {
        MovementKind::Refund => (Reason::Refunded, BackReason::Refund, "the refund re-opened what it took back"),
        MovementKind::Dispute => (Reason::Disputed, BackReason::Dispute, "the dispute re-opened what it took back"),
    };
    let on = doing.app.local_date(movement.item.movement.created);
    money.note_taken_back(doing, &step, back, on);
    // What was taken back stays no candidate until its review is answered.
    doing.freed.clear();
    doing.changes.unit.update(&movement);
    if !step.taken_back.is_empty() {
        let question = Question::new(reason, vec![Answer::ReBill, Answer::WriteOff], why);
        let payment = money.row.item.payment.id();
        let salt = movement.item.movement.id.as_str();
        let about = Some(salt.to_owned());
        doing.changes.ask(Ask { subject: payment.as_str(), payment: Some(payment), question, salt, about }).await?;
    }
    Ok(money.store(doing))
}

/// `take_back` on a write-back that was refused, and on an allocation that the EHR does not show.
async fn undo(doing: &mut Doing<'_>, read: &Read<StoredReview>) -> Tried {
    let review = &read.item.review;
    let named = match row_named(review.about.as_deref()) {
        Some(place) => doing.app.store.write_back(&place).await?,
        None => None,
    };
    let (payment, n) = match named {
        Some(WriteBack::Allocation(row)) => (Some(row.item.allocation.payment), Some(row.item.n)),
        Some(WriteBack::Reversal(_)) => return Ok(refuse("this is a reversal; it cannot be taken back")),
        None => (review.payment.clone(), None),
    };
    let Some(payment) = payment else { return Ok(refuse("its allocation is not known any more")) };
    let Some(mut money) = Money::load(doing.app, &payment, BTreeSet::new()).await? else {
        return Ok(refuse("its payment is not known"));
    };
    or_tell!(may_place(&money));
    let live: Vec<&PaidShare> = money.row.item.payment.shares.iter().filter(|s| s.net().is_positive()).collect();
    let of_it = |s: &PaidShare| n.map_or_else(|| s.invoice.as_str() == review.subject, |n| s.n == n);
    let mut ns: Vec<u32> = live.iter().filter(|s| of_it(s)).map(|s| s.n).collect();
    if ns.is_empty() && n.is_none() {
        ns = live.iter().map(|s| s.n).collect(); // The EHR holds it on an invoice that is none of ours.
    }
    if ns.is_empty() {
        return Ok(Ok(())); // A refund took it back meanwhile.
    }
    let made_of_credit = from_credit(&money.row.item.payment);
    let (of_credit, ns): (Vec<u32>, Vec<u32>) = ns.into_iter().partition(|n| made_of_credit.contains(n));
    money.back_to_credit(doing, &of_credit);
    if ns.is_empty() {
        return Ok(money.store(doing)); // It is client credit again: there is nothing to ask.
    }
    money.reverse(doing, &ns);
    money.stand_after_taking_back();
    let about_it = doing.app.store.reviews_about(payment.as_str()).await?;
    let asked = about_it
        .iter()
        .map(|r| &r.item.review)
        .any(|r| r.status == Status::Open && r.question.reason == Reason::NoInvoice && r.id != review.id);
    if !asked {
        ask_where_it_belongs(doing, &money).await?;
    }
    Ok(money.store(doing))
}

/// Review `no_invoice` (contracts/export.md, "Taken back by a person").
async fn ask_where_it_belongs(doing: &mut Doing<'_>, money: &Money) -> Result<(), Unfinished> {
    let question = Question::new(Reason::NoInvoice, vec![Answer::Credit], "a person took the allocation back");
    let salt = format!("taken back {}", money.row.rev);
    doing.changes.ask(Ask::about_payment(money.row.item.payment.id(), question, &salt)).await?;
    Ok(())
}

fn row_named(about: Option<&str>) -> Option<RowRef> {
    serde_json::from_str(about?).ok()
}

/// An effect that was given up goes back to work; one that is at work, or done after all, is left alone.
fn redrive(doing: &Doing<'_>, effect: &mut Effect) -> bool {
    let given_up = matches!(effect.state, EffectState::Dead | EffectState::Failed);
    if given_up {
        effect.redrive(doing.changes.now());
    }
    given_up
}

/// `opening_posted`: the clearing account was opened with Stripe's balance; payouts with older money may be posted now.
async fn opening_posted(doing: &mut Doing<'_>, account: &str) -> Tried {
    doing.changes.unit.put(&payouts::opening_fact(account));
    doing.tasks.extend(payouts::waiting_for_opening(doing.app).await?);
    Ok(Ok(()))
}

/// `retry`: a write-back, a posting, an event, a message or a payout goes back to work.
async fn retry(doing: &mut Doing<'_>, read: &Read<StoredReview>) -> Tried {
    let review = &read.item.review;
    if review.question.reason == Reason::PayoutDrift {
        doing.tasks.push(Task::PayoutV1 { payout: review.subject.clone() });
        doing.stays_open = true; // It closes when the payout ties out.
        return Ok(Ok(()));
    }
    let place = row_named(review.about.as_deref());
    if let Some(place) = &place {
        match doing.app.store.write_back(place).await? {
            Some(WriteBack::Allocation(mut row)) => {
                if row.item.effect.as_mut().is_some_and(|e| redrive(doing, e)) {
                    doing.changes.unit.update(&row);
                    doing.tasks.push(Task::WriteBackV1 { row: place.clone() });
                }
                return Ok(Ok(()));
            }
            Some(WriteBack::Reversal(mut row)) => {
                if redrive(doing, &mut row.item.effect) {
                    doing.changes.unit.update(&row);
                    doing.tasks.push(Task::WriteBackV1 { row: place.clone() });
                }
                return Ok(Ok(()));
            }
            None => {}
        }
    }
    if review.question.reason == Reason::DeadLetter && retry_message(doing, &review.subject).await? {
        return Ok(Ok(()));
    }
    let posting = match &place {
        Some(place) => doing.app.store.books(place).await?,
        None => None,
    };
    let (Some(mut row), Some(place)) = (posting, place) else {
        return Ok(refuse("what was to be done again is not known any more"));
    };
    if redrive(doing, &mut row.item.effect) {
        doing.changes.unit.update(&row);
        doing.tasks.push(Task::BooksV1 { row: place });
    }
    Ok(Ok(()))
}

/// An event or a message that gave up is sent again. Its row goes only when it is sent: twice is harmless, never is not. The
/// question about an event closes when it succeeds (contracts/export.md), that about a message at once: nobody knows it then.
async fn retry_message(doing: &mut Doing<'_>, subject: &str) -> Result<bool, Unfinished> {
    let letters = doing.app.store.dead_letters().await?;
    doing.letters.extend(letters.into_iter().filter(|l| l.id == subject));
    let event = match EventId::parse(subject) {
        Ok(id) => doing.app.store.event(&id).await?,
        Err(_) => None,
    };
    doing.stays_open = event.is_some();
    if let (Some(mut row), true) = (event, doing.letters.is_empty()) {
        let now = doing.changes.now();
        row.item = StoredEvent { since: now, tries: 0, next_at: Some(now), ..row.item };
        doing.changes.unit.update(&row);
        return Ok(true); // `due` finds it.
    }
    Ok(!doing.letters.is_empty())
}

// -------------------------------------------------------------------- corrections on a payment's page

async fn shown(app: &App, id: &PaymentId, version: u64, more: BTreeSet<ClientId>) -> Result<Result<Money, Answered>, Unfinished> {
    let Some(money) = Money::load(app, id, more).await? else { return Ok(Err(Answered::Stale)) };
    if money.row.rev != version {
        return Ok(Err(Answered::Stale));
    }
    Ok(may_place(&money).map(|()| money))
}

/// Closes what was asked about where the payment belongs, and about write-backs of what is taken back.
async fn close_questions(doing: &mut Doing<'_>, money: &Money, taken_back: &[u32], why: &str) -> Result<(), Unfinished> {
    let payment = money.row.item.payment.id();
    doing.close_others(payment, None, why).await?;
    let rows = money.loaded.allocations.iter().map(|r| &r.item);
    let of_it = rows.filter(|r| r.allocation.payment == *payment && taken_back.contains(&r.n));
    for effect in of_it.filter_map(|r| r.effect.as_ref()) {
        for read in doing.app.store.reviews_about(effect.id.as_str()).await? {
            let review = &read.item.review;
            if review.status == Status::Open && review.question.reason == Reason::WriteBackRefused {
                doing.changes.close_review(&read, why);
            }
        }
    }
    Ok(())
}

async fn try_move(app: &App, who: &str, id: &PaymentId, version: u64, to: &str) -> Tried {
    let Some(invoice) = app.store.invoice_typed(to).await? else { return Ok(Err(Answered::UnknownInvoice)) };
    let mut money = or_tell!(shown(app, id, version, BTreeSet::from([invoice.client.clone()])).await?);
    let mut doing = Doing::new(app);
    let shares = money.row.item.payment.shares.iter();
    let ns: Vec<u32> = shares.filter(|s| s.net().is_positive() && s.invoice != invoice.id).map(|s| s.n).collect();
    let currency = money.row.item.payment.success.currency;
    let (_, open) = or_tell!(payable(&money.loaded.world, &invoice.id, currency));
    money.reverse(&mut doing, &ns);
    let amount = money.row.item.payment.unapplied.min(open);
    if !amount.is_positive() {
        return Ok(refuse("nothing of the payment can be moved there"));
    }
    or_tell!(money.allocate(&mut doing, &[(invoice.id.clone(), amount)]));
    close_questions(&mut doing, &money, &ns, "a person moved the payment").await?;
    let detail = format!("to {} {}", invoice.id, amount_text(amount, currency));
    doing.changes.audit_by(who, "moved", id.as_str(), &detail);
    or_tell!(money.store(&mut doing));
    doing.finish().await?;
    Ok(Ok(()))
}

async fn try_take_back(app: &App, who: &str, id: &PaymentId, version: u64) -> Tried {
    let mut money = or_tell!(shown(app, id, version, BTreeSet::new()).await?);
    if money.undecided() {
        return Ok(refuse("the payment is not decided; there is nothing to take back"));
    }
    let payment = &money.row.item.payment;
    let back = payment.allocated().plus(payment.credit);
    if !payment.allocated().plus(payment.unapplied).is_positive() {
        return Ok(refuse("nothing is left of the payment"));
    }
    let currency = payment.success.currency;
    let ns: Vec<u32> = payment.shares.iter().filter(|s| s.net().is_positive()).map(|s| s.n).collect();
    let mut doing = Doing::new(app);
    money.reverse(&mut doing, &ns);
    let dates = money.dates;
    let step = money.payment().uncredit(dates);
    doing.changes.allocate(&money.row.item.payment, &step);
    money.stand_after_taking_back();
    close_questions(&mut doing, &money, &ns, "a person took the payment back").await?;
    ask_where_it_belongs(&mut doing, &money).await?;
    doing.changes.audit_by(who, "took_back", id.as_str(), &amount_text(back, currency));
    or_tell!(money.store(&mut doing));
    doing.finish().await?;
    Ok(Ok(()))
}
