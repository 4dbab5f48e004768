//! A made-up month of a therapy practice, and the truth about it: who really paid which invoice.
//!
//! Pure and deterministic: the seed and the number of sessions say everything. Must not: know Vesper's types or rules; what
//! Vesper makes of the month is compared with this.

mod money;
mod month;
mod people;

pub(super) use people::SURNAMES;

use super::rng::Rng;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use std::collections::BTreeSet;

/// The practice's time zone.
pub(super) const TIME_ZONE: &str = "America/Chicago";
/// What every planted e-mail address ends with.
pub(super) const MAIL_DOMAIN: &str = "@inbox.example";
/// When Vesper goes live: midnight of the first day in practice time.
pub(super) const GO_LIVE: &str = "2026-11-02T06:00:00Z";

/// Something with a name and an address, which must never leave its encrypted place.
#[derive(Clone, Debug)]
pub(super) struct Customer {
    /// `cus_...`
    pub id: String,
    /// What Stripe has as its e-mail.
    pub email: String,
    /// What Stripe has as its name.
    pub name: String,
}

/// Somebody with a chart in the EHR.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// The EHR's id.
    pub id: String,
    /// Shown by the EHR.
    pub name: String,
    /// The EHR's address.
    pub email: String,
    /// The customers that the EHR links to him.
    pub told: Vec<String>,
    /// Who pays for him, as an index.
    pub guarantor: Option<usize>,
    /// Families are told apart by number; strangers never share one.
    pub family: usize,
    /// `commercial` or `self_pay`.
    pub coverage: &'static str,
    /// What he pays for a session himself, in minor units.
    pub fee_minor: i64,
    /// What his insurance pays, in minor units.
    pub payer_minor: i64,
    /// How he pays.
    pub payer: Payer,
    /// Known to the EHR from this moment.
    pub from: Timestamp,
}

/// How a client's card payments reach Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payer {
    /// Under this customer.
    Customer(Customer),
    /// As a guest, with or without an address for the receipt.
    Guest(Option<String>),
    /// By the parent, an index.
    Parent(usize),
    /// In cash, typed into the EHR.
    Cash,
}

impl PartialEq for Customer {
    fn eq(&self, other: &Customer) -> bool {
        self.id == other.id
    }
}
impl Eq for Customer {}

/// One bill, of one session.
#[derive(Clone, Debug)]
pub(super) struct Invoice {
    /// The EHR's id.
    pub id: String,
    /// The number printed on it.
    pub number: String,
    /// Whose, an index.
    pub client: usize,
    /// The client share, in minor units.
    pub fee_minor: i64,
    /// The payer share, in minor units.
    pub payer_minor: i64,
    /// As the EHR names it.
    pub category: &'static str,
    /// The day of the session.
    pub service_date: String,
    /// When the session ends.
    pub ends: Timestamp,
}

/// One card payment, and what is true about it.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    /// The client who really pays, an index.
    pub payer: usize,
    /// In minor units.
    pub amount_minor: i64,
    /// The invoices that it is really for, as indexes.
    pub invoices: Vec<usize>,
    /// Its metadata names the (only) invoice.
    pub names_invoice: bool,
    /// Its metadata says that it is paid in advance, and by whom.
    pub in_advance: bool,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A client gets a chart, and his customer is made.
    Enrol(usize),
    /// The EHR issues an invoice.
    Bill(usize),
    /// A card payment succeeds.
    Pay(usize),
    /// The first attempt of a payment is declined, for this reason.
    Decline(usize, &'static str),
    /// The client pays after all: the declined payment itself, or by a new one.
    PayAfterDecline(usize),
    /// A refund of a payment; None: of all of it. In minor units.
    Refund(usize, Option<i64>),
    /// The card's bank takes a payment back.
    Dispute(usize),
    /// Stripe pays out everything that is in its balance.
    PayOut,
    /// The bank sends the last payout back.
    PayoutFails,
    /// The client pays what is open in cash; a person types it into the EHR.
    Cash(usize),
    /// The insurance pays and forgives, in minor units.
    Insurance(usize, i64, i64),
    /// A person voids an invoice that nobody has paid.
    Void(usize),
    /// A person writes off what is open of a client share.
    Forgive(usize),
    /// Answers of the EHR are lost on their way back, so many.
    LoseEhrAnswers(u32),
    /// Answers of QuickBooks are lost on their way back, so many.
    LoseBooksAnswers(u32),
    /// QuickBooks is down, or up again.
    BooksDown(bool),
}

/// The month.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// How many therapists.
    pub clinicians: usize,
    /// Everybody with a chart.
    pub clients: Vec<Client>,
    /// Every bill.
    pub invoices: Vec<Invoice>,
    /// Every card payment that will succeed unless the month ends before.
    pub payments: Vec<Payment>,
    /// What happens, in order.
    pub acts: Vec<(Timestamp, Act)>,
    /// The end of the month.
    pub end: Timestamp,
}

impl Plan {
    /// The month of a seed with so many sessions.
    pub(super) fn of(seed: u64, sessions: usize) -> Plan {
        let mut rng = Rng::new(seed);
        let mut plan = Plan { clinicians: sessions.div_ceil(220).max(6), end: at(days(0, 30), 23, 0), ..Plan::default() };
        let held = people::fill(&mut plan, &mut rng, sessions);
        month::bill(&mut plan, &mut rng, &held);
        money::pay(&mut plan, &mut rng);
        month::payouts(&mut plan);
        month::trouble(&mut plan);
        let end = plan.end;
        plan.acts.retain(|(at, _)| *at < end);
        // What happens at the same moment keeps the order in which it was made.
        plan.acts.sort_by_key(|(at, _)| *at);
        plan
    }

    fn act(&mut self, at: Timestamp, act: Act) {
        self.acts.push((at, act));
    }

    /// The family of an invoice.
    pub(super) fn family_of(&self, client: usize) -> usize {
        self.clients.get(client).map_or(usize::MAX, |c| c.family)
    }

    /// How many families with a paying parent.
    pub(super) fn families(&self) -> usize {
        self.clients.iter().filter_map(|c| c.guarantor).collect::<BTreeSet<_>>().len()
    }
}

/// The day of November 2026, moved by so many days.
fn days(plus: i64, day: i8) -> jiff::civil::Date {
    let date = jiff::civil::date(2026, 11, day);
    date.checked_add(SignedDuration::from_hours(plus.saturating_mul(24))).unwrap_or(date)
}

/// A moment in practice time.
fn at(date: jiff::civil::Date, hour: i8, minute: i8) -> Timestamp {
    let local: DateTime = date.at(hour, minute, 0, 0);
    let zone = TimeZone::get(TIME_ZONE).unwrap_or(TimeZone::UTC);
    local.to_zoned(zone).map_or(Timestamp::UNIX_EPOCH, |z| z.timestamp())
}

/// So many minutes later.
fn later(at: Timestamp, minutes: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_mins(minutes)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_month_and_another_seed_another() {
        let text = |seed| format!("{:?}", Plan::of(seed, 300));
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn a_month_has_the_sessions_that_were_asked_for_and_looks_like_one() {
        for (seed, sessions) in [(1, 1), (2, 60), (3, 1150), (4, 3000)] {
            let plan = Plan::of(seed, sessions);
            assert_eq!(plan.invoices.len(), sessions);
            assert!(plan.acts.is_sorted_by_key(|(at, _)| *at));
            let bills = plan.acts.iter().filter(|(_, a)| matches!(a, Act::Bill(_))).count();
            assert!(bills <= sessions && bills * 100 >= sessions * 95, "{bills} of {sessions}");
        }
        let plan = Plan::of(1, 1150);
        let named = plan.payments.iter().filter(|p| p.names_invoice).count() * 100 / plan.payments.len();
        assert!((50..=70).contains(&named), "{named} % name their invoice");
        let declined = plan.acts.iter().filter(|(_, a)| matches!(a, Act::Decline(..))).count() * 100 / plan.payments.len();
        assert!((4..=8).contains(&declined), "{declined} % are declined at first");
        assert!((250..=450).contains(&plan.clients.len()) && plan.families() > 10, "{}", plan.clients.len());
    }
}
