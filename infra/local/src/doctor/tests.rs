//! Each finding is found: a world in which all is right, bent in one place at a time.

use super::*;
use crate::between::{ADDRESS, Between, NOON};
use crate::setup::endpoint::{Remembered, remember};
use serde_json::json;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::item::Unit;
use vesper_adapters::dynamo::model::{DeadLetter, StoredPosting};
use vesper_adapters::ehr::BridgeClient;
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::oauth::{self, TokenState, sha256_hex};
use vesper_adapters::settings::Settings;
use vesper_adapters::stripe::wire::EVENT_TYPES;
use vesper_core::effect::{Effect, EffectKind, EffectState};
use vesper_core::ids::{EffectId, PostingId};
use vesper_functions::pause::{self, Pause};
use vesper_functions::push_books::connect;
use vesper_standins::ehr::Capabilities;
use vesper_standins::stripe::{API_VERSION, Decline, NewPayment};
use vesper_standins::{Fault, FaultKind, Scripted};

const URL: &str = "https://vesper.example/webhooks/stripe";

/// A world, what doctor looks at, and the endpoint of Stripe's.
struct Case {
    w: Between,
    s: Subject,
    endpoint: String,
}

impl Case {
    /// Everything is set up and runs.
    async fn right() -> Case {
        Self::of(Between::new().await).await
    }

    async fn of(w: Between) -> Case {
        let (endpoint, secret) = w.all.stripe.endpoint(URL, API_VERSION, &EVENT_TYPES);
        let known = Remembered {
            id: endpoint.clone(),
            url: URL.to_owned(),
            secret_sha256: Some(sha256_hex(&Secret::new(secret.as_str()))),
        };
        remember(&w.store, &known).await.unwrap();
        w.fact("customers_listed", json!(true)).await;
        w.fact("mode", json!("live")).await;
        let secrets = w.secrets(&secret);
        let settings = w.settings();
        let hasher = w.key.email_hasher();
        let bridge = BridgeClient::new(w.transport(), &w.all.ehr.origin(), secrets.ehr_bridge_secrets.clone(), hasher.clone());
        let read = bridge.changes(None, 500, 1, NOON).await.unwrap();
        w.fact("ehr_feed", json!({"cursor": read.next_cursor, "seq": 0})).await;
        let q = secrets.quickbooks.as_ref().unwrap();
        let token_url = w.all.quickbooks.token_url();
        let pair = oauth::refresh(w.transport().as_ref(), &token_url, &q.client_id, &q.client_secret, &w.first_refresh()).await;
        connect::consented(&w.store, &pair.unwrap(), (w.clock)(), || [3; 12]).await.unwrap();
        let s = Subject {
            go_live: settings.practice.go_live,
            settings,
            secrets,
            store: Some(w.store.clone()),
            runner: Runner::Serve(Some(0)),
            url: None,
            transport: w.transport(),
            clock: w.clock.clone(),
            hasher,
        };
        Case { w, s, endpoint }
    }

    async fn look(&self) -> Vec<Finding> {
        let mut out = Vec::new();
        examine(&self.s, &mut out, &|_| {}).await;
        let text: String = out.iter().map(|f| format!("{f}\n")).collect();
        self.w.assert_no_secret(&text);
        assert!(out.iter().all(|f| matches!(f.level, Level::Ok | Level::Skipped) == f.remedy.is_none()), "{text}");
        out
    }

    /// Bent settings.
    fn set(&mut self, from: &str, to: &str) {
        let text = self.w.toml();
        assert!(text.contains(from) || from.is_empty(), "{from}");
        let text = if from.is_empty() { format!("{text}{to}") } else { text.replace(from, to) };
        self.s.settings = Settings::parse(&text, "practice.toml", Need::Serve).unwrap();
    }

    fn clock_off(&mut self, seconds: i64) {
        let theirs = self.w.clock.clone();
        self.s.clock = Arc::new(move || theirs().checked_add(SignedDuration::from_secs(seconds)).unwrap());
    }

    async fn posting(&self, bend: fn(&mut Effect)) {
        let now = (self.w.clock)();
        let mut effect = Effect::new(EffectId::parse("eff_1").unwrap(), EffectKind::Books, "pi_1", false, now);
        bend(&mut effect);
        let posting = vesper_core::posting::Posting {
            id: PostingId::parse("pst_1").unwrap(),
            subject: "pi_1".to_owned(),
            form: vesper_core::posting::Form::Entry,
            date: jiff::civil::date(2026, 11, 20),
            lines: vec![],
        };
        let (lines, doc_number, meant_for, booked_id) = (vec![], None, None, None);
        let mut unit = Unit::new();
        unit.insert(&StoredPosting { posting, meant_for, lines, doc_number, effect, booked_id });
        self.w.store.commit(unit).await.unwrap();
    }
}

#[track_caller]
fn has(findings: &[Finding], area: &str, level: Level, text: &str) {
    let found = findings.iter().any(|f| f.area == area && f.level == level && f.text.contains(text));
    let all: String = findings.iter().map(|f| format!("{f}\n")).collect();
    assert!(found, "no {} of {area} says {text:?}:\n{all}", level.as_str());
}

#[tokio::test]
async fn where_all_is_right_nothing_is_a_warning_or_a_problem() {
    let case = Case::right().await;
    let before = case.w.all.stripe.endpoints();
    let found = case.look().await;
    let bad: Vec<&Finding> = found.iter().filter(|f| !matches!(f.level, Level::Ok)).collect();
    assert_eq!(bad, Vec::<&Finding>::new());
    let areas: BTreeSet<&str> = found.iter().map(|f| f.area).collect();
    for area in ["clock", "stripe key", "stripe webhook", "stripe events", "address", "ehr bridge", "books", "queues", "pause"] {
        assert!(areas.contains(area), "{area} was not looked at");
    }
    // Only reads, and questions that change nothing.
    assert_eq!(case.w.all.stripe.endpoints(), before);
    assert_eq!((case.w.all.quickbooks.entries().len(), case.w.all.quickbooks.refreshes()), (0, vec!["ok"]));
}

#[tokio::test]
async fn each_fault_of_the_key_is_found() {
    let mut case = Case::right().await;
    case.w.all.stripe.forbid(["rak_refund_write", "rak_payout_read", "rak_payment_intent_write"]);
    let found = case.look().await;
    has(
        &found,
        "stripe key",
        Level::Problem,
        "PaymentIntents: write (rak_payment_intent_write), Payouts: read (rak_payout_read)",
    );
    case.w.all.stripe.forbid([]);
    has(&case.look().await, "stripe key", Level::Problem, "may do what Vesper never does: Refunds: write");
    case.w.all.stripe.forbid(["rak_refund_write", "rak_webhook_read"]);
    has(&case.look().await, "stripe webhook", Level::Warning, "may not read webhook endpoints");
    case.s.secrets.stripe_api_key = Secret::new("rk_test_rolled");
    has(&case.look().await, "stripe key", Level::Problem, "does not accept STRIPE_API_KEY");
    let full = Case::of(Between::with_key("sk_test_standin", false).await).await;
    has(&full.look().await, "stripe key", Level::Warning, "full secret key");
    let live = Case::of(Between::with_key("rk_test_standin", true).await).await;
    has(&live.look().await, "stripe key", Level::Problem, "the key is of live mode");
}

#[tokio::test]
async fn a_wrong_clock_is_found_before_signatures_fail_and_when_they_do() {
    let mut case = Case::right().await;
    case.clock_off(45);
    has(&case.look().await, "clock", Level::Warning, "45 s ahead of Stripe's");
    case.clock_off(-301);
    let found = case.look().await;
    has(&found, "clock", Level::Problem, "5 min behind Stripe's: signatures are refused");
    has(&found, "ehr bridge", Level::Problem, "does not accept our signature");
}

#[tokio::test]
async fn each_drift_of_the_endpoint_is_found() {
    type Bend = fn(&mut Case);
    let rows: [(Bend, Level, &str); 7] = [
        (|c| c.w.all.stripe.change(&c.endpoint, json!({"status": "disabled"})), Level::Problem, "it is disabled"),
        (
            |c| c.w.all.stripe.change(&c.endpoint, json!({"enabled_events": ["charge.succeeded", "invoice.paid"]})),
            Level::Problem,
            "it has needlessly invoice.paid",
        ),
        (
            |c| c.w.all.stripe.change(&c.endpoint, json!({"api_version": "2024-06-20"})),
            Level::Problem,
            "its api_version is 2024-06-20",
        ),
        (|c| c.w.all.stripe.change(&c.endpoint, json!({"url": "https://old.example"})), Level::Problem, "to another address"),
        (
            |c| {
                c.w.all.stripe.endpoint(URL, API_VERSION, &EVENT_TYPES);
            },
            Level::Warning,
            "each event comes twice",
        ),
        (
            |c| c.s.secrets.stripe_webhook_secrets = vec![Secret::new("whsec_other")],
            Level::Problem,
            "does not hold the signing secret",
        ),
        (|c| c.s.url = Some("https://moved.example".to_owned()), Level::Problem, "it delivers to another address"),
    ];
    for (bend, level, text) in rows {
        let mut case = Case::right().await;
        bend(&mut case);
        has(&case.look().await, "stripe webhook", level, text);
    }
    let case = Case::right().await;
    case.w.all.stripe.fault(
        Fault::new(
            "GET /v1/webhook_endpoints",
            FaultKind::Status(Scripted::json(200, &json!({"object": "list", "data": [], "has_more": false}))),
        )
        .always(),
    );
    has(&case.look().await, "stripe webhook", Level::Problem, "there is no webhook endpoint at");
}

#[tokio::test]
async fn what_stripe_could_not_deliver_and_what_never_arrived_is_found() {
    let case = Case::right().await;
    let customer = case.w.all.stripe.customer(None, None);
    case.w.all.stripe.pay(&NewPayment::of(&customer, 4200));
    let on_its_way = case.look().await;
    has(&on_its_way, "stripe events", Level::Warning, "has not taken yet");
    assert!(!on_its_way.iter().any(|f| f.text.contains("never arrived")));
    case.w.pass_s(16 * 60);
    has(
        &case.look().await,
        "stripe events",
        Level::Problem,
        "1 payments that Stripe received in the last 72 hours never arrived",
    );
}

#[tokio::test]
async fn who_else_charges_cards_is_found() {
    let mut case = Case::right().await;
    let customer = case.w.all.stripe.customer(None, None);
    let card = Decline::of("insufficient_funds");
    let payment = case.w.all.stripe.fail(&NewPayment::of(&customer, 4200), &card);
    case.w.all.stripe.fail_again(&payment, &card);
    has(&case.look().await, "double charging", Level::Ok, "of 2 failed tries of the last 30 days none was Stripe's own retry");
    case.w.all.stripe.tries_again_by_itself(&payment, &card);
    has(&case.look().await, "double charging", Level::Problem, "Stripe itself tried 1 failed payments again");
    let client = |autopay: &str| {
        serde_json::from_value::<vesper_core::records::Client>(json!({
            "id": format!("c_{autopay}"), "customers": [], "emails": [], "guarantor": null, "status": "active", "autopay": autopay,
            "card_consent": "given", "coverage": "commercial", "version": "1", "seen": {"observed_at": "2026-11-20T15:00:00Z", "seq": 1}
        }))
        .unwrap()
    };
    let mut unit = Unit::new();
    for autopay in ["on", "unknown"] {
        unit.insert(&vesper_adapters::dynamo::model::StoredClient { client: client(autopay) });
    }
    case.w.store.commit(unit).await.unwrap();
    let found = case.look().await;
    has(&found, "double charging", Level::Ok, "the EHR charges the cards of 1 clients by itself");
    assert!(!found.iter().any(|f| f.text.contains("when_autopay_unknown")));
    case.set("", "[retry]\nwhen_autopay_unknown = \"retry\"\n");
    has(&case.look().await, "double charging", Level::Warning, "does not say of 1 of 2 clients");
}

#[tokio::test]
async fn an_address_that_is_not_vespers_is_found() {
    for (path, status, level, text) in [
        ("/healthz", None, Level::Problem, "https://vesper.example does not answer"),
        ("/healthz", Some(502), Level::Warning, "/healthz answers 502"),
        ("/webhooks/stripe", Some(200), Level::Problem, "answers 200 to what nobody signed"),
        ("/webhooks/stripe", Some(404), Level::Problem, "answers 404, expected 400"),
        ("/webhooks/ehr", Some(503), Level::Problem, "it has no settings or secrets"),
        ("/webhooks/ehr", None, Level::Problem, "/webhooks/ehr does not answer"),
    ] {
        let case = Case::right().await;
        {
            let mut doors = case.w.doors.lock().unwrap();
            match status {
                Some(status) => doors.insert(path, status),
                None => doors.remove(path),
            };
        }
        has(&case.look().await, "address", level, text);
    }
    let mut unknown = Case::right().await;
    unknown.s.store = None;
    has(&unknown.look().await, "address", Level::Skipped, "the public address is not known");
    unknown.s.url = Some(ADDRESS.to_owned());
    has(&unknown.look().await, "address", Level::Ok, "https://vesper.example answers");
}

#[tokio::test]
async fn each_fault_of_the_bridge_is_found() {
    let able = json!({"system": "x", "writes_payments": true, "reverses_payments": true, "idempotent_writes": true});
    let answers = |body: &serde_json::Value| FaultKind::Status(Scripted::json(200, body));
    for (fault, level, text) in [
        (FaultKind::Status(Scripted::status(401)), Level::Problem, "does not accept our signature"),
        (FaultKind::NotSent, Level::Problem, "does not answer as in its contract"),
        (answers(&json!({"system": "x"})), Level::Problem, "does not answer as in its contract"),
        (answers(&able), Level::Problem, "the bridge answers to a wrong signature"),
    ] {
        let case = Case::right().await;
        case.w.all.ehr.fault(Fault::new("GET /v1/capabilities", fault).always());
        has(&case.look().await, "ehr bridge", level, text);
    }
    let case = Case::right().await;
    let weak = Capabilities { idempotent_writes: false, writes_payments: false, reverses_payments: false };
    case.w.all.ehr.set_capabilities(weak);
    let found = case.look().await;
    has(&found, "ehr bridge", Level::Warning, "cannot record payments nor take payments back");
    has(&found, "ehr bridge", Level::Warning, "does not protect against a repeated write");
}

#[tokio::test]
async fn a_feed_that_nobody_reads_is_found_by_its_age() {
    let case = Case::right().await;
    case.w.all.ehr.client("c_1", json!({}));
    has(&case.look().await, "ehr bridge", Level::Ok, "about to be read");
    case.w.pass_s(3 * 300 + 60);
    has(&case.look().await, "ehr bridge", Level::Problem, "changes that were not read, the oldest of them 1");
    case.w.fact("ehr_feed", json!({"cursor": null, "seq": 0})).await;
    has(&case.look().await, "ehr bridge", Level::Warning, "nothing of the EHR was read yet");
}

#[tokio::test]
async fn each_fault_of_the_books_is_found() {
    type Bend = fn(&mut Case);
    let rows: [(Bend, Level, &str); 8] = [
        (
            |c| c.s.secrets.quickbooks.as_mut().unwrap().client_secret = Secret::new("rolled"),
            Level::Problem,
            "Intuit does not accept QUICKBOOKS_CLIENT_ID and QUICKBOOKS_CLIENT_SECRET",
        ),
        (|c| c.w.all.quickbooks.revoke(), Level::Problem, "or was taken away"),
        (|c| c.w.all.quickbooks.deactivate("35"), Level::Problem, "books.accounts.checking = \"35\" was made inactive"),
        (|c| c.w.all.quickbooks.set_account_currency("79", "CAD"), Level::Problem, "income.default = \"79\" is in cad"),
        (|c| c.w.all.quickbooks.set_close_date("2026-11-30".parse().ok()), Level::Warning, "closed until 2026-11-30"),
        (|c| c.w.pass_s(3601), Level::Skipped, "the access token has ended"),
        (|c| c.set("realm_id = \"1234567890\"", "realm_id = \"77\""), Level::Problem, "the company cannot be read"),
        (|c| c.s.store = None, Level::Skipped, "name it with --data or --stack"),
    ];
    for (bend, level, text) in rows {
        let mut case = Case::right().await;
        bend(&mut case);
        has(&case.look().await, "books", level, text);
    }
    let mut case = Case::right().await;
    let now = (case.w.clock)();
    let stored = connect::stored(&case.w.store).await.unwrap().unwrap();
    let rev = case.w.store.secret_meta::<TokenState>("books_token").await.unwrap().unwrap().rev;
    let lost = TokenState { disconnected: true, ..stored };
    case.w.store.set_secret_meta("books_token", &lost, rev, [9; 12]).await.unwrap();
    has(&case.look().await, "books", Level::Problem, "no longer accepts the connection");
    let empty = Between::new().await;
    case.s.store = Some(empty.store.clone());
    has(&case.look().await, "books", Level::Skipped, "was not used yet");
    case.s.secrets.quickbooks.as_mut().unwrap().refresh_token = Secret::new("");
    has(&case.look().await, "books", Level::Problem, "the company is not connected");
    assert!(now.as_second() == NOON);
}

#[tokio::test]
async fn work_that_waits_was_given_up_or_is_held_is_found() {
    let case = Case::right().await;
    pause::store(&case.w.store, Pause::Postings, "test", (case.w.clock)(), "r1".to_owned()).await.unwrap();
    let mut unit = Unit::new();
    let (queue, id, body, problem) = ("events".to_owned(), "evt_1".to_owned(), String::new(), String::new());
    unit.insert(&DeadLetter { queue, id, body, at: (case.w.clock)(), problem });
    case.w.store.commit(unit).await.unwrap();
    case.posting(|_| {}).await;
    let found = case.look().await;
    has(&found, "pause", Level::Warning, "a person holds: postings");
    has(&found, "queues", Level::Problem, "1 dead letters: 1 in events");
    has(&found, "postings", Level::Ok, "1 postings to the books wait");
    case.w.pass_s(3700);
    has(
        &case.look().await,
        "postings",
        Level::Problem,
        "1 postings to the books wait, 0 of them failed before; the oldest for 61 min",
    );
    let case = Case::right().await;
    case.posting(|e| e.state = EffectState::Dead).await;
    has(&case.look().await, "postings", Level::Problem, "1 postings to the books were given up");
}

#[tokio::test]
async fn what_differs_from_the_last_start_is_found() {
    let mut case = Case::right().await;
    case.w.fact("customers_listed", json!(false)).await;
    case.w.fact("opening_posted", json!("35")).await;
    case.set("id = \"northbridge\"", "id = \"northbridge\"\nmode = \"shadow\"");
    let found = case.look().await;
    has(&found, "mode", Level::Warning, "the settings say shadow, the last start was in live mode");
    has(&found, "customers", Level::Warning, "not all listed yet");
    has(&found, "opening entry", Level::Problem, "another account than the one whose opening entry was confirmed");
}

#[tokio::test]
async fn a_config_with_errors_and_missing_secrets_are_problems_line_by_line() {
    let w = Between::new().await;
    let mut out = Vec::new();
    assert!(settings(&w.toml().replace("checking", "chekking"), "practice.toml", &mut out).is_none());
    has(&out, "config", Level::Problem, "practice.toml:");
    has(&out, "config", Level::Problem, "did you mean `checking`?");
    let (mut out, settings) = (Vec::new(), w.settings());
    let found = secrets(|name| (name == "STRIPE_API_KEY").then(|| "rk_live_1".to_owned()), &settings, &mut out);
    assert!(found.ehr_bridge_secrets.is_empty());
    has(&out, "secrets", Level::Problem, "EHR_BRIDGE_SECRETS is missing");
    has(&out, "secrets", Level::Problem, "`stripe.livemode` is false, but STRIPE_API_KEY starts with rk_live_");
    let text: String = out.iter().map(|f| f.to_string()).collect();
    assert!(!text.contains("rk_live_1"));
}

#[tokio::test]
async fn a_directory_that_is_none_is_a_problem_and_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nothing");
    let mut out = Vec::new();
    assert!(open(&path, &mut out).await.is_none());
    has(&out, "data", Level::Problem, "is no data directory");
    assert!(!path.exists());
}
