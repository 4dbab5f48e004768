//! Who pays what when: the habits of clients, and the mishaps of a month.

use super::super::rng::Rng;
use super::{Act, Payer, Payment, Plan, later};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Why first attempts are declined.
const DECLINES: [&str; 4] = ["insufficient_funds", "generic_decline", "do_not_honor", "expired_card"];

/// How somebody likes to pay.
#[derive(Clone, Copy)]
enum Habit {
    /// The card on file, right after the session.
    AtOnce,
    /// Some hours or days later, on the portal.
    Later,
    /// Two sessions at once.
    Pairs,
    /// All that came together in a week, on Friday evening.
    Weekly,
}

/// Plans every payment of every client.
pub(super) fn pay(plan: &mut Plan, rng: &mut Rng) {
    let mut of_payer: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (n, invoice) in plan.invoices.iter().enumerate() {
        let payer = match plan.clients.get(invoice.client).map(|c| &c.payer) {
            Some(Payer::Parent(parent)) => *parent,
            _ => invoice.client,
        };
        of_payer.entry(payer).or_default().push(n);
    }
    for (payer, invoices) in of_payer {
        if plan.clients.get(payer).is_some_and(|c| c.payer == Payer::Cash) {
            cash(plan, rng, &invoices);
        } else {
            by_card(plan, rng, payer, &invoices);
        }
    }
    // Every month has one of each.
    let mut paid = plan.acts.iter().filter_map(|(at, a)| if let Act::Pay(payment) = a { Some((*at, *payment)) } else { None });
    let (disputed, refunded) = (paid.next(), paid.next());
    if let Some((when, payment)) = disputed {
        plan.act(later(when, 9 * 1440), Act::Dispute(payment));
    }
    if let Some((when, payment)) = refunded {
        plan.act(later(when, 2 * 1440), Act::Refund(payment, None));
    }
}

fn cash(plan: &mut Plan, rng: &mut Rng, invoices: &[usize]) {
    for n in invoices {
        let Some(when) = plan.invoices.get(*n).map(|i| later(i.ends, rng.between(10, 90))) else { continue };
        plan.act(when, Act::Cash(*n));
    }
}

fn by_card(plan: &mut Plan, rng: &mut Rng, payer: usize, invoices: &[usize]) {
    let is_parent = plan.clients.iter().any(|c| c.guarantor == Some(payer));
    let habit = match rng.below(100) {
        _ if is_parent && rng.percent(50) => Habit::Weekly,
        0..52 => Habit::AtOnce,
        52..82 => Habit::Later,
        _ => Habit::Pairs,
    };
    let mut gathered: Vec<usize> = Vec::new();
    let mut paid_ahead = 0_u32;
    for n in invoices {
        let Some((ends, his)) = plan.invoices.get(*n).map(|i| (i.ends, i.client == payer)) else { continue };
        if left_out(plan, rng, *n) {
            continue;
        }
        if his && paid_ahead > 0 {
            paid_ahead = paid_ahead.saturating_sub(1);
            continue;
        }
        match habit {
            Habit::AtOnce => {
                let wait = rng.between(3, 40);
                paid_ahead = paid_ahead.saturating_add(one(plan, rng, payer, *n, later(ends, wait)));
            }
            Habit::Later => {
                let wait = rng.between(60, 3 * 1440);
                paid_ahead = paid_ahead.saturating_add(one(plan, rng, payer, *n, later(ends, wait)));
            }
            Habit::Pairs => {
                gathered.push(*n);
                if gathered.len() == 2 {
                    several(plan, rng, payer, std::mem::take(&mut gathered), later(ends, 45));
                }
            }
            Habit::Weekly => {
                let last = gathered.last().and_then(|g| plan.invoices.get(*g)).map(|i| i.ends);
                if last.is_some_and(|last| week_of(last) != week_of(ends)) {
                    let when = last.map_or(ends, |l| later(l, 200));
                    several(plan, rng, payer, std::mem::take(&mut gathered), when);
                }
                gathered.push(*n);
            }
        }
    }
    let last = gathered.last().and_then(|g| plan.invoices.get(*g)).map(|i| i.ends);
    if let Some(last) = last {
        several(plan, rng, payer, gathered, later(last, 240));
    }
}

fn week_of(at: Timestamp) -> i64 {
    // Counted from a Monday; a week begins on Monday in UTC, which no session is near.
    at.as_second().saturating_sub(4 * 86_400).div_euclid(7 * 86_400)
}

/// Some invoices are never paid by card: forgotten, voided, written off, or paid at the desk.
fn left_out(plan: &mut Plan, rng: &mut Rng, n: usize) -> bool {
    let Some(invoice) = plan.invoices.get(n) else { return true };
    let (ends, no_show) = (invoice.ends, invoice.category == "no_show_fee");
    if no_show && rng.percent(30) {
        plan.act(later(ends, rng.between(1, 3).saturating_mul(1440)), Act::Void(n));
        return true;
    }
    match rng.below(1000) {
        0..20 => true,
        20..24 => {
            plan.act(later(ends, 12 * 1440), Act::Forgive(n));
            true
        }
        24..36 => {
            plan.act(later(ends, 15), Act::Cash(n));
            true
        }
        _ => false,
    }
}

/// How many sessions are paid ahead at once.
const AHEAD: u32 = 4;

/// One payment for one invoice, with what may go wrong. How many of the next sessions it pays, too.
fn one(plan: &mut Plan, rng: &mut Rng, payer: usize, n: usize, when: Timestamp) -> u32 {
    let Some((fee, his)) = plan.invoices.get(n).map(|i| (i.fee_minor, i.client == payer)) else { return 0 };
    let names_invoice = rng.percent(72);
    let payment = |amount_minor| Payment { payer, amount_minor, invoices: vec![n], names_invoice, in_advance: false };
    match rng.below(1000) {
        // A part now, the rest a week later.
        0..18 => {
            let part = fee.div_euclid(2).div_euclid(500).saturating_mul(500).max(500);
            make(plan, rng, payment(part), when);
            make(plan, rng, payment(fee.saturating_sub(part)), later(when, 7 * 1440));
        }
        // Twice, because the first try looked stuck.
        18..30 => {
            let gap = rng.between(2, 25);
            make(plan, rng, payment(fee), when);
            make(plan, rng, payment(fee), later(when, gap));
        }
        // Too much.
        30..37 => {
            let more = rng.between(1, 4).saturating_mul(500);
            make(plan, rng, payment(fee.saturating_add(more)), when);
        }
        // In advance for the next sessions, besides today's.
        37..43 if his => {
            make(plan, rng, payment(fee), when);
            let amount_minor = fee.saturating_mul(i64::from(AHEAD));
            let advance = Payment { amount_minor, invoices: vec![], names_invoice: false, in_advance: true, payer };
            make(plan, rng, advance, later(when, 5));
            return AHEAD;
        }
        _ => make(plan, rng, payment(fee), when),
    }
    0
}

/// One payment for all of these. Nothing but the amount tells what it is for.
fn several(plan: &mut Plan, rng: &mut Rng, payer: usize, invoices: Vec<usize>, when: Timestamp) {
    let amount_minor = invoices.iter().filter_map(|n| plan.invoices.get(*n)).map(|i| i.fee_minor).sum();
    let alone = invoices.len() == 1;
    let payment = Payment { payer, amount_minor, names_invoice: alone && rng.percent(50), invoices, in_advance: false };
    make(plan, rng, payment, when);
}

/// Puts a payment into the month: it may be declined at first, and refunded later.
fn make(plan: &mut Plan, rng: &mut Rng, payment: Payment, when: Timestamp) {
    let n = plan.payments.len();
    let amount = payment.amount_minor;
    plan.payments.push(payment);
    if rng.percent(6) {
        let reason = rng.pick(&DECLINES);
        plan.act(when, Act::Decline(n, reason));
        plan.act(later(when, rng.between(60, 4 * 1440)), Act::PayAfterDecline(n));
    } else {
        plan.act(when, Act::Pay(n));
    }
    if rng.per_mille(7) {
        let part = rng.percent(35).then(|| amount.div_euclid(2)).filter(|p| *p > 0);
        plan.act(later(when, rng.between(1, 6).saturating_mul(1440)), Act::Refund(n, part));
    }
}
