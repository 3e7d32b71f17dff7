use super::*;
use futures::executor::block_on;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;
use tintype_testing::ledger::{
    MODEL, accepted, at, claimed, completed, cost, lease, ledger_contract, new_job, new_job_with_key,
    race_contract, succeeded, usage_today,
};

mod earlier_versions;
mod statements;
mod unreadable;

fn folder() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    (folder, path)
}

#[test]
fn satisfies_the_contract() {
    for sync in [Synchronous::Normal, Synchronous::Full] {
        let (_folder, path) = folder();
        block_on(ledger_contract(&SqliteLedger::open(&path, sync).expect("open")));
    }
}

#[test]
fn satisfies_the_race_contract() {
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
fn a_fifo_or_a_device_is_not_a_database() {
    for device in [None, Some("/dev/zero"), Some("/dev/null")] {
        let (_folder, path) = folder();
        match device {
            Some(device) => std::os::unix::fs::symlink(device, &path).expect("a link"),
            None => {
                let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
                assert!(made.success());
            }
        }
        let error = SqliteLedger::open(&path, Synchronous::Normal).expect_err("refused");
        let text = tintype_core::causes::causes(&error).to_string();
        assert_eq!(text, "ledger unavailable: not a regular file", "{device:?}");
    }
}

#[test]
fn all_records_survive_reopening() {
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
        let quotas = ledger.quotas(&key, &record.policy, at(0)).await.expect("quotas");
        assert_eq!(quotas[0].remaining, 59);
        let next =
            ledger.claim_next(MODEL, lease("w", 60), at(6)).await.expect("claim").expect("a queued job");
        assert_eq!(next.id, queued.id);
    });
}

#[cfg(unix)]
#[test]
fn only_the_files_owner_can_read_it() {
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
fn the_file_does_not_contain_deleted_data() {
    let (_folder, path) = folder();
    {
        let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
        let job = block_on(accepted(&ledger, new_job("acme", "purple elephant"), 0));
        block_on(ledger.delete(&job.owner, job.id, at(1))).expect("delete").expect("a job");
    }
    let bytes = std::fs::read(&path).expect("the file");
    assert!(!bytes.windows(8).any(|part| part == b"elephant"));
}

/// Whether the database or its log contains a text.
fn files_contain(path: &Path, text: &str) -> bool {
    ["", "-wal"].iter().any(|suffix| {
        let bytes = std::fs::read(format!("{}{suffix}", path.display())).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

/// Waits until neither the database nor its log contains a text.
fn wait_until_erased(path: &Path, text: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while files_contain(path, text) {
        assert!(Instant::now() < end, "{text} is still in the files");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn deleted_data_leaves_the_files_of_an_open_ledger() {
    for sync in [Synchronous::Normal, Synchronous::Full] {
        let (_folder, path) = folder();
        let ledger = SqliteLedger::open_with_delay(&path, sync, Duration::ZERO).expect("open");
        // Rows of one page and of several.
        for (index, prompt) in
            ["short-secret".to_owned(), "long-secret".repeat(2_000)].into_iter().enumerate()
        {
            let second = index as i64 * 10;
            let [queued, ended, running] = ["a", "b", "c"].map(|owner| {
                block_on(accepted(&ledger, new_job(owner, &format!("{owner}-{prompt}")), second))
            });
            block_on(async {
                assert!(files_contain(&path, &prompt[..10]), "the test would prove nothing");
                let ended = completed(&ledger, &ended, second + 1).await;
                let running = claimed(&ledger, &running, second + 1).await;
                for job in [&queued, &ended, &running] {
                    ledger.delete(&job.owner, job.id, at(second + 2)).await.expect("delete").expect("a job");
                }
                let end =
                    ledger.finish(&running.run(), succeeded(running.id, 1), cost(), at(second + 3)).await;
                assert!(matches!(end, Ok(FinishReply::Deleted(_))), "{end:?}");
            });
            wait_until_erased(&path, &prompt[..10]);
        }
        // The ledger works as before.
        let kept = block_on(accepted(&ledger, new_job("d", "kept"), 50));
        assert_eq!(block_on(ledger.job(&kept.owner, kept.id)).expect("read"), Some(kept));
    }
}

#[test]
fn data_that_was_deleted_before_a_crash_is_erased_at_the_next_start() {
    let (folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let job = block_on(accepted(&ledger, new_job("acme", "purple elephant"), 0));
    block_on(ledger.delete(&job.owner, job.id, at(1))).expect("delete").expect("a job");
    // The files as a crash would leave them.
    let copy = folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let file = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(file(&path), file(&copy)).expect("copied");
    }
    assert!(files_contain(&copy, "elephant"), "the test would prove nothing");
    let _copy = SqliteLedger::open_with_delay(&copy, Synchronous::Normal, Duration::ZERO).expect("open");
    wait_until_erased(&copy, "elephant");
}

#[test]
fn the_log_is_emptied_after_another_process_has_read() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open_with_delay(&path, Synchronous::Normal, Duration::ZERO).expect("open");
    let job = block_on(accepted(&ledger, new_job("acme", "purple elephant"), 0));
    let reader = connect(&path, Synchronous::Normal).expect("a connection");
    reader.execute_batch("BEGIN; SELECT count(*) FROM jobs").expect("a snapshot");
    block_on(ledger.delete(&job.owner, job.id, at(1))).expect("delete").expect("a job");
    // The writer is not blocked meanwhile.
    block_on(accepted(&ledger, new_job("acme", "x"), 2));
    reader.execute_batch("COMMIT").expect("the end of the snapshot");
    wait_until_erased(&path, "elephant");
}

#[test]
fn files_that_cannot_be_opened_are_reported() {
    let (_folder, path) = folder();
    std::fs::write(&path, "a shopping list, and a long one, ".repeat(100)).expect("write");
    let error = SqliteLedger::open(&path, Synchronous::Normal).expect_err("not a database");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let missing = path.with_file_name("no").join("such.db");
    let error = SqliteLedger::open(&missing, Synchronous::Normal).expect_err("no folder");
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
}

#[test]
fn only_the_failed_task_of_a_group_is_undone() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let write = |name: &'static str, fail: bool| {
        ledger.writer.run(move |connection| {
            connection.execute("INSERT INTO turns (owner, turn) VALUES (?1, 1)", [name])?;
            if fail { Err(Error::unavailable("on purpose").into()) } else { Ok(()) }
        })
    };
    let (good, bad, again) = (write("good", false), write("bad", true), write("good", false));
    block_on(good).expect("committed");
    assert!(matches!(block_on(bad), Err(Error::Unavailable(_))));
    assert!(matches!(block_on(again), Err(Error::Unavailable(_))), "the name is taken");
    let count = ledger.reader.run(|connection| {
        Ok(connection
            .query_row("SELECT group_concat(owner) FROM turns", [], |row| row.get::<_, String>(0))?)
    });
    assert_eq!(block_on(count).expect("count"), "good");
}

#[test]
fn a_caller_does_not_block_while_another_process_writes() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let other = Connection::open(&path).expect("the same file");
    other.execute_batch("BEGIN IMMEDIATE").expect("a write transaction");
    let write = |connection: &Connection| {
        connection.execute("INSERT INTO turns (owner, turn) VALUES ('acme', 1)", [])?;
        Ok(())
    };
    let mut waiting = pin!(ledger.writer.run_short(write));
    block_on(async { assert!(futures::poll!(&mut waiting).is_pending(), "the queue's thread waits") });
    other.execute_batch("COMMIT").expect("commit");
    block_on(waiting).expect("written");
}

#[test]
fn a_task_that_is_queued_while_the_connection_is_in_use_runs() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let queued = ledger.writer.with_connection(|_| ledger.writer.run_short(|_| Ok(())));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(block_on(queued)));
    let result = receiver.recv_timeout(Duration::from_secs(60));
    assert!(matches!(result, Ok(Ok(()))), "{result:?}");
}

#[test]
fn tasks_run_after_a_task_that_panicked() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let panics = |connection: &Connection| -> error::Result<()> {
        connection.execute("INSERT INTO turns (owner, turn) VALUES ('half', 1)", [])?;
        panic!("on purpose");
    };
    assert!(matches!(block_on(ledger.writer.run(panics)), Err(Error::Unavailable(_))));
    let count = |connection: &Connection| {
        Ok(connection.query_row("SELECT count(*) FROM turns", [], |row| row.get::<_, i64>(0))?)
    };
    assert_eq!(block_on(ledger.writer.run_short(count)).expect("on the caller"), 0, "rolled back");
    assert_eq!(block_on(ledger.writer.run(count)).expect("on the thread"), 0);
}

#[test]
fn a_long_log_is_copied_while_the_ledger_is_open() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let size = || std::fs::metadata(&path).expect("the file").len();
    let before = size();
    // Writes 40 MiB, of which 2 MiB remain. Each record differs, because SQLite does not write unchanged
    // pages.
    for i in 0..160_u32 {
        let (id, record) = ((i % 8).to_string(), format!("{i:03}").repeat(90_000));
        let write = move |connection: &Connection| {
            connection.execute("INSERT OR REPLACE INTO keys (id, record) VALUES (?1, ?2)", (id, record))?;
            Ok(())
        };
        block_on(ledger.writer.run_short(write)).expect("written");
    }
    let start = std::time::Instant::now();
    while size() < before + (1 << 20) {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing is copied");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_read_sees_all_earlier_writes() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    let count = |connection: &Connection| {
        Ok(connection.query_row("SELECT count(*) FROM turns", [], |row| row.get::<_, i64>(0))?)
    };
    let (send_read, has_read) = std::sync::mpsc::channel();
    let (send_continue, may_continue) = std::sync::mpsc::channel::<()>();
    let slow = ledger.reader.run(move |connection| {
        let before = count(connection)?;
        send_read.send(()).expect("the test receives");
        may_continue.recv().expect("the test sends");
        Ok(before)
    });
    has_read.recv().expect("the first read");
    let write = ledger.writer.run(|connection| {
        connection.execute("INSERT INTO turns (owner, turn) VALUES ('acme', 1)", [])?;
        Ok(())
    });
    block_on(write).expect("written");
    // Queued while the first read still runs.
    let late = ledger.reader.run(count);
    send_continue.send(()).expect("the reader receives");
    assert_eq!(block_on(slow).expect("count"), 0);
    assert_eq!(block_on(late).expect("count"), 1);
}

#[test]
fn expired_records_are_removed() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    block_on(async {
        let job = accepted(&ledger, new_job_with_key("acme", "a", "k"), 0).await;
        completed(&ledger, &job, 1).await;
        let years_later = at(500 * 86_400);
        ledger.recover(years_later, RecoveryScope::ExpiredLeases).await.expect("recover");
        assert_eq!(usage_today(&ledger, "acme").await, DayUsage::default());
        let left = ledger.reader.run(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM idempotency", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(left.await.expect("count"), 0);
    });
}
