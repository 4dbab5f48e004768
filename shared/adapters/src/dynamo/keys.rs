//! Key names. The only place that knows them.

use super::item::Key;
use std::fmt::Display;

fn key(pk: String, sk: impl Into<String>) -> Key {
    (pk, sk.into())
}

pub(crate) fn client_pk(client: &impl Display) -> String {
    format!("CLIENT#{client}")
}

pub(crate) fn client(client: &impl Display) -> Key {
    key(client_pk(client), "CLIENT")
}

pub(crate) fn version(client: &impl Display) -> Key {
    key(client_pk(client), "VERSION")
}

pub(crate) fn dependent(guarantor: &impl Display, client: &impl Display) -> Key {
    key(client_pk(guarantor), format!("DEP#{client}"))
}

pub(crate) fn own_link(client: &impl Display, customer: &impl Display) -> Key {
    key(client_pk(client), format!("LINK#{customer}"))
}

pub(crate) fn invoice(client: &impl Display, invoice: &impl Display) -> Key {
    key(client_pk(client), format!("INV#{invoice}"))
}

pub(crate) fn ehr_payment(client: &impl Display, id: &impl Display) -> Key {
    key(client_pk(client), format!("EPAY#{id}"))
}

/// Stripe ids hold no `#`, so payment and number stay apart.
pub(crate) fn allocation(client: &impl Display, payment: &impl Display, n: u32) -> Key {
    key(client_pk(client), format!("ALLOC#{payment}#{n:04}"))
}

pub(crate) fn reversal(client: &impl Display, payment: &impl Display, n: u32, reversal: u32) -> Key {
    key(client_pk(client), format!("BACK#{payment}#{n:04}#{reversal:04}"))
}

pub(crate) fn invoice_home(invoice: &impl Display) -> Key {
    key(invoice_pk(invoice), "HOME")
}

pub(crate) fn invoice_pk(invoice: &impl Display) -> String {
    format!("INVOICE#{invoice}")
}

pub(crate) fn orphan_payment(invoice: &impl Display, id: &impl Display) -> Key {
    key(invoice_pk(invoice), format!("EPAY#{id}"))
}

/// What the keys of EHR payments begin with that stand with an invoice that has not arrived.
pub(crate) const ORPHANS_SK: &str = "EPAY#";

pub(crate) fn ehr_payment_place(id: &impl Display) -> Key {
    key(format!("EPAY#{id}"), "PLACE")
}

pub(crate) fn invoice_number(number: &str) -> Key {
    key(format!("NUMBER#{number}"), "NUMBER")
}

pub(crate) fn session_pk(session: &impl Display) -> String {
    format!("SESSION#{session}")
}

pub(crate) fn session_invoice(session: &impl Display, invoice: &impl Display) -> Key {
    key(session_pk(session), format!("INV#{invoice}"))
}

pub(crate) fn customer(customer: &impl Display) -> Key {
    key(format!("CUSTOMER#{customer}"), "CUSTOMER")
}

pub(crate) fn recovery(payment: &impl Display) -> Key {
    key(payment_pk(payment), "RECOVERY")
}

pub(crate) fn failure(payment: &impl Display) -> Key {
    key(payment_pk(payment), "FAILED")
}

pub(crate) fn customer_pk(customer: &impl Display) -> String {
    format!("CUSTOMER#{customer}")
}

pub(crate) fn recovery_of(customer: &impl Display, payment: &impl Display) -> Key {
    key(customer_pk(customer), format!("RECOVERY#{payment}"))
}

pub(crate) fn claim(invoice: &impl Display) -> Key {
    key(invoice_pk(invoice), "CLAIM")
}

/// Where a payment with money left is noted: with its paying client, or with its customer.
pub(crate) fn money_left(pk: String, payment: &impl Display) -> Key {
    key(pk, format!("MONEY#{payment}"))
}

/// A client's credit that is to be looked at.
pub(crate) fn credit_look(client: &impl Display) -> Key {
    key(client_pk(client), "CREDIT")
}

pub(crate) fn email(hash: &impl Display) -> Key {
    key(format!("EMAIL#{hash}"), "EMAIL")
}

pub(crate) fn ehr_reference_pk(reference: &str) -> String {
    format!("EREF#{reference}")
}

/// Says that something carries this reference. Does not begin like what does.
pub(crate) fn ehr_referenced(reference: &str) -> Key {
    key(ehr_reference_pk(reference), "ANY")
}

pub(crate) const EHR_REFERENCE_SK: &str = "EPAY#";

pub(crate) fn ehr_reference(reference: &str, id: &impl Display) -> Key {
    key(ehr_reference_pk(reference), format!("EPAY#{id}"))
}

pub(crate) fn payment_pk(payment: &impl Display) -> String {
    format!("PAYMENT#{payment}")
}

pub(crate) fn payment(payment: &impl Display) -> Key {
    key(payment_pk(payment), "PAYMENT")
}

pub(crate) fn movement(payment: &impl Display, movement: &impl Display) -> Key {
    key(payment_pk(payment), format!("MOVE#{movement}"))
}

pub(crate) fn posting(subject: &impl Display, posting: &impl Display) -> Key {
    key(payment_pk(subject), format!("POSTING#{posting}"))
}

pub(crate) fn review_of(subject: &impl Display, review: &impl Display) -> Key {
    key(format!("ABOUT#{subject}"), format!("REVIEW#{review}"))
}

pub(crate) fn about_pk(subject: &impl Display) -> String {
    format!("ABOUT#{subject}")
}

pub(crate) fn review(review: &impl Display) -> Key {
    key(format!("REVIEW#{review}"), "REVIEW")
}

pub(crate) fn event(event: &impl Display) -> Key {
    key(format!("EVENT#{event}"), "EVENT")
}

pub(crate) fn dead_letter(queue: &str, id: &impl Display) -> Key {
    key(format!("DEAD#{queue}"), format!("{id}"))
}

pub(crate) fn audit(day: &str, at: &str, id: &str) -> Key {
    key(format!("AUDIT#{day}"), format!("{at}#{id}"))
}

pub(crate) const SEAL_PK: &str = "SEAL";

pub(crate) fn seal(n: u64) -> Key {
    key(SEAL_PK.to_owned(), format!("{n:012}"))
}

pub(crate) fn meta(name: &str) -> Key {
    key("META".to_owned(), name)
}

pub(crate) fn chore(name: &str) -> Key {
    key("CHORE".to_owned(), name)
}

pub(crate) fn payout_pk(payout: &str) -> String {
    format!("PAYOUT#{payout}")
}

pub(crate) fn payout(payout: &str) -> Key {
    key(payout_pk(payout), "PAYOUT")
}

/// The rows of one reading of a payout sort in the order in which Stripe listed them.
pub(crate) fn payout_row(payout: &str, look: u32, n: u32) -> Key {
    key(payout_pk(payout), format!("{}{n:08}", payout_rows(look)))
}

pub(crate) fn payout_rows(look: u32) -> String {
    format!("ROW#{look:04}#")
}

pub(crate) const PARKED_PK: &str = "PARKED";

pub(crate) fn parked(payment: &impl Display) -> Key {
    key(PARKED_PK.to_owned(), format!("{payment}"))
}

pub(crate) fn parked_with(client: &impl Display, payment: &impl Display) -> Key {
    key(client_pk(client), format!("PARKED#{payment}"))
}
