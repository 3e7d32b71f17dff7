use std::io::Cursor;
use std::sync::Arc;

use futures::executor::block_on;
use tintype_core::store::{Condition, Key, NewObject, ObjectStore};
use tintype_ledger::job::RecoveryScope;
use tintype_ledger::key::NewKey;
use tintype_ledger::policy::Policy;
use tintype_ledger::{KeyStore, Ledger};
use tintype_testing::MemoryStore;
use tintype_testing::ledger::{
    MODEL, accepted, at, backup_contract, claimed, completed, cost, lease, new_job, new_job_with_key,
    succeeded, usage_today,
};

use super::*;
use crate::tests::faults::fast_sleep;

fn ledger() -> (Arc<MemoryStore>, BucketLedger) {
    let store = Arc::new(MemoryStore::default());
    (store.clone(), BucketLedger::new(store, fast_sleep()))
}

/// A ledger with a succeeded, a running and a queued job.
fn filled() -> (Arc<MemoryStore>, BucketLedger) {
    let (store, ledger) = ledger();
    block_on(async {
        let done = accepted(&ledger, new_job_with_key("acme", "a", "k"), 0).await;
        completed(&ledger, &done, 1).await;
        let running = accepted(&ledger, new_job("acme", "b"), 2).await;
        claimed(&ledger, &running, 3).await;
        accepted(&ledger, new_job("beta", "c"), 4).await;
    });
    (store, ledger)
}

fn backup(ledger: &BucketLedger) -> String {
    let mut file = Vec::new();
    block_on(ledger.back_up(&mut file)).expect("backed up");
    String::from_utf8(file).expect("text")
}

fn restored(ledger: &BucketLedger, backup: &str) -> Result<usize, BackupError> {
    block_on(ledger.restore(&mut Cursor::new(backup)))
}

fn put(store: &MemoryStore, path: &str, text: &'static str) {
    let object =
        NewObject { bytes: Bytes::from_static(text.as_bytes()), content_type: "text/plain".to_owned() };
    block_on(store.put_if(&Key::new(path).expect("a key"), object, Condition::Always)).expect("put");
}

fn delete(store: &MemoryStore, path: &str) {
    block_on(store.delete(&Key::new(path).expect("a key"))).expect("deleted");
}

#[test]
fn a_restored_ledger_is_the_same() {
    let (store, ledger) = filled();
    put(&store, "images/x.jpg", "an image");
    put(&store, paths::PROBE, "{}");
    // Damaged records are part of a backup.
    put(&store, "keys/damaged", "no JSON");
    let (_, copy) = self::ledger();
    let text = backup(&ledger);
    assert_eq!(restored(&copy, &text).expect("restored"), text.lines().count() - 2);
    // All objects of the ledger are in the backup.
    let objects = block_on(store.list("", None, 1_000)).expect("list").objects.len();
    assert_eq!(text.lines().count() - 2, objects - 2);
    assert_eq!(backup(&copy), text);
    assert!(!text.contains("images/x.jpg") && !text.contains(paths::PROBE) && text.contains("keys/damaged"));
    block_on(async {
        assert_eq!(copy.load().await.expect("load"), ledger.load().await.expect("load"));
        assert_eq!(copy.check().await.expect("check"), ledger.check().await.expect("check"));
        let next =
            copy.claim_next(MODEL, lease("w", 60), at(5)).await.expect("claim").expect("the queued job");
        assert_eq!(next.owner.as_str(), "beta");
    });
}

#[test]
fn bytes_that_are_not_text_are_restored() {
    let (store, ledger) = filled();
    put(&store, "keys/damaged", "x");
    let object = NewObject { bytes: Bytes::from_static(b"\xff{}"), content_type: "text/plain".to_owned() };
    block_on(store.put(&Key::new("keys/damaged").expect("a key"), object)).expect("put");
    let (copied, copy) = self::ledger();
    restored(&copy, &backup(&ledger)).expect("restored");
    let found = block_on(copied.get(&Key::new("keys/damaged").expect("a key"), None)).expect("an object");
    assert_eq!(found.bytes, b"\xff{}"[..]);
}

#[test]
fn an_open_job_has_a_marker_although_it_ended_during_the_backup() {
    let (store, ledger) = filled();
    let markers = block_on(ledger.store.list(paths::OPEN_MARKERS, None, usize::MAX)).expect("list");
    for marker in &markers {
        delete(&store, marker);
    }
    let (_, copy) = self::ledger();
    restored(&copy, &backup(&ledger)).expect("restored");
    let again = block_on(copy.store.list(paths::OPEN_MARKERS, None, usize::MAX)).expect("list");
    // Only the succeeded job needs none.
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|marker| markers.contains(marker)));
    assert!(block_on(copy.claim_next(MODEL, lease("w", 60), at(5))).expect("claim").is_some());
}

#[test]
fn only_an_empty_ledger_is_restored() {
    let text = backup(&filled().1);
    for path in [
        "keys/k",
        "usage/acme",
        "jobs/by-owner/acme/x",
        "jobs/open/acme/x",
        "jobs/same/acme/x",
        "idem/acme/x",
    ] {
        let (store, ledger) = ledger();
        put(&store, path, "{}");
        let refused = restored(&ledger, &text);
        assert!(matches!(refused, Err(BackupError::NotEmpty)), "{path}: {refused:?}");
        assert_eq!(block_on(store.list("", None, 10)).expect("list").objects.len(), 1, "{path}");
    }
}

#[test]
fn an_interrupted_restoration_is_continued() {
    let text = backup(&filled().1);
    let (store, ledger) = ledger();
    restored(&ledger, &text).expect("restored");
    let job = block_on(ledger.store.list(paths::JOBS, None, 1)).expect("list").remove(0);
    delete(&store, &job);
    restored(&ledger, &text).expect("continued");
    assert_eq!(backup(&ledger), text);
    // The ledger is in use now: a record differs from the backup.
    put(&store, &job, "{}");
    assert!(matches!(restored(&ledger, &text), Err(BackupError::NotEmpty)));
}

#[test]
fn only_a_complete_backup_of_a_known_version_is_restored() {
    let text = backup(&filled().1);
    let lines: Vec<_> = text.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n");
    let (first, last) = (lines[0], lines.len() - 1);
    let no_key = text.replace("jobs/by-owner/", "images/");
    for (name, text, expected) in [
        ("text", "no backup\n".to_owned(), "not a backup of a bucket ledger"),
        ("nothing", String::new(), "not a backup of a bucket ledger"),
        ("SQLite", "SQLite format 3\0".to_owned(), "not a backup of a bucket ledger"),
        ("other header", text.replace(FORMAT, "other"), "not a backup of a bucket ledger"),
        ("newer header", text.replacen("\"v\":1", "\"v\":2", 1), "the backup has format version 2"),
        ("newer record", text.replacen("{\\\"v\\\":2", "{\\\"v\\\":9", 1), "has format version 9"),
        ("no end", joined(&lines[..last]), "the backup is damaged: it ends after"),
        ("header only", joined(&[first]), "the backup is damaged: it ends after 0 records"),
        ("cut line", text[..text.len() / 2].to_owned(), "the backup is damaged: line"),
        ("lost record", joined(&[&lines[..1], &lines[2..]].concat()), "the backup is damaged: it ends after"),
        ("repeated record", joined(&[&lines[..2], &lines[1..]].concat()), "is repeated"),
        ("no record", no_key, "is not the key of a record"),
    ] {
        let (store, ledger) = ledger();
        let error = restored(&ledger, &text).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(block_on(store.list("", None, 1)).expect("list").objects.is_empty(), "{name}");
    }
}

#[test]
fn keys_authenticate_after_a_restoration() {
    let (_, ledger) = ledger();
    let new = NewKey {
        name: "acme".to_owned(),
        owner: None,
        expires: None,
        admin: false,
        policy: Policy::default(),
    };
    let (key, record) = block_on(ledger.create_key(new, at(0))).expect("a key");
    let text = backup(&ledger);
    assert!(!text.contains(key.secret().expose()));
    let (_, copy) = self::ledger();
    restored(&copy, &text).expect("restored");
    let authenticated = block_on(copy.authenticate(&key, at(1))).expect("read");
    assert_eq!(authenticated, record.verify(&key, at(1)));
}

#[test]
fn a_backup_during_writes_has_every_job_that_was_accepted_before() {
    let (_, ledger) = ledger();
    backup_contract(&ledger, || {
        let (_, copy) = self::ledger();
        restored(&copy, &backup(&ledger)).expect("restored");
        copy
    });
}

#[test]
fn a_job_that_ended_during_the_backup_is_charged_once() {
    let (_, ledger) = ledger();
    let job = block_on(accepted(&ledger, new_job("acme", "a"), 0));
    let running = block_on(claimed(&ledger, &job, 1));
    // The backup reads the job's record before the end, and the account after it.
    let before = backup(&ledger);
    block_on(ledger.finish(&running.run(), succeeded(job.id, 1), cost(), at(2))).expect("finished");
    let spent = block_on(usage_today(&ledger, "acme")).spent;
    let after = backup(&ledger);
    let is_account = |line: &&str| line.contains("\"key\":\"usage/");
    let lines: Vec<_> = before.lines().filter(|line| !is_account(line)).collect();
    let accounts: Vec<_> = after.lines().filter(is_account).collect();
    let (end, records) = lines.split_last().expect("an end");
    let text = [records, &accounts[..], &[end]].concat().join("\n");

    let (_, copy) = self::ledger();
    restored(&copy, &text).expect("restored");
    block_on(copy.recover(at(100_000), RecoveryScope::ExpiredLeases)).expect("recovered");
    let again =
        block_on(copy.claim_next(MODEL, lease("w", 100_060), at(100_001))).expect("claim").expect("the job");
    assert_eq!(again.id, job.id);
    block_on(copy.finish(&again.run(), succeeded(job.id, 1), cost(), at(100_002))).expect("finished");
    assert_eq!(block_on(usage_today(&copy, "acme")).spent, spent);
}
