"""The autoencoder's decoder, once the denoiser is trained: it learns to draw from what that leaves behind.

A denoiser's last step is never quite clean: on a plain background what is left shows as grain, and outlines are soft.
So the decoder goes on learning, from latents as the denoiser restores them from little noise instead of from those of
the encoder, which stays as it is, and with it all that the denoiser knows.
"""

import numpy as np
import torch
from torch import Tensor

from . import fetch, tokenizer
from .captions import caption
from .compose import compose
from .denoiser import Model, Objective, tokens_of
from .export import averaged_vae, pipeline
from .latents import Latents, scaling_factor
from .loop import Average, Budget, Window, autocast, configure, record, restore, save
from .muon import Optimisers
from .plan import planned
from .sizes import SIZES
from .vae import evaluate, is_matrix, loss_of, to_tensor

LEARNING_RATE = 3e-4
BATCH = 8
# The noise levels, of 1,000, that the denoiser restores from; the default 20 steps end at level 49. A quarter of the
# latents are the encoder's own.
LEVELS, CLEAN = (10, 120), 0.25


class Restorer:
    """Latents as the averaged denoiser restores them."""

    def __init__(self) -> None:
        pieces = tokenizer.load()
        self.pieces, self.objective = pieces, Objective()
        parts = pipeline()
        self.model = Model(len(pieces)).eval()
        self.model.unet, self.model.text = parts.unet.to(memory_format=torch.channels_last), parts.text_encoder

    @torch.no_grad()
    def __call__(self, clean: Tensor, t: Tensor, texts: list[str]) -> Tensor:
        """clean: B×16×H×W; t: B noise levels. Returns the clean latents as they are told from the noisy ones."""
        a, s = (x.sqrt()[t].view(-1, 1, 1, 1) for x in (self.objective.signal, 1 - self.objective.signal))
        noisy = a * clean + s * torch.randn_like(clean)
        velocity, _ = self.model(noisy, t, tokens_of(self.pieces, texts))
        return a * noisy - s * velocity.float()


def train(minutes: float, seed: int = 4) -> None:
    """Trains the decoder for so many minutes, on whole pictures: a group norm's statistics are not those of a crop."""
    configure(seed)
    _, pictures = fetch.load()
    latents, composed, scale = Latents(SIZES.picture), planned(), scaling_factor()
    if len(composed) != len(latents.weights):
        raise ValueError("the latents were cached from another plan: run `latents` again")
    restorer, vae = Restorer(), averaged_vae()
    step = (restore("vae") or {"step": 0})["step"]
    vae.requires_grad_(False)
    learning = {n: p.requires_grad_() for n, p in vae.named_parameters() if n.startswith(("decoder", "post_quant"))}
    vae.to(memory_format=torch.channels_last).train()
    optimisers = Optimisers(learning.items(), LEARNING_RATE, is_matrix)
    average = Average(vae, 0.99)
    rng = np.random.default_rng([seed, step])
    budget, window = Budget(minutes, warmup_steps=20, decay_share=0.5), Window()
    decode = torch.compile(lambda z: vae.decode(z).sample, dynamic=False)
    while not budget.spent:
        rows = rng.choice(len(latents.weights), BATCH, p=latents.weights)
        clean = latents.latents[rows].float()
        target = to_tensor([compose(pictures, *composed[r][:2], SIZES.picture) for r in rows])
        texts = [caption(rng, latents.of(r), int(latents.backgrounds[r])) for r in rows]
        t = torch.from_numpy(rng.integers(*LEVELS, BATCH))
        with autocast():
            restored = restorer(clean, t, texts)
            own = torch.from_numpy(rng.random(BATCH) < CLEAN).view(-1, 1, 1, 1)
            picture = decode((torch.where(own, clean, restored) / scale).contiguous(memory_format=torch.channels_last))
        loss = loss_of(target, picture.float())
        loss.backward()
        optimisers.step(budget.factor())
        average.update(vae)
        step += 1
        window.add(loss.item())
        if step % 50 == 0:
            mean, seconds = window.read()
            record("vae", step=step, loss=mean, seconds_per_step=seconds)
    record("vae", step=step, psnr=evaluate(average.module, pictures, "decoder"), minutes=budget.elapsed / 60)
    save("vae", {"model": vae.state_dict(), "average": average.module.state_dict(), "step": step})
