//! Stripe customers: their e-mail as a keyed hash, for rule 14. Never asked by e-mail: that would put it into a URL.

use super::payments::look_at_all;
use crate::app::App;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::task::Task;
use jiff::Timestamp;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::{Read, Unit};
use vesper_adapters::dynamo::load::{Beginning, Loaded};
use vesper_adapters::dynamo::model::{StoredCustomer, StoredEmail};
use vesper_adapters::dynamo::store::{CUSTOMERS_LISTED, Failed, Store};
use vesper_adapters::error::Class;
use vesper_core::event::Success;
use vesper_core::ids::{CustomerId, EmailHash};
use vesper_core::matching::Watch;

/// The row of a customer of whom nothing is known.
#[must_use]
pub fn unknown(customer: &CustomerId) -> Read<StoredCustomer> {
    let (told, own) = (BTreeSet::new(), None);
    let item = StoredCustomer { customer: customer.clone(), email: None, email_known: false, told_at: None, told, own };
    Read { item, rev: 0, sealed: None }
}

/// The row of an e-mail that nobody has.
#[must_use]
pub fn nobodys(email: &EmailHash) -> Read<StoredEmail> {
    let item = StoredEmail { email: email.clone(), clients: BTreeSet::new(), customers: BTreeSet::new() };
    Read { item, rev: 0, sealed: None }
}

/// An event created `at` says what a customer's e-mail is. Parked payments that wait for it are looked at again.
///
/// # Errors
/// When the store does not answer.
pub async fn email_is(app: &App, customer: &CustomerId, email: Option<EmailHash>, at: Timestamp) -> Result<(), Unfinished> {
    // Also when it is known: a crash may have come between storing it and looking.
    store_email(app, customer, email.clone(), Some(at)).await?;
    let arrived = [Some(Watch::Customer(customer.clone())), email.map(Watch::Email)];
    look_at_all(app, &arrived.into_iter().flatten().collect()).await
}

/// Stores it, unless it is known or older than what is known. `at` is None for what Stripe answered: that says nothing new once an
/// event has told, which may be newer than the answer.
async fn store_email(
    app: &App,
    customer: &CustomerId,
    email: Option<EmailHash>,
    at: Option<Timestamp>,
) -> Result<(), Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        let mut row = app.store.customer(customer).await?.unwrap_or_else(|| unknown(customer));
        let is_old = row.item.told_at.is_some_and(|newest| at.is_none_or(|at| newest > at));
        let is_news = row.item.email != email || at.is_some_and(|at| row.item.told_at != Some(at));
        if is_old || (row.item.email_known && !is_news) {
            return Ok(());
        }
        row.item.told_at = at.or(row.item.told_at);
        let mut unit = Unit::new();
        if let Some(old) = row.item.email.take().filter(|old| Some(old) != email.as_ref()) {
            let mut of_old = app.store.email(&old).await?.unwrap_or_else(|| nobodys(&old));
            of_old.item.customers.remove(customer);
            unit.update(&of_old);
        }
        if let Some(new) = &email {
            let mut of_new = app.store.email(new).await?.unwrap_or_else(|| nobodys(new));
            of_new.item.customers.insert(customer.clone());
            unit.update(&of_new);
        }
        row.item.email.clone_from(&email);
        row.item.email_known = true;
        unit.update(&row);
        match app.store.commit(unit).await.map_err(Unfinished::from) {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            other => return other,
        }
    }
    Err(Unfinished::Contended { subject: customer.to_string() })
}

/// Everything that the decision about this payment may look at, after its beginning. Stripe is asked first for a customer whose
/// e-mail is not known and whom nobody has linked to a client that counts. When it does not answer, the payment is decided without
/// it: no e-mail says whose it is, so it parks, and the next look asks again.
///
/// # Errors
/// When the store does not answer.
pub async fn load_from(app: &App, success: &Success, beginning: Box<Beginning>) -> Result<Loaded, Unfinished> {
    let loaded = Box::pin(app.store.load_from(success, beginning)).await?;
    match Box::pin(learn(app, success, &loaded)).await {
        Ok(false) => Ok(loaded),
        Ok(true) => Ok(Box::pin(app.store.load_for(success)).await?),
        Err(Unfinished::Call(e)) => {
            tracing::warn!(payment.id = %success.payment, problem = %e, "the customer's e-mail is not known for now");
            Ok(loaded)
        }
        Err(e) => Err(e),
    }
}

/// The same from the beginning, for what is decided only once.
///
/// # Errors
/// When the store does not answer, or Stripe, where it has to be asked.
pub async fn load_with_email(app: &App, success: &Success) -> Result<Loaded, Unfinished> {
    let loaded = Box::pin(app.store.load_for(success)).await?;
    if !Box::pin(learn(app, success, &loaded)).await? {
        return Ok(loaded);
    }
    Ok(Box::pin(app.store.load_for(success)).await?)
}

/// Asks Stripe for the e-mail of the payment's customer, and stores it. False when nothing need be asked.
async fn learn(app: &App, success: &Success, loaded: &Loaded) -> Result<bool, Unfinished> {
    let Some(customer) = &success.customer else { return Ok(false) };
    let known = loaded.customer.as_ref().is_some_and(|row| row.item.email_known);
    if known || !loaded.world.linked(customer).is_empty() {
        return Ok(false);
    }
    let email = match app.stripe.customer(customer).await {
        Ok(now) => now.email.filter(|_| !now.deleted),
        Err(e) if e.class == Class::NotFound => None,
        Err(e) => return Err(e.into()),
    };
    store_email(app, customer, email, None).await?;
    Ok(true)
}

/// The small fact that says how far the list was read.
const CURSOR: &str = "customers_cursor";
/// A page of the list is not begun with less time left, in seconds.
const PAGE_TAKES_S: i64 = 30;

/// Whether all of Stripe's customers were listed: only then may rule 14 link.
///
/// # Errors
/// When the store does not answer.
pub async fn all_listed(store: &Store) -> Result<bool, Failed> {
    store.customers_listed().await
}

/// Lists all of Stripe's customers, once: from then on an e-mail that one customer has is known to be unique.
///
/// # Errors
/// When Stripe or the store does not answer; it goes on from its cursor at the next call.
pub async fn list_all(app: &App) -> Result<(), Unfinished> {
    if all_listed(&app.store).await? {
        return Ok(());
    }
    loop {
        let cursor = app.store.meta::<CustomerId>(CURSOR).await?;
        let rev = cursor.as_ref().map_or(0, |c| c.rev);
        let page = app.stripe.customers_page(cursor.as_ref().map(|c| &c.item)).await?;
        for (customer, email) in &page.customers {
            store_email(app, customer, email.clone(), None).await?;
        }
        if let Some((last, _)) = page.customers.last() {
            app.store.set_meta(CURSOR, last, rev).await?;
        }
        if !page.has_more {
            break;
        }
        if !app.has_time_for(PAGE_TAKES_S) {
            return Ok(app.queues.send(Task::ListCustomersV1, 0).await?);
        }
    }
    let rev = app.store.meta::<bool>(CUSTOMERS_LISTED).await?.map_or(0, |r| r.rev);
    app.store.set_meta(CUSTOMERS_LISTED, &true, rev).await?;
    wake_all_parked(app).await
}

/// Rule 14 may link from now on: every parked payment is looked at once more.
async fn wake_all_parked(app: &App) -> Result<(), Unfinished> {
    use vesper_adapters::dynamo::item::{Stored as _, item_of};
    use vesper_adapters::dynamo::model::StoredPayment;
    use vesper_core::payment::PaymentState;
    let mut parked = Vec::new();
    let mut each = |row: vesper_adapters::dynamo::row::Row| {
        if row.kind == StoredPayment::KIND
            && let Ok(read) = item_of::<StoredPayment>(&row)
            && read.item.payment.state == PaymentState::Parked
        {
            parked.push((read.item.payment.first_delivered_at, read.item.payment.id().clone()));
        }
    };
    app.store.scan_of(&[StoredPayment::KIND], &mut each).await?;
    parked.sort();
    for (_, payment) in parked {
        super::payments::look(app, &payment).await?;
    }
    Ok(())
}
