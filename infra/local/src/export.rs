//! `vesper export`: everything that is stored, as JSON on standard output. Reads only, also beside a running serve or stack.

use crate::serve::data_dir::DataDir;
use crate::serve::runtime;
use crate::stack::build::store_on;
use crate::{Failure, cli, cloud};
use std::io::Write as _;
use std::path::Path;
use vesper_functions::export::export;

/// Runs the command.
///
/// # Errors
/// A [`Failure`] that says what is wrong and what to do.
pub fn run(args: &cli::Export) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match (&args.store.data, &args.store.table) {
            (Some(path), _) => of_directory(path, args.with_personal_data).await,
            (None, Some(table)) => of_table(table, args.with_personal_data).await,
            (None, None) => Err(Failure::usage("say which store: --data DIR or --table NAME")),
        }
    })
}

async fn of_directory(path: &Path, with_personal_data: bool) -> Result<(), Failure> {
    let data = DataDir::beside(path)?;
    let failed = |e: &dyn std::fmt::Display| Failure::problem(format!("export {}: {e}", path.display()));
    if with_personal_data {
        let store = store_on(&data.engine()?, data.key()?);
        record_look(&store).await.map_err(|e| failed(&e))?;
    }
    let store = store_on(&data.engine_read_only()?, data.key()?);
    print(export(&store, with_personal_data).await.map_err(|e| failed(&e))?)
}

/// Page by page, each consistent; nothing is written but the record of a look at personal data.
async fn of_table(name: &str, with_personal_data: bool) -> Result<(), Failure> {
    let table = cloud::Named::of(cloud::account()?, name).await?;
    let failed = |e: &dyn std::fmt::Display| Failure::problem(format!("export {name}: {e}"));
    let store = if with_personal_data { table.store_with_key().await? } else { table.store() };
    if with_personal_data {
        record_look(&store).await.map_err(|e| failed(&e))?;
    }
    print(export(&store, with_personal_data).await.map_err(|e| failed(&e))?)
}

fn print(all: serde_json::Value) -> Result<(), Failure> {
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
