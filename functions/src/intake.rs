//! intake: the door. Verifies the signature on the raw bytes, projects the event onto what Vesper uses, and answers 2xx only
//! once that is durable.
//!
//! Must not: touch the table, log a body, or put a name, an address or an e-mail on a queue.

use crate::app::Host;
use crate::task::{Queues, Task};
use vesper_adapters::personal::Secret;
use vesper_adapters::stripe::wire::Projection;
use vesper_adapters::{ehr, stripe};
use vesper_core::event::What;

/// The largest body that is read, in bytes (contracts/settings.md, Always).
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What the door needs: who may come in, how an event is projected, and where it goes.
#[derive(Clone, Copy)]
pub struct Door<'d> {
    /// Of Stripe's endpoint; each is tried.
    pub stripe_secrets: &'d [Secret],
    /// Of the EHR bridge; each is tried.
    pub ehr_secrets: &'d [Secret],
    /// Events of the other mode are answered and ignored.
    pub livemode: bool,
    /// How events are projected.
    pub projection: &'d Projection,
    /// The queues.
    pub queues: &'d dyn Queues,
    /// The real time, for signatures.
    pub host: &'d dyn Host,
}

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
pub async fn stripe(door: Door<'_>, signature: Option<&str>, body: &[u8]) -> Answer {
    if body.len() > BODY_BYTES_MAX {
        return answer(413, r#"{"error":"the body is larger than 1 MiB"}"#);
    }
    if let Err(e) = stripe::signature::verify(signature, body, door.stripe_secrets, door.host.real_unix_s()) {
        tracing::warn!(problem = %e, "a webhook with a bad signature was refused");
        return answer(400, r#"{"error":"bad signature"}"#);
    }
    let incoming = match stripe::wire::project(body, door.projection) {
        Ok(incoming) => incoming,
        Err(e) => {
            tracing::warn!(problem = %e, "a signed body that is no event was refused");
            return answer(400, r#"{"error":"no Stripe event"}"#);
        }
    };
    let event = incoming.event;
    if incoming.livemode != door.livemode {
        tracing::info!(event.id = %event.id, "ignored: an event of the other livemode");
        return answer(200, r#"{"received":true,"ignored":"livemode"}"#);
    }
    if let What::Other { event_type } = &event.what {
        tracing::info!(event.id = %event.id, event.r#type = event_type, "acknowledged: this type is not used");
        return answer(200, r#"{"received":true,"ignored":"type"}"#);
    }
    let id = event.id.clone();
    match door.queues.send(Task::EventV1 { event }, 0).await {
        Ok(()) => answer(200, r#"{"received":true}"#),
        Err(e) => {
            tracing::error!(event.id = %id, problem = %e, "the event could not be made durable");
            answer(503, r#"{"error":"try again"}"#)
        }
    }
}

/// POST /webhooks/ehr: the bridge says that something changed.
pub async fn ehr(door: Door<'_>, signature: Option<&str>, path_and_query: &str, body: &[u8]) -> Answer {
    if body.len() > BODY_BYTES_MAX {
        return answer(413, r#"{"error":"the body is larger than 1 MiB"}"#);
    }
    let now = door.host.real_unix_s();
    if let Err(e) = ehr::signature::verify(door.ehr_secrets, signature, "POST", path_and_query, body, now) {
        tracing::warn!(problem = %e, "an EHR notice with a bad signature was refused");
        return answer(401, r#"{"error":"bad signature"}"#);
    }
    match door.queues.send(Task::ImportV1, 0).await {
        Ok(()) => answer(202, r#"{"noted":true}"#),
        Err(e) => {
            tracing::error!(problem = %e, "the EHR notice could not be made durable");
            answer(503, r#"{"error":"try again"}"#)
        }
    }
}
