//! Recovery of failed cards (design.md section 5): which declines are tried again, and when. Pure: no clock, no I/O.
//!
//! Must not: charge anything, or look at an invoice. The guard does, immediately before each attempt.

use crate::event::Failure;
use crate::ids::{CustomerId, InvoiceId, PaymentId};
use crate::money::Minor;
use crate::policy::{Policy, RetryPolicy};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// Why a recovery ended without success: the closed list of contracts/export.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The PaymentIntent succeeded without us, or nothing is open on an invoice any more.
    Paid,
    /// Other money of that paying client is on its way.
    OtherMoney,
    /// The amount or the invoices are not what they were.
    Changed,
    /// An invoice is void.
    Void,
    /// The card must never be tried again.
    HardDecline,
    /// Only the client can mend it.
    NeedsClient,
    /// No consent to charge the card.
    Consent,
    /// The EHR charges by itself.
    Autopay,
    /// The coverage forbids it.
    Coverage,
    /// A dispute touches an invoice.
    Disputed,
    /// The PaymentIntent was canceled.
    Canceled,
}

impl StopReason {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StopReason::Paid => "paid",
            StopReason::OtherMoney => "other_money",
            StopReason::Changed => "changed",
            StopReason::Void => "void",
            StopReason::HardDecline => "hard_decline",
            StopReason::NeedsClient => "needs_client",
            StopReason::Consent => "consent",
            StopReason::Autopay => "autopay",
            StopReason::Coverage => "coverage",
            StopReason::Disputed => "disputed",
            StopReason::Canceled => "canceled",
        }
    }
}

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

/// What is to be done about a failed card next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextRetry {
    /// An attempt, at this time.
    At {
        /// When; in the past: now.
        time: Timestamp,
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
    let zone = &policy.time_zone;
    let today = local_date(now, zone);
    let earliest = history.last_failed_at.saturating_add(SignedDuration::from_secs(wait_s)).unwrap_or(Timestamp::MAX);
    for (rung, date) in rungs(history, short_of_money, &policy.retry, zone) {
        if date < today || history.attempted_on.contains(&date) {
            continue; // The day has passed, or this day has had its attempt: the rung is lost, not made up.
        }
        let Some(time) = at_practice_time(date, &policy.retry, zone) else { continue };
        let time = time.max(earliest);
        if local_date(time, zone) == date {
            return NextRetry::At { time, why: format!("rung {rung} of {}", policy.retry.days.len()) };
        }
    }
    NextRetry::Exhausted
}

fn local_date(at: Timestamp, zone: &TimeZone) -> Date {
    at.to_zoned(zone.clone()).date()
}

/// The rungs with their days: two on one day are one, the second is lost.
fn rungs(history: &History<'_>, short_of_money: bool, retry: &RetryPolicy, zone: &TimeZone) -> Vec<(usize, Date)> {
    let first = local_date(history.first_failed_at, zone);
    let mut found: Vec<(usize, Date)> = Vec::new();
    for (place, days) in retry.days.iter().enumerate() {
        let Ok(own) = first.checked_add(i64::from(*days).days()) else { continue };
        let date = if short_of_money { payday(own, retry.payday_shift_days) } else { own };
        if found.iter().all(|(_, d)| *d != date) {
            found.push((place.saturating_add(1), date));
        }
    }
    found.sort_by_key(|(_, d)| *d);
    found
}

/// The next of {1st, 15th, Friday} from this day on, if it is near enough; else the day itself.
fn payday(own: Date, shift_days: u8) -> Date {
    let is_payday = |d: &Date| matches!(d.day(), 1 | 15) || d.weekday() == Weekday::Friday;
    let near = (0..=i64::from(shift_days)).filter_map(|n| own.checked_add(n.days()).ok());
    near.into_iter().find(is_payday).unwrap_or(own)
}

fn at_practice_time(date: Date, retry: &RetryPolicy, zone: &TimeZone) -> Option<Timestamp> {
    // A time that daylight saving skips is read as the same distance after the gap; one that comes twice, as the first.
    zone.to_ambiguous_zoned(date.to_datetime(retry.at)).compatible().ok().map(|z| z.timestamp())
}

/// Where a recovery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryState {
    /// The next rung is waited for.
    Waiting,
    /// An attempt of ours succeeded.
    Recovered,
    /// It ended for the reason in `stop_reason`.
    Stopped,
    /// Every rung is used or lost.
    Exhausted,
}

impl RecoveryState {
    /// The word of contracts/export.md.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RecoveryState::Waiting => "waiting",
            RecoveryState::Recovered => "recovered",
            RecoveryState::Stopped => "stopped",
            RecoveryState::Exhausted => "exhausted",
        }
    }
}

/// How an attempt of ours ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nobody knows yet: Stripe is asked before anything else is done.
    Unknown,
    /// Stripe is still at it.
    Processing,
    /// The card was charged.
    Succeeded,
    /// The card was declined, with this code.
    Declined {
        /// decline_code or code.
        code: String,
    },
    /// It ended in another way, in Stripe's words.
    Ended {
        /// The PaymentIntent's status, or the refusal's code.
        status: String,
    },
}

/// One attempt of ours. A repeat under its key sends the same parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts our own attempts from 1.
    pub n: u32,
    /// When it was recorded, before the call.
    pub at: Timestamp,
    /// Its practice-local day.
    pub date: Date,
    /// The Idempotency-Key, `vesper-retry-<payment intent>-<n>`.
    pub key: String,
    /// The card that was charged.
    pub payment_method: String,
    /// What was to be charged, compared with the PaymentIntent.
    pub amount: Minor,
    /// The PaymentIntent's latest charge before the attempt: another one afterwards is the attempt's.
    pub charge_before: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// The retry ladder of one failed PaymentIntent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The newest failure.
    pub failure: Failure,
    /// When the first failed event was created.
    pub first_failed_at: Timestamp,
    /// When the newest failure happened.
    pub last_failed_at: Timestamp,
    /// Radar blocked the newest one.
    pub blocked: bool,
    /// The invoices it pays and how much of each, fixed at the first failure.
    pub invoices: Vec<(InvoiceId, Minor)>,
    /// The card that is charged: the failed one, or the one whose event re-armed the ladder.
    pub payment_method: Option<String>,
    /// Our own attempts.
    pub attempts: Vec<Attempt>,
    /// Where it stands.
    pub state: RecoveryState,
    /// Why it stopped.
    pub stop_reason: Option<StopReason>,
    /// When it is looked at next.
    pub next_at: Option<Timestamp>,
    /// Which rung that is, or what is waited for.
    pub why: String,
    /// It holds the claims of its invoices.
    pub claims: bool,
    /// Opened in shadow mode: shown, never charged.
    pub shadow: bool,
    /// Counts what happened, so that each stop may be asked about once.
    pub turns: u32,
}

impl Recovery {
    /// The failed PaymentIntent.
    #[must_use]
    pub fn payment(&self) -> &PaymentId {
        &self.failure.payment
    }

    /// Its customer.
    #[must_use]
    pub fn customer(&self) -> Option<&CustomerId> {
        self.failure.customer.as_ref()
    }

    /// The attempt whose outcome is not known yet.
    #[must_use]
    pub fn open_attempt(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|a| matches!(a.outcome, Outcome::Unknown | Outcome::Processing))
    }

    /// What comes next after the newest failure.
    #[must_use]
    pub fn next(&self, policy: &Policy, now: Timestamp) -> NextRetry {
        let attempted_on: Vec<Date> = self.attempts.iter().map(|a| a.date).collect();
        let history = History {
            first_failed_at: self.first_failed_at,
            attempted_on: &attempted_on,
            last_failed_at: self.last_failed_at,
        };
        decide_next_retry(&history, classify(&self.failure, self.blocked), policy, now)
    }

    /// Takes what comes next. True when it ended by it and a person is to be told.
    pub fn turn(&mut self, next: NextRetry) -> bool {
        self.turns = self.turns.saturating_add(1);
        match next {
            NextRetry::At { time, why } => {
                self.state = RecoveryState::Waiting;
                self.stop_reason = None;
                self.next_at = Some(time);
                self.why = why;
                false
            }
            NextRetry::Stop(reason) => self.stop(reason),
            NextRetry::UnknownDecline => self.stop(StopReason::NeedsClient),
            NextRetry::Exhausted => {
                self.state = RecoveryState::Exhausted;
                self.next_at = None;
                "every rung is used or lost".clone_into(&mut self.why);
                true
            }
        }
    }

    /// Ends it. True when a person is to be told: not when it was paid.
    pub fn stop(&mut self, reason: StopReason) -> bool {
        self.state = RecoveryState::Stopped;
        self.stop_reason = Some(reason);
        self.next_at = None;
        self.why = format!("stopped: {}", reason.as_str());
        reason != StopReason::Paid
    }

    /// Whether a new card re-arms it: it waits, or only the client could mend it.
    #[must_use]
    pub fn is_rearmed_by_a_card(&self) -> bool {
        match self.state {
            RecoveryState::Waiting => true,
            RecoveryState::Stopped => self.stop_reason == Some(StopReason::NeedsClient),
            RecoveryState::Recovered | RecoveryState::Exhausted => false,
        }
    }
}
