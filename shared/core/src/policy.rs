//! What a practice may choose. The domain side of contracts/settings.md; the defaults are the contract's.

use crate::money::Currency;
use jiff::{civil::Time, tz::TimeZone};

/// Whether a unique e-mail address links a Stripe customer to a client (rule 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkByEmail {
    /// When it belongs to exactly one client.
    Unique,
    /// Never.
    Never,
}

/// What to do when several open invoices have exactly the payment's amount (rules 6 and 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameAmount {
    /// The oldest is meant: a stated policy, not a guess.
    OldestFirst,
    /// A person is asked.
    Review,
}

/// Who applies client credit to later invoices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyCredit {
    /// A person, on the payment's page.
    ByHand,
    /// The rule: the oldest invoice of the same client first. A person may besides.
    OldestFirst,
}

/// What to do where the EHR does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnknown {
    /// No attempt, a review instead.
    Ask,
    /// As if it allowed it.
    Retry,
}

/// `[matching]`.
#[derive(Clone, Debug)]
pub struct MatchingPolicy {
    /// `link_by_email`.
    pub link_by_email: LinkByEmail,
    /// `same_amount`.
    pub same_amount: SameAmount,
    /// `wait_for_invoice_h`: how long a payment waits for its invoice, in hours.
    pub wait_for_invoice_h: u32,
}

/// `[retry]`.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Practice-local days after the first failure; ascending, at most 3.
    pub days: Vec<u8>,
    /// Practice time of an attempt.
    pub at: Time,
    /// How many days an attempt may move to a payday; 0 switches it off.
    pub payday_shift_days: u8,
    /// Where autopay is unknown.
    pub when_autopay_unknown: WhenUnknown,
    /// Where consent is unknown.
    pub when_consent_unknown: WhenUnknown,
}

/// All that decisions depend on besides the data.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The practice's time zone.
    pub time_zone: TimeZone,
    /// The practice's currency.
    pub currency: Currency,
    /// Matching.
    pub matching: MatchingPolicy,
    /// Recovery of failed cards.
    pub retry: RetryPolicy,
    /// `matching.apply_credit`. No part of [`MatchingPolicy`]: it decides no payment, so a backtest has no use for it.
    pub apply_credit: ApplyCredit,
}
