//! `vesper pause`: holds card retries, postings, or all writing, also beside a running serve or stack.

use crate::serve::data_dir::DataDir;
use crate::serve::runtime;
use crate::stack::build::store_on;
use crate::{Failure, cli, cloud};
use vesper_functions::pause::{self, Pause};

/// Runs the command.
///
/// # Errors
/// A [`Failure`] that says what is wrong and what to do.
pub fn run(args: &cli::Pause) -> Result<(), Failure> {
    let word = args.what.as_str();
    let what = Pause::parse(word).ok_or_else(|| Failure::usage(format!("{word}: say retries, postings, all or none")))?;
    runtime()?.block_on(async {
        let (store, named) = match (&args.store.data, &args.store.table) {
            (Some(path), _) => {
                let data = DataDir::beside(path)?;
                (store_on(&data.engine()?, data.key()?), path.display().to_string())
            }
            (None, Some(table)) => (cloud::Named::of(cloud::account()?, table).await?.store(), table.clone()),
            (None, None) => return Err(Failure::usage("say which store: --data DIR or --table NAME")),
        };
        let (at, id) = (jiff::Timestamp::now(), crate::serve::random_hex());
        let done = pause::store(&store, what, "command line", at, id).await;
        done.map_err(|e| Failure::problem(format!("pause {named}: {e}")))
    })
}
