//! The JSON form of stored records: its version, and what can be read of a damaged record.

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Error, Result};

/// The latest version of the form of records that this program reads. Version 2 is that of jobs since version 0.2:
/// they have a model, and a picture key besides the request key. Other records are written as version 1.
///
/// The member `v` of a stored record has the version; a record without it has version 1. Raise this constant
/// for a change that makes new records unreadable for earlier programs, or that changes their meaning. An
/// earlier program skips records of a later version and leaves them as they are; version 0.1 does not skip them, but
/// fails where it reads many.
pub const VERSION: u32 = 2;

/// Decodes a record. `name` returns its name for error messages.
///
/// # Errors
/// [`Error::NewerVersion`] if the record has a later version than [`VERSION`], or else [`Error::Corrupt`].
pub fn decode<T: DeserializeOwned>(name: impl FnOnce() -> String, json: &[u8]) -> Result<T> {
    let decoded = serde_json::from_slice(json);
    // A request in the record has a version too, so that a search for the member's name would find it in every job.
    let version = match serde_json::from_slice(json) {
        Ok(OnlyVersion { v }) if decoded.is_ok() => v.map_or(1, version_number),
        _ => Members::read(json).version(),
    };
    if version > VERSION {
        return Err(Error::NewerVersion { record: name(), found: version, supported: VERSION });
    }
    decoded.map_err(|error| Error::corrupt(name(), error))
}

/// The version of a record. To read it is faster than to read all members, because nothing is allocated.
#[derive(Deserialize)]
struct OnlyVersion {
    v: Option<Value>,
}

fn version_number(v: Value) -> u32 {
    u32::try_from(v.as_u64().unwrap_or(1)).unwrap_or(u32::MAX)
}

/// The members of a JSON object that can be read, up to the first syntax error.
#[derive(Debug, Default)]
pub struct Members(Map<String, Value>);

impl Members {
    /// Reads the members of an object that may be damaged.
    pub fn read(json: &[u8]) -> Self {
        let mut members = Map::new();
        // The error is the one that made the record unreadable.
        let _ = serde_json::Deserializer::from_slice(json).deserialize_map(Collect(&mut members));
        Self(members)
    }

    /// The version of the record's form.
    pub fn version(&self) -> u32 {
        self.0.get("v").cloned().map_or(1, version_number)
    }

    /// A member; `None` if it is missing or has another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.0.get(name)?).ok()
    }

    /// A member that is a time.
    pub fn time(&self, name: &str) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(self.0.get(name)?.as_str()?, &Rfc3339).ok()
    }
}

/// Collects the members of an object until an error.
struct Collect<'m>(&'m mut Map<String, Value>);

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value()?;
            self.0.insert(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(json: &str) -> Result<Map<String, Value>> {
        decode(|| "a record".to_owned(), json.as_bytes())
    }

    #[test]
    fn a_record_of_a_later_version_is_not_damaged() {
        assert!(decoded(r#"{"a":1}"#).is_ok());
        assert!(decoded(r#"{"v":2,"a":1}"#).is_ok());
        assert!(
            decoded(r#"{"a":{"v":3},"b":"\"v\":3"}"#).is_ok(),
            "only a member of the record itself counts"
        );
        for newer in [r#"{"v":3}"#, r#"{"v": 3, "a"#, r#"{"a":{"v":1},"v":99999999999}"#, r#"{"v":1,"v":3}"#]
        {
            assert!(matches!(decoded(newer), Err(Error::NewerVersion { supported: 2, .. })), "{newer}");
        }
        for damaged in ["", "no json", "[]", r#"{"a":{"v":3}"#, r#"{"a":1"#, r#"{"v":1,"a"#, "{\"a\":\"\u{1}"]
        {
            assert!(matches!(decoded(damaged), Err(Error::Corrupt { .. })), "{damaged}");
        }
    }

    #[test]
    fn the_members_before_a_syntax_error_are_read() {
        let members = Members::read(br#"{"a":1,"at":"2026-11-23T12:00:00Z","b":{"c":2},"d":"cu"#);
        assert_eq!((members.get("a"), members.get::<String>("a")), (Some(1), None));
        assert!(members.time("at").is_some() && members.time("a").is_none());
        assert_eq!(members.get::<Value>("b"), Some(serde_json::json!({"c": 2})));
        assert_eq!(members.get::<Value>("d"), None);
        assert_eq!(Members::read(b"\xff").version(), 1);
    }
}
