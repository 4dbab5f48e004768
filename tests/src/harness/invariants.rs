//! What may never happen (design.md section 2), asked of the export and of the outside systems. One sentence for each breach.
//!
//! Must not: use the product's own arithmetic.

use super::told::{Told, int, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use vesper_standins::{Seen, Standins};

/// Planted in every name, e-mail and phone number.
pub const CANARIES: [&str; 4] = ["Zzyqcanary", "Persephonequill", "zzyq.canary", "555-0137"];

const REASONS: [&str; 26] = [
    "changed_payment",
    "currency",
    "reference_conflict",
    "void_invoice",
    "already_settled",
    "overpaid",
    "client_conflict",
    "ambiguous",
    "partial_unreferenced",
    "no_invoice",
    "unknown_client",
    "refunded",
    "refund_split",
    "disputed",
    "card_failed",
    "unknown_decline",
    "payout_drift",
    "payout_manual",
    "payout_opening",
    "books_reconnect",
    "books_refused",
    "write_back_refused",
    "dead_letter",
    "unreadable_event",
    "ehr_disagrees",
    "proof_difference",
];

/// Sentences about what is broken. Empty is good. Where writes are still waiting, the outside systems need not agree yet.
#[must_use]
pub fn broken(standins: &Standins, told: &Told) -> Vec<String> {
    let mut out = Vec::new();
    let dead = told.list("effects").iter().any(|e| e["state"] == "dead");
    let quiet = told.waiting() == 0 && !dead;
    payments(told, &mut out);
    invoices(standins, told, quiet, &mut out);
    once(standins, told, &mut out);
    words(told, &mut out);
    cards(standins, &mut out);
    books(standins, told, quiet, &mut out);
    out.extend(leaks(standins));
    let audit = &told.0["audit"];
    if audit["verified"] != true
        || text(audit, "head").len() != 64
        || (!told.list("payments").is_empty() && int(audit, "records") == 0)
    {
        out.push(format!("10: audit {audit}"));
    }
    out.extend(standins.refused().into_iter().map(|r| format!("sent what no correct client sends: {r}")));
    out
}

fn closed(allocation: &Value) -> bool {
    allocation["closed"] == true
}

fn allocations(told: &Told) -> impl Iterator<Item = (&str, &Value)> {
    told.list("invoices").iter().flat_map(|i| i["allocations"].as_array().into_iter().flatten().map(move |a| (text(i, "id"), a)))
}

fn payments(told: &Told, out: &mut Vec<String>) {
    let mut allocated: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, a) in allocations(told).filter(|(_, a)| !closed(a)) {
        *allocated.entry(text(a, "payment")).or_default() += int(a, "amount");
    }
    let mut known = BTreeSet::new();
    for p in told.list("payments") {
        let id = text(p, "id");
        if !known.insert(id) {
            out.push(format!("3: payment {id} is there twice"));
        }
        let sum = allocated.get(id).copied().unwrap_or_default();
        if sum != int(p, "allocated") {
            out.push(format!("1: payment {id}: its allocations are {sum}, allocated is {}", p["allocated"]));
        }
        let parts = ["allocated", "unapplied", "refunded_unapplied"].map(|f| int(p, f));
        let before = p["state"] == "before_go_live";
        if !before && parts.iter().sum::<i64>() != int(p, "amount_received") {
            out.push(format!("1: payment {id}: {parts:?} do not sum to {}", p["amount_received"]));
        }
        let all = ["allocated", "unapplied", "refunded", "disputed", "refunded_unapplied"].map(|f| int(p, f));
        if all.iter().any(|n| *n < 0) || all[4] > all[2] + all[3] {
            out.push(format!("1: payment {id}: {p}"));
        }
        let moved = int(p, "refunded") + int(p, "disputed") != 0;
        let live_effect = |e: &&Value| e["subject"] == id && e["shadow"] != true;
        let touched =
            told.list("effects").iter().any(|e| live_effect(&e)) || told.list("postings").iter().any(|x| x["subject"] == id);
        if before && (sum != 0 || (!moved && touched)) {
            out.push(format!("6: {id} is older than go_live and was matched, written or posted"));
        }
    }
    out.extend(
        allocated.keys().filter(|id| !known.contains(*id)).map(|id| format!("1: allocations of {id}, which is no payment")),
    );
}

fn invoices(standins: &Standins, told: &Told, quiet: bool, out: &mut Vec<String>) {
    let nets = standins.ehr.net_by_invoice();
    for invoice in told.list("invoices") {
        let id = text(invoice, "id");
        let there = standins.ehr.get("invoice", id);
        for side in ["client_share", "payer_share"] {
            let part = &invoice[side];
            let parts = ["paid", "open", "written_off"].map(|f| int(part, f));
            if parts.iter().sum::<i64>() != int(part, "charge") || parts.iter().any(|n| *n < 0) {
                out.push(format!("2: {id} {side}: {part}"));
            }
            if let Some(there) = there.as_ref().filter(|t| quiet && t[side] != *part && t["status"] != "void") {
                out.push(format!("4: {id} {side}: the export says {part}, the EHR {}", there[side]));
            }
        }
        let open = int(&invoice["client_share"], "open") + int(&invoice["payer_share"], "open");
        if (invoice["settled"] == true) != (open == 0) {
            out.push(format!("2: {id}: settled is {}, open {open}", invoice["settled"]));
        }
        // Rule 16: it was in the EHR before us.
        let ours: i64 =
            allocations(told).filter(|(i, a)| *i == id && a["rule"] != 16 && !closed(a)).map(|(_, a)| int(a, "amount")).sum();
        let net = nets.get(id).copied().unwrap_or_default();
        // What a void or an adjudication turned into credit stays in the EHR's own payment: a person settles it there.
        let adjusted =
            there.is_some_and(|t| t["status"] == "void") || net > ours && int(&invoice["client_share"], "charge") < net;
        if quiet && net != ours && !adjusted {
            out.push(format!("4: {id}: the EHR holds {net} from us, the allocations are {ours}"));
        }
    }
    for p in standins.ehr.written() {
        if p["portion"] != "client" || !["card", "credit"].contains(&text(&p, "method")) {
            out.push(format!("2: an EHR payment of ours with portion {} and method {}", p["portion"], p["method"]));
        }
    }
}

fn counts<'a>(all: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for one in all {
        *counts.entry(one.to_owned()).or_default() += 1;
    }
    counts
}

fn once(standins: &Standins, told: &Told, out: &mut Vec<String>) {
    let written = standins.ehr.written();
    for (reference, n) in counts(written.iter().map(|p| text(p, "reference"))).into_iter().filter(|(_, n)| *n > 1) {
        out.push(format!("4: {reference} stands {n} times in the EHR"));
    }
    for request in standins.ehr.seen("POST /v1/payments").into_iter().filter(|r| r.applied) {
        if request.json()["reference"].as_str() != request.header("idempotency-key") {
            out.push("4: the EHR reference of a payment is not its Idempotency-Key".to_owned());
        }
    }
    let entries = standins.quickbooks.entries();
    for (doc, n) in counts(entries.iter().filter_map(|e| e.doc_number.as_deref())).into_iter().filter(|(_, n)| *n > 1) {
        out.push(format!("4: {doc} stands {n} times in QuickBooks"));
    }
    let told_of = !told.list("dead_letters").is_empty() || told.list("reviews").iter().any(|r| r["status"] == "open");
    for effect in told.list("effects").iter().filter(|e| e["state"] == "dead" && !told_of) {
        out.push(format!("4: effect {} is dead and nobody is told", text(effect, "id")));
    }
    for e in told.list("effects").iter().filter(|e| e["shadow"] == true && e["state"] != "done") {
        out.push(format!("export.md: the shadow effect {} is {}", text(e, "id"), e["state"]));
    }
}

/// No card without a look at that moment, and at most one attempt per PaymentIntent and practice day (Phoenix: UTC-7).
fn cards(standins: &Standins, out: &mut Vec<String>) {
    let mut days: BTreeSet<(String, i64)> = BTreeSet::new();
    for confirm in standins.stripe.seen("POST /v1/payment_intents/*/confirm") {
        let intent = confirm.path.split('/').nth(3).unwrap_or_default().to_owned();
        let key = confirm.header("idempotency-key").unwrap_or_default();
        if !["1", "2", "3"].iter().any(|n| key == format!("vesper-retry-{intent}-{n}")) {
            out.push(format!("6: {intent} was confirmed under the key {key}"));
        }
        if !confirm.applied {
            continue;
        }
        let just_read = |seen: Vec<Seen>| {
            seen.iter().any(|r| r.status == Some(200) && r.at <= confirm.at && confirm.at.duration_since(r.at).as_secs() < 60)
        };
        let read_intent = just_read(standins.stripe.seen(&format!("GET /v1/payment_intents/{intent}")));
        if !read_intent || !just_read(standins.ehr.seen("GET /v1/invoices/*")) {
            out.push(format!("6: {intent} was charged without re-reading it and its invoice"));
        }
    }
    for confirm in standins.stripe.confirms() {
        let day = (confirm.at.as_second() - 7 * 3600).div_euclid(86_400);
        if !days.insert((confirm.payment_intent.clone(), day)) {
            out.push(format!("6: {} was attempted twice on one practice day", confirm.payment_intent));
        }
    }
}

fn words(told: &Told, out: &mut Vec<String>) {
    let lists: [(&str, &str, &[&str]); 7] = [
        ("payments", "state", &["decided", "parked", "review", "before_go_live"]),
        ("reviews", "status", &["open", "resolved"]),
        ("reviews", "reason", &REASONS),
        ("effects", "state", &["pending", "sent", "done", "failed", "dead"]),
        ("recoveries", "state", &["waiting", "recovered", "stopped", "exhausted"]),
        ("payouts", "state", &["waiting", "tied_out", "drift", "manual", "failed"]),
        ("postings", "state", &["prepared", "sent", "confirmed", "unknown"]),
    ];
    for (list, field, known) in lists {
        for x in told.list(list).iter().filter(|x| !known.contains(&text(x, field))) {
            out.push(format!("export.md: {field} of {list} {} is {}", text(x, "id"), x[field]));
        }
    }
}

fn doc_number_is_good(doc: &str) -> bool {
    let Some((date, tail)) = doc.strip_prefix("VS-").and_then(|rest| rest.split_once('-')) else { return false };
    let base32 = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
    date.len() == 6 && date.chars().all(|c| c.is_ascii_digit()) && tail.len() == 10 && tail.chars().all(base32)
}

fn books(standins: &Standins, told: &Told, quiet: bool, out: &mut Vec<String>) {
    let mut confirmed: BTreeMap<String, i64> = BTreeMap::new();
    let mut clearing = 0;
    let mut docs = BTreeSet::new();
    for posting in told.list("postings") {
        let lines = posting["lines"].as_array().map_or(&[][..], Vec::as_slice);
        if lines.iter().map(|l| int(l, "amount")).sum::<i64>() != 0 || lines.is_empty() {
            out.push(format!("7: posting {} does not balance: {}", text(posting, "id"), posting["lines"]));
        }
        for line in lines {
            if posting["state"] == "confirmed" {
                *confirmed.entry(text(line, "account").to_owned()).or_default() += int(line, "amount");
            }
            if line["account"] == "91" {
                clearing += int(line, "amount");
            }
        }
        docs.extend(posting["doc_number"].as_str());
    }
    confirmed.retain(|_, sum| *sum != 0);
    for doc in standins.quickbooks.entries().iter().filter_map(|e| e.doc_number.clone()) {
        if !doc_number_is_good(&doc) {
            out.push(format!("7: DocNumber {doc}"));
        }
        if quiet && !docs.contains(doc.as_str()) {
            out.push(format!("7: QuickBooks has {doc}, the export does not"));
        }
    }
    let theirs = standins.quickbooks.balances();
    if quiet && theirs != confirmed {
        out.push(format!("7: balances: QuickBooks {theirs:?}, confirmed postings {confirmed:?}"));
    }
    // Money in another currency than the books is posted nowhere.
    let counts = |p: &&Value| p["state"] != "before_go_live" && p["currency"] == "usd";
    let of_payments = |p: &Value| int(p, "amount_received") - int(p, "refunded") - int(p, "disputed");
    let mut want: i64 = told.list("payments").iter().filter(counts).map(of_payments).sum();
    for payout in told.list("payouts").iter().filter(|p| ["tied_out", "failed"].contains(&text(p, "state"))) {
        want -= of_payout(standins, payout);
    }
    let opening = told.list("payments").iter().any(|p| p["state"] == "before_go_live");
    if !told.list("postings").is_empty() && clearing != want && !opening {
        out.push(format!("7: the clearing account is {clearing}, the events seen make {want}"));
    }
}

/// Invariant 7 as the design states it: the ledger's clearing account is what Stripe holds, plus the fees of transactions that are
/// in no tied-out payout, plus what payouts took that are not tied out. Only once everything was told, and nothing waits.
#[must_use]
pub fn unaccounted(standins: &Standins, told: &Told) -> Vec<String> {
    let lines = told.list("postings").iter().flat_map(|p| p["lines"].as_array().map_or(&[][..], Vec::as_slice));
    let clearing: i64 = lines.filter(|l| l["account"] == "91").map(|l| int(l, "amount")).sum();
    let state = |payout: &str| told.list("payouts").iter().find(|p| p["id"] == payout).map_or("", |p| text(p, "state"));
    // A payout that came back was tied out first, or its fees were posted all the same.
    let is_posted = |payout: &str| ["tied_out", "failed"].contains(&state(payout));
    let (mut fees, mut under_way) = (0, 0);
    for (row, payout) in standins.stripe.rows().into_iter().filter(|(row, _)| row["currency"] == "usd") {
        match text(&row, "type") {
            "payout" => {
                let id = text(&row, "source");
                let came_back = standins.stripe.object(id).is_some_and(|p| ["failed", "canceled"].contains(&text(&p, "status")));
                under_way += if is_posted(id) || came_back { 0 } else { -int(&row, "net") };
            }
            _ if payout.as_deref().is_some_and(is_posted) => {}
            "stripe_fee" => fees -= int(&row, "net"),
            _ => fees += int(&row, "fee"),
        }
    }
    let (balance, theirs) = (standins.stripe.balance_minor(), standins.quickbooks.balances());
    let mut out = Vec::new();
    if clearing != balance + fees + under_way {
        out.push(format!("7: clearing {clearing}, Stripe {balance} + fees {fees} + payouts under way {under_way}"));
    }
    let confirmed = theirs.get("91").copied().unwrap_or_default();
    if confirmed != clearing {
        out.push(format!("7: QuickBooks' clearing account is {confirmed}, the ledger's {clearing}"));
    }
    out
}

/// What a payout took from the clearing account: its fees, and its amount unless it came back.
fn of_payout(standins: &Standins, payout: &Value) -> i64 {
    let id = text(payout, "id");
    let rows = standins.stripe.rows_of(id);
    let fees: i64 = rows.iter().map(|r| int(r, "fee") - if r["type"] == "stripe_fee" { int(r, "net") } else { 0 }).sum();
    let came_back = standins.stripe.object(id).is_some_and(|p| ["failed", "canceled"].contains(&text(&p, "status")));
    fees + if came_back { 0 } else { int(payout, "amount") }
}

/// Planted personal data in what was sent to Stripe and QuickBooks, or in any URL.
#[must_use]
pub fn leaks(standins: &Standins) -> Vec<String> {
    let mut out = BTreeSet::new();
    let mut look = |place: &str, line: &str, content: &str| {
        let content = content.to_lowercase();
        for canary in CANARIES.iter().filter(|c| content.contains(&c.to_lowercase())) {
            out.insert(format!("8: {canary} in {place} {line}"));
        }
    };
    let whole = |r: &Seen| format!("{} {:?} {:?} {}", r.path, r.query, r.headers, r.body);
    for (name, requests) in
        [("a request to Stripe:", standins.stripe.requests()), ("a request to QuickBooks:", standins.quickbooks.requests())]
    {
        for r in requests {
            look(name, &format!("{} {}", r.method, r.path), &whole(&r));
        }
    }
    let mut urls = BTreeSet::new();
    for r in standins.ehr.requests() {
        look("the URL of a request to the EHR:", &r.method, &format!("{} {:?}", r.path, r.query));
        urls.insert((r.path, r.query));
    }
    for r in standins.stripe.requests().into_iter().chain(standins.quickbooks.requests()) {
        urls.insert((r.path, r.query));
    }
    let mail = |(path, query): &(String, Vec<(String, String)>)| path.contains('@') || query.iter().any(|(_, v)| v.contains('@'));
    let mails = urls.iter().filter(|u| mail(u)).map(|(path, _)| format!("8: an e-mail in the URL {path}")).collect::<Vec<_>>();
    out.into_iter().chain(mails).collect()
}
