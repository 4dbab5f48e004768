//! What a person sees: why a card was or was not charged, the list of failed cards, and the month at a glance.

use serde_json::json;
use vesper_adapters::personal::Secret;
use vesper_functions::review::page::{PageRequest, handle};
use vesper_functions::review::session::Sessions;
use vesper_standins::stripe::{Decline, NewPayment, Outcome};
use vesper_tests::harness::{Bundle, CANARIES, Options};

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// Somebody who is signed in and reads.
struct Reader {
    sessions: Sessions,
    cookie: String,
}

fn request(url: &str, cookie: &str) -> PageRequest {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let headers = [("host", "127.0.0.1:8088"), ("cookie", cookie)].map(|(n, v)| (n.to_owned(), v.to_owned()));
    PageRequest {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.to_vec(),
        body: vec![],
    }
}

impl Reader {
    async fn new(b: &Bundle) -> Reader {
        let sessions = Sessions::new(Secret::new("printed"), [3; 32]);
        let signed_in = handle(b.app(), &sessions, request("/review?token=printed", "")).await;
        let cookie = signed_in.headers.iter().find(|(n, _)| *n == "set-cookie").unwrap().1.clone();
        Reader { sessions, cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    /// The page, of this status; no address on it or header of it names anybody, and without a session nothing is shown.
    async fn get(&self, b: &Bundle, url: &str, status: u16) -> String {
        assert_eq!(handle(b.app(), &self.sessions, request(url, "")).await.status, 401, "{url}");
        let page = handle(b.app(), &self.sessions, request(url, &self.cookie)).await;
        assert_eq!(page.status, status, "{url}");
        let links = page.body.split("href=\"").skip(1).map(|t| t.split('"').next().unwrap().to_owned());
        let title = page.body.split("<title>").nth(1).unwrap().split("</title>").next().unwrap().to_owned();
        for said in links.chain(page.headers.iter().map(|(_, v)| v.clone())).chain([title]) {
            assert!(CANARIES.iter().all(|c| !said.contains(c)), "{said}");
        }
        page.body
    }
}

#[track_caller]
fn says(page: &str, wanted: &[&str]) {
    for text in wanted {
        assert!(page.contains(text), "the page does not say: {text}\n{page}");
    }
}

async fn heard(b: &Bundle) {
    b.sync().await;
    b.deliver().await;
    b.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_a_failed_card_says_why_it_was_or_was_not_charged() {
    let mut b = Bundle::new(Options::default()).await;
    let (customer, invoice) = b.patient(4200);
    let decline = Decline::of("insufficient_funds");
    let payment = b.standins.stripe.fail(&NewPayment::of(&customer, 4200).metadata("vesper_invoice", &invoice), &decline);
    heard(&b).await;
    let reader = Reader::new(&b).await;
    let url = format!("/payments/{payment}");
    let page = reader.get(&b, &url, 200).await;
    // Monday the 23rd. Tuesday and Thursday are both moved to Friday, so the second of them is lost; the next Monday to the 1st.
    says(
        &page,
        &[
            "The failed card",
            "It waits",
            "insufficient_funds (the account was short of money)",
            "2026-11-23 08:00",
            "no money was received",
            "42.00 USD of invoice",
            "card charges agreed to, autopay off",
            "unknown consent: the card is not charged, a person is asked",
            "The ladder",
            "What happened",
            "next</td>",
            CANARIES[0],
        ],
    );
    assert!(!page.contains("Next step") && !page.contains("<form"), "nothing is to be done or corrected yet");
    assert!(!page.contains("<caption>Attempts"), "none was made");
    let list = reader.get(&b, "/review/recoveries", 200).await;
    says(&list, &[&format!("href=\"{url}\""), "is tried again", "42.00 USD", "insufficient_funds"]);

    // To the end of the ladder: the card is short of money each time.
    b.standins.stripe.script(&payment, [Outcome::Decline(decline.clone()), Outcome::Decline(decline)]);
    b.advance(12 * DAY_S).await;
    let page = reader.get(&b, &url, 200).await;
    says(
        &page,
        &[
            "every day of the ladder is used or lost",
            "Next step:",
            "ask the client for another card",
            "<caption>Attempts",
            &format!("vesper-retry-{payment}-1"),
            "declined: insufficient_funds",
            "used</td>",
            "Questions about it",
        ],
    );
    let review = b.export().await.reviews(&payment)[0]["id"].as_str().unwrap().to_owned();
    let question = reader.get(&b, &format!("/review/{review}"), 200).await;
    says(&question, &[&format!("href=\"{url}\"")]);
    says(&reader.get(&b, "/review", 200).await, &["Card failed", "42.00 USD"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stop_has_its_words_and_its_next_step() {
    let mut b = Bundle::new(Options::default()).await;
    let cases = [
        (json!({}), "stolen_card", "the card must never be tried again", "this one must not be tried again"),
        (json!({}), "expired_card", "only the client can mend it", "ask the client to renew the card"),
        (json!({"card_consent": "revoked"}), "generic_decline", "has not agreed to card charges", "card charges forbidden"),
        (json!({"autopay": "on"}), "generic_decline", "the EHR charges the card by itself", "autopay on"),
        (json!({"coverage": "medicaid"}), "generic_decline", "coverage forbids it", "coverage forbids card charges"),
        (json!({}), "code_of_the_future", "not tried again", "code_of_the_future"),
    ];
    let mut failed = Vec::new();
    for (fields, code, ..) in &cases {
        let (client, customer) = b.client_with(fields.clone());
        let invoice = b.bill(&client, 4200);
        let new = NewPayment::of(&customer, 4200).metadata("vesper_invoice", &invoice);
        failed.push(b.standins.stripe.fail(&new, &Decline::of(code)));
    }
    heard(&b).await;
    let reader = Reader::new(&b).await;
    for ((_, code, stopped, next), payment) in cases.iter().zip(&failed) {
        let page = reader.get(&b, &format!("/payments/{payment}"), 200).await;
        says(&page, &["The failed card", "Next step:", "Questions about it", code, stopped, next]);
    }
    assert!(b.standins.stripe.confirms().is_empty());
    let list = reader.get(&b, "/review/recoveries", 200).await;
    assert!(failed.iter().all(|p| list.contains(&format!("/payments/{p}"))) && list.contains("a person was asked"));
    reader.get(&b, "/payments/pi_never_heard_of", 404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_adds_up_and_ends_at_midnight_of_the_practice() {
    let mut b = Bundle::new(Options::default()).await;
    let reader = Reader::new(&b).await;
    let row = |name: &str, n: u32, amount: &str| format!("<th scope=\"row\">{name}</th><td>{n}</td><td>{amount} USD</td>");
    says(&reader.get(&b, "/review/month", 200).await, &["November 2026", &row("Received", 0, "0.00"), "in sync"]);
    let (customer, invoice) = b.patient(4200);
    let (other, bill) = b.patient(2000);
    heard(&b).await;
    let _ = b.pay_for(&customer, 4200, &invoice);
    let _ = b.pay(&NewPayment::guest(900));
    let failing = NewPayment::of(&other, 2000).metadata("vesper_invoice", &bill);
    let _ = b.standins.stripe.fail(&failing, &Decline::of("generic_decline"));
    b.settle().await;
    let november = [
        row("Received", 2, "51.00"),
        row("Reconciled: applied to invoices", 1, "42.00"),
        row("Waiting for a person", 1, "9.00"),
        row("Failed for the first time", 1, "20.00"),
    ];
    let page = reader.get(&b, "/review/month?month=2026-11", 200).await;
    says(&page, &november.each_ref().map(String::as_str));
    says(&page, &["in sync: QuickBooks has every posting", "/review/month?month=2026-10"]);
    assert!(!page.contains("month=2026-12"), "a month that has not begun");

    // 23:59 on the last of November in Phoenix is December in Greenwich; a minute later it is December here.
    let midnight: jiff::Timestamp = "2026-12-01T07:00:00Z".parse().unwrap();
    b.advance(midnight.duration_since(b.now()).as_secs() - 60).await;
    let _ = b.pay(&NewPayment::guest(100));
    b.deliver().await;
    b.drain().await;
    b.advance(60).await;
    let _ = b.pay(&NewPayment::guest(7700));
    b.deliver().await;
    b.drain().await;
    let page = reader.get(&b, "/review/month?month=2026-11", 200).await;
    // The card of the 23rd was charged on the next day: its payment is received, and it is recovered.
    says(&page, &[&row("Received", 4, "72.00"), &row("Recovered by Vesper", 1, "20.00"), "/review/month?month=2026-12"]);
    let page = reader.get(&b, "/review/month", 200).await;
    says(&page, &["December 2026", &row("Received", 1, "77.00"), &row("Failed for the first time", 0, "0.00")]);
    for nonsense in ["month=2026-13", "month=x", "month="] {
        says(&reader.get(&b, &format!("/review/month?{nonsense}"), 200).await, &["December 2026"]);
    }
}
