//! Recorded requests and responses. `tests/api/openapi` records them, and fails if they change.

use serde_json::{Map, Value};

const RECORDED: &str = include_str!("examples.json");

/// The recorded examples.
pub(super) struct Examples(Value);

impl Examples {
    pub(super) fn read() -> Self {
        Self(serde_json::from_str(RECORDED).expect("examples.json is valid JSON"))
    }

    /// The example of a problem, by its name.
    pub(super) fn problem(&self, name: &str) -> &Value {
        &self.0["problems"][name]
    }

    /// The example of an error in OpenAI's format, by its code.
    pub(super) fn openai_error(&self, code: &str) -> &Value {
        &self.0["openai"][code]
    }

    /// The examples of successful responses of an operation, by name.
    pub(super) fn responses(&self, operation: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0["answers"][operation].as_object().into_iter().flat_map(Map::iter)
    }
}
