//! Component configurations, read so that nothing in them is ignored.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{ModelError, ModelFiles};

/// The options of a component's `config.json`. A loader takes each option that it supports; a remaining
/// option is an error.
pub(crate) struct Options {
    file: PathBuf,
    values: Map<String, Value>,
    known: BTreeSet<String>,
}

impl Options {
    /// Reads the file of this name.
    pub(crate) fn load(files: &ModelFiles, name: &str) -> Result<Self, ModelError> {
        Ok(Self { file: files.path(name), values: files.read_json(name)?, known: BTreeSet::new() })
    }

    /// The class that the component was saved from.
    pub(crate) fn class(&self) -> Option<&str> {
        self.values.get("_class_name")?.as_str()
    }

    /// The option's value, or `default` if the file does not have it.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, option: &str, default: T) -> Result<T, ModelError> {
        self.known.insert(option.to_owned());
        let Some(value) = self.values.get(option) else { return Ok(default) };
        serde_json::from_value(value.clone()).map_err(|source| ModelError::Malformed {
            path: self.file.clone(),
            expected: format!("`{option}` of another type than {value}"),
            source: Some(Box::new(source)),
        })
    }

    /// One value per level, where the file may also give one for all.
    pub(crate) fn per_level<T: DeserializeOwned + Clone>(
        &mut self,
        option: &str,
        default: T,
        levels: usize,
    ) -> Result<Vec<T>, ModelError> {
        match self.values.get(option) {
            Some(Value::Array(values)) if values.len() != levels => {
                Err(self.unsupported(option, &format!("one value for each of the {levels} levels")))
            }
            Some(Value::Array(_)) => self.take(option, Vec::new()),
            _ => Ok(vec![self.take(option, default)?; levels]),
        }
    }

    /// An option that may be there only with one of these values, the first of which is what leaving it out
    /// means.
    pub(crate) fn require(&mut self, option: &str, supported: &[Value]) -> Result<(), ModelError> {
        self.known.insert(option.to_owned());
        match self.values.get(option) {
            Some(value) if !supported.iter().any(|known| equal(known, value)) => {
                let supported: Vec<String> = supported.iter().map(Value::to_string).collect();
                Err(self.unsupported(option, &supported.join(" or ")))
            }
            _ => Ok(()),
        }
    }

    /// An option that changes nothing for us, whatever it says.
    pub(crate) fn ignore(&mut self, options: &[&str]) {
        self.known.extend(options.iter().map(|option| (*option).to_owned()));
    }

    /// The error for a value that was taken and cannot be used.
    pub(crate) fn unsupported(&self, option: &str, supported: &str) -> ModelError {
        let value = self.values.get(option).unwrap_or(&Value::Null);
        ModelError::unsupported(&self.file, option, value, supported)
    }

    /// Rejects options that were not taken, unless they are off. Names that begin with `_` are notes, not
    /// options.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        let off = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
        let unknown = self
            .values
            .iter()
            .find(|(option, value)| !option.starts_with('_') && !self.known.contains(*option) && !off(value));
        match unknown {
            Some((option, _)) => {
                Err(self.unsupported(option, "null or false, because this option is not supported"))
            }
            None => Ok(()),
        }
    }
}

/// Equal, where `1` and `1.0` are.
fn equal(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options() -> Options {
        let files = ModelFiles::embedded(&[
            ("model_index.json", b"{}"),
            (
                "unet/config.json",
                br#"{"_note":1,"heads":[5,10],"scale":1,"dropout":0.1,"odd":"x","off":null}"#,
            ),
        ]);
        Options::load(&files.expect("a model"), "unet/config.json").expect("options")
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let mut options = options();
        options.require("scale", &[json!(1.0)]).expect("1 is 1.0");
        options.require("absent", &[json!(null)]).expect("absent is the default");
        let error = options.require("dropout", &[json!(0.0)]).expect_err("another value").to_string();
        assert!(error.contains("unet/config.json") && error.contains("`dropout` is 0.1"), "{error}");
        assert_eq!(options.per_level("heads", 8, 2).expect("a list"), [5, 10]);
        assert!(options.per_level("heads", 8, 3).is_err());
        assert_eq!(options.per_level("layers", 2, 3).expect("a default"), [2, 2, 2]);
        assert!(options.take("odd", 1).expect_err("not a number").to_string().contains("odd"));
    }

    #[test]
    fn unknown_options_are_refused_unless_off() {
        let mut unknown = options();
        unknown.ignore(&["heads", "scale", "dropout"]);
        assert!(unknown.finish().expect_err("`odd` is unknown").to_string().contains("`odd`"));
        let mut known = options();
        known.ignore(&["heads", "scale", "dropout", "odd"]);
        known.finish().expect("all known");
    }
}
