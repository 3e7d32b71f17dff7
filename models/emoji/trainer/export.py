"""Assembles the averaged weights into the diffusers layout that is shipped, in half precision."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTokenizer

from . import tokenizer, vae
from .denoiser import Model, scheduler
from .latents import Latents
from .loop import restore
from .paths import CACHE, DATA, WEIGHTS


def averaged_vae() -> AutoencoderKL:
    """The autoencoder with its averaged weights, the checkpoint's or else the shipped."""
    state = restore("vae")
    if state is None and (WEIGHTS / "vae").exists():
        return AutoencoderKL.from_pretrained(WEIGHTS / "vae", torch_dtype=torch.float32).eval()
    model = vae.build().eval()
    if state:
        model.load_state_dict(state["average"])
    # The posterior's variance is never trained; at its floor, a sample is the mean.
    with torch.no_grad():
        model.quant_conv.weight[vae.LATENT_CHANNELS :] = 0
        model.quant_conv.bias[vae.LATENT_CHANNELS :] = -30
    return model


def pipeline() -> StableDiffusionPipeline:
    """The whole model in float32, as it stands in the checkpoints; untrained where there is none."""
    tokenizer.load()
    pieces = CLIPTokenizer.from_pretrained(CACHE / "tokenizer")
    model, state = Model(len(pieces)).eval(), restore("denoiser")
    if state:
        model.load_state_dict(state["average"])
    autoencoder = averaged_vae()
    if (DATA / "latents.npz").exists():
        autoencoder.register_to_config(scaling_factor=round(Latents().scaling_factor, 6))
    pipe = StableDiffusionPipeline(
        vae=autoencoder, text_encoder=model.text, tokenizer=pieces, unet=model.unet, scheduler=scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def export(folder: Path = WEIGHTS) -> None:
    """Writes the shipped folder, whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline().to(torch.float16).save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for path in sorted(folder.rglob("*.safetensors")):
        print(f"{path.stat().st_size / 1e6:7.2f} MB  {path.relative_to(folder)}")


def shipped() -> StableDiffusionPipeline:
    """The shipped folder, loaded as any user of diffusers would."""
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe
