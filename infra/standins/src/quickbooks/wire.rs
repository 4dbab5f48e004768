//! QuickBooks' JSON, read strictly and written with the digits of each amount.
//!
//! Must not: accept a field that QuickBooks does not have on a JournalEntry or Transfer.

use super::{Account, JournalEntry, Transfer, text_of_minor};
use jiff::{Timestamp, tz};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

/// A reference to an account or currency.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ref {
    pub value: String,
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "accepted beside the id, never believed")]
    pub name: Option<String>,
}

/// The body of POST journalentry.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct NewEntry<'a> {
    pub doc_number: Option<String>,
    pub txn_date: Option<String>,
    pub private_note: Option<String>,
    #[serde(borrow, default)]
    pub line: Vec<NewLine<'a>>,
    pub currency_ref: Option<Ref>,
    #[expect(dead_code, reason = "accepted, without meaning here")]
    pub adjustment: Option<bool>,
}

/// A line of it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct NewLine<'a> {
    #[expect(dead_code, reason = "accepted; QuickBooks numbers the lines")]
    pub id: Option<String>,
    pub description: Option<String>,
    #[serde(borrow)]
    pub amount: &'a RawValue,
    pub detail_type: String,
    pub journal_entry_line_detail: NewDetail,
}

/// Its side and account.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct NewDetail {
    pub posting_type: String,
    pub account_ref: Ref,
}

/// The body of POST transfer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct NewTransfer<'a> {
    pub from_account_ref: Ref,
    pub to_account_ref: Ref,
    #[serde(borrow)]
    pub amount: &'a RawValue,
    pub txn_date: Option<String>,
    pub private_note: Option<String>,
    pub currency_ref: Option<Ref>,
}

/// A time as QuickBooks writes it.
pub(super) fn time(at: Timestamp) -> String {
    at.to_zoned(tz::TimeZone::fixed(tz::offset(-8))).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// An amount as a JSON number with its digits.
fn number(amount_minor: i64) -> Box<RawValue> {
    RawValue::from_string(text_of_minor(amount_minor)).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OutLine<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    amount: Box<RawValue>,
    detail_type: &'static str,
    journal_entry_line_detail: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Common<'a> {
    id: &'a str,
    #[serde(rename = "domain")]
    domain: &'static str,
    #[serde(rename = "sparse")]
    sparse: bool,
    sync_token: &'static str,
    meta_data: Value,
    currency_ref: Value,
    txn_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_note: Option<&'a str>,
}

impl<'a> Common<'a> {
    fn of(id: &'a str, updated: Timestamp, txn_date: jiff::civil::Date, private_note: Option<&'a str>) -> Common<'a> {
        Common {
            id,
            domain: "QBO",
            sparse: false,
            sync_token: "0",
            meta_data: json!({"CreateTime": time(updated), "LastUpdatedTime": time(updated)}),
            currency_ref: json!({"value": "USD", "name": "United States Dollar"}),
            txn_date: txn_date.to_string(),
            private_note,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OutEntry<'a> {
    adjustment: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    doc_number: Option<&'a str>,
    line: Vec<OutLine<'a>>,
    txn_tax_detail: Value,
    #[serde(flatten)]
    common: Common<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OutTransfer<'a> {
    from_account_ref: Value,
    to_account_ref: Value,
    amount: Box<RawValue>,
    #[serde(flatten)]
    common: Common<'a>,
}

/// What a deleted object looks like in CDC.
pub(super) fn deleted(id: &str, updated: Timestamp) -> String {
    json!({"Id": id, "domain": "QBO", "status": "Deleted", "MetaData": {"LastUpdatedTime": time(updated)}}).to_string()
}

impl JournalEntry {
    /// The entity's JSON.
    pub(super) fn json(&self, name_of: impl Fn(&str) -> String) -> String {
        let lines = self.lines.iter().enumerate().map(|(n, line)| {
            let side = if line.amount_minor < 0 { "Credit" } else { "Debit" };
            let account = json!({"value": line.account, "name": name_of(&line.account)});
            OutLine {
                id: n.to_string(),
                description: line.description.as_deref(),
                amount: number(line.amount_minor.saturating_abs()),
                detail_type: "JournalEntryLineDetail",
                journal_entry_line_detail: json!({"PostingType": side, "AccountRef": account}),
            }
        });
        let out = OutEntry {
            adjustment: false,
            doc_number: self.doc_number.as_deref(),
            line: lines.collect(),
            txn_tax_detail: json!({}),
            common: Common::of(&self.id, self.updated, self.txn_date, self.private_note.as_deref()),
        };
        serde_json::to_string(&out).unwrap_or_default()
    }
}

impl Transfer {
    /// The entity's JSON.
    pub(super) fn json(&self, name_of: impl Fn(&str) -> String) -> String {
        let account = |id: &str| json!({"value": id, "name": name_of(id)});
        let out = OutTransfer {
            from_account_ref: account(&self.from),
            to_account_ref: account(&self.to),
            amount: number(self.amount_minor),
            common: Common::of(&self.id, self.updated, self.txn_date, self.private_note.as_deref()),
        };
        serde_json::to_string(&out).unwrap_or_default()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OutAccount<'a> {
    id: &'a str,
    name: &'a str,
    fully_qualified_name: &'a str,
    sub_account: bool,
    active: bool,
    account_type: &'a str,
    current_balance: Box<RawValue>,
    current_balance_with_sub_accounts: Box<RawValue>,
    currency_ref: Value,
    sync_token: &'static str,
    #[serde(rename = "domain")]
    domain: &'static str,
    #[serde(rename = "sparse")]
    sparse: bool,
}

impl Account {
    /// The entity's JSON, with this balance.
    pub(super) fn json(&self, balance_minor: i64) -> String {
        let out = OutAccount {
            id: &self.id,
            name: &self.name,
            fully_qualified_name: &self.name,
            sub_account: false,
            active: self.active,
            account_type: &self.account_type,
            current_balance: number(balance_minor),
            current_balance_with_sub_accounts: number(balance_minor),
            currency_ref: json!({"value": self.currency, "name": self.currency}),
            sync_token: "0",
            domain: "QBO",
            sparse: false,
        };
        serde_json::to_string(&out).unwrap_or_default()
    }
}
