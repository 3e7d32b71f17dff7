"""Encodes composed pictures once, so that the denoiser trains on latents that only have to be read."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from . import fetch
from .captions import held_out
from .compose import compose
from .fetch import Item
from .first import FIRST
from .loop import autocast
from .paths import DATA, WEIGHTS
from .plan import planned
from .sizes import SIZES
from .vae import encode, to_tensor

# Items from left to right, and their background.
Shown = tuple[list[Item], int]


@torch.no_grad()
def cache(vae: AutoencoderKL, side: int, one_in: int = 1) -> None:
    """Writes `latents-SIDE.npz`: N×16×h×w float16 latents of about unit variance, and what each shows.

    Only one in so many of the composed pictures, and all the plain ones. Pictures of every size are scaled by the
    factor of the first size that was cached: they are for one denoiser.
    """
    _, pictures = fetch.load()
    plan = [p for i, p in enumerate(planned()) if i % one_in == 0 or p[2] == "plain"]
    vae.to(memory_format=torch.channels_last)
    chunks = []
    for start in range(0, len(plan), 32):
        x = to_tensor([compose(pictures, *p[:2], side) for p in plan[start : start + 32]])
        with autocast():  # in bfloat16 the latents are half a percent off
            chunks.append(encode(vae, x.to(memory_format=torch.channels_last)).float())
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
        self.shown, self.backgrounds, kinds = stored["items"], stored["backgrounds"], stored["kinds"]
        self.rows = {kind: np.flatnonzero(kinds == kind) for kind in np.unique(kinds)}
        self.items, _ = fetch.load()
        preferred = np.isin(self.shown[:, 0], [i.index for i in self.items if i.en in FIRST])
        self.weights = np.zeros(len(kinds))
        for kind, share in SIZES.shares.items():
            for which, part in ((preferred, SIZES.first), (~preferred, 1 - SIZES.first)):
                rows = np.flatnonzero((kinds == kind) & which)
                self.weights[rows] = share * part / len(rows)
        # The pairs with which one may exchange its right half: those on its background, drawn as often.
        self.exchanges: dict[int, np.ndarray] = {}
        for background in np.unique(self.backgrounds):
            for which in (preferred, ~preferred):
                rows = np.flatnonzero((kinds == "pair") & (self.backgrounds == background) & which)
                self.exchanges |= dict.fromkeys(rows.tolist(), rows)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[Shown]]:
        """`count` latents (B×16×h×w, float32) and what each shows.

        Pairs with a free middle get another's right half, as their latents are apart too: so thousands of composed
        pairs show millions.
        """
        rows = rng.choice(len(self.weights), count, p=self.weights)
        clean = self.latents[rows].float()
        shown: list[Shown] = []
        for i, row in enumerate(rows.tolist()):
            left, right = self.shown[row].tolist()
            if row in self.exchanges:
                other = int(rng.choice(self.exchanges[row]))
                stranger = int(self.shown[other, 1])
                if stranger != left and not held_out(left, stranger):
                    half = clean.shape[-1] // 2
                    clean[i, :, :, half:] = self.latents[other, :, :, half:]
                    right = stranger
            things = [self.items[index] for index in (left, right) if index >= 0]
            shown.append((things, int(self.backgrounds[row])))
        return clean, shown

    def of(self, row: int) -> list[Item]:
        """The items that this row of the cache shows, left to right."""
        return [self.items[i] for i in self.shown[row] if i >= 0]
