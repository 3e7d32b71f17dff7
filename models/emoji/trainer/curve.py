"""Plots the training history from the checkpoints' logs as one small PNG."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

from .paths import CHECKPOINTS

WIDTH, HEIGHT, MARGIN = 420, 240, 40
SERIES = (("vae", "psnr", "autoencoder: PSNR, dB"),
          ("denoiser", "sketch", "text encoder alone: error of its sketches"),
          ("denoiser", "loss", "denoiser: weighted velocity error"),
          ("denoiser", "held_out", "denoiser: error on held-out pairs"))  # fmt: skip


def _points(name: str, figure: str) -> list[tuple[int, float]]:
    path = CHECKPOINTS / f"{name}.jsonl"
    history = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(h["step"], h[figure]) for h in history if h.get(figure) is not None]


def draw_curves(path: Path) -> None:
    """Writes the plot. It covers only the part of the training that ran with this cache."""
    drawn = [(title, points) for part, figure, title in SERIES if len(points := _points(part, figure)) > 1]
    canvas = Image.new("RGB", (WIDTH * len(drawn), HEIGHT), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (title, points) in enumerate(drawn):
        steps, values = zip(*points, strict=True)
        first, last = min(steps), max(steps)
        low, high = min(values), max(values)
        left, right = i * WIDTH + MARGIN + 10, (i + 1) * WIDTH - 15
        top, bottom = MARGIN, HEIGHT - MARGIN
        xy = [(left + (right - left) * (s - first) / (last - first or 1),
               bottom - (bottom - top) * (v - low) / (high - low or 1)) for s, v in points]  # fmt: skip
        draw.line([(left, top), (left, bottom), (right, bottom)], fill="grey")
        draw.line(xy, fill=(45, 100, 215), width=2)
        draw.text((left, 12), title, fill="black")
        draw.text((left - 48, top - 5), f"{high:.3g}", fill="black")
        draw.text((left - 48, bottom - 6), f"{low:.3g}", fill="black")
        draw.text((left, bottom + 8), f"step {first}", fill="black")
        draw.text((right - 60, bottom + 8), f"step {last}", fill="black")
    canvas.save(path, optimize=True)
