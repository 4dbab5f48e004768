//! An ordinary month of a practice, of any size: what benches and the speed of a backtest are measured on.

use super::timeline::{Act, BASE, DAY, HOUR, Timeline, date};
use super::{Practice, Rng};
use serde_json::json;

const FEES: [i64; 6] = [2000, 2500, 3000, 4200, 12_000, 15_000];

/// A month with this many sessions held by this many clinicians, one invoice and at most one payment each.
///
/// Of a hundred payments about seventy name their invoice, twenty-five have just its amount, and the rest is partial,
/// for two at once, of a guest or of nobody known. Most are typed into the EHR the next day, as a practice without Vesper does.
#[must_use]
pub fn realistic(seed: u64, sessions: usize, clinicians: usize) -> Practice {
    let mut rng = Rng(seed);
    let mut time = Timeline::default();
    let clients = sessions.div_ceil(4).max(1);
    let clinicians = clinicians.max(1);
    for k in 0..clients {
        let customers = if k % 20 == 19 { json!([]) } else { json!([format!("cus_{k:06}")]) };
        let guarantor = (k % 10 == 9).then(|| format!("c_{:06}", k - 1));
        let client = json!({"kind": "client", "id": format!("c_{k:06}"), "emails": [format!("c{k}@example.test")],
            "stripe_customer_ids": customers, "guarantor_id": guarantor, "status": "active", "autopay": "off",
            "card_consent": "given", "coverage": "commercial"});
        time.act(BASE - DAY, Act::Client(client));
    }
    for k in 0..sessions {
        session(&mut rng, &mut time, k, clients, clinicians);
    }
    time.finish()
}

fn session(rng: &mut Rng, time: &mut Timeline, k: usize, clients: usize, clinicians: usize) {
    let client = rng.below(clients);
    let clinician = i64::try_from(k % clinicians).unwrap_or(0);
    // Each clinician has eight slots a day from 9 to 17 o'clock; the bill follows at once.
    let at = BASE + rng.between(0, 29) * DAY + rng.between(0, 7) * HOUR + clinician % 3000;
    // A client has one fee, as in life.
    let fee = FEES.get(client % FEES.len()).copied().unwrap_or(2000);
    let invoice = format!("inv_{k:07}");
    let record = json!({"kind": "invoice", "id": invoice, "number": null, "client_id": format!("c_{client:06}"),
        "currency": "usd", "issued_on": date(at), "status": "open", "category": "copay",
        "sessions": [{"id": format!("s_{k:07}"), "service_date": date(at)}]});
    time.act(at, Act::Invoice(record, fee));
    if rng.percent(8) {
        return;
    }
    let paid = at + rng.between(1, 30) * 60;
    let (mut amount, mut metadata, mut customer) = (fee, json!({}), Some(format!("cus_{client:06}")));
    match rng.below(100) {
        0..=69 => metadata = json!({"ehr_invoice_id": invoice}),
        70..=94 => {}
        95 | 96 => amount = fee / 2,
        97 => amount = fee * 2,
        98 => customer = None,
        _ => customer = Some(format!("cus_new{k}")),
    }
    let object = json!({"id": format!("pi_{k:07}"), "object": "payment_intent", "amount": amount, "amount_received": amount,
        "currency": "usd", "customer": customer, "receipt_email": null, "latest_charge": format!("ch_{k:07}"),
        "metadata": metadata, "status": "succeeded", "created": paid});
    time.event(paid, paid, &format!("evt_{k:07}"), "payment_intent.succeeded", true, object);
    if rng.percent(85) {
        let (id, reference) = (format!("ep_{k:07}"), String::new());
        time.act(paid + DAY, Act::Pay { id, invoice, amount: amount.min(fee), method: "card", reference, lag_s: 0 });
    }
}
