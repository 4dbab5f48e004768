//! The rules in their order: 16, who pays, 2, 3, 4, 14, 5 to 13, 15.

use super::open::standing;
use super::references::{Named, named, open_of, other_currency};
use super::subset::{Explanation, Group, explanations};
use super::who_pays::{Payer, by_email, who_pays};
use super::{ALLOCATIONS_MAX, ANSWERS_MAX, Allocate, Case, Decision, Look, SUBSET_CANDIDATES_MAX, Stands, Watch};
use crate::event::Reference;
use crate::ids::{ClientId, ID_BYTES_MAX, InvoiceId, SessionId};
use crate::money::{Currency, Minor};
use crate::policy::{MatchingPolicy, SameAmount};
use crate::records::{Category, Coverage, Invoice};
use crate::review::{Answer, Question, Reason};
use crate::world::{Allocation, InvoiceFile, World};
use jiff::{Timestamp, civil::Date};
use std::collections::{BTreeMap, BTreeSet};

/// An invoice that the payment may pay.
#[derive(Clone, Debug)]
struct Candidate {
    invoice: InvoiceId,
    client: ClientId,
    open: Minor,
    issued_on: Date,
    served_on: Option<Date>,
    category: Category,
    dates: BTreeSet<Date>,
}

impl Candidate {
    /// Oldest: earliest issued, then earliest service, then smallest id.
    fn age(&self) -> (Date, Option<Date>, &InvoiceId) {
        (self.issued_on, self.served_on.or(Some(Date::MAX)), &self.invoice)
    }

    fn as_old_as(&self, other: &Candidate) -> bool {
        (self.issued_on, self.served_on) == (other.issued_on, other.served_on)
    }

    fn take(&self, amount: Minor) -> Allocate {
        Allocate {
            invoice: self.invoice.clone(),
            client: self.client.clone(),
            amount,
            category: self.category,
            closes: amount == self.open,
            in_ehr: false,
        }
    }
}

/// All that a rule needs.
struct Deciding<'a> {
    world: &'a World,
    case: &'a Case<'a>,
    policy: &'a MatchingPolicy,
    payer: Option<ClientId>,
    link: Option<ClientId>,
}

impl Deciding<'_> {
    fn amount(&self) -> Minor {
        self.case.amount
    }

    fn blank(&self, stands: Stands, rule: u8, why: impl Into<String>) -> Decision {
        Decision {
            stands,
            rule,
            allocations: Vec::new(),
            unapplied: self.amount(),
            credit: false,
            question: None,
            link: self.link.clone(),
            payer: self.payer.clone(),
            watch: BTreeSet::new(),
            why: why.into(),
            rivals: Vec::new(),
        }
    }

    fn apply(&self, rule: u8, allocations: Vec<Allocate>, rivals: &[Candidate], why: impl Into<String>) -> Decision {
        let allocated = Minor::sum(allocations.iter().map(|a| a.amount));
        let taken: BTreeSet<&InvoiceId> = allocations.iter().map(|a| &a.invoice).collect();
        let rivals = rivals.iter().map(|c| c.invoice.clone()).filter(|id| !taken.contains(id)).take(SUBSET_CANDIDATES_MAX);
        let rivals = rivals.collect();
        let mut decision = self.blank(Stands::Decided, rule, why);
        decision.unapplied = self.amount().minus(allocated);
        decision.allocations = allocations;
        decision.rivals = rivals;
        decision
    }

    fn ask(&self, rule: u8, reason: Reason, answers: Vec<Answer>, why: impl Into<String>) -> Decision {
        let mut decision = self.blank(Stands::Asked, rule, why);
        decision.question = Some(Question::new(reason, answers, decision.why.clone()));
        decision
    }
}

/// See [`super::decide`].
pub(super) fn decide(world: &World, case: &Case<'_>, policy: &MatchingPolicy) -> Decision {
    let mut look = Deciding { world, case, policy, payer: None, link: None };
    if look.amount().is_zero() {
        let mut nothing = look.blank(Stands::Decided, 4, "nothing is left to decide");
        nothing.credit = true;
        return nothing;
    }
    if let Some(decision) = already_in_ehr(&look) {
        return decision;
    }
    let reference = &case.success.reference;
    let names_invoice = reference.invoice.is_some() || reference.session.is_some();
    let payer = who_pays(world, case.success.customer.as_ref(), reference);
    match &payer {
        Payer::Conflict => {
            return look.ask(15, Reason::ClientConflict, vec![], "the customer and the metadata name different clients");
        }
        Payer::Strangers(_) if !names_invoice => {
            return look.ask(15, Reason::Ambiguous, vec![], "the customer is linked to several clients who are no family");
        }
        Payer::Known { payer, .. } => look.payer = Some(payer.clone()),
        Payer::Strangers(_) | Payer::Unknown { .. } => {}
    }
    if names_invoice {
        return by_reference(&mut look, &payer);
    }
    match payer {
        Payer::Known { family, .. } => with_family(&look, &family),
        Payer::Unknown { named_unknown: false } => {
            match by_email(world, case.success.customer.as_ref(), case.success.receipt_email.as_ref(), policy) {
                Some(client) => {
                    look.payer = Some(client.clone());
                    look.link = case.success.customer.as_ref().map(|_| client.clone());
                    with_family(&look, &world.family(&client))
                }
                None => unknown_client(&look),
            }
        }
        Payer::Unknown { named_unknown: true } | Payer::Strangers(_) | Payer::Conflict => unknown_client(&look),
    }
}

/// Rule 16: the EHR already holds this payment.
fn already_in_ehr(look: &Deciding<'_>) -> Option<Decision> {
    let success = look.case.success;
    let references = [Some(success.payment.as_str()), success.charge.as_ref().map(|c| c.as_str())];
    let mut by_invoice: BTreeMap<&InvoiceId, Minor> = BTreeMap::new();
    let mut counted = BTreeSet::new();
    for payment in references.into_iter().flatten().flat_map(|r| look.world.ehr_payments_referring(r)) {
        if payment.pays_client_share() && payment.currency == success.currency && counted.insert(&payment.id) {
            let sum = by_invoice.entry(&payment.invoice).or_default();
            *sum = sum.plus(payment.net());
        }
    }
    if by_invoice.is_empty() {
        return None;
    }
    let mut places: Vec<(&InvoiceId, Minor)> = by_invoice.into_iter().collect();
    places.sort_by_key(|(id, _)| age_of(look.world, id));
    let mut left = look.amount();
    let mut allocations = Vec::new();
    for (id, there) in places {
        let amount = there.min(left);
        if amount.is_positive() {
            left = left.minus(amount);
            allocations.push(found_in_ehr(look, id, amount));
        }
    }
    if allocations.len() > ALLOCATIONS_MAX {
        return Some(look.ask(16, Reason::Ambiguous, vec![], "the EHR holds this payment on more than 40 invoices"));
    }
    let mut decision = look.apply(16, allocations, &[], "the EHR already holds this payment under its Stripe id");
    if decision.unapplied.is_positive() {
        let why = "the EHR holds less of this payment than was received";
        decision.question = Some(Question::new(Reason::Overpaid, vec![Answer::Credit], why));
    }
    Some(decision)
}

fn age_of<'w>(world: &'w World, id: &'w InvoiceId) -> (Option<Date>, Option<Date>, &'w InvoiceId) {
    let invoice = world.invoice(id).and_then(|f| f.invoice.as_ref());
    (invoice.map(|i| i.issued_on), invoice.and_then(Invoice::first_service_date), id)
}

fn found_in_ehr(look: &Deciding<'_>, id: &InvoiceId, amount: Minor) -> Allocate {
    let file = look.world.invoice(id);
    let invoice = file.and_then(|f| f.invoice.as_ref());
    Allocate {
        invoice: id.clone(),
        client: invoice.map_or_else(|| unknown_owner(id), |i| i.client.clone()),
        amount,
        category: invoice.map_or(Category::Other, |i| i.category),
        closes: file.is_some_and(|f| closes_with(look, f, amount)),
        in_ehr: true,
    }
}

/// Whether nothing is open once this is allocated: the payment may be in the EHR before the invoice's version that counts it.
fn closes_with(look: &Deciding<'_>, file: &InvoiceFile, amount: Minor) -> bool {
    let Some(invoice) = &file.invoice else { return false };
    let success = look.case.success;
    let mut with = file.clone();
    with.allocations.push(Allocation {
        payment: success.payment.clone(),
        charge: success.charge.clone(),
        invoice: invoice.id.clone(),
        client: invoice.client.clone(),
        amount,
        reversed: Minor::ZERO,
        rule: 16,
        category: invoice.category,
        decided_at: Timestamp::MAX,
        reference: success.payment.as_str().to_owned(),
        typed_in: false,
        shown: false,
        reopened: false,
        closed: false,
    });
    standing(&with).is_some_and(|s| s.share.open.is_zero())
}

/// The owner of an invoice whose record has not arrived: a place of its own, so that nothing is mixed up.
#[must_use]
pub fn unknown_owner(id: &InvoiceId) -> ClientId {
    let mut text = String::from("?");
    for c in id.as_str().chars() {
        if text.len().saturating_add(c.len_utf8()) > ID_BYTES_MAX {
            break;
        }
        text.push(c);
    }
    ClientId::parse(&text).unwrap_or_else(|_| unreachable!("a prefix of an id is an id"))
}

/// Rules 2 and 3 with a reference.
fn by_reference(look: &mut Deciding<'_>, payer: &Payer) -> Decision {
    let reference = &look.case.success.reference;
    if other_currency(look.world, reference, look.case.success.currency) {
        return look.ask(2, Reason::Currency, vec![], "the reference names an invoice of another currency");
    }
    match named(look.world, reference) {
        Named::NotYet if look.case.look == Look::Deadline => {
            look.ask(3, Reason::ReferenceConflict, vec![], "what the reference names never arrived")
        }
        Named::NotYet => {
            parked(look, 3, "the reference names something that has not arrived yet", named_records(reference).collect())
        }
        Named::Disagree => look.ask(3, Reason::ReferenceConflict, vec![], "the references name different invoices"),
        Named::OnlyVoid => look.ask(3, Reason::VoidInvoice, vec![], "the session's only invoices are void"),
        Named::One(invoice) => the_named_invoice(look, payer, invoice),
        Named::Several(invoices) => one_of_the_named(look, payer, &invoices),
        Named::Nothing => unknown_client(look),
    }
}

fn named_records(reference: &Reference) -> impl Iterator<Item = Watch> + use<> {
    let invoice = reference.invoice.as_deref().and_then(|id| InvoiceId::parse(id).ok()).map(Watch::Invoice);
    let session = reference.session.as_deref().and_then(|id| SessionId::parse(id).ok()).map(Watch::Session);
    invoice.into_iter().chain(session)
}

/// Whether the invoice belongs to who pays. A customer linked to nobody: the reference alone decides, unless the metadata also
/// names a client that the EHR does not know and the invoice is neither his nor that of one whose guarantor he is.
fn belongs(look: &Deciding<'_>, payer: &Payer, invoice: &Invoice) -> bool {
    let world = look.world;
    let owner = world.client(&invoice.client);
    if world.client_record(&invoice.client).is_some() && owner.is_none() {
        return false;
    }
    match payer {
        Payer::Known { family, .. } => family.contains(&invoice.client),
        Payer::Strangers(clients) => clients.iter().any(|c| world.family(c).contains(&invoice.client)),
        Payer::Unknown { named_unknown: false } => true,
        Payer::Unknown { named_unknown: true } => {
            let his = |id: &ClientId| look.case.success.reference.client.as_deref() == Some(id.as_str());
            his(&invoice.client) || owner.and_then(|c| c.guarantor.as_ref()).is_some_and(his)
        }
        Payer::Conflict => false,
    }
}

fn the_named_invoice(look: &mut Deciding<'_>, payer: &Payer, invoice: &Invoice) -> Decision {
    if !belongs(look, payer, invoice) {
        return look.ask(3, Reason::ReferenceConflict, vec![], "the named invoice is not one of the paying client's");
    }
    look.payer = look.payer.take().or_else(|| Some(invoice.client.clone()));
    if invoice.void {
        return look.ask(3, Reason::VoidInvoice, vec![Answer::Credit], "the named invoice is void");
    }
    let open = open_of(look.world, &invoice.id);
    if !open.is_positive() {
        return look.ask(
            3,
            Reason::AlreadySettled,
            vec![Answer::Credit],
            "the client share of the named invoice is already paid",
        );
    }
    let amount = look.amount().min(open);
    let candidate = candidate(invoice, open);
    let why = if amount == open {
        "the metadata names this invoice"
    } else {
        "the metadata names this invoice; a part of it stays open"
    };
    let mut decision = look.apply(3, vec![candidate.take(amount)], &[], why);
    if decision.unapplied.is_positive() {
        let why = "the payment is more than the named invoice's open client share";
        decision.question = Some(Question::new(Reason::Overpaid, vec![Answer::Credit], why));
    }
    decision
}

/// A session with several live invoices: checked like one, then only these are candidates.
fn one_of_the_named(look: &mut Deciding<'_>, payer: &Payer, invoices: &[&Invoice]) -> Decision {
    if !invoices.iter().all(|i| belongs(look, payer, i)) {
        return look.ask(
            3,
            Reason::ReferenceConflict,
            vec![],
            "an invoice of the named session is not one of the paying client's",
        );
    }
    if invoices.iter().all(|i| open_of(look.world, &i.id).is_zero()) {
        return look.ask(3, Reason::AlreadySettled, vec![], "the client shares of the named session's invoices are already paid");
    }
    let clients: BTreeSet<&ClientId> = invoices.iter().map(|i| &i.client).collect();
    look.payer = look.payer.take().or_else(|| clients.first().map(|c| (*c).clone()));
    // Rule 4 needs a known client; a reference alone makes nobody known.
    if is_prepayment(look) && matches!(payer, Payer::Known { .. }) {
        return prepaid(look);
    }
    let found = candidates(look.world, invoices.iter().copied(), look.case.success.currency);
    if found.is_empty() {
        let family: BTreeSet<ClientId> = look.payer.iter().chain(clients).flat_map(|c| look.world.whole_family(c)).collect();
        let left = |i: &&&Invoice| i.currency == look.case.success.currency && !reopened(look.world, &i.id);
        let third_party = invoices.iter().filter(left).any(|i| open_of(look.world, &i.id).is_positive());
        let mut decision = nothing_open(look, &family, third_party);
        if decision.stands == Stands::Parked {
            decision.watch.extend(named_records(&look.case.success.reference));
        }
        return decision;
    }
    by_amount(look, found)
}

fn is_prepayment(look: &Deciding<'_>) -> bool {
    look.case.success.reference.kind.as_deref() == Some("prepayment")
}

fn prepaid(look: &Deciding<'_>) -> Decision {
    let mut decision = look.blank(Stands::Decided, 4, "the metadata says that it is a prepayment");
    decision.credit = true;
    decision
}

/// The client is known: rules 2 (second half), 4 and 5 to 13.
fn with_family(look: &Deciding<'_>, family: &BTreeSet<ClientId>) -> Decision {
    let files = family.iter().flat_map(|c| look.world.invoices_of(c)).filter_map(|f| f.invoice.as_ref());
    let open: Vec<&Invoice> = files.filter(|i| !i.void && open_of(look.world, &i.id).is_positive()).collect();
    let open: Vec<&Invoice> = open.into_iter().filter(|i| !reopened(look.world, &i.id)).collect();
    if !open.is_empty() && open.iter().all(|i| i.currency != look.case.success.currency) {
        return look.ask(2, Reason::Currency, vec![], "the client's open invoices are in another currency");
    }
    if is_prepayment(look) {
        return prepaid(look);
    }
    let found = candidates(look.world, open.iter().copied(), look.case.success.currency);
    if found.is_empty() {
        let third_party = open.iter().any(|i| i.currency == look.case.success.currency);
        return nothing_open(look, family, third_party);
    }
    by_amount(look, found)
}

fn reopened(world: &World, id: &InvoiceId) -> bool {
    world.invoice(id).is_some_and(|f| f.allocations.iter().any(|a| a.reopened && !a.closed))
}

fn candidate(invoice: &Invoice, open: Minor) -> Candidate {
    Candidate {
        invoice: invoice.id.clone(),
        client: invoice.client.clone(),
        open,
        issued_on: invoice.issued_on,
        served_on: invoice.first_service_date(),
        category: invoice.category,
        dates: invoice.sessions.iter().map(|s| s.service_date).chain([invoice.issued_on]).collect(),
    }
}

/// What a client's own money may pay without a reference, oldest first, each with all that is open on it.
#[must_use]
pub fn payable_oldest_first(world: &World, client: &ClientId, currency: Currency) -> Vec<Allocate> {
    let invoices = world.invoices_of(client).filter_map(|f| f.invoice.as_ref());
    candidates(world, invoices, currency).iter().map(|c| c.take(c.open)).collect()
}

/// The candidates for rules 5 to 12, oldest first.
fn candidates<'w>(world: &World, invoices: impl Iterator<Item = &'w Invoice>, currency: Currency) -> Vec<Candidate> {
    let billed_by_others = |c: &ClientId| world.client(c).is_some_and(|c| c.coverage == Coverage::ThirdPartyBiller);
    let mut found: Vec<Candidate> = invoices
        .filter(|i| !i.void && i.currency == currency && !billed_by_others(&i.client))
        .filter(|i| !reopened(world, &i.id))
        .map(|i| candidate(i, open_of(world, &i.id)))
        .filter(|c| c.open.is_positive())
        .collect();
    found.sort_by(|a, b| a.age().cmp(&b.age()));
    found
}

/// Rules 5 to 12, for one candidate or more.
fn by_amount(look: &Deciding<'_>, found: Vec<Candidate>) -> Decision {
    let amount = look.amount();
    let equal: Vec<&Candidate> = found.iter().filter(|c| c.open == amount).collect();
    match equal.as_slice() {
        [] => {}
        [one] => return look.apply(5, vec![one.take(amount)], &found, "exactly one open invoice has this amount"),
        _ => return one_of_equals(look, &equal, &found),
    }
    let whole = Minor::sum(found.iter().map(|c| c.open));
    if amount == whole {
        return the_whole_balance(look, &found);
    }
    if amount > whole {
        let all = found.iter().map(|c| (c.invoice.clone(), c.open)).collect();
        let answers =
            if found.len() <= ALLOCATIONS_MAX { vec![Answer::Apply(all), Answer::Credit] } else { vec![Answer::Credit] };
        return look.ask(12, Reason::Overpaid, answers, "the payment is more than everything that is open");
    }
    match found.as_slice() {
        [one] => look.apply(10, vec![one.take(amount)], &[], "a part of the only open invoice"),
        _ if found.len() > SUBSET_CANDIDATES_MAX => {
            look.ask(8, Reason::Ambiguous, vec![], "more open invoices than can be proved to have one explanation")
        }
        _ => by_subset(look, &found),
    }
}

/// Rule 6.
fn one_of_equals(look: &Deciding<'_>, equal: &[&Candidate], found: &[Candidate]) -> Decision {
    let amount = look.amount();
    let of_that_day: Vec<&&Candidate> = equal.iter().filter(|c| c.dates.contains(&look.case.local_date)).collect();
    if let [one] = of_that_day.as_slice() {
        return look.apply(6, vec![one.take(amount)], found, "of several invoices with this amount, the one of that day");
    }
    let answers = || equal.iter().take(ANSWERS_MAX).map(|c| Answer::Apply(vec![(c.invoice.clone(), amount)])).collect();
    if look.policy.same_amount == SameAmount::Review {
        return look.ask(6, Reason::Ambiguous, answers(), "several open invoices have this amount");
    }
    let Some(oldest) = equal.first() else { return unknown_client(look) };
    if equal.iter().any(|c| c.client != oldest.client && c.as_old_as(oldest)) {
        return look.ask(6, Reason::Ambiguous, answers(), "equally old invoices of different clients have this amount");
    }
    look.apply(6, vec![oldest.take(amount)], found, "of several invoices with this amount, the oldest")
}

/// Rule 7.
fn the_whole_balance(look: &Deciding<'_>, found: &[Candidate]) -> Decision {
    if found.len() > ALLOCATIONS_MAX {
        return look.ask(7, Reason::Ambiguous, vec![], "more than 40 invoices would be paid at once");
    }
    look.apply(7, found.iter().map(|c| c.take(c.open)).collect(), found, "the payment is everything that is open")
}

/// Rules 8, 9 and 11.
fn by_subset(look: &Deciding<'_>, found: &[Candidate]) -> Decision {
    let members = groups(look, found);
    let sizes: Vec<Group> =
        members.iter().map(|m| Group { open: m.first().map_or(Minor::ZERO, |c| c.open), count: m.len() }).collect();
    let all = explanations(&sizes, look.amount(), ANSWERS_MAX);
    let taken = |e: &Explanation| -> Vec<&Candidate> {
        let mut picked: Vec<&Candidate> = members.iter().zip(e).flat_map(|(m, n)| m.iter().take(*n).copied()).collect();
        picked.sort_by(|a, b| a.age().cmp(&b.age()));
        picked
    };
    match all.as_slice() {
        [] => {
            let answers = vec![Answer::Apply(oldest_first(found, look.amount()))];
            look.ask(11, Reason::PartialUnreferenced, answers, "several invoices are open and no set of them has this sum")
        }
        [one] => {
            let allocations = taken(one).iter().map(|c| c.take(c.open)).collect();
            look.apply(8, allocations, found, "exactly one set of open invoices has this sum")
        }
        several => {
            let as_answer = |e| Answer::Apply(taken(e).iter().map(|c| (c.invoice.clone(), c.open)).collect());
            look.ask(9, Reason::Ambiguous, several.iter().map(as_answer).collect(), "several sets of open invoices have this sum")
        }
    }
}

/// Candidates that explain the same thing stand together, oldest first; with `same_amount = "review"` each stands alone.
fn groups<'c>(look: &Deciding<'_>, found: &'c [Candidate]) -> Vec<Vec<&'c Candidate>> {
    if look.policy.same_amount == SameAmount::Review {
        return found.iter().map(|c| vec![c]).collect();
    }
    let mut by_kind: BTreeMap<(&ClientId, Minor), Vec<&Candidate>> = BTreeMap::new();
    for c in found {
        by_kind.entry((&c.client, c.open)).or_default().push(c);
    }
    by_kind.into_values().collect()
}

fn oldest_first(found: &[Candidate], amount: Minor) -> Vec<(InvoiceId, Minor)> {
    let mut left = amount;
    let mut shares = Vec::new();
    for c in found {
        let part = c.open.min(left);
        if part.is_positive() {
            left = left.minus(part);
            shares.push((c.invoice.clone(), part));
        }
    }
    shares
}

/// Rule 13.
fn nothing_open(look: &Deciding<'_>, family: &BTreeSet<ClientId>, third_party: bool) -> Decision {
    if third_party {
        let why = "what is open is billed by somebody else";
        return look.ask(13, Reason::NoInvoice, vec![Answer::Credit], why);
    }
    if look.case.look == Look::Deadline {
        return look.ask(13, Reason::NoInvoice, vec![Answer::Credit], "the client has nothing open");
    }
    parked(look, 13, "the client has nothing open yet", family.iter().cloned().map(Watch::Client).collect())
}

/// Rule 15. The invoices of the same amount that are shown with the question concern no decision: the caller asks the store for them.
fn unknown_client(look: &Deciding<'_>) -> Decision {
    let success = look.case.success;
    let may_come = success.customer.is_some() || success.reference.client.is_some();
    if may_come && look.case.look != Look::Deadline {
        return parked(look, 15, "nobody knows yet whose payment this is", who_might_come(look));
    }
    look.ask(15, Reason::UnknownClient, vec![], "nobody knows whose payment this is")
}

fn who_might_come(look: &Deciding<'_>) -> BTreeSet<Watch> {
    let success = look.case.success;
    let customer = success.customer.clone().map(Watch::Customer);
    let named = success.reference.client.as_deref().and_then(|id| ClientId::parse(id).ok()).map(Watch::Client);
    let email = look.world.email_of_payment(success.customer.as_ref(), success.receipt_email.as_ref());
    customer.into_iter().chain(named).chain(email.cloned().map(Watch::Email)).collect()
}

fn parked(look: &Deciding<'_>, rule: u8, why: &str, watch: BTreeSet<Watch>) -> Decision {
    let mut decision = look.blank(Stands::Parked, rule, why);
    decision.watch = watch;
    decision.watch.extend(always_watched(look.case));
    decision
}

/// What every parked payment waits for: its customer's links and e-mail, and the EHR holding it already.
fn always_watched(case: &Case<'_>) -> impl Iterator<Item = Watch> {
    let success = case.success;
    let ids = [Some(success.payment.as_str()), success.charge.as_ref().map(|c| c.as_str())];
    let references: Vec<Watch> = ids.into_iter().flatten().map(|id| Watch::EhrReference(id.to_owned())).collect();
    success.customer.clone().map(Watch::Customer).into_iter().chain(references)
}

/// Keeps a parked payment parked: what it would ask now waits for the deadline.
pub(super) fn park(world: &World, case: &Case<'_>, would_be: &Decision) -> Decision {
    let family = would_be.payer.iter().flat_map(|p| world.whole_family(p)).map(Watch::Client);
    let mut watch: BTreeSet<Watch> = family.collect();
    watch.extend(always_watched(case));
    watch.extend(named_records(&case.success.reference));
    watch.extend(case.success.reference.client.as_deref().and_then(|id| ClientId::parse(id).ok()).map(Watch::Client));
    let email = world.email_of_payment(case.success.customer.as_ref(), case.success.receipt_email.as_ref());
    watch.extend(email.cloned().map(Watch::Email));
    Decision {
        stands: Stands::Parked,
        allocations: Vec::new(),
        unapplied: case.amount,
        credit: false,
        question: None,
        watch,
        ..would_be.clone()
    }
}
