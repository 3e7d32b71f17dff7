"""All sizes of the model and the settings that depend on them."""

from dataclasses import dataclass

# Default sampling steps and guidance scale. `export` writes both into the model's `model_index.json`.
STEPS, GUIDANCE = 20, 3.0


@dataclass(frozen=True)
class Hyperparameters:
    """One set of sizes. Other network sizes need a new training from scratch."""

    image_side: int  # default side of an image, in pixels
    vae_channels: tuple[int, ...]  # per level of the autoencoder; each level but the last halves the side
    vae_groups: int  # groups per normalisation layer of the autoencoder
    latent_channels: int
    widths: tuple[int, ...]  # channels per level of the denoiser; the last of three levels has no attention
    heads: tuple[int, ...]  # attention heads per level
    norm_groups: int  # groups per normalisation layer of the denoiser
    text_width: int
    text_layers: int
    batch: int
    kind_shares: dict[str, float]  # share of the training samples per kind of composed image
    priority_share: float  # share of the samples that show a subject in priority_labels.py

    @property
    def downscaling(self) -> int:
        """Side of the image divided by the side of its latents."""
        return 2 ** (len(self.vae_channels) - 1)

    @property
    def latent_side(self) -> int:
        """Side of the latents of an image of the default size."""
        return self.image_side // self.downscaling


# The two highest resolutions take half of an autoencoder step's time, although the image is simple there
# (three smooth colour channels). Therefore the autoencoder is narrow at high resolutions and wide at low
# ones. Each normalisation layer has one group. With eight groups, a layer of eight channels would normalise
# each channel alone, so each channel would lose its mean over the image, and the image would lose its
# colours.
HPARAMS = Hyperparameters(
    image_side=256, vae_channels=(8, 24, 64, 128, 192), vae_groups=1, latent_channels=16,
    widths=(128, 256, 256), heads=(2, 4, 4), norm_groups=32, text_width=256, text_layers=4, batch=128,
    kind_shares={"plain": 0.22, "varied": 0.03, "coloured": 0.3, "pair": 0.45}, priority_share=0.65,
)  # fmt: skip
