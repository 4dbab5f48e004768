//! The life of a function's process: logs, runtime, and Lambda's loop of events.

use super::environment::{Environment, NotReady};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;

/// Logs as JSON lines on standard error; RUST_LOG sets the level. The outside libraries log through `log` or not at all, and
/// what is theirs is dropped: at lower levels they would log bodies.
fn log_to_stderr() {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|w| w.trim().parse::<LevelFilter>().ok());
    let json = tracing_subscriber::fmt().json().with_max_level(wanted.unwrap_or(LevelFilter::INFO));
    let json = json.with_writer(std::io::stderr);
    let _ = json.try_init();
}

/// Runs a function: `start` builds what it stands on from the environment, without calling anything; `handle` answers an event.
pub fn run<S, E, R, F, O>(start: F, handle: fn(Arc<S>, LambdaEvent<E>) -> O) -> ExitCode
where
    S: Send + Sync + 'static,
    E: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
    F: FnOnce(Environment) -> Result<S, NotReady>,
    O: Future<Output = Result<R, lambda_runtime::Error>> + Send,
{
    log_to_stderr();
    let outcome = Environment::read(|name| std::env::var(name).ok()).and_then(start);
    let state = match outcome {
        Ok(state) => Arc::new(state),
        Err(e) => {
            tracing::error!(problem = %e, "this function cannot start");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!(problem = %e, "this function cannot start");
            return ExitCode::FAILURE;
        }
    };
    let service = service_fn(move |event: LambdaEvent<E>| handle(Arc::clone(&state), event));
    match runtime.block_on(lambda_runtime::run(service)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(problem = %e, "Lambda's runtime loop ended");
            ExitCode::FAILURE
        }
    }
}
