//! Seals the audit trail: seal n = H(seal n-1, sorted record hashes), under a lease, and recomputes it (invariant 10).
//!
//! Must not: write, change or drop a record.

use crate::app::{App, Held};
use crate::failure::Unfinished;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use vesper_adapters::dynamo::item::{BadItem, Read, Stored, Unit};
use vesper_adapters::dynamo::model::{Meta, StoredAudit, StoredSeal};
use vesper_core::audit::{GENESIS, hex, seal as seal_hash};
use vesper_core::effect::{LEASE_S, Lease};

/// Records of one seal: with the seal and the small facts they fit in one transaction, and in one batch, of 100.
const RECORDS_MAX: u32 = 90;
/// Seals of one call; the next heartbeat goes on.
const SEALS_MAX: u32 = 20;
/// The small fact that holds the lease.
const LEASE: &str = "seal_lease";
/// The small fact that counts the seals.
const LAST: &str = "last_seal";

/// Seals what no seal covers yet, unless somebody else is at it. How many records were sealed.
///
/// # Errors
/// When the store does not answer, or when the newest seal is missing or damaged: a broken chain is not continued.
pub async fn seal(app: &App) -> Result<u64, Unfinished> {
    let open = open(app).await?;
    if open.records.is_empty() || open.holder.as_ref().is_some_and(|l| app.host.alive(l)) {
        return Ok(0);
    }
    let held = Held::new(app);
    let until = app.now().saturating_add(SignedDuration::from_secs(LEASE_S)).unwrap_or(Timestamp::MAX);
    let lease = Lease { owner: held.owner.clone(), until };
    let mut lease_rev = match app.store.set_meta(LEASE, &Some(lease), open.lease_rev).await {
        Ok(rev) => Some(rev),
        Err(e) if e.is_conflict() => return Ok(0),
        Err(e) => return Err(e.into()),
    };
    let sealed = seal_all(app, open, &mut lease_rev).await;
    let Some(rev) = lease_rev else { return sealed };
    match app.store.set_meta(LEASE, &None::<Lease>, rev).await {
        // Our lease was over, and somebody else has his.
        Err(e) if e.is_conflict() => sealed,
        result => sealed.and_then(|n| Ok(result.map(|_| n)?)),
    }
}

/// What is to be sealed, who holds the lease, and the number of the newest seal.
struct Open {
    records: Vec<Read<StoredAudit>>,
    holder: Option<Lease>,
    lease_rev: u64,
    last_n: u64,
    last_rev: u64,
}

async fn open(app: &App) -> Result<Open, Unfinished> {
    let (records, facts) = app.store.unsealed_and(RECORDS_MAX, &[LEASE, LAST]).await?;
    let mut open = Open { records, holder: None, lease_rev: 0, last_n: 0, last_rev: 0 };
    let bad = |name: &str| BadItem { kind: format!("MetaV1 {name}"), problem: "it is of another form".to_owned() };
    for fact in facts {
        if fact.item.name == LEASE {
            open.holder = serde_json::from_value(fact.item.value).map_err(|_| bad(LEASE))?;
            open.lease_rev = fact.rev;
        } else {
            open.last_n = serde_json::from_value(fact.item.value).map_err(|_| bad(LAST))?;
            open.last_rev = fact.rev;
        }
    }
    Ok(open)
}

/// Seals these and what comes after them. Records that somebody else sealed since they were read refuse the seal, and so does a
/// seal that he made. With the last seal the lease ends: then `lease_rev` is None.
async fn seal_all(app: &App, mut open: Open, lease_rev: &mut Option<u64>) -> Result<u64, Unfinished> {
    let mut sealed = 0_u64;
    for _ in 0..SEALS_MAX {
        let (count, full) = (u64::try_from(open.records.len()).unwrap_or(0), u64::from(RECORDS_MAX));
        if count == 0 {
            break;
        }
        // There are no more; what came since is for the next heartbeat.
        let is_last = count < full;
        match seal_one(app, open, lease_rev.filter(|_| is_last)).await {
            Ok(()) => sealed = sealed.saturating_add(count),
            Err(e) if e.is_conflict() => break,
            Err(e) => return Err(e),
        }
        if is_last {
            *lease_rev = None;
            break;
        }
        open = self::open(app).await?;
    }
    Ok(sealed)
}

/// Stores the next seal; with `lease_rev` the lease of this revision ends with it.
async fn seal_one(app: &App, open: Open, lease_rev: Option<u64>) -> Result<(), Unfinished> {
    let Open { records, last_n, last_rev, .. } = open;
    let previous = previous(app, last_n).await?;
    let n = last_n.saturating_add(1);
    let mut hashes: Vec<[u8; 32]> = records.iter().map(|r| r.item.record.hash()).collect();
    hashes.sort_unstable();
    let hash = hex(seal_hash(previous, hashes.clone()));
    let mut unit = Unit::new();
    unit.insert(&StoredSeal { n, records: hashes.into_iter().map(hex).collect(), hash, at: app.now() });
    for mut record in records {
        record.item.seal = Some(n);
        unit.update(&record);
    }
    unit.put_sealed(&Meta { name: LAST.to_owned(), value: n.into() }, last_rev, None);
    if let Some(rev) = lease_rev {
        unit.put_sealed(&Meta { name: LEASE.to_owned(), value: serde_json::Value::Null }, rev, None);
    }
    Ok(app.store.commit(unit).await?)
}

/// The hash that the next seal starts from.
async fn previous(app: &App, last_n: u64) -> Result<[u8; 32], Unfinished> {
    if last_n == 0 {
        return Ok(GENESIS);
    }
    let seal = app.store.seal(last_n).await?;
    let hash = seal.and_then(|s| bytes(&s.hash));
    let broken = || BadItem { kind: StoredSeal::KIND.to_owned(), problem: format!("seal {last_n} is missing or damaged") };
    hash.ok_or_else(|| broken().into())
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

/// What the audit trail amounts to (contracts/export.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// How many records there are, unsealed ones too.
    pub records: u64,
    /// The hash of the last seal in hex; zeros before the first one.
    pub head: String,
    /// Every seal follows from the one before it and from exactly the records that name it.
    pub verified: bool,
}

/// Recomputes the whole trail. Records that no seal covers yet do not break it.
#[must_use]
pub fn verify(records: Vec<StoredAudit>, mut seals: Vec<StoredSeal>) -> Trail {
    let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
    let mut covered: BTreeMap<u64, Vec<[u8; 32]>> = BTreeMap::new();
    for record in records {
        if let Some(n) = record.seal {
            covered.entry(n).or_default().push(record.record.hash());
        }
    }
    seals.sort_by_key(|s| s.n);
    let mut verified = true;
    let mut previous = GENESIS;
    for (seal, n) in seals.iter().zip(1_u64..) {
        let mut hashes = covered.remove(&seal.n).unwrap_or_default();
        hashes.sort_unstable();
        let named = hashes.iter().map(|h| hex(*h)).eq(seal.records.iter().cloned());
        previous = seal_hash(previous, hashes);
        verified &= seal.n == n && named && seal.hash == hex(previous);
    }
    // A record that names a seal which is not there.
    verified &= covered.is_empty();
    let head = seals.last().map_or_else(|| hex(GENESIS), |s| s.hash.clone());
    Trail { records: count, head, verified }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Changes;
    use crate::testing::{Bench, SETTINGS, Script, app};
    use vesper_adapters::dynamo::embedded::Engine;
    use vesper_adapters::dynamo::item::item_of;

    async fn bench() -> Bench {
        app(&Engine::memory().unwrap(), Script::new(|_| Ok((500, String::new()))), SETTINGS).await
    }

    async fn write(bench: &Bench, from: u32, to: u32) {
        for batch in (from..to).collect::<Vec<_>>().chunks(40) {
            let mut changes = Changes::new(&bench.app, bench.app.now());
            for n in batch {
                changes.audit("decided", "pi_1", &n.to_string());
            }
            changes.commit().await.unwrap();
        }
    }

    async fn all(bench: &Bench) -> (Vec<StoredAudit>, Vec<StoredSeal>) {
        let (mut records, mut seals) = (vec![], vec![]);
        let mut each = |row: vesper_adapters::dynamo::row::Row| match row.kind.as_str() {
            StoredAudit::KIND => records.push(item_of::<StoredAudit>(&row).unwrap().item),
            StoredSeal::KIND => seals.push(item_of::<StoredSeal>(&row).unwrap().item),
            _ => {}
        };
        bench.app.store.scan(&mut each).await.unwrap();
        (records, seals)
    }

    #[tokio::test]
    async fn records_are_sealed_in_a_chain_and_every_later_change_shows() {
        let bench = bench().await;
        assert_eq!(seal(&bench.app).await.unwrap(), 0);
        let (records, seals) = all(&bench).await;
        assert_eq!(verify(records, seals), Trail { records: 0, head: "0".repeat(64), verified: true });
        write(&bench, 0, 200).await;
        assert_eq!(seal(&bench.app).await.unwrap(), 200);
        assert_eq!(seal(&bench.app).await.unwrap(), 0);
        write(&bench, 200, 205).await;
        let (records, seals) = all(&bench).await;
        let mut numbers: Vec<(u64, usize)> = seals.iter().map(|s| (s.n, s.records.len())).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [(1, 90), (2, 90), (3, 20)]);
        let trail = verify(records.clone(), seals.clone());
        assert_eq!((trail.records, trail.verified), (205, true), "unsealed records do not break it");
        assert_eq!(seal(&bench.app).await.unwrap(), 5);
        let sealed = |n: u64| records.iter().position(|r| r.seal == Some(n)).unwrap();
        let place = |n: u64| seals.iter().position(|s| s.n == n).unwrap();
        type Tamper<'t> = Box<dyn Fn(&mut Vec<StoredAudit>, &mut Vec<StoredSeal>) + 't>;
        let cases: [(&str, Tamper<'_>); 7] = [
            ("a changed record", Box::new(|r, _| r[sealed(2)].record.detail.push('x'))),
            ("a record gone", Box::new(|r, _| drop(r.remove(sealed(1))))),
            ("a record added to an old seal", Box::new(|r, _| r.push(StoredAudit { seal: Some(1), ..r[sealed(2)].clone() }))),
            ("a record moved to another seal", Box::new(|r, _| r[sealed(1)].seal = Some(2))),
            ("a seal gone", Box::new(|_, s| drop(s.remove(place(2))))),
            ("the last seal gone", Box::new(|_, s| drop(s.remove(place(3))))),
            ("a changed seal", Box::new(|_, s| s[place(1)].hash = "0".repeat(64))),
        ];
        for (what, tamper) in cases {
            let (mut r, mut s) = (records.clone(), seals.clone());
            tamper(&mut r, &mut s);
            assert!(!verify(r, s).verified, "{what}");
        }
    }

    #[tokio::test]
    async fn nobody_seals_while_the_holder_of_the_lease_is_alive() {
        let bench = bench().await;
        write(&bench, 0, 3).await;
        let held = Held::new(&bench.app);
        let lease = Lease { owner: held.owner.clone(), until: bench.app.now() };
        bench.app.store.set_meta(LEASE, &Some(lease), 0).await.unwrap();
        assert_eq!(seal(&bench.app).await.unwrap(), 0);
        drop(held);
        assert_eq!(seal(&bench.app).await.unwrap(), 3);
        assert_eq!(all(&bench).await.1.len(), 1);
    }

    #[tokio::test]
    async fn a_chain_whose_newest_seal_is_damaged_is_not_continued() {
        let bench = bench().await;
        write(&bench, 0, 3).await;
        bench.app.store.set_meta(LAST, &4_u64, 0).await.unwrap();
        assert!(seal(&bench.app).await.is_err());
        assert_eq!(all(&bench).await.1.len(), 0);
    }
}
