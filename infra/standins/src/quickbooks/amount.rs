//! Amounts on the wire: JSON numbers in major units, read and written as digits.
//!
//! Must not: pass through a float.

/// Minor units of a decimal number with at most two decimals; None for anything else (an exponent, a third decimal).
#[must_use]
pub fn minor_of(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (major, decimals) = match digits.split_once('.') {
        Some((_, decimals)) if decimals.is_empty() || decimals.len() > 2 => return None,
        Some((major, decimals)) => (major, decimals),
        None => (digits, ""),
    };
    if major.is_empty() || !major.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let minor: i64 = format!("{decimals:0<2}").parse().ok()?;
    major.parse::<i64>().ok()?.checked_mul(100)?.checked_add(minor)?.checked_mul(sign)
}

/// The decimal number with two decimals.
#[must_use]
pub fn text_of_minor(amount_minor: i64) -> String {
    let (sign, abs) = (if amount_minor < 0 { "-" } else { "" }, amount_minor.unsigned_abs());
    format!("{sign}{}.{:02}", abs.checked_div(100).unwrap_or(0), abs.checked_rem(100).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_as_digits() {
        let cases = [
            ("42", Some(4200)),
            ("42.5", Some(4250)),
            ("233.61", Some(23_361)),
            ("-0.07", Some(-7)),
            ("0.1", Some(10)),
            ("42.000", None),
            ("42.", None),
            (".5", None),
            ("4.2e1", None),
            ("\"42\"", None),
            ("", None),
            ("92233720368547758.08", None),
        ];
        for (text, want) in cases {
            assert_eq!(minor_of(text), want, "{text}");
        }
        for (minor, text) in [(4200, "42.00"), (-7, "-0.07"), (0, "0.00"), (23_361, "233.61")] {
            assert_eq!(text_of_minor(minor), text);
        }
    }
}
