//! Refuses unknown keys, and tables in place of values.

use anyhow::{Result, bail, ensure};

use super::reader::{invalid, join};
use super::schema::settings;
use super::shape::Shape;
use super::tree::{Leaf, Node, Table};

/// Checks that a table has only keys of this shape, and values where the settings have values.
///
/// # Errors
/// The first key or value that is wrong, with its line. The message names the nearest known key.
pub(super) fn check(table: &Table, shape: &Shape, path: &str) -> Result<()> {
    for (key, node) in table.iter() {
        let own_path = join(path, key);
        let Some(own_shape) = shape.of_key(key) else {
            let hint = hint(key, node, shape, path);
            bail!("unknown setting `{own_path}` ({}); {hint}", node.source().with_line());
        };
        match node {
            Node::Table(table) if own_shape.is_leaf() => bail!(
                "`{own_path}` is a table ({}), but the setting has {}{}",
                table.source.with_line(),
                if own_shape.is_list() { "a list" } else { "one value" },
                nearest_map(key, shape)
                    .map(|map| format!("; did you mean `[{map}.NAME]`?"))
                    .unwrap_or_default()
            ),
            Node::Table(table) => check(table, own_shape, &own_path)?,
            Node::Leaf(leaf) => check_value(&own_path, leaf, own_shape)?,
        }
    }
    Ok(())
}

fn check_value(path: &str, leaf: &Leaf, shape: &Shape) -> Result<()> {
    use toml::Value::{Array, Datetime, Table};
    let expected = match shape {
        Shape::Map(_) => "a table for each name, such as [NAME]".replace("NAME", &format!("{path}.NAME")),
        Shape::Table(_) => format!("a table, such as [{path}]"),
        Shape::Scalar | Shape::Secret => {
            ensure!(
                !matches!(leaf.value, Array(_) | Datetime(_) | Table(_)),
                invalid(path, leaf, shape, "one string, number, true or false")
            );
            return Ok(());
        }
        Shape::List | Shape::SecretList => {
            let is_complex = |value: &toml::Value| matches!(value, Array(_) | Datetime(_) | Table(_));
            let has_complex = match &leaf.value {
                Array(elements) => elements.iter().any(is_complex),
                other => is_complex(other),
            };
            ensure!(!has_complex, invalid(path, leaf, shape, "a list of strings or numbers"));
            return Ok(());
        }
    };
    bail!(invalid(path, leaf, shape, &expected))
}

/// What to do about an unknown key.
fn hint(key: &str, node: &Node, shape: &Shape, path: &str) -> String {
    let names: Vec<_> = keys(shape);
    // In a TOML file, every line after the header of a table belongs to the table.
    if !path.is_empty() && settings().iter().any(|setting| setting.key == key) {
        return format!("`{key}` is not a setting of a table: move its line above the first table");
    }
    match nearest(key, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if !path.is_empty() => format!("`{path}` can have {}", names.join(", ")),
        None if matches!(node, Node::Table(_)) => {
            "settings are not in sections; `tintype config` lists all settings".to_owned()
        }
        None => "`tintype config` lists all settings".to_owned(),
    }
}

/// The keys that a table of this shape can have, if the user does not choose them.
pub(super) fn keys(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Shape::Table(fields) => fields.iter().map(|(key, _)| *key).collect(),
        _ => Vec::new(),
    }
}

/// The nearest key whose value is a table with keys that the user chooses.
fn nearest_map<'a>(key: &str, shape: &'a Shape) -> Option<&'a str> {
    let Shape::Table(fields) = shape else { return None };
    let maps = fields.iter().filter(|(_, shape)| matches!(shape, Shape::Map(_)));
    nearest(key, maps.map(|(name, _)| *name))
}

/// The known name with the smallest edit distance, if it is small: at most a third of the name. Case does
/// not count, nor the difference between `-` and `_`.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let name = plain(name);
    let distances = known.into_iter().map(|known| (strsim::osa_distance(&name, &plain(known)), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (3 * distance <= name.chars().count().max(3)).then_some(known)
}
