"""Trains the denoiser and its text encoder together, with velocity prediction on cached latents."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from . import tokenizer
from .captions import caption
from .hyperparameters import HPARAMS
from .latents import CachedLatents
from .loop import Average, Budget, RunningMean, autocast, configure, record, restore, save
from .muon import Optimisers
from .paths import WEIGHTS

LEARNING_RATE = 1.5e-3
# Share of the samples without a caption, for classifier-free guidance.
DROPPED_CAPTIONS = 0.1
CHECKPOINT, CHECKPOINT_SECONDS = "denoiser", 300
# Side of the sketch, in latents; side of one of its parts; weight of the sketch error in the loss.
SKETCH_SIDE, SKETCH_PART, SKETCH_WEIGHT = 8, 2, 0.2
# At each noise level, the error of the clean sample has the weight min(signal-to-noise ratio, 5) + 1. The
# upper bound is that of Hang et al. (2023). Their weight vanishes where nearly all is noise; this one does
# not, because on two fifths of the schedule the ratio is below 0.1, and there the words decide the image.
MAX_SNR = 5.0

# The last noise level is nearly pure noise (signal 0.015). At the end of Stable Diffusion's schedule
# (beta_end 0.012), the mean brightness of the image would still be visible, which works against prompts such
# as "a black background".
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.02,
            "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}  # fmt: skip


def scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        **SCHEDULE, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
        lower_order_final=True, timestep_spacing="trailing",
        lambda_min_clipped=-1000.0,  # clips nothing, like the default −∞, which JSON cannot represent
    )  # fmt: skip


class TrainedNetworks(nn.Module):
    """The text encoder and the denoiser, and the sketch heads that only training uses."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary, hidden_size=HPARAMS.text_width,
                intermediate_size=4 * HPARAMS.text_width, num_hidden_layers=HPARAMS.text_layers,
                num_attention_heads=4, max_position_embeddings=tokenizer.MAX_TOKENS, hidden_act="gelu",
                bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
            )
        )  # fmt: skip
        # Attention on the two finest levels. A third level has so few positions that convolutions cover all
        # of them.
        without_attention = len(HPARAMS.widths) - 2
        self.unet = UNet2DConditionModel(
            sample_size=HPARAMS.latent_side,
            in_channels=HPARAMS.latent_channels, out_channels=HPARAMS.latent_channels,
            block_out_channels=HPARAMS.widths, layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",) * without_attention,
            up_block_types=("UpBlock2D",) * without_attention + ("CrossAttnUpBlock2D",) * 2,
            # The number of heads; diffusers' configuration has it under this name.
            attention_head_dim=HPARAMS.heads,
            cross_attention_dim=HPARAMS.text_width, use_linear_projection=True,
            norm_num_groups=HPARAMS.norm_groups,
        )  # fmt: skip
        self.sketch = Sketch(end=vocabulary - 1)

    def forward(self, noisy: Tensor, t: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """noisy: B×16×H×W, t: B, tokens: B×32. Returns velocity and text embeddings (B×32×width)."""
        words = self.text(tokens).last_hidden_state
        return self.unet(noisy, t, encoder_hidden_states=words).sample, words


class Sketch(nn.Module):
    """Linear maps from the text embeddings to the clean latents. Only training uses them.

    Gradients through the denoiser teach the text encoder the meaning of words only slowly. The sketch
    gives it a direct target. Each position from the end token on, where a causal encoder has read the
    whole text, predicts all latents. Each of the last sixteen positions also predicts its own sixteenth
    of them, so that attention finds each part at a fixed position.
    """

    def __init__(self, end: int):
        super().__init__()
        self.end = end
        self.whole = nn.Linear(HPARAMS.text_width, HPARAMS.latent_channels * SKETCH_SIDE**2)
        self.part = nn.Linear(HPARAMS.text_width, HPARAMS.latent_channels * SKETCH_PART**2)

    def forward(self, words: Tensor, tokens: Tensor, clean: Tensor) -> Tensor:
        """words: B×32×width, tokens: B×32, clean: B×16×H×W. Returns the sum of both mean squared errors."""
        ended = (tokens == self.end).float()
        picture = F.adaptive_avg_pool2d(clean, SKETCH_SIDE)
        parts = F.pixel_unshuffle(picture, SKETCH_PART).flatten(2).mT  # B×16×(channels · part²)
        count = parts.shape[1]
        whole_error = (self.whole(words) - picture.flatten(1)[:, None]).square().mean(2)
        part_error = (self.part(words[:, -count:]) - parts).square().mean(2)
        return _weighted_mean(whole_error, ended) + _weighted_mean(part_error, ended[:, -count:])


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum()


def _is_matrix(name: str) -> bool:
    """Whether Muon trains this weight: all but embeddings, first and last convolution, and the sketch."""
    return not any(part in name for part in ("embed", "conv_in", "conv_out", "time_emb", "sketch"))


def tokenize(pieces, texts: list[str]) -> Tensor:
    """Token ids of the texts, B×32, padded and truncated. `pieces` is the tokenizer."""
    return pieces(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


class Objective:
    """The weighted velocity error at the given noise levels."""

    def __init__(self) -> None:
        self.signal = DDPMScheduler(**SCHEDULE).alphas_cumprod
        ratio = self.signal / (1 - self.signal)
        self.weights = (ratio.clamp(max=MAX_SNR) + 1) / (ratio + 1)

    def __call__(
        self, model: TrainedNetworks, clean: Tensor, noise: Tensor, t: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """clean, noise: B×16×H×W; t: B; tokens: B×32. Returns the mean error and the text embeddings."""
        a, s = (x.sqrt()[t].view(-1, 1, 1, 1) for x in (self.signal, 1 - self.signal))
        velocity, words = model(a * clean + s * noise, t, tokens)
        error = F.mse_loss(velocity, a * noise - s * clean, reduction="none").mean((1, 2, 3))
        return (self.weights[t] * error).mean(), words


@torch.no_grad()
def _held_out_error(model: TrainedNetworks, objective: Objective, latents: CachedLatents, pieces) -> float:
    """The objective on held-out pairs, always with the same noise."""
    rows = latents.rows["held out"]
    noise = torch.randn(len(rows), *latents.latents.shape[1:], generator=torch.Generator().manual_seed(0))
    tokens = tokenize(pieces, [" and ".join(i.en for i in latents.items_of(r)) for r in rows])
    t = torch.linspace(20, 980, len(rows)).long()
    with autocast():
        return objective(model, latents.latents[rows].float(), noise, t, tokens)[0].item()


def _noise_levels(rng: np.random.Generator, count: int) -> Tensor:
    """One random noise level, below 1000, from each of `count` equal parts of the schedule."""
    return torch.from_numpy(((np.arange(count) + rng.random(count)) / count * 1000).astype(np.int64))


def _initial_networks(vocabulary: int) -> TrainedNetworks:
    """The networks with the shipped weights, else with random ones."""
    model = TrainedNetworks(vocabulary)
    if (WEIGHTS / "unet").exists():
        unet = UNet2DConditionModel.from_pretrained(
            WEIGHTS / "unet", torch_dtype=torch.float32, low_cpu_mem_usage=False
        )
        model.unet.load_state_dict(unet.state_dict())
        model.text.load_state_dict(
            CLIPTextModel.from_pretrained(WEIGHTS / "text_encoder").float().state_dict()
        )
    return model


class Training:
    """A run with a time budget, from the checkpoint, else from the shipped weights, else from scratch."""

    def __init__(self, minutes: float, side: int, batch: int, rate: float = 1.0, seed: int = 2):
        configure(seed)
        self.latents, self.pieces, self.batch = CachedLatents(side), tokenizer.load(), batch
        self.model, self.step = _initial_networks(len(self.pieces)), 0
        state = restore(CHECKPOINT)
        if state:
            self.model.load_state_dict(state["model"])
            self.step = state["step"]
        self.model.unet.to(memory_format=torch.channels_last)  # a fifth faster
        # PyTorch's fused attention has a slow backward pass.
        self.model.unet.set_attn_processor(AttnProcessor())
        self.optimisers = Optimisers(self.model.named_parameters(), rate * LEARNING_RATE, _is_matrix)
        self.average = Average(self.model, 0.998)
        if state:
            self.optimisers.load_state_dict(state["optimisers"])
            self.average.module.load_state_dict(state["average"])
        self.rng = np.random.default_rng([seed, self.step])
        torch.manual_seed(seed + self.step)
        self.budget, self.running = Budget(minutes, warmup_steps=30, decay_share=0.8), RunningMean()

    def sample_batch(self, latents: CachedLatents | None = None) -> tuple[Tensor, list[str]]:
        """A batch of clean latents, from `latents` or else the run's own cache, with a caption for each."""
        clean, contents = (latents or self.latents).sample(self.rng, self.batch)
        return clean, [caption(self.rng, *content) for content in contents]

    def update(self, loss: Tensor, figure: str, value: Tensor) -> None:
        """Takes one optimiser step on `loss`. The mean of `value` goes into the history as `figure`."""
        loss.backward()
        self.optimisers.step(self.budget.learning_rate_factor())
        self.average.update(self.model)
        self.step += 1
        self.running.add(value.item())
        if self.step % 50 == 0:
            mean, seconds = self.running.take()
            self.record(**{figure: mean, "samples_per_second": self.batch / seconds})

    def record(self, **figures: float) -> None:
        record(CHECKPOINT, step=self.step, **figures, minutes=self.budget.elapsed / 60)

    def save(self) -> None:
        save(CHECKPOINT, {"model": self.model.state_dict(), "average": self.average.module.state_dict(),
                          "optimisers": self.optimisers.state_dict(), "step": self.step})  # fmt: skip


def train_text_encoder(minutes: float, side: int, batch: int) -> None:
    """Trains the text encoder alone, on the sketch. A step costs a sixth of a denoiser step."""
    training = Training(minutes, side, batch)
    model = training.model
    text = torch.compile(model.text)
    while not training.budget.is_spent:
        clean, texts = training.sample_batch()
        tokens = tokenize(training.pieces, texts)
        with autocast():
            loss = model.sketch(text(tokens).last_hidden_state, tokens, clean)
        training.update(loss, "sketch", loss)
    training.save()


def train(minutes: float, side: int, batch: int, other_sides: list[int], rate: float) -> None:
    """Trains denoiser and text encoder, at `rate` times the usual learning rate.

    One step in eight uses images of one of `other_sides`.

    Images of half the side cost a quarter of the time. A convolutional network can learn from them the
    meaning of words and the look of subjects; a shorter training at full size then adds the rest.
    """
    training = Training(minutes, side, batch, rate)
    others = [CachedLatents(other) for other in other_sides]
    model, objective, budget = training.model, Objective(), training.budget
    compiled = torch.compile(model, dynamic=False)  # a sixth faster; compiling takes one to four minutes
    saved = budget.elapsed
    while not budget.is_spent:
        # The compiled code is for one size. The other sizes are too rare to be worth the time for compiling.
        other = others[training.step // 8 % len(others)] if others and training.step % 8 == 7 else None
        clean, texts = training.sample_batch(other)
        dropped = training.rng.random(batch) < DROPPED_CAPTIONS
        prompts = ["" if is_dropped else text for text, is_dropped in zip(texts, dropped, strict=True)]
        tokens = tokenize(training.pieces, prompts)
        with autocast():
            loss, words = objective(
                model if other else compiled,
                clean,
                torch.randn_like(clean),
                _noise_levels(training.rng, batch),
                tokens,
            )
            total = loss + SKETCH_WEIGHT * model.sketch(words, tokens, clean)
        training.update(total, "loss", loss)
        if budget.elapsed - saved > CHECKPOINT_SECONDS or budget.is_spent:
            held_out = _held_out_error(training.average.module, objective, training.latents, training.pieces)
            training.record(held_out=held_out)
            training.save()
            training.running.reset()
            saved = budget.elapsed
