//! Shared by the integration tests: the embedded service behind an HTTP server, and a plain HTTP client.

use std::sync::Arc;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tempfile::TempDir;
use tintype_core::secret::Secret;
use tintype_storage::{Embedded, EmbeddedSettings, S3Settings, S3Store};

/// The embedded service, on a free port.
pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) embedded: Arc<Embedded>,
    pub(crate) folder: TempDir,
}

pub(crate) fn settings(folder: &TempDir, public_url: &str) -> EmbeddedSettings {
    EmbeddedSettings {
        folder: folder.path().to_owned(),
        public_url: public_url.to_owned(),
        proxied: false,
        bucket: "tintype".into(),
        reserved: vec!["generate".into(), "v1".into()],
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|settings| settings).await
    }

    /// Starts with changed settings.
    pub(crate) async fn start_with(change: impl FnOnce(EmbeddedSettings) -> EmbeddedSettings) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let folder = tempfile::tempdir().expect("a folder");
        let embedded = Arc::new(Embedded::open(change(settings(&folder, &url))).expect("open"));
        let router = axum::Router::new().fallback_service(embedded.service());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, embedded, folder }
    }

    /// The SDK with this service's keys, for one of its URLs.
    pub(crate) fn sdk(&self, url: &str, addressing: Addressing) -> aws_sdk_s3::Client {
        sdk(url, self.embedded.access_key_id(), self.embedded.secret_access_key().expose(), addressing)
    }

    /// Our client for this service.
    pub(crate) fn client(&self, bucket: &str, prefix: &str) -> S3Store {
        let keys = (self.embedded.access_key_id().to_owned(), self.embedded.secret_access_key().clone());
        remote(&self.url, bucket, prefix, keys)
    }
}

/// Our client for any service.
pub(crate) fn remote(url: &str, bucket: &str, prefix: &str, keys: (String, Secret)) -> S3Store {
    let settings = S3Settings {
        bucket: bucket.into(),
        prefix: prefix.into(),
        endpoint: Some(url.into()),
        credentials: Some(keys),
        ..S3Settings::default()
    };
    S3Store::new(settings).expect("valid settings")
}

/// How requests name the bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addressing {
    Path,
    Host,
}

/// The SDK's client, for operations that our client does not have.
pub(crate) fn sdk(url: &str, id: &str, secret: &str, addressing: Addressing) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .force_path_style(addressing == Addressing::Path)
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// A response with its body.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl TestResponse {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

/// Sends a request over its own connection.
pub(crate) async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> TestResponse {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from("body")).expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (parts, body) = client.request(request).await.expect("a response").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    TestResponse { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn get(url: &str) -> TestResponse {
    send(Method::GET, url, &[]).await
}
