//! What is to be done with a recovery at this moment, in the order of design.md section 5: whether it is due, what stands around
//! it, whether an attempt that was never made is made again, and when the claims go.
//!
//! Must not: read or store anything. Whoever calls has read what stands around, and stores what it comes to.

use super::{Attempt, Decline, NextRetry, Recovery, RecoveryState, StopReason, Tell, classify, ladder};
use crate::matching::Decision;
use crate::payment::{Payment, PaymentState};
use crate::policy::Policy;
use crate::recovery::guard::invoices_of;
use jiff::Timestamp;

/// What a look at a recovery begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its moment has not come.
    NotYet,
    /// It is over; its claims go when they may.
    Settle,
    /// An attempt is under way whose outcome is not known: Stripe is asked before anything else.
    Ask,
    /// A rung may be due.
    Try,
}

/// What a look at a recovery begins with.
#[must_use]
pub fn due(recovery: &Recovery, now: Timestamp) -> Due {
    if recovery.next_at.is_none_or(|at| at > now) {
        return Due::NotYet;
    }
    if recovery.state != RecoveryState::Waiting {
        return Due::Settle;
    }
    if recovery.open_attempt().is_some() { Due::Ask } else { Due::Try }
}

/// What stands around a recovery that may try a rung.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Where the other recoveries stand that hold a claim of one of its invoices.
    pub claimed_by: Vec<RecoveryState>,
    /// Vesper runs in shadow mode.
    pub is_shadow: bool,
    /// A person holds the cards.
    pub is_held: bool,
}

/// What a due rung comes to before the guard looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Try {
    /// The recovery ends.
    Stop(StopReason, &'static str),
    /// Not this rung, or not yet: what is left of the ladder says.
    Turn(NextRetry),
    /// Looked at again soon; the rung is kept until its day is over.
    Wait(&'static str),
    /// This rung is not used, whatever comes.
    NotToday(&'static str),
    /// The invoices are to be claimed, then the guard looks.
    Claim,
}

/// What a due rung comes to: the claims first, then the ladder, then shadow mode and pauses.
#[must_use]
pub fn try_rung(recovery: &Recovery, around: &Around, policy: &Policy, now: Timestamp) -> Try {
    if !recovery.claims {
        if around.claimed_by.contains(&RecoveryState::Recovered) {
            return Try::Stop(StopReason::Paid, "another recovery was paid for the same invoice");
        }
        if !around.claimed_by.is_empty() {
            return Try::Wait("another recovery is charging for the same invoice");
        }
    }
    // A rung whose day has passed meanwhile is lost; what is left of the ladder says when.
    match recovery.next(policy, now) {
        NextRetry::At { time, .. } if time <= now => {}
        other => return Try::Turn(other),
    }
    if recovery.shadow || around.is_shadow {
        return Try::NotToday("shadow mode: the card is not charged");
    }
    if around.is_held { Try::Wait("held by a pause") } else { Try::Claim }
}

/// What becomes of an attempt that Stripe shows was never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Its day or its key is over: what is left of the ladder goes on.
    Over,
    /// Looked at again soon.
    Wait,
    /// The guard looks again; if it finds nothing, the attempt is made under the same key.
    Guard,
}

/// Whether an attempt that was never made is made again.
#[must_use]
pub fn repeat(attempt: &Attempt, around: &Around, policy: &Policy, now: Timestamp) -> Repeat {
    if !attempt.may_be_repeated(ladder::local_date(now, &policy.time_zone), now) {
        return Repeat::Over;
    }
    if around.is_shadow || around.is_held { Repeat::Wait } else { Repeat::Guard }
}

/// Whether the claims of a recovered payment stay: it is not decided yet, or one of its write-backs is neither done nor dead.
#[must_use]
pub fn claims_stay(payment: &Payment, a_write_waits: bool) -> bool {
    a_write_waits || matches!(payment.state, PaymentState::Parked | PaymentState::Review)
}

/// Whether it is to be asked whose card and whose PaymentIntent it is: not where the client's record forbids a charge already, nor
/// for a card that must never be tried again.
#[must_use]
pub fn asks_who_owns_it(recovery: &Recovery, forbidden: Option<StopReason>) -> bool {
    forbidden.is_none() && classify(&recovery.failure, recovery.blocked) != Decline::Hard
}

impl Recovery {
    /// The first failure: which invoices it would pay, and whether anything stands against a retry from the start. `forbidden`: what
    /// the client's record says; `barred`: why its card or PaymentIntent is none that Vesper may charge. None: nothing says what it
    /// would pay, and there is no recovery, only the question.
    pub fn open(
        &mut self,
        decision: &Decision,
        forbidden: Option<StopReason>,
        barred: Option<&str>,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Tell> {
        self.invoices = invoices_of(decision).unwrap_or_default();
        match (forbidden, barred) {
            (Some(reason), _) => Some(self.stop(reason, "the client's record in the EHR does not allow it", now)),
            (None, Some(why)) => Some(self.stop(StopReason::NeedsClient, why, now)),
            (None, None) if self.invoices.is_empty() => None,
            (None, None) => {
                let next = self.next(policy, now);
                Some(self.turn(next, now))
            }
        }
    }
}
