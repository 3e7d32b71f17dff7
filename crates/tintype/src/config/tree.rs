//! The values of the settings as a tree. Each value has its source.

use std::fmt;
use std::path::PathBuf;

use toml::Value;

/// The origin of a setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingSource {
    /// No layer sets it.
    Default,
    /// A settings file.
    File {
        /// The path, as the user has given it.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// A variable in the environment.
    Variable(String),
    /// A flag on the command line.
    Flag(String),
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

impl SettingSource {
    /// The source with the line in the file, for error messages.
    pub(crate) fn with_line(&self) -> String {
        match self {
            Self::File { path, line } => format!("{}, line {line}", path.display()),
            Self::Default | Self::Variable(_) | Self::Flag(_) => self.to_string(),
        }
    }
}

/// A scalar or a list. A variable or a flag gives a text for either.
#[derive(Clone)]
pub(crate) struct Leaf {
    /// The value.
    pub(crate) value: Value,
    /// Where it comes from.
    pub(crate) source: SettingSource,
}

/// Without the value, which may be a secret.
impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Leaf {
    /// A text, as variables and flags give it.
    pub(crate) fn text(text: impl Into<String>, source: SettingSource) -> Self {
        Self { value: Value::String(text.into()), source }
    }
}

/// A value or a table of values.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A value.
    Leaf(Leaf),
    /// A table.
    Table(Table),
}

impl Node {
    /// The source of the value, or of the table's header.
    pub(crate) fn source(&self) -> &SettingSource {
        match self {
            Self::Leaf(leaf) => &leaf.source,
            Self::Table(table) => &table.source,
        }
    }
}

/// Named values and tables, in the order in which the layers set them first.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Where the table is set first.
    pub(crate) source: SettingSource,
    entries: Vec<(String, Node)>,
}

impl Table {
    /// A table without values.
    pub(crate) fn new(source: SettingSource) -> Self {
        Self { source, entries: Vec::new() }
    }

    /// Whether it has no value.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// The value or table of this name.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The value of this name, if it is not a table.
    pub(crate) fn leaf(&self, key: &str) -> Option<&Leaf> {
        match self.get(key)? {
            Node::Leaf(leaf) => Some(leaf),
            Node::Table(_) => None,
        }
    }

    /// The table of this name.
    pub(crate) fn table(&self, key: &str) -> Option<&Self> {
        match self.get(key)? {
            Node::Table(table) => Some(table),
            Node::Leaf(_) => None,
        }
    }

    /// The tables in it, to be changed.
    pub(crate) fn tables_mut(&mut self) -> impl Iterator<Item = (&str, &mut Self)> {
        self.entries.iter_mut().filter_map(|(key, node)| match node {
            Node::Table(table) => Some((key.as_str(), table)),
            Node::Leaf(_) => None,
        })
    }

    /// The table of this name, which is created if it does not exist.
    pub(crate) fn table_or_new(&mut self, key: &str, source: &SettingSource) -> &mut Self {
        let index = match self.entries.iter().position(|(name, _)| name == key) {
            Some(index) => index,
            None => {
                self.entries.push((key.to_owned(), Node::Table(Self::new(source.clone()))));
                self.entries.len() - 1
            }
        };
        let node = &mut self.entries[index].1;
        if let Node::Leaf(leaf) = node {
            *node = Node::Table(Self::new(leaf.source.clone()));
        }
        match node {
            Node::Table(table) => table,
            Node::Leaf(_) => unreachable!("it has just been replaced by a table"),
        }
    }

    /// Sets a value or a table.
    pub(crate) fn set(&mut self, key: &str, node: Node) {
        match self.entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = node,
            None => self.entries.push((key.to_owned(), node)),
        }
    }

    /// Sets the value at a path of names, and creates the tables on it.
    pub(crate) fn set_at(&mut self, path: &[String], leaf: Leaf) {
        match path {
            [] => {}
            [key] => self.set(key, Node::Leaf(leaf)),
            [table, rest @ ..] => self.table_or_new(table, &leaf.source).set_at(rest, leaf),
        }
    }

    /// Removes a value.
    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.retain(|(name, _)| name != key);
    }

    /// Sets everything that the other table sets; its tables do not replace a table but extend it.
    pub(crate) fn extend(&mut self, other: Self) {
        for (key, node) in other.entries {
            match node {
                Node::Leaf(leaf) => self.set(&key, Node::Leaf(leaf)),
                Node::Table(table) => self.table_or_new(&key, &table.source.clone()).extend(table),
            }
        }
    }
}

/// A scalar as text, which is the same for `8` and `"8"`; none for lists, tables and dates.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(boolean) => Some(boolean.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// The elements of a list: an array, or a text with commas.
pub(crate) fn as_list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements.clone(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => text.split(',').map(|part| Value::String(part.trim().to_owned())).collect(),
        other => vec![other.clone()],
    }
}

/// A key as TOML writes it: in quotes unless it consists of letters, digits, `-` and `_`.
pub(crate) fn key_literal(key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}
