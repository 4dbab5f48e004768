//! What a backtest tells at its end: counts and amounts, questions, what followed, and whether an invariant broke.

use super::output::{Line, Outcome};
use std::collections::BTreeMap;
use std::fmt;
use vesper_core::money::{Currency, Minor};
use vesper_core::review::Reason;

/// How many broken invariants are told one by one.
const BROKEN_TOLD: usize = 20;

/// How often, and how much money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// Minor units.
    pub amount: Minor,
}

impl Tally {
    fn add(&mut self, amount: Minor) {
        self.count += 1;
        self.amount = self.amount.plus(amount);
    }
}

/// What came after decisions, or beside them: counted, never in a payment's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Followed {
    /// A refund left.
    Refund,
    /// A refund came back.
    RefundFailed,
    /// Funds were withdrawn by a dispute.
    Dispute,
    /// Disputed funds came back.
    DisputeReinstated,
    /// An invoice with allocations was voided.
    Void,
    /// The excess of an invoice became client credit.
    Excess,
    /// A customer was linked by e-mail (rule 14).
    Link,
    /// A card failed; recovery is not part of a backtest.
    CardFailed,
}

impl Followed {
    const fn as_str(self) -> &'static str {
        match self {
            Followed::Refund => "refunds",
            Followed::RefundFailed => "refunds that failed",
            Followed::Dispute => "disputes",
            Followed::DisputeReinstated => "disputes reinstated",
            Followed::Void => "invoices voided after payment",
            Followed::Excess => "excess turned into credit",
            Followed::Link => "customers linked by e-mail",
            Followed::CardFailed => "failed cards (not retried here)",
        }
    }
}

/// See the module. `Display` is the table on standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// EHR records that were read.
    pub records: u64,
    /// Of them, those older than what was known: passed over.
    pub stale_records: u64,
    /// Of them, those older than the clock: read at the clock's time.
    pub late_records: u64,
    /// Records of a kind that Vesper does not know.
    pub unknown_records: u64,
    /// Events that were read.
    pub events: u64,
    /// Events that nothing is made of: other types, and the other livemode.
    pub passed_events: u64,
    /// Success events of payments that were known already (rule 1).
    pub repeated: u64,
    /// Lines that could not be read and were left out.
    pub bad_lines: u64,
    /// By outcome and currency.
    pub outcomes: BTreeMap<(Outcome, Currency), Tally>,
    /// By rule and currency.
    pub rules: BTreeMap<(u8, Currency), Tally>,
    /// Questions, about payments and what followed.
    pub reviews: BTreeMap<Reason, u64>,
    /// What followed.
    pub followed: BTreeMap<Followed, Tally>,
    /// How many payments' sums were checked (invariant 1).
    pub sums_checked: u64,
    /// How many invoices' shares were checked (invariant 2).
    pub shares_checked: u64,
    /// How many payments were decided (invariant 3).
    pub decided: u64,
    /// How many times an invariant broke.
    pub broken: u64,
    /// The first of them, by subject.
    pub broken_told: Vec<String>,
}

impl Summary {
    pub(super) fn line(&mut self, line: &Line) {
        self.decided += 1;
        self.outcomes.entry((line.outcome, line.currency)).or_default().add(line.amount);
        if let Some(rule) = line.rule {
            self.rules.entry((rule, line.currency)).or_default().add(line.amount);
        }
        if let Some(reason) = line.review {
            self.review(reason);
        }
    }

    pub(super) fn review(&mut self, reason: Reason) {
        *self.reviews.entry(reason).or_default() += 1;
    }

    pub(super) fn follow(&mut self, what: Followed, amount: Minor) {
        self.followed.entry(what).or_default().add(amount);
    }

    pub(super) fn broke(&mut self, invariant: u8, subject: &str, what: &str) {
        self.broken += 1;
        if self.broken_told.len() < BROKEN_TOLD {
            self.broken_told.push(format!("invariant {invariant}: {subject}: {what}"));
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, tally: Tally, currency: Option<Currency>) -> fmt::Result {
    let currency = currency.map(|c| c.as_str().to_owned()).unwrap_or_default();
    writeln!(f, "  {name:<34}{:>10}{:>18} {currency}", tally.count, tally.amount.to_string())
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "read")?;
        for (name, count) in [
            ("EHR records", self.records),
            ("  older than what was known", self.stale_records),
            ("  older than the clock", self.late_records),
            ("  of unknown kind, skipped", self.unknown_records),
            ("Stripe events", self.events),
            ("  passed over", self.passed_events),
            ("  of payments known already", self.repeated),
            ("bad lines left out", self.bad_lines),
        ] {
            writeln!(f, "  {name:<34}{count:>10}")?;
        }
        writeln!(f, "payments by outcome{:>27}{:>18}", "count", "amount")?;
        for ((outcome, currency), tally) in &self.outcomes {
            row(f, outcome.as_str(), *tally, Some(*currency))?;
        }
        writeln!(f, "payments by rule")?;
        for ((rule, currency), tally) in &self.rules {
            row(f, &format!("rule {rule}"), *tally, Some(*currency))?;
        }
        writeln!(f, "reviews by reason")?;
        for (reason, count) in &self.reviews {
            writeln!(f, "  {:<34}{count:>10}", reason.as_str())?;
        }
        writeln!(f, "what followed")?;
        for (what, tally) in &self.followed {
            row(f, what.as_str(), *tally, None)?;
        }
        writeln!(f, "invariants checked")?;
        writeln!(f, "  {:<34}{:>10}", "sums of a payment", self.sums_checked)?;
        writeln!(f, "  {:<34}{:>10}", "shares of an invoice", self.shares_checked)?;
        writeln!(f, "  {:<34}{:>10}", "one decision per payment", self.decided)?;
        writeln!(f, "  {:<34}{:>10}", "broken", self.broken)?;
        for broken in &self.broken_told {
            writeln!(f, "  {broken}")?;
        }
        Ok(())
    }
}
