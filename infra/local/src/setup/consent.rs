//! The owner's consent: opens the page, and takes its answer on a loopback address. Where the Intuit app has another redirect
//! (production keys allow https only), the person pastes the address on which the browser ended.
//!
//! Must not: take an answer whose state is not of this run, take a code for another company, or show client id, state or code.

use crate::Failure;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use vesper_adapters::personal::Secret;

/// So long a person may take, in seconds.
const WAIT_S: u64 = 600;
/// Shows the page's address without client id and state: it only leads there.
const CONNECT: &str = "/connect";

/// What consent needs of its surroundings.
pub struct Owner<'a> {
    /// The redirect that is registered with the Intuit app.
    pub redirect: &'a str,
    /// Tells the person to open this address, and opens it where that can be done.
    pub open: &'a (dyn Fn(&str) + Sync),
    /// Reads one line that a person pastes; waits for it. None: there is nobody.
    pub paste: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

/// A consent: the code, and the redirect that it came to.
pub struct Consented {
    /// Works once.
    pub code: Secret,
    /// The exchange has to name it.
    pub redirect: String,
}

/// What the page answered.
enum Answer {
    Code(Secret),
    Denied,
    OtherCompany(String),
}

struct Shared {
    page: String,
    state: String,
    realm: String,
    answers: mpsc::Sender<Answer>,
}

/// Port and path of a redirect that comes back to this machine.
fn loopback(redirect: &str) -> Option<(u16, String)> {
    let rest = redirect.strip_prefix("http://localhost")?;
    let (port, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if port.is_empty() { 80 } else { port.strip_prefix(':')?.parse().ok()? };
    Some((port, format!("/{path}")))
}

/// Asks the owner. `page` makes the page's address of redirect and state; `realm` is the company of the settings.
///
/// # Errors
/// When nobody consents in time, the owner refuses, or chooses another company.
pub async fn ask(owner: &Owner<'_>, realm: &str, page: impl Fn(&str, &str) -> String) -> Result<Consented, Failure> {
    let (port, path) = match loopback(owner.redirect) {
        Some((port, path)) if path != CONNECT => (port, Some(path)),
        Some(_) => return Err(Failure::usage(format!("--redirect: {CONNECT} is taken, use another path"))),
        None if owner.redirect.starts_with("https://") => (0, None),
        None => return Err(Failure::usage("--redirect: give http://localhost:PORT/PATH or an https address")),
    };
    let cannot =
        |e: std::io::Error| Failure::usage(format!("listen on port {port} for the consent: {e}; --redirect takes another"));
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(cannot)?;
    let port = listener.local_addr().map_err(cannot)?.port();
    let redirect = match &path {
        Some(path) => format!("http://localhost:{port}{path}"),
        None => owner.redirect.to_owned(),
    };
    let state = crate::serve::random_hex();
    let (answers, mut answered) = mpsc::channel(1);
    let shared = Shared { page: page(&redirect, &state), state, realm: realm.to_owned(), answers };
    let shared = Arc::new(shared);
    let server = tokio::spawn(serve(listener, path.clone(), Arc::clone(&shared)));
    (owner.open)(&format!("http://localhost:{port}{CONNECT}"));
    let answer = async {
        match path {
            Some(_) => answered.recv().await,
            None => pasted(owner, &shared).await,
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(WAIT_S), answer).await;
    server.abort();
    match answer.ok().flatten() {
        Some(Answer::Code(code)) => Ok(Consented { code, redirect }),
        Some(Answer::Denied) => Err(Failure::problem("the owner did not consent: run vesper setup again when he does")),
        Some(Answer::OtherCompany(chosen)) => Err(Failure::problem(format!(
            "the owner chose company {chosen}, books.realm_id is {realm}: choose that one, or correct the settings"
        ))),
        None => Err(Failure::problem("nobody consented in ten minutes: run vesper setup again")),
    }
}

async fn serve(listener: TcpListener, path: Option<String>, shared: Arc<Shared>) {
    let mut router = Router::new().route(CONNECT, get(connect));
    if let Some(path) = path {
        router = router.route(&path, get(callback));
    }
    let _ = axum::serve(listener, router.with_state(shared)).await;
}

async fn connect(State(shared): State<Arc<Shared>>) -> Response {
    let headers = [(header::LOCATION, shared.page.clone()), (header::CACHE_CONTROL, "no-store".to_owned())];
    (StatusCode::FOUND, headers).into_response()
}

async fn callback(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let Some(answer) = read(&shared, &query.unwrap_or_default()) else {
        return (StatusCode::BAD_REQUEST, "This answer is not of this run of vesper setup. Start again from its address.")
            .into_response();
    };
    let text = match &answer {
        Answer::Code(_) => "Vesper has the consent. You may close this window.",
        Answer::Denied => "You did not consent. You may close this window.",
        Answer::OtherCompany(_) => "This is another company than the one in the settings. You may close this window.",
    };
    // Of two answers the first counts.
    let _ = shared.answers.try_send(answer);
    (StatusCode::OK, text).into_response()
}

/// The answer in a query; None when its state is not ours, or it is none.
fn read(shared: &Shared, query: &str) -> Option<Answer> {
    let mut code = None;
    let (mut state, mut realm, mut error) = (String::new(), String::new(), false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "code" => code = Some(Secret::new(value.into_owned())),
            "state" => state = value.into_owned(),
            "realmId" => realm = value.into_owned(),
            "error" => error = true,
            _ => {}
        }
    }
    if state != shared.state {
        return None;
    }
    if error {
        return Some(Answer::Denied);
    }
    let code = code?;
    if realm == shared.realm {
        return Some(Answer::Code(code));
    }
    let plain: String = realm.chars().filter(char::is_ascii_digit).take(32).collect();
    Some(Answer::OtherCompany(plain))
}

/// The answer in the address that the person pastes; a line that is none is asked for again.
async fn pasted(owner: &Owner<'_>, shared: &Shared) -> Option<Answer> {
    loop {
        let paste = Arc::clone(&owner.paste);
        let line = tokio::task::spawn_blocking(move || paste()).await.ok().flatten()?;
        let query = line.trim().split_once('?').map_or("", |(_, query)| query);
        if let Some(answer) = read(shared, query.split('#').next().unwrap_or_default()) {
            return Some(answer);
        }
        (owner.open)("that was not the address on which the browser ended: paste the whole of it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_this_run_and_of_this_company_counts() {
        let (answers, _) = mpsc::channel(1);
        let shared = Shared { page: String::new(), state: "s1".to_owned(), realm: "12".to_owned(), answers };
        let told = |query: &str| match read(&shared, query) {
            None => "nothing".to_owned(),
            Some(Answer::Code(code)) => format!("code {}", code.expose()),
            Some(Answer::Denied) => "denied".to_owned(),
            Some(Answer::OtherCompany(realm)) => format!("company {realm}"),
        };
        for (query, want) in [
            ("code=c%2F1&state=s1&realmId=12", "code c/1"),
            ("code=c&state=s2&realmId=12", "nothing"),
            ("code=c&realmId=12", "nothing"),
            ("state=s1&realmId=12", "nothing"),
            ("error=access_denied&state=s1", "denied"),
            ("error=access_denied&state=other", "nothing"),
            ("code=c&state=s1&realmId=99%3Cb%3E", "company 99"),
        ] {
            assert_eq!(told(query), want, "{query}");
        }
    }

    #[test]
    fn a_redirect_to_this_machine_is_localhost_over_http() {
        assert_eq!(loopback("http://localhost:8765/callback"), Some((8765, "/callback".to_owned())));
        assert_eq!(loopback("http://localhost"), Some((80, "/".to_owned())));
        assert_eq!(loopback("https://practice.example/qbo"), None);
        assert_eq!(loopback("http://localhost.evil:80/x"), None);
    }
}
