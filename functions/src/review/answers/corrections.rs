//! Corrections by a person: everything a payment paid is moved to another invoice, or taken back.
//!
//! Must not: leave money without an account: what comes back is unidentified, and a person is asked about it.

use super::again::row_named;
use super::credit::from_credit;
use super::doing::Doing;
use super::money::{Money, amount_text, may_place, payable};
use super::{Answered, Tried, or_tell, refuse};
use crate::app::App;
use crate::changes::Ask;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredReview;
use vesper_adapters::dynamo::store::WriteBack;
use vesper_core::ids::{ClientId, PaymentId};
use vesper_core::payment::PaidShare;
use vesper_core::review::{Answer, Question, Reason, Status};

/// Moves everything that is allocated to the invoice that was typed, up to what is open on it; the rest becomes client credit.
/// What already stands on that invoice stays. `version` is the revision of the payment's row that was shown.
///
/// # Errors
/// Like [`super::answer`].
pub async fn move_allocations(app: &App, who: &str, payment: &PaymentId, version: u64, to: &str) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_move(app, who, payment, version, to).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => return still_shown(app, payment, version, told).await,
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

/// Takes back all that is allocated or credited: the money is unidentified again and a person is asked (`no_invoice`).
///
/// # Errors
/// Like [`super::answer`].
pub async fn take_back(app: &App, who: &str, payment: &PaymentId, version: u64) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_take_back(app, who, payment, version).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => return still_shown(app, payment, version, told).await,
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

/// What does not fit may be what another answer did meanwhile: then that is what the person is told.
pub(super) async fn still_shown(app: &App, payment: &PaymentId, version: u64, told: Answered) -> Result<Answered, Unfinished> {
    let now = app.store.payment(payment).await?;
    Ok(if now.is_some_and(|p| p.rev == version) { told } else { Answered::Stale })
}

pub(super) async fn shown(
    app: &App,
    id: &PaymentId,
    version: u64,
    more: BTreeSet<ClientId>,
) -> Result<Result<Money, Answered>, Unfinished> {
    let Some(money) = Money::load(app, id, more).await? else { return Ok(Err(Answered::Stale)) };
    if money.row.rev != version {
        return Ok(Err(Answered::Stale));
    }
    Ok(may_place(&money).map(|()| money))
}

/// Closes what was asked about where the payment belongs, and about write-backs of what is taken back.
async fn close_questions(doing: &mut Doing<'_>, money: &Money, taken_back: &[u32], why: &str) -> Result<(), Unfinished> {
    let payment = money.row.item.payment.id();
    doing.close_others(payment, None, why).await?;
    let rows = money.loaded.allocations.iter().map(|r| &r.item);
    let of_it = rows.filter(|r| r.allocation.payment == *payment && taken_back.contains(&r.n));
    for effect in of_it.filter_map(|r| r.effect.as_ref()) {
        for read in doing.app.store.reviews_about(effect.id.as_str()).await? {
            let review = &read.item.review;
            if review.status == Status::Open && review.question.reason == Reason::WriteBackRefused {
                doing.changes.close_review(&read, why);
            }
        }
    }
    Ok(())
}

async fn try_move(app: &App, who: &str, id: &PaymentId, version: u64, to: &str) -> Tried {
    let Some(invoice) = app.store.invoice_typed(to).await? else { return Ok(Err(Answered::UnknownInvoice)) };
    let mut money = or_tell!(shown(app, id, version, BTreeSet::from([invoice.client.clone()])).await?);
    let mut doing = Doing::new(app);
    let shares = money.row.item.payment.shares.iter();
    let ns: Vec<u32> = shares.filter(|s| s.net().is_positive() && s.invoice != invoice.id).map(|s| s.n).collect();
    let currency = money.row.item.payment.success.currency;
    let (_, open) = or_tell!(payable(&money.loaded.world, &invoice.id, currency));
    money.reverse(&mut doing, &ns);
    money.take_what_waits(&mut doing);
    let amount = money.row.item.payment.unapplied.min(open);
    if !amount.is_positive() {
        return Ok(refuse("nothing of the payment can be moved there"));
    }
    or_tell!(money.allocate(&mut doing, &[(invoice.id.clone(), amount)]));
    money.offer_splits(&mut doing);
    close_questions(&mut doing, &money, &ns, "a person moved the payment").await?;
    let detail = format!("to {} {}", invoice.id, amount_text(amount, currency));
    doing.changes.audit_by(who, "moved", id.as_str(), &detail);
    or_tell!(money.store(&mut doing));
    doing.finish().await?;
    Ok(Ok(()))
}

async fn try_take_back(app: &App, who: &str, id: &PaymentId, version: u64) -> Tried {
    let mut money = or_tell!(shown(app, id, version, BTreeSet::new()).await?);
    if money.undecided() {
        return Ok(refuse("the payment is not decided; there is nothing to take back"));
    }
    let payment = &money.row.item.payment;
    let back = payment.allocated().plus(payment.credit);
    if !payment.allocated().plus(payment.unapplied).is_positive() {
        return Ok(refuse("nothing is left of the payment"));
    }
    let currency = payment.success.currency;
    let ns: Vec<u32> = payment.shares.iter().filter(|s| s.net().is_positive()).map(|s| s.n).collect();
    let mut doing = Doing::new(app);
    money.reverse(&mut doing, &ns);
    let dates = money.dates;
    let step = money.payment().uncredit(dates);
    doing.changes.allocate(&money.row.item.payment, &step);
    money.take_what_waits(&mut doing);
    money.stand_after_taking_back();
    close_questions(&mut doing, &money, &ns, "a person took the payment back").await?;
    ask_where_it_belongs(&mut doing, &money).await?;
    doing.changes.audit_by(who, "took_back", id.as_str(), &amount_text(back, currency));
    or_tell!(money.store(&mut doing));
    doing.finish().await?;
    Ok(Ok(()))
}

/// `take_back` on a write-back that was refused, and on an allocation that the EHR does not show.
pub(super) async fn undo(doing: &mut Doing<'_>, read: &Read<StoredReview>) -> Tried {
    let review = &read.item.review;
    let named = match row_named(review.about.as_deref()) {
        Some(place) => doing.app.store.write_back(&place).await?,
        None => None,
    };
    let (payment, n) = match named {
        Some(WriteBack::Allocation(row)) => (Some(row.item.allocation.payment), Some(row.item.n)),
        Some(WriteBack::Reversal(_)) => return Ok(refuse("this is a reversal; it cannot be taken back")),
        None => (review.payment.clone(), None),
    };
    let Some(payment) = payment else { return Ok(refuse("its allocation is not known any more")) };
    let Some(mut money) = Money::load(doing.app, &payment, BTreeSet::new()).await? else {
        return Ok(refuse("its payment is not known"));
    };
    or_tell!(may_place(&money));
    let live: Vec<&PaidShare> = money.row.item.payment.shares.iter().filter(|s| s.net().is_positive()).collect();
    let of_it = |s: &PaidShare| n.map_or_else(|| s.invoice.as_str() == review.subject, |n| s.n == n);
    let mut ns: Vec<u32> = live.iter().filter(|s| of_it(s)).map(|s| s.n).collect();
    if ns.is_empty() && n.is_none() {
        ns = live.iter().map(|s| s.n).collect(); // The EHR holds it on an invoice that is none of ours.
    }
    if ns.is_empty() {
        return Ok(Ok(())); // A refund took it back meanwhile.
    }
    let made_of_credit = from_credit(&money.row.item.payment);
    let (of_credit, ns): (Vec<u32>, Vec<u32>) = ns.into_iter().partition(|n| made_of_credit.contains(n));
    money.back_to_credit(doing, &of_credit);
    money.reverse(doing, &ns);
    money.take_what_waits(doing);
    money.offer_splits(doing);
    if ns.is_empty() {
        return Ok(money.store(doing)); // It is client credit again: there is nothing to ask.
    }
    money.stand_after_taking_back();
    let about_it = doing.app.store.reviews_about(payment.as_str()).await?;
    let asked = about_it
        .iter()
        .map(|r| &r.item.review)
        .any(|r| r.status == Status::Open && r.question.reason == Reason::NoInvoice && r.id != review.id);
    if !asked {
        ask_where_it_belongs(doing, &money).await?;
    }
    Ok(money.store(doing))
}

/// Review `no_invoice` (contracts/export.md, "Taken back by a person"), unless refunds that waited took all of it.
async fn ask_where_it_belongs(doing: &mut Doing<'_>, money: &Money) -> Result<(), Unfinished> {
    if !money.row.item.payment.unapplied.is_positive() {
        return Ok(());
    }
    let question = Question::new(Reason::NoInvoice, vec![Answer::Credit], "a person took the allocation back");
    let salt = format!("taken back {}", money.row.rev);
    doing.changes.ask(Ask::about_payment(money.row.item.payment.id(), question, &salt)).await?;
    Ok(())
}
