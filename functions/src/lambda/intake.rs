//! The function intake: the webhooks. It has no store; all it calls is the queue, and SSM now and then.

use super::environment::{Environment, NotReady};
use super::gateway::{HttpAnswer, HttpEvent};
use super::host::LambdaHost;
use super::ready::{Practice, Ready};
use super::run::run;
use super::senders::SqsQueues;
use crate::assemble::projection;
use crate::intake::{self, Answer, Door};
use lambda_runtime::{Error, LambdaEvent};
use std::process::ExitCode;
use std::sync::Arc;
use vesper_adapters::personal::Secret;
use vesper_adapters::stripe::wire::Projection;

/// What the door needs of settings and secrets.
struct Keys {
    stripe_secrets: Vec<Secret>,
    ehr_secrets: Vec<Secret>,
    livemode: bool,
    projection: Projection,
}

/// What this function stands on.
struct Intake {
    ready: Ready<Keys>,
    queues: SqsQueues,
    host: LambdaHost,
}

impl Intake {
    fn new(environment: Environment) -> Result<Intake, NotReady> {
        let queues = SqsQueues::new(&environment);
        Ok(Intake { queues, ready: Ready::new(environment), host: LambdaHost::new() })
    }

    async fn keys(&self) -> Result<Arc<Keys>, NotReady> {
        let build = |practice: Practice| async move {
            let Practice { settings, secrets, key } = practice;
            Ok(Keys {
                projection: projection(&settings, &key),
                livemode: settings.stripe.livemode,
                stripe_secrets: secrets.stripe_webhook_secrets,
                ehr_secrets: secrets.ehr_bridge_secrets,
            })
        };
        self.ready.get(build).await
    }

    async fn answer(&self, event: &HttpEvent, body: &[u8]) -> Result<Answer, NotReady> {
        let keys = self.keys().await?;
        let door = Door {
            stripe_secrets: &keys.stripe_secrets,
            ehr_secrets: &keys.ehr_secrets,
            livemode: keys.livemode,
            projection: &keys.projection,
            queues: &self.queues,
            host: &self.host,
        };
        Ok(match event.raw_path.as_str() {
            "/webhooks/stripe" => intake::stripe(door, event.header("stripe-signature"), body).await,
            _ => intake::ehr(door, event.header("vesper-signature"), &event.path_and_query(), body).await,
        })
    }
}

/// The function.
#[must_use]
pub fn intake() -> ExitCode {
    run(Intake::new, handle)
}

async fn handle(intake: Arc<Intake>, event: LambdaEvent<HttpEvent>) -> Result<HttpAnswer, Error> {
    let event = event.payload;
    match (event.request_context.http.method.as_str(), event.raw_path.as_str()) {
        ("POST", "/webhooks/stripe" | "/webhooks/ehr") => {}
        ("GET", "/healthz") => return Ok(HttpAnswer::json(200, r#"{"status":"ok"}"#)),
        _ => return Ok(HttpAnswer::json(404, r#"{"error":"not found"}"#)),
    }
    let Ok(body) = event.bytes() else { return Ok(HttpAnswer::json(400, r#"{"error":"the body cannot be read"}"#)) };
    let mut answer = intake.answer(&event, &body).await;
    if matches!(answer, Ok(Answer { status: 400 | 401, .. })) {
        // The secret may have been replaced since it was read.
        intake.ready.refuse();
        answer = intake.answer(&event, &body).await;
    }
    Ok(match answer {
        Ok(answer) => HttpAnswer::json(answer.status, answer.body),
        Err(e) => {
            tracing::error!(problem = %e, "this function is not ready");
            HttpAnswer::json(503, r#"{"error":"not set up: run vesper setup"}"#)
        }
    })
}
