//! An independent evaluator of the decision table (design.md section 4): what `vesper backtest` must write.
//!
//! It is for comparing, so it must not use a type, a function or an idea of the product: plain JSON, full history in
//! vectors, everything recomputed at each look, subsets by trying them all. It is slow and must stay easy to believe.
//!
//! Readings: sentences of the contracts that leave room, and how they are read here (the reading that rather asks).
//!
//! 1. "the same id with another amount or currency: the first stands, review `changed_payment`" - a review beside the
//!    decision; the line of the payment does not change.
//! 2. "`event` is the event that decided" - the first payment_intent.succeeded, also when a record or the deadline
//!    decided; the charge.succeeded where the charge decided. For `ignored` the first success event.
//! 3. "an hour past it" - an hour after the first delivery of charge.succeeded, in that very second, after its records
//!    and before its events. `wait_for_invoice_h` counts from the same first delivery, and a deadline comes after the
//!    records, and all that they wake, and before the events of its second: an exact match goes before a partial payment
//!    that waited for its deadline. What is woken goes in order of first delivery, and so does what is due.
//! 4. "looked at again when ..." - only then: a look is not repeated because another payment changed what is open.
//!    Records "of that client" are those of anybody in his family (guarantor, dependents, siblings) before or after
//!    the record, of a client with the payment's e-mail, and EHR payments that carry the payment's id. Disputes and failed
//!    refunds wake a parked payment like refunds.
//! 5. "questions of 3 and 16 come at once; all other questions wait" - a question of rule 2 about a reference and
//!    those of "who pays" wait, too, once the payment is parked; so do 9 to 12 among the invoices of a session.
//! 6. Table order: rule 2 stands before rule 3, so a foreign, void or deleted client's invoice of another currency is
//!    `currency`. Rule 2 stands before rule 4. An invoice named by id is the only one whose currency counts; a
//!    session with several live invoices is `currency` as soon as one is of another currency.
//! 7. Rule 2 without reference: re-opened invoices do not count as open ones, those of a third_party_biller do.
//! 8. "all references present must agree" - the named invoice holds the named session. An invoice that is known while
//!    no invoice holds the session yet: park. A session whose only invoices are void: `void_invoice` at once, whoever owns
//!    them; an invoice named by id: ownership first ("checked in this order").
//! 9. "ownership is checked as for one invoice" (session with several live invoices): every one of them must belong.
//!    "Something open": the sum. Then re-opened and third_party_biller invoices are no candidates even here, and rule 4
//!    needs a client known by customer or by name.
//! 10. A named client equal to the customer's: the whole family's invoices are candidates. A named dependent
//!     of the customer's client: his alone. "a named guarantor beside a dependent's invoice agrees, too": besides
//!     what the family gives, a customer of dependent D with his guarantor named agrees when every referenced invoice is
//!     D's and known already; else `client_conflict`.
//! 11. Strangers: a named client must be one of them or a dependent of one of them, else `client_conflict`. A reference
//!     must belong to one of their families, else `reference_conflict`.
//! 12. A deleted client is a client the EHR does not know. A named client not known beside a known reference, customer
//!     linked to nobody: the invoice must carry that client's id (or that of a client whose guarantor he is), else
//!     `reference_conflict`; the client's own record need not have arrived. With a named client rule 14 is off.
//! 13. Rule 14: "his family" = guarantor, dependents and siblings, so that a sibling's customer stands in the way. E-mails
//!     of customers come from customer.* events alone, the latest by `created`, then by delivery; a deleted customer has none.
//!     A guest is not matched when a customer that is not of the family has the e-mail. `never` is also for guests.
//! 14. "A link made by e-mail that the EHR later contradicts" - the EHR names another client for that customer.
//! 15. Rule 16: the EHR payments count up to what is left to decide, invoices oldest first; the invoice may be
//!     void, foreign or unknown. With one invoice: matched when nothing is open after, an unknown invoice is partial.
//! 16. "first observed after the allocation" - the `observed_at` of the first line that was read of it is in a later
//!     second than the decision. "Same amount": that of the allocation as made. "No other payment's id": any other text
//!     that begins with pi_, ch_ or py_. An allocation taken back whole before that is shown by it all the same.
//!     "Posted" payments that are assigned to nothing count net of what was reversed.
//! 17. "A reversal is shown when that EHR payment is reversed" - also when the invoice version still counts it as paid. Of an
//!     EHR payment that is more than its allocation (rule 16 nets what was reversed before, and takes at most the amount),
//!     the part beyond the allocation is what is reversed first.
//! 18. Excess after adjudication: at a version with a lower client charge, what our allocations exceed the open by, newest
//!     allocation first; at the version that voids it: all of it. Other EHR payments make no excess. It re-opens nothing.
//! 19. Oldest: an invoice without sessions stands after those that have one, issued the same day. "Equally old" = same
//!     issued_on and same earliest service date.
//! 20. A refund that came before its payment is applied after the first look, also when that look parks. One whose
//!     named allocation and the unapplied part together are less than it: as if it named none. A charge waiting for its
//!     PaymentIntent counts as not yet arrived.
//! 21. A refund object never goes back from succeeded to pending, nor from failed to succeeded. A dispute has
//!     taken what its balance transactions say; without them `funds_withdrawn` takes its amount.
//! 22. The local date is that of the deciding event's `created`, not of its delivery.
//! 23. No candidate is left "only because of third_party_biller" when such an invoice is open in the payment's
//!     currency, whatever else is re-opened or of another currency.

mod facts;
mod movements;
mod open;
mod rules;
#[cfg(test)]
mod tests;
mod who;

use facts::{Stage, World, next_due};
use rules::Occasion;
use serde_json::Value;
use std::collections::BTreeSet;

/// `matching.link_by_email` (contracts/settings.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkByEmail {
    /// Rule 14 is on.
    Unique,
    /// Rule 14 is off.
    Never,
}

/// `matching.same_amount` (contracts/settings.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameAmount {
    /// Among equals the oldest is paid.
    OldestFirst,
    /// Among equals a person is asked.
    Review,
}

/// The settings that the decision table depends on, with the defaults of contracts/settings.md.
#[derive(Clone, Debug)]
pub struct OracleConfig {
    /// `practice.time_zone`; a name that is unknown counts as UTC.
    pub time_zone: String,
    /// `matching.link_by_email`.
    pub link_by_email: LinkByEmail,
    /// `matching.same_amount`.
    pub same_amount: SameAmount,
    /// `matching.wait_for_invoice_h`, in hours.
    pub wait_for_invoice_h: i64,
    /// `stripe.livemode`.
    pub livemode: bool,
    /// `stripe.metadata.invoice`.
    pub invoice_keys: Vec<String>,
    /// `stripe.metadata.session`.
    pub session_keys: Vec<String>,
    /// `stripe.metadata.client`.
    pub client_keys: Vec<String>,
    /// `stripe.metadata.kind`.
    pub kind_keys: Vec<String>,
}

impl Default for OracleConfig {
    fn default() -> Self {
        let keys = |what: &str| vec![format!("vesper_{what}"), format!("ehr_{what}_id"), format!("{what}_id")];
        OracleConfig {
            time_zone: "America/Chicago".to_owned(),
            link_by_email: LinkByEmail::Unique,
            same_amount: SameAmount::OldestFirst,
            wait_for_invoice_h: 48,
            livemode: true,
            invoice_keys: keys("invoice"),
            session_keys: keys("session"),
            client_keys: keys("client"),
            kind_keys: vec!["kind".to_owned()],
        }
    }
}

/// The lines of `--out` (contracts/backtest.md) without `why`, in order. Lines that are no JSON object are passed over.
#[must_use]
pub fn decide_all(config: &OracleConfig, ehr_jsonl: &str, events_jsonl: &str) -> Vec<Value> {
    let records: Vec<(i64, Value)> = lines(ehr_jsonl).filter_map(|r| Some((facts::observed(&r)?.as_second(), r))).collect();
    let events: Vec<(i64, Value)> =
        lines(events_jsonl).filter_map(|e| Some((e["delivered_at"].as_i64().or(e["created"].as_i64())?, e))).collect();
    let mut world = World::new(config.clone());
    let (mut next_record, mut next_event) = (0, 0);
    loop {
        let record_at = records.get(next_record).map(|(at, _)| (*at).max(world.now));
        let event_at = events.get(next_event).map(|(at, _)| (*at).max(world.now));
        let timer_at = world.payments.iter().filter_map(|p| next_due(p, world.config.wait_for_invoice_h)).min();
        let Some(now) = [record_at, event_at, timer_at.map(|at| at.max(world.now))].into_iter().flatten().min() else { break };
        world.now = now;
        let first = next_record;
        while records.get(next_record).is_some_and(|(at, _)| *at <= now) {
            next_record += 1;
        }
        world.read_records(records.get(first..next_record).unwrap_or(&[]));
        world.look_at_waiting();
        while let Some((_, event)) = events.get(next_event).filter(|(at, _)| *at <= now) {
            next_event += 1;
            world.event(event);
            world.look_at_waiting();
        }
    }
    world.payments.into_iter().filter_map(|p| p.line).collect()
}

/// A line as it is compared: only the fields of the contract, `why` left out, allocations in order of invoice.
#[must_use]
pub fn canonical(line: &Value) -> Value {
    let mut fields = serde_json::Map::new();
    for key in ["payment", "event", "customer", "amount", "currency", "outcome", "rule", "allocations", "unapplied", "review"] {
        fields.insert(key.to_owned(), line[key].clone());
    }
    if let Some(Value::Array(allocations)) = fields.get_mut("allocations") {
        allocations.sort_by_key(|a| (a["invoice"].as_str().unwrap_or("").to_owned(), a["amount"].as_i64()));
    }
    Value::Object(fields)
}

fn lines(text: &str) -> impl Iterator<Item = Value> + '_ {
    text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(Value::is_object)
}

impl World {
    /// All records of one second, then who is to be looked at because of them.
    fn read_records(&mut self, records: &[(i64, Value)]) {
        if records.is_empty() {
            return;
        }
        let before: Vec<(BTreeSet<String>, Vec<String>)> = self.concerns();
        let mut touched = BTreeSet::new();
        let mut named = BTreeSet::new();
        for (_, record) in records {
            self.record(record, &mut touched, &mut named);
        }
        let after = self.concerns();
        for (i, (old, new)) in before.into_iter().zip(after).enumerate() {
            let wanted = self.payments[i].named_records();
            let hit =
                !touched.is_disjoint(&old.0) || !touched.is_disjoint(&new.0) || !named.is_disjoint(&wanted) || old.1 != new.1;
            self.payments[i].look |= hit;
        }
    }

    /// Looks at every payment that waits: first at those that were woken, then at those that are due, each time in order of
    /// first delivery, until none is left.
    fn look_at_waiting(&mut self) {
        loop {
            let woken = |w: &World, i: usize| w.payments[i].stage == Stage::Parked && w.payments[i].look;
            let is_due =
                |w: &World, i: usize| next_due(&w.payments[i], w.config.wait_for_invoice_h).is_some_and(|at| at <= w.now);
            let mut looked = false;
            for i in 0..self.payments.len() {
                if woken(self, i) {
                    looked = true;
                    self.look_once(i, Occasion::Woken);
                }
            }
            if looked {
                continue;
            }
            for i in 0..self.payments.len() {
                if is_due(self, i) {
                    looked = true;
                    let first = self.payments[i].stage == Stage::ChargeOnly;
                    self.look_once(i, if first { Occasion::First } else { Occasion::Deadline });
                }
            }
            if !looked {
                return;
            }
        }
    }
}
