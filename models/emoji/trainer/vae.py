"""The autoencoder (diffusers' AutoencoderKL): images to latents of 16 channels and back."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from . import fetch
from .compose import COLOURS, compose, random_pair, single
from .hyperparameters import HPARAMS
from .loop import Average, Budget, RunningMean, configure, record, restore, save
from .muon import Optimisers
from .paths import SHEETS, WEIGHTS

LEARNING_RATE = 1.5e-3
CHECKPOINT_SECONDS = 300


def build() -> AutoencoderKL:
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(HPARAMS.vae_channels),
        up_block_types=("UpDecoderBlock2D",) * len(HPARAMS.vae_channels),
        block_out_channels=HPARAMS.vae_channels,
        layers_per_block=1,
        latent_channels=HPARAMS.latent_channels,
        norm_num_groups=HPARAMS.vae_groups,
        mid_block_add_attention=False,
        sample_size=HPARAMS.image_side,
    )
    # Every residual block starts as the identity. The remaining network is shallow and nearly linear, so it
    # learns colours and outlines quickly.
    for name, weight in model.named_parameters():
        if ".conv2." in name:
            torch.nn.init.zeros_(weight)
    return model


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    """Converts uint8 H×W×3 images to a B×3×H×W tensor in −1…1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def to_pictures(x: Tensor) -> np.ndarray:
    """The inverse of `to_tensor`: B×H×W×3 uint8."""
    return x.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()


def load_shipped() -> AutoencoderKL | None:
    """Loads the autoencoder in weights/, if there is one."""
    folder = WEIGHTS / "vae"
    if not folder.exists():
        return None
    return AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False)


def encode(vae: AutoencoderKL, x: Tensor) -> Tensor:
    """Encodes B×3×H×W to the posterior's mean, B×16×H/16×W/16. Training does not sample."""
    return vae.encode(x).latent_dist.mean


def _random_image(rng: np.random.Generator, pictures: np.ndarray, size: int) -> np.ndarray:
    """A composed training image, size×size×3: 80% single cut-outs and 20% pairs, half of them on white."""
    background = 0 if rng.random() < 0.5 else int(rng.integers(1, len(COLOURS)))
    if rng.random() < 0.2:
        left, right = rng.integers(0, len(pictures), 2)
        return compose(pictures, random_pair(rng, int(left), int(right)), background, size)
    places = single(rng, int(rng.integers(len(pictures))), rng.random() < 0.4)
    return compose(pictures, places, background, size)


def _crops(rng: np.random.Generator, pictures: np.ndarray, side: int, size: int) -> Tensor:
    """Crops of side×side pixels: 16 of 64 or 8 of 128. Half of them come from images smaller than `size`."""
    crops = []
    while len(crops) < 1024 // side:
        image_size = size if rng.random() < 0.5 else int(rng.integers(side, size + 1))
        picture = _random_image(rng, pictures, image_size)
        y, x = rng.integers(0, len(picture) - side + 1, 2)
        crop = picture[y : y + side, x : x + side]
        if crop.std() > 12:  # skips crops that are nearly all background
            crops.append(crop)
    return to_tensor(crops)


def reconstruction_loss(x: Tensor, y: Tensor) -> Tensor:
    """L1 and squared error, plus L1 at a quarter and an eighth of the resolution, for colour and shape."""
    coarse = sum(F.l1_loss(F.avg_pool2d(y, k), F.avg_pool2d(x, k)) for k in (4, 8))
    return F.l1_loss(y, x) + F.mse_loss(y, x) + 0.5 * coarse


def is_matrix(name: str) -> bool:
    """Whether Muon trains this weight: all but the first and last convolutions."""
    ends = ("conv_in", "conv_out", "quant_conv")
    return not any(f"{end}.weight" in name for end in ends)


@torch.no_grad()
def evaluate(vae: AutoencoderKL, pictures: np.ndarray, sheet: str) -> float:
    """Mean PSNR in dB over 16 fixed whole images on white. Writes a sheet of originals and copies."""
    rows = np.random.default_rng(7).choice(len(pictures), 16, replace=False)
    psnr, drawn = [], []
    for chunk in np.split(rows, 2):
        plain = [single(np.random.default_rng(0), int(i), plain=True) for i in chunk]
        x = to_tensor([compose(pictures, places, 0, vae.config.sample_size) for places in plain])
        y = vae.decode(encode(vae, x)).sample.clamp(-1, 1)
        psnr += (-10 * torch.log10((y - x).square().mean((1, 2, 3)) / 4)).tolist()
        drawn.append(np.concatenate([np.concatenate(list(to_pictures(v)), 1) for v in (x, y)]))
    SHEETS.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(drawn)).save(SHEETS / f"{sheet}.png")
    return float(np.mean(psnr))


def train(minutes: float, crop: int, seed: int = 1) -> None:
    """Trains on crops of `crop` pixels, from the checkpoint, else the shipped weights, else from scratch."""
    configure(seed)
    _, pictures = fetch.load()
    pictures = np.ascontiguousarray(pictures)
    name = "vae"
    vae, step = load_shipped() or build(), 0
    state = restore(name)
    if state:
        vae.load_state_dict(state["model"])
        step = state["step"]
    optimisers = Optimisers(vae.named_parameters(), LEARNING_RATE, is_matrix)
    average = Average(vae, 0.998)
    if state:
        if "optimisers" in state:  # `train-decoder` saves no optimiser state
            optimisers.load_state_dict(state["optimisers"])
        average.module.load_state_dict(state["average"])
    rng = np.random.default_rng([seed, step])
    budget = Budget(minutes, warmup_steps=50, decay_share=0.4)

    running, saved = RunningMean(), budget.elapsed
    while not budget.is_spent:
        x = _crops(rng, pictures, crop, HPARAMS.image_side)
        if crop < HPARAMS.image_side and step % 8 == 0:
            # Whole images too, because their group-norm statistics differ from those of crops.
            x = to_tensor([_random_image(rng, pictures, HPARAMS.image_side)])
        z = encode(vae, x)
        target = x
        if rng.random() < 0.25:
            # Scaled latents must decode to the scaled image (EQ-VAE, Kouzelis et al., 2025). Such latents
            # are smooth, so they are easier to generate, and they can be decoded at other sizes than 256.
            half = [int(s * rng.choice([0.5, 0.75])) for s in z.shape[-2:]]
            z = F.interpolate(z, size=half, mode="bilinear", antialias=True)
            target = F.interpolate(
                x, size=[HPARAMS.downscaling * s for s in half], mode="bilinear", antialias=True
            )
        y = vae.decode(z).sample
        loss = reconstruction_loss(target, y) + 1e-5 * z.square().mean()
        loss.backward()
        optimisers.step(budget.learning_rate_factor())
        average.update(vae)
        step += 1
        running.add(loss.item())
        if step % 100 == 0:
            mean, seconds = running.take()
            record(name, step=step, loss=mean, seconds_per_step=seconds)
        if budget.elapsed - saved > CHECKPOINT_SECONDS or budget.is_spent:
            psnr = evaluate(average.module, pictures, name)
            record(name, step=step, psnr=psnr, minutes=budget.elapsed / 60)
            save(name, {"model": vae.state_dict(), "average": average.module.state_dict(),
                         "optimisers": optimisers.state_dict(), "step": step})  # fmt: skip
            running.reset()
            saved = budget.elapsed
