//! The builder of one operation of the OpenAPI document.

use serde_json::{Map, Value, json};

use super::examples::Examples;

const PROBLEM: &str = "#/components/schemas/Problem";
const OPENAI_ERROR: &str = "#/components/schemas/OpenAiError";

/// An operation of the OpenAPI document.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    value: Map<String, Value>,
    responses: Map<String, Value>,
    /// The names of the operation's problems.
    problems: Vec<&'static str>,
    /// The codes of the operation's errors in OpenAI's format.
    openai_errors: Vec<&'static str>,
}

/// A reference to a schema of the components.
pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

impl Operation {
    /// `route` is a method and a path, separated by a space.
    pub(super) fn new(route: &'static str, id: &str, tag: &str, summary: &str) -> Self {
        let (method, path) = route.split_once(' ').unwrap_or(("get", route));
        let value = json!({"operationId": id, "tags": [tag], "summary": summary});
        let Value::Object(value) = value else { unreachable!("the literal is an object") };
        Self { path, method, value, responses: Map::new(), problems: Vec::new(), openai_errors: Vec::new() }
    }

    pub(super) fn description(self, description: &str) -> Self {
        self.with("description", Value::from(description))
    }

    /// The operation requires no authentication.
    pub(super) fn without_key(self) -> Self {
        self.with("security", json!([]))
    }

    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.value.insert(name.to_owned(), value);
        self
    }

    pub(super) fn parameters(self, parameters: Vec<Value>) -> Self {
        self.with("parameters", Value::from(parameters))
    }

    /// Sets the JSON body.
    pub(super) fn body(self, schema: Value) -> Self {
        self.with(
            "requestBody",
            json!({"required": true, "content": {"application/json": {"schema": schema}}}),
        )
    }

    /// Adds a response.
    pub(super) fn response(mut self, status: u16, description: &str, content: Option<(&str, Value)>) -> Self {
        let mut response = json!({ "description": description });
        if let Some((media, schema)) = content {
            response["content"] = json!({ media: { "schema": schema } });
        }
        self.responses.insert(status.to_string(), response);
        self
    }

    /// Adds server-sent events to the response 200.
    pub(super) fn with_event_stream(mut self) -> Self {
        if let Some(response) = self.responses.get_mut("200") {
            response["content"]["text/event-stream"] = json!({ "schema": schema("Event") });
        }
        self
    }

    /// Adds headers, by name and description, to the response with this status.
    pub(super) fn headers(mut self, status: u16, headers: &[(&str, &str)]) -> Self {
        if let Some(response) = self.responses.get_mut(&status.to_string()) {
            for (name, description) in headers {
                response["headers"][*name] =
                    json!({"description": description, "schema": {"type": "string"}});
            }
        }
        self
    }

    pub(super) fn problems(mut self, problems: &[&'static str]) -> Self {
        self.problems.extend(problems);
        self
    }

    pub(super) fn openai_errors(mut self, codes: &[&'static str]) -> Self {
        self.openai_errors.extend(codes);
        self
    }

    /// The operation object, with the recorded examples.
    pub(super) fn finish(mut self, examples: &Examples) -> Value {
        for name in &self.problems {
            let format = ErrorFormat { media: "application/problem+json", schema: PROBLEM };
            add_error(&mut self.responses, format, name, examples.problem(name));
        }
        for code in &self.openai_errors {
            let format = ErrorFormat { media: "application/json", schema: OPENAI_ERROR };
            add_error(&mut self.responses, format, code, examples.openai_error(code));
        }
        let id = self.value["operationId"].as_str().unwrap_or_default().to_owned();
        for (name, example) in examples.responses(&id) {
            if let Some(response) = self.responses.get_mut(&example["status"].to_string())
                && let Some(Value::Object(content)) = response.get_mut("content")
            {
                let media = if example["body"].is_string() {
                    content.values_mut().last()
                } else {
                    content.values_mut().next()
                };
                if let Some(media) = media {
                    media["examples"][name] = json!({ "value": example["body"] });
                }
            }
            let body = &example["request"]["body"];
            if let Some(Value::Object(content)) =
                self.value.get_mut("requestBody").and_then(|request| request.get_mut("content"))
                && !body.is_null()
            {
                for media in content.values_mut() {
                    media["examples"][name] = json!({ "value": body });
                }
            }
        }
        self.value.insert("responses".to_owned(), Value::Object(self.responses));
        Value::Object(self.value)
    }
}

/// The content type and the schema of error responses.
struct ErrorFormat {
    media: &'static str,
    schema: &'static str,
}

/// Adds an error and its recorded example to the response with the example's status.
fn add_error(responses: &mut Map<String, Value>, format: ErrorFormat, name: &str, example: &Value) {
    let ErrorFormat { media, schema } = format;
    let response = responses
        .entry(example["status"].to_string())
        .or_insert_with(|| json!({"description": "", "content": {media: {"schema": {"$ref": schema}}}}));
    let description = response["description"].as_str().unwrap_or_default();
    let separator = if description.is_empty() { "" } else { " · " };
    response["description"] = format!("{description}{separator}`{name}`").into();
    response["content"][media]["examples"][name] = json!({ "value": example["body"] });
}
