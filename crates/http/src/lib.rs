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
pub use middleware::response_too_large;
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
    is_loopback: bool,
    /// What absolute links begin with.
    origin: Arc<str>,
    aliases: Arc<[Alias]>,
    /// When this began.
    started_at: OffsetDateTime,
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
    let is_loopback = matches!(hosts, HostPolicy::Loopback { .. });
    let app = App {
        service: service.clone(),
        get_enabled,
        time_budget,
        is_loopback,
        origin: Arc::from(origin),
        aliases: Arc::from(aliases),
        started_at: OffsetDateTime::now_utc(),
    };
    Router::new()
        .route("/", get_without_head(generate::root))
        .route("/generate", get_without_head(generate::generate))
        .route("/v1/images", only_methods("GET, HEAD, POST", get(images::list).post(images::create)))
        .route("/v1/images/{id}", only_methods("GET, HEAD, DELETE", get(images::read).delete(images::delete)))
        .route("/v1/images/{id}/content", read_only(get(images::content)))
        .route("/v1/images/{id}/events", read_only(get(events::events)))
        .route("/v1/images/{id}/cancel", only_methods("POST", post(images::cancel)))
        .route("/v1/keys", only_methods("GET, HEAD, POST", get(keys::list).post(keys::create)))
        .route("/v1/keys/{id}", only_methods("GET, HEAD, DELETE", get(keys::read).delete(keys::revoke)))
        .route("/v1/usage", read_only(get(usage::usage)))
        .route("/metrics", read_only(get(usage::metrics)))
        .route("/healthz", read_only(get(health::healthz)))
        .route("/readyz", read_only(get(health::readyz)))
        .merge(openai::routes())
        .merge(openapi::routes())
        .merge(more)
        .fallback(async || Problem::NotFound)
        .with_state(app)
        .layer(DefaultBodyLimit::max(json::MAX_BODY))
        .layer(from_fn_with_state(Arc::new(hosts), host::check_host))
        .layer(from_fn_with_state(service, middleware::wrap_exchange))
}

/// A route that refuses every other method.
fn only_methods(allowed: &'static str, route: MethodRouter<App>) -> MethodRouter<App> {
    route.fallback(async move || Problem::MethodNotAllowed(allowed))
}

/// A route that is only read.
fn read_only(route: MethodRouter<App>) -> MethodRouter<App> {
    only_methods("GET, HEAD", route)
}

/// A route for `GET` without the `HEAD` that comes with it otherwise: whoever only looks must not spend.
fn get_without_head<H, T>(handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    only_methods("GET", get(handler).head(async || Problem::MethodNotAllowed("GET")))
}
