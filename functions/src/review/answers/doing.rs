//! What one answer changes, committed at once, and what is woken when it is stored.
//!
//! Must not: know what the answer was.

use crate::app::App;
use crate::changes::Changes;
use crate::dead_letters;
use crate::failure::Unfinished;
use crate::task::Task;
use std::collections::BTreeSet;
use vesper_adapters::dynamo::model::DeadLetter;
use vesper_core::ids::{ClientId, PaymentId, ReviewId};
use vesper_core::matching::Watch;
use vesper_core::review::Status;

/// What one answer changes, and what is to be woken when it is stored.
pub(super) struct Doing<'a> {
    pub(super) app: &'a App,
    pub(super) changes: Changes<'a>,
    /// Clients whose invoices came free: their parked payments are looked at again.
    pub(super) freed: BTreeSet<ClientId>,
    pub(super) tasks: Vec<Task>,
    pub(super) letters: Vec<DeadLetter>,
    /// The question closes by itself when what was done again succeeds.
    pub(super) stays_open: bool,
    pub(super) waits_no_more: Option<PaymentId>,
}

impl<'a> Doing<'a> {
    pub(super) fn new(app: &'a App) -> Doing<'a> {
        let changes = Changes::new(app, app.now());
        let (freed, tasks, letters) = (BTreeSet::new(), Vec::new(), Vec::new());
        Doing { app, changes, freed, tasks, letters, stays_open: false, waits_no_more: None }
    }

    /// Commits, then wakes what waits. Once committed it is done: a lost wake-up is found by `due`.
    pub(super) async fn finish(self) -> Result<(), Unfinished> {
        let Doing { app, mut changes, freed, tasks, letters, waits_no_more, .. } = self;
        freed.iter().for_each(|client| changes.look_at_credit(client));
        match changes.commit().await {
            Err(Unfinished::Queue(e)) => tracing::warn!("an answer is stored, its wake-up is late: {e}"),
            other => other?,
        }
        for letter in letters {
            if let Err(e) = dead_letters::redrive_letter(app, &letter).await {
                tracing::warn!(message.id = letter.id, "an answer is stored, the dead letter is not sent yet: {e}");
            }
        }
        if let Err(e) = wake(app, freed, tasks, waits_no_more).await {
            tracing::warn!("an answer is stored, its wake-up is late: {e}");
        }
        Ok(())
    }

    /// Closes the other open questions about where this payment belongs.
    pub(super) async fn close_others(
        &mut self,
        payment: &PaymentId,
        but: Option<&ReviewId>,
        why: &str,
    ) -> Result<(), Unfinished> {
        for read in self.app.store.reviews_about(payment.as_str()).await? {
            let review = &read.item.review;
            if review.status == Status::Open && review.question.reason.asks_where_it_belongs() && Some(&review.id) != but {
                self.changes.close_review(&read, why);
            }
        }
        Ok(())
    }
}

async fn wake(
    app: &App,
    freed: BTreeSet<ClientId>,
    tasks: Vec<Task>,
    waits_no_more: Option<PaymentId>,
) -> Result<(), Unfinished> {
    for task in tasks {
        app.queues.send(task, 0).await?;
    }
    if let Some(payment) = waits_no_more {
        app.store.stop_waiting(&payment).await?;
    }
    let watches: BTreeSet<Watch> = freed.into_iter().map(Watch::Client).collect();
    for payment in app.store.parked_for(&watches).await? {
        app.queues.send(Task::LookV1 { payment }, 0).await?;
    }
    Ok(())
}
