"""Draws a training's history, as its checkpoints' log has it, as one small PNG."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

from .paths import CHECKPOINTS

WIDTH, HEIGHT, MARGIN = 420, 240, 40
SERIES = (("vae", "psnr", "autoencoder: PSNR, dB"), ("denoiser", "loss", "denoiser: weighted velocity error"))


def _points(name: str, figure: str) -> list[tuple[int, float]]:
    lines = (CHECKPOINTS / f"{name}.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    return [(h["step"], h[figure]) for h in history if h.get(figure) is not None]


def curve(path: Path) -> None:
    canvas = Image.new("RGB", (WIDTH * len(SERIES), HEIGHT), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (part, figure, title) in enumerate(SERIES):
        points = _points(part, figure)
        steps, values = zip(*points, strict=True)
        low, high = min(values), max(values)
        left, right = i * WIDTH + MARGIN + 10, (i + 1) * WIDTH - 15
        top, bottom = MARGIN, HEIGHT - MARGIN
        xy = [(left + (right - left) * s / max(steps), bottom - (bottom - top) * (v - low) / (high - low or 1))
              for s, v in points]  # fmt: skip
        draw.line([(left, top), (left, bottom), (right, bottom)], fill="grey")
        draw.line(xy, fill=(45, 100, 215), width=2)
        draw.text((left, 12), title, fill="black")
        draw.text((left - 48, top - 5), f"{high:.3g}", fill="black")
        draw.text((left - 48, bottom - 6), f"{low:.3g}", fill="black")
        draw.text((right - 70, bottom + 8), f"{max(steps)} steps", fill="black")
    canvas.save(path, optimize=True)
