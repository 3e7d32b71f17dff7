//! The API through its router, without a socket but for what only shows over one.

mod answers;
mod envelope;
mod fences;
mod hanging_up;
mod logging;
mod refusals;
mod sockets;
mod violations;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tintype_http::{HostPolicy, HttpSettings, router};
use tintype_service::{Service, ServiceSettings};
use tintype_testing::{MemoryStore, NullEngine};
use tower::ServiceExt;

/// A server with hold of what is behind it.
struct Bench {
    service: Arc<Service>,
    engine: Arc<NullEngine>,
    store: Arc<MemoryStore>,
    router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    head: Response<()>,
    text: String,
}

impl Bench {
    /// A ready server on which a picture takes no time.
    fn new() -> Self {
        Self::with(ServiceSettings::default(), NullEngine::new(Duration::ZERO))
    }

    fn with(settings: ServiceSettings, engine: NullEngine) -> Self {
        let bench = Self::loading(settings, engine);
        bench.service.engine_ready(bench.engine.clone());
        bench
    }

    /// A server whose model is being loaded.
    fn loading(settings: ServiceSettings, engine: NullEngine) -> Self {
        let (engine, store) = (Arc::new(engine), Arc::new(MemoryStore::default()));
        let service = Service::new(settings, store.clone());
        let router = router(service.clone(), settings_for(HostPolicy::Any));
        Self { service, engine, store, router }
    }

    /// The same server with another HTTP interface.
    fn settings(mut self, settings: HttpSettings) -> Self {
        self.router = router(self.service.clone(), settings);
        self
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Body::empty()).expect("a request")).await
    }

    async fn request(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer { head: Response::from_parts(parts, ()), text }
    }
}

impl Answer {
    fn status(&self) -> StatusCode {
        self.head.status()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().expect("text"))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks that this is a problem document of this status and kind.
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
    HttpSettings { get_enabled: true, hosts }
}
