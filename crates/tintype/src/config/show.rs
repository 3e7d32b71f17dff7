//! Output of `tintype config`: the settings in effect, as TOML or JSON. Secrets are redacted.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::layers::{Effective, Layers};

/// Longer lines do not move the column of the sources.
const MAX_COLUMN: usize = 100;

/// Replaces the value of a secret.
const REDACTED: &str = "[redacted]";

/// A valid settings file, apart from redacted secrets, with each value's source in a comment.
pub(crate) fn as_toml(layers: &Layers) -> String {
    let lines: Vec<_> = layers
        .iter()
        .map(|effective| (effective, format!("{} = {}", effective.setting.key, literal(effective))))
        .collect();
    let lengths = lines.iter().map(|(_, line)| line.chars().count());
    let width = lengths.filter(|length| *length <= MAX_COLUMN).max().unwrap_or_default();
    let (mut text, mut section) = (String::new(), None);
    for (effective, line) in &lines {
        if section != Some(effective.setting.section) {
            let blank = if section.is_none() { "" } else { "\n" };
            section = Some(effective.setting.section);
            let _ = writeln!(text, "{blank}## {}", effective.setting.section.heading());
        }
        let _ = writeln!(text, "{line:width$}  # {}", effective.source);
    }
    text
}

/// A JSON object with the `value` and the `source` of each setting.
pub(crate) fn as_json(layers: &Layers) -> Value {
    let settings = layers.iter().map(|effective| {
        let value = json!({"value": shown(effective), "source": effective.source.to_string()});
        (effective.setting.key.to_owned(), value)
    });
    Value::Object(settings.collect::<Map<_, _>>())
}

/// A value as a TOML literal.
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
        && let Ok(boolean) = text.parse::<bool>()
    {
        return boolean.into();
    }
    text.parse::<u64>().map_or_else(|_| text.as_str().into(), Value::from)
}
