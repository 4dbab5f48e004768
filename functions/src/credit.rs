//! credit: what of a client's credit pays his later invoices by rule (`matching.apply_credit = "oldest_first"`).
//!
//! Looked at when money becomes client credit, and when a record of the client arrives. That it is to be looked at stands in the
//! table, so a lost message loses nothing. Each application is one transaction on the client's version: a card payment that is
//! decided for the same invoice at the same moment and this cannot both commit, nor this and a charge of a failed card.
//! Must not: touch money of an open review, an invoice that a card is being charged for, or money that a person took back.

use crate::app::App;
use crate::changes::Changes;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use jiff::SignedDuration;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{CreditLook, StoredPayment};
use vesper_core::credit::{may_flow, oldest_first, owner};
use vesper_core::ids::{ClientId, InvoiceId, PaymentId};
use vesper_core::matching::Allocate;
use vesper_core::money::Minor;
use vesper_core::payment::Dates;
use vesper_core::policy::ApplyCredit;
use vesper_core::review::Status;

/// What is in the way of some credit is looked at again after so long, in hours.
const AGAIN_H: i64 = 6;

/// What one look came to.
enum Came {
    /// Something was applied: there may be more.
    Applied,
    /// Nothing fits.
    Nothing,
    /// Some credit waits for the answer to a review, or for the end of a charge.
    Held,
}

/// Looks at the credit of these clients, of whom records arrived.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn look_at_all(app: &App, clients: &BTreeSet<ClientId>) -> Result<(), Unfinished> {
    if app.policy.apply_credit == ApplyCredit::ByHand {
        return Ok(());
    }
    for client in clients {
        look(app, client).await?;
    }
    Ok(())
}

/// Applies what fits of a client's credit.
///
/// # Errors
/// When the store or a queue does not answer.
pub async fn look(app: &App, client: &ClientId) -> Result<(), Unfinished> {
    let mut tries = 0;
    loop {
        match look_once(app, client).await {
            Err(e) if e.is_conflict() && tries < TRIES_ON_CONFLICT => {
                after_conflict(tries, app.host.random()).await;
                tries += 1;
            }
            Err(e) if e.is_conflict() => return Err(Unfinished::Contended { subject: client.to_string() }),
            Err(e) => return Err(e),
            Ok(Came::Applied) => tries = 0,
            Ok(Came::Nothing | Came::Held) => return Ok(()),
        }
    }
}

async fn look_once(app: &App, client: &ClientId) -> Result<Came, Unfinished> {
    // Read before the money: whoever stores more credit meanwhile puts another row here.
    let row = app.store.credit_look(client).await?;
    let came = match app.policy.apply_credit {
        ApplyCredit::OldestFirst => apply(app, client).await?,
        ApplyCredit::ByHand => Came::Nothing,
    };
    let Some(mut row) = row else { return Ok(came) };
    match came {
        Came::Applied => {}
        Came::Nothing => {
            let mut changes = Changes::new(app, app.now());
            changes.unit.remove_read(&row);
            changes.commit().await?;
        }
        Came::Held => {
            let later = app.now().saturating_add(SignedDuration::from_hours(AGAIN_H)).unwrap_or(row.item.at);
            row.item = CreditLook { client: client.clone(), at: later };
            app.store.save(&mut row).await?;
        }
    }
    Ok(came)
}

/// Applies the credit of the oldest payment that has some and that nothing holds.
async fn apply(app: &App, client: &ClientId) -> Result<Came, Unfinished> {
    let ids = app.store.money_left_of_client(client).await?;
    if ids.is_empty() {
        return Ok(Came::Nothing);
    }
    // The version before the candidates, the candidates before the money.
    let loaded = app.store.load_partitions_of(BTreeSet::from([client.clone()])).await?;
    let mut payments = with_credit(app, client, ids).await?;
    payments.sort_by(|a, b| {
        let place = |r: &Read<StoredPayment>| (r.item.payment.charged_at, r.item.payment.id().clone());
        place(a).cmp(&place(b))
    });
    let mut held = false;
    for read in payments {
        let fits = oldest_first(&loaded.world, client, &read.item.payment, &BTreeSet::new());
        if fits.is_empty() {
            continue;
        }
        if is_asked_about(app, read.item.payment.id()).await? {
            held = true;
            continue;
        }
        let charged = claimed(app, &fits).await?;
        held |= !charged.is_empty();
        let fits = oldest_first(&loaded.world, client, &read.item.payment, &charged);
        if !fits.is_empty() {
            commit(app, read, &loaded, &fits).await?;
            return Ok(Came::Applied);
        }
    }
    Ok(if held { Came::Held } else { Came::Nothing })
}

async fn with_credit(app: &App, client: &ClientId, ids: BTreeSet<PaymentId>) -> Result<Vec<Read<StoredPayment>>, Unfinished> {
    let mut payments = app.store.payments(ids).await?;
    payments.retain(|r| may_flow(&r.item.payment) && owner(&r.item.payment).as_ref() == Some(client));
    Ok(payments)
}

async fn is_asked_about(app: &App, payment: &PaymentId) -> Result<bool, Unfinished> {
    let reviews = app.store.reviews_about(payment.as_str()).await?;
    Ok(reviews.iter().any(|r| r.item.review.status == Status::Open))
}

/// Which of these invoices a recovery holds: a card is being charged for them.
async fn claimed(app: &App, allocations: &[Allocate]) -> Result<BTreeSet<InvoiceId>, Unfinished> {
    let mut held = BTreeSet::new();
    for allocate in allocations {
        if app.store.claim(&allocate.invoice).await?.is_some() {
            held.insert(allocate.invoice.clone());
        }
    }
    Ok(held)
}

async fn commit(app: &App, mut read: Read<StoredPayment>, loaded: &Loaded, allocations: &[Allocate]) -> Result<(), Unfinished> {
    let now = app.now();
    let today = app.local_date(now);
    let payment = &mut read.item.payment;
    let step = payment.apply_credit(allocations, Dates { money: today, decision: today });
    debug_assert!(payment.check().is_ok(), "invariant 1 before the write");
    let mut changes = Changes::new(app, now);
    changes.allocate(payment, &step);
    loaded.bump_all(&mut changes.unit);
    let paid = Minor::sum(allocations.iter().map(|a| a.amount));
    let invoices: Vec<String> = allocations.iter().map(|a| format!("{} {}", a.invoice, a.amount)).collect();
    changes.audit("applied_credit", payment.id().as_str(), &format!("oldest first: {}", invoices.join(", ")));
    tracing::info!(payment.id = %payment.id(), amount_minor = paid.get(), "client credit was applied");
    changes.unit.update(&read);
    changes.commit().await
}
