//! The setting `model` beside tables of models: `--model NAME` selects the default.

use anyhow::{Result, anyhow, bail};
use tintype_service::Alias;
use toml::Value;

use super::ModelChoice;
use crate::config::known::nearest;
use crate::config::reader::{invalid, join};
use crate::config::schema;
use crate::config::shape::Shape;
use crate::config::tree::{Leaf, Node, SettingSource, Table, as_list, as_text};

/// The setting for a single model.
pub(in crate::config) const SHORT_FORM: &str = "model";
/// The tables of models.
const TABLES: &str = "models";

/// Whether there are tables of models.
pub(in crate::config) fn has_tables(settings: &Table) -> bool {
    settings.table(TABLES).is_some_and(|tables| !tables.is_empty())
}

/// Checks that a settings file does not have both forms, which would leave open whether `model` is one more
/// model or the default.
///
/// # Errors
/// If it has both.
pub(in crate::config) fn check_file(file: &Table) -> Result<()> {
    match (file.get(SHORT_FORM), file.table(TABLES)) {
        (Some(short), Some(tables)) if !tables.is_empty() => bail!(
            "`{SHORT_FORM}` ({}) and tables of `[{TABLES}]` ({}) exclude each other in one file; to add the model, \
             write a table `[{TABLES}.NAME]` with `engine = …`; to select the default, write `default = true` in its \
             table",
            short.source().with_line(),
            tables.source.with_line()
        ),
        _ => Ok(()),
    }
}

/// Turns the value of `model` into tables, if there are tables of models and a variable or a flag sets
/// `model`. It selects the default by its name, an alias or its engine. A model that has no table gets one,
/// and is the default.
///
/// # Errors
/// If the value is neither one of the models nor a valid engine.
pub(in crate::config) fn select(settings: &mut Table) -> Result<()> {
    let given = settings.leaf(SHORT_FORM).filter(|leaf| leaf.source != SettingSource::Default).cloned();
    let Some(given) = given.filter(|_| has_tables(settings)) else { return Ok(()) };
    let text = as_text(&given.value).unwrap_or_default();
    let default = schema::settings().iter().find(|setting| setting.key == SHORT_FORM);
    let default =
        default.map(|setting| Leaf { value: setting.default.clone(), source: SettingSource::Default });
    settings.set(SHORT_FORM, Node::Leaf(default.expect("the defaults file has the setting")));
    let tables = settings.table_or_new(TABLES, &given.source);
    let selected = match find(tables, &text) {
        Some(name) => name,
        None => {
            let name = name_of_new(tables, &text, &given)?;
            let mut table = Table::new(given.source.clone());
            table.set("engine", Node::Leaf(given.clone()));
            tables.set(&name, Node::Table(table));
            name
        }
    };
    for (name, table) in tables.tables_mut() {
        if name == selected {
            let leaf = Leaf { value: Value::Boolean(true), source: given.source.clone() };
            table.set("default", Node::Leaf(leaf));
        } else {
            table.remove("default");
        }
    }
    Ok(())
}

/// The name of the table that a text names.
fn find(tables: &Table, text: &str) -> Option<String> {
    let by_name = tables.iter().find(|(name, _)| *name == text);
    let entries = || tables.iter().filter_map(|(name, node)| Some((name, as_table(node)?)));
    let by_alias = || entries().find(|(_, table)| aliases(table).iter().any(|alias| alias.covers(text)));
    let is_engine =
        |table: &Table| table.leaf("engine").and_then(|leaf| as_text(&leaf.value)).as_deref() == Some(text);
    let by_engine = || entries().find(|(_, table)| is_engine(table));
    let name = by_name.map(|(name, _)| name);
    let name =
        name.or_else(|| by_alias().map(|(name, _)| name)).or_else(|| by_engine().map(|(name, _)| name));
    name.map(str::to_owned)
}

fn as_table(node: &Node) -> Option<&Table> {
    match node {
        Node::Table(table) => Some(table),
        Node::Leaf(_) => None,
    }
}

/// The valid aliases of a table.
fn aliases(table: &Table) -> Vec<Alias> {
    let elements = table.leaf("aliases").map(|leaf| as_list(&leaf.value)).unwrap_or_default();
    elements.iter().filter_map(|element| as_text(element)?.parse().ok()).collect()
}

/// The name of a model that has no table yet.
fn name_of_new(tables: &Table, text: &str, given: &Leaf) -> Result<String> {
    let names: Vec<_> = tables.iter().map(|(name, _)| name).collect();
    let choice = ModelChoice::parse(text).map_err(|expected| {
        let expected = format!("one of the models {}; or {expected}", names.join(", "));
        let near = nearest(text, names.iter().copied()).map(|name| format!("; did you mean `{name}`?"));
        anyhow!("{}{}", invalid(SHORT_FORM, given, &Shape::Scalar, &expected), near.unwrap_or_default())
    })?;
    let name = choice.default_name();
    if let Some(node) = tables.get(&name) {
        bail!(
            "`{SHORT_FORM}` is `{text}` ({}), but its name is that of another model, `{}` ({})",
            given.source.with_line(),
            join(TABLES, &name),
            node.source().with_line()
        );
    }
    Ok(name)
}
