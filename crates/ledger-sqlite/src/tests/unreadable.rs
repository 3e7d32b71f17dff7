use rusqlite::params;
use tintype_testing::ledger::MODEL;

use super::*;
use tintype_ledger::quarantine::RecordName;
use tintype_testing::ledger::before_0_2;
use tintype_testing::ledger::unreadable::{StoredText, contract};

impl StoredText for SqliteLedger {
    fn edit(&self, name: &RecordName, edit: &dyn Fn(&str) -> String) -> String {
        self.writer.with_connection(|connection| {
            let (table, owner, id) = match name {
                RecordName::Job { owner, id } => ("jobs", owner.to_string(), rows::id_bytes(id).to_vec()),
                RecordName::Other(name) => {
                    ("keys", name.strip_prefix("keys/").expect("a key").to_owned(), Vec::new())
                }
            };
            let condition = if table == "jobs" { "owner = ?1 AND id = ?2" } else { "id = ?1 OR id = ?2" };
            let row = params![owner, id];
            let read = format!("SELECT record FROM {table} WHERE {condition}");
            let text: String = connection.query_row(&read, row, |row| row.get(0)).expect("a record");
            let text = edit(&text);
            let write = format!("UPDATE {table} SET record = ?3 WHERE {condition}");
            connection.execute(&write, params![owner, id, text]).expect("written");
            text
        })
    }

    fn with_version(&self, text: &str, version: u32) -> String {
        let record = match text.strip_prefix("{\"v\":") {
            Some(versioned) => versioned.split_once(',').expect("other members").1,
            None => text.trim_start_matches('{'),
        };
        format!("{{\"v\":{version},{record}")
    }
}

#[test]
fn unreadable_records_affect_no_other_record() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    block_on(contract(&ledger, &ledger));
}

#[test]
fn records_of_versions_before_0_2_are_used() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    block_on(before_0_2::contract(&ledger, &ledger));
}

#[test]
fn a_record_of_another_row_and_text_that_is_not_utf_8_are_unreadable() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    block_on(async {
        let first = accepted(&ledger, new_job("acme", "a"), 0).await;
        let second = accepted(&ledger, new_job("acme", "b"), 1).await;
        let third = accepted(&ledger, new_job("acme", "c"), 2).await;
        ledger
            .writer
            .with_connection(|connection| {
                let copy = "UPDATE jobs SET record = (SELECT record FROM jobs WHERE id = ?2) WHERE id = ?1";
                connection.execute(copy, params![rows::id_bytes(&first.id), rows::id_bytes(&third.id)])?;
                let damage = "UPDATE jobs SET record = CAST(x'7bff' AS TEXT) WHERE id = ?1";
                connection.execute(damage, [rows::id_bytes(&second.id)])
            })
            .expect("written");
        let next =
            ledger.claim_next(MODEL, lease("w", 60), at(3)).await.expect("claim").expect("a queued job");
        assert_eq!(next.id, third.id);
        assert_eq!(ledger.check().await.expect("check").len(), 2);
        assert_eq!(ledger.repair(at(4)).await.expect("repair").ended.len(), 2);
        assert_eq!(usage_today(&ledger, "acme").await.reserved.engine_ms, 1_000, "the running job's");
    });
}

#[test]
fn unreadable_usage_does_not_block_the_queue() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    block_on(async {
        let late = NewJob { deadline: Some(at(5)), ..new_job("acme", "a") };
        let late = accepted(&ledger, late, 0).await;
        let mut other = new_job("acme", "b");
        other.key = tintype_testing::ledger::key_id("second");
        let other = accepted(&ledger, other, 1).await;
        ledger
            .writer
            .with_connection(|connection| {
                connection.execute("UPDATE days SET usage = '{' WHERE key = 'acme'", [])
            })
            .expect("written");
        ledger.recover(at(10), RecoveryScope::ExpiredLeases).await.expect("recover");
        let next =
            ledger.claim_next(MODEL, lease("w", 60), at(10)).await.expect("claim").expect("a queued job");
        assert_eq!(next.id, other.id);
        assert_eq!(ledger.claim_next(MODEL, lease("w", 60), at(10)).await.expect("claim"), None);
        let found = ledger.check().await.expect("check");
        assert_eq!(found[0].name, RecordName::Other(format!("usage/acme/{}", at(0).date())));
        let late = ledger.job(&late.owner, late.id).await.expect("get").expect("a job");
        assert_eq!(late.status, tintype_ledger::job::Status::Queued, "it ends when its key can be charged");
    });
}

#[test]
fn a_full_disk_is_reported_until_a_write_succeeds() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let set_max_pages = |pages: u32| {
        ledger.writer.with_connection(|connection| {
            let read = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], read).expect("a number")
        })
    };
    block_on(async {
        ledger.probe().await.expect("nothing has failed");
        set_max_pages(1);
        let accept = |second| ledger.accept(new_job("acme", "a"), at(second));
        let mut second = 0;
        let error = loop {
            match accept(second).await {
                Ok(_) => second += 1,
                Err(error) => break error,
            }
            assert!(second < 10_000, "the disk never fills up");
        };
        assert!(matches!(error, Error::StorageFull(_)) && error.is_transient(), "{error:?}");
        assert!(matches!(ledger.probe().await, Err(Error::StorageFull(_))));
        // A transaction without changes succeeds also on a full disk.
        ledger.recover(at(0), RecoveryScope::ExpiredLeases).await.expect("recover");
        assert!(matches!(ledger.probe().await, Err(Error::StorageFull(_))));
        set_max_pages(1 << 20);
        ledger.probe().await.expect("the disk has room again");
        accept(second).await.expect("accepted");
        ledger.probe().await.expect("nothing has failed since");
    });
}
