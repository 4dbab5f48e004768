//! Money: integer minor units with their currency.
//!
//! Must not: touch a float, or let an amount in that is outside [`Minor::LIMIT`].

use serde::{Deserialize, Serialize};
use std::fmt;

/// An amount in minor units (cents). The currency stands beside it, in the record that holds it.
///
/// Every amount from outside passes [`Minor::new`], which refuses more than [`Minor::LIMIT`] either way.
/// Sums are checked against `i64` and saturate there: with the limit it takes nine million terms to get near it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Minor(i64);

/// An amount that no therapy practice has: refused at the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount {0} is outside ±1,000,000,000,000 minor units")]
pub struct AmountOutOfRange(pub i64);

impl Minor {
    /// Nothing.
    pub const ZERO: Minor = Minor(0);
    /// The largest amount accepted from outside, in minor units.
    pub const LIMIT: i64 = 1_000_000_000_000;

    /// An amount from outside.
    ///
    /// # Errors
    /// [`AmountOutOfRange`] beyond [`Minor::LIMIT`].
    pub const fn new(amount_minor: i64) -> Result<Minor, AmountOutOfRange> {
        if amount_minor > Self::LIMIT || amount_minor < -Self::LIMIT {
            return Err(AmountOutOfRange(amount_minor));
        }
        Ok(Minor(amount_minor))
    }

    /// The number of minor units.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// `self + other`.
    #[must_use]
    pub const fn plus(self, other: Minor) -> Minor {
        Minor(self.0.saturating_add(other.0))
    }

    /// `self - other`.
    #[must_use]
    pub const fn minus(self, other: Minor) -> Minor {
        Minor(self.0.saturating_sub(other.0))
    }

    /// `-self`.
    #[must_use]
    pub const fn negated(self) -> Minor {
        Minor(self.0.saturating_neg())
    }

    /// `self`, or zero when it is negative.
    #[must_use]
    pub fn or_zero(self) -> Minor {
        self.max(Minor::ZERO)
    }

    /// More than nothing.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Nothing at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum of all.
    pub fn sum(all: impl IntoIterator<Item = Minor>) -> Minor {
        all.into_iter().fold(Minor::ZERO, Minor::plus)
    }
}

impl TryFrom<i64> for Minor {
    type Error = AmountOutOfRange;
    fn try_from(v: i64) -> Result<Self, AmountOutOfRange> {
        Minor::new(v)
    }
}

impl From<Minor> for i64 {
    fn from(m: Minor) -> i64 {
        m.0
    }
}

impl fmt::Display for Minor {
    /// Major units with two decimals, as people read them: `42.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, abs) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let (major, minor) = (abs.checked_div(100).unwrap_or(0), abs.checked_rem(100).unwrap_or(0));
        write!(f, "{sign}{major}.{minor:02}")
    }
}

/// An ISO 4217 code in lower case, as Stripe writes it: `usd`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Not three letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three letters, such as usd")]
pub struct BadCurrency;

impl Currency {
    /// US dollars, the default of `practice.currency`.
    pub const USD: Currency = Currency(*b"usd");

    /// Reads three letters of either case.
    ///
    /// # Errors
    /// [`BadCurrency`] for anything else.
    pub fn parse(text: &str) -> Result<Currency, BadCurrency> {
        let bytes: [u8; 3] = text.as_bytes().try_into().map_err(|_| BadCurrency)?;
        if !bytes.iter().all(u8::is_ascii_alphabetic) {
            return Err(BadCurrency);
        }
        Ok(Currency(bytes.map(|b| b.to_ascii_lowercase())))
    }

    /// The code in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl TryFrom<String> for Currency {
    type Error = BadCurrency;
    fn try_from(v: String) -> Result<Self, BadCurrency> {
        Currency::parse(&v)
    }
}

impl From<Currency> for String {
    fn from(c: Currency) -> String {
        c.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
