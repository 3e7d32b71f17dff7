//! Compares the patterns of a key's limits with their parsers: the patterns match everything that the parsers
//! accept, and beyond it only numbers that are too large.

use regex::Regex;
use serde_json::Value;
use tintype_ledger::policy::{Budget, CoarseDuration, Rate};

fn pattern(member: &str) -> Regex {
    let description: Value = serde_json::from_str(tintype_http::openapi()).expect("JSON");
    let body =
        &description["paths"]["/v1/keys"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let member = &body["properties"][member];
    let pattern = member["pattern"].as_str().or(member["items"]["pattern"].as_str()).expect("a pattern");
    Regex::new(pattern).expect("a regular expression")
}

/// Checks that the pattern and the parser accept `valid`, that both reject `invalid`, and that only the
/// pattern accepts `too_large`.
fn compare(
    member: &str,
    parses: impl Fn(&str) -> bool,
    valid: &[&str],
    invalid: &[&str],
    too_large: &[&str],
) {
    let pattern = pattern(member);
    for text in valid {
        assert!(parses(text) && pattern.is_match(text), "{member}: {text:?}");
    }
    for text in invalid {
        assert!(!parses(text) && !pattern.is_match(text), "{member}: {text:?}");
    }
    for text in too_large {
        assert!(!parses(text) && pattern.is_match(text), "{member}: {text:?}");
    }
}

#[test]
fn rates() {
    let valid = [
        "60/min",
        "1000000/min",
        "1000000/day",
        "1/s",
        "2/sec",
        "2/second",
        "5/m",
        "5/minute",
        "5/h",
        "5/hour",
        "5/d",
        "0060/min",
        "+60/min",
        " 60 / min ",
    ];
    let invalid = ["", "60", "/min", "-1/s", "1.5/s", "60/year", "60/MIN", "60/days", "6 0/min", "60min"];
    compare("rate", |text| text.parse::<Rate>().is_ok(), &valid, &invalid, &["1000001/s", "0/min"]);
}

#[test]
fn budgets() {
    let valid = [
        "3600s/day",
        "5usd/day",
        "0.5s/day",
        "1000000s/day",
        "0s/d",
        "1.234s/month",
        "0.25EUR/month",
        "0.000001jpy/day",
        "5abs/day",
        "18446744073709551s/day",
    ];
    let invalid = [
        "",
        "3600/day",
        "s/day",
        ".5s/day",
        "5.s/day",
        "1.2345s/day",
        "0.0000001usd/day",
        "5us/day",
        "5usdx/day",
        "-5usd/day",
        "5usd",
        "5usd/year",
        "5usd/m",
        " 5usd/day",
    ];
    let too_large = ["18446744073709552s/day", "18446744073710usd/day"];
    compare("budgets", |text| text.parse::<Budget>().is_ok(), &valid, &invalid, &too_large);
}

#[test]
fn durations() {
    let valid = ["90d", "3650d", "3600s", "12h", "30min", "87600h", "1day", "1m", "1minute", "007s", "+7s"];
    let invalid = ["", "90", "d", "-1d", "1.5d", "9x", "90 d", "1month", "90D"];
    compare("expires_in", |text| text.parse::<CoarseDuration>().is_ok(), &valid, &invalid, &["3651d", "0d"]);
}
