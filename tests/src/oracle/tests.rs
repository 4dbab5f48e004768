//! One small scenario per rule, with the expectation written by hand.

use super::{LinkByEmail, OracleConfig, SameAmount, decide_all};
use serde_json::{Value, json};

/// 2026-11-02T16:00:00Z, ten in the morning in Chicago.
const T0: i64 = 1_793_635_200;
const HOUR: i64 = 3600;

/// Collects lines; times are seconds after [`T0`].
#[derive(Default)]
struct Story {
    config: OracleConfig,
    ehr: Vec<(i64, Value)>,
    events: Vec<Value>,
}

impl Story {
    fn record(mut self, at: i64, mut r: Value) -> Self {
        let observed = jiff::Timestamp::from_second(T0 + at).unwrap().to_string();
        r["observed_at"] = json!(observed);
        r["version"] = json!("1");
        self.ehr.push((at, r));
        self
    }

    fn client(self, at: i64, id: &str, more: Value) -> Self {
        let mut r = json!({"kind": "client", "id": id, "status": "active", "emails": [], "stripe_customer_ids": []});
        for (key, value) in more.as_object().unwrap() {
            r[key] = value.clone();
        }
        self.record(at, r)
    }

    /// An invoice issued on a day of October (or November from 32 on).
    fn invoice(self, at: i64, id: &str, client: &str, day: i64, open: i64) -> Self {
        self.invoice_with(at, id, client, day, open, json!({}))
    }

    fn invoice_with(self, at: i64, id: &str, client: &str, day: i64, open: i64, more: Value) -> Self {
        let date = if day > 31 { format!("2026-11-{:02}", day - 31) } else { format!("2026-10-{day:02}") };
        let mut r = json!({"kind": "invoice", "id": id, "client_id": client, "currency": "usd", "issued_on": date,
            "status": "open", "sessions": [{"id": format!("s_{id}"), "service_date": date}],
            "client_share": {"charge": open, "paid": 0, "written_off": 0, "open": open}});
        for (key, value) in more.as_object().unwrap() {
            r[key] = value.clone();
        }
        self.record(at, r)
    }

    fn ehr_payment(self, at: i64, id: &str, invoice: &str, amount: i64, reference: &str, reversed: i64) -> Self {
        let state = if reversed == amount { "reversed" } else { "posted" };
        self.record(
            at,
            json!({"kind": "payment", "id": id, "invoice_id": invoice, "portion": "client", "amount": amount,
                "currency": "usd", "method": "card", "reference": reference, "reversed": reversed, "state": state}),
        )
    }

    fn event(mut self, at: i64, kind: &str, object: Value) -> Self {
        let id = format!("evt_{}", self.events.len());
        self.events.push(json!({"id": id, "type": kind, "created": T0 + at, "livemode": true, "data": {"object": object}}));
        self
    }

    fn pay(self, at: i64, id: &str, customer: Option<&str>, amount: i64, metadata: Value) -> Self {
        let charge = id.replace("pi_", "ch_");
        self.event(
            at,
            "payment_intent.succeeded",
            json!({"id": id, "object": "payment_intent", "customer": customer, "amount": amount, "amount_received": amount,
                "currency": "usd", "latest_charge": charge, "metadata": metadata, "receipt_email": null}),
        )
    }

    fn refund(self, at: i64, id: &str, payment: &str, amount: i64, status: &str) -> Self {
        let kind = if status == "failed" { "refund.failed" } else { "refund.created" };
        self.event(
            at,
            kind,
            json!({"id": id, "object": "refund", "payment_intent": payment, "amount": amount, "status": status, "metadata": {}}),
        )
    }

    fn run(mut self) -> Vec<Value> {
        self.ehr.sort_by_key(|(at, _)| *at);
        let ehr: String = self.ehr.iter().map(|(_, r)| format!("{r}\n")).collect();
        let events: String = self.events.iter().map(|e| format!("{e}\n")).collect();
        decide_all(&self.config, &ehr, &events)
    }

    /// What the lines say, shortly: `outcome/rule/review inv=amount... rest`.
    fn short(self) -> Vec<String> {
        self.run()
            .iter()
            .map(|l| {
                let mut allocations: Vec<String> = l["allocations"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|a| format!("{}={} ", a["invoice"].as_str().unwrap(), a["amount"]))
                    .collect();
                allocations.sort();
                let review = l["review"].as_str().unwrap_or("-");
                format!("{}/{}/{review} {}{}", l["outcome"].as_str().unwrap(), l["rule"], allocations.concat(), l["unapplied"])
            })
            .collect()
    }

    fn expect(self, lines: &[&str]) {
        assert_eq!(self.short(), lines);
    }
}

/// c1, linked to cus_1.
fn one_client() -> Story {
    Story::default().client(-100, "c1", json!({"stripe_customer_ids": ["cus_1"]}))
}

/// A guarantor g (cus_g) and his dependents d1 and d2.
fn family() -> Story {
    Story::default()
        .client(-100, "g", json!({"stripe_customer_ids": ["cus_g"]}))
        .client(-100, "d1", json!({"guarantor_id": "g"}))
        .client(-100, "d2", json!({"guarantor_id": "g"}))
}

#[test]
fn rule_1_a_payment_is_decided_once_and_the_first_amount_stands() {
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .invoice(-50, "b", "c1", 2, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .pay(1, "pi_1", Some("cus_1"), 4200, json!({}))
        .pay(2, "pi_1", Some("cus_1"), 9900, json!({}))
        .expect(&["matched/6/- a=4200 0"]);
}

#[test]
fn the_whole_line_is_what_the_contract_says() {
    let lines = one_client().invoice(-50, "a", "c1", 1, 4200).pay(0, "pi_1", Some("cus_1"), 4200, json!({})).run();
    assert_eq!(
        lines,
        [json!({"payment": "pi_1", "event": "evt_0", "customer": "cus_1", "amount": 4200, "currency": "usd",
            "outcome": "matched", "rule": 5, "allocations": [{"invoice": "a", "amount": 4200}], "unapplied": 0, "review": null})]
    );
}

#[test]
fn the_other_livemode_is_ignored() {
    let mut story = one_client().pay(0, "pi_1", Some("cus_1"), 4200, json!({}));
    story.events[0]["livemode"] = json!(false);
    story.expect(&["ignored/null/- 0"]);
}

#[test]
fn rule_2_another_currency_is_asked() {
    let euro = json!({"currency": "eur"});
    one_client()
        .invoice_with(-50, "a", "c1", 1, 4200, euro)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .pay(1, "pi_2", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
        .expect(&["review/2/currency 4200", "review/2/currency 4200"]);
}

#[test]
fn rule_3_a_named_invoice_is_paid_whole_in_part_or_overpaid() {
    let named = json!({"invoice_id": " a "});
    one_client()
        .invoice(-50, "a", "c1", 1, 10000)
        .pay(0, "pi_1", Some("cus_1"), 4000, named.clone())
        .pay(1, "pi_2", Some("cus_1"), 6500, named.clone())
        .pay(2, "pi_3", Some("cus_1"), 1000, named)
        .expect(&["partial/3/- a=4000 0", "review/3/overpaid a=6000 500", "review/3/already_settled 1000"]);
}

#[test]
fn rule_3_conflicts_void_and_foreign_invoices_are_asked() {
    one_client()
        .client(-100, "c2", json!({}))
        .client(-100, "gone", json!({"status": "deleted"}))
        .invoice(-50, "a", "c1", 1, 4200)
        .invoice(-50, "b", "c1", 1, 4200)
        .invoice(-50, "x", "c2", 1, 4200)
        .invoice(-50, "y", "gone", 1, 4200)
        .invoice_with(-50, "v", "c1", 1, 4200, json!({"status": "void"}))
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({"invoice_id": "a", "session_id": "s_b"}))
        .pay(1, "pi_2", Some("cus_1"), 4200, json!({"invoice_id": "x"}))
        .pay(2, "pi_3", Some("cus_1"), 4200, json!({"invoice_id": "v"}))
        .pay(3, "pi_4", Some("cus_1"), 4200, json!({"session_id": "s_v"}))
        .pay(4, "pi_5", Some("cus_9"), 4200, json!({"invoice_id": "y"}))
        .pay(5, "pi_6", Some("cus_9"), 4200, json!({"invoice_id": "x"}))
        .expect(&[
            "review/3/reference_conflict 4200",
            "review/3/reference_conflict 4200",
            "review/3/void_invoice 4200",
            "review/3/void_invoice 4200",
            "review/3/reference_conflict 4200",
            "matched/3/- x=4200 0",
        ]);
}

#[test]
fn rule_3_an_unknown_reference_waits_for_that_very_record() {
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({"invoice_id": "late"}))
        .pay(1, "pi_2", Some("cus_1"), 4200, json!({"invoice_id": "never"}))
        .invoice(HOUR, "late", "c1", 3, 4200)
        .expect(&["matched/3/- late=4200 0", "review/3/reference_conflict 4200"]);
}

#[test]
fn rule_3_a_session_with_several_live_invoices_limits_the_candidates() {
    let of_s = json!({"sessions": [{"id": "s", "service_date": "2026-10-01"}]});
    let void = json!({"sessions": [{"id": "s", "service_date": "2026-10-01"}], "status": "void"});
    one_client()
        .invoice_with(-50, "a", "c1", 1, 3000, of_s.clone())
        .invoice_with(-50, "b", "c1", 1, 2000, of_s)
        .invoice_with(-50, "v", "c1", 1, 2000, void)
        .invoice(-50, "z", "c1", 1, 5000)
        .pay(0, "pi_1", Some("cus_1"), 2000, json!({"session_id": "s"}))
        .pay(1, "pi_2", Some("cus_1"), 3000, json!({"session_id": "s"}))
        .pay(2, "pi_3", Some("cus_1"), 5000, json!({"session_id": "s"}))
        .expect(&["matched/5/- b=2000 0", "matched/5/- a=3000 0", "review/3/already_settled 5000"]);
}

#[test]
fn rule_4_a_prepayment_is_credit_and_nothing_is_credit_of_nothing() {
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({"kind": "prepayment"}))
        .pay(1, "pi_2", None, 0, json!({}))
        .expect(&["credit/4/- 4200", "credit/4/- 0"]);
}

#[test]
fn rule_5_exactly_one_has_the_amount() {
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .invoice(-50, "b", "c1", 2, 5000)
        .pay(0, "pi_1", Some("cus_1"), 5000, json!({}))
        .expect(&["matched/5/- b=5000 0"]);
}

#[test]
fn rule_6_the_day_then_the_oldest_and_siblings_of_one_age_are_asked() {
    // T0 is 2 November in Chicago; day 33 is 2 November.
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .invoice(-50, "b", "c1", 33, 4200)
        .invoice(-50, "c", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .pay(1, "pi_2", Some("cus_1"), 4200, json!({}))
        .expect(&["matched/6/- b=4200 0", "matched/6/- a=4200 0"]);
    family()
        .invoice(-50, "a", "d1", 1, 4200)
        .invoice(-50, "b", "d2", 1, 4200)
        .pay(0, "pi_1", Some("cus_g"), 4200, json!({}))
        .expect(&["review/6/ambiguous 4200"]);
    let mut asks = one_client();
    asks.config.same_amount = SameAmount::Review;
    asks.invoice(-50, "a", "c1", 1, 4200)
        .invoice(-50, "b", "c1", 2, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .expect(&["review/6/ambiguous 4200"]);
}

#[test]
fn rule_7_pays_the_whole_balance_of_up_to_40() {
    let many = |n: i64| (0..n).fold(one_client(), |s, k| s.invoice(-50, &format!("i{k:02}"), "c1", 1, 100 + k));
    let whole = |n: i64| (0..n).map(|k| 100 + k).sum::<i64>();
    let line = many(40).pay(0, "pi_1", Some("cus_1"), whole(40), json!({})).run();
    assert_eq!((line[0]["rule"].as_i64(), line[0]["allocations"].as_array().unwrap().len()), (Some(7), 40));
    let all = whole(41);
    many(41).pay(0, "pi_1", Some("cus_1"), all, json!({})).expect(&[&format!("review/7/ambiguous {all}")]);
}

#[test]
fn rule_8_one_subset_and_the_oldest_of_equals() {
    let story = |same| {
        let mut s = one_client();
        s.config.same_amount = same;
        s.invoice(-50, "a", "c1", 1, 4200)
            .invoice(-50, "b", "c1", 2, 4200)
            .invoice(-50, "c", "c1", 3, 1000)
            .invoice(-50, "d", "c1", 4, 9000)
            .pay(0, "pi_1", Some("cus_1"), 5200, json!({}))
    };
    story(SameAmount::OldestFirst).expect(&["split/8/- a=4200 c=1000 0"]);
    story(SameAmount::Review).expect(&["review/9/ambiguous 5200"]);
}

#[test]
fn rule_8_above_24_candidates_nothing_is_searched() {
    let many = (0..25).fold(one_client(), |s, k| s.invoice(-50, &format!("i{k:02}"), "c1", 1, 100 + k));
    many.pay(0, "pi_1", Some("cus_1"), 201, json!({}))
        .pay(1, "pi_2", Some("cus_1"), 99999, json!({}))
        .expect(&["review/8/ambiguous 201", "review/12/overpaid 99999"]);
}

#[test]
fn rule_9_several_subsets_are_asked() {
    family()
        .invoice(-50, "a", "d1", 1, 4200)
        .invoice(-50, "b", "d2", 2, 4200)
        .invoice(-50, "c", "g", 3, 1000)
        .pay(0, "pi_1", Some("cus_g"), 5200, json!({}))
        .expect(&["review/9/ambiguous 5200"]);
}

#[test]
fn rules_10_11_and_12_less_and_more_than_what_is_open() {
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 2000, json!({}))
        .expect(&["partial/10/- a=2000 0"]);
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4300, json!({}))
        .expect(&["review/12/overpaid 4300"]);
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .invoice(-50, "b", "c1", 2, 4200)
        .pay(0, "pi_1", Some("cus_1"), 2000, json!({}))
        .expect(&["review/11/partial_unreferenced 2000"]);
}

#[test]
fn rule_13_waits_for_the_invoice_then_asks() {
    one_client().pay(0, "pi_1", Some("cus_1"), 4200, json!({})).expect(&["review/13/no_invoice 4200"]);
    one_client()
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .invoice(48 * HOUR, "a", "c1", 1, 4200)
        .expect(&["matched/5/- a=4200 0"]);
    one_client()
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .invoice(48 * HOUR + 1, "a", "c1", 1, 4200)
        .expect(&["review/13/no_invoice 4200"]);
}

#[test]
fn a_parked_payment_leaves_rule_10_and_questions_to_the_deadline() {
    // The invoice of 9000 alone would be rule 10; the one that fits comes an hour later.
    one_client()
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .invoice(HOUR, "big", "c1", 1, 9000)
        .invoice(2 * HOUR, "fits", "c1", 2, 4200)
        .expect(&["matched/5/- fits=4200 0"]);
    one_client()
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .invoice(HOUR, "big", "c1", 1, 9000)
        .expect(&["partial/10/- big=4200 0"]);
}

#[test]
fn third_party_billers_are_asked_at_once_and_paid_by_reference_only() {
    let client = json!({"stripe_customer_ids": ["cus_1"], "coverage": "third_party_biller"});
    Story::default()
        .client(-100, "c1", client)
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .invoice(HOUR, "b", "c1", 1, 4200)
        .pay(2 * HOUR, "pi_2", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
        .expect(&["review/13/no_invoice 4200", "matched/3/- a=4200 0"]);
}

fn customer(story: Story, at: i64, id: &str, email: &str) -> Story {
    story.event(at, "customer.created", json!({"id": id, "object": "customer", "email": email}))
}

#[test]
fn rule_14_links_by_an_email_that_is_only_his() {
    let with_email = |ids: Value| {
        Story::default()
            .client(-100, "c1", json!({"emails": [" A@x.test"], "stripe_customer_ids": ids}))
            .invoice(-50, "a", "c1", 1, 4200)
    };
    customer(with_email(json!([])), -10, "cus_1", "a@X.test ")
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .expect(&["matched/5/- a=4200 0"]);
    // The client has another customer; another customer has the e-mail; the rule is off.
    customer(with_email(json!(["cus_2"])), -10, "cus_1", "a@x.test")
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .expect(&["review/15/unknown_client 4200"]);
    let shared = customer(with_email(json!([])), -10, "cus_1", "a@x.test");
    customer(shared, -9, "cus_2", "a@x.test")
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .expect(&["review/15/unknown_client 4200"]);
    let mut off = customer(with_email(json!([])), -10, "cus_1", "a@x.test");
    off.config.link_by_email = LinkByEmail::Never;
    off.pay(0, "pi_1", Some("cus_1"), 4200, json!({})).expect(&["review/15/unknown_client 4200"]);
}

#[test]
fn rule_14_a_parked_payment_is_decided_when_its_customers_email_comes() {
    let story = Story::default().client(-100, "c1", json!({"emails": ["a@x.test"]})).invoice(-50, "a", "c1", 1, 4200).pay(
        0,
        "pi_1",
        Some("cus_1"),
        4200,
        json!({}),
    );
    customer(story, 60, "cus_1", "a@x.test").expect(&["matched/5/- a=4200 0"]);
}

#[test]
fn rule_14_guests_families_and_siblings() {
    let guest = |s: Story, email: &str| {
        let mut s = s.pay(0, "pi_1", None, 4200, json!({}));
        s.events.last_mut().unwrap()["data"]["object"]["receipt_email"] = json!(email);
        s
    };
    // A guest is matched even if the client has a customer, and nothing is linked.
    let known = Story::default()
        .client(-100, "c1", json!({"emails": ["a@x.test"], "stripe_customer_ids": ["cus_1"]}))
        .invoice(-50, "a", "c1", 1, 4200);
    guest(known, "A@x.test").expect(&["matched/5/- a=4200 0"]);
    // A guarantor and his dependent with one e-mail count as the guarantor.
    let one_mail = json!({"emails": ["f@x.test"]});
    let with_g = Story::default()
        .client(-100, "g", one_mail.clone())
        .client(-100, "d1", json!({"emails": ["f@x.test"], "guarantor_id": "g"}))
        .invoice(-50, "a", "d1", 1, 4200);
    guest(with_g, "f@x.test").expect(&["matched/5/- a=4200 0"]);
    // Siblings without the guarantor's chart are two clients.
    let siblings =
        Story::default().client(-100, "d1", one_mail.clone()).client(-100, "d2", one_mail).invoice(-50, "a", "d1", 1, 4200);
    guest(siblings, "f@x.test").expect(&["review/15/unknown_client 4200"]);
}

#[test]
fn rule_15_unknown_clients_wait_unless_they_are_guests_without_a_name() {
    Story::default()
        .client(-100, "c1", json!({}))
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .pay(1, "pi_2", None, 4200, json!({"client_id": "c9"}))
        .pay(2, "pi_3", None, 4200, json!({}))
        .client(60, "c1", json!({"stripe_customer_ids": ["cus_1"]}))
        .client(60, "c9", json!({}))
        .invoice(90, "b", "c9", 1, 4200)
        .expect(&["matched/5/- a=4200 0", "matched/5/- b=4200 0", "review/15/unknown_client 4200"]);
}

#[test]
fn rule_15_customer_and_name_must_agree() {
    let story = family()
        .client(-100, "other", json!({"stripe_customer_ids": ["cus_o"]}))
        .invoice(-50, "a", "d1", 1, 4200)
        .invoice(-50, "b", "g", 2, 4200);
    story
        .pay(0, "pi_1", Some("cus_o"), 4200, json!({"client_id": "g"}))
        .pay(1, "pi_2", Some("cus_g"), 4200, json!({"client_id": "nobody"}))
        .pay(2, "pi_3", Some("cus_g"), 4200, json!({"client_id": "d1"}))
        .pay(3, "pi_4", Some("cus_g"), 4200, json!({"client_id": "g", "invoice_id": "b"}))
        .expect(&[
            "review/15/client_conflict 4200",
            "review/15/client_conflict 4200",
            "matched/5/- a=4200 0",
            "matched/3/- b=4200 0",
        ]);
}

#[test]
fn a_named_guarantor_beside_a_dependents_invoice_agrees() {
    Story::default()
        .client(-100, "g", json!({}))
        .client(-100, "d1", json!({"guarantor_id": "g", "stripe_customer_ids": ["cus_d"]}))
        .invoice(-50, "a", "d1", 1, 4200)
        .invoice(-50, "b", "g", 1, 4200)
        .pay(0, "pi_1", Some("cus_d"), 4200, json!({"client_id": "g", "invoice_id": "b"}))
        .pay(1, "pi_2", Some("cus_d"), 4200, json!({"client_id": "g", "invoice_id": "a"}))
        .expect(&["review/15/client_conflict 4200", "matched/3/- a=4200 0"]);
}

#[test]
fn strangers_need_a_reference_or_a_name() {
    Story::default()
        .client(-100, "c1", json!({"stripe_customer_ids": ["cus_1"]}))
        .client(-100, "c2", json!({"stripe_customer_ids": ["cus_1"]}))
        .invoice(-50, "a", "c1", 1, 4200)
        .invoice(-50, "b", "c2", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .pay(1, "pi_2", Some("cus_1"), 4200, json!({"client_id": "c2"}))
        .pay(2, "pi_3", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
        .expect(&["review/15/ambiguous 4200", "matched/5/- b=4200 0", "matched/3/- a=4200 0"]);
}

#[test]
fn rule_16_what_the_ehr_already_holds_is_linked() {
    let paid = |open: i64| json!({"client_share": {"charge": 10000, "paid": 10000 - open, "written_off": 0, "open": open}});
    // Whole, then in part, then less than the money; the clients need not be known.
    one_client()
        .ehr_payment(-20, "e1", "a", 10000, "ch_1", 0)
        .invoice_with(-20, "a", "c1", 1, 10000, paid(0))
        .ehr_payment(-20, "e2", "b", 4000, "pi_2", 0)
        .invoice_with(-20, "b", "c1", 1, 10000, paid(6000))
        .ehr_payment(-20, "e3", "c", 5000, "pi_3", 1000)
        .invoice_with(-20, "c", "c1", 1, 10000, paid(6000))
        .pay(0, "pi_1", Some("cus_9"), 10000, json!({}))
        .pay(1, "pi_2", Some("cus_9"), 4000, json!({}))
        .pay(2, "pi_3", Some("cus_9"), 5000, json!({}))
        .expect(&["matched/16/- a=10000 0", "partial/16/- b=4000 0", "review/16/overpaid c=4000 1000"]);
}

#[test]
fn a_typed_in_payment_shows_our_allocation_and_cash_reduces_the_open() {
    let version = |paid: i64| json!({"client_share": {"charge": 10000, "paid": paid, "written_off": 0, "open": 10000 - paid}});
    let story = |reference: &str, at: i64| {
        one_client()
            .invoice(-50, "a", "c1", 1, 10000)
            .pay(0, "pi_1", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
            .ehr_payment(at, "e1", "a", 4200, reference, 0)
            .invoice_with(at, "a", "c1", 1, 10000, version(4200))
            .pay(HOUR, "pi_2", Some("cus_1"), 5800, json!({}))
    };
    story("", 60).expect(&["partial/3/- a=4200 0", "matched/5/- a=5800 0"]);
    story("ch_1", 60).expect(&["partial/3/- a=4200 0", "matched/5/- a=5800 0"]);
    // Another payment's id, and one that was there before: they reduce the open by themselves.
    story("pi_7", 60).expect(&["partial/3/- a=4200 0", "review/12/overpaid 5800"]);
    story("", -1).expect(&["partial/3/- a=4200 0", "review/12/overpaid 5800"]);
}

#[test]
fn a_record_without_its_version_shows_nothing_and_a_version_without_records_does() {
    let paid = json!({"client_share": {"charge": 10000, "paid": 4200, "written_off": 0, "open": 5800}});
    let story = || one_client().invoice(-50, "a", "c1", 1, 10000).pay(0, "pi_1", Some("cus_1"), 4200, json!({"invoice_id": "a"}));
    story()
        .ehr_payment(60, "e1", "a", 4200, "pi_1", 0)
        .pay(HOUR, "pi_2", Some("cus_1"), 5800, json!({}))
        .expect(&["partial/3/- a=4200 0", "matched/5/- a=5800 0"]);
    story()
        .invoice_with(60, "a", "c1", 1, 10000, paid)
        .pay(HOUR, "pi_2", Some("cus_1"), 5800, json!({}))
        .expect(&["partial/3/- a=4200 0", "matched/5/- a=5800 0"]);
}

#[test]
fn a_refund_reopens_for_rule_3_only_and_changes_no_line() {
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .refund(10, "re_1", "pi_1", 4200, "succeeded")
        .pay(20, "pi_2", Some("cus_1"), 4200, json!({}))
        .pay(30, "pi_3", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
        .expect(&["matched/5/- a=4200 0", "review/13/no_invoice 4200", "matched/3/- a=4200 0"]);
}

#[test]
fn a_refund_of_a_parked_payment_reduces_what_is_decided() {
    let story = |amount: i64| {
        one_client()
            .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
            .refund(10, "re_1", "pi_1", amount, "succeeded")
            .invoice(HOUR, "a", "c1", 1, 3000)
    };
    story(1200).expect(&["matched/5/- a=3000 0"]);
    story(4200).expect(&["credit/4/- 0"]);
    // Failed again before the deadline: the whole is there to be decided.
    story(1200).refund(20, "re_1", "pi_1", 1200, "failed").expect(&["review/12/overpaid 4200"]);
}

#[test]
fn a_refund_before_its_payment_waits_for_the_decision() {
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .refund(-10, "re_1", "pi_1", 4200, "succeeded")
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .pay(1, "pi_2", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
        .expect(&["matched/5/- a=4200 0", "matched/3/- a=4200 0"]);
}

#[test]
fn a_reinstated_dispute_makes_the_invoice_a_candidate_again() {
    let dispute = |rows: &[i64]| {
        let rows: Vec<Value> = rows.iter().map(|a| json!({"amount": a})).collect();
        json!({"id": "du_1", "object": "dispute", "payment_intent": "pi_1", "amount": 4200, "balance_transactions": rows})
    };
    let story = || {
        one_client().invoice(-50, "a", "c1", 1, 4200).pay(0, "pi_1", Some("cus_1"), 4200, json!({})).event(
            10,
            "charge.dispute.funds_withdrawn",
            dispute(&[-4200]),
        )
    };
    story().pay(20, "pi_2", Some("cus_1"), 4200, json!({})).expect(&["matched/5/- a=4200 0", "review/13/no_invoice 4200"]);
    story()
        .event(15, "charge.dispute.funds_reinstated", dispute(&[-4200, 4200]))
        .pay(20, "pi_2", Some("cus_1"), 4200, json!({}))
        .expect(&["matched/5/- a=4200 0", "matched/5/- a=4200 0"]);
}

#[test]
fn a_charge_alone_decides_after_an_hour_and_the_intent_within_it() {
    let charge = |intent: Option<&str>| {
        json!({"id": "ch_1", "object": "charge", "payment_intent": intent, "customer": "cus_1", "amount": 4200,
            "amount_captured": 4200, "currency": "usd", "metadata": {}})
    };
    let story = |intent| one_client().invoice(-50, "a", "c1", 1, 4200).event(0, "charge.succeeded", charge(intent));
    let line = |s: Story| {
        let lines = s.run();
        assert_eq!(lines.len(), 1);
        (lines[0]["payment"].as_str().unwrap().to_owned(), lines[0]["event"].as_str().unwrap().to_owned())
    };
    assert_eq!(line(story(None)), ("ch_1".to_owned(), "evt_0".to_owned()));
    assert_eq!(line(story(Some("pi_1"))), ("pi_1".to_owned(), "evt_0".to_owned()));
    let within = story(Some("pi_1")).pay(HOUR - 1, "pi_1", Some("cus_1"), 4200, json!({}));
    assert_eq!(line(within), ("pi_1".to_owned(), "evt_1".to_owned()));
    let after = story(Some("pi_1")).pay(HOUR + 1, "pi_1", Some("cus_1"), 4200, json!({}));
    assert_eq!(line(after), ("pi_1".to_owned(), "evt_0".to_owned()));
}

#[test]
fn a_charge_lowered_by_adjudication_becomes_credit_and_takes_a_refund() {
    let share = |charge: i64| json!({"client_share": {"charge": charge, "paid": 0, "written_off": 0, "open": charge}});
    // 4200 applied, 3000 charged: 1200 is credit. A refund of 1200 takes that and re-opens nothing; raised again, 1200 are open.
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .invoice_with(10, "a", "c1", 1, 3000, share(3000))
        .refund(20, "re_1", "pi_1", 1200, "succeeded")
        .invoice_with(30, "a", "c1", 1, 4200, share(4200))
        .pay(40, "pi_2", Some("cus_1"), 1200, json!({}))
        .expect(&["matched/5/- a=4200 0", "matched/5/- a=1200 0"]);
}

#[test]
fn records_of_one_second_come_before_events_and_parked_payments_before_new_ones() {
    one_client()
        .pay(0, "pi_1", Some("cus_1"), 4200, json!({}))
        .pay(60, "pi_2", Some("cus_1"), 4200, json!({}))
        .invoice(60, "a", "c1", 1, 4200)
        .expect(&["matched/5/- a=4200 0", "review/13/no_invoice 4200"]);
}

#[test]
fn a_refund_takes_the_named_the_equal_or_the_whole_and_else_a_person_splits_it() {
    // a and b are paid by one payment; whatever is re-opened can be paid again by reference only.
    let after = |amount: i64, named: Value| {
        let refund = json!({"id": "re_1", "object": "refund", "payment_intent": "pi_1", "amount": amount,
            "status": "succeeded", "metadata": named});
        let lines = one_client()
            .invoice(-50, "a", "c1", 1, 4200)
            .invoice(-50, "b", "c1", 2, 3000)
            .pay(0, "pi_1", Some("cus_1"), 7200, json!({}))
            .event(10, "refund.created", refund)
            .pay(20, "pi_2", Some("cus_1"), 9000, json!({"invoice_id": "a"}))
            .pay(30, "pi_3", Some("cus_1"), 9000, json!({"invoice_id": "b"}))
            .run();
        [&lines[1], &lines[2]].map(|l| l["allocations"][0]["amount"].as_i64().unwrap_or(0))
    };
    assert_eq!(after(4200, json!({})), [4200, 0]);
    assert_eq!(after(3000, json!({})), [0, 3000]);
    assert_eq!(after(7200, json!({})), [4200, 3000]);
    assert_eq!(after(1000, json!({})), [0, 0]);
    assert_eq!(after(1000, json!({"invoice_id": "a"})), [1000, 0]);
    assert_eq!(after(3000, json!({"invoice_id": "elsewhere"})), [0, 3000]);
}

#[test]
fn a_refund_takes_the_unapplied_part_first() {
    one_client()
        .invoice(-50, "a", "c1", 1, 4200)
        .pay(0, "pi_1", Some("cus_1"), 5000, json!({"invoice_id": "a"}))
        .refund(10, "re_1", "pi_1", 800, "succeeded")
        .pay(20, "pi_2", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
        .refund(30, "re_2", "pi_1", 200, "succeeded")
        .pay(40, "pi_3", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
        .expect(&["review/3/overpaid a=4200 800", "review/3/already_settled 4200", "review/3/overpaid a=200 4000"]);
}

#[test]
fn a_reversal_is_shown_when_the_ehr_takes_its_payment_back() {
    let paid = |paid: i64| json!({"client_share": {"charge": 10000, "paid": paid, "written_off": 0, "open": 10000 - paid}});
    let story = || {
        one_client()
            .invoice(-50, "a", "c1", 1, 10000)
            .pay(0, "pi_1", Some("cus_1"), 4200, json!({"invoice_id": "a"}))
            .ehr_payment(10, "e1", "a", 4200, "", 0)
            .invoice_with(10, "a", "c1", 1, 10000, paid(4200))
            .refund(20, "re_1", "pi_1", 4200, "succeeded")
    };
    let whole = |s: Story| s.pay(60, "pi_2", Some("cus_1"), 20000, json!({"invoice_id": "a"})).short()[1].clone();
    // Not shown yet: 5800 + 4200. The record alone, then the version, too.
    assert_eq!(whole(story()), "review/3/overpaid a=10000 10000");
    assert_eq!(whole(story().ehr_payment(30, "e1", "a", 4200, "", 4200)), "review/3/overpaid a=5800 14200");
    let both = story().ehr_payment(30, "e1", "a", 4200, "", 4200).invoice_with(30, "a", "c1", 1, 10000, paid(0));
    assert_eq!(whole(both), "review/3/overpaid a=10000 10000");
}
