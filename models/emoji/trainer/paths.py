"""Where things live: the repository holds code, shipped weights and what judges them, the cache holds all the rest."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
WEIGHTS = HERE / "weights"
REFERENCES = HERE / "references"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tintype" / "emoji"
RAW = CACHE / "raw"
DATA = CACHE / "data"
CHECKPOINTS = CACHE / "checkpoints"
SHEETS = CACHE / "sheets"
