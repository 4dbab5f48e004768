//! Which declines are tried again, and when (design.md section 5, "When"). Pure: no clock.
//!
//! Must not: look at an invoice or at other money. That is the guard's.

use super::{Recovery, RecoveryState, StopReason};
use crate::event::Failure;
use crate::policy::{Policy, RetryPolicy};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// What a decline means for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decline {
    /// Never with this card.
    Hard,
    /// The client must act.
    NeedsClient,
    /// May be tried again, at the earliest after so many seconds.
    Retry {
        /// The network's minimum wait, in seconds.
        wait_s: i64,
        /// The account was short of money: a payday is a better day.
        short_of_money: bool,
    },
    /// A code nobody knows: a person is asked, never a blind retry.
    Unknown,
}

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// What a failure means: advice_code first, then network_advice_code, then decline_code (or code). The lists are those of
/// design.md section 5; the waits those of facts/stripe.md section 4. `blocked`: Radar's outcome says so.
#[must_use]
pub fn classify(failure: &Failure, blocked: bool) -> Decline {
    let code = failure.decline_code.as_deref().or(failure.code.as_deref());
    let short_of_money = code == Some("insufficient_funds");
    let wait_s = failure.network_advice_code.as_deref().and_then(network_wait_s).unwrap_or(0);
    let retry = Decline::Retry { wait_s, short_of_money };
    if blocked {
        return Decline::Hard;
    }
    match failure.advice_code.as_deref() {
        Some("do_not_try_again") => return Decline::Hard,
        Some("confirm_card_data") => return Decline::NeedsClient,
        Some("try_again_later") => return retry,
        Some(_) => return Decline::Unknown,
        None => {}
    }
    match failure.network_advice_code.as_deref() {
        Some("03" | "21" | "22" | "42") => return Decline::Hard,
        Some("01" | "04" | "40" | "41" | "43") => return Decline::NeedsClient,
        Some(code) if network_wait_s(code).is_some() => return retry,
        Some(_) => return Decline::Unknown,
        None => {}
    }
    code.map_or(Decline::Unknown, |code| by_code(code, retry))
}

/// The network's minimum waits (facts/stripe.md section 4, MAC 02 and 24 to 30), in seconds.
fn network_wait_s(code: &str) -> Option<i64> {
    Some(match code {
        "02" => 72 * HOUR_S,
        "24" => HOUR_S,
        "25" => DAY_S,
        "26" => 2 * DAY_S,
        "27" => 4 * DAY_S,
        "28" => 6 * DAY_S,
        "29" => 8 * DAY_S,
        "30" => 10 * DAY_S,
        _ => return None,
    })
}

fn by_code(code: &str, retry: Decline) -> Decline {
    match code {
        "lost_card" | "stolen_card" | "pickup_card" | "restricted_card" | "fraudulent" | "merchant_blacklist" => Decline::Hard,
        "stop_payment_order" | "security_violation" | "transaction_not_allowed" | "not_permitted" => Decline::Hard,
        "service_not_allowed" | "testmode_decline" => Decline::Hard,
        "authentication_required" | "expired_card" | "new_account_information_available" => Decline::NeedsClient,
        "card_not_supported" | "currency_not_supported" => Decline::NeedsClient,
        "insufficient_funds" | "generic_decline" | "do_not_honor" | "call_issuer" | "no_action_taken" => retry,
        "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" | "processing_error" | "issuer_not_available" => retry,
        "reenter_transaction" | "approve_with_id" | "try_again_later" => retry,
        code if code.starts_with("revocation_of_") => Decline::Hard,
        code if code.starts_with("incorrect_") || code.starts_with("invalid_") => Decline::NeedsClient,
        _ => Decline::Unknown,
    }
}

/// One rung of a ladder, with the practice-local day on which it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Counts the days of `retry.days` from 1.
    pub n: u8,
    /// Its day.
    pub on: Date,
}

/// What is to be done about a failed card next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextRetry {
    /// An attempt, at this time.
    At {
        /// When; in the past: now.
        time: Timestamp,
        /// On which rung.
        rung: Rung,
        /// Which rung, and why then. One sentence.
        why: String,
    },
    /// No more attempts with this card.
    Stop(StopReason),
    /// Every rung is used or lost.
    Exhausted,
    /// Nobody knows the decline: a person is asked.
    UnknownDecline,
}

/// What was tried so far.
#[derive(Clone, Debug)]
pub struct History<'h> {
    /// When the first failed event was created: the ladder counts from its practice-local day.
    pub first_failed_at: Timestamp,
    /// Practice-local days of our own attempts.
    pub attempted_on: &'h [Date],
    /// When the newest failure happened: minimum waits count from here.
    pub last_failed_at: Timestamp,
    /// Rungs up to this one are used or lost. A later decline with other days does not bring them back.
    pub gone: u8,
}

/// When a failed card is tried next (design.md section 5).
#[must_use]
pub fn decide_next_retry(history: &History<'_>, decline: Decline, policy: &Policy, now: Timestamp) -> NextRetry {
    let (wait_s, short_of_money) = match decline {
        Decline::Hard => return NextRetry::Stop(StopReason::HardDecline),
        Decline::NeedsClient => return NextRetry::Stop(StopReason::NeedsClient),
        Decline::Unknown => return NextRetry::UnknownDecline,
        Decline::Retry { wait_s, short_of_money } => (wait_s, short_of_money),
    };
    let (zone, retry) = (&policy.time_zone, &policy.retry);
    if history.attempted_on.len() >= retry.days.len() {
        return NextRetry::Exhausted;
    }
    let today = local_date(now, zone);
    let earliest = history.last_failed_at.saturating_add(SignedDuration::from_secs(wait_s)).unwrap_or(Timestamp::MAX);
    for (own, rung) in rungs(history.first_failed_at, short_of_money, retry, zone) {
        if rung.n <= history.gone || rung.on < today || history.attempted_on.contains(&rung.on) {
            continue; // Its day has passed, or this day has had its attempt: the rung is lost, not made up.
        }
        let Some(at) = at_practice_time(rung.on, retry.at, zone) else { continue };
        let time = at.max(earliest);
        if local_date(time, zone) == rung.on {
            return NextRetry::At { time, rung, why: why(rung, own, time > at, retry) };
        }
    }
    NextRetry::Exhausted
}

fn why(rung: Rung, own: Date, waits: bool, retry: &RetryPolicy) -> String {
    let payday = if rung.on == own { "" } else { ", moved to the next payday because the account was short of money" };
    let network = if waits { ", not before the card's network allows it" } else { "" };
    format!("rung {} of {}{payday}{network}", rung.n, retry.days.len())
}

/// The last rung that is used, or lost because its day has passed, while the newest decline is this one; 0: none.
#[must_use]
pub fn gone_by(first_failed_at: Timestamp, attempted_on: &[Date], decline: Decline, policy: &Policy, now: Timestamp) -> u8 {
    let short_of_money = matches!(decline, Decline::Retry { short_of_money: true, .. });
    let today = local_date(now, &policy.time_zone);
    let rungs = rungs(first_failed_at, short_of_money, &policy.retry, &policy.time_zone).into_iter().map(|(_, rung)| rung);
    rungs.filter(|rung| rung.on < today || attempted_on.contains(&rung.on)).map(|rung| rung.n).max().unwrap_or(0)
}

/// The practice-local day of a moment.
#[must_use]
pub fn local_date(at: Timestamp, zone: &TimeZone) -> Date {
    at.to_zoned(zone.clone()).date()
}

/// When the practice-local day after that of this moment begins.
#[must_use]
pub fn next_day(now: Timestamp, zone: &TimeZone) -> Timestamp {
    let tomorrow = local_date(now, zone).checked_add(1.day());
    tomorrow.ok().and_then(|day| at_practice_time(day, Time::midnight(), zone)).unwrap_or(Timestamp::MAX)
}

/// The rungs, each with its own day and the day on which it is used: two on one day are one, the second is lost.
fn rungs(first_failed_at: Timestamp, short_of_money: bool, retry: &RetryPolicy, zone: &TimeZone) -> Vec<(Date, Rung)> {
    let first = local_date(first_failed_at, zone);
    let mut found: Vec<(Date, Rung)> = Vec::new();
    for (n, days) in (1_u8..).zip(&retry.days) {
        let Ok(own) = first.checked_add(i64::from(*days).days()) else { continue };
        let on = if short_of_money { payday(own, retry.payday_shift_days) } else { own };
        if found.iter().all(|(_, rung)| rung.on != on) {
            found.push((own, Rung { n, on }));
        }
    }
    found
}

/// The next of {1st, 15th, Friday} from this day on, if it is near enough; else the day itself.
fn payday(own: Date, shift_days: u8) -> Date {
    let is_payday = |d: &Date| matches!(d.day(), 1 | 15) || d.weekday() == Weekday::Friday;
    let near = (0..=i64::from(shift_days)).filter_map(|n| own.checked_add(n.days()).ok());
    near.into_iter().find(is_payday).unwrap_or(own)
}

/// What became of a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An attempt was made on its day.
    Used,
    /// Its day passed, or is that of another rung, without an attempt.
    Lost,
    /// It is used, or lost: a later decline has moved the days since.
    Gone,
    /// It is the one that is waited for.
    Next,
    /// It comes after that.
    Later,
    /// The recovery is over without it.
    NotNeeded,
}

/// Every rung of a ladder as it stands now, for a person to see: its day, when the card would be tried, and what became of it.
#[must_use]
pub fn plan(recovery: &Recovery, policy: &Policy, now: Timestamp) -> Vec<(Rung, Option<Timestamp>, Fate)> {
    let (zone, retry) = (&policy.time_zone, &policy.retry);
    let first = local_date(recovery.first_failed_at, zone);
    let decline = super::classify(&recovery.failure, recovery.blocked);
    let short_of_money = matches!(decline, Decline::Retry { short_of_money: true, .. });
    let used = rungs(recovery.first_failed_at, short_of_money, retry, zone);
    let attempted = |day: Date| recovery.attempts.iter().any(|a| a.date == day);
    // An attempt on a day that is no rung's any more belongs to one of those that are gone.
    let moved = recovery.attempts.iter().any(|a| used.iter().all(|(_, rung)| rung.on != a.date));
    let is_waiting = recovery.state == RecoveryState::Waiting;
    let each = (1_u8..).zip(&retry.days).filter_map(|(n, days)| {
        let own = first.checked_add(i64::from(*days).days()).ok()?;
        let on = used.iter().find(|(_, rung)| rung.n == n).map(|(_, rung)| rung.on);
        let rung = Rung { n, on: on.unwrap_or(own) };
        let fate = match on {
            None => Fate::Lost,
            Some(on) if attempted(on) => Fate::Used,
            Some(_) if n <= recovery.gone && moved => Fate::Gone,
            Some(on) if n <= recovery.gone || on < local_date(now, zone) => Fate::Lost,
            Some(_) if !is_waiting => Fate::NotNeeded,
            Some(_) if recovery.rung.is_some_and(|next| next.n == n) => Fate::Next,
            Some(_) => Fate::Later,
        };
        Some((rung, at_practice_time(rung.on, retry.at, zone), fate))
    });
    each.collect()
}

fn at_practice_time(date: Date, at: Time, zone: &TimeZone) -> Option<Timestamp> {
    // A time that daylight saving skips is read as the same distance after the gap; one that comes twice, as the first.
    zone.to_ambiguous_zoned(date.to_datetime(at)).compatible().ok().map(|z| z.timestamp())
}
