use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use futures::executor::block_on;
use tempfile::TempDir;
use tintype_ledger::Ledger;
use tintype_ledger::id::JobId;
use tintype_testing::ledger::{accepted, backup_contract, completed, new_job, new_job_with_key};

use super::*;
use crate::SqliteLedger;

/// A folder with files that do not exist yet.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, name: &str) -> SqliteLedger {
        SqliteLedger::open(&self.path(name), Synchronous::Normal).expect("open")
    }

    /// A closed ledger with a job and an idempotency key.
    fn ledger(&self, name: &str) -> PathBuf {
        let ledger = self.open(name);
        block_on(async {
            let job = accepted(&ledger, new_job_with_key("acme", "a", "k"), 0).await;
            completed(&ledger, &job, 1).await;
        });
        self.path(name)
    }

    fn backup(&self, database: &Path, name: &str) -> PathBuf {
        back_up(database, &self.path(name)).expect("backed up");
        self.path(name)
    }

    /// All rows of all tables.
    fn rows(&self, name: &str) -> String {
        let connection = Connection::open(self.path(name)).expect("open");
        let mut all = String::new();
        for table in ["keys", "accounts", "days", "jobs", "idempotency", "turns"] {
            let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).expect("a table");
            let columns = statement.column_count();
            let mut rows = statement.query([]).expect("rows");
            while let Some(row) = rows.next().expect("a row") {
                for column in 0..columns {
                    all += &format!("{:?} ", row.get_ref(column).expect("a value"));
                }
                all += "\n";
            }
        }
        all
    }
}

fn jobs(ledger: &SqliteLedger) -> BTreeSet<JobId> {
    let owner = "acme".parse().expect("a name");
    let (mut found, mut before) = (BTreeSet::new(), None);
    loop {
        let page = block_on(ledger.jobs(&owner, before, 1_000)).expect("list");
        found.extend(page.jobs.iter().map(|job| job.id));
        before = page.next;
        if before.is_none() {
            return found;
        }
    }
}

#[test]
fn a_restored_ledger_is_the_same() {
    let files = Files::new();
    let backup = files.backup(&files.ledger("a.db"), "backup");
    restore(&backup, &files.path("b.db"), Existing::Keep).expect("restored");
    assert_eq!(files.rows("b.db"), files.rows("a.db"));
    // An account, its usage on a day, a job and an idempotency key.
    assert_eq!(files.rows("b.db").lines().count(), 4);
    assert_eq!(jobs(&files.open("b.db")), jobs(&files.open("a.db")));
}

#[test]
fn a_backup_during_writes_has_every_job_that_was_accepted_before() {
    let files = Files::new();
    let ledger = files.open("a.db");
    let mut count = 0;
    backup_contract(&ledger, || {
        count += 1;
        let backup = files.backup(&files.path("a.db"), &format!("backup-{count}"));
        restore(&backup, &files.path("b.db"), Existing::Replace).expect("restored");
        files.open("b.db")
    });
}

#[test]
fn only_an_empty_ledger_is_restored_unless_it_is_to_be_replaced() {
    let files = Files::new();
    let backup = files.backup(&files.ledger("a.db"), "backup");
    drop(files.open("empty.db"));
    restore(&backup, &files.path("empty.db"), Existing::Keep).expect("an empty ledger");
    fs::write(files.path("blank.db"), b"").expect("written");
    restore(&backup, &files.path("blank.db"), Existing::Keep).expect("a file without tables");

    let other = files.open("other.db");
    let job = block_on(accepted(&other, new_job("acme", "other"), 5));
    let before = files.rows("other.db");
    let refused = restore(&backup, &files.path("other.db"), Existing::Keep);
    assert!(matches!(refused, Err(BackupError::NotEmpty)), "{refused:?}");
    assert_eq!(files.rows("other.db"), before);
    // An open connection sees the restored records.
    restore(&backup, &files.path("other.db"), Existing::Replace).expect("replaced");
    assert_eq!(files.rows("other.db"), files.rows("a.db"));
    assert!(!jobs(&other).contains(&job.id));
}

#[test]
fn only_an_intact_backup_of_a_known_version_is_restored() {
    let files = Files::new();
    let backup = files.backup(&files.ledger("a.db"), "backup");
    let edited = |name: &str, sql: &str| {
        fs::copy(&backup, files.path(name)).expect("a copy");
        Connection::open(files.path(name)).and_then(|file| file.execute_batch(sql)).expect("edited");
    };
    edited("newer", "PRAGMA user_version = 99");
    edited("no-version", "PRAGMA user_version = 0");
    edited("no-jobs", "DROP TABLE jobs");
    fs::write(files.path("text"), "no database").expect("written");
    fs::write(files.path("nothing"), "").expect("written");
    fs::write(files.path("lines"), "{\"header\":{}}\n".repeat(1_000)).expect("written");
    let bytes = fs::read(&backup).expect("read");
    fs::write(files.path("cut"), &bytes[..bytes.len() / 2]).expect("written");
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2..].fill(0xaa);
    fs::write(files.path("damaged"), damaged).expect("written");
    for (name, expected) in [
        ("newer", "format version 99"),
        ("no-version", "not a backup of an SQLite ledger"),
        ("no-jobs", "not a backup of an SQLite ledger"),
        ("text", "not a backup of an SQLite ledger"),
        ("nothing", "not a backup of an SQLite ledger"),
        ("lines", "not a backup of an SQLite ledger"),
        ("cut", "the backup is damaged"),
        ("damaged", "the backup is damaged"),
    ] {
        let error =
            restore(&files.path(name), &files.path("b.db"), Existing::Keep).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(!files.path("b.db").exists(), "{name}");
    }
}

#[test]
fn only_a_ledger_is_backed_up() {
    let files = Files::new();
    fs::write(files.path("blank.db"), b"").expect("written");
    for name in ["absent.db", "blank.db"] {
        let error = back_up(&files.path(name), &files.path("backup")).expect_err(name);
        assert!(matches!(error, BackupError::NoLedger), "{name}: {error}");
    }
    assert!(!files.path("absent.db").exists());
}

#[test]
fn a_backup_of_an_earlier_schema_version_is_not_migrated() {
    let files = Files::new();
    let database =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/version-0.1/sqlite/data/ledger.db");
    fs::copy(database, files.path("a.db")).expect("a copy");
    let version = |name: &str| -> u32 {
        let connection = Connection::open(files.path(name)).expect("open");
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number")
    };
    let backup = files.backup(&files.path("a.db"), "backup");
    restore(&backup, &files.path("b.db"), Existing::Keep).expect("restored");
    assert_eq!(["a.db", "backup", "b.db"].map(version), [1, 1, 1]);
    assert_eq!(jobs(&files.open("b.db")), jobs(&files.open("a.db")));
}
