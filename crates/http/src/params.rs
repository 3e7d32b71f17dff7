//! The parameters of a picture: one table for every way to give them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tintype_core::picture::Format;
use tintype_core::request::Draft;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_service::{Service, ServiceError, Submission};

use crate::openai;

/// Most violations that are told of one request.
pub(crate) const MAX_REPORTED_ERRORS: usize = 20;
/// Most characters of an unknown parameter's name that are repeated to the client.
pub(crate) const NAME_CHARS: usize = 64;
/// The longest deadline, in seconds: a day.
pub(crate) const MAX_DEADLINE: i64 = 86_400;

/// What kind of value a parameter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Whole,
    Number,
    Format,
    Flag,
}

impl Kind {
    /// What completes "must be …" for a value that is not of this kind.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Whole => "a whole number",
            Self::Number => "a number",
            Self::Format => "one of jpeg, png, webp",
            Self::Flag => "true or false",
        }
    }
}

/// A parameter of a picture.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The first of the places in which it can be given, up to the last one.
    from: ParamSource,
}

const fn field(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, from: ParamSource::Query }
}

/// Every parameter, in the order in which messages list them.
const FIELDS: [Param; 13] = [
    field("prompt", Kind::Text),
    field("negative_prompt", Kind::Text),
    field("width", Kind::Whole),
    field("height", Kind::Whole),
    field("steps", Kind::Whole),
    field("guidance", Kind::Number),
    field("seed", Kind::Whole),
    Param { from: ParamSource::Body, ..field("n", Kind::Whole) },
    field("format", Kind::Format),
    field("expires_in", Kind::Whole),
    field("coalesce", Kind::Flag),
    Param { from: ParamSource::Body, ..field("deadline", Kind::Whole) },
    Param { from: ParamSource::OpenAi, ..field("output_compression", Kind::Whole) },
];

/// Where parameters were given. What one place has the next one has too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum ParamSource {
    Query,
    Body,
    /// The body of OpenAI's call, beside its own parameters.
    OpenAi,
}

impl ParamSource {
    /// The parameters that can be given here.
    pub(crate) fn fields(self) -> impl Iterator<Item = &'static Param> {
        FIELDS.iter().filter(move |field| field.from <= self)
    }
}

/// A value of the right kind, and not checked for anything else.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Text(String),
    Whole(i64),
    Number(f64),
    Format(Format),
    Flag(bool),
}

/// What a client asked for: the values that could be read, and what is wrong with the others.
#[derive(Debug, PartialEq)]
pub(crate) struct Params {
    place: ParamSource,
    /// By name; nothing for a value that could not be read.
    values: BTreeMap<&'static str, Option<Value>>,
    violations: Vec<Violation>,
}

impl Params {
    pub(crate) fn new(place: ParamSource) -> Self {
        Self { place, values: BTreeMap::new(), violations: Vec::new() }
    }

    /// Takes up a parameter; `read` makes its value of what the client wrote.
    pub(crate) fn take(&mut self, name: &str, read: impl FnOnce(&Param) -> Result<Value, Violation>) {
        let known = self.place.fields().find(|field| field.name == name);
        let value = match known {
            None => Err(self.unknown(name)),
            Some(field) if self.values.contains_key(field.name) => {
                Err(Violation::new(field.name, ViolationKind::Repeated))
            }
            Some(field) => {
                let value = read(field);
                self.values.insert(field.name, value.as_ref().ok().cloned());
                value
            }
        };
        if let Err(violation) = value {
            self.refuse(violation);
        }
    }

    /// Something else is wrong.
    pub(crate) fn refuse(&mut self, violation: Violation) {
        if self.violations.len() < MAX_REPORTED_ERRORS {
            self.violations.push(violation);
        }
    }

    /// Whether a parameter was given, readable or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn unknown(&self, name: &str) -> Violation {
        if name == "n" && self.place == ParamSource::Query {
            let expected = "left out of a GET, which makes one picture; use POST for several";
            return Violation::malformed("n", expected);
        }
        let own = if self.place == ParamSource::OpenAi { &openai::PARAMETERS[..] } else { &[] };
        let known: Vec<_> = self.place.fields().map(|field| field.name).chain(own.iter().copied()).collect();
        unknown(name, &known)
    }

    /// The order, if nothing is wrong with it, whoever found it.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with everything that is wrong, and those of [`Service::check`].
    pub(crate) fn order(mut self, service: &Service) -> Result<Submission, ServiceError> {
        let deadline = self.whole("deadline");
        if deadline.is_some_and(|deadline| !(1..=MAX_DEADLINE).contains(&deadline)) {
            self.violations.push(out_of_range("deadline", 1, MAX_DEADLINE));
        }
        let request = match service.check(self.draft()) {
            Err(ServiceError::Invalid(found)) => return Err(ServiceError::Invalid(self.add(found))),
            _ if !self.violations.is_empty() => return Err(ServiceError::Invalid(self.violations)),
            checked => checked?,
        };
        let deadline = deadline.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let coalesce = matches!(self.value("coalesce"), Some(Value::Flag(true)));
        Ok(Submission { coalesce, deadline, ..Submission::new(request) })
    }

    /// The request in one form, whatever the order of its parameters, under its path.
    pub(crate) fn canonical(&self, path: &str) -> Vec<u8> {
        serde_json::to_vec(&(path, &self.values)).expect("texts, numbers and flags")
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
            width: self.whole("width"),
            height: self.whole("height"),
            steps: self.whole("steps"),
            guidance,
            seed: self.whole("seed"),
            n: self.whole("n"),
            format,
            compression: self.whole("output_compression"),
            expires_in: self.whole("expires_in"),
        }
    }

    /// Adds what the service found, except about parameters of which we know better why they are not there.
    fn add(mut self, found: Vec<Violation>) -> Vec<Violation> {
        let known = self.violations.len();
        for violation in found {
            let told = self.violations[..known].iter().any(|before| before.parameter == violation.parameter);
            if !told {
                self.violations.push(violation);
            }
        }
        self.violations
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)?.as_ref()
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn whole(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Whole(number)) => Some(*number),
            _ => None,
        }
    }
}

/// There is no parameter of this name; these there are.
pub(crate) fn unknown(name: &str, known: &[&str]) -> Violation {
    let short: String = name.chars().take(NAME_CHARS).collect();
    Violation::new(short, ViolationKind::Unknown { known: known.join(", ") })
}

/// Not within these bounds.
pub(crate) fn out_of_range(name: &str, min: i64, max: i64) -> Violation {
    Violation::new(name, ViolationKind::OutOfRange { min: min.to_string(), max: max.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[(&str, Value)]) -> Params {
        let mut asked = Params::new(ParamSource::OpenAi);
        for (name, value) in values {
            asked.take(name, |_| Ok(value.clone()));
        }
        asked
    }

    #[test]
    fn the_same_request_has_one_form() {
        let prompt = ("prompt", Value::Text("x".into()));
        let steps = ("steps", Value::Whole(5));
        let form = |values: &[(&str, Value)], path| asked(values).canonical(path);
        let first = form(&[prompt.clone(), steps.clone()], "/v1/images");
        assert_eq!(first, form(&[steps.clone(), prompt.clone()], "/v1/images"));
        assert_ne!(first, form(&[prompt.clone(), steps], "/generate"));
        assert_ne!(first, form(&[prompt.clone(), ("steps", Value::Whole(6))], "/v1/images"));
        assert_ne!(first, form(&[prompt], "/v1/images"));
    }

    #[test]
    fn every_parameter_gets_into_the_draft() {
        let draft = asked(&[
            ("prompt", Value::Text("a".into())),
            ("negative_prompt", Value::Text("b".into())),
            ("width", Value::Whole(64)),
            ("height", Value::Whole(72)),
            ("steps", Value::Whole(5)),
            ("guidance", Value::Number(1.5)),
            ("seed", Value::Whole(9)),
            ("n", Value::Whole(2)),
            ("format", Value::Format(Format::Png)),
            ("output_compression", Value::Whole(80)),
            ("expires_in", Value::Whole(60)),
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
