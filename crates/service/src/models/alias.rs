//! Alternative names of a model.

use std::fmt;
use std::str::FromStr;

/// A model name, or a prefix of model names followed by `*`: `dall-e-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    name: String,
    /// `name` is a prefix.
    is_prefix: bool,
}

/// The text is not an alias.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a model name nor a prefix followed by `*`")]
pub struct InvalidAlias(String);

impl FromStr for Alias {
    type Err = InvalidAlias;

    fn from_str(text: &str) -> Result<Self, InvalidAlias> {
        let (name, is_prefix) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        let visible = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b','));
        if text.is_empty() || !visible {
            return Err(InvalidAlias(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), is_prefix })
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        f.write_str(if self.is_prefix { "*" } else { "" })
    }
}

impl Alias {
    /// Whether the alias matches this model name.
    pub fn covers(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&self.name) } else { name == self.name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_suffix() {
        let alias = |text: &str| text.parse::<Alias>();
        let dall_e = alias("dall-e-*").expect("an alias");
        assert_eq!(
            (dall_e.covers("dall-e-3"), dall_e.covers("dall-e"), dall_e.to_string()),
            (true, false, "dall-e-*".into())
        );
        let one = alias("org/model").expect("an alias");
        assert_eq!((one.covers("org/model"), one.covers("org/model-2")), (true, false));
        assert!(alias("*").expect("an alias").covers("anything"));
        for invalid in ["", "a*b", "a b", "**", "é", "a,b"] {
            assert!(alias(invalid).is_err(), "{invalid}");
        }
    }
}
