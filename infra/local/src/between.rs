//! What the tests of setup and doctor stand on: the three outside systems as stand-ins, the public address, a standing clock, and
//! a table on the embedded engine.
//!
//! Must not: be part of anything but tests.

use crate::stack::build::store_on;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use vesper_adapters::dynamo::embedded::Engine;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::http::{BoxFuture, HttpRequest, HttpResponse, SharedTransport, Transport, TransportError};
use vesper_adapters::personal::{DataKey, Secret};
use vesper_adapters::settings::{Need, Secrets, Settings};
use vesper_standins::stripe::{API_VERSION, StripeStandin};
use vesper_standins::{Clock, Standins, ehr, quickbooks};

/// The restricted key of the tests.
pub const KEY: &str = "rk_test_standin";
/// The public address of the tests.
pub const ADDRESS: &str = "https://vesper.example";
/// When the tests are: 2026-11-20T16:00:00Z.
pub const NOON: i64 = 1_795_190_400;

/// See the module.
pub struct Between {
    /// The outside systems.
    pub all: Standins,
    /// What the public address answers, by path; nothing: it does not answer.
    pub doors: Arc<Mutex<BTreeMap<&'static str, u16>>>,
    /// The table.
    pub store: Store,
    /// The data key.
    pub key: DataKey,
    now_s: Arc<AtomicI64>,
    /// The clock of the outside systems, and of Vesper unless a test takes another.
    pub clock: Clock,
}

struct Front {
    all: Standins,
    doors: Arc<Mutex<BTreeMap<&'static str, u16>>>,
}

impl Transport for Front {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let Some(path) = request.url.strip_prefix(ADDRESS) else { return self.all.send(request) };
        let status = self.doors.lock().unwrap().get(path).copied();
        let answer = |status| HttpResponse { status, headers: vec![], body: bytes::Bytes::new() };
        Box::pin(std::future::ready(status.map(answer).ok_or(TransportError::NotSent)))
    }
}

impl Between {
    /// A world in which everything is right but that nothing is set up.
    pub async fn new() -> Between {
        Self::with_key(KEY, false).await
    }

    /// The same with another key of Stripe's.
    pub async fn with_key(stripe_key: &str, livemode: bool) -> Between {
        let now_s = Arc::new(AtomicI64::new(NOON));
        let read = Arc::clone(&now_s);
        let clock: Clock = Arc::new(move || Timestamp::from_second(read.load(Ordering::SeqCst)).unwrap());
        let mut all = Standins::new(&clock);
        all.stripe = StripeStandin::new(stripe_key, livemode);
        all.set_clock(&clock);
        all.ehr.set_signature_clock(Arc::clone(&clock));
        all.stripe.forbid(["rak_refund_write"]);
        let doors = [("/healthz", 200), ("/webhooks/stripe", 400), ("/webhooks/ehr", 401)];
        let engine = Engine::memory().unwrap();
        let key = DataKey::new([7; 32]);
        let store = store_on(&engine, key.clone());
        store.table().create_if_absent().await.unwrap();
        Between { all, doors: Arc::new(Mutex::new(BTreeMap::from(doors))), store, key, now_s, clock }
    }

    /// Lets time pass.
    pub fn pass_s(&self, seconds: i64) {
        self.now_s.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Carries the calls.
    pub fn transport(&self) -> SharedTransport {
        Arc::new(Front { all: self.all.clone(), doors: Arc::clone(&self.doors) })
    }

    /// practice.toml.
    pub fn toml(&self) -> String {
        let (stripe, ehr) = (self.all.stripe.origin(), self.all.ehr.origin());
        let (books, token) = (self.all.quickbooks.origin(), self.all.quickbooks.token_url());
        format!(
            "[practice]\nid = \"northbridge\"\ntime_zone = \"America/Chicago\"\ngo_live = \"2026-11-01T00:00:00Z\"\n\
             [stripe]\napi_base = \"{stripe}\"\napi_version = \"{API_VERSION}\"\nlivemode = false\n\
             [ehr]\nbase_url = \"{ehr}\"\n\
             [books]\napi_base = \"{books}\"\ntoken_url = \"{token}\"\nrealm_id = \"{}\"\n\
             [books.accounts]\nstripe_clearing = \"91\"\nchecking = \"35\"\nstripe_fees = \"66\"\nrefunds = \"67\"\n\
             disputes = \"68\"\nunidentified = \"92\"\nclient_credits = \"93\"\n\
             [books.accounts.income]\ndefault = \"79\"\ncopay = \"80\"\n",
            quickbooks::DEFAULT_REALM
        )
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        Settings::parse(&self.toml(), "practice.toml", Need::Serve).unwrap()
    }

    /// What a person gives: no webhook secret, no refresh token.
    pub fn given(&self) -> BTreeMap<&'static str, String> {
        let text = str::to_owned;
        BTreeMap::from([
            ("STRIPE_API_KEY", self.all.stripe.key()),
            ("EHR_BRIDGE_SECRETS", text(ehr::DEFAULT_SECRET)),
            ("QUICKBOOKS_CLIENT_ID", text(quickbooks::DEFAULT_CLIENT_ID)),
            ("QUICKBOOKS_CLIENT_SECRET", text(quickbooks::DEFAULT_CLIENT_SECRET)),
        ])
    }

    /// The secrets of a deployment whose endpoint signs with this.
    pub fn secrets(&self, webhook: &str) -> Secrets {
        let mut given = self.given();
        given.insert("STRIPE_WEBHOOK_SECRETS", webhook.to_owned());
        given.insert("QUICKBOOKS_REFRESH_TOKEN", quickbooks::FIRST_REFRESH_TOKEN.to_owned());
        Secrets::from_lookup(|name| given.get(name).cloned(), &self.settings()).unwrap()
    }

    /// Everything secret that could show in an output.
    pub fn secret_texts(&self) -> Vec<String> {
        let mut all: Vec<String> = self.given().into_values().collect();
        all.extend(self.all.quickbooks.refresh_token());
        all.extend(self.all.quickbooks.access_tokens());
        all.extend(["whsec_", "RT1-", "AT-standin", "CODE-standin"].map(str::to_owned));
        all
    }

    /// Refuses an output that shows a secret.
    #[track_caller]
    pub fn assert_no_secret(&self, output: &str) {
        for secret in self.secret_texts() {
            assert!(!output.contains(&secret), "{secret} stands in the output:\n{output}");
        }
    }

    /// Stores a small fact under another module's private name, as that module would.
    pub async fn fact(&self, name: &str, value: serde_json::Value) {
        let rev = self.store.meta::<serde_json::Value>(name).await.unwrap().map_or(0, |r| r.rev);
        self.store.set_meta(name, &value, rev).await.unwrap();
    }

    /// The refresh token as a secret.
    pub fn first_refresh(&self) -> Secret {
        Secret::new(quickbooks::FIRST_REFRESH_TOKEN)
    }
}
