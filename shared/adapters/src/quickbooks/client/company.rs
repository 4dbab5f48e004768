//! What setup and doctor ask about the company: who it is, and which accounts it has.

use super::{Call, QuickBooksClient, ROWS_MAX, encoded, wire};
use crate::error::CallError;
use crate::personal::Secret;
use jiff::civil::Date;

/// The company as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    /// Its name: the practice's.
    pub name: String,
    /// Its home currency, lower case; None when it does not say.
    pub currency: Option<String>,
    /// The last day of the closed period, if the books are closed.
    pub closed_until: Option<Date>,
}

/// An account of the company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountListed {
    /// Its `Id`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// False once somebody deleted it: QuickBooks only deactivates.
    pub active: bool,
    /// `AccountType`, such as `Bank` or `Income`.
    pub account_type: String,
    /// Lower case; None when it does not say.
    pub currency: Option<String>,
}

impl QuickBooksClient {
    /// Name, home currency and closed period: GET companyinfo and preferences.
    ///
    /// # Errors
    /// As every read: `Transient`, `Throttled`, `Unauthorized`, `Rejected`, or `Bug` for an answer that cannot be read.
    pub async fn company(&self, token: &Secret, realm_id: &str) -> Result<Company, CallError> {
        let attempted = "read the company";
        let answer = self.read(token, &format!("companyinfo/{}", encoded(realm_id)), "", attempted).await?;
        let name = wire::company::name(&answer.body).ok_or_else(|| Call::Read.unreadable(attempted, &answer, "no company"))?;
        let answer = self.read(token, "preferences", "", "read preferences").await?;
        wire::company::company(name, &answer.body)
            .ok_or_else(|| Call::Read.unreadable("read preferences", &answer, "no preferences"))
    }

    /// Every account, deactivated ones too, by id.
    ///
    /// # Errors
    /// As [`Self::company`]; `Bug` too if there are more than one answer holds.
    pub async fn accounts(&self, token: &Secret) -> Result<Vec<AccountListed>, CallError> {
        let attempted = "list accounts";
        // A query leaves deactivated ones out unless it is asked for them; and it may skip rows without an order
        // (facts/quickbooks.md A2).
        let text = format!("select * from Account where Active in (true, false) orderby Id maxresults {ROWS_MAX}");
        let answer = self.read(token, "query", &format!("query={}&", encoded(&text)), attempted).await?;
        let unlike = |what: &str| Call::Read.unreadable(attempted, &answer, what);
        let accounts = wire::company::accounts(&answer.body).ok_or_else(|| unlike("no query answer"))?;
        if accounts.len() >= ROWS_MAX {
            return Err(unlike("more accounts than one answer holds"));
        }
        Ok(accounts)
    }
}
