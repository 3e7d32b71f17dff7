//! The embedded S3 service, as a store in the process and over HTTP.

mod common;

use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::presigning::PresigningConfig;
use common::{Served, get, send, settings};
use http::{Method, StatusCode};
use tintype_core::secret::Secret;
use tintype_core::store::{Condition, Key, NewObject, ObjectStore, PresignOptions, SignedUrl, StoreError};
use tintype_storage::{Embedded, OpenError};
use tintype_testing::{store_contract, store_contract_with_keys, strange_keys};
use tokio::io::AsyncWriteExt;

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn object(content: &'static str, content_type: &str) -> NewObject {
    NewObject { bytes: content.into(), content_type: content_type.into() }
}

async fn link(store: &dyn ObjectStore, name: &str) -> SignedUrl {
    let how = PresignOptions { expires_in: Duration::from_secs(60), content_disposition: None };
    store.presign(&key(name), &how).await.expect("presign")
}

#[tokio::test]
async fn in_process_it_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = Embedded::open(settings(&folder, "http://127.0.0.1:1")).expect("open");
    store_contract(&*embedded.store()).await;
}

#[tokio::test]
async fn over_http_it_keeps_the_contract() {
    let served = Served::start().await;
    store_contract(&served.client("tintype", "")).await;
    let mut keys = strange_keys();
    // The prefix is a part of the key to the service, so the longest key does not fit behind one.
    keys.retain(|key| key.len() + "a/prefix/".len() <= Key::MAX_BYTES);
    store_contract_with_keys(&served.client("tintype", "a/prefix"), &keys).await;
}

#[tokio::test]
async fn both_doors_lead_to_the_same_objects() {
    let served = Served::start().await;
    let (direct, remote) = (served.embedded.store(), served.client("tintype", ""));
    remote.check().await.expect("the bucket");
    let etag = direct.put(&key("../strange//键"), object("one", "image/png")).await.expect("put");
    let read = remote.get(&key("../strange//键"), None).await.expect("get");
    assert_eq!((&read.bytes[..], &read.meta.etag), (&b"one"[..], &etag));
    let lost = remote.put_if(&key("../strange//键"), object("two", "image/png"), Condition::Absent).await;
    assert!(matches!(lost, Err(StoreError::ConditionFailed)), "{lost:?}");
    let missing = served.client("no-such-bucket", "");
    assert!(matches!(missing.check().await, Err(StoreError::NotFound)));
    assert!(matches!(missing.put(&key("a"), object("", "")).await, Err(StoreError::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_claims_over_http_one_wins() {
    let served = Served::start().await;
    let store = served.client("tintype", "");
    let claims: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                store.put_if(&key("claim"), object("x", "text/plain"), Condition::Absent).await
            })
        })
        .collect();
    let mut won = 0;
    for claim in claims {
        match claim.await.expect("joined") {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, StoreError::ConditionFailed), "{error}"),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn wrong_credentials_are_denied() {
    let served = Served::start().await;
    let id = served.embedded.access_key_id().to_owned();
    let wrong = common::remote(&served.url, "tintype", "", (id, Secret::new("wrong")));
    assert!(matches!(wrong.put(&key("a"), object("", "")).await, Err(StoreError::Denied(_))));
    let unknown = common::remote(&served.url, "tintype", "", ("NOBODY".into(), Secret::new("wrong")));
    assert!(matches!(unknown.get(&key("a"), None).await, Err(StoreError::Denied(_))));
}

#[tokio::test]
async fn links_work_in_a_browser() {
    let served = Served::start().await;
    let store = served.embedded.store();
    store.put(&key("images/a.png"), object("0123456789", "image/png")).await.expect("put");
    let url = link(&*store, "images/a.png").await.url;
    assert!(url.starts_with(&format!("{}/tintype/images/a.png?", served.url)), "{url}");

    let whole = get(&url).await;
    assert_eq!((whole.status, &whole.body[..]), (StatusCode::OK, &b"0123456789"[..]));
    assert_eq!(whole.header("content-type"), "image/png");
    assert_eq!(whole.header("content-length"), "10");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert_eq!(whole.header("content-security-policy"), "sandbox; default-src 'none'");
    assert_eq!(whole.header("content-disposition"), "");
    assert_eq!(whole.header("access-control-allow-origin"), "*");
    assert!(whole.header("cache-control").starts_with("private, max-age="));

    let etag = whole.header("etag").to_owned();
    let known = send(Method::GET, &url, &[("if-none-match", &etag)]).await;
    assert_eq!(
        (known.status, known.body.len(), known.header("etag")),
        (StatusCode::NOT_MODIFIED, 0, etag.as_str())
    );
    let other = send(Method::GET, &url, &[("if-match", "\"other\"")]).await;
    assert_eq!(other.status, StatusCode::PRECONDITION_FAILED);
    let since = whole.header("last-modified").to_owned();
    assert_eq!(
        send(Method::GET, &url, &[("if-modified-since", &since)]).await.status,
        StatusCode::NOT_MODIFIED
    );

    let part = send(Method::GET, &url, &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"234"[..]));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let beyond = send(Method::GET, &url, &[("range", "bytes=10-")]).await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */10")
    );

    let beside = send(Method::GET, &url, &[("authorization", "Bearer somebody's key")]).await;
    assert_eq!(beside.status, StatusCode::OK);
    let preflight = send(Method::OPTIONS, &url, &[("origin", "https://app.example.com")]).await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-methods")),
        (StatusCode::NO_CONTENT, "GET, HEAD")
    );
}

#[tokio::test]
async fn what_is_no_picture_is_saved_and_not_shown() {
    let served = Served::start().await;
    let store = served.embedded.store();
    store.put(&key("page"), object("<script>", "text/html")).await.expect("put");
    let answer = get(&link(&*store, "page").await.url).await;
    assert_eq!((answer.status, answer.header("content-disposition")), (StatusCode::OK, "attachment"));

    store.put(&key("picture"), object("x", "image/png")).await.expect("put");
    let how = PresignOptions {
        expires_in: Duration::from_secs(60),
        content_disposition: Some("attachment; filename=\"a cat.png\"".into()),
    };
    let named = get(&store.presign(&key("picture"), &how).await.expect("presign").url).await;
    assert_eq!(named.header("content-disposition"), "attachment; filename=\"a cat.png\"");
}

#[tokio::test]
async fn strange_keys_have_links_too() {
    let served = Served::start().await;
    let store = served.embedded.store();
    for name in ["a//b", "a/b/", "with space+plus%25&?#", "机器人.jpg", "A", "a"] {
        store
            .put(&key(name), NewObject { bytes: name.to_owned().into(), content_type: "image/png".into() })
            .await
            .expect("put");
        let answer = get(&link(&*store, name).await.url).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, name.as_bytes()), "{name}");
    }
}

/// A link that is good for a minute from this time on.
async fn link_from(sdk: &aws_sdk_s3::Client, name: &str, start: SystemTime) -> String {
    let minute = PresigningConfig::builder().start_time(start).expires_in(Duration::from_secs(60)).build();
    let request = sdk.get_object().bucket("tintype").key(name).presigned(minute.expect("a minute"));
    request.await.expect("presign").uri().to_owned()
}

#[tokio::test]
async fn links_of_the_past_and_of_the_future() {
    let served = Served::start().await;
    served.embedded.store().put(&key("a.png"), object("x", "image/png")).await.expect("put");
    let sdk = served.sdk(&served.url, true);
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3_600));
    for (start, status) in [
        (now, StatusCode::OK),
        (now - hour, StatusCode::FORBIDDEN),
        // Clocks differ; not by an hour.
        (now + Duration::from_secs(300), StatusCode::OK),
        (now + hour, StatusCode::FORBIDDEN),
    ] {
        assert_eq!(get(&link_from(&sdk, "a.png", start).await).await.status, status);
    }
}

#[tokio::test]
async fn buckets_in_host_names() {
    let served = Served::start().await;
    served.embedded.store().put(&key("a.png"), object("x", "image/png")).await.expect("put");
    let by_name = served.url.replace("127.0.0.1", "localhost");
    let url = link_from(&served.sdk(&by_name, false), "a.png", SystemTime::now()).await;
    let host = by_name.replace("http://", "tintype.");
    let path = url.strip_prefix(&format!("http://{host}")).expect("the bucket in the host");
    // Not every resolver knows names below localhost.
    let answer = send(Method::GET, &format!("{}{path}", served.url), &[("host", &host)]).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"x"[..]));
    let elsewhere = host.replace("tintype.", "other.");
    let answer = send(Method::GET, &format!("{}{path}", served.url), &[("host", &elsewhere)]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_upload_cut_off_leaves_nothing() {
    let served = Served::start().await;
    let sdk = served.sdk(&served.url, true);
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute");
    let request = sdk.put_object().bucket("tintype").key("half").presigned(minute).await.expect("presign");
    let address = served.url.strip_prefix("http://").expect("a scheme");
    let path = request.uri().strip_prefix(&served.url).expect("the URL");
    let half = "x".repeat(500_000);
    let text = format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1000000\r\n\r\n{half}");
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("connect");
    connection.write_all(text.as_bytes()).await.expect("send");

    let temporary = served.folder.path().join("store/tmp");
    let files = || std::fs::read_dir(&temporary).expect("list").count();
    let until = async |count: usize| {
        let began = Instant::now();
        while files() != count && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(files(), count);
    };
    until(1).await;
    drop(connection);
    until(0).await;
    assert!(matches!(served.embedded.store().head(&key("half")).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn behind_a_proxy_the_public_host_is_verified() {
    let public = "https://pics.example.com";
    let served = Served::start_with(|settings| tintype_storage::EmbeddedSettings {
        public_url: public.into(),
        proxied: true,
        ..settings
    })
    .await;
    let store = served.embedded.store();
    store.put(&key("a.png"), object("x", "image/png")).await.expect("put");
    let url = link(&*store, "a.png").await.url;
    let path = url.strip_prefix(public).expect("the public URL");
    assert_eq!(get(&format!("{}{path}", served.url)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = Embedded::open(settings(&folder, "http://127.0.0.1:1")).expect("open");
    let etag = embedded.store().put(&key("a"), object("x", "image/png")).await.expect("put");
    let id = embedded.access_key_id().to_owned();
    assert!(matches!(Embedded::open(settings(&folder, "http://127.0.0.1:1")), Err(OpenError::InUse(_))));
    drop(embedded);
    let embedded = Embedded::open(settings(&folder, "http://127.0.0.1:2")).expect("open again");
    assert_eq!(embedded.access_key_id(), id);
    assert_eq!(embedded.store().head(&key("a")).await.expect("head").etag, etag);
}

#[tokio::test]
async fn settings_that_make_no_sense() {
    let folder = tempfile::tempdir().expect("a folder");
    for url in ["127.0.0.1:8080", "http://", "http://a/b", "ftp://a", ""] {
        assert!(matches!(Embedded::open(settings(&folder, url)), Err(OpenError::PublicUrl(_))), "{url:?}");
    }
    for bucket in ["generate", "A", "..", ""] {
        let mut settings = settings(&folder, "http://a");
        settings.bucket = bucket.into();
        assert!(matches!(Embedded::open(settings), Err(OpenError::BucketName(_))), "{bucket:?}");
    }
}

#[tokio::test]
async fn sweeping_keeps_what_is_young_and_fits() {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = Embedded::open(settings(&folder, "http://127.0.0.1:1")).expect("open");
    let store = embedded.store();
    for name in ["images/a", "async/b.out", "jobs/c", "async/pending/d"] {
        store.put(&key(name), object("0123456789", "image/png")).await.expect("put");
    }
    let day = Duration::from_secs(86_400);
    let swept = embedded.sweep(day, 1_000).await.expect("sweep");
    assert_eq!((swept.deleted, swept.remaining), (0, 20));
    let swept = embedded.sweep(day, 10).await.expect("sweep");
    assert_eq!((swept.deleted, swept.freed, swept.remaining), (1, 10, 10));
    let swept = embedded.sweep(day, 0).await.expect("sweep");
    assert_eq!((swept.deleted, swept.remaining), (1, 0));
    let left = store.list("", None, 10).await.expect("list").objects;
    let left: Vec<_> = left.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(left, ["async/pending/d", "jobs/c"]);
}
