//! Contract tests of the store on the embedded engine: what the repositories rely on, and what AWS does that the engine
//! does by script only.

use super::{
    client::{client_on, new_client},
    embedded::{Engine, EngineError},
    failure::StoreError,
    faults::{Fault, Faults, Target, When},
    row::{Cond, Op, Row},
    table::Table,
};
use std::{collections::BTreeSet, sync::Arc};
use tempfile::TempDir;

fn row(pk: &str, sk: &str, body: &str) -> Row {
    let (pk, sk, body) = (pk.to_owned(), sk.to_owned(), body.to_owned());
    Row { pk, sk, kind: "TestV1".to_owned(), body, rev: 0, sealed: None, due: None, list: None, expires_at_s: None }
}

fn keys(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(pk, sk)| ((*pk).to_owned(), (*sk).to_owned())).collect()
}

fn sks(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|r| r.sk.as_str()).collect()
}

async fn table_on(engine: &Engine) -> Table {
    let table = Table::new(client_on(engine.http_client()), "vesper".to_owned());
    table.create_if_absent().await.unwrap();
    table
}

async fn table_through(faults: &Faults, attempts: u32) -> Table {
    let table = Table::new(faults.client(attempts), "vesper".to_owned());
    table.create_if_absent().await.unwrap();
    faults.clear();
    table
}

async fn with_faults(attempts: u32) -> (Faults, Table) {
    let faults = Faults::over(Engine::memory().unwrap().http_client());
    let table = table_through(&faults, attempts).await;
    (faults, table)
}

/// One table in memory and one in a file.
async fn both() -> (TempDir, [Table; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let file = Engine::open(&dir.path().join("store.db")).unwrap();
    let tables = [table_on(&Engine::memory().unwrap()).await, table_on(&file).await];
    (dir, tables)
}

fn is_conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict { .. }))
}

#[tokio::test]
async fn creating_the_table_again_changes_nothing() {
    for table in both().await.1 {
        table.put(row("A#1", "x", "1"), Cond::Absent).await.unwrap();
        table.create_if_absent().await.unwrap();
        assert!(table.get("A#1", "x").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_row_is_read_as_it_was_put_with_its_new_revision() {
    let full = Row {
        sealed: Some((0..=255).collect()),
        due: Some("2026-11-21T00:00:00Z#1".to_owned()),
        list: Some(("reviews".to_owned(), "1".to_owned())),
        expires_at_s: Some(4_000_000_000),
        ..row("A#1", "full", "{\"text\":\"\u{e9}\u{1F600}\\\"\"}")
    };
    for table in both().await.1 {
        assert_eq!(table.get("A#1", "full").await.unwrap(), None);
        for stored in [full.clone(), row("A#1", "empty body", "")] {
            assert_eq!(table.put(stored.clone(), Cond::Absent).await.unwrap(), 1);
            assert_eq!(table.get(&stored.pk, &stored.sk).await.unwrap(), Some(Row { rev: 1, ..stored }));
        }
        let read = table.get("A#1", "full").await.unwrap().unwrap();
        let bare = Row { sealed: None, due: None, list: None, expires_at_s: None, ..read };
        assert_eq!(table.put(bare.clone(), Cond::Rev(1)).await.unwrap(), 2);
        assert_eq!(table.get("A#1", "full").await.unwrap(), Some(Row { rev: 2, ..bare }), "a put replaces the whole row");
        assert_eq!(table.due("9", 10).await.unwrap(), vec![]);
    }
}

#[tokio::test]
async fn a_put_or_delete_happens_only_under_its_condition() {
    // (a row is stored with revision 2, condition, happens)
    let cases = [
        (false, Cond::None, true),
        (true, Cond::None, true),
        (false, Cond::Absent, true),
        (true, Cond::Absent, false),
        (false, Cond::Rev(0), true),
        (true, Cond::Rev(0), false),
        (true, Cond::Rev(2), true),
        (true, Cond::Rev(1), false),
        (true, Cond::Rev(3), false),
        (false, Cond::Rev(2), false),
    ];
    for table in both().await.1 {
        for (n, (stored, cond, happens)) in cases.into_iter().enumerate() {
            let pk = format!("CASE#{n}");
            for sk in ["put", "delete", "check"] {
                if stored {
                    table.put(Row { rev: 1, ..row(&pk, sk, "before") }, Cond::None).await.unwrap();
                }
            }
            let put = table.put(Row { rev: 2, ..row(&pk, "put", "after") }, cond).await;
            let expected = StoreError::Conflict { attempted: "put CASE".to_owned() };
            assert_eq!(put, if happens { Ok(3) } else { Err(expected) }, "put {n}");
            let body = table.get(&pk, "put").await.unwrap().map(|r| r.body);
            assert_eq!(body.as_deref(), if happens { Some("after") } else { stored.then_some("before") });

            let deleted = table.delete(&pk, "delete", cond).await;
            assert_eq!(deleted.is_ok(), happens, "delete {n}");
            assert!(happens || is_conflict(deleted));
            assert_eq!(table.get(&pk, "delete").await.unwrap().is_some(), stored && !happens);

            if cond != Cond::None {
                let check = Op::Check { pk: pk.clone(), sk: "check".to_owned(), cond };
                let marker = Op::Put { row: row(&pk, "marker", ""), cond: Cond::None };
                assert_eq!(table.transact(vec![check, marker]).await.is_ok(), happens, "check {n}");
                assert_eq!(table.get(&pk, "marker").await.unwrap().is_some(), happens);
            }
        }
    }
}

#[tokio::test]
async fn many_are_read_once_each_and_missing_ones_are_left_out() {
    for table in both().await.1 {
        for n in 0..230 {
            table.put(row(&format!("MANY#{n}"), "x", ""), Cond::None).await.unwrap();
        }
        let mut asked: Vec<_> = (0..260).map(|n| (format!("MANY#{n}"), "x".to_owned())).collect();
        asked.extend(asked.clone());
        let found: Vec<_> = table.get_many(&asked).await.unwrap().into_iter().map(|r| r.pk).collect();
        assert_eq!(found.len(), 230);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 230);
        assert_eq!(table.get_many(&[]).await.unwrap(), vec![]);
    }
}

#[tokio::test]
async fn a_partition_of_several_pages_is_read_whole_in_order() {
    let big = "x".repeat(300_000);
    for table in both().await.1 {
        for sk in ["b#2", "a#1", "c#1", "b#1", "b#3", "b#4", "b#5"] {
            table.put(row("BIG#1", sk, &big), Cond::None).await.unwrap();
        }
        table.put(row("BIG#2", "b#9", ""), Cond::None).await.unwrap();
        let all = ["a#1", "b#1", "b#2", "b#3", "b#4", "b#5", "c#1"];
        assert_eq!(sks(&table.query("BIG#1", "").await.unwrap()), all);
        assert_eq!(sks(&table.query("BIG#1", "b#").await.unwrap()), all[1..6]);
        assert_eq!(sks(&table.query("BIG#1", "d").await.unwrap()), [""; 0]);
        assert_eq!(sks(&table.query_after("BIG#1", "", 100).await.unwrap()), all);
        assert_eq!(sks(&table.query_after("BIG#1", "b#1", 4).await.unwrap()), all[2..6]);
        assert_eq!(sks(&table.query_after("BIG#1", "b#1", 0).await.unwrap()), [""; 0]);
        assert_eq!(sks(&table.query_after("BIG#1", "c#1", 4).await.unwrap()), [""; 0]);
        let keys = all.map(|sk| ("BIG#1".to_owned(), sk.to_owned()));
        assert_eq!(table.get_many(&keys).await.unwrap().len(), 7);
        let mut seen = BTreeSet::new();
        table.scan(&mut |r| assert!(seen.insert((r.pk, r.sk)))).await.unwrap();
        assert_eq!(seen.len(), 8);
    }
}

#[tokio::test]
async fn a_scan_for_some_kinds_hands_over_their_rows_and_no_other_over_several_pages() {
    let big = "x".repeat(300_000);
    for table in both().await.1 {
        for (n, kind) in (0..8).zip(["OneV1", "TwoV1", "ThreeV1"].into_iter().cycle()) {
            let row = Row { kind: kind.to_owned(), ..row(&format!("KIND#{n}"), kind, &big) };
            table.put(row, Cond::None).await.unwrap();
        }
        for (kinds, expected) in [(vec!["OneV1"], 3), (vec!["ThreeV1"], 2), (vec!["TwoV1", "OneV1"], 6), (vec!["NoneV1"], 0)] {
            let mut found = Vec::new();
            table.scan_of(&kinds, &mut |r| found.push(r.kind)).await.unwrap();
            assert_eq!(found.len(), expected, "{kinds:?}");
            assert!(found.iter().all(|kind| kinds.contains(&kind.as_str())), "{kinds:?}: {found:?}");
        }
    }
}

#[tokio::test]
async fn sixteen_tasks_that_count_by_revision_lose_nothing() {
    for table in both().await.1 {
        table.put(row("COUNT#1", "x", "0"), Cond::Absent).await.unwrap();
        let table = Arc::new(table);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let table = Arc::clone(&table);
                tokio::spawn(async move {
                    let mut left = 50;
                    while left > 0 {
                        let read = table.get("COUNT#1", "x").await.unwrap().unwrap();
                        let next = read.body.parse::<u32>().unwrap() + 1;
                        let cond = Cond::Rev(read.rev);
                        match table.put(Row { body: next.to_string(), ..read }, cond).await {
                            Ok(_) => left -= 1,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(e) => panic!("{e}"),
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let last = table.get("COUNT#1", "x").await.unwrap().unwrap();
        assert_eq!((last.body.as_str(), last.rev), ("800", 801));
    }
}

#[tokio::test]
async fn a_transaction_is_done_whole_or_not_at_all() {
    for table in both().await.1 {
        table.put(row("T#1", "old", "before"), Cond::Absent).await.unwrap();
        table.put(row("T#1", "gone", ""), Cond::Absent).await.unwrap();
        let ops = |old: Cond, check: Cond| {
            vec![
                Op::Put { row: row("T#1", "new", ""), cond: Cond::Absent },
                Op::Put { row: Row { rev: 1, ..row("T#1", "old", "after") }, cond: old },
                Op::Delete { pk: "T#1".to_owned(), sk: "gone".to_owned(), cond: Cond::Rev(1) },
                Op::Check { pk: "V#1".to_owned(), sk: "x".to_owned(), cond: check },
            ]
        };
        let before = table.query("T#1", "").await.unwrap();
        for (old, check) in [(Cond::Rev(2), Cond::Absent), (Cond::Absent, Cond::Absent), (Cond::Rev(1), Cond::Rev(1))] {
            let expected = StoreError::Conflict { attempted: "transact T 3 V".to_owned() };
            assert_eq!(table.transact(ops(old, check)).await, Err(expected));
            assert_eq!(table.query("T#1", "").await.unwrap(), before);
        }
        table.transact(ops(Cond::Rev(1), Cond::Absent)).await.unwrap();
        let after: Vec<_> = table.query("T#1", "").await.unwrap().into_iter().map(|r| (r.sk, r.body, r.rev)).collect();
        assert_eq!(after, [("new".into(), String::new(), 1), ("old".into(), "after".into(), 2)]);
        assert!(is_conflict(table.transact(ops(Cond::Rev(1), Cond::Absent)).await), "the same again is a new transaction");
    }
}

#[tokio::test]
async fn a_transaction_has_at_most_a_hundred_parts_on_different_keys() {
    for table in both().await.1 {
        let ops =
            |n: usize| (0..n).map(|i| Op::Put { row: row("P#1", &i.to_string(), ""), cond: Cond::Absent }).collect::<Vec<_>>();
        let bugs = [
            ops(101),
            [ops(1), ops(1)].concat(),
            vec![Op::Check { pk: "P#1".to_owned(), sk: "0".to_owned(), cond: Cond::None }],
            vec![Op::Put { row: Row { rev: u64::MAX, ..row("P#1", "0", "") }, cond: Cond::None }],
            vec![Op::Put { row: row("P#1", "0", &"x".repeat(410_000)), cond: Cond::None }],
        ];
        for (n, ops) in bugs.into_iter().enumerate() {
            let refused = table.transact(ops).await;
            assert!(matches!(refused, Err(StoreError::Bug { .. })), "{n}: {refused:?}");
        }
        assert_eq!(table.query("P#1", "").await.unwrap(), vec![]);
        table.transact(vec![]).await.unwrap();
        table.transact(ops(1)).await.unwrap();
        table.delete("P#1", "0", Cond::None).await.unwrap();
        table.transact(ops(100)).await.unwrap();
        assert_eq!(table.query("P#1", "").await.unwrap().len(), 100);
    }
}

#[tokio::test]
async fn what_is_due_comes_in_order_of_time_and_leaves_the_index_with_its_attribute() {
    let big = "x".repeat(200_000);
    for table in both().await.1 {
        for (sk, due) in [("c", Some("2026-03#c")), ("a", Some("2026-01#a")), ("b", Some("2026-02#b")), ("n", None)] {
            let due = due.map(str::to_owned);
            table.put(Row { due, ..row("DUE#1", sk, &big) }, Cond::Absent).await.unwrap();
        }
        let one = |sk| ("DUE#1", sk);
        assert_eq!(table.due("2026-02#b", 10).await.unwrap(), keys(&[one("a"), one("b")]));
        assert_eq!(table.due("2026-02#a", 10).await.unwrap(), keys(&[one("a")]));
        assert_eq!(table.due("2027", 2).await.unwrap(), keys(&[one("a"), one("b")]));
        assert_eq!(table.due("2025", 10).await.unwrap(), keys(&[]));
        assert_eq!(table.due("2027", 0).await.unwrap(), keys(&[]));
        table.put(Row { rev: 1, ..row("DUE#1", "a", "") }, Cond::Rev(1)).await.unwrap();
        table.delete("DUE#1", "b", Cond::Rev(1)).await.unwrap();
        assert_eq!(table.due("2027", 10).await.unwrap(), keys(&[one("c")]));
    }
}

#[tokio::test]
async fn a_list_is_paged_by_its_sort_key() {
    for table in both().await.1 {
        for (sk, name, sort) in [("3", "open", "c"), ("1", "open", "a"), ("2", "open", "b"), ("9", "done", "a")] {
            let list = Some((name.to_owned(), sort.to_owned()));
            table.put(Row { list, ..row("LIST#1", sk, "") }, Cond::Absent).await.unwrap();
        }
        let one = |sk| ("LIST#1", sk);
        assert_eq!(table.list("open", None, 10).await.unwrap(), keys(&[one("1"), one("2"), one("3")]));
        assert_eq!(table.list("open", None, 2).await.unwrap(), keys(&[one("1"), one("2")]));
        assert_eq!(table.list("open", Some("b"), 2).await.unwrap(), keys(&[one("3")]));
        assert_eq!(table.list("open", Some(""), 1).await.unwrap(), keys(&[one("1")]));
        assert_eq!(table.list("other", None, 2).await.unwrap(), keys(&[]));
    }
}

#[tokio::test]
async fn a_file_keeps_its_rows_and_can_be_opened_for_reading_beside_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    assert!(matches!(Engine::open_read_only(&path), Err(EngineError::Missing(_))));
    assert!(matches!(Engine::open(std::path::Path::new("file:x?mode=memory")), Err(EngineError::Path(_))));
    let stored = Row { sealed: Some(vec![1, 2, 3]), due: Some("2026".to_owned()), ..row("A#1", "x", "1") };
    {
        let table = table_on(&Engine::open(&path).unwrap()).await;
        table.put(stored.clone(), Cond::Absent).await.unwrap();
    }
    let writer = table_on(&Engine::open(&path).unwrap()).await;
    let reader = Table::new(client_on(Engine::open_read_only(&path).unwrap().http_client()), "vesper".to_owned());
    for table in [&writer, &reader] {
        assert_eq!(table.get("A#1", "x").await.unwrap(), Some(Row { rev: 1, ..stored.clone() }));
        assert_eq!(table.due("2027", 5).await.unwrap(), keys(&[("A#1", "x")]));
    }
    writer.put(row("A#2", "x", ""), Cond::Absent).await.unwrap();
    assert!(reader.get("A#2", "x").await.unwrap().is_some());
    let refused = StoreError::Bug { attempted: "put A".to_owned(), detail: "AccessDeniedException".to_owned() };
    assert_eq!(reader.put(row("A#3", "x", ""), Cond::None).await, Err(refused));
    assert!(matches!(reader.delete("A#1", "x", Cond::None).await, Err(StoreError::Bug { .. })));
    assert!(matches!(
        reader.transact(vec![Op::Put { row: row("A#4", "x", ""), cond: Cond::None }]).await,
        Err(StoreError::Bug { .. })
    ));
    assert_eq!(writer.query("A#1", "").await.unwrap().len(), 1);
}

#[tokio::test]
async fn rows_past_their_ttl_go_with_a_sweep() {
    let engine = Engine::memory().unwrap();
    let table = table_on(&engine).await;
    for (sk, expires_at_s) in [("old", Some(1)), ("young", Some(32_000_000_000)), ("forever", None)] {
        table.put(Row { expires_at_s, ..row("A#1", sk, "") }, Cond::None).await.unwrap();
    }
    assert_eq!(tokio::task::spawn_blocking(move || engine.sweep_expired().unwrap()).await.unwrap(), 1);
    assert_eq!(sks(&table.query("A#1", "").await.unwrap()), ["forever", "young"]);
}

#[tokio::test]
async fn without_repeats_every_fault_is_classed_by_what_it_did() {
    use StoreError as E;
    type Check = fn(&StoreError) -> bool;
    let throttled: Check = |e| matches!(e, E::Throttled { .. });
    let conflict: Check = |e| matches!(e, E::Conflict { .. });
    let unknown: Check = |e| matches!(e, E::OutcomeUnknown { .. });
    // (fault, class of a write, was it applied)
    let cases = [
        (Fault::Throttled, throttled, false),
        (Fault::TransactionConflict, conflict, false),
        (Fault::ServerError, unknown, false),
        (Fault::NoConnection, unknown, false),
        (Fault::LostAnswer, unknown, true),
        (Fault::ServerErrorAfter, unknown, true),
    ];
    for (fault, class, applied) in cases {
        let (faults, table) = with_faults(1).await;
        table.put(row("A#1", "gone", ""), Cond::None).await.unwrap();
        faults.script(Target::Writes, When::From(1), fault);
        let put = table.put(row("A#1", "put", ""), Cond::Absent).await.unwrap_err();
        let transact = table.transact(vec![Op::Put { row: row("A#1", "transact", ""), cond: Cond::Absent }]).await.unwrap_err();
        let deleted = table.delete("A#1", "gone", Cond::Rev(1)).await.unwrap_err();
        let deleted_freely = table.delete("A#1", "not there", Cond::None).await.unwrap_err();
        for error in [put, transact, deleted, deleted_freely] {
            assert!(class(&error), "{fault:?}: {error:?}");
        }
        assert_eq!(faults.calls(&Target::Writes), 5);
        let expected: &[&str] = if applied { &["put", "transact"] } else { &["gone"] };
        assert_eq!(sks(&table.query("A#1", "").await.unwrap()), expected, "{fault:?}");
        if fault == Fault::TransactionConflict {
            continue;
        }
        faults.clear();
        faults.script(Target::Reads, When::From(1), fault);
        let reads = [
            table.get("A#1", "x").await.unwrap_err(),
            table.get_many(&keys(&[("A#1", "x")])).await.unwrap_err(),
            table.query("A#1", "").await.unwrap_err(),
            table.due("9", 1).await.unwrap_err(),
            table.scan(&mut |_| ()).await.unwrap_err(),
        ];
        for error in reads {
            let right = if fault == Fault::Throttled { throttled(&error) } else { matches!(error, E::Transient { .. }) };
            assert!(right, "{fault:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn the_repeat_of_the_sdk_repairs_one_fault_and_applies_the_write_once() {
    for fault in [Fault::Throttled, Fault::ServerError, Fault::NoConnection, Fault::LostAnswer, Fault::ServerErrorAfter] {
        let (faults, table) = with_faults(3).await;
        faults.script(Target::Any, When::Call(1), fault);
        assert_eq!(table.put(row("A#1", "put", ""), Cond::Absent).await, Ok(1), "{fault:?}");
        assert_eq!(faults.calls(&Target::Any), 2);
        faults.clear();
        faults.script(Target::Any, When::Call(1), fault);
        assert_eq!(table.put(Row { rev: 1, ..row("A#1", "put", "") }, Cond::Rev(1)).await, Ok(2), "{fault:?}");
        faults.clear();
        faults.script(Target::Any, When::Call(1), fault);
        table.transact(vec![Op::Put { row: row("A#1", "transact", ""), cond: Cond::Absent }]).await.unwrap();
        faults.clear();
        faults.script(Target::Any, When::Call(1), fault);
        table.delete("A#1", "put", Cond::Rev(2)).await.unwrap();
        faults.clear();
        faults.script(Target::Any, When::Call(1), fault);
        assert_eq!(sks(&table.query("A#1", "").await.unwrap()), ["transact"]);
    }
}

#[tokio::test]
async fn a_write_in_doubt_is_never_called_a_conflict_or_throttled() {
    let lost_and = |second: Fault| async move {
        let (faults, table) = with_faults(2).await;
        faults.script(Target::Writes, When::Call(1), Fault::LostAnswer);
        faults.script(Target::Writes, When::Call(2), second);
        let put = table.put(row("A#1", "x", ""), Cond::Absent).await;
        (put, table.get("A#1", "x").await.unwrap().is_some())
    };
    for second in [Fault::Throttled, Fault::TransactionConflict, Fault::LostAnswer, Fault::NoConnection] {
        let (put, applied) = lost_and(second).await;
        assert!(matches!(put, Err(StoreError::OutcomeUnknown { .. })), "{second:?}: {put:?}");
        assert!(applied);
    }
    // A real conflict whose first answer was lost: another's write stands there, and ours may have been before it.
    let (faults, table) = with_faults(2).await;
    table.put(row("A#1", "x", ""), Cond::Absent).await.unwrap();
    faults.script(Target::Writes, When::Call(1), Fault::LostAnswer);
    let put = table.put(row("A#1", "x", ""), Cond::Absent).await;
    assert!(matches!(put, Err(StoreError::OutcomeUnknown { .. })), "{put:?}");
    // A transaction is certain: an applied one would have answered its repeat.
    faults.clear();
    faults.script(Target::Writes, When::Call(1), Fault::LostAnswer);
    assert!(is_conflict(table.transact(vec![Op::Put { row: row("A#1", "x", ""), cond: Cond::Absent }]).await));
}

#[tokio::test]
async fn the_repeat_of_an_applied_transaction_succeeds_and_never_conflicts() {
    let (faults, table) = with_faults(2).await;
    faults.script(Target::Writes, When::Call(1), Fault::LostAnswer);
    faults.script(Target::Writes, When::Call(2), Fault::TransactionConflict);
    table.transact(vec![Op::Put { row: row("A#1", "x", ""), cond: Cond::Absent }]).await.unwrap();
    assert_eq!(table.get("A#1", "x").await.unwrap().unwrap().rev, 1, "once");
}

#[tokio::test]
async fn unprocessed_keys_are_asked_for_again_until_there_is_no_progress() {
    let (faults, table) = with_faults(1).await;
    for n in 0..9 {
        table.put(row("A#1", &n.to_string(), ""), Cond::None).await.unwrap();
    }
    let nine: Vec<_> = (0..9).map(|n| ("A#1".to_owned(), n.to_string())).collect();
    for n in 1..=4 {
        faults.script(Target::Operation("BatchGetItem"), When::Call(n), Fault::HalfBatch);
    }
    assert_eq!(table.get_many(&nine).await.unwrap().len(), 9);
    assert_eq!(faults.calls(&Target::Operation("BatchGetItem")), 5);
    faults.script(Target::Any, When::From(1), Fault::HalfBatch);
    assert!(matches!(table.get_many(&nine).await, Err(StoreError::Throttled { .. })));
}

#[tokio::test]
async fn lagging_indexes_answer_from_some_writes_ago_and_base_rows_do_not_lag() {
    let faults = Faults::over_with_lag(Engine::memory().unwrap().http_client(), 3).unwrap();
    let table = table_through(&faults, 1).await;
    let due = |sk: &str, rev| Row { due: Some("2026".to_owned()), rev, ..row("A#1", sk, "") };
    table.put(due("1", 0), Cond::Absent).await.unwrap();
    assert_eq!(table.due("2027", 9).await.unwrap(), keys(&[]));
    assert_eq!(table.query("A#1", "").await.unwrap().len(), 1);
    table.transact(vec![Op::Put { row: due("2", 0), cond: Cond::Absent }]).await.unwrap();
    assert!(is_conflict(table.put(due("2", 0), Cond::Absent).await), "a refused write is no write");
    table.put(Row { due: None, ..due("1", 1) }, Cond::Rev(1)).await.unwrap();
    assert_eq!(table.due("2027", 9).await.unwrap(), keys(&[]));
    table.delete("A#1", "2", Cond::Rev(1)).await.unwrap();
    assert_eq!(table.due("2027", 9).await.unwrap(), keys(&[("A#1", "1")]), "stale: it is due no more");
    faults.catch_up().await.unwrap();
    assert_eq!(table.due("2027", 9).await.unwrap(), keys(&[]));
}

#[tokio::test]
async fn an_item_that_is_no_row_is_a_bug_that_names_the_attribute_only() {
    let engine = Engine::memory().unwrap();
    let table = table_on(&engine).await;
    let client = client_on(engine.http_client());
    let s = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    client
        .put_item()
        .table_name("vesper")
        .item("pk", s("A#secret"))
        .item("sk", s("x"))
        .item("kind", s("K"))
        .send()
        .await
        .unwrap();
    let expected = StoreError::Bug { attempted: "get A".to_owned(), detail: "attribute body".to_owned() };
    assert_eq!(table.get("A#secret", "x").await, Err(expected.clone()));
    assert!(!format!("{expected:?}{expected}").contains("secret"));
    let missing = Table::new(client, "another".to_owned());
    let expected = StoreError::Bug { attempted: "get A".to_owned(), detail: "ResourceNotFoundException".to_owned() };
    assert_eq!(missing.get("A#1", "x").await, Err(expected));
}

#[tokio::test]
async fn a_due_row_that_cannot_be_read_does_not_hide_the_others() {
    use super::store::{Due, Store};
    use crate::personal::DataKey;
    let engine = Engine::memory().unwrap();
    let table = table_on(&engine).await;
    let due = |pk: &str, kind: &str, due: &str| {
        let (kind, body) = (kind.to_owned(), "{}".to_owned());
        Row { kind, body, due: Some(due.to_owned()), ..row(pk, "x", "") }
    };
    table.put(due("P#1", "PostingV1", "2026-01-01T00:00:00Z"), Cond::None).await.unwrap();
    table.put(due("P#2", "SomethingElseV9", "2026-01-02T00:00:00Z"), Cond::None).await.unwrap();
    let payout = super::model::StoredPayout {
        id: "po_1".to_owned(),
        payout: None,
        state: vesper_core::payout::PayoutState::Waiting,
        look: 1,
        cursor: None,
        listed: false,
        tally: vesper_core::payout::Tally::default(),
        transferred: false,
        shadow: false,
        next_at: Some("2026-01-03T00:00:00Z".parse().unwrap()),
        failing_since: None,
        tries: 0,
        problem: None,
    };
    let store = Store::new(table, DataKey::new([7; 32]));
    let mut unit = super::item::Unit::new();
    unit.insert(&payout);
    store.commit(unit).await.unwrap();
    // And one that is no row at all.
    let s = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let put = client_on(engine.http_client()).put_item().table_name("vesper").item("pk", s("P#0")).item("sk", s("x"));
    put.item("due_pk", s("DUE")).item("due", s("2026-01-01T00:00:00Z")).send().await.unwrap();
    let found = store.due("2027-01-01T00:00:00Z".parse().unwrap(), 9).await.unwrap();
    let told: Vec<String> = found
        .iter()
        .map(|due| match due {
            Due::Unreadable { row, problem } => format!("{row}: {problem}"),
            Due::Payout(id) => id.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["P#0 x: get P: attribute kind", "P#1 x: read a stored PostingV1: line 1 column 2", "po_1"]);
}

#[tokio::test]
async fn a_client_for_aws_works_with_its_time_limits() {
    let engine = Engine::memory().unwrap();
    table_on(&engine).await;
    let base = client_on(engine.http_client()).config().to_builder();
    let table = Table::new(new_client(base), "vesper".to_owned());
    assert_eq!(table.put(row("A#1", "x", ""), Cond::Absent).await, Ok(1));
}
