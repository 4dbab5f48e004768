//! The routes of the bridge contract, to the letter.
//!
//! Must not: accept a field, a value or a call that the contract does not have.

use super::{Ehr, KeptWrite, PaymentNew, verify};
use crate::{Call, Desk, System, int_of, json as answer, text, text_of};
use serde_json::{Value, json};
use vesper_adapters::http::HttpResponse;

/// The longest Idempotency-Key and reference.
const KEY_LEN_MAX: usize = 64;
/// The largest page.
const PAGE_MAX: usize = 500;
/// The page where none is asked for.
const PAGE_DEFAULT: usize = 200;

/// Whether a field's value is what the contract wants.
type Test = fn(&Value) -> bool;

const NEW_PAYMENT: [(&str, Test); 8] = [
    ("invoice_id", is_text),
    ("portion", |v| matches!(v.as_str(), Some("client" | "payer"))),
    ("amount", is_amount),
    ("currency", is_text),
    ("method", |v| matches!(v.as_str(), Some("card" | "ach" | "credit" | "other"))),
    ("online", |v| *v == Value::Bool(false)),
    ("posted_on", is_date),
    ("reference", |v| is_text(v) && v.as_str().is_some_and(|t| t.len() <= KEY_LEN_MAX)),
];

const REVERSAL: [(&str, Test); 4] = [
    ("amount", is_amount),
    ("currency", is_text),
    ("reason", |v| matches!(v.as_str(), Some("refund" | "dispute" | "correction"))),
    ("posted_on", is_date),
];

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|t| !t.is_empty())
}

fn is_amount(value: &Value) -> bool {
    value.as_i64().is_some_and(|n| n >= 1)
}

fn is_date(value: &Value) -> bool {
    value.as_str().is_some_and(|t| t.len() == 10 && t.parse::<jiff::civil::Date>().is_ok())
}

/// Whether a number with a fraction or an exponent stands anywhere in it.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(n) => !(n.is_i64() || n.is_u64()),
        Value::Array(all) => all.iter().any(has_fraction),
        Value::Object(all) => all.values().any(has_fraction),
        _ => false,
    }
}

impl System for Ehr {
    const NAME: &'static str = "ehr";
    const ORIGIN: &'static str = "https://ehr.standin.invalid";

    fn answer(&mut self, desk: &mut Desk, call: &Call) -> HttpResponse {
        self.route(desk, call).unwrap_or_else(|problem| problem)
    }
}

impl Ehr {
    /// RFC 9457.
    fn problem(&self, status: u16, title: &str) -> HttpResponse {
        let detail = format!("{title} {}", self.leak);
        let body = json!({"type": "about:blank", "title": title, "status": status, "detail": detail.trim_end()});
        text(status, body.to_string(), "application/problem+json")
    }

    /// A problem with something that no correct client sends.
    fn refusal(&self, desk: &mut Desk, call: &Call, status: u16, why: &str) -> HttpResponse {
        desk.refuse(call, why);
        self.problem(status, why)
    }

    fn route(&mut self, desk: &mut Desk, call: &Call) -> Result<HttpResponse, HttpResponse> {
        let signature = call.header("vesper-signature").unwrap_or_default();
        let now_s = (self.signature_clock)().as_second();
        if !verify(&self.secrets, signature, &call.method, &call.target, &call.body, now_s) {
            return Err(self.refusal(desk, call, 401, "bad Vesper-Signature"));
        }
        if call.target.contains('@') || call.target.contains("%40") {
            desk.refuse(call, "an e-mail in a URL");
        }
        match (call.method.as_str(), call.parts().as_slice()) {
            ("GET", ["v1", "capabilities"]) => Ok(answer(200, &self.capabilities())),
            ("GET", ["v1", "changes"]) => self.changes(desk, call),
            ("GET", ["v1", "invoices", id]) => {
                let invoice = self.record("invoice", id).ok_or_else(|| self.problem(404, "no such invoice"))?;
                let mut reply = answer(200, invoice);
                reply.headers.push(("etag".to_owned(), format!("\"{}\"", text_of(invoice, "version"))));
                Ok(reply)
            }
            ("GET", ["v1", "payments", "by-reference", reference]) => {
                let found = self.by_reference.get(*reference).and_then(|id| self.record("payment", id));
                found.map(|p| answer(200, p)).ok_or_else(|| self.problem(404, "no payment with this reference"))
            }
            ("POST", ["v1", "payments"]) => self.once(desk, call, Self::post_payment),
            ("POST", ["v1", "payments", _, "reversals"]) => self.once(desk, call, Self::post_reversal),
            _ => Err(self.refusal(desk, call, 404, "not in the contract")),
        }
    }

    fn capabilities(&self) -> Value {
        let can = self.capabilities;
        json!({
            "system": "standin", "writes_payments": can.writes_payments, "reverses_payments": can.reverses_payments,
            "idempotent_writes": can.idempotent_writes, "write_offs": false,
        })
    }

    fn changes(&self, desk: &mut Desk, call: &Call) -> Result<HttpResponse, HttpResponse> {
        let limit = call.param("limit").map_or(Ok(PAGE_DEFAULT), str::parse::<usize>);
        let limit = match limit {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => limit,
            _ => return Err(self.refusal(desk, call, 400, "a limit that is not 1 to 500")),
        };
        if call.query.iter().any(|(name, _)| name != "cursor" && name != "limit") {
            return Err(self.refusal(desk, call, 400, "a query that the contract does not have"));
        }
        let start = match call.param("cursor") {
            None => 0,
            Some(cursor) => match position_of(cursor).filter(|at| *at <= self.feed.len()) {
                Some(at) => at,
                None => return Err(self.refusal(desk, call, 400, "a cursor that was never given out")),
            },
        };
        let end = start.saturating_add(limit.min(self.page_max)).min(self.feed.len());
        let page = self.feed.get(start..end).unwrap_or_default();
        Ok(answer(200, &json!({"records": page, "next_cursor": cursor_at(end), "has_more": end < self.feed.len()})))
    }

    /// A write: with its key, its body, and once per key where keys protect.
    fn once(
        &mut self,
        desk: &mut Desk,
        call: &Call,
        act: fn(&mut Ehr, &mut Desk, &Call, &Value) -> Result<HttpResponse, HttpResponse>,
    ) -> Result<HttpResponse, HttpResponse> {
        let key = call.header("idempotency-key").unwrap_or_default();
        if key.is_empty() || key.len() > KEY_LEN_MAX {
            return Err(self.refusal(desk, call, 400, "Idempotency-Key missing or longer than 64"));
        }
        if !call.says("application/json") {
            desk.refuse(call, "a body that does not say it is application/json");
        }
        let body: Value = match serde_json::from_slice(&call.body) {
            Ok(body @ Value::Object(_)) if !has_fraction(&body) => body,
            Ok(Value::Object(_)) => return Err(self.refusal(desk, call, 400, "a number with a fraction or exponent")),
            _ => return Err(self.refusal(desk, call, 400, "a body that is no JSON object")),
        };
        if let Some(kept) = self.keys.get(key).filter(|_| self.capabilities.idempotent_writes) {
            if kept.path != call.path() || kept.body != body {
                return Err(self.refusal(desk, call, 422, "Idempotency-Key used again with another body"));
            }
            return Ok(HttpResponse { status: 200, ..kept.answer.clone() });
        }
        let answer = act(self, desk, call, &body)?;
        self.keys.insert(key.to_owned(), KeptWrite { path: call.path(), body, answer: answer.clone() });
        Ok(answer)
    }

    /// Every field present, of its kind, and none besides.
    fn check(&self, desk: &mut Desk, call: &Call, body: &Value, fields: &[(&str, Test)]) -> Result<(), HttpResponse> {
        for (name, test) in fields {
            if !body.get(name).is_some_and(test) {
                return Err(self.refusal(desk, call, 422, &format!("the field {name} is missing or not of the contract")));
            }
        }
        let mut given = body.as_object().into_iter().flatten().map(|(name, _)| name);
        match given.find(|name| !fields.iter().any(|(known, _)| known == name)) {
            Some(name) => Err(self.refusal(desk, call, 422, &format!("the contract has no field {name}"))),
            None => Ok(()),
        }
    }

    fn post_payment(&mut self, desk: &mut Desk, call: &Call, body: &Value) -> Result<HttpResponse, HttpResponse> {
        if !self.capabilities.writes_payments {
            return Err(self.refusal(desk, call, 422, "this bridge writes no payments, as its capabilities say"));
        }
        self.check(desk, call, body, &NEW_PAYMENT)?;
        let invoice_id = text_of(body, "invoice_id");
        let live = |i: &&Value| text_of(i, "status") == "open" && i.get("currency") == body.get("currency");
        let invoice = self.record("invoice", invoice_id).filter(live);
        let invoice = invoice.ok_or_else(|| self.problem(422, "no such open invoice in this currency"))?;
        let changed = call.header("if-match").is_some_and(|etag| etag.trim_matches('"') != text_of(invoice, "version"));
        if changed {
            return Err(self.problem(412, "the invoice is no longer at that version"));
        }
        let new = PaymentNew {
            portion: text_of(body, "portion"),
            amount: int_of(body, "amount"),
            method: text_of(body, "method"),
            posted_on: text_of(body, "posted_on"),
            reference: text_of(body, "reference"),
            online: false,
        };
        let record = self.post(desk.now(), invoice_id, &new, 0);
        record.map(|r| answer(201, &r)).ok_or_else(|| self.problem(422, "more than is open"))
    }

    fn post_reversal(&mut self, desk: &mut Desk, call: &Call, body: &Value) -> Result<HttpResponse, HttpResponse> {
        if !self.capabilities.reverses_payments {
            return Err(self.refusal(desk, call, 422, "this bridge reverses no payments, as its capabilities say"));
        }
        self.check(desk, call, body, &REVERSAL)?;
        let id = call.segments.get(2).map_or("", String::as_str);
        let payment = self.record("payment", id).ok_or_else(|| self.problem(404, "no such payment"))?;
        if payment.get("currency") != body.get("currency") {
            return Err(self.problem(422, "another currency than the payment's"));
        }
        let record = self.reverse(desk.now(), id, int_of(body, "amount"));
        record.map(|r| answer(201, &r)).ok_or_else(|| self.problem(422, "more than is left of this payment"))
    }
}

/// Opaque, and in need of escaping, so that a client that does not escape is found out.
fn cursor_at(position: usize) -> String {
    format!("c/{position}+=")
}

fn position_of(cursor: &str) -> Option<usize> {
    cursor.strip_prefix("c/")?.strip_suffix("+=")?.parse().ok()
}
