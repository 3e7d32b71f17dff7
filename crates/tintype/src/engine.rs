//! Creates the engines of the models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tintype_core::engine::{Engine, EngineInfo};
use tintype_core::model::ModelCard;
use tintype_diffusion::{DeviceChoice, DiffusionEngine, EngineOptions, ModelFiles, hub};
use tintype_sagemaker::remote::{
    AsyncEngine, AsyncSettings, BucketResults, EndpointSettings, SageMakerEngine,
};
use tintype_service::{EngineLoader, LoadError, ModelSpec};

use crate::config::{Config, Device, ModelChoice, ModelEntry, ModelSettings, SageMakerSettings};
use crate::telemetry;

/// The file in the data folder in which the hashes of models are remembered.
const HASH_CACHE: &str = "model-hashes.json";

/// Opens the bucket of an asynchronous endpoint's results.
pub(crate) type OpenResults = dyn Fn() -> Result<BucketResults> + Send + Sync;

/// The models of the settings, the default one first.
pub(crate) fn specs(config: &Config, results: Arc<OpenResults>) -> Vec<ModelSpec> {
    let entries = &config.models.entries;
    let is_default = |entry: &&ModelEntry| entry.name == config.models.default;
    let ordered = entries.iter().filter(is_default).chain(entries.iter().filter(|entry| !is_default(entry)));
    let spec = |entry: &ModelEntry| ModelSpec {
        settings: service_settings(entry),
        loader: Some(Arc::new(Loader {
            entry: entry.clone(),
            settings: config.model.clone(),
            data_dir: config.store.data_dir.clone(),
            results: results.clone(),
        })),
        load: entry.load,
    };
    ordered.map(spec).collect()
}

/// The settings of a model for the service.
fn service_settings(entry: &ModelEntry) -> tintype_service::ModelSettings {
    tintype_service::ModelSettings {
        name: entry.name.clone(),
        aliases: entry.aliases.clone(),
        price: entry.price,
        defaults: entry.defaults,
        limits: entry.limits,
    }
}

/// Loads the model of an entry.
struct Loader {
    entry: ModelEntry,
    settings: ModelSettings,
    data_dir: PathBuf,
    results: Arc<OpenResults>,
}

impl EngineLoader for Loader {
    fn plan(&self) -> Result<Option<EngineInfo>, LoadError> {
        Ok(plan(&self.entry, &self.settings)?)
    }

    fn load(&self) -> Result<Arc<dyn Engine>, LoadError> {
        Ok(load(&self.entry, &self.settings, &self.data_dir, || (self.results)())?)
    }
}

/// What is known of a local model before it is loaded. An endpoint is known once its engine exists, which takes no
/// time.
fn plan(model: &ModelEntry, settings: &ModelSettings) -> Result<Option<EngineInfo>> {
    let Some(files) = files(&model.engine, settings)? else { return Ok(None) };
    let info = DiffusionEngine::plan(&model.name, &files, &options(settings))
        .with_context(|| failure(&model.name))?;
    Ok(Some(info))
}

/// Loads the model, which takes seconds, or about a minute for a large one; or prepares calls to a SageMaker
/// endpoint.
///
/// The hashes of the model's weights are remembered in `data_dir`, if this folder exists. `results` opens the bucket of an asynchronous endpoint's results, and is called for such an endpoint
/// only.
///
/// # Errors
/// If the model does not exist, one of its files is missing or malformed, the device is unavailable, or the
/// endpoint's settings are invalid.
pub(crate) fn load(
    model: &ModelEntry,
    settings: &ModelSettings,
    data_dir: &Path,
    results: impl FnOnce() -> Result<BucketResults>,
) -> Result<Arc<dyn Engine>> {
    let Some(files) = files(&model.engine, settings)? else {
        return remote(model, results);
    };
    let hash_cache = data_dir.is_dir().then(|| data_dir.join(HASH_CACHE));
    let options = EngineOptions { hash_cache, ..options(settings) };
    let engine = DiffusionEngine::load(&model.name, files, options).with_context(|| failure(&model.name))?;
    Ok(Arc::new(engine))
}

fn failure(name: &str) -> String {
    format!("failed to load the model `{name}`")
}

/// The files of a local model; `None` for an endpoint.
fn files(engine: &ModelChoice, settings: &ModelSettings) -> Result<Option<ModelFiles>> {
    Ok(Some(match engine {
        ModelChoice::Builtin => builtin()?,
        ModelChoice::Folder(folder) => ModelFiles::folder(folder)?,
        ModelChoice::Hub(name) => {
            let Some(cache) = &settings.hub_cache else {
                bail!("the Hugging Face cache is unknown because there is no home folder; set `hub_cache`");
            };
            ModelFiles::folder(hub::find(cache, name)?)?
        }
        ModelChoice::Endpoint(_) => return Ok(None),
    }))
}

/// Checks that this path is a model that [`load`] loads, by loading it on the CPU.
///
/// # Errors
/// Those of [`load`] for a folder.
pub(crate) fn check_folder(folder: &Path) -> Result<()> {
    let name = ModelChoice::Folder(folder.to_owned()).default_name();
    DiffusionEngine::load(&name, ModelFiles::folder(folder)?, EngineOptions::default())
        .with_context(|| failure(&name))?;
    Ok(())
}

/// An engine that calls an endpoint. It makes no call and looks up no credentials before the first image.
fn remote(model: &ModelEntry, results: impl FnOnce() -> Result<BucketResults>) -> Result<Arc<dyn Engine>> {
    let ModelChoice::Endpoint(endpoint) = &model.engine else { bail!("the model is not an endpoint") };
    let sagemaker: &SageMakerSettings = &model.endpoint;
    let card = ModelCard {
        name: model.name.clone(),
        width: sagemaker.size,
        height: sagemaker.size,
        steps: sagemaker.steps,
        // The default of both JumpStart and diffusers.
        guidance: 7.5,
        ..ModelCard::default()
    };
    let mut settings = EndpointSettings::new(endpoint, card);
    settings.endpoint.dialect = sagemaker.dialect;
    settings.endpoint.custom_attributes = sagemaker.attributes.clone();
    settings.endpoint.inference_component = sagemaker.component.clone();
    settings.slots = sagemaker.slots;
    settings.traceparent = telemetry::traceparent;
    if sagemaker.asynchronous {
        let engine = AsyncEngine::new(settings, AsyncSettings::default(), Arc::new(results()?))?;
        return Ok(Arc::new(engine));
    }
    Ok(Arc::new(SageMakerEngine::new(settings)?))
}

#[cfg(feature = "builtin")]
fn builtin() -> Result<ModelFiles> {
    let files = ModelFiles::embedded(tintype_emoji::FILES)?;
    let files = files.with_revision_before_0_2(tintype_emoji::REVISION_BEFORE_0_2);
    Ok(files.with_model_hash(tintype_emoji::MODEL_HASH))
}

#[cfg(not(feature = "builtin"))]
fn builtin() -> Result<ModelFiles> {
    bail!("this binary was built without the built-in model; use `--model FOLDER` or `--model ORG/NAME`")
}

fn options(settings: &ModelSettings) -> EngineOptions {
    EngineOptions { device: device(settings.device), threads: settings.threads, hash_cache: None }
}

fn device(device: Device) -> DeviceChoice {
    match device {
        Device::Auto if cfg!(feature = "cuda") => DeviceChoice::Cuda(0),
        Device::Auto if cfg!(feature = "metal") => DeviceChoice::Metal(0),
        Device::Auto | Device::Cpu => DeviceChoice::Cpu,
        Device::Cuda(number) => DeviceChoice::Cuda(number),
        Device::Metal(number) => DeviceChoice::Metal(number),
    }
}
