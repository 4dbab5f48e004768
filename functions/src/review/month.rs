//! A month at a glance (design.md section 8): what was received and what became of it, failed cards, payouts, the books.
//!
//! How it is counted: when it is looked at, from the base rows of that month alone, found by the time ranges of the index `list`
//! (payments, failures and payouts by when they happened, postings that QuickBooks does not have yet by their date). So a look costs
//! what the month has rows, at most [`ROWS_MAX`] of a kind, never the table; and the numbers cannot drift from the truth, as stored
//! sums would, nor does every decision of the practice fight over one row of sums. It is a page of its own, so that the list of
//! questions stays cheap. A payment counts in the practice-local month in which it was charged, with what has become of it by now.
//!
//! Must not: change anything, or show a name.

use super::show::{Fact, Table};
use super::words;
use crate::app::App;
use crate::failure::Unfinished;
use askama::Template;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::model::{FAILURES, PAYMENTS, PAYOUTS, StoredFailure, StoredPayment, StoredPayout};
use vesper_core::ids::PaymentId;
use vesper_core::money::{Currency, Minor};
use vesper_core::payment::{Payment, PaymentState};
use vesper_core::payout::PayoutState;
use vesper_core::recovery::{Recovery, RecoveryState, StopReason};

/// At most so many payments, failures, payouts or postings of one month are looked at; the page says so when there are more.
const ROWS_MAX: u32 = 20_000;

/// A month.
#[derive(Template)]
#[template(path = "review/month.html")]
pub(super) struct MonthPage {
    heading: String,
    before: String,
    after: Option<String>,
    tables: Vec<Table>,
    notes: Vec<Fact>,
}

/// How many, and how much.
#[derive(Clone, Copy, Default)]
struct Sum {
    count: u64,
    amount: Minor,
}

impl Sum {
    fn add(&mut self, amount: Minor) {
        self.count = self.count.saturating_add(1);
        self.amount = self.amount.plus(amount);
    }

    /// Counts only what there is some of.
    fn add_positive(&mut self, amount: Minor) {
        if amount.is_positive() {
            self.add(amount);
        }
    }

    fn row(&self, name: &str, currency: Currency) -> Vec<String> {
        vec![name.to_owned(), self.count.to_string(), words::amount(self.amount, currency)]
    }
}

/// The first day of the month that `YYYY-MM` names; None when it names none.
fn first_day(text: &str) -> Option<Date> {
    let (year, month) = text.split_once('-').filter(|(y, m)| (y.len(), m.len()) == (4, 2))?;
    Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()
}

fn name_of(month: Date) -> String {
    month.strftime("%Y-%m").to_string()
}

/// The month that is named; this one where none, or no month, is.
pub(super) async fn month(app: &App, named: Option<&str>) -> Result<MonthPage, Unfinished> {
    let this = app.local_date(app.now()).first_of_month();
    let first = named.and_then(first_day).unwrap_or(this);
    let next = first.checked_add(1.month()).unwrap_or(first);
    let before = first.checked_sub(1.month()).unwrap_or(first);
    let start = |day: Date| day.to_zoned(app.policy.time_zone.clone()).map_or(Timestamp::MAX, |z| z.timestamp());
    let (from, until) = (start(first), start(next));
    let payments = app.store.listed_between::<StoredPayment>(PAYMENTS, from, until, ROWS_MAX).await?;
    let failures = app.store.listed_between::<StoredFailure>(FAILURES, from, until, ROWS_MAX).await?;
    let payouts = app.store.listed_between::<StoredPayout>(PAYOUTS, from, until, ROWS_MAX).await?;
    let open = app.store.postings_open(first, next, ROWS_MAX).await?;
    let failed: BTreeSet<PaymentId> = failures.iter().map(|f| f.item.failure.payment.clone()).collect();
    let recoveries = app.store.recoveries(failed).await?;
    let currency = app.settings.practice.currency;
    let mut notes = Vec::new();
    let tables = vec![
        money(payments.iter().map(|p| &p.item.payment), currency, &mut notes),
        cards(failures.iter().map(|f| &f.item), recoveries.iter().map(|r| &r.item.recovery), currency),
        paid_out(payouts.iter().map(|p| &p.item), currency),
    ];
    notes.push(Fact { name: "Books", value: books(app, open.len()) });
    let longest = [payments.len(), failures.len(), payouts.len(), open.len()].into_iter().max().unwrap_or(0);
    if u32::try_from(longest).is_ok_and(|n| n >= ROWS_MAX) {
        notes.push(Fact { name: "Not everything", value: format!("only the newest {ROWS_MAX} of each kind are counted") });
    }
    Ok(MonthPage {
        heading: first.strftime("%B %Y").to_string(),
        before: name_of(before),
        after: (first < this).then(|| name_of(next)),
        tables,
        notes,
    })
}

const HEADS: &[&str] = &["What", "How many", "How much"];

/// The parts of what was received add up to it (invariant 1 of every payment).
fn money<'p>(payments: impl Iterator<Item = &'p Payment>, currency: Currency, notes: &mut Vec<Fact>) -> Table {
    let (mut old, mut foreign) = (0_u64, 0_u64);
    let (mut received, mut reconciled, mut waiting, mut asked) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    let (mut credit, mut elsewhere, mut left) = (Sum::default(), Sum::default(), Sum::default());
    for payment in payments {
        if payment.state == PaymentState::BeforeGoLive {
            old = old.saturating_add(1);
            continue;
        }
        if payment.success.currency != currency {
            foreign = foreign.saturating_add(1);
            continue;
        }
        received.add(payment.received());
        reconciled.add_positive(payment.allocated());
        left.add_positive(payment.taken_off);
        match payment.state {
            PaymentState::Parked => waiting.add_positive(payment.unapplied),
            PaymentState::Review => asked.add_positive(payment.unapplied),
            PaymentState::Decided | PaymentState::BeforeGoLive => {
                credit.add_positive(payment.credit);
                elsewhere.add_positive(payment.unapplied.minus(payment.credit));
            }
        }
    }
    let each = [("Older than the start with Vesper, not counted", old), ("In another currency, not counted", foreign)];
    let there = each.into_iter().filter(|(_, n)| *n > 0);
    notes.extend(there.map(|(name, n)| Fact { name, value: format!("{n} payments") }));
    let rows = [
        ("Received", received),
        ("Reconciled: applied to invoices", reconciled),
        ("Waiting for an invoice", waiting),
        ("Waiting for a person", asked),
        ("Client credit", credit),
        ("Left over, not assigned", elsewhere),
        ("Refunded or disputed", left),
    ];
    Table { caption: "Money received", heads: HEADS, rows: rows.iter().map(|(name, sum)| sum.row(name, currency)).collect() }
}

fn cards<'r>(
    failures: impl Iterator<Item = &'r StoredFailure>,
    recoveries: impl Iterator<Item = &'r Recovery>,
    currency: Currency,
) -> Table {
    let mut failed = Sum::default();
    let (mut recovered, mut paid, mut waiting, mut ended) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for failure in failures.map(|f| &f.failure).filter(|f| f.currency == currency) {
        failed.add(failure.amount);
    }
    for recovery in recoveries.filter(|r| r.failure.currency == currency) {
        let sum = match (recovery.state, recovery.stop_reason) {
            (RecoveryState::Recovered, _) => &mut recovered,
            (RecoveryState::Stopped, Some(StopReason::Paid)) => &mut paid,
            (RecoveryState::Waiting, _) => &mut waiting,
            (RecoveryState::Stopped | RecoveryState::Exhausted, _) => &mut ended,
        };
        sum.add(recovery.failure.amount);
    }
    let known = [recovered, paid, waiting, ended];
    let asked = Sum {
        count: failed.count.saturating_sub(known.iter().map(|s| s.count).sum()),
        amount: failed.amount.minus(Minor::sum(known.iter().map(|s| s.amount))).or_zero(),
    };
    let rows = [
        ("Failed for the first time", failed),
        ("Recovered by Vesper", recovered),
        ("Paid in another way", paid),
        ("Tried again", waiting),
        ("Ended without success", ended),
        ("Not tried again: a person was asked", asked),
    ];
    Table { caption: "Failed cards", heads: HEADS, rows: rows.iter().map(|(name, sum)| sum.row(name, currency)).collect() }
}

fn paid_out<'p>(payouts: impl Iterator<Item = &'p StoredPayout>, currency: Currency) -> Table {
    let (mut tied, mut waiting, mut other) = (Sum::default(), Sum::default(), Sum::default());
    for (payout, item) in payouts.filter_map(|p| p.payout.as_ref().map(|payout| (payout, p))) {
        if payout.currency != currency {
            continue;
        }
        let sum = match item.state {
            PayoutState::TiedOut => &mut tied,
            PayoutState::Waiting => &mut waiting,
            PayoutState::Drift | PayoutState::Manual | PayoutState::Failed => &mut other,
        };
        sum.add(payout.amount);
    }
    let rows = [("Tied out to their payments", tied), ("Waiting", waiting), ("Asked about: drift, by hand, or came back", other)];
    Table { caption: "Payouts", heads: HEADS, rows: rows.iter().map(|(name, sum)| sum.row(name, currency)).collect() }
}

fn books(app: &App, open: usize) -> String {
    match (app.accounts().is_some(), app.is_shadow(), open) {
        (false, _, _) => "none are connected".to_owned(),
        (true, true, 0) => "shadow mode: nothing is sent to QuickBooks".to_owned(),
        (true, false, 0) => "in sync: QuickBooks has every posting of this month".to_owned(),
        (true, _, 1) => "not in sync: 1 posting of this month is not in QuickBooks yet".to_owned(),
        (true, _, n) => format!("not in sync: {n} postings of this month are not in QuickBooks yet"),
    }
}
