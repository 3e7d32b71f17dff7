//! The tokenizer's special tokens, from the four files that may speak of them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{ModelError, ModelFiles};

const CONFIG: &str = "tokenizer/tokenizer_config.json";
const MAP: &str = "tokenizer/special_tokens_map.json";
const ADDED: &str = "tokenizer/added_tokens.json";

/// Special tokens and what goes with them, as transformers resolves the files.
pub(super) struct SpecialTokens {
    pub(super) start: String,
    pub(super) end: String,
    pub(super) unknown: String,
    pub(super) pad: String,
    /// Tokens that are found in a prompt as they stand, before it is taken apart, with the numbers they were given if the
    /// files give any.
    pub(super) added: Vec<AddedToken>,
    /// The most tokens that the model reads, if the files say.
    pub(super) length: Option<usize>,
}

/// A token that is found in a prompt before the prompt is taken apart.
pub(super) struct AddedToken {
    pub(super) content: String,
    pub(super) id: Option<u32>,
    pub(super) search: Search,
    pub(super) extent: Extent,
}

/// Where a token is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// In the prompt as it is written.
    Verbatim,
    /// In the cleaned prompt, so that the case does not matter.
    Normalized,
}

impl Search {
    fn of(normalized: bool) -> Self {
        if normalized { Self::Normalized } else { Self::Verbatim }
    }
}

impl AddedToken {
    fn new(content: String, id: Option<u32>, search: Search) -> Self {
        Self { content, id, search, extent: Extent::default() }
    }
}

/// What around a token belongs to it. Where the files do not say, everything is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Extent {
    /// Whether the spaces before it do.
    pub(super) lstrip: bool,
    /// Whether the spaces after it do.
    pub(super) rstrip: bool,
    /// Whether letters, digits and underscores on either side prevent it.
    pub(super) single_word: bool,
}

/// A token in one of the files: its text, or an object around it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Token {
    Text(String),
    Object {
        content: String,
        normalized: Option<bool>,
        #[serde(default)]
        special: bool,
        #[serde(flatten)]
        extent: Extent,
    },
}

impl Token {
    fn content(&self) -> &str {
        match self {
            Token::Text(content) | Token::Object { content, .. } => content,
        }
    }

    /// The token with its number. Where its file does not say, a special token is found as it stands.
    fn numbered(self, id: u32) -> AddedToken {
        match self {
            Token::Text(content) => AddedToken::new(content, Some(id), Search::Normalized),
            Token::Object { content, normalized, special, extent } => {
                let normalized = normalized.unwrap_or(!special);
                AddedToken { extent, ..AddedToken::new(content, Some(id), Search::of(normalized)) }
            }
        }
    }

    /// The token as one of the special ones. `plain` says how it is found if the file has only its text.
    fn special(self, plain: Search) -> AddedToken {
        match self {
            Token::Text(content) => AddedToken::new(content, None, plain),
            Token::Object { content, normalized, extent, .. } => {
                let normalized = normalized.unwrap_or(false);
                AddedToken { extent, ..AddedToken::new(content, None, Search::of(normalized)) }
            }
        }
    }
}

/// The tokens that either file may name, all of which count as special.
#[derive(Default, Deserialize)]
struct NamedTokens {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    sep_token: Option<Token>,
    pad_token: Option<Token>,
    cls_token: Option<Token>,
    mask_token: Option<Token>,
    additional_special_tokens: Option<Vec<Token>>,
    /// Their name since version 5 of transformers.
    extra_special_tokens: Option<ExtraTokens>,
}

/// A list, or an object whose keys are names in Python only.
#[derive(Deserialize)]
#[serde(untagged)]
enum ExtraTokens {
    List(Vec<Token>),
    Named(BTreeMap<String, Token>),
}

impl ExtraTokens {
    fn into_list(self) -> Vec<Token> {
        match self {
            Self::List(tokens) => tokens,
            Self::Named(tokens) => tokens.into_values().collect(),
        }
    }
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(flatten)]
    named: NamedTokens,
    added_tokens_decoder: Option<BTreeMap<u32, Token>>,
    /// An integer, or a huge float that stands for none.
    model_max_length: Option<Value>,
}

impl SpecialTokens {
    /// Reads the files, and adds the tokens that `tokenizer.json` has.
    pub(super) fn load(files: &ModelFiles, serialized: Vec<(Token, u32)>) -> Result<Self, ModelError> {
        let config: Config = read(files, CONFIG)?;
        let mut named = config.named;
        let mut added: Vec<AddedToken> = Vec::new();
        if let Some(decoder) = config.added_tokens_decoder {
            // Written by a newer version: this file alone counts.
            added.extend(decoder.into_iter().map(|(id, token)| token.numbered(id)));
        } else {
            named = read::<NamedTokens>(files, MAP)?.or(named);
            let texts: BTreeMap<String, u32> = read(files, ADDED)?;
            added.extend(texts.into_iter().map(|(content, id)| {
                let search = Search::of(!named.contain(&content));
                AddedToken::new(content, Some(id), search)
            }));
        }
        added.extend(serialized.into_iter().map(|(token, id)| token.numbered(id)));
        let default =
            |token: &Option<Token>, default: &str| token.as_ref().map_or(default, Token::content).to_owned();
        let mut special = Self {
            start: default(&named.bos_token, "<|startoftext|>"),
            end: default(&named.eos_token, "<|endoftext|>"),
            unknown: default(&named.unk_token, "<|endoftext|>"),
            pad: default(&named.pad_token, "<|endoftext|>"),
            added: Vec::new(),
            length: config
                .model_max_length
                .as_ref()
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok()),
        };
        // The class makes tokens of the first three itself, unless a file has made them.
        let own = [
            (named.bos_token, &special.start),
            (named.eos_token, &special.end),
            (named.unk_token, &special.unknown),
        ]
        .map(|(token, content)| token.unwrap_or_else(|| Token::Text(content.clone())))
        .map(|token| token.special(Search::Normalized));
        let pad = Token::Text(special.pad.clone());
        let others = [named.sep_token, named.pad_token, named.cls_token, named.mask_token]
            .into_iter()
            .flatten()
            .chain(named.additional_special_tokens.into_iter().flatten())
            .chain(named.extra_special_tokens.into_iter().flat_map(ExtraTokens::into_list))
            .chain([pad])
            .map(|token| token.special(Search::Verbatim));
        for token in added.into_iter().chain(own).chain(others) {
            let is_new = special.added.iter().all(|known| known.content != token.content);
            if is_new && !token.content.is_empty() {
                special.added.push(token);
            }
        }
        Ok(special)
    }
}

impl NamedTokens {
    /// Whether one of the tokens has this text.
    fn contain(&self, content: &str) -> bool {
        let single = [
            &self.bos_token,
            &self.eos_token,
            &self.unk_token,
            &self.sep_token,
            &self.pad_token,
            &self.cls_token,
            &self.mask_token,
        ];
        let additional = self.additional_special_tokens.iter().flatten();
        single.into_iter().flatten().chain(additional).any(|token| token.content() == content)
    }

    /// These tokens, and the others' where there is none.
    fn or(self, others: Self) -> Self {
        Self {
            bos_token: self.bos_token.or(others.bos_token),
            eos_token: self.eos_token.or(others.eos_token),
            unk_token: self.unk_token.or(others.unk_token),
            sep_token: self.sep_token.or(others.sep_token),
            pad_token: self.pad_token.or(others.pad_token),
            cls_token: self.cls_token.or(others.cls_token),
            mask_token: self.mask_token.or(others.mask_token),
            additional_special_tokens: self.additional_special_tokens.or(others.additional_special_tokens),
            extra_special_tokens: self.extra_special_tokens.or(others.extra_special_tokens),
        }
    }
}

/// A file that need not be there.
fn read<T: Default + for<'de> Deserialize<'de>>(files: &ModelFiles, name: &str) -> Result<T, ModelError> {
    if files.exists(name) { files.read_json(name) } else { Ok(T::default()) }
}
