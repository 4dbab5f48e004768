//! The pages of the payouts: the list, and one payout down to its transactions, payments and invoices, with what is missing.
//!
//! Must not: change anything, or show a name: it speaks of ids, amounts and days.

use super::show::{Fact, ReviewLink, Table, posting_row, review_link};
use super::words;
use crate::app::App;
use crate::failure::Unfinished;
use askama::Template;
use jiff::Timestamp;
use std::collections::BTreeMap;
use vesper_adapters::dynamo::item::Stored as _;
use vesper_adapters::dynamo::model::{StoredPayout, StoredPayoutRow};
use vesper_core::ids::PaymentId;
use vesper_core::money::{Currency, Minor};
use vesper_core::payment::{PaidShare, Payment, PaymentState};
use vesper_core::payout::{Matched, Payout, PayoutState, RowKind};

/// How many payouts one page lists.
const LIST_MAX: u32 = 100;
/// How many transactions one page shows.
const ROWS_MAX: u32 = 100;

/// A row of the list.
struct ListRow {
    id: String,
    made: String,
    arrives: String,
    amount: String,
    state: &'static str,
    transactions: u32,
    missing: u32,
}

/// The payouts, newest first.
#[derive(Template)]
#[template(path = "review/payouts.html")]
pub(super) struct PayoutsPage {
    rows: Vec<ListRow>,
    more: Option<String>,
}

/// A transaction, with the payment and the invoices behind it.
struct RowLine {
    id: String,
    what: String,
    amount: String,
    fee: String,
    net: String,
    payment: Option<String>,
    invoices: String,
    ledger: &'static str,
}

/// One payout.
#[derive(Template)]
#[template(path = "review/payout.html")]
pub(super) struct PayoutPage {
    id: String,
    facts: Vec<Fact>,
    missing: Vec<String>,
    rows: Vec<RowLine>,
    more: Option<u32>,
    postings: Table,
    reviews: Vec<ReviewLink>,
}

const fn state(state: PayoutState) -> &'static str {
    match state {
        PayoutState::Waiting => "waiting",
        PayoutState::TiedOut => "tied out",
        PayoutState::Drift => "does not add up",
        PayoutState::Manual => "to be posted by hand",
        PayoutState::Failed => "came back",
    }
}

/// The payouts, newest first; `after` is where an earlier page ended.
pub(super) async fn list(app: &App, after: Option<&str>) -> Result<PayoutsPage, Unfinished> {
    let payouts = app.store.payouts(after, LIST_MAX).await?;
    let full = u32::try_from(payouts.len()).is_ok_and(|n| n >= LIST_MAX);
    let more = payouts.last().and_then(|p| p.item.list()).map(|(_, place)| place.replace('#', "%23")).filter(|_| full);
    let line = |item: &StoredPayout| {
        let payout = item.payout.as_ref()?;
        Some(ListRow {
            id: item.id.clone(),
            made: app.local_date(payout.created).to_string(),
            arrives: vesper_core::payout::arrival_date(payout).to_string(),
            amount: words::amount(payout.amount, payout.currency),
            state: state(item.state),
            transactions: item.tally.transactions,
            missing: item.tally.unmatched,
        })
    };
    Ok(PayoutsPage { rows: payouts.iter().filter_map(|p| line(&p.item)).collect(), more })
}

/// One payout, its transactions from number `from` on; None when there is no such payout.
pub(super) async fn payout(app: &App, id: &str, from: u32) -> Result<Option<PayoutPage>, Unfinished> {
    let Some(read) = app.store.payout(id).await? else { return Ok(None) };
    let item = &read.item;
    let Some(payout) = &item.payout else { return Ok(None) };
    let rows = app.store.payout_rows(id, item.look, from.max(1), ROWS_MAX).await?;
    let read = app.store.payments(rows.iter().filter_map(|r| payment_of(&r.row.kind)).cloned()).await?;
    let payments: BTreeMap<PaymentId, Payment> =
        read.into_iter().map(|r| (r.item.payment.id().clone(), r.item.payment)).collect();
    let last = rows.last().map(|r| r.n);
    let postings = app.store.postings_about(id).await?;
    let reviews = app.store.reviews_about(id).await?;
    Ok(Some(PayoutPage {
        id: item.id.clone(),
        facts: facts(app, item, payout),
        missing: missing(app, item, payout),
        rows: rows.iter().map(|row| line(row, &payments)).collect(),
        more: last.filter(|n| *n < item.tally.transactions).map(|n| n.saturating_add(1)),
        postings: Table {
            caption: "Postings",
            heads: &["Id", "Date", "Lines", "Document", "State"],
            rows: postings.iter().map(|p| posting_row(&p.item, payout.currency)).collect(),
        },
        reviews: reviews.iter().map(|r| review_link(app, &r.item.review)).collect(),
    }))
}

fn facts(app: &App, item: &StoredPayout, payout: &Payout) -> Vec<Fact> {
    let amount = |m: Minor| words::amount(m, payout.currency);
    let shadow = if item.shadow { ", in shadow mode" } else { "" };
    let mut facts = vec![
        Fact { name: "Amount", value: amount(payout.amount) },
        Fact { name: "State", value: format!("{}{shadow}", state(item.state)) },
        Fact { name: "Made", value: app.local_date(payout.created).to_string() },
        Fact { name: "Arrives", value: vesper_core::payout::arrival_date(payout).to_string() },
        Fact { name: "Transactions", value: format!("{}, {} in all", item.tally.transactions, amount(item.tally.net)) },
        Fact { name: "Fees", value: amount(item.tally.fees) },
    ];
    facts.extend(payout.trace_id.clone().map(|value| Fact { name: "Reference at the bank", value }));
    facts
}

/// What stands between this payout and the books, in sentences.
fn missing(app: &App, item: &StoredPayout, payout: &Payout) -> Vec<String> {
    let mut out = Vec::new();
    out.extend(item.problem.as_ref().map(|p| format!("{}.", sentence(p))));
    if item.state == PayoutState::Manual {
        return out;
    }
    if !item.listed {
        out.push("Its transactions are not all read yet.".to_owned());
    }
    let difference = item.tally.net.minus(payout.amount);
    if item.listed && !difference.is_zero() && item.state != PayoutState::Drift {
        out.push(format!("It differs from its transactions by {}.", words::amount(difference, payout.currency)));
    }
    if item.tally.before_go_live > 0 {
        let day = app.local_date(app.go_live.max(Timestamp::UNIX_EPOCH));
        out.push(format!("{} transactions are older than {day}: the opening entry stands for them.", item.tally.before_go_live));
    }
    out.extend(item.tally.unexplained.iter().map(|what| format!("Nothing in the ledger explains {what}.")));
    out
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

const fn payment_of(kind: &RowKind) -> Option<&PaymentId> {
    match kind {
        RowKind::Charge { payment, .. } | RowKind::Refund { payment, .. } | RowKind::Dispute { payment, .. } => payment.as_ref(),
        RowKind::Fee | RowKind::PayoutItself | RowKind::PayoutBack { .. } | RowKind::Other { .. } => None,
    }
}

fn what(kind: &RowKind) -> String {
    match kind {
        RowKind::Charge { charge, .. } => format!("payment {charge}"),
        RowKind::Refund { refund, back: false, .. } => format!("refund {refund}"),
        RowKind::Refund { refund, back: true, .. } => format!("refund {refund} came back"),
        RowKind::Dispute { dispute, back: false, .. } => format!("dispute {dispute}"),
        RowKind::Dispute { dispute, back: true, .. } => format!("dispute {dispute} was won"),
        RowKind::Fee => "fee".to_owned(),
        RowKind::PayoutItself => "the payout itself".to_owned(),
        RowKind::PayoutBack { payout } => format!("payout {payout} came back"),
        RowKind::Other { reporting_category } => format!("other: {reporting_category}"),
    }
}

fn line(stored: &StoredPayoutRow, payments: &BTreeMap<PaymentId, Payment>) -> RowLine {
    let row = &stored.row;
    let amount = |m: Minor| words::amount(m, row.currency);
    let payment = payment_of(&row.kind).and_then(|id| payments.get(id));
    RowLine {
        id: row.id.clone(),
        what: what(&row.kind),
        amount: amount(row.amount),
        fee: amount(row.fee),
        net: amount(row.net),
        payment: payment.map(|p| p.id().to_string()),
        invoices: payment.map(|p| invoices(p, p.success.currency)).unwrap_or_default(),
        ledger: match stored.matched {
            Matched::Known => "known",
            Matched::BeforeGoLive => "older than the start",
            Matched::Unmatched => "missing",
        },
    }
}

/// What the payment paid.
fn invoices(payment: &Payment, currency: Currency) -> String {
    let stands = payment.shares.iter().filter(|s| s.net().is_positive());
    let mut parts: Vec<String> =
        stands.map(|s: &PaidShare| format!("{} {}", s.invoice, words::amount(s.net(), currency))).collect();
    if payment.unapplied.is_positive() && payment.state != PaymentState::BeforeGoLive {
        parts.push(format!("unapplied {}", words::amount(payment.unapplied, currency)));
    }
    parts.join(", ")
}
