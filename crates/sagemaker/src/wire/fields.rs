//! A JSON object whose fields are read by kind; what is not asked for is ignored.

use serde_json::{Map, Value};
use tintype_core::violation::Violation;

/// The fields of a request.
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// A field that is there and not `null`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Violation> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Violation::malformed(name, "a string")),
        }
    }

    /// A whole number, also one that is written as `512.0`. One that does not fit becomes the nearest that does, so
    /// that whoever checks the range finds it outside.
    pub(super) fn whole(&self, name: &str) -> Result<Option<i64>, Violation> {
        let Some(value) = self.get(name) else { return Ok(None) };
        whole(value).map(Some).ok_or_else(|| Violation::malformed(name, "a whole number"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Violation> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| Violation::malformed(name, "a number"))
    }

    /// A string, or a list of strings.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Texts>, Violation> {
        let wrong = || Violation::malformed(name, "a string or a list of strings");
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(Texts::One(text.clone()))),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                Ok(Some(Texts::Many(texts.collect::<Option<_>>().ok_or_else(wrong)?)))
            }
            Some(_) => Err(wrong()),
        }
    }
}

/// What a field holds that may be one text or a list of them.
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

fn whole(value: &Value) -> Option<i64> {
    if let Some(whole) = value.as_i64() {
        return Some(whole);
    }
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    // A cast from a float goes to the nearest value that fits.
    Some(number as i64)
}
