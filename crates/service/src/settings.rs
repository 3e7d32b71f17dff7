//! What an operator decides about the service.

use std::time::Duration;

use tintype_core::engine::ModelCard;
use tintype_core::request::RequestLimits;
use tintype_ledger::money::Amount;

/// Whether somebody without a key is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonymousAccess {
    /// No.
    Denied,
    /// Yes, as the one whose machine this is.
    Trusted,
    /// Yes, as anybody: may have pictures made, and see what it knows the id of, but not list, stop or delete anything.
    Public,
}

/// The operator's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// How many requests may wait, with a client that waits too, beyond those that an engine works on.
    pub queue: usize,
    /// How many jobs of one owner may wait that nobody has to wait for; ten times as many of all owners.
    pub backlog: u32,
    /// How long work goes on that nobody waits for, in case a retry joins it.
    pub abandon_after: Duration,
    /// Most pixels in one picture; the model's own limit if absent.
    pub max_pixels: Option<u64>,
    /// Most `width × height × steps × n`; the model's own limit if absent.
    pub max_work: Option<u64>,
    /// Bytes that all requests in the engine together may use beyond the model's weights; unlimited if absent.
    pub max_memory: Option<u64>,
    /// Engine time that a job may take, and what is reserved for one as long as none has been measured.
    pub max_job: Duration,
    /// What a second of engine time costs, if it costs anything.
    pub price: Option<Amount>,
    /// How long jobs are kept once they have ended; for ever if absent.
    pub keep_jobs: Option<Duration>,
    /// Write the prompts of accepted jobs to the log.
    pub log_prompts: bool,
    /// Whether requests without a key are served.
    pub anonymous: AnonymousAccess,
    /// No other process works on the jobs of this ledger: what runs in it as this one starts is lost, and what nobody
    /// here waits for nobody waits for.
    pub single_process: bool,
    /// This process is frozen between two requests, and not sole. It works on the jobs that it accepts as it accepts them, and on
    /// others' only in [`run_pending_jobs`](crate::Service::lend_a_hand).
    pub serverless: bool,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            queue: 32,
            backlog: 10_000,
            abandon_after: Duration::from_secs(10),
            max_pixels: None,
            max_work: None,
            max_memory: None,
            max_job: Duration::from_secs(600),
            price: None,
            keep_jobs: None,
            log_prompts: false,
            anonymous: AnonymousAccess::Trusted,
            single_process: true,
            serverless: false,
        }
    }
}

impl ServiceSettings {
    /// The limits that requests for this model are held to.
    pub(crate) fn limits(&self, model: &ModelCard) -> RequestLimits {
        let own = RequestLimits::for_model(model);
        RequestLimits {
            max_pixels: self.max_pixels.unwrap_or(own.max_pixels),
            max_work: self.max_work.unwrap_or(own.max_work),
        }
    }
}
