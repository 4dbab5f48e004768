//! What becomes of a posting after the calls: the row, its audit record and its review, in one transaction.
//!
//! Must not: call QuickBooks.

use super::HELD_S;
use super::access::{self, DISCONNECTED};
use super::books::{Booked, Stop, Work};
use crate::app::App;
use crate::changes::{Ask, Changes, next_salt};
use crate::dead_letters;
use crate::failure::{TRIES_ON_CONFLICT, Unfinished, after_conflict};
use crate::task::Task;
use vesper_adapters::dynamo::store::RowRef;
use vesper_core::effect::{BACKOFF_MAX_S, Failure};
use vesper_core::review::{Answer, Question, Reason, Status};

/// Wakes a posting in so many seconds.
pub(super) async fn send(app: &App, row: &RowRef, delay_s: u32) -> Result<(), Unfinished> {
    Ok(app.queues.send(Task::BooksV1 { row: row.clone() }, delay_s).await?)
}

impl Work<'_> {
    /// Stores the outcome.
    pub(super) async fn finish(mut self, outcome: Result<Booked, Stop>) -> Result<(), Unfinished> {
        let now = self.app.now();
        match outcome {
            Ok(booked) => return self.booked(&booked).await,
            Err(Stop::Store(e)) => return Err(e),
            Err(Stop::Disconnected) => return self.disconnected().await,
            Err(Stop::Refused { problem }) => return self.refused(&problem).await,
            Err(Stop::Held { after_s, why }) => {
                self.effect().put_off(now, after_s, why);
                self.effect().since = now;
            }
            Err(Stop::Paced { after_s }) => self.effect().put_off(now, i64::from(after_s), "the pace of the calls"),
            Err(Stop::NotFoundYet) => {}
            Err(Stop::Failed { failure, problem }) => {
                tracing::warn!(posting = %self.read.item.posting.id, problem, "not posted");
                if self.effect().fail(now, &failure, problem) {
                    return self.died().await;
                }
            }
            Err(Stop::NotAsked { after_s, problem }) => {
                tracing::warn!(posting = %self.read.item.posting.id, problem, "not posted");
                if self.effect().fail_to_ask(now, after_s, problem) {
                    return self.died().await;
                }
            }
        }
        self.app.store.save(&mut self.read).await?;
        self.wake_later().await
    }

    /// A next try within fifteen minutes is also a delayed message; `due` finds it in any case.
    async fn wake_later(&self) -> Result<(), Unfinished> {
        let Some(at) = self.read.item.effect.next_at else { return Ok(()) };
        let left = at.duration_since(self.app.now());
        let left_s = left.as_secs().saturating_add(i64::from(left.subsec_nanos() > 0)).max(0);
        match u32::try_from(left_s) {
            Ok(delay_s) if left_s <= BACKOFF_MAX_S => send(self.app, &self.row, delay_s).await,
            _ => Ok(()),
        }
    }

    async fn booked(mut self, booked: &Booked) -> Result<(), Unfinished> {
        let app = self.app;
        let failed_before = self.effect().problem.is_some();
        self.effect().succeed();
        self.read.item.booked_id = Some(booked.id.clone());
        let row = &self.read.item;
        let mut changes = Changes::new(app, app.now());
        changes.unit.update(&self.read);
        let how = if booked.adopted { "found" } else { "booked" };
        let moved =
            row.meant_for.map_or_else(String::new, |d| format!(", meant for {d}, a closed period: dated {}", row.posting.date));
        let detail = format!("{} {how} as {}{moved}", row.posting.id, booked.id);
        changes.audit("posted", &row.posting.subject, &detail);
        if failed_before {
            for (subject, reason) in
                [(row.effect.id.as_str(), Reason::DeadLetter), (row.posting.id.as_str(), Reason::BooksRefused)]
            {
                for review in app.store.reviews_about(subject).await? {
                    let open = review.item.review.status == Status::Open;
                    if open && review.item.review.question.reason == reason {
                        changes.close_review(&review, "posted");
                    }
                }
            }
        }
        if !booked.duplicates.is_empty() {
            let ids = booked.duplicates.join(", ");
            let evidence = format!("QuickBooks holds this posting more than once: remove Id {ids} there, keep Id {}", booked.id);
            let subject = row.posting.id.as_str();
            let question = Question::new(Reason::BooksRefused, vec![], evidence);
            changes.ask(Ask { subject, payment: None, question, salt: "duplicate", about: None }).await?;
        }
        changes.commit().await
    }

    async fn refused(mut self, problem: &str) -> Result<(), Unfinished> {
        let now = self.app.now();
        tracing::warn!(posting = %self.read.item.posting.id, problem, "QuickBooks refused a posting");
        self.effect().fail(now, &Failure::Refused, problem);
        let subject = self.read.item.posting.id.to_string();
        self.give_up(&subject, Reason::BooksRefused, format!("QuickBooks did not accept the posting: {problem}")).await
    }

    async fn died(self) -> Result<(), Unfinished> {
        let subject = self.read.item.effect.id.to_string();
        let last = self.read.item.effect.problem.clone().unwrap_or_default();
        let evidence = format!("Posting {} was tried for 24 hours. The last problem: {last}", self.read.item.posting.id);
        self.give_up(&subject, Reason::DeadLetter, evidence).await
    }

    /// Dead: a person is asked, and his answer brings the row back to work.
    async fn give_up(self, subject: &str, reason: Reason, evidence: String) -> Result<(), Unfinished> {
        let app = self.app;
        dead_letters::tell_dead(&self.read.item.effect);
        let mut changes = Changes::new(app, app.now());
        changes.unit.update(&self.read);
        changes.audit("gave_up", &self.read.item.posting.subject, &format!("{} {reason}", self.read.item.posting.id));
        let question = Question::new(reason, vec![Answer::Retry], evidence);
        let salt = next_salt(app, subject, reason).await?;
        let about = serde_json::to_string(&self.row).ok();
        changes.ask(Ask { subject, payment: None, question, salt: &salt, about }).await?;
        changes.commit().await
    }

    /// Put off, and one review for all that wait. While there is no connection no posting grows old.
    async fn disconnected(mut self) -> Result<(), Unfinished> {
        let app = self.app;
        let now = app.now();
        tracing::warn!(posting = %self.read.item.posting.id, "QuickBooks is not connected");
        self.effect().put_off(now, HELD_S, DISCONNECTED);
        self.effect().since = now;
        for attempt in 0..TRIES_ON_CONFLICT {
            let mut changes = Changes::new(app, now);
            changes.unit.update(&self.read);
            access::tell(app, &mut changes, &self.row, &self.read.item).await?;
            match changes.commit().await {
                // Another posting may have asked at the same moment.
                Err(e) if e.is_conflict() => after_conflict(attempt, app.host.random()).await,
                result => return result,
            }
        }
        Err(Unfinished::Contended { subject: self.read.item.posting.id.to_string() })
    }
}
