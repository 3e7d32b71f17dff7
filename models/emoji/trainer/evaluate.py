"""How often the picture drawn for a label is that label's picture, by its nearest neighbour."""

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from . import fetch
from .compose import compose, single
from .sheet import draw


def _features(pictures: list[np.ndarray]) -> np.ndarray:
    """Per picture 32×32 RGB and the gradient magnitude of its luminance: N×4096, not yet standardised."""
    small = np.stack([np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BOX)) for p in pictures])
    rgb = small.astype(np.float32) / 255
    dy, dx = np.gradient(rgb @ np.array([0.299, 0.587, 0.114], np.float32), axis=(1, 2))
    return np.concatenate([rgb.reshape(len(rgb), -1), np.hypot(dy, dx).reshape(len(rgb), -1)], 1)


def evaluate(pipe: StableDiffusionPipeline, count: int) -> None:
    """Prints the share of right pictures, and of right subgroups, for `count` labels per language."""
    items, pictures = fetch.load()
    rng, size = np.random.default_rng(0), pipe.vae.config.sample_size
    known = _features([compose(pictures, single(rng, i.index, True), 0, size) for i in items])
    mean, deviation = known.mean(0), known.std(0) + 1e-3
    known = torch.from_numpy((known - mean) / deviation)
    chosen = [items[i] for i in np.random.default_rng(11).permutation(len(items))[:count]]
    for language in ("en", "zh"):
        drawn = _features(draw(pipe, [getattr(i, language) for i in chosen]))
        nearest = torch.cdist(torch.from_numpy((drawn - mean) / deviation), known).argmin(1).tolist()
        same = np.mean([n == i.index for n, i in zip(nearest, chosen, strict=True)])
        kin = np.mean([items[n].subgroup == i.subgroup for n, i in zip(nearest, chosen, strict=True)])
        print(f"{language}: {same:.1%} the same picture, {kin:.1%} the same subgroup, of {count}")
