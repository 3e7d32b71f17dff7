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
            // Forms write absent values so.
            Some(_) if value.is_empty() => None,
            Some(name) if values.contains_key(name) => Some(Violation::new(*name, ViolationKind::Repeated)),
            Some(name) => text(name, value).map(|value| _ = values.insert(*name, value)).err(),
        };
        violations.extend(violation);
    }
    violations.truncate(MAX_REPORTED_ERRORS);
    if violations.is_empty() { Ok(values) } else { Err(violations) }
}

/// The first value of a parameter, if it is UTF-8.
pub(crate) fn value(query: &str, name: &str) -> Option<String> {
    let (_, value) = pairs(query).find(|(found, _)| *decode(found) == *name.as_bytes())?;
    text(name, value).ok()
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
    let number =
        parse_integer(value).ok_or_else(|| Violation::malformed(name, ValueKind::Integer.expected()))?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(out_of_range(name, *range.start(), *range.end()))
}

/// Parses the value of a parameter; `None` for an optional parameter without a value, as forms write it.
fn parse_value(param: &Param, value: &str) -> Result<Option<Value>, Violation> {
    if value.is_empty() && param.is_optional() {
        return Ok(None);
    }
    let value = text(param.name, value)?;
    let parsed = match param.kind {
        ValueKind::Text => Some(Value::Text(value)),
        ValueKind::Integer => parse_integer(&value).map(Value::Integer),
        ValueKind::Number => parse_number(&value).map(Value::Number),
        ValueKind::Format => value.parse().ok().map(Value::Format),
        ValueKind::Boolean => value.parse().ok().map(Value::Boolean),
    };
    parsed.map(Some).ok_or_else(|| Violation::malformed(param.name, param.kind.expected()))
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

/// Parses an integer, also if it is written as `7.0`. Values beyond `i64` are clamped; they are out of every
/// parameter's range.
pub(crate) fn parse_integer(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, fraction)) => {
            (!fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0')).then_some(whole)?
        }
        None => text,
    };
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let clamped = if digits.len() < whole.len() { i64::MIN } else { i64::MAX };
    Some(whole.parse().unwrap_or(clamped))
}

pub(crate) fn parse_number(text: &str) -> Option<f64> {
    // Rust parses `inf` and `nan` too.
    text.parse().ok().filter(|_| text.bytes().any(|byte| byte.is_ascii_digit()))
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
            assert_eq!(parse_value(param("prompt"), encoded), Ok(Some(Value::Text(plain.into()))));
        }
    }

    #[test]
    fn numbers_are_parsed() {
        for (value, expected) in [
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("99999999999999999999", Some(i64::MAX)),
            ("7.0", Some(7)),
            ("-1.00", Some(-1)),
            ("7.", None),
            ("7.5", None),
            (".0", None),
            ("7e2", None),
            ("%2B7", None),
            ("-", None),
            ("٣", None),
        ] {
            assert_eq!(
                parse_value(param("seed"), value).ok(),
                expected.map(|number| Some(Value::Integer(number))),
                "{value}"
            );
        }
        for (value, expected) in [
            ("7", Some(7.0)),
            ("7.5", Some(7.5)),
            (".5", Some(0.5)),
            ("nan", None),
            ("inf", None),
            ("1,5", None),
        ] {
            assert_eq!(
                parse_value(param("guidance"), value).ok(),
                expected.map(|number| Some(Value::Number(number))),
                "{value}"
            );
        }
    }

    #[test]
    fn a_flag_is_true_or_false() {
        for (value, expected) in [("true", Some(true)), ("false", Some(false)), ("1", None), ("True", None)] {
            assert_eq!(
                parse_value(param("coalesce"), value).ok(),
                expected.map(|flag| Some(Value::Boolean(flag))),
                "{value}"
            );
        }
    }

    #[test]
    fn an_optional_parameter_without_a_value_is_absent() {
        for name in ["negative_prompt", "width", "guidance", "format", "coalesce"] {
            assert_eq!(parse_value(param(name), ""), Ok(None), "{name}");
        }
        assert_eq!(parse_value(param("prompt"), ""), Ok(Some(Value::Text(String::new()))));
        assert_eq!(parse_known("from=&to=x&from", &["from", "to"]).expect("valid").len(), 1);
    }

    #[test]
    fn many_unknown_parameters_get_a_short_response() {
        let many: String = (0..10_000).map(|i| format!("x{i}=&")).collect();
        assert_eq!(parse_known(&many, &["from"]).expect_err("unknown parameters").len(), MAX_REPORTED_ERRORS);
        let long = parse_known(&"x".repeat(60_000), &["from"]).expect_err("unknown parameters");
        assert_eq!(long[0].parameter.len(), 64);
    }
}
