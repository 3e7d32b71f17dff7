"""Makes the goldens of whole pipelines: four steps from given noise, by diffusers' own StableDiffusionPipeline.

    python crates/diffusion/goldens/pipelines.py

Needs the folders that networks.py writes.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, LCMScheduler
from diffusers import LMSDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel, UniPCMultistepScheduler
from diffusers.schedulers import scheduling_ddpm, scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete
from diffusers.schedulers import scheduling_lcm
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from models import FAMILIES, MODELS, SD_BETAS

STEPS = 4
PROMPT, NEGATIVE = "a red cat and a tiger", "tiger cat"
SCHEDULERS = {
    "ddim": (DDIMScheduler, dict(clip_sample=False, set_alpha_to_one=False)),
    "euler": (EulerDiscreteScheduler, {}),
    "euler-ancestral": (EulerAncestralDiscreteScheduler, {}),
    "dpm": (DPMSolverMultistepScheduler, {}),
    "dpm-karras": (DPMSolverMultistepScheduler, dict(use_karras_sigmas=True)),
}
# Beside the schedulers that every family runs.
EXTRA = {
    "sd15": {
        "ddpm": (DDPMScheduler, {}),
        "heun": (HeunDiscreteScheduler, {}),
        "lcm": (LCMScheduler, {}),
        "lms": (LMSDiscreteScheduler, {}),
        "sde": (DPMSolverMultistepScheduler, dict(algorithm_type="sde-dpmsolver++")),
        "unipc": (UniPCMultistepScheduler, {}),
    },
    "sd21-v": {
        "ddim-zero-snr": (DDIMScheduler, dict(clip_sample=False, timestep_spacing="trailing", rescale_betas_zero_snr=True)),
        "euler-zero-snr": (EulerDiscreteScheduler, dict(timestep_spacing="trailing", rescale_betas_zero_snr=True)),
        "heun": (HeunDiscreteScheduler, {}),
        "unipc": (UniPCMultistepScheduler, {}),
    },
}
NOISY = (scheduling_ddpm, scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete, scheduling_lcm)
GUIDANCE = {"sd15": 7.5, "sd21-v": 5.0, "turbo": 0.0, "builtin": 3.0}


def load(folder: Path, vae_kind: type) -> dict:
    """The parts of a folder. The decoders' files have no encoder, so that one keeps its random weights."""
    vae = vae_kind.from_config(vae_kind.load_config(folder / "vae"))
    tensors = load_file(folder / "vae/diffusion_pytorch_model.fp16.safetensors")
    new = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    for old_name, new_name in new.items():
        tensors = {name.replace(f"attentions.0.{old_name}.", f"attentions.0.{new_name}."): t for name, t in tensors.items()}
    missing = vae.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys and all(name.startswith(("encoder", "quant")) for name in missing.missing_keys)
    return dict(
        vae=vae.float().eval(),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", variant="fp16").float().eval(),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", variant="fp16").float().eval(),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@torch.no_grad()
def main() -> None:
    for number, (family, parts) in enumerate(FAMILIES.items()):
        folder = MODELS / family
        components = load(folder, parts["vae"][0])
        unet = components["unet"].config
        height, width = (6, 8) if family != "builtin" else (3, 4)
        scale = 2 ** (len(parts["vae"][1].get("block_out_channels", range(4))) - 1)
        generator = torch.Generator().manual_seed(300 + number)
        noise = torch.randn(STEPS + 1, 1, unet.in_channels, height, width, generator=generator)
        tensors = {"noise": noise}
        schedulers = SCHEDULERS | EXTRA.get(family, {})
        for name, (kind, options) in schedulers.items():
            common = {k: v for k, v in parts["scheduler"].items()}
            scheduler = kind(**(SD_BETAS | common | options))
            pipeline = StableDiffusionPipeline(scheduler=scheduler, **components)
            pipeline.set_progress_bar_config(disable=True)
            # The schedulers that draw noise while they step get ours.
            later = iter(noise[1:])
            for module in NOISY:
                module.randn_tensor = lambda *_, **__: next(later)
            call = dict(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, output_type="latent")
            call |= dict(guidance_scale=GUIDANCE[family], height=height * scale, width=width * scale)
            latents = pipeline(**call, latents=noise[0].clone()).images
            tensors[f"{name}.latents"] = latents
            scheduler.save_pretrained(folder / "schedulers" / name)
        vae = components["vae"]
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        tensors["dpm.image"] = vae.decode(tensors["dpm.latents"] / vae.config.scaling_factor + shift).sample
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "pipelines.safetensors")
        for path in folder.glob("schedulers/*/scheduler_config.json"):
            path.rename(path.parent.with_suffix(".json"))
            path.parent.rmdir()
        index = {"_class_name": "StableDiffusionPipeline", "_tintype": {"steps": STEPS, "guidance": GUIDANCE[family]}}
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        (folder / "scheduler").mkdir(exist_ok=True)
        (folder / "scheduler/scheduler_config.json").write_text((folder / "schedulers/dpm.json").read_text())


if __name__ == "__main__":
    main()
