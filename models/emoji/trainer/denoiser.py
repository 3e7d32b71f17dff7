"""The denoiser and its text encoder, trained together: velocity prediction on cached latents."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from . import fetch, tokenizer
from .captions import caption
from .latents import Latents
from .loop import Average, Budget, configure, record, restore, save
from .muon import Optimisers
from .paths import WEIGHTS

WIDTHS = (128, 256, 256)
TEXT_WIDTH = 256
BATCH = 32
LEARNING_RATE = 1e-3
DROPPED_CAPTIONS = 0.1
# Weight of a noise level: min(signal-to-noise, 5) (Hang et al., 2023).
MIN_SNR = 5.0

# The last step is all but pure noise (signal 0.015), so that "a black background" is not fought by
# the mean brightness that leaks through Stable Diffusion's own end, 0.012.
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.02,
            "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}  # fmt: skip


def scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        **SCHEDULE, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
        lower_order_final=True, timestep_spacing="trailing",
        lambda_min_clipped=-1000.0,  # clips nothing, as the default −∞, which JSON cannot say
    )  # fmt: skip


class Model(nn.Module):
    """The two networks that are trained as one."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary, hidden_size=TEXT_WIDTH, intermediate_size=4 * TEXT_WIDTH, num_hidden_layers=4,
                num_attention_heads=4, max_position_embeddings=tokenizer.LENGTH, hidden_act="gelu",
                bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
            )
        )  # fmt: skip
        self.unet = UNet2DConditionModel(
            sample_size=16, in_channels=16, out_channels=16, block_out_channels=WIDTHS, layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            # Numbers of heads, under the name that Stable Diffusion 2's configuration gives them.
            attention_head_dim=tuple(w // 64 for w in WIDTHS),
            cross_attention_dim=TEXT_WIDTH, use_linear_projection=True, norm_num_groups=32,
        )  # fmt: skip

    def forward(self, noisy: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """noisy: B×16×H×W, t: B, tokens: B×77. Returns the velocity, B×16×H×W."""
        return self.unet(noisy, t, encoder_hidden_states=self.text(tokens).last_hidden_state).sample


def _is_matrix(name: str) -> bool:
    return not any(part in name for part in ("embed", "conv_in", "conv_out", "time_emb"))


def _levels(rng: np.random.Generator, count: int) -> Tensor:
    """One noise level from each of `count` equal parts of the schedule: B integers below 1000."""
    return torch.from_numpy(((np.arange(count) + rng.random(count)) / count * 1000).astype(np.int64))


def _initial(vocabulary: int) -> Model:
    model = Model(vocabulary)
    if (WEIGHTS / "unet").exists() and (WEIGHTS / "text_encoder").exists():
        model.unet.load_state_dict(UNet2DConditionModel.from_pretrained(WEIGHTS / "unet").float().state_dict())
        model.text.load_state_dict(CLIPTextModel.from_pretrained(WEIGHTS / "text_encoder").float().state_dict())
    return model


def train(minutes: float, seed: int = 2) -> None:
    """Trains for so many minutes from the checkpoint, else the shipped weights, else from nothing."""
    configure(seed)
    items, _ = fetch.load()
    latents, pieces = Latents(), tokenizer.load()
    model, step = _initial(len(pieces)), 0
    state = restore("denoiser")
    if state:
        model.load_state_dict(state["model"])
        step = state["step"]
    optimisers = Optimisers(model.named_parameters(), LEARNING_RATE, _is_matrix)
    average = Average(model, 0.999)
    if state:
        optimisers.load_state_dict(state["optimisers"])
        average.module.load_state_dict(state["average"])
    signal = DDPMScheduler(**SCHEDULE).alphas_cumprod
    weights = (signal / (1 - signal)).clamp(max=MIN_SNR) / (signal / (1 - signal) + 1)
    rng = np.random.default_rng([seed, step])
    torch.manual_seed(seed + step)
    budget = Budget(minutes, warmup_steps=100, decay_share=0.4)

    running, since = 0.0, budget.elapsed
    while not budget.spent:
        clean, rows = latents.draw(rng, BATCH)
        texts = [
            "" if rng.random() < DROPPED_CAPTIONS else caption(rng, latents.of(items, r), int(latents.backgrounds[r]))
            for r in rows
        ]
        tokens = pieces(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        t = _levels(rng, BATCH)
        a, s = (x.sqrt()[t].view(-1, 1, 1, 1) for x in (signal, 1 - signal))
        noise = torch.randn_like(clean)
        velocity = model(a * clean + s * noise, t, tokens)
        error = F.mse_loss(velocity, a * noise - s * clean, reduction="none").mean((1, 2, 3))
        loss = (weights[t] * error).mean()
        loss.backward()
        optimisers.step(budget.factor())
        average.update(model)
        step += 1
        running += loss.item() / 50
        if step % 50 == 0:
            seconds = (budget.elapsed - since) / 50
            record("denoiser", step=step, loss=running, samples_per_second=BATCH / seconds, minutes=budget.elapsed / 60)
            running, since = 0.0, budget.elapsed
        if step % 250 == 0 or budget.spent:
            save("denoiser", {"model": model.state_dict(), "average": average.module.state_dict(),
                              "optimisers": optimisers.state_dict(), "step": step})  # fmt: skip
