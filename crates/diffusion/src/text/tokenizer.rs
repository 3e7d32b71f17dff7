//! CLIP's tokenizer: byte pairs over words.

use std::collections::HashMap;

use tokenizers::models::bpe::BPE;
use tokenizers::{Model, Token};

use super::added_tokens::AddedTokens;
use super::pretokenizer::{NormalizedText, Word};
use super::serialized::SerializedTokenizer;
use super::special::{Search, SpecialTokens};
use super::{Tokens, Truncation};
use crate::index::ModelIndex;
use crate::{ModelError, ModelFiles};

pub(super) const VOCABULARY: &str = "tokenizer/vocab.json";
pub(super) const MERGES: &str = "tokenizer/merges.txt";
/// transformers reads no more merges than CLIP has, however many there are.
const MAX_MERGES: usize = 49_152 - 256 - 2;

/// Text to numbers by the rules that CLIP was trained with, as transformers' `CLIPTokenizerFast` has them, and `CLIPTokenizer` from its
/// version 5. (Before that, the latter takes every Chinese character for a word unless the package ftfy is there, which in turn
/// repairs broken encodings first; neither is done here.)
pub struct Tokenizer {
    bpe: BPE,
    /// Found in a prompt as it is written, before anything else.
    added: AddedTokens,
    /// Found in what is left, once it is cleaned.
    added_normalized: AddedTokens,
    start: u32,
    end: u32,
    pad: u32,
    length: usize,
}

impl Tokenizer {
    /// Reads `tokenizer/`. Prompts get as long as `tokenizer_config.json` says, and at most `positions` tokens.
    ///
    /// # Errors
    /// [`ModelError`] for a file that is missing or malformed, or a class or option that is not supported.
    pub fn load(files: &ModelFiles, positions: usize) -> Result<Self, ModelError> {
        check_class(files)?;
        let (vocabulary, merges, serialized) = match SerializedTokenizer::load(files)? {
            Some(SerializedTokenizer { vocabulary, merges, added }) => (vocabulary, merges, added),
            None => (files.read_json::<HashMap<String, u32>>(VOCABULARY)?, merges(files)?, Vec::new()),
        };
        let special = SpecialTokens::load(files, serialized)?;
        let mut numbers = vocabulary.clone();
        let (mut added, mut added_normalized) = (AddedTokens::default(), AddedTokens::default());
        for token in special.added {
            // Those without a number and outside the vocabulary come after everything that has one.
            let id = token
                .id
                .or_else(|| numbers.get(&token.content).copied())
                .map_or_else(|| u32::try_from(numbers.len()), Ok)
                .map_err(|_| ModelError::malformed(files.path(VOCABULARY), "numbers that fit 32 bits"))?;
            match token.search {
                Search::Normalized => {
                    let content = NormalizedText::new(&token.content, 0).text().to_owned();
                    added_normalized.push(content, id, token.extent);
                }
                Search::Verbatim => added.push(token.content.clone(), id, token.extent),
            }
            numbers.insert(token.content, id);
        }
        let number = |token: &str| {
            numbers.get(token).copied().ok_or_else(|| {
                ModelError::malformed(files.path(VOCABULARY), format!("a number for the token {token:?}"))
            })
        };
        let (start, end, pad) = (number(&special.start)?, number(&special.end)?, number(&special.pad)?);
        let mut builder = BPE::builder().end_of_word_suffix("</w>".to_owned());
        if vocabulary.contains_key(&special.unknown) {
            builder = builder.unk_token(special.unknown);
        }
        let bpe = builder
            .vocab_and_merges(vocabulary.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
            .build()
            .map_err(|source| ModelError::Malformed {
                path: files.path(MERGES),
                expected: "merges of tokens that the vocabulary has".to_owned(),
                source: Some(source),
            })?;
        let length = special.length.unwrap_or(usize::MAX).min(positions);
        if length < 3 {
            return Err(ModelError::unsupported(
                files.path("tokenizer/tokenizer_config.json"),
                "model_max_length",
                length,
                "at least 3",
            ));
        }
        Ok(Self { bpe, added, added_normalized, start, end, pad, length })
    }

    /// Checks that every number is one of the encoder's `embeddings`.
    pub(crate) fn check_fits(&self, files: &ModelFiles, embeddings: usize) -> Result<(), ModelError> {
        let added = self.added.iter().chain(self.added_normalized.iter()).map(|token| token.id);
        let max = self.bpe.get_vocab().into_values().chain(added).max().unwrap_or(0);
        if max as usize >= embeddings {
            let expected = format!("numbers below the encoder's `vocab_size` of {embeddings}, got {max}");
            return Err(ModelError::malformed(files.path(VOCABULARY), expected));
        }
        Ok(())
    }

    /// Tokens per prompt, start and end included.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The prompt between the start and the end token, cut or padded to [`length`](Tokenizer::length).
    #[must_use]
    pub fn tokenize(&self, prompt: &str) -> Tokens {
        let mut text = Vec::new();
        self.split(prompt, &mut text);
        let room = self.length - 2;
        let truncation = text
            .get(room)
            .map(|(_, at)| Truncation { limit: self.length, omitted: prompt[*at..].to_owned() });
        let mut ids = vec![self.start];
        ids.extend(text.iter().take(room).map(|(id, _)| id));
        ids.push(self.end);
        ids.resize(self.length, self.pad);
        Tokens { ids, truncation }
    }

    /// All tokens of the prompt, and where in it each begins.
    fn split(&self, prompt: &str, tokens: &mut Vec<(u32, usize)>) {
        for (range, id) in self.added.split(prompt) {
            match id {
                Some(id) => tokens.push((id, range.start)),
                None => {
                    self.split_normalized(&NormalizedText::new(&prompt[range.clone()], range.start), tokens)
                }
            }
        }
    }

    fn split_normalized(&self, normalized: &NormalizedText, tokens: &mut Vec<(u32, usize)>) {
        for (range, id) in self.added_normalized.split(normalized.text()) {
            match id {
                Some(id) => tokens.push((id, normalized.slice(range).offsets[0])),
                None => normalized.words(range).for_each(|word| self.split_word(&word, tokens)),
            }
        }
    }

    fn split_word(&self, word: &Word<'_>, tokens: &mut Vec<(u32, usize)>) {
        let encoded: String = word.text.bytes().map(byte_char).collect();
        // Without an unknown token in the vocabulary, what has no number is left out, and there is no other failure.
        for Token { id, offsets, .. } in self.bpe.tokenize(&encoded).unwrap_or_default() {
            let byte = encoded[..offsets.0].chars().count();
            tokens.push((id, word.offsets[byte]));
        }
    }
}

/// Checks the class that `model_index.json` names, if it names one.
fn check_class(files: &ModelFiles) -> Result<(), ModelError> {
    match ModelIndex::load(files)?.class("tokenizer") {
        Some("CLIPTokenizer" | "CLIPTokenizerFast") | None => Ok(()),
        Some(other) => Err(ModelError::unsupported(
            files.path(ModelIndex::FILE),
            "tokenizer",
            other,
            "CLIPTokenizer, CLIPTokenizerFast",
        )),
    }
}

/// The pairs, the one that merges first in front. The first line is a version, whatever it says.
fn merges(files: &ModelFiles) -> Result<Vec<(String, String)>, ModelError> {
    let text = files.read_text(MERGES)?;
    let lines = text.trim().split('\n').enumerate().skip(1).take(MAX_MERGES);
    lines
        .map(|(i, line)| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [first, second] => Ok((first.to_owned(), second.to_owned())),
            _ => Err(ModelError::malformed(files.path(MERGES), format!("two tokens in line {}", i + 1))),
        })
        .collect()
}

/// The printable character that stands for a byte in the vocabulary: itself if it is one in Latin-1, or the next free
/// one from 256.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_printable_and_distinct() {
        let all: std::collections::HashSet<char> = (0..=255).map(byte_char).collect();
        assert_eq!(all.len(), 256);
        assert_eq!([byte_char(b' '), byte_char(0), byte_char(b'a'), byte_char(0xAD)], ['Ġ', 'Ā', 'a', 'Ń']);
    }
}
