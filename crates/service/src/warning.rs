//! What a client should know about a picture that was made all the same, in words.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tintype_core::engine::Warning;

/// Most characters of a cut prompt's rest that are repeated.
const LEFT_OUT_CHARS: usize = 60;

/// A warning as a client reads it, and as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of thing it is about, for programs.
    pub code: String,
    /// The whole of it, for people.
    pub message: String,
}

impl Notice {
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("two texts")
    }

    pub(crate) fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }
}

impl From<&Warning> for Notice {
    fn from(warning: &Warning) -> Self {
        match warning {
            Warning::PromptCut { parameter, limit, left_out } => {
                let mut rest: String = left_out.chars().take(LEFT_OUT_CHARS).collect();
                if rest.len() < left_out.len() {
                    rest.push('…');
                }
                let message = format!(
                    "`{parameter}` is longer than the {limit} tokens that the model reads; left out from: {rest}"
                );
                Self { code: "prompt_cut".to_owned(), message }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_prompt_is_told_with_the_place() {
        let cut = |left_out: &str| {
            let left_out = left_out.to_owned();
            Notice::from(&Warning::PromptCut { parameter: "prompt", limit: 77, left_out })
        };
        let notice = cut("and a hat");
        assert_eq!(notice.code, "prompt_cut");
        assert_eq!(
            notice.message,
            "`prompt` is longer than the 77 tokens that the model reads; left out from: and a hat"
        );
        assert!(cut(&"虎".repeat(100)).message.ends_with(&format!(": {}…", "虎".repeat(60))));
        assert_eq!(Notice::read(&notice.to_value()), Some(notice));
    }
}
