//! Who pays (design.md section 4): customer, named client, families, e-mail.

use super::LinkByEmail;
use super::facts::{Payment, Stage, World};
use std::collections::BTreeSet;

/// The answer to "who pays".
pub(super) enum Who {
    /// Customer and metadata disagree.
    Conflict,
    /// The customer is linked to these, who are no family.
    Strangers(Vec<String>),
    /// Known; these clients' invoices are candidates.
    Known(Vec<String>),
    /// Linked to nobody; metadata may name a client that the EHR does not know.
    Unknown(Option<String>),
}

impl World {
    pub fn is_known(&self, client: &str) -> bool {
        self.clients.get(client).is_some_and(|c| !c.deleted)
    }

    pub fn guarantor(&self, client: &str) -> Option<&str> {
        self.clients.get(client).and_then(|c| c.guarantor.as_deref())
    }

    /// The client and those whose guarantor he is, one step, deleted ones left out.
    pub fn payable_by(&self, client: &str) -> Vec<String> {
        let mut all = vec![client.to_owned()];
        all.extend(
            self.clients
                .iter()
                .filter(|(id, c)| *id != client && !c.deleted && c.guarantor.as_deref() == Some(client))
                .map(|(id, _)| id.clone()),
        );
        all
    }

    /// The client with his guarantor, dependents and siblings.
    fn whole_family(&self, client: &str) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = self.payable_by(client).into_iter().collect();
        if let Some(guarantor) = self.guarantor(client) {
            all.extend(self.payable_by(guarantor));
        }
        all
    }

    /// The clients that a customer is linked to: by the EHR, else by rule 14.
    pub fn linked(&self, customer: Option<&str>) -> Vec<String> {
        let Some(customer) = customer else { return Vec::new() };
        let by_ehr: Vec<String> = self
            .clients
            .iter()
            .filter(|(_, c)| !c.deleted && c.customers.iter().any(|id| id == customer))
            .map(|(id, _)| id.clone())
            .collect();
        if !by_ehr.is_empty() {
            return by_ehr;
        }
        self.links.get(customer).filter(|client| self.is_known(client)).cloned().into_iter().collect()
    }

    /// The one that stands for all: the only one, or the guarantor of all others.
    fn one_of(&self, clients: &[String]) -> Option<String> {
        match clients {
            [] => None,
            [one] => Some(one.clone()),
            several => several.iter().find(|g| several.iter().all(|c| c == *g || self.guarantor(c) == Some(g.as_str()))).cloned(),
        }
    }

    pub fn who_pays(&self, p: &Payment) -> Who {
        let linked = self.linked(p.customer.as_deref());
        let (named, known) = (p.meta.client.as_deref(), p.meta.client.as_deref().is_some_and(|c| self.is_known(c)));
        if linked.is_empty() {
            return match named {
                Some(n) if known => Who::Known(self.payable_by(n)),
                other => Who::Unknown(other.map(str::to_owned)),
            };
        }
        let one = self.one_of(&linked);
        let Some(named) = named else {
            return one.map_or(Who::Strangers(linked), |c| Who::Known(self.payable_by(&c)));
        };
        if !known {
            return Who::Conflict;
        }
        let holders = one.map_or(linked, |c| vec![c]);
        if holders.iter().any(|c| c == named) {
            return Who::Known(self.payable_by(named));
        }
        if holders.iter().any(|c| self.guarantor(named) == Some(c.as_str())) {
            return Who::Known(vec![named.to_owned()]);
        }
        let owners: BTreeSet<&str> =
            self.referenced(p).into_iter().filter_map(|id| Some(self.invoices.get(&id)?.client.as_str())).collect();
        match owners.into_iter().collect::<Vec<_>>().as_slice() {
            [d] if self.guarantor(d) == Some(named) && holders.iter().any(|c| c == d) => Who::Known(vec![(*d).to_owned()]),
            _ => Who::Conflict,
        }
    }

    /// The known invoices that the reference names; with an invoice named, that one only.
    pub fn referenced(&self, p: &Payment) -> Vec<String> {
        match (&p.meta.invoice, &p.meta.session) {
            (Some(id), _) => self.invoices.contains_key(id).then(|| id.clone()).into_iter().collect(),
            (None, Some(session)) => self.of_session(session),
            (None, None) => Vec::new(),
        }
    }

    /// All invoices that hold the session.
    pub fn of_session(&self, session: &str) -> Vec<String> {
        self.invoices.values().filter(|i| i.sessions.iter().any(|(s, _)| s == session)).map(|i| i.id.clone()).collect()
    }

    fn email_of(&self, p: &Payment) -> Option<String> {
        let latest = p.customer.as_ref().and_then(|c| self.customers.get(c)).and_then(|c| c.email.clone());
        latest.or_else(|| p.receipt_email.clone())
    }

    fn with_email(&self, email: &str) -> Vec<String> {
        self.clients.iter().filter(|(_, c)| !c.deleted && c.emails.iter().any(|e| e == email)).map(|(id, _)| id.clone()).collect()
    }

    /// Rule 14: the one client whom the e-mail proves.
    pub fn by_email(&self, p: &Payment) -> Option<String> {
        if self.config.link_by_email == LinkByEmail::Never {
            return None;
        }
        let email = self.email_of(p)?;
        let client = self.one_of(&self.with_email(&email))?;
        let family = self.whole_family(&client);
        let holders: Vec<&String> =
            self.customers.iter().filter(|(_, c)| c.email.as_deref() == Some(email.as_str())).map(|(id, _)| id).collect();
        let Some(customer) = &p.customer else {
            let of_family = |id: &&String| self.linked(Some(id)).iter().any(|c| family.contains(c));
            return holders.iter().all(of_family).then_some(client);
        };
        let theirs = family.iter().filter_map(|c| self.clients.get(c)).filter(|c| !c.deleted).flat_map(|c| &c.customers);
        let linked = self.links.iter().filter(|(_, c)| family.contains(*c)).map(|(id, _)| id);
        let alone = theirs.chain(linked).chain(holders).all(|id| id == customer);
        alone.then_some(client)
    }

    /// For every parked payment: the clients whose records concern it, and whom its customer is linked to.
    pub fn concerns(&self) -> Vec<(BTreeSet<String>, Vec<String>)> {
        self.payments
            .iter()
            .map(|p| {
                if p.stage != Stage::Parked {
                    return Default::default();
                }
                let linked = self.linked(p.customer.as_deref());
                let mut seeds = linked.clone();
                seeds.extend(p.meta.client.clone());
                seeds.extend(self.email_of(p).map(|e| self.with_email(&e)).unwrap_or_default());
                seeds.extend(self.referenced(p).iter().filter_map(|id| self.invoices.get(id)).map(|i| i.client.clone()));
                (seeds.iter().flat_map(|c| self.whole_family(c)).collect(), linked)
            })
            .collect()
    }
}
