//! Numbers and texts in as few bytes as they need, for what a long backtest keeps of what is over.
//!
//! Only in memory, never stored, so the form may change. Must not: know what is written.

use crate::money::{Currency, Minor};
use jiff::Timestamp;

/// Writes values one after the other.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// What was written.
    #[must_use]
    pub fn finish(self) -> Box<[u8]> {
        self.0.into_boxed_slice()
    }

    /// A number; small ones take one byte.
    pub fn number(&mut self, mut n: u64) {
        loop {
            let [low, ..] = n.to_le_bytes();
            n = n.wrapping_shr(7);
            if n == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    /// A number of either sign; small ones of either take one byte.
    pub fn signed(&mut self, n: i64) {
        self.number(n.wrapping_shl(1).cast_unsigned() ^ n.wrapping_shr(63).cast_unsigned());
    }

    /// A length or a place.
    pub fn count(&mut self, n: usize) {
        self.number(u64::try_from(n).unwrap_or(u64::MAX));
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A text of which the reader knows a similar one: only the end that differs.
    pub fn text_like(&mut self, text: &str, known: &str) {
        let same = text.char_indices().zip(known.chars()).take_while(|((_, a), b)| a == b).last();
        let same = same.map_or(0, |((at, c), _)| at.saturating_add(c.len_utf8()));
        self.count(same);
        self.text(text.get(same..).unwrap_or_default());
    }

    /// Up to eight flags.
    pub fn flags(&mut self, flags: &[bool]) {
        self.0.push(flags.iter().fold(0, |byte, flag| byte.wrapping_shl(1) | u8::from(*flag)));
    }

    /// An amount.
    pub fn amount(&mut self, amount: Minor) {
        self.signed(amount.get());
    }

    /// A currency.
    pub fn currency(&mut self, currency: Currency) {
        let usual = currency == Currency::USD;
        self.flags(&[usual]);
        if !usual {
            self.text(currency.as_str());
        }
    }

    /// A time near another one that the reader knows.
    pub fn time_near(&mut self, time: Timestamp, known: Timestamp) {
        self.signed(time.as_second().wrapping_sub(known.as_second()));
        self.signed(i64::from(time.subsec_nanosecond()));
    }
}

/// Reads the values back in the order in which they were written; None where something else was written.
#[derive(Debug)]
pub struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    /// Reads from the start.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Reader(bytes)
    }

    /// Whether all was read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// See [`Writer::number`].
    pub fn number(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        let mut shift = 0_u32;
        loop {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Some(n);
            }
            shift = shift.checked_add(7)?;
        }
    }

    /// See [`Writer::signed`].
    pub fn signed(&mut self) -> Option<i64> {
        let n = self.number()?;
        Some(n.wrapping_shr(1).cast_signed() ^ (n & 1).cast_signed().wrapping_neg())
    }

    /// See [`Writer::count`].
    pub fn count(&mut self) -> Option<usize> {
        self.number()?.try_into().ok()
    }

    /// See [`Writer::text`].
    pub fn text(&mut self) -> Option<&'b str> {
        let length = self.count()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// See [`Writer::text_like`].
    pub fn text_like(&mut self, known: &str) -> Option<String> {
        let same = self.count()?;
        Some([known.get(..same)?, self.text()?].concat())
    }

    /// See [`Writer::flags`]: as many as were written.
    pub fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let byte = self.byte()?;
        let mut flags = [false; N];
        for (n, flag) in flags.iter_mut().rev().enumerate() {
            *flag = byte.wrapping_shr(u32::try_from(n).ok()?) & 1 == 1;
        }
        Some(flags)
    }

    /// See [`Writer::amount`].
    pub fn amount(&mut self) -> Option<Minor> {
        Minor::new(self.signed()?).ok()
    }

    /// See [`Writer::currency`].
    pub fn currency(&mut self) -> Option<Currency> {
        if self.flags::<1>()? == [true] { Some(Currency::USD) } else { Currency::parse(self.text()?).ok() }
    }

    /// See [`Writer::time_near`].
    pub fn time_near(&mut self, known: Timestamp) -> Option<Timestamp> {
        let second = known.as_second().wrapping_add(self.signed()?);
        Timestamp::new(second, self.signed()?.try_into().ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let numbers = [0, 1, 63, 64, 127, 128, 16_383, 16_384, i64::MAX, -1, -64, -65, i64::MIN];
        let texts = ["", "a", "ab", "abc", "é", "aé", "aè", "日本", "pi_3sKi", "ch_3sKi"];
        let time: Timestamp = "1969-12-31T23:59:59.5Z".parse().unwrap();
        let near: Timestamp = "2026-11-21T15:00:00.999999999Z".parse().unwrap();
        let mut out = Writer::default();
        for n in numbers {
            out.signed(n);
            out.number(n.cast_unsigned());
        }
        for a in texts {
            for b in texts {
                out.text(a);
                out.text_like(a, b);
            }
        }
        out.flags(&[true, false, true, true, false, false, true, false]);
        out.currency(Currency::USD);
        out.currency(Currency::parse("eur").unwrap());
        out.time_near(time, near);
        let bytes = out.finish();
        let mut read = Reader::new(&bytes);
        for n in numbers {
            assert_eq!((read.signed(), read.number()), (Some(n), Some(n.cast_unsigned())));
        }
        for a in texts {
            for b in texts {
                assert_eq!((read.text(), read.text_like(b).as_deref()), (Some(a), Some(a)));
            }
        }
        assert_eq!(read.flags(), Some([true, false, true, true, false, false, true, false]));
        assert_eq!((read.currency(), read.currency()), (Some(Currency::USD), Currency::parse("eur").ok()));
        assert!(!read.is_at_end());
        assert_eq!(read.time_near(near), Some(time));
        assert!(read.is_at_end() && read.number().is_none() && read.text().is_none() && read.flags::<1>().is_none());
    }
}
