//! An invoice that owes nothing, in a few bytes: what a long backtest keeps of it.
//!
//! Nothing is lost: an EHR record, a refund or a reference that comes to it finds it whole again. Numbers are written in as
//! few bytes as they need. Only in memory, never stored, so the form may change. Must not: decide what is packed.

use super::{Allocation, InvoiceFile};
use crate::ids::{ChargeId, ClientId, EhrPaymentId, InvoiceId, PaymentId, SessionId};
use crate::money::{Currency, Minor};
use crate::records::{Category, EhrPayment, Invoice, Method, Portion, Seen, Session, Share};
use jiff::{Timestamp, civil::Date};

/// An [`InvoiceFile`] without its id, as bytes.
#[derive(Clone, Debug)]
pub(super) struct Packed(Box<[u8]>);

const METHODS: [Method; 7] = [Method::Card, Method::Ach, Method::Cash, Method::Check, Method::Eft, Method::Credit, Method::Other];

impl Packed {
    /// Packs a file; None for what cannot be packed (no invoice in it).
    pub(super) fn of(file: &InvoiceFile) -> Option<Packed> {
        let mut out = Writer(Vec::with_capacity(160));
        out.invoice(file.invoice.as_ref()?);
        out.count(file.payments.len());
        for payment in file.payments.values() {
            out.payment(payment);
        }
        out.count(file.allocations.len());
        for allocation in &file.allocations {
            out.allocation(allocation);
        }
        Some(Packed(out.0.into_boxed_slice()))
    }

    /// The file as it was.
    pub(super) fn open(&self, id: &InvoiceId) -> InvoiceFile {
        Reader(&self.0).file(id).unwrap_or_else(|| unreachable!("what was packed can be opened"))
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut n: u64) {
        loop {
            let [low, ..] = n.to_le_bytes();
            n = n.wrapping_shr(7);
            if n == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    /// Small numbers of either sign stay small.
    fn signed(&mut self, n: i64) {
        self.number(n.wrapping_shl(1).cast_unsigned() ^ n.wrapping_shr(63).cast_unsigned());
    }

    fn count(&mut self, n: usize) {
        self.number(u64::try_from(n).unwrap_or(u64::MAX));
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn place<T: PartialEq>(&mut self, all: &[T], one: &T) {
        self.count(all.iter().position(|x| x == one).unwrap_or_default());
    }

    fn flags(&mut self, flags: &[bool]) {
        self.0.push(flags.iter().fold(0, |byte, flag| byte.wrapping_shl(1) | u8::from(*flag)));
    }

    fn amount(&mut self, amount: Minor) {
        self.signed(amount.get());
    }

    fn time(&mut self, time: Timestamp) {
        self.signed(time.as_second());
        self.signed(i64::from(time.subsec_nanosecond()));
    }

    fn date(&mut self, date: Date) {
        self.signed(i64::from(date.year()));
        self.signed(i64::from(date.month()));
        self.signed(i64::from(date.day()));
    }

    fn seen(&mut self, seen: Seen) {
        self.time(seen.observed_at);
        self.number(seen.seq);
    }

    fn share(&mut self, share: Share) {
        for part in [share.charge, share.paid, share.written_off, share.open] {
            self.amount(part);
        }
    }

    fn invoice(&mut self, i: &Invoice) {
        self.maybe(i.number.as_deref());
        self.text(i.client.as_str());
        self.text(i.currency.as_str());
        self.date(i.issued_on);
        self.flags(&[i.void]);
        self.place(&Category::ALL, &i.category);
        self.count(i.sessions.len());
        for session in &i.sessions {
            self.text(session.id.as_str());
            self.date(session.service_date);
        }
        self.share(i.client_share);
        self.share(i.payer_share);
        self.text(&i.version);
        self.seen(i.seen);
    }

    fn payment(&mut self, p: &EhrPayment) {
        self.text(p.id.as_str());
        self.flags(&[p.portion == Portion::Client]);
        self.amount(p.amount);
        self.amount(p.reversed);
        self.text(p.currency.as_str());
        self.place(&METHODS, &p.method);
        self.date(p.posted_on);
        self.text(&p.reference);
        self.time(p.first_observed_at);
        self.seen(p.seen);
    }

    fn allocation(&mut self, a: &Allocation) {
        self.text(a.payment.as_str());
        self.maybe(a.charge.as_ref().map(ChargeId::as_str));
        self.text(a.client.as_str());
        self.amount(a.amount);
        self.amount(a.reversed);
        self.0.push(a.rule);
        self.place(&Category::ALL, &a.category);
        self.time(a.decided_at);
        self.text(&a.reference);
        self.flags(&[a.typed_in, a.shown, a.reopened, a.closed]);
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        let mut shift = 0_u32;
        loop {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Some(n);
            }
            shift = shift.checked_add(7)?;
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let n = self.number()?;
        Some(n.wrapping_shr(1).cast_signed() ^ (n & 1).cast_signed().wrapping_neg())
    }

    fn count(&mut self) -> Option<usize> {
        self.number()?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = self.count()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn maybe(&mut self) -> Option<Option<&'b str>> {
        if self.byte()? == 0 { Some(None) } else { self.text().map(Some) }
    }

    fn place<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let at = self.count()?;
        all.get(at).copied()
    }

    fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let byte = self.byte()?;
        let mut flags = [false; N];
        for (n, flag) in flags.iter_mut().rev().enumerate() {
            *flag = byte.wrapping_shr(u32::try_from(n).ok()?) & 1 == 1;
        }
        Some(flags)
    }

    fn amount(&mut self) -> Option<Minor> {
        Minor::new(self.signed()?).ok()
    }

    fn time(&mut self) -> Option<Timestamp> {
        let second = self.signed()?;
        Timestamp::new(second, self.signed()?.try_into().ok()?).ok()
    }

    fn date(&mut self) -> Option<Date> {
        let (year, month) = (self.signed()?.try_into().ok()?, self.signed()?.try_into().ok()?);
        Date::new(year, month, self.signed()?.try_into().ok()?).ok()
    }

    fn seen(&mut self) -> Option<Seen> {
        Some(Seen { observed_at: self.time()?, seq: self.number()? })
    }

    fn share(&mut self) -> Option<Share> {
        Some(Share { charge: self.amount()?, paid: self.amount()?, written_off: self.amount()?, open: self.amount()? })
    }

    fn currency(&mut self) -> Option<Currency> {
        Currency::parse(self.text()?).ok()
    }

    fn file(&mut self, id: &InvoiceId) -> Option<InvoiceFile> {
        let mut file = InvoiceFile { invoice: Some(self.invoice(id)?), ..InvoiceFile::default() };
        for _ in 0..self.count()? {
            let payment = self.payment(id)?;
            file.payments.insert(payment.id.clone(), payment);
        }
        for _ in 0..self.count()? {
            file.allocations.push(self.allocation(id)?);
        }
        self.0.is_empty().then_some(file)
    }

    fn invoice(&mut self, id: &InvoiceId) -> Option<Invoice> {
        Some(Invoice {
            id: id.clone(),
            number: self.maybe()?.map(str::to_owned),
            client: ClientId::parse(self.text()?).ok()?,
            currency: self.currency()?,
            issued_on: self.date()?,
            void: self.flags::<1>()? == [true],
            category: self.place(&Category::ALL)?,
            sessions: self.sessions()?,
            client_share: self.share()?,
            payer_share: self.share()?,
            version: self.text()?.to_owned(),
            seen: self.seen()?,
        })
    }

    fn sessions(&mut self) -> Option<Vec<Session>> {
        let count = self.count()?;
        (0..count)
            .map(|_| {
                let id = SessionId::parse(self.text()?).ok()?;
                Some(Session { id, service_date: self.date()? })
            })
            .collect()
    }

    fn payment(&mut self, invoice: &InvoiceId) -> Option<EhrPayment> {
        Some(EhrPayment {
            id: EhrPaymentId::parse(self.text()?).ok()?,
            invoice: invoice.clone(),
            portion: if self.flags::<1>()? == [true] { Portion::Client } else { Portion::Payer },
            amount: self.amount()?,
            reversed: self.amount()?,
            currency: self.currency()?,
            method: self.place(&METHODS)?,
            posted_on: self.date()?,
            reference: self.text()?.to_owned(),
            first_observed_at: self.time()?,
            seen: self.seen()?,
        })
    }

    fn allocation(&mut self, invoice: &InvoiceId) -> Option<Allocation> {
        let payment = PaymentId::parse(self.text()?).ok()?;
        let charge = match self.maybe()? {
            Some(charge) => Some(ChargeId::parse(charge).ok()?),
            None => None,
        };
        let client = ClientId::parse(self.text()?).ok()?;
        let (amount, reversed, rule) = (self.amount()?, self.amount()?, self.byte()?);
        let category = self.place(&Category::ALL)?;
        let (decided_at, reference) = (self.time()?, self.text()?.to_owned());
        let [typed_in, shown, reopened, closed] = self.flags()?;
        Some(Allocation {
            payment,
            charge,
            invoice: invoice.clone(),
            client,
            amount,
            reversed,
            rule,
            category,
            decided_at,
            reference,
            typed_in,
            shown,
            reopened,
            closed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_is_packed_is_opened_as_it_was() {
        for (amount, category) in [0, 1, 63, 64, 8191, 4200, Minor::LIMIT].into_iter().zip(Category::ALL) {
            for method in METHODS {
                let file = file(amount, category, method);
                let packed = Packed::of(&file).unwrap();
                let opened = packed.open(&InvoiceId::parse("inv_1").unwrap());
                assert_eq!(format!("{opened:?}"), format!("{file:?}"));
            }
        }
        assert!(Packed::of(&InvoiceFile::default()).is_none(), "an EHR payment that waits for its invoice stays as it is");
    }

    #[test]
    fn a_packed_invoice_is_small() {
        let mut file = file(4200, Category::Copay, Method::Card);
        file.payments.values_mut().for_each(|p| p.reference = "pi_1".to_owned());
        assert!(Packed::of(&file).unwrap().0.len() < 230, "{}", Packed::of(&file).unwrap().0.len());
    }
}
