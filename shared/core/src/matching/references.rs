//! Rules 2 and 3: what the metadata names, and whether it may be paid.

use super::open::standing;
use crate::event::Reference;
use crate::ids::{ClientId, InvoiceId, SessionId};
use crate::money::{Currency, Minor};
use crate::records::Invoice;
use crate::world::World;

/// What the references of a payment name.
#[derive(Debug)]
pub(super) enum Named<'w> {
    /// There is no reference.
    Nothing,
    /// One of them is not known yet.
    NotYet,
    /// They name different invoices.
    Disagree,
    /// A session whose only invoices are void.
    OnlyVoid,
    /// One invoice.
    One(&'w Invoice),
    /// A session with several live invoices.
    Several(Vec<&'w Invoice>),
}

/// Finds what the references name.
pub(super) fn named<'w>(world: &'w World, reference: &Reference) -> Named<'w> {
    let by_invoice = reference.invoice.as_deref().map(|id| invoice(world, id));
    let by_session = reference.session.as_deref().map(|id| session(world, id));
    match (by_invoice, by_session) {
        (None, None) => Named::Nothing,
        (Some(None), _) => Named::NotYet,
        (_, Some(all)) if all.is_empty() => Named::NotYet,
        (Some(Some(one)), None) => Named::One(one),
        (Some(Some(one)), Some(all)) => {
            if all.iter().any(|i| i.id == one.id) {
                Named::One(one)
            } else {
                Named::Disagree
            }
        }
        (None, Some(all)) => {
            let live: Vec<&Invoice> = all.into_iter().filter(|i| !i.void).collect();
            match live.as_slice() {
                [] => Named::OnlyVoid,
                [one] => Named::One(one),
                _ => Named::Several(live),
            }
        }
    }
}

fn invoice<'w>(world: &'w World, id: &str) -> Option<&'w Invoice> {
    world.invoice(&InvoiceId::parse(id).ok()?)?.invoice.as_ref()
}

fn session<'w>(world: &'w World, id: &str) -> Vec<&'w Invoice> {
    SessionId::parse(id).map(|id| world.invoices_of_session(&id).collect()).unwrap_or_default()
}

/// The one client whose invoices the references name; None where nothing is known, or several have one. A session counts only
/// where no invoice is named.
pub(super) fn owner_of<'w>(world: &'w World, reference: &Reference) -> Option<&'w ClientId> {
    let named: Vec<&Invoice> = match (reference.invoice.as_deref(), reference.session.as_deref()) {
        (Some(id), _) => invoice(world, id).into_iter().collect(),
        (None, Some(id)) => session(world, id),
        (None, None) => Vec::new(),
    };
    let (first, rest) = named.split_first()?;
    rest.iter().all(|i| i.client == first.client).then_some(&first.client)
}

/// Rule 2, first half: the reference names an invoice of another currency. A session counts only where no invoice is named.
pub(super) fn other_currency(world: &World, reference: &Reference, currency: Currency) -> bool {
    match (reference.invoice.as_deref(), reference.session.as_deref()) {
        (Some(id), _) => invoice(world, id).is_some_and(|i| i.currency != currency),
        (None, Some(id)) => session(world, id).into_iter().any(|i| !i.void && i.currency != currency),
        (None, None) => false,
    }
}

/// What is open on the client share of an invoice, our own allocations taken off.
pub(super) fn open_of(world: &World, id: &InvoiceId) -> Minor {
    world.invoice(id).and_then(standing).map_or(Minor::ZERO, |s| s.share.open)
}
