//! The template deployed with `sam deploy` to ministack on loopback, the built functions running there, and the outside systems as
//! stand-ins on sockets.
//!
//! The template is deployed as it is; `scripts/pack_functions.py` only says where the code is, as `sam build` does. Afterwards,
//! through AWS's own calls, as a person with an account would: settings and secrets go into SSM, and the review function is told
//! of a stand-in of Cognito. ministack checks each call of a function against its role (AUTH=true), in one place wrongly: see
//! `set_up`.
//! Must not: wait for a time to pass where something can be looked for.

use super::account::{Account, KEY, REGION};
use super::cognito::{self, CognitoStandin};
use super::recorder::Recorder;
use super::{root, tool};
use crate::harness::{Options, WEBHOOK_SECRET, practice_toml};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vesper_adapters::aws::Aws;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::dynamo::table::Table;
use vesper_adapters::personal::DataKey;
use vesper_standins::serve::{Served, serve};
use vesper_standins::stripe::{DEFAULT_KEY, signed};
use vesper_standins::{Clock, Standins, ehr, quickbooks};

/// The name of the stack; its things are called `vesper-...`.
const STACK: &str = "vesper";
/// Below it stand settings and secrets.
const PATH: &str = "/vesper/harness";
/// How often is looked for what is waited for, in milliseconds.
const LOOK_MS: u64 = 100;
/// How long something may take on a machine under load, in seconds.
const WITHIN_S: u64 = 120;

/// See the module. Dropping it ends every process.
pub struct Deployed {
    /// Stripe, EHR and QuickBooks.
    pub standins: Standins,
    /// What the functions ask of AWS.
    pub recorder: Recorder,
    /// What the test itself asks of AWS.
    pub account: Account,
    /// Who signs people in.
    pub cognito: CognitoStandin,
    /// Who issues their tokens.
    pub issuer: String,
    /// The store, as the functions see it.
    pub store: Store,
    /// Such as `a1b2c3.execute-api.localhost:4566`.
    host: String,
    dir: tempfile::TempDir,
    served: [Served; 4],
    _ministack: Group,
}

/// A process with all that it starts. The shell waits until its input closes, which it does when this is dropped and when the test
/// dies; then the whole group is killed.
struct Group {
    shell: Child,
}

impl Group {
    fn start(program: &Path, environment: &[(&str, &str)], log: File) -> Group {
        let mut command = Command::new("sh");
        command.args(["-c", "\"$0\" & cat; kill -9 0"]).arg(program).process_group(0);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        Group { shell: command.spawn().unwrap() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Looks again and again until there is something to see; None when there is nothing for so long.
async fn look_for<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(WITHIN_S);
    while Instant::now() < end {
        if let Some(seen) = look().await {
            return Some(seen);
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    None
}

/// Runs a program to its end; its output is told when it fails.
async fn run(mut command: Command, what: &str) {
    let out = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{what}: {}\n{}", text(&out.stdout), text(&out.stderr));
}

async fn pack(to: &Path) {
    let intake = super::runtime::binary("intake");
    let mut command = Command::new(tool("sam", "python"));
    command.arg(root().join("scripts/pack_functions.py")).arg("--binaries").arg(intake.parent().unwrap()).arg("--to").arg(to);
    run(command, "pack the functions").await;
}

async fn deploy(dir: &Path, endpoint: &str) {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let mut command = Command::new(tool("sam", "sam"));
    command.current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir);
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_DEFAULT_REGION", REGION).env("SAM_CLI_TELEMETRY", "0");
    command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", KEY);
    command.args(["deploy", "--template-file", "template.yaml", "--stack-name", STACK, "--resolve-s3"]);
    command.args(["--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"]);
    command.args(["--parameter-overrides", "Practice=harness", &format!("Architecture={machine}")]);
    run(command, "sam deploy").await;
}

impl Deployed {
    /// An account with the stack in it, set up, with nothing stored yet.
    pub async fn new() -> Deployed {
        let clock: Clock = Arc::new(Timestamp::now);
        let standins = Standins::new(&clock);
        let cognito = CognitoStandin::default();
        let served = [
            serve(standins.stripe.clone()).await.unwrap(),
            serve(standins.ehr.clone()).await.unwrap(),
            serve(standins.quickbooks.clone()).await.unwrap(),
            serve(cognito.clone()).await.unwrap(),
        ];
        let dir = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let account = Account::new(format!("http://127.0.0.1:{port}"));
        let recorder = Recorder::start(account.endpoint.clone()).await;
        let log = File::create(dir.path().join("ministack.log")).unwrap();
        let folder = dir.path().to_str().unwrap();
        let environment = [
            // Loopback and this folder only.
            ("BIND_HOST", "127.0.0.1"),
            ("IOT_MTLS_ENABLED", "0"),
            ("SFTP_ENABLED", "0"),
            ("HOME", folder),
            ("TMPDIR", folder),
            ("S3_DATA_DIR", folder),
            ("STATE_DIR", folder),
            ("GATEWAY_PORT", port.as_str()),
            ("LOG_LEVEL", "INFO"),
            // A call that the role of a function does not allow is refused.
            ("AUTH", "true"),
            // Where the functions find AWS.
            ("AWS_ENDPOINT_URL", recorder.origin.as_str()),
        ];
        let ministack = Group::start(&tool("ministack", "ministack"), &environment, log);
        pack(dir.path()).await;
        let up = || account.send("GET", "/_ministack/health", vec![], b"");
        let started = look_for(|| async { up().await.filter(|a| a.status == 200) }).await;
        assert!(started.is_some(), "ministack does not start");
        deploy(dir.path(), &account.endpoint).await;
        let issuer = format!("{}/pool", served[3].origin());
        let (host, store) = (api_host(&account, &port).await, store(&account).await);
        let made = Deployed { standins, recorder, account, cognito, issuer, store, host, dir, served, _ministack: ministack };
        made.set_up().await;
        made
    }

    /// What a person does after the deployment, and how the functions are told apart.
    async fn set_up(&self) {
        let [stripe, ehr_url, books, hosted] = [0, 1, 2, 3].map(|n| self.served[n].origin());
        let config = practice_toml(&Options::default(), &stripe, &ehr_url, &books);
        let parameters = [
            ("config", config.as_str()),
            ("DATA_KEY", &"07".repeat(32)),
            ("STRIPE_API_KEY", DEFAULT_KEY),
            ("STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRET),
            ("EHR_BRIDGE_SECRETS", ehr::DEFAULT_SECRET),
            ("QUICKBOOKS_CLIENT_ID", quickbooks::DEFAULT_CLIENT_ID),
            ("QUICKBOOKS_CLIENT_SECRET", quickbooks::DEFAULT_CLIENT_SECRET),
            ("QUICKBOOKS_REFRESH_TOKEN", quickbooks::FIRST_REFRESH_TOKEN),
        ];
        for (name, value) in parameters {
            let body = json!({"Name": format!("{PATH}/{name}"), "Value": value, "Type": "SecureString"});
            self.account.call("ssm", "POST", "/", "AmazonSSM.PutParameter", &body).await;
        }
        let variables = json!({"COGNITO_DOMAIN": hosted, "COGNITO_ISSUER": self.issuer, "COGNITO_CLIENT_ID": cognito::CLIENT});
        self.account.set_variables(&format!("{STACK}-review"), variables).await;
        for function in ["intake", "reconcile", "import", "write-back", "push-books", "due", "payouts", "review"] {
            let path = format!("/2015-03-31/functions/{STACK}-{function}/configuration");
            let config = self.account.call("lambda", "GET", &path, "", &Value::Null).await;
            // ministack 1.5.33 asks for this permission on everything, whatever path is read (core/iam_actions.py).
            let role = config["Role"].as_str().unwrap().rsplit('/').next().unwrap();
            self.account.allow(role, "ssm:GetParametersByPath").await;
            // How ministack makes the key of a function's session (ministack/core/lambda_runtime.py, execution_credentials).
            let text = format!("{}:{}", config["FunctionArn"].as_str().unwrap(), config["Role"].as_str().unwrap());
            let digest = hex::encode_upper(Sha256::digest(text));
            self.recorder.know(format!("ASIA{}", &digest[..16]), function);
        }
    }

    /// Looks again and again until there is something to see.
    ///
    /// # Panics
    /// When there is nothing for so long; `what` says what was waited for.
    pub async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, look: impl FnMut() -> F) -> T {
        match look_for(look).await {
            Some(seen) => seen,
            None => panic!("{what}: not within {WITHIN_S} s\nnot allowed: {:#?}\n{}", self.recorder.denied(), self.logged()),
        }
    }

    /// A request through the API: the status, the answer's headers and its text.
    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Vec<(String, String)>, String) {
        let mut all = vec![("host".to_owned(), self.host.clone())];
        all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let answer = self.account.send(method, path, all, body).await;
        let answer = answer.unwrap_or_else(|| panic!("{method} {path}: no answer\n{}", self.logged()));
        (answer.status, answer.headers, String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// A request of a browser with these cookies.
    pub async fn browse(&self, method: &str, path: &str, cookies: &str, body: &str) -> (u16, Vec<(String, String)>, String) {
        let origin = format!("https://{}", self.host);
        let form = ("content-type", "application/x-www-form-urlencoded");
        self.http(method, path, &[("cookie", cookies), ("origin", &origin), form], body.as_bytes()).await
    }

    /// One delivery of one event of Stripe: the status.
    pub async fn send(&self, event: &Value) -> u16 {
        let (body, header) = signed(event, WEBHOOK_SECRET, Timestamp::now().as_second());
        self.http("POST", "/webhooks/stripe", &[("stripe-signature", &header)], &body).await.0
    }

    /// Delivers what Stripe has to deliver, in order, and returns it.
    pub async fn deliver(&self) -> Vec<Value> {
        let events = self.standins.stripe.undelivered();
        for event in &events {
            assert_eq!(self.send(event).await, 200, "{}", self.logged());
            self.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
        }
        events
    }

    /// The EHR says that something changed.
    pub async fn notice(&self) {
        let (body, header) = self.standins.ehr.notice(ehr::DEFAULT_SECRET, Timestamp::now().as_second());
        let answer = self.http("POST", "/webhooks/ehr", &[("vesper-signature", &header)], &body).await;
        assert_eq!(answer.0, 202, "{}", self.logged());
    }

    /// The heartbeat, by the event of its schedule.
    pub async fn beat(&self) {
        let event = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
        assert_eq!(self.account.invoke(&format!("{STACK}-due"), &event).await, Value::Null, "{}", self.logged());
    }

    /// The same of a process that has just started: it looks for dead letters at once, not only every five minutes.
    pub async fn first_beat(&self) {
        self.account.set_variables(&format!("{STACK}-due"), json!({"RUST_LOG": "info"})).await;
        self.beat().await;
    }

    /// No work queue has a message, and none is at work.
    pub async fn is_at_rest(&self) -> bool {
        for queue in ["events", "write-back", "books", "payouts"] {
            if self.left(queue).await > 0 {
                return false;
            }
        }
        true
    }

    /// How many messages stand on a queue, those at work included.
    pub async fn left(&self, queue: &str) -> u64 {
        self.account.messages(&format!("{STACK}-{queue}")).await
    }

    /// Somebody puts a message on a queue.
    pub async fn put(&self, queue: &str, body: &str) {
        self.account.sqs("SendMessage", &format!("{STACK}-{queue}"), json!({"MessageBody": body})).await;
    }

    /// Takes a message off a queue, so that nobody works it off; None when there is none.
    pub async fn take(&self, queue: &str) -> Option<String> {
        let queue = format!("{STACK}-{queue}");
        let answer = self.account.sqs("ReceiveMessage", &queue, json!({"MaxNumberOfMessages": 1, "WaitTimeSeconds": 0})).await;
        let message = answer["Messages"].as_array()?.first()?;
        self.account.sqs("DeleteMessage", &queue, json!({"ReceiptHandle": message["ReceiptHandle"]})).await;
        Some(message["Body"].as_str().unwrap().to_owned())
    }

    /// From now on a message that is received is hidden for so long.
    pub async fn hide(&self, queue: &str, seconds: u32) {
        let attributes = json!({"Attributes": {"VisibilityTimeout": seconds.to_string()}});
        self.account.sqs("SetQueueAttributes", &format!("{STACK}-{queue}"), attributes).await;
    }

    /// A function gets no messages any more; its event source, for [`Deployed::enable`].
    pub async fn stop_source(&self, function: &str) -> String {
        let path = format!("/2015-03-31/event-source-mappings/?FunctionName={STACK}-{function}");
        let all = self.account.call("lambda", "GET", &path, "", &Value::Null).await;
        let source = all["EventSourceMappings"][0]["UUID"].as_str().unwrap().to_owned();
        self.switch_source(&source, false).await;
        source
    }

    /// It gets them again.
    pub async fn enable(&self, source: &str) {
        self.switch_source(source, true).await;
    }

    async fn switch_source(&self, source: &str, on: bool) {
        let path = format!("/2015-03-31/event-source-mappings/{source}");
        self.account.call("lambda", "PUT", &path, "", &json!({"Enabled": on})).await;
    }

    /// What ministack and the functions logged so far.
    #[must_use]
    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("ministack.log")).unwrap_or_default()
    }
}

async fn api_host(account: &Account, port: &str) -> String {
    let apis = account.call("apigateway", "GET", "/v2/apis", "", &Value::Null).await;
    let items = apis["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{apis}");
    format!("{}.execute-api.localhost:{port}", items[0]["apiId"].as_str().unwrap())
}

async fn store(account: &Account) -> Store {
    let tables = account.call("dynamodb", "POST", "/", "DynamoDB_20120810.ListTables", &json!({})).await;
    let names = tables["TableNames"].as_array().unwrap();
    assert_eq!(names.len(), 1, "{tables}");
    let lookup = |name: &str| match name {
        "AWS_REGION" => Some(REGION.to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some(KEY.to_owned()),
        "AWS_ENDPOINT_URL" => Some(account.endpoint.clone()),
        _ => None,
    };
    let client = Aws::from_lookup(lookup).unwrap().dynamodb();
    Store::new(Table::new(client, names[0].as_str().unwrap().to_owned()), DataKey::new([7; 32]))
}
