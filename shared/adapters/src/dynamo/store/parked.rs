//! Parked payments: each stands once with all that it waits for, in one partition, so that whoever brings records asks once for
//! all of them; and in the partition of every client whose records it waits for, whose readers see there that money waits.
//!
//! Must not: say whether a payment is still parked. The payment's own row does; a wish may outlive it.

use super::{Failed, Store};
use crate::dynamo::item::{Read, Unit, item_of};
use crate::dynamo::keys;
use crate::dynamo::model::{Parked, ParkedWith};
use crate::dynamo::row::Cond;
use jiff::Timestamp;
use std::collections::BTreeSet;
use vesper_core::ids::{ClientId, PaymentId};
use vesper_core::matching::Watch;

const fn client_of(watch: &Watch) -> Option<&ClientId> {
    if let Watch::Client(client) = watch { Some(client) } else { None }
}

/// Puts down what a parked payment waits for, and that it does not wait for the rest of `before` any more, with the unit that parks
/// it. `first_delivered_at` is its place among the others.
pub fn park(
    unit: &mut Unit,
    payment: &PaymentId,
    first_delivered_at: Timestamp,
    before: &BTreeSet<Watch>,
    watch: &BTreeSet<Watch>,
) {
    for client in before.difference(watch).filter_map(client_of) {
        unit.remove(keys::parked_with(client, payment));
    }
    for client in watch.iter().filter_map(client_of) {
        unit.put(&ParkedWith { client: client.clone(), payment: payment.clone() });
    }
    unit.put(&Parked { payment: payment.clone(), first_delivered_at, watch: watch.clone() });
}

impl Store {
    /// The parked payments that wait for any of these, in the order of first delivery. A row that this release cannot read holds up
    /// no other: its payment comes up once an hour besides, and is asked about where it cannot be read either.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn parked_for(&self, arrived: &BTreeSet<Watch>) -> Result<Vec<PaymentId>, Failed> {
        if arrived.is_empty() {
            return Ok(Vec::new());
        }
        let mut found: Vec<(Timestamp, PaymentId)> = Vec::new();
        for row in self.table.query(keys::PARKED_PK, "").await? {
            let Ok(Read { item: parked, .. }) = item_of::<Parked>(&row) else { continue };
            if !parked.watch.is_disjoint(arrived) {
                found.push((parked.first_delivered_at, parked.payment));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, payment)| payment).collect())
    }

    /// The wishes of a payment that is no longer parked go. The one by which it is found goes last: after a crash in between it
    /// is found once more.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn stop_waiting(&self, payment: &PaymentId) -> Result<(), Failed> {
        let (pk, sk) = keys::parked(payment);
        let Some(row) = self.table.get(&pk, &sk).await? else { return Ok(()) };
        let watch = item_of::<Parked>(&row).map(|read| read.item.watch).unwrap_or_default();
        for client in watch.iter().filter_map(client_of) {
            let (pk, sk) = keys::parked_with(client, payment);
            self.table.delete(&pk, &sk, Cond::None).await?;
        }
        Ok(self.table.delete(&pk, &sk, Cond::None).await?)
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;
    use crate::dynamo::{client::client_on, embedded::Engine, row::Row, table::Table};
    use crate::personal::DataKey;
    use vesper_core::ids::InvoiceId;

    fn pi(id: &str) -> PaymentId {
        PaymentId::parse(id).unwrap()
    }

    fn client(id: &str) -> Watch {
        Watch::Client(ClientId::parse(id).unwrap())
    }

    fn invoice(id: &str) -> Watch {
        Watch::Invoice(InvoiceId::parse(id).unwrap())
    }

    #[tokio::test]
    async fn parked_payments_are_found_once_by_any_of_what_they_wait_for_in_the_order_of_first_delivery() {
        let engine = Engine::memory().unwrap();
        let store = Store::new(Table::new(client_on(engine.http_client()), "vesper".to_owned()), DataKey::new([7; 32]));
        store.table().create_if_absent().await.unwrap();
        let waits: [(&str, &str, &[Watch]); 3] = [
            ("pi_c", "2026-11-02T08:00:00Z", &[client("c_1"), client("c_2"), invoice("inv_9")]),
            ("pi_a", "2026-11-02T09:00:00Z", &[client("c_1")]),
            ("pi_b", "2026-11-02T07:00:00Z", &[invoice("inv_9")]),
        ];
        for (payment, first, watch) in waits {
            let mut unit = Unit::new();
            park(&mut unit, &pi(payment), first.parse().unwrap(), &BTreeSet::new(), &watch.iter().cloned().collect());
            store.commit(unit).await.unwrap();
        }
        let cases: [(&[Watch], &[&str]); 5] = [
            (&[], &[]),
            (&[client("c_3"), invoice("inv_1")], &[]),
            (&[client("c_1")], &["pi_c", "pi_a"]),
            (&[client("c_1"), client("c_2"), invoice("inv_9")], &["pi_b", "pi_c", "pi_a"]),
            (&[invoice("inv_9")], &["pi_b", "pi_c"]),
        ];
        for (arrived, expected) in cases {
            let before = engine.calls();
            let found = store.parked_for(&arrived.iter().cloned().collect()).await.unwrap();
            assert_eq!(found, expected.iter().map(|id| pi(id)).collect::<Vec<_>>(), "{arrived:?}");
            assert_eq!(engine.calls() - before, u64::from(!arrived.is_empty()), "one call, however much arrived");
        }
        let money_left = async |id: &str| store.load_clients([ClientId::parse(id).unwrap()]).await.unwrap().money_left;
        assert_eq!(money_left("c_1").await, BTreeSet::from([pi("pi_a"), pi("pi_c")]));
        let mut unit = Unit::new();
        let (before, watch) = (BTreeSet::from([client("c_1")]), BTreeSet::from([client("c_2")]));
        park(&mut unit, &pi("pi_a"), "2026-11-02T09:00:00Z".parse().unwrap(), &before, &watch);
        store.commit(unit).await.unwrap();
        assert_eq!(money_left("c_1").await, BTreeSet::from([pi("pi_c")]), "it waits for somebody else now");
        store.stop_waiting(&pi("pi_c")).await.unwrap();
        store.stop_waiting(&pi("pi_c")).await.unwrap();
        let all = BTreeSet::from([invoice("inv_9"), client("c_1"), client("c_2")]);
        assert_eq!(store.parked_for(&all).await.unwrap(), [pi("pi_b"), pi("pi_a")]);
        assert_eq!((money_left("c_1").await, money_left("c_2").await), (BTreeSet::new(), BTreeSet::from([pi("pi_a")])));
        let later = Row { kind: "ParkedV9".to_owned(), ..store.table().get("PARKED", "pi_b").await.unwrap().unwrap() };
        store.table().put(later, Cond::None).await.unwrap();
        assert_eq!(store.parked_for(&all).await.unwrap(), [pi("pi_a")], "what a later release wrote holds up no other");
    }
}
