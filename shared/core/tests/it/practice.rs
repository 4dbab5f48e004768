//! A small practice in few words, and decisions as one line of text, so that each case of the table reads as one.
//!
//! All records are observed at 09:00 of 2026-11-20 unless said; payments are charged on 2026-11-21.

use jiff::{Timestamp, civil::Date};
use vesper_core::event::{Reference, Success};
use vesper_core::ids::{ChargeId, ClientId, CustomerId, EhrPaymentId, EmailHash, InvoiceId, PaymentId, SessionId};
use vesper_core::matching::{Case, Decision, Look, Stands, Watch, decide};
use vesper_core::money::{Currency, Minor};
use vesper_core::policy::{LinkByEmail, MatchingPolicy, SameAmount};
use vesper_core::records::{
    Autopay, CardConsent, Category, Client, ClientStatus, Coverage, EhrPayment, Invoice, Method, Portion, Seen, Session, Share,
};
use vesper_core::world::{Allocation, World};

pub const EUR: &str = "eur";

pub fn minor(amount_minor: i64) -> Minor {
    Minor::new(amount_minor).unwrap()
}

pub fn date(text: &str) -> Date {
    text.parse().unwrap()
}

/// A moment of 2026-11-20, `hh:mm`.
pub fn at(time: &str) -> Timestamp {
    format!("2026-11-20T{time}:00Z").parse().unwrap()
}

pub fn invoice_id(id: &str) -> InvoiceId {
    InvoiceId::parse(id).unwrap()
}

pub fn client_id(id: &str) -> ClientId {
    ClientId::parse(id).unwrap()
}

fn customer_id(id: &str) -> CustomerId {
    CustomerId::parse(id).unwrap()
}

fn email_hash(email: &str) -> EmailHash {
    EmailHash::parse(email).unwrap()
}

/// What is known of a practice.
#[derive(Clone, Debug)]
pub struct Practice {
    pub world: World,
    pub policy: MatchingPolicy,
    seq: u64,
}

/// A practice without anything in it; Stripe's customers are listed.
pub fn practice() -> Practice {
    let mut world = World::default();
    world.customers_listed = true;
    let policy =
        MatchingPolicy { link_by_email: LinkByEmail::Unique, same_amount: SameAmount::OldestFirst, wait_for_invoice_h: 48 };
    Practice { world, policy, seq: 0 }
}

impl Practice {
    fn seen(&mut self, observed_at: Timestamp) -> Seen {
        self.seq += 1;
        Seen { observed_at, seq: self.seq }
    }

    pub fn client(mut self, id: &str, with: impl Fn(ClientOf) -> ClientOf) -> Self {
        let seen = self.seen(at("09:00"));
        self.world.apply_client(with(ClientOf::new(id, seen)).0);
        self
    }

    /// A client with one Stripe customer.
    pub fn linked(self, id: &str, customer: &str) -> Self {
        self.client(id, |c| c.customer(customer))
    }

    /// An invoice of which nothing is paid.
    pub fn invoice(self, id: &str, client: &str, charge: i64) -> Self {
        self.invoice_with(id, client, charge, |i| i)
    }

    pub fn invoice_with(mut self, id: &str, client: &str, charge: i64, with: impl Fn(InvoiceOf) -> InvoiceOf) -> Self {
        let seen = self.seen(at("09:00"));
        self.world.apply_invoice(with(InvoiceOf::new(id, client, charge, seen)).0);
        self
    }

    /// A client payment by card in the EHR.
    pub fn ehr_payment(self, id: &str, invoice: &str, amount: i64, reference: &str) -> Self {
        self.ehr_payment_with(id, invoice, amount, reference, |p| p)
    }

    pub fn ehr_payment_with(
        mut self,
        id: &str,
        invoice: &str,
        amount: i64,
        reference: &str,
        with: impl Fn(EhrPaymentOf) -> EhrPaymentOf,
    ) -> Self {
        let seen = self.seen(at("12:00"));
        self.world.apply_ehr_payment(with(EhrPaymentOf::new(id, invoice, amount, reference, seen)).0);
        self
    }

    /// An allocation of an earlier payment, written back under the EHR reference `key_<payment>`.
    pub fn allocated(self, payment: &str, invoice: &str, amount: i64) -> Self {
        self.allocated_with(payment, invoice, amount, |_| {})
    }

    pub fn allocated_with(mut self, payment: &str, invoice: &str, amount: i64, with: impl Fn(&mut Allocation)) -> Self {
        let mut allocation = Allocation {
            payment: PaymentId::parse(payment).unwrap(),
            charge: Some(ChargeId::parse(&payment.replace("pi_", "ch_")).unwrap()),
            invoice: invoice_id(invoice),
            client: client_id("c1"),
            amount: minor(amount),
            reversed: Minor::ZERO,
            rule: 5,
            category: Category::SelfPay,
            decided_at: at("10:00"),
            reference: format!("key_{payment}"),
            typed_in: false,
            shown: false,
            reopened: false,
            closed: false,
        };
        with(&mut allocation);
        self.world.apply_allocation(allocation);
        self
    }

    /// What Stripe says of a customer's e-mail.
    pub fn stripe_email(mut self, customer: &str, email: &str) -> Self {
        self.world.apply_customer(&customer_id(customer), Some(email_hash(email)));
        self
    }

    /// Stripe has not said which e-mail a customer has.
    pub fn unheard(mut self, customer: &str) -> Self {
        self.world.apply_unheard(&customer_id(customer));
        self
    }

    pub fn linked_by_email(mut self, customer: &str, client: &str) -> Self {
        self.world.apply_link(customer_id(customer), client_id(client));
        self
    }

    pub fn customers_not_listed(mut self) -> Self {
        self.world.customers_listed = false;
        self
    }

    pub fn never_by_email(mut self) -> Self {
        self.policy.link_by_email = LinkByEmail::Never;
        self
    }

    pub fn same_amount_is_asked(mut self) -> Self {
        self.policy.same_amount = SameAmount::Review;
        self
    }

    pub fn decide(&self, pay: &Pay, look: Look) -> Decision {
        let case = Case { success: &pay.success, amount: pay.left, local_date: pay.local_date, look };
        decide(&self.world, &case, &self.policy)
    }

    /// The first look, as text.
    pub fn first(&self, pay: &Pay) -> String {
        told(&self.decide(pay, Look::First))
    }

    /// A later look at a parked payment, as text.
    pub fn again(&self, pay: &Pay) -> String {
        told(&self.decide(pay, Look::Again))
    }

    /// The last look, as text.
    pub fn deadline(&self, pay: &Pay) -> String {
        told(&self.decide(pay, Look::Deadline))
    }

    /// What is open on an invoice.
    pub fn open(&self, invoice: &str) -> i64 {
        let standing = vesper_core::matching::open::standing(self.world.invoice(&invoice_id(invoice)).unwrap()).unwrap();
        assert!(standing.share.adds_up(), "{standing:?}");
        standing.share.open.get()
    }
}

/// A decision in one line. `5: i1=4200` applies all that is open on i1; `i1<4200` a part of it; `i1*4200` stands in the EHR already;
/// then `rest N`, `credit N`, `parked`, `links c1`, and `asks reason [answer|answer]`.
pub fn told(d: &Decision) -> String {
    let mut parts: Vec<String> = Vec::new();
    for a in &d.allocations {
        let sign = if a.in_ehr {
            "*"
        } else if a.closes {
            "="
        } else {
            "<"
        };
        parts.push(format!("{}{sign}{}", a.invoice, a.amount.get()));
    }
    match d.stands {
        Stands::Decided if d.credit => parts.push(format!("credit {}", d.unapplied.get())),
        Stands::Decided if d.unapplied.is_positive() => parts.push(format!("rest {}", d.unapplied.get())),
        Stands::Decided | Stands::Asked => {}
        Stands::Parked => parts.push("parked".to_owned()),
    }
    if let Some(client) = &d.link {
        parts.push(format!("links {client}"));
    }
    if let Some(question) = &d.question {
        parts.push(format!("asks {}", question.reason));
        if !question.answers.is_empty() {
            let answers: Vec<String> = question.answers.iter().map(ToString::to_string).collect();
            parts.push(format!("[{}]", answers.join("|")));
        }
    }
    format!("{}: {}", d.rule, parts.join(" "))
}

/// What a parked payment waits for, as text.
pub fn watched(d: &Decision) -> Vec<String> {
    let text = |w: &Watch| match w {
        Watch::Client(id) => format!("client {id}"),
        Watch::Invoice(id) => format!("invoice {id}"),
        Watch::Session(id) => format!("session {id}"),
        Watch::Customer(id) => format!("customer {id}"),
        Watch::Email(hash) => format!("email {hash}"),
        Watch::EhrReference(id) => format!("ehr reference {id}"),
    };
    d.watch.iter().map(text).collect()
}

pub struct ClientOf(Client);

impl ClientOf {
    fn new(id: &str, seen: Seen) -> Self {
        Self(Client {
            id: client_id(id),
            customers: Vec::new(),
            emails: Vec::new(),
            guarantor: None,
            status: ClientStatus::Active,
            autopay: Autopay::Off,
            card_consent: CardConsent::Given,
            coverage: Coverage::SelfPay,
            version: "1".to_owned(),
            seen,
        })
    }

    pub fn customer(mut self, id: &str) -> Self {
        self.0.customers.push(customer_id(id));
        self
    }

    pub fn email(mut self, email: &str) -> Self {
        self.0.emails.push(email_hash(email));
        self
    }

    pub fn guarantor(mut self, id: &str) -> Self {
        self.0.guarantor = Some(client_id(id));
        self
    }

    pub fn deleted(mut self) -> Self {
        self.0.status = ClientStatus::Deleted;
        self
    }

    pub fn inactive(mut self) -> Self {
        self.0.status = ClientStatus::Inactive;
        self
    }

    pub fn billed_by_others(mut self) -> Self {
        self.0.coverage = Coverage::ThirdPartyBiller;
        self
    }
}

pub struct InvoiceOf(Invoice);

impl InvoiceOf {
    fn new(id: &str, client: &str, charge: i64, seen: Seen) -> Self {
        Self(Invoice {
            id: invoice_id(id),
            number: None,
            client: client_id(client),
            currency: Currency::USD,
            issued_on: date("2026-11-02"),
            void: false,
            category: Category::SelfPay,
            sessions: vec![session(&format!("s_{id}"), "2026-11-01")],
            client_share: Share { charge: minor(charge), open: minor(charge), ..Share::default() },
            payer_share: Share { charge: minor(9000), open: minor(9000), ..Share::default() },
            version: "1".to_owned(),
            seen,
        })
    }

    /// The EHR's word on what the client has paid.
    pub fn paid(mut self, amount: i64) -> Self {
        let share = &mut self.0.client_share;
        share.paid = minor(amount);
        share.open = share.charge.minus(share.paid).minus(share.written_off);
        self
    }

    pub fn written_off(mut self, amount: i64) -> Self {
        self.0.client_share.written_off = minor(amount);
        let paid = self.0.client_share.paid.get();
        self.paid(paid)
    }

    pub fn issued(mut self, on: &str) -> Self {
        self.0.issued_on = date(on);
        self
    }

    pub fn served(mut self, on: &str) -> Self {
        for session in &mut self.0.sessions {
            session.service_date = date(on);
        }
        self
    }

    pub fn session(mut self, id: &str) -> Self {
        self.0.sessions = vec![session(id, "2026-11-01")];
        self
    }

    pub fn no_session(mut self) -> Self {
        self.0.sessions.clear();
        self
    }

    pub fn void(mut self) -> Self {
        self.0.void = true;
        self
    }

    pub fn currency(mut self, code: &str) -> Self {
        self.0.currency = Currency::parse(code).unwrap();
        self
    }
}

fn session(id: &str, on: &str) -> Session {
    Session { id: SessionId::parse(id).unwrap(), service_date: date(on) }
}

pub struct EhrPaymentOf(EhrPayment);

impl EhrPaymentOf {
    fn new(id: &str, invoice: &str, amount: i64, reference: &str, seen: Seen) -> Self {
        Self(EhrPayment {
            id: EhrPaymentId::parse(id).unwrap(),
            invoice: invoice_id(invoice),
            portion: Portion::Client,
            amount: minor(amount),
            reversed: Minor::ZERO,
            currency: Currency::USD,
            method: Method::Card,
            posted_on: date("2026-11-20"),
            reference: reference.to_owned(),
            first_observed_at: seen.observed_at,
            seen,
        })
    }

    pub fn reversed(mut self, amount: i64) -> Self {
        self.0.reversed = minor(amount);
        self
    }

    pub fn method(mut self, method: Method) -> Self {
        self.0.method = method;
        self
    }

    pub fn insurance(mut self) -> Self {
        self.0.portion = Portion::Payer;
        self
    }

    pub fn currency(mut self, code: &str) -> Self {
        self.0.currency = Currency::parse(code).unwrap();
        self
    }

    pub fn first_observed(mut self, time: &str) -> Self {
        self.0.first_observed_at = at(time);
        self
    }
}

/// The payment to be decided: `pi_1`, its charge `ch_1`.
#[derive(Clone)]
pub struct Pay {
    pub success: Success,
    left: Minor,
    local_date: Date,
}

/// A payment of a customer; an empty customer is a guest.
pub fn pay(customer: &str, amount: i64) -> Pay {
    let success = Success {
        payment: PaymentId::parse("pi_1").unwrap(),
        charge: Some(ChargeId::parse("ch_1").unwrap()),
        customer: CustomerId::parse(customer).ok(),
        amount: minor(amount),
        currency: Currency::USD,
        reference: Reference::default(),
        receipt_email: None,
        balance_transaction: None,
        object_created: at("08:00"),
    };
    Pay { success, left: minor(amount), local_date: date("2026-11-21") }
}

/// A payment without a customer.
pub fn guest(amount: i64) -> Pay {
    pay("", amount)
}

impl Pay {
    pub fn for_invoice(mut self, id: &str) -> Self {
        self.success.reference.invoice = Some(id.to_owned());
        self
    }

    pub fn for_session(mut self, id: &str) -> Self {
        self.success.reference.session = Some(id.to_owned());
        self
    }

    pub fn for_client(mut self, id: &str) -> Self {
        self.success.reference.client = Some(id.to_owned());
        self
    }

    pub fn kind(mut self, kind: &str) -> Self {
        self.success.reference.kind = Some(kind.to_owned());
        self
    }

    pub fn receipt(mut self, email: &str) -> Self {
        self.success.receipt_email = Some(email_hash(email));
        self
    }

    pub fn currency(mut self, code: &str) -> Self {
        self.success.currency = Currency::parse(code).unwrap();
        self
    }

    /// A refund came first: only so much is to be decided.
    pub fn left(mut self, amount: i64) -> Self {
        self.left = minor(amount);
        self
    }

    pub fn on(mut self, local_date: &str) -> Self {
        self.local_date = date(local_date);
        self
    }
}
