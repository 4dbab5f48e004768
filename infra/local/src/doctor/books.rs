//! What doctor asks QuickBooks: the app's keys, the connection, the company and its accounts.
//!
//! Must not: refresh a token (that would change what is stored), or show one.

use super::Subject;
use super::finding::{Area, Finding};
use crate::setup::accounts;
use jiff::Timestamp;
use vesper_adapters::error::Class;
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::{QuickBooksClient, consent};
use vesper_adapters::settings::{Books, QuickBooksSecrets, QuickBooksSettings};
use vesper_functions::push_books::connect;

/// What a person does about a lost connection.
const RECONNECT: &str = "run vesper setup --reconnect, and consent as the owner of the company";

/// Everything that QuickBooks is asked.
pub(super) async fn check(s: &Subject, out: &mut Vec<Finding>) {
    let mut area = Area::new("books", out);
    let Books::QuickBooks(settings) = &s.settings.books else {
        return area.ok("books.kind = \"none\": postings are kept and sent nowhere");
    };
    let Some(secrets) =
        s.secrets.quickbooks.as_ref().filter(|q| !q.client_id.expose().is_empty() && !q.client_secret.expose().is_empty())
    else {
        return area.skipped("nothing is asked of QuickBooks without QUICKBOOKS_CLIENT_ID and QUICKBOOKS_CLIENT_SECRET");
    };
    let keys = [&secrets.client_id, &secrets.client_secret];
    match consent::client_is_known(s.transport.as_ref(), &settings.token_url, keys).await {
        Ok(true) => area.ok("Intuit knows the app"),
        Ok(false) => {
            let remedy = "take both from Keys & credentials of the app at developer.intuit.com, and run vesper setup";
            return area.problem("Intuit does not accept QUICKBOOKS_CLIENT_ID and QUICKBOOKS_CLIENT_SECRET", remedy);
        }
        Err(e) => return area.problem(format!("Intuit's token endpoint does not answer: {e}"), "is books.token_url right?"),
    }
    if let Some(access) = connection(s, secrets, &mut area).await {
        company(s, settings, &access, &mut area).await;
    }
}

/// The access token that is good now, if there is one.
async fn connection(s: &Subject, secrets: &QuickBooksSecrets, area: &mut Area<'_>) -> Option<Secret> {
    let Some(store) = &s.store else {
        area.skipped("whether the company is connected stands in the table: name it with --data or --stack");
        return None;
    };
    let now = (s.clock)();
    match connect::stored(store).await {
        Err(e) => area.problem(format!("the stored connection cannot be read: {e}"), RECONNECT),
        Ok(None) if secrets.refresh_token.expose().is_empty() => {
            area.problem("the company is not connected", "run vesper setup, and consent as the owner of the company");
        }
        Ok(None) => area.skipped("the connection was not used yet: the first posting, or vesper setup, uses it"),
        Ok(Some(state)) if state.disconnected => {
            area.problem("QuickBooks no longer accepts the connection: nothing is posted", RECONNECT);
        }
        Ok(Some(state)) => match state.usable(now) {
            Some(access) => return Some(access),
            None if state.refreshing && state.lease.as_ref().is_some_and(|l| l.until > now) => {
                area.skipped("the access token is being refreshed at this moment");
            }
            None => {
                area.skipped("company and accounts were not looked at: the access token has ended, the next posting refreshes it")
            }
        },
    }
    None
}

async fn company(s: &Subject, settings: &QuickBooksSettings, access: &Secret, area: &mut Area<'_>) {
    let books = QuickBooksClient::new(s.transport.clone(), &settings.api_base, &settings.realm_id);
    let company = match books.company(access, &settings.realm_id).await {
        Ok(company) => company,
        Err(e) if e.class == Class::Unauthorized => {
            let text = format!("the connection is not for company {}, or was taken away", settings.realm_id);
            return area.problem(text, RECONNECT);
        }
        Err(e) => return area.problem(format!("the company cannot be read: {e}"), "run vesper doctor again in a minute"),
    };
    let currency = s.settings.practice.currency;
    match company.currency.as_deref() {
        Some(theirs) if theirs != currency.as_str() => area.problem(
            format!("the company keeps its books in {theirs}, practice.currency is {currency}"),
            "set practice.currency, or connect the right company",
        ),
        _ => area.ok(format!("connected to {}", company.name)),
    }
    if let Some(closed) = company.closed_until {
        let today = Timestamp::to_zoned((s.clock)(), s.settings.practice.time_zone.clone()).date();
        if closed >= today {
            let text = format!("the books are closed until {closed}: everything is posted with the day after");
            area.warning(text, "correct the closing date in QuickBooks, if that was not meant");
        } else {
            area.ok(format!("the books are closed until {closed}"));
        }
    }
    let listed = match books.accounts(access).await {
        Ok(listed) => listed,
        Err(e) => return area.problem(format!("the accounts cannot be read: {e}"), "run vesper doctor again in a minute"),
    };
    let checked = accounts::check(&settings.accounts, &listed, currency);
    let right = checked.iter().filter(|c| c.problem.is_none()).count();
    for (wrong, (problem, remedy)) in checked.iter().filter_map(|c| Some((c, c.problem.as_ref()?))) {
        area.problem(format!("{} = \"{}\" {problem}", wrong.key, wrong.id), remedy.clone());
    }
    area.ok(format!("{right} of {} accounts of the settings are right", checked.len()));
}
