//! Stripe's webhook endpoint as it should be, and how one that stands there differs from that. Setup mends it, doctor tells.
//!
//! Must not: call anybody.

use serde::{Deserialize, Serialize};
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_adapters::stripe::client::WebhookEndpoint;
use vesper_adapters::stripe::wire::EVENT_TYPES;

/// The path of Vesper's door for Stripe.
pub const PATH: &str = "/webhooks/stripe";
/// The small fact that holds what setup made.
const NAME: &str = "webhook_endpoint";

/// What setup knows of the endpoint that it made or took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// `we_...`.
    pub id: String,
    /// Where Stripe delivers.
    pub url: String,
    /// SHA-256 of its signing secret; None when somebody else made the endpoint, and the secret was given by hand.
    pub secret_sha256: Option<String>,
}

/// What setup remembered.
///
/// # Errors
/// When the store does not answer.
pub async fn remembered(store: &Store) -> Result<Option<Remembered>, Failed> {
    Ok(store.meta::<Remembered>(NAME).await?.map(|r| r.item))
}

/// Remembers.
///
/// # Errors
/// When the store does not answer, or somebody else remembers at the same moment.
pub async fn remember(store: &Store, what: &Remembered) -> Result<(), Failed> {
    let rev = store.meta::<Remembered>(NAME).await?.map_or(0, |r| r.rev);
    store.set_meta(NAME, what, rev).await?;
    Ok(())
}

/// What the endpoint should be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where it delivers; None: it is not known here.
    pub url: Option<&'a str>,
    /// Its `api_version`.
    pub version: &'a str,
    /// `practice.id`.
    pub practice: &'a str,
}

/// One way in which an endpoint is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It delivers elsewhere.
    Url,
    /// It does not deliver.
    Disabled,
    /// It renders events in another version, which Stripe does not let anybody change.
    Version(String),
    /// It lacks event types, or has some that Vesper does not use.
    Events {
        /// Needed, and not there.
        missing: Vec<String>,
        /// There, and not used.
        extra: Vec<String>,
    },
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Drift::Url => f.write_str("it delivers to another address"),
            Drift::Disabled => f.write_str("it is disabled"),
            Drift::Version(version) => write!(f, "its api_version is {version}"),
            Drift::Events { missing, extra } => {
                let parts = [("it lacks", missing), ("it has needlessly", extra)];
                let parts: Vec<String> =
                    parts.iter().filter(|(_, l)| !l.is_empty()).map(|(w, l)| format!("{w} {}", l.join(", "))).collect();
                f.write_str(&parts.join("; "))
            }
        }
    }
}

/// How an endpoint differs from what it should be.
#[must_use]
pub fn drift(endpoint: &WebhookEndpoint, wanted: Wanted<'_>) -> Vec<Drift> {
    let mut all = Vec::new();
    if wanted.url.is_some_and(|url| url != endpoint.url) {
        all.push(Drift::Url);
    }
    if !endpoint.enabled {
        all.push(Drift::Disabled);
    }
    match endpoint.api_version.as_deref() {
        Some(version) if version == wanted.version => {}
        version => all.push(Drift::Version(version.unwrap_or("the account's own").to_owned())),
    }
    let missing: Vec<String> =
        EVENT_TYPES.iter().filter(|t| !endpoint.events.iter().any(|e| e == *t)).map(|t| (*t).to_owned()).collect();
    let extra: Vec<String> = endpoint.events.iter().filter(|e| !EVENT_TYPES.contains(&e.as_str())).cloned().collect();
    // `*` brings every type that is needed, and hundreds that are not.
    let missing = if extra.iter().any(|e| e == "*") { Vec::new() } else { missing };
    if !missing.is_empty() || !extra.is_empty() {
        all.push(Drift::Events { missing, extra });
    }
    all
}

/// Which of the endpoints is this practice's: the remembered one, else one at the address, else one that setup made for it; an
/// enabled one before a disabled one.
#[must_use]
pub fn ours<'e>(
    endpoints: &'e [WebhookEndpoint],
    wanted: Wanted<'_>,
    remembered: Option<&Remembered>,
) -> Option<&'e WebhookEndpoint> {
    let best = |fits: &dyn Fn(&WebhookEndpoint) -> bool| {
        let mut found: Vec<&WebhookEndpoint> = endpoints.iter().filter(|e| fits(e)).collect();
        found.sort_by_key(|e| !e.enabled);
        found.first().copied()
    };
    best(&|e| remembered.is_some_and(|r| r.id == e.id))
        .or_else(|| best(&|e| wanted.url == Some(e.url.as_str())))
        .or_else(|| best(&|e| e.practice.as_deref() == Some(wanted.practice)))
        .or_else(|| best(&|e| wanted.url.is_none() && e.url.ends_with(PATH)))
}

/// The endpoints besides `chosen` that deliver to the same address: each event would come twice.
#[must_use]
pub fn doubles<'e>(endpoints: &'e [WebhookEndpoint], chosen: &str, url: &str) -> Vec<&'e WebhookEndpoint> {
    endpoints.iter().filter(|e| e.enabled && e.id != chosen && e.url == url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://vesper.example/webhooks/stripe";

    fn right() -> WebhookEndpoint {
        WebhookEndpoint {
            id: "we_1".to_owned(),
            url: URL.to_owned(),
            enabled: true,
            api_version: Some("v1".to_owned()),
            events: EVENT_TYPES.map(str::to_owned).to_vec(),
            practice: Some("northbridge".to_owned()),
        }
    }

    fn wanted() -> Wanted<'static> {
        Wanted { url: Some(URL), version: "v1", practice: "northbridge" }
    }

    #[test]
    fn every_difference_is_told_and_no_other() {
        let told = |bend: fn(&mut WebhookEndpoint)| {
            let mut endpoint = right();
            bend(&mut endpoint);
            drift(&endpoint, wanted()).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(|e| e.events.reverse()), Vec::<String>::new());
        assert_eq!(told(|e| e.url = "https://old.example".to_owned()), ["it delivers to another address"]);
        assert_eq!(told(|e| e.enabled = false), ["it is disabled"]);
        assert_eq!(told(|e| e.api_version = Some("v0".to_owned())), ["its api_version is v0"]);
        assert_eq!(told(|e| e.api_version = None), ["its api_version is the account's own"]);
        assert_eq!(told(|e| e.events = vec!["*".to_owned()]), ["it has needlessly *"]);
        let both = told(|e| {
            e.events.retain(|t| t != "payout.paid");
            e.events.push("invoice.paid".to_owned());
        });
        assert_eq!(both, ["it lacks payout.paid; it has needlessly invoice.paid"]);
    }

    #[test]
    fn the_remembered_endpoint_comes_before_one_at_the_address_and_that_before_one_with_our_mark() {
        let one = |id: &str, url: &str, practice: Option<&str>| WebhookEndpoint {
            id: id.to_owned(),
            url: url.to_owned(),
            practice: practice.map(str::to_owned),
            ..right()
        };
        let all = [
            one("we_a", "https://x.example", Some("northbridge")),
            one("we_b", URL, None),
            one("we_c", "https://y.example", None),
        ];
        let known = Remembered { id: "we_c".to_owned(), url: URL.to_owned(), secret_sha256: None };
        let id = |e: Option<&WebhookEndpoint>| e.map(|e| e.id.clone());
        assert_eq!(id(ours(&all, wanted(), Some(&known))).as_deref(), Some("we_c"));
        assert_eq!(id(ours(&all, wanted(), None)).as_deref(), Some("we_b"));
        assert_eq!(id(ours(&all[..1], wanted(), None)).as_deref(), Some("we_a"));
        assert_eq!(id(ours(&all[2..], wanted(), None)), None);
        assert_eq!(doubles(&all, "we_a", URL).len(), 1);
    }
}
