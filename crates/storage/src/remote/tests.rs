//! Settings, links, and writes with a lost response.

use std::io::{Read, Write};

use super::*;

fn settings() -> S3Settings {
    S3Settings {
        bucket: "pictures".into(),
        prefix: "/team/one/".into(),
        endpoint: Some("http://127.0.0.1:9/".into()),
        credentials: Some(("AKID".into(), Secret::new("hunter2"))),
        ..S3Settings::default()
    }
}

#[tokio::test]
async fn links_have_the_public_endpoint_and_the_prefix() {
    let public_endpoint = Some("https://pics.example.com".into());
    let store = S3Store::new(S3Settings { public_endpoint, ..settings() }).expect("valid settings");
    let options =
        PresignOptions { expires_in: std::time::Duration::from_secs(300), content_disposition: None };
    let signed = store.presign(&Key::new("a.png").expect("a key"), &options).await.expect("presign");
    assert!(signed.url.starts_with("https://pics.example.com/pictures/team/one/a.png?"), "{}", signed.url);
    assert!(signed.url.contains("X-Amz-Expires=300"), "{}", signed.url);
}

#[test]
fn invalid_settings_are_rejected() {
    let no_bucket = S3Settings { bucket: String::new(), ..settings() };
    assert!(matches!(S3Store::new(no_bucket), Err(S3SettingsError::EmptyBucketName)));
    for endpoint in ["127.0.0.1:9000", "ftp://x", "http://", ""] {
        let bad = S3Settings { endpoint: Some(endpoint.into()), ..settings() };
        assert!(matches!(S3Store::new(bad), Err(S3SettingsError::InvalidEndpoint(_))), "{endpoint:?}");
    }
}

#[tokio::test]
async fn an_unreachable_service_is_unavailable() {
    let store = S3Store::new(settings()).expect("valid settings");
    let (key, object) = (Key::new("a"), NewObject { bytes: "x".into(), content_type: "text/plain".into() });
    let key = key.expect("a key");
    let answer = store.put_if(&key, object, Condition::Absent);
    assert!(matches!(answer.await, Err(StoreError::Unavailable(_))));
}

/// A service that answers the request of each connection with the next of these responses; `None` closes the
/// connection without a response.
fn service<const N: usize>(answers: [Option<&'static str>; N]) -> S3Settings {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().expect("a connection");
            let mut request = [0; 65_536];
            let mut length = 0;
            while !request[..length].ends_with(b"\r\n\r\n") && !request[..length].ends_with(b"mine") {
                length += connection.read(&mut request[length..]).expect("a request");
            }
            if let Some(answer) = answer {
                connection.write_all(answer.as_bytes()).expect("a connected client");
            }
        }
    });
    S3Settings { endpoint: Some(format!("http://{address}")), ..settings() }
}

#[tokio::test]
async fn a_write_with_a_lost_response_is_verified() {
    let precondition_failed = "HTTP/1.1 412 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let same_content = "HTTP/1.1 200 x\r\nconnection: close\r\netag: \"1\"\r\ncontent-length: 4\r\n\r\nmine";
    let other_content =
        "HTTP/1.1 200 x\r\nconnection: close\r\netag: \"2\"\r\ncontent-length: 6\r\n\r\nothers";
    for (found, ours) in [(same_content, true), (other_content, false)] {
        let store =
            S3Store::new(service([None, Some(precondition_failed), Some(found)])).expect("valid settings");
        let object = NewObject { bytes: "mine".into(), content_type: "text/plain".into() };
        let written = store.put_if(&Key::new("a").expect("a key"), object, Condition::Absent).await;
        match written {
            Ok(etag) => assert_eq!((etag.0.as_str(), ours), ("\"1\"", true)),
            Err(error) => assert!(matches!(error, StoreError::ConditionFailed) && !ours, "{error}"),
        }
    }
}

#[tokio::test]
async fn the_clock_of_the_service_is_read_from_its_responses() {
    let missing = "HTTP/1.1 404 x\r\nconnection: close\r\ndate: Thu, 01 Jan 2099 00:00:00 GMT\r\n\r\n";
    let store = S3Store::new(service([Some(missing)])).expect("valid settings");
    assert_eq!(store.clock_offset(), time::Duration::ZERO);
    let answer = store.head(&Key::new("a").expect("a key")).await;
    assert!(matches!(answer, Err(StoreError::NotFound)), "{answer:?}");
    let there = OffsetDateTime::now_utc() + store.clock_offset();
    assert_eq!(there.year(), 2099);
}

#[test]
fn debug_output_has_no_secrets() {
    assert!(!format!("{:?}", settings()).contains("hunter2"));
}
