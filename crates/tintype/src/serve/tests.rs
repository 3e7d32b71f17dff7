//! A complete server on a free port, with a test engine.

mod connections;
mod cors;
mod routing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tintype_core::engine::{Engine, EngineInfo};
use tintype_ledger::key::NewKey;
use tintype_ledger::policy::Policy;
use tintype_service::{EngineLoader, LoadError, LoadTime, ModelSettings};
use tintype_testing::NullEngine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::client::{Client, Response};
use crate::config::{Environment, Flags};

/// A running server with its URL and data folder.
struct Fixture {
    running: Server,
    loaded: oneshot::Receiver<Result<()>>,
    url: String,
    _folder: TempDir,
}

fn config(folder: &TempDir, more: &[(&str, &str)]) -> Config {
    let data_dir = folder.path().join("data").display().to_string();
    let settings = [("TINTYPE_LISTEN", "127.0.0.1:0"), ("TINTYPE_DATA_DIR", data_dir.as_str())];
    let variables: BTreeMap<_, _> =
        settings.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let environment =
        Environment { variables, working_folder: folder.path().to_owned(), ..Environment::default() };
    Config::load(&environment, &Flags::default()).expect("valid settings")
}

/// Loads an engine once.
struct Loader<F>(Mutex<Option<F>>);

impl<F: FnOnce() -> Result<Arc<dyn Engine>> + Send + 'static> EngineLoader for Loader<F> {
    fn plan(&self) -> Result<Option<EngineInfo>, LoadError> {
        Ok(None)
    }

    fn load(&self) -> Result<Arc<dyn Engine>, LoadError> {
        let load = self.0.lock().expect("not poisoned").take().expect("the first load");
        Ok(load()?)
    }
}

/// One model, which is loaded at the start.
fn models(load: impl FnOnce() -> Result<Arc<dyn Engine>> + Send + 'static) -> Vec<ModelSpec> {
    let loader = Loader(Mutex::new(Some(load)));
    let settings = ModelSettings::default();
    vec![ModelSpec { settings, loader: Some(Arc::new(loader)), load: LoadTime::AtStart }]
}

async fn start_with(
    more: &[(&str, &str)],
    load: impl FnOnce() -> Result<Arc<dyn Engine>> + Send + 'static,
) -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, loaded) = start(&config(&folder, more), |_| models(load)).await.expect("it starts");
    let url =
        server.ready_line.split(['/', ' ']).find(|part| part.contains("127.0.0.1:")).expect("an address");
    let url = format!("http://{url}");
    Fixture { running: server, loaded, url, _folder: folder }
}

async fn ready(more: &[(&str, &str)]) -> Fixture {
    let mut fixture = start_with(more, || Ok(Arc::new(NullEngine::new(Duration::ZERO)))).await;
    (&mut fixture.loaded).await.expect("an outcome").expect("it loads");
    fixture
}

impl Fixture {
    async fn get(&self, path: &str) -> Response {
        get(&format!("{}{path}", self.url)).await
    }
}

async fn get(url: &str) -> Response {
    Client::new().expect("a client").get(url, None).await.expect("a response")
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_in_the_response_leads_to_the_image() {
    let server = ready(&[]).await;
    let response = server.get("/generate?prompt=a+tiger&format=png&seed=1").await;
    assert_eq!(response.status, StatusCode::OK, "{:?}", response.body);
    let link = json(&response)["url"].as_str().expect("a link").to_owned();
    assert!(link.starts_with(&server.url), "{link}");
    let image = get(&link).await;
    assert_eq!((image.status, image.content_type.as_deref()), (StatusCode::OK, Some("image/png")));
    assert!(image.body.starts_with(b"\x89PNG"));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_answers_in_its_own_format() {
    let server = ready(&[]).await;
    for (path, content_type, status) in [
        ("/healthz", "application/json", 200),
        ("/generate", "application/problem+json", 400),
        ("/v1/nothing", "application/problem+json", 404),
        ("/tintype/images/x.jpg", "application/xml", 403),
        ("/some-bucket", "application/problem+json", 404),
    ] {
        let response = server.get(path).await;
        assert_eq!(response.status, status, "{path}");
        assert!(response.content_type.is_some_and(|found| found.starts_with(content_type)), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_expect_continue_closes_the_connection() {
    let server = ready(&[]).await;
    let address = server.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    // The second request is sent before the first response, and the first request has no body.
    let requests = format!(
        "PUT /tintype/x HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n"
    );
    connection.write_all(requests.as_bytes()).await.expect("sent");
    let mut responses = String::new();
    connection.read_to_string(&mut responses).await.expect("the connection ends");
    assert!(responses.contains("\r\nconnection: close\r\n"), "{responses}");
    assert_eq!(responses.matches("HTTP/1.1 ").count(), 1, "{responses}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_responds_while_the_model_is_loading_and_is_ready_afterwards() {
    let (release, released) = mpsc::channel::<()>();
    let mut server = start_with(&[], move || {
        released.recv()?;
        Ok(Arc::new(NullEngine::new(Duration::ZERO)))
    })
    .await;
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(server.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    release.send(()).expect("it is waiting");
    (&mut server.loaded).await.expect("an outcome").expect("it loads");
    assert_eq!(server.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_loaded_is_an_error() {
    let server = start_with(&[], || anyhow::bail!("a broken file")).await;
    let error = server.loaded.await.expect("an outcome").expect_err("it fails");
    assert_eq!(error.to_string(), "a broken file");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_running_requests_and_accepts_no_new_ones() {
    let engine = Arc::new(NullEngine::new(Duration::from_millis(20)));
    let loading = engine.clone();
    let mut server = start_with(&[], move || Ok(loading)).await;
    (&mut server.loaded).await.expect("an outcome").expect("it loads");
    let url = format!("{}/generate?prompt=x&steps=10", server.url);
    let request = tokio::spawn(async move { get(&url).await });
    while engine.started() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.running.stop().await;
    assert_eq!(request.await.expect("a response").status, StatusCode::OK);
    let late = Client::new().expect("a client").get(&format!("{}/healthz", server.url), None).await;
    assert!(late.is_err(), "the port is still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_can_be_turned_off() {
    let server = ready(&[("TINTYPE_NO_GET", "true")]).await;
    assert_eq!(server.get("/generate?prompt=x").await.status, StatusCode::NOT_FOUND);
    assert!(!server.running.ready_line.contains("prompt="), "{}", server.running.ready_line);
}

fn never() -> Result<Arc<dyn Engine>> {
    anyhow::bail!("this test needs no engine")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_cannot_share_a_folder_or_a_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = start(&config(&folder, &[]), |_| models(never)).await.expect("it starts");
    let error =
        start(&config(&folder, &[]), |_| models(never)).await.map(|_| ()).expect_err("the folder is taken");
    assert!(format!("{error:#}").contains("in use"), "{error:#}");

    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let other = tempfile::tempdir().expect("a folder");
    let error = start(&config(&other, &[("TINTYPE_LISTEN", &address)]), |_| models(never)).await.map(|_| ());
    let error = format!("{:#}", error.expect_err("the port is taken"));
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_need_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    for (settings, anonymous) in [
        (&[][..], AnonymousAccess::Trusted),
        (&[("TINTYPE_PUBLIC_URL", "http://localhost:8080")], AnonymousAccess::Trusted),
        (&[("TINTYPE_PUBLIC_URL", "https://pictures.example")], AnonymousAccess::Denied),
        (&[("TINTYPE_LISTEN", "0.0.0.0:0")], AnonymousAccess::Denied),
        (&[("TINTYPE_LISTEN", "0.0.0.0:0"), ("TINTYPE_ALLOW_ANONYMOUS", "true")], AnonymousAccess::Public),
    ] {
        assert_eq!(anonymous_access(&config(&folder, settings).serving), anonymous, "{settings:?}");
    }
    let config = config(&folder, &[("TINTYPE_LISTEN", "0.0.0.0:0")]);
    let error = start(&config, |_| models(never)).await.map(|_| ()).expect_err("there is no key");
    assert!(error.is::<UsageError>() && error.to_string().contains("tintype keys create"), "{error}");

    let new =
        NewKey { name: "x".into(), owner: None, expires: None, admin: false, policy: Policy::default() };
    let created =
        ledger::sqlite(&config).await.expect("a ledger").create_key(new, OffsetDateTime::now_utc()).await;
    let (key, _) = created.expect("a key");
    let load = || -> Result<Arc<dyn Engine>> { Ok(Arc::new(NullEngine::new(Duration::ZERO))) };
    let (server, loaded) = start(&config, |_| models(load)).await.expect("it starts");
    loaded.await.expect("an outcome").expect("it loads");
    let port = server.ready_line.split("localhost:").nth(1).and_then(|rest| rest.split('/').next());
    let url = format!("http://127.0.0.1:{}/generate?prompt=x", port.expect("a port"));
    assert_eq!(get(&url).await.status, StatusCode::UNAUTHORIZED);
    let response = Client::new().expect("a client").get(&url, Some(key.secret())).await.expect("a response");
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test]
async fn links_start_with_an_address_that_clients_can_reach() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = |more: &[(&str, &str)], address: &str| {
        ready::own_url(&config(&folder, more), address.parse().expect("an address"))
    };
    assert_eq!(url(&[], "127.0.0.1:81"), "http://127.0.0.1:81");
    assert_eq!(url(&[], "[::1]:81"), "http://[::1]:81");
    assert_eq!(url(&[], "0.0.0.0:81"), "http://localhost:81");
    assert_eq!(url(&[("TINTYPE_PUBLIC_URL", "https://a.example/")], "0.0.0.0:81"), "https://a.example");
}

/// Starts a server that needs keys, whose ledger has a key with this policy. `edit` changes the database.
async fn start_with_key(policy: Policy, edit: &str) -> (Fixture, tintype_ledger::key::ApiKey) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(&folder, &[("TINTYPE_LISTEN", "0.0.0.0:0")]);
    let new = NewKey { name: "x".into(), owner: None, expires: None, admin: false, policy };
    let created =
        ledger::sqlite(&config).await.expect("a ledger").create_key(new, OffsetDateTime::now_utc()).await;
    let (key, _) = created.expect("a key");
    let database = rusqlite::Connection::open(config.store.data_dir.join("ledger.db")).expect("the ledger");
    database.execute_batch(edit).expect("edited");
    let load = || -> Result<Arc<dyn Engine>> { Ok(Arc::new(NullEngine::new(Duration::ZERO))) };
    let (running, mut loaded) = start(&config, |_| models(load)).await.expect("it starts");
    (&mut loaded).await.expect("an outcome").expect("it loads");
    let port = running.ready_line.split("localhost:").nth(1).and_then(|rest| rest.split('/').next());
    let url = format!("http://127.0.0.1:{}", port.expect("a port"));
    (Fixture { running, loaded, url, _folder: folder }, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_price_for_its_budget_does_not_keep_the_server_from_starting() {
    let policy = Policy { budgets: vec!["5eur/day".parse().expect("a budget")], ..Policy::default() };
    let (server, key) = start_with_key(policy, "").await;
    let client = Client::new().expect("a client");
    let url = format!("{}/generate?prompt=x", server.url);
    let response = client.get(&url, Some(key.secret())).await.expect("a response");
    assert_eq!(response.status, StatusCode::PAYMENT_REQUIRED);
    assert!(json(&response)["detail"].as_str().is_some_and(|detail| detail.contains("no price in eur")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_key_does_not_keep_the_server_from_starting() {
    let (server, key) = start_with_key(Policy::default(), "UPDATE keys SET record = '{'").await;
    assert_eq!(server.get("/readyz").await.status, StatusCode::OK);
    let client = Client::new().expect("a client");
    let url = format!("{}/generate?prompt=x", server.url);
    let response = client.get(&url, Some(key.secret())).await.expect("a response");
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
}
