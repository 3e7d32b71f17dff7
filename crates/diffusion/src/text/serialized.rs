//! `tokenizer.json`: a whole tokenizer in one file. Since version 5, transformers writes it instead of `vocab.json`,
//! `merges.txt` and `added_tokens.json`.

use std::collections::HashMap;

use serde::Deserialize;

use super::special::Token;
use super::tokenizer::{MERGES, VOCABULARY};
use crate::{ModelError, ModelFiles};

const FILE: &str = "tokenizer/tokenizer.json";

/// What CLIP's tokenizers differ in.
pub(super) struct SerializedTokenizer {
    pub(super) vocabulary: HashMap<String, u32>,
    pub(super) merges: Vec<(String, String)>,
    /// Tokens that are found in a prompt as they stand, with their numbers.
    pub(super) added: Vec<(Token, u32)>,
}

#[derive(Deserialize)]
struct File {
    model: Model,
    added_tokens: Option<Vec<Added>>,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    end_of_word_suffix: Option<String>,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

/// A pair, or in files of the package tokenizers before 0.20 its parts with a space between.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair([String; 2]),
    Text(String),
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: Token,
}

impl SerializedTokenizer {
    /// Reads the file where the two that it stands for are not there.
    pub(super) fn load(files: &ModelFiles) -> Result<Option<Self>, ModelError> {
        if (files.exists(VOCABULARY) && files.exists(MERGES)) || !files.exists(FILE) {
            return Ok(None);
        }
        let file: File = files.read_json(FILE)?;
        let unsupported = |option: &str, value: &Option<String>, supported: &str| {
            let value = value.as_deref().unwrap_or("null");
            Err(ModelError::unsupported(files.path(FILE), option, value, supported))
        };
        let Model { r#type, end_of_word_suffix, vocab, merges } = file.model;
        if r#type.as_deref().is_some_and(|name| name != "BPE") {
            return unsupported("model.type", &r#type, "BPE");
        }
        if end_of_word_suffix.as_deref() != Some("</w>") {
            return unsupported(
                "model.end_of_word_suffix",
                &end_of_word_suffix,
                "</w>, as CLIP's tokenizer has",
            );
        }
        let pair = |merge: Merge| match merge {
            Merge::Pair([first, second]) => Ok((first, second)),
            Merge::Text(text) => match text.split_once(' ') {
                Some((first, second)) => Ok((first.to_owned(), second.to_owned())),
                None => {
                    Err(ModelError::malformed(files.path(FILE), format!("two tokens in the merge {text:?}")))
                }
            },
        };
        Ok(Some(Self {
            vocabulary: vocab,
            merges: merges.into_iter().map(pair).collect::<Result<_, _>>()?,
            added: file.added_tokens.into_iter().flatten().map(|added| (added.token, added.id)).collect(),
        }))
    }
}
