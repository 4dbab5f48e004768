//! Stripe and the EHR of the model: what is true outside, whatever Vesper has heard of it.

use crate::practice::{client_id, invoice_id, minor};
use crate::random::Random;
use crate::recovery_timeline::failure;
use jiff::Timestamp;
use std::collections::BTreeMap;
use vesper_core::event::{Failure, Reference, Success};
use vesper_core::ids::{ChargeId, CustomerId, EhrPaymentId, InvoiceId, PaymentId};
use vesper_core::money::{Currency, Minor};
use vesper_core::records::{
    Autopay, CardConsent, Category, Client, ClientStatus, Coverage, EhrPayment, Invoice, Method, Portion, Seen, Session, Share,
};
use vesper_core::recovery::NewCard;

/// What a card says when it declines; the first of them may be tried again.
pub const DECLINES: [&str; 9] = [
    "generic_decline",
    "insufficient_funds",
    "do_not_honor",
    "insufficient_funds/try_again_later/25",
    "processing_error//02",
    "card_velocity_exceeded//24",
    "expired_card",
    "stolen_card",
    "a_code_of_the_future",
];
/// The declines after which this card must never be tried again.
pub const HARD: &str = "stolen_card";

// ------------------------------------------------------------------------ Stripe

#[derive(Clone, Debug)]
pub struct Intent {
    pub customer: CustomerId,
    pub amount: Minor,
    pub reference: Reference,
    pub status: &'static str,
    pub card: String,
    pub latest_charge: Option<ChargeId>,
    pub failure: Option<Failure>,
    pub created: Timestamp,
    /// Vesper's key under which it is processed or was charged.
    pub by_vesper: Option<String>,
}

/// What Stripe answers to a confirm, and repeats under the same key.
#[derive(Clone, Debug)]
pub enum Answer {
    Succeeded,
    Declined(Box<Failure>),
    Processing,
    RequiresAction,
    Other(&'static str),
}

/// What comes back of a call.
#[derive(Clone, Debug)]
pub enum Call {
    Answered(Answer),
    /// Nobody knows whether it was done.
    Unknown,
    /// It was not done.
    Refused,
}

/// A webhook on its way.
#[derive(Clone, Debug)]
pub enum Webhook {
    Succeeded(Success, Timestamp),
    Failed(Failure, Timestamp),
    Card(CustomerId, NewCard),
}

#[derive(Debug, Default)]
pub struct Stripe {
    pub intents: BTreeMap<PaymentId, Intent>,
    /// Under each key: which attempt used it first, with which card, and what was answered.
    answers: BTreeMap<String, (Timestamp, String, Answer)>,
    pub webhooks: Vec<Webhook>,
    pub is_down: bool,
    charges: u32,
}

impl Stripe {
    /// A new PaymentIntent that waits for a card.
    pub fn intent(&mut self, customer: &str, amount: Minor, reference: Reference, now: Timestamp) -> PaymentId {
        let id = PaymentId::parse(&format!("pi_{}", self.intents.len())).unwrap();
        let intent = Intent {
            customer: CustomerId::parse(customer).unwrap(),
            amount,
            reference,
            status: "requires_payment_method",
            card: format!("pm_{customer}"),
            latest_charge: None,
            failure: None,
            created: now,
            by_vesper: None,
        };
        self.intents.insert(id.clone(), intent);
        id
    }

    fn next_charge(&mut self) -> ChargeId {
        self.charges += 1;
        ChargeId::parse(&format!("ch_{}", self.charges)).unwrap()
    }

    /// The card is declined; the webhook is on its way.
    pub fn decline(&mut self, id: &PaymentId, codes: &str, now: Timestamp) -> Failure {
        let charge = self.next_charge();
        let intent = self.intents.get_mut(id).unwrap();
        let failure = Failure {
            payment: id.clone(),
            customer: Some(intent.customer.clone()),
            amount: intent.amount,
            reference: intent.reference.clone(),
            payment_method: Some(intent.card.clone()),
            object_created: intent.created,
            ..failure(codes, charge.as_str())
        };
        intent.status = "requires_payment_method";
        intent.latest_charge = Some(charge);
        intent.failure = Some(failure.clone());
        self.webhooks.push(Webhook::Failed(failure.clone(), now));
        failure
    }

    /// The card is charged; the webhook is on its way.
    pub fn succeed(&mut self, id: &PaymentId, now: Timestamp) {
        let charge = self.next_charge();
        let intent = self.intents.get_mut(id).unwrap();
        (intent.status, intent.latest_charge) = ("succeeded", Some(charge));
        let success = self.success(id).unwrap();
        self.webhooks.push(Webhook::Succeeded(success, now));
    }

    pub fn success(&self, id: &PaymentId) -> Option<Success> {
        let intent = self.intents.get(id).filter(|i| i.status == "succeeded")?;
        Some(Success {
            payment: id.clone(),
            charge: intent.latest_charge.clone(),
            customer: Some(intent.customer.clone()),
            amount: intent.amount,
            currency: Currency::USD,
            reference: intent.reference.clone(),
            receipt_email: None,
            balance_transaction: None,
            object_created: intent.created,
        })
    }

    /// Vesper confirms. `at`: when the attempt was recorded. A key that comes again repeats what it answered, whoever asks.
    pub fn confirm(&mut self, id: &PaymentId, card: &str, key: &str, at: Timestamp, now: Timestamp, random: &mut Random) -> Call {
        if self.is_down || random.one_in(12) {
            return if random.one_in(2) { Call::Unknown } else { Call::Refused };
        }
        let is_lost = random.one_in(8);
        if let Some((first, first_card, answer)) = self.answers.get(key) {
            assert_eq!((first, first_card.as_str()), (&at, card), "the key {key} was used for another attempt");
            return if is_lost { Call::Unknown } else { Call::Answered(answer.clone()) };
        }
        let answer = self.charge(id, card, key, now, random);
        self.answers.insert(key.to_owned(), (at, card.to_owned(), answer.clone()));
        if is_lost { Call::Unknown } else { Call::Answered(answer) }
    }

    fn charge(&mut self, id: &PaymentId, card: &str, key: &str, now: Timestamp, random: &mut Random) -> Answer {
        let intent = self.intents.get_mut(id).unwrap();
        if !matches!(intent.status, "requires_payment_method" | "requires_confirmation") {
            return Answer::Other(intent.status);
        }
        card.clone_into(&mut intent.card);
        intent.by_vesper = Some(key.to_owned());
        match random.below(10) {
            0..4 => {
                self.succeed(id, now);
                Answer::Succeeded
            }
            4 => {
                intent.status = "processing";
                Answer::Processing
            }
            5 if random.one_in(3) => {
                intent.status = "requires_action";
                Answer::RequiresAction
            }
            _ => Answer::Declined(Box::new(self.decline(id, random.pick(&DECLINES), now))),
        }
    }

    /// What was processing ends.
    pub fn settle(&mut self, now: Timestamp, random: &mut Random) {
        let at_it: Vec<PaymentId> =
            self.intents.iter().filter(|(_, i)| i.status == "processing").map(|(id, _)| id.clone()).collect();
        for id in at_it {
            if random.one_in(3) {
                self.decline(&id, random.pick(&DECLINES), now);
            } else {
                self.succeed(&id, now);
            }
        }
    }
}

// ------------------------------------------------------------------------ the EHR

#[derive(Clone, Debug)]
pub enum Record {
    Client(Client),
    Invoice(Invoice),
    Payment(EhrPayment),
}

#[derive(Debug, Default)]
pub struct Ehr {
    pub clients: BTreeMap<&'static str, Client>,
    pub invoices: BTreeMap<InvoiceId, Invoice>,
    pub payments: BTreeMap<EhrPaymentId, EhrPayment>,
    /// Every change, oldest first.
    pub feed: Vec<Record>,
    pub is_down: bool,
}

impl Ehr {
    fn seen(&self, now: Timestamp) -> Seen {
        Seen { observed_at: now, seq: u64::try_from(self.feed.len()).unwrap() }
    }

    pub fn client(&mut self, id: &'static str, customer: &str, guarantor: Option<&str>, now: Timestamp) {
        let client = Client {
            id: client_id(id),
            customers: vec![CustomerId::parse(customer).unwrap()],
            emails: vec![],
            guarantor: guarantor.map(client_id),
            status: ClientStatus::Active,
            autopay: Autopay::Off,
            card_consent: CardConsent::Given,
            coverage: Coverage::SelfPay,
            version: "1".to_owned(),
            seen: self.seen(now),
        };
        self.feed.push(Record::Client(client.clone()));
        self.clients.insert(id, client);
    }

    pub fn change_client(&mut self, id: &'static str, now: Timestamp, change: impl FnOnce(&mut Client)) {
        let seen = self.seen(now);
        let client = self.clients.get_mut(id).unwrap();
        change(client);
        client.seen = seen;
        self.feed.push(Record::Client(client.clone()));
    }

    pub fn invoice(&mut self, client: &str, charge: i64, now: Timestamp) {
        let id = invoice_id(&format!("i{}", self.invoices.len()));
        let on = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let invoice = Invoice {
            id: id.clone(),
            number: None,
            client: client_id(client),
            currency: Currency::USD,
            issued_on: on,
            void: false,
            category: Category::SelfPay,
            sessions: Vec::<Session>::new(),
            client_share: Share { charge: minor(charge), open: minor(charge), ..Share::default() },
            payer_share: Share::default(),
            version: "1".to_owned(),
            seen: self.seen(now),
        };
        self.feed.push(Record::Invoice(invoice.clone()));
        self.invoices.insert(id, invoice);
    }

    pub fn change_invoice(&mut self, id: &InvoiceId, now: Timestamp, change: impl FnOnce(&mut Invoice)) {
        let seen = self.seen(now);
        let invoice = self.invoices.get_mut(id).unwrap();
        change(invoice);
        assert!(invoice.client_share.adds_up(), "the model's EHR is sound: {invoice:?}");
        invoice.seen = seen;
        self.feed.push(Record::Invoice(invoice.clone()));
    }

    /// Somebody pays the client share; false when so much is not open.
    pub fn pay(&mut self, id: &InvoiceId, amount: Minor, method: Method, reference: &str, now: Timestamp) -> bool {
        let open = self.invoices.get(id).filter(|i| !i.void).map_or(Minor::ZERO, |i| i.client_share.open);
        if !amount.is_positive() || amount > open {
            return false;
        }
        self.change_invoice(id, now, |invoice| {
            let share = &mut invoice.client_share;
            (share.paid, share.open) = (share.paid.plus(amount), share.open.minus(amount));
        });
        let payment = EhrPayment {
            id: EhrPaymentId::parse(&format!("ep_{}", self.payments.len())).unwrap(),
            invoice: id.clone(),
            portion: Portion::Client,
            amount,
            reversed: Minor::ZERO,
            currency: Currency::USD,
            method,
            posted_on: now.to_zoned(jiff::tz::TimeZone::UTC).date(),
            reference: reference.to_owned(),
            first_observed_at: now,
            seen: self.seen(now),
        };
        self.feed.push(Record::Payment(payment.clone()));
        self.payments.insert(payment.id.clone(), payment);
        true
    }
}
