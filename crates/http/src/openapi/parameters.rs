//! The schemas of the parameters of an image, from the table that parses them.

use serde_json::{Map, Value, json};
use tintype_core::model::ModelCard;
use tintype_core::request::{
    MAX_EXPIRY, MAX_PICTURES, MAX_PROMPT_CHARS, MAX_SEED, MAX_SIDE, MIN_SIDE, RANDOM_SEED, RequestLimits,
};

use crate::openai;
use crate::params::{MAX_DEADLINE, Param, ParamSource, ValueKind};

/// The query parameters of `GET /generate`.
pub(super) fn query() -> Vec<Value> {
    let parameter = |param: &Param| {
        let mut schema = schema(param);
        let description = schema["description"].take();
        schema.as_object_mut().map(|schema| schema.remove("description"));
        let required = param.name == "prompt";
        json!({
            "name": param.name, "in": "query", "required": required, "description": description,
            "schema": schema,
        })
    };
    ParamSource::Query.params().map(parameter).collect()
}

/// The body of `POST /v1/images`.
pub(super) fn body() -> Value {
    object(ParamSource::Body.params().map(|param| (param.name.to_owned(), schema(param))).collect())
}

/// The body of `POST /v1/images/generations`: OpenAI's and the native parameters.
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
        {
            "required": ["stream", "response_format"],
            "properties": {"stream": {"const": true}, "response_format": {"const": "url"}},
        },
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

/// Allows `null`, which some clients write for absent values.
fn allow_null(schema: &mut Value) {
    if let Some(kind) = schema.get("type").cloned() {
        schema["type"] = json!([kind, "null"]);
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
}

/// The body of `POST /v1/images` for one model, with its defaults and limits.
pub(super) fn of_model(card: &ModelCard, limits: &RequestLimits) -> Value {
    // The other side has at least `MIN_SIDE` pixels.
    let max_side = (limits.max_pixels / u64::from(MIN_SIDE)).min(MAX_SIDE.into());
    let properties = ParamSource::Body.params().map(|param| {
        let mut schema = schema_of(param, card);
        if matches!(param.name, "width" | "height") {
            schema["maximum"] = max_side.into();
        }
        match param.name {
            "width" => schema["default"] = card.width.into(),
            "height" => schema["default"] = card.height.into(),
            "steps" => schema["default"] = card.steps.into(),
            "guidance" => schema["default"] = card.guidance.into(),
            "model" => {
                schema["const"] = card.name.as_str().into();
                schema["examples"] = json!([card.name]);
            }
            _ => {}
        }
        (param.name.to_owned(), schema)
    });
    object(properties.collect())
}

/// The schema of a parameter with the limits that most models have.
fn schema(param: &Param) -> Value {
    schema_of(param, &ModelCard::default())
}

/// The schema of a parameter for a model, with the synonyms of its name.
fn schema_of(param: &Param, card: &ModelCard) -> Value {
    let mut schema = schema_of_value(param, card);
    if let (false, Some(text)) = (param.synonyms.is_empty(), schema["description"].as_str()) {
        let synonyms = param.synonyms.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        schema["description"] = format!("{text} Other accepted names: {synonyms}.").into();
    }
    schema
}

fn schema_of_value(param: &Param, card: &ModelCard) -> Value {
    match (param.name, param.kind) {
        ("prompt", _) => json!({
            "type": "string", "minLength": 1, "maxLength": MAX_PROMPT_CHARS, "pattern": "\\S",
            "description": "What the image shall show. A prompt that exceeds the model's token \
                            limit is truncated, with a warning.",
            "examples": ["a cyborg tiger"],
        }),
        ("negative_prompt", _) => json!({
            "type": "string", "maxLength": MAX_PROMPT_CHARS,
            "description": "What the image shall not show.", "examples": ["blurry"],
        }),
        (name @ ("width" | "height"), _) => json!({
            "type": "integer", "minimum": MIN_SIDE, "maximum": MAX_SIDE, "multipleOf": card.size_multiple,
            "description": format!(
                "The {name} in pixels. Default: the model's {name}. The operator sets limits for pixels, for \
                 pixels × steps × n and for memory."
            ),
            "examples": [64],
        }),
        ("steps", _) => json!({
            "type": "integer", "minimum": 1, "maximum": card.sampling.max_steps,
            "description": "The number of denoising steps. Default: the model's number. The model's scheduler can have a \
                            lower maximum.",
            "examples": [4],
        }),
        ("guidance", _) => json!({
            "type": "number", "minimum": 0, "maximum": card.max_guidance,
            "description": "The guidance scale: higher values follow the prompt more closely. Values up to \
                            1 disable guidance, which halves the engine time. Default: the model's value.",
            "examples": [5.5],
        }),
        ("model", _) => json!({
            "type": "string",
            "description": "The name or an alias of the model; `GET /v1/models` lists them, with their limits. \
                            Default: the server's default model.",
            "examples": ["emoji"],
        }),
        ("seed", _) => json!({
            "type": "integer", "minimum": RANDOM_SEED, "maximum": MAX_SEED,
            "description": "The seed of the noise. The same request with the same seed creates the same \
                            image, or returns the stored image at no cost. Default, and with -1: a random \
                            seed, which the response contains.",
            "examples": [7],
        }),
        ("n", _) => json!({
            "type": "integer", "minimum": 1, "maximum": MAX_PICTURES,
            "description": "The number of images, with consecutive seeds. Default: 1.", "examples": [2],
        }),
        ("format", _) => json!({
            "type": "string", "enum": ["jpeg", "jpg", "png", "webp"],
            "description": "The file format. Default: jpeg; png for `POST /v1/images/generations`.",
            "examples": ["png"],
        }),
        ("expires_in", _) => json!({
            "type": "integer", "minimum": 1, "maximum": MAX_EXPIRY.as_secs(),
            "description": "The lifetime of the presigned URLs in seconds. Default: 300; 3600 for `POST \
                            /v1/images/generations`.",
            "examples": [60],
        }),
        ("coalesce", _) => json!({
            "type": "boolean",
            "description": "Whether a request without a seed may share the images of an identical request \
                            in progress. Default: false.",
            "examples": [true],
        }),
        ("deadline", _) => json!({
            "type": "integer", "minimum": 1, "maximum": MAX_DEADLINE,
            "description": "The number of seconds after which the job is stopped if it has not ended. \
                            Default: no deadline.",
            "examples": [60],
        }),
        ("output_compression", _) => json!({
            "type": "integer", "minimum": 0, "maximum": 100,
            "description": "The quality of jpeg and webp files in percent; png files are always lossless.",
            "examples": [80],
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
            "description": "The name of the model or an alias. Aliases are set by the operator; the \
                            defaults are `gpt-image-*`, `chatgpt-image-*`, `dall-e-*` and `tintype`. The \
                            built-in model also has the alias `builtin`.",
            "examples": ["gpt-image-1"],
        }),
        "size" => json!({
            "type": "string", "pattern": "^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$",
            "description": "`auto` or `WIDTHxHEIGHT`. Unless `model` is the name of the server's model, an \
                            unsupported size is replaced by the best supported size with the same aspect \
                            ratio; the `size` and `warnings` of the response report it.",
            "examples": ["1024x1024"],
        }),
        "quality" => json!({
            "type": "string", "enum": ["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"],
            "description": "Accepted and returned, but has no effect; use `steps`.", "examples": ["high"],
        }),
        "response_format" => json!({
            "type": "string", "enum": ["url", "b64_json"],
            "description": "Links or files. Default: links, but files for a model whose name begins with \
                            `gpt-image` or `chatgpt-image`.",
            "examples": ["b64_json"],
        }),
        "output_format" => json!({
            "type": "string", "enum": ["png", "jpeg", "jpg", "webp"],
            "description": "The file format, like `format`. Default: png.", "examples": ["webp"],
        }),
        "background" => json!({
            "type": "string", "enum": ["auto", "opaque"],
            "description": "Images are always opaque; `transparent` is an error.", "examples": ["opaque"],
        }),
        "moderation" => json!({
            "type": "string", "enum": ["auto", "low"],
            "description": "Accepted without effect; the server does not moderate.", "examples": ["low"],
        }),
        "style" => json!({
            "type": "string", "enum": ["vivid", "natural"],
            "description": "Accepted without effect; describe the style in the prompt.",
            "examples": ["vivid"],
        }),
        "stream" => json!({
            "type": "boolean",
            "description": "Whether the response is server-sent events. Default: false.",
            "examples": [true],
        }),
        "partial_images" => json!({
            "type": "integer", "minimum": 0, "maximum": 3,
            "description": "The maximum number of small partial images before the complete image, if \
                            `stream` is true. Default: 0.",
            "examples": [2],
        }),
        _ => json!({
            "type": "string", "description": "Accepted without effect and not stored.",
            "examples": ["user-1"],
        }),
    }
}
