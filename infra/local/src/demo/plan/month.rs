//! Bills, insurance, and what goes wrong outside.

use super::super::rng::Rng;
use super::people::Session;
use super::{Act, Invoice, Plan, at, days, later};
use jiff::civil::Weekday;

/// What a missed appointment costs, in minor units.
const NO_SHOW_MINOR: i64 = 7500;

/// Every session becomes an invoice; most at once, some hours or days later.
pub(super) fn bill(plan: &mut Plan, rng: &mut Rng, held: &[Session]) {
    for (n, session) in held.iter().enumerate() {
        let Some(client) = plan.clients.get(session.client) else { continue };
        let no_show = rng.percent(3);
        let (fee_minor, payer_minor, category) = match (no_show, client.coverage) {
            (true, _) => (NO_SHOW_MINOR, 0, "no_show_fee"),
            (false, "self_pay") => (client.fee_minor, 0, "self_pay"),
            (false, _) => (client.fee_minor, client.payer_minor, "copay"),
        };
        let ends = later(at(session.date, session.hour, 0), 50);
        let number = n.saturating_add(4001);
        plan.invoices.push(Invoice {
            id: format!("inv_{number}"),
            number: number.to_string(),
            client: session.client,
            fee_minor,
            payer_minor,
            category,
            service_date: session.date.to_string(),
            ends,
        });
        let late_h = if rng.percent(7) { rng.between(1, 70) } else { 0 };
        let billed = later(ends, rng.between(0, 4).saturating_add(late_h.saturating_mul(60)));
        plan.act(billed, Act::Bill(n));
        insurance(plan, rng, n);
    }
}

/// The insurance pays one to two weeks later; sometimes a part, and the practice forgives the rest.
fn insurance(plan: &mut Plan, rng: &mut Rng, invoice: usize) {
    let Some(bill) = plan.invoices.get(invoice) else { return };
    if bill.payer_minor == 0 {
        return;
    }
    let forgiven = if rng.percent(15) { 1500 } else { 0 };
    let paid = bill.payer_minor.saturating_sub(forgiven);
    let when = later(bill.ends, rng.between(6, 14).saturating_mul(1440).saturating_add(rng.between(0, 300)));
    plan.act(when, Act::Insurance(invoice, paid, forgiven));
}

/// Stripe pays out early on every working day; one payout comes back from the bank.
pub(super) fn payouts(plan: &mut Plan) {
    for day in 3..=30 {
        let date = days(0, day);
        if !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) {
            plan.act(at(date, 5, 0), Act::PayOut);
        }
    }
    plan.act(at(days(0, 17), 12, 0), Act::PayoutFails);
}

/// Lost answers and an outage, so that the exactly-once of every write is put to the test.
pub(super) fn trouble(plan: &mut Plan) {
    plan.act(at(days(0, 4), 10, 0), Act::LoseEhrAnswers(2));
    plan.act(at(days(0, 10), 9, 0), Act::LoseBooksAnswers(2));
    plan.act(at(days(0, 12), 10, 0), Act::BooksDown(true));
    plan.act(at(days(0, 12), 11, 0), Act::BooksDown(false));
    plan.act(at(days(0, 18), 15, 0), Act::LoseEhrAnswers(1));
}
