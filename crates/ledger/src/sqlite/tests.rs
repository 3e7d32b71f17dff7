use super::*;
use crate::testing::{
    accepted, at, completed, lease, ledger_contract, new_job, new_job_with_key, race_contract, usage_today,
};
use futures::executor::block_on;
use std::pin::pin;
use std::sync::Arc;
use tempfile::TempDir;

fn folder() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    (folder, path)
}

#[test]
fn keeps_the_contract() {
    for sync in [Synchronous::Normal, Synchronous::Full] {
        let (_folder, path) = folder();
        block_on(ledger_contract(&SqliteLedger::open(&path, sync).expect("open")));
    }
}

#[test]
fn keeps_the_contract_in_a_race() {
    let (_folder, path) = folder();
    race_contract(&[Arc::new(SqliteLedger::open(&path, Synchronous::Normal).expect("open"))]);
}

#[test]
fn several_processes_share_a_file() {
    let (_folder, path) = folder();
    let open =
        |_| -> Arc<dyn Ledger> { Arc::new(SqliteLedger::open(&path, Synchronous::Normal).expect("open")) };
    race_contract(&(0..3).map(open).collect::<Vec<_>>());
}

#[test]
fn everything_is_there_after_opening_again() {
    let (_folder, path) = folder();
    let new_key = NewKey {
        name: "acme".to_owned(),
        owner: None,
        expires: None,
        admin: true,
        policy: Policy { rate: "60/min".parse().ok(), ..Policy::default() },
    };
    let (key, record, queued, ended) = {
        let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
        block_on(async {
            let (key, record) = ledger.create_key(new_key, at(0)).await.expect("create");
            let limited = NewJob { policy: record.policy.clone(), ..new_job_with_key("acme", "a", "k") };
            let queued = accepted(&ledger, limited, 0).await;
            let other = accepted(&ledger, new_job("other", "b"), 0).await;
            (key, record, queued, completed(&ledger, &other, 1).await)
        })
    };
    let ledger = SqliteLedger::open(&path, Synchronous::Full).expect("open again");
    block_on(async {
        let found = ledger.authenticate(&key, at(5)).await.expect("look up");
        assert_eq!(found, Authentication::Valid(record.clone()));
        let replay = ledger.accept(new_job_with_key("acme", "a", "k"), at(5)).await.expect("accept");
        assert_eq!(replay, Acceptance::Replayed { job: queued.clone() });
        assert_eq!(ledger.job(&ended.owner, ended.id).await.expect("get"), Some(ended.clone()));
        assert_eq!(usage_today(&ledger, "other").await.spent.engine_ms, 700);
        let key = queued.key.clone();
        let quotas = ledger.quotas(&key, &record.policy, at(0)).await.expect("standing");
        assert_eq!(quotas[0].remaining, 59);
        let next = ledger.claim_next(lease("w", 60), at(6)).await.expect("claim").expect("one waits");
        assert_eq!(next.id, queued.id);
    });
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    block_on(accepted(&ledger, new_job("acme", "secret words"), 0));
    for file in std::fs::read_dir(folder.path()).expect("a folder") {
        let mode = file.expect("a file").metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}

#[test]
fn what_was_deleted_is_not_in_the_file() {
    let (_folder, path) = folder();
    {
        let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
        let job = block_on(accepted(&ledger, new_job("acme", "purple elephant"), 0));
        block_on(ledger.delete(&job.owner, job.id, at(1))).expect("delete").expect("there");
    }
    let bytes = std::fs::read(&path).expect("the file");
    assert!(!bytes.windows(8).any(|part| part == b"elephant"));
}

#[test]
fn what_is_no_database_is_said_to_be_none() {
    let (_folder, path) = folder();
    std::fs::write(&path, "a shopping list, and a long one, ".repeat(100)).expect("write");
    let error = SqliteLedger::open(&path, Synchronous::Normal).expect_err("no database");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let missing = path.with_file_name("no").join("such.db");
    let error = SqliteLedger::open(&missing, Synchronous::Normal).expect_err("no folder");
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
}

#[test]
fn work_that_fails_is_undone_alone() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let write = |name: &'static str, fail: bool| {
        ledger.writer.call(move |connection| {
            connection.execute("INSERT INTO turns (owner, turn) VALUES (?1, 1)", [name])?;
            if fail { Err(Error::unavailable("on purpose")) } else { Ok(()) }
        })
    };
    let (good, bad, again) = (write("good", false), write("bad", true), write("good", false));
    block_on(good).expect("kept");
    assert!(matches!(block_on(bad), Err(Error::Unavailable(_))));
    assert!(matches!(block_on(again), Err(Error::Unavailable(_))), "the name is taken");
    let count = ledger.reader.call(|connection| {
        Ok(connection
            .query_row("SELECT group_concat(owner) FROM turns", [], |row| row.get::<_, String>(0))?)
    });
    assert_eq!(block_on(count).expect("count"), "good");
}

#[test]
fn who_asks_is_not_held_up_while_another_process_writes() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let other = Connection::open(&path).expect("the same file");
    other.execute_batch("BEGIN IMMEDIATE").expect("it writes");
    let write = |connection: &Connection| {
        connection.execute("INSERT INTO turns (owner, turn) VALUES ('acme', 1)", [])?;
        Ok(())
    };
    let mut waiting = pin!(ledger.writer.quick(write));
    block_on(async { assert!(futures::poll!(&mut waiting).is_pending(), "it waits its turn, elsewhere") });
    other.execute_batch("COMMIT").expect("it is done");
    block_on(waiting).expect("written");
}

#[test]
fn who_comes_while_the_connection_is_taken_is_not_forgotten() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let came = ledger.writer.pause(|_| ledger.writer.quick(|_| Ok(())));
    let (told, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(block_on(came)));
    let answer = answer.recv_timeout(Duration::from_secs(60));
    assert!(matches!(answer, Ok(Ok(()))), "{answer:?}");
}

#[test]
fn what_panics_takes_nobody_with_it() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let half = |connection: &Connection| -> Result<()> {
        connection.execute("INSERT INTO turns (owner, turn) VALUES ('half', 1)", [])?;
        panic!("on purpose");
    };
    assert!(matches!(block_on(ledger.writer.call(half)), Err(Error::Unavailable(_))));
    let count = |connection: &Connection| {
        Ok(connection.query_row("SELECT count(*) FROM turns", [], |row| row.get::<_, i64>(0))?)
    };
    assert_eq!(block_on(ledger.writer.quick(count)).expect("by the caller"), 0, "rolled back");
    assert_eq!(block_on(ledger.writer.call(count)).expect("by the thread"), 0);
}

#[test]
fn a_long_log_is_copied_while_the_ledger_is_open() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let size = || std::fs::metadata(&path).expect("the file").len();
    let before = size();
    // 40 MiB, of which 2 stay. What is the same as before would not be written.
    for i in 0..160_u32 {
        let (id, record) = ((i % 8).to_string(), format!("{i:03}").repeat(90_000));
        let write = move |connection: &Connection| {
            connection.execute("INSERT OR REPLACE INTO keys (id, record) VALUES (?1, ?2)", (id, record))?;
            Ok(())
        };
        block_on(ledger.writer.quick(write)).expect("written");
    }
    let began = std::time::Instant::now();
    while size() < before + (1 << 20) {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is copied");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_sees_what_was_written_before_it_asked() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let count = |connection: &Connection| {
        Ok(connection.query_row("SELECT count(*) FROM turns", [], |row| row.get::<_, i64>(0))?)
    };
    let (reading, has_read) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let slow = ledger.reader.call(move |connection| {
        let before = count(connection)?;
        reading.send(()).expect("the test waits");
        may_go_on.recv().expect("the test lets it go on");
        Ok(before)
    });
    has_read.recv().expect("it reads");
    let write = ledger.writer.call(|connection| {
        connection.execute("INSERT INTO turns (owner, turn) VALUES ('acme', 1)", [])?;
        Ok(())
    });
    block_on(write).expect("written");
    // Asked while the other one still reads.
    let late = ledger.reader.call(count);
    go_on.send(()).expect("it waits");
    assert_eq!(block_on(slow).expect("count"), 0);
    assert_eq!(block_on(late).expect("count"), 1);
}

#[test]
fn old_records_are_tidied_away() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    block_on(async {
        let job = accepted(&ledger, new_job_with_key("acme", "a", "k"), 0).await;
        completed(&ledger, &job, 1).await;
        let years_later = at(500 * 86_400);
        ledger.recover(years_later, RecoveryScope::ExpiredLeases).await.expect("recover");
        assert_eq!(usage_today(&ledger, "acme").await, DayUsage::default());
        let left = ledger.reader.call(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM idempotency", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(left.await.expect("count"), 0);
    });
}
