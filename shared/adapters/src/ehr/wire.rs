//! The bridge's JSON (contracts/ehr-bridge.openapi.yaml): the only place that knows it.
//!
//! Records are read tolerantly where the contract may grow (unknown fields, unknown words of enumerations that have an
//! "other" or "unknown") and strictly where money is concerned. The client uses it for each record of a page, the backtest for
//! each line of its file: one pass over the text, and only the fields of the record's own kind are looked at.
//! Must not: put a value of a record into a problem text (it may be a name or an address); field names only.

use crate::personal::{EmailHasher, Personal};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use vesper_core::ids::{BadId, ClientId, CustomerId, EhrPaymentId, InvoiceId, SessionId};
use vesper_core::money::{Currency, Minor};
use vesper_core::records::{
    Autopay, CardConsent, Category, Client, ClientStatus, Coverage, EhrPayment, Invoice, Method, Portion, Seen, Session, Share,
};

/// The longest text that is not an id (version, number, reference), in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// One record of the feed, or of a backtest file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A client, and apart from it his personal data.
    Client {
        /// Without name and addresses.
        client: Client,
        /// Name and addresses, to be sealed.
        personal: Personal,
    },
    /// An invoice.
    Invoice(Invoice),
    /// A payment.
    Payment(EhrPayment),
    /// A record of a kind that the contract does not have (yet): skipped and counted.
    UnknownKind {
        /// The kind; `?` when it does not look like a word.
        kind: String,
    },
    /// A record that breaks the contract: a person is asked; in a backtest a bad line.
    Unreadable {
        /// Its kind; empty when it says none.
        kind: String,
        /// Its id, where that can be read.
        id: Option<String>,
        /// What is wrong with which field. No value from the record.
        problem: String,
    },
}

/// What a bridge can do (`GET /v1/capabilities`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Capabilities {
    /// Which EHR it stands for, such as `simplepractice`.
    pub system: String,
    /// It records payments; else write-backs are worklist items.
    pub writes_payments: bool,
    /// It reverses payments; else reversals are worklist items.
    pub reverses_payments: bool,
    /// An Idempotency-Key protects a repeated write; else only asking by reference does.
    pub idempotent_writes: bool,
    /// It records write-offs.
    #[serde(default)]
    pub write_offs: bool,
}

/// How money that Vesper records was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMethod {
    /// A card payment at Stripe.
    Card,
    /// Client credit that is used.
    Credit,
}

/// A payment of the client share to record. It is always posted as `online: false`: an online payment charges the card again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayment {
    /// The invoice it pays.
    pub invoice: InvoiceId,
    /// Positive, at most what is open of the client share.
    pub amount: Minor,
    /// Of the amount.
    pub currency: Currency,
    /// How it was paid.
    pub method: WriteMethod,
    /// The date in the EHR, practice-local.
    pub posted_on: Date,
    /// The EHR reference, also the idempotency key: 1 to 64 visible ASCII characters (Vesper keeps to 56).
    pub reference: String,
}

/// Why a payment is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReversalReason {
    /// Refunded at Stripe.
    Refund,
    /// Disputed at Stripe.
    Dispute,
    /// A person moved it or took it back.
    Correction,
}

/// All or part of a recorded payment to take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReversal {
    /// Positive, at most what still stands.
    pub amount: Minor,
    /// Of the amount.
    pub currency: Currency,
    /// Why.
    pub reason: ReversalReason,
    /// The date in the EHR, practice-local.
    pub posted_on: Date,
}

#[derive(Serialize)]
struct NewPaymentBody<'a> {
    invoice_id: &'a str,
    portion: &'static str,
    amount: i64,
    currency: &'a str,
    method: WriteMethod,
    online: bool,
    posted_on: Date,
    reference: &'a str,
}

#[derive(Serialize)]
struct NewReversalBody<'a> {
    amount: i64,
    currency: &'a str,
    reason: ReversalReason,
    posted_on: Date,
}

impl NewPayment {
    /// The body of `POST /v1/payments`. None only if serde fails, which it does not for these types.
    pub(super) fn to_json(&self) -> Option<Vec<u8>> {
        let body = NewPaymentBody {
            invoice_id: self.invoice.as_str(),
            portion: "client",
            amount: self.amount.get(),
            currency: self.currency.as_str(),
            method: self.method,
            online: false,
            posted_on: self.posted_on,
            reference: &self.reference,
        };
        serde_json::to_vec(&body).ok()
    }
}

impl NewReversal {
    /// The body of `POST /v1/payments/{id}/reversals`. None only if serde fails, which it does not for these types.
    pub(super) fn to_json(&self) -> Option<Vec<u8>> {
        let body = NewReversalBody {
            amount: self.amount.get(),
            currency: self.currency.as_str(),
            reason: self.reason,
            posted_on: self.posted_on,
        };
        serde_json::to_vec(&body).ok()
    }
}

/// A page of `GET /v1/changes`, its records still unread.
#[derive(Deserialize)]
pub(super) struct RawPage<'a> {
    #[serde(borrow)]
    pub(super) records: Vec<&'a RawValue>,
    pub(super) next_cursor: String,
    pub(super) has_more: bool,
}

/// Every field of every kind, unread: which of them count, and how they must look, is decided after `kind` is known.
/// `null` reads as absent.
#[derive(Deserialize)]
struct RawRecord<'a> {
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    emails: Option<&'a RawValue>,
    #[serde(borrow)]
    stripe_customer_ids: Option<&'a RawValue>,
    #[serde(borrow)]
    guarantor_id: Option<&'a RawValue>,
    #[serde(borrow)]
    display_name: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    autopay: Option<&'a RawValue>,
    #[serde(borrow)]
    card_consent: Option<&'a RawValue>,
    #[serde(borrow)]
    coverage: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    observed_at: Option<&'a RawValue>,
    #[serde(borrow)]
    number: Option<&'a RawValue>,
    #[serde(borrow)]
    client_id: Option<&'a RawValue>,
    #[serde(borrow)]
    currency: Option<&'a RawValue>,
    #[serde(borrow)]
    issued_on: Option<&'a RawValue>,
    #[serde(borrow)]
    category: Option<&'a RawValue>,
    #[serde(borrow)]
    sessions: Option<&'a RawValue>,
    #[serde(borrow)]
    client_share: Option<&'a RawValue>,
    #[serde(borrow)]
    payer_share: Option<&'a RawValue>,
    #[serde(borrow)]
    invoice_id: Option<&'a RawValue>,
    #[serde(borrow)]
    portion: Option<&'a RawValue>,
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    posted_on: Option<&'a RawValue>,
    #[serde(borrow)]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    reversed: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawShare<'a> {
    #[serde(borrow)]
    charge: Option<&'a RawValue>,
    #[serde(borrow)]
    paid: Option<&'a RawValue>,
    #[serde(borrow)]
    written_off: Option<&'a RawValue>,
    #[serde(borrow)]
    open: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawSession<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    service_date: Option<&'a RawValue>,
}

/// What is wrong with which field; holds no value.
type Problem = String;
type Field<'a> = Option<&'a RawValue>;

/// Reads one record. `seq` is its position in the feed (or its line); e-mail addresses leave as hashes of `hasher`.
///
/// Never fails: what cannot be read is [`Change::Unreadable`].
#[must_use]
pub fn change_from_json(raw: &[u8], seq: u64, hasher: &EmailHasher) -> Change {
    // serde's own message is dropped: it quotes values.
    let is_object = raw.trim_ascii_start().starts_with(b"{");
    let Some(record) = serde_json::from_slice::<RawRecord<'_>>(raw).ok().filter(|_| is_object) else {
        return Change::Unreadable {
            kind: String::new(),
            id: None,
            problem: "it is no JSON object, or has a field twice".to_owned(),
        };
    };
    let read = match record.kind.map(text) {
        Some(Some(kind)) => match &*kind {
            "client" => client(&record, seq, hasher),
            "invoice" => invoice(&record, seq).map(Change::Invoice),
            "payment" => payment(&record, seq).map(Change::Payment),
            _ => return Change::UnknownKind { kind: as_word(&kind) },
        },
        Some(None) => Err("`kind` is no text".to_owned()),
        None => Err("`kind` is missing".to_owned()),
    };
    read.unwrap_or_else(|problem| Change::Unreadable {
        kind: record.kind.and_then(text).map(|k| as_word(&k)).unwrap_or_default(),
        id: id(record.id, "id", InvoiceId::parse).ok().map(String::from),
        problem,
    })
}

/// A kind as it may stand in a log: a short word, else `?`.
fn as_word(kind: &str) -> String {
    let fits = (1..=40).contains(&kind.len())
        && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if fits { kind.to_owned() } else { "?".to_owned() }
}

fn client(r: &RawRecord<'_>, seq: u64, hasher: &EmailHasher) -> Result<Change, Problem> {
    let id = id(r.id, "id", ClientId::parse)?;
    let emails: Vec<String> = texts(r.emails, "emails")?;
    let mut hashes: Vec<_> = emails.iter().filter_map(|e| hasher.hash(e)).collect();
    hashes.sort();
    hashes.dedup();
    let mut customers = texts(r.stripe_customer_ids, "stripe_customer_ids")?
        .iter()
        .map(|c| {
            CustomerId::parse(c).map_err(|BadId| bad("stripe_customer_ids", "a list of ids of 1 to 255 printable characters"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    customers.sort();
    customers.dedup();
    let guarantor = match optional_text(r.guarantor_id, "guarantor_id")?.filter(|g| !g.is_empty()) {
        Some(g) => Some(ClientId::parse(&g).map_err(|BadId| bad("guarantor_id", "an id of 1 to 255 printable characters"))?),
        None => None,
    };
    let client = Client {
        // Who pays for himself has no guarantor.
        guarantor: guarantor.filter(|g| *g != id),
        customers,
        emails: hashes,
        status: match &*required_text(r.status, "status")? {
            "active" => ClientStatus::Active,
            "inactive" => ClientStatus::Inactive,
            "deleted" => ClientStatus::Deleted,
            _ => return Err(bad("status", "active, inactive or deleted")),
        },
        autopay: match optional_text(r.autopay, "autopay")?.as_deref() {
            Some("on") => Autopay::On,
            Some("off") => Autopay::Off,
            _ => Autopay::Unknown,
        },
        card_consent: match optional_text(r.card_consent, "card_consent")?.as_deref() {
            Some("given") => CardConsent::Given,
            Some("revoked") => CardConsent::Revoked,
            _ => CardConsent::Unknown,
        },
        coverage: coverage(optional_text(r.coverage, "coverage")?.as_deref()),
        version: short_text(r.version, "version")?,
        seen: seen(r.observed_at, seq)?,
        id,
    };
    let display_name = optional_text(r.display_name, "display_name")?.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty());
    Ok(Change::Client { client, personal: Personal { display_name, emails } })
}

fn coverage(word: Option<&str>) -> Coverage {
    match word {
        Some("self_pay") => Coverage::SelfPay,
        Some("commercial") => Coverage::Commercial,
        Some("medicare") => Coverage::Medicare,
        Some("medicaid") => Coverage::Medicaid,
        Some("qmb") => Coverage::Qmb,
        Some("eap") => Coverage::Eap,
        Some("third_party_biller") => Coverage::ThirdPartyBiller,
        _ => Coverage::Unknown,
    }
}

fn invoice(r: &RawRecord<'_>, seq: u64) -> Result<Invoice, Problem> {
    let category = optional_text(r.category, "category")?;
    Ok(Invoice {
        id: id(r.id, "id", InvoiceId::parse)?,
        number: match r.number {
            Some(_) => Some(short_text(r.number, "number")?).filter(|n| !n.is_empty()),
            None => None,
        },
        client: id(r.client_id, "client_id", ClientId::parse)?,
        currency: currency(r.currency)?,
        issued_on: date(r.issued_on, "issued_on")?,
        void: match &*required_text(r.status, "status")? {
            "open" => false,
            "void" => true,
            _ => return Err(bad("status", "open or void")),
        },
        category: Category::ALL.into_iter().find(|c| Some(c.as_str()) == category.as_deref()).unwrap_or(Category::Other),
        sessions: sessions(r.sessions)?,
        client_share: share(r.client_share, "client_share")?,
        payer_share: share(r.payer_share, "payer_share")?,
        version: short_text(r.version, "version")?,
        seen: seen(r.observed_at, seq)?,
    })
}

fn payment(r: &RawRecord<'_>, seq: u64) -> Result<EhrPayment, Problem> {
    let amount = minor(r.amount, "amount")?;
    if !amount.is_positive() {
        return Err(bad("amount", "1 or more"));
    }
    let reversed = match (&*required_text(r.state, "state")?, r.reversed) {
        ("posted", None) => Minor::ZERO,
        ("reversed", None) => amount,
        ("posted", given) => minor(given, "reversed")?,
        // The contract: reversed only when reversed = amount. Which of the two is right, nobody knows.
        ("reversed", given) if minor(given, "reversed")? == amount => amount,
        ("reversed", _) => return Err(bad("reversed", "the amount, as `state` is reversed")),
        _ => return Err(bad("state", "posted or reversed")),
    };
    if reversed < Minor::ZERO || reversed > amount {
        return Err(bad("reversed", "from 0 to the amount"));
    }
    let seen = seen(r.observed_at, seq)?;
    Ok(EhrPayment {
        id: id(r.id, "id", EhrPaymentId::parse)?,
        invoice: id(r.invoice_id, "invoice_id", InvoiceId::parse)?,
        portion: match &*required_text(r.portion, "portion")? {
            "client" => Portion::Client,
            "payer" => Portion::Payer,
            _ => return Err(bad("portion", "client or payer")),
        },
        amount,
        reversed,
        currency: currency(r.currency)?,
        method: match &*required_text(r.method, "method")? {
            "card" => Method::Card,
            "ach" => Method::Ach,
            "cash" => Method::Cash,
            "check" => Method::Check,
            "eft" => Method::Eft,
            "credit" => Method::Credit,
            _ => Method::Other,
        },
        posted_on: date(r.posted_on, "posted_on")?,
        reference: short_text(r.reference, "reference")?,
        // The store keeps the earlier one when it knows a version already.
        first_observed_at: seen.observed_at,
        seen,
    })
}

fn bad(field: &str, expected: &str) -> Problem {
    format!("`{field}` is not {expected}")
}

fn required<'a>(field: Field<'a>, name: &str) -> Result<&'a RawValue, Problem> {
    field.ok_or_else(|| format!("`{name}` is missing"))
}

/// A JSON string; None for anything else. Borrows where nothing is escaped, which is nearly always.
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw.get()).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

fn required_text<'a>(field: Field<'a>, name: &str) -> Result<Cow<'a, str>, Problem> {
    text(required(field, name)?).ok_or_else(|| bad(name, "text"))
}

fn optional_text<'a>(field: Field<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
    field.map(|raw| text(raw).ok_or_else(|| bad(name, "text"))).transpose()
}

fn short_text(field: Field<'_>, name: &str) -> Result<String, Problem> {
    let text = required_text(field, name)?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(bad(name, "at most 1024 bytes long"));
    }
    Ok(text.into_owned())
}

/// A list of texts, trimmed, blank ones left out; absent is empty.
fn texts(field: Field<'_>, name: &str) -> Result<Vec<String>, Problem> {
    let Some(raw) = field else { return Ok(Vec::new()) };
    let all: Vec<String> = serde_json::from_str(raw.get()).map_err(|_| bad(name, "a list of texts"))?;
    Ok(all.iter().map(|t| t.trim()).filter(|t| !t.is_empty()).map(str::to_owned).collect())
}

fn id<T>(field: Field<'_>, name: &str, parse: impl Fn(&str) -> Result<T, BadId>) -> Result<T, Problem> {
    parse(&required_text(field, name)?).map_err(|BadId| bad(name, "an id of 1 to 255 printable characters"))
}

/// A whole number of minor units. The digits are read as they stand: `1.0`, `1e3` and `"1"` are refused, and no float is ever made.
fn minor(field: Field<'_>, name: &str) -> Result<Minor, Problem> {
    let n: i64 = required(field, name)?.get().parse().map_err(|_| bad(name, "a whole number of minor units"))?;
    Minor::new(n).map_err(|_| bad(name, "within 1,000,000,000,000 minor units"))
}

fn currency(field: Field<'_>) -> Result<Currency, Problem> {
    Currency::parse(&required_text(field, "currency")?).map_err(|_| bad("currency", "three letters"))
}

fn date(field: Field<'_>, name: &str) -> Result<Date, Problem> {
    let text = required_text(field, name)?;
    // jiff would read the date of a whole time stamp, too: that is not a practice-local date.
    if text.len() == 10 { text.parse().ok() } else { None }.ok_or_else(|| bad(name, "a date such as 2026-11-21"))
}

fn seen(field: Field<'_>, seq: u64) -> Result<Seen, Problem> {
    let text = required_text(field, "observed_at")?;
    let observed_at = text.parse::<Timestamp>().map_err(|_| bad("observed_at", "a time such as 2026-11-21T15:00:00Z"))?;
    Ok(Seen { observed_at, seq })
}

fn share(field: Field<'_>, name: &str) -> Result<Share, Problem> {
    let object = required(field, name)?.get();
    // serde would take a list for an object, too.
    let raw: Option<RawShare<'_>> = if object.starts_with('{') { serde_json::from_str(object).ok() } else { None };
    let raw = raw.ok_or_else(|| bad(name, "an object, or has a field twice"))?;
    let part = |field, part: &str| minor(field, part).map_err(|problem| format!("`{name}`: {problem}"));
    let share = Share {
        charge: part(raw.charge, "charge")?,
        paid: part(raw.paid, "paid")?,
        written_off: part(raw.written_off, "written_off")?,
        open: part(raw.open, "open")?,
    };
    if !share.adds_up() {
        return Err(format!("`{name}` does not add up: charge is paid + written_off + open, none of them negative"));
    }
    Ok(share)
}

fn sessions(field: Field<'_>) -> Result<Vec<Session>, Problem> {
    let Some(raw) = field else { return Ok(Vec::new()) };
    let all: Vec<RawSession<'_>> = serde_json::from_str(raw.get()).map_err(|_| bad("sessions", "a list of objects"))?;
    all.iter()
        .map(|s| {
            Ok(Session {
                id: id(s.id, "sessions.id", SessionId::parse)?,
                service_date: date(s.service_date, "sessions.service_date")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personal::DataKey;
    use serde_json::{Value, json};

    const NAME: &str = "Persephone Canary";
    const MAIL: &str = "persephone.canary@example.org";

    fn hasher() -> EmailHasher {
        DataKey::new([7; 32]).email_hasher()
    }

    fn read(record: &Value) -> Change {
        change_from_json(record.to_string().as_bytes(), 5, &hasher())
    }

    fn share(charge: i64, paid: i64, written_off: i64, open: i64) -> Value {
        json!({"charge": charge, "paid": paid, "written_off": written_off, "open": open})
    }

    fn a_client() -> Value {
        json!({"kind": "client", "id": "c_1", "emails": [" Persephone.Canary@example.org ", ""], "stripe_customer_ids": ["cus_2", "cus_1"],
            "guarantor_id": "c_9", "display_name": NAME, "status": "active", "autopay": "off", "card_consent": "given",
            "coverage": "qmb", "version": "v1", "observed_at": "2026-11-21T15:00:00.000001Z"})
    }

    fn an_invoice() -> Value {
        json!({"kind": "invoice", "id": "inv_1", "number": "1001", "client_id": "c_1", "currency": "usd", "issued_on": "2026-11-20",
            "due_on": null, "status": "open", "category": "no_show_fee", "sessions": [{"id": "s_1", "service_date": "2026-11-19"}],
            "client_share": share(4200, 1000, 200, 3000), "payer_share": share(0, 0, 0, 0),
            "version": "v2", "observed_at": "2026-11-21T15:00:00Z"})
    }

    fn a_payment() -> Value {
        json!({"kind": "payment", "id": "pay_1", "invoice_id": "inv_1", "portion": "client", "amount": 1000, "currency": "usd",
            "method": "card", "online": false, "posted_on": "2026-11-21", "reference": "vesper-1", "reversed": 250, "state": "posted",
            "version": "v3", "observed_at": "2026-11-21T15:00:00Z"})
    }

    fn with(mut record: Value, changes: &Value) -> Value {
        for (field, value) in changes.as_object().unwrap() {
            record[field] = value.clone();
        }
        record
    }

    fn without(mut record: Value, field: &str) -> Value {
        record.as_object_mut().unwrap().remove(field);
        record
    }

    #[test]
    fn a_client_is_read_with_his_personal_data_apart() {
        let Change::Client { client, personal } = read(&a_client()) else { panic!("no client") };
        assert_eq!(client.customers.iter().map(CustomerId::as_str).collect::<Vec<_>>(), ["cus_1", "cus_2"]);
        assert_eq!(client.emails, vec![hasher().hash(MAIL).unwrap()]);
        assert_eq!(client.guarantor.as_ref().map(ClientId::as_str), Some("c_9"));
        assert_eq!((client.status, client.autopay), (ClientStatus::Active, Autopay::Off));
        assert_eq!((client.card_consent, client.coverage), (CardConsent::Given, Coverage::Qmb));
        assert_eq!(client.seen, Seen { observed_at: "2026-11-21T15:00:00.000001Z".parse().unwrap(), seq: 5 });
        assert_eq!(personal.display_name.as_deref(), Some(NAME));
        assert_eq!(personal.emails, ["Persephone.Canary@example.org"]);
        let shown = format!("{:?}", read(&a_client())).to_lowercase();
        assert!(!shown.contains("persephone") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn what_a_client_record_leaves_out_or_says_in_a_new_word_is_unknown() {
        let least =
            json!({"kind": "client", "id": "c_1", "status": "inactive", "version": "1", "observed_at": "2026-11-21T15:00:00Z"});
        let words = json!({"autopay": "sometimes", "card_consent": "verbal", "coverage": "tricare", "guarantor_id": "c_1", "new": {"a": 1.5}});
        let nulls = json!({"autopay": null, "card_consent": null, "coverage": null, "guarantor_id": null, "emails": null, "display_name": null});
        for record in [least.clone(), with(least.clone(), &words), with(least, &nulls)] {
            let Change::Client { client, personal } = read(&record) else { panic!("{record}") };
            assert_eq!((client.autopay, client.card_consent), (Autopay::Unknown, CardConsent::Unknown), "{record}");
            assert_eq!((client.coverage, client.guarantor), (Coverage::Unknown, None), "{record}");
            assert_eq!((client.customers.len(), client.emails.len(), personal), (0, 0, Personal::default()), "{record}");
        }
    }

    #[test]
    fn an_invoice_is_read_with_both_shares() {
        let Change::Invoice(invoice) = read(&an_invoice()) else { panic!("no invoice") };
        assert_eq!((invoice.id.as_str(), invoice.number.as_deref(), invoice.client.as_str()), ("inv_1", Some("1001"), "c_1"));
        assert_eq!((invoice.currency, invoice.void, invoice.category), (Currency::USD, false, Category::NoShowFee));
        assert_eq!(invoice.first_service_date(), Some("2026-11-19".parse().unwrap()));
        assert_eq!((invoice.client_share.open.get(), invoice.payer_share), (3000, Share::default()));
        let others = [
            (json!({"category": "sliding_scale", "status": "void", "number": null}), (true, Category::Other, None)),
            (json!({"category": null, "number": ""}), (false, Category::Other, None)),
            (json!({"category": "copay", "number": "A\"1\u{e9}"}), (false, Category::Copay, Some("A\"1é".to_owned()))),
        ];
        for (changes, want) in others {
            let Change::Invoice(invoice) = read(&with(an_invoice(), &changes)) else { panic!("{changes}") };
            assert_eq!((invoice.void, invoice.category, invoice.number), want);
        }
        let Change::Invoice(invoice) = read(&without(an_invoice(), "sessions")) else { panic!("no sessions") };
        assert_eq!(invoice.sessions, []);
    }

    #[test]
    fn a_payment_is_read_and_what_was_taken_back_of_it() {
        let Change::Payment(payment) = read(&a_payment()) else { panic!("no payment") };
        assert_eq!((payment.id.as_str(), payment.invoice.as_str(), payment.reference.as_str()), ("pay_1", "inv_1", "vesper-1"));
        assert_eq!((payment.portion, payment.method, payment.net().get()), (Portion::Client, Method::Card, 750));
        assert_eq!(payment.first_observed_at, payment.seen.observed_at);
        let cases = [
            (json!({"reversed": null}), 0),
            (json!({"reversed": 0}), 0),
            (json!({"reversed": 1000}), 1000),
            (json!({"reversed": null, "state": "reversed"}), 1000),
            (json!({"reversed": 1000, "state": "reversed"}), 1000),
        ];
        for (changes, want) in cases {
            let Change::Payment(payment) = read(&with(a_payment(), &changes)) else { panic!("{changes}") };
            assert_eq!(payment.reversed.get(), want, "{changes}");
        }
        for (word, want) in [("ach", Method::Ach), ("venmo", Method::Other), ("other", Method::Other), ("credit", Method::Credit)]
        {
            let Change::Payment(payment) = read(&with(a_payment(), &json!({"method": word}))) else { panic!("{word}") };
            assert_eq!(payment.method, want);
        }
    }

    #[test]
    fn a_record_of_an_unknown_kind_is_told_apart_whatever_it_holds() {
        let session = json!({"kind": "session", "id": 7, "amount": 1.5, "emails": MAIL, "status": []});
        assert_eq!(read(&session), Change::UnknownKind { kind: "session".to_owned() });
        assert_eq!(read(&json!({"kind": MAIL})), Change::UnknownKind { kind: "?".to_owned() });
    }

    #[test]
    fn a_record_that_breaks_the_contract_says_which_field_and_never_its_value() {
        let cases: Vec<(Value, &str)> = vec![
            (with(a_client(), &json!({"status": MAIL})), "`status`"),
            (without(a_client(), "status"), "`status` is missing"),
            (with(a_client(), &json!({"emails": MAIL})), "`emails`"),
            (with(a_client(), &json!({"emails": [MAIL, 1]})), "`emails`"),
            (with(a_client(), &json!({"display_name": {"first": NAME}})), "`display_name`"),
            (with(a_client(), &json!({"autopay": true})), "`autopay`"),
            (with(a_client(), &json!({"observed_at": NAME})), "`observed_at`"),
            (with(a_client(), &json!({"observed_at": "2026-11-21"})), "`observed_at`"),
            (with(a_client(), &json!({"stripe_customer_ids": ["cus\u{7}"]})), "`stripe_customer_ids`"),
            (without(a_client(), "version"), "`version` is missing"),
            (with(an_invoice(), &json!({"status": "paid"})), "`status`"),
            (with(an_invoice(), &json!({"currency": "dollars"})), "`currency`"),
            (with(an_invoice(), &json!({"issued_on": "2026-11-20T00:00:00Z"})), "`issued_on`"),
            (with(an_invoice(), &json!({"issued_on": "2026-02-30"})), "`issued_on`"),
            (with(an_invoice(), &json!({"client_share": share(4200, 0, 0, 4100)})), "`client_share` does not add up"),
            (with(an_invoice(), &json!({"payer_share": share(0, -5, 0, 5)})), "`payer_share` does not add up"),
            (with(an_invoice(), &json!({"client_share": [4200, 0, 0, 4200]})), "`client_share`"),
            (
                with(an_invoice(), &json!({"client_share": {"charge": 0, "paid": 0, "open": 0}})),
                "`client_share`: `written_off` is missing",
            ),
            (with(an_invoice(), &json!({"sessions": [{"id": "s_1"}]})), "`sessions.service_date` is missing"),
            (without(an_invoice(), "payer_share"), "`payer_share` is missing"),
            (with(a_payment(), &json!({"amount": "1000"})), "`amount` is not a whole number"),
            (with(a_payment(), &json!({"amount": 0})), "`amount`"),
            (with(a_payment(), &json!({"amount": -5})), "`amount`"),
            (with(a_payment(), &json!({"amount": 1_000_000_000_001_i64})), "`amount`"),
            (with(a_payment(), &json!({"reversed": 1001})), "`reversed`"),
            (with(a_payment(), &json!({"reversed": -1})), "`reversed`"),
            (with(a_payment(), &json!({"reversed": 250, "state": "reversed"})), "`reversed`"),
            (with(a_payment(), &json!({"portion": "guarantor"})), "`portion`"),
            (with(a_payment(), &json!({"state": "pending"})), "`state`"),
            (with(a_payment(), &json!({"reference": "x".repeat(1025)})), "`reference`"),
            (without(a_payment(), "invoice_id"), "`invoice_id` is missing"),
        ];
        for (record, want) in cases {
            let Change::Unreadable { kind, id, problem } = read(&record) else { panic!("{want}: it was read") };
            assert!(problem.contains(want), "{problem} instead of {want}");
            assert_eq!((Some(kind.as_str()), id.as_deref()), (record["kind"].as_str(), record["id"].as_str()));
            assert!(!problem.to_lowercase().contains("canary"), "{problem}");
        }
    }

    #[test]
    fn money_with_a_fraction_or_an_exponent_is_refused_even_when_it_is_whole() {
        for number in ["1000.0", "1e3", "1E3", "10.5", "99999999999999999999", "-0.0", "null", "true"] {
            let payment = a_payment().to_string().replace(r#""amount":1000"#, &format!(r#""amount":{number}"#));
            assert!(matches!(change_from_json(payment.as_bytes(), 1, &hasher()), Change::Unreadable { .. }), "{number}");
            let invoice = an_invoice().to_string().replace(r#""charge":4200"#, &format!(r#""charge":{number}"#));
            assert!(matches!(change_from_json(invoice.as_bytes(), 1, &hasher()), Change::Unreadable { .. }), "{number}");
        }
    }

    #[test]
    fn what_is_no_record_at_all_is_unreadable() {
        let lines: [&[u8]; 9] = [
            b"",
            b"nonsense",
            b"[]",
            b"null",
            b"{}",
            br#"{"kind": 1}"#,
            br#"{"kind": "client", "kind": "client"}"#,
            b"{\"kind\": \"\xff\"}",
            br#"["client"]"#,
        ];
        for line in lines {
            let change = change_from_json(line, 1, &hasher());
            assert!(matches!(&change, Change::Unreadable { id: None, .. }), "{change:?}");
        }
    }

    #[test]
    fn what_is_written_is_what_the_contract_asks_for_and_never_online() {
        let new = NewPayment {
            invoice: InvoiceId::parse("inv_1").unwrap(),
            amount: Minor::new(4200).unwrap(),
            currency: Currency::USD,
            method: WriteMethod::Credit,
            posted_on: "2026-11-21".parse().unwrap(),
            reference: "vesper-1".to_owned(),
        };
        let want = json!({"invoice_id": "inv_1", "portion": "client", "amount": 4200, "currency": "usd", "method": "credit",
            "online": false, "posted_on": "2026-11-21", "reference": "vesper-1"});
        assert_eq!(serde_json::from_slice::<Value>(&new.to_json().unwrap()).unwrap(), want);
        let new = NewReversal {
            amount: Minor::new(200).unwrap(),
            currency: Currency::USD,
            reason: ReversalReason::Dispute,
            posted_on: "2026-11-21".parse().unwrap(),
        };
        let want = json!({"amount": 200, "currency": "usd", "reason": "dispute", "posted_on": "2026-11-21"});
        assert_eq!(serde_json::from_slice::<Value>(&new.to_json().unwrap()).unwrap(), want);
    }
}
