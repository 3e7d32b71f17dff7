"""Assembles the averaged weights into the diffusers layout that is shipped, in half precision."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTokenizer

from . import goldens, tokenizer, vae
from .denoiser import Model, scheduler
from .latents import scaling_factor
from .loop import restore
from .paths import WEIGHTS
from .sizes import GUIDANCE, SIZES, STEPS


def averaged_vae() -> AutoencoderKL:
    """The autoencoder with its averaged weights, the checkpoint's or else the shipped."""
    if state := restore("vae"):
        model = vae.build()
        model.load_state_dict(state["average"])
    else:
        model = vae.shipped() or vae.build()
    model.eval()
    # The posterior's variance is never trained; at its floor, a sample is the mean.
    with torch.no_grad():
        model.quant_conv.weight[SIZES.latent_channels :] = 0
        model.quant_conv.bias[SIZES.latent_channels :] = -30
    return model


def pipeline() -> StableDiffusionPipeline:
    """The whole model in float32, as it stands in the checkpoints; untrained where there is none."""
    pieces = CLIPTokenizer.from_pretrained(tokenizer.folder())
    model, state = Model(len(pieces)).eval(), restore("denoiser")
    if state:
        model.load_state_dict(state["average"])
    autoencoder = averaged_vae()
    if scale := scaling_factor():
        autoencoder.register_to_config(scaling_factor=round(scale, 6))
    pipe = StableDiffusionPipeline(
        vae=autoencoder, text_encoder=model.text, tokenizer=pieces, unet=model.unet, scheduler=scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def export(folder: Path = WEIGHTS) -> None:
    """Writes a model folder, whole or not at all, and its goldens beside it."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline().to(torch.float16).save_pretrained(partial)
    _say_defaults(partial / "model_index.json")
    for config in partial.glob("*/config.json"):
        _forget_origin(config)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for part in sorted(folder.rglob("*.safetensors")):
        print(f"{part.stat().st_size / 1e6:7.2f} MB  {part.relative_to(folder)}")
    goldens.write(shipped(folder), folder.with_name("goldens"))


def _say_defaults(index: Path) -> None:
    """Adds the model's own steps and guidance; diffusers passes over names that begin with `_`."""
    _rewrite(index, json.loads(index.read_text()) | {"_tintype": {"steps": STEPS, "guidance": GUIDANCE}})


def _forget_origin(config: Path) -> None:
    """Takes out the path on this machine that a part was loaded from."""
    options = json.loads(config.read_text())
    if options.pop("_name_or_path", None) is not None:
        _rewrite(config, options)


def _rewrite(file: Path, options: dict) -> None:
    file.write_text(json.dumps(options, indent=2, sort_keys=True) + "\n")


def shipped(folder: Path = WEIGHTS) -> StableDiffusionPipeline:
    """The shipped folder or another, loaded as any user of diffusers would."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe
