//! Keeps calls below the limits of QuickBooks: so many per minute, evenly, and never more than ten in a second
//! (facts/quickbooks.md A2: 500 per minute and realm, 10 per second and realm).
//!
//! Must not: read a clock or sleep; the time is an argument and the wait is the caller's.

use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;

/// The most calls in any one second (facts/quickbooks.md A2).
const MAX_PER_SECOND: u32 = 10;
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// A token bucket that holds one second's worth of calls.
#[derive(Debug, Clone)]
pub struct Pacer {
    max_per_minute: u32,
    max_per_second: usize,
    /// When the bucket will be full again: each call moves it on by one interval.
    full_at: Timestamp,
    /// The calls of the last minute, oldest first.
    granted: VecDeque<Timestamp>,
    /// The last turn that was promised to somebody who waits.
    promised: Timestamp,
}

impl Pacer {
    /// Paces to `max_per_minute` calls (`books.max_per_minute` of contracts/settings.md); 0 counts as 1.
    #[must_use]
    pub fn new(max_per_minute: u32) -> Self {
        Self::shared(max_per_minute, 1)
    }

    /// The part of one of so many processes that call at the same time and know nothing of each other; each may call at least once
    /// per minute. 0 counts as 1.
    #[must_use]
    pub fn shared(max_per_minute: u32, processes: u32) -> Self {
        let part = |whole: u32| whole.checked_div(processes).unwrap_or(whole).max(1);
        Self {
            max_per_minute: part(max_per_minute),
            max_per_second: usize::try_from(part(MAX_PER_SECOND)).unwrap_or(1),
            full_at: Timestamp::MIN,
            granted: VecDeque::new(),
            promised: Timestamp::MIN,
        }
    }

    /// Takes one call, at `now`; a clock that went back counts as standing still.
    ///
    /// # Errors
    /// The whole seconds to wait, at least 1, before asking again; nothing is taken then.
    pub fn take(&mut self, now: Timestamp) -> Result<(), u32> {
        let now = self.granted.back().map_or(now, |last| now.max(*last));
        while self.granted.front().is_some_and(|first| later(*first, MINUTE) <= now) {
            self.granted.pop_front();
        }
        let free_at = self.free_at();
        if free_at > now {
            let wait = free_at.duration_since(now);
            let whole = wait.as_secs().saturating_add(i64::from(wait.subsec_nanos() > 0));
            return Err(u32::try_from(whole).unwrap_or(u32::MAX).max(1));
        }
        self.full_at = later(self.full_at.max(now), self.interval());
        self.granted.push_back(now);
        Ok(())
    }

    /// The turn of one who was refused: whole seconds from `now`, at least 1, each turn one interval after the one before. So
    /// those who wait come one after the other, and not all at once to be refused again but for a few. A turn is a promise of
    /// nothing: who comes is asked for by [`Pacer::take`].
    pub fn turn(&mut self, now: Timestamp) -> u32 {
        let turn = later(self.promised, self.interval()).max(self.free_at()).max(now);
        self.promised = turn;
        let wait = turn.duration_since(now);
        let whole = wait.as_secs().saturating_add(i64::from(wait.subsec_nanos() > 0));
        u32::try_from(whole).unwrap_or(u32::MAX).max(1)
    }

    /// The first moment at which no limit is in the way.
    fn free_at(&self) -> Timestamp {
        // The bucket holds `burst` calls: one is left while it lacks at most `burst - 1` intervals.
        let per_second = usize::try_from(self.max_per_minute / 60).unwrap_or(usize::MAX);
        let burst = per_second.clamp(1, self.max_per_second);
        let slack = self.interval().saturating_mul(i32::try_from(burst).unwrap_or(1).saturating_sub(1));
        let bucket = self.full_at.checked_sub(slack).unwrap_or(Timestamp::MIN);
        let nth_last = |n: usize| self.granted.len().checked_sub(n).and_then(|at| self.granted.get(at));
        let second = nth_last(self.max_per_second).map_or(Timestamp::MIN, |t| later(*t, SECOND));
        let per_minute = usize::try_from(self.max_per_minute).unwrap_or(usize::MAX);
        let minute = nth_last(per_minute).map_or(Timestamp::MIN, |t| later(*t, MINUTE));
        bucket.max(second).max(minute)
    }

    /// The even distance of calls, rounded up.
    fn interval(&self) -> SignedDuration {
        SignedDuration::from_micros(60_000_000_i64.div_euclid(i64::from(self.max_per_minute)).saturating_add(1))
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_795_000_000_000 + ms).unwrap()
    }

    #[test]
    fn processes_that_share_the_pace_stay_below_it_together() {
        for (per_minute, processes) in [(400_u32, 3), (400, 1), (450, 2), (60, 3)] {
            let allowed = usize::try_from(per_minute).unwrap();
            let mut pacers: Vec<Pacer> = (0..processes).map(|_| Pacer::shared(per_minute, processes)).collect();
            let mut taken = Vec::new();
            for ms in (0..150_000).step_by(10) {
                taken.extend(pacers.iter_mut().filter_map(|p| p.take(at(ms)).ok()).map(|()| ms));
            }
            let most_within = |span: i64| {
                let within = |from: &i64| taken.iter().filter(|t| (*from..*from + span).contains(*t)).count();
                taken.iter().step_by(7).map(within).max().unwrap_or(0)
            };
            let (minute, second) = (most_within(60_000), most_within(1_000));
            assert!(minute <= allowed && second <= 10, "{per_minute}/{processes}: {minute} a minute, {second} a second");
            assert!(minute * 10 >= allowed * 9, "{per_minute}/{processes}: {minute} a minute is too slow");
        }
    }

    #[test]
    fn a_second_of_calls_goes_at_once_and_then_one_by_one() {
        let mut pacer = Pacer::new(400);
        let burst = (0..20).take_while(|_| pacer.take(at(0)).is_ok()).count();
        assert_eq!(burst, 6);
        assert_eq!(pacer.take(at(0)), Err(1));
        assert_eq!(pacer.take(at(151)), Ok(()));
        assert_eq!(pacer.take(at(151)), Err(1));
    }

    #[test]
    fn a_slow_pace_says_how_long_to_wait() {
        let mut pacer = Pacer::new(2);
        assert_eq!(pacer.take(at(0)), Ok(()));
        assert_eq!(pacer.take(at(0)), Err(31));
        assert_eq!(pacer.take(at(29_500)), Err(1));
        assert_eq!(pacer.take(at(31_000)), Ok(()));
        assert_eq!(Pacer::new(0).take(at(0)), Ok(()));
    }

    #[test]
    fn those_who_wait_come_one_after_the_other() {
        let mut pacer = Pacer::new(60);
        assert_eq!(pacer.take(at(0)), Ok(()));
        let turns: Vec<u32> = (0..4).map(|_| pacer.take(at(0)).err().map_or(0, |_| pacer.turn(at(0)))).collect();
        assert_eq!(turns, [2, 3, 4, 5], "an interval is a little more than a second");
        for second in [2, 3, 4, 5] {
            assert_eq!(pacer.take(at(second * 1_001)), Ok(()), "second {second}");
        }
        assert_eq!(pacer.turn(at(60_000)), 1, "promises of the past hold nobody up");
    }

    #[test]
    fn a_clock_that_goes_back_grants_nothing_extra() {
        let mut pacer = Pacer::new(1);
        assert_eq!(pacer.take(at(0)), Ok(()));
        assert!(pacer.take(at(-3_600_000)).is_err());
        assert!(pacer.take(at(59_000)).is_err());
        assert_eq!(pacer.take(at(61_000)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_ten_calls_and_no_minute_more_than_allowed(per_minute in 1_u32..2_000, steps in prop::collection::vec(0_i64..400, 1..600)) {
            let (mut pacer, mut now, mut granted) = (Pacer::new(per_minute), 0, Vec::new());
            for step in steps {
                now += step;
                while pacer.take(at(now)).is_ok() {
                    granted.push(now);
                }
            }
            for (i, first) in granted.iter().enumerate() {
                let within = |ms: i64| granted[i..].iter().filter(|t| **t < first + ms).count();
                prop_assert!(within(1_000) <= 10);
                prop_assert!(within(60_000) <= usize::try_from(per_minute).unwrap());
            }
        }

        #[test]
        fn after_the_wait_there_is_a_call(per_minute in 1_u32..2_000, calls in 1_usize..30) {
            let (mut pacer, mut now) = (Pacer::new(per_minute), 0_i64);
            for _ in 0..calls {
                if let Err(wait_s) = pacer.take(at(now)) {
                    now += i64::from(wait_s) * 1_000;
                    prop_assert_eq!(pacer.take(at(now)), Ok(()));
                }
            }
        }
    }
}
