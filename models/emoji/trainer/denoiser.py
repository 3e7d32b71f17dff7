"""The denoiser and its text encoder, trained together: velocity prediction on cached latents."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from . import tokenizer
from .captions import caption
from .latents import Latents
from .loop import Average, Budget, Window, autocast, configure, record, restore, save
from .muon import Optimisers
from .paths import WEIGHTS
from .sizes import SIZES

LEARNING_RATE = 1.5e-3
DROPPED_CAPTIONS = 0.1
CHECKPOINT, CHECKPOINT_SECONDS = "denoiser", 300
# Latents a side of the picture that the words are to hold, and of one of its parts; the share in the loss.
SKETCH_SIDE, SKETCH_PART, SKETCH_WEIGHT = 8, 2, 0.2
# The clean sample's error counts min(signal-to-noise, 5) + 1 times at each noise level: clamped where next to no
# noise is left, as Hang et al. (2023) do, but not vanishing where nearly all is noise, as theirs does: two fifths of
# the schedule are below a ratio of 0.1, and there the words decide what the picture shows.
MAX_SNR = 5.0

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
                vocab_size=vocabulary, hidden_size=SIZES.text_width,
                intermediate_size=4 * SIZES.text_width, num_hidden_layers=SIZES.text_layers,
                num_attention_heads=4, max_position_embeddings=tokenizer.LENGTH, hidden_act="gelu",
                bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
            )
        )  # fmt: skip
        # Attention on the two finest levels; a third has so few positions that convolutions see all.
        plain = len(SIZES.widths) - 2
        self.unet = UNet2DConditionModel(
            sample_size=SIZES.latent, in_channels=SIZES.latent_channels, out_channels=SIZES.latent_channels,
            block_out_channels=SIZES.widths, layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",) * plain,
            up_block_types=("UpBlock2D",) * plain + ("CrossAttnUpBlock2D",) * 2,
            # Numbers of heads, under the name that Stable Diffusion 2's configuration gives them.
            attention_head_dim=SIZES.heads,
            cross_attention_dim=SIZES.text_width, use_linear_projection=True, norm_num_groups=SIZES.norm_groups,
        )  # fmt: skip
        self.sketch = Sketch(end=vocabulary - 1)

    def forward(self, noisy: Tensor, t: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """noisy: B×16×H×W, t: B, tokens: B×32. Returns the velocity, B×16×H×W, and the words, B×32×width."""
        words = self.text(tokens).last_hidden_state
        return self.unet(noisy, t, encoder_hidden_states=words).sample, words


class Sketch(nn.Module):
    """The picture as linear maps see it in the words. Training only: it is no part of the shipped model.

    Through the denoiser the text encoder hears little, and that late, of what words mean. Here it is told directly:
    from the end of the text on, where a causal encoder has read all of it, every position holds the clean latents;
    and each of the last sixteen holds its own sixteenth of them again, so that attention can fetch it from there.
    """

    def __init__(self, end: int):
        super().__init__()
        self.end = end
        self.whole = nn.Linear(SIZES.text_width, SIZES.latent_channels * SKETCH_SIDE**2)
        self.part = nn.Linear(SIZES.text_width, SIZES.latent_channels * SKETCH_PART**2)

    def forward(self, words: Tensor, tokens: Tensor, clean: Tensor) -> Tensor:
        """words: B×32×width, tokens: B×32, clean: B×16×H×W. Returns the sum of the two mean squared errors."""
        ended = (tokens == self.end).float()
        picture = F.adaptive_avg_pool2d(clean, SKETCH_SIDE)
        parts = F.pixel_unshuffle(picture, SKETCH_PART).flatten(2).mT  # B×16×(channels · part²)
        count = parts.shape[1]
        whole_error = (self.whole(words) - picture.flatten(1)[:, None]).square().mean(2)
        part_error = (self.part(words[:, -count:]) - parts).square().mean(2)
        return _mean(whole_error, ended) + _mean(part_error, ended[:, -count:])


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum()


def _is_matrix(name: str) -> bool:
    return not any(part in name for part in ("embed", "conv_in", "conv_out", "time_emb", "sketch"))


def tokens_of(pieces, texts: list[str]) -> Tensor:
    """Texts to B×32 token ids, padded and cut."""
    return pieces(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


class Objective:
    """The weighted velocity error at given noise levels."""

    def __init__(self) -> None:
        self.signal = DDPMScheduler(**SCHEDULE).alphas_cumprod
        ratio = self.signal / (1 - self.signal)
        self.weights = (ratio.clamp(max=MAX_SNR) + 1) / (ratio + 1)

    def __call__(self, model: Model, clean: Tensor, noise: Tensor, t: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """clean, noise: B×16×H×W; t: B; tokens: B×32. Returns the mean over the batch, and the words."""
        a, s = (x.sqrt()[t].view(-1, 1, 1, 1) for x in (self.signal, 1 - self.signal))
        velocity, words = model(a * clean + s * noise, t, tokens)
        error = F.mse_loss(velocity, a * noise - s * clean, reduction="none").mean((1, 2, 3))
        return (self.weights[t] * error).mean(), words


@torch.no_grad()
def _held_out(model: Model, objective: Objective, latents: Latents, pieces) -> float:
    """The objective on pairs that training never shows, with the same noise every time."""
    rows = latents.rows["held out"]
    noise = torch.randn(len(rows), *latents.latents.shape[1:], generator=torch.Generator().manual_seed(0))
    tokens = tokens_of(pieces, [" and ".join(i.en for i in latents.of(r)) for r in rows])
    t = torch.linspace(20, 980, len(rows)).long()
    with autocast():
        return objective(model, latents.latents[rows].float(), noise, t, tokens)[0].item()


def _levels(rng: np.random.Generator, count: int) -> Tensor:
    """One noise level from each of `count` equal parts of the schedule: B integers below 1000."""
    return torch.from_numpy(((np.arange(count) + rng.random(count)) / count * 1000).astype(np.int64))


def _initial(vocabulary: int) -> Model:
    """The shipped weights, else random ones."""
    model = Model(vocabulary)
    if (WEIGHTS / "unet").exists():
        unet = UNet2DConditionModel.from_pretrained(
            WEIGHTS / "unet", torch_dtype=torch.float32, low_cpu_mem_usage=False
        )
        model.unet.load_state_dict(unet.state_dict())
        model.text.load_state_dict(CLIPTextModel.from_pretrained(WEIGHTS / "text_encoder").float().state_dict())
    return model


class Training:
    """A run of so many minutes from the denoiser's checkpoint: else from the shipped weights, else from nothing."""

    def __init__(self, minutes: float, side: int, batch: int, rate: float = 1.0, seed: int = 2):
        configure(seed)
        self.latents, self.pieces, self.batch = Latents(side), tokenizer.load(), batch
        self.model, self.step = _initial(len(self.pieces)), 0
        state = restore(CHECKPOINT)
        if state:
            self.model.load_state_dict(state["model"])
            self.step = state["step"]
        self.model.unet.to(memory_format=torch.channels_last)  # a fifth faster
        self.model.unet.set_attn_processor(AttnProcessor())  # PyTorch's own attention is slow to go back through
        self.optimisers = Optimisers(self.model.named_parameters(), rate * LEARNING_RATE, _is_matrix)
        self.average = Average(self.model, 0.998)
        if state:
            self.optimisers.load_state_dict(state["optimisers"])
            self.average.module.load_state_dict(state["average"])
        self.rng = np.random.default_rng([seed, self.step])
        torch.manual_seed(seed + self.step)
        self.budget, self.window = Budget(minutes, warmup_steps=30, decay_share=0.8), Window()

    def draw(self, latents: Latents | None = None) -> tuple[Tensor, list[str]]:
        """A batch of clean latents, its own or these, and a caption for each."""
        clean, shown = (latents or self.latents).draw(self.rng, self.batch)
        return clean, [caption(self.rng, *what) for what in shown]

    def update(self, loss: Tensor, figure: str, value: Tensor) -> None:
        """One step down this loss; the mean of `value` goes into the history as `figure`."""
        loss.backward()
        self.optimisers.step(self.budget.factor())
        self.average.update(self.model)
        self.step += 1
        self.window.add(value.item())
        if self.step % 50 == 0:
            mean, seconds = self.window.read()
            self.record(**{figure: mean, "samples_per_second": self.batch / seconds})

    def record(self, **figures: float) -> None:
        record(CHECKPOINT, step=self.step, **figures, minutes=self.budget.elapsed / 60)

    def save(self) -> None:
        save(CHECKPOINT, {"model": self.model.state_dict(), "average": self.average.module.state_dict(),
                          "optimisers": self.optimisers.state_dict(), "step": self.step})  # fmt: skip


def train_words(minutes: float, side: int, batch: int) -> None:
    """Trains the text encoder alone, to know from the words what the picture looks like: it costs a sixth."""
    training = Training(minutes, side, batch)
    model = training.model
    text = torch.compile(model.text)
    while not training.budget.spent:
        clean, texts = training.draw()
        tokens = tokens_of(training.pieces, texts)
        with autocast():
            loss = model.sketch(text(tokens).last_hidden_state, tokens, clean)
        training.update(loss, "sketch", loss)
    training.save()


def train(minutes: float, side: int, batch: int, other_sides: list[int], rate: float) -> None:
    """Trains for so many minutes, at `rate` times the usual learning rate.

    One step in eight is on pictures of one of the other sides.
    Pictures of half the side cost a quarter: a network that is convolutional everywhere learns from them what
    words mean and what things look like, and from the full ones what is missing then.
    """
    training = Training(minutes, side, batch, rate)
    others = [Latents(other) for other in other_sides]
    model, objective, budget = training.model, Objective(), training.budget
    compiled = torch.compile(model, dynamic=False)  # a sixth faster, after a minute or four
    saved = budget.elapsed
    while not budget.spent:
        # What is compiled is for one size; the others are drawn too seldom to pay for theirs.
        other = others[training.step // 8 % len(others)] if others and training.step % 8 == 7 else None
        clean, texts = training.draw(other)
        dropped = training.rng.random(batch) < DROPPED_CAPTIONS
        tokens = tokens_of(training.pieces, ["" if gone else text for text, gone in zip(texts, dropped, strict=True)])
        with autocast():
            loss, words = objective(
                model if other else compiled, clean, torch.randn_like(clean), _levels(training.rng, batch), tokens
            )
            total = loss + SKETCH_WEIGHT * model.sketch(words, tokens, clean)
        training.update(total, "loss", loss)
        if budget.elapsed - saved > CHECKPOINT_SECONDS or budget.spent:
            held_out = _held_out(training.average.module, objective, training.latents, training.pieces)
            training.record(held_out=held_out)
            training.save()
            training.window.reset()
            saved = budget.elapsed
