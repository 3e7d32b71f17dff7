//! Work after the response of an event. The runtime requests the next event when this work is done.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lambda_http::lambda_runtime::LambdaInvocation;
use lambda_http::{Error, Service};
use tokio::time::{Instant, timeout_at};
use tower::Layer;

use super::handler::LambdaHandler;

/// Lambda's maximum timeout of a function; used if an event has no deadline.
const MAX_FUNCTION_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// This long before the function's deadline, unfinished jobs are released.
const RELEASE_MARGIN: Duration = Duration::from_secs(3);
/// This long before the function's deadline, the function stops starting queued jobs of other environments.
const PENDING_JOBS_MARGIN: Duration = Duration::from_secs(60);

/// A layer around the handling of an event that adds the work after its response.
#[derive(Clone)]
pub(crate) struct PostResponseLayer {
    handler: Arc<LambdaHandler>,
}

impl PostResponseLayer {
    /// A layer that continues the jobs of this handler's service.
    pub(crate) fn new(handler: Arc<LambdaHandler>) -> Self {
        Self { handler }
    }
}

impl<S> Layer<S> for PostResponseLayer {
    type Service = PostResponseService<S>;

    fn layer(&self, inner: S) -> PostResponseService<S> {
        PostResponseService { inner, handler: self.handler.clone() }
    }
}

/// Handles an event with `inner`, which sends the response, and then continues jobs.
pub(crate) struct PostResponseService<S> {
    inner: S,
    handler: Arc<LambdaHandler>,
}

impl<S> Service<LambdaInvocation> for PostResponseService<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
    S::Future: 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let (respond, handler) = (self.inner.call(event), self.handler.clone());
        Box::pin(async move {
            let received = Instant::now();
            let outcome = respond.await;
            continue_jobs(&handler, received).await;
            outcome
        })
    }
}

/// Waits for running jobs and runs queued ones, until the function's deadline is near.
async fn continue_jobs(handler: &LambdaHandler, received: Instant) {
    let deadline = handler.deadline().unwrap_or(received + MAX_FUNCTION_TIMEOUT);
    let service = &handler.service;
    let jobs = async {
        service.wait_idle().await;
        service.run_pending_jobs(deadline - PENDING_JOBS_MARGIN).await;
        service.wait_idle().await;
    };
    if timeout_at(deadline - RELEASE_MARGIN, jobs).await.is_err() {
        tracing::warn!(
            "timeout of the Lambda function reached before its jobs finished, returning them to the queue"
        );
        let _ = timeout_at(deadline, service.release_jobs()).await;
    }
}
