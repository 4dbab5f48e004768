//! Postings: what every movement of money means in the books (design.md section 6). Every posting balances.
//!
//! Must not: know account numbers of QuickBooks, or anything of a client.

use crate::ids::PostingId;
use crate::money::Minor;
use crate::records::Category;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;

/// A place in the books, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Mirrors Stripe's balance.
    StripeClearing,
    /// The practice's bank account.
    Checking,
    /// What Stripe takes.
    StripeFees,
    /// Refunds, a contra income.
    Refunds,
    /// Disputed payments.
    Disputes,
    /// Money whose invoice is not known.
    Unidentified,
    /// Client prepayments, a liability.
    ClientCredits,
    /// Income, by what the client share was.
    Income(Category),
}

/// One line: debit positive, credit negative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Where.
    pub account: Account,
    /// How much.
    pub amount: Minor,
}

/// What a posting becomes in QuickBooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A JournalEntry.
    Entry,
    /// A Transfer between two accounts.
    Transfer,
}

/// One balanced entry for the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// `pst_...`; the identity everywhere.
    pub id: PostingId,
    /// What it is about: the PaymentIntent or the payout.
    pub subject: String,
    /// What it becomes.
    pub form: Form,
    /// Its date, unless that lies in a closed period.
    pub date: Date,
    /// Sums to zero.
    pub lines: Vec<Line>,
}

/// A rule of the books that does not hold. Says which, on which id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant {number} does not hold for {subject}: {what}")]
pub struct Broken {
    /// The number in design.md section 2.
    pub number: u8,
    /// Which payment, invoice or posting.
    pub subject: String,
    /// What is wrong.
    pub what: String,
}

impl Posting {
    /// Invariant 7, first part: it balances and no line is empty.
    ///
    /// # Errors
    /// [`Broken`] when it does not.
    pub fn check(&self) -> Result<(), Broken> {
        let sum = Minor::sum(self.lines.iter().map(|l| l.amount));
        if sum.is_zero() && self.lines.iter().all(|l| !l.amount.is_zero()) && !self.lines.is_empty() {
            return Ok(());
        }
        Err(Broken { number: 7, subject: self.id.to_string(), what: format!("its lines sum to {sum}") })
    }
}

/// Lines being gathered: one per account, those that cancel out left away.
#[derive(Clone, Debug, Default)]
pub struct Lines(BTreeMap<Account, Minor>);

impl Lines {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Lines {
        Lines::default()
    }

    /// Debits an account.
    #[must_use]
    pub fn debit(mut self, account: Account, amount: Minor) -> Lines {
        let line = self.0.entry(account).or_default();
        *line = line.plus(amount);
        self
    }

    /// Credits an account.
    #[must_use]
    pub fn credit(self, account: Account, amount: Minor) -> Lines {
        self.debit(account, amount.negated())
    }

    /// Credits income for each of these.
    #[must_use]
    pub fn income(self, shares: impl IntoIterator<Item = (Category, Minor)>) -> Lines {
        shares.into_iter().fold(self, |lines, (category, amount)| lines.credit(Account::Income(category), amount))
    }

    /// A posting of these lines; None when nothing moves.
    #[must_use]
    pub fn entry(self, id: PostingId, subject: &impl Display, date: Date) -> Option<Posting> {
        let lines: Vec<Line> =
            self.0.into_iter().filter(|(_, m)| !m.is_zero()).map(|(account, amount)| Line { account, amount }).collect();
        if lines.is_empty() {
            return None;
        }
        Some(Posting { id, subject: subject.to_string(), form: Form::Entry, date, lines })
    }
}
