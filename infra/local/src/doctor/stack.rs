//! What doctor asks AWS of a stack: its state, its table and backups, its parameters, its heartbeat and its queues.
//!
//! Must not: write, or read a message.

use super::finding::{Area, Finding};
use super::{Runner, Subject, secrets, settings, span};
use crate::Failure;
use crate::cloud::{self, DATA_KEY, Deployment};
use jiff::Timestamp;
use vesper_adapters::aws::stack::{can_be_restored, messages_on, table_state};
use vesper_adapters::aws::{AwsError, parameters::Parameters};
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::personal::DataKey;
use vesper_functions::due;

/// The work queues: the output that holds the address, and what a person calls them.
const QUEUES: [(&str, &str); 4] = [
    ("EventsQueueUrl", "events"),
    ("WriteBackQueueUrl", "write-backs"),
    ("BooksQueueUrl", "postings"),
    ("PayoutsQueueUrl", "payouts"),
];
/// A dead-letter queue is called like its queue, with this at the end (infra/template.yaml).
const DEAD: &str = "-dead-letters";
/// The heartbeat tells every five minutes that it came through; after so long it is missed, in minutes.
const BEAT_LATE_MIN: i64 = 15;

/// The stack of this name, looked at, as the subject of all other questions; None when nothing more can be asked.
///
/// # Errors
/// When there are no credentials, or no such stack.
pub(super) async fn subject(
    name: &str,
    file: Option<&(String, String)>,
    url: Option<String>,
    out: &mut Vec<Finding>,
) -> Result<Option<Subject>, Failure> {
    let deployment = Deployment::of(cloud::account()?, name).await?;
    let found = deployment.parameters().await;
    let parameters = match found {
        Ok(parameters) => parameters,
        Err(e) => {
            Area::new("data", out).problem(e.message, "give these credentials ssm:GetParametersByPath below the stack's path");
            return Ok(None);
        }
    };
    let Some(text) = parameters.config() else {
        let text = format!("there is no practice.toml below {}: every function answers that setup has not run", deployment.path);
        Area::new("config", out).problem(text, "run vesper setup --stack");
        return Ok(None);
    };
    let Some(settings) = settings(&text, &format!("{}/config", deployment.path), out) else { return Ok(None) };
    let secrets = secrets(|name| parameters.get(name).map(str::to_owned), &settings, out);
    let key = data_key(&deployment, &parameters, out);
    is_deployed(&deployment, out).await;
    same_settings(file, &text, out);
    let store = key.clone().map(|key| deployment.store(key));
    if let Some(store) = &store {
        heartbeat(&deployment, store, out).await;
    }
    queues(&deployment, out).await;
    let key = key.unwrap_or_else(|| DataKey::new([0; 32]));
    let own = match &store {
        Some(store) => crate::setup::has_own_address(store).await,
        None => false,
    };
    let url = url.or_else(|| (!own).then(|| deployment.url.clone()));
    Ok(Some(Subject::new(settings, secrets, store, &key, url, Runner::Stack(deployment.name)).await))
}

fn data_key(deployment: &Deployment, parameters: &Parameters, out: &mut Vec<Finding>) -> Option<DataKey> {
    let mut area = Area::new("data", out);
    let at = format!("{}/{DATA_KEY}", deployment.path);
    let Some(text) = parameters.get(DATA_KEY) else {
        area.problem(format!("{at} is not there"), "run vesper setup --stack, or restore the key from your safe copy");
        return None;
    };
    let key = DataKey::parse(text);
    match key {
        Some(_) => area.ok(format!("{at} is a data key")),
        None => area.problem(format!("{at} is no data key (64 hex digits)"), "restore it from your safe copy"),
    }
    key
}

/// It could not be looked at.
fn not_seen(area: &mut Area<'_>, e: &AwsError) {
    area.skipped(cloud::refused(e).message);
}

async fn is_deployed(deployment: &Deployment, out: &mut Vec<Finding>) {
    let mut area = Area::new("stack", out);
    let (name, status, table) = (&deployment.name, &deployment.stack.status, &deployment.table);
    match status.as_str() {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => area.ok(format!("{name} is {status}")),
        "UPDATE_ROLLBACK_COMPLETE" => area.warning(
            format!("the last deployment of {name} failed and was taken back"),
            "see its events in CloudFormation, and deploy again",
        ),
        s if s.ends_with("_IN_PROGRESS") => area.warning(format!("{name} is {s}"), "run vesper doctor again when it is through"),
        s => area.problem(format!("{name} is {s}"), "see its events in CloudFormation, and deploy again"),
    }
    match table_state(&deployment.aws, table).await {
        Ok(Some(state)) if state.status == "ACTIVE" || state.status == "UPDATING" => {
            if !state.is_protected {
                area.warning(format!("anybody with the right can delete the table {table}"), "switch its deletion protection on");
            }
            match can_be_restored(&deployment.aws, table).await {
                Ok(true) => area.ok(format!("the table {table} can be restored to any second of the last 35 days")),
                Ok(false) => area.problem(
                    format!("the table {table} has no point-in-time recovery: what is lost is lost"),
                    "deploy infra/template.yaml again, which switches it on",
                ),
                Err(e) => not_seen(&mut area, &e),
            }
        }
        Ok(state) => {
            let status = state.map_or_else(|| "not there".to_owned(), |s| s.status);
            area.problem(format!("the table {table} is {status}"), "docs/upgrade.md says how it is restored");
        }
        Err(e) => not_seen(&mut area, &e),
    }
}

fn same_settings(file: Option<&(String, String)>, stored: &str, out: &mut Vec<Finding>) {
    let mut area = Area::new("stack", out);
    match file {
        Some((text, name)) if text != stored => {
            area.warning(format!("the stack works with other settings than {name}"), "run vesper setup --stack with this file");
        }
        Some((_, name)) => area.ok(format!("it works with the settings of {name}")),
        None => {}
    }
}

async fn heartbeat(deployment: &Deployment, store: &Store, out: &mut Vec<Finding>) {
    let mut area = Area::new("heartbeat", out);
    let remedy = format!(
        "the log /aws/lambda/{}-due says why; is its rule enabled? Nothing that time drives is done: see the runbook, heartbeat",
        deployment.name
    );
    match due::last_beat(store).await {
        Ok(Some(at)) => {
            let age = Timestamp::now().duration_since(at);
            let text = format!("the heartbeat came through {} ago", span(age));
            if age.as_mins() > BEAT_LATE_MIN { area.problem(text, remedy) } else { area.ok(text) }
        }
        Ok(None) => area.problem("the heartbeat never came through", remedy),
        Err(e) => area.problem(format!("the table cannot be read: {e}"), "give these credentials the right to read it"),
    }
}

async fn queues(deployment: &Deployment, out: &mut Vec<Finding>) {
    let mut area = Area::new("queues", out);
    for (output, what) in QUEUES {
        let Some(url) = deployment.stack.output(output) else { continue };
        match messages_on(&deployment.aws, url).await {
            Ok(0) => area.ok(format!("no messages of {what} wait")),
            Ok(n) => area.ok(format!("about {n} messages of {what} wait or are being worked on")),
            Err(e) => return not_seen(&mut area, &e),
        }
        match messages_on(&deployment.aws, &format!("{url}{DEAD}")).await {
            Ok(0) => {}
            Ok(n) => area.warning(
                format!("about {n} messages of {what} are dead letters and no question yet"),
                "the heartbeat makes questions of them within five minutes: then see the review page",
            ),
            Err(e) => return not_seen(&mut area, &e),
        }
    }
}
