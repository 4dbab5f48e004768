//! Matching: one explanation or a question. The decision table of design.md section 4.
//!
//! [`decide`] is pure and total: every payment ends in a [`Decision`]; a question is a value, not an error.
//! Must not: allocate where two explanations of one rule fit, or let a card pay a payer share.

pub mod open;
mod references;
mod rules;
pub mod subset;
pub mod who_pays;

pub use rules::{payable_oldest_first, unknown_owner};

use crate::event::Success;
use crate::ids::{ClientId, CustomerId, EmailHash, InvoiceId, SessionId};
use crate::money::Minor;
use crate::policy::MatchingPolicy;
use crate::records::Category;
use crate::review::Question;
use crate::world::World;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// At most so many invoices are allocated by one decision (design.md, Store).
pub const ALLOCATIONS_MAX: usize = 40;
/// Up to so many candidates the subset search proves uniqueness (design.md, Bounds).
pub const SUBSET_CANDIDATES_MAX: usize = 24;
/// How many explanations of an ambiguous payment are offered as answers.
pub const ANSWERS_MAX: usize = 6;

/// Which look at a payment this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The first: questions are asked at once.
    First,
    /// A parked payment is looked at again: most questions wait for the deadline.
    Again,
    /// The wait is over: what does not decide is asked.
    Deadline,
}

/// The payment to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The money.
    pub success: &'a Success,
    /// What is to be decided: the amount less what was refunded before.
    pub amount: Minor,
    /// The day of the successful charge in practice time.
    pub local_date: Date,
    /// Which look this is.
    pub look: Look,
}

/// An allocation to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocate {
    /// The invoice.
    pub invoice: InvoiceId,
    /// Whose it is.
    pub client: ClientId,
    /// How much of the payment.
    pub amount: Minor,
    /// What the client share is.
    pub category: Category,
    /// The client share is fully paid by it.
    pub closes: bool,
    /// It was in the EHR before us (rule 16): nothing is written back.
    pub in_ehr: bool,
}

/// What a parked payment waits for: the arrival or change of any of these looks at it again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Any record of this client, or of one whose guarantor he is.
    Client(ClientId),
    /// This invoice.
    Invoice(InvoiceId),
    /// An invoice that bills this session.
    Session(SessionId),
    /// A client linked to this customer, or an e-mail of it.
    Customer(CustomerId),
    /// A client with this e-mail.
    Email(EmailHash),
    /// An EHR payment whose EHR reference is this Stripe id (rule 16).
    EhrReference(String),
}

/// Where the payment stands after a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stands {
    /// Something is allocated or credited; a question may come with it.
    Decided,
    /// It waits for a record.
    Parked,
    /// A person decides all of it.
    Asked,
}

/// What Vesper concludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Where the payment stands.
    pub stands: Stands,
    /// The rule of design.md section 4 that moved the money or asked.
    pub rule: u8,
    /// What pays what.
    pub allocations: Vec<Allocate>,
    /// What is left.
    pub unapplied: Minor,
    /// What is left is client credit, by rule 4.
    pub credit: bool,
    /// The question for a person.
    pub question: Option<Question>,
    /// Rule 14: the customer is to be linked to this client.
    pub link: Option<ClientId>,
    /// The paying client.
    pub payer: Option<ClientId>,
    /// What it waits for, when parked.
    pub watch: BTreeSet<Watch>,
    /// One sentence without personal data.
    pub why: String,
    /// The invoices that were looked at and not taken, at most [`SUBSET_CANDIDATES_MAX`] of them.
    pub rivals: Vec<InvoiceId>,
}

/// Decides a payment (design.md section 4). Rule 1 is the caller's: a payment that is decided never comes here again.
#[must_use]
pub fn decide(world: &World, case: &Case<'_>, policy: &MatchingPolicy) -> Decision {
    let decision = rules::decide(world, case, policy);
    if case.look != Look::Again || decision.stands == Stands::Parked || comes_while_parked(&decision) {
        return decision;
    }
    // Rule 10 and every other question wait for the deadline.
    rules::park(world, case, &decision)
}

/// While parked: 16, 3 and 4 to 8 as soon as they move money, and the questions of 3 and 16.
fn comes_while_parked(decision: &Decision) -> bool {
    matches!(decision.rule, 3 | 16) || (decision.stands == Stands::Decided && matches!(decision.rule, 4..=8))
}
