//! Parameters read from a JSON body.

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

/// The largest body that is read, in bytes: two prompts of the greatest length fit several times, however escaped.
pub(crate) const MAX_BODY: usize = 64 << 10;
/// A client that has not sent its body by then holds a connection open for nothing.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The members of a JSON object as they were sent: in order, and twice if one was sent twice.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Vec<(String, Json)>);

impl Members {
    /// What they ask for.
    pub(crate) fn into_params(self) -> Params {
        let mut params = Params::new(ParamSource::Body);
        // Programs that write a member for everything they know write `null` for what is not given.
        for (name, value) in self.0.into_iter().filter(|(_, value)| !value.is_null()) {
            params.insert(&name, |param| parse_value(param, value));
        }
        params
    }
}

/// A parameter's value.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_value(param: &Param, value: Json) -> Result<Value, Violation> {
    let read = match (param.kind, value) {
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
    read.ok_or_else(|| Violation::malformed(param.name, param.kind.expected()))
}

/// A whole number, however it is written. One too large for 64 bits becomes the largest: it is out of every parameter's
/// range all the same.
pub(crate) fn integer(number: &serde_json::Number) -> Option<i64> {
    let integer = number.as_f64().filter(|number| number.fract() == 0.0)?;
    // Of a number beyond the range the nearest in it is taken.
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

/// `application/json` or a type built on it, whatever its parameters.
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
