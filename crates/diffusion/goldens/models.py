"""The small models that the goldens are made with: every architecture at narrow widths, with random weights.

Each is a folder in diffusers' layout under `models/`, in 16 bits, and small enough to be kept in the repository.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

MODELS = Path(__file__).parent / "models"
CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"

SD15_UNET = dict(
    sample_size=8,
    block_out_channels=(8, 16, 16, 16),
    layers_per_block=2,
    attention_head_dim=4,
    cross_attention_dim=12,
    norm_num_groups=4,
)
SD21_UNET = SD15_UNET | dict(
    layers_per_block=1,
    attention_head_dim=(1, 2, 4, 4),
    use_linear_projection=True,
    upcast_attention=True,
)
BUILTIN_UNET = dict(
    sample_size=4,
    in_channels=16,
    out_channels=16,
    block_out_channels=(8, 16, 24),
    down_block_types=(CROSS_DOWN, CROSS_DOWN, "DownBlock2D"),
    up_block_types=("UpBlock2D", CROSS_UP, CROSS_UP),
    layers_per_block=1,
    attention_head_dim=(2, 4, 4),
    cross_attention_dim=12,
    norm_num_groups=8,
    use_linear_projection=True,
)
# Options that no published Stable Diffusion sets, and those of latent consistency models.
UNUSUAL_UNET = dict(
    sample_size=(6, 8),
    in_channels=3,
    out_channels=5,
    center_input_sample=True,
    flip_sin_to_cos=False,
    freq_shift=1,
    block_out_channels=(8, 12),
    down_block_types=("DownBlock2D", CROSS_DOWN),
    up_block_types=(CROSS_UP, CROSS_UP),
    mid_block_type="UNetMidBlock2D",
    layers_per_block=(2, 1),
    transformer_layers_per_block=(1, 2),
    only_cross_attention=(False, True),
    attention_head_dim=(2, 3),
    cross_attention_dim=(10, 10),
    norm_num_groups=2,
    norm_eps=1e-3,
    act_fn="gelu",
    time_embedding_dim=20,
    time_cond_proj_dim=6,
    conv_in_kernel=5,
    conv_out_kernel=1,
)

KL_VAE = dict(
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(4, 8, 8, 16),
    layers_per_block=2,
    norm_num_groups=4,
)
BUILTIN_VAE = dict(
    down_block_types=("DownEncoderBlock2D",) * 5,
    up_block_types=("UpDecoderBlock2D",) * 5,
    block_out_channels=(4, 4, 8, 8, 12),
    layers_per_block=1,
    latent_channels=16,
    norm_num_groups=4,
    scaling_factor=0.9,
    shift_factor=0.1,
    use_quant_conv=False,
    use_post_quant_conv=False,
    mid_block_add_attention=False,
)
TINY_VAE = dict(
    encoder_block_out_channels=(8,) * 4,
    decoder_block_out_channels=(8,) * 4,
    num_encoder_blocks=(1, 1, 1, 1),
    num_decoder_blocks=(2, 1, 1, 1),
)

SD_BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)

# The published folders' own schedulers first; pipelines run through all of them.
FAMILIES = {
    "sd15": dict(
        unet=SD15_UNET,
        vae=(AutoencoderKL, KL_VAE),
        text=dict(hidden_act="quick_gelu", num_hidden_layers=2),
        scheduler=dict(steps_offset=1),
    ),
    "sd21-v": dict(
        unet=SD21_UNET,
        vae=(AutoencoderKL, KL_VAE | dict(layers_per_block=1)),
        text=dict(hidden_act="gelu", num_hidden_layers=3),
        scheduler=dict(steps_offset=1, prediction_type="v_prediction"),
    ),
    "turbo": dict(
        unet=SD21_UNET | dict(attention_head_dim=(1, 2, 2, 4)),
        vae=(AutoencoderTiny, TINY_VAE),
        text=dict(hidden_act="gelu", num_hidden_layers=2),
        scheduler=dict(timestep_spacing="trailing"),
    ),
    "builtin": dict(
        unet=BUILTIN_UNET,
        vae=(AutoencoderKL, BUILTIN_VAE),
        text=dict(hidden_act="gelu", num_hidden_layers=2),
        scheduler=dict(timestep_spacing="trailing", prediction_type="v_prediction"),
    ),
}


def randomize(module: torch.nn.Module) -> torch.nn.Module:
    """Moves norms and biases away from ones and zeros, which would hide mistakes, and rounds to what 16 bits hold."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 1:
                around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                parameter.copy_(around + 0.2 * torch.randn_like(parameter))
            parameter.copy_(parameter.half().float())
    return module.eval()


def save(module: torch.nn.Module, folder: Path) -> None:
    """Writes configuration and weights, the weights in 16 bits under the name of the variant."""
    module.half().save_pretrained(folder, variant="fp16", safe_serialization=True)
    module.float()


def bytes_to_letters() -> list[str]:
    """The letters that stand for the 256 bytes in CLIP's vocabulary, in its order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(rest))]


def write_tokenizer(folder: Path, pad: str) -> int:
    """A vocabulary of single bytes and a few words. Returns its size."""
    letters = bytes_to_letters()
    merges = ["a t</w>", "c at</w>", "r e", "re d</w>", "t i", "ti g", "e r</w>", "tig er</w>"]
    words = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special["pad_token"] = pad
    config = special | {"model_max_length": 16, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2), "utf-8")
    return len(words)


def text_encoder(vocabulary: int, **options) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=12,
        intermediate_size=24,
        num_attention_heads=3,
        max_position_embeddings=16,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
        **options,
    )
    return randomize(CLIPTextModel(config))


def rename_attention(folder: Path) -> None:
    """Gives the decoder's attention the names that it had before diffusers 0.12, as SD 1.5's published folder has them."""
    from safetensors.torch import load_file, save_file

    path = folder / "diffusion_pytorch_model.fp16.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in load_file(path).items():
        for new_name, old_name in old.items():
            name = name.replace(f"attentions.0.{new_name}.", f"attentions.0.{old_name}.")
        tensors[name] = tensor
    save_file(tensors, path, metadata={"format": "pt"})


def without_encoder(folder: Path) -> None:
    """Drops what the decoder does not need, to keep the fixtures small."""
    from safetensors.torch import load_file, save_file

    path = folder / "diffusion_pytorch_model.fp16.safetensors"
    kept = {name: t for name, t in load_file(path).items() if not name.startswith(("encoder.", "quant_conv."))}
    save_file(kept, path, metadata={"format": "pt"})
