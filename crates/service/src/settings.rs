//! The operator's settings of the service.

use std::time::Duration;

use tintype_ledger::money::Price;

use crate::models::{ModelLimits, ModelSettings};

/// Whether requests without an API key are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonymousAccess {
    /// Requests without a key are rejected.
    Denied,
    /// Requests without a key have the rights of the machine's user.
    Trusted,
    /// Requests without a key can generate images and read jobs by id, but cannot list, cancel or delete
    /// jobs.
    Public,
}

/// Which processes use the ledger, and when they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// No other process uses the ledger. Jobs that are running in the ledger at the start are lost, and clients can
    /// wait only in this process.
    SingleProcess,
    /// Other processes may use the ledger: they run each other's jobs and recover the jobs of a process that died.
    Cluster,
    /// Other processes may use the ledger, and each is frozen between requests (AWS Lambda). It runs the jobs that it
    /// accepts, and other processes' jobs only in [`run_pending_jobs`](crate::Service::run_pending_jobs).
    Serverless,
}

/// The operator's settings of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Maximum number of queued requests whose client waits, in addition to the running ones.
    pub queue: usize,
    /// Maximum number of queued detached jobs per owner; ten times as many in total.
    pub backlog: u32,
    /// Maximum number of event streams of one job, besides the clients that wait for it.
    pub watchers_per_job: usize,
    /// Maximum number of event streams of all jobs of one owner.
    pub watchers_per_owner: usize,
    /// How long a job without clients continues, so that a retry can rejoin it.
    pub abandon_after: Duration,
    /// Maximum pixels per image of the model of [`Service::new`](crate::Service::new); the model's own limit if
    /// `None`.
    pub max_pixels: Option<u64>,
    /// Maximum `width × height × steps × n` of that model; the model's own limit if `None`.
    pub max_work: Option<u64>,
    /// Maximum bytes of memory that all running requests together use beyond the model's weights; unlimited
    /// if `None`.
    pub max_memory: Option<u64>,
    /// Maximum engine time of a job. It is also the reservation for a job as long as no job has been
    /// measured.
    pub max_job: Duration,
    /// The price of that model.
    pub price: Option<Price>,
    /// Maximum bytes of the weights of all loaded models; unlimited if `None`.
    pub models_memory: Option<u64>,
    /// How long records of finished jobs are kept; forever if `None`.
    pub keep_jobs: Option<Duration>,
    /// Whether the prompts of accepted jobs are logged.
    pub log_prompts: bool,
    /// How requests without an API key are handled.
    pub anonymous: AnonymousAccess,
    /// Which processes use the ledger.
    pub topology: Topology,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            queue: 32,
            backlog: 10_000,
            watchers_per_job: 100,
            watchers_per_owner: 1000,
            abandon_after: Duration::from_secs(10),
            max_pixels: None,
            max_work: None,
            max_memory: None,
            max_job: Duration::from_secs(600),
            price: None,
            models_memory: None,
            keep_jobs: None,
            log_prompts: false,
            anonymous: AnonymousAccess::Trusted,
            topology: Topology::SingleProcess,
        }
    }
}

impl ServiceSettings {
    /// The settings of the only model of a service.
    pub fn only_model(&self) -> ModelSettings {
        let limits =
            ModelLimits { max_pixels: self.max_pixels, max_work: self.max_work, ..ModelLimits::default() };
        ModelSettings { price: self.price, limits, ..ModelSettings::default() }
    }
}
