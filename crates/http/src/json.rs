//! Parameters in a JSON body.

mod encoding;
mod surrogates;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use tintype_core::violation::Violation;
use tintype_service::WarningMessage;
use tokio::time::timeout;

use crate::App;
use crate::params::{NAME_CHARS, Param, ParamSource, Params, Value, ValueKind};
use crate::problem::Problem;
use crate::query;

pub(crate) use encoding::{BodyEncoding, BodyEncodingError};
pub(crate) use surrogates::replace_lone_surrogates;

/// The maximum size of a request body, in bytes: several times that of two prompts of maximum length, fully
/// escaped.
pub(crate) const MAX_BODY: usize = 64 << 10;
/// How long the server waits for a request body.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The members of a JSON object.
#[derive(Debug)]
pub(crate) struct Members {
    /// The members in the order in which they were sent, duplicates included.
    pub(crate) members: Vec<(String, Json)>,
    /// The names of the members in whose text lone surrogates were replaced.
    pub(crate) repaired: BTreeSet<String>,
}

impl Members {
    /// The parameters of an image that these members set.
    pub(crate) fn into_params(self) -> Params {
        let mut params = Params::new(ParamSource::Body);
        params.warnings = self.warnings();
        // Some clients write every member and use `null` for absent values.
        for (name, value) in self.members.into_iter().filter(|(_, value)| !value.is_null()) {
            params.insert(&name, |param| parse_value(param, value));
        }
        params
    }

    /// Warnings about members whose text was changed.
    pub(crate) fn warnings(&self) -> Vec<WarningMessage> {
        self.repaired.iter().map(|name| surrogate_warning(name)).collect()
    }
}

/// Parses the value of a parameter; `None` for an optional parameter that is an empty text, as forms write
/// absent values.
///
/// # Errors
/// A value of another type.
pub(crate) fn parse_value(param: &Param, value: Json) -> Result<Option<Value>, Violation> {
    let parsed = match (param.kind, value) {
        (_, Json::String(text)) if text.is_empty() && param.is_optional() => return Ok(None),
        (ValueKind::Text, Json::String(text)) => Some(Value::Text(text)),
        (ValueKind::Format, Json::String(text)) => text.parse().ok().map(Value::Format),
        (ValueKind::Boolean, Json::Bool(flag)) => Some(Value::Boolean(flag)),
        (ValueKind::Integer, value) => integer(&value).map(Value::Integer),
        (ValueKind::Number, Json::Number(number)) => number.as_f64().map(Value::Number),
        (ValueKind::Number, Json::String(text)) => query::parse_number(&text).map(Value::Number),
        _ => None,
    };
    parsed.map(Some).ok_or_else(|| Violation::malformed(param.name, param.kind.expected()))
}

/// An integer, also if it is written as `7.0`, `7e2` or `"7"`. Values beyond `i64` are clamped; they are out
/// of every parameter's range.
pub(crate) fn integer(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => {
            let integer = number.as_f64().filter(|number| number.fract() == 0.0)?;
            // The cast clamps.
            Some(number.as_i64().unwrap_or(integer as i64))
        }
        Json::String(text) => query::parse_integer(text),
        _ => None,
    }
}

impl FromRequest<App> for Members {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let received = request.headers().get(CONTENT_TYPE);
            let received = received.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            return Err(Problem::NotJson(received));
        }
        let encoding = BodyEncoding::of(request.headers())?;
        let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, app)).await;
        let body = body
            .map_err(|_| Problem::BodyTimeout)?
            .map_err(|error| Problem::from_body_rejection(&error, MAX_BODY))?;
        let mut text = encoding.decode(&body, MAX_BODY)?;
        let repaired = replace_lone_surrogates(&mut text);
        let members: Self =
            serde_json::from_slice(&text).map_err(|error| Problem::MalformedJson(error.to_string()))?;
        Ok(Self { repaired, ..members })
    }
}

/// The warning about a member with a lone surrogate.
fn surrogate_warning(name: &str) -> WarningMessage {
    let name: String = name.chars().take(NAME_CHARS).collect();
    WarningMessage {
        code: "lone_surrogate".to_owned(),
        message: format!(
            "`{name}` has a half of a surrogate pair, such as `\\ud83d` without the second half; it was replaced \
             by U+FFFD"
        ),
    }
}

/// Whether the content type is `application/json` or `application/…+json`, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/").unwrap_or_default();
    subtype == "json" || subtype.ends_with("+json")
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members { members, repaired: BTreeSet::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_may_be_written_like_a_fraction() {
        for (text, expected) in [
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("-7", Some(-7)),
            ("7e2", Some(700)),
            ("7.5", None),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("18446744073709551615", Some(i64::MAX)),
            ("-1e300", Some(i64::MIN)),
            ("\"7\"", Some(7)),
            ("\"-7\"", Some(-7)),
            ("\"7.0\"", Some(7)),
            ("\"7.5\"", None),
            ("\"7e2\"", None),
            ("\"\"", None),
            ("\" 7\"", None),
            ("true", None),
        ] {
            assert_eq!(integer(&serde_json::from_str(text).expect("JSON")), expected, "{text}");
        }
    }

    #[test]
    fn json_has_many_types() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("text/json", false),
            ("application/jsonp", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.parse().expect("a header value"))]);
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
