//! The plain words of the pages: reasons, rules, buttons, amounts and ages.
//!
//! Must not: hold anything of a person; it speaks of ids, amounts and days.

use jiff::Timestamp;
use std::collections::BTreeMap;
use vesper_core::ids::InvoiceId;
use vesper_core::money::{Currency, Minor};
use vesper_core::movement::MovementKind;
use vesper_core::review::{Answer, Reason};

/// An amount with its currency: `42.00 USD`.
pub(super) fn amount(amount: Minor, currency: Currency) -> String {
    format!("{amount} {}", currency.as_str().to_ascii_uppercase())
}

/// How long ago: `3 days`.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let minutes = now.duration_since(since).as_mins().max(0);
    let (count, unit) = match minutes {
        0..60 => (minutes, "minute"),
        60..2880 => (minutes.div_euclid(60), "hour"),
        _ => (minutes.div_euclid(1440), "day"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// The reason in a few words, for lists and headings.
pub(super) const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::ChangedPayment => "Payment told again, but different",
        Reason::Currency => "Other currency",
        Reason::ReferenceConflict => "The reference does not fit",
        Reason::VoidInvoice => "Invoice is void",
        Reason::AlreadySettled => "Invoice is already paid",
        Reason::Overpaid => "Paid too much",
        Reason::ClientConflict => "Two different clients",
        Reason::Ambiguous => "Several explanations",
        Reason::PartialUnreferenced => "Part of several invoices",
        Reason::NoInvoice => "No open invoice",
        Reason::UnknownClient => "Unknown client",
        Reason::Refunded => "Refunded",
        Reason::RefundSplit => "Refund of which part",
        Reason::Disputed => "Disputed",
        Reason::CardFailed => "Card failed",
        Reason::UnknownDecline => "Unknown decline",
        Reason::PayoutDrift => "Payout does not add up",
        Reason::PayoutManual => "Manual payout",
        Reason::PayoutOpening => "Opening entry",
        Reason::BooksReconnect => "Books are disconnected",
        Reason::BooksRefused => "Books refused an entry",
        Reason::WriteBackRefused => "EHR refused a payment",
        Reason::DeadLetter => "Work was given up",
        Reason::UnreadableEvent => "Unreadable event",
        Reason::EhrDisagrees => "EHR disagrees",
        Reason::ProofDifference => "Ledgers differ",
    }
}

/// The question in plain words.
pub(super) const fn question(reason: Reason) -> &'static str {
    match reason {
        Reason::ChangedPayment => {
            "Stripe told of this payment again with another amount or currency. The first one stands. Please check it in Stripe."
        }
        Reason::Currency => "The payment is in another currency than what it could pay. Where does it belong?",
        Reason::ReferenceConflict => {
            "What the payment names and what the EHR holds do not fit together. Which invoice does it pay?"
        }
        Reason::VoidInvoice => "The invoice of this payment is void. What becomes of the money?",
        Reason::AlreadySettled => {
            "The client share of the invoice that this payment names is already paid. What becomes of the money?"
        }
        Reason::Overpaid => "The payment is more than what is open. What becomes of the rest?",
        Reason::ClientConflict => "The payment points at two different clients. Whose is it?",
        Reason::Ambiguous => "Several sets of open invoices explain this payment equally well. Which one does it pay?",
        Reason::PartialUnreferenced => "The payment is a part of what is open and names no invoice. Which invoices does it pay?",
        Reason::NoInvoice => "No open invoice is left for this payment. What becomes of the money?",
        Reason::UnknownClient => "Nobody knows whose payment this is. Which invoice does it pay?",
        Reason::Refunded => "Money of this payment was refunded. What becomes of what is owed again?",
        Reason::RefundSplit => "A refund is less than this payment and names no invoice. From which part is it taken?",
        Reason::Disputed => "This payment was disputed. What becomes of what is owed again?",
        Reason::CardFailed => "A card payment failed and is not tried again. The client needs to be asked.",
        Reason::UnknownDecline => "A card was declined with a code that Vesper does not know. It is not tried again.",
        Reason::PayoutDrift => "The transactions of this payout do not add up to its amount. Nothing was posted.",
        Reason::PayoutManual => "Vesper does not post this payout. Please post it by hand.",
        Reason::PayoutOpening => "The books need their opening entry before this payout can be posted.",
        Reason::BooksReconnect => "QuickBooks does not accept Vesper any more. Please connect it again.",
        Reason::BooksRefused => "QuickBooks refused this entry. Once the cause is mended it can be sent again.",
        Reason::WriteBackRefused => "The EHR refused this payment for good. Send it again, or take the allocation back?",
        Reason::DeadLetter => "This work was tried again and again and given up. Once the cause is mended it can be done again.",
        Reason::UnreadableEvent => "This event of Stripe could not be read. Please look at it in Stripe.",
        Reason::EhrDisagrees => "The EHR does not show a payment as Vesper recorded it. Which one is right?",
        Reason::ProofDifference => "The ledger and the outside systems do not agree.",
    }
}

/// The rule of design.md section 4 in words; 0 is a person.
pub(super) const fn rule(rule: u8) -> &'static str {
    match rule {
        0 => "by a person",
        1 => "the payment was decided before",
        2 => "its currency",
        3 => "the invoice or session it names",
        4 => "client credit, a prepayment, or nothing left to decide",
        5 => "exactly one open invoice of this amount",
        6 => "one of several open invoices of this amount",
        7 => "everything that is open",
        8 => "the one set of open invoices with this sum",
        9 => "several sets of open invoices with this sum",
        10 => "a part of the only open invoice",
        11 => "a part of several open invoices",
        12 => "more than everything that is open",
        13 => "nothing open for this client",
        14 => "a client found by a unique e-mail address",
        15 => "who pays is not clear",
        16 => "the EHR held this payment already",
        _ => "another rule",
    }
}

/// What a refund or dispute is called.
pub(super) const fn movement(kind: MovementKind) -> &'static str {
    match kind {
        MovementKind::Refund => "Refund",
        MovementKind::Dispute => "Dispute",
    }
}

fn shares(shares: &[(InvoiceId, Minor)], currency: Currency, numbers: &BTreeMap<InvoiceId, String>, of: &str) -> String {
    let each = shares.iter().map(|(id, m)| {
        let number = numbers.get(id).map_or_else(|| id.as_str(), String::as_str);
        format!("{} {of} invoice {number}", amount(*m, currency))
    });
    each.collect::<Vec<_>>().join(" and ")
}

/// The label of an answer's button.
pub(super) fn label(
    answer: &Answer,
    about: Reason,
    currency: Currency,
    unapplied: Minor,
    numbers: &BTreeMap<InvoiceId, String>,
) -> String {
    match answer {
        Answer::Apply(list) => {
            let rest = unapplied.minus(Minor::sum(list.iter().map(|(_, m)| *m)));
            let what = shares(list, currency, numbers, "to");
            if rest.is_positive() {
                format!("Apply {what}; the rest, {}, becomes client credit", amount(rest, currency))
            } else {
                format!("Apply {what}")
            }
        }
        Answer::Credit => format!("Keep {} as client credit", amount(unapplied, currency)),
        Answer::ReBill => "It is owed again: match it like any other invoice".to_owned(),
        Answer::WriteOff => "I write it off in the EHR".to_owned(),
        Answer::TakeBack { allocations, unapplied } => {
            let mut parts = Vec::new();
            if !allocations.is_empty() {
                parts.push(shares(allocations, currency, numbers, "from"));
            }
            if unapplied.is_positive() {
                parts.push(format!("{} from what is unapplied", amount(*unapplied, currency)));
            }
            format!("Take {}", parts.join(" and "))
        }
        Answer::Retry => "Do it again now".to_owned(),
        Answer::Undo => "Take the allocation back; its money waits for a decision".to_owned(),
        Answer::Keep if matches!(about, Reason::EhrDisagrees) => "Vesper is right: the allocation stands".to_owned(),
        Answer::Keep => "Keep it as it is".to_owned(),
        Answer::AskForCard => "I ask the client for another card".to_owned(),
        Answer::CallClient => "I call the client".to_owned(),
        Answer::OpeningPosted(account) => format!("The opening entry of account {account} stands in the books"),
    }
}
