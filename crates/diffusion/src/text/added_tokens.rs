//! Tokens that are found in a text before it is taken apart, by the rules of the package tokenizers.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::special::Extent;

/// Tokens with their numbers, the longest first.
#[derive(Default)]
pub(super) struct AddedTokens(Vec<Found>);

/// A token and what of the text around it belongs to it.
pub(super) struct Found {
    content: String,
    pub(super) id: u32,
    extent: Extent,
}

impl AddedTokens {
    /// Takes a token in, unless there is nothing to find; the longest is looked for first.
    pub(super) fn push(&mut self, content: String, id: u32, extent: Extent) {
        if !content.is_empty() {
            let place = self.0.partition_point(|other| other.content.len() >= content.len());
            self.0.insert(place, Found { content, id, extent });
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Found> {
        self.0.iter()
    }

    /// The text in order, as ranges of its bytes: these tokens, and what lies between them.
    pub(super) fn split(&self, text: &str) -> Vec<(Range<usize>, Option<u32>)> {
        let mut parts = Vec::new();
        let mut plain = 0;
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let Some(found) = self.0.iter().find(|found| text[at..].starts_with(&found.content)) else {
                at += c.len_utf8();
                continue;
            };
            let token = at..at + found.content.len();
            // A token that is not wanted here is passed over as a whole.
            at = token.end;
            if found.extent.single_word && is_in_word(text, &token) {
                continue;
            }
            let start = match found.extent.lstrip {
                true => text[..token.start].trim_end().len().max(plain),
                false => token.start.max(plain),
            };
            if found.extent.rstrip {
                at = text.len() - text[at..].trim_start().len();
            }
            parts.extend([(plain..start, None), (start..at, Some(found.id))]);
            plain = at;
        }
        parts.push((plain..text.len(), None));
        parts
    }
}

/// Whether a letter, a digit or an underscore is beside the token.
fn is_in_word(text: &str, token: &Range<usize>) -> bool {
    static WORD_BEFORE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w$").expect("a valid pattern"));
    static WORD_AFTER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\w").expect("a valid pattern"));
    WORD_BEFORE.is_match(&text[..token.start]) || WORD_AFTER.is_match(&text[token.end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_token_is_left_out_of_the_text() {
        let mut tokens = AddedTokens::default();
        let both = Extent { lstrip: true, rstrip: true, single_word: false };
        tokens.push("<b>".to_owned(), 1, both);
        tokens.push("<w>".to_owned(), 2, Extent { single_word: true, ..Extent::default() });
        tokens.push("<b><c>".to_owned(), 3, Extent::default());
        let split = |text: &str| -> Vec<(String, Option<u32>)> {
            let parts = tokens.split(text).into_iter();
            parts
                .map(|(range, id)| (text[range].to_owned(), id))
                .filter(|(part, _)| !part.is_empty())
                .collect()
        };
        let part = |text: &str, id| (text.to_owned(), id);
        assert_eq!(
            split("a \u{3000}<b> c"),
            [part("a", None), part(" \u{3000}<b> ", Some(1)), part("c", None)]
        );
        assert_eq!(split("<b> <b>"), [part("<b> ", Some(1)), part("<b>", Some(1))]);
        assert_eq!(split("<b><c> "), [part("<b><c>", Some(3)), part(" ", None)]);
        assert_eq!(split("(<w>)"), [part("(", None), part("<w>", Some(2)), part(")", None)]);
        for inside in ["a<w>", "<w>_", "1<w>", "虎<w>", "<w>\u{301}"] {
            assert_eq!(split(inside), [part(inside, None)]);
        }
        assert_eq!(split(""), []);
    }
}
