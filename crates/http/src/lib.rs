//! The HTTP interface of the service: the router, the native API, and the OpenAI and SageMaker dialects.
//!
//! Handlers return a value or a `Problem`. Only the module `problem` chooses the status code of an error,
//! and only `middleware` adds request ids, default headers and log lines.

mod caller;
mod connection;
mod cors;
mod csrf;
mod events;
mod generate;
mod health;
mod host;
mod idempotency;
mod image_resource;
mod images;
mod json;
mod keys;
mod link_warning;
mod metrics_format;
mod middleware;
mod openai;
mod openapi;
mod params;
mod path;
mod path_param;
mod prefer;
mod problem;
mod query;
mod ratelimit;
mod request_id;
mod reserved;
mod sagemaker;
mod submit;
mod unknown_path;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::{from_fn_with_state, map_request};
use axum::routing::{MethodRouter, get, post};
use axum::{Router, handler::Handler};
use time::OffsetDateTime;
use tintype_ledger::id::JobId;
use tintype_service::Service;

pub use connection::{ConnectionProblem, refuse};
pub use cors::{CorsPolicy, InvalidOrigins};
pub use host::HostPolicy;
pub use middleware::response_too_large;
pub use openapi::document as openapi;
pub use reserved::RESERVED;
pub use sagemaker::{Buckets, RuntimeApi, container};

use path_param::PathParam;
use problem::Problem;
use unknown_path::UnknownPath;

/// The operator's settings of the HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Whether `GET /generate` and `GET /?prompt=…` generate images.
    pub get_enabled: bool,
    /// The accepted `Host` headers.
    pub hosts: HostPolicy,
    /// The longest time that a request waits for its images; after it the response is `202 Accepted`. No
    /// limit if absent.
    pub time_budget: Option<Duration>,
    /// The prefix of absolute links to this API, without a trailing slash: `https://host`, or
    /// `https://host/stage` behind a proxy that strips a part of the path.
    pub origin: String,
    /// The web pages of other origins that may use the API.
    pub cors: CorsPolicy,
}

/// The state shared by all handlers.
#[derive(Clone)]
pub(crate) struct App {
    service: Arc<Service>,
    get_enabled: bool,
    time_budget: Option<Duration>,
    /// Only clients on this machine can reach the server, so that they need no key.
    is_loopback: bool,
    /// The prefix of absolute links, see [`HttpSettings::origin`].
    origin: Arc<str>,
    cors: CorsPolicy,
    started_at: OffsetDateTime,
}

/// The router of the native API and OpenAI's dialect.
pub fn router(service: Arc<Service>, settings: HttpSettings) -> Router {
    with_routes(service, settings, Router::new())
}

/// The router of [`router`] with the paths of SageMaker's Runtime API.
pub fn router_with_runtime(service: Arc<Service>, settings: HttpSettings, runtime: RuntimeApi) -> Router {
    with_routes(service, settings, sagemaker::routes(runtime))
}

fn with_routes(service: Arc<Service>, settings: HttpSettings, extra: Router<App>) -> Router {
    let HttpSettings { get_enabled, hosts, time_budget, origin, cors } = settings;
    // With a public URL, a proxy is expected, and the operator decides whether requests need a key.
    let is_loopback = match &hosts {
        HostPolicy::Loopback { public: Some(public), .. } => link_warning::is_loopback(public.host()),
        HostPolicy::Loopback { public: None, .. } => true,
        HostPolicy::Any => false,
    };
    let app = App {
        service: service.clone(),
        get_enabled,
        time_budget,
        is_loopback,
        origin: Arc::from(origin),
        cors: cors.clone(),
        started_at: OffsetDateTime::now_utc(),
    };
    let routes = Router::new()
        .route("/", get_without_head(generate::root))
        .route("/generate", get_without_head(generate::generate))
        .route("/v1/images", only_methods("GET, HEAD, POST", get(images::list).post(images::create)))
        .route("/v1/images/{id}", job_route("GET, HEAD, DELETE", get(images::read).delete(images::delete)))
        .route("/v1/images/{id}/content", job_route("GET, HEAD", get(images::content)))
        .route("/v1/images/{id}/events", job_route("GET, HEAD", get(events::events)))
        .route("/v1/images/{id}/cancel", job_route("POST", post(images::cancel)))
        .route("/v1/keys", only_methods("GET, HEAD, POST", get(keys::list).post(keys::create)))
        .route("/v1/keys/{id}", only_methods("GET, HEAD, DELETE", get(keys::read).delete(keys::revoke)))
        .route("/v1/usage", read_only(get(usage::usage)))
        .route("/metrics", read_only(get(usage::metrics)))
        .route("/healthz", read_only(get(health::healthz)))
        .route("/readyz", read_only(get(health::readyz)))
        .merge(openai::routes())
        .merge(openapi::routes())
        .merge(extra)
        .fallback(unknown_path::fallback)
        .with_state(app)
        .layer(DefaultBodyLimit::max(json::MAX_BODY));
    // Most servers have no pages of other origins, and each layer costs about 3% of the shortest requests.
    let allowed = (cors != CorsPolicy::SameOrigin).then_some(cors);
    let routes = match allowed.clone() {
        Some(cors) => routes.layer(from_fn_with_state(cors, cors::answer_preflight)),
        None => routes,
    };
    let routes = routes
        .layer(from_fn_with_state(Arc::new(hosts), host::check_host))
        .layer(from_fn_with_state(service, middleware::wrap_exchange));
    let routes = match allowed {
        Some(cors) => routes.layer(from_fn_with_state(cors, cors::allow_reading)),
        None => routes,
    };
    // A router selects the route before its layers run, so the outer router normalizes the path.
    Router::new().fallback_service(routes).layer(map_request(path::normalize))
}

/// A route whose other methods are answered with 405 and this `Allow` header.
fn only_methods(allowed: &'static str, route: MethodRouter<App>) -> MethodRouter<App> {
    route.fallback(async move || Problem::MethodNotAllowed(allowed))
}

/// A route of a job. Other methods are answered with 405 if the path has a job id, and with 404 otherwise.
fn job_route(allowed: &'static str, route: MethodRouter<App>) -> MethodRouter<App> {
    route.fallback(async move |PathParam(id): PathParam, uri: Uri| match id.parse::<JobId>() {
        Ok(_) => Problem::MethodNotAllowed(allowed),
        Err(_) => UnknownPath::of(uri.path()).into(),
    })
}

/// A route for `GET` and `HEAD`.
fn read_only(route: MethodRouter<App>) -> MethodRouter<App> {
    only_methods("GET, HEAD", route)
}

/// A route for `GET` without axum's implicit `HEAD`, because the handler costs engine time.
fn get_without_head<H, T>(handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    only_methods("GET", get(handler).head(async || Problem::MethodNotAllowed("GET")))
}
