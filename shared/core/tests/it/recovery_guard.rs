//! The order of the guard's reasons (design.md section 5, "Which invoices"): the first that holds stops it.

use crate::practice::{Practice, invoice_id, minor, practice};
use crate::recovery_timeline::{failure, policy};
use vesper_core::ids::ClientId;
use vesper_core::money::{Currency, Minor};
use vesper_core::policy::{RetryPolicy, WhenUnknown};
use vesper_core::records::{Autopay, CardConsent, Client, ClientStatus, Coverage, Seen};
use vesper_core::recovery::guard::{IntentNow, facts, forbids, is_moving};
use vesper_core::recovery::{GuardFacts, GuardVerdict, InvoiceNow, OtherMoney, Recovery, StopReason, guard};

fn recovery() -> Recovery {
    let at = "2026-11-23T15:00:00Z".parse().unwrap();
    Recovery::new(failure("generic_decline", "ch_0"), at, false, vec![(invoice_id("i1"), minor(4200))], false)
}

/// Everything is well.
fn well() -> GuardFacts {
    GuardFacts {
        intent_status: "requires_payment_method".to_owned(),
        intent_amount: minor(4200),
        invoices: vec![InvoiceNow { void: false, open: minor(4200), is_clear: true }],
        disputed: false,
        forbidden: None,
        other_money: OtherMoney::Nothing,
        gives: Some(vec![(invoice_id("i1"), minor(4200))]),
    }
}

fn said(facts: &GuardFacts) -> String {
    match guard(&recovery(), facts) {
        GuardVerdict::Go => "go".to_owned(),
        GuardVerdict::Stop { reason, .. } => reason.as_str().to_owned(),
        GuardVerdict::NotNow(_) => "not now".to_owned(),
        GuardVerdict::ReadOtherMoney => "read other money".to_owned(),
    }
}

type Bend = fn(&mut GuardFacts);

/// What may hold, in the order in which it is looked for.
const REASONS: [(&str, Bend); 14] = [
    ("paid", |f| f.intent_status = "succeeded".to_owned()),
    ("paid", |f| f.invoices.push(InvoiceNow { void: false, open: Minor::ZERO, is_clear: true })),
    ("canceled", |f| f.intent_status = "canceled".to_owned()),
    ("void", |f| f.invoices.push(InvoiceNow { void: true, open: Minor::ZERO, is_clear: true })),
    ("disputed", |f| f.disputed = true),
    ("consent", |f| f.forbidden = Some(StopReason::Consent)),
    ("autopay", |f| f.forbidden = Some(StopReason::Autopay)),
    ("coverage", |f| f.forbidden = Some(StopReason::Coverage)),
    ("read other money", |f| f.other_money = OtherMoney::NotRead),
    ("other_money", |f| f.other_money = OtherMoney::OnItsWay("pi_2 is processing".to_owned())),
    ("not now", |f| f.intent_status = "processing".to_owned()),
    ("not now", |f| f.invoices.push(InvoiceNow { void: false, open: minor(100), is_clear: false })),
    ("changed", |f| f.intent_amount = minor(1500)),
    ("changed", |f| f.gives = None),
];

#[test]
fn the_first_reason_that_holds_stops_it() {
    assert_eq!(said(&well()), "go");
    for (place, (want, bend)) in REASONS.iter().enumerate() {
        let mut facts = well();
        bend(&mut facts);
        assert_eq!(said(&facts), *want, "alone");
        for (later, (_, bend_too)) in REASONS.iter().enumerate().skip(place + 1) {
            let mut both = well();
            bend_too(&mut both);
            bend(&mut both); // The earlier one last: where both touch one fact, it is what holds.
            assert_eq!(said(&both), *want, "with reason {later} besides");
        }
    }
}

#[test]
fn only_what_may_be_confirmed_is_charged() {
    for (status, want) in [
        ("requires_payment_method", "go"),
        ("requires_confirmation", "go"),
        ("requires_action", "needs_client"),
        ("requires_capture", "not now"),
        ("processing", "not now"),
        ("a_status_of_the_future", "needs_client"),
    ] {
        assert_eq!(said(&GuardFacts { intent_status: status.to_owned(), ..well() }), want, "{status}");
    }
    let moving = ["succeeded", "processing", "requires_capture"];
    assert!(moving.iter().all(|s| is_moving(s)));
    assert!(!["requires_payment_method", "requires_action", "canceled"].iter().any(|s| is_moving(s)));
}

#[test]
fn other_invoices_or_amounts_are_a_change() {
    for gives in [
        vec![(invoice_id("i2"), minor(4200))],
        vec![(invoice_id("i1"), minor(4100))],
        vec![(invoice_id("i1"), minor(4200)), (invoice_id("i2"), minor(1))],
        vec![],
    ] {
        assert_eq!(said(&GuardFacts { gives: Some(gives), ..well() }), "changed");
    }
    let nothing_agreed = Recovery { invoices: vec![], ..recovery() };
    let facts = GuardFacts { gives: Some(vec![]), invoices: vec![], ..well() };
    assert!(matches!(guard(&nothing_agreed, &facts), GuardVerdict::Stop { reason: StopReason::Changed, .. }));
}

fn client(with: impl Fn(&mut Client)) -> Client {
    let mut client = Client {
        id: ClientId::parse("c1").unwrap(),
        customers: vec![],
        emails: vec![],
        guarantor: None,
        status: ClientStatus::Active,
        autopay: Autopay::Off,
        card_consent: CardConsent::Given,
        coverage: Coverage::SelfPay,
        version: "1".to_owned(),
        seen: Seen { observed_at: "2026-11-20T09:00:00Z".parse().unwrap(), seq: 1 },
    };
    with(&mut client);
    client
}

#[test]
fn the_cards_owner_consents_and_everybody_concerned_counts_for_the_rest() {
    let ask = policy("America/Chicago", &[1], 0).retry;
    let retry = RetryPolicy { when_autopay_unknown: WhenUnknown::Retry, when_consent_unknown: WhenUnknown::Retry, ..ask.clone() };
    let well = client(|_| {});
    for (payer, billed, asking, retrying) in [
        (client(|_| {}), client(|_| {}), None, None),
        (client(|c| c.card_consent = CardConsent::Unknown), client(|_| {}), Some("consent"), None),
        (client(|_| {}), client(|c| c.card_consent = CardConsent::Unknown), None, None),
        (client(|c| c.card_consent = CardConsent::Revoked), client(|_| {}), Some("consent"), Some("consent")),
        (client(|_| {}), client(|c| c.card_consent = CardConsent::Revoked), Some("consent"), Some("consent")),
        (client(|c| c.autopay = Autopay::Unknown), client(|_| {}), Some("autopay"), None),
        (client(|_| {}), client(|c| c.autopay = Autopay::Unknown), Some("autopay"), None),
        (client(|c| c.autopay = Autopay::On), client(|_| {}), Some("autopay"), Some("autopay")),
        (client(|_| {}), client(|c| c.autopay = Autopay::On), Some("autopay"), Some("autopay")),
        (client(|c| c.coverage = Coverage::Medicaid), client(|_| {}), Some("coverage"), Some("coverage")),
        (client(|_| {}), client(|c| c.coverage = Coverage::Qmb), Some("coverage"), Some("coverage")),
        (client(|_| {}), client(|c| c.coverage = Coverage::ThirdPartyBiller), Some("coverage"), Some("coverage")),
        (client(|c| c.coverage = Coverage::Medicare), client(|c| c.coverage = Coverage::Commercial), None, None),
        (
            client(|c| (c.card_consent, c.autopay, c.coverage) = (CardConsent::Unknown, Autopay::On, Coverage::Qmb)),
            client(|_| {}),
            Some("consent"),
            Some("autopay"),
        ),
    ] {
        let said = |retry: &RetryPolicy| forbids(Some(&payer), &[&billed], retry).map(StopReason::as_str);
        assert_eq!((said(&ask), said(&retry)), (asking, retrying), "{payer:?} {billed:?}");
    }
    // Nobody known is as if nothing were known of him.
    assert_eq!(forbids(None, &[&well], &ask), Some(StopReason::Consent));
    assert_eq!(forbids(None, &[&well], &retry), None);
}

/// An invoice of 42.00 as it is read; of 21.00 an allocation of ours is not in the EHR yet, or is.
#[test]
fn money_of_others_that_the_feed_has_not_told_of_is_not_taken_for_ours() {
    let policy = policy("America/Chicago", &[1], 0);
    let intent = IntentNow { status: "requires_payment_method", amount: minor(4200), currency: Currency::USD };
    let now = |p: &Practice| facts(&recovery(), &intent, &p.world, &[false], false, &policy).invoices[0];
    let paid = |amount| practice().linked("c1", "cus_1").invoice_with("i1", "c1", 4200, |i| i.paid(amount));
    let clear = |open| InvoiceNow { void: false, open: minor(open), is_clear: true };
    assert_eq!(now(&paid(2100)), clear(2100), "nothing of it is ours");
    assert_eq!(now(&paid(0).allocated("pi_0", "i1", 2100)), clear(2100), "ours is not there yet");
    let told = paid(2100).allocated("pi_0", "i1", 2100).ehr_payment("e1", "i1", 2100, "key_pi_0");
    assert_eq!(now(&told), clear(2100), "ours is there, and the feed has told");
    let not_told = paid(2100).allocated("pi_0", "i1", 2100);
    assert_eq!(now(&not_told), InvoiceNow { is_clear: false, ..clear(2100) }, "ours, or cash, and ours is still to come");
    let cash = paid(2100).allocated("pi_0", "i1", 2100).ehr_payment("e1", "i1", 2100, "cash");
    assert_eq!(now(&cash), clear(0));
    let back = told.allocated_with("pi_2", "i1", 100, |a| a.reversed = minor(100));
    let back = back.ehr_payment("e2", "i1", 100, "key_pi_2");
    assert_eq!(now(&back).open, minor(2100));
    let taken_back = paid(2100).allocated_with("pi_0", "i1", 2100, |a| a.reversed = minor(2100));
    let taken_back = taken_back.ehr_payment("e1", "i1", 2100, "key_pi_0");
    assert_eq!(
        now(&taken_back),
        InvoiceNow { is_clear: false, ..clear(4200) },
        "more than the EHR says: its reversal is to come"
    );
    assert_eq!(now(&practice()), clear(0), "an invoice that is not known owes nothing");
}
