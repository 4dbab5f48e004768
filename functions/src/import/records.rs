//! One record of the EHR into the store: the record, the pointers to it, and the version of every client whose debts it changes.
//!
//! Must not: commit. The store it is given gathers: `import` commits several records together.

use super::adjudicated;
use crate::app::App;
use crate::changes::{After, Ask, Changes};
use crate::failure::Unfinished;
use crate::reconcile::customers::{nobodys, unknown};
use crate::task::Task;
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::dynamo::item::{Read, Unit};
use vesper_adapters::dynamo::load::Loaded;
use vesper_adapters::dynamo::model::{
    Dependent, EhrPaymentPlace, EhrReference, EhrReferenced, InvoiceHome, InvoiceNumber, SessionInvoice, StoredAllocation,
    StoredClient, StoredCustomer, StoredEhrPayment, StoredEmail, StoredInvoice, StoredReversal,
};
use vesper_adapters::dynamo::store::{RowRef, Store};
use vesper_adapters::ehr::Change;
use vesper_adapters::personal::Personal;
use vesper_core::effect::Effect;
use vesper_core::ids::{ClientId, CustomerId, EmailHash, InvoiceId, PaymentId};
use vesper_core::matching::open::standing;
use vesper_core::matching::{Watch, unknown_owner};
use vesper_core::records::{Client, EhrPayment, Invoice, Portion};
use vesper_core::review::{Answer, Question, Reason};
use vesper_core::world::{World, is_stripe_reference};

/// What a record brought.
#[derive(Default)]
pub(super) struct Taken {
    /// What may have waited for it; also when the record was known: a crash may have come in between.
    pub(super) arrived: Arrived,
    /// What is to be done once it is stored.
    pub(super) after: After,
}

/// What may have waited for records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    /// What parked payments may have waited for.
    pub(super) watches: BTreeSet<Watch>,
    /// Clients whose credit may pay something now.
    pub(super) credit_of: BTreeSet<ClientId>,
}

impl Arrived {
    /// Adds what another record brought.
    pub(super) fn and(&mut self, more: Arrived) {
        self.watches.extend(more.watches);
        self.credit_of.extend(more.credit_of);
    }

    /// `loaded` holds the partitions of these clients: where no money waits in them, there is no credit to be looked for. Money that
    /// comes to wait after they were read refuses the record's transaction, or finds the record.
    fn with(watches: BTreeSet<Watch>, loaded: &Loaded, clients: BTreeSet<ClientId>) -> Arrived {
        let credit_of = if loaded.money_left.is_empty() { BTreeSet::new() } else { clients };
        Arrived { watches, credit_of }
    }
}

impl Taken {
    fn known(arrived: Arrived) -> Taken {
        Taken { arrived, after: After::default() }
    }
}

/// Reads what these records begin with together, and not one by one.
pub(super) async fn read_ahead(store: &Store, records: &[&Change]) -> Result<(), Unfinished> {
    let (mut invoices, mut payments) = (BTreeSet::new(), BTreeSet::new());
    let (mut clients, mut billed) = (BTreeSet::new(), BTreeSet::new());
    for change in records {
        match change {
            Change::Client { client, .. } => clients.extend(client.guarantor.iter().chain([&client.id]).cloned()),
            Change::Invoice(invoice) => {
                invoices.insert(&invoice.id);
                billed.insert(invoice.client.clone());
            }
            Change::Payment(payment) => {
                invoices.insert(&payment.invoice);
                payments.insert(&payment.id);
            }
            Change::UnknownKind { .. } | Change::Unreadable { .. } => {}
        }
    }
    Ok(store.read_ahead(&invoices, &payments, clients, billed).await?)
}

/// A client's record.
pub(super) async fn client(app: &App, store: &Store, new: &Client, personal: &Personal) -> Result<Taken, Unfinished> {
    let old = store.client(&new.id).await?;
    let before = old.as_ref().map(|r| r.item.client.clone());
    let arrived = Arrived { watches: who_waited_for(new, before.as_ref()), credit_of: BTreeSet::from([new.id.clone()]) };
    if before.as_ref().is_some_and(|b| b.seen >= new.seen) {
        return Ok(Taken::known(arrived));
    }
    let guarantors = [before.as_ref().and_then(|b| b.guarantor.clone()), new.guarantor.clone()];
    let concerned = guarantors.iter().flatten().cloned().chain([new.id.clone()]);
    let loaded = store.versions_of(concerned.collect()).await?;
    let mut changes = Changes::on(app, store, app.now());
    let unit = &mut changes.unit;
    let sealed = store.seal_personal(&new.id, personal, app.nonce());
    unit.put_sealed(&StoredClient { client: new.clone() }, old.as_ref().map_or(0, |r| r.rev), Some(sealed));
    let [was, is] = guarantors;
    if was != is {
        if let Some(guarantor) = was {
            let gone = Dependent { guarantor, client: new.id.clone() };
            unit.remove(vesper_adapters::dynamo::item::Stored::key(&gone));
        }
        if let Some(guarantor) = is {
            unit.put(&Dependent { guarantor, client: new.id.clone() });
        }
    }
    loaded.bump_all(unit);
    emails(store, unit, new, before.as_ref()).await?;
    customers(&mut changes, new, before.as_ref()).await?;
    Ok(Taken { arrived, after: changes.gather().await? })
}

/// Any record of the family counts as the client's.
fn who_waited_for(new: &Client, before: Option<&Client>) -> BTreeSet<Watch> {
    let mut arrived = BTreeSet::from([Watch::Client(new.id.clone())]);
    for version in [Some(new), before].into_iter().flatten() {
        arrived.extend(version.guarantor.clone().map(Watch::Client));
        arrived.extend(version.customers.iter().cloned().map(Watch::Customer));
        arrived.extend(version.emails.iter().cloned().map(Watch::Email));
    }
    arrived
}

async fn emails(store: &Store, unit: &mut Unit, new: &Client, before: Option<&Client>) -> Result<(), Unfinished> {
    let had: BTreeSet<&EmailHash> = before.iter().flat_map(|b| &b.emails).collect();
    let has: BTreeSet<&EmailHash> = new.emails.iter().collect();
    for email in had.symmetric_difference(&has) {
        let mut row: Read<StoredEmail> = store.email(email).await?.unwrap_or_else(|| nobodys(email));
        if has.contains(*email) {
            row.item.clients.insert(new.id.clone());
        } else {
            row.item.clients.remove(&new.id);
        }
        unit.update(&row);
    }
    Ok(())
}

async fn customers(changes: &mut Changes<'_>, new: &Client, before: Option<&Client>) -> Result<(), Unfinished> {
    let had: BTreeSet<&CustomerId> = before.iter().flat_map(|b| &b.customers).collect();
    let has: BTreeSet<&CustomerId> = new.customers.iter().collect();
    for customer in had.symmetric_difference(&has) {
        let mut row: Read<StoredCustomer> = changes.store().customer(customer).await?.unwrap_or_else(|| unknown(customer));
        if has.contains(*customer) {
            row.item.told.insert(new.id.clone());
            contradicted(changes, &row.item, new).await?;
        } else {
            row.item.told.remove(&new.id);
        }
        changes.unit.update(&row);
    }
    Ok(())
}

/// A link made by e-mail that the EHR now contradicts: the EHR wins for later payments, and a person is told.
async fn contradicted(changes: &mut Changes<'_>, row: &StoredCustomer, told: &Client) -> Result<(), Unfinished> {
    let Some(own) = row.own.as_ref().filter(|own| **own != told.id) else { return Ok(()) };
    let family = told.guarantor.as_ref() == Some(own);
    if family {
        return Ok(());
    }
    let Some(link) = changes.store().own_link(own, &row.customer).await? else { return Ok(()) };
    let payment: &PaymentId = &link.item.payment;
    let question =
        Question::new(Reason::ClientConflict, vec![], "the EHR links the customer to another client than the e-mail did");
    changes.ask(Ask::about_payment(payment, question, told.id.as_str())).await?;
    Ok(())
}

/// An invoice's record.
pub(super) async fn invoice(app: &App, store: &Store, new: &Invoice) -> Result<Taken, Unfinished> {
    let home = store.invoice_home(&new.id).await?;
    let lived_with = home.as_ref().map(|h| h.item.client.clone());
    // Until an invoice has arrived, what is allocated to it (rule 16) stands with an owner of its own.
    let from = lived_with.clone().unwrap_or_else(|| unknown_owner(&new.id));
    let loaded = load_around(store, &new.client, Some(&from)).await?;
    let old = loaded.world.invoice(&new.id).and_then(|f| f.invoice.clone());
    let arrived =
        Arrived::with(who_waited_for_invoice(&loaded, new, old.as_ref()), &loaded, BTreeSet::from([new.client.clone()]));
    if old.as_ref().is_some_and(|o| o.seen >= new.seen) {
        return Ok(Taken::known(arrived));
    }
    let mut changes = Changes::on(app, store, app.now());
    // With its first version all that was told of it before moves to its client; from then on the EHR's payments stand there.
    let orphans = if lived_with.is_none() { store.orphan_payments(&new.id).await? } else { Vec::new() };
    if lived_with.as_ref() != Some(&new.client) {
        moved_in(store, &mut changes.unit, &loaded, &orphans, new, lived_with.as_ref()).await?;
    }
    for orphan in &orphans {
        on_another_invoice(&mut changes, &loaded, &orphan.payment).await?;
    }
    let unit = &mut changes.unit;
    let rev = if lived_with.as_ref() == Some(&new.client) { store.invoice(&new.id).await?.map_or(0, |r| r.rev) } else { 0 };
    unit.put_sealed(&StoredInvoice { invoice: new.clone() }, rev, None);
    // Also where it is as before: another invoice may have had the number meanwhile.
    if let Some(number) = new.printed_number() {
        unit.put(&InvoiceNumber { number: number.to_owned(), invoice: new.id.clone() });
    }
    sessions(unit, new, old.as_ref());
    loaded.bump_all(unit);
    let mut after = loaded.world.clone();
    for orphan in orphans {
        after.apply_ehr_payment(orphan.payment);
    }
    after.apply_invoice(new.clone());
    let mut rows = adjudicated::follow(app, &mut changes, &loaded, &mut after, old.as_ref(), new).await?;
    what_is_shown(&mut changes, &loaded, &after, &new.id, Told::Version, &mut rows).await?;
    store_rows(&mut changes, &loaded, new, rows).await?;
    Ok(Taken { arrived, after: changes.gather().await? })
}

async fn load_around(store: &Store, client: &ClientId, other: Option<&ClientId>) -> Result<Loaded, Unfinished> {
    let all: BTreeSet<ClientId> = other.cloned().into_iter().chain([client.clone()]).collect();
    Ok(store.load_partitions_of(all).await?)
}

fn who_waited_for_invoice(loaded: &Loaded, new: &Invoice, old: Option<&Invoice>) -> BTreeSet<Watch> {
    let mut arrived = BTreeSet::from([Watch::Invoice(new.id.clone())]);
    for version in [Some(new), old].into_iter().flatten() {
        arrived.extend(family_of(loaded, &version.client));
        arrived.extend(version.sessions.iter().map(|s| Watch::Session(s.id.clone())));
    }
    arrived
}

fn family_of(loaded: &Loaded, client: &ClientId) -> impl Iterator<Item = Watch> {
    let guarantor = loaded.world.client_record(client).and_then(|c| c.guarantor.clone());
    [Some(client.clone()), guarantor].into_iter().flatten().map(Watch::Client)
}

/// The invoice is new, or changed hands: its EHR payments and our allocations come with it.
async fn moved_in(
    store: &Store,
    unit: &mut Unit,
    loaded: &Loaded,
    orphans: &[StoredEhrPayment],
    new: &Invoice,
    from: Option<&ClientId>,
) -> Result<(), Unfinished> {
    let home = InvoiceHome { invoice: new.id.clone(), client: new.client.clone() };
    match store.invoice_home(&new.id).await? {
        None => unit.insert(&home),
        Some(mut read) => {
            read.item = home;
            unit.update(&read);
        }
    }
    for orphan in orphans {
        unit.remove(vesper_adapters::dynamo::item::Stored::key(orphan));
        reference(unit, &orphan.payment, Some(&new.client));
        unit.put(&place_in(&orphan.payment, &new.client));
        unit.put(&StoredEhrPayment { client: Some(new.client.clone()), payment: orphan.payment.clone() });
    }
    let Some(from) = from else { return Ok(()) };
    if let Some(file) = loaded.world.invoice(&new.id) {
        if let Some(old) = &file.invoice {
            unit.remove(vesper_adapters::dynamo::item::Stored::key(&StoredInvoice { invoice: old.clone() }));
        }
        for payment in file.payments.values() {
            let gone = StoredEhrPayment { client: Some(from.clone()), payment: payment.clone() };
            unit.remove(vesper_adapters::dynamo::item::Stored::key(&gone));
            unit.put(&StoredEhrPayment { client: Some(new.client.clone()), payment: payment.clone() });
            unit.put(&place_in(payment, &new.client));
            reference(unit, payment, Some(&new.client));
        }
    }
    Ok(())
}

fn place_in(payment: &EhrPayment, client: &ClientId) -> EhrPaymentPlace {
    EhrPaymentPlace { id: payment.id.clone(), invoice: payment.invoice.clone(), client: Some(client.clone()) }
}

/// Stores the allocations of an invoice that changed; all of them, with their reversals, move with it when it changed hands.
async fn store_rows(changes: &mut Changes<'_>, loaded: &Loaded, new: &Invoice, mut rows: Rows) -> Result<(), Unfinished> {
    for row in loaded.allocations.iter().filter(|r| r.item.allocation.invoice == new.id) {
        let changed = rows.remove(&place_of(&row.item));
        if row.item.allocation.client == new.client {
            if let Some(changed) = changed {
                changes.unit.update(&changed);
            }
            continue;
        }
        changes.unit.remove_read(row);
        let mut moved = changed.map_or_else(|| row.item.clone(), |c| c.item);
        moved.allocation.client = new.client.clone();
        changes.unit.insert(&moved);
        wake_moved(changes, RowRef::of(&moved), moved.effect.as_ref(), moved.worklist);
        let (from, payment) = (&row.item.allocation.client, &row.item.allocation.payment);
        for reversal in changes.store().reversals(from, payment).await?.into_iter().filter(|r| r.item.n == row.item.n) {
            changes.unit.remove_read(&reversal);
            let moved = StoredReversal { client: new.client.clone(), ..reversal.item };
            changes.unit.insert(&moved);
            wake_moved(changes, RowRef::of(&moved), Some(&moved.effect), moved.worklist);
        }
    }
    Ok(())
}

/// The message that is under way names the old place.
fn wake_moved(changes: &mut Changes<'_>, row: RowRef, effect: Option<&Effect>, worklist: bool) {
    if !worklist && effect.is_some_and(Effect::is_waiting) {
        changes.wake(Task::WriteBackV1 { row });
    }
}

pub(super) fn place_of(row: &StoredAllocation) -> (String, u32) {
    (row.allocation.payment.to_string(), row.n)
}

/// The pointers from its sessions to the invoice, as far as they change.
fn sessions(unit: &mut Unit, new: &Invoice, old: Option<&Invoice>) {
    let row = |i: &Invoice, s: &vesper_core::records::Session| SessionInvoice {
        session: s.id.clone(),
        invoice: i.id.clone(),
        client: i.client.clone(),
    };
    let still: BTreeSet<&str> = new.sessions.iter().map(|s| s.id.as_str()).collect();
    for gone in old.iter().flat_map(|o| &o.sessions).filter(|s| !still.contains(s.id.as_str())) {
        unit.remove(vesper_adapters::dynamo::item::Stored::key(&row(new, gone)));
    }
    // One that changed hands has them all written anew: they name the client.
    let same_hands = old.filter(|o| o.client == new.client);
    let mut there: BTreeSet<&str> = same_hands.iter().flat_map(|o| &o.sessions).map(|s| s.id.as_str()).collect();
    for session in &new.sessions {
        if there.insert(session.id.as_str()) {
            unit.put(&row(new, session));
        }
    }
}

fn reference(unit: &mut Unit, payment: &EhrPayment, client: Option<&ClientId>) {
    if is_stripe_reference(&payment.reference) {
        let (reference, id, invoice) = (payment.reference.clone(), payment.id.clone(), payment.invoice.clone());
        unit.put(&EhrReferenced { reference: reference.clone() });
        unit.put(&EhrReference { reference, id, invoice, client: client.cloned() });
    }
}

/// An EHR payment's record. One that moved to another invoice leaves the old one, whosever that is.
pub(super) async fn payment(app: &App, store: &Store, told: &EhrPayment) -> Result<Taken, Unfinished> {
    let new = without_free_text(told);
    let home = store.invoice_home(&new.invoice).await?.map(|h| h.item.client);
    let was = store.ehr_payment_place(&new.id).await?.map(|p| p.item);
    // Until an invoice has arrived, what is told of it stands with an owner of its own.
    let owner = home.clone().unwrap_or_else(|| unknown_owner(&new.invoice));
    let from = was.as_ref().map(|p| p.client.clone().unwrap_or_else(|| unknown_owner(&p.invoice)));
    let loaded = load_around(store, &owner, from.as_ref()).await?;
    let is = EhrPaymentPlace { id: new.id.clone(), invoice: new.invoice.clone(), client: home };
    let watches = who_waited_for_payment(&loaded, &new, was.iter().chain([&is]));
    let clients = was.iter().chain([&is]).filter_map(|p| p.client.clone()).collect();
    let arrived = Arrived::with(watches, &loaded, clients);
    let known = known_payment(store, &loaded, was.as_ref().unwrap_or(&is)).await?;
    if known.as_ref().is_some_and(|k| k.seen >= new.seen) {
        return Ok(Taken::known(arrived));
    }
    let first_observed_at = known.map_or(new.first_observed_at, |k| k.first_observed_at.min(new.first_observed_at));
    let new = EhrPayment { first_observed_at, ..new };
    let mut changes = Changes::on(app, store, app.now());
    put_payment(&mut changes.unit, &new, was.as_ref(), &is);
    if is.client.is_none() {
        // Its first version takes along what stands with it: what comes after that would be left behind.
        changes.unit.expect_no_home(&new.invoice);
    }
    loaded.bump_all(&mut changes.unit);
    let mut rows = Rows::new();
    let mut after = loaded.world.clone();
    after.apply_ehr_payment(new.clone());
    if is.client.is_some() {
        on_another_invoice(&mut changes, &loaded, &new).await?;
        what_is_shown(&mut changes, &loaded, &after, &new.invoice, Told::Payment, &mut rows).await?;
    }
    if let Some(was) = was.filter(|w| w.invoice != new.invoice) {
        what_is_shown(&mut changes, &loaded, &after, &was.invoice, Told::Payment, &mut rows).await?;
    }
    for row in rows.values() {
        changes.unit.update(row);
    }
    Ok(Taken { arrived, after: changes.gather().await? })
}

/// Whoever waits for its EHR reference, and for any record of the clients on whose invoices it stood and stands.
fn who_waited_for_payment<'p>(
    loaded: &Loaded,
    new: &EhrPayment,
    places: impl Iterator<Item = &'p EhrPaymentPlace>,
) -> BTreeSet<Watch> {
    let mut arrived = BTreeSet::new();
    if is_stripe_reference(&new.reference) {
        arrived.insert(Watch::EhrReference(new.reference.clone()));
    }
    for place in places {
        let Some(client) = &place.client else { continue };
        arrived.extend(family_of(loaded, client));
        arrived.insert(Watch::Invoice(place.invoice.clone()));
    }
    arrived
}

/// The record that is known of the payment at this place.
async fn known_payment(store: &Store, loaded: &Loaded, place: &EhrPaymentPlace) -> Result<Option<EhrPayment>, Unfinished> {
    if place.client.is_none() {
        let orphans = store.orphan_payments(&place.invoice).await?;
        return Ok(orphans.into_iter().map(|o| o.payment).find(|p| p.id == place.id));
    }
    Ok(loaded.world.invoices().find_map(|f| f.payments.get(&place.id)).cloned())
}

/// Puts the record and the pointers to it where it stands now; the old record goes.
fn put_payment(unit: &mut Unit, new: &EhrPayment, was: Option<&EhrPaymentPlace>, is: &EhrPaymentPlace) {
    use vesper_adapters::dynamo::item::Stored as _;
    let row = StoredEhrPayment { client: is.client.clone(), payment: new.clone() };
    if let Some(was) = was {
        let payment = EhrPayment { invoice: was.invoice.clone(), ..new.clone() };
        let gone = StoredEhrPayment { client: was.client.clone(), payment }.key();
        if gone != row.key() {
            unit.remove(gone);
        }
    }
    unit.put(&row);
    reference(unit, new, is.client.as_ref());
    if was != Some(is) {
        unit.put(is);
    }
}

/// Only references that say whose payment it is are kept: a person may have typed a name into another.
fn without_free_text(told: &EhrPayment) -> EhrPayment {
    let plain = told.reference.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let stripe = is_stripe_reference(&told.reference);
    let reference = match (stripe, plain && (stripe || told.reference.starts_with("vesper_"))) {
        (_, true) => told.reference.clone(),
        // It begins like another payment's id: still no sign of one of ours.
        (true, false) => "pi_?".to_owned(),
        (false, false) => String::new(),
    };
    EhrPayment { reference, ..told.clone() }
}

/// An EHR payment with our payment's id on another invoice than ours: a person is asked, the allocation stands.
async fn on_another_invoice(changes: &mut Changes<'_>, loaded: &Loaded, new: &EhrPayment) -> Result<(), Unfinished> {
    if new.portion != Portion::Client || !new.net().is_positive() || !is_stripe_reference(&new.reference) {
        return Ok(());
    }
    // A charge's id leads to its payment by the allocations around.
    let of_charge = |r: &&Read<StoredAllocation>| r.item.allocation.charge.as_ref().is_some_and(|c| c.as_str() == new.reference);
    let by_charge = loaded.allocations.iter().find(of_charge).map(|r| r.item.allocation.payment.clone());
    let Some(id) = by_charge.or_else(|| PaymentId::parse(&new.reference).ok()) else { return Ok(()) };
    let Some(read) = changes.store().payment(&id).await? else { return Ok(()) };
    let shares = &read.item.payment.shares;
    if shares.iter().any(|s| s.net().is_positive()) && !shares.iter().any(|s| s.invoice == new.invoice) {
        disagrees(changes, &new.invoice, &id, &format!("elsewhere {}", new.id), "the EHR holds our payment on another invoice")
            .await?;
    }
    Ok(())
}

async fn disagrees(
    changes: &mut Changes<'_>,
    invoice: &InvoiceId,
    payment: &PaymentId,
    salt: &str,
    why: &str,
) -> Result<(), Unfinished> {
    let question = Question::new(Reason::EhrDisagrees, vec![Answer::Keep, Answer::Undo], why);
    let about = Some(payment.to_string());
    changes.ask(Ask { subject: invoice.as_str(), payment: Some(payment), question, salt, about }).await?;
    Ok(())
}

/// The allocation rows that a record changes, by payment and number.
pub(super) type Rows = BTreeMap<(String, u32), Read<StoredAllocation>>;

/// What the EHR told of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// A version of the invoice: it says what is paid.
    Version,
    /// A payment, which stands before the version that contains it: it may show its own allocation, but hide none.
    Payment,
}

/// Notes in `rows` which allocations the EHR shows now, and asks about those that it showed and no longer does.
async fn what_is_shown(
    changes: &mut Changes<'_>,
    loaded: &Loaded,
    after: &World,
    invoice: &InvoiceId,
    told: Told,
    rows: &mut Rows,
) -> Result<(), Unfinished> {
    let Some((file, now)) = after.invoice(invoice).and_then(|f| Some((f, standing(f)?))) else { return Ok(()) };
    // The world holds them in the order of the rows.
    let of_it = loaded.allocations.iter().filter(|r| r.item.allocation.invoice == *invoice);
    for (((allocation, shown), by), row) in file.allocations.iter().zip(&now.shown).zip(&now.shown_by).zip(of_it) {
        // What the version before this payment counts may be of one that was taken back since: only its own shows an allocation.
        let may_show = told == Told::Version || by.is_some();
        let is_shown = *shown >= allocation.net() && allocation.net().is_positive() && may_show;
        let mut row = rows.get(&place_of(&row.item)).unwrap_or(row).clone();
        if is_shown && (!allocation.shown || row.item.ehr_payment.is_none() && by.is_some()) {
            row.item.allocation.shown = true;
            row.item.ehr_payment = row.item.ehr_payment.or_else(|| by.clone());
        } else if told == Told::Version && allocation.shown && !is_shown && allocation.net().is_positive() {
            row.item.allocation.shown = false;
            let salt = format!("gone {} {}", row.item.n, row.rev);
            let why = "the EHR showed our payment and no longer does";
            disagrees(changes, invoice, &allocation.payment, &salt, why).await?;
        } else {
            continue;
        }
        rows.insert(place_of(&row.item), row);
    }
    Ok(())
}
