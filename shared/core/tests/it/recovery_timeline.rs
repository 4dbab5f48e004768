//! Timelines of the retry ladder (design.md section 5, "When" and "Which card"): one line per case.
//!
//! A story begins with a failure at a practice-local time and a decline written `decline_code/advice_code/network_advice_code`.
//! Each later word is what happens: a decline or `ok` is what the next attempt comes to; `@<local time> ...` happens by itself.
//! The line says when each attempt was made and how it ended.

use crate::practice::{invoice_id, minor};
use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use vesper_core::event::{Failure, Reference};
use vesper_core::ids::{ChargeId, CustomerId, PaymentId};
use vesper_core::money::Currency;
use vesper_core::policy::{LinkByEmail, MatchingPolicy, Policy, RetryPolicy, SameAmount, WhenUnknown};
use vesper_core::recovery::ladder::{self, local_date};
use vesper_core::recovery::{
    Decline, NewCard, NextRetry, Outcome, Rearmed, Recovery, RecoveryState, Shown, StopReason, Tell, classify,
};

pub fn policy(zone: &str, days: &[u8], payday_shift_days: u8) -> Policy {
    Policy {
        time_zone: TimeZone::get(zone).unwrap(),
        currency: Currency::USD,
        matching: MatchingPolicy {
            link_by_email: LinkByEmail::Unique,
            same_amount: SameAmount::OldestFirst,
            wait_for_invoice_h: 48,
        },
        apply_credit: vesper_core::policy::ApplyCredit::ByHand,
        retry: RetryPolicy {
            days: days.to_vec(),
            at: Time::constant(10, 0, 0, 0),
            payday_shift_days,
            when_autopay_unknown: WhenUnknown::Ask,
            when_consent_unknown: WhenUnknown::Ask,
        },
    }
}

/// A failure of `pi_1` of 42.00, with the card `pm_1`.
pub fn failure(codes: &str, charge: &str) -> Failure {
    let mut each = codes.split('/').map(|c| (!c.is_empty()).then(|| c.to_owned()));
    let (decline_code, advice_code, network_advice_code) = (each.next().flatten(), each.next().flatten(), each.next().flatten());
    Failure {
        payment: PaymentId::parse("pi_1").unwrap(),
        charge: ChargeId::parse(charge).ok(),
        customer: CustomerId::parse("cus_1").ok(),
        amount: minor(4200),
        currency: Currency::USD,
        reference: Reference::default(),
        receipt_email: None,
        payment_method: Some("pm_1".to_owned()),
        payment_method_type: Some("card".to_owned()),
        code: Some("card_declined".to_owned()),
        decline_code,
        advice_code,
        network_advice_code,
        object_created: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

/// One story.
struct Story {
    policy: Policy,
    recovery: Recovery,
    now: Timestamp,
    told: Vec<String>,
    charges: u32,
}

impl Story {
    fn new(policy: Policy, at: &str, codes: &str) -> Story {
        let now = local(&policy, at);
        let mut recovery = Recovery::new(failure(codes, "ch_0"), now, false, vec![(invoice_id("i1"), minor(4200))], false);
        let next = recovery.next(&policy, now);
        let tell = recovery.turn(next, now);
        let mut story = Story { policy, recovery, now, told: Vec::new(), charges: 0 };
        story.ended(tell);
        story
    }

    fn ended(&mut self, tell: Tell) {
        let reason = self.recovery.stop_reason.map_or("", StopReason::as_str);
        match (self.recovery.state, tell) {
            (RecoveryState::Waiting, Tell::Nothing) => {}
            (_, Tell::UnknownDecline) => self.told.push(format!("asks unknown_decline ({reason})")),
            (RecoveryState::Stopped, Tell::CardFailed) => self.told.push(format!("stopped {reason}")),
            (state, Tell::CardFailed) => self.told.push(state.as_str().to_owned()),
            (state, Tell::Nothing) => self.told.push(format!("quietly {} {reason}", state.as_str()).trim().to_owned()),
        }
    }

    fn local_now(&self) -> String {
        self.now.to_zoned(self.policy.time_zone.clone()).strftime("%m-%d %H:%M").to_string()
    }

    /// Works off everything that is due up to then; attempts end as the script says, without one in a generic decline.
    fn until(&mut self, at: Timestamp, script: &mut Vec<&str>) {
        while let Some(due) = self.recovery.next_at.filter(|due| *due <= at && self.recovery.state == RecoveryState::Waiting) {
            self.now = self.now.max(due);
            self.attempt(script);
        }
        self.now = self.now.max(at);
    }

    fn attempt(&mut self, script: &mut Vec<&str>) {
        let today = local_date(self.now, &self.policy.time_zone);
        match self.recovery.next(&self.policy, self.now) {
            NextRetry::At { time, .. } if time <= self.now => {}
            other => {
                let tell = self.recovery.turn(other, self.now);
                return self.ended(tell);
            }
        }
        let n = self.recovery.begin(self.now, today, Some(format!("ch_{}", self.charges)), Timestamp::MAX).unwrap();
        assert_eq!(self.recovery.attempts.last().unwrap().key, format!("vesper-retry-pi_1-{n}"));
        self.charges += 1;
        let outcome = if script.is_empty() { "generic_decline" } else { script.remove(0) };
        let card = self.recovery.payment_method.clone().filter(|c| c != "pm_1").map(|c| format!(" {c}")).unwrap_or_default();
        self.told.push(format!("{}{card} {outcome}", self.local_now()));
        let tell = if outcome == "ok" {
            self.recovery.succeed(self.now, Timestamp::MAX);
            Tell::Nothing
        } else {
            self.recovery.decline(&failure(outcome, &format!("ch_{}", self.charges)), false, &self.policy, self.now)
        };
        self.ended(tell);
    }

    fn happens(&mut self, what: &str, script: &mut Vec<&str>) {
        let (time, what) = what.split_once(' ').unwrap();
        let at = local(&self.policy, &time.replace('_', " "));
        if what == "back" {
            self.now = at; // Nobody looked from the last moment until this one.
            return;
        }
        self.until(at, script);
        match what.split_once(' ').unwrap_or((what, "")) {
            ("card", id) => {
                let card = NewCard { payment_method: id.to_owned(), at };
                if let Rearmed::Taken(tell) = self.recovery.rearm(&card, &self.policy, at) {
                    self.told.push(format!("re-armed {id}"));
                    self.ended(tell);
                }
            }
            ("tries", codes) => {
                self.charges += 1;
                let failure = failure(codes, &format!("ch_{}", self.charges));
                if self.recovery.is_news(&failure, at) {
                    let tell = self.recovery.failed_again(&failure, false, at, &self.policy, at);
                    self.told.push("tried himself".to_owned());
                    self.ended(tell);
                }
            }
            other => panic!("{other:?} is no word of a story"),
        }
    }
}

fn local(policy: &Policy, at: &str) -> Timestamp {
    let at: DateTime = at.replace(' ', "T").parse().unwrap();
    at.to_zoned(policy.time_zone.clone()).unwrap().timestamp()
}

/// What becomes of a failure at this time.
fn told(policy: &Policy, at: &str, codes: &str, then: &[&str]) -> String {
    let mut story = Story::new(policy.clone(), at, codes);
    let mut script: Vec<&str> = then.iter().copied().filter(|w| !w.starts_with('@')).collect();
    for event in then.iter().filter_map(|w| w.strip_prefix('@')) {
        story.happens(event, &mut script);
    }
    let end = story.now.checked_add(jiff::SignedDuration::from_hours(24 * 60)).unwrap();
    story.until(end, &mut script);
    assert_ne!(story.recovery.state, RecoveryState::Waiting, "every ladder ends");
    assert!(story.recovery.attempts.len() <= policy.retry.days.len(), "at most one attempt per rung");
    assert!(story.recovery.attempts.iter().all(|a| !matches!(a.outcome, Outcome::Unknown)));
    story.told.join("; ")
}

// One line a case, so that the table reads as a timeline.
#[rustfmt::skip]
#[test]
fn every_ladder_goes_as_its_line_says() {
    let chicago = policy("America/Chicago", &[1, 3, 7], 3);
    // 2026-11-23 is a Monday.
    for (at, codes, then, want) in [
        // The days of the ladder, and its end.
        ("2026-11-23 09:00", "generic_decline", &[][..], "11-24 10:00 generic_decline; 11-26 10:00 generic_decline; 11-30 10:00 generic_decline; exhausted"),
        ("2026-11-23 09:00", "generic_decline", &["ok"], "11-24 10:00 ok; quietly recovered"),
        ("2026-11-23 09:00", "generic_decline", &["do_not_honor", "ok"], "11-24 10:00 do_not_honor; 11-26 10:00 ok; quietly recovered"),
        ("2026-11-23 23:59", "generic_decline", &["ok"], "11-24 10:00 ok; quietly recovered"),
        ("2026-11-24 00:01", "generic_decline", &["ok"], "11-25 10:00 ok; quietly recovered"),
        // Month and year end.
        ("2026-12-30 12:00", "generic_decline", &[], "12-31 10:00 generic_decline; 01-02 10:00 generic_decline; 01-06 10:00 generic_decline; exhausted"),
        ("2027-02-27 12:00", "generic_decline", &["x_/try_again_later", "ok"], "02-28 10:00 x_/try_again_later; 03-02 10:00 ok; quietly recovered"),
        // Stops at once: nothing is charged.
        ("2026-11-23 09:00", "stolen_card", &[], "stopped hard_decline"),
        ("2026-11-23 09:00", "expired_card", &[], "stopped needs_client"),
        ("2026-11-23 09:00", "a_code_of_the_future", &[], "asks unknown_decline (needs_client)"),
        // Our own attempts end it, too.
        ("2026-11-23 09:00", "generic_decline", &["lost_card"], "11-24 10:00 lost_card; stopped hard_decline"),
        ("2026-11-23 09:00", "generic_decline", &["authentication_required"], "11-24 10:00 authentication_required; stopped needs_client"),
        ("2026-11-23 09:00", "generic_decline", &["a_code_of_the_future"], "11-24 10:00 a_code_of_the_future; asks unknown_decline (needs_client)"),
        ("2026-11-23 09:00", "generic_decline", &["generic_decline/do_not_try_again"], "11-24 10:00 generic_decline/do_not_try_again; stopped hard_decline"),
        // Payday: the next of 1st, 15th, Friday from the rung's own day on, within three days; two on one day are one.
        ("2026-11-23 09:00", "insufficient_funds", &["insufficient_funds"; 3], "11-27 10:00 insufficient_funds; 12-01 10:00 insufficient_funds; exhausted"),
        ("2026-11-10 09:00", "insufficient_funds", &["insufficient_funds"; 3], "11-13 10:00 insufficient_funds; 11-20 10:00 insufficient_funds; exhausted"),
        ("2026-11-12 09:00", "insufficient_funds", &["insufficient_funds"; 3], "11-13 10:00 insufficient_funds; 11-15 10:00 insufficient_funds; 11-20 10:00 insufficient_funds; exhausted"),
        ("2026-11-13 09:00", "insufficient_funds", &["ok"], "11-15 10:00 ok; quietly recovered"),
        ("2026-11-27 09:00", "insufficient_funds", &["insufficient_funds"; 3], "12-01 10:00 insufficient_funds; 12-04 10:00 insufficient_funds; exhausted"),
        // A used rung does not come back because another decline would have moved it (14 October 2026 is a Wednesday).
        ("2026-10-13 09:00", "generic_decline", &["insufficient_funds"; 4], "10-14 10:00 insufficient_funds; 10-16 10:00 insufficient_funds; 10-23 10:00 insufficient_funds; exhausted"),
        // A lost one neither: nobody looked on its day, and the decline that moves days comes later.
        ("2026-10-13 09:00", "generic_decline", &["ok", "@2026-10-15_09:00 back", "@2026-10-15_09:30 tries insufficient_funds"], "tried himself; 10-16 10:00 ok; quietly recovered"),
        // Minimum waits of the network count from the newest failure; a rung inside the wait is lost, on its last day it waits.
        ("2026-11-23 09:00", "do_not_honor//02", &["ok"], "11-26 10:00 ok; quietly recovered"),
        ("2026-11-23 15:00", "do_not_honor//02", &["ok"], "11-26 15:00 ok; quietly recovered"),
        ("2026-11-23 09:00", "do_not_honor//24", &["ok"], "11-24 10:00 ok; quietly recovered"),
        ("2026-11-23 15:00", "do_not_honor//25", &["ok"], "11-24 15:00 ok; quietly recovered"),
        ("2026-11-23 15:00", "do_not_honor//26", &["ok"], "11-26 10:00 ok; quietly recovered"),
        ("2026-11-23 15:00", "do_not_honor//27", &["ok"], "11-30 10:00 ok; quietly recovered"),
        ("2026-11-23 15:00", "do_not_honor//28", &["ok"], "11-30 10:00 ok; quietly recovered"),
        ("2026-11-23 15:00", "do_not_honor//29", &[], "exhausted"),
        ("2026-11-23 15:00", "do_not_honor//30", &[], "exhausted"),
        ("2026-11-23 09:00", "generic_decline", &["do_not_honor//02", "ok"], "11-24 10:00 do_not_honor//02; 11-30 10:00 ok; quietly recovered"),
        ("2026-11-23 09:00", "generic_decline/try_again_later/27", &["ok"], "11-30 10:00 ok; quietly recovered"),
        // Nobody looked: what passed is lost, not made up.
        ("2026-11-23 09:00", "generic_decline", &["@2026-12-01_12:00 back"], "exhausted"),
        ("2026-11-23 09:00", "generic_decline", &["ok", "@2026-11-25_12:00 back"], "11-26 10:00 ok; quietly recovered"),
        ("2026-11-23 09:00", "generic_decline", &["ok", "@2026-11-26_18:00 back"], "11-26 18:00 ok; quietly recovered"),
        // A new card: what is left of the ladder, which counts from the first failure.
        ("2026-11-23 09:00", "expired_card", &["ok", "@2026-11-25_09:00 card pm_2"], "stopped needs_client; re-armed pm_2; 11-26 10:00 pm_2 ok; quietly recovered"),
        ("2026-11-23 09:00", "expired_card", &["ok", "@2026-11-25_09:00 card pm_1"], "stopped needs_client; re-armed pm_1; 11-26 10:00 ok; quietly recovered"),
        ("2026-11-23 09:00", "expired_card", &["@2026-12-05_09:00 card pm_2"], "stopped needs_client; re-armed pm_2; exhausted"),
        ("2026-11-23 09:00", "generic_decline", &["generic_decline", "ok", "@2026-11-25_09:00 card pm_2"], "11-24 10:00 generic_decline; re-armed pm_2; 11-26 10:00 pm_2 ok; quietly recovered"),
        ("2026-11-23 09:00", "generic_decline", &["expired_card", "ok", "@2026-11-24_11:00 card pm_2"], "11-24 10:00 expired_card; stopped needs_client; re-armed pm_2; 11-26 10:00 pm_2 ok; quietly recovered"),
        ("2026-11-23 09:00", "do_not_honor//29", &["ok", "@2026-11-23_10:00 card pm_2"], "exhausted"),
        ("2026-11-23 09:00", "do_not_honor//27", &["ok", "@2026-11-23_10:00 card pm_2"], "re-armed pm_2; 11-24 10:00 pm_2 ok; quietly recovered"),
        ("2026-11-23 09:00", "lost_card", &["@2026-11-23_10:00 card pm_2"], "stopped hard_decline"),
        // News older than the newest failure, or of the card that is waited with, changes nothing.
        ("2026-11-23 09:00", "expired_card", &["@2026-11-23_08:59 card pm_2"], "stopped needs_client"),
        ("2026-11-23 09:00", "do_not_honor//27", &["ok", "@2026-11-23_10:00 card pm_1"], "11-30 10:00 ok; quietly recovered"),
        // The client's own tries.
        ("2026-11-23 09:00", "generic_decline", &["ok", "@2026-11-23_12:00 tries stolen_card"], "tried himself; stopped hard_decline"),
        ("2026-11-23 09:00", "generic_decline", &["ok", "@2026-11-23_12:00 tries do_not_honor//26"], "tried himself; 11-26 10:00 ok; quietly recovered"),
        ("2026-11-23 09:00", "generic_decline", &["ok", "@2026-11-23_12:00 tries insufficient_funds"], "tried himself; 11-27 10:00 ok; quietly recovered"),
    ] {
        assert_eq!(told(&chicago, at, codes, then), want, "failed at {at} with {codes}, then {then:?}");
    }
}

#[test]
fn the_days_are_the_practices_own_and_daylight_saving_moves_no_hour_of_the_wall() {
    let utc = |zone: &str, at: &str, days: &[u8]| {
        let policy = policy(zone, days, 3);
        let mut story = Story::new(policy.clone(), at, "generic_decline");
        let mut script = vec![];
        let end = story.now.checked_add(jiff::SignedDuration::from_hours(24 * 30)).unwrap();
        story.until(end, &mut script);
        let times = story.recovery.attempts.iter().map(|a| a.at.strftime("%m-%dT%H:%MZ").to_string());
        times.collect::<Vec<_>>().join(" ")
    };
    for (zone, at, days, want) in [
        // Clocks go back on 2026-11-01 and forward on 2027-03-14 in the United States: 10:00 stays 10:00.
        ("America/Chicago", "2026-10-31 09:00", &[1, 3, 7][..], "11-01T16:00Z 11-03T16:00Z 11-07T16:00Z"),
        ("America/Chicago", "2026-10-30 09:00", &[1, 3, 7], "10-31T15:00Z 11-02T16:00Z 11-06T16:00Z"),
        ("America/Chicago", "2027-03-13 09:00", &[1, 3, 7], "03-14T15:00Z 03-16T15:00Z 03-20T15:00Z"),
        ("America/Phoenix", "2026-10-31 09:00", &[1, 3, 7], "11-01T17:00Z 11-03T17:00Z 11-07T17:00Z"),
        ("Pacific/Auckland", "2026-11-23 09:00", &[1, 3, 7], "11-23T21:00Z 11-25T21:00Z 11-29T21:00Z"),
        // One to three entries.
        ("America/Chicago", "2026-11-23 09:00", &[2], "11-25T16:00Z"),
        ("America/Chicago", "2026-11-23 09:00", &[1, 30], "11-24T16:00Z"),
        ("America/Chicago", "2026-11-23 09:00", &[1, 2], "11-24T16:00Z 11-25T16:00Z"),
        ("America/Chicago", "2026-11-23 09:00", &[5, 10, 15], "11-28T16:00Z 12-03T16:00Z 12-08T16:00Z"),
    ] {
        assert_eq!(utc(zone, at, days), want, "{zone}, failed at {at}, days {days:?}");
    }
    // An hour that daylight saving skips is read after the gap; one that comes twice, as the first.
    for (at, failed, want) in
        [("02:30", "2027-03-13 09:00", "2027-03-14T08:30:00Z"), ("01:30", "2026-10-31 09:00", "2026-11-01T06:30:00Z")]
    {
        let mut policy = policy("America/Chicago", &[1], 0);
        policy.retry.at = at.parse().unwrap();
        let story = Story::new(policy, failed, "generic_decline");
        assert_eq!(story.recovery.next_at.unwrap().to_string(), want, "at {at}");
    }
}

#[test]
fn the_payday_shift_may_be_off_or_wide() {
    for (shift, want) in [
        (0, "11-24 10:00 insufficient_funds; 11-26 10:00 insufficient_funds; 11-30 10:00 insufficient_funds; exhausted"),
        (1, "11-24 10:00 insufficient_funds; 11-27 10:00 insufficient_funds; 12-01 10:00 insufficient_funds; exhausted"),
        (2, "11-24 10:00 insufficient_funds; 11-27 10:00 insufficient_funds; 12-01 10:00 insufficient_funds; exhausted"),
        (31, "11-27 10:00 insufficient_funds; 12-01 10:00 insufficient_funds; exhausted"),
    ] {
        let policy = policy("America/Chicago", &[1, 3, 7], shift);
        assert_eq!(told(&policy, "2026-11-23 09:00", "insufficient_funds", &["insufficient_funds"; 4]), want, "shift {shift}");
    }
}

#[test]
fn every_decline_of_the_lists_means_what_design_md_says() {
    let hard = "lost_card stolen_card pickup_card restricted_card fraudulent merchant_blacklist stop_payment_order \
        revocation_of_all_authorizations revocation_of_authorization security_violation transaction_not_allowed not_permitted \
        service_not_allowed testmode_decline";
    let client = "authentication_required expired_card incorrect_number incorrect_cvc incorrect_zip incorrect_address invalid_number \
        invalid_account invalid_expiry_month invalid_expiry_year invalid_cvc new_account_information_available card_not_supported \
        currency_not_supported";
    let retry = "try_again_later insufficient_funds generic_decline do_not_honor call_issuer no_action_taken card_velocity_exceeded \
        withdrawal_count_limit_exceeded processing_error issuer_not_available reenter_transaction approve_with_id";
    let unknown = "duplicate_transaction a_code_of_the_future card_declined";
    let kind = |failure: &Failure| match classify(failure, false) {
        Decline::Hard => "hard",
        Decline::NeedsClient => "client",
        Decline::Retry { .. } => "retry",
        Decline::Unknown => "unknown",
    };
    for (codes, want) in [(hard, "hard"), (client, "client"), (retry, "retry"), (unknown, "unknown")] {
        for code in codes.split_whitespace() {
            assert_eq!(kind(&failure(code, "ch_0")), want, "{code}");
            let mut as_code = failure("", "ch_0");
            as_code.code = Some(code.to_owned());
            assert_eq!(kind(&as_code), want, "{code} as code alone");
            // What stands before it wins.
            assert_eq!(kind(&failure(&format!("{code}/do_not_try_again"), "ch_0")), "hard", "{code}");
            assert_eq!(kind(&failure(&format!("{code}/confirm_card_data/03"), "ch_0")), "client", "{code}");
            assert_eq!(kind(&failure(&format!("{code}/try_again_later/03"), "ch_0")), "retry", "{code}");
            assert_eq!(kind(&failure(&format!("{code}//03"), "ch_0")), "hard", "{code}");
            assert_eq!(kind(&failure(&format!("{code}//41"), "ch_0")), "client", "{code}");
            assert_eq!(kind(&failure(&format!("{code}//26"), "ch_0")), "retry", "{code}");
            assert_eq!(classify(&failure(code, "ch_0"), true), Decline::Hard, "{code}, blocked by Radar");
        }
    }
    for (network, want) in
        [("03 21 22 42", "hard"), ("01 04 40 41 43", "client"), ("02 24 25 26 27 28 29 30", "retry"), ("05 20 31 99", "unknown")]
    {
        for code in network.split_whitespace() {
            assert_eq!(kind(&failure(&format!("do_not_honor//{code}"), "ch_0")), want, "network advice {code}");
        }
    }
    assert_eq!(kind(&failure("do_not_honor/an_advice_of_the_future", "ch_0")), "unknown");
    let mut nothing = failure("", "ch_0");
    nothing.code = None;
    assert_eq!(kind(&nothing), "unknown");
}

/// A recovery with one open attempt, made on 2026-11-24 at 10:00 after the charge `ch_0`.
fn attempted() -> (Policy, Recovery, Timestamp) {
    let policy = policy("America/Chicago", &[1, 3, 7], 3);
    let mut story = Story::new(policy.clone(), "2026-11-23 09:00", "generic_decline");
    let now = story.recovery.next_at.unwrap();
    let today = local_date(now, &policy.time_zone);
    assert_eq!(story.recovery.begin(now, today, Some("ch_0".to_owned()), now), Some(1));
    assert_eq!(story.recovery.begin(now, today, Some("ch_0".to_owned()), now), None, "an open attempt is not made a second time");
    (policy, story.recovery, now)
}

#[test]
fn what_became_of_an_attempt_is_read_from_the_payment_intent() {
    let (_, recovery, now) = attempted();
    let attempt = recovery.open_attempt().unwrap();
    for (status, charge, want) in [
        ("succeeded", "ch_1", Shown::Succeeded),
        ("processing", "ch_0", Shown::Processing),
        ("requires_capture", "ch_1", Shown::Processing),
        ("requires_payment_method", "ch_0", Shown::NeverMade),
        ("requires_confirmation", "ch_0", Shown::NeverMade),
        ("requires_payment_method", "ch_1", Shown::Declined),
        ("canceled", "ch_0", Shown::Ended(StopReason::Canceled)),
        ("requires_action", "ch_1", Shown::Ended(StopReason::NeedsClient)),
    ] {
        assert_eq!(attempt.shown(status, Some(charge)), want, "{status} {charge}");
    }
    // What Stripe was at was made, whatever charge it shows.
    let mut processed = recovery.clone();
    processed.process(now, now);
    assert_eq!(processed.open_attempt().unwrap().shown("requires_payment_method", Some("ch_0")), Shown::Declined);
    // Its key is safe for a day, and its rung ends with the practice day.
    let later = |hours: i64| now.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
    assert!(attempt.may_be_repeated(attempt.date, later(13)));
    assert!(!attempt.may_be_repeated(attempt.date, later(23)));
    assert!(!attempt.may_be_repeated(attempt.date.tomorrow().unwrap(), later(1)));
}

#[test]
fn news_during_an_attempt_waits_for_its_end() {
    let card = |at: Timestamp, id: &str| NewCard { payment_method: id.to_owned(), at };
    // Taken after a decline that only the client could have mended, and once only.
    let (policy, mut recovery, now) = attempted();
    assert_eq!(recovery.rearm(&card(now, "pm_2"), &policy, now), Rearmed::Kept);
    assert!(!recovery.is_news(&failure("stolen_card", "ch_9"), now), "the attempt's own answer says more");
    assert_eq!(recovery.decline(&failure("expired_card", "ch_1"), false, &policy, now), Tell::Nothing);
    assert_eq!((recovery.state, recovery.payment_method.as_deref()), (RecoveryState::Waiting, Some("pm_2")));
    assert_eq!(recovery.rearm(&card(now, "pm_2"), &policy, now), Rearmed::Ignored);
    // Not after one that ends it for another reason.
    let (policy, mut recovery, now) = attempted();
    recovery.rearm(&card(now, "pm_2"), &policy, now);
    assert_eq!(recovery.decline(&failure("lost_card", "ch_1"), false, &policy, now), Tell::CardFailed);
    assert_eq!(recovery.stop_reason, Some(StopReason::HardDecline));
    // Not after a success.
    let (policy, mut recovery, now) = attempted();
    recovery.rearm(&card(now, "pm_2"), &policy, now);
    recovery.succeed(now, now);
    assert_eq!((recovery.state, recovery.new_card), (RecoveryState::Recovered, None));
}

#[test]
fn what_is_no_news_changes_nothing() {
    let policy = policy("America/Chicago", &[1, 3, 7], 3);
    let story = Story::new(policy.clone(), "2026-11-23 09:00", "generic_decline");
    let (recovery, at) = (&story.recovery, story.now);
    let later = at.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    assert!(!recovery.is_news(&failure("lost_card", "ch_0"), at), "the same event again");
    assert!(!recovery.is_news(&failure("lost_card", "ch_0"), later), "the same charge again");
    assert!(
        !recovery.is_news(&failure("lost_card", "ch_1"), at.checked_sub(jiff::SignedDuration::from_hours(1)).unwrap()),
        "an older one"
    );
    assert!(recovery.is_news(&failure("lost_card", "ch_1"), later));
    let other_card = Failure { payment_method: Some("pm_9".to_owned()), ..failure("lost_card", "ch_1") };
    assert!(!recovery.is_news(&other_card, later), "the card that is charged was not declined");
    // Whoever owns it collects it: no card re-arms it.
    let mut owned = Story::new(policy.clone(), "2026-11-23 09:00", "expired_card").recovery;
    owned.owned = true;
    assert_eq!(owned.rearm(&NewCard { payment_method: "pm_2".to_owned(), at: later }, &policy, later), Rearmed::Ignored);
    // What it is for stays as it was at the first failure.
    let mut recovery = story.recovery;
    let dearer = Failure { amount: minor(9900), ..failure("do_not_honor", "ch_1") };
    recovery.failed_again(&dearer, false, later, &policy, later);
    assert_eq!((recovery.failure.amount, recovery.code()), (minor(4200), "do_not_honor"));
}

#[test]
fn the_plan_says_what_became_of_every_rung() {
    let chicago = policy("America/Chicago", &[1, 3, 7], 3);
    let plan = |story: &Story| {
        let each = ladder::plan(&story.recovery, &story.policy, story.now).into_iter();
        each.map(|(rung, _, fate)| format!("{} {} {fate:?}", rung.n, rung.on)).collect::<Vec<_>>().join("; ")
    };
    let story = |codes: &str| Story::new(chicago.clone(), "2026-11-23 09:00", codes);
    let mut script = Vec::new();

    let mut declines = story("generic_decline");
    assert_eq!(plan(&declines), "1 2026-11-24 Next; 2 2026-11-26 Later; 3 2026-11-30 Later");
    declines.until(local(&chicago, "2026-11-24 12:00"), &mut script);
    assert_eq!(plan(&declines), "1 2026-11-24 Used; 2 2026-11-26 Next; 3 2026-11-30 Later");
    declines.happens("2026-11-29_09:00 back", &mut script);
    assert_eq!(plan(&declines), "1 2026-11-24 Used; 2 2026-11-26 Lost; 3 2026-11-30 Later", "nobody was there on the 26th");
    declines.until(local(&chicago, "2026-12-01 12:00"), &mut vec!["stolen_card"]);
    assert_eq!(plan(&declines), "1 2026-11-24 Used; 2 2026-11-26 Lost; 3 2026-11-30 Used");

    // Short of money: Tuesday and Thursday both move to Friday, so that the second is lost; Monday to the first.
    let mut short = story("insufficient_funds");
    assert_eq!(plan(&short), "1 2026-11-27 Next; 2 2026-11-26 Lost; 3 2026-12-01 Later");
    // An attempt was made on Friday, which is no rung's day under the next decline.
    short.until(local(&chicago, "2026-11-27 12:00"), &mut vec!["generic_decline"]);
    assert_eq!(plan(&short), "1 2026-11-24 Gone; 2 2026-11-26 Lost; 3 2026-11-30 Next");

    assert_eq!(plan(&story("stolen_card")), "1 2026-11-24 NotNeeded; 2 2026-11-26 NotNeeded; 3 2026-11-30 NotNeeded");
}
