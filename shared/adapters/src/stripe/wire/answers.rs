//! Stripe's answers to Vesper's own calls: the same objects as in events, as they are now, and the lists and errors around them.

use super::{
    Projection, charge_arrived, email, failure_from_payment_intent, refund, success_from_charge, success_from_payment_intent,
};
use crate::stripe::json::{AnyId, Obj, Problem};
use jiff::Timestamp;
use vesper_core::event::{Failure, Refund, Success};
use vesper_core::ids::{ChargeId, CustomerId, EmailHash, MovementId, PaymentId};
use vesper_core::money::{Currency, Minor};

/// A PaymentIntent as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentIntentNow {
    /// `pi_...`.
    pub payment: PaymentId,
    /// Stripe's `status`, such as `succeeded` or `requires_payment_method`.
    pub status: String,
    /// What is asked, in minor units.
    pub amount: Minor,
    /// What arrived, in minor units.
    pub amount_received: Minor,
    /// Of both.
    pub currency: Currency,
    /// None for a guest.
    pub customer: Option<CustomerId>,
    /// Empty after a decline (facts/stripe.md section 4).
    pub payment_method: Option<String>,
    /// The newest charge, failed ones included.
    pub latest_charge: Option<ChargeId>,
    /// The money, when the status is `succeeded`.
    pub success: Option<Success>,
    /// The newest failure, when there is one and the status is not `succeeded`.
    pub failure: Option<Failure>,
    /// When it was created.
    pub created: Timestamp,
}

/// A charge as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeNow {
    /// `ch_...` or `py_...`.
    pub charge: ChargeId,
    /// Its PaymentIntent, when it has one.
    pub payment_intent: Option<PaymentId>,
    /// Stripe's `status`: `succeeded`, `pending` or `failed`.
    pub status: String,
    /// The money, when it arrived (succeeded and captured). `payment` is the PaymentIntent, or the charge without one.
    pub success: Option<Success>,
    /// A dispute was opened against it.
    pub disputed: bool,
    /// Radar blocked it: the bank was never asked (`outcome.type`, facts/stripe.md section 4).
    pub blocked: bool,
}

/// A customer as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomerNow {
    /// The address, hashed; None when there is none.
    pub email: Option<EmailHash>,
    /// Stripe still answers for a deleted customer, with nothing but its id.
    pub deleted: bool,
    /// `invoice_settings.default_payment_method`.
    pub default_payment_method: Option<String>,
}

/// One page of the list of all customers, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomersPage {
    /// Each customer with the hash of its address.
    pub customers: Vec<(CustomerId, Option<EmailHash>)>,
    /// Whether another page follows, after the last customer of this one.
    pub has_more: bool,
}

/// A payment method as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentMethodNow {
    /// Whose it is; None when it is detached.
    pub customer: Option<CustomerId>,
    /// Stripe's `type`, such as `card`.
    pub kind: String,
}

/// What an error answer says. Codes only.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::stripe) struct Refusal {
    /// `error.type`.
    pub(in crate::stripe) kind: Option<String>,
    /// `error.code`.
    pub(in crate::stripe) code: Option<String>,
    /// `error.payment_intent.status`.
    pub(in crate::stripe) payment_intent_status: Option<String>,
    /// The decline, when the error carries its PaymentIntent.
    pub(in crate::stripe) failure: Option<Failure>,
}

/// One page of a list.
pub(in crate::stripe) struct Page<T> {
    pub(in crate::stripe) items: Vec<T>,
    pub(in crate::stripe) has_more: bool,
}

/// An item that a list can be continued after.
pub(in crate::stripe) trait Cursor {
    fn id(&self) -> &str;
}

impl Cursor for Refund {
    fn id(&self) -> &str {
        MovementId::as_str(&self.id)
    }
}

impl Cursor for (PaymentId, String) {
    fn id(&self) -> &str {
        self.0.as_str()
    }
}

impl Cursor for (CustomerId, Option<EmailHash>) {
    fn id(&self) -> &str {
        self.0.as_str()
    }
}

pub(super) fn object(body: &[u8]) -> Result<Obj<'_>, Problem> {
    std::str::from_utf8(body).ok().and_then(Obj::parse).ok_or(Problem::new("body", "is no JSON object"))
}

fn status(object: &Obj<'_>) -> Result<String, Problem> {
    object.word("status").ok_or(Problem::new("status", "is missing"))
}

pub(in crate::stripe) fn payment_intent(body: &[u8], p: &Projection) -> Result<PaymentIntentNow, Problem> {
    let pi = object(body)?;
    let (status, error) = (status(&pi)?, pi.object_if_any("last_payment_error")?);
    let succeeded = status == "succeeded";
    Ok(PaymentIntentNow {
        payment: pi.id("id")?,
        amount: pi.amount("amount")?,
        amount_received: pi.amount("amount_received")?,
        currency: pi.currency("currency")?,
        customer: pi.id_if_any("customer")?,
        payment_method: pi.id_if_any::<AnyId>("payment_method")?.map(|id| id.0),
        latest_charge: pi.id_if_any("latest_charge")?,
        success: succeeded.then(|| success_from_payment_intent(&pi, p)).transpose()?,
        failure: error.filter(|_| !succeeded).map(|e| failure_from_payment_intent(&pi, Some(&e), p)).transpose()?,
        created: pi.time("created")?,
        status,
    })
}

/// The status of the PaymentIntent that a confirm answers with. Nothing else of it decides, so nothing else can make it unreadable.
pub(in crate::stripe) fn confirmed(body: &[u8], payment: &PaymentId) -> Result<String, Problem> {
    let pi = object(body)?;
    if pi.id::<PaymentId>("id")? != *payment {
        return Err(Problem::new("id", "is another one"));
    }
    status(&pi)
}

pub(in crate::stripe) fn charge(body: &[u8], p: &Projection) -> Result<ChargeNow, Problem> {
    charge_of(&object(body)?, p)
}

pub(super) fn charge_of(charge: &Obj<'_>, p: &Projection) -> Result<ChargeNow, Problem> {
    Ok(ChargeNow {
        charge: charge.id("id")?,
        payment_intent: charge.id_if_any("payment_intent")?,
        status: status(charge)?,
        success: charge_arrived(charge).then(|| success_from_charge(charge, p)).transpose()?,
        disputed: charge.flag("disputed").unwrap_or(false),
        blocked: charge.object("outcome").and_then(|o| o.word("type")).as_deref() == Some("blocked"),
    })
}

pub(in crate::stripe) fn customer(body: &[u8], p: &Projection) -> Result<(CustomerId, CustomerNow), Problem> {
    let customer = object(body)?;
    let settings = customer.object_if_any("invoice_settings")?;
    let default = settings.map(|s| s.id_if_any::<AnyId>("default_payment_method")).transpose()?.flatten();
    let now = CustomerNow {
        email: email(&customer, "email", p),
        deleted: customer.flag("deleted").unwrap_or(false),
        default_payment_method: default.map(|id| id.0),
    };
    Ok((customer.id("id")?, now))
}

pub(in crate::stripe) fn payment_method(body: &[u8]) -> Result<PaymentMethodNow, Problem> {
    let method = object(body)?;
    let kind = method.word("type").ok_or(Problem::new("type", "is missing"))?;
    Ok(PaymentMethodNow { customer: method.id_if_any("customer")?, kind })
}

pub(super) fn page<T>(body: &[u8], read: impl Fn(&Obj<'_>) -> Result<T, Problem>) -> Result<Page<T>, Problem> {
    let list = object(body)?;
    let items = list.objects_if_any("data")?.ok_or(Problem::new("data", "is missing"))?;
    let has_more = list.flag("has_more").ok_or(Problem::new("has_more", "is missing"))?;
    Ok(Page { items: items.iter().map(read).collect::<Result<_, _>>()?, has_more })
}

pub(in crate::stripe) fn refunds(body: &[u8], p: &Projection) -> Result<Page<Refund>, Problem> {
    page(body, |item| refund(item, p))
}

pub(in crate::stripe) fn customers(body: &[u8], p: &Projection) -> Result<Page<(CustomerId, Option<EmailHash>)>, Problem> {
    page(body, |item| Ok((item.id("id")?, email(item, "email", p))))
}

pub(in crate::stripe) fn payment_intents(body: &[u8]) -> Result<Page<(PaymentId, String)>, Problem> {
    page(body, |item| Ok((item.id("id")?, status(item)?)))
}

/// Whether a list holds anything.
pub(in crate::stripe) fn any(body: &[u8]) -> Result<bool, Problem> {
    page(body, |_| Ok(())).map(|page| !page.items.is_empty())
}

/// Reads an error answer; what cannot be read is absent.
pub(in crate::stripe) fn refusal(body: &[u8], p: &Projection) -> Refusal {
    let Some(error) = object(body).ok().and_then(|o| o.object("error")) else { return Refusal::default() };
    let pi = error.object("payment_intent");
    Refusal {
        kind: error.word("type"),
        code: error.word("code"),
        payment_intent_status: pi.as_ref().and_then(|pi| pi.word("status")),
        failure: pi.and_then(|pi| failure_from_payment_intent(&pi, Some(&error), p).ok()),
    }
}
