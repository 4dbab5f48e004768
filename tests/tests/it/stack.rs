//! The commands of the person who looks after a stack, as processes against a stand-in of AWS: setup and doctor with `--stack`,
//! export, pause and backfill with `--table`; and what the heartbeat starts and switches.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use vesper_adapters::dynamo::store::Store;
use vesper_functions::export::export;
use vesper_functions::pause::{self, Pause};
use vesper_functions::{chores, switch};
use vesper_standins::serve::{Served, serve};
use vesper_standins::stripe::{DEFAULT_KEY, NewPayment};
use vesper_standins::{ehr, quickbooks};
use vesper_tests::harness::process::binary;
use vesper_tests::harness::{Told, WEBHOOK_SECRET, broken};
use vesper_tests::lambda::aws::Message;
use vesper_tests::lambda::cloud::Cloud;
use vesper_tests::lambda::operator::{Doors, KEY_ARN, Operator, STACK};
use vesper_tests::lambda::runtime::Outcome;

/// Where the parameters stand.
const PATH: &str = "/vesper/harness";

/// A deployed stack, and a person at a command line.
struct Desk {
    cloud: Cloud,
    operator: Operator,
    config: String,
    environment: BTreeMap<&'static str, String>,
    dir: tempfile::TempDir,
    _served: [Served; 2],
}

/// What a command came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn says(&self, text: &str) {
        assert!(self.out.contains(text) || self.err.contains(text), "nothing says {text:?}: {}\n{}", self.out, self.err);
    }

    /// The lines of this kind and area.
    fn lines(&self, kind: &str, area: &str) -> Vec<&str> {
        self.out.lines().filter(|l| l.starts_with(kind) && l[kind.len()..].trim_start().starts_with(area)).collect()
    }
}

impl Desk {
    /// Everything is set up, with a key of AWS's.
    async fn set_up() -> Desk {
        Desk::of(Cloud::new().await, None).await
    }

    async fn of(cloud: Cloud, key: Option<&str>) -> Desk {
        let part = |name: &str| cloud.aws.parameter(&format!("{PATH}/{name}")).unwrap();
        let config = format!("{}{}", part("config/1"), part("config/2"));
        let doors = serve(Doors).await.unwrap();
        let operator = Operator::new(cloud.aws.clone(), &doors.origin(), PATH, key);
        let endpoint = serve(operator.clone()).await.unwrap();
        let text = str::to_owned;
        let environment = BTreeMap::from([
            ("AWS_ENDPOINT_URL", endpoint.origin()),
            ("AWS_REGION", text("us-east-1")),
            ("AWS_ACCESS_KEY_ID", text("person")),
            ("AWS_SECRET_ACCESS_KEY", text("secret")),
        ]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("practice.toml"), &config).unwrap();
        Desk { cloud, operator, config, environment, dir, _served: [doors, endpoint] }
    }

    /// Before setup: no parameter is there, and a person has the secrets.
    async fn before_setup(key: Option<&str>) -> Desk {
        let mut desk = Desk::of(Cloud::new().await, key).await;
        for name in desk.cloud.aws.parameter_names() {
            desk.cloud.aws.remove_parameter(&name);
        }
        let text = str::to_owned;
        desk.environment.extend([
            ("STRIPE_API_KEY", text(DEFAULT_KEY)),
            ("STRIPE_WEBHOOK_SECRETS", text(WEBHOOK_SECRET)),
            ("EHR_BRIDGE_SECRETS", text(ehr::DEFAULT_SECRET)),
            ("QUICKBOOKS_CLIENT_ID", text(quickbooks::DEFAULT_CLIENT_ID)),
            ("QUICKBOOKS_CLIENT_SECRET", text(quickbooks::DEFAULT_CLIENT_SECRET)),
            ("QUICKBOOKS_REFRESH_TOKEN", text(quickbooks::FIRST_REFRESH_TOKEN)),
        ]);
        desk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.dir.path()).env_clear().envs(&self.environment).env("HOME", self.dir.path());
        command
    }

    async fn run(&self, line: &str) -> Ran {
        let mut command = self.command(&line.split_whitespace().collect::<Vec<_>>());
        ran(tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap())
    }

    async fn told(&self) -> Told {
        Told(export(&self.cloud.store(), false).await.unwrap())
    }

    async fn beat(&mut self) {
        assert_eq!(self.cloud.beat().await, Outcome::Answered(Value::Null), "{}", self.cloud.logged());
    }

    /// A client with an invoice that the stack has read.
    async fn client(&mut self) -> (String, String) {
        let customer = self.cloud.standins.stripe.customer(Some("zzyq.canary@example.org"), Some("Zzyqcanary Persephonequill"));
        let client = self
            .cloud
            .standins
            .ehr
            .client("c_1", json!({ "stripe_customer_ids": [customer], "display_name": "Zzyqcanary Persephonequill" }));
        let invoice = self.cloud.standins.ehr.invoice("inv_1", &client, 12_000, 0, json!({}));
        self.cloud.notice().await;
        self.cloud.pump().await;
        (customer, invoice)
    }

    fn pay(&self, customer: &str, amount: i64, invoice: &str) -> String {
        self.cloud.standins.stripe.pay(&NewPayment::of(customer, amount).metadata("vesper_invoice", invoice))
    }

    /// reconcile works off what waits, once; the messages that come again.
    async fn reconcile_once(&mut self) -> Vec<Message> {
        let batch = self.cloud.aws.receive("events", 10);
        let record = |m: &Message| json!({ "messageId": m.id, "body": m.body });
        let event = json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() });
        let answer = self.cloud.invoke("reconcile", &event).await.answer();
        let failed: Vec<&Value> = answer["batchItemFailures"].as_array().unwrap().iter().map(|f| &f["itemIdentifier"]).collect();
        batch.into_iter().filter(|m| failed.iter().any(|id| *id == m.id.as_str())).collect()
    }

    /// The settings of the stack are replaced.
    fn set_mode(&self, mode: &str) {
        let config = self.config.replace("mode = \"live\"", &format!("mode = \"{mode}\""));
        self.cloud.aws.remove_parameter(&format!("{PATH}/config/1"));
        self.cloud.aws.remove_parameter(&format!("{PATH}/config/2"));
        self.cloud.aws.set_parameter(&format!("{PATH}/config"), &config);
    }
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_brings_a_stack_to_its_first_payment_and_a_second_run_changes_nothing() {
    let mut desk = Desk::before_setup(Some(KEY_ARN)).await;
    let dry = desk.run(&format!("setup --config practice.toml --stack {STACK} --dry-run")).await;
    dry.says("make /vesper/harness/DATA_KEY, 32 random bytes, wrapped by arn:aws:kms");
    dry.says("store practice.toml in /vesper/harness in SSM");
    assert_eq!((desk.operator.take_stored(), desk.cloud.standins.stripe.endpoints().len()), (vec![], 0), "{}", dry.out);

    let line = format!("setup --config practice.toml --stack {STACK} --key-copy key.copy");
    let first = desk.run(&line).await;
    assert_eq!(first.code, Some(0), "{}\n{}", first.out, first.err);
    let stored = desk.operator.take_stored();
    assert!(stored.iter().all(|(_, key, _)| key.as_deref() == Some(KEY_ARN)), "the practice's own key wraps them: {stored:?}");
    assert!(stored.iter().any(|(name, _, replace)| name == "/vesper/harness/DATA_KEY" && !replace), "{stored:?}");
    let key = desk.cloud.aws.parameter("/vesper/harness/DATA_KEY").unwrap();
    assert_eq!((key.len(), std::fs::read_to_string(desk.file("key.copy")).unwrap().trim()), (64, key.as_str()));
    assert_eq!(desk.cloud.aws.parameter("/vesper/harness/config"), Some(desk.config.clone()));
    let endpoints = desk.cloud.standins.stripe.endpoints();
    assert!(endpoints.len() == 1 && endpoints[0]["url"].as_str().unwrap().ends_with("/webhooks/stripe"), "{endpoints:?}");
    let secrets = [DEFAULT_KEY, WEBHOOK_SECRET, ehr::DEFAULT_SECRET, quickbooks::FIRST_REFRESH_TOKEN, &key, "whsec_"];
    assert!(secrets.iter().all(|s| !first.out.contains(s) && !first.err.contains(s)), "{}\n{}", first.out, first.err);

    let second = desk.run(&line.replace(" --key-copy key.copy", "")).await;
    assert_eq!((second.code, second.lines("changed", "").len()), (Some(0), 0), "{}\n{}", second.out, second.err);
    second.says("nothing to change");
    assert_eq!((desk.operator.take_stored(), desk.cloud.standins.stripe.endpoints().len()), (vec![], 1));

    let (customer, invoice) = desk.client().await;
    let _ = desk.pay(&customer, 3_000, &invoice);
    desk.cloud.deliver().await;
    desk.cloud.pump().await;
    let told = desk.told().await;
    assert_eq!(told.open(&invoice), 9_000, "{}", desk.cloud.logged());
    assert_eq!((desk.cloud.standins.ehr.written().len(), desk.cloud.standins.quickbooks.entries().len()), (1, 1));
    assert_eq!(broken(&desk.cloud.standins, &told), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_before_the_stack_had_its_own_key_is_wrapped_by_it_and_stays_the_same() {
    let desk = Desk::of(Cloud::new().await, Some(KEY_ARN)).await;
    let read = || desk.cloud.aws.parameter_names().into_iter().map(|name| (desk.cloud.aws.parameter(&name), name));
    let secrets = |name: &str| !name.contains("/config") && !name.contains("WEBHOOK");
    let before: Vec<_> = read().filter(|(_, name)| secrets(name)).collect();
    let line = format!("setup --config practice.toml --stack {STACK}");
    let first = desk.run(&line).await;
    assert_eq!(first.code, Some(0), "{}\n{}", first.out, first.err);
    first.says("wrap DATA_KEY with the key of the stack");
    assert_eq!(read().filter(|(_, name)| secrets(name)).collect::<Vec<_>>(), before);
    let stored = desk.operator.take_stored();
    assert!(before.iter().all(|(_, name)| stored.contains(&(name.clone(), Some(KEY_ARN.to_owned()), true))), "{stored:?}");
    assert_eq!(desk.run(&line).await.lines("changed", ""), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_refuses_another_practices_stack_and_a_used_table_without_its_key() {
    let mut desk = Desk::before_setup(None).await;
    let nowhere = desk.run("setup --config practice.toml --stack vesper-other").await;
    assert_eq!(nowhere.code, Some(2));
    nowhere.says("there is no stack vesper-other in us-east-1");
    std::fs::write(desk.file("practice.toml"), desk.config.replace("\"harness\"", "\"elsewhere\"")).unwrap();
    let other = desk.run(&format!("setup --config practice.toml --stack {STACK}")).await;
    assert_eq!(other.code, Some(2));
    other.says("stack vesper-test is of practice harness, and practice.id is \"elsewhere\"");
    std::fs::write(desk.file("practice.toml"), &desk.config).unwrap();
    desk.cloud.store().set_meta("mode", &"live", 0).await.unwrap();
    let used = desk.run(&format!("setup --config practice.toml --stack {STACK}")).await;
    assert_eq!((used.code, desk.operator.take_stored()), (Some(2), vec![]));
    used.says("restore it from your safe copy");
    desk.environment.remove("AWS_ACCESS_KEY_ID");
    let nobody = desk.run(&format!("doctor --stack {STACK}")).await;
    assert_eq!(nobody.code, Some(2));
    nobody.says("aws configure export-credentials --format env");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_looks_at_a_stack_from_all_sides_and_changes_nothing() {
    let mut desk = Desk::set_up().await;
    let line = format!("doctor --stack {STACK} --config practice.toml");
    let early = desk.run(&line).await;
    assert_eq!(early.code, Some(1));
    early.says("the heartbeat never came through");
    desk.beat().await;
    desk.cloud.pump().await;
    let before = desk.told().await;
    let found = desk.run(&line).await;
    for area in ["stack", "heartbeat", "data", "config", "secrets", "clock", "ehr bridge", "address", "queues", "mode"] {
        assert!(!found.lines("ok", area).is_empty(), "{area}: {}", found.out);
        assert!(found.lines("problem", area).is_empty(), "{area}: {}", found.out);
    }
    found.says("can be restored to any second of the last 35 days");
    found.says("it works with the settings of practice.toml");
    assert_eq!(desk.told().await.0, before.0, "doctor writes nothing");

    desk.operator.switch_backups_off();
    let letter = Message { id: "m".to_owned(), body: "x".to_owned(), delay_s: 0, receives: 5 };
    desk.cloud.aws.put("books-dead-letters", letter);
    std::fs::write(desk.file("practice.toml"), format!("{}\n# mine\n", desk.config)).unwrap();
    let bent = desk.run(&line).await;
    assert_eq!(bent.code, Some(1));
    bent.says("has no point-in-time recovery");
    bent.says("about 1 messages of postings are dead letters and no question yet");
    bent.says("the stack works with other settings than practice.toml");
    let json: Value = serde_json::from_str(&desk.run(&format!("doctor --stack {STACK} --json")).await.out).unwrap();
    assert!(json["problems"].as_u64().unwrap() >= 1);
    let dry = desk.run(&format!("doctor --stack {STACK} --dry-run")).await;
    assert_eq!(dry.code, Some(0));
    dry.says("would look at   heartbeat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_exported_paused_and_backfilled_from_the_command_line() {
    let mut desk = Desk::set_up().await;
    desk.beat().await;
    let (customer, invoice) = desk.client().await;
    let payment = desk.pay(&customer, 3_000, &invoice);
    desk.cloud.deliver().await;
    desk.cloud.pump().await;

    let plain = desk.run("export --table vesper").await;
    assert_eq!((plain.code, plain.out.contains("zzyq.canary")), (Some(0), false), "{}", plain.err);
    assert!(!plain.out.contains("Zzyqcanary"));
    let whole: Value = serde_json::from_str(&plain.out).unwrap();
    assert_eq!(whole, desk.told().await.0, "as the library exports it");
    let personal = desk.run("export --table vesper --with-personal-data").await;
    assert!(personal.out.contains("Zzyqcanary"), "the data key is that of the stack: {}", personal.err);
    let records = |told: &Value| told["audit"]["records"].as_u64().unwrap();
    assert_eq!(records(&desk.told().await.0), records(&whole) + 1, "the look is recorded");
    let none = desk.run("export --table nothing").await;
    assert_eq!(none.code, Some(2));
    none.says("there is no table nothing in us-east-1");

    assert_eq!(desk.run("pause all --table vesper").await.code, Some(0));
    assert_eq!(pause::stored(&desk.cloud.store()).await.unwrap(), Pause::All);
    assert_eq!(desk.run("pause none --table vesper").await.code, Some(0));
    assert_eq!(pause::stored(&desk.cloud.store()).await.unwrap(), Pause::None);

    // A payment whose webhook never comes.
    let missed = desk.pay(&customer, 2_000, &invoice);
    let mut child = desk.command(&["backfill", "--since", "2020-01-01", "--table", "vesper"]);
    let waits = tokio::task::spawn_blocking(move || child.output());
    while !waits.is_finished() {
        desk.cloud.aws.release_delayed();
        desk.beat().await;
        desk.cloud.pump().await;
    }
    let done = ran(waits.await.unwrap().unwrap());
    assert_eq!(done.code, Some(0), "{}\n{}", done.out, desk.cloud.logged());
    let told = desk.told().await;
    assert!(told.has_payment(&missed) && told.has_payment(&payment), "{}", done.out);
    assert_eq!(told.open(&invoice), 7_000);
    assert_eq!(desk.cloud.standins.ehr.written().len(), 2);
}

async fn done_at(store: &Store, chore: &str) -> Option<jiff::Timestamp> {
    store.chore(chore).await.unwrap().and_then(|read| read.item.done_at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heartbeat_of_a_stack_starts_the_nightly_sweep_and_the_proof_after_it() {
    let mut desk = Desk::set_up().await;
    let (customer, invoice) = desk.client().await;
    let missed = desk.pay(&customer, 3_000, &invoice);
    desk.beat().await;
    let store = desk.cloud.store();
    let mut night = store.chore(chores::HEAL).await.unwrap().unwrap();
    assert!(night.item.next_at.is_some_and(|at| at > jiff::Timestamp::now()), "the sweep has its night");
    // Night comes.
    night.item.next_at = Some(jiff::Timestamp::UNIX_EPOCH);
    store.save(&mut night).await.unwrap();
    desk.beat().await;
    desk.cloud.pump().await;
    assert!(desk.told().await.has_payment(&missed), "{}", desk.cloud.logged());
    assert!(done_at(&store, chores::HEAL).await.is_some() && done_at(&store, chores::PROOF).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_function_decides_nothing_in_shadow_after_the_switch_to_live() {
    let mut desk = Desk::set_up().await;
    desk.set_mode("shadow");
    desk.beat().await;
    let (customer, invoice) = desk.client().await;
    let shadow = desk.pay(&customer, 3_000, &invoice);
    desk.cloud.deliver().await;
    assert!(desk.reconcile_once().await.is_empty(), "{}", desk.cloud.logged());
    assert_eq!(desk.told().await.open(&invoice), 9_000, "decided, in shadow");

    // Settings are replaced: reconcile is warm and has the old ones; whoever reads the new ones works in shadow until the switch.
    desk.set_mode("live");
    let second = desk.pay(&customer, 1_000, &invoice);
    desk.cloud.deliver().await;
    assert!(desk.reconcile_once().await.is_empty(), "{}", desk.cloud.logged());

    // The heartbeat reads them and makes the switch; a warm reconcile still has the old ones.
    desk.cloud.cold("due");
    desk.beat().await;
    assert_eq!(switch::last_mode(&desk.cloud.store()).await.unwrap().as_deref(), Some("live"));
    let third = desk.pay(&customer, 2_000, &invoice);
    desk.cloud.deliver().await;
    let again = desk.reconcile_once().await;
    assert!(!again.is_empty(), "what was decided in shadow is not stored: {}", desk.cloud.logged());
    assert!(!desk.told().await.has_payment(&third));

    // It comes again, and finds a function that knows.
    desk.cloud.cold("reconcile");
    again.into_iter().for_each(|m| desk.cloud.aws.put("events", m));
    desk.cloud.pump().await;
    let told = desk.told().await;
    assert_eq!(told.open(&invoice), 10_000, "only what was decided live counts: {}", told.0);
    assert_eq!(desk.cloud.standins.ehr.written().len(), 1);
    for closed in [&shadow, &second] {
        assert_eq!(told.payment(closed)["state"], "before_go_live", "{}", told.0);
    }
}
