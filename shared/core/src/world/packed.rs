//! An invoice that owes nothing, in a few bytes: what a long backtest keeps of it.
//!
//! Kept is what a decision, a later record, a refund or a dispute may ask of it; the number on the invoice, versions, the payer
//! share and the days on which the EHR posted are not: nothing is decided by them. Must not: decide what is packed.

use super::compact::{Reader, Writer};
use super::{Allocation, InvoiceFile, is_stripe_reference};
use crate::ids::{ChargeId, ClientId, EhrPaymentId, InvoiceId, PaymentId, SessionId};
use crate::records::{Category, EhrPayment, Invoice, Method, Portion, Seen, Session, Share};
use jiff::civil::Date;
use std::collections::BTreeSet;

const METHODS: [Method; 7] = [Method::Card, Method::Ach, Method::Cash, Method::Check, Method::Eft, Method::Credit, Method::Other];

/// What a packed invoice can be found by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Label<'t> {
    /// Its id.
    Invoice(&'t str),
    /// The id of a session that it bills.
    Session(&'t str),
    /// The id of an EHR payment on it.
    Payment(&'t str),
    /// An EHR reference on it that is a Stripe id.
    Reference(&'t str),
}

impl Label<'_> {
    /// The label in 32 bits (FNV-1a) above the place: two may have the same bits, so what is found is looked at.
    fn at(self, place: u32) -> u64 {
        let (kind, text) = match self {
            Label::Invoice(text) => (b'i', text),
            Label::Session(text) => (b's', text),
            Label::Payment(text) => (b'p', text),
            Label::Reference(text) => (b'r', text),
        };
        let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let short = text.bytes().fold(step(0x811c_9dc5, kind), step);
        u64::from(short).wrapping_shl(32) | u64::from(place)
    }
}

/// All packed invoices.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    /// An empty one is free.
    places: Vec<Box<[u8]>>,
    free: Vec<u32>,
    /// The label above, the place below.
    labels: BTreeSet<u64>,
}

impl Shelf {
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Puts a file away; false for one without an invoice.
    pub(super) fn put(&mut self, file: &InvoiceFile) -> bool {
        let Some(invoice) = &file.invoice else { return false };
        let place = self.free.pop().or_else(|| {
            self.places.push(Box::default());
            u32::try_from(self.places.len().saturating_sub(1)).ok()
        });
        let Some(place) = place else { return false };
        let Some(slot) = usize::try_from(place).ok().and_then(|at| self.places.get_mut(at)) else { return false };
        *slot = pack(invoice, file);
        self.labels.extend(labels(invoice, file).map(|label| label.at(place)));
        true
    }

    /// Takes an invoice off the shelf, whole again.
    pub(super) fn take(&mut self, id: &InvoiceId) -> Option<InvoiceFile> {
        let places: Vec<u32> = self.places_of(Label::Invoice(id.as_str())).collect();
        let place = places.into_iter().find(|place| self.bytes(*place).and_then(id_in) == Some(id.as_str()))?;
        let slot = self.places.get_mut(usize::try_from(place).ok()?)?;
        let file = unpack(&std::mem::take(slot));
        self.free.push(place);
        if let Some(invoice) = &file.invoice {
            for label in labels(invoice, &file) {
                self.labels.remove(&label.at(place));
            }
        }
        Some(file)
    }

    /// The invoices that may have a label: all that have it, and perhaps another one.
    pub(super) fn labelled(&self, label: Label<'_>) -> Vec<InvoiceId> {
        let ids = self.places_of(label).filter_map(|place| id_in(self.bytes(place)?));
        ids.filter_map(|id| InvoiceId::parse(id).ok()).collect()
    }

    /// The invoice on which an EHR payment stands.
    pub(super) fn invoice_of(&self, payment: &EhrPaymentId) -> Option<InvoiceId> {
        let files = self.places_of(Label::Payment(payment.as_str())).filter_map(|place| self.bytes(place)).map(unpack);
        let mut holding = files.filter(|f| f.payments.contains_key(payment)).filter_map(|f| f.invoice);
        holding.next().map(|i| i.id)
    }

    fn places_of(&self, label: Label<'_>) -> impl Iterator<Item = u32> {
        let first = label.at(0);
        // The lower half of each is its place.
        self.labels.range(first..).map_while(move |at| u32::try_from(at.wrapping_sub(first)).ok())
    }

    fn bytes(&self, place: u32) -> Option<&[u8]> {
        self.places.get(usize::try_from(place).ok()?).map(|bytes| &**bytes)
    }
}

fn labels<'f>(invoice: &'f Invoice, file: &'f InvoiceFile) -> impl Iterator<Item = Label<'f>> {
    let sessions = invoice.sessions.iter().map(|s| Label::Session(s.id.as_str()));
    let payments = file.payments.keys().map(|id| Label::Payment(id.as_str()));
    let references =
        file.payments.values().map(|p| p.reference.as_str()).filter(|r| is_stripe_reference(r)).map(Label::Reference);
    [Label::Invoice(invoice.id.as_str())].into_iter().chain(sessions).chain(payments).chain(references)
}

/// The id stands first.
fn id_in(bytes: &[u8]) -> Option<&str> {
    Reader::new(bytes).text()
}

fn pack(invoice: &Invoice, file: &InvoiceFile) -> Box<[u8]> {
    let mut out = Writer::default();
    write_invoice(&mut out, invoice);
    // In the order in which they are matched, which also depends on their places in the feed: those are not kept.
    let mut payments: Vec<&EhrPayment> = file.payments.values().collect();
    payments.sort_by_key(|p| (p.first_observed_at, p.seen.seq));
    out.count(payments.len());
    for payment in payments {
        write_payment(&mut out, payment, invoice);
    }
    out.count(file.allocations.len());
    for allocation in &file.allocations {
        write_allocation(&mut out, allocation, invoice);
    }
    out.finish()
}

fn unpack(bytes: &[u8]) -> InvoiceFile {
    read_file(&mut Reader::new(bytes)).unwrap_or_else(|| unreachable!("what was packed can be opened"))
}

fn write_date(out: &mut Writer, date: Date) {
    let months = i64::from(date.year()).saturating_mul(12).saturating_add(i64::from(date.month()));
    // Around the year 2026 so that it is short.
    out.signed(months.saturating_sub(24_312).saturating_mul(32).saturating_add(i64::from(date.day())));
}

fn read_date(from: &mut Reader<'_>) -> Option<Date> {
    let n = from.signed()?;
    let months = n.div_euclid(32).checked_add(24_311)?;
    let (year, month) = (months.div_euclid(12).try_into().ok()?, months.rem_euclid(12).checked_add(1)?.try_into().ok()?);
    Date::new(year, month, n.rem_euclid(32).try_into().ok()?).ok()
}

fn write_invoice(out: &mut Writer, i: &Invoice) {
    out.text(i.id.as_str());
    out.text(i.client.as_str());
    out.currency(i.currency);
    write_date(out, i.issued_on);
    out.flags(&[i.void]);
    out.count(Category::ALL.iter().position(|c| *c == i.category).unwrap_or_default());
    out.count(i.sessions.len());
    for session in &i.sessions {
        out.text(session.id.as_str());
        write_date(out, session.service_date);
    }
    for part in [i.client_share.charge, i.client_share.paid, i.client_share.written_off, i.client_share.open] {
        out.amount(part);
    }
    out.time_near(i.seen.observed_at, jiff::Timestamp::UNIX_EPOCH);
}

fn read_invoice(from: &mut Reader<'_>) -> Option<Invoice> {
    Some(Invoice {
        id: InvoiceId::parse(from.text()?).ok()?,
        number: None,
        client: ClientId::parse(from.text()?).ok()?,
        currency: from.currency()?,
        issued_on: read_date(from)?,
        void: from.flags::<1>()? == [true],
        category: *Category::ALL.get(from.count()?)?,
        sessions: read_sessions(from)?,
        client_share: Share { charge: from.amount()?, paid: from.amount()?, written_off: from.amount()?, open: from.amount()? },
        payer_share: Share::default(),
        version: String::new(),
        seen: Seen { observed_at: from.time_near(jiff::Timestamp::UNIX_EPOCH)?, seq: 0 },
    })
}

fn read_sessions(from: &mut Reader<'_>) -> Option<Vec<Session>> {
    let count = from.count()?;
    let one = |_| Some(Session { id: SessionId::parse(from.text()?).ok()?, service_date: read_date(from)? });
    (0..count).map(one).collect()
}

fn write_payment(out: &mut Writer, p: &EhrPayment, invoice: &Invoice) {
    out.text(p.id.as_str());
    out.flags(&[p.portion == Portion::Client, p.currency == invoice.currency]);
    if p.currency != invoice.currency {
        out.currency(p.currency);
    }
    out.amount(p.amount);
    out.amount(p.reversed);
    out.count(METHODS.iter().position(|m| *m == p.method).unwrap_or_default());
    out.text(&p.reference);
    out.time_near(p.first_observed_at, invoice.seen.observed_at);
    out.time_near(p.seen.observed_at, p.first_observed_at);
}

fn read_payment(from: &mut Reader<'_>, invoice: &Invoice, place: u64) -> Option<EhrPayment> {
    let id = EhrPaymentId::parse(from.text()?).ok()?;
    let [of_client, same_currency] = from.flags()?;
    let currency = if same_currency { invoice.currency } else { from.currency()? };
    let (amount, reversed) = (from.amount()?, from.amount()?);
    let (method, reference) = (*METHODS.get(from.count()?)?, from.text()?.to_owned());
    let first_observed_at = from.time_near(invoice.seen.observed_at)?;
    Some(EhrPayment {
        id,
        invoice: invoice.id.clone(),
        portion: if of_client { Portion::Client } else { Portion::Payer },
        amount,
        reversed,
        currency,
        method,
        posted_on: invoice.issued_on,
        reference,
        first_observed_at,
        seen: Seen { observed_at: from.time_near(first_observed_at)?, seq: place },
    })
}

fn write_allocation(out: &mut Writer, a: &Allocation, invoice: &Invoice) {
    out.text(a.payment.as_str());
    let whose = a.client == invoice.client;
    out.flags(&[a.typed_in, a.shown, a.reopened, a.closed, a.charge.is_some(), whose, a.category == invoice.category]);
    if let Some(charge) = &a.charge {
        // `ch_` and `pi_` and then, as a rule, much of the same.
        out.text_like(charge.as_str(), &a.payment.as_str().replacen("pi_", "ch_", 1));
    }
    if !whose {
        out.text(a.client.as_str());
    }
    if a.category != invoice.category {
        out.count(Category::ALL.iter().position(|c| *c == a.category).unwrap_or_default());
    }
    out.amount(a.amount);
    out.amount(a.reversed);
    out.number(u64::from(a.rule));
    out.time_near(a.decided_at, invoice.seen.observed_at);
    out.text(&a.reference);
}

fn read_allocation(from: &mut Reader<'_>, invoice: &Invoice) -> Option<Allocation> {
    let payment = PaymentId::parse(from.text()?).ok()?;
    let [typed_in, shown, reopened, closed, has_charge, whose, category] = from.flags()?;
    let like = payment.as_str().replacen("pi_", "ch_", 1);
    let charge = if has_charge { Some(ChargeId::parse(&from.text_like(&like)?).ok()?) } else { None };
    let client = if whose { invoice.client.clone() } else { ClientId::parse(from.text()?).ok()? };
    let category = if category { invoice.category } else { *Category::ALL.get(from.count()?)? };
    Some(Allocation {
        payment,
        charge,
        invoice: invoice.id.clone(),
        client,
        amount: from.amount()?,
        reversed: from.amount()?,
        rule: from.number()?.try_into().ok()?,
        category,
        decided_at: from.time_near(invoice.seen.observed_at)?,
        reference: from.text()?.to_owned(),
        typed_in,
        shown,
        reopened,
        closed,
    })
}

fn read_file(from: &mut Reader<'_>) -> Option<InvoiceFile> {
    let invoice = read_invoice(from)?;
    let mut file = InvoiceFile::default();
    for place in 0..from.number()? {
        let payment = read_payment(from, &invoice, place)?;
        file.payments.insert(payment.id.clone(), payment);
    }
    for _ in 0..from.count()? {
        file.allocations.push(read_allocation(from, &invoice)?);
    }
    file.invoice = Some(invoice);
    from.is_at_end().then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::{Currency, Minor};

    fn minor(v: i64) -> Minor {
        Minor::new(v).unwrap()
    }

    fn seen(at: &str) -> Seen {
        Seen { observed_at: at.parse().unwrap(), seq: u64::MAX }
    }

    fn file(amount: i64, category: Category, method: Method) -> InvoiceFile {
        let id = InvoiceId::parse("inv_1").unwrap();
        let share =
            |open| Share { charge: minor(amount), paid: minor(amount - open), written_off: Minor::ZERO, open: minor(open) };
        let date: Date = "2026-02-28".parse().unwrap();
        let invoice = Invoice {
            id: id.clone(),
            number: Some("A-1 é".to_owned()),
            client: ClientId::parse("c_1").unwrap(),
            currency: Currency::USD,
            issued_on: date,
            void: amount == 0,
            category,
            client_share: share(0),
            payer_share: share(amount),
            version: String::new(),
            sessions: vec![Session { id: SessionId::parse("s 1").unwrap(), service_date: date }],
            seen: seen("2026-11-21T15:00:00.000000001Z"),
        };
        let payment = EhrPayment {
            id: EhrPaymentId::parse("pay_1").unwrap(),
            invoice: id.clone(),
            portion: Portion::Client,
            amount: minor(amount),
            reversed: minor(1),
            currency: Currency::USD,
            method,
            posted_on: date,
            reference: "x".repeat(300),
            first_observed_at: "1969-12-31T23:59:59.5Z".parse().unwrap(),
            seen: seen("2026-11-21T15:00:00Z"),
        };
        let allocation = Allocation {
            payment: PaymentId::parse("pi_1").unwrap(),
            charge: (amount > 0).then(|| ChargeId::parse("ch_1").unwrap()),
            invoice: id,
            client: ClientId::parse("c_1").unwrap(),
            amount: minor(amount),
            reversed: minor(2),
            rule: 16,
            category,
            decided_at: "2026-11-21T15:00:00.999999999Z".parse().unwrap(),
            reference: "r".to_owned(),
            typed_in: true,
            shown: false,
            reopened: amount > 0,
            closed: false,
        };
        InvoiceFile {
            invoice: Some(invoice),
            payments: [(payment.id.clone(), payment)].into(),
            allocations: vec![allocation.clone(), allocation],
        }
    }

    /// What is kept of a file.
    fn kept(mut file: InvoiceFile) -> InvoiceFile {
        let invoice = file.invoice.as_mut().unwrap();
        (invoice.number, invoice.payer_share, invoice.version, invoice.seen.seq) = (None, Share::default(), String::new(), 0);
        for p in file.payments.values_mut() {
            (p.posted_on, p.seen.seq) = (invoice.issued_on, 0);
        }
        file
    }

    #[test]
    fn what_is_packed_is_opened_as_it_was_but_for_what_decides_nothing() {
        let id = InvoiceId::parse("inv_1").unwrap();
        for (amount, category) in [0, 1, 63, 64, 8191, 4200, Minor::LIMIT].into_iter().zip(Category::ALL) {
            for method in METHODS {
                let file = file(amount, category, method);
                let mut shelf = Shelf::default();
                assert!(shelf.put(&file) && !shelf.is_empty());
                let opened = shelf.take(&id).unwrap();
                assert_eq!(format!("{opened:?}"), format!("{:?}", kept(file)));
                assert!(shelf.is_empty() && shelf.take(&id).is_none());
            }
        }
        assert!(!Shelf::default().put(&InvoiceFile::default()), "an EHR payment that waits for its invoice stays as it is");
    }

    #[test]
    fn every_date_comes_back() {
        for date in ["-009999-01-01", "0000-02-29", "1969-12-31", "2025-12-31", "2026-01-01", "2026-02-28", "9999-12-31"] {
            let date: Date = date.parse().unwrap();
            let mut out = Writer::default();
            write_date(&mut out, date);
            assert_eq!(read_date(&mut Reader::new(&out.finish())), Some(date));
        }
    }

    #[test]
    fn a_packed_invoice_is_found_by_its_labels_and_its_place_is_used_again() {
        let mut shelf = Shelf::default();
        let mut packed = Vec::new();
        for n in 0..3 {
            let mut file = file(4200, Category::Copay, Method::Card);
            let invoice = file.invoice.as_mut().unwrap();
            invoice.id = InvoiceId::parse(&format!("inv_{n}")).unwrap();
            invoice.sessions[0].id = SessionId::parse("s_shared").unwrap();
            let mut payment = file.payments.pop_first().unwrap().1;
            payment.id = EhrPaymentId::parse(&format!("pay_{n}")).unwrap();
            payment.reference = format!("pi_{n}");
            file.payments.insert(payment.id.clone(), payment);
            packed.push(file);
        }
        packed.iter().for_each(|f| assert!(shelf.put(f)));
        let ids = |found: Vec<InvoiceId>| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ids(shelf.labelled(Label::Session("s_shared"))), ["inv_0", "inv_1", "inv_2"]);
        assert_eq!(ids(shelf.labelled(Label::Reference("pi_1"))), ["inv_1"]);
        assert_eq!(shelf.invoice_of(&EhrPaymentId::parse("pay_2").unwrap()).unwrap().as_str(), "inv_2");
        assert!(shelf.invoice_of(&EhrPaymentId::parse("pi_1").unwrap()).is_none());
        shelf.take(&InvoiceId::parse("inv_1").unwrap()).unwrap();
        assert!(shelf.labelled(Label::Reference("pi_1")).is_empty());
        assert!(shelf.put(&packed[1]));
        assert_eq!((shelf.places.len(), shelf.labelled(Label::Session("s_shared")).len()), (3, 3));
    }

    #[test]
    fn a_packed_invoice_is_small() {
        let mut file = file(4200, Category::Copay, Method::Card);
        file.payments.values_mut().for_each(|p| {
            p.reference = "pi_1".to_owned();
            p.first_observed_at = "2026-11-20T15:00:00Z".parse().unwrap();
        });
        file.allocations.pop();
        let size = pack(file.invoice.as_ref().unwrap(), &file).len();
        assert!(size < 120, "{size}");
    }
}
