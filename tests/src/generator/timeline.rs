//! A made-up EHR played in order of time, so that its shares always add up, and the events of Stripe beside it.

use super::Practice;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// 2026-10-15T16:00:00Z: two weeks before the clocks change in Chicago.
pub(super) const BASE: i64 = 1_792_080_000;
pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 86_400;

/// What happens in the EHR.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A client record as it is from now on.
    Client(Value),
    /// A new invoice: the record without its shares, and the client charge.
    Invoice(Value, i64),
    /// A client payment typed in; the invoice version that contains it follows after `lag_s`.
    Pay {
        id: String,
        invoice: String,
        amount: i64,
        method: &'static str,
        reference: String,
        lag_s: i64,
    },
    /// `paid` grows without a payment record.
    PaidUnseen(String, i64),
    /// The whole payment is taken back.
    Reverse(String),
    /// Part of it is.
    ReversePart(String, i64),
    /// Adjudication: the client charge becomes this, but never less than what is paid.
    Charge(String, i64),
    Void(String),
    /// The same record again, as it is now.
    InvoiceAgain(String),
}

struct Bill {
    record: Value,
    charge: i64,
    paid: i64,
}

struct Posted {
    record: Value,
    invoice: String,
    amount: i64,
    reversed: i64,
}

#[derive(Default)]
pub(super) struct Timeline {
    acts: BTreeMap<(i64, usize), Act>,
    events: Vec<(i64, Value)>,
    bills: BTreeMap<String, Bill>,
    posted: BTreeMap<String, Posted>,
    lines: Vec<(i64, Value)>,
    count: usize,
}

/// The practice's date at a moment, near enough: UTC-6.
pub(super) fn date(at: i64) -> String {
    Timestamp::from_second(at - 6 * HOUR).map(|t| t.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()).unwrap_or_default()
}

fn moment(at: i64) -> String {
    Timestamp::from_second(at).map(|t| t.to_string()).unwrap_or_default()
}

impl Timeline {
    pub fn act(&mut self, at: i64, act: Act) {
        self.count += 1;
        self.acts.insert((at, self.count), act);
    }

    /// An event; `delivered` after `created` is written as `delivered_at`.
    pub fn event(&mut self, created: i64, delivered: i64, id: &str, kind: &str, livemode: bool, object: Value) {
        let mut event = json!({"id": id, "object": "event", "type": kind, "created": created, "livemode": livemode,
            "api_version": "2026-10-28.endive", "data": {"object": object}});
        if delivered != created {
            event["delivered_at"] = json!(delivered);
        }
        self.events.push((delivered, event));
    }

    /// Plays all acts and writes everything down.
    pub fn finish(mut self) -> Practice {
        while let Some(((at, _), act)) = self.acts.pop_first() {
            self.play(at, act);
        }
        self.events.sort_by_key(|(at, _)| *at);
        let write = |all: &[(i64, Value)]| {
            let mut out = String::new();
            for (_, line) in all {
                out.push_str(&line.to_string());
                out.push('\n');
            }
            out
        };
        Practice { ehr_jsonl: write(&self.lines), events_jsonl: write(&self.events) }
    }

    /// As [`Timeline::finish`], with every `one_in`-th record coming again some lines later, as old as it was.
    pub fn finish_with_stale_lines(self, one_in: usize) -> Practice {
        let mut practice = self.finish();
        let lines: Vec<&str> = practice.ehr_jsonl.lines().collect();
        let mut out = String::new();
        for (k, line) in lines.iter().enumerate() {
            out.push_str(line);
            out.push('\n');
            let stale = k.checked_sub(7).and_then(|old| lines.get(old)).filter(|_| k % one_in.max(1) == 0);
            if let Some(stale) = stale {
                out.push_str(stale);
                out.push('\n');
            }
        }
        practice.ehr_jsonl = out;
        practice
    }

    fn write(&mut self, at: i64, mut record: Value) {
        record["observed_at"] = json!(moment(at));
        record["version"] = json!(self.lines.len().to_string());
        self.lines.push((at, record));
    }

    fn write_invoice(&mut self, at: i64, id: &str) {
        let Some(bill) = self.bills.get(id) else { return };
        let mut record = bill.record.clone();
        record["client_share"] =
            json!({"charge": bill.charge, "paid": bill.paid, "written_off": 0, "open": bill.charge - bill.paid});
        record["payer_share"] = json!({"charge": 10_800, "paid": 0, "written_off": 0, "open": 10_800});
        self.write(at, record);
    }

    fn write_payment(&mut self, at: i64, id: &str) {
        let Some(posted) = self.posted.get(id) else { return };
        let mut record = posted.record.clone();
        record["reversed"] = json!(posted.reversed);
        record["state"] = json!(if posted.reversed == posted.amount { "reversed" } else { "posted" });
        self.write(at, record);
    }

    fn play(&mut self, at: i64, act: Act) {
        match act {
            Act::Client(record) => self.write(at, record),
            Act::Invoice(record, charge) => {
                let id = record["id"].as_str().unwrap_or("").to_owned();
                self.bills.insert(id.clone(), Bill { record, charge, paid: 0 });
                self.write_invoice(at, &id);
            }
            Act::Pay { id, invoice, amount, method, reference, lag_s } => {
                let Some(bill) = self.bills.get_mut(&invoice) else { return };
                let amount = amount.min(bill.charge - bill.paid);
                if amount <= 0 || self.posted.contains_key(&id) {
                    return;
                }
                bill.paid += amount;
                let record = json!({"kind": "payment", "id": id, "invoice_id": invoice, "portion": "client",
                    "amount": amount, "currency": bill.record["currency"], "method": method, "online": false,
                    "posted_on": date(at), "reference": reference});
                self.posted.insert(id.clone(), Posted { record, invoice: invoice.clone(), amount, reversed: 0 });
                self.write_payment(at, &id);
                self.later(at, lag_s, invoice);
            }
            Act::PaidUnseen(invoice, amount) => {
                let Some(bill) = self.bills.get_mut(&invoice) else { return };
                bill.paid += amount.min(bill.charge - bill.paid).max(0);
                self.write_invoice(at, &invoice);
            }
            Act::Reverse(id) => self.reverse(at, &id, i64::MAX),
            Act::ReversePart(id, amount) => self.reverse(at, &id, amount),
            Act::Charge(invoice, charge) => {
                let Some(bill) = self.bills.get_mut(&invoice) else { return };
                bill.charge = charge.max(bill.paid);
                self.write_invoice(at, &invoice);
            }
            Act::Void(invoice) => {
                let Some(bill) = self.bills.get_mut(&invoice) else { return };
                bill.record["status"] = json!("void");
                self.write_invoice(at, &invoice);
            }
            Act::InvoiceAgain(invoice) => self.write_invoice(at, &invoice),
        }
    }

    fn later(&mut self, at: i64, lag_s: i64, invoice: String) {
        if lag_s == 0 {
            self.write_invoice(at, &invoice);
        } else {
            self.act(at + lag_s, Act::InvoiceAgain(invoice));
        }
    }

    fn reverse(&mut self, at: i64, id: &str, amount: i64) {
        let Some(posted) = self.posted.get_mut(id) else { return };
        let amount = amount.min(posted.amount - posted.reversed);
        posted.reversed += amount;
        let invoice = posted.invoice.clone();
        if let Some(bill) = self.bills.get_mut(&invoice) {
            bill.paid -= amount;
        }
        self.write_payment(at, id);
        self.write_invoice(at, &invoice);
    }
}
