//! Who pays: settled before any invoice is looked at (design.md section 4).

use super::references::owner_of;
use crate::event::Reference;
use crate::ids::{ClientId, CustomerId, EmailHash};
use crate::policy::{LinkByEmail, MatchingPolicy};
use crate::world::World;
use std::collections::BTreeSet;

/// Who pays a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payer {
    /// This client; his candidates are the invoices of these clients.
    Known {
        /// The paying client.
        payer: ClientId,
        /// Whose invoices he may pay with it.
        family: BTreeSet<ClientId>,
    },
    /// One customer linked to clients who are no family: only a reference or a named client decides.
    Strangers(BTreeSet<ClientId>),
    /// The customer's client and the named one disagree.
    Conflict,
    /// Nobody knows.
    Unknown {
        /// The metadata names a client that the EHR does not know.
        named_unknown: bool,
    },
}

/// Who pays, by the customer's links and the metadata.
#[must_use]
pub fn who_pays(world: &World, customer: Option<&CustomerId>, reference: &Reference) -> Payer {
    let linked = customer.map(|c| world.linked(c)).unwrap_or_default();
    let named = reference.client.as_deref().map(|id| ClientId::parse(id).ok().filter(|id| world.client(id).is_some()));
    match (linked.is_empty(), named) {
        (true, None) => Payer::Unknown { named_unknown: false },
        (true, Some(None)) => Payer::Unknown { named_unknown: true },
        (true, Some(Some(named))) => known(world, named),
        (false, None) => head_of(world, &linked).map_or(Payer::Strangers(linked), |head| known(world, head)),
        (false, Some(None)) => Payer::Conflict,
        (false, Some(Some(named))) => agree(world, &linked, named, reference),
    }
}

fn known(world: &World, payer: ClientId) -> Payer {
    Payer::Known { family: world.family(&payer), payer }
}

/// The one client these count as: the only one, or the guarantor of all the others.
#[must_use]
pub fn head_of(world: &World, clients: &BTreeSet<ClientId>) -> Option<ClientId> {
    let is_head = |head: &ClientId| clients.iter().all(|c| c == head || guarantor_of(world, c) == Some(head));
    clients.iter().find(|c| is_head(c)).cloned()
}

fn guarantor_of<'w>(world: &'w World, client: &ClientId) -> Option<&'w ClientId> {
    world.client(client).and_then(|c| c.guarantor.as_ref())
}

fn agree(world: &World, linked: &BTreeSet<ClientId>, named: ClientId, reference: &Reference) -> Payer {
    let head = head_of(world, linked);
    if head.as_ref() == Some(&named) {
        return known(world, named);
    }
    if linked.contains(&named) && head.is_none() {
        return known(world, named);
    }
    let pays_for_named = guarantor_of(world, &named).is_some_and(|g| linked.contains(g));
    if pays_for_named || linked.contains(&named) {
        let payer = head.unwrap_or_else(|| named.clone());
        return Payer::Known { payer, family: BTreeSet::from([named]) };
    }
    // A named guarantor beside a dependent's invoice agrees with the dependent's own card.
    match owner_of(world, reference) {
        Some(owner) if linked.contains(owner) && guarantor_of(world, owner) == Some(&named) => {
            Payer::Known { payer: owner.clone(), family: BTreeSet::from([owner.clone()]) }
        }
        _ => Payer::Conflict,
    }
}

/// The client that the payment's e-mail belongs to, and to nobody else (rule 14).
#[must_use]
pub fn by_email(
    world: &World,
    customer: Option<&CustomerId>,
    receipt_email: Option<&EmailHash>,
    policy: &MatchingPolicy,
) -> Option<ClientId> {
    if policy.link_by_email == LinkByEmail::Never || !world.customers_listed {
        return None;
    }
    let email = world.email_of_payment(customer, receipt_email)?;
    let client = head_of(world, &world.clients_with_email(email))?;
    let family = world.whole_family(&client);
    let of_family = world.customers_of(&family);
    let others_with_email = world.customers_with_email(email).filter(|c| Some(*c) != customer);
    let free = match customer {
        Some(customer) => of_family.iter().all(|c| c == customer) && others_with_email.count() == 0,
        // A guest is matched even if that client has a customer of his own.
        None => others_with_email.filter(|c| !of_family.contains(*c)).count() == 0,
    };
    free.then_some(client)
}
