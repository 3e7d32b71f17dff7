"""Makes the goldens of added tokens, such as those of textual inversion: what transformers' CLIPTokenizerFast makes of
prompts that have them, by the options of the tokens and the files that name them.

    python crates/diffusion/goldens/added_tokens.py

Needs the folder that text.py writes. CLIPTokenizer of transformers 4 differs in one point: it finds a normalized token only
as it is written or in lower case. Versions are pinned in models/emoji/requirements.txt.
"""

import json
import shutil
import tempfile
from itertools import product
from pathlib import Path

from transformers import CLIPTokenizerFast

FIXTURES = Path(__file__).parent.parent / "tests/fixtures"
SOURCE = FIXTURES / "clip-large/tokenizer"
TOKENS = ["<MyToken>", "<low>", "Café*", "Big Cat"]
PROMPTS = [
    "a <MyToken> b", "a <mytoken> b", "A<MYTOKEN>B", "a <low> b", "a <LOW> b", "x<low>y", "CAFÉ* cafe\u0301* Café* café*",
    "a  <low>  b", "a\t<MyToken>\n b", "big cat Big Cat BIG  CAT bigcat", "Big\u3000 Cat", "<low><low> <low>", "<MyToken>s",
    "a_<low>_b <low>!", "<low>low> <lo <low", " <low> ", "<low>", "虎<low>虎", "<low>\u0301", "(<low>)", "<|endoftext|><low>",
]  # fmt: skip


def cases() -> dict[str, dict]:
    """By name: the files of the tokenizer's folder that are new or have more members."""
    vocabulary = json.loads((SOURCE / "vocab.json").read_text())
    numbers = {token: len(vocabulary) + i for i, token in enumerate(TOKENS)}

    def decoder(**options) -> dict:
        special = dict(lstrip=False, rstrip=False, single_word=False, normalized=True, special=True)
        entries = {vocabulary[token]: special | {"content": token} for token in ("<|startoftext|>", "<|endoftext|>")}
        entries |= {number: options | {"content": token} for token, number in numbers.items()}
        return {"tokenizer_config.json": {"added_tokens_decoder": {str(number): e for number, e in entries.items()}}}

    special = {"special_tokens_map.json": {"additional_special_tokens": ["<MyToken>"]}}
    found = {
        "added_tokens.json": {"added_tokens.json": numbers},
        "added_tokens.json, one special": {"added_tokens.json": numbers} | special,
        "decoder without options": decoder(),
        "decoder, special": decoder(special=True),
    }
    for normalized, is_special in product([False, True], repeat=2):
        found[f"decoder, {normalized=}, {is_special=}"] = decoder(normalized=normalized, special=is_special)
    for normalized, lstrip, rstrip, single_word in product([False, True], repeat=4):
        options = dict(normalized=normalized, lstrip=lstrip, rstrip=rstrip, single_word=single_word)
        found[f"decoder, {options}"] = decoder(**options)
    return found


def tokenize(files: dict[str, dict]) -> list[list[int]]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
        for name, members in files.items():
            path = Path(folder) / name
            old = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(old | members))
        tokenizer = CLIPTokenizerFast.from_pretrained(folder)
        return [tokenizer(prompt).input_ids for prompt in PROMPTS]


def main() -> None:
    golden = [{"name": name, "files": files, "ids": tokenize(files)} for name, files in cases().items()]
    text = json.dumps({"prompts": PROMPTS, "cases": golden}, separators=(",", ":"))
    (FIXTURES / "added-tokens.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
