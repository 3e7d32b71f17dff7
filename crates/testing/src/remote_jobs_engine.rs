//! An engine with remote jobs, which continue without the engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tintype_core::engine::{
    Engine, EngineError, EngineInfo, Generated, Observer, Progress, RemoteJobStatus, RemoteJobs,
};
use tintype_core::request::GenerateRequest;
use tokio::time::Instant;

use crate::null_engine::NullEngine;

/// The simulated remote service. The engines of several processes can share one.
#[derive(Debug)]
pub struct RemoteService {
    job_duration: Duration,
    jobs: Mutex<Vec<RemoteJob>>,
    polls: AtomicU64,
}

#[derive(Clone, Debug)]
struct RemoteJob {
    submitted_at: Instant,
    request: Arc<GenerateRequest>,
}

impl RemoteService {
    /// A service that works on all jobs at once and takes `job_duration` for each.
    pub fn new(job_duration: Duration) -> Arc<Self> {
        Arc::new(Self { job_duration, jobs: Mutex::default(), polls: AtomicU64::new(0) })
    }

    /// Number of jobs submitted so far.
    pub fn submitted(&self) -> usize {
        self.jobs().len()
    }

    /// Number of polls so far, over all jobs.
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::SeqCst)
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<RemoteJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Submits requests to a [`RemoteService`]. The results, faults included, are those of a [`NullEngine`].
#[derive(Debug)]
pub struct RemoteJobsEngine {
    service: Arc<RemoteService>,
    results: NullEngine,
}

impl RemoteJobsEngine {
    /// An engine that uses this service.
    pub fn new(service: Arc<RemoteService>, results: NullEngine) -> Self {
        Self { service, results: results.paid() }
    }
}

#[async_trait]
impl Engine for RemoteJobsEngine {
    fn info(&self) -> &EngineInfo {
        self.results.info()
    }

    fn remote_jobs(&self) -> Option<&dyn RemoteJobs> {
        Some(self)
    }

    async fn generate(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<Generated, EngineError> {
        let receipt = self.submit(request, observer).await?;
        tokio::time::sleep(self.service.job_duration).await;
        match self.poll(&receipt).await {
            RemoteJobStatus::Succeeded(generated) => Ok(generated),
            RemoteJobStatus::Failed { error, .. } => Err(error),
            RemoteJobStatus::Pending => unreachable!("the job's duration has passed"),
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
        let mut jobs = self.service.jobs();
        jobs.push(RemoteJob { submitted_at: Instant::now(), request });
        Ok((jobs.len() - 1).to_string())
    }

    async fn poll(&self, receipt: &str) -> RemoteJobStatus {
        self.service.polls.fetch_add(1, Ordering::SeqCst);
        let index: usize = receipt.parse().expect("a receipt of this service");
        let job = self.service.jobs().get(index).cloned().expect("a receipt of this service");
        if job.submitted_at.elapsed() < self.service.job_duration {
            return RemoteJobStatus::Pending;
        }
        let engine_seconds = self.service.job_duration.as_secs_f64();
        match self.results.generate(job.request, Arc::new(NoObserver)).await {
            Ok(generated) => RemoteJobStatus::Succeeded(Generated { engine_seconds, ..generated }),
            Err(error) => RemoteJobStatus::Failed { error, engine_seconds },
        }
    }
}

/// Ignores progress and never abandons.
struct NoObserver;

impl Observer for NoObserver {
    fn progress(&self, _: Progress) {}

    fn is_abandoned(&self) -> bool {
        false
    }
}
