//! `/v1/models`: the one model, and the names that stand for it.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use super::caller::LetIn;
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
pub(crate) struct List {
    object: &'static str,
    data: Vec<Model>,
}

impl Model {
    fn new(id: &str, since: OffsetDateTime) -> Self {
        Self { id: id.to_owned(), object: "model", created: since.unix_timestamp(), owned_by: "tintype" }
    }
}

/// `GET /v1/models`
pub(crate) async fn list(State(app): State<App>, _: LetIn) -> Result<Json<List>, Problem> {
    let own = &*app.service.model()?.name;
    let others = app.aliases.iter().filter_map(|alias| alias.name()).filter(|name| *name != own);
    let data = std::iter::once(own).chain(others).map(|name| Model::new(name, app.since)).collect();
    Ok(Json(List { object: "list", data }))
}

/// `GET /v1/models/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    _: LetIn,
    PathParam(id): PathParam,
) -> Result<Json<Model>, Problem> {
    match named(&app, &id)? {
        Named::Other => Err(Problem::UnknownModel(id)),
        Named::Own | Named::Alias => Ok(Json(Model::new(&id, app.since))),
    }
}

/// What a client means by a model's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The model that there is.
    Own,
    /// Somebody else's, for which ours stands in.
    Alias,
    /// One that there is not.
    Other,
}

/// # Errors
/// Those of [`Service::model`](tintype_service::Service::model).
pub(super) fn named(app: &App, name: &str) -> Result<Named, Problem> {
    if app.service.model()?.name == name {
        return Ok(Named::Own);
    }
    let known = app.aliases.iter().any(|alias| alias.covers(name));
    Ok(if known { Named::Alias } else { Named::Other })
}
