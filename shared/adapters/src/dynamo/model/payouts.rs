//! Payouts and the transactions in them.

use super::{newest_first, stored};
use crate::dynamo::item::{Key, Stored};
use crate::dynamo::keys;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vesper_core::payout::{Matched, Payout, PayoutRow, PayoutState, Tally};

/// The list of payouts, newest first.
pub const PAYOUTS: &str = "PAYOUTS";

/// A payout, and how far the reading of its transactions has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPayout {
    /// `po_...`.
    pub id: String,
    /// What Stripe said of it last; None while only an event named it.
    pub payout: Option<Payout>,
    /// Where it stands.
    pub state: PayoutState,
    /// The how-many-eth reading of its transactions this is; a new one begins after a drift.
    pub look: u32,
    /// The last transaction that was read and stored: a restart goes on after it.
    pub cursor: Option<String>,
    /// All transactions were read.
    pub listed: bool,
    /// Their sums so far.
    pub tally: Tally,
    /// The Transfer was posted; it is reversed when the payout comes back.
    pub transferred: bool,
    /// It was tied out in shadow mode: its postings are shown and never sent.
    pub shadow: bool,
    /// When it is to be looked at again.
    pub next_at: Option<Timestamp>,
    /// Since when Stripe has not answered for it.
    pub failing_since: Option<Timestamp>,
    /// How often that was tried.
    pub tries: u32,
    /// What went wrong last, or why it waits.
    pub problem: Option<String>,
}
impl Stored for StoredPayout {
    const KIND: &'static str = "PayoutV1";
    fn key(&self) -> Key {
        keys::payout(&self.id)
    }
    fn due(&self) -> Option<Timestamp> {
        self.next_at
    }
    fn list(&self) -> Option<(String, String)> {
        Some((PAYOUTS.to_owned(), newest_first(self.payout.as_ref()?.created, &self.id)))
    }
}

/// One transaction of a payout, and what the ledger knew of it when it was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPayoutRow {
    /// The payout.
    pub payout: String,
    /// Which reading.
    pub look: u32,
    /// Its place in Stripe's list, the payout's own row not counted.
    pub n: u32,
    /// The transaction.
    pub row: PayoutRow,
    /// What the ledger knew.
    pub matched: Matched,
}
stored!(StoredPayoutRow, "PayoutRowV1", |r| keys::payout_row(&r.payout, r.look, r.n));
