"""The sizes of the model, in one place."""

from dataclasses import dataclass

# How the model is drawn with unless a request says otherwise; `export` writes it into the model's index.
STEPS, GUIDANCE = 20, 3.0


@dataclass(frozen=True)
class Sizes:
    """One choice of sizes: another wants a training from the start."""

    picture: int  # pixels a side, unless a request says otherwise
    vae_channels: tuple[int, ...]  # one level each; all but one halve the side
    vae_groups: int  # of the autoencoder's norms
    latent_channels: int
    widths: tuple[int, ...]  # the denoiser's levels; the last of three has no attention
    heads: tuple[int, ...]
    norm_groups: int
    text_width: int
    text_layers: int
    batch: int
    shares: dict[str, float]  # how often training draws each kind of composed picture
    first: float  # how often it draws one of the things in first.py

    @property
    def factor(self) -> int:
        """Pixels a side per latent."""
        return 2 ** (len(self.vae_channels) - 1)

    @property
    def latent(self) -> int:
        """Latents a side."""
        return self.picture // self.factor


# In the autoencoder half of a step's time goes to the two highest resolutions, where the picture is three colours and
# smooth; so it is narrow there and wide below. One group for each norm: with a group per channel, as eight of eight
# channels are, every channel loses its mean over the picture, and with it the picture's colours.
SIZES = Sizes(
    picture=256, vae_channels=(8, 24, 64, 128, 192), vae_groups=1, latent_channels=16,
    widths=(128, 256, 256), heads=(2, 4, 4), norm_groups=32, text_width=256, text_layers=4, batch=128,
    shares={"plain": 0.22, "varied": 0.03, "coloured": 0.3, "pair": 0.45}, first=0.65,
)  # fmt: skip
