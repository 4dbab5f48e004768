//! Recovery of failed cards (design.md section 5): the retry ladder of one failed PaymentIntent, from its first failure to its end.
//! Pure: no clock, no I/O. `ladder` says which declines are tried again and when, `guard` whether a card may be charged now, `steps`
//! what a look at a recovery comes to.
//!
//! Must not: charge anything, or read anything.

pub mod guard;
pub mod ladder;
pub mod steps;

pub use guard::{GuardFacts, GuardVerdict, InvoiceNow, OtherMoney, guard};
pub use ladder::{Decline, History, NextRetry, Rung, classify, decide_next_retry};

use crate::event::Failure;
use crate::ids::{CustomerId, InvoiceId, PaymentId};
use crate::money::Minor;
use crate::policy::Policy;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// So long after an attempt was recorded a repeat under its key is safe, in seconds: Stripe keeps a key for at least 24 hours
/// (facts/stripe.md section 4).
const KEY_SAFE_S: i64 = 23 * 3600;
/// At most so many notes are kept of one recovery; the oldest but the first go.
const NOTES_MAX: usize = 60;

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

/// What happened at a moment, or from then until later, in one sentence without personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When it was first so.
    pub at: Timestamp,
    /// When it was last so.
    pub until: Timestamp,
    /// What.
    pub what: String,
}

/// A card that Stripe told of, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCard {
    /// The payment method, `pm_...`.
    pub payment_method: String,
    /// The event's `created`.
    pub at: Timestamp,
}

/// What a person is to be told after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Nothing.
    Nothing,
    /// Review `card_failed`.
    CardFailed,
    /// Review `unknown_decline`.
    UnknownDecline,
}

/// What became of an attempt whose answer did not come, as Stripe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The card was charged.
    Succeeded,
    /// Stripe is at it.
    Processing,
    /// It was made, and declined.
    Declined,
    /// It was never made.
    NeverMade,
    /// It ended in another way.
    Ended(StopReason),
}

/// What became of news of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rearmed {
    /// It changes nothing.
    Ignored,
    /// An attempt is under way: it is taken when that has ended.
    Kept,
    /// The ladder goes on with it, as far as something of it is left.
    Taken(Tell),
}

/// The retry ladder of one failed PaymentIntent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The newest failure.
    pub failure: Failure,
    /// When the first failed event was created.
    pub first_failed_at: Timestamp,
    /// When the newest failure had happened at the latest: of an attempt of ours, when its decline was learnt.
    pub last_failed_at: Timestamp,
    /// When it happened at the earliest, where that is another time: when the attempt was made. A card told of since then is newer.
    #[serde(default)]
    pub failed_since: Option<Timestamp>,
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
    /// The rung that is waited for, or was last.
    #[serde(default)]
    pub rung: Option<Rung>,
    /// Rungs up to this one were used or lost under an earlier decline.
    #[serde(default)]
    pub gone: u8,
    /// Checkout or a Stripe invoice owns the PaymentIntent, or nobody could say: no card may be charged for it, not a new one either.
    #[serde(default)]
    pub owned: bool,
    /// Closed at the switch from shadow to live: no card is charged for it, a new one neither.
    #[serde(default)]
    pub closed: bool,
    /// A card that was told of while an attempt was under way.
    #[serde(default)]
    pub new_card: Option<NewCard>,
    /// The card that re-armed the ladder last.
    #[serde(default)]
    pub rearmed: Option<NewCard>,
    /// What happened, oldest first: why a card was or was not charged.
    #[serde(default)]
    pub notes: Vec<Note>,
}

impl Attempt {
    /// What became of it, from the PaymentIntent as it is now. Another charge than before it, or that Stripe had been at it, shows
    /// that it was made.
    #[must_use]
    pub fn shown(&self, intent_status: &str, latest_charge: Option<&str>) -> Shown {
        let made = latest_charge != self.charge_before.as_deref() || self.outcome == Outcome::Processing;
        match intent_status {
            "succeeded" => Shown::Succeeded,
            "processing" | "requires_capture" => Shown::Processing,
            "requires_payment_method" if made => Shown::Declined,
            "requires_payment_method" | "requires_confirmation" => Shown::NeverMade,
            "canceled" => Shown::Ended(StopReason::Canceled),
            _ => Shown::Ended(StopReason::NeedsClient),
        }
    }

    /// Whether it may be made again under its key: on its own practice day, while Stripe still keeps the key.
    #[must_use]
    pub fn may_be_repeated(&self, today: Date, now: Timestamp) -> bool {
        self.date == today && now.duration_since(self.at) < SignedDuration::from_secs(KEY_SAFE_S)
    }
}

impl Recovery {
    /// A recovery at its first failure, before anything is decided. `at`: the failed event's `created`.
    #[must_use]
    pub fn new(failure: Failure, at: Timestamp, blocked: bool, invoices: Vec<(InvoiceId, Minor)>, shadow: bool) -> Recovery {
        let mut recovery = Recovery {
            payment_method: failure.payment_method.clone(),
            failure,
            first_failed_at: at,
            last_failed_at: at,
            failed_since: None,
            blocked,
            invoices,
            attempts: Vec::new(),
            state: RecoveryState::Waiting,
            stop_reason: None,
            next_at: None,
            why: String::new(),
            claims: false,
            shadow,
            turns: 0,
            rung: None,
            gone: 0,
            owned: false,
            closed: false,
            new_card: None,
            rearmed: None,
            notes: Vec::new(),
        };
        let what = format!("the card was declined: {}", recovery.code());
        recovery.note(at, what);
        recovery
    }

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

    /// The newest decline's code.
    #[must_use]
    pub fn code(&self) -> &str {
        code_of(&self.failure)
    }

    /// The attempt whose outcome is not known yet.
    #[must_use]
    pub fn open_attempt(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|a| matches!(a.outcome, Outcome::Unknown | Outcome::Processing))
    }

    /// Notes what happened; the same once more only says until when.
    pub fn note(&mut self, at: Timestamp, what: impl Into<String>) {
        let what = what.into();
        match self.notes.last_mut() {
            Some(last) if last.what == what => last.until = last.until.max(at),
            _ => self.notes.push(Note { at, until: at, what }),
        }
        if self.notes.len() > NOTES_MAX {
            self.notes.remove(1);
        }
    }

    /// What comes next after the newest failure.
    #[must_use]
    pub fn next(&self, policy: &Policy, now: Timestamp) -> NextRetry {
        let attempted_on: Vec<Date> = self.attempts.iter().map(|a| a.date).collect();
        let (first_failed_at, last_failed_at, gone) = (self.first_failed_at, self.last_failed_at, self.gone);
        let history = History { first_failed_at, attempted_on: &attempted_on, last_failed_at, gone };
        decide_next_retry(&history, classify(&self.failure, self.blocked), policy, now)
    }

    /// Takes what comes next.
    pub fn turn(&mut self, next: NextRetry, now: Timestamp) -> Tell {
        match next {
            NextRetry::At { time, rung, why } => {
                self.turns = self.turns.saturating_add(1);
                self.state = RecoveryState::Waiting;
                self.stop_reason = None;
                self.next_at = Some(time);
                self.rung = Some(rung);
                self.note(now, format!("waits for {why}, on {}", rung.on));
                self.why = why;
                Tell::Nothing
            }
            NextRetry::Stop(StopReason::HardDecline) => {
                self.stop(StopReason::HardDecline, "this card must not be tried again", now)
            }
            NextRetry::Stop(reason) => self.stop(reason, "only the client can mend it", now),
            NextRetry::UnknownDecline => {
                self.stop(StopReason::NeedsClient, "the card was declined with a code that is not known", now);
                Tell::UnknownDecline
            }
            NextRetry::Exhausted => self.exhaust("every rung is used or lost", now),
        }
    }

    fn exhaust(&mut self, why: &str, now: Timestamp) -> Tell {
        self.turns = self.turns.saturating_add(1);
        self.state = RecoveryState::Exhausted;
        self.stop_reason = None;
        self.next_at = None;
        why.clone_into(&mut self.why);
        self.note(now, format!("exhausted: {why}"));
        Tell::CardFailed
    }

    /// Shadow mode is over: what it opened is never charged (design.md section 3, go_live). What still waits ends, as if its rungs
    /// were lost; what has ended is not re-armed any more.
    pub fn close(&mut self, now: Timestamp) -> Tell {
        self.closed = true;
        self.new_card = None;
        if self.state != RecoveryState::Waiting {
            return Tell::Nothing;
        }
        self.exhaust("closed at the switch from shadow to live, without an attempt", now)
    }

    /// Ends it. A person is told, but not when it was paid.
    pub fn stop(&mut self, reason: StopReason, why: &str, now: Timestamp) -> Tell {
        self.turns = self.turns.saturating_add(1);
        self.state = RecoveryState::Stopped;
        self.stop_reason = Some(reason);
        self.next_at = None;
        self.why = format!("stopped ({}): {why}", reason.as_str());
        self.note(now, self.why.clone());
        if reason == StopReason::Paid { Tell::Nothing } else { Tell::CardFailed }
    }

    /// Looks again at that time; the rung is kept, and lost by itself at the end of its practice day.
    pub fn hold(&mut self, until: Timestamp, why: &str, now: Timestamp) {
        self.next_at = Some(until);
        why.clone_into(&mut self.why);
        self.note(now, why);
    }

    // ---------------------------------------------------------------- attempts

    /// Records an attempt before it is made. None, and nothing recorded: there is no card, an attempt is open, or the day has had one.
    pub fn begin(&mut self, now: Timestamp, today: Date, charge_before: Option<String>, lease_until: Timestamp) -> Option<u32> {
        let taken = self.open_attempt().is_some() || self.attempts.iter().any(|a| a.date == today);
        let payment_method = self.payment_method.clone().filter(|_| !taken)?;
        let n = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.attempts.push(Attempt {
            n,
            at: now,
            date: today,
            key: format!("vesper-retry-{}-{n}", self.payment()),
            payment_method,
            amount: self.failure.amount,
            charge_before,
            outcome: Outcome::Unknown,
        });
        self.next_at = Some(lease_until);
        "an attempt is being made".clone_into(&mut self.why);
        self.note(now, format!("attempt {n}: the guard found nothing against it, the card is charged"));
        Some(n)
    }

    fn set_outcome(&mut self, outcome: Outcome) {
        if let Some(last) = self.attempts.last_mut() {
            last.outcome = outcome;
        }
    }

    /// The attempt charged the card.
    pub fn succeed(&mut self, now: Timestamp, look_at: Timestamp) {
        self.set_outcome(Outcome::Succeeded);
        self.turns = self.turns.saturating_add(1);
        self.state = RecoveryState::Recovered;
        self.stop_reason = None;
        self.new_card = None;
        self.next_at = Some(look_at);
        "an attempt succeeded".clone_into(&mut self.why);
        self.note(now, "the card was charged");
    }

    /// Stripe is still at the attempt.
    pub fn process(&mut self, now: Timestamp, look_at: Timestamp) {
        self.set_outcome(Outcome::Processing);
        self.hold(look_at, "Stripe is processing an attempt", now);
    }

    /// The attempt was declined: the next rung, or the end of the ladder.
    pub fn decline(&mut self, failure: &Failure, blocked: bool, policy: &Policy, now: Timestamp) -> Tell {
        self.set_outcome(Outcome::Declined { code: code_of(failure).to_owned() });
        self.take_failure(failure, blocked, now, policy, now);
        // Another card's decline is newer than the attempt: the client tried that one himself.
        let ours = |a: &&Attempt| failure.payment_method.as_ref().is_none_or(|card| *card == a.payment_method);
        self.failed_since = self.attempts.last().filter(ours).map(|a| a.at);
        self.note(now, format!("declined: {}", code_of(failure)));
        self.go_on(policy, now)
    }

    /// The attempt was never made and its time is over.
    pub fn never_made(&mut self, policy: &Policy, now: Timestamp) -> Tell {
        self.set_outcome(Outcome::Ended { status: "never made".to_owned() });
        self.note(now, "the attempt was never made, and its day is over");
        self.go_on(policy, now)
    }

    /// The attempt ended otherwise, and the recovery with it, unless a new card was told of meanwhile.
    pub fn end(&mut self, status: &str, reason: StopReason, why: &str, policy: &Policy, now: Timestamp) -> Tell {
        self.set_outcome(Outcome::Ended { status: status.to_owned() });
        let tell = self.stop(reason, why, now);
        if reason == StopReason::NeedsClient { self.take_kept_card(policy, now).unwrap_or(tell) } else { tell }
    }

    fn go_on(&mut self, policy: &Policy, now: Timestamp) -> Tell {
        let next = self.next(policy, now);
        let tell = self.turn(next, now);
        self.take_kept_card(policy, now).unwrap_or(tell)
    }

    // ---------------------------------------------------------------- news

    /// Whether a failed event tells anything new: not the webhook of an attempt of ours, no redelivery, not while an attempt is under
    /// way (its own answer says more), and not of another card than the one that is charged.
    #[must_use]
    pub fn is_news(&self, failure: &Failure, created: Timestamp) -> bool {
        let known = match &failure.charge {
            Some(_) => failure.charge == self.failure.charge || created < self.last_failed_at,
            None => created <= self.last_failed_at,
        };
        let other_card = failure.payment_method.is_some() && failure.payment_method != self.payment_method;
        !known && !other_card && self.state == RecoveryState::Waiting && self.open_attempt().is_none()
    }

    /// The client tried the same card himself, and it was declined again.
    pub fn failed_again(
        &mut self,
        failure: &Failure,
        blocked: bool,
        created: Timestamp,
        policy: &Policy,
        now: Timestamp,
    ) -> Tell {
        self.take_failure(failure, blocked, created, policy, now);
        self.note(created, format!("the client's own try was declined: {}", code_of(failure)));
        let next = self.next(policy, now);
        self.turn(next, now)
    }

    /// Only the decline is new: what the PaymentIntent is for, and how much, stays as it was at the first failure.
    fn take_failure(&mut self, newer: &Failure, blocked: bool, at: Timestamp, policy: &Policy, now: Timestamp) {
        self.keep_what_is_gone(policy, now);
        let failure = &mut self.failure;
        failure.charge.clone_from(&newer.charge);
        failure.code.clone_from(&newer.code);
        failure.decline_code.clone_from(&newer.decline_code);
        failure.advice_code.clone_from(&newer.advice_code);
        failure.network_advice_code.clone_from(&newer.network_advice_code);
        self.blocked = blocked;
        self.last_failed_at = at;
        self.failed_since = None;
    }

    /// A new or renewed card of the customer: what is left of the ladder goes on with it. Not when the recovery ended for another
    /// reason than `needs_client`, nor when the event is older than the newest failure or was heard before.
    pub fn rearm(&mut self, card: &NewCard, policy: &Policy, now: Timestamp) -> Rearmed {
        let failed_at = self.failed_since.unwrap_or(self.last_failed_at);
        let late = card.at.as_second() < failed_at.as_second() || self.rearmed.as_ref() == Some(card);
        if late || self.owned || self.invoices.is_empty() || !self.is_rearmed_by_a_card() {
            return Rearmed::Ignored;
        }
        if self.open_attempt().is_some() {
            self.new_card = Some(card.clone());
            self.note(now, "a new card was told of while an attempt was under way");
            return Rearmed::Kept;
        }
        if self.state == RecoveryState::Waiting && self.payment_method.as_ref() == Some(&card.payment_method) {
            return Rearmed::Ignored;
        }
        Rearmed::Taken(self.take_card(card.clone(), policy, now))
    }

    fn take_kept_card(&mut self, policy: &Policy, now: Timestamp) -> Option<Tell> {
        let card = self.new_card.take()?;
        let other = self.payment_method.as_ref() != Some(&card.payment_method);
        let wanted = self.is_rearmed_by_a_card() && (other || self.state == RecoveryState::Stopped);
        wanted.then(|| self.take_card(card, policy, now))
    }

    /// A later decline may move days; what is used or lost by now does not come back with them.
    fn keep_what_is_gone(&mut self, policy: &Policy, now: Timestamp) {
        let attempted_on: Vec<Date> = self.attempts.iter().map(|a| a.date).collect();
        let decline = classify(&self.failure, self.blocked);
        self.gone = self.gone.max(ladder::gone_by(self.first_failed_at, &attempted_on, decline, policy, now));
    }

    fn take_card(&mut self, card: NewCard, policy: &Policy, now: Timestamp) -> Tell {
        self.keep_what_is_gone(policy, now);
        self.payment_method = Some(card.payment_method.clone());
        self.note(now, format!("re-armed by the card {}", card.payment_method));
        self.rearmed = Some(card);
        // The decline was the old card's: the new one may be tried on the next rung.
        self.failure.payment_method.clone_from(&self.payment_method);
        self.failure.code = None;
        self.failure.decline_code = Some("try_again_later".to_owned());
        self.failure.advice_code = None;
        self.failure.network_advice_code = None;
        self.blocked = false;
        let next = self.next(policy, now);
        self.turn(next, now)
    }

    /// Whether a new card re-arms it: it waits, or only the client could mend it.
    #[must_use]
    pub fn is_rearmed_by_a_card(&self) -> bool {
        match self.state {
            _ if self.closed => false,
            RecoveryState::Waiting => true,
            RecoveryState::Stopped => self.stop_reason == Some(StopReason::NeedsClient),
            RecoveryState::Recovered | RecoveryState::Exhausted => false,
        }
    }

    /// The PaymentIntent succeeded. Our open attempt did it, else the client. False when that was known. `look_at`: when the claims
    /// of a recovered one are looked at.
    pub fn paid(&mut self, now: Timestamp, look_at: Timestamp) -> bool {
        if self.state == RecoveryState::Recovered || self.stop_reason == Some(StopReason::Paid) {
            return false;
        }
        if self.open_attempt().is_some() {
            self.succeed(now, look_at);
        } else {
            self.stop(StopReason::Paid, "the client paid this PaymentIntent", now);
        }
        true
    }
}

/// The decline's code: decline_code, else code.
#[must_use]
pub fn code_of(failure: &Failure) -> &str {
    failure.decline_code.as_deref().or(failure.code.as_deref()).unwrap_or("no code")
}
