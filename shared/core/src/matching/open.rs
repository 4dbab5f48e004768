//! What is open on an invoice (design.md section 4, "What is open"): the EHR's word, corrected by what the EHR does not show yet.

use crate::ids::EhrPaymentId;
use crate::money::Minor;
use crate::records::{EhrPayment, Method, Portion, Share};
use crate::world::{Allocation, InvoiceFile, is_stripe_reference};
use std::collections::BTreeSet;

/// Where the client share of an invoice stands, our own allocations included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The client share: the EHR's, plus what it does not show, capped at the charge.
    pub share: Share,
    /// What our allocations exceed the charge by.
    pub excess: Minor,
    /// For each allocation, in order: how much of it the EHR shows.
    pub shown: Vec<Minor>,
    /// For each allocation, in order: the EHR payment that shows it; the first where several do together.
    pub shown_by: Vec<Option<EhrPaymentId>>,
}

/// The standing of an invoice's client share. None while the invoice itself is unknown.
#[must_use]
pub fn standing(file: &InvoiceFile) -> Option<Standing> {
    let ehr = file.invoice.as_ref()?.client_share;
    if file.allocations.is_empty() {
        return Some(Standing { share: ehr, excess: Minor::ZERO, shown: Vec::new(), shown_by: Vec::new() });
    }
    let shown_by = match_payments(file);
    let taken: BTreeSet<&EhrPaymentId> = shown_by.iter().flatten().map(|p| &p.id).collect();
    let others = file.payments.values().filter(|p| p.portion == Portion::Client && !taken.contains(&p.id));
    // What of a payment is more than the allocation that it shows is not ours either: each shows at most one.
    let surplus =
        file.allocations.iter().zip(&shown_by).map(|(a, by)| Minor::sum(by.iter().map(|p| p.net())).minus(a.amount).or_zero());
    // What the EHR's `paid` leaves for us: less every posted payment that is not ours.
    let cover = ehr.paid.minus(Minor::sum(others.map(EhrPayment::net))).minus(Minor::sum(surplus)).or_zero();
    let live = file.allocations.iter().filter(|a| !a.closed);
    let gross = Minor::sum(live.map(|a| a.amount));
    let net = Minor::sum(file.allocations.iter().map(Allocation::net));
    let in_ehr = cover.min(gross);
    let correction =
        if net >= in_ehr { net.minus(in_ehr) } else { in_ehr.minus(net).min(reversals_not_shown(file, &shown_by)).negated() };
    let excess = correction.minus(ehr.open).or_zero();
    let applied = correction.minus(excess);
    let share = Share { paid: ehr.paid.plus(applied), open: ehr.open.minus(applied), ..ehr };
    let shown = spread(file, &shown_by, in_ehr);
    let shown_by = shown_by.iter().map(|by| by.first().map(|p| p.id.clone())).collect();
    Some(Standing { share, excess, shown, shown_by })
}

/// What we took back and no EHR payment shows as reversed.
fn reversals_not_shown(file: &InvoiceFile, shown_by: &[Vec<&EhrPayment>]) -> Minor {
    let each = file.allocations.iter().zip(shown_by).filter(|(a, _)| !a.closed).map(|(a, by)| {
        // What the EHR had reversed before rule 16 linked the rest was never ours.
        let earlier = Minor::sum(by.iter().map(|p| p.amount)).minus(a.amount).or_zero();
        let seen = Minor::sum(by.iter().map(|p| p.reversed)).minus(earlier).or_zero();
        a.reversed.minus(seen).or_zero()
    });
    Minor::sum(each)
}

/// Gives each allocation its part of what the EHR shows: those with a payment of their own first, then oldest first. A payment of which
/// we took something back that the EHR does not show yet still holds all of itself: it shows no other allocation.
fn spread(file: &InvoiceFile, shown_by: &[Vec<&EhrPayment>], in_ehr: Minor) -> Vec<Minor> {
    let mut left = in_ehr;
    let mut shown = vec![Minor::ZERO; file.allocations.len()];
    for own_payment in [true, false] {
        for ((allocation, by), shown) in file.allocations.iter().zip(shown_by).zip(&mut shown) {
            if by.is_empty() != own_payment {
                let net = allocation.net();
                let held = Minor::sum(by.iter().map(|p| p.net())).min(allocation.amount).max(net);
                *shown = net.min(left);
                left = left.minus(held.min(left));
            }
        }
    }
    shown
}

/// How an EHR payment may show an allocation, in the order in which they are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// It carries the allocation's ids.
    Refers,
    /// A person typed the allocation in.
    TypedIn,
    /// It carries the ids too, and what was found so far is less than the allocation: rule 16 makes one allocation of several.
    RefersToTheRest,
}

/// Which EHR payments show which allocation: each at most one.
fn match_payments(file: &InvoiceFile) -> Vec<Vec<&EhrPayment>> {
    let mut left: Vec<&EhrPayment> = file.payments.values().filter(|p| p.portion == Portion::Client).collect();
    left.sort_by_key(|p| (p.first_observed_at, p.seen.seq));
    let mut found: Vec<Vec<&EhrPayment>> = vec![Vec::new(); file.allocations.len()];
    for sign in [Sign::Refers, Sign::TypedIn, Sign::RefersToTheRest] {
        for (allocation, found) in file.allocations.iter().zip(&mut found).filter(|(a, _)| !a.closed) {
            while let Some(at) = left.iter().position(|p| shows(p, allocation, found, sign)) {
                found.push(left.remove(at));
            }
        }
    }
    found
}

fn shows(p: &EhrPayment, a: &Allocation, found: &[&EhrPayment], sign: Sign) -> bool {
    match sign {
        Sign::Refers => found.is_empty() && refers(p, a),
        Sign::TypedIn => found.is_empty() && typed_in(p, a),
        Sign::RefersToTheRest => refers(p, a) && Minor::sum(found.iter().map(|p| p.net())).plus(p.net()) <= a.amount,
    }
}

/// The EHR payment carries our EHR reference, or the id of the PaymentIntent or of its charge.
fn refers(p: &EhrPayment, a: &Allocation) -> bool {
    p.reference == a.reference
        || p.reference == a.payment.as_str()
        || a.charge.as_ref().is_some_and(|c| p.reference == c.as_str())
}

/// A person typed the allocation in: seen after it, same amount, by card (of client credit: as such, too), no other payment's id.
fn typed_in(p: &EhrPayment, a: &Allocation) -> bool {
    a.typed_in
        && p.first_observed_at > a.decided_at
        && p.amount == a.amount
        && (p.method == Method::Card || p.method == Method::Credit && a.rule == crate::credit::RULE)
        && !is_stripe_reference(&p.reference)
}
