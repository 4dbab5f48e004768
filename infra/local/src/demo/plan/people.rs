//! Who comes to the practice, when, and who pays for whom.

use super::super::rng::Rng;
use super::{Act, Client, Customer, MAIL_DOMAIN, Payer, Plan, at, days};
use jiff::{Timestamp, civil::Date};
use std::collections::VecDeque;

/// Surnames that no request, URL or row holds by chance.
pub(in super::super) const SURNAMES: [&str; 24] = [
    "Abernathy",
    "Lindqvist",
    "Okonkwo",
    "Villanueva",
    "Szymanski",
    "Delacroix",
    "Hawthorne",
    "Ferreira",
    "Nakamura",
    "Castellano",
    "Thibodeaux",
    "Vandermeer",
    "Goldfarb",
    "Rasmussen",
    "Petrosyan",
    "Quigley",
    "Zamora",
    "Underhill",
    "Yamazaki",
    "Achterberg",
    "Bjornstad",
    "Kowalczyk",
    "Mwangi",
    "Oyelaran",
];
const FIRST_NAMES: [&str; 20] = [
    "Avery", "Blake", "Casey", "Dana", "Elliot", "Frankie", "Gray", "Harper", "Indigo", "Jordan", "Kai", "Logan", "Morgan",
    "Noel", "Oakley", "Parker", "Quinn", "Riley", "Sage", "Taylor",
];
/// What insured clients pay for a session, and what clients without insurance pay, in minor units: few price points, as in life.
const COPAYS: [i64; 5] = [2000, 2500, 3000, 4000, 5000];
const SELF_PAY: [i64; 3] = [12_000, 15_000, 17_500];
/// What a session is worth with insurance, in minor units.
const CONTRACTED: [i64; 3] = [11_500, 13_000, 14_500];

/// One session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub client: usize,
    pub date: Date,
    pub hour: i8,
}

/// The days on which somebody works: 2 to 30 November 2026, without Thanksgiving.
fn dates_of(weekday: i8) -> impl Iterator<Item = Date> {
    [0, 7, 14, 21, 28]
        .into_iter()
        .map(move |plus| days(plus, 2_i8.saturating_add(weekday)))
        .filter(|d| d.month() == 11 && d.day() != 26)
}

/// Fills the therapists' weeks with clients until the month has so many sessions.
pub(super) fn fill(plan: &mut Plan, rng: &mut Rng, sessions: usize) -> Vec<Session> {
    let mut slots: Vec<Vec<(i8, i8)>> = Vec::new();
    for _ in 0..plan.clinicians {
        let mut week: Vec<(i8, i8)> = (0..5).flat_map(|day| (8..20).map(move |hour| (day, hour))).collect();
        rng.shuffle(&mut week);
        slots.push(week);
    }
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let mut held = Vec::new();
    let mut clinician = 0_usize;
    while held.len() < sessions {
        let Some((day, hour)) = slots.get_mut(clinician).and_then(Vec::pop) else { break };
        clinician = clinician.saturating_add(1).checked_rem(plan.clinicians).unwrap_or(0);
        let share = if rng.percent(25) { 2 } else { 1 };
        let mut sharing = Vec::new();
        while sharing.len() < share {
            if waiting.is_empty() {
                waiting.extend(party(plan, rng));
            }
            sharing.extend(waiting.pop_front());
        }
        for (week, date) in dates_of(day).enumerate() {
            let who = sharing.get(week.checked_rem(share).unwrap_or(0)).copied();
            held.extend(who.map(|client| Session { client, date, hour }));
        }
    }
    held.truncate(sessions);
    held.sort_by_key(|s| (s.date, s.hour, s.client));
    enrol(plan, rng, &mut held);
    held
}

/// Some clients are new this month: their first session is later, and so is their chart.
fn enrol(plan: &mut Plan, rng: &mut Rng, held: &mut [Session]) {
    for client in 0..plan.clients.len() {
        let first = held.iter().filter(|s| s.client == client).map(|s| at(s.date, s.hour, 0)).min();
        let of_family = plan.clients.get(client).is_some_and(|c| c.guarantor.is_some() || matches!(c.payer, Payer::Parent(_)));
        let parent = plan.clients.iter().any(|c| c.guarantor == Some(client));
        if let (Some(first), Some(known)) = (first, plan.clients.get_mut(client))
            && !of_family
            && !parent
            && rng.percent(25)
        {
            known.from = super::later(first, -60);
        }
        let from = plan.clients.get(client).map_or(Timestamp::UNIX_EPOCH, |c| c.from);
        plan.act(from, Act::Enrol(client));
    }
}

/// Who comes together: mostly one, sometimes a family or a couple with one address. Answers who needs a slot.
fn party(plan: &mut Plan, rng: &mut Rng) -> Vec<usize> {
    match rng.below(100) {
        0..10 => family(plan, rng),
        10..13 => couple(plan, rng),
        _ => {
            let (name, email) = name(plan, rng);
            let payer = alone(plan, rng, &name, &email);
            let linked = matches!(&payer, Payer::Customer(_)) && rng.percent(90);
            vec![client(plan, rng, (name, email), payer, linked, None)]
        }
    }
}

fn name(plan: &Plan, rng: &mut Rng) -> (String, String) {
    let (first, last) = (rng.pick(&FIRST_NAMES), rng.pick(&SURNAMES));
    let n = plan.clients.len();
    (format!("{first} {last}"), format!("{}.{}{n}{MAIL_DOMAIN}", first.to_lowercase(), last.to_lowercase()))
}

fn customer(plan: &Plan, name: &str, email: &str) -> Customer {
    Customer { id: format!("cus_Demo{:05}", plan.clients.len()), email: email.to_owned(), name: name.to_owned() }
}

/// How somebody without a family pays.
fn alone(plan: &Plan, rng: &mut Rng, name: &str, email: &str) -> Payer {
    match rng.below(100) {
        0..91 => Payer::Customer(customer(plan, name, email)),
        91..93 => {
            // Pays from an address that the EHR does not know.
            let other = format!("work.{email}");
            Payer::Customer(customer(plan, name, &other))
        }
        93..96 => Payer::Guest(Some(email.to_owned())),
        96..97 => Payer::Guest(None),
        _ => Payer::Cash,
    }
}

/// One more client; `linked`: the EHR knows the customer.
fn client(plan: &mut Plan, rng: &mut Rng, who: (String, String), payer: Payer, linked: bool, guarantor: Option<usize>) -> usize {
    let index = plan.clients.len();
    let told = match &payer {
        Payer::Customer(c) if linked && !c.email.starts_with("work.") => vec![c.id.clone()],
        _ => vec![],
    };
    let insured = rng.percent(68);
    let (fee_minor, payer_minor) = if insured {
        let copay = rng.pick(&COPAYS);
        (copay, rng.pick(&CONTRACTED).saturating_sub(copay))
    } else {
        (rng.pick(&SELF_PAY), 0)
    };
    let (name, email) = who;
    plan.clients.push(Client {
        id: format!("c_{}", index.saturating_add(1001)),
        name,
        email,
        told,
        guarantor,
        family: guarantor.unwrap_or(index),
        coverage: if insured { "commercial" } else { "self_pay" },
        fee_minor,
        payer_minor,
        payer,
        from: at(days(0, 2), 6, 30),
    });
    index
}

/// A parent who pays for one to three children, and sometimes comes himself.
fn family(plan: &mut Plan, rng: &mut Rng) -> Vec<usize> {
    let parent_is = name(plan, rng);
    let payer = Payer::Customer(customer(plan, &parent_is.0, &parent_is.1));
    let linked = rng.percent(85);
    let parent = client(plan, rng, parent_is, payer, linked, None);
    let mut coming = if rng.percent(40) { vec![parent] } else { vec![] };
    for _ in 0..rng.between(1, 3) {
        let (first, last) =
            (rng.pick(&FIRST_NAMES), plan.clients.get(parent).and_then(|c| c.name.split(' ').nth(1)).unwrap_or_default());
        // Children often have the parent's address in the EHR.
        let email = plan.clients.get(parent).map(|c| c.email.clone()).unwrap_or_default();
        let name = format!("{first} {last}");
        coming.push(client(plan, rng, (name, email), Payer::Parent(parent), false, Some(parent)));
    }
    coming
}

/// Two adults with one address who are no family to the EHR: no e-mail can say which of them paid.
fn couple(plan: &mut Plan, rng: &mut Rng) -> Vec<usize> {
    let (first_is, email) = name(plan, rng);
    let mut coming = Vec::new();
    for n in 0..2 {
        let called = if n == 0 { first_is.clone() } else { name(plan, rng).0 };
        let payer = Payer::Customer(customer(plan, &called, &email));
        let linked = rng.percent(50);
        coming.push(client(plan, rng, (called, email.clone()), payer, linked, None));
    }
    coming
}
