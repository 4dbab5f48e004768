//! The JSON of QuickBooks Online: the only place that knows its field names (facts/quickbooks.md A4, A5).
//!
//! Must not: touch a float (amounts are read and written as text), or carry anything into QuickBooks but account ids,
//! amounts, dates and our own random ids.

pub(super) mod company;

use super::{EntryDraft, TransferDraft};
use bytes::Bytes;
use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use vesper_core::money::Minor;

/// An amount as QuickBooks writes it: a JSON number in major units with at most two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount(pub(super) Minor);

/// Reads the text of a JSON number. None when it is no plain number, has a third decimal that is not zero, or is out of range.
fn amount_of_text(text: &str) -> Option<Minor> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (major, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if major.is_empty() || major.len() > 12 || fraction.len() > 2 {
        return None;
    }
    if !major.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let minor: i64 = format!("{major}{fraction:0<2}").parse().ok()?;
    Minor::new(if negative { minor.checked_neg()? } else { minor }).ok()
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        amount_of_text(raw.get()).map(Amount).ok_or_else(|| serde::de::Error::custom("not an amount with two decimals"))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EntryOut<'a> {
    txn_date: Date,
    doc_number: &'a str,
    private_note: &'a str,
    line: Vec<LineOut<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LineOut<'a> {
    amount: Amount,
    detail_type: &'static str,
    journal_entry_line_detail: DetailOut<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DetailOut<'a> {
    posting_type: &'static str,
    account_ref: RefOut<'a>,
}

#[derive(Serialize)]
struct RefOut<'a> {
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TransferOut<'a> {
    txn_date: Date,
    amount: Amount,
    from_account_ref: RefOut<'a>,
    to_account_ref: RefOut<'a>,
    private_note: &'a str,
}

/// The body that creates a JournalEntry. None never happens with a checked draft.
pub(super) fn entry_body(draft: &EntryDraft) -> Option<Bytes> {
    let line = draft
        .lines
        .iter()
        .map(|(account, amount)| LineOut {
            amount: Amount(if amount.is_positive() { *amount } else { amount.negated() }),
            detail_type: "JournalEntryLineDetail",
            journal_entry_line_detail: DetailOut {
                posting_type: if amount.is_positive() { "Debit" } else { "Credit" },
                account_ref: RefOut { value: account },
            },
        })
        .collect();
    let out = EntryOut { txn_date: draft.date, doc_number: &draft.doc_number, private_note: &draft.note, line };
    serde_json::to_vec(&out).ok().map(Bytes::from)
}

/// The body that creates a Transfer. None never happens with a checked draft.
pub(super) fn transfer_body(draft: &TransferDraft) -> Option<Bytes> {
    let out = TransferOut {
        txn_date: draft.date,
        amount: Amount(draft.amount),
        from_account_ref: RefOut { value: &draft.from },
        to_account_ref: RefOut { value: &draft.to },
        private_note: &draft.note,
    };
    serde_json::to_vec(&out).ok().map(Bytes::from)
}

#[derive(Deserialize)]
struct RefIn {
    value: String,
}

/// A JournalEntry as QuickBooks keeps it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EntryIn {
    pub(super) id: String,
    pub(super) doc_number: Option<String>,
    pub(super) txn_date: Date,
    pub(super) private_note: Option<String>,
    line: Vec<LineIn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LineIn {
    amount: Option<Amount>,
    journal_entry_line_detail: Option<DetailIn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DetailIn {
    posting_type: PostingType,
    account_ref: RefIn,
}

#[derive(Deserialize)]
enum PostingType {
    Debit,
    Credit,
}

impl EntryIn {
    /// The lines, debit positive. None when a line has money but no account. Lines of text without money, which only
    /// people add, are left out.
    pub(super) fn lines(&self) -> Option<Vec<(String, Minor)>> {
        let mut lines = Vec::with_capacity(self.line.len());
        for line in &self.line {
            match (&line.journal_entry_line_detail, line.amount) {
                (Some(detail), Some(Amount(amount))) => {
                    let signed = match detail.posting_type {
                        PostingType::Debit => amount,
                        PostingType::Credit => amount.negated(),
                    };
                    lines.push((detail.account_ref.value.clone(), signed));
                }
                (None, None | Some(Amount(Minor::ZERO))) => {}
                _ => return None,
            }
        }
        Some(lines)
    }
}

/// What each account gets in all, debit positive: how two entries are compared, since QuickBooks may order lines anew.
pub(super) fn sums_by_account(lines: &[(String, Minor)]) -> BTreeMap<&str, Minor> {
    let mut sums: BTreeMap<&str, Minor> = BTreeMap::new();
    for (account, amount) in lines {
        let sum = sums.entry(account).or_default();
        *sum = sum.plus(*amount);
    }
    sums
}

/// A Transfer as QuickBooks keeps it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TransferIn {
    pub(super) id: String,
    pub(super) txn_date: Date,
    pub(super) amount: Amount,
    from_account_ref: RefIn,
    to_account_ref: RefIn,
    pub(super) private_note: Option<String>,
}

impl TransferIn {
    /// The two lines that it is in the books, debit positive.
    pub(super) fn lines(&self) -> Vec<(String, Minor)> {
        let (from, to) = (self.from_account_ref.value.clone(), self.to_account_ref.value.clone());
        vec![(to, self.amount.0), (from, self.amount.0.negated())]
    }

    /// Whether it moves this amount between these accounts.
    pub(super) fn moves(&self, amount: Minor, from: &str, to: &str) -> bool {
        self.amount.0 == amount && self.from_account_ref.value == from && self.to_account_ref.value == to
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryAnswer {
    journal_entry: EntryIn,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TransferAnswer {
    transfer: TransferIn,
}

/// The JournalEntry of a create answer; None when the answer has none that can be read.
pub(super) fn entry(body: &[u8]) -> Option<EntryIn> {
    serde_json::from_slice(body).ok().map(|a: EntryAnswer| a.journal_entry)
}

/// The Transfer of a create answer; None when the answer has none that can be read.
pub(super) fn transfer(body: &[u8]) -> Option<TransferIn> {
    serde_json::from_slice(body).ok().map(|a: TransferAnswer| a.transfer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueryAnswer {
    query_response: Rows,
}

/// The rows of a query. QuickBooks leaves an empty list out (data: query.empty).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Rows {
    #[serde(default)]
    pub(super) journal_entry: Vec<EntryIn>,
    #[serde(default)]
    pub(super) transfer: Vec<TransferIn>,
}

/// The rows of a query answer; None when it is not one.
pub(super) fn rows(body: &[u8]) -> Option<Rows> {
    serde_json::from_slice(body).ok().map(|a: QueryAnswer| a.query_response)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangesAnswer {
    #[serde(rename = "CDCResponse")]
    parts: Vec<ChangesPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangesPart {
    #[serde(default)]
    query_response: Vec<ChangedLists>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangedLists {
    #[serde(default)]
    journal_entry: Vec<Box<RawValue>>,
    #[serde(default)]
    transfer: Vec<Box<RawValue>>,
}

/// What CDC says of any changed object.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangedIn {
    id: String,
    #[serde(rename = "status")]
    status: Option<String>,
    meta_data: Option<MetaIn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetaIn {
    last_updated_time: Option<jiff::Timestamp>,
}

/// One object that changed, as CDC tells it.
pub(super) struct Changed {
    pub(super) id: String,
    pub(super) updated: Option<jiff::Timestamp>,
    pub(super) now: ChangedNow,
}

/// How it is now.
pub(super) enum ChangedNow {
    Deleted,
    Entry(EntryIn),
    Transfer(TransferIn),
    /// What stands there cannot be read: a person made something that no posting of ours is.
    Unlike,
}

fn changed(raw: &RawValue, is_entry: bool) -> Option<Changed> {
    let about: ChangedIn = serde_json::from_str(raw.get()).ok()?;
    let now = if about.status.as_deref() == Some("Deleted") {
        ChangedNow::Deleted
    } else if is_entry {
        serde_json::from_str(raw.get()).map_or(ChangedNow::Unlike, ChangedNow::Entry)
    } else {
        serde_json::from_str(raw.get()).map_or(ChangedNow::Unlike, ChangedNow::Transfer)
    };
    Some(Changed { id: about.id, updated: about.meta_data.and_then(|m| m.last_updated_time), now })
}

/// The JournalEntries and Transfers of a CDC answer; None when it is not one.
pub(super) fn changes(body: &[u8]) -> Option<Vec<Changed>> {
    let answer: ChangesAnswer = serde_json::from_slice(body).ok()?;
    let mut out = Vec::new();
    for lists in answer.parts.iter().flat_map(|p| &p.query_response) {
        for raw in &lists.journal_entry {
            out.push(changed(raw, true)?);
        }
        for raw in &lists.transfer {
            out.push(changed(raw, false)?);
        }
    }
    Some(out)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PreferencesAnswer {
    preferences: Preferences,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Preferences {
    accounting_info_prefs: AccountingInfoPrefs,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountingInfoPrefs {
    book_close_date: Option<Date>,
}

/// `Preferences.AccountingInfoPrefs.BookCloseDate`: absent if none (facts/quickbooks.md A5). Outer None: not readable.
pub(super) fn book_close_date(body: &[u8]) -> Option<Option<Date>> {
    serde_json::from_slice(body).ok().map(|a: PreferencesAnswer| a.preferences.accounting_info_prefs.book_close_date)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountAnswer {
    account: AccountIn,
}

/// An Account as QuickBooks keeps it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AccountIn {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) active: bool,
    pub(super) account_type: String,
    pub(super) current_balance: Option<Amount>,
}

/// The Account of an answer; None when it cannot be read.
pub(super) fn account(body: &[u8]) -> Option<AccountIn> {
    serde_json::from_slice(body).ok().map(|a: AccountAnswer| a.account)
}

/// A Fault: its type and its codes. Never its texts, which may quote what was sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: String,
    pub(super) codes: Vec<String>,
}

#[derive(Deserialize)]
struct FaultAnswer {
    #[serde(rename = "Fault", alias = "fault")]
    fault: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct FaultIn {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "Error", alias = "error", default)]
    errors: Vec<FaultError>,
}

#[derive(Deserialize)]
struct FaultError {
    code: Option<serde_json::Value>,
}

impl FaultError {
    /// A code as it is compared and shown: digits or letters, without leading zeros (`003001` is 3001).
    fn code(self) -> Option<String> {
        let text = match self.code? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let code = text.trim_start_matches('0');
        let fits = (1..=16).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then(|| code.to_owned())
    }
}

/// The Fault of a body, whatever the HTTP status was; a Fault that cannot be read is one without codes.
/// None when the body has none, or is no JSON object. The authentication layer writes its keys in lower case.
pub(super) fn fault(body: &[u8]) -> Option<Fault> {
    let answer: FaultAnswer = serde_json::from_slice(body).ok()?;
    let fault: FaultIn = match serde_json::from_value(answer.fault?) {
        Ok(fault) => fault,
        Err(_) => return Some(Fault::default()),
    };
    Some(Fault { kind: fault.kind.unwrap_or_default(), codes: fault.errors.into_iter().filter_map(FaultError::code).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_amount_is_read_from_text_and_a_third_decimal_is_refused() {
        let cases = [
            ("233.61", Some(23361)),
            ("42", Some(4200)),
            ("42.0", Some(4200)),
            ("42.5", Some(4250)),
            ("-1.52", Some(-152)),
            ("-0.00", Some(0)),
            ("0.07", Some(7)),
            ("42.000", Some(4200)),
            ("10000000000.00", Some(1_000_000_000_000)),
            ("10000000000.01", None),
            ("42.001", None),
            ("4.2e1", None),
            ("0.30000000000000004", None),
            ("99999999999999999999", None),
            ("\"42.00\"", None),
            ("null", None),
            ("true", None),
            ("[42]", None),
        ];
        for (text, minor) in cases {
            let read: Option<Amount> = serde_json::from_str(text).ok();
            assert_eq!(read.map(|a| a.0.get()), minor, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_round_trips_as_a_number_with_exactly_two_decimals(minor in -Minor::LIMIT..=Minor::LIMIT) {
            let text = serde_json::to_string(&Amount(Minor::new(minor).unwrap())).unwrap();
            let (_, decimals) = text.split_once('.').unwrap();
            prop_assert_eq!(decimals.len(), 2);
            prop_assert_eq!(serde_json::from_str::<Amount>(&text).unwrap().0.get(), minor);
        }
    }

    #[test]
    fn a_fault_is_seen_in_either_spelling_and_even_when_it_cannot_be_read() {
        let seen = |body: &str| fault(body.as_bytes()).map(|f| (f.kind, f.codes.join(",")));
        let some = |kind: &str, codes: &str| Some((kind.to_owned(), codes.to_owned()));
        assert_eq!(seen(r#"{"Fault":{"Error":[{"code":"6210"}],"type":"ValidationFault"}}"#), some("ValidationFault", "6210"));
        assert_eq!(
            seen(r#"{"warnings":null,"fault":{"error":[{"code":"003200"}],"type":"AUTHENTICATION"}}"#),
            some("AUTHENTICATION", "3200")
        );
        assert_eq!(seen(r#"{"Fault":{"Error":[{"code":610},{"code":"2500"}]}}"#), some("", "610,2500"));
        assert_eq!(seen(r#"{"Fault":"broken"}"#), some("", ""));
        assert_eq!(seen(r#"{"Fault":{"Error":[{"code":"Ada Lovelace 1815"}]}}"#), some("", ""));
        assert_eq!(seen(r#"{"Fault":null,"JournalEntry":{}}"#), None);
        assert_eq!(seen("<html>"), None);
    }

    #[test]
    fn lines_of_an_entry_need_an_account_where_they_have_money() {
        let entry = |line: &str| -> Option<Vec<(String, i64)>> {
            let text = format!(r#"{{"JournalEntry":{{"Id":"1","TxnDate":"2026-11-20","Line":[{line}]}}}}"#);
            let lines = super::entry(text.as_bytes())?.lines()?;
            Some(lines.into_iter().map(|(a, m)| (a, m.get())).collect())
        };
        let detail = |side: &str| {
            format!(r#"{{"Amount":1.5,"JournalEntryLineDetail":{{"PostingType":"{side}","AccountRef":{{"value":"9"}}}}}}"#)
        };
        assert_eq!(entry(&detail("Debit")), Some(vec![("9".into(), 150)]));
        assert_eq!(entry(&detail("Credit")), Some(vec![("9".into(), -150)]));
        assert_eq!(entry(&detail("Both")), None);
        assert_eq!(entry(r#"{"Description":"words","DetailType":"DescriptionOnly"}"#), Some(vec![]));
        assert_eq!(entry(r#"{"Amount":1.5,"DetailType":"DescriptionOnly"}"#), None);
    }
}
