//! Output of `tintype config`: the settings in effect, as TOML or JSON. Secrets are redacted.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use tintype_core::redact::without_passwords;

use super::layers::Layers;
use super::reader::REDACTED;
use super::sections::shape;
use super::shape::Shape;
use super::tree::{Leaf, Node, Table, as_list, as_text, key_literal};

/// Longer lines do not move the column of the sources.
const MAX_COLUMN: usize = 100;

/// A line of the output.
enum Line {
    /// A comment, the header of a table, or an empty line.
    Plain(String),
    /// A setting with its value, and its source.
    Setting(String, String),
}

/// A valid settings file, apart from redacted secrets, with each value's source in a comment.
pub(crate) fn as_toml(layers: &Layers) -> String {
    let (mut lines, mut section) = (Vec::new(), None);
    for (setting, leaf) in layers.values() {
        if section != Some(setting.section) {
            if section.is_some() {
                lines.push(Line::Plain(String::new()));
            }
            section = Some(setting.section);
            lines.push(Line::Plain(format!("## {}", setting.section.heading())));
        }
        lines.push(line(setting.key, leaf, shape_of(shape(), setting.key)));
    }
    for (key, table) in layers.tables() {
        add_table(&mut lines, key, table, shape_of(shape(), key));
    }
    let lengths = lines.iter().filter_map(|line| match line {
        Line::Setting(text, _) => Some(text.chars().count()).filter(|length| *length <= MAX_COLUMN),
        Line::Plain(_) => None,
    });
    let width = lengths.max().unwrap_or_default();
    let mut text = String::new();
    for line in &lines {
        let _ = match line {
            Line::Plain(line) => writeln!(text, "{line}"),
            Line::Setting(line, source) => writeln!(text, "{line:width$}  # {source}"),
        };
    }
    text
}

/// Adds the values of a table, then the tables in it. A table of tables only has no header.
fn add_table(lines: &mut Vec<Line>, path: &str, table: &Table, shape: &Shape) {
    let has_tables = table.iter().any(|(_, node)| matches!(node, Node::Table(_)));
    let has_values = table.iter().any(|(_, node)| matches!(node, Node::Leaf(_)));
    if has_values || !has_tables {
        lines.push(Line::Plain(String::new()));
        lines.push(Line::Plain(format!("[{path}]")));
    }
    for (key, node) in table.iter() {
        if let Node::Leaf(leaf) = node {
            lines.push(line(key, leaf, shape_of(shape, key)));
        }
    }
    for (key, node) in table.iter() {
        if let Node::Table(table) = node {
            add_table(lines, &format!("{path}.{}", key_literal(key)), table, shape_of(shape, key));
        }
    }
}

fn line(key: &str, leaf: &Leaf, shape: &Shape) -> Line {
    Line::Setting(format!("{} = {}", key_literal(key), literal(&shown(leaf, shape))), leaf.source.to_string())
}

/// A JSON object with the `value` and the `source` of each setting. A table is an object of settings.
pub(crate) fn as_json(layers: &Layers) -> Value {
    let values =
        layers.values().map(|(setting, leaf)| (setting.key, described(leaf, shape_of(shape(), setting.key))));
    let tables = layers.tables().map(|(key, table)| (key, table_as_json(table, shape_of(shape(), key))));
    Value::Object(values.chain(tables).map(|(key, value)| (key.to_owned(), value)).collect())
}

fn table_as_json(table: &Table, shape: &Shape) -> Value {
    let values = table.iter().map(|(key, node)| {
        let shape = shape_of(shape, key);
        let value = match node {
            Node::Leaf(leaf) => described(leaf, shape),
            Node::Table(table) => table_as_json(table, shape),
        };
        (key.to_owned(), value)
    });
    Value::Object(values.collect::<Map<_, _>>())
}

fn described(leaf: &Leaf, shape: &Shape) -> Value {
    json!({"value": shown(leaf, shape), "source": leaf.source.to_string()})
}

/// The shape of a key; all keys in the layers are known.
fn shape_of<'a>(shape: &'a Shape, key: &str) -> &'a Shape {
    shape.of_key(key).expect("the layers have only known keys")
}

/// A value as a TOML literal.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A value without secrets.
fn shown(leaf: &Leaf, shape: &Shape) -> Value {
    if shape.is_list() {
        return as_list(&leaf.value).iter().map(|element| scalar(element, shape)).collect();
    }
    scalar(&leaf.value, shape)
}

/// A scalar without secrets. A text that reads as `true`, `false` or a whole number is shown as such,
/// because variables and flags have texts only.
fn scalar(value: &toml::Value, shape: &Shape) -> Value {
    let text = as_text(value).unwrap_or_else(|| value.to_string());
    if shape.is_secret() && !text.is_empty() {
        return REDACTED.into();
    }
    let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    match (value, number) {
        (_, Some(number)) => number.into(),
        (toml::Value::Float(number), _) => json!(number),
        _ if text == "true" || text == "false" => (text == "true").into(),
        _ => without_passwords(&text).into(),
    }
}
