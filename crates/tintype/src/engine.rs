//! From the setting `model` to an engine.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tintype_core::engine::Engine;
use tintype_diffusion::{DeviceChoice, DiffusionEngine, EngineOptions, ModelFiles, hub};

use crate::config::{Device, Model, ModelChoice};

/// Loads the model. It blocks for seconds, or a minute for a large one.
///
/// # Errors
/// When there is no such model, a file of it is missing or malformed, or the device is not there.
pub(crate) fn load(settings: &Model) -> Result<Arc<dyn Engine>> {
    let (name, files) = find(settings)?;
    let options = EngineOptions { device: device(settings.device), threads: settings.threads };
    let engine = DiffusionEngine::load(&name, files, options)
        .with_context(|| format!("the model `{name}` could not be loaded"))?;
    Ok(Arc::new(engine))
}

/// The model's name and its files.
fn find(settings: &Model) -> Result<(String, ModelFiles)> {
    match &settings.choice {
        ModelChoice::Builtin => builtin(),
        ModelChoice::Folder(folder) => Ok((folder_name(folder), ModelFiles::folder(folder)?)),
        ModelChoice::Hub(name) => {
            let Some(cache) = &settings.hub_cache else {
                bail!("there is no home folder to look for the Hugging Face cache in; set `hub_cache`");
            };
            Ok((name.clone(), ModelFiles::folder(hub::find(cache, name)?)?))
        }
    }
}

#[cfg(feature = "builtin")]
fn builtin() -> Result<(String, ModelFiles)> {
    Ok(("emoji".to_owned(), ModelFiles::embedded(tintype_emoji::FILES)?))
}

#[cfg(not(feature = "builtin"))]
fn builtin() -> Result<(String, ModelFiles)> {
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
