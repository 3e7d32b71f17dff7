//! Requests and answers that a test has sent and got: `tests/api/openapi` writes them down, and fails when they change.

use serde_json::{Map, Value};

/// What was recorded.
const RECORDED: &str = include_str!("examples.json");

/// Examples by what they are of.
pub(super) struct Examples(Value);

impl Examples {
    pub(super) fn read() -> Self {
        Self(serde_json::from_str(RECORDED).expect("the file is written by a test"))
    }

    /// How this problem comes about.
    pub(super) fn problem(&self, name: &str) -> &Value {
        &self.0["problems"][name]
    }

    /// How an OpenAI client gets this code.
    pub(super) fn openai(&self, code: &str) -> &Value {
        &self.0["openai"][code]
    }

    /// The good answers of a call, by name.
    pub(super) fn of(&self, operation: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0["answers"][operation].as_object().into_iter().flat_map(Map::iter)
    }
}
