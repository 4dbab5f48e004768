//! Parked payments: each stands once with all that it waits for, in one partition, so that whoever brings records asks once for
//! all of them; and in the partition of every client whose records it waits for, whose readers see there that money waits.
//!
//! Must not: say whether a payment is still parked. The payment's own row does; a wish may outlive it.

use super::{Failed, Store};
use crate::dynamo::item::{Read, Unit};
use crate::dynamo::keys;
use crate::dynamo::model::{Parked, ParkedWith};
use crate::dynamo::row::Cond;
use jiff::Timestamp;
use std::collections::BTreeSet;
use vesper_core::ids::{ClientId, PaymentId};
use vesper_core::matching::Watch;

fn clients(watch: &BTreeSet<Watch>) -> impl Iterator<Item = &ClientId> {
    watch.iter().filter_map(|watch| if let Watch::Client(client) = watch { Some(client) } else { None })
}

/// Puts down what a parked payment waits for, with the unit that parks it. `first_delivered_at` is its place among the others.
pub fn park(unit: &mut Unit, payment: &PaymentId, first_delivered_at: Timestamp, watch: &BTreeSet<Watch>) {
    for client in clients(watch) {
        unit.put(&ParkedWith { client: client.clone(), payment: payment.clone() });
    }
    unit.put(&Parked { payment: payment.clone(), first_delivered_at, watch: watch.clone() });
}

impl Store {
    /// The parked payments that wait for any of these, in the order of first delivery.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn parked_for(&self, arrived: &BTreeSet<Watch>) -> Result<Vec<PaymentId>, Failed> {
        if arrived.is_empty() {
            return Ok(Vec::new());
        }
        let mut found: Vec<(Timestamp, PaymentId)> = Vec::new();
        for Read { item: parked, .. } in self.query::<Parked>(keys::PARKED_PK, "").await? {
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
    pub async fn stop_waiting(&self, payment: &PaymentId, watch: &BTreeSet<Watch>) -> Result<(), Failed> {
        for client in clients(watch) {
            let (pk, sk) = keys::parked_with(client, payment);
            self.table.delete(&pk, &sk, Cond::None).await?;
        }
        let (pk, sk) = keys::parked(payment);
        Ok(self.table.delete(&pk, &sk, Cond::None).await?)
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;
    use crate::dynamo::{client::client_on, embedded::Engine, table::Table};
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
            park(&mut unit, &pi(payment), first.parse().unwrap(), &watch.iter().cloned().collect());
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
        store.stop_waiting(&pi("pi_c"), &BTreeSet::from([client("c_1"), client("c_2"), invoice("inv_9")])).await.unwrap();
        assert_eq!(store.parked_for(&BTreeSet::from([invoice("inv_9"), client("c_2")])).await.unwrap(), [pi("pi_b")]);
        assert_eq!((money_left("c_1").await, money_left("c_2").await), (BTreeSet::from([pi("pi_a")]), BTreeSet::new()));
    }
}
