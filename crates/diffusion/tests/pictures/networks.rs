//! One pass through a denoiser or a decoder.

use candle_core::{DType, Device};
use tintype_diffusion::Weights;
use tintype_diffusion::denoiser::{UNet, UNetConfig};
use tintype_diffusion::vae::Vae;

use crate::common::{FAMILIES, assert_close, copy, files, tensors};

const TOLERANCE: f32 = 1e-4;

#[test]
fn denoisers_predict_what_diffusers_does() {
    for family in FAMILIES.into_iter().chain(["unusual"]) {
        let golden = tensors(family, "networks.safetensors");
        let unet = UNet::load(&files(family), &Device::Cpu, DType::F32).expect("a denoiser");
        for case in ["even", "odd"] {
            let tensor = |name: &str| &golden[&format!("unet.{case}.{name}")];
            let timestep = tensor("timestep").to_vec1::<f32>().expect("a number")[0];
            let guidance = golden.get(&format!("unet.{case}.guidance"));
            let output = unet
                .forward(tensor("sample"), f64::from(timestep), tensor("context"), guidance)
                .expect("a prediction");
            assert_close(&format!("{family}, {case}"), &output, tensor("output"), TOLERANCE);
        }
    }
}

#[test]
fn decoders_show_what_diffusers_does() {
    for family in FAMILIES {
        let golden = tensors(family, "networks.safetensors");
        let vae = Vae::load(&files(family), &Device::Cpu, DType::F32).expect("a decoder");
        let image = vae.decode(&golden["vae.latents"]).expect("an image");
        assert_close(family, &image, &golden["vae.image"], TOLERANCE);
        let (_, _, height, width) = image.dims4().expect("an image");
        assert_eq!([height, width], [3 * vae.scale(), 2 * vae.scale()]);
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let unet = UNet::load(&files("sd15"), &Device::Cpu, DType::F32).expect("a denoiser");
    let golden = tensors("sd15", "networks.safetensors");
    let (sample, context) = (&golden["unet.even.sample"], &golden["unet.even.context"]);
    let narrow = context.narrow(2, 0, 8).expect("a part");
    assert!(unet.forward(sample, 1.0, &narrow, None).is_err());
    assert!(unet.forward(&sample.narrow(1, 0, 3).expect("a part"), 1.0, context, None).is_err());
    assert!(unet.forward(sample, 1.0, &context.narrow(0, 0, 1).expect("a part"), None).is_err());
}

/// Every option of diffusers' that changes the network and is not built here is refused by name.
#[test]
fn options_that_are_not_supported_are_named() {
    for (option, value) in [
        ("act_fn", r#""mish""#),
        ("addition_embed_type", r#""text_time""#),
        ("attention_head_dim", "[2, 2]"),
        ("attention_head_dim", "3"),
        ("attention_type", r#""gated""#),
        ("block_out_channels", "[]"),
        ("class_embed_type", r#""timestep""#),
        ("conv_in_kernel", "4"),
        ("cross_attention_norm", r#""group_norm""#),
        ("down_block_types", r#"["DownBlock2D", "DownBlock2D", "DownBlock2D", "KDownBlock2D"]"#),
        ("downsample_padding", "0"),
        ("dual_cross_attention", "true"),
        ("encoder_hid_dim", "32"),
        ("invented", "1"),
        ("layers_per_block", "0"),
        ("mid_block_scale_factor", "2"),
        ("mid_block_type", r#""UNetMidBlock2DSimpleCrossAttn""#),
        ("norm_num_groups", "3"),
        ("num_class_embeds", "10"),
        ("resnet_time_scale_shift", r#""scale_shift""#),
        ("time_embedding_type", r#""fourier""#),
        ("up_block_types", r#"["UpBlock2D"]"#),
    ] {
        let error = unet_config_with(option, value).expect_err(option);
        assert!(error.contains("unet/config.json") && error.contains(&format!("`{option}`")), "{error}");
    }
    let error = unet_config_with("in_channels", r#""four""#).expect_err("not a number");
    assert!(error.contains("unet/config.json") && error.contains("in_channels"), "{error}");
    unet_config_with("dropout", "0.5").expect("of no consequence");
    unet_config_with("invented", "null").expect("off");
}

fn unet_config_with(option: &str, value: &str) -> Result<UNetConfig, String> {
    let model = copy("sd15");
    set(&model.path().join("unet/config.json"), option, value);
    let files = tintype_diffusion::ModelFiles::folder(model.path()).expect("a model folder");
    UNetConfig::load(&files).map_err(|error| error.to_string())
}

fn set(path: &std::path::Path, option: &str, value: &str) {
    let text = std::fs::read_to_string(path).expect("a configuration");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config[option] = serde_json::from_str(value).expect("JSON");
    std::fs::write(path, config.to_string()).expect("written");
}

#[test]
fn decoder_options_that_are_not_supported_are_named() {
    for (family, option, value) in [
        ("sd15", "_class_name", r#""AsymmetricAutoencoderKL""#),
        ("sd15", "latents_mean", "[0.1]"),
        ("sd15", "norm_num_groups", "5"),
        ("sd15", "out_channels", "4"),
        ("sd15", "scaling_factor", "0"),
        ("sd15", "up_block_types", r#"["AttnUpDecoderBlock2D"]"#),
        ("turbo", "decoder_block_out_channels", "[8, 8, 8, 16]"),
        ("turbo", "num_decoder_blocks", "[1]"),
        ("turbo", "upsample_fn", r#""bilinear""#),
        ("turbo", "upsampling_scaling_factor", "0"),
    ] {
        let model = copy(family);
        set(&model.path().join("vae/config.json"), option, value);
        let files = tintype_diffusion::ModelFiles::folder(model.path()).expect("a model folder");
        let error = Vae::load(&files, &Device::Cpu, DType::F32).err().expect(option).to_string();
        assert!(error.contains("vae/config.json") && error.contains(&format!("`{option}`")), "{error}");
    }
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_named() {
    let files = files("sd15");
    let mut config = UNetConfig::load(&files).expect("a configuration");
    let weights = Weights::load(&files, "unet", &Device::Cpu, DType::F32).expect("weights");
    config.use_linear_projection = true;
    let error = UNet::with_weights(config.clone(), &weights).err().expect("another shape").to_string();
    assert!(error.contains("proj_in.weight") && error.contains("diffusion_pytorch_model"), "{error}");
    config.use_linear_projection = false;
    config.levels[0].layers = 3;
    let error = UNet::with_weights(config, &weights).err().expect("no such layer").to_string();
    assert!(error.contains("down_blocks.0.resnets.2"), "{error}");
}
