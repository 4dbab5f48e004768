//! Payouts, their balance transactions, and the objects behind those, as Stripe answers them (facts/stripe.md section 3).
//!
//! Tolerant: a row whose type or source is not known is [`RowKind::Other`], never an error; only amounts must be readable.

use super::answers::{Cursor, Page, object, page};
use super::{Projection, dispute, payment_of, refund};
use crate::stripe::json::{AnyId, Obj, Problem};
use vesper_core::event::{Dispute, Refund};
use vesper_core::ids::{ChargeId, MovementId};
use vesper_core::money::Minor;
use vesper_core::payout::{Payout, PayoutRow, PayoutStatus, RowKind};

impl Cursor for PayoutRow {
    fn id(&self) -> &str {
        &self.id
    }
}

pub(in crate::stripe) fn payout(body: &[u8]) -> Result<Payout, Problem> {
    let payout = object(body)?;
    let any = |field: &'static str| payout.id_if_any::<AnyId>(field).map(|id| id.map(|id| id.0));
    let trace = payout.object("trace_id").and_then(|t| t.text("value"));
    Ok(Payout {
        id: payout.id::<AnyId>("id")?.0,
        amount: payout.signed_amount("amount")?,
        currency: payout.currency("currency")?,
        automatic: payout.flag("automatic").ok_or(Problem::new("automatic", "is missing"))?,
        status: match payout.word("status").as_deref() {
            Some("paid") => PayoutStatus::Paid,
            Some("failed") => PayoutStatus::Failed,
            Some("canceled") => PayoutStatus::Canceled,
            _ => PayoutStatus::OnItsWay,
        },
        reconciled: payout.word("reconciliation_status").as_deref() == Some("completed"),
        arrival: payout.time("arrival_date")?,
        created: payout.time("created")?,
        trace_id: trace.and_then(|t| AnyId::try_from(t).ok()).map(|id| id.0),
        balance_transaction: any("balance_transaction")?,
        failure_balance_transaction: any("failure_balance_transaction")?,
    })
}

/// One page of the balance transactions of `payout`, asked with `expand[]=data.source`.
pub(in crate::stripe) fn rows(body: &[u8], payout: &str) -> Result<Page<PayoutRow>, Problem> {
    page(body, |item| row(item, payout))
}

pub(super) fn row(row: &Obj<'_>, payout: &str) -> Result<PayoutRow, Problem> {
    let amount = row.signed_amount("amount")?;
    Ok(PayoutRow {
        id: row.id::<AnyId>("id")?.0,
        kind: kind(row, amount, payout),
        amount,
        fee: if row.given("fee") { row.signed_amount("fee")? } else { Minor::ZERO },
        net: row.signed_amount("net")?,
        currency: row.currency("currency")?,
        created: row.time("created")?,
    })
}

/// Classified on `reporting_category`, with `type` where that says more or the category is missing. Which way the money went
/// is its sign's word.
fn kind(row: &Obj<'_>, amount: Minor, payout: &str) -> RowKind {
    let (category, of_type) = (row.word("reporting_category"), row.word("type"));
    let (category, of_type) = (category.as_deref().unwrap_or_default(), of_type.as_deref().unwrap_or_default());
    let source = row.object("source");
    let id = row.id_if_any::<AnyId>("source").ok().flatten().map(|id| id.0);
    let back = amount.is_positive();
    let charge = source.as_ref().and_then(|s| s.id_if_any::<ChargeId>("charge").ok().flatten());
    let payment = || source.as_ref().and_then(|s| payment_of(s, charge.as_ref()).ok());
    let movement = |prefixes: &[&str]| {
        let id = id.as_deref().filter(|id| prefixes.iter().any(|p| id.starts_with(p)))?;
        MovementId::parse(id).ok()
    };
    let other = || RowKind::Other { reporting_category: if category.is_empty() { of_type } else { category }.to_owned() };
    match (category, of_type) {
        ("payout", _) | (_, "payout") => RowKind::PayoutItself,
        ("payout_reversal", _) | (_, "payout_failure" | "payout_cancel") => match id {
            Some(earlier) if earlier != payout => RowKind::PayoutBack { payout: earlier },
            Some(_) => RowKind::PayoutItself, // Its own money coming back is in the next payout, not in this one.
            None => other(),
        },
        ("fee" | "tax", _) | (_, "stripe_fee" | "stripe_fx_fee" | "tax_fee") => RowKind::Fee,
        ("charge", _) | (_, "charge" | "payment") => match id.as_deref().and_then(|id| ChargeId::parse(id).ok()) {
            Some(charge) => {
                let payment = source.as_ref().and_then(|s| payment_of(s, Some(&charge)).ok());
                RowKind::Charge { charge, payment }
            }
            None => other(),
        },
        ("refund" | "refund_failure" | "charge_failure", _)
        | (_, "refund" | "payment_refund" | "refund_failure" | "payment_failure_refund") => match movement(&["re_", "pyr_"]) {
            Some(refund) => RowKind::Refund { refund, payment: payment(), back },
            None => other(),
        },
        ("dispute" | "dispute_reversal", _) | (_, "adjustment") => match movement(&["du_", "dp_"]) {
            Some(dispute) => RowKind::Dispute { dispute, payment: payment(), back },
            None => other(),
        },
        _ => other(),
    }
}

pub(in crate::stripe) fn one_refund(body: &[u8], p: &Projection) -> Result<Refund, Problem> {
    refund(&object(body)?, p)
}

pub(in crate::stripe) fn one_dispute(body: &[u8]) -> Result<Dispute, Problem> {
    dispute(&object(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use vesper_core::ids::PaymentId;
    use vesper_core::payout::{Matched, Tally, Verdict, judge};

    const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/stripe-events");
    const PO1: &str = "po_1kOG9SMVCRqGkfITSfDX7CX6u";

    fn file(name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(format!("{DIR}/{name}.json")).unwrap()).unwrap()
    }

    fn po1(event: &str) -> Payout {
        payout(file(event)["data"]["object"].to_string().as_bytes()).unwrap()
    }

    fn kind_of(fields: &Value) -> RowKind {
        let mut item = json!({"id": "txn_1", "amount": -100, "fee": 0, "net": -100, "currency": "usd", "created": 1});
        for (key, value) in fields.as_object().unwrap() {
            item[key] = value.clone();
        }
        let list = json!({"object": "list", "has_more": false, "data": [item]}).to_string();
        rows(list.as_bytes(), PO1).unwrap().items.remove(0).kind
    }

    #[test]
    fn the_rows_of_the_test_data_sum_to_its_payout() {
        let payout = po1("payout.reconciliation_completed");
        let list = file("_api.balance_transactions.for_payout_PO1").to_string();
        let page = rows(list.as_bytes(), &payout.id).unwrap();
        let mut tally = Tally::default();
        page.items.iter().for_each(|r| tally.add(r, Matched::Known));
        assert_eq!(
            (page.items.len(), page.has_more, tally.transactions, tally.net.get(), tally.fees.get()),
            (5, false, 4, 4660, 340)
        );
        assert_eq!(page.items[0].kind, RowKind::PayoutItself);
        assert_eq!(
            page.items[1].kind,
            RowKind::Charge { charge: ChargeId::parse("ch_36jb6bWymd0duHEQdV7dBdAgJ").unwrap(), payment: None }
        );
        assert_eq!(judge(&payout, &tally, true), Verdict::TiedOut);
    }

    #[test]
    fn a_payout_is_read_as_it_is_in_each_event() {
        let paid = po1("payout.paid");
        assert_eq!((paid.amount.get(), paid.automatic, paid.status, paid.reconciled), (4660, true, PayoutStatus::Paid, true));
        assert_eq!(
            (paid.trace_id.as_deref(), paid.arrival.to_string().as_str()),
            (Some("021000021234567"), "2026-11-23T00:00:00Z")
        );
        let early = po1("payout.created");
        assert_eq!((early.status, early.reconciled, early.trace_id), (PayoutStatus::OnItsWay, false, None));
        let failed = po1("payout.failed");
        assert!(failed.status.came_back() && failed.failure_balance_transaction.is_some());
        let negative = json!({"id": "po_2", "amount": -2020, "currency": "usd", "automatic": true, "status": "paid",
            "reconciliation_status": "completed", "arrival_date": 1, "created": 1});
        assert_eq!(payout(negative.to_string().as_bytes()).unwrap().amount.get(), -2020);
    }

    #[test]
    fn each_type_has_its_kind() {
        let (ch, re) = (ChargeId::parse("ch_1").unwrap(), MovementId::parse("re_1").unwrap());
        let pi = |id: &str| Some(PaymentId::parse(id).unwrap());
        let charge = json!({"id": "ch_1", "object": "charge", "payment_intent": "pi_1"});
        let bare = json!({"id": "ch_1", "object": "charge", "payment_intent": null});
        let refund = json!({"id": "re_1", "object": "refund", "charge": "ch_1", "payment_intent": "pi_1"});
        let dispute = json!({"id": "du_1", "object": "dispute", "charge": "ch_1", "payment_intent": "pi_1"});
        let du = MovementId::parse("du_1").unwrap();
        let other = |c: &str| RowKind::Other { reporting_category: c.to_owned() };
        for (fields, want) in [
            (
                json!({"type": "charge", "reporting_category": "charge", "source": charge}),
                RowKind::Charge { charge: ch.clone(), payment: pi("pi_1") },
            ),
            (
                json!({"type": "payment", "reporting_category": "charge", "source": bare}),
                RowKind::Charge { charge: ch.clone(), payment: pi("ch_1") },
            ),
            (json!({"type": "charge", "source": "ch_1"}), RowKind::Charge { charge: ch, payment: None }),
            (json!({"type": "charge", "reporting_category": "charge", "source": null}), other("charge")),
            (
                json!({"type": "refund", "reporting_category": "refund", "source": refund}),
                RowKind::Refund { refund: re.clone(), payment: pi("pi_1"), back: false },
            ),
            (
                json!({"type": "refund_failure", "reporting_category": "refund_failure", "source": "re_1", "amount": 100}),
                RowKind::Refund { refund: re, payment: None, back: true },
            ),
            (
                json!({"type": "adjustment", "reporting_category": "dispute", "source": dispute}),
                RowKind::Dispute { dispute: du.clone(), payment: pi("pi_1"), back: false },
            ),
            (
                json!({"type": "adjustment", "reporting_category": "dispute_reversal", "source": "du_1", "amount": 100}),
                RowKind::Dispute { dispute: du, payment: None, back: true },
            ),
            (json!({"type": "stripe_fee", "reporting_category": "fee", "source": null}), RowKind::Fee),
            (json!({"type": "tax_fee"}), RowKind::Fee),
            (json!({"type": "payout", "reporting_category": "payout", "source": PO1}), RowKind::PayoutItself),
            (
                json!({"type": "payout_failure", "reporting_category": "payout_reversal", "source": "po_0"}),
                RowKind::PayoutBack { payout: "po_0".to_owned() },
            ),
            (json!({"type": "payout_failure", "reporting_category": "payout_reversal", "source": PO1}), RowKind::PayoutItself),
            (json!({"type": "adjustment", "reporting_category": "other_adjustment", "source": null}), other("other_adjustment")),
            (json!({"type": "contribution", "reporting_category": "contribution"}), other("contribution")),
            (json!({"type": "something_new"}), other("something_new")),
            (json!({}), other("")),
        ] {
            assert_eq!(kind_of(&fields), want, "{fields}");
        }
    }

    #[test]
    fn an_amount_that_is_no_whole_number_is_refused() {
        let list =
            json!({"has_more": false, "data": [{"id": "txn_1", "amount": 1.5, "net": 1, "currency": "usd", "created": 1}]});
        assert!(rows(list.to_string().as_bytes(), PO1).is_err());
    }
}
