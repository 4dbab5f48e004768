//! The calls of `vesper setup` and `vesper doctor` around the webhook endpoint (facts/stripe.md section 1).
//!
//! Must not: delete an endpoint (Stripe would forget what it still has to deliver), or keep a signing secret.

use super::{Call, StripeClient, segment};
use crate::error::CallError;
use crate::personal::Secret;
use crate::stripe::json::word;
use crate::stripe::wire::endpoints::{self, PRACTICE};
use http::Method;

/// A webhook endpoint as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// `we_...`.
    pub id: String,
    /// Where Stripe delivers.
    pub url: String,
    /// Whether it delivers.
    pub enabled: bool,
    /// The version that events are rendered in; None: the account's.
    pub api_version: Option<String>,
    /// The event types, as Stripe lists them; `*` is all.
    pub events: Vec<String>,
    /// The practice whose setup made it; None: somebody made it by hand.
    pub practice: Option<String>,
}

/// What a new endpoint is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewEndpoint<'a> {
    /// Where Stripe delivers.
    pub url: &'a str,
    /// The event types.
    pub events: &'a [&'a str],
    /// The practice's id, kept in the endpoint's metadata.
    pub practice: &'a str,
}

/// What is to be changed; None: it stays. Stripe does not change the version of an endpoint: that takes a new one.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointChange<'a> {
    /// Where Stripe delivers.
    pub url: Option<&'a str>,
    /// The event types.
    pub events: Option<&'a [&'a str]>,
    /// Whether it delivers.
    pub enabled: Option<bool>,
}

impl StripeClient {
    /// GET /v1/webhook_endpoints, all pages, newest first.
    ///
    /// # Errors
    /// [`CallError`]; [`crate::error::Class::Unauthorized`] when the key may not read them.
    pub async fn webhook_endpoints(&self) -> Result<Vec<WebhookEndpoint>, CallError> {
        self.all("list webhook endpoints", "/v1/webhook_endpoints", &[], endpoints::endpoints).await
    }

    /// POST /v1/webhook_endpoints, in the version of this client. The answer is the only one that ever tells the signing secret.
    ///
    /// # Errors
    /// [`CallError`]. After [`crate::error::Class::OutcomeUnknown`] an endpoint may stand there whose secret nobody knows.
    pub async fn create_webhook_endpoint(
        &self,
        new: NewEndpoint<'_>,
        idempotency_key: &str,
    ) -> Result<(WebhookEndpoint, Secret), CallError> {
        let practice = format!("metadata[{PRACTICE}]");
        let mut params = vec![
            ("url", new.url),
            ("api_version", self.api_version.as_str()),
            ("description", "Vesper: made by vesper setup"),
            (practice.as_str(), new.practice),
        ];
        params.extend(new.events.iter().map(|event| ("enabled_events[]", *event)));
        let (attempted, path) = ("create the webhook endpoint".to_owned(), "/v1/webhook_endpoints".to_owned());
        let call = Call { attempted, method: Method::POST, path, params: &params, idempotency_key: Some(idempotency_key) };
        self.call(&call, endpoints::made).await
    }

    /// POST /v1/webhook_endpoints/{id}.
    ///
    /// # Errors
    /// [`CallError`]; [`crate::error::Class::NotFound`] when there is none.
    pub async fn change_webhook_endpoint(&self, id: &str, change: EndpointChange<'_>) -> Result<WebhookEndpoint, CallError> {
        let mut params = Vec::new();
        params.extend(change.url.map(|url| ("url", url)));
        params.extend(change.enabled.map(|enabled| ("disabled", if enabled { "false" } else { "true" })));
        params.extend(change.events.unwrap_or_default().iter().map(|event| ("enabled_events[]", *event)));
        let attempted = format!("change webhook endpoint {}", word(id));
        let path = format!("/v1/webhook_endpoints/{}", segment(id));
        let call = Call { attempted, method: Method::POST, path, params: &params, idempotency_key: None };
        let now = self.call(&call, endpoints::endpoint).await?;
        Self::same(&call, now.id == id, now)
    }
}
