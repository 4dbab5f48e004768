//! What every use case gets: the store, the outside systems, the queues, the host and the practice's settings.
//!
//! Must not: do anything by itself.

use crate::bus::Bus;
use crate::intake::Door;
use crate::task::Queues;
use jiff::{Timestamp, civil::Date};
use std::sync::Arc;
use vesper_adapters::dynamo::store::Store;
use vesper_adapters::ehr::BridgeClient;
use vesper_adapters::http::SharedTransport;
use vesper_adapters::quickbooks::QuickBooksClient;
use vesper_adapters::quickbooks::pacing::Pacer;
use vesper_adapters::settings::{Books, Mode, Secrets, Settings};
use vesper_adapters::stripe::client::StripeClient;
use vesper_adapters::stripe::wire::Projection;
use vesper_core::effect::Lease;
use vesper_core::policy::Policy;

/// Time, randomness and the leases of running work: what differs between a Lambda, `vesper serve` and a test.
pub trait Host: Send + Sync {
    /// Now, by the clock that decisions, back-off and deadlines follow.
    fn now(&self) -> Timestamp;
    /// Now, by the real clock: for signatures only.
    fn real_unix_s(&self) -> i64;
    /// Sixteen random bytes.
    fn random(&self) -> [u8; 16];
    /// A name for a piece of work that starts now; it is alive until it is released.
    fn hold(&self) -> String;
    /// The piece of work ended.
    fn release(&self, owner: &str);
    /// Whether the holder of a lease may still be at work.
    fn alive(&self, lease: &Lease) -> bool;
    /// When this process will be stopped, whatever it is doing: the end of a function's time. None where nobody does that.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }
}

/// The EHR side.
pub struct Ehr {
    /// The bridge; None with `ehr.kind = "files"`.
    pub bridge: Option<BridgeClient>,
    /// One reading of the feed at a time in this process; the lease in the table keeps the others out.
    pub importing: tokio::sync::Mutex<()>,
}

/// The QuickBooks side.
pub struct QuickBooks {
    /// The client.
    pub client: QuickBooksClient,
    /// Carries the token calls.
    pub transport: SharedTransport,
    /// Paces the calls.
    pub pacer: std::sync::Mutex<Pacer>,
    /// One refresh at a time in this process; the lease in the table keeps the others out.
    pub refreshing: tokio::sync::Mutex<()>,
}

/// See the module.
pub struct App {
    /// The store.
    pub store: Store,
    /// Stripe.
    pub stripe: StripeClient,
    /// How events are projected.
    pub projection: Projection,
    /// The EHR.
    pub ehr: Ehr,
    /// QuickBooks; None with `books.kind = "none"`.
    pub quickbooks: Option<QuickBooks>,
    /// The queues.
    pub queues: Arc<dyn Queues>,
    /// Where domain events are told.
    pub bus: Arc<dyn Bus>,
    /// Time and randomness.
    pub host: Arc<dyn Host>,
    /// The practice's settings.
    pub settings: Settings,
    /// The same as a policy for the core.
    pub policy: Policy,
    /// The secrets.
    pub secrets: Secrets,
    /// Money created before it is `before_go_live`.
    pub go_live: Timestamp,
}

impl App {
    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.host.now()
    }

    /// The door for webhooks, which needs no store.
    #[must_use]
    pub fn door(&self) -> Door<'_> {
        Door {
            stripe_secrets: &self.secrets.stripe_webhook_secrets,
            ehr_secrets: &self.secrets.ehr_bridge_secrets,
            livemode: self.settings.stripe.livemode,
            projection: &self.projection,
            queues: self.queues.as_ref(),
            host: self.host.as_ref(),
        }
    }

    /// Whether something that takes so many seconds ends before this process is stopped.
    #[must_use]
    pub fn has_time_for(&self, seconds: i64) -> bool {
        self.host.deadline().is_none_or(|at| at.duration_since(self.now()).as_secs() >= seconds)
    }

    /// The practice-local day of a moment.
    #[must_use]
    pub fn local_date(&self, at: Timestamp) -> Date {
        at.to_zoned(self.policy.time_zone.clone()).date()
    }

    /// Decide, store and show everything, write to no outside system.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.settings.practice.mode == Mode::Shadow
    }

    /// The accounts of QuickBooks, when there are books.
    #[must_use]
    pub fn accounts(&self) -> Option<&vesper_adapters::settings::Accounts> {
        match &self.settings.books {
            Books::QuickBooks(q) => Some(&q.accounts),
            Books::None => None,
        }
    }

    /// Twelve random bytes, for sealing.
    #[must_use]
    pub fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.host.random()[..12]);
        nonce
    }

    /// Eight random bytes as hex, to keep two things of the same moment apart.
    #[must_use]
    pub fn random_hex(&self) -> String {
        hex::encode(&self.host.random()[..8])
    }
}

/// A piece of work that is alive as long as this is.
pub struct Held<'a> {
    app: &'a App,
    /// Its name, for leases.
    pub owner: String,
}

impl<'a> Held<'a> {
    /// Starts a piece of work.
    #[must_use]
    pub fn new(app: &'a App) -> Held<'a> {
        Held { app, owner: app.host.hold() }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.app.host.release(&self.owner);
    }
}
