//! The guard: whether a card may be charged now, from what was read immediately before (design.md section 5, "Which invoices" and
//! "Claim, guard, attempt"). The first reason that holds stops it.
//!
//! Must not: read anything. Whoever reads hands over the facts; what could not be read is no fact, and no permission.

use super::ladder::local_date;
use super::{Recovery, StopReason};
use crate::event::{Failure, Success};
use crate::ids::{ClientId, InvoiceId};
use crate::matching::open::standing;
use crate::matching::{Case, Decision, Look, Stands, decide};
use crate::money::{Currency, Minor};
use crate::movement::{Movement, MovementKind};
use crate::payment::{Payment, PaymentState};
use crate::policy::{Policy, RetryPolicy, WhenUnknown};
use crate::records::{Autopay, CardConsent, Client, Coverage};
use crate::world::World;
use jiff::{SignedDuration, Timestamp};

/// How long before the failed PaymentIntent another one may have been made and still be paid late, in hours.
const OTHERS_SINCE_H: i64 = 30 * 24;

/// One of the recovery's invoices as it was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvoiceNow {
    /// Void, or not in the EHR any more.
    pub void: bool,
    /// The open client share (design.md section 4, "What is open").
    pub open: Minor,
    /// What the EHR counts as paid is explained: by what was open before, or by a payment record of its own. While it is not, money
    /// that somebody else paid may be taken for ours, and less may be open than it seems.
    pub is_clear: bool,
}

impl InvoiceNow {
    /// An invoice in a world into which it was put as it was just read; one that is not there owes nothing.
    fn of(id: &InvoiceId, void: bool, world: &World) -> InvoiceNow {
        let file = world.invoice(id);
        let Some(standing) = file.and_then(standing) else { return InvoiceNow { void, open: Minor::ZERO, is_clear: true } };
        let said_open = file.and_then(|f| f.invoice.as_ref()).map_or(Minor::ZERO, |i| i.client_share.open);
        let guessed = standing.shown.iter().zip(&standing.shown_by).any(|(shown, by)| by.is_none() && shown.is_positive());
        let open = standing.share.open;
        InvoiceNow { void, open, is_clear: !guessed && open <= said_open }
    }
}

/// Other money of the paying client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherMoney {
    /// Nobody has looked yet.
    NotRead,
    /// None.
    Nothing,
    /// Some, in a few words with its id.
    OnItsWay(String),
}

/// What was read, for [`guard`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardFacts {
    /// Stripe's `status` of the PaymentIntent.
    pub intent_status: String,
    /// What the PaymentIntent asks now.
    pub intent_amount: Minor,
    /// The recovery's invoices.
    pub invoices: Vec<InvoiceNow>,
    /// A dispute touches one of them.
    pub disputed: bool,
    /// What the clients forbid, from [`forbids`].
    pub forbidden: Option<StopReason>,
    /// Other money on its way.
    pub other_money: OtherMoney,
    /// What `decide` would give the PaymentIntent now, from [`invoices_of`].
    pub gives: Option<Vec<(InvoiceId, Minor)>>,
}

/// A PaymentIntent as it was just read.
#[derive(Clone, Copy, Debug)]
pub struct IntentNow<'a> {
    /// Stripe's `status`.
    pub status: &'a str,
    /// What it asks.
    pub amount: Minor,
    /// Of the amount.
    pub currency: Currency,
}

/// The facts, of a world into which the invoices were put as they were just read. `voids`: for each invoice of the recovery,
/// whether it is void or not in the EHR any more. Other money is not read yet.
#[must_use]
pub fn facts(
    recovery: &Recovery,
    intent: &IntentNow<'_>,
    world: &World,
    voids: &[bool],
    disputed: bool,
    policy: &Policy,
) -> GuardFacts {
    let invoices = recovery.invoices.iter().zip(voids).map(|((id, _), void)| InvoiceNow::of(id, *void, world));
    let decision = would_pay(world, recovery, policy);
    let owner = |id: &InvoiceId| world.invoice(id)?.invoice.as_ref().map(|i| i.client.clone());
    let billed: Vec<ClientId> = recovery.invoices.iter().filter_map(|(id, _)| owner(id)).collect();
    let payer = decision.payer.as_ref().or(billed.first());
    GuardFacts {
        intent_status: intent.status.to_owned(),
        intent_amount: intent.amount,
        invoices: invoices.collect(),
        disputed,
        forbidden: clients_forbid(world, payer, &billed, &policy.retry),
        other_money: OtherMoney::NotRead,
        gives: invoices_of(&decision).filter(|_| intent.currency == recovery.failure.currency),
    }
}

/// What `decide` would give this PaymentIntent now.
#[must_use]
pub fn would_pay(world: &World, recovery: &Recovery, policy: &Policy) -> Decision {
    let success = as_success(&recovery.failure);
    let local_date = local_date(recovery.first_failed_at, &policy.time_zone);
    let case = Case { success: &success, amount: success.amount, local_date, look: Look::First };
    decide(world, &case, &policy.matching)
}

/// What the client's record forbids from the start; nothing while nobody knows whose payment it is.
#[must_use]
pub fn forbids_at_first(world: &World, decision: &Decision, retry: &RetryPolicy) -> Option<StopReason> {
    let payer = decision.payer.as_ref()?;
    let billed: Vec<ClientId> = decision.allocations.iter().map(|a| a.client.clone()).collect();
    clients_forbid(world, Some(payer), &billed, retry)
}

/// What the paying client, and those whose invoices these are, forbid.
fn clients_forbid(world: &World, payer: Option<&ClientId>, billed: &[ClientId], retry: &RetryPolicy) -> Option<StopReason> {
    let billed: Vec<_> = billed.iter().filter(|c| Some(*c) != payer).filter_map(|c| world.client(c)).collect();
    forbids(payer.and_then(|p| world.client(p)), &billed, retry)
}

/// From when on other PaymentIntents of the customer are listed: any that was made since the first failure, and those some time
/// before that may have been paid late.
#[must_use]
pub fn others_since(recovery: &Recovery, go_live: Timestamp) -> Timestamp {
    let since = recovery.failure.object_created.min(recovery.first_failed_at);
    let since = since.saturating_sub(SignedDuration::from_hours(OTHERS_SINCE_H)).unwrap_or(Timestamp::MIN);
    since.max(go_live).min(recovery.first_failed_at)
}

/// Whether another PaymentIntent of the customer stands against a charge: it has taken money, or may at any moment, and was made
/// since the first failure, or Vesper does not know of it (it was paid late, and nobody has told yet). `known_created`: when it was
/// made, if Vesper knows it as a payment.
#[must_use]
pub fn is_other_money(recovery: &Recovery, status: &str, known_created: Option<Timestamp>) -> bool {
    let settled_before = known_created.is_some_and(|created| created.as_second() < recovery.first_failed_at.as_second());
    is_moving(status) && !settled_before
}

/// What the guard says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardVerdict {
    /// The card may be charged now.
    Go,
    /// It may not, for good.
    Stop {
        /// Why.
        reason: StopReason,
        /// The same with what was seen, for a person.
        why: String,
    },
    /// Stripe is at it, or the EHR: look again later.
    NotNow(&'static str),
    /// Nothing else forbids it: other money is to be read.
    ReadOtherMoney,
}

fn stop(reason: StopReason, why: impl Into<String>) -> GuardVerdict {
    GuardVerdict::Stop { reason, why: why.into() }
}

/// Judges, in the order of design.md section 5: paid, canceled, void, disputed, consent, autopay, coverage, other_money, changed.
#[must_use]
pub fn guard(recovery: &Recovery, facts: &GuardFacts) -> GuardVerdict {
    let status = facts.intent_status.as_str();
    if status == "succeeded" {
        return stop(StopReason::Paid, "the PaymentIntent has succeeded");
    }
    if facts.invoices.iter().any(|i| !i.void && !i.open.is_positive()) {
        return stop(StopReason::Paid, "nothing is open any more on an invoice that it would pay");
    }
    if status == "canceled" {
        return stop(StopReason::Canceled, "the PaymentIntent was canceled");
    }
    if facts.invoices.iter().any(|i| i.void) {
        return stop(StopReason::Void, "an invoice that it would pay is void");
    }
    if facts.disputed {
        return stop(StopReason::Disputed, "an invoice that it would pay was paid before, and that payment is disputed");
    }
    if let Some(reason) = facts.forbidden {
        return stop(reason, forbidden_words(reason));
    }
    match &facts.other_money {
        OtherMoney::NotRead => return GuardVerdict::ReadOtherMoney,
        OtherMoney::OnItsWay(what) => return stop(StopReason::OtherMoney, what.clone()),
        OtherMoney::Nothing => {}
    }
    match status {
        "requires_payment_method" | "requires_confirmation" => {}
        "processing" | "requires_capture" => return GuardVerdict::NotNow("Stripe is still at an earlier attempt"),
        other => {
            return stop(StopReason::NeedsClient, format!("the PaymentIntent is {other}: only the client can go on with it"));
        }
    }
    if facts.invoices.iter().any(|i| !i.is_clear) {
        return GuardVerdict::NotNow("the EHR does not show yet which payments of an invoice are Vesper's own");
    }
    if facts.intent_amount != recovery.failure.amount {
        return stop(StopReason::Changed, "the amount of the PaymentIntent has changed");
    }
    if recovery.invoices.is_empty() || facts.gives.as_ref() != Some(&recovery.invoices) {
        return stop(StopReason::Changed, "what it would pay is not what it was at the first failure");
    }
    GuardVerdict::Go
}

const fn forbidden_words(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Consent => "the EHR does not say that the client agreed to card charges",
        StopReason::Autopay => "the EHR charges this client's card by itself, or does not say that it does not",
        _ => "the client's coverage forbids it",
    }
}

/// What the clients forbid: consent of the paying client (nobody concerned may have withdrawn it), then autopay, then coverage of
/// everybody concerned. `payer`: None where he is not known, which is as if nothing were known of him. `billed`: the other clients
/// whose invoices are to be paid; the EHR charges the billed client, so an autopay that is not known counts for each.
#[must_use]
pub fn forbids(payer: Option<&Client>, billed: &[&Client], retry: &RetryPolicy) -> Option<StopReason> {
    let all = || payer.into_iter().chain(billed.iter().copied());
    let consent = payer.map_or(CardConsent::Unknown, |p| p.card_consent);
    let not_given = consent == CardConsent::Unknown && retry.when_consent_unknown == WhenUnknown::Ask;
    if not_given || all().any(|c| c.card_consent == CardConsent::Revoked) {
        return Some(StopReason::Consent);
    }
    let not_known = payer.is_none() || all().any(|c| c.autopay == Autopay::Unknown);
    if all().any(|c| c.autopay == Autopay::On) || (not_known && retry.when_autopay_unknown == WhenUnknown::Ask) {
        return Some(StopReason::Autopay);
    }
    let barred = |c: &Client| matches!(c.coverage, Coverage::ThirdPartyBiller | Coverage::Medicaid | Coverage::Qmb);
    all().any(barred).then_some(StopReason::Coverage)
}

/// The invoices of a decision by rule 3, 5, 7 or 8 that uses the whole amount, sorted; None for anything else.
#[must_use]
pub fn invoices_of(decision: &Decision) -> Option<Vec<(InvoiceId, Minor)>> {
    let whole = decision.stands == Stands::Decided && decision.unapplied.is_zero() && decision.question.is_none();
    if !whole || !matches!(decision.rule, 3 | 5 | 7 | 8) || decision.allocations.is_empty() {
        return None;
    }
    let mut invoices: Vec<_> = decision.allocations.iter().map(|a| (a.invoice.clone(), a.amount)).collect();
    invoices.sort();
    Some(invoices)
}

/// The payment as it would be if it succeeded: what `decide` is asked about.
#[must_use]
pub fn as_success(failure: &Failure) -> Success {
    Success {
        payment: failure.payment.clone(),
        charge: None,
        customer: failure.customer.clone(),
        amount: failure.amount,
        currency: failure.currency,
        reference: failure.reference.clone(),
        receipt_email: failure.receipt_email.clone(),
        balance_transaction: None,
        object_created: failure.object_created,
    }
}

/// Whether money of this payment may still go to an invoice: parked, asked about, client credit, or left over with an open review.
#[must_use]
pub fn has_money_left(payment: &Payment, asked_about: bool) -> bool {
    match payment.state {
        PaymentState::Parked | PaymentState::Review => true,
        PaymentState::BeforeGoLive => false,
        PaymentState::Decided => payment.credit.is_positive() || (payment.unapplied.is_positive() && asked_about),
    }
}

/// Whether a PaymentIntent of this status has taken money, or may at any moment.
#[must_use]
pub fn is_moving(intent_status: &str) -> bool {
    matches!(intent_status, "succeeded" | "processing" | "requires_capture")
}

/// Whether a dispute stands: money is out, or the bank has not said what becomes of it.
#[must_use]
pub fn is_disputed(movement: &Movement) -> bool {
    let over = matches!(movement.status.as_str(), "won" | "lost" | "warning_closed" | "prevented");
    movement.kind == MovementKind::Dispute && (movement.out.is_positive() || !over)
}
