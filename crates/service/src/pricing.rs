//! Estimates of engine time, and its price.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tintype_core::request::GenerateRequest;
use tintype_ledger::limits::{Limit, Quota};
use tintype_ledger::money::{Amount, Currency, Spend};
use tintype_ledger::policy::{Allowance, Budget};

/// Assumed engine time of a job until one has been measured, for `Retry-After`.
const DEFAULT_JOB_TIME: Duration = Duration::from_secs(5);
/// Weight of the newest job in the exponential averages.
const NEWEST_WEIGHT: f64 = 0.2;
/// Maximum number of shapes with an average, which bounds the memory.
const MAX_SHAPES: usize = 1_000;
/// Minimum reservation: shorter jobs are mostly start-up time.
pub(crate) const MIN_RESERVATION: Duration = Duration::from_secs(1);

/// Estimates engine time from measured jobs.
#[derive(Debug)]
pub(crate) struct Estimates {
    max_job: Duration,
    price: Option<Amount>,
    measured: Mutex<Measured>,
}

/// Exponential averages in seconds.
#[derive(Debug, Default)]
struct Measured {
    per_job: Option<f64>,
    /// Per unit of [`work`].
    per_work: Option<f64>,
    /// Per shape.
    by_shape: HashMap<Shape, f64>,
}

/// The parameters that determine a job's engine time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    width: u32,
    height: u32,
    steps: u32,
    n: u32,
    /// Guidance doubles each step.
    is_guided: bool,
}

impl Shape {
    fn of(request: &GenerateRequest) -> Self {
        let GenerateRequest { width, height, steps, n, guidance, .. } = *request;
        Self { width, height, steps, n, is_guided: guidance > 1.0 }
    }
}

/// `width × height × steps × n` in pixel steps. Guidance doubles the steps, and decoding counts as one step.
/// Whether a step evaluates the model once or twice is the same for all requests of a model, so the measured average
/// contains it.
fn work(request: &GenerateRequest) -> f64 {
    let pixels = f64::from(request.width) * f64::from(request.height);
    let passes = if request.guidance > 1.0 { 2 } else { 1 };
    pixels * f64::from(request.steps * passes + 1) * f64::from(request.n)
}

/// The first currency among the budgets that has no price, so that usage could never be charged.
pub fn unpriced(budgets: &[Budget], price: Option<Amount>) -> Option<Currency> {
    let mut currencies = budgets.iter().filter_map(|budget| match budget.allowance {
        Allowance::Money(amount) => Some(amount.currency),
        Allowance::EngineMs(_) => None,
    });
    currencies.find(|currency| price.is_none_or(|price| price.currency != *currency || price.micros == 0))
}

/// The engine time that the smallest remaining budget pays for; `None` without budgets.
pub(crate) fn remaining_time(quotas: &[Quota], price: Option<Amount>) -> Option<Duration> {
    let left = quotas.iter().filter_map(|quota| match quota.limit {
        Limit::Budget(Budget { allowance: Allowance::EngineMs(_), .. }) => Some(quota.remaining),
        Limit::Budget(Budget { allowance: Allowance::Money(_), .. }) => {
            let micros = price.map(|price| price.micros).filter(|micros| *micros > 0)?;
            let millis = u128::from(quota.remaining) * 1_000 / u128::from(micros);
            Some(u64::try_from(millis).unwrap_or(u64::MAX))
        }
        _ => None,
    });
    left.min().map(Duration::from_millis)
}

impl Estimates {
    pub(crate) fn new(max_job: Duration, price: Option<Amount>) -> Self {
        Self { max_job, price, measured: Mutex::default() }
    }

    /// Records the engine time of a finished job.
    pub(crate) fn record(&self, request: &GenerateRequest, took: Duration) {
        let took = took.as_secs_f64();
        let mut measured = self.measured();
        let average = |old: Option<f64>, new| old.map_or(new, |old| old + NEWEST_WEIGHT * (new - old));
        measured.per_job = Some(average(measured.per_job, took));
        measured.per_work = Some(average(measured.per_work, took / work(request)));
        let shape = Shape::of(request);
        let average_time = average(measured.by_shape.get(&shape).copied(), took);
        if measured.by_shape.len() >= MAX_SHAPES && !measured.by_shape.contains_key(&shape) {
            measured.by_shape.clear();
        }
        measured.by_shape.insert(shape, average_time);
    }

    /// Records a job that was stopped after `took` and would have taken longer.
    pub(crate) fn record_at_least(&self, request: &GenerateRequest, took: Duration) {
        let took = took.as_secs_f64();
        let mut measured = self.measured();
        let least = took / work(request);
        measured.per_work = Some(measured.per_work.map_or(least, |old| old.max(least)));
        if let Some(average_time) = measured.by_shape.get_mut(&Shape::of(request)) {
            *average_time = average_time.max(took);
        }
    }

    /// The estimated engine time of a job, by the average of its shape or else by its work. `None` until a
    /// job has been measured.
    pub(crate) fn estimate(&self, request: &GenerateRequest) -> Option<Duration> {
        let measured = self.measured();
        let average_time = measured.by_shape.get(&Shape::of(request)).copied();
        let estimated = average_time.or_else(|| measured.per_work.map(|per_work| per_work * work(request)));
        drop(measured);
        let estimated = Duration::try_from_secs_f64(estimated?).unwrap_or(self.max_job);
        Some(estimated.max(MIN_RESERVATION).min(self.max_job))
    }

    /// Estimated time in whole seconds until one of `slots` is free.
    pub(crate) fn queue_retry_after(&self, slots: usize) -> Duration {
        let per_job = self.measured().per_job.unwrap_or(DEFAULT_JOB_TIME.as_secs_f64());
        Duration::from_secs_f64((per_job / slots.max(1) as f64).ceil().clamp(1.0, 3600.0))
    }

    /// The engine time and its cost, both rounded up.
    pub(crate) fn spend(&self, took: Duration) -> Spend {
        let engine_ms = u64::try_from(took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        let amount = self.price.map(|price| {
            let micros = u128::from(price.micros) * u128::from(engine_ms);
            Amount { micros: u64::try_from(micros.div_ceil(1_000)).unwrap_or(u64::MAX), ..price }
        });
        Spend { engine_ms, amount }
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tintype_core::engine::{ModelCard, Sampling};
    use tintype_core::request::{Draft, RequestLimits};

    use super::*;

    fn request(steps: i64) -> GenerateRequest {
        let model = ModelCard {
            name: "test".into(),
            width: 64,
            height: 64,
            steps: 4,
            guidance: 1.0,
            sampling: Sampling::default(),
        };
        let draft = Draft { prompt: Some("x".into()), steps: Some(steps), ..Draft::default() };
        draft.check(&model, &RequestLimits::for_model(&model), 0).expect("valid")
    }

    fn seconds(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count))
    }

    #[test]
    fn estimates_use_the_shape_or_else_the_work() {
        let estimates = Estimates::new(Duration::from_secs(600), None);
        assert_eq!(estimates.estimate(&request(9)), None);
        estimates.record(&request(9), Duration::from_secs(20));
        assert_eq!(estimates.estimate(&request(9)), seconds(20));
        assert_eq!(estimates.estimate(&request(19)), seconds(40), "by its work");
        estimates.record(&request(19), Duration::from_secs(30));
        assert_eq!(estimates.estimate(&request(19)), seconds(30), "by its shape");
        assert_eq!(estimates.queue_retry_after(2), Duration::from_secs(11));
        estimates.record_at_least(&request(9), Duration::from_secs(40));
        assert_eq!(estimates.estimate(&request(9)), seconds(40), "the lower bound of the stopped job");
        estimates.record_at_least(&request(9), Duration::from_secs(10));
        assert_eq!(estimates.estimate(&request(9)), seconds(40));
    }

    #[test]
    fn guidance_doubles_the_work_of_a_step() {
        let mut guided = request(10);
        guided.guidance = 5.0;
        assert_eq!(work(&guided) / work(&request(10)), 21.0 / 11.0);
    }

    #[test]
    fn a_budget_needs_a_price_in_its_currency() {
        let budgets = |text: &str| vec![text.parse::<Budget>().expect("a budget")];
        let price = |text: &str| text.parse::<Amount>().ok();
        assert_eq!(unpriced(&budgets("5s/day"), None), None);
        assert_eq!(unpriced(&budgets("5usd/day"), price("0.1usd")), None);
        for other in [None, price("0.1eur"), price("0usd")] {
            assert_eq!(unpriced(&budgets("5usd/day"), other), "usd".parse().ok());
        }
    }

    #[test]
    fn a_remaining_budget_is_converted_to_engine_time() {
        let quotas = |limit: &str, remaining| Quota {
            limit: Limit::Budget(limit.parse().expect("a budget")),
            remaining,
            resets_at: None,
        };
        let both = [quotas("100s/day", 50_000), quotas("5usd/day", 2_000_000)];
        assert_eq!(remaining_time(&both, "0.1usd".parse().ok()), seconds(20));
        assert_eq!(remaining_time(&both[..1], None), seconds(50));
        assert_eq!(remaining_time(&[], None), None);
    }

    #[test]
    fn money_is_rounded_up_and_never_wraps() {
        let estimates = Estimates::new(Duration::MAX, "0.000001usd".parse().ok());
        assert_eq!(estimates.spend(Duration::from_micros(1)).amount, "0.000001usd".parse().ok());
        let most = estimates.spend(Duration::MAX);
        assert_eq!(most.engine_ms, u64::MAX);
        assert_eq!(Estimates::new(Duration::MAX, None).spend(Duration::from_secs(1)).amount, None);
    }
}
