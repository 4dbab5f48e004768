//! The guard: what is read immediately before a card is charged, and the first reason that forbids it (design.md section 5).
//!
//! Must not: charge. A read that fails is no permission: nothing is charged then.

use super::{as_success, client_forbids, invoices_of, would_pay};
use crate::app::App;
use crate::failure::Unfinished;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::error::CallError;
use vesper_adapters::stripe::client::PaymentIntentNow;
use vesper_core::ids::{ClientId, InvoiceId, PaymentId};
use vesper_core::matching::open::standing;
use vesper_core::money::Minor;
use vesper_core::movement::MovementKind;
use vesper_core::payment::PaymentState;
use vesper_core::recovery::{Recovery, StopReason};
use vesper_core::review::Status;
use vesper_core::world::World;

/// What the guard says.
pub(super) enum Verdict {
    /// The card may be charged now; the versions it was decided on.
    Go(Box<Go>),
    /// It may not, for good.
    Stop(StopReason),
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

/// Reads and judges.
pub(super) async fn look(app: &App, recovery: &Recovery) -> Result<Verdict, Unfinished> {
    let intent = match app.stripe.payment_intent(recovery.payment()).await {
        Ok(intent) => intent,
        Err(e) => return Ok(unread(&e)),
    };
    let success = as_success(&recovery.failure);
    let mut loaded = app.store.load_for(&success).await?;
    let mut void = BTreeSet::new();
    for (id, _) in &recovery.invoices {
        match read_invoice(app, id, &mut loaded.world).await {
            Ok(Some(is_void)) => {
                if is_void {
                    void.insert(id.clone());
                }
            }
            Ok(None) => {
                void.insert(id.clone());
            }
            Err(e) => return Ok(unread(&e)),
        }
    }
    if let Some(reason) = first_reason(app, recovery, &intent, &loaded, &void).await? {
        return Ok(Verdict::Stop(reason));
    }
    match other_money(app, recovery, &loaded).await {
        Ok(true) => return Ok(Verdict::Stop(StopReason::OtherMoney)),
        Ok(false) => {}
        Err(Unfinished::Call(e)) => return Ok(unread(&e)),
        Err(e) => return Err(e),
    }
    match intent.status.as_str() {
        "requires_payment_method" | "requires_confirmation" => {}
        "processing" | "requires_capture" => return Ok(Verdict::NotNow("Stripe is still processing an earlier attempt")),
        _ => return Ok(Verdict::Stop(StopReason::NeedsClient)),
    }
    let now = would_pay(app, &loaded.world, &success, recovery.first_failed_at);
    let same = invoices_of(&now).is_some_and(|i| i == recovery.invoices) && intent.amount == recovery.failure.amount;
    if !same {
        return Ok(Verdict::Stop(StopReason::Changed));
    }
    Ok(Verdict::Go(Box::new(Go { loaded, intent })))
}

fn unread(e: &CallError) -> Verdict {
    Verdict::CannotRead(e.to_string())
}

/// The invoice as it is this moment; whether it is void. None: the EHR has it no more.
async fn read_invoice(app: &App, id: &InvoiceId, world: &mut World) -> Result<Option<bool>, CallError> {
    let Some(bridge) = &app.ehr.bridge else {
        let void = world.invoice(id).and_then(|f| f.invoice.as_ref()).map(|i| i.void);
        return Ok(void);
    };
    let Some(mut invoice) = bridge.invoice(id, app.host.real_unix_s()).await? else { return Ok(None) };
    let is_void = invoice.void;
    // Read this moment: it is the newest there is, whatever its place in the feed.
    invoice.seen.seq = u64::MAX;
    world.apply_invoice(invoice);
    Ok(Some(is_void))
}

/// The stop reasons in their order, up to coverage.
async fn first_reason(
    app: &App,
    recovery: &Recovery,
    intent: &PaymentIntentNow,
    loaded: &Loaded,
    void: &BTreeSet<InvoiceId>,
) -> Result<Option<StopReason>, Unfinished> {
    let open = |id: &InvoiceId| loaded.world.invoice(id).and_then(standing).map_or(Minor::ZERO, |s| s.share.open);
    let nothing_open = recovery.invoices.iter().any(|(id, _)| !void.contains(id) && open(id).is_zero());
    if intent.status == "succeeded" || nothing_open {
        return Ok(Some(StopReason::Paid));
    }
    if intent.status == "canceled" {
        return Ok(Some(StopReason::Canceled));
    }
    if !void.is_empty() {
        return Ok(Some(StopReason::Void));
    }
    if disputed(app, recovery, loaded).await? {
        return Ok(Some(StopReason::Disputed));
    }
    let (payer, concerned) = who(app, recovery, loaded);
    Ok(client_forbids(app, &loaded.world, payer.as_ref(), &concerned))
}

fn who(app: &App, recovery: &Recovery, loaded: &Loaded) -> (Option<ClientId>, Vec<ClientId>) {
    let success = as_success(&recovery.failure);
    let payer = would_pay(app, &loaded.world, &success, recovery.first_failed_at).payer;
    let owners = recovery.invoices.iter().filter_map(|(id, _)| loaded.world.invoice(id)?.invoice.as_ref().map(|i| i.client.clone()));
    let concerned = owners.chain(payer.clone()).collect();
    (payer, concerned)
}

/// A dispute touches one of the invoices: a payment of it is disputed.
async fn disputed(app: &App, recovery: &Recovery, loaded: &Loaded) -> Result<bool, Unfinished> {
    let on = |id: &InvoiceId| loaded.world.invoice(id).into_iter().flat_map(|f| &f.allocations).map(|a| a.payment.clone());
    let payments: BTreeSet<PaymentId> = recovery.invoices.iter().flat_map(|(id, _)| on(id)).collect();
    for payment in payments {
        let file = app.store.payment_file(&payment).await?;
        let is_out = |m: &vesper_core::movement::Movement| m.kind == MovementKind::Dispute && m.out.is_positive();
        if file.movements.iter().any(|m| is_out(&m.item.movement)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Other money of the paying client is on its way: parked, in an open review, unapplied credit, or at Stripe.
async fn other_money(app: &App, recovery: &Recovery, loaded: &Loaded) -> Result<bool, Unfinished> {
    let mut candidates: BTreeSet<PaymentId> = loaded.money_left.clone();
    if let Some(customer) = recovery.customer() {
        candidates.extend(app.store.money_left_of(customer).await?);
    }
    candidates.remove(recovery.payment());
    for payment in candidates {
        if has_money_left(app, &payment).await? {
            return Ok(true);
        }
    }
    let Some(customer) = recovery.customer() else { return Ok(false) };
    let at_stripe = app.stripe.other_payments(customer, recovery.first_failed_at).await?;
    let moving = |status: &str| matches!(status, "succeeded" | "processing" | "requires_capture");
    Ok(at_stripe.iter().any(|(id, status)| id != recovery.payment() && moving(status)))
}

async fn has_money_left(app: &App, id: &PaymentId) -> Result<bool, Unfinished> {
    let Some(read) = app.store.payment(id).await? else { return Ok(false) };
    let payment = &read.item.payment;
    match payment.state {
        PaymentState::Parked | PaymentState::Review => Ok(true),
        PaymentState::BeforeGoLive => Ok(false),
        PaymentState::Decided if payment.credit.is_positive() => Ok(true),
        PaymentState::Decided if payment.unapplied.is_positive() => {
            let about = app.store.reviews_about(id.as_str()).await?;
            Ok(about.iter().any(|r| r.item.review.status == Status::Open))
        }
        PaymentState::Decided => Ok(false),
    }
}
