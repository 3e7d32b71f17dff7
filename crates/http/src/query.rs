//! Parameters in a query string, encoded as `application/x-www-form-urlencoded`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use percent_encoding::percent_decode;
use tintype_core::violation::{Violation, ViolationKind};

use crate::params::{
    MAX_REPORTED_ERRORS, Param, ParamSource, Params, Value, ValueKind, out_of_range, unknown_parameter,
};

/// Parses the parameters of an image.
pub(crate) fn parse(query: &str) -> Params {
    let mut params = Params::new(ParamSource::Query);
    for (name, value) in pairs(query) {
        let name = String::from_utf8_lossy(&decode(name)).into_owned();
        params.insert(&name, |param| parse_value(param, value));
    }
    params
}

/// Whether a query string has any parameter of an image, valid or not.
pub(crate) fn has_image_parameter(query: &str) -> bool {
    pairs(query)
        .any(|(name, _)| ParamSource::Query.params().any(|param| *decode(name) == *param.name.as_bytes()))
}

/// Parses the query of a call with these optional parameters.
///
/// # Errors
/// All violations: unknown and repeated parameters, and values that are not UTF-8.
pub(crate) fn parse_known<'a>(
    query: &str,
    known: &[&'a str],
) -> Result<BTreeMap<&'a str, String>, Vec<Violation>> {
    let mut values = BTreeMap::new();
    let mut violations = Vec::new();
    for (name, value) in pairs(query) {
        let name = String::from_utf8_lossy(&decode(name)).into_owned();
        let violation = match known.iter().find(|known| **known == name) {
            None => Some(unknown_parameter(&name, known)),
            Some(name) if values.contains_key(name) => Some(Violation::new(*name, ViolationKind::Repeated)),
            Some(name) => text(name, value).map(|value| _ = values.insert(*name, value)).err(),
        };
        violations.extend(violation);
    }
    violations.truncate(MAX_REPORTED_ERRORS);
    if violations.is_empty() { Ok(values) } else { Err(violations) }
}

/// Parses an integer in `range`.
///
/// # Errors
/// A value that is not an integer, or is out of range.
pub(crate) fn integer_in_range(
    name: &str,
    value: &str,
    range: RangeInclusive<i64>,
) -> Result<i64, Violation> {
    let number = integer(name, value)?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(out_of_range(name, *range.start(), *range.end()))
}

fn parse_value(param: &Param, value: &str) -> Result<Value, Violation> {
    let name = param.name;
    let value = text(name, value)?;
    let malformed = || Violation::malformed(name, param.kind.expected());
    Ok(match param.kind {
        ValueKind::Text => Value::Text(value),
        ValueKind::Integer => Value::Integer(integer(name, &value)?),
        ValueKind::Number => Value::Number(number(name, &value)?),
        ValueKind::Format => Value::Format(non_empty(name, &value)?.parse().map_err(|_| malformed())?),
        ValueKind::Boolean => Value::Boolean(non_empty(name, &value)?.parse().map_err(|_| malformed())?),
    })
}

/// The encoded name and value of each parameter.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn text(name: &str, value: &str) -> Result<String, Violation> {
    let bytes = decode(value).into_owned();
    String::from_utf8(bytes).map_err(|_| Violation::new(name, ViolationKind::NotUtf8))
}

fn decode(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        // Before the percent-decoding, which turns %2B into a plus sign.
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode(spaced.as_bytes()).collect());
    }
    percent_decode(text.as_bytes()).into()
}

fn non_empty<'a>(name: &str, value: &'a str) -> Result<&'a str, Violation> {
    if value.is_empty() { Err(Violation::new(name, ViolationKind::Empty)) } else { Ok(value) }
}

/// Parses an integer. Values beyond `i64` are clamped; they are out of every parameter's range.
fn integer(name: &str, value: &str) -> Result<i64, Violation> {
    let digits = non_empty(name, value)?.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Violation::malformed(name, ValueKind::Integer.expected()));
    }
    let clamped = if digits.len() < value.len() { i64::MIN } else { i64::MAX };
    Ok(value.parse().unwrap_or(clamped))
}

fn number(name: &str, value: &str) -> Result<f64, Violation> {
    // Rust parses `inf` and `nan` too.
    let has_digit = non_empty(name, value)?.bytes().any(|byte| byte.is_ascii_digit());
    let parsed = value.parse().ok().filter(|_| has_digit);
    parsed.ok_or_else(|| Violation::malformed(name, ValueKind::Number.expected()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(name: &str) -> &'static Param {
        ParamSource::Query.params().find(|param| param.name == name).expect("a parameter")
    }

    #[test]
    fn text_is_decoded_once_and_otherwise_left_alone() {
        for (encoded, plain) in [
            ("cyborg_tiger", "cyborg_tiger"),
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("100%25+pure", "100% pure"),
            ("%252B", "%2B"),
            ("%E8%99%8E", "虎"),
            ("a=b", "a=b"),
            ("50%", "50%"),
        ] {
            assert_eq!(parse_value(param("prompt"), encoded), Ok(Value::Text(plain.into())));
        }
    }

    #[test]
    fn numbers_are_parsed() {
        for (value, expected) in [
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("99999999999999999999", Some(i64::MAX)),
            ("7.0", None),
            ("%2B7", None),
            ("-", None),
            ("٣", None),
        ] {
            assert_eq!(parse_value(param("seed"), value).ok(), expected.map(Value::Integer), "{value}");
        }
        for (value, expected) in [
            ("7", Some(7.0)),
            ("7.5", Some(7.5)),
            (".5", Some(0.5)),
            ("nan", None),
            ("inf", None),
            ("1,5", None),
        ] {
            assert_eq!(parse_value(param("guidance"), value).ok(), expected.map(Value::Number), "{value}");
        }
    }

    #[test]
    fn a_flag_is_true_or_false() {
        for (value, expected) in [("true", Some(true)), ("false", Some(false)), ("1", None), ("", None)] {
            assert_eq!(parse_value(param("coalesce"), value).ok(), expected.map(Value::Boolean), "{value}");
        }
    }

    #[test]
    fn many_unknown_parameters_get_a_short_response() {
        let many: String = (0..10_000).map(|i| format!("x{i}=&")).collect();
        assert_eq!(parse_known(&many, &["from"]).expect_err("unknown parameters").len(), MAX_REPORTED_ERRORS);
        let long = parse_known(&"x".repeat(60_000), &["from"]).expect_err("unknown parameters");
        assert_eq!(long[0].parameter.len(), 64);
    }
}
