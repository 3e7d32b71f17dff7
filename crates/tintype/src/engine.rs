//! Creates the engine of a model.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tintype_core::engine::Engine;
use tintype_diffusion::{DeviceChoice, DiffusionEngine, EngineOptions, ModelFiles, hub};
use tintype_ledger::money::Price;
use tintype_sagemaker::remote::{
    AsyncEngine, AsyncSettings, BucketResults, EndpointSettings, SageMakerEngine,
};

use crate::config::{
    Device, LoadTime, ModelChoice, ModelDefaults, ModelEntry, ModelLimits, ModelSettings, Models,
    SageMakerSettings,
};
use crate::output::UsageError;
use crate::telemetry;

/// The model of a server, which serves one.
///
/// # Errors
/// [`UsageError`] if the settings have several models, or settings of one that the server cannot apply.
pub(crate) fn served_model(models: &Models) -> Result<&ModelEntry> {
    let entry = models.default_entry();
    let names: Vec<_> = models.entries.iter().map(|entry| entry.name.as_str()).collect();
    let path = |key: &str| format!("this version does not support `{key}` of the model `{}`", entry.name);
    let problem = if names.len() > 1 {
        format!("this version serves one model, but the settings have several: {}", names.join(", "))
    } else if entry.defaults != ModelDefaults::default() {
        path("width`, `height`, `steps` and `guidance")
    } else if let ModelLimits { max_steps: Some(_), .. } = entry.limits {
        path("max_steps")
    } else if entry.load == LoadTime::OnDemand {
        path("load = \"on_demand\"")
    } else if let Some(Price::PerImage(_)) = entry.price {
        "this version does not support a `price` per image".to_owned()
    } else {
        tracing::debug!(memory = models.memory, model = entry.name, "serving one model");
        return Ok(entry);
    };
    Err(UsageError(problem).into())
}

/// Loads the model, which takes seconds, or about a minute for a large one; or prepares calls to a SageMaker
/// endpoint.
///
/// `results` opens the bucket of an asynchronous endpoint's results, and is called for such an endpoint
/// only.
///
/// # Errors
/// If the model does not exist, one of its files is missing or malformed, the device is unavailable, or the
/// endpoint's settings are invalid.
pub(crate) fn load(
    model: &ModelEntry,
    settings: &ModelSettings,
    results: impl FnOnce() -> Result<BucketResults>,
) -> Result<Arc<dyn Engine>> {
    let files = match &model.engine {
        ModelChoice::Builtin => builtin()?,
        ModelChoice::Folder(folder) => ModelFiles::folder(folder)?,
        ModelChoice::Hub(name) => {
            let Some(cache) = &settings.hub_cache else {
                bail!("the Hugging Face cache is unknown because there is no home folder; set `hub_cache`");
            };
            ModelFiles::folder(hub::find(cache, name)?)?
        }
        ModelChoice::Endpoint(endpoint) => {
            return remote(&model.name, endpoint, &model.endpoint, results);
        }
    };
    local(settings, &model.name, files)
}

fn local(settings: &ModelSettings, name: &str, files: ModelFiles) -> Result<Arc<dyn Engine>> {
    let options = EngineOptions { device: device(settings.device), threads: settings.threads };
    let engine = DiffusionEngine::load(name, files, options)
        .with_context(|| format!("failed to load the model `{name}`"))?;
    Ok(Arc::new(engine))
}

/// An engine that calls this endpoint. It makes no call and looks up no credentials before the first image.
fn remote(
    name: &str,
    endpoint: &str,
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
    };
    let mut settings = EndpointSettings::new(endpoint, model);
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

fn device(device: Device) -> DeviceChoice {
    match device {
        Device::Auto if cfg!(feature = "cuda") => DeviceChoice::Cuda(0),
        Device::Auto if cfg!(feature = "metal") => DeviceChoice::Metal(0),
        Device::Auto | Device::Cpu => DeviceChoice::Cpu,
        Device::Cuda(number) => DeviceChoice::Cuda(number),
        Device::Metal(number) => DeviceChoice::Metal(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Flags};

    fn served(file: &str) -> Result<String> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("tintype.toml"), file)?;
        let environment = Environment { working_folder: folder.path().to_owned(), ..Environment::default() };
        let models = Config::load(&environment, &Flags::default())?.models;
        served_model(&models).map(|entry| entry.name.clone())
    }

    #[test]
    fn a_server_has_one_model() {
        assert_eq!(served("").expect("the default"), "emoji");
        let one = "price = '1usd'\n[models.a]\nengine = 'builtin'\nmax_pixels = 4096\n";
        assert_eq!(served(one).expect("one"), "a");
        for (more, problem) in [
            ("[models.b]\nengine = 'o/b'", "serves one model, but the settings have several: a, b"),
            ("steps = 4", "`width`, `height`, `steps` and `guidance` of the model `a`"),
            ("max_steps = 4", "`max_steps` of the model `a`"),
            ("load = 'on_demand'", "`load = \"on_demand\"` of the model `a`"),
            ("price = '1usd/image'", "a `price` per image"),
        ] {
            let error = served(&format!("{one}{more}")).expect_err(more);
            assert!(error.is::<UsageError>() && error.to_string().contains(problem), "{error}");
        }
    }
}
