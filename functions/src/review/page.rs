//! The review page over HTTP: who may see it, what the paths are, and what each answer is answered with (contracts/settings.md).
//! Works without JavaScript.
//!
//! Must not: change anything itself (`answers` does), or put personal data into a URL, a title or a header.

use super::answers::{Answered, Chosen, answer, apply_credit, credit_back, mark_done, move_allocations, take_back};
use super::session::{COOKIE, SESSION_S, Session, Sessions};
use super::show::{self, Again, Message};
use super::{failed, hold, month, payouts};
use crate::app::App;
use crate::failure::Unfinished;
use askama::Template;
use vesper_core::ids::{PaymentId, ReviewId};
use vesper_core::review::Answer;

/// The largest form that is read, in bytes: four short fields.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// Everything from here, nothing inline, no script at all.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("../../templates/review/style.css");

/// A request, as far as the pages look at it.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// As it stands in the request line, without the query.
    pub path: String,
    /// Without the question mark; empty when there is none.
    pub query: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
}

/// The answer to it.
#[derive(Clone, Debug)]
pub struct PageResponse {
    /// The HTTP status.
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(&'static str, String)>,
    /// HTML, or the style sheet.
    pub body: String,
}

impl PageRequest {
    /// A header by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
    }

    /// A cookie's value.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers.iter().filter(|(n, _)| n == "cookie").flat_map(|(_, v)| v.split(';'));
        cookies.filter_map(|c| c.trim().split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// Plain HTTP is for this machine only; everywhere else something in front of Vesper speaks TLS.
    fn is_loopback(&self) -> bool {
        let host = self.header("host").unwrap_or_default();
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether a form was sent from a page of ours. Browsers send Origin with every POST, and Sec-Fetch-Site besides.
    fn is_same_origin(&self) -> bool {
        match (self.header("origin"), self.header("host")) {
            (Some(origin), Some(host)) => {
                let scheme = if self.is_loopback() { "http" } else { "https" };
                origin.eq_ignore_ascii_case(&format!("{scheme}://{host}"))
            }
            (Some(_), None) => false,
            (None, _) => self.header("sec-fetch-site").is_none_or(|site| site == "same-origin"),
        }
    }
}

impl PageResponse {
    fn new(status: u16, content_type: &str, body: String) -> PageResponse {
        let headers = [
            ("content-type", content_type),
            ("content-security-policy", POLICY),
            ("cache-control", "no-store"),
            // Not `no-referrer`: with that a browser sends `Origin: null` with the page's own forms.
            ("referrer-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ];
        PageResponse { status, headers: headers.map(|(n, v)| (n, v.to_owned())).to_vec(), body }
    }

    fn page(status: u16, page: &impl Template) -> PageResponse {
        match page.render() {
            Ok(html) => PageResponse::new(status, "text/html; charset=utf-8", html),
            Err(e) => {
                tracing::error!("render a page: {e}");
                PageResponse::new(500, "text/plain; charset=utf-8", "The page could not be made.".to_owned())
            }
        }
    }

    fn message(status: u16, heading: &'static str, text: impl Into<String>) -> PageResponse {
        PageResponse::page(status, &Message { heading, text: text.into() })
    }

    fn see_other(to: &str) -> PageResponse {
        let mut response = PageResponse::new(303, "text/plain; charset=utf-8", String::new());
        response.headers.push(("location", to.to_owned()));
        response
    }

    fn not_found() -> PageResponse {
        PageResponse::message(404, "Not found", "There is nothing at this address.")
    }

    fn stale() -> PageResponse {
        PageResponse::message(
            409,
            "This has changed",
            "Somebody answered it meanwhile, or something new came in. Nothing was changed by your answer. Please look again.",
        )
    }
}

/// Answers a request to one of the pages. Never fails: what goes wrong is a page, too.
pub async fn handle(app: &App, sessions: &Sessions, request: PageRequest) -> PageResponse {
    match route(app, sessions, &request).await {
        Ok(response) => response,
        Err(e) => {
            tracing::error!("answer a page: {e}");
            let status = if e.may_pass() { 503 } else { 500 };
            PageResponse::message(
                status,
                "That did not work",
                "Nothing can be said of it right now. Please try again in a minute.",
            )
        }
    }
}

/// Whether this asks for the style sheet, which everybody may see.
#[must_use]
pub fn is_style(request: &PageRequest) -> bool {
    request.method == "GET" && request.path.trim_end_matches('/') == "/review/style.css"
}

/// A page that says why there is nothing to see.
#[must_use]
pub fn refused(status: u16, heading: &'static str, text: &str) -> PageResponse {
    PageResponse::message(status, heading, text)
}

async fn route(app: &App, sessions: &Sessions, request: &PageRequest) -> Result<PageResponse, Unfinished> {
    let method = request.method.as_str();
    if !matches!(method, "GET" | "POST") {
        let mut response = PageResponse::message(405, "Not possible", "Pages are read and forms are sent, nothing else.");
        response.headers.push(("allow", "GET, POST".to_owned()));
        return Ok(response);
    }
    let path = request.path.trim_end_matches('/');
    if is_style(request) {
        return Ok(PageResponse::new(200, "text/css; charset=utf-8", STYLE.to_owned()));
    }
    if let (true, Some(token)) = ((method, path) == ("GET", "/review"), request.parameter("token")) {
        return Ok(sign_in(app, sessions, request, &token));
    }
    let Some(session) = request.cookie(COOKIE).and_then(|c| sessions.find(c, app.host.real_unix_s())) else {
        return Ok(signed_out());
    };
    // Futures of their own on the heap: what an answer does is deep.
    let mut response = Box::pin(inside(app, &session, request, path)).await?;
    response.body = hold::shown_on(app, response.body).await?;
    Ok(response)
}

/// The pages of who is signed in.
async fn inside(app: &App, session: &Session<'_>, request: &PageRequest, path: &str) -> Result<PageResponse, Unfinished> {
    let method = request.method.as_str();
    let fields = Fields::of(request);
    if method == "POST" {
        if request.body.len() > FORM_BYTES_MAX {
            return Ok(PageResponse::message(413, "Too much", "The form is larger than any form of these pages."));
        }
        if !request.is_same_origin() || !session.is_own(&fields.csrf) {
            return Ok(PageResponse::message(403, "Not from this page", "The form did not come from a page of this session."));
        }
    }
    if path == "/review" {
        if method == "POST" {
            return Ok(PageResponse::not_found());
        }
        let (after, items_after) = (request.parameter("after"), request.parameter("items_after"));
        let list = show::list(app, (session.who, &session.csrf), after.as_deref(), items_after.as_deref()).await?;
        return Ok(PageResponse::page(200, &list));
    }
    if (method, path) == ("POST", "/review/pause") {
        let done = hold::post(app, session.who, &fields.what).await?;
        let unknown = || PageResponse::message(422, "Not possible", "Press one of the buttons.");
        return Ok(if done { PageResponse::see_other("/review") } else { unknown() });
    }
    if (method, path) == ("GET", "/review/recoveries") {
        return Ok(PageResponse::page(200, &failed::list(app, request.parameter("after").as_deref()).await?));
    }
    if (method, path) == ("GET", "/review/month") {
        return Ok(PageResponse::page(200, &month::month(app, request.parameter("month").as_deref()).await?));
    }
    if let Some(id) = path.strip_prefix("/review/").and_then(|id| ReviewId::parse(id).ok()) {
        return if method == "POST" {
            Box::pin(post_review(app, session, &id, fields)).await
        } else {
            get_review(app, session, &id).await
        };
    }
    if method == "GET" && (path == "/payouts" || path.starts_with("/payouts/")) {
        return get_payouts(app, request, path).await;
    }
    if let Some(id) = path.strip_prefix("/payments/").and_then(|id| PaymentId::parse(id).ok()) {
        return if method == "POST" {
            Box::pin(post_payment(app, session, &id, fields)).await
        } else {
            get_payment(app, session, &id).await
        };
    }
    Ok(PageResponse::not_found())
}

/// The list of payouts, or one of them.
async fn get_payouts(app: &App, request: &PageRequest, path: &str) -> Result<PageResponse, Unfinished> {
    let Some(id) = path.strip_prefix("/payouts/") else {
        let list = payouts::list(app, request.parameter("after").as_deref()).await?;
        return Ok(PageResponse::page(200, &list));
    };
    let from = request.parameter("from").and_then(|n| n.parse().ok()).unwrap_or(1);
    let page = payouts::payout(app, id, from).await?;
    Ok(page.map_or_else(PageResponse::not_found, |page| PageResponse::page(200, &page)))
}

fn signed_out() -> PageResponse {
    PageResponse::message(401, "Please sign in", "Open the address that was printed when Vesper was started (review_url).")
}

fn sign_in(app: &App, sessions: &Sessions, request: &PageRequest, token: &str) -> PageResponse {
    let Some(cookie) = sessions.open(token, app.host.real_unix_s()) else { return signed_out() };
    let secure = if request.is_loopback() { "" } else { "; Secure" };
    let mut response = PageResponse::see_other("/review");
    response
        .headers
        .push(("set-cookie", format!("{COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/; Max-Age={SESSION_S}{secure}")));
    response
}

/// The fields of a form; empty where it has none.
#[derive(Default)]
struct Fields {
    version: Option<u64>,
    csrf: String,
    answer: String,
    invoice: String,
    /// What is to be held.
    what: String,
    /// What was typed as the EHR's id of a worklist item, by its effect.
    typed_ids: Vec<(String, String)>,
}

impl Fields {
    fn of(request: &PageRequest) -> Fields {
        let mut fields = Fields::default();
        if request.method != "POST" || request.body.len() > FORM_BYTES_MAX {
            return fields;
        }
        for (name, value) in form_urlencoded::parse(&request.body) {
            match name.as_ref() {
                "version" => fields.version = value.parse().ok(),
                "csrf" => fields.csrf = value.into_owned(),
                "answer" => fields.answer = value.into_owned(),
                "what" => fields.what = value.into_owned(),
                "invoice" => fields.invoice = value.trim().to_owned(),
                name => {
                    let effect = name.strip_prefix("ehr_payment:").filter(|_| !value.trim().is_empty());
                    fields.typed_ids.extend(effect.map(|e| (e.to_owned(), value.trim().to_owned())));
                }
            }
        }
        fields
    }

    /// What stands in the way of one of the buttons: Enter in the field presses the first button, which nobody meant.
    fn check_typed(&self, takes_invoice: bool) -> Result<(), &'static str> {
        match (takes_invoice, self.invoice.is_empty()) {
            (true, true) => Err("type the number or id of an invoice, then press its button"),
            (false, false) => {
                Err("an invoice was typed, but another button was pressed; empty the field or press its own button")
            }
            _ => Ok(()),
        }
    }

    fn chosen(&self) -> Result<Chosen, &'static str> {
        self.check_typed(self.answer == "other_invoice")?;
        match self.answer.as_str() {
            "other_invoice" => Ok(Chosen::OtherInvoice(self.invoice.clone())),
            "resolved_elsewhere" => Ok(Chosen::ResolvedElsewhere),
            text => Answer::parse(text).map(Chosen::Offered).map_err(|_| "press one of the buttons"),
        }
    }

    fn again(self, problem: impl Into<String>) -> Again {
        Again { problem: Some(problem.into()), typed: self.invoice, typed_ids: self.typed_ids }
    }
}

const UNKNOWN_INVOICE: &str = "no invoice has this number or id";

async fn get_review(app: &App, session: &Session<'_>, id: &ReviewId) -> Result<PageResponse, Unfinished> {
    show_review(app, session, id, 200, Again::default()).await
}

async fn show_review(
    app: &App,
    session: &Session<'_>,
    id: &ReviewId,
    status: u16,
    again: Again,
) -> Result<PageResponse, Unfinished> {
    let Some(read) = app.store.review(id).await? else { return Ok(PageResponse::not_found()) };
    let page = show::review(app, session.who, &session.csrf, &read, again).await?;
    Ok(PageResponse::page(status, &page))
}

async fn post_review(app: &App, session: &Session<'_>, id: &ReviewId, fields: Fields) -> Result<PageResponse, Unfinished> {
    if app.store.review(id).await?.is_none() {
        return Ok(PageResponse::not_found());
    }
    let Some(version) = fields.version else { return Ok(PageResponse::stale()) };
    let chosen = match fields.chosen() {
        Ok(chosen) => chosen,
        Err(why) => return show_review(app, session, id, 422, fields.again(why)).await,
    };
    match answer(app, session.who, id, version, chosen).await? {
        Answered::Done => Ok(PageResponse::see_other("/review")),
        Answered::Stale => Ok(PageResponse::stale()),
        Answered::UnknownInvoice => show_review(app, session, id, 422, fields.again(UNKNOWN_INVOICE)).await,
        Answered::Proposed(id, why) => {
            let again = fields.again(format!("{why}. What is proposed below fits what is open now; please choose again"));
            show_review(app, session, &id, 409, again).await
        }
        Answered::Refused(why) => show_review(app, session, id, 422, fields.again(why)).await,
    }
}

/// What the value of a worklist item's button begins with; its effect follows.
const MARK_DONE: &str = "mark_done:";

async fn get_payment(app: &App, session: &Session<'_>, id: &PaymentId) -> Result<PageResponse, Unfinished> {
    show_payment(app, session, id, 200, Again::default()).await
}

async fn show_payment(
    app: &App,
    session: &Session<'_>,
    id: &PaymentId,
    status: u16,
    again: Again,
) -> Result<PageResponse, Unfinished> {
    let page = show::payment(app, session.who, &session.csrf, id, again).await?;
    Ok(page.map_or_else(PageResponse::not_found, |page| PageResponse::page(status, &page)))
}

async fn post_payment(app: &App, session: &Session<'_>, id: &PaymentId, fields: Fields) -> Result<PageResponse, Unfinished> {
    if app.store.payment(id).await?.is_none() {
        return Ok(PageResponse::not_found());
    }
    let Some(version) = fields.version else { return Ok(PageResponse::stale()) };
    if let Err(why) = fields.check_typed(matches!(fields.answer.as_str(), "move" | "apply_credit")) {
        return show_payment(app, session, id, 422, fields.again(why)).await;
    }
    let answered = match fields.answer.as_str() {
        text if text.starts_with(MARK_DONE) => {
            let effect = text.trim_start_matches(MARK_DONE);
            // Enter in a field presses the first button of the form, which may be another item's.
            if fields.typed_ids.iter().any(|(other, _)| other != effect) {
                let why = "an id was typed for another item; press the button beside it";
                return show_payment(app, session, id, 422, fields.again(why)).await;
            }
            let typed = fields.typed_ids.first().map(|(_, id)| id.as_str()).unwrap_or_default();
            mark_done(app, session.who, id, version, effect, typed).await?
        }
        "move" => move_allocations(app, session.who, id, version, &fields.invoice).await?,
        "take_back" => take_back(app, session.who, id, version).await?,
        "apply_credit" => apply_credit(app, session.who, id, version, &fields.invoice).await?,
        "credit_back" => credit_back(app, session.who, id, version).await?,
        _ => Answered::Refused("press one of the buttons".to_owned()),
    };
    match answered {
        Answered::Done => Ok(PageResponse::see_other("/review")),
        Answered::Stale => Ok(PageResponse::stale()),
        Answered::UnknownInvoice => show_payment(app, session, id, 422, fields.again(UNKNOWN_INVOICE)).await,
        Answered::Refused(why) | Answered::Proposed(_, why) => show_payment(app, session, id, 422, fields.again(why)).await,
    }
}
