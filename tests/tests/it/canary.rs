//! Personal data stands where it belongs and nowhere else: planted names, e-mails and phone numbers are searched for in the
//! output at every level, in requests, URLs and the bytes of every file.

use serde_json::{Value, json};
use std::path::Path;
use vesper_standins::ehr::DeskPayment;
use vesper_standins::stripe::NewPayment;
use vesper_tests::harness::process::Process;
use vesper_tests::harness::{CANARIES, leaks};

const EMAIL: &str = "zzyq.canary.1@phi.example";
const NAME: &str = "Persephonequill Zzyqcanary";
const PHONE: &str = "+1 555-0137";

fn found(content: &[u8]) -> Vec<&'static str> {
    let content = content.to_ascii_lowercase();
    let has = |c: &&str| content.windows(c.len()).any(|w| w == c.to_ascii_lowercase().as_bytes());
    CANARIES.into_iter().filter(has).collect()
}

/// What stands around the first find, for the one who has to look for it.
fn near(content: &[u8]) -> String {
    let at = CANARIES.iter().filter_map(|c| content.windows(c.len()).position(|w| w.eq_ignore_ascii_case(c.as_bytes()))).min();
    let Some(at) = at else { return String::new() };
    String::from_utf8_lossy(&content[at.saturating_sub(300)..content.len().min(at + 100)]).into_owned()
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    all
}

/// A practice in which names, e-mails and phone numbers stand wherever they can stand.
async fn busy(p: &Process) {
    let s = &p.standins;
    s.ehr.set_leak(&format!("{NAME} {EMAIL} {PHONE}"));
    let customer = s.stripe.customer(Some(EMAIL), Some(NAME));
    s.stripe.change(&customer, json!({"phone": PHONE, "description": NAME, "address": {"line1": NAME}}));
    s.stripe.announce(&customer);
    let fields = json!({"emails": [EMAIL], "stripe_customer_ids": [customer], "display_name": NAME});
    let client = s.ehr.client("c_1", fields);
    // By e-mail only, and unreadable: what cannot be understood is not shown either.
    s.ehr.client("c_2", json!({"emails": ["zzyq.canary.2@phi.example"], "display_name": NAME}));
    s.ehr.client("c_3", json!({"emails": EMAIL, "display_name": NAME}));
    s.ehr.unknown_kind(NAME);
    let bills: Vec<String> =
        (1..=4).map(|n| s.ehr.invoice(&format!("inv_{n}"), &client, 1000 * n, 0, json!({"note": NAME}))).collect();
    p.sync().await;
    // Asked about; refused by the EHR, whose answer names the client; linked by e-mail; unreadable; by a guest.
    s.stripe.pay(&NewPayment::of(&customer, 5000).receipt_email(EMAIL).metadata("note", NAME));
    // Decided while all four are open: 1000 + 4000, or 2000 + 3000.
    p.deliver().await;
    p.drain().await;
    s.ehr.paid_in_ehr(&DeskPayment::check(&bills[3], 3000));
    s.stripe.pay(&NewPayment::of(&customer, 4000).metadata("vesper_invoice", &bills[3]));
    let linked = s.stripe.customer(Some("zzyq.canary.2@phi.example"), Some(NAME));
    s.stripe.announce(&linked);
    let good = s.stripe.pay(&NewPayment::of(&linked, 700));
    s.stripe.pay(&NewPayment::guest(900).receipt_email(EMAIL).metadata("patient", NAME));
    p.deliver().await;
    let mut bad = s.stripe.events_of(&good).pop().unwrap();
    bad["id"] = json!("evt_bad");
    bad["data"]["object"]["id"] = json!("pi_bad");
    bad["data"]["object"]["amount_received"] = json!(NAME);
    assert_eq!(p.send(&bad).await, 200);
    bad["data"]["object"] = json!(NAME);
    assert_eq!(p.send(&bad).await, 400);
    bad["type"] = json!(NAME);
    let _ = p.send(&bad).await;
    p.drain().await;
    p.advance(49 * 3600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn personal_data_is_on_the_review_page_and_nowhere_else() {
    let mut p = Process::new("trace").await;
    p.start().await;
    busy(&p).await;
    let told = p.export().await;
    assert!(
        !told.reviews("evt_bad").is_empty() && told.all_asked().contains(&"write_back_refused".to_owned()),
        "{:?}",
        told.all_asked()
    );
    assert_eq!(leaks(&p.standins), Vec::<String>::new());
    assert_eq!(found(told.0.to_string().as_bytes()), Vec::<&str>::new(), "in the export");
    let seen = files(p.data());
    assert!(seen.iter().any(|(name, _)| name.ends_with("-wal")), "the log of the store is among the files");
    for (name, content) in seen {
        assert_eq!(found(&content), Vec::<&str>::new(), "in the file {name}, near: {}", near(&content));
    }
    on_the_page(&p, &told.0).await;
    let plain = p.beside(&["export"]).await;
    assert_eq!(found(&plain.stdout), Vec::<&str>::new(), "in the export of the command line");
    let personal = p.beside(&["export", "--with-personal-data"]).await;
    assert!(
        found(&personal.stdout).contains(&"Zzyqcanary") && found(&personal.stdout).contains(&"zzyq.canary"),
        "asked for and not there"
    );
    for output in [plain, personal] {
        assert_eq!(found(&output.stderr), Vec::<&str>::new(), "on standard error");
    }
    assert!(p.terminate().await.success());
    for (name, content) in files(p.data()) {
        assert_eq!(found(&content), Vec::<&str>::new(), "in the file {name} at the end");
    }
    let logged = p.logged();
    assert!(
        logged.contains("\"level\":\"TRACE\"") || logged.contains("\"level\":\"DEBUG\"") || logged.contains("\"level\":\"INFO\"")
    );
    let lines: Vec<&str> = logged.lines().filter(|l| !found(l.as_bytes()).is_empty()).collect();
    assert!(lines.is_empty(), "in the log: {lines:?}");
}

/// A person who signed in sees whom a question is about; who did not, sees nothing.
async fn on_the_page(p: &Process, told: &Value) {
    let review = told["reviews"].as_array().unwrap().iter().find(|r| r["reason"] == "ambiguous").unwrap();
    let (origin, _) = p.review_url.split_once("/review").unwrap();
    let page = format!("{origin}/review/{}", review["id"].as_str().unwrap());
    let stranger = p.ask("GET", &page, vec![], vec![]).await.unwrap();
    assert_eq!((stranger.status, found(&stranger.body)), (401, vec![]));
    let signed_in = p.ask("GET", &p.review_url, vec![], vec![]).await.unwrap();
    let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let shown = p.ask("GET", &page, vec![("cookie".to_owned(), cookie)], vec![]).await.unwrap();
    assert_eq!(shown.status, 200);
    assert!(found(&shown.body).contains(&"Zzyqcanary"), "the page does not show the client's name");
}
