//! The pause on the pages: what a person holds now, on every page, and the form that changes it, on the list.
//!
//! Must not: hold anything itself (`pause` does).

use crate::app::App;
use crate::failure::Unfinished;
use crate::pause::{self, Pause};

/// Stands in every page where what is held is shown.
const PLACE: &str = "<!-- what is held -->";

/// One button.
pub(super) struct Choice {
    /// The word of the command line.
    pub value: &'static str,
    /// What stands on the button.
    pub label: &'static str,
}

/// The form that holds, or lets go on.
pub(super) struct HoldForm {
    /// What is held now, in a sentence.
    pub now: &'static str,
    /// Of the session.
    pub csrf: String,
    /// What may be chosen instead.
    pub choices: Vec<Choice>,
}

const fn sentence(pause: Pause) -> &'static str {
    match pause {
        Pause::None => "Nothing is held.",
        Pause::Retries => "Held by a person: failed cards are not charged.",
        Pause::Postings => "Held by a person: nothing is posted to the books.",
        Pause::All => {
            "Held by a person: failed cards are not charged, nothing is posted to the books and nothing is written to the EHR."
        }
    }
}

const fn label(pause: Pause) -> &'static str {
    match pause {
        Pause::None => "Go on with everything",
        Pause::Retries => "Hold only the cards",
        Pause::Postings => "Hold only the books",
        Pause::All => "Hold cards, books and write-backs",
    }
}

/// The form as it is now.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn form(app: &App, csrf: &str) -> Result<HoldForm, Unfinished> {
    let now = pause::current(app).await?;
    let others = [Pause::All, Pause::Retries, Pause::Postings, Pause::None].into_iter().filter(|p| *p != now);
    let choices = others.map(|p| Choice { value: p.as_str(), label: label(p) }).collect();
    Ok(HoldForm { now: sentence(now), csrf: csrf.to_owned(), choices })
}

/// Holds what the button says, and nothing else; false when no button says this.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn post(app: &App, who: &str, what: &str) -> Result<bool, Unfinished> {
    let Some(pause) = Pause::parse(what) else { return Ok(false) };
    pause::store(&app.store, pause, who, app.now(), app.random_hex()).await?;
    Ok(true)
}

/// The page with what is held now.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn shown_on(app: &App, html: String) -> Result<String, Unfinished> {
    // The first is the page's own: what comes from outside stands below it, and is escaped.
    if !html.contains(PLACE) {
        return Ok(html);
    }
    let banner = match pause::current(app).await? {
        Pause::None => String::new(),
        held => format!("<p class=\"held\">{} <a href=\"/review#pause\">Change this</a></p>", sentence(held)),
    };
    Ok(html.replacen(PLACE, &banner, 1))
}
