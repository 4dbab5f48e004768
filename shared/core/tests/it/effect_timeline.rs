//! Effects as timelines: seconds after the effect was made.

use jiff::{SignedDuration, Timestamp};
use vesper_core::effect::{Begin, Effect, EffectKind, EffectState, Failure, LEASE_S, Lease};
use vesper_core::ids::EffectId;

fn t(seconds: i64) -> Timestamp {
    "2026-11-21T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn effect() -> Effect {
    Effect::new(EffectId::parse("eff_1").unwrap(), EffectKind::Books, "pi_1", false, t(0))
}

fn go(e: &mut Effect, at: i64) -> Begin {
    e.begin(t(at), "me", |lease: &Lease| lease.until > t(at))
}

const GO: Begin = Begin::Go { ask_first: false };
const ASK: Begin = Begin::Go { ask_first: true };
const LATER: Failure = Failure::Later { after_s: None };

/// Takes it, calls, and fails: when it is due again.
fn fail_at(e: &mut Effect, at: i64, failure: &Failure) -> i64 {
    assert_ne!(go(e, at), Begin::NotNow, "at {at}");
    e.calling(t(at));
    e.fail(t(at), failure, "503");
    due(e)
}

fn due(e: &Effect) -> i64 {
    e.next_at.unwrap().duration_since(t(0)).as_secs()
}

#[test]
fn a_new_effect_is_due_at_once_and_done_after_success() {
    let mut e = effect();
    assert_eq!((e.state, due(&e)), (EffectState::Pending, 0));
    assert_eq!(go(&mut e, 0), GO);
    assert_eq!((e.state, e.tries), (EffectState::Sent, 0));
    e.calling(t(0));
    e.succeed();
    assert_eq!((e.state, e.tries, e.next_at), (EffectState::Done, 1, None));
    assert_eq!(go(&mut e, 1), Begin::Finished);
}

#[test]
fn an_effect_of_shadow_mode_is_done_without_a_call() {
    let mut e = Effect::new(EffectId::parse("eff_1").unwrap(), EffectKind::WriteBack, "pi_1", true, t(0));
    assert_eq!((e.state, e.tries, go(&mut e, 0)), (EffectState::Done, 0, Begin::Finished));
}

#[test]
fn waits_double_from_5_seconds_to_15_minutes() {
    let (mut e, mut now) = (effect(), 0);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let next = fail_at(&mut e, now, &LATER);
        waits.push(next - now);
        now = next;
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
}

#[test]
fn before_it_is_due_a_wake_up_does_nothing() {
    let mut e = effect();
    assert_eq!(fail_at(&mut e, 0, &LATER), 5);
    assert_eq!(go(&mut e, 4), Begin::NotNow);
    assert_eq!(go(&mut e, 5), GO);
}

#[test]
fn after_24_hours_without_success_it_is_dead() {
    let (mut e, mut now) = (effect(), 0);
    while e.is_waiting() {
        assert!(now <= 24 * 3600 + 900, "still alive at {now}");
        go(&mut e, now);
        e.calling(t(now));
        if e.fail(t(now), &LATER, "503") {
            break;
        }
        assert!(now < 24 * 3600);
        now = due(&e);
    }
    assert!(now >= 24 * 3600);
    assert_eq!((e.state, e.next_at, go(&mut e, now)), (EffectState::Dead, None, Begin::Finished));
}

#[test]
fn what_is_refused_for_good_is_dead_at_once() {
    let mut e = effect();
    go(&mut e, 0);
    e.calling(t(0));
    assert!(e.fail(t(1), &Failure::Refused, "422"));
    assert_eq!(e.state, EffectState::Dead);
}

#[test]
fn a_redriven_effect_has_24_new_hours() {
    let mut e = effect();
    fail_at(&mut e, 0, &LATER);
    go(&mut e, 90_000);
    assert!(e.fail(t(90_000), &LATER, "503"), "dead");
    e.redrive(t(100_000));
    assert_eq!(go(&mut e, 100_000), GO);
    e.calling(t(100_000));
    assert!(!e.fail(t(100_001), &LATER, "503"));
}

#[test]
fn a_throttled_effect_waits_as_long_as_it_is_told_or_longer() {
    let throttled = |after_s| Failure::Later { after_s: Some(after_s) };
    assert_eq!(fail_at(&mut effect(), 0, &throttled(60)), 60);
    assert_eq!(fail_at(&mut effect(), 0, &throttled(1)), 5, "never shorter than the backoff");
    assert_eq!(fail_at(&mut effect(), 0, &throttled(7200)), 7200, "an hour's wish is kept");
}

#[test]
fn while_its_holder_works_nobody_else_takes_it() {
    let mut e = effect();
    assert_eq!(go(&mut e, 0), GO);
    assert_eq!(go(&mut e, LEASE_S - 1), Begin::NotNow);
    assert_eq!(due(&e), LEASE_S, "due wakes it when the lease is over");
}

#[test]
fn who_takes_over_after_the_lease_asks_first() {
    let mut e = effect();
    go(&mut e, 10);
    assert_eq!(go(&mut e, 10 + LEASE_S), ASK, "the holder died before or after the call");
    assert_eq!(e.unknown_since, Some(t(10)), "the call may have been made since it was taken");
    let mut e = effect();
    go(&mut e, 10);
    e.calling(t(30));
    assert_eq!(go(&mut e, 10 + LEASE_S), ASK);
    assert_eq!(e.unknown_since, Some(t(30)));
}

#[test]
fn an_unknown_outcome_is_asked_for_before_the_next_call() {
    let mut e = effect();
    assert_eq!(fail_at(&mut e, 0, &Failure::Unknown), 5);
    assert_eq!(go(&mut e, 5), ASK);
    e.succeed();
    assert_eq!((e.state, e.tries), (EffectState::Done, 1));
}

#[test]
fn a_failure_that_did_nothing_ends_the_not_knowing() {
    let mut e = effect();
    fail_at(&mut e, 0, &LATER);
    assert_eq!(go(&mut e, 5), GO);
}

#[test]
fn without_idempotent_writes_it_is_looked_for_at_3_and_6_minutes_before_it_is_repeated() {
    let mut e = effect();
    fail_at(&mut e, 0, &Failure::Unknown);
    for (now, next) in [(5, 180), (180, 360)] {
        assert_eq!(go(&mut e, now), ASK);
        assert!(!e.not_found(t(now), false), "at {now}");
        assert_eq!((due(&e), e.state), (next, EffectState::Failed));
        assert_eq!(go(&mut e, next - 1), Begin::NotNow);
    }
    assert_eq!(go(&mut e, 360), ASK);
    assert!(e.not_found(t(360), false), "twice not found: it may be called again");
}

#[test]
fn with_idempotent_writes_it_is_repeated_at_once() {
    let mut e = effect();
    fail_at(&mut e, 0, &Failure::Unknown);
    assert_eq!(go(&mut e, 5), ASK);
    assert!(e.not_found(t(5), true));
}

#[test]
fn what_was_never_called_need_not_be_looked_for() {
    assert!(effect().not_found(t(0), false));
}

#[test]
fn a_second_unknown_call_is_looked_for_anew() {
    let mut e = effect();
    fail_at(&mut e, 0, &Failure::Unknown);
    go(&mut e, 400);
    assert!(e.not_found(t(400), false));
    e.calling(t(401));
    e.fail(t(411), &Failure::Unknown, "timeout");
    go(&mut e, 430);
    assert!(!e.not_found(t(430), false));
    assert_eq!(due(&e), 401 + 180);
}

#[test]
fn when_nobody_can_be_asked_the_outcome_stays_unknown_and_the_waits_double() {
    let (mut e, mut now) = (effect(), 5);
    fail_at(&mut e, 0, &Failure::Unknown);
    let mut waits = Vec::new();
    for _ in 0..10 {
        assert_eq!(go(&mut e, now), ASK);
        assert!(!e.fail_to_ask(t(now), None, "503"));
        assert_eq!((e.unknown_since, e.tries), (Some(t(0)), 1));
        waits.push(due(&e) - now);
        now = due(&e);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    go(&mut e, now);
    e.fail_to_ask(t(now), Some(3600), "429");
    assert_eq!(due(&e) - now, 3600);
}

#[test]
fn when_nothing_could_be_called_at_all_the_waits_double_too() {
    let (mut e, mut now, mut waits) = (effect(), 0, Vec::new());
    for _ in 0..9 {
        assert_eq!(go(&mut e, now), GO);
        e.fail(t(now), &LATER, "no token");
        waits.push(due(&e) - now);
        now = due(&e);
    }
    assert_eq!((waits, e.tries), (vec![5, 5, 10, 20, 40, 80, 160, 320, 640], 0));
}

#[test]
fn put_off_changes_nothing_but_the_time() {
    let mut e = effect();
    go(&mut e, 0);
    e.put_off(t(0), 60, "paused");
    assert_eq!((e.state, e.tries, due(&e), e.lease.clone()), (EffectState::Pending, 0, 60, None));
    let mut unknown = effect();
    fail_at(&mut unknown, 0, &Failure::Unknown);
    go(&mut unknown, 5);
    unknown.put_off(t(5), 60, "paused");
    assert_eq!((go(&mut unknown, 65), unknown.unknown_since), (ASK, Some(t(0))));
}

#[test]
fn what_is_handed_over_waits_for_ever_and_what_is_cancelled_says_why() {
    let mut e = effect();
    fail_at(&mut e, 0, &Failure::Unknown);
    go(&mut e, 5);
    e.hand_over(Some("look first"));
    assert_eq!((e.state, e.next_at, e.lease.clone(), e.unknown_since), (EffectState::Pending, None, None, None));
    assert!(e.is_waiting() && e.problem.as_deref() == Some("look first"));
    e.cancel("taken back");
    assert_eq!((e.state, e.problem.as_deref()), (EffectState::Done, Some("taken back")));
}
