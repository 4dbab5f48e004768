//! What doctor asks Stripe: the key and its rights, the clock, the webhook endpoint, what did not arrive, and who else tries failed
//! cards again (facts/stripe.md sections 1, 4 and 5).
//!
//! Must not: send a write that could do anything.

use super::finding::{Area, Finding};
use super::{Subject, clock_finding};
use crate::setup::endpoint::{self, Remembered, Wanted};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use vesper_adapters::error::{CallError, Class};
use vesper_adapters::quickbooks::oauth::sha256_hex;
use vesper_adapters::stripe::client::{RIGHTS, Right, StripeClient};
use vesper_adapters::stripe::wire::Projection;
use vesper_functions::health::Health;

/// How long a delivery may take before its payment is missed, in minutes.
const ON_ITS_WAY_MIN: i64 = 15;
/// How far back doctor looks for payments that never arrived, in hours: as long as Stripe repeats a delivery.
const LOOK_BACK_H: i64 = 72;
/// Where keys are made.
const KEYS: &str = "https://dashboard.stripe.com/apikeys";

fn client(s: &Subject) -> StripeClient {
    let projection = Projection { keys: s.settings.stripe.metadata.clone(), hasher: s.hasher.clone() };
    let (base, version) = (&s.settings.stripe.api_base, &s.settings.stripe.api_version);
    StripeClient::new(s.transport.clone(), base, version, s.secrets.stripe_api_key.clone(), projection)
}

/// Everything that Stripe is asked.
pub(super) async fn check(s: &Subject, remembered: Option<&Remembered>, health: Option<&Health>, out: &mut Vec<Finding>) {
    let key = s.secrets.stripe_api_key.expose();
    if key.is_empty() {
        Area::new("stripe key", out).skipped("nothing is asked of Stripe without STRIPE_API_KEY");
        return;
    }
    let stripe = client(s);
    let now = (s.clock)();
    match stripe.clock().await {
        Ok(theirs) => clock_finding(&mut Area::new("clock", out), "Stripe", now, theirs),
        Err(e) => {
            let remedy = "can this machine reach the internet? Is stripe.api_base right? Else look at https://status.stripe.com";
            Area::new("stripe key", out).problem(format!("Stripe does not answer: {e}"), remedy);
            return;
        }
    }
    if !rights(s, &stripe, out).await {
        return;
    }
    endpoint_of(s, &stripe, remembered, out).await;
    arrivals(s, &stripe, health, now, out).await;
    tried_again(s, &stripe, out).await;
}

/// False when the key is no key: nothing more can be asked.
async fn rights(s: &Subject, stripe: &StripeClient, out: &mut Vec<Finding>) -> bool {
    let mut area = Area::new("stripe key", out);
    let (mut missing, mut needless): (Vec<&Right>, Vec<&Right>) = (Vec::new(), Vec::new());
    for right in &RIGHTS {
        match stripe.has_right(right).await {
            Ok(has) if has == right.needed => {}
            Ok(true) => needless.push(right),
            Ok(false) => missing.push(right),
            Err(e) if e.class == Class::Unauthorized => {
                area.problem(
                    "Stripe does not accept STRIPE_API_KEY",
                    format!("it was rolled or mistyped: take a restricted key from {KEYS} and run vesper setup"),
                );
                return false;
            }
            Err(e) => {
                area.problem(format!("the key's rights could not be read: {e}"), "run vesper doctor again in a minute");
                return false;
            }
        }
    }
    let names = |rights: &[&Right]| rights.iter().map(|r| format!("{} ({})", r.name, r.slug)).collect::<Vec<_>>().join(", ");
    if !missing.is_empty() {
        area.problem(format!("STRIPE_API_KEY may not: {}", names(&missing)), format!("give it these rights at {KEYS}"));
    }
    if s.secrets.stripe_api_key.expose().starts_with("sk_") {
        area.warning(
            "STRIPE_API_KEY is a full secret key: whoever gets it may refund and pay out",
            format!("make a restricted key (rk_...) without the right to refund at {KEYS} and run vesper setup"),
        );
    } else if !needless.is_empty() {
        area.problem(
            format!("STRIPE_API_KEY may do what Vesper never does: {}", names(&needless)),
            format!("take this right away at {KEYS}"),
        );
    } else if missing.is_empty() {
        area.ok("a restricted key with the rights that Vesper needs, and none to refund");
    }
    livemode(s, stripe, &mut area).await;
    true
}

async fn livemode(s: &Subject, stripe: &StripeClient, area: &mut Area<'_>) {
    let wanted = s.settings.stripe.livemode;
    // A key without the right was told of above.
    if let Ok(balance) = stripe.balance(s.settings.practice.currency).await
        && balance.livemode != wanted
    {
        area.problem(
            format!("the key is of {} mode, stripe.livemode is {wanted}", if balance.livemode { "live" } else { "test" }),
            "set stripe.livemode to the key's mode, or give a key of the other mode",
        );
    }
}

async fn endpoint_of(s: &Subject, stripe: &StripeClient, remembered: Option<&Remembered>, out: &mut Vec<Finding>) {
    let mut area = Area::new("stripe webhook", out);
    let all = match stripe.webhook_endpoints().await {
        Ok(all) => all,
        Err(e) if e.class == Class::Unauthorized => {
            let remedy = format!("give it the right Webhook Endpoints: read (rak_webhook_read) at {KEYS}");
            return area.warning("STRIPE_API_KEY may not read webhook endpoints: nobody sees when one changes", remedy);
        }
        Err(e) => return not_read(&mut area, &e),
    };
    let url = s.stripe_url(remembered);
    let wanted = Wanted { url: url.as_deref(), version: &s.settings.stripe.api_version, practice: &s.settings.practice.id };
    let Some(ours) = endpoint::ours(&all, wanted, remembered) else {
        let at = url.map_or_else(String::new, |url| format!(" at {url}"));
        return area.problem(format!("there is no webhook endpoint{at}: no payment arrives"), "run vesper setup");
    };
    let drift = endpoint::drift(ours, wanted);
    if drift.is_empty() {
        let n = ours.events.len();
        area.ok(format!("{} delivers {n} event types of version {} to {}", ours.id, wanted.version, ours.url));
    } else {
        let told: Vec<String> = drift.iter().map(ToString::to_string).collect();
        area.problem(format!("endpoint {} is not as it should be: {}", ours.id, told.join("; ")), "run vesper setup");
    }
    for double in endpoint::doubles(&all, &ours.id, &ours.url) {
        area.warning(
            format!(
                "endpoint {} delivers to the same address: each event comes twice, one of them with a secret of its own",
                double.id
            ),
            "run vesper setup, which disables it",
        );
    }
    secret(s, remembered.filter(|r| r.id == ours.id), &mut area);
}

fn secret(s: &Subject, remembered: Option<&Remembered>, area: &mut Area<'_>) {
    let Some(known) = remembered.and_then(|r| r.secret_sha256.as_ref()) else { return };
    if !s.secrets.stripe_webhook_secrets.iter().any(|secret| sha256_hex(secret) == *known) {
        area.problem(
            "STRIPE_WEBHOOK_SECRETS does not hold the signing secret of this endpoint: its events are refused",
            "if the variable is set in the environment, remove it there (setup stored the right one); else run vesper setup",
        );
    }
}

fn not_read(area: &mut Area<'_>, e: &CallError) {
    area.warning(format!("it could not be looked at: {e}"), "run vesper doctor again in a minute");
}

/// What Stripe has told of and nobody heard.
async fn arrivals(s: &Subject, stripe: &StripeClient, health: Option<&Health>, now: Timestamp, out: &mut Vec<Finding>) {
    let mut area = Area::new("stripe events", out);
    match stripe.has_undelivered_events().await {
        Ok(true) => area.warning(
            "Stripe has events of the last 30 days that some endpoint has not taken yet",
            "see Developers > Webhooks in the dashboard; it repeats them for three days, or resend them there",
        ),
        Ok(false) => area.ok("every event of the last 30 days was delivered"),
        Err(e) => not_read(&mut area, &e),
    }
    let Some(health) = health else { return };
    match health.newest_payment {
        Some(at) => area.ok(format!("the newest payment was heard of {} ago", super::span(now.duration_since(at)))),
        None => area.ok("no payment was heard of yet"),
    }
    let back = |hours: i64| now.saturating_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN);
    let Some(go_live) = s.go_live.filter(|at| *at <= now) else { return };
    let until = now.saturating_sub(SignedDuration::from_mins(ON_ITS_WAY_MIN)).unwrap_or(now);
    let missing = match stripe.succeeded_between(back(LOOK_BACK_H).max(go_live), until).await {
        Ok(paid) => paid.into_iter().filter(|id| !health.payments.contains(id)).count(),
        Err(e) => return not_read(&mut area, &e),
    };
    if missing > 0 {
        area.problem(
            format!("{missing} payments that Stripe received in the last {LOOK_BACK_H} hours never arrived here"),
            "mend the webhook endpoint, then resend their events from Stripe's dashboard",
        );
    }
}

/// Somebody else who tries failed cards again (facts/stripe.md section 4: Smart Retries; facts/ehr.md: autopay).
async fn tried_again(s: &Subject, stripe: &StripeClient, out: &mut Vec<Finding>) {
    let mut area = Area::new("double charging", out);
    let tries = match stripe.failed_tries().await {
        Ok(tries) => tries,
        Err(e) => return not_read(&mut area, &e),
    };
    let mut by_payment: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for one in &tries {
        by_payment.entry(one.payment.as_str()).or_default().push(one.by_request || one.ours);
    }
    // A first try that nobody asked for is a subscription's; a second one is a retry.
    let by_stripe = by_payment.values().filter(|t| t.len() > 1 && t.iter().any(|asked| !asked)).count();
    if by_stripe > 0 {
        area.problem(
            format!("Stripe itself tried {by_stripe} failed payments again in the last 30 days (Smart Retries)"),
            "switch Smart Retries off in Stripe's dashboard (Billing > Revenue recovery), or run vesper pause retries",
        );
    } else {
        area.ok(format!("of {} failed tries of the last 30 days none was Stripe's own retry", tries.len()));
    }
    if s.settings.retry.days.is_empty() {
        area.ok("retry.days is empty: Vesper tries no card again");
    }
}
