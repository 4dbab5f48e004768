//! Payouts: what of Stripe's balance a payout took to the bank, whether its transactions add up, and what that means in the
//! books (design.md sections 6 and 7).
//!
//! Must not: know Stripe's JSON, ask anybody, or post for a payout whose transactions do not add up.

use crate::ids::{ChargeId, MovementId, PaymentId, PostingId};
use crate::money::{Currency, Minor};
use crate::payment::derived_id;
use crate::posting::{Account, Form, Line, Lines, Posting};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Stripe's `status` of a payout (facts/stripe.md section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutStatus {
    /// pending, in_transit, and any status of the future: on its way.
    OnItsWay,
    /// The bank has it; it may still fail within five business days.
    Paid,
    /// The bank sent it back.
    Failed,
    /// It was stopped before the bank had it.
    Canceled,
}

impl PayoutStatus {
    /// The money is in Stripe's balance again.
    #[must_use]
    pub const fn came_back(self) -> bool {
        matches!(self, PayoutStatus::Failed | PayoutStatus::Canceled)
    }
}

/// A payout as Stripe tells it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payout {
    /// `po_...`.
    pub id: String,
    /// What went to the bank, in minor units; negative where Stripe took money from the bank.
    pub amount: Minor,
    /// Of the amount: the settlement currency.
    pub currency: Currency,
    /// Made by Stripe's schedule. Of a manual one Stripe cannot say which transactions are in it.
    pub automatic: bool,
    /// Where it stands.
    pub status: PayoutStatus,
    /// `reconciliation_status` is `completed`: the list of its transactions is whole.
    pub reconciled: bool,
    /// When the bank has it, or will.
    pub arrival: Timestamp,
    /// When it left Stripe's balance.
    pub created: Timestamp,
    /// The bank's own reference; comes up to ten days late.
    pub trace_id: Option<String>,
    /// Its own row in Stripe's balance.
    pub balance_transaction: Option<String>,
    /// The row that brought it back.
    pub failure_balance_transaction: Option<String>,
}

/// What a balance transaction of a payout is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RowKind {
    /// A payment arrived.
    Charge {
        /// The charge.
        charge: ChargeId,
        /// Its payment; None while nobody said (the row came without its source).
        payment: Option<PaymentId>,
    },
    /// A refund left, or came back because it failed.
    Refund {
        /// The refund.
        refund: MovementId,
        /// Its payment; None while nobody said.
        payment: Option<PaymentId>,
        /// It came back.
        back: bool,
    },
    /// A dispute took money, or gave it back.
    Dispute {
        /// The dispute.
        dispute: MovementId,
        /// Its payment; None while nobody said.
        payment: Option<PaymentId>,
        /// It was given back.
        back: bool,
    },
    /// The row is itself a fee: stripe_fee, tax_fee.
    Fee,
    /// The payout's own row.
    PayoutItself,
    /// An earlier payout that failed or was canceled gave its money back.
    PayoutBack {
        /// The earlier payout.
        payout: String,
    },
    /// A type that Vesper does not post: counts in the sum, and a person is told.
    Other {
        /// Stripe's `reporting_category`, else its `type`.
        reporting_category: String,
    },
}

/// One balance transaction of a payout. Amounts in minor units of the payout's currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayoutRow {
    /// `txn_...`.
    pub id: String,
    /// What it is about.
    pub kind: RowKind,
    /// Gross.
    pub amount: Minor,
    /// What Stripe kept of it.
    pub fee: Minor,
    /// amount - fee.
    pub net: Minor,
    /// Of all three.
    pub currency: Currency,
    /// When it was made.
    pub created: Timestamp,
}

impl PayoutRow {
    /// What it takes from clearing to the fees account. A row that is itself a fee is one with all of its net.
    #[must_use]
    pub fn fees(&self) -> Minor {
        match self.kind {
            RowKind::Fee => self.net.negated(),
            RowKind::PayoutItself => Minor::ZERO,
            _ => self.fee,
        }
    }
}

/// What the ledger knows of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matched {
    /// It is recorded and posted.
    Known,
    /// It is older than go_live: the opening entry holds its net, so its fee is not posted again.
    BeforeGoLive,
    /// Nothing in the ledger explains it.
    Unmatched,
}

/// The sums of a payout's transactions, row by row; its own row is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many rows.
    pub transactions: u32,
    /// The sum of their nets.
    pub net: Minor,
    /// What they take to the fees account, without those before go_live.
    pub fees: Minor,
    /// Rows that nothing in the ledger explains.
    pub unmatched: u32,
    /// Rows older than go_live.
    pub before_go_live: u32,
    /// What the unmatched rows are, in Stripe's words.
    pub unexplained: BTreeSet<String>,
}

impl Tally {
    /// Counts one more row.
    pub fn add(&mut self, row: &PayoutRow, matched: Matched) {
        if row.kind == RowKind::PayoutItself {
            return;
        }
        self.transactions = self.transactions.saturating_add(1);
        self.net = self.net.plus(row.net);
        match matched {
            Matched::BeforeGoLive => self.before_go_live = self.before_go_live.saturating_add(1),
            Matched::Known => self.fees = self.fees.plus(row.fees()),
            Matched::Unmatched => {
                self.fees = self.fees.plus(row.fees());
                self.unmatched = self.unmatched.saturating_add(1);
                self.unexplained.insert(unexplained(row));
            }
        }
    }
}

fn unexplained(row: &PayoutRow) -> String {
    match &row.kind {
        RowKind::Charge { charge, .. } => charge.to_string(),
        RowKind::Refund { refund: id, .. } | RowKind::Dispute { dispute: id, .. } => id.to_string(),
        RowKind::PayoutBack { payout } => payout.clone(),
        RowKind::Other { reporting_category } => reporting_category.clone(),
        RowKind::Fee | RowKind::PayoutItself => row.id.clone(),
    }
}

/// Where a payout stands (contracts/export.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutState {
    /// Its transactions cannot be had yet, or the opening entry is not confirmed.
    Waiting,
    /// Its transactions add up; it is posted.
    TiedOut,
    /// Its transactions do not add up; nothing is posted.
    Drift,
    /// A person posts it: it was made by hand, is in another currency, or left before the books were Vesper's to write.
    Manual,
    /// It came back.
    Failed,
}

impl PayoutState {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PayoutState::Waiting => "waiting",
            PayoutState::TiedOut => "tied_out",
            PayoutState::Drift => "drift",
            PayoutState::Manual => "manual",
            PayoutState::Failed => "failed",
        }
    }
}

/// Why a payout waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Stripe has not finished its reconciliation: the list may be short.
    NotReconciled,
    /// It holds money from before go_live, and nobody has confirmed the opening entry yet.
    Opening,
}

/// What is to be done with a payout that is not tied out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Post the fees and the Transfer.
    TiedOut,
    /// It adds up, and came back: post the fees, which stay, and no Transfer.
    Failed,
    /// Post nothing, ask.
    Drift {
        /// The sum of the rows less the payout's amount.
        difference: Minor,
    },
    /// Post nothing, look again.
    Waiting(Why),
    /// Post nothing, ask.
    Manual,
}

/// Judges a payout. `tally` is that of the whole list; it is looked at only when the payout is automatic and reconciled.
///
/// A payout that came back before it was tied out is judged like any other: its transactions are in no other payout (the
/// next one holds only the one row that gave the money back), so its fees are posted now or never.
#[must_use]
pub fn judge(payout: &Payout, tally: &Tally, opening_confirmed: bool) -> Verdict {
    if !payout.automatic {
        return Verdict::Manual;
    }
    if !payout.reconciled {
        return Verdict::Waiting(Why::NotReconciled);
    }
    let difference = tally.net.minus(payout.amount);
    if !difference.is_zero() {
        return Verdict::Drift { difference };
    }
    if payout.status.came_back() {
        return Verdict::Failed;
    }
    if tally.before_go_live > 0 && !opening_confirmed {
        return Verdict::Waiting(Why::Opening);
    }
    Verdict::TiedOut
}

fn posting_id(payout: &str, what: &str) -> PostingId {
    PostingId::parse(&derived_id("pst", &[payout, what])).unwrap_or_else(|_| unreachable!("a derived id is an id"))
}

/// The UTC date of the arrival: the date of the Transfer (contracts/export.md), and of the fees that belong to it.
#[must_use]
pub fn arrival_date(payout: &Payout) -> Date {
    payout.arrival.to_zoned(TimeZone::UTC).date()
}

/// The entry of a payout's fees: Dr fees, Cr clearing; the other way round where Stripe gave back more than it took. None when
/// there are none.
#[must_use]
pub fn fees_entry(payout: &Payout, tally: &Tally) -> Option<Posting> {
    let lines = Lines::new().debit(Account::StripeFees, tally.fees).credit(Account::StripeClearing, tally.fees);
    lines.entry(posting_id(&payout.id, "fees"), &payout.id, arrival_date(payout))
}

fn transfer_of(payout: &Payout, what: &str, to_bank: Minor, date: Date) -> Option<Posting> {
    if to_bank.is_zero() {
        return None;
    }
    let lines = vec![
        Line { account: Account::Checking, amount: to_bank },
        Line { account: Account::StripeClearing, amount: to_bank.negated() },
    ];
    Some(Posting { id: posting_id(&payout.id, what), subject: payout.id.clone(), form: Form::Transfer, date, lines })
}

/// The Transfer of a payout: clearing to checking, of a negative one checking to clearing. None for an amount of zero.
#[must_use]
pub fn transfer(payout: &Payout) -> Option<Posting> {
    transfer_of(payout, "transfer", payout.amount, arrival_date(payout))
}

/// The Transfer that reverses the one of a payout that came back: dated the day of that decision, never before the Transfer
/// itself. The fees stay.
#[must_use]
pub fn transfer_back(payout: &Payout, decision: Date) -> Option<Posting> {
    transfer_of(payout, "transfer_back", payout.amount.negated(), decision.max(arrival_date(payout)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minor(v: i64) -> Minor {
        Minor::new(v).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn row(id: &str, kind: RowKind, amount: i64, fee: i64) -> PayoutRow {
        let (amount, fee) = (minor(amount), minor(fee));
        PayoutRow {
            id: id.to_owned(),
            kind,
            amount,
            fee,
            net: amount.minus(fee),
            currency: Currency::USD,
            created: at(1_795_190_402),
        }
    }

    fn charge(id: &str) -> RowKind {
        RowKind::Charge { charge: ChargeId::parse(id).unwrap(), payment: None }
    }

    fn refund(id: &str) -> RowKind {
        RowKind::Refund { refund: MovementId::parse(id).unwrap(), payment: None, back: false }
    }

    /// The numbers of the payout PO1 of the test data: 40.48 + 19.12 - 12.00 - 1.00 = 46.60.
    fn po1() -> (Payout, Vec<PayoutRow>) {
        let payout = Payout {
            id: "po_1".to_owned(),
            amount: minor(4660),
            currency: Currency::USD,
            automatic: true,
            status: PayoutStatus::Paid,
            reconciled: true,
            arrival: at(1_795_392_000),
            created: at(1_795_276_800),
            trace_id: None,
            balance_transaction: Some("txn_own".to_owned()),
            failure_balance_transaction: None,
        };
        let rows = vec![
            row("txn_own", RowKind::PayoutItself, -4660, 0),
            row("txn_a", charge("ch_a"), 4200, 152),
            row("txn_p", charge("ch_p"), 2000, 88),
            row("txn_r", refund("re_2"), -1200, 0),
            row("txn_f", RowKind::Fee, -100, 0),
        ];
        (payout, rows)
    }

    fn tally(rows: &[PayoutRow]) -> Tally {
        let mut tally = Tally::default();
        rows.iter().for_each(|r| tally.add(r, Matched::Known));
        tally
    }

    fn lines(posting: &Posting) -> Vec<(Account, i64)> {
        posting.check().unwrap();
        posting.lines.iter().map(|l| (l.account, l.amount.get())).collect()
    }

    #[test]
    fn the_payout_of_the_test_data_ties_out() {
        let (payout, rows) = po1();
        let tally = tally(&rows);
        assert_eq!((tally.transactions, tally.net, tally.fees, tally.unmatched), (4, minor(4660), minor(340), 0));
        assert_eq!(judge(&payout, &tally, false), Verdict::TiedOut);
        let fees = fees_entry(&payout, &tally).unwrap();
        assert_eq!(lines(&fees), [(Account::StripeClearing, -340), (Account::StripeFees, 340)]);
        let out = transfer(&payout).unwrap();
        assert_eq!((lines(&out), out.form), (vec![(Account::Checking, 4660), (Account::StripeClearing, -4660)], Form::Transfer));
        assert_eq!(out.date.to_string(), "2026-11-23");
        // Everything that the four rows brought into clearing is gone: 42.00 + 20.00 - 12.00 less fees and Transfer.
        assert_eq!(4200 + 2000 - 1200 - 340 - 4660, 0);
    }

    #[test]
    fn a_payouts_own_row_is_in_no_sum() {
        let own = row("txn_own", RowKind::PayoutItself, -4660, 25);
        assert_eq!((own.fees(), tally(std::slice::from_ref(&own))), (Minor::ZERO, Tally::default()));
    }

    #[test]
    fn a_cent_too_much_is_drift_and_says_how_much() {
        let (mut payout, rows) = po1();
        payout.amount = minor(4659);
        assert_eq!(judge(&payout, &tally(&rows), true), Verdict::Drift { difference: minor(1) });
    }

    #[test]
    fn a_manual_or_unfinished_payout_is_not_summed() {
        let (payout, _) = po1();
        let manual = Payout { automatic: false, reconciled: false, ..payout.clone() };
        assert_eq!(judge(&manual, &Tally::default(), true), Verdict::Manual);
        let early = Payout { reconciled: false, ..payout.clone() };
        assert_eq!(judge(&early, &Tally::default(), true), Verdict::Waiting(Why::NotReconciled));
        let failed_early = Payout { status: PayoutStatus::Failed, ..early };
        assert_eq!(judge(&failed_early, &Tally::default(), true), Verdict::Waiting(Why::NotReconciled));
    }

    #[test]
    fn money_from_before_go_live_waits_for_the_opening_entry_and_its_fees_are_not_posted() {
        let (payout, rows) = po1();
        let mut tally = Tally::default();
        for r in &rows {
            tally.add(r, if r.id == "txn_a" { Matched::BeforeGoLive } else { Matched::Known });
        }
        assert_eq!((tally.before_go_live, tally.net, tally.fees), (1, minor(4660), minor(188)));
        assert_eq!(judge(&payout, &tally, false), Verdict::Waiting(Why::Opening));
        assert_eq!(judge(&payout, &tally, true), Verdict::TiedOut);
        let failed = Payout { status: PayoutStatus::Failed, ..payout };
        assert_eq!(judge(&failed, &tally, false), Verdict::Failed, "its money is back: the opening entry does not matter");
    }

    #[test]
    fn a_payout_that_came_back_is_reversed_and_its_fees_stay() {
        let (payout, rows) = po1();
        for status in [PayoutStatus::Failed, PayoutStatus::Canceled] {
            let failed = Payout { status, ..payout.clone() };
            assert_eq!(judge(&failed, &tally(&rows), true), Verdict::Failed);
        }
        let day = |text: &str| text.parse::<Date>().unwrap();
        let back = transfer_back(&payout, day("2026-11-25")).unwrap();
        assert_eq!(lines(&back), [(Account::Checking, -4660), (Account::StripeClearing, 4660)]);
        assert_eq!(back.date, day("2026-11-25"));
        let early = transfer_back(&payout, day("2026-11-20")).unwrap();
        assert_eq!(early.date, day("2026-11-23"), "never before the Transfer that it reverses");
        let ids = [transfer(&payout).unwrap().id, back.id, fees_entry(&payout, &tally(&rows)).unwrap().id];
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn a_negative_payout_takes_from_the_bank() {
        let (payout, _) = po1();
        let negative = Payout { amount: minor(-2020), ..payout };
        let rows = [row("txn_r", refund("re_1"), -2020, 0)];
        assert_eq!(judge(&negative, &tally(&rows), true), Verdict::TiedOut);
        assert_eq!(lines(&transfer(&negative).unwrap()), [(Account::Checking, -2020), (Account::StripeClearing, 2020)]);
        assert_eq!(fees_entry(&negative, &tally(&rows)), None);
        let zero = Payout { amount: Minor::ZERO, ..negative };
        assert_eq!(transfer(&zero), None);
    }

    #[test]
    fn fees_that_were_given_back_are_posted_the_other_way_round() {
        let (payout, _) = po1();
        let tally = tally(&[row("txn_f", RowKind::Fee, 250, 0)]);
        let fees = fees_entry(&payout, &tally).unwrap();
        assert_eq!(lines(&fees), [(Account::StripeClearing, 250), (Account::StripeFees, -250)]);
    }

    #[test]
    fn an_unknown_type_counts_in_the_sum_and_is_named() {
        let (mut payout, mut rows) = po1();
        payout.amount = minor(4610);
        rows.push(row("txn_x", RowKind::Other { reporting_category: "contribution".to_owned() }, -50, 0));
        let mut tally = Tally::default();
        for r in &rows {
            tally.add(r, if r.id == "txn_x" { Matched::Unmatched } else { Matched::Known });
        }
        assert_eq!((tally.unmatched, tally.transactions), (1, 5));
        assert_eq!(tally.unexplained, BTreeSet::from(["contribution".to_owned()]));
        assert_eq!(judge(&payout, &tally, true), Verdict::TiedOut);
    }
}
