//! Time, randomness and leases of a command that works on the same table as the functions of a stack.
//!
//! Must not: take the lease of another process for void. It cannot know that process: only time ends its lease.

use crate::stack::host::LocalHost;
use jiff::Timestamp;
use vesper_core::effect::Lease;
use vesper_functions::app::Host;

/// See the module.
pub struct SharedHost(LocalHost);

impl SharedHost {
    /// On the machine's clock.
    #[must_use]
    pub fn real() -> SharedHost {
        SharedHost(LocalHost::real())
    }
}

impl Host for SharedHost {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn real_unix_s(&self) -> i64 {
        self.0.real_unix_s()
    }

    fn random(&self) -> [u8; 16] {
        self.0.random()
    }

    fn hold(&self) -> String {
        self.0.hold()
    }

    fn release(&self, owner: &str) {
        self.0.release(owner);
    }

    fn alive(&self, lease: &Lease) -> bool {
        lease.until > self.now()
    }
}
