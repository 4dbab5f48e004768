//! World building: what happens at Stripe without Vesper, with the events that Stripe emits for it, in its order.
//!
//! An id that does not exist, or an amount that cannot be, is a mistake of the test and panics.
//! Must not: be used to hide what Vesper did; requests go through HTTP only.

use super::{Confirm, DAY_S, Decline, Outcome, Row, Stripe, StripeStandin};
use crate::{Standin, int_of, text_of};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A PaymentIntent to be made.
#[derive(Clone, Debug)]
pub struct NewPayment {
    customer: Option<String>,
    amount_minor: i64,
    currency: String,
    metadata: Map<String, Value>,
    receipt_email: Option<String>,
    late_row: bool,
}

impl NewPayment {
    /// Of this customer, in minor units of US dollars.
    #[must_use]
    pub fn of(customer: &str, amount_minor: i64) -> NewPayment {
        NewPayment { customer: Some(customer.to_owned()), ..NewPayment::guest(amount_minor) }
    }

    /// Of nobody that Stripe knows.
    #[must_use]
    pub fn guest(amount_minor: i64) -> NewPayment {
        let (metadata, currency) = (Map::new(), "usd".to_owned());
        NewPayment { customer: None, amount_minor, currency, metadata, receipt_email: None, late_row: false }
    }

    /// With one more metadata key.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: &str) -> NewPayment {
        self.metadata.insert(key.to_owned(), json!(value));
        self
    }

    /// In another currency, lower case.
    #[must_use]
    pub fn currency(mut self, currency: &str) -> NewPayment {
        currency.clone_into(&mut self.currency);
        self
    }

    /// With an address for the receipt.
    #[must_use]
    pub fn receipt_email(mut self, email: &str) -> NewPayment {
        self.receipt_email = Some(email.to_owned());
        self
    }

    /// The charge has no balance transaction when it succeeds; charge.updated brings it (asynchronous capture).
    #[must_use]
    pub fn late_balance_transaction(mut self) -> NewPayment {
        self.late_row = true;
        self
    }
}

/// A payout to be made.
#[derive(Clone, Debug, Default)]
pub struct NewPayout {
    /// The balance transactions that it pays out; None: all that are in none yet.
    pub rows: Option<Vec<String>>,
    /// Added to the payout's amount, so that it does not equal its rows, in minor units.
    pub drift_minor: i64,
    /// Started by a person: Stripe cannot say what is in it.
    pub manual: bool,
    /// Stripe has not finished reconciling: no payout.reconciliation_completed, and the list of its rows is short.
    pub in_progress: bool,
    /// One more row of type stripe_fee with this cost, in minor units.
    pub extra_fee_minor: i64,
    /// When it arrives, in unix seconds; None: at the start of the current UTC day.
    pub arrival_date_s: Option<i64>,
    /// No event is emitted.
    pub silent: bool,
}

impl Stripe {
    fn intent(&mut self, now: Timestamp, new: &NewPayment) -> String {
        let template = self.templates.intent.clone();
        let fields = json!({
            "amount": new.amount_minor, "amount_received": 0, "currency": new.currency, "customer": new.customer,
            "last_payment_error": null, "latest_charge": null, "metadata": new.metadata, "payment_method": null,
            "receipt_email": new.receipt_email, "status": "requires_payment_method",
        });
        let id = self.make(now, "pi", &template, fields);
        self.set(&id, json!({"client_secret": format!("{id}_secret_standin")}));
        id
    }

    fn card(&mut self, now: Timestamp, customer: &str) -> String {
        let owner = self.must(customer).clone();
        let template = self.templates.payment_method.clone();
        let mut billing = template.get("billing_details").cloned().unwrap_or_default();
        crate::patch(&mut billing, json!({"email": owner.get("email"), "name": owner.get("name"), "phone": owner.get("phone")}));
        let fields = json!({"billing_details": billing, "customer": customer, "metadata": {}});
        let card = self.make(now, "pm", &template, fields);
        let mut settings = owner.get("invoice_settings").cloned().unwrap_or_default();
        crate::patch(&mut settings, json!({"default_payment_method": card}));
        self.set(customer, json!({"invoice_settings": settings}));
        card
    }

    fn charge_of(&self, payment: &str) -> String {
        if payment.starts_with("pi_") { self.text(payment, "latest_charge") } else { payment.to_owned() }
    }

    fn refund_row(&mut self, now: Timestamp, refund: &str, kind: &'static str, sign: i64) -> String {
        let (amount, currency) = (int_of(self.must(refund), "amount"), self.text(refund, "currency"));
        let amount = amount.saturating_mul(sign);
        self.row(now, &Row { kind, category: kind, source: Some(refund), amount, fee: 0, currency: &currency })
    }

    fn refund(&mut self, now: Timestamp, payment: &str, amount_minor: Option<i64>, metadata: Value, status: &str) -> String {
        let charge_id = self.charge_of(payment);
        let charge = self.must(&charge_id).clone();
        let (total, before) = (int_of(&charge, "amount"), int_of(&charge, "amount_refunded"));
        let amount = amount_minor.unwrap_or(total.saturating_sub(before));
        assert!(amount > 0 && amount <= total.saturating_sub(before), "a refund of {amount} of {charge_id}, which has less left");
        let metadata = if metadata.is_object() { metadata } else { json!({}) };
        let template = self.templates.refund.clone();
        let fields = json!({
            "amount": amount, "balance_transaction": null, "charge": charge_id, "currency": charge.get("currency"),
            "customer": charge.get("customer"), "metadata": metadata, "payment_intent": charge.get("payment_intent"),
            "payment_method": charge.get("payment_method"), "status": status,
        });
        let id = self.make(now, "re", &template, fields);
        if status == "succeeded" {
            let row = self.refund_row(now, &id, "refund", -1);
            self.set(&id, json!({"balance_transaction": row}));
        }
        let refunded = before.saturating_add(amount);
        self.set(&charge_id, json!({"amount_refunded": refunded, "refunded": refunded == total}));
        self.emit(now, "charge.refunded", &charge_id, Some(json!({"amount_refunded": before})));
        self.emit(now, "refund.created", &id, None);
        self.emit(now, "refund.updated", &id, Some(json!({"destination_details": null})));
        id
    }

    fn refund_becomes(&mut self, now: Timestamp, refund: &str, status: &str) {
        let (before, charge) = (self.text(refund, "status"), self.text(refund, "charge"));
        if status == "succeeded" {
            let row = self.refund_row(now, refund, "refund", -1);
            self.set(refund, json!({"balance_transaction": row}));
        } else if status == "failed" || status == "canceled" {
            let left = int_of(self.must(&charge), "amount_refunded").saturating_sub(int_of(self.must(refund), "amount"));
            self.set(&charge, json!({"amount_refunded": left, "refunded": false}));
            if before == "succeeded" {
                let row = self.refund_row(now, refund, "refund_failure", 1);
                self.set(refund, json!({"failure_balance_transaction": row}));
            }
            if status == "failed" {
                self.set(refund, json!({"failure_reason": "expired_or_canceled_card"}));
            }
        }
        self.set(refund, json!({"status": status}));
        self.emit(now, "refund.updated", refund, Some(json!({"status": before})));
        if status == "failed" {
            self.emit(now, "refund.failed", refund, None);
        }
    }

    fn dispute_row(&mut self, now: Timestamp, dispute: &str, amount: i64, fee: i64, category: &'static str) {
        let currency = self.text(dispute, "currency");
        let row = Row { kind: "adjustment", category, source: Some(dispute), amount, fee, currency: &currency };
        let row = self.row(now, &row);
        let mut rows = self.must(dispute).get("balance_transactions").and_then(Value::as_array).cloned().unwrap_or_default();
        rows.push(self.must(&row).clone());
        self.set(dispute, json!({"balance_transactions": rows}));
    }

    fn dispute(&mut self, now: Timestamp, payment: &str, amount_minor: Option<i64>) -> String {
        let charge_id = self.charge_of(payment);
        let charge = self.must(&charge_id).clone();
        let amount = amount_minor.unwrap_or_else(|| int_of(&charge, "amount"));
        let template = self.templates.dispute.clone();
        let fields = json!({
            "amount": amount, "balance_transactions": [], "charge": charge_id, "currency": charge.get("currency"), "metadata": {},
            "payment_intent": charge.get("payment_intent"), "status": "needs_response",
        });
        let id = self.make(now, "du", &template, fields);
        self.set(&charge_id, json!({"disputed": true}));
        self.emit(now, "charge.dispute.created", &id, None);
        self.dispute_row(now, &id, amount.saturating_neg(), 1500, "dispute");
        self.emit(now, "charge.dispute.funds_withdrawn", &id, None);
        id
    }

    fn payout(&mut self, now: Timestamp, new: &NewPayout) -> String {
        let free = |s: &Stripe| -> Vec<String> {
            let open = s.all("txn").filter(|o| o.payout.is_none() && text_of(&o.json, "type") != "payout");
            open.map(|o| text_of(&o.json, "id").to_owned()).collect()
        };
        let mut rows = new.rows.clone().unwrap_or_else(|| free(self));
        let currency = rows.first().map_or_else(|| "usd".to_owned(), |r| self.text(r, "currency"));
        if new.extra_fee_minor != 0 {
            let amount = new.extra_fee_minor.saturating_neg();
            rows.push(
                self.row(now, &Row { kind: "stripe_fee", category: "fee", source: None, amount, fee: 0, currency: &currency }),
            );
        }
        let net = rows.iter().fold(new.drift_minor, |sum, r| sum.saturating_add(int_of(self.must(r), "net")));
        let (template, today) =
            (self.templates.payout.clone(), now.as_second().saturating_sub(now.as_second().rem_euclid(DAY_S)));
        let reconciliation = match (new.manual, new.in_progress) {
            (true, _) => "not_applicable",
            (false, true) => "in_progress",
            (false, false) => "completed",
        };
        let fields = json!({
            "amount": net, "arrival_date": new.arrival_date_s.unwrap_or(today), "automatic": !new.manual, "currency": currency,
            "metadata": {}, "reconciliation_status": reconciliation, "status": "paid",
        });
        let id = self.make(now, "po", &template, fields);
        let amount = net.saturating_neg();
        let own =
            self.row(now, &Row { kind: "payout", category: "payout", source: Some(&id), amount, fee: 0, currency: &currency });
        self.set(&id, json!({"balance_transaction": own}));
        for row in rows.iter().chain([&own]) {
            self.set(row, json!({"status": "available"}));
            if let Some(row) = self.objects.get_mut(row) {
                row.payout = Some(id.clone());
            }
        }
        if !new.silent {
            self.emit(now, "payout.paid", &id, None);
            if reconciliation == "completed" {
                self.emit(now, "payout.reconciliation_completed", &id, None);
            }
        }
        id
    }

    fn own(&mut self, now: Timestamp, intent: &str, owner: &'static str) {
        let about = self.must(intent).clone();
        let (amount, currency, customer) = (about.get("amount"), about.get("currency"), about.get("customer"));
        if owner == "checkout" {
            let template = self.templates.session.clone();
            let fields = json!({
                "amount_subtotal": amount, "amount_total": amount, "client_reference_id": null, "currency": currency, "customer": customer,
                "metadata": {}, "payment_intent": intent, "payment_status": "unpaid", "status": "open",
            });
            self.make(now, "cs", &template, fields);
        } else {
            let invoice = format!("in_3Vs{:08}", self.made);
            let fields = json!({
                "object": "invoice_payment", "amount_paid": null, "amount_requested": amount, "currency": currency, "invoice": invoice,
                "is_default": true, "payment": {"type": "payment_intent", "payment_intent": intent}, "status": "open",
            });
            self.make(now, "inpay", &Value::Null, fields);
        }
        if let Some(object) = self.objects.get_mut(intent) {
            object.owner = Some(owner);
        }
    }
}

impl Default for StripeStandin {
    /// With [`super::DEFAULT_KEY`], in test mode.
    fn default() -> Self {
        StripeStandin::new(super::DEFAULT_KEY, false)
    }
}

impl StripeStandin {
    /// An empty account that accepts this secret key.
    #[must_use]
    pub fn new(key: &str, livemode: bool) -> StripeStandin {
        Standin::over(Stripe::new(key, livemode))
    }

    /// The secret key that it accepts.
    #[must_use]
    pub fn key(&self) -> String {
        self.with(|s, _| s.key.clone())
    }

    /// A customer with one card. Nothing is emitted; see [`StripeStandin::announce`].
    pub fn customer(&self, email: Option<&str>, name: Option<&str>) -> String {
        self.with(|s, d| {
            let template = s.templates.customer.clone();
            let id = s.make(d.now(), "cus", &template, json!({"email": email, "name": name, "phone": null, "metadata": {}}));
            s.card(d.now(), &id);
            id
        })
    }

    /// The same under an id that the caller chooses (`cus_...`).
    pub fn customer_as(&self, id: &str, email: Option<&str>, name: Option<&str>) -> String {
        self.with(|s, d| {
            let template = s.templates.customer.clone();
            let fields = json!({"email": email, "name": name, "phone": null, "metadata": {}});
            s.make_as(d.now(), "cus", id.to_owned(), &template, fields);
            s.card(d.now(), id);
            id.to_owned()
        })
    }

    /// Stripe tells of a customer: customer.created.
    pub fn announce(&self, customer: &str) {
        self.with(|s, d| s.emit(d.now(), "customer.created", customer, None));
    }

    /// customer.updated with what these fields were before.
    pub fn update_customer(&self, customer: &str, fields: &Value) {
        self.with(|s, d| {
            let before = s.must(customer).clone();
            let names = fields.as_object().into_iter().flatten().map(|(name, _)| name);
            let previous: Map<String, Value> =
                names.map(|name| (name.clone(), before.get(name).cloned().unwrap_or_default())).collect();
            s.set(customer, fields.clone());
            s.emit(d.now(), "customer.updated", customer, Some(Value::Object(previous)));
        });
    }

    /// customer.deleted; afterwards GET says `deleted: true` and lists do not have it.
    pub fn delete_customer(&self, customer: &str) {
        self.with(|s, d| {
            s.emit(d.now(), "customer.deleted", customer, None);
            if let Some(object) = s.objects.get_mut(customer) {
                object.deleted = true;
                object.json = json!({"id": customer, "object": "customer", "deleted": true});
            }
        });
    }

    /// A new card, the customer's default from now on: payment_method.attached.
    pub fn card(&self, customer: &str) -> String {
        self.with(|s, d| {
            let card = s.card(d.now(), customer);
            s.emit(d.now(), "payment_method.attached", &card, None);
            card
        })
    }

    /// The customer's default card.
    #[must_use]
    pub fn card_of(&self, customer: &str) -> Option<String> {
        self.with(|s, _| s.default_card(Some(customer)))
    }

    /// The network renewed the card: payment_method.automatically_updated.
    pub fn renew(&self, card: &str) {
        self.with(|s, d| {
            let before = s.must(card).get("card").cloned().unwrap_or_default();
            let mut after = before.clone();
            crate::patch(&mut after, json!({"exp_year": int_of(&before, "exp_year").saturating_add(3), "last4": "0077"}));
            let previous = json!({"card": {"exp_year": before.get("exp_year"), "last4": before.get("last4")}});
            s.set(card, json!({"card": after}));
            s.emit(d.now(), "payment_method.automatically_updated", card, Some(previous));
        });
    }

    /// The card belongs to nobody any more: payment_method.detached.
    pub fn detach(&self, card: &str) {
        self.with(|s, d| {
            let before = s.must(card).get("customer").cloned();
            s.set(card, json!({"customer": null}));
            s.emit(d.now(), "payment_method.detached", card, Some(json!({"customer": before})));
        });
    }

    /// A PaymentIntent that nobody has confirmed yet; nothing is emitted.
    pub fn intent(&self, new: &NewPayment) -> String {
        self.with(|s, d| s.intent(d.now(), new))
    }

    /// A PaymentIntent that succeeds at once: charge.succeeded, then payment_intent.succeeded.
    pub fn pay(&self, new: &NewPayment) -> String {
        self.with(|s, d| {
            let id = s.intent(d.now(), new);
            let card = s.default_card(new.customer.as_deref());
            s.succeed(d.now(), &id, card.as_deref(), new.late_row);
            id
        })
    }

    /// A charge without a PaymentIntent: charge.succeeded. Answers the charge's id.
    pub fn pay_by_charge(&self, new: &NewPayment) -> String {
        self.with(|s, d| {
            let intent = s.intent(d.now(), new);
            let card = s.default_card(new.customer.as_deref());
            let charge = s.charge(d.now(), &intent, card.as_deref(), true);
            s.objects.remove(&intent);
            s.set(&charge, json!({"payment_intent": null}));
            s.settle_charge(d.now(), &charge);
            s.emit(d.now(), "charge.succeeded", &charge, None);
            charge
        })
    }

    /// A PaymentIntent whose first attempt is declined: payment_intent.payment_failed.
    pub fn fail(&self, new: &NewPayment, why: &Decline) -> String {
        self.with(|s, d| {
            let id = s.intent(d.now(), new);
            let card = s.default_card(new.customer.as_deref());
            s.decline(d.now(), &id, card.as_deref(), why);
            id
        })
    }

    /// One more attempt of the client's own on this PaymentIntent is declined.
    pub fn fail_again(&self, intent: &str, why: &Decline) {
        self.with(|s, d| {
            let card = s.default_card(Some(&s.text(intent, "customer")));
            s.decline(d.now(), intent, card.as_deref(), why);
        });
    }

    /// The client pays this PaymentIntent by himself.
    pub fn complete(&self, intent: &str) {
        self.with(|s, d| {
            assert_ne!(s.text(intent, "status"), "succeeded", "{intent} has succeeded; it does so once");
            let card = s.default_card(Some(&s.text(intent, "customer")));
            s.succeed(d.now(), intent, card.as_deref(), false);
        });
    }

    /// payment_intent.canceled.
    pub fn cancel(&self, intent: &str) {
        self.with(|s, d| {
            s.set(intent, json!({"status": "canceled", "canceled_at": d.now().as_second(), "cancellation_reason": "abandoned"}));
            s.emit(d.now(), "payment_intent.canceled", intent, None);
        });
    }

    /// This PaymentIntent belongs to a Checkout Session.
    pub fn owned_by_checkout(&self, intent: &str) {
        self.with(|s, d| s.own(d.now(), intent, "checkout"));
    }

    /// This PaymentIntent belongs to a Stripe invoice.
    pub fn owned_by_invoice(&self, intent: &str) {
        self.with(|s, d| s.own(d.now(), intent, "a Stripe invoice"));
    }

    /// The outcomes of the next confirms of this PaymentIntent, in order; after them every confirm succeeds.
    pub fn script(&self, intent: &str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.with(|s, _| s.script.insert(intent.to_owned(), outcomes.into_iter().collect()));
    }

    /// A refund of a PaymentIntent or charge; None: of all that is left. Emits charge.refunded (cumulative, without ids),
    /// refund.created and refund.updated (the same refund once more). `status`: `succeeded` or `pending`.
    pub fn refund(&self, payment: &str, amount_minor: Option<i64>, metadata: Value, status: &str) -> String {
        self.with(|s, d| s.refund(d.now(), payment, amount_minor, metadata, status))
    }

    /// A pending refund succeeds, or a refund fails and the money comes back: refund.updated (and refund.failed).
    pub fn refund_becomes(&self, refund: &str, status: &str) {
        self.with(|s, d| s.refund_becomes(d.now(), refund, status));
    }

    /// charge.dispute.created and charge.dispute.funds_withdrawn, with a fee of 15.00.
    pub fn dispute(&self, payment: &str) -> String {
        self.with(|s, d| s.dispute(d.now(), payment, None))
    }

    /// The same of a part of the payment, in minor units.
    pub fn dispute_part(&self, payment: &str, amount_minor: i64) -> String {
        self.with(|s, d| s.dispute(d.now(), payment, Some(amount_minor)))
    }

    /// A part of the disputed money is given back, in minor units: charge.dispute.funds_reinstated.
    pub fn reinstate_part(&self, dispute: &str, amount_minor: i64) {
        self.with(|s, d| {
            s.dispute_row(d.now(), dispute, amount_minor, 0, "dispute_reversal");
            s.emit(d.now(), "charge.dispute.funds_reinstated", dispute, None);
        });
    }

    /// charge.dispute.closed; when won, charge.dispute.funds_reinstated before it. The fee stays.
    pub fn close_dispute(&self, dispute: &str, won: bool) {
        self.with(|s, d| {
            s.set(dispute, json!({"status": if won { "won" } else { "lost" }}));
            if won {
                let amount = int_of(s.must(dispute), "amount");
                s.dispute_row(d.now(), dispute, amount, 0, "dispute_reversal");
                s.emit(d.now(), "charge.dispute.funds_reinstated", dispute, None);
            }
            s.emit(d.now(), "charge.dispute.closed", dispute, None);
        });
    }

    /// A payout: payout.paid, and payout.reconciliation_completed when Stripe can say what is in it.
    pub fn payout(&self, new: &NewPayout) -> String {
        self.with(|s, d| s.payout(d.now(), new))
    }

    /// Stripe has finished with a payout that was `in_progress`: payout.reconciliation_completed.
    pub fn reconciled(&self, payout: &str) {
        self.with(|s, d| {
            s.set(payout, json!({"reconciliation_status": "completed"}));
            s.emit(d.now(), "payout.reconciliation_completed", payout, None);
        });
    }

    /// The bank sent a payout back: payout.failed, and a row that returns the money to the balance.
    pub fn fail_payout(&self, payout: &str) {
        self.with(|s, d| {
            let (amount, currency) = (int_of(s.must(payout), "amount"), s.text(payout, "currency"));
            let (kind, category) = ("payout_failure", "payout_reversal");
            let row = s.row(d.now(), &Row { kind, category, source: Some(payout), amount, fee: 0, currency: &currency });
            let fields = json!({"failure_balance_transaction": row, "failure_code": "account_closed", "status": "failed"});
            s.set(payout, fields);
            s.emit(d.now(), "payout.failed", payout, None);
        });
    }

    /// The balance transactions of a payout without its own row, oldest first.
    #[must_use]
    pub fn rows_of(&self, payout: &str) -> Vec<Value> {
        self.with(|s, _| {
            let inside = s.all("txn").filter(|o| o.payout.as_deref() == Some(payout) && text_of(&o.json, "type") != "payout");
            inside.map(|o| o.json.clone()).collect()
        })
    }

    /// Every balance transaction, oldest first, with the payout that it is in.
    #[must_use]
    pub fn rows(&self) -> Vec<(Value, Option<String>)> {
        self.with(|s, _| s.all("txn").map(|o| (o.json.clone(), o.payout.clone())).collect())
    }

    /// The balance transaction of a payment's successful charge.
    #[must_use]
    pub fn row_of(&self, payment: &str) -> String {
        self.with(|s, _| s.text(&s.charge_of(payment), "balance_transaction"))
    }

    /// A row of the balance that no event tells of, in minor units of US dollars: `kind` is its type, `category` its
    /// reporting_category. Answers its id.
    pub fn balance_row(&self, kind: &'static str, category: &'static str, source: Option<&str>, amount_minor: i64) -> String {
        let row = Row { kind, category, source, amount: amount_minor, fee: 0, currency: "usd" };
        self.with(|s, d| s.row(d.now(), &row))
    }

    /// An object is gone, as if it had never been; nothing is emitted.
    pub fn forget(&self, id: &str) {
        self.with(|s, _| s.objects.remove(id));
    }

    /// An object as it is now.
    #[must_use]
    pub fn object(&self, id: &str) -> Option<Value> {
        self.with(|s, _| s.json(id).cloned())
    }

    /// Sets fields of an object; nothing is emitted.
    pub fn change(&self, id: &str, fields: Value) {
        self.with(|s, _| s.set(id, fields));
    }

    /// One more event about an object as it is now. Answers the event's id.
    pub fn emit(&self, event_type: &str, object_id: &str, previous: Option<Value>) -> String {
        self.with(|s, d| s.emit(d.now(), event_type, object_id, previous))
    }

    /// The events that nobody has acknowledged, oldest first.
    #[must_use]
    pub fn undelivered(&self) -> Vec<Value> {
        self.with(|s, _| s.all("evt").filter(|o| !o.delivered).map(|o| o.json.clone()).collect())
    }

    /// An event was acknowledged.
    pub fn mark_delivered(&self, event_id: &str) {
        self.with(|s, _| {
            if let Some(event) = s.objects.get_mut(event_id) {
                event.delivered = true;
            }
        });
    }

    /// All events about one object, oldest first.
    #[must_use]
    pub fn events_of(&self, object_id: &str) -> Vec<Value> {
        let about = |e: &Value| e.pointer("/data/object/id").and_then(Value::as_str) == Some(object_id);
        self.with(|s, _| s.all("evt").filter(|o| about(&o.json)).map(|o| o.json.clone()).collect())
    }

    /// Every confirm that was really executed, oldest first.
    #[must_use]
    pub fn confirms(&self) -> Vec<Confirm> {
        self.with(|s, _| s.confirms.clone())
    }

    /// How often money was really taken for this PaymentIntent.
    #[must_use]
    pub fn charged(&self, intent: &str) -> usize {
        let taken = |c: &Value| text_of(c, "payment_intent") == intent && text_of(c, "status") == "succeeded";
        self.with(|s, _| s.all("ch").filter(|o| taken(&o.json)).count())
    }

    /// Available and pending together, in minor units of US dollars.
    #[must_use]
    pub fn balance_minor(&self) -> i64 {
        let usd = |o: &&super::Object| text_of(&o.json, "currency") == "usd";
        self.with(|s, _| s.all("txn").filter(usd).fold(0, |sum: i64, o| sum.saturating_add(int_of(&o.json, "net"))))
    }
}
