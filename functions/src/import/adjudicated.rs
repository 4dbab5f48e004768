//! An invoice voided, or its client charge lowered, after a payment was applied: the decision stays, the excess becomes client
//! credit by an entry of its own (void: a person is told, too). Never an automatic charge.

use super::records::Rows;
use crate::app::App;
use crate::changes::{Ask, Changes};
use crate::failure::Unfinished;
use vesper_core::matching::open::standing;
use vesper_core::money::Minor;
use vesper_core::payment::Dates;
use vesper_core::records::Invoice;
use vesper_core::review::{Question, Reason};
use vesper_core::world::World;

/// Follows a new version of an invoice.
pub(super) async fn follow(
    app: &App,
    changes: &mut Changes<'_>,
    after: &World,
    old: Option<&Invoice>,
    new: &Invoice,
    rows: &mut Rows,
) -> Result<(), Unfinished> {
    let Some(old) = old else { return Ok(()) };
    let voided = new.void && !old.void;
    let lowered = new.client_share.charge < old.client_share.charge;
    let Some(file) = after.invoice(&new.id).filter(|_| voided || lowered) else { return Ok(()) };
    let mut excess = if voided {
        Minor::sum(file.allocations.iter().map(vesper_core::world::Allocation::net))
    } else {
        standing(file).map_or(Minor::ZERO, |s| s.excess)
    };
    // Newest first: the oldest allocation keeps its place.
    for allocation in file.allocations.iter().rev() {
        let part = allocation.net().min(excess);
        if !part.is_positive() {
            continue;
        }
        excess = excess.minus(part);
        to_credit(app, changes, allocation, part, rows).await?;
        if voided {
            let question = Question::new(Reason::VoidInvoice, vec![], "an invoice that this payment paid was voided; its money is client credit now");
            let salt = format!("voided {}", new.id);
            changes.ask(Ask::about_payment(&allocation.payment, question, &salt)).await?;
        }
    }
    Ok(())
}

async fn to_credit(
    app: &App,
    changes: &mut Changes<'_>,
    allocation: &vesper_core::world::Allocation,
    amount: Minor,
    rows: &mut Rows,
) -> Result<(), Unfinished> {
    let Some(mut read) = app.store.payment(&allocation.payment).await? else { return Ok(()) };
    let Some(n) = read.item.payment.shares.iter().find(|s| s.invoice == allocation.invoice && s.net() >= amount).map(|s| s.n) else {
        return Ok(());
    };
    let key = (allocation.payment.to_string(), n);
    if !rows.contains_key(&key) {
        let Some(row) = app.store.allocation(&allocation.client, &allocation.payment, n).await? else { return Ok(()) };
        rows.insert(key.clone(), row);
    }
    let today = app.local_date(changes.now());
    let step = read.item.payment.excess_to_credit(n, amount, Dates { money: today, decision: today });
    if let Some(row) = rows.get_mut(&key) {
        row.item.allocation.reversed = row.item.allocation.reversed.plus(amount);
    }
    changes.allocate(&read.item.payment, &step);
    changes.audit("excess_to_credit", allocation.payment.as_str(), &format!("{amount} of {}", allocation.invoice));
    changes.unit.update(&read);
    Ok(())
}
