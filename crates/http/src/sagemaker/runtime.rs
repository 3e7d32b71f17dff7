//! The Runtime API's paths, for clients that sign their requests with the embedded store's access key.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use time::OffsetDateTime;
use tintype_core::store::ObjectStore;
use tintype_sagemaker::sigv4::{AccessKeys, Claim, Received};
use tintype_sagemaker::wire::{ERROR_TYPE, Failure, JSON, MAX_BODY, header};
use tintype_service::Service;
use tokio::time::timeout;
use uuid::Uuid;

use super::asynchronous;
use super::invoke::{self, Execution};
use crate::App;
use crate::json::BODY_TIMEOUT;
use crate::problem::Problem;

/// The variant that every endpoint has unless it was given others.
const VARIANT: &str = "AllTraffic";
/// SageMaker's name for a request, which its clients show in their errors.
const REQUEST_ID: &str = "x-amzn-requestid";

/// Finds a bucket by its name.
pub type Buckets = Arc<dyn Fn(&str) -> Option<Arc<dyn ObjectStore>> + Send + Sync>;

/// Who may call the Runtime API's paths, and where asynchronous results go. Every endpoint's name stands for the one model.
#[derive(Clone)]
pub struct RuntimeApi {
    /// Requests signed with these are let in.
    pub keys: AccessKeys,
    /// The host that clients sign for, where a proxy may send another.
    pub host: Option<HeaderValue>,
    /// The bucket in which asynchronous requests and their results are kept.
    pub bucket: String,
    /// That bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Every bucket that an asynchronous request's input may be in.
    pub buckets: Buckets,
}

impl RuntimeApi {
    /// Takes up the asynchronous invocations that were accepted before this start, and not answered.
    pub async fn resume(&self, service: &Arc<Service>) {
        asynchronous::resume(self, service).await;
    }
}

/// The routes, for the router with that state.
pub(crate) fn routes(api: RuntimeApi) -> Router<App> {
    let api = Arc::new(api);
    let real_time = api.clone();
    let asynchronous = api;
    Router::new()
        .route(
            "/endpoints/{name}/invocations",
            post_only(post(async move |service, request| invoke(&real_time, service, request).await)),
        )
        .route(
            "/endpoints/{name}/async-invocations",
            post_only(post(async move |service, request| {
                invoke_async(&asynchronous, service, request).await
            })),
        )
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

fn post_only(route: MethodRouter<App>) -> MethodRouter<App> {
    route.fallback(async || Problem::MethodNotAllowed("POST"))
}

async fn invoke(
    api: &RuntimeApi,
    axum::extract::State(app): axum::extract::State<App>,
    request: Request,
) -> Response {
    let answered = async {
        let (headers, body) = signed(api, request, &app).await?;
        invoke::respond(&app.service, invoke::types(&headers), &body, Execution::Attended)
            .await
            .map_err(|problem| problem.failure())
    };
    match answered.await {
        Ok(answer) => {
            let headers = [(CONTENT_TYPE.as_str(), JSON), (header::INVOKED_VARIANT, VARIANT)];
            with_request_id((headers, answer).into_response())
        }
        Err(failure) => error_response(&failure),
    }
}

async fn invoke_async(
    api: &RuntimeApi,
    axum::extract::State(app): axum::extract::State<App>,
    request: Request,
) -> Response {
    let accepted = async {
        let (headers, body) = signed(api, request, &app).await?;
        asynchronous::accept(api, &app.service, &headers, body).await
    };
    match accepted.await {
        Ok(response) => with_request_id(response),
        Err(failure) => error_response(&failure),
    }
}

/// Reads a request whose signature is genuine. One of unknown origin is turned away before its body is read.
async fn signed(api: &RuntimeApi, mut request: Request, app: &App) -> Result<(HeaderMap, Bytes), Failure> {
    // HTTP/2 has the host in the URI.
    let sent = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = api.host.clone().or(sent) {
        request.headers_mut().insert(HOST, host);
    }
    let claim = Claim::read(request.headers(), &api.keys, OffsetDateTime::now_utc())?;
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, app)).await;
    let body =
        body.map_err(|_| Failure::Validation("The body did not come in time.".into()))?.map_err(|error| {
            match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    Failure::Validation(format!("The body is longer than {MAX_BODY} bytes."))
                }
                _ => Failure::Validation("The body broke off before its end.".into()),
            }
        })?;
    claim.verify(&Received { method: method.as_str(), target: &target, headers: &headers, body: &body })?;
    Ok((headers, body))
}

fn error_response(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(CONTENT_TYPE.as_str(), JSON), (ERROR_TYPE, failure.code())];
    with_request_id((status, headers, failure.body()).into_response())
}

/// With a name under which SageMaker's clients show it.
fn with_request_id(mut response: Response) -> Response {
    let id = Uuid::now_v7().to_string();
    if let Ok(id) = id.parse() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
