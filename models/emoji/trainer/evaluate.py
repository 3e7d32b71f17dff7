"""Measures how often the nearest training image of a generated image is that of its label.

`cargo xtask model eval` computes the same figures for tintype's images. This module uses diffusers'
images or, as a cross-check, the images that `cargo xtask model eval --pictures` wrote.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from . import references
from .export import load_shipped
from .sheet import draw


def _features(pictures: list[np.ndarray]) -> np.ndarray:
    """32×32 RGB and the gradient magnitude of the luminance of each image: N×4096, not yet standardised."""
    small = np.stack(
        [np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BOX)) for p in pictures]
    )
    rgb = small / 255
    dy, dx = np.gradient(rgb @ np.array([0.299, 0.587, 0.114]), axis=(1, 2))
    return np.concatenate([rgb.reshape(len(rgb), -1), np.hypot(dy, dx).reshape(len(rgb), -1)], 1)


def _nearest(generated: np.ndarray, reference: np.ndarray) -> list[int]:
    return [int(np.square(reference - features).sum(1).argmin()) for features in generated]


def evaluate(count: int, folder: Path | None) -> None:
    """Prints the share of recognised items, and of recognised subgroups, for `count` labels per language.

    Reads the generated images from `folder`, or generates them if `folder` is None.
    """
    things, labels, tiles = references.load()
    reference = _features(list(tiles))
    mean, deviation = reference.mean(0), reference.std(0) + 1e-3
    reference = (reference - mean) / deviation
    chosen = labels[:count]
    pipe = None if folder else load_shipped()
    for language in ("en", "zh"):
        if folder:
            pictures = [
                np.asarray(Image.open(folder / f"{language}-{i:03}.webp")) for i in range(len(chosen))
            ]
        else:
            pictures = draw(pipe, [things[i][language] for i in chosen])
        nearest = _nearest((_features(pictures) - mean) / deviation, reference)
        matches = list(zip(nearest, chosen, strict=True))
        same_item = np.mean([n == i for n, i in matches])
        same_subgroup = np.mean([things[n]["subgroup"] == things[i]["subgroup"] for n, i in matches])
        print(f"{language}: {same_item:.1%} same item, {same_subgroup:.1%} same subgroup, of {len(chosen)}")
