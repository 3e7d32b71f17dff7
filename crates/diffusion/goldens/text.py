"""Makes the goldens of text: a vocabulary, what transformers' tokenizers make of a thousand prompts, and what its text
encoder makes of some.

    python crates/diffusion/goldens/text.py

The tokenizer is CLIPTokenizerFast, whose rules are those that CLIP was trained with. The class CLIPTokenizer has the same in
newer versions, and in this one two others: by whether the package ftfy is there it repairs encodings, or takes every
Chinese character for a word. Versions are pinned in models/emoji/requirements.txt.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

from models import bytes_to_letters
from prompts import prompts

FOLDER = Path(__file__).parent.parent / "tests/fixtures"
START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY = 1400


def train(texts: list[str], folder: Path) -> None:
    """vocab.json and merges.txt in CLIP's format: all bytes, all bytes that end a word, the merges, the two specials."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    letters = bytes_to_letters()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges), START, END]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", "utf-8")
    lines = ["#version: 0.2", *(f"{first} {second}" for first, second in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")


def write_special(folder: Path, pad: str) -> None:
    """The files about special tokens as SD 1.5 and 2.1 publish them, the one with the end token for padding, the other with
    an exclamation mark that only one of the two files knows of."""
    special = {key: {"content": END, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
               for key in ("bos_token", "eos_token", "unk_token")}  # fmt: skip
    special["bos_token"] = special["bos_token"] | {"content": START}
    special["pad_token"] = pad
    config = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": 77,
              "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END,
              "tokenizer_class": "CLIPTokenizer"}  # fmt: skip
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def write_index(folder: Path) -> None:
    index = {"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", "CLIPTokenizer"]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


def trimmed(ids: list[int], pad: int) -> list[int]:
    """Without the padding, which the reader puts back."""
    assert len(ids) == 77
    end = len(ids)
    while end > 0 and ids[end - 1] == pad:
        end -= 1
    return ids[:end]


def tokenize(folder: Path, texts: list[str]) -> dict:
    tokenizer = CLIPTokenizerFast.from_pretrained(folder / "tokenizer")
    ids = [tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids for text in texts]
    # Where in the prompt the first token begins that did not fit, in characters.
    offsets = [tokenizer(text, return_offsets_mapping=True, add_special_tokens=False).offset_mapping for text in texts]
    cut = [row[75][0] if len(row) > 75 else None for row in offsets]
    return {"pad": tokenizer.pad_token_id, "ids": [trimmed(row, tokenizer.pad_token_id) for row in ids], "cut": cut}


@torch.no_grad()
def encode(folder: Path, seed: int, texts: list[str], **options) -> None:
    torch.manual_seed(seed)
    tokenizer = CLIPTokenizerFast.from_pretrained(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        intermediate_size=80,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )
    model = CLIPTextModel(config).eval()
    for name, parameter in model.named_parameters():
        around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        spread = 1.5 * parameter.shape[-1] ** -0.5 if parameter.ndim == 2 and "embedding" not in name else 0.5
        parameter.copy_(around + spread * torch.randn_like(parameter))
        # Half of the bits are zero: smaller fixtures in the repository's packs, and the same in 16 bits.
        parameter.copy_(parameter.bfloat16().float())
    model.save_pretrained(folder / "text_encoder", safe_serialization=True)
    ids = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    save_file({"ids": ids, "states": model(ids).last_hidden_state}, folder / "golden.safetensors")


def main() -> None:
    texts = prompts()
    assert len(texts) == 1000
    large, huge = FOLDER / "clip-large", FOLDER / "clip-huge"
    train(texts, large / "tokenizer")
    (huge / "tokenizer").mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(large / "tokenizer" / name, huge / "tokenizer" / name)
    for folder, pad in ((large, END), (huge, "!")):
        write_special(folder / "tokenizer", pad)
        write_index(folder)
    golden = {"prompts": texts, "clip-large": tokenize(large, texts), "clip-huge": tokenize(huge, texts)}
    (FOLDER / "prompts.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    some = ["", "a cyborg tiger", "一只红色的老虎 🐯", texts[500], texts[-20]]
    encode(large, 1, some, hidden_size=24, num_attention_heads=3, num_hidden_layers=3, hidden_act="quick_gelu")
    encode(huge, 2, some, hidden_size=32, num_attention_heads=4, num_hidden_layers=4, hidden_act="gelu",
           projection_dim=32, layer_norm_eps=1e-6)  # fmt: skip


if __name__ == "__main__":
    main()
