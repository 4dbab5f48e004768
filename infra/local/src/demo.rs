//! `vesper demo`.

use crate::{Failure, cli};

/// Runs the command.
///
/// # Errors
/// A [`Failure`] that says what is wrong and what to do.
pub fn run(_args: &cli::Demo) -> Result<(), Failure> {
    Err(Failure::usage("this build of vesper does not have the command `demo` yet: use a later one"))
}
