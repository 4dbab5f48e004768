//! Stripe's webhook endpoint: made, mended, or made anew where it cannot be mended (another version, or a signing secret that
//! nobody has). An old one is disabled and not deleted: a person can switch it on again.
//!
//! Must not: leave an endpoint whose signing secret is not stored as the one that Vesper counts on.

use super::Work;
use super::endpoint::{self, Drift, PATH, Remembered, Wanted};
use super::report::Report;
use crate::Failure;
use vesper_adapters::error::{CallError, Class};
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::oauth::sha256_hex;
use vesper_adapters::stripe::client::{EndpointChange, NewEndpoint, StripeClient, WebhookEndpoint};
use vesper_adapters::stripe::wire::{EVENT_TYPES, Projection};

const AREA: &str = "stripe webhook";
/// The secret that signs Stripe's events.
pub(super) const SECRETS: &str = "STRIPE_WEBHOOK_SECRETS";
/// How many signing secrets are kept: the newest, and the one before, whose last deliveries may still be on their way.
const SECRETS_KEPT: usize = 2;

fn problem(e: &CallError) -> String {
    match e.class {
        Class::Unauthorized => "the key may not change webhook endpoints: give it the right Webhook Endpoints: write, or set \
                                STRIPE_SETUP_KEY, which is used now and not stored, to one that has it"
            .to_owned(),
        Class::OutcomeUnknown | Class::Transient | Class::Throttled { .. } => format!("{e}: run vesper setup again"),
        _ => e.to_string(),
    }
}

/// Brings the endpoint into the right state.
///
/// # Errors
/// When something that Stripe did cannot be stored.
pub(super) async fn bring(w: &mut Work<'_>, report: &mut Report<'_>) -> Result<(), Failure> {
    let Some(key) = (w.given)("STRIPE_SETUP_KEY").map(Secret::new).or_else(|| w.secret("STRIPE_API_KEY")) else {
        report.problem(AREA, "without STRIPE_API_KEY nothing can be asked of Stripe: set it in the environment");
        return Ok(());
    };
    let stripe = &w.settings.stripe;
    let projection = Projection { keys: stripe.metadata.clone(), hasher: w.hasher.clone() };
    let client = StripeClient::new(w.transport.clone(), &stripe.api_base, &stripe.api_version, key, projection);
    let all = match client.webhook_endpoints().await {
        Ok(all) => all,
        Err(e) => {
            report.problem(AREA, problem(&e));
            return Ok(());
        }
    };
    let remembered = match &w.store {
        Some(store) => endpoint::remembered(store).await.map_err(|e| w.stored(&e))?,
        None => None,
    };
    let (version, practice) = (stripe.api_version.clone(), w.settings.practice.id.clone());
    let url = w.url.as_ref().map(|url| format!("{url}{PATH}")).or_else(|| remembered.as_ref().map(|r| r.url.clone()));
    let wanted = Wanted { url: url.as_deref(), version: &version, practice: &practice };
    let ours = endpoint::ours(&all, wanted, remembered.as_ref());
    let Some(url) = url.clone().or_else(|| ours.map(|e| e.url.clone())) else {
        report.problem(AREA, "give Vesper's public address with --url https://...: Stripe delivers there");
        return Ok(());
    };
    let wanted = Wanted { url: Some(&url), ..wanted };
    let mut desk = Desk { w, report, client, wanted };
    let chosen = match ours {
        None => desk.make("there is none").await?,
        Some(ours) => desk.mend(ours, remembered.as_ref()).await?,
    };
    let Some(chosen) = chosen else { return Ok(()) };
    for double in endpoint::doubles(&all, &chosen, &url) {
        desk.disable(double).await;
    }
    Ok(())
}

struct Desk<'d, 'w, 't> {
    w: &'d mut Work<'w>,
    report: &'d mut Report<'t>,
    client: StripeClient,
    wanted: Wanted<'d>,
}

impl Desk<'_, '_, '_> {
    fn secrets(&self) -> Vec<Secret> {
        self.w.secret(SECRETS).map(|s| split(&s)).unwrap_or_default()
    }

    /// Whether we can verify what this endpoint signs, as far as that can be known.
    fn knows_secret(&self, ours: &WebhookEndpoint, remembered: Option<&Remembered>) -> bool {
        let secrets = self.secrets();
        match remembered.filter(|r| r.id == ours.id).map(|r| r.secret_sha256.as_ref()) {
            Some(Some(sha)) => secrets.iter().any(|s| sha256_hex(s) == *sha),
            // Made by hand: the secret was given by hand, too.
            Some(None) => !secrets.is_empty(),
            // Made by a setup that did not come to store its secret.
            None if ours.practice.as_deref() == Some(self.wanted.practice) => false,
            None => !secrets.is_empty(),
        }
    }

    /// The id of the endpoint that is right now; None when nothing more can be done.
    async fn mend(&mut self, ours: &WebhookEndpoint, remembered: Option<&Remembered>) -> Result<Option<String>, Failure> {
        let drift = endpoint::drift(ours, self.wanted);
        let version = drift.iter().find(|d| matches!(d, Drift::Version(_)));
        let reason = match version {
            Some(version) => Some(format!("of endpoint {} {version}, which cannot be changed", ours.id)),
            None if !self.knows_secret(ours, remembered) => {
                Some(format!("the signing secret of endpoint {} is not stored, and Stripe tells it only once", ours.id))
            }
            None => None,
        };
        if let Some(reason) = reason {
            let made = self.make(&reason).await?;
            // Only when the new one delivers.
            if made.is_some() && ours.enabled {
                self.disable(ours).await;
            }
            return Ok(made);
        }
        if drift.is_empty() {
            self.report.unchanged(AREA, format!("endpoint {} is as it should be, {} event types", ours.id, ours.events.len()));
        } else if !self.change(ours, &drift).await {
            return Ok(None);
        }
        let secret_sha256 = remembered.filter(|r| r.id == ours.id).and_then(|r| r.secret_sha256.clone());
        let now = Remembered { id: ours.id.clone(), url: self.wanted.url.unwrap_or(&ours.url).to_owned(), secret_sha256 };
        if remembered != Some(&now) {
            self.remember(&now).await?;
        }
        Ok(Some(ours.id.clone()))
    }

    async fn change(&mut self, ours: &WebhookEndpoint, drift: &[Drift]) -> bool {
        let told: Vec<String> = drift.iter().map(ToString::to_string).collect();
        let text = format!("mend endpoint {}: {}", ours.id, told.join("; "));
        if !self.report.may(AREA, &text) {
            return true;
        }
        let is = |wanted: fn(&Drift) -> bool| drift.iter().any(wanted);
        let change = EndpointChange {
            url: self.wanted.url.filter(|_| is(|d| matches!(d, Drift::Url))),
            events: is(|d| matches!(d, Drift::Events { .. })).then_some(EVENT_TYPES.as_slice()),
            enabled: is(|d| matches!(d, Drift::Disabled)).then_some(true),
        };
        match self.client.change_webhook_endpoint(&ours.id, change).await {
            Ok(_) => self.report.changed(AREA, text),
            Err(e) => {
                self.report.problem(AREA, problem(&e));
                return false;
            }
        }
        true
    }

    /// Makes an endpoint and stores its signing secret; its id, or None in a dry run and when Stripe refused.
    async fn make(&mut self, reason: &str) -> Result<Option<String>, Failure> {
        let Some(url) = self.wanted.url else { return Ok(None) };
        let text = format!("make an endpoint at {url} with {} event types: {reason}", EVENT_TYPES.len());
        if !self.report.may(AREA, &text) {
            return Ok(None);
        }
        let new = NewEndpoint { url, events: &EVENT_TYPES, practice: self.wanted.practice };
        let key = format!("vesper-endpoint-{}", crate::serve::random_hex());
        let (made, secret) = match self.client.create_webhook_endpoint(new, &key).await {
            Ok(made) => made,
            Err(e) => {
                self.report.problem(AREA, problem(&e));
                return Ok(None);
            }
        };
        let mut secrets = vec![secret.clone()];
        secrets.extend(self.secrets().into_iter().take(SECRETS_KEPT.saturating_sub(1)));
        let joined = secrets.iter().map(Secret::expose).collect::<Vec<_>>().join(",");
        self.w.place.put(SECRETS, &Secret::new(joined)).await?;
        let now = Remembered { id: made.id.clone(), url: made.url, secret_sha256: Some(sha256_hex(&secret)) };
        self.remember(&now).await?;
        self.report.changed(AREA, format!("{text}; it is {}, its signing secret is in {}", made.id, self.w.place.called()));
        if (self.w.given)(SECRETS).is_some() {
            self.report.todo(AREA, format!("remove {SECRETS} from the environment: the stored one is newer"));
        }
        Ok(Some(made.id))
    }

    async fn remember(&mut self, now: &Remembered) -> Result<(), Failure> {
        match self.w.store.as_ref().filter(|_| !self.w.dry_run) {
            Some(store) => endpoint::remember(store, now).await.map_err(|e| self.w.stored(&e)),
            None => Ok(()),
        }
    }

    async fn disable(&mut self, old: &WebhookEndpoint) {
        let text = format!("disable endpoint {}, which delivers to the same address", old.id);
        if !self.report.may(AREA, &text) {
            return;
        }
        let change = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
        match self.client.change_webhook_endpoint(&old.id, change).await {
            Ok(_) => self.report.changed(AREA, text),
            Err(e) => self.report.problem(AREA, problem(&e)),
        }
    }
}

/// The entries of a list with commas between.
pub(super) fn split(list: &Secret) -> Vec<Secret> {
    list.expose().split(',').map(str::trim).filter(|s| !s.is_empty()).map(Secret::new).collect()
}
