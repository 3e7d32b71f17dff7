//! The parameters of an image: one table for the query, the native body and OpenAI's body.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tintype_core::picture::Format;
use tintype_core::request::Draft;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_service::{Caller, Service, ServiceError, Submission, WarningMessage};

use crate::openai;

/// The maximum number of violations in a response.
pub(crate) const MAX_REPORTED_ERRORS: usize = 20;
/// The maximum number of characters of a client's name in a message.
pub(crate) const NAME_CHARS: usize = 64;
/// The maximum deadline, in seconds: a day.
pub(crate) const MAX_DEADLINE: i64 = 86_400;

/// The type of a parameter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Text,
    Integer,
    Number,
    Format,
    Boolean,
}

impl ValueKind {
    /// Completes "must be …" for a value of another type.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Format => "one of jpeg, png, webp",
            Self::Boolean => "true or false",
        }
    }
}

/// A parameter of an image.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: ValueKind,
    /// The first source that accepts it; all later sources accept it too.
    first_source: ParamSource,
    /// Its names in the APIs of other servers.
    pub(crate) synonyms: &'static [&'static str],
}

impl Param {
    /// Whether an empty text means that the parameter is absent.
    pub(crate) fn is_optional(&self) -> bool {
        self.name != "prompt"
    }

    fn has_name(&self, name: &str) -> bool {
        self.name == name || self.synonyms.contains(&name)
    }
}

const fn param(name: &'static str, kind: ValueKind) -> Param {
    Param { name, kind, first_source: ParamSource::Query, synonyms: &[] }
}

/// All parameters, in the order of messages and documentation.
const PARAMS: [Param; 14] = [
    param("prompt", ValueKind::Text),
    param("negative_prompt", ValueKind::Text),
    param("width", ValueKind::Integer),
    param("height", ValueKind::Integer),
    Param {
        synonyms: &["num_inference_steps", "num_steps", "sampling_steps"],
        ..param("steps", ValueKind::Integer)
    },
    Param { synonyms: &["guidance_scale", "cfg_scale", "cfg"], ..param("guidance", ValueKind::Number) },
    param("seed", ValueKind::Integer),
    Param {
        first_source: ParamSource::Body,
        synonyms: &["num_images", "num_images_per_prompt", "num_outputs", "batch_size"],
        ..param("n", ValueKind::Integer)
    },
    Param { synonyms: &["output_format"], ..param("format", ValueKind::Format) },
    param("expires_in", ValueKind::Integer),
    param("coalesce", ValueKind::Boolean),
    param("model", ValueKind::Text),
    Param { first_source: ParamSource::Body, ..param("deadline", ValueKind::Integer) },
    Param { first_source: ParamSource::OpenAi, ..param("output_compression", ValueKind::Integer) },
];

/// Where the parameters of a request come from. Each source accepts the parameters of the sources before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum ParamSource {
    Query,
    Body,
    /// The body of OpenAI's call, which also has OpenAI's own parameters.
    OpenAi,
}

impl ParamSource {
    /// The parameters that the source accepts.
    pub(crate) fn params(self) -> impl Iterator<Item = &'static Param> {
        PARAMS.iter().filter(move |param| param.first_source <= self)
    }
}

/// A value of the right type; its range is not checked yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Format(Format),
    Boolean(bool),
}

/// The parameters of a request: the parsed values, and the violations of the others.
#[derive(Debug, PartialEq)]
pub(crate) struct Params {
    source: ParamSource,
    /// The valid values by name.
    values: BTreeMap<&'static str, Value>,
    /// The client's name of each given parameter, valid or not: its own name or a synonym.
    given: BTreeMap<&'static str, String>,
    violations: Vec<Violation>,
    /// Warnings about the request, for its response.
    pub(crate) warnings: Vec<WarningMessage>,
}

impl Params {
    pub(crate) fn new(source: ParamSource) -> Self {
        Self {
            source,
            values: BTreeMap::new(),
            given: BTreeMap::new(),
            violations: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a parameter; `parse` returns its value, or `None` if the parameter counts as absent.
    pub(crate) fn insert(
        &mut self,
        name: &str,
        parse: impl FnOnce(&Param) -> Result<Option<Value>, Violation>,
    ) {
        let Some(param) = self.source.params().find(|param| param.has_name(name)) else {
            let violation = self.unknown_violation(name);
            return self.reject(violation);
        };
        let value = match parse(param) {
            Ok(None) => return,
            Ok(Some(value)) => Ok(value),
            Err(violation) => Err(violation.renamed(name)),
        };
        if let Some(earlier) = self.given.get(param.name) {
            let is_same = earlier == name;
            let other = excluded(name, earlier);
            return self.reject(if is_same { Violation::new(name, ViolationKind::Repeated) } else { other });
        }
        self.given.insert(param.name, name.to_owned());
        match value {
            Ok(value) => _ = self.values.insert(param.name, value),
            Err(violation) => self.reject(violation),
        }
    }

    /// Adds a violation; those beyond the maximum are dropped.
    pub(crate) fn reject(&mut self, violation: Violation) {
        if self.violations.len() < MAX_REPORTED_ERRORS {
            self.violations.push(violation);
        }
    }

    /// Whether a parameter was given, valid or not.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    fn unknown_violation(&self, name: &str) -> Violation {
        let is_count = PARAMS.iter().any(|param| param.name == "n" && param.has_name(name));
        if is_count && self.source == ParamSource::Query {
            let expected = "omitted from a GET, which creates one image; use POST for several images";
            return Violation::malformed(name, expected);
        }
        let openai_names = if self.source == ParamSource::OpenAi { &openai::PARAMETERS[..] } else { &[] };
        let native = self.source.params().map(|param| param.name).filter(|name| !openai_names.contains(name));
        let known: Vec<_> = native.chain(openai_names.iter().copied()).collect();
        unknown_parameter(name, &known)
    }

    /// The submission, if all parameters are valid.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with all violations, and the errors of [`Service::check`].
    pub(crate) fn into_submission(
        mut self,
        service: &Service,
        caller: &Caller,
    ) -> Result<Submission, ServiceError> {
        let deadline = self.integer("deadline");
        if deadline.is_some_and(|deadline| !(1..=MAX_DEADLINE).contains(&deadline)) {
            self.violations.push(out_of_range("deadline", 1, MAX_DEADLINE));
        }
        let model = self.text("model");
        let request = match service.check(model.as_deref(), self.draft()) {
            Err(ServiceError::UnknownModel(_)) => {
                let names = model_names(service, |name| caller.may_use(name));
                let expected = format!("one of {names}, or an alias that `GET /v1/models` lists");
                let unknown = Violation::malformed("model", expected);
                return Err(ServiceError::Invalid(self.with_violations(vec![unknown])));
            }
            Err(ServiceError::Invalid(found)) => {
                return Err(ServiceError::Invalid(self.with_violations(found)));
            }
            _ if !self.violations.is_empty() => return Err(ServiceError::Invalid(self.violations)),
            checked => checked?,
        };
        let deadline = deadline.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let coalesce = matches!(self.value("coalesce"), Some(Value::Boolean(true)));
        Ok(Submission { model, coalesce, deadline, ..Submission::new(request) })
    }

    /// A canonical form of the request: the same for every order and notation of its parameters.
    pub(crate) fn canonical(&self, path: &str) -> Vec<u8> {
        serde_json::to_vec(&(path, &self.values)).expect("strings, numbers and booleans serialize")
    }

    fn draft(&self) -> Draft {
        let guidance = match self.value("guidance") {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        };
        let format = match self.value("format") {
            Some(Value::Format(format)) => Some(*format),
            _ => None,
        };
        Draft {
            prompt: self.text("prompt"),
            negative_prompt: self.text("negative_prompt"),
            width: self.integer("width"),
            height: self.integer("height"),
            steps: self.integer("steps"),
            guidance,
            seed: self.integer("seed"),
            n: self.integer("n"),
            format,
            compression: self.integer("output_compression"),
            expires_in: self.integer("expires_in"),
        }
    }

    /// Adds the service's violations, except those of parameters that already have one.
    fn with_violations(mut self, found: Vec<Violation>) -> Vec<Violation> {
        let known = self.violations.len();
        for mut violation in found {
            if let Some(name) = self.given.get(&*violation.parameter) {
                violation.parameter.clone_from(name);
            }
            let reported =
                self.violations[..known].iter().any(|earlier| earlier.parameter == violation.parameter);
            if !reported {
                self.violations.push(violation);
            }
        }
        self.violations
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }
}

/// The names of the models that `shown` selects, for an error text.
pub(crate) fn model_names(service: &Service, shown: impl Fn(&str) -> bool) -> String {
    let names = service.models().into_iter().map(|model| model.card().name.clone());
    names.filter(|name| shown(name)).collect::<Vec<_>>().join(", ")
}

/// The violation of a parameter that the call does not have; `known` are those it has.
pub(crate) fn unknown_parameter(name: &str, known: &[&str]) -> Violation {
    let short: String = name.chars().take(NAME_CHARS).collect();
    Violation::new(short, ViolationKind::Unknown { known: known.join(", ") })
}

/// The violation of a parameter that cannot be combined with another one, which was given too.
pub(crate) fn excluded(name: &str, other: &str) -> Violation {
    Violation::malformed(name, format!("absent if `{other}` is given"))
}

/// The violation of a value that is not between `min` and `max`.
pub(crate) fn out_of_range(name: &str, min: i64, max: i64) -> Violation {
    Violation::new(name, ViolationKind::OutOfRange { min: min.to_string(), max: max.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params_of(values: &[(&str, Value)]) -> Params {
        let mut params = Params::new(ParamSource::OpenAi);
        for (name, value) in values {
            params.insert(name, |_| Ok(Some(value.clone())));
        }
        params
    }

    #[test]
    fn the_same_request_has_one_form() {
        let prompt = ("prompt", Value::Text("x".into()));
        let steps = ("steps", Value::Integer(5));
        let form = |values: &[(&str, Value)], path| params_of(values).canonical(path);
        let first = form(&[prompt.clone(), steps.clone()], "/v1/images");
        assert_eq!(first, form(&[steps.clone(), prompt.clone()], "/v1/images"));
        assert_ne!(first, form(&[prompt.clone(), steps], "/generate"));
        assert_ne!(first, form(&[prompt.clone(), ("steps", Value::Integer(6))], "/v1/images"));
        assert_ne!(first, form(&[prompt], "/v1/images"));
    }

    #[test]
    fn a_synonym_is_the_same_parameter() {
        let steps = |name| params_of(&[("prompt", Value::Text("x".into())), (name, Value::Integer(5))]);
        for name in ["num_inference_steps", "num_steps", "sampling_steps"] {
            assert_eq!(steps(name).canonical("/"), steps("steps").canonical("/"));
        }
        let twice = params_of(&[("steps", Value::Integer(5)), ("num_inference_steps", Value::Integer(5))]);
        assert_eq!(twice.violations, [excluded("num_inference_steps", "steps")]);
        let repeated = params_of(&[("cfg", Value::Number(5.0)), ("cfg", Value::Number(5.0))]);
        assert_eq!(repeated.violations, [Violation::new("cfg", ViolationKind::Repeated)]);
        let mut names: Vec<_> = PARAMS.iter().flat_map(|param| param.synonyms).collect();
        names.extend(PARAMS.iter().map(|param| &param.name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "each name has one meaning");
    }

    #[test]
    fn every_parameter_is_in_the_draft() {
        let draft = params_of(&[
            ("prompt", Value::Text("a".into())),
            ("negative_prompt", Value::Text("b".into())),
            ("width", Value::Integer(64)),
            ("height", Value::Integer(72)),
            ("steps", Value::Integer(5)),
            ("guidance", Value::Number(1.5)),
            ("seed", Value::Integer(9)),
            ("n", Value::Integer(2)),
            ("format", Value::Format(Format::Png)),
            ("output_compression", Value::Integer(80)),
            ("expires_in", Value::Integer(60)),
        ])
        .draft();
        let expected = Draft {
            prompt: Some("a".into()),
            negative_prompt: Some("b".into()),
            width: Some(64),
            height: Some(72),
            steps: Some(5),
            guidance: Some(1.5),
            seed: Some(9),
            n: Some(2),
            format: Some(Format::Png),
            compression: Some(80),
            expires_in: Some(60),
        };
        assert_eq!(draft, expected);
    }
}
