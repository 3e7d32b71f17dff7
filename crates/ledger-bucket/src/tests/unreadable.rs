use futures::FutureExt;
use tintype_core::store::{Key, NewObject, ObjectStore};

use super::*;

use tintype_ledger::quarantine::RecordName;
use tintype_testing::ledger::before_0_2;
use tintype_testing::ledger::unreadable::{StoredText, contract};
use tintype_testing::ledger::{
    MODEL, accepted, any_reuse, at, completed, key_id, lease, new_job, new_job_with_key,
};

/// The records of a ledger in a store.
struct Records<'a>(&'a MemoryStore);

impl StoredText for Records<'_> {
    fn edit(&self, name: &RecordName, edit: &dyn Fn(&str) -> String) -> String {
        let path = match name {
            RecordName::Job { owner, id } => paths::job(owner, *id),
            RecordName::Other(path) => path.clone(),
        };
        let key = Key::new(path).expect("a key");
        let object = self.0.get(&key, None).now_or_never().expect("no waiting").expect("an object");
        let text = String::from_utf8(object.bytes.to_vec()).expect("JSON");
        let edited = edit(&text);
        if edited != text {
            let new = NewObject { bytes: edited.clone().into(), content_type: "application/json".into() };
            self.0.put(&key, new).now_or_never().expect("no waiting").expect("put");
        }
        edited
    }

    fn with_version(&self, text: &str, version: u32) -> String {
        let (_, rest) = text.split_once(',').expect("a version and other members");
        format!("{{\"v\":{version},{rest}")
    }
}

fn ledger() -> (Arc<MemoryStore>, BucketLedger) {
    let store = Arc::new(MemoryStore::default());
    (store.clone(), BucketLedger::new(store, fast_sleep()))
}

#[test]
fn unreadable_records_affect_no_other_record() {
    let (store, ledger) = ledger();
    block_on(contract(&ledger, &Records(&store)));
}

#[test]
fn records_of_versions_before_0_2_are_used() {
    let (store, ledger) = ledger();
    block_on(before_0_2::contract(&ledger, &Records(&store)));
}

#[test]
fn an_unreadable_account_affects_no_other_account() {
    let (store, ledger) = ledger();
    block_on(async {
        let late = NewJob { deadline: Some(at(5)), ..new_job("broken", "a") };
        accepted(&ledger, late, 0).await;
        let other = accepted(&ledger, new_job("other", "b"), 1).await;
        Records(&store)
            .edit(&RecordName::Other(paths::account(&key_id("broken"))), &|text| text[..60].to_owned());
        let ledger = BucketLedger::new(store.clone(), fast_sleep());
        ledger.recover(at(10), RecoveryScope::ExpiredLeases).await.expect("recover");
        let next =
            ledger.claim_next(MODEL, lease("w", 60), at(10)).await.expect("claim").expect("a queued job");
        assert_eq!(next.id, other.id);
        let found = ledger.check().await.expect("check");
        assert_eq!(found[0].name, RecordName::Other("usage/broken".to_owned()));
    });
}

#[test]
fn an_unreadable_pointer_of_a_fingerprint_is_ignored() {
    let (store, ledger) = ledger();
    block_on(async {
        let reuse = any_reuse();
        let request = || NewJob { reuse, ..new_job("acme", "a") };
        let job = accepted(&ledger, request(), 0).await;
        let pointer = RecordName::Other(paths::request_pointer(&job.owner, &job.request_key));
        Records(&store).edit(&pointer, &|_| "{".to_owned());
        let second = accepted(&ledger, request(), 1).await;
        assert_ne!(second.id, job.id);
        assert_eq!(ledger.unreadable_records(), 1);
        completed(&ledger, &second, 2).await;
    });
}

#[test]
fn an_unreadable_pointer_of_an_idempotency_key_affects_that_key_only() {
    let (store, ledger) = ledger();
    block_on(async {
        let job = accepted(&ledger, new_job_with_key("acme", "a", "k"), 0).await;
        let pointer = RecordName::Other(paths::idempotency_pointer(&job.owner, "k"));
        Records(&store).edit(&pointer, &|_| "{".to_owned());
        let retry = ledger.accept(new_job_with_key("acme", "a", "k"), at(1)).await;
        assert!(matches!(retry, Err(Error::Corrupt { .. })), "{retry:?}");
        accepted(&ledger, new_job_with_key("acme", "a", "k2"), 2).await;
    });
}

#[test]
fn a_full_bucket_is_reported() {
    let (store, ledger) = ledger();
    block_on(async {
        ledger.probe().await.expect("nothing has failed");
        store.fill_up();
        assert!(ledger.accept(new_job("acme", "a"), at(0)).await.is_err());
        assert!(matches!(ledger.probe().await, Err(Error::StorageFull(_))));
    });
}
