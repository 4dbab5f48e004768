//! What is done before any work: at the start of `vesper serve`, and on AWS by the heartbeat whenever it has read settings or
//! secrets anew.
//!
//! Must not: work anything off.

use crate::app::App;
use crate::failure::Unfinished;
use crate::{chores, push_books, switch};

/// Makes the switch between shadow and live where the settings ask for it, takes a new connection to QuickBooks, and sees to it that
/// the nightly sweep, and the proof after it, have their row.
///
/// # Errors
/// When the store does not answer; then nothing may run.
pub async fn at_start(app: &App) -> Result<(), Unfinished> {
    switch::at_start(app).await?;
    after_switch(app).await
}

/// The rest of it, without which all other work may go on. Neither part waits for the other.
///
/// # Errors
/// When the store does not answer.
pub async fn after_switch(app: &App) -> Result<(), Unfinished> {
    let connected = push_books::reconnected(app).await;
    chores::at_start(app).await.and(connected)
}
