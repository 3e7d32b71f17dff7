"""Encodes composed pictures once, so that the denoiser trains on latents that only have to be read."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from . import fetch
from .captions import held_out
from .compose import COLOURS, Placement, compose, pair, single
from .fetch import Item
from .first import FIRST
from .paths import DATA, WEIGHTS
from .sizes import SIZES
from .vae import encode, to_tensor

# Composed pictures per item, besides the plain one on white.
VARIED, COLOURED, PAIRED = 2, 4, 6
# Of the things in first.py: pairs of two of them, and more pictures on each of the colours that they are shown on.
FIRST_PAIRED, FIRST_COLOURED = 18, 2
HELD_OUT = 64
PAIRED_GROUPS = {"smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places",
                 "activities", "objects"}  # fmt: skip
SIDED = ("left", "right")


def planned(seed: int = 3) -> list[tuple[list[Placement], int, str]]:
    """What to compose: placements, background, and the kind by which training draws."""
    rng = np.random.default_rng(seed)
    items, _ = fetch.load()
    pairable = [i.index for i in items if i.group in PAIRED_GROUPS]
    known = set(pairable)
    plan: list[tuple[list[Placement], int, str]] = []

    def one(item: Item, background: int, kind: str) -> None:
        place = single(rng, item.index, plain=False)
        if any(side in item.en for side in SIDED):  # mirrored, it would be the other one
            place = [Placement(p.index, p.x, p.y, p.size, False) for p in place]
        plan.append((place, background, kind))

    for item in items:
        plan.append((single(rng, item.index, plain=True), 0, "plain"))
        for _ in range(VARIED):
            one(item, 0, "varied")
        for background in rng.permutation(len(COLOURS) - 1)[:COLOURED] + 1:
            one(item, int(background), "coloured")
        for _ in range(PAIRED if item.index in known else 0):
            other = item.index
            while other == item.index or held_out(item.index, other):
                other = int(rng.choice(pairable))
            background = 0 if rng.random() < 0.7 else int(rng.integers(1, len(COLOURS)))
            plan.append((pair(rng, item.index, other), background, "paired"))
    while sum(kind == "held out" for *_, kind in plan) < HELD_OUT:
        left, right = (int(i) for i in rng.choice(pairable, 2))
        if left != right and held_out(left, right):
            plan.append((pair(rng, left, right), 0, "held out"))
    # Last, and of nothing that was not shown together before but pairs on white: so what is left for the evaluation's
    # combinations stays.
    first = [i for i in items if i.en in FIRST and i.index in known]
    shown = [(p[0].index, background) for p, background, kind in plan if kind == "coloured"]
    for item in first:
        others = [o.index for o in first if o is not item and not held_out(item.index, o.index)]
        for other in rng.choice(others, FIRST_PAIRED, replace=False):
            plan.append((pair(rng, item.index, int(other)), 0, "paired"))
        for background in [b for index, b in shown if index == item.index] * FIRST_COLOURED:
            one(item, background, "coloured")
    return plan


@torch.no_grad()
def cache(vae: AutoencoderKL, side: int) -> None:
    """Writes `latents-SIDE.npz`: N×16×h×w float16 latents of about unit variance, and what each shows.

    Pictures of every size are scaled by the factor of the first size that was cached: they are for one denoiser.
    """
    _, pictures = fetch.load()
    plan = planned()
    chunks = []
    for start in range(0, len(plan), 32):
        x = to_tensor([compose(pictures, *p[:2], side) for p in plan[start : start + 32]])
        chunks.append(encode(vae, x))
    latents = torch.cat(chunks)
    scale = scaling_factor() or 1 / latents.std().item()
    np.savez(
        path(side),
        latents=(latents * scale).half().numpy(),
        scaling_factor=np.float32(scale),
        items=np.array([[p[0].index, p[-1].index if len(p) > 1 else -1] for p, _, _ in plan], np.int32),
        backgrounds=np.array([b for _, b, _ in plan], np.int32),
        kinds=np.array([k for _, _, k in plan]),
    )
    print(f"{len(plan)} latents, scaling_factor {scale:.4f}, channel deviations", latents.std((0, 2, 3)).mul(scale))


def path(side: int) -> Path:
    return DATA / f"latents-{side}.npz"


def scaling_factor() -> float | None:
    """The factor that all cached latents were scaled by, else that of the shipped model, which a training resumes."""
    for file in sorted(DATA.glob("latents-*.npz")):
        return float(np.load(file)["scaling_factor"])
    config = WEIGHTS / "vae" / "config.json"
    return json.loads(config.read_text())["scaling_factor"] if config.exists() else None


class Latents:
    """The cache, and how training draws from it."""

    def __init__(self, side: int) -> None:
        stored = np.load(path(side))
        self.latents = torch.from_numpy(stored["latents"])
        self.items, self.backgrounds = stored["items"], stored["backgrounds"]
        self.rows = {kind: np.flatnonzero(stored["kinds"] == kind) for kind in np.unique(stored["kinds"])}
        known, _ = fetch.load()
        first = np.array([i.index for i in known if i.en in FIRST])
        self.weights = np.zeros(len(self.items))
        for kind, share in SIZES.shares.items():
            rows = self.rows[kind]
            preferred = np.isin(self.items[rows, 0], first)
            self.weights[rows[preferred]] = share * SIZES.first / preferred.sum()
            self.weights[rows[~preferred]] = share * (1 - SIZES.first) / (~preferred).sum()

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, np.ndarray]:
        """`count` latents (B×16×h×w, float32) and their rows in the cache."""
        rows = rng.choice(len(self.weights), count, p=self.weights)
        return self.latents[rows].float(), rows

    def of(self, items: list[Item], row: int) -> list[Item]:
        """The items that this row of the cache shows, left to right."""
        return [items[i] for i in self.items[row] if i >= 0]
