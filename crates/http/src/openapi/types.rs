//! Shapes of what others' types are written as, for the description only.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::openai::ResponseMetadata;

/// A moment, as RFC 3339 has it.
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

/// A file format of pictures.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "it is only described")]
pub(crate) enum FileFormat {
    Jpeg,
    Png,
    Webp,
}

/// What a client should know about a picture that was made all the same.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct Warning {
    /// What it is about, for programs: `prompt_cut`, `size_fitted`.
    code: String,
    /// The whole of it, for people.
    message: String,
}

/// A server-sent event.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct Event {
    /// What happened.
    #[schemars(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// Its number; the last one's is `end`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// JSON, but for OpenAI's last one, `[DONE]`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// A key's limits.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct KeyLimits {
    /// Requests per time.
    #[schemars(extend("examples" = ["60/min"]))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    /// Jobs that are queued or running at the same time.
    #[schemars(range(min = 1))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    /// Engine time and money per day or month. All of them hold.
    #[schemars(extend("examples" = [["3600s/day", "5usd/day"]]))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    budgets: Option<Vec<String>>,
}

/// The answer to OpenAI's call.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct Generations {
    /// When the job was accepted: seconds since 1970.
    created: i64,
    /// The pictures, in the order of their seeds.
    data: Vec<GeneratedPicture>,
    #[schemars(flatten)]
    about: ResponseMetadata,
}

/// A picture: a link or a file.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct GeneratedPicture {
    /// A signed link on this server's own origin.
    #[schemars(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The file, in base64.
    #[schemars(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// Seed of its noise.
    seed: u64,
}
