//! Reads keys out of a TOML text and collects every problem with its line. What was asked for is what is known; the rest is an error.
//!
//! Must not: know what any key means.

use super::errors::{SettingsError, SettingsErrors};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The names of the secrets: somebody may try to put one into the file.
pub(super) const SECRET_NAMES: [&str; 6] = [
    "STRIPE_API_KEY",
    "STRIPE_WEBHOOK_SECRETS",
    "EHR_BRIDGE_SECRETS",
    "QUICKBOOKS_CLIENT_ID",
    "QUICKBOOKS_CLIENT_SECRET",
    "QUICKBOOKS_REFRESH_TOKEN",
];

/// The longest piece of the file that a message shows, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// A key, what it must look like, and an example of it (the remedy).
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// With its sections: `ehr.poll_s`.
    pub path: &'static str,
    /// Completes "expected ...".
    pub expected: &'static str,
    /// As it would stand in the file, after `=`.
    pub example: &'static str,
}

/// What a key gave.
pub(super) enum Got<T> {
    /// It is not there.
    Absent,
    /// It is there and wrong, which has been reported.
    Bad,
    /// Its value.
    Value(T),
}

impl<T> Got<T> {
    /// The value, or the default where it is absent or wrong (then the settings are refused anyway).
    pub fn or(self, default: T) -> T {
        self.value().unwrap_or(default)
    }

    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Got::Value(v) => Some(v),
            Got::Absent | Got::Bad => None,
        }
    }
}

/// A TOML document that is being read.
pub(super) struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    root: &'t DeTable<'t>,
    /// Every key and section that was asked for; true = a section.
    known: BTreeMap<String, bool>,
    errors: Vec<SettingsError>,
}

impl<'t> Reader<'t> {
    pub fn new(file: &'t str, text: &'t str, root: &'t DeTable<'t>) -> Self {
        Self { file, text, root, known: BTreeMap::new(), errors: Vec::new() }
    }

    /// The errors of a text that is no TOML.
    pub fn syntax_errors(file: &str, text: &str, errors: &[toml::de::Error]) -> SettingsErrors {
        let error = |e: &toml::de::Error| SettingsError {
            file: Some(file.to_owned()),
            line: e.span().map(|span| line_at(text, span.start)),
            // toml's message says what it expected there and quotes nothing of the file but a literal of TOML itself.
            problem: format!("this is no TOML: {}: correct this line", e.message().replace('\n', ", ")),
        };
        let mut errors: Vec<SettingsError> = errors.iter().map(error).collect();
        errors.dedup();
        SettingsErrors(errors)
    }

    /// The line of a key that is there.
    pub fn line_of(&self, path: &str) -> Option<usize> {
        self.find(path).map(|(line, _)| line)
    }

    /// Reports a problem with a key: `what` completes "key `path` ...".
    pub fn report(&mut self, path: &str, line: Option<usize>, what: &str) {
        self.errors.push(SettingsError { file: Some(self.file.to_owned()), line, problem: format!("key `{path}` {what}") });
    }

    fn find(&self, path: &str) -> Option<(usize, &'t DeValue<'t>)> {
        let mut table = self.root;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let (key, value) = table.get_key_value(part)?;
            match (parts.peek(), value.get_ref()) {
                (None, found) => return Some((line_at(self.text, key.span().start), found)),
                (Some(_), DeValue::Table(inner)) => table = inner,
                (Some(_), _) => return None,
            }
        }
        None
    }

    /// The value of a key, which is known from now on, as are its sections.
    pub fn entry(&mut self, path: &str) -> Option<(usize, &'t DeValue<'t>)> {
        for (at, _) in path.match_indices('.') {
            self.known.insert(path.get(..at).unwrap_or_default().to_owned(), true);
        }
        self.known.insert(path.to_owned(), false);
        self.find(path)
    }

    /// Reports a value of the wrong type.
    pub fn wrong_type(&mut self, key: Key, line: usize, found: &DeValue<'_>) {
        let what = format!("is {}, expected {}: write {}", type_of(found), key.expected, written(key));
        self.report(key.path, Some(line), &what);
    }

    /// A text that `parse` accepts. A refused value is shown, cut.
    pub fn text<T>(&mut self, key: Key, parse: impl FnOnce(&str) -> Option<T>) -> Got<T> {
        let Some((line, found)) = self.entry(key.path) else { return Got::Absent };
        let DeValue::String(text) = found else {
            self.wrong_type(key, line, found);
            return Got::Bad;
        };
        match parse(text) {
            Some(value) => Got::Value(value),
            None => {
                let what = format!("is \"{}\", expected {}: write {}", shown(text), key.expected, written(key));
                self.report(key.path, Some(line), &what);
                Got::Bad
            }
        }
    }

    /// One of some words.
    pub fn word<T: Copy>(&mut self, path: &'static str, words: &[(&'static str, T)]) -> Got<T> {
        let Some((line, found)) = self.entry(path) else { return Got::Absent };
        if let DeValue::String(text) = found
            && let Some((_, value)) = words.iter().find(|(word, _)| word == text)
        {
            return Got::Value(*value);
        }
        let found = if let DeValue::String(text) = found { format!("\"{}\"", shown(text)) } else { type_of(found).to_owned() };
        let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.report(path, Some(line), &format!("is {found}, expected {}", all.join(" or ")));
        Got::Bad
    }

    /// A whole number within a range.
    pub fn number(&mut self, path: &'static str, range: RangeInclusive<u32>) -> Got<u32> {
        let Some((line, found)) = self.entry(path) else { return Got::Absent };
        if let Some(n) = whole(found).filter(|n| range.contains(n)) {
            return Got::Value(n);
        }
        let found = if let DeValue::Integer(n) = found { shown(n.as_str()) } else { type_of(found).to_owned() };
        self.report(path, Some(line), &format!("is {found}, expected a whole number from {} to {}", range.start(), range.end()));
        Got::Bad
    }

    /// `true` or `false`.
    pub fn flag(&mut self, path: &'static str) -> Got<bool> {
        match self.entry(path) {
            None => Got::Absent,
            Some((_, DeValue::Boolean(value))) => Got::Value(*value),
            Some((line, found)) => {
                self.report(path, Some(line), &format!("is {}, expected true or false, without quotes", type_of(found)));
                Got::Bad
            }
        }
    }

    /// A list whose every entry `parse` accepts.
    pub fn list<T>(&mut self, key: Key, parse: impl Fn(&DeValue<'_>) -> Option<T>) -> Got<Vec<T>> {
        let Some((line, found)) = self.entry(key.path) else { return Got::Absent };
        let DeValue::Array(entries) = found else {
            self.wrong_type(key, line, found);
            return Got::Bad;
        };
        match entries.iter().map(|e| parse(e.get_ref())).collect() {
            Some(all) => Got::Value(all),
            None => {
                self.report(key.path, Some(line), &format!("is not {}: write {}", key.expected, written(key)));
                Got::Bad
            }
        }
    }

    /// The value of a key that has no default; where it is absent and `needed`, that is reported.
    pub fn required<T>(&mut self, key: Key, needed: bool, got: Got<T>) -> Option<T> {
        if matches!(got, Got::Absent) && needed {
            let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
            let line = self.line_of(section);
            let what = format!("is missing, expected {}: add {name} = {} under [{section}]", key.expected, key.example);
            self.report(key.path, line, &what);
        }
        got.value()
    }

    /// Reports every key and section that nobody asked for; then all problems, if there are any.
    pub fn finish(mut self) -> Result<(), SettingsErrors> {
        self.check_unknown(self.root, "");
        self.errors.sort_by_key(|e| e.line);
        if self.errors.is_empty() { Ok(()) } else { Err(SettingsErrors(self.errors)) }
    }

    fn check_unknown(&mut self, table: &'t DeTable<'t>, prefix: &str) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            let line = Some(line_at(self.text, key.span().start));
            match (self.known.get(&path), value.get_ref()) {
                (Some(true), DeValue::Table(inner)) => self.check_unknown(inner, &path),
                (Some(true), other) => {
                    self.report(
                        &path,
                        line,
                        &format!("is {}, expected a section: write [{path}] on a line of its own", type_of(other)),
                    );
                }
                (Some(false), _) => {}
                (None, _) => self.report_unknown(prefix, key, value, line),
            }
        }
    }

    fn report_unknown(
        &mut self,
        prefix: &str,
        key: &Spanned<toml::de::DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
        line: Option<usize>,
    ) {
        let (name, noun) = (key.get_ref().as_ref(), if value.get_ref().is_table() { "section" } else { "key" });
        let path = shown(&if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") });
        let remedy = if SECRET_NAMES.iter().any(|s| s.eq_ignore_ascii_case(name)) {
            "a secret never stands in this file: remove it and set it in the environment".to_owned()
        } else {
            self.suggestion(prefix, name)
        };
        let problem = format!("{noun} `{path}` is unknown, {remedy}");
        self.errors.push(SettingsError { file: Some(self.file.to_owned()), line, problem });
    }

    /// The key of the same name in another section, or the nearest of this one, or else all of this one.
    fn suggestion(&self, prefix: &str, name: &str) -> String {
        let leaf = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        if let Some(elsewhere) = self.known.keys().find(|k| leaf(k) == name) {
            return format!("did you mean `{elsewhere}`?");
        }
        let here: Vec<String> =
            self.known.keys().filter(|k| k.rsplit_once('.').map_or("", |(p, _)| p) == prefix).map(|k| leaf(k)).collect();
        let nearest = here.iter().map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
        match nearest {
            // At most half of it may be typed wrongly: else the guess would only mislead.
            Some((distance, known)) if distance.saturating_mul(2) <= known.len().max(name.len()) => {
                format!("did you mean `{known}`?")
            }
            _ => format!("known here: {}", here.join(", ")),
        }
    }
}

/// A whole number that fits.
pub(super) fn whole(value: &DeValue<'_>) -> Option<u32> {
    let DeValue::Integer(n) = value else { return None };
    u32::from_str_radix(n.as_str(), n.radix()).ok()
}

fn line_at(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|b| *b == b'\n').count().saturating_add(1)
}

fn written(key: Key) -> String {
    format!("{} = {}", key.path.rsplit('.').next().unwrap_or_default(), key.example)
}

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if cut.len() < text.len() { format!("{cut}...") } else { cut }
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
