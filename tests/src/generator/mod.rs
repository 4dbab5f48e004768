//! Made-up practices for tests and benches: EHR records and Stripe events as JSON Lines, the same for the same seed.
//!
//! Must not: use a type of the product, a clock or the operating system's randomness, or hold real data. Addresses
//! end in `example.test`.

mod adversarial;
mod realistic;
#[cfg(test)]
mod tests;
mod timeline;

pub use adversarial::adversarial;
pub use realistic::realistic;

/// The input of `vesper backtest` (contracts/backtest.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Practice {
    /// `--ehr`: records in order of `observed_at`, but for a few stale ones that come again.
    pub ehr_jsonl: String,
    /// `--events`: Stripe snapshot events in order of delivery.
    pub events_jsonl: String,
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, deterministic, good enough to scatter cases.
#[derive(Clone, Debug)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to n-1; 0 when n is 0.
    fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(1).max(1);
        usize::try_from(self.next() % n).unwrap_or(0)
    }

    /// low to high, both included.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below(usize::try_from(high - low + 1).unwrap_or(1))).unwrap_or(0)
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }

    fn pick_amount(&mut self, all: &[i64]) -> i64 {
        self.pick(all).copied().unwrap_or(0)
    }
}
