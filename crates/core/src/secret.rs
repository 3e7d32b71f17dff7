//! Types for secrets, which are redacted in output.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::redact::without_passwords;

/// A value that must not appear in logs, error messages or printed settings. It is compared in constant time.
///
/// `Debug`, `Display` and `Serialize` write `[redacted]`; only [`Secret::expose`] returns the value.
///
/// `Deserialize` asks for a newtype with the name [`Secret::TYPE_NAME`], by which a deserializer can recognize
/// secrets.
#[derive(Clone, Default, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The name of the type in serde's data model.
    pub const TYPE_NAME: &str = "Secret";

    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. A comment at each call states why the value is needed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The duration of the comparison depends only on the lengths, so that it reveals nothing about the value.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        let differing = a.iter().zip(b).fold(0u8, |seen, (x, y)| seen | (x ^ y));
        a.len() == b.len() && std::hint::black_box(differing) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

/// A URL or connection string that may contain a password, such as `postgres://user:password@host/db`.
///
/// `Debug`, `Display` and `Serialize` write `***` for the password; only [`SecretUrl::expose`] returns it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole URL. A comment at each call states why the password is needed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", without_passwords(&self.0))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_passwords(&self.0))
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_prints_no_password() {
        let url = SecretUrl::new("postgres://u:hunter2@h/db");
        assert_eq!(format!("{url} {url:?}"), r#"postgres://u:***@h/db "postgres://u:***@h/db""#);
        assert_eq!(url.expose(), "postgres://u:hunter2@h/db");
    }

    #[test]
    fn never_prints() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret}"), "[redacted] [redacted]");
    }

    #[test]
    fn compares_by_value() {
        assert_eq!(Secret::new("a"), Secret::new("a"));
        assert_ne!(Secret::new("a"), Secret::new("b"));
        assert_ne!(Secret::new("a"), Secret::new("ab"));
    }
}
