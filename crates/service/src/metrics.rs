//! What is counted, in Prometheus' words. No prompt and no secret is ever a label.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tintype_ledger::Load;
use tintype_ledger::id::KeyId;
use tintype_ledger::job::{JobRecord, Status};
use tintype_ledger::limits::{Limit, LimitExceeded};

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::image::ServedFrom;
use crate::service::Service;
use crate::settings::AnonymousAccess;

type Labelled<L> = Family<L, Counter>;
type Seconds = Counter<f64, AtomicU64>;

/// An HTTP exchange, for counting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpExchange {
    /// The method.
    pub method: String,
    /// The route's pattern, never the path itself.
    pub route: String,
    /// The answer's status.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    status: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedBy {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKey {
    key: String,
    name: String,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    exchanges: Labelled<HttpExchange>,
    exchange_seconds: Family<HttpExchange, Histogram>,
    answered: Labelled<Answered>,
    refused: Labelled<RefusedBy>,
    generations: Counter,
    pictures: Counter,
    ended: Labelled<Ended>,
    engine_seconds: Family<OfKey, Seconds>,
    wait_seconds: Histogram,
    step_seconds: Histogram,
    queued: Gauge,
    running: Gauge,
    /// Names of the keys that were seen.
    names: Mutex<HashMap<KeyId, String>>,
}

/// The upper bounds of what is measured in seconds: from an answer out of the ledger to the longest job.
const SECONDS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0,
    600.0,
];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("tintype"),
            exchanges: Family::default(),
            exchange_seconds: Family::new_with_constructor(seconds),
            answered: Family::default(),
            refused: Family::default(),
            generations: Counter::default(),
            pictures: Counter::default(),
            ended: Family::default(),
            engine_seconds: Family::default(),
            wait_seconds: seconds(),
            step_seconds: seconds(),
            queued: Gauge::default(),
            running: Gauge::default(),
            names: Mutex::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register("http_requests", "HTTP requests answered", self.exchanges.clone());
        r.register_with_unit(
            "http_request",
            "Time to the answer's head",
            Unit::Seconds,
            self.exchange_seconds.clone(),
        );
        r.register("orders", "Orders let in, by how they were answered", self.answered.clone());
        r.register("refused", "Orders not let in, by limit", self.refused.clone());
        r.register("generations", "Jobs that the engine made pictures for", self.generations.clone());
        r.register("pictures", "Pictures that the engine made", self.pictures.clone());
        r.register("jobs_ended", "Jobs that ended, by how", self.ended.clone());
        r.register_with_unit("engine", "Engine time charged", Unit::Seconds, self.engine_seconds.clone());
        r.register_with_unit(
            "queue_wait",
            "Time from acceptance to a worker",
            Unit::Seconds,
            self.wait_seconds.clone(),
        );
        r.register_with_unit(
            "step",
            "Engine time per denoising step",
            Unit::Seconds,
            self.step_seconds.clone(),
        );
        r.register("jobs_queued", "Jobs that wait for a worker", self.queued.clone());
        r.register("jobs_running", "Jobs in a worker's hands", self.running.clone());
        self
    }

    pub(crate) fn answered(&self, source: ServedFrom, caller: &Caller) {
        self.answered.get_or_create(&Answered { source: source.name() }).inc();
        if !self.knows(&caller.key) {
            self.name(&caller.key, &caller.name);
        }
    }

    /// Whether a key's name is known.
    pub(crate) fn knows(&self, key: &KeyId) -> bool {
        self.names().contains_key(key)
    }

    /// Learns a key's name.
    pub(crate) fn name(&self, key: &KeyId, name: &str) {
        self.names().insert(key.clone(), name.to_owned());
    }

    fn names(&self) -> MutexGuard<'_, HashMap<KeyId, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refused(&self, refused: &LimitExceeded) {
        let limit = match refused.limit {
            Limit::Rate(_) => "rate",
            Limit::Concurrency(_) => "concurrency",
            Limit::Budget(_) => "budget",
        };
        self.refused.get_or_create(&RefusedBy { limit }).inc();
    }

    pub(crate) fn queue_full(&self) {
        self.refused.get_or_create(&RefusedBy { limit: "queue" }).inc();
    }

    pub(crate) fn waited(&self, waited: time::Duration) {
        self.wait_seconds.observe(waited.as_seconds_f64().max(0.0));
    }

    pub(crate) fn generated(&self, pictures: usize, steps: u32, took: Duration) {
        self.generations.inc();
        self.pictures.inc_by(pictures as u64);
        let all = f64::from(steps.max(1)) * pictures.max(1) as f64;
        self.step_seconds.observe(took.as_secs_f64() / all);
    }

    pub(crate) fn ended(&self, job: &JobRecord) {
        let reason = match job.status {
            Status::Failed(reason) => reason.name(),
            _ => "",
        };
        self.ended.get_or_create(&Ended { status: job.status.name(), reason }).inc();
        let engine_ms = job.cost.map_or(0, |cost| cost.engine_ms);
        if engine_ms > 0 {
            let name = self.names().get(&job.key).cloned().unwrap_or_default();
            let label = OfKey { key: job.key.as_str().to_owned(), name };
            self.engine_seconds.get_or_create(&label).inc_by(engine_ms as f64 / 1e3);
        }
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    fn text(&self, load: Load) -> String {
        self.queued.set(i64::try_from(load.queued).unwrap_or(i64::MAX));
        self.running.set(i64::try_from(load.running).unwrap_or(i64::MAX));
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("a string takes everything");
        out
    }
}

impl Service {
    /// Counts an HTTP exchange.
    pub fn count(&self, exchange: &HttpExchange, took: Duration) {
        self.inner.metrics.exchanges.get_or_create(exchange).inc();
        self.inner.metrics.exchange_seconds.get_or_create(exchange).observe(took.as_secs_f64());
    }

    /// Everything that is counted, as OpenMetrics text; the names of keys are in it. For an admin, and for whoever needs no key
    /// because this is their machine.
    ///
    /// # Errors
    /// [`ServiceError::NotAdmin`], [`ServiceError::Ledger`].
    pub async fn metrics(&self, by: &Caller) -> Result<String, ServiceError> {
        let trusted = self.inner.settings.anonymous == AnonymousAccess::Trusted && *by == Caller::anonymous();
        if !trusted && !by.admin {
            return Err(ServiceError::NotAdmin);
        }
        self.measured().await
    }

    /// The same for whoever runs this process.
    ///
    /// # Errors
    /// [`ServiceError::Ledger`].
    pub async fn measured(&self) -> Result<String, ServiceError> {
        let load = self.inner.ledger.load().await?;
        Ok(self.inner.metrics.text(load))
    }
}
