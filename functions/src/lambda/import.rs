//! The function import: reads the EHR's feed, when the bus asks for it or a schedule says so. One at a time: a lease in the table
//! keeps a second one out.

use super::ready::Apps;
use super::run::run;
use crate::work;
use lambda_runtime::{Error, LambdaEvent};
use serde::de::IgnoredAny;
use std::process::ExitCode;
use std::sync::Arc;

/// The function.
#[must_use]
pub fn import() -> ExitCode {
    run(Apps::new, handle)
}

async fn handle(apps: Arc<Apps>, event: LambdaEvent<IgnoredAny>) -> Result<(), Error> {
    apps.host.begin(event.context.deadline);
    let app = apps.get().await?;
    let outcome = work::import_now(&app).await;
    if outcome.is_err() {
        apps.failed(&app);
    }
    apps.bus.flush().await;
    Ok(outcome?)
}
