//! The function: the same API, asked by Lambda's events.
//!
//! Lambda answers the client as soon as it has the function's answer, and freezes the process when that asks for the next
//! event. So a picture that is not ready in time is answered `202` and goes on being made in the same environment; the next
//! event is asked for once it is done, or the function's time is over. Nothing is invoked a second time.
//!
//! AWS's own runtimes are made for that: `lambda_runtime::Runtime::layer` is for logic "after the response has been sent back to
//! the Lambda Runtime API", and the one for Swift (its pull request 334) keeps the environment running between `/response` and
//! `/next`, as described in "Running code after returning a response from an AWS Lambda function" (AWS Compute Blog). AWS's
//! emulator hands the answer on at `/next` only, so no test here shows when a real gateway's client has it.

mod event;
mod handler;
mod post_response;
mod response;

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use lambda_http::{Request, lambda_runtime, service_fn};
use tintype_core::store::ObjectStore;
use tintype_service::{AnonymousAccess, Service, ServiceSettings};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, LambdaResponse, LedgerChoice, StoreChoice};
use crate::output::UsageError;
use crate::{engine, ledger, logging, serve, store};

use handler::LambdaHandler;
use post_response::PostResponseLayer;

/// Answers Lambda's events until Lambda ends the process.
///
/// # Errors
/// When the settings are none for a function, or the Runtime API cannot be reached.
pub(crate) fn run(config: &Config) -> Result<()> {
    logging::start(&config.log, None);
    // One event at a time: more threads would only take time to start.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = events(config) => ended,
            // Nothing is worked on between two events, and during one nobody sends this.
            _ = terminate.recv() => Ok(()),
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn events(config: &Config) -> Result<()> {
    let store = store(config)?;
    let settings = service_settings(config)?;
    let service = Service::new(settings, store.clone(), ledger::bucket(store.clone()));
    load_model(config.clone(), store, service.clone())?;
    let handler = Arc::new(LambdaHandler::new(service, &config.serving));
    let afterwards = PostResponseLayer::new(handler.clone());
    let ended = match config.serving.lambda_response {
        LambdaResponse::Buffered => {
            let handler = service_fn(move |event: Request| {
                let handler = handler.clone();
                async move { Ok::<_, Infallible>(handler.buffered_response(event).await) }
            });
            lambda_http::runtime(handler).layer(afterwards).run().await
        }
        LambdaResponse::Stream => {
            let handler = service_fn(move |event: Request| {
                let handler = handler.clone();
                async move { Ok::<_, Infallible>(handler.response(event).await) }
            });
            lambda_http::streaming_runtime(handler).layer(afterwards).run().await
        }
    };
    ended.map_err(|error: lambda_runtime::Error| anyhow!(error)).context("the Runtime API went away")
}

/// Nothing is asked of it here: the first event does.
fn store(config: &Config) -> Result<Arc<dyn ObjectStore>> {
    let StoreChoice::S3 { bucket, prefix } = &config.store.choice else {
        return Err(
            UsageError("a function has no disk that lasts: set TINTYPE_STORE to s3://BUCKET".into()).into()
        );
    };
    Ok(Arc::new(store::s3(&config.store.s3, bucket, prefix)?))
}

fn service_settings(config: &Config) -> Result<ServiceSettings> {
    if config.ledger.choice != LedgerChoice::Bucket {
        return Err(
            UsageError("a function has no disk that lasts: TINTYPE_LEDGER must be bucket".into()).into()
        );
    }
    let anonymous =
        if config.serving.allow_anonymous { AnonymousAccess::Public } else { AnonymousAccess::Denied };
    Ok(ServiceSettings {
        anonymous,
        single_process: false,
        serverless: true,
        ..serve::service_settings(config)
    })
}

/// Loads the model beside everything else: an event waits for it.
fn load_model(config: Config, store: Arc<dyn ObjectStore>, service: Arc<Service>) -> Result<()> {
    let load = move || match engine::load(&config.model, || store::results(&config, store)) {
        Ok(engine) => service.engine_ready(engine),
        Err(error) => service.engine_failed(format!("{error:#}")),
    };
    std::thread::Builder::new().name("load-model".to_owned()).spawn(load)?;
    Ok(())
}
