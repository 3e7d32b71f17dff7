"""Fetches the emoji images and their names, filters them, and decodes the images once into one array.

Images: Microsoft's Fluent Emoji 3D, packaged as `@lobehub/fluent-emoji-3d`. Names, keywords and groups:
`emojibase-data` (Unicode CLDR). LICENSE-DATA.md has the licences.
"""

import json
import re
import subprocess
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .paths import DATA, RAW

PACKAGES = {"fluent": "@lobehub/fluent-emoji-3d@1.1.0", "emojibase": "emojibase-data@17.0.0"}

# Excluded groups and subgroups (CLDR keys): flags, plates with letters, skin and hair components, families
# (grey silhouettes), and symbols that prompts do not name.
DROPPED_GROUPS = {"component", "flags"}
DROPPED_SUBGROUPS = {
    "family", "keycap", "alphanum", "gender", "math", "punctuation", "currency",
    "av-symbol", "transport-sign", "person-symbol",
}  # fmt: skip
CLOCK = re.compile(r"o’clock|-thirty")
# ZWJ sequences that start with man or woman, or end in a gender sign: gendered variants of a neutral emoji,
# which is kept.
GENDERED = re.compile(r"^1F46[89]-(1F3F|200D)|200D-264[02]")


@dataclass(frozen=True)
class Item:
    """One emoji with its names. `index` is the row of its image in `pictures.npy`."""

    index: int
    hexcode: str
    en: str
    zh: str
    en_tags: list[str]
    zh_tags: list[str]
    group: str
    subgroup: str


def _download(name: str, package: str) -> Path:
    target = RAW / name
    if not target.exists():
        RAW.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=RAW, check=True, text=True, stdout=subprocess.PIPE
        )
        with tarfile.open(RAW / packed.stdout.split()[-1]) as archive:
            archive.extractall(target, filter="data")
    return target / "package"


def _wanted(entry: dict, group: str, subgroup: str) -> bool:
    return not (
        group in DROPPED_GROUPS
        or subgroup in DROPPED_SUBGROUPS
        or CLOCK.search(entry["label"])
        or GENDERED.search(entry["hexcode"])
    )


def _asset(folder: Path, hexcode: str) -> Path | None:
    code = hexcode.lower()
    names = (code, code.replace("-fe0f", ""), f"{code}-fe0f")
    return next((folder / f"{n}.webp" for n in names if (folder / f"{n}.webp").exists()), None)


def fetch() -> None:
    """Writes `pictures.npy` (N×256×256×4 RGBA, uint8) and `items.json` to the cache."""
    assets = _download("fluent", PACKAGES["fluent"]) / "assets"
    emojibase = _download("emojibase", PACKAGES["emojibase"])
    names = json.loads((emojibase / "meta/groups.json").read_text())
    chinese = {e["hexcode"]: e for e in json.loads((emojibase / "zh/data.json").read_text())}

    items: list[Item] = []
    pictures: list[np.ndarray] = []
    for entry in json.loads((emojibase / "en/data.json").read_text()):
        if "group" not in entry:  # regional indicators
            continue
        group = names["groups"][str(entry["group"])]
        subgroup = names["subgroups"][str(entry["subgroup"])]
        asset = _asset(assets, entry["hexcode"])
        if asset is None or not _wanted(entry, group, subgroup):
            continue
        zh = chinese[entry["hexcode"]]
        items.append(
            Item(len(items), entry["hexcode"], entry["label"], zh["label"],
                 entry.get("tags", []), zh.get("tags", []), group, subgroup)
        )  # fmt: skip
        with Image.open(asset) as picture:
            pictures.append(np.asarray(picture.convert("RGBA").resize((256, 256), Image.Resampling.LANCZOS)))

    DATA.mkdir(parents=True, exist_ok=True)
    np.save(DATA / "pictures.npy", np.stack(pictures))
    (DATA / "items.json").write_text(json.dumps([asdict(i) for i in items], ensure_ascii=False, indent=0))
    print(f"{len(items)} images")


def load() -> tuple[list[Item], np.ndarray]:
    """The items and their images (N×256×256×4 RGBA, uint8, memory-mapped)."""
    if not (DATA / "items.json").exists():
        fetch()
    items = [Item(**i) for i in json.loads((DATA / "items.json").read_text())]
    return items, np.load(DATA / "pictures.npy", mmap_mode="r")
