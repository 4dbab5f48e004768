//! What doctor reads in the table: what waits, what was given up, what a person is asked, and what holds the work.
//!
//! Must not: write.

use super::finding::{Area, Finding};
use super::{Runner, Subject, span};
use jiff::Timestamp;
use vesper_adapters::dynamo::store::{Failed, Store};
use vesper_adapters::settings::{Books, Mode};
use vesper_core::policy::WhenUnknown;
use vesper_functions::health::{Effects, Health};
use vesper_functions::pause::Pause;
use vesper_functions::reconcile::customers;
use vesper_functions::{pause, payouts, switch};

/// Work that waits longer than this is told, in seconds: an outage of an hour needs no hand (contracts/settings.md).
const LATE_S: i64 = 3600;
/// What a person does about what was given up.
const REDRIVE: &str = "mend the cause, then press Do it again now on the review page";

/// Everything that the table says.
pub(super) async fn check(s: &Subject, health: Option<&Health>, out: &mut Vec<Finding>) {
    let Some(store) = &s.store else { return };
    if let Err(e) = stand(s, store, out).await {
        let text = format!("it cannot be read: {e}");
        Area::new("table", out).problem(text, "is another release at work on it? Is the data key the right one?");
    }
    let Some(health) = health else { return };
    let now = (s.clock)();
    let mut area = Area::new("write-backs", out);
    effects(&mut area, &s.runner, "write-backs to the EHR", &health.write_backs, now);
    let mut area = Area::new("postings", out);
    effects(&mut area, &s.runner, "postings to the books", &health.postings, now);
    queues(health, &s.runner, now, out);
    reviews(health, out);
    autopay(s, health, out);
}

/// Mode, go_live, pause, opening entry, the listing of customers.
async fn stand(s: &Subject, store: &Store, out: &mut Vec<Finding>) -> Result<(), Failed> {
    let now = (s.clock)();
    let mut area = Area::new("mode", out);
    let shadow = s.settings.practice.mode == Mode::Shadow;
    let word = if shadow { "shadow" } else { "live" };
    match switch::last_mode(store).await? {
        Some(last) if last != word => area.warning(
            format!("the settings say {word}, the last start was in {last} mode"),
            s.runner.or(
                "restart vesper serve: the mode changes at a start",
                "the heartbeat makes the switch within 15 minutes of vesper setup; else the log of due says why not",
            ),
        ),
        _ if shadow => area.ok("shadow: everything is decided and shown, nothing is written to another system"),
        _ => area.ok("live"),
    }
    match s.go_live {
        Some(at) if at > now => area.ok(format!("money counts from {at} on; what is created before is only recorded")),
        Some(at) => area.ok(format!("money counts since {at}")),
        None => area.ok("go_live is not set: the first start in live mode counts"),
    }
    let mut area = Area::new("pause", out);
    match pause::stored(store).await? {
        Pause::None => area.ok("nothing is held"),
        held => area.warning(format!("a person holds: {}", held.as_str()), "vesper pause none goes on"),
    }
    if !customers::all_listed(store).await? {
        Area::new("customers", out).warning(
            "Stripe's customers are not all listed yet: nobody is linked by e-mail until then",
            s.runner.or(
                "vesper setup lists them, and vesper serve does at its start",
                "vesper setup lists them, and the stack does when the heartbeat begins",
            ),
        );
    }
    if let Books::QuickBooks(q) = &s.settings.books
        && payouts::opening_account(store).await?.is_some_and(|account| account != q.accounts.stripe_clearing)
    {
        Area::new("opening entry", out).problem(
            "books.accounts.stripe_clearing is another account than the one whose opening entry was confirmed",
            "set the old account again, or open the new one and confirm it on the review page",
        );
    }
    Ok(())
}

fn effects(area: &mut Area<'_>, runner: &Runner, what: &str, effects: &Effects, now: Timestamp) {
    if effects.dead > 0 {
        area.problem(format!("{} {what} were given up", effects.dead), REDRIVE);
    }
    let Some(since) = effects.oldest else { return area.ok(format!("no {what} wait")) };
    let age = now.duration_since(since);
    let text = format!("{} {what} wait, {} of them failed before; the oldest for {}", effects.waiting, effects.failed, span(age));
    if age.as_secs() <= LATE_S {
        return area.ok(text);
    }
    let met = effects.problem.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
    area.problem(
        format!("{text}{met}"),
        runner.or(
            "is vesper serve running, and the other system up? Is it paused? They are tried for 24 hours, then given up",
            "does the heartbeat beat, and is the other system up? Is it paused? They are tried for 24 hours, then given up",
        ),
    );
}

fn queues(health: &Health, runner: &Runner, now: Timestamp, out: &mut Vec<Finding>) {
    let mut area = Area::new("queues", out);
    let dead: u64 = health.dead_letters.values().sum();
    if dead > 0 {
        let by: Vec<String> = health.dead_letters.iter().map(|(queue, n)| format!("{n} in {queue}")).collect();
        area.problem(format!("{dead} dead letters: {}", by.join(", ")), REDRIVE);
    }
    if let Some(since) = health.oldest_event {
        let age = now.duration_since(since);
        let text = format!("{} events wait for an outside answer, the oldest for {}", health.events_waiting, span(age));
        if age.as_secs() > LATE_S {
            area.problem(text, "Stripe or the EHR did not answer: the log says which; they are tried for 24 hours");
        } else {
            area.ok(text);
        }
    }
    let Runner::Serve(queued) = runner else { return };
    match queued {
        Some(0) => area.ok("no event waits to be worked off"),
        Some(n) => area.ok(format!("{n} events wait to be worked off; a running vesper serve does it at once")),
        None => {}
    }
}

fn reviews(health: &Health, out: &mut Vec<Finding>) {
    let mut area = Area::new("reviews", out);
    if health.reviews.contains_key("books_reconnect") {
        area.problem("a person is asked to connect QuickBooks again", "run vesper setup --reconnect");
    }
    let open: u64 = health.reviews.values().sum();
    if open == 0 {
        return area.ok("no question is open");
    }
    let by: Vec<String> = health.reviews.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    area.ok(format!("{open} questions are open: {}", by.join(", ")));
}

/// An EHR that charges cards by itself (facts/ehr.md 0.4): the same card would be charged by two.
fn autopay(s: &Subject, health: &Health, out: &mut Vec<Finding>) {
    let mut area = Area::new("double charging", out);
    if s.settings.retry.when_autopay_unknown == WhenUnknown::Retry && health.autopay_unknown > 0 {
        area.warning(
            format!(
                "the EHR does not say of {} of {} clients whether it charges their cards by itself, and retry.when_autopay_unknown \
                 is \"retry\"",
                health.autopay_unknown, health.clients
            ),
            "make sure that AutoPay is off in the EHR, or set when_autopay_unknown = \"ask\"",
        );
    }
    if health.autopay_on > 0 {
        area.ok(format!("the EHR charges the cards of {} clients by itself: Vesper never tries those again", health.autopay_on));
    }
}
