//! Generates images in this process.

use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tintype_core::engine::Warning;
use tintype_core::request::{Draft, GenerateRequest, RequestLimits};
use tintype_core::violation::Violation;
use tintype_picture::Parameters;

use super::GeneratedImage;
use super::progress::TerminalProgress;
use crate::cli::GenerateOptions;
use crate::config::{Config, ModelDefaults};
use crate::engine;
use crate::output::UsageError;

/// Generates the images.
///
/// # Errors
/// If the request is invalid, or the model cannot be loaded or fails.
pub(super) fn generate(config: &Config, options: &GenerateOptions) -> Result<Vec<GeneratedImage>> {
    let entry = config.models.default_entry();
    let bar = Arc::new(TerminalProgress::new(options.progress_display(), "loading the model"));
    let engine = engine::load(entry, &config.model, || {
        bail!(
            "`tintype generate` does not support asynchronous SageMaker endpoints; use `tintype serve` with \
             `sagemaker_async`"
        )
    })?;
    let model = engine.model().clone();
    // The limits of `tintype serve` protect a shared server; here only the machine limits a request.
    let limits = RequestLimits { max_pixels: u64::MAX, max_work: u64::MAX };
    let request = check(with_defaults(options.draft(), &entry.defaults), |draft| {
        draft.check(&model, &limits, fastrand::u32(..))
    })?;
    let request = Arc::new(request);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let generated = runtime.block_on(engine.generate(request.clone(), bar.clone()))?;
    bar.finish();
    let warnings: Vec<Value> = generated.warnings.iter().map(warning).collect();
    let seconds = generated.engine_seconds;
    (0..)
        .zip(&generated.pictures)
        .map(|(index, picture)| {
            let parameters = Parameters::new(&request, index, &model.name);
            let file = tintype_picture::encode(picture, request.format, &parameters)?;
            let facts = json!({
                "prompt": parameters.prompt,
                "seed": parameters.seed,
                "width": parameters.width,
                "height": parameters.height,
                "model": parameters.model,
                "cost": {"engine_seconds": seconds},
                "warnings": warnings,
            });
            let Value::Object(facts) = facts else { bail!("the image metadata is not a JSON object") };
            Ok(GeneratedImage { facts, file: Some(file), url: None })
        })
        .collect()
}

/// The request with the model's default parameters of the settings.
fn with_defaults(draft: Draft, defaults: &ModelDefaults) -> Draft {
    Draft {
        width: draft.width.or(defaults.width.map(i64::from)),
        height: draft.height.or(defaults.height.map(i64::from)),
        steps: draft.steps.or(defaults.steps.map(i64::from)),
        guidance: draft.guidance.or(defaults.guidance),
        ..draft
    }
}

/// Validates the request. Error messages name the flags instead of the API's parameters.
fn check(
    draft: Draft,
    check: impl FnOnce(Draft) -> Result<GenerateRequest, Vec<Violation>>,
) -> Result<GenerateRequest> {
    check(draft).map_err(|violations| {
        let messages = violations.into_iter().map(|violation| {
            let flag = match violation.parameter.as_str() {
                "prompt" => "PROMPT".to_owned(),
                parameter => format!("--{}", parameter.replace('_', "-")),
            };
            violation.renamed(flag).to_string()
        });
        UsageError(messages.collect::<Vec<_>>().join("; ")).into()
    })
}

/// A warning in the JSON form of the API.
fn warning(warning: &Warning) -> Value {
    match warning {
        Warning::PromptTruncated { parameter, limit, omitted } => json!({
            "code": "prompt_cut",
            "message": format!(
                "`{parameter}` exceeds the model's limit of {limit} tokens; ignored text: {omitted}"
            ),
        }),
    }
}
