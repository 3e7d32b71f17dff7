"""Makes the goldens of denoisers and decoders: inputs and what diffusers makes of them.

    python crates/diffusion/goldens/networks.py

Versions are pinned in models/emoji/requirements.txt.
"""

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from models import FAMILIES, MODELS, UNUSUAL_UNET, randomize, rename_attention, save, text_encoder
from models import without_encoder, write_tokenizer

UNET_CASES = {
    # Latents' height and width, and batch.
    "even": (8, 8, 2),
    # Not divisible by what the levels divide by.
    "odd": (9, 7, 1),
}


@torch.no_grad()
def unet_goldens(unet: UNet2DConditionModel, guidance_width: int | None = None) -> dict[str, torch.Tensor]:
    config, tensors = unet.config, {}
    width = config.cross_attention_dim
    width = width if isinstance(width, int) else width[0]
    for number, (name, (height, columns, batch)) in enumerate(UNET_CASES.items()):
        sample = torch.randn(batch, config.in_channels, height, columns)
        context = torch.randn(batch, 16, width)
        timestep = torch.tensor([981.0, 3.25][number])
        guidance = torch.randn(1, guidance_width) if guidance_width else None
        condition = guidance.repeat(batch, 1) if guidance_width else None
        output = unet(sample, timestep, context, timestep_cond=condition).sample
        tensors |= {f"{name}.sample": sample, f"{name}.context": context, f"{name}.output": output}
        tensors[f"{name}.timestep"] = timestep.reshape(1)
        if guidance_width:
            tensors[f"{name}.guidance"] = guidance
    return tensors


@torch.no_grad()
def main() -> None:
    for number, (family, parts) in enumerate(FAMILIES.items()):
        torch.manual_seed(100 + number)
        folder = MODELS / family
        vocabulary = write_tokenizer(folder / "tokenizer", pad="!" if family == "sd21-v" else "<|endoftext|>")
        save(text_encoder(vocabulary, **parts["text"]), folder / "text_encoder")

        unet = randomize(UNet2DConditionModel(**parts["unet"]))
        tensors = {f"unet.{name}": tensor for name, tensor in unet_goldens(unet).items()}
        save(unet, folder / "unet")

        kind, options = parts["vae"]
        vae = randomize(kind(**options))
        latents = torch.randn(1, vae.config.latent_channels, 3, 2)
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        tensors["vae.latents"] = latents
        tensors["vae.image"] = vae.decode(latents / vae.config.scaling_factor + shift).sample
        save(vae, folder / "vae")
        without_encoder(folder / "vae")
        if family == "sd15":
            rename_attention(folder / "vae")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "networks.safetensors")

    torch.manual_seed(200)
    folder = MODELS / "unusual"
    unet = randomize(UNet2DConditionModel(**UNUSUAL_UNET))
    tensors = {f"unet.{name}": tensor for name, tensor in unet_goldens(unet, 6).items()}
    save(unet, folder / "unet")
    (folder / "model_index.json").write_text("{}\n")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "networks.safetensors")


if __name__ == "__main__":
    main()
