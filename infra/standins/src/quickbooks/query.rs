//! The subset of QuickBooks' query language that the stand-in speaks: one entity, conditions joined by AND, an order, a page.
//!
//! Must not: guess. What it cannot read is Fault 4001, and noted.

use super::amount::minor_of;
use crate::faults::matches;
use jiff::Timestamp;
use std::cmp::Ordering;

/// The entities that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    JournalEntry,
    Transfer,
    Account,
    CompanyInfo,
    Preferences,
}

impl Entity {
    const ALL: [Entity; 5] = [Entity::JournalEntry, Entity::Transfer, Entity::Account, Entity::CompanyInfo, Entity::Preferences];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Entity::JournalEntry => "JournalEntry",
            Entity::Transfer => "Transfer",
            Entity::Account => "Account",
            Entity::CompanyInfo => "CompanyInfo",
            Entity::Preferences => "Preferences",
        }
    }

    pub(super) fn of(name: &str) -> Option<Entity> {
        Entity::ALL.into_iter().find(|e| e.name().eq_ignore_ascii_case(name))
    }

    /// What can stand in a condition (facts/quickbooks.md A5).
    const fn queryable(self) -> &'static [&'static str] {
        match self {
            Entity::JournalEntry => &["Id", "DocNumber", "TxnDate", "MetaData.CreateTime", "MetaData.LastUpdatedTime"],
            Entity::Transfer => &["Id", "TxnDate", "Amount", "MetaData.CreateTime", "MetaData.LastUpdatedTime"],
            Entity::Account => &["Id", "Name", "Active", "AccountType"],
            Entity::CompanyInfo | Entity::Preferences => &[],
        }
    }
}

/// A value that a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Text(String),
    Minor(i64),
    Time(Timestamp),
}

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    property: String,
    operator: String,
    values: Vec<String>,
}

/// A query, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub entity: Entity,
    pub count: bool,
    conditions: Vec<Condition>,
    /// Property and whether descending. QuickBooks' own order is by id, descending.
    pub order: Option<(String, bool)>,
    /// Counted from 1.
    pub start_position: usize,
    pub max_results: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            continue;
        } else if c == '\'' {
            let mut value = String::new();
            loop {
                match chars.next()? {
                    '\'' => break,
                    '\\' => value.push(chars.next()?),
                    other => value.push(other),
                }
            }
            out.push(Token::Text(value));
        } else if "=<>!,()*".contains(c) {
            let mut sign = c.to_string();
            if matches!(c, '<' | '>' | '!') {
                sign.extend(chars.next_if_eq(&'='));
            }
            out.push(Token::Sign(sign));
        } else {
            let mut word = c.to_string();
            while let Some(next) = chars.next_if(|n| n.is_alphanumeric() || "._-:+".contains(*n)) {
                word.push(next);
            }
            out.push(Token::Word(word));
        }
    }
    Some(out)
}

struct Reader {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Reader {
    fn keyword(&mut self, word: &str) -> bool {
        self.tokens.next_if(|t| matches!(t, Token::Word(w) if w.eq_ignore_ascii_case(word))).is_some()
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.tokens.next_if(|t| matches!(t, Token::Sign(s) if s == sign)).is_some()
    }

    fn word(&mut self) -> Option<String> {
        match self.tokens.next()? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn literal(&mut self) -> Option<String> {
        match self.tokens.next()? {
            Token::Word(value) | Token::Text(value) => Some(value),
            Token::Sign(_) => None,
        }
    }

    fn number(&mut self) -> Option<usize> {
        self.word()?.parse().ok()
    }

    /// `*`, `count(*)` or names; whether it is the count.
    fn selection(&mut self) -> Option<bool> {
        if self.sign("*") {
            return Some(false);
        }
        if self.word()?.eq_ignore_ascii_case("count") && self.sign("(") {
            return (self.sign("*") && self.sign(")")).then_some(true);
        }
        while self.sign(",") {
            self.word()?;
        }
        Some(false)
    }

    fn condition(&mut self) -> Option<Condition> {
        let property = self.word()?;
        let operator = match self.tokens.next()? {
            Token::Sign(sign) if ["=", "<", ">", "<=", ">="].contains(&sign.as_str()) => sign,
            Token::Word(word) if ["in", "like"].contains(&word.to_ascii_lowercase().as_str()) => word.to_ascii_lowercase(),
            _ => return None,
        };
        if operator != "in" {
            return Some(Condition { property, operator, values: vec![self.literal()?] });
        }
        let mut values = Vec::new();
        if !self.sign("(") {
            return None;
        }
        loop {
            values.push(self.literal()?);
            if self.sign(")") {
                return Some(Condition { property, operator, values });
            }
            if !self.sign(",") {
                return None;
            }
        }
    }
}

/// Reads a query.
///
/// # Errors
/// The detail of Fault 4001.
pub(super) fn read(text: &str) -> Result<Query, String> {
    let parsed = tokens(text).and_then(|t| parse(Reader { tokens: t.into_iter().peekable() }));
    let query = parsed.ok_or("QueryParserError: the query cannot be read")?;
    let known = query.entity.queryable();
    match query.conditions.iter().find(|c| !known.contains(&c.property.as_str())) {
        Some(c) => Err(format!("QueryValidationError: property '{}' is not queryable on {}", c.property, query.entity.name())),
        None => Ok(query),
    }
}

fn parse(mut r: Reader) -> Option<Query> {
    if !r.keyword("select") {
        return None;
    }
    let count = r.selection()?;
    if !r.keyword("from") {
        return None;
    }
    let entity = Entity::of(&r.word()?)?;
    let mut conditions = Vec::new();
    if r.keyword("where") {
        conditions.push(r.condition()?);
        while r.keyword("and") {
            conditions.push(r.condition()?);
        }
    }
    let in_two_words = r.keyword("order");
    if in_two_words && !r.keyword("by") {
        return None;
    }
    let order = if in_two_words || r.keyword("orderby") {
        let property = r.word()?;
        let descending = r.keyword("desc");
        let _ = !descending && r.keyword("asc");
        Some((property, descending))
    } else {
        None
    };
    let start_position = if r.keyword("startposition") { r.number()? } else { 1 };
    let max_results = if r.keyword("maxresults") { r.number()? } else { 100 };
    let whole = r.tokens.next().is_none() && start_position >= 1 && (1..=1000).contains(&max_results);
    whole.then_some(Query { entity, count, conditions, order, start_position, max_results })
}

impl Query {
    /// Whether a row meets every condition.
    pub(super) fn holds(&self, field: impl Fn(&str) -> Option<Field>) -> bool {
        self.conditions.iter().all(|c| field(&c.property).is_some_and(|have| c.holds(&have)))
    }
}

impl Condition {
    fn holds(&self, have: &Field) -> bool {
        if self.operator == "like" {
            return matches!(have, Field::Text(t) if self.values.iter().any(|v| matches(&v.replace('%', "*"), t)));
        }
        self.values.iter().filter_map(|value| compare(have, value)).any(|order| match self.operator.as_str() {
            "=" | "in" => order.is_eq(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            ">=" => order.is_ge(),
            _ => false,
        })
    }
}

fn compare(have: &Field, literal: &str) -> Option<Ordering> {
    match have {
        Field::Text(text) => Some(text.as_str().cmp(literal)),
        Field::Minor(minor) => Some(minor.cmp(&minor_of(literal)?)),
        Field::Time(time) => Some(time.cmp(&literal.parse::<Timestamp>().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_or_refused() {
        let good = [
            "select * from JournalEntry where DocNumber = 'VS-261120-K7Q2M9D4TA'",
            "SELECT * FROM Transfer WHERE TxnDate = '2026-11-22' AND Amount = '191.61' ORDER BY Id ASC STARTPOSITION 1 MAXRESULTS 1000",
            "select count(*) from JournalEntry",
            "select Id, Name from Account where Id in ('91', '35') and Active = true orderby Name desc",
            "select * from JournalEntry where MetaData.LastUpdatedTime >= '2026-11-20T18:05:11-08:00'",
            "select * from Preferences",
            "select * from CompanyInfo",
        ];
        for text in good {
            assert!(read(text).is_ok(), "{text}: {:?}", read(text));
        }
        let bad = [
            ("select * from JournalEntry where PrivateNote = 'x'", "not queryable"),
            ("select * from Transfer where DocNumber = 'x'", "not queryable"),
            ("select * from Customer", "cannot be read"),
            ("select * from JournalEntry where DocNumber = 'x' or Id = '1'", "cannot be read"),
            ("select * from JournalEntry where DocNumber = 'x", "cannot be read"),
            ("select * from JournalEntry maxresults 1001", "cannot be read"),
            ("delete from JournalEntry", "cannot be read"),
        ];
        for (text, why) in bad {
            assert!(read(text).is_err_and(|e| e.contains(why)), "{text}");
        }
    }

    #[test]
    fn conditions_compare_texts_amounts_and_times() {
        let row = |property: &str| match property {
            "TxnDate" => Some(Field::Text("2026-11-22".to_owned())),
            "Amount" => Some(Field::Minor(19_160)),
            "MetaData.CreateTime" => Some(Field::Time("2026-11-22T00:00:00Z".parse().unwrap())),
            _ => None,
        };
        let cases = [
            ("TxnDate = '2026-11-22'", true),
            ("TxnDate >= '2026-11-22' and TxnDate < '2026-11-23'", true),
            ("TxnDate in ('2026-11-21', '2026-11-22')", true),
            ("TxnDate like '2026-11-%'", true),
            ("Amount = '191.6'", true),
            ("Amount = 191.60", true),
            ("Amount > '200'", false),
            ("MetaData.CreateTime >= '2026-11-21T16:00:00-08:00'", true),
            ("MetaData.CreateTime > '2026-11-21T16:00:00-08:00'", false),
        ];
        for (text, want) in cases {
            let query = read(&format!("select * from Transfer where {text}")).unwrap();
            assert_eq!(query.holds(row), want, "{text}");
        }
    }
}
