//! QuickBooks Online: what Vesper books there, the calls for it, and the token they need (design.md section 6,
//! facts/quickbooks.md).
//!
//! Must not: keep state, read a clock, or write anything but account ids, amounts, dates and our own random ids. Nothing
//! is ever edited, voided or deleted there.

mod client;
pub mod consent;
mod faults;
pub mod oauth;
pub mod pacing;
mod wire;

pub use client::{
    AccountListed, AccountNow, Booked, ChangedEntry, Company, EntryNow, FoundEntry, FoundTransfer, QuickBooksClient,
};

use jiff::civil::Date;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use vesper_core::money::Minor;

/// The namespace of our request ids. Changing it would make every unconfirmed posting a new one for QuickBooks.
const REQUEST_NAMESPACE: Uuid = Uuid::from_u128(0xab16_413c_6200_4389_a51a_5f9d_b446_74a0);

/// The longest DocNumber (facts/quickbooks.md A5).
const DOC_NUMBER_MAX: usize = 21;
/// The longest `requestid` (facts/quickbooks.md A2).
const REQUEST_ID_MAX: usize = 50;
/// The longest note that we send; QuickBooks states no limit (facts/quickbooks.md A5).
const NOTE_MAX: usize = 1_000;

/// A JournalEntry to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryDraft {
    /// `TxnDate`.
    pub date: Date,
    /// `DocNumber`, from [`doc_number`].
    pub doc_number: String,
    /// QuickBooks account id and amount, debit positive. At least two, none zero, together zero.
    pub lines: Vec<(String, Minor)>,
    /// `PrivateNote`: our own ids only, at most 1,000 characters.
    pub note: String,
    /// From [`request_id`]; the same for every try.
    pub request_id: String,
}

/// A Transfer to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferDraft {
    /// `TxnDate`.
    pub date: Date,
    /// The QuickBooks account id that the money leaves.
    pub from: String,
    /// The QuickBooks account id that the money reaches; another one.
    pub to: String,
    /// More than zero.
    pub amount: Minor,
    /// `PrivateNote`: our own ids only, at most 1,000 characters.
    pub note: String,
    /// From [`request_id`]; the same for every try.
    pub request_id: String,
}

/// The `requestid` of a posting: UUIDv5 of its id, so that every try of it is the same for QuickBooks (design.md section 6).
#[must_use]
pub fn request_id(posting_id: &str) -> String {
    Uuid::new_v5(&REQUEST_NAMESPACE, posting_id.as_bytes()).to_string()
}

/// The DocNumber of a posting: `VS-yymmdd-` and the first 50 bits of SHA-256 of its id in RFC 4648 base32, 20 characters
/// of the 21 allowed (contracts/export.md).
#[must_use]
pub fn doc_number(date: Date, posting_id: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(posting_id.as_bytes());
    let bits = digest.iter().take(8).fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
    let letter = |i: u32| {
        let five = bits.checked_shr(59_u32.saturating_sub(i.saturating_mul(5))).unwrap_or(0) & 31;
        usize::try_from(five).ok().and_then(|at| ALPHABET.get(at)).map_or('A', |b| char::from(*b))
    };
    let name: String = (0..10).map(letter).collect();
    format!("VS-{}-{name}", date.strftime("%y%m%d"))
}

/// Why a draft may not be sent: it would be our own mistake.
fn flaw_of_entry(draft: &EntryDraft) -> Option<&'static str> {
    if draft.lines.len() < 2 || draft.lines.iter().any(|(account, amount)| account.is_empty() || amount.is_zero()) {
        return Some("an entry needs two lines with an account and an amount");
    }
    if !Minor::sum(draft.lines.iter().map(|(_, amount)| *amount)).is_zero() {
        return Some("debits and credits differ");
    }
    if !is_plain(&draft.doc_number, DOC_NUMBER_MAX) {
        return Some("not a DocNumber of ours");
    }
    flaw_of_common(&draft.request_id, &draft.note)
}

fn flaw_of_transfer(draft: &TransferDraft) -> Option<&'static str> {
    if draft.from.is_empty() || draft.to.is_empty() || draft.from == draft.to || !draft.amount.is_positive() {
        return Some("a transfer needs two accounts and a positive amount");
    }
    flaw_of_common(&draft.request_id, &draft.note)
}

fn flaw_of_common(request_id: &str, note: &str) -> Option<&'static str> {
    if !is_plain(request_id, REQUEST_ID_MAX) {
        return Some("not a request id of ours");
    }
    (note.chars().count() > NOTE_MAX).then_some("the note is too long")
}

/// Letters, digits and `-` only: needs no quoting in a query.
fn is_plain(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_posting_always_has_the_same_request_id() {
        // Fixed values: a change here would book unconfirmed postings twice.
        assert_eq!(request_id("pst_1"), "ad8faaad-6676-527f-b526-deb60eaa0281");
        assert_ne!(request_id("pst_1"), request_id("pst_2"));
        assert!(is_plain(&request_id("pst_1"), REQUEST_ID_MAX));
    }

    #[test]
    fn a_doc_number_is_the_date_and_fifty_bits_of_the_posting_id() {
        assert_eq!(doc_number(date(2026, 11, 21), "pst_1"), "VS-261121-JHXSA24ZAM");
        assert_eq!(doc_number(date(2005, 1, 2), "pst_2"), "VS-050102-BTDYUSKD2T");
        for i in 0..200 {
            let number = doc_number(date(2026, 11, 21), &format!("pst_{i}"));
            let name = number.strip_prefix("VS-261121-").unwrap();
            assert!(name.len() == 10 && name.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')), "{number}");
            assert!(is_plain(&number, DOC_NUMBER_MAX));
        }
    }
}
