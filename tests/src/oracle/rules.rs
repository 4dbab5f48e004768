//! The decision table (design.md section 4), one look at one payment.

use super::facts::{Allocation, Payment, Stage, World};
use super::{SameAmount, who::Who};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Above this many candidates no subset is searched (design.md section 4, Bounds).
const SEARCH_MAX: usize = 24;
/// More invoices than this are never paid by one decision.
const INVOICES_MAX: usize = 40;

pub(super) struct Verdict {
    outcome: &'static str,
    rule: i64,
    allocations: Vec<(String, i64)>,
    review: Option<&'static str>,
}

/// Why a payment is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Occasion {
    /// It was not looked at before.
    First,
    /// Something arrived that concerns it.
    Woken,
    /// The wait is over.
    Deadline,
}

enum Look {
    /// Wait; at the deadline it is this.
    Park(Verdict),
    Decide(Verdict),
}

/// An invoice that rules 5 to 12 may pay.
struct Candidate {
    id: String,
    client: String,
    open: i64,
    age: (String, bool, String),
    dates: BTreeSet<String>,
}

fn ask(rule: i64, reason: &'static str) -> Verdict {
    Verdict { outcome: "review", rule, allocations: Vec::new(), review: Some(reason) }
}

fn pay(rule: i64, allocations: Vec<(String, i64)>) -> Verdict {
    let outcome = if allocations.len() > 1 { "split" } else { "matched" };
    Verdict { outcome, rule, allocations, review: None }
}

impl Payment {
    pub fn line_of(
        &self,
        outcome: &str,
        rule: Value,
        allocations: &[(String, i64)],
        unapplied: i64,
        review: Option<&str>,
    ) -> Value {
        let allocations: Vec<Value> = allocations.iter().map(|(i, a)| json!({"invoice": i, "amount": a})).collect();
        json!({"payment": self.id, "event": self.event, "customer": self.customer, "amount": self.amount,
            "currency": self.currency, "outcome": outcome, "rule": rule, "allocations": allocations,
            "unapplied": unapplied, "review": review})
    }
}

impl World {
    /// Looks at a payment; decides it, parks it or leaves it parked.
    pub fn look_once(&mut self, i: usize, occasion: Occasion) {
        self.payments[i].look = false;
        let (first, over) = (occasion == Occasion::First, occasion == Occasion::Deadline);
        let verdict = match self.look(i) {
            Look::Decide(v) if first || over || decides_meanwhile(&v) => Some(v),
            Look::Park(v) if over => Some(v),
            Look::Decide(_) | Look::Park(_) => None,
        };
        match verdict {
            Some(v) => self.store(i, v),
            None => self.payments[i].stage = Stage::Parked,
        }
        self.apply_waiting_movements(i);
    }

    fn store(&mut self, i: usize, mut v: Verdict) {
        let left = self.payments[i].amount - self.payments[i].reduced;
        let applied: i64 = v.allocations.iter().map(|(_, amount)| amount).sum();
        for (invoice, amount) in &v.allocations {
            self.seq += 1;
            let (invoice, amount, at, seq) = (invoice.clone(), *amount, self.now, self.seq);
            self.payments[i].allocations.push(Allocation { invoice, amount, taken_back: 0, at, seq });
        }
        // What the EHR holds already may be in its `paid` or not yet: whether the invoice is paid shows only now.
        if let (16, "matched", [(invoice, _)]) = (v.rule, v.outcome, v.allocations.as_slice())
            && (!self.invoices.contains_key(invoice) || self.raw_open(invoice) > 0)
        {
            v.outcome = "partial";
        }
        let p = &mut self.payments[i];
        p.stage = Stage::Decided;
        p.unapplied = left - applied;
        p.line = Some(p.line_of(v.outcome, json!(v.rule), &v.allocations, left - applied, v.review));
    }

    fn look(&mut self, i: usize) -> Look {
        let p = &self.payments[i];
        let left = p.amount - p.reduced;
        if left <= 0 {
            return Look::Decide(Verdict { outcome: "credit", rule: 4, allocations: Vec::new(), review: None });
        }
        if let Some(verdict) = self.rule_16(p, left) {
            return Look::Decide(verdict);
        }
        let who = self.who_pays(p);
        let has_reference = p.meta.invoice.is_some() || p.meta.session.is_some();
        match &who {
            Who::Conflict => return Look::Decide(ask(15, "client_conflict")),
            Who::Strangers(_) if !has_reference => return Look::Decide(ask(15, "ambiguous")),
            _ => {}
        }
        if has_reference {
            return self.rules_2_and_3(p, &who, left);
        }
        let clients = match who {
            Who::Known(clients) => clients,
            Who::Unknown(Some(_)) => return Look::Park(ask(15, "unknown_client")),
            _ => match (self.by_email(p), p.customer.clone()) {
                (Some(client), customer) => {
                    let payable = self.payable_by(&client);
                    if let Some(customer) = customer {
                        self.link(&customer, client);
                    }
                    payable
                }
                (None, Some(_)) => return Look::Park(ask(15, "unknown_client")),
                (None, None) => return Look::Decide(ask(15, "unknown_client")),
            },
        };
        self.without_reference(&self.payments[i], &clients, left)
    }

    fn link(&mut self, customer: &str, client: String) {
        self.links.insert(customer.to_owned(), client);
        for p in &mut self.payments {
            p.look |= p.stage == Stage::Parked && p.customer.as_deref() == Some(customer);
        }
    }

    /// The EHR already holds the payment.
    fn rule_16(&self, p: &Payment, left: i64) -> Option<Verdict> {
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for r in self.ehr_payments.values() {
            if r.of_client && r.net() > 0 && r.currency == p.currency && p.is_called(&r.reference) {
                *sums.entry(&r.invoice).or_default() += r.net();
            }
        }
        let mut invoices: Vec<(&str, i64)> = sums.into_iter().collect();
        invoices.sort_by_key(|(id, _)| (self.invoices.get(*id).map(super::facts::Invoice::age), id.to_owned()));
        let mut rest = left;
        let mut allocations = Vec::new();
        for (invoice, sum) in invoices {
            let amount = sum.min(rest);
            rest -= amount;
            if amount > 0 {
                allocations.push((invoice.to_owned(), amount));
            }
        }
        if allocations.is_empty() {
            return None;
        }
        let mut verdict = pay(16, allocations);
        if rest > 0 {
            verdict.outcome = "review";
            verdict.review = Some("overpaid");
        }
        Some(verdict)
    }

    fn rules_2_and_3(&self, p: &Payment, who: &Who, left: i64) -> Look {
        let named = self.referenced(p);
        let live: Vec<String> = named.iter().filter(|id| !self.is_void(id)).cloned().collect();
        // A named invoice counts though void; of a session's invoices only the live ones are named.
        let counted = if p.meta.invoice.is_some() { &named } else { &live };
        if counted.iter().any(|id| self.invoices.get(id).is_some_and(|i| i.currency != p.currency)) {
            return Look::Decide(ask(2, "currency"));
        }
        let session_known = p.meta.session.as_ref().is_none_or(|s| !self.of_session(s).is_empty());
        if named.is_empty() || !session_known {
            return Look::Park(ask(3, "reference_conflict"));
        }
        let agree = match (&p.meta.invoice, &p.meta.session) {
            (Some(invoice), Some(session)) => self.of_session(session).contains(invoice),
            _ => true,
        };
        // A session whose only invoices are void is asked about whoever owns them: `counted` is empty then.
        if !agree || !counted.iter().all(|id| self.belongs(who, id)) {
            return Look::Decide(ask(3, "reference_conflict"));
        }
        if live.is_empty() {
            return Look::Decide(ask(3, "void_invoice"));
        }
        let open: i64 = live.iter().map(|id| self.open(id)).sum();
        if open == 0 {
            return Look::Decide(ask(3, "already_settled"));
        }
        match live.as_slice() {
            [one] => Look::Decide(rule_3(one, left, open)),
            _ => {
                if p.meta.kind.as_deref() == Some("prepayment") && matches!(who, Who::Known(_)) {
                    return Look::Decide(Verdict { outcome: "credit", rule: 4, allocations: Vec::new(), review: None });
                }
                self.rules_5_to_13(p, &live, left)
            }
        }
    }

    fn is_void(&self, invoice: &str) -> bool {
        self.invoices.get(invoice).is_some_and(|i| i.void)
    }

    fn belongs(&self, who: &Who, invoice: &str) -> bool {
        let Some(owner) = self.invoices.get(invoice).map(|i| i.client.clone()) else { return false };
        if self.clients.get(&owner).is_some_and(|c| c.deleted) {
            return false;
        }
        match who {
            Who::Conflict => false,
            Who::Known(clients) => clients.contains(&owner),
            Who::Strangers(linked) => linked.iter().any(|c| self.payable_by(c).contains(&owner)),
            Who::Unknown(None) => true,
            Who::Unknown(Some(named)) => owner == *named || self.guarantor(&owner) == Some(named),
        }
    }

    /// Rules 2 and 4 to 13 for a known client and no reference.
    fn without_reference(&self, p: &Payment, clients: &[String], left: i64) -> Look {
        let owned = |id: &&super::facts::Invoice| clients.contains(&id.client);
        let pool: Vec<String> = self.invoices.values().filter(owned).map(|i| i.id.clone()).collect();
        let owed: Vec<&String> =
            pool.iter().filter(|id| !self.is_void(id) && !self.is_reopened(id) && self.open(id) > 0).collect();
        let in_currency = |id: &&String| self.invoices.get(*id).is_some_and(|i| i.currency == p.currency);
        if !owed.is_empty() && !owed.iter().any(in_currency) {
            return Look::Decide(ask(2, "currency"));
        }
        if p.meta.kind.as_deref() == Some("prepayment") {
            return Look::Decide(Verdict { outcome: "credit", rule: 4, allocations: Vec::new(), review: None });
        }
        self.rules_5_to_13(p, &pool, left)
    }

    fn is_reopened(&self, invoice: &str) -> bool {
        self.reopened.iter().any(|(id, _)| id == invoice)
    }

    fn rules_5_to_13(&self, p: &Payment, pool: &[String], left: i64) -> Look {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut third_party = false;
        for invoice in pool.iter().filter_map(|id| self.invoices.get(id)) {
            let open = self.open(&invoice.id);
            if invoice.void || invoice.currency != p.currency || open == 0 || self.is_reopened(&invoice.id) {
                continue;
            }
            if self.clients.get(&invoice.client).is_some_and(|c| c.third_party_biller) {
                third_party = true;
                continue;
            }
            let mut dates: BTreeSet<String> = invoice.sessions.iter().map(|(_, date)| date.clone()).collect();
            dates.insert(invoice.issued_on.clone());
            let (id, client, age) = (invoice.id.clone(), invoice.client.clone(), invoice.age());
            candidates.push(Candidate { id, client, open, age, dates });
        }
        candidates.sort_by(|a, b| (&a.age, &a.id).cmp(&(&b.age, &b.id)));
        if candidates.is_empty() {
            let verdict = ask(13, "no_invoice");
            return if third_party { Look::Decide(verdict) } else { Look::Park(verdict) };
        }
        Look::Decide(self.rules_5_to_12(p, &candidates, left))
    }

    fn rules_5_to_12(&self, p: &Payment, candidates: &[Candidate], left: i64) -> Verdict {
        let exact: Vec<&Candidate> = candidates.iter().filter(|c| c.open == left).collect();
        match exact.as_slice() {
            [] => {}
            [one] => return pay(5, vec![(one.id.clone(), left)]),
            several => return self.rule_6(p, several, left),
        }
        let whole: i64 = candidates.iter().map(|c| c.open).sum();
        if left == whole && candidates.len() > INVOICES_MAX {
            return ask(7, "ambiguous");
        }
        if left == whole {
            return pay(7, candidates.iter().map(|c| (c.id.clone(), c.open)).collect());
        }
        if left > whole {
            return ask(12, "overpaid");
        }
        if candidates.len() == 1 {
            let allocations = vec![(candidates[0].id.clone(), left)];
            return Verdict { outcome: "partial", rule: 10, allocations, review: None };
        }
        if candidates.len() > SEARCH_MAX {
            return ask(8, "ambiguous");
        }
        let found = explanations(candidates, left, self.config.same_amount);
        match found.as_slice() {
            [] => ask(11, "partial_unreferenced"),
            [one] => pay(8, one.iter().map(|k| (candidates[*k].id.clone(), candidates[*k].open)).collect()),
            _ => ask(9, "ambiguous"),
        }
    }

    /// Several invoices have just this amount; they come oldest first.
    fn rule_6(&self, p: &Payment, equals: &[&Candidate], left: i64) -> Verdict {
        let date = self.local_date(p.created);
        let of_the_day: Vec<&&Candidate> = equals.iter().filter(|c| c.dates.contains(&date)).collect();
        if let [one] = of_the_day.as_slice() {
            return pay(6, vec![(one.id.clone(), left)]);
        }
        let oldest = equals[0];
        let clients: BTreeSet<&String> = equals.iter().filter(|c| c.age == oldest.age).map(|c| &c.client).collect();
        if self.config.same_amount == SameAmount::Review || clients.len() > 1 {
            return ask(6, "ambiguous");
        }
        pay(6, vec![(oldest.id.clone(), left)])
    }

    fn local_date(&self, second: i64) -> String {
        Timestamp::from_second(second).map(|t| t.to_zoned(self.zone.clone()).date().to_string()).unwrap_or_default()
    }
}

/// Which verdicts do not wait for the deadline once a payment is parked.
fn decides_meanwhile(v: &Verdict) -> bool {
    matches!(v.rule, 3 | 16) || (matches!(v.rule, 4..=8) && v.review.is_none())
}

fn rule_3(invoice: &str, left: i64, open: i64) -> Verdict {
    let outcome = match left.cmp(&open) {
        std::cmp::Ordering::Less => "partial",
        std::cmp::Ordering::Equal => "matched",
        std::cmp::Ordering::Greater => "review",
    };
    let review = (left > open).then_some("overpaid");
    Verdict { outcome, rule: 3, allocations: vec![(invoice.to_owned(), left.min(open))], review }
}

/// Up to two explanations of the amount, as places in `candidates` (which are oldest first).
fn explanations(candidates: &[Candidate], left: i64, same_amount: SameAmount) -> Vec<Vec<usize>> {
    let mut seen: BTreeSet<Vec<(String, i64, usize)>> = BTreeSet::new();
    let mut found = Vec::new();
    for mask in 1_u32..(1 << candidates.len()) {
        let places: Vec<usize> = (0..candidates.len()).filter(|k| mask & (1 << k) != 0).collect();
        if places.iter().map(|k| candidates[*k].open).sum::<i64>() != left {
            continue;
        }
        // One explanation: the same amounts of the same clients. With `review` the very same invoices.
        let mut signature: Vec<(String, i64, usize)> = places
            .iter()
            .map(|k| (candidates[*k].client.clone(), candidates[*k].open, if same_amount == SameAmount::Review { *k } else { 0 }))
            .collect();
        signature.sort();
        if seen.insert(signature) {
            found.push(if same_amount == SameAmount::Review { places } else { oldest_equals(candidates, &places) });
        }
        if found.len() == 2 {
            break;
        }
    }
    found
}

/// The same explanation with the oldest of the equals.
fn oldest_equals(candidates: &[Candidate], places: &[usize]) -> Vec<usize> {
    let class = |k: usize| (&candidates[k].client, candidates[k].open);
    (0..candidates.len())
        .filter(|k| {
            let wanted = places.iter().filter(|p| class(**p) == class(*k)).count();
            let older = (0..*k).filter(|o| class(*o) == class(*k)).count();
            older < wanted
        })
        .collect()
}
