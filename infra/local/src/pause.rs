//! `vesper pause`: holds card retries, postings, or all writing, also beside a running serve.

use crate::export::no_table;
use crate::serve::data_dir::DataDir;
use crate::serve::runtime;
use crate::stack::build::store_on;
use crate::{Failure, cli};
use vesper_functions::pause::{self, Pause};

/// Runs the command.
///
/// # Errors
/// A [`Failure`] that says what is wrong and what to do.
pub fn run(args: &cli::Pause) -> Result<(), Failure> {
    let path = args.store.data.as_deref().ok_or_else(|| no_table(args.store.table.as_deref()))?;
    let word = args.what.as_str();
    let what = Pause::parse(word).ok_or_else(|| Failure::usage(format!("{word}: say retries, postings, all or none")))?;
    let data = DataDir::beside(path)?;
    let store = store_on(&data.engine()?, data.key()?);
    let (at, id) = (jiff::Timestamp::now(), crate::serve::random_hex());
    let done = runtime()?.block_on(pause::store(&store, what, "command line", at, id));
    done.map_err(|e| Failure::problem(format!("pause {}: {e}", path.display())))
}
