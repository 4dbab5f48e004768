//! Worklist items on the pages: the list of all that are open, and on a payment's page what exactly is to be typed into the EHR.
//!
//! Must not: mark anything done (`answers::mark_done` does).

use super::show::{Again, Fact, Names};
use super::words;
use crate::app::App;
use crate::failure::Unfinished;
use std::collections::BTreeMap;
use vesper_adapters::dynamo::model::{BackReason, StoredAllocation, StoredReversal};
use vesper_adapters::dynamo::store::WriteBack;
use vesper_core::credit;
use vesper_core::ids::InvoiceId;

/// How many items one page lists.
const LIST_MAX: u32 = 50;

/// A row of the list of open items.
pub(super) struct ItemRow {
    pub(super) payment: String,
    pub(super) what: &'static str,
    pub(super) amount: String,
    pub(super) invoice: String,
    pub(super) client: String,
    pub(super) age: String,
}

/// The open items, oldest first.
#[derive(Default)]
pub(super) struct ItemList {
    pub(super) rows: Vec<ItemRow>,
    pub(super) more: Option<String>,
}

/// One item on its payment's page.
pub(super) struct Item {
    /// Names it in the form.
    pub(super) effect: String,
    pub(super) heading: String,
    pub(super) facts: Vec<Fact>,
    pub(super) hints: Vec<String>,
    /// The EHR's id as it was typed, when the page is shown again.
    pub(super) typed: String,
}

/// The open items; `after` is where an earlier page ended. Whose they are is read into `names`.
pub(super) async fn open(app: &App, after: Option<&str>, names: &mut Names<'_>) -> Result<ItemList, Unfinished> {
    let found = app.store.worklist(after, LIST_MAX).await?;
    let mut rows = Vec::new();
    for item in &found {
        let (payment, what, amount, currency, invoice, client, effect) = match item {
            WriteBack::Allocation(read) => {
                let (row, a) = (&read.item, &read.item.allocation);
                (&a.payment, "Payment", a.net(), row.currency, &a.invoice, &a.client, row.effect.as_ref())
            }
            WriteBack::Reversal(read) => {
                let row = &read.item;
                (&row.payment, "Take back", row.amount, row.currency, &row.invoice, &row.client, Some(&row.effect))
            }
        };
        names.read([client.clone()]).await?;
        let number = app.store.invoice(invoice).await?.and_then(|i| i.item.invoice.number);
        rows.push(ItemRow {
            payment: payment.to_string(),
            what,
            amount: words::amount(amount, currency),
            invoice: number.unwrap_or_else(|| invoice.to_string()),
            client: names.of(client),
            age: effect.map(|e| words::age(e.since, app.now())).unwrap_or_default(),
        });
    }
    let full = u32::try_from(found.len()).is_ok_and(|n| n >= LIST_MAX);
    let last = found.last().and_then(WriteBack::worklist_place).map(|place| place.replace('#', "%23"));
    Ok(ItemList { rows, more: last.filter(|_| full) })
}

/// The open items of one payment, payments first.
pub(super) fn of_payment(
    allocations: &[&StoredAllocation],
    reversals: &[StoredReversal],
    numbers: &BTreeMap<InvoiceId, String>,
    names: &Names<'_>,
    again: &Again,
) -> Vec<Item> {
    let number = |id: &InvoiceId| numbers.get(id).cloned().unwrap_or_else(|| id.to_string());
    let typed = |effect: &str| again.typed_ids.iter().find(|(e, _)| e == effect).map(|(_, t)| t.clone()).unwrap_or_default();
    let payments = allocations.iter().filter(|row| row.is_worklist_item()).filter_map(|row| {
        let (a, effect) = (&row.allocation, row.effect.as_ref()?);
        let amount = words::amount(a.net(), row.currency);
        let method = if a.rule == credit::RULE { "credit of the client" } else { "card, already charged: not an online payment" };
        let shown = a.shown.then(|| "The EHR shows it already: look, and mark it done.".to_owned());
        let facts = vec![
            Fact { name: "Invoice", value: number(&a.invoice) },
            Fact { name: "Client", value: names.of(&a.client) },
            Fact { name: "Amount, on the client's share", value: amount.clone() },
            Fact { name: "Date", value: row.posted_on.to_string() },
            Fact { name: "Method", value: method.to_owned() },
            Fact { name: "Reference", value: a.reference.clone() },
        ];
        let hints = effect.problem.clone().into_iter().chain(shown).collect();
        let heading = format!("Record a payment of {amount}");
        Some(Item { effect: effect.id.to_string(), heading, facts, hints, typed: typed(effect.id.as_str()) })
    });
    let taken_back = reversals.iter().filter(|row| row.is_worklist_item()).map(|row| {
        let of = allocations.iter().find(|a| a.n == row.n);
        let amount = words::amount(row.amount, row.currency);
        let reason = match row.reason {
            BackReason::Refund => "the money was refunded",
            BackReason::Dispute => "the payment was disputed",
            BackReason::Correction => "a correction by a person",
        };
        let mut facts = vec![
            Fact { name: "Invoice", value: number(&row.invoice) },
            Fact { name: "Client", value: names.of(&row.client) },
            Fact { name: "Amount to take back", value: amount.clone() },
            Fact { name: "Date", value: row.posted_on.to_string() },
            Fact { name: "Why", value: reason.to_owned() },
        ];
        facts.extend(of.map(|a| Fact { name: "Reference of the payment", value: a.allocation.reference.clone() }));
        let id = of.and_then(|a| a.ehr_payment.as_ref());
        facts.extend(id.map(|id| Fact { name: "The payment in the EHR", value: id.to_string() }));
        let hints = row.effect.problem.clone().into_iter().collect();
        let heading = format!("Take back {amount}");
        Item { effect: row.effect.id.to_string(), heading, facts, hints, typed: typed(row.effect.id.as_str()) }
    });
    payments.chain(taken_back).collect()
}
