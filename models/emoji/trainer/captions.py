"""Random captions in English and Chinese. Training draws a new caption for an image in every step."""

import numpy as np

from .compose import COLOURS
from .fetch import Item

# Filler words that are common in prompts. They are unrelated to the image, so the text encoder learns to
# ignore them.
EN_BEFORE = ("a picture of", "an image of", "a photo of", "an illustration of", "a 3d render of",
             "an emoji of", "a drawing of", "a cute")  # fmt: skip
EN_AFTER = ("3d render", "highly detailed", "high quality", "cute", "cartoon", "emoji", "digital art", "4k",
            "icon")  # fmt: skip
ZH_BEFORE = ("一个", "一张", "一幅", "画一个", "可爱的")
ZH_AFTER = ("三维", "高清", "可爱", "卡通", "表情符号", "图标", "的图片", "的照片")


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def article(noun: str) -> str:
    """The noun with its indefinite article, chosen by the first letter."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def _subject_en(rng: np.random.Generator, item: Item) -> str:
    """The label or, in 5% of the cases, one of the keywords; with an article in 55%."""
    noun = _pick(rng, item.en_tags) if item.en_tags and rng.random() < 0.05 else item.en
    roll = rng.random()
    return article(noun) if roll < 0.5 else f"the {noun}" if roll < 0.55 else noun


def _subject_zh(rng: np.random.Generator, item: Item) -> str:
    noun = _pick(rng, item.zh_tags) if item.zh_tags and rng.random() < 0.05 else item.zh
    measure = "一只" if item.subgroup.startswith("animal") else "一个"
    return measure + noun if rng.random() < 0.2 else noun


def _keywords(rng: np.random.Generator, tags: list[str]) -> list[str]:
    count = int(rng.integers(1, 4))
    return [tags[i] for i in rng.permutation(len(tags))[:count]]


def english(rng: np.random.Generator, items: list[Item], background: int) -> str:
    subjects = [_subject_en(rng, i) for i in items]
    text = _pick(rng, (" and ", " and ", " next to ")).join(subjects)
    if rng.random() < 0.08:
        before = _pick(rng, EN_BEFORE)
        text = f"{before} {text.removeprefix('a ').removeprefix('an ') if before == 'a cute' else text}"
    extras = [_pick(rng, EN_AFTER)] if rng.random() < 0.08 else []
    if len(items) == 1 and items[0].en_tags and rng.random() < 0.3:
        extras += _keywords(rng, items[0].en_tags)
    if background or rng.random() < 0.05:
        colour = COLOURS[background][0]
        if rng.random() < 0.75:
            text += f" on {article(colour)} background"
        else:
            extras.append(f"{colour} background")
    return ", ".join([text, *extras])


def chinese(rng: np.random.Generator, items: list[Item], background: int) -> str:
    text = _pick(rng, ("和", "和", "与")).join(_subject_zh(rng, i) for i in items)
    if rng.random() < 0.08:
        text = _pick(rng, ZH_BEFORE) + text
    extras = [_pick(rng, ZH_AFTER)] if rng.random() < 0.08 else []
    if len(items) == 1 and items[0].zh_tags and rng.random() < 0.3:
        extras += _keywords(rng, items[0].zh_tags)
    if background or rng.random() < 0.05:
        colour = COLOURS[background][1]
        if rng.random() < 0.6:
            text = f"{colour}背景上的{text}"
        else:
            extras.append(f"{colour}背景")
    return _pick(rng, ("，", " ", ", ")).join([text, *extras])


def caption(rng: np.random.Generator, items: list[Item], background: int) -> str:
    """One caption for an image of these items, from left to right, on `COLOURS[background]`."""
    return (english if rng.random() < 0.6 else chinese)(rng, items, background)
