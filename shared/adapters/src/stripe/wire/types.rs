//! The event types that Vesper uses: setup subscribes the webhook endpoint to exactly these, doctor compares with them, and the
//! projection lets no other through.

/// Sorted. An event of any other type is acknowledged and ignored.
pub const EVENT_TYPES: [&str; 26] = [
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "charge.updated",
    "customer.created",
    "customer.deleted",
    "customer.updated",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "payment_method.attached",
    "payment_method.automatically_updated",
    "payout.canceled",
    "payout.created",
    "payout.failed",
    "payout.paid",
    "payout.reconciliation_completed",
    "payout.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
];

#[cfg(test)]
mod tests {
    use super::EVENT_TYPES;
    use crate::personal::DataKey;
    use crate::stripe::wire::{MetadataKeys, Projection, project};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    /// What an event of this type is read as, with an object that has everything.
    fn read_as(event_type: &str) -> String {
        let object = json!({
            "id": "x_1", "payment_intent": "pi_1", "charge": "ch_1", "customer": "cus_1", "amount": 100, "amount_received": 100,
            "amount_captured": 100, "captured": true, "currency": "usd", "created": 1_795_190_400, "status": "succeeded",
        });
        let event = json!({"id": "evt_1", "type": event_type, "created": 1_795_190_400, "data": {"object": object}});
        let projection = Projection { keys: MetadataKeys::default(), hasher: DataKey::new([1; 32]).email_hasher() };
        let what = project(&serde_json::to_vec(&event).unwrap(), &projection).unwrap().event.what;
        let what: Value = serde_json::to_value(what).unwrap();
        what["what"].as_str().unwrap().to_owned()
    }

    #[test]
    fn every_type_of_the_list_is_used_and_the_list_has_every_use() {
        let mut sorted = EVENT_TYPES.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted, EVENT_TYPES, "sorted, and each once");
        let uses: BTreeSet<String> = EVENT_TYPES.into_iter().map(read_as).collect();
        // Every kind of happening that the core knows, but those that are none.
        let all = [
            "card_renewed",
            "charge_of_payment",
            "charge_refunded",
            "customer",
            "customer_deleted",
            "dispute",
            "payment_failed",
            "payment_succeeded",
            "payout",
            "refund",
        ];
        assert_eq!(uses.iter().map(String::as_str).collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_type_outside_the_list_is_no_use_however_much_it_looks_like_one() {
        for event_type in ["charge.pending", "charge.dispute.reopened", "payout.dreamt", "charge.expired", "invoice.paid", "*"] {
            assert_eq!(read_as(event_type), "other", "{event_type}");
        }
    }
}
