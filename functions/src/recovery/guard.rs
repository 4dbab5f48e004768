//! What the guard reads immediately before a card is charged. The judgement is the core's (`vesper_core::recovery::guard`).
//!
//! Must not: judge or charge. A read that fails is no permission: nothing is charged then.

use crate::app::App;
use crate::failure::Unfinished;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::error::CallError;
use vesper_adapters::stripe::client::PaymentIntentNow;
use vesper_core::ids::{ClientId, InvoiceId, PaymentId};
use vesper_core::matching::open::standing;
use vesper_core::matching::{Case, Decision, Look, decide};
use vesper_core::money::Minor;
use vesper_core::recovery::guard::{as_success, forbids, has_money_left, invoices_of, is_disputed, is_moving};
use vesper_core::recovery::{GuardFacts, GuardVerdict, InvoiceNow, OtherMoney, Recovery, StopReason, guard};
use vesper_core::review::Status;
use vesper_core::world::World;

/// How long before the failed PaymentIntent another one may have been made and still be paid late, in hours.
const OTHERS_SINCE_H: i64 = 30 * 24;

/// What the guard says.
pub(super) enum Verdict {
    /// The card may be charged now; the versions it was decided on.
    Go(Box<Go>),
    /// It may not, for good.
    Stop(StopReason, String),
    /// Stripe is at it, or somebody must act: look again later.
    NotNow(&'static str),
    /// Something could not be read: nothing is charged, the rung is kept for today.
    CannotRead(String),
}

/// What the permission rests on.
pub(super) struct Go {
    /// The clients that were looked at.
    pub loaded: Loaded,
    /// The PaymentIntent as it was read.
    pub intent: PaymentIntentNow,
}

/// What `decide` would give this PaymentIntent now. `event_at`: the failed event's `created`.
pub(super) fn would_pay(app: &App, world: &World, recovery: &Recovery) -> Decision {
    let success = as_success(&recovery.failure);
    let local_date = app.local_date(recovery.first_failed_at);
    let case = Case { success: &success, amount: success.amount, local_date, look: Look::First };
    decide(world, &case, &app.policy.matching)
}

/// What the paying client, and those whose invoices these are, forbid.
pub(super) fn clients_forbid(app: &App, world: &World, payer: Option<&ClientId>, billed: &[ClientId]) -> Option<StopReason> {
    let billed: Vec<_> = billed.iter().filter(|c| Some(*c) != payer).filter_map(|c| world.client(c)).collect();
    forbids(payer.and_then(|p| world.client(p)), &billed, &app.policy.retry)
}

/// Reads and asks the core.
pub(super) async fn look(app: &App, recovery: &Recovery) -> Result<Verdict, Unfinished> {
    match facts_and_verdict(app, recovery).await {
        Err(Unfinished::Call(e)) => {
            tracing::warn!(payment.id = %recovery.payment(), problem = %e, "the guard could not read");
            // Without the status and the request's id: the same problem is one note in the log that a person reads.
            Ok(Verdict::CannotRead(format!("{} at {}", e.attempted, e.system)))
        }
        other => other,
    }
}

async fn facts_and_verdict(app: &App, recovery: &Recovery) -> Result<Verdict, Unfinished> {
    let intent = app.stripe.payment_intent(recovery.payment()).await?;
    // The versions are read before anything that they protect.
    let mut loaded = app.store.load_for(&as_success(&recovery.failure)).await?;
    let mut invoices = Vec::new();
    for (id, _) in &recovery.invoices {
        let Some(void) = read_invoice(app, id, &mut loaded.world).await? else {
            return Ok(Verdict::CannotRead("this EHR cannot be asked for an invoice".to_owned()));
        };
        let open = loaded.world.invoice(id).and_then(standing).map_or(Minor::ZERO, |s| s.share.open);
        invoices.push(InvoiceNow { void, open });
    }
    let decision = would_pay(app, &loaded.world, recovery);
    let owner = |id: &InvoiceId| loaded.world.invoice(id)?.invoice.as_ref().map(|i| i.client.clone());
    let billed: Vec<ClientId> = recovery.invoices.iter().filter_map(|(id, _)| owner(id)).collect();
    let payer = decision.payer.as_ref().or(billed.first());
    let mut facts = GuardFacts {
        intent_status: intent.status.clone(),
        intent_amount: intent.amount,
        invoices,
        disputed: disputed(app, recovery, &loaded).await?,
        forbidden: clients_forbid(app, &loaded.world, payer, &billed),
        other_money: OtherMoney::NotRead,
        gives: invoices_of(&decision).filter(|_| intent.currency == recovery.failure.currency),
    };
    let mut verdict = guard(recovery, &facts);
    if verdict == GuardVerdict::ReadOtherMoney {
        facts.other_money = other_money(app, recovery, &loaded).await?;
        verdict = guard(recovery, &facts);
    }
    Ok(match verdict {
        GuardVerdict::Go => Verdict::Go(Box::new(Go { loaded, intent })),
        GuardVerdict::Stop { reason, why } => Verdict::Stop(reason, why),
        GuardVerdict::NotNow(why) => Verdict::NotNow(why),
        GuardVerdict::ReadOtherMoney => Verdict::CannotRead("other money was not read".to_owned()),
    })
}

/// The invoice as it is this moment, put into the world; whether it is void, which one that the EHR has no more counts as. None:
/// there is nobody to ask, so that no card may be charged for it (design.md section 2, 6: re-read at that moment).
async fn read_invoice(app: &App, id: &InvoiceId, world: &mut World) -> Result<Option<bool>, CallError> {
    let Some(bridge) = &app.ehr.bridge else { return Ok(None) };
    let Some(mut invoice) = bridge.invoice(id, app.host.real_unix_s()).await? else { return Ok(Some(true)) };
    let is_void = invoice.void;
    // Read this moment: it is the newest there is, whatever its place in the feed.
    invoice.seen.seq = u64::MAX;
    world.apply_invoice(invoice);
    Ok(Some(is_void))
}

/// A dispute touches one of the invoices: a payment of it is disputed.
async fn disputed(app: &App, recovery: &Recovery, loaded: &Loaded) -> Result<bool, Unfinished> {
    let on = |id: &InvoiceId| loaded.world.invoice(id).into_iter().flat_map(|f| &f.allocations).map(|a| a.payment.clone());
    let payments: BTreeSet<PaymentId> = recovery.invoices.iter().flat_map(|(id, _)| on(id)).collect();
    for payment in payments {
        let file = app.store.payment_file(&payment).await?;
        if file.movements.iter().any(|m| is_disputed(&m.item.movement)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Other money of the paying client: parked, in an open review, unapplied credit, or at Stripe.
async fn other_money(app: &App, recovery: &Recovery, loaded: &Loaded) -> Result<OtherMoney, Unfinished> {
    let mut candidates: BTreeSet<PaymentId> = loaded.money_left.clone();
    if let Some(customer) = recovery.customer() {
        candidates.extend(app.store.money_left_of(customer).await?);
    }
    candidates.remove(recovery.payment());
    for payment in candidates {
        let Some(read) = app.store.payment(&payment).await? else { continue };
        let reviews = app.store.reviews_about(payment.as_str()).await?;
        if has_money_left(&read.item.payment, reviews.iter().any(|r| r.item.review.status == Status::Open)) {
            return Ok(OtherMoney::OnItsWay(format!("money of the client's payment {payment} is not applied yet")));
        }
    }
    at_stripe(app, recovery).await
}

/// Another PaymentIntent of the customer that has taken money, or may at any moment: any that was made since the first failure, and
/// an earlier one of which Vesper does not know (it was paid late, and nobody has told yet).
async fn at_stripe(app: &App, recovery: &Recovery) -> Result<OtherMoney, Unfinished> {
    let Some(customer) = recovery.customer() else { return Ok(OtherMoney::Nothing) };
    let since = recovery.failure.object_created.min(recovery.first_failed_at);
    let since = since.saturating_sub(SignedDuration::from_hours(OTHERS_SINCE_H)).unwrap_or(Timestamp::MIN);
    let since = since.max(app.go_live).min(recovery.first_failed_at);
    for (id, status) in app.stripe.other_payments(customer, since).await? {
        if id == *recovery.payment() || !is_moving(&status) {
            continue;
        }
        let known = app.store.payment(&id).await?.map(|p| p.item.payment.success.object_created);
        let settled_before = known.is_some_and(|created| created.as_second() < recovery.first_failed_at.as_second());
        if !settled_before {
            return Ok(OtherMoney::OnItsWay(format!("another payment of the customer, {id}, is {status} at Stripe")));
        }
    }
    Ok(OtherMoney::Nothing)
}
