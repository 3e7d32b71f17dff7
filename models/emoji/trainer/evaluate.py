"""How often the picture drawn for a label is that label's picture, by its nearest neighbour.

`cargo xtask model eval` does the same with tintype's own pictures. Here it is as diffusers draws them;
or, given the pictures that the other kept, a second opinion on those.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from . import references
from .export import shipped
from .sheet import draw


def _features(pictures: list[np.ndarray]) -> np.ndarray:
    """Per picture 32×32 RGB and the gradient magnitude of its luminance: N×4096, not yet standardised."""
    small = np.stack([np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BOX)) for p in pictures])
    rgb = small / 255
    dy, dx = np.gradient(rgb @ np.array([0.299, 0.587, 0.114]), axis=(1, 2))
    return np.concatenate([rgb.reshape(len(rgb), -1), np.hypot(dy, dx).reshape(len(rgb), -1)], 1)


def _nearest(drawn: np.ndarray, known: np.ndarray) -> list[int]:
    return [int(np.square(known - one).sum(1).argmin()) for one in drawn]


def evaluate(count: int, kept: Path | None) -> None:
    """Prints the share of right pictures, and of right subgroups, for `count` labels per language."""
    things, labels, tiles = references.load()
    known = _features(list(tiles))
    mean, deviation = known.mean(0), known.std(0) + 1e-3
    known = (known - mean) / deviation
    chosen = labels[:count]
    pipe = None if kept else shipped()
    for language in ("en", "zh"):
        if kept:
            pictures = [np.asarray(Image.open(kept / f"{language}-{i:03}.webp")) for i in range(len(chosen))]
        else:
            pictures = draw(pipe, [things[i][language] for i in chosen])
        nearest = _nearest((_features(pictures) - mean) / deviation, known)
        same = np.mean([n == i for n, i in zip(nearest, chosen, strict=True)])
        kin = np.mean([things[n]["subgroup"] == things[i]["subgroup"] for n, i in zip(nearest, chosen, strict=True)])
        print(f"{language}: {same:.1%} the same picture, {kin:.1%} the same subgroup, of {len(chosen)}")
