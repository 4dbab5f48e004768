//! Failed cards: the list of all, and the part of a payment's page that says why its card was or was not charged.
//!
//! Must not: change anything, or decide again: what it shows is what the recovery noted when it happened. Only what the EHR says of
//! consent, autopay and coverage is that of now, and the page says so.

use super::show::{Fact, Names, Table, date};
use super::{declines, words};
use crate::app::App;
use crate::failure::Unfinished;
use crate::recovery::{next_step, outcome_words};
use askama::Template;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::dynamo::item::Stored as _;
use vesper_adapters::dynamo::model::StoredFailure;
use vesper_core::ids::{ClientId, InvoiceId, PaymentId};
use vesper_core::matching::who_pays::{Payer, who_pays};
use vesper_core::policy::WhenUnknown;
use vesper_core::records::{Autopay, CardConsent, Client, Coverage};
use vesper_core::recovery::guard::as_success;
use vesper_core::recovery::{Recovery, RecoveryState, ladder};

/// How many failed cards one page lists.
const LIST_MAX: u32 = 100;

/// A row of the list.
struct ListRow {
    id: String,
    failed: String,
    amount: String,
    decline: String,
    state: String,
}

/// The failed cards, newest first.
#[derive(Template)]
#[template(path = "review/failed.html")]
pub(super) struct FailedPage {
    rows: Vec<ListRow>,
    more: Option<String>,
}

/// What a payment's page says of its failed card.
pub(super) struct Card {
    pub(super) state: String,
    pub(super) next: Option<String>,
    pub(super) facts: Vec<Fact>,
    pub(super) tables: Vec<Table>,
}

/// A moment in practice time: day and minute.
fn moment(app: &App, at: Timestamp) -> String {
    at.to_zoned(app.policy.time_zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// The failed cards, newest first; `after` is where an earlier page ended.
pub(super) async fn list(app: &App, after: Option<&str>) -> Result<FailedPage, Unfinished> {
    let failures = app.store.failures(after, LIST_MAX).await?;
    let read = app.store.recoveries(failures.iter().map(|f| f.item.failure.payment.clone())).await?;
    let recoveries: BTreeMap<PaymentId, Recovery> =
        read.into_iter().map(|r| (r.item.recovery.payment().clone(), r.item.recovery)).collect();
    let full = u32::try_from(failures.len()).is_ok_and(|n| n >= LIST_MAX);
    let last = failures.last().and_then(|f| f.item.list()).map(|(_, place)| place.replace('#', "%23"));
    let row = |item: &StoredFailure| {
        let failure = &item.failure;
        let recovery = recoveries.get(&failure.payment);
        ListRow {
            id: failure.payment.to_string(),
            failed: moment(app, item.at),
            amount: words::amount(failure.amount, failure.currency),
            decline: declines::code(vesper_core::recovery::code_of(failure)),
            state: recovery.map_or_else(|| NOT_TRIED.to_owned(), |r| listed(app, r)),
        }
    };
    Ok(FailedPage { rows: failures.iter().map(|f| row(&f.item)).collect(), more: last.filter(|_| full) })
}

/// A failed card without a ladder.
const NOT_TRIED: &str = "not tried again: a person was asked";

fn listed(app: &App, recovery: &Recovery) -> String {
    let short = declines::state_short(recovery);
    let next = recovery.next_at.filter(|_| recovery.state == RecoveryState::Waiting);
    next.map_or_else(|| short.to_owned(), |at| format!("{short}, looked at next on {}", moment(app, at)))
}

/// What is known of a PaymentIntent's failed card; None when none of it failed. The names of whom it concerns are read into `names`.
pub(super) async fn card(app: &App, id: &PaymentId, names: &mut Names<'_>) -> Result<Option<Card>, Unfinished> {
    let first = app.store.failure(id).await?.map(|f| f.item);
    let Some(read) = app.store.recovery(id).await? else {
        return Ok(first.map(|first| without_ladder(app, &first)));
    };
    let recovery = &read.item.recovery;
    let mut facts = first_facts(app, recovery, first.as_ref());
    let numbers = numbers(app, recovery).await?;
    let number = |id: &InvoiceId| numbers.get(id).cloned().unwrap_or_else(|| id.to_string());
    let currency = recovery.failure.currency;
    let each = recovery.invoices.iter().map(|(id, m)| format!("{} of invoice {}", words::amount(*m, currency), number(id)));
    let pays = each.collect::<Vec<_>>().join(", ");
    let pays = if pays.is_empty() { "not known which invoices".to_owned() } else { pays };
    facts.push(Fact { name: "It would pay", value: pays });
    facts.extend(clients(app, recovery, names).await?);
    let policy = format!(
        "unknown consent: {}; unknown autopay: {}",
        when_unknown(app.policy.retry.when_consent_unknown),
        when_unknown(app.policy.retry.when_autopay_unknown)
    );
    facts.push(Fact { name: "The practice's settings", value: policy });
    if recovery.shadow {
        facts.push(Fact { name: "Mode", value: "opened in shadow mode: the card is never charged".to_owned() });
    }
    let is_over = !matches!(recovery.state, RecoveryState::Waiting | RecoveryState::Recovered);
    Ok(Some(Card {
        state: declines::state(recovery),
        next: is_over.then(|| next_step(recovery).trim_start_matches("next: ").to_owned()),
        facts,
        tables: vec![rungs(app, recovery), attempts(app, recovery), log(app, recovery)],
    }))
}

fn without_ladder(app: &App, first: &StoredFailure) -> Card {
    let failure = &first.failure;
    Card {
        state: "The card is not tried again: nothing says which invoices it would pay, or the decline is not known".to_owned(),
        next: Some("answer the question below; usually: ask the client for another card".to_owned()),
        facts: vec![
            Fact { name: "Failed", value: moment(app, first.at) },
            Fact { name: "Amount", value: words::amount(failure.amount, failure.currency) },
            Fact { name: "First decline", value: declines::decline(failure, first.blocked) },
        ],
        tables: vec![],
    }
}

fn first_facts(app: &App, recovery: &Recovery, first: Option<&StoredFailure>) -> Vec<Fact> {
    let failure = &recovery.failure;
    let mut facts = vec![
        Fact { name: "First failed", value: moment(app, recovery.first_failed_at) },
        Fact { name: "Amount", value: words::amount(failure.amount, failure.currency) },
    ];
    let newest = declines::decline(failure, recovery.blocked);
    let oldest = first.map_or_else(|| newest.clone(), |f| declines::decline(&f.failure, f.blocked));
    facts.push(Fact { name: "First decline", value: oldest.clone() });
    match &recovery.rearmed {
        Some(card) => {
            let value = format!("{} since {}; it has its own tries", card.payment_method, moment(app, card.at));
            facts.push(Fact { name: "A new card", value });
        }
        None if oldest != newest => facts.push(Fact { name: "Newest decline", value: newest }),
        None => {}
    }
    facts.extend(recovery.payment_method.clone().map(|value| Fact { name: "Card", value }));
    if recovery.state == RecoveryState::Waiting
        && let Some(at) = recovery.next_at
    {
        facts.push(Fact { name: "Looked at next", value: moment(app, at) });
    }
    facts
}

async fn numbers(app: &App, recovery: &Recovery) -> Result<BTreeMap<InvoiceId, String>, Unfinished> {
    let mut numbers = BTreeMap::new();
    for (id, _) in &recovery.invoices {
        let number = app.store.invoice(id).await?.and_then(|i| i.item.invoice.number);
        numbers.extend(number.map(|n| (id.clone(), n)));
    }
    Ok(numbers)
}

/// What the EHR says of everybody concerned: of who pays, and of whose invoices these are.
async fn clients(app: &App, recovery: &Recovery, names: &mut Names<'_>) -> Result<Vec<Fact>, Unfinished> {
    let success = as_success(&recovery.failure);
    let loaded = app.store.load_for(&success).await?;
    let mut concerned: BTreeSet<ClientId> = BTreeSet::new();
    let payer = match who_pays(&loaded.world, success.customer.as_ref(), &success.reference) {
        Payer::Known { payer, .. } => Some(payer),
        _ => None,
    };
    concerned.extend(payer.clone());
    for (invoice, _) in &recovery.invoices {
        concerned.extend(app.store.invoice_home(invoice).await?.map(|h| h.item.client));
    }
    names.read(concerned.clone()).await?;
    let mut facts = Vec::new();
    for id in &concerned {
        let Some(read) = app.store.client(id).await? else { continue };
        let name = if payer.as_ref() == Some(id) { "Who pays, as the EHR says now" } else { "Billed, as the EHR says now" };
        facts.push(Fact { name, value: format!("{}: {}", names.of(id), client_words(&read.item.client)) });
    }
    Ok(facts)
}

fn client_words(client: &Client) -> String {
    let consent = match client.card_consent {
        CardConsent::Given => "card charges agreed to",
        CardConsent::Revoked => "card charges forbidden",
        CardConsent::Unknown => "consent to card charges not known",
    };
    let autopay = match client.autopay {
        Autopay::On => "autopay on (the EHR charges by itself)",
        Autopay::Off => "autopay off",
        Autopay::Unknown => "autopay not known",
    };
    let coverage = match client.coverage {
        Coverage::ThirdPartyBiller | Coverage::Medicaid | Coverage::Qmb => "coverage forbids card charges",
        _ => "coverage allows card charges",
    };
    format!("{consent}, {autopay}, {coverage}")
}

const fn when_unknown(when: WhenUnknown) -> &'static str {
    match when {
        WhenUnknown::Ask => "the card is not charged, a person is asked",
        WhenUnknown::Retry => "the card may be charged",
    }
}

fn rungs(app: &App, recovery: &Recovery) -> Table {
    let plan = ladder::plan(recovery, &app.policy, app.now());
    let row = |(rung, at, fate): &(ladder::Rung, Option<Timestamp>, ladder::Fate)| {
        let at = at.map_or_else(|| rung.on.to_string(), |at| moment(app, at));
        vec![rung.n.to_string(), at, declines::fate(*fate).to_owned()]
    };
    Table {
        caption: "The ladder",
        heads: &["Rung", "When, in practice time", "What became of it"],
        rows: plan.iter().map(row).collect(),
    }
}

fn attempts(app: &App, recovery: &Recovery) -> Table {
    let row = |a: &vesper_core::recovery::Attempt| {
        vec![
            a.n.to_string(),
            moment(app, a.at),
            words::amount(a.amount, recovery.failure.currency),
            a.payment_method.clone(),
            outcome_words(&a.outcome),
            a.key.clone(),
        ]
    };
    let heads = &["Attempt", "When", "Amount", "Card", "Outcome", "Idempotency key"];
    Table { caption: "Attempts", heads, rows: recovery.attempts.iter().map(row).collect() }
}

fn log(app: &App, recovery: &Recovery) -> Table {
    let row = |note: &vesper_core::recovery::Note| {
        let from = moment(app, note.at);
        let until = moment(app, note.until);
        vec![if from == until { from } else { format!("{from} until {until}") }, note.what.clone()]
    };
    Table { caption: "What happened", heads: &["When", "What"], rows: recovery.notes.iter().map(row).collect() }
}

/// The day on which a PaymentIntent failed first, for a page of a payment that never arrived.
pub(super) fn facts_of_failure(app: &App, first: &StoredFailure) -> Vec<Fact> {
    let failure = &first.failure;
    vec![
        Fact { name: "State", value: format!("failed on {}, no money was received", date(app, first.at)) },
        Fact { name: "Amount", value: words::amount(failure.amount, failure.currency) },
    ]
}
