//! From the setting `model` to an engine.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tintype_core::engine::Engine;
use tintype_diffusion::{DeviceChoice, DiffusionEngine, EngineOptions, ModelFiles, hub};
use tintype_sagemaker::remote::{
    AsyncEngine, AsyncSettings, BucketResults, EndpointSettings, SageMakerEngine,
};

use crate::config::{Device, Endpoint, ModelChoice, ModelSettings};
use crate::telemetry;

/// Loads the model, for seconds, or a minute if it is a large one; or makes ready to call an endpoint's, whose results are
/// looked for in `results` if it is asynchronous.
///
/// # Errors
/// When there is no such model, a file of it is missing or malformed, or the device is not there; when the endpoint's settings
/// make no sense.
pub(crate) fn load(
    settings: &ModelSettings,
    results: impl FnOnce() -> Result<BucketResults>,
) -> Result<Arc<dyn Engine>> {
    match &settings.choice {
        ModelChoice::Builtin => local(settings, "emoji", builtin()?),
        ModelChoice::Folder(folder) => local(settings, &folder_name(folder), ModelFiles::folder(folder)?),
        ModelChoice::Hub(name) => {
            let Some(cache) = &settings.hub_cache else {
                bail!("there is no home folder to look for the Hugging Face cache in; set `hub_cache`");
            };
            local(settings, name, ModelFiles::folder(hub::find(cache, name)?)?)
        }
        ModelChoice::Endpoint(name) => endpoint(name, &settings.endpoint, results),
    }
}

fn local(settings: &ModelSettings, name: &str, files: ModelFiles) -> Result<Arc<dyn Engine>> {
    let options = EngineOptions { device: device(settings.device), threads: settings.threads };
    let engine = DiffusionEngine::load(name, files, options)
        .with_context(|| format!("the model `{name}` could not be loaded"))?;
    Ok(Arc::new(engine))
}

/// An engine that calls this endpoint. No call is made, and no credentials are looked for, before the first picture.
fn endpoint(
    name: &str,
    how: &Endpoint,
    results: impl FnOnce() -> Result<BucketResults>,
) -> Result<Arc<dyn Engine>> {
    let model = tintype_core::engine::ModelCard {
        name: name.to_owned(),
        width: how.size,
        height: how.size,
        steps: how.steps,
        // What both JumpStart and diffusers take if nothing is said.
        guidance: 7.5,
    };
    let mut settings = EndpointSettings::new(name, model);
    settings.endpoint.dialect = how.dialect;
    settings.endpoint.custom_attributes = how.attributes.clone();
    settings.endpoint.inference_component = how.component.clone();
    settings.slots = how.slots;
    settings.traceparent = telemetry::traceparent;
    if how.asynchronous {
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
    bail!("this program was built without its model; name one with `--model FOLDER` or `--model ORG/NAME`")
}

/// What a model in a folder is called: like the folder.
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
