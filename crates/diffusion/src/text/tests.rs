//! Tokenizer and text encoder beside transformers'.

use std::collections::BTreeMap;
use std::fs;

use candle_core::{DType, Device};
use serde::Deserialize;

use super::*;
use crate::golden::{Golden, assert_close, fixture};

#[derive(Deserialize)]
struct Prompts {
    prompts: Vec<String>,
    #[serde(rename = "clip-large")]
    large: Expected,
    #[serde(rename = "clip-huge")]
    huge: Expected,
}

/// What the reference makes of the prompts.
#[derive(Deserialize)]
struct Expected {
    pad: u32,
    /// Without the padding.
    ids: Vec<Vec<u32>>,
    /// The character at which the first token begins that did not fit.
    #[serde(rename = "cut")]
    truncation: Vec<Option<usize>>,
}

fn prompts() -> Prompts {
    let text = fs::read_to_string(fixture("prompts.json")).expect("a fixture");
    serde_json::from_str(&text).expect("prompts")
}

fn files(name: &str) -> ModelFiles {
    ModelFiles::folder(fixture(name)).expect("a model")
}

#[test]
fn a_thousand_prompts_become_the_references_tokens() {
    let Prompts { prompts, large, huge } = prompts();
    assert_eq!(prompts.len(), 1000);
    for (name, expected) in [("clip-large", large), ("clip-huge", huge)] {
        let tokenizer = Tokenizer::load(&files(name), 77).expect("a tokenizer");
        let mut cuts = 0;
        for (i, prompt) in prompts.iter().enumerate() {
            let mut ids = expected.ids[i].clone();
            ids.resize(77, expected.pad);
            let tokens = tokenizer.tokenize(prompt);
            assert_eq!(tokens.ids, ids, "{name}: {prompt:?}");
            let truncation = expected.truncation[i].map(|at| prompt.chars().skip(at).collect::<String>());
            assert_eq!(
                tokens.truncation.map(|truncation| truncation.omitted),
                truncation,
                "{name}: {prompt:?}"
            );
            cuts += usize::from(truncation.is_some());
        }
        assert!(cuts > 50, "too few prompts are over-long: {cuts}");
    }
}

#[test]
fn a_cut_prompt_says_what_was_left_out() {
    let tokenizer = Tokenizer::load(&files("clip-large"), 77).expect("a tokenizer");
    let prompt = format!("{}and the rest", "cat ".repeat(75));
    let truncation = tokenizer.tokenize(&prompt).truncation.expect("a cut");
    assert_eq!(
        truncation.into_warning("prompt"),
        Warning::PromptTruncated { parameter: "prompt", limit: 77, omitted: "and the rest".to_owned() }
    );
    assert_eq!(tokenizer.tokenize(&"cat ".repeat(75)).truncation, None);
    // A shorter encoder than tokenizer: the encoder's length counts.
    let short = Tokenizer::load(&files("clip-large"), 8).expect("a tokenizer").tokenize("a b c d e f g h");
    assert_eq!(
        (short.ids.len(), short.truncation.map(|truncation| truncation.omitted)),
        (8, Some("g h".to_owned()))
    );
}

#[test]
fn hidden_states_are_the_references() {
    for (name, width) in [("clip-large", 24), ("clip-huge", 32)] {
        let encoder = TextEncoder::load(&files(name), &Device::Cpu, DType::F32).expect("an encoder");
        assert_eq!((encoder.width(), encoder.length()), (width, 77));
        let golden = Golden::load(&format!("{name}/golden.safetensors"));
        let ids = golden.tensor("ids").to_dtype(DType::U32).and_then(|ids| ids.to_vec2()).expect("ids");
        let tokens: Vec<Tokens> = ids.into_iter().map(|ids| Tokens { ids, truncation: None }).collect();
        let states = encoder.encode(&tokens).expect("states");
        assert_close(name, &states, golden.tensor("states"), 1e-4);
        let alone = encoder.encode(&tokens[1..2]).expect("states");
        assert_close(
            "a prompt alone",
            &alone,
            &golden.tensor("states").narrow(0, 1, 1).expect("a prompt"),
            1e-4,
        );
    }
}

/// A fixture as transformers 5.6 and later saves it: no `text_model.` before the names of tensors, and one file for
/// the vocabulary, the merges and the added tokens.
fn saved_today(name: &str, pad: &str) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).expect("a file");
    let old = fixture(name);
    for part in ["tokenizer", "text_encoder"] {
        fs::create_dir(folder.path().join(part)).expect("a folder");
    }
    write("model_index.json", b"{}");
    write("text_encoder/config.json", &fs::read(old.join("text_encoder/config.json")).expect("a fixture"));
    let tensors = candle_core::safetensors::load(old.join("text_encoder/model.safetensors"), &Device::Cpu);
    let renamed = tensors.expect("weights").into_iter().map(|(name, tensor)| {
        let plain = name.strip_prefix("text_model.").expect("the prefix of before").to_owned();
        (plain, tensor)
    });
    write("text_encoder/model.safetensors", &safetensors::serialize(renamed, None).expect("weights"));

    let vocabulary = fs::read_to_string(old.join("tokenizer/vocab.json")).expect("a fixture");
    let vocabulary: serde_json::Value = serde_json::from_str(&vocabulary).expect("JSON");
    let merges = fs::read_to_string(old.join("tokenizer/merges.txt")).expect("a fixture");
    let merges: Vec<Vec<&str>> = merges.lines().skip(1).map(|line| line.split(' ').collect()).collect();
    let added: Vec<_> = [("<|startoftext|>", true), ("<|endoftext|>", true), (pad, false)]
        .into_iter()
        .map(|(content, normalized)| {
            serde_json::json!({"id": vocabulary[content], "content": content, "special": true, "lstrip": false,
                "rstrip": false, "single_word": false, "normalized": normalized})
        })
        .collect();
    let tokenizer = serde_json::json!({"version": "1.0", "added_tokens": added, "truncation": null, "model": {
        "type": "BPE", "end_of_word_suffix": "</w>", "unk_token": "<|endoftext|>", "vocab": vocabulary,
        "merges": merges}});
    write("tokenizer/tokenizer.json", tokenizer.to_string().as_bytes());
    let config = serde_json::json!({"backend": "tokenizers", "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad, "model_max_length": 77,
        "extra_special_tokens": [], "tokenizer_class": "CLIPTokenizer"});
    write("tokenizer/tokenizer_config.json", config.to_string().as_bytes());
    let files = ModelFiles::folder(folder.path()).expect("a model");
    (folder, files)
}

#[test]
fn folders_saved_by_newer_transformers_are_the_same() {
    let Prompts { prompts, large, huge } = prompts();
    for (name, pad, expected) in [("clip-large", "<|endoftext|>", large), ("clip-huge", "!", huge)] {
        let (_folder, files) = saved_today(name, pad);
        let encoder = TextEncoder::load(&files, &Device::Cpu, DType::F32).expect("an encoder");
        for (prompt, ids) in prompts.iter().zip(&expected.ids) {
            let mut ids = ids.clone();
            ids.resize(77, expected.pad);
            assert_eq!(encoder.tokenize(prompt).ids, ids, "{name}: {prompt:?}");
        }
        let golden = Golden::load(&format!("{name}/golden.safetensors"));
        let ids = golden.tensor("ids").to_dtype(DType::U32).and_then(|ids| ids.to_vec2()).expect("ids");
        let tokens: Vec<Tokens> = ids.into_iter().map(|ids| Tokens { ids, truncation: None }).collect();
        assert_close(name, &encoder.encode(&tokens).expect("states"), golden.tensor("states"), 1e-4);
    }
}

#[test]
fn a_tokenizer_in_one_file_needs_no_other() {
    let (folder, files) = saved_today("clip-large", "<|endoftext|>");
    let whole = Tokenizer::load(&files, 77).expect("a tokenizer").tokenize("a red tiger");
    let path = folder.path().join("tokenizer/tokenizer.json");
    let text = fs::read_to_string(&path).expect("a file");
    let mut tokenizer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    fs::remove_file(folder.path().join("tokenizer/tokenizer_config.json")).expect("a file");
    // As the package tokenizers wrote it before 0.20.
    let merges = tokenizer["model"]["merges"].as_array().expect("a list").iter();
    let text = |token: &serde_json::Value| token.as_str().expect("a token").to_owned();
    let joined: Vec<_> = merges.map(|pair| format!("{} {}", text(&pair[0]), text(&pair[1]))).collect();
    tokenizer["model"]["merges"] = joined.into();
    fs::write(&path, tokenizer.to_string()).expect("a file");
    assert_eq!(Tokenizer::load(&files, 77).expect("a tokenizer").tokenize("a red tiger"), whole);
    for (option, value) in [("type", "Unigram"), ("end_of_word_suffix", "")] {
        let mut other = tokenizer.clone();
        other["model"][option] = value.into();
        fs::write(&path, other.to_string()).expect("a file");
        let error = Tokenizer::load(&files, 77).err().expect("another kind").to_string();
        assert!(error.contains("tokenizer.json") && error.contains(option), "{error}");
    }
}

#[test]
fn prompts_of_no_length_are_an_error() {
    let encoder = TextEncoder::load(&files("clip-large"), &Device::Cpu, DType::F32).expect("an encoder");
    let long = encoder.tokenize("a");
    let short = Tokens { ids: vec![1, 2, 3], truncation: None };
    let unknown = Tokens { ids: vec![1_000_000; 77], truncation: None };
    for prompts in [
        &[][..],
        &[long.clone(), short][..],
        &[Tokens { ids: vec![1; 78], truncation: None }][..],
        &[unknown][..],
    ] {
        assert!(matches!(encoder.encode(prompts), Err(ModelError::Tensor(_))));
    }
    assert!(encoder.encode(&[long]).is_ok());
}

#[test]
fn special_tokens_are_found_as_the_reference_finds_them() {
    let special = |pad: &str| format!(r#"{{"bos_token": "<|startoftext|>", "pad_token": {pad}}}"#);
    let object = r#"{"content": "[PAD]", "normalized": true}"#;
    let upper = "A <|ENDOFTEXT|> b<|startoftext|>c";
    for (pad, prompt, expected) in [
        (r#""<|endoftext|>""#, upper, &[1554, 320, 1555, 321, 1554, 322, 1555][..]),
        (r#""<|endoftext|>""#, "wow!! X!", &[1554, 86, 78, 342, 0, 256, 343, 256, 1555]),
        (r#""!""#, "wow!! X!", &[1554, 86, 78, 342, 0, 0, 343, 0, 1555]),
        (r#""[PAD]""#, "a  [Pad]b[PAD]", &[1554, 320, 314, 797, 323, 316, 321, 1556, 1555]),
        (object, "a  [Pad]b[PAD]", &[1554, 320, 1556, 321, 1556, 1555]),
    ] {
        let (_folder, files) = changed("tokenizer/special_tokens_map.json", &special(pad));
        let ids = Tokenizer::load(&files, 77).expect("a tokenizer").tokenize(prompt).ids;
        assert_eq!(ids[..expected.len()], *expected, "{pad}: {prompt}");
    }
}

/// What transformers makes of prompts with added tokens, by the files that name them.
#[derive(Deserialize)]
struct AddedTokenGolden {
    prompts: Vec<String>,
    cases: Vec<AddedTokenCase>,
}

#[derive(Deserialize)]
struct AddedTokenCase {
    name: String,
    files: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    ids: Vec<Vec<u32>>,
}

#[test]
fn added_tokens_are_found_as_the_reference_finds_them() {
    let text = fs::read_to_string(fixture("added-tokens.json")).expect("a fixture");
    let AddedTokenGolden { prompts, cases } = serde_json::from_str(&text).expect("a golden");
    assert!(cases.len() > 20 && prompts.len() > 20);
    for case in cases {
        let (folder, files) = changed("model_index.json", "{}");
        let mut serialized = Vec::new();
        for (name, members) in &case.files {
            let path = folder.path().join("tokenizer").join(name);
            let old = fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
            let mut file: serde_json::Map<_, _> = serde_json::from_str(&old).expect("JSON");
            file.extend(members.clone());
            fs::write(path, serde_json::to_string(&file).expect("JSON")).expect("a file");
            let decoder = members.get("added_tokens_decoder").and_then(|decoder| decoder.as_object());
            serialized.extend(decoder.into_iter().flatten().map(|(id, token)| {
                let mut token = token.clone();
                token["id"] = id.parse::<u32>().expect("a number").into();
                token
            }));
        }
        let check = |files: &ModelFiles, place: &str| {
            let tokenizer = Tokenizer::load(files, 77).expect("a tokenizer");
            for (prompt, expected) in prompts.iter().zip(&case.ids) {
                let ids = tokenizer.tokenize(prompt).ids;
                assert_eq!(ids[..expected.len()], *expected, "{}, {place}: {prompt:?}", case.name);
                assert!(ids[expected.len()..].iter().all(|id| *id == ids[76]), "{prompt:?}");
            }
        };
        check(&files, "several files");
        if !serialized.is_empty() {
            let (folder, files) = saved_today("clip-large", "<|endoftext|>");
            let path = folder.path().join("tokenizer/tokenizer.json");
            let text = fs::read_to_string(&path).expect("a file");
            let mut file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            file["added_tokens"] = serialized.into();
            fs::write(path, file.to_string()).expect("a file");
            check(&files, "tokenizer.json");
        }
    }
}

/// The fixture with one file written anew.
fn changed(name: &str, content: &str) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for part in ["tokenizer", "text_encoder"] {
        fs::create_dir(folder.path().join(part)).expect("a folder");
        for entry in fs::read_dir(fixture("clip-large").join(part)).expect("a folder") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), folder.path().join(part).join(entry.file_name())).expect("a copy");
        }
    }
    fs::write(folder.path().join("model_index.json"), "{}").expect("a file");
    fs::write(folder.path().join(name), content).expect("a file");
    let files = ModelFiles::folder(folder.path()).expect("a model");
    (folder, files)
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let config = |change: &str| format!(r#"{{"hidden_size": 24, "vocab_size": 9999, {change}}}"#);
    for (name, content, expected) in [
        ("model_index.json", r#"{"tokenizer": ["transformers", "T5Tokenizer"]}"#.to_owned(), "T5Tokenizer"),
        ("tokenizer/vocab.json", "{}".to_owned(), "merges of tokens that the vocabulary has"),
        ("tokenizer/vocab.json", "[1]".to_owned(), "from token to number"),
        ("tokenizer/merges.txt", "#version\na b c".to_owned(), "line 2"),
        (
            "tokenizer/merges.txt",
            "#version\na nothing".to_owned(),
            "merges of tokens that the vocabulary has",
        ),
        ("tokenizer/tokenizer_config.json", r#"{"model_max_length": 2}"#.to_owned(), "model_max_length"),
        ("text_encoder/config.json", config(r#""hidden_act": "gelu_new""#), "hidden_act"),
        ("text_encoder/config.json", config(r#""num_attention_heads": 7"#), "num_attention_heads"),
        ("text_encoder/config.json", config(r#""architectures": ["T5EncoderModel"]"#), "architectures"),
        ("text_encoder/config.json", config(r#""use_attention_mask": true"#), "use_attention_mask"),
        ("text_encoder/config.json", config(r#""num_attention_heads": 3"#), "token_embedding.weight"),
        ("text_encoder/config.json", r#"{"vocab_size": 100}"#.to_owned(), "vocab_size"),
        ("text_encoder/model.safetensors", "nothing".to_owned(), "safetensors"),
    ] {
        let (_folder, files) = changed(name, &content);
        let Err(error) = TextEncoder::load(&files, &Device::Cpu, DType::F32) else {
            panic!("{name} with {content} was taken");
        };
        assert!(error.to_string().contains(expected), "{name} with {content}: {error}");
    }
}
