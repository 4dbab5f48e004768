//! What a practice chooses (`practice.toml`) and its secrets: contracts/settings.md, typed.
//!
//! A wrong file is refused whole, with everything that is wrong in it. Must not: read files, the environment or a clock.

mod errors;
mod reader;
mod secrets;

pub use crate::stripe::wire::MetadataKeys;
pub use errors::{SettingsError, SettingsErrors};
pub use secrets::{QuickBooksSecrets, Secrets};

use jiff::{Timestamp, civil::Time, tz::TimeZone};
use reader::{Got, Key, Reader, whole};
use std::collections::BTreeMap;
use std::net::IpAddr;
use toml::de::{DeTable, DeValue};
use vesper_core::money::Currency;
use vesper_core::policy::{ApplyCredit, LinkByEmail, MatchingPolicy, Policy, RetryPolicy, SameAmount, WhenUnknown};
use vesper_core::records::Category;

/// What the command at hand uses: only that is asked for. What is there must be right in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `vesper backtest`: [practice] only; no outside system is reached.
    Backtest,
    /// Everything else: the outside systems too.
    Serve,
}

/// Whether Vesper writes to outside systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Live,
    /// It decides, stores and shows everything, and writes to no outside system.
    Shadow,
}

/// `[practice]`.
#[derive(Debug, Clone)]
pub struct Practice {
    /// 1 to 32 of a-z, 0-9 and `-`.
    pub id: String,
    /// The practice's time zone.
    pub time_zone: TimeZone,
    /// Its IANA name, such as `America/Chicago`.
    pub time_zone_name: String,
    /// The practice's currency.
    pub currency: Currency,
    /// Live or shadow.
    pub mode: Mode,
    /// Money created before is not Vesper's; None = the first start in live mode.
    pub go_live: Option<Timestamp>,
}

/// `[stripe]`.
#[derive(Debug, Clone)]
pub struct StripeSettings {
    /// Without a slash at its end.
    pub api_base: String,
    /// The `Stripe-Version` to ask for.
    pub api_version: String,
    /// Events of the other mode are answered and ignored.
    pub livemode: bool,
    /// Which metadata names something.
    pub metadata: MetadataKeys,
}

/// How the EHR is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EhrKind {
    /// A REST bridge.
    Bridge {
        /// Without a slash at its end; may carry a path prefix.
        base_url: String,
    },
    /// Dropped files and a worklist. Also what [`Need::Backtest`] gives when no `base_url` is set.
    Files,
}

/// `[ehr]`.
#[derive(Debug, Clone)]
pub struct EhrSettings {
    /// How it is reached.
    pub kind: EhrKind,
    /// How often the feed is read besides notices, in seconds.
    pub poll_s: u32,
}

/// `[books]`.
#[derive(Debug, Clone)]
pub enum Books {
    /// QuickBooks Online.
    QuickBooks(Box<QuickBooksSettings>),
    /// No books. Also what [`Need::Backtest`] gives when something of QuickBooks is not set.
    None,
}

/// `[books]` with `kind = "quickbooks"`.
#[derive(Debug, Clone)]
pub struct QuickBooksSettings {
    /// Without a slash at its end.
    pub api_base: String,
    /// Where tokens are refreshed.
    pub token_url: String,
    /// The company.
    pub realm_id: String,
    /// Calls per minute; Intuit allows 500 per minute and realm.
    pub max_per_minute: u32,
    /// Which account takes what.
    pub accounts: Accounts,
}

/// `[books.accounts]`: QuickBooks account Ids. `stripe_clearing` and `checking` differ from each other and from all else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// What Stripe holds.
    pub stripe_clearing: String,
    /// The bank account that payouts reach.
    pub checking: String,
    /// Stripe's fees.
    pub stripe_fees: String,
    /// Refunds.
    pub refunds: String,
    /// Disputes.
    pub disputes: String,
    /// Money whose purpose is not known yet.
    pub unidentified: String,
    /// Client credit.
    pub client_credits: String,
    /// Income.
    pub income: IncomeAccounts,
}

/// `[books.accounts.income]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomeAccounts {
    /// For every category that is not named.
    pub default: String,
    /// By category.
    pub by_category: BTreeMap<Category, String>,
}

impl IncomeAccounts {
    /// The account of a category.
    #[must_use]
    pub fn of(&self, category: Category) -> &str {
        self.by_category.get(&category).unwrap_or(&self.default)
    }
}

/// Where something stands in the file, for errors that only show later.
#[derive(Debug, Clone)]
struct Origin {
    file: String,
    livemode_line: Option<usize>,
}

/// A whole, valid `practice.toml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[practice]`.
    pub practice: Practice,
    /// `[stripe]`.
    pub stripe: StripeSettings,
    /// `[ehr]`.
    pub ehr: EhrSettings,
    /// `[books]`.
    pub books: Books,
    /// `[matching]`.
    pub matching: MatchingPolicy,
    /// `[retry]`.
    pub retry: RetryPolicy,
    /// `matching.apply_credit`; of Vesper's own, beside the keys of contracts/settings.md.
    pub apply_credit: ApplyCredit,
    origin: Origin,
}

impl Settings {
    /// Reads a `practice.toml`. `file_name` is how errors call it; `need` is what the command at hand uses.
    ///
    /// # Errors
    /// Everything that is wrong, one line each: file, line, key, what is expected and the remedy.
    pub fn parse(text: &str, file_name: &str, need: Need) -> Result<Settings, SettingsErrors> {
        let (root, syntax) = DeTable::parse_recoverable(text);
        if !syntax.is_empty() {
            return Err(Reader::syntax_errors(file_name, text, &syntax));
        }
        let mut reader = Reader::new(file_name, text, root.get_ref());
        let serve = need == Need::Serve;
        let practice = practice(&mut reader);
        let stripe = stripe(&mut reader);
        let ehr = ehr(&mut reader, serve);
        let books = books(&mut reader, serve);
        let matching = matching(&mut reader);
        let retry = retry(&mut reader);
        let credit = [("by_hand", ApplyCredit::ByHand), ("oldest_first", ApplyCredit::OldestFirst)];
        let apply_credit = reader.word("matching.apply_credit", &credit).or(ApplyCredit::ByHand);
        let origin = Origin { file: file_name.to_owned(), livemode_line: reader.line_of("stripe.livemode") };
        // From here on no value is a stand-in for one that was wrong.
        reader.finish()?;
        Ok(Settings { practice, stripe, ehr, books, matching, retry, apply_credit, origin })
    }

    /// What decisions depend on.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            time_zone: self.practice.time_zone.clone(),
            currency: self.practice.currency,
            matching: self.matching.clone(),
            retry: self.retry.clone(),
            apply_credit: self.apply_credit,
        }
    }
}

fn practice(reader: &mut Reader<'_>) -> Practice {
    let id = Key { path: "practice.id", expected: "1 to 32 of a-z, 0-9 and -", example: "\"northbridge\"" };
    let is_id =
        |t: &str| (1..=32).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let got = reader.text(id, |t| is_id(t).then(|| t.to_owned()));
    let id = reader.required(id, true, got).unwrap_or_default();
    let zone = Key { path: "practice.time_zone", expected: "an IANA time zone", example: "\"America/Chicago\"" };
    let got = reader.text(zone, |t| TimeZone::get(t).ok().filter(|z| !z.is_unknown()));
    let time_zone = reader.required(zone, true, got).unwrap_or(TimeZone::UTC);
    let currency = Key { path: "practice.currency", expected: "a currency of three letters", example: "\"usd\"" };
    Practice {
        id,
        time_zone_name: time_zone.iana_name().unwrap_or("UTC").to_owned(),
        time_zone,
        currency: reader.text(currency, |t| Currency::parse(t).ok()).or(Currency::USD),
        mode: reader.word("practice.mode", &[("live", Mode::Live), ("shadow", Mode::Shadow)]).or(Mode::Live),
        go_live: go_live(reader),
    }
}

/// A text, as in the contract, or TOML's own date-time: both are written in practice.
fn go_live(reader: &mut Reader<'_>) -> Option<Timestamp> {
    let key = Key { path: "practice.go_live", expected: "a UTC time", example: "\"2026-12-01T00:00:00Z\"" };
    match reader.entry(key.path) {
        Some((line, found @ DeValue::Datetime(written))) => match written.to_string().parse() {
            Ok(time) => Some(time),
            Err(_) => {
                // A local date or time: it lacks the offset.
                reader.wrong_type(key, line, found);
                None
            }
        },
        _ => reader.text(key, |t| t.parse().ok()).value(),
    }
}

fn stripe(reader: &mut Reader<'_>) -> StripeSettings {
    let version = Key { path: "stripe.api_version", expected: "a version of Stripe's API", example: "\"2026-10-28.endive\"" };
    let is_version = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    let standard = MetadataKeys::default();
    StripeSettings {
        api_base: url(reader, "stripe.api_base", "\"https://api.stripe.com\"").or("https://api.stripe.com".to_owned()),
        api_version: reader.text(version, |t| is_version(t).then(|| t.to_owned())).or("2026-10-28.endive".to_owned()),
        livemode: reader.flag("stripe.livemode").or(true),
        metadata: MetadataKeys {
            invoice: names(reader, "stripe.metadata.invoice").or(standard.invoice),
            session: names(reader, "stripe.metadata.session").or(standard.session),
            client: names(reader, "stripe.metadata.client").or(standard.client),
            kind: names(reader, "stripe.metadata.kind").or(standard.kind),
        },
    }
}

fn names(reader: &mut Reader<'_>, path: &'static str) -> Got<Vec<String>> {
    let key = Key { path, expected: "a list of metadata keys, none of them blank", example: "[\"ehr_invoice_id\"]" };
    reader.list(key, |v| v.as_str().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned))
}

fn ehr(reader: &mut Reader<'_>, serve: bool) -> EhrSettings {
    let is_bridge = reader.word("ehr.kind", &[("bridge", true), ("files", false)]).or(true);
    let base_url = url(reader, "ehr.base_url", "\"https://ehr.example\"");
    let base_url = reader.required(url_key("ehr.base_url", "\"https://ehr.example\""), is_bridge && serve, base_url);
    let kind = match base_url {
        Some(base_url) if is_bridge => EhrKind::Bridge { base_url },
        _ => EhrKind::Files,
    };
    EhrSettings { kind, poll_s: reader.number("ehr.poll_s", 1..=86_400).or(300) }
}

fn books(reader: &mut Reader<'_>, serve: bool) -> Books {
    let is_quickbooks = reader.word("books.kind", &[("quickbooks", true), ("none", false)]).or(true);
    let needed = is_quickbooks && serve;
    let api = "https://quickbooks.api.intuit.com";
    let token = "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer";
    let api_base = url(reader, "books.api_base", "\"https://quickbooks.api.intuit.com\"").or(api.to_owned());
    let token_url =
        url(reader, "books.token_url", "\"https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer\"").or(token.to_owned());
    let max_per_minute = reader.number("books.max_per_minute", 1..=500).or(400);
    let realm =
        Key { path: "books.realm_id", expected: "the company id of QuickBooks, digits in quotes", example: "\"1234567890\"" };
    let is_realm = |t: &str| (1..=32).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    let got = reader.text(realm, |t| is_realm(t).then(|| t.to_owned()));
    let realm_id = reader.required(realm, needed, got);
    let accounts = accounts(reader, needed);
    match (realm_id, accounts) {
        (Some(realm_id), Some(accounts)) if is_quickbooks => {
            Books::QuickBooks(Box::new(QuickBooksSettings { api_base, token_url, realm_id, max_per_minute, accounts }))
        }
        _ => Books::None,
    }
}

fn account(reader: &mut Reader<'_>, path: &'static str) -> Got<String> {
    let is_id = |t: &str| (1..=32).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_".contains(&b));
    reader.text(account_key(path), |t| is_id(t).then(|| t.to_owned()))
}

fn account_key(path: &'static str) -> Key {
    Key { path, expected: "the Id of a QuickBooks account, in quotes", example: "\"91\"" }
}

/// None when one that is needed is missing (reported), or when none is needed and not all are there.
fn accounts(reader: &mut Reader<'_>, needed: bool) -> Option<Accounts> {
    let mut one = |path: &'static str| {
        let got = account(reader, path);
        reader.required(account_key(path), needed, got)
    };
    let stripe_clearing = one("books.accounts.stripe_clearing");
    let checking = one("books.accounts.checking");
    let stripe_fees = one("books.accounts.stripe_fees");
    let refunds = one("books.accounts.refunds");
    let disputes = one("books.accounts.disputes");
    let unidentified = one("books.accounts.unidentified");
    let client_credits = one("books.accounts.client_credits");
    let default = one("books.accounts.income.default");
    let by_category = Category::ALL
        .into_iter()
        .filter_map(|category| Some((category, account(reader, income_path(category)).value()?)))
        .collect();
    let accounts = Accounts {
        stripe_clearing: stripe_clearing?,
        checking: checking?,
        stripe_fees: stripe_fees?,
        refunds: refunds?,
        disputes: disputes?,
        unidentified: unidentified?,
        client_credits: client_credits?,
        income: IncomeAccounts { default: default?, by_category },
    };
    check_distinct(reader, &accounts);
    Some(accounts)
}

const fn income_path(category: Category) -> &'static str {
    match category {
        Category::Copay => "books.accounts.income.copay",
        Category::Coinsurance => "books.accounts.income.coinsurance",
        Category::Deductible => "books.accounts.income.deductible",
        Category::SelfPay => "books.accounts.income.self_pay",
        Category::NoShowFee => "books.accounts.income.no_show_fee",
        Category::Product => "books.accounts.income.product",
        Category::Other => "books.accounts.income.other",
    }
}

/// A posting has the clearing or the checking account on one side. On both sides it would say nothing, and the nightly comparison
/// of clearing with Stripe's balance would never hold (facts/quickbooks.md: the most common setup mistake).
fn check_distinct(reader: &mut Reader<'_>, a: &Accounts) {
    let mut others = vec![
        ("books.accounts.checking", &a.checking),
        ("books.accounts.stripe_fees", &a.stripe_fees),
        ("books.accounts.refunds", &a.refunds),
        ("books.accounts.disputes", &a.disputes),
        ("books.accounts.unidentified", &a.unidentified),
        ("books.accounts.client_credits", &a.client_credits),
        ("books.accounts.income.default", &a.income.default),
    ];
    others.extend(a.income.by_category.iter().map(|(category, id)| (income_path(*category), id)));
    for (path, id) in others {
        let is_checking = path == "books.accounts.checking";
        let same = [("stripe_clearing", &a.stripe_clearing), ("checking", &a.checking)]
            .into_iter()
            .find(|(name, own)| *own == id && !(is_checking && *name == "checking"));
        if let Some((name, _)) = same {
            let line = reader.line_of(path);
            reader.report(
                path,
                line,
                &format!("is the same account as `{name}`, expected another one: give each its own account"),
            );
        }
    }
}

fn matching(reader: &mut Reader<'_>) -> MatchingPolicy {
    let link = [("unique", LinkByEmail::Unique), ("never", LinkByEmail::Never)];
    let same = [("oldest_first", SameAmount::OldestFirst), ("review", SameAmount::Review)];
    MatchingPolicy {
        link_by_email: reader.word("matching.link_by_email", &link).or(LinkByEmail::Unique),
        same_amount: reader.word("matching.same_amount", &same).or(SameAmount::OldestFirst),
        wait_for_invoice_h: reader.number("matching.wait_for_invoice_h", 0..=8_760).or(48),
    }
}

fn retry(reader: &mut Reader<'_>) -> RetryPolicy {
    let at = Key { path: "retry.at", expected: "a time of day, HH:MM", example: "\"10:00\"" };
    let unknown = [("ask", WhenUnknown::Ask), ("retry", WhenUnknown::Retry)];
    RetryPolicy {
        days: retry_days(reader),
        at: reader.text(at, time_of_day).or(Time::constant(10, 0, 0, 0)),
        payday_shift_days: reader.number("retry.payday_shift_days", 0..=31).value().and_then(|n| n.try_into().ok()).unwrap_or(3),
        when_autopay_unknown: reader.word("retry.when_autopay_unknown", &unknown).or(WhenUnknown::Ask),
        when_consent_unknown: reader.word("retry.when_consent_unknown", &unknown).or(WhenUnknown::Ask),
    }
}

fn retry_days(reader: &mut Reader<'_>) -> Vec<u8> {
    let key = Key {
        path: "retry.days",
        expected: "a list of 1 to 3 days, each later than the one before, from 1 to 255",
        example: "[1, 3, 7]",
    };
    let Got::Value(days) = reader.list(key, |v| whole(v).and_then(|n| u8::try_from(n).ok()).filter(|n| *n > 0)) else {
        return vec![1, 3, 7];
    };
    if !(1..=3).contains(&days.len()) || !days.is_sorted_by(|a, b| a < b) {
        let line = reader.line_of(key.path);
        reader.report(key.path, line, &format!("is not {}: write days = {}", key.expected, key.example));
    }
    days
}

fn time_of_day(text: &str) -> Option<Time> {
    let (h, m) = text.split_once(':')?;
    let digits = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(h) || !digits(m) {
        return None;
    }
    Time::new(h.parse().ok()?, m.parse().ok()?, 0, 0).ok()
}

const fn url_key(path: &'static str, example: &'static str) -> Key {
    Key { path, expected: "a URL with https (http only on loopback), without user, query or fragment", example }
}

/// A URL, without a slash at its end. A refused one is not shown: it may carry a password.
fn url(reader: &mut Reader<'_>, path: &'static str, example: &'static str) -> Got<String> {
    let key = url_key(path, example);
    match reader.text(key, |t| Some(checked_url(t))) {
        Got::Value(Some(url)) => Got::Value(url),
        Got::Value(None) => {
            let line = reader.line_of(path);
            let name = path.rsplit('.').next().unwrap_or_default();
            reader.report(path, line, &format!("is not {}: write {name} = {example}", key.expected));
            Got::Bad
        }
        Got::Absent => Got::Absent,
        Got::Bad => Got::Bad,
    }
}

fn checked_url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let uri: http::Uri = text.parse().ok()?;
    let host = uri.host().filter(|h| !h.is_empty())?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let allowed = scheme == "https" || (scheme == "http" && loopback);
    // Only what no URL library changes on its way: what is signed must be what is sent.
    let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/:[]%".contains(&b));
    let folded = uri.path().split('/').any(|segment| segment == "." || segment == "..") || uri.path().contains("//");
    (allowed && plain && !folded).then(|| text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;
