//! The built-in model, embedded: a folder in the layout of Stable Diffusion 2.x, as pairs of path and content.
//!
//! It is a crate of its own so that the weights are linked once and rebuilt only when they change.

/// Names each file once and embeds it.
macro_rules! embedded {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../weights/", $path)))),*]
    };
}

/// The revision that version 0.1 of tintype gave these files. It is part of the keys of the images that version 0.1
/// stored. Remove it with the first change of a file.
pub const REVISION_BEFORE_0_2: &str = "eff1ce1af3dedc8e";

/// The SHA-256 of `unet/diffusion_pytorch_model.safetensors`, for the metadata of images. A test compares it with the
/// file.
pub const MODEL_HASH: &str = "a1cc12fef1c500a8db8233df1f13bf5f04d8b8a2df3060631da3e5f95fc4105f";

/// Every file of the model: its path inside the model folder, with `/`, and its content.
pub static FILES: &[(&str, &[u8])] = embedded![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];
