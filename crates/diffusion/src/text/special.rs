//! The tokenizer's special tokens, from the four files that may speak of them.

use std::collections::{BTreeMap, HashMap};

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

/// A token that is found in a prompt as it stands.
pub(super) struct AddedToken {
    pub(super) content: String,
    pub(super) id: Option<u32>,
    /// Whether it is looked for in the cleaned text: in lower case, then.
    pub(super) normalized: bool,
}

/// A token in one of the files: its text, or an object around it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Token {
    Text(String),
    Object {
        content: String,
        #[serde(default)]
        normalized: Option<bool>,
        #[serde(default)]
        lstrip: Option<bool>,
        #[serde(default)]
        rstrip: Option<bool>,
        #[serde(default)]
        single_word: Option<bool>,
    },
}

impl Token {
    fn content(&self) -> &str {
        match self {
            Token::Text(content) | Token::Object { content, .. } => content,
        }
    }

    /// This token, with `normalized` for where its file does not say.
    fn or_normalized(self, normalized: bool) -> (String, bool) {
        match self {
            Token::Text(content) => (content, normalized),
            Token::Object { content, normalized, .. } => (content, normalized.unwrap_or_default()),
        }
    }

    /// The first option of this token that would change how a prompt is taken apart, if one is on.
    fn unsupported_option(&self) -> Option<&'static str> {
        match self {
            Token::Object { lstrip: Some(true), .. } => Some("lstrip"),
            Token::Object { rstrip: Some(true), .. } => Some("rstrip"),
            Token::Object { single_word: Some(true), .. } => Some("single_word"),
            _ => None,
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
        let mut numbered: Vec<(Token, Option<u32>)> = Vec::new();
        if let Some(decoder) = config.added_tokens_decoder {
            // Written by a newer version: this file alone counts.
            numbered.extend(decoder.into_iter().map(|(id, token)| (token, Some(id))));
        } else {
            named = read::<NamedTokens>(files, MAP)?.or(named);
            let added: HashMap<String, u32> = read(files, ADDED)?;
            numbered.extend(added.into_iter().map(|(content, id)| (Token::Text(content), Some(id))));
        }
        numbered.extend(serialized.into_iter().map(|(token, id)| (token, Some(id))));
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
        .map(|(token, content)| (token.unwrap_or_else(|| Token::Text(content.clone())), None, true));
        let pad = Token::Text(special.pad.clone());
        let others = [named.sep_token, named.pad_token, named.cls_token, named.mask_token]
            .into_iter()
            .flatten()
            .chain(named.additional_special_tokens.into_iter().flatten())
            .chain(named.extra_special_tokens.into_iter().flat_map(ExtraTokens::into_list))
            .chain([pad])
            .map(|token| (token, None, false));
        let numbered = numbered.into_iter().map(|(token, id)| (token, id, false));
        for (token, id, normalized) in numbered.chain(own).chain(others) {
            if let Some(option) = token.unsupported_option() {
                let option = format!("{option} of the token {:?}", token.content());
                return Err(ModelError::unsupported(files.path(CONFIG), &option, true, "false"));
            }
            let (content, normalized) = token.or_normalized(normalized);
            if !content.is_empty() && special.added.iter().all(|known| known.content != content) {
                special.added.push(AddedToken { content, id, normalized });
            }
        }
        Ok(special)
    }
}

impl NamedTokens {
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
