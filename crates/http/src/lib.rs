//! HTTP in front of the service: the router, the dialects, and which error has which status.
//!
//! Handlers return what they mean; `problem` is the only place where a status code is chosen for an error, and
//! `envelope` the only one where request ids, headers and log lines are added.

mod envelope;
mod fence;
mod generate;
mod health;
mod host;
mod problem;
mod query;
mod request_id;
mod reserved;

use std::sync::Arc;

use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get};
use axum::{Router, handler::Handler};
use tintype_service::Service;

pub use host::HostPolicy;
pub use reserved::RESERVED;

use problem::Problem;

/// What an operator decides about the HTTP interface.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Whether `GET /generate` (and `/?prompt=`) makes pictures.
    pub get_enabled: bool,
    /// Which `Host` a request may be for.
    pub hosts: HostPolicy,
}

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct App {
    service: Arc<Service>,
    get_enabled: bool,
}

/// The whole API.
pub fn router(service: Arc<Service>, settings: HttpSettings) -> Router {
    let app = App { service, get_enabled: settings.get_enabled };
    Router::new()
        .route("/", get_only(generate::root))
        .route("/generate", get_only(generate::generate))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed("GET, HEAD"))
        .fallback(async || Problem::NotFound)
        .with_state(app)
        .layer(from_fn_with_state(Arc::new(settings.hosts), host::check))
        .layer(from_fn(envelope::envelope))
}

/// A route for `GET` without the `HEAD` that comes with it otherwise: whoever only looks must not spend.
fn get_only<H, T>(handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    let refuse = async || Problem::MethodNotAllowed("GET");
    get(handler).head(refuse).fallback(refuse)
}
