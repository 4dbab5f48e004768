//! `vesper demo`: a made-up month of a practice, run through the real handlers with stand-ins for Stripe, the EHR and QuickBooks;
//! a summary, the invariants, and then the review page.
//!
//! Must not: decide anything, touch a disk or a network (but for the review page), or claim what was not done.

mod evidence;
mod invariants;
mod plan;
mod play;
mod progress;
mod rng;
mod summary;
mod tally;
#[cfg(test)]
mod tests;
mod words;
mod world;

use crate::serve::{Door, log_from, runtime};
use crate::stack::Stack;
use crate::{Failure, cli};
use plan::Plan;
use play::Played;
use progress::Progress;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing_subscriber::filter::LevelFilter;
use vesper_functions::app::Host as _;

/// While the review page is served, the clock of the demo follows the real one in steps of this.
const TICK: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// Exit status 1 when an invariant is broken, 2 when the port is taken.
pub fn run(args: &cli::Demo) -> Result<(), Failure> {
    // The outages of the month are on purpose: their warnings would bury the summary.
    log_from(LevelFilter::ERROR);
    runtime()?.block_on(demo(args))
}

async fn demo(args: &cli::Demo) -> Result<(), Failure> {
    // A taken port is told at once, not after the month.
    let door = if args.no_serve { None } else { Some(Door::open(args.listen).await?) };
    let started = Instant::now();
    let plan = Plan::of(args.seed, usize::try_from(args.sessions).unwrap_or(usize::MAX));
    let played = play::play(&plan, args.seed, &Progress::on_stderr(plan.acts.len())).await?;
    let (text, broken) = judge(&plan, args.seed, &played, door.as_ref().map(Door::review_url).as_deref()).await?;
    let took = started.elapsed();
    // Nobody is left to be told when a stream is closed.
    let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    let (seconds, ms, calls) = (took.as_secs(), took.subsec_millis(), played.engine.calls());
    let _ = writeln!(std::io::stderr(), "vesper demo: the month took {seconds}.{ms:03} s and {calls} calls to the store");
    if let Some(door) = door {
        let clock = tokio::spawn(follow_the_clock(Arc::clone(&played.stack)));
        door.serve(Arc::clone(&played.stack), false).await?;
        clock.abort();
    }
    if broken == 0 { Ok(()) } else { Err(Failure::problem(format!("{broken} of the invariants are BROKEN: see the summary"))) }
}

/// The summary, and how many invariants are broken.
async fn judge(plan: &Plan, seed: u64, played: &Played, url: Option<&str>) -> Result<(String, usize), Failure> {
    let evidence = evidence::gather(plan, played).await?;
    let checks = invariants::check(&evidence);
    let tally = tally::tally(played).await?;
    let ledger = invariants::ledger_clearing(&evidence);
    let told = summary::Told { seed, plan, played, tally: &tally, outside: &evidence.outside, ledger, checks: &checks };
    let broken = checks.iter().filter(|c| !c.broken.is_empty()).count();
    Ok((summary::render(&told, url), broken))
}

/// The month is over; from now on time goes by as it really does, so that what a person answers is carried out.
async fn follow_the_clock(stack: Arc<Stack>) {
    let (stood, real) = (stack.host.now(), Instant::now());
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let now = stood.saturating_add(real.elapsed()).unwrap_or(stood);
        if let Err(e) = stack.move_clock(now).await {
            tracing::error!(problem = %e, "the clock of the demo could not be moved; tried again");
        }
    }
}
