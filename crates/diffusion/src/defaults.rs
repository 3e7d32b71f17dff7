//! How many steps and how much guidance a model gets when a request does not say.

use serde::Deserialize;
use serde_json::Value;

use crate::index::ModelIndex;
use crate::options::Options;
use crate::{ModelError, ModelFiles};

/// A model's defaults.
///
/// A folder may say them in `model_index.json`, where diffusers passes over names that begin with `_`:
/// `"_tintype": {"steps": 20, "guidance": 5.0}`. Otherwise they follow from the scheduler that the model was published with:
///
/// - `EulerDiscreteScheduler` with `timestep_spacing` `trailing`, noise prediction and no rescaled betas is how models distilled to a
///   few steps come (SD-Turbo): 2 steps, no guidance;
/// - `LCMScheduler` and `TCDScheduler`: 4 steps, and no guidance or, if the denoiser takes the guidance scale as an input, 8.5;
/// - `DDIMScheduler` and `DDPMScheduler`: 50 steps, guidance 7.5;
/// - all others: 20 steps, guidance 7.5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Defaults {
    pub(crate) steps: u32,
    pub(crate) guidance: f64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overrides {
    steps: Option<u32>,
    guidance: Option<f64>,
}

impl Defaults {
    pub(crate) fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        let index: Value = files.read_json(ModelIndex::FILE)?;
        let malformed = |source: Option<serde_json::Error>| ModelError::Malformed {
            path: files.path("model_index.json"),
            expected: "`_tintype` with `steps` (1 to 150) and `guidance` (0 to 30), either or both"
                .to_owned(),
            source: source.map(Into::into),
        };
        let overrides: Option<Overrides> = index
            .get("_tintype")
            .map_or(Ok(None), Option::deserialize)
            .map_err(|source| malformed(Some(source)))?;
        let overrides = overrides.unwrap_or_default();
        let options = Options::load(files, "scheduler/scheduler_config.json")?;
        let class = ModelIndex::class_of(files, "scheduler", &options)?;
        let scheduler_defaults = match class.name() {
            Some("LCMScheduler" | "TCDScheduler") => Self::for_consistency_model(files)?,
            name => Self::for_scheduler(name, options)?,
        };
        let defaults = Self {
            steps: overrides.steps.unwrap_or(scheduler_defaults.steps),
            guidance: overrides.guidance.unwrap_or(scheduler_defaults.guidance),
        };
        if !(1..=150).contains(&defaults.steps) || !(0.0..=30.0).contains(&defaults.guidance) {
            return Err(malformed(None));
        }
        Ok(defaults)
    }

    /// Those of diffusers' `LatentConsistencyModelPipeline` and of LCM-LoRA.
    fn for_consistency_model(files: &ModelFiles) -> Result<Self, ModelError> {
        let denoiser: Value = files.read_json("unet/config.json")?;
        let takes_guidance = denoiser.get("time_cond_proj_dim").is_some_and(|size| !size.is_null());
        Ok(Self { steps: 4, guidance: if takes_guidance { 8.5 } else { 1.0 } })
    }

    fn for_scheduler(class: Option<&str>, mut options: Options) -> Result<Self, ModelError> {
        let spacing: Option<String> = options.optional("timestep_spacing")?;
        let prediction: Option<String> = options.optional("prediction_type")?;
        let distilled = class == Some("EulerDiscreteScheduler")
            && spacing.as_deref() == Some("trailing")
            && matches!(prediction.as_deref(), None | Some("epsilon"))
            && !options.flag("rescale_betas_zero_snr")?;
        Ok(match class {
            _ if distilled => Self { steps: 2, guidance: 0.0 },
            Some("DDIMScheduler" | "DDPMScheduler") => Self { steps: 50, guidance: 7.5 },
            _ => Self { steps: 20, guidance: 7.5 },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The defaults of a model folder with these two files.
    fn load(index: &[u8], scheduler: &[u8]) -> Result<Defaults, ModelError> {
        load_with_denoiser(index, scheduler, b"{}")
    }

    fn load_with_denoiser(index: &[u8], scheduler: &[u8], denoiser: &[u8]) -> Result<Defaults, ModelError> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("scheduler")).expect("a folder");
        std::fs::write(folder.path().join("scheduler/scheduler_config.json"), scheduler).expect("a file");
        std::fs::create_dir(folder.path().join("unet")).expect("a folder");
        std::fs::write(folder.path().join("unet/config.json"), denoiser).expect("a file");
        std::fs::write(folder.path().join("model_index.json"), index).expect("a file");
        Defaults::load(&ModelFiles::folder(folder.path()).expect("a model"))
    }

    #[test]
    fn schedulers_have_their_usual_numbers() {
        let scheduler_defaults = |scheduler: Value| {
            let defaults = load(b"{}", scheduler.to_string().as_bytes()).expect("defaults");
            (defaults.steps, defaults.guidance)
        };
        let turbo = json!({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing",
            "rescale_betas_zero_snr": null, "prediction_type": null});
        assert_eq!(scheduler_defaults(turbo), (2, 0.0));
        let zero_snr = json!({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing",
            "prediction_type": "v_prediction", "rescale_betas_zero_snr": true});
        assert_eq!(scheduler_defaults(zero_snr), (20, 7.5));
        assert_eq!(scheduler_defaults(json!({"_class_name": "DDIMScheduler"})), (50, 7.5));
        assert_eq!(scheduler_defaults(json!({"_class_name": "PNDMScheduler"})), (20, 7.5));
        let listed = br#"{"scheduler":["diffusers","DDIMScheduler"],"_tintype":null}"#;
        let found = load(listed, br#"{"_class_name":"PNDMScheduler"}"#).expect("defaults");
        assert_eq!(found, Defaults { steps: 50, guidance: 7.5 });
    }

    #[test]
    fn consistency_models_need_few_steps() {
        let defaults = |class: &str, denoiser: &[u8]| {
            let scheduler = json!({"_class_name": class}).to_string();
            let defaults = load_with_denoiser(b"{}", scheduler.as_bytes(), denoiser).expect("defaults");
            (defaults.steps, defaults.guidance)
        };
        assert_eq!(defaults("LCMScheduler", br#"{"time_cond_proj_dim":256}"#), (4, 8.5));
        assert_eq!(defaults("LCMScheduler", br#"{"time_cond_proj_dim":null}"#), (4, 1.0));
        assert_eq!(defaults("TCDScheduler", b"{}"), (4, 1.0));
        assert_eq!(defaults("DDPMScheduler", b"{}"), (50, 7.5));
    }

    #[test]
    fn a_folder_may_say_its_own() {
        assert_eq!(
            load(br#"{"_tintype":{"steps":4}}"#, b"{}").expect("valid"),
            Defaults { steps: 4, guidance: 7.5 }
        );
        for bad in [&br#"{"_tintype":{"steps":0}}"#[..], br#"{"_tintype":{"step":1}}"#, br#"{"_tintype":7}"#]
        {
            let error = load(bad, b"{}").expect_err("not valid").to_string();
            assert!(error.contains("model_index.json") && error.contains("_tintype"), "{error}");
        }
    }
}
