//! An invoice voided, or its client charge lowered, after a payment was applied: the decision stays, the excess becomes client
//! credit by an entry of its own (void: a person is told, too). Never an automatic charge.

use super::records::{Rows, place_of};
use crate::app::App;
use crate::changes::{Ask, Changes};
use crate::failure::Unfinished;
use crate::reconcile::splits;
use crate::worklist;
use std::collections::BTreeMap;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{StoredAllocation, StoredPayment};
use vesper_core::ids::PaymentId;
use vesper_core::matching::open::standing;
use vesper_core::money::Minor;
use vesper_core::payment::{Dates, Payment};
use vesper_core::records::Invoice;
use vesper_core::review::{Question, Reason};
use vesper_core::world::World;

/// The payments that give up money: one may have several allocations on the invoice.
type Payments = BTreeMap<PaymentId, Read<StoredPayment>>;

/// Follows a new version of an invoice. The allocation rows that change are returned, and `after` is corrected by them.
pub(super) async fn follow(
    app: &App,
    changes: &mut Changes<'_>,
    loaded: &Loaded,
    after: &mut World,
    old: Option<&Invoice>,
    new: &Invoice,
) -> Result<Rows, Unfinished> {
    let (mut rows, mut payments) = (Rows::new(), Payments::new());
    let Some(old) = old else { return Ok(rows) };
    let voided = new.void && !old.void;
    let lowered = new.client_share.charge < old.client_share.charge;
    let Some(file) = after.invoice(&new.id).filter(|_| voided || lowered) else { return Ok(rows) };
    let mut excess = if voided {
        Minor::sum(file.allocations.iter().map(vesper_core::world::Allocation::net))
    } else {
        standing(file).map_or(Minor::ZERO, |s| s.excess)
    };
    let of_it: Vec<&Read<StoredAllocation>> = loaded.allocations.iter().filter(|r| r.item.allocation.invoice == new.id).collect();
    // Newest first: the oldest allocation keeps its place.
    for (at, read) in of_it.iter().enumerate().rev() {
        let part = read.item.allocation.net().min(excess);
        if !part.is_positive() {
            continue;
        }
        let mut row = (*read).clone();
        if !to_credit(app, changes, &mut row, part, &mut payments).await? {
            continue;
        }
        excess = excess.minus(part);
        // The world holds them in the order of the rows.
        if let Some(allocation) = after.allocations_mut(&new.id).and_then(|all| all.get_mut(at)) {
            allocation.reversed = row.item.allocation.reversed;
        }
        if voided {
            let question = Question::new(
                Reason::VoidInvoice,
                vec![],
                "an invoice that this payment paid was voided; its money is client credit now",
            );
            let salt = format!("voided {}", new.id);
            changes.ask(Ask::about_payment(&row.item.allocation.payment, question, &salt)).await?;
        }
        rows.insert(place_of(&row.item), row);
    }
    for read in payments.values_mut() {
        pay_what_waits(app, changes, &mut read.item.payment).await?;
        changes.note_money_left(&read.item.payment);
        changes.unit.update(read);
    }
    Ok(rows)
}

/// False when the payment does not hold that much of this allocation: then nothing is changed.
async fn to_credit(
    app: &App,
    changes: &mut Changes<'_>,
    row: &mut Read<StoredAllocation>,
    amount: Minor,
    payments: &mut Payments,
) -> Result<bool, Unfinished> {
    let id = row.item.allocation.payment.clone();
    if !payments.contains_key(&id) {
        let Some(read) = changes.store().payment(&id).await? else { return Ok(false) };
        payments.insert(id.clone(), read);
    }
    let Some(read) = payments.get_mut(&id) else { return Ok(false) };
    let payment = &mut read.item.payment;
    if !payment.shares.iter().any(|s| s.n == row.item.n && s.net() >= amount) {
        return Ok(false);
    }
    let today = app.local_date(changes.now());
    let step = payment.excess_to_credit(row.item.n, amount, Dates { money: today, decision: today });
    row.item.allocation.reversed = row.item.allocation.reversed.plus(amount);
    worklist::nothing_left(&mut row.item);
    changes.allocate(payment, &step);
    changes.audit("excess_to_credit", id.as_str(), &format!("{amount} of {}", row.item.allocation.invoice));
    Ok(true)
}

/// A refund that waits for a word from where it is taken goes before client credit; what still waits can be taken from less now.
async fn pay_what_waits(app: &App, changes: &mut Changes<'_>, payment: &mut Payment) -> Result<(), Unfinished> {
    let mut movements = changes.store().payment_file(payment.id()).await?.movements;
    if movements.iter().all(|m| !m.item.movement.waiting().is_positive()) {
        return Ok(());
    }
    let reviews = changes.store().reviews_about(payment.id().as_str()).await?;
    let today = app.local_date(changes.now());
    splits::take_what_waits(changes, payment, &mut movements, &reviews, Dates { money: today, decision: today });
    splits::offer_splits(changes, payment, &movements, &reviews);
    Ok(())
}
