//! What jobs take: measured, foreseen, and in money.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tintype_core::request::GenerateRequest;
use tintype_ledger::money::{Amount, Spend};

/// Assumed duration of a job, for telling when to come back, until one has been measured.
const UNMEASURED: Duration = Duration::from_secs(5);
/// The share of the newest job in the averages.
const NEWEST: f64 = 0.2;
/// Most shapes that are remembered; a client that asks for every size there is must not fill the memory.
const SHAPES: usize = 1_000;
/// The least that is reserved: below it a job is mostly what it takes to begin one.
const LEAST: Duration = Duration::from_secs(1);

/// Foresees what a job takes from what others took.
#[derive(Debug)]
pub(crate) struct Estimates {
    max_job: Duration,
    price: Option<Amount>,
    measured: Mutex<Measured>,
}

/// Exponential averages, in seconds.
#[derive(Debug, Default)]
struct Measured {
    per_job: Option<f64>,
    /// Per pixel and step.
    per_work: Option<f64>,
    /// Of jobs of the same shape.
    alike: HashMap<Shape, f64>,
}

/// What decides how long a job takes: width, height, steps, pictures, and whether guidance doubles each step.
type Shape = (u32, u32, u32, u32, bool);

fn shape(request: &GenerateRequest) -> Shape {
    (request.width, request.height, request.steps, request.n, request.guidance > 1.0)
}

/// `width × height × steps × n`; decoding counts as one step more.
fn work(request: &GenerateRequest) -> f64 {
    let pixels = f64::from(request.width) * f64::from(request.height);
    pixels * f64::from(request.steps + 1) * f64::from(request.n)
}

impl Estimates {
    pub(crate) fn new(max_job: Duration, price: Option<Amount>) -> Self {
        Self { max_job, price, measured: Mutex::default() }
    }

    /// Learns from a job whose engine time was `took`.
    pub(crate) fn learn(&self, request: &GenerateRequest, took: Duration) {
        let took = took.as_secs_f64();
        let mut measured = self.measured();
        let average = |old: Option<f64>, new| old.map_or(new, |old| old + NEWEST * (new - old));
        measured.per_job = Some(average(measured.per_job, took));
        measured.per_work = Some(average(measured.per_work, took / work(request)));
        let shape = shape(request);
        let alike = average(measured.alike.get(&shape).copied(), took);
        if measured.alike.len() >= SHAPES && !measured.alike.contains_key(&shape) {
            measured.alike.clear();
        }
        measured.alike.insert(shape, alike);
    }

    /// What to reserve for a job: as much as jobs like it took, or by its work as much as others did, or the per-job maximum
    /// as long as none was measured.
    pub(crate) fn reserve(&self, request: &GenerateRequest) -> Spend {
        let measured = self.measured();
        let alike = measured.alike.get(&shape(request)).copied();
        let foreseen = alike.or_else(|| measured.per_work.map(|per_work| per_work * work(request)));
        drop(measured);
        let foreseen = foreseen.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        self.spend(foreseen.unwrap_or(self.max_job).max(LEAST).min(self.max_job))
    }

    /// How long one of `slots` is likely to be busy with the job at hand, in whole seconds.
    pub(crate) fn next_place(&self, slots: usize) -> Duration {
        let per_job = self.measured().per_job.unwrap_or(UNMEASURED.as_secs_f64());
        Duration::from_secs_f64((per_job / slots.max(1) as f64).ceil().clamp(1.0, 3600.0))
    }

    /// So much engine time, and what it costs; both rounded up.
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
    use tintype_core::engine::Model;
    use tintype_core::request::{Draft, Limits};

    use super::*;

    fn request(steps: i64) -> GenerateRequest {
        let model = Model { name: "test".into(), width: 64, height: 64, steps: 4, guidance: 1.0 };
        let draft = Draft { prompt: Some("x".into()), steps: Some(steps), ..Draft::default() };
        draft.check(&model, &Limits::for_model(&model), 0).expect("valid")
    }

    #[test]
    fn the_maximum_is_reserved_until_something_was_measured() {
        let estimates = Estimates::new(Duration::from_secs(600), "0.5usd".parse().ok());
        let reserved = estimates.reserve(&request(9));
        assert_eq!((reserved.engine_ms, reserved.amount), (600_000, "300usd".parse().ok()));
        estimates.learn(&request(9), Duration::from_secs(20));
        assert_eq!(estimates.reserve(&request(9)).engine_ms, 20_000);
        assert_eq!(estimates.reserve(&request(19)).engine_ms, 40_000, "by its work");
        estimates.learn(&request(19), Duration::from_secs(30));
        assert_eq!(estimates.reserve(&request(19)).engine_ms, 30_000, "by its like");
        assert_eq!(estimates.next_place(2), Duration::from_secs(11));
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
