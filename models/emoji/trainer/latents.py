"""Encodes the composed images once, so that the denoiser's training only reads latents."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from . import fetch
from .compose import compose
from .fetch import Item
from .held_out import is_held_out_pair
from .hyperparameters import HPARAMS
from .loop import autocast
from .paths import DATA, WEIGHTS
from .plan import build_plan
from .priority_labels import PRIORITY_LABELS
from .vae import encode, to_tensor

# What an image shows: the items from left to right, and the index of the background in COLOURS.
Content = tuple[list[Item], int]


@torch.no_grad()
def write_cache(vae: AutoencoderKL, side: int, one_in: int = 1) -> None:
    """Writes `latents-SIDE.npz`: N×16×h×w float16 latents of about unit variance, and the content of each.

    With `one_in` only every so many-th composed image is encoded, but all plain ones. The latents of
    every size are scaled by the factor of the first size that was cached, because all sizes train the
    same denoiser.
    """
    _, pictures = fetch.load()
    plan = [p for i, p in enumerate(build_plan()) if i % one_in == 0 or p.kind == "plain"]
    vae.to(memory_format=torch.channels_last)
    chunks = []
    for start in range(0, len(plan), 32):
        batch = plan[start : start + 32]
        x = to_tensor([compose(pictures, p.placements, p.background, side) for p in batch])
        with autocast():  # bfloat16 changes the latents by half a percent
            chunks.append(encode(vae, x.to(memory_format=torch.channels_last)).float())
    latents = torch.cat(chunks)
    scale = scaling_factor() or 1 / latents.std().item()
    placements = [p.placements for p in plan]
    np.savez(
        path(side),
        latents=(latents * scale).half().numpy(),
        scaling_factor=np.float32(scale),
        items=np.array([[p[0].index, p[-1].index if len(p) > 1 else -1] for p in placements], np.int32),
        backgrounds=np.array([p.background for p in plan], np.int32),
        kinds=np.array([p.kind for p in plan]),
    )
    deviations = latents.std((0, 2, 3)).mul(scale)
    print(f"{len(plan)} latents, scaling_factor {scale:.4f}, standard deviation per channel", deviations)


def path(side: int) -> Path:
    return DATA / f"latents-{side}.npz"


def scaling_factor() -> float | None:
    """The factor that scaled all cached latents; without a cache, that of the shipped model, if any."""
    for file in sorted(DATA.glob("latents-*.npz")):
        return float(np.load(file)["scaling_factor"])
    config = WEIGHTS / "vae" / "config.json"
    return json.loads(config.read_text())["scaling_factor"] if config.exists() else None


class CachedLatents:
    """The cached latents of one size, and how training draws samples from them."""

    def __init__(self, side: int) -> None:
        stored = np.load(path(side))
        self.latents = torch.from_numpy(stored["latents"])
        self.item_indices, self.backgrounds, kinds = stored["items"], stored["backgrounds"], stored["kinds"]
        self.rows = {kind: np.flatnonzero(kinds == kind) for kind in np.unique(kinds)}
        self.items, _ = fetch.load()
        priority = np.isin(self.item_indices[:, 0], [i.index for i in self.items if i.en in PRIORITY_LABELS])
        # The probability that training draws each row.
        self.weights = np.zeros(len(kinds))
        for kind, kind_share in HPARAMS.kind_shares.items():
            for selected, share in (
                (priority, HPARAMS.priority_share),
                (~priority, 1 - HPARAMS.priority_share),
            ):
                rows = np.flatnonzero((kinds == kind) & selected)
                self.weights[rows] = kind_share * share / len(rows)
        # For each pair, the pairs whose right half can replace its own: same background, same drawing
        # probability.
        self.exchanges: dict[int, np.ndarray] = {}
        for background in np.unique(self.backgrounds):
            for selected in (priority, ~priority):
                rows = np.flatnonzero((kinds == "pair") & (self.backgrounds == background) & selected)
                self.exchanges |= dict.fromkeys(rows.tolist(), rows)

    def sample(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[Content]]:
        """`count` latents (B×16×h×w, float32) and the content of each.

        A pair gets the right half of another pair. The middle of a pair is empty, so its latents can be
        cut there. Thousands of composed pairs therefore give millions of different ones.
        """
        rows = rng.choice(len(self.weights), count, p=self.weights)
        clean = self.latents[rows].float()
        contents: list[Content] = []
        for i, row in enumerate(rows.tolist()):
            left, right = self.item_indices[row].tolist()
            if row in self.exchanges:
                other = int(rng.choice(self.exchanges[row]))
                new_right = int(self.item_indices[other, 1])
                if new_right != left and not is_held_out_pair(left, new_right):
                    half = clean.shape[-1] // 2
                    clean[i, :, :, half:] = self.latents[other, :, :, half:]
                    right = new_right
            items = [self.items[index] for index in (left, right) if index >= 0]
            contents.append((items, int(self.backgrounds[row])))
        return clean, contents

    def items_of(self, row: int) -> list[Item]:
        """The items of this row of the cache, from left to right."""
        return [self.items[i] for i in self.item_indices[row] if i >= 0]
