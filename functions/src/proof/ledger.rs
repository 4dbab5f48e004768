//! Sums the ledger: every posting's clearing line, the payouts, and what is not in Stripe's balance yet. One pass over the table.
//!
//! Must not: keep more of the table than what is asked for, or change a payment but to complete it.

use super::books::{CHANGED, Changed};
use crate::app::App;
use crate::failure::Unfinished;
use crate::payouts::if_any;
use crate::reconcile::payments;
use crate::switch;
use jiff::{Timestamp, civil::Date};
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::dynamo::item::{BadItem, Stored as _, item_of};
use vesper_adapters::dynamo::model::{PostingState, StoredPayment, StoredPayout, StoredPosting, StoredReview};
use vesper_adapters::dynamo::row::Row;
use vesper_core::event::Success;
use vesper_core::money::{Currency, Minor};
use vesper_core::payment::PaymentState;
use vesper_core::payout::PayoutState;
use vesper_core::posting::Account;
use vesper_core::proof::{Cause, LedgerSums};
use vesper_core::review::Status;

/// At most so many payments without a balance transaction are asked about in one night.
const UNSETTLED_MAX: usize = 500;

/// A posting whose entry in QuickBooks somebody changed.
#[derive(Clone, Debug)]
pub(super) struct Booked {
    pub posting: String,
    pub subject: String,
    pub date: Date,
    pub doc_number: Option<String>,
    pub lines: Vec<(String, Minor)>,
}

/// What a pass over the table found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub sums: LedgerSums,
    /// Payments whose balance transaction nobody told of.
    pub unsettled: Vec<Success>,
    /// Postings of which nobody knows whether QuickBooks has them.
    pub in_flight: Vec<Cause>,
    /// Our postings by QuickBooks' id, as far as they changed there.
    pub booked: BTreeMap<String, Booked>,
    /// Postings about whose change there an open question asks.
    pub asked: BTreeSet<String>,
    is_shadow: bool,
    /// Of the books.
    currency: Option<Currency>,
    /// When shadow mode's postings were closed.
    closed_at: Option<Timestamp>,
}

/// Sums everything.
///
/// # Errors
/// When the store does not answer, or holds a row that this release cannot read.
pub(super) async fn scan(app: &App, changed: &Changed) -> Result<Scan, Unfinished> {
    let (is_shadow, currency) = (app.is_shadow(), Some(app.settings.practice.currency));
    let mut scan = Scan { is_shadow, currency, closed_at: switch::switched_at(app).await?, ..Scan::default() };
    let mut bad: Option<BadItem> = None;
    let mut each = |row: Row| {
        if let Err(e) = scan.take(&row, changed) {
            bad.get_or_insert(e);
        }
    };
    let kinds = [StoredPosting::KIND, StoredPayout::KIND, StoredPayment::KIND, StoredReview::KIND];
    app.store.scan_of(&kinds, &mut each).await?;
    match bad {
        Some(bad) => Err(bad.into()),
        None => Ok(scan),
    }
}

impl Scan {
    fn take(&mut self, row: &Row, changed: &Changed) -> Result<(), BadItem> {
        match row.kind.as_str() {
            StoredPosting::KIND => self.posting(item_of::<StoredPosting>(row)?.item, changed),
            StoredPayout::KIND => self.payout(item_of::<StoredPayout>(row)?.item),
            StoredReview::KIND => self.review(row),
            StoredPayment::KIND => {
                let payment = item_of::<StoredPayment>(row)?.item.payment;
                // What is in another currency than the books is posted nowhere.
                let posted = payment.state != PaymentState::BeforeGoLive && Some(payment.success.currency) == self.currency;
                let counts = posted && payment.received().is_positive();
                if counts && payment.success.balance_transaction.is_none() && self.unsettled.len() < UNSETTLED_MAX {
                    self.unsettled.push(payment.success);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn posting(&mut self, row: StoredPosting, changed: &Changed) {
        // What shadow mode posted was closed at the switch to live. (Without books every posting is like that, and counts.)
        if row.effect.shadow && self.closed_at.is_some_and(|at| row.effect.since <= at) {
            return;
        }
        let on_clearing = row.posting.lines.iter().filter(|l| l.account == Account::StripeClearing);
        let amount = Minor::sum(on_clearing.map(|l| l.amount));
        self.sums.posted = self.sums.posted.plus(amount);
        match row.state() {
            PostingState::Confirmed => self.sums.confirmed = self.sums.confirmed.plus(amount),
            PostingState::Sent | PostingState::Unknown => {
                self.in_flight.push(Cause::NotConfirmed { posting: row.posting.id.to_string(), amount });
            }
            PostingState::Prepared => {}
        }
        if let Some(id) = row.booked_id.filter(|id| changed.ids.contains(id)) {
            let (posting, subject, date) = (row.posting.id.to_string(), row.posting.subject, row.posting.date);
            let (doc_number, lines) = (row.doc_number, row.lines);
            self.booked.insert(id, Booked { posting, subject, date, doc_number, lines });
        }
    }

    /// A question that this release cannot read is not the sums' concern.
    fn review(&mut self, row: &Row) {
        let Ok(read) = item_of::<StoredReview>(row) else { return };
        let review = read.item.review;
        if review.status == Status::Open && review.about.as_deref() == Some(CHANGED) {
            self.asked.insert(review.subject);
        }
    }

    fn payout(&mut self, row: StoredPayout) {
        if (row.shadow && !self.is_shadow) || !matches!(row.state, PayoutState::TiedOut | PayoutState::Failed) {
            return;
        }
        self.sums.tied_fees = self.sums.tied_fees.plus(row.tally.fees);
        if row.state == PayoutState::TiedOut {
            self.sums.tied_out.insert(row.id);
        }
    }
}

/// What the ledger holds of payments that are not in Stripe's balance yet. One that is there by now is completed.
///
/// # Errors
/// When Stripe or the store does not answer.
pub(super) async fn on_its_way(app: &App, unsettled: &[Success]) -> Result<Minor, Unfinished> {
    let mut sum = Minor::ZERO;
    for payment in unsettled {
        let charge = match &payment.charge {
            Some(charge) => Some(charge.clone()),
            None => if_any(app.stripe.payment_intent(&payment.payment).await)?.and_then(|p| p.latest_charge),
        };
        let Some(charge) = charge else { continue };
        match if_any(app.stripe.charge(&charge).await)?.and_then(|c| c.success) {
            Some(success) if success.balance_transaction.is_some() => {
                payments::complete(app, &success, None).await?;
            }
            Some(_) => sum = sum.plus(payment.amount),
            // Stripe does not know it, or it did not succeed: that is a difference.
            None => {}
        }
    }
    Ok(sum)
}
