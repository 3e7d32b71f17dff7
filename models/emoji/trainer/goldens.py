"""Golden files: diffusers' images for the shipped weights, and their noise. tintype must match them."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

from .hyperparameters import GUIDANCE, STEPS

PROMPTS = ("a tiger", "机器人", "a red apple on a blue background")


@torch.no_grad()
def write(pipe: StableDiffusionPipeline, folder: Path) -> None:
    """Writes the images, their noise (1×16×h×w each), and `goldens.json`, the list of both per prompt."""
    folder.mkdir(exist_ok=True)
    shape = (1, pipe.unet.config.in_channels, pipe.unet.config.sample_size, pipe.unet.config.sample_size)
    noises, cases = {}, []
    for number, prompt in enumerate(PROMPTS):
        # In half precision, for half the file size. Both implementations start from these rounded numbers.
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(number)).half()
        drawn = pipe(
            prompt,
            latents=noise.float(),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            output_type="np",
        ).images[0]
        picture = f"{number}.png"
        Image.fromarray((drawn * 255).round().astype(np.uint8)).save(folder / picture, optimize=True)
        noises[str(number)] = noise
        cases.append(
            {"prompt": prompt, "steps": STEPS, "guidance": GUIDANCE, "noise": str(number), "picture": picture}
        )
    save_file(noises, folder / "noise.safetensors")
    (folder / "goldens.json").write_text(json.dumps(cases, ensure_ascii=False, indent=2) + "\n")
    print(f"{len(cases)} golden images")
