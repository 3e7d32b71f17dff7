//! `tintype lambda`: the API as an AWS Lambda function.
//!
//! Lambda sends the function's response to the client immediately, and freezes the process when the process
//! requests the next event. So the function responds `202` if the images are not ready in time, and
//! continues the job in the same environment. It requests the next event after the job has finished or the
//! function's time is over. No second invocation is needed.
//!
//! AWS's own runtimes support this: `lambda_runtime::Runtime::layer` is for logic "after the response has
//! been sent back to the Lambda Runtime API", and the runtime for Swift (its pull request 334) keeps the
//! environment running between `/response` and `/next`, as described in "Running code after returning a
//! response from an AWS Lambda function" (AWS Compute Blog). AWS's emulator sends the response to the client
//! at `/next` only, so the tests cannot show when the client of a real gateway gets it.

mod event;
mod handler;
mod payload;
mod post_response;
mod response;

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use lambda_http::lambda_runtime::LambdaEvent;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Request, StreamAdapter, lambda_runtime, service_fn};
use serde_json::Value;
use tintype_core::store::ObjectStore;
use tintype_service::{AnonymousAccess, LoadFailure, Service, ServiceSettings, Topology};
use tokio::signal::unix::{SignalKind, signal};
use tower::Service as TowerService;

use crate::config::{Config, LambdaResponse, LedgerChoice, StoreChoice};
use crate::output::UsageError;
use crate::{engine, ledger, logging, serve, store};

use handler::LambdaHandler;
use payload::EventError;
use post_response::PostResponseLayer;

/// Handles Lambda events until Lambda ends the process.
///
/// # Errors
/// If the settings are not valid for a function, or the Runtime API cannot be reached.
pub(crate) fn run(config: &Config) -> Result<()> {
    logging::start(&config.log, None);
    // Lambda sends one event at a time, so more threads would only slow down the start.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = handle_events(config) => ended,
            // Lambda sends SIGTERM between events only, when no job is running.
            _ = terminate.recv() => Ok(()),
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn handle_events(config: &Config) -> Result<()> {
    let store = store(config)?;
    let settings = service_settings(config)?;
    let service = start_service(config, settings, store);
    let handler = Arc::new(LambdaHandler::new(service, &config.serving));
    let post_response = PostResponseLayer::new(handler.clone());
    let ended = match config.serving.lambda_response {
        LambdaResponse::Buffered => {
            let service = service_fn(move |event: Request| {
                let handler = handler.clone();
                async move { Ok::<_, Infallible>(handler.buffered_response(event).await) }
            });
            let service = checked_events(move |event| Adapter::from(service.clone()).call(event));
            lambda_runtime::Runtime::new(service).layer(post_response).run().await
        }
        LambdaResponse::Stream => {
            let service = service_fn(move |event: Request| {
                let handler = handler.clone();
                async move { Ok::<_, Infallible>(handler.response(event).await) }
            });
            let service = checked_events(move |event| StreamAdapter::from(service.clone()).call(event));
            lambda_runtime::Runtime::new(service).layer(post_response).run().await
        }
    };
    ended
        .map_err(|error: lambda_runtime::Error| anyhow!(error))
        .context("lost the connection to the Lambda Runtime API")
}

/// Passes the requests of supported gateways to `respond`. The result for all other events is an error of the
/// function.
fn checked_events<F, T, R>(
    mut respond: F,
) -> impl TowerService<LambdaEvent<Value>, Response = R, Error = EventError, Future: Send> + Send
where
    F: FnMut(LambdaEvent<LambdaRequest>) -> T + Send,
    T: Future<Output = Result<R, Infallible>> + Send,
    R: Send,
{
    service_fn(move |event: LambdaEvent<Value>| {
        let LambdaEvent { payload, context } = event;
        let response = payload::read(payload).map(|request| respond(LambdaEvent::new(request, context)));
        async move {
            // The runtime logs the error.
            Ok(response?.await.unwrap_or_else(|never| match never {}))
        }
    })
}

/// The store. Makes no request to it; the first event does.
fn store(config: &Config) -> Result<Arc<dyn ObjectStore>> {
    let StoreChoice::S3 { bucket, prefix } = &config.store.choice else {
        return Err(
            UsageError("AWS Lambda has no persistent disk: set TINTYPE_STORE to s3://BUCKET".into()).into()
        );
    };
    Ok(Arc::new(store::s3(&config.store.s3, bucket, prefix)?))
}

fn service_settings(config: &Config) -> Result<ServiceSettings> {
    if config.ledger.choice != LedgerChoice::Bucket {
        return Err(
            UsageError("AWS Lambda has no persistent disk: TINTYPE_LEDGER must be bucket".into()).into()
        );
    }
    let anonymous =
        if config.serving.allow_anonymous { AnonymousAccess::Public } else { AnonymousAccess::Denied };
    Ok(ServiceSettings { anonymous, topology: Topology::Serverless, ..serve::service_settings(config) })
}

/// Starts to load the models. The first event waits for them.
fn start_service(config: &Config, settings: ServiceSettings, store: Arc<dyn ObjectStore>) -> Arc<Service> {
    let (results_config, results_store) = (config.clone(), store.clone());
    let results = move || store::results(&results_config, results_store.clone());
    let models = engine::specs(config, Arc::new(results));
    let service = Service::with_models(settings, models, store.clone(), ledger::bucket(store));
    let failures = service.start_loading();
    tokio::spawn(async move {
        for LoadFailure { model, error } in failures.await.unwrap_or_default() {
            tracing::error!(model, error, "failed to load model");
        }
    });
    service
}
