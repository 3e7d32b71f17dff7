//! The parameters of a picture, as the table of them has them.

use serde_json::{Map, Value, json};
use tintype_core::request::{
    MAX_EXPIRY, MAX_GUIDANCE, MAX_PICTURES, MAX_PROMPT_CHARS, MAX_SEED, MAX_SIDE, MAX_STEPS, MIN_SIDE,
    SIDE_UNIT,
};

use crate::openai;
use crate::params::{MAX_DEADLINE, Param, ParamSource, ValueKind};

/// The parameters of a query.
pub(super) fn query() -> Vec<Value> {
    let parameter = |param: &Param| {
        let mut schema = schema(param);
        let description = schema["description"].take();
        schema.as_object_mut().map(|schema| schema.remove("description"));
        let required = param.name == "prompt";
        json!({"name": param.name, "in": "query", "required": required, "description": description, "schema": schema})
    };
    ParamSource::Query.params().map(parameter).collect()
}

/// The body that asks for pictures in our own words.
pub(super) fn body() -> Value {
    object(ParamSource::Body.params().map(|param| (param.name.to_owned(), schema(param))).collect())
}

/// The body that asks for them in OpenAI's, or in ours beside them.
pub(super) fn openai_body() -> Value {
    let native = ParamSource::OpenAi.params().map(|param| (param.name.to_owned(), schema(param)));
    let openai = openai::PARAMETERS.iter().map(|name| ((*name).to_owned(), openai_schema(name)));
    let mut body = object(native.chain(openai).collect());
    let both_given = |one: &str, pattern: &str, other: &str| {
        json!({
            "required": [one, other],
            "properties": {one: {"type": "string", "pattern": pattern}, other: {"not": {"type": "null"}}},
        })
    };
    body["not"] = json!({"anyOf": [
        both_given("output_format", "", "format"),
        both_given("size", "^[1-9]", "width"),
        both_given("size", "^[1-9]", "height"),
        {"required": ["stream", "response_format"], "properties": {"stream": {"const": true}, "response_format": {"const": "url"}}},
    ]});
    body
}

fn object(properties: Map<String, Value>) -> Value {
    let mut properties = properties;
    for (name, schema) in &mut properties {
        if name != "prompt" {
            allow_null(schema);
        }
    }
    json!({"type": "object", "required": ["prompt"], "properties": properties, "additionalProperties": false})
}

/// Programs that write a member for everything they know write `null` for what is not given.
fn allow_null(schema: &mut Value) {
    if let Some(kind) = schema.get("type").cloned() {
        schema["type"] = json!([kind, "null"]);
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
}

fn schema(param: &Param) -> Value {
    match (param.name, param.kind) {
        ("prompt", _) => json!({
            "type": "string", "minLength": 1, "maxLength": MAX_PROMPT_CHARS, "pattern": "\\S",
            "description": "What the picture shows. What is beyond what the model reads (77 tokens of Stable Diffusion's, 32 of the built-in one's) is left out, with a warning that says from where.",
            "examples": ["a cyborg tiger"],
        }),
        ("negative_prompt", _) => json!({
            "type": "string", "maxLength": MAX_PROMPT_CHARS,
            "description": "What it should not show.", "examples": ["blurry"],
        }),
        (name @ ("width" | "height"), _) => json!({
            "type": "integer", "minimum": MIN_SIDE, "maximum": MAX_SIDE, "multipleOf": SIDE_UNIT,
            "description": format!(
                "{}; the model's own if left out. Pixels, pixels × steps × n and memory have limits that the operator sets, and an \
                 error names the one that is exceeded.",
                if name == "width" { "Pixels per row" } else { "Rows of pixels" }
            ),
            "examples": [64],
        }),
        ("steps", _) => json!({
            "type": "integer", "minimum": 1, "maximum": MAX_STEPS,
            "description": "Denoising steps; the model's own number if left out.", "examples": [4],
        }),
        ("guidance", _) => json!({
            "type": "number", "minimum": 0, "maximum": MAX_GUIDANCE,
            "description": "How closely to follow the prompt; at most 1 means not at all, and costs half the time.", "examples": [5.5],
        }),
        ("seed", _) => json!({
            "type": "integer", "minimum": 0, "maximum": MAX_SEED,
            "description": "Seed of the noise: the same request with the same seed gives the same picture, which may then come from the \
                            store at no cost. Drawn and told if left out.",
            "examples": [7],
        }),
        ("n", _) => json!({
            "type": "integer", "minimum": 1, "maximum": MAX_PICTURES,
            "description": "How many pictures, with seeds that count up; 1 if left out.", "examples": [2],
        }),
        ("format", _) => json!({
            "type": "string", "enum": ["jpeg", "jpg", "png", "webp"],
            "description": "The file format; jpeg if left out.", "examples": ["png"],
        }),
        ("expires_in", _) => json!({
            "type": "integer", "minimum": 1, "maximum": MAX_EXPIRY.as_secs(),
            "description": "How long the link works, in seconds; 300 if left out.", "examples": [60],
        }),
        ("coalesce", _) => json!({
            "type": "boolean",
            "description": "An identical request in flight will do, although no seed is given.", "examples": [true],
        }),
        ("deadline", _) => json!({
            "type": "integer", "minimum": 1, "maximum": MAX_DEADLINE,
            "description": "Seconds after which the job is given up if it has not ended.", "examples": [60],
        }),
        ("output_compression", _) => json!({
            "type": "integer", "minimum": 0, "maximum": 100,
            "description": "How much of the picture a jpeg or webp keeps, in percent; png is lossless whatever is asked for.", "examples": [80],
        }),
        (_, ValueKind::Text | ValueKind::Format) => json!({ "type": "string" }),
        (_, ValueKind::Integer) => json!({ "type": "integer" }),
        (_, ValueKind::Number) => json!({ "type": "number" }),
        (_, ValueKind::Boolean) => json!({ "type": "boolean" }),
    }
}

fn openai_schema(name: &str) -> Value {
    match name {
        "model" => json!({
            "type": "string",
            "description": "This server's model, or a name that its operator lets stand for it (`gpt-image-*` and `dall-e-*` unless changed).",
            "examples": ["gpt-image-1"],
        }),
        "size" => json!({
            "type": "string", "pattern": "^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$",
            "description": "`auto` or `WIDTHxHEIGHT`. If `model` is not this very model's name, a size that it does not make becomes the one \
                            of the same shape that it makes best, and the answer's `size` and `warnings` say so.",
            "examples": ["1024x1024"],
        }),
        "quality" => json!({
            "type": "string", "enum": ["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"],
            "description": "Taken, and told in the answer; it changes nothing. `steps` does.", "examples": ["high"],
        }),
        "response_format" => json!({
            "type": "string", "enum": ["url", "b64_json"],
            "description": "Links or files; links if left out, but files for a model whose name begins with `gpt-image`.",
            "examples": ["b64_json"],
        }),
        "output_format" => json!({
            "type": "string", "enum": ["png", "jpeg", "jpg", "webp"],
            "description": "The file format; png if left out. `format` is the same.", "examples": ["webp"],
        }),
        "background" => json!({
            "type": "string", "enum": ["auto", "opaque"],
            "description": "Pictures have no transparency; asking for it is an error.", "examples": ["opaque"],
        }),
        "moderation" => json!({
            "type": "string", "enum": ["auto", "low"],
            "description": "Taken; there is none here.", "examples": ["low"],
        }),
        "style" => json!({
            "type": "string", "enum": ["vivid", "natural"],
            "description": "Taken; it changes nothing. The prompt does.", "examples": ["vivid"],
        }),
        "stream" => json!({
            "type": "boolean", "description": "Answer with events as the pictures are made.", "examples": [true],
        }),
        "partial_images" => json!({
            "type": "integer", "minimum": 0, "maximum": 3,
            "description": "At most so many pictures in the making are sent ahead of the finished one, small, if `stream` is true.",
            "examples": [2],
        }),
        _ => json!({
            "type": "string", "description": "Taken, and not kept.", "examples": ["user-1"],
        }),
    }
}
