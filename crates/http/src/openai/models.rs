//! `/v1/models`: the model and its aliases.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::aliases::Alias;
use super::caller::OpenAiCaller;
use crate::App;
use crate::path_param::PathParam;
use crate::problem::Problem;

/// A model in OpenAI's format.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Model {
    /// The model's name.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When the server started, in seconds since 1970.
    created: i64,
    /// Always `tintype`.
    owned_by: &'static str,
    /// The name of the model, if `id` is an alias of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    alias_of: Option<String>,
}

/// The response of `GET /v1/models`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelList")]
pub(crate) struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// The model and its aliases. An alias with `*` at its end stands for all names with that beginning.
    data: Vec<Model>,
}

impl Model {
    fn new(app: &App, id: String, alias_of: Option<String>) -> Self {
        let created = app.started_at.unix_timestamp();
        Self { id, object: "model", created, owned_by: "tintype", alias_of }
    }
}

/// `GET /v1/models`
pub(crate) async fn list(State(app): State<App>, _: OpenAiCaller) -> Result<Json<ModelList>, Problem> {
    let name = &app.service.model()?.name;
    let aliases = app.aliases.iter().map(Alias::to_string).filter(|alias| alias != name);
    let aliases = aliases.map(|alias| Model::new(&app, alias, Some(name.clone())));
    let data = std::iter::once(Model::new(&app, name.clone(), None)).chain(aliases).collect();
    Ok(Json(ModelList { object: "list", data }))
}

/// `GET /v1/models/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    _: OpenAiCaller,
    PathParam(id): PathParam,
) -> Result<Json<Model>, Problem> {
    match match_model(&app, &id)? {
        ModelMatch::Unknown => Err(Problem::UnknownModel(id)),
        ModelMatch::Exact => Ok(Json(Model::new(&app, id, None))),
        ModelMatch::Alias => {
            let name = app.service.model()?.name.clone();
            Ok(Json(Model::new(&app, id, Some(name))))
        }
    }
}

/// How a client's model name matches the server's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelMatch {
    /// The name of the model.
    Exact,
    /// An alias of the model.
    Alias,
    /// Neither.
    Unknown,
}

/// Matches a client's model name.
///
/// # Errors
/// The errors of [`Service::model`](tintype_service::Service::model).
pub(super) fn match_model(app: &App, name: &str) -> Result<ModelMatch, Problem> {
    if app.service.model()?.name == name {
        return Ok(ModelMatch::Exact);
    }
    let known = app.aliases.iter().any(|alias| alias.covers(name));
    Ok(if known { ModelMatch::Alias } else { ModelMatch::Unknown })
}
