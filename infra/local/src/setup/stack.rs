//! A stack on AWS that is set up: its data key and its settings, as parameters that its functions read.
//!
//! Must not: replace a data key, or make one for a table that was used with another.

use super::report::Report;
use super::{Opened, copy_key, endpoint};
use crate::Failure;
use crate::cloud::host::SharedHost;
use crate::cloud::place::ParameterPlace;
use crate::cloud::{self, DATA_KEY, Deployment};
use std::path::Path;
use std::sync::Arc;
use vesper_adapters::aws::parameters::Parameters;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::personal::{DataKey, Secret};
use vesper_adapters::settings::Settings;
use vesper_functions::switch;

/// How long a function keeps settings, for a person.
const KEPT: &str = "the functions read it within 15 minutes";

/// Stores data key and settings where they are missing or others.
///
/// # Errors
/// When AWS does not answer or allow it, the stack is another practice's, or there are data and no key.
pub(super) async fn open(
    name: &str,
    text: &str,
    settings: &Settings,
    key_copy: Option<&Path>,
    report: &mut Report<'_>,
) -> Result<Opened, Failure> {
    let deployment = Deployment::of(cloud::account()?, name).await?;
    let id = &settings.practice.id;
    if deployment.practice() != id {
        let of = deployment.practice();
        return Err(Failure::usage(format!(
            "stack {name} is of practice {of}, and practice.id is \"{id}\": deploy with Practice={id}, or name the other stack"
        )));
    }
    report.unchanged("stack", format!("{name} is deployed; its table is {}", deployment.table));
    let parameters = deployment.parameters().await?;
    let mut place = ParameterPlace::of(&deployment, &parameters);
    let key = data_key(&deployment, &mut place, key_copy, report).await?;
    wrap(&mut place, report).await?;
    config(&parameters, text, &mut place, report).await?;
    let store = key.clone().map(|key| deployment.store(key));
    let key = key.unwrap_or_else(|| DataKey::new([0; 32]));
    let url = match &store {
        Some(store) if has_own_address(store).await => None,
        _ => Some(deployment.url),
    };
    Ok(Opened { place: Box::new(place), store, key, url, host: Arc::new(SharedHost::real()) })
}

/// Whether an earlier setup was given an address of the practice's own, which goes on to count.
pub(crate) async fn has_own_address(store: &Store) -> bool {
    let known = endpoint::remembered(store).await.ok().flatten();
    known.is_some_and(|r| !r.url.contains(".execute-api."))
}

/// The data key, made where there is none; None in a dry run that would make it.
async fn data_key(
    deployment: &Deployment,
    place: &mut ParameterPlace,
    key_copy: Option<&Path>,
    report: &mut Report<'_>,
) -> Result<Option<DataKey>, Failure> {
    use super::Place as _;
    const AREA: &str = "data key";
    let at = format!("{}/{DATA_KEY}", deployment.path);
    let wrapped = deployment.key_arn.as_deref().map_or_else(String::new, |key| format!(", wrapped by {key}"));
    if place.get(DATA_KEY).is_some() {
        report.unchanged(AREA, format!("{at} is there"));
    } else {
        if was_used(deployment).await? {
            let table = &deployment.table;
            return Err(Failure::usage(format!("{table} has data and {at} is not there: restore it from your safe copy")));
        }
        if !report.may(AREA, &format!("make {at}, 32 random bytes{wrapped}")) {
            return Ok(None);
        }
        if !place.put_new(DATA_KEY, &Secret::new(hex::encode(crate::serve::random_32()))).await? {
            return Err(Failure::problem(format!("{at} was made by somebody else at this moment: run vesper setup again")));
        }
        let copy = "keep a copy in another place (--key-copy FILE); without it nothing personal can be read again";
        report.changed(AREA, format!("{at}, 32 random bytes{wrapped}, is made: {copy}"));
    }
    let text = place.get(DATA_KEY).unwrap_or_else(|| Secret::new(""));
    let bad = || Failure::usage(format!("{at} is no data key (64 hex digits): restore it from your safe copy"));
    let key = DataKey::parse(text.expose()).ok_or_else(bad)?;
    if let Some(copy) = key_copy
        && report.may(AREA, &format!("copy the key to {}", copy.display()))
    {
        copy_key(text.expose(), copy)?;
        report.changed(AREA, format!("a copy of the key is in {}", copy.display()));
    }
    Ok(Some(key))
}

/// What was stored before the stack had a key of its own is stored again as it is, and wrapped by that key: the data key, too.
async fn wrap(place: &mut ParameterPlace, report: &mut Report<'_>) -> Result<(), Failure> {
    use super::Place as _;
    const AREA: &str = "own key";
    for name in place.wrapped_otherwise().await? {
        let text = format!("wrap {name} with the key of the stack");
        if let Some(value) = place.get(&name)
            && report.may(AREA, &text)
        {
            place.put(&name, &value).await?;
            report.changed(AREA, text);
        }
    }
    Ok(())
}

/// Whether functions have worked on the table: they need the key for it, so there was one.
async fn was_used(deployment: &Deployment) -> Result<bool, Failure> {
    let mode = switch::last_mode(&deployment.store(DataKey::new([0; 32]))).await;
    Ok(mode.map_err(|e| Failure::problem(format!("the table {} cannot be read: {e}", deployment.table)))?.is_some())
}

async fn config(parameters: &Parameters, text: &str, place: &mut ParameterPlace, report: &mut Report<'_>) -> Result<(), Failure> {
    use super::Place as _;
    const AREA: &str = "config";
    let stored = parameters.config();
    if stored.as_deref() == Some(text) {
        report.unchanged(AREA, format!("practice.toml is in {}", place.called()));
    } else if report.may(AREA, &format!("store practice.toml in {}", place.called())) {
        place.put_config(text).await?;
        report.changed(AREA, format!("practice.toml is in {}; {KEPT}", place.called()));
    }
    Ok(())
}
