//! `vesper export`: everything that is stored, as JSON on standard output. Reads only, also beside a running serve.

use crate::serve::data_dir::DataDir;
use crate::serve::runtime;
use crate::stack::build::store_on;
use crate::{Failure, cli};
use std::io::Write as _;
use std::path::Path;
use vesper_functions::export::export;

/// Runs the command.
///
/// # Errors
/// A [`Failure`] that says what is wrong and what to do.
pub fn run(args: &cli::Export) -> Result<(), Failure> {
    let data = args.store.data.as_deref().ok_or_else(|| no_table(args.store.table.as_deref()))?;
    runtime()?.block_on(print(data, args.with_personal_data))
}

/// A table on AWS cannot be reached by this build.
pub(crate) fn no_table(table: Option<&str>) -> Failure {
    let table = table.unwrap_or("?");
    Failure::usage(format!("--table {table}: this release knows local data directories only; use --data DIR"))
}

async fn print(path: &Path, with_personal_data: bool) -> Result<(), Failure> {
    let data = DataDir::beside(path)?;
    let failed = |e: &dyn std::fmt::Display| Failure::problem(format!("export {}: {e}", path.display()));
    if with_personal_data {
        let store = store_on(&data.engine()?, data.key()?);
        record_look(&store).await.map_err(|e| failed(&e))?;
    }
    let store = store_on(&data.engine_read_only()?, data.key()?);
    let all = export(&store, with_personal_data).await.map_err(|e| failed(&e))?;
    writeln!(std::io::stdout(), "{all:#}").map_err(|e| Failure::problem(format!("write the export: {e}")))
}

/// A look at personal data leaves an audit record (invariant 10).
async fn record_look(store: &vesper_adapters::dynamo::store::Store) -> Result<(), vesper_adapters::dynamo::store::Failed> {
    use vesper_adapters::dynamo::item::{Unit, stamp};
    use vesper_adapters::dynamo::model::StoredAudit;
    let text = |s: &str| s.to_owned();
    let (who, action, subject) = (text("command line"), text("looked"), text("all clients"));
    let at = stamp(jiff::Timestamp::now());
    let record = vesper_core::audit::AuditRecord { at, who, action, subject, detail: text("export --with-personal-data") };
    let mut unit = Unit::new();
    unit.insert(&StoredAudit { record, id: crate::serve::random_hex(), seal: None });
    store.commit(unit).await
}
