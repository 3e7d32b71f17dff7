//! The settings in force, for people and for scripts. Secrets are not shown.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::layers::{Effective, Layers};

/// What stands in for a secret.
const REDACTED: &str = "[redacted]";

/// As a settings file that could be used as it is (but for its secrets), with each value's source beside it.
pub(crate) fn as_toml(layers: &Layers) -> String {
    let lines: Vec<_> = layers
        .iter()
        .map(|effective| (effective, format!("{} = {}", effective.setting.key, literal(effective))))
        .collect();
    let width = lines.iter().map(|(_, line)| line.chars().count()).max().unwrap_or_default();
    let (mut text, mut heading) = (String::new(), "");
    for (effective, line) in &lines {
        if heading != effective.setting.heading {
            let blank = if heading.is_empty() { "" } else { "\n" };
            heading = effective.setting.heading;
            let _ = writeln!(text, "{blank}## {heading}");
        }
        let _ = writeln!(text, "{line:width$}  # {}", effective.source);
    }
    text
}

/// As one JSON object: for each setting its `value` and its `source`.
pub(crate) fn as_json(layers: &Layers) -> Value {
    let settings = layers.iter().map(|effective| {
        let value = json!({"value": shown(effective), "source": effective.source.to_string()});
        (effective.setting.key.to_owned(), value)
    });
    Value::Object(settings.collect::<Map<_, _>>())
}

/// A value as TOML writes it: text in quotes, numbers, true and false without.
fn literal(effective: &Effective) -> String {
    match shown(effective) {
        Value::String(text) => toml::Value::String(text).to_string(),
        other => other.to_string(),
    }
}

fn shown(effective: &Effective) -> Value {
    let text = &effective.text;
    if effective.setting.is_secret() && !text.is_empty() {
        return REDACTED.into();
    }
    if effective.setting.is_boolean
        && let Ok(switch) = text.parse::<bool>()
    {
        return switch.into();
    }
    text.parse::<u64>().map_or_else(|_| text.as_str().into(), Value::from)
}
