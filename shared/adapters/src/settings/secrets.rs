//! The secrets: from the environment locally, from the parameter store on AWS (contracts/settings.md, Secrets).
//!
//! Must not: show a secret in an error, nor ask for one that is not used.

use super::errors::{SettingsError, SettingsErrors};
use super::{Books, EhrKind, Settings};
use crate::personal::Secret;

/// The prefixes of Stripe's secret and restricted keys, and whether they are of live mode (contracts/settings.md).
const KEY_PREFIXES: [(&str, bool); 4] = [("sk_live_", true), ("rk_live_", true), ("sk_test_", false), ("rk_test_", false)];

/// What Vesper needs to reach the outside systems that the settings name.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// STRIPE_API_KEY: of the mode of `stripe.livemode`.
    pub stripe_api_key: Secret,
    /// STRIPE_WEBHOOK_SECRETS: each is tried. At least one.
    pub stripe_webhook_secrets: Vec<Secret>,
    /// EHR_BRIDGE_SECRETS: the first signs, each is tried on notices. At least one for a bridge, none for files.
    pub ehr_bridge_secrets: Vec<Secret>,
    /// Some exactly when the books are QuickBooks.
    pub quickbooks: Option<QuickBooksSecrets>,
}

/// What QuickBooks asks for.
#[derive(Debug, Clone)]
pub struct QuickBooksSecrets {
    /// QUICKBOOKS_CLIENT_ID.
    pub client_id: Secret,
    /// QUICKBOOKS_CLIENT_SECRET.
    pub client_secret: Secret,
    /// QUICKBOOKS_REFRESH_TOKEN: the one the practice connected with; the newest lives encrypted in the table.
    pub refresh_token: Secret,
}

struct Lookup<F> {
    lookup: F,
    errors: Vec<SettingsError>,
}

impl<F: Fn(&str) -> Option<String>> Lookup<F> {
    fn refuse(&mut self, name: &str, problem: &str, what: &str) {
        let problem = format!("{name} {problem}: set it to {what} in the environment (on AWS run `vesper setup`)");
        self.errors.push(SettingsError { file: None, line: None, problem });
    }

    fn all(&mut self, name: &str, what: &str, separator: Option<char>) -> Vec<Secret> {
        let Some(text) = (self.lookup)(name) else {
            self.refuse(name, "is missing", what);
            return Vec::new();
        };
        let parts: Vec<&str> = match separator {
            Some(c) => text.split(c).map(str::trim).collect(),
            None => vec![text.trim()],
        };
        let problem = if text.trim().is_empty() {
            "is blank"
        } else if parts.iter().any(|p| p.is_empty()) {
            "has a blank entry (two commas in a row, or one at the end)"
        } else if parts.iter().any(|p| p.chars().any(|c| c.is_whitespace() || c.is_control())) {
            "has a space or a line break inside"
        } else {
            return parts.into_iter().map(Secret::new).collect();
        };
        self.refuse(name, problem, what);
        Vec::new()
    }

    fn one(&mut self, name: &str, what: &str) -> Secret {
        self.all(name, what, None).pop().unwrap_or_else(|| Secret::new(""))
    }
}

impl Secrets {
    /// Takes what these settings use, and nothing else; shadow mode reads the outside systems too.
    ///
    /// # Errors
    /// Every secret that is missing or blank or has a blank entry, by name and with the remedy; and a Stripe key of the other mode.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>, settings: &Settings) -> Result<Secrets, SettingsErrors> {
        let (secrets, errors) = Self::found(lookup, settings);
        if errors.0.is_empty() { Ok(secrets) } else { Err(errors) }
    }

    /// The same for who goes on with what there is: a secret that is missing or wrong is blank, a list of them empty, and the
    /// errors say why.
    pub fn found(lookup: impl Fn(&str) -> Option<String>, settings: &Settings) -> (Secrets, SettingsErrors) {
        let mut from = Lookup { lookup, errors: Vec::new() };
        let stripe_api_key = from.one("STRIPE_API_KEY", "the restricted key of Stripe, rk_live_...");
        check_mode(&stripe_api_key, settings, &mut from.errors);
        let of_endpoint = "the signing secret of Stripe's webhook endpoint, whsec_..., several with commas between";
        let stripe_webhook_secrets = from.all("STRIPE_WEBHOOK_SECRETS", of_endpoint, Some(','));
        let ehr_bridge_secrets = match settings.ehr.kind {
            EhrKind::Bridge { .. } => {
                from.all("EHR_BRIDGE_SECRETS", "the secret shared with the EHR bridge, several with commas between", Some(','))
            }
            EhrKind::Files => Vec::new(),
        };
        let quickbooks = match settings.books {
            Books::QuickBooks(_) => Some(QuickBooksSecrets {
                client_id: from.one("QUICKBOOKS_CLIENT_ID", "the client id of the Intuit app"),
                client_secret: from.one("QUICKBOOKS_CLIENT_SECRET", "the client secret of the Intuit app"),
                refresh_token: from.one("QUICKBOOKS_REFRESH_TOKEN", "the refresh token of the connected company"),
            }),
            Books::None => None,
        };
        let secrets = Secrets { stripe_api_key, stripe_webhook_secrets, ehr_bridge_secrets, quickbooks };
        (secrets, SettingsErrors(from.errors))
    }
}

fn check_mode(key: &Secret, settings: &Settings, errors: &mut Vec<SettingsError>) {
    if key.expose().is_empty() {
        return; // reported already
    }
    let livemode = settings.stripe.livemode;
    match KEY_PREFIXES.iter().find(|(prefix, _)| key.expose().starts_with(prefix)) {
        None => errors.push(SettingsError {
            file: None,
            line: None,
            problem: "STRIPE_API_KEY starts with none of sk_live_, rk_live_, sk_test_, rk_test_: \
                      set it to a secret or restricted key of Stripe's dashboard"
                .to_owned(),
        }),
        Some((prefix, live)) if *live != livemode => errors.push(SettingsError {
            file: Some(settings.origin.file.clone()),
            line: settings.origin.livemode_line,
            problem: format!(
                "key `stripe.livemode` is {livemode}, but STRIPE_API_KEY starts with {prefix}: \
                 set livemode = {live}, or give a key of the other mode"
            ),
        }),
        Some(_) => {}
    }
}
