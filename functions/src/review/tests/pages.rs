//! The pages as a browser sees them: who gets in, what is shown, what a form does.

use super::*;

const HOST: &str = "127.0.0.1:8088";

pub(super) struct Browser<'p> {
    practice: &'p Practice,
    sessions: Sessions,
    cookie: Option<String>,
    host: &'static str,
}

fn header<'r>(r: &'r PageResponse, name: &str) -> Option<&'r str> {
    r.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
}

impl<'p> Browser<'p> {
    fn new(practice: &'p Practice) -> Browser<'p> {
        let sessions = Sessions::new(Secret::new("printed-token"), [9; 32]);
        Browser { practice, sessions, cookie: None, host: HOST }
    }

    pub(super) async fn signed_in(practice: &'p Practice) -> Browser<'p> {
        let mut browser = Browser::new(practice);
        let r = browser.get("/review?token=printed-token").await;
        assert_eq!((r.status, header(&r, "location")), (303, Some("/review")));
        let cookie = header(&r, "set-cookie").unwrap();
        browser.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        browser
    }

    async fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: String) -> PageResponse {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let cookie = self.cookie.as_deref().map(|c| ("cookie", c));
        let headers = headers.iter().copied().chain(cookie).chain([("host", self.host)]);
        let headers = headers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let request =
            PageRequest { method: method.into(), path: path.into(), query: query.into(), headers, body: body.into_bytes() };
        let response = handle(&self.practice.bench.app, &self.sessions, request).await;
        for (name, value) in &response.headers {
            assert!(!value.contains("Persephone") && !value.contains("ada@"), "{name} carries personal data");
        }
        for wanted in ["content-security-policy", "cache-control", "referrer-policy", "x-content-type-options"] {
            assert!(header(&response, wanted).is_some(), "{url} without {wanted}");
        }
        response
    }

    pub(super) async fn get(&self, url: &str) -> PageResponse {
        self.send("GET", url, &[], String::new()).await
    }

    pub(super) async fn post(&self, url: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> PageResponse {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", url, headers, body).await
    }
}

/// The value of a hidden field.
pub(super) fn hidden(html: &str, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let from = html.find(&mark).unwrap() + mark.len();
    html[from..].split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_person_holds_what_vesper_does_and_every_page_says_so() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(5000, None).await;
    let review = format!("/review/{}", p.the_review().await.item.review.id);
    let pages = ["/review", &review, "/payments/pi_1", "/payouts", "/review/month", "/review/recoveries", "/nowhere"];
    let b = Browser::signed_in(&p).await;
    let list = b.get("/review").await.body;
    assert!(list.contains("Nothing is held.") && list.matches("<form ").count() == 1 && !list.contains("class=\"held\""));
    let csrf = hidden(&list, "csrf");
    let cases = [
        (Pause::All, "All", "nothing is written to the EHR"),
        (Pause::Postings, "Postings", "nothing is posted"),
        (Pause::Retries, "Retries", "cards are not charged"),
    ];
    for (pause, what, says) in cases {
        let button = format!("<button name=\"what\" value=\"{}\">", pause.as_str());
        assert!(b.get("/review").await.body.contains(&button), "{what}");
        let sent = b.post("/review/pause", &[("csrf", &csrf), ("what", pause.as_str())], &[]).await;
        assert_eq!((sent.status, header(&sent, "location")), (303, Some("/review")), "{what}");
        assert_eq!(pause::current(&p.bench.app).await.unwrap(), pause);
        assert!(!b.get("/review").await.body.contains(&button), "it is what is held already");
        for page in pages {
            let body = b.get(page).await.body;
            assert!(body.contains("class=\"held\"") && body.contains(says) && body.contains("/review#pause"), "{page}: {body}");
        }
    }
    assert_eq!(b.get(&review).await.body.matches("<form ").count(), 1, "of a question there is one form");
    for (fields, status) in [([("csrf", "0"), ("what", "none")], 403), ([("csrf", csrf.as_str()), ("what", "everything")], 422)] {
        assert_eq!(b.post("/review/pause", &fields, &[]).await.status, status);
    }
    assert_eq!(Browser::new(&p).post("/review/pause", &[("csrf", &csrf), ("what", "none")], &[]).await.status, 401);
    assert_eq!(pause::current(&p.bench.app).await.unwrap(), Pause::Retries);
    assert!(!Browser::new(&p).get("/review").await.body.contains("class=\"held\""), "not to who is not signed in");
    b.post("/review/pause", &[("csrf", &csrf), ("what", "none")], &[]).await;
    assert!(!b.get("/review").await.body.contains("class=\"held\""));
    assert_eq!(p.audited("paused").await.len(), 4);
}

#[tokio::test]
async fn without_the_token_nothing_is_shown_or_taken() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(5000, None).await;
    let url = format!("/review/{}", p.the_review().await.item.review.id);
    let mut b = Browser::new(&p);
    for url in ["/review", "/review?token=wrong", "/review?token=", &url, "/payments/pi_1", "/nowhere"] {
        let r = b.get(url).await;
        assert_eq!(r.status, 401, "{url}");
        assert!(!r.body.contains("Persephone") && header(&r, "set-cookie").is_none());
    }
    assert_eq!(b.post(&url, &[("answer", "credit"), ("version", "1")], &[]).await.status, 401);
    b.cookie = Some("vesper_session=1.00".to_owned());
    assert_eq!(b.get("/review").await.status, 401);
    assert_eq!(b.get("/review/style.css").await.status, 200, "the style sheet says nothing");
    assert_eq!(p.audited("looked").await.len(), 0);
}

#[tokio::test]
async fn the_cookie_is_strict_and_outside_this_machine_secure() {
    let p = Practice::new(&[]).await;
    for (host, secure) in
        [(HOST, false), ("localhost:8088", false), ("[::1]:8088", false), ("vesper.example", true), ("10.0.0.7:8088", true)]
    {
        let b = Browser { host, ..Browser::new(&p) };
        let r = b.get("/review?token=printed-token").await;
        let cookie = header(&r, "set-cookie").unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"), "{cookie}");
        assert_eq!(cookie.contains("; Secure"), secure, "{host}");
        assert!(!cookie.contains("printed-token"));
    }
}

#[tokio::test]
async fn the_list_and_the_question_show_names_escaped_and_every_look_is_noted() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(5000, None).await;
    let review = p.the_review().await;
    let b = Browser::signed_in(&p).await;
    let list = b.get("/review").await;
    let url = format!("/review/{}", review.item.review.id);
    assert_eq!(list.status, 200);
    assert!(
        list.body.contains(&format!("href=\"{url}\""))
            && list.body.contains("50.00 USD")
            && list.body.contains("Several explanations")
    );
    let detail = b.get(&url).await;
    assert_eq!(detail.status, 200);
    for page in [&list.body, &detail.body] {
        assert!(page.contains("Persephone") && !page.contains("<script") && page.contains("<html lang=\"en\">"));
        let title = page.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
        assert!(!title.contains("Persephone"));
        for url in page.split("href=\"").skip(1).map(|t| t.split('"').next().unwrap()) {
            assert!(!url.contains("Persephone") && url.is_ascii(), "{url}");
        }
    }
    assert_eq!(detail.body.matches("<form ").count(), 1);
    assert!(hidden(&detail.body, "csrf").len() >= 32);
    for answer in &review.item.review.question.answers {
        assert!(detail.body.contains(&format!("<button name=\"answer\" value=\"{answer}\"")), "{answer}");
    }
    for wanted in [
        "name=\"invoice\"",
        "value=\"other_invoice\"",
        "value=\"resolved_elsewhere\"",
        "Apply 10.00 USD to invoice i1 and 40.00 USD",
    ] {
        assert!(detail.body.contains(wanted), "{wanted}");
    }
    assert_eq!(p.audited("looked").await, ["review list c_1".to_owned(), format!("{} c_1", review.item.review.id)]);
}

#[tokio::test]
async fn an_answer_by_form_is_done_once_and_a_forged_one_never() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(5000, None).await;
    let review = p.the_review().await;
    let url = format!("/review/{}", review.item.review.id);
    let b = Browser::signed_in(&p).await;
    let page = b.get(&url).await.body;
    let (version, csrf) = (hidden(&page, "version"), hidden(&page, "csrf"));
    let offered = review.item.review.question.answers[0].to_string();
    let good: &[(&str, &str)] = &[("version", &version), ("csrf", &csrf), ("invoice", ""), ("answer", &offered)];
    let with = |name: &str, value: &'static str| -> Vec<(&str, &str)> {
        good.iter().map(|(n, v)| if *n == name { (*n, value) } else { (*n, *v) }).collect()
    };
    let own = ("origin", "http://127.0.0.1:8088");
    type Headers = &'static [(&'static str, &'static str)];
    type Sent<'f> = Vec<(&'f str, &'f str)>;
    let forged: [(&str, Sent<'_>, Headers); 8] = [
        ("forged csrf", with("csrf", "00000000000000000000000000000000"), &[("origin", "http://127.0.0.1:8088")]),
        ("no csrf", good.iter().filter(|f| f.0 != "csrf").copied().collect(), &[]),
        ("another site", good.to_vec(), &[("origin", "https://evil.example")]),
        ("another port", good.to_vec(), &[("origin", "http://127.0.0.1:9999")]),
        ("another scheme", good.to_vec(), &[("origin", "https://127.0.0.1:8088")]),
        ("origin null", good.to_vec(), &[("origin", "null")]),
        ("cross-site", good.to_vec(), &[("sec-fetch-site", "cross-site")]),
        ("empty body", vec![], &[]),
    ];
    for (what, fields, headers) in forged {
        assert_eq!(b.post(&url, &fields, headers).await.status, 403, "{what}");
    }
    let wrong = [
        ("no button", with("answer", ""), 422),
        ("no such answer", with("answer", "re_bill"), 422),
        ("not an answer", with("answer", "whatever"), 422),
        ("typed, but another button", with("invoice", "i1"), 422),
        ("nothing typed", with("answer", "other_invoice"), 422),
        ("another version", with("version", "77"), 409),
        ("no version", with("version", ""), 409),
    ];
    for (what, fields, status) in wrong {
        let r = b.post(&url, &fields, &[own]).await;
        assert_eq!(r.status, status, "{what}");
        assert_eq!(r.body.contains("role=\"alert\""), status == 422, "{what}");
    }
    let unknown = [("version", &*version), ("csrf", &csrf), ("invoice", "<b>nope"), ("answer", "other_invoice")];
    let r = b.post(&url, &unknown, &[own]).await;
    assert_eq!(r.status, 422);
    assert!(
        r.body.contains("no invoice has this number")
            && r.body.contains("&#60;b&#62;nope")
            && r.body.contains("value=\"other_invoice\"")
    );
    assert_eq!(p.stands().await.0, PaymentState::Review);
    for missing in ["/review/rev_none", "/payments/pi_none"] {
        assert_eq!(b.get(missing).await.status, 404);
        assert_eq!(b.post(missing, good, &[own]).await.status, 404);
    }
    assert_eq!(b.post("/review", good, &[own]).await.status, 404);
    assert_eq!(b.send("DELETE", &url, &[], String::new()).await.status, 405);
    let r = b.post(&url, good, &[own]).await;
    assert_eq!((r.status, header(&r, "location")), (303, Some("/review")));
    assert_eq!(b.post(&url, good, &[own]).await.status, 409, "the second time");
    let closed = b.get(&url).await;
    assert!(closed.status == 200 && closed.body.contains("This question is closed") && !closed.body.contains("<form"));
    assert!(p.open_reviews().await.is_empty() && b.get("/review").await.body.contains("Nothing is waiting"));
    assert_eq!(p.bench.app.store.review(&review.item.review.id).await.unwrap().unwrap().item.review.status, Status::Resolved);
}

#[tokio::test]
async fn the_page_of_a_payment_shows_what_became_of_it_and_corrects_it() {
    let p = Practice::new(&SEVERAL).await;
    p.pay(4000, None).await;
    let b = Browser::signed_in(&p).await;
    let page = b.get("/payments/pi_1").await;
    assert_eq!(page.status, 200);
    for wanted in [
        "exactly one open invoice",
        "40.00 USD",
        "pending",
        "prepared",
        "evt_1",
        "Looked at and not taken",
        "&#60;script&#62;",
        "value=\"move\"",
        "value=\"take_back\"",
    ] {
        assert!(page.body.contains(wanted), "{wanted}");
    }
    let (version, csrf) = (hidden(&page.body, "version"), hidden(&page.body, "csrf"));
    let post = |answer: &'static str, invoice: &'static str| {
        let fields = [
            ("version", version.clone()),
            ("csrf", csrf.clone()),
            ("invoice", invoice.to_owned()),
            ("answer", answer.to_owned()),
        ];
        let b = &b;
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
            b.post("/payments/pi_1", &fields, &[]).await.status
        }
    };
    assert_eq!(post("move", "nope").await, 422);
    assert_eq!(post("move", "").await, 422);
    assert_eq!(post("take_back", "i3").await, 422, "typed, but another button");
    assert_eq!(post("what", "").await, 422);
    assert_eq!(post("move", "i3").await, 303);
    assert_eq!(post("move", "i3").await, 409);
    assert_eq!(post("take_back", "").await, 409);
    let fields = [("version", "1"), ("csrf", "0"), ("answer", "take_back")];
    assert_eq!(b.post("/payments/pi_1", &fields, &[]).await.status, 403);
    let page = b.get("/payments/pi_1").await.body;
    assert!(page.contains("correction") && page.contains("by a person"), "the reversal and the new allocation");
}

#[tokio::test]
async fn client_credit_is_applied_and_taken_back_on_the_page_of_its_payment() {
    let p = Practice::new(&[("i1", 4000)]).await;
    p.pay(4000, None).await;
    let b = Browser::signed_in(&p).await;
    let press = async |answer: &str, invoice: &str| {
        let page = b.get("/payments/pi_1").await.body;
        let (version, csrf) = (hidden(&page, "version"), hidden(&page, "csrf"));
        let fields = [("version", version.as_str()), ("csrf", csrf.as_str()), ("invoice", invoice), ("answer", answer)];
        b.post("/payments/pi_1", &fields, &[]).await.status
    };
    let buttons = async || {
        let page = b.get("/payments/pi_1").await.body;
        ["apply_credit", "credit_back"].map(|button| page.contains(&format!("value=\"{button}\"")))
    };
    assert_eq!(buttons().await, [false, false], "no credit, no button");
    assert_eq!(press("apply_credit", "N-77").await, 422);
    assert_eq!(press("move", "N-77").await, 303, "2500 of it; the rest is credit");
    assert_eq!(buttons().await, [true, false]);
    assert_eq!(press("apply_credit", "").await, 422, "no invoice was typed");
    assert_eq!(press("apply_credit", "nope").await, 422);
    assert_eq!(press("apply_credit", "i1").await, 303);
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("other".to_owned(), 2500), ("i1".to_owned(), 1500)], 0, 0));
    assert_eq!(buttons().await, [false, true]);
    assert_eq!(press("credit_back", "").await, 303);
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("other".to_owned(), 2500)], 1500, 1500));
    assert_eq!(p.books().await, books(&[("80", -2500), ("91", 4000), ("93", -1500)]));
    assert_eq!(buttons().await, [true, false]);
    assert_eq!(p.audited("applied_credit").await.len() + p.audited("took_back_credit").await.len(), 2);
}

#[tokio::test]
async fn a_stale_proposal_that_is_pressed_says_what_changed_and_shows_what_fits_now() {
    let p = Practice::new(&[("i1", 1000), ("i2", 2000)]).await;
    p.pay(5000, None).await;
    let review = p.the_review().await;
    assert_eq!(review.item.review.question.reason, Reason::Overpaid);
    let url = format!("/review/{}", review.item.review.id);
    let b = Browser::signed_in(&p).await;
    let page = b.get(&url).await.body;
    let stale = review.item.review.question.answers[0].to_string();
    // Another payment pays the first invoice meanwhile.
    p.invoice("c_1", "i1", 1000, |i| i.client_share = Share { paid: minor(1000), open: Minor::ZERO, ..i.client_share }).await;
    let (version, csrf) = (hidden(&page, "version"), hidden(&page, "csrf"));
    let fields = [("version", version.as_str()), ("csrf", &csrf), ("invoice", ""), ("answer", &stale)];
    let again = b.post(&url, &fields, &[]).await;
    assert_eq!(again.status, 409);
    for wanted in [
        "Nothing was changed:",
        "nothing is open on the client share of invoice i1",
        "please choose again",
        "Apply 20.00 USD to invoice i2; the rest, 30.00 USD, becomes client credit",
    ] {
        assert!(again.body.contains(wanted), "{wanted}");
    }
    assert!(!again.body.contains(&format!("value=\"{stale}\"")), "what does not fit is not proposed");
    let fresh = hidden(&again.body, "version");
    let good = p.the_review().await.item.review.question.answers[0].to_string();
    let fields = [("version", fresh.as_str()), ("csrf", &csrf), ("invoice", ""), ("answer", &good)];
    assert_eq!(b.post(&url, &fields, &[]).await.status, 303);
    assert_eq!(p.stands().await, (PaymentState::Decided, vec![("i2".to_owned(), 2000)], 3000, 3000));
    assert_eq!(p.audited("proposed").await.len(), 1);
}
