//! What is kept of every payment ever seen: what rule 1, refunds and disputes need, in a few dozen bytes each.
//!
//! Must not: keep what only the payment's line needs.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use vesper_core::ids::{InvoiceId, PaymentId};
use vesper_core::money::{Currency, Minor};
use vesper_core::world::compact::{Reader, Writer};

/// What is kept of a payment whose line is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) amount: Minor,
    pub(super) currency: Currency,
    /// What stands on each invoice.
    pub(super) shares: Vec<(InvoiceId, Minor)>,
    pub(super) unapplied: Minor,
    /// Refunded or disputed.
    pub(super) taken_off: Minor,
    pub(super) charge_known: bool,
}

/// Where a payment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Its place among those that wait.
    Waiting(u64),
    Settled(Settled),
    /// Of the other livemode.
    Ignored,
}

/// A payment's id and where it stands, as bytes.
#[derive(Debug)]
struct Entry(Box<[u8]>);

impl Entry {
    fn id(&self) -> &str {
        Reader::new(&self.0).text().unwrap_or_default()
    }
}

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        self.id()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Entry {}

/// All payments. Only looked up, never listed: the order of a hash set is nobody's.
#[derive(Debug, Default)]
pub(super) struct Kept(HashSet<Entry>);

impl Kept {
    pub(super) fn contains(&self, payment: &PaymentId) -> bool {
        self.0.contains(payment.as_str())
    }

    pub(super) fn get(&self, payment: &PaymentId) -> Option<Known> {
        let entry = self.0.get(payment.as_str())?;
        Some(read(&entry.0).unwrap_or_else(|| unreachable!("what was written can be read")))
    }

    pub(super) fn put(&mut self, payment: &PaymentId, known: &Known) {
        self.0.replace(Entry(write(payment, known)));
    }
}

fn write(payment: &PaymentId, known: &Known) -> Box<[u8]> {
    let mut out = Writer::default();
    out.text(payment.as_str());
    match known {
        Known::Ignored => {}
        Known::Waiting(place) => {
            out.flags(&[false, false]);
            out.number(*place);
        }
        Known::Settled(s) => {
            out.flags(&[true, s.charge_known]);
            out.amount(s.amount);
            out.currency(s.currency);
            out.amount(s.unapplied);
            out.amount(s.taken_off);
            for (invoice, net) in &s.shares {
                out.text(invoice.as_str());
                out.amount(*net);
            }
        }
    }
    out.finish()
}

fn read(bytes: &[u8]) -> Option<Known> {
    let mut from = Reader::new(bytes);
    from.text()?;
    if from.is_at_end() {
        return Some(Known::Ignored);
    }
    let [settled, charge_known] = from.flags()?;
    if !settled {
        return from.number().map(Known::Waiting);
    }
    let (amount, currency, unapplied, taken_off) = (from.amount()?, from.currency()?, from.amount()?, from.amount()?);
    let mut shares = Vec::new();
    while !from.is_at_end() {
        shares.push((InvoiceId::parse(from.text()?).ok()?, from.amount()?));
    }
    Some(Known::Settled(Settled { amount, currency, shares, unapplied, taken_off, charge_known }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_payment_comes_back_and_the_newest_counts() {
        let minor = |v| Minor::new(v).unwrap();
        let share = |id: &str, net| (InvoiceId::parse(id).unwrap(), minor(net));
        let settled = |shares: Vec<(InvoiceId, Minor)>, currency| Settled {
            amount: minor(4200),
            currency,
            shares,
            unapplied: minor(0),
            taken_off: minor(1200),
            charge_known: true,
        };
        let mut kept = Kept::default();
        let id = |n: &str| PaymentId::parse(n).unwrap();
        for known in [
            Known::Waiting(0),
            Known::Waiting(u64::MAX),
            Known::Settled(settled(vec![], Currency::USD)),
            Known::Settled(settled(vec![share("inv_1", 4200), share("inv é", 0)], Currency::parse("eur").unwrap())),
            Known::Ignored,
        ] {
            kept.put(&id("pi_1"), &known);
            assert_eq!(kept.get(&id("pi_1")), Some(known));
        }
        assert!(kept.contains(&id("pi_1")) && !kept.contains(&id("pi_")) && kept.get(&id("pi_12")).is_none());
        assert_eq!(kept.0.len(), 1);
    }

    #[test]
    fn an_ordinary_payment_takes_few_bytes() {
        let share = (InvoiceId::parse("inv_0000001").unwrap(), Minor::new(4200).unwrap());
        let (amount, currency, taken_off) = (share.1, Currency::USD, Minor::ZERO);
        let settled = Settled { amount, currency, shares: vec![share], unapplied: Minor::ZERO, taken_off, charge_known: true };
        let size = write(&PaymentId::parse("pi_3sKiK0sx0UxxOqBdQeBKX9oZC").unwrap(), &Known::Settled(settled)).len();
        assert!(size < 60, "{size}");
    }
}
