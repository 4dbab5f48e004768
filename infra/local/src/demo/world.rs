//! The outside world of the demo: the three stand-ins, the practice's settings for them, and how each planned act happens there.
//!
//! Must not: reach into Vesper. What it learns comes over its two webhooks and what it asks for.

use super::plan::{Act, Client, GO_LIVE, Payer, Plan, TIME_ZONE};
use crate::stack::host::LocalHost;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vesper_adapters::personal::Secret;
use vesper_adapters::settings::{Need, QuickBooksSecrets, Secrets, Settings, SettingsErrors};
use vesper_functions::app::Host as _;
use vesper_standins::ehr::{self, DeskPayment};
use vesper_standins::stripe::{self, Decline, NewPayment, NewPayout, Outcome};
use vesper_standins::{Clock, Fault, FaultId, FaultKind, Scripted, Standins, quickbooks};

/// The signing secret of the made-up webhook endpoint.
pub(super) const WEBHOOK_SECRET: &str = "whsec_demo";
/// The account that mirrors Stripe's balance.
pub(super) const CLEARING: &str = "91";
/// The practice's bank account.
pub(super) const CHECKING: &str = "35";
/// The account of Stripe's fees.
pub(super) const FEES: &str = "66";
/// The account of money whose purpose is not known yet.
pub(super) const UNIDENTIFIED: &str = "92";
/// The account of client credit.
pub(super) const CREDITS: &str = "93";
/// The income accounts: copays, sessions without insurance, missed appointments, everything else.
pub(super) const INCOME: [&str; 4] = ["80", "81", "82", "79"];

/// The practice.toml of the made-up practice.
fn settings_text(all: &Standins) -> String {
    let (stripe, ehr, books) = (all.stripe.origin(), all.ehr.origin(), all.quickbooks.origin());
    let token_url = all.quickbooks.token_url();
    let realm = quickbooks::DEFAULT_REALM;
    format!(
        r#"[practice]
id = "northbridge"
time_zone = "{TIME_ZONE}"
go_live = "{GO_LIVE}"
[stripe]
api_base = "{stripe}"
livemode = false
[ehr]
base_url = "{ehr}"
poll_s = 86400
[books]
api_base = "{books}"
token_url = "{token_url}"
realm_id = "{realm}"
[books.accounts]
stripe_clearing = "{CLEARING}"
checking = "{CHECKING}"
stripe_fees = "{FEES}"
refunds = "67"
disputes = "68"
unidentified = "{UNIDENTIFIED}"
client_credits = "{CREDITS}"
[books.accounts.income]
default = "79"
copay = "80"
self_pay = "81"
no_show_fee = "82"
[matching]
apply_credit = "oldest_first"
"#
    )
}

/// How many of what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    /// Invoices issued, and their client and payer shares, in minor units.
    pub invoices: (u64, i64, i64),
    /// Declined attempts.
    pub declined: u64,
    /// Payments of insurances, in minor units.
    pub insurance: (u64, i64),
    /// Payments in cash, in minor units.
    pub cash: (u64, i64),
    /// Voided invoices.
    pub voided: u64,
    /// Written off by a person, in minor units.
    pub forgiven: (u64, i64),
}

fn add(sum: &mut (u64, i64), amount_minor: i64) {
    *sum = (sum.0.saturating_add(1), sum.1.saturating_add(amount_minor));
}

/// See the module.
pub(super) struct World {
    /// The three stand-ins.
    pub all: Standins,
    /// What happened so far.
    pub happened: Happened,
    /// The newest PaymentIntent of each planned payment that was tried.
    intents: BTreeMap<usize, String>,
    /// Every PaymentIntent, succeeded or not: which planned payment it is.
    pub made: BTreeMap<String, usize>,
    /// The disputes.
    pub disputes: Vec<String>,
    /// The payouts, oldest first.
    payouts: Vec<String>,
    moved: BTreeSet<usize>,
    outage: Option<FaultId>,
}

impl World {
    /// An empty world on the host's clock.
    pub(super) fn new(host: &Arc<LocalHost>) -> World {
        let host = Arc::clone(host);
        let clock: Clock = Arc::new(move || host.now());
        let all = Standins::new(&clock);
        all.ehr.set_time_zone(TimeZone::get(TIME_ZONE).unwrap_or(TimeZone::UTC));
        all.quickbooks.add_account("81", "Self-pay income", "Income");
        all.quickbooks.add_account("82", "No-show fees", "Income");
        World {
            all,
            happened: Happened::default(),
            intents: BTreeMap::new(),
            made: BTreeMap::new(),
            disputes: Vec::new(),
            payouts: Vec::new(),
            moved: BTreeSet::new(),
            outage: None,
        }
    }

    /// The practice's settings for this world.
    ///
    /// # Errors
    /// None in a build whose settings and stand-ins fit together.
    pub(super) fn settings(&self) -> Result<Settings, SettingsErrors> {
        Settings::parse(&settings_text(&self.all), "the demo's practice.toml", Need::Serve)
    }

    /// The secrets that the stand-ins accept.
    pub(super) fn secrets() -> Secrets {
        let secret = |text: &str| Secret::new(text);
        Secrets {
            stripe_api_key: secret(stripe::DEFAULT_KEY),
            stripe_webhook_secrets: vec![secret(WEBHOOK_SECRET)],
            ehr_bridge_secrets: vec![secret(ehr::DEFAULT_SECRET)],
            quickbooks: Some(QuickBooksSecrets {
                client_id: secret(quickbooks::DEFAULT_CLIENT_ID),
                client_secret: secret(quickbooks::DEFAULT_CLIENT_SECRET),
                refresh_token: secret(quickbooks::FIRST_REFRESH_TOKEN),
            }),
        }
    }

    /// Lets it happen.
    pub(super) fn act(&mut self, plan: &Plan, act: &Act) {
        match act {
            Act::Enrol(client) => self.enrol(plan, *client),
            Act::Bill(invoice) => self.bill(plan, *invoice),
            Act::Pay(payment) => self.pay(plan, *payment),
            Act::Decline(payment, reason) => self.decline(plan, *payment, reason),
            Act::PayAfterDecline(payment) => self.pay_after_decline(plan, *payment),
            Act::Refund(payment, amount_minor) => {
                if let Some(intent) = self.movable(*payment) {
                    self.all.stripe.refund(&intent, *amount_minor, Value::Null, "succeeded");
                }
            }
            Act::Dispute(payment) => {
                if let Some(intent) = self.movable(*payment) {
                    let dispute = self.all.stripe.dispute(&intent);
                    self.disputes.push(dispute);
                }
            }
            Act::PayOut => self.pay_out(),
            Act::PayoutFails => {
                if let Some(last) = self.payouts.last() {
                    self.all.stripe.fail_payout(last);
                }
            }
            Act::Cash(invoice) => self.cash(plan, *invoice),
            Act::Insurance(invoice, paid, forgiven) => self.insurance(plan, *invoice, *paid, *forgiven),
            Act::Void(invoice) => self.void(plan, *invoice),
            Act::Forgive(invoice) => self.forgive(plan, *invoice),
            Act::LoseEhrAnswers(n) => {
                self.all.ehr.fault(Fault::new("POST /v1/payments", FaultKind::LostAfter).times(*n));
            }
            Act::LoseBooksAnswers(n) => {
                self.all.quickbooks.fault(Fault::new("POST */journalentry", FaultKind::LostAfter).times(*n));
            }
            Act::BooksDown(true) => {
                let down = FaultKind::Status(Scripted::status(503));
                self.outage = Some(self.all.quickbooks.fault(Fault::new("*", down).always()));
            }
            Act::BooksDown(false) => {
                if let Some(outage) = self.outage.take() {
                    self.all.quickbooks.clear_fault(outage);
                }
            }
        }
    }

    /// Everything that is in no payout yet, when there is anything.
    fn pay_out(&mut self) {
        if self.all.stripe.rows().iter().any(|(row, payout)| payout.is_none() && row.get("type") != Some(&json!("payout"))) {
            self.payouts.push(self.all.stripe.payout(&NewPayout::default()));
        }
    }

    fn enrol(&self, plan: &Plan, n: usize) {
        let Some(client) = plan.clients.get(n) else { return };
        if let Payer::Customer(customer) = &client.payer {
            self.all.stripe.customer_as(&customer.id, Some(&customer.email), Some(&customer.name));
            self.all.stripe.announce(&customer.id);
        }
        let guarantor = client.guarantor.and_then(|g| plan.clients.get(g)).map(|g| g.id.clone());
        let fields = json!({
            "display_name": client.name, "emails": [client.email], "stripe_customer_ids": client.told, "guarantor_id": guarantor,
            "coverage": client.coverage,
        });
        self.all.ehr.client(&client.id, fields);
    }

    fn bill(&mut self, plan: &Plan, n: usize) {
        let Some(invoice) = plan.invoices.get(n) else { return };
        let Some(client) = plan.clients.get(invoice.client) else { return };
        let session = json!([{"id": format!("s_{}", invoice.number), "service_date": invoice.service_date}]);
        let fields = json!({
            "number": invoice.number, "issued_on": invoice.service_date, "category": invoice.category, "sessions": session,
        });
        self.all.ehr.invoice(&invoice.id, &client.id, invoice.fee_minor, invoice.payer_minor, fields);
        let (count, ours, theirs) = self.happened.invoices;
        self.happened.invoices =
            (count.saturating_add(1), ours.saturating_add(invoice.fee_minor), theirs.saturating_add(invoice.payer_minor));
    }

    fn new_payment(plan: &Plan, n: usize) -> Option<NewPayment> {
        let payment = plan.payments.get(n)?;
        let payer: &Client = plan.clients.get(payment.payer)?;
        let mut new = match &payer.payer {
            Payer::Customer(customer) => NewPayment::of(&customer.id, payment.amount_minor),
            Payer::Guest(Some(email)) => NewPayment::guest(payment.amount_minor).receipt_email(email),
            Payer::Guest(None) | Payer::Parent(_) | Payer::Cash => NewPayment::guest(payment.amount_minor),
        };
        if let (true, Some(invoice)) = (payment.names_invoice, payment.invoices.first().and_then(|i| plan.invoices.get(*i))) {
            new = new.metadata("ehr_invoice_id", &invoice.id);
        }
        if payment.in_advance {
            new = new.metadata("kind", "prepayment").metadata("ehr_client_id", &payer.id);
        }
        Some(new)
    }

    fn pay(&mut self, plan: &Plan, n: usize) {
        let Some(new) = Self::new_payment(plan, n) else { return };
        let intent = self.all.stripe.pay(&new);
        self.intents.insert(n, intent.clone());
        self.made.insert(intent, n);
    }

    fn decline(&mut self, plan: &Plan, n: usize, reason: &str) {
        let Some(new) = Self::new_payment(plan, n) else { return };
        let intent = self.all.stripe.fail(&new, &Decline::of(reason));
        if n.is_multiple_of(3) {
            // The card is declined once more, whoever tries it next.
            self.all.stripe.script(&intent, [Outcome::decline("insufficient_funds")]);
        }
        self.intents.insert(n, intent.clone());
        self.made.insert(intent, n);
        self.happened.declined = self.happened.declined.saturating_add(1);
    }

    /// Half of them complete the declined payment, the others start a new one; nobody who sees that he has paid.
    fn pay_after_decline(&mut self, plan: &Plan, n: usize) {
        let declined = self.intents.get(&n).cloned();
        match declined {
            Some(intent) if self.has_succeeded(&intent) => {}
            Some(intent) if n.is_multiple_of(2) => self.all.stripe.complete(&intent),
            _ => self.pay(plan, n),
        }
    }

    fn has_succeeded(&self, intent: &str) -> bool {
        let status =
            self.all.stripe.object(intent).and_then(|o| o.get("status").and_then(Value::as_str).map(|s| s == "succeeded"));
        status.unwrap_or(false)
    }

    /// The PaymentIntents that succeeded: which planned payment each is.
    pub(super) fn paid(&self) -> BTreeMap<String, usize> {
        let succeeded = self.made.iter().filter(|(intent, _)| self.has_succeeded(intent));
        succeeded.map(|(intent, n)| (intent.clone(), *n)).collect()
    }

    /// A payment whose money is here and has not been moved yet.
    fn movable(&mut self, n: usize) -> Option<String> {
        let intent = self.intents.get(&n).filter(|i| self.has_succeeded(i))?.clone();
        self.moved.insert(n).then_some(intent)
    }

    fn open_of(&self, invoice: &str) -> i64 {
        let record = self.all.ehr.get("invoice", invoice).filter(|r| r.get("status").and_then(Value::as_str) == Some("open"));
        record.and_then(|r| r.pointer("/client_share/open").and_then(Value::as_i64)).unwrap_or(0)
    }

    fn cash(&mut self, plan: &Plan, n: usize) {
        let Some(invoice) = plan.invoices.get(n) else { return };
        let open = self.open_of(&invoice.id);
        if open > 0 {
            self.all.ehr.paid_in_ehr(&DeskPayment { method: "cash", ..DeskPayment::check(&invoice.id, open) });
            add(&mut self.happened.cash, open);
        }
    }

    fn insurance(&mut self, plan: &Plan, n: usize, paid: i64, forgiven: i64) {
        let Some(invoice) = plan.invoices.get(n) else { return };
        if self.all.ehr.get("invoice", &invoice.id).is_some() {
            self.all.ehr.paid_in_ehr(&DeskPayment::insurance(&invoice.id, paid, forgiven));
            add(&mut self.happened.insurance, paid);
        }
    }

    fn void(&mut self, plan: &Plan, n: usize) {
        let Some(invoice) = plan.invoices.get(n) else { return };
        if self.open_of(&invoice.id) == invoice.fee_minor {
            self.all.ehr.change("invoice", &invoice.id, json!({"status": "void"}));
            self.happened.voided = self.happened.voided.saturating_add(1);
        }
    }

    fn forgive(&mut self, plan: &Plan, n: usize) {
        let Some(invoice) = plan.invoices.get(n) else { return };
        let open = self.open_of(&invoice.id);
        if open == 0 {
            return;
        }
        let paid = invoice.fee_minor.saturating_sub(open);
        let share = json!({"charge": invoice.fee_minor, "paid": paid, "written_off": open, "open": 0});
        self.all.ehr.change("invoice", &invoice.id, json!({"client_share": share}));
        add(&mut self.happened.forgiven, open);
    }
}
