//! Every posting of design.md section 6 as QuickBooks receives it: the accounts and sides that the table says, in the shape of the
//! recorded requests.

use crate::scenarios::settled;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use vesper_core::ids::PaymentId;
use vesper_functions::review::answers::{self, Answered};
use vesper_standins::stripe::{NewPayment, NewPayout};
use vesper_tests::harness::{Bundle, Options};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/quickbooks/examples");

fn recorded(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(format!("{DIR}/{name}.request.json")).unwrap()).unwrap()
}

/// The paths of a JSON value with the type of what stands there; the elements of a list together.
fn shape(value: &Value, at: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, v)| shape(v, &format!("{at}.{name}"), out)),
        Value::Array(all) => all.iter().for_each(|v| shape(v, &format!("{at}[]"), out)),
        Value::String(_) => drop(out.insert(format!("{at}: text"))),
        Value::Number(_) => drop(out.insert(format!("{at}: number"))),
        Value::Bool(_) | Value::Null => drop(out.insert(format!("{at}: {value}"))),
    }
}

fn shape_of(value: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    shape(value, "", &mut out);
    out
}

/// Minor units of an amount as it stands in the JSON, by its digits.
fn minor(amount: &Value) -> i64 {
    let text = amount.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{part:0<2}").parse().unwrap()
}

/// What a request books: debits positive. A Transfer debits where it goes.
fn lines(request: &Value) -> BTreeMap<String, i64> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    if request.get("FromAccountRef").is_some() {
        let amount = minor(&request["Amount"]);
        return [(text(&request["ToAccountRef"]["value"]), amount), (text(&request["FromAccountRef"]["value"]), -amount)].into();
    }
    let each = request["Line"].as_array().unwrap().iter().map(|line| {
        let detail = &line["JournalEntryLineDetail"];
        let sign = if detail["PostingType"] == "Debit" { 1 } else { -1 };
        (text(&detail["AccountRef"]["value"]), sign * minor(&line["Amount"]))
    });
    each.collect()
}

struct Books {
    b: Bundle,
    seen: usize,
}

impl Books {
    /// The next requests that QuickBooks did, and that they have the recorded shape.
    #[track_caller]
    fn posted(&mut self, event: &str, like: &[&str], want: &[&[(&str, i64)]]) {
        let all = self.b.standins.quickbooks.requests();
        let posts = all.iter().filter(|r| r.method == "POST" && r.applied && !r.path.contains("oauth"));
        let new: Vec<Value> = posts.skip(self.seen).map(|r| r.json()).collect();
        self.seen += new.len();
        // Several postings of one step are sent side by side, in any order.
        let mut got: Vec<(BTreeMap<String, i64>, &Value)> = new.iter().map(|request| (lines(request), request)).collect();
        got.sort_by(|a, b| a.0.cmp(&b.0));
        let parts = |w: &[(&str, i64)]| w.iter().map(|(a, n)| ((*a).to_owned(), *n)).collect::<BTreeMap<String, i64>>();
        let mut want: Vec<(BTreeMap<String, i64>, &str)> = want.iter().zip(like).map(|(w, like)| (parts(w), *like)).collect();
        want.sort();
        let booked: Vec<&BTreeMap<String, i64>> = got.iter().map(|(lines, _)| lines).collect();
        assert_eq!(booked, want.iter().map(|(lines, _)| lines).collect::<Vec<_>>(), "{event}");
        for ((_, request), (_, like)) in got.iter().zip(&want) {
            let (ours, theirs) = (shape_of(request), shape_of(&recorded(like)));
            assert!(ours.is_subset(&theirs), "{event}: {:?} are not in {like}", ours.difference(&theirs));
            // A line's text is left away: it would be a place for words about a client.
            let left_away: Vec<&String> = theirs.difference(&ours).collect();
            assert!(left_away.iter().all(|l| *l == ".Line[].Description: text"), "{event}: {left_away:?} of {like}");
        }
    }
}

const ENTRY: &str = "journalentry.daily";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_posting_has_the_accounts_of_section_6_and_the_recorded_shape() {
    let mut b = Bundle::new(Options::default()).await;
    let (client, customer) = b.client();
    let copay = b.bill(&client, 4200);
    let other = b.bill_with(&client, 3000, 0, json!({"category": "no_show_fee"}));
    b.sync().await;
    let mut books = Books { b, seen: 0 };
    let payment = books.b.pay_for(&customer, 4200, &copay);
    settled(&books.b).await;
    books.posted("payment, matched", &[ENTRY], &[&[("91", 4200), ("80", -4200)]]);
    let rest = books.b.pay_for(&customer, 3500, &other);
    settled(&books.b).await;
    books.posted("payment, a part unmatched", &[ENTRY], &[&[("91", 3500), ("79", -3000), ("92", -500)]]);
    let credit = vesper_core::review::Answer::Credit;
    let review = books.b.export().await.reviews(&rest)[0]["id"].as_str().unwrap().to_owned();
    let chosen = vesper_functions::review::answers::Chosen::Offered(credit);
    assert_eq!(books.b.answer(&review, chosen).await, Answered::Done);
    settled(&books.b).await;
    books.posted("reclassified when resolved", &[ENTRY], &[&[("92", 500), ("93", -500)]]);
    let later = books.b.bill(&client, 500);
    books.b.sync().await;
    let id = PaymentId::parse(&rest).unwrap();
    let rev = books.b.app().store.payment(&id).await.unwrap().unwrap().rev;
    assert_eq!(answers::apply_credit(books.b.app(), "tester", &id, rev, &later).await.unwrap(), Answered::Done);
    settled(&books.b).await;
    books.posted("client credit, applied later", &[ENTRY], &[&[("93", 500), ("80", -500)]]);
    let ahead = books.b.pay(&NewPayment::of(&customer, 1000).metadata("kind", "prepayment"));
    settled(&books.b).await;
    books.posted("client credit", &[ENTRY], &[&[("91", 1000), ("93", -1000)]]);
    books.b.standins.stripe.refund(&ahead, None, Value::Null, "succeeded");
    settled(&books.b).await;
    books.posted("refund of client credit", &["journalentry.refund"], &[&[("93", 1000), ("91", -1000)]]);
    let refund = books.b.standins.stripe.refund(&payment, Some(1200), Value::Null, "succeeded");
    settled(&books.b).await;
    books.posted("refund", &["journalentry.refund"], &[&[("67", 1200), ("91", -1200)]]);
    books.b.standins.stripe.refund_becomes(&refund, "failed");
    settled(&books.b).await;
    let back: [&[(&str, i64)]; 2] = [&[("91", 1200), ("67", -1200)], &[("80", 1200), ("92", -1200)]];
    books.posted("failed refund", &["journalentry.reversal", ENTRY], &back);
    let dispute = books.b.standins.stripe.dispute(&rest);
    settled(&books.b).await;
    books.posted("dispute", &["journalentry.dispute_opened"], &[&[("68", 3500), ("91", -3500)]]);
    let out = books.b.standins.stripe.payout(&NewPayout::default());
    settled(&books.b).await;
    let amount = |b: &Bundle, po: &str| b.standins.stripe.object(po).unwrap()["amount"].as_i64().unwrap();
    let fees: i64 = books.b.standins.stripe.rows_of(&out).iter().map(|r| r["fee"].as_i64().unwrap()).sum();
    let net = amount(&books.b, &out);
    let paid: [&[(&str, i64)]; 2] = [&[("66", fees), ("91", -fees)], &[("35", net), ("91", -net)]];
    books.posted("payout: fees, then Transfer", &[ENTRY, "transfer.payout_paid"], &paid);
    books.b.standins.stripe.fail_payout(&out);
    settled(&books.b).await;
    books.posted("payout failed: the Transfer, fees stay", &["transfer.payout_negative"], &[&[("91", net), ("35", -net)]]);
    books.b.standins.stripe.close_dispute(&dispute, true);
    settled(&books.b).await;
    let back: [&[(&str, i64)]; 2] = [&[("91", 3500), ("68", -3500)], &[("79", 3000), ("80", 500), ("92", -3500)]];
    books.posted("dispute reinstated", &["journalentry.reversal", ENTRY], &back);
    books.b.standins.stripe.payout(&NewPayout::default());
    settled(&books.b).await;
    let back = net + 3500;
    books.posted("the next payout", &["transfer.payout_paid"], &[&[("35", back), ("91", -back)]]);
    books.b.standins.stripe.refund(&payment, Some(700), Value::Null, "succeeded");
    settled(&books.b).await;
    books.posted("refund of what is unapplied", &["journalentry.refund"], &[&[("92", 700), ("91", -700)]]);
    books.b.standins.stripe.payout(&NewPayout::default());
    settled(&books.b).await;
    books.posted("a negative payout", &["transfer.payout_negative"], &[&[("91", 700), ("35", -700)]]);
    assert!(books.b.standins.quickbooks.refused().is_empty());
}
