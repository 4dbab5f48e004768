//! A fresh setup, a second one, drift mended, an interrupted one, and what a dry run does: nothing.

use super::*;
use crate::between::{ADDRESS, Between};
use crate::stack::host::LocalHost;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vesper_adapters::http::HttpRequest;
use vesper_adapters::stripe::wire::EVENT_TYPES;
use vesper_functions::push_books::connect;
use vesper_standins::stripe::API_VERSION;
use vesper_standins::{Fault, FaultKind, Standins};

/// Secrets in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Secret>>>);

impl Kept {
    fn text(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().get(name).map(|s| s.expose().to_owned())
    }
}

impl Place for Kept {
    fn get(&self, name: &str) -> Option<Secret> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn put<'a>(&'a mut self, name: &'a str, value: &'a Secret) -> BoxFuture<'a, Result<(), Failure>> {
        self.0.lock().unwrap().insert(name.to_owned(), value.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn called(&self) -> String {
        "the test's place".to_owned()
    }
}

/// The answer of an address on this machine: its Location, empty without one.
async fn location(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://localhost:").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(format!("127.0.0.1:{host}")).await.unwrap();
    let head = format!("GET /{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().find_map(|l| l.strip_prefix("location: ")).unwrap_or_default().to_owned()
}

/// The owner's browser: follows from Vesper's address to Intuit's page and back.
async fn browse(all: Standins, start: String) {
    let page = location(&start).await;
    let request = HttpRequest { method: http::Method::GET, url: page, headers: vec![], body: bytes::Bytes::new() };
    let answer = vesper_adapters::http::Transport::send(&all, request).await.unwrap();
    location(answer.header("location").unwrap()).await;
}

/// A deployment that is being set up.
struct Case {
    w: Between,
    kept: Kept,
    given: BTreeMap<&'static str, String>,
    dry_run: bool,
    reconnect: bool,
    url: Option<&'static str>,
}

/// What a run said, and what it came to.
struct Ran {
    lines: Vec<Line>,
    outcome: Result<(), Failure>,
}

impl Ran {
    fn of(&self, done: Done) -> Vec<String> {
        self.lines.iter().filter(|l| l.done == done).map(|l| format!("{}: {}", l.area, l.text)).collect()
    }

    #[track_caller]
    fn says(&self, done: Done, text: &str) {
        assert!(
            self.of(done).iter().any(|l| l.contains(text)),
            "nothing {done:?} says {text:?}: {:#?} {:?}",
            self.lines,
            self.outcome
        );
    }
}

impl Case {
    async fn new() -> Case {
        let w = Between::new().await;
        let given = w.given();
        Case { w, kept: Kept::default(), given, dry_run: false, reconnect: false, url: Some(ADDRESS) }
    }

    async fn run(&self) -> Ran {
        let told = Mutex::new(Vec::new());
        let tell = |line: &Line| told.lock().unwrap().push(line.clone());
        let mut report = Report::new(self.dry_run, &tell);
        let all = self.w.all.clone();
        let open = move |what: &str| drop(tokio::spawn(browse(all.clone(), what.to_owned())));
        let owner = Owner { redirect: "http://localhost:0/callback", open: &open, paste: Arc::new(|| None) };
        let settings = self.w.settings();
        let given = |name: &str| self.given.get(name).cloned();
        let work = Work {
            settings: &settings,
            place: Box::new(self.kept.clone()),
            given: &given,
            store: Some(self.w.store.clone()),
            url: self.url.map(str::to_owned),
            reconnect: self.reconnect,
            dry_run: self.dry_run,
            owner: &owner,
            transport: self.w.transport(),
            clock: self.w.clock.clone(),
            host: Arc::new(LocalHost::standing((self.w.clock)())),
            hasher: self.w.key.email_hasher(),
            go_live: None,
        };
        let outcome = bring(work, &mut report).await;
        let lines = report.lines;
        let output: String =
            lines.iter().map(|l| format!("{l}\n")).chain(outcome.as_ref().err().map(|e| e.message.clone())).collect();
        self.w.assert_no_secret(&output);
        for secret in self.kept.0.lock().unwrap().values() {
            assert!(!output.contains(secret.expose()), "{output}");
        }
        Ran { lines, outcome }
    }

    fn endpoint(&self) -> Value {
        let all = self.w.all.stripe.endpoints();
        let mut live = all.into_iter().filter(|e| e["status"] == "enabled");
        let one = live.next().unwrap();
        assert!(live.next().is_none(), "one endpoint delivers");
        one
    }

    #[track_caller]
    fn assert_endpoint_is_right(&self) {
        let one = self.endpoint();
        assert_eq!(one["url"], "https://vesper.example/webhooks/stripe");
        assert_eq!((&one["api_version"], &one["enabled_events"]), (&json!(API_VERSION), &json!(EVENT_TYPES)));
        let secret = self.w.all.stripe.secret_of_endpoint(one["id"].as_str().unwrap());
        let stored = self.kept.text("STRIPE_WEBHOOK_SECRETS").unwrap();
        assert_eq!(stored.split(',').next(), Some(secret.as_str()), "the signing secret stands first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_deployment_is_set_up_and_a_second_run_changes_nothing() {
    let mut case = Case::new().await;
    for _ in 0..120 {
        case.w.all.stripe.customer(Some("a@example.org"), None);
    }
    let ran = case.run().await;
    assert_eq!((ran.outcome.clone(), ran.of(Done::Problem)), (Ok(()), Vec::<String>::new()));
    case.assert_endpoint_is_right();
    assert!(customers::all_listed(&case.w.store).await.unwrap());
    let state = connect::stored(&case.w.store).await.unwrap().unwrap();
    assert_eq!(Some(state.refresh.clone()), case.w.all.quickbooks.refresh_token());
    assert_eq!(case.kept.text("QUICKBOOKS_REFRESH_TOKEN"), Some(state.refresh));
    assert_eq!(case.kept.text("STRIPE_API_KEY").as_deref(), Some("rk_test_standin"));
    ran.says(Done::Unchanged, "books.accounts.checking = \"35\": Checking (Bank)");
    ran.says(Done::Unchanged, "the clearing account starts at zero");

    let (endpoints, secrets) = (case.w.all.stripe.endpoints(), case.kept.0.lock().unwrap().clone());
    // The second time without the address: it is remembered.
    case.url = None;
    let again = case.run().await;
    assert_eq!((again.outcome.clone(), again.of(Done::Changed), again.of(Done::Problem)), (Ok(()), vec![], vec![]));
    assert_eq!(case.w.all.stripe.endpoints(), endpoints);
    assert!(*case.kept.0.lock().unwrap() == secrets);
    assert!(case.w.all.quickbooks.entries().is_empty());
    assert_eq!(case.w.all.refused(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_all_of_it_and_changes_nothing() {
    let mut case = Case::new().await;
    case.dry_run = true;
    let ran = case.run().await;
    assert_eq!((ran.outcome.clone(), ran.of(Done::Changed)), (Ok(()), vec![]));
    for text in [
        "store STRIPE_API_KEY",
        "make an endpoint at https://vesper.example/webhooks/stripe with 26",
        "list all of Stripe's customers",
        "ask the owner",
    ] {
        ran.says(Done::Would, text);
    }
    assert!(case.w.all.stripe.endpoints().is_empty() && case.kept.0.lock().unwrap().is_empty());
    assert!(connect::stored(&case.w.store).await.unwrap().is_none());
    let writes: Vec<_> = case.w.all.stripe.seen("POST *").into_iter().map(|s| s.path).collect();
    assert_eq!(writes, Vec::<String>::new());
    // Nor on what is there already.
    case.dry_run = false;
    case.run().await.outcome.unwrap();
    let id = case.endpoint()["id"].as_str().unwrap().to_owned();
    case.w.all.stripe.change(&id, json!({"enabled_events": ["charge.succeeded"]}));
    let before = case.w.all.stripe.endpoints();
    case.dry_run = true;
    case.run().await.says(Done::Would, "mend endpoint");
    assert_eq!(case.w.all.stripe.endpoints(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_of_the_endpoint_is_mended_and_what_cannot_be_mended_is_made_anew() {
    type Bend = fn(&Case, &str);
    let rows: [(&str, Bend, bool); 7] = [
        ("it is disabled", |c, id| c.w.all.stripe.change(id, json!({"status": "disabled"})), false),
        ("it lacks", |c, id| c.w.all.stripe.change(id, json!({"enabled_events": ["charge.succeeded"]})), false),
        ("it has needlessly *", |c, id| c.w.all.stripe.change(id, json!({"enabled_events": ["*"]})), false),
        ("to another address", |c, id| c.w.all.stripe.change(id, json!({"url": "https://old.example/x"})), false),
        ("which cannot be changed", |c, id| c.w.all.stripe.change(id, json!({"api_version": "2024-06-20"})), true),
        ("is not stored", |c, _| drop(c.kept.0.lock().unwrap().remove("STRIPE_WEBHOOK_SECRETS")), true),
        (
            "disable endpoint",
            |c, _| drop(c.w.all.stripe.endpoint("https://vesper.example/webhooks/stripe", API_VERSION, &EVENT_TYPES)),
            false,
        ),
    ];
    for (text, bend, anew) in rows {
        let case = Case::new().await;
        case.run().await.outcome.unwrap();
        let id = case.endpoint()["id"].as_str().unwrap().to_owned();
        bend(&case, &id);
        let ran = case.run().await;
        ran.says(Done::Changed, text);
        case.assert_endpoint_is_right();
        assert_eq!(case.endpoint()["id"] != id.as_str(), anew, "{text}");
        assert_eq!(case.run().await.of(Done::Changed), Vec::<String>::new(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_whose_making_was_interrupted_is_made_again_and_the_lost_one_disabled() {
    let case = Case::new().await;
    case.w.all.stripe.fault(Fault::new("POST /v1/webhook_endpoints", FaultKind::LostAfter));
    let ran = case.run().await;
    ran.says(Done::Problem, "run vesper setup again");
    assert_eq!(case.w.all.stripe.endpoints().len(), 1);
    let ran = case.run().await;
    ran.says(Done::Changed, "the signing secret of endpoint");
    case.assert_endpoint_is_right();
    assert_eq!(case.w.all.stripe.endpoints().len(), 2);
    assert_eq!(case.run().await.of(Done::Changed), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_made_by_hand_is_taken_over_with_the_secret_that_was_given() {
    let mut case = Case::new().await;
    let (id, secret) = case.w.all.stripe.endpoint("https://vesper.example/webhooks/stripe", API_VERSION, &["charge.succeeded"]);
    case.given.insert("STRIPE_WEBHOOK_SECRETS", secret);
    case.run().await.outcome.unwrap();
    case.assert_endpoint_is_right();
    assert_eq!(case.endpoint()["id"], id.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_has_to_mend_is_told_and_the_rest_is_done() {
    let mut case = Case::new().await;
    case.w.all.stripe.forbid(["rak_webhook_read"]);
    case.given.remove("EHR_BRIDGE_SECRETS");
    case.w.all.quickbooks.deactivate("66");
    let ran = case.run().await;
    ran.says(Done::Problem, "EHR_BRIDGE_SECRETS is missing");
    ran.says(Done::Problem, "STRIPE_SETUP_KEY");
    ran.says(Done::Problem, "books.accounts.stripe_fees = \"66\" was made inactive");
    ran.says(Done::Changed, "is connected");
    let mut case = Case::new().await;
    case.url = None;
    case.run().await.says(Done::Problem, "give Vesper's public address with --url");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_may_refuse_or_choose_another_company_and_then_nothing_is_stored() {
    for (choose, want) in [(None, "did not consent"), (Some("99"), "chose company 99, books.realm_id is 1234567890")] {
        let case = Case::new().await;
        match choose {
            None => case.w.all.quickbooks.deny_consent(true),
            Some(realm) => case.w.all.quickbooks.choose_company(realm),
        }
        let failure = case.run().await.outcome.unwrap_err();
        assert!(failure.message.contains(want), "{failure}");
        assert!(connect::stored(&case.w.store).await.unwrap().is_none());
        assert_eq!(case.kept.text("QUICKBOOKS_REFRESH_TOKEN"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_asked_for_again_and_an_old_token_of_the_environment_does_not_come_back() {
    let mut case = Case::new().await;
    case.run().await.outcome.unwrap();
    let first = case.kept.text("QUICKBOOKS_REFRESH_TOKEN").unwrap();
    case.w.all.quickbooks.revoke();
    case.reconnect = true;
    case.given.insert("QUICKBOOKS_REFRESH_TOKEN", first.clone());
    let ran = case.run().await;
    ran.says(Done::Changed, "is connected");
    ran.says(Done::Todo, "remove QUICKBOOKS_REFRESH_TOKEN from the environment");
    let second = case.kept.text("QUICKBOOKS_REFRESH_TOKEN").unwrap();
    assert_ne!(first, second);
    case.reconnect = false;
    let ran = case.run().await;
    assert_eq!((ran.outcome.clone(), ran.of(Done::Changed)), (Ok(()), vec![]));
    assert_eq!(case.kept.text("QUICKBOOKS_REFRESH_TOKEN"), Some(second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_opening_entry_is_proposed_with_stripes_balance_and_nothing_is_posted() {
    let case = Case::new().await;
    let customer = case.w.all.stripe.customer(None, None);
    case.w.all.stripe.pay(&vesper_standins::stripe::NewPayment::of(&customer, 10_000));
    // 10,000 less the fee of 2.9 % and 30.
    case.run().await.says(Done::Todo, "debit account 91 with 96.80 USD");
    case.w.all.quickbooks.book_by_person("2026-11-01".parse().unwrap(), &[("91", 9_680), ("79", -9_680)]);
    case.run().await.says(Done::Todo, "account 91 holds Stripe's 96.80 USD already");
    case.w.fact("opening_posted", json!("91")).await;
    case.run().await.says(Done::Unchanged, "confirmed for account 91");
    assert_eq!(case.w.all.quickbooks.entries().len(), 1);
}

#[test]
fn the_readme_lists_exactly_the_event_types() {
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"));
    let table = readme.split("| events | what for |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut told: Vec<&str> = table.split('`').skip(1).step_by(2).filter(|t| t.contains('.')).collect();
    told.sort_unstable();
    assert_eq!(told, EVENT_TYPES);
}

#[test]
fn a_public_address_is_https_or_on_this_machine() {
    for (text, want) in [
        ("https://vesper.example/", Some("https://vesper.example")),
        ("https://x.example/vesper/webhooks/stripe", Some("https://x.example/vesper")),
        ("http://127.0.0.1:8088", Some("http://127.0.0.1:8088")),
        ("http://vesper.example", None),
        ("https://", None),
        ("https://user@vesper.example", None),
        ("vesper.example", None),
    ] {
        assert_eq!(base_url(text).ok().as_deref(), want, "{text}");
    }
}
