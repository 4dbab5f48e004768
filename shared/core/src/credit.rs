//! Client credit: whose it is, and which later invoices it pays by rule (design.md sections 4 and 6).
//!
//! One explanation or a person: the rule applies credit only where everything names the same client, to that client's own
//! invoices, oldest first. Must not: decide a payment (that is `matching`), or touch money that is not client credit.

use crate::ids::{ClientId, InvoiceId};
use crate::matching::{ALLOCATIONS_MAX, Allocate, payable_oldest_first};
use crate::money::Minor;
use crate::payment::{Payment, PaymentState};
use crate::world::World;
use std::collections::BTreeSet;

/// The rule of an allocation that was made from client credit, by rule or by a person. Rule 4 of the decision table makes
/// client credit and allocates nothing itself, so no other allocation carries it.
pub const RULE: u8 = 4;

/// The client whose credit this is: the one that the metadata and every allocation so far name; where nothing names one, the
/// paying client. None where they differ, or where nobody said who pays: then a person applies it.
#[must_use]
pub fn owner(payment: &Payment) -> Option<ClientId> {
    let named = payment.success.reference.client.as_deref().and_then(|id| ClientId::parse(id).ok());
    let named = named.filter(|_| payment.decision.payer.is_some());
    let signs: BTreeSet<ClientId> = payment.shares.iter().map(|s| s.client.clone()).chain(named).collect();
    match signs.len() {
        0 => payment.decision.payer.clone(),
        1 => signs.into_iter().next(),
        _ => None,
    }
}

/// Whether the rule may apply what is left of this payment's credit, as far as the payment itself says.
#[must_use]
pub fn may_flow(payment: &Payment) -> bool {
    payment.state == PaymentState::Decided && payment.credit.is_positive() && !payment.credit_by_hand
}

/// Which of the client's open invoices this credit pays, oldest first, the last one perhaps in part. `held`: invoices that a
/// card is being charged for. Nothing where the client does not count (deleted, or not known).
#[must_use]
pub fn oldest_first(world: &World, client: &ClientId, payment: &Payment, held: &BTreeSet<InvoiceId>) -> Vec<Allocate> {
    if world.client(client).is_none() {
        return Vec::new();
    }
    let mut left = payment.credit;
    let mut all = payable_oldest_first(world, client, payment.success.currency);
    all.retain(|a| !held.contains(&a.invoice));
    all.truncate(ALLOCATIONS_MAX);
    for allocate in &mut all {
        let amount = allocate.amount.min(left);
        allocate.closes = amount == allocate.amount;
        allocate.amount = amount;
        left = left.minus(amount);
    }
    all.retain(|a| a.amount > Minor::ZERO);
    all
}
