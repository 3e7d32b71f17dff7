//! How a prompt is cleaned and taken apart into words, before the byte pairs.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::char::{canonical_combining_class, decompose_canonical};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// A piece of the cleaned text, and where each of its bytes comes from.
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// For each byte of `text`, the offset in the prompt of the character it comes from.
    pub(super) offsets: &'a [usize],
}

/// Cleaned text that remembers where it came from.
#[derive(Default)]
pub(super) struct NormalizedText {
    text: String,
    offsets: Vec<usize>,
}

impl NormalizedText {
    /// `text`, which begins at byte `start` of the prompt, composed and in lower case, with one space for all that
    /// stand together.
    pub(super) fn new(text: &str, start: usize) -> Self {
        let characters: Vec<_> = text.char_indices().map(|(i, c)| (c, start + i)).collect();
        let mut normalized = Self::default();
        let mut after_space = false;
        for (c, from) in compose(&characters) {
            match c.is_whitespace() {
                true if after_space => continue,
                true => normalized.text.push(' '),
                false => normalized.text.extend(c.to_lowercase()),
            }
            after_space = c.is_whitespace();
            normalized.offsets.resize(normalized.text.len(), from);
        }
        normalized
    }

    /// The whole text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A part of the text by its bytes, with where it comes from.
    pub(super) fn slice(&self, range: Range<usize>) -> Word<'_> {
        Word { text: &self.text[range.clone()], offsets: &self.offsets[range] }
    }

    /// CLIP's words in a part of the text: English contractions, letters, single digits, other marks.
    pub(super) fn words(&self, range: Range<usize>) -> impl Iterator<Item = Word<'_>> {
        static WORD: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+").expect("a valid pattern")
        });
        let start = range.start;
        WORD.find_iter(&self.text[range])
            .map(move |found| self.slice(start + found.start()..start + found.end()))
    }
}

/// Unicode's normalization form C. A character that came of several is said to come from the first of those that
/// were normalized together.
fn compose(characters: &[(char, usize)]) -> Vec<(char, usize)> {
    let mut composed = Vec::with_capacity(characters.len());
    let mut rest = characters;
    while let Some(((_, from), tail)) = rest.split_first() {
        let length = 1 + tail.iter().take_while(|(c, _)| !is_boundary(*c)).count();
        let (together, later) = rest.split_at(length);
        composed.extend(together.iter().map(|(c, _)| *c).nfc().map(|c| (c, *from)));
        rest = later;
    }
    composed
}

/// Whether normalization never looks back across the start of this character: what it is made of begins with one
/// that stands alone.
fn is_boundary(c: char) -> bool {
    let mut first = None;
    decompose_canonical(c, |part| {
        first.get_or_insert(part);
    });
    c.is_ascii()
        || first.is_some_and(|first| {
            canonical_combining_class(first) == 0
                && is_nfc_quick(std::iter::once(first)) == IsNormalized::Yes
                && is_nfc_quick(std::iter::once(c)) != IsNormalized::Maybe
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_remember_where_they_came_from() {
        let text = "A  Cafe\u{301}, 42 tigers' \u{212b}ngstro\u{308}m 白虎";
        let normalized = NormalizedText::new(text, 0);
        let found: Vec<(&str, Option<char>)> = normalized
            .words(0..normalized.text().len())
            .map(|word| (word.text, text[word.offsets[0]..].chars().next()))
            .collect();
        let expected =
            [("a", 'A'), ("café", 'C'), (",", ','), ("4", '4'), ("2", '2'), ("tigers", 't'), ("'", '\'')]
                .into_iter()
                .chain([("ångström", '\u{212b}'), ("白虎", '白')])
                .map(|(word, from)| (word, Some(from)));
        assert_eq!(found, expected.collect::<Vec<_>>());
        let last = normalized.words(0..normalized.text().len()).last().expect("a word");
        assert_eq!(last.offsets.iter().map(|at| text.len() - at).collect::<Vec<_>>(), [6, 6, 6, 3, 3, 3]);
    }
}
