//! What the pages show: reads a review or a payment with all that belongs to it, and puts it into words and tables.
//!
//! Must not: change anything but the audit trail, which notes every look at personal data.

use super::answers::from_credit;
use super::failed::{self, Card};
use super::hold::{self, HoldForm};
use super::items::{self, Item, ItemList};
use super::words;
use crate::app::App;
use crate::changes::Changes;
use crate::failure::Unfinished;
use askama::Template;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::dynamo::item::{Read, stamp};
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{StoredAllocation, StoredPayment, StoredPosting, StoredReversal, StoredReview};
use vesper_adapters::dynamo::store::PaymentFile;
use vesper_core::effect::Effect;
use vesper_core::ids::{ClientId, InvoiceId, PaymentId};
use vesper_core::matching::open::standing;
use vesper_core::money::{Currency, Minor};
use vesper_core::payment::{Payment, PaymentState};
use vesper_core::review::{Answer, Reason, Review, Status};
use vesper_core::world::InvoiceFile;

/// How many reviews one page lists.
const LIST_MAX: u32 = 200;
/// How many invoices one table shows.
const INVOICES_MAX: usize = 60;
/// How many invoices of the same amount are shown for a payment of nobody known.
const SAME_AMOUNT_MAX: u32 = 6;

/// A page with one sentence.
#[derive(Template)]
#[template(path = "review/message.html")]
pub(super) struct Message {
    /// Heading and title.
    pub heading: &'static str,
    /// The sentence.
    pub text: String,
}

/// A row of the list.
struct ListRow {
    id: String,
    reason: &'static str,
    subject: String,
    client: String,
    amount: String,
    age: String,
}

/// The open reviews.
#[derive(Template)]
#[template(path = "review/list.html")]
pub(super) struct ListPage {
    rows: Vec<ListRow>,
    more: Option<String>,
    items: ItemList,
    hold: HoldForm,
}

/// A name and what stands behind it.
pub(super) struct Fact {
    pub name: &'static str,
    pub value: String,
}

/// A row of a table of invoices.
pub(super) struct InvoiceLine {
    name: String,
    client: String,
    issued: String,
    served: String,
    charge: String,
    open: String,
    note: String,
}

/// One button.
struct Button {
    value: String,
    label: String,
}

/// What a page's form carries.
pub(super) struct Form {
    version: u64,
    csrf: String,
    typed: String,
    buttons: Vec<Button>,
}

/// What was wrong with an answer, and what had been typed.
#[derive(Clone, Default)]
pub(super) struct Again {
    /// For the person; None on a first look.
    pub problem: Option<String>,
    /// The field as it was sent.
    pub typed: String,
    /// The EHR's ids that were typed for worklist items, by their effect.
    pub typed_ids: Vec<(String, String)>,
}

/// One review.
#[derive(Template)]
#[template(path = "review/review.html")]
pub(super) struct ReviewPage {
    id: String,
    heading: &'static str,
    question: &'static str,
    problem: Option<String>,
    facts: Vec<Fact>,
    payment: Option<String>,
    payout: Option<String>,
    evidence: Vec<String>,
    candidates: Vec<InvoiceLine>,
    rivals: Vec<InvoiceLine>,
    form: Option<Form>,
    closed: String,
}

/// A table of texts; the first cell of each row heads it.
pub(super) struct Table {
    pub caption: &'static str,
    pub heads: &'static [&'static str],
    pub rows: Vec<Vec<String>>,
}

/// A link to a review.
pub(super) struct ReviewLink {
    pub id: String,
    pub text: &'static str,
    pub state: String,
}

/// One payment.
#[derive(Template)]
#[template(path = "review/payment.html")]
pub(super) struct PaymentPage {
    id: String,
    problem: Option<String>,
    facts: Vec<Fact>,
    why: Vec<String>,
    rivals: Vec<InvoiceLine>,
    tables: Vec<Table>,
    card: Option<Card>,
    items: Vec<Item>,
    reviews: Vec<ReviewLink>,
    /// Client credit that may be applied; empty where there is none.
    credit: String,
    /// Some of its client credit is applied, and may be taken back.
    credit_applied: bool,
    form: Option<Form>,
}

/// The names that one page shows.
pub(super) struct Names<'a> {
    app: &'a App,
    known: BTreeMap<ClientId, Option<String>>,
}

impl<'a> Names<'a> {
    fn new(app: &'a App) -> Names<'a> {
        Names { app, known: BTreeMap::new() }
    }

    /// Reads the names of these clients.
    pub(super) async fn read(&mut self, clients: impl IntoIterator<Item = ClientId>) -> Result<(), Unfinished> {
        for client in clients {
            if !self.known.contains_key(&client) {
                let read = self.app.store.client(&client).await?;
                let name = read.and_then(|r| self.app.store.personal(&r).display_name).filter(|n| !n.trim().is_empty());
                self.known.insert(client, name);
            }
        }
        Ok(())
    }

    /// The name to show; the id where none is known.
    pub(super) fn of(&self, client: &ClientId) -> String {
        self.known.get(client).cloned().flatten().unwrap_or_else(|| client.to_string())
    }

    /// Notes in the audit trail whose names are shown, before they are.
    async fn note(self, who: &str, page: &str) -> Result<(), Unfinished> {
        let seen: Vec<&str> = self.known.iter().filter(|(_, name)| name.is_some()).map(|(c, _)| c.as_str()).collect();
        if seen.is_empty() {
            return Ok(());
        }
        let mut changes = Changes::new(self.app, self.app.now());
        changes.audit_by(who, "looked", page, &seen.join(" "));
        changes.commit().await
    }
}

pub(super) fn date(app: &App, at: Timestamp) -> String {
    app.local_date(at).to_string()
}

/// Whose payment it is, as far as anything says so.
fn client_of(payment: &Payment) -> Option<ClientId> {
    let share = payment.shares.iter().find(|s| s.net().is_positive());
    share.map(|s| s.client.clone()).or_else(|| payment.decision.payer.clone())
}

/// The open reviews and worklist items, oldest first; `after` and `items_after` are where an earlier page ended.
pub(super) async fn list(
    app: &App,
    (who, csrf): (&str, &str),
    after: Option<&str>,
    items_after: Option<&str>,
) -> Result<ListPage, Unfinished> {
    let reviews = app.store.open_reviews(after, LIST_MAX).await?;
    let mut names = Names::new(app);
    let mut rows = Vec::new();
    for read in &reviews {
        let review = &read.item.review;
        let payment = match &review.payment {
            Some(id) => app.store.payment(id).await?.map(|p| p.item.payment),
            None => None,
        };
        let client = match &payment {
            Some(payment) => client_of(payment),
            None => client_of_invoice(app, &review.subject).await?,
        };
        names.read(client.clone()).await?;
        rows.push(ListRow {
            id: review.id.to_string(),
            reason: words::reason(review.question.reason),
            subject: review.subject.clone(),
            client: client.map(|c| names.of(&c)).unwrap_or_default(),
            amount: amount_of(app, review, payment.as_ref()).await?,
            age: words::age(review.opened_at, app.now()),
        });
    }
    let full = u32::try_from(reviews.len()).is_ok_and(|n| n >= LIST_MAX);
    let last = reviews.last().map(|r| format!("{}%23{}", stamp(r.item.review.opened_at), r.item.review.id));
    let items = items::open(app, items_after, &mut names).await?;
    names.note(who, "review list").await?;
    let hold = hold::form(app, csrf).await?;
    Ok(ListPage { rows, more: last.filter(|_| full), items, hold })
}

/// What was received; of a card that failed, what should have been.
async fn amount_of(app: &App, review: &Review, payment: Option<&Payment>) -> Result<String, Unfinished> {
    if let Some(payment) = payment {
        return Ok(words::amount(payment.received(), payment.success.currency));
    }
    let failed = match &review.payment {
        Some(id) => app.store.failure(id).await?.map(|f| f.item.failure),
        None => None,
    };
    Ok(failed.map(|f| words::amount(f.amount, f.currency)).unwrap_or_default())
}

async fn client_of_invoice(app: &App, subject: &str) -> Result<Option<ClientId>, Unfinished> {
    let Ok(id) = InvoiceId::parse(subject) else { return Ok(None) };
    Ok(app.store.invoice_home(&id).await?.map(|h| h.item.client))
}

/// Invoices as the pages show them.
struct Invoices<'l> {
    loaded: &'l Loaded,
}

impl Invoices<'_> {
    /// The printed numbers, where there are any.
    fn numbers(&self) -> BTreeMap<InvoiceId, String> {
        let invoices = self.loaded.world.invoices().filter_map(|f| f.invoice.as_ref());
        invoices.filter_map(|i| Some((i.id.clone(), i.number.clone()?))).collect()
    }

    fn lines<'i>(&self, ids: impl IntoIterator<Item = &'i InvoiceId>, names: &Names<'_>) -> Vec<InvoiceLine> {
        let files = ids.into_iter().filter_map(|id| self.loaded.world.invoice(id));
        files.filter_map(|file| line(file, names)).take(INVOICES_MAX).collect()
    }
}

fn line(file: &InvoiceFile, names: &Names<'_>) -> Option<InvoiceLine> {
    let invoice = file.invoice.as_ref()?;
    let standing = standing(file)?;
    let mut notes = Vec::new();
    if invoice.void {
        notes.push("void".to_owned());
    }
    if file.allocations.iter().any(|a| a.reopened && !a.closed) {
        notes.push("re-opened by a refund or dispute".to_owned());
    }
    if standing.excess.is_positive() {
        notes.push(format!("{} too much on it", words::amount(standing.excess, invoice.currency)));
    }
    Some(InvoiceLine {
        name: invoice.number.clone().unwrap_or_else(|| invoice.id.to_string()),
        client: names.of(&invoice.client),
        issued: invoice.issued_on.to_string(),
        served: invoice.first_service_date().map(|d| d.to_string()).unwrap_or_default(),
        charge: words::amount(standing.share.charge, invoice.currency),
        open: words::amount(standing.share.open, invoice.currency),
        note: notes.join(", "),
    })
}

fn named_by(answers: &[Answer]) -> BTreeSet<InvoiceId> {
    let lists = answers.iter().map(|a| match a {
        Answer::Apply(list) | Answer::TakeBack { allocations: list, .. } => list.as_slice(),
        _ => &[],
    });
    lists.flatten().map(|(id, _)| id.clone()).collect()
}

/// The invoices that a review may be about: those its answers name, and what is open for the paying client's family.
async fn candidates(app: &App, review: &Review, payment: Option<&Payment>) -> Result<(Loaded, Vec<InvoiceId>), Unfinished> {
    let mut ids = named_by(&review.question.answers);
    ids.extend(payment.iter().flat_map(|p| p.shares.iter().map(|s| s.invoice.clone())));
    if let (true, Some(payment)) = (payment.is_some_and(|p| p.decision.payer.is_none()), payment) {
        let same = app.store.invoices_open_at(payment.success.currency, payment.unapplied, SAME_AMOUNT_MAX).await?;
        ids.extend(same.into_iter().map(|i| i.id));
    }
    let mut clients: BTreeSet<ClientId> = payment.and_then(client_of).into_iter().collect();
    clients.extend(client_of_invoice(app, &review.subject).await?);
    ids.extend(InvoiceId::parse(&review.subject).ok());
    let rivals = payment.map(|p| p.decision.rivals.clone()).unwrap_or_default();
    for id in ids.iter().chain(&rivals) {
        clients.extend(app.store.invoice_home(id).await?.map(|h| h.item.client));
    }
    let loaded = app.store.load_clients(clients).await?;
    if let Some(payer) = payment.and_then(|p| p.decision.payer.as_ref()) {
        let family = loaded.world.family(payer);
        let open = family
            .iter()
            .flat_map(|c| loaded.world.invoices_of(c))
            .filter(|f| f.invoice.as_ref().is_some_and(|i| !i.void) && standing(f).is_some_and(|s| s.share.open.is_positive()));
        ids.extend(open.filter_map(|f| f.invoice.as_ref()).map(|i| i.id.clone()));
    }
    let mut ids: Vec<InvoiceId> = ids.into_iter().filter(|id| !rivals.contains(id)).collect();
    let issued = |id: &InvoiceId| loaded.world.invoice(id).and_then(|f| f.invoice.as_ref()).map(|i| i.issued_on);
    ids.sort_by_key(|id| (issued(id), id.clone()));
    Ok((loaded, ids))
}

/// The clients of these invoices.
fn clients_of<'i>(loaded: &Loaded, ids: impl IntoIterator<Item = &'i InvoiceId>) -> Vec<ClientId> {
    let invoices = ids.into_iter().take(2 * INVOICES_MAX).filter_map(|id| loaded.world.invoice(id)?.invoice.as_ref());
    invoices.map(|i| i.client.clone()).collect()
}

/// One review, with what speaks for and against.
pub(super) async fn review(
    app: &App,
    who: &str,
    csrf: &str,
    read: &Read<StoredReview>,
    again: Again,
) -> Result<ReviewPage, Unfinished> {
    let review = &read.item.review;
    let payment = match &review.payment {
        Some(id) => app.store.payment(id).await?.map(|p| p.item.payment),
        None => None,
    };
    let (loaded, ids) = candidates(app, review, payment.as_ref()).await?;
    let rivals = payment.as_ref().map(|p| p.decision.rivals.clone()).unwrap_or_default();
    let mut names = Names::new(app);
    names.read(payment.as_ref().and_then(client_of)).await?;
    names.read(clients_of(&loaded, ids.iter().chain(&rivals))).await?;
    let invoices = Invoices { loaded: &loaded };
    let mut evidence = review.question.evidence.clone();
    if let Some(payment) = payment.as_ref().filter(|p| !evidence.contains(&p.decision.why)) {
        evidence.push(payment.decision.why.clone());
    }
    let page = ReviewPage {
        id: review.id.to_string(),
        heading: words::reason(review.question.reason),
        question: words::question(review.question.reason),
        problem: again.problem,
        facts: review_facts(app, review, payment.as_ref(), &names),
        payment: page_of_payment(review, payment.as_ref()),
        payout: about_payout(review.question.reason).then(|| review.subject.clone()),
        evidence,
        candidates: invoices.lines(&ids, &names),
        rivals: invoices.lines(&rivals, &names),
        form: (review.status == Status::Open)
            .then(|| form_of(app, read, payment.as_ref(), csrf, again.typed, &invoices.numbers())),
        closed: review.resolution.clone().unwrap_or_default(),
    };
    names.note(who, review.id.as_str()).await?;
    Ok(page)
}

/// The payment that has a page: one that arrived, or one whose card failed.
fn page_of_payment(review: &Review, payment: Option<&Payment>) -> Option<String> {
    let failed = matches!(review.question.reason, Reason::CardFailed | Reason::UnknownDecline);
    let id = payment.map(Payment::id).or(review.payment.as_ref().filter(|_| failed));
    id.map(ToString::to_string)
}

/// Whether a review's subject is a payout (contracts/export.md).
const fn about_payout(reason: Reason) -> bool {
    matches!(reason, Reason::PayoutDrift | Reason::PayoutManual | Reason::PayoutOpening)
}

fn review_facts(app: &App, review: &Review, payment: Option<&Payment>, names: &Names<'_>) -> Vec<Fact> {
    let mut facts = vec![Fact { name: "About", value: review.subject.clone() }];
    if let Some(payment) = payment {
        let amount = |m| words::amount(m, payment.success.currency);
        facts.push(Fact {
            name: "Received",
            value: format!("{} on {}", amount(payment.received()), date(app, payment.charged_at)),
        });
        if payment.unapplied != payment.received() {
            facts.push(Fact { name: "Unapplied", value: amount(payment.unapplied) });
        }
        if let Some(client) = client_of(payment) {
            facts.push(Fact { name: "Client", value: names.of(&client) });
        }
        let rule = payment.decision.rule;
        facts.push(Fact { name: "Rule", value: format!("{rule}: {}", words::rule(rule)) });
    }
    let asked = format!("{}, {} ago", date(app, review.opened_at), words::age(review.opened_at, app.now()));
    facts.push(Fact { name: "Asked", value: asked });
    facts
}

fn form_of(
    app: &App,
    read: &Read<StoredReview>,
    payment: Option<&Payment>,
    csrf: &str,
    typed: String,
    numbers: &BTreeMap<InvoiceId, String>,
) -> Form {
    let question = &read.item.review.question;
    let currency = payment.map_or(app.settings.practice.currency, |p| p.success.currency);
    let unapplied = payment.map_or(Minor::ZERO, |p| p.unapplied);
    let label = |a: &Answer| words::label(a, question.reason, currency, unapplied, numbers);
    let buttons = question.answers.iter().map(|a| Button { value: a.to_string(), label: label(a) }).collect();
    Form { version: read.rev, csrf: csrf.to_owned(), typed, buttons }
}

/// One payment with everything that came of it; None when there is no such payment.
pub(super) async fn payment(
    app: &App,
    who: &str,
    csrf: &str,
    id: &PaymentId,
    again: Again,
) -> Result<Option<PaymentPage>, Unfinished> {
    let file = app.store.payment_file(id).await?;
    let mut names = Names::new(app);
    let card = failed::card(app, id, &mut names).await?;
    let Some(read) = &file.payment else { return not_received(app, who, id, card, names).await };
    let payment = &read.item.payment;
    let mut clients: BTreeSet<ClientId> = client_of(payment).into_iter().chain(payment.decision.payer.clone()).collect();
    for share in &payment.shares {
        clients.insert(share.client.clone());
    }
    for invoice in payment.shares.iter().map(|s| &s.invoice).chain(&payment.decision.rivals) {
        clients.extend(app.store.invoice_home(invoice).await?.map(|h| h.item.client));
    }
    let loaded = app.store.load_clients(clients.clone()).await?;
    names.read(clients).await?;
    let invoices = Invoices { loaded: &loaded };
    let of_it = |r: &&Read<StoredAllocation>| r.item.allocation.payment == *id;
    let allocations: Vec<&StoredAllocation> = loaded.allocations.iter().filter(of_it).map(|r| &r.item).collect();
    let mut reversals = Vec::new();
    for client in loaded.versions.keys() {
        reversals.extend(app.store.reversals(client, id).await?.into_iter().map(|r| r.item));
    }
    let numbers = invoices.numbers();
    let page = PaymentPage {
        id: id.to_string(),
        problem: again.problem.clone(),
        facts: payment_facts(app, read, &names),
        why: decided(payment),
        rivals: invoices.lines(&payment.decision.rivals, &names),
        tables: tables(payment, &file, &allocations, &reversals, &numbers, &names),
        card,
        items: items::of_payment(&allocations, &reversals, &numbers, &names, &again),
        reviews: reviews(app, id, &allocations).await?,
        credit: if payment.credit.is_positive() {
            words::amount(payment.credit, payment.success.currency)
        } else {
            String::new()
        },
        credit_applied: !from_credit(payment).is_empty(),
        form: (payment.state != PaymentState::BeforeGoLive).then(|| Form {
            version: read.rev,
            csrf: csrf.to_owned(),
            typed: again.typed,
            buttons: vec![],
        }),
    };
    names.note(who, id.as_str()).await?;
    Ok(Some(page))
}

/// The page of a PaymentIntent that only failed; None when nothing is known of it.
async fn not_received(
    app: &App,
    who: &str,
    id: &PaymentId,
    card: Option<Card>,
    names: Names<'_>,
) -> Result<Option<PaymentPage>, Unfinished> {
    if card.is_none() {
        return Ok(None);
    }
    let first = app.store.failure(id).await?;
    let page = PaymentPage {
        id: id.to_string(),
        problem: None,
        facts: first.map(|f| failed::facts_of_failure(app, &f.item)).unwrap_or_default(),
        why: vec![],
        rivals: vec![],
        tables: vec![],
        card,
        items: vec![],
        reviews: reviews(app, id, &[]).await?,
        credit: String::new(),
        credit_applied: false,
        form: None,
    };
    names.note(who, id.as_str()).await?;
    Ok(Some(page))
}

fn payment_facts(app: &App, read: &Read<StoredPayment>, names: &Names<'_>) -> Vec<Fact> {
    let payment = &read.item.payment;
    let currency = payment.success.currency;
    let state = match payment.state {
        PaymentState::Decided => "decided",
        PaymentState::Parked => "waits for an invoice",
        PaymentState::Review => "waits for a person",
        PaymentState::BeforeGoLive => "older than the start with Vesper",
    };
    let mut facts = vec![
        Fact {
            name: "Received",
            value: format!("{} on {}", words::amount(payment.received(), currency), date(app, payment.charged_at)),
        },
        Fact { name: "State", value: if payment.shadow { format!("{state}, in shadow mode") } else { state.to_owned() } },
    ];
    facts.extend(client_of(payment).map(|c| Fact { name: "Client", value: names.of(&c) }));
    facts.push(Fact { name: "Allocated", value: words::amount(payment.allocated(), currency) });
    facts.push(Fact { name: "Unapplied", value: words::amount(payment.unapplied, currency) });
    let rest = [("Of it client credit", payment.credit), ("Refunded", payment.refunded), ("Disputed", payment.disputed)];
    facts.extend(
        rest.into_iter().filter(|(_, m)| m.is_positive()).map(|(name, m)| Fact { name, value: words::amount(m, currency) }),
    );
    let events: Vec<&str> = payment.events.iter().map(|e| e.as_str()).collect();
    facts.push(Fact { name: "Stripe events", value: events.join(", ") });
    facts
}

fn decided(payment: &Payment) -> Vec<String> {
    let decision = &payment.decision;
    let mut why = vec![format!("Rule {}, {}: {}", decision.rule, words::rule(decision.rule), decision.why)];
    let evidence = decision.question.iter().flat_map(|q| q.evidence.iter());
    why.extend(evidence.filter(|e| **e != decision.why).cloned());
    why
}

fn effect_words(effect: Option<&Effect>, worklist: bool) -> String {
    let Some(effect) = effect else { return "held it already".to_owned() };
    let state = match (worklist && effect.is_waiting(), effect.shadow) {
        (true, _) => "to be typed in by a person",
        (false, true) => "not written (shadow mode)",
        (false, false) => effect.state.as_str(),
    };
    let problem = effect.problem.as_deref().filter(|_| effect.is_waiting() || !effect.shadow);
    problem.map_or_else(|| state.to_owned(), |p| format!("{state}: {p}"))
}

fn tables(
    payment: &Payment,
    file: &PaymentFile,
    allocations: &[&StoredAllocation],
    reversals: &[StoredReversal],
    numbers: &BTreeMap<InvoiceId, String>,
    names: &Names<'_>,
) -> Vec<Table> {
    let currency = payment.success.currency;
    let number = |id: &InvoiceId| numbers.get(id).cloned().unwrap_or_else(|| id.to_string());
    let allocated = allocations.iter().map(|row| {
        let a = &row.allocation;
        let decided_by =
            if a.rule == 0 { words::rule(0).to_owned() } else { format!("rule {}: {}", a.rule, words::rule(a.rule)) };
        vec![
            number(&a.invoice),
            names.of(&a.client),
            words::amount(a.amount, currency),
            words::amount(a.reversed, currency),
            if a.closed { "closed at the start with Vesper".to_owned() } else { decided_by },
            effect_words(row.effect.as_ref(), row.worklist),
        ]
    });
    let taken_back = reversals.iter().map(|r| {
        let amount = words::amount(r.amount, currency);
        let reason = format!("{:?}", r.reason).to_ascii_lowercase();
        vec![number(&r.invoice), amount, reason, r.posted_on.to_string(), effect_words(Some(&r.effect), r.worklist)]
    });
    let moved = file.movements.iter().map(|m| {
        let m = &m.item.movement;
        let from = m.taken.as_ref().map_or_else(|| "not said yet".to_owned(), |t| taken_words(t, currency, &number));
        vec![m.id.to_string(), words::movement(m.kind).to_owned(), words::amount(m.out, currency), m.status.clone(), from]
    });
    vec![
        Table {
            caption: "Allocations",
            heads: &["Invoice", "Client", "Amount", "Taken back", "Decided", "In the EHR"],
            rows: allocated.collect(),
        },
        Table {
            caption: "Taken back in the EHR",
            heads: &["Invoice", "Amount", "Why", "Date", "State"],
            rows: taken_back.collect(),
        },
        Table {
            caption: "Refunds and disputes",
            heads: &["Id", "Kind", "Left", "At Stripe", "Taken from"],
            rows: moved.collect(),
        },
        Table {
            caption: "Postings",
            heads: &["Id", "Date", "Lines", "Document", "State"],
            rows: file.postings.iter().map(|p| posting_row(&p.item, currency)).collect(),
        },
    ]
}

fn taken_words(taken: &vesper_core::movement::Taken, currency: Currency, number: &impl Fn(&InvoiceId) -> String) -> String {
    let each = taken.allocations.iter().map(|(id, m)| format!("invoice {} {}", number(id), words::amount(*m, currency)));
    let rest = taken.unapplied.is_positive().then(|| format!("unapplied {}", words::amount(taken.unapplied, currency)));
    each.chain(rest).collect::<Vec<_>>().join(", ")
}

pub(super) fn posting_row(row: &StoredPosting, currency: Currency) -> Vec<String> {
    let lines = row.lines.iter().map(|(account, m)| {
        let side = if m.is_positive() { "debit" } else { "credit" };
        format!("{side} {account} {}", words::amount(if m.is_positive() { *m } else { m.negated() }, currency))
    });
    let problem = row.effect.problem.as_ref().filter(|_| row.effect.is_waiting()).map(|p| format!(": {p}"));
    vec![
        row.posting.id.to_string(),
        row.posting.date.to_string(),
        lines.collect::<Vec<_>>().join(", "),
        row.doc_number.clone().unwrap_or_default(),
        format!("{}{}", row.state().as_str(), problem.unwrap_or_default()),
    ]
}

/// The reviews about a payment and about its write-backs.
async fn reviews(app: &App, id: &PaymentId, allocations: &[&StoredAllocation]) -> Result<Vec<ReviewLink>, Unfinished> {
    let mut found = app.store.reviews_about(id.as_str()).await?;
    for effect in allocations.iter().filter_map(|a| a.effect.as_ref()) {
        found.extend(app.store.reviews_about(effect.id.as_str()).await?);
    }
    Ok(found.iter().map(|r| review_link(app, &r.item.review)).collect())
}

/// A link to a review, with its state.
pub(super) fn review_link(app: &App, review: &Review) -> ReviewLink {
    ReviewLink {
        id: review.id.to_string(),
        text: words::reason(review.question.reason),
        state: match review.status {
            Status::Open => format!("open since {}", date(app, review.opened_at)),
            Status::Resolved => format!("closed: {}", review.resolution.as_deref().unwrap_or("answered")),
        },
    }
}
