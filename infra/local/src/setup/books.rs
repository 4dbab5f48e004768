//! QuickBooks: the owner's consent where there is no connection, then company, accounts and the opening entry.
//!
//! Must not: post anything. The opening entry is proposed; a person posts it and confirms it once (design.md section 3).

use super::report::Report;
use super::secrets::REFRESH;
use super::{Work, accounts, consent};
use crate::Failure;
use jiff::Timestamp;
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::oauth::TokenState;
use vesper_adapters::quickbooks::{QuickBooksClient, consent as page};
use vesper_adapters::settings::{Books, QuickBooksSettings};
use vesper_core::money::Minor;
use vesper_functions::app::App;
use vesper_functions::payouts;
use vesper_functions::push_books::connect::{self, NoAccess};

const AREA: &str = "books";

/// Brings the connection into the right state, and looks at what stands behind it.
///
/// # Errors
/// When the consent does not come, or what it brought cannot be stored.
pub(super) async fn bring(w: &mut Work<'_>, connection: Option<&TokenState>, report: &mut Report<'_>) -> Result<(), Failure> {
    let settings = w.settings;
    let Books::QuickBooks(q) = &settings.books else {
        report.unchanged(AREA, "books.kind = \"none\": nothing to connect");
        return Ok(());
    };
    let (Some(id), Some(secret)) = (w.secret("QUICKBOOKS_CLIENT_ID"), w.secret("QUICKBOOKS_CLIENT_SECRET")) else {
        return Ok(()); // Told as a missing secret.
    };
    let lost = connection.is_some_and(|c| c.disconnected);
    let never = connection.is_none() && w.secret(REFRESH).is_none();
    let asked = w.reconnect || lost || never;
    if asked {
        let why = if never {
            "it was never connected"
        } else if lost {
            "the connection was lost"
        } else {
            "as asked"
        };
        let text = format!("ask the owner of company {} for his consent: {why}", q.realm_id);
        if !report.may(AREA, &text) {
            return Ok(());
        }
        connect_anew(w, q, [&id, &secret], report).await?;
    } else if w.place.get(REFRESH).is_none()
        && let Some(state) = connection
        && report.may(AREA, "store the refresh token of the connection again")
    {
        // A setup that was interrupted: the newest token is as good as the first.
        w.place.put(REFRESH, &Secret::new(state.refresh.as_str())).await?;
        report.changed(AREA, format!("the refresh token of the connection is in {}", w.place.called()));
    }
    // Only now: the consent has brought the secret that it needs.
    match super::app(w) {
        Some(app) => look(w, &app, q, report, asked).await,
        None => report.unchanged(AREA, "a dry run does not look at company and accounts: that could refresh the token"),
    }
    Ok(())
}

async fn connect_anew(
    w: &mut Work<'_>,
    q: &QuickBooksSettings,
    client: [&Secret; 2],
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let page_of = |redirect: &str, state: &str| page::page(&q.token_url, client[0], redirect, state);
    let given = consent::ask(w.owner, &q.realm_id, page_of).await?;
    let pair = page::exchange(w.transport.as_ref(), &q.token_url, client, &given.code, &given.redirect).await;
    let pair = pair.map_err(|e| Failure::problem(format!("{e}: run vesper setup again")))?;
    // The secret first: with it the connection can be found again, whatever happens next.
    w.place.put(REFRESH, &pair.refresh).await?;
    if let Some(store) = &w.store {
        let nonce = || {
            let mut nonce = [0; 12];
            nonce.copy_from_slice(&crate::serve::random_32()[..12]);
            nonce
        };
        connect::consented(store, &pair, (w.clock)(), nonce).await.map_err(|e| w.stored(&e))?;
    }
    report.changed(
        AREA,
        format!("company {} is connected; the token is in {}, the newest in the table", q.realm_id, w.place.called()),
    );
    if (w.given)(REFRESH).is_some_and(|old| old.trim() != pair.refresh.expose()) {
        report.todo(AREA, format!("remove {REFRESH} from the environment: the stored one is newer"));
    }
    Ok(())
}

async fn look(w: &Work<'_>, app: &App, q: &QuickBooksSettings, report: &mut Report<'_>, asked: bool) {
    let access = match connect::access(app).await {
        Ok(access) => access,
        Err(e @ NoAccess::Disconnected) => return report.problem(AREA, format!("{e}: run vesper setup --reconnect")),
        Err(e) => return report.problem(AREA, e.to_string()),
    };
    let books = QuickBooksClient::new(w.transport.clone(), &q.api_base, &q.realm_id);
    let (company, listed) = match (books.company(&access, &q.realm_id).await, books.accounts(&access).await) {
        (Ok(company), Ok(listed)) => (company, listed),
        (Err(e), _) | (_, Err(e)) => return report.problem(AREA, format!("the company cannot be read: {e}")),
    };
    let currency = w.settings.practice.currency;
    if let Some(theirs) = company.currency.as_deref().filter(|c| *c != currency.as_str()) {
        report.problem(AREA, format!("{} keeps its books in {theirs}, practice.currency is {currency}", company.name));
    }
    if !asked {
        report.unchanged(AREA, format!("connected to {}", company.name));
    }
    for checked in accounts::check(&q.accounts, &listed, currency) {
        let what = checked.what.unwrap_or_default();
        match checked.problem {
            None => report.unchanged("accounts", format!("{} = \"{}\": {what}", checked.key, checked.id)),
            Some((problem, remedy)) => {
                report.problem("accounts", format!("{} = \"{}\" {problem}; {remedy}", checked.key, checked.id));
            }
        }
    }
    let clearing = &q.accounts.stripe_clearing;
    let books_hold = books.account(&access, clearing).await.ok().map(|a| a.balance);
    opening(w, app, clearing, books_hold, report).await;
}

/// At go_live the ledger opens with Stripe's balance, and QuickBooks' clearing account has to hold the same.
async fn opening(w: &Work<'_>, app: &App, clearing: &str, books_hold: Option<Minor>, report: &mut Report<'_>) {
    const AREA: &str = "opening entry";
    match payouts::opening_account(&app.store).await {
        Ok(Some(account)) if account == clearing => {
            return report.unchanged(AREA, format!("confirmed for account {clearing}"));
        }
        Ok(_) => {}
        Err(e) => return report.problem(AREA, e.to_string()),
    }
    let currency = w.settings.practice.currency;
    let held = match app.stripe.balance(currency).await {
        Ok(balance) => balance.available.plus(balance.pending),
        Err(e) => return report.problem(AREA, format!("Stripe's balance is not known: {e}")),
    };
    if held.is_zero() {
        return report.unchanged(AREA, "Stripe holds nothing: the clearing account starts at zero");
    }
    let code = currency.as_str().to_uppercase();
    let when = match w.go_live {
        Some(at) if at > (w.clock)() => {
            format!("run vesper setup again at go_live ({at}) for the amount of that moment; now it is")
        }
        _ => "post it in QuickBooks, dated the day of go_live".to_owned(),
    };
    if books_hold == Some(held) {
        return report.todo(
            AREA,
            format!("account {clearing} holds Stripe's {held} {code} already: confirm it when the review page asks for it"),
        );
    }
    let (amount, side, other) = if held.is_positive() { (held, "debit", "credit") } else { (held.negated(), "credit", "debit") };
    report.todo(
        AREA,
        format!(
            "{when}: {side} account {clearing} with {amount} {code}, {other} the account where this money stands in your books \
             today; confirm it when the review page asks for it"
        ),
    );
}

/// The stored connection.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn connection(w: &Work<'_>) -> Result<Option<TokenState>, Failure> {
    match &w.store {
        Some(store) => connect::stored(store).await.map_err(|e| w.stored(&e)),
        None => Ok(None),
    }
}

/// When the practice goes live, as far as it is known.
pub(super) async fn go_live(w: &Work<'_>) -> Option<Timestamp> {
    match (w.settings.practice.go_live, &w.store) {
        (Some(at), _) => Some(at),
        (None, Some(store)) => crate::stack::build::stored_go_live(store).await.ok().flatten(),
        (None, None) => None,
    }
}
