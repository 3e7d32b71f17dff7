"""Reference images and prompts for `cargo xtask model eval`.

They depend on the data and on `held_out.py`, not on the weights.
"""

import json
import math

import numpy as np
from PIL import Image

from . import fetch, held_out
from .captions import article
from .compose import COLOURS, compose, single
from .fetch import Item
from .paths import REFERENCES

SIDE = 32  # of a tile, in pixels
COLUMNS = 36  # of the atlas, in tiles
LABELS = 300  # labels that the evaluation generates images for
PER_KIND = 10  # combinations of each kind in each language


def write() -> None:
    """Writes the training images as tiles, their names, the evaluation's labels, and the combinations."""
    items, pictures = fetch.load()
    REFERENCES.mkdir(exist_ok=True)
    atlas = Image.new("RGB", (COLUMNS * SIDE, math.ceil(len(items) / COLUMNS) * SIDE), "white")
    for item in items:
        on_white = compose(
            pictures, single(np.random.default_rng(0), item.index, plain=True), 0, pictures.shape[1]
        )
        tile = Image.fromarray(on_white).resize((SIDE, SIDE), Image.Resampling.BOX)
        atlas.paste(tile, (item.index % COLUMNS * SIDE, item.index // COLUMNS * SIDE))
    atlas.save(REFERENCES / "tiles.webp", lossless=True, quality=100, method=6)
    things = [{"en": i.en, "zh": i.zh, "subgroup": i.subgroup} for i in items]
    labels = np.random.default_rng(11).permutation(len(items))[:LABELS].tolist()
    _write("things.json", {"labels": labels, "things": things})
    _write("combinations.json", combinations(items))
    size = sum(file.stat().st_size for file in REFERENCES.iterdir())
    print(f"{len(items)} tiles, {len(labels)} labels, {size / 1e6:.2f} MB")


def _write(name: str, content: object) -> None:
    (REFERENCES / name).write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n")


def load() -> tuple[list[dict], list[int], np.ndarray]:
    """The items, the indices of the evaluation's labels, and the tiles of the items (N×32×32×3, uint8)."""
    known = json.loads((REFERENCES / "things.json").read_text())
    with Image.open(REFERENCES / "tiles.webp") as atlas:
        rows = np.asarray(atlas.convert("RGB")).reshape(-1, SIDE, COLUMNS, SIDE, 3)
    tiles = rows.swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    return known["things"], known["labels"], tiles[: len(known["things"])]


def combinations(items: list[Item]) -> list[str]:
    """Prompts of the held-out combinations: pairs, then subjects on colours; English before Chinese."""
    pairs, coloured = held_out.pair_indices(items), held_out.coloured_indices(items)

    def english(index: int) -> str:
        return article(items[index].en)

    prompts = [f"{english(a)} and {english(b)}" for a, b in pairs[:PER_KIND]]
    prompts += [f"{items[a].zh}和{items[b].zh}" for a, b in pairs[PER_KIND:]]
    prompts += [
        f"{english(i)} on {article(COLOURS[colour][0])} background" for i, colour in coloured[:PER_KIND]
    ]
    prompts += [f"{COLOURS[colour][1]}背景上的{items[i].zh}" for i, colour in coloured[PER_KIND:]]
    return prompts
