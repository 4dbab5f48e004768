//! The summary on standard output: an aligned table that the owner of a practice understands.
//!
//! Must not: hold a name, an address, or anything that differs between two runs of the same seed.

use super::invariants::{Check, Outside};
use super::plan::Plan;
use super::play::Played;
use super::tally::{Asked, Sum, Tally};
use super::words::{count, money, reason, recovery, rule};
use super::world::Happened;
use std::collections::BTreeMap;

/// Width of the column of words.
const WORDS: usize = 56;

/// What is told.
pub(super) struct Told<'a> {
    /// The seed.
    pub seed: u64,
    /// The month.
    pub plan: &'a Plan,
    /// How it was played.
    pub played: &'a Played,
    /// What came of it.
    pub tally: &'a Tally,
    /// The outside systems.
    pub outside: &'a Outside,
    /// What the ledger's postings make of the clearing account, in minor units.
    pub ledger: i64,
    /// The invariants.
    pub checks: &'a [Check],
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn line(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str, last: &str) {
        self.line("");
        self.line(&format!("{text:<WORDS$} {:>8} {:>14}  {last}", "count", "amount"));
    }

    fn row(&mut self, text: &str, sum: Sum) {
        self.noted(text, sum, "");
    }

    fn noted(&mut self, text: &str, sum: Sum, note: &str) {
        self.line(&format!("  {text:<width$} {:>8} {:>14}  {note}", count(sum.count), money(sum.minor), width = WORDS - 2));
    }

    fn counted(&mut self, text: &str, n: u64) {
        self.line(&format!("  {text:<width$} {:>8}", count(n), width = WORDS - 2));
    }

    fn amount(&mut self, text: &str, minor: i64) {
        self.line(&format!("  {text:<width$} {:>8} {:>14}", "", money(minor), width = WORDS - 2));
    }
}

fn sum((count, minor): (u64, i64)) -> Sum {
    Sum { count, minor }
}

fn size(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// The whole summary; `questions_at` is where the review page is served, if it is.
pub(super) fn render(told: &Told<'_>, questions_at: Option<&str>) -> String {
    let mut table = Table::default();
    practice(&mut table, told);
    received(&mut table, told);
    matched(&mut table, told.tally);
    asked(&mut table, told.tally);
    written(&mut table, told.tally);
    posted(&mut table, told);
    paid_out(&mut table, told.tally);
    proof(&mut table, told);
    reliability(&mut table, told);
    table.line("");
    let questions = count(told.tally.open);
    match questions_at {
        Some(url) => table.line(&format!("{questions} questions wait for you at {url}")),
        None => table.line(&format!("{questions} questions wait for a person (run without --no-serve to see them)")),
    }
    checks(&mut table, told.checks);
    table.0
}

fn practice(table: &mut Table, told: &Told<'_>) {
    let plan = told.plan;
    table.line(&format!(
        "Vesper demo: a made-up practice in November 2026 (seed {}, all names and amounts are invented)",
        told.seed
    ));
    table.line(&format!(
        "{} sessions, {} clinicians, {} clients, {} families with a paying parent; amounts in USD",
        count(size(plan.invoices.len())),
        count(size(plan.clinicians)),
        count(size(plan.clients.len())),
        count(size(plan.families())),
    ));
}

fn received(table: &mut Table, told: &Told<'_>) {
    let Happened { invoices, declined, insurance, cash, voided, forgiven } = told.played.world.happened;
    table.heading("WHAT CAME IN", "");
    table.row("card payments received through Stripe", told.tally.received);
    table.counted("first attempts that the card's bank declined", declined);
    table.row("refunds made in Stripe", told.tally.refunds);
    table.row("disputes", told.tally.disputes);
    table.row("invoices from the EHR: the clients' share", sum((invoices.0, invoices.1)));
    table.amount("invoices from the EHR: the insurances' share", invoices.2);
    table.row("insurance payments seen in the EHR", sum(insurance));
    table.row("cash typed into the EHR at the desk", sum(cash));
    table.row("written off by the practice in the EHR", sum(forgiven));
    table.counted("invoices voided in the EHR", voided);
}

fn matched(table: &mut Table, tally: &Tally) {
    table.heading("MATCHED SILENTLY", "");
    let mut total = Sum::default();
    let mut by_rule: Vec<(&u8, &Sum)> = tally.silent.iter().collect();
    by_rule.sort_by_key(|(_, s)| std::cmp::Reverse(s.count));
    for (number, each) in by_rule {
        table.row(rule(*number), *each);
        total = plus(total, *each);
    }
    table.row("all of them", total);
    table.row("  of these, waited until their invoice arrived", tally.silent_after_wait);
    table.row("  of these, the client was found by a unique e-mail", tally.silent_by_email);
    table.row("still waiting for their invoice", tally.parked);
    table.row("later invoices that client credit paid", tally.credit_applied);
}

fn plus(a: Sum, b: Sum) -> Sum {
    Sum { count: a.count.saturating_add(b.count), minor: a.minor.saturating_add(b.minor) }
}

fn questions(table: &mut Table, of: &BTreeMap<String, Asked>) {
    for (why, asked) in of {
        table.noted(reason(why), asked.all, &format!("{:>4} open", count(asked.open)));
    }
}

fn asked(table: &mut Table, tally: &Tally) {
    table.heading("ASKED, AND WHY", "");
    questions(table, &tally.asked);
    let all = tally.asked.values().fold(Sum::default(), |sum, a| plus(sum, a.all));
    let open = tally.asked.values().map(|a| a.open).sum();
    table.noted("all payments that were asked about", all, &format!("{:>4} open", count(open)));
    questions(table, &tally.other_questions);
}

fn written(table: &mut Table, tally: &Tally) {
    if !tally.recoveries.is_empty() {
        table.line("");
        table.line("FAILED CARDS");
        for (state, n) in &tally.recoveries {
            table.counted(recovery(state), *n);
        }
    }
    table.heading("WRITTEN TO THE EHR", "");
    table.row("payments recorded on their invoices", tally.written);
    table.row("taken back after refunds and disputes", tally.taken_back);
    table.counted("waiting", tally.waiting.0);
}

fn posted(table: &mut Table, told: &Told<'_>) {
    let tally = told.tally;
    table.heading("POSTED TO QUICKBOOKS", "");
    table.row("balanced journal entries", tally.posted);
    table.amount("income", tally.income);
    table.amount("client credit (paid in advance)", tally.credits);
    table.amount("not identified yet (parked or asked)", tally.unidentified);
    table.amount("Stripe's fees", tally.fees);
    table.amount("arrived at the bank", tally.checking);
    table.counted("waiting", tally.waiting.1);
}

fn paid_out(table: &mut Table, tally: &Tally) {
    table.heading("PAID OUT TO THE BANK", "");
    table.row("payouts tied out to their transactions", tally.payouts);
    table.row("payouts that the bank sent back", tally.came_back);
    table.row("payouts that wait for a person", tally.payouts_open);
    table.counted("transactions in them, each known to the ledger", tally.transactions);
}

fn proof(table: &mut Table, told: &Told<'_>) {
    let at = told.outside.stripe;
    table.line("");
    table.line("THE PROOF: three places, one figure");
    table.amount("Stripe's balance, available and pending", at.balance);
    table.amount("  + fees it took that no payout has brought yet", at.fees_to_come);
    table.amount("  + payouts that left it and are not tied out", at.under_way);
    table.amount("Stripe says the clearing account is", at.clearing());
    table.amount("Vesper's ledger says", told.ledger);
    table.amount("QuickBooks says", told.tally.clearing);
}

fn reliability(table: &mut Table, told: &Told<'_>) {
    let played = told.played;
    table.line("");
    table.line("WHAT WENT WRONG OUTSIDE, ON PURPOSE");
    table.counted("webhooks delivered during the month, in any order", played.deliveries.saturating_sub(played.replayed));
    table.counted("  of these, delivered twice", played.repeats);
    table.counted("events told once more after the month, last ones first", played.replayed);
    table.counted("answers to writes that got lost on their way back", told.outside.answers_lost);
    table.counted("calls refused while QuickBooks was down for an hour", told.outside.calls_refused);
    table.counted("records in the sealed audit trail", told.tally.audit);
}

fn checks(table: &mut Table, checks: &[Check]) {
    table.line("");
    table.line("CHECKED: what may never happen");
    for check in checks {
        let verdict = if check.broken.is_empty() { "ok" } else { "BROKEN" };
        table.line(&format!("  {:>2}  {:<76} {verdict}", check.number, check.what));
        for finding in &check.broken {
            table.line(&format!("        {finding}"));
        }
    }
}
