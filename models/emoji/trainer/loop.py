"""Shared parts of all training loops: time budget, averaged weights, checkpoints, history."""

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


def fastest_dtype() -> torch.dtype:
    """The type that this CPU multiplies fastest: bfloat16 with AMX (2.3 times the speed), else float32."""
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def autocast() -> torch.autocast:
    """Runs the forward pass in the fastest type. Weights, averages and sums stay in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=fastest_dtype() == torch.bfloat16)


class Budget:
    """The time budget of a run, and its learning-rate schedule: warm-up, constant, then decay to 5%."""

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
    def is_spent(self) -> bool:
        return self.elapsed >= self.seconds

    def learning_rate_factor(self) -> float:
        """The factor of the learning rate for the next step. Counts the step."""
        self.steps += 1
        warmup = min(1.0, self.steps / self.warmup_steps)
        remaining = max(0.0, 1 - self.elapsed / self.seconds)
        decay = min(1.0, remaining / self.decay_share)
        return warmup * (0.05 + 0.95 * decay)


class RunningMean:
    """Mean loss and time per step since the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.steps, self.loss, self.started = 0, 0.0, time.monotonic()

    def add(self, loss: float) -> None:
        self.steps += 1
        self.loss += loss

    def take(self) -> tuple[float, float]:
        """Returns mean loss and seconds per step, and resets."""
        means = self.loss / self.steps, (time.monotonic() - self.started) / self.steps
        self.reset()
        return means


class Average:
    """Exponential moving average of a module's weights, over fewer steps at the start of a run."""

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
    """Writes a checkpoint atomically: an interrupted write leaves the previous checkpoint intact."""
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    path = CHECKPOINTS / f"{name}.pt"
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)
    return path


def restore(name: str) -> dict | None:
    """The checkpoint of this name, if there is one."""
    path = CHECKPOINTS / f"{name}.pt"
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def record(name: str, **figures: float) -> None:
    """Appends one line of figures to the training history and prints it."""
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    rounded = {k: round(v, 5) if math.isfinite(v) else None for k, v in figures.items()}
    with (CHECKPOINTS / f"{name}.jsonl").open("a") as history:
        history.write(json.dumps(rounded) + "\n")
    print(" ".join(f"{k}={v}" for k, v in rounded.items()), flush=True)
