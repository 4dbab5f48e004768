//! A payment with everything that an answer about it may change, and the moves of its money.
//!
//! Must not: store anything by itself (`Doing` does), or know which question is answered.

use super::doing::Doing;
use super::{Answered, refuse};
use crate::app::App;
use crate::changes::owners;
use crate::failure::Unfinished;
use crate::reconcile::splits;
use jiff::civil::Date;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{BackReason, StoredMovement, StoredPayment, StoredReview};
use vesper_core::ids::{ClientId, InvoiceId, PaymentId};
use vesper_core::matching::Allocate;
use vesper_core::matching::open::standing;
use vesper_core::money::{Currency, Minor};
use vesper_core::payment::{Dates, Payment, PaymentState, Step};
use vesper_core::records::Invoice;
use vesper_core::world::World;

/// A payment with everything that an answer about it may change.
pub(super) struct Money {
    pub(super) row: Read<StoredPayment>,
    pub(super) was: PaymentState,
    pub(super) movements: Vec<Read<StoredMovement>>,
    /// All that was ever asked about it.
    pub(super) reviews: Vec<Read<StoredReview>>,
    pub(super) loaded: Loaded,
    pub(super) dates: Dates,
}

impl Money {
    /// Loads the payment, the clients it has paid for, and `more` clients.
    pub(super) async fn load(app: &App, id: &PaymentId, more: BTreeSet<ClientId>) -> Result<Option<Money>, Unfinished> {
        let file = app.store.payment_file(id).await?;
        let Some(row) = file.payment else { return Ok(None) };
        let payment = &row.item.payment;
        let mut clients = more;
        clients.extend(owners(app, payment).await?);
        clients.extend(payment.shares.iter().map(|s| s.client.clone()));
        let dates = Dates { money: app.local_date(payment.charged_at), decision: app.local_date(app.now()) };
        let was = payment.state;
        let reviews = app.store.reviews_about(id.as_str()).await?;
        let loaded = app.store.load_clients(clients).await?;
        Ok(Some(Money { was, row, movements: file.movements, reviews, loaded, dates }))
    }

    pub(super) fn payment(&mut self) -> &mut Payment {
        &mut self.row.item.payment
    }

    pub(super) fn undecided(&self) -> bool {
        matches!(self.was, PaymentState::Review | PaymentState::Parked)
    }

    /// Allocates to these invoices, each up to what is open on it now; what is left becomes client credit.
    pub(super) fn allocate(&mut self, doing: &mut Doing<'_>, wanted: &[(InvoiceId, Minor)]) -> Result<(), Answered> {
        let payment = &self.row.item.payment;
        let sum = Minor::sum(wanted.iter().map(|(_, m)| *m));
        if sum > payment.unapplied {
            let left = amount_text(payment.unapplied, payment.success.currency);
            return refuse(format!("only {left} of the payment is left to apply"));
        }
        let mut allocates = Vec::new();
        for (id, amount) in wanted {
            let (invoice, open) = payable(&self.loaded.world, id, payment.success.currency)?;
            if *amount > open {
                return refuse(format!("only {} of invoice {id} is open now", amount_text(open, invoice.currency)));
            }
            allocates.push(Allocate {
                invoice: id.clone(),
                client: invoice.client.clone(),
                amount: *amount,
                category: invoice.category,
                closes: *amount == open,
                in_ehr: false,
            });
        }
        let dates = self.dates;
        let step = self.payment().answer(&allocates, true, dates);
        doing.changes.allocate(&self.row.item.payment, &step);
        Ok(())
    }

    /// Takes these allocations back whole: in the EHR, in the books and on the invoices.
    pub(super) fn reverse(&mut self, doing: &mut Doing<'_>, ns: &[u32]) {
        let dates = self.dates;
        let step = self.payment().take_back(ns, dates);
        self.note_taken_back(doing, &step, BackReason::Correction, dates.decision);
    }

    /// See [`splits::take_what_waits`].
    pub(super) fn take_what_waits(&mut self, doing: &mut Doing<'_>) {
        let payment = &mut self.row.item.payment;
        splits::take_what_waits(&mut doing.changes, payment, &mut self.movements, &self.reviews, self.dates);
    }

    /// See [`splits::offer_splits`].
    pub(super) fn offer_splits(&self, doing: &mut Doing<'_>) {
        splits::offer_splits(&mut doing.changes, &self.row.item.payment, &self.movements, &self.reviews);
    }

    /// `on` is the day that the EHR is told.
    pub(super) fn note_taken_back(&self, doing: &mut Doing<'_>, step: &Step, reason: BackReason, on: Date) {
        let payment = &self.row.item.payment;
        doing.changes.take_back(payment, &step.taken_back, reason, on, &self.loaded);
        doing.changes.allocate(payment, step);
        doing.freed.extend(step.taken_back.iter().filter_map(|back| {
            let share = payment.shares.iter().find(|s| s.n == back.n)?;
            let invoice = self.loaded.world.invoice(&share.invoice).and_then(|f| f.invoice.as_ref());
            Some(invoice.map_or_else(|| share.client.clone(), |i| i.client.clone()))
        }));
    }

    /// The state after something was taken back: a person must decide all of it, or what is allocated still stands.
    pub(super) fn stand_after_taking_back(&mut self) {
        let payment = self.payment();
        let nothing_left = !payment.unapplied.is_positive();
        let stands = payment.allocated().is_positive() || payment.credit.is_positive() || nothing_left;
        payment.state = if stands { PaymentState::Decided } else { PaymentState::Review };
    }

    /// Puts the payment into the transaction, with the versions of all clients that were looked at.
    pub(super) fn store(mut self, doing: &mut Doing<'_>) -> Result<(), Answered> {
        if let Err(broken) = self.payment().check() {
            tracing::error!(payment.id = %self.row.item.payment.id(), "an answer was refused: {broken}");
            return refuse(broken.to_string());
        }
        if self.was == PaymentState::Parked {
            self.row.item.look_at = None;
            doing.waits_no_more = Some(self.row.item.payment.id().clone());
        }
        self.loaded.bump_all(&mut doing.changes.unit);
        doing.changes.note_money_left(&self.row.item.payment);
        doing.changes.unit.update(&self.row);
        Ok(())
    }
}

pub(super) fn amount_text(amount: Minor, currency: Currency) -> String {
    format!("{amount} {}", currency.as_str().to_ascii_uppercase())
}

/// An invoice that a person may pay now, with what is open on it: the checks of rule 3 (design.md section 4) but ownership,
/// which the person decides.
pub(super) fn payable<'w>(world: &'w World, id: &InvoiceId, currency: Currency) -> Result<(&'w Invoice, Minor), Answered> {
    let file = world.invoice(id);
    let Some((file, invoice)) = file.and_then(|f| f.invoice.as_ref().map(|i| (f, i))) else {
        return refuse(format!("invoice {id} is not known any more"));
    };
    if world.client_record(&invoice.client).is_some() && world.client(&invoice.client).is_none() {
        return refuse(format!("the chart that invoice {id} belongs to is deleted"));
    }
    if invoice.void {
        return refuse(format!("invoice {id} is void"));
    }
    if invoice.currency != currency {
        return refuse(format!("invoice {id} is in another currency than the payment"));
    }
    let open = standing(file).map_or(Minor::ZERO, |s| s.share.open);
    if !open.is_positive() {
        return refuse(format!("nothing is open on the client share of invoice {id}"));
    }
    Ok((invoice, open))
}

/// The payment a review is about; None when there is none, or only a failed attempt of it.
pub(super) async fn money_of(
    doing: &Doing<'_>,
    read: &Read<StoredReview>,
    more: BTreeSet<ClientId>,
) -> Result<Option<Money>, Unfinished> {
    match &read.item.review.payment {
        Some(payment) => Money::load(doing.app, payment, more).await,
        None => Ok(None),
    }
}

/// Why a person cannot put this payment's money anywhere, if so.
pub(super) fn may_place(money: &Money) -> Result<(), Answered> {
    if money.was == PaymentState::BeforeGoLive {
        return refuse("the payment is older than the start with Vesper; it is not matched");
    }
    Ok(())
}
