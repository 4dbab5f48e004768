//! What the guard reads immediately before a card is charged. The judgement is the core's (`vesper_core::recovery::guard`).
//!
//! Must not: judge or charge. A read that fails is no permission: nothing is charged then.

use crate::app::App;
use crate::failure::Unfinished;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::error::CallError;
use vesper_adapters::stripe::client::PaymentIntentNow;
use vesper_core::ids::{InvoiceId, PaymentId};
use vesper_core::recovery::guard::{
    IntentNow, as_success, facts, has_money_left, is_disputed, is_moving, is_other_money, others_since,
};
use vesper_core::recovery::{GuardVerdict, OtherMoney, Recovery, StopReason, guard};
use vesper_core::review::Status;
use vesper_core::world::World;

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
    let mut voids = Vec::new();
    for (id, _) in &recovery.invoices {
        let Some(void) = read_invoice(app, id, &mut loaded.world).await? else {
            return Ok(Verdict::CannotRead("this EHR cannot be asked for an invoice".to_owned()));
        };
        voids.push(void);
    }
    let disputed = disputed(app, recovery, &loaded).await?;
    let now = IntentNow { status: &intent.status, amount: intent.amount, currency: intent.currency };
    let mut facts = facts(recovery, &now, &loaded.world, &voids, disputed, &app.policy);
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
    for (id, status) in app.stripe.other_payments(customer, others_since(recovery, app.go_live)).await? {
        if id == *recovery.payment() || !is_moving(&status) {
            continue;
        }
        let known = app.store.payment(&id).await?.map(|p| p.item.payment.success.object_created);
        if is_other_money(recovery, &status, known) {
            return Ok(OtherMoney::OnItsWay(format!("another payment of the customer, {id}, is {status} at Stripe")));
        }
    }
    Ok(OtherMoney::Nothing)
}
