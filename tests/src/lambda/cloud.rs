//! A stack of the built functions: what API Gateway, the event sources, the bus's rule and the schedule do, by hand and in order.
//!
//! Delayed messages wait until a test says that time passed. Must not: retry what AWS would not retry.

use super::aws::{AwsStandin, Message, QUEUE_ORIGIN};
use super::cognito::CognitoStandin;
use super::runtime::{self, Outcome, Process};
use super::tls::{self, TlsFront};
use crate::harness::{Options, WEBHOOK_SECRET, practice_toml};
use crate::measure::Usage;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::dynamo::table::{Table, client_on};
use vesper_adapters::personal::DataKey;
use vesper_standins::serve::{Served, serve};
use vesper_standins::stripe::{DEFAULT_KEY, signed};
use vesper_standins::{Clock, Standins, ehr, quickbooks};

/// So often a message is received before it is a dead letter (infra/template.yaml).
const RECEIVES_MAX: u32 = 5;
/// The path of the parameters.
const PATH: &str = "/vesper/harness";
/// The work queues and who works them off, how many messages at a time.
const SOURCES: [(&str, &str, usize); 4] =
    [("events", "reconcile", 1), ("write-back", "write-back", 1), ("books", "push-books", 1), ("payouts", "payouts", 1)];
/// How long each function may run, in milliseconds.
const WITHIN_MS: u64 = 60_000;
/// push-books and due refresh the access token only with a minute left.
const BOOKS_WITHIN_MS: u64 = 85_000;
/// A flow that does not come to rest hangs.
const ROUNDS_MAX: usize = 200;

/// See the module.
pub struct Cloud {
    /// Stripe, EHR and QuickBooks.
    pub standins: Standins,
    /// AWS.
    pub aws: AwsStandin,
    /// Who signs people in.
    pub cognito: CognitoStandin,
    /// Who issues their tokens.
    pub issuer: String,
    /// A process lives for one invocation only.
    pub always_cold: bool,
    /// Where the binaries are; none: those of this build.
    pub binaries: Option<PathBuf>,
    /// Whether each invocation waits until its process is at rest, so that [`Cloud::take_costs`] can tell.
    pub measured: bool,
    costs: Vec<Cost>,
    processes: BTreeMap<&'static str, Process>,
    environment: BTreeMap<String, String>,
    dir: tempfile::TempDir,
    fronts: Vec<TlsFront>,
    served: [Served; 5],
}

/// What one invocation used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Which function.
    pub function: &'static str,
    /// What the process had used before, where this was its first invocation: its start.
    pub start: Option<Usage>,
    /// On a CPU, in nanoseconds, until it waited for the next event.
    pub cpu_ns: u64,
    /// The process's largest resident size so far, in kB.
    pub peak_rss_kb: u64,
}

fn name_of(function: &str) -> &'static str {
    let known = ["intake", "reconcile", "import", "write-back", "push-books", "due", "payouts", "review"];
    known.into_iter().find(|n| *n == function).unwrap()
}

impl Cloud {
    /// An account with the stack in it, set up, with nothing stored yet.
    pub async fn new() -> Cloud {
        Cloud::made(true).await
    }

    /// The same before setup has run.
    pub async fn without_parameters() -> Cloud {
        Cloud::made(false).await
    }

    async fn made(set_up: bool) -> Cloud {
        let clock: Clock = Arc::new(Timestamp::now);
        let standins = Standins::new(&clock);
        let served = [
            serve(standins.stripe.clone()).await.unwrap(),
            serve(standins.ehr.clone()).await.unwrap(),
            serve(standins.quickbooks.clone()).await.unwrap(),
        ];
        let [stripe, ehr_url, books] = [served[0].origin(), served[1].origin(), served[2].origin()];
        let config = practice_toml(&Options::default(), &stripe, &ehr_url, &books);
        let (first, second) = config.split_at(config.len() / 2);
        let parameters = [
            ("config/1", first),
            ("config/2", second),
            ("DATA_KEY", &"07".repeat(32)),
            ("STRIPE_API_KEY", DEFAULT_KEY),
            ("STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRET),
            ("EHR_BRIDGE_SECRETS", ehr::DEFAULT_SECRET),
            ("QUICKBOOKS_CLIENT_ID", quickbooks::DEFAULT_CLIENT_ID),
            ("QUICKBOOKS_CLIENT_SECRET", quickbooks::DEFAULT_CLIENT_SECRET),
            ("QUICKBOOKS_REFRESH_TOKEN", quickbooks::FIRST_REFRESH_TOKEN),
        ];
        let parameters = parameters.map(|(name, value)| (format!("{PATH}/{name}"), value.to_owned()));
        let aws = AwsStandin::new(if set_up { parameters.into() } else { BTreeMap::new() });
        let endpoint = serve(aws.clone()).await.unwrap();
        let cognito = CognitoStandin::default();
        let hosted = serve(cognito.clone()).await.unwrap();
        let issuer = format!("{}/pool", hosted.origin());
        let dead: Value =
            SOURCES.iter().map(|(q, ..)| ((*q).to_owned(), json!(format!("{QUEUE_ORIGIN}{q}-dead-letters")))).collect();
        let text = |pairs: &[(&str, String)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        let environment: BTreeMap<String, String> = text(&[
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.origin()),
            ("VESPER_PARAMETER_PATH", PATH.to_owned()),
            ("TABLE_NAME", "vesper".to_owned()),
            ("EVENT_BUS_NAME", "vesper".to_owned()),
            ("EVENTS_QUEUE_URL", format!("{QUEUE_ORIGIN}events")),
            ("WRITE_BACK_QUEUE_URL", format!("{QUEUE_ORIGIN}write-back")),
            ("BOOKS_QUEUE_URL", format!("{QUEUE_ORIGIN}books")),
            ("PAYOUTS_QUEUE_URL", format!("{QUEUE_ORIGIN}payouts")),
            ("DEAD_LETTER_QUEUE_URLS", dead.to_string()),
            ("COGNITO_DOMAIN", hosted.origin()),
            ("COGNITO_CLIENT_ID", "client-1".to_owned()),
            ("COGNITO_ISSUER", issuer.clone()),
            ("REVIEW_BASE_URL", "https://api.invalid".to_owned()),
            ("RUST_LOG", "info".to_owned()),
        ]);
        let [a, b, c] = served;
        let served = [a, b, c, endpoint, hosted];
        let (processes, dir) = (BTreeMap::new(), tempfile::tempdir().unwrap());
        let (always_cold, binaries, measured, costs, fronts) = (false, None, false, vec![], vec![]);
        let cloud = Cloud {
            standins,
            aws,
            cognito,
            issuer,
            always_cold,
            binaries,
            measured,
            costs,
            processes,
            environment,
            dir,
            fronts,
            served,
        };
        cloud.store().table().create_if_absent().await.unwrap();
        cloud
    }

    /// Other settings, from the next reading on.
    pub fn configure(&self, options: &Options) {
        let [stripe, ehr_url, books] = [0, 1, 2].map(|n| self.served[n].origin());
        let config = practice_toml(options, &stripe, &ehr_url, &books);
        let (first, second) = config.split_at(config.len() / 2);
        for (name, part) in [("config/1", first), ("config/2", second)] {
            self.aws.set_parameter(&format!("{PATH}/{name}"), part);
        }
    }

    /// The store, as the functions see it.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(Table::new(client_on(self.aws.engine().http_client()), "vesper".to_owned()), DataKey::new([7; 32]))
    }

    /// From now on new processes reach AWS over TLS, each service at an address of its own, as on AWS. `trusted`: they are given
    /// the root of these stand-ins.
    pub async fn over_tls(&mut self, trusted: bool) {
        let behind = self.environment.get("AWS_ENDPOINT_URL").unwrap().clone();
        for service in ["DYNAMODB", "SQS", "EVENTBRIDGE", "SSM"] {
            let front = TlsFront::start(&behind).await;
            self.environment.insert(format!("AWS_ENDPOINT_URL_{service}"), front.origin());
            self.fronts.push(front);
        }
        if trusted {
            self.environment.insert("AWS_CA_BUNDLE".to_owned(), tls::root().display().to_string());
        }
    }

    /// What a new process of a function finds.
    #[must_use]
    pub fn environment_of(&self, function: &str) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        environment.insert("AWS_ACCESS_KEY_ID".to_owned(), function.to_owned());
        environment
    }

    /// What the invocations used since the last look, in order.
    #[must_use]
    pub fn take_costs(&mut self) -> Vec<Cost> {
        std::mem::take(&mut self.costs)
    }

    /// A cold process of a binary of this stack.
    pub async fn start(&self, name: &str) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let path = self.binaries.as_ref().map_or_else(|| runtime::binary(name), |dir| dir.join(name));
        Process::start_at(&path, name, &self.environment_of(name), log).await
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What all functions logged so far.
    #[must_use]
    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Ends every process: the next invocation of each is cold.
    pub fn all_cold(&mut self) {
        self.processes.clear();
    }

    /// Ends the process of one function.
    pub fn cold(&mut self, function: &str) {
        self.processes.remove(function);
    }

    /// Invokes a function.
    pub async fn invoke(&mut self, function: &str, payload: &Value) -> Outcome {
        let within_ms = if matches!(function, "push-books" | "due") { BOOKS_WITHIN_MS } else { WITHIN_MS };
        self.invoke_within(function, payload, within_ms).await
    }

    /// The same; the function may work on it for so long.
    pub async fn invoke_within(&mut self, function: &str, payload: &Value, within_ms: u64) -> Outcome {
        let name = name_of(function);
        if !self.processes.contains_key(name) {
            let process = self.start(name).await;
            self.processes.insert(name, process);
        }
        let measured = self.measured;
        let process = self.processes.get_mut(name).unwrap();
        let before = if measured { process.at_rest().await } else { Usage::default() };
        let outcome = process.invoke(payload, within_ms).await;
        if measured && outcome != Outcome::Died {
            let start = (process.invocations() == 1).then_some(before);
            let after = process.at_rest().await;
            let cpu_ns = after.cpu_ns.saturating_sub(before.cpu_ns);
            self.costs.push(Cost { function: name, start, cpu_ns, peak_rss_kb: after.peak_rss_kb });
        }
        if self.always_cold || outcome == Outcome::Died {
            self.processes.remove(name);
        }
        outcome
    }

    // ---------------------------------------------------------------- the door

    /// A request through API Gateway: the status and the answer.
    pub async fn http(&mut self, function: &str, method: &str, path: &str, headers: Value, body: &[u8]) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let event = json!({
            "version": "2.0", "routeKey": format!("{method} {path}"), "rawPath": path, "rawQueryString": query,
            "headers": headers, "isBase64Encoded": true, "body": base64(body),
            "requestContext": { "http": { "method": method, "path": path } },
        });
        let answer = match self.invoke(function, &event).await {
            Outcome::Answered(answer) => answer,
            // What API Gateway makes of it.
            Outcome::Failed(_) | Outcome::Died => json!({ "statusCode": 500 }),
        };
        (u16::try_from(answer["statusCode"].as_u64().unwrap()).unwrap(), answer)
    }

    /// A request of a browser with these cookies: the status, the answer's headers, its cookies and its text.
    pub async fn browse(&mut self, method: &str, path: &str, cookies: &[String], body: &str) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let event = json!({
            "version": "2.0", "rawPath": path, "rawQueryString": query, "cookies": cookies, "body": body,
            "headers": { "host": "api.invalid", "origin": "https://api.invalid" }, "isBase64Encoded": false,
            "requestContext": { "http": { "method": method, "path": path } },
        });
        let answer = self.invoke("review", &event).await.answer();
        (u16::try_from(answer["statusCode"].as_u64().unwrap()).unwrap(), answer)
    }

    /// A person signs in at the review page: the cookies of his session.
    pub async fn sign_in(&mut self) -> Vec<String> {
        let cookies = |answer: &Value| -> Vec<String> {
            let all = answer["cookies"].as_array().unwrap().iter().map(|c| c.as_str().unwrap());
            all.map(|c| c.split(';').next().unwrap().to_owned()).collect()
        };
        let left = self.browse("GET", "/review", &[], "").await.1;
        let back = self.cognito.sign_in(left["headers"]["location"].as_str().unwrap(), &self.issuer);
        let came = self.browse("GET", &back, &cookies(&left), "").await.1;
        vec![cookies(&came)[0].clone()]
    }

    /// One delivery of one event of Stripe: the status.
    pub async fn send(&mut self, event: &Value) -> u16 {
        let (body, header) = signed(event, WEBHOOK_SECRET, Timestamp::now().as_second());
        self.http("intake", "POST", "/webhooks/stripe", json!({ "stripe-signature": header }), &body).await.0
    }

    /// Delivers what Stripe has to deliver, in order; what is not acknowledged comes again, as Stripe does it.
    pub async fn deliver(&mut self) {
        for event in self.standins.stripe.undelivered() {
            for _ in 0..3 {
                if self.send(&event).await == 200 {
                    self.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
                    break;
                }
            }
        }
        assert!(self.standins.stripe.undelivered().is_empty(), "{}", self.logged());
    }

    /// The EHR says that something changed.
    pub async fn notice(&mut self) {
        let (body, header) = self.standins.ehr.notice(ehr::DEFAULT_SECRET, Timestamp::now().as_second());
        let answer = self.http("intake", "POST", "/webhooks/ehr", json!({ "vesper-signature": header }), &body).await;
        assert_eq!(answer.0, 202, "{}", self.logged());
    }

    // ---------------------------------------------------------------- event sources, rule and schedule

    /// The heartbeat.
    pub async fn beat(&mut self) -> Outcome {
        self.invoke("due", &json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} })).await
    }

    /// Until nothing visible is left: every queue's messages to its function, the bus's requests to import.
    pub async fn pump(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for (queue, function, most) in SOURCES {
                moved |= self.pump_one(queue, function, most).await;
            }
            let wanted = self.aws.take_events().into_iter().filter(|(name, _)| name == "import_wanted").count();
            if wanted > 0 {
                moved = true;
                // EventBridge calls a function again that fails.
                for _ in 0..3 {
                    let event = json!({ "source": "vesper", "detail-type": "import_wanted", "detail": {} });
                    if matches!(self.invoke("import", &event).await, Outcome::Answered(_)) {
                        break;
                    }
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the queues do not come to rest: {}", self.logged());
    }

    async fn pump_one(&mut self, queue: &str, function: &str, most: usize) -> bool {
        let batch = self.aws.receive(queue, most);
        if batch.is_empty() {
            return false;
        }
        let record = |m: &Message| {
            json!({ "messageId": m.id, "body": m.body, "receiptHandle": m.id, "eventSource": "aws:sqs",
                "attributes": { "ApproximateReceiveCount": m.receives.to_string() } })
        };
        let event = json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() });
        let failed: Vec<String> = match self.invoke(function, &event).await {
            Outcome::Answered(answer) => {
                let items = answer["batchItemFailures"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
                items.iter().map(|i| i["itemIdentifier"].as_str().unwrap().to_owned()).collect()
            }
            Outcome::Failed(_) | Outcome::Died => batch.iter().map(|m| m.id.clone()).collect(),
        };
        for message in batch.into_iter().filter(|m| failed.contains(&m.id)) {
            let to = if message.receives < RECEIVES_MAX { queue.to_owned() } else { format!("{queue}-dead-letters") };
            self.aws.put(&to, message);
        }
        true
    }
}

fn base64(body: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(body)
}
