//! One call of the API, as it is put together.

use serde_json::{Map, Value, json};

use super::examples::Examples;

/// What all bodies of errors have for a schema.
const PROBLEM: &str = "#/components/schemas/Problem";
const OPENAI_ERROR: &str = "#/components/schemas/OpenAiError";

/// A call that is being described.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    value: Map<String, Value>,
    responses: Map<String, Value>,
    /// The problems that it can end in.
    problems: Vec<&'static str>,
    /// The same in OpenAI's envelope, by its codes.
    openai: Vec<&'static str>,
}

/// `{"$ref": …}` to a schema of the components.
pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

impl Operation {
    /// `at` is a method and a path.
    pub(super) fn new(at: &'static str, id: &str, tag: &str, summary: &str) -> Self {
        let (method, path) = at.split_once(' ').unwrap_or(("get", at));
        let value = json!({"operationId": id, "tags": [tag], "summary": summary});
        let Value::Object(value) = value else { unreachable!("it is written as an object") };
        Self { path, method, value, responses: Map::new(), problems: Vec::new(), openai: Vec::new() }
    }

    pub(super) fn description(self, description: &str) -> Self {
        self.with("description", Value::from(description))
    }

    /// Nobody has to be anybody to call it.
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

    /// A JSON body.
    pub(super) fn body(self, schema: Value) -> Self {
        self.with(
            "requestBody",
            json!({"required": true, "content": {"application/json": {"schema": schema}}}),
        )
    }

    /// It may answer like this.
    pub(super) fn response(mut self, status: u16, description: &str, content: Option<(&str, Value)>) -> Self {
        let mut response = json!({ "description": description });
        if let Some((media, schema)) = content {
            response["content"] = json!({ media: { "schema": schema } });
        }
        self.responses.insert(status.to_string(), response);
        self
    }

    /// A good answer may also be events.
    pub(super) fn with_event_stream(mut self) -> Self {
        if let Some(response) = self.responses.get_mut("200") {
            response["content"]["text/event-stream"] = json!({ "schema": schema("Event") });
        }
        self
    }

    /// An answer of this status has these headers: names and what they say.
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
        self.openai.extend(codes);
        self
    }

    /// The whole of it.
    pub(super) fn finish(mut self, examples: &Examples) -> Value {
        for name in &self.problems {
            let sent = examples.problem(name);
            error(&mut self.responses, ("application/problem+json", PROBLEM), (name, sent));
        }
        for code in &self.openai {
            let sent = examples.openai(code);
            error(&mut self.responses, ("application/json", OPENAI_ERROR), (code, sent));
        }
        let id = self.value["operationId"].as_str().unwrap_or_default().to_owned();
        for (name, sent) in examples.of(&id) {
            if let Some(response) = self.responses.get_mut(&sent["status"].to_string())
                && let Some(Value::Object(content)) = response.get_mut("content")
            {
                let media = if sent["body"].is_string() {
                    content.values_mut().last()
                } else {
                    content.values_mut().next()
                };
                if let Some(media) = media {
                    media["examples"][name] = json!({ "value": sent["body"] });
                }
            }
            let body = &sent["request"]["body"];
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

/// An answer that is an error, with an example of how it comes about.
fn error(responses: &mut Map<String, Value>, (media, schema): (&str, &str), (name, sent): (&str, &Value)) {
    let response = responses
        .entry(sent["status"].to_string())
        .or_insert_with(|| json!({"description": "", "content": {media: {"schema": {"$ref": schema}}}}));
    let told = response["description"].as_str().unwrap_or_default();
    let separator = if told.is_empty() { "" } else { " · " };
    response["description"] = format!("{told}{separator}`{name}`").into();
    response["content"][media]["examples"][name] = json!({ "value": sent["body"] });
}
