//! HTTP in front of the service: the router, the dialects, and which error has which status.
//!
//! Handlers return what they mean; `problem` is the only place where a status code is chosen for an error, and
//! `envelope` the only one where request ids, headers and log lines are added.

mod caller;
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
mod middleware;
mod openai;
mod openapi;
mod params;
mod path_param;
mod prefer;
mod problem;
mod query;
mod ratelimit;
mod request_id;
mod reserved;
mod sagemaker;
mod submit;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use axum::{Router, handler::Handler};
use time::OffsetDateTime;
use tintype_service::Service;

pub use host::HostPolicy;
pub use middleware::answer_too_large;
pub use openai::{Alias, InvalidAlias};
pub use openapi::document as openapi;
pub use reserved::RESERVED;
pub use sagemaker::{Buckets, RuntimeApi, container};

use problem::Problem;

/// What an operator decides about the HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Whether `GET /generate` (and `/?prompt=`) makes pictures.
    pub get_enabled: bool,
    /// Which `Host` a request may be for.
    pub hosts: HostPolicy,
    /// How long a request may wait for its pictures before it is answered that they are on their way; as long as it
    /// takes if absent.
    pub time_budget: Option<Duration>,
    /// What absolute links to this API begin with: `https://host`, or `https://host/stage` where something before us takes a
    /// part of the path away. No slash at the end.
    pub origin: String,
    /// Names of other people's models under which OpenAI's clients get this one.
    pub aliases: Vec<Alias>,
}

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct App {
    service: Arc<Service>,
    get_enabled: bool,
    time_budget: Option<Duration>,
    /// Only this machine is meant to reach the server.
    behind_loopback: bool,
    /// What absolute links begin with.
    origin: Arc<str>,
    aliases: Arc<[Alias]>,
    /// When this began.
    since: OffsetDateTime,
}

/// The whole API.
pub fn router(service: Arc<Service>, settings: HttpSettings) -> Router {
    with_routes(service, settings, Router::new())
}

/// The whole API, and SageMaker's Runtime API's paths beside it.
pub fn router_with_runtime(service: Arc<Service>, settings: HttpSettings, runtime: RuntimeApi) -> Router {
    with_routes(service, settings, sagemaker::routes(runtime))
}

fn with_routes(service: Arc<Service>, settings: HttpSettings, more: Router<App>) -> Router {
    let HttpSettings { get_enabled, hosts, time_budget, origin, aliases } = settings;
    let behind_loopback = matches!(hosts, HostPolicy::Loopback { .. });
    let app = App {
        service: service.clone(),
        get_enabled,
        time_budget,
        behind_loopback,
        origin: Arc::from(origin),
        aliases: Arc::from(aliases),
        since: OffsetDateTime::now_utc(),
    };
    Router::new()
        .route("/", get_only(generate::root))
        .route("/generate", get_only(generate::generate))
        .route("/v1/images", taking("GET, HEAD, POST", get(images::list).post(images::create)))
        .route("/v1/images/{id}", taking("GET, HEAD, DELETE", get(images::read).delete(images::delete)))
        .route("/v1/images/{id}/content", reading(get(images::content)))
        .route("/v1/images/{id}/events", reading(get(events::events)))
        .route("/v1/images/{id}/cancel", taking("POST", post(images::cancel)))
        .route("/v1/keys", taking("GET, HEAD, POST", get(keys::list).post(keys::create)))
        .route("/v1/keys/{id}", taking("GET, HEAD, DELETE", get(keys::read).delete(keys::revoke)))
        .route("/v1/usage", reading(get(usage::usage)))
        .route("/metrics", reading(get(usage::metrics)))
        .route("/healthz", reading(get(health::healthz)))
        .route("/readyz", reading(get(health::readyz)))
        .merge(openai::routes())
        .merge(openapi::routes())
        .merge(more)
        .fallback(async || Problem::NotFound)
        .with_state(app)
        .layer(DefaultBodyLimit::max(json::MAX_BODY))
        .layer(from_fn_with_state(Arc::new(hosts), host::check))
        .layer(from_fn_with_state(service, middleware::envelope))
}

/// A route that refuses every other method.
fn taking(allowed: &'static str, route: MethodRouter<App>) -> MethodRouter<App> {
    route.fallback(async move || Problem::MethodNotAllowed(allowed))
}

/// A route that is only read.
fn reading(route: MethodRouter<App>) -> MethodRouter<App> {
    taking("GET, HEAD", route)
}

/// A route for `GET` without the `HEAD` that comes with it otherwise: whoever only looks must not spend.
fn get_only<H, T>(handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    taking("GET", get(handler).head(async || Problem::MethodNotAllowed("GET")))
}
