//! Lists, filters, pages and `expand[]` of Stripe's API (facts/stripe.md section 5).
//!
//! Must not: change anything.

use super::{DAY_S, Stripe};
use crate::{Call, Desk, int_of, json as answer, text_of};
use serde_json::{Value, json};
use vesper_adapters::http::HttpResponse;

/// The kinds of objects, by the path they are read at: the prefix of their ids, and the filters of their list.
pub(super) const KINDS: [(&str, &str, &[&str]); 12] = [
    ("payment_intents", "pi", &["customer", "created"]),
    ("charges", "ch", &["customer", "payment_intent", "created", "transfer_group"]),
    ("refunds", "re", &["charge", "payment_intent", "created"]),
    ("payouts", "po", &["status", "arrival_date", "created", "destination"]),
    ("balance_transactions", "txn", &["payout", "type", "source", "created", "currency"]),
    ("customers", "cus", &["email", "created"]),
    ("payment_methods", "pm", &["customer", "type", "allow_redisplay"]),
    ("events", "evt", &["type", "types", "delivery_success", "created"]),
    ("disputes", "du", &["charge", "payment_intent", "created"]),
    ("checkout/sessions", "cs", &["customer", "payment_intent", "status", "subscription", "created"]),
    ("invoice_payments", "inpay", &["invoice", "payment", "status", "created"]),
    ("webhook_endpoints", "we", &[]),
];

/// What every list takes.
const COMMON: [&str; 4] = ["limit", "starting_after", "ending_before", "expand"];
/// Fields that are filtered by equality.
const EQUAL: [&str; 12] = [
    "customer",
    "payment_intent",
    "charge",
    "source",
    "status",
    "email",
    "currency",
    "type",
    "destination",
    "transfer_group",
    "allow_redisplay",
    "invoice",
];
/// Stripe takes at most so many `types[]` of events.
const EVENT_TYPES_MAX: usize = 20;
/// Stripe expands at most so many levels.
const EXPAND_LEVELS_MAX: usize = 4;

/// A parameter's name up to its first bracket.
pub(super) fn base(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

/// Query parameters with the ones that the path fixes.
struct Asked<'a> {
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Asked<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }
}

impl Stripe {
    pub(super) fn list(
        &self,
        desk: &mut Desk,
        call: &Call,
        kind: &str,
        fixed: &[(&str, &str)],
    ) -> Result<HttpResponse, HttpResponse> {
        let Some((path, prefix, filters)) = KINDS.iter().find(|(path, ..)| *path == kind) else {
            return Err(self.error(desk, 404, "Unrecognized request URL", &Value::Null));
        };
        let free = filters.iter().filter(|f| !fixed.iter().any(|(n, _)| n == *f));
        let allowed: Vec<&str> = COMMON.iter().chain(free).copied().collect();
        self.check_params(desk, call, &call.query, &allowed)?;
        let params = call.query.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain(fixed.iter().copied()).collect();
        let asked = Asked { params };

        let mut found: Vec<_> = self.all(prefix).filter(|o| !o.deleted).collect();
        found.sort_by_key(|o| std::cmp::Reverse((int_of(&o.json, "created"), o.seq)));
        let mut rows: Vec<&super::Object> = found;
        for name in EQUAL.iter().filter(|n| filters.contains(n)) {
            if let Some(want) = asked.get(name) {
                rows.retain(|o| text_of(&o.json, name) == want);
            }
        }
        self.by_time(desk, call, &asked, &mut rows)?;
        if kind == "events" {
            let types = asked.params.iter().filter(|(n, _)| base(n) == "types").count();
            if types > EVENT_TYPES_MAX || (types > 0 && asked.get("type").is_some()) {
                return Err(self.refusal(desk, call, 400, "At most 20 types, and not together with type", "types"));
            }
            Self::only_events(desk, &asked, &mut rows);
        }
        if let Some(intent) = asked.get("payment[payment_intent]") {
            rows.retain(|o| o.json.pointer("/payment/payment_intent").and_then(Value::as_str) == Some(intent));
        }
        if let Some(payout) = asked.get("payout") {
            self.only_paid_out(desk, payout, &mut rows)?;
        }
        let (page, has_more) = self.page(desk, call, &asked, &rows)?;
        let mut data: Vec<Value> = page.iter().map(|o| o.json.clone()).collect();
        for path in expand_paths(&call.query) {
            let Some(inner) = path.strip_prefix("data.") else {
                return Err(self.not_expandable(desk, call, path));
            };
            for object in &mut data {
                self.expand(desk, call, object, inner)?;
            }
        }
        Ok(answer(200, &json!({"object": "list", "url": format!("/v1/{path}"), "has_more": has_more, "data": data})))
    }

    /// `created[gte]=` and its like.
    fn by_time(
        &self,
        desk: &mut Desk,
        call: &Call,
        asked: &Asked<'_>,
        rows: &mut Vec<&super::Object>,
    ) -> Result<(), HttpResponse> {
        for (name, value) in asked.params.iter().filter(|(n, _)| matches!(base(n), "created" | "arrival_date")) {
            let field = base(name);
            let keep: fn(i64, i64) -> bool = match name.strip_prefix(field).unwrap_or_default() {
                "" => |a, b| a == b,
                "[gte]" => |a, b| a >= b,
                "[gt]" => |a, b| a > b,
                "[lte]" => |a, b| a <= b,
                "[lt]" => |a, b| a < b,
                _ => return Err(self.refusal(desk, call, 400, &format!("Invalid {name}"), name)),
            };
            let Ok(bound) = value.parse::<i64>() else {
                return Err(self.refusal(desk, call, 400, &format!("Invalid integer: {name}"), name));
            };
            rows.retain(|o| keep(int_of(&o.json, field), bound));
        }
        Ok(())
    }

    /// Stripe keeps events for 30 days.
    fn only_events(desk: &Desk, asked: &Asked<'_>, rows: &mut Vec<&super::Object>) {
        let types: Vec<&str> = asked.params.iter().filter(|(n, _)| base(n) == "types").map(|(_, v)| *v).collect();
        let oldest = desk.now().as_second().saturating_sub(30 * DAY_S);
        rows.retain(|o| int_of(&o.json, "created") >= oldest);
        rows.retain(|o| types.is_empty() || types.contains(&text_of(&o.json, "type")));
        if let Some(delivered) = asked.get("delivery_success") {
            rows.retain(|o| o.delivered == (delivered == "true"));
        }
    }

    /// The rows of one payout. Stripe cannot say it of a manual one, and says too little before it has reconciled.
    fn only_paid_out(&self, desk: &Desk, payout: &str, rows: &mut Vec<&super::Object>) -> Result<(), HttpResponse> {
        let about = self.find(desk, "payouts", payout)?;
        if about.get("automatic") != Some(&Value::Bool(true)) {
            let message = "Balance transaction history can only be filtered on automatic transfers, not manual.";
            return Err(self.error(desk, 400, message, &json!({"param": "payout"})));
        }
        rows.retain(|o| o.payout.as_deref() == Some(payout));
        if text_of(about, "reconciliation_status") != "completed" {
            let half = rows.len().checked_div(2).unwrap_or(0);
            rows.drain(..half);
        }
        Ok(())
    }

    fn page<'a>(
        &self,
        desk: &mut Desk,
        call: &Call,
        asked: &Asked<'_>,
        rows: &'a [&'a super::Object],
    ) -> Result<(&'a [&'a super::Object], bool), HttpResponse> {
        let limit = match asked.get("limit").map_or(Ok(10), str::parse::<usize>) {
            Ok(limit) if (1..=100).contains(&limit) => limit,
            _ => return Err(self.refusal(desk, call, 400, "This value must be between 1 and 100", "limit")),
        };
        let mut place = |name: &str| -> Result<Option<usize>, HttpResponse> {
            let Some(cursor) = asked.get(name) else { return Ok(None) };
            let at = rows.iter().position(|o| text_of(&o.json, "id") == cursor);
            at.map(Some).ok_or_else(|| {
                if self.json(cursor).is_some() {
                    // It left the list: an event after 30 days.
                    let more = json!({"code": "resource_missing", "param": name});
                    return self.error(desk, 400, &format!("No such object: '{cursor}'"), &more);
                }
                self.refusal(desk, call, 400, "No such object in this list", name)
            })
        };
        let (after, before) = (place("starting_after")?, place("ending_before")?);
        if after.is_some() && before.is_some() {
            return Err(self.refusal(desk, call, 400, "Only one cursor at a time", "ending_before"));
        }
        if let Some(before) = before {
            let start = before.saturating_sub(limit);
            return Ok((rows.get(start..before).unwrap_or_default(), start > 0));
        }
        let start = after.map_or(0, |at| at.saturating_add(1));
        let end = start.saturating_add(limit).min(rows.len());
        Ok((rows.get(start..end).unwrap_or_default(), end < rows.len()))
    }

    /// Replaces the id at this path by the object.
    pub(super) fn expand(&self, desk: &mut Desk, call: &Call, object: &mut Value, path: &str) -> Result<(), HttpResponse> {
        let keys: Vec<&str> = path.split('.').collect();
        let first = keys.first().copied().unwrap_or_default();
        if keys.len() > EXPAND_LEVELS_MAX || object.get(first).is_none() {
            return Err(self.not_expandable(desk, call, path));
        }
        let mut node = object;
        for key in keys {
            let Some(next) = node.get_mut(key) else { return Ok(()) };
            if let Some(full) = next.as_str().and_then(|id| self.json(id)) {
                *next = full.clone();
            }
            node = next;
        }
        Ok(())
    }

    fn not_expandable(&self, desk: &mut Desk, call: &Call, path: &str) -> HttpResponse {
        self.refusal(desk, call, 400, &format!("This property cannot be expanded ({path})."), "expand")
    }
}

/// The values of `expand[]`.
pub(super) fn expand_paths(params: &[(String, String)]) -> Vec<&str> {
    params.iter().filter(|(n, _)| base(n) == "expand").map(|(_, v)| v.as_str()).collect()
}
