"""Trains the text encoder's byte-pair vocabulary, in CLIPTokenizer's format."""

import json
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizerFast

from . import fetch
from .captions import EN_AFTER, EN_BEFORE, ZH_AFTER, ZH_BEFORE
from .compose import COLOURS
from .paths import CACHE, WEIGHTS

MERGES = 7400
# The longest training captions have 26 tokens. With CLIP's 77 positions, nine tenths would be padding, which
# would take a quarter of a training step.
MAX_TOKENS = 32
START, END = "<|startoftext|>", "<|endoftext|>"
WORD = re.compile(r"[^\W\d_]+|[^\s\w]")

Pair = tuple[str, str]


def _alphabet() -> list[str]:
    """GPT-2's printable characters for the 256 bytes, in byte order. CLIP's vocabulary uses the same."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = {b: chr(b) for b in printable}
    for b in range(256):
        characters.setdefault(b, chr(256 + len(characters) - len(printable)))
    return [characters[b] for b in range(256)]


ALPHABET = _alphabet()


def _words() -> Counter[tuple[str, ...]]:
    """The words of the captions as byte symbols, with their weights.

    A Chinese prompt has no spaces between words. Each Chinese word is therefore counted twice: as the end
    of a run of characters, and inside a run. The resulting tokens follow the words and do not span two of
    them.
    """
    items, _ = fetch.load()
    counts: Counter[tuple[str, ...]] = Counter()

    def add(text: str, weight: int) -> None:
        for word in WORD.findall(text.lower()):
            symbols = [ALPHABET[b] for b in word.encode()]
            counts[(*symbols[:-1], symbols[-1] + "</w>")] += weight
            if not word.isascii():
                counts[tuple(symbols)] += weight

    for item in items:
        add(item.en, 8)
        add(item.zh, 8)
        for tag in (*item.en_tags, *item.zh_tags):
            add(tag, 2)
    fillers = (*EN_BEFORE, *EN_AFTER, *ZH_BEFORE, *ZH_AFTER, "和", "与", "，", "。", "、",
               "背景", "背景上的", "上的", "一只", "的",
               "the an and with next to on in of background")  # fmt: skip
    for text in (*fillers, *(c for colour in COLOURS for c in colour[:2])):
        add(text, 100)
    return counts


def _bytes(symbol: str) -> bytes:
    return bytes(ALPHABET.index(c) for c in symbol.removesuffix("</w>"))


def _is_complete(text: bytes) -> bool:
    """Whether these bytes are complete UTF-8 characters."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_allowed(pair: Pair) -> bool:
    """Whether the pair may be merged: a token is complete characters or the beginning of one, not both."""
    left, right = map(_bytes, pair)
    if _is_complete(left) or _is_complete(right):
        return _is_complete(left) and _is_complete(right)
    return left[0] >= 0xC0 and right[0] < 0xC0  # UTF-8: a leading byte, then continuation bytes


def _merges(words: Counter[tuple[str, ...]], count: int) -> list[Pair]:
    """Byte-pair encoding: up to `count` allowed merges, the most frequent first. Ends below a weight of 3."""
    texts, weights = [list(w) for w in words], list(words.values())
    totals: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    allowed: dict[Pair, bool] = {}

    def tally(i: int, sign: int) -> None:
        for pair in pairwise(texts[i]):
            if allowed.setdefault(pair, _is_allowed(pair)):
                totals[pair] += sign * weights[i]
                where[pair].add(i)

    for i in range(len(texts)):
        tally(i, 1)
    merges: list[Pair] = []
    while len(merges) < count:
        best = max(totals, key=lambda p: (totals[p], p))
        if totals[best] < 3:
            break
        merges.append(best)
        for i in where.pop(best):
            tally(i, -1)
            merged, j = [], 0
            while j < len(texts[i]):
                hit = tuple(texts[i][j : j + 2]) == best
                merged.append("".join(best) if hit else texts[i][j])
                j += 2 if hit else 1
            texts[i] = merged
            tally(i, 1)
        del totals[best]
    return merges


def folder() -> Path:
    """The vocabulary in use: the cache's, else the shipped one, else a new one.

    A training that resumes from the shipped weights depends on the shipped vocabulary.
    """
    known = (CACHE / "tokenizer", WEIGHTS / "tokenizer")
    return next((f for f in known if (f / "vocab.json").exists()), None) or train()


def train() -> Path:
    """Writes vocab.json, merges.txt and two configuration files to the cache, for CLIPTokenizer."""
    folder = CACHE / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    merges = _merges(_words(), MERGES)
    # CLIP's order: all bytes, all bytes that end a word, the merges, the two special tokens. The vocabulary
    # has every byte, so it can encode any script.
    pieces = [*ALPHABET, *(f"{c}</w>" for c in ALPHABET), *("".join(m) for m in merges), START, END]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    specials = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_TOKENS, "add_prefix_space": False,
                "do_lower_case": True, "errors": "replace", **specials}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return folder


def load() -> CLIPTokenizerFast:
    """Loads the fast class. The slow class splits Chinese by character unless `ftfy` is installed."""
    return CLIPTokenizerFast.from_pretrained(folder())
