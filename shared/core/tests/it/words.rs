//! The words of contracts/export.md, of contracts/settings.md and of QuickBooks' accounts: others read them, so each stands here
//! once more, letter by letter. And how small values read as text.

use crate::practice::{invoice_id, minor};
use std::collections::BTreeMap;
use vesper_core::effect::{EffectKind, EffectState};
use vesper_core::ids::{ClientId, InvoiceId};
use vesper_core::money::{Currency, Minor};
use vesper_core::payment::PaymentState;
use vesper_core::payout::PayoutState;
use vesper_core::records::Category;
use vesper_core::recovery::{RecoveryState, StopReason};
use vesper_core::review::{Answer, Reason};

#[test]
fn states_and_kinds_have_the_words_of_the_contract() {
    let words = [EffectKind::WriteBack, EffectKind::Books].map(EffectKind::as_str);
    assert_eq!(words, ["write_back", "books"]);
    let all = [EffectState::Pending, EffectState::Sent, EffectState::Done, EffectState::Failed, EffectState::Dead];
    assert_eq!(all.map(EffectState::as_str), ["pending", "sent", "done", "failed", "dead"]);
    let all = [PaymentState::Decided, PaymentState::Parked, PaymentState::Review, PaymentState::BeforeGoLive];
    assert_eq!(all.map(PaymentState::as_str), ["decided", "parked", "review", "before_go_live"]);
    let all = [PayoutState::Waiting, PayoutState::TiedOut, PayoutState::Drift, PayoutState::Manual, PayoutState::Failed];
    assert_eq!(all.map(PayoutState::as_str), ["waiting", "tied_out", "drift", "manual", "failed"]);
    let all = [RecoveryState::Waiting, RecoveryState::Recovered, RecoveryState::Stopped, RecoveryState::Exhausted];
    assert_eq!(all.map(RecoveryState::as_str), ["waiting", "recovered", "stopped", "exhausted"]);
}

#[test]
fn a_stop_reason_and_a_category_have_the_words_of_the_contract() {
    for (reason, word) in [
        (StopReason::Paid, "paid"),
        (StopReason::OtherMoney, "other_money"),
        (StopReason::Changed, "changed"),
        (StopReason::Void, "void"),
        (StopReason::HardDecline, "hard_decline"),
        (StopReason::NeedsClient, "needs_client"),
        (StopReason::Consent, "consent"),
        (StopReason::Autopay, "autopay"),
        (StopReason::Coverage, "coverage"),
        (StopReason::Disputed, "disputed"),
        (StopReason::Canceled, "canceled"),
    ] {
        assert_eq!(reason.as_str(), word);
    }
    let words = Category::ALL.map(Category::as_str);
    assert_eq!(words, ["copay", "coinsurance", "deductible", "self_pay", "no_show_fee", "product", "other"]);
}

#[test]
fn a_value_is_stored_as_what_it_is_read_from() {
    for amount in [0, 1, -1, 4200, -Minor::LIMIT, Minor::LIMIT] {
        assert_eq!(i64::from(minor(amount)), amount);
        assert_eq!(Minor::try_from(amount), Ok(minor(amount)));
    }
    assert!(Minor::try_from(Minor::LIMIT + 1).is_err());
    let eur = Currency::parse("EUR").unwrap();
    assert_eq!((String::from(eur), eur.to_string(), format!("{eur:?}")), ("eur".to_owned(), "eur".to_owned(), "eur".to_owned()));
    assert_eq!(Currency::try_from("Usd".to_owned()), Ok(Currency::USD));
    assert!(Currency::try_from("dollar".to_owned()).is_err());
    let id = invoice_id("inv_1");
    assert_eq!((id.to_string(), format!("{id:?}"), String::from(id.clone())), ("inv_1".into(), "inv_1".into(), "inv_1".into()));
    assert_eq!(InvoiceId::try_from("inv_1".to_owned()), Ok(id));
    assert!(ClientId::try_from(String::new()).is_err());
    let by_id = BTreeMap::from([(ClientId::parse("b").unwrap(), 2), (ClientId::parse("a").unwrap(), 1)]);
    assert_eq!(by_id.into_values().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn an_answer_is_read_as_it_is_shown_and_nothing_else_is_an_answer() {
    let part = |id: &str, amount_minor| (invoice_id(id), minor(amount_minor));
    let take_back = |allocations, unapplied| Answer::TakeBack { allocations, unapplied: minor(unapplied) };
    let longest = "a".repeat(100);
    for (answer, text) in [
        (Answer::Apply(vec![part("inv_1", 4200), part("inv_2", 100)]), "apply:inv_1=4200,inv_2=100"),
        (Answer::Credit, "credit"),
        (Answer::ReBill, "re_bill"),
        (Answer::WriteOff, "write_off"),
        (take_back(vec![part("inv_1", 4200)], 300), "take_back:inv_1=4200,=unapplied:300"),
        (take_back(vec![part("inv_1", 4200)], 0), "take_back:inv_1=4200"),
        (Answer::Retry, "retry"),
        (Answer::Undo, "take_back"),
        (Answer::Keep, "keep"),
        (Answer::AskForCard, "ask_for_card"),
        (Answer::CallClient, "call_client"),
        (Answer::OpeningPosted("91".to_owned()), "opening_posted:91"),
        (Answer::OpeningPosted(longest.clone()), &format!("opening_posted:{longest}")),
    ] {
        assert_eq!((answer.to_string().as_str(), String::from(answer.clone()).as_str()), (text, text));
        assert_eq!(Answer::parse(text), Ok(answer.clone()), "{text}");
        assert_eq!(Answer::try_from(text.to_owned()), Ok(answer));
    }
    let too_long = format!("opening_posted:{longest}a");
    for text in
        ["", "opening_posted:", &too_long, "opening_posted:9\n1", "apply:inv_1", "take_back:inv_1=1,=unapplied:-1", "keeps"]
    {
        assert!(Answer::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn deciding_a_payment_answers_the_questions_about_where_it_belongs_and_no_others() {
    let others = [
        Reason::ChangedPayment,
        Reason::Refunded,
        Reason::RefundSplit,
        Reason::Disputed,
        Reason::CardFailed,
        Reason::UnknownDecline,
        Reason::PayoutDrift,
        Reason::PayoutManual,
        Reason::PayoutOpening,
        Reason::BooksReconnect,
        Reason::BooksRefused,
        Reason::WriteBackRefused,
        Reason::DeadLetter,
        Reason::UnreadableEvent,
        Reason::EhrDisagrees,
        Reason::ProofDifference,
    ];
    assert!(others.into_iter().all(|reason| !reason.asks_where_it_belongs()));
    let about_its_place = [
        Reason::Currency,
        Reason::ReferenceConflict,
        Reason::VoidInvoice,
        Reason::AlreadySettled,
        Reason::Overpaid,
        Reason::ClientConflict,
        Reason::Ambiguous,
        Reason::PartialUnreferenced,
        Reason::NoInvoice,
        Reason::UnknownClient,
    ];
    assert!(about_its_place.into_iter().all(Reason::asks_where_it_belongs));
}
