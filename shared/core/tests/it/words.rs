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
