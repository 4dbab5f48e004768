//! Time, randomness and running work of this process. With a test clock, time stands still until somebody moves it.

use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use vesper_core::effect::Lease;
use vesper_functions::app::Host;

/// Which clock decisions, back-off and deadlines follow.
enum Clock {
    /// The machine's.
    Real,
    /// One that stands still: microseconds since 1970.
    Test(AtomicI64),
}

/// See the module.
pub struct LocalHost {
    clock: Clock,
    /// Names this process in leases: a lease of an earlier process is void, because DIR/lock lets only one run.
    process: String,
    works: Mutex<BTreeSet<String>>,
    count: AtomicU64,
}

impl LocalHost {
    /// A host on the machine's clock.
    #[must_use]
    pub fn real() -> LocalHost {
        Self::with(Clock::Real)
    }

    /// A host whose clock stands at `at`.
    #[must_use]
    pub fn standing(at: Timestamp) -> LocalHost {
        Self::with(Clock::Test(AtomicI64::new(at.as_microsecond())))
    }

    fn with(clock: Clock) -> LocalHost {
        LocalHost { clock, process: hex::encode(random()), works: Mutex::default(), count: AtomicU64::new(0) }
    }

    /// Whether time only moves by hand.
    #[must_use]
    pub const fn stands_still(&self) -> bool {
        matches!(self.clock, Clock::Test(_))
    }

    /// Moves a test clock forward; never back.
    pub fn move_to(&self, at: Timestamp) {
        if let Clock::Test(now) = &self.clock {
            now.fetch_max(at.as_microsecond(), Ordering::SeqCst);
        }
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

impl Host for LocalHost {
    fn now(&self) -> Timestamp {
        match &self.clock {
            Clock::Real => Timestamp::now(),
            Clock::Test(now) => Timestamp::from_microsecond(now.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX),
        }
    }

    fn real_unix_s(&self) -> i64 {
        Timestamp::now().as_second()
    }

    fn random(&self) -> [u8; 16] {
        random()
    }

    fn hold(&self) -> String {
        let name = format!("{}/{}", self.process, self.count.fetch_add(1, Ordering::SeqCst));
        self.works.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name.clone());
        name
    }

    fn release(&self, owner: &str) {
        self.works.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(owner);
    }

    /// Leases of running work are held by the process and do not expire by an advance of the clock (contracts/settings.md).
    fn alive(&self, lease: &Lease) -> bool {
        self.works.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&lease.owner)
    }
}
