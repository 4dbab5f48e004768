//! The plain words of the summary, for the owner of a practice.
//!
//! Must not: hold anything of a person.

/// A silent match, by the rule of design.md section 4.
pub(super) const fn rule(rule: u8) -> &'static str {
    match rule {
        3 => "the payment names its invoice",
        4 => "paid in advance: kept as client credit",
        5 => "the one open invoice of this amount",
        6 => "several of this amount: the oldest one",
        7 => "everything the client or family owes",
        8 => "the only set of invoices with this sum",
        10 => "a part of the only open invoice",
        16 => "the EHR had recorded it already",
        _ => "by another rule",
    }
}

/// Why a person is asked (the closed list of contracts/export.md).
pub(super) fn reason(reason: &str) -> &'static str {
    match reason {
        "overpaid" => "more than what was open",
        "already_settled" => "names an invoice that is already paid",
        "ambiguous" => "several explanations fit equally well",
        "partial_unreferenced" => "part of several invoices, names none",
        "no_invoice" => "nothing open for this client",
        "unknown_client" => "nobody knows who paid",
        "client_conflict" => "points at two different clients",
        "reference_conflict" => "names an invoice that does not fit",
        "void_invoice" => "names a void invoice",
        "currency" => "in another currency",
        "changed_payment" => "told again with another amount",
        "refunded" => "refunded: what becomes of the open balance",
        "refund_split" => "partly refunded: from which invoice",
        "disputed" => "disputed by the card's bank",
        "write_back_refused" => "the EHR refused the payment",
        "books_refused" => "QuickBooks refused the entry",
        "books_reconnect" => "QuickBooks is disconnected",
        "ehr_disagrees" => "the EHR shows something else",
        "dead_letter" => "work that was given up",
        "unreadable_event" => "an event that cannot be read",
        "card_failed" => "a card failed",
        _ => "something else",
    }
}

/// Where the retries of a failed card stand.
pub(super) fn recovery(state: &str) -> &'static str {
    match state {
        "waiting" => "waiting for their next try",
        "recovered" => "recovered by a retry",
        "stopped" => "stopped: paid by the client himself, or not to be retried",
        "exhausted" => "tried as often as allowed",
        _ => "somewhere else",
    }
}

/// An amount of minor units as people read it: `1,234.50`.
pub(super) fn money(minor: i64) -> String {
    let (sign, abs) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    let (major, cents) = (abs.checked_div(100).unwrap_or(0), abs.checked_rem(100).unwrap_or(0));
    format!("{sign}{}.{cents:02}", count(major))
}

/// A number with its thousands apart: `1,150`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && digits.len().saturating_sub(i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_counts_read_well() {
        for (minor, text) in
            [(0, "0.00"), (-4200, "-42.00"), (123_456_789, "1,234,567.89"), (99_900, "999.00"), (100_000, "1,000.00")]
        {
            assert_eq!(money(minor), text);
        }
        assert_eq!((count(7).as_str(), count(1150).as_str(), count(1_000_000).as_str()), ("7", "1,150", "1,000,000"));
    }
}
