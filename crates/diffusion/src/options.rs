//! Component configurations, read so that an option is never passed over.
//!
//! Five things can be said about an option, and each has its own method:
//!
//! - It is absent: its default applies.
//! - It is `null`: a flag is off, whatever its default is, because diffusers tests flags for truth
//!   ([`Options::flag`], [`Options::flag_on_by_default`]). Any other option has its default
//!   ([`Options::take`]), except where `null` is a value of its own ([`Options::nullable`]).
//! - It has a value.
//! - It is ignored, because it cannot change an image ([`Options::ignore`], [`LEFTOVERS`]).
//! - It is refused: all others, unless they are off ([`Options::require`], [`Options::finish`]).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{ModelError, ModelFiles};

/// What programs left behind in published configurations, and no component reads: the state of averaged weights
/// (diffusers' `EMAModel`), the state of a training loop, the tensor library of a scheduler in diffusers before 0.4,
/// and the settings of Flax and of transformers' base class.
const LEFTOVERS: [&str; 28] = [
    "architectures",
    "attn_implementation",
    "cur_decay_value",
    "decay",
    "dtype",
    "ema_decay",
    "enable_xformers_memory_efficient_attention",
    "foreach",
    "from_pt",
    "gradient_checkpointing",
    "inv_gamma",
    "max_value",
    "min_decay",
    "min_value",
    "model_type",
    "name_or_path",
    "optimization_step",
    "power",
    "return_dict",
    "split_head_dim",
    "tensor_format",
    "torch_dtype",
    "transformers_version",
    "update_after_step",
    "use_ema_warmup",
    "use_memory_efficient_attention",
    "use_safetensors",
    "use_xformers",
];

/// The options of a component's `config.json`. A loader takes each option that it supports; a remaining
/// option is an error.
pub(crate) struct Options {
    file: PathBuf,
    values: Map<String, Value>,
    known: BTreeSet<String>,
}

impl Options {
    /// Reads the file of this name. Options that it lists in `_use_default_values` count as absent, as in diffusers.
    pub(crate) fn load(files: &ModelFiles, name: &str) -> Result<Self, ModelError> {
        let mut values: Map<String, Value> = files.read_json(name)?;
        if let Some(Value::Array(defaults)) = values.remove("_use_default_values") {
            values.retain(|option, _| !defaults.iter().any(|default| default == option));
        }
        let options = Self { file: files.path(name), values, known: BTreeSet::new() };
        match options.value("quantization_config") {
            None | Some(Value::Null) => Ok(options),
            Some(_) => Err(options.unsupported(
                "quantization_config",
                "null; download the model without quantization, in 16 or 32 bits",
            )),
        }
    }

    /// The file's whole path, for messages.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The class that the component was saved from.
    pub(crate) fn class(&self) -> Option<&str> {
        self.values.get("_class_name")?.as_str()
    }

    /// The option's value as it stands.
    pub(crate) fn value(&self, option: &str) -> Option<&Value> {
        self.values.get(option)
    }

    /// The option's value, unless it is absent or `null`.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, option: &str) -> Result<Option<T>, ModelError> {
        self.known.insert(option.to_owned());
        match self.values.get(option) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.parse(option, value).map(Some),
        }
    }

    /// The option's value, or `default` if it is absent or `null`.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, option: &str, default: T) -> Result<T, ModelError> {
        Ok(self.optional(option)?.unwrap_or(default))
    }

    /// The value of an option for which `null` means `None`, and not its default.
    pub(crate) fn nullable<T: DeserializeOwned>(
        &mut self,
        option: &str,
        default: T,
    ) -> Result<Option<T>, ModelError> {
        match self.values.get(option) {
            None => self.take(option, default).map(Some),
            Some(_) => self.optional(option),
        }
    }

    /// A size, or `default` if it is absent or `null`. Sizes outside of `range` are refused before anything is
    /// allocated for them; those within must still be those of the tensors in the weights file.
    pub(crate) fn size(
        &mut self,
        option: &str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, ModelError> {
        let size = self.take(option, default)?;
        self.check_sizes(option, &[size], &range)?;
        Ok(size)
    }

    /// A list of sizes, the same for each.
    pub(crate) fn sizes(
        &mut self,
        option: &str,
        default: &[usize],
        range: RangeInclusive<usize>,
    ) -> Result<Vec<usize>, ModelError> {
        let sizes = self.take(option, default.to_vec())?;
        self.check_sizes(option, &sizes, &range)?;
        Ok(sizes)
    }

    /// A size per level, where the file may also give one for all. A `null` in a list is the default.
    pub(crate) fn sizes_per_level(
        &mut self,
        option: &str,
        default: usize,
        levels: usize,
        range: RangeInclusive<usize>,
    ) -> Result<Vec<usize>, ModelError> {
        let sizes = self.per_level(option, default, levels)?;
        self.check_sizes(option, &sizes, &range)?;
        Ok(sizes)
    }

    /// Refuses sizes outside of a range.
    pub(crate) fn check_sizes(
        &self,
        option: &str,
        sizes: &[usize],
        range: &RangeInclusive<usize>,
    ) -> Result<(), ModelError> {
        match sizes.iter().all(|size| range.contains(size)) {
            true => Ok(()),
            false => Err(self.unsupported(option, &format!("{} to {}", range.start(), range.end()))),
        }
    }

    /// Whether the option is on. It is off if it is absent or `null`.
    pub(crate) fn flag(&mut self, option: &str) -> Result<bool, ModelError> {
        self.known.insert(option.to_owned());
        self.values.get(option).map_or(Ok(false), |value| self.truth(option, value))
    }

    /// Whether the option is on. It is on if it is absent, and off if it is `null`.
    pub(crate) fn flag_on_by_default(&mut self, option: &str) -> Result<bool, ModelError> {
        self.known.insert(option.to_owned());
        self.values.get(option).map_or(Ok(true), |value| self.truth(option, value))
    }

    /// One value per level, where the file may also give one for all. A `null` in a list is the default.
    fn per_level<T: DeserializeOwned + Clone>(
        &mut self,
        option: &str,
        default: T,
        levels: usize,
    ) -> Result<Vec<T>, ModelError> {
        match self.list(option, levels)? {
            Some(list) => list
                .iter()
                .map(|value| match value {
                    Value::Null => Ok(default.clone()),
                    value => self.parse(option, value),
                })
                .collect(),
            None => Ok(vec![self.take(option, default)?; levels]),
        }
    }

    /// The same for flags, which are off by default.
    pub(crate) fn flags_per_level(&mut self, option: &str, levels: usize) -> Result<Vec<bool>, ModelError> {
        match self.list(option, levels)? {
            Some(list) => list.iter().map(|value| self.truth(option, value)).collect(),
            None => Ok(vec![self.flag(option)?; levels]),
        }
    }

    /// An option that may be there only as `null` or with one of these values, the first of which is its default.
    pub(crate) fn require(&mut self, option: &str, supported: &[Value]) -> Result<(), ModelError> {
        self.known.insert(option.to_owned());
        match self.values.get(option) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if supported.iter().any(|known| equal(known, value)) => Ok(()),
            Some(_) => {
                let supported: Vec<String> = supported.iter().map(Value::to_string).collect();
                Err(self.unsupported(option, &supported.join(" or ")))
            }
        }
    }

    /// An option that changes nothing for us, whatever it says.
    pub(crate) fn ignore(&mut self, options: &[&str]) {
        self.known.extend(options.iter().map(|option| (*option).to_owned()));
    }

    /// The error for a value that was taken and cannot be used.
    pub(crate) fn unsupported(&self, option: &str, supported: &str) -> ModelError {
        let value = self.values.get(option).map_or_else(|| "missing".to_owned(), shown);
        ModelError::unsupported(&self.file, option, value, supported)
    }

    /// Rejects options that were not taken, unless they are off or [`LEFTOVERS`]. Names that begin with `_` are
    /// notes, not options.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        let off = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
        let mut leftovers = Vec::new();
        for (option, value) in &self.values {
            if option.starts_with('_') || self.known.contains(option) || off(value) {
                continue;
            }
            if !LEFTOVERS.contains(&option.as_str()) {
                return Err(self.unsupported(option, "null or false, because this option is not supported"));
            }
            leftovers.push(option.as_str());
        }
        if !leftovers.is_empty() {
            let (file, options) = (self.file.display(), leftovers.join(", "));
            tracing::info!(%file, %options, "ignored options of training that have no effect on images");
        }
        Ok(())
    }

    /// The values of an option that is a list, one for each level.
    fn list(&mut self, option: &str, levels: usize) -> Result<Option<Vec<Value>>, ModelError> {
        self.known.insert(option.to_owned());
        match self.values.get(option) {
            Some(Value::Array(values)) if values.len() != levels => {
                Err(self.unsupported(option, &format!("one value for each of the {levels} levels")))
            }
            Some(Value::Array(values)) => Ok(Some(values.clone())),
            _ => Ok(None),
        }
    }

    fn parse<T: DeserializeOwned>(&self, option: &str, value: &Value) -> Result<T, ModelError> {
        T::deserialize(value).map_err(|source| ModelError::Malformed {
            path: self.file.clone(),
            expected: format!("`{option}` of another type than {}", shown(value)),
            source: Some(Box::new(source)),
        })
    }

    /// What Python makes of a flag's value.
    fn truth(&self, option: &str, value: &Value) -> Result<bool, ModelError> {
        match value {
            Value::Null => Ok(false),
            Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
            value => self.parse(option, value),
        }
    }
}

/// A value for a message, cut off where it is long.
fn shown(value: &Value) -> String {
    const LENGTH: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
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
                br#"{"_note":1,"heads":[5,10],"scale":1,"dropout":0.1,"odd":"x","off":null,"on":true,
                    "zero":0,"mixed":[true,null],"partly":[5,null],
                    "_use_default_values":["unused"],"unused":"whatever"}"#,
            ),
        ]);
        Options::load(&files.expect("a model"), "unet/config.json").expect("options")
    }

    #[test]
    fn null_absent_and_false_are_different() {
        let mut options = options();
        let mut flags = |option: &str| {
            let off = options.flag(option).expect("a flag");
            (off, options.flag_on_by_default(option).expect("a flag"))
        };
        assert_eq!(flags("off"), (false, false), "null is off, also where the default is on");
        assert_eq!(flags("zero"), (false, false));
        assert_eq!(flags("absent"), (false, true));
        assert_eq!(flags("unused"), (false, true), "a listed default counts as absent");
        assert_eq!(flags("on"), (true, true));
        assert!(options.flag("odd").expect_err("a word").to_string().contains("`odd`"));
        assert_eq!(options.take("off", 7).expect("a default"), 7);
        assert_eq!(options.optional::<u8>("off").expect("nothing"), None);
        assert_eq!(options.nullable("off", 7).expect("nothing"), None);
        assert_eq!(options.nullable("absent", 7).expect("a default"), Some(7));
        assert_eq!(options.nullable("zero", 7).expect("a value"), Some(0));
        options.require("off", &[json!(3)]).expect("null is the default");
        assert_eq!(options.flags_per_level("mixed", 2).expect("a list"), [true, false]);
        assert_eq!(options.flags_per_level("off", 2).expect("null"), [false, false]);
        assert_eq!(options.per_level("partly", 8, 2).expect("a list"), [5, 8]);
        assert_eq!(options.per_level("off", 8, 2).expect("null"), [8, 8]);
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
        assert_eq!(options.sizes_per_level("heads", 8, 2, 1..=10).expect("in range"), [5, 10]);
        let error = options.sizes_per_level("heads", 8, 2, 1..=9).expect_err("10 is more").to_string();
        assert!(error.contains("`heads` is [5,10]; supported: 1 to 9"), "{error}");
        assert!(options.take("odd", 1).expect_err("not a number").to_string().contains("odd"));
        assert!(options.unsupported("absent", "1").to_string().contains("`absent` is missing"));
    }

    const KNOWN: [&str; 7] = ["heads", "scale", "dropout", "on", "zero", "mixed", "partly"];

    #[test]
    fn unknown_options_are_refused_unless_off() {
        let mut unknown = options();
        unknown.ignore(&KNOWN);
        assert!(unknown.finish().expect_err("`odd` is unknown").to_string().contains("`odd`"));
        let mut known = options();
        known.ignore(&KNOWN);
        known.ignore(&["odd"]);
        known.finish().expect("all known");
    }

    #[test]
    fn what_programs_leave_behind_is_ignored() {
        let files = ModelFiles::embedded(&[
            ("model_index.json", b"{}"),
            (
                "vae/config.json",
                br#"{"decay":0.9999,"power":0.75,"update_after_step":0,"tensor_format":"pt"}"#,
            ),
            ("unet/config.json", br#"{"decay":0.9999,"quantization_config":{"load_in_8bit":true}}"#),
        ]);
        let files = files.expect("a model");
        Options::load(&files, "vae/config.json").and_then(Options::finish).expect("of no effect");
        let error = Options::load(&files, "unet/config.json").err().expect("an effect");
        assert!(error.to_string().contains("`quantization_config`"), "{error}");
        assert!(LEFTOVERS.is_sorted());
    }
}
