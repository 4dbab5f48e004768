//! Reads JSON objects of an outside system field by field: a bad field spoils only what needs it.
//!
//! A value stays text until it is asked for, so numbers never pass through a float, and depth costs no stack.
//! Must not: put a value into a [`Problem`], only the name of the field and what is wrong with it.

use jiff::Timestamp;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use vesper_core::ids::ID_BYTES_MAX;
use vesper_core::money::{Currency, Minor};

/// What is wrong with which field, such as `amount_received is text`. No value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {wrong}")]
pub(super) struct Problem {
    field: &'static str,
    wrong: &'static str,
}

impl Problem {
    pub(super) const fn new(field: &'static str, wrong: &'static str) -> Self {
        Self { field, wrong }
    }
}

/// A JSON object whose values are not read yet. Of a repeated key the last value counts.
#[derive(Clone)]
pub(super) struct Obj<'a>(BTreeMap<String, &'a RawValue>);

/// What kind of value it is, in words for a [`Problem`].
fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'"') => "is text",
        Some(b'{') => "is an object",
        Some(b'[') => "is a list",
        Some(b't' | b'f') => "is true or false",
        Some(b'n') => "is null",
        _ => "is a number",
    }
}

/// A JSON string as text; None for any other value.
fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A word of a vendor's own vocabulary (a code, a status, an event type), safe to store and to log.
/// Anything that does not look like one becomes `unrecognised`: it is there, and not among the known ones.
pub(super) fn word(text: &str) -> String {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':' | b'[' | b']');
    if text.is_empty() || text.len() > 100 || !text.bytes().all(fits) {
        return "unrecognised".to_owned();
    }
    text.to_owned()
}

impl<'a> Obj<'a> {
    /// Reads an object; None for anything else.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// The value, null included.
    fn raw(&self, field: &str) -> Option<&'a RawValue> {
        self.0.get(field).copied()
    }

    /// The value; None when it is absent or null.
    fn present(&self, field: &str) -> Option<&'a RawValue> {
        self.raw(field).filter(|v| v.get() != "null")
    }

    /// The same object; where `field` is absent or null, it has the other's.
    pub(super) fn with_missing(mut self, field: &str, other: &Obj<'a>) -> Self {
        if let (false, Some(value)) = (self.given(field), other.raw(field)) {
            self.0.insert(field.to_owned(), value);
        }
        self
    }

    /// Whether the key is there, null included.
    pub(super) fn has(&self, field: &str) -> bool {
        self.raw(field).is_some()
    }

    /// A string; None for anything else.
    pub(super) fn text(&self, field: &str) -> Option<String> {
        self.present(field).and_then(text_of)
    }

    /// Whether the key is there with a value other than null.
    pub(super) fn given(&self, field: &str) -> bool {
        self.present(field).is_some()
    }

    /// A vendor's word, see [`word`]; None when it is absent, null or blank. A word that is there is never read as absent.
    pub(super) fn word(&self, field: &str) -> Option<String> {
        let value = self.present(field)?;
        let text = text_of(value).unwrap_or_else(|| value.get().to_owned());
        (!text.trim().is_empty()).then(|| word(text.trim()))
    }

    /// A list of a vendor's words, see [`word`]; `*` stays.
    pub(super) fn words(&self, field: &'static str) -> Result<Vec<String>, Problem> {
        let value = self.raw(field).ok_or(Problem::new(field, "is missing"))?;
        let items: Vec<String> = serde_json::from_str(value.get()).map_err(|_| Problem::new(field, "is no list of texts"))?;
        Ok(items.into_iter().map(|text| if text == "*" { text } else { word(&text) }).collect())
    }

    /// A boolean; None for anything else.
    pub(super) fn flag(&self, field: &str) -> Option<bool> {
        match self.raw(field)?.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// An object; None for anything else.
    pub(super) fn object(&self, field: &str) -> Option<Obj<'a>> {
        self.raw(field).and_then(|v| Obj::parse(v.get()))
    }

    /// An object; None when it is absent or null.
    pub(super) fn object_if_any(&self, field: &'static str) -> Result<Option<Obj<'a>>, Problem> {
        self.present(field).map(|v| Obj::parse(v.get()).ok_or(Problem::new(field, kind(v)))).transpose()
    }

    /// A list of objects; None when it is absent or null.
    pub(super) fn objects_if_any(&self, field: &'static str) -> Result<Option<Vec<Obj<'a>>>, Problem> {
        let Some(value) = self.present(field) else { return Ok(None) };
        let items: Vec<&'a RawValue> = serde_json::from_str(value.get()).map_err(|_| Problem::new(field, kind(value)))?;
        let objects =
            items.into_iter().map(|v| Obj::parse(v.get()).ok_or(Problem::new(field, "holds something else than objects")));
        objects.collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// What a person typed: text as it is, a number as its text; None when absent or null.
    pub(super) fn typed(&self, key: &str, field: &'static str) -> Result<Option<String>, Problem> {
        let Some(value) = self.present(key) else { return Ok(None) };
        match kind(value) {
            "is text" => text_of(value).map(Some).ok_or(Problem::new(field, "is text that cannot be read")),
            "is a number" => Ok(Some(value.get().to_owned())),
            other => Err(Problem::new(field, other)),
        }
    }

    /// A whole number.
    fn integer(&self, field: &'static str) -> Result<i64, Problem> {
        let value = self.raw(field).ok_or(Problem::new(field, "is missing"))?;
        if kind(value) != "is a number" {
            return Err(Problem::new(field, kind(value)));
        }
        let whole = !value.get().contains(['.', 'e', 'E']);
        value.get().parse().map_err(|_| Problem::new(field, if whole { "is out of range" } else { "is not a whole number" }))
    }

    /// An amount in minor units, of either sign.
    pub(super) fn signed_amount(&self, field: &'static str) -> Result<Minor, Problem> {
        Minor::new(self.integer(field)?).map_err(|_| Problem::new(field, "is out of range"))
    }

    /// An amount in minor units, zero or more.
    pub(super) fn amount(&self, field: &'static str) -> Result<Minor, Problem> {
        let amount = self.signed_amount(field)?;
        if amount < Minor::ZERO { Err(Problem::new(field, "is negative")) } else { Ok(amount) }
    }

    /// A currency code.
    pub(super) fn currency(&self, field: &'static str) -> Result<Currency, Problem> {
        let value = self.raw(field).ok_or(Problem::new(field, "is missing"))?;
        let text = text_of(value).ok_or(Problem::new(field, kind(value)))?;
        Currency::parse(&text).map_err(|_| Problem::new(field, "is no currency code"))
    }

    /// A time: Unix seconds, or RFC 3339 text (thin events, facts/stripe.md section 1).
    pub(super) fn time(&self, field: &'static str) -> Result<Timestamp, Problem> {
        let bad = Problem::new(field, "is no time");
        match self.text(field) {
            Some(text) => text.parse().map_err(|_| bad),
            None => Timestamp::from_second(self.integer(field)?).map_err(|_| bad),
        }
    }

    /// The id of a related object: text, or an expanded object with an `id`; None when it is absent or null.
    pub(super) fn id_if_any<T: TryFrom<String>>(&self, field: &'static str) -> Result<Option<T>, Problem> {
        let Some(value) = self.present(field) else { return Ok(None) };
        let text = match kind(value) {
            "is text" => text_of(value),
            "is an object" => {
                let id = Obj::parse(value.get()).and_then(|o| o.text("id"));
                Some(id.ok_or(Problem::new(field, "is an object without an id"))?)
            }
            other => return Err(Problem::new(field, other)),
        };
        text.and_then(|t| T::try_from(t).ok()).map(Some).ok_or(Problem::new(field, "is no id"))
    }

    /// The same, and it must be there.
    pub(super) fn id<T: TryFrom<String>>(&self, field: &'static str) -> Result<T, Problem> {
        self.id_if_any(field)?.ok_or(Problem::new(field, if self.has(field) { "is null" } else { "is missing" }))
    }
}

/// An id of a kind that has no type of its own, such as a payment method's.
pub(super) struct AnyId(pub(super) String);

impl TryFrom<String> for AnyId {
    type Error = ();
    fn try_from(text: String) -> Result<Self, ()> {
        let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obj(text: &str) -> Obj<'_> {
        Obj::parse(text).unwrap()
    }

    #[test]
    fn an_amount_is_a_whole_number_in_range_or_a_problem_that_names_the_field() {
        let limit = Minor::LIMIT;
        for (json, want) in [
            (r#"{"amount":4200}"#, Ok(4200)),
            (r#"{"amount":0}"#, Ok(0)),
            (&format!(r#"{{"amount":{limit}}}"#), Ok(limit)),
            (&format!(r#"{{"amount":{limit}0}}"#), Err("amount is out of range")),
            (r#"{"amount":1,"amount":2}"#, Ok(2)),
            (r#"{"amount":-1}"#, Err("amount is negative")),
            (r#"{"amount":"4200"}"#, Err("amount is text")),
            (r#"{"amount":42.5}"#, Err("amount is not a whole number")),
            (r#"{"amount":42.0}"#, Err("amount is not a whole number")),
            (r#"{"amount":1e400}"#, Err("amount is not a whole number")),
            (r#"{"amount":9223372036854775808}"#, Err("amount is out of range")),
            (r#"{"amount":null}"#, Err("amount is null")),
            (r#"{"amount":[4200]}"#, Err("amount is a list")),
            (r#"{"amount":{}}"#, Err("amount is an object")),
            (r#"{"amount":true}"#, Err("amount is true or false")),
            ("{}", Err("amount is missing")),
        ] {
            let got = obj(json).amount("amount").map(Minor::get).map_err(|p| p.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{json}");
        }
    }

    #[test]
    fn an_id_is_text_or_an_expanded_object() {
        for (json, want) in [
            (r#"{"x":"a"}"#, Ok(Some("a"))),
            (r#"{"x": {"id": "a", "name": "Ada"} }"#, Ok(Some("a"))),
            (r#"{"x":null}"#, Ok(None)),
            ("{}", Ok(None)),
            (r#"{"x":{"id":7}}"#, Err("x is an object without an id")),
            (r#"{"x":7}"#, Err("x is a number")),
            (r#"{"x":""}"#, Err("x is no id")),
            (r#"{"x":"\ud800"}"#, Err("x is no id")),
        ] {
            let got = obj(json).id_if_any::<AnyId>("x").map(|id| id.map(|i| i.0)).map_err(|p| p.to_string());
            assert_eq!(got, want.map(|w| w.map(str::to_owned)).map_err(str::to_owned), "{json}");
        }
    }

    #[test]
    fn a_word_that_is_there_is_never_read_as_absent() {
        for (json, want) in [
            (r#"{"code":"expired_card"}"#, Some("expired_card")),
            (r#"{"code":3}"#, Some("3")),
            (r#"{"code":{"a":1}}"#, Some("unrecognised")),
            (r#"{"code":" "}"#, None),
            (r#"{"code":null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(obj(json).word("code").as_deref(), want, "{json}");
        }
    }

    #[test]
    fn a_time_is_unix_seconds_or_text() {
        for (json, want) in [
            (r#"{"t":1795190400}"#, Some(1_795_190_400)),
            (r#"{"t":"2026-11-20T16:00:00.000Z"}"#, Some(1_795_190_400)),
            (r#"{"t":"soon"}"#, None),
            (r#"{"t":9223372036854775807}"#, None),
            (r#"{"t":1.5}"#, None),
            ("{}", None),
        ] {
            assert_eq!(obj(json).time("t").ok().map(Timestamp::as_second), want, "{json}");
        }
    }

    #[test]
    fn a_word_never_carries_free_text() {
        for (text, want) in [
            ("insufficient_funds", "insufficient_funds"),
            ("v1.payment_intent.succeeded", "v1.payment_intent.succeeded"),
            ("ada@example.org", "unrecognised"),
            ("Ada Lovelace", "unrecognised"),
            ("", "unrecognised"),
        ] {
            assert_eq!(word(text), want);
        }
    }
}
