//! One attempt: how it is recorded, and when it may be made again; what a look and a first failure come to; the log.

use crate::money_properties::{allocate, decision, payment};
use crate::practice::{invoice_id, minor};
use crate::recovery_timeline::{failure, policy};
use jiff::{SignedDuration, Timestamp};
use vesper_core::event::Failure;
use vesper_core::matching::Stands;
use vesper_core::payment::PaymentState;
use vesper_core::policy::Policy;
use vesper_core::recovery::ladder::{local_date, next_day};
use vesper_core::recovery::steps::{Around, Due, Repeat, Try, asks_who_owns_it, claims_stay, due, repeat, try_rung};
use vesper_core::recovery::{Attempt, NewCard, NextRetry, Outcome, Rearmed, Recovery, RecoveryState, StopReason, Tell};

fn at(text: &str) -> Timestamp {
    format!("2026-11-{text}:00Z").parse().unwrap()
}

fn chicago() -> Policy {
    policy("America/Chicago", &[1, 3, 7], 0)
}

/// Failed on 2026-11-22 at noon, practice time; its first rung is on the 23rd at 16:00 UTC.
fn waiting() -> Recovery {
    let invoices = vec![(invoice_id("i1"), minor(4200))];
    let mut recovery = Recovery::new(failure("generic_decline", "ch_0"), at("22T18:00"), false, invoices, false);
    let tell = recovery.turn(recovery.next(&chicago(), at("22T18:00")), at("22T18:00"));
    assert_eq!((tell, recovery.next_at), (Tell::Nothing, Some(at("23T16:00"))));
    recovery
}

/// With an attempt on its first rung.
fn tried() -> Recovery {
    let mut recovery = waiting();
    let today = local_date(at("23T16:00"), &chicago().time_zone);
    assert_eq!(recovery.begin(at("23T16:00"), today, Some("ch_0".to_owned()), at("23T16:02")), Some(1));
    recovery
}

fn attempt() -> Attempt {
    tried().open_attempt().unwrap().clone()
}

#[test]
fn an_attempt_is_recorded_once_a_day_with_its_key_card_and_amount() {
    let mut recovery = tried();
    let a = attempt();
    assert_eq!((a.n, a.key.as_str(), a.payment_method.as_str()), (1, "vesper-retry-pi_1-1", "pm_1"));
    assert_eq!((a.amount, a.outcome, a.charge_before.as_deref()), (minor(4200), Outcome::Unknown, Some("ch_0")));
    assert_eq!((a.date.to_string().as_str(), recovery.next_at), ("2026-11-23", Some(at("23T16:02"))), "the lease");
    let tomorrow = "2026-11-24".parse().unwrap();
    assert_eq!(recovery.begin(at("24T16:00"), tomorrow, None, at("24T16:02")), None, "one is open");
    let _ = recovery.decline(&failure("generic_decline", "ch_1"), false, &chicago(), at("23T16:01"));
    assert_eq!(recovery.begin(at("23T17:00"), a.date, None, at("23T17:02")), None, "the day has had one");
    assert_eq!(recovery.begin(at("24T16:00"), tomorrow, None, at("24T16:02")), Some(2));
    let mut no_card = Recovery { payment_method: None, ..waiting() };
    assert_eq!(no_card.begin(at("23T16:00"), a.date, None, at("23T16:02")), None);
    assert!(no_card.attempts.is_empty());
}

#[test]
fn an_attempt_is_made_again_on_its_own_day_while_its_key_is_kept() {
    let around = Around::default();
    let said = |around: &Around, when| repeat(&attempt(), around, &chicago(), at(when));
    assert_eq!(said(&around, "23T16:00"), Repeat::Guard);
    assert_eq!(said(&around, "24T05:59"), Repeat::Guard, "the same practice day");
    assert_eq!(said(&around, "24T06:00"), Repeat::Over, "the next");
    assert_eq!(said(&Around { is_held: true, ..Around::default() }, "23T16:00"), Repeat::Wait);
    assert_eq!(said(&Around { is_shadow: true, ..Around::default() }, "23T16:00"), Repeat::Wait);
    let early = Attempt { at: at("23T06:00"), ..attempt() };
    let s = |seconds| at("23T06:00").saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    assert!(early.may_be_repeated(early.date, s(23 * 3600 - 1)));
    assert!(!early.may_be_repeated(early.date, s(23 * 3600)), "Stripe keeps a key for a day");
}

#[test]
fn a_look_comes_when_it_is_due_and_asks_first() {
    assert_eq!(due(&waiting(), at("23T15:59")), Due::NotYet);
    assert_eq!(due(&waiting(), at("23T16:00")), Due::Try);
    assert_eq!(due(&tried(), at("23T16:01")), Due::NotYet, "the lease runs");
    assert_eq!(due(&tried(), at("23T16:02")), Due::Ask);
    let mut over = tried();
    over.succeed(at("23T16:00"), at("23T16:01"));
    assert_eq!(due(&over, at("23T16:01")), Due::Settle);
    assert_eq!(due(&Recovery { next_at: None, ..over }, at("29T16:01")), Due::NotYet);
}

#[test]
fn a_rung_is_tried_when_no_other_recovery_claims_and_nobody_holds_it() {
    let now = at("23T16:00");
    let said = |recovery: &Recovery, around: &Around| match try_rung(recovery, around, &chicago(), now) {
        Try::Stop(reason, _) => format!("stop {}", reason.as_str()),
        Try::Turn(NextRetry::At { time, .. }) => format!("at {time}"),
        Try::Turn(other) => format!("{other:?}"),
        Try::Wait(_) => "wait".to_owned(),
        Try::NotToday(_) => "not today".to_owned(),
        Try::Claim => "claim".to_owned(),
    };
    let free = Around::default();
    let claimed = |states: &[RecoveryState]| Around { claimed_by: states.to_vec(), ..Around::default() };
    let (one, both) = ([RecoveryState::Waiting], [RecoveryState::Waiting, RecoveryState::Recovered]);
    assert_eq!(said(&waiting(), &free), "claim");
    assert_eq!(said(&waiting(), &claimed(&one)), "wait");
    assert_eq!(said(&waiting(), &claimed(&both)), "stop paid");
    assert_eq!(said(&Recovery { claims: true, ..waiting() }, &claimed(&one)), "claim", "it holds them itself");
    assert_eq!(said(&waiting(), &Around { is_held: true, ..Around::default() }), "wait");
    assert_eq!(said(&waiting(), &Around { is_shadow: true, is_held: true, ..Around::default() }), "not today");
    assert_eq!(said(&Recovery { shadow: true, ..waiting() }, &free), "not today");
    let late = Recovery { first_failed_at: at("21T18:00"), ..waiting() };
    assert_eq!(said(&late, &free), "at 2026-11-24T16:00:00Z", "its first rung is lost");
    let lost = Recovery { first_failed_at: at("02T18:00"), ..waiting() };
    assert_eq!(said(&lost, &Around { is_held: true, ..Around::default() }), "Exhausted");
}

#[test]
fn claims_stay_until_the_payment_is_decided_and_written() {
    let mut p = payment(4200);
    for (state, waits, want) in [
        (PaymentState::Parked, false, true),
        (PaymentState::Review, false, true),
        (PaymentState::Decided, true, true),
        (PaymentState::Decided, false, false),
        (PaymentState::BeforeGoLive, false, false),
    ] {
        p.state = state;
        assert_eq!(claims_stay(&p, waits), want, "{state:?} {waits}");
    }
}

#[test]
fn a_first_failure_opens_a_ladder_stops_or_is_only_asked_about() {
    let fresh = |codes| Recovery::new(failure(codes, "ch_0"), at("22T18:00"), false, vec![], false);
    let pays = decision(Stands::Decided, vec![allocate("i1", 4200)], 0, false);
    let unclear = decision(Stands::Parked, vec![], 4200, false);
    let open = |codes, decision, forbidden, barred| {
        let mut recovery = fresh(codes);
        let tell = recovery.open(decision, forbidden, barred, &chicago(), at("22T18:00"));
        (tell, recovery.state, recovery.stop_reason.map_or("", StopReason::as_str), recovery.invoices.len())
    };
    let (told, asks) = (Some(Tell::Nothing), Some(Tell::CardFailed));
    let stopped = RecoveryState::Stopped;
    assert_eq!(open("generic_decline", &pays, None, None), (told, RecoveryState::Waiting, "", 1));
    assert_eq!(open("generic_decline", &unclear, None, None).0, None);
    assert_eq!(open("generic_decline", &unclear, None, Some("no card")), (asks, stopped, "needs_client", 0));
    let consent = Some(StopReason::Consent);
    assert_eq!(open("generic_decline", &pays, consent, Some("no card")), (asks, stopped, "consent", 1), "the client first");
    assert_eq!(open("stolen_card", &pays, None, None), (asks, stopped, "hard_decline", 1));
    assert!(asks_who_owns_it(&fresh("generic_decline"), None) && asks_who_owns_it(&fresh("expired_card"), None));
    assert!(!asks_who_owns_it(&fresh("generic_decline"), consent) && !asks_who_owns_it(&fresh("stolen_card"), None));
}

#[test]
fn the_end_of_shadow_mode_ends_what_waits_and_lets_no_card_in() {
    let card = NewCard { payment_method: "pm_2".to_owned(), at: at("23T12:00") };
    let mut recovery = waiting();
    assert_eq!(recovery.close(at("23T10:00")), Tell::CardFailed);
    assert_eq!((recovery.state, recovery.next_at, recovery.closed), (RecoveryState::Exhausted, None, true));
    let mut stopped = waiting();
    let _ = stopped.stop(StopReason::NeedsClient, "expired", at("23T09:00"));
    assert!(stopped.is_rearmed_by_a_card());
    assert_eq!((stopped.close(at("23T10:00")), stopped.state), (Tell::Nothing, RecoveryState::Stopped), "it was asked about");
    assert_eq!(stopped.rearm(&card, &chicago(), at("23T12:00")), Rearmed::Ignored);
}

#[test]
fn a_card_that_is_newer_than_the_attempt_goes_on_with_the_ladder_also_when_the_decline_is_learnt_late() {
    let told = |of_card: &str, when| {
        let mut recovery = tried();
        let declined = Failure { payment_method: Some(of_card.to_owned()), ..failure("expired_card", "ch_1") };
        let _ = recovery.decline(&declined, false, &chicago(), at("23T18:00"));
        assert_eq!(recovery.stop_reason, Some(StopReason::NeedsClient));
        recovery.rearm(&NewCard { payment_method: "pm_2".to_owned(), at: at(when) }, &chicago(), at("23T18:05"))
    };
    assert_eq!(told("pm_1", "23T15:59"), Rearmed::Ignored, "older than the attempt");
    assert_eq!(told("pm_1", "23T17:00"), Rearmed::Taken(Tell::Nothing), "told of while nobody knew");
    assert_eq!(told("pm_2", "23T17:00"), Rearmed::Ignored, "the client tried it himself, and it was declined");
    assert_eq!(told("pm_2", "23T18:00"), Rearmed::Taken(Tell::Nothing), "renewed after that");
}

#[test]
fn the_log_keeps_the_first_and_the_newest_notes_and_says_until_when() {
    let mut recovery = waiting();
    let first = recovery.notes[0].clone();
    recovery.note(at("23T10:00"), "held by a pause");
    recovery.note(at("23T10:15"), "held by a pause");
    recovery.note(at("23T10:05"), "held by a pause");
    let last = recovery.notes.last().unwrap();
    assert_eq!((recovery.notes.len(), last.at, last.until), (3, at("23T10:00"), at("23T10:15")));
    for n in 0..100 {
        recovery.note(at("24T10:00"), format!("{n}"));
    }
    assert_eq!((recovery.notes.len(), &recovery.notes[0]), (60, &first));
    assert_eq!((recovery.notes[1].what.as_str(), recovery.notes[59].what.as_str()), ("41", "99"));
    assert_eq!(next_day(at("23T10:00"), &chicago().time_zone), at("24T06:00"));
}
