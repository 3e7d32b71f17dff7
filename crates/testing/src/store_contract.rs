//! The contract test suite of [`ObjectStore`], which every implementation runs.

use std::time::Duration;

use bytes::Bytes;

use tintype_core::store::{Condition, Key, NewObject, ObjectStore, PresignOptions, StoreError};

/// Runs the whole suite on an empty store. Panics at the first violation of the contract.
pub async fn store_contract(store: &dyn ObjectStore) {
    store_contract_with_keys(store, &strange_keys()).await;
}

/// Runs the suite with a subset of [`strange_keys`], for services that treat keys as paths. tintype itself
/// uses no such keys, so it works with these services.
pub async fn store_contract_with_keys(store: &dyn ObjectStore, strange: &[String]) {
    round_trip(store).await;
    ranges(store).await;
    conditional_writes(store).await;
    distinct_keys(store, strange).await;
    listing(store).await;
    signing(store).await;
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a valid key")
}

fn text(content: &str) -> NewObject {
    NewObject { bytes: Bytes::copy_from_slice(content.as_bytes()), content_type: "text/plain".into() }
}

async fn round_trip(store: &dyn ObjectStore) {
    let key = key("contract/round-trip");
    assert!(matches!(store.get(&key, None).await, Err(StoreError::NotFound)));
    assert!(matches!(store.head(&key).await, Err(StoreError::NotFound)));
    store.delete(&key).await.expect("deleting an absent object succeeds");

    let etag = store.put(&key, text("one")).await.expect("put");
    let object = store.get(&key, None).await.expect("get");
    assert_eq!(&object.bytes[..], b"one");
    assert_eq!((object.meta.size, object.meta.content_type.as_str()), (3, "text/plain"));
    assert_eq!(object.meta.etag, etag);
    assert_eq!(store.head(&key).await.expect("head"), object.meta);

    store.put(&key, text("four")).await.expect("overwrite");
    assert_eq!(&store.get(&key, None).await.expect("get").bytes[..], b"four");
    store.put(&key, text("")).await.expect("an empty object");
    assert_eq!(store.head(&key).await.expect("head").size, 0);
    store.delete(&key).await.expect("delete");
    assert!(matches!(store.get(&key, None).await, Err(StoreError::NotFound)));
}

async fn ranges(store: &dyn ObjectStore) {
    let key = key("contract/ranges");
    store.put(&key, text("0123456789")).await.expect("put");
    let part = store.get(&key, Some(2..5)).await.expect("range");
    assert_eq!((&part.bytes[..], part.meta.size), (&b"234"[..], 10));
    assert_eq!(&store.get(&key, Some(8..99)).await.expect("cut at the end").bytes[..], b"89");
    assert!(matches!(store.get(&key, Some(10..12)).await, Err(StoreError::RangeNotSatisfiable)));
    store.delete(&key).await.expect("delete");
}

async fn conditional_writes(store: &dyn ObjectStore) {
    let key = key("contract/conditional");
    let first = store.put_if(&key, text("1"), Condition::Absent).await.expect("the first claim wins");
    let second = store.put_if(&key, text("2"), Condition::Absent).await;
    assert!(matches!(second, Err(StoreError::ConditionFailed)), "{second:?}");

    let unchanged = Condition::Unchanged(first.clone());
    let newer = store.put_if(&key, text("3"), unchanged.clone()).await.expect("unchanged so far");
    assert_ne!(newer, first);
    let stale = store.put_if(&key, text("4"), unchanged.clone()).await;
    assert!(matches!(stale, Err(StoreError::ConditionFailed)), "{stale:?}");
    assert_eq!(&store.get(&key, None).await.expect("get").bytes[..], b"3");

    store.delete(&key).await.expect("delete");
    let gone = store.put_if(&key, text("5"), unchanged).await;
    assert!(matches!(gone, Err(StoreError::NotFound | StoreError::ConditionFailed)), "{gone:?}");
}

/// Keys that S3 allows, and that a store which treats keys as paths would confuse or reject.
pub fn strange_keys() -> Vec<String> {
    let mut keys = [
        "contract/strange/a//b",
        "contract/strange/a/b/",
        "contract/strange/a/b",
        "contract/strange/./a",
        "contract/strange/../../../a",
        "../a",
        "/a",
        "contract/strange/Case",
        "contract/strange/case",
        "contract/strange/with space+plus%25&amp;?#",
        "contract/strange/机器人.jpg",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("虎".repeat(Key::MAX_BYTES / "虎".len()));
    keys
}

async fn distinct_keys(store: &dyn ObjectStore, names: &[String]) {
    for name in names {
        store.put(&key(name), text(name)).await.unwrap_or_else(|error| panic!("put {name:?}: {error}"));
    }
    for name in names {
        let object =
            store.get(&key(name), None).await.unwrap_or_else(|error| panic!("get {name:?}: {error}"));
        assert_eq!(object.bytes, name.as_bytes(), "{name:?}");
        let found =
            store.list(name, None, 1_000).await.unwrap_or_else(|error| panic!("list {name:?}: {error}"));
        assert!(found.objects.iter().any(|listed| listed.key.as_str() == name), "{name:?} is not listed");
    }
    for name in names {
        store.delete(&key(name)).await.expect("delete");
    }
}

async fn listing(store: &dyn ObjectStore) {
    let names = ["contract/list/a", "contract/list/b/1", "contract/list/b/2", "contract/list2"];
    for name in names {
        store.put(&key(name), text("x")).await.expect("put");
    }
    let all = store.list("contract/list/", None, 1_000).await.expect("list");
    let found: Vec<_> = all.objects.iter().map(|listed| listed.key.as_str()).collect();
    assert_eq!((found.as_slice(), all.has_more), (&names[..3], false));

    let page = store.list("contract/list/", None, 2).await.expect("first page");
    assert_eq!((page.objects.len(), page.has_more), (2, true));
    let rest = store.list("contract/list/", Some(&page.objects[1].key), 2).await.expect("second page");
    assert_eq!((rest.objects.len(), rest.has_more), (1, false));
    assert_eq!(rest.objects[0].key.as_str(), names[2]);
    for name in names {
        store.delete(&key(name)).await.expect("delete");
    }
}

async fn signing(store: &dyn ObjectStore) {
    let options = PresignOptions { expires_in: Duration::from_secs(60), content_disposition: None };
    let before = time::OffsetDateTime::now_utc();
    let signed = store.presign(&key("contract/signed.jpg"), &options).await.expect("presign");
    assert!(signed.url.contains("contract/signed.jpg"), "{}", signed.url);
    let lifetime = signed.expires_at - before;
    assert!((lifetime - time::Duration::seconds(60)).abs() <= time::Duration::seconds(2), "{lifetime}");
}
