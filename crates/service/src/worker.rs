//! Takes jobs from the queue, one at a time per slot of the engine.

use std::sync::Arc;

use tintype_core::engine::{Engine, EngineError, Generated};
use tintype_core::store::ObjectStore;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::ServiceError;
use crate::job::{Job, State};
use crate::keep;
use crate::queue::Queue;

/// What a worker works with.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) queue: Arc<Queue>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Pictures of so many jobs may be on their way into the store while the engine goes on; a slow store slows the
    /// engine down instead of filling the memory.
    pub(crate) storing: Arc<Semaphore>,
}

impl Worker {
    /// Works until the queue is closed.
    pub(crate) async fn run(self) {
        while let Some(job) = self.queue.next().await {
            let span = job.span.clone();
            self.work(job).instrument(span).await;
        }
    }

    async fn work(&self, job: Arc<Job>) {
        let began = Instant::now();
        // A task of its own, so that an engine that panics takes neither the worker nor those who wait with it.
        let (engine, request, observer) = (self.engine.clone(), job.request.clone(), job.clone());
        let task = async move { engine.generate(request, observer).await };
        let generated = match tokio::spawn(task.in_current_span()).await {
            Ok(generated) => generated.and_then(|generated| complete(generated, job.request.n)),
            Err(panicked) => Err(EngineError::Failed(Box::new(panicked))),
        };
        self.queue.left_engine(generated.is_ok().then(|| began.elapsed()));
        match generated {
            Err(error) => self.end(&job, State::Failed(error.into())),
            Ok(generated) => self.store(job, generated).await,
        }
    }

    async fn store(&self, job: Arc<Job>, generated: Generated) {
        job.advance(State::Storing);
        let permit = self.storing.clone().acquire_owned().await;
        let this = self.clone();
        let task = async move {
            let (store, model) = (this.store.clone(), this.engine.model().name.clone());
            let kept = keep::keep(store, model, job.clone(), generated);
            let end = match tokio::spawn(kept.in_current_span()).await {
                Ok(Ok(made)) => State::Succeeded(Arc::new(made)),
                Ok(Err(error)) => State::Failed(error),
                Err(panicked) => State::Failed(panicked.into()),
            };
            this.end(&job, end);
            drop(permit);
        };
        tokio::spawn(task.in_current_span());
    }

    fn end(&self, job: &Arc<Job>, end: State) {
        match &end {
            State::Succeeded(made) => {
                tracing::info!(job = %job.id, engine_seconds = made.engine_seconds, "pictures stored");
            }
            State::Failed(ServiceError::Abandoned) => {
                tracing::info!(job = %job.id, "stopped: nobody waits for it");
            }
            // Whoever waits is told and logs it; without anybody this is the only trace.
            State::Failed(error) if !job.is_wanted() => {
                tracing::error!(job = %job.id, error = error as &dyn std::error::Error, "work failed that nobody waits for");
            }
            _ => {}
        }
        self.queue.end(job, end);
    }
}

/// An engine that returns another number of pictures than was asked for is broken.
fn complete(generated: Generated, asked: u32) -> Result<Generated, EngineError> {
    let made = generated.pictures.len();
    if made == asked as usize {
        return Ok(generated);
    }
    Err(EngineError::Failed(format!("{asked} pictures were asked for and {made} made").into()))
}
