//! Generates images in this process.

use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tintype_core::engine::Generated;
use tintype_core::model::ModelCard;
use tintype_core::request::{Draft, GenerateRequest, RequestLimits};
use tintype_core::violation::Violation;
use tintype_picture::Parameters;
use tintype_service::WarningMessage;

use super::progress::TerminalProgress;
use super::{GeneratedImage, Interrupted};
use crate::cli::GenerateOptions;
use crate::config::{Config, ModelDefaults};
use crate::engine;
use crate::output::UsageError;

/// Generates the images.
///
/// # Errors
/// If the request is invalid, or the model cannot be loaded or fails.
pub(super) fn generate(config: &Config, options: &GenerateOptions) -> Result<Vec<GeneratedImage>> {
    let bar = Arc::new(TerminalProgress::new(options.progress_display(), "loading the model"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            generated = load_and_generate(config, options, bar.clone()) => generated,
            _ = tokio::signal::ctrl_c() => Err(Interrupted("interrupted".to_owned()).into()),
        }
    });
    // Also after an interruption: the bar must not stay on the terminal.
    bar.finish();
    // Do not wait for a model that is still being loaded.
    runtime.shutdown_background();
    let Outcome { model, model_hash, request, generated } = outcome?;
    let warnings: Vec<WarningMessage> = generated.warnings.iter().map(WarningMessage::from).collect();
    let seconds = generated.engine_seconds;
    (0..)
        .zip(&generated.pictures)
        .map(|(index, picture)| {
            let parameters = Parameters::new(&request, index, &model.name);
            let parameters = parameters.with_model_hash(model_hash.clone());
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

/// The result of the engine.
struct Outcome {
    model: ModelCard,
    /// The SHA-256 of the model's weights, if it is known.
    model_hash: Option<String>,
    request: Arc<GenerateRequest>,
    generated: Generated,
}

async fn load_and_generate(
    config: &Config,
    options: &GenerateOptions,
    bar: Arc<TerminalProgress>,
) -> Result<Outcome> {
    let entry = config.models.default_entry();
    let (loaded, settings, data_dir) = (entry.clone(), config.model.clone(), config.store.data_dir.clone());
    let load = move || {
        engine::load(&loaded, &settings, &data_dir, || {
            bail!(
                "`tintype generate` does not support asynchronous SageMaker endpoints; use `tintype serve` with \
                 `sagemaker_async`"
            )
        })
    };
    let engine = tokio::task::spawn_blocking(load).await??;
    let model = engine.model().clone();
    // The limits of `tintype serve` protect a shared server; here only the machine limits a request.
    let limits = RequestLimits { max_pixels: u64::MAX, max_work: u64::MAX };
    let draft = with_defaults(options.draft(), &entry.defaults);
    let request = check(draft, |draft| draft.check(&model, &limits, fastrand::u32(..)))?;
    let request = Arc::new(request);
    let generated = engine.generate(request.clone(), bar).await?;
    Ok(Outcome { model, model_hash: engine.model_hash(), request, generated })
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
