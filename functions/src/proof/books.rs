//! QuickBooks' side of the proof: the clearing account's balance, and what people changed among our entries (facts/quickbooks.md
//! A2, A5: only reading the changes tells of an edit or a deletion).
//!
//! Must not: write to QuickBooks, or in shadow mode even read: the token endpoint would be written to.

use super::ledger::{Booked, Scan};
use crate::app::App;
use crate::changes::{Ask, Changes, review_id};
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::push_books;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use vesper_adapters::error::Class;
use vesper_adapters::quickbooks::{ChangedEntry, EntryNow};
use vesper_core::money::Minor;
use vesper_core::proof::Cause;
use vesper_core::review::{Question, Reason, Status};

/// QuickBooks tells of changes so far back, in hours; an hour less, so that a slow answer is not refused.
const KEPT_H: i64 = 30 * 24 - 1;
/// The reading begins so long before the end of the last one, in hours: clocks differ.
const OVERLAP_H: i64 = 1;
/// The most entries of one kind in an answer (facts/quickbooks.md A2).
const ANSWER_MAX: usize = 1_000;
/// What a question is about that asks about such a change.
pub(super) const CHANGED: &str = "changed in the books";
/// More answers than this of one night is a mistake.
const ANSWERS_MAX: u32 = 50;

/// The entries that changed in QuickBooks.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// QuickBooks was read.
    pub read: bool,
    /// Their ids.
    pub ids: BTreeSet<String>,
    /// How they are now; None once deleted.
    now: BTreeMap<String, Option<EntryNow>>,
}

fn earlier(at: Timestamp, hours: i64) -> Timestamp {
    at.saturating_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN)
}

/// What changed since, at most 30 days back.
///
/// # Errors
/// When QuickBooks or the store does not answer.
pub(super) async fn changes(app: &App, since: Timestamp) -> Result<Changed, Unfinished> {
    let mut changed = Changed::default();
    let mut since = earlier(since, OVERLAP_H).max(earlier(app.now(), KEPT_H));
    for _ in 0..ANSWERS_MAX {
        let Some((client, token)) = push_books::reading(app, None).await? else { return Ok(Changed::default()) };
        let entries = match client.changes(&token, since).await {
            Err(e) if e.class == Class::Unauthorized => {
                let Some((client, token)) = push_books::reading(app, Some(&token)).await? else { return Ok(Changed::default()) };
                client.changes(&token, since).await?
            }
            other => other?,
        };
        changed.read = true;
        let newest = entries.iter().filter_map(|e| e.updated).max();
        let is_whole = entries.len() < ANSWER_MAX;
        for ChangedEntry { id, now, .. } in entries {
            changed.ids.insert(id.clone());
            changed.now.insert(id, now);
        }
        match newest.filter(|newest| !is_whole && *newest > since) {
            Some(newest) => since = newest,
            None => break,
        }
    }
    Ok(changed)
}

/// What the clearing account holds, debit positive; None when QuickBooks is not read.
///
/// # Errors
/// When QuickBooks or the store does not answer.
pub(super) async fn clearing(app: &App) -> Result<Option<Minor>, Unfinished> {
    let Some(accounts) = app.accounts() else { return Ok(None) };
    let id = &accounts.stripe_clearing;
    let Some((client, token)) = push_books::reading(app, None).await? else { return Ok(None) };
    let account = match client.account(&token, id).await {
        Err(e) if e.class == Class::Unauthorized => {
            let Some((client, token)) = push_books::reading(app, Some(&token)).await? else { return Ok(None) };
            client.account(&token, id).await?
        }
        other => other?,
    };
    // QuickBooks signs what a liability account holds the other way round.
    let kind = account.account_type.as_str();
    let on_credit = kind.contains("Liability") || matches!(kind, "Credit Card" | "Equity");
    Ok(Some(if on_credit { account.balance.negated() } else { account.balance }))
}

/// Entries of ours that a person edited or deleted, each with its question, once; and entries of others on the clearing account.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn edited(app: &App, changed: &Changed, scan: &Scan) -> Result<Vec<Cause>, Unfinished> {
    let mut causes = Vec::new();
    for (id, now) in &changed.now {
        match (scan.booked.get(id), now) {
            (Some(ours), now) => {
                let difference = difference(ours, now.as_ref());
                // Most changed only in that Vesper made them.
                if difference.is_some() || scan.asked.contains(&ours.posting) {
                    causes.extend(ours_changed(app, id, ours, now.as_ref(), difference).await?);
                }
            }
            (None, Some(now)) => causes.extend(foreign(app, id, now)),
            (None, None) => {}
        }
    }
    Ok(causes)
}

fn foreign(app: &App, id: &str, now: &EntryNow) -> Option<Cause> {
    let clearing = &app.accounts()?.stripe_clearing;
    let amount = Minor::sum(now.lines.iter().filter(|(account, _)| account == clearing).map(|(_, m)| *m));
    // One of ours that is on its way is no stranger.
    (now.posting.is_none() && !amount.is_zero()).then(|| Cause::Foreign { booked: id.to_owned(), amount })
}

fn sums(lines: &[(String, Minor)]) -> BTreeMap<&str, Minor> {
    let mut sums: BTreeMap<&str, Minor> = BTreeMap::new();
    for (account, amount) in lines {
        let sum = sums.entry(account).or_default();
        *sum = sum.plus(*amount);
    }
    sums.retain(|_, sum| !sum.is_zero());
    sums
}

/// In which way the entry differs from the posting; None when it does not. Account ids, amounts and dates only.
fn difference(ours: &Booked, now: Option<&EntryNow>) -> Option<String> {
    let Some(now) = now else { return Some("it was deleted".to_owned()) };
    let (want, got) = (sums(&ours.lines), sums(&now.lines));
    let accounts: BTreeSet<&str> = want.keys().chain(got.keys()).copied().collect();
    let of = |side: &BTreeMap<&str, Minor>, account: &str| side.get(account).copied().unwrap_or_default();
    let mut parts: Vec<String> = accounts
        .into_iter()
        .filter(|a| of(&want, a) != of(&got, a))
        .map(|a| format!("account {a} has {} there and {} here", of(&got, a), of(&want, a)))
        .collect();
    if now.date != Some(ours.date) {
        let there = now.date.map_or_else(|| "no date".to_owned(), |d| d.to_string());
        parts.push(format!("it is dated {there} there and {} here", ours.date));
    }
    if now.doc_number != ours.doc_number {
        parts.push("its number is another one".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

async fn ours_changed(
    app: &App,
    id: &str,
    ours: &Booked,
    now: Option<&EntryNow>,
    difference: Option<String>,
) -> Result<Option<Cause>, Unfinished> {
    for attempt in 0..TRIES_ON_CONFLICT {
        match ask_once(app, id, ours, difference.as_deref()).await {
            Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
            Err(e) => return Err(e),
            Ok(()) => {
                let (posting, booked) = (ours.posting.clone(), id.to_owned());
                return Ok(difference.map(|_| match now {
                    Some(_) => Cause::Edited { posting, booked },
                    None => Cause::Deleted { posting, booked },
                }));
            }
        }
    }
    Err(Unfinished::Contended { subject: ours.posting.clone() })
}

/// The difference is its own salt: the same edit is the same question, however often it is read. A question that no longer fits
/// closes.
async fn ask_once(app: &App, id: &str, ours: &Booked, difference: Option<&str>) -> Result<(), Unfinished> {
    let salt = |difference: &str| format!("changed {difference}");
    let mut changes = Changes::new(app, app.now());
    let current = difference.map(|d| review_id(Reason::BooksRefused, &ours.posting, &salt(d)));
    for review in app.store.reviews_about(&ours.posting).await? {
        let about_change = review.item.review.about.as_deref() == Some(CHANGED);
        if review.item.review.status == Status::Open && about_change && Some(&review.item.review.id) != current.as_ref() {
            changes.close_review(&review, "the entry was changed again");
        }
    }
    if let Some(difference) = difference {
        let evidence = format!(
            "A person changed this entry in QuickBooks, Id {id}, of {}: {difference}. Vesper changes nothing there: \
             put it back, or book the difference by hand.",
            ours.subject
        );
        let question = Question::new(Reason::BooksRefused, vec![], evidence);
        let about = Some(CHANGED.to_owned());
        changes.ask(Ask { subject: &ours.posting, payment: None, question, salt: &salt(difference), about }).await?;
    }
    changes.commit().await
}
