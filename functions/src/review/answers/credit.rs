//! Client credit by a person's hand: applied to an invoice that he names, and taken back to credit again.
//!
//! Must not: move anything that is not client credit; that is `move_allocations`.

use super::corrections::{shown, still_shown};
use super::doing::Doing;
use super::money::{Money, amount_text, payable};
use super::{Answered, Tried, refuse};
use crate::app::App;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::model::BackReason;
use vesper_core::credit::RULE;
use vesper_core::ids::PaymentId;
use vesper_core::matching::Allocate;
use vesper_core::money::Minor;
use vesper_core::payment::{PaidShare, Payment};

/// Applies client credit of this payment to the invoice that was typed, up to what is open on it; whose invoice it is, the person
/// decides. `version` is the revision of the payment's row that was shown.
///
/// # Errors
/// Like [`super::answer`].
pub async fn apply_credit(app: &App, who: &str, payment: &PaymentId, version: u64, to: &str) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_apply(app, who, payment, version, to).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => return still_shown(app, payment, version, told).await,
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

/// Takes back everything that client credit of this payment has paid: it is client credit again, and no rule applies it any more.
///
/// # Errors
/// Like [`super::answer`].
pub async fn credit_back(app: &App, who: &str, payment: &PaymentId, version: u64) -> Result<Answered, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match try_back(app, who, payment, version).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Ok(Err(told)) => return still_shown(app, payment, version, told).await,
            done => return done.map(|_| Answered::Done),
        }
    }
    Err(Unfinished::Contended { subject: payment.to_string() })
}

/// The allocations that client credit made and that still stand.
#[must_use]
pub(in crate::review) fn from_credit(payment: &Payment) -> Vec<u32> {
    let of_it = |s: &&PaidShare| s.rule == RULE && s.net().is_positive();
    payment.shares.iter().filter(of_it).map(|s| s.n).collect()
}

async fn try_apply(app: &App, who: &str, id: &PaymentId, version: u64, to: &str) -> Tried {
    let Some(invoice) = app.store.invoice_typed(to).await? else { return Ok(Err(Answered::UnknownInvoice)) };
    let mut money = match shown(app, id, version, BTreeSet::from([invoice.client.clone()])).await? {
        Ok(money) => money,
        Err(told) => return Ok(Err(told)),
    };
    let payment = &money.row.item.payment;
    let (credit, currency) = (payment.credit, payment.success.currency);
    if !credit.is_positive() {
        return Ok(refuse("the payment holds no client credit"));
    }
    let open = match payable(&money.loaded.world, &invoice.id, currency) {
        Ok((_, open)) => open,
        Err(told) => return Ok(Err(told)),
    };
    let amount: Minor = credit.min(open);
    let allocate = Allocate {
        invoice: invoice.id.clone(),
        client: invoice.client.clone(),
        amount,
        category: invoice.category,
        closes: amount == open,
        in_ehr: false,
    };
    let mut doing = Doing::new(app);
    let dates = money.dates;
    let step = money.payment().apply_credit(&[allocate], dates);
    doing.changes.allocate(&money.row.item.payment, &step);
    let detail = format!("{} to {}", amount_text(amount, currency), invoice.id);
    doing.changes.audit_by(who, "applied_credit", id.as_str(), &detail);
    if let Err(told) = money.store(&mut doing) {
        return Ok(Err(told));
    }
    doing.finish().await?;
    Ok(Ok(()))
}

async fn try_back(app: &App, who: &str, id: &PaymentId, version: u64) -> Tried {
    let mut money = match shown(app, id, version, BTreeSet::new()).await? {
        Ok(money) => money,
        Err(told) => return Ok(Err(told)),
    };
    let ns = from_credit(&money.row.item.payment);
    if ns.is_empty() {
        return Ok(refuse("no client credit of this payment is applied"));
    }
    let mut doing = Doing::new(app);
    money.back_to_credit(&mut doing, &ns);
    money.take_what_waits(&mut doing);
    money.offer_splits(&mut doing);
    let detail = format!("{} allocations back to client credit", ns.len());
    doing.changes.audit_by(who, "took_back_credit", id.as_str(), &detail);
    if let Err(told) = money.store(&mut doing) {
        return Ok(Err(told));
    }
    doing.finish().await?;
    Ok(Ok(()))
}

impl Money {
    /// Takes these allocations of client credit back: in the EHR, in the books and on the invoices.
    pub(super) fn back_to_credit(&mut self, doing: &mut Doing<'_>, ns: &[u32]) {
        let dates = self.dates;
        let step = self.payment().back_to_credit(ns, dates);
        self.note_taken_back(doing, &step, BackReason::Correction, dates.decision);
    }
}
