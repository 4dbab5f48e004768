//! push-books against a QuickBooks of the test's own: one that fails as the real one does, and keeps what it was sent.

use super::*;
use crate::pause::Pause;
use crate::testing::{Bench, SETTINGS, Script, Scripted, app, app_with, counted, listen};
use jiff::civil::{Date, date};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::dynamo::faults::{Fault as TableFault, Faults, Target, When};
use vesper_adapters::dynamo::item::item_of;
use vesper_adapters::dynamo::model::{PostingState, StoredAudit, StoredPosting, StoredReview};
use vesper_adapters::dynamo::store::{Due, Store};
use vesper_adapters::dynamo::table::Table;
use vesper_adapters::http::{HttpRequest, TransportError};
use vesper_adapters::personal::DataKey;
use vesper_core::effect::Effect;
use vesper_core::ids::PostingId;
use vesper_core::money::Minor;
use vesper_core::posting::{Account, Form, Line, Posting};
use vesper_core::records::Category;
use vesper_core::review::{Reason, Review, Status};

/// What happens to a create.
#[derive(Clone)]
enum Fate {
    /// Done, and the answer is lost.
    Lost,
    /// Not done, and no answer.
    Vanished,
    /// Nothing done; this answer.
    Answer(u16, &'static str),
}

#[derive(Default)]
struct Fake {
    fates: VecDeque<Fate>,
    /// Access tokens that work.
    access: Vec<String>,
    /// The refresh token that works; None: disconnected.
    refresh: Option<String>,
    refreshes: Vec<&'static str>,
    made: Vec<Value>,
    close_date: Option<Date>,
}

impl Fake {
    fn answer(&mut self, request: &HttpRequest) -> Scripted {
        if request.url.contains("tokens/bearer") {
            return self.token(&String::from_utf8_lossy(&request.body));
        }
        let (_, bearer) = request.headers.iter().find(|(n, _)| n == "authorization").unwrap();
        if !self.access.iter().any(|a| *bearer == format!("Bearer {a}")) {
            return Ok((401, r#"{"fault":{"error":[{"code":"3200"}],"type":"AUTHENTICATION"}}"#.into()));
        }
        if request.url.contains("/preferences") {
            let prefs = self.close_date.map_or(json!({}), |d| json!({ "BookCloseDate": d.to_string() }));
            return Ok((200, json!({ "Preferences": { "AccountingInfoPrefs": prefs } }).to_string()));
        }
        if request.url.contains("/query") {
            let kind = if request.url.contains("Transfer") { "Transfer" } else { "JournalEntry" };
            let rows: Vec<&Value> = self.made.iter().filter(|m| m.get("Amount").is_some() == (kind == "Transfer")).collect();
            return Ok((200, json!({ "QueryResponse": { kind: rows } }).to_string()));
        }
        let fate = self.fates.pop_front();
        match fate {
            Some(Fate::Vanished) => return Err(TransportError::OutcomeUnknown),
            Some(Fate::Answer(status, body)) => return Ok((status, body.into())),
            Some(Fate::Lost) | None => {}
        }
        let kind = if request.url.contains("/transfer?") { "Transfer" } else { "JournalEntry" };
        let answer = self.create(kind, serde_json::from_slice(&request.body).unwrap());
        if matches!(fate, Some(Fate::Lost)) { Err(TransportError::OutcomeUnknown) } else { answer }
    }

    fn create(&mut self, kind: &str, mut body: Value) -> Scripted {
        let day: Date = body["TxnDate"].as_str().unwrap().parse().unwrap();
        if self.close_date.is_some_and(|closed| day <= closed) {
            return Ok((400, r#"{"Fault":{"Error":[{"code":"6210"}],"type":"ValidationFault"}}"#.into()));
        }
        body["Id"] = (1000 + self.made.len()).to_string().into();
        self.made.push(body.clone());
        Ok((200, json!({ kind: body }).to_string()))
    }

    fn token(&mut self, form: &str) -> Scripted {
        if !self.refresh.as_ref().is_some_and(|r| form.contains(&format!("refresh_token={r}"))) {
            self.refreshes.push("invalid_grant");
            return Ok((400, r#"{"error":"invalid_grant"}"#.into()));
        }
        self.refreshes.push("ok");
        let n = self.refreshes.len();
        self.access.push(format!("AT-{n}"));
        self.refresh = Some(format!("RT-next-{n}"));
        let body = json!({ "access_token": format!("AT-{n}"), "refresh_token": self.refresh, "expires_in": 3600, "token_type": "bearer" });
        Ok((200, body.to_string()))
    }
}

struct Stage {
    engine: Engine,
    bench: Bench,
    fake: Arc<Mutex<Fake>>,
    script: Arc<Script>,
}

impl Stage {
    async fn new() -> Stage {
        Stage::with(SETTINGS).await
    }

    async fn with(settings: &str) -> Stage {
        let fake = Arc::new(Mutex::new(Fake { refresh: Some("RT-1".into()), ..Fake::default() }));
        let of_script = Arc::clone(&fake);
        let script = Script::new(move |request| of_script.lock().unwrap().answer(request));
        let engine = Engine::memory().unwrap();
        let bench = app(&engine, script.clone(), settings).await;
        Stage { engine, bench, fake, script }
    }

    /// A posting of the payment `pi_<n>`, on its way.
    async fn post(&self, n: u32) -> RowRef {
        let lines = [(Account::StripeClearing, 4200), (Account::Income(Category::Copay), -4200)];
        self.post_as(n, Form::Entry, &lines).await
    }

    async fn post_as(&self, n: u32, form: Form, lines: &[(Account, i64)]) -> RowRef {
        let app = &self.bench.app;
        let lines = lines.iter().map(|(account, m)| Line { account: *account, amount: Minor::new(*m).unwrap() }).collect();
        let (id, subject) = (PostingId::parse(&format!("pst_{n}")).unwrap(), format!("pi_{n}"));
        let mut changes = Changes::new(app, app.now());
        changes.post(Posting { id, subject, form, date: date(2026, 11, 20), lines }, false);
        changes.commit().await.unwrap();
        match self.bench.queue.take().pop() {
            Some((Task::BooksV1 { row }, 0)) => row,
            other => panic!("{other:?}"),
        }
    }

    async fn push(&self, row: &RowRef) -> Effect {
        push(&self.bench.app, row).await.unwrap();
        self.row(row).await.effect
    }

    async fn push_after(&self, seconds: i64, row: &RowRef) -> Effect {
        self.bench.host.advance_s(seconds);
        self.push(row).await
    }

    async fn row(&self, row: &RowRef) -> StoredPosting {
        self.bench.app.store.books(row).await.unwrap().unwrap().item
    }

    fn fate(&self, fates: &[Fate]) {
        self.fake.lock().unwrap().fates = fates.iter().cloned().collect();
    }

    fn made(&self) -> usize {
        self.fake.lock().unwrap().made.len()
    }

    /// What was sent since the last look: `create`, `find`, `preferences`, `token`.
    fn calls(&self) -> Vec<&'static str> {
        let kind = |r: &HttpRequest| match r.url.as_str() {
            u if u.contains("tokens/bearer") => "token",
            u if u.contains("/query") => "find",
            u if u.contains("/preferences") => "preferences",
            _ => "create",
        };
        self.script.take().iter().map(kind).collect()
    }

    fn delays(&self) -> Vec<u32> {
        self.bench.queue.take().into_iter().map(|(_, delay_s)| delay_s).collect()
    }

    async fn reviews(&self) -> Vec<(Reason, Status, String)> {
        let mut all: Vec<Review> = vec![];
        let mut each = |row: vesper_adapters::dynamo::row::Row| {
            if row.kind == "ReviewV1" {
                all.push(item_of::<StoredReview>(&row).unwrap().item.review);
            }
        };
        self.bench.app.store.scan(&mut each).await.unwrap();
        let mut short: Vec<_> = all.into_iter().map(|r| (r.question.reason, r.status, r.subject)).collect();
        short.sort_by_key(|(reason, status, subject)| (*reason, *status == Status::Open, subject.clone()));
        short
    }

    async fn audited(&self, action: &str) -> usize {
        let mut count = 0;
        let mut each = |row: vesper_adapters::dynamo::row::Row| {
            if row.kind == "AuditV1" && item_of::<StoredAudit>(&row).unwrap().item.record.action == action {
                count += 1;
            }
        };
        self.bench.app.store.scan(&mut each).await.unwrap();
        count
    }
}

const NOT_A_NUMBER: Fate = Fate::Answer(400, r#"{"Fault":{"Error":[{"code":"2500"}],"type":"ValidationFault"}}"#);
const TAKEN: Fate = Fate::Answer(400, r#"{"Fault":{"Error":[{"code":"6140"}],"type":"ValidationFault"}}"#);
const THROTTLED: Fate = Fate::Answer(429, r#"{"Fault":{"Error":[{"code":"3001"}],"type":"SERVICE"}}"#);
const SYSTEM_FAULT_ON_200: Fate = Fate::Answer(200, r#"{"Fault":{"Error":[{"code":"10000"}],"type":"SystemFault"}}"#);

#[tokio::test]
async fn a_posting_is_booked_once_however_often_it_is_woken() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    for _ in 0..3 {
        stage.push(&row).await;
    }
    assert_eq!(stage.calls(), ["token", "create"]);
    let stored = stage.row(&row).await;
    assert_eq!((stored.state(), stored.booked_id.as_deref(), stored.effect.tries), (PostingState::Confirmed, Some("1000"), 1));
    let made = stage.fake.lock().unwrap().made[0].clone();
    assert_eq!((made["PrivateNote"].as_str(), made["TxnDate"].as_str()), (Some("vesper pst_1"), Some("2026-11-20")));
    assert_eq!((stage.audited("posted").await, stage.delays()), (1, vec![]));
}

/// The posting's row, the lease of the refresh, the new pair: the third write of the table.
#[tokio::test]
async fn a_new_token_pair_is_stored_although_the_table_refuses_its_write_at_first() {
    for refused in 1..4 {
        let mut stage = Stage::new().await;
        let faults = Faults::over(stage.engine.http_client());
        let table = Table::new(faults.client(1), "vesper".to_owned());
        stage.bench.app.store = Store::new(table, DataKey::new([7; 32]));
        let row = stage.post(1).await;
        for call in 3..3 + refused {
            faults.script(Target::Operation("PutItem"), When::Call(call), TableFault::TransactionConflict);
        }
        assert_eq!(stage.push(&row).await.state, EffectState::Done, "{refused}");
        let _ = stage.push(&stage.post(2).await).await;
        let refreshes = stage.fake.lock().unwrap().refreshes.clone();
        assert_eq!((refreshes, stage.made()), (vec!["ok"], 2), "{refused}");
    }
}

#[tokio::test]
async fn a_persons_redrive_is_not_lost_in_a_conflict() {
    let mut stage = Stage::new().await;
    let faults = Faults::over(stage.engine.http_client());
    stage.bench.app.store = Store::new(Table::new(faults.client(1), "vesper".to_owned()), DataKey::new([7; 32]));
    let row = stage.post(1).await;
    stage.fate(&[NOT_A_NUMBER]);
    assert_eq!(stage.push(&row).await.state, EffectState::Dead);
    faults.script(Target::Writes, When::Call(1), TableFault::TransactionConflict);
    redrive(&stage.bench.app, &row).await.unwrap();
    assert_eq!(stage.push(&row).await.state, EffectState::Done);
}

#[tokio::test]
async fn a_lost_answer_is_looked_for_and_adopted() {
    for form in [Form::Entry, Form::Transfer] {
        let stage = Stage::new().await;
        let row = stage.post_as(1, form, &[(Account::Checking, 4200), (Account::StripeClearing, -4200)]).await;
        stage.fate(&[Fate::Lost]);
        let effect = stage.push(&row).await;
        assert_eq!((effect.state, stage.row(&row).await.state()), (EffectState::Failed, PostingState::Unknown));
        assert_eq!(stage.delays(), [5]);
        assert_eq!(stage.push(&row).await, effect, "not before it is due");
        assert_eq!(stage.push_after(5, &row).await.state, EffectState::Done);
        assert_eq!(stage.calls(), ["token", "create", "find"], "{form:?}");
        assert_eq!((stage.made(), stage.row(&row).await.booked_id.as_deref()), (1, Some("1000")));
    }
}

#[tokio::test]
async fn a_call_that_was_never_done_is_made_again_six_minutes_later_under_the_same_request_id() {
    for fate in [Fate::Vanished, SYSTEM_FAULT_ON_200] {
        let stage = Stage::new().await;
        let row = stage.post(1).await;
        stage.fate(&[fate]);
        stage.push(&row).await;
        let first = stage.script.take().pop().unwrap().url;
        for (seconds, state) in [(5, EffectState::Failed), (175, EffectState::Failed), (180, EffectState::Done)] {
            assert_eq!(stage.push_after(seconds, &row).await.state, state, "{seconds}");
        }
        let sent = stage.script.take();
        assert_eq!((sent.len(), &sent[3].url), (4, &first), "three looks and the same create");
        assert_eq!((stage.made(), stage.delays()), (1, vec![5, 175, 180]));
    }
}

#[tokio::test]
async fn who_finds_a_call_of_a_holder_that_is_gone_asks_first() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    let app = &stage.bench.app;
    let mut read = app.store.books(&row).await.unwrap().unwrap();
    read.item.effect.begin(app.now(), "gone", |_| false);
    read.item.effect.calling(app.now());
    app.store.save(&mut read).await.unwrap();
    assert_eq!(stage.push_after(90, &row).await.state, EffectState::Failed);
    assert_eq!(stage.calls(), ["token", "find"]);
    assert_eq!(stage.push_after(270, &row).await.state, EffectState::Done);
}

#[tokio::test]
async fn nobody_else_is_let_in_while_the_holder_is_alive() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    let app = &stage.bench.app;
    let held = Held::new(app);
    let mut read = app.store.books(&row).await.unwrap().unwrap();
    read.item.effect.begin(app.now(), &held.owner, |_| false);
    app.store.save(&mut read).await.unwrap();
    stage.push_after(200, &row).await;
    redrive(app, &row).await.unwrap();
    assert_eq!((stage.calls(), stage.delays()), (vec![], vec![]));
}

#[tokio::test]
async fn an_expired_token_is_refreshed_once_for_all_and_the_call_repeated_at_once() {
    let settings = SETTINGS.replace("realm_id", "max_per_minute = 500\nrealm_id");
    let stage = Stage::with(&settings).await;
    let mut rows = vec![];
    // The pace lets eight calls go at once: four, and each of them once more with the new token.
    for n in 0..5 {
        rows.push(stage.post(n).await);
    }
    stage.push(&rows[0]).await;
    stage.fake.lock().unwrap().access.clear();
    stage.bench.host.advance_s(60);
    let app = &stage.bench.app;
    let pushes = rows[1..].iter().map(|row| push(app, row));
    let mut tasks: Vec<_> = pushes.map(Box::pin).collect();
    // All at once: each is polled until all are done.
    std::future::poll_fn(|cx| {
        tasks.retain_mut(|task| task.as_mut().poll(cx).map(Result::unwrap).is_pending());
        if tasks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert_eq!(stage.fake.lock().unwrap().refreshes, ["ok", "ok"]);
    assert_eq!(stage.made(), 5);
}

#[tokio::test]
async fn a_date_in_a_closed_period_becomes_the_first_open_day_under_the_first_doc_number() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    stage.fake.lock().unwrap().close_date = Some(date(2026, 11, 30));
    assert_eq!(stage.push(&row).await.state, EffectState::Done);
    assert_eq!(stage.calls(), ["token", "create", "preferences", "create"]);
    let stored = stage.row(&row).await;
    assert_eq!((stored.posting.date, stored.meant_for), (date(2026, 12, 1), Some(date(2026, 11, 20))));
    assert!(stored.doc_number.unwrap().starts_with("VS-261120-"));
    // A period that ends before the date was not what QuickBooks meant: a person must look.
    let other = stage.post(2).await;
    stage.fake.lock().unwrap().close_date = Some(date(2026, 11, 1));
    stage.fate(&[Fate::Answer(400, r#"{"Fault":{"Error":[{"code":"6210"}],"type":"ValidationFault"}}"#)]);
    assert_eq!(stage.push(&other).await.state, EffectState::Dead);
}

#[tokio::test]
async fn a_doc_number_that_exists_is_adopted_with_the_same_lines_and_refused_with_others() {
    for (change, state) in [(false, EffectState::Done), (true, EffectState::Dead)] {
        let stage = Stage::new().await;
        let row = stage.post(1).await;
        stage.fate(&[Fate::Lost]);
        stage.push(&row).await;
        // The row forgets the call; QuickBooks does not.
        let app = &stage.bench.app;
        let mut read = app.store.books(&row).await.unwrap().unwrap();
        read.item.effect.unknown_since = None;
        if change {
            read.item.lines = vec![("91".into(), Minor::new(9900).unwrap()), ("80".into(), Minor::new(-9900).unwrap())];
        }
        app.store.save(&mut read).await.unwrap();
        stage.fate(&[TAKEN]);
        assert_eq!(stage.push_after(5, &row).await.state, state);
        assert_eq!(stage.calls(), ["token", "create", "create", "find"]);
        assert_eq!((stage.made(), stage.reviews().await.len()), (1, usize::from(change)));
    }
}

#[tokio::test]
async fn a_duplicate_is_shown_to_a_person() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    stage.fate(&[Fate::Lost]);
    stage.push(&row).await;
    {
        let mut fake = stage.fake.lock().unwrap();
        let mut twin = fake.made[0].clone();
        twin["Id"] = "1001".into();
        fake.made.push(twin);
    }
    assert_eq!(stage.push_after(5, &row).await.state, EffectState::Done);
    assert_eq!(stage.row(&row).await.booked_id.as_deref(), Some("1000"));
    assert_eq!(stage.reviews().await, [(Reason::BooksRefused, Status::Open, "pst_1".to_owned())]);
}

#[tokio::test]
async fn a_refused_posting_is_dead_and_asked_about_each_time_until_it_is_accepted() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    let app = &stage.bench.app;
    let subject = || "pst_1".to_owned();
    stage.fate(&[NOT_A_NUMBER, NOT_A_NUMBER]);
    assert_eq!(stage.push(&row).await.state, EffectState::Dead);
    assert_eq!((stage.row(&row).await.state(), stage.delays()), (PostingState::Prepared, vec![]));
    assert_eq!(stage.reviews().await, [(Reason::BooksRefused, Status::Open, subject())]);
    // A person answers "retry": his answer closes the review and redrives. It is refused again.
    let open = app.store.open_reviews(None, 10).await.unwrap();
    assert_eq!(open[0].item.review.about.as_deref().and_then(|t| serde_json::from_str(t).ok()), Some(row.clone()));
    let mut changes = Changes::new(app, app.now());
    changes.close_review(&open[0], "retry");
    changes.commit().await.unwrap();
    redrive(app, &row).await.unwrap();
    assert_eq!(stage.delays(), [0]);
    assert_eq!(stage.push(&row).await.state, EffectState::Dead);
    assert_eq!(stage.reviews().await.len(), 2, "asked again");
    redrive(app, &row).await.unwrap();
    assert_eq!(stage.push(&row).await.state, EffectState::Done);
    assert!(stage.reviews().await.iter().all(|(_, status, _)| *status == Status::Resolved), "closed by its success");
    redrive(app, &row).await.unwrap();
    assert_eq!((stage.push(&row).await.state, stage.made()), (EffectState::Done, 1));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_later_and_after_a_day_a_person_is_asked() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    stage.fate(&[THROTTLED]);
    let effect = stage.push(&row).await;
    assert_eq!((effect.state, effect.unknown_since, stage.delays()), (EffectState::Failed, None, vec![60]));
    stage.fate(&[THROTTLED]);
    assert_eq!(stage.push_after(24 * 3600, &row).await.state, EffectState::Dead);
    let id = effect.id.to_string();
    assert_eq!(stage.reviews().await, [(Reason::DeadLetter, Status::Open, id.clone())]);
    redrive(&stage.bench.app, &row).await.unwrap();
    assert_eq!(stage.push(&row).await.state, EffectState::Done);
    assert_eq!(stage.reviews().await, [(Reason::DeadLetter, Status::Resolved, id)]);
}

#[tokio::test]
async fn every_way_to_give_a_posting_up_is_one_that_the_alarms_count() {
    const DEAD: &str = "an effect is dead";
    const DISCONNECTED: &str = "QuickBooks is not connected";
    assert_eq!(counted("PushBooksLog"), [DEAD, DISCONNECTED].map(str::to_owned).into());
    let heard = listen();
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    stage.fate(&[NOT_A_NUMBER]);
    assert_eq!(stage.push(&row).await.state, EffectState::Dead);
    assert!(heard.take().contains(DEAD), "refused");
    let row = stage.post(2).await;
    stage.fate(&[THROTTLED]);
    assert_eq!(stage.push_after(24 * 3600, &row).await.state, EffectState::Dead);
    assert!(heard.take().contains(DEAD), "a day without an answer");
    let row = stage.post(3).await;
    *stage.fake.lock().unwrap() = Fake::default();
    for _ in 0..3 {
        stage.push_after(900, &row).await;
    }
    assert_eq!(stage.row(&row).await.effect.state, EffectState::Pending);
    assert!(heard.take().contains(DISCONNECTED));
}

#[tokio::test]
async fn a_lost_connection_is_one_review_and_a_new_token_wakes_all_who_waited() {
    let stage = Stage::new().await;
    let rows = [stage.post(1).await, stage.post(2).await, stage.post(3).await];
    stage.push(&rows[0]).await;
    {
        let mut fake = stage.fake.lock().unwrap();
        fake.access.clear();
        fake.refresh = None;
    }
    stage.push(&rows[1]).await;
    for _ in 0..200 {
        // Two days without a connection: nobody dies of it, and only the first two refreshes are tried.
        stage.push_after(900, &rows[1]).await;
        stage.push(&rows[2]).await;
    }
    assert_eq!(stage.fake.lock().unwrap().refreshes, ["ok", "invalid_grant", "invalid_grant"]);
    let waiting = [stage.row(&rows[1]).await.effect.state, stage.row(&rows[2]).await.effect.state];
    assert_eq!(waiting, [EffectState::Pending; 2]);
    assert_eq!(stage.reviews().await, [(Reason::BooksReconnect, Status::Open, "pst_2".to_owned())]);
    reconnected(&stage.bench.app).await.unwrap();
    assert_eq!(stage.reviews().await[0].1, Status::Open, "nothing changed yet");
    stage.bench.queue.take();
    // Started again with another secret.
    stage.fake.lock().unwrap().refresh = Some("RT-new".into());
    let again = app_with(&stage.engine, stage.script.clone(), SETTINGS, "RT-new").await;
    again.host.advance_s(200 * 900);
    reconnected(&again.app).await.unwrap();
    assert_eq!(stage.reviews().await, [(Reason::BooksReconnect, Status::Resolved, "pst_2".to_owned())]);
    let woken = again.queue.take();
    assert_eq!(woken.len(), 2);
    for row in &rows {
        push(&again.app, row).await.unwrap();
    }
    assert_eq!(stage.made(), 3);
    reconnected(&again.app).await.unwrap();
    assert_eq!(again.queue.take(), []);
    // The next disconnection is another one.
    let later = stage.post(4).await;
    *stage.fake.lock().unwrap() = Fake::default();
    for _ in 0..4 {
        again.host.advance_s(900);
        push(&again.app, &later).await.unwrap();
    }
    assert_eq!(stage.reviews().await.len(), 2);
}

#[tokio::test]
async fn a_refresh_without_an_answer_is_tried_once_more_after_its_lease() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    let silent = Script::new(|_| Err(TransportError::OutcomeUnknown));
    let deaf = app(&stage.engine, silent.clone(), SETTINGS).await;
    push(&deaf.app, &row).await.unwrap();
    assert_eq!(silent.take().len(), 1);
    stage.push_after(60, &row).await;
    assert_eq!((stage.calls(), stage.row(&row).await.effect.state), (vec![], EffectState::Failed), "the lease still runs");
    assert_eq!(stage.push_after(200, &row).await.state, EffectState::Done);
    assert_eq!(stage.calls(), ["token", "create"]);
}

#[tokio::test]
async fn what_is_paused_or_in_shadow_mode_waits_without_a_call_and_does_not_grow_old() {
    let stage = Stage::new().await;
    let row = stage.post(1).await;
    crate::pause::set(&stage.bench.app, Pause::Postings).await.unwrap();
    for _ in 0..3 {
        assert_eq!(stage.push_after(24 * 3600, &row).await.state, EffectState::Pending);
    }
    assert_eq!((stage.calls(), stage.delays()), (vec![], vec![900, 900, 900]));
    crate::pause::set(&stage.bench.app, Pause::None).await.unwrap();
    let due = stage.bench.app.store.due(stage.bench.app.now(), 10).await.unwrap();
    assert!(matches!(due.as_slice(), [Due::Books(there)] if *there == row), "the end of the pause wakes it: {due:?}");
    let settings = SETTINGS.replace("[ehr]", "mode = \"shadow\"\n[ehr]");
    let shadow = app(&stage.engine, stage.script.clone(), &settings).await;
    shadow.host.advance_s(3 * 24 * 3600);
    push(&shadow.app, &row).await.unwrap();
    reconnected(&shadow.app).await.unwrap();
    assert_eq!(stage.calls(), [""; 0]);
    stage.fate(&[THROTTLED]);
    assert_eq!(stage.push_after(900, &row).await.state, EffectState::Failed, "not dead of the first failure after the pause");
}

#[tokio::test]
async fn the_pace_puts_postings_off_and_none_is_starved() {
    let settings = SETTINGS.replace("realm_id", "max_per_minute = 1\nrealm_id");
    let stage = Stage::with(&settings).await;
    let mut rows = BTreeMap::new();
    for n in 0..3 {
        rows.insert(n, stage.post(n).await);
    }
    stage.fate(&[Fate::Vanished]);
    let mut seconds = 0;
    while stage.made() < 3 && seconds < 3600 {
        for row in rows.values() {
            stage.push(row).await;
        }
        stage.bench.host.advance_s(5);
        seconds += 5;
    }
    assert_eq!(stage.made(), 3);
    let calls = stage.calls().iter().filter(|c| **c != "token").count();
    assert!(i64::try_from(calls).unwrap() <= seconds / 60 + 2, "{calls} calls in {seconds} s");
}
