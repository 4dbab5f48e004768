//! What may never happen (design.md section 2), checked on the export, on what the outside systems hold, and against the truth of
//! the made-up month.
//!
//! Must not: trust anything that Vesper says about the outside systems; those are asked themselves.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How many findings of one check are told.
const TOLD: usize = 5;

/// What is true about the month, whoever says otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// Every payment that succeeded: who paid, how much, and which invoice its metadata names.
    pub payments: BTreeMap<String, Paid>,
    /// The family of each invoice's client.
    pub families: BTreeMap<String, usize>,
}

/// The truth about one payment.
#[derive(Clone, Debug)]
pub(super) struct Paid {
    /// The family of the client who paid.
    pub family: usize,
    /// In minor units.
    pub amount_minor: i64,
    /// The invoice its metadata names.
    pub named: Option<String>,
}

/// What Stripe holds and has paid out, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AtStripe {
    /// Its balance, available and pending.
    pub balance: i64,
    /// The fees of transactions that no payout in the books holds: taken already, and not posted.
    pub fees_to_come: i64,
    /// The fees of transactions in payouts that are in the books.
    pub fees_posted: i64,
    /// The amounts of payouts that left the balance and are not in the books.
    pub under_way: i64,
    /// The amounts of payouts that are in the books and did not come back.
    pub paid_out: i64,
}

impl AtStripe {
    /// What the clearing account must hold (design.md section 2, 7).
    pub(super) fn clearing(&self) -> i64 {
        self.balance.saturating_add(self.fees_to_come).saturating_add(self.under_way)
    }
}

/// What the outside systems hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    /// What Vesper wrote into the EHR less what it took back, by invoice, in minor units.
    pub ehr_net: BTreeMap<String, i64>,
    /// Payments of Vesper's in the EHR that are not on the client share.
    pub on_payer_share: Vec<String>,
    /// What insurances paid, by invoice, in minor units, as the EHR holds it.
    pub ehr_payer_paid: BTreeMap<String, i64>,
    /// The DocNumber of every entry in QuickBooks.
    pub doc_numbers: Vec<String>,
    /// What every QuickBooks account holds, in minor units; a debit is positive.
    pub balances: BTreeMap<String, i64>,
    /// From which account to which every Transfer in QuickBooks went, and how much, in minor units.
    pub transfers: Vec<(String, String, i64)>,
    /// What Stripe says of its balance and its payouts.
    pub stripe: AtStripe,
    /// Cards that should not have been charged.
    pub wrong_charges: Vec<String>,
    /// Sentences about requests that no correct client sends.
    pub refused: Vec<String>,
    /// Where a planted name or address was found.
    pub leaks: Vec<String>,
    /// Deliveries that were not answered as they should.
    pub deliveries: Vec<String>,
    /// Calls whose answer was lost on its way back.
    pub answers_lost: u64,
    /// Calls that were refused because a system was down.
    pub calls_refused: u64,
}

/// Everything that is looked at.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// The export at the end of the month.
    pub export: Value,
    /// The export after every event was delivered once more.
    pub replayed: Value,
    /// The truth.
    pub truth: Truth,
    /// The outside systems.
    pub outside: Outside,
    /// QuickBooks' account that mirrors Stripe.
    pub clearing: &'static str,
}

/// One invariant and what speaks against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// Its number in design.md section 2.
    pub number: u8,
    /// In plain words.
    pub what: &'static str,
    /// What is wrong; empty when it holds. At most [`TOLD`] and a last line with the rest.
    pub broken: Vec<String>,
}

fn list<'v>(all: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    all.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn int(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn dollars(minor: i64) -> String {
    super::words::money(minor)
}

/// Checks all of them, in their order.
pub(super) fn check(evidence: &Evidence) -> Vec<Check> {
    let mut all = Vec::new();
    let mut add = |number, what, mut broken: Vec<String>| {
        let more = broken.len().saturating_sub(TOLD);
        broken.truncate(TOLD);
        if more > 0 {
            broken.push(format!("and {more} more"));
        }
        all.push(Check { number, what, broken });
    };
    add(1, "every payment adds up: allocated + unapplied + refunded = received", payments_add_up(evidence));
    add(2, "every client share adds up, and no card pays an insurance's part", shares_add_up(evidence));
    add(3, "each payment was decided once; telling everything again changed nothing", decided_once(evidence));
    add(4, "every effect is done exactly once, or visible: EHR", effects_in_ehr(evidence));
    add(4, "every effect is done exactly once, or visible: QuickBooks", effects_in_books(evidence));
    add(5, "no payment is on the invoice of a client who did not pay it", no_wrong_match(evidence));
    add(6, "no card was charged twice, or for what was paid already", evidence.outside.wrong_charges.clone());
    add(7, "every posting balances; the clearing account is what Stripe holds", books_balance(evidence));
    add(7, "Stripe's balance, the ledger and QuickBooks agree to the cent", proof(evidence));
    add(8, "no name and no e-mail in requests, URLs or plain rows", evidence.outside.leaks.clone());
    add(10, "the audit trail verifies", audit(evidence));
    all
}

fn payments_add_up(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let mut on_invoices: BTreeMap<&str, i64> = BTreeMap::new();
    for invoice in list(&evidence.export, "invoices") {
        for a in list(invoice, "allocations").filter(|a| a.get("closed").is_none()) {
            let sum = on_invoices.entry(text(a, "payment")).or_default();
            *sum = sum.saturating_add(int(a, "/amount"));
        }
    }
    for p in list(&evidence.export, "payments").filter(|p| text(p, "state") != "before_go_live") {
        let id = text(p, "id");
        let parts = [int(p, "/allocated"), int(p, "/unapplied"), int(p, "/refunded_unapplied")];
        let sum: i64 = parts.iter().sum();
        if sum != int(p, "/amount_received") || parts.iter().any(|part| *part < 0) {
            broken.push(format!("{id}: {} of {}", dollars(sum), dollars(int(p, "/amount_received"))));
        }
        if on_invoices.get(id).copied().unwrap_or(0) != parts[0] {
            broken.push(format!("{id}: its invoices show another allocated amount"));
        }
    }
    broken
}

fn shares_add_up(evidence: &Evidence) -> Vec<String> {
    let mut broken: Vec<String> =
        evidence.outside.on_payer_share.iter().map(|p| format!("{p} stands on a payer share in the EHR")).collect();
    for invoice in list(&evidence.export, "invoices") {
        let id = text(invoice, "id");
        for share in ["client_share", "payer_share"] {
            let part = |name: &str| int(invoice, &format!("/{share}/{name}"));
            let parts = [part("paid"), part("open"), part("written_off")];
            if parts.iter().sum::<i64>() != part("charge") || parts.iter().any(|p| *p < 0) {
                broken.push(format!("{id}: its {share} does not add up"));
            }
        }
        let paid = int(invoice, "/payer_share/paid");
        if paid != evidence.outside.ehr_payer_paid.get(id).copied().unwrap_or(0) {
            broken.push(format!("{id}: {} of the payer share did not come from an insurance", dollars(paid)));
        }
    }
    broken
}

fn decided_once(evidence: &Evidence) -> Vec<String> {
    let mut broken = evidence.outside.deliveries.clone();
    let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
    for p in list(&evidence.export, "payments") {
        if seen.insert(text(p, "id"), int(p, "/amount_received")).is_some() {
            broken.push(format!("{} stands there twice", text(p, "id")));
        }
    }
    for (id, paid) in &evidence.truth.payments {
        if seen.remove(id.as_str()) != Some(paid.amount_minor) {
            broken.push(format!("{id} is missing or has another amount"));
        }
    }
    broken.extend(seen.keys().map(|id| format!("{id} never succeeded at Stripe")));
    let (Some(before), Some(after)) = (evidence.export.as_object(), evidence.replayed.as_object()) else {
        broken.push("there is no export".to_owned());
        return broken;
    };
    broken.extend(
        before.iter().filter(|(name, value)| after.get(*name) != Some(value)).map(|(name, _)| format!("`{name}` changed")),
    );
    broken
}

/// The payments with an effect of this kind that is not done.
fn unfinished<'e>(export: &'e Value, kind: &str) -> BTreeSet<&'e str> {
    let of_kind = list(export, "effects").filter(|e| text(e, "kind") == kind && text(e, "state") != "done");
    of_kind.map(|e| text(e, "subject")).collect()
}

/// A dead effect without an open question is one that was silently dropped.
fn silently_dropped(export: &Value) -> Vec<String> {
    let asked: BTreeSet<&str> =
        list(export, "reviews").filter(|r| text(r, "status") == "open").map(|r| text(r, "subject")).collect();
    let dead = list(export, "effects").filter(|e| text(e, "state") == "dead" && !asked.contains(text(e, "id")));
    let letters = list(export, "dead_letters").filter(|d| !asked.contains(text(d, "id")));
    dead.chain(letters).map(|lost| format!("{} was given up and nobody is asked", text(lost, "id"))).collect()
}

fn effects_in_ehr(evidence: &Evidence) -> Vec<String> {
    let waiting = unfinished(&evidence.export, "write_back");
    let mut broken = silently_dropped(&evidence.export);
    broken.extend(evidence.outside.refused.iter().cloned());
    let mut known = BTreeSet::new();
    for invoice in list(&evidence.export, "invoices") {
        let id = text(invoice, "id");
        known.insert(id);
        let ours: Vec<&Value> = list(invoice, "allocations").filter(|a| int(a, "/rule") != 16).collect();
        let want: i64 = ours.iter().map(|a| int(a, "/amount")).sum();
        let got = evidence.outside.ehr_net.get(id).copied().unwrap_or(0);
        let visible = ours.iter().any(|a| waiting.contains(text(a, "payment"))) || !waiting.is_empty() && ours.is_empty();
        if want != got && !visible {
            broken.push(format!("{id}: allocated {}, the EHR has {}", dollars(want), dollars(got)));
        }
    }
    let strange = evidence.outside.ehr_net.keys().filter(|id| !known.contains(id.as_str()));
    broken.extend(strange.map(|id| format!("{id}: written in the EHR, unknown here")));
    broken
}

/// Takes the Transfer of a posting away from those that QuickBooks has: it has no number, so its accounts and amount tell it.
fn take_transfer(there: &mut Vec<(String, String, i64)>, posting: &Value) -> bool {
    let side = |to: bool| list(posting, "lines").find(|l| (int(l, "/amount") > 0) == to);
    let (Some(from), Some(to)) = (side(false), side(true)) else { return false };
    let same =
        |t: &(String, String, i64)| t.0 == text(from, "account") && t.1 == text(to, "account") && t.2 == int(to, "/amount");
    let found = there.iter().position(same);
    found.map(|at| there.swap_remove(at)).is_some()
}

fn effects_in_books(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let mut there: BTreeMap<&str, u32> = BTreeMap::new();
    for doc in &evidence.outside.doc_numbers {
        let times = there.entry(doc).or_default();
        *times = times.saturating_add(1);
    }
    broken.extend(there.iter().filter(|(_, times)| **times > 1).map(|(doc, times)| format!("{doc} was booked {times} times")));
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    let mut transfers = evidence.outside.transfers.clone();
    for p in list(&evidence.export, "postings").filter(|p| text(p, "state") == "confirmed") {
        let found = if text(p, "doc_number").is_empty() {
            take_transfer(&mut transfers, p)
        } else {
            there.remove(text(p, "doc_number")).is_some()
        };
        if !found {
            broken.push(format!("{} is confirmed and not in QuickBooks", text(p, "id")));
        }
        for line in list(p, "lines") {
            let sum = sums.entry(text(line, "account")).or_default();
            *sum = sum.saturating_add(int(line, "/amount"));
        }
    }
    if unfinished(&evidence.export, "books").is_empty() {
        broken.extend(
            transfers.iter().map(|(from, to, m)| format!("a Transfer of {} from {from} to {to}, unknown here", dollars(*m))),
        );
    }
    let visible: BTreeSet<&str> = list(&evidence.export, "postings").map(|p| text(p, "doc_number")).collect();
    broken.extend(there.keys().filter(|doc| !visible.contains(*doc)).map(|doc| format!("{doc} is in QuickBooks, unknown here")));
    let none_between = unfinished(&evidence.export, "books").is_empty();
    let accounts: BTreeSet<&str> = sums.keys().copied().chain(evidence.outside.balances.keys().map(String::as_str)).collect();
    for account in accounts {
        let (want, got) = (sums.get(account).copied().unwrap_or(0), evidence.outside.balances.get(account).copied().unwrap_or(0));
        if want != got && none_between {
            broken.push(format!("account {account}: confirmed {}, QuickBooks has {}", dollars(want), dollars(got)));
        }
    }
    broken
}

fn no_wrong_match(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    for invoice in list(&evidence.export, "invoices") {
        let id = text(invoice, "id");
        let family = evidence.truth.families.get(id);
        for a in list(invoice, "allocations") {
            let payment = text(a, "payment");
            let truth = evidence.truth.payments.get(payment);
            if truth.map(|t| &t.family) != family {
                broken.push(format!("{payment} is on {id}, whose client did not pay it"));
            } else if truth.and_then(|t| t.named.as_deref()).is_some_and(|named| named != id) {
                broken.push(format!("{payment} is on {id} and names another invoice"));
            }
        }
    }
    broken
}

fn books_balance(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    for p in list(&evidence.export, "postings") {
        let sum: i64 = list(p, "lines").map(|l| int(l, "/amount")).sum();
        if sum != 0 {
            broken.push(format!("{}: its lines sum to {}", text(p, "id"), dollars(sum)));
        }
    }
    let clearing = ledger_clearing(evidence);
    let moved = |p: &Value| int(p, "/amount_received").saturating_sub(int(p, "/refunded")).saturating_sub(int(p, "/disputed"));
    let received: i64 = list(&evidence.export, "payments").map(moved).sum();
    let at = evidence.outside.stripe;
    let left = received.saturating_sub(at.fees_posted).saturating_sub(at.paid_out);
    if clearing != left {
        let (clearing, left) = (dollars(clearing), dollars(left));
        broken.push(format!("clearing {clearing} is not what was received less what left it, {left}"));
    }
    broken
}

/// What all postings make of the clearing account, in minor units.
pub(super) fn ledger_clearing(evidence: &Evidence) -> i64 {
    let lines = list(&evidence.export, "postings").flat_map(|p| list(p, "lines"));
    lines.filter(|l| text(l, "account") == evidence.clearing).map(|l| int(l, "/amount")).sum()
}

/// The three figures of the proof, each from its own place: Stripe's rows, the ledger's postings, QuickBooks' account.
fn proof(evidence: &Evidence) -> Vec<String> {
    let (stripe, ledger) = (evidence.outside.stripe.clearing(), ledger_clearing(evidence));
    let books = evidence.outside.balances.get(evidence.clearing).copied().unwrap_or(0);
    let mut broken = Vec::new();
    if stripe != ledger {
        broken.push(format!("Stripe says {}, the ledger {}", dollars(stripe), dollars(ledger)));
    }
    if books != ledger && unfinished(&evidence.export, "books").is_empty() {
        broken.push(format!("QuickBooks says {}, the ledger {}", dollars(books), dollars(ledger)));
    }
    broken
}

fn audit(evidence: &Evidence) -> Vec<String> {
    let verified = evidence.export.pointer("/audit/verified") == Some(&Value::Bool(true));
    let empty = int(&evidence.export, "/audit/records") == 0;
    if verified && !empty { vec![] } else { vec!["the chain of seals does not verify".to_owned()] }
}
