//! Several models: each with its own queue, loaded at the start or on demand within the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::engine::{Engine, EngineInfo};
use tintype_core::request::Draft;
use tintype_ledger::key::{KeyRecord, NewKey};
use tintype_ledger::policy::{Policy, utc_day};
use tintype_service::{
    Caller, EngineLoader, Image, LoadError, LoadTime, ModelSettings, ModelSpec, ModelState, Readiness,
    Service, ServiceError, ServiceSettings, Submission,
};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::time::Instant;

use super::{SECOND, draft, ledger};

/// The memory of the weights of each model.
const WEIGHTS: u64 = 100;

/// Loads a null engine, and counts.
struct Loader {
    name: &'static str,
    step: Duration,
    fails: Arc<AtomicUsize>,
    unplanned: AtomicUsize,
    loads: Arc<AtomicUsize>,
    loaded: Arc<AtomicUsize>,
}

/// An engine that counts as loaded until it is dropped.
struct CountedEngine {
    engine: NullEngine,
    loaded: Arc<AtomicUsize>,
}

impl Drop for CountedEngine {
    fn drop(&mut self) {
        self.loaded.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Engine for CountedEngine {
    fn info(&self) -> &EngineInfo {
        self.engine.info()
    }

    async fn generate(
        &self,
        request: Arc<tintype_core::request::GenerateRequest>,
        observer: Arc<dyn tintype_core::engine::Observer>,
    ) -> Result<tintype_core::engine::Generated, tintype_core::engine::EngineError> {
        self.engine.generate(request, observer).await
    }
}

impl Loader {
    fn engine(&self) -> NullEngine {
        NullEngine::new(self.step).with_name(self.name).with_weights(WEIGHTS)
    }
}

impl EngineLoader for Loader {
    fn plan(&self) -> Result<Option<EngineInfo>, LoadError> {
        let decreased = |left: usize| left.checked_sub(1);
        if self.unplanned.fetch_update(Ordering::SeqCst, Ordering::SeqCst, decreased).is_ok() {
            return Err("the folder is missing".into());
        }
        Ok(Some(self.engine().info().clone()))
    }

    fn load(&self) -> Result<Arc<dyn Engine>, LoadError> {
        if self.fails.load(Ordering::SeqCst) > 0 {
            self.fails.fetch_sub(1, Ordering::SeqCst);
            return Err("the weights are damaged".into());
        }
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.loaded.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(CountedEngine { engine: self.engine(), loaded: self.loaded.clone() }))
    }
}

/// A model of the tests.
struct TestModel {
    name: &'static str,
    step: Duration,
    load: LoadTime,
    /// How often loading fails before it succeeds.
    failures: usize,
    /// How often planning fails before it succeeds.
    plan_failures: usize,
    price: Option<&'static str>,
}

impl TestModel {
    fn on_demand(name: &'static str) -> Self {
        Self {
            name,
            step: Duration::ZERO,
            load: LoadTime::OnDemand,
            failures: 0,
            plan_failures: 0,
            price: None,
        }
    }
}

struct Models {
    service: Arc<Service>,
    ledger: Arc<dyn tintype_ledger::Ledger>,
    /// Number of loads so far.
    loads: Arc<AtomicUsize>,
    /// Number of engines in memory.
    loaded: Arc<AtomicUsize>,
}

impl Models {
    fn start(models: Vec<TestModel>, memory: Option<u64>) -> Self {
        let (loads, loaded) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let spec = |model: TestModel| {
            let loader = Loader {
                name: model.name,
                step: model.step,
                fails: Arc::new(AtomicUsize::new(model.failures)),
                unplanned: AtomicUsize::new(model.plan_failures),
                loads: loads.clone(),
                loaded: loaded.clone(),
            };
            let settings = ModelSettings {
                name: model.name.into(),
                aliases: vec![format!("{}-alias", model.name).parse().expect("an alias")],
                price: model.price.map(|price| price.parse().expect("a price")),
                ..ModelSettings::default()
            };
            ModelSpec { settings, loader: Some(Arc::new(loader)), load: model.load }
        };
        let settings = ServiceSettings { models_memory: memory, ..ServiceSettings::default() };
        let ledger = ledger();
        let specs = models.into_iter().map(spec).collect();
        let service = Service::with_models(settings, specs, Arc::new(MemoryStore::default()), ledger.clone());
        drop(service.start_loading());
        Self { service, ledger, loads, loaded }
    }

    fn submission(&self, model: &str, draft: Draft) -> Result<Submission, ServiceError> {
        let request = self.service.check(Some(model), draft)?;
        Ok(Submission { model: Some(model.to_owned()), ..Submission::new(request) })
    }

    async fn generate(&self, model: &str, steps: i64) -> Result<Image, ServiceError> {
        self.generate_as(&Caller::anonymous(), model, steps).await
    }

    async fn generate_as(&self, caller: &Caller, model: &str, steps: i64) -> Result<Image, ServiceError> {
        self.service.generate(caller, self.submission(model, draft("x", steps))?).await
    }

    /// Waits until every model is planned and those of the start are loaded.
    async fn ready(&self) {
        while self.service.models().is_empty() || self.service.readiness() == Readiness::Loading {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn state(&self, name: &str) -> ModelState {
        let models = self.service.models();
        models.iter().find(|model| model.card().name == name).expect("a model").state()
    }

    async fn caller(&self, policy: Policy) -> Caller {
        let new = NewKey { name: "k".into(), owner: None, expires: None, admin: false, policy };
        let (_, record): (_, KeyRecord) =
            self.ledger.create_key(new, OffsetDateTime::now_utc()).await.expect("a key");
        record.into()
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_selects_its_model_by_name_or_alias() {
    let models = Models::start(vec![TestModel::on_demand("a"), TestModel::on_demand("org/b")], None);
    models.ready().await;
    for (requested, name) in [("a", "a"), ("org/b", "org/b"), ("org/b-alias", "org/b")] {
        let image = models.generate(requested, 1).await.expect("an image");
        assert_eq!(image.model.as_deref(), Some(name));
    }
    let request = models.service.check(None, draft("x", 1)).expect("valid");
    let image =
        models.service.generate(&Caller::anonymous(), Submission::new(request)).await.expect("an image");
    assert_eq!(image.model.as_deref(), Some("a"), "the first model is the default");
    assert!(matches!(models.generate("c", 1).await, Err(ServiceError::UnknownModel(name)) if name == "c"));
}

#[tokio::test(start_paused = true)]
async fn a_request_loads_its_model() {
    let models = Models::start(vec![TestModel::on_demand("a"), TestModel::on_demand("b")], None);
    models.ready().await;
    assert_eq!(models.service.readiness(), Readiness::Ready);
    assert_eq!((models.state("a"), models.state("b")), (ModelState::Unloaded, ModelState::Unloaded));
    models.generate("b", 1).await.expect("an image");
    assert_eq!((models.state("a"), models.state("b")), (ModelState::Unloaded, ModelState::Loaded));
}

#[tokio::test(start_paused = true)]
async fn models_that_do_not_fit_together_take_turns() {
    let models = vec![TestModel::on_demand("a"), TestModel::on_demand("b")];
    let models = Models::start(models, Some(WEIGHTS + WEIGHTS / 2));
    models.ready().await;
    for round in 0..100 {
        let name = ["a", "b"][round % 2];
        models.generate(name, 1).await.unwrap_or_else(|error| panic!("{round}: {error}"));
        assert_eq!(models.loaded.load(Ordering::SeqCst), 1, "only one fits into the memory");
    }
    assert_eq!(models.loads.load(Ordering::SeqCst), 100, "an idle model is unloaded at once");
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_served_for_a_turn_and_no_running_job_is_interrupted() {
    let busy = TestModel { step: SECOND, ..TestModel::on_demand("busy") };
    let models = Models::start(vec![busy, TestModel::on_demand("other")], Some(WEIGHTS));
    models.ready().await;
    let began = Instant::now();
    let mut queued = Vec::new();
    for _ in 0..30 {
        let submission = models.submission("busy", draft("x", 3)).expect("valid");
        let handle = models.service.submit(&Caller::anonymous(), submission).await.expect("accepted");
        queued.push(tokio::spawn(handle.finished()));
    }
    tokio::time::sleep(SECOND * 5).await;
    models.generate("other", 1).await.expect("an image");
    let waited = began.elapsed();
    assert!(waited >= SECOND * 20 && waited < SECOND * 35, "after one turn, not after the queue: {waited:?}");
    for job in queued {
        job.await.expect("no panic").expect("an image");
    }
    assert_eq!(models.loads.load(Ordering::SeqCst), 3, "busy, other, busy");
}

#[tokio::test(start_paused = true)]
async fn a_model_is_unloading_until_its_running_jobs_are_finished() {
    let busy = TestModel { step: SECOND, ..TestModel::on_demand("busy") };
    let models = Arc::new(Models::start(vec![busy, TestModel::on_demand("other")], Some(WEIGHTS)));
    models.ready().await;
    let generate = |name: &'static str, steps| {
        let models = models.clone();
        tokio::spawn(async move { models.generate(name, steps).await })
    };
    let running = generate("busy", 60);
    tokio::time::sleep(SECOND).await;
    let waiting = generate("other", 1);
    tokio::time::sleep(SECOND).await;
    assert_eq!((models.state("busy"), models.state("other")), (ModelState::Loaded, ModelState::Unloaded));
    tokio::time::sleep(SECOND * 30).await;
    assert_eq!((models.state("busy"), models.state("other")), (ModelState::Unloading, ModelState::Unloaded));
    // A job that arrives meanwhile loads the model again.
    let late = generate("busy", 1);
    for job in [running, waiting, late] {
        job.await.expect("no panic").expect("an image");
    }
    assert_eq!(models.loads.load(Ordering::SeqCst), 3, "busy, other, busy");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_be_loaded_does_not_affect_the_others() {
    let broken = TestModel { failures: 1, ..TestModel::on_demand("broken") };
    let works = TestModel { load: LoadTime::AtStart, ..TestModel::on_demand("works") };
    let models = Models::start(vec![broken, works], None);
    models.ready().await;
    let detached =
        Submission { detached: true, ..models.submission("broken", draft("x", 1)).expect("valid") };
    let handle = models.service.submit(&Caller::anonymous(), detached).await.expect("accepted");
    let waiting = models.generate("broken", 1).await;
    assert!(matches!(waiting, Err(ServiceError::NoEngine)), "{waiting:?}");
    assert_eq!((models.state("broken"), models.service.readiness()), (ModelState::Failed, Readiness::Ready));
    assert!(matches!(models.generate("broken", 1).await, Err(ServiceError::NoEngine)));
    models.generate("works", 1).await.expect("an image");
    // The next attempt succeeds, and the detached job has waited for it.
    handle.finished().await.expect("an image");
    models.generate("broken", 1).await.expect("an image");
}

#[tokio::test(start_paused = true)]
async fn a_model_whose_folder_was_missing_is_found_later() {
    let missing = TestModel { plan_failures: 3, ..TestModel::on_demand("missing") };
    let works = TestModel { load: LoadTime::AtStart, ..TestModel::on_demand("works") };
    let models = Models::start(vec![works, missing], None);
    models.ready().await;
    let refused = models.generate("missing", 1).await;
    assert!(matches!(refused, Err(ServiceError::NoEngine)), "{refused:?}");
    // The second and third attempt also fail.
    tokio::time::sleep(SECOND * 150).await;
    assert!(matches!(models.generate("missing", 1).await, Err(ServiceError::NoEngine)));
    tokio::time::sleep(SECOND * 100).await;
    models.generate("missing", 1).await.expect("an image");
}

#[tokio::test(start_paused = true)]
async fn a_model_of_the_start_that_cannot_be_loaded_does_not_affect_the_others() {
    let broken = TestModel { failures: 9, load: LoadTime::AtStart, ..TestModel::on_demand("broken") };
    let models = Models::start(vec![broken, TestModel::on_demand("works")], None);
    models.ready().await;
    assert_eq!(models.service.readiness(), Readiness::Ready);
    assert!(matches!(models.generate("broken", 1).await, Err(ServiceError::NoEngine)));
    models.generate("works", 1).await.expect("an image");
}

#[tokio::test(start_paused = true)]
async fn each_model_has_its_own_queue() {
    let slow = TestModel { step: SECOND * 100, load: LoadTime::AtStart, ..TestModel::on_demand("slow") };
    let models = Models::start(vec![slow, TestModel::on_demand("fast")], None);
    models.ready().await;
    let mut waiting = Vec::new();
    let full = loop {
        let submission = models.submission("slow", draft("x", 1)).expect("valid");
        match models.service.submit(&Caller::anonymous(), submission).await {
            Ok(handle) => waiting.push(handle),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, ServiceError::QueueFull { .. }), "{full:?}");
    assert_eq!(waiting.len(), 33, "a slot and 32 places");
    let began = Instant::now();
    models.generate("fast", 1).await.expect("an image");
    assert!(began.elapsed() < SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_limited_to_models() {
    let models = Models::start(vec![TestModel::on_demand("a"), TestModel::on_demand("b")], None);
    models.ready().await;
    let caller = models.caller(Policy { models: vec!["b".into()], ..Policy::default() }).await;
    models.generate_as(&caller, "b-alias", 1).await.expect("an image");
    let refused = models.generate_as(&caller, "a", 1).await;
    assert!(matches!(refused, Err(ServiceError::ModelNotAllowed(name)) if name == "a"));
    assert_eq!(models.state("a"), ModelState::Unloaded, "a refused request loads nothing");
}

#[tokio::test(start_paused = true)]
async fn prices_and_usage_are_per_model() {
    let per_image = TestModel { price: Some("0.02usd/image"), ..TestModel::on_demand("image") };
    let per_second = TestModel { price: Some("0.1usd"), step: SECOND, ..TestModel::on_demand("second") };
    let models = Models::start(vec![per_image, per_second], None);
    models.ready().await;
    let budgets = vec!["0.07usd/day".parse().expect("a budget")];
    let caller = models.caller(Policy { budgets, ..Policy::default() }).await;
    let three = Draft { n: Some(3), ..draft("x", 1) };
    let image =
        models.service.generate(&caller, models.submission("image", three.clone()).expect("valid")).await;
    let cost = image.expect("images").cost.expect("a cost");
    assert_eq!(cost.amount, "0.06usd".parse().ok());
    let refused = models.service.generate(&caller, models.submission("image", three).expect("valid")).await;
    assert!(matches!(refused, Err(ServiceError::LimitExceeded(_))), "0.12 usd are over the budget");
    let caller = models.caller(Policy::default()).await;
    models.generate_as(&caller, "image", 1).await.expect("an image");
    models.generate_as(&caller, "second", 2).await.expect("an image");
    let today = utc_day(OffsetDateTime::now_utc());
    let usage = models.ledger.usage(&caller.key, today, today).await.expect("usage");
    let by_model = &usage[0].1.models;
    let spent = |name: &str| (by_model[name].jobs, by_model[name].pictures, by_model[name].spent.clone());
    let usd = |text: &str| {
        let mut totals = tintype_ledger::money::Totals::default();
        totals.add(&tintype_ledger::money::Spend { engine_ms: 0, amount: text.parse().ok() });
        totals.money
    };
    assert_eq!((spent("image").0, spent("image").1, spent("image").2.money), (1, 1, usd("0.02usd")));
    assert_eq!((spent("second").0, spent("second").2.engine_ms), (1, 2_000));
    assert_eq!(spent("second").2.money, usd("0.2usd"));
}
