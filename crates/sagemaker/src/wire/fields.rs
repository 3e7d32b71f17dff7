//! Reads the fields of a JSON object by type. Unknown fields are ignored.

use serde_json::{Map, Value};
use tintype_core::violation::Violation;

/// The fields of a request.
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// The field's value, unless it is absent or `null`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, Violation> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Violation::malformed(name, "a string")),
        }
    }

    /// An integer, also one that is written as `512.0`. One that does not fit in an `i64` becomes the nearest
    /// that does, so that the range check rejects it.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Violation> {
        let Some(value) = self.get(name) else { return Ok(None) };
        integer(value).map(Some).ok_or_else(|| Violation::malformed(name, "a whole number"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Violation> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| Violation::malformed(name, "a number"))
    }

    /// A string, or a list of strings.
    pub(super) fn strings(&self, name: &str) -> Result<Option<Strings>, Violation> {
        let malformed = || Violation::malformed(name, "a string or a list of strings");
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(Strings::One(text.clone()))),
            Some(Value::Array(items)) => {
                let strings = items.iter().map(|item| item.as_str().map(str::to_owned));
                Ok(Some(Strings::Many(strings.collect::<Option<_>>().ok_or_else(malformed)?)))
            }
            Some(_) => Err(malformed()),
        }
    }
}

/// The value of a field that may be one string or a list of strings.
pub(super) enum Strings {
    One(String),
    Many(Vec<String>),
}

fn integer(value: &Value) -> Option<i64> {
    if let Some(integer) = value.as_i64() {
        return Some(integer);
    }
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    // A cast from a float saturates.
    Some(number as i64)
}
