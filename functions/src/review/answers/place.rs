//! Answers that say where a payment's money belongs: these invoices, another one, client credit, or somewhere outside Vesper.
//!
//! Must not: decide which; a person did.

use super::doing::Doing;
use super::money::{Money, may_place, money_of, payable};
use super::reopened::release;
use super::{Tried, or_tell, refuse};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredReview;
use vesper_core::ids::InvoiceId;
use vesper_core::money::Minor;
use vesper_core::payment::PaymentState;
use vesper_core::records::Invoice;
use vesper_core::review::Status;

/// Apply and Credit; credit is: apply to nothing, the rest becomes client credit.
pub(super) async fn apply(doing: &mut Doing<'_>, read: &Read<StoredReview>, shares: &[(InvoiceId, Minor)]) -> Tried {
    let mut homes = BTreeSet::new();
    for (invoice, _) in shares {
        homes.extend(doing.app.store.invoice_home(invoice).await?.map(|h| h.item.client));
    }
    let Some(money) = money_of(doing, read, homes).await? else { return Ok(refuse("its payment is not known")) };
    place(doing, read, money, shares).await
}

pub(super) async fn other_invoice(doing: &mut Doing<'_>, read: &Read<StoredReview>, invoice: &Invoice) -> Tried {
    let home = BTreeSet::from([invoice.client.clone()]);
    let Some(money) = money_of(doing, read, home).await? else {
        return Ok(refuse("there is no money of this payment to apply"));
    };
    let payment = &money.row.item.payment;
    let (_, open) = or_tell!(payable(&money.loaded.world, &invoice.id, payment.success.currency));
    let amount = payment.unapplied.min(open);
    if !amount.is_positive() {
        return Ok(refuse("nothing of the payment is unapplied; it can be moved on the payment's own page"));
    }
    place(doing, read, money, &[(invoice.id.clone(), amount)]).await
}

/// Allocates, makes the rest client credit, and closes what else was asked about an undecided payment.
pub(super) async fn place(
    doing: &mut Doing<'_>,
    read: &Read<StoredReview>,
    mut money: Money,
    shares: &[(InvoiceId, Minor)],
) -> Tried {
    or_tell!(may_place(&money));
    or_tell!(money.allocate(doing, shares));
    release(doing, read, &mut money, false);
    if money.undecided() {
        let payment = money.row.item.payment.id().clone();
        doing.close_others(&payment, Some(&read.item.review.id), "the payment was decided").await?;
    }
    Ok(money.store(doing))
}

pub(super) async fn resolved_elsewhere(doing: &mut Doing<'_>, read: &Read<StoredReview>) -> Tried {
    let review = &read.item.review;
    let Some(mut money) = money_of(doing, read, BTreeSet::new()).await? else { return Ok(Ok(())) };
    let payment = money.row.item.payment.id().clone();
    let others = doing.app.store.reviews_about(payment.as_str()).await?;
    let asked_elsewhere = others
        .iter()
        .map(|r| &r.item.review)
        .any(|r| r.id != review.id && r.status == Status::Open && r.question.reason.asks_where_it_belongs());
    let about_the_money = review.question.reason.asks_where_it_belongs() || !asked_elsewhere;
    let decides = money.was == PaymentState::Review && about_the_money;
    let released = release(doing, read, &mut money, false);
    if decides {
        money.payment().state = PaymentState::Decided;
        doing.close_others(&payment, Some(&review.id), "the payment was resolved elsewhere").await?;
    }
    if decides || released { Ok(money.store(doing)) } else { Ok(Ok(())) }
}
