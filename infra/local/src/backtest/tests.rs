//! The sentences of contracts/backtest.md, and of design.md section 4 where they speak of time.

use super::{Followed, Outcome, Summary, run, run_texts};
use crate::cli;
use serde_json::{Value, json};
use std::path::PathBuf;
use vesper_core::review::Reason;

/// A Saturday noon in UTC.
const T: i64 = 1_795_262_400;
const HOUR: i64 = 3600;
const CONFIG: &str = "[practice]\nid = \"t\"\ntime_zone = \"America/Chicago\"\n";

#[derive(Default)]
struct Practice {
    ehr: String,
    events: String,
}

fn at(s: i64) -> String {
    jiff::Timestamp::from_second(T + s).unwrap().to_string()
}

impl Practice {
    fn record(mut self, s: i64, record: Value) -> Self {
        let mut line = json!({"version": "1", "observed_at": at(s)});
        line.as_object_mut().unwrap().extend(record.as_object().unwrap().clone());
        self.ehr += &format!("{line}\n");
        self
    }

    fn client(self, s: i64, id: &str, customers: &[&str], emails: &[&str]) -> Self {
        self.record(
            s,
            json!({"kind": "client", "id": id, "stripe_customer_ids": customers, "emails": emails, "status": "active"}),
        )
    }

    fn invoice(self, s: i64, id: &str, client: &str, charge: i64, paid: i64) -> Self {
        let void = json!({"charge": 0, "paid": 0, "written_off": 0, "open": 0});
        let share = json!({"charge": charge, "paid": paid, "written_off": 0, "open": charge - paid});
        self.record(
            s,
            json!({"kind": "invoice", "id": id, "client_id": client, "currency": "usd", "issued_on": "2026-11-20",
            "status": if charge == 0 { "void" } else { "open" }, "client_share": share, "payer_share": void}),
        )
    }

    fn ehr_payment(self, s: i64, id: &str, invoice: &str, amount: i64, reversed: i64, reference: &str) -> Self {
        let state = if reversed == amount { "reversed" } else { "posted" };
        self.record(s, json!({"kind": "payment", "id": id, "invoice_id": invoice, "portion": "client", "amount": amount,
            "currency": "usd", "method": "card", "posted_on": "2026-11-21", "reference": reference, "reversed": reversed, "state": state}))
    }

    fn event(mut self, s: i64, kind: &str, object: &Value) -> Self {
        let n = self.events.lines().count();
        let mut object = object.clone();
        object["created"] = json!(T + s);
        let event =
            json!({"id": format!("evt_{n}"), "type": kind, "created": T + s, "livemode": true, "data": {"object": object}});
        self.events += &format!("{event}\n");
        self
    }

    fn pays(self, s: i64, id: &str, amount: i64, customer: &str, metadata: Value) -> Self {
        let object = json!({"id": id, "amount_received": amount, "currency": "usd", "customer": customer, "metadata": metadata});
        self.event(s, "payment_intent.succeeded", &object)
    }

    fn charge(self, s: i64, payment: &str, amount: i64, customer: &str) -> Self {
        let object = json!({"id": payment.replace("pi_", "ch_"), "payment_intent": payment, "amount_captured": amount,
            "currency": "usd", "customer": customer, "status": "succeeded", "captured": true});
        self.event(s, "charge.succeeded", &object)
    }

    fn refund(self, s: i64, id: &str, payment: &str, amount: i64, status: &str) -> Self {
        let object = json!({"id": id, "payment_intent": payment, "amount": amount, "currency": "usd", "status": status});
        self.event(s, "refund.updated", &object)
    }

    fn run(&self) -> (Vec<Value>, Summary) {
        let (lines, summary) = run_texts(CONFIG, &self.ehr, &self.events).unwrap();
        assert_eq!(summary.broken, 0, "{:?}", summary.broken_told);
        (lines, summary)
    }
}

/// Client c_1 with customer cus_1, and an open invoice of 4,200.
fn ordinary() -> Practice {
    Practice::default().client(0, "c_1", &["cus_1"], &[]).invoice(0, "inv_1", "c_1", 4200, 0)
}

fn short(line: &Value) -> (String, String, Value) {
    (line["payment"].as_str().unwrap().to_owned(), line["outcome"].as_str().unwrap().to_owned(), line["rule"].clone())
}

fn is(payment: &str, outcome: &str, rule: u8) -> (String, String, Value) {
    (payment.to_owned(), outcome.to_owned(), json!(rule))
}

#[test]
fn a_line_is_the_final_state_of_a_payment() {
    let (lines, summary) = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({"invoice_id": "inv_1"})).run();
    let mut line = lines[0].clone();
    assert!(line["why"].as_str().is_some_and(|w| !w.is_empty()));
    line["why"] = json!("");
    let want = json!({"payment": "pi_1", "event": "evt_0", "customer": "cus_1", "amount": 4200, "currency": "usd",
        "outcome": "matched", "rule": 3, "allocations": [{"invoice": "inv_1", "amount": 4200}], "unapplied": 0, "review": null, "why": ""});
    assert_eq!(line, want);
    assert_eq!((lines.len(), summary.decided), (1, 1));
    assert!(summary.to_string().contains("matched"));
}

#[test]
fn a_record_comes_before_an_event_of_the_same_second_and_delivery_time_counts() {
    let same = Practice::default().pays(60, "pi_1", 4200, "cus_1", json!({}));
    let same = same.client(60, "c_1", &["cus_1"], &[]).invoice(60, "inv_1", "c_1", 4200, 0);
    assert_eq!(short(&same.run().0[0]), is("pi_1", "matched", 5));
    // Created long before its invoice, delivered after it.
    let mut late = ordinary().pays(-9 * HOUR, "pi_1", 4200, "cus_1", json!({"invoice_id": "inv_1"}));
    late.events = late.events.replace("\"created\":", "\"delivered_at\": 1795262460, \"created\":").replacen(
        "\"delivered_at\": 1795262460, ",
        "",
        1,
    );
    assert!(late.events.contains("delivered_at"));
    assert_eq!(short(&late.run().0[0]), is("pi_1", "matched", 3));
}

#[test]
fn a_payment_parks_until_its_invoice_comes_and_the_lines_keep_the_order_of_first_delivery() {
    let p = ordinary()
        .pays(60, "pi_a", 3000, "cus_2", json!({"invoice_id": "inv_2"}))
        .pays(61, "pi_b", 4200, "cus_1", json!({}))
        .client(2 * HOUR, "c_2", &["cus_2"], &[])
        .invoice(3 * HOUR, "inv_2", "c_2", 3000, 0);
    let lines = p.run().0;
    assert_eq!(lines.iter().map(short).collect::<Vec<_>>(), [is("pi_a", "matched", 3), is("pi_b", "matched", 5)]);
    assert_eq!(lines[0]["event"], "evt_0", "a parked payment is decided by its first success event");
}

#[test]
fn after_the_last_line_the_clock_runs_on_until_nothing_is_parked() {
    let lines = ordinary().pays(60, "pi_a", 3000, "cus_9", json!({})).run().0;
    assert_eq!((short(&lines[0]), lines[0]["review"].as_str()), (is("pi_a", "review", 15), Some("unknown_client")));
    // The invoice comes in the very second of the deadline, and the record comes first; a second later it is too late.
    for (late, want) in [(0, is("pi_a", "matched", 3)), (1, is("pi_a", "review", 3))] {
        let p = ordinary().pays(60, "pi_a", 3000, "cus_1", json!({"invoice_id": "inv_2"}));
        let p = p.invoice(60 + 48 * HOUR + late, "inv_2", "c_1", 3000, 0);
        assert_eq!(short(&p.run().0[0]), want);
    }
}

#[test]
fn rule_1_a_payment_is_decided_once_and_another_amount_is_a_question() {
    let p = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({})).pays(61, "pi_1", 4200, "cus_1", json!({}));
    let (lines, summary) = p.pays(62, "pi_1", 9900, "cus_1", json!({})).run();
    assert_eq!((lines.len(), lines[0]["amount"].as_i64(), summary.repeated), (1, Some(4200), 2));
    assert_eq!(summary.reviews.get(&Reason::ChangedPayment), Some(&1));
}

#[test]
fn a_charge_alone_decides_when_the_clock_is_an_hour_past_it() {
    let alone = ordinary().charge(60, "pi_1", 4200, "cus_1").pays(60 + 2 * HOUR, "pi_1", 4200, "cus_1", json!({}));
    let lines = alone.run().0;
    assert_eq!((lines.len(), lines[0]["event"].as_str()), (1, Some("evt_0")), "a later success is rule 1");
    let completed =
        ordinary().charge(60, "pi_1", 4200, "cus_1").pays(60 + HOUR / 2, "pi_1", 4200, "cus_1", json!({"invoice_id": "inv_1"}));
    let lines = completed.run().0;
    assert_eq!((short(&lines[0]), lines[0]["event"].as_str()), (is("pi_1", "matched", 3), Some("evt_1")));
}

#[test]
fn the_other_livemode_is_one_ignored_line_per_payment() {
    let mut p = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({})).charge(61, "pi_1", 4200, "cus_1").refund(
        62,
        "re_1",
        "pi_1",
        1,
        "succeeded",
    );
    p.events = p.events.replace("\"livemode\":true", "\"livemode\":false");
    let (lines, summary) = p.run();
    assert_eq!(
        (lines.len(), lines[0]["outcome"].as_str(), &lines[0]["rule"], &lines[0]["unapplied"]),
        (1, Some("ignored"), &Value::Null, &json!(0))
    );
    assert!(summary.outcomes.keys().all(|(outcome, _)| *outcome == Outcome::Ignored));
}

#[test]
fn a_refund_after_the_decision_changes_no_line_and_reopens_the_invoice_for_rule_3_only() {
    let p = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({})).refund(61, "re_1", "pi_1", 4200, "succeeded");
    let p = p.pays(62, "pi_2", 4200, "cus_1", json!({"invoice_id": "inv_1"}));
    let (lines, summary) = p.run();
    assert_eq!(lines.iter().map(short).collect::<Vec<_>>(), [is("pi_1", "matched", 5), is("pi_2", "matched", 3)]);
    assert_eq!((summary.reviews.get(&Reason::Refunded), summary.followed[&Followed::Refund].count), (Some(&1), 1));
    let p = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({})).refund(61, "re_1", "pi_1", 4200, "succeeded");
    let lines = p.pays(62, "pi_2", 4200, "cus_1", json!({})).run().0;
    assert_eq!(lines[1]["review"], "no_invoice", "not without a reference");
}

#[test]
fn a_refund_before_or_while_parked_reduces_what_is_decided() {
    let early = ordinary().refund(50, "re_1", "pi_1", 4200, "succeeded").pays(60, "pi_1", 4200, "cus_1", json!({}));
    let (lines, summary) = early.run();
    assert_eq!(
        (short(&lines[0]), summary.followed[&Followed::Refund].count),
        (is("pi_1", "matched", 5), 1),
        "applied after the decision"
    );
    let parked =
        ordinary().pays(60, "pi_1", 5200, "cus_1", json!({"invoice_id": "inv_2"})).refund(61, "re_1", "pi_1", 2200, "succeeded");
    let lines = parked.invoice(90, "inv_2", "c_1", 3000, 0).run().0;
    assert_eq!(
        (short(&lines[0]), lines[0]["amount"].as_i64(), lines[0]["unapplied"].as_i64()),
        (is("pi_1", "matched", 3), Some(5200), Some(0))
    );
    let all = ordinary().pays(60, "pi_1", 5200, "cus_9", json!({})).refund(61, "re_1", "pi_1", 5200, "succeeded").run().0;
    assert_eq!((short(&all[0]), all[0]["unapplied"].as_i64()), (is("pi_1", "credit", 4), Some(0)));
}

#[test]
fn a_failed_refund_gives_its_money_back_unapplied_and_words_come_in_any_order() {
    let p = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({})).refund(61, "re_1", "pi_1", 4200, "succeeded");
    let (_, summary) = p.refund(62, "re_1", "pi_1", 4200, "failed").refund(63, "re_1", "pi_1", 4200, "succeeded").run();
    let times = |what| summary.followed.get(&what).map(|t| t.count);
    assert_eq!((times(Followed::Refund), times(Followed::RefundFailed)), (Some(1), Some(1)));
}

#[test]
fn a_reinstated_dispute_makes_its_invoice_a_candidate_again() {
    let row = |amount: i64| json!({"amount": amount, "currency": "usd"});
    let dispute = |rows: Value, status: &str| json!({"id": "du_1", "payment_intent": "pi_1", "currency": "usd", "status": status, "balance_transactions": rows});
    let p = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({}));
    let p = p.event(61, "charge.dispute.funds_withdrawn", &dispute(json!([row(-4200)]), "needs_response"));
    let p = p.event(62, "charge.dispute.funds_reinstated", &dispute(json!([row(-4200), row(4200)]), "won"));
    let (lines, summary) = p.pays(63, "pi_2", 4200, "cus_1", json!({})).run();
    assert_eq!((short(&lines[1]), summary.reviews.get(&Reason::Disputed)), (is("pi_2", "matched", 5), Some(&1)));
}

#[test]
fn a_typed_in_payment_shows_an_allocation_and_one_of_the_same_second_does_not() {
    // The invoice is charged 8,400: after one payment and its typing-in 4,200 are open, not 0.
    for (typed_at, want) in [(HOUR, is("pi_2", "matched", 3)), (60, is("pi_2", "review", 3))] {
        let p = Practice::default().client(0, "c_1", &["cus_1"], &[]).invoice(0, "inv_1", "c_1", 8400, 0);
        let p = p.pays(60, "pi_1", 4200, "cus_1", json!({"invoice_id": "inv_1"}));
        let p = p.ehr_payment(typed_at, "ep_1", "inv_1", 4200, 0, "").invoice(typed_at, "inv_1", "c_1", 8400, 4200);
        let p = p.pays(2 * HOUR, "pi_2", 4200, "cus_1", json!({"invoice_id": "inv_1"}));
        assert_eq!(short(&p.run().0[1]), want, "{typed_at}");
    }
}

#[test]
fn what_the_ehr_showed_and_shows_no_longer_is_a_question() {
    let p = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({}));
    let p = p.ehr_payment(HOUR, "ep_1", "inv_1", 4200, 0, "pi_1").invoice(HOUR, "inv_1", "c_1", 4200, 4200);
    let p = p.ehr_payment(2 * HOUR, "ep_1", "inv_1", 4200, 4200, "pi_1").invoice(2 * HOUR, "inv_1", "c_1", 4200, 0);
    assert_eq!(p.run().1.reviews.get(&Reason::EhrDisagrees), Some(&1));
    let elsewhere =
        ordinary().invoice(0, "inv_2", "c_1", 3000, 0).pays(60, "pi_1", 4200, "cus_1", json!({"invoice_id": "inv_1"}));
    let elsewhere = elsewhere.ehr_payment(HOUR, "ep_1", "inv_2", 3000, 0, "pi_1");
    assert_eq!(elsewhere.run().1.reviews.get(&Reason::EhrDisagrees), Some(&1));
}

#[test]
fn a_void_invoice_or_a_lowered_charge_turns_the_excess_into_credit() {
    let (lines, summary) = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({})).invoice(HOUR, "inv_1", "c_1", 0, 0).run();
    assert_eq!((short(&lines[0]), summary.reviews.get(&Reason::VoidInvoice)), (is("pi_1", "matched", 5), Some(&1)));
    assert_eq!(summary.followed[&Followed::Excess].amount.get(), 4200);
    let (_, summary) = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({})).invoice(HOUR, "inv_1", "c_1", 3000, 0).run();
    assert_eq!((summary.followed[&Followed::Excess].amount.get(), summary.reviews.len()), (1200, 0));
}

#[test]
fn rule_14_learns_addresses_from_customer_events_only_the_latest_and_the_ehr_may_contradict() {
    let customer =
        |p: Practice, s: i64, id: &str, email: &str| p.event(s, "customer.updated", &json!({"id": id, "email": email}));
    let start = || Practice::default().client(0, "c_1", &[], &["a@example.test"]).invoice(0, "inv_1", "c_1", 4200, 0);
    let p = customer(start(), 30, "cus_7", " A@example.test").pays(60, "pi_1", 4200, "cus_7", json!({}));
    let (lines, summary) = p.client(HOUR, "c_2", &["cus_7"], &[]).run();
    assert_eq!((short(&lines[0]), summary.followed[&Followed::Link].count), (is("pi_1", "matched", 5), 1));
    assert_eq!(summary.reviews.get(&Reason::ClientConflict), Some(&1));
    let p = customer(start(), 30, "cus_7", "a@example.test").event(40, "customer.deleted", &json!({"id": "cus_7"}));
    assert_eq!(p.pays(60, "pi_1", 4200, "cus_7", json!({})).run().0[0]["review"], "unknown_client");
    let p = start().pays(60, "pi_1", 4200, "cus_7", json!({}));
    assert_eq!(
        short(&customer(p, HOUR, "cus_7", "a@example.test").run().0[0]),
        is("pi_1", "matched", 5),
        "the parked payment is woken"
    );
}

#[test]
fn an_older_record_never_replaces_a_newer_one_and_a_late_line_is_no_bad_line() {
    let p = ordinary().invoice(HOUR, "inv_1", "c_1", 4200, 4200).invoice(HOUR / 2, "inv_1", "c_1", 4200, 0);
    let (lines, summary) = p.pays(2 * HOUR, "pi_1", 4200, "cus_1", json!({"invoice_id": "inv_1"})).run();
    assert_eq!(lines[0]["review"], "already_settled");
    assert_eq!((summary.late_records, summary.stale_records, summary.bad_lines), (1, 1, 0));
}

#[test]
fn an_unreadable_event_is_a_question_without_a_line_and_an_unknown_kind_is_skipped() {
    let p = ordinary().record(1, json!({"kind": "session", "id": "x"})).pays(60, "pi_1", -5, "cus_1", json!({}));
    let (lines, summary) = p.run();
    assert_eq!((lines.len(), summary.reviews.get(&Reason::UnreadableEvent), summary.unknown_records), (0, Some(&1), 1));
}

/// A directory of its own for a test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("vesper-backtest-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn args(&self, p: &Practice, skip_bad: bool) -> cli::Backtest {
        let put = |name: &str, text: &str| {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (config, ehr, events) = (put("practice.toml", CONFIG), put("ehr.jsonl", &p.ehr), put("events.jsonl", &p.events));
        cli::Backtest { config, ehr, events, out: self.0.join("out.jsonl"), skip_bad }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_bad_line_is_told_by_file_and_line_and_nothing_is_written_unless_it_is_skipped() {
    let dir = Dir::new("bad");
    let mut p = ordinary().pays(60, "pi_1", 4200, "cus_1", json!({}));
    p.ehr += "{\"kind\": \"client\", \"emails\": \"ada@example.test\"}\n";
    p.events += "not json\n";
    std::fs::write(dir.0.join("out.jsonl"), "older").unwrap();
    let failure = run(&dir.args(&p, false)).unwrap_err();
    assert_eq!(failure.code, 2);
    for part in ["ehr.jsonl:3: `id` is missing", "events.jsonl:2: the body is no JSON object", "--skip-bad"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert!(!failure.message.contains("ada@"));
    assert_eq!(std::fs::read_to_string(dir.0.join("out.jsonl")).unwrap(), "older");
    assert!(!dir.0.join("out.jsonl.tmp").exists());
    run(&dir.args(&p, true)).unwrap();
    assert_eq!(std::fs::read_to_string(dir.0.join("out.jsonl")).unwrap().lines().count(), 1);
    assert!(!dir.0.join("out.jsonl.tmp").exists());
}

#[test]
fn what_cannot_be_read_is_named_with_status_2() {
    let dir = Dir::new("missing");
    let args = dir.args(&ordinary(), false);
    std::fs::remove_file(&args.events).unwrap();
    let failure = run(&args).unwrap_err();
    assert!(failure.code == 2 && failure.message.contains("events.jsonl"), "{failure}");
    let failure = run_texts("[practice]\nid = 1\n", "", "").unwrap_err();
    assert!(failure.code == 2 && failure.message.contains("practice.toml:2"), "{failure}");
}
