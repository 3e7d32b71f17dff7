//! Tests of reading weights.

use std::fs;

use super::*;

/// A model folder with these weights files.
fn model(files: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("model_index.json"), "{}").expect("a file");
    fs::create_dir(folder.path().join("unet")).expect("a folder");
    for (name, content) in files {
        fs::write(folder.path().join("unet").join(name), content).expect("a file");
    }
    let files = ModelFiles::folder(folder.path()).expect("a model");
    (folder, files)
}

/// A file with one tensor, `NAME.weight` of shape `[2, 3]`, which counts up from `first`.
fn file(name: &str, first: f32, dtype: DType) -> Vec<u8> {
    let tensor = Tensor::arange(first, first + 6.0, &Device::Cpu)
        .and_then(|tensor| tensor.reshape((2, 3))?.to_dtype(dtype))
        .expect("a tensor");
    safetensors::serialize([(format!("{name}.weight"), &tensor)], None).expect("weights")
}

fn values(weights: &Weights, name: &str) -> Vec<f32> {
    let tensor = weights.pp(name).get((2, 3), "weight").expect("a tensor");
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("numbers")
}

fn load(files: &ModelFiles, dtype: DType) -> Result<Weights, ModelError> {
    Weights::load(files, "unet", &Device::Cpu, dtype)
}

const COUNT: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

#[test]
fn mapped_and_embedded_tensors_are_what_was_written() {
    static NAMES: [&str; 2] = ["model_index.json", "unet/model.safetensors"];
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let content = file("conv", 1.0, dtype);
        let bytes: &'static [u8] = content.clone().leak();
        let embedded = vec![(NAMES[0], &b"{}"[..]), (NAMES[1], bytes)].leak();
        let (_folder, folder) = model(&[("model.safetensors", content)]);
        for files in [folder, ModelFiles::embedded(embedded).expect("a model")] {
            let weights = load(&files, DType::F32).expect("weights");
            // Twice: the pages of the map were given back after the first time.
            assert_eq!(values(&weights, "conv"), COUNT);
            assert_eq!(values(&weights, "conv"), COUNT);
            assert_eq!(weights.shape("conv.weight"), Some(vec![2, 3]));
            assert!(weights.pp("conv").contains("weight") && !weights.contains("weight"));
        }
    }
}

#[test]
fn the_variant_is_taken_for_its_type_or_alone() {
    let full = ("diffusion_pytorch_model.safetensors", file("conv", 1.0, DType::F32));
    let variant = ("diffusion_pytorch_model.fp16.safetensors", file("conv", 11.0, DType::F16));
    let (_folder, both) = model(&[full, variant.clone()]);
    assert_eq!(values(&load(&both, DType::F32).expect("weights"), "conv"), COUNT);
    let half = load(&both, DType::F16).expect("weights").get((2, 3), "conv.weight").expect("a tensor");
    assert_eq!(half.dtype(), DType::F16);
    assert_eq!(half.to_dtype(DType::F32).and_then(|t| t.to_vec2::<f32>()).expect("numbers")[0][0], 11.0);
    let (_folder, alone) = model(&[variant]);
    assert_eq!(values(&load(&alone, DType::F32).expect("weights"), "conv")[0], 11.0);
}

#[test]
fn shards_are_one() {
    let index = br#"{"weight_map": {"a.weight": "1.safetensors", "b.weight": "2.safetensors"}}"#.to_vec();
    let shards = [
        ("model.safetensors.index.json", index),
        ("1.safetensors", file("a", 1.0, DType::F32)),
        ("2.safetensors", file("b", 7.0, DType::F32)),
    ];
    let (_folder, files) = model(&shards);
    let weights = load(&files, DType::F32).expect("weights");
    assert_eq!((values(&weights, "a")[0], values(&weights, "b")[0]), (1.0, 7.0));
    // Of a variant, whose index has another name.
    let variant = [("model.safetensors.index.fp16.json", shards[0].1.clone())];
    let (_folder, files) = model(&[&variant[..], &shards[1..]].concat());
    assert_eq!(values(&load(&files, DType::F32).expect("weights"), "b")[0], 7.0);
    // Beside a variant in one file, which is for 16 bits.
    let single = [("model.fp16.safetensors", file("a", 21.0, DType::F16))];
    let (_folder, files) = model(&[&single[..], &shards[..]].concat());
    assert_eq!(values(&load(&files, DType::F32).expect("weights"), "a")[0], 1.0);
    assert_eq!(load(&files, DType::F16).expect("weights").shape("b.weight"), None);
    let (_folder, files) = model(&shards[..2]);
    let error = load(&files, DType::F32).err().expect("a shard is missing").to_string();
    assert!(error.contains("2.safetensors is missing"), "{error}");
}

#[test]
fn errors_name_the_file_and_the_tensor() {
    let (_folder, files) = model(&[]);
    let error = load(&files, DType::F32).err().expect("no weights").to_string();
    assert!(error.contains("unet/diffusion_pytorch_model.safetensors is missing"), "{error}");

    let whole = file("conv", 1.0, DType::F32);
    let (_folder, files) = model(&[("model.safetensors", whole[..whole.len() - 1].to_vec())]);
    let error = load(&files, DType::F32).err().expect("half a file");
    assert!(matches!(error, ModelError::Malformed { source: Some(_), .. }), "{error}");

    let (_folder, files) = model(&[("model.safetensors", whole)]);
    let weights = load(&files, DType::F32).expect("weights");
    for (shape, name, expected) in [
        ((3, 2), "weight", "tensor `conv.weight` in "),
        ((2, 3), "bias", "has no tensor `conv.bias`; expected one of shape [2, 3]"),
    ] {
        let error = weights.pp("conv").get(shape, name).expect_err("nothing of this shape").to_string();
        assert!(error.contains(expected) && error.contains("model.safetensors"), "{error}");
    }
    let error = Weights::open(Path::new("/nowhere/x.safetensors"), &Device::Cpu, DType::F32).err();
    assert!(matches!(error, Some(ModelError::MissingFile { .. })));
}

#[test]
fn adapters_beside_the_network_are_refused() {
    let tensor = Tensor::ones((2, 3), DType::F32, &Device::Cpu).expect("a tensor");
    let attention = "down_blocks.0.attentions.0.transformer_blocks.0.attn1";
    for adapter in [
        // diffusers before 0.17 and after, PEFT, other trainers, custom diffusion, IP adapters.
        "processor.to_q_lora.down.weight",
        "to_q.lora_layer.up.weight",
        "to_q.lora_A.default.weight",
        "to_k.lora_magnitude_vector.weight",
        "to_v.lora.down.weight",
        "LoRA_up.alpha",
        "processor.to_k_custom_diffusion.weight",
        "processor.to_v_ip.weight",
    ] {
        let names = [adapter, "to_q.weight"].map(|name| format!("{attention}.{name}"));
        let content =
            safetensors::serialize(names.iter().map(|name| (name, &tensor)), None).expect("weights");
        for (file, other) in [
            ("diffusion_pytorch_model.safetensors", None),
            ("diffusion_pytorch_model-2.safetensors", Some("diffusion_pytorch_model-1.safetensors")),
        ] {
            let index = serde_json::json!({"weight_map": {"a": file, "b": other.unwrap_or(file)}});
            let mut all = vec![(file, content.clone())];
            if let Some(other) = other {
                all.push((other, self::file("conv", 1.0, DType::F32)));
                all.push(("diffusion_pytorch_model.safetensors.index.json", index.to_string().into_bytes()));
            }
            let (_folder, files) = model(&all);
            let error = load(&files, DType::F32).err().expect("an adapter").to_string();
            assert!(
                error.contains(file) && error.contains(&names[0]) && error.contains("fuse_lora"),
                "{error}"
            );
            assert!(!error.contains(&names[1]), "{error}");
        }
    }
    let many = (0..9).map(|i| (format!("x.{i}.lora_A.weight"), &tensor));
    let (_folder, files) =
        model(&[("model.safetensors", safetensors::serialize(many, None).expect("weights"))]);
    let error = load(&files, DType::F32).err().expect("adapters").to_string();
    assert!(error.contains("`x.2.lora_A.weight` and 6 more"), "{error}");
    let (_folder, files) = model(&[("model.safetensors", file("explorer.processors", 1.0, DType::F32))]);
    assert!(load(&files, DType::F32).is_ok());
}
