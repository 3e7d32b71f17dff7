//! Databases that earlier versions have written (`tests/data/version-0.1/README.md`).

use std::path::PathBuf;

use super::*;
use tintype_ledger::job::Status;

/// Copies the database of version 0.1 into a new folder.
fn version_0_1() -> (TempDir, PathBuf) {
    let (folder, path) = folder();
    let database = "../../tests/data/version-0.1/sqlite/data/ledger.db";
    let database = Path::new(env!("CARGO_MANIFEST_DIR")).join(database);
    std::fs::copy(database, &path).expect("a copy");
    (folder, path)
}

fn user_version(path: &Path) -> u32 {
    let connection = Connection::open(path).expect("open");
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number")
}

#[test]
fn a_database_of_version_0_1_is_migrated() {
    let (_folder, path) = version_0_1();
    assert_eq!(user_version(&path), 1);
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    assert_eq!(user_version(&path), 3);
    let models = ledger.reader.run(|connection| {
        let sql = "SELECT group_concat(DISTINCT model) FROM jobs WHERE deleted = 0";
        Ok(connection.query_row(sql, [], |row| row.get::<_, String>(0))?)
    });
    assert_eq!(block_on(models).expect("read"), "emoji");
    block_on(async {
        assert_eq!(ledger.check().await.expect("check"), []);
        let owner = "acme".parse().expect("a name");
        let jobs = ledger.jobs(&owner, None, 100).await.expect("list").jobs;
        let count = |status| jobs.iter().filter(|job| job.status == status).count();
        let counts = [Status::Succeeded, Status::Canceled, Status::Running, Status::Queued].map(count);
        assert_eq!(counts, [3, 1, 1, 3]);
        let load = ledger.load().await.expect("load");
        assert_eq!(load.keys().collect::<Vec<_>>(), ["emoji"]);
        assert_eq!((load["emoji"].queued, load["emoji"].running), (3, 1));
    });
}
