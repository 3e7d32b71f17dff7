//! The settings that environment variables set.

use anyhow::{Result, anyhow};

use super::known::{keys, nearest};
use super::shape::{Fields, Shape};
use super::tree::{Table, key_literal};

/// The path of a variable's setting: `TINTYPE_MODELS__FAST__STEPS` sets `steps` in `[models.fast]`. Two
/// underscores separate the levels. A name that the user chooses matches a table of the same name in upper
/// or lower case, or else is in lower case.
///
/// # Errors
/// If there is no such setting.
pub(super) fn path(variable: &str, shape: &Shape, tree: &Table) -> Result<Vec<String>> {
    let unknown = |hint: String| anyhow!("unknown setting in environment variable {variable}; {hint}");
    let name = variable.strip_prefix("TINTYPE_").unwrap_or(variable);
    let mut levels = name.split("__");
    let first = levels.next().unwrap_or_default();
    let settings = keys(shape);
    let upper = |key: &str| key.to_ascii_uppercase();
    let Some(key) = settings.iter().find(|key| upper(key) == first) else {
        let all: Vec<_> = settings.iter().map(|key| upper(key)).collect();
        return Err(unknown(match nearest(first, all.iter().map(String::as_str)) {
            Some(near) => format!("did you mean TINTYPE_{}?", name.replacen(first, near, 1)),
            None => "`tintype config` lists all settings".to_owned(),
        }));
    };
    let mut path = vec![(*key).to_owned()];
    let mut shape = shape.of_key(key).expect("it is one of the keys");
    let mut table = tree.table(key);
    for level in levels {
        let key = match shape {
            Shape::Table(fields) => own_key(level, fields).map_err(|near| {
                let levels: Vec<_> = name.split("__").take(path.len()).collect();
                unknown(match near {
                    Some(near) => format!("did you mean TINTYPE_{}__{}?", levels.join("__"), upper(near)),
                    None => format!(
                        "the levels below TINTYPE_{} are {}",
                        levels.join("__"),
                        keys(shape).join(", ")
                    ),
                })
            })?,
            Shape::Map(_) => chosen_key(level, table).ok_or_else(|| {
                unknown("a name in a variable has letters, digits and single underscores".to_owned())
            })?,
            _ => return Err(unknown(format!("`{}` is not a table", path.join(".")))),
        };
        shape = shape.of_key(&key).expect("a table has the shape of each of its keys");
        table = table.and_then(|table| table.table(&key));
        path.push(key);
    }
    if !shape.is_leaf() {
        return Err(unknown(format!(
            "it names a table; a variable sets one value, such as {variable}__{}",
            {
                match shape {
                    Shape::Map(inner) => format!("NAME__{}", upper(keys(inner).first().unwrap_or(&"KEY"))),
                    _ => upper(keys(shape).first().unwrap_or(&"KEY")),
                }
            }
        )));
    }
    Ok(path)
}

/// The key of a struct that a level names, or else the nearest one.
fn own_key(level: &str, fields: &Fields) -> Result<String, Option<&'static str>> {
    let key = level.to_ascii_lowercase();
    match fields.iter().find(|(name, _)| *name == key) {
        Some(_) => Ok(key),
        None => Err(nearest(&key, fields.iter().map(|(name, _)| *name))),
    }
}

/// The name of a table that the user chooses.
fn chosen_key(level: &str, tables: Option<&Table>) -> Option<String> {
    let existing = tables
        .and_then(|tables| tables.iter().map(|(name, _)| name).find(|name| name.eq_ignore_ascii_case(level)));
    let is_bare = !level.is_empty() && key_literal(level) == level;
    existing.map(str::to_owned).or_else(|| is_bare.then(|| level.to_ascii_lowercase()))
}
