//! What options mean that are `null`, absent, of an older version, or left behind by other programs.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};
use tintype_core::engine::Engine;
use tintype_diffusion::denoiser::UNetConfig;
use tintype_diffusion::vae::Vae;
use tintype_diffusion::{DiffusionEngine, EngineOptions, ModelError, ModelFiles};

use crate::common::{copy, folder, tensors};

/// The options of the network that Python tests for truth.
const UNET_FLAGS: [&str; 9] = [
    "center_input_sample",
    "class_embeddings_concat",
    "dual_cross_attention",
    "flip_sin_to_cos",
    "mid_block_only_cross_attention",
    "only_cross_attention",
    "resnet_skip_time_act",
    "upcast_attention",
    "use_linear_projection",
];

fn read(path: &Path) -> Map<String, Value> {
    // Python's JSON has infinite numbers, which are the defaults here.
    let text = fs::read_to_string(path).expect("a file").replace(": -Infinity", ": null");
    serde_json::from_str(&text).expect("JSON")
}

/// A family's model after a change of one of its files.
fn changed(
    family: &str,
    file: &str,
    change: impl FnOnce(&mut Map<String, Value>),
) -> (tempfile::TempDir, ModelFiles) {
    let model = copy(family);
    let path = model.path().join(file);
    let mut config = read(&path);
    change(&mut config);
    fs::write(path, Value::Object(config).to_string()).expect("a file");
    let files = ModelFiles::folder(model.path()).expect("a model");
    (model, files)
}

/// The options that are to be set, and `None` for one that is to be absent.
fn unet(family: &str, options: &[(&str, Option<Value>)]) -> Result<UNetConfig, ModelError> {
    let (_model, files) = changed(family, "unet/config.json", |config| {
        for (option, value) in options {
            match value {
                Some(value) => config.insert((*option).to_owned(), value.clone()),
                None => config.remove(*option),
            };
        }
    });
    UNetConfig::load(&files)
}

#[test]
fn null_is_off_for_flags_and_the_default_for_others() {
    for family in ["sd15", "sd21-v", "unusual"] {
        for option in read(&folder(family).join("unet/config.json")).keys().map(String::as_str) {
            let with = |value: Option<Value>| unet(family, &[(option, value)]).ok();
            let null = with(Some(Value::Null));
            let expected = match option {
                "mid_block_type" => with(Some(Value::Null)),
                _ if UNET_FLAGS.contains(&option) => with(Some(json!(false))),
                _ => with(None),
            };
            assert_eq!(null, expected, "{family}: {option}");
            // Where the default does not fit the family's other options, neither does `null`.
            let fits = ![
                "down_block_types",
                "up_block_types",
                "block_out_channels",
                "attention_head_dim",
                "norm_num_groups",
            ]
            .contains(&option);
            assert!(null.is_some() || !fits, "{family}: {option} is refused as null");
        }
    }
    let config = unet("sd15", &[("flip_sin_to_cos", Some(Value::Null))]).expect("valid");
    assert!(!config.flip_sin_to_cos, "null is off, although the default is on");
    assert!(unet("sd15", &[("flip_sin_to_cos", None)]).expect("valid").flip_sin_to_cos);
}

/// As `stabilityai/sd-turbo` has it.
#[test]
fn null_for_upcast_attention_is_a_model() {
    let (_model, files) = changed("turbo", "unet/config.json", |config| {
        config.insert("upcast_attention".to_owned(), Value::Null);
    });
    DiffusionEngine::load("x", files, EngineOptions::default()).expect("an engine");
}

fn decode(family: &str, option: &str, value: Option<Value>) -> Result<Tensor, ModelError> {
    let (_model, files) = changed(family, "vae/config.json", |config| {
        match value {
            Some(value) => config.insert(option.to_owned(), value),
            None => config.remove(option),
        };
    });
    let latents = &tensors(family, "networks.safetensors")["vae.latents"];
    Vae::load(&files, &Device::Cpu, DType::F32)?.decode(latents)
}

#[test]
fn null_is_the_same_for_decoders() {
    let numbers = |image: Tensor| image.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers");
    for family in ["sd15", "builtin", "turbo"] {
        for option in read(&folder(family).join("vae/config.json")).keys().map(String::as_str) {
            let with = |value: Option<Value>| decode(family, option, value).ok().map(numbers);
            let flag = ["force_upcast", "mid_block_add_attention", "use_post_quant_conv", "use_quant_conv"];
            let expected = if flag.contains(&option) { with(Some(json!(false))) } else { with(None) };
            assert_eq!(with(Some(Value::Null)), expected, "{family}: {option}");
        }
    }
    let image =
        |value: Value| numbers(decode("sd15", "mid_block_add_attention", Some(value)).expect("an image"));
    assert_eq!(image(Value::Null), image(json!(false)));
    assert_ne!(image(Value::Null), image(json!(true)));
}

#[test]
fn default_sizes_are_those_of_diffusers() {
    for (size, version, expected) in [
        (json!(32), Some("0.6.0"), Some([64, 64])),
        (json!(32), Some("0.8.0.dev0"), Some([64, 64])),
        (json!(64), Some("0.6.0"), Some([64, 64])),
        (json!(96), Some("0.6.0"), Some([96, 96])),
        (json!([32, 48]), Some("0.6.0"), Some([32, 48])),
        (json!(32), Some("0.9.0"), Some([32, 32])),
        (json!(32), Some("0.10.2"), Some([32, 32])),
        (json!(32), None, Some([32, 32])),
        (Value::Null, Some("0.6.0"), None),
    ] {
        let options = [("sample_size", Some(size.clone())), ("_diffusers_version", version.map(Value::from))];
        assert_eq!(unet("sd15", &options).expect("valid").sample_size, expected, "{size} of {version:?}");
    }
    let (_model, files) = changed("sd15", "unet/config.json", |config| {
        config.insert("sample_size".to_owned(), json!(32));
        config.insert("_diffusers_version".to_owned(), json!("0.2.2"));
    });
    let engine = DiffusionEngine::load("x", files, EngineOptions::default()).expect("an engine");
    assert_eq!((engine.model().width, engine.model().height), (512, 512));
}

#[test]
fn leftovers_are_ignored_and_unknown_options_are_refused() {
    let averaged = [
        ("decay", json!(0.9999)),
        ("inv_gamma", json!(1.0)),
        ("min_decay", json!(0.0)),
        ("optimization_step", json!(1000)),
        ("power", json!(0.75)),
        ("update_after_step", json!(0)),
        ("use_ema_warmup", json!(true)),
    ];
    for file in ["unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"] {
        let (_model, files) = changed("sd15", file, |config| {
            for (option, value) in averaged.clone().into_iter().chain([("tensor_format", json!("pt"))]) {
                config.insert(option.to_owned(), value);
            }
        });
        DiffusionEngine::load("x", files, EngineOptions::default()).expect(file);
        for (option, value) in [("made_up", json!(1)), ("quantization_config", json!({"load_in_8bit": true}))]
        {
            let (_model, files) = changed("sd15", file, |config| {
                config.insert(option.to_owned(), value.clone());
            });
            let error =
                DiffusionEngine::load("x", files, EngineOptions::default()).err().expect(file).to_string();
            assert!(error.contains(file) && error.contains(&format!("`{option}`")), "{error}");
        }
    }
    let (_model, files) = changed("sd15", "text_encoder/config.json", |config| {
        config.insert("quantization_config".to_owned(), json!({"load_in_8bit": true}));
    });
    let error =
        DiffusionEngine::load("x", files, EngineOptions::default()).err().expect("quantized").to_string();
    assert!(error.contains("text_encoder/config.json") && error.contains("without quantization"), "{error}");
}

#[test]
fn impossible_sizes_are_refused_before_memory_is_allocated() {
    let huge = [json!(1_000_000_000_000u64), json!(u64::MAX), json!(0), json!(-1)];
    for (family, file, options) in [
        (
            "sd15",
            "unet/config.json",
            &[
                "layers_per_block",
                "transformer_layers_per_block",
                "attention_head_dim",
                "cross_attention_dim",
                "in_channels",
                "out_channels",
                "norm_num_groups",
                "time_embedding_dim",
                "time_cond_proj_dim",
                "conv_in_kernel",
                "conv_out_kernel",
                "sample_size",
                "freq_shift",
            ][..],
        ),
        ("sd15", "vae/config.json", &["layers_per_block", "latent_channels", "norm_num_groups"]),
        ("turbo", "vae/config.json", &["latent_channels", "upsampling_scaling_factor"]),
        (
            "sd15",
            "text_encoder/config.json",
            &[
                "vocab_size",
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "max_position_embeddings",
            ],
        ),
        ("sd15", "scheduler/scheduler_config.json", &["num_train_timesteps", "solver_order"]),
    ] {
        for option in options {
            for value in &huge {
                let zero =
                    ["transformer_layers_per_block", "freq_shift"].contains(option) && *value == json!(0);
                for value in [value.clone(), json!([value])] {
                    let (_model, files) = changed(family, file, |config| {
                        config.insert((*option).to_owned(), value.clone());
                    });
                    let result = DiffusionEngine::load("x", files, EngineOptions::default());
                    let Err(error) = result else {
                        assert!(zero, "{file}: {option} of {value} was taken");
                        continue;
                    };
                    let named = error.to_string();
                    assert!(
                        zero || named.contains(file) && named.contains(option),
                        "{option} {value}: {named}"
                    );
                }
            }
        }
    }
    for (family, file, option, levels) in [
        ("sd15", "unet/config.json", "block_out_channels", 4),
        ("sd15", "unet/config.json", "layers_per_block", 4),
        ("sd15", "vae/config.json", "block_out_channels", 4),
        ("turbo", "vae/config.json", "num_decoder_blocks", 4),
        ("turbo", "vae/config.json", "decoder_block_out_channels", 4),
        ("sd15", "unet/config.json", "sample_size", 2),
        ("sd15", "unet/config.json", "block_out_channels", 1_000_000),
        ("turbo", "vae/config.json", "decoder_block_out_channels", 1_000_000),
    ] {
        let size = if levels > 4 { 8 } else { 1u64 << 40 };
        let (_model, files) = changed(family, file, |config| {
            config.insert(option.to_owned(), json!(vec![size; levels]));
        });
        let error =
            DiffusionEngine::load("x", files, EngineOptions::default()).err().expect(option).to_string();
        assert!(error.contains(file) && error.contains(option), "{error:.300}");
    }
}
