"""Composes training images: emoji cut-outs, scaled, mirrored and placed on plain backgrounds."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

# English name, Chinese name, sRGB. White is first: it is the background of captions without a colour.
COLOURS: list[tuple[str, str, tuple[int, int, int]]] = [
    ("white", "白色", (255, 255, 255)),
    ("black", "黑色", (16, 16, 18)),
    ("grey", "灰色", (150, 152, 156)),
    ("red", "红色", (214, 40, 48)),
    ("orange", "橙色", (245, 140, 30)),
    ("yellow", "黄色", (250, 214, 60)),
    ("green", "绿色", (60, 165, 80)),
    ("blue", "蓝色", (45, 100, 215)),
    ("light blue", "浅蓝色", (160, 210, 245)),
    ("purple", "紫色", (130, 70, 190)),
    ("pink", "粉色", (250, 165, 195)),
    ("brown", "棕色", (125, 82, 55)),
]


@dataclass(frozen=True)
class Placement:
    """The place of one cut-out: its centre and size as fractions of the image's side."""

    index: int  # of the item
    x: float
    y: float
    size: float
    mirrored: bool


def compose(pictures: np.ndarray, placements: list[Placement], background: int, size: int) -> np.ndarray:
    """A size×size×3 RGB image (uint8) of the cut-outs on `COLOURS[background]`."""
    canvas = Image.new("RGB", (size, size), COLOURS[background][2])
    for place in placements:
        side = max(8, round(place.size * size))
        cutout = Image.fromarray(pictures[place.index])
        if side != cutout.width:
            cutout = cutout.resize((side, side), Image.Resampling.BICUBIC)
        if place.mirrored:
            cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        canvas.paste(cutout, (round(place.x * size - side / 2), round(place.y * size - side / 2)), cutout)
    return np.asarray(canvas)


def single(rng: np.random.Generator, index: int, plain: bool) -> list[Placement]:
    """One cut-out: unchanged if `plain`, else scaled and moved a little and mirrored in half of the cases."""
    if plain:
        return [Placement(index, 0.5, 0.5, 1.0, False)]
    size = rng.uniform(0.72, 1.0)
    slack = (1.0 - size) / 2
    x, y = 0.5 + rng.uniform(-slack, slack, 2)
    return [Placement(index, x, y, size, bool(rng.random() < 0.5))]


def random_pair(rng: np.random.Generator, left: int, right: int) -> list[Placement]:
    """Two cut-outs side by side, scaled and moved a little and sometimes mirrored."""
    sizes, ys, mirrored = rng.uniform(0.48, 0.56, 2), 0.5 + rng.uniform(-0.06, 0.06, 2), rng.random(2) < 0.3
    return [
        Placement(left, 0.26, ys[0], sizes[0], bool(mirrored[0])),
        Placement(right, 0.74, ys[1], sizes[1], bool(mirrored[1])),
    ]


def fixed_pair(left: int, right: int) -> list[Placement]:
    """Two cut-outs of a fixed size, each in the middle of its half.

    The middle of the image is empty, so halves can be swapped between such images. A subject looks the
    same in every pair, so a few images are enough to learn it. With random sizes and places, subjects
    stay soft.
    """
    return [Placement(left, 0.25, 0.5, 0.48, False), Placement(right, 0.75, 0.5, 0.48, False)]
