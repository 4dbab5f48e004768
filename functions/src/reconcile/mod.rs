//! reconcile: what an event means for the practice's money. One file per kind of event.
//!
//! Must not: decide (the core does), or write to an outside system (effects do).

pub mod customers;
pub mod movements;
pub mod payments;
pub(crate) mod splits;
mod waiting;

use crate::app::App;
use crate::changes::{Ask, Changes};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::{payouts, recovery};
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredEvent;
use vesper_core::event::{Event, What};
use vesper_core::movement::Movement;
use vesper_core::review::{Question, Reason};
use waiting::HasRow;

/// Works off one event. What cannot be finished for lack of an answer waits in the table; `Err` is for crashes and bugs, and
/// for a store that does not answer: then the message itself comes again.
///
/// # Errors
/// When neither the work nor its postponement could be stored.
pub async fn event(app: &App, event: &Event) -> Result<(), Unfinished> {
    match dispatch(app, event).await {
        Ok(Done::Finished(has_row)) => waiting::finished(app, event, has_row).await,
        Ok(Done::WaitForIntent(row)) => waiting::for_an_hour(app, event, row).await,
        Err(Unfinished::Call(e)) => waiting::later(app, event, &e.to_string()).await,
        Err(e) => Err(e),
    }
}

/// How far an event got.
enum Done {
    /// All of it.
    Finished(HasRow),
    /// It is a charge whose PaymentIntent has not been heard of yet; its row, when it has waited already.
    WaitForIntent(Option<Box<Read<StoredEvent>>>),
}

async fn dispatch(app: &App, event: &Event) -> Result<Done, Unfinished> {
    match &event.what {
        What::PaymentSucceeded(success) => return payments::succeeded(app, event, success).await.map(Done::Finished),
        What::ChargeOfPayment(charge) => return charge_of_payment(app, event, charge).await,
        What::Refund(refund) => movements::heard(app, Movement::of_refund(refund)).await?,
        What::Dispute(dispute) => movements::heard(app, Movement::of_dispute(dispute)).await?,
        What::ChargeRefunded { charge, .. } => {
            for refund in app.stripe.refunds_of_charge(charge).await? {
                movements::heard(app, Movement::of_refund(&refund)).await?;
            }
        }
        What::Customer { customer, email, default_card_changed } => {
            customers::email_is(app, customer, email.clone(), event.created).await?;
            if *default_card_changed {
                recovery::default_card_changed(app, customer, event.created).await?;
            }
        }
        What::PaymentFailed(failure) => recovery::failed(app, event, failure).await?,
        What::CardRenewed { customer, payment_method } => {
            recovery::card_renewed(app, customer, payment_method, event.created).await?;
        }
        What::CustomerDeleted { customer } => customers::email_is(app, customer, None, event.created).await?,
        What::Unreadable { event_type, problem } => unreadable(app, event, event_type, problem).await?,
        // Whatever it says happened: Stripe is asked how the payout is now.
        What::Payout { payout, .. } => payouts::heard(app, payout).await?,
        What::Other { .. } => {
            tracing::info!(event.id = %event.id, "acknowledged: nothing to do for this event type");
        }
    }
    Ok(Done::Finished(HasRow::Unknown))
}

/// A charge of a PaymentIntent completes it. When an hour has passed with only the charge, the PaymentIntent is fetched.
async fn charge_of_payment(app: &App, event: &Event, charge: &vesper_core::event::Success) -> Result<Done, Unfinished> {
    let payments::Completed { is_known, row } = payments::complete(app, charge, Some(&event.id)).await?;
    let has_row = HasRow::of(row.as_deref());
    if is_known {
        return Ok(Done::Finished(has_row));
    }
    if !waiting::waited(app, row.as_deref()) {
        return Ok(Done::WaitForIntent(row));
    }
    let intent = app.stripe.payment_intent(&charge.payment).await?;
    if let Some(success) = intent.success {
        payments::succeeded(app, event, &success).await?;
    }
    Ok(Done::Finished(has_row))
}

/// An event that cannot be read becomes a question, not an endless retry.
async fn unreadable(app: &App, event: &Event, event_type: &str, problem: &str) -> Result<(), Unfinished> {
    let evidence = format!("the event of type {event_type} cannot be read: {problem}");
    for attempt in 0..TRIES_ON_CONFLICT {
        let mut changes = Changes::new(app, app.now());
        let question = Question::new(Reason::UnreadableEvent, vec![], evidence.clone());
        let subject = event.id.as_str();
        changes.ask(Ask { subject, payment: None, question, salt: "", about: None }).await?;
        match changes.commit().await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: event.id.to_string() })
}
