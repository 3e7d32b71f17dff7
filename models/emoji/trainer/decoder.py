"""Fine-tunes the autoencoder's decoder on latents that the trained denoiser has restored.

The denoiser's last step leaves a little noise, which shows as grain on plain backgrounds and as soft
outlines. The decoder learns to remove it: its inputs are latents that the denoiser has restored from
little noise. The encoder does not change, so the denoiser remains valid.
"""

import numpy as np
import torch
from torch import Tensor

from . import fetch, tokenizer
from .captions import caption
from .compose import compose
from .denoiser import Objective, TrainedNetworks, tokenize
from .export import averaged_vae, pipeline
from .hyperparameters import HPARAMS
from .latents import CachedLatents, scaling_factor
from .loop import Average, Budget, RunningMean, autocast, configure, record, restore, save
from .muon import Optimisers
from .plan import build_plan
from .vae import evaluate, is_matrix, reconstruction_loss, to_tensor

LEARNING_RATE = 3e-4
BATCH = 8
# Range of the noise levels, of 1,000, from which the denoiser restores latents. The last of the default 20
# steps starts at level 49.
NOISE_LEVELS = (10, 120)
# Share of the latents that are the encoder's own, without noise.
CLEAN_SHARE = 0.25


class Restorer:
    """Restores noisy latents with the averaged denoiser."""

    def __init__(self) -> None:
        pieces = tokenizer.load()
        self.pieces, self.objective = pieces, Objective()
        parts = pipeline()
        self.model = TrainedNetworks(len(pieces)).eval()
        self.model.unet = parts.unet.to(memory_format=torch.channels_last)
        self.model.text = parts.text_encoder

    @torch.no_grad()
    def __call__(self, clean: Tensor, t: Tensor, texts: list[str]) -> Tensor:
        """clean: B×16×H×W; t: B noise levels. Adds noise and returns the denoiser's prediction of `clean`."""
        a, s = (x.sqrt()[t].view(-1, 1, 1, 1) for x in (self.objective.signal, 1 - self.objective.signal))
        noisy = a * clean + s * torch.randn_like(clean)
        velocity, _ = self.model(noisy, t, tokenize(self.pieces, texts))
        return a * noisy - s * velocity.float()


def train(minutes: float, seed: int = 4) -> None:
    """Trains the decoder on whole images, because their group-norm statistics differ from those of crops."""
    configure(seed)
    _, pictures = fetch.load()
    latents, plan, scale = CachedLatents(HPARAMS.image_side), build_plan(), scaling_factor()
    if len(plan) != len(latents.weights):
        raise ValueError("the cached latents were made from another plan; run `latents` again")
    restorer, vae = Restorer(), averaged_vae()
    step = (restore("vae") or {"step": 0})["step"]
    vae.requires_grad_(False)
    trainable = {
        n: p.requires_grad_() for n, p in vae.named_parameters() if n.startswith(("decoder", "post_quant"))
    }
    vae.to(memory_format=torch.channels_last).train()
    optimisers = Optimisers(trainable.items(), LEARNING_RATE, is_matrix)
    average = Average(vae, 0.99)
    rng = np.random.default_rng([seed, step])
    budget, running = Budget(minutes, warmup_steps=20, decay_share=0.5), RunningMean()
    decode = torch.compile(lambda z: vae.decode(z).sample, dynamic=False)
    while not budget.is_spent:
        rows = rng.choice(len(latents.weights), BATCH, p=latents.weights)
        clean = latents.latents[rows].float()
        batch = [plan[r] for r in rows]
        images = [compose(pictures, p.placements, p.background, HPARAMS.image_side) for p in batch]
        target = to_tensor(images)
        texts = [caption(rng, latents.items_of(r), int(latents.backgrounds[r])) for r in rows]
        t = torch.from_numpy(rng.integers(*NOISE_LEVELS, BATCH))
        with autocast():
            restored = restorer(clean, t, texts)
            is_clean = torch.from_numpy(rng.random(BATCH) < CLEAN_SHARE).view(-1, 1, 1, 1)
            inputs = torch.where(is_clean, clean, restored) / scale
            picture = decode(inputs.contiguous(memory_format=torch.channels_last))
        loss = reconstruction_loss(target, picture.float())
        loss.backward()
        optimisers.step(budget.learning_rate_factor())
        average.update(vae)
        step += 1
        running.add(loss.item())
        if step % 50 == 0:
            mean, seconds = running.take()
            record("vae", step=step, loss=mean, seconds_per_step=seconds)
    record("vae", step=step, psnr=evaluate(average.module, pictures, "decoder"), minutes=budget.elapsed / 60)
    save("vae", {"model": vae.state_dict(), "average": average.module.state_dict(), "step": step})
