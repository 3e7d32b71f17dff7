"""Contact sheets: one generated image per prompt."""

import math
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from .hyperparameters import GUIDANCE, STEPS

PROMPTS = [
    "a tiger", "a red apple", "机器人", "a rocket", "a house", "a volcano", "a guitar", "a dragon",
    "a panda", "a pizza", "老虎", "火箭", "a sunflower", "an octopus", "a cat face", "a bicycle",
    "a robot and a tiger", "机器人和火箭", "a fox on a blue background", "黄色背景上的吉他",
    "a cyborg tiger", "a birthday cake", "snowman", "a smiling face with sunglasses",
]  # fmt: skip


@torch.no_grad()
def draw(pipe: StableDiffusionPipeline, prompts: list[str], seed: int = 0, steps: int = STEPS,
         guidance: float = GUIDANCE) -> list[np.ndarray]:  # fmt: skip
    """One H×W×3 image per prompt. The seeds are `seed`, `seed + 1`, …"""
    pictures = []
    for start in range(0, len(prompts), 8):
        batch = prompts[start : start + 8]
        seeds = [torch.Generator().manual_seed(seed + start + i) for i in range(len(batch))]
        out = pipe(
            batch, generator=seeds, num_inference_steps=steps, guidance_scale=guidance, output_type="np"
        )
        pictures += list((out.images * 255).round().astype(np.uint8))
    return pictures


def write_sheet(pictures: list[np.ndarray], path: Path, columns: int = 8, cell: int = 128) -> None:
    """Writes the images row by row as one PNG."""
    canvas = Image.new("RGB", (columns * cell, math.ceil(len(pictures) / columns) * cell), "white")
    for i, picture in enumerate(pictures):
        small = Image.fromarray(picture).resize((cell, cell), Image.Resampling.LANCZOS)
        canvas.paste(small, (i % columns * cell, i // columns * cell))
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path, optimize=True)
