//! Whether a card may be charged, judged a second time: from what is true outside and what stands in the table, without the core's
//! guard, matching or ladder. design.md section 2, 6, and section 5.

use super::outside::{HARD, Intent};
use super::vesper::Vesper;
use std::collections::{BTreeMap, BTreeSet};
use vesper_core::ids::{CustomerId, InvoiceId, PaymentId};
use vesper_core::money::Minor;
use vesper_core::payment::PaymentState;
use vesper_core::records::{Autopay, CardConsent, Coverage, Invoice};
use vesper_core::recovery::{Outcome, Recovery, RecoveryState};

/// What was true outside at the moments when the guard read it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub version: u64,
    pub is_paused: bool,
    pub intent: Option<Intent>,
    /// Each invoice, and what of our allocations on it the EHR did not hold.
    pub invoices: BTreeMap<InvoiceId, (Invoice, Minor)>,
    pub others_read: bool,
    /// Other PaymentIntents of the customer, and whether Vesper knew them as payments.
    pub others: BTreeMap<PaymentId, (Intent, bool)>,
}

fn is_moving(intent: &Intent) -> bool {
    ["succeeded", "processing", "requires_capture"].contains(&intent.status)
}

impl Vesper<'_> {
    /// Called when an attempt stands in the table, before the card is charged.
    pub fn judge(&mut self, recovery: &Recovery, evidence: &Evidence) {
        self.count("attempt");
        self.judge_the_outside(recovery, evidence);
        self.judge_the_table(recovery);
        self.judge_the_ladder(recovery);
        assert!(!evidence.is_paused, "a card was charged in a pause");
    }

    fn judge_the_outside(&self, recovery: &Recovery, evidence: &Evidence) {
        let attempt = recovery.attempts.last().unwrap();
        let intent = evidence.intent.as_ref().expect("a card was charged without a look at its PaymentIntent");
        assert_eq!(intent.amount, attempt.amount, "the amount is not what was agreed");
        assert!(["requires_payment_method", "requires_confirmation"].contains(&intent.status), "charged while {}", intent.status);
        let mut sum = Minor::ZERO;
        for (id, amount) in &recovery.invoices {
            let (invoice, not_written) = evidence.invoices.get(id).expect("a card was charged without a look at its invoice");
            assert!(!invoice.void, "a card was charged for a void invoice");
            let open = invoice.client_share.open.minus(*not_written);
            assert!(*amount <= open, "{id} has {open} open, and {amount} is charged for it");
            assert!(amount.is_positive());
            sum = sum.plus(*amount);
        }
        assert_eq!(sum, attempt.amount, "what is charged is what the invoices owe");
        assert!(evidence.others_read, "a card was charged without a look at other money");
        for (id, (other, is_known)) in &evidence.others {
            let is_newer = other.created >= recovery.first_failed_at;
            assert!(!is_moving(other) || (*is_known && !is_newer), "{id} is {} and {recovery:?} is charged", other.status);
        }
    }

    fn judge_the_table(&self, recovery: &Recovery) {
        let id = recovery.payment();
        let same_house = |c: Option<&CustomerId>| self.household(c) == self.household(recovery.customer());
        for other in self.payments.values().filter(|p| p.id() != id && same_house(p.success.customer.as_ref())) {
            let waits = matches!(other.state, PaymentState::Parked | PaymentState::Review);
            let left = other.credit.is_positive() || (other.unapplied.is_positive() && self.asked.contains(other.id()));
            assert!(!waits && !left, "money of {} is on its way, and {id} is charged", other.id());
        }
        for (invoice, _) in &recovery.invoices {
            assert_eq!(self.claims.get(invoice), Some(id), "{invoice} is not claimed by who charges for it");
            let others = self.recoveries.values().map(|r| &r.recovery).filter(|r| r.payment() != id);
            for other in others.filter(|r| r.invoices.iter().any(|(i, _)| i == invoice)) {
                let busy = other.open_attempt().is_some();
                let settled =
                    self.payments.contains_key(other.payment()) && !self.writes.iter().any(|w| w.payment == *other.payment());
                assert!(!busy, "two recoveries charge for {invoice}");
                assert!(other.state != RecoveryState::Recovered || settled, "{invoice} is being paid by {}", other.payment());
            }
            let on = self.world.invoice(invoice).into_iter().flat_map(|f| &f.allocations);
            let disputed = on.filter(|a| self.disputed.contains(&a.payment)).count();
            assert_eq!(disputed, 0, "a card was charged for an invoice in dispute");
        }
        let payer = if self.household(recovery.customer()) == "c3" { "c3" } else { "c1" };
        let owner = |i: &InvoiceId| self.world.invoice(i)?.invoice.as_ref().map(|i| i.client.as_str().to_owned());
        let owners: BTreeSet<String> = recovery.invoices.iter().filter_map(|(i, _)| owner(i)).collect();
        for client in owners.into_iter().chain([payer.to_owned()]) {
            let client = self.world.client(&crate::practice::client_id(&client)).unwrap();
            assert_eq!(client.card_consent, CardConsent::Given, "a card was charged without consent");
            assert_eq!(client.autopay, Autopay::Off, "a card was charged beside the EHR's autopay");
            let barred = [Coverage::Medicaid, Coverage::Qmb, Coverage::ThirdPartyBiller].contains(&client.coverage);
            assert!(!barred, "a card was charged against the coverage");
        }
    }

    fn judge_the_ladder(&self, recovery: &Recovery) {
        let attempt = recovery.attempts.last().unwrap();
        let zone = &self.policy.time_zone;
        let retry = &self.policy.retry;
        assert!(recovery.attempts.len() <= retry.days.len(), "more attempts than rungs");
        let days: BTreeSet<_> = recovery.attempts.iter().map(|a| a.date).collect();
        assert_eq!(days.len(), recovery.attempts.len(), "two attempts on one day");
        let now = self.now.to_zoned(zone.clone());
        assert_eq!(now.date(), attempt.date, "an attempt is made on its own day");
        assert!(now.time() >= retry.at, "an attempt before its time");
        let first = recovery.first_failed_at.to_zoned(zone.clone()).date();
        let after_days = first.until(now.date()).unwrap().get_days();
        let is_near = |day: &u8| (i32::from(*day)..=i32::from(*day) + i32::from(retry.payday_shift_days)).contains(&after_days);
        assert!(retry.days.iter().any(is_near), "day {after_days} is no rung of {:?}", retry.days);
        let card = &attempt.payment_method;
        let hard = |o: &Outcome| matches!(o, Outcome::Declined { code } if code == HARD);
        let earlier = recovery.attempts.iter().any(|a| a.payment_method == *card && hard(&a.outcome));
        assert!(!earlier, "{card} must never be tried again");
        let told_of = recovery
            .rearmed
            .as_ref()
            .map_or_else(|| format!("pm_{}", recovery.customer().unwrap()), |c| c.payment_method.clone());
        assert_eq!(*card, told_of, "another card than the failed one, or the one that re-armed the ladder");
        assert!(attempt.key.ends_with(&format!("-{}", recovery.attempts.len())));
    }
}
