//! `/v1/models`: the models and their aliases, in OpenAI's format with tintype's additions.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tintype_core::request::{MAX_PICTURES, MAX_PROMPT_CHARS, MIN_SIDE};
use tintype_service::{ModelState, ModelView};

use super::caller::OpenAiCaller;
use crate::App;
use crate::openapi;
use crate::path_param::PathParam;
use crate::problem::Problem;

/// A model, or an alias of one. The first four members are OpenAI's.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Model {
    /// The name, as requests use it in `model`.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When the server started, in seconds since 1970.
    created: i64,
    /// Always `tintype`.
    owned_by: &'static str,
    /// The name of the model, if `id` is an alias of it. An alias has no further members.
    #[serde(skip_serializing_if = "Option::is_none")]
    alias_of: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// What a model accepts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelDetails")]
pub(crate) struct Details {
    /// Whether requests without `model` use this model.
    default: bool,
    /// `loaded`, `loading`, `unloading` (its running jobs are finished first), `unloaded` (the next request loads it) or
    /// `failed`.
    state: &'static str,
    /// The price of one second of engine time (`0.0005usd`) or of one image (`0.02usd/image`).
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<String>,
    /// The values of parameters that a request does not give.
    defaults: Defaults,
    /// The limits of one request.
    limits: Limits,
    /// A JSON Schema of the parameters that `POST /v1/images` accepts for this model.
    parameters: Value,
}

/// Default parameters.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelDefaults")]
struct Defaults {
    width: u32,
    height: u32,
    steps: u32,
    guidance: f64,
}

/// The limits of one request.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelLimits")]
struct Limits {
    /// Width and height must be multiples of this number of pixels.
    size_multiple: u32,
    /// Minimum width and height.
    min_side: u32,
    /// Maximum `width × height`.
    max_pixels: u64,
    /// Maximum `width × height × steps × n`.
    max_work: u64,
    /// Maximum number of denoising steps.
    max_steps: u32,
    /// Maximum guidance scale.
    max_guidance: f64,
    /// Maximum number of images.
    max_n: u32,
    /// Maximum length of the prompt and of the negative prompt in characters.
    max_prompt_chars: usize,
    /// Number of tokens of the prompt that the model reads; the rest of a longer prompt is ignored, with a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u32>,
}

/// The response of `GET /v1/models`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelList")]
pub(crate) struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// The models, the default one first, each followed by its aliases. An alias with `*` at its end stands for all
    /// names with that beginning.
    data: Vec<Model>,
}

impl Details {
    fn new(view: &ModelView<'_>, is_default: bool) -> Self {
        let (card, limits) = (view.card(), view.limits());
        Self {
            default: is_default,
            state: match view.state() {
                ModelState::Unloaded => "unloaded",
                ModelState::Loading => "loading",
                ModelState::Loaded => "loaded",
                ModelState::Unloading => "unloading",
                ModelState::Failed => "failed",
            },
            price: view.price().map(|price| price.to_string()),
            defaults: Defaults {
                width: card.width,
                height: card.height,
                steps: card.steps,
                guidance: card.guidance,
            },
            limits: Limits {
                size_multiple: card.size_multiple,
                min_side: MIN_SIDE,
                max_pixels: limits.max_pixels,
                max_work: limits.max_work,
                max_steps: card.sampling.max_steps,
                max_guidance: card.max_guidance,
                max_n: MAX_PICTURES,
                max_prompt_chars: MAX_PROMPT_CHARS,
                prompt_tokens: card.token_limit,
            },
            parameters: openapi::model_parameters(card, &limits),
        }
    }
}

impl Model {
    fn new(app: &App, id: String, alias_of: Option<String>, details: Option<Details>) -> Self {
        let created = app.started_at.unix_timestamp();
        Self { id, object: "model", created, owned_by: "tintype", alias_of, details }
    }
}

/// Whether this is the name of the default model.
fn is_default(app: &App, name: &str) -> bool {
    app.service.model(None).is_ok_and(|default| default.card().name == name)
}

/// `GET /v1/models`
pub(crate) async fn list(
    State(app): State<App>,
    OpenAiCaller(caller): OpenAiCaller,
) -> Result<Json<ModelList>, Problem> {
    // While the default model is loading, its name may be unknown.
    let views = app.service.models();
    if views.is_empty() {
        app.service.model(None)?;
    }
    let mut data = Vec::new();
    for view in views.into_iter().filter(|view| caller.may_use(&view.card().name)) {
        let name = view.card().name.clone();
        data.push(Model::new(&app, name.clone(), None, Some(Details::new(&view, is_default(&app, &name)))));
        let aliases = view.aliases().iter().map(ToString::to_string).filter(|alias| *alias != name);
        data.extend(aliases.map(|alias| Model::new(&app, alias, Some(name.clone()), None)));
    }
    Ok(Json(ModelList { object: "list", data }))
}

/// `GET /v1/models/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    OpenAiCaller(caller): OpenAiCaller,
    PathParam(id): PathParam,
) -> Result<Json<Model>, Problem> {
    let found = app.service.models().into_iter().find(|view| view.card().name == id);
    let view = match found {
        Some(view) => view,
        None => app.service.model(Some(&id))?,
    };
    let name = view.card().name.clone();
    if !caller.may_use(&name) {
        return Err(Problem::UnknownModel(id));
    }
    let is_alias = name != id;
    let details = (!is_alias).then(|| Details::new(&view, is_default(&app, &name)));
    Ok(Json(Model::new(&app, id, is_alias.then_some(name), details)))
}
