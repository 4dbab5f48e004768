//! intake: the door. Verifies the signature on the raw bytes, projects the event onto what Vesper uses, and answers 2xx only
//! once that is durable.
//!
//! Must not: touch the table, log a body, or put a name, an address or an e-mail on a queue.

use crate::app::App;
use crate::task::Task;
use vesper_adapters::{ehr, stripe};
use vesper_core::event::What;

/// The largest body that is read, in bytes (contracts/settings.md, Always).
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// A JSON body without anything from the request.
    pub body: &'static str,
}

const fn answer(status: u16, body: &'static str) -> Answer {
    Answer { status, body }
}

/// POST /webhooks/stripe.
pub async fn stripe(app: &App, signature: Option<&str>, body: &[u8]) -> Answer {
    if body.len() > BODY_BYTES_MAX {
        return answer(413, r#"{"error":"the body is larger than 1 MiB"}"#);
    }
    let secrets = &app.secrets.stripe_webhook_secrets;
    if let Err(e) = stripe::signature::verify(signature, body, secrets, app.host.real_unix_s()) {
        tracing::warn!(problem = %e, "a webhook with a bad signature was refused");
        return answer(400, r#"{"error":"bad signature"}"#);
    }
    let incoming = match stripe::wire::project(body, &app.projection) {
        Ok(incoming) => incoming,
        Err(e) => {
            tracing::warn!(problem = %e, "a signed body that is no event was refused");
            return answer(400, r#"{"error":"no Stripe event"}"#);
        }
    };
    let event = incoming.event;
    if incoming.livemode != app.settings.stripe.livemode {
        tracing::info!(event.id = %event.id, "ignored: an event of the other livemode");
        return answer(200, r#"{"received":true,"ignored":"livemode"}"#);
    }
    if let What::Other { event_type } = &event.what {
        tracing::info!(event.id = %event.id, event.r#type = event_type, "acknowledged: this type is not used");
        return answer(200, r#"{"received":true,"ignored":"type"}"#);
    }
    let id = event.id.clone();
    match app.queues.send(Task::EventV1 { event }, 0).await {
        Ok(()) => answer(200, r#"{"received":true}"#),
        Err(e) => {
            tracing::error!(event.id = %id, problem = %e, "the event could not be made durable");
            answer(503, r#"{"error":"try again"}"#)
        }
    }
}

/// POST /webhooks/ehr: the bridge says that something changed.
pub async fn ehr(app: &App, signature: Option<&str>, path_and_query: &str, body: &[u8]) -> Answer {
    if body.len() > BODY_BYTES_MAX {
        return answer(413, r#"{"error":"the body is larger than 1 MiB"}"#);
    }
    let secrets = &app.secrets.ehr_bridge_secrets;
    let now = app.host.real_unix_s();
    if let Err(e) = ehr::signature::verify(secrets, signature, "POST", path_and_query, body, now) {
        tracing::warn!(problem = %e, "an EHR notice with a bad signature was refused");
        return answer(401, r#"{"error":"bad signature"}"#);
    }
    match app.queues.send(Task::ImportV1, 0).await {
        Ok(()) => answer(202, r#"{"noted":true}"#),
        Err(e) => {
            tracing::error!(problem = %e, "the EHR notice could not be made durable");
            answer(503, r#"{"error":"try again"}"#)
        }
    }
}
