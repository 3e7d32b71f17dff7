"""Makes the goldens of whole folders as others publish them: the pictures of diffusers' own StableDiffusionPipeline.

    python crates/diffusion/goldens/published.py sd-turbo    the configurations of stabilityai/sd-turbo at narrow widths
    python crates/diffusion/goldens/published.py resaved     the same model, saved by the diffusers and transformers that run

Run the second with the newest transformers and diffusers, in an environment of its own. The versions are in the golden's
metadata.
"""

import os
import sys
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from models import CROSS_DOWN, CROSS_UP, randomize, write_tokenizer

FOLDER = Path(__file__).parent / "published"
PROMPT, NEGATIVE = "a red cat and a tiger", "tiger cat"
# Steps and guidance scale: what the model is published for, and more.
CASES = {"one-step": (1, 0.0), "four-steps": (4, 0.0), "guided": (4, 5.0)}
LATENTS = (1, 4, 6, 8)

# The published files with these options narrowed: widths, heads, the vocabulary, the lengths of prompts and the size.
UNET = {
    "act_fn": "silu", "addition_embed_type": None, "addition_embed_type_num_heads": 64, "addition_time_embed_dim": None,
    "attention_head_dim": [1, 2, 2, 2], "attention_type": "default", "block_out_channels": [4, 8, 8, 8],
    "center_input_sample": False, "class_embed_type": None, "class_embeddings_concat": False, "conv_in_kernel": 3,
    "conv_out_kernel": 3, "cross_attention_dim": 16, "cross_attention_norm": None,
    "down_block_types": [CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, "DownBlock2D"], "downsample_padding": 1, "dropout": 0.0,
    "dual_cross_attention": False, "encoder_hid_dim": None, "encoder_hid_dim_type": None, "flip_sin_to_cos": True,
    "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_only_cross_attention": None,
    "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-05, "norm_num_groups": 4,
    "num_attention_heads": None, "num_class_embeds": None, "only_cross_attention": False, "out_channels": 4,
    "projection_class_embeddings_input_dim": None, "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default", "reverse_transformer_layers_per_block": None, "sample_size": 8,
    "time_cond_proj_dim": None, "time_embedding_act_fn": None, "time_embedding_dim": None,
    "time_embedding_type": "positional", "timestep_post_act": None, "transformer_layers_per_block": 1,
    "up_block_types": ["UpBlock2D", CROSS_UP, CROSS_UP, CROSS_UP], "upcast_attention": None,
    "use_linear_projection": True,
}  # fmt: skip
VAE = {
    "act_fn": "silu", "block_out_channels": [4, 4, 8, 8], "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True, "in_channels": 3, "latent_channels": 4, "latents_mean": None, "latents_std": None,
    "layers_per_block": 2, "norm_num_groups": 4, "out_channels": 3, "sample_size": 64, "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
TEXT_ENCODER = {
    "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2,
    "hidden_act": "gelu", "hidden_size": 16, "initializer_factor": 1.0, "initializer_range": 0.02,
    "intermediate_size": 64, "layer_norm_eps": 1e-05, "max_position_embeddings": 16, "model_type": "clip_text_model",
    "num_attention_heads": 4, "num_hidden_layers": 3, "pad_token_id": 1, "projection_dim": 512, "torch_dtype": "float16",
}  # fmt: skip
SCHEDULER = {
    "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False,
    "interpolation_type": "linear", "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": False,
    "sigma_max": None, "sigma_min": None, "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "trailing",
    "timestep_type": "discrete", "trained_betas": None, "use_karras_sigmas": False,
}  # fmt: skip


def sd_turbo(folder: Path) -> None:
    """Writes the folder with random weights."""
    torch.manual_seed(400)
    vocabulary = write_tokenizer(folder / "tokenizer", pad="!")
    pipeline = StableDiffusionPipeline(
        unet=randomize(UNet2DConditionModel.from_config(UNET)),
        vae=randomize(AutoencoderKL.from_config(VAE)),
        text_encoder=randomize(CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER, vocab_size=vocabulary))),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=EulerDiscreteScheduler.from_config(SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
    )
    pipeline.to(torch.float16).save_pretrained(folder)


def resaved(folder: Path) -> None:
    """Writes the folder from the other one."""
    # A relative path, because diffusers writes it into the configurations.
    pipeline = StableDiffusionPipeline.from_pretrained("sd-turbo", torch_dtype=torch.float16)
    pipeline.save_pretrained(folder)


@torch.no_grad()
def golden(folder: Path) -> None:
    """Runs the folder in 32 bits from given noise."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(LATENTS, generator=torch.Generator().manual_seed(401))
    tensors = {"noise": noise}
    for name, (steps, guidance) in CASES.items():
        call = dict(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=guidance)
        call |= dict(height=LATENTS[2] * 8, width=LATENTS[3] * 8, latents=noise.clone(), output_type="pil")
        image = pipeline(**call).images[0]
        tensors[f"{name}.image"] = torch.tensor(list(image.tobytes()), dtype=torch.uint8).reshape(*image.size[::-1], 3)
        tensors[f"{name}.call"] = torch.tensor([float(steps), guidance])
    versions = {library.__name__: library.__version__ for library in (diffusers, transformers, torch)}
    save_file(tensors, folder / "golden.safetensors", metadata=versions)


def main() -> None:
    name = sys.argv[1]
    FOLDER.mkdir(exist_ok=True)
    os.chdir(FOLDER)
    folder = FOLDER / name
    {"sd-turbo": sd_turbo, "resaved": resaved}[name](folder)
    golden(folder)


if __name__ == "__main__":
    main()
