"""Folders. The repository has code, shipped weights and references; the cache has everything else."""

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
