//! Parameters in a JSON body.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use tintype_core::violation::{Violation, ViolationKind};
use tokio::time::timeout;

use crate::App;
use crate::params::{Param, ParamSource, Params, Value, ValueKind};
use crate::problem::Problem;

/// The maximum size of a request body, in bytes: several times that of two prompts of maximum length, fully
/// escaped.
pub(crate) const MAX_BODY: usize = 64 << 10;
/// How long the server waits for a request body.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The members of a JSON object in the order in which they were sent, duplicates included.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Vec<(String, Json)>);

impl Members {
    /// The parameters of an image that these members set.
    pub(crate) fn into_params(self) -> Params {
        let mut params = Params::new(ParamSource::Body);
        // Some clients write every member and use `null` for absent values.
        for (name, value) in self.0.into_iter().filter(|(_, value)| !value.is_null()) {
            params.insert(&name, |param| parse_value(param, value));
        }
        params
    }
}

/// Parses the value of a parameter.
///
/// # Errors
/// A value of another type.
pub(crate) fn parse_value(param: &Param, value: Json) -> Result<Value, Violation> {
    let parsed = match (param.kind, value) {
        (ValueKind::Format, Json::String(text)) if text.is_empty() => {
            return Err(Violation::new(param.name, ViolationKind::Empty));
        }
        (ValueKind::Text, Json::String(text)) => Some(Value::Text(text)),
        (ValueKind::Format, Json::String(text)) => text.parse().ok().map(Value::Format),
        (ValueKind::Boolean, Json::Bool(flag)) => Some(Value::Boolean(flag)),
        (ValueKind::Integer, Json::Number(number)) => integer(&number).map(Value::Integer),
        (ValueKind::Number, Json::Number(number)) => number.as_f64().map(Value::Number),
        _ => None,
    };
    parsed.ok_or_else(|| Violation::malformed(param.name, param.kind.expected()))
}

/// An integer, also if it is written as `7.0` or `7e2`. Values beyond `i64` are clamped; they are out of
/// every parameter's range.
pub(crate) fn integer(number: &serde_json::Number) -> Option<i64> {
    let integer = number.as_f64().filter(|number| number.fract() == 0.0)?;
    // The cast clamps.
    Some(number.as_i64().unwrap_or(integer as i64))
}

impl FromRequest<App> for Members {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::NotJson);
        }
        let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, app)).await;
        let body = body
            .map_err(|_| Problem::BodyTimeout)?
            .map_err(|error| Problem::from_body_rejection(&error, MAX_BODY))?;
        serde_json::from_slice(&body).map_err(|error| Problem::MalformedJson(error.to_string()))
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
        Ok(Members(members))
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
        ] {
            assert_eq!(integer(&serde_json::from_str(text).expect("a number")), expected, "{text}");
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
