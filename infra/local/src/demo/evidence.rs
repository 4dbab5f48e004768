//! Gathers what the invariants are checked on: the truth of the plan, and what the outside systems hold.
//!
//! Must not: judge.

use super::invariants::{AtStripe, Evidence, Outside, Paid, Truth};
use super::plan::{MAIL_DOMAIN, Plan, SURNAMES};
use super::play::Played;
use super::world::{CLEARING, World};
use crate::Failure;
use serde_json::Value;
use std::collections::BTreeMap;
use vesper_standins::Seen;
use vesper_standins::stripe::Outcome;

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn int(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// All of it.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn gather(plan: &Plan, played: &Played) -> Result<Evidence, Failure> {
    let mut outside = outside(&played.world);
    outside.deliveries.clone_from(&played.problems);
    leaks(played, &mut outside).await?;
    let (export, replayed) = played.exports.clone();
    outside.stripe = stripe(&played.world, &export);
    Ok(Evidence { export, replayed, truth: truth(plan, &played.world), outside, clearing: CLEARING })
}

fn truth(plan: &Plan, world: &World) -> Truth {
    let paid = world.paid().into_iter().filter_map(|(intent, n)| {
        let payment = plan.payments.get(n)?;
        let first = payment.invoices.first().and_then(|i| plan.invoices.get(*i));
        let named = first.filter(|_| payment.names_invoice).map(|i| i.id.clone());
        Some((intent, Paid { family: plan.family_of(payment.payer), amount_minor: payment.amount_minor, named }))
    });
    let families = plan.invoices.iter().map(|i| (i.id.clone(), plan.family_of(i.client)));
    Truth { payments: paid.collect(), families: families.collect() }
}

fn outside(world: &World) -> Outside {
    let all = &world.all;
    let not_client = |p: &&Value| text(p, "portion") != "client";
    let mut ehr_payer_paid: BTreeMap<String, i64> = BTreeMap::new();
    for payment in all.ehr.current() {
        if text(&payment, "kind") == "payment" && text(&payment, "portion") == "payer" {
            let sum = ehr_payer_paid.entry(text(&payment, "invoice_id").to_owned()).or_default();
            *sum = sum.saturating_add(int(&payment, "/amount")).saturating_sub(int(&payment, "/reversed"));
        }
    }
    Outside {
        ehr_net: all.ehr.net_by_invoice(),
        on_payer_share: all.ehr.written().iter().filter(not_client).map(|p| text(p, "id").to_owned()).collect(),
        ehr_payer_paid,
        doc_numbers: all.quickbooks.entries().into_iter().map(|e| e.doc_number.unwrap_or(e.id)).collect(),
        balances: all.quickbooks.balances(),
        transfers: all.quickbooks.transfers().into_iter().map(|t| (t.from, t.to, t.amount_minor)).collect(),
        wrong_charges: wrong_charges(world),
        refused: all.refused(),
        ..Outside::default()
    }
}

/// What Stripe's balance holds and what its payouts took, row by row. `export` says which payouts are in the books.
fn stripe(world: &World, export: &Value) -> AtStripe {
    let stripe = &world.all.stripe;
    let payouts = export.get("payouts").and_then(Value::as_array);
    let posted = |id: &str| {
        let of_it = payouts.into_iter().flatten().find(|p| text(p, "id") == id);
        of_it.is_some_and(|p| matches!(text(p, "state"), "tied_out" | "failed"))
    };
    let mut at = AtStripe { balance: stripe.balance_minor(), ..AtStripe::default() };
    for (row, payout) in stripe.rows() {
        let in_books = payout.as_deref().is_some_and(posted);
        if text(&row, "type") == "payout" {
            let id = text(&row, "source");
            let came_back = stripe.object(id).is_some_and(|p| matches!(text(&p, "status"), "failed" | "canceled"));
            let sum = if posted(id) { &mut at.paid_out } else { &mut at.under_way };
            *sum = sum.saturating_sub(if came_back { 0 } else { int(&row, "/net") });
            continue;
        }
        // A row that is a fee itself is one with all of its net.
        let fee = if text(&row, "type") == "stripe_fee" { int(&row, "/net").saturating_neg() } else { int(&row, "/fee") };
        let sum = if in_books { &mut at.fees_posted } else { &mut at.fees_to_come };
        *sum = sum.saturating_add(fee);
    }
    at
}

/// Cards that were charged twice, or by Vesper although the client had paid by himself.
fn wrong_charges(world: &World) -> Vec<String> {
    let stripe = &world.all.stripe;
    let mut wrong: Vec<String> =
        world.made.keys().filter(|i| stripe.charged(i) > 1).map(|i| format!("{i} was charged twice")).collect();
    let mut times: BTreeMap<usize, u32> = BTreeMap::new();
    for n in world.paid().into_values() {
        let paid = times.entry(n).or_default();
        *paid = paid.saturating_add(1);
    }
    for confirm in stripe.confirms().into_iter().filter(|c| c.outcome == Outcome::Succeed) {
        let planned = world.made.get(&confirm.payment_intent);
        if planned.is_none_or(|n| times.get(n).is_some_and(|t| *t > 1)) {
            wrong.push(format!("{} was charged although it was paid already", confirm.payment_intent));
        }
    }
    wrong
}

/// Whether a planted name or address stands in this text.
fn holds_person(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains(MAIL_DOMAIN) || SURNAMES.iter().any(|name| text.contains(&name.to_ascii_lowercase()))
}

/// Looks through every request to an outside system and every row of the store, and counts the faults on the way.
async fn leaks(played: &Played, outside: &mut Outside) -> Result<(), Failure> {
    let all = &played.world.all;
    let systems = [("Stripe", all.stripe.requests()), ("the EHR", all.ehr.requests()), ("QuickBooks", all.quickbooks.requests())];
    for (system, requests) in systems {
        let in_query = |r: &Seen| r.query.iter().any(|(n, v)| holds_person(n) || holds_person(v));
        let in_header = |r: &Seen| r.headers.iter().any(|(_, v)| holds_person(v));
        for request in &requests {
            let (lost, refused) = (request.fault == Some("lost_after"), request.fault == Some("status"));
            outside.answers_lost = outside.answers_lost.saturating_add(u64::from(lost));
            outside.calls_refused = outside.calls_refused.saturating_add(u64::from(refused));
            if holds_person(&request.path) || holds_person(&request.body) || in_query(request) || in_header(request) {
                outside.leaks.push(format!("a {} to {system}", request.method));
            }
        }
    }
    let mut each = |row: vesper_adapters::dynamo::row::Row| {
        if holds_person(&row.pk) || holds_person(&row.sk) || holds_person(&row.body) {
            outside.leaks.push(format!("a row of kind {}", row.kind));
        }
    };
    let scanned = played.stack.app.store.scan(&mut each).await;
    scanned.map_err(|e| Failure::problem(format!("the demo could not read its store: {e}")))
}
