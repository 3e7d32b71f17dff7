//! How a prompt is cleaned and taken apart into words, before the byte pairs.
//!
//! transformers has two tokenizers for CLIP which differ in this, and a model folder names the one it was made with.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// `CLIPTokenizer`, as it is without the package ftfy: control characters go, every Chinese character is a word.
    Slow,
    /// `CLIPTokenizerFast`: the rules that CLIP was trained with; a run of Chinese characters is a word.
    Fast,
}

/// A piece of the cleaned text, and where each of its bytes comes from.
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// For each byte of `text`, the offset in the prompt of the character it comes from.
    pub(super) origin: &'a [usize],
}

/// Cleaned text that remembers where it came from.
pub(super) struct Cleaned {
    rules: Rules,
    text: String,
    origin: Vec<usize>,
}

impl Cleaned {
    /// Cleans `text`, which begins at byte `start` of the prompt.
    pub(super) fn new(rules: Rules, text: &str, start: usize) -> Self {
        let characters = text.char_indices().map(|(i, c)| (c, start + i));
        let mut cleaned = Self { rules, text: String::new(), origin: Vec::new() };
        match rules {
            Rules::Slow => {
                for word in slow_words(characters) {
                    cleaned.push(' ', start);
                    cleaned.push_lower(&compose(&word));
                }
            }
            Rules::Fast => {
                for (c, from) in compose(&characters.collect::<Vec<_>>()) {
                    c.to_lowercase().for_each(|c| cleaned.push(c, from));
                }
            }
        }
        cleaned
    }

    /// The words, in order.
    pub(super) fn words(&self) -> impl Iterator<Item = Word<'_>> {
        static SLOW: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(&format!(r"(?i)<\|startoftext\|>|<\|endoftext\|>|{WORD}")).expect("a valid pattern")
        });
        static FAST: LazyLock<Regex> = LazyLock::new(|| Regex::new(WORD).expect("a valid pattern"));
        let pattern = if self.rules == Rules::Slow { &SLOW } else { &FAST };
        pattern
            .find_iter(&self.text)
            .map(|found| Word { text: found.as_str(), origin: &self.origin[found.range()] })
    }

    fn push(&mut self, c: char, from: usize) {
        self.text.push(c);
        self.origin.resize(self.text.len(), from);
    }

    /// Lower case by word, since a sigma at the end of one has another form.
    fn push_lower(&mut self, word: &[(char, usize)]) {
        let lower = word.iter().map(|(c, _)| *c).collect::<String>().to_lowercase();
        let origins = word.iter().flat_map(|(c, from)| c.to_lowercase().map(move |_| *from));
        for (c, from) in lower.chars().zip(origins) {
            self.push(c, from);
        }
    }
}

/// CLIP's words: English contractions, letters, single digits, other marks.
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// BERT's basic tokenizer up to normalization: control characters go, Chinese ones stand alone, white space separates.
fn slow_words(characters: impl Iterator<Item = (char, usize)>) -> Vec<Vec<(char, usize)>> {
    let mut words = vec![Vec::new()];
    for (c, from) in characters {
        if is_dropped(c) {
            continue;
        }
        if c.is_whitespace() {
            words.push(Vec::new());
        } else if is_chinese(c) {
            words.extend([vec![(c, from)], Vec::new()]);
        } else if let Some(word) = words.last_mut() {
            word.push((c, from));
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Control, format, private and unassigned characters, except the three that are white space.
fn is_dropped(c: char) -> bool {
    static OTHER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\p{C}").expect("a valid pattern"));
    match c {
        '\t' | '\n' | '\r' => false,
        '\u{fffd}' => true,
        ' '..='~' => false,
        _ => OTHER.is_match(c.encode_utf8(&mut [0; 4])),
    }
}

fn is_chinese(c: char) -> bool {
    matches!(u32::from(c),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F
        | 0x2B820..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
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

/// Whether normalization never looks back across the start of this character.
fn is_boundary(c: char) -> bool {
    c.is_ascii()
        || (canonical_combining_class(c) == 0 && is_nfc_quick(std::iter::once(c)) == IsNormalized::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(rules: Rules, text: &str) -> Vec<(String, usize)> {
        let cleaned = Cleaned::new(rules, text, 0);
        cleaned.words().map(|word| (word.text.to_owned(), word.origin[0])).collect()
    }

    #[test]
    fn words_remember_where_they_came_from() {
        let text = "A  Cafe\u{301}, 42 tigers' \u{212b}ngstro\u{308}m";
        for rules in [Rules::Slow, Rules::Fast] {
            let found = words(rules, text);
            let starts: Vec<&str> = found.iter().map(|(_, at)| &text[*at..=*at]).collect();
            let texts: Vec<&str> = found.iter().map(|(word, _)| word.as_str()).collect();
            assert_eq!(texts[..6], ["a", "café", ",", "4", "2", "tigers"]);
            assert_eq!(starts[..6], ["A", "C", ",", "4", "2", "t"]);
            assert_eq!(texts[7], "ångström");
        }
    }

    #[test]
    fn the_two_rules_differ_where_they_should() {
        let text = "白虎 a\u{200d}b ΟΔΟΣ";
        let slow: Vec<String> = words(Rules::Slow, text).into_iter().map(|(word, _)| word).collect();
        let fast: Vec<String> = words(Rules::Fast, text).into_iter().map(|(word, _)| word).collect();
        assert_eq!(slow, ["白", "虎", "ab", "οδος"]);
        assert_eq!(fast, ["白虎", "a", "\u{200d}", "b", "οδοσ"]);
    }
}
