//! The real binary between stand-ins on real sockets, with a test clock.
//!
//! Must not: be needed by a test that can do without a process, or sleep: it waits for lines, answers and ends.

use super::told::Told;
use super::{MONDAY, Options, WEBHOOK_SECRET, broken, now_s, practice_toml};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vesper_adapters::http::HttpResponse;
use vesper_standins::serve::{Served, serve};
use vesper_standins::stripe::{DEFAULT_KEY, signed};
use vesper_standins::{Clock, Standins, ehr, quickbooks};

/// The binary `vesper` of this build. A test that needs it fails where it was not built before.
#[must_use]
pub fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push(format!("vesper{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is not there: run `cargo build -p vesper-local` before these tests", path.display());
    path
}

/// A process, its directory, and the outside systems that it reaches over sockets.
pub struct Process {
    /// Stripe, EHR and QuickBooks.
    pub standins: Standins,
    /// `--data`.
    pub data: PathBuf,
    /// Where standard output and standard error go.
    pub log: PathBuf,
    /// Where the review page is.
    pub review_url: String,
    url: String,
    dir: tempfile::TempDir,
    log_level: &'static str,
    child: Option<Child>,
    now: Arc<AtomicI64>,
    _served: [Served; 3],
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    /// A world whose process has not started yet.
    pub async fn new(log_level: &'static str) -> Process {
        let start: Timestamp = MONDAY.parse().unwrap();
        let now = Arc::new(AtomicI64::new(start.as_second()));
        let told = Arc::clone(&now);
        let clock: Clock = Arc::new(move || Timestamp::from_second(told.load(Ordering::SeqCst)).unwrap());
        let standins = Standins::new(&clock);
        let served = [
            serve(standins.stripe.clone()).await.unwrap(),
            serve(standins.ehr.clone()).await.unwrap(),
            serve(standins.quickbooks.clone()).await.unwrap(),
        ];
        let dir = tempfile::tempdir().unwrap();
        let [stripe, ehr, books] = [served[0].origin(), served[1].origin(), served[2].origin()];
        std::fs::write(dir.path().join("practice.toml"), practice_toml(&Options::default(), &stripe, &ehr, &books)).unwrap();
        let (data, log) = (dir.path().join("data"), dir.path().join("log"));
        let (url, review_url) = (String::new(), String::new());
        Process { standins, data, log, review_url, url, dir, log_level, child: None, now, _served: served }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.env("RUST_LOG", self.log_level).env("STRIPE_API_KEY", DEFAULT_KEY).env("STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRET);
        command.env("EHR_BRIDGE_SECRETS", ehr::DEFAULT_SECRET).env("QUICKBOOKS_CLIENT_ID", quickbooks::DEFAULT_CLIENT_ID);
        command.env("QUICKBOOKS_CLIENT_SECRET", quickbooks::DEFAULT_CLIENT_SECRET);
        command.env("QUICKBOOKS_REFRESH_TOKEN", quickbooks::FIRST_REFRESH_TOKEN);
        command
    }

    fn serve_command(&self) -> Command {
        let mut command = self.command();
        command.args(["serve", "--config", "practice.toml", "--listen", "127.0.0.1:0", "--data"]).arg(&self.data);
        command.arg(format!("--test-clock={MONDAY}"));
        command
    }

    fn log_file(&self) -> File {
        File::options().create(true).append(true).open(&self.log).unwrap()
    }

    /// Starts it, and waits for the ready line. After a kill: on the same directory.
    pub async fn start(&mut self) {
        let mut command = self.serve_command();
        let mut child = command.stdout(Stdio::piped()).stderr(self.log_file()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        self.child = Some(child);
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).unwrap();
            line
        });
        let line = line.await.unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no ready line: {line}\n{}", self.logged()));
        self.url = ready["listening"].as_str().unwrap().to_owned();
        self.review_url = ready["review_url"].as_str().unwrap().to_owned();
        let clock = self.call("GET", "/_local/clock", None).await.unwrap();
        let stands: Value = serde_json::from_slice(&clock.body).unwrap();
        let stands: Timestamp = stands["now"].as_str().unwrap().parse().unwrap();
        self.now.fetch_max(stands.as_second(), Ordering::SeqCst);
    }

    /// What it wrote so far.
    #[must_use]
    pub fn logged(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// kill -9 while others still hold this.
    pub fn kill_now(&self) {
        let id = self.child.as_ref().unwrap().id();
        assert!(Command::new("kill").args(["-KILL", &id.to_string()]).status().unwrap().success(), "kill -KILL");
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -TERM");
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
    }

    /// Another `vesper serve` on the same directory, which is expected to end.
    pub async fn serve_again(&self) -> Output {
        let mut command = self.serve_command();
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// A command beside it, with `--data` of its directory.
    pub async fn beside(&self, args: &[&str]) -> Output {
        let mut command = self.command();
        command.args(args).arg("--data").arg(&self.data);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The directory of `--data`.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A request to it; None when no answer came. On a connection of its own and without a time limit: a machine under load
    /// answers late, not wrongly.
    pub async fn ask(&self, method: &str, url: &str, headers: Vec<(String, String)>, body: Vec<u8>) -> Option<HttpResponse> {
        let (address, path) = url.strip_prefix("http://")?.split_once('/')?;
        let mut head =
            format!("{method} /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(&[head.into_bytes(), body].concat()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        answer_of(&answer)
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Option<HttpResponse> {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let body = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        self.ask(method, &format!("{}{path}", self.url), headers, body).await
    }

    /// One delivery of one event: the status, 0 when no answer came.
    pub async fn send(&self, event: &Value) -> u16 {
        let (body, header) = signed(event, WEBHOOK_SECRET, now_s());
        let headers = vec![("stripe-signature".to_owned(), header)];
        self.ask("POST", &format!("{}/webhooks/stripe", self.url), headers, body).await.map_or(0, |a| a.status)
    }

    /// Delivers what Stripe has to deliver.
    pub async fn deliver(&self) {
        for event in self.standins.stripe.undelivered() {
            if self.send(&event).await == 200 {
                self.standins.stripe.mark_delivered(event["id"].as_str().unwrap());
            }
        }
    }

    /// The EHR says that something changed, and it is read.
    pub async fn sync(&self) {
        let (body, header) = self.standins.ehr.notice(ehr::DEFAULT_SECRET, now_s());
        let headers = vec![("vesper-signature".to_owned(), header)];
        let answer = self.ask("POST", &format!("{}/webhooks/ehr", self.url), headers, body).await;
        assert_eq!(answer.unwrap().status, 202);
        self.drain().await;
    }

    /// Waits until nothing is being worked on.
    pub async fn drain(&self) {
        let answer = self.call("POST", "/_local/drain", Some(json!({}))).await.unwrap();
        assert_eq!(answer.status, 200, "the product does not become idle");
    }

    /// Moves the clock by so many seconds.
    pub async fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
        let answer = self.call("POST", "/_local/clock", Some(json!({"advance_s": seconds}))).await.unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        self.drain().await;
    }

    /// What /_local/export answers.
    pub async fn export(&self) -> Told {
        let answer = self.call("GET", "/_local/export", None).await.unwrap();
        Told(serde_json::from_slice(&answer.body).unwrap())
    }

    /// Delivers, and lets the clock run until no write is waiting.
    pub async fn settle(&self) -> Told {
        let mut step_s = 60;
        for _ in 0..40 {
            self.deliver().await;
            self.drain().await;
            let told = self.export().await;
            if self.standins.stripe.undelivered().is_empty() && told.waiting() == 0 {
                return told;
            }
            self.advance(step_s).await;
            step_s = (step_s * 2).min(1800);
        }
        panic!("writes are still waiting: {}", self.export().await.0["effects"]);
    }

    /// What may never happen, asked of the export and of the outside systems.
    #[must_use]
    pub fn broken(&self, told: &Told) -> Vec<String> {
        broken(&self.standins, told)
    }
}

/// An answer with its length in its head, whole; None when the connection broke before its end.
fn answer_of(bytes: &[u8]) -> Option<HttpResponse> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pair = |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
    let body = Bytes::copy_from_slice(&bytes[end + 4..]);
    let answer = HttpResponse { status, headers, body };
    let length: usize = answer.header("content-length")?.parse().ok()?;
    (answer.body.len() == length).then_some(answer)
}
