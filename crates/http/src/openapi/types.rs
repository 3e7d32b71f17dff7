//! Schemas of types from other crates, used by the description only.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::openai::ResponseMetadata;

/// A time in RFC 3339 format.
pub(crate) struct Timestamp;

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// An image file format.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum FileFormat {
    Jpeg,
    Png,
    Webp,
}

/// A warning about a request that succeeded.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Warning {
    /// The kind of warning, for programs: `prompt_cut`, `scheduler_substituted`, `size_fitted`, `unreachable_link`.
    code: String,
    /// The warning, for people.
    message: String,
}

/// A server-sent event.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Event {
    /// The kind of event.
    #[schemars(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// The number of the event; `end` for the last event.
    #[schemars(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// JSON, except for the last event of OpenAI's dialect: `[DONE]`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// A key's limits.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct KeyLimits {
    /// The maximum rate of requests.
    #[schemars(extend("examples" = ["60/min"]))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    /// The maximum number of queued and running jobs.
    #[schemars(range(min = 1))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    /// Budgets of engine time and money per day or month; all of them apply.
    #[schemars(extend("examples" = [["3600s/day", "5usd/day"]]))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    budgets: Option<Vec<String>>,
    /// The names of the models that the key can use; all if absent.
    #[schemars(extend("examples" = [["emoji"]]))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
}

/// The response of `POST /v1/images/generations`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Generations {
    /// When the job was accepted, in seconds since 1970.
    created: i64,
    /// The images in the order of their seeds.
    data: Vec<GeneratedPicture>,
    #[schemars(flatten)]
    metadata: ResponseMetadata,
}

/// An image: either a link or a file.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct GeneratedPicture {
    /// A presigned URL on the server's own origin.
    #[schemars(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The file in base64.
    #[schemars(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// The seed of the image.
    seed: u64,
}
