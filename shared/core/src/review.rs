//! Reviews: the questions for a person, and the answers that are possible.

use crate::ids::{InvoiceId, PaymentId, ReviewId};
use crate::money::Minor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a person is asked: the closed list of contracts/export.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of contracts/export.md and design.md section 4, which say what each means")]
pub enum Reason {
    ChangedPayment,
    Currency,
    ReferenceConflict,
    VoidInvoice,
    AlreadySettled,
    Overpaid,
    ClientConflict,
    Ambiguous,
    PartialUnreferenced,
    NoInvoice,
    UnknownClient,
    Refunded,
    RefundSplit,
    Disputed,
    CardFailed,
    UnknownDecline,
    PayoutDrift,
    PayoutManual,
    PayoutOpening,
    BooksReconnect,
    BooksRefused,
    WriteBackRefused,
    DeadLetter,
    UnreadableEvent,
    EhrDisagrees,
    ProofDifference,
}

impl Reason {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::ChangedPayment => "changed_payment",
            Reason::Currency => "currency",
            Reason::ReferenceConflict => "reference_conflict",
            Reason::VoidInvoice => "void_invoice",
            Reason::AlreadySettled => "already_settled",
            Reason::Overpaid => "overpaid",
            Reason::ClientConflict => "client_conflict",
            Reason::Ambiguous => "ambiguous",
            Reason::PartialUnreferenced => "partial_unreferenced",
            Reason::NoInvoice => "no_invoice",
            Reason::UnknownClient => "unknown_client",
            Reason::Refunded => "refunded",
            Reason::RefundSplit => "refund_split",
            Reason::Disputed => "disputed",
            Reason::CardFailed => "card_failed",
            Reason::UnknownDecline => "unknown_decline",
            Reason::PayoutDrift => "payout_drift",
            Reason::PayoutManual => "payout_manual",
            Reason::PayoutOpening => "payout_opening",
            Reason::BooksReconnect => "books_reconnect",
            Reason::BooksRefused => "books_refused",
            Reason::WriteBackRefused => "write_back_refused",
            Reason::DeadLetter => "dead_letter",
            Reason::UnreadableEvent => "unreadable_event",
            Reason::EhrDisagrees => "ehr_disagrees",
            Reason::ProofDifference => "proof_difference",
        }
    }

    /// Whether the question is where a payment's money belongs: deciding the payment answers it, and so does a refund of all of it.
    #[must_use]
    pub const fn asks_where_it_belongs(self) -> bool {
        matches!(
            self,
            Reason::Currency
                | Reason::ReferenceConflict
                | Reason::VoidInvoice
                | Reason::AlreadySettled
                | Reason::Overpaid
                | Reason::ClientConflict
                | Reason::Ambiguous
                | Reason::PartialUnreferenced
                | Reason::NoInvoice
                | Reason::UnknownClient
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A possible answer: the value of one button.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Answer {
    /// Allocate these amounts; what is left becomes client credit. `apply:inv_1=4200,inv_2=800`
    Apply(Vec<(InvoiceId, Minor)>),
    /// All that is unapplied is client credit.
    Credit,
    /// The re-opened balance is owed again: the invoice is a candidate like any other.
    ReBill,
    /// The re-opened balance is forgiven by a person in the EHR.
    WriteOff,
    /// The refund takes back these amounts. `take_back:inv_1=1000,=unapplied:200`
    TakeBack {
        /// From which allocations.
        allocations: Vec<(InvoiceId, Minor)>,
        /// From what is unapplied.
        unapplied: Minor,
    },
    /// Do it again (write-back, posting, event).
    Retry,
    /// The allocation is taken back: its money waits for a person.
    Undo,
    /// Vesper's own record stands.
    Keep,
    /// The client is asked for another card.
    AskForCard,
    /// The client is called.
    CallClient,
    /// The opening entry of this account of the books is posted (design.md section 3, go_live). `opening_posted:91`
    OpeningPosted(String),
}

/// Text that is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such answer")]
pub struct BadAnswer;

fn escape(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for c in id.chars() {
        match c {
            '%' => out.push_str("%25"),
            ',' => out.push_str("%2C"),
            '=' => out.push_str("%3D"),
            c => out.push(c),
        }
    }
    out
}

fn unescape(text: &str) -> String {
    text.replace("%2C", ",").replace("%3D", "=").replace("%25", "%")
}

fn shares_text(shares: &[(InvoiceId, Minor)]) -> String {
    let each: Vec<String> = shares.iter().map(|(id, m)| format!("{}={}", escape(id.as_str()), m.get())).collect();
    each.join(",")
}

fn shares_from(text: &str) -> Result<Vec<(String, Minor)>, BadAnswer> {
    let one = |part: &str| {
        let (id, amount) = part.split_once('=').ok_or(BadAnswer)?;
        let amount = amount.parse::<i64>().ok().and_then(|v| Minor::new(v).ok()).filter(|m| m.is_positive());
        Ok((unescape(id), amount.ok_or(BadAnswer)?))
    };
    text.split(',').map(one).collect()
}

fn invoices_from(parts: Vec<(String, Minor)>) -> Result<Vec<(InvoiceId, Minor)>, BadAnswer> {
    parts.into_iter().map(|(id, m)| Ok((InvoiceId::parse(&id).map_err(|_| BadAnswer)?, m))).collect()
}

/// The longest id of an account that an answer may name, in bytes.
const ACCOUNT_BYTES_MAX: usize = 100;
/// What stands for the unapplied part in a `take_back` answer; no invoice can be called that, ids are escaped.
const UNAPPLIED: &str = "=unapplied";

impl Answer {
    /// Reads a button's value.
    ///
    /// # Errors
    /// [`BadAnswer`] when it is none.
    pub fn parse(text: &str) -> Result<Answer, BadAnswer> {
        match text {
            "credit" => return Ok(Answer::Credit),
            "re_bill" => return Ok(Answer::ReBill),
            "write_off" => return Ok(Answer::WriteOff),
            "retry" => return Ok(Answer::Retry),
            "take_back" => return Ok(Answer::Undo),
            "keep" => return Ok(Answer::Keep),
            "ask_for_card" => return Ok(Answer::AskForCard),
            "call_client" => return Ok(Answer::CallClient),
            _ => {}
        }
        if let Some(account) = text.strip_prefix("opening_posted:") {
            let fits = !account.is_empty() && account.len() <= ACCOUNT_BYTES_MAX && !account.chars().any(char::is_control);
            return if fits { Ok(Answer::OpeningPosted(account.to_owned())) } else { Err(BadAnswer) };
        }
        if let Some(list) = text.strip_prefix("apply:") {
            return Ok(Answer::Apply(invoices_from(shares_from(list)?)?));
        }
        let list = text.strip_prefix("take_back:").ok_or(BadAnswer)?;
        let (list, rest) = list.split_once(UNAPPLIED).map_or((list, None), |(l, r)| (l.trim_end_matches(','), Some(r)));
        let unapplied = match rest {
            Some(rest) => rest.strip_prefix(':').and_then(|r| r.parse::<i64>().ok()).filter(|r| *r >= 0).ok_or(BadAnswer)?,
            None => 0,
        };
        let allocations = if list.is_empty() { Vec::new() } else { invoices_from(shares_from(list)?)? };
        Ok(Answer::TakeBack { allocations, unapplied: Minor::new(unapplied).map_err(|_| BadAnswer)? })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Apply(shares) => write!(f, "apply:{}", shares_text(shares)),
            Answer::Credit => f.write_str("credit"),
            Answer::ReBill => f.write_str("re_bill"),
            Answer::WriteOff => f.write_str("write_off"),
            Answer::TakeBack { allocations, unapplied } => {
                write!(f, "take_back:{}", shares_text(allocations))?;
                if unapplied.is_positive() { write!(f, ",{UNAPPLIED}:{}", unapplied.get()) } else { Ok(()) }
            }
            Answer::Retry => f.write_str("retry"),
            Answer::Undo => f.write_str("take_back"),
            Answer::Keep => f.write_str("keep"),
            Answer::AskForCard => f.write_str("ask_for_card"),
            Answer::CallClient => f.write_str("call_client"),
            Answer::OpeningPosted(account) => write!(f, "opening_posted:{account}"),
        }
    }
}

impl TryFrom<String> for Answer {
    type Error = BadAnswer;
    fn try_from(text: String) -> Result<Self, BadAnswer> {
        Answer::parse(&text)
    }
}

impl From<Answer> for String {
    fn from(a: Answer) -> String {
        a.to_string()
    }
}

/// A question before it is stored: why, with which answers, the proposed one first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Why a person is asked.
    pub reason: Reason,
    /// The possible answers, the proposed one first.
    pub answers: Vec<Answer>,
    /// What speaks for and against, without personal data: one sentence each.
    pub evidence: Vec<String>,
}

impl Question {
    /// A question with one piece of evidence.
    #[must_use]
    pub fn new(reason: Reason, answers: Vec<Answer>, evidence: impl Into<String>) -> Self {
        Self { reason, answers, evidence: vec![evidence.into()] }
    }
}

/// Whether a review still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A person has not answered.
    Open,
    /// Answered, or no longer a question.
    Resolved,
}

/// A stored review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// `rev_...`.
    pub id: ReviewId,
    /// What it is about: the PaymentIntent unless contracts/export.md says otherwise.
    pub subject: String,
    /// The payment it is about, if it is about one.
    pub payment: Option<PaymentId>,
    /// The question.
    pub question: Question,
    /// Whether it waits.
    pub status: Status,
    /// When it was asked.
    pub opened_at: Timestamp,
    /// When it was answered or fell away.
    pub closed_at: Option<Timestamp>,
    /// What was answered, as the button's value, or why it fell away.
    pub resolution: Option<String>,
    /// The row that the answer acts on besides the payment (an effect, a movement), in the store's own words.
    pub about: Option<String>,
}
