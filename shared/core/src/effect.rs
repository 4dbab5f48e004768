//! Effects: things to do in another system because of a decision, and when they are tried again.
//!
//! pending -> sent -> done | failed | dead. `sent` is written before the outside call, so a row found `sent` without
//! a holder means: ask the other system first. Must not: know which system it is.

use crate::ids::EffectId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long the holder of a sent effect has, in seconds: more than the outbound limit and the function's time-out.
pub const LEASE_S: i64 = 90;
/// First wait after a failure, in seconds; doubled each time.
const BACKOFF_FIRST_S: i64 = 5;
/// Longest wait, in seconds.
pub const BACKOFF_MAX_S: i64 = 15 * 60;
/// After so long without success an effect is dead, in seconds.
const GIVE_UP_S: i64 = 24 * 3600;
/// When an unknown outcome is looked for before the call is repeated, in seconds after it (design.md section 6).
const LOOK_S: [i64; 2] = [180, 360];

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// A payment or a reversal in the EHR.
    WriteBack,
    /// A posting in QuickBooks.
    Books,
}

impl EffectKind {
    /// The word of contracts/export.md.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EffectKind::WriteBack => "write_back",
            EffectKind::Books => "books",
        }
    }
}

/// Where an effect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectState {
    /// Not tried yet.
    Pending,
    /// The call is out; nobody knows yet.
    Sent,
    /// The other system has it.
    Done,
    /// It failed and will be tried again.
    Failed,
    /// Given up; a person is asked.
    Dead,
}

impl EffectState {
    /// The word of contracts/export.md.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EffectState::Pending => "pending",
            EffectState::Sent => "sent",
            EffectState::Done => "done",
            EffectState::Failed => "failed",
            EffectState::Dead => "dead",
        }
    }
}

/// Who is at work on an effect, and until when nobody else may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The holder.
    pub owner: String,
    /// When it is over.
    pub until: Timestamp,
}

/// An effect's own part of its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// `eff_...`.
    pub id: EffectId,
    /// What it does.
    pub kind: EffectKind,
    /// What it is about: the PaymentIntent.
    pub subject: String,
    /// Where it stands.
    pub state: EffectState,
    /// Decided in shadow mode: done without a call.
    pub shadow: bool,
    /// How often the other system was called to do it.
    pub tries: u32,
    /// Since when it is to be done; death is counted from here.
    pub since: Timestamp,
    /// When it is due again; None when it is finished.
    pub next_at: Option<Timestamp>,
    /// Who is at work on it.
    pub lease: Option<Lease>,
    /// When the call was made whose outcome is unknown.
    pub unknown_since: Option<Timestamp>,
    /// What went wrong last: class and code, no body.
    pub problem: Option<String>,
}

/// What a consumer that was woken for an effect is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It is finished: nothing.
    Finished,
    /// Somebody else is at work on it, or it is not due yet: nothing.
    NotNow,
    /// Do it. With `ask_first`, look whether an earlier call was done after all.
    Go {
        /// An earlier call's outcome is unknown.
        ask_first: bool,
    },
}

/// What went wrong, as far as the next try depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was done; try again later, at the earliest in so many seconds.
    Later {
        /// The other system's own wish.
        after_s: Option<u32>,
    },
    /// The outcome is unknown: look before trying again.
    Unknown,
    /// It will never be accepted: a person is asked.
    Refused,
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// A wait as long as has passed since then: from one look to the next it doubles.
fn quiet_s(since: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(since).as_secs().clamp(0, BACKOFF_MAX_S)
}

impl Effect {
    /// A new effect, due at once; done at once in shadow mode.
    #[must_use]
    pub fn new(id: EffectId, kind: EffectKind, subject: impl Into<String>, shadow: bool, now: Timestamp) -> Effect {
        let state = if shadow { EffectState::Done } else { EffectState::Pending };
        let next_at = (!shadow).then_some(now);
        let (tries, lease, unknown_since, problem) = (0, None, None, None);
        Effect { id, kind, subject: subject.into(), state, shadow, tries, since: now, next_at, lease, unknown_since, problem }
    }

    /// Neither done nor dead.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !matches!(self.state, EffectState::Done | EffectState::Dead)
    }

    /// Takes the effect, if it is to be done now: it is `sent` from here on. `alive` says whether a holder still works.
    pub fn begin(&mut self, now: Timestamp, me: &str, alive: impl Fn(&Lease) -> bool) -> Begin {
        if !self.is_waiting() {
            return Begin::Finished;
        }
        let held = self.lease.as_ref().is_some_and(&alive);
        if held || (self.state == EffectState::Failed && self.next_at.is_some_and(|at| at > now)) {
            return Begin::NotNow;
        }
        if self.state == EffectState::Sent && self.unknown_since.is_none() {
            // Its holder is gone: the call may have been made until the lease's end.
            let sent_at = self.lease.as_ref().map_or(now, |l| after(l.until, LEASE_S.saturating_neg()));
            self.unknown_since = Some(sent_at.min(now));
        }
        self.state = EffectState::Sent;
        self.lease = Some(Lease { owner: me.to_owned(), until: after(now, LEASE_S) });
        self.next_at = Some(after(now, LEASE_S));
        Begin::Go { ask_first: self.unknown_since.is_some() }
    }

    /// Notes that the call is made now. Written before it is made.
    pub fn calling(&mut self, now: Timestamp) {
        self.tries = self.tries.saturating_add(1);
        self.unknown_since = Some(now);
    }

    /// The other system has it.
    pub fn succeed(&mut self) {
        self.state = EffectState::Done;
        self.next_at = None;
        self.lease = None;
        self.unknown_since = None;
        self.problem = None;
    }

    /// The call failed. True when the effect died of it.
    pub fn fail(&mut self, now: Timestamp, failure: &Failure, problem: impl Into<String>) -> bool {
        self.lease = None;
        self.problem = Some(problem.into());
        let age_s = now.duration_since(self.since).as_secs();
        if *failure == Failure::Refused || age_s >= GIVE_UP_S {
            self.state = EffectState::Dead;
            self.next_at = None;
            return true;
        }
        // Without a call `tries` does not grow: then the waits double with the time that has passed.
        let quiet_s = if self.unknown_since.is_none() { quiet_s(self.since, now) } else { 0 };
        if *failure != Failure::Unknown {
            self.unknown_since = None;
        }
        let wished_s = match failure {
            Failure::Later { after_s } => i64::from(after_s.unwrap_or(0)),
            Failure::Unknown | Failure::Refused => 0,
        };
        self.state = EffectState::Failed;
        self.next_at = Some(after(now, self.backoff_s().max(quiet_s).max(wished_s)));
        false
    }

    /// Nobody could be asked, so the outcome of the earlier call stays unknown.
    pub fn fail_to_ask(&mut self, now: Timestamp, after_s: Option<u32>, problem: impl Into<String>) -> bool {
        let since = self.unknown_since;
        let died = self.fail(now, &Failure::Later { after_s }, problem);
        self.unknown_since = since;
        let quiet_s = since.map_or(0, |since| quiet_s(since, now));
        self.next_at = self.next_at.map(|at| at.max(after(now, quiet_s)));
        died
    }

    /// The earlier call was looked for and not found. Whether it may be made again now; if not, it is looked for again later:
    /// a system without idempotent writes may answer late, so it is looked for at 3 and again at 6 minutes.
    pub fn not_found(&mut self, now: Timestamp, idempotent: bool) -> bool {
        let Some(since) = self.unknown_since else { return true };
        let next = LOOK_S.iter().map(|s| after(since, *s)).find(|at| *at > now);
        match next {
            Some(at) if !idempotent => {
                self.state = EffectState::Failed;
                self.lease = None;
                self.next_at = Some(at);
                self.problem = Some("the outcome of the last call is unknown".to_owned());
                false
            }
            _ => true,
        }
    }

    /// Gives the effect back untouched, to be looked at again in so many seconds (paused, or no connection to the books).
    pub fn put_off(&mut self, now: Timestamp, after_s: i64, problem: &str) {
        self.state = if self.unknown_since.is_some() { EffectState::Failed } else { EffectState::Pending };
        self.lease = None;
        self.next_at = Some(after(now, after_s));
        self.problem = Some(problem.to_owned());
    }

    /// A person does it from here on: it waits, without a next moment. `hint`: what he must know before he does it.
    pub fn hand_over(&mut self, hint: Option<&str>) {
        self.state = EffectState::Pending;
        self.lease = None;
        self.next_at = None;
        self.unknown_since = None;
        self.problem = hint.map(str::to_owned);
    }

    /// Nothing is to be done any more, and nothing was done: what it was for is gone.
    pub fn cancel(&mut self, why: &str) {
        self.succeed();
        self.problem = Some(why.to_owned());
    }

    /// Whether it is done because there was nothing to do ([`Effect::cancel`]): what was done says no problem.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.state == EffectState::Done && self.problem.is_some()
    }

    /// Back to work, by a person's hand: due now, with a new 24 hours.
    pub fn redrive(&mut self, now: Timestamp) {
        self.state = if self.unknown_since.is_some() { EffectState::Failed } else { EffectState::Pending };
        self.lease = None;
        self.since = now;
        self.next_at = Some(now);
    }

    fn backoff_s(&self) -> i64 {
        let doublings = self.tries.saturating_sub(1).min(10);
        BACKOFF_FIRST_S.saturating_mul(1_i64.checked_shl(doublings).unwrap_or(i64::MAX)).min(BACKOFF_MAX_S)
    }
}
