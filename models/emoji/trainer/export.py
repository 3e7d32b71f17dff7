"""Writes the averaged weights as a model folder in the diffusers layout, in half precision."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTokenizer

from . import goldens, tokenizer, vae
from .denoiser import TrainedNetworks, scheduler
from .hyperparameters import GUIDANCE, HPARAMS, STEPS
from .latents import scaling_factor
from .loop import restore
from .paths import WEIGHTS


def averaged_vae() -> AutoencoderKL:
    """The autoencoder: averaged weights of the checkpoint, else the shipped weights, else untrained."""
    if state := restore("vae"):
        model = vae.build()
        model.load_state_dict(state["average"])
    else:
        model = vae.load_shipped() or vae.build()
    model.eval()
    # The posterior's variance is not trained. At its lower bound, a sample equals the mean.
    with torch.no_grad():
        model.quant_conv.weight[HPARAMS.latent_channels :] = 0
        model.quant_conv.bias[HPARAMS.latent_channels :] = -30
    return model


def pipeline() -> StableDiffusionPipeline:
    """The whole model in float32, from the checkpoints. A part without a checkpoint is untrained."""
    pieces = CLIPTokenizer.from_pretrained(tokenizer.folder())
    model, state = TrainedNetworks(len(pieces)).eval(), restore("denoiser")
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
    """Writes a model folder, completely or not at all, and its golden files beside it."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline().to(torch.float16).save_pretrained(partial)
    _write_defaults(partial / "model_index.json")
    for config in partial.glob("*/config.json"):
        _remove_local_path(config)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for part in sorted(folder.rglob("*.safetensors")):
        print(f"{part.stat().st_size / 1e6:7.2f} MB  {part.relative_to(folder)}")
    goldens.write(load_shipped(folder), folder.with_name("goldens"))


def _write_defaults(index: Path) -> None:
    """Adds the model's default steps and guidance. diffusers ignores names that begin with `_`."""
    _write_json(index, json.loads(index.read_text()) | {"_tintype": {"steps": STEPS, "guidance": GUIDANCE}})


def _remove_local_path(config: Path) -> None:
    """Removes the local path from which a part was loaded."""
    options = json.loads(config.read_text())
    if options.pop("_name_or_path", None) is not None:
        _write_json(config, options)


def _write_json(file: Path, options: dict) -> None:
    file.write_text(json.dumps(options, indent=2, sort_keys=True) + "\n")


def load_shipped(folder: Path = WEIGHTS) -> StableDiffusionPipeline:
    """Loads a model folder, by default the shipped one, as any user of diffusers would."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe
