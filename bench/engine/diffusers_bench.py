"""Measures diffusers on the parts of a model folder. The engine's `bench_engine` example measures tintype.

    python bench/engine/diffusers_bench.py FOLDER [WIDTH HEIGHT [STEPS]]

Prints one JSON object: seconds for the text encoder, for one denoising step with guidance (the median)
and for the decoder. `cpu` has the same in seconds of processor time, which depends less on other work on
the machine.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer


def seconds(work) -> tuple[tuple[float, float], object]:
    """Runs `work`. Returns its wall-clock time and processor time in seconds, and its result."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = work()
    return (round(time.perf_counter() - start, 3), round(time.process_time() - start_cpu, 3)), result


@torch.inference_mode()
def main(folder: Path, width: int | None, height: int | None, steps: int) -> None:
    vae_kind = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    vae_class = vae_kind[json.loads((folder / "vae/config.json").read_text())["_class_name"]]
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    vae = vae_class.from_pretrained(folder / "vae").eval()
    text = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    rows = height // scale if height else unet.config.sample_size
    columns = width // scale if width else unet.config.sample_size
    encode = lambda: text(  # noqa: E731
        tokenizer(["", "a cyborg tiger"], padding="max_length", truncation=True, return_tensors="pt").input_ids
    )[0]
    encode()
    text_seconds, context = seconds(encode)
    latents = torch.randn(1, unet.config.in_channels, rows, columns)

    def step(timestep: int) -> torch.Tensor:
        negative, positive = unet(latents.repeat(2, 1, 1, 1), timestep, context).sample.chunk(2)
        return negative + 7.5 * (positive - negative)

    step_seconds = sorted(seconds(lambda: step(999 - i))[0] for i in range(steps))[steps // 2]
    vae_seconds, _ = seconds(lambda: vae.decode(latents / vae.config.scaling_factor).sample)
    print(
        json.dumps(
            {
                "engine": f"diffusers on PyTorch {torch.__version__}",
                "size": f"{columns * scale}x{rows * scale}",
                "threads": torch.get_num_threads(),
                "text_encode": text_seconds[0],
                "step": step_seconds[0],
                "vae_decode": vae_seconds[0],
                "cpu": {"text_encode": text_seconds[1], "step": step_seconds[1], "vae_decode": vae_seconds[1]},
                "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            }
        )
    )


if __name__ == "__main__":
    sizes = [int(number) for number in sys.argv[2:]]
    main(Path(sys.argv[1]), *(sizes[:2] or (None, None)), *(sizes[2:3] or [3]))
