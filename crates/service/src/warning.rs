//! Warnings about generated images, as text for clients.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tintype_core::engine::Warning;

/// Maximum number of omitted characters that the message quotes.
const MAX_OMITTED_CHARS: usize = 60;

/// A warning as clients receive it and the ledger stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarningMessage {
    /// The kind of warning, for programs.
    pub code: String,
    /// The complete message, for people.
    pub message: String,
}

impl WarningMessage {
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("strings serialize")
    }

    pub(crate) fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }
}

impl From<&Warning> for WarningMessage {
    fn from(warning: &Warning) -> Self {
        match warning {
            Warning::PromptTruncated { parameter, limit, omitted } => {
                let mut rest: String = omitted.chars().take(MAX_OMITTED_CHARS).collect();
                if rest.len() < omitted.len() {
                    rest.push('…');
                }
                let message = format!(
                    "`{parameter}` is longer than the model's limit of {limit} tokens; ignored text: {rest}"
                );
                Self { code: "prompt_cut".to_owned(), message }
            }
            Warning::SchedulerSubstituted { class, substitute } => Self {
                code: "scheduler_substituted".to_owned(),
                message: format!(
                    "the model's scheduler `{class}` is not implemented; `{substitute}` generated the images, \
                     which differ from those of `{class}`"
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_prompt_is_quoted_from_where_it_was_cut() {
        let cut = |omitted: &str| {
            let omitted = omitted.to_owned();
            WarningMessage::from(&Warning::PromptTruncated { parameter: "prompt", limit: 77, omitted })
        };
        let warning = cut("and a hat");
        assert_eq!(warning.code, "prompt_cut");
        assert_eq!(
            warning.message,
            "`prompt` is longer than the model's limit of 77 tokens; ignored text: and a hat"
        );
        assert!(cut(&"虎".repeat(100)).message.ends_with(&format!(": {}…", "虎".repeat(60))));
        assert_eq!(WarningMessage::read(&warning.to_value()), Some(warning));
    }

    #[test]
    fn a_substituted_scheduler_is_named_with_its_substitute() {
        let (class, substitute) = ("TCDScheduler".to_owned(), "LCMScheduler".to_owned());
        let warning = WarningMessage::from(&Warning::SchedulerSubstituted { class, substitute });
        assert_eq!(warning.code, "scheduler_substituted");
        assert_eq!(
            warning.message,
            "the model's scheduler `TCDScheduler` is not implemented; `LCMScheduler` generated the images, which \
             differ from those of `TCDScheduler`"
        );
    }
}
