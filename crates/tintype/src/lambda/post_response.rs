//! What goes on once an answer is out: the next event is asked for when it is over.

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

/// The longest time that Lambda gives a function, for those that do not say how much they give.
const MAX_FUNCTION_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// So long before the function's time is over, what still runs is ended.
const RELEASE_MARGIN: Duration = Duration::from_secs(3);
/// So long before, no work of other environments is begun any more.
const PENDING_JOBS_MARGIN: Duration = Duration::from_secs(60);

/// Wraps the handling of an event, from its arrival until its answer is out, in what comes after that.
#[derive(Clone)]
pub(crate) struct PostResponseLayer {
    handler: Arc<LambdaHandler>,
}

impl PostResponseLayer {
    pub(crate) fn new(handler: Arc<LambdaHandler>) -> Self {
        Self { handler }
    }
}

impl<S> Layer<S> for PostResponseLayer {
    type Service = PostResponseService<S>;

    fn layer(&self, answering: S) -> PostResponseService<S> {
        PostResponseService { answering, handler: self.handler.clone() }
    }
}

/// All that an event is.
pub(crate) struct PostResponseService<S> {
    answering: S,
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
        self.answering.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let (answering, handler) = (self.answering.call(event), self.handler.clone());
        Box::pin(async move {
            let began = Instant::now();
            let answered = answering.await;
            finish(&handler, began).await;
            answered
        })
    }
}

/// Waits for what goes on, as long as the function has time.
async fn finish(handler: &LambdaHandler, began: Instant) {
    let over = handler.deadline().unwrap_or(began + MAX_FUNCTION_TIMEOUT);
    let service = &handler.service;
    let in_time = async {
        service.idle().await;
        service.run_pending_jobs(over - PENDING_JOBS_MARGIN).await;
        service.idle().await;
    };
    if timeout_at(over - RELEASE_MARGIN, in_time).await.is_err() {
        tracing::warn!("the function's time is over before its work is done");
        let _ = timeout_at(over, service.release_jobs()).await;
    }
}
