"""Writes a model folder with the architecture of Stable Diffusion 2.1-base and random float32 weights.

    python bench/engine/random_sd21.py FOLDER

It measures speed and memory at the real size without the published weights. Its images show noise. Takes
5 GB.
"""

import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

sys.path.insert(0, str(Path(__file__).parents[2] / "crates/diffusion/goldens"))
from models import write_tokenizer  # noqa: E402

# The configuration of stabilityai/stable-diffusion-2-1-base.
UNET = dict(
    sample_size=64,
    attention_head_dim=(5, 10, 20, 20),
    block_out_channels=(320, 640, 1280, 1280),
    cross_attention_dim=1024,
    use_linear_projection=True,
)
VAE = dict(
    sample_size=768,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
)
TEXT = dict(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=23,
    num_attention_heads=16,
    hidden_act="gelu",
    vocab_size=49408,
    projection_dim=512,
)
SCHEDULER = dict(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    set_alpha_to_one=False,
    skip_prk_steps=True,
    steps_offset=1,
)


@torch.no_grad()
def filled(module: torch.nn.Module) -> torch.nn.Module:
    """Allocates a module from the meta device, with random weights that preserve the scale of activations."""
    module = module.to_empty(device="cpu")
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
        else:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5)
    for name, buffer in module.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1])[None])
    return module.eval()


def main(folder: Path) -> None:
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / "tokenizer", pad="!")
    tokenizer_config = folder / "tokenizer/tokenizer_config.json"
    tokenizer_config.write_text(json.dumps(json.loads(tokenizer_config.read_text()) | {"model_max_length": 77}))
    PNDMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    for name, kind, config in [
        ("unet", UNet2DConditionModel, UNET),
        ("vae", AutoencoderKL, VAE),
        ("text_encoder", CLIPTextModel, CLIPTextConfig(**TEXT)),
    ]:
        with torch.device("meta"):
            module = kind(config) if name == "text_encoder" else kind(**config)
        filled(module).save_pretrained(folder / name, max_shard_size="20GB")
    index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
