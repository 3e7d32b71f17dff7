//! The embedded S3 service, as a store in this process and over HTTP.

mod common;

use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::presigning::PresigningConfig;
use common::{Addressing, TestServer, get, send, settings};
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
    let options = PresignOptions { expires_in: Duration::from_secs(60), content_disposition: None };
    store.presign(&key(name), &options).await.expect("presign")
}

#[tokio::test]
async fn the_in_process_store_meets_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = Embedded::open(settings(&folder, "http://127.0.0.1:1")).expect("open");
    store_contract(&*embedded.store()).await;
}

#[tokio::test]
async fn the_http_service_meets_the_contract() {
    let server = TestServer::start().await;
    store_contract(&server.client("tintype", "")).await;
    let mut keys = strange_keys();
    // The service counts the prefix as a part of the key, so the longest keys do not fit with one.
    keys.retain(|key| key.len() + "a/prefix/".len() <= Key::MAX_BYTES);
    store_contract_with_keys(&server.client("tintype", "a/prefix"), &keys).await;
}

#[tokio::test]
async fn the_store_and_the_http_service_share_objects() {
    let server = TestServer::start().await;
    let (direct, remote) = (server.embedded.store(), server.client("tintype", ""));
    remote.check().await.expect("the bucket");
    let etag = direct.put(&key("../strange//键"), object("one", "image/png")).await.expect("put");
    let read = remote.get(&key("../strange//键"), None).await.expect("get");
    assert_eq!((&read.bytes[..], &read.meta.etag), (&b"one"[..], &etag));
    let lost = remote.put_if(&key("../strange//键"), object("two", "image/png"), Condition::Absent).await;
    assert!(matches!(lost, Err(StoreError::ConditionFailed)), "{lost:?}");
    let missing = server.client("no-such-bucket", "");
    assert!(matches!(missing.check().await, Err(StoreError::NotFound)));
    assert!(matches!(missing.put(&key("a"), object("", "")).await, Err(StoreError::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_hundred_conditional_writes_over_http_succeeds() {
    let server = TestServer::start().await;
    let store = server.client("tintype", "");
    let writes: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                store.put_if(&key("contended"), object("x", "text/plain"), Condition::Absent).await
            })
        })
        .collect();
    let mut succeeded = 0;
    for write in writes {
        match write.await.expect("joined") {
            Ok(_) => succeeded += 1,
            Err(error) => assert!(matches!(error, StoreError::ConditionFailed), "{error}"),
        }
    }
    assert_eq!(succeeded, 1);
}

#[tokio::test]
async fn wrong_credentials_are_denied() {
    let server = TestServer::start().await;
    let id = server.embedded.access_key_id().to_owned();
    let wrong = common::remote(&server.url, "tintype", "", (id, Secret::new("wrong")));
    assert!(matches!(wrong.put(&key("a"), object("", "")).await, Err(StoreError::Denied(_))));
    let unknown = common::remote(&server.url, "tintype", "", ("UNKNOWN".into(), Secret::new("wrong")));
    assert!(matches!(unknown.get(&key("a"), None).await, Err(StoreError::Denied(_))));
}

#[tokio::test]
async fn links_work_in_a_browser() {
    let server = TestServer::start().await;
    let store = server.embedded.store();
    store.put(&key("images/a.png"), object("0123456789", "image/png")).await.expect("put");
    let url = link(&*store, "images/a.png").await.url;
    assert!(url.starts_with(&format!("{}/tintype/images/a.png?", server.url)), "{url}");

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
    let not_modified = send(Method::GET, &url, &[("if-none-match", &etag)]).await;
    assert_eq!(
        (not_modified.status, not_modified.body.len(), not_modified.header("etag")),
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

    let with_credentials = send(Method::GET, &url, &[("authorization", "Bearer another-key")]).await;
    assert_eq!(with_credentials.status, StatusCode::OK);
    let preflight = send(Method::OPTIONS, &url, &[("origin", "https://app.example.com")]).await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-methods")),
        (StatusCode::NO_CONTENT, "GET, HEAD, POST")
    );
}

#[tokio::test]
async fn objects_other_than_images_are_downloaded() {
    let server = TestServer::start().await;
    let store = server.embedded.store();
    store.put(&key("page"), object("<script>", "text/html")).await.expect("put");
    let answer = get(&link(&*store, "page").await.url).await;
    assert_eq!((answer.status, answer.header("content-disposition")), (StatusCode::OK, "attachment"));

    store.put(&key("picture"), object("x", "image/png")).await.expect("put");
    let options = PresignOptions {
        expires_in: Duration::from_secs(60),
        content_disposition: Some("attachment; filename=\"a cat.png\"".into()),
    };
    let named = get(&store.presign(&key("picture"), &options).await.expect("presign").url).await;
    assert_eq!(named.header("content-disposition"), "attachment; filename=\"a cat.png\"");
}

#[tokio::test]
async fn links_for_unusual_keys() {
    let server = TestServer::start().await;
    let store = server.embedded.store();
    for name in ["a//b", "a/b/", "with space+plus%25&?#", "机器人.jpg", "A", "a"] {
        store
            .put(&key(name), NewObject { bytes: name.to_owned().into(), content_type: "image/png".into() })
            .await
            .expect("put");
        let answer = get(&link(&*store, name).await.url).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, name.as_bytes()), "{name}");
    }
}

/// A link that is valid for a minute from this time.
async fn link_from(sdk: &aws_sdk_s3::Client, name: &str, start: SystemTime) -> String {
    let minute = PresigningConfig::builder().start_time(start).expires_in(Duration::from_secs(60)).build();
    let request = sdk.get_object().bucket("tintype").key(name).presigned(minute.expect("a minute"));
    request.await.expect("presign").uri().to_owned()
}

#[tokio::test]
async fn links_before_and_after_their_lifetime() {
    let server = TestServer::start().await;
    server.embedded.store().put(&key("a.png"), object("x", "image/png")).await.expect("put");
    let sdk = server.sdk(&server.url, Addressing::Path);
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3_600));
    for (start, status) in [
        (now, StatusCode::OK),
        (now - hour, StatusCode::FORBIDDEN),
        // Clocks may differ by some minutes, but not by an hour.
        (now + Duration::from_secs(300), StatusCode::OK),
        (now + hour, StatusCode::FORBIDDEN),
    ] {
        assert_eq!(get(&link_from(&sdk, "a.png", start).await).await.status, status);
    }
}

#[tokio::test]
async fn buckets_in_host_names() {
    let server = TestServer::start().await;
    server.embedded.store().put(&key("a.png"), object("x", "image/png")).await.expect("put");
    let by_name = server.url.replace("127.0.0.1", "localhost");
    let url = link_from(&server.sdk(&by_name, Addressing::Host), "a.png", SystemTime::now()).await;
    let host = by_name.replace("http://", "tintype.");
    let path = url.strip_prefix(&format!("http://{host}")).expect("the bucket in the host");
    // Not every resolver resolves subdomains of localhost.
    let answer = send(Method::GET, &format!("{}{path}", server.url), &[("host", &host)]).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"x"[..]));
    let other_host = host.replace("tintype.", "other.");
    let answer = send(Method::GET, &format!("{}{path}", server.url), &[("host", &other_host)]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_interrupted_upload_leaves_no_object() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute");
    let request = sdk.put_object().bucket("tintype").key("half").presigned(minute).await.expect("presign");
    let address = server.url.strip_prefix("http://").expect("a scheme");
    let path = request.uri().strip_prefix(&server.url).expect("the URL");
    let half = "x".repeat(500_000);
    let text = format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1000000\r\n\r\n{half}");
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("connect");
    connection.write_all(text.as_bytes()).await.expect("send");

    let temporary = server.folder.path().join("store/tmp");
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
    assert!(matches!(server.embedded.store().head(&key("half")).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn signatures_behind_a_proxy_use_the_public_host() {
    let public = "https://pics.example.com";
    let server = TestServer::start_with(|settings| tintype_storage::EmbeddedSettings {
        public_url: public.into(),
        proxied: true,
        ..settings
    })
    .await;
    let store = server.embedded.store();
    store.put(&key("a.png"), object("x", "image/png")).await.expect("put");
    let url = link(&*store, "a.png").await.url;
    let path = url.strip_prefix(public).expect("the public URL");
    assert_eq!(get(&format!("{}{path}", server.url)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn objects_and_keys_survive_a_restart() {
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
async fn invalid_settings_are_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    for url in ["127.0.0.1:8080", "http://", "http://a/b", "ftp://a", ""] {
        assert!(
            matches!(Embedded::open(settings(&folder, url)), Err(OpenError::InvalidPublicUrl(_))),
            "{url:?}"
        );
    }
    for bucket in ["generate", "A", "..", ""] {
        let mut settings = settings(&folder, "http://a");
        settings.bucket = bucket.into();
        assert!(matches!(Embedded::open(settings), Err(OpenError::InvalidBucketName(_))), "{bucket:?}");
    }
}

#[tokio::test]
async fn a_sweep_keeps_recent_images_within_the_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = Embedded::open(settings(&folder, "http://127.0.0.1:1")).expect("open");
    let store = embedded.store();
    for name in ["images/a", "async/b.out", "jobs/c", "async/pending/d"] {
        store.put(&key(name), object("0123456789", "image/png")).await.expect("put");
    }
    let day = Duration::from_secs(86_400);
    let swept = embedded.sweep(day, 1_000).await.expect("sweep");
    assert_eq!((swept.deleted, swept.remaining_bytes), (0, 20));
    let swept = embedded.sweep(day, 10).await.expect("sweep");
    assert_eq!((swept.deleted, swept.freed_bytes, swept.remaining_bytes), (1, 10, 10));
    let swept = embedded.sweep(day, 0).await.expect("sweep");
    assert_eq!((swept.deleted, swept.remaining_bytes), (1, 0));
    let left = store.list("", None, 10).await.expect("list").objects;
    let left: Vec<_> = left.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(left, ["async/pending/d", "jobs/c"]);
}
