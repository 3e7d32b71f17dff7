//! Creates the engine that the setting `model` selects.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tintype_core::engine::{Engine, Sampling};
use tintype_diffusion::{DeviceChoice, DiffusionEngine, EngineOptions, ModelFiles, hub};
use tintype_sagemaker::remote::{
    AsyncEngine, AsyncSettings, BucketResults, EndpointSettings, SageMakerEngine,
};

use crate::config::{Device, ModelChoice, ModelSettings, SageMakerSettings};
use crate::telemetry;

/// Loads the model, which takes seconds, or about a minute for a large one; or prepares calls to a SageMaker
/// endpoint.
///
/// `results` opens the bucket of an asynchronous endpoint's results, and is called for such an endpoint only.
///
/// # Errors
/// If the model does not exist, one of its files is missing or malformed, the device is unavailable, or the
/// endpoint's settings are invalid.
pub(crate) fn load(
    settings: &ModelSettings,
    results: impl FnOnce() -> Result<BucketResults>,
) -> Result<Arc<dyn Engine>> {
    match &settings.choice {
        ModelChoice::Builtin => local(settings, "emoji", builtin()?),
        ModelChoice::Folder(folder) => local(settings, &folder_name(folder), ModelFiles::folder(folder)?),
        ModelChoice::Hub(name) => {
            let Some(cache) = &settings.hub_cache else {
                bail!("the Hugging Face cache is unknown because there is no home folder; set `hub_cache`");
            };
            local(settings, name, ModelFiles::folder(hub::find(cache, name)?)?)
        }
        ModelChoice::Endpoint(name) => endpoint(name, &settings.endpoint, results),
    }
}

/// Checks that this path is a model that [`load`] loads, by loading it on the CPU.
///
/// # Errors
/// Those of [`load`] for a folder.
pub(crate) fn check_folder(folder: &Path) -> Result<()> {
    let name = folder_name(folder);
    DiffusionEngine::load(&name, ModelFiles::folder(folder)?, EngineOptions::default())
        .with_context(|| load_failure(&name))?;
    Ok(())
}

fn load_failure(name: &str) -> String {
    format!("failed to load the model `{name}`")
}

fn local(settings: &ModelSettings, name: &str, files: ModelFiles) -> Result<Arc<dyn Engine>> {
    let options = EngineOptions { device: device(settings.device), threads: settings.threads };
    let engine = DiffusionEngine::load(name, files, options).with_context(|| load_failure(name))?;
    Ok(Arc::new(engine))
}

/// An engine that calls this endpoint. It makes no call and looks up no credentials before the first image.
fn endpoint(
    name: &str,
    sagemaker: &SageMakerSettings,
    results: impl FnOnce() -> Result<BucketResults>,
) -> Result<Arc<dyn Engine>> {
    let model = tintype_core::engine::ModelCard {
        name: name.to_owned(),
        width: sagemaker.size,
        height: sagemaker.size,
        steps: sagemaker.steps,
        // The default of both JumpStart and diffusers.
        guidance: 7.5,
        // The endpoint does not tell its scheduler.
        sampling: Sampling::default(),
    };
    let mut settings = EndpointSettings::new(name, model);
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
    Ok(ModelFiles::embedded(tintype_emoji::FILES)?)
}

#[cfg(not(feature = "builtin"))]
fn builtin() -> Result<ModelFiles> {
    bail!("this binary was built without the built-in model; use `--model FOLDER` or `--model ORG/NAME`")
}

/// The folder's last component, which is the model's name.
fn folder_name(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned()
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
