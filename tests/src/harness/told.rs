//! What an export says, with a few ways to ask it (contracts/export.md).
//!
//! Must not: know anything that is not in the export.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An export.
#[derive(Clone, Debug)]
pub struct Told(
    /// The JSON of contracts/export.md.
    pub Value,
);

/// The text of a field.
pub(super) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// The integer of a field.
pub(super) fn int(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_default()
}

impl Told {
    /// The list of this name.
    #[must_use]
    pub fn list(&self, name: &str) -> &[Value] {
        self.0[name].as_array().map_or(&[], Vec::as_slice)
    }

    fn one(&self, name: &str, id: &str) -> &Value {
        let found: Vec<&Value> = self.list(name).iter().filter(|x| x["id"] == id).collect();
        assert_eq!(found.len(), 1, "the export's {name} {id}");
        found[0]
    }

    /// The payment of this id.
    #[must_use]
    pub fn payment(&self, id: &str) -> &Value {
        self.one("payments", id)
    }

    /// Whether there is a payment of this id.
    #[must_use]
    pub fn has_payment(&self, id: &str) -> bool {
        self.list("payments").iter().any(|x| x["id"] == id)
    }

    /// The invoice of this id.
    #[must_use]
    pub fn invoice(&self, id: &str) -> &Value {
        self.one("invoices", id)
    }

    /// What the client owes on an invoice, in minor units.
    #[must_use]
    pub fn open(&self, invoice: &str) -> i64 {
        int(&self.invoice(invoice)["client_share"], "open")
    }

    /// Which invoices a payment pays: amount in minor units and rule, in order of invoice.
    #[must_use]
    pub fn links(&self, payment: &str) -> BTreeMap<String, (i64, i64)> {
        let mut links: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for invoice in self.list("invoices") {
            let allocations = invoice["allocations"].as_array().into_iter().flatten();
            for a in allocations.filter(|a| a["payment"] == payment && a["closed"] != true) {
                let link = links.entry(text(invoice, "id").to_owned()).or_default();
                *link = (link.0 + int(a, "amount"), int(a, "rule"));
            }
        }
        links
    }

    /// The reasons of the open reviews about a subject.
    #[must_use]
    pub fn asked(&self, subject: &str) -> Vec<String> {
        self.reviews(subject).iter().map(|r| text(r, "reason").to_owned()).collect()
    }

    /// The open reviews about a subject.
    #[must_use]
    pub fn reviews(&self, subject: &str) -> Vec<&Value> {
        self.list("reviews").iter().filter(|r| r["status"] == "open" && r["subject"] == subject).collect()
    }

    /// The reasons of all open reviews.
    #[must_use]
    pub fn all_asked(&self) -> Vec<String> {
        let open = self.list("reviews").iter().filter(|r| r["status"] == "open");
        open.map(|r| text(r, "reason").to_owned()).collect()
    }

    /// How many writes to EHR and books are neither done nor dead.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.list("effects").iter().filter(|e| ["pending", "sent", "failed"].contains(&text(e, "state"))).count()
    }

    /// What of a payment stands where: (state, allocated, unapplied), in minor units.
    #[must_use]
    pub fn stands(&self, payment: &str) -> (String, i64, i64) {
        let p = self.payment(payment);
        (text(p, "state").to_owned(), int(p, "allocated"), int(p, "unapplied"))
    }

    /// What was decided and done, without what differs from run to run: for comparing two runs of the same story.
    #[must_use]
    pub fn outcome(&self) -> Value {
        let pick = |name: &str, fields: &[&str]| -> Vec<String> {
            let mut all: Vec<String> =
                self.list(name).iter().map(|x| fields.iter().map(|f| x[*f].clone()).collect::<Value>().to_string()).collect();
            all.sort();
            all
        };
        json!({
            "invoices": pick("invoices", &["id", "client_share", "payer_share", "settled", "excess", "allocations"]),
            "payments": pick("payments", &["id", "state", "allocated", "unapplied", "refunded", "disputed", "refunded_unapplied"]),
            "reviews": pick("reviews", &["reason", "subject", "status"]),
            "effects": pick("effects", &["id", "kind", "subject", "state"]),
            "postings": pick("postings", &["id", "doc_number", "subject", "state", "lines"]),
            "payouts": pick("payouts", &["id", "amount", "state", "transactions", "unmatched"]),
            "dead_letters": self.list("dead_letters").len(),
        })
    }
}
