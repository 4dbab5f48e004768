//! What intake has to do for an event and nothing else: verify the signature, parse, send one message. No Lambda, no settings.
//!
//! Standard input: a line with the secret, one with the `Stripe-Signature` header, one with the body; then a number in each line.
//! So many events are worked off, and a line on standard output says that they are.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use vesper_adapters::aws::Aws;
use vesper_adapters::aws::queue::{Outgoing, Sqs};
use vesper_adapters::personal::{DataKey, Secret};
use vesper_adapters::stripe::signature;
use vesper_adapters::stripe::wire::{MetadataKeys, Projection, project};

/// What is sent: as long as the message of a payment.
const MESSAGE_BYTES: usize = 600;

type Problem = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return ExitCode::FAILURE };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "{e}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Problem> {
    let sqs = Sqs::new(&Aws::from_lookup(|name| std::env::var(name).ok())?);
    let queue_url = std::env::var("EVENTS_QUEUE_URL")?;
    let projection = Projection { keys: MetadataKeys::default(), hasher: DataKey::new([7; 32]).email_hasher() };
    let message = Outgoing { body: "x".repeat(MESSAGE_BYTES), delay_s: 0 };
    let mut lines = std::io::stdin().lock().lines();
    let mut line = || lines.next().unwrap_or(Ok(String::new()));
    let (secrets, header, body) = ([Secret::new(line()?)], line()?, line()?);
    loop {
        let count = line()?;
        if count.is_empty() {
            return Ok(());
        }
        for _ in 0..count.parse::<u32>()? {
            let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
            signature::verify(Some(&header), body.as_bytes(), &secrets, now_s)?;
            std::hint::black_box(project(body.as_bytes(), &projection)?);
            sqs.send(&queue_url, std::slice::from_ref(&message)).await?;
        }
        writeln!(std::io::stdout(), "done")?;
    }
}
