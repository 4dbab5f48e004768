//! What healing and the nightly proof read of Stripe: the event list, the balance with all its transactions, and the lists that
//! reach further back than events (facts/stripe.md sections 1 to 3).
//!
//! Must not: let anything through that the projection of an event does not.

use super::answers::{ChargeNow, Cursor, Page, charge_of, page};
use super::payouts::row;
use super::{Incoming, Projection, dispute, projected};
use crate::stripe::json::{AnyId, Obj, Problem};
use vesper_core::event::Dispute;
use vesper_core::ids::MovementId;
use vesper_core::payout::RowKind;
use vesper_core::proof::BalanceRow;

impl Cursor for Incoming {
    fn id(&self) -> &str {
        self.event.id.as_str()
    }
}

impl Cursor for BalanceRow {
    fn id(&self) -> &str {
        &self.row.id
    }
}

impl Cursor for ChargeNow {
    fn id(&self) -> &str {
        self.charge.as_str()
    }
}

impl Cursor for Dispute {
    fn id(&self) -> &str {
        MovementId::as_str(&self.id)
    }
}

/// A payout's id in a list of payouts.
pub(in crate::stripe) struct PayoutId(pub(in crate::stripe) String);

impl Cursor for PayoutId {
    fn id(&self) -> &str {
        &self.0
    }
}

/// One page of GET /v1/events, each projected as if it had come by webhook.
pub(in crate::stripe) fn events(body: &[u8], p: &Projection) -> Result<Page<Incoming>, Problem> {
    page(body, |item| projected(item, p).map_err(|_| Problem::new("data", "holds what is no event")))
}

/// One page of GET /v1/balance_transactions of the whole balance, asked with `expand[]=data.source`.
pub(in crate::stripe) fn balance_rows(body: &[u8]) -> Result<Page<BalanceRow>, Problem> {
    page(body, balance_row)
}

fn balance_row(item: &Obj<'_>) -> Result<BalanceRow, Problem> {
    let row = row(item, "")?;
    let payout = match &row.kind {
        RowKind::PayoutItself => item.id_if_any::<AnyId>("source")?.map(|id| id.0).or_else(|| Some(row.id.clone())),
        RowKind::PayoutBack { payout } => Some(payout.clone()),
        _ => None,
    };
    Ok(BalanceRow { row, payout })
}

/// One page of GET /v1/charges.
pub(in crate::stripe) fn charges(body: &[u8], p: &Projection) -> Result<Page<ChargeNow>, Problem> {
    page(body, |item| charge_of(item, p))
}

/// One page of GET /v1/disputes.
pub(in crate::stripe) fn disputes(body: &[u8]) -> Result<Page<Dispute>, Problem> {
    page(body, dispute)
}

/// One page of GET /v1/payouts.
pub(in crate::stripe) fn payout_ids(body: &[u8]) -> Result<Page<PayoutId>, Problem> {
    page(body, |item| item.id::<AnyId>("id").map(|id| PayoutId(id.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rows(items: &Value) -> Vec<BalanceRow> {
        balance_rows(json!({"has_more": false, "data": items}).to_string().as_bytes()).unwrap().items
    }

    #[test]
    fn rows_of_payouts_name_their_payout() {
        let base = |extra: Value| {
            let mut item = json!({"id": "txn_1", "amount": -100, "fee": 0, "net": -100, "currency": "usd", "created": 1});
            item.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            item
        };
        let items = json!([
            base(json!({"type": "payout", "reporting_category": "payout", "source": {"id": "po_1", "object": "payout"}})),
            base(json!({"type": "payout_failure", "reporting_category": "payout_reversal", "source": "po_1"})),
            base(json!({"type": "stripe_fee", "reporting_category": "fee", "source": null})),
        ]);
        let payouts: Vec<Option<String>> = rows(&items).into_iter().map(|r| r.payout).collect();
        assert_eq!(payouts, [Some("po_1".to_owned()), Some("po_1".to_owned()), None]);
    }
}
