//! The three-way proof (design.md section 2, invariant 7): Stripe's balance, the ledger's clearing account and QuickBooks' own say
//! the same; where they do not, which transactions explain it.
//!
//! Must not: ask anybody, or know QuickBooks' JSON. What it sums, somebody else has read.

use crate::money::Minor;
use crate::payout::{Matched, PayoutRow, RowKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One of Stripe's balance transactions, read from the balance itself and not from a payout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceRow {
    /// The transaction.
    pub row: PayoutRow,
    /// The payout that it is about: its own row, or the row that gave its money back.
    pub payout: Option<String>,
}

/// The sums of Stripe's balance transactions since go_live, row by row. Kept from night to night, so that each row is read once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceTotals {
    /// How many rows.
    pub rows: u64,
    /// The sum of their nets: what the balance changed since go_live.
    pub net: Minor,
    /// Of these, the nets of rows for which the opening entry stands although they are younger: what was closed at the switch
    /// from shadow to live.
    pub before: Minor,
    /// What Stripe kept of all the others (the fee of each row, and minus the net of rows that are fees themselves).
    pub fees: Minor,
    /// What each payout took from the balance, less what it gave back. Those that came to nothing are left out.
    pub payouts: BTreeMap<String, Minor>,
}

impl BalanceTotals {
    /// Counts one more row.
    pub fn add(&mut self, of: &BalanceRow, matched: Matched) {
        self.rows = self.rows.saturating_add(1);
        self.net = self.net.plus(of.row.net);
        match (&of.payout, matched) {
            (Some(payout), _) => {
                let taken = self.payouts.entry(payout.clone()).or_default();
                *taken = taken.minus(of.row.net);
                if taken.is_zero() {
                    self.payouts.remove(payout);
                }
            }
            (None, Matched::BeforeGoLive) => self.before = self.before.plus(of.row.net),
            (None, Matched::Known | Matched::Unmatched) => self.fees = self.fees.plus(of.row.fees()),
        }
    }

    /// A row that was counted as unmatched turned out to be one for which the opening entry stands.
    pub fn found_before(&mut self, of: &BalanceRow) {
        self.fees = self.fees.minus(of.row.fees());
        self.before = self.before.plus(of.row.net);
    }
}

/// What the ledger holds, summed over all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerSums {
    /// The clearing lines of all postings; those of shadow mode are none.
    pub posted: Minor,
    /// The same of postings that QuickBooks has confirmed.
    pub confirmed: Minor,
    /// The fees of the payouts that are tied out, or came back after they were: Stripe's rows, not the postings.
    pub tied_fees: Minor,
    /// The payouts whose Transfer stands: tied out, and not come back.
    pub tied_out: BTreeSet<String>,
    /// Money that the ledger holds and that is in Stripe's balance only later: charges without a balance transaction yet.
    pub on_its_way: Minor,
}

/// The figures of one night. Minor units of the practice's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Stripe's balance, available and pending.
    pub balance: Minor,
    /// Fees of transactions that are in no tied-out payout.
    pub fees: Minor,
    /// Payouts that were taken from the balance and are not tied out.
    pub payouts: Minor,
    /// The ledger's clearing account, as of the newest balance transaction.
    pub ledger: Minor,
    /// What QuickBooks' clearing account has to hold: the confirmed postings, and the opening entry once it is confirmed.
    pub confirmed: Minor,
    /// What QuickBooks' clearing account holds; None when it was not read (shadow mode, no books, no connection).
    pub books: Option<Minor>,
}

impl Figures {
    /// Puts the figures together. `opening` is Stripe's balance at go_live, with which the ledger's clearing account opened;
    /// `opening_posted` is what of it stands in QuickBooks.
    #[must_use]
    pub fn of(
        balance: Minor,
        opening: Minor,
        opening_posted: Minor,
        totals: &BalanceTotals,
        ledger: &LedgerSums,
        books: Option<Minor>,
    ) -> Figures {
        let waiting = totals.payouts.iter().filter(|(payout, _)| !ledger.tied_out.contains(*payout));
        Figures {
            balance,
            fees: totals.fees.minus(ledger.tied_fees),
            payouts: Minor::sum(waiting.map(|(_, taken)| *taken)),
            ledger: opening.plus(totals.before).plus(ledger.posted).minus(ledger.on_its_way),
            confirmed: opening_posted.plus(ledger.confirmed),
            books,
        }
    }

    /// What the ledger's clearing account has to be by Stripe's figures.
    #[must_use]
    pub fn stripe(&self) -> Minor {
        self.balance.plus(self.fees).plus(self.payouts)
    }

    /// What the ledger has too much.
    #[must_use]
    pub fn ledger_difference(&self) -> Minor {
        self.ledger.minus(self.stripe())
    }

    /// What QuickBooks has too much; zero when it was not read.
    #[must_use]
    pub fn books_difference(&self) -> Minor {
        self.books.map_or(Minor::ZERO, |books| books.minus(self.confirmed))
    }

    /// Whether all three say the same.
    #[must_use]
    pub fn agree(&self) -> bool {
        self.ledger_difference().is_zero() && self.books_difference().is_zero()
    }

    /// The figures in two sentences, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Figures { balance, fees, payouts, ledger, confirmed, .. } = self;
        let stripe = format!("Stripe {balance} + fees {fees} + payouts on their way {payouts} = {}", self.stripe());
        let books = self.books.map_or_else(|| "was not read".to_owned(), |books| format!("has {books}"));
        format!("{stripe}; the ledger has {ledger}. QuickBooks {books}; confirmed postings make {confirmed}.")
    }
}

/// One thing that explains a part of a difference. Ids and amounts only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// Stripe has it, the ledger does not.
    OnlyAtStripe {
        /// The payment, refund, dispute or balance transaction.
        subject: String,
        /// Gross.
        amount: Minor,
    },
    /// The ledger has it, Stripe does not.
    OnlyInLedger {
        /// The payment, refund or dispute.
        subject: String,
        /// What the ledger holds.
        amount: Minor,
    },
    /// Both have it, with another amount.
    OtherAmount {
        /// The payment, refund or dispute.
        subject: String,
        /// Stripe's.
        stripe: Minor,
        /// The ledger's.
        ledger: Minor,
    },
    /// A posting that was sent, and of which nobody knows whether QuickBooks has it.
    NotConfirmed {
        /// The posting.
        posting: String,
        /// Its clearing line.
        amount: Minor,
    },
    /// A person edited an entry of ours.
    Edited {
        /// The posting.
        posting: String,
        /// QuickBooks' id of the entry.
        booked: String,
    },
    /// A person deleted an entry of ours.
    Deleted {
        /// The posting.
        posting: String,
        /// QuickBooks' id of the entry.
        booked: String,
    },
    /// Somebody else's entry on the clearing account.
    Foreign {
        /// QuickBooks' id of the entry.
        booked: String,
        /// What it does to the clearing account.
        amount: Minor,
    },
}

impl Cause {
    /// One sentence for a person.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Cause::OnlyAtStripe { subject, amount } => format!("{subject}: {amount} at Stripe, unknown to the ledger"),
            Cause::OnlyInLedger { subject, amount } => format!("{subject}: {amount} in the ledger, not in Stripe's balance"),
            Cause::OtherAmount { subject, stripe, ledger } => format!("{subject}: {stripe} at Stripe, {ledger} in the ledger"),
            Cause::NotConfirmed { posting, amount } => format!("posting {posting} of {amount} was sent and is not confirmed"),
            Cause::Edited { posting, booked } => {
                format!("posting {posting}: its entry in QuickBooks, Id {booked}, was edited by a person")
            }
            Cause::Deleted { posting, booked } => {
                format!("posting {posting}: its entry in QuickBooks, Id {booked}, was deleted by a person")
            }
            Cause::Foreign { booked, amount } => {
                format!("QuickBooks' entry with the Id {booked} is not Vesper's: {amount} on the clearing account")
            }
        }
    }
}

/// What moved Stripe's balance, and what moved the ledger, by subject (payment, refund, dispute), gross and signed: what differs.
#[must_use]
pub fn compare(stripe: &BTreeMap<String, Minor>, ledger: &BTreeMap<String, Minor>) -> Vec<Cause> {
    let subjects: BTreeSet<&String> = stripe.keys().chain(ledger.keys()).collect();
    let of = |side: &BTreeMap<String, Minor>, subject: &String| side.get(subject).copied().filter(|m| !m.is_zero());
    let one = |subject: &String| match (of(stripe, subject), of(ledger, subject)) {
        (Some(amount), None) => Some(Cause::OnlyAtStripe { subject: subject.clone(), amount }),
        (None, Some(amount)) => Some(Cause::OnlyInLedger { subject: subject.clone(), amount }),
        (Some(stripe), Some(ledger)) if stripe != ledger => Some(Cause::OtherAmount { subject: subject.clone(), stripe, ledger }),
        _ => None,
    };
    subjects.into_iter().filter_map(one).collect()
}

/// Under which subject a row moves the ledger's clearing account; None for rows that only payouts post (fees, payouts), and for
/// those that nobody posts.
#[must_use]
pub fn subject_of(row: &PayoutRow) -> Option<String> {
    match &row.kind {
        RowKind::Charge { charge, payment } => Some(payment.as_ref().map_or_else(|| charge.to_string(), ToString::to_string)),
        RowKind::Refund { refund: id, .. } | RowKind::Dispute { dispute: id, .. } => Some(id.to_string()),
        RowKind::Other { .. } => Some(row.id.clone()),
        RowKind::Fee | RowKind::PayoutItself | RowKind::PayoutBack { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ChargeId, MovementId, PaymentId};
    use crate::money::Currency;
    use jiff::Timestamp;

    fn minor(v: i64) -> Minor {
        Minor::new(v).unwrap()
    }

    fn row(id: &str, kind: RowKind, amount: i64, fee: i64) -> BalanceRow {
        let (amount, fee) = (minor(amount), minor(fee));
        let (net, currency, created) = (amount.minus(fee), Currency::USD, Timestamp::UNIX_EPOCH);
        BalanceRow { row: PayoutRow { id: id.to_owned(), kind, amount, fee, net, currency, created }, payout: None }
    }

    fn charge(n: u32, amount: i64, fee: i64) -> BalanceRow {
        let payment = Some(PaymentId::parse(&format!("pi_{n}")).unwrap());
        let charge = ChargeId::parse(&format!("ch_{n}")).unwrap();
        row(&format!("txn_{n}"), RowKind::Charge { charge, payment }, amount, fee)
    }

    fn refund(n: u32, amount: i64) -> BalanceRow {
        let refund = MovementId::parse(&format!("re_{n}")).unwrap();
        row(&format!("txn_re_{n}"), RowKind::Refund { refund, payment: None, back: false }, amount, 0)
    }

    fn payout(id: &str, amount: i64) -> BalanceRow {
        BalanceRow { payout: Some(id.to_owned()), ..row(&format!("txn_{id}_{amount}"), RowKind::PayoutItself, -amount, 0) }
    }

    fn totals(rows: &[(BalanceRow, Matched)]) -> BalanceTotals {
        let mut totals = BalanceTotals::default();
        rows.iter().for_each(|(row, matched)| totals.add(row, *matched));
        totals
    }

    fn known(rows: &[BalanceRow]) -> BalanceTotals {
        totals(&rows.iter().map(|r| (r.clone(), Matched::Known)).collect::<Vec<_>>())
    }

    fn ledger(posted: i64, tied_fees: i64, tied_out: &[&str]) -> LedgerSums {
        LedgerSums {
            posted: minor(posted),
            confirmed: minor(posted),
            tied_fees: minor(tied_fees),
            tied_out: tied_out.iter().map(|p| (*p).to_owned()).collect(),
            on_its_way: Minor::ZERO,
        }
    }

    /// Stripe's balance as its rows make it.
    fn proved(opening: i64, totals: &BalanceTotals, ledger: &LedgerSums) -> Figures {
        let balance = minor(opening).plus(totals.net);
        Figures::of(balance, minor(opening), minor(opening), totals, ledger, Some(minor(opening).plus(ledger.confirmed)))
    }

    #[test]
    fn the_month_of_a_payout_agrees_at_each_of_its_moments() {
        let fee = row("txn_f", RowKind::Fee, -100, 0);
        let mut rows = vec![charge(1, 4200, 152), charge(2, 2000, 88), refund(1, -1200), fee];
        // Nothing is paid out: the fees are the difference between gross and net.
        let f = proved(0, &known(&rows), &ledger(5000, 0, &[]));
        assert_eq!((f.balance, f.fees, f.payouts, f.agree()), (minor(4660), minor(340), Minor::ZERO, true));
        // Paid out and not tied out (waiting, drift, manual).
        rows.push(payout("po_1", 4660));
        let f = proved(0, &known(&rows), &ledger(5000, 0, &[]));
        assert_eq!((f.balance, f.fees, f.payouts, f.agree()), (Minor::ZERO, minor(340), minor(4660), true));
        // Tied out: fees and Transfer are posted.
        let f = proved(0, &known(&rows), &ledger(0, 340, &["po_1"]));
        assert_eq!((f.fees, f.payouts, f.ledger, f.agree()), (Minor::ZERO, Minor::ZERO, Minor::ZERO, true));
        // Come back, its Transfer reversed.
        rows.push(payout("po_1", -4660));
        let f = proved(0, &known(&rows), &ledger(4660, 340, &[]));
        assert_eq!((f.balance, f.payouts, f.agree()), (minor(4660), Minor::ZERO, true));
        // Come back at Stripe, and the ledger has not heard of it.
        let f = proved(0, &known(&rows), &ledger(0, 340, &["po_1"]));
        assert_eq!(f.ledger_difference(), minor(-4660));
    }

    #[test]
    fn a_negative_payout_that_waits_subtracts() {
        let rows = [refund(1, -2020), payout("po_1", -2020)];
        let f = proved(0, &known(&rows), &ledger(-2020, 0, &[]));
        assert_eq!((f.balance, f.payouts, f.agree()), (Minor::ZERO, minor(-2020), true));
    }

    #[test]
    fn the_opening_balance_stands_for_older_and_for_closed_money() {
        let rows = [(charge(1, 4200, 152), Matched::BeforeGoLive), (charge(2, 1000, 59), Matched::Known)];
        let totals = totals(&rows);
        assert_eq!((totals.before, totals.fees), (minor(4048), minor(59)));
        assert!(proved(700, &totals, &ledger(1000, 0, &[])).agree());
    }

    #[test]
    fn what_only_one_side_has_is_the_difference() {
        let rows = [(charge(1, 4200, 152), Matched::Known), (charge(2, 1000, 59), Matched::Unmatched)];
        let f = proved(0, &totals(&rows), &ledger(4200, 0, &[]));
        assert_eq!((f.ledger_difference(), f.agree()), (minor(-1000), false), "an unknown transaction is missing with its gross");
        let late = LedgerSums { on_its_way: minor(900), ..ledger(5100, 0, &[]) };
        assert!(proved(0, &known(&[charge(1, 4200, 152)]), &late).agree(), "a charge without a transaction is not there yet");
        let mut f = proved(0, &known(&[charge(1, 4200, 152)]), &ledger(4200, 0, &[]));
        f.books = Some(minor(4100));
        assert_eq!((f.ledger_difference(), f.books_difference(), f.agree()), (Minor::ZERO, minor(-100), false));
        f.books = None;
        assert!(f.agree(), "books that were not read differ from nothing");
        assert_eq!(
            f.text(),
            "Stripe 40.48 + fees 1.52 + payouts on their way 0.00 = 42.00; the ledger has 42.00. \
             QuickBooks was not read; confirmed postings make 42.00."
        );
    }

    #[test]
    fn a_row_that_turns_out_to_be_older_leaves_the_fees() {
        let one = charge(1, 4200, 152);
        let mut later = totals(&[(one.clone(), Matched::Unmatched)]);
        later.found_before(&one);
        assert_eq!(later, totals(&[(one, Matched::BeforeGoLive)]));
    }

    #[test]
    fn differences_are_named_by_their_subject() {
        let side = |pairs: &[(&str, i64)]| pairs.iter().map(|(s, m)| ((*s).to_owned(), minor(*m))).collect::<BTreeMap<_, _>>();
        let stripe = side(&[("pi_1", 4200), ("pi_2", 1000), ("re_1", -200), ("re_2", 0)]);
        let ledger = side(&[("pi_1", 4200), ("pi_3", 500), ("re_1", -300)]);
        let texts: Vec<String> = compare(&stripe, &ledger).iter().map(Cause::text).collect();
        assert_eq!(
            texts,
            [
                "pi_2: 10.00 at Stripe, unknown to the ledger",
                "pi_3: 5.00 in the ledger, not in Stripe's balance",
                "re_1: -2.00 at Stripe, -3.00 in the ledger",
            ]
        );
        assert_eq!(subject_of(&charge(7, 1, 0).row).as_deref(), Some("pi_7"));
        assert_eq!(subject_of(&refund(7, -1).row).as_deref(), Some("re_7"));
        assert_eq!(subject_of(&payout("po_1", 1).row), None);
    }
}
