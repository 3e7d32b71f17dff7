"""What both trainings share: a budget in minutes, averaged weights, checkpoints, a log."""

import copy
import json
import math
import os
import time
from pathlib import Path

import torch
from torch import nn

from .paths import CHECKPOINTS


def configure(seed: int) -> None:
    torch.manual_seed(seed)


def fast_type() -> torch.dtype:
    """What this processor multiplies fastest: bfloat16 where it has AMX (2.3 times the samples), else float32."""
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def autocast() -> torch.autocast:
    """The forward pass in the fast type; weights, averages and sums stay in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=fast_type() == torch.bfloat16)


class Budget:
    """A run of so many minutes: short warm-up, then flat, then down to a tenth over the last part."""

    def __init__(self, minutes: float, warmup_steps: int, decay_share: float):
        self.started = time.monotonic()
        self.seconds = minutes * 60
        self.warmup_steps = warmup_steps
        self.decay_share = decay_share
        self.steps = 0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def spent(self) -> bool:
        return self.elapsed >= self.seconds

    def factor(self) -> float:
        """The learning rate's factor for the next step."""
        self.steps += 1
        warm = min(1.0, self.steps / self.warmup_steps)
        left = max(0.0, 1 - self.elapsed / self.seconds)
        down = min(1.0, left / self.decay_share)
        return warm * (0.05 + 0.95 * down)


class Window:
    """The mean loss and time of the steps since it was last read."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.steps, self.loss, self.started = 0, 0.0, time.monotonic()

    def add(self, loss: float) -> None:
        self.steps += 1
        self.loss += loss

    def read(self) -> tuple[float, float]:
        """Mean loss and seconds per step; starts over."""
        means = self.loss / self.steps, (time.monotonic() - self.started) / self.steps
        self.reset()
        return means


class Average:
    """Exponential moving average of a module's weights; short at first, so that it never lags a start."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.steps = 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - decay)


def save(name: str, state: dict) -> Path:
    """Writes a checkpoint; a cut in the middle leaves the former one whole."""
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    path = CHECKPOINTS / f"{name}.pt"
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)
    return path


def restore(name: str) -> dict | None:
    path = CHECKPOINTS / f"{name}.pt"
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def record(name: str, **figures: float) -> None:
    """Appends one line of figures to the training's history and prints it."""
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    rounded = {k: round(v, 5) if math.isfinite(v) else None for k, v in figures.items()}
    with (CHECKPOINTS / f"{name}.jsonl").open("a") as history:
        history.write(json.dumps(rounded) + "\n")
    print(" ".join(f"{k}={v}" for k, v in rounded.items()), flush=True)
