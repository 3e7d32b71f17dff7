//! An engine whose work others do, who go on with it whatever becomes of the engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tintype_core::engine::{
    Engine, EngineError, Generated, ModelCard, Observer, Progress, RemoteJobStatus, RemoteJobs,
};
use tintype_core::request::GenerateRequest;
use tokio::time::Instant;

use crate::null_engine::NullEngine;

/// Those who do the work: engines of several processes give it to the same ones.
#[derive(Debug)]
pub struct Others {
    takes: Duration,
    given: Mutex<Vec<(Instant, Arc<GenerateRequest>)>>,
    looks: AtomicU64,
}

impl Others {
    /// They take so long for a request, and work on all at once.
    pub fn new(takes: Duration) -> Arc<Self> {
        Arc::new(Self { takes, given: Mutex::default(), looks: AtomicU64::new(0) })
    }

    /// How many requests they were given.
    pub fn given(&self) -> usize {
        self.work().len()
    }

    /// How often they were asked for a result.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    fn work(&self) -> MutexGuard<'_, Vec<(Instant, Arc<GenerateRequest>)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives its work to [`Others`], who do it as this [`NullEngine`] would, its faults included.
#[derive(Debug)]
pub struct RemoteJobsEngine {
    others: Arc<Others>,
    how: NullEngine,
}

impl RemoteJobsEngine {
    /// An engine of one more process.
    pub fn new(others: Arc<Others>, how: NullEngine) -> Self {
        Self { others, how: how.paid() }
    }
}

#[async_trait]
impl Engine for RemoteJobsEngine {
    fn model(&self) -> &ModelCard {
        self.how.model()
    }

    fn slots(&self) -> usize {
        self.how.slots()
    }

    fn repeatable(&self) -> bool {
        false
    }

    fn remote_jobs(&self) -> Option<&dyn RemoteJobs> {
        Some(self)
    }

    fn memory_needed(&self, _: &GenerateRequest) -> u64 {
        0
    }

    async fn generate(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<Generated, EngineError> {
        let receipt = self.submit(request, observer).await?;
        tokio::time::sleep(self.others.takes).await;
        match self.poll(&receipt).await {
            RemoteJobStatus::Succeeded(generated) => Ok(generated),
            RemoteJobStatus::Failed { error, .. } => Err(error),
            RemoteJobStatus::Pending => unreachable!("it was slept for as long as it takes"),
        }
    }
}

#[async_trait]
impl RemoteJobs for RemoteJobsEngine {
    async fn submit(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<String, EngineError> {
        if observer.is_abandoned() {
            return Err(EngineError::Abandoned);
        }
        observer.progress(Progress::Started);
        let mut work = self.others.work();
        work.push((Instant::now(), request));
        Ok((work.len() - 1).to_string())
    }

    async fn poll(&self, receipt: &str) -> RemoteJobStatus {
        self.others.looks.fetch_add(1, Ordering::SeqCst);
        let number: usize = receipt.parse().expect("a receipt of theirs");
        let (since, request) = self.others.work().get(number).cloned().expect("a receipt of theirs");
        if since.elapsed() < self.others.takes {
            return RemoteJobStatus::Pending;
        }
        let engine_seconds = self.others.takes.as_secs_f64();
        match self.how.generate(request, Arc::new(Patient)).await {
            Ok(generated) => RemoteJobStatus::Succeeded(Generated { engine_seconds, ..generated }),
            Err(error) => RemoteJobStatus::Failed { error, engine_seconds },
        }
    }
}

/// Does not watch, and never gives up.
struct Patient;

impl Observer for Patient {
    fn progress(&self, _: Progress) {}

    fn is_abandoned(&self) -> bool {
        false
    }
}
