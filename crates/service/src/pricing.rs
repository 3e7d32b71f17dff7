//! Estimates of engine time, and its price.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tintype_core::model::ModelCard;
use tintype_core::request::GenerateRequest;
use tintype_ledger::EngineTimes;
use tintype_ledger::limits::{Limit, Quota};
use tintype_ledger::money::{Amount, Currency, Price, Spend};
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
    price: Option<Price>,
    measured: Mutex<Measured>,
}

/// Exponential averages in seconds.
#[derive(Debug, Default)]
struct Measured {
    per_job: Option<f64>,
    /// Per unit of [`ModelCard::work`].
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
    /// Passes of the denoiser per step.
    passes: u32,
}

impl Shape {
    fn of(model: &ModelCard, request: &GenerateRequest) -> Self {
        let GenerateRequest { width, height, steps, n, guidance, .. } = *request;
        Self { width, height, steps, n, passes: model.passes(guidance) }
    }
}

/// The first currency among the budgets in which none of these prices is, so that usage could never be charged.
pub fn unpriced(budgets: &[Budget], prices: &[Price]) -> Option<Currency> {
    let mut currencies = budgets.iter().filter_map(|budget| match budget.allowance {
        Allowance::Money(amount) => Some(amount.currency),
        Allowance::EngineMs(_) => None,
    });
    let is_priced = |currency: &Currency| {
        prices.iter().any(|price| price.amount().currency == *currency && price.amount().micros > 0)
    };
    currencies.find(|currency| !is_priced(currency))
}

/// The engine time that the smallest remaining budget pays for; `None` without budgets that limit the time.
pub(crate) fn remaining_time(quotas: &[Quota], price: Option<Price>) -> Option<Duration> {
    let per_second = match price {
        Some(Price::PerSecond(amount)) => Some(amount.micros),
        Some(Price::PerImage(_)) | None => None,
    };
    let left = quotas.iter().filter_map(|quota| match quota.limit {
        Limit::Budget(Budget { allowance: Allowance::EngineMs(_), .. }) => Some(quota.remaining),
        Limit::Budget(Budget { allowance: Allowance::Money(_), .. }) => {
            let micros = per_second.filter(|micros| *micros > 0)?;
            let millis = u128::from(quota.remaining) * 1_000 / u128::from(micros);
            Some(u64::try_from(millis).unwrap_or(u64::MAX))
        }
        _ => None,
    });
    left.min().map(Duration::from_millis)
}

impl Estimates {
    pub(crate) fn new(max_job: Duration, price: Option<Price>) -> Self {
        Self { max_job, price, measured: Mutex::default() }
    }

    /// Records the engine time of a finished job.
    pub(crate) fn record(&self, model: &ModelCard, request: &GenerateRequest, took: Duration) {
        let took = took.as_secs_f64();
        let mut measured = self.measured();
        let average = |old: Option<f64>, new| old.map_or(new, |old| old + NEWEST_WEIGHT * (new - old));
        measured.per_job = Some(average(measured.per_job, took));
        measured.per_work = Some(average(measured.per_work, took / model.work(request)));
        let shape = Shape::of(model, request);
        let average_time = average(measured.by_shape.get(&shape).copied(), took);
        if measured.by_shape.len() >= MAX_SHAPES && !measured.by_shape.contains_key(&shape) {
            measured.by_shape.clear();
        }
        measured.by_shape.insert(shape, average_time);
    }

    /// Records a job that was stopped after `took` and would have taken longer.
    pub(crate) fn record_at_least(&self, model: &ModelCard, request: &GenerateRequest, took: Duration) {
        let took = took.as_secs_f64();
        let mut measured = self.measured();
        let least = took / model.work(request);
        measured.per_work = Some(measured.per_work.map_or(least, |old| old.max(least)));
        if let Some(average_time) = measured.by_shape.get_mut(&Shape::of(model, request)) {
            *average_time = average_time.max(took);
        }
    }

    /// The estimated engine time of a job, by the average of its shape or else by its work. `None` until a
    /// job has been measured.
    pub(crate) fn estimate(&self, model: &ModelCard, request: &GenerateRequest) -> Option<Duration> {
        let measured = self.measured();
        let average_time = measured.by_shape.get(&Shape::of(model, request)).copied();
        let estimated =
            average_time.or_else(|| measured.per_work.map(|per_work| per_work * model.work(request)));
        drop(measured);
        estimated.map(|estimated| self.bounded(estimated))
    }

    /// The estimated engine time of a job, by the times of an earlier process.
    pub(crate) fn estimate_by(
        &self,
        times: EngineTimes,
        model: &ModelCard,
        request: &GenerateRequest,
    ) -> Duration {
        self.bounded(times.per_work * model.work(request))
    }

    /// The averages for the next process; `None` until a job has been measured.
    pub(crate) fn times(&self) -> Option<EngineTimes> {
        let measured = self.measured();
        Some(EngineTimes { per_job: measured.per_job?, per_work: measured.per_work? })
    }

    /// An estimate in seconds within the limits of a reservation.
    fn bounded(&self, seconds: f64) -> Duration {
        let estimated = Duration::try_from_secs_f64(seconds).unwrap_or(self.max_job);
        estimated.max(MIN_RESERVATION).min(self.max_job)
    }

    /// Estimated time in whole seconds until one of `slots` is free.
    pub(crate) fn queue_retry_after(&self, slots: usize) -> Duration {
        let per_job = self.measured().per_job.unwrap_or(DEFAULT_JOB_TIME.as_secs_f64());
        Duration::from_secs_f64((per_job / slots.max(1) as f64).ceil().clamp(1.0, 3600.0))
    }

    /// The cost of a run that took this engine time and made this number of images. Engine time and amount are
    /// rounded up.
    pub(crate) fn spend(&self, took: Duration, images: u32) -> Spend {
        let engine_ms = u64::try_from(took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        let amount = self.price.map(|price| {
            let micros = match price {
                Price::PerSecond(amount) => {
                    (u128::from(amount.micros) * u128::from(engine_ms)).div_ceil(1_000)
                }
                Price::PerImage(amount) => u128::from(amount.micros) * u128::from(images),
            };
            Amount { micros: u64::try_from(micros).unwrap_or(u64::MAX), ..price.amount() }
        });
        Spend { engine_ms, amount }
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tintype_core::request::{Draft, RequestLimits};

    use super::*;

    fn model() -> ModelCard {
        ModelCard {
            name: "test".into(),
            width: 64,
            height: 64,
            steps: 4,
            guidance: 1.0,
            ..ModelCard::default()
        }
    }

    fn request(steps: i64) -> GenerateRequest {
        let model = model();
        let draft = Draft { prompt: Some("x".into()), steps: Some(steps), ..Draft::default() };
        draft.check(&model, &RequestLimits::for_model(&model), 0).expect("valid")
    }

    fn seconds(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count))
    }

    #[test]
    fn estimates_use_the_shape_or_else_the_work() {
        let estimates = Estimates::new(Duration::from_secs(600), None);
        assert_eq!(estimates.estimate(&model(), &request(9)), None);
        estimates.record(&model(), &request(9), Duration::from_secs(20));
        assert_eq!(estimates.estimate(&model(), &request(9)), seconds(20));
        assert_eq!(estimates.estimate(&model(), &request(19)), seconds(40), "by its work");
        estimates.record(&model(), &request(19), Duration::from_secs(30));
        assert_eq!(estimates.estimate(&model(), &request(19)), seconds(30), "by its shape");
        assert_eq!(estimates.queue_retry_after(2), Duration::from_secs(11));
        estimates.record_at_least(&model(), &request(9), Duration::from_secs(40));
        assert_eq!(
            estimates.estimate(&model(), &request(9)),
            seconds(40),
            "the lower bound of the stopped job"
        );
        estimates.record_at_least(&model(), &request(9), Duration::from_secs(10));
        assert_eq!(estimates.estimate(&model(), &request(9)), seconds(40));
    }

    #[test]
    fn a_budget_needs_a_price_in_its_currency() {
        let budgets = |text: &str| vec![text.parse::<Budget>().expect("a budget")];
        let price = |text: &str| text.parse::<Price>().expect("a price");
        assert_eq!(unpriced(&budgets("5s/day"), &[]), None);
        assert_eq!(unpriced(&budgets("5usd/day"), &[price("0.1eur"), price("0.1usd/image")]), None);
        for others in [&[][..], &[price("0.1eur")], &[price("0usd")]] {
            assert_eq!(unpriced(&budgets("5usd/day"), others), "usd".parse().ok());
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
        assert_eq!(remaining_time(&both, "0.1usd/image".parse().ok()), seconds(50), "it pays for images");
        assert_eq!(remaining_time(&both[..1], None), seconds(50));
        assert_eq!(remaining_time(&[], None), None);
    }

    #[test]
    fn money_is_rounded_up_and_never_wraps() {
        let estimates = Estimates::new(Duration::MAX, "0.000001usd".parse().ok());
        assert_eq!(estimates.spend(Duration::from_micros(1), 9).amount, "0.000001usd".parse().ok());
        let most = estimates.spend(Duration::MAX, 1);
        assert_eq!(most.engine_ms, u64::MAX);
        assert_eq!(Estimates::new(Duration::MAX, None).spend(Duration::from_secs(1), 1).amount, None);
    }

    #[test]
    fn a_price_per_image_does_not_depend_on_the_time() {
        let estimates = Estimates::new(Duration::MAX, "0.02usd/image".parse().ok());
        let spent = estimates.spend(Duration::from_secs(7), 3);
        assert_eq!((spent.engine_ms, spent.amount), (7_000, "0.06usd".parse().ok()));
        assert_eq!(estimates.spend(Duration::from_secs(7), 0).amount, "0usd".parse().ok());
    }
}
