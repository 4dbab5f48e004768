//! QuickBooks' JSON around the company itself: its name and currency, and its list of accounts.

use super::RefIn;
use crate::quickbooks::{AccountListed, Company};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CompanyAnswer {
    company_info: CompanyIn,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CompanyIn {
    company_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PreferencesAnswer {
    preferences: PreferencesIn,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PreferencesIn {
    currency_prefs: Option<CurrencyPrefs>,
    accounting_info_prefs: Option<AccountingInfoPrefs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CurrencyPrefs {
    home_currency: Option<RefIn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountingInfoPrefs {
    book_close_date: Option<jiff::civil::Date>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountsAnswer {
    query_response: AccountRows,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountRows {
    #[serde(default)]
    account: Vec<AccountIn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountIn {
    id: String,
    name: String,
    active: bool,
    account_type: String,
    currency_ref: Option<RefIn>,
}

/// The company's name; None when the answer cannot be read.
pub(in crate::quickbooks) fn name(body: &[u8]) -> Option<String> {
    serde_json::from_slice(body).ok().map(|a: CompanyAnswer| a.company_info.company_name)
}

/// Home currency and closed period beside the name; None when the answer cannot be read. A company without the multicurrency
/// setting may leave the currency out.
pub(in crate::quickbooks) fn company(name: String, body: &[u8]) -> Option<Company> {
    let preferences = serde_json::from_slice(body).ok().map(|a: PreferencesAnswer| a.preferences)?;
    let currency = preferences.currency_prefs.and_then(|c| c.home_currency).map(|c| c.value.to_lowercase());
    let closed_until = preferences.accounting_info_prefs.and_then(|a| a.book_close_date);
    Some(Company { name, currency, closed_until })
}

/// The accounts; None when the answer cannot be read.
pub(in crate::quickbooks) fn accounts(body: &[u8]) -> Option<Vec<AccountListed>> {
    let rows = serde_json::from_slice(body).ok().map(|a: AccountsAnswer| a.query_response.account)?;
    let listed = |a: AccountIn| AccountListed {
        id: a.id,
        name: a.name,
        active: a.active,
        account_type: a.account_type,
        currency: a.currency_ref.map(|c| c.value.to_lowercase()),
    };
    Some(rows.into_iter().map(listed).collect())
}
