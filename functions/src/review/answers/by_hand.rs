//! `mark_done`: a person says that he typed a worklist item into the EHR (design.md section 1).
//!
//! From then on an EHR payment of that amount shows the allocation (design.md section 4, "What is open"), and what is taken back of
//! it is an item of its own. Besides the word itself only the EHR's id of the payment can be noted: a free text would hold names.
//!
//! Must not: write to the EHR.

use super::corrections::{shown, still_shown};
use super::doing::Doing;
use super::money::{Money, amount_text};
use super::{Answered, Tried, or_tell, refuse};
use crate::app::App;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredReversal;
use vesper_core::ids::{EhrPaymentId, PaymentId};
use vesper_core::money::Minor;
use vesper_core::review::Status;

/// Marks the item with this effect done. `version` is the revision of the payment's row that was shown; `ehr_payment` the EHR's id of
/// what was typed in, empty where nobody noted it.
///
/// # Errors
/// When the store or a queue does not answer, or others kept changing the same clients.
pub async fn mark_done(
    app: &App,
    who: &str,
    payment: &PaymentId,
    version: u64,
    effect: &str,
    ehr_payment: &str,
) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_mark(app, who, payment, version, effect, ehr_payment.trim()).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => return still_shown(app, payment, version, told).await,
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

async fn try_mark(app: &App, who: &str, id: &PaymentId, version: u64, effect: &str, typed: &str) -> Tried {
    let ehr_payment = or_tell!(ehr_id(typed));
    let mut money = or_tell!(shown(app, id, version, BTreeSet::new()).await?);
    let mut doing = Doing::new(app);
    let noted = ehr_payment.as_ref().map(|id| format!(", EHR payment {id}")).unwrap_or_default();
    let what = match typed_in(&mut money, &mut doing, id, effect, ehr_payment) {
        Some(what) => what,
        None => match reversal(app, &money, id, effect).await? {
            Some(mut read) => {
                read.item.effect.succeed();
                doing.changes.unit.update(&read);
                let amount = amount_text(read.item.amount, read.item.currency);
                format!("took back {amount} on {}", read.item.invoice)
            }
            None => return Ok(Err(Answered::Stale)),
        },
    };
    for read in app.store.reviews_about(effect).await?.iter().filter(|r| r.item.review.status == Status::Open) {
        doing.changes.close_review(read, "a person typed it into the EHR");
    }
    doing.changes.audit_by(who, "typed_in", id.as_str(), &format!("{what}{noted}"));
    or_tell!(money.store(&mut doing));
    doing.finish().await?;
    Ok(Ok(()))
}

/// The open item of a payment is done: what stands in the EHR now is what was left of it. Its invoice may be open by more than was
/// thought: parked payments are looked at again. None: no such item is open.
fn typed_in(
    money: &mut Money,
    doing: &mut Doing<'_>,
    id: &PaymentId,
    effect: &str,
    ehr_payment: Option<EhrPaymentId>,
) -> Option<String> {
    let is_it = |e: &vesper_core::effect::Effect| e.id.as_str() == effect;
    let of_it = money.loaded.allocations.iter_mut().filter(|r| r.item.allocation.payment == *id);
    let row = of_it.filter(|r| r.item.is_worklist_item()).find(|r| r.item.effect.as_ref().is_some_and(is_it))?;
    let allocation = &mut row.item.allocation;
    let left = allocation.net();
    allocation.amount = left;
    allocation.reversed = Minor::ZERO;
    allocation.typed_in = true;
    let what = format!("{} on {}", amount_text(left, row.item.currency), allocation.invoice);
    doing.freed.insert(allocation.client.clone());
    row.item.ehr_payment = ehr_payment.or_else(|| row.item.ehr_payment.take());
    if let Some(effect) = row.item.effect.as_mut() {
        effect.succeed();
    }
    doing.changes.unit.update(row);
    Some(what)
}

async fn reversal(app: &App, money: &Money, id: &PaymentId, effect: &str) -> Result<Option<Read<StoredReversal>>, Unfinished> {
    for client in money.loaded.versions.keys() {
        let rows = app.store.reversals(client, id).await?;
        let found = rows.into_iter().find(|r| r.item.is_worklist_item() && r.item.effect.id.as_str() == effect);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What was typed as the EHR's id, if anything: no text in which a name could stand.
fn ehr_id(typed: &str) -> Result<Option<EhrPaymentId>, Answered> {
    if typed.is_empty() {
        return Ok(None);
    }
    let plain = typed.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'));
    let id = EhrPaymentId::parse(typed).ok().filter(|_| plain && typed.bytes().any(|b| b.is_ascii_digit()));
    id.map_or_else(
        || refuse("what was typed does not look like the EHR's id of a payment; leave the field empty"),
        |id| Ok(Some(id)),
    )
}
