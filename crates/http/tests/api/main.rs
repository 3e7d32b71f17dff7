//! Tests of the API through its router; only the module `sockets` uses connections.

mod bodies;
mod callers;
mod cors;
mod csrf;
mod disconnects;
mod errors;
mod events;
mod events_token;
mod idempotency;
mod images;
mod keys;
mod limits;
mod links;
mod logging;
mod metrics;
mod middleware;
mod models;
mod openai;
mod openapi;
mod responses;
mod sagemaker;
mod sockets;
mod usage;
mod violations;
mod waiting;
mod warnings;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::Value;
use time::OffsetDateTime;
use tintype_http::{CorsPolicy, HostPolicy, HttpSettings, router};
use tintype_ledger::Ledger;
use tintype_ledger::key::NewKey;
use tintype_ledger::policy::Policy;
use tintype_ledger_bucket::BucketLedger;
use tintype_service::{Alias, AnonymousAccess, LoadTime, ModelSettings, ModelSpec, Service, ServiceSettings};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::time::sleep;
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

/// A server with access to its parts.
struct TestServer {
    service: Arc<Service>,
    engine: Arc<NullEngine>,
    store: Arc<MemoryStore>,
    ledger: Arc<dyn Ledger>,
    /// The ledger's store, in memory: it needs no thread, so a paused clock works.
    ledger_store: Arc<MemoryStore>,
    router: Router,
}

/// A response with its complete body.
#[derive(Debug)]
struct TestResponse {
    head: Response<()>,
    text: String,
}

/// The origin of absolute links.
const ORIGIN: &str = "https://pictures.example/stage";

impl TestServer {
    /// A ready server whose engine takes no time.
    fn new() -> Self {
        Self::with(ServiceSettings::default(), NullEngine::new(Duration::ZERO))
    }

    fn with(settings: ServiceSettings, engine: NullEngine) -> Self {
        let server = Self::loading(settings, engine);
        server.service.engine_ready(server.engine.clone());
        server
    }

    /// A ready server whose model has these aliases.
    fn with_aliases(names: &[&str]) -> Self {
        let server = Self::loading_with(ServiceSettings::default(), NullEngine::new(Duration::ZERO), names);
        server.service.engine_ready(server.engine.clone());
        server
    }

    /// A server whose model is loading.
    fn loading(settings: ServiceSettings, engine: NullEngine) -> Self {
        Self::loading_with(settings, engine, &["gpt-image-*", "dall-e-*"])
    }

    fn loading_with(settings: ServiceSettings, engine: NullEngine, names: &[&str]) -> Self {
        let (engine, store) = (Arc::new(engine), Arc::new(MemoryStore::default()));
        let ledger_store = Arc::new(MemoryStore::default());
        let sleeper = Arc::new(|time: Duration| -> BoxFuture<'static, ()> { Box::pin(sleep(time)) });
        let ledger: Arc<dyn Ledger> = Arc::new(BucketLedger::new(ledger_store.clone(), sleeper));
        let model = ModelSettings { aliases: aliases(names), ..settings.only_model() };
        let model = ModelSpec { settings: model, loader: None, load: LoadTime::AtStart };
        let service = Service::with_models(settings, vec![model], store.clone(), ledger.clone());
        let router = router(service.clone(), settings_for(HostPolicy::Any));
        Self { service, engine, store, ledger, ledger_store, router }
    }

    /// A ready server that requires a key and takes a second per step.
    fn keyed() -> Self {
        Self::keyed_with(NullEngine::new(SECOND))
    }

    /// A ready server that requires a key.
    fn keyed_with(engine: NullEngine) -> Self {
        let settings = ServiceSettings { anonymous: AnonymousAccess::Denied, ..ServiceSettings::default() };
        Self::with(settings, engine)
    }

    /// The same server with other HTTP settings.
    fn settings(mut self, settings: HttpSettings) -> Self {
        self.router = router(self.service.clone(), settings);
        self
    }

    /// Creates a key with these limits, and returns its header.
    async fn key(&self, policy: Policy) -> (&'static str, String) {
        self.new_key("customer", policy).await
    }

    async fn admin_key(&self) -> (&'static str, String) {
        self.new_key("admin", Policy::default()).await
    }

    async fn new_key(&self, name: &str, policy: Policy) -> (&'static str, String) {
        let new = NewKey { name: name.into(), owner: None, expires: None, admin: name == "admin", policy };
        let (key, _) = self.ledger.create_key(new, OffsetDateTime::now_utc()).await.expect("a key");
        ("authorization", format!("Bearer {}", key.secret().expose()))
    }

    async fn get(&self, path: &str) -> TestResponse {
        self.send("GET", path, &[]).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> TestResponse {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Body::empty()).expect("a request")).await
    }

    /// Sends `POST /v1/images`.
    async fn post(&self, body: &Value, headers: &[(&str, &str)]) -> TestResponse {
        self.send_json("/v1/images", body, headers).await
    }

    async fn send_json(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> TestResponse {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Body::from(body.to_string())).expect("a request")).await
    }

    async fn request(&self, request: Request<Body>) -> TestResponse {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        TestResponse { head: Response::from_parts(parts, ()), text }
    }
}

impl TestResponse {
    fn status(&self) -> StatusCode {
        self.head.status()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().expect("text"))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks that the response is a problem document with this status and name, and returns it.
    fn assert_problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:tintype:problem:{kind}"));
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
        }
        problem
    }
}

fn settings_for(hosts: HostPolicy) -> HttpSettings {
    HttpSettings {
        get_enabled: true,
        hosts,
        time_budget: None,
        origin: ORIGIN.to_owned(),
        cors: CorsPolicy::default(),
    }
}

fn aliases(names: &[&str]) -> Vec<Alias> {
    names.iter().map(|name| name.parse().expect("an alias")).collect()
}
