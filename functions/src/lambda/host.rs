//! Time, randomness and leases of a function. Nobody knows whether another function is still at work: its lease says so.

use crate::app::Host;
use jiff::Timestamp;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use vesper_core::effect::Lease;

/// The host of one process, which works on one invocation at a time.
pub struct LambdaHost {
    process: String,
    count: AtomicU64,
    /// The end of the invocation under way, in milliseconds since 1970; 0 between two.
    deadline_ms: AtomicI64,
}

impl LambdaHost {
    /// A host with a name of its own.
    #[must_use]
    pub fn new() -> LambdaHost {
        LambdaHost { process: hex::encode(random()), count: AtomicU64::new(0), deadline_ms: AtomicI64::new(0) }
    }

    /// An invocation begins that is stopped then, in milliseconds since 1970.
    pub fn begin(&self, deadline_ms: u64) {
        self.deadline_ms.store(i64::try_from(deadline_ms).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Default for LambdaHost {
    fn default() -> Self {
        Self::new()
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // The operating system's generator fails only where nothing works any more; zeros would be worse than stopping.
    if getrandom::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
}

impl Host for LambdaHost {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn real_unix_s(&self) -> i64 {
        Timestamp::now().as_second()
    }

    fn random(&self) -> [u8; 16] {
        random()
    }

    fn hold(&self) -> String {
        format!("{}/{}", self.process, self.count.fetch_add(1, Ordering::SeqCst))
    }

    fn release(&self, _owner: &str) {}

    fn alive(&self, lease: &Lease) -> bool {
        lease.until > self.now()
    }

    fn deadline(&self) -> Option<Timestamp> {
        match self.deadline_ms.load(Ordering::SeqCst) {
            0 => None,
            ms => Timestamp::from_millisecond(ms).ok(),
        }
    }
}
