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

use super::handler::Front;

/// The longest time that Lambda gives a function, for those that do not say how much they give.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// So long before the function's time is over, what still runs is ended.
const PUT_AWAY: Duration = Duration::from_secs(3);
/// So long before, no work of other environments is begun any more.
const HELP: Duration = Duration::from_secs(60);

/// Wraps the handling of an event, from its arrival until its answer is out, in what comes after that.
#[derive(Clone)]
pub(crate) struct Afterwards {
    front: Arc<Front>,
}

impl Afterwards {
    pub(crate) fn new(front: Arc<Front>) -> Self {
        Self { front }
    }
}

impl<S> Layer<S> for Afterwards {
    type Service = Whole<S>;

    fn layer(&self, answering: S) -> Whole<S> {
        Whole { answering, front: self.front.clone() }
    }
}

/// All that an event is.
pub(crate) struct Whole<S> {
    answering: S,
    front: Arc<Front>,
}

impl<S> Service<LambdaInvocation> for Whole<S>
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
        let (answering, front) = (self.answering.call(event), self.front.clone());
        Box::pin(async move {
            let began = Instant::now();
            let answered = answering.await;
            finish(&front, began).await;
            answered
        })
    }
}

/// Waits for what goes on, as long as the function has time.
async fn finish(front: &Front, began: Instant) {
    let over = front.deadline().unwrap_or(began + LONGEST);
    let service = &front.service;
    let in_time = async {
        service.wait_idle().await;
        service.run_pending_jobs(over - HELP).await;
        service.wait_idle().await;
    };
    if timeout_at(over - PUT_AWAY, in_time).await.is_err() {
        tracing::warn!("the function's time is over before its work is done");
        let _ = timeout_at(over, service.release_jobs()).await;
    }
}
