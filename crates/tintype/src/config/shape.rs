//! The keys and kinds of settings, found by asking their types.
//!
//! A type that implements `Deserialize` asks its deserializer for what it needs: a struct asks for its
//! fields, a list for a sequence, a [`Secret`] for a newtype of that name. [`Probe`] is a deserializer that
//! has no value; it records what the type asks for. So the types are the only description of the settings: a
//! new field is a known key, and a field of type `Secret` is redacted, whatever its name.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use tintype_core::secret::Secret;

/// The kind of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One value.
    Scalar,
    /// One value that must not be shown.
    Secret,
    /// A list of values.
    List,
    /// A list of values that must not be shown.
    SecretList,
    /// A table with these keys.
    Table(Fields),
    /// A table whose keys the user chooses, with values of one shape.
    Map(Box<Shape>),
}

/// The keys of a table, with the shapes of their values.
pub(crate) type Fields = Vec<(&'static str, Shape)>;

impl Shape {
    /// Whether the value must not be shown.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, Self::Secret | Self::SecretList)
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::List | Self::SecretList)
    }

    /// Whether it is one value or a list, and not a table.
    pub(crate) fn is_leaf(&self) -> bool {
        !matches!(self, Self::Table(_) | Self::Map(_))
    }

    /// The shape of the value of this key in a table.
    pub(crate) fn of_key(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Table(fields) => field(fields, key),
            Self::Map(shape) => Some(shape),
            Self::Scalar | Self::Secret | Self::List | Self::SecretList => None,
        }
    }
}

/// The shape of the value of this key.
pub(crate) fn field<'a>(fields: &'a Fields, key: &str) -> Option<&'a Shape> {
    fields.iter().find(|(name, _)| *name == key).map(|(_, shape)| shape)
}

/// The keys that a struct of settings reads.
pub(crate) fn fields_of<T: DeserializeOwned>() -> Fields {
    match shape_at::<T>(&[]) {
        Shape::Table(fields) => fields,
        other => unreachable!("settings are a struct, not {other:?}"),
    }
}

/// The shape of the value at a path of keys.
fn shape_at<T: DeserializeOwned>(path: &[&'static str]) -> Shape {
    let found = RefCell::new(Found::default());
    // A probe has no value, so it always ends with an error.
    let _ = T::deserialize(Probe { path, found: &found });
    let Found { keys, is_map, is_list, is_secret } = found.into_inner();
    let below = |key: &'static str| shape_at::<T>(&[path, &[key]].concat());
    match keys {
        Some(keys) => Shape::Table(keys.iter().map(|key| (*key, below(key))).collect()),
        None if is_map => Shape::Map(Box::new(below("NAME"))),
        None => match (is_list, is_secret) {
            (false, false) => Shape::Scalar,
            (false, true) => Shape::Secret,
            (true, false) => Shape::List,
            (true, true) => Shape::SecretList,
        },
    }
}

/// What a type has asked for.
#[derive(Default)]
struct Found {
    keys: Option<&'static [&'static str]>,
    is_map: bool,
    is_list: bool,
    is_secret: bool,
}

/// Follows a path of keys and records what the type at its end asks for.
#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [&'static str],
    found: &'a RefCell<Found>,
}

/// The error with which every probe ends.
type NoValue = serde::de::value::Error;

fn no_value() -> NoValue {
    serde::de::Error::custom("a probe has no value")
}

impl<'a> Probe<'a> {
    /// The probe for the next key of the path; none at its end.
    fn next(self) -> Option<Field<'a>> {
        let (key, path) = self.path.split_first()?;
        Some(Field { key: Some(key), value: Self { path, ..self } })
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = NoValue;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoValue> {
        Err(no_value())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoValue> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, NoValue> {
        if name == Secret::TYPE_NAME {
            self.found.borrow_mut().is_secret = true;
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoValue> {
        self.found.borrow_mut().is_list = true;
        visitor.visit_seq(Element(self))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoValue> {
        match self.next() {
            Some(field) => visitor.visit_map(field),
            None => {
                self.found.borrow_mut().is_map = true;
                Err(no_value())
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NoValue> {
        match self.next() {
            Some(field) => visitor.visit_map(field),
            None => {
                self.found.borrow_mut().keys = Some(fields);
                Err(no_value())
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

/// The first element of a list.
struct Element<'a>(Probe<'a>);

impl<'de> SeqAccess<'de> for Element<'_> {
    type Error = NoValue;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, NoValue> {
        seed.deserialize(self.0).map(Some)
    }
}

/// One key of a table.
struct Field<'a> {
    key: Option<&'static str>,
    value: Probe<'a>,
}

impl<'de> MapAccess<'de> for Field<'_> {
    type Error = NoValue;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, NoValue> {
        self.key.take().map(|key| seed.deserialize(StrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NoValue> {
        seed.deserialize(self.value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct Settings {
        plain: String,
        number: Option<u32>,
        harmless_name: Secret,
        optional: Option<Secret>,
        list: Vec<String>,
        #[serde(rename = "tokens")]
        secrets: Vec<Secret>,
        inner: Inner,
        by_name: BTreeMap<String, Inner>,
        #[serde(skip)]
        not_a_setting: Option<Secret>,
    }

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct Inner {
        x: bool,
        y: Option<Secret>,
    }

    #[test]
    fn types_state_their_keys_and_kinds() {
        let inner = Shape::Table(vec![("x", Shape::Scalar), ("y", Shape::Secret)]);
        let expected = vec![
            ("plain", Shape::Scalar),
            ("number", Shape::Scalar),
            ("harmless_name", Shape::Secret),
            ("optional", Shape::Secret),
            ("list", Shape::List),
            ("tokens", Shape::SecretList),
            ("inner", inner.clone()),
            ("by_name", Shape::Map(Box::new(inner))),
        ];
        assert_eq!(fields_of::<Settings>(), expected);
    }
}
