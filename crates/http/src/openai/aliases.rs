//! Names of other people's models that stand for ours.

use std::fmt;
use std::str::FromStr;

/// A model's name, or the beginning of one with `*` behind it: `dall-e-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    name: String,
    /// More may follow.
    open: bool,
}

/// Neither a name nor the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a model's name nor the beginning of one with * behind it")]
pub struct InvalidAlias(String);

impl FromStr for Alias {
    type Err = InvalidAlias;

    fn from_str(text: &str) -> Result<Self, InvalidAlias> {
        let (name, open) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        let visible = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b','));
        if text.is_empty() || !visible {
            return Err(InvalidAlias(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), open })
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        f.write_str(if self.open { "*" } else { "" })
    }
}

impl Alias {
    /// Whether it stands for a model of this name.
    pub fn covers(&self, name: &str) -> bool {
        if self.open { name.starts_with(&self.name) } else { name == self.name }
    }

    /// The name, if it is a whole one.
    pub(super) fn name(&self) -> Option<&str> {
        (!self.open).then_some(&*self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_rest() {
        let alias = |text: &str| text.parse::<Alias>();
        let dall_e = alias("dall-e-*").expect("an alias");
        assert_eq!(
            (dall_e.covers("dall-e-3"), dall_e.covers("dall-e"), dall_e.to_string()),
            (true, false, "dall-e-*".into())
        );
        let one = alias("org/model").expect("an alias");
        assert_eq!((one.covers("org/model"), one.covers("org/model-2")), (true, false));
        assert!(alias("*").expect("an alias").covers("anything"));
        for bad in ["", "a*b", "a b", "**", "é", "a,b"] {
            assert!(alias(bad).is_err(), "{bad}");
        }
    }
}
