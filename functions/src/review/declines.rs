//! The words of declined cards: codes of card networks and of Stripe (facts/stripe.md section 4), states and reasons of recoveries.
//!
//! Must not: decide what is tried again (`vesper_core::recovery` does), or hold anything of a person.

use vesper_core::event::Failure;
use vesper_core::recovery::ladder::Fate;
use vesper_core::recovery::{Recovery, RecoveryState, StopReason, code_of};

/// A decline's code with what it means: `insufficient_funds (the account was short of money)`.
pub(super) fn code(code: &str) -> String {
    match meaning(code) {
        Some(words) => format!("{code} ({words})"),
        None => code.to_owned(),
    }
}

fn meaning(code: &str) -> Option<&'static str> {
    Some(match code {
        "insufficient_funds" => "the account was short of money",
        "generic_decline" | "do_not_honor" | "call_issuer" | "no_action_taken" => "the bank declined and gave no reason",
        "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" => "the card's limit was reached",
        "processing_error" | "issuer_not_available" | "reenter_transaction" | "try_again_later" => {
            "a fault on the way to the bank"
        }
        "approve_with_id" => "the bank wants to be asked again",
        "expired_card" => "the card has expired",
        "lost_card" | "stolen_card" | "pickup_card" | "restricted_card" => "the bank has blocked the card",
        "fraudulent" | "merchant_blacklist" | "security_violation" => "the bank or Stripe suspects fraud",
        "authentication_required" => "the client must confirm the payment himself",
        "card_not_supported" | "currency_not_supported" => "the card cannot be used for this payment",
        "new_account_information_available" => "the client has got a new card",
        "stop_payment_order" => "the client told the bank to stop it",
        "transaction_not_allowed" | "not_permitted" | "service_not_allowed" => "the bank does not allow it",
        "testmode_decline" => "a test card was used",
        "no code" => "Stripe gave no code",
        code if code.starts_with("revocation_of_") => "the client told the bank to stop it",
        code if code.starts_with("incorrect_") || code.starts_with("invalid_") => "something of the card's data is wrong",
        _ => return None,
    })
}

/// Everything that Stripe said of a decline.
pub(super) fn decline(failure: &Failure, blocked: bool) -> String {
    let mut parts = vec![code(code_of(failure))];
    match failure.advice_code.as_deref() {
        Some("do_not_try_again") => parts.push("advice do_not_try_again (never try this card again)".to_owned()),
        Some("confirm_card_data") => parts.push("advice confirm_card_data (the client must check the card's data)".to_owned()),
        Some("try_again_later") => parts.push("advice try_again_later (another try may succeed)".to_owned()),
        Some(other) => parts.push(format!("advice {other}")),
        None => {}
    }
    parts.extend(failure.network_advice_code.as_deref().map(|mac| format!("the network's advice {mac}")));
    if blocked {
        parts.push("blocked by Stripe Radar".to_owned());
    }
    parts.join("; ")
}

/// Where a recovery stands, in a sentence.
pub(super) fn state(recovery: &Recovery) -> String {
    match (recovery.state, recovery.stop_reason) {
        (RecoveryState::Waiting, _) if recovery.open_attempt().is_some() => format!("An attempt is under way: {}", recovery.why),
        (RecoveryState::Waiting, _) => format!("It waits: {}", recovery.why),
        (RecoveryState::Recovered, _) => "Recovered: an attempt of Vesper's charged the card".to_owned(),
        (RecoveryState::Stopped, Some(reason)) => format!("Stopped, the card is not charged: {}", stop(reason)),
        (RecoveryState::Stopped, None) => "Stopped, the card is not charged".to_owned(),
        (RecoveryState::Exhausted, _) => "Ended: every day of the ladder is used or lost".to_owned(),
    }
}

/// The same in few words, for lists.
pub(super) const fn state_short(recovery: &Recovery) -> &'static str {
    match (recovery.state, recovery.stop_reason) {
        (RecoveryState::Waiting, _) => "is tried again",
        (RecoveryState::Recovered, _) => "recovered",
        (RecoveryState::Stopped, Some(reason)) => stop(reason),
        (RecoveryState::Stopped, None) => "stopped",
        (RecoveryState::Exhausted, _) => "every day of the ladder is used or lost",
    }
}

/// Why a recovery stopped.
pub(super) const fn stop(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Paid => "it is paid already",
        StopReason::OtherMoney => "other money of the client is on its way",
        StopReason::Changed => "the amount or the invoices have changed",
        StopReason::Void => "an invoice is void",
        StopReason::HardDecline => "the card must never be tried again",
        StopReason::NeedsClient => "only the client can mend it",
        StopReason::Consent => "the client has not agreed to card charges",
        StopReason::Autopay => "the EHR charges the card by itself, or may",
        StopReason::Coverage => "the client's coverage forbids it",
        StopReason::Disputed => "a payment of the invoice is disputed",
        StopReason::Canceled => "the PaymentIntent was canceled",
    }
}

/// What became of a rung.
pub(super) const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Used => "used",
        Fate::Lost => "lost: its day passed without an attempt",
        Fate::Gone => "used or lost before the newest decline",
        Fate::Next => "next",
        Fate::Later => "only if the one before it fails",
        Fate::NotNeeded => "not used: it ended before",
    }
}
