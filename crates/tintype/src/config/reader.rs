//! Reads structs of settings from the merged values, with serde. An error names the setting, its value, the
//! value's source and the values that are allowed.

use std::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use tintype_core::redact::without_passwords;
use toml::Value;

use super::shape::Shape;
use super::tree::{Leaf, Node, Table, as_list, as_text, key_literal};

/// Replaces a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// An error about a setting.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The value is invalid. The text completes the sentence "it must be …".
    #[error("it must be {0}")]
    Expected(String),
    /// The table lacks a key that it needs.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// The error with the setting's name and source.
    #[error("{0}")]
    Complete(String),
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(expected: T) -> Self {
        Self::Expected(expected.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

impl ReadError {
    fn in_value(self, path: &str, leaf: &Leaf, shape: &Shape) -> Self {
        match self {
            Self::Expected(expected) => Self::Complete(invalid(path, leaf, shape, &expected)),
            other => other,
        }
    }

    fn in_table(self, path: &str, table: &Table) -> Self {
        match self {
            Self::Missing(field) => {
                let source = table.source.with_line();
                Self::Complete(format!("`{}` is missing ({source})", join(path, field)))
            }
            other => other,
        }
    }
}

/// The message for an invalid value. `expected` completes the sentence "it must be …".
pub(super) fn invalid(path: &str, leaf: &Leaf, shape: &Shape, expected: &str) -> String {
    let shown = shown(&leaf.value, shape);
    format!("`{path}` is `{shown}` ({}); it must be {expected}", leaf.source.with_line())
}

/// A value for a message, without secrets.
fn shown(value: &Value, shape: &Shape) -> String {
    if shape.is_secret() {
        return REDACTED.to_owned();
    }
    without_passwords(&as_text(value).unwrap_or_else(|| value.to_string()))
}

/// The path of a key in a table.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = key_literal(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Deserializes a table. A struct gets only the keys that it asks for.
pub(super) struct TableReader<'a> {
    /// The values.
    pub(super) table: &'a Table,
    /// The shape of the table.
    pub(super) shape: &'a Shape,
    /// The table's path; empty for the whole file.
    pub(super) path: String,
}

impl<'a> TableReader<'a> {
    fn entries<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        includes: impl Fn(&str) -> bool + 'a,
    ) -> Result<V::Value, ReadError> {
        let entries = Box::new(self.table.iter().filter(move |(key, _)| includes(key)));
        let entries = Entries { entries, value: None, shape: self.shape, path: &self.path };
        visitor.visit_map(entries).map_err(|error| error.in_table(&self.path, self.table))
    }
}

impl<'de> Deserializer<'de> for TableReader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.entries(visitor, |_| true)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.entries(visitor, |key| fields.contains(&key))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Entries<'a> {
    entries: Box<dyn Iterator<Item = (&'a str, &'a Node)> + 'a>,
    value: Option<(&'a str, &'a Node)>,
    shape: &'a Shape,
    path: &'a str,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        self.value = self.entries.next();
        self.value.map(|(key, _)| seed.deserialize(StrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let (key, node) = self.value.expect("serde asks for a key before its value");
        let shape = self.shape.of_key(key).expect("the layers have only known keys");
        let path = join(self.path, key);
        match node {
            Node::Leaf(leaf) => seed
                .deserialize(ValueReader(leaf.value.clone()))
                .map_err(|error| error.in_value(&path, leaf, shape)),
            Node::Table(table) => seed.deserialize(TableReader { table, shape, path }),
        }
    }
}

/// Deserializes a value. All types are read from its text, because variables and flags are texts.
struct ValueReader(Value);

impl ValueReader {
    fn text(&self) -> Result<String, ReadError> {
        as_text(&self.0).ok_or_else(|| ReadError::Expected("one value".to_owned()))
    }
}

impl<'de> Deserializer<'de> for ValueReader {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let boolean = self.text()?.parse().map_err(|_| ReadError::Expected("true or false".to_owned()))?;
        visitor.visit_bool(boolean)
    }

    /// An empty text means "not set".
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.0 {
            Value::String(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(SeqDeserializer::new(as_list(&self.0).into_iter().map(ValueReader)))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, ReadError> for ValueReader {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
