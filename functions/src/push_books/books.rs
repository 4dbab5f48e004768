//! The calls for one posting: what is asked, what is created, and what each answer means for the effect.
//!
//! Must not: call QuickBooks for a create whose moment is not stored yet.

use super::access::{self, NoToken};
use crate::app::{App, QuickBooks};
use crate::failure::Unfinished;
use jiff::civil::Date;
use std::collections::BTreeMap;
use vesper_adapters::dynamo::item::Read;
use vesper_adapters::dynamo::model::StoredPosting;
use vesper_adapters::dynamo::store::{Failed, RowRef};
use vesper_adapters::error::{CallError, Class};
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::{EntryDraft, TransferDraft, request_id};
use vesper_core::effect::{Effect, Failure};
use vesper_core::money::Minor;
use vesper_core::posting::Form;

/// The Fault of a date in a closed period (facts/quickbooks.md A4).
const CLOSED_PERIOD: &str = "6210";
/// The Fault of a DocNumber that exists already (facts/quickbooks.md A4).
const DOC_NUMBER_TAKEN: &str = "6140";

/// The posting stands in QuickBooks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Booked {
    /// Its id there.
    pub id: String,
    /// An earlier call had made it.
    pub adopted: bool,
    /// Later entries with the same DocNumber, which a person must remove.
    pub duplicates: Vec<String>,
}

/// Why a posting does not stand in QuickBooks now.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing may be posted for now; that time does not count against its 24 hours.
    Held { after_s: i64, why: &'static str },
    /// The pace of the calls says wait, in seconds.
    Paced { after_s: u32 },
    /// A person must connect again.
    Disconnected,
    /// Looked for and not found: it is looked for again, as the effect says.
    NotFoundYet,
    /// The create failed.
    Failed { failure: Failure, problem: String },
    /// Something before the create failed: an unknown outcome stays unknown.
    NotAsked { after_s: Option<u32>, problem: String },
    /// It will never be accepted like this.
    Refused { problem: String },
    /// The store.
    Store(Unfinished),
}

impl From<Unfinished> for Stop {
    fn from(e: Unfinished) -> Self {
        Stop::Store(e)
    }
}

impl From<Failed> for Stop {
    fn from(e: Failed) -> Self {
        Stop::Store(e.into())
    }
}

impl From<NoToken> for Stop {
    fn from(e: NoToken) -> Self {
        match e {
            NoToken::Wait { after_s, problem } => Stop::NotAsked { after_s: Some(after_s), problem },
            NoToken::Disconnected => Stop::Disconnected,
            NoToken::Store(e) => Stop::Store(e),
        }
    }
}

/// A posting as QuickBooks takes it.
#[derive(Clone)]
enum Draft {
    Entry(EntryDraft),
    Transfer(TransferDraft),
}

impl Draft {
    fn of(row: &StoredPosting) -> Option<Draft> {
        let id = row.posting.id.as_str();
        let (date, note, request_id) = (row.posting.date, format!("vesper {id}"), request_id(id));
        match row.posting.form {
            Form::Entry => {
                let doc_number = row.doc_number.clone()?;
                Some(Draft::Entry(EntryDraft { date, doc_number, lines: row.lines.clone(), note, request_id }))
            }
            Form::Transfer => {
                let [a, b] = row.lines.as_slice() else { return None };
                let (to, from) = if a.1.is_positive() { (a, b) } else { (b, a) };
                (to.1 == from.1.negated()).then(|| {
                    let (from, to, amount) = (from.0.clone(), to.0.clone(), to.1);
                    Draft::Transfer(TransferDraft { date, from, to, amount, note, request_id })
                })
            }
        }
    }
}

/// Asks for a place in the pace of the calls, before the first one of a posting; who gets none is told his turn.
///
/// # Errors
/// [`Stop::Paced`] with the seconds until then.
pub(super) fn pace(app: &App, books: &QuickBooks) -> Result<(), Stop> {
    let mut pacer = books.pacer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let now = app.now();
    pacer.take(now).map_err(|_| Stop::Paced { after_s: pacer.turn(now) })
}

/// One call.
enum Call<'d> {
    Create(&'d Draft),
    Find(&'d Draft),
    CloseDate,
}

enum Answered {
    Created(String),
    Found(Option<Found>),
    CloseDate(Option<Date>),
}

/// What an earlier call left in QuickBooks.
struct Found {
    id: String,
    /// Its lines are those of the posting.
    same: bool,
    duplicates: Vec<String>,
}

/// A posting that is being worked on: its row is `sent`, and the lease is ours, stored at the latest with the moment of the create.
pub(super) struct Work<'a> {
    pub app: &'a App,
    pub owner: String,
    pub row: RowRef,
    pub read: Read<StoredPosting>,
    /// The access token for the first call, read with the row.
    pub access: Option<Secret>,
    /// A call was made already: the place in the pace that was asked for is taken.
    pub called: bool,
}

impl Work<'_> {
    pub(super) fn effect(&mut self) -> &mut Effect {
        &mut self.read.item.effect
    }

    /// Brings it there, or says why not.
    pub(super) async fn book(&mut self, books: &QuickBooks, ask_first: bool) -> Result<Booked, Stop> {
        let Some(mut draft) = Draft::of(&self.read.item) else {
            return Err(Stop::Refused { problem: "the posting is no entry and no transfer of two lines".to_owned() });
        };
        if ask_first {
            if let Some(booked) = self.look(books, &draft).await? {
                return Ok(booked);
            }
            let now = self.app.now();
            if !self.effect().not_found(now, false) {
                return Err(Stop::NotFoundYet);
            }
        }
        let mut redated = false;
        loop {
            let error = match self.call(books, Call::Create(&draft)).await? {
                Ok(Answered::Created(id)) => return Ok(Booked { id, adopted: false, duplicates: vec![] }),
                Ok(_) => return Err(Stop::Failed { failure: Failure::Unknown, problem: "another answer".to_owned() }),
                Err(error) => error,
            };
            let rejected = |code| error.class == Class::Rejected && error.code.as_deref() == Some(code);
            if rejected(CLOSED_PERIOD) && !redated {
                redated = true;
                self.redate(books, &error).await?;
                draft = Draft::of(&self.read.item).unwrap_or(draft);
            } else if rejected(DOC_NUMBER_TAKEN) {
                // An earlier call made it after all. Not shown yet: it is looked for again.
                if let Some(booked) = self.look(books, &draft).await? {
                    return Ok(booked);
                }
                let now = self.app.now();
                self.effect().unknown_since = Some(now);
                return Err(Stop::Failed { failure: Failure::Unknown, problem: error.to_string() });
            } else {
                return Err(stop_of_create(&error));
            }
        }
    }

    /// Whether an earlier call was done after all. Another entry under our number is refused: a person must look.
    async fn look(&mut self, books: &QuickBooks, draft: &Draft) -> Result<Option<Booked>, Stop> {
        match self.call(books, Call::Find(draft)).await? {
            Ok(Answered::Found(Some(Found { id, same: true, duplicates }))) => Ok(Some(Booked { id, adopted: true, duplicates })),
            Ok(Answered::Found(Some(Found { id, .. }))) => {
                self.effect().unknown_since = None;
                Err(Stop::Refused { problem: format!("QuickBooks has another entry under this DocNumber, Id {id}") })
            }
            Ok(_) => Ok(None),
            Err(error) => Err(stop_of_read(&error)),
        }
    }

    /// The period is closed: the posting moves to the first open day, and says so.
    async fn redate(&mut self, books: &QuickBooks, refusal: &CallError) -> Result<(), Stop> {
        let closed = match self.call(books, Call::CloseDate).await? {
            Ok(Answered::CloseDate(closed)) => closed,
            Ok(_) => None,
            Err(error) => return Err(stop_of_read(&error)),
        };
        let posting = &mut self.read.item.posting;
        let open = closed.and_then(|d| d.tomorrow().ok()).filter(|open| *open > posting.date);
        let Some(open) = open else { return Err(Stop::Refused { problem: refusal.to_string() }) };
        self.read.item.meant_for.get_or_insert(posting.date);
        posting.date = open;
        Ok(())
    }

    /// Counts a further call of the same posting. It is made at once (else a slow pace would never let an unknown outcome
    /// be asked for and the create be made), and the others wait the longer for it.
    fn count(&self, books: &QuickBooks) {
        let mut pacer = books.pacer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.app.now();
        if let Err(after_s) = pacer.take(now) {
            let later = now.saturating_add(jiff::SignedDuration::from_secs(i64::from(after_s)));
            if let Ok(later) = later {
                let _ = pacer.take(later);
            }
        }
    }

    /// Makes one call; with a new access token once more, where the first one is refused.
    async fn call(&mut self, books: &QuickBooks, call: Call<'_>) -> Result<Result<Answered, CallError>, Stop> {
        let mut access = match self.access.take() {
            Some(access) => access,
            None => access::token(self.app, books, &self.owner, None).await?,
        };
        let answer = self.call_with(books, &call, &access).await?;
        if !matches!(&answer, Err(e) if e.class == Class::Unauthorized) {
            return Ok(answer);
        }
        access = access::token(self.app, books, &self.owner, Some(&access)).await?;
        self.call_with(books, &call, &access).await
    }

    async fn call_with(
        &mut self,
        books: &QuickBooks,
        call: &Call<'_>,
        access: &Secret,
    ) -> Result<Result<Answered, CallError>, Stop> {
        let client = &books.client;
        if self.called {
            self.count(books);
        }
        self.called = true;
        Ok(match call {
            Call::Create(draft) => {
                let now = self.app.now();
                self.effect().calling(now);
                self.app.store.save(&mut self.read).await?;
                let answer = match draft {
                    Draft::Entry(draft) => client.create_entry(access, draft).await,
                    Draft::Transfer(draft) => client.create_transfer(access, draft).await,
                };
                if matches!(&answer, Err(e) if e.class != Class::OutcomeUnknown) {
                    self.effect().unknown_since = None; // Certain: nothing was booked.
                }
                answer.map(|booked| Answered::Created(booked.id))
            }
            Call::Find(Draft::Entry(draft)) => {
                let found = client.find_entry(access, &draft.doc_number).await;
                found.map(|found| {
                    Answered::Found(found.map(|f| Found {
                        same: sums(&f.lines) == sums(&draft.lines),
                        id: f.id,
                        duplicates: f.duplicates,
                    }))
                })
            }
            Call::Find(Draft::Transfer(draft)) => {
                let alike = client.find_transfers(access, draft.date, draft.amount, &draft.from, &draft.to).await;
                alike.map(|alike| {
                    let id = draft.note.rsplit(' ').next();
                    let mut ours = alike.into_iter().filter(|t| t.note.split_whitespace().any(|word| Some(word) == id));
                    let first = ours.next().map(|t| t.id);
                    Answered::Found(first.map(|id| Found { id, same: true, duplicates: ours.map(|t| t.id).collect() }))
                })
            }
            Call::CloseDate => client.book_close_date(access).await.map(Answered::CloseDate),
        })
    }
}

/// What each account gets in all: QuickBooks may order lines anew.
fn sums(lines: &[(String, Minor)]) -> BTreeMap<&str, Minor> {
    let mut sums: BTreeMap<&str, Minor> = BTreeMap::new();
    for (account, amount) in lines {
        let sum = sums.entry(account).or_default();
        *sum = sum.plus(*amount);
    }
    sums.retain(|_, sum| !sum.is_zero());
    sums
}

fn stop_of_create(error: &CallError) -> Stop {
    let problem = error.to_string();
    let later = |after_s| Stop::Failed { failure: Failure::Later { after_s }, problem: error.to_string() };
    match error.class {
        Class::OutcomeUnknown => Stop::Failed { failure: Failure::Unknown, problem },
        Class::Throttled { retry_after_s } => later(retry_after_s),
        Class::Transient | Class::Conflict | Class::Unauthorized => later(None),
        Class::Rejected | Class::Bug | Class::NotFound => Stop::Refused { problem },
    }
}

fn stop_of_read(error: &CallError) -> Stop {
    let problem = error.to_string();
    match error.class {
        Class::Throttled { retry_after_s } => Stop::NotAsked { after_s: retry_after_s, problem },
        Class::Transient | Class::Conflict | Class::Unauthorized | Class::OutcomeUnknown => {
            Stop::NotAsked { after_s: None, problem }
        }
        Class::Rejected | Class::Bug | Class::NotFound => Stop::Refused { problem },
    }
}
