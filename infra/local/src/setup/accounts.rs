//! Whether the QuickBooks accounts of the settings are the right ones: there, active, of a type that fits, in the practice's
//! currency (facts/quickbooks.md, setup check).
//!
//! Must not: call anybody.

use vesper_adapters::quickbooks::AccountListed;
use vesper_adapters::settings::Accounts;
use vesper_core::money::Currency;

/// Money that Vesper moves by a Transfer: QuickBooks moves between balance sheet accounts only.
const HOLDS: &[&str] = &["Bank", "Other Current Asset"];
/// The bank account.
const BANK: &[&str] = &["Bank"];
/// What costs.
const COSTS: &[&str] = &["Expense", "Other Expense", "Cost of Goods Sold"];
/// What reduces income: contra income, or a cost.
const REDUCES: &[&str] = &["Income", "Other Income", "Expense", "Other Expense"];
/// What the practice owes.
const OWES: &[&str] = &["Other Current Liability", "Long Term Liability"];
/// What it earns.
const EARNS: &[&str] = &["Income", "Other Income"];

/// How one account of the settings stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The key in the settings, such as `books.accounts.checking`.
    pub key: String,
    /// The Id that stands there.
    pub id: String,
    /// Its name and type in QuickBooks, where it is known.
    pub what: Option<String>,
    /// What is wrong, and which accounts would fit. None: it is right.
    pub problem: Option<(String, String)>,
}

fn wanted(a: &Accounts) -> Vec<(String, &str, &'static [&'static str])> {
    let key = |name: &str| format!("books.accounts.{name}");
    let mut all = vec![
        (key("stripe_clearing"), a.stripe_clearing.as_str(), HOLDS),
        (key("checking"), &a.checking, BANK),
        (key("stripe_fees"), &a.stripe_fees, COSTS),
        (key("refunds"), &a.refunds, REDUCES),
        (key("disputes"), &a.disputes, REDUCES),
        (key("unidentified"), &a.unidentified, OWES),
        (key("client_credits"), &a.client_credits, OWES),
        (key("income.default"), &a.income.default, EARNS),
    ];
    all.extend(
        a.income.by_category.iter().map(|(category, id)| (key(&format!("income.{}", category.as_str())), id.as_str(), EARNS)),
    );
    all
}

/// Looks at every account of the settings.
#[must_use]
pub fn check(accounts: &Accounts, listed: &[AccountListed], currency: Currency) -> Vec<Checked> {
    wanted(accounts).into_iter().map(|(key, id, types)| one(key, id, types, listed, currency)).collect()
}

fn one(key: String, id: &str, types: &[&str], listed: &[AccountListed], currency: Currency) -> Checked {
    let found = listed.iter().find(|a| a.id == id);
    let of_type = |a: &AccountListed| types.contains(&a.account_type.as_str());
    let problem = match found {
        None => Some("is no account of this company".to_owned()),
        Some(a) if !a.active => Some("was made inactive".to_owned()),
        Some(a) if !of_type(a) => Some(format!("is of the type {}, expected {}", a.account_type, types.join(" or "))),
        Some(a) if a.currency.as_deref().is_some_and(|c| c != currency.as_str()) => {
            Some(format!("is in {}, the practice in {currency}", a.currency.as_deref().unwrap_or_default()))
        }
        Some(_) => None,
    };
    let remedy = || {
        let fits = listed.iter().filter(|a| a.active && of_type(a));
        let fits: Vec<String> = fits.take(8).map(|a| format!("{} ({})", a.id, a.name)).collect();
        if fits.is_empty() {
            format!("make an account of the type {} in QuickBooks", types.join(" or "))
        } else {
            format!("accounts that would fit: {}", fits.join(", "))
        }
    };
    let what = found.map(|a| format!("{} ({})", a.name, a.account_type));
    Checked { key, id: id.to_owned(), what, problem: problem.map(|p| (p, remedy())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vesper_adapters::settings::IncomeAccounts;

    fn listed(id: &str, account_type: &str) -> AccountListed {
        let (id, name, account_type) = (id.to_owned(), format!("n{id}"), account_type.to_owned());
        AccountListed { id, name, active: true, account_type, currency: Some("usd".to_owned()) }
    }

    fn accounts() -> Accounts {
        let id = str::to_owned;
        Accounts {
            stripe_clearing: id("91"),
            checking: id("35"),
            stripe_fees: id("66"),
            refunds: id("67"),
            disputes: id("68"),
            unidentified: id("92"),
            client_credits: id("93"),
            income: IncomeAccounts { default: id("79"), by_category: std::collections::BTreeMap::new() },
        }
    }

    fn books() -> Vec<AccountListed> {
        [
            ("91", "Bank"),
            ("35", "Bank"),
            ("66", "Expense"),
            ("67", "Income"),
            ("68", "Expense"),
            ("92", "Other Current Liability"),
            ("93", "Other Current Liability"),
            ("79", "Income"),
        ]
        .map(|(id, account_type)| listed(id, account_type))
        .to_vec()
    }

    fn problems(listed: &[AccountListed]) -> Vec<String> {
        let checked = check(&accounts(), listed, Currency::USD);
        checked.into_iter().filter_map(|c| Some(format!("{} {}", c.key, c.problem?.0))).collect()
    }

    #[test]
    fn right_accounts_are_right_and_each_fault_is_named_with_its_key() {
        assert_eq!(problems(&books()), Vec::<String>::new());
        let bent = |id: &str, change: fn(&mut AccountListed)| {
            let mut all = books();
            all.iter_mut().filter(|a| a.id == id).for_each(change);
            problems(&all)
        };
        assert_eq!(bent("35", |a| a.id = "36".to_owned()), ["books.accounts.checking is no account of this company"]);
        assert_eq!(bent("66", |a| a.active = false), ["books.accounts.stripe_fees was made inactive"]);
        assert_eq!(
            bent("93", |a| a.account_type = "Income".to_owned()),
            ["books.accounts.client_credits is of the type Income, expected Other Current Liability or Long Term Liability"]
        );
        assert_eq!(
            bent("79", |a| a.currency = Some("cad".to_owned())),
            ["books.accounts.income.default is in cad, the practice in usd"]
        );
    }

    #[test]
    fn the_remedy_lists_what_would_fit() {
        let mut all = books();
        all.iter_mut().filter(|a| a.id == "35").for_each(|a| a.active = false);
        let checked = check(&accounts(), &all, Currency::USD);
        let remedy = checked.into_iter().find_map(|c| c.problem).unwrap().1;
        assert_eq!(remedy, "accounts that would fit: 91 (n91)");
        let none = check(&accounts(), &[], Currency::USD);
        assert!(none[0].problem.as_ref().unwrap().1.starts_with("make an account of the type Bank"));
    }
}
