//! What doctor asks the EHR bridge: whether it answers, whether both sides sign alike, what it can do, and how much of its feed
//! is not read yet.
//!
//! Must not: write to it, or show anything of a record.

use super::finding::{Area, Finding};
use super::{Subject, span};
use jiff::Timestamp;
use vesper_adapters::ehr::{BridgeClient, Capabilities, Change};
use vesper_adapters::error::Class;
use vesper_adapters::personal::Secret;
use vesper_adapters::settings::EhrKind;
use vesper_functions::import;

/// A secret that no bridge has: what is signed with it has to be refused.
const NO_SECRET: &str = "vesper-doctor-signs-wrongly";
/// Records that wait longer than this many polls are late.
const POLLS_LATE: i64 = 3;

/// Everything that the bridge is asked.
pub(super) async fn check(s: &Subject, out: &mut Vec<Finding>) {
    let mut area = Area::new("ehr bridge", out);
    let base_url = match &s.settings.ehr.kind {
        EhrKind::Bridge { base_url } => base_url,
        EhrKind::Files => return area.ok("ehr.kind = \"files\": there is no bridge to ask"),
    };
    if s.secrets.ehr_bridge_secrets.is_empty() {
        return area.skipped("nothing is asked of the bridge without EHR_BRIDGE_SECRETS");
    }
    let client = |secrets: Vec<Secret>| BridgeClient::new(s.transport.clone(), base_url, secrets, s.hasher.clone());
    let (bridge, now) = (client(s.secrets.ehr_bridge_secrets.clone()), (s.clock)());
    match bridge.capabilities(now.as_second()).await {
        Ok(can) => capabilities(&mut area, &can),
        Err(e) if e.class == Class::Unauthorized => {
            let remedy = "give both sides the same EHR_BRIDGE_SECRETS (the first one signs), and look at the bridge's clock: \
                          it may differ by five minutes at most";
            return area.problem("the bridge does not accept our signature", remedy);
        }
        Err(e) => {
            let remedy = "is the bridge up, and is ehr.base_url right?";
            return area.problem(format!("the bridge does not answer as in its contract: {e}"), remedy);
        }
    }
    match client(vec![Secret::new(NO_SECRET)]).capabilities(now.as_second()).await {
        Ok(_) => area.problem(
            "the bridge answers to a wrong signature: anybody may read and write the EHR through it",
            "whoever runs the bridge has to make it check Vesper-Signature, and refuse with 401",
        ),
        Err(e) if e.class == Class::Unauthorized => area.ok("our signature is accepted, a wrong one is refused"),
        Err(e) => area.warning(
            format!("the bridge does not refuse a wrong signature with 401: {e}"),
            "whoever runs the bridge has to answer 401 to it (contracts/ehr-bridge.openapi.yaml)",
        ),
    }
    feed(s, &bridge, now, &mut area).await;
}

fn capabilities(area: &mut Area<'_>, can: &Capabilities) {
    let mut lacks = Vec::new();
    if !can.writes_payments {
        lacks.push("record payments");
    }
    if !can.reverses_payments {
        lacks.push("take payments back");
    }
    if lacks.is_empty() {
        area.ok("the bridge answers, and records payments and takes them back");
    } else {
        let text = format!("the bridge cannot {}: a person has to do it in the EHR", lacks.join(" nor "));
        area.warning(text, "nothing can be mended here; see each payment's page for what is to be typed in");
    }
    if !can.idempotent_writes {
        area.warning(
            "the bridge does not protect against a repeated write",
            "Vesper asks by reference before it repeats one; a duplicate that comes late is shown",
        );
    }
}

async fn feed(s: &Subject, bridge: &BridgeClient, now: Timestamp, area: &mut Area<'_>) {
    let Some(store) = &s.store else { return };
    let cursor = match import::cursor(store).await {
        Ok(cursor) => cursor,
        Err(e) => return area.problem(format!("how far the feed was read is not known: {e}"), "see the table below"),
    };
    if cursor.is_none() {
        let remedy = s.runner.or(
            "start vesper serve: it reads the feed at once",
            "the heartbeat has it read within minutes; else the logs of due and import say why not",
        );
        return area.warning("nothing of the EHR was read yet", remedy);
    }
    let page = match bridge.changes(cursor.as_deref(), 1, 0, now.as_second()).await {
        Ok(page) => page,
        Err(e) => return area.problem(format!("the feed cannot be read: {e}"), "whoever runs the bridge has to look at it"),
    };
    let observed = page.records.first().and_then(|record| match record {
        Change::Client { client, .. } => Some(client.seen.observed_at),
        Change::Invoice(invoice) => Some(invoice.seen.observed_at),
        Change::Payment(payment) => Some(payment.seen.observed_at),
        Change::UnknownKind { .. } | Change::Unreadable { .. } => None,
    });
    let behind = observed.map(|at| now.duration_since(at));
    let late_s = i64::from(s.settings.ehr.poll_s).saturating_mul(POLLS_LATE);
    match behind {
        Some(behind) if behind.as_secs() > late_s => area.problem(
            format!("the EHR has changes that were not read, the oldest of them {} old", span(behind)),
            s.runner.or(
                "is vesper serve running? Its log says why the feed is not read",
                "the logs of the functions due and import say why the feed is not read",
            ),
        ),
        Some(_) => area.ok("the newest changes of the EHR are about to be read"),
        None if page.records.is_empty() => area.ok("the feed is read to its end"),
        None => area.warning(
            "the next record of the feed is not as in the contract",
            "whoever runs the bridge has to look at it; Vesper skips it and goes on",
        ),
    }
}
