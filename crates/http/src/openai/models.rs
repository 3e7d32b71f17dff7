//! `/v1/models`: the one model, and the names that stand for it.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use super::caller::OpenAiCaller;
use crate::App;
use crate::path_param::PathParam;
use crate::problem::Problem;

/// A model, as OpenAI describes its own.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Model {
    id: String,
    object: &'static str,
    /// When this server began to offer it: seconds since 1970.
    created: i64,
    owned_by: &'static str,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelList")]
pub(crate) struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

impl Model {
    fn new(id: &str, since: OffsetDateTime) -> Self {
        Self { id: id.to_owned(), object: "model", created: since.unix_timestamp(), owned_by: "tintype" }
    }
}

/// `GET /v1/models`
pub(crate) async fn list(State(app): State<App>, _: OpenAiCaller) -> Result<Json<ModelList>, Problem> {
    let own = &*app.service.model()?.name;
    let others = app.aliases.iter().filter_map(|alias| alias.name()).filter(|name| *name != own);
    let data = std::iter::once(own).chain(others).map(|name| Model::new(name, app.started_at)).collect();
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
        ModelMatch::Exact | ModelMatch::Alias => Ok(Json(Model::new(&id, app.started_at))),
    }
}

/// What a client means by a model's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelMatch {
    /// The model that there is.
    Exact,
    /// Somebody else's, for which ours stands in.
    Alias,
    /// One that there is not.
    Unknown,
}

/// # Errors
/// Those of [`Service::model`](tintype_service::Service::model).
pub(super) fn match_model(app: &App, name: &str) -> Result<ModelMatch, Problem> {
    if app.service.model()?.name == name {
        return Ok(ModelMatch::Exact);
    }
    let known = app.aliases.iter().any(|alias| alias.covers(name));
    Ok(if known { ModelMatch::Alias } else { ModelMatch::Unknown })
}
