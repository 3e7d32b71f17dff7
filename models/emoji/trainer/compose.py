"""Composes training pictures: cut-outs, scaled, mirrored and placed on plain backgrounds."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

# English name, Chinese name, sRGB. White comes first: it is the background of a caption that names none.
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
    """Where one cut-out goes: its centre and size as fractions of the picture."""

    index: int
    x: float
    y: float
    size: float
    mirrored: bool


def compose(pictures: np.ndarray, placements: list[Placement], background: int, size: int) -> np.ndarray:
    """A size×size×3 RGB picture (uint8) of the placed cut-outs on one of `COLOURS`."""
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
    """One cut-out: exactly as drawn when `plain`, else mirrored at times, scaled and moved a little."""
    if plain:
        return [Placement(index, 0.5, 0.5, 1.0, False)]
    size = rng.uniform(0.72, 1.0)
    slack = (1.0 - size) / 2
    x, y = 0.5 + rng.uniform(-slack, slack, 2)
    return [Placement(index, x, y, size, bool(rng.random() < 0.5))]


def pair(rng: np.random.Generator, left: int, right: int) -> list[Placement]:
    """Two cut-outs side by side, in the order of the caption, mirrored at times, scaled and moved a little."""
    sizes, ys, mirrored = rng.uniform(0.48, 0.56, 2), 0.5 + rng.uniform(-0.06, 0.06, 2), rng.random(2) < 0.3
    return [
        Placement(left, 0.26, ys[0], sizes[0], bool(mirrored[0])),
        Placement(right, 0.74, ys[1], sizes[1], bool(mirrored[1])),
    ]


def beside(left: int, right: int) -> list[Placement]:
    """Two cut-outs, each in the middle of its half and always as large.

    They leave the middle free, so that halves of such pictures may be exchanged; and a thing has one look
    in each half, which is learned from a few pictures, where a thing of any size anywhere stays soft.
    """
    return [Placement(left, 0.25, 0.5, 0.48, False), Placement(right, 0.75, 0.5, 0.48, False)]
