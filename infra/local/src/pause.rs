//! `vesper pause`.

use crate::{Failure, cli};

/// Runs the command.
///
/// # Errors
/// A [`Failure`] that says what is wrong and what to do.
pub fn run(_args: &cli::Pause) -> Result<(), Failure> {
    Err(Failure::usage("this build of vesper does not have the command `pause` yet: use a later one"))
}
