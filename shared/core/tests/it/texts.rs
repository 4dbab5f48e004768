//! Texts and small values: answers, amounts, currencies, ids, and the audit chain.

use crate::money_properties::config;
use crate::practice::{invoice_id, minor};
use proptest::prelude::*;
use vesper_core::audit::{AuditRecord, GENESIS, hex, seal};
use vesper_core::ids::{BadId, ClientId, ID_BYTES_MAX, InvoiceId};
use vesper_core::money::{AmountOutOfRange, BadCurrency, Currency, Minor};
use vesper_core::payment::derived_id;
use vesper_core::review::{Answer, BadAnswer, Reason};

// ---------------------------------------------------------------- answers

fn odd_id() -> impl Strategy<Value = InvoiceId> {
    let odd = prop::collection::vec(
        prop_oneof![Just('%'), Just(','), Just('='), Just(':'), Just('2'), Just('C'), Just('5'), Just('é')],
        1..12,
    );
    let odd = odd.prop_map(|c| c.into_iter().collect::<String>());
    let words = prop_oneof![
        Just("=unapplied"),
        Just("unapplied"),
        Just(",=unapplied:5"),
        Just("%2C"),
        Just("%252C"),
        Just("apply:"),
        Just(" ")
    ];
    prop_oneof![odd, words.prop_map(str::to_owned), "[a-z0-9_]{1,20}"].prop_map(|id| invoice_id(&id))
}

fn shares() -> impl Strategy<Value = Vec<(InvoiceId, Minor)>> {
    prop::collection::vec((odd_id(), (1..=Minor::LIMIT).prop_map(minor)), 1..4)
}

fn answers() -> impl Strategy<Value = Answer> {
    let fixed = [Answer::Credit, Answer::ReBill, Answer::WriteOff, Answer::Retry, Answer::Undo, Answer::Keep];
    let split = (prop::option::of(shares()), (0..=Minor::LIMIT).prop_map(minor));
    prop_oneof![
        prop::sample::select(fixed.to_vec()),
        shares().prop_map(Answer::Apply),
        split.prop_map(|(all, unapplied)| Answer::TakeBack { allocations: all.unwrap_or_default(), unapplied }),
    ]
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn an_answer_reads_back_as_it_was_written(answer in answers()) {
        prop_assert_eq!(Answer::parse(&answer.to_string()), Ok(answer));
    }

    #[test]
    fn no_text_breaks_the_reading_of_an_answer(text in "(apply:|take_back:|)[a-z=,:%0-9-]{0,24}") {
        if let Ok(answer) = Answer::parse(&text) {
            prop_assert_eq!(Answer::parse(&answer.to_string()), Ok(answer));
        }
    }
}

#[test]
fn answers_read_as_in_the_contract() {
    for (text, answer) in [
        (
            "apply:inv_1=4200,inv_2=800",
            Answer::Apply(vec![(invoice_id("inv_1"), minor(4200)), (invoice_id("inv_2"), minor(800))]),
        ),
        ("credit", Answer::Credit),
        ("re_bill", Answer::ReBill),
        ("write_off", Answer::WriteOff),
        ("retry", Answer::Retry),
        ("take_back", Answer::Undo),
        ("keep", Answer::Keep),
    ] {
        assert_eq!((Answer::parse(text), answer.to_string()), (Ok(answer), text.to_owned()));
    }
}

#[test]
fn texts_that_are_no_answers_are_refused() {
    for text in [
        "",
        "apply",
        "apply:",
        "apply:inv_1",
        "apply:inv_1=",
        "apply:inv_1=0",
        "apply:inv_1=-5",
        "apply:=5",
        "apply:a=1,",
        "apply:a=1.5",
        "apply:a=9999999999999",
        "take_back:a=0",
        "take_back:a=1,=unapplied:x",
        "take_back:,=unapplied:-5",
        "forgive",
        "Credit",
    ] {
        assert_eq!(Answer::parse(text), Err(BadAnswer), "{text:?}");
    }
}

#[test]
fn a_reason_is_written_as_in_the_contract() {
    assert_eq!(
        (Reason::PartialUnreferenced.to_string().as_str(), Reason::EhrDisagrees.as_str()),
        ("partial_unreferenced", "ehr_disagrees")
    );
}

// ---------------------------------------------------------------- money

#[test]
fn an_amount_outside_the_limit_is_refused() {
    assert_eq!(Minor::new(Minor::LIMIT).unwrap().get(), Minor::LIMIT);
    assert_eq!(Minor::new(Minor::LIMIT + 1), Err(AmountOutOfRange(Minor::LIMIT + 1)));
    assert_eq!(Minor::new(-Minor::LIMIT - 1), Err(AmountOutOfRange(-Minor::LIMIT - 1)));
    assert_eq!(Minor::try_from(i64::MIN), Err(AmountOutOfRange(i64::MIN)));
}

#[test]
fn an_amount_reads_as_people_read_it() {
    for (amount, text) in [(0, "0.00"), (5, "0.05"), (4200, "42.00"), (-5, "-0.05"), (-123_456, "-1234.56")] {
        assert_eq!(minor(amount).to_string(), text);
    }
}

#[test]
fn sums_are_exact_and_do_not_wrap() {
    assert_eq!(Minor::sum([minor(1), minor(-3), minor(10)]), minor(8));
    assert_eq!(
        (minor(3).minus(minor(5)), minor(3).minus(minor(5)).or_zero(), minor(3).negated()),
        (minor(-2), Minor::ZERO, minor(-3))
    );
    let huge = (0..63).fold(minor(Minor::LIMIT), |m, _| m.plus(m));
    assert_eq!((huge.get(), huge.plus(huge).get()), (i64::MAX, i64::MAX));
}

#[test]
fn a_currency_is_three_letters_in_lower_case() {
    assert_eq!((Currency::parse("USD"), Currency::parse("eur").unwrap().as_str()), (Ok(Currency::USD), "eur"));
    for text in ["", "us", "usdd", "us1", "é$", "u d"] {
        assert_eq!(Currency::parse(text), Err(BadCurrency), "{text:?}");
    }
}

// ---------------------------------------------------------------- ids

#[test]
fn an_id_is_1_to_255_bytes_without_control_characters() {
    let longest = "x".repeat(ID_BYTES_MAX);
    for text in ["a", " ", "inv/1 #é", longest.as_str()] {
        assert_eq!(ClientId::parse(text).unwrap().as_str(), text);
        assert_eq!(String::from(ClientId::try_from(text.to_owned()).unwrap()), text);
    }
    let too_long = "x".repeat(ID_BYTES_MAX + 1);
    for text in ["", "a\nb", "\0", "\u{7f}", "\u{85}", too_long.as_str()] {
        assert_eq!((ClientId::parse(text), ClientId::try_from(text.to_owned())), (Err(BadId), Err(BadId)), "{text:?}");
    }
}

#[test]
fn a_derived_id_depends_on_every_part_and_on_where_one_ends() {
    let id = |parts: &[&str]| derived_id("pst", parts);
    assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
    assert!(id(&["a"]).starts_with("pst_") && id(&["a"]).len() == 24);
    let all = [id(&["ab", ""]), id(&["a", "b"]), id(&["", "ab"]), id(&["ab"]), id(&["b", "a"])];
    for (n, one) in all.iter().enumerate() {
        assert!(all[n + 1..].iter().all(|other| other != one));
    }
}

// ---------------------------------------------------------------- audit

fn record() -> AuditRecord {
    let text = str::to_owned;
    let at = text("2026-11-21T12:00:00Z");
    AuditRecord { at, who: text("vesper"), action: text("decided"), subject: text("pi_1"), detail: text("rule 5") }
}

#[test]
fn a_record_hash_changes_with_every_field_and_every_border() {
    let change: [fn(&mut AuditRecord); 6] = [
        |r| r.at.push('x'),
        |r| r.who.push('x'),
        |r| r.action.push('x'),
        |r| r.subject.push('x'),
        |r| r.detail.push('x'),
        |r| (r.who, r.action) = ("vesperd".to_owned(), "ecided".to_owned()),
    ];
    let mut hashes = vec![record().hash()];
    for change in change {
        let mut changed = record();
        change(&mut changed);
        assert!(!hashes.contains(&changed.hash()));
        hashes.push(changed.hash());
    }
    assert_eq!(record().hash(), record().hash());
}

#[test]
fn a_seal_does_not_depend_on_the_order_of_its_records() {
    let hashes: Vec<[u8; 32]> = (0..5_u8).map(|n| [n; 32]).collect();
    let backwards = hashes.iter().rev().copied().collect();
    assert_eq!(seal(GENESIS, hashes), seal(GENESIS, backwards));
}

#[test]
fn a_seal_changes_with_the_one_before_and_with_any_record_left_out_added_or_changed() {
    let all = vec![[1; 32], [2; 32]];
    let sealed = seal(GENESIS, all.clone());
    assert_ne!(seal(sealed, all.clone()), sealed);
    for other in [vec![], vec![[1; 32]], vec![[1; 32], [3; 32]], vec![[1; 32], [2; 32], [2; 32]]] {
        assert_ne!(seal(GENESIS, other), sealed);
    }
    let next = |first| seal(first, vec![[9; 32]]);
    assert_ne!(next(sealed), next(seal(GENESIS, vec![[1; 32]])), "what is changed early shows in every later seal");
}

#[test]
fn a_hash_reads_as_64_lower_case_hex_digits() {
    let mut hash = [0; 32];
    hash[31] = 0xAB;
    assert_eq!(hex(hash), format!("{}ab", "0".repeat(62)));
}
